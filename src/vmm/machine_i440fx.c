/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The i440fx machine: a 440FX host bridge, a PIIX3 with PIIX4 power management, and the ISA devices that firmware
 * expects. PIC, IOAPIC, LAPIC and PIT are in the kernel. A new device is a row in the table below.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <ringd/models/debug_console.h>
#include <ringd/models/debug_exit.h>
#include <ringd/models/i8042.h>
#include <ringd/models/post_code.h>

#include "vmm/machine_internal.h"

#define SERIAL_PORT              0x3f8u
#define DEBUG_CONSOLE_BOCHS_PORT 0xe9u
#define KIBIBYTE                 1024u
#define MEBIBYTE                 (1024u * 1024u)

/* ---- the clock, and the firmware's notes in its NVRAM ---- */

static void nvram_written(void *ctx, unsigned index, uint8_t value)
{
    struct machine *machine = ctx;
    __atomic_store_n(&machine->nvram[index % MACHINE_NVRAM_SIZE], value, __ATOMIC_RELAXED);
    vm_request(machine->vm, VM_REQUEST_NVRAM);
}

static const void *configure_rtc(struct machine *machine, union machine_config *config)
{
    const struct run_options *options = machine->options;
    static const enum mc146818_base bases[] = {[OPTION_RTC_UTC] = MC146818_BASE_UTC,
                                               [OPTION_RTC_LOCALTIME] = MC146818_BASE_LOCALTIME,
                                               [OPTION_RTC_DATE] = MC146818_BASE_DATE};
    time_t now = time(NULL);
    struct tm local;
    config->rtc = (struct mc146818_config){
        .base = bases[options->rtc_base],
        .base_ns = options->rtc_base_seconds * 1000000000,
        .utc_offset_s = localtime_r(&now, &local) ? (int32_t)local.tm_gmtoff : 0,
        .clock = options->rtc_clock == OPTION_RTC_CLOCK_VM ? MC146818_CLOCK_VM : MC146818_CLOCK_HOST,
        .lost_ticks = options->rtc_lost_ticks == OPTION_LOST_TICKS_SLEW ? MC146818_LOST_SLEW : MC146818_LOST_DISCARD,
        .nvram_image = machine->nvram,
        .nvram_written = options->rtc_nvram[0] ? nvram_written : NULL,
        .nvram_ctx = machine,
    };
    return &config->rtc;
}

struct nvram_note {
    uint8_t index;
    uint64_t value;
};

/* What firmware finds in CMOS (SeaBIOS src/hw/rtc.h names the registers). Sizes in the units of each register. */
static void note_configuration(const struct machine *machine, void (*note)(void *to, unsigned index, uint8_t value),
                               void *to)
{
    const struct memory *memory = &machine->vm->memory;
    uint64_t above_1m = memory->low_size > MEBIBYTE ? (memory->low_size - MEBIBYTE) / KIBIBYTE : 0;
    uint64_t above_16m = memory->low_size > 16 * MEBIBYTE ? (memory->low_size - 16 * MEBIBYTE) / 65536 : 0;
    uint64_t above_4g = memory->high_size / 65536;
    above_1m = above_1m > 0xffff ? 0xffff : above_1m;
    const struct nvram_note notes[] = {
        {0x14, 0x06}, /* equipment: FPU, PS/2 pointer port; no floppy, no display */
        {0x15, 640},
        {0x16, 640 >> 8},
        {0x17, above_1m},
        {0x18, above_1m >> 8},
        {0x30, above_1m},
        {0x31, above_1m >> 8},
        {0x34, above_16m},
        {0x35, above_16m >> 8},
        {0x5b, above_4g},
        {0x5c, above_4g >> 8},
        {0x5d, above_4g >> 16},
        {0x3d, 0x12}, /* boot order: hard disk, floppy */
        {0x38, 0x30}, /* then CD-ROM */
        {0x5f, machine->vm->vcpu_count - 1},
    };
    for (unsigned i = 0; i < sizeof(notes) / sizeof(notes[0]); i++)
        note(to, notes[i].index, (uint8_t)notes[i].value);
}

static void note_in_model(void *self, void *machine)
{
    note_configuration(machine, mc146818_set_nvram, self);
}

static void note_in_image(void *image, unsigned index, uint8_t value)
{
    ((uint8_t *)image)[index] = value;
}

static void on_rtc_event(void *ctx, uint32_t event, uint64_t value)
{
    struct machine *machine = ctx;
    if (event == RINGD_EVENT_NVRAM && machine->options->rtc_nvram[0])
        nvram_written(machine, value >> 8 & 0x7f, (uint8_t)value);
}

static int delegate_rtc(struct machine *machine, struct remote_proxy *proxy)
{
    union machine_config config;
    configure_rtc(machine, &config);
    struct ringd_config_rtc rtc = {
        .base = (uint8_t)config.rtc.base,
        .clock = (uint8_t)config.rtc.clock,
        .lost_ticks = (uint8_t)config.rtc.lost_ticks,
        .utc_offset_s = config.rtc.utc_offset_s,
        .base_ns = config.rtc.base_ns,
    };
    memcpy(rtc.nvram, machine->nvram, sizeof(rtc.nvram));
    note_configuration(machine, note_in_image, rtc.nvram);
    memcpy(proxy->config, &rtc, sizeof(rtc));
    proxy->config_bytes = sizeof(rtc);
    proxy->type = "rtc";
    proxy->event = on_rtc_event;
    proxy->ctx = machine;
    return 0;
}

/* ---- PCI ---- */

static void decode_changed(void *ctx, struct pci_function *fn, unsigned window, bool decoded, uint64_t addr)
{
    if (fn->owner && window == PCI_WINDOW_OWN) /* of this machine's functions only power management has one */
        machine_window_moved(ctx, fn->owner, PIIX4_PM_IO, decoded, addr);
}

static void pam_changed(void *ctx, const uint8_t pam[7])
{
    machine_pam_moved(ctx, pam);
}

static void on_pci_event(void *ctx, uint32_t event, uint64_t value)
{
    struct machine *machine = ctx;
    uint8_t pam[I440FX_PAM_COUNT];
    switch (event) {
    case RINGD_EVENT_RESET:
        machine_event(machine, RINGD_EVENT_RESET, 0);
        break;
    case RINGD_EVENT_PCI_WINDOW:
        if (value >> 56 == PIIX4_PM_DEVFN)
            decode_changed(machine, &machine->piix4_pm, value >> 53 & 7, value >> 52 & 1,
                           value & ((UINT64_C(1) << 52) - 1));
        break;
    case RINGD_EVENT_PCI_PAM:
        for (unsigned i = 0; i < I440FX_PAM_COUNT; i++)
            pam[i] = (uint8_t)(value >> (8 * i));
        pam_changed(machine, pam);
        break;
    default: /* the PIRQ routing, which nothing here asks for */
        break;
    }
}

static int delegate_pci(struct machine *machine, struct remote_proxy *proxy)
{
    const struct ringd_config_pci pci = {.functions = 7};
    memcpy(proxy->config, &pci, sizeof(pci));
    proxy->config_bytes = sizeof(pci);
    proxy->type = "pci-host";
    proxy->event = on_pci_event;
    proxy->ctx = machine;
    return 0;
}

/* ---- fw_cfg ---- */

#define E820_RAM 1u /* ACPI 6.4, table 15.2 */

static void fill_fw_cfg(struct machine *machine)
{
    struct machine_firmware *notes = &machine->firmware;
    const struct memory *memory = &machine->vm->memory;
    unsigned cpus = machine->vm->vcpu_count, count = 0;
    notes->e820[0] = (struct machine_e820){0, memory->low_size, E820_RAM};
    notes->e820[1] = (struct machine_e820){MEMORY_HIGH, memory->high_size, E820_RAM};
    notes->items[count++] = (struct fw_cfg_item){.key = FW_CFG_KEY_RAM_SIZE, .size = 8, .value = memory->low_size};
    notes->items[count++] = (struct fw_cfg_item){.key = FW_CFG_KEY_NB_CPUS, .size = 2, .value = cpus};
    notes->items[count++] = (struct fw_cfg_item){.key = FW_CFG_KEY_MAX_CPUS, .size = 2, .value = cpus};
    notes->items[count++] = (struct fw_cfg_item){.key = FW_CFG_KEY_NOGRAPHIC, .size = 2, .value = 1};
    notes->items[count++] = (struct fw_cfg_item){.key = FW_CFG_KEY_BOOT_MENU, .size = 2, .value = 0};
    notes->items[count++] = (struct fw_cfg_item){.key = FW_CFG_KEY_IRQ0_OVERRIDE, .size = 4, .value = 1};
    notes->items[count++] = (struct fw_cfg_item){
        .name = "etc/e820", .data = notes->e820, .size = sizeof(notes->e820[0]) * (memory->high_size ? 2 : 1)};
    if (strcmp(machine->options->serial, "null") != 0) /* the firmware's screen, there being no other */
        notes->items[count++] = (struct fw_cfg_item){.name = "etc/sercon-port", .size = 2, .value = SERIAL_PORT};
    machine_make_tables(machine);
    count += tables_fw_cfg_items(&machine->tables, machine->options->uuid, &notes->items[count]);
    count += boot_fw_cfg_items(machine->boot, notes->items + count);
    notes->config = (struct fw_cfg_config){.items = notes->items, .item_count = count};
}

/* ---- serial input ---- */

struct serial_input {
    const uint8_t *data;
    size_t len, taken;
};

static void receive(void *self, void *arg)
{
    struct serial_input *input = arg;
    input->taken = uart16550_receive(self, input->data, input->len);
}

size_t machine_serial_input(void *ctx, const uint8_t *data, size_t len)
{
    struct machine *machine = ctx;
    if (!machine->uart)
        return 0;
    struct serial_input input = {.data = data, .len = len};
    ringd_call(machine->uart, receive, &input);
    return input.taken;
}

/* ---- the table ---- */

static const void *configure_pci(struct machine *machine, union machine_config *config)
{
    config->pci_host =
        (struct pci_host_config){.slots = machine->pci_slots, .count = MACHINE_PCI_SLOTS, .sink = &machine->pci_sink};
    return &config->pci_host;
}

static const void *configure_fw_cfg(struct machine *machine, union machine_config *config)
{
    config->fw_cfg = machine->firmware.config;
    return &config->fw_cfg;
}

static void rx_ready(void *ctx)
{
    struct machine *machine = ctx;
    chardev_input_ready(machine->serial);
}

static const void *configure_uart(struct machine *machine, union machine_config *config)
{
    config->uart = (struct uart16550_config){.rx_ready = rx_ready, .rx_ready_ctx = machine};
    return &config->uart;
}

#define NO_IRQ                                                                                                         \
    {                                                                                                                  \
        -1, -1                                                                                                         \
    }
#define IRQ(n)                                                                                                         \
    {                                                                                                                  \
        (n), -1                                                                                                        \
    }

static const struct machine_part parts[] = {
    {"rtc", &mc146818_ops, 0x70, IRQ(8), MACHINE_NO_OUTPUT, configure_rtc, delegate_rtc, OPTION_POST_RTC_DATA,
     MC146818_DATA},
    {"pci", &pci_host_ops, PCI_HOST_BASE, NO_IRQ, MACHINE_NO_OUTPUT, configure_pci, delegate_pci, OPTION_POST_PCI_DATA,
     PCI_HOST_DATA},
    {"pm", &piix4_pm_ops, 0, IRQ(9), MACHINE_NO_OUTPUT, NULL, NULL, 0, 0},
    {"serial", &uart16550_ops, SERIAL_PORT, IRQ(4), MACHINE_SERIAL, configure_uart, NULL, 0, 0},
    {"post", &post_code_ops, 0x80, NO_IRQ, MACHINE_NO_OUTPUT, NULL, NULL, 0, 0},
    {"debugcon-e9", &debug_console_ops, DEBUG_CONSOLE_BOCHS_PORT, NO_IRQ, MACHINE_DEBUGCON, NULL, NULL, 0, 0},
    {"fw_cfg", &fw_cfg_ops, FW_CFG_BASE, NO_IRQ, MACHINE_NO_OUTPUT, configure_fw_cfg, NULL, 0, 0},
    {"i8042", &i8042_ops, 0x60, {1, 12}, MACHINE_NO_OUTPUT, NULL, NULL, 0, 0},
};

static struct ringd_dev *find(const struct machine *machine, const char *label)
{
    for (unsigned i = 0; i < machine->device_count; i++)
        if (!strcmp(machine->devices[i].label, label))
            return machine->devices[i].dev;
    return NULL;
}

static int report(const char *label, int error)
{
    fprintf(stderr, "ringvmm: device '%s' cannot be made: %s\n", label, strerror(-error));
    return error;
}

static int add_all(struct machine *machine)
{
    const struct machine_part by_option[] = {
        {"debugcon", &debug_console_ops, (uint64_t)machine->options->debugcon_port, NO_IRQ, MACHINE_DEBUGCON, NULL,
         NULL, 0, 0},
        {"debug-exit", &debug_exit_ops, (uint64_t)machine->options->debug_exit_port, NO_IRQ, MACHINE_NO_OUTPUT, NULL,
         NULL, 0, 0},
    };
    const unsigned fixed = sizeof(parts) / sizeof(parts[0]), all = fixed + sizeof(by_option) / sizeof(by_option[0]);
    for (unsigned i = 0; i < all; i++) {
        const struct machine_part *part = i < fixed ? &parts[i] : &by_option[i - fixed];
        struct ringd_dev *dev;
        if (part->ops == &debug_exit_ops && machine->options->debug_exit_port < 0)
            continue; /* not asked for */
        if (part == &by_option[0] && part->base == DEBUG_CONSOLE_BOCHS_PORT)
            continue; /* stands there anyway */
        int ret = machine_add(machine, part, &dev);
        if (ret)
            return report(part->label, ret);
    }
    return 0;
}

int machine_create(struct machine *machine, struct chardev *serial, struct chardev *debugcon)
{
    machine->serial = serial;
    machine->debugcon = debugcon;
    i440fx_init(&machine->i440fx);
    piix3_init(&machine->piix3);
    piix4_pm_function_init(&machine->piix4_pm);
    machine->pci_sink = (struct pci_sink){.ctx = machine, .decode_changed = decode_changed, .pam_changed = pam_changed};
    machine->pci_slots[0] = (struct pci_slot){I440FX_DEVFN, &machine->i440fx.function};
    machine->pci_slots[1] = (struct pci_slot){PIIX3_DEVFN, &machine->piix3.function};
    machine->pci_slots[2] = (struct pci_slot){PIIX4_PM_DEVFN, &machine->piix4_pm};
    fill_fw_cfg(machine);

    int ret = add_all(machine);
    if (ret)
        return ret;
    machine->uart = find(machine, "serial");
    machine->fw_cfg = find(machine, "fw_cfg");
    machine->pci = find(machine, "pci");
    machine->pm = machine->piix4_pm.owner = find(machine, "pm");
    machine->pm_region = PIIX4_PM_IO;
    if (!machine->remote.client) /* else the daemon's RTC was made with them */
        ringd_call(find(machine, "rtc"), note_in_model, machine);
    return 0;
}
