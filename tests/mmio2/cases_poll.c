/* SPDX-License-Identifier: BSD-2-Clause */
/* What poll() and its relatives say, without anybody asleep; cases_wake.c has the sleepers. */
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <unistd.h>

#include "device.h"
#include "suite.h"

#define IN  (POLLIN | POLLRDNORM)
#define ALL (IN | POLLOUT | POLLPRI | POLLERR | POLLHUP | POLLRDHUP | POLLWRNORM | POLLRDBAND | POLLWRBAND)

/* What poll() says of the fd, asked for all there is, without waiting. */
static int state_of(int fd)
{
    struct pollfd entry = {.fd = fd, .events = ALL};
    int count = poll(&entry, 1, 0);
    CHECK(count >= 0);
    CHECK_EQ(count, entry.revents ? 1 : 0);
    return entry.revents;
}

static int watch(int fd, uint32_t events)
{
    int set = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = events, .data.u32 = 0x5a};
    CHECK(set >= 0);
    CHECK_EQ(epoll_ctl(set, EPOLL_CTL_ADD, fd, &event), 0);
    return set;
}

/* What an epoll instance with one fd says, without waiting: its events, or 0. */
static uint32_t events_of(int set)
{
    struct epoll_event event = {0};
    int count = epoll_wait(set, &event, 1, 0);
    CHECK(count >= 0);
    CHECK(count == 0 || event.data.u32 == 0x5a);
    return count ? event.events : 0;
}

static void not_mapped(void)
{
    struct guest guest;
    guest_create(&guest, 1);
    int fd = mmio2_create(guest.vm);
    CHECK_EQ(state_of(fd), 0);
    int set = watch(fd, EPOLLIN | EPOLLOUT | EPOLLPRI);
    CHECK_EQ(events_of(set), 0);
    CHECK_EQ(mmio2_register(guest.vm, fd, true, PORT, 4) < 0, true);
    check_exits(&guest, true, 1);
    CHECK_EQ(state_of(fd), 0);
    /* Watched from before the mapping, and usable after. */
    struct kvm_coalesced_mmio_ring *ring = ring_map(fd);
    CHECK_EQ(state_of(fd), 0);
    CHECK_EQ(mmio2_register(guest.vm, fd, true, PORT, 4), 0);
    write_port(&guest, 2);
    CHECK_EQ(state_of(fd), IN);
    CHECK_EQ(events_of(set), EPOLLIN);
    close(set);
    close(fd);
    ring_unmap(ring);
    guest_destroy(&guest);
}

static void empty(void)
{
    struct device d;
    device_open(&d);
    CHECK_EQ(state_of(d.buffer.fd), 0);
    check_recorded(&d.guest, d.buffer.ring, true, 1);
    CHECK_EQ(state_of(d.buffer.fd), 0);
    for (uint32_t start = 0; start < SLOTS; start++) { /* empty is empty wherever the indices stand */
        ring_start_at(d.buffer.ring, start);
        CHECK_EQ(state_of(d.buffer.fd), 0);
    }
    CHECK_EQ(mmio2_unregister(d.guest.vm, NOBODY, true, PORT, 4), 0);
    check_exits(&d.guest, true, 2);
    CHECK_EQ(state_of(d.buffer.fd), 0);
    device_close(&d);
}

/* Level-triggered: as long as one entry is left, also when the ring is full, also after a wrap. */
static void level(void)
{
    struct device d;
    struct guest_write list[USABLE];
    device_open(&d);
    int set = watch(d.buffer.fd, EPOLLIN | EPOLLRDNORM);
    for (unsigned i = 0; i < USABLE; i++)
        list[i] = (struct guest_write){true, PORT, 4, i};
    for (uint32_t start = 0; start < SLOTS; start += 56) {
        ring_start_at(d.buffer.ring, start);
        load_list(&d.guest, 0, list, USABLE);
        CHECK(guest_run(&d.guest.vcpus[0]).end);
        for (unsigned i = 0; i < USABLE; i++) {
            suite_context("from index %u, %u taken", start, i);
            CHECK_EQ(state_of(d.buffer.fd), IN);
            CHECK_EQ(events_of(set), EPOLLIN | EPOLLRDNORM);
            struct guest_write got = ring_take(d.buffer.ring);
            check_same(&got, &list[i], i);
        }
        CHECK_EQ(state_of(d.buffer.fd), 0);
        CHECK_EQ(events_of(set), 0);
    }
    close(set);
    device_close(&d);
}

/* Only what was asked for; select() agrees. */
static void asked_for(void)
{
    struct device d;
    device_open(&d);
    struct pollfd out = {.fd = d.buffer.fd, .events = POLLOUT | POLLPRI | POLLWRNORM};
    struct pollfd normal = {.fd = d.buffer.fd, .events = POLLRDNORM};
    struct timeval at_once = {0};
    fd_set in;
    FD_ZERO(&in);
    FD_SET(d.buffer.fd, &in);
    CHECK_EQ(select(d.buffer.fd + 1, &in, NULL, NULL, &at_once), 0);
    write_port(&d.guest, 1);
    CHECK_EQ(poll(&out, 1, 0), 0);
    CHECK_EQ(poll(&normal, 1, 0), 1);
    CHECK_EQ(normal.revents, POLLRDNORM);
    FD_SET(d.buffer.fd, &in);
    CHECK_EQ(select(d.buffer.fd + 1, &in, NULL, NULL, &at_once), 1);
    FD_SET(d.buffer.fd, &in);
    CHECK_EQ(select(d.buffer.fd + 1, NULL, &in, NULL, &at_once), 0);
    check_holds(d.buffer.ring, 1);
    device_close(&d);
}

/* EPOLLET: an event for each write, drained in between or not, and none without a write. */
static void edge(void)
{
    struct device d;
    device_open(&d);
    int set = watch(d.buffer.fd, EPOLLIN | EPOLLET);
    CHECK_EQ(events_of(set), 0);
    for (uint32_t i = 0; i < 100; i++) {
        suite_context("write %u, drained after each", i);
        write_port(&d.guest, i);
        CHECK_EQ(events_of(set), EPOLLIN);
        CHECK_EQ(events_of(set), 0);
        check_holds(d.buffer.ring, i);
        CHECK_EQ(events_of(set), 0);
    }
    for (uint32_t i = 0; i < USABLE; i++) {
        suite_context("write %u, not drained", i);
        write_port(&d.guest, i);
        CHECK_EQ(events_of(set), EPOLLIN);
        CHECK_EQ(events_of(set), 0);
    }
    suite_context("full");
    load_list(&d.guest, 0, &(struct guest_write){true, PORT, 4, 1}, 1);
    CHECK(!guest_run(&d.guest.vcpus[0]).end);
    CHECK_EQ(events_of(set), 0);
    CHECK_EQ(state_of(d.buffer.fd), IN);
    /* Who starts to watch a ring with something in it is told. */
    int late = watch(d.buffer.fd, EPOLLIN | EPOLLET);
    CHECK_EQ(events_of(late), EPOLLIN);
    CHECK_EQ(events_of(late), 0);
    close(late);
    close(set);
    device_close(&d);
}

/* EPOLLONESHOT: once, until armed again. */
static void one_shot(void)
{
    struct device d;
    struct epoll_event again = {.events = EPOLLIN | EPOLLONESHOT, .data.u32 = 0x5a};
    device_open(&d);
    int set = watch(d.buffer.fd, EPOLLIN | EPOLLONESHOT);
    write_port(&d.guest, 0);
    CHECK_EQ(events_of(set), EPOLLIN);
    write_port(&d.guest, 1);
    CHECK_EQ(events_of(set), 0);
    CHECK_EQ(epoll_ctl(set, EPOLL_CTL_MOD, d.buffer.fd, &again), 0);
    CHECK_EQ(events_of(set), EPOLLIN);
    check_holds(d.buffer.ring, 0);
    check_holds(d.buffer.ring, 1);
    CHECK_EQ(epoll_ctl(set, EPOLL_CTL_MOD, d.buffer.fd, &again), 0);
    CHECK_EQ(events_of(set), 0);
    write_port(&d.guest, 2);
    CHECK_EQ(events_of(set), EPOLLIN);
    close(set);
    device_close(&d);
}

/* Two watchers, one of them by way of a dup'ed fd, and an epoll instance within another: all are told. */
static void several_watchers(void)
{
    struct device d;
    device_open(&d);
    int copy = dup(d.buffer.fd);
    int sets[] = {watch(d.buffer.fd, EPOLLIN), watch(copy, EPOLLIN), watch(d.buffer.fd, EPOLLIN | EPOLLET)};
    int outer = watch(sets[0], EPOLLIN);
    for (uint32_t i = 0; i < 20; i++) {
        write_port(&d.guest, i);
        for (unsigned s = 0; s < 3; s++)
            CHECK_EQ(events_of(sets[s]), EPOLLIN);
        CHECK_EQ(events_of(outer), EPOLLIN);
        check_holds(d.buffer.ring, i);
        for (unsigned s = 0; s < 3; s++)
            CHECK_EQ(events_of(sets[s]), 0);
        CHECK_EQ(events_of(outer), 0);
    }
    CHECK_EQ(epoll_ctl(sets[0], EPOLL_CTL_DEL, d.buffer.fd, NULL), 0);
    write_port(&d.guest, 20);
    CHECK_EQ(events_of(sets[0]), 0);
    CHECK_EQ(events_of(sets[1]), EPOLLIN);
    close(outer);
    for (unsigned s = 0; s < 3; s++)
        close(sets[s]);
    close(copy);
    device_close(&d);
}

/* Two rings: each says what it holds itself. */
static void two_rings(void)
{
    struct device d;
    struct buffer other;
    device_open(&d);
    buffer_open(&other, d.guest.vm);
    CHECK_EQ(mmio2_register(d.guest.vm, other.fd, true, PORT2, 4), 0);
    write_port(&d.guest, 1);
    CHECK_EQ(state_of(d.buffer.fd), IN);
    CHECK_EQ(state_of(other.fd), 0);
    load_list(&d.guest, 0, &(struct guest_write){true, PORT2, 4, 2}, 1);
    CHECK(guest_run(&d.guest.vcpus[0]).end);
    CHECK_EQ(state_of(other.fd), IN);
    check_holds(d.buffer.ring, 1);
    CHECK_EQ(state_of(d.buffer.fd), 0);
    CHECK_EQ(state_of(other.fd), IN);
    buffer_close(&other);
    device_close(&d);
}

/* ---- the VM's end ---- */

static void hang_up(void)
{
    struct device d;
    device_open(&d);
    int unmapped = mmio2_create(d.guest.vm);
    int set = watch(d.buffer.fd, EPOLLIN | EPOLLET);
    write_port(&d.guest, 1);
    CHECK_EQ(events_of(set), EPOLLIN);
    CHECK_EQ(state_of(d.buffer.fd), IN);
    device_close_vm(&d);
    CHECK_EQ(state_of(d.buffer.fd), IN | POLLHUP);
    CHECK_EQ(events_of(set), EPOLLIN | EPOLLHUP);
    CHECK_EQ(state_of(unmapped), POLLHUP);
    /* HUP is told to who asks for nothing, and stays. */
    struct pollfd nothing = {.fd = d.buffer.fd};
    CHECK_EQ(poll(&nothing, 1, 0), 1);
    CHECK_EQ(nothing.revents, POLLHUP);
    check_holds(d.buffer.ring, 1);
    CHECK_EQ(state_of(d.buffer.fd), POLLHUP);
    int late = watch(d.buffer.fd, EPOLLIN);
    CHECK_EQ(events_of(late), EPOLLHUP);
    /* The first mapping of a buffer whose VM is gone: an empty ring. */
    struct kvm_coalesced_mmio_ring *ring = ring_map(unmapped);
    CHECK_EQ(ring_held(ring), 0);
    CHECK_EQ(state_of(unmapped), POLLHUP);
    ring_unmap(ring);
    close(unmapped);
    close(set);
    close(late);
    device_close(&d);
}

/* No HUP while anything holds the VM: here a vCPU, whose VM fd is closed. */
static void no_early_hang_up(void)
{
    struct device d;
    device_open(&d);
    CHECK_EQ(close(d.guest.vm), 0);
    CHECK_EQ(state_of(d.buffer.fd), 0);
    check_recorded(&d.guest, d.buffer.ring, true, 1);
    write_port(&d.guest, 2);
    CHECK_EQ(state_of(d.buffer.fd), IN);
    CHECK_EQ(munmap(d.guest.vcpus[0].run, d.guest.run_size), 0);
    CHECK_EQ(state_of(d.buffer.fd), IN);
    CHECK_EQ(close(d.guest.vcpus[0].fd), 0);
    CHECK_EQ(state_of(d.buffer.fd), IN | POLLHUP);
    buffer_close(&d.buffer);
}

const struct suite_case cases_poll[] = {
    {"poll/not-mapped", not_mapped, 0},
    {"poll/empty", empty, 0},
    {"poll/level", level, 0},
    {"poll/asked-for", asked_for, 0},
    {"poll/edge", edge, 0},
    {"poll/one-shot", one_shot, 0},
    {"poll/several-watchers", several_watchers, 0},
    {"poll/two-rings", two_rings, 0},
    {"poll/hang-up", hang_up, 0},
    {"poll/no-early-hang-up", no_early_hang_up, 0},
    {NULL, NULL, 0},
};
