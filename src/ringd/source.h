/* SPDX-License-Identifier: BSD-2-Clause */
/* Descriptors that come from somebody who is not trusted: are they what they are said to be? */
#ifndef RINGD_SOURCE_H
#define RINGD_SOURCE_H

#include <stdbool.h>
#include <stddef.h>

#include "ringd/backend.h"

/* A memfd, sealed against shrinking and growing (else a truncation would turn our next access into a SIGBUS), of
 * `least` to `most` bytes, all allocated already. *bytes (may be NULL) is its size. 0, or -EINVAL. */
int source_check_memfd(int fd, size_t least, size_t most, size_t *bytes);

/* An eventfd. 0, or -EINVAL. */
int source_check_eventfd(int fd);

/* Adds one to an eventfd, or does nothing for -1. Whoever shares the descriptor may take O_NONBLOCK from it and have it
 * full, so it is asked first whether there is room. */
void source_signal(int fd);

/* Takes back what an eventfd was signalled with; never blocks, whatever its flags say. */
void source_silence(int fd);

/* Maps a ring: a memfd of one page with an eventfd, or with event_fd -1 KVM's own. The descriptors become the ring's
 * when this returns 0. -EINVAL, -ENOMEM. */
int source_ring_open(int ring_fd, int event_fd, struct backend_ring *out);

#endif
