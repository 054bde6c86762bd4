/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VMM_IMAGE_H
#define VMM_IMAGE_H

#include <stdint.h>

/* Reads a regular file of 1 to `max` bytes into anonymous memory of its own (from mmap: image_free()), so that nothing
 * that happens to the file later reaches the guest. 0 or -errno: -EINVAL for another size. */
int image_read(const char *path, uint64_t max, uint8_t **image, uint64_t *size);
/* NULL and 0 are allowed. */
void image_free(uint8_t *image, uint64_t size);

#endif
