/* SPDX-License-Identifier: BSD-2-Clause */
#include "report.h"

#include <err.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>

#include "host.h"

/* The ratios that are reported, each of one of a series' columns. */
static const struct ratio {
    const char *name;
    const char *meaning;
    size_t above, below, column;
} ratios[] = {
    {"qemu_pc_over_ringvmm", "a tick, QEMU pc / ringvmm", VARIANT_ID_QEMU_PC, VARIANT_ID_RINGVMM, SERIES_TICK},
    {"ringvmm_over_floor", "a tick, ringvmm / floor", VARIANT_ID_RINGVMM, VARIANT_ID_FLOOR, SERIES_TICK},
    {"write_off_over_coalesced", "avg cost of a write, off / coalesced", VARIANT_ID_RINGVMM_OFF, VARIANT_ID_RINGVMM,
     SERIES_WRITE_AVG},
    {"write_off_over_coalesced_p50", "p50 cost of a write, off / coalesced", VARIANT_ID_RINGVMM_OFF, VARIANT_ID_RINGVMM,
     SERIES_WRITE_P50},
};

#define RATIO_COUNT (sizeof(ratios) / sizeof(ratios[0]))

static bool has_data(const struct series *series)
{
    return series->wanted && series->fault[0] == '\0';
}

static double to_ns(const struct report *report, double ticks)
{
    return ticks * 1e6 / report->tsc_khz;
}

/* The median over rounds of the ratio within each round: what slows a whole round does not move it. */
static double ratio_median(const struct report *report, const struct ratio *ratio, double *low, double *high)
{
    const struct series *above = &report->series[ratio->above], *below = &report->series[ratio->below];
    double *values = calloc(report->rounds, sizeof(*values));
    double median = NAN;
    size_t count = 0;

    if (!values)
        errx(BENCH_EXIT_FAILED, "no memory");
    *low = *high = NAN;
    if (has_data(above) && has_data(below)) {
        for (uint32_t i = 0; i < report->rounds; i++) {
            double over = above->rounds[ratio->column][i];
            double under = below->rounds[ratio->column][i];
            if (under > 0)
                values[count++] = over / under;
        }
        median = bench_median(values, count, low, high);
    }
    free(values);
    return median;
}

/* The cost of single accesses in ns, the empty pair taken off: its minimum from the minimum, its median from the
 * others. */
struct cost {
    double min, avg, p50, p99, max;
};

static struct cost cost_of(const struct report *report, const struct series *series,
                           const struct bench_counter *counter)
{
    const struct bench_counter *empty = &series->empty;
    double median = bench_counter_quantile(empty, 0.5);

    return (struct cost){
        .min = to_ns(report, fmax((double)counter->min - (double)empty->min, 0)),
        .avg = to_ns(report, fmax(bench_counter_mean(counter) - median, 0)),
        .p50 = to_ns(report, fmax(bench_counter_quantile(counter, 0.5) - median, 0)),
        .p99 = to_ns(report, fmax(bench_counter_quantile(counter, 0.99) - median, 0)),
        .max = to_ns(report, fmax((double)counter->max - median, 0)),
    };
}

static const char *unit(const struct report *report)
{
    return report->instructions ? "k-instructions" : "ns";
}

/* A time in the unit of the tables, @width wide. Where the clock counts instructions, a nanosecond of it is one. */
static void cell(const struct report *report, FILE *out, int width, double ns)
{
    (void)fprintf(out, " %*.*f", width, report->instructions ? 3 : 0, report->instructions ? ns / 1e3 : ns);
}

static __attribute__((format(printf, 3, 4))) void heading(FILE *out, bool bold, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    (void)fputs(bold ? "\n\033[1m" : "\n", out);
    (void)vfprintf(out, format, args);
    (void)fputs(bold ? "\033[m\n" : "\n", out);
    va_end(args);
}

static void exits_cell(FILE *out, int width, double exits)
{
    (void)(isnan(exits) ? fprintf(out, " %*s", width, "-") : fprintf(out, " %*.5f", width, exits));
}

static void tick_table(const struct report *report, FILE *out, bool bold)
{
    heading(out, bold, "%s per tick (median of the rounds) and returns from KVM_RUN",
            report->instructions ? "K-instructions" : "Time");
    (void)fprintf(out, "%-14s %10s %10s %10s %10s %12s %14s\n", "Variant",
                  report->instructions ? "k-ins/tick" : "ns/tick", "min", "max", "mean", "exits/tick", "from outside");
    for (size_t i = 0; i < VARIANT_COUNT; i++) {
        const struct series *series = &report->series[i];
        double low, high;

        if (!has_data(series))
            continue;
        double median = bench_median(series->rounds[SERIES_TICK], report->rounds, &low, &high);
        double mean = bench_median(series->rounds[SERIES_TICK_MEAN], report->rounds, NULL, NULL);
        (void)fprintf(out, "%-14s", variants[i].name);
        cell(report, out, 10, to_ns(report, median));
        cell(report, out, 10, to_ns(report, low));
        cell(report, out, 10, to_ns(report, high));
        cell(report, out, 10, to_ns(report, mean));
        exits_cell(out, 12, series->exits_per_tick);
        exits_cell(out, 14, series->exits_per_tick_outside);
        (void)fputc('\n', out);
    }
}

static void cost_cells(const struct report *report, FILE *out, size_t id, const char *access, const struct cost *cost)
{
    (void)fprintf(out, "%-14s %-6s", variants[id].name, access);
    cell(report, out, 8, cost->min);
    cell(report, out, 8, cost->avg);
    cell(report, out, 8, cost->p50);
    cell(report, out, 8, cost->p99);
    cell(report, out, 10, cost->max);
    (void)fputc('\n', out);
}

static void cost_line(const struct report *report, FILE *out, size_t id, const char *access,
                      const struct bench_counter *counter)
{
    struct cost cost = cost_of(report, &report->series[id], counter);

    if (counter->count > 0)
        cost_cells(report, out, id, access, &cost);
}

static void cost_table(const struct report *report, FILE *out, bool bold)
{
    heading(out, bold,
            "Cost of a single access as the guest sees it, in %s (the empty pair of RDTSCs, \"none\", is taken off)",
            unit(report));
    (void)fprintf(out, "%-14s %-6s %8s %8s %8s %8s %10s\n", "Variant", "Access", "min", "avg", "p50", "p99", "max");
    for (size_t i = 0; i < VARIANT_COUNT; i++) {
        const struct series *series = &report->series[i];

        if (!has_data(series))
            continue;
        cost_line(report, out, i, "write", &series->write_all);
        cost_line(report, out, i, "read", &series->read_all);
        struct cost none = {.min = to_ns(report, (double)series->empty.min),
                            .avg = to_ns(report, bench_counter_mean(&series->empty)),
                            .p50 = to_ns(report, bench_counter_quantile(&series->empty, 0.5)),
                            .p99 = to_ns(report, bench_counter_quantile(&series->empty, 0.99)),
                            .max = to_ns(report, (double)series->empty.max)};
        cost_cells(report, out, i, "(none)", &none);
    }
}

static void ratio_table(const struct report *report, FILE *out, bool bold)
{
    bool headed = false;

    for (size_t i = 0; i < RATIO_COUNT; i++) {
        double low, high, median = ratio_median(report, &ratios[i], &low, &high);

        if (isnan(median))
            continue;
        if (!headed) {
            heading(out, bold, "Ratios (median over rounds of each round's own)");
            (void)fprintf(out, "%-40s %8s %8s %8s\n", "Ratio", "median", "min", "max");
            headed = true;
        }
        (void)fprintf(out, "%-40s %8.3f %8.3f %8.3f\n", ratios[i].meaning, median, low, high);
    }
}

/* One row of the table that came with the first coalesced-PIO patches, from the guest's stamps. */
static void seed_row(const struct report *report, FILE *out, const struct series *series, const char *access,
                     const struct bench_counter *counter)
{
    struct cost cost = cost_of(report, series, counter);
    struct cost write = cost_of(report, series, &series->write_all), read = cost_of(report, series, &series->read_all);
    double write_time = (double)series->write_all.count * write.avg;
    double read_time = (double)series->read_all.count * read.avg;
    double samples = (double)(series->write_all.count + series->read_all.count);
    double time = write_time + read_time;
    double tsc_avg = cost.avg * report->tsc_khz / 1e6;
    const char *thousand = report->instructions ? "k " : "us";

    if (counter->count == 0)
        return;
    (void)fprintf(out, "%-14s %10.0f %8.2f%% %8.2f%% %9.2f%s %9.2f%s %9.2f%s ( +- %6.2f%% )\n", access,
                  (double)counter->count, 100 * (double)counter->count / samples,
                  time > 0 ? 100 * (double)counter->count * cost.avg / time : 0, cost.min / 1e3, thousand,
                  cost.max / 1e3, thousand, cost.avg / 1e3, thousand, 100 * bench_counter_mean_error(counter, tsc_avg));
}

static void seed_table(const struct report *report, FILE *out, bool bold, const char *title, size_t id)
{
    const struct series *series = &report->series[id];
    bool pci = report->params.pattern == PAYLOAD_PATTERN_PCI;

    if (!has_data(series))
        return;
    heading(out, bold, "%s%s", title, report->instructions ? " (k: k-instructions)" : "");
    (void)fprintf(out, "%-14s %10s %9s %9s %11s %11s %11s\n", "IO Port Access", "Samples", "Samples%", "Time%",
                  "Min Time", "Max Time", "Avg time");
    seed_row(report, out, series, pci ? "0xcf8:POUT" : "0x70:POUT", &series->write_all);
    seed_row(report, out, series, pci ? "0xcfc:PIN" : "0x71:PIN", &series->read_all);
}

void report_tables(const struct report *report, FILE *out, bool bold)
{
    (void)fprintf(out, "Pattern %s: %u ticks and %u stamped ticks a run, %u rounds, %s%.3f MHz%s%s\n",
                  payload_pattern_name(report->params.pattern), report->params.ticks, report->params.samples,
                  report->rounds, report->instructions ? "the clock counts instructions, TSC " : "TSC ",
                  report->tsc_khz / 1e3, report->backend[0] ? ", ringvmm's back end " : "", report->backend);
    tick_table(report, out, bold);
    cost_table(report, out, bold);
    ratio_table(report, out, bold);
    seed_table(report, out, bold, "Before: ringvmm --coalesce off", VARIANT_ID_RINGVMM_OFF);
    seed_table(report, out, bold, "After: ringvmm", VARIANT_ID_RINGVMM);
}

static json_t *cost_json(const struct report *report, const struct series *series, const struct bench_counter *counter)
{
    struct cost cost = cost_of(report, series, counter);

    if (counter->count == 0)
        return json_null();
    return json_pack("{s:f, s:f, s:f, s:f, s:f, s:f}", "min", cost.min, "avg", cost.avg, "p50", cost.p50, "p99",
                     cost.p99, "max", cost.max, "avg_error_percent",
                     100 * bench_counter_mean_error(counter, cost.avg * report->tsc_khz / 1e6));
}

static json_t *series_json(const struct report *report, const struct series *series)
{
    double low, high, median = bench_median(series->rounds[SERIES_TICK], report->rounds, &low, &high);
    double mean = bench_median(series->rounds[SERIES_TICK_MEAN], report->rounds, NULL, NULL);
    json_t *object = json_object(), *rounds = json_array();

    for (uint32_t i = 0; i < report->rounds; i++)
        (void)json_array_append_new(rounds, bench_number_json(to_ns(report, series->rounds[SERIES_TICK][i])));
    (void)json_object_set_new(object, "ns_per_tick", bench_number_json(to_ns(report, median)));
    (void)json_object_set_new(object, "ns_per_tick_min", bench_number_json(to_ns(report, low)));
    (void)json_object_set_new(object, "ns_per_tick_max", bench_number_json(to_ns(report, high)));
    (void)json_object_set_new(object, "ns_per_tick_rounds", rounds);
    (void)json_object_set_new(object, "ns_per_tick_mean", bench_number_json(to_ns(report, mean)));
    (void)json_object_set_new(object, "exits_per_tick", bench_number_json(series->exits_per_tick));
    (void)json_object_set_new(object, "exits_per_tick_outside", bench_number_json(series->exits_per_tick_outside));
    (void)json_object_set_new(object, "write_ns", cost_json(report, series, &series->write_all));
    (void)json_object_set_new(object, "read_ns", cost_json(report, series, &series->read_all));
    (void)json_object_set_new(object, "empty_pair_ns",
                              json_pack("{s:f, s:f, s:f}", "min", to_ns(report, (double)series->empty.min), "avg",
                                        to_ns(report, bench_counter_mean(&series->empty)), "p50",
                                        to_ns(report, bench_counter_quantile(&series->empty, 0.5))));
    return object;
}

json_t *report_json(const struct report *report)
{
    json_t *root = json_object(), *all = json_object(), *skipped = json_object();
    json_t *medians = json_object(), *ranges = json_object();

    for (size_t i = 0; i < VARIANT_COUNT; i++) {
        if (has_data(&report->series[i]))
            (void)json_object_set_new(all, variants[i].name, series_json(report, &report->series[i]));
        else if (report->series[i].wanted)
            (void)json_object_set_new(skipped, variants[i].name, json_string(report->series[i].fault));
    }
    for (size_t i = 0; i < RATIO_COUNT; i++) {
        double low, high, median = ratio_median(report, &ratios[i], &low, &high);
        (void)json_object_set_new(medians, ratios[i].name, bench_number_json(median));
        (void)json_object_set_new(
            ranges, ratios[i].name,
            json_pack("{s:o, s:o}", "min", bench_number_json(low), "max", bench_number_json(high)));
    }
    (void)json_object_set_new(root, "benchmark", json_string("rtc_tick"));
    (void)json_object_set_new(root, "pattern", json_string(payload_pattern_name(report->params.pattern)));
    (void)json_object_set_new(root, "ticks", json_integer(report->params.ticks));
    (void)json_object_set_new(root, "samples", json_integer(report->params.samples));
    (void)json_object_set_new(root, "rounds", json_integer(report->rounds));
    (void)json_object_set_new(root, "tsc_khz", bench_number_json(report->tsc_khz));
    (void)json_object_set_new(root, "clock", json_string(report->instructions ? "instructions" : "time"));
    (void)json_object_set_new(root, "backend", report->backend[0] ? json_string(report->backend) : json_null());
    (void)json_object_set_new(root, "host", bench_host_json(report->qemu_version));
    (void)json_object_set_new(root, "variants", all);
    (void)json_object_set_new(root, "skipped", skipped);
    (void)json_object_set_new(root, "ratios", medians);
    (void)json_object_set_new(root, "ratio_ranges", ranges);
    return root;
}
