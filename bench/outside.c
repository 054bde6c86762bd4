/* SPDX-License-Identifier: BSD-2-Clause */
#include "outside.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runner.h"

#define MOST_THREADS 256
#define PATH_BYTES   512

void outside_words(const char *words[OUTSIDE_WORDS], const char *log)
{
    /* seccomp-bpf: a system call that is no ioctl does not stop its thread. */
    const char *const prefix[OUTSIDE_WORDS] = {
        "strace", "-f", "--seccomp-bpf", "-q", "-e", "trace=ioctl", "-e", "signal=none", "-o", log, "--", NULL};

    memcpy(words, prefix, sizeof(prefix));
}

bool outside_works(char *why, size_t size)
{
    const char *words[OUTSIDE_WORDS + 1];
    char log[PATH_BYTES], errors[PATH_BYTES];
    struct bench_command command = {
        .argv = words, .stderr_path = errors, .first_byte_fd = -1, .own_group = true, .timeout_ms = 10000};
    struct bench_outcome outcome;
    size_t used = 0;

    bench_scratch_path(log, sizeof(log), "trace");
    bench_scratch_path(errors, sizeof(errors), "stderr");
    outside_words(words, log);
    while (words[used])
        used++;
    words[used++] = "true";
    words[used] = NULL;
    int error = bench_run(&command, &outcome);
    if (error == 0)
        return bench_outcome_fault(&outcome, 0, errors, why, size) == NULL;
    (void)snprintf(why, size, "%s", strerror(-error));
    return false;
}

/* Threads that are inside of KVM_RUN while another thread's line is in the log. */
struct inside {
    long threads[MOST_THREADS];
    size_t count;
};

static void enter(struct inside *inside, long thread)
{
    if (inside->count < MOST_THREADS)
        inside->threads[inside->count++] = thread;
}

static bool leave(struct inside *inside, long thread)
{
    for (size_t i = 0; i < inside->count; i++) {
        if (inside->threads[i] == thread) {
            inside->threads[i] = inside->threads[--inside->count];
            return true;
        }
    }
    return false;
}

/* True when the line is a return from KVM_RUN. "= ?" is none: the process ended inside. */
static bool is_return(struct inside *inside, const char *line)
{
    char *rest = NULL;
    long thread = strtol(line, &rest, 10);

    rest += strspn(rest, " ");
    if (strncmp(rest, "ioctl(", 6) == 0 && strstr(rest, ", KVM_RUN")) {
        if (!strstr(rest, "<unfinished"))
            return !strstr(rest, "= ?");
        enter(inside, thread);
        return false;
    }
    return strncmp(rest, "<... ioctl resumed>", 19) == 0 && leave(inside, thread) && !strstr(rest, "= ?");
}

double outside_returns(const char *path)
{
    FILE *file = fopen(path, "re");
    struct inside inside = {.count = 0};
    char *line = NULL;
    size_t size = 0;
    double count = 0;

    if (!file)
        return NAN;
    while (getline(&line, &size, file) > 0)
        count += is_return(&inside, line);
    free(line);
    bool failed = ferror(file) != 0;
    (void)fclose(file);
    return failed ? NAN : count;
}
