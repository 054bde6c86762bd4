/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Hyper-V's interface to guests, as far as KVM has it: which enlightenments there are, what each needs, and the CPUID
 * leaves that show them. Pure functions. The hypercalls, MSRs and timers behind the leaves are KVM's.
 *
 * Source: Microsoft, Hypervisor Top Level Functional Specification (TLFS), "Feature and Interface Discovery".
 */
#ifndef VMM_HYPERV_H
#define VMM_HYPERV_H

#include <linux/kvm.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum hyperv_feature {
    HYPERV_RELAXED = 1 << 0,
    HYPERV_VAPIC = 1 << 1,
    HYPERV_SPINLOCKS = 1 << 2,
    HYPERV_VPINDEX = 1 << 3,
    HYPERV_RUNTIME = 1 << 4,
    HYPERV_TIME = 1 << 5,
    HYPERV_SYNIC = 1 << 6,
    HYPERV_STIMER = 1 << 7,
    HYPERV_FREQUENCIES = 1 << 8,
    HYPERV_TLBFLUSH = 1 << 9,
    HYPERV_IPI = 1 << 10,
    HYPERV_REENLIGHTENMENT = 1 << 11,
    HYPERV_ALL = (1 << 12) - 1,
};

#define HYPERV_FIRST_LEAF 0x40000000u
#define HYPERV_LEAVES     11u /* 0x40000000 to 0x4000000a */

/* The name of one feature, as --hyperv takes it. */
const char *hyperv_name(unsigned feature);
/* Whether each of `features` has what it needs among them; if not, *feature is one that lacks *needs. */
bool hyperv_complete(unsigned features, unsigned *feature, unsigned *needs);
/* Those of `features` that KVM does not have. `host`: `count` entries of KVM_GET_SUPPORTED_HV_CPUID. */
unsigned hyperv_lacking(unsigned features, const struct kvm_cpuid_entry2 *host, size_t count);
/* Fills HYPERV_LEAVES entries; `features` are not none, complete, and there. `host` as above. */
void hyperv_leaves(unsigned features, const struct kvm_cpuid_entry2 *host, size_t count, struct kvm_cpuid_entry2 *out);

#endif
