/* SPDX-License-Identifier: BSD-2-Clause */
#include "variant.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "floor.h"
#include "outside.h"

#define PATH_BYTES    512
#define MOST_WORDS    40
#define CONSOLE_BYTES 0x10000

const struct variant variants[VARIANT_COUNT] = {
    [VARIANT_ID_RINGVMM] = {"ringvmm", VARIANT_RINGVMM, "auto", true, true, NULL},
    [VARIANT_ID_RINGVMM_OFF] = {"ringvmm-off", VARIANT_RINGVMM, "off", true, false, NULL},
    [VARIANT_ID_RINGVMM_V1] = {"ringvmm-v1", VARIANT_RINGVMM, "v1", true, true, NULL},
    [VARIANT_ID_RINGVMM_NAIVE] = {"ringvmm-naive", VARIANT_RINGVMM, "mmio2", true, true, "off"},
    [VARIANT_ID_FLOOR] = {"floor", VARIANT_FLOOR, "", true, true, NULL},
    [VARIANT_ID_QEMU_PC] = {"qemu-pc", VARIANT_QEMU, "pc", true, true, NULL},
    [VARIANT_ID_QEMU_Q35] = {"qemu-q35", VARIANT_QEMU, "q35", true, true, NULL},
    [VARIANT_ID_QEMU_MICROVM] = {"qemu-microvm", VARIANT_QEMU, "microvm,rtc=on", false, true, NULL},
};

/* The files of one run, all in the scratch folder. */
struct files {
    char firmware[PATH_BYTES];
    char log[PATH_BYTES];
    char stats[PATH_BYTES];
    char floor_exits[PATH_BYTES];
    char trace[PATH_BYTES];
};

static void name_files(struct files *files)
{
    bench_scratch_path(files->firmware, PATH_BYTES, "firmware.bin");
    bench_scratch_path(files->log, PATH_BYTES, "stderr");
    bench_scratch_path(files->stats, PATH_BYTES, "stats.json");
    bench_scratch_path(files->floor_exits, PATH_BYTES, "floor-exits");
    bench_scratch_path(files->trace, PATH_BYTES, "trace");
}

bool variant_select(const char *list, bool selected[VARIANT_COUNT])
{
    memset(selected, 0, VARIANT_COUNT * sizeof(selected[0]));
    for (;;) {
        size_t length = strcspn(list, ","), i = 0;

        while (i < VARIANT_COUNT &&
               (strlen(variants[i].name) != length || strncmp(variants[i].name, list, length) != 0))
            i++;
        if (i == VARIANT_COUNT)
            return false;
        selected[i] = true;
        if (list[length] == '\0')
            return true;
        list += length + 1;
    }
}

/* @path with its commas doubled, as QEMU's option parser wants them. */
static void escape_commas(char *to, size_t size, const char *path)
{
    size_t used = 0;

    for (; *path && used + 2 < size; path++) {
        to[used++] = *path;
        if (*path == ',')
            to[used++] = ',';
    }
    to[used] = '\0';
}

/* @command into @words; behind strace's own words when its log is to be at @trace: then true. */
static bool put_command(const char *words[MOST_WORDS], const char *const *command, const char *trace)
{
    size_t used = 0;

    if (trace) {
        outside_words(words, trace);
        while (words[used])
            used++;
    }
    for (; *command && used < MOST_WORDS - 1; command++)
        words[used++] = *command;
    words[used] = NULL;
    return trace != NULL;
}

static unsigned time_limit_ms(const struct payload_params *params)
{
    /* A tick takes 10 us, a stamped one 100 us; ten times that, and half a minute to start on a loaded machine. */
    return 30000 + params->ticks / 10 + params->samples;
}

const char *variant_launch(const struct variant *variant, const struct variant_setup *setup, bool count,
                           struct bench_outcome *outcome, char *fault)
{
    struct files files;
    char debugcon[PATH_BYTES + 8], stats[PATH_BYTES + 8], model[PATH_BYTES + 8], chardev[2 * PATH_BYTES],
        console[2 * PATH_BYTES - 32];
    const struct floor_job job = {.params = setup->params,
                                  .console_path = setup->console,
                                  .exits_path = files.floor_exits,
                                  .clock = setup->clock};

    name_files(&files);
    (void)snprintf(debugcon, sizeof(debugcon), "file:%s", setup->console);
    (void)snprintf(stats, sizeof(stats), "json:%s", files.stats);
    (void)snprintf(model, sizeof(model), "unix:%s", setup->daemon ? setup->daemon : "");
    escape_commas(console, sizeof(console), setup->console);
    (void)snprintf(chardev, sizeof(chardev), "file,id=console,path=%s", console);
    const char *const ringvmm[MOST_WORDS] = {setup->ringvmm,
                                             "run",
                                             "--machine",
                                             "i440fx",
                                             "--memory",
                                             "64M",
                                             "--firmware",
                                             files.firmware,
                                             "--serial",
                                             "null",
                                             "--debugcon",
                                             debugcon,
                                             "--debug-exit",
                                             "0x501",
                                             "--coalesce",
                                             variant->choice,
                                             "--stats",
                                             stats,
                                             "--moderation",
                                             variant->moderation ? variant->moderation : "on",
                                             setup->daemon ? "--device-model" : NULL,
                                             model,
                                             NULL};
    const char *const qemu[MOST_WORDS] = {setup->qemu,
                                          "-M",
                                          variant->choice,
                                          "-accel",
                                          "kvm",
                                          "-m",
                                          "64",
                                          "-nodefaults",
                                          "-display",
                                          "none",
                                          "-no-reboot",
                                          "-bios",
                                          files.firmware,
                                          "-chardev",
                                          chardev,
                                          "-device",
                                          "isa-debugcon,iobase=0x402,chardev=console",
                                          "-device",
                                          "isa-debug-exit,iobase=0x501,iosize=0x01",
                                          NULL};
    struct bench_command command = {
        .stderr_path = files.log, .first_byte_fd = setup->first_byte_fd, .timeout_ms = time_limit_ms(&setup->params)};
    const char *words[MOST_WORDS];
    if (variant->kind == VARIANT_FLOOR) {
        command.function = floor_run;
        command.arg = &job;
    } else {
        command.own_group = put_command(words, variant->kind == VARIANT_QEMU ? qemu : ringvmm,
                                        count && setup->outside ? files.trace : NULL);
        command.argv = words;
    }
    int error = payload_write(files.firmware, &setup->params);
    if (error == 0)
        error = bench_run(&command, outcome);
    if (error != 0) {
        (void)snprintf(fault, VARIANT_FAULT_BYTES, "not started: %s", strerror(-error));
        return fault;
    }
    return bench_outcome_fault(outcome, PAYLOAD_EXIT_STATUS, files.log, fault, VARIANT_FAULT_BYTES);
}

static double read_number(const char *path)
{
    char text[32];
    long n = bench_read_file(path, text, sizeof(text) - 1);

    if (n <= 0)
        return NAN;
    text[n] = '\0';
    return strtod(text, NULL);
}

static const char *read_stats(const char *path, struct variant_run *run)
{
    json_t *root = json_load_file(path, 0, NULL);
    const json_t *exits = json_object_get(root, "exits");
    const char *backend = json_string_value(json_object_get(root, "backend"));
    const char *fault = NULL;

    if (!root)
        fault = "its statistics are no JSON";
    else if (!json_is_integer(exits) || !backend)
        fault = "its statistics lack \"exits\" or \"backend\"";
    if (!fault) {
        run->exits = (double)json_integer_value(exits);
        (void)snprintf(run->backend, sizeof(run->backend), "%s", backend);
    }
    json_decref(root);
    return fault;
}

static const char *read_result(const struct variant_setup *setup, struct bench_result *result)
{
    static uint8_t block[CONSOLE_BYTES];
    long n = bench_read_file(setup->console, block, sizeof(block));
    const char *fault = n < 0 ? "not there" : bench_result_parse(block, (size_t)n, result);

    if (!fault && (result->pattern != setup->params.pattern || result->ticks != setup->params.ticks ||
                   result->samples != setup->params.samples || result->write.count != setup->params.samples))
        fault = "of other parameters than asked for";
    return fault;
}

const char *variant_measure(const struct variant *variant, const struct variant_setup *setup, bool count,
                            struct variant_run *run, char *fault)
{
    struct files files;
    const char *wrong;

    name_files(&files);
    (void)unlink(setup->console); /* nothing of an earlier run may be taken for this one's */
    (void)unlink(files.stats);
    (void)unlink(files.floor_exits);
    (void)unlink(files.trace);
    run->exits = run->exits_outside = NAN;
    run->backend[0] = '\0';
    if (variant_launch(variant, setup, count, &run->outcome, fault))
        return fault;
    wrong = read_result(setup, &run->result);
    if (wrong) {
        (void)snprintf(fault, VARIANT_FAULT_BYTES, "the guest's result block is %s", wrong);
        return fault;
    }
    if (variant->kind == VARIANT_RINGVMM && (wrong = read_stats(files.stats, run)) != NULL) {
        (void)snprintf(fault, VARIANT_FAULT_BYTES, "%s", wrong);
        return fault;
    }
    if (variant->kind == VARIANT_FLOOR)
        run->exits = read_number(files.floor_exits);
    else if (count && setup->outside)
        run->exits_outside = outside_returns(files.trace);
    return NULL;
}

void variant_qemu_version(const char *qemu, char *text, size_t size)
{
    char out[PATH_BYTES], log[PATH_BYTES], version[128];
    const char *const argv[] = {qemu, "--version", NULL};
    struct bench_command command = {.argv = argv, .first_byte_fd = -1, .timeout_ms = 10000};
    struct bench_outcome outcome;

    bench_scratch_path(out, sizeof(out), "version");
    bench_scratch_path(log, sizeof(log), "stderr");
    command.stdout_path = out;
    command.stderr_path = log;
    text[0] = '\0';
    if (bench_run(&command, &outcome) != 0 || outcome.end != BENCH_EXITED || outcome.code != 0)
        return;
    long n = bench_read_file(out, version, sizeof(version) - 1);
    version[n > 0 ? n : 0] = '\0';
    version[strcspn(version, "\n")] = '\0';
    (void)snprintf(text, size, "%s", version);
}
