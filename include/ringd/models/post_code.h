/* SPDX-License-Identifier: BSD-2-Clause */
/* POST code port (0x80): firmware shows how far it got. */
#ifndef RINGD_MODELS_POST_CODE_H
#define RINGD_MODELS_POST_CODE_H

#include <ringd/api.h>
#include <ringd/device.h>

RINGD_API_BEGIN

#define POST_CODE_HISTORY 16u

/* One code of the history; the same code written several times in a row is one of these. */
struct post_code_entry {
    uint8_t code;
    uint64_t writes; /* in a row */
};

/*
 * post_code_history - the last codes, oldest first, for whoever wants to know where a guest stopped.
 * @self: the instance; to be called with the device's lock held (ringd_call()).
 * @entries: room for POST_CODE_HISTORY of them.
 * Returns how many there are. Survives a reset: in a reboot loop the codes before the reset are the interesting ones.
 */
unsigned post_code_history(const void *self, struct post_code_entry *entries);

/* create() takes no configuration. */
extern const struct ringd_device_ops post_code_ops;

RINGD_API_END

#endif
