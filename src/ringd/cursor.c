/* SPDX-License-Identifier: BSD-2-Clause */
#include "ringd/cursor.h"

#include <errno.h>
#include <string.h>

_Static_assert(RINGD_RING_SLOTS == 170, "KVM_COALESCED_MMIO_MAX on 4 KiB pages");
_Static_assert(sizeof(struct ringd_ring_page) + RINGD_RING_SLOTS * sizeof(struct ringd_ring_entry) <=
                   RINGD_RING_WANTED_OFFSET,
               "the wake-up word must not overlap a slot");

static uint32_t next_slot(uint32_t slot)
{
    return slot + 1 == RINGD_RING_SLOTS ? 0 : slot + 1;
}

static uint32_t *wanted_word(struct ringd_ring_page *page)
{
    return (uint32_t *)(void *)((uint8_t *)page + RINGD_RING_WANTED_OFFSET);
}

void ring_cursor_init(struct ring_cursor *cursor, struct ringd_ring_page *page)
{
    uint32_t first = __atomic_load_n(&page->first, __ATOMIC_RELAXED);
    cursor->page = page;
    cursor->bad = 0;
    if (first >= RINGD_RING_SLOTS) {
        first = __atomic_load_n(&page->last, __ATOMIC_RELAXED);
        if (first >= RINGD_RING_SLOTS)
            first = 0;
        __atomic_store_n(&page->first, first, __ATOMIC_RELEASE);
    }
    __atomic_store_n(&cursor->first, first, __ATOMIC_RELAXED);
}

bool ring_is_empty(const struct ring_cursor *cursor)
{
    return __atomic_load_n(&cursor->page->last, __ATOMIC_ACQUIRE) == __atomic_load_n(&cursor->first, __ATOMIC_RELAXED);
}

uint32_t ring_pending(struct ring_cursor *cursor)
{
    uint32_t last = __atomic_load_n(&cursor->page->last, __ATOMIC_ACQUIRE);
    if (last >= RINGD_RING_SLOTS) {
        __atomic_store_n(&cursor->bad, cursor->bad + 1, __ATOMIC_RELAXED);
        return 0;
    }
    return last >= cursor->first ? last - cursor->first : last + RINGD_RING_SLOTS - cursor->first;
}

struct ringd_ring_entry ring_peek(const struct ring_cursor *cursor)
{
    /* A hostile producer may still be writing here. Word by word, so that each is loaded once and none is torn; the
     * values are checked on the copy. */
    const uint64_t *words = (const uint64_t *)(const void *)&cursor->page->entries[cursor->first];
    uint64_t copy[sizeof(struct ringd_ring_entry) / sizeof(uint64_t)];
    for (unsigned i = 0; i < sizeof(copy) / sizeof(copy[0]); i++)
        copy[i] = __atomic_load_n(&words[i], __ATOMIC_RELAXED);
    struct ringd_ring_entry entry;
    memcpy(&entry, copy, sizeof(entry));
    return entry;
}

void ring_advance(struct ring_cursor *cursor)
{
    uint32_t first = next_slot(cursor->first);
    __atomic_store_n(&cursor->first, first, __ATOMIC_RELAXED);
    __atomic_store_n(&cursor->page->first, first, __ATOMIC_RELEASE);
}

bool ring_entry_value(const struct ringd_ring_entry *entry, uint64_t *value)
{
    if (entry->pio > 1)
        return false;
    uint64_t data;
    memcpy(&data, entry->data, sizeof(data)); /* little endian, as the guest and we are */
    switch (entry->len) {
    case 1:
        *value = (uint8_t)data;
        return true;
    case 2:
        *value = (uint16_t)data;
        return true;
    case 4:
        *value = (uint32_t)data;
        return true;
    case 8:
        *value = data;
        return true;
    default:
        return false;
    }
}

void ring_want_wakeup(struct ringd_ring_page *page, bool want)
{
    __atomic_store_n(wanted_word(page), want, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

int ringd_ring_push(struct ringd_ring_page *page, uint64_t addr, uint32_t pio, const void *data, uint32_t len)
{
    uint32_t last = __atomic_load_n(&page->last, __ATOMIC_RELAXED);
    uint32_t first = __atomic_load_n(&page->first, __ATOMIC_ACQUIRE);
    if (len < 1 || len > 8 || last >= RINGD_RING_SLOTS || first >= RINGD_RING_SLOTS)
        return -EINVAL;
    if (next_slot(last) == first)
        return -EAGAIN;

    struct ringd_ring_entry entry = {.addr = addr, .len = len, .pio = pio};
    memcpy(entry.data, data, len);
    uint64_t copy[sizeof(entry) / sizeof(uint64_t)];
    memcpy(copy, &entry, sizeof(copy));
    uint64_t *words = (uint64_t *)(void *)&page->entries[last];
    for (unsigned i = 0; i < sizeof(copy) / sizeof(copy[0]); i++)
        __atomic_store_n(&words[i], copy[i], __ATOMIC_RELAXED);

    __atomic_store_n(&page->last, next_slot(last), __ATOMIC_RELEASE);
    __atomic_thread_fence(__ATOMIC_SEQ_CST); /* pairs with ring_want_wakeup() */
    if (!__atomic_load_n(wanted_word(page), __ATOMIC_RELAXED))
        return 0;
    return __atomic_exchange_n(wanted_word(page), 0, __ATOMIC_RELAXED) ? 1 : 0;
}
