/* SPDX-License-Identifier: BSD-2-Clause */
/* For the tests of disks: a folder with an image in it, one engine or the other, and requests that are waited for. */
#ifndef BLOCK_FIXTURE_H
#define BLOCK_FIXTURE_H

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <fcntl.h>
#include <linux/io_uring.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "vmm/block.h"
#include "vmm/block_internal.h"

#define MIB         (1024u * 1024u)
#define IMAGE_BYTES (4u * MIB)
#define SKIPPED     77

struct fixture {
    enum block_aio aio;
    char dir[32], path[64];
    struct block *block;
    char error[512];
};

/* One request, and what became of it. */
struct io {
    struct block_request request;
    struct iovec iov;
    unsigned told;
    int result;
};

static inline void on_done(struct block_request *request, int result)
{
    struct io *io = (struct io *)request;
    io->told++;
    io->result = result;
}

static inline struct io *io_init(struct io *io, enum block_op op, uint64_t offset, void *data, uint64_t bytes)
{
    *io = (struct io){
        .request = {.op = op, .offset = offset, .bytes = bytes, .iov = &io->iov, .iov_count = data ? 1 : 0},
        .iov = {.iov_base = data, .iov_len = (size_t)bytes},
    };
    io->request.done = on_done;
    return io;
}

/* Submits one request and waits for it. Returns its result, or a positive number when it was not told once. */
static inline int do_io(struct block *block, enum block_op op, uint64_t offset, void *data, uint64_t bytes)
{
    struct io io;
    block_submit(block, &io_init(&io, op, offset, data, bytes)->request);
    block_drain(block);
    return io.told == 1 ? io.result : (int)(1000 + io.told);
}

static inline int open_block(struct fixture *f, const struct block_config *config)
{
    f->error[0] = '\0';
    return block_open(config, &f->block, f->error, sizeof(f->error));
}

/* Opens the fixture's image for writing and discarding, with its engine. */
static inline void must_open(struct fixture *f)
{
    const struct block_config config = {.path = f->path, .discard = true, .aio = f->aio};
    if (open_block(f, &config))
        fail_msg("%s", f->error);
    assert_string_equal(block_engine(f->block), f->aio == BLOCK_AIO_URING ? "io_uring" : "threads");
}

static inline void make_image(const char *path, off_t bytes)
{
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, bytes), 0);
    (void)close(fd);
}

/* *state is the engine's number: an element of engines[]. Becomes the fixture. */
static inline int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    f->aio = *(const enum block_aio *)*state;
    (void)strcpy(f->dir, "/tmp/ringvmm-block-XXXXXX");
    if (!mkdtemp(f->dir))
        return -1;
    (void)snprintf(f->path, sizeof(f->path), "%s/disk.img", f->dir);
    make_image(f->path, IMAGE_BYTES);
    *state = f;
    (void)signal(SIGXFSZ, SIG_IGN);
    return 0;
}

static inline int teardown(void **state)
{
    struct fixture *f = *state;
    int err = block_close(f->block);
    (void)unlink(f->path);
    if (rmdir(f->dir))
        err = -1;
    free(f);
    return err;
}

/* Whether this host lets us use io_uring. Asked without the code under test, which must not get away with a no. */
static inline bool uring_works(void)
{
#ifdef HAVE_LIBURING
    struct io_uring_params params = {0};
    int fd = (int)syscall(SYS_io_uring_setup, 4, &params);
    if (fd >= 0)
        (void)close(fd);
    return fd >= 0;
#else
    return false;
#endif
}

static enum block_aio engines[] = {BLOCK_AIO_THREADS, BLOCK_AIO_URING};

#define ON_THREADS(test)                                                                                               \
    {                                                                                                                  \
#test " on threads", test, setup, teardown, &engines[0]                                                        \
    }
#define ON_URING(test)                                                                                                 \
    {                                                                                                                  \
#test " on io_uring", test, setup, teardown, &engines[1]                                                       \
    }

/* In a child process cmocka's assertions would go on with the next test there. */
#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: in a child: %s\n", __FILE__, __LINE__, #condition);                                \
            _exit(1);                                                                                                  \
        }                                                                                                              \
    } while (0)

/* Runs child(f) in a process of its own; it ends by _exit(0), by CHECK(), or by _exit(SKIPPED). */
static inline void in_child(struct fixture *f, void (*child)(struct fixture *f))
{
    int status;

    (void)fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        child(f);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (WIFEXITED(status) && WEXITSTATUS(status) == SKIPPED)
        skip();
    assert_int_equal(status, 0);
}

#endif
