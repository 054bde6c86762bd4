/* SPDX-License-Identifier: BSD-2-Clause */
/* KVM's binary statistics: a header, descriptors with names, and the values (Documentation/virt/kvm/api.rst, 4.133). */
#include <errno.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "vmm/report.h"

static void add(struct report *report, const char *name, uint64_t value)
{
    for (unsigned i = 0; i < report->kvm_count; i++) {
        if (!strcmp(report->kvm[i].name, name)) {
            report->kvm[i].value += value;
            return;
        }
    }
    if (report->kvm_count == REPORT_MAX_KVM)
        return;
    struct report_kvm_stat *stat = &report->kvm[report->kvm_count++];
    snprintf(stat->name, sizeof(stat->name), "%s", name);
    stat->value = value;
}

static void read_one(struct report *report, int stats, const struct kvm_stats_header *header, uint32_t index)
{
    size_t size = sizeof(struct kvm_stats_desc) + header->name_size;
    struct kvm_stats_desc *desc = malloc(size + 1);
    if (!desc)
        return;
    uint64_t value;
    off_t at = (off_t)header->desc_offset + (off_t)index * (off_t)size;
    if (pread(stats, desc, size, at) == (ssize_t)size && desc->size == 1 && /* histograms have more values than one */
        pread(stats, &value, sizeof(value), (off_t)header->data_offset + desc->offset) == (ssize_t)sizeof(value)) {
        desc->name[header->name_size] = 0;
        add(report, desc->name, value);
    }
    free(desc);
}

void report_add_kvm_stats(struct report *report, int fd)
{
    int stats = ioctl(fd, KVM_GET_STATS_FD, NULL);
    if (stats < 0)
        return;
    struct kvm_stats_header header;
    if (pread(stats, &header, sizeof(header), 0) == (ssize_t)sizeof(header) && header.name_size <= 4096)
        for (uint32_t i = 0; i < header.num_desc; i++)
            read_one(report, stats, &header, i);
    close(stats);
}
