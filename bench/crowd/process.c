/* SPDX-License-Identifier: BSD-2-Clause */
#include "crowd/process.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define LOOK_MS   5
#define START_MS  10000
#define END_MS    5000
#define MOST_ARGS 6

int ringd_main(int argc, char **argv); /* src/daemon/main.c, whose main() is called so here */

static void sleep_ms(unsigned ms)
{
    struct timespec pause = {.tv_nsec = ms * 1000000L};
    nanosleep(&pause, NULL);
}

static bool listens(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    bool connected = fd >= 0 && connect(fd, (const void *)&address, sizeof(address)) == 0;
    if (fd >= 0)
        close(fd);
    return connected;
}

static _Noreturn void child(const char *program, const char *path, const char *spin, pid_t parent)
{
    char *argv[MOST_ARGS] = {"ringd", "--socket", (char *)(uintptr_t)path, NULL};
    int argc = 3;
    sigset_t none;
    sigemptyset(&none);
    signal(SIGINT, SIG_IGN); /* Ctrl-C is for the benchmark, which ends us */
    signal(SIGTERM, SIG_DFL);
    signal(SIGHUP, SIG_IGN);
    sigprocmask(SIG_SETMASK, &none, NULL);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(127);
    if (spin) {
        argv[argc++] = "--spin";
        argv[argc++] = (char *)(uintptr_t)spin;
    }
    if (!program) {
        optind = 1;
        _exit(ringd_main(argc, argv));
    }
    execv(program, argv);
    fprintf(stderr, "%s: %s\n", program, strerror(errno));
    _exit(127);
}

int daemon_start(struct daemon_process *daemon, const char *program, const char *socket, const char *spin)
{
    int length = snprintf(daemon->socket, sizeof(daemon->socket), "%s", socket);
    if (length < 0 || (size_t)length >= sizeof(daemon->socket))
        return -ENAMETOOLONG;
    pid_t parent = getpid();
    fflush(NULL);
    daemon->pid = fork();
    if (daemon->pid < 0) {
        daemon->pid = 0;
        return -errno;
    }
    if (daemon->pid == 0)
        child(program, daemon->socket, spin, parent);
    for (unsigned i = 0; i < START_MS / LOOK_MS && daemon_runs(daemon); i++) {
        if (listens(daemon->socket))
            return 0;
        sleep_ms(LOOK_MS);
    }
    daemon_stop(daemon);
    return -EIO;
}

bool daemon_runs(struct daemon_process *daemon)
{
    if (daemon->pid && waitpid(daemon->pid, NULL, WNOHANG) == daemon->pid)
        daemon->pid = 0;
    return daemon->pid != 0;
}

void daemon_stop(struct daemon_process *daemon)
{
    if (daemon->pid)
        kill(daemon->pid, SIGTERM);
    for (unsigned i = 0; i < END_MS / LOOK_MS && daemon_runs(daemon); i++)
        sleep_ms(LOOK_MS);
    if (daemon->pid) {
        kill(daemon->pid, SIGKILL);
        waitpid(daemon->pid, NULL, 0);
        daemon->pid = 0;
    }
    unlink(daemon->socket);
}

uint64_t daemon_cpu_ns(const struct daemon_process *daemon)
{
    clockid_t clock;
    struct timespec used;
    if (!daemon->pid || clock_getcpuclockid(daemon->pid, &clock) || clock_gettime(clock, &used))
        return 0;
    return (uint64_t)used.tv_sec * 1000000000u + (uint64_t)used.tv_nsec;
}
