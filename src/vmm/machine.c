/* SPDX-License-Identifier: BSD-2-Clause */
/* Putting devices into a machine: wiring, interrupt lines, addresses, rows of the exit table, and moved windows. */
#include "vmm/machine_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/exits.h"

/* ---- what a device is connected to ---- */

static int wire_mem_read(void *ctx, uint64_t gpa, void *buf, size_t len)
{
    struct machine_device *device = ctx;
    return memory_read(&device->machine->vm->memory, gpa, buf, len);
}

static int wire_mem_write(void *ctx, uint64_t gpa, const void *buf, size_t len)
{
    struct machine_device *device = ctx;
    return memory_write(&device->machine->vm->memory, gpa, buf, len);
}

static void *wire_mem_map(void *ctx, uint64_t gpa, size_t len)
{
    struct machine_device *device = ctx;
    return memory_map(&device->machine->vm->memory, gpa, len);
}

static void wire_serial(void *ctx, const uint8_t *data, size_t len)
{
    struct machine_device *device = ctx;
    chardev_write(device->machine->serial, data, len);
}

static void wire_debugcon(void *ctx, const uint8_t *data, size_t len)
{
    struct machine_device *device = ctx;
    chardev_write(device->machine->debugcon, data, len);
}

static void wire_console(void *ctx, const uint8_t *data, size_t len)
{
    struct machine_device *device = ctx;
    chardev_write(device->machine->console, data, len);
}

void machine_event(struct machine *machine, enum ringd_event event, uint64_t value)
{
    struct vm *vm = machine->vm;
    switch (event) {
    case RINGD_EVENT_RESET:
        vm_request(vm, VM_REQUEST_RESET);
        break;
    case RINGD_EVENT_POWEROFF:
        vm_request(vm, VM_REQUEST_POWEROFF);
        break;
    case RINGD_EVENT_DEBUG_EXIT:
        __atomic_store_n(&vm->exit_value, (unsigned)value, __ATOMIC_SEQ_CST);
        vm_request(vm, VM_REQUEST_DEBUG_EXIT);
        break;
    }
}

static void wire_event(void *ctx, enum ringd_event event, uint64_t value)
{
    struct machine_device *device = ctx;
    machine_event(device->machine, event, value);
}

/* A line whose level matters: the pin of a PCI function, or an ISA interrupt that is not a pulse. */
static void wire_irq(void *ctx, unsigned line, bool level)
{
    struct machine_device *device = ctx;
    struct irq *irq = &device->machine->vm->irq;
    if (device->function && line == 0) {
        pci_function_set_pin(device->function->fn, level);
        irq_intx_set(irq, &device->function->intx, level);
    } else if (line < MACHINE_DEVICE_LINES && device->irqs[line] >= 0) {
        irq_pin_hold(irq, (unsigned)device->irqs[line], level);
    }
}

static void wire_log(void *ctx, enum ringd_log_level level, const char *message)
{
    (void)ctx;
    if (level == RINGD_LOG_WARNING)
        fprintf(stderr, "ringvmm: %s\n", message);
}

/* A copy of the model's tables in which one region is posted that is not there, or the other way round. */
static const struct ringd_device_ops *turn_posting(struct machine_device *device, const struct ringd_device_ops *ops,
                                                   unsigned region)
{
    device->own_ops = malloc(sizeof(*ops));
    device->own_regions = malloc(ops->region_count * sizeof(*ops->regions));
    if (!device->own_ops || !device->own_regions)
        return NULL;
    *device->own_ops = *ops;
    memcpy(device->own_regions, ops->regions, ops->region_count * sizeof(*ops->regions));
    device->own_regions[region].flags ^= RINGD_POSTED;
    device->own_ops->regions = device->own_regions;
    return device->own_ops;
}

/* Small port ranges have a row for each port, as the tables that are compared with have. */
#define ROW_PER_PORT_MAX 16u

unsigned machine_rows(const struct ringd_region *region)
{
    return region->space == RINGD_PIO && region->size <= ROW_PER_PORT_MAX ? (unsigned)region->size : 1;
}

static int reserve_rows(struct machine *machine, struct machine_device *device, const struct ringd_device_ops *ops)
{
    if (ops->region_count > MACHINE_MAX_REGIONS)
        return -EINVAL;
    for (unsigned i = 0; i < ops->region_count; i++) {
        device->first_row[i] = machine->row_count;
        machine->row_count += machine_rows(&ops->regions[i]);
    }
    return machine->row_count <= EXITS_MAX_ROWS ? 0 : -ENOSPC;
}

static struct machine_device *device_of(struct machine *machine, const struct ringd_dev *dev)
{
    for (unsigned i = 0; i < machine->device_count; i++)
        if (machine->devices[i].dev == dev)
            return &machine->devices[i];
    return NULL;
}

static int place_region(struct machine *machine, struct ringd_dev *dev, unsigned region, uint64_t addr)
{
    const struct ringd_region *desc = &ringd_dev_ops(dev)->regions[region];
    struct bus_range range = {.first = addr,
                              .last = addr + desc->size - 1,
                              .dev = dev,
                              .region = region,
                              .row = device_of(machine, dev)->first_row[region],
                              .row_step = machine_rows(desc) > 1};
    int ret = bus_add(&machine->vm->bus, desc->space, &range);
    if (ret)
        return ret;
    ret = ringd_map(dev, region, addr);
    ret = ret ? ret : machine_place_doorbells(device_of(machine, dev), region, addr);
    if (ret) {
        ringd_unmap(dev, region);
        bus_remove(&machine->vm->bus, desc->space, dev, region);
    }
    return ret;
}

static void remove_region(struct machine *machine, struct ringd_dev *dev, unsigned region)
{
    /* The zone first: a posted write that finds no room meanwhile must still find its device. */
    machine_remove_doorbells(device_of(machine, dev), region);
    ringd_unmap(dev, region);
    bus_remove(&machine->vm->bus, ringd_dev_ops(dev)->regions[region].space, dev, region);
}

/* The next free entry, not taken until device_count goes up. */
static struct machine_device *next_device(struct machine *machine, const char *label, struct machine_function *function)
{
    if (machine->device_count == MACHINE_MAX_DEVICES)
        return NULL;
    struct machine_device *device = &machine->devices[machine->device_count];
    *device = (struct machine_device){.machine = machine, .label = label, .function = function};
    for (unsigned i = 0; i < MACHINE_DEVICE_LINES; i++)
        device->irqs[i] = -1;
    return device;
}

static int host_device(struct machine_device *device, const struct ringd_device_ops *ops, const void *config,
                       const int *irq_fds, enum machine_output output)
{
    static void (*const outputs[])(void *, const uint8_t *, size_t) = {[MACHINE_NO_OUTPUT] = NULL,
                                                                       [MACHINE_SERIAL] = wire_serial,
                                                                       [MACHINE_DEBUGCON] = wire_debugcon,
                                                                       [MACHINE_CONSOLE] = wire_console};
    const struct ringd_wiring wiring = {
        .ctx = device,
        .irq_fds = irq_fds,
        .irq_set = wire_irq,
        .mem_read = wire_mem_read,
        .mem_write = wire_mem_write,
        .mem_map = wire_mem_map,
        .output = outputs[output],
        .event = wire_event,
        .log = wire_log,
    };
    int ret = reserve_rows(device->machine, device, ops);
    return ret ? ret : ringd_add(device->machine->vm->ringd, ops, config, &wiring, &device->dev);
}

/* An eventfd for each line that pulses; the others are remembered. */
static int wire_isa(struct machine_device *device, const struct machine_part *part, int fds[MACHINE_DEVICE_LINES])
{
    int ret = 0;
    for (unsigned i = 0; i < MACHINE_DEVICE_LINES; i++) {
        fds[i] = -1;
        if (part->pins)
            device->irqs[i] = part->pins[i];
    }
    if (part->pins)
        return 0;
    for (unsigned i = 0; i < MACHINE_DEVICE_IRQS && !ret; i++) {
        if (part->level)
            device->irqs[i] = part->irqs[i];
        else if (part->irqs[i] >= 0)
            ret = irq_isa_fd(&device->machine->vm->irq, (unsigned)part->irqs[i], &fds[i]);
    }
    return ret;
}

int machine_add(struct machine *machine, const struct machine_part *part, struct ringd_dev **out)
{
    struct machine_device *device = next_device(machine, part->label, NULL);
    if (!device)
        return -EMFILE;
    const struct ringd_device_ops *ops = part->ops;
    if (part->post && (machine->options->post & part->post))
        ops = turn_posting(device, ops, part->post_region);
    if (!ops)
        return -ENOMEM;
    int fds[MACHINE_DEVICE_LINES];
    int ret = wire_isa(device, part, fds);
    if (ret)
        return ret;
    union machine_config config;
    const void *config_ptr = part->configure ? part->configure(machine, &config) : NULL;
    if (machine->remote.client && part->delegate) {
        struct remote_proxy *proxy = remote_add(&machine->remote, ops, part->base, fds[0], !device->own_ops);
        ret = proxy ? part->delegate(machine, proxy) : -EMFILE;
        ops = proxy ? &proxy->ops : ops;
        config_ptr = proxy;
    }
    ret = ret ? ret : host_device(device, ops, config_ptr, fds, part->output);
    if (ret)
        return ret;
    machine->device_count++;
    for (unsigned i = 0; i < ops->region_count && !ret; i++)
        if (!(ops->regions[i].flags & RINGD_MOVABLE))
            ret = place_region(machine, device->dev, i, part->base + ops->regions[i].offset);
    *out = device->dev;
    return ret;
}

int machine_add_behind(struct machine_function *function, const char *label, const struct ringd_device_ops *ops,
                       const void *config, enum machine_output output, struct ringd_dev **out)
{
    struct machine *machine = function->machine;
    struct machine_device *device = next_device(machine, label, function);
    if (!device || ops->irq_count > 1 + function->vectors)
        return device ? -EINVAL : -EMFILE;
    /* Without a ring of its own a write is better off as an exit, or as a signal of an eventfd. */
    unsigned posted = 0;
    while (posted < ops->region_count && !(ops->regions[posted].flags & RINGD_POSTED))
        posted++;
    if (posted < ops->region_count && !machine_has_rings(machine))
        ops = turn_posting(device, ops, posted);
    if (!ops)
        return -ENOMEM;
    int fds[1 + PCI_MSIX_VECTORS_MAX] = {-1};
    memcpy(fds + 1, function->fds, function->vectors * sizeof(fds[0]));
    int ret = host_device(device, ops, config, fds, output);
    if (ret)
        return ret;
    machine->device_count++;
    *out = device->dev;
    return 0;
}

void machine_init(struct machine *machine, struct vm *vm, const struct run_options *options)
{
    machine->vm = vm;
    machine->options = options;
    pthread_mutex_init(&machine->apply_lock, NULL);
    pthread_mutex_init(&machine->queue_lock, NULL);
}

void machine_destroy(struct machine *machine)
{
    machine_free_virtio(machine);
    for (unsigned i = 0; i < machine->function_count; i++)
        machine_function_free(machine->functions[i]);
    for (unsigned i = 0; i < MACHINE_MAX_DEVICES; i++) {
        free(machine->devices[i].own_ops);
        free(machine->devices[i].own_regions);
        machine_free_doorbells(&machine->devices[i]);
    }
    pthread_mutex_destroy(&machine->apply_lock);
    pthread_mutex_destroy(&machine->queue_lock);
}

/* ---- what the guest moves ---- */

void machine_note_pending(struct machine *machine)
{
    __atomic_store_n(&machine->vm->pending, true, __ATOMIC_RELEASE);
    /* With --post pci-data this may be the ring thread, and no vCPU be about to look. */
    if (machine->options->post & OPTION_POST_PCI_DATA)
        vm_request(machine->vm, VM_REQUEST_REMAP);
}

/* What is said of a region that it has not been told of before is news only if it is somewhere. */
static bool is_news(const struct machine_window *window, bool decoded, uint64_t addr)
{
    return window ? window->decoded != decoded || (decoded && window->addr != addr) : decoded;
}

void machine_window_moved(struct machine *machine, struct ringd_dev *dev, unsigned region, bool decoded, uint64_t addr)
{
    pthread_mutex_lock(&machine->queue_lock);
    struct machine_window *window = NULL;
    for (unsigned i = 0; i < machine->window_count; i++)
        if (machine->windows[i].dev == dev && machine->windows[i].region == region)
            window = &machine->windows[i];
    /* A daemon that takes over tells everything again. */
    if (is_news(window, decoded, addr)) {
        if (!window && machine->window_count < MACHINE_MAX_WINDOWS)
            window = &machine->windows[machine->window_count++];
        if (window)
            *window =
                (struct machine_window){.dev = dev, .region = region, .dirty = true, .decoded = decoded, .addr = addr};
        machine->moves++;
        machine_note_pending(machine);
    }
    pthread_mutex_unlock(&machine->queue_lock);
}

void machine_pam_moved(struct machine *machine, const uint8_t pam[I440FX_PAM_COUNT])
{
    pthread_mutex_lock(&machine->queue_lock);
    if (memcmp(machine->pam, pam, I440FX_PAM_COUNT) != 0) {
        memcpy(machine->pam, pam, I440FX_PAM_COUNT);
        machine->pam_dirty = true;
        machine->moves++;
        machine_note_pending(machine);
    }
    pthread_mutex_unlock(&machine->queue_lock);
}

/* An error of KVM's while the guest runs ends the machine. */
static void give_up_on(struct machine *machine, int error, const char *what)
{
    if (!error)
        return;
    fprintf(stderr, "ringvmm: %s: %s\n", what, strerror(-error));
    vm_request(machine->vm, VM_REQUEST_FAILED);
}

static void apply_pam(struct machine *machine, const uint8_t pam[I440FX_PAM_COUNT])
{
    uint8_t modes[MEMORY_PAM_SEGMENTS];
    _Static_assert(MEMORY_PAM_SEGMENTS == I440FX_SEGMENTS && (int)MEMORY_PAM_READ == (int)PAM_READ &&
                       (int)MEMORY_PAM_WRITE == (int)PAM_WRITE,
                   "one set of modes");
    for (unsigned i = 0; i < I440FX_SEGMENTS; i++)
        modes[i] = (uint8_t)i440fx_pam(pam, i);
    give_up_on(machine, memory_set_pam(&machine->vm->memory, modes), "memory below 1 MiB cannot be switched");
}

/* What has been queued, taken out of the queue. */
struct moves {
    struct machine_window windows[MACHINE_MAX_WINDOWS];
    unsigned count;
    bool flash_dirty, flash_shown;
    bool legacy_dirty, legacy_on;
    bool pam_dirty;
    uint8_t pam[I440FX_PAM_COUNT];
    uint32_t functions; /* bits of those whose interrupts have changed */
    struct pci_interrupts interrupts[MACHINE_MAX_FUNCTIONS];
};

/* False when there is nothing; only then is nothing pending any more. */
static bool take_moves(struct machine *machine, struct moves *moves)
{
    pthread_mutex_lock(&machine->queue_lock);
    bool any = machine->pam_dirty || machine->flash_dirty || machine->legacy_dirty;
    moves->legacy_dirty = machine->legacy_dirty;
    moves->legacy_on = machine->legacy_on;
    machine->legacy_dirty = false;
    moves->flash_dirty = machine->flash_dirty;
    moves->flash_shown = machine->flash_shown;
    machine->flash_dirty = false;
    moves->count = machine->window_count;
    moves->pam_dirty = machine->pam_dirty;
    memcpy(moves->windows, machine->windows, sizeof(moves->windows));
    memcpy(moves->pam, machine->pam, sizeof(moves->pam));
    for (unsigned i = 0; i < moves->count; i++) {
        any = any || machine->windows[i].dirty;
        machine->windows[i].dirty = false;
    }
    machine->pam_dirty = false;
    moves->functions = 0;
    for (unsigned i = 0; i < machine->function_count; i++) {
        struct machine_function *function = machine->functions[i];
        moves->functions |= (uint32_t)function->dirty << i;
        moves->interrupts[i] = function->interrupts;
        function->dirty = false;
    }
    any = any || moves->functions;
    if (!any && !machine->window_accesses)
        __atomic_store_n(&machine->vm->pending, false, __ATOMIC_RELEASE);
    pthread_mutex_unlock(&machine->queue_lock);
    return any;
}

static void carry_out(struct machine *machine, const struct moves *moves)
{
    if (moves->pam_dirty)
        apply_pam(machine, moves->pam);
    if (moves->flash_dirty)
        give_up_on(machine, memory_show_flash(&machine->vm->memory, moves->flash_shown),
                   "the flash cannot be switched");
    if (moves->legacy_dirty)
        give_up_on(machine, irq_hpet_legacy(&machine->vm->irq, moves->legacy_on),
                   "the HPET cannot stand in for the PIT");
    /* First what goes, then what comes: two windows may change places, and one that found its place taken may have it
     * when the other has left. */
    for (unsigned i = 0; i < moves->count; i++) {
        if (moves->windows[i].dirty && machine->placed[i]) {
            remove_region(machine, moves->windows[i].dev, moves->windows[i].region);
            machine->placed[i] = false;
        }
    }
    for (unsigned i = 0; i < moves->count; i++) {
        const struct machine_window *window = &moves->windows[i];
        if (!window->decoded || machine->placed[i])
            continue;
        machine->placed[i] = place_region(machine, window->dev, window->region, window->addr) == 0;
        if (machine->placed[i])
            machine_tables_moved(machine, window->dev, window->region, window->addr);
        else if (window->dirty)
            __atomic_fetch_add(&machine->refused, 1, __ATOMIC_RELAXED);
    }
    for (uint32_t left = moves->functions; left; left &= left - 1) {
        unsigned i = (unsigned)__builtin_ctz(left);
        give_up_on(machine, machine_apply_messages(machine->functions[i], &moves->interrupts[i]),
                   "a PCI function's interrupts cannot be set");
    }
}

void machine_apply(struct machine *machine)
{
    /* `pending` falls only after the work is done: a vCPU that moved something waits here while another carries it out,
     * so it never goes on too early. */
    struct moves moves;
    pthread_mutex_lock(&machine->apply_lock);
    while (take_moves(machine, &moves))
        carry_out(machine, &moves);
    pthread_mutex_unlock(&machine->apply_lock);
}
