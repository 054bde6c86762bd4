/* SPDX-License-Identifier: BSD-2-Clause */
/* The MC146818's interrupts, ticks, clocks and memory, on a clock that moves only when told. */
#include "mc146818_guest.h"

static void test_power_on(void **state)
{
    (void)state;
    struct fake_env f;
    assert_int_equal(fake_env_create(&f, &mc146818_ops, NULL, 0), 0);
    assert_int_equal(rd(&f, REG_A), 0x26);
    assert_int_equal(rd(&f, REG_B), 0x02);
    assert_int_equal(rd(&f, REG_C), 0x00);
    assert_int_equal(rd(&f, REG_D), 0x80);
    wr(&f, REG_C, 0xff);
    wr(&f, REG_D, 0x00);
    assert_int_equal(rd(&f, REG_C), 0x00);
    assert_int_equal(rd(&f, REG_D), 0x80);
    assert_int_equal(fake_read(&f, MC146818_INDEX, 0, 1), 0xff);
    assert_time(&f, &(struct bytes){{0x40, 0x26, 0x12, 1, 0x13, 0x09, 0x20, 0x20}});
    fake_env_destroy(&f);
}

static const unsigned rates[16] = {0, 256, 128, 8192, 4096, 2048, 1024, 512, 256, 128, 64, 32, 16, 8, 4, 2};

static void test_rates(void **state)
{
    (void)state;
    for (unsigned rs = 0; rs < 16; rs++) {
        unsigned hz = rates[rs];
        struct fake_env f;
        start(&f, 0, MC146818_LOST_DISCARD);
        go(&f, 123);
        wr(&f, REG_A, 0x20); /* so that each case starts a grid of its own */
        wr(&f, REG_A, RUN(rs));
        wr(&f, REG_B, B_24H | B_PIE);
        for (uint64_t k = 1; hz && k <= 3 * hz; k++) {
            uint64_t at = 123 + (k * S + hz - 1) / hz; /* never early, less than 1 ns late */
            assert_true(f.deadline[0] == at);
            go(&f, at - 1 - f.now);
            assert_false(f.irq[0]);
            go(&f, 1);
            assert_true(f.irq[0]);
            assert_idle(&f); /* nothing to wait for until it is acknowledged */
            assert_int_equal(rd(&f, REG_C) & ~C_UF, C_IRQF | C_PF);
            assert_false(f.irq[0]);
        }
        if (!hz)
            assert_idle(&f);
        go(&f, hz ? 0 : 3 * S);
        assert_int_equal(fake_counter(&f, "ticks-due"), 3 * hz);
        assert_int_equal(fake_counter(&f, "ticks-delivered"), 3 * hz);
        assert_int_equal(fake_counter(&f, "ticks-coalesced"), 0);
        assert_int_equal(fake_counter(&f, "ticks-late"), 0);
        assert_int_equal(f.edges[0], 3 * hz);
        fake_env_destroy(&f);
    }
}

static void test_phase(void **state)
{
    (void)state;
    struct fake_env f;
    start(&f, 0, MC146818_LOST_DISCARD);
    go(&f, 5 * MS);
    rd(&f, REG_C);
    wr(&f, REG_A, RUN(13)); /* 8 Hz: ticks at 5 ms + k x 125 ms */
    wr(&f, REG_B, B_24H | B_PIE);
    assert_true(f.deadline[0] == 130 * MS);
    go(&f, 100 * MS);
    wr(&f, REG_B, B_24H);
    assert_idle(&f);
    wr(&f, REG_A, RUN(13)); /* the same rate is no change */
    wr(&f, REG_B, B_24H | B_PIE);
    assert_true(f.deadline[0] == 130 * MS);
    wr(&f, REG_B, B_24H);
    go(&f, 30 * MS); /* PF sets at 130 ms though nobody is told */
    assert_false(f.irq[0]);
    wr(&f, REG_B, B_24H | B_PIE); /* and interrupts as soon as it may */
    assert_true(f.irq[0]);
    assert_int_equal(rd(&f, REG_C), C_IRQF | C_PF);
    assert_true(f.deadline[0] == 255 * MS);
    wr(&f, REG_A, RUN(15)); /* at 135 ms: a new grid */
    assert_true(f.deadline[0] == 635 * MS);
    assert_int_equal(fake_counter(&f, "ticks-due"), 0);
    fake_env_destroy(&f);
}

static void test_register_c(void **state)
{
    (void)state;
    static const uint8_t enables[] = {0, B_PIE, B_AIE, B_UIE, B_PIE | B_AIE | B_UIE};
    for (unsigned i = 0; i < sizeof(enables); i++) {
        struct fake_env f;
        start(&f, 0, MC146818_LOST_DISCARD);
        for (unsigned reg = SECONDS_ALARM; reg <= HOURS_ALARM; reg += 2)
            wr(&f, reg, 0xff);
        wr(&f, REG_B, B_24H | enables[i]);
        go(&f, S);
        assert_int_equal(f.irq[0], enables[i] != 0);
        /* masking and unmasking moves the line, not the flags */
        wr(&f, REG_B, B_24H);
        assert_false(f.irq[0]);
        wr(&f, REG_B, B_24H | enables[i]);
        assert_int_equal(f.irq[0], enables[i] != 0);
        assert_int_equal(rd(&f, REG_C), C_PF | C_AF | C_UF | (enables[i] ? C_IRQF : 0));
        assert_false(f.irq[0]);
        assert_int_equal(rd(&f, REG_C), 0);
        fake_env_destroy(&f);
    }
}

static void assert_counts(struct fake_env *f, const uint64_t (*want)[7])
{
    static const char *const names[] = {"ticks-due",       "ticks-delivered", "ticks-coalesced", "ticks-late",
                                        "ticks-discarded", "ticks-converted", "ticks-owed"};
    for (unsigned i = 0; i < 7; i++)
        assert_int_equal(fake_counter(f, names[i]), (*want)[i]);
}

#define COUNTS(...)                                                                                                    \
    &(const uint64_t[7])                                                                                               \
    {                                                                                                                  \
        __VA_ARGS__                                                                                                    \
    }

/* 8 Hz, the guest does not answer for 2 s: 16 ticks due, one interrupt. */
static void miss_ticks(struct fake_env *f, enum mc146818_lost_ticks lost)
{
    start(f, 0, lost);
    wr(f, REG_A, RUN(13));
    wr(f, REG_B, B_24H | B_PIE);
    go(f, 2 * S);
    assert_int_equal(f->edges[0], 1);
    assert_int_equal(rd(f, REG_C) & C_PF, C_PF);
}

static void test_discard(void **state)
{
    (void)state;
    struct fake_env f;
    miss_ticks(&f, MC146818_LOST_DISCARD);
    assert_counts(&f, COUNTS(16, 1, 15, 0, 15, 0, 0));
    assert_true(f.deadline[0] == 2 * S + 125 * MS);
    /* the host's timer comes late, without the guest being at fault: one tick, late, and those behind it are gone */
    f.now += 1000 * MS;
    go(&f, 0);
    assert_true(f.irq[0]);
    assert_counts(&f, COUNTS(24, 2, 22, 1, 22, 0, 0));
    rd(&f, REG_C);
    /* a year late costs no loop */
    f.now += UINT64_C(31536000) * S;
    go(&f, 0);
    assert_counts(&f, COUNTS(252288024, 3, 252288021, 2, 252288021, 0, 0));
    fake_env_destroy(&f);
}

static void test_slew(void **state)
{
    (void)state;
    struct fake_env f;
    miss_ticks(&f, MC146818_LOST_SLEW);
    assert_counts(&f, COUNTS(16, 1, 15, 0, 0, 0, 15));
    /* twice the pace until it has caught up: 15 owed ticks take 15 half periods between 15 regular ones */
    for (unsigned k = 1; k <= 29; k++) {
        assert_true(f.deadline[0] == 2 * S + k * 62500 * US);
        go(&f, 62500 * US);
        assert_true(f.irq[0]);
        assert_int_equal(rd(&f, REG_C) & C_PF, C_PF);
    }
    assert_counts(&f, COUNTS(16 + 14, 30, 15, 27, 0, 0, 0));
    assert_true(f.deadline[0] == 2 * S + 15 * 125 * MS);
    go(&f, 10 * S); /* unanswered once more, then PIE off: the debt is void */
    rd(&f, REG_C);
    wr(&f, REG_B, B_24H);
    assert_idle(&f);
    assert_int_equal(fake_counter(&f, "ticks-owed"), 0);
    assert_int_equal(fake_counter(&f, "ticks-due"),
                     fake_counter(&f, "ticks-delivered") + fake_counter(&f, "ticks-discarded"));
    fake_env_destroy(&f);
}

static void test_slew_late(void **state)
{
    (void)state;
    struct fake_env f;
    start(&f, 0, MC146818_LOST_SLEW);
    wr(&f, REG_A, RUN(13));
    wr(&f, REG_B, B_24H | B_PIE);
    go(&f, 300 * MS); /* due at 125 and 250 ms; the first is out, the second is owed */
    rd(&f, REG_C);
    assert_true(f.deadline[0] == 362500 * US);
    go(&f, 62500 * US); /* 112.5 ms after it was due: less than a period */
    assert_counts(&f, COUNTS(2, 2, 1, 0, 0, 0, 0));
    rd(&f, REG_C);
    go(&f, 12500 * US); /* 375 ms, on time, and those of 500 and 625 ms queue behind it */
    go(&f, 275 * MS);
    rd(&f, REG_C);
    assert_counts(&f, COUNTS(5, 3, 3, 0, 0, 0, 2));
    go(&f, 62500 * US);
    assert_counts(&f, COUNTS(5, 4, 3, 1, 0, 0, 1)); /* 712.5 is more than 125 after 500 */
    fake_env_destroy(&f);
}

static void test_slew_bounds(void **state)
{
    (void)state;
    struct fake_env f;
    start(&f, 0, MC146818_LOST_SLEW);
    wr(&f, REG_A, RUN(10)); /* 64 Hz */
    wr(&f, REG_B, B_24H | B_PIE);
    go(&f, 3600 * S);
    rd(&f, REG_C);
    assert_counts(&f, COUNTS(230400, 1, 230399, 0, 230399 - 1280, 0, 1280)); /* 20 s' worth is kept */
    wr(&f, REG_A, RUN(6)); /* the same 20 s are 16 times as many ticks at 1024 Hz */
    assert_counts(&f, COUNTS(230400 + 20480, 1, 230399, 0, 229119, 1280, 20480));
    assert_true(f.deadline[0] == f.now + 488281);
    for (unsigned i = 0; i < 2 * 20480; i++) {
        go(&f, 488282);
        rd(&f, REG_C);
    }
    assert_int_equal(fake_counter(&f, "ticks-owed"), 0);
    assert_int_equal(fake_counter(&f, "ticks-delivered"), 1 + 20480 + 20480);
    wr(&f, REG_A, 0x70); /* divider reset: none are due any more */
    assert_idle(&f);
    fake_env_destroy(&f);
}

/* The host's clock steps while updates interrupt. */
static void test_host_steps(void **state)
{
    (void)state;
    static const struct {
        int64_t step_s;
        struct bytes want;
    } cases[] = {
        {0, {{0x40, 0x26, 0x12, 1, 0x13, 0x09, 0x20, 0x20}}},
        {-1, {{0x39, 0x26, 0x12, 1, 0x13, 0x09, 0x20, 0x20}}},
        {-41, {{0x59, 0x25, 0x12, 1, 0x13, 0x09, 0x20, 0x20}}},
        {-1600000000, {{0, 0, 0, 5, 1, 1, 0x70, 0x19}}},
        {-1600000001, {{0x59, 0x59, 0x23, 4, 0x31, 0x12, 0x69, 0x19}}},
        {3600, {{0x40, 0x26, 0x13, 1, 0x13, 0x09, 0x20, 0x20}}},
        {1577836800, {{0x40, 0x26, 0x12, 7, 0x13, 0x09, 0x70, 0x20}}},
    };
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct fake_env f;
        assert_int_equal(fake_env_create(&f, &mc146818_ops, NULL, 0), 0);
        wr(&f, REG_B, B_24H | B_UIE);
        f.wall += cases[i].step_s * (int64_t)S;
        assert_time(&f, &cases[i].want);
        assert_true(f.deadline[1] - f.now <= S || f.irq[0]);
        unsigned interrupts = f.irq[0];
        rd(&f, REG_C);
        for (unsigned k = 0; k < 1000; k++) {
            go(&f, 10 * MS);
            interrupts += f.irq[0];
            rd(&f, REG_C);
        }
        assert_in_range(interrupts, 10, 11);
        fake_env_destroy(&f);
    }
    /* the ends of the scale, and a clock that creeps: no hang, no storm, no undefined step */
    struct fake_env f;
    assert_int_equal(fake_env_create(&f, &mc146818_ops, NULL, 0), 0);
    wr(&f, REG_B, B_24H | B_UIE | B_AIE);
    static const int64_t walls[] = {INT64_MAX, INT64_MIN, 0, INT64_MIN, INT64_MAX, -1, 1599999999999999995};
    for (unsigned i = 0; i < sizeof(walls) / sizeof(walls[0]); i++) {
        f.wall = walls[i];
        rd(&f, SECONDS);
        rd(&f, REG_C);
    }
    unsigned calls = 0;
    for (uint64_t end = f.now + S; f.deadline[1] < end; calls++) {
        f.now = f.deadline[1]; /* wall stands still */
        f.deadline[1] = RINGD_NEVER;
        mc146818_ops.timer(f.self, 1);
        assert_true(f.deadline[1] >= f.now + 100 * US);
    }
    fake_env_destroy(&f);
}

static void test_host_alarm(void **state)
{
    (void)state;
    struct fake_env f;
    assert_int_equal(fake_env_create(&f, &mc146818_ops, NULL, 0), 0);
    wr(&f, HOURS_ALARM, 0x18); /* 18:00:00, it is 12:26:40 */
    wr(&f, REG_B, B_24H | B_AIE);
    go(&f, 3600 * S);
    f.wall += 7200 * (int64_t)S; /* 15:26:40 now */
    go(&f, 9200 * S - 1);
    assert_false(f.irq[0]);
    go(&f, 1);
    assert_true(f.irq[0]);
    rd(&f, REG_C);
    go(&f, 3600 * S);
    f.wall += 86400 * (int64_t)S; /* stepped over: noticed within 10 s */
    go(&f, 10 * S);
    assert_true(f.irq[0]);
    rd(&f, REG_C);
    f.wall += 86390 * (int64_t)S; /* a pause that the host's clock did not make */
    mc146818_ops.resume(f.self);
    assert_true(f.irq[0]);
    fake_env_destroy(&f);

    start(&f, 0, MC146818_LOST_DISCARD); /* the VM's clock sees no steps */
    f.wall = 0;
    go(&f, S);
    assert_int_equal(rd(&f, SECONDS), 1);
    f.wall = INT64_MAX / 2;
    mc146818_ops.resume(f.self);
    assert_int_equal(rd(&f, SECONDS), 1);
    fake_env_destroy(&f);
}

static void test_idle(void **state)
{
    (void)state;
    struct fake_env f;
    assert_int_equal(fake_env_create(&f, &mc146818_ops, NULL, 0), 0);
    assert_idle(&f);
    for (unsigned reg = 0; reg < 128; reg++) {
        rd(&f, reg);
        if (reg != REG_B)
            wr(&f, reg, RUN(6));
        assert_idle(&f);
        go(&f, 500 * MS);
    }
    wr(&f, REG_B, B_24H | B_UIE | B_PIE);
    rd(&f, REG_C);
    f.wall += 5 * (int64_t)S; /* an update, found by a timer call on the way for a deadline since replaced */
    mc146818_ops.timer(f.self, 1);
    mc146818_ops.timer(f.self, 0);
    assert_true(f.irq[0] && f.deadline[1] == RINGD_NEVER);
    wr(&f, REG_B, B_24H);
    assert_idle(&f);
    wr(&f, REG_B, B_24H | B_SQWE | 1 | B_DM); /* square wave and daylight saving are stored, nothing more */
    assert_int_equal(rd(&f, REG_B), B_24H | B_SQWE | 1 | B_DM);
    assert_idle(&f);
    fake_env_destroy(&f);
}

struct written {
    unsigned calls, index;
    uint8_t value;
};

static void note_write(void *ctx, unsigned index, uint8_t value)
{
    struct written *w = ctx;
    w->calls++;
    w->index = index;
    w->value = value;
}

static void test_nvram(void **state)
{
    (void)state;
    struct written w = {0, 0, 0};
    uint8_t image[MC146818_NVRAM_SIZE];
    for (unsigned i = 0; i < sizeof(image); i++)
        image[i] = (uint8_t)(i ^ 0xa5);
    struct mc146818_config config = {
        .nvram_image = image, .nvram_written = note_write, .nvram_ctx = &w, .century = 0x37};
    struct fake_env f;
    assert_int_equal(fake_env_create(&f, &mc146818_ops, &config, 0), 0);
    assert_int_equal(rd(&f, 0x37), 0x20); /* the clock's bytes are the clock's */
    assert_int_equal(rd(&f, YEAR), 0x20);
    memset(image, 0, sizeof(image)); /* it was copied */
    for (unsigned i = NVRAM; i < 128; i++)
        if (i != 0x37)
            assert_int_equal(rd(&f, i), i ^ 0xa5);
    mc146818_set_nvram(f.self, 0x34, 0x12);
    for (unsigned i = 0; i < 300; i++)
        if (i < NVRAM || i > 127 || i == 0x37)
            mc146818_set_nvram(f.self, i, 0xee);
    assert_int_equal(rd(&f, 0x34), 0x12);
    assert_int_equal(rd(&f, YEAR), 0x20);
    assert_int_equal(rd(&f, 0x37), 0x20);
    assert_int_equal(w.calls, 0);
    wr(&f, 127, 0x5a);
    assert_int_equal(w.calls, 1);
    assert_int_equal(w.index, 127);
    assert_int_equal(w.value, 0x5a);
    wr(&f, 0x37, 0x21);
    wr(&f, SECONDS, 0);
    wr(&f, REG_C, 0);
    assert_int_equal(w.calls, 1);
    assert_int_equal(rd(&f, 0x37), 0x21);

    assert_false(mc146818_nmi_masked(f.self));
    fake_write(&f, MC146818_INDEX, 0, 1, 0x80 | 127); /* bit 7 is not part of the index */
    assert_true(mc146818_nmi_masked(f.self));
    assert_int_equal(fake_read(&f, MC146818_DATA, 0, 1), 0x5a);
    fake_write(&f, MC146818_INDEX, 0, 1, 127);
    assert_false(mc146818_nmi_masked(f.self));
    fake_env_destroy(&f);
}

static void test_reset(void **state)
{
    (void)state;
    struct fake_env f;
    start(&f, 0, MC146818_LOST_SLEW);
    wr(&f, 100, 42);
    wr(&f, HOURS_ALARM, 0xff);
    wr(&f, REG_A, RUN(13));
    wr(&f, REG_B, 0x7f);
    go(&f, 10 * S);
    assert_true(f.irq[0]);
    mc146818_ops.reset(f.self);
    assert_false(f.irq[0]);
    assert_idle(&f);
    assert_int_equal(rd(&f, REG_A), RUN(13));
    assert_int_equal(rd(&f, REG_B), 0x07);
    assert_int_equal(rd(&f, REG_C), 0);
    assert_int_equal(rd(&f, SECONDS), 10);
    assert_int_equal(rd(&f, HOURS_ALARM), 0xff);
    assert_int_equal(rd(&f, 100), 42);
    assert_int_equal(fake_counter(&f, "ticks-owed"), 0);
    fake_env_destroy(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_power_on),   cmocka_unit_test(test_rates),       cmocka_unit_test(test_phase),
        cmocka_unit_test(test_register_c), cmocka_unit_test(test_discard),     cmocka_unit_test(test_slew),
        cmocka_unit_test(test_slew_late),  cmocka_unit_test(test_slew_bounds), cmocka_unit_test(test_host_steps),
        cmocka_unit_test(test_host_alarm), cmocka_unit_test(test_idle),        cmocka_unit_test(test_nvram),
        cmocka_unit_test(test_reset),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
