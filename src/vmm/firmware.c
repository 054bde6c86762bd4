/* SPDX-License-Identifier: BSD-2-Clause */
#include "vmm/firmware.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "vmm/image.h"
#include "vmm/options.h"

int firmware_load(const char *name, uint8_t **image, uint64_t *size)
{
    const char *path = options_firmware_path(name);
    int ret = image_read(path, OPTIONS_FIRMWARE_MAX, image, size);
    if (!ret && *size % OPTIONS_FIRMWARE_UNIT) {
        image_free(*image, *size);
        ret = -EINVAL;
    }
    if (ret)
        fprintf(stderr, "ringvmm: --firmware %s: %s\n", path, strerror(-ret));
    return ret;
}
