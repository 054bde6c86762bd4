/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The inside of a client. Locks: `lock` guards the connection, requests on it, and the list of devices; an
 * `events_lock` is taken with or without it and holds while callbacks run. The mailbox needs none: each slot has one
 * user.
 *
 * An outage has one deadline. Who first finds the daemon away sets it; all others wait until that same moment, and once
 * it has passed nobody waits any more, until an answer or a restored connection has ended the outage.
 */
#ifndef CLIENT_INTERNAL_H
#define CLIENT_INTERNAL_H

#include <pthread.h>

#include <ringd/client.h>

struct ringd_remote {
    struct ringd_client *client;
    uint32_t id;
    struct ringd_msg_add add; /* as it is sent, now and after each loss; its regions are kept up to date */
    uint32_t posted;
    int fds[RINGD_MSG_FDS];
    unsigned fd_count;
    int ring_fd, event_fd, state_fd; /* ours; ring_fd -1 on KVM's */
    struct ringd_ring_page *ring;    /* NULL on KVM's */
    bool ring_dies;                  /* KVM's, and gone with the daemon's one mapping of it */
    struct ringd_state_page *state;
    size_t state_bytes;
    pthread_mutex_t events_lock;
    void (*event)(void *ctx, uint32_t event, uint64_t value);
    void (*output)(void *ctx, const uint8_t *data, size_t len);
    void *ctx;
    uint64_t sequences[RINGD_ACCESS_SLOTS]; /* of accesses by the socket: their own numbers */
};

struct ringd_client {
    struct ringd_client_config config;
    char path[108];
    pthread_mutex_t lock;
    int socket; /* -1: the daemon is away */
    uint32_t serial;
    bool paused;
    bool was_restored;   /* there has been a connection that had all that the client has */
    bool restored;       /* this one has. Written under `lock`, read without: atomic, relaxed; a hint there */
    uint64_t next_try;   /* not before this moment is it tried to connect */
    uint64_t away_until; /* the outage's deadline, 0: there is none. Atomic, relaxed: a moment, nothing hangs on it */
    struct ringd_client_counts counts; /* each atomic, relaxed */
    struct ringd_remote *remotes[RINGD_MSG_DEVICES];
    int mailbox_fd, doorbell;
    struct ringd_mailbox *mailbox;
    uint64_t numbers[RINGD_ACCESS_SLOTS]; /* of the slot's last request; its user's */
    bool given_up[RINGD_ACCESS_SLOTS];    /* that was taken back, and the bit set anew; its user's */
    int notify_fd, timer_fd, poll_fd;
};

/* connection.c. All but the first three: the lock is held. */

/* `ns` from now on, or the end of time. */
uint64_t client_after(uint64_t ns);
/* The daemon has been found away by somebody who waits until `until`: the moment until which anybody waits for it. */
uint64_t connection_outage(struct ringd_client *client, uint64_t until);
/* It has answered. */
static inline void connection_lives(struct ringd_client *client)
{
    if (__builtin_expect(__atomic_load_n(&client->away_until, __ATOMIC_RELAXED) != 0, 0))
        __atomic_store_n(&client->away_until, 0, __ATOMIC_RELAXED);
}

/* Connects and restores all there is, by the moment `until`; one that has passed still leaves a tenth of a second. */
int connection_open(struct ringd_client *client, uint64_t until);
void connection_lost(struct ringd_client *client);
/* Has the daemon gone? Then tries once to reach another. */
void connection_check(struct ringd_client *client);
/* One request and its reply, which is `reply_least` bytes at least; sent again to a successor until config.wait_ns or
 * the outage's deadline have passed. Returns the reply's status. */
int connection_request(struct ringd_client *client, struct ringd_msg *message, size_t size, const int *fds,
                       unsigned fd_count, void *reply, size_t reply_least, size_t reply_size);

/* client.c */
uint64_t client_now(void);
int client_memory_file(const char *name, size_t bytes);
void client_signal(int fd);

static inline void client_count(uint64_t *count)
{
    __atomic_fetch_add(count, 1, __ATOMIC_RELAXED);
}

/* Hands out what the device has published. No lock but `lock` may be held. */
void client_deliver(struct ringd_remote *remote);

#endif
