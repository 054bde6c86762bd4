/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a back end has to offer. A new kernel interface is one more file with one more table of these.
 * Calls come from set-up, ringd_map() and tear-down, never from the path of a write; the caller serialises them.
 */
#ifndef RINGD_BACKEND_H
#define RINGD_BACKEND_H

#include <ringd/ringd.h>

struct backend_ring {
    struct ringd_ring_page *page;
    int fd;       /* poll()able for POLLIN while there is something to read, or -1: nothing notifies */
    int memfd;    /* memfd back end: what the page is a mapping of; -1 otherwise */
    bool wanted;  /* its producer honours ring_want_wakeup(), and fd is an eventfd to be emptied */
    bool outside; /* its descriptors are also in the hands of somebody who is not trusted */
};

struct backend_zone {
    uint64_t addr;
    uint32_t size;
    bool pio;
};

struct backend_ops {
    enum ringd_backend_kind kind;
    bool shared; /* one ring for all devices of the VM */
    /* Both fds are those of struct ringd_config. 0 or -errno. */
    int (*ring_create)(int vm_fd, int vcpu_fd, struct backend_ring *out);
    void (*ring_destroy)(struct backend_ring *ring); /* after its zones have been removed */
    int (*zone_add)(int vm_fd, const struct backend_ring *ring, const struct backend_zone *zone);
    void (*zone_remove)(int vm_fd, const struct backend_ring *ring, const struct backend_zone *zone);
};

extern const struct backend_ops backend_mmio2;
extern const struct backend_ops backend_v1;
extern const struct backend_ops backend_memfd;

/* NULL for AUTO and OFF. */
const struct backend_ops *backend_find(enum ringd_backend_kind kind);

#endif
