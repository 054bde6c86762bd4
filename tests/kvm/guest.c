/* SPDX-License-Identifier: BSD-2-Clause */
#include "guest.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>
#include <x86intrin.h>

#define TSS_ADDR 0xfffbd000u /* three pages that KVM wants on Intel hosts, below the top 256 KiB of 4 GiB */
#define MSR_TSC  0x10u

static void refuse(const char *what)
{
    fprintf(stderr, "cannot go on: %s: %s\n", what, strerror(errno));
    exit(1);
}

static int open_kvm(void)
{
    int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    if (kvm < 0) {
        printf("skipped: /dev/kvm: %s\n", strerror(errno));
        exit(TEST_SKIPPED);
    }
    return kvm;
}

void guest_need_kvm(void)
{
    close(open_kvm());
}

static enum ringd_backend_kind wanted_backend(void)
{
    static const enum ringd_backend_kind kinds[] = {RINGD_BACKEND_V1, RINGD_BACKEND_MMIO2};
    const char *name = getenv("RINGVMM_TEST_BACKEND");
    if (!name || !*name)
        return RINGD_BACKEND_AUTO;
    for (unsigned i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
        if (!strcmp(name, ringd_backend_name(kinds[i])))
            return kinds[i];
    fprintf(stderr, "RINGVMM_TEST_BACKEND is '%s', not v1 or mmio2\n", name);
    exit(1);
}

enum ringd_backend_kind guest_backend(void)
{
    int kvm = open_kvm();
    enum ringd_backend_kind wanted = wanted_backend();
    struct ringd_probe_result probe;
    int kind = ringd_choose(kvm, wanted, &probe, NULL);
    close(kvm);
    if (kind < 0) {
        fprintf(stderr, "RINGVMM_TEST_BACKEND=%s does not work here: %s\n", ringd_backend_name(wanted), probe.reason);
        exit(1);
    }
    if (kind == RINGD_BACKEND_OFF) {
        printf("skipped: this KVM has no posted writes: %s\n", probe.reason);
        exit(TEST_SKIPPED);
    }
    printf("back end: %s\n", ringd_backend_name((enum ringd_backend_kind)kind));
    fflush(stdout);
    return (enum ringd_backend_kind)kind;
}

unsigned guest_slow(void)
{
    const char *text = getenv("RINGVMM_TEST_SLOW");
    if (!text || !*text)
        return 1;
    char *end;
    long factor = strtol(text, &end, 10);
    if (*end || factor < 1 || factor > 1000) {
        fprintf(stderr, "RINGVMM_TEST_SLOW is '%s', not a number from 1 to 1000\n", text);
        exit(1);
    }
    return (unsigned)factor;
}

static void create_vcpu(struct guest *guest, unsigned id)
{
    struct guest_vcpu *vcpu = &guest->vcpus[id];
    vcpu->id = id;
    vcpu->fd = ioctl(guest->vm, KVM_CREATE_VCPU, id);
    if (vcpu->fd < 0)
        refuse("KVM_CREATE_VCPU");
    vcpu->run = mmap(NULL, guest->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu->fd, 0);
    if (vcpu->run == MAP_FAILED)
        refuse("mmap of a vCPU");
    struct {
        struct kvm_cpuid2 head;
        struct kvm_cpuid_entry2 entries[256];
    } cpuid = {.head.nent = 256};
    if (ioctl(guest->kvm, KVM_GET_SUPPORTED_CPUID, &cpuid) < 0 || ioctl(vcpu->fd, KVM_SET_CPUID2, &cpuid) < 0)
        refuse("KVM_SET_CPUID2");
}

static void create(struct guest *guest, unsigned vcpus, bool chips)
{
    *guest = (struct guest){.kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC), .vcpu_count = vcpus};
    int size = ioctl(guest->kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
    guest->vm = ioctl(guest->kvm, KVM_CREATE_VM, 0);
    if (size < 0 || guest->vm < 0)
        refuse("KVM_CREATE_VM");
    guest->run_size = (size_t)size;
    (void)ioctl(guest->vm, KVM_SET_TSS_ADDR, TSS_ADDR);
    guest->memory = mmap(NULL, GUEST_MEMORY, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (guest->memory == MAP_FAILED)
        refuse("mmap");
    struct kvm_userspace_memory_region region = {.memory_size = GUEST_MEMORY,
                                                 .userspace_addr = (uintptr_t)guest->memory};
    if (ioctl(guest->vm, KVM_SET_USER_MEMORY_REGION, &region) < 0)
        refuse("KVM_SET_USER_MEMORY_REGION");
    if (chips && ioctl(guest->vm, KVM_CREATE_IRQCHIP, 0) < 0)
        refuse("KVM_CREATE_IRQCHIP");
    for (unsigned i = 0; i < vcpus; i++)
        create_vcpu(guest, i);
}

void guest_create(struct guest *guest, unsigned vcpus)
{
    create(guest, vcpus, false);
}

void guest_create_with_chips(struct guest *guest, unsigned vcpus)
{
    create(guest, vcpus, true);
}

void guest_destroy(struct guest *guest)
{
    for (unsigned i = 0; i < guest->vcpu_count; i++) {
        munmap(guest->vcpus[i].run, guest->run_size);
        close(guest->vcpus[i].fd);
    }
    close(guest->vm);
    close(guest->kvm);
    munmap(guest->memory, GUEST_MEMORY);
}

void guest_load(struct guest *guest, unsigned id, const void *code, size_t size, const struct kvm_regs *regs)
{
    assert(size <= GUEST_CODE_MAX);
    struct guest_vcpu *vcpu = &guest->vcpus[id];
    struct kvm_regs start = regs ? *regs : (struct kvm_regs){0};
    struct kvm_sregs sregs;
    memcpy(guest->memory + GUEST_CODE + id * GUEST_CODE_MAX, code, size);
    start.rip = GUEST_CODE + id * GUEST_CODE_MAX;
    start.rflags = 2; /* bit 1 is always set */
    if (ioctl(vcpu->fd, KVM_GET_SREGS, &sregs) < 0)
        refuse("KVM_GET_SREGS");
    sregs.cs.base = 0;
    sregs.cs.selector = 0;
    sregs.es.base = GUEST_MMIO;
    sregs.es.selector = GUEST_MMIO >> 4;
    if (ioctl(vcpu->fd, KVM_SET_SREGS, &sregs) < 0 || ioctl(vcpu->fd, KVM_SET_REGS, &start) < 0)
        refuse("KVM_SET_REGS");
}

static struct guest_exit describe(struct guest_vcpu *vcpu)
{
    struct kvm_run *run = vcpu->run;
    struct guest_exit exit = {.access = true};
    if (run->exit_reason == KVM_EXIT_IO && run->io.count == 1) {
        exit.data = (uint8_t *)run + run->io.data_offset;
        exit.is_write = run->io.direction == KVM_EXIT_IO_OUT;
        exit.write = (struct guest_write){.pio = true, .addr = run->io.port, .width = run->io.size};
        exit.end = exit.is_write && run->io.port == GUEST_END_PORT;
    } else if (run->exit_reason == KVM_EXIT_MMIO && run->mmio.len <= 8) {
        exit.data = run->mmio.data;
        exit.is_write = run->mmio.is_write;
        exit.write = (struct guest_write){.addr = run->mmio.phys_addr, .width = run->mmio.len};
    } else {
        exit.access = false;
    }
    if (exit.is_write)
        memcpy(&exit.write.value, exit.data, exit.write.width);
    return exit;
}

struct guest_exit guest_run(struct guest_vcpu *vcpu)
{
    int ret;
    do {
        ret = ioctl(vcpu->fd, KVM_RUN, 0);
    } while (ret < 0 && (errno == EINTR || errno == EAGAIN));
    if (ret < 0)
        refuse("KVM_RUN");
    vcpu->exits++;
    struct guest_exit result = describe(vcpu);
    if (!result.access) {
        struct kvm_regs regs = {0};
        (void)ioctl(vcpu->fd, KVM_GET_REGS, &regs);
        fprintf(stderr, "vCPU %u: exit reason %u (suberror %u) at %llx\n", vcpu->id, vcpu->run->exit_reason,
                vcpu->run->exit_reason == KVM_EXIT_INTERNAL_ERROR ? vcpu->run->internal.suberror : 0,
                (unsigned long long)regs.rip);
        exit(1);
    }
    return result;
}

int64_t guest_tsc_offset(const struct guest_vcpu *vcpu, uint64_t *error)
{
    struct {
        struct kvm_msrs head;
        struct kvm_msr_entry entry;
    } msr = {.head.nmsrs = 1, .entry.index = MSR_TSC};
    int64_t best = 0;
    *error = UINT64_MAX;
    for (unsigned i = 0; i < 20; i++) {
        uint64_t before = __rdtsc();
        if (ioctl(vcpu->fd, KVM_GET_MSRS, &msr) != 1)
            refuse("KVM_GET_MSRS");
        uint64_t took = __rdtsc() - before;
        if (took < *error) {
            *error = took;
            best = (int64_t)(before + took / 2 - msr.entry.data);
        }
    }
    return best;
}

void code_bytes(struct guest_code *code, const void *bytes, size_t size)
{
    assert(code->size + size <= sizeof(code->bytes));
    memcpy(code->bytes + code->size, bytes, size);
    code->size += size;
}

#define LOW(n)  ((uint8_t)(n))
#define HIGH(n) ((uint8_t)((n) >> 8))
#define EMIT(code, ...)                                                                                                \
    do {                                                                                                               \
        const uint8_t emitted[] = {__VA_ARGS__};                                                                       \
        code_bytes((code), emitted, sizeof(emitted));                                                                  \
    } while (0)

static void emit_accumulator(struct guest_code *code, unsigned width, uint64_t value)
{
    uint8_t bytes[4];
    memcpy(bytes, &value, sizeof(bytes));
    if (width == 4)
        EMIT(code, 0x66);                 /* operand size */
    EMIT(code, width == 1 ? 0xb0 : 0xb8); /* mov al/ax/eax, */
    code_bytes(code, bytes, width);       /*                immediate */
}

static void emit_store8(struct guest_code *code, uint16_t offset, uint64_t value)
{
    assert(code->constant_count < sizeof(code->constants) / sizeof(code->constants[0]));
    uint16_t constant = (uint16_t)(GUEST_CONSTANTS + code->constant_count * sizeof(value));
    code->constants[code->constant_count++] = value;
    EMIT(code, 0x0f, 0x6f, 0x06, LOW(constant), HIGH(constant));   /* movq mm0, [constant] */
    EMIT(code, 0x26, 0x0f, 0x7f, 0x06, LOW(offset), HIGH(offset)); /* movq es:[offset], mm0 */
}

void code_write(struct guest_code *code, const struct guest_write *write)
{
    uint16_t offset = (uint16_t)(write->pio ? write->addr : write->addr - GUEST_MMIO);
    assert(write->pio || write->addr - GUEST_MMIO < 0x10000);
    if (write->width == 8) {
        assert(!write->pio);
        emit_store8(code, offset, write->value);
        return;
    }
    emit_accumulator(code, write->width, write->value);
    if (write->pio)
        EMIT(code, 0xba, LOW(offset), HIGH(offset)); /* mov dx, port */
    if (write->width == 4)
        EMIT(code, 0x66);
    if (write->pio)
        EMIT(code, write->width == 1 ? 0xee : 0xef); /* out dx, al/ax/eax */
    else
        EMIT(code, 0x26, write->width == 1 ? 0xa2 : 0xa3, LOW(offset), HIGH(offset)); /* mov es:[offset], al/ax/eax */
}

void code_load(struct guest *guest, unsigned vcpu, struct guest_code *code)
{
    EMIT(code, 0xe6, GUEST_END_PORT, 0xf4); /* out GUEST_END_PORT, al; hlt */
    memcpy(guest->memory + GUEST_CONSTANTS, code->constants, sizeof(code->constants));
    guest_load(guest, vcpu, code->bytes, code->size, NULL);
}
