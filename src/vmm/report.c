/* SPDX-License-Identifier: BSD-2-Clause */
#include "vmm/report.h"

#include <errno.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/vcpu.h"

static const char *reason_name(unsigned reason)
{
    static const char *const names[] = {[KVM_EXIT_UNKNOWN] = "unknown",
                                        [KVM_EXIT_HLT] = "halt",
                                        [KVM_EXIT_IRQ_WINDOW_OPEN] = "irq-window",
                                        [KVM_EXIT_SHUTDOWN] = "shutdown",
                                        [KVM_EXIT_FAIL_ENTRY] = "fail-entry",
                                        [KVM_EXIT_INTR] = "interrupted",
                                        [KVM_EXIT_INTERNAL_ERROR] = "internal-error"};
    return reason < sizeof(names) / sizeof(names[0]) && names[reason] ? names[reason] : "other";
}

static struct report_row *new_row(struct report *report)
{
    return report->row_count < REPORT_MAX_ROWS ? &report->rows[report->row_count++] : NULL;
}

static void add_rows(struct report *report, const struct machine_device *device, unsigned region)
{
    const struct ringd_region *desc = &ringd_dev_ops(device->dev)->regions[region];
    struct ringd_region_stats stats;
    if (ringd_region_stats(device->dev, region, &stats))
        return;
    bool port = desc->space == RINGD_PIO;
    unsigned rows = machine_rows(desc);
    for (unsigned i = 0; i < rows; i++) {
        for (unsigned write = 0; write < 2; write++) {
            const struct exit_stat *stat = &report->merged.rows[device->first_row[region] + i][write];
            bool posted_here = write && i == 0 && stats.posted; /* a region's posted writes show in its first row */
            struct report_row *row = stat->count || posted_here ? new_row(report) : NULL;
            if (!row)
                continue;
            uint64_t addr = stats.addr + i;
            if (rows == desc->size)
                snprintf(row->where, sizeof(row->where), "0x%llx", (unsigned long long)addr);
            else
                snprintf(row->where, sizeof(row->where), "0x%llx-0x%llx", (unsigned long long)addr,
                         (unsigned long long)(addr + desc->size - 1));
            snprintf(row->device, sizeof(row->device), "%s %s", device->label, desc->name);
            row->kind = port ? (write ? "POUT" : "PIN") : write ? "MMIO-W" : "MMIO-R";
            row->zone = stats.zone && write;
            row->posted = posted_here ? stats.posted : 0;
            if (posted_here)
                row->region = stats;
            row->stat = *stat;
        }
    }
}

static void add_stray(struct report *report, const struct exit_stray *stray)
{
    struct report_row *row = stray->used ? new_row(report) : NULL;
    if (!row)
        return;
    snprintf(row->where, sizeof(row->where), "0x%llx", (unsigned long long)stray->addr);
    bool shadow = stray->mmio && stray->addr >= MEMORY_PAM_START && stray->addr < 0x100000;
    snprintf(row->device, sizeof(row->device), "%s", shadow ? "(write-protected memory)" : "(no device)");
    row->kind = stray->mmio ? (stray->write ? "MMIO-W" : "MMIO-R") : stray->write ? "POUT" : "PIN";
    row->stat = stray->stat;
}

static void add_other(struct report *report, const char *name, const struct exit_stat *stat)
{
    struct report_row *row = stat->count ? new_row(report) : NULL;
    if (!row)
        return;
    snprintf(row->where, sizeof(row->where), "-");
    snprintf(row->device, sizeof(row->device), "(%s)", name);
    row->kind = "-";
    row->stat = *stat;
}

/* Most time first; what never exits last. */
static int by_time(const void *a, const void *b)
{
    const struct report_row *left = a, *right = b;
    if (left->stat.cycles != right->stat.cycles)
        return left->stat.cycles < right->stat.cycles ? 1 : -1;
    if (left->posted != right->posted)
        return left->posted < right->posted ? 1 : -1;
    return strcmp(left->where, right->where);
}

void report_collect(struct report *report, struct machine *machine, const char *reason, const struct cycles_base *base)
{
    struct vm *vm = machine->vm;
    memset(report, 0, sizeof(*report));
    report->machine = machine;
    report->backend = ringd_backend_name(ringd_backend(vm->ringd));
    snprintf(report->reason, sizeof(report->reason), "%s", reason);
    report->vcpus = vm->vcpu_count;
    report->seconds = (double)(monotonic_ns() - base->ns) / 1e9;
    report->ns_per_cycle = cycles_to_ns(base);
    for (unsigned i = 0; i < vm->vcpu_count; i++)
        exits_merge(&report->merged, &vm->vcpus[i]->exits);
    report->exits = exits_total(&report->merged);
    pthread_mutex_lock(&machine->queue_lock);
    report->moves = machine->moves;
    pthread_mutex_unlock(&machine->queue_lock);
    report->windows_refused = __atomic_load_n(&machine->refused, __ATOMIC_RELAXED);

    for (unsigned i = 0; i < machine->device_count; i++)
        for (unsigned j = 0; j < ringd_dev_ops(machine->devices[i].dev)->region_count; j++)
            add_rows(report, &machine->devices[i], j);
    for (unsigned i = 0; i < EXITS_STRAYS; i++)
        add_stray(report, &report->merged.strays[i]);
    for (unsigned i = 0; i < EXITS_REASONS; i++)
        add_other(report, reason_name(i), &report->merged.reasons[i]);
    add_other(report, "interrupted", &report->merged.interrupted);
    add_other(report, "other", &report->merged.other);
    qsort(report->rows, report->row_count, sizeof(report->rows[0]), by_time);

    for (unsigned i = 0; i < vm->vcpu_count; i++)
        report_add_kvm_stats(report, vm->vcpus[i]->fd);
}

int report_finish(FILE *stream)
{
    errno = 0;
    if (!fflush(stream) && !ferror(stream))
        return 0;
    return errno ? -errno : -EIO; /* an earlier write failed, and took its cause with it */
}

/* ---- the tables ---- */

static double us(const struct report *report, double cycles)
{
    return cycles * report->ns_per_cycle / 1000;
}

static void print_exits(const struct report *report, FILE *stream)
{
    uint64_t cycles = 0;
    for (unsigned i = 0; i < report->row_count; i++)
        cycles += report->rows[i].stat.cycles;
    fprintf(stream, "%-23s %-22s %10s %8s %7s %11s %11s %12s %9s %10s\n", "IO Port Access", "Device", "Samples",
            "Samples%", "Time%", "Min Time", "Max Time", "Avg time", "(+- %)", "Posted");
    for (unsigned i = 0; i < report->row_count; i++) {
        const struct report_row *row = &report->rows[i];
        const struct exit_stat *stat = &row->stat;
        char where[64], posted[32];
        snprintf(where, sizeof(where), "%s:%s", row->where, row->kind);
        snprintf(posted, sizeof(posted), row->zone ? "%llu" : "-", (unsigned long long)row->posted);
        fprintf(stream, "%-23s %-22s %10llu %7.2f%% %6.2f%% %9.2fus %9.2fus %10.2fus %8.2f%% %10s\n",
                row->kind[0] == '-' ? "-" : where, row->device, (unsigned long long)stat->count,
                report->exits ? 100.0 * (double)stat->count / (double)report->exits : 0,
                cycles ? 100.0 * (double)stat->cycles / (double)cycles : 0, us(report, (double)stat->cycles_min),
                us(report, (double)stat->cycles_max),
                stat->count ? us(report, (double)stat->cycles / (double)stat->count) : 0, exit_stat_spread(stat),
                posted);
    }
}

static void print_posted(const struct report *report, FILE *stream)
{
    unsigned shown = 0;
    for (unsigned i = 0; i < report->row_count; i++) {
        const struct report_row *row = &report->rows[i];
        const struct ringd_region_stats *s = &row->region;
        if (!row->posted)
            continue;
        if (!shown++)
            fprintf(stream,
                    "\nPosted writes (replay latency: at most so many us; docs/statistics.md)\n"
                    "%-23s %-22s %10s %8s %5s %6s %9s %9s %9s %9s\n",
                    "IO Port Access", "Device", "Posted", "Batch", "Max", "Full", "p50", "p99", "p99.9", "max");
        char where[64];
        snprintf(where, sizeof(where), "%s:%s", row->where, row->kind);
        fprintf(stream, "%-23s %-22s %10llu %8.2f %5llu %6llu %9.1f %9.1f %9.1f %9.1f\n", where, row->device,
                (unsigned long long)s->posted, (double)s->posted / (double)s->batches, (unsigned long long)s->batch_max,
                (unsigned long long)s->full_exits, (double)s->latency.p50 / 1e3, (double)s->latency.p99 / 1e3,
                (double)s->latency.p999 / 1e3, (double)s->latency.max / 1e3);
    }
}

static void print_rings(const struct report *report, FILE *stream)
{
    struct ringd *rd = report->machine->vm->ringd;
    if (!ringd_ring_count(rd))
        return;
    fprintf(stream, "\n%-15s %-5s %10s %8s %8s %5s %6s %5s %9s %8s %8s %8s %8s %8s\n", "Ring", "State", "Entries",
            "By vCPU", "Batch", "Max", "Full", "Bad", "Wake-ups", "Wasted", "Looks", "Empty", "Put off", "Changes");
    for (unsigned i = 0; i < ringd_ring_count(rd); i++) {
        struct ringd_ring_stats s;
        if (ringd_ring_stats(rd, i, &s))
            continue;
        fprintf(stream, "%-15s %-5s %10llu %7.1f%% %8.2f %5llu %6llu %5llu %9llu %8llu %8llu %8llu %8llu %8llu\n",
                s.name, s.state, (unsigned long long)s.entries,
                s.entries ? 100.0 * (double)s.entries_vcpu / (double)s.entries : 0,
                s.batches ? (double)s.entries / (double)s.batches : 0, (unsigned long long)s.batch_max,
                (unsigned long long)s.full_exits, (unsigned long long)s.bad, (unsigned long long)s.wakeups,
                (unsigned long long)s.wakeups_wasted, (unsigned long long)s.looks, (unsigned long long)s.looks_empty,
                (unsigned long long)s.looks_put_off, (unsigned long long)s.switches);
    }
}

static void print_devices(const struct report *report, FILE *stream)
{
    const struct machine *machine = report->machine;
    fprintf(stream, "\n%-15s %10s %12s %12s  %s\n", "Device", "Lock waits", "Waited", "Longest", "Counters");
    for (unsigned i = 0; i < machine->device_count; i++) {
        struct ringd_lock_stats lock;
        struct ringd_counter counters[32];
        ringd_dev_lock_stats(machine->devices[i].dev, &lock);
        unsigned count = ringd_dev_counters(machine->devices[i].dev, counters, 32);
        fprintf(stream, "%-15s %10llu %10.1fus %10.1fus ", machine->devices[i].label, (unsigned long long)lock.waits,
                (double)lock.wait_ns / 1e3, (double)lock.wait_max_ns / 1e3);
        for (unsigned j = 0; j < count && j < 32; j++)
            if (counters[j].value)
                fprintf(stream, " %s=%llu", counters[j].name, (unsigned long long)counters[j].value);
        fputc('\n', stream);
    }
}

static void print_consoles(const struct report *report, FILE *stream)
{
    const struct machine *machine = report->machine;
    struct chardev *consoles[] = {machine->serial, machine->debugcon, machine->console};
    fprintf(stream, "\n%-15s %10s %10s %12s\n", "Console", "Written", "Dropped", "Keys dropped");
    for (unsigned i = 0; i < sizeof(consoles) / sizeof(consoles[0]); i++) {
        struct chardev_stats s;
        if (!consoles[i])
            continue;
        chardev_stats(consoles[i], &s);
        fprintf(stream, "%-15s %10llu %10llu %12llu\n", chardev_name(consoles[i]), (unsigned long long)s.written,
                (unsigned long long)s.dropped, (unsigned long long)s.keys_dropped);
    }
}

static void print_kvm(const struct report *report, FILE *stream)
{
    if (!report->kvm_count)
        return;
    fprintf(stream, "\nKVM's own counters (they include what KVM handled alone):\n");
    unsigned column = 0;
    for (unsigned i = 0; i < report->kvm_count; i++) {
        const struct report_kvm_stat *stat = &report->kvm[i];
        if (!stat->value)
            continue;
        fprintf(stream, "  %-28s %14llu%s", stat->name, (unsigned long long)stat->value, ++column % 2 ? "" : "\n");
    }
    fputs(column % 2 ? "\n" : "", stream);
}

int report_print_table(const struct report *report, FILE *stream)
{
    fprintf(stream,
            "back end %s (%s); %u vCPU%s, %.3f s, %llu exits (returns from KVM_RUN), %llu ring thread wake-ups\n\n",
            report->backend, report->reason, report->vcpus, report->vcpus == 1 ? "" : "s", report->seconds,
            (unsigned long long)report->exits, (unsigned long long)ringd_thread_wakeups(report->machine->vm->ringd));
    print_exits(report, stream);
    print_posted(report, stream);
    print_rings(report, stream);
    print_devices(report, stream);
    print_consoles(report, stream);
    if (report->moves)
        fprintf(stream, "\nWindows moved and memory below 1 MiB switched: %llu times\n",
                (unsigned long long)report->moves);
    if (report->windows_refused)
        fprintf(stream, "\nWindows that the guest wanted where something else stands: %llu\n",
                (unsigned long long)report->windows_refused);
    print_kvm(report, stream);
    return report_finish(stream);
}
