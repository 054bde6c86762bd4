/* SPDX-License-Identifier: BSD-2-Clause */
#include "vmm/doctor.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#ifdef HAVE_JANSSON
#include <jansson.h>
#endif

static const char *const level_names[] = {
    [DOCTOR_OK] = "ok",
    [DOCTOR_WARN] = "warn",
    [DOCTOR_MISSING] = "missing",
};

/* Paths and kernel strings can hold anything; JSON and terminals cannot. */
static void keep_printable(char *text)
{
    for (; *text; text++) {
        if (*text < ' ' || *text > '~')
            *text = '?';
    }
}

struct doctor_finding *doctor_add(struct doctor_report *report, const char *section, const char *name,
                                  enum doctor_level level, const char *format, ...)
{
    struct doctor_finding *finding;
    va_list args;

    assert(report->count < DOCTOR_MAX_FINDINGS);
    finding = &report->findings[report->count++];
    memset(finding, 0, sizeof(*finding));
    finding->section = section;
    finding->level = level;
    (void)snprintf(finding->name, sizeof(finding->name), "%s", name);
    va_start(args, format);
    (void)vsnprintf(finding->value, sizeof(finding->value), format, args);
    va_end(args);
    keep_printable(finding->value);
    return finding;
}

void doctor_hint(struct doctor_finding *finding, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    (void)vsnprintf(finding->hint, sizeof(finding->hint), format, args);
    va_end(args);
    keep_printable(finding->hint);
}

bool doctor_can_run(const struct doctor_report *report)
{
    for (unsigned i = 0; i < report->count; i++) {
        if (report->findings[i].required && report->findings[i].level == DOCTOR_MISSING)
            return false;
    }
    return true;
}

void doctor_print_table(const struct doctor_report *report, FILE *stream)
{
    const char *section = "";

    for (unsigned i = 0; i < report->count; i++) {
        const struct doctor_finding *finding = &report->findings[i];

        if (strcmp(section, finding->section) != 0) {
            section = finding->section;
            fprintf(stream, "%s%s\n", i ? "\n" : "", section);
        }
        fprintf(stream, "  %-7s  %-22s  %s\n", level_names[finding->level], finding->name, finding->value);
        if (finding->hint[0])
            fprintf(stream, "  %-7s  %-22s  -> %s\n", "", "", finding->hint);
    }
    fprintf(stream, "\nringvmm %s run on this host.\n", doctor_can_run(report) ? "can" : "CANNOT");
}

#ifdef HAVE_JANSSON

static json_t *finding_json(const struct doctor_finding *finding)
{
    json_t *object = json_pack("{s:s, s:s, s:s, s:b, s:s}", "section", finding->section, "name", finding->name, "level",
                               level_names[finding->level], "required", finding->required, "value", finding->value);

    if (object && finding->hint[0] && json_object_set_new(object, "hint", json_string(finding->hint)) != 0) {
        json_decref(object);
        return NULL;
    }
    return object;
}

int doctor_print_json(const struct doctor_report *report, FILE *stream)
{
    json_t *list = json_array();
    json_t *all;

    for (unsigned i = 0; i < report->count; i++) {
        if (json_array_append_new(list, finding_json(&report->findings[i])) != 0) {
            json_decref(list);
            return -ENOMEM;
        }
    }
    all = json_pack("{s:s, s:b, s:O}", "version", RINGVMM_VERSION, "can_run", doctor_can_run(report), "findings", list);
    json_decref(list);
    if (!all)
        return -ENOMEM;
    (void)json_dumpf(all, stream, JSON_INDENT(2) | JSON_ENSURE_ASCII);
    (void)fputc('\n', stream);
    json_decref(all);
    return 0;
}

#else

int doctor_print_json(const struct doctor_report *report, FILE *stream)
{
    (void)report;
    (void)stream;
    return -ENOTSUP;
}

#endif

/* ---- the command ---- */

struct doctor_options {
    bool json;
};

static const struct option_row doctor_rows[] = {
    {.name = "json",
     .type = OPTION_FLAG,
     .group = "Options",
     .offset = offsetof(struct doctor_options, json),
     .help = "print JSON"},
    {.name = "help", .letter = 'h', .type = OPTION_HELP, .help = "print this and exit"},
    {0}};

const struct option_table doctor_table = {
    .command = "doctor",
    .synopsis = "[--json]",
    .summary =
        "Shows what this host offers to ringvmm: KVM and its capabilities, which back end for posted writes works "
        "and is chosen, and what would make latencies better. Each back end is tried for real.",
    .rows = doctor_rows,
    .epilogue = "\n"
                "Levels:\n"
                "  ok         as good as it gets\n"
                "  warn       works; the line below it says what would be better\n"
                "  missing    not there\n"
                "\n"
                "Exit status:\n"
                "  0          ringvmm can run on this host\n"
                "  1          it cannot: something that it needs is missing\n"
                "  2          bad option, or standard output could not be written\n",
};

int doctor_main(int argc, char *const *argv, FILE *stream, struct options_error *error)
{
    struct doctor_options options = {0};
    struct doctor_report *report;
    int status;

    switch (options_parse(&doctor_table, argc, argv, &options, error)) {
    case OPTIONS_HELP:
        options_print_help(&doctor_table, stream);
        return RINGVMM_EXIT_OK;
    case OPTIONS_ERROR:
        return RINGVMM_EXIT_USAGE;
    case OPTIONS_OK:
        break;
    }
    report = calloc(1, sizeof(*report));
    if (!report) {
        options_fail(error, "no memory for the report");
        return RINGVMM_EXIT_USAGE;
    }
    doctor_gather(report, "");
    status = doctor_can_run(report) ? RINGVMM_EXIT_OK : RINGVMM_EXIT_UNFIT;
    if (!options.json) {
        doctor_print_table(report, stream);
    } else {
        int failed = doctor_print_json(report, stream);

        if (failed == -ENOTSUP)
            options_fail(error, "--json: this ringvmm was built without jansson; install libjansson-dev and rebuild");
        else if (failed)
            options_fail(error, "--json: %s", strerror(-failed));
    }
    free(report);
    return status;
}
