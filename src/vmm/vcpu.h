/* SPDX-License-Identifier: BSD-2-Clause */
/* A virtual CPU: its thread, its exits, and its state at power-on. */
#ifndef VMM_VCPU_H
#define VMM_VCPU_H

#include <pthread.h>
#include <signal.h>

#include "vmm/exits.h"
#include "vmm/vm.h"

struct kvm_run;
struct vcpu_state;
struct boot_entry;

/* An access of the guest's by a window in configuration space (VIRTIO_PCI_CAP_PCI_CFG), which its vCPU carries out when
 * the configuration access is over: nobody may hold two devices' locks. */
struct machine_window_access {
    struct ringd_dev *dev; /* NULL: none */
    unsigned region, width;
    uint64_t offset;
    bool write;
    uint32_t value;
};

struct vcpu {
    struct vm *vm;
    unsigned id; /* and APIC ID */
    int fd;
    struct kvm_run *run;
    size_t run_size;
    int cpu; /* host CPU to be pinned to, -1: none */
    pthread_t thread;
    bool started;
    struct bus_hint hints[2];            /* by enum ringd_space; the thread's own */
    struct exits exits;                  /* the thread's own; others read it when the vCPU stands still */
    struct machine_window_access window; /* the thread's own */
    struct vcpu_state *power_on;
};

/* The window access of the vCPU whose thread this is; NULL: another thread. */
struct machine_window_access *vcpu_window_access(void);

/* The signal that takes a vCPU out of KVM_RUN; its handler is installed by vcpu_setup_signals(). */
#define VCPU_KICK_SIGNAL SIGUSR1

int vcpu_setup_signals(void);

/* Makes vCPU `id` of `vm`, whose cpu_model is there, and remembers its power-on state. 0 or -errno. */
int vcpu_create(struct vm *vm, unsigned id, struct vcpu **out);
void vcpu_destroy(struct vcpu *vcpu);
/* Starts the thread, which waits at the gate first. 0 or -errno. */
int vcpu_start(struct vcpu *vcpu);
/* Makes the vCPU leave KVM_RUN, or not enter it. Any thread. */
void vcpu_kick(struct vcpu *vcpu);
/* Puts the vCPU into its power-on state. While it stands still. 0 or -errno. */
int vcpu_reset(struct vcpu *vcpu);
/* Takes a vCPU in its power-on state to a kernel's entry. While it stands still. 0 or -errno. */
int vcpu_enter(struct vcpu *vcpu, const struct boot_entry *entry);

/* vcpu_state.c */
int vcpu_set_cpuid(struct vcpu *vcpu);
int vcpu_state_save(struct vcpu *vcpu);
int vcpu_state_restore(struct vcpu *vcpu);
void vcpu_state_free(struct vcpu *vcpu);

#endif
