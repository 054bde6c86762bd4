/* SPDX-License-Identifier: BSD-2-Clause */
#include "payload.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

extern const uint8_t payload_blob[PAYLOAD_BYTES]; /* payload/blob.S */

void payload_fill(uint8_t image[PAYLOAD_BYTES], const struct payload_params *params)
{
    const uint32_t words[4] = {htole32(PAYLOAD_PARAMS_MAGIC), htole32(params->pattern), htole32(params->ticks),
                               htole32(params->samples)};

    memcpy(image, payload_blob, PAYLOAD_BYTES);
    memcpy(image + PAYLOAD_PARAMS_OFFSET, words, sizeof(words));
}

int payload_write(const char *path, const struct payload_params *params)
{
    static const int flags = O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC;
    uint8_t image[PAYLOAD_BYTES];
    size_t done = 0;
    int error = 0;
    int fd = open(path, flags, 0600);

    if (fd < 0)
        return -errno;
    payload_fill(image, params);
    while (done < sizeof(image) && !error) {
        ssize_t n = write(fd, image + done, sizeof(image) - done);
        if (n >= 0)
            done += (size_t)n;
        else if (errno != EINTR)
            error = -errno;
    }
    if (close(fd) != 0 && !error)
        error = -errno;
    return error;
}

const char *payload_pattern_name(uint32_t pattern)
{
    static const char *const names[] = {
        [PAYLOAD_PATTERN_RTC] = "rtc",
        [PAYLOAD_PATTERN_PCI] = "pci",
        [PAYLOAD_PATTERN_STORM] = "storm",
        [PAYLOAD_PATTERN_EXIT] = "exit",
    };

    return pattern < sizeof(names) / sizeof(names[0]) ? names[pattern] : "?";
}
