/* SPDX-License-Identifier: BSD-2-Clause */
/* Any guest, any host clock, against the MC146818. After each step the model's promises are checked; abort() is a find.
 */
#include <stdlib.h>
#include <string.h>

#include <ringd/models/mc146818.h>

#include "devices/mc146818_time.h"
#include "fake_env.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
    const uint8_t *data;
    size_t size;
};

static uint8_t byte(struct input *in)
{
    if (!in->size)
        return 0;
    in->size--;
    return *in->data++;
}

static uint64_t word(struct input *in, unsigned bytes)
{
    uint64_t value = 0;
    while (bytes--)
        value = value << 8 | byte(in);
    return value;
}

static void require(bool promise)
{
    if (!promise)
        abort();
}

static uint8_t rd(struct fake_env *f, unsigned reg)
{
    fake_write(f, MC146818_INDEX, 0, 1, reg);
    uint64_t value = fake_read(f, MC146818_DATA, 0, 1);
    require(value <= 0xff);
    return (uint8_t)value;
}

static void wr(struct fake_env *f, unsigned reg, uint8_t value)
{
    fake_write(f, MC146818_INDEX, 0, 1, reg);
    fake_write(f, MC146818_DATA, 0, 1, value);
}

static void check(struct fake_env *f)
{
    uint8_t b = rd(f, REG_B);
    if (!(b & (B_PIE | B_AIE | B_UIE)))
        require(f->deadline[0] == RINGD_NEVER && f->deadline[1] == RINGD_NEVER && !f->irq[0]);
    require(!(b & B_SET) || f->deadline[1] == RINGD_NEVER);
    require(rd(f, REG_D) == D_VRT);
    require(fake_counter(f, "ticks-due") == fake_counter(f, "ticks-delivered") + fake_counter(f, "ticks-discarded") +
                                                fake_counter(f, "ticks-converted") + fake_counter(f, "ticks-owed"));
}

/* A reading with pauses is the one that was to be had at its start. */
static void check_reading(struct fake_env *f, struct input *in)
{
    static const uint8_t order[TIME_BYTES] = {SECONDS, MINUTES, HOURS, DAY_OF_WEEK, DATE, MONTH, YEAR, 0x32};
    uint8_t at_once[TIME_BYTES];
    rd(f, REG_A);
    for (unsigned i = 0; i < TIME_BYTES; i++)
        at_once[i] = rd(f, order[i]);
    bool promised = !(rd(f, REG_A) & A_UIP);
    unsigned first = byte(in);
    uint64_t gap = word(in, 4) % 111000000;
    for (unsigned i = 0; i < TIME_BYTES; i++) {
        unsigned k = (first + i) % TIME_BYTES;
        require(fake_env_advance(f, gap));
        uint8_t value = rd(f, order[k]);
        require(!promised || value == at_once[k]);
    }
}

/* Flags and line go with one reading; what UIP clear grants is granted. */
static void check_registers(struct fake_env *f)
{
    bool irq = f->irq[0];
    uint8_t c = rd(f, REG_C);
    require(!irq || c & C_IRQF);
    require(!(c & 0x0f) && !!(c & C_IRQF) == !!(c & rd(f, REG_B) & (C_PF | C_AF | C_UF)));
    require(!f->irq[0] && rd(f, REG_C) == 0);
    if (!(rd(f, REG_A) & A_UIP)) {
        rd(f, REG_C); /* where the host's clock has been stepped, REG_A may have been the first to see an update */
        f->now += 244000;
        f->wall += 244000;
        require(!(rd(f, REG_C) & C_UF));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size};
    struct fake_env f;
    uint8_t mode = byte(&in);
    struct mc146818_config config = {
        .base = (enum mc146818_base)(mode % 3),
        .base_ns = (int64_t)word(&in, 8),
        .utc_offset_s = (int32_t)(word(&in, 2) % 86401),
        .clock = mode & 0x10 ? MC146818_CLOCK_VM : MC146818_CLOCK_HOST,
        .lost_ticks = mode & 0x20 ? MC146818_LOST_SLEW : MC146818_LOST_DISCARD,
    };
    if (fake_env_create(&f, &mc146818_ops, &config, 0))
        return 0;
    f.unsure = mode & 0x40;
    /* Time may not run out within one input: 1000 steps of less than 2^40 ns. */
    for (unsigned step = 0; in.size && step < 1000; step++) {
        uint8_t op = byte(&in);
        unsigned reg = byte(&in);
        if (!(op & 0x40))
            reg %= NVRAM;
        switch (op % 12) {
        case 0:
        case 1:
        case 2:
            wr(&f, reg, byte(&in));
            break;
        case 3:
            rd(&f, reg);
            break;
        case 4: /* on time, at any scale; a busy rate for less, so that timers are not called for hours */
            require(fake_env_advance(&f, word(&in, 1 + op / 12 % 4)));
            break;
        case 5: /* timers come late */
            f.now += word(&in, 5);
            require(fake_env_advance(&f, 0));
            break;
        case 6: /* the host's clock is stepped; 7/8 of the range, so that the fake clock can go on from there */
            f.wall = op & 0x80 ? (int64_t)word(&in, 8) / 8 * 7
                               : (int64_t)(word(&in, 6) % 2000000000000 + 1600000000000000000);
            break;
        case 7:
            if (f.wall > -INT64_MAX / 2 && f.wall < INT64_MAX / 2)
                check_reading(&f, &in);
            break;
        case 8:
            if (f.wall > -INT64_MAX / 2 && f.wall < INT64_MAX / 2)
                check_registers(&f);
            break;
        case 9:
            if (op & 0x80)
                mc146818_ops.reset(f.self);
            else
                mc146818_ops.resume(f.self);
            break;
        case 10: /* a guest that answers */
            for (unsigned i = byte(&in); i; i--) {
                require(fake_env_advance(&f, 1000000));
                if (f.irq[0])
                    rd(&f, REG_C);
            }
            break;
        default: /* a deadline that was replaced while its call was on the way */
            mc146818_ops.timer(f.self, op / 12 % mc146818_ops.timer_count);
        }
        check(&f);
    }
    fake_env_destroy(&f);
    return 0;
}
