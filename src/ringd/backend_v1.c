/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Coalesced I/O, first version: one ring for the VM, one page of any vCPU's mapping, no notification. Ports since Linux
 * 4.20 (KVM_CAP_COALESCED_PIO); before 6.12 KVM may call the ring full at 85 entries, which is an early exit and legal.
 */
#include "ringd/backend.h"

#include <errno.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

static int v1_ring_create(int vm_fd, int vcpu_fd, struct backend_ring *out)
{
    /* The capability's value is the ring's page in the vCPU's mapping (Documentation/virt/kvm/api.rst,
     * KVM_(UN)REGISTER_COALESCED_MMIO). */
    int page = ioctl(vm_fd, KVM_CHECK_EXTENSION, KVM_CAP_COALESCED_MMIO);
    if (page < 0)
        return -errno;
    if (page == 0 || ioctl(vm_fd, KVM_CHECK_EXTENSION, KVM_CAP_COALESCED_PIO) <= 0)
        return -ENOTSUP;
    void *map = mmap(NULL, RINGD_RING_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu_fd,
                     (off_t)page * (off_t)RINGD_RING_BYTES);
    if (map == MAP_FAILED)
        return -errno;
    /* The kernel's ring must not be reached by a forked child through our mapping. */
    (void)madvise(map, RINGD_RING_BYTES, MADV_DONTFORK);
    *out = (struct backend_ring){.page = map, .fd = -1, .memfd = -1};
    return 0;
}

static void v1_ring_destroy(struct backend_ring *ring)
{
    munmap(ring->page, RINGD_RING_BYTES);
}

static struct kvm_coalesced_mmio_zone v1_zone(const struct backend_zone *zone)
{
    return (struct kvm_coalesced_mmio_zone){.addr = zone->addr, .size = zone->size, .pio = zone->pio};
}

static int v1_zone_add(int vm_fd, const struct backend_ring *ring, const struct backend_zone *zone)
{
    (void)ring;
    struct kvm_coalesced_mmio_zone kvm_zone = v1_zone(zone);
    return ioctl(vm_fd, KVM_REGISTER_COALESCED_MMIO, &kvm_zone) < 0 ? -errno : 0;
}

static void v1_zone_remove(int vm_fd, const struct backend_ring *ring, const struct backend_zone *zone)
{
    (void)ring;
    struct kvm_coalesced_mmio_zone kvm_zone = v1_zone(zone);
    (void)ioctl(vm_fd, KVM_UNREGISTER_COALESCED_MMIO, &kvm_zone); /* fails only for a zone that is not there */
}

const struct backend_ops backend_v1 = {
    .kind = RINGD_BACKEND_V1,
    .shared = true,
    .ring_create = v1_ring_create,
    .ring_destroy = v1_ring_destroy,
    .zone_add = v1_zone_add,
    .zone_remove = v1_zone_remove,
};
