/* SPDX-License-Identifier: BSD-2-Clause */
/* Any accesses, any time between them and any saved state against the HPET. abort() is a find. */
#include <stdlib.h>
#include <string.h>

#include <ringd/models/hpet.h>

#include "fake_env.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool promise)
{
    if (!promise)
        abort();
}

static void check(struct fake_env *f)
{
    uint64_t config = fake_read(f, HPET_GENERAL, 0x10, 8), status = fake_read(f, HPET_GENERAL, 0x20, 8);
    uint64_t count = fake_read(f, HPET_GENERAL, 0xf0, 8);
    require(config <= 3 && status <= 7);
    require(fake_read(f, HPET_GENERAL, 0xf0, 8) == count); /* time stands still */
    for (unsigned i = 0; i < HPET_COMPARATORS; i++)
        require((config & 1) || f->deadline[i] == RINGD_NEVER);
    require(!f->irq[HPET_LINE_LEGACY_0] || (config & 2 && status & 1));
    require(!f->irq[HPET_LINE_LEGACY_1] || (config & 2 && status & 2));
    require(status || !(f->irq[HPET_LINE_20] || f->irq[HPET_LINE_20 + 1] || f->irq[HPET_LINE_20 + 2] ||
                        f->irq[HPET_LINE_20 + 3]));
    require(fake_counter(f, "matches-skipped") == 0 || fake_counter(f, "matches") > 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct fake_env fake;
    uint8_t state[512], again[512];
    if (fake_env_create(&fake, &hpet_ops, NULL, 0))
        abort();
    while (size >= 11) {
        unsigned what = data[0], region = data[1] % HPET_REGIONS, width = 1u << (data[2] & 3);
        uint64_t value;
        memcpy(&value, data + 3, sizeof(value));
        data += 11;
        size -= 11;
        if (what < 16) {
            size_t bytes = hpet_ops.state_size(fake.self);
            hpet_ops.save(fake.self, state);
            if (size) /* a flaw somewhere */
                state[4 + value % (bytes - 4)] ^= data[0];
            if (hpet_ops.load(fake.self, state, bytes) == 0) {
                hpet_ops.save(fake.self, again);
                require(hpet_ops.load(fake.self, again, bytes) == 0);
            }
        } else if (what < 20) {
            hpet_ops.reset(fake.self);
        } else if (what < 60) { /* at most a second: 20,000 interrupts a comparator */
            require(fake_env_advance(&fake, value % 1000000000));
        } else {
            uint64_t room = hpet_ops.regions[region].size / width;
            uint64_t offset = (what >> 3) % room * width;
            if (what & 1)
                (void)fake_read(&fake, region, offset, width);
            else
                fake_write(&fake, region, offset, width,
                           width == 8 ? value : value & ((UINT64_C(1) << (8 * width)) - 1));
        }
        check(&fake);
    }
    fake_env_destroy(&fake);
    return 0;
}
