/* SPDX-License-Identifier: BSD-2-Clause */
#include "daemon_report.h"

#include <err.h>
#include <math.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include "host.h"
#include "runner.h"

const char *daemon_row_name(unsigned row)
{
    if (row < PLACE_COUNT)
        return place_name((enum place_kind)row);
    return row == ROW_RINGVMM ? "ringvmm" : "ringvmm-daemon";
}

static bool has_data(const struct daemon_row *row)
{
    return row->wanted && row->fault[0] == '\0';
}

static bool has_guest(const struct daemon_report *report, unsigned row)
{
    return report->kvm && has_data(&report->rows[row]);
}

static double median(const struct daemon_report *report, const struct daemon_row *row, enum daemon_column column)
{
    return bench_median(row->rounds[column], report->rounds, NULL, NULL);
}

static double quantile_ns(const struct daemon_report *report, const struct histogram *h, double q)
{
    return h->count ? (double)histogram_quantile(h, q) * 1e6 / report->tsc_khz : NAN;
}

/* As the guest sees it, an empty pair of RDTSCs taken off. */
static double guest_ns(const struct daemon_report *report, const struct daemon_row *row, double q)
{
    double ticks = bench_counter_quantile(&row->guest_read, q) - bench_counter_quantile(&row->guest_empty, 0.5);
    return fmax(ticks, 0) * 1e6 / report->tsc_khz;
}

/* ---- ratios ---- */

static const struct ratio {
    const char *name;
    const char *meaning;
    unsigned above, below;
    enum daemon_column column;
    double limit; /* at most; NAN: none */
} ratios[] = {
    {"guest_read_mailbox_over_in_process", "a guest's read, mailbox / in-process", PLACE_MAILBOX, PLACE_IN_PROCESS,
     COLUMN_GUEST_READ, DAEMON_READ_LIMIT},
    {"guest_read_ringvmm_daemon_over_ringvmm", "a guest's read, ringvmm-daemon / ringvmm", ROW_RINGVMM_DAEMON,
     ROW_RINGVMM, COLUMN_GUEST_READ, DAEMON_READ_LIMIT},
    {"guest_read_socket_over_in_process", "a guest's read, socket / in-process", PLACE_SOCKET, PLACE_IN_PROCESS,
     COLUMN_GUEST_READ, NAN},
    {"guest_tick_mailbox_over_in_process", "a guest's tick, mailbox / in-process", PLACE_MAILBOX, PLACE_IN_PROCESS,
     COLUMN_GUEST_TICK, NAN},
    {"read_mailbox_over_in_process", "a call's read, mailbox / in-process", PLACE_MAILBOX, PLACE_IN_PROCESS,
     COLUMN_READ, NAN},
    {"read_socket_over_mailbox", "a call's read, socket / mailbox", PLACE_SOCKET, PLACE_MAILBOX, COLUMN_READ, NAN},
};

#define RATIO_COUNT (sizeof(ratios) / sizeof(ratios[0]))

/* The median over rounds of the ratio within each round; NAN where a round has none. */
static double ratio_median(const struct daemon_report *report, const struct ratio *ratio, double *low, double *high)
{
    const struct daemon_row *above = &report->rows[ratio->above], *below = &report->rows[ratio->below];
    double *values = calloc(report->rounds, sizeof(*values)), middle = NAN;
    size_t count = 0;

    if (!values)
        errx(BENCH_EXIT_FAILED, "no memory");
    *low = *high = NAN;
    if (has_data(above) && has_data(below)) {
        for (uint32_t i = 0; i < report->rounds; i++) {
            double value = above->rounds[ratio->column][i] / below->rounds[ratio->column][i];
            if (isfinite(value))
                values[count++] = value;
        }
        middle = bench_median(values, count, low, high);
    }
    free(values);
    return middle;
}

/* Of each client, its p99 with the others' storms over that without. The median client's and the worst one's. */
static void crowd_ratio(const struct daemon_report *report, unsigned crowd, double *middle, double *worst)
{
    const struct crowd_result *result = &report->crowd_results[crowd];
    double values[CROWD_MOST_CLIENTS];
    size_t count = 0;

    for (unsigned i = 0; i < report->crowd_configs[crowd].clients; i++) {
        double value = result->phase[CROWD_STORM].client[i].p99_ns / result->phase[CROWD_QUIET].client[i].p99_ns;
        if (isfinite(value))
            values[count++] = value;
    }
    *middle = bench_median(values, count, NULL, worst);
}

static const char *mark(double value, double limit)
{
    if (isnan(limit) || isnan(value))
        return "";
    return value <= limit ? "kept" : "NOT KEPT";
}

/* ---- tables ---- */

static __attribute__((format(printf, 3, 4))) void heading(FILE *out, bool bold, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    (void)fputs(bold ? "\n\033[1m" : "\n", out);
    (void)vfprintf(out, format, args);
    (void)fputs(bold ? "\033[m\n" : "\n", out);
    va_end(args);
}

static void cell(FILE *out, int width, int digits, double value)
{
    (void)(isnan(value) ? fprintf(out, " %*s", width, "-") : fprintf(out, " %*.*f", width, digits, value));
}

static void guest_table(const struct daemon_report *report, FILE *out, bool bold)
{
    heading(out, bold, "A guest's tick: posted write, synchronous read; exits and all. Times in ns");
    (void)fprintf(out, "%-16s %10s %10s %10s %10s %10s\n", "Model", "ns/tick", "min", "max", "read p50", "read p99");
    for (unsigned i = 0; i < ROW_COUNT; i++) {
        const struct daemon_row *row = &report->rows[i];
        double low, high;

        if (!has_guest(report, i))
            continue;
        double middle = bench_median(row->rounds[COLUMN_GUEST_TICK], report->rounds, &low, &high);
        (void)fprintf(out, "%-16s", daemon_row_name(i));
        cell(out, 10, 0, middle);
        cell(out, 10, 0, low);
        cell(out, 10, 0, high);
        cell(out, 10, 0, guest_ns(report, row, 0.5));
        cell(out, 10, 0, guest_ns(report, row, 0.99));
        (void)fputc('\n', out);
    }
}

static void call_table(const struct daemon_report *report, FILE *out, bool bold)
{
    heading(out, bold, "The same as calls of libringd, without a guest, back to back. Times in ns");
    (void)fprintf(out, "%-16s %10s %10s %10s %10s %10s %12s %12s\n", "Model", "ns/tick", "min", "max", "read p50",
                  "read p99", "CPU here", "CPU daemon");
    for (unsigned i = 0; i < PLACE_COUNT; i++) {
        const struct daemon_row *row = &report->rows[i];
        double low, high;

        if (!has_data(row))
            continue;
        double middle = bench_median(row->rounds[COLUMN_TICK], report->rounds, &low, &high);
        (void)fprintf(out, "%-16s", daemon_row_name(i));
        cell(out, 10, 0, middle);
        cell(out, 10, 0, low);
        cell(out, 10, 0, high);
        cell(out, 10, 0, quantile_ns(report, &row->read, 0.5));
        cell(out, 10, 0, quantile_ns(report, &row->read, 0.99));
        cell(out, 12, 0, median(report, row, COLUMN_CPU));
        cell(out, 12, 0, median(report, row, COLUMN_DAEMON_CPU));
        (void)fputc('\n', out);
    }
}

static void paced_table(const struct daemon_report *report, FILE *out, bool bold)
{
    heading(out, bold, "The same at 1024 Hz. Times in us; CPU time a tick, the sleep between two of them included");
    (void)fprintf(out, "%-16s %10s %10s %12s %12s %12s\n", "Model", "read p50", "read p99", "CPU here", "CPU daemon",
                  "CPU, % of one");
    for (unsigned i = 0; i < PLACE_COUNT; i++) {
        const struct daemon_row *row = &report->rows[i];

        if (!has_data(row))
            continue;
        double here = median(report, row, COLUMN_PACED_CPU), there = median(report, row, COLUMN_PACED_DAEMON_CPU);
        (void)fprintf(out, "%-16s", daemon_row_name(i));
        cell(out, 10, 2, quantile_ns(report, &row->paced_read, 0.5) / 1e3);
        cell(out, 10, 2, quantile_ns(report, &row->paced_read, 0.99) / 1e3);
        cell(out, 12, 2, here / 1e3);
        cell(out, 12, 2, there / 1e3);
        cell(out, 12, 2, (here + there) * 1024 / 1e7);
        (void)fputc('\n', out);
    }
}

/* The ring is the same whether the model is read by mailbox or by socket. */
static const struct {
    const char *name;
    enum place_kind kind;
} doorbells[] = {{"in-process", PLACE_IN_PROCESS}, {"daemon", PLACE_MAILBOX}};

#define DOORBELLS (sizeof(doorbells) / sizeof(doorbells[0]))

static double doorbell_ns(const struct daemon_report *report, size_t index, enum daemon_column column)
{
    return median(report, &report->rows[doorbells[index].kind], column);
}

static void doorbell_table(const struct daemon_report *report, FILE *out, bool bold)
{
    heading(out, bold, "A posted write into an idle ring, until it is applied. Times in us");
    (void)fprintf(out, "%-16s %10s %10s\n", "Model", "p50", "p99");
    for (size_t i = 0; i < DOORBELLS; i++) {
        if (isnan(doorbell_ns(report, i, COLUMN_DOORBELL_P50)))
            continue;
        (void)fprintf(out, "%-16s", doorbells[i].name);
        cell(out, 10, 1, doorbell_ns(report, i, COLUMN_DOORBELL_P50) / 1e3);
        cell(out, 10, 1, doorbell_ns(report, i, COLUMN_DOORBELL_P99) / 1e3);
        (void)fputc('\n', out);
    }
}

static void crowd_row(const struct daemon_report *report, FILE *out, unsigned crowd, enum crowd_phase phase)
{
    const struct crowd_config *config = &report->crowd_configs[crowd];
    const struct crowd_figures *figures = &report->crowd_results[crowd].phase[phase];
    double ticks = (double)figures->samples;

    if (!figures->samples)
        return;
    (void)fprintf(out, "%7u %-8s", config->clients, phase == CROWD_QUIET ? "nobody" : "others");
    cell(out, 8, 1, crowd_median(config, figures, offsetof(struct crowd_wait, p50_ns)) / 1e3);
    cell(out, 8, 1, crowd_median(config, figures, offsetof(struct crowd_wait, p99_ns)) / 1e3);
    cell(out, 8, 1, crowd_worst(config, figures, offsetof(struct crowd_wait, p99_ns)) / 1e3);
    cell(out, 8, 0, crowd_worst(config, figures, offsetof(struct crowd_wait, before_p99)));
    cell(out, 12, 2, (double)figures->daemon_cpu_ns / 1e3 / ticks);
    cell(out, 10, 1, 100 * (double)figures->daemon_cpu_ns / (double)figures->seconds_ns);
    cell(out, 10, 2, (double)figures->client_cpu_ns / 1e3 / ticks);
    (void)fprintf(out, " %10.0f %9llu %9llu\n", (double)figures->served * 1e9 / (double)figures->seconds_ns,
                  (unsigned long long)figures->left_out, (unsigned long long)figures->late);
}

static void crowd_tables(const struct daemon_report *report, FILE *out, bool bold)
{
    heading(out, bold,
            "Many clients at 1024 Hz: from a posted write to its application, us; what the daemon did before it");
    (void)fprintf(out, "%7s %-8s %8s %8s %8s %8s %12s %10s %10s %10s %9s %9s\n", "Clients", "Storms", "p50", "p99",
                  "worst", "before", "CPU us/tick", "daemon, %", "here, us", "served/s", "left out", "late");
    for (unsigned i = 0; i < report->crowds; i++) {
        crowd_row(report, out, i, CROWD_QUIET);
        crowd_row(report, out, i, CROWD_STORM);
    }
}

static void ratio_line(FILE *out, const char *meaning, double middle, double low, double high, double limit,
                       double judged)
{
    (void)fprintf(out, "%-44s", meaning);
    cell(out, 8, 3, middle);
    cell(out, 8, 3, low);
    cell(out, 8, 3, high);
    if (isnan(limit))
        (void)fprintf(out, " %10s\n", "");
    else
        (void)fprintf(out, "  at most %.0f: %s\n", limit, mark(judged, limit));
}

static void ratio_table(const struct daemon_report *report, FILE *out, bool bold)
{
    bool decided = false;

    heading(out, bold, "Ratios (median over rounds of each round's own) and limits");
    (void)fprintf(out, "%-44s %8s %8s %8s  %s\n", "Ratio", "median", "min", "max", "limit");
    for (size_t i = 0; i < RATIO_COUNT; i++) {
        double low, high, middle = ratio_median(report, &ratios[i], &low, &high);

        if (isnan(middle))
            continue;
        ratio_line(out, ratios[i].meaning, middle, low, high, ratios[i].limit, middle);
        decided = decided || !isnan(ratios[i].limit);
    }
    for (unsigned i = 0; i < report->crowds; i++) {
        char meaning[64];
        double middle, worst;

        crowd_ratio(report, i, &middle, &worst);
        if (isnan(middle))
            continue;
        (void)snprintf(meaning, sizeof(meaning), "p99 of %u clients, others storm / nobody",
                       report->crowd_configs[i].clients);
        ratio_line(out, meaning, middle, NAN, worst, DAEMON_CROWD_LIMIT, worst);
    }
    if (!report->kvm)
        (void)fputs("The limit on a read is one on a guest's, and needs /dev/kvm: not decided.\n", out);
    else if (!decided)
        (void)fputs("The limit on a read needs in-process and mailbox: not decided.\n", out);
}

void daemon_report_tables(const struct daemon_report *report, FILE *out, bool bold)
{
    bool guests = false, calls = false;

    for (unsigned i = 0; i < ROW_COUNT; i++) {
        guests = guests || has_guest(report, i);
        calls = calls || (i < PLACE_COUNT && has_data(&report->rows[i]));
    }
    (void)fprintf(out, "%u rounds of %u ticks, %u of them stamped beside; TSC %.3f MHz\n", report->rounds,
                  report->ticks, report->samples, report->tsc_khz / 1e3);
    if (guests)
        guest_table(report, out, bold);
    if (calls)
        call_table(report, out, bold);
    if (calls && report->paced)
        paced_table(report, out, bold);
    if (calls && report->doorbells)
        doorbell_table(report, out, bold);
    if (report->crowds)
        crowd_tables(report, out, bold);
    ratio_table(report, out, bold);
}

/* ---- JSON ---- */

static json_t *pair_json(double p50, double p99)
{
    return json_pack("{s:o, s:o}", "p50", bench_number_json(p50), "p99", bench_number_json(p99));
}

static json_t *rounds_json(const struct daemon_report *report, const double *values)
{
    json_t *array = json_array();

    for (uint32_t i = 0; i < report->rounds; i++)
        (void)json_array_append_new(array, bench_number_json(values[i]));
    return array;
}

static json_t *row_json(const struct daemon_report *report, unsigned index)
{
    const struct daemon_row *row = &report->rows[index];
    json_t *object = json_object();

    if (has_guest(report, index))
        (void)json_object_set_new(
            object, "guest",
            json_pack("{s:o, s:o, s:o}", "ns_per_tick", bench_number_json(median(report, row, COLUMN_GUEST_TICK)),
                      "ns_per_tick_rounds", rounds_json(report, row->rounds[COLUMN_GUEST_TICK]), "read_ns",
                      pair_json(guest_ns(report, row, 0.5), guest_ns(report, row, 0.99))));
    if (index >= PLACE_COUNT)
        return object;
    (void)json_object_set_new(
        object, "calls",
        json_pack("{s:o, s:o, s:o, s:o, s:o}", "ns_per_tick", bench_number_json(median(report, row, COLUMN_TICK)),
                  "ns_per_tick_rounds", rounds_json(report, row->rounds[COLUMN_TICK]), "read_ns",
                  pair_json(quantile_ns(report, &row->read, 0.5), quantile_ns(report, &row->read, 0.99)),
                  "cpu_ns_per_tick", bench_number_json(median(report, row, COLUMN_CPU)), "daemon_cpu_ns_per_tick",
                  bench_number_json(median(report, row, COLUMN_DAEMON_CPU))));
    (void)json_object_set_new(
        object, "paced",
        json_pack("{s:o, s:o, s:o}", "read_ns",
                  pair_json(quantile_ns(report, &row->paced_read, 0.5), quantile_ns(report, &row->paced_read, 0.99)),
                  "cpu_ns_per_tick", bench_number_json(median(report, row, COLUMN_PACED_CPU)), "daemon_cpu_ns_per_tick",
                  bench_number_json(median(report, row, COLUMN_PACED_DAEMON_CPU))));
    return object;
}

static json_t *phase_json(const struct crowd_config *config, const struct crowd_figures *figures)
{
    double ticks = (double)figures->samples, ns = (double)figures->seconds_ns;

    if (!figures->samples)
        return json_null();
    return json_pack(
        "{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:I, s:I, s:I}", "wait_p50_ns",
        bench_number_json(crowd_median(config, figures, offsetof(struct crowd_wait, p50_ns))), "wait_p99_ns",
        bench_number_json(crowd_median(config, figures, offsetof(struct crowd_wait, p99_ns))), "wait_p99_ns_worst",
        bench_number_json(crowd_worst(config, figures, offsetof(struct crowd_wait, p99_ns))), "before_p99_worst",
        bench_number_json(crowd_worst(config, figures, offsetof(struct crowd_wait, before_p99))),
        "daemon_cpu_ns_per_tick", bench_number_json((double)figures->daemon_cpu_ns / ticks), "cpu_ns_per_tick",
        bench_number_json((double)figures->client_cpu_ns / ticks), "daemon_cpu_share",
        bench_number_json((double)figures->daemon_cpu_ns / ns), "ticks", (json_int_t)figures->samples, "left_out",
        (json_int_t)figures->left_out, "late", (json_int_t)figures->late);
}

static json_t *crowds_json(const struct daemon_report *report)
{
    json_t *all = json_object();

    for (unsigned i = 0; i < report->crowds; i++) {
        const struct crowd_config *config = &report->crowd_configs[i];
        char name[16];
        double middle, worst;

        (void)snprintf(name, sizeof(name), "%u", config->clients);
        crowd_ratio(report, i, &middle, &worst);
        (void)json_object_set_new(
            all, name,
            json_pack("{s:i, s:o, s:o, s:o, s:o}", "storming", (int)config->storming, "nobody_storms",
                      phase_json(config, &report->crowd_results[i].phase[CROWD_QUIET]), "others_storm",
                      phase_json(config, &report->crowd_results[i].phase[CROWD_STORM]), "p99_ratio",
                      bench_number_json(middle), "p99_ratio_worst", bench_number_json(worst)));
    }
    return all;
}

json_t *daemon_report_json(const struct daemon_report *report)
{
    json_t *root = json_object(), *all = json_object(), *skipped = json_object(), *doorbell = json_object();
    json_t *medians = json_object(), *ranges = json_object();

    for (unsigned i = 0; i < ROW_COUNT; i++) {
        if (has_data(&report->rows[i]))
            (void)json_object_set_new(all, daemon_row_name(i), row_json(report, i));
        else if (report->rows[i].wanted)
            (void)json_object_set_new(skipped, daemon_row_name(i), json_string(report->rows[i].fault));
    }
    for (size_t i = 0; i < RATIO_COUNT; i++) {
        double low, high, middle = ratio_median(report, &ratios[i], &low, &high);
        (void)json_object_set_new(medians, ratios[i].name, bench_number_json(middle));
        (void)json_object_set_new(
            ranges, ratios[i].name,
            json_pack("{s:o, s:o}", "min", bench_number_json(low), "max", bench_number_json(high)));
    }
    for (size_t i = 0; i < DOORBELLS; i++)
        (void)json_object_set_new(
            doorbell, doorbells[i].name,
            pair_json(doorbell_ns(report, i, COLUMN_DOORBELL_P50), doorbell_ns(report, i, COLUMN_DOORBELL_P99)));
    (void)json_object_set_new(root, "benchmark", json_string("daemon"));
    (void)json_object_set_new(root, "rounds", json_integer(report->rounds));
    (void)json_object_set_new(root, "ticks", json_integer(report->ticks));
    (void)json_object_set_new(root, "samples", json_integer(report->samples));
    (void)json_object_set_new(root, "tsc_khz", bench_number_json(report->tsc_khz));
    (void)json_object_set_new(root, "host", bench_host_json(""));
    (void)json_object_set_new(root, "models", all);
    (void)json_object_set_new(root, "skipped", skipped);
    (void)json_object_set_new(root, "doorbell_ns", doorbell);
    (void)json_object_set_new(root, "clients", crowds_json(report));
    (void)json_object_set_new(root, "ratios", medians);
    (void)json_object_set_new(root, "ratio_ranges", ranges);
    return root;
}
