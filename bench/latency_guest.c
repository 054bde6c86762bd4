/* SPDX-License-Identifier: BSD-2-Clause */
#include "latency_guest.h"

#include <errno.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "common/cycles.h"

#define MEMORY_BYTES 4096u
#define PACE_PORT    0x10u /* an IN here waits for the next write's time */
#define END_PORT     0x11u
#define MSR_TSC      0x10u
#define PAGE_BYTES   4096u

/* Real mode at address 0, segment bases 0, ECX: how many writes, BL: wait before each. */
static const uint8_t code[] = {
    0x84, 0xdb,                  /* next: test bl, bl */
    0x74, 0x02,                  /*       jz write */
    0xe4, PACE_PORT,             /*       in al, PACE_PORT */
    0x0f, 0x31,                  /* write: rdtsc */
    0x66, 0xa3,      0x00, 0x80, /*       mov [8000h], eax */
    0x66, 0x49,                  /*       dec ecx */
    0x75, 0xf0,                  /*       jnz next */
    0xe6, END_PORT,              /*       out END_PORT, al */
};

static int set_up_vcpu(struct latency_guest *guest, int kvm_fd)
{
    guest->vcpu_fd = ioctl(guest->vm_fd, KVM_CREATE_VCPU, 0);
    int size = ioctl(kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
    if (guest->vcpu_fd < 0 || size < 0)
        return -errno;
    void *run = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, guest->vcpu_fd, 0);
    if (run == MAP_FAILED)
        return -errno;
    guest->run = run;
    struct kvm_sregs sregs;
    if (ioctl(guest->vcpu_fd, KVM_GET_SREGS, &sregs) < 0)
        return -errno;
    sregs.cs.base = sregs.cs.selector = 0;
    return ioctl(guest->vcpu_fd, KVM_SET_SREGS, &sregs) < 0 ? -errno : 0;
}

/* Reads the guest's TSC between two of the host's; the narrowest of some tries is good to a microsecond. */
static int measure_offset(struct latency_guest *guest)
{
    uint64_t narrowest = UINT64_MAX;
    for (unsigned i = 0; i < 32; i++) {
        struct {
            struct kvm_msrs head;
            struct kvm_msr_entry entry;
        } msr = {.head.nmsrs = 1, .entry.index = MSR_TSC};
        uint64_t before = cycles_now();
        if (ioctl(guest->vcpu_fd, KVM_GET_MSRS, &msr) != 1)
            return -EIO;
        uint64_t after = cycles_now();
        if (after - before < narrowest) {
            narrowest = after - before;
            guest->tsc_offset = (uint32_t)(before + narrowest / 2 - msr.entry.data);
        }
    }
    return 0;
}

int latency_guest_create(struct latency_guest *guest, int kvm_fd)
{
    memset(guest, 0, sizeof(*guest));
    guest->vcpu_fd = -1;
    guest->memory = MAP_FAILED;
    guest->vm_fd = ioctl(kvm_fd, KVM_CREATE_VM, 0);
    if (guest->vm_fd < 0)
        return -errno;
    (void)ioctl(guest->vm_fd, KVM_SET_TSS_ADDR, 0xfffbd000); /* Intel hosts only */
    guest->memory = mmap(NULL, MEMORY_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (guest->memory == MAP_FAILED)
        return -errno;
    memcpy(guest->memory, code, sizeof(code));
    struct kvm_userspace_memory_region region = {.memory_size = MEMORY_BYTES,
                                                 .userspace_addr = (uintptr_t)guest->memory};
    if (ioctl(guest->vm_fd, KVM_SET_USER_MEMORY_REGION, &region) < 0)
        return -errno;
    int ret = set_up_vcpu(guest, kvm_fd);
    return ret ? ret : measure_offset(guest);
}

void latency_guest_destroy(struct latency_guest *guest)
{
    if (guest->vcpu_fd >= 0)
        close(guest->vcpu_fd);
    if (guest->vm_fd >= 0)
        close(guest->vm_fd);
    if (guest->memory && guest->memory != MAP_FAILED)
        munmap(guest->memory, MEMORY_BYTES);
}

static void wait_until(int64_t ns)
{
    struct timespec until = {.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR)
        continue;
}

int latency_guest_run(struct latency_guest *guest, struct ringd_dev *dev, int64_t interval_ns, uint32_t count,
                      uint64_t *full)
{
    struct kvm_run *run = guest->run;
    struct kvm_regs regs = {.rflags = 2, .rcx = count, .rbx = interval_ns != 0};
    if (ioctl(guest->vcpu_fd, KVM_SET_REGS, &regs) < 0)
        return -errno;
    for (int64_t next = (int64_t)monotonic_ns();;) {
        if (ioctl(guest->vcpu_fd, KVM_RUN, 0) < 0) {
            if (errno == EINTR)
                continue;
            return -errno;
        }
        if (run->exit_reason == KVM_EXIT_MMIO && run->mmio.is_write &&
            run->mmio.phys_addr - LATENCY_GUEST_ADDR < PAGE_BYTES) {
            uint32_t stamp;
            memcpy(&stamp, run->mmio.data, sizeof(stamp));
            ringd_write(dev, 0, run->mmio.phys_addr - LATENCY_GUEST_ADDR, run->mmio.len, stamp);
            ++*full;
        } else if (run->exit_reason == KVM_EXIT_IO && run->io.port == PACE_PORT) {
            wait_until(next += interval_ns);
        } else if (run->exit_reason == KVM_EXIT_IO && run->io.port == END_PORT) {
            return 0;
        } else {
            return -EIO;
        }
    }
}
