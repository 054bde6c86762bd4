/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * MMIO2: a ring per device from KVM, with poll(). Written against the third posting, whose faults are stepped around:
 * the ring is mapped once, shared, whole, and before its zones are registered; it is left out of any child; its zones
 * go before its mapping, its mapping before its fd, its fd before the VM.
 */
#include "ringd/backend.h"

#include <errno.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <ringd/kvm_mmio2.h>

static int mmio2_ring_create(int vm_fd, int vcpu_fd, struct backend_ring *out)
{
    (void)vcpu_fd;
    int fd = ioctl(vm_fd, RINGD_KVM_CREATE_COALESCED_MMIO_BUFFER, 0);
    if (fd < 0)
        return errno == ENOTTY ? -ENOTSUP : -errno;
    void *map = mmap(NULL, RINGD_RING_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED) {
        int error = errno;
        close(fd);
        return -error;
    }
    (void)madvise(map, RINGD_RING_BYTES, MADV_DONTFORK);
    *out = (struct backend_ring){.page = map, .fd = fd, .memfd = -1};
    return 0;
}

static void mmio2_ring_destroy(struct backend_ring *ring)
{
    munmap(ring->page, RINGD_RING_BYTES);
    close(ring->fd);
}

static struct ringd_kvm_coalesced_mmio_zone2 mmio2_zone(const struct backend_ring *ring,
                                                        const struct backend_zone *zone)
{
    return (struct ringd_kvm_coalesced_mmio_zone2){
        .addr = zone->addr, .size = zone->size, .pio = zone->pio, .buffer_fd = (__u32)ring->fd};
}

static int mmio2_zone_add(int vm_fd, const struct backend_ring *ring, const struct backend_zone *zone)
{
    struct ringd_kvm_coalesced_mmio_zone2 kvm_zone = mmio2_zone(ring, zone);
    return ioctl(vm_fd, RINGD_KVM_REGISTER_COALESCED_MMIO2, &kvm_zone) < 0 ? -errno : 0;
}

static void mmio2_zone_remove(int vm_fd, const struct backend_ring *ring, const struct backend_zone *zone)
{
    /* The posted kernel ignores buffer_fd and removes every zone that contains the range; ringd_map() refuses
     * overlapping zones, so that is this one. */
    struct ringd_kvm_coalesced_mmio_zone2 kvm_zone = mmio2_zone(ring, zone);
    (void)ioctl(vm_fd, RINGD_KVM_UNREGISTER_COALESCED_MMIO2, &kvm_zone);
}

const struct backend_ops backend_mmio2 = {
    .kind = RINGD_BACKEND_MMIO2,
    .ring_create = mmio2_ring_create,
    .ring_destroy = mmio2_ring_destroy,
    .zone_add = mmio2_zone_add,
    .zone_remove = mmio2_zone_remove,
};
