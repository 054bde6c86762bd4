/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The committed state of a device (include/ringd/state.h), from its writer's side.
 *
 * What a model does is private until commit_write() has stored `current`; what leaves the device (interrupts, events,
 * output, slots given back to the ring) leaves after that. The kill of a process neither undoes nor reorders its
 * stores, so whoever looks at the file afterwards finds one whole commit, and all that left belongs to it or to an
 * earlier one.
 *
 * The file is in a client's hands: it is read at commit_open() only, once, into private memory, but for the two words
 * that tell how much the client has read. All under the device's lock.
 */
#ifndef RINGD_COMMIT_H
#define RINGD_COMMIT_H

#include <stdbool.h>

#include <ringd/device.h>
#include <ringd/state.h>

#define COMMIT_MAX_IRQS 32u /* of a device with a committed state: bits of `raised` */

struct commit {
    struct ringd_state_page *page;
    size_t bytes;                     /* of the file */
    size_t room;                      /* of one slot */
    int notify_fd;                    /* -1: nobody to tell */
    struct ringd_state_slot head;     /* as it will be committed next; `results` in full */
    uint64_t changed, changed_before; /* results of this commit, and of the last: the other slot lacks both */
    unsigned current;                 /* 0: none yet */
    bool notify;                      /* events or output to be told of */
    uint32_t raised;                  /* interrupt lines that went high since the last commit */
};

/*
 * commit_open - maps and checks the file of a state.
 * @model_bytes: what the model's save() writes.
 * @saved: where a committed model state is left (to be freed by the caller), NULL if there is none yet.
 * Returns 0, -EINVAL for a file that is not one (type, seals, size) or holds what no ringd of this version has
 * committed, -ENOSPC for one that is too small, -ENOMEM.
 */
int commit_open(struct commit *commit, int fd, size_t model_bytes, void **saved);
void commit_close(struct commit *commit);

/* The model's effects of this batch. */
void commit_event(struct commit *commit, enum ringd_event event, uint64_t value);
void commit_output(struct commit *commit, const uint8_t *data, size_t len);
static inline void commit_irq(struct commit *commit, unsigned line)
{
    commit->raised |= 1u << line;
}

/* Has access `sequence` of `slot` been committed? Then *value is its result. */
bool commit_find(const struct commit *commit, unsigned slot, uint64_t sequence, uint64_t *value);
void commit_result(struct commit *commit, unsigned slot, uint64_t sequence, uint64_t value);

/* Commits head, results and the model's state, then publishes events and output and tells of them. */
void commit_write(struct commit *commit, const struct ringd_device_ops *ops, const void *self);

#endif
