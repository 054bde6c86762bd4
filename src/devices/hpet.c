/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Names and numbers of registers are those of the IA-PC HPET Specification 1.0a, chapter 2.
 *
 * Theory of operation: every operation first lets happen what time has brought (settle()), then changes registers, then
 * sets timers for what must come without anybody looking (arm()). A comparator's next match is kept as a value of the
 * 64-bit counter, also in 32-bit mode, so that it is compared once and not width by width.
 */
#include <ringd/models/hpet.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "devices/state.h"

#define REG_ID          0x000u
#define REG_CONFIG      0x010u
#define REG_STATUS      0x020u
#define REG_COUNTER     0x0f0u
#define REG_TIMERS      0x100u
#define TIMER_BYTES     0x20u
#define TIMER_CONFIG    0x00u
#define TIMER_COMPARE   0x08u
#define REGISTERS_BYTES 0x400u

/* GCAP_ID: Intel, legacy replacement, a 64-bit counter, number of the last comparator, revision 1. The ACPI table has
 * the low half too. The period is in femtoseconds. */
#define ID_LOW  (0x8086u << 16 | 1u << 15 | 1u << 13 | (HPET_COMPARATORS - 1) << 8 | 1u)
#define ID_HIGH (HPET_PERIOD_NS * 1000000u)

enum { ENABLE_CNF = 1u << 0, LEG_RT_CNF = 1u << 1, CONFIG_WRITABLE = ENABLE_CNF | LEG_RT_CNF };

enum {
    INT_TYPE_CNF = 1u << 1, /* level */
    INT_ENB_CNF = 1u << 2,
    TYPE_CNF = 1u << 3, /* periodic */
    PER_INT_CAP = 1u << 4,
    SIZE_CAP = 1u << 5,
    VAL_SET_CNF = 1u << 6,
    MODE32_CNF = 1u << 8,
    INT_ROUTE_SHIFT = 9,
    INT_ROUTE_CNF = 0x1fu << INT_ROUTE_SHIFT,
    TIMER_WRITABLE = INT_TYPE_CNF | INT_ENB_CNF | TYPE_CNF | VAL_SET_CNF | MODE32_CNF | INT_ROUTE_CNF,
};

#define FIRST_INPUT 20u
#define INPUTS      (HPET_LINES - HPET_LINE_20)
#define ROUTE_CAP   (((1u << INPUTS) - 1) << FIRST_INPUT)

#define NO_LINE HPET_LINES

/* A posted comparator may be replayed after its match. One that lies behind the counter by no more than this has just
 * matched; the longest bound on a replay is half of it. Further behind it is the future, after a wrap. */
#define LATE_COUNTS (2000000000u / HPET_PERIOD_NS)

/* Periods may be as short as a count. Without an access an interrupt comes at most this often. */
#define SHORTEST_NS 50000u

struct comparator {
    uint32_t config; /* TIMER_WRITABLE */
    uint64_t value;  /* as it reads */
    uint64_t period; /* what was written last while it was periodic */
    bool pending;    /* it will match, if the counter runs */
    uint64_t match;  /* when, in counts of 64 bits */
    uint64_t fired;  /* now() of the last match, or 0 */
    uint64_t deadline;
};

struct hpet {
    const struct ringd_env *env;
    struct hpet_config machine;
    uint32_t config;
    uint32_t status;
    uint64_t base; /* the counter, at base_ns while it runs */
    uint64_t base_ns;
    struct comparator timers[HPET_COMPARATORS];
    bool lines[HPET_LINES];

    uint64_t matches, skipped, interrupts, late, ignored;
};

/* ---- time ---- */

static uint64_t counter_at(const struct hpet *hpet, uint64_t now)
{
    return hpet->config & ENABLE_CNF ? hpet->base + (now - hpet->base_ns) / HPET_PERIOD_NS : hpet->base;
}

static uint64_t counter(const struct hpet *hpet)
{
    return hpet->config & ENABLE_CNF ? counter_at(hpet, hpet->env->ops->now(hpet->env)) : hpet->base;
}

static uint64_t mask_of(const struct comparator *timer)
{
    return timer->config & MODE32_CNF ? UINT32_MAX : UINT64_MAX;
}

/* Counts from one match to the next, 0: there is none. */
static uint64_t distance(const struct comparator *timer)
{
    if (timer->config & TYPE_CNF)
        return timer->period & mask_of(timer);
    return timer->config & MODE32_CNF ? UINT64_C(1) << 32 : 0;
}

/* The next match from `count` on. What is half a round of 64 bits away (2900 years) does not come. */
static void find_match(struct comparator *timer, uint64_t count)
{
    uint64_t ahead = (timer->value - count) & mask_of(timer);
    timer->pending = ahead <= INT64_MAX;
    timer->match = count + ahead;
}

/* ---- interrupts ---- */

static unsigned line_of(const struct hpet *hpet, unsigned i)
{
    unsigned route = (hpet->timers[i].config & INT_ROUTE_CNF) >> INT_ROUTE_SHIFT;
    if (hpet->config & LEG_RT_CNF && i < 2)
        return i == 0 ? HPET_LINE_LEGACY_0 : HPET_LINE_LEGACY_1;
    return route >= FIRST_INPUT && route < FIRST_INPUT + INPUTS ? HPET_LINE_20 + route - FIRST_INPUT : NO_LINE;
}

static void set_line(struct hpet *hpet, unsigned line, bool level)
{
    if (hpet->lines[line] == level)
        return;
    hpet->lines[line] = level;
    hpet->interrupts += level;
    hpet->env->ops->irq_set(hpet->env, line, level);
}

/* Lines that have a level follow the registers. */
static void update_lines(struct hpet *hpet)
{
    bool levels[HPET_LINES + 1] = {false};
    for (unsigned i = 0; i < HPET_COMPARATORS; i++)
        if (hpet->timers[i].config & INT_ENB_CNF && hpet->status >> i & 1)
            levels[line_of(hpet, i)] = true;
    for (unsigned line = 0; line < HPET_LINES; line++)
        set_line(hpet, line, levels[line]);
}

static void fire(struct hpet *hpet, unsigned i)
{
    const struct comparator *timer = &hpet->timers[i];
    unsigned line = line_of(hpet, i);
    if (timer->config & INT_TYPE_CNF) {
        hpet->status |= 1u << i;
        update_lines(hpet);
    } else if (timer->config & INT_ENB_CNF && line != NO_LINE && !hpet->lines[line]) {
        set_line(hpet, line, true);
        set_line(hpet, line, false);
    }
}

static void settle(struct hpet *hpet)
{
    if (!(hpet->config & ENABLE_CNF))
        return;
    uint64_t now = hpet->env->ops->now(hpet->env), count = counter_at(hpet, now);
    for (unsigned i = 0; i < HPET_COMPARATORS; i++) {
        struct comparator *timer = &hpet->timers[i];
        if (!timer->pending || (int64_t)(count - timer->match) < 0)
            continue;
        uint64_t step = distance(timer);
        uint64_t more = step ? (count - timer->match) / step : 0;
        timer->pending = step && step <= INT64_MAX;
        timer->match += (more + 1) * step;
        if (timer->config & TYPE_CNF && step)
            timer->value = timer->match & mask_of(timer);
        timer->fired = now;
        hpet->matches++;
        hpet->skipped += more;
        fire(hpet, i);
    }
}

static void arm(struct hpet *hpet)
{
    uint64_t count = counter(hpet);
    for (unsigned i = 0; i < HPET_COMPARATORS; i++) {
        struct comparator *timer = &hpet->timers[i];
        uint64_t deadline = RINGD_NEVER;
        /* Without an interrupt, the next access is early enough. */
        if (hpet->config & ENABLE_CNF && timer->pending && timer->config & INT_ENB_CNF) {
            /* Time goes on: it may have come since settle(). */
            uint64_t ahead = (int64_t)(timer->match - count) < 0 ? 0 : timer->match - count;
            uint64_t start = hpet->base_ns + (count - hpet->base) * HPET_PERIOD_NS;
            if (ahead <= (INT64_MAX - start) / HPET_PERIOD_NS)
                deadline = start + ahead * HPET_PERIOD_NS;
            if (timer->config & TYPE_CNF && timer->fired && deadline < timer->fired + SHORTEST_NS)
                deadline = timer->fired + SHORTEST_NS;
        }
        if (deadline == timer->deadline)
            continue;
        timer->deadline = deadline;
        hpet->env->ops->timer_set(hpet->env, i, deadline);
    }
}

static void find_matches(struct hpet *hpet)
{
    for (unsigned i = 0; i < HPET_COMPARATORS; i++)
        find_match(&hpet->timers[i], hpet->base);
}

/* ---- registers ---- */

static uint64_t read_register(struct hpet *hpet, uint64_t at)
{
    switch (at) {
    case REG_ID:
        return (uint64_t)ID_HIGH << 32 | ID_LOW;
    case REG_CONFIG:
        return hpet->config;
    case REG_STATUS:
        return hpet->status;
    case REG_COUNTER:
        return counter(hpet);
    default:
        break;
    }
    if (at < REG_TIMERS || at >= REG_TIMERS + HPET_COMPARATORS * TIMER_BYTES)
        return 0;
    const struct comparator *timer = &hpet->timers[(at - REG_TIMERS) / TIMER_BYTES];
    switch (at % TIMER_BYTES) {
    case TIMER_CONFIG:
        return (uint64_t)ROUTE_CAP << 32 | timer->config | PER_INT_CAP | SIZE_CAP;
    case TIMER_COMPARE:
        return timer->value;
    default:
        return 0;
    }
}

static void write_config(struct hpet *hpet, uint32_t value)
{
    uint32_t changed = (hpet->config ^ value) & CONFIG_WRITABLE;
    if (changed & ENABLE_CNF) {
        hpet->base = counter(hpet);
        hpet->base_ns = hpet->env->ops->now(hpet->env);
    }
    hpet->config = value & CONFIG_WRITABLE;
    if (changed & ENABLE_CNF)
        find_matches(hpet);
    if (changed & LEG_RT_CNF && hpet->machine.legacy)
        hpet->machine.legacy(hpet->machine.ctx, value & LEG_RT_CNF);
}

static void write_timer_config(struct hpet *hpet, unsigned i, uint32_t value)
{
    struct comparator *timer = &hpet->timers[i];
    uint32_t route = (value & INT_ROUTE_CNF) >> INT_ROUTE_SHIFT;
    uint32_t changed = timer->config ^ value;
    if (route && !(ROUTE_CAP >> route & 1)) /* "the value read back will not match what was written" */
        value = (value & ~(uint32_t)INT_ROUTE_CNF) | (timer->config & INT_ROUTE_CNF);
    timer->config = value & TIMER_WRITABLE;
    timer->value &= mask_of(timer);
    if (!(value & INT_TYPE_CNF))
        hpet->status &= ~(1u << i);
    if (changed & (MODE32_CNF | TYPE_CNF))
        find_match(timer, counter(hpet));
}

static uint64_t replace(uint64_t old, unsigned shift, unsigned width, uint64_t value)
{
    uint64_t mask = width == 8 ? UINT64_MAX : UINT32_MAX;
    return (old & ~(mask << shift)) | (value & mask) << shift;
}

static void write_comparator(struct hpet *hpet, unsigned i, unsigned shift, unsigned width, uint64_t value)
{
    struct comparator *timer = &hpet->timers[i];
    uint64_t mask = mask_of(timer);
    if (shift && mask == UINT32_MAX) {
        hpet->ignored++;
        return;
    }
    if (timer->config & TYPE_CNF) {
        timer->period = replace(timer->period, shift, width, value) & mask;
        if (!(timer->config & VAL_SET_CNF)) /* the value stays: only the way to the one after it changes */
            return;
        timer->config &= ~(uint32_t)VAL_SET_CNF;
    }
    timer->value = replace(timer->value, shift, width, value) & mask;
    uint64_t count = counter(hpet), behind = (count - timer->value) & mask;
    find_match(timer, count);
    if (hpet->config & ENABLE_CNF && behind && behind <= LATE_COUNTS) {
        hpet->late++;
        timer->pending = true;
        timer->match = count - behind;
    }
}

static void write_counter(struct hpet *hpet, unsigned shift, unsigned width, uint64_t value)
{
    hpet->base = replace(counter(hpet), shift, width, value);
    hpet->base_ns = hpet->env->ops->now(hpet->env);
    find_matches(hpet);
}

static void write_register(struct hpet *hpet, uint64_t at, unsigned shift, unsigned width, uint64_t value)
{
    unsigned i = (unsigned)((at - REG_TIMERS) / TIMER_BYTES);
    if (at == REG_COUNTER)
        write_counter(hpet, shift, width, value);
    else if (at >= REG_TIMERS && i < HPET_COMPARATORS && at % TIMER_BYTES == TIMER_COMPARE)
        write_comparator(hpet, i, shift, width, value);
    else if (shift) /* the upper halves of the others are fixed */
        hpet->ignored++;
    else if (at == REG_CONFIG)
        write_config(hpet, (uint32_t)value);
    else if (at == REG_STATUS)
        hpet->status &= ~(uint32_t)value;
    else if (at >= REG_TIMERS && i < HPET_COMPARATORS && at % TIMER_BYTES == TIMER_CONFIG)
        write_timer_config(hpet, i, (uint32_t)value);
    else
        hpet->ignored++;
}

/* ---- operations ---- */

#define POSTED_COMPARATOR(n)                                                                                           \
    {                                                                                                                  \
        .name = "comparator " #n, .space = RINGD_MMIO, .offset = REG_TIMERS + (n)*TIMER_BYTES + TIMER_COMPARE,         \
        .size = 8, .widths = 4 | 8, .flags = RINGD_POSTED,                                                             \
        .effect = "when it matches; with a period, how long that is"                                                   \
    }

#define CONFIGURATION(n, bytes)                                                                                        \
    {                                                                                                                  \
        .name = "configuration " #n, .space = RINGD_MMIO, .offset = REG_TIMERS + (n)*TIMER_BYTES - 0x10u,              \
        .size = (bytes), .widths = 4 | 8, .effect = "may lower the interrupt's line"                                   \
    }

static const struct ringd_region hpet_regions[HPET_REGIONS] = {
    [HPET_GENERAL] = {.name = "general",
                      .space = RINGD_MMIO,
                      .offset = 0,
                      .size = REG_TIMERS + TIMER_COMPARE,
                      .widths = 4 | 8,
                      .effect = "starts and stops the counter, moves interrupt lines"},
    [HPET_COMPARATOR_0] = POSTED_COMPARATOR(0),
    [HPET_CONFIGURATION_1] = CONFIGURATION(1, 0x18),
    [HPET_COMPARATOR_1] = POSTED_COMPARATOR(1),
    [HPET_CONFIGURATION_2] = CONFIGURATION(2, 0x18),
    [HPET_COMPARATOR_2] = POSTED_COMPARATOR(2),
    [HPET_REST] = {.name = "rest",
                   .space = RINGD_MMIO,
                   .offset = 0x150,
                   .size = REGISTERS_BYTES - 0x150,
                   .widths = 4 | 8,
                   .effect = "nothing"},
};

static uint64_t hpet_read(void *self, unsigned region, uint64_t offset, unsigned width)
{
    struct hpet *hpet = self;
    uint64_t at = hpet_regions[region].offset + offset;
    settle(hpet);
    uint64_t value = read_register(hpet, at & ~UINT64_C(7)) >> (8 * (at & 7));
    arm(hpet);
    return width == 8 ? value : value & ((UINT64_C(1) << (8 * width)) - 1);
}

static void hpet_write(void *self, unsigned region, uint64_t offset, unsigned width, uint64_t value)
{
    struct hpet *hpet = self;
    uint64_t at = hpet_regions[region].offset + offset;
    if (width < 4 || at % width) { /* 2.3: whole and aligned halves only */
        hpet->ignored++;
        return;
    }
    settle(hpet);
    write_register(hpet, at & ~UINT64_C(7), 8 * (at & 7), width, value);
    settle(hpet);
    update_lines(hpet);
    arm(hpet);
}

static void hpet_timer(void *self, unsigned i)
{
    struct hpet *hpet = self;
    hpet->timers[i].deadline = RINGD_NEVER;
    settle(hpet);
    arm(hpet);
}

static void hpet_reset(void *self)
{
    struct hpet *hpet = self;
    write_config(hpet, 0);
    hpet->status = 0;
    hpet->base = 0;
    for (unsigned i = 0; i < HPET_COMPARATORS; i++) {
        struct comparator *timer = &hpet->timers[i];
        uint64_t deadline = timer->deadline;
        *timer = (struct comparator){.value = UINT64_MAX, .deadline = deadline};
    }
    update_lines(hpet);
    arm(hpet);
}

static int hpet_create(const struct ringd_env *env, const void *config, void **self)
{
    struct hpet *hpet = calloc(1, sizeof(*hpet));
    if (!hpet)
        return -ENOMEM;
    hpet->env = env;
    if (config)
        hpet->machine = *(const struct hpet_config *)config;
    for (unsigned i = 0; i < HPET_COMPARATORS; i++)
        hpet->timers[i].deadline = RINGD_NEVER;
    hpet_reset(hpet);
    *self = hpet;
    return 0;
}

static void hpet_destroy(void *self)
{
    free(self);
}

static unsigned hpet_counters(void *self, struct ringd_counter *counters, unsigned max)
{
    const struct hpet *hpet = self;
    const struct ringd_counter all[] = {
        {"matches", hpet->matches}, {"matches-skipped", hpet->skipped}, {"interrupts", hpet->interrupts},
        {"late", hpet->late},       {"ignored", hpet->ignored},
    };
    unsigned count = sizeof(all) / sizeof(all[0]);
    for (unsigned i = 0; i < count && i < max; i++)
        counters[i] = all[i];
    return count;
}

/* ---- saved state ---- */

#define VERSION          STATE_VERSION('H', 'P', 1)
#define TIMER_STATE_SIZE (4u + 4 * 8u + 1u)
#define STATE_SIZE       (3 * 4u + 2 * 8u + HPET_COMPARATORS * TIMER_STATE_SIZE)

static size_t hpet_state_size(const void *self)
{
    (void)self;
    return STATE_SIZE;
}

static void hpet_save(const void *self, void *state)
{
    const struct hpet *hpet = self;
    struct state_writer out = {state};
    state_put(&out, VERSION, 4);
    state_put(&out, hpet->config, 4);
    state_put(&out, hpet->status, 4);
    state_put(&out, hpet->base, 8);
    state_put(&out, hpet->base_ns, 8);
    for (unsigned i = 0; i < HPET_COMPARATORS; i++) {
        const struct comparator *timer = &hpet->timers[i];
        state_put(&out, timer->config, 4);
        state_put(&out, timer->value, 8);
        state_put(&out, timer->period, 8);
        state_put(&out, timer->match, 8);
        state_put(&out, timer->fired, 8);
        state_put(&out, timer->pending, 1);
    }
}

/* What registers cannot hold. A match may be anywhere: it comes, or it does not. */
static bool valid(const struct hpet *hpet, uint64_t now)
{
    if (hpet->config & ~(uint32_t)CONFIG_WRITABLE || hpet->status >> HPET_COMPARATORS || hpet->base_ns > now)
        return false;
    for (unsigned i = 0; i < HPET_COMPARATORS; i++) {
        const struct comparator *timer = &hpet->timers[i];
        uint32_t route = (timer->config & INT_ROUTE_CNF) >> INT_ROUTE_SHIFT;
        if (timer->config & ~(uint32_t)TIMER_WRITABLE || (route && !(ROUTE_CAP >> route & 1)) ||
            timer->value & ~mask_of(timer) || timer->fired > now ||
            (hpet->status >> i & 1 && !(timer->config & INT_TYPE_CNF)))
            return false;
    }
    return true;
}

static int hpet_load(void *self, const void *state, size_t size)
{
    struct hpet *hpet = self;
    struct state_reader in = {state};
    struct hpet loaded = *hpet;
    if (size != STATE_SIZE || state_get(&in, 4) != VERSION)
        return -EINVAL;
    loaded.config = (uint32_t)state_get(&in, 4);
    loaded.status = (uint32_t)state_get(&in, 4);
    loaded.base = state_get(&in, 8);
    loaded.base_ns = state_get(&in, 8);
    for (unsigned i = 0; i < HPET_COMPARATORS; i++) {
        struct comparator *timer = &loaded.timers[i];
        timer->config = (uint32_t)state_get(&in, 4);
        timer->value = state_get(&in, 8);
        timer->period = state_get(&in, 8);
        timer->match = state_get(&in, 8);
        timer->fired = state_get(&in, 8);
        uint64_t pending = state_get(&in, 1);
        if (pending > 1)
            return -EINVAL;
        timer->pending = pending;
    }
    if (!valid(&loaded, hpet->env->ops->now(hpet->env)))
        return -EINVAL;
    bool legacy_changed = (hpet->config ^ loaded.config) & LEG_RT_CNF;
    *hpet = loaded;
    if (legacy_changed && hpet->machine.legacy)
        hpet->machine.legacy(hpet->machine.ctx, hpet->config & LEG_RT_CNF);
    update_lines(hpet);
    settle(hpet);
    arm(hpet);
    return 0;
}

const struct ringd_device_ops hpet_ops = {
    .name = "hpet",
    .summary = "high precision event timer",
    .regions = hpet_regions,
    .region_count = HPET_REGIONS,
    .irq_count = HPET_LINES,
    .timer_count = HPET_COMPARATORS,
    .create = hpet_create,
    .destroy = hpet_destroy,
    .read = hpet_read,
    .write = hpet_write,
    .timer = hpet_timer,
    .reset = hpet_reset,
    .counters = hpet_counters,
    .state_size = hpet_state_size,
    .save = hpet_save,
    .load = hpet_load,
};
