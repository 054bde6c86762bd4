/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VMM_FIRMWARE_H
#define VMM_FIRMWARE_H

#include <stdint.h>

/* Reads a raw firmware image into anonymous memory of its own (from mmap), so that nothing that happens to the file
 * later reaches the guest. Its size has been checked by options_check_files(), and is checked again. Reports an error
 * on stderr and returns -errno. */
int firmware_load(const char *name, uint8_t **image, uint64_t *size);

#endif
