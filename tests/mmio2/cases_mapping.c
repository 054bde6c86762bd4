/* SPDX-License-Identifier: BSD-2-Clause */
/* What can be done to a mapping, by its process and by a forked one, without harm to the ring. */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "device.h"
#include "suite.h"

/* Entries go on arriving in this mapping, more than once round the ring. */
static void check_alive(struct device *d, struct kvm_coalesced_mmio_ring *ring)
{
    for (uint32_t i = 0; i < SLOTS + 10; i++)
        check_recorded(&d->guest, ring, i % 2, i);
}

/* ---- several ---- */

#define MAPPINGS 5

static void read_all(void *arg)
{
    struct device *d = arg;
    struct kvm_coalesced_mmio_ring *own = ring_map(d->buffer.fd);
    check_holds(own, 1);
    check_holds(d->buffer.ring, 2);
    CHECK_EQ(ring_held(own), 0);
}

/* All show one ring, in this process and in another; any of them may go. */
static void several(void)
{
    struct device d;
    struct kvm_coalesced_mmio_ring *rings[MAPPINGS];
    device_open(&d);
    for (unsigned i = 0; i < MAPPINGS; i++)
        rings[i] = ring_map(d.buffer.fd);
    for (uint32_t i = 0; i < 100; i++) {
        write_port(&d.guest, i);
        for (unsigned m = 0; m < MAPPINGS; m++)
            CHECK_EQ(ring_held(rings[m]), 1);
        check_holds(rings[i % MAPPINGS], i);
        CHECK_EQ(ring_held(d.buffer.ring), 0);
    }
    write_port(&d.guest, 1);
    write_port(&d.guest, 2);
    suite_in_child(read_all, &d);
    CHECK_EQ(ring_held(d.buffer.ring), 0);
    ring_unmap(d.buffer.ring);
    d.buffer.ring = NULL;
    for (unsigned i = 0; i < MAPPINGS; i++) {
        check_alive(&d, rings[i]);
        ring_unmap(rings[i]);
    }
    write_port(&d.guest, 3);
    d.buffer.ring = ring_map(d.buffer.fd);
    check_holds(d.buffer.ring, 3);
    device_close(&d);
}

/* ---- fork ---- */

static void only_exit(void *arg)
{
    (void)arg;
}

static void unmap_and_exit(void *arg)
{
    struct device *d = arg;
    buffer_close(&d->buffer);
}

static void fork_ends(void)
{
    struct device d;
    device_open(&d);
    write_port(&d.guest, 7);
    suite_in_child(only_exit, NULL);
    check_holds(d.buffer.ring, 7);
    check_alive(&d, d.buffer.ring);
    suite_in_child(unmap_and_exit, &d);
    check_alive(&d, d.buffer.ring);
    device_close(&d);
}

static void drain_in_child(void *arg)
{
    struct device *d = arg;
    check_holds(d->buffer.ring, 1);
    d->buffer.ring->first = SLOTS; /* and breaks it for all */
}

/* The mapping is shared, so the child's stores are the parent's ring: to take an entry, or to break an index. */
static void fork_writes(void)
{
    struct device d;
    device_open(&d);
    write_port(&d.guest, 1);
    write_port(&d.guest, 2);
    suite_in_child(drain_in_child, &d);
    CHECK_EQ(d.buffer.ring->first, SLOTS);
    CHECK_EQ(d.buffer.ring->last, 2);
    check_exits(&d.guest, true, 3);
    d.buffer.ring->first = 1;
    check_holds(d.buffer.ring, 2);
    check_alive(&d, d.buffer.ring);
    device_close(&d);
}

/* The parent lets go, the forked child goes on reading; its end takes the zones away. */
static void fork_outlives(void)
{
    struct device d;
    int to_child[2], to_parent[2], status;
    char byte = 0;
    device_open(&d);
    CHECK_EQ(pipe(to_child) | pipe(to_parent), 0);
    pid_t child = fork();
    if (child == 0) {
        CHECK_EQ(read(to_child[0], &byte, 1), 1);
        check_holds(d.buffer.ring, 1);
        check_holds(d.buffer.ring, 2);
        CHECK_EQ(write(to_parent[1], &byte, 1), 1);
        CHECK_EQ(read(to_child[0], &byte, 1), 1);
        _exit(0);
    }
    CHECK_EQ(close(to_parent[1]), 0);
    write_port(&d.guest, 1);
    buffer_close(&d.buffer);
    write_port(&d.guest, 2);
    CHECK_EQ(write(to_child[1], &byte, 1), 1);
    CHECK_EQ(read(to_parent[0], &byte, 1), 1);
    write_port(&d.guest, 3);
    CHECK_EQ(write(to_child[1], &byte, 1), 1);
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK_EQ(status, 0);
    check_exits(&d.guest, true, 4);
    device_close(&d);
}

/* ---- mremap ---- */

static void mremap_move(void)
{
    struct device d;
    device_open(&d);
    write_port(&d.guest, 5);
    for (unsigned i = 0; i < 4; i++) {
        void *place = mmap(NULL, RING_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        CHECK(place != MAP_FAILED);
        struct kvm_coalesced_mmio_ring *moved =
            mremap(d.buffer.ring, RING_BYTES, RING_BYTES, MREMAP_MAYMOVE | MREMAP_FIXED, place);
        CHECK(moved == place);
        d.buffer.ring = moved;
        if (i == 0)
            check_holds(moved, 5);
        check_alive(&d, moved);
    }
    CHECK_EQ(close(d.buffer.fd), 0);
    d.buffer.fd = -1;
    check_alive(&d, d.buffer.ring);
    device_close(&d);
    CHECK(d.buffer.ring == NULL);
}

/* Refused, and nothing has changed; size 0, which would make a second mapping, is refused alike. */
static void mremap_grow(void)
{
    struct device d;
    device_open(&d);
    static const int flags[] = {0, MREMAP_MAYMOVE};
    for (unsigned i = 0; i < 2; i++) {
        CHECK(mremap(d.buffer.ring, RING_BYTES, 2 * RING_BYTES, flags[i]) == MAP_FAILED && errno == EFAULT);
        CHECK(mremap(d.buffer.ring, RING_BYTES, 64 * RING_BYTES, flags[i]) == MAP_FAILED && errno == EFAULT);
    }
    CHECK(mremap(d.buffer.ring, 0, RING_BYTES, MREMAP_MAYMOVE) == MAP_FAILED && errno == EFAULT);
    check_alive(&d, d.buffer.ring);
    device_close(&d);
}

/*
 * A mapping of more than a page would have a part that can be unmapped. It is refused (error/mmap-length); a kernel
 * that grants it must keep the ring when the rest goes.
 */
static void partial_unmap(void)
{
    struct device d;
    int error;
    device_open(&d);
    uint8_t *two = mmio2_map(d.buffer.fd, 2 * RING_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, 0, &error);
    if (two) {
        CHECK_EQ(munmap(two + RING_BYTES, RING_BYTES), 0);
        check_alive(&d, (struct kvm_coalesced_mmio_ring *)(void *)two);
        ring_unmap((struct kvm_coalesced_mmio_ring *)(void *)two);
    } else {
        CHECK_EQ(error, -EINVAL);
    }
    /* A range with the ring in its middle, and what lies beside it is none of the ring's. */
    uint8_t *three = mmap(NULL, 3 * RING_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(three != MAP_FAILED);
    void *ring = mmap(three + RING_BYTES, RING_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, d.buffer.fd, 0);
    CHECK(ring == three + RING_BYTES);
    CHECK_EQ(munmap(three, RING_BYTES) | munmap(three + 2 * RING_BYTES, RING_BYTES), 0);
    check_alive(&d, ring);
    CHECK_EQ(munmap(ring, 1), 0); /* a byte is a page */
    check_alive(&d, d.buffer.ring);
    device_close(&d);
}

/* ---- advice ---- */

/* Pages dropped, not inherited, locked: the ring is the same afterwards. */
static void advice(void)
{
    struct device d;
    device_open(&d);
    for (uint32_t i = 0; i < 10; i++) {
        write_port(&d.guest, i);
        CHECK_EQ(madvise(d.buffer.ring, RING_BYTES, MADV_DONTNEED), 0);
        check_holds(d.buffer.ring, i);
    }
    (void)madvise(d.buffer.ring, RING_BYTES, MADV_PAGEOUT);
    (void)madvise(d.buffer.ring, RING_BYTES, MADV_REMOVE);
    (void)madvise(d.buffer.ring, RING_BYTES, MADV_COLD);
    check_alive(&d, d.buffer.ring);
    CHECK_EQ(mlock(d.buffer.ring, RING_BYTES), 0);
    check_alive(&d, d.buffer.ring);
    CHECK_EQ(munlock(d.buffer.ring, RING_BYTES), 0);
    CHECK_EQ(madvise(d.buffer.ring, RING_BYTES, MADV_DONTFORK), 0);
    suite_in_child(only_exit, NULL);
    check_alive(&d, d.buffer.ring);
    CHECK_EQ(mprotect(d.buffer.ring, RING_BYTES, PROT_NONE), 0);
    write_port(&d.guest, 99);
    CHECK_EQ(mprotect(d.buffer.ring, RING_BYTES, PROT_READ | PROT_WRITE), 0);
    check_holds(d.buffer.ring, 99);
    device_close(&d);
}

/* A page that another part of the kernel holds (here a pipe) does not end with the buffer under it. */
static void pinned(void)
{
    struct device d;
    uint8_t copy[64], seen[64];
    int ends[2];
    device_open(&d);
    write_port(&d.guest, 0x77);
    memcpy(copy, d.buffer.ring, sizeof(copy));
    CHECK_EQ(pipe(ends), 0);
    struct iovec part = {.iov_base = d.buffer.ring, .iov_len = sizeof(copy)};
    CHECK_EQ(vmsplice(ends[1], &part, 1, 0), sizeof(copy));
    device_close(&d);
    for (unsigned i = 0; i < 20; i++) { /* others get what memory was freed */
        device_open(&d);
        check_recorded(&d.guest, d.buffer.ring, true, i);
        device_close(&d);
    }
    CHECK_EQ(read(ends[0], seen, sizeof(seen)), sizeof(seen));
    CHECK(!memcmp(copy, seen, sizeof(seen)));
    close(ends[0]);
    close(ends[1]);
}

const struct suite_case cases_mapping[] = {
    {"mapping/several", several, 0},
    {"mapping/fork-ends", fork_ends, 0},
    {"mapping/fork-writes", fork_writes, 0},
    {"mapping/fork-outlives", fork_outlives, 0},
    {"mapping/mremap-move", mremap_move, 0},
    {"mapping/mremap-grow", mremap_grow, 0},
    {"mapping/partial-unmap", partial_unmap, 0},
    {"mapping/advice", advice, 0},
    {"mapping/pinned", pinned, 0},
    {NULL, NULL, 0},
};
