/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a vCPU's CPUID says: the host's features as KVM can give them to a guest, less what was asked to go, and a
 * topology of one package with one thread a core. cpuid_build() is a pure function; cpu_model.c asks KVM.
 */
#ifndef VMM_CPUID_H
#define VMM_CPUID_H

#include <linux/kvm.h>
#include <stdbool.h>
#include <stdint.h>

#include "vmm/cpu_features.h"

#define CPUID_MAX_ENTRIES 256u /* KVM_MAX_CPUID_ENTRIES (arch/x86/include/asm/kvm_host.h) */

/* As struct kvm_cpuid2, with its entries in place. */
struct cpuid_table {
    uint32_t nent, padding;
    struct kvm_cpuid_entry2 entries[CPUID_MAX_ENTRIES];
};

/* What all vCPUs of a machine have in common. Constant once made. */
struct cpu_model {
    unsigned cpus;
    struct cpu_features features;
    unsigned hyperv;                /* sum of enum hyperv_feature */
    bool deadline;                  /* KVM has the TSC deadline timer */
    bool mwait;                     /* MONITOR and MWAIT do not exit */
    uint32_t mwait_leaf[4];         /* then: the host's leaf 5, by enum cpu_register */
    struct cpuid_table host;        /* KVM_GET_SUPPORTED_CPUID */
    struct cpuid_table hyperv_host; /* KVM_GET_SUPPORTED_HV_CPUID; empty without `hyperv` */
};

/* cpuid_build - the table for the vCPU with this APIC ID. Returns 0, or -E2BIG when it has more entries than fit. */
int cpuid_build(const struct cpu_model *model, unsigned apic_id, struct cpuid_table *out);

/* The entry, or NULL. `index` counts only where the entry has one. */
const struct kvm_cpuid_entry2 *cpuid_find(const struct cpuid_table *table, uint32_t function, uint32_t index);

/* The name of a feature that must be there and is not; NULL: all are. */
const char *cpuid_lacking(const struct cpuid_table *table, const struct cpu_features *features);

/* ---- cpu_model.c ---- */

struct vm;
struct run_options;

/* cpu_model_create - asks KVM what there is and compares it with the options; says in one line what cannot be. With
 * --cpu-pm, behind tuning_vm(). Returns 0 or -errno; free() for *out. */
int cpu_model_create(const struct vm *vm, const struct run_options *options, struct cpu_model **out);

#endif
