/* SPDX-License-Identifier: BSD-2-Clause */
/* What chardev.c (data: buffer, pump, input), chardev_open.c (opening, terminal, closing) and chardev_pty.c share. */
#ifndef RINGVMM_VMM_CHARDEV_INTERNAL_H
#define RINGVMM_VMM_CHARDEV_INTERNAL_H

#include <ev.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/types.h>

#include "vmm/chardev.h"

struct bytes {
    uint8_t *data;
    size_t len, room;
};

struct chardev {
    enum chardev_kind kind;
    char *name;
    char *path;
    struct ev_loop *loop;
    size_t (*on_input)(void *ctx, const uint8_t *data, size_t len);
    void (*on_key)(void *ctx, enum chardev_key key);
    void (*warn)(void *ctx, const char *line);
    void *ctx;

    ev_async wake; /* there is output after a quiet time, or room for input after a full one */
    ev_timer look; /* looks for more output a little later */
    ev_io readable, writable;
    ev_io listener;
    ev_timer retry; /* of accept(), or of a pty that was hung up */
    ev_timer stall; /* runs while input of a socket's client waits */

    int in_fd, out_fd; /* -1: none. unix: both are the client's; pty: both are the master */
    int pty_fd;        /* our own hold on the slave; -1: none */
    bool out_owned;
    bool out_socket;
    bool out_guarded; /* a blocking description that is not ours alone: ask poll() first */
    int listen_fd;
    dev_t socket_dev; /* which file bind() made */
    ino_t socket_ino;

    bool reads_terminal;
    bool in_background; /* of the terminal; reading it would stop the process */
    bool input_ended;
    bool escape; /* Ctrl-A was typed, and what it begins was not */
    uint8_t input[4096];
    size_t input_at, input_end;
    atomic_bool input_waiting; /* set while the receiver owes us chardev_input_ready() */

    struct bytes out; /* being written; the loop's thread only */
    size_t out_at;

    pthread_mutex_t lock; /* for what follows */
    struct bytes pending;
    size_t out_left; /* bytes in out not written yet, for the bound on both together */
    bool awake;      /* the loop's thread will come back to pending by itself */
    int failure;     /* errno that ended output */
    struct chardev_stats stats;
};

/* All on the loop's thread. */
void chardev_init_watchers(struct chardev *chr);
void chardev_stop_watchers(struct chardev *chr);
void chardev_watch_input(struct chardev *chr); /* reads on, unless there is a reason not to */
void chardev_tell(struct chardev *chr, const char *line);
void chardev_output_failed(struct chardev *chr, int err); /* ends output for good and tells the user, once */

/* chardev_pty.c */
int chardev_pty_open(struct chardev *chr);        /* 0 or -errno; nothing is open then */
void chardev_pty_hung_up(struct chardev *chr);    /* the master says so: nothing is read or written until it is back */
bool chardev_pty_open_again(struct chardev *chr); /* false: not this time */
void chardev_pty_close(struct chardev *chr);

#endif
