/* SPDX-License-Identifier: BSD-2-Clause */
#include "vmm/flash.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <ringd/models/cfi_flash.h>

static int complain(const char *path, int error, const char *what)
{
    fprintf(stderr, "ringvmm: --flash %s: %s\n", path, what);
    return error;
}

/* The whole of a small file, to be freed. */
static int read_file(const char *path, uint8_t **out, size_t *bytes)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    struct stat info;
    uint8_t *data = NULL;
    int ret = fstat(fd, &info) < 0 ? -errno : 0;
    if (!ret && (info.st_size <= 0 || info.st_size > (off_t)CFI_FLASH_BYTES_MAX))
        ret = -EINVAL;
    if (!ret) {
        data = malloc((size_t)info.st_size);
        ret = !data ? -ENOMEM : read(fd, data, (size_t)info.st_size) != info.st_size ? -EIO : 0;
    }
    close(fd);
    if (ret) {
        free(data);
        return ret;
    }
    *out = data;
    *bytes = (size_t)info.st_size;
    return 0;
}

/* The new file has its name only when it is whole: a second machine that is started meanwhile, or a crash, leaves none
 * that is half written. */
static int make_file(const char *path, const uint8_t *data, size_t bytes)
{
    char temporary[PATH_MAX];
    if ((size_t)snprintf(temporary, sizeof(temporary), "%s.XXXXXX", path) >= sizeof(temporary))
        return -ENAMETOOLONG;
    int fd = mkostemp(temporary, O_CLOEXEC);
    if (fd < 0)
        return -errno;
    ssize_t written = write(fd, data, bytes);
    int ret = written < 0 ? -errno : written != (ssize_t)bytes ? -ENOSPC : fdatasync(fd) < 0 ? -errno : 0;
    if (!ret && link(temporary, path) < 0 && errno != EEXIST)
        ret = -errno;
    close(fd);
    (void)unlink(temporary);
    return ret;
}

/* A store into a hole that the disk has no room for would be a SIGBUS while the guest runs. A file system that cannot
 * reserve is left alone. */
static int fill_holes(const struct flash *flash, size_t bytes)
{
    while (fallocate(flash->fd, 0, 0, (off_t)bytes) < 0) {
        char what[160];
        int error = errno;
        if (error == EINTR)
            continue;
        if (error != ENOSPC && error != EDQUOT && error != EFBIG)
            return 0;
        snprintf(what, sizeof(what), "it has holes, and there is no room to fill them: %s", strerror(error));
        return complain(flash->path, -error, what);
    }
    return 0;
}

/* The variables of OVMF take `expected` bytes; 0: any number. The firmware below whose code they stand has `rom_size`.
 */
static int map_file(struct flash *flash, size_t expected, uint64_t rom_size)
{
    struct stat info;
    char what[160];
    flash->fd = open(flash->path, O_RDWR | O_CLOEXEC);
    if (flash->fd < 0)
        return complain(flash->path, -errno, strerror(errno));
    if (flock(flash->fd, LOCK_EX | LOCK_NB) < 0)
        return complain(flash->path, -errno,
                        errno == EWOULDBLOCK ? "another virtual machine uses it" : strerror(errno));
    if (fstat(flash->fd, &info) < 0)
        return complain(flash->path, -errno, strerror(errno));
    size_t bytes = (size_t)info.st_size;
    if (!S_ISREG(info.st_mode) || !bytes || bytes > CFI_FLASH_BYTES_MAX || bytes % CFI_FLASH_BLOCK_BYTES ||
        (expected && bytes != expected)) {
        if (expected)
            snprintf(what, sizeof(what),
                     "%zu bytes; the variables of this firmware take %zu: it belongs to another one", bytes, expected);
        else
            snprintf(what, sizeof(what), "%zu bytes; a flash is a multiple of %u KiB, up to %u MiB", bytes,
                     CFI_FLASH_BLOCK_BYTES >> 10, CFI_FLASH_BYTES_MAX >> 20);
        return complain(flash->path, -EINVAL, what);
    }
    if (bytes + rom_size > OPTIONS_FIRMWARE_MAX) {
        snprintf(
            what, sizeof(what),
            "%zu KiB, and the firmware has %llu KiB: more than the %u MiB below 4 GiB that there are for both; take "
            "a smaller one",
            bytes >> 10, (unsigned long long)rom_size >> 10, OPTIONS_FIRMWARE_MAX >> 20);
        return complain(flash->path, -EFBIG, what);
    }
    int ret = fill_holes(flash, bytes);
    if (ret)
        return ret;
    void *map = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, flash->fd, 0);
    if (map == MAP_FAILED)
        return complain(flash->path, -errno, strerror(errno));
    flash->array = map;
    flash->bytes = bytes;
    return 0;
}

static int copy_in_memory(struct flash *flash, const uint8_t *data, size_t bytes)
{
    void *map = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED)
        return complain("", -errno, strerror(errno));
    flash->array = memcpy(map, data, bytes);
    flash->bytes = bytes;
    return 0;
}

static int open_with_template(struct flash *flash, const uint8_t *template, size_t bytes, uint64_t rom_size)
{
    if (!flash->path)
        return copy_in_memory(flash, template, bytes);
    if (access(flash->path, F_OK) != 0 && errno == ENOENT) {
        int ret = make_file(flash->path, template, bytes);
        if (ret)
            return complain(flash->path, ret, strerror(-ret));
    }
    return map_file(flash, bytes, rom_size);
}

int flash_open(struct flash *flash, const struct run_options *options, uint64_t rom_size)
{
    *flash = (struct flash){.fd = -1, .path = options->flash};
    int ret;
    if (options->firmware && strcmp(options->firmware, "ovmf") == 0) {
        uint8_t *template = NULL;
        size_t bytes = 0;
        ret = read_file(OPTIONS_OVMF_VARS_PATH, &template, &bytes);
        if (ret)
            return complain(OPTIONS_OVMF_VARS_PATH, ret, strerror(-ret));
        ret = open_with_template(flash, template, bytes, rom_size);
        free(template);
    } else {
        ret = flash->path ? map_file(flash, 0, rom_size) : 0;
    }
    if (ret)
        flash_close(flash);
    return ret;
}

int flash_sync(struct flash *flash)
{
    if (flash->fd < 0 || !flash->array || flash->failed || msync(flash->array, flash->bytes, MS_SYNC) == 0)
        return flash->failed;
    flash->failed = -errno;
    return complain(flash->path, flash->failed, "cannot be written; the firmware's settings may be lost");
}

void flash_close(struct flash *flash)
{
    if (flash->array)
        munmap(flash->array, flash->bytes);
    if (flash->fd >= 0)
        close(flash->fd);
    *flash = (struct flash){.fd = -1};
}
