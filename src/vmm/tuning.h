/* SPDX-License-Identifier: BSD-2-Clause */
/* What the host does for a guest that must not wait: exits, polling, memory that stays, priorities, CPUs of its own. */
#ifndef VMM_TUNING_H
#define VMM_TUNING_H

struct vm;
struct run_options;

/* Each says in one line what this host does not permit, and returns 0 or -errno. Main thread. */

/* Host CPUs that do not exist. Before anything is made that would have to be undone. */
int tuning_check_affinity(const struct run_options *options);
/* --cpu-pm and --halt-poll: between the VM and its vCPUs. */
int tuning_vm(const struct vm *vm, const struct run_options *options);
/* --prefault and --mlock: once there is guest memory. */
int tuning_memory(const struct vm *vm, const struct run_options *options);
/* Why memory_create() failed with --hugepages; only says it. */
void tuning_explain_hugepages(const struct run_options *options, int error);
/* --vcpu-priority: once the threads are there. One that the host forbids is a warning. */
void tuning_vcpus(const struct vm *vm, const struct run_options *options);

#endif
