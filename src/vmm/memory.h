/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Guest memory of a PC: RAM, which is private, as only that gets huge pages by default; the firmware's ROM at the end
 * of 4 GiB; and the 256 KiB below 1 MiB whose 13 segments the host bridge's PAM registers turn to RAM or ROM.
 */
#ifndef VMM_MEMORY_H
#define VMM_MEMORY_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MEMORY_LOW_LIMIT    0xc0000000u  /* RAM below 4 GiB ends here at the latest, on any machine */
#define MEMORY_HIGH         0x100000000u /* RAM that has no place below the BARs, APICs and ROM begins here */
#define MEMORY_VGA          0xa0000u     /* RAM ends here; up to MEMORY_PAM_START: the display, not there */
#define MEMORY_PAM_START    0xc0000u
#define MEMORY_PAM_SEGMENTS 13u
#define MEMORY_HUGE_PAGE    0x200000u /* of RAM in huge pages */

/* What reads and writes of a PAM segment reach; the bits of i440fx's enum pam_mode. */
#define MEMORY_PAM_READ  1u
#define MEMORY_PAM_WRITE 2u

struct memory {
    int vm_fd;
    uint8_t *ram; /* all of it; guest address 0 first, what lies above 4 GiB behind it */
    uint64_t size, low_size, high_size;
    uint8_t *rom; /* the firmware image; NULL and 0: there is none, and ones are read where it would be */
    uint64_t rom_size;
    uint8_t *flash; /* below the image; NULL: none. The caller's */
    uint64_t flash_size;
    bool flash_shown; /* its slot is there */
    uint8_t *window;  /* 256 KiB: what the PCI side shows at 0xC0000: ones, and the image's last 128 KiB at 0xE0000 */
    pthread_mutex_t pam_lock;
    uint8_t pam[MEMORY_PAM_SEGMENTS]; /* under pam_lock: modes in force */
    unsigned pam_slots;               /* under pam_lock: memory slots that they take */
};

/*
 * memory_create - makes RAM and ROM and gives them to KVM. Takes `rom` (from mmap, rom_size bytes) over; NULL and 0: no
 * ROM. RAM below 4 GiB ends at `low_limit` at the latest. With `huge` RAM is pages of MEMORY_HUGE_PAGE bytes from the
 * host's pool, reserved here; `size` is then a multiple of that.
 * Returns 0 or -errno: -ENOMEM when the host, or the pool, does not have that much.
 */
int memory_create(struct memory *memory, int vm_fd, uint64_t size, uint64_t low_limit, bool huge, uint8_t *rom,
                  uint64_t rom_size);
/* Has the host give all of RAM now, not at the guest's first access. What is in it stays. 0 or -errno. */
int memory_prefault(const struct memory *memory);
void memory_destroy(struct memory *memory);

/* Copies to or from RAM. 0, or -EFAULT when any byte of it is not RAM. Any thread. */
int memory_read(const struct memory *memory, uint64_t gpa, void *buf, size_t len);
int memory_write(const struct memory *memory, uint64_t gpa, const void *buf, size_t len);

/* memory_add_flash - there is a flash of `size` bytes right below the image, and the guest reads its contents.
 * memory_show_flash - whether it does: if not, reads of it exit, as writes always do. Nothing is done when it is so
 * already. 0 or -errno. One thread at a time. */
int memory_add_flash(struct memory *memory, uint8_t *flash, uint64_t size);
int memory_show_flash(struct memory *memory, bool shown);
/* Where [gpa, gpa + len) is in our memory, for as long as `memory` lives; NULL when any byte of it is not RAM. */
void *memory_map(const struct memory *memory, uint64_t gpa, size_t len);

/* Applies the 13 segments' modes. A segment whose mode changes is absent for some microseconds; a vCPU that runs there
 * meanwhile gets a KVM_EXIT_MMIO, which memory_window_access() answers. 0 or -errno. */
int memory_set_pam(struct memory *memory, const uint8_t modes[MEMORY_PAM_SEGMENTS]);

/*
 * memory_window_access - an exit for memory that a PAM segment governs: a write that the ROM must not take, or that RAM
 * under a ROM takes. Returns 0 when it was handled, -ENOENT when the address is none of these.
 */
int memory_window_access(struct memory *memory, uint64_t gpa, uint8_t *data, unsigned len, int is_write);

#endif
