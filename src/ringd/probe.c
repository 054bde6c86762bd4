/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Does a back end work here? A capability's number says little (MMIO2's was never reserved), so a scratch VM is made
 * whose guest does one posted write to a port, one to memory, and then an exit; what the ring holds then is the answer.
 * Without an interrupt controller such a VM costs about 2 ms, its end included.
 */
#include <errno.h>
#include <linux/kvm.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <ringd/kvm_mmio2.h>

#include "ringd/backend.h"
#include "ringd/cursor.h"

#define PROBE_PORT     0x70u
#define PROBE_END_PORT 0x71u
#define PROBE_ADDR     0x8000u /* no memory there: MMIO */
#define PROBE_VALUE    0x5au
#define PROBE_TSS      0xfffbd000u /* below the 256 KiB under 4 GiB; only Intel hosts use it */
#define PROBE_MEMORY   4096u

/* Real mode, at address 0, all segment bases 0. */
static const uint8_t guest_code[] = {
    0xb0, PROBE_VALUE,          /* mov al, 5ah */
    0xe6, PROBE_PORT,           /* out 70h, al: posted */
    0xa2, 0x00,           0x80, /* mov [8000h], al: posted */
    0xe6, PROBE_END_PORT,       /* out 71h, al: exits */
    0xf4,                       /* hlt */
};

struct scratch {
    int vm, vcpu;
    void *memory;
    struct kvm_run *run;
    size_t run_size;
};

static int fail(struct ringd_probe_result *result, int error, const char *step)
{
    result->error = -error;
    snprintf(result->reason, sizeof(result->reason), "%s: %s", step, strerror(error));
    return result->error;
}

static int fail_text(struct ringd_probe_result *result, const char *text)
{
    result->error = -EIO;
    snprintf(result->reason, sizeof(result->reason), "%s", text);
    return result->error;
}

static int scratch_create(struct scratch *s, int kvm_fd, struct ringd_probe_result *result)
{
    int run_size = ioctl(kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
    if (run_size < 0)
        return fail(result, errno, "KVM_GET_VCPU_MMAP_SIZE");
    s->run_size = (size_t)run_size;
    s->vm = ioctl(kvm_fd, KVM_CREATE_VM, 0);
    if (s->vm < 0)
        return fail(result, errno, "KVM_CREATE_VM");
    (void)ioctl(s->vm, KVM_SET_TSS_ADDR, PROBE_TSS);
    s->memory = mmap(NULL, PROBE_MEMORY, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (s->memory == MAP_FAILED)
        return fail(result, errno, "mmap");
    memcpy(s->memory, guest_code, sizeof(guest_code));
    struct kvm_userspace_memory_region region = {.memory_size = PROBE_MEMORY, .userspace_addr = (uintptr_t)s->memory};
    if (ioctl(s->vm, KVM_SET_USER_MEMORY_REGION, &region) < 0)
        return fail(result, errno, "KVM_SET_USER_MEMORY_REGION");
    s->vcpu = ioctl(s->vm, KVM_CREATE_VCPU, 0);
    if (s->vcpu < 0)
        return fail(result, errno, "KVM_CREATE_VCPU");
    s->run = mmap(NULL, s->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, s->vcpu, 0);
    if (s->run == MAP_FAILED)
        return fail(result, errno, "mmap of the vCPU");
    struct kvm_sregs sregs;
    struct kvm_regs regs = {.rflags = 2}; /* bit 1 is always set */
    if (ioctl(s->vcpu, KVM_GET_SREGS, &sregs) < 0)
        return fail(result, errno, "KVM_GET_SREGS");
    sregs.cs.base = 0;
    sregs.cs.selector = 0;
    if (ioctl(s->vcpu, KVM_SET_SREGS, &sregs) < 0 || ioctl(s->vcpu, KVM_SET_REGS, &regs) < 0)
        return fail(result, errno, "KVM_SET_SREGS");
    return 0;
}

static void scratch_destroy(struct scratch *s, int *keep_vm)
{
    if (s->run != MAP_FAILED)
        munmap(s->run, s->run_size);
    if (s->vcpu >= 0)
        close(s->vcpu);
    if (keep_vm)
        *keep_vm = s->vm;
    else if (s->vm >= 0)
        close(s->vm);
    if (s->memory != MAP_FAILED)
        munmap(s->memory, PROBE_MEMORY);
}

/* Runs the guest up to its exit. Anything else, such as an exit for a posted write, is not a working back end. */
static int run_guest(struct scratch *s, struct ringd_probe_result *result)
{
    int ret;
    do {
        ret = ioctl(s->vcpu, KVM_RUN, 0);
    } while (ret < 0 && errno == EINTR);
    if (ret < 0)
        return fail(result, errno, "KVM_RUN");
    if (s->run->exit_reason == KVM_EXIT_IO && s->run->io.port == PROBE_END_PORT)
        return 0;
    if (s->run->exit_reason == KVM_EXIT_IO || s->run->exit_reason == KVM_EXIT_MMIO)
        return fail_text(result, "a write to a registered zone came as an exit");
    return fail_text(result, "the scratch guest did not run to its end");
}

static bool readable(int fd)
{
    struct pollfd pollfd = {.fd = fd, .events = POLLIN};
    return poll(&pollfd, 1, 0) == 1 && (pollfd.revents & POLLIN);
}

static int check_ring(const struct backend_ring *back, struct ringd_probe_result *result)
{
    static const struct {
        uint64_t addr;
        uint32_t pio;
    } expected[] = {{PROBE_PORT, 1}, {PROBE_ADDR, 0}};
    struct ring_cursor cursor;
    ring_cursor_init(&cursor, back->page);
    if (ring_pending(&cursor) != 2)
        return fail_text(result, "the ring does not hold the two writes");
    if (back->fd >= 0 && !readable(back->fd))
        return fail_text(result, "poll() does not report a ring with entries");
    for (unsigned i = 0; i < 2; i++) {
        struct ringd_ring_entry entry = ring_peek(&cursor);
        uint64_t value;
        if (entry.addr != expected[i].addr || entry.pio != expected[i].pio || !ring_entry_value(&entry, &value) ||
            value != PROBE_VALUE)
            return fail_text(result, "the ring holds something else than was written");
        ring_advance(&cursor);
    }
    if (back->fd >= 0 && readable(back->fd))
        return fail_text(result, "poll() reports an empty ring");
    return 0;
}

static int probe_kvm(int kvm_fd, const struct backend_ops *ops, struct ringd_probe_result *result, int *keep_vm)
{
    static const struct backend_zone zones[] = {{.addr = PROBE_PORT, .size = 1, .pio = true},
                                                {.addr = PROBE_ADDR, .size = 4, .pio = false}};
    struct scratch s = {.vm = -1, .vcpu = -1, .memory = MAP_FAILED, .run = MAP_FAILED};
    /* Where even the capability is missing, no VM is needed to know. */
    if (ops->kind == RINGD_BACKEND_MMIO2 && ioctl(kvm_fd, KVM_CHECK_EXTENSION, RINGD_KVM_CAP_COALESCED_MMIO2) <= 0)
        return fail(result, ENOTSUP, "the kernel does not offer it");
    int ret = scratch_create(&s, kvm_fd, result);
    if (ret)
        goto destroy;
    struct backend_ring ring;
    ret = ops->ring_create(s.vm, s.vcpu, &ring);
    if (ret == -ENOTSUP) {
        ret = fail(result, ENOTSUP, "the kernel does not offer it");
        goto destroy;
    }
    if (ret) {
        ret = fail(result, -ret, "making the ring");
        goto destroy;
    }
    unsigned added;
    for (added = 0; added < 2 && !ret; added++) {
        ret = ops->zone_add(s.vm, &ring, &zones[added]);
        if (ret)
            fail(result, -ret, zones[added].pio ? "registering a port" : "registering memory");
    }
    if (!ret)
        ret = run_guest(&s, result);
    if (!ret)
        ret = check_ring(&ring, result);
    /* Taking a zone out waits for the VM's readers, 4 ms each; v1's may as well end with the VM. MMIO2's may not: there
     * a zone must not outlive its ring. */
    while (!ops->shared && added--)
        ops->zone_remove(s.vm, &ring, &zones[added]);
    ops->ring_destroy(&ring);
destroy:
    scratch_destroy(&s, keep_vm);
    return ret;
}

static int probe_memfd(struct ringd_probe_result *result)
{
    struct backend_ring ring;
    int ret = backend_memfd.ring_create(-1, -1, &ring);
    if (ret)
        return fail(result, -ret, "making the ring");
    uint8_t value = PROBE_VALUE;
    ring_want_wakeup(ring.page, true);
    if (ringd_ring_push(ring.page, PROBE_PORT, 1, &value, 1) != 1)
        ret = fail_text(result, "a write to the ring was refused");
    backend_memfd.ring_destroy(&ring);
    return ret;
}

static int probe(int kvm_fd, enum ringd_backend_kind kind, struct ringd_probe_result *result, int *keep_vm)
{
    *result = (struct ringd_probe_result){0};
    switch (kind) {
    case RINGD_BACKEND_MMIO2:
    case RINGD_BACKEND_V1:
        if (!probe_kvm(kvm_fd, backend_find(kind), result, keep_vm))
            snprintf(result->reason, sizeof(result->reason), "created, mapped, registered, written%s and read back",
                     kind == RINGD_BACKEND_MMIO2 ? ", polled" : "");
        break;
    case RINGD_BACKEND_MEMFD:
        if (!probe_memfd(result))
            snprintf(result->reason, sizeof(result->reason), "shared memory and an eventfd");
        break;
    case RINGD_BACKEND_OFF:
        snprintf(result->reason, sizeof(result->reason), "every access exits");
        break;
    case RINGD_BACKEND_AUTO:
    default: /* the caller's number */
        result->error = -EINVAL;
        snprintf(result->reason, sizeof(result->reason), "no back end to be probed");
        break;
    }
    return result->error;
}

int ringd_probe(int kvm_fd, enum ringd_backend_kind kind, struct ringd_probe_result *result)
{
    struct ringd_probe_result unused;
    return probe(kvm_fd, kind, result ? result : &unused, NULL);
}

int ringd_choose(int kvm_fd, enum ringd_backend_kind kind, struct ringd_probe_result *result, int *scratch_vm)
{
    struct ringd_probe_result unused;
    if (!result)
        result = &unused;
    if (scratch_vm)
        *scratch_vm = -1;
    if (kind != RINGD_BACKEND_AUTO)
        return probe(kvm_fd, kind, result, scratch_vm) ? result->error : (int)kind;
    if (!probe(kvm_fd, RINGD_BACKEND_MMIO2, result, NULL))
        return RINGD_BACKEND_MMIO2;
    if (!probe(kvm_fd, RINGD_BACKEND_V1, result, scratch_vm))
        return RINGD_BACKEND_V1;
    return RINGD_BACKEND_OFF; /* result says why v1 does not work */
}
