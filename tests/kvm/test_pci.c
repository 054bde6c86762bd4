/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * PCI functions in a machine, with KVM's interrupt controllers and without a vCPU that runs: what a guest writes to
 * configuration space and to the MSI-X table, and what has come of it before its next instruction.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>

#include "chips.h"
#include "devices/pci_registers.h"
#include "vmm/machine_internal.h"

#define GADGET    PCI_FUNCTION_DEVFN(3, 0) /* MSI-X */
#define OTHER     PCI_FUNCTION_DEVFN(4, 0) /* MSI */
#define GADGET_AT 0x50                     /* the capability of either */
#define VECTORS   4u
#define PIN       0u            /* of a gadget's lines; 1 + n is message n */
#define ISA_LINE  11            /* where every PCI line is routed */
#define FIRST     0x51u         /* vector of message 0 */
#define LAPIC     0xfee00000u   /* messages for LAPIC 0 */
#define TABLE_AT  0xe0000000u   /* the gadget's BAR 1 */
#define MEMORY_AT 0xe0010000u   /* its BAR 0 */
#define PORTS_AT  0xc000u       /* its BAR 2 */
#define HIGH_AT   0x2000000000u /* its BAR 4 */
#define ENABLED   (PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER)

enum { GADGET_MEMORY, GADGET_PORTS, GADGET_HIGH };

/* ---- what the parts under test need of the rest ---- */

static unsigned requests;

void vm_request(struct vm *vm, enum vm_request request)
{
    (void)vm;
    requests |= request;
}

void chardev_write(struct chardev *chardev, const uint8_t *data, size_t len)
{
    (void)chardev;
    (void)data;
    (void)len;
}

void chardev_input_ready(struct chardev *chardev)
{
    (void)chardev;
}

struct remote_proxy *remote_add(struct remote *remote, const struct ringd_device_ops *model, uint64_t base, int irq_fd,
                                bool direct)
{
    (void)direct;
    (void)remote;
    (void)model;
    (void)base;
    (void)irq_fd;
    return NULL;
}

unsigned boot_fw_cfg_items(const struct boot *boot, struct fw_cfg_item *items)
{
    (void)boot;
    (void)items;
    return 0;
}

int machine_add_virtio_functions(struct machine *machine)
{
    (void)machine;
    return 0;
}

int machine_add_virtio_devices(struct machine *machine)
{
    (void)machine;
    return 0;
}

void machine_free_virtio(struct machine *machine)
{
    (void)machine;
}

void machine_window_accessed(void *ctx, const struct pci_function *fn, bool write, unsigned width)
{
    (void)ctx;
    (void)fn;
    (void)write;
    (void)width;
}

void *memory_map(const struct memory *memory, uint64_t gpa, size_t len)
{
    (void)memory;
    (void)gpa;
    (void)len;
    return NULL;
}

int memory_add_flash(struct memory *memory, uint8_t *flash, uint64_t size)
{
    (void)memory;
    (void)flash;
    (void)size;
    return -ENOTSUP;
}

int memory_show_flash(struct memory *memory, bool shown)
{
    (void)memory;
    (void)shown;
    return -ENOTSUP;
}

int memory_read(const struct memory *memory, uint64_t gpa, void *buf, size_t len)
{
    (void)memory;
    (void)gpa;
    (void)buf;
    (void)len;
    return -EFAULT;
}

int memory_write(const struct memory *memory, uint64_t gpa, const void *buf, size_t len)
{
    (void)memory;
    (void)gpa;
    (void)buf;
    (void)len;
    return -EFAULT;
}

int memory_set_pam(struct memory *memory, const uint8_t modes[MEMORY_PAM_SEGMENTS])
{
    (void)memory;
    (void)modes;
    return 0;
}

/* ---- a device that does as it is told ---- */

static int gadget_create(const struct ringd_env *env, const void *config, void **self)
{
    (void)config;
    *self = (void *)(uintptr_t)env;
    return 0;
}

static void gadget_nothing(void *self)
{
    (void)self;
}

static void gadget_reset(void *self)
{
    const struct ringd_env *env = self;
    for (unsigned line = 0; line <= VECTORS; line++)
        env->ops->irq_set(env, line, false);
}

static uint64_t gadget_read(void *self, unsigned region, uint64_t offset, unsigned width)
{
    (void)self;
    (void)offset;
    (void)width;
    return 0x60 + region;
}

static void gadget_write(void *self, unsigned region, uint64_t offset, unsigned width, uint64_t value)
{
    (void)self;
    (void)region;
    (void)offset;
    (void)width;
    (void)value;
}

struct line {
    unsigned line;
    bool level;
};

static void gadget_set(void *self, void *arg)
{
    const struct ringd_env *env = self;
    const struct line *line = arg;
    env->ops->irq_set(env, line->line, line->level);
}

static const struct ringd_region gadget_regions[] = {
    [GADGET_MEMORY] = {.name = "memory", .space = RINGD_MMIO, .size = 256, .widths = 1, .flags = RINGD_MOVABLE},
    [GADGET_PORTS] = {.name = "ports", .space = RINGD_PIO, .size = 32, .widths = 1, .flags = RINGD_MOVABLE},
    [GADGET_HIGH] = {.name = "high", .space = RINGD_MMIO, .size = 4096, .widths = 1, .flags = RINGD_MOVABLE},
};

static const struct ringd_device_ops gadget_ops = {
    .name = "gadget",
    .summary = "raises its lines when told to",
    .regions = gadget_regions,
    .region_count = 3,
    .irq_count = 1 + VECTORS,
    .create = gadget_create,
    .destroy = gadget_nothing,
    .read = gadget_read,
    .write = gadget_write,
    .reset = gadget_reset,
};

/* ---- the machine ---- */

static struct world {
    struct guest guest;
    struct vm vm;
    struct machine machine;
    struct pci_function fn, other_fn;
    struct machine_function *function, *other_function;
    struct ringd_dev *pci, *gadget, *other;
} w;

static const struct run_options options;

static unsigned pirq_of(uint8_t devfn, unsigned pin)
{
    (void)devfn;
    return pin;
}

static const struct machine_type type = {.pirq_of = pirq_of};

static void make_functions(void)
{
    static const struct pci_register pin = {PCI_INTERRUPT_PIN, 1, 1, 0, 0};
    pci_function_init(&w.fn, "gadget", &pin, 1);
    assert_int_equal(pci_function_add_bar(&w.fn, 0, PCI_BAR_MEM32, 4096, false), 0);
    assert_int_equal(pci_function_add_bar(&w.fn, 1, PCI_BAR_MEM32, PCI_MSIX_BAR_BYTES, false), 0);
    assert_int_equal(pci_function_add_bar(&w.fn, 2, PCI_BAR_IO, 32, false), 0);
    assert_int_equal(pci_function_add_bar(&w.fn, 4, PCI_BAR_MEM64, 4096, false), 0);
    assert_int_equal(pci_function_add_msix(&w.fn, GADGET_AT, VECTORS, 1), 0);
    pci_function_init(&w.other_fn, "other", &pin, 1);
    assert_int_equal(pci_function_add_bar(&w.other_fn, 0, PCI_BAR_MEM32, 4096, false), 0);
    assert_int_equal(pci_function_add_bar(&w.other_fn, 4, PCI_BAR_MEM64, 4096, false), 0);
    assert_int_equal(pci_function_add_msi(&w.other_fn, GADGET_AT, VECTORS), 0);
    assert_int_equal(machine_add_function(&w.machine, GADGET, &w.fn, &w.function), 0);
    assert_int_equal(machine_add_function(&w.machine, OTHER, &w.other_fn, &w.other_function), 0);
}

static void make_devices(void)
{
    static const struct machine_part part = {.label = "pci",
                                             .ops = &pci_host_ops,
                                             .base = PCI_HOST_BASE,
                                             .irqs = {-1, -1},
                                             .configure = machine_configure_pci};
    assert_int_equal(machine_add(&w.machine, &part, &w.pci), 0);
    assert_int_equal(machine_add_messages(w.function, VECTORS, 1), 0);
    assert_int_equal(machine_add_messages(w.other_function, VECTORS, PCI_BARS), 0);
    assert_int_equal(machine_add_behind(w.function, "gadget", &gadget_ops, NULL, MACHINE_NO_OUTPUT, &w.gadget), 0);
    assert_int_equal(machine_add_behind(w.other_function, "other", &gadget_ops, NULL, MACHINE_NO_OUTPUT, &w.other), 0);
    assert_int_equal(machine_add_range(w.function, 0, 0x100, w.gadget, GADGET_MEMORY), 0);
    assert_int_equal(machine_add_range(w.function, 2, 0, w.gadget, GADGET_PORTS), 0);
    assert_int_equal(machine_add_range(w.function, 4, 0, w.gadget, GADGET_HIGH), 0);
    assert_int_equal(machine_add_range(w.other_function, 0, 0x100, w.other, GADGET_MEMORY), 0);
    assert_int_equal(machine_add_range(w.other_function, 4, 0, w.other, GADGET_HIGH), 0);
}

static int setup_vm(const struct run_options *with)
{
    memset(&w, 0, sizeof(w));
    requests = 0;
    guest_create_with_chips(&w.guest, 1);
    chips_clear(&w.guest);
    bus_init(&w.vm.bus);
    irq_clear(&w.vm.irq);
    assert_int_equal(irq_init(&w.vm.irq, w.guest.vm), 0);
    const struct ringd_config config = {
        .backend = RINGD_BACKEND_OFF, .vm_fd = w.guest.vm, .vcpu_fd = w.guest.vcpus[0].fd, .cpu = -1};
    assert_int_equal(ringd_create(&config, &w.vm.ringd), 0);
    w.vm.vcpu_count = 1;
    machine_init(&w.machine, &w.vm, with);
    return 0;
}

static int setup(void **state)
{
    (void)state;
    setup_vm(&options);
    w.machine.type = &type;
    w.machine.pci_sink = (struct pci_sink){
        .ctx = &w.machine, .decode_changed = machine_decode_changed, .interrupts_changed = machine_interrupts_changed};
    make_functions();
    make_devices();
    irq_pirq_route(&w.vm.irq, 0, ISA_LINE);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    assert_int_equal(requests, 0); /* nothing failed */
    ringd_destroy(w.vm.ringd);
    machine_destroy(&w.machine);
    bus_destroy(&w.vm.bus);
    irq_destroy(&w.vm.irq);
    guest_destroy(&w.guest);
    return 0;
}

/* As a vCPU's thread before it enters the guest again. */
static void carry_out(void)
{
    if (__atomic_load_n(&w.vm.pending, __ATOMIC_ACQUIRE))
        machine_apply(&w.machine);
    assert_false(w.vm.pending);
}

static void config_write_begun(uint8_t devfn, unsigned reg, unsigned width, uint32_t value)
{
    ringd_write(w.pci, PCI_HOST_ADDRESS, 0, 4, 0x80000000u | (uint32_t)devfn << 8 | (reg & 0xfc));
    ringd_write(w.pci, PCI_HOST_DATA, reg & 3, width, value);
}

static void config_write(uint8_t devfn, unsigned reg, unsigned width, uint32_t value)
{
    config_write_begun(devfn, reg, width, value);
    carry_out();
}

static uint32_t config_read(uint8_t devfn, unsigned reg, unsigned width)
{
    ringd_write(w.pci, PCI_HOST_ADDRESS, 0, 4, 0x80000000u | (uint32_t)devfn << 8 | (reg & 0xfc));
    return (uint32_t)ringd_read(w.pci, PCI_HOST_DATA, reg & 3, width);
}

static void set_line(struct ringd_dev *dev, unsigned line, bool level)
{
    struct line arg = {line, level};
    ringd_call(dev, gadget_set, &arg);
}

static void send(struct ringd_dev *dev, unsigned message)
{
    set_line(dev, 1 + message, true);
    set_line(dev, 1 + message, false);
}

/* ---- MSI-X ---- */

static void table_write(unsigned vector, unsigned offset, uint32_t value)
{
    ringd_write(w.function->msix, PCI_MSIX_REGION_TABLE, vector * 16 + offset, 4, value);
    carry_out();
}

static void mask(unsigned vector, bool masked)
{
    table_write(vector, 12, masked);
}

static uint64_t held_back(void)
{
    return ringd_read(w.function->msix, PCI_MSIX_REGION_PENDING, 0, 8);
}

static void control(uint32_t value)
{
    config_write(GADGET, GADGET_AT + PCI_MSIX_CONTROL, 2, value);
}

/* All four to vectors of their own, masked, MSI-X on. */
static void begin_msix(void)
{
    config_write(GADGET, PCI_COMMAND, 2, ENABLED);
    for (unsigned i = 0; i < VECTORS; i++) {
        table_write(i, 0, LAPIC);
        table_write(i, 8, FIRST + i);
    }
    control(PCI_MSIX_ENABLE);
}

/* It comes once: taken away, it does not come again. */
static void assert_comes(unsigned vector)
{
    assert_true(chips_await(&w.guest, vector));
    chips_clear(&w.guest);
    assert_true(chips_quiet(&w.guest, vector));
}

static void a_masked_vector_is_pending_until_it_is_not(void **state)
{
    (void)state;
    begin_msix();
    mask(2, false);
    send(w.gadget, 1);
    send(w.gadget, 1);
    send(w.gadget, 2);
    assert_comes(FIRST + 2);
    assert_false(chips_requested(&w.guest, FIRST + 1));
    assert_int_equal(held_back(), 1u << 1);
    mask(1, false);
    assert_comes(FIRST + 1);
    assert_int_equal(held_back(), 0);
    mask(1, true); /* what has been sent is not pending again */
    assert_int_equal(held_back(), 0);
    mask(1, false);
    assert_true(chips_quiet(&w.guest, FIRST + 1));
    send(w.gadget, 1);
    assert_comes(FIRST + 1);
    assert_int_equal(held_back(), 0);
}

#define TURNS 100u

static void *send_at_turns(void *arg)
{
    pthread_barrier_t *turn = arg;
    for (unsigned i = 0; i < TURNS; i++) {
        pthread_barrier_wait(turn);
        for (volatile unsigned wait = 0; wait < i % 10 * 2000; wait++)
            ;
        send(w.gadget, 0);
        pthread_barrier_wait(turn);
    }
    return NULL;
}

/* One message for each turn, sent while its vector is masked and unmasked again and again: it comes, sooner or later.
 */
static void none_is_lost_while_the_mask_changes(void **state)
{
    pthread_barrier_t turn;
    pthread_t thread;
    (void)state;
    begin_msix();
    mask(0, false);
    assert_int_equal(pthread_barrier_init(&turn, NULL, 2), 0);
    assert_int_equal(pthread_create(&thread, NULL, send_at_turns, &turn), 0);
    for (unsigned i = 0; i < TURNS; i++) {
        pthread_barrier_wait(&turn);
        for (unsigned change = 0; change < 6; change++)
            mask(0, !(change & 1));
        pthread_barrier_wait(&turn);
        assert_true(chips_await(&w.guest, FIRST));
        chips_clear(&w.guest);
    }
    pthread_join(thread, NULL);
    pthread_barrier_destroy(&turn);
}

static void a_masked_function_holds_all_back(void **state)
{
    (void)state;
    begin_msix();
    mask(0, false);
    mask(3, false);
    control(PCI_MSIX_ENABLE | PCI_MSIX_MASK_ALL);
    send(w.gadget, 0);
    send(w.gadget, 1);
    send(w.gadget, 3);
    assert_true(chips_quiet(&w.guest, FIRST));
    assert_int_equal(held_back(), 0xb);
    control(PCI_MSIX_ENABLE);
    assert_true(chips_await(&w.guest, FIRST));
    assert_true(chips_await(&w.guest, FIRST + 3));
    assert_int_equal(held_back(), 0x2);
}

static void what_was_sent_while_switched_off_is_lost(void **state)
{
    (void)state;
    begin_msix();
    mask(0, false);
    control(0);
    send(w.gadget, 0);
    assert_int_equal(held_back(), 0);
    control(PCI_MSIX_ENABLE);
    assert_true(chips_quiet(&w.guest, FIRST));
    assert_int_equal(held_back(), 0);
    config_write(GADGET, PCI_COMMAND, 2, PCI_COMMAND_MEMORY); /* no bus master */
    send(w.gadget, 0);
    config_write(GADGET, PCI_COMMAND, 2, ENABLED);
    assert_true(chips_quiet(&w.guest, FIRST));
    send(w.gadget, 0);
    assert_comes(FIRST);
}

/* A device at work is switched on, and sends before the vCPU has carried that out. */
static void what_is_sent_while_it_is_switched_on_comes(void **state)
{
    (void)state;
    begin_msix();
    mask(0, false);
    control(0);
    config_write_begun(GADGET, GADGET_AT + PCI_MSIX_CONTROL, 2, PCI_MSIX_ENABLE);
    send(w.gadget, 0);
    send(w.gadget, 1); /* masked */
    carry_out();
    assert_comes(FIRST);
    assert_int_equal(held_back(), 1u << 1);
    config_write(GADGET, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
    config_write_begun(GADGET, PCI_COMMAND, 2, ENABLED);
    assert_int_equal(held_back(), 0);
    send(w.gadget, 0);
    carry_out();
    assert_comes(FIRST);
}

static void an_entry_may_change_while_it_is_live(void **state)
{
    (void)state;
    begin_msix();
    mask(0, false);
    mask(1, false);
    table_write(0, 8, 0x71);
    send(w.gadget, 0);
    assert_comes(0x71);
    assert_true(chips_quiet(&w.guest, FIRST));
    table_write(0, 0, LAPIC | 5 << 12); /* a LAPIC that nobody has */
    send(w.gadget, 0);
    assert_true(chips_quiet(&w.guest, 0x71));
    table_write(0, 0, LAPIC);
    send(w.gadget, 0);
    assert_comes(0x71);
    send(w.gadget, 1); /* the others are where they were */
    assert_comes(FIRST + 1);
}

static void who_sends_messages_leaves_the_pin_alone(void **state)
{
    (void)state;
    begin_msix();
    set_line(w.gadget, PIN, true);
    assert_int_equal(chips_pins(&w.guest), 0);
    assert_true(config_read(GADGET, PCI_STATUS, 2) & PCI_STATUS_INTERRUPT);
    control(0);
    assert_int_equal(chips_pins(&w.guest), 1u << ISA_LINE);
    config_write(GADGET, PCI_COMMAND, 2, ENABLED | PCI_COMMAND_INTX_DISABLE);
    assert_int_equal(chips_pins(&w.guest), 0);
    config_write(GADGET, PCI_COMMAND, 2, ENABLED);
    assert_int_equal(chips_pins(&w.guest), 1u << ISA_LINE);
    set_line(w.other, PIN, true); /* two functions on one line */
    set_line(w.gadget, PIN, false);
    assert_int_equal(chips_pins(&w.guest), 1u << ISA_LINE);
    assert_false(config_read(GADGET, PCI_STATUS, 2) & PCI_STATUS_INTERRUPT);
    set_line(w.other, PIN, false);
    assert_int_equal(chips_pins(&w.guest), 0);
}

static void a_reset_silences_all(void **state)
{
    (void)state;
    begin_msix();
    mask(0, false);
    set_line(w.other, PIN, true);
    assert_int_equal(chips_pins(&w.guest), 1u << ISA_LINE);
    ringd_pause(w.vm.ringd);
    ringd_reset(w.vm.ringd);
    machine_apply(&w.machine);
    ringd_resume(w.vm.ringd);
    assert_int_equal(chips_pins(&w.guest), 0);
    send(w.gadget, 0);
    assert_true(chips_quiet(&w.guest, FIRST));
    begin_msix();
    mask(0, false);
    assert_true(chips_quiet(&w.guest, FIRST));
    send(w.gadget, 0);
    assert_comes(FIRST);
}

/* ---- MSI ---- */

static void msi_sends_what_is_allowed(void **state)
{
    (void)state;
    config_write(OTHER, PCI_COMMAND, 2, ENABLED);
    config_write(OTHER, GADGET_AT + PCI_MSI_ADDRESS, 4, LAPIC);
    config_write(OTHER, GADGET_AT + PCI_MSI_DATA, 2, 0x60);
    config_write(OTHER, GADGET_AT + PCI_MSI_CONTROL, 2, PCI_MSI_ENABLE | 1 << PCI_MSI_ALLOWED_SHIFT);
    for (unsigned i = 0; i < VECTORS; i++)
        send(w.other, i);
    assert_true(chips_await(&w.guest, 0x60));
    assert_true(chips_await(&w.guest, 0x61));
    assert_true(chips_quiet(&w.guest, 0x62));
    assert_false(chips_requested(&w.guest, 0x63));
    chips_clear(&w.guest);
    config_write(OTHER, GADGET_AT + PCI_MSI_MASK_BITS, 4, 2);
    send(w.other, 1);
    assert_true(chips_quiet(&w.guest, 0x61));
    config_write(OTHER, GADGET_AT + PCI_MSI_MASK_BITS, 4, 0);
    assert_comes(0x61);
    config_write(OTHER, GADGET_AT + PCI_MSI_CONTROL, 2, 0);
    send(w.other, 0);
    assert_true(chips_quiet(&w.guest, 0x60));
}

/* ---- windows ---- */

/* Who answers at an address, and as which region; NULL: nobody. */
static const struct ringd_dev *at(enum ringd_space space, uint64_t addr, unsigned *region)
{
    struct bus_range range;
    if (!bus_find(&w.vm.bus, space, addr, &range))
        return NULL;
    *region = range.region;
    return range.dev;
}

static void assert_at(enum ringd_space space, uint64_t addr, const struct ringd_dev *dev, unsigned region)
{
    unsigned found = region;
    assert_ptr_equal(at(space, addr, &found), dev);
    assert_int_equal(found, region);
}

static void assert_nobody(enum ringd_space space, uint64_t addr)
{
    unsigned region;
    assert_null(at(space, addr, &region));
}

static void bar(uint8_t devfn, unsigned index, uint32_t value)
{
    config_write(devfn, PCI_BASE_ADDRESS + 4 * index, 4, value);
}

static void sizing_with_decode_on_and_off(void **state)
{
    static const uint32_t sized[] = {0xfffff000, 0xfffff000, 0xffffffe1, 0, 0xfffff004, 0xffffffff};
    (void)state;
    for (unsigned on = 0; on < 2; on++) {
        config_write(GADGET, PCI_COMMAND, 2, on ? ENABLED : 0);
        for (unsigned i = 0; i < 6; i++) {
            uint32_t before = config_read(GADGET, PCI_BASE_ADDRESS + 4 * i, 4);
            bar(GADGET, i, UINT32_MAX);
            assert_int_equal(config_read(GADGET, PCI_BASE_ADDRESS + 4 * i, 4), sized[i]);
            bar(GADGET, i, before);
            assert_int_equal(config_read(GADGET, PCI_BASE_ADDRESS + 4 * i, 4), before);
        }
    }
    assert_int_equal(w.machine.refused, 0);
}

static void windows_move_with_decode_on_and_off(void **state)
{
    (void)state;
    bar(GADGET, 0, MEMORY_AT);
    bar(GADGET, 1, TABLE_AT);
    bar(GADGET, 2, PORTS_AT);
    assert_nobody(RINGD_MMIO, MEMORY_AT + 0x100);
    config_write(GADGET, PCI_COMMAND, 2, ENABLED);
    assert_at(RINGD_MMIO, MEMORY_AT + 0x100, w.gadget, GADGET_MEMORY);
    assert_at(RINGD_MMIO, MEMORY_AT + 0x1ff, w.gadget, GADGET_MEMORY);
    assert_nobody(RINGD_MMIO, MEMORY_AT + 0x0ff); /* a part of the window only is anybody's */
    assert_nobody(RINGD_MMIO, MEMORY_AT + 0x200);
    assert_at(RINGD_MMIO, TABLE_AT, w.function->msix, PCI_MSIX_REGION_TABLE);
    assert_at(RINGD_MMIO, TABLE_AT + PCI_MSIX_BAR_PENDING, w.function->msix, PCI_MSIX_REGION_PENDING);
    assert_at(RINGD_PIO, PORTS_AT + 31, w.gadget, GADGET_PORTS);

    bar(GADGET, 0, MEMORY_AT + 0x1000); /* on */
    assert_nobody(RINGD_MMIO, MEMORY_AT + 0x100);
    assert_at(RINGD_MMIO, MEMORY_AT + 0x1100, w.gadget, GADGET_MEMORY);
    config_write(GADGET, PCI_COMMAND, 2, PCI_COMMAND_IO);
    assert_nobody(RINGD_MMIO, MEMORY_AT + 0x1100);
    assert_nobody(RINGD_MMIO, TABLE_AT);
    assert_at(RINGD_PIO, PORTS_AT, w.gadget, GADGET_PORTS);
    bar(GADGET, 0, MEMORY_AT); /* off */
    bar(GADGET, 2, PORTS_AT + 0x40);
    assert_nobody(RINGD_PIO, PORTS_AT);
    config_write(GADGET, PCI_COMMAND, 2, ENABLED);
    assert_at(RINGD_MMIO, MEMORY_AT + 0x100, w.gadget, GADGET_MEMORY);
    assert_at(RINGD_PIO, PORTS_AT + 0x40, w.gadget, GADGET_PORTS);
    assert_int_equal(w.machine.refused, 0);
}

static void a_wide_window_moves_by_halves(void **state)
{
    (void)state;
    config_write(GADGET, PCI_COMMAND, 2, ENABLED);
    bar(GADGET, 4, 0xd0000000);
    assert_at(RINGD_MMIO, 0xd0000000, w.gadget, GADGET_HIGH);
    bar(GADGET, 5, HIGH_AT >> 32);
    assert_nobody(RINGD_MMIO, 0xd0000000);
    assert_at(RINGD_MMIO, HIGH_AT + 0xd0000000, w.gadget, GADGET_HIGH);
    bar(GADGET, 4, 0);
    assert_nobody(RINGD_MMIO, HIGH_AT + 0xd0000000);
    assert_at(RINGD_MMIO, HIGH_AT + 0xfff, w.gadget, GADGET_HIGH);
    assert_nobody(RINGD_MMIO, HIGH_AT + 0x1000);
}

static void who_comes_second_waits_for_the_first_to_leave(void **state)
{
    (void)state;
    config_write(GADGET, PCI_COMMAND, 2, ENABLED);
    config_write(OTHER, PCI_COMMAND, 2, ENABLED);
    bar(GADGET, 0, MEMORY_AT);
    bar(OTHER, 0, MEMORY_AT);
    assert_int_equal(w.machine.refused, 1);
    assert_at(RINGD_MMIO, MEMORY_AT + 0x100, w.gadget, GADGET_MEMORY);
    bar(GADGET, 0, MEMORY_AT + 0x1000);
    assert_at(RINGD_MMIO, MEMORY_AT + 0x100, w.other, GADGET_MEMORY);
    assert_at(RINGD_MMIO, MEMORY_AT + 0x1100, w.gadget, GADGET_MEMORY);
    bar(GADGET, 0, MEMORY_AT); /* and the other way round, with decode switched off */
    assert_int_equal(w.machine.refused, 2);
    assert_at(RINGD_MMIO, MEMORY_AT + 0x100, w.other, GADGET_MEMORY);
    assert_nobody(RINGD_MMIO, MEMORY_AT + 0x1100);
    config_write(OTHER, PCI_COMMAND, 2, 0);
    assert_at(RINGD_MMIO, MEMORY_AT + 0x100, w.gadget, GADGET_MEMORY);
    config_write(OTHER, PCI_COMMAND, 2, ENABLED);
    assert_at(RINGD_MMIO, MEMORY_AT + 0x100, w.gadget, GADGET_MEMORY);
    config_write(GADGET, PCI_COMMAND, 2, 0);
    config_write(OTHER, PCI_COMMAND, 2, 0);
    assert_nobody(RINGD_MMIO, MEMORY_AT + 0x100);
}

static void what_is_fixed_stays(void **state)
{
    (void)state;
    config_write(GADGET, PCI_COMMAND, 2, ENABLED);
    bar(GADGET, 2, PCI_HOST_BASE & ~31u); /* over the configuration ports */
    assert_int_equal(w.machine.refused, 1);
    assert_at(RINGD_PIO, PCI_HOST_BASE, w.pci, PCI_HOST_ADDRESS);
    assert_nobody(RINGD_PIO, PCI_HOST_BASE - 1);
    bar(GADGET, 2, PORTS_AT);
    assert_at(RINGD_PIO, PORTS_AT, w.gadget, GADGET_PORTS);
}

/* ---- whole machines ---- */

static void pins_are_wired_as_on_the_boards(void **state)
{
    static const struct {
        const struct machine_type *type;
        uint8_t slot;
        unsigned pin, pirq;
    } pins[] = {
        {&machine_i440fx, 1, 0, 0}, {&machine_i440fx, 1, 3, 3}, {&machine_i440fx, 2, 0, 1}, {&machine_i440fx, 4, 1, 0},
        {&machine_q35, 0, 0, 4},    {&machine_q35, 2, 0, 6},    {&machine_q35, 3, 1, 4},    {&machine_q35, 24, 1, 5},
        {&machine_q35, 25, 0, 0},   {&machine_q35, 31, 3, 3},
    };
    (void)state;
    for (unsigned i = 0; i < sizeof(pins) / sizeof(pins[0]); i++)
        assert_int_equal(pins[i].type->pirq_of(PCI_FUNCTION_DEVFN(pins[i].slot, 0), pins[i].pin), pins[i].pirq);
}

static const struct run_options q35_options = {
    .machine = OPTION_MACHINE_Q35, .serial = "null", .debugcon_port = 0x402, .debug_exit_port = -1};

static int setup_q35(void **state)
{
    (void)state;
    static struct flash none = {.fd = -1};
    setup_vm(&q35_options);
    assert_int_equal(machine_create(&w.machine, NULL, NULL, NULL, &none), 0);
    return 0;
}

/* As a vCPU's exit. Nobody there: ones. */
static uint64_t access_at(enum ringd_space space, uint64_t addr, unsigned width, bool write, uint64_t value)
{
    struct bus_range range;
    if (!bus_find(&w.vm.bus, space, addr, &range))
        return UINT64_MAX;
    if (write)
        ringd_write(range.dev, range.region, addr - range.first, width, value);
    else
        value = ringd_read(range.dev, range.region, addr - range.first, width);
    carry_out();
    return value;
}

static void out(uint16_t port, unsigned width, uint32_t value)
{
    access_at(RINGD_PIO, port, width, true, value);
}

static uint64_t in(uint16_t port, unsigned width)
{
    return access_at(RINGD_PIO, port, width, false, 0);
}

static void place_memory_space(uint32_t base)
{
    out(0xcf8, 4, 0x80000000u | Q35_MCH_DEVFN << 8 | Q35_MCH_PCIEXBAR);
    out(0xcfc, 4, base | 1);
}

static void config_space_moves_itself(void **state)
{
    const uint64_t lpc = ICH9_LPC_DEVFN << 12;
    (void)state;
    assert_int_equal(access_at(RINGD_MMIO, 0xb0000000 + lpc, 4, false, 0), UINT64_MAX);
    place_memory_space(0xb0000000);
    assert_int_equal(access_at(RINGD_MMIO, 0xb0000000 + lpc, 4, false, 0), 0x29188086);
    access_at(RINGD_MMIO, 0xb0000000 + Q35_MCH_PCIEXBAR, 4, true, 0xe0000001); /* by itself */
    assert_int_equal(access_at(RINGD_MMIO, 0xb0000000 + lpc, 4, false, 0), UINT64_MAX);
    assert_int_equal(access_at(RINGD_MMIO, 0xe0000000 + lpc, 4, false, 0), 0x29188086);
    assert_int_equal(access_at(RINGD_MMIO, 0xe0000000 + (2 << 15), 4, false, 0), UINT32_MAX); /* no such function */
    assert_int_equal(access_at(RINGD_MMIO, 0xe0100000, 4, false, 0), UINT64_MAX);             /* no such bus */
    access_at(RINGD_MMIO, 0xe0000000 + lpc + 0x68, 1, true, 0x0a);
    assert_int_equal(w.vm.irq.pirq_isa[4], 10);
    assert_true(w.vm.irq.pirq_pins);
}

static void the_power_button_raises_the_sci(void **state)
{
    (void)state;
    place_memory_space(0xb0000000);
    access_at(RINGD_MMIO, 0xb0000000 + (ICH9_LPC_DEVFN << 12 | 0x40), 4, true, 0x601); /* PMBASE, ACPI_CNTL */
    access_at(RINGD_MMIO, 0xb0000000 + (ICH9_LPC_DEVFN << 12 | 0x44), 1, true, 0x80);
    assert_false(machine_power_button(&w.machine));
    out(0x600, 2, 0xffff);
    out(0xb2, 1, ICH9_PM_ACPI_ENABLE);
    assert_false(machine_power_button(&w.machine));
    assert_int_equal(chips_pins(&w.guest), 0);
    out(0x602, 2, 0x0100);
    assert_int_equal(chips_pins(&w.guest), 1u << 9); /* pressed before anybody listened */
    out(0x600, 2, 0x0100);
    assert_int_equal(chips_pins(&w.guest), 0);
    assert_true(machine_power_button(&w.machine));
    assert_int_equal(in(0x600, 2), 0x0100);
    assert_int_equal(chips_pins(&w.guest), 1u << 9);
    out(0x600, 2, 0x0100);
    assert_int_equal(chips_pins(&w.guest), 0);
    out(0x604, 2, 0x3c00);
    assert_int_equal(requests, VM_REQUEST_POWEROFF);
    requests = 0;
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(a_masked_vector_is_pending_until_it_is_not),
        CASE(none_is_lost_while_the_mask_changes),
        CASE(a_masked_function_holds_all_back),
        CASE(what_was_sent_while_switched_off_is_lost),
        CASE(what_is_sent_while_it_is_switched_on_comes),
        CASE(an_entry_may_change_while_it_is_live),
        CASE(who_sends_messages_leaves_the_pin_alone),
        CASE(a_reset_silences_all),
        CASE(msi_sends_what_is_allowed),
        CASE(sizing_with_decode_on_and_off),
        CASE(windows_move_with_decode_on_and_off),
        CASE(a_wide_window_moves_by_halves),
        CASE(who_comes_second_waits_for_the_first_to_leave),
        CASE(what_is_fixed_stays),
        cmocka_unit_test(pins_are_wired_as_on_the_boards),
        cmocka_unit_test_setup_teardown(config_space_moves_itself, setup_q35, teardown),
        cmocka_unit_test_setup_teardown(the_power_button_raises_the_sci, setup_q35, teardown),
    };
    guest_need_kvm();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
