/* SPDX-License-Identifier: BSD-2-Clause */
#include "ringd/moderation.h"

#include <stddef.h>
#include <string.h>

/*
 * The numbers, and where they come from: a wake-up of a sleeping thread costs about 7 k-instructions, a replay about
 * 0.2, an exit about 3 (docs/moderation.md has the table).
 */
#define SCORE_ENTER       4u /* in a row before a state is left on suspicion: one burst is not a pattern */
#define STORM_WRITES      4u /* writes a wake-up must find to be part of a storm: at 1 each the guest may be waiting */
#define STORM_GAP_NS      200000u /* wake-ups further apart than this are no storm; 40 of them cost under 10 % of a CPU */
#define POLL_LEAST_NS     50000u  /* looking more often than this costs more than wake-ups at the same rate */
#define POLL_MOST_NS      500000u /* a storm that ends is noticed within this time, whatever the bound */
#define POLL_START_NS     100000u /* fills about 80 slots where a posted write costs 1.2 us */
#define POLL_AIM_LOOKS    16u     /* looks that went well until the aim is raised by one; it is lowered by an eighth */
#define WINDOW_LOOKS      8u
#define LATCH_BAR_LEAST   16u /* bounds */
#define LATCH_BAR_MOST_NS 1000000000u

static uint64_t min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t clamp_u64(uint64_t value, uint64_t low, uint64_t high)
{
    return value < low ? low : min_u64(value, high);
}

/* 3/4 of the bound: a look that comes a quarter late still keeps it. */
static uint64_t latch_interval(const struct moderation *m)
{
    return m->config.bound_ns - m->config.bound_ns / 4;
}

static uint64_t poll_clamp(const struct moderation *m, uint64_t interval)
{
    uint64_t most = min_u64(latch_interval(m), POLL_MOST_NS);
    return clamp_u64(interval, min_u64(POLL_LEAST_NS, most), most);
}

static void enter(struct moderation *m, enum moderation_state state, uint64_t now_ns)
{
    if (state == MODERATION_ARMED && !m->config.notifies)
        state = MODERATION_LATCH;
    m->switches += state != m->state;
    m->state = state;
    m->latch_score = m->storm_score = m->quiet_score = 0;
    m->window_looks = 0;
    m->window_thread = m->window_vcpu = 0;
    switch (state) {
    case MODERATION_ARMED:
        m->next_look_ns = UINT64_MAX;
        break;
    case MODERATION_LATCH:
        m->next_look_ns = now_ns + latch_interval(m);
        break;
    case MODERATION_POLL:
        m->poll_interval_ns = poll_clamp(m, POLL_START_NS);
        m->next_look_ns = now_ns + m->poll_interval_ns;
        break;
    }
}

void moderation_init(struct moderation *m, const struct moderation_config *config, uint64_t now_ns)
{
    memset(m, 0, sizeof(*m));
    m->config = *config;
    m->before.now_ns = now_ns;
    m->latch_bar_ns = LATCH_BAR_LEAST * config->bound_ns;
    m->poll_aim = config->capacity - config->capacity / 8;
    enter(m, MODERATION_ARMED, now_ns);
    m->switches = 0;
}

/* What happened between two steps. */
struct delta {
    uint64_t ns, vcpu_entries, visits, full_exits;
};

static void step_armed(struct moderation *m, const struct moderation_seen *seen, const struct delta *d)
{
    uint64_t writes = seen->found + d->vcpu_entries;
    bool visited = d->visits && d->ns < m->config.bound_ns / 2 && seen->now_ns >= m->latch_barred_until_ns;
    bool storm = !d->visits && writes >= STORM_WRITES && d->ns < STORM_GAP_NS;

    m->latch_score = visited ? m->latch_score + 1 : 0;
    m->storm_score = storm ? m->storm_score + 1 : 0;
    if (d->full_exits || seen->found >= m->config.capacity / 2 || m->storm_score >= SCORE_ENTER)
        enter(m, MODERATION_POLL, seen->now_ns);
    else if (m->latch_score >= SCORE_ENTER)
        enter(m, MODERATION_LATCH, seen->now_ns);
}

static void step_latch(struct moderation *m, const struct moderation_seen *seen, const struct delta *d)
{
    m->next_look_ns = seen->now_ns + latch_interval(m);
    if (d->full_exits || seen->found >= m->config.capacity / 4) {
        enter(m, MODERATION_POLL, seen->now_ns);
        return;
    }
    m->window_thread += seen->found;
    m->window_vcpu += d->vcpu_entries;
    if (++m->window_looks < WINDOW_LOOKS)
        return;
    uint64_t writes = m->window_thread + m->window_vcpu;
    if (m->config.notifies && writes < WINDOW_LOOKS) {
        enter(m, MODERATION_ARMED, seen->now_ns); /* looking costs more than being woken would */
    } else if (m->config.notifies && m->window_thread * 4 >= writes) {
        /* Somebody left these writes to the thread and may wait for them: no latch. */
        m->latch_barred_until_ns = seen->now_ns + m->latch_bar_ns;
        m->latch_bar_ns = min_u64(m->latch_bar_ns * 2, LATCH_BAR_MOST_NS);
        enter(m, MODERATION_ARMED, seen->now_ns);
    } else {
        m->latch_bar_ns = LATCH_BAR_LEAST * m->config.bound_ns;
        m->window_looks = 0;
        m->window_thread = m->window_vcpu = 0;
    }
}

/*
 * How full a look may find the ring depends on how steadily the guest writes and how punctual the host's timers are. So
 * it is tried: raised by one now and then, lowered by an eighth each time it was too much. From there to the next time
 * it takes 21 x 16 looks, which is some 50,000 writes.
 */
static void adapt_aim(struct moderation *m, uint64_t full_exits)
{
    uint32_t capacity = m->config.capacity, most = capacity - capacity / 16, least = capacity / 2;
    if (full_exits) {
        m->poll_aim = m->poll_aim > least + capacity / 8 ? m->poll_aim - capacity / 8 : least;
        m->poll_good = 0;
    } else if (++m->poll_good >= POLL_AIM_LOOKS) {
        m->poll_aim += m->poll_aim < most;
        m->poll_good = 0;
    }
}

static void step_poll(struct moderation *m, const struct moderation_seen *seen, const struct delta *d)
{
    adapt_aim(m, d->full_exits);
    uint64_t wanted = m->poll_interval_ns / 2; /* after a full exit: twice as often */
    if (!d->full_exits)
        wanted = seen->found ? d->ns * m->poll_aim / seen->found : m->poll_interval_ns * 2;
    /* Halved or doubled at most: one odd sample must not fill the ring. */
    m->poll_interval_ns = poll_clamp(m, clamp_u64(wanted, m->poll_interval_ns / 2, m->poll_interval_ns * 2));
    m->next_look_ns = seen->now_ns + m->poll_interval_ns;

    bool quiet = seen->found <= 2 && !d->full_exits;
    m->quiet_score = quiet ? m->quiet_score + 1 : 0;
    if (m->quiet_score >= SCORE_ENTER)
        enter(m, MODERATION_ARMED, seen->now_ns);
}

void moderation_step(struct moderation *m, const struct moderation_seen *seen)
{
    struct delta d = {
        .ns = seen->now_ns > m->before.now_ns ? seen->now_ns - m->before.now_ns : 0,
        .vcpu_entries = seen->vcpu_entries - m->before.vcpu_entries,
        .visits = seen->visits - m->before.visits,
        .full_exits = seen->full_exits - m->before.full_exits,
    };
    m->before = *seen;
    if (!m->config.enabled) {
        m->next_look_ns = m->config.notifies ? UINT64_MAX : seen->now_ns + latch_interval(m);
        return;
    }
    switch (m->state) {
    case MODERATION_ARMED:
        step_armed(m, seen, &d);
        break;
    case MODERATION_LATCH:
        step_latch(m, seen, &d);
        break;
    case MODERATION_POLL:
        step_poll(m, seen, &d);
        break;
    }
}

const char *moderation_state_name(enum moderation_state state)
{
    switch (state) {
    case MODERATION_ARMED:
        return "armed";
    case MODERATION_LATCH:
        return "latch";
    case MODERATION_POLL:
        return "poll";
    }
    return NULL;
}
