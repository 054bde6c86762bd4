/* SPDX-License-Identifier: BSD-2-Clause */
/* A daemon for a test: the program itself, started and killed as a supervisor would. Included once by each test. */
#ifndef TEST_DAEMON_H
#define TEST_DAEMON_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <ringd/client.h>

static const char *program; /* ringd */
static char directory[64], path[96];
static pid_t daemon_pid;

static inline uint64_t clock_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static inline void sleep_ms(unsigned ms)
{
    struct timespec ts = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
    nanosleep(&ts, NULL);
}

static inline int raw_connect(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (const void *)&address, sizeof(address)) < 0) {
        close(fd);
        return -1;
    }
    return fd;
}

/* `extra` and `value`: one more option, or NULL. Does not wait until it listens. The daemon ends with the calling
 * thread. */
static inline void launch_daemon(const char *extra, const char *value)
{
    fflush(NULL);
    daemon_pid = fork();
    assert_true(daemon_pid >= 0);
    if (daemon_pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* a test that dies leaves no daemon; sent when the thread ends */
        execl(program, program, "--socket", path, extra, value, (char *)NULL);
        _exit(127);
    }
}

static inline void start_daemon(const char *extra, const char *value)
{
    launch_daemon(extra, value);
    for (unsigned i = 0; i < 2000; i++) {
        int fd = raw_connect();
        if (fd >= 0) {
            close(fd);
            return;
        }
        sleep_ms(5);
    }
    fail_msg("ringd does not listen");
}

/* Ends it and checks that it was well until then. */
static inline void end_daemon(int signal)
{
    int status = 0;
    pid_t ended = 0;
    kill(daemon_pid, SIGCONT); /* a test that failed may have left it stopped */
    kill(daemon_pid, signal);  /* last: a SIGCONT would undo the SIGSTOP by which LeakSanitizer looks at what ends */
    for (unsigned i = 0; i < 2000 && !ended; i++, sleep_ms(ended ? 0 : 5))
        ended = waitpid(daemon_pid, &status, WNOHANG);
    if (!ended) {
        kill(daemon_pid, SIGKILL);
        waitpid(daemon_pid, &status, 0);
        fail_msg("ringd hangs");
    }
    daemon_pid = 0;
    /* SIGTERM ends it like that as long as it has not come to its loop. */
    bool killed = WIFSIGNALED(status) && WTERMSIG(status) == signal;
    assert_true(killed || (signal != SIGKILL && WIFEXITED(status) && WEXITSTATUS(status) == 0));
}

static inline int setup_directory(void **unused)
{
    (void)unused;
    strcpy(directory, "/tmp/ringd-test-XXXXXX");
    if (!mkdtemp(directory))
        return -1;
    snprintf(path, sizeof(path), "%s/socket", directory);
    return 0;
}

static inline int setup_daemon(void **unused)
{
    if (setup_directory(unused))
        return -1;
    start_daemon(NULL, NULL);
    return 0;
}

static inline int teardown_daemon(void **unused)
{
    (void)unused;
    if (daemon_pid)
        end_daemon(SIGTERM);
    unlink(path);
    return rmdir(directory);
}

static inline struct ringd_client *connect_client(void)
{
    struct ringd_client_config config = {.path = path};
    struct ringd_client *client;
    assert_int_equal(ringd_client_create(&config, &client), 0);
    return client;
}

static inline uint64_t take_back(int fd)
{
    uint64_t count = 0;
    ssize_t done = read(fd, &count, sizeof(count));
    return done == sizeof(count) ? count : 0;
}

#endif
