/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The mailbox from the daemon's side. What stands in it is the client's word: each field is loaded once and checked by
 * whoever uses it (device_find(), ringd_access()). A client that breaks its rules gets odd answers, and only it.
 */
#include <errno.h>
#include <linux/futex.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "daemon/server.h"
#include "ringd/source.h"

#define MAILBOX_FDS 2u /* memory and doorbell */
#define WAKE_MOST   1u /* a slot has one who waits; more would be work that a client puts on us */

#define load(p) __atomic_load_n((p), __ATOMIC_RELAXED)

#define RUNG_MOST 64 /* at a time; the set stays readable for the others */

/*
 * An epoll set of our own: a doorbell lives on with the client when we close it, and an entry that its owner cannot
 * take out any more, as its number is gone, is reported until the set is made anew. libev takes entries out behind
 * close().
 */
static void on_doorbells(struct ev_loop *loop, ev_io *io, int events)
{
    (void)loop;
    (void)events;
    struct server *server = io->data;
    struct epoll_event rung[RUNG_MOST];
    int count = epoll_wait(server->doorbells, rung, RUNG_MOST, 0);
    for (int i = 0; i < count; i++) {
        struct session *session = rung[i].data.ptr;
        source_silence(session->mailbox.doorbell);
        mailbox_wake(&session->mailbox);
        turn_join(session);
    }
}

int doorbells_open(struct server *server)
{
    server->doorbells = epoll_create1(EPOLL_CLOEXEC);
    if (server->doorbells < 0)
        return -errno;
    ev_io_init(&server->rung, on_doorbells, server->doorbells, EV_READ);
    server->rung.data = server;
    ev_io_start(server->loop, &server->rung);
    return 0;
}

void doorbells_close(struct server *server)
{
    ev_io_stop(server->loop, &server->rung);
    close(server->doorbells);
}

/* 0 or -errno, as epoll_ctl(2). */
static int watch_doorbell(struct session *session, int doorbell)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = session};
    return epoll_ctl(session->server->doorbells, EPOLL_CTL_ADD, doorbell, &event) < 0 ? -errno : 0;
}

/*
 * A client that has given a request up may be filling the slot anew while we read it. It has taken `request` back
 * before that, so if `request` is still the same behind the fields, they belong to it. If not, the bit of what is to
 * come is yet to be set. `begun` goes before that look: a client that has taken the request back and does not find
 * itself there knows that we have left it.
 */
static void answer(struct session *session, unsigned index)
{
    struct ringd_mail *mail = &session->mailbox.page->slots[index];
    uint64_t request = __atomic_load_n(&mail->request, __ATOMIC_ACQUIRE), value = 0;
    if (!(uint32_t)request || (uint32_t)request == load(&mail->done))
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
    uint32_t id = load(&mail->device);
    __atomic_store_n(&mail->begun, (uint32_t)request, __ATOMIC_RELAXED);
    /* Pairs with the client's fences behind its taking back: release, before the fields; full, before `begun`. */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (load(&mail->request) != request)
        return;
    struct device *device = device_find(session, id);
    int status = device ? ringd_access(device->dev, &access, &value) : -ENODEV;
    if (device)
        device->accesses++;
    __atomic_store_n(&mail->result, value, __ATOMIC_RELAXED);
    __atomic_store_n(&mail->status, status, __ATOMIC_RELAXED);
    __atomic_store_n(&mail->done, (uint32_t)request, __ATOMIC_RELEASE);
    __atomic_thread_fence(__ATOMIC_SEQ_CST); /* pairs with the client's, between `sleeping` and `done` */
    if (load(&mail->sleeping))
        syscall(SYS_futex, &mail->done, FUTEX_WAKE, WAKE_MOST, NULL, NULL, 0);
}

bool mailbox_has_mail(const struct mailbox *mailbox)
{
    return mailbox->taken || (mailbox->awake && load(&mailbox->page->pending));
}

/* By turns among the slots, too. */
bool mailbox_serve_next(struct session *session)
{
    struct mailbox *mailbox = &session->mailbox;
    if (!mailbox_has_mail(mailbox))
        return false;
    if (!mailbox->taken)
        mailbox->taken = __atomic_exchange_n(&mailbox->page->pending, 0, __ATOMIC_ACQ_REL);
    uint64_t behind = mailbox->taken & (UINT64_MAX << 1 << mailbox->last), from = behind ? behind : mailbox->taken;
    if (!from)
        return false;
    mailbox->last = (unsigned)__builtin_ctzll(from);
    mailbox->taken &= ~(UINT64_C(1) << mailbox->last);
    answer(session, mailbox->last);
    return true;
}

void mailbox_wake(struct mailbox *mailbox)
{
    mailbox->awake = true;
    __atomic_store_n(&mailbox->page->wanted, 0, __ATOMIC_RELAXED);
}

void mailbox_sleep(struct mailbox *mailbox)
{
    mailbox->awake = false;
    __atomic_store_n(&mailbox->page->wanted, 1, __ATOMIC_RELAXED);
}

int mailbox_open(struct session *session, int memfd, int doorbell)
{
    struct mailbox *mailbox = &session->mailbox;
    if (mailbox->page)
        return -EEXIST;
    if (source_check_memfd(memfd, sizeof(struct ringd_mailbox), sizeof(struct ringd_mailbox), NULL) ||
        source_check_eventfd(doorbell))
        return -EINVAL;
    const struct file_id file = file_id_of(memfd);
    int ret = session_claim(session, &file);
    if (!ret)
        ret = session_charge(session, sizeof(struct ringd_mailbox), MAILBOX_FDS);
    if (ret)
        return ret;
    void *map = mmap(NULL, sizeof(struct ringd_mailbox), PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0);
    ret = map == MAP_FAILED ? -errno : watch_doorbell(session, doorbell);
    if (ret) {
        if (map != MAP_FAILED)
            munmap(map, sizeof(struct ringd_mailbox));
        session_discharge(session, sizeof(struct ringd_mailbox), MAILBOX_FDS);
        return ret;
    }
    *mailbox = (struct mailbox){.page = map, .memfd = memfd, .doorbell = doorbell, .file = file};
    mailbox->taken = UINT64_MAX; /* a predecessor may have taken bits whose requests it did not come to */
    mailbox_wake(mailbox);
    turn_join(session);
    return 0;
}

/* Both descriptors are known to be closed in no time. */
void mailbox_close(struct session *session)
{
    struct mailbox *mailbox = &session->mailbox;
    if (!mailbox->page)
        return;
    (void)epoll_ctl(session->server->doorbells, EPOLL_CTL_DEL, mailbox->doorbell, NULL);
    munmap(mailbox->page, sizeof(struct ringd_mailbox));
    close(mailbox->memfd);
    close(mailbox->doorbell);
    session_discharge(session, sizeof(struct ringd_mailbox), MAILBOX_FDS);
    *mailbox = (struct mailbox){0};
}
