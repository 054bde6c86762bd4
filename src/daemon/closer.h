/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Threads that close what clients have sent. The end of a descriptor may take any time: a TCP socket with SO_LINGER
 * waits for its peer, a file of FUSE asks its server, the last reference to a VM takes the VM down. The loop closes
 * only what it knows (closer_is_harmless()); all else goes here.
 *
 * There is a thread for each client's place, and a client that has a batch under way sends no other: so it waits for
 * what it has sent itself, and for nobody else's. One more thread is for connections that are turned away.
 */
#ifndef DAEMON_CLOSER_H
#define DAEMON_CLOSER_H

#include <stdbool.h>

#include <ringd/protocol.h>

/* A message's descriptors, a KVM ring for each device, and the connection. */
#define CLOSING_MOST (RINGD_MSG_FDS + RINGD_MSG_DEVICES + 1u)

struct closing {
    struct closing *next; /* the closer's, from closer_submit() on until closer_done() has handed it back */
    int fds[CLOSING_MOST];
    unsigned count;
    bool refused; /* of a connection that is turned away */
};

struct closer;

/* Starts `clients` threads and one. Before clone() is forbidden; the filter that is loaded later holds for them too. 0
 * or -errno. They stay until the process ends, which does not wait for them. */
int closer_start(unsigned clients, struct closer **out);

/* Readable when closer_done() has something. */
int closer_fd(const struct closer *closer);

/* The batch is the closer's from now on. Never waits. */
void closer_submit(struct closer *closer, struct closing *batch);

/* Batches whose descriptors are closed, as a list; NULL: none. */
struct closing *closer_done(struct closer *closer);

/* Can close() of it take no time? True for eventfds, and for memory files that can hold no more than what a client may
 * share. */
bool closer_is_harmless(int fd);

#endif
