/* SPDX-License-Identifier: BSD-2-Clause */
/* Configuration mechanism 1, configuration spaces, and the three chips of the 440FX machine that have one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>

#include <ringd/models/i440fx.h>
#include <ringd/models/pci_host.h>
#include <ringd/models/piix3.h>
#include <ringd/models/piix4_pm.h>

#include "devices/pci_registers.h"
#include "fake_env.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

#define PLAIN_DEVFN PCI_FUNCTION_DEVFN(5, 0) /* a function whose config bytes are their own offsets */
#define BARS_DEVFN  PCI_FUNCTION_DEVFN(3, 0)

enum { BAR_IO = 0, BAR_MEM = 1, BAR_PREF64 = 2, BAR_PREF32 = 4 };

struct seen {
    unsigned calls;
    const struct pci_function *fn;
    unsigned window;
    bool decoded;
    uint64_t addr;
    unsigned pam_calls, pirq_calls;
    uint8_t pam[7], route[4];
};

struct machine {
    struct fake_env fake;
    struct seen seen;
    struct pci_sink sink;
    struct i440fx i440fx;
    struct piix3 piix3;
    struct pci_function pm, bars, plain;
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
    memcpy(seen->pam, pam, 7);
}

static void pirq_changed(void *ctx, const uint8_t *route, unsigned count)
{
    (void)count;
    struct seen *seen = ctx;
    seen->pirq_calls++;
    memcpy(seen->route, route, 4);
}

static int setup(void **state)
{
    static struct machine machine;
    struct machine *m = &machine;
    memset(m, 0, sizeof(*m));
    m->sink = (struct pci_sink){
        .ctx = &m->seen, .decode_changed = decode_changed, .pam_changed = pam_changed, .pirq_changed = pirq_changed};
    i440fx_init(&m->i440fx);
    piix3_init(&m->piix3);
    piix4_pm_function_init(&m->pm);
    pci_function_init(&m->plain, "plain", NULL, 0);
    for (unsigned i = 0; i < PCI_CONFIG_BYTES; i++)
        pci_function_define(&m->plain, &(struct pci_register){(uint8_t)i, 1, i, i >= 0x40 ? 0xff : 0, 0});
    pci_function_init(&m->bars, "bars", NULL, 0);
    assert_int_equal(pci_function_add_bar(&m->bars, BAR_IO, PCI_BAR_IO, 32, false), 0);
    assert_int_equal(pci_function_add_bar(&m->bars, BAR_MEM, PCI_BAR_MEM32, 4096, false), 0);
    assert_int_equal(pci_function_add_bar(&m->bars, BAR_PREF64, PCI_BAR_MEM64, UINT64_C(1) << 33, true), 0);
    assert_int_equal(pci_function_add_bar(&m->bars, BAR_PREF32, PCI_BAR_MEM32, 16, true), 0);

    const struct pci_slot slots[] = {
        {I440FX_DEVFN, &m->i440fx.function},
        {PIIX3_DEVFN, &m->piix3.function},
        {PIIX4_PM_DEVFN, &m->pm},
        {BARS_DEVFN, &m->bars},
        {PLAIN_DEVFN, &m->plain},
    };
    const struct pci_host_config config = {.slots = slots, .count = COUNT(slots), .sink = &m->sink};
    *state = m;
    return fake_env_create(&m->fake, &pci_host_ops, &config, 0);
}

static int teardown(void **state)
{
    struct machine *m = *state;
    fake_env_destroy(&m->fake);
    assert_null(m->bars.sink);
    return 0;
}

static void latch(struct machine *m, uint32_t address)
{
    fake_write(&m->fake, PCI_HOST_ADDRESS, 0, 4, address);
}

static uint32_t config_read(struct machine *m, uint8_t devfn, unsigned offset, unsigned width)
{
    latch(m, 0x80000000u | (uint32_t)devfn << 8 | (offset & 0xfcu));
    return (uint32_t)fake_read(&m->fake, PCI_HOST_DATA, offset & 3, width);
}

static void config_write(struct machine *m, uint8_t devfn, unsigned offset, unsigned width, uint32_t value)
{
    latch(m, 0x80000000u | (uint32_t)devfn << 8 | (offset & 0xfcu));
    fake_write(&m->fake, PCI_HOST_DATA, offset & 3, width, value);
}

/* The data port's own low address bits select the byte, never those of CONFIG_ADDRESS. */
static void every_width_offset_and_low_bits(void **state)
{
    struct machine *m = *state;
    for (unsigned reg = 0; reg < 256; reg += 4)
        for (unsigned low = 0; low < 4; low++)
            for (unsigned width = 1; width <= 4; width *= 2)
                for (unsigned offset = 0; offset + width <= 4; offset++) {
                    latch(m, 0x80000000u | PLAIN_DEVFN << 8 | reg | low);
                    assert_int_equal(fake_read(&m->fake, PCI_HOST_ADDRESS, 0, 4), 0x80000000u | PLAIN_DEVFN << 8 | reg);
                    uint64_t expected = 0;
                    for (unsigned i = 0; i < width; i++)
                        expected |= (uint64_t)(reg + offset + i) << (8 * i);
                    assert_int_equal(fake_read(&m->fake, PCI_HOST_DATA, offset, width), expected);
                }
}

static void every_write_reaches_its_bytes_only(void **state)
{
    struct machine *m = *state;
    for (unsigned low = 0; low < 4; low++)
        for (unsigned width = 1; width <= 4; width *= 2)
            for (unsigned offset = 0; offset + width <= 4; offset++) {
                m->fake.device->reset(m->fake.self);
                latch(m, 0x80000000u | PLAIN_DEVFN << 8 | 0x80u | low);
                fake_write(&m->fake, PCI_HOST_DATA, offset, width, 0xa4a3a2a1u & (UINT32_MAX >> (32 - 8 * width)));
                for (unsigned i = 0; i < 256; i++) {
                    unsigned from = 0x80 + offset;
                    unsigned expected = i >= from && i < from + width ? 0xa1 + (i - from) : i;
                    assert_int_equal(m->plain.config[i], expected);
                }
            }
    config_write(m, PLAIN_DEVFN, 0x20, 4, 0x55555555);
    assert_int_equal(config_read(m, PLAIN_DEVFN, 0x20, 4), 0x23222120); /* read-only */
}

static void address_keeps_its_writable_bits(void **state)
{
    struct machine *m = *state;
    assert_int_equal(fake_read(&m->fake, PCI_HOST_ADDRESS, 0, 4), 0);
    latch(m, 0xffffffffu);
    assert_int_equal(fake_read(&m->fake, PCI_HOST_ADDRESS, 0, 4), 0x80fffffcu);
    latch(m, 0x7fffffffu);
    assert_int_equal(fake_read(&m->fake, PCI_HOST_ADDRESS, 0, 4), 0x00fffffcu);
}

/* Linux (arch/x86/pci/direct.c) tells mechanism 1 from 2 by such accesses. */
static void narrow_accesses_to_the_address_register_do_nothing(void **state)
{
    static const struct {
        unsigned offset, width;
    } accesses[] = {{0, 1}, {2, 1}, {3, 1}, {0, 2}, {2, 2}};
    struct machine *m = *state;
    latch(m, 0x80002a54u);
    for (size_t i = 0; i < COUNT(accesses); i++) {
        uint64_t mask = (1u << (8 * accesses[i].width)) - 1;
        fake_write(&m->fake, PCI_HOST_ADDRESS, accesses[i].offset, accesses[i].width, 0x0606u & mask);
        assert_int_equal(fake_read(&m->fake, PCI_HOST_ADDRESS, accesses[i].offset, accesses[i].width), mask);
        assert_int_equal(fake_read(&m->fake, PCI_HOST_ADDRESS, 0, 4), 0x80002a54u);
        assert_int_equal(fake_read(&m->fake, PCI_HOST_ADDRESS, 1, 1), 0);
    }
    assert_int_equal(m->fake.events[RINGD_EVENT_RESET], 0);
    assert_int_equal(fake_counter(&m->fake, "stray"), 2 * COUNT(accesses));
}

static void nobody_there_reads_as_ones(void **state)
{
    static const uint32_t addresses[] = {
        0x00000000u,                                 /* not enabled */
        0x00000000u | PLAIN_DEVFN << 8,              /* the same, a function that exists */
        0x80010000u,                                 /* another bus */
        0x80000000u | PCI_FUNCTION_DEVFN(2, 0) << 8, /* no such device */
        0x80000000u | PCI_FUNCTION_DEVFN(1, 1) << 8, /* no such function */
        0x80000000u | PCI_FUNCTION_DEVFN(31, 7) << 8,
    };
    struct machine *m = *state;
    for (size_t i = 0; i < COUNT(addresses); i++) {
        latch(m, addresses[i] | 0x80);
        fake_write(&m->fake, PCI_HOST_DATA, 0, 4, 0);
        assert_int_equal(fake_read(&m->fake, PCI_HOST_DATA, 0, 4), 0xffffffffu);
        assert_int_equal(fake_read(&m->fake, PCI_HOST_DATA, 2, 2), 0xffffu);
        assert_int_equal(fake_read(&m->fake, PCI_HOST_DATA, 3, 1), 0xffu);
    }
    assert_int_equal(fake_counter(&m->fake, "absent"), 4 * COUNT(addresses));
    assert_int_equal(fake_counter(&m->fake, "config-reads"), 3 * COUNT(addresses));
    assert_int_equal(fake_counter(&m->fake, "config-writes"), COUNT(addresses));
    assert_int_equal(config_read(m, PLAIN_DEVFN, 0x80, 4), 0x83828180);
}

static void reset_control(void **state)
{
    struct machine *m = *state;
    unsigned *resets = &m->fake.events[RINGD_EVENT_RESET];
    latch(m, 0x80001234u);
    /* As Linux (arch/x86/kernel/reboot.c) and SeaBIOS do it. */
    fake_write(&m->fake, PCI_HOST_ADDRESS, 1, 1, 0x02);
    assert_int_equal(*resets, 0);
    assert_int_equal(fake_read(&m->fake, PCI_HOST_ADDRESS, 1, 1), 0x02);
    fake_write(&m->fake, PCI_HOST_ADDRESS, 1, 1, 0xfe);
    assert_int_equal(*resets, 1);
    assert_int_equal(fake_read(&m->fake, PCI_HOST_ADDRESS, 1, 1), 0x06);
    fake_write(&m->fake, PCI_HOST_ADDRESS, 1, 1, 0x06); /* no change from 0 to 1 */
    assert_int_equal(*resets, 1);
    fake_write(&m->fake, PCI_HOST_ADDRESS, 1, 1, 0x00);
    fake_write(&m->fake, PCI_HOST_ADDRESS, 1, 1, 0x04);
    assert_int_equal(*resets, 2);
    assert_int_equal(fake_read(&m->fake, PCI_HOST_ADDRESS, 0, 4), 0x80001234u);
    /* Wider ones that start there: the lowest byte is the register. */
    fake_write(&m->fake, PCI_HOST_ADDRESS, 1, 2, 0xff00);
    assert_int_equal(fake_read(&m->fake, PCI_HOST_ADDRESS, 1, 2), 0xff00);
    fake_write(&m->fake, PCI_HOST_ADDRESS, 1, 2, 0x0006);
    assert_int_equal(*resets, 3);
    m->fake.device->reset(m->fake.self);
    assert_int_equal(fake_read(&m->fake, PCI_HOST_ADDRESS, 1, 1), 0);
    assert_int_equal(fake_read(&m->fake, PCI_HOST_ADDRESS, 0, 4), 0);
    assert_int_equal(fake_counter(&m->fake, "resets"), 3);
}

static void bar_sizing(void **state)
{
    static const struct {
        unsigned offset;
        uint32_t initial, sized;
    } bars[] = {
        {0x10, 0x1, 0xffffffe1},                        /* I/O, 32 bytes */
        {0x14, 0x0, 0xfffff000},                        /* 32 bits, 4 KiB */
        {0x18, 0xc, 0x0000000c}, {0x1c, 0, 0xfffffffe}, /* 64 bits prefetchable, 8 GiB */
        {0x20, 0x8, 0xfffffff8},                        /* 32 bits prefetchable, 16 bytes */
        {0x24, 0x0, 0x00000000},                        /* none */
        {0x30, 0x0, 0x00000000},                        /* expansion ROM: none */
    };
    struct machine *m = *state;
    for (unsigned command = 0; command < 4; command++) { /* also with decoding on, which must map nothing */
        m->fake.device->reset(m->fake.self);
        config_write(m, BARS_DEVFN, PCI_COMMAND, 2, command);
        m->seen.calls = 0;
        for (size_t i = 0; i < COUNT(bars); i++) {
            assert_int_equal(config_read(m, BARS_DEVFN, bars[i].offset, 4), bars[i].initial);
            config_write(m, BARS_DEVFN, bars[i].offset, 4, 0xffffffff);
            assert_int_equal(config_read(m, BARS_DEVFN, bars[i].offset, 4), bars[i].sized);
        }
        assert_int_equal(m->seen.calls, 0);
    }
}

static void bar_sizing_64_bits_small(void **state)
{
    struct pci_function fn;
    (void)state;
    pci_function_init(&fn, "small", NULL, 0);
    assert_int_equal(pci_function_add_bar(&fn, 4, PCI_BAR_MEM64, 16384, false), 0);
    pci_function_write(&fn, 0x20, 4, 0xffffffff);
    pci_function_write(&fn, 0x24, 4, 0xffffffff);
    assert_int_equal(pci_function_read(&fn, 0x20, 4), 0xffffc004);
    assert_int_equal(pci_function_read(&fn, 0x24, 4), 0xffffffff);
}

static void expect_call(struct machine *m, unsigned window, bool decoded, uint64_t addr)
{
    assert_int_equal(m->seen.calls, 1);
    assert_ptr_equal(m->seen.fn, &m->bars);
    assert_int_equal(m->seen.window, window);
    assert_int_equal(m->seen.decoded, decoded);
    assert_int_equal(m->seen.addr, addr);
    m->seen.calls = 0;
}

static void decode_is_announced_once_per_change(void **state)
{
    struct machine *m = *state;
    config_write(m, BARS_DEVFN, 0x10, 4, 0xc000);
    config_write(m, BARS_DEVFN, 0x14, 4, 0xfe000000);
    assert_int_equal(m->seen.calls, 0); /* COMMAND is 0 */
    config_write(m, BARS_DEVFN, PCI_COMMAND, 2, PCI_COMMAND_IO);
    expect_call(m, BAR_IO, true, 0xc000);
    config_write(m, BARS_DEVFN, PCI_COMMAND, 2, PCI_COMMAND_IO | PCI_COMMAND_MASTER);
    config_write(m, BARS_DEVFN, 0x10, 4, 0xc000);
    config_write(m, BARS_DEVFN, 0x10, 2, 0xc01f); /* low bits are not the address */
    assert_int_equal(m->seen.calls, 0);
    config_write(m, BARS_DEVFN, PCI_COMMAND, 1, PCI_COMMAND_IO | PCI_COMMAND_MEMORY);
    expect_call(m, BAR_MEM, true, 0xfe000000);
    config_write(m, BARS_DEVFN, 0x11, 1, 0xd0); /* a move by a byte write */
    expect_call(m, BAR_IO, true, 0xd000);
    config_write(m, BARS_DEVFN, 0x10, 4, 0xffffffff);
    expect_call(m, BAR_IO, false, 0xd000);
    config_write(m, BARS_DEVFN, 0x10, 4, 0xe000);
    expect_call(m, BAR_IO, true, 0xe000);
    config_write(m, BARS_DEVFN, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
    expect_call(m, BAR_IO, false, 0xe000);
    m->fake.device->reset(m->fake.self);
    expect_call(m, BAR_MEM, false, 0xfe000000);
    m->fake.device->reset(m->fake.self);
    assert_int_equal(m->seen.calls, 0);
}

static void decode_of_64_bits(void **state)
{
    struct machine *m = *state;
    config_write(m, BARS_DEVFN, 0x1c, 4, 0x12);
    assert_int_equal(m->seen.calls, 0);
    config_write(m, BARS_DEVFN, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
    expect_call(m, BAR_PREF64, true, UINT64_C(0x1200000000));
    config_write(m, BARS_DEVFN, 0x1c, 4, 0x14);
    expect_call(m, BAR_PREF64, true, UINT64_C(0x1400000000));
    config_write(m, BARS_DEVFN, 0x1c, 4, 0x00100000); /* above 52 bits */
    expect_call(m, BAR_PREF64, false, UINT64_C(0x1400000000));
    config_write(m, BARS_DEVFN, 0x1c, 4, 0x000ffffe); /* the last that fits */
    expect_call(m, BAR_PREF64, true, UINT64_C(0xffffe00000000));
}

static void addresses_that_are_not_decoded(void **state)
{
    static const struct {
        unsigned offset;
        uint32_t value;
        bool decoded;
    } cases[] = {
        {0x10, 0x00000000, false}, {0x10, 0x0000ffe0, true},  {0x10, 0x00010000, false}, {0x10, 0xffff0000, false},
        {0x10, 0x00000020, true},  {0x14, 0x00000000, false}, {0x14, 0xffffe000, true},  {0x14, 0xfffff000, false},
        {0x14, 0x00001000, true},  {0x20, 0xfffffff0, false}, {0x20, 0xffffffe0, true},
    };
    struct machine *m = *state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        m->fake.device->reset(m->fake.self);
        m->seen.calls = 0;
        config_write(m, BARS_DEVFN, PCI_COMMAND, 2, PCI_COMMAND_IO | PCI_COMMAND_MEMORY);
        config_write(m, BARS_DEVFN, cases[i].offset, 4, cases[i].value);
        assert_int_equal(m->seen.calls, cases[i].decoded);
    }
}

static void impossible_bars(void **state)
{
    static const struct {
        unsigned index;
        enum pci_bar_kind kind;
        uint64_t size;
        bool prefetchable;
    } bars[] = {
        {6, PCI_BAR_IO, 32, false},      {5, PCI_BAR_MEM64, 4096, false},
        {0, PCI_BAR_NONE, 32, false},    {0, PCI_BAR_IO, 2, false},
        {0, PCI_BAR_IO, 512, false},     {0, PCI_BAR_IO, 32, true},
        {0, PCI_BAR_MEM32, 8, false},    {0, PCI_BAR_MEM32, 4097, false},
        {0, PCI_BAR_MEM32, 0, false},    {0, PCI_BAR_MEM32, UINT64_C(1) << 32, false},
        {2, PCI_BAR_IO, 32, false},      /* taken */
        {3, PCI_BAR_IO, 32, false},      /* its upper half */
        {1, PCI_BAR_MEM64, 4096, false}, /* would run into it */
    };
    struct pci_function fn;
    (void)state;
    pci_function_init(&fn, "bars", NULL, 0);
    assert_int_equal(pci_function_add_bar(&fn, 2, PCI_BAR_MEM64, 4096, false), 0);
    struct pci_function before = fn;
    for (size_t i = 0; i < COUNT(bars); i++)
        assert_int_equal(pci_function_add_bar(&fn, bars[i].index, bars[i].kind, bars[i].size, bars[i].prefetchable),
                         -EINVAL);
    assert_memory_equal(&fn, &before, sizeof(fn));
}

static void write_one_to_clear(void **state)
{
    struct pci_function fn;
    (void)state;
    pci_function_init(&fn, "status", &(struct pci_register){PCI_STATUS, 2, 0xf980, 0, PCI_STATUS_ERRORS}, 1);
    pci_function_write(&fn, PCI_STATUS, 2, 0x00ff);
    assert_int_equal(pci_function_read(&fn, PCI_STATUS, 2), 0xf980);
    pci_function_write(&fn, PCI_STATUS, 2, 0x8000);
    assert_int_equal(pci_function_read(&fn, PCI_STATUS, 2), 0x7980);
    pci_function_write(&fn, PCI_STATUS + 1, 1, 0xff);
    assert_int_equal(pci_function_read(&fn, PCI_STATUS, 2), 0x0080);
    assert_int_equal(pci_function_read(&fn, 254, 4), 0xffffffff);
    pci_function_write(&fn, 254, 4, 0);
}

static void impossible_hosts(void **state)
{
    struct pci_function a, b;
    struct fake_env fake;
    (void)state;
    pci_function_init(&a, "a", NULL, 0);
    pci_function_init(&b, "b", NULL, 0);
    const struct {
        struct pci_slot slots[2];
        size_t count;
    } cases[] = {
        {{{8, NULL}}, 1},
        {{{8, &a}, {8, &b}}, 2},
        {{{9, &a}}, 1},          /* no function 0 */
        {{{9, &a}, {8, &b}}, 2}, /* function 0 hides it */
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct pci_host_config config = {.slots = cases[i].slots, .count = cases[i].count};
        assert_int_equal(fake_env_create(&fake, &pci_host_ops, &config, 0), -EINVAL);
        assert_null(a.sink);
    }
    assert_int_equal(fake_env_create(&fake, &pci_host_ops, NULL, 0), -EINVAL);
}

/* What SeaBIOS looks at to know the machine (src/fw/paravirt.c, pciinit.c, smm.c). */
static void identities(void **state)
{
    struct machine *m = *state;
    assert_int_equal(config_read(m, I440FX_DEVFN, 0, 4), 0x12378086);
    assert_int_equal(config_read(m, I440FX_DEVFN, 8, 4), 0x06000002);
    assert_int_equal(config_read(m, I440FX_DEVFN, 0x2c, 4), 0x11001af4);
    assert_int_equal(config_read(m, PIIX3_DEVFN, 0, 4), 0x70008086);
    assert_int_equal(config_read(m, PIIX3_DEVFN, 8, 4), 0x06010000);
    assert_int_equal(config_read(m, PIIX3_DEVFN, 0x0e, 1), 0x80);
    assert_int_equal(config_read(m, PIIX4_PM_DEVFN, 0, 4), 0x71138086);
    assert_int_equal(config_read(m, PIIX4_PM_DEVFN, 8, 4), 0x06800003);
    assert_int_equal(config_read(m, PIIX4_PM_DEVFN, 0x3d, 1), 1);
    assert_int_equal(config_read(m, PIIX4_PM_DEVFN, 0x58, 4) & 1u << 25, 1u << 25);
    assert_int_equal(config_read(m, I440FX_DEVFN, 0x30, 4), 0);
    for (unsigned i = 0; i < 6; i++)
        assert_int_equal(config_read(m, PIIX3_DEVFN, 0x10 + 4 * i, 4), 0);
}

static void pam(void **state)
{
    struct machine *m = *state;
    /* SeaBIOS (src/fw/shadow.c) reads and writes the two dwords that hold PAM0 to PAM6. */
    uint32_t low = config_read(m, I440FX_DEVFN, 0x58, 4);
    assert_int_equal(low & 0xffffff00u, 0);
    config_write(m, I440FX_DEVFN, 0x58, 4, 0x33333000u | (low & 0xff));
    assert_int_equal(m->seen.pam_calls, 1);
    config_write(m, I440FX_DEVFN, 0x5c, 4, 0xffffffffu);
    assert_int_equal(m->seen.pam_calls, 2);
    config_write(m, I440FX_DEVFN, 0x5c, 4, 0x33333333u);
    config_write(m, I440FX_DEVFN, 0x80, 4, 0xffffffffu);
    assert_int_equal(m->seen.pam_calls, 2); /* nothing changed */
    const uint8_t expected[7] = {0x30, 0x33, 0x33, 0x33, 0x33, 0x33, 0x33};
    assert_memory_equal(m->seen.pam, expected, 7);
    assert_int_equal(m->seen.calls, 0);
    m->fake.device->reset(m->fake.self);
    assert_int_equal(m->seen.pam_calls, 3);
    for (unsigned segment = 0; segment < I440FX_SEGMENTS; segment++)
        assert_int_equal(i440fx_pam(m->seen.pam, segment), PAM_PCI);
}

static void pam_segments(void **state)
{
    static const struct {
        unsigned reg, shift; /* data sheet, PAM table */
        uint32_t addr, size;
    } segments[I440FX_SEGMENTS] = {
        {0x5a, 0, 0xc0000, 0x4000},  {0x5a, 4, 0xc4000, 0x4000}, {0x5b, 0, 0xc8000, 0x4000}, {0x5b, 4, 0xcc000, 0x4000},
        {0x5c, 0, 0xd0000, 0x4000},  {0x5c, 4, 0xd4000, 0x4000}, {0x5d, 0, 0xd8000, 0x4000}, {0x5d, 4, 0xdc000, 0x4000},
        {0x5e, 0, 0xe0000, 0x4000},  {0x5e, 4, 0xe4000, 0x4000}, {0x5f, 0, 0xe8000, 0x4000}, {0x5f, 4, 0xec000, 0x4000},
        {0x59, 4, 0xf0000, 0x10000},
    };
    struct machine *m = *state;
    for (unsigned i = 0; i < I440FX_SEGMENTS; i++)
        for (unsigned mode = 0; mode < 4; mode++) {
            m->fake.device->reset(m->fake.self);
            config_write(m, I440FX_DEVFN, segments[i].reg, 1, mode << segments[i].shift);
            for (unsigned s = 0; s < I440FX_SEGMENTS; s++)
                assert_int_equal(i440fx_pam(&m->i440fx.function.config[I440FX_PAM], s), s == i ? mode : PAM_PCI);
            uint32_t size;
            assert_int_equal(i440fx_segment(i, &size), segments[i].addr);
            assert_int_equal(size, segments[i].size);
        }
    uint32_t size;
    i440fx_segment(I440FX_SEGMENTS, &size);
    assert_int_equal(size, 0);
    assert_int_equal(i440fx_pam((const uint8_t[7]){255, 255, 255, 255, 255, 255, 255}, 13), PAM_PCI);
}

static void smram_lock(void **state)
{
    struct machine *m = *state;
    assert_int_equal(config_read(m, I440FX_DEVFN, I440FX_SMRAM, 1), 0x02);
    config_write(m, I440FX_DEVFN, I440FX_SMRAM, 1, 0x4d);
    assert_int_equal(config_read(m, I440FX_DEVFN, I440FX_SMRAM, 1), 0x4a);
    config_write(m, I440FX_DEVFN, I440FX_SMRAM, 1, 0x5a);
    assert_int_equal(config_read(m, I440FX_DEVFN, I440FX_SMRAM, 1), 0x1a);
    config_write(m, I440FX_DEVFN, I440FX_SMRAM, 1, 0x40);
    assert_int_equal(config_read(m, I440FX_DEVFN, I440FX_SMRAM, 1), 0x12);
    m->fake.device->reset(m->fake.self);
    config_write(m, I440FX_DEVFN, I440FX_SMRAM, 1, 0x40);
    assert_int_equal(config_read(m, I440FX_DEVFN, I440FX_SMRAM, 1), 0x42);
}

static void pirq(void **state)
{
    struct machine *m = *state;
    assert_int_equal(config_read(m, PIIX3_DEVFN, PIIX3_PIRQ, 4), 0x80808080u);
    assert_int_equal(m->seen.pirq_calls, 0);
    config_write(m, PIIX3_DEVFN, PIIX3_PIRQ + 1, 1, 0x7a);
    assert_int_equal(m->seen.pirq_calls, 1);
    config_write(m, PIIX3_DEVFN, PIIX3_PIRQ + 1, 1, 0x0a);
    assert_int_equal(m->seen.pirq_calls, 1);
    const uint8_t expected[4] = {0x80, 0x0a, 0x80, 0x80};
    assert_memory_equal(m->seen.route, expected, 4);
    for (unsigned route = 0; route < 256; route++) {
        unsigned irq = route & 15;
        bool routed = route < 128 && irq >= 3 && irq != 8 && irq != 13;
        assert_int_equal(piix3_pirq_irq((uint8_t)route), routed ? (int)irq : -1);
    }
    m->fake.device->reset(m->fake.self);
    assert_int_equal(m->seen.pirq_calls, 2);
    assert_int_equal(config_read(m, PIIX3_DEVFN, PIIX3_PIRQ, 4), 0x80808080u);
}

/* SeaBIOS, src/fw/pciinit.c, piix4_pm_setup(). */
static void pm_window(void **state)
{
    struct machine *m = *state;
    config_write(m, PIIX4_PM_DEVFN, 0x40, 4, 0x600 | 1);
    assert_int_equal(m->seen.calls, 0);
    config_write(m, PIIX4_PM_DEVFN, 0x80, 1, 0x01);
    assert_int_equal(m->seen.calls, 1);
    assert_ptr_equal(m->seen.fn, &m->pm);
    assert_int_equal(m->seen.window, PCI_WINDOW_OWN);
    assert_true(m->seen.decoded);
    assert_int_equal(m->seen.addr, 0x600);
    config_write(m, PIIX4_PM_DEVFN, 0x40, 4, 0xffffffff);
    assert_int_equal(config_read(m, PIIX4_PM_DEVFN, 0x40, 4), 0xffc1);
    assert_int_equal(m->seen.calls, 2);
    assert_int_equal(m->seen.addr, 0xffc0);
    config_write(m, PIIX4_PM_DEVFN, 0x40, 4, 0x3f); /* address 0 */
    assert_int_equal(m->seen.calls, 3);
    assert_false(m->seen.decoded);
    assert_int_equal(m->seen.addr, 0xffc0);
    config_write(m, PIIX4_PM_DEVFN, 0x40, 2, 0xb000);
    assert_int_equal(m->seen.calls, 4);
    m->fake.device->reset(m->fake.self);
    assert_int_equal(m->seen.calls, 5);
    assert_false(m->seen.decoded);
    assert_int_equal(m->seen.addr, 0xb000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_width_offset_and_low_bits, setup, teardown),
        cmocka_unit_test_setup_teardown(every_write_reaches_its_bytes_only, setup, teardown),
        cmocka_unit_test_setup_teardown(address_keeps_its_writable_bits, setup, teardown),
        cmocka_unit_test_setup_teardown(narrow_accesses_to_the_address_register_do_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(nobody_there_reads_as_ones, setup, teardown),
        cmocka_unit_test_setup_teardown(reset_control, setup, teardown),
        cmocka_unit_test_setup_teardown(bar_sizing, setup, teardown),
        cmocka_unit_test(bar_sizing_64_bits_small),
        cmocka_unit_test_setup_teardown(decode_is_announced_once_per_change, setup, teardown),
        cmocka_unit_test_setup_teardown(decode_of_64_bits, setup, teardown),
        cmocka_unit_test_setup_teardown(addresses_that_are_not_decoded, setup, teardown),
        cmocka_unit_test(impossible_bars),
        cmocka_unit_test(write_one_to_clear),
        cmocka_unit_test(impossible_hosts),
        cmocka_unit_test_setup_teardown(identities, setup, teardown),
        cmocka_unit_test_setup_teardown(pam, setup, teardown),
        cmocka_unit_test_setup_teardown(pam_segments, setup, teardown),
        cmocka_unit_test_setup_teardown(smram_lock, setup, teardown),
        cmocka_unit_test_setup_teardown(pirq, setup, teardown),
        cmocka_unit_test_setup_teardown(pm_window, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
