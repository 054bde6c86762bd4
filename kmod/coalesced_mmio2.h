/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Coalesced I/O with one ring per buffer fd ("MMIO2"): the interface of the
 * third posting of the upstream series (2024-08-20), which was never merged.
 * kvm_main.c needs the three functions and the capability's value; nothing in
 * here changes a type of <linux/kvm_host.h>.
 */
#ifndef __KVM_COALESCED_MMIO2_H__
#define __KVM_COALESCED_MMIO2_H__

#include <linux/ioctl.h>
#include <linux/kvm.h>
#include <linux/types.h>

#define KVM_CAP_COALESCED_MMIO2 239

struct kvm_coalesced_mmio_zone2 {
	__u64 addr;
	__u32 size;
	union {
		__u32 pad;
		__u32 pio;
	};
	__u32 buffer_fd;
};

#define KVM_CREATE_COALESCED_MMIO_BUFFER _IO(KVMIO, 0xd6)
#define KVM_REGISTER_COALESCED_MMIO2 \
	_IOW(KVMIO, 0xd7, struct kvm_coalesced_mmio_zone2)
#define KVM_UNREGISTER_COALESCED_MMIO2 \
	_IOW(KVMIO, 0xd8, struct kvm_coalesced_mmio_zone2)

/*
 * What KVM_CHECK_EXTENSION(KVM_CAP_COALESCED_MMIO2) returns, bit by bit. An
 * implementation of the posting alone returns 1.
 */
/* The interface as posted. */
#define KVM_COALESCED_MMIO2_POSTED	(1 << 0)
/*
 * Any number of mappings of one buffer, in any process, show one ring. It
 * lives, and KVM records into it, for as long as the fd or a mapping is open.
 */
#define KVM_COALESCED_MMIO2_SHARED_RING	(1 << 1)
/* poll() reports EPOLLHUP when the VM is gone. */
#define KVM_COALESCED_MMIO2_HUP		(1 << 2)
/* UNREGISTER2 removes only zones of buffer_fd if that is a buffer of this VM. */
#define KVM_COALESCED_MMIO2_UNREG_FD	(1 << 3)
/* REGISTER2 refuses (EEXIST) a zone that overlaps another buffer's. */
#define KVM_COALESCED_MMIO2_EXCLUSIVE	(1 << 4)
/*
 * VM and buffers may be closed in any order; fork, mremap and munmap do the
 * ring no harm; REGISTER2 refuses (EINVAL) another VM's buffer and mmap()
 * refuses (EINVAL) what is not one shared page at offset 0.
 */
#define KVM_COALESCED_MMIO2_STRICT	(1 << 5)

#define KVM_COALESCED_MMIO2_CAPS					 \
	(KVM_COALESCED_MMIO2_POSTED | KVM_COALESCED_MMIO2_SHARED_RING |	 \
	 KVM_COALESCED_MMIO2_HUP | KVM_COALESCED_MMIO2_UNREG_FD |	 \
	 KVM_COALESCED_MMIO2_EXCLUSIVE | KVM_COALESCED_MMIO2_STRICT)

struct kvm;

/*
 * The three ioctls of a VM fd. Returns -ENOIOCTLCMD for any other. The caller
 * holds a reference on the VM and none of its locks.
 */
long kvm_mmio2_vm_ioctl(struct kvm *kvm, unsigned int ioctl, unsigned long arg);

/*
 * The VM's last reference is gone and none of its buses has been destroyed
 * yet: cuts the buffers off it and hangs their fds up. Sleeps.
 */
void kvm_mmio2_vm_gone(struct kvm *kvm);

#endif
