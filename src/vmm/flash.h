/* SPDX-License-Identifier: BSD-2-Clause */
/* The flash below the firmware's code, where UEFI keeps its variables: a file of the virtual machine's own. */
#ifndef VMM_FLASH_H
#define VMM_FLASH_H

#include <stddef.h>
#include <stdint.h>

#include "vmm/options.h"

struct flash {
    uint8_t *array; /* NULL: the machine has none. A shared mapping of the file, so that it survives a kill */
    size_t bytes;
    int fd; /* -1: no file, changes are lost at the end */
    const char *path;
    int failed; /* -errno: it could not be written, which has been told */
};

/*
 * flash_open - maps the file that --flash names, locked against a second machine. With --firmware ovmf a file that is
 * not there is made, from the distribution's template; without --flash the machine gets a copy of that in memory. Any
 * other firmware has a flash only when one is named. It has to have room below the firmware's `rom_size` bytes.
 * Reports an error on stderr and returns -errno. Nothing is left behind then.
 */
int flash_open(struct flash *flash, const struct run_options *options, uint64_t rom_size);

/* flash_sync - what has changed, to the disk: for a host that crashes. Waits for it. 0, or -errno from the first
 * failure on: the kernel tells of each once, and a later success says nothing of what was lost. Main thread. */
int flash_sync(struct flash *flash);
void flash_close(struct flash *flash);

#endif
