/* SPDX-License-Identifier: BSD-2-Clause */
/* startup: from the start of the process to a guest that writes one byte and ends, and the peak memory on the way.
 * docs/benchmarks.md has the method. */
#include <err.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "host.h"
#include "options.h"
#include "runner.h"
#include "variant.h"

enum { OPT_ROUNDS, OPT_JSON, OPT_ONLY, OPT_RINGVMM, OPT_QEMU };

static const struct bench_option options[] = {
    [OPT_ROUNDS] = {"rounds", "N", "rounds; each starts every variant once (default 15)"},
    [OPT_JSON] = {"json", "FILE|-", "write JSON to FILE, or to stdout and the table to stderr"},
    [OPT_ONLY] = {"only", "LIST",
                  "default: ringvmm,floor,qemu-pc; also ringvmm-off,ringvmm-v1,ringvmm-naive,qemu-q35,qemu-microvm"},
    [OPT_RINGVMM] = {"ringvmm", "PATH", "the program (default: ../ringvmm from here)"},
    [OPT_QEMU] = {"qemu", "PATH", "the program (default: qemu-system-x86_64)"},
    {NULL, NULL, NULL},
};

static const char purpose[] =
    "Measures the time from process start to an immediate debug exit of the guest, and peak memory.\n"
    "Exit status: 0; 1 ringvmm or the floor failed; 2 bad option; 77 no /dev/kvm.";

/* The figures of one variant, one number a round. */
struct starts {
    bool wanted;
    char fault[VARIANT_FAULT_BYTES];
    double *reaped_ms;
    double *byte_ms;
    double *peak_kib;
};

struct session {
    uint32_t rounds;
    struct variant_setup setup;
    const char *json;
    char qemu_version[128];
    struct starts starts[VARIANT_COUNT];
};

static bool is_active(const struct starts *starts)
{
    return starts->wanted && starts->fault[0] == '\0';
}

static void parse_options(int argc, char **argv, struct session *session)
{
    const char *value = NULL;
    bool wanted[VARIANT_COUNT];
    int option;

    (void)variant_select("ringvmm,floor,qemu-pc", wanted);
    while ((option = bench_next_option(argc, argv, purpose, options, &value)) != -1) {
        switch (option) {
        case OPT_ROUNDS:
            session->rounds = bench_option_number("rounds", value, 1, 10000);
            break;
        case OPT_JSON:
            session->json = value;
            break;
        case OPT_ONLY:
            if (!variant_select(value, wanted))
                errx(BENCH_EXIT_USAGE, "--only %s: an unknown variant (see --help)", value);
            break;
        case OPT_RINGVMM:
            session->setup.ringvmm = value;
            break;
        case OPT_QEMU:
            session->setup.qemu = value;
            break;
        }
    }
    for (size_t i = 0; i < VARIANT_COUNT; i++) {
        struct starts *starts = &session->starts[i];

        starts->wanted = wanted[i];
        starts->reaped_ms = calloc(3 * (size_t)session->rounds, sizeof(double));
        if (!starts->reaped_ms)
            errx(BENCH_EXIT_FAILED, "no memory for %u rounds", session->rounds);
        starts->byte_ms = starts->reaped_ms + session->rounds;
        starts->peak_kib = starts->byte_ms + session->rounds;
    }
}

static void start_once(struct session *session, size_t id, uint32_t round)
{
    struct starts *starts = &session->starts[id];
    struct bench_outcome outcome;
    char fault[VARIANT_FAULT_BYTES], rest[64];

    while (read(session->setup.first_byte_fd, rest, sizeof(rest)) > 0) /* what the run before left in the pipe */
        ;
    if (variant_launch(&variants[id], &session->setup, false, &outcome, fault)) {
        if (bench_interrupted())
            errx(128 + bench_interrupted(), "interrupted");
        warnx("%s is left out: %s", variants[id].name, fault);
        memcpy(starts->fault, fault, sizeof(fault));
        return;
    }
    starts->reaped_ms[round] = outcome.wall_ms;
    starts->byte_ms[round] = outcome.first_byte_ms;
    starts->peak_kib[round] = (double)outcome.peak_kib;
}

static const double *times_of(const struct starts *starts, bool of_byte)
{
    return of_byte ? starts->byte_ms : starts->reaped_ms;
}

/* The median over rounds of QEMU pc's time over ringvmm's in the same round. */
static double ratio(const struct session *session, bool of_byte, double *low, double *high)
{
    const struct starts *above = &session->starts[VARIANT_ID_QEMU_PC], *below = &session->starts[VARIANT_ID_RINGVMM];
    double *values = calloc(session->rounds, sizeof(*values));
    size_t count = 0;

    if (!values)
        errx(BENCH_EXIT_FAILED, "no memory");
    for (uint32_t i = 0; i < session->rounds && is_active(above) && is_active(below); i++) {
        double value = times_of(above, of_byte)[i] / times_of(below, of_byte)[i];
        if (isfinite(value))
            values[count++] = value;
    }
    double median = bench_median(values, count, low, high);
    free(values);
    return median;
}

static void print_table(const struct session *session, FILE *out)
{
    (void)fprintf(out, "Process start to an immediate debug exit, ms (median of %u rounds)\n", session->rounds);
    (void)fprintf(out, "%-14s %9s %9s %9s   %11s %9s %9s   %9s\n", "Variant", "reaped", "min", "max", "guest's byte",
                  "min", "max", "peak MiB");
    for (size_t i = 0; i < VARIANT_COUNT; i++) {
        const struct starts *starts = &session->starts[i];
        double reaped_low, reaped_high, byte_low, byte_high, peak;

        if (!is_active(starts))
            continue;
        double reaped = bench_median(starts->reaped_ms, session->rounds, &reaped_low, &reaped_high);
        double byte = bench_median(starts->byte_ms, session->rounds, &byte_low, &byte_high);
        (void)bench_median(starts->peak_kib, session->rounds, NULL, &peak);
        (void)fprintf(out, "%-14s %9.1f %9.1f %9.1f   %12.1f %9.1f %9.1f   %9.2f\n", variants[i].name, reaped,
                      reaped_low, reaped_high, byte, byte_low, byte_high, peak / 1024);
    }
    for (int of_byte = 0; of_byte < 2; of_byte++) {
        double low, high, median = ratio(session, of_byte, &low, &high);
        if (isfinite(median))
            (void)fprintf(out, "QEMU pc / ringvmm, %-13s %6.2f (%.2f to %.2f)\n",
                          of_byte ? "guest's byte:" : "reaped:", median, low, high);
    }
}

static void add_figures(json_t *object, const char *name, const double *values, uint32_t count)
{
    double low, high, median = bench_median(values, count, &low, &high);

    (void)json_object_set_new(object, name,
                              json_pack("{s:o, s:o, s:o}", "median", bench_number_json(median), "min",
                                        bench_number_json(low), "max", bench_number_json(high)));
}

static json_t *to_json(const struct session *session)
{
    json_t *root = json_object(), *all = json_object(), *skipped = json_object(), *ratios = json_object();

    for (size_t i = 0; i < VARIANT_COUNT; i++) {
        const struct starts *starts = &session->starts[i];

        if (is_active(starts)) {
            json_t *object = json_object();
            add_figures(object, "reaped_ms", starts->reaped_ms, session->rounds);
            add_figures(object, "first_byte_ms", starts->byte_ms, session->rounds);
            add_figures(object, "peak_kib", starts->peak_kib, session->rounds);
            (void)json_object_set_new(all, variants[i].name, object);
        } else if (starts->wanted) {
            (void)json_object_set_new(skipped, variants[i].name, json_string(starts->fault));
        }
    }
    (void)json_object_set_new(ratios, "qemu_pc_over_ringvmm", bench_number_json(ratio(session, false, NULL, NULL)));
    (void)json_object_set_new(ratios, "qemu_pc_over_ringvmm_first_byte",
                              bench_number_json(ratio(session, true, NULL, NULL)));
    (void)json_object_set_new(root, "benchmark", json_string("startup"));
    (void)json_object_set_new(root, "rounds", json_integer(session->rounds));
    (void)json_object_set_new(root, "host", bench_host_json(session->qemu_version));
    (void)json_object_set_new(root, "variants", all);
    (void)json_object_set_new(root, "skipped", skipped);
    (void)json_object_set_new(root, "ratios", ratios);
    return root;
}

static int finish(const struct session *session)
{
    FILE *out = session->json && strcmp(session->json, "-") == 0 ? stderr : stdout;
    int status = 0;

    for (size_t i = 0; i < VARIANT_COUNT; i++) {
        if (session->starts[i].fault[0] && variants[i].kind != VARIANT_QEMU)
            status = BENCH_EXIT_FAILED;
    }
    print_table(session, out);
    if (fflush(out) != 0) {
        warn("the table could not be written");
        status = BENCH_EXIT_FAILED;
    }
    if (session->json) {
        json_t *root = to_json(session);
        if (bench_write_json(root, session->json) != 0)
            status = BENCH_EXIT_FAILED;
        json_decref(root);
    }
    return status;
}

int main(int argc, char **argv)
{
    static struct session session = {.rounds = 15};
    char ringvmm[512], fifo[512];

    bench_beside(ringvmm, sizeof(ringvmm), "../ringvmm");
    session.setup = (struct variant_setup){
        .ringvmm = ringvmm, .qemu = "qemu-system-x86_64", .params = {.pattern = PAYLOAD_PATTERN_EXIT}};
    parse_options(argc, argv, &session);
    bench_setup();
    bench_scratch_path(fifo, sizeof(fifo), "console");
    session.setup.console = fifo;
    /* Open both ways, so that the end of one writer does not end the reading. */
    session.setup.first_byte_fd = mkfifo(fifo, 0600) == 0 ? open(fifo, O_RDWR | O_NONBLOCK | O_CLOEXEC) : -1;
    if (session.setup.first_byte_fd < 0)
        err(BENCH_EXIT_FAILED, "no pipe for the guest's byte: %s", fifo);
    variant_qemu_version(session.setup.qemu, session.qemu_version, sizeof(session.qemu_version));
    for (size_t i = 0; i < VARIANT_COUNT && session.qemu_version[0] == '\0'; i++) {
        struct starts *starts = &session.starts[i];
        if (!starts->wanted || variants[i].kind != VARIANT_QEMU)
            continue;
        (void)snprintf(starts->fault, sizeof(starts->fault), "%s cannot be run", session.setup.qemu);
        warnx("%s is left out: %s", variants[i].name, starts->fault);
    }
    for (uint32_t round = 0; round < session.rounds; round++) {
        for (size_t i = 0; i < VARIANT_COUNT; i++) {
            size_t id = (round + i) % VARIANT_COUNT; /* nobody is always first */
            if (is_active(&session.starts[id]))
                start_once(&session, id, round);
        }
    }
    int status = finish(&session);
    for (size_t i = 0; i < VARIANT_COUNT; i++)
        free(session.starts[i].reaped_ms);
    return status;
}
