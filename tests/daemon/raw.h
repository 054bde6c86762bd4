/* SPDX-License-Identifier: BSD-2-Clause */
/* Clients that speak the protocol by hand and break its rules, beside a good one that must not notice. Included once by
 * each test. */
#ifndef TEST_RAW_H
#define TEST_RAW_H

#include "daemon.h"

#include <sys/mman.h>

static struct ringd_client *good;
static struct ringd_remote *rtc;

static inline int setup(void **unused)
{
    struct ringd_client_device device = {.type = "rtc", .kvm_ring_fd = -1};
    if (setup_daemon(unused))
        return -1;
    good = connect_client();
    return ringd_client_add(good, &device, &rtc) || ringd_client_map(rtc, 0, 0x70);
}

/* The good client has had one connection all the time. */
static inline int teardown(void **unused)
{
    bool kept = ringd_client_reconnects(good) == 0;
    ringd_client_destroy(good);
    return teardown_daemon(unused) || !kept;
}

static inline void good_goes_on(void)
{
    uint64_t value;
    uint8_t index = 0x0d;
    uint64_t start = clock_ns();
    assert_int_equal(ringd_client_push(rtc, 0x70, 1, &index, 1), 0);
    assert_int_equal(ringd_client_read(rtc, 0, 1, 0, 1, &value), 0);
    assert_int_equal(value, 0x80);
    assert_true(clock_ns() - start < 5000000000u);
    assert_int_equal(ringd_client_reconnects(good), 0);
}

/* Sends bytes with descriptors; whether the socket takes them is not the point. */
static inline void send_raw(int fd, const void *bytes, size_t size, const int *fds, unsigned count)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(64 * sizeof(int))];
    } control = {0};
    struct iovec iov = {.iov_base = (void *)(uintptr_t)bytes, .iov_len = size};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    if (count) {
        msg.msg_control = control.bytes;
        msg.msg_controllen = CMSG_SPACE(count * sizeof(int));
        struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(count * sizeof(int));
        memcpy(CMSG_DATA(c), fds, count * sizeof(int));
    }
    ssize_t sent = sendmsg(fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
    (void)sent;
}

/* What comes back: the reply's size, 0 for the end of the connection. Waits. */
static inline ssize_t answer(int fd, void *reply, size_t size)
{
    struct pollfd ready = {.fd = fd, .events = POLLIN};
    assert_int_equal(poll(&ready, 1, 10000), 1);
    ssize_t got = recv(fd, reply, size, 0);
    if (got < 0 && errno == ECONNRESET) /* reported once, before what was sent earlier */
        got = recv(fd, reply, size, 0);
    return got < 0 ? 0 : got;
}

static inline int greeted(void)
{
    struct ringd_msg_hello hello = {
        .head = {.type = RINGD_MSG_HELLO, .serial = 1}, .magic = RINGD_PROTOCOL_MAGIC, .least = 1, .most = 1};
    struct ringd_msg_hello_reply reply;
    int fd = raw_connect();
    assert_true(fd >= 0);
    send_raw(fd, &hello, sizeof(hello), NULL, 0);
    assert_int_equal(answer(fd, &reply, sizeof(reply)), sizeof(reply));
    assert_int_equal(reply.head.status, 0);
    assert_int_equal(reply.head.serial, 1);
    return fd;
}

/* `allocated`: of its bytes. */
static inline int memory_file_of(size_t bytes, size_t allocated, int seals)
{
    int fd = memfd_create("hostile", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    assert_true(fd >= 0 && ftruncate(fd, (off_t)bytes) == 0);
    assert_true(!allocated || fallocate(fd, 0, 0, (off_t)allocated) == 0);
    assert_int_equal(fcntl(fd, F_ADD_SEALS, seals), 0);
    return fd;
}

static inline int memory_file(size_t bytes, int seals)
{
    return memory_file_of(bytes, bytes, seals);
}

static inline unsigned fds_of_daemon(void)
{
    unsigned count = 0;
    char name[64];
    for (unsigned fd = 0; fd < 512; fd++) {
        snprintf(name, sizeof(name), "/proc/%d/fd/%u", (int)daemon_pid, fd);
        char to[8];
        count += readlink(name, to, sizeof(to)) > 0;
    }
    return count;
}

#endif
