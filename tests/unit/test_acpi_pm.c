/* SPDX-License-Identifier: BSD-2-Clause */
/* What the power management of PIIX4 and ICH9 has in common, on both; and what only the ICH9 has. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <ringd/models/ich9.h>
#include <ringd/models/piix4_pm.h>

#include "fake_env.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define SECOND       UINT64_C(1000000000)

#define STS 0u
#define EN  2u
#define CNT 4u
#define TMR 8u

#define TMR_STS    0x0001u
#define PWRBTN     0x0100u
#define SCI_EN     0x0001u
#define CARRY_TIME (((UINT64_C(1) << 23) * SECOND + 3579544) / 3579545) /* 2.343 s, rounded up */

#define GPE0_STS 0x20u
#define GPE0_EN  0x28u
#define SMI_EN   0x30u

static struct fake_env pm;

static int setup_piix4(void **state)
{
    *state = &pm;
    return fake_env_create(&pm, &piix4_pm_ops, NULL, 0);
}

static int setup_ich9(void **state)
{
    *state = &pm;
    return fake_env_create(&pm, &ich9_pm_ops, NULL, 0);
}

static bool is_ich9(const struct fake_env *fake)
{
    return fake->device == &ich9_pm_ops;
}

/* Presses the power button; true when the guest hears it. */
static bool press(struct fake_env *fake)
{
    bool heard = false;
    (is_ich9(fake) ? ich9_pm_power_button : piix4_pm_power_button)(fake->self, &heard);
    return heard;
}

static int teardown(void **state)
{
    fake_env_destroy(*state);
    return 0;
}

static uint32_t rd(struct fake_env *fake, unsigned offset, unsigned width)
{
    return (uint32_t)fake_read(fake, PIIX4_PM_IO, offset, width);
}

static void wr(struct fake_env *fake, unsigned offset, unsigned width, uint32_t value)
{
    fake_write(fake, PIIX4_PM_IO, offset, width, value);
}

static void timer_counts_at_3579545_hz(void **state)
{
    static const struct {
        uint64_t at;
        uint32_t count;
    } points[] = {
        {0, 0},
        {279, 0},
        {280, 1},
        {1000, 3},
        {SECOND, 3579545},
        {SECOND + 279, 3579545},
        {SECOND + 280, 3579546},
        {UINT64_C(4686968596), 0xffffff}, /* 2^24 / 3579545 Hz is 4.68696887... s */
        {UINT64_C(4686968874), 0xffffff},
        {UINT64_C(4686968875), 0},
        {UINT64_C(4686969154), 1},
        {3600 * SECOND, (uint32_t)(UINT64_C(3600) * 3579545 % (1u << 24))},
    };
    struct fake_env *fake = *state;
    for (size_t i = 0; i < COUNT(points); i++) {
        assert_true(fake_env_advance(fake, points[i].at - fake->now));
        assert_int_equal(rd(fake, TMR, 4), points[i].count);
        for (unsigned byte = 0; byte < 4; byte++)
            assert_int_equal(rd(fake, TMR + byte, 1), points[i].count >> (8 * byte) & 0xff);
        wr(fake, TMR, 4, 0x12345678); /* read-only */
    }
    assert_int_equal(fake->deadline[0], RINGD_NEVER);
    fake->device->reset(fake->self);
    assert_int_equal(rd(fake, TMR, 4), 0);
}

static void timer_status_without_a_timer(void **state)
{
    struct fake_env *fake = *state;
    wr(fake, CNT, 2, SCI_EN);
    assert_true(fake_env_advance(fake, CARRY_TIME - 1));
    assert_int_equal(rd(fake, STS, 2), 0);
    assert_true(fake_env_advance(fake, 1));
    assert_int_equal(rd(fake, STS, 2), TMR_STS);
    assert_int_equal(rd(fake, TMR, 4), 0x800000);
    wr(fake, STS, 2, 0xffff & ~TMR_STS);
    assert_int_equal(rd(fake, STS, 2), TMR_STS);
    wr(fake, STS, 1, TMR_STS);
    assert_int_equal(rd(fake, STS, 2), 0);
    assert_true(fake_env_advance(fake, 60 * SECOND)); /* several carries are one status bit */
    assert_int_equal(rd(fake, STS, 2), TMR_STS);
    wr(fake, STS, 2, TMR_STS);
    assert_int_equal(rd(fake, STS, 2), 0);
    assert_int_equal(fake->edges[0], 0);
    assert_int_equal(fake->deadline[0], RINGD_NEVER);
    assert_int_equal(fake_counter(fake, "timer-carries"), 2);
}

static void timer_sci(void **state)
{
    struct fake_env *fake = *state;
    wr(fake, EN, 2, TMR_STS);
    assert_int_equal(fake->deadline[0], RINGD_NEVER); /* no SCI_EN */
    wr(fake, CNT, 2, SCI_EN);
    assert_int_equal(fake->deadline[0], CARRY_TIME);
    for (unsigned i = 1; i <= 5; i++) {
        assert_true(fake_env_advance(fake, CARRY_TIME));
        assert_true(fake->irq[0]);
        assert_int_equal(fake->edges[0], i);
        assert_int_equal(fake->deadline[0], RINGD_NEVER); /* nothing to wait for until the guest has seen it */
        wr(fake, STS, 2, TMR_STS);
        assert_false(fake->irq[0]);
        assert_true(fake->deadline[0] > fake->now && fake->deadline[0] <= fake->now + CARRY_TIME);
    }
    wr(fake, EN, 1, 0);
    assert_int_equal(fake->deadline[0], RINGD_NEVER);
    assert_true(fake_env_advance(fake, CARRY_TIME));
    assert_false(fake->irq[0]);
    wr(fake, EN, 1, TMR_STS); /* the event is pending already */
    assert_true(fake->irq[0]);
    wr(fake, CNT, 1, 0);
    assert_false(fake->irq[0]);
    fake->device->timer(fake->self, 0); /* a stray call changes nothing */
    assert_false(fake->irq[0]);
    wr(fake, CNT, 1, SCI_EN);
    assert_true(fake->irq[0]);
    fake->device->reset(fake->self);
    assert_false(fake->irq[0]);
    assert_int_equal(rd(fake, STS, 4), 0);
    assert_int_equal(fake_counter(fake, "sci"), fake->edges[0]);
}

static void registers_keep_their_bits(void **state)
{
    struct fake_env *fake = *state;
    wr(fake, STS, 4, 0xffffffff);
    assert_int_equal(rd(fake, STS, 4), 0x05210000);
    assert_int_equal(rd(fake, EN, 1), 0x21);
    assert_int_equal(rd(fake, EN + 1, 1), 0x05);
    wr(fake, EN + 1, 1, 0x01);
    assert_int_equal(rd(fake, EN, 2), 0x0121);
    wr(fake, CNT, 4, 0xffffdfff); /* all but SLP_EN */
    assert_int_equal(rd(fake, CNT, 4), 0x1c03);
    assert_int_equal(rd(fake, CNT, 2), 0x1c03);
    wr(fake, STS + 1, 4, 0x00000000); /* across: STS high, EN, CNT low */
    assert_int_equal(rd(fake, EN, 4), 0x1c000000);
    assert_int_equal(rd(fake, EN + 1, 4), 0x001c0000);
    wr(fake, EN, 4, 0x00010001); /* EN, CNT */
    assert_int_equal(rd(fake, STS, 4), 0x00010000);
    assert_int_equal(rd(fake, CNT, 2), 0x0001);
    assert_int_equal(fake->events[RINGD_EVENT_POWEROFF], 0);
}

static void the_rest_reads_as_zero(void **state)
{
    struct fake_env *fake = *state;
    assert_true(fake_env_advance(fake, SECOND));
    unsigned size = (unsigned)fake->device->regions[PIIX4_PM_IO].size;
    assert_int_equal(size, is_ich9(fake) ? 128 : 64);
    for (unsigned offset = 12; offset < size; offset++) {
        if (is_ich9(fake) && offset >= GPE0_EN && offset < SMI_EN + 4)
            continue;
        wr(fake, offset, 1, 0xff);
        assert_int_equal(rd(fake, offset, 1), 0);
    }
    wr(fake, size - 4, 4, 0xffffffff);
    assert_int_equal(rd(fake, size - 4, 4), 0);
    assert_int_equal(rd(fake, 6, 2), 0);
    assert_int_equal(rd(fake, 6, 4), (3579545u & 0xffff) << 16); /* into the timer */
}

static void power_off(void **state)
{
    static const struct {
        unsigned offset, width;
        uint32_t value;
        bool off, off_ich9;
    } writes[] = {
        {CNT, 2, 0x0001, false, false}, {CNT, 2, 0x2001, true, true},        {CNT, 2, 0x2401, false, false},
        {CNT, 4, 0x3c00, false, true},  {CNT + 1, 1, 0x20, true, true},      {CNT + 1, 1, 0x1c, false, false},
        {CNT, 1, 0x20, false, false},   {EN, 4, 0x20000000, true, true},     {CNT + 1, 2, 0x20, true, true},
        {TMR, 2, 0x2000, false, false}, {GPE0_STS, 2, 0x2000, false, false},
    };
    struct fake_env *fake = *state;
    unsigned expected = 0;
    for (size_t i = 0; i < COUNT(writes); i++) {
        wr(fake, writes[i].offset, writes[i].width, writes[i].value);
        expected += is_ich9(fake) ? writes[i].off_ich9 : writes[i].off;
        assert_int_equal(fake->events[RINGD_EVENT_POWEROFF], expected);
        assert_int_equal(rd(fake, CNT, 2) & 0x2000, 0); /* write-only */
    }
    assert_int_equal(fake_counter(fake, "poweroffs"), expected);
    assert_int_equal(fake_counter(fake, "sleeps-ignored"), is_ich9(fake) ? 1 : 2);
}

static void power_button(void **state)
{
    struct fake_env *fake = *state;
    assert_false(press(fake));
    assert_int_equal(rd(fake, STS, 2), PWRBTN);
    assert_false(fake->irq[0]);
    wr(fake, EN, 2, PWRBTN);
    assert_false(fake->irq[0]);
    assert_false(press(fake));
    wr(fake, CNT, 2, SCI_EN);
    assert_true(fake->irq[0]);
    wr(fake, STS + 1, 1, PWRBTN >> 8);
    assert_false(fake->irq[0]);
    assert_int_equal(rd(fake, STS, 2), 0);
    assert_true(press(fake));
    assert_int_equal(fake->edges[0], 2);
    assert_true(press(fake)); /* it listens, though it has not answered yet */
    assert_int_equal(fake->edges[0], 2);
    wr(fake, EN, 2, (uint16_t)~PWRBTN);
    assert_false(press(fake));
    (is_ich9(fake) ? ich9_pm_power_button : piix4_pm_power_button)(fake->self, NULL); /* nobody wants to know */
}

static void acpi_mode(void **state)
{
    struct fake_env *fake = *state;
    fake_write(fake, PIIX4_PM_APM, 1, 1, 0x5a);
    assert_int_equal(rd(fake, CNT, 2), 0);
    fake_write(fake, PIIX4_PM_APM, 0, 1, PIIX4_PM_ACPI_ENABLE);
    assert_int_equal(rd(fake, CNT, 2), SCI_EN);
    fake_write(fake, PIIX4_PM_APM, 0, 1, 0x00);
    assert_int_equal(rd(fake, CNT, 2), SCI_EN);
    assert_int_equal(fake_read(fake, PIIX4_PM_APM, 0, 1), 0x00);
    assert_int_equal(fake_read(fake, PIIX4_PM_APM, 1, 1), 0x5a);
    wr(fake, EN, 2, PWRBTN);
    assert_true(press(fake));
    assert_true(fake->irq[0]);
    fake_write(fake, PIIX4_PM_APM, 0, 1, PIIX4_PM_ACPI_DISABLE);
    assert_int_equal(rd(fake, CNT, 2), 0);
    assert_false(fake->irq[0]);
    assert_int_equal(fake_counter(fake, "apm-commands"), 3);

    struct fake_env other;
    const struct piix4_pm_config piix4 = {.acpi_at_reset = true};
    const struct ich9_pm_config ich9 = {.acpi_at_reset = true};
    const void *config = is_ich9(fake) ? (const void *)&ich9 : &piix4;
    assert_int_equal(fake_env_create(&other, fake->device, config, 0), 0);
    assert_int_equal(rd(&other, CNT, 2), SCI_EN);
    fake_env_destroy(&other);
}

/* No general-purpose event ever happens here; their enable bits are the guest's to keep. */
static void gpe0_keeps_its_enable_bits(void **state)
{
    struct fake_env *fake = *state;
    for (unsigned width = 1; width <= 4; width *= 2)
        for (unsigned offset = 0; offset + width <= 8; offset++) {
            fake->device->reset(fake->self);
            assert_int_equal(rd(fake, GPE0_EN, 4) | rd(fake, GPE0_EN + 4, 4), 0);
            wr(fake, GPE0_EN + offset, width, 0xa4a3a2a1u & (UINT32_MAX >> (32 - 8 * width)));
            for (unsigned i = 0; i < 8; i++)
                assert_int_equal(rd(fake, GPE0_EN + i, 1), i - offset < width ? 0xa1 + (i - offset) : 0);
        }
    wr(fake, GPE0_STS, 4, 0xffffffff);
    assert_int_equal(rd(fake, GPE0_STS, 4), 0);
    wr(fake, CNT, 2, SCI_EN);
    wr(fake, GPE0_EN, 4, 0xffffffff);
    assert_false(fake->irq[0]);
}

static void smi_enable_keeps_what_firmware_writes(void **state)
{
    struct fake_env *fake = *state;
    assert_int_equal(rd(fake, SMI_EN, 4), 0x20); /* APMC_EN: the handler is in place */
    wr(fake, SMI_EN, 4, 0x12345678);
    wr(fake, SMI_EN + 1, 2, 0xabcd);
    assert_int_equal(rd(fake, SMI_EN, 4), 0x12abcd78);
    wr(fake, GPE0_EN + 6, 4, 0x44332211); /* across */
    assert_int_equal(rd(fake, GPE0_EN + 4, 4), 0x22110000);
    assert_int_equal(rd(fake, SMI_EN, 4), 0x12ab4433);
    assert_int_equal(rd(fake, GPE0_EN + 6, 4), 0x44332211);
    wr(fake, SMI_EN + 2, 4, 0xffffffff); /* what is above it is not there */
    assert_int_equal(rd(fake, SMI_EN + 2, 4), 0x0000ffff);
    fake->device->reset(fake->self);
    assert_int_equal(rd(fake, SMI_EN, 4), 0x20);
    assert_int_equal(rd(fake, GPE0_EN + 4, 4), 0);
}

int main(void)
{
#define ON_BOTH(name)                                                                                                  \
    {#name ", PIIX4", name, setup_piix4, teardown, NULL},                                                              \
    {                                                                                                                  \
#name ", ICH9", name, setup_ich9, teardown, NULL                                                               \
    }
    const struct CMUnitTest tests[] = {
        ON_BOTH(timer_counts_at_3579545_hz),
        ON_BOTH(timer_status_without_a_timer),
        ON_BOTH(timer_sci),
        ON_BOTH(registers_keep_their_bits),
        ON_BOTH(the_rest_reads_as_zero),
        ON_BOTH(power_off),
        ON_BOTH(power_button),
        ON_BOTH(acpi_mode),
        cmocka_unit_test_setup_teardown(gpe0_keeps_its_enable_bits, setup_ich9, teardown),
        cmocka_unit_test_setup_teardown(smi_enable_keeps_what_firmware_writes, setup_ich9, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
