/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The mailbox from the daemon's side. What stands in it is the client's word: each field is loaded once and checked by
 * whoever uses it (device_find(), ringd_access()). A client that breaks its rules gets odd answers, and only it.
 */
#include <errno.h>
#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "daemon/server.h"
#include "ringd/source.h"

#define MAILBOX_FDS 2u /* memory and doorbell */
#define WAKE_MOST   1u /* a slot has one who waits; more would be work that a client puts on us */

#define load(p) __atomic_load_n((p), __ATOMIC_RELAXED)

static void on_doorbell(struct ev_loop *loop, ev_io *io, int events)
{
    (void)loop;
    (void)events;
    struct session *session = io->data;
    source_silence(session->mailbox.doorbell);
    mailbox_wake(&session->mailbox);
    turn_join(session);
}

/*
 * A client that has given a request up may be filling the slot anew while we read it. It has taken `request` back
 * before that, so if `request` is still the same behind the fields, they belong to it. If not, the bit of what is to
 * come is yet to be set.
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
    __atomic_thread_fence(__ATOMIC_ACQUIRE); /* pairs with the client's release fence behind its taking back */
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
    if (map == MAP_FAILED) {
        ret = -errno;
        session_discharge(session, sizeof(struct ringd_mailbox), MAILBOX_FDS);
        return ret;
    }
    *mailbox = (struct mailbox){.page = map, .memfd = memfd, .doorbell = doorbell, .file = file};
    ev_io_init(&mailbox->io, on_doorbell, doorbell, EV_READ);
    mailbox->io.data = session;
    ev_io_start(session->server->loop, &mailbox->io);
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
    ev_io_stop(session->server->loop, &mailbox->io);
    munmap(mailbox->page, sizeof(struct ringd_mailbox));
    close(mailbox->memfd);
    close(mailbox->doorbell);
    session_discharge(session, sizeof(struct ringd_mailbox), MAILBOX_FDS);
    *mailbox = (struct mailbox){0};
}
