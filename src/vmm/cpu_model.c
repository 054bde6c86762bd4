/* SPDX-License-Identifier: BSD-2-Clause */
/* What KVM can give to a guest's CPUs here, and whether that is what was asked for. */
#include <cpuid.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "vmm/cpuid.h"
#include "vmm/hyperv.h"
#include "vmm/options.h"
#include "vmm/vm.h"

#define LEAF5_EMX 1u /* ECX of leaf 5: its other registers count */
#define LEAF5_IBE 2u /* an interrupt ends MWAIT even while they are off */

static bool offers(const struct vm *vm, int capability)
{
    return ioctl(vm->kvm_fd, KVM_CHECK_EXTENSION, capability) > 0;
}

static int read_table(const struct vm *vm, unsigned long request, struct cpuid_table *out)
{
    out->nent = CPUID_MAX_ENTRIES;
    return ioctl(vm->kvm_fd, request, out) < 0 ? -errno : 0;
}

static int refuse_hyperv(const char *feature, const char *why)
{
    fprintf(stderr, "ringvmm: --hyperv: '%s' is not to be had: %s\n", feature, why);
    return -ENOTSUP;
}

static int read_hyperv(const struct vm *vm, unsigned asked, struct cpu_model *model)
{
    if (!asked)
        return 0;
    const char *first = hyperv_name(asked & -asked);
    if (!offers(vm, KVM_CAP_HYPERV))
        return refuse_hyperv(first, "this host's KVM has nothing of Hyper-V; leave --hyperv out");
    if (!offers(vm, KVM_CAP_SYS_HYPERV_CPUID))
        return refuse_hyperv(first, "this host's KVM does not tell what it has of Hyper-V; Linux 5.11 and later do");
    int ret = read_table(vm, KVM_GET_SUPPORTED_HV_CPUID, &model->hyperv_host);
    if (ret)
        return refuse_hyperv(first, strerror(-ret));
    unsigned lacking = hyperv_lacking(asked, model->hyperv_host.entries, model->hyperv_host.nent);
    if ((asked & HYPERV_SYNIC) && !offers(vm, KVM_CAP_HYPERV_SYNIC2))
        lacking |= HYPERV_SYNIC;
    if (lacking)
        return refuse_hyperv(hyperv_name(lacking & -lacking),
                             "this host's KVM does not have it; list the others: --hyperv LIST");
    model->hyperv = asked;
    return 0;
}

/* The guest may wait in MWAIT, so it is told how the host's CPU does it. KVM says nothing about that. */
static void read_mwait(const struct vm *vm, struct cpu_model *model)
{
    int allowed = ioctl(vm->kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_X86_DISABLE_EXITS);
    uint32_t *leaf = model->mwait_leaf;
    if (allowed <= 0 || !(allowed & KVM_X86_DISABLE_EXITS_MWAIT))
        return;
    if (!__get_cpuid(5, &leaf[CPU_EAX], &leaf[CPU_EBX], &leaf[CPU_ECX], &leaf[CPU_EDX]))
        return;
    leaf[CPU_ECX] |= LEAF5_EMX | LEAF5_IBE;
    model->mwait = true;
}

static int check_features(const struct cpu_model *model)
{
    struct cpuid_table *table = malloc(sizeof(*table));
    if (!table)
        return -ENOMEM;
    int ret = cpuid_build(model, 0, table);
    const char *lacking = ret ? NULL : cpuid_lacking(table, &model->features);
    free(table);
    if (ret)
        fprintf(stderr, "ringvmm: CPUID has more than %u entries here\n", CPUID_MAX_ENTRIES);
    if (!lacking)
        return ret;
    fprintf(stderr, "ringvmm: --cpu: this host cannot give '%s' to a guest; leave +%s out\n", lacking, lacking);
    return -ENOTSUP;
}

int cpu_model_create(const struct vm *vm, const struct run_options *options, struct cpu_model **out)
{
    struct cpu_model *model = calloc(1, sizeof(*model));
    if (!model)
        return -ENOMEM;
    model->cpus = (unsigned)options->cpus;
    model->features = options->cpu_features;
    model->deadline = offers(vm, KVM_CAP_TSC_DEADLINE_TIMER);
    if (options->cpu_pm)
        read_mwait(vm, model);
    int ret = read_table(vm, KVM_GET_SUPPORTED_CPUID, &model->host);
    if (ret)
        fprintf(stderr, "ringvmm: KVM_GET_SUPPORTED_CPUID: %s\n", strerror(-ret));
    ret = ret ? ret : read_hyperv(vm, options->hyperv, model);
    ret = ret ? ret : check_features(model);
    if (ret) {
        free(model);
        return ret;
    }
    *out = model;
    return 0;
}
