/* SPDX-License-Identifier: BSD-2-Clause */
/* Saved state: an instance that has loaded it behaves as the one that saved it; what nobody saved is refused or does no
 * harm. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>

#include "state_kinds.h"

#define ROUNDS 200u
#define STEPS  60u

static struct kind_instance a, b;
static uint64_t seed;

static uint64_t any(void)
{
    seed ^= seed << 13; /* xorshift64 */
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

/* One step of a guest, the same for one instance or for two. Indices and addresses that mean something come often. */
struct step {
    unsigned what, region, width;
    uint64_t offset, value;
};

static struct step any_step(const struct ringd_device_ops *ops)
{
    static const uint8_t registers[] = {0x00, 0x04, 0x0a, 0x0b, 0x0b, 0x0c, 0x0c,
                                        0x10, 0x18, 0x40, 0x59, 0x60, 0x72, 0x80};
    struct step step = {.what = (unsigned)(any() % 16), .region = (unsigned)(any() % ops->region_count)};
    const struct ringd_region *region = &ops->regions[step.region];
    uint64_t pick = registers[any() % sizeof(registers)];
    do
        step.width = 1u << any() % 3;
    while (!(region->widths & step.width));
    step.offset = any() % (region->size / step.width) * step.width;
    if (region->size > 0x10000)
        step.offset = kind_large_offset((unsigned)any(), any() % 2 ? pick & ~(uint64_t)(step.width - 1) : step.offset);
    step.value = any();
    if (step.region == 0 && region->size == 4 && any() % 8) { /* PCI's address */
        step.width = 4;
        step.offset = 0;
        step.value = 0x80000000u | (any() % 2 ? 0x800u : 0) | (any() % 2 ? 0x300u : 0) | pick;
    } else if (step.region == 0 && any() % 4) {
        step.value = pick;
    }
    step.value &= UINT64_MAX >> (64 - 8 * step.width);
    return step;
}

static uint64_t take(struct kind_instance *in, const struct step *step)
{
    if (step->what == 0) {
        assert_true(fake_env_advance(&in->fake, step->value % 3 ? step->value % 5000000 : step->value * 10));
    } else if (step->what == 1 && in->fake.device->resume) {
        in->fake.device->resume(in->fake.self);
    } else if (step->what == 2 && step->value % 8 == 0) {
        in->fake.device->reset(in->fake.self);
    } else if (step->what < 10) {
        fake_write(&in->fake, step->region, step->offset, step->width, step->value);
    } else {
        return fake_read(&in->fake, step->region, step->offset, step->width);
    }
    return 0;
}

static size_t save(struct kind_instance *in, uint8_t *state)
{
    const struct ringd_device_ops *ops = in->fake.device;
    size_t size = ops->state_size(in->fake.self);
    assert_in_range(size, 4, KIND_STATE_MAX);
    state[size] = 0xa5;
    ops->save(in->fake.self, state);
    assert_int_equal(state[size], 0xa5);
    return size;
}

static int load(struct kind_instance *in, const uint8_t *state, size_t size)
{
    /* An exact copy on the heap, so that a sanitizer sees a read past its end. */
    uint8_t *copy = malloc(size ? size : 1);
    assert_non_null(copy);
    memcpy(copy, state, size);
    int ret = in->fake.device->load(in->fake.self, copy, size);
    free(copy);
    return ret;
}

static void assert_same(void)
{
    struct ringd_counter ca[16], cb[16];
    unsigned count = a.fake.device->counters(a.fake.self, ca, 16);
    assert_int_equal(b.fake.device->counters(b.fake.self, cb, 16), count);
    for (unsigned i = 0; i < count; i++)
        assert_int_equal(ca[i].value, cb[i].value);
    for (unsigned i = 0; i < FAKE_TIMERS; i++)
        assert_int_equal(a.fake.deadline[i], b.fake.deadline[i]);
    assert_memory_equal(a.fake.irq, b.fake.irq, sizeof(a.fake.irq));
    assert_memory_equal(a.windows, b.windows, sizeof(a.windows));
    assert_memory_equal(a.pam, b.pam, sizeof(a.pam));
    assert_memory_equal(a.route, b.route, sizeof(a.route));
}

static void resume_both(void)
{
    if (!a.fake.device->resume)
        return;
    a.fake.device->resume(a.fake.self);
    b.fake.device->resume(b.fake.self);
}

/* `b`, with another past of its own, takes the state of `a`, and from then on nobody can tell them apart. */
static void same_after_load(enum state_kind kind, bool fresh)
{
    uint8_t sa[KIND_STATE_MAX + 1], sb[KIND_STATE_MAX + 1];
    assert_int_equal(kind_create(&a, kind), 0);
    assert_int_equal(kind_create(&b, kind), 0);
    for (unsigned i = 0; i < STEPS; i++) {
        struct step step = any_step(a.fake.device);
        take(&a, &step);
        step = any_step(a.fake.device);
        if (!fresh && step.what)
            take(&b, &step);
    }
    size_t size = save(&a, sa);
    assert_int_equal(save(&a, sb), size);
    assert_memory_equal(sa, sb, size); /* saving changes nothing */
    b.fake.now = a.fake.now;
    b.fake.wall = a.fake.wall;
    assert_int_equal(load(&b, sa, size), 0);
    resume_both();
    assert_same();
    for (unsigned i = 0; i < STEPS; i++) {
        struct step step = any_step(a.fake.device);
        assert_int_equal(take(&a, &step), take(&b, &step));
        assert_memory_equal(a.fake.irq, b.fake.irq, sizeof(a.fake.irq));
    }
    resume_both();
    assert_same();
    assert_int_equal(save(&a, sa), size);
    assert_int_equal(save(&b, sb), size);
    assert_memory_equal(sa, sb, size);
    fake_env_destroy(&a.fake);
    fake_env_destroy(&b.fake);
}

static void test_same_after_load(void **state)
{
    (void)state;
    for (unsigned kind = 0; kind < STATE_KINDS; kind++) {
        for (unsigned round = 0; round < ROUNDS; round++) {
            seed = (kind + 1) * 1000003u + round;
            same_after_load((enum state_kind)kind, round & 1);
        }
    }
}

/* Whatever was loaded, a guest can do with it what it likes, and what is saved then can be loaded again. */
static void live_on(struct kind_instance *in)
{
    uint8_t state[KIND_STATE_MAX + 1];
    for (unsigned i = 0; i < 20; i++) {
        struct step step = any_step(in->fake.device);
        take(in, &step);
    }
    size_t size = save(in, state);
    assert_int_equal(load(in, state, size), 0);
}

static void refuses_corruption(enum state_kind kind)
{
    uint8_t good[KIND_STATE_MAX + 1], bad[KIND_STATE_MAX + 1], before[KIND_STATE_MAX + 1], after[KIND_STATE_MAX + 1];
    unsigned refused = 0, taken = 0;
    assert_int_equal(kind_create(&a, kind), 0);
    assert_int_equal(kind_create(&b, kind), 0);
    for (unsigned i = 0; i < STEPS; i++) {
        struct step step = any_step(a.fake.device);
        take(&a, &step);
    }
    size_t size = save(&a, good);
    b.fake.now = a.fake.now;
    b.fake.wall = a.fake.wall;
    assert_int_equal(save(&b, before), size);
    for (size_t cut = 0; cut < size; cut++)
        assert_int_equal(load(&b, good, cut), -EINVAL);
    memset(good + size, 0, sizeof(good) - size);
    assert_int_equal(load(&b, good, size + 1), -EINVAL);
    assert_int_equal(save(&b, after), size);
    assert_memory_equal(before, after, size);

    for (unsigned round = 0; round < 4000; round++) {
        memcpy(bad, good, size);
        for (unsigned flips = 1 + (unsigned)(any() % 4); flips; flips--)
            bad[any() % size] ^= (uint8_t)(1u << any() % 8);
        save(&b, before);
        int ret = load(&b, bad, size);
        if (ret) {
            assert_int_equal(ret, -EINVAL);
            save(&b, after);
            assert_memory_equal(before, after, size);
            refused++;
        } else {
            live_on(&b);
            taken++;
        }
        b.fake.output_size = 0;
    }
    for (unsigned bit = 0; bit < 32; bit++) { /* model and version */
        memcpy(bad, good, size);
        bad[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_int_equal(load(&b, bad, size), -EINVAL);
    }
    assert_true(refused > 20);
    assert_true(taken > 20);
    fake_env_destroy(&a.fake);
    fake_env_destroy(&b.fake);
}

static void test_corruption(void **state)
{
    (void)state;
    for (unsigned kind = 0; kind < STATE_KINDS; kind++) {
        seed = 77 + kind;
        refuses_corruption((enum state_kind)kind);
    }
}

/* The line of an instance that was saved with its interrupt raised is raised by the load: the owner gets its edge. */
static void test_interrupt_line(void **state)
{
    (void)state;
    uint8_t saved[KIND_STATE_MAX + 1];
    assert_int_equal(kind_create(&a, KIND_RTC_VM), 0);
    assert_int_equal(kind_create(&b, KIND_RTC_VM), 0);
    fake_write(&a.fake, MC146818_INDEX, 0, 1, 0x0b);
    fake_write(&a.fake, MC146818_DATA, 0, 1, 0x42);
    assert_true(fake_env_advance(&a.fake, 1000000));
    assert_true(a.fake.irq[0]);
    b.fake.now = a.fake.now;
    b.fake.wall = a.fake.wall;
    assert_int_equal(load(&b, saved, save(&a, saved)), 0);
    assert_true(b.fake.irq[0]);
    assert_int_equal(b.fake.edges[0], 1);
    fake_env_destroy(&a.fake);

    /* And a state with the line low lowers it. */
    assert_int_equal(kind_create(&a, KIND_RTC_VM), 0);
    a.fake.now = b.fake.now;
    a.fake.wall = b.fake.wall;
    assert_int_equal(load(&b, saved, save(&a, saved)), 0);
    assert_false(b.fake.irq[0]);
    fake_env_destroy(&a.fake);
    fake_env_destroy(&b.fake);
}

/* Ticks that are owed go on coming, at the same times. */
static void test_owed_ticks(void **state)
{
    (void)state;
    uint8_t saved[KIND_STATE_MAX + 1];
    assert_int_equal(kind_create(&a, KIND_RTC_SLEW), 0);
    assert_int_equal(kind_create(&b, KIND_RTC_SLEW), 0);
    fake_write(&a.fake, MC146818_INDEX, 0, 1, 0x0b);
    fake_write(&a.fake, MC146818_DATA, 0, 1, 0x42);
    assert_true(fake_env_advance(&a.fake, 50000000)); /* 51 ticks at 1024 Hz, one of them raised */
    fake_write(&a.fake, MC146818_INDEX, 0, 1, 0x0c);
    fake_read(&a.fake, MC146818_DATA, 0, 1);
    b.fake.now = a.fake.now;
    b.fake.wall = a.fake.wall;
    assert_int_equal(load(&b, saved, save(&a, saved)), 0);
    assert_same();
    assert_true(a.fake.deadline[0] != RINGD_NEVER);
    for (unsigned i = 0; i < 200; i++) {
        assert_true(fake_env_advance(&a.fake, 300000));
        assert_true(fake_env_advance(&b.fake, 300000));
        if (a.fake.irq[0]) {
            uint64_t flags = fake_read(&a.fake, MC146818_DATA, 0, 1);
            assert_int_equal(flags, fake_read(&b.fake, MC146818_DATA, 0, 1));
        }
        assert_same();
    }
    assert_int_equal(fake_counter(&a.fake, "ticks-owed"), 0);
    fake_env_destroy(&a.fake);
    fake_env_destroy(&b.fake);
}

/* State of one configuration is not another's. */
static void test_other_configuration(void **state)
{
    (void)state;
    uint8_t saved[KIND_STATE_MAX + 1];
    for (unsigned from = 0; from < STATE_KINDS; from++) {
        for (unsigned to = 0; to < STATE_KINDS; to++) {
            assert_int_equal(kind_create(&a, (enum state_kind)from), 0);
            assert_int_equal(kind_create(&b, (enum state_kind)to), 0);
            assert_int_equal(load(&b, saved, save(&a, saved)), from == to ? 0 : -EINVAL);
            fake_env_destroy(&a.fake);
            fake_env_destroy(&b.fake);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_after_load),     cmocka_unit_test(test_corruption),
        cmocka_unit_test(test_interrupt_line),      cmocka_unit_test(test_owed_ticks),
        cmocka_unit_test(test_other_configuration),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
