/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The inside of a client. Locks: `lock` guards the connection, requests on it, and the list of devices; an
 * `events_lock` is taken with or without it and holds while callbacks run. The mailbox needs none: each slot has one
 * user.
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
    bool restored, was_restored; /* the connection has all that the client has; there has been one that had */
    uint64_t reconnects;         /* atomic, relaxed */
    struct ringd_remote *remotes[RINGD_MSG_DEVICES];
    int mailbox_fd, doorbell;
    struct ringd_mailbox *mailbox;
    int notify_fd, timer_fd, poll_fd;
};

/* connection.c. The lock is held. */
int connection_open(struct ringd_client *client);
void connection_lost(struct ringd_client *client);
/* Has the daemon gone? Then tries once to reach another. */
void connection_check(struct ringd_client *client);
/* One request and its reply, which is `reply_least` bytes at least; sent again to a successor until config.wait_ns have
 * passed. Returns the reply's status. */
int connection_request(struct ringd_client *client, struct ringd_msg *message, size_t size, const int *fds,
                       unsigned fd_count, void *reply, size_t reply_least, size_t reply_size);

/* client.c */
uint64_t client_now(void);
int client_memory_file(const char *name, size_t bytes);
void client_signal(int fd);

/* Hands out what the device has published. No lock but `lock` may be held. */
void client_deliver(struct ringd_remote *remote);

#endif
