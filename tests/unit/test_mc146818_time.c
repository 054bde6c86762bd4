/* SPDX-License-Identifier: BSD-2-Clause */
/* The MC146818's time, calendar and alarm against the data sheet, on a clock that moves only when told. */
#include "mc146818_guest.h"

static void test_base(void **state)
{
    (void)state;
    static const struct {
        struct mc146818_config config;
        struct bytes want;
        uint64_t to_update;
    } cases[] = {
        {{.base = MC146818_BASE_UTC}, {{0x40, 0x26, 0x12, 1, 0x13, 0x09, 0x20, 0x20}}, S},
        {{.base = MC146818_BASE_LOCALTIME, .utc_offset_s = 5 * 3600 + 1800},
         {{0x40, 0x56, 0x17, 1, 0x13, 9, 0x20, 0x20}},
         S},
        {{.base = MC146818_BASE_LOCALTIME, .utc_offset_s = -13 * 3600},
         {{0x40, 0x26, 0x23, 7, 0x12, 9, 0x20, 0x20}},
         S},
        {{.base = MC146818_BASE_DATE, .base_ns = 750000000}, {{0, 0, 0, 5, 1, 1, 0x70, 0x19}}, S / 4},
        {{.base = MC146818_BASE_DATE, .base_ns = -1, .clock = MC146818_CLOCK_VM},
         {{0x59, 0x59, 0x23, 4, 0x31, 0x12, 0x69, 0x19}},
         1},
        {{.base = MC146818_BASE_DATE, .base_ns = INT64_MAX}, {{0x16, 0x47, 0x23, 6, 0x11, 4, 0x62, 0x22}}, 145224193},
        {{.base = MC146818_BASE_DATE, .base_ns = INT64_MIN}, {{0x43, 0x12, 0x00, 3, 0x21, 9, 0x77, 0x16}}, 854775808},
    };
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct fake_env f;
        assert_int_equal(fake_env_create(&f, &mc146818_ops, &cases[i].config, 0), 0);
        assert_time(&f, &cases[i].want);
        go(&f, cases[i].to_update - 1);
        assert_int_equal(rd(&f, REG_C) & C_UF, 0);
        go(&f, 1);
        assert_int_equal(rd(&f, REG_C) & C_UF, C_UF);
        fake_env_destroy(&f);
    }
    static const struct mc146818_config bad[] = {
        {.base = (enum mc146818_base)3},
        {.clock = (enum mc146818_clock)2},
        {.lost_ticks = (enum mc146818_lost_ticks) - 1},
        {.utc_offset_s = 86401},
        {.utc_offset_s = INT32_MIN},
        {.century = 13},
        {.century = 128},
    };
    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct fake_env f;
        assert_int_equal(fake_env_create(&f, &mc146818_ops, &bad[i], 0), -EINVAL);
    }
}

/* One update after what the guest set, in BCD and 24 hours. */
static void test_roll(void **state)
{
    (void)state;
    static const struct {
        struct bytes before, after;
    } cases[] = {
        {{{0x09, 0x59, 0x23, 2, 0x28, 2, 0x01, 0x20}}, {{0x10, 0x59, 0x23, 2, 0x28, 2, 0x01, 0x20}}},
        {{{0x59, 0x09, 0x23, 2, 0x28, 2, 0x01, 0x20}}, {{0x00, 0x10, 0x23, 2, 0x28, 2, 0x01, 0x20}}},
        {{{0x59, 0x59, 0x09, 2, 0x28, 2, 0x01, 0x20}}, {{0x00, 0x00, 0x10, 2, 0x28, 2, 0x01, 0x20}}},
        {{{0x59, 0x59, 0x23, 7, 0x28, 2, 0x01, 0x20}}, {{0, 0, 0, 1, 0x01, 3, 0x01, 0x20}}},
        {{{0x59, 0x59, 0x23, 1, 0x28, 2, 0x04, 0x20}}, {{0, 0, 0, 2, 0x29, 2, 0x04, 0x20}}},
        {{{0x59, 0x59, 0x23, 1, 0x28, 2, 0x00, 0x19}}, {{0, 0, 0, 2, 0x01, 3, 0x00, 0x19}}},
        {{{0x59, 0x59, 0x23, 1, 0x28, 2, 0x00, 0x20}}, {{0, 0, 0, 2, 0x29, 2, 0x00, 0x20}}},
        {{{0x59, 0x59, 0x23, 1, 0x29, 2, 0x00, 0x20}}, {{0, 0, 0, 2, 0x01, 3, 0x00, 0x20}}},
        {{{0x59, 0x59, 0x23, 1, 0x28, 2, 0x00, 0x21}}, {{0, 0, 0, 2, 0x01, 3, 0x00, 0x21}}},
        {{{0x59, 0x59, 0x23, 6, 0x30, 4, 0x26, 0x20}}, {{0, 0, 0, 7, 0x01, 5, 0x26, 0x20}}},
        {{{0x59, 0x59, 0x23, 6, 0x31, 0x12, 0x99, 0x19}}, {{0, 0, 0, 7, 0x01, 1, 0x00, 0x20}}},
        {{{0x59, 0x59, 0x23, 6, 0x31, 0x12, 0x99, 0x99}}, {{0, 0, 0, 7, 0x01, 1, 0x00, 0x00}}},
        /* nonsense stays until a carry reaches it, then counts as the last value */
        {{{0x00, 0x7f, 0xff, 9, 0x31, 2, 0xaa, 0xff}}, {{0x01, 0x7f, 0xff, 9, 0x31, 2, 0xaa, 0xff}}},
        {{{0xff, 0xff, 0xff, 0, 0x31, 2, 0x23, 0x20}}, {{0, 0, 0, 1, 0x01, 3, 0x23, 0x20}}},
        {{{0x59, 0x59, 0x23, 9, 0x00, 0, 0x23, 0x20}}, {{0, 0, 0, 3, 0x01, 1, 0x23, 0x20}}},
        {{{0x59, 0x59, 0x23, 7, 0xff, 0xff, 0x23, 0x20}}, {{0, 0, 0, 1, 0x01, 1, 0x24, 0x20}}},
    };
    struct fake_env f;
    start(&f, 0, MC146818_LOST_DISCARD);
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        set_time(&f, &cases[i].before);
        assert_time(&f, &cases[i].before);
        go(&f, S);
        assert_time(&f, &cases[i].after);
    }
    fake_env_destroy(&f);
}

/* A day at a time through more than the 400-year cycle against plain counting, then the same in leaps and backwards. */
static void test_calendar(void **state)
{
    (void)state;
    static const uint8_t length[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    struct mc146818_time t = {.cmos[REG_B] = B_24H | B_DM};
    mc146818_time_init(&t, CENTURY, 0);
    const struct mc146818_time first = t;
    unsigned year = 1970, month = 1, date = 1, weekday = 5;
    for (int64_t day = 1; day < 160000; day++) {
        unsigned leap = month == 2 && (year % 400 == 0 || (year % 4 == 0 && year % 100 != 0));
        if (++date > length[month - 1] + leap) {
            date = 1;
            if (++month > 12) {
                month = 1;
                year++;
            }
        }
        weekday = weekday % 7 + 1;
        mc146818_time_advance(&t, 86400);
        assert_int_equal(t.cmos[CENTURY] * 100 + t.cmos[YEAR], year);
        assert_int_equal(t.cmos[MONTH], month);
        assert_int_equal(t.cmos[DATE], date);
        assert_int_equal(t.cmos[DAY_OF_WEEK], weekday);
        struct mc146818_time leapt = first, back = t;
        mc146818_time_advance(&leapt, day * 86400);
        assert_memory_equal(leapt.cmos, t.cmos, sizeof(t.cmos));
        mc146818_time_advance(&back, -day * 86400);
        assert_memory_equal(back.cmos, first.cmos, sizeof(t.cmos));
    }
}

static const uint8_t formats[] = {0, B_24H, B_DM, B_DM | B_24H};

static uint8_t hour_byte(unsigned hour, uint8_t b)
{
    unsigned h = b & B_24H ? hour : (hour + 11) % 12 + 1;
    unsigned byte = b & B_DM ? h : h / 10 * 16 + h % 10;
    return (uint8_t)(byte | (!(b & B_24H) && hour >= 12 ? 0x80 : 0));
}

static void test_formats(void **state)
{
    (void)state;
    for (unsigned i = 0; i < sizeof(formats); i++) {
        uint8_t b = formats[i];
        struct fake_env f;
        start(&f, 86399, MC146818_LOST_DISCARD);
        wr(&f, REG_B, b); /* a running clock keeps its time */
        assert_int_equal(rd(&f, SECONDS), b & B_DM ? 59 : 0x59);
        assert_int_equal(rd(&f, HOURS), hour_byte(23, b));
        assert_int_equal(rd(&f, YEAR), b & B_DM ? 70 : 0x70);
        assert_int_equal(rd(&f, CENTURY), b & B_DM ? 19 : 0x19);
        go(&f, S);
        for (unsigned hour = 0; hour < 48; hour++, go(&f, 3600 * S)) {
            assert_int_equal(rd(&f, HOURS), hour_byte(hour % 24, b));
            for (unsigned j = 0; j < sizeof(formats); j++) {
                wr(&f, REG_B, formats[j]);
                assert_int_equal(rd(&f, HOURS), hour_byte(hour % 24, formats[j]));
            }
            wr(&f, REG_B, b);
        }
        for (unsigned hour = 0; hour < 24; hour++) {
            wr(&f, HOURS, hour_byte(hour, b)); /* set without SET, and rolled into the next */
            wr(&f, MINUTES, b & B_DM ? 59 : 0x59);
            wr(&f, SECONDS, b & B_DM ? 59 : 0x59);
            go(&f, S);
            assert_int_equal(rd(&f, HOURS), hour_byte((hour + 1) % 24, b));
            assert_int_equal(rd(&f, MINUTES), 0);
        }
        /* under SET the bytes stay as written: the guest initialises them for the new format */
        uint8_t hours = rd(&f, HOURS);
        wr(&f, REG_B, B_SET | (b ^ (B_DM | B_24H)));
        assert_int_equal(rd(&f, HOURS), hours);
        wr(&f, REG_B, B_SET | B_24H);
        wr(&f, HOURS, 0x17);
        wr(&f, REG_B, B_DM | B_24H);
        assert_int_equal(rd(&f, HOURS), 0x17);
        fake_env_destroy(&f);
    }
}

static void test_uip(void **state)
{
    (void)state;
    struct fake_env f;
    start(&f, 0, MC146818_LOST_DISCARD);
    for (unsigned second = 0; second < 3; second++) {
        assert_int_equal(rd(&f, REG_A), 0x26);
        go(&f, S - 244 * US - 1);
        assert_int_equal(rd(&f, REG_A), 0x26);
        go(&f, 1);
        assert_int_equal(rd(&f, REG_A), 0xa6);
        go(&f, 244 * US - 1);
        assert_int_equal(rd(&f, REG_A), 0xa6);
        assert_int_equal(rd(&f, SECONDS), second);
        go(&f, 1);
        assert_int_equal(rd(&f, SECONDS), second + 1);
    }
    wr(&f, REG_A, 0xa6); /* UIP is read-only */
    assert_int_equal(rd(&f, REG_A), 0x26);
    go(&f, S - 1);
    assert_int_equal(rd(&f, REG_A), 0xa6);
    wr(&f, REG_B, B_SET | B_24H); /* SET clears it */
    assert_int_equal(rd(&f, REG_A), 0x26);
    assert_idle(&f);
    fake_env_destroy(&f);
}

static void test_set(void **state)
{
    (void)state;
    struct fake_env f;
    start(&f, 0, MC146818_LOST_DISCARD);
    go(&f, 300 * MS);
    wr(&f, REG_B, B_UIE | B_24H);
    assert_true(f.deadline[1] == S);
    wr(&f, REG_B, B_SET | B_UIE | B_24H);
    assert_int_equal(rd(&f, REG_B), B_SET | B_24H); /* and UIE is gone */
    assert_idle(&f);
    go(&f, 5 * S);
    assert_int_equal(rd(&f, SECONDS), 0);
    assert_int_equal(rd(&f, REG_C) & (C_UF | C_AF), 0);
    wr(&f, SECONDS, 0x33);
    assert_int_equal(rd(&f, SECONDS), 0x33);
    wr(&f, REG_B, B_24H);
    go(&f, 700 * MS - 1); /* the divider has kept its phase */
    assert_int_equal(rd(&f, SECONDS), 0x33);
    go(&f, 1);
    assert_int_equal(rd(&f, SECONDS), 0x34);
    fake_env_destroy(&f);
}

static void test_divider_reset(void **state)
{
    (void)state;
    static const struct {
        uint8_t a;
        bool runs;
    } cases[] = {{0x06, true},  {0x16, true},  {0x26, true},  {0x36, false},
                 {0x46, false}, {0x56, false}, {0x66, false}, {0x76, false}};
    struct fake_env f;
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        start(&f, 0, MC146818_LOST_DISCARD);
        wr(&f, REG_A, cases[i].a);
        assert_int_equal(rd(&f, REG_A), cases[i].a);
        wr(&f, REG_B, B_24H | B_UIE | B_PIE);
        if (!cases[i].runs)
            assert_idle(&f);
        go(&f, 1234567 * US);
        assert_int_equal(rd(&f, SECONDS), cases[i].runs);
        assert_int_equal(rd(&f, REG_C), cases[i].runs ? C_IRQF | C_PF | C_UF : 0);
        if (!cases[i].runs) {
            wr(&f, SECONDS, 0x20);
            wr(&f, REG_A, 0x26);
            assert_true(f.deadline[1] == f.now + 500 * MS);
            go(&f, 500 * MS - 244 * US - 1);
            assert_int_equal(rd(&f, REG_A), 0x26);
            go(&f, 1);
            assert_int_equal(rd(&f, REG_A), 0xa6);
            go(&f, 244 * US - 1);
            assert_int_equal(rd(&f, SECONDS), 0x20);
            go(&f, 1);
            assert_int_equal(rd(&f, SECONDS), 0x21);
            go(&f, S);
            assert_int_equal(rd(&f, SECONDS), 0x22);
        }
        fake_env_destroy(&f);
    }
}

static const struct bytes eve = {{0x59, 0x59, 0x23, 6, 0x31, 0x12, 0x99, 0x19}};
static const struct bytes morn = {{0, 0, 0, 7, 0x01, 0x01, 0x00, 0x20}};

/* However slowly it is read, each reading is all of one year or all of the next. */
static void test_snapshot_is_whole(void **state)
{
    (void)state;
    static const uint64_t gaps[] = {0, 1, 30 * US, 244 * US, 300 * US, 5 * MS, 124 * MS};
    for (unsigned with_a = 0; with_a < 2; with_a++) {
        for (unsigned i = 0; i < sizeof(gaps) / sizeof(gaps[0]); i++) {
            for (unsigned first = 0; first < TIME_BYTES; first++) {
                struct fake_env f;
                start(&f, 0, MC146818_LOST_DISCARD);
                set_time(&f, &eve);
                go(&f, S - 244 * US - 1); /* the last moment that shows UIP clear */
                if (with_a)
                    assert_int_equal(rd(&f, REG_A) & A_UIP, 0);
                for (unsigned n = 0; n < TIME_BYTES; n++) {
                    unsigned k = (first + n) % TIME_BYTES;
                    assert_int_equal(rd(&f, order[k]), eve.b[k]);
                    go(&f, gaps[i]);
                }
                go(&f, 244 * US + 1);
                assert_time(&f, &morn);
                fake_env_destroy(&f);
            }
        }
    }
}

/* Each of these ends a snapshot that showed the old year. */
static void test_snapshot_ends(void **state)
{
    (void)state;
    for (unsigned how = 0; how < 6; how++) {
        struct fake_env f;
        start(&f, 0, MC146818_LOST_DISCARD);
        set_time(&f, &eve);
        go(&f, S - 244 * US - 1);
        rd(&f, REG_A);
        assert_int_equal(rd(&f, YEAR), 0x99);
        go(&f, 300 * US);
        assert_int_equal(rd(&f, MONTH), 0x12);
        switch (how) {
        case 0: /* the same byte again */
            assert_int_equal(rd(&f, YEAR), 0x00);
            break;
        case 1:
            assert_int_equal(rd(&f, REG_A), 0x26);
            break;
        case 2: /* the chip has told of the update */
            assert_int_equal(rd(&f, REG_C) & C_UF, C_UF);
            break;
        case 3:
            go(&f, S - 300 * US);
            break;
        case 4:
            wr(&f, SECONDS_ALARM, 0);
            break;
        default:
            wr(&f, REG_B, B_24H);
        }
        assert_int_equal(rd(&f, DATE), 0x01);
        assert_int_equal(rd(&f, HOURS), 0x00);
        fake_env_destroy(&f);
    }
    /* one that has not been told lasts a second, less 1 ns, and no longer */
    for (unsigned over = 0; over < 2; over++) {
        struct fake_env f;
        start(&f, 0, MC146818_LOST_DISCARD);
        set_time(&f, &eve);
        rd(&f, REG_A);
        go(&f, S - 1 + over);
        assert_int_equal(rd(&f, YEAR), over ? 0x00 : 0x99);
        fake_env_destroy(&f);
    }
    /* UIP set is no promise: the bytes are as of their own reading */
    struct fake_env f;
    start(&f, 0, MC146818_LOST_DISCARD);
    set_time(&f, &eve);
    go(&f, S - 1);
    assert_int_equal(rd(&f, REG_A), 0xa6);
    go(&f, 1);
    assert_int_equal(rd(&f, YEAR), 0x00);
    fake_env_destroy(&f);
}

static void test_alarm(void **state)
{
    (void)state;
    static const struct {
        uint8_t alarm[3]; /* seconds, minutes, hours */
        unsigned after;   /* updates from 12:34:56; 0: never */
    } cases[] = {
        {{0xff, 0xff, 0xff}, 1},     {{0xc0, 0xd1, 0xe9}, 1},  {{0x57, 0xff, 0xff}, 1},
        {{0x56, 0xff, 0xff}, 60},    {{0x55, 0xc0, 0xc0}, 59}, {{0x00, 0xff, 0xff}, 4},
        {{0x00, 0x34, 0xff}, 3544},  {{0xff, 0x35, 0xff}, 4},  {{0xff, 0x34, 0xff}, 1},
        {{0xff, 0x00, 0xff}, 1504},  {{0xff, 0xff, 0x12}, 1},  {{0xff, 0xff, 0x11}, 80704},
        {{0x56, 0x34, 0x12}, 86400}, {{0x57, 0x34, 0x12}, 1},  {{0x00, 0x00, 0x13}, 1504},
        {{0x00, 0x00, 0x00}, 41104}, {{0x60, 0xff, 0xff}, 0},  {{0x5a, 0xff, 0xff}, 0},
        {{0x0f, 0xff, 0xff}, 0},     {{0x00, 0x7f, 0xff}, 0},  {{0x00, 0x00, 0x24}, 0},
        {{0x00, 0x00, 0xbf}, 0},
    };
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        for (unsigned lazy = 0; lazy < 2; lazy++) {
            struct fake_env f;
            start(&f, 12 * 3600 + 34 * 60 + 56, MC146818_LOST_DISCARD);
            for (unsigned k = 0; k < 3; k++)
                wr(&f, SECONDS_ALARM + 2 * k, cases[i].alarm[k]);
            for (unsigned k = 0; k < 3; k++)
                assert_int_equal(rd(&f, SECONDS_ALARM + 2 * k), cases[i].alarm[k]);
            if (!lazy)
                wr(&f, REG_B, B_24H | B_AIE);
            if (lazy || !cases[i].after)
                assert_idle(&f);
            uint64_t wait = (cases[i].after ? cases[i].after : 100000) * S;
            go(&f, wait - 1);
            assert_false(f.irq[0]);
            assert_int_equal(rd(&f, REG_C) & (C_AF | C_IRQF), 0);
            go(&f, 1);
            assert_int_equal(f.irq[0], !lazy && cases[i].after);
            assert_int_equal(rd(&f, REG_C) & C_AF, cases[i].after ? C_AF : 0);
            assert_false(f.irq[0]);
            fake_env_destroy(&f);
        }
    }
}

/* The distance worked out against counting, in each format, from awkward times. */
static void test_alarm_distance(void **state)
{
    (void)state;
    static const uint32_t times[] = {0, 59, 3599, 43199, 43200, 45296, 86398, 86399};
    for (unsigned i = 0; i < sizeof(formats); i++) {
        for (unsigned n = 0; n < 4 * 4 * 6; n++) {
            uint8_t b = formats[i];
            static const unsigned values[] = {0, 34, 59, 100}, hours[] = {0, 11, 12, 13, 23, 100};
            unsigned s = values[n % 4], m = values[n / 4 % 4], h = hours[n / 16];
            struct mc146818_time t = {.cmos[REG_B] = b};
            for (unsigned k = 0; k < sizeof(times) / sizeof(times[0]); k++) {
                mc146818_time_init(&t, CENTURY, times[k]);
                t.cmos[SECONDS_ALARM] = (uint8_t)(s == 100 ? 0xff : b & B_DM ? s : s / 10 * 16 + s % 10);
                t.cmos[MINUTES_ALARM] = (uint8_t)(m == 100 ? 0xc0 : b & B_DM ? m : m / 10 * 16 + m % 10);
                t.cmos[HOURS_ALARM] = h == 100 ? 0xff : hour_byte(h, b);
                unsigned want = 1;
                for (uint32_t at = times[k] + 1; want <= 86400; want++, at++)
                    if ((s == 100 || s == at % 60) && (m == 100 || m == at / 60 % 60) &&
                        (h == 100 || h == at / 3600 % 24))
                        break;
                assert_int_equal(mc146818_time_to_alarm(&t), want);
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_base),
        cmocka_unit_test(test_roll),
        cmocka_unit_test(test_calendar),
        cmocka_unit_test(test_formats),
        cmocka_unit_test(test_uip),
        cmocka_unit_test(test_set),
        cmocka_unit_test(test_divider_reset),
        cmocka_unit_test(test_snapshot_is_whole),
        cmocka_unit_test(test_snapshot_ends),
        cmocka_unit_test(test_alarm),
        cmocka_unit_test(test_alarm_distance),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
