/* SPDX-License-Identifier: BSD-2-Clause */
/* Saved state as a row of little-endian numbers without padding, for the models' save() and load(). */
#ifndef DEVICES_STATE_H
#define DEVICES_STATE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* The first word of a model's state: a letter or two to tell models apart, and the layout's version. */
#define STATE_VERSION(a, b, version) ((uint32_t)(a) | (uint32_t)(b) << 8 | (uint32_t)(version) << 16)

struct state_writer {
    uint8_t *next;
};

struct state_reader {
    const uint8_t *next; /* the caller has checked the size of all that it reads */
};

static inline void state_put(struct state_writer *out, uint64_t value, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        out->next[i] = (uint8_t)(value >> (8 * i));
    out->next += bytes;
}

static inline void state_put_bytes(struct state_writer *out, const void *from, size_t size)
{
    memcpy(out->next, from, size);
    out->next += size;
}

static inline uint64_t state_get(struct state_reader *in, unsigned bytes)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < bytes; i++)
        value |= (uint64_t)in->next[i] << (8 * i);
    in->next += bytes;
    return value;
}

static inline void state_get_bytes(struct state_reader *in, void *to, size_t size)
{
    memcpy(to, in->next, size);
    in->next += size;
}

#endif
