/* SPDX-License-Identifier: BSD-2-Clause */
/* Counting returns from KVM_RUN from outside of a VMM, whatever way it takes into the kernel: by strace. */
#ifndef RINGVMM_BENCH_OUTSIDE_H
#define RINGVMM_BENCH_OUTSIDE_H

#include <stdbool.h>
#include <stddef.h>

#define OUTSIDE_WORDS 12 /* of a command line, and its NULL */

/* outside_words - the words that go before a command so that it leaves a log at @log; NULL-terminated. */
void outside_words(const char *words[OUTSIDE_WORDS], const char *log);

/* outside_works - whether there is a strace and it may trace; else why not, in @why. After bench_setup(). */
bool outside_works(char *why, size_t size);

/* outside_returns - the returns from KVM_RUN in the log @path, over all threads; NAN when it cannot be read. */
double outside_returns(const char *path);

#endif
