/* SPDX-License-Identifier: BSD-2-Clause */
/* replay_latency's guest: one vCPU that stamps its TSC into a posted range, paced by exits or as fast as it can. */
#ifndef RINGVMM_BENCH_LATENCY_GUEST_H
#define RINGVMM_BENCH_LATENCY_GUEST_H

#include <stdint.h>

#include <ringd/ringd.h>

#define LATENCY_GUEST_ADDR 0x8000u /* of the posted range, one page; real mode reaches it without tricks */

struct kvm_run;

struct latency_guest {
    int vm_fd, vcpu_fd;
    struct kvm_run *run;
    void *memory;
    uint32_t tsc_offset; /* low 32 bits of the host's TSC minus the guest's */
};

/* 0 or -errno. */
int latency_guest_create(struct latency_guest *guest, int kvm_fd);
void latency_guest_destroy(struct latency_guest *guest);

/*
 * latency_guest_run - `count` writes, one each `interval_ns` (0: without a pause, and without an exit unless the ring
 * is full). Between paced writes the vCPU is outside of the guest, asleep. @dev is the probe; *@full counts its writes
 * that came as exits. 0 or -errno.
 */
int latency_guest_run(struct latency_guest *guest, struct ringd_dev *dev, int64_t interval_ns, uint32_t count,
                      uint64_t *full);

#endif
