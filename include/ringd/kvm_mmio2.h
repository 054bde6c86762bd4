/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The kernel interface of per-device coalesced rings ("MMIO2"), as in the third posting of the upstream series
 * (2024-08-20). It was never merged, so no distribution's <linux/kvm.h> has it, and the numbers are not reserved: other
 * kernels may give them another meaning. Believe ringd_probe(), which creates, maps, registers, writes and polls, and
 * never the capability alone.
 */
#ifndef RINGD_KVM_MMIO2_H
#define RINGD_KVM_MMIO2_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define RINGD_KVM_CAP_COALESCED_MMIO2 239

/* Bits of the capability's value. A kernel with the posting alone answers 1; kmod/ of this project adds the others. */
#define RINGD_KVM_MMIO2_POSTED      (1 << 0)
#define RINGD_KVM_MMIO2_SHARED_RING (1 << 1) /* many mappings show one ring, which lives as long as fd or mapping */
#define RINGD_KVM_MMIO2_HUP         (1 << 2) /* poll() reports POLLHUP when the VM is gone */
#define RINGD_KVM_MMIO2_UNREG_FD    (1 << 3) /* UNREGISTER2 removes only zones of buffer_fd, if that is a buffer */
#define RINGD_KVM_MMIO2_EXCLUSIVE   (1 << 4) /* REGISTER2 refuses (EEXIST) to overlap another buffer's zone */
#define RINGD_KVM_MMIO2_STRICT      (1 << 5) /* any order of close; no harm by fork, mremap, munmap; strict mmap() */

struct ringd_kvm_coalesced_mmio_zone2 {
    __u64 addr;
    __u32 size; /* bytes */
    union {
        __u32 pad;
        __u32 pio; /* 1: ports, 0: memory; anything else is EINVAL */
    };
    __u32 buffer_fd; /* from RINGD_KVM_CREATE_COALESCED_MMIO_BUFFER, mapped before it is registered (else ENOBUFS) */
};

/* On a VM fd; no argument. Returns a buffer fd: mmap() it (one page, MAP_SHARED, offset 0), poll() it for POLLIN. */
#define RINGD_KVM_CREATE_COALESCED_MMIO_BUFFER _IO(0xAE, 0xd6)
#define RINGD_KVM_REGISTER_COALESCED_MMIO2     _IOW(0xAE, 0xd7, struct ringd_kvm_coalesced_mmio_zone2)
#define RINGD_KVM_UNREGISTER_COALESCED_MMIO2   _IOW(0xAE, 0xd8, struct ringd_kvm_coalesced_mmio_zone2)

#ifndef __cplusplus
_Static_assert(sizeof(struct ringd_kvm_coalesced_mmio_zone2) == 24, "the ioctl number holds this size");
_Static_assert(RINGD_KVM_REGISTER_COALESCED_MMIO2 == 0x4018AED7u, "as posted");
_Static_assert(RINGD_KVM_UNREGISTER_COALESCED_MMIO2 == 0x4018AED8u, "as posted");
#endif
#endif
