/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The consumer's side of a ring, without locks, threads or system calls: what stands in the page is untrusted, so each
 * index and entry is read once, checked, and only then used.
 */
#ifndef RINGD_CURSOR_H
#define RINGD_CURSOR_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

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

static inline uint32_t ring_next_slot(uint32_t slot)
{
    return slot + 1 == RINGD_RING_SLOTS ? 0 : slot + 1;
}

/* Starts at the page's own `first` when it is in range, else at an empty ring. */
void ring_cursor_init(struct ring_cursor *cursor, struct ringd_ring_page *page);

/* Without the lock: was there nothing to read? May be out of date as it is returned. */
static inline bool ring_is_empty(const struct ring_cursor *cursor)
{
    return __atomic_load_n(&cursor->page->last, __ATOMIC_ACQUIRE) == __atomic_load_n(&cursor->first, __ATOMIC_RELAXED);
}

/*
 * How many entries stand in the ring now (acquire: their contents are visible). A `last` out of range reads as none and
 * counts as bad.
 */
static inline uint32_t ring_pending(struct ring_cursor *cursor)
{
    uint32_t last = __atomic_load_n(&cursor->page->last, __ATOMIC_ACQUIRE);
    if (last >= RINGD_RING_SLOTS) {
        __atomic_store_n(&cursor->bad, cursor->bad + 1, __ATOMIC_RELAXED);
        return 0;
    }
    return last >= cursor->first ? last - cursor->first : last + RINGD_RING_SLOTS - cursor->first;
}

/* The three words of the entry in `slot`: address, length and pio, data. A hostile producer may still be writing there,
 * so each is loaded once, whole, and what was loaded is checked. */
static inline const uint64_t *ring_words(const struct ringd_ring_page *page, uint32_t slot)
{
    return (const uint64_t *)(const void *)&page->entries[slot];
}

/* Copies the entry at the front; only after ring_pending() said that there is one. */
static inline struct ringd_ring_entry ring_peek(const struct ring_cursor *cursor)
{
    const uint64_t *words = ring_words(cursor->page, cursor->first);
    uint64_t addr = __atomic_load_n(&words[0], __ATOMIC_RELAXED);
    uint64_t kind = __atomic_load_n(&words[1], __ATOMIC_RELAXED);
    uint64_t data = __atomic_load_n(&words[2], __ATOMIC_RELAXED);
    struct ringd_ring_entry entry = {.addr = addr, .len = (uint32_t)kind, .pio = (uint32_t)(kind >> 32)};
    memcpy(entry.data, &data, sizeof(data));
    return entry;
}

/* Gives the slots before `first` back to the producer (release: our reads of them are over). */
static inline void ring_give_back(struct ringd_ring_page *page, uint32_t first)
{
    __atomic_store_n(&page->first, first, __ATOMIC_RELEASE);
}

/* The front entry has been dealt with. */
static inline void ring_advance(struct ring_cursor *cursor)
{
    uint32_t first = ring_next_slot(cursor->first);
    __atomic_store_n(&cursor->first, first, __ATOMIC_RELAXED);
    ring_give_back(cursor->page, first);
}

/* What remains of the data word of an entry whose `len` is 1 to 8. Bytes past it are never looked at. */
static inline uint64_t ring_entry_mask(const struct ringd_ring_entry *entry)
{
    return UINT64_MAX >> (64 - entry->len * 8);
}

/* The data as a value: little endian, as guest and host are. */
static inline uint64_t ring_entry_data(const struct ringd_ring_entry *entry)
{
    uint64_t data;
    memcpy(&data, entry->data, sizeof(data));
    return data & ring_entry_mask(entry);
}

/* Length and pio as they stand in the ring, in one word. */
static inline uint64_t ring_entry_kind(const struct ringd_ring_entry *entry)
{
    return entry->len | (uint64_t)entry->pio << 32;
}

/* Are length and pio well-formed? Any length from 1 to 8 is legal: KVM cuts a write that crosses a page into two of
 * whatever length. */
static inline bool ring_entry_is_sound(const struct ringd_ring_entry *entry)
{
    return entry->pio <= 1 && entry->len >= 1 && entry->len <= 8;
}

/* The entry's data, or false when it is malformed. */
static inline bool ring_entry_value(const struct ringd_ring_entry *entry, uint64_t *value)
{
    if (!ring_entry_is_sound(entry))
        return false;
    *value = ring_entry_data(entry);
    return true;
}

/* The memfd ring's request to be woken: sets or clears it, then fences. */
void ring_want_wakeup(struct ringd_ring_page *page, bool want);

#endif
