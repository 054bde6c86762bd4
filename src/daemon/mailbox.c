/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The mailbox from the daemon's side. What stands in it is the client's word: each field is loaded once and checked by
 * whoever uses it (device_find(), ringd_access()). A client that breaks its rules gets odd answers, and only it.
 */
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/cycles.h"
#include "daemon/server.h"
#include "ringd/source.h"

#define load(p) __atomic_load_n((p), __ATOMIC_RELAXED)

static void on_doorbell(struct ev_loop *loop, ev_io *io, int events)
{
    (void)loop;
    (void)events;
    struct session *session = io->data;
    source_silence(session->mailbox.doorbell);
    mailbox_serve(session);
}

static void answer(struct session *session, unsigned index)
{
    struct ringd_mail *mail = &session->mailbox.page->slots[index];
    uint64_t request = __atomic_load_n(&mail->request, __ATOMIC_ACQUIRE), value = 0;
    if ((uint32_t)request == load(&mail->done))
        return;
    struct ringd_access access = {
        .slot = index,
        .sequence = request,
        .write = load(&mail->write),
        .region = load(&mail->region),
        .width = load(&mail->width),
        .offset = load(&mail->offset),
        .value = load(&mail->value),
    };
    struct device *device = device_find(session, load(&mail->device));
    int status = device ? ringd_access(device->dev, &access, &value) : -ENODEV;
    if (device)
        device->accesses++;
    __atomic_store_n(&mail->result, value, __ATOMIC_RELAXED);
    __atomic_store_n(&mail->status, status, __ATOMIC_RELAXED);
    __atomic_store_n(&mail->done, (uint32_t)request, __ATOMIC_RELEASE);
    __atomic_thread_fence(__ATOMIC_SEQ_CST); /* pairs with the client's, between `sleeping` and `done` */
    if (load(&mail->sleeping))
        syscall(SYS_futex, &mail->done, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

static bool answer_all(struct session *session, uint64_t slots)
{
    for (uint64_t left = slots; left; left &= left - 1)
        answer(session, (unsigned)__builtin_ctzll(left));
    return slots != 0;
}

static uint64_t take_pending(struct mailbox *mailbox)
{
    return load(&mailbox->page->pending) ? __atomic_exchange_n(&mailbox->page->pending, 0, __ATOMIC_ACQ_REL) : 0;
}

/* The bound on a turn: a client that always has one more request would otherwise have the daemon for itself. */
#define TURN_ANSWERS       16
#define LOOKS_BEFORE_YIELD 32 /* 2 us or so */

void mailbox_serve(struct session *session)
{
    struct mailbox *mailbox = &session->mailbox;
    uint64_t spin_ns = (uint64_t)session->server->config.spin_us * 1000, until = monotonic_ns() + spin_ns;
    for (unsigned turns = 0, looks = 0; turns < TURN_ANSWERS;) {
        if (answer_all(session, take_pending(mailbox))) {
            turns++;
            looks = 0;
            until = monotonic_ns() + spin_ns;
        } else if (monotonic_ns() >= until) {
            break;
        } else if (++looks < LOOKS_BEFORE_YIELD) {
            __builtin_ia32_pause();
        } else {
            sched_yield(); /* whoever is to ask next may wait for our CPU */
        }
    }
    __atomic_store_n(&mailbox->page->wanted, 1, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_SEQ_CST); /* pairs with the client's, between `pending` and `wanted` */
    if (load(&mailbox->page->pending))
        source_signal(mailbox->doorbell); /* set before the client could see that; or more than a turn's worth */
}

int mailbox_open(struct session *session, int memfd, int doorbell)
{
    struct mailbox *mailbox = &session->mailbox;
    if (mailbox->page)
        return -EEXIST;
    if (source_check_memfd(memfd, sizeof(struct ringd_mailbox), sizeof(struct ringd_mailbox), NULL) ||
        source_check_eventfd(doorbell))
        return -EINVAL;
    void *map = mmap(NULL, sizeof(struct ringd_mailbox), PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0);
    if (map == MAP_FAILED)
        return -errno;
    *mailbox = (struct mailbox){.page = map, .memfd = memfd, .doorbell = doorbell};
    ev_io_init(&mailbox->io, on_doorbell, doorbell, EV_READ);
    mailbox->io.data = session;
    ev_io_start(session->server->loop, &mailbox->io);
    /* A predecessor may have taken bits whose requests it did not come to. */
    answer_all(session, UINT64_MAX);
    mailbox_serve(session);
    return 0;
}

void mailbox_close(struct session *session)
{
    struct mailbox *mailbox = &session->mailbox;
    if (!mailbox->page)
        return;
    ev_io_stop(session->server->loop, &mailbox->io);
    munmap(mailbox->page, sizeof(struct ringd_mailbox));
    close(mailbox->memfd);
    close(mailbox->doorbell);
    mailbox->page = NULL;
}
