/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * memfd: a ring per device in shared memory with an eventfd. The producer is not KVM but whoever maps the memfd:
 * another VMM that forwards its exits, a test, a fuzzer. Zones are the producer's business.
 */
#include "ringd/backend.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

/* Sealed against shrinking: a producer that truncates the file must not turn our next read into a SIGBUS. */
static int sealed_page(void)
{
    int memfd = memfd_create("ringd-ring", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (memfd < 0)
        return -errno;
    if (ftruncate(memfd, RINGD_RING_BYTES) < 0 ||
        fcntl(memfd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0) {
        int error = errno;
        close(memfd);
        return -error;
    }
    return memfd;
}

static int memfd_ring_create(int vm_fd, int vcpu_fd, struct backend_ring *out)
{
    (void)vm_fd;
    (void)vcpu_fd;
    int memfd = sealed_page();
    if (memfd < 0)
        return memfd;
    int error;
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (fd < 0) {
        error = errno;
        goto close_memfd;
    }
    void *map = mmap(NULL, RINGD_RING_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0);
    if (map == MAP_FAILED) {
        error = errno;
        goto close_eventfd;
    }
    *out = (struct backend_ring){.page = map, .fd = fd, .memfd = memfd, .wanted = true};
    return 0;

close_eventfd:
    close(fd);
close_memfd:
    close(memfd);
    return -error;
}

static void memfd_ring_destroy(struct backend_ring *ring)
{
    munmap(ring->page, RINGD_RING_BYTES);
    close(ring->fd);
    if (ring->memfd >= 0) /* not one of KVM's from outside */
        close(ring->memfd);
}

static int memfd_zone_add(int vm_fd, const struct backend_ring *ring, const struct backend_zone *zone)
{
    (void)vm_fd;
    (void)ring;
    (void)zone;
    return 0;
}

static void memfd_zone_remove(int vm_fd, const struct backend_ring *ring, const struct backend_zone *zone)
{
    (void)vm_fd;
    (void)ring;
    (void)zone;
}

const struct backend_ops backend_memfd = {
    .kind = RINGD_BACKEND_MEMFD,
    .ring_create = memfd_ring_create,
    .ring_destroy = memfd_ring_destroy,
    .zone_add = memfd_zone_add,
    .zone_remove = memfd_zone_remove,
};
