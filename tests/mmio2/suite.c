/* SPDX-License-Identifier: BSD-2-Clause */
#include "suite.h"

#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <linux/kvm.h>
#include <ringd/kvm_mmio2.h>

#define SKIPPED     77 /* meson's status for a test that cannot run here */
#define LINE_LENGTH 512

/* In memory that the runner shares with the process of each case and with that one's children. */
struct shared {
    uint64_t checks;
    unsigned slow;
    uint32_t failed; /* 1 once `reason` is being written */
    char reason[LINE_LENGTH];
    char context[LINE_LENGTH / 2];
    char note[LINE_LENGTH / 2];
};

enum outcome { PASSED, FAILED, SKIPPED_CASE };

struct runner {
    struct shared *shared;
    const char *only; /* patterns with commas between, or NULL */
    int log;          /* /dev/kmsg, or -1 */
    unsigned cases, count[3];
    uint64_t checks;
};

/* One for the program: what CHECK() writes to. */
static struct shared *shared;

static const struct suite_case *const topics[] = {cases_ring, cases_index,   cases_error, cases_poll, cases_zone,
                                                  cases_life, cases_mapping, cases_race,  cases_wake, cases_memory};
#define TOPICS (sizeof(topics) / sizeof(topics[0]))

/* ---- what the cases call ---- */

static void note_failure(const char *format, ...) __attribute__((format(printf, 1, 2)));

static void note_failure(const char *format, ...)
{
    va_list args;
    if (__atomic_exchange_n(&shared->failed, 1, __ATOMIC_ACQ_REL))
        return;
    va_start(args, format);
    vsnprintf(shared->reason, sizeof(shared->reason), format, args);
    va_end(args);
}

static _Noreturn void fail_check(const char *file, int line, const char *what, const char *values)
{
    const char *base = strrchr(file, '/');
    note_failure("%s:%d: %s%s%s%s", base ? base + 1 : file, line, what, values, *shared->context ? "; " : "",
                 shared->context);
    _exit(1);
}

void suite_check(bool holds, const char *file, int line, const char *what)
{
    __atomic_fetch_add(&shared->checks, 1, __ATOMIC_RELAXED);
    if (!holds)
        fail_check(file, line, what, "");
}

void suite_check_equal(long long got, long long wanted, const char *file, int line, const char *what)
{
    char values[64];
    __atomic_fetch_add(&shared->checks, 1, __ATOMIC_RELAXED);
    if (got == wanted)
        return;
    snprintf(values, sizeof(values), " (%lld, not %lld)", got, wanted);
    fail_check(file, line, what, values);
}

void suite_context(const char *format, ...)
{
    va_list args;
    shared->context[0] = '\0';
    if (!format)
        return;
    va_start(args, format);
    vsnprintf(shared->context, sizeof(shared->context), format, args);
    va_end(args);
}

void suite_note(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(shared->note, sizeof(shared->note), format, args);
    va_end(args);
}

void suite_skip(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(shared->note, sizeof(shared->note), format, args);
    va_end(args);
    _exit(SKIPPED);
}

unsigned suite_slow(void)
{
    return shared->slow;
}

void suite_in_child(void (*body)(void *arg), void *arg)
{
    int status;
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        body(arg);
        _exit(0);
    }
    CHECK_EQ(waitpid(child, &status, 0), child);
    if (WIFEXITED(status) && WEXITSTATUS(status) == SKIPPED)
        _exit(SKIPPED);
    CHECK_EQ(status, 0);
}

int64_t suite_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000) + now.tv_nsec / 1000000;
}

/* ---- the kernel's complaints ---- */

/* Whether a line of the kernel's log tells of a mistake in the kernel. Stalls do not count: an emulator may be slow. */
static bool is_complaint(const char *text)
{
    static const char *const signs[] = {"BUG:",
                                        "BUG ",
                                        "WARNING:",
                                        "Oops",
                                        "general protection fault",
                                        "kernel BUG at",
                                        "list_add corruption",
                                        "list_del corruption",
                                        "refcount_t:",
                                        "UBSAN:",
                                        "possible recursive locking"};
    for (unsigned i = 0; i < sizeof(signs) / sizeof(signs[0]); i++)
        if (strstr(text, signs[i]))
            return true;
    return false;
}

/* Reads on to the end of the log. The first complaint goes to `text`, if that is not NULL; returns whether there is
 * one. */
static bool read_log(int log, char *text, size_t size)
{
    char record[8192]; /* CONSOLE_EXT_LOG_MAX of Linux's kernel/printk/internal.h */
    bool found = false;
    for (;;) {
        ssize_t length = log < 0 ? -1 : read(log, record, sizeof(record) - 1);
        if (length < 0 && errno == EPIPE && log >= 0) /* records were overwritten before they were read */
            continue;
        if (length <= 0)
            return found;
        record[length] = '\0';
        char *message = strchr(record, ';');
        if (!text || found || !message || !is_complaint(message))
            continue;
        message[strcspn(message, "\n")] = '\0';
        snprintf(text, size, "%s", message + 1);
        found = true;
    }
}

/* ---- running ---- */

static bool matches(const char *patterns, const char *name)
{
    char copy[LINE_LENGTH * 4], *rest = copy;
    if (!patterns)
        return true;
    snprintf(copy, sizeof(copy), "%s", patterns);
    for (char *pattern; (pattern = strsep(&rest, ","));)
        if (!fnmatch(pattern, name, 0))
            return true;
    return false;
}

/* 5231 as 5,231. */
static const char *grouped(uint64_t number, char *text, size_t size)
{
    char digits[32];
    size_t length = (size_t)snprintf(digits, sizeof(digits), "%llu", (unsigned long long)number), used = 0;
    for (size_t i = 0; i < length && used + 2 < size; i++) {
        if (i && (length - i) % 3 == 0)
            text[used++] = ',';
        text[used++] = digits[i];
    }
    text[used] = '\0';
    return text;
}

static pid_t start_case(const struct suite_case *entry)
{
    pid_t child;
    fflush(stdout);
    child = fork();
    if (child == 0) {
        /* A group of its own: a hung case is ended with its children. */
        setpgid(0, 0);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        entry->run();
        _exit(0);
    }
    if (child < 0) {
        perror("fork");
        exit(1);
    }
    setpgid(child, child);
    return child;
}

/* The status of the case's process; false when it had to be ended. */
static bool await_case(pid_t child, unsigned seconds, int *status)
{
    struct pollfd end = {.fd = (int)syscall(SYS_pidfd_open, child, 0), .events = POLLIN};
    bool in_time = end.fd < 0 || poll(&end, 1, (int)seconds * 1000) == 1;
    if (end.fd >= 0)
        close(end.fd);
    /* Also when it has ended: children that it left behind. */
    if (!in_time)
        kill(-child, SIGKILL);
    while (waitpid(child, status, 0) < 0 && errno == EINTR)
        ;
    kill(-child, SIGKILL);
    return in_time;
}

static enum outcome judge(struct runner *runner, int status, bool in_time, unsigned seconds)
{
    char complaint[LINE_LENGTH - 32];
    if (read_log(runner->log, complaint, sizeof(complaint)))
        note_failure("the kernel says: %s", complaint);
    if (!in_time)
        note_failure("still running after %u s%s%s", seconds, *shared->context ? "; " : "", shared->context);
    else if (WIFSIGNALED(status))
        note_failure("killed by signal %d%s%s", WTERMSIG(status), *shared->context ? "; " : "", shared->context);
    else if (WEXITSTATUS(status) != 0 && WEXITSTATUS(status) != SKIPPED)
        note_failure("ended with status %d%s%s", WEXITSTATUS(status), *shared->context ? "; " : "", shared->context);
    if (shared->failed)
        return FAILED;
    return WEXITSTATUS(status) == SKIPPED ? SKIPPED_CASE : PASSED;
}

static void run_case(struct runner *runner, const struct suite_case *entry)
{
    static const char *const words[] = {"ok", "FAIL", "skip"};
    unsigned seconds = (entry->seconds ? entry->seconds : SUITE_SECONDS) * shared->slow;
    char count[32];
    int status = 0;
    shared->checks = 0;
    shared->failed = 0;
    shared->reason[0] = shared->context[0] = shared->note[0] = '\0';

    int64_t start = suite_now();
    bool in_time = await_case(start_case(entry), seconds, &status);
    enum outcome outcome = judge(runner, status, in_time, seconds);
    const char *remark = outcome == FAILED ? shared->reason : shared->note;
    runner->cases++;
    runner->count[outcome]++;
    runner->checks += shared->checks;
    printf("%-4s  %-28s %9s checks  %5.1f s%s%s\n", words[outcome], entry->name,
           grouped(shared->checks, count, sizeof(count)), (double)(suite_now() - start) / 1000, *remark ? "  " : "",
           remark);
    fflush(stdout);
}

static int run_all(struct runner *runner)
{
    char cases[32], checks[32], skipped[48] = "";
    for (unsigned t = 0; t < TOPICS; t++)
        for (const struct suite_case *entry = topics[t]; entry->name; entry++)
            if (matches(runner->only, entry->name))
                run_case(runner, entry);
    if (!runner->cases) {
        fprintf(stderr, "mmio2_suite: no case is called %s; --list names them\n", runner->only);
        return 2;
    }
    if (runner->count[SKIPPED_CASE])
        snprintf(skipped, sizeof(skipped), ", %u skipped", runner->count[SKIPPED_CASE]);
    printf("MMIO2 suite: %s cases, %s checks, %u passed, %u failed%s\n", grouped(runner->cases, cases, sizeof(cases)),
           grouped(runner->checks, checks, sizeof(checks)), runner->count[PASSED], runner->count[FAILED], skipped);
    return runner->count[FAILED] ? 1 : 0;
}

/* Ends the program with SKIPPED where there is nothing to test. The capability alone may be another kernel's. */
static void need_mmio2(void)
{
    int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    if (kvm < 0) {
        printf("skipped: /dev/kvm: %s\n", strerror(errno));
        exit(SKIPPED);
    }
    int vm = ioctl(kvm, KVM_CREATE_VM, 0);
    int buffer = vm < 0 ? -1 : ioctl(vm, RINGD_KVM_CREATE_COALESCED_MMIO_BUFFER, 0);
    if (buffer < 0 || ioctl(kvm, KVM_CHECK_EXTENSION, RINGD_KVM_CAP_COALESCED_MMIO2) <= 0) {
        printf("skipped: this KVM has no MMIO2 (kmod/README.md says how to get it)\n");
        exit(SKIPPED);
    }
    close(buffer);
    close(vm);
    close(kvm);
}

static void list_cases(void)
{
    for (unsigned t = 0; t < TOPICS; t++)
        for (const struct suite_case *entry = topics[t]; entry->name; entry++)
            puts(entry->name);
}

static _Noreturn void usage(FILE *to, int status)
{
    fprintf(to, "usage: mmio2_suite [--list] [--only PATTERN[,PATTERN]...] [--slow N]\n"
                "  --list   names the cases\n"
                "  --only   runs those that match, as in 'ring/*'\n"
                "  --slow   multiplies the limits in time, for a kernel with its checks on\n"
                "Exit status: 0 all passed, 1 some failed, 2 a wrong option, 77 no MMIO2 here.\n");
    exit(status);
}

int main(int argc, char **argv)
{
    struct runner runner = {.log = -1};
    unsigned slow = 1;
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--list")) {
            list_cases();
            return 0;
        } else if (!strcmp(argv[i], "--help")) {
            usage(stdout, 0);
        } else if (!strcmp(argv[i], "--only") && i + 1 < argc) {
            runner.only = argv[++i];
        } else if (!strcmp(argv[i], "--slow") && i + 1 < argc && atoi(argv[i + 1]) > 0) {
            slow = (unsigned)atoi(argv[++i]);
        } else {
            usage(stderr, 2);
        }
    }
    need_mmio2();
    shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED) {
        perror("mmap");
        return 1;
    }
    shared->slow = slow;
    runner.shared = shared;
    runner.log = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (runner.log < 0)
        printf("note: /dev/kmsg: %s; complaints of the kernel are not seen\n", strerror(errno));
    else
        lseek(runner.log, 0, SEEK_END);
    return run_all(&runner);
}
