/* SPDX-License-Identifier: BSD-2-Clause */
/* load() of each model with any bytes: refused, and nothing has changed, or taken, and then the guest does what it
 * likes, and what is saved after that can be loaded. */
#include <errno.h>

#include "state_kinds.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
    if (!holds)
        abort();
}

static void guest(struct kind_instance *in, const uint8_t *data, size_t size)
{
    for (; size >= 8; data += 8, size -= 8) {
        const struct ringd_device_ops *ops = in->fake.device;
        unsigned region = data[1] % ops->region_count, width = 1u << data[2] % 3;
        uint64_t value = 0;
        memcpy(&value, data + 4, 4);
        if (!(ops->regions[region].widths & width))
            width = 1;
        uint64_t offset = data[3] % (ops->regions[region].size / width) * width;
        if (ops->regions[region].size > 0x10000)
            offset = kind_large_offset(data[1] >> 3, offset);
        if (data[0] % 8 == 0)
            require(fake_env_advance(&in->fake, value));
        else if (data[0] % 8 == 1)
            ops->reset(in->fake.self);
        else if (data[0] % 8 < 5)
            fake_write(&in->fake, region, offset, width, value & (UINT64_MAX >> (64 - 8 * width)));
        else
            (void)fake_read(&in->fake, region, offset, width);
    }
}

/*
 * Byte 0: the model; byte 1: bit 0 makes the rest a patch of a saved state (place, value) rather than the state itself,
 * so that the deep ones are reached; bytes 2 and 3: how much of it is state. What is left is the guest.
 */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct kind_instance in;
    uint8_t state[KIND_STATE_MAX], before[KIND_STATE_MAX], after[KIND_STATE_MAX];
    if (size < 4 || kind_create(&in, (enum state_kind)(data[0] % STATE_KINDS)))
        return 0;
    const struct ringd_device_ops *ops = in.fake.device;
    bool patch = data[1] & 1;
    size_t used = data[2] | (size_t)data[3] << 8, whole = ops->state_size(in.fake.self), loaded;
    data += 4;
    size -= 4;
    used = used < size ? used : size;
    used = used < sizeof(state) ? used : sizeof(state);
    require(whole <= sizeof(state));
    in.fake.now += 5000000000;
    in.fake.wall += 5000000000;
    ops->save(in.fake.self, before);
    if (patch) {
        memcpy(state, before, whole);
        for (size_t i = 0; i + 3 <= used; i += 3)
            state[(data[i] | (size_t)data[i + 1] << 8) % whole] = data[i + 2];
        loaded = whole;
    } else {
        memcpy(state, data, used);
        loaded = used;
    }
    uint8_t *exact = malloc(loaded ? loaded : 1);
    require(exact);
    memcpy(exact, state, loaded);
    int ret = ops->load(in.fake.self, exact, loaded);
    free(exact);
    require(ret == 0 || ret == -EINVAL);
    if (ret) {
        ops->save(in.fake.self, after);
        require(!memcmp(before, after, whole));
    }
    guest(&in, data + used, size - used);
    require(ops->state_size(in.fake.self) == whole);
    ops->save(in.fake.self, after);
    require(ops->load(in.fake.self, after, whole) == 0);
    fake_env_destroy(&in.fake);
    return 0;
}
