/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What every PC of ours has: the ISA devices that firmware and operating systems expect, what firmware reads of the
 * machine in CMOS and fw_cfg, and the making of a machine from its tables. PIC, IOAPIC, LAPIC and PIT are in the
 * kernel. A new device is a row in a table.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <ringd/models/debug_console.h>
#include <ringd/models/debug_exit.h>
#include <ringd/models/i8042.h>
#include <ringd/models/piix3.h>
#include <ringd/models/post_code.h>

#include "vmm/machine_internal.h"

#define SERIAL_PORT              0x3f8u
#define DEBUG_CONSOLE_BOCHS_PORT 0xe9u
#define NO_PIN                   (-1)
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

void machine_pam_changed(void *ctx, const uint8_t pam[7])
{
    machine_pam_moved(ctx, pam);
}

void machine_pirq_changed(void *ctx, const uint8_t *route, unsigned count)
{
    struct machine *machine = ctx;
    for (unsigned i = 0; i < count && i < IRQ_PIRQS; i++)
        irq_pirq_route(&machine->vm->irq, i, piix3_pirq_irq(route[i]));
}

const void *machine_configure_pci(struct machine *machine, union machine_config *config)
{
    config->pci_host = (struct pci_host_config){
        .slots = machine->pci_slots, .count = machine->function_count, .sink = &machine->pci_sink};
    return &config->pci_host;
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
    uint32_t order = (uint32_t)machine_boot_order(machine->options, notes->boot_order);
    if (order)
        notes->items[count++] = (struct fw_cfg_item){.name = "bootorder", .data = notes->boot_order, .size = order};
    machine_make_tables(machine);
    count += tables_fw_cfg_items(&machine->tables, machine->options->uuid, notes->items + count);
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

static void receive_break(void *self, void *arg)
{
    (void)arg;
    (void)uart16550_receive_break(self);
}

void machine_serial_break(struct machine *machine)
{
    if (machine->uart)
        ringd_call(machine->uart, receive_break, NULL);
}

/* ---- the power button ---- */

bool machine_power_button(struct machine *machine)
{
    struct ringd_dev *pm = machine_find(machine, "pm");
    bool heard = false;
    ringd_call(pm, machine->type->power_button, &heard);
    return heard;
}

/* ---- the tables ---- */

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

static const struct machine_part isa_parts[] = {
    {.label = "rtc",
     .ops = &mc146818_ops,
     .base = 0x70,
     .irqs = {8, -1},
     .configure = configure_rtc,
     .delegate = delegate_rtc,
     .post = OPTION_POST_RTC_DATA,
     .post_region = MC146818_DATA},
    {.label = "serial",
     .ops = &uart16550_ops,
     .base = SERIAL_PORT,
     .irqs = {4, -1},
     .output = MACHINE_SERIAL,
     .configure = configure_uart},
    {.label = "post", .ops = &post_code_ops, .base = 0x80, .irqs = {-1, -1}},
    {.label = "debugcon-e9",
     .ops = &debug_console_ops,
     .base = DEBUG_CONSOLE_BOCHS_PORT,
     .irqs = {-1, -1},
     .output = MACHINE_DEBUGCON},
    {.label = "fw_cfg", .ops = &fw_cfg_ops, .base = FW_CFG_BASE, .irqs = {-1, -1}, .configure = configure_fw_cfg},
    {.label = "i8042", .ops = &i8042_ops, .base = 0x60, .irqs = {1, 12}},
};

struct ringd_dev *machine_find(const struct machine *machine, const char *label)
{
    for (unsigned i = 0; i < machine->device_count; i++)
        if (!strcmp(machine->devices[i].label, label))
            return machine->devices[i].dev;
    return NULL;
}

static int add_part(struct machine *machine, const struct machine_part *part)
{
    struct ringd_dev *dev;
    int ret = machine_add(machine, part, &dev);
    if (ret)
        fprintf(stderr, "ringvmm: device '%s' cannot be made: %s\n", part->label, strerror(-ret));
    return ret;
}

static int add_parts(struct machine *machine, const struct machine_part *parts, unsigned count)
{
    int ret = 0;
    for (unsigned i = 0; i < count && !ret; i++)
        ret = add_part(machine, &parts[i]);
    return ret;
}

/* ---- the HPET ---- */

static void legacy_changed(void *ctx, bool on)
{
    struct machine *machine = ctx;
    pthread_mutex_lock(&machine->queue_lock);
    machine->legacy_on = on;
    machine->legacy_dirty = true;
    machine_note_pending(machine);
    pthread_mutex_unlock(&machine->queue_lock);
}

static const void *configure_hpet(struct machine *machine, union machine_config *config)
{
    config->hpet = (struct hpet_config){.legacy = legacy_changed, .ctx = machine};
    return &config->hpet;
}

static int add_hpet(struct machine *machine)
{
    static const int pins[MACHINE_DEVICE_LINES] = {
        [HPET_LINE_LEGACY_0] = 0, [HPET_LINE_LEGACY_1] = 8, [HPET_LINE_20] = 20,   [HPET_LINE_20 + 1] = 21,
        [HPET_LINE_20 + 2] = 22,  [HPET_LINE_20 + 3] = 23,  [HPET_LINES] = NO_PIN, [HPET_LINES + 1] = NO_PIN};
    const struct machine_part part = {
        .label = "hpet", .ops = &hpet_ops, .base = ACPI_HPET_BASE, .pins = pins, .configure = configure_hpet};
    return machine->options->hpet ? add_part(machine, &part) : 0;
}

/* ---- the flash ---- */

static void flash_mode(void *ctx, bool array)
{
    struct machine *machine = ctx;
    pthread_mutex_lock(&machine->queue_lock);
    machine->flash_shown = array;
    machine->flash_dirty = true;
    machine_note_pending(machine);
    pthread_mutex_unlock(&machine->queue_lock);
}

static void flash_changed(void *ctx)
{
    struct machine *machine = ctx;
    vm_request(machine->vm, VM_REQUEST_FLASH);
}

static const void *configure_flash(struct machine *machine, union machine_config *config)
{
    config->flash = (struct cfi_flash_config){.array = machine->flash->array,
                                              .bytes = machine->flash->bytes,
                                              .ctx = machine,
                                              .mode = flash_mode,
                                              .changed = flash_changed};
    return &config->flash;
}

static int add_flash(struct machine *machine)
{
    if (!machine->flash->array)
        return 0;
    struct memory *memory = &machine->vm->memory;
    machine->flash_ops = cfi_flash_ops;
    machine->flash_region = cfi_flash_ops.regions[CFI_FLASH_ARRAY];
    machine->flash_region.size = machine->flash->bytes;
    machine->flash_ops.regions = &machine->flash_region;
    const struct machine_part part = {.label = "flash",
                                      .ops = &machine->flash_ops,
                                      .base = MEMORY_HIGH - memory->rom_size - machine->flash->bytes,
                                      .irqs = {-1, -1},
                                      .configure = configure_flash};
    int ret = add_part(machine, &part);
    if (ret)
        return ret;
    ret = memory_add_flash(memory, machine->flash->array, machine->flash->bytes);
    if (ret)
        fprintf(stderr, "ringvmm: the flash cannot be shown below the firmware: %s\n", strerror(-ret));
    return ret;
}

static int add_by_option(struct machine *machine)
{
    const struct machine_part debugcon = {.label = "debugcon",
                                          .ops = &debug_console_ops,
                                          .base = (uint64_t)machine->options->debugcon_port,
                                          .irqs = {-1, -1},
                                          .output = MACHINE_DEBUGCON};
    const struct machine_part debug_exit = {.label = "debug-exit",
                                            .ops = &debug_exit_ops,
                                            .base = (uint64_t)machine->options->debug_exit_port,
                                            .irqs = {-1, -1}};
    int ret = 0;
    if (debugcon.base != DEBUG_CONSOLE_BOCHS_PORT) /* where one stands anyway */
        ret = add_part(machine, &debugcon);
    if (!ret && machine->options->debug_exit_port >= 0)
        ret = add_part(machine, &debug_exit);
    return ret;
}

static const struct machine_type *type_of(const struct run_options *options)
{
    static const struct machine_type *const types[] = {
        [OPTION_MACHINE_I440FX] = &machine_i440fx, [OPTION_MACHINE_Q35] = &machine_q35};
    return types[options->machine];
}

uint64_t machine_low_limit(const struct run_options *options)
{
    return type_of(options)->low_limit;
}

int machine_create(struct machine *machine, struct chardev *serial, struct chardev *debugcon, struct chardev *console,
                   struct flash *flash)
{
    const struct machine_type *type = machine->type = type_of(machine->options);
    machine->serial = serial;
    machine->debugcon = debugcon;
    machine->flash = flash;
    machine->console = console;
    machine->pci_sink = (struct pci_sink){.ctx = machine,
                                          .decode_changed = machine_decode_changed,
                                          .pam_changed = machine_pam_changed,
                                          .pirq_changed = machine_pirq_changed,
                                          .interrupts_changed = machine_interrupts_changed,
                                          .window_accessed = machine_window_accessed};
    int ret = type->add_functions(machine);
    ret = ret ? ret : machine_add_virtio_functions(machine);
    if (ret)
        return ret;
    fill_fw_cfg(machine);
    ret = add_parts(machine, type->parts, type->part_count);
    ret = ret ? ret : add_parts(machine, isa_parts, sizeof(isa_parts) / sizeof(isa_parts[0]));
    ret = ret ? ret : add_by_option(machine);
    ret = ret ? ret : add_hpet(machine);
    ret = ret ? ret : add_flash(machine);
    ret = ret ? ret : type->connect(machine);
    ret = ret ? ret : machine_add_virtio_devices(machine);
    if (ret)
        return ret;
    machine->uart = machine_find(machine, "serial");
    machine->fw_cfg = machine_find(machine, "fw_cfg");
    machine->pci = machine_find(machine, "pci");
    machine->pm = machine_find(machine, "pm");
    if (!machine->remote.client) /* else the daemon's RTC was made with them */
        ringd_call(machine_find(machine, "rtc"), note_in_model, machine);
    return 0;
}
