/* SPDX-License-Identifier: BSD-2-Clause */
#include "vmm/vm.h"

#include <linux/kvm.h>
#include <sys/ioctl.h>
#include <time.h>

#include "vmm/machine.h"
#include "vmm/vcpu.h"

void vm_request(struct vm *vm, enum vm_request request)
{
    const unsigned stopping = VM_REQUEST_RESET | VM_REQUEST_POWEROFF | VM_REQUEST_DEBUG_EXIT | VM_REQUEST_FAILED;
    unsigned before = __atomic_fetch_or(&vm->requests, request, __ATOMIC_SEQ_CST);
    if (request & stopping) /* whoever asked for it runs no further; the main thread stops the others */
        __atomic_store_n(&vm->stop, true, __ATOMIC_SEQ_CST);
    if (!(before & request))
        ev_async_send(vm->loop, &vm->request_async);
}

bool vm_gate(struct vm *vm)
{
    pthread_mutex_lock(&vm->gate_lock);
    vm->standing++;
    pthread_cond_broadcast(&vm->gate_cond);
    while (__atomic_load_n(&vm->stop, __ATOMIC_SEQ_CST) && !vm->quit)
        pthread_cond_wait(&vm->gate_cond, &vm->gate_lock);
    bool go = !vm->quit;
    if (go)
        vm->standing--;
    pthread_mutex_unlock(&vm->gate_lock);
    return go;
}

void vm_stop(struct vm *vm)
{
    __atomic_store_n(&vm->stop, true, __ATOMIC_SEQ_CST);
    pthread_mutex_lock(&vm->gate_lock);
    unsigned started = 0;
    for (unsigned i = 0; i < vm->vcpu_count; i++)
        started += vm->vcpus[i]->started;
    while (vm->standing < started) {
        for (unsigned i = 0; i < vm->vcpu_count; i++)
            vcpu_kick(vm->vcpus[i]);
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += 10000000; /* a kick is not lost; this only guards against a stuck wait */
        if (until.tv_nsec >= 1000000000) {
            until.tv_sec++;
            until.tv_nsec -= 1000000000;
        }
        pthread_cond_timedwait(&vm->gate_cond, &vm->gate_lock, &until);
    }
    pthread_mutex_unlock(&vm->gate_lock);
}

void vm_go(struct vm *vm)
{
    pthread_mutex_lock(&vm->gate_lock);
    __atomic_store_n(&vm->stop, false, __ATOMIC_SEQ_CST);
    pthread_cond_broadcast(&vm->gate_cond);
    pthread_mutex_unlock(&vm->gate_lock);
}

void vm_pause(struct vm *vm)
{
    vm_stop(vm);
    ringd_pause(vm->ringd);
    machine_drain(vm->machine);
}

void vm_resume(struct vm *vm)
{
    /* Linux's watchdogs shall not take the gap for a lock-up. -EINVAL: this guest does not use kvmclock. */
    for (unsigned i = 0; i < vm->vcpu_count; i++)
        (void)ioctl(vm->vcpus[i]->fd, KVM_KVMCLOCK_CTRL, 0);
    ringd_resume(vm->ringd);
    vm_go(vm);
}

void vm_quit(struct vm *vm)
{
    vm_stop(vm);
    pthread_mutex_lock(&vm->gate_lock);
    vm->quit = true;
    pthread_cond_broadcast(&vm->gate_cond);
    pthread_mutex_unlock(&vm->gate_lock);
    for (unsigned i = 0; i < vm->vcpu_count; i++) {
        if (vm->vcpus[i]->started)
            pthread_join(vm->vcpus[i]->thread, NULL);
        vm->vcpus[i]->started = false;
    }
}
