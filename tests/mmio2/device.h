/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the cases are made of: buffers by bare ioctl(), and lists of guest writes whose way is followed. Nothing here
 * goes through libringd. All functions check what they do with CHECK(); `vm` is a VM fd.
 */
#ifndef TESTS_MMIO2_DEVICE_H
#define TESTS_MMIO2_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <linux/kvm.h>
#include <ringd/kvm_mmio2.h>

#include "../kvm/guest.h"

#define RING_BYTES 4096u
/* (4096 - 8) / 24: KVM_COALESCED_MMIO_MAX needs the kernel's PAGE_SIZE. */
#define SLOTS  170u
#define USABLE (SLOTS - 1)
#define NOBODY 0xffffffffu /* a buffer_fd that is none */

#define PORT  0x80u
#define PORT2 0x90u
#define ADDR  (GUEST_MMIO + 0x40u)
#define ADDR2 (GUEST_MMIO + 0x80u)

struct buffer {
    int fd;
    struct kvm_coalesced_mmio_ring *ring;
};

/* ---- calls; each returns what the kernel does, with -errno for an error ---- */

int mmio2_create(int vm);
int mmio2_register(int vm, int fd, bool pio, uint64_t addr, uint32_t size);
int mmio2_unregister(int vm, uint32_t fd, bool pio, uint64_t addr, uint32_t size);
/* mmap() of `length` bytes. NULL with -errno in *error. */
void *mmio2_map(int fd, size_t length, int protection, int flags, off_t offset, int *error);

/* ---- buffers ---- */

/* A ring's mapping; it has to work. */
struct kvm_coalesced_mmio_ring *ring_map(int fd);
void ring_unmap(struct kvm_coalesced_mmio_ring *ring);

void buffer_open(struct buffer *buffer, int vm);
void buffer_close(struct buffer *buffer); /* the fd, then the mapping; those that are there */

/* The zones {PORT, 4} and {ADDR, 8}. */
void buffer_add_zones(const struct buffer *buffer, int vm);

uint32_t ring_held(const struct kvm_coalesced_mmio_ring *ring);
/* The oldest entry; there must be one, and a right one. */
struct guest_write ring_take(struct kvm_coalesced_mmio_ring *ring);
/* Empties the ring and lets it start at `index`. No vCPU may run. */
void ring_start_at(struct kvm_coalesced_mmio_ring *ring, uint32_t index);

/* ---- guests ---- */

/* A VM with one vCPU, a buffer and both zones. */
struct device {
    struct guest guest;
    struct buffer buffer;
};

void device_open(struct device *device);
void device_close(struct device *device); /* what is open of it: the buffer, then the VM */

/* Closes all that keeps the VM alive: its memory mapping goes too. */
void device_close_vm(struct device *device);

void check_same(const struct guest_write *got, const struct guest_write *wanted, unsigned number);

/* Loads a guest that does the writes; it is run by guest_run(). */
void load_list(struct guest *guest, unsigned vcpu, const struct guest_write *list, unsigned count);

/*
 * Runs a guest that does the writes of the list and checks that each arrives once, unchanged and in order: from the
 * ring, which is emptied at each exit, or by an exit. `ring` may be NULL: all are to be exits.
 */
struct outcome {
    unsigned recorded, exits;
    unsigned at_first_exit; /* how many entries the ring held then */
};
struct outcome run_list(struct guest *guest, struct kvm_coalesced_mmio_ring *ring, const struct guest_write *list,
                        unsigned count);

/* The same; and write n is to be recorded where how[n] is 'r', an exit where it is 'x'. */
void run_expecting(struct guest *guest, struct kvm_coalesced_mmio_ring *ring, const struct guest_write *list,
                   const char *how);

/* Four bytes to PORT or to ADDR: arrive in the ring, or come as an exit. `value` tells them apart. */
void check_recorded(struct guest *guest, struct kvm_coalesced_mmio_ring *ring, bool pio, uint32_t value);
void check_exits(struct guest *guest, bool pio, uint32_t value);

/* One write of four bytes to PORT that is left in the ring. */
void write_port(struct guest *guest, uint32_t value);
/* Takes it out again. */
void check_holds(struct kvm_coalesced_mmio_ring *ring, uint32_t value);

#endif
