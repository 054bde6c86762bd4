/* SPDX-License-Identifier: BSD-2-Clause */
/* For the tests of chardevs: a loop, a folder of its own, the standard descriptors kept safe, and what came out. */
#ifndef CHARDEV_FIXTURE_H
#define CHARDEV_FIXTURE_H

#define _GNU_SOURCE 1 /* pipe2, ptsname_r */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <ev.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vmm/chardev.h"
#include "vmm/chardev_internal.h"

struct fixture {
    struct ev_loop *loop;
    struct chardev *chr;
    char dir[32], path[64];
    int saved[2]; /* the real standard input and output */
    char error[256], warning[256];
    unsigned warnings;
    uint8_t input[65536]; /* what on_input() took */
    size_t input_size;
    _Atomic size_t input_room;
    bool keys;         /* on_key is given */
    char keys_seen[8]; /* as they came */
};

static inline void on_warning(void *ctx, const char *line)
{
    struct fixture *f = ctx;
    f->warnings++;
    (void)snprintf(f->warning, sizeof(f->warning), "%s", line);
}

static inline size_t on_input(void *ctx, const uint8_t *data, size_t len)
{
    struct fixture *f = ctx;
    size_t room = f->input_room;
    len = len < room ? len : room;
    memcpy(f->input + f->input_size, data, len);
    f->input_size += len;
    f->input_room -= len;
    return len;
}

static inline void on_key(void *ctx, enum chardev_key key)
{
    struct fixture *f = ctx;
    static const char letters[] = {
        [CHARDEV_KEY_QUIT] = 'x',  [CHARDEV_KEY_HELP] = 'h',  [CHARDEV_KEY_BREAK] = 'b',
        [CHARDEV_KEY_PAUSE] = 'p', [CHARDEV_KEY_RESET] = 'r', [CHARDEV_KEY_POWER_BUTTON] = 'o',
    };
    size_t len = strlen(f->keys_seen);
    assert_true(len + 1 < sizeof(f->keys_seen));
    f->keys_seen[len] = letters[key];
}

static inline int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    f->loop = ev_loop_new(EVFLAG_NOENV);
    f->input_room = sizeof(f->input);
    strcpy(f->dir, "/tmp/test_chardev.XXXXXX");
    *state = f;
    if (!mkdtemp(f->dir))
        return -1;
    (void)snprintf(f->path, sizeof(f->path), "%s/x", f->dir);
    (void)fflush(stdout);
    for (int fd = 0; fd < 2; fd++)
        f->saved[fd] = fcntl(fd, F_DUPFD_CLOEXEC, 10);
    return 0;
}

static inline int teardown(void **state)
{
    struct fixture *f = *state;
    chardev_close(f->chr);
    for (int fd = 0; fd < 2; fd++) {
        (void)dup2(f->saved[fd], fd);
        (void)close(f->saved[fd]);
    }
    (void)unlink(f->path);
    int ret = rmdir(f->dir);
    ev_loop_destroy(f->loop);
    free(f);
    return ret;
}

static inline int try_open(struct fixture *f, const char *text, bool input, struct chardev **out)
{
    struct chardev_spec spec;
    const struct chardev_config config = {.loop = f->loop,
                                          .name = "serial",
                                          .on_input = input ? on_input : NULL,
                                          .on_key = f->keys ? on_key : NULL,
                                          .warn = on_warning,
                                          .ctx = f};
    assert_int_equal(chardev_parse(text, &spec, f->error, sizeof(f->error)), 0);
    return chardev_open(&spec, &config, out, f->error, sizeof(f->error));
}

static inline struct chardev *must_open(struct fixture *f, const char *kind, bool input)
{
    char text[128];
    (void)snprintf(text, sizeof(text), "%s%s", kind, strchr(kind, ':') ? f->path : "");
    assert_int_equal(try_open(f, text, input, &f->chr), 0);
    return f->chr;
}

static inline int close_chardev(struct fixture *f)
{
    int ret = chardev_close(f->chr);
    f->chr = NULL;
    return ret;
}

static inline void put(struct chardev *chr, const char *text)
{
    chardev_write(chr, (const uint8_t *)text, strlen(text));
}

/* Runs the loop until `condition` holds, for at most 10 seconds. */
#define RUN_UNTIL(f, condition)                                                                                        \
    do {                                                                                                               \
        for (int turn_ = 0; turn_ < 10000 && !(condition); turn_++) {                                                  \
            ev_run((f)->loop, EVRUN_NOWAIT);                                                                           \
            (void)poll(NULL, 0, 1);                                                                                    \
        }                                                                                                              \
        assert_true(condition);                                                                                        \
    } while (0)

static inline void run_for(struct fixture *f, int ms)
{
    for (int i = 0; i < ms; i++) {
        ev_run(f->loop, EVRUN_NOWAIT);
        (void)poll(NULL, 0, 1);
    }
}

static inline struct chardev_stats stats(struct chardev *chr)
{
    struct chardev_stats result;
    chardev_stats(chr, &result);
    return result;
}

static inline uint8_t pattern(size_t i)
{
    return (uint8_t)(i * 31 + i / 256);
}

static inline void put_pattern(struct chardev *chr, size_t size)
{
    uint8_t *data = malloc(size);
    for (size_t i = 0; i < size; i++)
        data[i] = pattern(i);
    chardev_write(chr, data, size);
    free(data);
}

static inline void expect_file(const char *path, const char *expected)
{
    char content[256] = "";
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    ssize_t got = read(fd, content, sizeof(content) - 1);
    (void)close(fd);
    assert_int_equal(got, strlen(expected));
    assert_string_equal(content, expected);
}

static inline void expect_failure(struct fixture *f, int err, const char *line)
{
    put(f->chr, "lost ");
    RUN_UNTIL(f, chardev_failed(f->chr));
    put(f->chr, "more");
    run_for(f, 5);
    assert_int_equal(chardev_failed(f->chr), err);
    assert_int_equal(f->warnings, 1);
    assert_string_equal(f->warning, line);
    assert_int_equal(stats(f->chr).dropped, 9);
    assert_int_equal(stats(f->chr).written, 0);
    assert_int_equal(chardev_flush(f->chr, 100), -err);
    assert_int_equal(close_chardev(f), -err);
    assert_int_equal(f->warnings, 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif
