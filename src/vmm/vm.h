/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The virtual machine: KVM's fds, memory, buses, vCPUs, and the requests by which its parts ask for something.
 *
 * Threads: the main thread owns everything that has no other owner named; vCPU threads run vcpu_thread(); device models
 * run on vCPU threads and on the ring thread, under their locks.
 */
#ifndef VMM_VM_H
#define VMM_VM_H

#include <ev.h>
#include <pthread.h>

#include <ringd/ringd.h>

#include "vmm/bus.h"
#include "vmm/irq.h"
#include "vmm/memory.h"

#define VM_MAX_CPUS 64u

struct vcpu;
struct cpu_model;
struct machine;

/* Why the machine's main loop ended. */
enum vm_end {
    VM_END_NONE,
    VM_END_POWEROFF,
    VM_END_NO_REBOOT,
    VM_END_DEBUG_EXIT,
    VM_END_SIGNAL,
    VM_END_QUIT,
    VM_END_FAILED
};

/* What has been asked of the main thread; bits of vm->requests. */
enum vm_request {
    VM_REQUEST_RESET = 1 << 0,
    VM_REQUEST_POWEROFF = 1 << 1,
    VM_REQUEST_DEBUG_EXIT = 1 << 2,
    VM_REQUEST_FAILED = 1 << 3,
    VM_REQUEST_REMAP = 1 << 4, /* a posted write moved a window: no vCPU is at hand to do it */
    VM_REQUEST_NVRAM = 1 << 5,
    VM_REQUEST_FLASH = 1 << 6,
};

struct vm {
    int kvm_fd;
    int fd;
    int scratch_fd; /* left over from the probe of back ends */
    struct memory memory;
    struct bus bus;
    struct irq irq;
    struct ringd *ringd;
    struct machine *machine;

    struct cpu_model *cpu_model; /* of all vCPUs; constant */
    struct vcpu *vcpus[VM_MAX_CPUS];
    unsigned vcpu_count;

    /* Requests to the main thread: any thread, from under any lock. Atomic, sequentially consistent. */
    unsigned requests;
    unsigned exit_value; /* of VM_REQUEST_DEBUG_EXIT; stored before the request's bit */
    struct ev_loop *loop;
    ev_async request_async;

    /* The gate: atomic, a vCPU looks at it before each KVM_RUN. */
    bool stop; /* vCPUs are to stand still */
    bool quit; /* and to end */
    pthread_mutex_t gate_lock;
    pthread_cond_t gate_cond;
    unsigned standing; /* under gate_lock: vCPU threads that stand still or have ended */

    /* Work that a device's access left for after it; atomic flag, see machine_apply(). */
    bool pending;
};

/* Asks the main thread for something. One that ends or resets the machine stops the vCPUs at their next look at the
 * gate. Any thread, any lock. */
void vm_request(struct vm *vm, enum vm_request request);

/* Stops every vCPU outside KVM_RUN and waits for it; vm_go() lets them run on. Main thread. */
void vm_stop(struct vm *vm);
void vm_go(struct vm *vm);
/*
 * vm_pause - the whole machine stands still: vCPUs, with their last accesses finished; rings, drained; requests to back
 * ends, completed; device timers and the machine's clock. vm_resume - lets it run on from there. The CPUs' own time
 * (TSC, kvmclock, APIC timers) does not stand; a guest that can be told of the gap is told. Main thread.
 */
void vm_pause(struct vm *vm);
void vm_resume(struct vm *vm);
/* Ends and joins the vCPU threads. */
void vm_quit(struct vm *vm);
/* A vCPU's place to stand still; returns false when it is to end. */
bool vm_gate(struct vm *vm);

#endif
