/* SPDX-License-Identifier: BSD-2-Clause */
/* Running one child with a time limit, and what a benchmark needs around that: a scratch folder, signals, medians. */
#ifndef RINGVMM_BENCH_RUNNER_H
#define RINGVMM_BENCH_RUNNER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BENCH_EXIT_FAILED 1
#define BENCH_EXIT_USAGE  2
#define BENCH_EXIT_SKIP   77 /* no /dev/kvm: meson's and automake's number for a skipped test */

/* What to run: a program, or a function of this one in a process of its own. */
struct bench_command {
    const char *const *argv;          /* NULL-terminated; argv[0] is looked for in PATH */
    int (*function)(const void *arg); /* when argv is NULL; its value is the exit status */
    const void *arg;
    const char *stderr_path; /* the child's stderr */
    const char *stdout_path; /* NULL: /dev/null, as stdin */
    int first_byte_fd;       /* a pipe whose first byte is timed, or -1 */
    bool own_group;          /* killed with all its descendants, not alone: for a command that starts another */
    unsigned timeout_ms;
};

enum bench_end { BENCH_EXITED, BENCH_SIGNALLED, BENCH_TIMED_OUT, BENCH_INTERRUPTED };

struct bench_outcome {
    enum bench_end end;
    int code;             /* the exit status or the signal */
    double wall_ms;       /* from before fork() until the process has been reaped */
    double first_byte_ms; /* the same until the first byte; NAN when none came */
    long peak_kib;        /* largest resident set, at least what this process had at fork() */
};

/*
 * bench_setup_without_kvm - blocks SIGINT, SIGTERM and SIGHUP outside bench_run(), ignores SIGPIPE, makes the scratch
 * folder under $TMPDIR or /tmp and has it removed at exit. Ends the process with one line on failure.
 */
void bench_setup_without_kvm(void);

/* bench_setup - the same, and ends the process with BENCH_EXIT_SKIP when /dev/kvm cannot be used. */
void bench_setup(void);

/* bench_scratch_path - the path of @name in the scratch folder, into @path. */
void bench_scratch_path(char *path, size_t size, const char *name);

/*
 * bench_run - runs @command to its end, or kills it at its time limit or at a signal to this process; the child is
 * reaped in any case, and dies with this process. Returns 0 or -errno (it could not be started).
 */
int bench_run(const struct bench_command *command, struct bench_outcome *outcome);

/* bench_interrupted - the signal that asked this process to end, or 0. Also one that came outside bench_run(). */
int bench_interrupted(void);

/*
 * bench_outcome_fault - NULL when @outcome is an exit with @code, else what happened, with the last line of what the
 * child wrote to @stderr_path, into @text.
 */
const char *bench_outcome_fault(const struct bench_outcome *outcome, int code, const char *stderr_path, char *text,
                                size_t size);

/* bench_read_file - at most @size bytes of @path. Returns the number read or -errno. */
long bench_read_file(const char *path, void *data, size_t size);

/* The median of @values, NAN for none; the range goes to @low and @high where they are not NULL. */
double bench_median(const double *values, size_t count, double *low, double *high);

/* The TSC's frequency against CLOCK_MONOTONIC, from bench_tsc_begin() until bench_tsc_khz(), 50 ms at least. */
struct bench_tsc {
    uint64_t ticks;
    int64_t ns;
};

void bench_tsc_begin(struct bench_tsc *begin);
double bench_tsc_khz(const struct bench_tsc *begin);

#endif
