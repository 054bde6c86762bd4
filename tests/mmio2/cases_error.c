/* SPDX-License-Identifier: BSD-2-Clause */
/* What each call refuses, with which error, and which error comes first when several things are wrong. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/capability.h>

#include "device.h"
#include "suite.h"

#define NOT_OPEN 900 /* a descriptor that no case has open; below the usual limit of 1024 */

/* What kmod/README.md promises: the posted interface and five extras. */
static void capability(void)
{
    const int all = RINGD_KVM_MMIO2_POSTED | RINGD_KVM_MMIO2_SHARED_RING | RINGD_KVM_MMIO2_HUP |
                    RINGD_KVM_MMIO2_UNREG_FD | RINGD_KVM_MMIO2_EXCLUSIVE | RINGD_KVM_MMIO2_STRICT;
    struct guest guest;
    guest_create(&guest, 1);
    CHECK_EQ(ioctl(guest.kvm, KVM_CHECK_EXTENSION, RINGD_KVM_CAP_COALESCED_MMIO2), all);
    CHECK_EQ(ioctl(guest.vm, KVM_CHECK_EXTENSION, RINGD_KVM_CAP_COALESCED_MMIO2), all);
    CHECK_EQ(all, 63);
    guest_destroy(&guest);
}

/* ---- CREATE ---- */

static void create(void)
{
    struct guest guest;
    int fds[64];
    char byte = 0;
    guest_create(&guest, 1);
    int fd = mmio2_create(guest.vm);
    CHECK(fd >= 0);
    CHECK_EQ(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    CHECK_EQ(fcntl(fd, F_GETFL) & O_ACCMODE, O_RDWR);
    CHECK(read(fd, &byte, 1) < 0 && errno == EINVAL);
    CHECK(write(fd, &byte, 1) < 0 && errno == EINVAL);
    CHECK(ioctl(fd, RINGD_KVM_CREATE_COALESCED_MMIO_BUFFER, 0) < 0 && errno == ENOTTY);
    for (unsigned i = 0; i < 64; i++) {
        fds[i] = mmio2_create(guest.vm);
        CHECK(fds[i] >= 0 && fds[i] != fd);
    }
    for (unsigned i = 0; i < 64; i++)
        CHECK_EQ(close(fds[(i * 37) % 64]), 0);
    CHECK_EQ(close(fd), 0);
    /* Other KVM descriptors do not know the call. */
    CHECK(ioctl(guest.kvm, RINGD_KVM_CREATE_COALESCED_MMIO_BUFFER, 0) < 0);
    CHECK(ioctl(guest.vcpus[0].fd, RINGD_KVM_CREATE_COALESCED_MMIO_BUFFER, 0) < 0);
    guest_destroy(&guest);
}

static void create_emfile(void)
{
    struct guest guest;
    struct rlimit old, limit;
    guest_create(&guest, 1);
    int next = dup(0);
    CHECK_EQ(close(next), 0);
    CHECK_EQ(getrlimit(RLIMIT_NOFILE, &old), 0);
    limit = (struct rlimit){.rlim_cur = (rlim_t)next, .rlim_max = old.rlim_max};
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
    for (unsigned i = 0; i < 100; i++)
        CHECK_EQ(mmio2_create(guest.vm), -EMFILE);
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &old), 0);
    int fd = mmio2_create(guest.vm);
    CHECK_EQ(fd, next);
    CHECK_EQ(close(fd), 0);
    guest_destroy(&guest);
}

/* Takes CAP_SYS_ADMIN from this thread for a while: with it there is no limit on the system's files. */
static void set_admin(bool on)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];
    CHECK_EQ(syscall(SYS_capget, &header, data), 0);
    data[0].effective = (data[0].effective & ~(1u << CAP_SYS_ADMIN)) | (on ? 1u << CAP_SYS_ADMIN : 0);
    CHECK_EQ(syscall(SYS_capset, &header, data), 0);
}

/* The system's limit is down for one call only, and no check that could end this process stands within. */
static void create_enfile(void)
{
    struct guest guest;
    char old[32];
    int limit = open("/proc/sys/fs/file-max", O_RDWR | O_CLOEXEC);
    ssize_t length = limit < 0 ? -1 : read(limit, old, sizeof(old));
    if (length <= 0)
        suite_skip("/proc/sys/fs/file-max: %s", strerror(errno));
    guest_create(&guest, 1);
    int next = dup(0);
    CHECK_EQ(close(next), 0);
    set_admin(false);
    ssize_t lowered = pwrite(limit, "1\n", 2, 0);
    int fd = mmio2_create(guest.vm);
    ssize_t restored = pwrite(limit, old, (size_t)length, 0);
    set_admin(true);
    CHECK_EQ(lowered, 2);
    CHECK_EQ(restored, length);
    CHECK_EQ(fd, -ENFILE);
    fd = mmio2_create(guest.vm);
    CHECK_EQ(fd, next); /* the number that was set aside has been given back */
    CHECK_EQ(close(fd) | close(limit), 0);
    guest_destroy(&guest);
}

/* ---- mmap ---- */

struct bare {
    struct guest guest;
    int fd;
};

static void bare_open(struct bare *bare)
{
    guest_create(&bare->guest, 1);
    bare->fd = mmio2_create(bare->guest.vm);
    CHECK(bare->fd >= 0);
}

static void bare_close(struct bare *bare)
{
    CHECK_EQ(close(bare->fd), 0);
    guest_destroy(&bare->guest);
}

#define READ_WRITE (PROT_READ | PROT_WRITE)

static void check_refused_map(int fd, size_t length, int protection, int flags, off_t offset, int wanted)
{
    int error;
    void *map = mmio2_map(fd, length, protection, flags, offset, &error);
    CHECK_EQ(error, wanted);
    CHECK(map == NULL);
}

static void mmap_private(void)
{
    struct bare b;
    bare_open(&b);
    check_refused_map(b.fd, RING_BYTES, READ_WRITE, MAP_PRIVATE, 0, -EINVAL);
    check_refused_map(b.fd, RING_BYTES, PROT_READ, MAP_PRIVATE, 0, -EINVAL);
    check_refused_map(b.fd, RING_BYTES, READ_WRITE | PROT_EXEC, MAP_PRIVATE, 0, -EINVAL);
    /* A refused mapping is none. */
    CHECK_EQ(mmio2_register(b.guest.vm, b.fd, true, PORT, 4), -ENOBUFS);
    bare_close(&b);
}

static void mmap_length(void)
{
    struct bare b;
    bare_open(&b);
    check_refused_map(b.fd, 2 * RING_BYTES, READ_WRITE, MAP_SHARED, 0, -EINVAL);
    check_refused_map(b.fd, RING_BYTES + 1, READ_WRITE, MAP_SHARED, 0, -EINVAL);
    check_refused_map(b.fd, 64 * RING_BYTES, READ_WRITE, MAP_SHARED, 0, -EINVAL);
    check_refused_map(b.fd, 2 * RING_BYTES, READ_WRITE | PROT_EXEC, MAP_SHARED, 0, -EINVAL);
    check_refused_map(b.fd, 0, READ_WRITE, MAP_SHARED, 0, -EINVAL);
    CHECK_EQ(mmio2_register(b.guest.vm, b.fd, true, PORT, 4), -ENOBUFS);
    /* What is less than a page is a page. */
    int error;
    void *map = mmio2_map(b.fd, 100, READ_WRITE, MAP_SHARED, 0, &error);
    CHECK_EQ(error, 0);
    CHECK_EQ(munmap(map, 100), 0);
    bare_close(&b);
}

static void mmap_offset(void)
{
    static const off_t offsets[] = {RING_BYTES, 16 * RING_BYTES, (off_t)1 << 40};
    struct bare b;
    bare_open(&b);
    for (unsigned i = 0; i < sizeof(offsets) / sizeof(offsets[0]); i++)
        check_refused_map(b.fd, RING_BYTES, READ_WRITE, MAP_SHARED, offsets[i], -EINVAL);
    CHECK_EQ(mmio2_register(b.guest.vm, b.fd, true, PORT, 4), -ENOBUFS);
    bare_close(&b);
}

static void mmap_protection(void)
{
    struct bare b;
    int error;
    bare_open(&b);
    check_refused_map(b.fd, RING_BYTES, READ_WRITE | PROT_EXEC, MAP_SHARED, 0, -EPERM);
    check_refused_map(b.fd, RING_BYTES, PROT_EXEC, MAP_SHARED, 0, -EPERM);
    CHECK_EQ(mmio2_register(b.guest.vm, b.fd, true, PORT, 4), -ENOBUFS);
    /* Reading alone is allowed, and shows the ring; being made executable later is not. */
    struct kvm_coalesced_mmio_ring *ring = mmio2_map(b.fd, RING_BYTES, PROT_READ, MAP_SHARED, 0, &error);
    CHECK_EQ(error, 0);
    CHECK(mprotect(ring, RING_BYTES, PROT_READ | PROT_EXEC) < 0 && errno == EACCES);
    CHECK_EQ(mmio2_register(b.guest.vm, b.fd, true, PORT, 4), 0);
    write_port(&b.guest, 1);
    CHECK_EQ(ring_held(ring), 1);
    CHECK_EQ(mprotect(ring, RING_BYTES, READ_WRITE), 0);
    check_holds(ring, 1);
    ring_unmap(ring);
    bare_close(&b);
}

/* ---- REGISTER2 and UNREGISTER2 ---- */

static int call(int vm, unsigned long request, const void *zone)
{
    return ioctl(vm, request, zone) ? -errno : 0;
}

/* Bad pointers: none at all, not mapped, and a struct whose last byte is behind the end of what is mapped. */
static void check_efault(int vm, unsigned long request)
{
    uint8_t *pages = mmap(NULL, 2 * RING_BYTES, READ_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    const size_t size = sizeof(struct ringd_kvm_coalesced_mmio_zone2);
    CHECK(pages != MAP_FAILED);
    CHECK_EQ(munmap(pages + RING_BYTES, RING_BYTES), 0);
    memset(pages, 0xff, RING_BYTES); /* pio and buffer_fd would be wrong as well: EFAULT comes first */
    CHECK_EQ(call(vm, request, NULL), -EFAULT);
    CHECK_EQ(call(vm, request, pages + RING_BYTES), -EFAULT);
    CHECK_EQ(call(vm, request, pages + RING_BYTES - size + 1), -EFAULT);
    CHECK_EQ(call(vm, request, pages + RING_BYTES - size), -EINVAL);
    CHECK_EQ(munmap(pages, RING_BYTES), 0);
}

/* pio other than 0 and 1, with a good buffer, a wrong one and none. */
static void check_einval_pio(int vm, unsigned long request, int fd)
{
    static const uint32_t values[] = {2, 3, 0x100, 0x80000000, 0xffffffff};
    const int fds[] = {fd, NOT_OPEN, vm, -1};
    for (unsigned v = 0; v < sizeof(values) / sizeof(values[0]); v++) {
        for (unsigned i = 0; i < sizeof(fds) / sizeof(fds[0]); i++) {
            struct ringd_kvm_coalesced_mmio_zone2 zone = {
                .addr = PORT, .size = 4, .pio = values[v], .buffer_fd = (uint32_t)fds[i]};
            CHECK_EQ(call(vm, request, &zone), -EINVAL);
        }
    }
}

/* Step by step through the documented order: at each step all later things are wrong too, where that is possible. */
static void register_order(void)
{
    struct bare b;
    bare_open(&b);
    int other_files[] = {b.guest.vm, b.guest.kvm, b.guest.vcpus[0].fd, eventfd(0, 0), open("/dev/null", O_RDWR)};
    check_efault(b.guest.vm, RINGD_KVM_REGISTER_COALESCED_MMIO2);
    check_einval_pio(b.guest.vm, RINGD_KVM_REGISTER_COALESCED_MMIO2, b.fd);
    CHECK_EQ(mmio2_register(b.guest.vm, NOT_OPEN, true, PORT, 4), -EBADF);
    CHECK_EQ(mmio2_register(b.guest.vm, -1, false, ADDR, 4), -EBADF);
    CHECK_EQ(mmio2_register(b.guest.vm, 0x7fffffff, false, ADDR, 4), -EBADF);
    for (unsigned i = 0; i < sizeof(other_files) / sizeof(other_files[0]); i++)
        CHECK_EQ(mmio2_register(b.guest.vm, other_files[i], true, PORT, 4), -EINVAL);
    int path = open("/dev/null", O_PATH); /* no file that a call may use */
    CHECK_EQ(mmio2_register(b.guest.vm, path, true, PORT, 4), -EBADF);
    CHECK_EQ(mmio2_register(b.guest.vm, b.fd, true, PORT, 4), -ENOBUFS);
    struct kvm_coalesced_mmio_ring *ring = ring_map(b.fd);
    CHECK_EQ(mmio2_register(b.guest.vm, b.fd, true, PORT, 4), 0);
    check_recorded(&b.guest, ring, true, 1);
    CHECK_EQ(close(b.fd), 0);
    CHECK_EQ(mmio2_register(b.guest.vm, b.fd, true, PORT2, 4), -EBADF);
    ring_unmap(ring);
    guest_destroy(&b.guest);
}

static void register_unmapped(void)
{
    struct bare b;
    bare_open(&b);
    CHECK_EQ(mmio2_register(b.guest.vm, b.fd, true, PORT, 4), -ENOBUFS);
    CHECK_EQ(mmio2_register(b.guest.vm, b.fd, false, ADDR, 4), -ENOBUFS);
    check_exits(&b.guest, true, 1);
    /* ENOBUFS comes before EEXIST. */
    struct buffer holder;
    buffer_open(&holder, b.guest.vm);
    CHECK_EQ(mmio2_register(b.guest.vm, holder.fd, true, PORT, 4), 0);
    CHECK_EQ(mmio2_register(b.guest.vm, b.fd, true, PORT, 4), -ENOBUFS);
    struct kvm_coalesced_mmio_ring *ring = ring_map(b.fd);
    CHECK_EQ(mmio2_register(b.guest.vm, b.fd, true, PORT, 4), -EEXIST);
    ring_unmap(ring);
    buffer_close(&holder);
    bare_close(&b);
}

/* A buffer of another VM: mapped, and not mapped (which would be ENOBUFS, later in the order). */
static void register_foreign(void)
{
    struct guest mine, other;
    struct buffer buffer;
    guest_create(&mine, 1);
    guest_create(&other, 1);
    int unmapped = mmio2_create(other.vm);
    buffer_open(&buffer, other.vm);
    CHECK_EQ(mmio2_register(mine.vm, unmapped, true, PORT, 4), -EINVAL);
    CHECK_EQ(mmio2_register(mine.vm, buffer.fd, true, PORT, 4), -EINVAL);
    CHECK_EQ(mmio2_register(mine.vm, buffer.fd, false, ADDR, 4), -EINVAL);
    check_exits(&mine, true, 1);
    CHECK_EQ(ring_held(buffer.ring), 0);
    CHECK_EQ(mmio2_register(other.vm, buffer.fd, true, PORT, 4), 0);
    check_recorded(&other, buffer.ring, true, 2);
    check_exits(&mine, true, 3);
    CHECK_EQ(close(unmapped), 0);
    buffer_close(&buffer);
    guest_destroy(&other);
    guest_destroy(&mine);
}

/* A buffer whose VM is gone belongs to none, also to none that got the old one's place in memory. */
static void register_gone(void)
{
    struct device dead;
    device_open(&dead);
    device_close_vm(&dead);
    for (unsigned i = 0; i < 10; i++) {
        struct guest guest;
        guest_create(&guest, 1);
        CHECK_EQ(mmio2_register(guest.vm, dead.buffer.fd, true, PORT, 4), -EINVAL);
        CHECK_EQ(mmio2_unregister(guest.vm, (uint32_t)dead.buffer.fd, true, PORT, 4), 0);
        check_exits(&guest, true, i);
        guest_destroy(&guest);
    }
    CHECK_EQ(ring_held(dead.buffer.ring), 0);
    device_close(&dead);
}

static void unregister_order(void)
{
    struct bare b;
    bare_open(&b);
    const int fds[] = {b.fd, b.guest.vm, NOT_OPEN, -1};
    for (unsigned pass = 0; pass < 2; pass++) { /* before the ring is mapped, and after */
        check_efault(b.guest.vm, RINGD_KVM_UNREGISTER_COALESCED_MMIO2);
        check_einval_pio(b.guest.vm, RINGD_KVM_UNREGISTER_COALESCED_MMIO2, b.fd);
        for (unsigned i = 0; i < sizeof(fds) / sizeof(fds[0]); i++) {
            CHECK_EQ(mmio2_unregister(b.guest.vm, (uint32_t)fds[i], true, PORT, 4), 0);
            CHECK_EQ(mmio2_unregister(b.guest.vm, (uint32_t)fds[i], false, ADDR, 0), 0);
        }
        if (pass == 0)
            ring_unmap(ring_map(b.fd));
    }
    bare_close(&b);

    struct guest without;
    guest_create(&without, 1); /* a VM that never had a buffer */
    check_efault(without.vm, RINGD_KVM_UNREGISTER_COALESCED_MMIO2);
    CHECK_EQ(mmio2_unregister(without.vm, NOBODY, true, PORT, 4), 0);
    guest_destroy(&without);
}

/* ---- a bus holds 1,000 devices ---- */

#define BUS_DEVICES 1000u /* NR_IOBUS_DEVS of Linux's include/linux/kvm_host.h */

static uint64_t zone_place(bool pio, unsigned i)
{
    return pio ? 0x1000 + i * 4 : GUEST_MMIO + i * 4;
}

/* 1,000 zones of two buffers, and one more; a taken place is EEXIST even then. */
static void enospc_on(bool pio)
{
    struct guest guest;
    struct buffer buffers[2];
    struct guest_write list[BUS_DEVICES / 10];
    const int64_t start = suite_now();
    guest_create(&guest, 1);
    buffer_open(&buffers[0], guest.vm);
    buffer_open(&buffers[1], guest.vm);
    for (unsigned i = 0; i < BUS_DEVICES; i++) {
        suite_context("zone %u", i);
        CHECK_EQ(mmio2_register(guest.vm, buffers[i % 2].fd, pio, zone_place(pio, i), 4), 0);
    }
    suite_note("%lld ms for the zones", (long long)(suite_now() - start));
    CHECK_EQ(mmio2_register(guest.vm, buffers[0].fd, pio, zone_place(pio, BUS_DEVICES), 4), -ENOSPC);
    CHECK_EQ(mmio2_register(guest.vm, buffers[0].fd, pio, zone_place(pio, 1), 4), -EEXIST);
    CHECK_EQ(mmio2_register(guest.vm, buffers[1].fd, !pio, zone_place(!pio, 0), 4), 0);

    for (unsigned i = 0; i < BUS_DEVICES / 10; i++) /* the even ones, so all are buffer 0's */
        list[i] = (struct guest_write){pio, zone_place(pio, i * 10), 4, i};
    CHECK_EQ(run_list(&guest, buffers[0].ring, list, BUS_DEVICES / 10).exits, 0);
    CHECK_EQ(ring_held(buffers[1].ring), 0);
    const struct guest_write beyond = {pio, zone_place(pio, BUS_DEVICES), 4, 1};
    run_expecting(&guest, buffers[0].ring, &beyond, "x");

    CHECK_EQ(mmio2_unregister(guest.vm, NOBODY, pio, zone_place(pio, 500), 4), 0);
    CHECK_EQ(mmio2_register(guest.vm, buffers[0].fd, pio, zone_place(pio, BUS_DEVICES), 4), 0);
    CHECK_EQ(mmio2_register(guest.vm, buffers[0].fd, pio, zone_place(pio, 500), 4), -ENOSPC);
    run_expecting(&guest, buffers[0].ring, &beyond, "r");
    buffer_close(&buffers[1]); /* takes 500 zones along */
    CHECK_EQ(mmio2_register(guest.vm, buffers[0].fd, pio, zone_place(pio, 501), 4), 0);
    buffer_close(&buffers[0]);
    guest_destroy(&guest);
}

static void enospc_pio(void)
{
    enospc_on(true);
}

static void enospc_mmio(void)
{
    enospc_on(false);
}

const struct suite_case cases_error[] = {
    {"error/capability", capability, 0},
    {"error/create", create, 0},
    {"error/create-emfile", create_emfile, 0},
    {"error/create-enfile", create_enfile, 0},
    {"error/mmap-private", mmap_private, 0},
    {"error/mmap-length", mmap_length, 0},
    {"error/mmap-offset", mmap_offset, 0},
    {"error/mmap-protection", mmap_protection, 0},
    {"error/register-order", register_order, 0},
    {"error/register-unmapped", register_unmapped, 0},
    {"error/register-foreign", register_foreign, 0},
    {"error/register-gone", register_gone, 0},
    {"error/unregister-order", unregister_order, 0},
    {"error/enospc-pio", enospc_pio, 60},
    {"error/enospc-mmio", enospc_mmio, 60},
    {NULL, NULL, 0},
};
