/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Whose turn it is. Sessions that have something to do stand in a list; a round gives each of them its share of time,
 * in which its mailbox, its rings and its messages are served one piece at a time, each by turns. Whoever had more than
 * its share, as a piece is not interrupted, waits that much longer in the rounds that follow (deficit round robin).
 *
 * Mailboxes are looked at for a while after an answer, all of them at once, before their clients have to ring: that
 * spares both sides the system calls, and costs the time of one look however many clients there are.
 */
#include <sched.h>

#include "common/cycles.h"
#include "daemon/server.h"

/* An access that finds its ring full takes about 10 us: there is no point in a share below that. */
#define SHARE_NS     20000
#define MOST_DEBT_NS 100000 /* a turn that seems longer was one in which we had no CPU */
/* After so long the descriptors are looked at, between two rounds. */
#define SLICE_NS           10000
#define LOOKS_BEFORE_YIELD 32 /* 2 us or so */

void turn_join(struct session *session)
{
    struct server *server = session->server;
    if (session->turn_at)
        return;
    session->turn_next = server->turns;
    session->turn_at = &server->turns;
    if (server->turns)
        server->turns->turn_at = &session->turn_next;
    server->turns = session;
}

void turn_leave(struct session *session)
{
    if (!session->turn_at)
        return;
    *session->turn_at = session->turn_next;
    if (session->turn_next)
        session->turn_next->turn_at = session->turn_at;
    session->turn_at = NULL;
}

static bool has_work(const struct session *session)
{
    return session->ready || session->readable || mailbox_has_mail(&session->mailbox);
}

/* One piece of each kind. */
enum served { SERVED_NOTHING, SERVED, SERVED_AND_GONE };

static enum served serve_piece(struct session *session, bool *mail)
{
    bool any = mailbox_serve_next(session);
    *mail |= any;
    any |= device_serve_next(session);
    if (session->readable) {
        if (session_serve(session))
            return SERVED_AND_GONE;
        any = true;
    }
    return any ? SERVED : SERVED_NOTHING;
}

/* Returns the time when it is over. */
static uint64_t serve_share(struct session *session, uint64_t now)
{
    struct server *server = session->server;
    uint64_t until = now + (uint64_t)session->credit_ns;
    bool mail = false;
    for (enum served served = SERVED; served == SERVED && now < until; now = monotonic_ns()) {
        served = serve_piece(session, &mail);
        if (served == SERVED_AND_GONE)
            return monotonic_ns(); /* what its end took is not the next one's */
    }
    session->credit_ns = (int64_t)(until - now);
    if (session->credit_ns < -MOST_DEBT_NS)
        session->credit_ns = -MOST_DEBT_NS;
    if (mail)
        server->spin_until_ns = now + (uint64_t)server->config.spin_us * 1000;
    return now;
}

/* Each session once. Had any something to do? One that still owes has. */
static bool go_round(struct server *server, uint64_t now)
{
    bool any = false;
    for (struct session *session = server->turns, *next; session; session = next) {
        next = session->turn_next; /* no session ends in another's turn */
        if (!has_work(session))
            continue;
        any = true;
        session->credit_ns += SHARE_NS;
        if (session->credit_ns > SHARE_NS)
            session->credit_ns = SHARE_NS;
        if (session->credit_ns > 0)
            now = serve_share(session, now);
    }
    return any;
}

/* All say that they have to be rung for, and are looked at once more. Did something come in between? */
static bool settle(struct server *server)
{
    bool any = false;
    for (struct session *session = server->turns; session; session = session->turn_next)
        if (session->mailbox.awake)
            mailbox_sleep(&session->mailbox);
    __atomic_thread_fence(__ATOMIC_SEQ_CST); /* pairs with the client's, between `pending` and `wanted` */
    for (struct session *session = server->turns, *next; session; session = next) {
        next = session->turn_next;
        if (session->mailbox.page && __atomic_load_n(&session->mailbox.page->pending, __ATOMIC_RELAXED)) {
            mailbox_wake(&session->mailbox);
            any = true;
        } else {
            turn_leave(session);
        }
    }
    return any;
}

static void look_again(struct server *server)
{
    if (++server->looks < LOOKS_BEFORE_YIELD)
        __builtin_ia32_pause();
    else
        sched_yield(); /* whoever is to ask next may wait for our CPU */
}

bool turn_serve(struct server *server)
{
    if (!server->turns)
        return false;
    for (uint64_t now = monotonic_ns(), end = now + SLICE_NS; now < end; now = monotonic_ns()) {
        if (go_round(server, now))
            server->looks = 0;
        else if (now >= server->spin_until_ns)
            return settle(server);
        else
            look_again(server);
    }
    return true;
}
