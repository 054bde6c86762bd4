/* SPDX-License-Identifier: BSD-2-Clause */
/* Who may end first: VM, fd, mapping, process. And pauses: what is in the ring stays there, and more may come. */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "device.h"
#include "suite.h"

/* ---- VM and fd ---- */

/* The VM first, and then a buffer with zones, one without, one never mapped, and one by its mapping alone. */
static void vm_first(void)
{
    for (unsigned round = 0; round < 10; round++) {
        struct device d;
        struct buffer idle, mapped;
        device_open(&d);
        buffer_open(&idle, d.guest.vm);
        buffer_open(&mapped, d.guest.vm);
        CHECK_EQ(mmio2_register(d.guest.vm, mapped.fd, true, PORT2, 4), 0);
        CHECK_EQ(close(mapped.fd), 0);
        mapped.fd = -1;
        int unmapped = mmio2_create(d.guest.vm);
        write_port(&d.guest, round);
        device_close_vm(&d);
        struct pollfd state = {.fd = d.buffer.fd, .events = POLLIN};
        CHECK_EQ(poll(&state, 1, 0), 1);
        CHECK_EQ(state.revents, POLLIN | POLLHUP);
        check_holds(d.buffer.ring, round);
        CHECK_EQ(close(unmapped), 0);
        buffer_close(&idle);
        buffer_close(&mapped);
        buffer_close(&d.buffer);
        /* New ones get the memory that was freed. */
        device_open(&d);
        check_recorded(&d.guest, d.buffer.ring, true, round);
        device_close(&d);
    }
}

static void fd_first(void)
{
    for (unsigned round = 0; round < 10; round++) {
        struct device d;
        struct buffer idle;
        device_open(&d);
        buffer_open(&idle, d.guest.vm);
        int unmapped = mmio2_create(d.guest.vm);
        check_recorded(&d.guest, d.buffer.ring, true, round);
        CHECK_EQ(close(unmapped), 0);
        buffer_close(&idle);
        buffer_close(&d.buffer);
        check_exits(&d.guest, true, round);
        device_close_vm(&d);
    }
}

/* All left open: the process's end closes them, in KVM's order or ours. */
static void leave_all_open(void *arg)
{
    struct device d;
    struct buffer other;
    (void)arg;
    device_open(&d);
    buffer_open(&other, d.guest.vm);
    CHECK_EQ(mmio2_register(d.guest.vm, other.fd, true, PORT2, 4), 0);
    int copy = dup(d.guest.vm); /* a higher number than the buffers': closed after them */
    CHECK(copy > other.fd);
    if (getpid() % 2)
        CHECK_EQ(close(d.guest.vm), 0);
    write_port(&d.guest, 1);
}

static void process_ends(void)
{
    for (unsigned i = 0; i < 8; i++)
        suite_in_child(leave_all_open, NULL);
}

/* ---- fd and mapping ---- */

/* As posted: the fd closed, the mapping alone keeps the zones alive. */
static void fd_closed_mapped(void)
{
    struct device d;
    device_open(&d);
    write_port(&d.guest, 1);
    CHECK_EQ(close(d.buffer.fd), 0);
    d.buffer.fd = -1;
    write_port(&d.guest, 2);
    check_holds(d.buffer.ring, 1);
    check_holds(d.buffer.ring, 2);
    for (uint32_t i = 0; i < 200; i++)
        check_recorded(&d.guest, d.buffer.ring, i % 2, i);
    device_close(&d);
}

/* Closed and unmapped, in either order: the zones are gone, and their addresses are free. */
static void closed_and_unmapped(void)
{
    struct device d;
    for (unsigned order = 0; order < 2; order++) {
        struct buffer next;
        suite_context("%s first", order ? "mapping" : "fd");
        device_open(&d);
        if (order) {
            ring_unmap(d.buffer.ring);
            d.buffer.ring = NULL;
            write_port(&d.guest, 1);
            CHECK_EQ(close(d.buffer.fd), 0);
            d.buffer.fd = -1;
        } else {
            CHECK_EQ(close(d.buffer.fd), 0);
            d.buffer.fd = -1;
            write_port(&d.guest, 1);
            ring_unmap(d.buffer.ring);
            d.buffer.ring = NULL;
        }
        check_exits(&d.guest, true, 2);
        check_exits(&d.guest, false, 3);
        buffer_open(&next, d.guest.vm);
        buffer_add_zones(&next, d.guest.vm);
        check_recorded(&d.guest, next.ring, true, 4);
        buffer_close(&next);
        device_close(&d);
    }
}

/* Every dup'ed fd is the buffer; the last to go takes it along. */
static void duplicate(void)
{
    struct device d;
    device_open(&d);
    int copies[] = {dup(d.buffer.fd), fcntl(d.buffer.fd, F_DUPFD_CLOEXEC, 100), dup2(d.buffer.fd, 200)};
    CHECK_EQ(close(d.buffer.fd), 0);
    d.buffer.fd = -1;
    CHECK_EQ(mmio2_register(d.guest.vm, copies[0], true, PORT2, 4), 0);
    struct kvm_coalesced_mmio_ring *second = ring_map(copies[1]);
    check_recorded(&d.guest, second, true, 1);
    struct pollfd state = {.fd = copies[2], .events = POLLIN};
    write_port(&d.guest, 2);
    CHECK_EQ(poll(&state, 1, 0), 1);
    check_holds(d.buffer.ring, 2);
    CHECK_EQ(poll(&state, 1, 0), 0);
    ring_unmap(second);
    ring_unmap(d.buffer.ring);
    d.buffer.ring = NULL;
    for (unsigned i = 0; i < 3; i++) {
        write_port(&d.guest, i);
        CHECK_EQ(close(copies[i]), 0);
    }
    check_exits(&d.guest, true, 3);
    device_close(&d);
}

/* ---- another process ---- */

static void send_fd(int socket, int fd)
{
    char byte = 0, control[CMSG_SPACE(sizeof(int))] = {0};
    struct iovec part = {.iov_base = &byte, .iov_len = 1};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(header), &fd, sizeof(int));
    CHECK_EQ(sendmsg(socket, &message, 0), 1);
}

static int receive_fd(int socket)
{
    char byte, control[CMSG_SPACE(sizeof(int))];
    int fd;
    struct iovec part = {.iov_base = &byte, .iov_len = 1};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};
    CHECK_EQ(recvmsg(socket, &message, MSG_CMSG_CLOEXEC), 1);
    CHECK(CMSG_FIRSTHDR(&message) != NULL);
    memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(int));
    return fd;
}

/* Hand in hand: who writes a byte lets the other go on. */
static void tell(int socket)
{
    CHECK_EQ(write(socket, "x", 1), 1);
}

static void await(int socket)
{
    char byte;
    CHECK_EQ(read(socket, &byte, 1), 1);
}

static void receiver(int socket)
{
    int fd = receive_fd(socket);
    struct pollfd state = {.fd = fd, .events = POLLIN};
    struct kvm_coalesced_mmio_ring *ring = ring_map(fd);
    check_holds(ring, 1);
    tell(socket); /* now the sender closes and unmaps its own */
    await(socket);
    CHECK_EQ(poll(&state, 1, 0), 1);
    check_holds(ring, 2);
    check_holds(ring, 3);
    CHECK_EQ(close(fd), 0);
    tell(socket); /* mapped only */
    await(socket);
    check_holds(ring, 4);
}

/* A process that was there before the buffer gets it over a socket, and in the end has it alone. */
static void scm_rights(void)
{
    struct device d;
    int pair[2], status;
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    pid_t child = fork();
    if (child == 0) {
        receiver(pair[1]);
        _exit(0);
    }
    CHECK_EQ(close(pair[1]), 0); /* a child that fails shows as the socket's end */
    device_open(&d);
    write_port(&d.guest, 1);
    send_fd(pair[0], d.buffer.fd);
    await(pair[0]);
    write_port(&d.guest, 2);
    buffer_close(&d.buffer);
    write_port(&d.guest, 3);
    tell(pair[0]);
    await(pair[0]);
    write_port(&d.guest, 4);
    tell(pair[0]);
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK_EQ(status, 0);
    check_exits(&d.guest, true, 5); /* nobody has it any more */
    device_close(&d);
}

/* On its way through a socket the buffer is nobody's, and lives; a message that nobody reads takes it along. */
static void scm_in_flight(void)
{
    struct device d;
    int pair[2];
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    device_open(&d);
    write_port(&d.guest, 1);
    send_fd(pair[0], d.buffer.fd);
    buffer_close(&d.buffer);
    write_port(&d.guest, 2);
    d.buffer.fd = receive_fd(pair[1]);
    d.buffer.ring = ring_map(d.buffer.fd);
    check_holds(d.buffer.ring, 1);
    check_holds(d.buffer.ring, 2);
    send_fd(pair[0], d.buffer.fd);
    buffer_close(&d.buffer);
    write_port(&d.guest, 3);
    CHECK_EQ(close(pair[0]) | close(pair[1]), 0);
    check_exits(&d.guest, true, 4);
    device_close(&d);
}

static void daemon_life(int fd, int socket)
{
    struct kvm_coalesced_mmio_ring *ring = ring_map(fd);
    tell(socket);
    await(socket);
    check_holds(ring, 1); /* and not the second */
    tell(socket);
    pause();
}

/*
 * A daemon is killed with one of two entries read. While nobody has the ring mapped it fills; the successor finds every
 * write since, in order, and the exits of those that did not fit come after them.
 */
static void successor(void)
{
    struct guest guest;
    struct guest_write list[USABLE + 4];
    int pair[2], status;
    guest_create(&guest, 1);
    int fd = mmio2_create(guest.vm);
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    pid_t child = fork();
    if (child == 0) {
        daemon_life(fd, pair[1]);
        _exit(0);
    }
    CHECK_EQ(close(pair[1]), 0);
    await(pair[0]);
    CHECK_EQ(mmio2_register(guest.vm, fd, true, PORT, 4), 0); /* the daemon's mapping counts */
    write_port(&guest, 1);
    write_port(&guest, 2);
    tell(pair[0]);
    await(pair[0]);
    CHECK_EQ(kill(child, SIGKILL), 0);
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK(WIFSIGNALED(status));

    for (unsigned i = 0; i < USABLE + 4; i++)
        list[i] = (struct guest_write){true, PORT, 4, 2 + i};
    load_list(&guest, 0, list + 1, USABLE + 3);
    for (unsigned i = USABLE; i < USABLE + 4; i++) { /* list[0] was there already */
        struct guest_exit exit = guest_run(&guest.vcpus[0]);
        check_same(&exit.write, &list[i], i);
    }
    struct kvm_coalesced_mmio_ring *ring = ring_map(fd);
    CHECK_EQ(ring_held(ring), USABLE);
    for (unsigned i = 0; i < USABLE; i++) {
        struct guest_write got = ring_take(ring);
        check_same(&got, &list[i], i);
    }
    CHECK(guest_run(&guest.vcpus[0]).end);
    check_recorded(&guest, ring, true, 1);
    ring_unmap(ring);
    CHECK_EQ(close(fd), 0);
    guest_destroy(&guest);
}

/* ---- pause: the vCPU has stopped, the ring is drained later ---- */

enum { KEEP_ALL, CLOSE_FD, UNMAP, UNMAP_THEN_WRITE };

static void pause_with(unsigned what)
{
    struct device d;
    struct guest_write list[USABLE];
    const unsigned before = what == UNMAP_THEN_WRITE ? 100 : USABLE;
    device_open(&d);
    for (unsigned i = 0; i < USABLE; i++)
        list[i] = (struct guest_write){true, PORT, 4, 0x500 + i};
    ring_start_at(d.buffer.ring, 77);
    load_list(&d.guest, 0, list, before);
    CHECK(guest_run(&d.guest.vcpus[0]).end);
    if (what == CLOSE_FD) {
        CHECK_EQ(close(d.buffer.fd), 0);
        d.buffer.fd = -1;
    } else if (what != KEEP_ALL) {
        ring_unmap(d.buffer.ring);
        d.buffer.ring = NULL;
        usleep(20000);
        if (what == UNMAP_THEN_WRITE) {
            load_list(&d.guest, 0, list + before, USABLE - before);
            CHECK(guest_run(&d.guest.vcpus[0]).end);
        }
        struct pollfd state = {.fd = d.buffer.fd, .events = POLLIN};
        CHECK_EQ(poll(&state, 1, 0), 1);
        CHECK_EQ(state.revents, POLLIN);
        d.buffer.ring = ring_map(d.buffer.fd);
    }
    CHECK_EQ(d.buffer.ring->first, 77);
    CHECK_EQ(ring_held(d.buffer.ring), USABLE);
    load_list(&d.guest, 0, &(struct guest_write){true, PORT, 4, 1}, 1); /* still full */
    CHECK(!guest_run(&d.guest.vcpus[0]).end);
    for (unsigned i = 0; i < USABLE; i++) {
        struct guest_write got = ring_take(d.buffer.ring);
        check_same(&got, &list[i], i);
    }
    check_recorded(&d.guest, d.buffer.ring, true, 2);
    device_close(&d);
}

static void pause_filled(void)
{
    pause_with(KEEP_ALL);
}

static void pause_fd_closed(void)
{
    pause_with(CLOSE_FD);
}

static void pause_unmapped(void)
{
    pause_with(UNMAP);
}

static void pause_recording(void)
{
    pause_with(UNMAP_THEN_WRITE);
}

const struct suite_case cases_life[] = {
    {"life/vm-first", vm_first, 0},
    {"life/fd-first", fd_first, 0},
    {"life/process-ends", process_ends, 0},
    {"life/fd-closed-mapped", fd_closed_mapped, 0},
    {"life/closed-and-unmapped", closed_and_unmapped, 0},
    {"life/duplicate", duplicate, 0},
    {"life/scm-rights", scm_rights, 0},
    {"life/scm-in-flight", scm_in_flight, 0},
    {"life/successor", successor, 0},
    {"life/pause-filled", pause_filled, 0},
    {"life/pause-fd-closed", pause_fd_closed, 0},
    {"life/pause-unmapped", pause_unmapped, 0},
    {"life/pause-recording", pause_recording, 0},
    {NULL, NULL, 0},
};
