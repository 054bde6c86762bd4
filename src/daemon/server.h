/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The daemon's inside: one loop, a session for each client, a ringd for each device. Everything runs on one thread, so
 * there is no lock here; no callback waits, and what one client is given at a turn of the loop is bounded.
 */
#ifndef DAEMON_SERVER_H
#define DAEMON_SERVER_H

#include <ev.h>
#include <stdbool.h>

#include <ringd/protocol.h>
#include <ringd/ringd.h>

#include "daemon/types.h"

#define SERVER_HELLO_SECONDS 5.0

struct server_config {
    unsigned max_clients;
    unsigned spin_us; /* how long the mailbox is looked at after an answer, before the daemon sleeps */
    uint64_t types;   /* bit n: hosted_types[n] is offered */
    uint64_t max_replay_latency_ns;
    bool verbose;
};

struct session;

struct device {
    struct session *session;
    unsigned id;
    struct hosted hosted;
    struct ringd *rd;
    struct ringd_dev *dev;
    int irq_fds[RINGD_MSG_IRQS];
    ev_io io; /* the ringd's poll fd */
    uint64_t accesses;
};

struct mailbox {
    struct ringd_mailbox *page; /* NULL: none */
    int memfd, doorbell;
    ev_io io;
};

struct server {
    struct ev_loop *loop;
    struct server_config config;
    int listen_fd;
    ev_io accept;
    struct session *sessions; /* a list */
    unsigned session_count, clients_ever;
};

struct session {
    struct server *server;
    struct session *next;
    int fd;
    unsigned number; /* for the log */
    bool greeted, paused;
    ev_io io;
    ev_timer hello;
    struct device *devices[RINGD_MSG_DEVICES];
    struct mailbox mailbox;
};

/* server.c: runs until SIGTERM or SIGINT. The socket is the server's to close, not to unlink. */
int server_run(const struct server_config *config, int listen_fd);
/* One line for whoever reads the log. */
void server_log(const struct session *session, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* session.c */
/* Takes the connected socket. -ENOMEM. */
int session_create(struct server *server, int fd, unsigned number);
void session_destroy(struct session *session);

/* request.c: one message of `size` bytes with descriptors; each one that is taken is replaced by -1. Leaves the reply,
 * at most REQUEST_REPLY_MOST bytes, and returns its size; -errno: the client has broken the protocol. */
#define REQUEST_REPLY_MOST sizeof(struct ringd_msg_state)
int request_serve(struct session *session, const void *message, size_t size, int *fds, unsigned fd_count, void *reply);

/* device.c */
/* 0 or -errno; the reply's fields are filled in either case. */
int device_add(struct session *session, const struct ringd_msg_add *add, int *fds, unsigned fd_count,
               struct ringd_msg_add_reply *reply);
void device_remove(struct device *device);
/* NULL for a number that is not in use. */
struct device *device_find(const struct session *session, uint32_t id);

/* mailbox.c */
int mailbox_open(struct session *session, int memfd, int doorbell);
void mailbox_close(struct session *session);
/* Answers what stands in the mailbox, each slot at most once a turn, and looks on for the time of config.spin_us. */
void mailbox_serve(struct session *session);

#endif
