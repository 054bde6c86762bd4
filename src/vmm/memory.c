/* SPDX-License-Identifier: BSD-2-Clause */
#include "vmm/memory.h"

#include <errno.h>
#include <linux/kvm.h>
#include <linux/mman.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#define WINDOW_SIZE  0x40000u
#define MEBIBYTE     0x100000u
#define SMALL_PAGE   0x1000u
#define ROM_LOW_SIZE 0x20000u /* of the image, shown below 1 MiB */

/* Memory slots: the fixed ones, then those of the PAM segments. */
enum slot { SLOT_LOW, SLOT_MAIN, SLOT_HIGH, SLOT_ROM, SLOT_FLASH, SLOT_PAM };

static int set_slot(const struct memory *memory, unsigned slot, uint64_t gpa, uint64_t size, const void *host,
                    uint32_t flags)
{
    struct kvm_userspace_memory_region region = {
        .slot = slot, .flags = flags, .guest_phys_addr = gpa, .memory_size = size, .userspace_addr = (uintptr_t)host};
    return ioctl(memory->vm_fd, KVM_SET_USER_MEMORY_REGION, &region) < 0 ? -errno : 0;
}

static uint32_t segment_start(unsigned segment)
{
    return MEMORY_PAM_START + segment * 0x4000u; /* twelve of 16 KiB; the last has the remaining 64 KiB */
}

static uint32_t segment_end(unsigned segment)
{
    return segment + 1 < MEMORY_PAM_SEGMENTS ? segment_start(segment + 1) : MEBIBYTE;
}

/* pam_lock held. One slot for each run of equal modes. RAM that is written but not read, and what is neither, shows the
 * window read-only: its writes exit, and memory_window_access() sees to them. */
static int apply_pam(struct memory *memory)
{
    for (unsigned i = 0; i < memory->pam_slots; i++)
        (void)set_slot(memory, SLOT_PAM + i, 0, 0, NULL, 0); /* KVM forbids changing a slot's flags in place */
    memory->pam_slots = 0;
    for (unsigned first = 0, next; first < MEMORY_PAM_SEGMENTS; first = next) {
        uint8_t mode = memory->pam[first];
        next = first + 1;
        while (next < MEMORY_PAM_SEGMENTS && memory->pam[next] == mode)
            next++;
        uint32_t start = segment_start(first), end = segment_end(next - 1);
        const uint8_t *host =
            mode & MEMORY_PAM_READ ? memory->ram + start : memory->window + (start - MEMORY_PAM_START);
        uint32_t flags = mode == (MEMORY_PAM_READ | MEMORY_PAM_WRITE) ? 0 : KVM_MEM_READONLY;
        int ret = set_slot(memory, SLOT_PAM + memory->pam_slots, start, end - start, host, flags);
        if (ret)
            return ret;
        memory->pam_slots++;
    }
    return 0;
}

int memory_set_pam(struct memory *memory, const uint8_t modes[MEMORY_PAM_SEGMENTS])
{
    int ret = 0;
    pthread_mutex_lock(&memory->pam_lock);
    if (memcmp(memory->pam, modes, MEMORY_PAM_SEGMENTS) != 0) {
        memcpy(memory->pam, modes, MEMORY_PAM_SEGMENTS);
        ret = apply_pam(memory);
    }
    pthread_mutex_unlock(&memory->pam_lock);
    return ret;
}

static int window_create(struct memory *memory)
{
    void *window = mmap(NULL, WINDOW_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (window == MAP_FAILED)
        return -errno;
    memory->window = window;
    uint64_t size = memory->rom_size < ROM_LOW_SIZE ? memory->rom_size : ROM_LOW_SIZE;
    memset(window, 0xff, WINDOW_SIZE - size);
    if (size)
        memcpy(memory->window + WINDOW_SIZE - size, memory->rom + memory->rom_size - size, size);
    return 0;
}

/* Address space for `size` bytes that begins with a huge page. MAP_FAILED: there is none. */
static void *reserve(uint64_t size)
{
    uint8_t *space = mmap(NULL, size + MEMORY_HUGE_PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (space == MAP_FAILED)
        return MAP_FAILED;
    uint64_t before = -(uintptr_t)space % MEMORY_HUGE_PAGE, after = MEMORY_HUGE_PAGE - before;
    if (before)
        munmap(space, before);
    if (after)
        munmap(space + before + size, after);
    return space + before;
}

/* Where the first guests live that are started and ended by the hundred: a huge page would be all of their memory, and
 * its clearing much of their time. */
#define SMALL_GUEST MEMORY_HUGE_PAGE

static int ram_create(struct memory *memory, bool huge)
{
    /* Pages of the pool are reserved, so that one that is too small shows here and not as a SIGBUS later. */
    const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | (huge ? MAP_HUGETLB | MAP_HUGE_2MB : MAP_NORESERVE);
    void *space = reserve(memory->size);
    if (space == MAP_FAILED)
        return -errno;
    memory->ram = space;
    if (mmap(space, memory->size, PROT_READ | PROT_WRITE, flags, -1, 0) == MAP_FAILED)
        return -errno;
    if (!huge && memory->size > SMALL_GUEST) {
        (void)madvise(space, SMALL_GUEST, MADV_NOHUGEPAGE); /* EINVAL: a kernel without */
        (void)madvise(memory->ram + SMALL_GUEST, memory->size - SMALL_GUEST, MADV_HUGEPAGE);
    }
    return 0;
}

int memory_prefault(const struct memory *memory)
{
    if (madvise(memory->ram, memory->size, MADV_POPULATE_WRITE) == 0)
        return 0;
    if (errno != EINVAL) /* Linux before 5.14 does not know it */
        return -errno;
    for (uint64_t at = 0; at < memory->size; at += SMALL_PAGE)
        (void)__atomic_fetch_or(&memory->ram[at], 0, __ATOMIC_RELAXED);
    return 0;
}

static int slots_create(struct memory *memory)
{
    int ret = set_slot(memory, SLOT_LOW, 0, MEMORY_VGA, memory->ram, 0);
    if (!ret && memory->low_size > MEBIBYTE)
        ret = set_slot(memory, SLOT_MAIN, MEBIBYTE, memory->low_size - MEBIBYTE, memory->ram + MEBIBYTE, 0);
    if (!ret && memory->high_size)
        ret = set_slot(memory, SLOT_HIGH, MEMORY_HIGH, memory->high_size, memory->ram + memory->low_size, 0);
    if (!ret && memory->rom_size)
        ret =
            set_slot(memory, SLOT_ROM, MEMORY_HIGH - memory->rom_size, memory->rom_size, memory->rom, KVM_MEM_READONLY);
    return ret ? ret : apply_pam(memory);
}

int memory_create(struct memory *memory, int vm_fd, uint64_t size, uint64_t low_limit, bool huge, uint8_t *rom,
                  uint64_t rom_size)
{
    memset(memory, 0, sizeof(*memory));
    pthread_mutex_init(&memory->pam_lock, NULL);
    memory->vm_fd = vm_fd;
    memory->size = size;
    memory->low_size = size < low_limit ? size : low_limit;
    memory->high_size = size - memory->low_size;
    memory->rom = rom;
    memory->rom_size = rom_size;
    int ret = ram_create(memory, huge);
    if (!ret)
        ret = window_create(memory);
    return ret ? ret : slots_create(memory);
}

int memory_show_flash(struct memory *memory, bool shown)
{
    uint64_t at = MEMORY_HIGH - memory->rom_size - memory->flash_size;
    if (shown == memory->flash_shown) /* KVM has an error for the removal of what is not there */
        return 0;
    int ret = set_slot(memory, SLOT_FLASH, at, shown ? memory->flash_size : 0, memory->flash, KVM_MEM_READONLY);
    if (!ret)
        memory->flash_shown = shown;
    return ret;
}

int memory_add_flash(struct memory *memory, uint8_t *flash, uint64_t size)
{
    memory->flash = flash;
    memory->flash_size = size;
    return memory_show_flash(memory, true);
}

void memory_destroy(struct memory *memory)
{
    if (memory->ram)
        munmap(memory->ram, memory->size);
    if (memory->rom)
        munmap(memory->rom, memory->rom_size);
    if (memory->window)
        munmap(memory->window, WINDOW_SIZE);
    pthread_mutex_destroy(&memory->pam_lock);
}

/* Where RAM for [gpa, gpa + len) is, or NULL. The display's window and the PAM segments count as RAM for DMA only where
 * RAM is; a device does not see shadowing. */
static uint8_t *ram_at(const struct memory *memory, uint64_t gpa, size_t len)
{
    if (gpa < memory->low_size)
        return len <= memory->low_size - gpa ? memory->ram + gpa : NULL;
    if (gpa >= MEMORY_HIGH && gpa - MEMORY_HIGH < memory->high_size && len <= memory->high_size - (gpa - MEMORY_HIGH))
        return memory->ram + memory->low_size + (gpa - MEMORY_HIGH);
    return NULL;
}

int memory_read(const struct memory *memory, uint64_t gpa, void *buf, size_t len)
{
    const uint8_t *ram = ram_at(memory, gpa, len);
    if (!ram)
        return -EFAULT;
    memcpy(buf, ram, len);
    return 0;
}

int memory_write(const struct memory *memory, uint64_t gpa, const void *buf, size_t len)
{
    uint8_t *ram = ram_at(memory, gpa, len);
    if (!ram)
        return -EFAULT;
    memcpy(ram, buf, len);
    return 0;
}

void *memory_map(const struct memory *memory, uint64_t gpa, size_t len)
{
    return ram_at(memory, gpa, len);
}

int memory_window_access(struct memory *memory, uint64_t gpa, uint8_t *data, unsigned len, int is_write)
{
    if (gpa >= MEMORY_HIGH - memory->rom_size && gpa < MEMORY_HIGH && len <= MEMORY_HIGH - gpa) {
        if (!is_write) /* never exits; but a slot may be on its way */
            memcpy(data, memory->rom + (gpa - (MEMORY_HIGH - memory->rom_size)), len);
        return 0;
    }
    if (gpa < MEMORY_PAM_START || gpa >= MEBIBYTE || len > MEBIBYTE - gpa)
        return -ENOENT;
    pthread_mutex_lock(&memory->pam_lock);
    for (unsigned i = 0; i < len; i++) {
        uint32_t at = (uint32_t)gpa + i;
        unsigned segment = (at - MEMORY_PAM_START) / 0x4000u;
        if (segment >= MEMORY_PAM_SEGMENTS)
            segment = MEMORY_PAM_SEGMENTS - 1;
        uint8_t mode = memory->pam[segment];
        if (is_write && (mode & MEMORY_PAM_WRITE))
            memory->ram[at] = data[i];
        else if (!is_write)
            data[i] = mode & MEMORY_PAM_READ ? memory->ram[at] : memory->window[at - MEMORY_PAM_START];
    }
    pthread_mutex_unlock(&memory->pam_lock);
    return 0;
}
