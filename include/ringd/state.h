/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The committed state of one device: a file in memory (memfd) that belongs to whoever owns the ring, and that a ringd
 * keeps in step with its model. A ringd that is killed at any instruction leaves in it what its successor needs to go
 * on after the last applied entry: nothing lost, nothing twice, order kept.
 *
 * The owner makes it: all zeroes, sealed against shrinking and growing, allocated (fallocate()), of at least
 * ringd_state_file_bytes(), at most RINGD_STATE_MOST_BYTES. All else in it is the ringd's, but for the two words
 * events_seen and output_seen.
 */
#ifndef RINGD_STATE_H
#define RINGD_STATE_H

#include <stddef.h>
#include <stdint.h>

#include <ringd/api.h>

RINGD_API_BEGIN

#define RINGD_STATE_MAGIC        0x54534452u /* "RDST" */
#define RINGD_STATE_VERSION      1u
#define RINGD_STATE_EVENTS       128u
#define RINGD_STATE_OUTPUT_BYTES 8192u
#define RINGD_STATE_SLOTS_OFFSET 12288u
#define RINGD_STATE_MOST_BYTES   (1024u * 1024u)
#define RINGD_ACCESS_SLOTS       64u /* numbered accesses that may be under way at a time: one a vCPU */

struct ringd_state_event {
    uint32_t event; /* enum ringd_event */
    uint32_t reserved;
    uint64_t value;
};

/* The head of the file. Words that both sides use are atomic: published ones are stored with release order. */
struct ringd_state_page {
    uint32_t magic, version; /* 0: nothing has been committed yet */
    uint32_t bytes;          /* of the file */
    uint32_t current;        /* 1 or 2: the slot that counts; 0: none yet. Its change is the commit */
    uint64_t events_published, output_published; /* how many ever; item n stands at n modulo the size of its ring */
    uint64_t events_seen, output_seen; /* stored by the owner with release order: these have been dealt with */
    uint64_t events_lost, output_lost; /* found no room, because the owner was too slow */
    struct ringd_state_event events[RINGD_STATE_EVENTS];
    uint8_t output[RINGD_STATE_OUTPUT_BYTES];
};

struct ringd_state_result {
    uint64_t sequence; /* of the last numbered access of this slot */
    uint64_t value;    /* what it read */
};

/* Two of these, from RINGD_STATE_SLOTS_OFFSET on, each half of what is left (a multiple of 64 bytes). */
struct ringd_state_slot {
    uint64_t sequence;    /* of this commit */
    uint64_t applied;     /* ring entries ever applied */
    uint32_t first;       /* the ring's index behind the last of them */
    uint32_t model_bytes; /* of the model's state, which follows this struct */
    uint64_t clock_skew;  /* CLOCK_MONOTONIC minus machine time, ns */
    uint64_t frozen_at;   /* machine time of the pause, or UINT64_MAX */
    uint64_t events, output, events_lost, output_lost;
    struct ringd_state_result results[RINGD_ACCESS_SLOTS];
};

/* The bytes that a file needs for a model whose state has `model_bytes`: a multiple of 4096. */
static inline size_t ringd_state_file_bytes(size_t model_bytes)
{
    size_t slot = (sizeof(struct ringd_state_slot) + model_bytes + 63) / 64 * 64;
    return (RINGD_STATE_SLOTS_OFFSET + 2 * slot + 4095) / 4096 * 4096;
}

RINGD_API_END
#endif
