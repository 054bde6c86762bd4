/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The daemon's inside: one loop, a session for each client, a ringd for each device. Everything runs on one thread but
 * the closing of what clients have sent (closer.h), so there is no lock here. No callback of the loop serves anybody:
 * it notes that a session has something to do, and turn.c gives each of these its share, by turns.
 */
#ifndef DAEMON_SERVER_H
#define DAEMON_SERVER_H

#include <ev.h>
#include <stdbool.h>

#include <ringd/protocol.h>
#include <ringd/ringd.h>

#include "daemon/closer.h"
#include "daemon/types.h"

#define SERVER_HELLO_SECONDS 5.0
/* Connections that are told that they are too many may have sent something that takes time to close. Beyond so many of
 * these no more are taken on. */
#define SERVER_REFUSED_MOST 64u

struct server_config {
    unsigned max_clients;
    unsigned spin_us; /* how long the mailbox is looked at after an answer, before the daemon sleeps */
    uint64_t types;   /* bit n: hosted_types[n] is offered */
    uint64_t max_replay_latency_ns;
    bool verbose;
};

struct session;

/* Which file a descriptor is of. Node 0: none, or not a memory file. */
struct file_id {
    uint64_t device, node;
};

#define DEVICE_FILES 2u /* ring and state */

struct device {
    struct session *session;
    unsigned id;
    struct hosted hosted;
    struct ringd *rd;
    struct ringd_dev *dev;
    int irq_fds[RINGD_MSG_IRQS];
    int kvm_ring_fd; /* a duplicate of KVM's ring: its last descriptor is not ours to close here; -1: none */
    struct file_id files[DEVICE_FILES];
    size_t shared_bytes;
    unsigned fds; /* of the client's */
    ev_io io;     /* the ringd's poll fd */
    uint64_t accesses;
};

struct mailbox {
    struct ringd_mailbox *page; /* NULL: none */
    int memfd, doorbell;
    struct file_id file;
    bool awake;     /* looked at by turns; else the client has to ring */
    uint64_t taken; /* bits of `pending` that are ours now */
    unsigned last;  /* the slot that was answered last */
};

struct server {
    struct ev_loop *loop;
    struct server_config config;
    int listen_fd;
    ev_io accept;
    ev_timer accept_again; /* when there are descriptors again, perhaps */
    struct closer *closer; /* NULL: what clients sent is closed at once; for tests of the messages alone */
    ev_io closed;
    int doorbells; /* an epoll set of all mailboxes' */
    ev_io rung;
    bool stop;
    struct session *sessions; /* a list of those that are connected */
    unsigned session_count;   /* with those that have gone and whose descriptors are still being closed */
    unsigned refused_count;   /* connections too many that are still being closed */
    unsigned clients_ever;
    struct session *turns;  /* a list of those that have, or may soon have, something to do */
    uint64_t spin_until_ns; /* how long mailboxes are looked at without an answer */
    unsigned looks;         /* since something was found last */
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
    size_t shared_bytes; /* of the memory files that are in use */
    unsigned fds;        /* that are in use */

    /* turn.c */
    struct session *turn_next, **turn_at; /* turn_at NULL: not in the list */
    int64_t credit_ns;                    /* what is left of its share; below 0: it has had more */
    bool readable;                        /* there is a message */
    uint32_t ready;                       /* bit n: device n has something to do */
    unsigned last_ready;                  /* the device that was served last */

    /* What is to be closed by the closer: collected here, and handed over when the batch before is done. */
    int foreign[CLOSING_MOST];
    unsigned foreign_count;
    struct closing closing;
    bool closing_now, gone, refused;
    bool ended; /* nothing is left of it but its place and its connection, which ends at its next turn */
};

/* server.c: runs until SIGTERM or SIGINT. The socket is the caller's. */
int server_run(const struct server_config *config, int listen_fd, struct closer *closer);
/* One line for whoever reads the log. */
void server_log(const struct session *session, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* session.c */
/* Takes the connected socket. -ENOMEM. */
int session_create(struct server *server, int fd, unsigned number);
/* Frees all that the client had. Its place among the clients is free when its descriptors are closed. */
void session_destroy(struct session *session);
/*
 * -EBUSY: somebody has this file in use, here. Two who replay one ring, or commit to one state, each with an index of
 * its own, would undo each other's work. One whose connection has ended, which we may not have come to yet, is no such
 * user: what it had is finished and taken away first, as at its end. `session` asks.
 */
int session_claim(struct session *session, const struct file_id *file);
/* Serves one message, if there is one. Not 0: the session is no more. */
int session_serve(struct session *session);
/* Closes a descriptor that the client sent, here if that takes no time, else by the closer, which session_flush() sets
 * to it. No more than CLOSING_MOST from one flush to the next. */
void session_let_go(struct session *session, int fd);
void session_flush(struct session *session);
/* A batch is closed. */
void session_closed(struct closing *batch);
/* Closes a connection of which nothing has been read. */
void session_refuse(struct server *server, int fd);
/* There is room again: takes on connections, if that has stopped. */
void server_accept(struct server *server);

/* request.c: one message of `size` bytes with descriptors; each one that is taken is replaced by -1. Leaves the reply,
 * at most REQUEST_REPLY_MOST bytes, and returns its size; -errno: the client has broken the protocol. */
#define REQUEST_REPLY_MOST sizeof(struct ringd_msg_state)
int request_serve(struct session *session, const void *message, size_t size, int *fds, unsigned fd_count, void *reply);

/* device.c */
/* 0 or -errno; the reply's fields are filled in either case. */
int device_add(struct session *session, const struct ringd_msg_add *add, int *fds, unsigned fd_count,
               struct ringd_msg_add_reply *reply);
void device_remove(struct device *device);
/* Of a descriptor that a client has sent, whatever it is. */
struct file_id file_id_of(int fd);
/* NULL for a number that is not in use. */
struct device *device_find(const struct session *session, uint32_t id);
/* Replays part of the ring of one device that is ready, or runs its timers. False: none is. */
bool device_serve_next(struct session *session);

/* limits: of what a client has in use. -EDQUOT, -EMFILE, or 0 and it is added. session.c */
int session_charge(struct session *session, size_t bytes, unsigned fds);
void session_discharge(struct session *session, size_t bytes, unsigned fds);

/* mailbox.c */
/* The set of doorbells, before the first mailbox and after the last. 0 or -errno. */
int doorbells_open(struct server *server);
void doorbells_close(struct server *server);
int mailbox_open(struct session *session, int memfd, int doorbell);
void mailbox_close(struct session *session);
/* Is there a request? Looks at the mailbox only while it is awake. */
bool mailbox_has_mail(const struct mailbox *mailbox);
/* Answers one request. False: there is none. */
bool mailbox_serve_next(struct session *session);
/* The client need not ring from now on, or has to. mailbox_sleep() is followed by a full fence and another look. */
void mailbox_wake(struct mailbox *mailbox);
void mailbox_sleep(struct mailbox *mailbox);

/* turn.c */
/* The session has something to do. */
void turn_join(struct session *session);
void turn_leave(struct session *session);
/* One turn, which is short. True: there is more, so look at the descriptors without a wait and come back. False: nobody
 * has anything to do, and all mailboxes' clients will ring. */
bool turn_serve(struct server *server);

#endif
