/* SPDX-License-Identifier: BSD-2-Clause */
/* Opening disks: what is refused and with which line, locks, the choice of the engine, block devices, a full host. */
#include "block_fixture.h"

#include <dirent.h>
#include <linux/filter.h>
#include <linux/loop.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>

/* Opening is to fail with this, and one line that has these words and the file's name. */
static void must_refuse(struct fixture *f, const struct block_config *config, int err, const char *words)
{
    int ret = open_block(f, config);
    if (ret != err)
        fail_msg("%s: %d, not %d: %s", config->path, ret, err, f->error);
    assert_null(f->block);
    if (!strstr(f->error, words))
        fail_msg("'%s' lacks '%s'", f->error, words);
    assert_non_null(strstr(f->error, config->path));
    assert_null(strchr(f->error, '\n'));
}

/* ---- what is no disk ---- */

static void test_what_is_no_disk(void **state)
{
    struct fixture *f = *state;
    char other[64];

    (void)snprintf(other, sizeof(other), "%s/other", f->dir);
    for (unsigned readonly = 0; readonly < 2; readonly++) {
        struct block_config config = {.path = other, .readonly = readonly, .aio = f->aio};
        must_refuse(f, &config, -ENOENT, "No such file");
        assert_int_equal(mkfifo(other, 0600), 0);
        must_refuse(f, &config, -EINVAL, "a disk is a file or a block device"); /* and does not wait for a writer */
        assert_int_equal(unlink(other), 0);
        make_image(other, 0);
        must_refuse(f, &config, -EINVAL, "is empty");
        make_image(other, 1000);
        must_refuse(f, &config, -EINVAL, "1000 bytes, no multiple of 512");
        assert_non_null(strstr(f->error, "'truncate -s %512 FILE' adds the missing 24 bytes"));
        assert_int_equal(unlink(other), 0);
    }
    must_refuse(f, &(struct block_config){.path = f->dir, .readonly = true}, -EINVAL, "is a directory");
    must_refuse(f, &(struct block_config){.path = f->dir}, -EISDIR, "Is a directory");
    must_refuse(f, &(struct block_config){.path = "/dev/null"}, -EINVAL, "a disk is a file or a block device");

    /* A program that runs cannot be written, whoever tries: ETXTBSY, or EACCES where it is not ours. Under valgrind it
     * is another one. */
    if (!getenv("RINGVMM_VALGRIND")) {
        int ret = open_block(f, &(struct block_config){.path = "/proc/self/exe"});
        assert_true(ret == -ETXTBSY || ret == -EACCES);
        assert_non_null(strstr(f->error, "cannot be opened for writing"));
        assert_non_null(strstr(f->error, "make the disk read-only"));
    }
}

static void test_sectors(void **state)
{
    struct fixture *f = *state;
    struct block_config config = {.path = f->path, .aio = f->aio};
    uint8_t data[4096];

    make_image(f->path, 4096 * 3 + 512);
    assert_int_equal(open_block(f, &config), 0);
    assert_int_equal(fcntl(f->block->fd, F_GETFL) & (O_NONBLOCK | O_ACCMODE), O_RDWR);
    assert_int_equal(block_sector_bytes(f->block), 512);
    assert_int_equal(block_bytes(f->block), 4096 * 3 + 512);
    assert_false(block_discards(f->block)); /* not asked for */
    assert_int_equal(do_io(f->block, BLOCK_DISCARD, 0, NULL, 512), -EOPNOTSUPP);
    assert_int_equal(block_close(f->block), 0);
    f->block = NULL;

    config.sector_bytes = 4096;
    must_refuse(f, &config, -EINVAL, "12800 bytes, no multiple of 4096");
    make_image(f->path, 4096 * 3);
    config.sector_bytes = 1024;
    must_refuse(f, &config, -EINVAL, "sectors of 1024 bytes");
    config.sector_bytes = 4096;
    assert_int_equal(open_block(f, &config), 0);
    assert_int_equal(block_sector_bytes(f->block), 4096);
    assert_int_equal(do_io(f->block, BLOCK_READ, 4096, data, 4096), 0);
    assert_int_equal(do_io(f->block, BLOCK_READ, 512, data, 512), -EINVAL);
}

static void test_read_only(void **state)
{
    struct fixture *f = *state;
    const struct block_config config = {.path = f->path, .readonly = true, .discard = true, .aio = f->aio};
    uint8_t data[512];

    assert_int_equal(open_block(f, &config), 0);
    assert_true(block_readonly(f->block));
    assert_false(block_discards(f->block));
    assert_int_equal(do_io(f->block, BLOCK_READ, 0, data, 512), 0);
    assert_int_equal(do_io(f->block, BLOCK_FLUSH, 0, NULL, 0), 0);
    assert_int_equal(do_io(f->block, BLOCK_WRITE, 0, data, 512), -EROFS);
    assert_int_equal(do_io(f->block, BLOCK_DISCARD, 0, NULL, 512), -EROFS);
    assert_int_equal(do_io(f->block, BLOCK_WRITE_ZEROES, 0, NULL, 512), -EROFS);
}

/* ---- locks ---- */

static void test_lock_in_one_process(void **state)
{
    struct fixture *f = *state;
    const struct block_config writer = {.path = f->path, .aio = f->aio};
    const struct block_config reader = {.path = f->path, .aio = f->aio, .readonly = true};
    struct block *first, *second;

    assert_int_equal(block_open(&writer, &first, f->error, sizeof(f->error)), 0);
    must_refuse(f, &writer, -EBUSY, "this same machine has it locked");
    must_refuse(f, &reader, -EBUSY, "this same machine has it locked for writing");
    assert_int_equal(block_close(first), 0);

    assert_int_equal(block_open(&reader, &first, f->error, sizeof(f->error)), 0);
    assert_int_equal(block_open(&reader, &second, f->error, sizeof(f->error)), 0);
    must_refuse(f, &writer, -EBUSY, "or let all of them only read");
    assert_int_equal(block_close(first), 0);
    must_refuse(f, &writer, -EBUSY, "this same machine");
    assert_int_equal(block_close(second), 0);
    must_open(f); /* the lock goes with the last */
}

static void test_lock_of_another_process(void **state)
{
    struct fixture *f = *state;
    const struct block_config config = {.path = f->path, .aio = f->aio};
    char expected[64], byte;
    int ready[2];

    assert_int_equal(pipe(ready), 0);
    (void)fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        /* As QEMU does it: read locks on single bytes. */
        struct flock lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = 100, .l_len = 1};
        int fd = open(f->path, O_RDWR | O_CLOEXEC);
        CHECK(prctl(PR_SET_NAME, "other") == 0);
        CHECK(fcntl(fd, F_OFD_SETLK, &lock) == 0);
        CHECK(write(ready[1], "x", 1) == 1);
        for (;;)
            (void)pause();
    }
    assert_int_equal(read(ready[0], &byte, 1), 1);
    (void)snprintf(expected, sizeof(expected), "process %d ('other') has it locked; end that one", (int)pid);
    must_refuse(f, &config, -EBUSY, expected);
    (void)kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    (void)close(ready[0]);
    (void)close(ready[1]);
    must_open(f); /* the lock goes with the process */
}

/* ---- the engine ---- */

/* From now on the system call `number` fails with EPERM, as under a container's filter. For all threads to come. */
static void forbid(long number)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)number, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const struct sock_fprog program = {.len = sizeof(code) / sizeof(code[0]), .filter = code};

    CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
}

static void open_without_io_uring(struct fixture *f)
{
    struct block_config config = {.path = f->path, .aio = BLOCK_AIO_URING};
    uint8_t data[512] = {1};

    CHECK(open_block(f, &config) == -ENOTSUP);
    CHECK(strstr(f->error, "io_uring was asked for, and cannot be used here"));
    CHECK(strstr(f->error, f->path));
    config.aio = BLOCK_AIO_AUTO;
    CHECK(open_block(f, &config) == 0);
    CHECK(!strcmp(block_engine(f->block), "threads"));
    CHECK(do_io(f->block, BLOCK_WRITE, 512, data, 512) == 0);
    CHECK(do_io(f->block, BLOCK_FLUSH, 0, NULL, 0) == 0);
    CHECK(block_close(f->block) == 0);
}

static void child_without_setup(struct fixture *f)
{
    forbid(SYS_io_uring_setup);
    open_without_io_uring(f);
}

static void child_without_enter(struct fixture *f)
{
    forbid(SYS_io_uring_enter);
    open_without_io_uring(f);
}

static void child_without_register(struct fixture *f)
{
    forbid(SYS_io_uring_register);
    open_without_io_uring(f);
}

static void test_io_uring_forbidden(void **state)
{
    struct fixture *f = *state;
    in_child(f, child_without_setup);
    in_child(f, child_without_enter);
    in_child(f, child_without_register);
}

static void child_forbidden_later(struct fixture *f)
{
    const struct block_config config = {.path = f->path, .aio = BLOCK_AIO_URING};
    static struct io ios[200];
    static uint8_t data[200][512];
    struct block_stats stats;

    CHECK(open_block(f, &config) == 0);
    forbid(SYS_io_uring_enter);
    block_reap(f->block);
    for (unsigned i = 0; i < 200; i++) {
        memset(data[i], (int)i, sizeof(data[i]));
        io_init(&ios[i], BLOCK_WRITE, i * 512u, data[i], 512);
        ios[i].request.next = i < 199 ? &ios[i + 1].request : NULL;
    }
    block_submit_chain(f->block, &ios[0].request);
    block_drain(f->block);
    for (unsigned i = 0; i < 200; i++)
        CHECK(ios[i].told == 1 && ios[i].result == 0);
    block_stats(f->block, &stats);
    CHECK(stats.fell_back == 200);
    CHECK(do_io(f->block, BLOCK_READ, 199 * 512, data[0], 512) == 0);
    CHECK(data[0][511] == 199);
    CHECK(do_io(f->block, BLOCK_FLUSH, 0, NULL, 0) == 0);
    CHECK(block_close(f->block) == 0);
}

static void test_io_uring_forbidden_later(void **state)
{
    in_child(*state, child_forbidden_later);
}

static void test_automatic(void **state)
{
    struct fixture *f = *state;
    const struct block_config config = {.path = f->path};
    assert_int_equal(open_block(f, &config), 0);
    assert_string_equal(block_engine(f->block), uring_works() ? "io_uring" : "threads");
}

/* A signal for the process must not be taken by one of a disk's threads: its handler would run, and the main thread's
 * system call would not be interrupted. Signals of faults are a thread's own: blocked, they would end the process
 * without their handler. */
/* Of a task: whether it is a thread of the block device's, and the signals it blocks, bit n - 1 for signal n. */
static bool is_block_thread(const char *task, uint64_t *blocked)
{
    char path[64], line[128], name[32] = "";
    unsigned long long mask = 0;
    (void)snprintf(path, sizeof(path), "/proc/self/task/%.20s/status", task);
    FILE *file = task[0] == '.' ? NULL : fopen(path, "re");
    while (file && fgets(line, sizeof(line), file)) {
        (void)sscanf(line, "Name: %31s", name);
        (void)sscanf(line, "SigBlk: %llx", &mask);
    }
    if (file)
        (void)fclose(file);
    *blocked = mask & 0x7fffffff; /* without the real-time ones */
    return strcmp(name, "block") == 0;
}

static void test_threads_block_signals(void **state)
{
    struct fixture *f = *state;
    const int unblocked[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGSYS, SIGKILL, SIGSTOP};
    uint64_t wanted = 0x7fffffff, blocked;
    unsigned found = 0;

    for (unsigned i = 0; i < sizeof(unblocked) / sizeof(unblocked[0]); i++)
        wanted &= ~(UINT64_C(1) << (unblocked[i] - 1));
    must_open(f);
    DIR *dir = opendir("/proc/self/task");
    assert_non_null(dir);
    for (const struct dirent *entry; (entry = readdir(dir));) {
        if (!is_block_thread(entry->d_name, &blocked))
            continue;
        found++;
        /* A thread that does not run yet blocks all: pthread_create() sees to that. */
        for (unsigned tries = 0; tries < 2000 && blocked != wanted; tries++) {
            usleep(1000);
            is_block_thread(entry->d_name, &blocked);
        }
        assert_int_equal(blocked, wanted);
    }
    (void)closedir(dir);
    assert_int_equal(found, f->aio == BLOCK_AIO_URING ? 1 : BLOCK_POOL_THREADS);
}

/* ---- a full host ---- */

static bool write_text(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    bool written = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    if (fd >= 0)
        (void)close(fd);
    return written;
}

/* Mounts 1 MiB of memory over the fixture's folder, for this process alone. */
static bool mount_small(struct fixture *f)
{
    char users[64], groups[64];

    (void)snprintf(users, sizeof(users), "0 %u 1", (unsigned)geteuid());
    (void)snprintf(groups, sizeof(groups), "0 %u 1", (unsigned)getegid());
    if (geteuid() == 0) {
        if (unshare(CLONE_NEWNS))
            return false;
    } else if (unshare(CLONE_NEWNS | CLONE_NEWUSER) || !write_text("/proc/self/uid_map", users) ||
               !write_text("/proc/self/setgroups", "deny") || !write_text("/proc/self/gid_map", groups)) {
        return false;
    }
    return mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) == 0 &&
           mount("small", f->dir, "tmpfs", 0, "size=1m,mode=700") == 0;
}

static void child_on_a_full_host(struct fixture *f)
{
    const struct block_config config = {.path = f->path, .discard = true, .aio = f->aio};
    static uint8_t data[512 * 1024], back[512 * 1024];

    if (!mount_small(f))
        _exit(SKIPPED);
    int fd = open(f->path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    CHECK(fd >= 0 && ftruncate(fd, 8 * MIB) == 0 && close(fd) == 0);
    CHECK(open_block(f, &config) == 0);
    CHECK(block_discards(f->block));
    memset(data, 0x33, sizeof(data));
    CHECK(do_io(f->block, BLOCK_WRITE, 0, data, sizeof(data)) == 0);
    int second = do_io(f->block, BLOCK_WRITE, MIB, data, sizeof(data));
    int third = do_io(f->block, BLOCK_WRITE, 2 * MIB, data, sizeof(data));
    CHECK(second == 0 || second == -ENOSPC); /* its last page may be the one too many */
    CHECK(third == -ENOSPC);
    CHECK(do_io(f->block, BLOCK_READ, 0, back, sizeof(back)) == 0);
    CHECK(!memcmp(back, data, sizeof(data)));
    /* What the guest gives back it can use again. */
    CHECK(do_io(f->block, BLOCK_DISCARD, 0, NULL, 2 * MIB) == 0);
    CHECK(do_io(f->block, BLOCK_WRITE, 3 * MIB, data, sizeof(data) / 2) == 0);
    CHECK(do_io(f->block, BLOCK_READ, 3 * MIB, back, sizeof(back) / 2) == 0);
    CHECK(!memcmp(back, data, sizeof(data) / 2));
    /* This file system has no way to zero a range but to write zeroes. */
    CHECK(do_io(f->block, BLOCK_WRITE_ZEROES, 3 * MIB + 512, NULL, 100 * 1024) == 0);
    CHECK(do_io(f->block, BLOCK_READ, 3 * MIB, back, sizeof(back) / 2) == 0);
    CHECK(back[511] == 0x33 && back[512] == 0 && back[100 * 1024 + 511] == 0 && back[100 * 1024 + 512] == 0x33);
    CHECK(do_io(f->block, BLOCK_WRITE_ZEROES, 4 * MIB, NULL, 2 * MIB) == -ENOSPC);
    CHECK(block_close(f->block) == 0);
}

static void test_a_full_host(void **state)
{
    in_child(*state, child_on_a_full_host);
}

/* ---- block devices ---- */

/* A loop device over the fixture's image, for root where there are some: returns its descriptor, -1: none to be had. */
static int attach(struct fixture *f, char *name, size_t bytes, bool readonly)
{
    struct loop_config config = {.info.lo_flags = LO_FLAGS_AUTOCLEAR | (readonly ? LO_FLAGS_READ_ONLY : 0)};
    int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC), loop = -1;

    for (unsigned attempt = 0; control >= 0 && loop < 0 && attempt < 10; attempt++) {
        int number = ioctl(control, LOOP_CTL_GET_FREE);
        (void)snprintf(name, bytes, "/dev/loop%d", number);
        loop = number < 0 ? -1 : open(name, (readonly ? O_RDONLY : O_RDWR) | O_CLOEXEC);
        int file = open(f->path, (readonly ? O_RDONLY : O_RDWR) | O_CLOEXEC);
        config.fd = (uint32_t)file;
        if (loop >= 0 && ioctl(loop, LOOP_CONFIGURE, &config) < 0) { /* somebody else was faster */
            (void)close(loop);
            loop = -1;
        }
        (void)close(file);
    }
    if (control >= 0)
        (void)close(control);
    return loop;
}

static void test_block_device(void **state)
{
    struct fixture *f = *state;
    char name[32];
    int loop = attach(f, name, sizeof(name), false);
    struct block_config config = {.path = name, .discard = true, .aio = f->aio};
    uint8_t *data = calloc(1, IMAGE_BYTES), *expected = malloc(IMAGE_BYTES);
    struct stat info;

    if (loop < 0) {
        free(data);
        free(expected);
        skip();
    }
    assert_int_equal(open_block(f, &config), 0);
    (void)close(loop);
    assert_int_equal(block_bytes(f->block), IMAGE_BYTES);
    assert_true(block_discards(f->block));
    struct block *device = f->block;
    f->block = NULL;
    must_refuse(f, &config, -EBUSY, "mounted or otherwise in use");
    config.readonly = true;
    must_refuse(f, &config, -EBUSY, "this same machine has it locked for writing");

    memset(data, 0x44, IMAGE_BYTES);
    memset(expected, 0x44, IMAGE_BYTES);
    assert_int_equal(do_io(device, BLOCK_WRITE, 0, data, IMAGE_BYTES), 0);
    assert_int_equal(do_io(device, BLOCK_FLUSH, 0, NULL, 0), 0);
    assert_int_equal(stat(f->path, &info), 0);
    off_t full = info.st_blocks;
    assert_int_equal(do_io(device, BLOCK_WRITE_ZEROES, 512, NULL, 65536), 0);
    memset(expected + 512, 0, 65536);
    assert_int_equal(do_io(device, BLOCK_DISCARD, MIB, NULL, MIB), 0);
    memset(expected + MIB, 0, MIB); /* a loop device makes a hole of it */
    struct io io;
    io_init(&io, BLOCK_WRITE_ZEROES, 2 * MIB, NULL, MIB);
    io.request.unmap = true;
    block_submit(device, &io.request);
    block_drain(device);
    assert_int_equal(io.result, 0);
    memset(expected + 2 * MIB, 0, MIB);
    assert_int_equal(do_io(device, BLOCK_READ, 0, data, IMAGE_BYTES), 0);
    assert_memory_equal(data, expected, IMAGE_BYTES);
    assert_int_equal(do_io(device, BLOCK_FLUSH, 0, NULL, 0), 0);
    assert_int_equal(stat(f->path, &info), 0);
    assert_in_range(info.st_blocks, 1, full - 2 * (off_t)MIB / 512 + 64); /* the file system's own: some */
    assert_int_equal(do_io(device, BLOCK_WRITE, IMAGE_BYTES, data, 512), -EINVAL);
    assert_int_equal(block_close(device), 0);
    free(data);
    free(expected);
}

static void test_block_device_that_cannot_be_written(void **state)
{
    struct fixture *f = *state;
    char name[32];
    int loop = attach(f, name, sizeof(name), true);
    struct block_config config = {.path = name, .discard = true, .aio = f->aio};
    uint8_t data[512];

    if (loop < 0)
        skip();
    int ret = open_block(f, &config); /* by open() or by BLKROGET, as the kernel is old or new */
    if (ret != -EROFS && ret != -EACCES)
        fail_msg("%d: %s", ret, f->error);
    assert_non_null(strstr(f->error, "make the disk read-only"));
    config.readonly = true;
    assert_int_equal(open_block(f, &config), 0);
    (void)close(loop);
    assert_int_equal(do_io(f->block, BLOCK_READ, 0, data, 512), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_THREADS(test_what_is_no_disk),       ON_THREADS(test_sectors),
        ON_THREADS(test_lock_in_one_process),   ON_THREADS(test_lock_of_another_process),
        ON_THREADS(test_io_uring_forbidden),    ON_THREADS(test_automatic),
        ON_THREADS(test_threads_block_signals), ON_THREADS(test_a_full_host),
        ON_THREADS(test_block_device),          ON_THREADS(test_block_device_that_cannot_be_written),
    };
    const struct CMUnitTest uring_tests[] = {
        ON_URING(test_sectors),
        ON_URING(test_read_only),
        ON_URING(test_lock_of_another_process),
        ON_URING(test_io_uring_forbidden_later),
        ON_URING(test_threads_block_signals),
        ON_URING(test_a_full_host),
        ON_URING(test_block_device),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    if (uring_works())
        failed += cmocka_run_group_tests(uring_tests, NULL, NULL);
    else
        print_message("io_uring cannot be used here: its engine is not tested\n");
    return failed;
}
