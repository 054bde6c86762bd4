/* SPDX-License-Identifier: BSD-2-Clause */
#include "daemon/sandbox.h"
#include "daemon/server.h" /* before seccomp.h: the kernel's elf.h makes a macro of ev.h's EV_NONE */

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>
/* The sanitizers look at the process from outside as it ends, for which they need more than we do. */
#if defined(HAVE_SECCOMP) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define FILTER
#include <seccomp.h>
#endif

/* A session: its socket, what it may send, a poll fd, a timerfd and a KVM ring's duplicate for each device, and what
 * the closer has of it. Our own: loop, signals, listening socket, closer, what is refused; and some for the C library.
 */
#define FDS_OF_A_CLIENT (1u + RINGD_CLIENT_FDS + 3u * RINGD_MSG_DEVICES + CLOSING_MOST)
#define FDS_OF_OUR_OWN  (32u + SERVER_REFUSED_MOST)

static int limit_files(unsigned *max_clients)
{
    struct rlimit files;
    rlim_t wanted = FDS_OF_OUR_OWN + (rlim_t)*max_clients * FDS_OF_A_CLIENT;
    if (getrlimit(RLIMIT_NOFILE, &files) < 0)
        return -1;
    if (files.rlim_max < wanted) {
        rlim_t clients = files.rlim_max < FDS_OF_OUR_OWN ? 0 : (files.rlim_max - FDS_OF_OUR_OWN) / FDS_OF_A_CLIENT;
        fprintf(
            stderr,
            "ringd: --max-clients %u needs %llu open files, the hard limit is %llu: %llu clients at most are served; "
            "raise the limit (LimitNOFILE= of the unit, ulimit -Hn), or ask for fewer\n",
            *max_clients, (unsigned long long)wanted, (unsigned long long)files.rlim_max, (unsigned long long)clients);
        if (!clients)
            return -1;
        *max_clients = (unsigned)clients;
        wanted = files.rlim_max;
    }
    if (files.rlim_cur >= wanted)
        return 0;
    files.rlim_cur = wanted;
    if (setrlimit(RLIMIT_NOFILE, &files) == 0)
        return 0;
    fprintf(stderr, "ringd: the limit of open files cannot be raised to %llu: %s\n", (unsigned long long)wanted,
            strerror(errno));
    return -1;
}

int sandbox_limits(unsigned *max_clients)
{
    struct rlimit none = {0, 0};
    if (limit_files(max_clients))
        return -1;
    if (setrlimit(RLIMIT_NPROC, &none) < 0 || setrlimit(RLIMIT_CORE, &none) < 0) {
        fprintf(stderr, "ringd: limits cannot be set: %s\n", strerror(errno));
        return -1;
    }
    return 0;
}

int sandbox_user(const char *user)
{
    errno = 0;
    const struct passwd *entry = getpwnam(user);
    if (!entry) {
        fprintf(stderr, "ringd: --user '%s': %s\n", user, errno ? strerror(errno) : "there is no such user");
        return -1;
    }
    if (initgroups(user, entry->pw_gid) < 0 || setgid(entry->pw_gid) < 0 || setuid(entry->pw_uid) < 0) {
        fprintf(stderr, "ringd: --user '%s': %s; start it as root, or without --user\n", user, strerror(errno));
        return -1;
    }
    return 0;
}

#ifdef FILTER
/* What the loop, libringd and the C library's malloc, time and exit use; a test runs every message under it. */
static const int allowed[] = {
    SCMP_SYS(accept4),
    SCMP_SYS(brk),
    SCMP_SYS(clock_gettime),
    SCMP_SYS(close),
    SCMP_SYS(epoll_create1),
    SCMP_SYS(epoll_ctl),
    SCMP_SYS(epoll_pwait),
    SCMP_SYS(epoll_wait),
    SCMP_SYS(exit),
    SCMP_SYS(eventfd2),
    SCMP_SYS(pipe2),
    SCMP_SYS(getrandom),
    SCMP_SYS(setitimer),
    SCMP_SYS(uname),
    SCMP_SYS(exit_group),
    SCMP_SYS(fcntl),
    SCMP_SYS(fstat),
    SCMP_SYS(futex),
    SCMP_SYS(getpid),
    SCMP_SYS(gettid),
    SCMP_SYS(gettimeofday),
    SCMP_SYS(lseek),
    SCMP_SYS(madvise),
    SCMP_SYS(mmap),
    SCMP_SYS(mremap),
    SCMP_SYS(munmap),
    SCMP_SYS(newfstatat),
    SCMP_SYS(poll),
    SCMP_SYS(preadv2),
    SCMP_SYS(read),
    SCMP_SYS(readlink),
    SCMP_SYS(recvmsg),
    SCMP_SYS(restart_syscall),
    SCMP_SYS(rt_sigaction),
    SCMP_SYS(rt_sigprocmask),
    SCMP_SYS(rt_sigreturn),
    SCMP_SYS(sched_yield),
    SCMP_SYS(sendto),
    SCMP_SYS(shutdown),
    SCMP_SYS(timerfd_create),
    SCMP_SYS(timerfd_settime),
    SCMP_SYS(write),
};

static int add_rules(scmp_filter_ctx filter)
{
    for (size_t i = 0; i < sizeof(allowed) / sizeof(allowed[0]); i++) {
        int ret = seccomp_rule_add(filter, SCMP_ACT_ALLOW, allowed[i], 0);
        if (ret)
            return ret;
    }
    int ret = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(setsockopt), 2, SCMP_A1(SCMP_CMP_EQ, SOL_SOCKET),
                               SCMP_A2(SCMP_CMP_EQ, SO_PASSCRED));
    if (ret)
        return ret;
    /* The cycle counter is only trusted where this says so; its absence costs a little time. */
    return seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOENT), SCMP_SYS(openat), 0);
}

/* A call that is not on the list ends the process: nothing that we do makes one. */
static int filter_calls(void)
{
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_KILL_PROCESS);
    if (!filter)
        return -ENOMEM;
    int ret = seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1); /* the closer, too */
    if (!ret)
        ret = add_rules(filter);
    if (!ret)
        ret = seccomp_load(filter);
    seccomp_release(filter);
    return ret;
}

const char *sandbox_kind(void)
{
    return "libseccomp";
}
#else
static int filter_calls(void)
{
    return 0;
}

const char *sandbox_kind(void)
{
    return "no seccomp filter: built without libseccomp";
}
#endif

int sandbox_seal(void)
{
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) {
        fprintf(stderr, "ringd: no_new_privs cannot be set: %s\n", strerror(errno));
        return -1;
    }
    int ret = filter_calls();
    if (ret) {
        fprintf(stderr, "ringd: the seccomp filter cannot be loaded: %s\n", strerror(-ret));
        return -1;
    }
    return 0;
}
