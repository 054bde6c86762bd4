/* SPDX-License-Identifier: BSD-2-Clause */
#include "chardev_fixture.h"

#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>

static size_t file_size(const char *path)
{
    struct stat info;
    return stat(path, &info) ? SIZE_MAX : (size_t)info.st_size;
}

/* ---- text ---- */

static void test_parse(void **state)
{
    (void)state;
    char exact[128] = "unix:", longer[128] = "unix:";
    memset(exact + 5, 'a', 107);
    memset(longer + 5, 'a', 108);
    const struct {
        const char *text;
        int ret, kind;
        const char *path_or_error;
    } cases[] = {
        {"stdio", 0, CHARDEV_STDIO, NULL},
        {"null", 0, CHARDEV_NULL, NULL},
        {"pty", 0, CHARDEV_PTY, NULL},
        {"file:a b:c", 0, CHARDEV_FILE, "a b:c"},
        {"unix:/run/x", 0, CHARDEV_UNIX, "/run/x"},
        {exact, 0, CHARDEV_UNIX, exact + 5},
        {longer, -EINVAL, 0, "at most 107 bytes"},
        {"file:", -EINVAL, 0, "'file:' needs a path after the colon"},
        {"unix:", -EINVAL, 0, "'unix:' needs a path after the colon"},
        {"", -EINVAL, 0, "'' is none of stdio, null, pty, file:PATH and unix:PATH"},
        {"file", -EINVAL, 0, "'file' is none of"},
        {"stdio:", -EINVAL, 0, "'stdio:' is none of"},
        {"Null", -EINVAL, 0, "'Null' is none of"},
        {"pty:", -EINVAL, 0, "'pty:' is none of"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct chardev_spec spec = {0};
        char error[256] = "";
        assert_int_equal(chardev_parse(cases[i].text, &spec, error, sizeof(error)), cases[i].ret);
        if (cases[i].ret) {
            assert_non_null(strstr(error, cases[i].path_or_error));
            assert_null(strchr(error, '\n'));
            continue;
        }
        assert_int_equal(spec.kind, cases[i].kind);
        if (cases[i].path_or_error)
            assert_string_equal(spec.path, cases[i].path_or_error);
        else
            assert_null(spec.path);
    }
}

/* ---- buffer ---- */

static void test_null(void **state)
{
    struct fixture *f = *state;
    must_open(f, "null", true);
    put(f->chr, "hello");
    assert_int_equal(chardev_flush(f->chr, 0), 0);
    assert_int_equal(stats(f->chr).dropped, 0);
    assert_int_equal(close_chardev(f), 0);
}

static void test_file_is_emptied_and_written(void **state)
{
    struct fixture *f = *state;
    int fd = open(f->path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_int_equal(write(fd, "older and longer", 16), 16);
    (void)close(fd);
    must_open(f, "file:", false);
    put(f->chr, "one ");
    RUN_UNTIL(f, stats(f->chr).written == 4);
    put(f->chr, "two");
    assert_int_equal(chardev_flush(f->chr, 1000), 0);
    assert_int_equal(close_chardev(f), 0);
    expect_file(f->path, "one two");
}

static void test_bound(void **state)
{
    struct fixture *f = *state;
    must_open(f, "file:", false);
    put_pattern(f->chr, CHARDEV_BUFFER_MAX - 10);
    put(f->chr, "0123456789abc");
    put(f->chr, "x");
    assert_int_equal(stats(f->chr).dropped, 4);
    assert_int_equal(chardev_flush(f->chr, 10000), 0);
    assert_int_equal(stats(f->chr).written, CHARDEV_BUFFER_MAX);
    assert_int_equal(file_size(f->path), CHARDEV_BUFFER_MAX);
    put(f->chr, "y"); /* there is room again */
    assert_int_equal(stats(f->chr).dropped, 4);
    FILE *file = fopen(f->path, "re");
    for (size_t i = 0; i < CHARDEV_BUFFER_MAX - 10; i++)
        assert_int_equal(fgetc(file), pattern(i));
    char tail[11] = "";
    assert_int_equal(fread(tail, 1, 10, file), 10);
    (void)fclose(file);
    assert_string_equal(tail, "0123456789");
}

#define WRITERS 4
#define EACH    50000u

struct writer {
    struct chardev *chr;
    uint8_t id;
    _Atomic unsigned *running;
};

static void *write_bytes(void *arg)
{
    const struct writer *writer = arg;
    for (unsigned i = 0; i < EACH; i++) {
        uint8_t byte = (uint8_t)((unsigned)writer->id << 6 | (i & 63));
        chardev_write(writer->chr, &byte, 1);
    }
    --*writer->running;
    return NULL;
}

static void test_many_writers(void **state)
{
    struct fixture *f = *state;
    struct writer writers[WRITERS];
    pthread_t threads[WRITERS];
    _Atomic unsigned running = WRITERS;
    must_open(f, "file:", false);
    for (unsigned i = 0; i < WRITERS; i++) {
        writers[i] = (struct writer){f->chr, (uint8_t)i, &running};
        assert_int_equal(pthread_create(&threads[i], NULL, write_bytes, &writers[i]), 0);
    }
    RUN_UNTIL(f, !running && stats(f->chr).written == WRITERS * EACH);
    for (unsigned i = 0; i < WRITERS; i++)
        (void)pthread_join(threads[i], NULL);
    assert_int_equal(stats(f->chr).dropped, 0);
    unsigned next[WRITERS] = {0};
    FILE *file = fopen(f->path, "re");
    for (int c; (c = fgetc(file)) != EOF; next[c >> 6]++)
        assert_int_equal(c & 63, next[c >> 6] & 63);
    (void)fclose(file);
    for (unsigned i = 0; i < WRITERS; i++)
        assert_int_equal(next[i], EACH);
}

/* The first write wakes the loop; those that follow it closely do not, and get out all the same. */
static void test_wake_ups_are_coalesced(void **state)
{
    struct fixture *f = *state;
    must_open(f, "file:", false);
    for (int round = 0; round < 3; round++) {
        size_t before = stats(f->chr).written;
        put(f->chr, "a");
        assert_true(ev_async_pending(&f->chr->wake));
        ev_run(f->loop, EVRUN_ONCE);
        assert_int_equal(stats(f->chr).written, before + 1);
        put(f->chr, "b");
        put(f->chr, "c");
        assert_false(ev_async_pending(&f->chr->wake));
        RUN_UNTIL(f, stats(f->chr).written == before + 3);
        RUN_UNTIL(f, !f->chr->awake);
    }
}

/* ---- failures ---- */

static void test_open_errors(void **state)
{
    struct fixture *f = *state;
    const struct {
        const char *kind, *suffix;
        int expected;
        const char *reason;
    } cases[] = {
        {"file:", "/missing/x", -ENOENT, "for serial output: No such file or directory"},
        {"file:", "", -EISDIR, "Is a directory"},
        {"unix:", "/missing/x", -ENOENT, "No such file or directory"},
        {"unix:", "", -EEXIST, "for serial: it exists and is not a socket"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct chardev *chr = NULL;
        char text[128];
        (void)snprintf(text, sizeof(text), "%s%s%s", cases[i].kind, f->dir, cases[i].suffix);
        assert_int_equal(try_open(f, text, false, &chr), cases[i].expected);
        assert_non_null(strstr(f->error, cases[i].reason));
        assert_non_null(strstr(f->error, f->dir));
    }
    assert_int_equal(mkfifo(f->path, 0600), 0);
    struct chardev *chr = NULL;
    (void)snprintf(f->warning, sizeof(f->warning), "file:%s", f->path);
    assert_int_equal(try_open(f, f->warning, false, &chr), -ENXIO);
    assert_non_null(strstr(f->error, "nobody reads it"));
}

static void test_full_disk(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(try_open(f, "file:/dev/full", false, &f->chr), 0);
    expect_failure(f, ENOSPC,
                   "cannot write serial output to '/dev/full': No space left on device; further output is dropped");
}

/* ---- sockets ---- */

static struct sockaddr_un address_of(const struct fixture *f)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strcpy(address.sun_path, f->path);
    return address;
}

static int connect_client(const struct fixture *f)
{
    struct sockaddr_un address = address_of(f);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    return fd;
}

static void expect_from(struct fixture *f, int fd, const char *expected)
{
    char data[64] = "";
    size_t got = 0, want = strlen(expected);
    for (int turn = 0; turn < 10000 && got < want; turn++) {
        ev_run(f->loop, EVRUN_NOWAIT);
        ssize_t n = read(fd, data + got, want - got);
        got += n > 0 ? (size_t)n : 0;
        (void)poll(NULL, 0, 1);
    }
    assert_string_equal(data, expected);
}

static void test_unix_clients(void **state)
{
    struct fixture *f = *state;
    char byte;
    must_open(f, "unix:", true);
    put(f->chr, "early ");
    run_for(f, 5);
    assert_int_equal(chardev_flush(f->chr, 10), -ENOTCONN);
    int first = connect_client(f);
    expect_from(f, first, "early ");
    int second = connect_client(f); /* waits its turn */
    put(f->chr, "one");
    expect_from(f, first, "one");
    assert_int_equal(write(first, "in1", 3), 3);
    RUN_UNTIL(f, f->input_size == 3);
    assert_int_equal(read(second, &byte, 1), -1);
    assert_int_equal(errno, EAGAIN);
    (void)close(first);
    assert_int_equal(write(second, "in2", 3), 3);
    RUN_UNTIL(f, f->input_size == 6);
    assert_memory_equal(f->input, "in1in2", 6);
    put(f->chr, "two");
    expect_from(f, second, "two");
    (void)close(second);
    run_for(f, 5);
    put(f->chr, "three"); /* for whoever comes next */
    run_for(f, 5);
    int third = connect_client(f);
    expect_from(f, third, "three");
    assert_int_equal(chardev_failed(f->chr), 0);
    assert_int_equal(f->warnings, 0);
    assert_int_equal(close_chardev(f), 0);
    assert_int_equal(access(f->path, F_OK), -1);
    assert_int_equal(read(third, &byte, 1), 0);
    (void)close(third);
}

/* A client that does not read holds nobody up; one that leaves in the middle loses only what it was given. */
static void test_unix_slow_client(void **state)
{
    struct fixture *f = *state;
    must_open(f, "unix:", false);
    int client = connect_client(f);
    put_pattern(f->chr, CHARDEV_BUFFER_MAX);
    run_for(f, 10);
    uint64_t written = stats(f->chr).written;
    assert_true(written > 0 && written < CHARDEV_BUFFER_MAX);
    assert_int_equal(chardev_flush(f->chr, 10), -ETIMEDOUT);
    (void)close(client);
    assert_int_equal(chardev_flush(f->chr, 10), -ENOTCONN);
    client = connect_client(f);
    uint8_t data[4096];
    size_t got = 0;
    for (int turn = 0; turn < 10000 && written + got < CHARDEV_BUFFER_MAX; turn++) {
        ev_run(f->loop, EVRUN_NOWAIT);
        for (ssize_t n; (n = read(client, data, sizeof(data))) > 0;)
            for (ssize_t i = 0; i < n; i++)
                assert_int_equal(data[i], pattern(written + got++));
    }
    assert_int_equal(written + got, CHARDEV_BUFFER_MAX);
    (void)close(client);
}

/* The receiver has room for 3 of 20 bytes, and their sender has left. */
static void open_stalled(struct fixture *f)
{
    f->input_room = 3;
    must_open(f, "unix:", true);
    int client = connect_client(f);
    assert_int_equal(write(client, "0123456789abcdefghij", 20), 20);
    RUN_UNTIL(f, f->input_size == 3);
    (void)close(client);
}

static void make_room(struct fixture *f, size_t room)
{
    f->input_room += room;
    chardev_input_ready(f->chr);
}

/* Input that nobody takes keeps no other client out, and is not mistaken for the other's. */
static void test_unix_stalled_client_makes_way(void **state)
{
    struct fixture *f = *state;
    open_stalled(f);
    int next = connect_client(f);
    assert_int_equal(write(next, "next", 4), 4);
    RUN_UNTIL(f, !ev_is_active(&f->chr->stall));
    RUN_UNTIL(f, ev_is_active(&f->chr->stall)); /* for the new one's four bytes */
    assert_int_equal(f->input_size, 3);
    put(f->chr, "hello");
    expect_from(f, next, "hello");
    make_room(f, 100);
    RUN_UNTIL(f, f->input_size == 7);
    assert_memory_equal(f->input, "012next", 7);
    assert_false(ev_is_active(&f->chr->stall));
    (void)close(next);
    RUN_UNTIL(f, ev_is_active(&f->chr->listener));
}

/* One who is still there keeps the place, whoever else waits. */
static void test_unix_stalled_client_stays(void **state)
{
    struct fixture *f = *state;
    f->input_room = 3;
    must_open(f, "unix:", true);
    int client = connect_client(f);
    assert_int_equal(write(client, "01234", 5), 5);
    RUN_UNTIL(f, f->input_size == 3);
    int next = connect_client(f);
    run_for(f, 800);
    assert_true(ev_is_active(&f->chr->stall));
    put(f->chr, "hello");
    expect_from(f, client, "hello");
    make_room(f, 2);
    RUN_UNTIL(f, f->input_size == 5);
    assert_memory_equal(f->input, "01234", 5);
    (void)close(client);
    (void)close(next);
}

/* What was sent before leaving arrives while nobody else wants the place, or while a slow receiver takes it. */
static void test_unix_input_of_a_departed_client(void **state)
{
    struct fixture *f = *state;
    open_stalled(f);
    run_for(f, 800);
    make_room(f, 1);
    RUN_UNTIL(f, f->input_size == 4);
    int next = connect_client(f);
    assert_int_equal(write(next, "next", 4), 4);
    for (int i = 0; i < 16; i++) {
        make_room(f, 1);
        run_for(f, 60);
    }
    assert_int_equal(f->input_size, 20);
    make_room(f, 100);
    RUN_UNTIL(f, f->input_size == 24);
    assert_memory_equal(f->input, "0123456789abcdefghijnext", 24);
    (void)close(next);
}

static void test_unix_output_finds_nobody(void **state)
{
    struct fixture *f = *state;
    open_stalled(f);
    put(f->chr, "early ");
    RUN_UNTIL(f, ev_is_active(&f->chr->listener));
    make_room(f, 100);
    run_for(f, 5);
    assert_int_equal(f->input_size, 3);
    int next = connect_client(f);
    expect_from(f, next, "early ");
    assert_int_equal(write(next, "next", 4), 4);
    RUN_UNTIL(f, f->input_size == 7);
    assert_memory_equal(f->input, "012next", 7);
    (void)close(next);
}

static void test_unix_file_in_the_way(void **state)
{
    struct fixture *f = *state;
    struct sockaddr_un address = address_of(f);
    struct chardev *other = NULL;
    char text[128];
    (void)snprintf(text, sizeof(text), "unix:%s", f->path);
    /* A dead process leaves its file behind. */
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(fd, 1), 0);
    assert_int_equal(try_open(f, text, false, &other), -EADDRINUSE);
    (void)close(fd);
    must_open(f, "unix:", false);
    assert_int_equal(try_open(f, text, false, &other), -EADDRINUSE);
    assert_non_null(strstr(f->error, "for serial: another process does"));
    (void)close(connect_client(f)); /* the refused one has not harmed the first */
    /* A file that somebody else has put there meanwhile is not ours to remove. */
    assert_int_equal(unlink(f->path), 0);
    (void)close(open(f->path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    assert_int_equal(close_chardev(f), 0);
    assert_int_equal(access(f->path, F_OK), 0);
    assert_int_equal(try_open(f, text, false, &other), -EEXIST);
    assert_int_equal(access(f->path, F_OK), 0);
}

/* ---- input ---- */

static void *make_room_for_input(void *arg)
{
    struct fixture *f = arg;
    for (int i = 0; i < 1000; i++) {
        f->input_room += 10;
        chardev_input_ready(f->chr);
        if (i % 50 == 0)
            (void)poll(NULL, 0, 1);
    }
    return NULL;
}

static void test_input_waits_for_room(void **state)
{
    struct fixture *f = *state;
    int ends[2];
    uint8_t data[10000];
    pthread_t thread;
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    (void)dup2(ends[0], STDIN_FILENO);
    (void)close(ends[0]);
    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = pattern(i);
    f->input_room = 3;
    must_open(f, "stdio", true);
    assert_int_equal(write(ends[1], data, sizeof(data)), sizeof(data));
    RUN_UNTIL(f, f->input_size == 3);
    run_for(f, 5);
    assert_int_equal(f->input_size, 3);
    assert_false(ev_is_active(&f->chr->readable));
    assert_int_equal(pthread_create(&thread, NULL, make_room_for_input, f), 0);
    RUN_UNTIL(f, f->input_size == sizeof(data));
    (void)pthread_join(thread, NULL);
    assert_memory_equal(f->input, data, sizeof(data));
    RUN_UNTIL(f, ev_is_active(&f->chr->readable));
    (void)close(ends[1]); /* end of file: input stops, nothing else does */
    RUN_UNTIL(f, !ev_is_active(&f->chr->readable));
    assert_int_equal(f->warnings, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse),
        TEST(test_null),
        TEST(test_file_is_emptied_and_written),
        TEST(test_bound),
        TEST(test_many_writers),
        TEST(test_wake_ups_are_coalesced),
        TEST(test_open_errors),
        TEST(test_full_disk),
        TEST(test_unix_clients),
        TEST(test_unix_slow_client),
        TEST(test_unix_stalled_client_makes_way),
        TEST(test_unix_stalled_client_stays),
        TEST(test_unix_input_of_a_departed_client),
        TEST(test_unix_output_finds_nobody),
        TEST(test_unix_file_in_the_way),
        TEST(test_input_waits_for_room),
    };
    (void)signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests_name("chardev", tests, NULL, NULL);
}
