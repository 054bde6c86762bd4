/* SPDX-License-Identifier: BSD-2-Clause */
#include "vmm/report.h"

#include <errno.h>

#ifndef HAVE_JANSSON

int report_print_json(const struct report *report, FILE *stream)
{
    (void)report;
    (void)stream;
    return -ENOTSUP;
}

#else

#include <jansson.h>
#include <stdlib.h>

static json_t *number(uint64_t value)
{
    return json_integer((json_int_t)value);
}

static double ns(const struct report *report, double cycles)
{
    return cycles * report->ns_per_cycle;
}

static json_t *latency_json(const struct ringd_histogram_summary *h)
{
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "count", number(h->count), "min", number(h->min), "avg",
                     number(h->avg), "p50", number(h->p50), "p99", number(h->p99), "p999", number(h->p999), "max",
                     number(h->max));
}

static json_t *exits_json(const struct report *report)
{
    json_t *rows = json_array();
    for (unsigned i = 0; i < report->row_count; i++) {
        const struct report_row *row = &report->rows[i];
        const struct exit_stat *stat = &row->stat;
        double count = (double)stat->count;
        json_t *object = json_pack(
            "{s:s, s:s, s:s, s:o, s:b, s:o, s:f, s:f, s:f, s:f, s:f}", "where", row->where, "device", row->device,
            "direction", row->kind, "samples", number(stat->count), "posting", row->zone, "posted", number(row->posted),
            "total_ns", ns(report, (double)stat->cycles), "min_ns", ns(report, (double)stat->cycles_min), "max_ns",
            ns(report, (double)stat->cycles_max), "avg_ns",
            stat->count ? ns(report, (double)stat->cycles / count) : 0.0, "spread_percent", exit_stat_spread(stat));
        if (row->posted) {
            json_object_set_new(object, "batches", number(row->region.batches));
            json_object_set_new(object, "batch_max", number(row->region.batch_max));
            json_object_set_new(object, "full_exits", number(row->region.full_exits));
            json_object_set_new(object, "latency_ns", latency_json(&row->region.latency));
        }
        json_array_append_new(rows, object);
    }
    return rows;
}

static json_t *rings_json(const struct report *report)
{
    struct ringd *rd = report->machine->vm->ringd;
    json_t *rings = json_array();
    for (unsigned i = 0; i < ringd_ring_count(rd); i++) {
        struct ringd_ring_stats s;
        if (ringd_ring_stats(rd, i, &s))
            continue;
        json_array_append_new(
            rings,
            json_pack("{s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "name", s.name,
                      "state", s.state, "entries", number(s.entries), "entries_vcpu", number(s.entries_vcpu), "batches",
                      number(s.batches), "batch_max", number(s.batch_max), "bad", number(s.bad), "full_exits",
                      number(s.full_exits), "wakeups", number(s.wakeups), "wakeups_wasted", number(s.wakeups_wasted),
                      "looks", number(s.looks), "looks_empty", number(s.looks_empty), "looks_put_off",
                      number(s.looks_put_off), "switches", number(s.switches), "latency_ns", latency_json(&s.latency)));
    }
    return rings;
}

static json_t *devices_json(const struct report *report)
{
    const struct machine *machine = report->machine;
    json_t *devices = json_array();
    for (unsigned i = 0; i < machine->device_count; i++) {
        struct ringd_lock_stats lock;
        struct ringd_counter counters[32];
        ringd_dev_lock_stats(machine->devices[i].dev, &lock);
        unsigned count = ringd_dev_counters(machine->devices[i].dev, counters, 32);
        json_t *values = json_object();
        for (unsigned j = 0; j < count && j < 32; j++)
            json_object_set_new(values, counters[j].name, number(counters[j].value));
        json_array_append_new(devices, json_pack("{s:s, s:s, s:o, s:o, s:o, s:o}", "name", machine->devices[i].label,
                                                 "model", ringd_dev_ops(machine->devices[i].dev)->name, "lock_waits",
                                                 number(lock.waits), "lock_wait_ns", number(lock.wait_ns),
                                                 "lock_wait_max_ns", number(lock.wait_max_ns), "counters", values));
    }
    return devices;
}

static json_t *consoles_json(const struct report *report)
{
    const struct machine *machine = report->machine;
    struct chardev *chardevs[] = {machine->serial, machine->debugcon, machine->console};
    json_t *consoles = json_array();
    for (unsigned i = 0; i < sizeof(chardevs) / sizeof(chardevs[0]); i++) {
        struct chardev_stats s;
        if (!chardevs[i])
            continue;
        chardev_stats(chardevs[i], &s);
        json_array_append_new(consoles, json_pack("{s:s, s:o, s:o, s:o}", "name", chardev_name(chardevs[i]), "written",
                                                  number(s.written), "dropped", number(s.dropped), "keys_dropped",
                                                  number(s.keys_dropped)));
    }
    return consoles;
}

int report_print_json(const struct report *report, FILE *stream)
{
    json_t *kvm = json_object();
    for (unsigned i = 0; i < report->kvm_count; i++)
        json_object_set_new(kvm, report->kvm[i].name, number(report->kvm[i].value));
    json_t *root = json_pack(
        "{s:s, s:s, s:i, s:f, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "backend", report->backend,
        "backend_reason", report->reason, "vcpus", (int)report->vcpus, "seconds", report->seconds, "moves",
        number(report->moves), "windows_refused", number(report->windows_refused), "exits", number(report->exits),
        "ring_thread_wakeups", number(ringd_thread_wakeups(report->machine->vm->ringd)), "rows", exits_json(report),
        "rings", rings_json(report), "devices", devices_json(report), "consoles", consoles_json(report), "kvm", kvm);
    if (!root)
        return -ENOMEM;
    char *text = json_dumps(root, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
    int ret = -ENOMEM;
    if (text) {
        errno = 0;
        ret = fprintf(stream, "%s\n", text) < 0 && errno ? -errno : report_finish(stream);
    }
    free(text);
    json_decref(root);
    return ret;
}

#endif
