/* SPDX-License-Identifier: BSD-2-Clause */
#include "vmm/image.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static int read_all(int fd, uint8_t *to, size_t size)
{
    for (size_t done = 0; done < size;) {
        ssize_t got = read(fd, to + done, size - done);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return got < 0 ? -errno : -EIO; /* it has been cut short since it was measured */
        done += (size_t)got;
    }
    return 0;
}

int image_read(const char *path, uint64_t max, uint8_t **image, uint64_t *size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    struct stat info;
    int ret = fstat(fd, &info) < 0 ? -errno : 0;
    if (!ret && (info.st_size <= 0 || (uint64_t)info.st_size > max))
        ret = -EINVAL;
    void *map = MAP_FAILED;
    if (!ret) {
        map = mmap(NULL, (size_t)info.st_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        ret = map == MAP_FAILED ? -errno : read_all(fd, map, (size_t)info.st_size);
    }
    close(fd);
    if (ret) {
        if (map != MAP_FAILED)
            munmap(map, (size_t)info.st_size);
        return ret;
    }
    *image = map;
    *size = (uint64_t)info.st_size;
    return 0;
}

void image_free(uint8_t *image, uint64_t size)
{
    if (image)
        munmap(image, size);
}
