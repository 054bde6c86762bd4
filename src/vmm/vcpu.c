/* SPDX-License-Identifier: BSD-2-Clause */
#include "vmm/vcpu.h"

#include <errno.h>
#include <linux/kvm.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/cycles.h"
#include "common/signals.h"
#include "vmm/machine.h"

#define HV_STATUS_INVALID_HYPERCALL_CODE 2u /* TLFS, "Hypercall Status Codes" */

/* What the kick's handler has to tell; each vCPU thread its own. */
static _Thread_local struct kvm_run *kicked_run;
/* Where an access by a window is noted, from deep inside the access to configuration space. */
static _Thread_local struct machine_window_access *window_access;

struct machine_window_access *vcpu_window_access(void)
{
    return window_access;
}

static void on_kick(int signal)
{
    (void)signal;
    if (kicked_run) /* a KVM_RUN that has not begun yet returns at once, so the kick is never lost */
        __atomic_store_n(&kicked_run->immediate_exit, 1, __ATOMIC_RELAXED);
}

int vcpu_setup_signals(void)
{
    struct sigaction action = {.sa_handler = on_kick};
    sigemptyset(&action.sa_mask);
    return sigaction(VCPU_KICK_SIGNAL, &action, NULL) < 0 ? -errno : 0;
}

int vcpu_create(struct vm *vm, unsigned id, struct vcpu **out)
{
    struct vcpu *vcpu = calloc(1, sizeof(*vcpu));
    if (!vcpu)
        return -ENOMEM;
    *out = vcpu;
    vcpu->vm = vm;
    vcpu->id = id;
    vcpu->cpu = -1;
    vcpu->run = MAP_FAILED;
    vcpu->fd = ioctl(vm->fd, KVM_CREATE_VCPU, id);
    int size = ioctl(vm->kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
    if (vcpu->fd < 0 || size < 0)
        return -errno;
    vcpu->run_size = (size_t)size;
    vcpu->run = mmap(NULL, vcpu->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu->fd, 0);
    if (vcpu->run == MAP_FAILED)
        return -errno;
    int ret = vcpu_set_cpuid(vcpu);
    return ret ? ret : vcpu_state_save(vcpu);
}

void vcpu_destroy(struct vcpu *vcpu)
{
    if (!vcpu)
        return;
    if (vcpu->run != MAP_FAILED)
        munmap(vcpu->run, vcpu->run_size);
    if (vcpu->fd >= 0)
        close(vcpu->fd);
    vcpu_state_free(vcpu);
    free(vcpu);
}

int vcpu_reset(struct vcpu *vcpu)
{
    return vcpu_state_restore(vcpu);
}

void vcpu_kick(struct vcpu *vcpu)
{
    if (vcpu->started)
        pthread_kill(vcpu->thread, VCPU_KICK_SIGNAL);
}

/* One part of an access: within one range, or where no device is. */
static uint64_t access_part(const struct bus_range *range, bool found, uint64_t addr, unsigned len, uint64_t value,
                            bool write)
{
    if (!found)
        return UINT64_MAX;
    if (!write)
        return ringd_read(range->dev, range->region, addr - range->first, len);
    ringd_write_part(range->dev, range->region, addr - range->first, len, value);
    return 0;
}

/* An access that leaves a range, or begins outside any. */
static uint64_t access_split(struct vm *vm, enum ringd_space space, uint64_t addr, unsigned len, uint64_t value,
                             bool write)
{
    uint64_t result = 0;
    for (unsigned done = 0, part; done < len && done < sizeof(value); done += part) {
        struct bus_range range;
        bool found = bus_find(&vm->bus, space, addr + done, &range);
        uint64_t room = (found ? range.last : range.first - 1) - (addr + done);
        part = room >= len - done ? len - done : (unsigned)room + 1;
        uint64_t mask = part == 8 ? UINT64_MAX : (UINT64_C(1) << part * 8) - 1;
        uint64_t got = access_part(&range, found, addr + done, part, value >> done * 8 & mask, write);
        result |= (got & mask) << done * 8;
    }
    return result;
}

/* Little endian, as guest and host are; by width, so that each is one move. */
static inline uint64_t load_value(const uint8_t *data, unsigned len)
{
    uint64_t value = 0;
    switch (len) {
    case 1:
        return *data;
    case 2:
        memcpy(&value, data, 2);
        return value;
    case 4:
        memcpy(&value, data, 4);
        return value;
    default:
        memcpy(&value, data, len);
        return value;
    }
}

static inline void store_value(uint8_t *data, unsigned len, uint64_t value)
{
    switch (len) {
    case 1:
        *data = (uint8_t)value;
        break;
    case 2:
        memcpy(data, &value, 2);
        break;
    case 4:
        memcpy(data, &value, 4);
        break;
    default:
        memcpy(data, &value, len);
        break;
    }
}

static inline struct exit_stat *row_of(struct vcpu *vcpu, const struct bus_range *range, uint64_t offset, bool write)
{
    return &vcpu->exits.rows[range->row + (unsigned)offset * range->row_step][write];
}

/* An access that does not go where the vCPU's last one went, or not as a whole. */
static __attribute__((noinline)) struct exit_stat *
access_elsewhere(struct vcpu *vcpu, enum ringd_space space, uint64_t addr, unsigned len, uint8_t *data, bool write)
{
    struct vm *vm = vcpu->vm;
    struct bus_range range;
    bool found = bus_find_near(&vm->bus, &vcpu->hints[space], space, addr, &range);
    uint64_t value = write ? load_value(data, len) : 0;
    if (found && len - 1 <= range.last - addr) {
        if (write)
            ringd_write(range.dev, range.region, addr - range.first, len, value);
        else
            value = ringd_read(range.dev, range.region, addr - range.first, len);
    } else if (space == RINGD_MMIO && !found && !memory_window_access(&vm->memory, addr, data, len, write)) {
        return exits_stray(&vcpu->exits, true, addr & ~UINT64_C(0x3fff), write);
    } else {
        value = access_split(vm, space, addr, len, value, write);
    }
    if (!write)
        store_value(data, len, value);
    return found ? row_of(vcpu, &range, addr - range.first, write)
                 : exits_stray(&vcpu->exits, space == RINGD_MMIO, addr, write);
}

/* Does one access and returns where it is counted. */
static inline struct exit_stat *access_device(struct vcpu *vcpu, enum ringd_space space, uint64_t addr, unsigned len,
                                              uint8_t *data, bool write)
{
    const struct bus_range *range = bus_hint_find(&vcpu->vm->bus, &vcpu->hints[space], addr);
    if (__builtin_expect(!range || len - 1 > range->last - addr, 0))
        return access_elsewhere(vcpu, space, addr, len, data, write);
    uint64_t offset = addr - range->first;
    struct exit_stat *stat = row_of(vcpu, range, offset, write);
    if (write)
        ringd_write(range->dev, range->region, offset, len, load_value(data, len));
    else
        store_value(data, len, ringd_read(range->dev, range->region, offset, len));
    return stat;
}

static inline struct exit_stat *on_io(struct vcpu *vcpu)
{
    struct kvm_run *run = vcpu->run;
    uint8_t *data = (uint8_t *)run + run->io.data_offset;
    uint16_t port = run->io.port;
    uint8_t size = run->io.size;
    bool write = run->io.direction == KVM_EXIT_IO_OUT;
    /* A string instruction has more than one. */
    for (uint32_t more = run->io.count; more > 1; more--, data += size)
        (void)access_device(vcpu, RINGD_PIO, port, size, data, write);
    return access_device(vcpu, RINGD_PIO, port, size, data, write);
}

static void on_failure(struct vcpu *vcpu, const char *what, uint64_t detail)
{
    struct kvm_regs regs = {0};
    struct kvm_sregs sregs = {0};
    (void)ioctl(vcpu->fd, KVM_GET_REGS, &regs);
    (void)ioctl(vcpu->fd, KVM_GET_SREGS, &sregs);
    fprintf(stderr, "ringvmm: vCPU %u: %s (0x%llx) at cs:rip %x:%llx (linear %llx), cr0 %llx\n", vcpu->id, what,
            (unsigned long long)detail, (unsigned)sregs.cs.selector, (unsigned long long)regs.rip,
            (unsigned long long)(sregs.cs.base + regs.rip), (unsigned long long)sregs.cr0);
    vm_request(vcpu->vm, VM_REQUEST_FAILED);
}

/* By Hyper-V's MSRs; a guest that tells of its crash goes on to whatever it does after one. */
static void on_system_event(struct vcpu *vcpu)
{
    switch (vcpu->run->system_event.type) {
    case KVM_SYSTEM_EVENT_SHUTDOWN:
        vm_request(vcpu->vm, VM_REQUEST_POWEROFF);
        break;
    case KVM_SYSTEM_EVENT_RESET:
        vm_request(vcpu->vm, VM_REQUEST_RESET);
        break;
    default:
        break;
    }
}

static __attribute__((noinline)) struct exit_stat *on_other_exit(struct vcpu *vcpu)
{
    struct kvm_run *run = vcpu->run;
    unsigned reason = run->exit_reason;
    switch (reason) {
    case KVM_EXIT_MMIO:
        return access_device(vcpu, RINGD_MMIO, run->mmio.phys_addr, run->mmio.len > 8 ? 8 : run->mmio.len,
                             run->mmio.data, run->mmio.is_write);
    case KVM_EXIT_SHUTDOWN: /* triple fault: a PC resets */
        if (vcpu->vm->machine->options->no_reboot)
            on_failure(vcpu, "triple fault", 0);
        else
            vm_request(vcpu->vm, VM_REQUEST_RESET);
        break;
    case KVM_EXIT_INTERNAL_ERROR:
        on_failure(vcpu, "KVM internal error", run->internal.suberror);
        break;
    case KVM_EXIT_FAIL_ENTRY:
        on_failure(vcpu, "KVM could not enter the guest", run->fail_entry.hardware_entry_failure_reason);
        break;
    case KVM_EXIT_HYPERV:
        if (run->hyperv.type == KVM_EXIT_HYPERV_HCALL) /* to post a message or signal an event: nobody is there */
            run->hyperv.u.hcall.result = HV_STATUS_INVALID_HYPERCALL_CODE;
        break;
    case KVM_EXIT_SYSTEM_EVENT:
        on_system_event(vcpu);
        break;
    case KVM_EXIT_INTR:
    case KVM_EXIT_IRQ_WINDOW_OPEN:
        break;
    default:
        on_failure(vcpu, "unexpected exit", reason);
        break;
    }
    return &vcpu->exits.reasons[reason < EXITS_REASONS ? reason : EXITS_REASONS - 1];
}

/* KVM_RUN failed: a kick, or the end. */
static __attribute__((noinline)) struct exit_stat *on_run_error(struct vcpu *vcpu, int error)
{
    if (error == EINTR || error == EAGAIN) {
        __atomic_store_n(&vcpu->run->immediate_exit, 0, __ATOMIC_RELAXED); /* before the look at the gate */
        return &vcpu->exits.interrupted;
    }
    on_failure(vcpu, strerror(error), (uint64_t)error);
    return &vcpu->exits.other;
}

/* KVM_RUN: 0 or -errno. The system call itself, because it is made for each exit and libc's way costs 35 instructions
 * more. */
static inline int run_guest(const struct vcpu *vcpu)
{
    long ret;
    __asm__ volatile(
        "syscall" /* x86-64 psABI, A.2.1: number in RAX, arguments in RDI, RSI, RDX; RCX and R11 are lost */
        : "=a"(ret)
        : "0"((long)SYS_ioctl), "D"((long)vcpu->fd), "S"((unsigned long)KVM_RUN), "d"(0L)
        : "rcx", "r11", "memory");
    return (int)ret;
}

/* Acts on what run_guest() returned, and tells where it is counted. */
static inline struct exit_stat *handle_exit(struct vcpu *vcpu, int ret)
{
    if (__builtin_expect(ret != 0, 0))
        return on_run_error(vcpu, -ret);
    return vcpu->run->exit_reason == KVM_EXIT_IO ? on_io(vcpu) : on_other_exit(vcpu);
}

/* What the exit has left to be done without a device's lock. A read by a window gets its value here, before the guest
 * goes on. */
static __attribute__((noinline)) void settle(struct vcpu *vcpu)
{
    struct kvm_run *run = vcpu->run;
    machine_apply(vcpu->vm->machine);
    if (!vcpu->window.dev)
        return;
    bool write = vcpu->window.write;
    unsigned width = vcpu->window.width;
    uint64_t value = machine_settle_window(vcpu->vm->machine, &vcpu->window);
    if (!write && run->exit_reason == KVM_EXIT_IO && run->io.size == width)
        store_value((uint8_t *)run + run->io.data_offset + (uint64_t)width * (run->io.count - 1), width, value);
    else if (!write && run->exit_reason == KVM_EXIT_MMIO && run->mmio.len == width)
        store_value(run->mmio.data, width, value);
}

static inline void settle_pending(struct vcpu *vcpu)
{
    if (__builtin_expect(__atomic_load_n(&vcpu->vm->pending, __ATOMIC_ACQUIRE), 0))
        settle(vcpu);
}

/*
 * Before a vCPU stands still, KVM must be done with its last access: the rest of an MMIO or string access, and the
 * result of a hypercall, is only carried out by the next KVM_RUN, which would otherwise come after a reset and write
 * into the new state.
 */
static void finish_access(struct vcpu *vcpu)
{
    int ret = 0;
    while (ret == 0 && (vcpu->run->exit_reason == KVM_EXIT_IO || vcpu->run->exit_reason == KVM_EXIT_MMIO ||
                        vcpu->run->exit_reason == KVM_EXIT_HYPERV)) {
        __atomic_store_n(&vcpu->run->immediate_exit, 1, __ATOMIC_RELAXED);
        ret = run_guest(vcpu);
        uint64_t start = cycles_now();
        struct exit_stat *stat = handle_exit(vcpu, ret);
        settle_pending(vcpu);
        exit_stat_add(stat, cycles_now() - start);
    }
    __atomic_store_n(&vcpu->run->immediate_exit, 0, __ATOMIC_RELAXED);
}

static void *vcpu_thread(void *arg)
{
    struct vcpu *vcpu = arg;
    struct vm *vm = vcpu->vm;
    char name[16];
    snprintf(name, sizeof(name), "vcpu%u", vcpu->id);
    pthread_setname_np(pthread_self(), name);
    kicked_run = vcpu->run;
    window_access = &vcpu->window;

    struct exit_stat *stat = NULL;
    uint64_t start = 0;
    for (;;) {
        if (stat)
            exit_stat_add(stat, cycles_now() - start);
        /* Sequentially consistent: vm_stop() stores, then kicks; a kick before this look is seen by KVM_RUN. */
        if (__atomic_load_n(&vm->stop, __ATOMIC_SEQ_CST)) {
            finish_access(vcpu);
            if (!vm_gate(vm))
                return NULL;
        }
        int ret = run_guest(vcpu);
        start = cycles_now();
        stat = handle_exit(vcpu, ret);
        settle_pending(vcpu);
    }
}

int vcpu_start(struct vcpu *vcpu)
{
    /* Signals are the main thread's, except the kick. */
    sigset_t mask, before;
    signals_of_others(&mask);
    sigdelset(&mask, VCPU_KICK_SIGNAL);
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    if (vcpu->cpu >= 0) {
        cpu_set_t set;
        CPU_ZERO(&set);
        CPU_SET((unsigned)vcpu->cpu, &set);
        pthread_attr_setaffinity_np(&attr, sizeof(set), &set);
    }
    pthread_sigmask(SIG_SETMASK, &mask, &before);
    int error = pthread_create(&vcpu->thread, &attr, vcpu_thread, vcpu);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attr);
    vcpu->started = error == 0;
    return -error;
}
