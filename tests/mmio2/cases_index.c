/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Indices that are wrong: `first` and `last` stand in memory that user space can write to at any time, while a vCPU is
 * in the middle of a write too. KVM must neither write outside the ring nor take an entry that nobody will see.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "device.h"
#include "suite.h"

static const uint32_t bad[] = {170, 171, 0xaa00aa, 0x7fffffff, 0x80000000, 0xffffffff};
static const uint32_t good[] = {0, 1, 84, 169};
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* With these indices each write exits and the page stays as it is; set right again, the ring works. */
static void check_refused(struct device *d, uint32_t first, uint32_t last)
{
    uint8_t page[RING_BYTES];
    suite_context("first %u, last %u", first, last);
    memset(d->buffer.ring->coalesced_mmio, 0xee, RING_BYTES - 8);
    d->buffer.ring->first = first;
    d->buffer.ring->last = last;
    memcpy(page, d->buffer.ring, RING_BYTES);
    check_exits(&d->guest, true, 0x1234);
    check_exits(&d->guest, false, 0x5678);
    CHECK(!memcmp(page, d->buffer.ring, RING_BYTES));
    ring_start_at(d->buffer.ring, 169);
    check_recorded(&d->guest, d->buffer.ring, true, 0x9abc);
    check_recorded(&d->guest, d->buffer.ring, true, 0xdef0);
}

static void bad_first(void)
{
    struct device d;
    device_open(&d);
    for (unsigned b = 0; b < COUNT(bad); b++)
        for (unsigned g = 0; g < COUNT(good); g++)
            check_refused(&d, bad[b], good[g]);
    device_close(&d);
}

static void bad_last(void)
{
    struct device d;
    device_open(&d);
    for (unsigned b = 0; b < COUNT(bad); b++)
        for (unsigned g = 0; g < COUNT(good); g++)
            check_refused(&d, good[g], bad[b]);
    device_close(&d);
}

static void both_bad(void)
{
    struct device d;
    device_open(&d);
    for (unsigned b = 0; b < COUNT(bad); b++)
        for (unsigned g = 0; g < COUNT(bad); g++)
            check_refused(&d, bad[b], bad[g]);
    device_close(&d);
}

/* ---- while a vCPU writes ---- */

struct vandal {
    struct kvm_coalesced_mmio_ring *ring;
    unsigned seed;
    bool stop;
};

/* Any index, right or wrong, at any time. */
static void *vandalise(void *arg)
{
    struct vandal *v = arg;
    while (!__atomic_load_n(&v->stop, __ATOMIC_RELAXED)) {
        int r = rand_r(&v->seed);
        uint32_t value = r & 0x100 ? (uint32_t)r % SLOTS : bad[(unsigned)r % COUNT(bad)];
        __atomic_store_n(r & 0x200 ? &v->ring->first : &v->ring->last, value, __ATOMIC_RELAXED);
        __builtin_ia32_pause(); /* where CPUs take turns on one host thread, it is the other's turn now */
    }
    return NULL;
}

#define RACE_WRITES 900u
#define RACE_MS     1500

/*
 * What can be said of a run under such indices: each exit is a write of the guest, in its order, and none comes twice.
 * The bytes behind the last slot are left alone, and afterwards the ring works.
 */
static void hostile_thread(void)
{
    struct device d;
    struct guest_write list[RACE_WRITES];
    pthread_t thread;
    unsigned rounds = 0, exits = 0;
    device_open(&d);
    struct vandal vandal = {.ring = d.buffer.ring, .seed = 7};
    for (unsigned i = 0; i < RACE_WRITES; i++)
        list[i] = (struct guest_write){i % 3 != 0, i % 3 ? PORT : ADDR, 4, 0x77000000u + i};
    memset(&d.buffer.ring->coalesced_mmio[SLOTS], 0xee, 8);
    CHECK_EQ(pthread_create(&thread, NULL, vandalise, &vandal), 0);
    for (int64_t end = suite_now() + RACE_MS * suite_slow(); suite_now() < end; rounds++) {
        unsigned next = 0;
        load_list(&d.guest, 0, list, RACE_WRITES);
        for (struct guest_exit exit; !(exit = guest_run(&d.guest.vcpus[0])).end; exits++) {
            CHECK(exit.is_write);
            unsigned number = (unsigned)(exit.write.value - list[0].value);
            CHECK(number >= next && number < RACE_WRITES);
            check_same(&exit.write, &list[number], number);
            next = number + 1;
        }
    }
    __atomic_store_n(&vandal.stop, true, __ATOMIC_RELAXED);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    for (unsigned i = 0; i < 8; i++)
        CHECK(((uint8_t *)&d.buffer.ring->coalesced_mmio[SLOTS])[i] == 0xee);
    ring_start_at(d.buffer.ring, 0);
    check_recorded(&d.guest, d.buffer.ring, true, 1);
    check_recorded(&d.guest, d.buffer.ring, false, 2);
    suite_note("%u writes, %u of them exits", rounds * RACE_WRITES, exits);
    device_close(&d);
}

/* Buffer and VM are closed while another thread stores to the indices, and it goes on. */
static void hostile_until_closed(void)
{
    for (unsigned i = 0; i < 20; i++) {
        struct device d;
        pthread_t thread;
        const struct guest_write write = {true, PORT, 4, i};
        device_open(&d);
        struct kvm_coalesced_mmio_ring *second = ring_map(d.buffer.fd);
        struct vandal vandal = {.ring = second, .seed = i};
        CHECK_EQ(pthread_create(&thread, NULL, vandalise, &vandal), 0);
        for (unsigned n = 0; n < 20; n++) {
            load_list(&d.guest, 0, &write, 1);
            while (!guest_run(&d.guest.vcpus[0]).end)
                ;
        }
        device_close(&d);
        __atomic_store_n(&vandal.stop, true, __ATOMIC_RELAXED);
        CHECK_EQ(pthread_join(thread, NULL), 0);
        ring_unmap(second);
    }
}

const struct suite_case cases_index[] = {
    {"index/bad-first", bad_first, 0},
    {"index/bad-last", bad_last, 0},
    {"index/both-bad", both_bad, 0},
    {"index/hostile-thread", hostile_thread, 0},
    {"index/hostile-until-closed", hostile_until_closed, 0},
    {NULL, NULL, 0},
};
