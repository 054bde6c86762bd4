/* SPDX-License-Identifier: BSD-2-Clause */
/* Zones: what UNREGISTER2 takes away, which may overlap, and whose ring a write goes to. */
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "device.h"
#include "suite.h"

/* The zones gone, each write exits; what stood in the ring still does. */
static void unregister(void)
{
    struct device d;
    device_open(&d);
    check_recorded(&d.guest, d.buffer.ring, true, 1);
    check_recorded(&d.guest, d.buffer.ring, false, 2);
    write_port(&d.guest, 3);
    CHECK_EQ(mmio2_unregister(d.guest.vm, (uint32_t)d.buffer.fd, true, PORT, 4), 0);
    CHECK_EQ(ring_held(d.buffer.ring), 1);
    check_exits(&d.guest, true, 4);
    check_holds(d.buffer.ring, 3);
    check_recorded(&d.guest, d.buffer.ring, false, 5);
    CHECK_EQ(mmio2_unregister(d.guest.vm, (uint32_t)d.buffer.fd, false, ADDR, 8), 0);
    check_exits(&d.guest, false, 6);
    CHECK_EQ(mmio2_register(d.guest.vm, d.buffer.fd, true, PORT, 4), 0);
    check_recorded(&d.guest, d.buffer.ring, true, 7);
    check_exits(&d.guest, false, 8);
    device_close(&d);
}

/* The same numbers on the other bus: nothing happens. */
static void unregister_wrong_pio(void)
{
    struct device d;
    device_open(&d);
    CHECK_EQ(mmio2_unregister(d.guest.vm, (uint32_t)d.buffer.fd, false, PORT, 4), 0);
    CHECK_EQ(mmio2_unregister(d.guest.vm, (uint32_t)d.buffer.fd, true, ADDR, 8), 0);
    check_recorded(&d.guest, d.buffer.ring, true, 1);
    check_recorded(&d.guest, d.buffer.ring, false, 2);
    device_close(&d);
}

/* As posted: a range takes the zones away that contain it; nothing is cut. */
static void unregister_ranges(void)
{
    static const struct {
        int offset;
        uint32_t size;
        bool removes;
    } ranges[] = {
        {0, 8, true},   {0, 4, true},   {4, 4, true},   {3, 1, true},   {7, 1, true},    /* within */
        {0, 0, true},   {5, 0, true},                                                    /* nothing, within */
        {0, 9, false},  {-1, 9, false}, {-1, 8, false}, {1, 8, false},  {-4, 16, false}, /* beyond an end */
        {-1, 1, false}, {8, 1, false},  {9, 0, false},  {-1, 0, false}, {0, 0xffffffff, false},
    };
    struct device d;
    device_open(&d);
    for (unsigned pio = 0; pio < 2; pio++) {
        const uint64_t base = pio ? PORT : ADDR;
        CHECK_EQ(mmio2_unregister(d.guest.vm, NOBODY, pio, base, 4), 0);
        for (unsigned i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++) {
            suite_context("%s, %u bytes at offset %d", pio ? "port" : "memory", ranges[i].size, ranges[i].offset);
            CHECK_EQ(mmio2_register(d.guest.vm, d.buffer.fd, pio, base, 8), 0);
            check_recorded(&d.guest, d.buffer.ring, pio, i);
            CHECK_EQ(mmio2_unregister(d.guest.vm, (uint32_t)d.buffer.fd, pio, base + (uint64_t)ranges[i].offset,
                                      ranges[i].size),
                     0);
            if (ranges[i].removes)
                check_exits(&d.guest, pio, i);
            else
                check_recorded(&d.guest, d.buffer.ring, pio, i);
            CHECK_EQ(mmio2_unregister(d.guest.vm, NOBODY, pio, base, 8), 0);
            check_exits(&d.guest, pio, i);
        }
    }
    device_close(&d);
}

static void unregister_twice(void)
{
    struct device d;
    device_open(&d);
    for (unsigned i = 0; i < 3; i++) {
        CHECK_EQ(mmio2_unregister(d.guest.vm, (uint32_t)d.buffer.fd, true, PORT, 4), 0);
        check_exits(&d.guest, true, i);
        check_recorded(&d.guest, d.buffer.ring, false, i);
    }
    /* Registered three times, gone at once. */
    for (unsigned i = 0; i < 3; i++)
        CHECK_EQ(mmio2_register(d.guest.vm, d.buffer.fd, true, PORT, 4), 0);
    check_recorded(&d.guest, d.buffer.ring, true, 3);
    CHECK_EQ(mmio2_unregister(d.guest.vm, (uint32_t)d.buffer.fd, true, PORT, 4), 0);
    check_exits(&d.guest, true, 4);
    device_close(&d);
}

/* buffer_fd, where it names a buffer of this VM, protects all the others. */
static void unregister_other_buffer(void)
{
    struct device d;
    struct buffer other;
    device_open(&d);
    buffer_open(&other, d.guest.vm);
    int unmapped = mmio2_create(d.guest.vm);
    CHECK_EQ(mmio2_unregister(d.guest.vm, (uint32_t)other.fd, true, PORT, 4), 0);
    check_recorded(&d.guest, d.buffer.ring, true, 1);
    CHECK_EQ(mmio2_unregister(d.guest.vm, (uint32_t)unmapped, true, PORT, 4), 0);
    check_recorded(&d.guest, d.buffer.ring, true, 2);
    int copy = dup(d.buffer.fd); /* another number for the same buffer */
    CHECK_EQ(mmio2_unregister(d.guest.vm, (uint32_t)copy, true, PORT, 4), 0);
    check_exits(&d.guest, true, 3);
    close(copy);
    close(unmapped);
    buffer_close(&other);
    device_close(&d);
}

/* As posted: what names no buffer of this VM means every buffer. */
static void unregister_no_buffer(void)
{
    struct device d, foreign;
    device_open(&d);
    device_open(&foreign);
    int closed = mmio2_create(d.guest.vm);
    CHECK_EQ(close(closed), 0);
    const int fds[] = {-1, closed, d.guest.vm, d.guest.kvm, foreign.buffer.fd};
    for (unsigned i = 0; i < sizeof(fds) / sizeof(fds[0]); i++) {
        suite_context("fd number %u of the list", i);
        CHECK_EQ(mmio2_unregister(d.guest.vm, (uint32_t)fds[i], true, PORT, 4), 0);
        check_exits(&d.guest, true, i);
        check_recorded(&d.guest, d.buffer.ring, false, i);
        check_recorded(&foreign.guest, foreign.buffer.ring, true, i);
        CHECK_EQ(mmio2_register(d.guest.vm, d.buffer.fd, true, PORT, 4), 0);
        check_recorded(&d.guest, d.buffer.ring, true, i);
    }
    device_close(&foreign);
    device_close(&d);
}

/* ---- overlap ---- */

static void overlap(void)
{
    static const struct {
        int offset;
        uint32_t size;
        bool taken;
    } zones[] = {
        {0, 8, true},  {2, 4, true},   {-4, 16, true}, {-4, 5, true},  {7, 1, true},  {7, 100, true},  {0, 1, true},
        {-1, 2, true}, {-4, 4, false}, {8, 8, false},  {-1, 1, false}, {8, 1, false}, {100, 1, false}, {-8, 8, false},
    };
    struct guest guest;
    struct buffer mine, other;
    guest_create(&guest, 1);
    buffer_open(&mine, guest.vm);
    buffer_open(&other, guest.vm);
    for (unsigned pio = 0; pio < 2; pio++) {
        const uint64_t base = (pio ? PORT : ADDR) + 0x10;
        CHECK_EQ(mmio2_register(guest.vm, mine.fd, pio, base, 8), 0);
        for (unsigned i = 0; i < sizeof(zones) / sizeof(zones[0]); i++) {
            const uint64_t addr = base + (uint64_t)zones[i].offset;
            suite_context("%s, %u bytes at offset %d", pio ? "port" : "memory", zones[i].size, zones[i].offset);
            CHECK_EQ(mmio2_register(guest.vm, other.fd, pio, addr, zones[i].size), zones[i].taken ? -EEXIST : 0);
            CHECK_EQ(mmio2_register(guest.vm, mine.fd, pio, addr, zones[i].size), zones[i].taken ? 0 : -EEXIST);
            /* Leave the one zone only. */
            CHECK_EQ(mmio2_unregister(guest.vm, (uint32_t)other.fd, pio, addr, zones[i].size), 0);
            CHECK_EQ(mmio2_unregister(guest.vm, (uint32_t)mine.fd, pio, addr, zones[i].size), 0);
            CHECK_EQ(mmio2_unregister(guest.vm, (uint32_t)mine.fd, pio, base, 8), 0);
            CHECK_EQ(mmio2_register(guest.vm, mine.fd, pio, base, 8), 0);
        }
        /* The other bus has addresses of its own. UNREGISTER2 and the buffer's end give a place back. */
        CHECK_EQ(mmio2_register(guest.vm, other.fd, !pio, base, 8), 0);
        CHECK_EQ(mmio2_unregister(guest.vm, (uint32_t)other.fd, !pio, base, 8), 0);
        CHECK_EQ(mmio2_unregister(guest.vm, (uint32_t)mine.fd, pio, base, 8), 0);
        CHECK_EQ(mmio2_register(guest.vm, other.fd, pio, base, 8), 0);
        CHECK_EQ(mmio2_register(guest.vm, mine.fd, pio, base, 8), -EEXIST);
        buffer_close(&other);
        CHECK_EQ(mmio2_register(guest.vm, mine.fd, pio, base, 8), 0);
        buffer_open(&other, guest.vm);
    }
    buffer_close(&other);
    buffer_close(&mine);
    guest_destroy(&guest);
}

/* What an overlap would do: with the first ring full, the second must get nothing. */
static void no_spill(void)
{
    struct device d;
    struct buffer other;
    device_open(&d);
    buffer_open(&other, d.guest.vm);
    int ret = mmio2_register(d.guest.vm, other.fd, true, PORT, 4);
    d.buffer.ring->first = 1; /* full */
    d.buffer.ring->last = 0;
    check_exits(&d.guest, true, 1);
    CHECK_EQ(ring_held(other.ring), 0);
    CHECK_EQ(ret, -EEXIST);
    buffer_close(&other);
    device_close(&d);
}

/* Zones of one buffer may overlap: a write is recorded once, and any of them that is left records it. */
static void overlap_of_one(void)
{
    struct guest guest;
    struct buffer buffer;
    const struct guest_write list[] = {
        {true, PORT, 1, 1}, {true, PORT, 4, 2}, {true, PORT + 4, 1, 3}, {true, PORT + 2, 4, 4}, {true, PORT + 7, 1, 5}};
    guest_create(&guest, 1);
    buffer_open(&buffer, guest.vm);
    CHECK_EQ(mmio2_register(guest.vm, buffer.fd, true, PORT, 4), 0);
    CHECK_EQ(mmio2_register(guest.vm, buffer.fd, true, PORT, 8), 0);
    CHECK_EQ(mmio2_register(guest.vm, buffer.fd, true, PORT + 2, 4), 0);
    run_expecting(&guest, buffer.ring, list, "rrrrr");
    CHECK_EQ(mmio2_unregister(guest.vm, NOBODY, true, PORT, 8), 0);
    run_expecting(&guest, buffer.ring, list, "rrrrx");
    CHECK_EQ(mmio2_unregister(guest.vm, NOBODY, true, PORT, 4), 0);
    run_expecting(&guest, buffer.ring, list, "xxrrx");
    buffer_close(&buffer);
    guest_destroy(&guest);
}

/* ---- odd zones ---- */

/* Of no size: nothing lies inside. Beyond the end of the address space: sums may wrap, and must not reach round it. */
static void odd_sizes(void)
{
    struct guest guest;
    struct buffer buffer, other;
    const struct guest_write list[] = {{false, ADDR, 4, 1}, {false, GUEST_MMIO, 1, 2}, {true, PORT, 1, 3}};
    guest_create(&guest, 1);
    buffer_open(&buffer, guest.vm);
    buffer_open(&other, guest.vm);
    CHECK_EQ(mmio2_register(guest.vm, buffer.fd, false, ADDR, 0), 0);
    CHECK_EQ(mmio2_register(guest.vm, buffer.fd, true, PORT, 0), 0);
    run_expecting(&guest, buffer.ring, list, "xxx");
    CHECK_EQ(mmio2_unregister(guest.vm, NOBODY, false, ADDR, 0), 0);
    CHECK_EQ(mmio2_unregister(guest.vm, NOBODY, true, PORT, 0), 0);

    CHECK_EQ(mmio2_register(guest.vm, buffer.fd, false, 0xffffffffffff0000, 0x00200000), 0);
    run_expecting(&guest, buffer.ring, list, "xxx");
    CHECK_EQ(mmio2_register(guest.vm, other.fd, false, 0xfffffffffffffff0, 0xffffffff), -EEXIST);
    CHECK_EQ(mmio2_unregister(guest.vm, NOBODY, false, 0xffffffffffff0000, 0x00200000), 0);

    CHECK_EQ(mmio2_register(guest.vm, buffer.fd, false, GUEST_MMIO, 0x7fffffff), 0);
    run_expecting(&guest, buffer.ring, list, "rrx");
    CHECK_EQ(mmio2_unregister(guest.vm, NOBODY, false, ADDR, 0x7fff0000), 0);
    run_expecting(&guest, buffer.ring, list, "xxx");

    /* KVM's bus holds a size in an int, and takes this one for negative: recorded or not, but nothing is lost. */
    CHECK_EQ(mmio2_register(guest.vm, buffer.fd, false, GUEST_MMIO, 0xffffffff), 0);
    run_list(&guest, buffer.ring, list, sizeof(list) / sizeof(list[0]));
    CHECK_EQ(mmio2_unregister(guest.vm, NOBODY, false, GUEST_MMIO, 0xffffffff), 0);
    run_expecting(&guest, buffer.ring, list, "xxx");
    buffer_close(&other);
    buffer_close(&buffer);
    guest_destroy(&guest);
}

/* ---- whose ring ---- */

/* Many zones of one buffer, ports and memory: one ring has them all in the order of the writes. */
static void many_zones(void)
{
    struct guest guest;
    struct buffer buffer;
    struct guest_write list[120];
    guest_create(&guest, 1);
    buffer_open(&buffer, guest.vm);
    for (unsigned i = 0; i < 40; i++) {
        bool pio = i % 2;
        CHECK_EQ(mmio2_register(guest.vm, buffer.fd, pio, (pio ? 0x300 : GUEST_MMIO) + i * 8, 4), 0);
    }
    for (unsigned i = 0; i < 120; i++) {
        unsigned zone = i * 7 % 40;
        bool pio = zone % 2;
        list[i] = (struct guest_write){pio, (pio ? 0x300 : GUEST_MMIO) + zone * 8, 4, i};
    }
    CHECK_EQ(run_list(&guest, buffer.ring, list, 120).exits, 0);
    buffer_close(&buffer);
    guest_destroy(&guest);
}

/* Neither ring has the other's writes, and a full one leaves the other as it is. */
static void two_rings(void)
{
    struct device d;
    struct buffer other;
    struct guest_write list[100 + USABLE + 5 + 60];
    unsigned count = 0;
    device_open(&d);
    buffer_open(&other, d.guest.vm);
    CHECK_EQ(mmio2_register(d.guest.vm, other.fd, true, PORT2, 4), 0);
    for (unsigned i = 0; i < 100; i++, count++)
        list[count] = (struct guest_write){true, PORT2, 4, count};
    for (unsigned i = 0; i < USABLE + 5; i++, count++)
        list[count] = (struct guest_write){true, PORT, 4, count};
    for (unsigned i = 0; i < 60; i++, count++)
        list[count] = (struct guest_write){true, PORT2, 4, count};
    load_list(&d.guest, 0, list, count);
    for (unsigned i = 0; i < 5; i++) {
        struct guest_exit exit = guest_run(&d.guest.vcpus[0]);
        check_same(&exit.write, &list[100 + USABLE + i], 100 + USABLE + i);
    }
    CHECK(guest_run(&d.guest.vcpus[0]).end);
    CHECK_EQ(ring_held(d.buffer.ring), USABLE);
    CHECK_EQ(ring_held(other.ring), 160);
    for (unsigned i = 0; i < count; i++) {
        if (i >= 100 + USABLE && i < 100 + USABLE + 5)
            continue;
        struct guest_write got = ring_take(list[i].addr == PORT ? d.buffer.ring : other.ring);
        check_same(&got, &list[i], i);
    }
    buffer_close(&other);
    device_close(&d);
}

/* Buffers of two VMs with the same addresses. */
static void two_vms(void)
{
    struct device d[2];
    device_open(&d[0]);
    device_open(&d[1]);
    for (uint32_t i = 0; i < 20; i++) {
        check_recorded(&d[i % 2].guest, d[i % 2].buffer.ring, i & 2, i);
        CHECK_EQ(ring_held(d[(i + 1) % 2].buffer.ring), 0);
    }
    device_close(&d[0]);
    check_recorded(&d[1].guest, d[1].buffer.ring, true, 1);
    device_close(&d[1]);
}

/* The first version's zones and ring live beside, on addresses of their own. */
static void beside_v1(void)
{
    struct device d;
    device_open(&d);
    int page = ioctl(d.guest.kvm, KVM_CHECK_EXTENSION, KVM_CAP_COALESCED_MMIO);
    CHECK(page > 0);
    struct kvm_coalesced_mmio_ring *v1 =
        mmap(NULL, RING_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, d.guest.vcpus[0].fd, page * (off_t)RING_BYTES);
    CHECK(v1 != MAP_FAILED);
    struct kvm_coalesced_mmio_zone zone = {.addr = PORT2, .size = 4, .pio = 1};
    CHECK_EQ(ioctl(d.guest.vm, KVM_REGISTER_COALESCED_MMIO, &zone), 0);
    const struct guest_write to_v1 = {true, PORT2, 4, 0x77};
    for (uint32_t i = 0; i < 10; i++) {
        run_expecting(&d.guest, v1, &to_v1, "r");
        CHECK_EQ(ring_held(d.buffer.ring), 0);
        check_recorded(&d.guest, d.buffer.ring, true, i);
        CHECK_EQ(ring_held(v1), 0);
    }
    /* Neither version's call takes the other's zones away. */
    CHECK_EQ(mmio2_unregister(d.guest.vm, NOBODY, true, PORT2, 4), 0);
    run_expecting(&d.guest, v1, &to_v1, "r");
    zone.addr = PORT;
    (void)ioctl(d.guest.vm, KVM_UNREGISTER_COALESCED_MMIO, &zone);
    check_recorded(&d.guest, d.buffer.ring, true, 11);
    CHECK_EQ(munmap(v1, RING_BYTES), 0);
    device_close(&d);
}

const struct suite_case cases_zone[] = {
    {"zone/unregister", unregister, 0},
    {"zone/unregister-wrong-pio", unregister_wrong_pio, 0},
    {"zone/unregister-ranges", unregister_ranges, 0},
    {"zone/unregister-twice", unregister_twice, 0},
    {"zone/unregister-other-buffer", unregister_other_buffer, 0},
    {"zone/unregister-no-buffer", unregister_no_buffer, 0},
    {"zone/overlap", overlap, 0},
    {"zone/no-spill", no_spill, 0},
    {"zone/overlap-of-one", overlap_of_one, 0},
    {"zone/odd-sizes", odd_sizes, 0},
    {"zone/many-zones", many_zones, 0},
    {"zone/two-rings", two_rings, 0},
    {"zone/two-vms", two_vms, 0},
    {"zone/beside-v1", beside_v1, 0},
    {NULL, NULL, 0},
};
