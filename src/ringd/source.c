/* SPDX-License-Identifier: BSD-2-Clause */
#include "ringd/source.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define BLOCK_BYTES 512 /* st_blocks, stat(2) */

int source_check_memfd(int fd, size_t least, size_t most, size_t *bytes)
{
    const int wanted = F_SEAL_SHRINK | F_SEAL_GROW;
    int seals = fcntl(fd, F_GET_SEALS); /* fails for all but memory files */
    struct stat st;
    if (seals < 0 || (seals & wanted) != wanted || (seals & F_SEAL_WRITE) || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
        return -EINVAL;
    /* Pages of a huge-page file can run out at a page fault. They are at least 2 MiB, so the most keeps them out. */
    if (st.st_size < 0 || (size_t)st.st_size < least || (size_t)st.st_size > most)
        return -EINVAL;
    /* A page is charged to whoever touches it first: that has to be its owner. */
    if (st.st_blocks < st.st_size / BLOCK_BYTES)
        return -EINVAL;
    if (bytes)
        *bytes = (size_t)st.st_size;
    return 0;
}

/* The kernel's own name for a descriptor without a file; no path can look like one, as each begins with a slash. */
static bool is_anon_inode(int fd, const char *wanted)
{
    char link[32], name[96];
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    ssize_t len = readlink(link, name, sizeof(name) - 1);
    if (len < 0)
        return false;
    name[len] = 0;
    return strcmp(name, wanted) == 0;
}

int source_check_eventfd(int fd)
{
    return fd >= 0 && is_anon_inode(fd, "anon_inode:[eventfd]") ? 0 : -EINVAL;
}

void source_signal(int fd)
{
    struct pollfd room = {.fd = fd, .events = POLLOUT};
    uint64_t one = 1;
    if (fd >= 0 && poll(&room, 1, 0) == 1 && room.revents & POLLOUT) {
        ssize_t done = write(fd, &one, sizeof(one));
        (void)done;
    }
}

void source_silence(int fd)
{
    uint64_t count;
    struct iovec into = {.iov_base = &count, .iov_len = sizeof(count)};
    if (preadv2(fd, &into, 1, -1, RWF_NOWAIT) < 0 && errno == EOPNOTSUPP) { /* before Linux 5.8 */
        struct pollfd full = {.fd = fd, .events = POLLIN};
        if (poll(&full, 1, 0) == 1) {
            ssize_t done = read(fd, &count, sizeof(count));
            (void)done;
        }
    }
}

int source_ring_open(int ring_fd, int event_fd, struct backend_ring *out)
{
    if (event_fd >= 0) {
        if (source_check_memfd(ring_fd, RINGD_RING_BYTES, RINGD_RING_BYTES, NULL) || source_check_eventfd(event_fd))
            return -EINVAL;
    } else if (!is_anon_inode(ring_fd, "anon_inode:kvm-coalesced-mmio-buffer")) /* kmod/ */ {
        return -EINVAL;
    }
    void *map = mmap(NULL, RINGD_RING_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, ring_fd, 0);
    if (map == MAP_FAILED)
        return -errno;
    (void)madvise(map, RINGD_RING_BYTES, MADV_DONTFORK);
    *out = (struct backend_ring){
        .page = map,
        .fd = event_fd >= 0 ? event_fd : ring_fd,
        .memfd = event_fd >= 0 ? ring_fd : -1,
        .wanted = event_fd >= 0,
        .outside = true,
    };
    return 0;
}
