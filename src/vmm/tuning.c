/* SPDX-License-Identifier: BSD-2-Clause */
#include "vmm/tuning.h"

#include <errno.h>
#include <linux/kvm.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "vmm/options.h"
#include "vmm/vcpu.h"

#define HUGE_FREE "/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages"

int tuning_check_affinity(const struct run_options *options)
{
    cpu_set_t allowed;
    if (sched_getaffinity(0, sizeof(allowed), &allowed) < 0)
        return 0; /* more CPUs than the set holds; starting the threads will tell */
    for (unsigned i = 0; i < options->vcpu_affinity_count; i++) {
        if (options->vcpu_affinity[i] < CPU_SETSIZE && CPU_ISSET(options->vcpu_affinity[i], &allowed))
            continue;
        fprintf(stderr, "ringvmm: --vcpu-affinity: this host has no CPU %u to run on\n", options->vcpu_affinity[i]);
        return -EINVAL;
    }
    return 0;
}

static int enable(const struct vm *vm, uint32_t capability, uint64_t value)
{
    struct kvm_enable_cap cap = {.cap = capability, .args = {value}};
    return ioctl(vm->fd, KVM_ENABLE_CAP, &cap) < 0 ? -errno : 0;
}

int tuning_vm(const struct vm *vm, const struct run_options *options)
{
    if (options->cpu_pm) {
        int offered = ioctl(vm->kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_X86_DISABLE_EXITS);
        uint64_t exits = offered > 0 ? (unsigned)offered & KVM_X86_DISABLE_VALID_EXITS : 0;
        int ret = exits ? enable(vm, KVM_CAP_X86_DISABLE_EXITS, exits) : -ENOTSUP;
        if (ret) {
            fprintf(stderr,
                    "ringvmm: --cpu-pm: this host's KVM does not let a guest idle by itself: %s; leave it out\n",
                    strerror(-ret));
            return ret;
        }
    }
    if (options->halt_poll_ns >= 0) {
        bool offered = ioctl(vm->kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_HALT_POLL) > 0;
        int ret = offered ? enable(vm, KVM_CAP_HALT_POLL, (uint64_t)options->halt_poll_ns) : -ENOTSUP;
        if (ret) {
            fprintf(stderr,
                    "ringvmm: --halt-poll %d: this host's KVM cannot set it for one machine: %s; set it for all in "
                    "/sys/module/kvm/parameters/halt_poll_ns\n",
                    options->halt_poll_ns, strerror(-ret));
            return ret;
        }
    }
    return 0;
}

int tuning_memory(const struct vm *vm, const struct run_options *options)
{
    if (options->mlock && mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) < 0) {
        int error = errno;
        struct rlimit limit = {0};
        (void)getrlimit(RLIMIT_MEMLOCK, &limit);
        fprintf(stderr,
                "ringvmm: --mlock: %s; %llu KiB may be locked: raise that above --memory (ulimit -l), or run as "
                "root\n",
                strerror(error), (unsigned long long)(limit.rlim_cur >> 10));
        return -error;
    }
    if (options->prefault) {
        int ret = memory_prefault(&vm->memory);
        if (ret) {
            fprintf(stderr, "ringvmm: --prefault: the host cannot give all of --memory %lluM: %s\n",
                    (unsigned long long)(options->memory_bytes >> 20), strerror(-ret));
            return ret;
        }
    }
    return 0;
}

void tuning_explain_hugepages(const struct run_options *options, int error)
{
    unsigned long long wanted = options->memory_bytes / MEMORY_HUGE_PAGE;
    char text[32] = "";
    FILE *file = fopen(HUGE_FREE, "re");
    bool known = file && fgets(text, sizeof(text), file);
    if (file)
        fclose(file);
    if (known)
        fprintf(stderr,
                "ringvmm: --hugepages: %s: %llu pages of 2 MiB are needed, %llu are free; raise "
                "/proc/sys/vm/nr_hugepages\n",
                strerror(-error), wanted, strtoull(text, NULL, 10));
    else
        fprintf(stderr, "ringvmm: --hugepages: %s: this kernel has no pool of 2 MiB pages; leave it out\n",
                strerror(-error));
}

void tuning_vcpus(const struct vm *vm, const struct run_options *options)
{
    struct sched_param param = {.sched_priority = options->vcpu_priority};
    for (unsigned i = 0; options->vcpu_priority > 0 && i < vm->vcpu_count; i++) {
        int error = pthread_setschedparam(vm->vcpus[i]->thread, SCHED_FIFO, &param);
        if (!error)
            continue;
        fprintf(stderr,
                "ringvmm: the vCPUs cannot have real-time priority %d: %s; they run at ordinary priority (raise "
                "RLIMIT_RTPRIO, or give CAP_SYS_NICE)\n",
                options->vcpu_priority, strerror(error));
        return;
    }
}
