/* SPDX-License-Identifier: BSD-2-Clause */
#include "device.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "suite.h"

_Static_assert((RING_BYTES - sizeof(struct kvm_coalesced_mmio_ring)) / sizeof(struct kvm_coalesced_mmio) == SLOTS,
               "the kernel's arithmetic");

/* ---- calls ---- */

int mmio2_create(int vm)
{
    int fd = ioctl(vm, RINGD_KVM_CREATE_COALESCED_MMIO_BUFFER, 0);
    return fd < 0 ? -errno : fd;
}

int mmio2_register(int vm, int fd, bool pio, uint64_t addr, uint32_t size)
{
    struct ringd_kvm_coalesced_mmio_zone2 zone = {.addr = addr, .size = size, .pio = pio, .buffer_fd = (uint32_t)fd};
    return ioctl(vm, RINGD_KVM_REGISTER_COALESCED_MMIO2, &zone) ? -errno : 0;
}

int mmio2_unregister(int vm, uint32_t fd, bool pio, uint64_t addr, uint32_t size)
{
    struct ringd_kvm_coalesced_mmio_zone2 zone = {.addr = addr, .size = size, .pio = pio, .buffer_fd = fd};
    return ioctl(vm, RINGD_KVM_UNREGISTER_COALESCED_MMIO2, &zone) ? -errno : 0;
}

void *mmio2_map(int fd, size_t length, int protection, int flags, off_t offset, int *error)
{
    void *map = mmap(NULL, length, protection, flags, fd, offset);
    *error = map == MAP_FAILED ? -errno : 0;
    return map == MAP_FAILED ? NULL : map;
}

/* ---- buffers ---- */

struct kvm_coalesced_mmio_ring *ring_map(int fd)
{
    int error;
    void *ring = mmio2_map(fd, RING_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, 0, &error);
    CHECK_EQ(error, 0);
    if (!ring) /* the check above does not return then, which the compiler cannot know */
        abort();
    return ring;
}

void ring_unmap(struct kvm_coalesced_mmio_ring *ring)
{
    CHECK_EQ(munmap(ring, RING_BYTES), 0);
}

void buffer_open(struct buffer *buffer, int vm)
{
    buffer->fd = mmio2_create(vm);
    CHECK(buffer->fd >= 0);
    buffer->ring = ring_map(buffer->fd);
    CHECK_EQ(ring_held(buffer->ring), 0);
}

void buffer_close(struct buffer *buffer)
{
    if (buffer->fd >= 0)
        CHECK_EQ(close(buffer->fd), 0);
    if (buffer->ring)
        ring_unmap(buffer->ring);
    *buffer = (struct buffer){.fd = -1};
}

void buffer_add_zones(const struct buffer *buffer, int vm)
{
    CHECK_EQ(mmio2_register(vm, buffer->fd, true, PORT, 4), 0);
    CHECK_EQ(mmio2_register(vm, buffer->fd, false, ADDR, 8), 0);
}

uint32_t ring_held(const struct kvm_coalesced_mmio_ring *ring)
{
    uint32_t last = __atomic_load_n(&ring->last, __ATOMIC_ACQUIRE);
    return (last + SLOTS - ring->first) % SLOTS;
}

struct guest_write ring_take(struct kvm_coalesced_mmio_ring *ring)
{
    uint32_t first = ring->first;
    CHECK(ring_held(ring) > 0);
    CHECK(first < SLOTS);
    const struct kvm_coalesced_mmio *entry = &ring->coalesced_mmio[first];
    struct guest_write write = {.pio = entry->pio, .addr = entry->phys_addr, .width = entry->len};
    CHECK(entry->pio <= 1);
    CHECK(entry->len >= 1 && entry->len <= sizeof(entry->data));
    memcpy(&write.value, entry->data, entry->len);
    __atomic_store_n(&ring->first, (first + 1) % SLOTS, __ATOMIC_RELEASE);
    return write;
}

void ring_start_at(struct kvm_coalesced_mmio_ring *ring, uint32_t index)
{
    __atomic_store_n(&ring->first, index, __ATOMIC_RELAXED);
    __atomic_store_n(&ring->last, index, __ATOMIC_RELEASE);
}

/* ---- guests ---- */

void device_open(struct device *device)
{
    guest_create(&device->guest, 1);
    buffer_open(&device->buffer, device->guest.vm);
    buffer_add_zones(&device->buffer, device->guest.vm);
}

void device_close_vm(struct device *device)
{
    guest_destroy(&device->guest);
    device->guest.vm = -1;
}

void device_close(struct device *device)
{
    buffer_close(&device->buffer);
    if (device->guest.vm >= 0)
        device_close_vm(device);
}

void check_same(const struct guest_write *got, const struct guest_write *wanted, unsigned number)
{
    bool same = got->pio == wanted->pio && got->addr == wanted->addr && got->width == wanted->width &&
                got->value == wanted->value;
    if (!same)
        suite_context("write %u: %s 0x%llx, %u bytes, 0x%llx; wanted %s 0x%llx, %u bytes, 0x%llx", number,
                      got->pio ? "port" : "memory", (unsigned long long)got->addr, got->width,
                      (unsigned long long)got->value, wanted->pio ? "port" : "memory", (unsigned long long)wanted->addr,
                      wanted->width, (unsigned long long)wanted->value);
    CHECK(same);
}

void load_list(struct guest *guest, unsigned vcpu, const struct guest_write *list, unsigned count)
{
    struct guest_code *code = calloc(1, sizeof(*code));
    CHECK(code != NULL);
    for (unsigned i = 0; i < count; i++)
        code_write(code, &list[i]);
    code_load(guest, vcpu, code);
    free(code);
}

static unsigned take_all(struct kvm_coalesced_mmio_ring *ring, const struct guest_write *list, unsigned done,
                         unsigned count, const char *how)
{
    unsigned taken = 0;
    for (; ring && ring_held(ring); taken++) {
        struct guest_write got = ring_take(ring);
        CHECK(done + taken < count);
        check_same(&got, &list[done + taken], done + taken);
        if (how && how[done + taken] != 'r')
            suite_context("write %u was recorded; an exit was wanted", done + taken);
        CHECK(!how || how[done + taken] == 'r');
    }
    return taken;
}

static struct outcome follow(struct guest *guest, struct kvm_coalesced_mmio_ring *ring, const struct guest_write *list,
                             unsigned count, const char *how)
{
    struct outcome outcome = {0};
    unsigned done = 0;
    load_list(guest, 0, list, count);
    for (;;) {
        struct guest_exit exit = guest_run(&guest->vcpus[0]);
        unsigned taken = take_all(ring, list, done, count, how);
        outcome.recorded += taken;
        done += taken;
        if (exit.end)
            break;
        CHECK(exit.is_write);
        CHECK(done < count);
        check_same(&exit.write, &list[done], done); /* the exit's write is the newest */
        if (how && how[done] != 'x')
            suite_context("write %u came as an exit; it was to be recorded", done);
        CHECK(!how || how[done] == 'x');
        if (!outcome.exits++)
            outcome.at_first_exit = taken;
        done++;
    }
    CHECK_EQ(done, count);
    return outcome;
}

struct outcome run_list(struct guest *guest, struct kvm_coalesced_mmio_ring *ring, const struct guest_write *list,
                        unsigned count)
{
    return follow(guest, ring, list, count, NULL);
}

void run_expecting(struct guest *guest, struct kvm_coalesced_mmio_ring *ring, const struct guest_write *list,
                   const char *how)
{
    follow(guest, ring, list, (unsigned)strlen(how), how);
}

void check_recorded(struct guest *guest, struct kvm_coalesced_mmio_ring *ring, bool pio, uint32_t value)
{
    const struct guest_write write = {pio, pio ? PORT : ADDR, 4, value};
    run_expecting(guest, ring, &write, "r");
}

void check_exits(struct guest *guest, bool pio, uint32_t value)
{
    const struct guest_write write = {pio, pio ? PORT : ADDR, 4, value};
    run_expecting(guest, NULL, &write, "x");
}

void write_port(struct guest *guest, uint32_t value)
{
    const struct guest_write write = {true, PORT, 4, value};
    load_list(guest, 0, &write, 1);
    CHECK(guest_run(&guest->vcpus[0]).end);
}

void check_holds(struct kvm_coalesced_mmio_ring *ring, uint32_t value)
{
    const struct guest_write wanted = {true, PORT, 4, value};
    struct guest_write got = ring_take(ring);
    check_same(&got, &wanted, 0);
}
