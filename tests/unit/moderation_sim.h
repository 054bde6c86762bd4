/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A ring, a guest and a ring thread on a clock of their own, around the real moderation: what the state machine's
 * answers come to in wake-ups, looks, full exits and the age of entries.
 */
#ifndef MODERATION_SIM_H
#define MODERATION_SIM_H

#include <stdbool.h>
#include <stdint.h>

#include "ringd/moderation.h"

#define SIM_CAPACITY 169u
#define SIM_WAKE_NS  8000u /* from a write to the woken thread's look */
#define SIM_LATE_NS  5000u /* a timer is late by this */

/* What the guest does next: a write to the ring, or a synchronous access that drains it. */
struct sim_action {
    uint64_t at_ns;
    bool visit;
};

struct sim {
    struct moderation moderation;
    struct moderation_seen seen;
    uint64_t now;
    uint64_t posted[SIM_CAPACITY]; /* when each entry in the ring was written */
    unsigned count;
    uint64_t wake_at; /* UINT64_MAX: none on its way */
    uint64_t age_max; /* the oldest entry at its replay, all the time */
    uint64_t replayed;
    uint64_t wakeups, looks;
    uint64_t last_replay_ns;
    unsigned phase;
    uint64_t seed;
    uint64_t jitter_ns; /* the next look's timer is late by up to this more */
    uint64_t late_ns, jitter_seed;
    /* What comes after `action`; a guest that waits for its entries' replay says UINT64_MAX and is asked again. */
    struct sim_action (*next)(struct sim *sim);
    struct sim_action action;
};

static inline void sim_empty(struct sim *sim)
{
    for (unsigned i = 0; i < sim->count; i++) {
        uint64_t age = sim->now - sim->posted[i];
        sim->age_max = age > sim->age_max ? age : sim->age_max;
    }
    sim->replayed += sim->count;
    if (sim->count)
        sim->last_replay_ns = sim->now;
    sim->count = 0;
}

static inline void sim_visit(struct sim *sim)
{
    sim->seen.vcpu_entries += sim->count;
    sim->seen.visits++;
    sim_empty(sim);
}

static inline void sim_act(struct sim *sim)
{
    if (sim->action.visit) {
        sim_visit(sim);
        return;
    }
    if (sim->count == SIM_CAPACITY) { /* the write comes as an exit */
        sim->seen.full_exits++;
        sim_visit(sim);
        return;
    }
    sim->posted[sim->count++] = sim->now;
    if (sim->moderation.next_look_ns == UINT64_MAX && sim->wake_at == UINT64_MAX)
        sim->wake_at = sim->now + SIM_WAKE_NS;
}

static inline void sim_serve(struct sim *sim)
{
    sim->seen.now_ns = sim->now;
    sim->seen.found = sim->count;
    sim_empty(sim);
    sim->wake_at = UINT64_MAX;
    sim->jitter_seed = sim->jitter_seed * 6364136223846793005u + 1442695040888963407u; /* Knuth, MMIX */
    sim->late_ns = SIM_LATE_NS + (sim->jitter_ns ? (sim->jitter_seed >> 33) % sim->jitter_ns : 0);
    moderation_step(&sim->moderation, &sim->seen);
}

static inline void sim_init(struct sim *sim, uint64_t bound_ns, bool notifies,
                            struct sim_action (*next)(struct sim *sim))
{
    struct moderation_config config = {
        .bound_ns = bound_ns, .capacity = SIM_CAPACITY, .notifies = notifies, .enabled = true};
    *sim =
        (struct sim){.now = 1000000000, .wake_at = UINT64_MAX, .next = next, .seed = bound_ns, .late_ns = SIM_LATE_NS};
    moderation_init(&sim->moderation, &config, sim->now);
    sim->action.at_ns = sim->now;
    sim->action = next(sim);
}

/* Runs for `ns`. The guest goes first when both are due at the same time. */
static inline void sim_run(struct sim *sim, uint64_t ns)
{
    uint64_t end = sim->now + ns;
    for (;;) {
        uint64_t look = sim->moderation.next_look_ns;
        uint64_t serve = look == UINT64_MAX ? sim->wake_at : look + sim->late_ns;
        bool guest = sim->action.at_ns <= serve;
        uint64_t at = guest ? sim->action.at_ns : serve;
        if (at > end)
            break;
        sim->now = at > sim->now ? at : sim->now;
        if (guest) {
            sim_act(sim);
            sim->action = sim->next(sim);
        } else {
            if (look == UINT64_MAX)
                sim->wakeups++;
            else
                sim->looks++;
            sim_serve(sim);
            if (sim->action.at_ns == UINT64_MAX)
                sim->action = sim->next(sim);
        }
    }
    sim->now = end;
}

#endif
