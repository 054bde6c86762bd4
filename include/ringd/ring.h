/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The ring: one producer side (KVM, or another VMM), one consumer side (ringd). The layout is KVM's own
 * (struct kvm_coalesced_mmio_ring in Linux's uapi), on one page for all back ends. Entries stand in
 * [first, last); one slot always stays free, so `last + 1 == first` is full.
 */
#ifndef RINGD_RING_H
#define RINGD_RING_H

#include <stddef.h>
#include <stdint.h>

#include <ringd/api.h>

RINGD_API_BEGIN

#define RINGD_RING_BYTES 4096u /* KVM's PAGE_SIZE on x86 */

struct ringd_ring_entry {
    uint64_t addr; /* guest-physical address or port */
    uint32_t len;  /* bytes of data that count; what follows them is stale */
    uint32_t pio;  /* 1: port, 0: memory */
    uint8_t data[8];
};

__extension__ struct ringd_ring_page { /* C++ has no array without a size, its compilers do */
    uint32_t first;                    /* next to be read; stored by the consumer with release order */
    uint32_t last;                     /* next to be written; stored by the producer with release order */
    struct ringd_ring_entry entries[];
};

/* 170 slots on a 4 KiB page, 169 of them usable at a time. */
#define RINGD_RING_SLOTS                                                                                               \
    ((uint32_t)((RINGD_RING_BYTES - sizeof(struct ringd_ring_page)) / sizeof(struct ringd_ring_entry)))

/*
 * memfd rings only: in the tail of the page, behind the last slot, stands a word by which the consumer asks to be
 * woken. The consumer stores 1, then looks at the ring once more before it sleeps; the producer stores `last`, then
 * looks at the word. Both have a full fence in between, so at least one of them sees the other. KVM's rings have no
 * such word.
 */
#define RINGD_RING_WANTED_OFFSET (RINGD_RING_BYTES - (uint32_t)sizeof(uint32_t))

/*
 * ringd_ring_push - appends one write to a ring in shared memory (the memfd back end's producer side).
 * @page: the ring; producers of one ring must hold a lock of their own around the call.
 * @addr, @pio: where the guest wrote.
 * @data, @len: the bytes written, 1 to 8 of them.
 * Returns 1 when the consumer has asked to be woken (signal its eventfd; the request is taken back by this), 0 when it
 * has not, -EAGAIN when the ring is full (the write must then be delivered synchronously), -EINVAL for a bad length or
 * a ring whose indices are out of range. Never blocks.
 */
int ringd_ring_push(struct ringd_ring_page *page, uint64_t addr, uint32_t pio, const void *data, uint32_t len);

RINGD_API_END

#endif
