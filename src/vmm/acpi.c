/* SPDX-License-Identifier: BSD-2-Clause */
/* ACPI tables that are data: section and table numbers in comments are those of the ACPI specification, version 6.3. */
#include "vmm/acpi.h"

#include <assert.h>
#include <string.h>

#include "vmm/acpi_internal.h"

#define GIBIBYTE UINT64_C(0x40000000)
#define HIGH     UINT64_C(0x100000000)

#define OEM_ID       "RINGVM"
#define OEM_TABLE_ID "RINGVMM "
#define CREATOR_ID   "RVMM"

#define IRQ(n) (1u << (n))

/* Where firmware puts BARs on i440fx: SeaBIOS from 2 GiB or RAM's end on (src/fw/pciinit.c), OVMF likewise. */
#define PCI_LOW_LEAST 0x80000000u

static const struct acpi_config boards[] = {
    [ACPI_I440FX] = {.board = ACPI_I440FX,
                     .sci = 9,
                     .level_irqs = IRQ(5) | IRQ(9) | IRQ(10) | IRQ(11), /* the link devices' choice, and the SCI */
                     .smi_port = 0xb2,
                     .acpi_enable = 0xf1, /* PIIX4_PM_ACPI_ENABLE */
                     .acpi_disable = 0xf0,
                     .pm_base = 0x600}, /* SeaBIOS's choice */
    [ACPI_Q35] = {.board = ACPI_Q35,
                  .sci = 9,
                  .level_irqs = IRQ(9), /* with the IOAPIC in use PCI has inputs of its own */
                  .smi_port = 0xb2,
                  .acpi_enable = 0xf1, /* ICH9_PM_ACPI_ENABLE */
                  .acpi_disable = 0xf0,
                  .gpe0_offset = 0x20, /* Intel ICH9 data sheet 316972, 13.8.3 */
                  .gpe0_bytes = 16,
                  .ecam_size = 0x10000000, /* 256 buses of 1 MiB */
                  .pm_base = 0x600,        /* SeaBIOS's and OVMF's choice */
                  .ecam_base = 0xe0000000 /* between the most RAM there is and the IOAPIC */},
};

void acpi_board_config(enum acpi_board board, struct acpi_config *config)
{
    *config = boards[board];
}

void acpi_config_memory(struct acpi_config *config, uint64_t low_size, uint64_t high_size, unsigned address_bits)
{
    config->pci_low = low_size > PCI_LOW_LEAST ? (uint32_t)low_size : PCI_LOW_LEAST;
    config->pci_low_end = ACPI_IOAPIC_BASE;
    config->pci_high = (HIGH + high_size + GIBIBYTE - 1) / GIBIBYTE * GIBIBYTE;
    config->pci_high_end = UINT64_C(1) << (address_bits > 52 ? 52 : address_bits); /* 52: x86-64 has no more */
    if (config->pci_high_end < config->pci_high)
        config->pci_high_end = config->pci_high;
}

/* ---- writing ---- */

void acpi_put_bytes(struct acpi *acpi, const void *data, size_t size)
{
    assert(size <= sizeof(acpi->blob) - acpi->blob_size);
    memcpy(acpi->blob + acpi->blob_size, data, size);
    acpi->blob_size += (uint32_t)size;
}

void acpi_put(struct acpi *acpi, uint64_t value, unsigned bytes)
{
    uint8_t number[8];
    assert(bytes <= sizeof(number));
    acpi_store(number, value, bytes);
    acpi_put_bytes(acpi, number, bytes);
}

void acpi_align(struct acpi *acpi, unsigned alignment)
{
    while (acpi->blob_size % alignment)
        acpi_put(acpi, 0, 1);
}

void acpi_add_link(struct acpi *acpi, const struct acpi_link *link)
{
    assert(acpi->link_count < ACPI_MAX_LINKS);
    acpi->links[acpi->link_count++] = *link;
}

void acpi_note_table(struct acpi *acpi, const char signature[4], uint32_t offset)
{
    assert(acpi->table_count < ACPI_MAX_TABLES);
    struct acpi_table *table = &acpi->tables[acpi->table_count++];
    *table = (struct acpi_table){.offset = offset, .size = acpi->blob_size - offset};
    memcpy(table->signature, signature, 4);
}

void acpi_put_pointer(struct acpi *acpi, uint32_t target, unsigned bytes)
{
    acpi_add_link(acpi, &(struct acpi_link){.kind = ACPI_ADD_POINTER, .offset = acpi->blob_size, .size = bytes});
    acpi_put(acpi, target, bytes);
}

uint32_t acpi_begin(struct acpi *acpi, const char signature[4], uint8_t revision)
{
    acpi_align(acpi, 16);
    uint32_t table = acpi->blob_size;
    acpi_put_bytes(acpi, signature, 4);
    acpi_put(acpi, 0, 4); /* length: acpi_end() */
    acpi_put(acpi, revision, 1);
    acpi_put(acpi, 0, 1); /* checksum: the linker */
    acpi_put_bytes(acpi, OEM_ID, 6);
    acpi_put_bytes(acpi, OEM_TABLE_ID, 8);
    acpi_put(acpi, 1, 4);
    acpi_put_bytes(acpi, CREATOR_ID, 4);
    acpi_put(acpi, 1, 4);
    return table;
}

void acpi_end(struct acpi *acpi, uint32_t table)
{
    uint32_t end = acpi->blob_size;
    acpi->blob_size = table + 4;
    acpi_put(acpi, end - table, 4);
    acpi->blob_size = end;
    acpi->blob[table + 9] = 0;
    acpi_add_link(acpi, &(struct acpi_link){
                            .kind = ACPI_ADD_CHECKSUM, .offset = table + 9, .start = table, .length = end - table});
    acpi_note_table(acpi, (const char *)acpi->blob + table, table);
}

/* ---- the tables ---- */

/* 5.2.10. */
static uint32_t put_facs(struct acpi *acpi)
{
    acpi_align(acpi, 64);
    uint32_t table = acpi->blob_size;
    acpi_put_bytes(acpi, "FACS", 4);
    acpi_put(acpi, 64, 4); /* length */
    acpi_put(acpi, 0, 8);  /* hardware signature, waking vector */
    acpi_put(acpi, 0, 8);  /* global lock, flags */
    acpi_put(acpi, 0, 8);  /* 64-bit waking vector */
    acpi_put(acpi, 2, 1);  /* version */
    acpi_align(acpi, 64);
    acpi_note_table(acpi, "FACS", table);
    return table;
}

/* 5.2.3.2, a register in I/O space. access: 1 byte, 2 word, 3 dword. */
static void put_port(struct acpi *acpi, unsigned port, unsigned bits, unsigned access)
{
    acpi_put(acpi, port ? 1 : 0, 1);
    acpi_put(acpi, port ? bits : 0, 1);
    acpi_put(acpi, 0, 1);
    acpi_put(acpi, port ? access : 0, 1);
    acpi_put(acpi, port, 8);
}

/* Table 5-34. */
#define FADT_WBINVD             IRQ(0)
#define FADT_PROC_C1            IRQ(2)
#define FADT_SLP_BUTTON         IRQ(5) /* no sleep button among the fixed registers; the power button is there */
#define FADT_FIX_RTC            IRQ(6) /* no RTC wake-up status there */
#define FADT_RESET_REG_SUP      IRQ(10)
#define FADT_USE_PLATFORM_CLOCK IRQ(15) /* the PM timer (or HPET) rather than a TSC that may not be constant */
#define FADT_APIC_CLUSTER       IRQ(18) /* xAPIC logical flat mode ends at eight processors */

#define FLAT_MODE_CPUS 8u

/* Table 5-35, IA-PC boot architecture flags. */
#define BOOT_LEGACY_DEVICES IRQ(0)
#define BOOT_8042           IRQ(1)
#define BOOT_NO_VGA         IRQ(2)

#define RESET_PORT  0xcf9u
#define RESET_VALUE 6u /* hard reset, and the bit whose rise resets */

static uint32_t fadt_flags(const struct acpi_config *config)
{
    return FADT_WBINVD | FADT_PROC_C1 | FADT_SLP_BUTTON | FADT_FIX_RTC | FADT_RESET_REG_SUP | FADT_USE_PLATFORM_CLOCK |
           (config->cpus > FLAT_MODE_CPUS ? FADT_APIC_CLUSTER : 0);
}

/* Table 5-33, revision 6.3. */
static uint32_t put_fadt(struct acpi *acpi, const struct acpi_config *config, uint32_t facs, uint32_t dsdt)
{
    unsigned pm1_event = config->pm_base, pm1_control = pm1_event + 4, timer = pm1_event + 8;
    unsigned gpe0 = config->gpe0_bytes ? pm1_event + config->gpe0_offset : 0;
    uint32_t table = acpi_begin(acpi, "FACP", 6);
    acpi_put_pointer(acpi, facs, 4);
    acpi_put_pointer(acpi, dsdt, 4);
    acpi_put(acpi, 0, 1); /* reserved */
    acpi_put(acpi, 0, 1); /* preferred profile: unspecified */
    acpi_put(acpi, config->sci, 2);
    acpi_put(acpi, config->smi_port, 4);
    acpi_put(acpi, config->smi_port ? config->acpi_enable : 0, 1);
    acpi_put(acpi, config->smi_port ? config->acpi_disable : 0, 1);
    acpi_put(acpi, 0, 2); /* S4BIOS_REQ, PSTATE_CNT: none */
    acpi_put(acpi, pm1_event, 4);
    acpi_put(acpi, 0, 4); /* PM1b */
    acpi_put(acpi, pm1_control, 4);
    acpi_put(acpi, 0, 8); /* PM1b, PM2 */
    acpi_put(acpi, timer, 4);
    acpi_put(acpi, gpe0, 4);
    acpi_put(acpi, 0, 4); /* GPE1 */
    acpi_put(acpi, 4, 1); /* bytes of PM1 event */
    acpi_put(acpi, 2, 1); /* of PM1 control */
    acpi_put(acpi, 0, 1); /* of PM2 */
    acpi_put(acpi, 4, 1); /* of the timer */
    acpi_put(acpi, config->gpe0_bytes, 1);
    acpi_put(acpi, 0, 3);      /* GPE1's size and base, CST_CNT */
    acpi_put(acpi, 0x0fff, 2); /* latency of C2: above 100 us, there is none */
    acpi_put(acpi, 0x0fff, 2); /* of C3: above 1000 us, likewise */
    acpi_put(acpi, 0, 8);      /* flush size and stride, duty offset and width, day and month alarm: none */
    acpi_put(acpi, 0x32, 1);   /* the century's byte in the RTC: MC146818_DEFAULT_CENTURY */
    acpi_put(acpi,
             BOOT_LEGACY_DEVICES | (config->keyboard || config->mouse ? BOOT_8042 : 0) |
                 (config->display ? 0 : BOOT_NO_VGA),
             2);
    acpi_put(acpi, 0, 1); /* reserved */
    acpi_put(acpi, fadt_flags(config), 4);
    put_port(acpi, RESET_PORT, 8, 1);
    acpi_put(acpi, RESET_VALUE, 1);
    acpi_put(acpi, 0, 2); /* ARM boot flags */
    acpi_put(acpi, 3, 1); /* minor revision */
    acpi_put(acpi, 0, 8); /* X_FIRMWARE_CTRL: must be 0 where FIRMWARE_CTRL is not */
    acpi_put_pointer(acpi, dsdt, 8);
    put_port(acpi, pm1_event, 32, 2);
    put_port(acpi, 0, 0, 0); /* PM1b */
    put_port(acpi, pm1_control, 16, 2);
    put_port(acpi, 0, 0, 0); /* PM1b */
    put_port(acpi, 0, 0, 0); /* PM2 */
    put_port(acpi, timer, 32, 3);
    put_port(acpi, gpe0, config->gpe0_bytes * 8u, 1);
    put_port(acpi, 0, 0, 0);         /* GPE1 */
    put_port(acpi, 0, 0, 0);         /* sleep control: for hardware-reduced ACPI */
    put_port(acpi, 0, 0, 0);         /* sleep status */
    acpi_put_bytes(acpi, OEM_ID, 6); /* hypervisor's identity */
    acpi_put(acpi, 0, 2);            /* padded to 8 */
    acpi_end(acpi, table);
    return table;
}

/* 5.2.12. */
static uint32_t put_madt(struct acpi *acpi, const struct acpi_config *config)
{
    bool x2apic = false;
    uint32_t table = acpi_begin(acpi, "APIC", 5);
    acpi_put(acpi, ACPI_LAPIC_BASE, 4);
    acpi_put(acpi, 1, 4); /* there are two 8259s as well */
    for (unsigned i = 0; i < config->cpus; i++) {
        uint32_t id = config->apic_ids[i];
        bool wide = id > 254; /* 255 is the broadcast */
        x2apic = x2apic || wide;
        acpi_put(acpi, wide ? 9 : 0, 1); /* 5.2.12.12, 5.2.12.2 */
        acpi_put(acpi, wide ? 16 : 8, 1);
        if (wide) {
            acpi_put(acpi, 0, 2);
            acpi_put(acpi, id, 4);
            acpi_put(acpi, 1, 4); /* enabled */
            acpi_put(acpi, i, 4); /* the processor device's _UID */
        } else {
            acpi_put(acpi, i, 1);
            acpi_put(acpi, id, 1);
            acpi_put(acpi, 1, 4);
        }
    }
    acpi_put(acpi, 1, 1); /* 5.2.12.3, IOAPIC */
    acpi_put(acpi, 12, 1);
    acpi_put(acpi, 0, 2); /* its ID after a reset, reserved */
    acpi_put(acpi, ACPI_IOAPIC_BASE, 4);
    acpi_put(acpi, 0, 4); /* its first interrupt */
    for (unsigned irq = 0; irq < 16; irq++) {
        if (irq && !(config->level_irqs & IRQ(irq)))
            continue;
        acpi_put(acpi, 2, 1); /* 5.2.12.5, source override */
        acpi_put(acpi, 10, 1);
        acpi_put(acpi, 0, 1);                /* ISA */
        acpi_put(acpi, irq, 1);              /* interrupt 0, the PIT, is at input 2 */
        acpi_put(acpi, irq ? irq : 2, 4);    /* all others where they are on the 8259s */
        acpi_put(acpi, irq ? 0x000d : 0, 2); /* level, active high; 0: as ISA has it */
    }
    acpi_put(acpi, 4, 1); /* 5.2.12.7, local APIC NMI */
    acpi_put(acpi, 6, 1);
    acpi_put(acpi, 0xff, 1); /* of all processors */
    acpi_put(acpi, 0, 2);
    acpi_put(acpi, 1, 1); /* LINT1 */
    if (x2apic) {
        acpi_put(acpi, 10, 1); /* 5.2.12.13, local x2APIC NMI */
        acpi_put(acpi, 12, 1);
        acpi_put(acpi, 0, 2);
        acpi_put(acpi, 0xffffffff, 4); /* of all */
        acpi_put(acpi, 1, 1);          /* LINT1 */
        acpi_put(acpi, 0, 3);
    }
    acpi_end(acpi, table);
    return table;
}

/* PCI Firmware Specification 3.3, 4.1.2. */
static uint32_t put_mcfg(struct acpi *acpi, const struct acpi_config *config)
{
    uint32_t table = acpi_begin(acpi, "MCFG", 1);
    acpi_put(acpi, 0, 8);
    acpi_put(acpi, config->ecam_base, 8);
    acpi_put(acpi, 0, 2); /* segment */
    acpi_put(acpi, 0, 1); /* first bus */
    acpi_put(acpi, (config->ecam_size >> 20) - 1, 1);
    acpi_put(acpi, 0, 4);
    acpi_end(acpi, table);
    return table;
}

/* IA-PC HPET Specification 1.0a, 3.2.4. */
static uint32_t put_hpet(struct acpi *acpi)
{
    uint32_t table = acpi_begin(acpi, "HPET", 1);
    acpi_put(acpi, 0x8086a201,
             4);          /* the low half of its capabilities: Intel, legacy routing, 3 comparators, revision 1 */
    acpi_put(acpi, 0, 4); /* a register in memory; its width is not told, as on real boards */
    acpi_put(acpi, ACPI_HPET_BASE, 8);
    acpi_put(acpi, 0, 1);   /* its number */
    acpi_put(acpi, 100, 2); /* least periodic tick without lost interrupts, in ticks */
    acpi_put(acpi, 0, 1);
    acpi_end(acpi, table);
    return table;
}

/* Windows ACPI Emulated Devices Table, 2009: the RTC needs no more reads than a good one, the PM timer one, not three.
 */
static uint32_t put_waet(struct acpi *acpi)
{
    uint32_t table = acpi_begin(acpi, "WAET", 1);
    acpi_put(acpi, 3, 4);
    acpi_end(acpi, table);
    return table;
}

/* 5.2.5.3. There is no RSDT: who reads revision 2 reads the XSDT. */
static void make_rsdp(struct acpi *acpi, uint32_t xsdt)
{
    memset(acpi->rsdp, 0, sizeof(acpi->rsdp));
    memcpy(acpi->rsdp, "RSD PTR ", 8);
    memcpy(acpi->rsdp + 9, OEM_ID, 6);
    acpi->rsdp[15] = 2; /* revision */
    acpi_store(acpi->rsdp + 20, ACPI_RSDP_SIZE, 4);
    acpi_store(acpi->rsdp + 24, xsdt, 8);
    acpi_add_link(acpi, &(struct acpi_link){.kind = ACPI_ADD_POINTER, .file = ACPI_FILE_RSDP, .offset = 24, .size = 8});
    acpi_add_link(acpi,
                  &(struct acpi_link){.kind = ACPI_ADD_CHECKSUM, .file = ACPI_FILE_RSDP, .offset = 8, .length = 20});
    acpi_add_link(acpi, &(struct acpi_link){
                            .kind = ACPI_ADD_CHECKSUM, .file = ACPI_FILE_RSDP, .offset = 32, .length = ACPI_RSDP_SIZE});
}

void acpi_build(struct acpi *acpi, const struct acpi_config *config)
{
    uint32_t pointed[ACPI_MAX_TABLES];
    unsigned count = 0;
    assert(config->cpus >= 1 && config->cpus <= ACPI_MAX_CPUS);
    acpi->blob_size = 0;
    acpi->table_count = acpi->link_count = 0;
    uint32_t facs = put_facs(acpi);
    uint32_t dsdt = acpi_put_dsdt(acpi, config);
    pointed[count++] = put_fadt(acpi, config, facs, dsdt);
    pointed[count++] = put_madt(acpi, config);
    if (config->ecam_size)
        pointed[count++] = put_mcfg(acpi, config);
    if (config->hpet)
        pointed[count++] = put_hpet(acpi);
    pointed[count++] = put_waet(acpi);
    pointed[count++] = acpi_put_ssdt(acpi, config);
    uint32_t xsdt = acpi_begin(acpi, "XSDT", 1);
    for (unsigned i = 0; i < count; i++)
        acpi_put_pointer(acpi, pointed[i], 8);
    acpi_end(acpi, xsdt);
    make_rsdp(acpi, xsdt);
    acpi_write_script(acpi);
}
