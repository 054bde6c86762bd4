/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A VMM in one file: one vCPU, 1 MiB of RAM, and three of libringd's device models in this process. It runs the tick
 * guest of ringvmm's benchmarks (build/bench/tick.bin), which selects a register of the real-time clock and reads it:
 * a write that is posted, so that only the read leaves the guest.
 *
 *     cc -o embed-inprocess embed-inprocess.c $(pkg-config --cflags --libs libringd)
 *     ./embed-inprocess tick.bin [TICKS [auto|mmio2|v1|off]]
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <ringd/models/debug_console.h>
#include <ringd/models/debug_exit.h>
#include <ringd/models/mc146818.h>
#include <ringd/ringd.h>

#define RAM_BYTES   0x100000u
#define IMAGE_BYTES 0x10000u    /* ends at 4 GiB, where the vCPU begins */
#define PARAMS      0xff00u     /* of the image: magic, pattern (0: the clock), ticks, stamped samples */
#define MAGIC       0x50425652u /* "RVBP" */

/* The machine: which model stands where. All their regions are ports at fixed offsets. */
static const struct part {
    const struct ringd_device_ops *ops;
    uint16_t base;
} parts[] = {{&mc146818_ops, 0x70}, {&debug_console_ops, 0x402}, {&debug_exit_ops, 0x501}};

#define PARTS (sizeof(parts) / sizeof(parts[0]))

struct vm {
    int kvm, vm, vcpu;
    struct kvm_run *run;
    struct ringd *rd;
    struct ringd_dev *devs[PARTS];
    atomic_bool ended; /* the ring thread may be the one to tell */
    uint64_t exit_value, exits;
};

/* A model asks for something. Called with its lock held: note it, and return. */
static void on_event(void *ctx, enum ringd_event event, uint64_t value)
{
    struct vm *vm = ctx;
    if (event == RINGD_EVENT_DEBUG_EXIT)
        vm->exit_value = value;
    vm->ended = true;
}

static int checked(int ret, const char *what)
{
    if (ret < 0)
        err(1, "%s", what);
    return ret;
}

static void add_memory(struct vm *vm, unsigned slot, uint64_t gpa, void *host, uint64_t size)
{
    struct kvm_userspace_memory_region region = {
        .slot = slot, .guest_phys_addr = gpa, .memory_size = size, .userspace_addr = (uintptr_t)host};
    checked(ioctl(vm->vm, KVM_SET_USER_MEMORY_REGION, &region), "KVM_SET_USER_MEMORY_REGION");
}

static void load_image(uint8_t *image, const char *path, uint32_t ticks)
{
    FILE *file = fopen(path, "rb");
    uint32_t params[4] = {0, 0, ticks, 0};
    if (!file || fread(image, 1, IMAGE_BYTES, file) != IMAGE_BYTES)
        errx(2, "%s: not an image of %u bytes that can be read", path, IMAGE_BYTES);
    fclose(file);
    memcpy(params, image + PARAMS, sizeof(params[0]));
    if (params[0] != MAGIC)
        errx(2, "%s: not the tick guest of ringvmm's benchmarks (build/bench/tick.bin)", path);
    memcpy(image + PARAMS, params, sizeof(params));
}

static void make_vm(struct vm *vm, const char *path, uint32_t ticks)
{
    uint8_t *memory = mmap(NULL, RAM_BYTES + IMAGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        err(1, "guest memory");
    load_image(memory + RAM_BYTES, path, ticks);
    vm->vm = checked(ioctl(vm->kvm, KVM_CREATE_VM, 0), "KVM_CREATE_VM");
    (void)ioctl(vm->vm, KVM_SET_TSS_ADDR, 0xfffbd000ul); /* for Intel's real mode; others need none */
    add_memory(vm, 0, 0, memory, RAM_BYTES);
    add_memory(vm, 1, 0x100000000 - IMAGE_BYTES, memory + RAM_BYTES, IMAGE_BYTES);
    vm->vcpu = checked(ioctl(vm->vm, KVM_CREATE_VCPU, 0), "KVM_CREATE_VCPU");
    size_t size = (size_t)checked(ioctl(vm->kvm, KVM_GET_VCPU_MMAP_SIZE, 0), "KVM_GET_VCPU_MMAP_SIZE");
    vm->run = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, vm->vcpu, 0);
    if (vm->run == MAP_FAILED)
        err(1, "the vCPU's mapping");
}

static void make_devices(struct vm *vm, enum ringd_backend_kind wanted)
{
    struct ringd_probe_result why;
    int kind = ringd_choose(vm->kvm, wanted, &why, NULL);
    if (kind < 0)
        errx(1, "back end %s: %s", ringd_backend_name(wanted), why.reason);
    printf("back end %s: %s\n", ringd_backend_name((enum ringd_backend_kind)kind), why.reason);

    struct ringd_config config = {
        .backend = (enum ringd_backend_kind)kind, .vm_fd = vm->vm, .vcpu_fd = vm->vcpu, .cpu = -1};
    struct ringd_wiring wiring = {.ctx = vm, .event = on_event}; /* the guest's characters are dropped */
    int ret = ringd_create(&config, &vm->rd);
    for (unsigned i = 0; i < PARTS && !ret; i++) {
        ret = ringd_add(vm->rd, parts[i].ops, NULL, &wiring, &vm->devs[i]);
        for (unsigned r = 0; r < parts[i].ops->region_count && !ret; r++)
            ret = ringd_map(vm->devs[i], r, parts[i].base + parts[i].ops->regions[r].offset);
    }
    if (!ret)
        ret = ringd_start(vm->rd);
    if (ret)
        errx(1, "devices: %s", strerror(-ret));
}

/* Device and region at a port, for an access that lies wholly inside. */
static struct ringd_dev *find(const struct vm *vm, uint64_t port, unsigned width, unsigned *region, uint64_t *offset)
{
    for (unsigned i = 0; i < PARTS; i++) {
        for (*region = 0; *region < parts[i].ops->region_count; ++*region) {
            const struct ringd_region *r = &parts[i].ops->regions[*region];
            *offset = port - (parts[i].base + r->offset);
            if (*offset < r->size && width <= r->size - *offset)
                return vm->devs[i];
        }
    }
    return NULL;
}

static void on_io(struct vm *vm)
{
    uint8_t *data = (uint8_t *)vm->run + vm->run->io.data_offset;
    unsigned width = vm->run->io.size, region;
    uint64_t offset, value;
    struct ringd_dev *dev = find(vm, vm->run->io.port, width, &region, &offset);
    for (unsigned i = 0; i < vm->run->io.count; i++, data += width) {
        if (vm->run->io.direction == KVM_EXIT_IO_OUT) {
            value = 0;
            memcpy(&value, data, width);
            if (dev)
                ringd_write(dev, region, offset, width, value);
        } else {
            value = dev ? ringd_read(dev, region, offset, width) : UINT64_MAX;
            memcpy(data, &value, width);
        }
    }
}

static void run_vcpu(struct vm *vm)
{
    while (!vm->ended) {
        int ret = ioctl(vm->vcpu, KVM_RUN, 0);
        if (ret < 0 && errno == EINTR) /* a signal: there was no exit */
            continue;
        checked(ret, "KVM_RUN");
        vm->exits++;
        if (vm->run->exit_reason != KVM_EXIT_IO)
            errx(1, "the vCPU stopped for reason %u", vm->run->exit_reason);
        on_io(vm);
    }
}

int main(int argc, char **argv)
{
    struct vm vm = {.kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC)};
    unsigned long ticks = argc > 2 ? strtoul(argv[2], NULL, 0) : 100000;
    enum ringd_backend_kind wanted = RINGD_BACKEND_AUTO;
    if (argc < 2 || !ticks || ticks > UINT32_MAX)
        errx(2, "usage: embed-inprocess IMAGE [TICKS [auto|mmio2|v1|off]]");
    while (argc > 3 && strcmp(argv[3], ringd_backend_name(wanted)) != 0)
        if (++wanted > RINGD_BACKEND_OFF)
            errx(2, "'%s' is no back end", argv[3]);
    checked(vm.kvm, "/dev/kvm");
    make_vm(&vm, argv[1], (uint32_t)ticks);
    make_devices(&vm, wanted);

    struct timespec begin, end;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    run_vcpu(&vm);
    clock_gettime(CLOCK_MONOTONIC, &end);
    ringd_stop(vm.rd);
    struct ringd_region_stats index;
    ringd_region_stats(vm.devs[0], MC146818_INDEX, &index);
    double us = (double)(end.tv_sec - begin.tv_sec) * 1e6 + (double)(end.tv_nsec - begin.tv_nsec) / 1e3;
    printf("%lu ticks, %llu exits, %llu posted writes, %.2f us a tick\n", ticks, (unsigned long long)vm.exits,
           (unsigned long long)index.posted, us / (double)ticks);
    ringd_destroy(vm.rd); /* before the VM's fd is closed */
    return vm.exit_value == 0x2a ? 0 : 1;
}
