/* SPDX-License-Identifier: BSD-2-Clause */
/* A disk's file or device: opening it, locking it, how large it is, and whether it can be discarded. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "vmm/block_internal.h"
#include "vmm/parse.h"

#define QUOTE_BYTES 160

/* Where the one line about a failure goes. */
struct complaint {
    const char *path;
    char *error;
    size_t error_bytes;
};

static int complain(const struct complaint *about, int err, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static int complain(const struct complaint *about, int err, const char *format, ...)
{
    char quoted[QUOTE_BYTES], text[320];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    (void)snprintf(about->error, about->error_bytes, "disk %s: %s", parse_quote(about->path, quoted, sizeof(quoted)),
                   text);
    return -err;
}

/* ---- who has the lock ---- */

/* Whether descriptor `name` of the process is of that file and has a lock: Linux, Documentation/filesystems/proc.rst,
 * "lock:" in fdinfo. */
static bool holds_lock(int fds, int fdinfos, const char *name, const struct stat *file)
{
    struct statx seen;
    char info[1024];

    /* No synchronisation: whatever else the process has open, a dead network drive included, is not to be waited for.
     */
    if (statx(fds, name, AT_STATX_DONT_SYNC, STATX_INO, &seen) < 0 || seen.stx_ino != file->st_ino ||
        makedev(seen.stx_dev_major, seen.stx_dev_minor) != file->st_dev)
        return false;
    int fd = openat(fdinfos, name, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t got = read(fd, info, sizeof(info) - 1);
    (void)close(fd);
    info[got < 0 ? 0 : got] = '\0';
    return strstr(info, "\nlock:") != NULL;
}

static bool process_holds_lock(int proc, long pid, const struct stat *file)
{
    char path[64];
    bool found = false;

    (void)snprintf(path, sizeof(path), "%ld/fd", pid);
    int fds = openat(proc, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fds >= 0 ? fdopendir(fds) : NULL;
    (void)snprintf(path, sizeof(path), "%ld/fdinfo", pid);
    int fdinfos = openat(proc, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    for (const struct dirent *entry; dir && fdinfos >= 0 && !found && (entry = readdir(dir));)
        found = entry->d_name[0] != '.' && holds_lock(fds, fdinfos, entry->d_name, file);
    if (fdinfos >= 0)
        (void)close(fdinfos);
    if (dir)
        (void)closedir(dir);
    else if (fds >= 0)
        (void)close(fds);
    return found;
}

/* The process that holds a lock on the file, 0: not to be found. A lock of an open file belongs to no process, and the
 * kernel names none (F_OFD_GETLK and /proc/locks say -1): so look who has the file open. Only processes of this user
 * can be looked into. */
static long find_holder(const struct stat *file)
{
    DIR *dir = opendir("/proc");
    long pid = 0;

    for (const struct dirent *entry; dir && !pid && (entry = readdir(dir));) {
        char *end;
        long candidate = strtol(entry->d_name, &end, 10);
        if (candidate > 0 && !*end && process_holds_lock(dirfd(dir), candidate, file))
            pid = candidate;
    }
    if (dir)
        (void)closedir(dir);
    return pid;
}

/* "process 1234 (ringvmm)", or what can be said without. */
static void describe_holder(const struct stat *file, char *text, size_t bytes)
{
    char path[64], name[64] = "", quoted[80];
    long pid = find_holder(file);

    if (!pid) {
        (void)snprintf(text, bytes, "another process");
        return;
    }
    (void)snprintf(path, sizeof(path), "/proc/%ld/comm", pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        ssize_t got = read(fd, name, sizeof(name) - 1);
        name[got > 0 ? got - 1 : 0] = '\0'; /* without the line's end */
        (void)close(fd);
    }
    if (pid == getpid())
        (void)snprintf(text, bytes, "this same machine");
    else
        (void)snprintf(text, bytes, "process %ld (%s)", pid, parse_quote(name, quoted, sizeof(quoted)));
}

/* ---- opening ---- */

static int lock_file(const struct block *block, const struct stat *info, const struct complaint *about)
{
    /* The whole file, whatever its length. This also meets QEMU's locks, which are on single bytes of the image. */
    struct flock lock = {.l_type = block->readonly ? F_RDLCK : F_WRLCK, .l_whence = SEEK_SET};
    char holder[160];

    if (fcntl(block->fd, F_OFD_SETLK, &lock) == 0)
        return 0;
    if (errno != EAGAIN && errno != EACCES)
        return complain(about, errno, "cannot be locked (%s); copy it to a file system that can", strerror(errno));
    describe_holder(info, holder, sizeof(holder));
    if (block->readonly)
        return complain(about, EBUSY, "%s has it locked for writing; end that one, or use a copy", holder);
    return complain(about, EBUSY, "%s has it locked; end that one, or use a copy%s", holder,
                    ", or let all of them only read");
}

static int open_file(struct block *block, const struct complaint *about)
{
    struct stat before;
    int flags = (block->readonly ? O_RDONLY : O_RDWR) | O_CLOEXEC;

    if (stat(about->path, &before) < 0)
        return complain(about, errno, "%s", strerror(errno));
    /* Of a block device that somebody has mounted, the kernel then says EBUSY. */
    if (S_ISBLK(before.st_mode) && !block->readonly)
        flags |= O_EXCL;
    /* A FIFO would wait for its other end. */
    block->fd = open(about->path, flags | O_NONBLOCK);
    if (block->fd < 0) {
        int err = errno;
        if (err == EBUSY)
            return complain(about, err, "the device is mounted or otherwise in use on this host");
        if (!block->readonly && (err == EACCES || err == EROFS || err == EPERM || err == ETXTBSY))
            return complain(about, err, "cannot be opened for writing (%s); change that, or make the disk read-only",
                            strerror(err));
        return complain(about, err, "%s", strerror(err));
    }
    /* Where a file system cannot do without waiting, io_uring would hand out EAGAIN for ever. */
    if (fcntl(block->fd, F_SETFL, 0) < 0)
        return complain(about, errno, "%s", strerror(errno));
    return 0;
}

static int measure(struct block *block, const struct stat *info, const struct complaint *about)
{
    if (block->device) {
        int fixed = 0;
        if (ioctl(block->fd, BLKGETSIZE64, &block->bytes) < 0)
            return complain(about, errno, "the device does not tell its size (%s)", strerror(errno));
        if (!block->readonly && ioctl(block->fd, BLKROGET, &fixed) == 0 && fixed)
            return complain(about, EROFS, "the device cannot be written; make the disk read-only");
    } else {
        block->bytes = (uint64_t)info->st_size;
    }
    if (block->bytes == 0)
        return complain(about, EINVAL, "is empty; 'truncate -s 10G FILE' makes a disk of 10 GiB");
    /* Neither is right: the last bytes may be data that nobody could reach, and a file that is made longer unasked may
     * be no disk at all. */
    unsigned rest = (unsigned)(block->bytes % block->sector_bytes);
    if (rest)
        return complain(about, EINVAL,
                        "%llu bytes, no multiple of %u: if it is a raw image that was cut short, "
                        "'truncate -s %%%u FILE' adds the missing %u bytes",
                        (unsigned long long)block->bytes, block->sector_bytes, block->sector_bytes,
                        block->sector_bytes - rest);
    return 0;
}

/* Linux, Documentation/ABI/stable/sysfs-block: discard_max_bytes is 0 where a device cannot. A partition has its
 * disk's queue. */
static bool device_discards(const struct stat *info)
{
    static const char *const places[] = {"queue", "../queue"};
    bool discards = false;

    for (unsigned i = 0; i < sizeof(places) / sizeof(places[0]) && !discards; i++) {
        char path[96], most[32] = "";
        (void)snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/%s/discard_max_bytes", major(info->st_rdev),
                       minor(info->st_rdev), places[i]);
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
            continue;
        discards = read(fd, most, sizeof(most) - 1) > 0 && strtoull(most, NULL, 10) > 0;
        (void)close(fd);
    }
    return discards;
}

/* Whether a hole can be made: one behind the file's end changes nothing. */
static bool file_discards(const struct block *block)
{
    return fallocate(block->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)block->bytes,
                     (off_t)block->sector_bytes) == 0;
}

int block_file_open(struct block *block, const struct block_config *config, char *error, size_t error_bytes)
{
    const struct complaint about = {.path = config->path, .error = error, .error_bytes = error_bytes};
    struct stat info;
    int err;

    block->readonly = config->readonly;
    block->sector_bytes = config->sector_bytes ? config->sector_bytes : 512;
    if (block->sector_bytes != 512 && block->sector_bytes != 4096)
        return complain(&about, EINVAL, "sectors of %u bytes; a disk has sectors of 512 or 4096", block->sector_bytes);
    err = open_file(block, &about);
    if (err)
        return err;
    if (fstat(block->fd, &info) < 0)
        return complain(&about, errno, "%s", strerror(errno));
    block->device = S_ISBLK(info.st_mode);
    if (!block->device && !S_ISREG(info.st_mode))
        return complain(&about, EINVAL, "is %s; a disk is a file or a block device",
                        S_ISDIR(info.st_mode) ? "a directory" : "neither");
    err = lock_file(block, &info, &about);
    if (err)
        return err;
    /* Once more: whoever had it until now may have changed its length. */
    if (fstat(block->fd, &info) < 0)
        return complain(&about, errno, "%s", strerror(errno));
    err = measure(block, &info, &about);
    if (err)
        return err;
    if (config->discard && !block->readonly)
        block->discards = block->device ? device_discards(&info) : file_discards(block);
    return 0;
}
