/* SPDX-License-Identifier: BSD-2-Clause */
/* Where a clock's model can be: in this process, or in the daemon, asked by mailbox or by socket. */
#ifndef RINGVMM_BENCH_PLACE_H
#define RINGVMM_BENCH_PLACE_H

#include <stdint.h>

#include <ringd/client.h>
#include <ringd/ringd.h>

enum place_kind { PLACE_IN_PROCESS, PLACE_MAILBOX, PLACE_MAILBOX_NO_SPIN, PLACE_SOCKET, PLACE_COUNT };

/* "in-process", "mailbox", "mailbox-no-spin", "socket". */
const char *place_name(enum place_kind kind);

struct place {
    enum place_kind kind;
    const char *socket; /* the daemon's; for no-spin one that does not spin either. Unused in-process */
    /* place_open() fills in the rest. */
    struct ringd *rd;
    struct ringd_dev *dev;
    struct ringd_ring_page *page;
    int event;
    struct ringd_client *client;
    struct ringd_remote *remote;
};

/*
 * place_open - makes the clock, in-process with a ring thread, else in the daemon; on a ring in shared memory in each
 * place. 0 or -errno, with nothing left to close.
 */
int place_open(struct place *place);
void place_close(struct place *place);

/* place_index - posts a write to the index port, as the VMM's end of the ring: with a synchronous write when it is
 * full. place_data - a synchronous read of the data port. 0 or -errno. One thread at a time. */
int place_index(struct place *place, uint8_t value);
int place_data(struct place *place, uint8_t *value);

#endif
