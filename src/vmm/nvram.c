/* SPDX-License-Identifier: BSD-2-Clause */
#include "vmm/nvram.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static int complain(const struct nvram_file *file, const char *what)
{
    fprintf(stderr, "ringvmm: --rtc nvram=%s: %s\n", file->path, what);
    return -EINVAL;
}

int nvram_file_open(struct nvram_file *file, const char *path, uint8_t image[NVRAM_BYTES])
{
    file->fd = -1;
    file->path = path;
    if (!path[0])
        return 0;
    file->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (file->fd < 0)
        return complain(file, strerror(errno));
    if (flock(file->fd, LOCK_EX | LOCK_NB) < 0)
        return complain(file, errno == EWOULDBLOCK ? "another virtual machine uses it" : strerror(errno));
    struct stat info;
    if (fstat(file->fd, &info) < 0)
        return complain(file, strerror(errno));
    if (info.st_size == 0)
        return 0;
    if (info.st_size != NVRAM_BYTES)
        return complain(file, "not 128 bytes long");
    if (pread(file->fd, image, NVRAM_BYTES, 0) != (ssize_t)NVRAM_BYTES)
        return complain(file, "cannot be read");
    memcpy(file->stored, image, NVRAM_BYTES);
    return 0;
}

int nvram_file_store(struct nvram_file *file, const uint8_t image[NVRAM_BYTES])
{
    if (file->fd < 0)
        return 0;
    uint8_t now[NVRAM_BYTES];
    for (unsigned i = 0; i < NVRAM_BYTES; i++)
        now[i] = __atomic_load_n(&image[i], __ATOMIC_RELAXED);
    if (!memcmp(now, file->stored, NVRAM_BYTES))
        return 0;
    ssize_t written = pwrite(file->fd, now, NVRAM_BYTES, 0);
    if (written == (ssize_t)NVRAM_BYTES) {
        memcpy(file->stored, now, NVRAM_BYTES);
        return 0;
    }
    int error = written < 0 ? errno : ENOSPC;
    if (!file->failed) {
        char what[160];
        snprintf(what, sizeof(what), "cannot be written (%s); the guest's settings will be lost", strerror(error));
        file->failed = 1;
        complain(file, what);
    }
    return -error;
}

void nvram_file_close(struct nvram_file *file)
{
    if (file->fd >= 0)
        close(file->fd);
    file->fd = -1;
}
