/* SPDX-License-Identifier: BSD-2-Clause */
/* Configuration space in memory, and the two chips of the Q35 machine that are on its bus. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <ringd/models/ich9.h>
#include <ringd/models/pci_host.h>
#include <ringd/models/piix3.h>
#include <ringd/models/q35.h>

#include "devices/pci_registers.h"
#include "fake_env.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

#define PLAIN_DEVFN PCI_FUNCTION_DEVFN(31, 5) /* a function whose config bytes are their own offsets */

#define ESMRAMC   0x9eu
#define PMBASE    0x40u
#define ACPI_CNTL 0x44u
#define PIRQ_A    0x60u
#define PIRQ_E    0x68u

struct seen {
    unsigned calls;
    const struct pci_function *fn;
    unsigned window;
    bool decoded;
    uint64_t addr;
    unsigned pam_calls, pirq_calls, pirq_count;
    uint8_t pam[I440FX_PAM_COUNT], route[ICH9_PIRQ_COUNT];
};

struct machine {
    struct fake_env fake;
    struct seen seen;
    struct pci_sink sink;
    struct q35_mch mch;
    struct ich9_lpc lpc;
    struct pci_function plain;
};

static void decode_changed(void *ctx, struct pci_function *fn, unsigned window, bool decoded, uint64_t addr)
{
    struct seen *seen = ctx;
    seen->calls++;
    seen->fn = fn;
    seen->window = window;
    seen->decoded = decoded;
    seen->addr = addr;
}

static void pam_changed(void *ctx, const uint8_t pam[7])
{
    struct seen *seen = ctx;
    seen->pam_calls++;
    memcpy(seen->pam, pam, sizeof(seen->pam));
}

static void pirq_changed(void *ctx, const uint8_t *route, unsigned count)
{
    struct seen *seen = ctx;
    seen->pirq_calls++;
    seen->pirq_count = count;
    memcpy(seen->route, route, sizeof(seen->route));
}

static int make(struct machine *m)
{
    memset(m, 0, sizeof(*m));
    m->sink = (struct pci_sink){
        .ctx = &m->seen, .decode_changed = decode_changed, .pam_changed = pam_changed, .pirq_changed = pirq_changed};
    q35_mch_init(&m->mch);
    ich9_lpc_init(&m->lpc);
    pci_function_init(&m->plain, "plain", NULL, 0);
    for (unsigned i = 0; i < PCI_CONFIG_BYTES; i++)
        pci_function_define(&m->plain, &(struct pci_register){(uint8_t)i, 1, i, i >= 0x40 ? 0xff : 0, 0});
    const struct pci_slot slots[] = {
        {Q35_MCH_DEVFN, &m->mch.function}, {ICH9_LPC_DEVFN, &m->lpc.function}, {PLAIN_DEVFN, &m->plain}};
    const struct pci_host_config config = {.slots = slots, .count = COUNT(slots), .sink = &m->sink};
    return fake_env_create(&m->fake, &pci_host_ecam_ops, &config, 0);
}

static int setup(void **state)
{
    static struct machine machine;
    *state = &machine;
    return make(&machine);
}

static int teardown(void **state)
{
    struct machine *m = *state;
    fake_env_destroy(&m->fake);
    return 0;
}

static uint32_t rd(struct machine *m, uint8_t devfn, unsigned offset, unsigned width)
{
    return (uint32_t)fake_read(&m->fake, PCI_HOST_ECAM, (uint64_t)devfn << 12 | offset, width);
}

static void wr(struct machine *m, uint8_t devfn, unsigned offset, unsigned width, uint32_t value)
{
    fake_write(&m->fake, PCI_HOST_ECAM, (uint64_t)devfn << 12 | offset, width, value);
}

static uint32_t rd_by_ports(struct machine *m, uint8_t devfn, unsigned offset, unsigned width)
{
    fake_write(&m->fake, PCI_HOST_ADDRESS, 0, 4, 0x80000000u | (uint32_t)devfn << 8 | (offset & 0xfc));
    return (uint32_t)fake_read(&m->fake, PCI_HOST_DATA, offset & 3, width);
}

/* ---- memory ---- */

static void memory_reads_what_the_ports_read(void **state)
{
    static const uint8_t there[] = {Q35_MCH_DEVFN, ICH9_LPC_DEVFN, PLAIN_DEVFN};
    struct machine *m = *state;
    assert_int_equal(m->fake.device->regions[PCI_HOST_ECAM].size, 1 << 20);
    for (unsigned f = 0; f < COUNT(there); f++)
        for (unsigned width = 1; width <= 4; width *= 2)
            for (unsigned offset = 0; offset < PCI_CONFIG_BYTES; offset += width)
                assert_int_equal(rd(m, there[f], offset, width), rd_by_ports(m, there[f], offset, width));
    for (unsigned width = 1; width <= 4; width *= 2) /* not aligned: the bytes at the address */
        for (unsigned offset = 0; offset + width <= PCI_CONFIG_BYTES; offset++) {
            uint32_t expected = 0;
            for (unsigned i = 0; i < width; i++)
                expected |= (offset + i) << (8 * i);
            assert_int_equal(rd(m, PLAIN_DEVFN, offset, width), expected);
        }
}

static void memory_writes_its_bytes_only(void **state)
{
    struct machine *m = *state;
    for (unsigned width = 1; width <= 4; width *= 2)
        for (unsigned offset = 0x80; offset < 0x84; offset++) {
            m->fake.device->reset(m->fake.self);
            wr(m, PLAIN_DEVFN, offset, width, 0xa4a3a2a1u & (UINT32_MAX >> (32 - 8 * width)));
            for (unsigned i = 0; i < PCI_CONFIG_BYTES; i++)
                assert_int_equal(m->plain.config[i], i - offset < width ? 0xa1 + (i - offset) : i);
        }
    wr(m, PLAIN_DEVFN, 0, 4, 0x55555555);
    assert_int_equal(rd(m, PLAIN_DEVFN, 0, 4), 0x03020100); /* read-only */
}

static void above_the_first_256_bytes_is_nothing(void **state)
{
    struct machine *m = *state;
    uint8_t before[PCI_CONFIG_BYTES];
    memcpy(before, m->plain.config, sizeof(before));
    for (unsigned width = 1; width <= 4; width *= 2)
        for (unsigned offset = PCI_CONFIG_BYTES; offset + width <= 4096; offset += 4) {
            wr(m, PLAIN_DEVFN, offset, width, 0);
            assert_int_equal(rd(m, PLAIN_DEVFN, offset, width), 0);
        }
    /* Across: what lies below is not the function's any more either. */
    assert_int_equal(rd(m, PLAIN_DEVFN, 0xfe, 4), UINT32_MAX);
    wr(m, PLAIN_DEVFN, 0xfe, 4, 0);
    assert_memory_equal(before, m->plain.config, sizeof(before));
    assert_int_equal(fake_counter(&m->fake, "absent"), 0);
}

static void nobody_there_reads_as_ones(void **state)
{
    struct machine *m = *state;
    unsigned accesses = 0;
    for (unsigned devfn = 0; devfn < 256; devfn++) {
        if (devfn == Q35_MCH_DEVFN || devfn == ICH9_LPC_DEVFN || devfn == PLAIN_DEVFN)
            continue;
        for (unsigned width = 1; width <= 4; width *= 2) {
            wr(m, (uint8_t)devfn, 0x40, width, 0);
            assert_int_equal(rd(m, (uint8_t)devfn, 0, width), UINT32_MAX >> (32 - 8 * width));
            assert_int_equal(rd(m, (uint8_t)devfn, 4096 - width, width), UINT32_MAX >> (32 - 8 * width));
            accesses += 3;
        }
    }
    assert_int_equal(fake_counter(&m->fake, "absent"), accesses);
    assert_int_equal(fake_counter(&m->fake, "config-reads") + fake_counter(&m->fake, "config-writes"), accesses);
}

/* ---- the memory controller hub ---- */

static void pciexbar_by_length(void **state)
{
    static const struct {
        uint32_t low, high, reads_low, reads_high;
        bool decoded;
        uint64_t addr;
    } cases[] = {
        {0xb0000001, 0, 0xb0000001, 0, true, 0xb0000000},
        {0xfffffff9, 0, 0xfc000001, 0, true, 0xf0000000}, /* 256 MiB: the base has 4 bits */
        {0xfffffffb, 0, 0xfc000003, 0, true, 0xf8000000}, /* 128 MiB: 5 */
        {0xfffffffd, 0, 0xfc000005, 0, true, 0xfc000000}, /* 64 MiB: 6 */
        {0xb0000007, 1, 0xb0000007, 1, false, 0},         /* reserved */
        {0xb0000000, 0, 0xb0000000, 0, false, 0},
        {0x00000001, 0, 0x00000001, 0, false, 0},
        {0x08000001, 0, 0x08000001, 0, false, 0}, /* what is left of it is 0 */
        {0xe0000001, 0xffffffff, 0xe0000001, 0xf, true, 0xfe0000000},
        {0x00000001, 1, 0x00000001, 1, true, 0x100000000},
    };
    struct machine *m = *state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        m->fake.device->reset(m->fake.self);
        assert_false(m->mch.function.windows[PCI_WINDOW_OWN].decoded);
        memset(&m->seen, 0, sizeof(m->seen));
        wr(m, Q35_MCH_DEVFN, Q35_MCH_PCIEXBAR + 4, 4, cases[i].high);
        wr(m, Q35_MCH_DEVFN, Q35_MCH_PCIEXBAR, 4, cases[i].low);
        assert_int_equal(rd(m, Q35_MCH_DEVFN, Q35_MCH_PCIEXBAR, 4), cases[i].reads_low);
        assert_int_equal(rd(m, Q35_MCH_DEVFN, Q35_MCH_PCIEXBAR + 4, 4), cases[i].reads_high);
        assert_int_equal(m->seen.calls, cases[i].decoded);
        if (!cases[i].decoded)
            continue;
        assert_ptr_equal(m->seen.fn, &m->mch.function);
        assert_int_equal(m->seen.window, PCI_WINDOW_OWN);
        assert_true(m->seen.decoded);
        assert_int_equal(m->seen.addr, cases[i].addr);
    }
    m->seen.calls = 0;
    m->fake.device->reset(m->fake.self);
    assert_int_equal(m->seen.calls, 1);
    assert_false(m->seen.decoded);
}

static void pam_is_the_440fxs(void **state)
{
    struct machine *m = *state;
    wr(m, Q35_MCH_DEVFN, Q35_MCH_PAM, 4, 0xffffffff);
    assert_int_equal(m->seen.pam_calls, 1);
    wr(m, Q35_MCH_DEVFN, Q35_MCH_PAM, 4, 0xffffffff);
    assert_int_equal(m->seen.pam_calls, 1);
    wr(m, Q35_MCH_DEVFN, Q35_MCH_PAM + 4, 4, 0x00110233);
    assert_int_equal(m->seen.pam_calls, 2);
    assert_int_equal(rd(m, Q35_MCH_DEVFN, Q35_MCH_PAM, 4), 0x33333330);
    static const enum pam_mode modes[I440FX_SEGMENTS] = {PAM_RAM,  PAM_RAM,  PAM_RAM, PAM_RAM,   PAM_RAM,
                                                         PAM_RAM,  PAM_RAM,  PAM_RAM, PAM_WRITE, PAM_PCI,
                                                         PAM_READ, PAM_READ, PAM_RAM};
    for (unsigned i = 0; i < I440FX_SEGMENTS; i++)
        assert_int_equal(i440fx_pam(m->seen.pam, i), modes[i]);
    m->fake.device->reset(m->fake.self);
    assert_int_equal(m->seen.pam_calls, 3);
    assert_int_equal(i440fx_pam(m->seen.pam, 12), PAM_PCI);
}

static void a_locked_smram_stays_locked(void **state)
{
    struct machine *m = *state;
    assert_int_equal(rd(m, Q35_MCH_DEVFN, Q35_MCH_SMRAM, 2), 0x3802);
    wr(m, Q35_MCH_DEVFN, Q35_MCH_SMRAM, 1, 0x4a);
    assert_int_equal(rd(m, Q35_MCH_DEVFN, Q35_MCH_SMRAM, 1), 0x4a);
    wr(m, Q35_MCH_DEVFN, ESMRAMC, 1, 0x03);
    assert_int_equal(rd(m, Q35_MCH_DEVFN, ESMRAMC, 1), 0x3b);
    wr(m, Q35_MCH_DEVFN, Q35_MCH_SMRAM, 1, 0x5a); /* D_LCK closes D_OPEN */
    assert_int_equal(rd(m, Q35_MCH_DEVFN, Q35_MCH_SMRAM, 1), 0x1a);
    wr(m, Q35_MCH_DEVFN, Q35_MCH_SMRAM, 2, 0x8062);
    assert_int_equal(rd(m, Q35_MCH_DEVFN, Q35_MCH_SMRAM, 2), 0x3b32);

    uint8_t saved[PCI_CONFIG_BYTES];
    memcpy(saved, m->mch.function.config, sizeof(saved));
    m->fake.device->reset(m->fake.self);
    wr(m, Q35_MCH_DEVFN, Q35_MCH_SMRAM, 2, 0x8042);
    assert_int_equal(rd(m, Q35_MCH_DEVFN, Q35_MCH_SMRAM, 2), 0xb842);
    assert_true(pci_function_state_valid(&m->mch.function, saved));
    pci_function_load(&m->mch.function, saved); /* the lock comes with it */
    wr(m, Q35_MCH_DEVFN, Q35_MCH_SMRAM, 2, 0x8042);
    assert_int_equal(rd(m, Q35_MCH_DEVFN, Q35_MCH_SMRAM, 2), 0x3b12);
}

static void the_identity_that_firmware_looks_for(void **state)
{
    struct machine *m = *state;
    assert_int_equal(rd(m, Q35_MCH_DEVFN, PCI_VENDOR_ID, 4), 0x29c08086);
    assert_int_equal(rd(m, Q35_MCH_DEVFN, PCI_SUBSYSTEM_VENDOR_ID, 4), 0x11001af4);
    assert_int_equal(rd(m, Q35_MCH_DEVFN, PCI_CLASS_CODE, 2) | rd(m, Q35_MCH_DEVFN, PCI_CLASS_CODE + 2, 1) << 16,
                     0x060000);
    assert_int_equal(rd(m, ICH9_LPC_DEVFN, PCI_VENDOR_ID, 4), 0x29188086);
    assert_int_equal(rd(m, ICH9_LPC_DEVFN, PCI_HEADER_TYPE, 1), 0x80);
    wr(m, Q35_MCH_DEVFN, PCI_COMMAND, 2, 0); /* wired on */
    wr(m, ICH9_LPC_DEVFN, PCI_COMMAND, 2, 0);
    assert_int_equal(rd(m, Q35_MCH_DEVFN, PCI_COMMAND, 2), 6);
    assert_int_equal(rd(m, ICH9_LPC_DEVFN, PCI_COMMAND, 2), 7);
}

/* ---- the LPC bridge ---- */

static void eight_lines_are_routed(void **state)
{
    struct machine *m = *state;
    assert_int_equal(rd(m, ICH9_LPC_DEVFN, PIRQ_A, 4), 0x80808080);
    assert_int_equal(rd(m, ICH9_LPC_DEVFN, PIRQ_E, 4), 0x80808080);
    assert_int_equal(m->seen.pirq_calls, 0);
    wr(m, ICH9_LPC_DEVFN, PIRQ_A, 4, 0xff0b0a75);
    assert_int_equal(m->seen.pirq_calls, 1);
    assert_int_equal(m->seen.pirq_count, ICH9_PIRQ_COUNT);
    wr(m, ICH9_LPC_DEVFN, PIRQ_E + 3, 1, 0x0c);
    assert_int_equal(m->seen.pirq_calls, 2);
    wr(m, ICH9_LPC_DEVFN, PIRQ_E + 3, 1, 0x0c);
    wr(m, ICH9_LPC_DEVFN, PIRQ_A + 4, 4, 0); /* SIRQ_CNTL is none of them */
    assert_int_equal(m->seen.pirq_calls, 2);
    static const uint8_t route[] = {0x05, 0x0a, 0x0b, 0x8f, 0x80, 0x80, 0x80, 0x0c};
    static const int irqs[] = {5, 10, 11, -1, -1, -1, -1, 12};
    assert_memory_equal(m->seen.route, route, sizeof(route));
    for (unsigned i = 0; i < ICH9_PIRQ_COUNT; i++)
        assert_int_equal(piix3_pirq_irq(m->seen.route[i]), irqs[i]);
    m->fake.device->reset(m->fake.self);
    assert_int_equal(m->seen.pirq_calls, 3);
    assert_int_equal(m->seen.route[0], 0x80);
}

static void pmbase_has_128_ports(void **state)
{
    struct machine *m = *state;
    assert_int_equal(rd(m, ICH9_LPC_DEVFN, PMBASE, 4), 1);
    wr(m, ICH9_LPC_DEVFN, PMBASE, 4, 0xffff06ff);
    assert_int_equal(rd(m, ICH9_LPC_DEVFN, PMBASE, 4), 0x0681);
    assert_int_equal(m->seen.calls, 0);
    wr(m, ICH9_LPC_DEVFN, ACPI_CNTL, 1, 0x80);
    assert_int_equal(m->seen.calls, 1);
    assert_true(m->seen.fn == &m->lpc.function && m->seen.window == PCI_WINDOW_OWN && m->seen.decoded);
    assert_int_equal(m->seen.addr, 0x680);
    wr(m, ICH9_LPC_DEVFN, PMBASE + 1, 1, 0xb0); /* moves while it is on */
    assert_int_equal(m->seen.calls, 2);
    assert_int_equal(m->seen.addr, 0xb080);
    wr(m, ICH9_LPC_DEVFN, PMBASE, 4, 1); /* port 0 is nowhere */
    assert_int_equal(m->seen.calls, 3);
    assert_false(m->seen.decoded);
    wr(m, ICH9_LPC_DEVFN, PMBASE, 2, 0xff80);
    assert_int_equal(m->seen.addr, 0xff80);
    wr(m, ICH9_LPC_DEVFN, ACPI_CNTL, 1, 0x7f);
    assert_false(m->seen.decoded);
    assert_int_equal(rd(m, ICH9_LPC_DEVFN, ACPI_CNTL, 1), 0x07);
}

/* ---- state ---- */

static void state_moves_to_another_host(void **state)
{
    struct machine *m = *state;
    static struct machine other;
    uint8_t saved[1024], again[1024];
    assert_int_equal(make(&other), 0);
    wr(m, Q35_MCH_DEVFN, Q35_MCH_PCIEXBAR, 4, 0xb0000001);
    wr(m, Q35_MCH_DEVFN, Q35_MCH_PAM, 4, 0x33);
    wr(m, ICH9_LPC_DEVFN, PIRQ_E, 1, 0x0a);
    fake_write(&m->fake, PCI_HOST_ADDRESS, 0, 4, 0x8000f844);
    size_t size = m->fake.device->state_size(m->fake.self);
    assert_in_range(size, 1, sizeof(saved));
    m->fake.device->save(m->fake.self, saved);
    assert_int_equal(other.fake.device->load(other.fake.self, saved, size), 0);
    other.fake.device->save(other.fake.self, again);
    assert_memory_equal(saved, again, size);
    assert_true(other.seen.calls == 1 && other.seen.decoded && other.seen.addr == 0xb0000000);
    assert_int_equal(other.seen.route[4], 0x0a);
    assert_int_equal(i440fx_pam(other.seen.pam, 12), PAM_RAM);
    fake_write(&other.fake, PCI_HOST_DATA, 0, 1, 0x80); /* the latch too */
    assert_int_equal(rd(&other, ICH9_LPC_DEVFN, ACPI_CNTL, 1), 0x80);
    fake_env_destroy(&other.fake);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(memory_reads_what_the_ports_read),
        CASE(memory_writes_its_bytes_only),
        CASE(above_the_first_256_bytes_is_nothing),
        CASE(nobody_there_reads_as_ones),
        CASE(pciexbar_by_length),
        CASE(pam_is_the_440fxs),
        CASE(a_locked_smram_stays_locked),
        CASE(the_identity_that_firmware_looks_for),
        CASE(eight_lines_are_routed),
        CASE(pmbase_has_128_ports),
        CASE(state_moves_to_another_host),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
