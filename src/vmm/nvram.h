/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VMM_NVRAM_H
#define VMM_NVRAM_H

#include <stdint.h>

#define NVRAM_BYTES 128u

/* The file behind the RTC's NVRAM: its 128 bytes as they stand in CMOS. */
struct nvram_file {
    int fd; /* -1: no file */
    const char *path;
    uint8_t stored[NVRAM_BYTES];
    int failed; /* it has been said that it cannot be written */
};

/* Opens or creates the file, locks it against a second VM, and reads it into `image`, which stays zero for a new file.
 * An empty path means no file. Reports an error on stderr and returns -errno. */
int nvram_file_open(struct nvram_file *file, const char *path, uint8_t image[NVRAM_BYTES]);
/* Writes the bytes if they have changed. The image's bytes may be changed meanwhile by other threads: read atomically.
 * Returns 0 or -errno, which is told on stderr the first time. */
int nvram_file_store(struct nvram_file *file, const uint8_t image[NVRAM_BYTES]);
void nvram_file_close(struct nvram_file *file);

#endif
