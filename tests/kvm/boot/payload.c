/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A kernel that prints what it was given, in the three forms that a machine can be entered in: MULTIBOOT, PVH (both
 * 32-bit code in an ELF file) and LINUX (64-bit code in a bzImage). Text goes to port 0x402, the verdict 0x21 to port
 * 0x501.
 *
 * With "reset" in the command line it spoils its own data, moves the registers that ACPI's tables name, and resets the
 * machine the first time, and so must be found as in the file the second time. What tells the two apart is a word of
 * low memory, which a reset leaves alone.
 */
#include <stddef.h>
#include <stdint.h>

#define CONSOLE     0x402
#define DEBUG_EXIT  0x501
#define VERDICT     0x21
#define FW_CFG      0x510
#define FW_CFG_CPUS 5
#define I440FX      0x12378086u                    /* the host bridge's vendor and device; else it is a q35 */
#define BOOTS       ((volatile uint32_t *)0x10000) /* low memory that nothing else of this is in */
#define BOOTS_MAGIC 0xb0075000u
#define STARTED     ((volatile uint8_t *)0x600)       /* how many other CPUs have run */
#define TRAMPOLINE  ((volatile uint8_t *)0x11000)     /* where they begin */
#define ICR         ((volatile uint32_t *)0xfee00300) /* low word of the local APIC's interrupt command register */
#define SVR         ((volatile uint32_t *)0xfee000f0) /* bit 8 switches the APIC on */

void payload_main(uint64_t first, uint64_t second);

static uint8_t data[8192] = {0xda, 0x7a};
static uint8_t bss[65536];

static void out8(uint16_t port, uint8_t value)
{
    __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

static uint8_t in8(uint16_t port)
{
    uint8_t value;
    __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

static void out16(uint16_t port, uint16_t value)
{
    __asm__ volatile("outw %0, %1" : : "a"(value), "Nd"(port));
}

static void out32(uint16_t port, uint32_t value)
{
    __asm__ volatile("outl %0, %1" : : "a"(value), "Nd"(port));
}

static uint32_t in32(uint16_t port)
{
    uint32_t value;
    __asm__ volatile("inl %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

static void say(const char *text)
{
    while (*text)
        out8(CONSOLE, (uint8_t)*text++);
}

static void say_hex(uint64_t value)
{
    unsigned digits = 1;
    while (digits < 16 && value >> (4 * digits))
        digits++;
    while (digits--)
        out8(CONSOLE, (uint8_t) "0123456789abcdef"[value >> (4 * digits) & 15]);
}

static void show(const char *name, uint64_t value)
{
    say(name);
    say(" ");
    say_hex(value);
    say("\n");
}

static void show_text(const char *name, uint64_t addr)
{
    say(name);
    say(" '");
    say((const char *)(uintptr_t)addr);
    say("'\n");
}

static void show_range(uint64_t addr, uint64_t size, uint32_t type)
{
    say("map ");
    say_hex(addr);
    say(" ");
    say_hex(size);
    say(" ");
    say_hex(type);
    say("\n");
}

/* A sum in which the order of bytes counts. */
static void show_module(uint64_t addr, uint64_t size)
{
    uint32_t sum = 0;
    for (uint64_t i = 0; i < size; i++)
        sum = (sum << 1 | sum >> 31) + ((const uint8_t *)(uintptr_t)addr)[i];
    show("module", addr);
    show("module-size", size);
    show("module-sum", sum);
}

static int has_word(uint64_t text, const char *word)
{
    for (const char *at = (const char *)(uintptr_t)text; *at; at++) {
        size_t i = 0;
        while (word[i] && at[i] == word[i])
            i++;
        if (!word[i])
            return 1;
    }
    return 0;
}

static void show_processor(void)
{
    uintptr_t flags, cr0;
    uint16_t cs, ds, ss;
    __asm__ volatile("pushf; pop %0" : "=r"(flags));
    __asm__ volatile("mov %%cr0, %0" : "=r"(cr0));
    __asm__ volatile("mov %%cs, %0" : "=r"(cs));
    __asm__ volatile("mov %%ds, %0" : "=r"(ds));
    __asm__ volatile("mov %%ss, %0" : "=r"(ss));
    show("cr0", cr0);
    show("interrupts", flags >> 9 & 1);
    show("cs", cs);
    show("ds", ds);
    show("ss", ss);
    /* Each from the table, as it says: a load of what is loaded must not fault. */
    __asm__ volatile("mov %0, %%ds; mov %0, %%es; mov %0, %%ss" : : "r"(ds));
}

static void show_self(void)
{
    uint32_t spoilt = data[0] != 0xda || data[1] != 0x7a;
    for (size_t i = 2; i < sizeof(data); i++)
        spoilt += data[i] != 0;
    for (size_t i = 0; i < sizeof(bss); i++)
        spoilt += bss[i] != 0;
    show("spoilt", spoilt);
}

/* Where power management registers and, on a q35, configuration space in memory are. */
static void show_places(void)
{
    out32(0xcf8, 0x80000000);
    uint32_t host = in32(0xcfc);
    show("host", host);
    out32(0xcf8, host == I440FX ? 0x80000b40 : 0x8000f840);
    show("pm-base", in32(0xcfc));
    out32(0xcf8, 0x80000060);
    show("ecam", host == I440FX ? 0 : in32(0xcfc));
}

static void move_places(void)
{
    out32(0xcf8, 0x80000000);
    uint32_t host = in32(0xcfc);
    out32(0xcf8, host == I440FX ? 0x80000b40 : 0x8000f840);
    out32(0xcfc, 0x1281);
    out32(0xcf8, 0x80000060);
    if (host != I440FX)
        out32(0xcfc, 0xd0000001);
}

static void send(uint32_t command)
{
    *ICR = command;
    while (*ICR & 0x1000)
        ;
}

/* Starts all other CPUs, of which fw_cfg knows how many there are, and waits for them. */
static void show_cpus(void)
{
    static const uint8_t code[] = {
        0x31, 0xc0,                   /* xor %ax, %ax */
        0x8e, 0xd8,                   /* mov %ax, %ds */
        0xf0, 0xfe, 0x06, 0x00, 0x06, /* lock incb STARTED */
        0xfa, 0xf4, 0xeb, 0xfc,       /* 1: cli; hlt; jmp 1b */
    };
    out16(FW_CFG, FW_CFG_CPUS);
    unsigned cpus = in8(FW_CFG + 1);
    cpus |= (unsigned)in8(FW_CFG + 1) << 8;
    show("fw_cfg-cpus", cpus);
    for (size_t i = 0; i < sizeof(code); i++)
        TRAMPOLINE[i] = code[i];
    *STARTED = 0;
    *SVR = 0x1ff;
    send(0x000c4500); /* INIT to all but this */
    send(0x000c4611); /* start at page 0x11; twice, as the Intel SDM's algorithm has it */
    send(0x000c4611);
    while (*STARTED != cpus - 1)
        ;
    show("started", *STARTED);
}

static void stop(void)
{
    for (;;)
        __asm__ volatile("cli; hlt");
}

static void reset_once(uint64_t cmdline)
{
    uint32_t boots = (*BOOTS & 0xfffff000u) == BOOTS_MAGIC ? *BOOTS & 0xfff : 0;
    *BOOTS = BOOTS_MAGIC | (boots + 1);
    show("boot", boots + 1);
    if (boots || !has_word(cmdline, "reset"))
        return;
    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = 0x55;
    for (size_t i = 0; i < sizeof(bss); i++)
        bss[i] = 0x55;
    move_places();
    show_places();
    out8(0xcf9, 0x02);
    out8(0xcf9, 0x06);
    stop();
}

#if defined(MULTIBOOT)
struct information {
    uint32_t flags, lower, upper, boot_device, cmdline, module_count, modules, symbols[4], map_size, map, drives_size,
        drives, config, loader;
};

struct __attribute__((packed)) map_entry {
    uint32_t size;
    uint64_t addr, length;
    uint32_t type;
};

void payload_main(uint64_t first, uint64_t second)
{
    const struct information *info = (const void *)(uintptr_t)second;
    show("magic", first);
    show("flags", info->flags);
    show("lower", info->lower);
    show("upper", info->upper);
    show_text("cmdline", info->cmdline);
    show_text("loader", info->loader);
    for (uint32_t at = info->map; at < info->map + info->map_size;) {
        const struct map_entry *entry = (const void *)(uintptr_t)at;
        show_range(entry->addr, entry->length, entry->type);
        at += entry->size + 4;
    }
    for (uint32_t i = 0; i < info->module_count; i++) {
        const uint32_t *module = (const uint32_t *)(uintptr_t)(info->modules + 16 * i);
        show_module(module[0], module[1] - module[0]);
        show_text("module-name", module[2]);
    }
#define CMDLINE info->cmdline
#elif defined(PVH)
struct start_info {
    uint32_t magic, version, flags, module_count;
    uint64_t modules, cmdline, rsdp, map;
    uint32_t map_count, reserved;
};

struct map_entry {
    uint64_t addr, size;
    uint32_t type, reserved;
};

void payload_main(uint64_t first, uint64_t second)
{
    const struct start_info *info = (const void *)(uintptr_t)second;
    (void)first;
    show("magic", info->magic);
    show("version", info->version);
    show("flags", info->flags);
    show("rsdp-there", *(volatile uint64_t *)(uintptr_t)info->rsdp);
    show_text("cmdline", info->cmdline);
    for (uint32_t i = 0; i < info->map_count; i++) {
        const struct map_entry *entry = (const struct map_entry *)(uintptr_t)info->map + i;
        show_range(entry->addr, entry->size, entry->type);
    }
    for (uint32_t i = 0; i < info->module_count; i++) {
        const uint64_t *module = (const uint64_t *)(uintptr_t)info->modules + 4 * i;
        show_module(module[0], module[1]);
    }
#define CMDLINE info->cmdline
#else
#include <asm/bootparam.h>

void payload_main(uint64_t first, uint64_t second)
{
    const struct boot_params *info = (const void *)(uintptr_t)second;
    (void)first;
    show("sentinel", info->sentinel);
    show("loader", info->hdr.type_of_loader);
    show("version", info->hdr.version);
    show("header", info->hdr.header);
    show_text("cmdline", info->hdr.cmd_line_ptr | (uint64_t)info->ext_cmd_line_ptr << 32);
    for (unsigned i = 0; i < info->e820_entries; i++)
        show_range(info->e820_table[i].addr, info->e820_table[i].size, info->e820_table[i].type);
    if (info->hdr.ramdisk_size)
        show_module(info->hdr.ramdisk_image, info->hdr.ramdisk_size);
    show("rsdp-there", *(volatile uint64_t *)info->acpi_rsdp_addr);
    show("hole", *(volatile uint32_t *)0xfff00000); /* mapped, and no memory */
#define CMDLINE info->hdr.cmd_line_ptr
#endif
    show("rsdp-text", *(volatile uint64_t *)0xe0000);
    show("smbios-text", *(volatile uint32_t *)0xf0000);
    show_processor();
    show_places();
    show_cpus();
    show_self();
    reset_once(CMDLINE);
    say("end\n");
    out8(DEBUG_EXIT, VERDICT);
    stop();
}
