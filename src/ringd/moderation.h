/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Wake moderation: when does the ring thread want to be woken for a ring, and when does it rather look by itself?
 *
 * Theory of operation. A wake-up costs the writer more than the exit that coalescing saves, so it is only worth it
 * where somebody waits for the effect. What a ring is used for shows in who empties it:
 *
 *   ARMED  The fd is watched; each write that finds the ring empty wakes the thread. For doorbells and for silence.
 *   LATCH  The fd is left out; the thread looks every 3/4 of the bound. For index latches: the vCPU comes along for a
 *          synchronous access anyway and drains the ring on its way, so nobody waits for the thread. While that goes
 *          on it also puts the look off (replay.c), so that the steps here are few and far apart.
 *   POLL   The fd is left out; the thread looks at an interval that finds the ring about 7/8 full: a little more after
 *          each few looks that went well, an eighth less after a full exit. For storms: large batches, no wake-ups.
 *
 *            4 wake-ups in a row, less than half the bound apart, a vCPU's visit between each and the next
 *          +-----------------------------------------------------------------------> LATCH --+
 *        ARMED <--- 8 looks that held fewer than 8 writes, or 1/4 of them left to the thread --+ |
 *         | ^                                                                                    | a quarter full,
 *         | +------ 4 looks in a row that found at most 2 ------------------------------ POLL <--+ or a full exit
 *         +----------- 4 wake-ups in a row, close together, with 4 writes or more ---------^
 *
 * A back end without notification has no ARMED: LATCH takes its place. With moderation switched off the state never
 * changes. When LATCH turns out wrong (the thread had to empty the ring), it is not tried again for a time that
 * doubles.
 *
 * This is a pure state machine: it is told the time and what was found, and answers with a state and the time of the
 * next look. It belongs to the ring thread; no lock.
 */
#ifndef RINGD_MODERATION_H
#define RINGD_MODERATION_H

#include <stdbool.h>
#include <stdint.h>

enum moderation_state { MODERATION_ARMED, MODERATION_LATCH, MODERATION_POLL };

struct moderation_config {
    uint64_t bound_ns; /* max_replay_latency */
    uint32_t capacity; /* usable slots of the ring */
    bool notifies;     /* the back end has an fd that can wake the thread */
    bool enabled;
};

/* What the thread saw at a wake-up or a look. The counters only grow; the state machine takes the differences. */
struct moderation_seen {
    uint64_t now_ns;
    uint32_t found;        /* entries that this wake-up or look replayed */
    uint64_t vcpu_entries; /* entries replayed by vCPU threads so far */
    uint64_t visits;       /* synchronous accesses to the ring's devices so far */
    uint64_t full_exits;   /* posted writes that found the ring full so far */
};

struct moderation {
    struct moderation_config config;
    enum moderation_state state;
    uint64_t next_look_ns; /* UINT64_MAX while armed */
    uint64_t switches;     /* changes of state */

    struct moderation_seen before; /* at the last step */
    unsigned latch_score, storm_score, quiet_score;
    unsigned window_looks; /* LATCH: looks in this window, and what it held */
    uint64_t window_thread, window_vcpu;
    uint64_t poll_interval_ns;
    uint32_t poll_aim;  /* POLL: entries that a look ought to find */
    unsigned poll_good; /* looks without a full exit since it was changed */
    uint64_t latch_barred_until_ns, latch_bar_ns;
};

void moderation_init(struct moderation *m, const struct moderation_config *config, uint64_t now_ns);
/* After each wake-up and each look: decides on the state and the next look from now on. */
void moderation_step(struct moderation *m, const struct moderation_seen *seen);
const char *moderation_state_name(enum moderation_state state);

#endif
