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

static void sleep_on(struct ringd_mail *mail, uint64_t request)
{
    uint32_t before = __atomic_load_n(&mail->done, __ATOMIC_ACQUIRE);
    struct timespec look = {.tv_nsec = LOOK_NS};
    if (before != (uint32_t)request)
        syscall(SYS_futex, &mail->done, FUTEX_WAIT, before, &look, NULL, 0);
}

static int wait_for(struct ringd_client *client, struct ringd_mail *mail, uint64_t request)
{
    uint64_t until = client_now() + client->config.wait_ns;
    int ret = 0;
    __atomic_store_n(&mail->sleeping, 1, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_SEQ_CST); /* pairs with the daemon's, between `done` and `sleeping` */
    for (;;) {
        sleep_on(mail, request);
        if (is_done(mail, request))
            break;
        if (client_now() >= until) {
            ret = -ETIMEDOUT;
            break;
        }
        /* Whoever holds the lock is at it already. */
        if (pthread_mutex_trylock(&client->lock) == 0) {
            connection_check(client);
            pthread_mutex_unlock(&client->lock);
        }
    }
    __atomic_store_n(&mail->sleeping, 0, __ATOMIC_RELAXED);
    return ret;
}

static int access_by_mail(struct ringd_remote *remote, unsigned slot, const struct ringd_mail *wanted, uint64_t *value)
{
    struct ringd_client *client = remote->client;
    if (slot >= RINGD_ACCESS_SLOTS || wanted->width > 8)
        return -EINVAL;
    struct ringd_mail *mail = &client->mailbox->slots[slot];
    uint64_t request = mail->request + 1; /* our own word: nobody else stores it */
    if (!(uint32_t)request)
        request++; /* its low half is never zero, as that is what `done` begins with */
    __atomic_store_n(&mail->device, remote->id, __ATOMIC_RELAXED);
    __atomic_store_n(&mail->region, wanted->region, __ATOMIC_RELAXED);
    __atomic_store_n(&mail->width, wanted->width, __ATOMIC_RELAXED);
    __atomic_store_n(&mail->write, wanted->write, __ATOMIC_RELAXED);
    __atomic_store_n(&mail->offset, wanted->offset, __ATOMIC_RELAXED);
    __atomic_store_n(&mail->value, wanted->value, __ATOMIC_RELAXED);
    post(client, slot, request);
    int ret = spin(client, mail, request) ? 0 : wait_for(client, mail, request);
    if (ret)
        return ret;
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
