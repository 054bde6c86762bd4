/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * `ringvmm doctor`: what this host offers. Looking (doctor_checks.c) is apart from telling (doctor.c): the first makes
 * a list of findings, the second prints it as a table or as JSON.
 */
#ifndef RINGVMM_VMM_DOCTOR_H
#define RINGVMM_VMM_DOCTOR_H

#include <stdbool.h>
#include <stdio.h>

#include "vmm/options.h"

enum doctor_level {
    DOCTOR_OK,
    DOCTOR_WARN,    /* works, but something would be better: the hint says what */
    DOCTOR_MISSING, /* not there */
};

struct doctor_finding {
    const char *section; /* "KVM" */
    char name[48];       /* stable: scripts look for it in the JSON */
    enum doctor_level level;
    bool required; /* if missing, ringvmm cannot run here */
    char value[176];
    char hint[176]; /* one line, empty: nothing to do */
};

#define DOCTOR_MAX_FINDINGS 128

struct doctor_report {
    unsigned count;
    struct doctor_finding findings[DOCTOR_MAX_FINDINGS];
};

/* Looks at everything. `root` stands before every path ("" for this host; a test has its own tree). Takes some 30 ms:
 * the back ends are tried for real. */
void doctor_gather(struct doctor_report *report, const char *root);

/* doctor_add - appends a finding of a section.
 * @format: its value. */
struct doctor_finding *doctor_add(struct doctor_report *report, const char *section, const char *name,
                                  enum doctor_level level, const char *format, ...)
    __attribute__((format(printf, 5, 6)));
void doctor_hint(struct doctor_finding *finding, const char *format, ...) __attribute__((format(printf, 2, 3)));

bool doctor_can_run(const struct doctor_report *report);

/* Errors stay in the stream. */
void doctor_print_table(const struct doctor_report *report, FILE *stream);
/* {"version", "can_run", "findings": [{"section", "name", "level", "required", "value", "hint"?}]}.
 * 0, or -ENOTSUP when built without jansson, -ENOMEM. */
int doctor_print_json(const struct doctor_report *report, FILE *stream);

extern const struct option_table doctor_table;

/* The command. Returns an exit status; a non-empty error line is for the caller to print. */
int doctor_main(int argc, char *const *argv, FILE *stream, struct options_error *error);

#endif
