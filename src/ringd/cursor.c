/* SPDX-License-Identifier: BSD-2-Clause */
#include "ringd/cursor.h"

#include <errno.h>
#include <string.h>

_Static_assert(RINGD_RING_SLOTS == 170, "KVM_COALESCED_MMIO_MAX on 4 KiB pages");
_Static_assert(sizeof(struct ringd_ring_page) + RINGD_RING_SLOTS * sizeof(struct ringd_ring_entry) <=
                   RINGD_RING_WANTED_OFFSET,
               "the wake-up word must not overlap a slot");

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
    if (ring_next_slot(last) == first)
        return -EAGAIN;

    struct ringd_ring_entry entry = {.addr = addr, .len = len, .pio = pio};
    memcpy(entry.data, data, len);
    uint64_t copy[sizeof(entry) / sizeof(uint64_t)];
    memcpy(copy, &entry, sizeof(copy));
    uint64_t *words = (uint64_t *)(void *)&page->entries[last];
    for (unsigned i = 0; i < sizeof(copy) / sizeof(copy[0]); i++)
        __atomic_store_n(&words[i], copy[i], __ATOMIC_RELAXED);

    __atomic_store_n(&page->last, ring_next_slot(last), __ATOMIC_RELEASE);
    __atomic_thread_fence(__ATOMIC_SEQ_CST); /* pairs with ring_want_wakeup() */
    if (!__atomic_load_n(wanted_word(page), __ATOMIC_RELAXED))
        return 0;
    return __atomic_exchange_n(wanted_word(page), 0, __ATOMIC_RELAXED) ? 1 : 0;
}
