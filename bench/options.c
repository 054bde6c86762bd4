/* SPDX-License-Identifier: BSD-2-Clause */
#include "options.h"

#include <err.h>
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runner.h"

#define MOST_OPTIONS 15

static _Noreturn void print_help(const char *purpose, const struct bench_option *table)
{
    (void)printf("Usage: %s [OPTION]...\n%s\n\n", program_invocation_short_name, purpose);
    for (; table->name; table++) {
        char text[64];
        (void)snprintf(text, sizeof(text), "--%s%s%s", table->name, table->argument ? " " : "",
                       table->argument ? table->argument : "");
        (void)printf("  %-20s %s\n", text, table->help);
    }
    (void)printf("  %-20s %s\n", "--help", "this text");
    if (fflush(stdout) != 0)
        err(BENCH_EXIT_FAILED, "stdout");
    exit(EXIT_SUCCESS);
}

int bench_next_option(int argc, char **argv, const char *purpose, const struct bench_option *table,
                      const char **argument)
{
    struct option options[MOST_OPTIONS + 2] = {0};
    int count = 0;

    for (; count < MOST_OPTIONS && table[count].name; count++)
        options[count] = (struct option){.name = table[count].name,
                                         .has_arg = table[count].argument ? required_argument : no_argument,
                                         .val = count};
    options[count] = (struct option){.name = "help", .has_arg = no_argument, .val = count};

    opterr = 0;
    int index = getopt_long(argc, argv, ":", options, NULL);
    if (index == -1 && optind < argc)
        errx(BENCH_EXIT_USAGE, "unexpected argument '%s' (see --help)", argv[optind]);
    if (index == ':')
        errx(BENCH_EXIT_USAGE, "%s needs a value (see --help)", argv[optind - 1]);
    if (index == '?')
        errx(BENCH_EXIT_USAGE, "unknown, ambiguous or misused option '%s' (see --help)", argv[optind - 1]);
    if (index == count)
        print_help(purpose, table);
    *argument = optarg;
    return index;
}

uint32_t bench_option_number(const char *name, const char *text, uint32_t least, uint32_t most)
{
    char *end = NULL;

    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (*text < '0' || *text > '9' || *end != '\0' || errno != 0 || value < least || value > most)
        errx(BENCH_EXIT_USAGE, "--%s %s: a number from %u to %u is needed", name, text, least, most);
    return (uint32_t)value;
}

void bench_beside(char *path, size_t size, const char *name)
{
    char self[512];
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

    self[n > 0 ? n : 0] = '\0';
    char *slash = strrchr(self, '/');
    if (slash)
        *slash = '\0';
    int used = snprintf(path, size, "%s/%s", slash ? self : ".", name);
    if (used < 0 || (size_t)used >= size)
        errx(BENCH_EXIT_FAILED, "the path of this program is too long");
}
