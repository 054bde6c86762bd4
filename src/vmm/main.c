/* SPDX-License-Identifier: BSD-2-Clause */
/* ringvmm: which command, and what all commands have in common. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "vmm/doctor.h"
#include "vmm/machine.h"
#include "vmm/options.h"
#include "vmm/parse.h"
#include "vmm/run.h"

static int fail(const char *line)
{
    fprintf(stderr, "ringvmm: %s\n", line);
    return RINGVMM_EXIT_USAGE;
}

/* Output that went nowhere is no success: `ringvmm --help >/dev/full`. */
static int finish(int status)
{
    char line[160];
    int error = 0;

    if (fflush(stdout) != 0)
        error = errno;
    if (error == 0 && !ferror(stdout))
        return status;
    /* A write that failed in the middle has left no errno behind. */
    (void)snprintf(line, sizeof(line), "cannot write to standard output%s%s", error ? ": " : "",
                   error ? strerror(error) : "");
    return fail(line);
}

static int run_main(int argc, char *const *argv)
{
    static struct run_options options;
    struct options_error error;

    switch (options_parse_run(argc, argv, &options, &error)) {
    case OPTIONS_HELP:
        options_print_help(&options_run_table, stdout);
        return finish(RINGVMM_EXIT_OK);
    case OPTIONS_ERROR:
        return fail(error.line);
    case OPTIONS_OK:
        break;
    }
    if (!options_check_files(&options, &error))
        return fail(error.line);
    if (options.dump_tables)
        return machine_dump_tables(&options) ? RINGVMM_EXIT_USAGE : RINGVMM_EXIT_OK;
    return options.dry_run ? vmm_check(&options) : vmm_run(&options);
}

static int doctor_command(int argc, char *const *argv)
{
    struct options_error error;
    int status = doctor_main(argc, argv, stdout, &error);

    return error.line[0] ? fail(error.line) : finish(status);
}

static void run_help(FILE *stream)
{
    options_print_help(&options_run_table, stream);
}

static void doctor_help(FILE *stream)
{
    options_print_help(&doctor_table, stream);
}

static int help_main(int argc, char *const *argv);
static void help_help(FILE *stream);

static const struct command {
    const char *name;
    const char *summary;
    int (*main)(int argc, char *const *argv); /* argv[0] is the first argument after the command */
    void (*help)(FILE *stream);
} commands[] = {
    {"run", "run a virtual machine", run_main, run_help},
    {"doctor", "what this host offers, what ringvmm would choose and why", doctor_command, doctor_help},
    {"help", "'help COMMAND' is 'COMMAND --help'", help_main, help_help},
    {NULL, NULL, NULL, NULL},
};

static void help_help(FILE *stream)
{
    fputs("Usage: ringvmm COMMAND [OPTION]...\n"
          "       ringvmm --help | --version\n"
          "An event-driven virtual machine monitor for Linux KVM.\n"
          "\n"
          "Commands:\n",
          stream);
    for (const struct command *command = commands; command->name; command++)
        fprintf(stream, "  %-10s %s\n", command->name, command->summary);
    fputs("\n"
          "Start with 'ringvmm doctor', then 'ringvmm run --debugcon stdio'.\n"
          "Each command explains itself: 'ringvmm run --help'. The whole is in ringvmm(1).\n",
          stream);
}

static const char *next_command(const void *list, unsigned index)
{
    const struct command *all = list;

    return all[index].name;
}

static const struct command *find_command(const char *name)
{
    const char *closest;
    char quoted[80];
    char line[200];

    for (const struct command *command = commands; command->name; command++) {
        if (strcmp(command->name, name) == 0)
            return command;
    }
    closest = options_closest(name, next_command, commands);
    parse_quote(name, quoted, sizeof(quoted));
    if (closest)
        (void)snprintf(line, sizeof(line), "no command %s; did you mean '%s'? See 'ringvmm --help'", quoted, closest);
    else
        (void)snprintf(line, sizeof(line), "no command %s; see 'ringvmm --help'", quoted);
    fail(line);
    return NULL;
}

static int help_main(int argc, char *const *argv)
{
    const struct command *command;

    if (argc > 1)
        return fail("help takes one command; see 'ringvmm --help'");
    if (argc == 0 || strcmp(argv[0], "--help") == 0 || strcmp(argv[0], "-h") == 0) {
        help_help(stdout);
        return finish(RINGVMM_EXIT_OK);
    }
    command = find_command(argv[0]);
    if (!command)
        return RINGVMM_EXIT_USAGE;
    command->help(stdout);
    return finish(RINGVMM_EXIT_OK);
}

/* Whoever opens a file while 0, 1 or 2 is closed gets that number, and what is printed then goes into that file. So a
 * closed one is taken by /dev/null, opened the wrong way round: using it still fails. */
static void keep_standard_fds(void)
{
    for (int fd = 0; fd <= 2; fd++) {
        if (fcntl(fd, F_GETFD) < 0 && errno == EBADF)
            (void)!open("/dev/null", fd == 0 ? O_WRONLY : O_RDONLY);
    }
}

int main(int argc, char **argv)
{
    const struct command *command;

    keep_standard_fds();
    if (argc < 2)
        return fail("which command? See 'ringvmm --help'");
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)
        return help_main(0, NULL);
    if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0) {
        printf("ringvmm %s\n", RINGVMM_VERSION);
        return finish(RINGVMM_EXIT_OK);
    }
    if (argv[1][0] == '-') {
        char quoted[80];
        char line[160];

        (void)snprintf(line, sizeof(line), "unknown option %s; a command comes first: see 'ringvmm --help'",
                       parse_quote(argv[1], quoted, sizeof(quoted)));
        return fail(line);
    }
    command = find_command(argv[1]);
    return command ? command->main(argc - 2, argv + 2) : RINGVMM_EXIT_USAGE;
}
