/* SPDX-License-Identifier: BSD-2-Clause */
#include "floor.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define GUEST_RAM     (64u << 20)
#define LOW_ROM       0xf0000u
#define HIGH_ROM      0xffff0000u
#define TSS_ADDRESS   0xfffbd000u /* three pages below the ROM that no slot uses; Intel's real mode wants them */
#define IDENTITY_MAP  0xfffbc000u
#define HOST_PAGE     4096u
#define CONSOLE_BYTES 0x8000u
#define INDEX_PORT    0x70u
#define DATA_PORT     0x71u
#define HOST_BRIDGE   0x12378086u /* the i440FX's vendor and device: what register 0 of 00:00.0 reads */

#define RING_SLOTS ((HOST_PAGE - sizeof(struct kvm_coalesced_mmio_ring)) / sizeof(struct kvm_coalesced_mmio))

struct floor_vm {
    int kvm, vm, vcpu;
    struct kvm_run *run;
    struct kvm_coalesced_mmio_ring *ring;
    const struct floor_clock *clock;
    int clock_error;
    uint64_t exits;
    size_t console_used;
    uint8_t console[CONSOLE_BYTES];
};

static bool fails(const char *what)
{
    dprintf(STDERR_FILENO, "floor: %s: %s\n", what, strerror(errno));
    return false;
}

static bool add_memory(const struct floor_vm *vm, uint32_t slot, uint64_t address, const void *memory, uint64_t size)
{
    struct kvm_userspace_memory_region region = {
        .slot = slot, .guest_phys_addr = address, .memory_size = size, .userspace_addr = (uintptr_t)memory};

    return ioctl(vm->vm, KVM_SET_USER_MEMORY_REGION, &region) == 0 || fails("KVM_SET_USER_MEMORY_REGION");
}

static bool map_memory(const struct floor_vm *vm, const struct payload_params *params)
{
    static const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    uint8_t *memory = mmap(NULL, GUEST_RAM + PAYLOAD_BYTES, PROT_READ | PROT_WRITE, flags, -1, 0);

    if (memory == MAP_FAILED)
        return fails("guest memory");
    payload_fill(memory + GUEST_RAM, params);
    memcpy(memory + LOW_ROM, memory + GUEST_RAM, PAYLOAD_BYTES);
    return add_memory(vm, 0, 0, memory, GUEST_RAM) && add_memory(vm, 1, HIGH_ROM, memory + GUEST_RAM, PAYLOAD_BYTES);
}

static bool add_zones(const struct floor_vm *vm)
{
    static const struct kvm_coalesced_mmio_zone zones[] = {
        {.addr = INDEX_PORT, .size = 1, .pio = 1},
        {.addr = 0xcf8, .size = 4, .pio = 1},
        {.addr = PAYLOAD_CONSOLE_PORT, .size = 1, .pio = 1},
    };

    for (size_t i = 0; i < sizeof(zones) / sizeof(zones[0]); i++) {
        if (ioctl(vm->vm, KVM_REGISTER_COALESCED_MMIO, &zones[i]) != 0)
            return fails("KVM_REGISTER_COALESCED_MMIO");
    }
    return true;
}

static bool make_vm(struct floor_vm *vm, const struct payload_params *params)
{
    struct kvm_pit_config pit = {.flags = KVM_PIT_SPEAKER_DUMMY};
    uint64_t identity_map = IDENTITY_MAP;

    vm->kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    if (vm->kvm < 0)
        return fails("/dev/kvm");
    errno = EOPNOTSUPP;
    int ring_page = ioctl(vm->kvm, KVM_CHECK_EXTENSION, KVM_CAP_COALESCED_MMIO);
    if (ring_page <= 0 || ioctl(vm->kvm, KVM_CHECK_EXTENSION, KVM_CAP_COALESCED_PIO) <= 0)
        return fails("coalesced port I/O");
    vm->vm = ioctl(vm->kvm, KVM_CREATE_VM, 0);
    if (vm->vm < 0)
        return fails("KVM_CREATE_VM");
    (void)ioctl(vm->vm, KVM_SET_IDENTITY_MAP_ADDR, &identity_map); /* AMD hosts need neither */
    (void)ioctl(vm->vm, KVM_SET_TSS_ADDR, (unsigned long)TSS_ADDRESS);
    if (ioctl(vm->vm, KVM_CREATE_IRQCHIP, 0) != 0)
        return fails("KVM_CREATE_IRQCHIP");
    if (ioctl(vm->vm, KVM_CREATE_PIT2, &pit) != 0)
        return fails("KVM_CREATE_PIT2");
    if (!map_memory(vm, params) || !add_zones(vm))
        return false;
    vm->vcpu = ioctl(vm->vm, KVM_CREATE_VCPU, 0);
    int size = ioctl(vm->kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
    if (vm->vcpu < 0 || size < (ring_page + 1) * (int)HOST_PAGE)
        return fails("KVM_CREATE_VCPU");
    void *map = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, vm->vcpu, 0);
    if (map == MAP_FAILED)
        return fails("mapping the vCPU");
    vm->run = map;
    vm->ring = (struct kvm_coalesced_mmio_ring *)((char *)map + (size_t)ring_page * HOST_PAGE);
    return true;
}

static void console_put(struct floor_vm *vm, const uint8_t *data, size_t count)
{
    for (size_t i = 0; i < count && vm->console_used < sizeof(vm->console); i++)
        vm->console[vm->console_used++] = data[i];
}

static void drain(struct floor_vm *vm)
{
    uint32_t first = vm->ring->first % RING_SLOTS;
    uint32_t last = __atomic_load_n(&vm->ring->last, __ATOMIC_ACQUIRE) % RING_SLOTS;

    while (first != last) {
        const struct kvm_coalesced_mmio *entry = &vm->ring->coalesced_mmio[first];
        if (entry->phys_addr == PAYLOAD_CONSOLE_PORT)
            console_put(vm, entry->data, 1);
        else if (entry->phys_addr == INDEX_PORT && vm->clock && !vm->clock_error)
            vm->clock_error = vm->clock->index(vm->clock->ctx, entry->data[0]);
        first = (first + 1) % RING_SLOTS;
        __atomic_store_n(&vm->ring->first, first, __ATOMIC_RELEASE);
    }
}

/* Serves one port exit; returns the process's exit status at the debug exit, else -1. */
static int serve_port(struct floor_vm *vm)
{
    uint8_t *data = (uint8_t *)vm->run + vm->run->io.data_offset;
    size_t bytes = (size_t)vm->run->io.size * vm->run->io.count;
    uint32_t bridge = HOST_BRIDGE;

    if (vm->run->io.direction == KVM_EXIT_IO_IN) {
        memset(data, 0, bytes);
        if (vm->run->io.port == 0xcfc)
            memcpy(data, &bridge, bytes < sizeof(bridge) ? bytes : sizeof(bridge));
        if (vm->run->io.port == DATA_PORT && vm->clock && !vm->clock_error)
            vm->clock_error = vm->clock->data(vm->clock->ctx, data);
        return -1;
    }
    if (vm->run->io.port == PAYLOAD_CONSOLE_PORT)
        console_put(vm, data, bytes);
    return vm->run->io.port == PAYLOAD_EXIT_PORT ? ((data[0] << 1) | 1) & 0xff : -1;
}

static int run_loop(struct floor_vm *vm)
{
    for (;;) {
        int result = ioctl(vm->vcpu, KVM_RUN, 0);
        int status = -1;

        vm->exits++;
        if (result != 0 && errno != EINTR && errno != EAGAIN) {
            (void)fails("KVM_RUN");
            return 1;
        }
        if (result != 0)
            continue;
        drain(vm);
        if (vm->run->exit_reason == KVM_EXIT_IO) {
            status = serve_port(vm);
        } else if (vm->run->exit_reason != KVM_EXIT_INTR) {
            dprintf(STDERR_FILENO, "floor: the guest stopped with KVM exit %u\n", vm->run->exit_reason);
            return 1;
        }
        if (vm->clock_error) {
            dprintf(STDERR_FILENO, "floor: the clock: %s\n", strerror(-vm->clock_error));
            return 1;
        }
        if (status >= 0)
            return status;
    }
}

static bool put_file(const char *path, const void *data, size_t size)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    if (fd < 0 || write(fd, data, size) != (ssize_t)size || close(fd) != 0)
        return fails(path);
    return true;
}

int floor_run(const void *arg)
{
    static struct floor_vm vm; /* too big for the stack; one per process */
    const struct floor_job *job = arg;
    char text[24];

    vm.clock = job->clock;
    if (vm.clock) {
        int error = vm.clock->open(vm.clock->ctx);
        if (error) {
            dprintf(STDERR_FILENO, "floor: the clock: %s\n", strerror(-error));
            return 1;
        }
    }
    if (!make_vm(&vm, &job->params))
        return 1;
    int status = run_loop(&vm);
    int n = snprintf(text, sizeof(text), "%llu\n", (unsigned long long)vm.exits);
    if (!put_file(job->console_path, vm.console, vm.console_used))
        return 1;
    if (job->exits_path && !put_file(job->exits_path, text, (size_t)n))
        return 1;
    return status;
}
