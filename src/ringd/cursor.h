/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The consumer's side of a ring, without locks, threads or system calls: what stands in the page is untrusted, so each
 * index and entry is read once, checked, and only then used.
 */
#ifndef RINGD_CURSOR_H
#define RINGD_CURSOR_H

#include <stdbool.h>
#include <stdint.h>

#include <ringd/ring.h>

/*
 * The consumer's own index stands in private memory: page->first is only ever written, so a producer that scribbles on
 * it confuses nobody but itself. Guarded by the ring's consumer lock; `first` is atomic (relaxed) because
 * ring_is_empty() is asked without the lock.
 */
struct ring_cursor {
    struct ringd_ring_page *page;
    uint32_t first;
    uint64_t bad; /* indices out of range; relaxed atomic, written under the lock */
};

/* Starts at the page's own `first` when it is in range, else at an empty ring. */
void ring_cursor_init(struct ring_cursor *cursor, struct ringd_ring_page *page);

/* Without the lock: was there nothing to read? May be out of date as it is returned. */
bool ring_is_empty(const struct ring_cursor *cursor);

/*
 * How many entries stand in the ring now (acquire: their contents are visible). A `last` out of range reads as none and
 * counts as bad.
 */
uint32_t ring_pending(struct ring_cursor *cursor);

/* Copies the entry at the front; only after ring_pending() said that there is one. */
struct ringd_ring_entry ring_peek(const struct ring_cursor *cursor);

/* Gives the front slot back to the producer (release: our reads of it are over). */
void ring_advance(struct ring_cursor *cursor);

/* The entry's data as a value, or false when its length or its pio is malformed. Bytes past `len` are never looked at.
 */
bool ring_entry_value(const struct ringd_ring_entry *entry, uint64_t *value);

/* The memfd ring's request to be woken: sets or clears it, then fences. */
void ring_want_wakeup(struct ringd_ring_page *page, bool want);

#endif
