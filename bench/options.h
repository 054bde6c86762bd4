/* SPDX-License-Identifier: BSD-2-Clause */
/* Command lines of the benchmarks: one table drives getopt_long() and --help. */
#ifndef RINGVMM_BENCH_OPTIONS_H
#define RINGVMM_BENCH_OPTIONS_H

#include <stddef.h>
#include <stdint.h>

struct bench_option {
    const char *name;     /* without the dashes; NULL ends the table */
    const char *argument; /* its name for --help, NULL when the option takes none */
    const char *help;     /* one line */
};

/*
 * bench_next_option - the next option of the command line as its index in @table, its argument in *@argument; -1 after
 * the last. "--help" need not be in @table: it prints @purpose and the table. What is wrong ends the process with one
 * line and BENCH_EXIT_USAGE.
 */
int bench_next_option(int argc, char **argv, const char *purpose, const struct bench_option *table,
                      const char **argument);

/* bench_option_number - @text as a number from @least to @most, or the end of the process as above. */
uint32_t bench_option_number(const char *name, const char *text, uint32_t least, uint32_t most);

/* bench_beside - the path of @name relative to the folder of this program's file, into @path. */
void bench_beside(char *path, size_t size, const char *name);

#endif
