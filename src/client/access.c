/* SPDX-License-Identifier: BSD-2-Clause */
/* Synchronous accesses by the mailbox. */
#include <errno.h>
#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "client/internal.h"

/* How long a vCPU sleeps before it looks whether the daemon is still there. */
#define LOOK_NS 10000000

/* What `request` is while the slot asks for nothing. */
#define NO_REQUEST UINT64_C(0)

static void post(struct ringd_client *client, unsigned slot, uint64_t request)
{
    struct ringd_mailbox *mailbox = client->mailbox;
    __atomic_store_n(&mailbox->slots[slot].request, request, __ATOMIC_RELEASE);
    __atomic_fetch_or(&mailbox->pending, UINT64_C(1) << slot, __ATOMIC_SEQ_CST);
    __atomic_thread_fence(__ATOMIC_SEQ_CST); /* pairs with the daemon's, between `wanted` and `pending` */
    if (__atomic_load_n(&mailbox->wanted, __ATOMIC_RELAXED) &&
        __atomic_exchange_n(&mailbox->wanted, 0, __ATOMIC_RELAXED))
        client_signal(client->doorbell);
}

/* Its low half is never zero: that is no request, and what `done` and `begun` start with. */
static uint64_t number_after(uint64_t request)
{
    return (uint32_t)(request + 1) ? request + 1 : request + 2;
}

static bool is_done(const struct ringd_mail *mail, uint64_t request)
{
    return __atomic_load_n(&mail->done, __ATOMIC_ACQUIRE) == (uint32_t)request;
}

/* An answer that has not come after this many looks (2 us or so) may wait for our CPU. */
#define ROUNDS_BEFORE_YIELD 4u

static bool spin(const struct ringd_client *client, const struct ringd_mail *mail, uint64_t request)
{
    uint64_t until = client_now() + client->config.spin_ns;
    unsigned rounds = 0;
    do {
        if (rounds++ >= ROUNDS_BEFORE_YIELD)
            sched_yield();
        for (unsigned i = 0; i < 16; i++) {
            if (is_done(mail, request))
                return true;
            __builtin_ia32_pause();
        }
    } while (client_now() < until);
    return false;
}

static void sleep_on(struct ringd_mail *mail, uint64_t request, uint64_t most_ns)
{
    uint32_t before = __atomic_load_n(&mail->done, __ATOMIC_ACQUIRE);
    struct timespec look = {.tv_nsec = (long)(most_ns < LOOK_NS ? most_ns : LOOK_NS)};
    if (before != (uint32_t)request)
        syscall(SYS_futex, &mail->done, FUTEX_WAIT, before, &look, NULL, 0);
}

/* Somebody has to see whether the daemon is there; whoever holds the lock is at it already. */
static void check(struct ringd_client *client)
{
    if (pthread_mutex_trylock(&client->lock))
        return;
    connection_check(client);
    pthread_mutex_unlock(&client->lock);
}

/* Nobody waits past this moment: the outage's deadline, or our own while the daemon seems to be there. */
static uint64_t limit(struct ringd_client *client, uint64_t own)
{
    uint64_t away = __atomic_load_n(&client->away_until, __ATOMIC_RELAXED);
    if (!away && !__atomic_load_n(&client->restored, __ATOMIC_RELAXED))
        away = connection_outage(client, own);
    return away && away < own ? away : own;
}

static int wait_for(struct ringd_client *client, struct ringd_mail *mail, uint64_t request)
{
    uint64_t own = client_after(client->config.wait_ns);
    bool done = false, over = false;
    __atomic_store_n(&mail->sleeping, 1, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_SEQ_CST); /* pairs with the daemon's, between `done` and `sleeping` */
    while (!done) {
        uint64_t now = client_now(), until = limit(client, own);
        if (now < until)
            sleep_on(mail, request, until - now);
        else if (over)
            break;
        else
            over = true; /* but for one look whether the daemon is back by now */
        done = is_done(mail, request);
        if (!done)
            check(client);
    }
    __atomic_store_n(&mail->sleeping, 0, __ATOMIC_RELAXED);
    if (done)
        return 0;
    (void)connection_outage(client, own); /* it may be there and say nothing */
    return -ETIMEDOUT;
}

/*
 * The request is taken back, so whoever looks at the slot from now on, a successor too, has nothing to do. A daemon
 * that has taken it says so in `begun` and looks at `request` again before it begins: one of us sees the other's word.
 * The bit tells whether somebody comes by. Returns whether the answer was there all the same.
 */
static bool give_up(struct ringd_client *client, unsigned slot, uint64_t request, bool write)
{
    struct ringd_mail *mail = &client->mailbox->slots[slot];
    post(client, slot, NO_REQUEST); /* ends with a full fence, which pairs with the daemon's behind `begun` */
    uint32_t begun = __atomic_load_n(&mail->begun, __ATOMIC_RELAXED);
    if (is_done(mail, request))
        return true;
    if (begun == (uint32_t)request)
        client_count(&client->counts.in_doubt);
    client_count(write ? &client->counts.writes_dropped : &client->counts.reads_unanswered);
    client->given_up[slot] = true;
    return false;
}

/* Has the bit been taken that was set after giving up? Then the daemon is back. */
static void look_after(struct ringd_client *client, unsigned slot)
{
    if (!(__atomic_load_n(&client->mailbox->pending, __ATOMIC_RELAXED) >> slot & 1))
        connection_lives(client);
    client->given_up[slot] = false;
}

static int access_by_mail(struct ringd_remote *remote, unsigned slot, const struct ringd_mail *wanted, uint64_t *value)
{
    struct ringd_client *client = remote->client;
    if (slot >= RINGD_ACCESS_SLOTS || wanted->width > 8)
        return -EINVAL;
    struct ringd_mail *mail = &client->mailbox->slots[slot];
    if (__builtin_expect(client->given_up[slot], 0))
        look_after(client, slot);
    uint64_t request = client->numbers[slot] = number_after(client->numbers[slot]);
    /* Who has seen any of the fields sees that the request before is no more. */
    __atomic_store_n(&mail->request, NO_REQUEST, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_RELEASE);
    __atomic_store_n(&mail->device, remote->id, __ATOMIC_RELAXED);
    __atomic_store_n(&mail->region, wanted->region, __ATOMIC_RELAXED);
    __atomic_store_n(&mail->width, wanted->width, __ATOMIC_RELAXED);
    __atomic_store_n(&mail->write, wanted->write, __ATOMIC_RELAXED);
    __atomic_store_n(&mail->offset, wanted->offset, __ATOMIC_RELAXED);
    __atomic_store_n(&mail->value, wanted->value, __ATOMIC_RELAXED);
    post(client, slot, request);
    int ret = spin(client, mail, request) ? 0 : wait_for(client, mail, request);
    if (ret && !give_up(client, slot, request, wanted->write))
        return ret;
    connection_lives(client);
    *value = __atomic_load_n(&mail->result, __ATOMIC_RELAXED);
    ret = __atomic_load_n(&mail->status, __ATOMIC_RELAXED);
    client_deliver(remote);
    return ret;
}

int ringd_client_read(struct ringd_remote *remote, unsigned slot, unsigned region, uint64_t offset, unsigned width,
                      uint64_t *value)
{
    struct ringd_mail mail = {.region = (uint8_t)region, .width = (uint8_t)width, .offset = offset};
    int ret = region > UINT8_MAX || width > 8 ? -EINVAL : access_by_mail(remote, slot, &mail, value);
    if (ret)
        *value = width && width < 8 ? (UINT64_C(1) << (width * 8)) - 1 : UINT64_MAX;
    return ret;
}

int ringd_client_write(struct ringd_remote *remote, unsigned slot, unsigned region, uint64_t offset, unsigned width,
                       uint64_t value)
{
    struct ringd_mail mail = {
        .region = (uint8_t)region, .width = (uint8_t)width, .write = 1, .offset = offset, .value = value};
    uint64_t none;
    return region > UINT8_MAX || width > 8 ? -EINVAL : access_by_mail(remote, slot, &mail, &none);
}
