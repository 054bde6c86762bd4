/* SPDX-License-Identifier: BSD-2-Clause */
#include "runner.h"

#include <dirent.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

static volatile sig_atomic_t caught_signal;
static sigset_t outer_mask; /* the caller's signal mask: children get it back */
static char scratch[256];

static void on_signal(int number)
{
    caught_signal = number;
}

/* Those that ask this process to end. */
static const int wanted_signals[] = {SIGINT, SIGTERM, SIGHUP};

#define WANTED_SIGNALS (sizeof(wanted_signals) / sizeof(wanted_signals[0]))

int bench_interrupted(void)
{
    sigset_t pending;

    sigemptyset(&pending);
    (void)sigpending(&pending);
    for (size_t i = 0; i < WANTED_SIGNALS && !caught_signal; i++) {
        if (sigismember(&pending, wanted_signals[i]) == 1)
            caught_signal = wanted_signals[i];
    }
    return caught_signal;
}

static void remove_scratch(void)
{
    DIR *dir = opendir(scratch);

    if (!dir)
        return;
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            (void)unlinkat(dirfd(dir), entry->d_name, 0);
    }
    (void)closedir(dir);
    (void)rmdir(scratch);
}

void bench_setup(void)
{
    int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);

    if (fd < 0)
        err(BENCH_EXIT_SKIP, "skipped: /dev/kvm cannot be opened");
    (void)close(fd);
    bench_setup_without_kvm();
}

void bench_setup_without_kvm(void)
{
    struct sigaction action = {.sa_handler = on_signal};
    const char *base = getenv("TMPDIR");
    sigset_t blocked;

    sigemptyset(&blocked);
    for (size_t i = 0; i < WANTED_SIGNALS; i++) {
        sigaddset(&blocked, wanted_signals[i]);
        (void)sigaction(wanted_signals[i], &action, NULL);
    }
    (void)sigprocmask(SIG_BLOCK, &blocked, &outer_mask);
    (void)signal(SIGPIPE, SIG_IGN);

    int n = snprintf(scratch, sizeof(scratch), "%s/ringvmm-bench.XXXXXX", base && *base ? base : "/tmp");
    if (n < 0 || (size_t)n >= sizeof(scratch))
        errx(BENCH_EXIT_FAILED, "TMPDIR is too long: %s", base);
    if (!mkdtemp(scratch))
        err(BENCH_EXIT_FAILED, "no scratch folder %s", scratch);
    if (atexit(remove_scratch) != 0)
        errx(BENCH_EXIT_FAILED, "no memory");
}

void bench_scratch_path(char *path, size_t size, const char *name)
{
    int n = snprintf(path, size, "%s/%s", scratch, name);

    if (n < 0 || (size_t)n >= size)
        errx(BENCH_EXIT_FAILED, "TMPDIR is too long: %s", scratch);
}

static int64_t now_ns(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void set_fd(int fd, const char *path, int flags)
{
    int opened = open(path, flags | O_CLOEXEC, 0600);

    if (opened == fd) /* it was closed before */
        (void)fcntl(fd, F_SETFD, 0);
    else if (opened >= 0)
        (void)dup2(opened, fd);
}

static _Noreturn void child_main(const struct bench_command *command, pid_t parent)
{
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(127);
    if (command->own_group)
        (void)setpgid(0, 0);
    (void)signal(SIGINT, SIG_DFL);
    (void)signal(SIGTERM, SIG_DFL);
    (void)signal(SIGHUP, SIG_DFL);
    (void)signal(SIGPIPE, SIG_DFL);
    (void)sigprocmask(SIG_SETMASK, &outer_mask, NULL);
    set_fd(STDIN_FILENO, "/dev/null", O_RDONLY);
    set_fd(STDOUT_FILENO, command->stdout_path ? command->stdout_path : "/dev/null", O_WRONLY | O_CREAT | O_TRUNC);
    set_fd(STDERR_FILENO, command->stderr_path, O_WRONLY | O_CREAT | O_TRUNC);
    if (!command->argv)
        _exit(command->function(command->arg));
    /* execvp() takes char *const *, but does not write there. */
    (void)execvp(command->argv[0], (char *const *)(uintptr_t)command->argv);
    dprintf(STDERR_FILENO, "%s: %s\n", command->argv[0], strerror(errno));
    _exit(127);
}

/* Waits for the child's end, the time limit or a signal, and times the first byte on the way. */
static enum bench_end wait_for_end(const struct bench_command *command, int pidfd, int64_t start, double *first_byte_ms)
{
    struct pollfd fds[2] = {{.fd = pidfd, .events = POLLIN}, {.fd = command->first_byte_fd, .events = POLLIN}};
    int64_t limit = start + (int64_t)command->timeout_ms * 1000000;

    for (;;) {
        int64_t left = limit - now_ns();
        struct timespec timeout = {.tv_sec = left / 1000000000, .tv_nsec = left % 1000000000};

        if (left <= 0)
            return BENCH_TIMED_OUT;
        int n = ppoll(fds, 2, &timeout, &outer_mask);
        if (caught_signal)
            return BENCH_INTERRUPTED;
        if (n <= 0)
            continue;
        if (fds[1].revents) {
            char byte;
            if (read(fds[1].fd, &byte, 1) == 1)
                *first_byte_ms = (double)(now_ns() - start) / 1e6;
            fds[1].fd = -1;
        }
        if (fds[0].revents)
            return BENCH_EXITED;
    }
}

int bench_run(const struct bench_command *command, struct bench_outcome *outcome)
{
    struct rusage usage = {0};
    pid_t parent = getpid();
    int status = 0;
    int64_t start = now_ns();
    pid_t pid = fork();

    if (pid < 0)
        return -errno;
    if (pid == 0)
        child_main(command, parent);
    if (command->own_group)
        (void)setpgid(pid, pid); /* as the child does: the first of the two that comes there counts */
    outcome->first_byte_ms = NAN;
    int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    int error = pidfd < 0 ? -errno : 0;
    if (error == 0)
        outcome->end = wait_for_end(command, pidfd, start, &outcome->first_byte_ms);
    if (error != 0 || outcome->end != BENCH_EXITED)
        (void)kill(command->own_group ? -pid : pid, SIGKILL);
    while (wait4(pid, &status, 0, &usage) < 0 && errno == EINTR)
        ;
    outcome->wall_ms = (double)(now_ns() - start) / 1e6;
    outcome->peak_kib = usage.ru_maxrss;
    outcome->code = WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status);
    if (error == 0 && outcome->end == BENCH_EXITED && WIFSIGNALED(status))
        outcome->end = BENCH_SIGNALLED;
    if (pidfd >= 0)
        (void)close(pidfd);
    return error;
}

long bench_read_file(const char *path, void *data, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    size_t done = 0;
    long error = 0;

    if (fd < 0)
        return -errno;
    while (done < size) {
        ssize_t n = read(fd, (char *)data + done, size - done);
        if (n == 0)
            break;
        if (n > 0)
            done += (size_t)n;
        else if (errno != EINTR) {
            error = -errno;
            break;
        }
    }
    (void)close(fd);
    return error ? error : (long)done;
}

/* The last line of a child's stderr with ": " before it, or "": the line in which programs say why they end. */
static void last_line(const char *path, char *text, size_t size)
{
    char tail[2048];
    long n = bench_read_file(path, tail, sizeof(tail) - 1);
    char *line = tail;

    tail[n > 0 ? n : 0] = '\0';
    while (n > 0 && tail[n - 1] == '\n')
        tail[--n] = '\0';
    if (strrchr(tail, '\n'))
        line = strrchr(tail, '\n') + 1;
    (void)snprintf(text, size, "%s%.200s", *line ? ": " : "", line);
}

const char *bench_outcome_fault(const struct bench_outcome *outcome, int code, const char *stderr_path, char *text,
                                size_t size)
{
    char line[256];

    if (outcome->end == BENCH_EXITED && outcome->code == code)
        return NULL;
    last_line(stderr_path, line, sizeof(line));
    switch (outcome->end) {
    case BENCH_EXITED:
        (void)snprintf(text, size, "exit status %d instead of %d%s", outcome->code, code, line);
        break;
    case BENCH_SIGNALLED:
        (void)snprintf(text, size, "killed by signal %d (%s)%s", outcome->code, strsignal(outcome->code), line);
        break;
    case BENCH_TIMED_OUT:
        (void)snprintf(text, size, "no end within %.0f s%s", outcome->wall_ms / 1e3, line);
        break;
    case BENCH_INTERRUPTED:
        (void)snprintf(text, size, "interrupted");
        break;
    }
    return text;
}

static int compare_doubles(const void *left, const void *right)
{
    double a = *(const double *)left, b = *(const double *)right;

    return (a > b) - (a < b);
}

double bench_median(const double *values, size_t count, double *low, double *high)
{
    double *sorted = count ? malloc(count * sizeof(*sorted)) : NULL;
    double median = NAN;

    if (count && !sorted)
        errx(BENCH_EXIT_FAILED, "no memory");
    if (count) {
        memcpy(sorted, values, count * sizeof(*sorted));
        qsort(sorted, count, sizeof(*sorted), compare_doubles);
        median = (sorted[(count - 1) / 2] + sorted[count / 2]) / 2;
    }
    if (low)
        *low = count ? sorted[0] : NAN;
    if (high)
        *high = count ? sorted[count - 1] : NAN;
    free(sorted);
    return median;
}

/* A TSC value and the time at it: of three tries the one in which the two clock readings lay closest. */
void bench_tsc_begin(struct bench_tsc *begin)
{
    int64_t best = INT64_MAX;

    for (int i = 0; i < 3; i++) {
        int64_t before = now_ns();
        uint64_t ticks = __rdtsc();
        int64_t after = now_ns();

        if (after - before < best) {
            best = after - before;
            begin->ticks = ticks;
            begin->ns = before + (after - before) / 2;
        }
    }
}

double bench_tsc_khz(const struct bench_tsc *begin)
{
    static const int64_t least_ns = 50000000;
    struct bench_tsc end = {0};

    for (int64_t left; (left = begin->ns + least_ns - now_ns()) > 0;) {
        struct timespec pause = {.tv_nsec = left};
        (void)nanosleep(&pause, NULL);
    }
    bench_tsc_begin(&end);
    return (double)(end.ticks - begin->ticks) * 1e6 / (double)(end.ns - begin->ns);
}
