/* SPDX-License-Identifier: BSD-2-Clause */
/* A VM of guest.h whose devices are a ringd's: vCPU threads turn exits into ringd_read() and ringd_write(). */
#ifndef TESTS_KVM_HOSTED_H
#define TESTS_KVM_HOSTED_H

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "guest.h"

#define HOSTED_MAX_DEVICES 2u

struct hosted {
    struct guest guest;
    struct ringd *rd;
    struct ringd_dev *devices[HOSTED_MAX_DEVICES];
    uint64_t bases[HOSTED_MAX_DEVICES];
    unsigned device_count;
    pthread_t threads[GUEST_MAX_VCPUS];
    uint64_t strays; /* accesses that belong to no device; atomic */
};

/* Makes the VM and its ringd, whose thread is not started. A latency of 0 is the default. Failures fail the test. */
void hosted_create(struct hosted *m, enum ringd_backend_kind kind, unsigned vcpus, uint64_t max_replay_latency_ns);
void hosted_destroy(struct hosted *m);

/* Adds a device and maps its regions (ports only) at `base` and their offsets. */
struct ringd_dev *hosted_add(struct hosted *m, const struct ringd_device_ops *ops, const void *config, uint64_t base);

/* Loads a vCPU and starts its thread, which ends with the guest; HOSTED_START takes a GUEST_ASM() and registers. */
void hosted_start(struct hosted *m, unsigned vcpu, const void *code, size_t size, const struct kvm_regs *regs);
void hosted_join(struct hosted *m, unsigned vcpu);
#define HOSTED_START(m, vcpu, guest, ...)                                                                              \
    hosted_start(m, vcpu, guest, (size_t)(guest##_end - guest), &(struct kvm_regs){__VA_ARGS__})

#endif
