/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What KVM's coalesced rings do, on the real kernel, through the back ends' own tables. The first group has the cases
 * of Linux's selftest for coalesced I/O (ports, memory, both; fill until it exits; from every index of the ring).
 *
 * The expectation is always the same: what was read from the ring, then the exit's own write, over all exits of a
 * guest, is what the guest wrote, in its order. One ring stands for the VM (v1) or for the device (mmio2).
 */
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "guest.h"
#include "ringd/cursor.h"

#define PORT 0x80u
#define ADDR (GUEST_MMIO + 0x40u)

#define USABLE (RINGD_RING_SLOTS - 1)
/* Linux before 6.12 takes the ring for full at this many entries when its indices have not wrapped: an early exit,
 * which is legal. */
#define EARLY_FULL 85u

static enum ringd_backend_kind backend_kind;

/* One device with its zones and a VM whose guest writes to them. */
struct fixture {
    struct guest guest;
    const struct backend_ops *back;
    struct backend_ring ring;
    struct ring_cursor cursor;
    struct backend_zone zones[8];
    unsigned zone_count;
};

static void add_zone(struct fixture *f, bool pio, uint64_t addr, uint32_t size)
{
    struct backend_zone zone = {.addr = addr, .size = size, .pio = pio};
    assert_int_equal(f->back->zone_add(f->guest.vm, &f->ring, &zone), 0);
    f->zones[f->zone_count++] = zone;
}

static void remove_zone(struct fixture *f, unsigned index)
{
    f->back->zone_remove(f->guest.vm, &f->ring, &f->zones[index]);
    f->zones[index] = f->zones[--f->zone_count];
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    guest_create(&f->guest, 1);
    f->back = backend_find(backend_kind);
    assert_int_equal(f->back->ring_create(f->guest.vm, f->guest.vcpus[0].fd, &f->ring), 0);
    ring_cursor_init(&f->cursor, f->ring.page);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    while (f->zone_count)
        remove_zone(f, 0);
    f->back->ring_destroy(&f->ring);
    guest_destroy(&f->guest);
    free(f);
    return 0;
}

/* Empties the ring and lets it start at `index`, as the kernel's selftest does: no guest runs now. */
static void start_at(struct fixture *f, uint32_t index)
{
    f->ring.page->first = index;
    f->ring.page->last = index;
    ring_cursor_init(&f->cursor, f->ring.page);
}

static void assert_same(const struct guest_write *got, const struct guest_write *expected, unsigned number)
{
    if (got->pio != expected->pio || got->addr != expected->addr || got->width != expected->width ||
        got->value != expected->value)
        fail_msg("write %u: %s %llx, %u bytes, value %llx; expected %s %llx, %u bytes, value %llx", number,
                 got->pio ? "port" : "memory", (unsigned long long)got->addr, got->width,
                 (unsigned long long)got->value, expected->pio ? "port" : "memory", (unsigned long long)expected->addr,
                 expected->width, (unsigned long long)expected->value);
}

/* Reads all that stands in the ring and compares it with what comes next in the list. */
static unsigned drain(struct fixture *f, const struct guest_write *list, unsigned done, unsigned count)
{
    unsigned pending = ring_pending(&f->cursor);
    assert_true(done + pending <= count);
    for (unsigned i = 0; i < pending; i++) {
        struct ringd_ring_entry entry = ring_peek(&f->cursor);
        struct guest_write got = {.pio = entry.pio, .addr = entry.addr, .width = entry.len};
        assert_true(ring_entry_value(&entry, &got.value));
        assert_same(&got, &list[done + i], done + i);
        ring_advance(&f->cursor);
    }
    assert_int_equal(f->cursor.bad, 0);
    return pending;
}

static void load(struct fixture *f, const struct guest_write *list, unsigned count)
{
    static struct guest_code code;
    memset(&code, 0, sizeof(code));
    for (unsigned i = 0; i < count; i++)
        code_write(&code, &list[i]);
    code_load(&f->guest, 0, &code);
}

/* What a run did: how many of the list's writes came as exits, and how many entries the ring held at the first. */
struct outcome {
    unsigned exits;
    unsigned at_first_exit;
    unsigned first_exit; /* which write that was */
};

static struct outcome run_list(struct fixture *f, const struct guest_write *list, unsigned count)
{
    struct outcome outcome = {0};
    unsigned done = 0;
    load(f, list, count);
    for (;;) {
        struct guest_exit exit = guest_run(&f->guest.vcpus[0]);
        unsigned found = drain(f, list, done, count);
        done += found;
        if (exit.end)
            break;
        assert_true(exit.is_write);
        assert_true(done < count);
        assert_same(&exit.write, &list[done], done); /* the exit's write is the newest */
        if (!outcome.exits++) {
            outcome.at_first_exit = found;
            outcome.first_exit = done;
        }
        done++;
    }
    assert_int_equal(done, count);
    return outcome;
}

static void assert_exits_at(struct fixture *f, const struct guest_write *list, unsigned count, const bool *exits)
{
    load(f, list, count);
    for (unsigned done = 0;;) {
        struct guest_exit exit = guest_run(&f->guest.vcpus[0]);
        unsigned found = drain(f, list, done, count);
        for (unsigned i = 0; i < found; i++)
            if (exits[done + i])
                fail_msg("write %u was recorded, not an exit", done + i);
        done += found;
        if (exit.end) {
            assert_int_equal(done, count);
            return;
        }
        assert_true(done < count);
        assert_same(&exit.write, &list[done], done);
        if (!exits[done])
            fail_msg("write %u came as an exit", done);
        done++;
    }
}

/* ---- the selftest's cases ---- */

enum mix { PIO_ONLY, MMIO_ONLY, MIXED };

static void make_list(struct guest_write *list, unsigned count, enum mix mix)
{
    for (unsigned i = 0; i < count; i++) {
        bool pio = mix == PIO_ONLY || (mix == MIXED && i % 2 == 0);
        list[i] = (struct guest_write){.pio = pio, .addr = pio ? PORT : ADDR, .width = 4, .value = 0xa5000000u + i};
    }
}

static void fill_from_every_index(struct fixture *f, enum mix mix)
{
    struct guest_write list[USABLE + 3];
    const unsigned count = sizeof(list) / sizeof(list[0]);
    /* An emulated write to memory takes 100 us: there every 13th index, the first and the last among them. */
    const uint32_t step = mix != PIO_ONLY && guest_slow() > 1 ? 13 : 1;
    add_zone(f, true, PORT, 4);
    add_zone(f, false, ADDR, 4);
    make_list(list, count, mix);
    for (uint32_t start = 0; start < RINGD_RING_SLOTS; start += step) {
        start_at(f, start);
        struct outcome outcome = run_list(f, list, count);
        if (outcome.at_first_exit != USABLE && outcome.at_first_exit != EARLY_FULL)
            fail_msg("from index %u: the first exit came with %u entries in the ring", start, outcome.at_first_exit);
        if (outcome.at_first_exit == USABLE && outcome.exits != 1)
            fail_msg("from index %u: %u exits", start, outcome.exits);
    }
}

static void test_fill_ports(void **state)
{
    fill_from_every_index(*state, PIO_ONLY);
}

static void test_fill_memory(void **state)
{
    fill_from_every_index(*state, MMIO_ONLY);
}

static void test_fill_mixed(void **state)
{
    fill_from_every_index(*state, MIXED);
}

/* A ring that nobody empties stays full: each further write is an exit, and nothing in the ring changes. */
static void test_full_stays_full(void **state)
{
    struct fixture *f = *state;
    struct guest_write list[USABLE + 20];
    const unsigned count = sizeof(list) / sizeof(list[0]);
    add_zone(f, true, PORT, 4);
    make_list(list, count, PIO_ONLY);
    for (uint32_t start = 0; start < RINGD_RING_SLOTS; start += RINGD_RING_SLOTS - 1) {
        start_at(f, start);
        load(f, list, count);
        unsigned exits = 0, held = 0;
        struct guest_exit exit;
        while (!(exit = guest_run(&f->guest.vcpus[0])).end) {
            if (!exits)
                held = ring_pending(&f->cursor);
            assert_int_equal(ring_pending(&f->cursor), held);
            assert_same(&exit.write, &list[held + exits], held + exits);
            exits++;
        }
        assert_int_equal(held + exits, count);
        assert_int_equal(drain(f, list, 0, count), held);
    }
}

/* The zones taken away: each write is an exit again. */
static void test_unregister(void **state)
{
    struct fixture *f = *state;
    const struct guest_write list[] = {
        {true, PORT, 4, 1}, {false, ADDR, 4, 2}, {true, PORT, 4, 3}, {false, ADDR, 4, 4}};
    add_zone(f, true, PORT, 4);
    add_zone(f, false, ADDR, 4);
    assert_exits_at(f, list, 4, (const bool[]){false, false, false, false});
    remove_zone(f, 0); /* the port; memory stays */
    assert_exits_at(f, list, 4, (const bool[]){true, false, true, false});
    remove_zone(f, 0);
    assert_exits_at(f, list, 4, (const bool[]){true, true, true, true});
    add_zone(f, true, PORT, 4);
    assert_exits_at(f, list, 4, (const bool[]){false, true, false, true});
}

/* What stood in the ring when its zone went is still there. */
static void test_unregister_keeps_entries(void **state)
{
    struct fixture *f = *state;
    const struct guest_write list[] = {{true, PORT, 1, 0x11}, {true, PORT, 1, 0x22}};
    add_zone(f, true, PORT, 1);
    load(f, list, 2);
    assert_true(guest_run(&f->guest.vcpus[0]).end);
    remove_zone(f, 0);
    assert_int_equal(drain(f, list, 0, 2), 2);
}

/* ---- which writes a zone takes ---- */

static void test_widths(void **state)
{
    struct fixture *f = *state;
    const struct guest_write list[] = {
        {true, PORT, 1, 0x11},        {true, PORT + 4, 2, 0x2222},      {true, PORT, 4, 0x33333333},
        {true, PORT + 1, 2, 0x4444},  {true, PORT + 3, 4, 0x55555555},  {false, ADDR, 1, 0x66},
        {false, ADDR + 2, 2, 0x7777}, {false, ADDR + 1, 4, 0x88888888}, {false, ADDR + 8, 8, 0x123456789abcdef0},
        {false, ADDR + 15, 1, 0x99},
    };
    add_zone(f, true, PORT, 8);
    add_zone(f, false, ADDR, 16);
    struct outcome outcome = run_list(f, list, sizeof(list) / sizeof(list[0]));
    assert_int_equal(outcome.exits, 0);
}

static void test_not_wholly_inside(void **state)
{
    struct fixture *f = *state;
    static const struct {
        struct guest_write write;
        bool exits;
    } cases[] = {
        {{true, PORT - 1, 1, 0x01}, true},           /* just before */
        {{true, PORT, 1, 0x02}, false},              /* first */
        {{true, PORT + 3, 1, 0x03}, false},          /* last */
        {{true, PORT + 4, 1, 0x04}, true},           /* just behind */
        {{true, PORT - 1, 2, 0x0506}, true},         /* over the start */
        {{true, PORT + 3, 2, 0x0708}, true},         /* over the end */
        {{true, PORT + 2, 4, 0x090a0b0c}, true},     /* half over the end */
        {{true, PORT - 2, 4, 0x0d0e0f10}, true},     /* half over the start */
        {{true, PORT, 4, 0x11121314}, false},        /* all of it */
        {{false, GUEST_MMIO + PORT, 1, 0x15}, true}, /* another space, another place */
        {{false, ADDR - 1, 1, 0x16}, true},
        {{false, ADDR + 7, 1, 0x17}, false},
        {{false, ADDR + 8, 1, 0x18}, true},
        {{false, ADDR + 6, 4, 0x191a1b1c}, true},
        {{false, ADDR - 4, 8, 0x1d1e1f2021222324}, true},
        {{false, ADDR, 8, 0x25262728292a2b2c}, false},
    };
    struct guest_write list[sizeof(cases) / sizeof(cases[0])];
    bool exits[sizeof(cases) / sizeof(cases[0])];
    unsigned count = 0;
    add_zone(f, true, PORT, 4);
    add_zone(f, false, ADDR, 8);
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        list[count] = cases[i].write;
        exits[count++] = cases[i].exits;
    }
    assert_exits_at(f, list, count, exits);
}

/* outw 0x70 reaches over the end of the zone {0x70, 1}: an exit of two bytes, after what stands in the ring. */
static void test_outw_straddles(void **state)
{
    struct fixture *f = *state;
    const struct guest_write list[] = {
        {true, 0x70, 1, 0x0a}, {true, 0x70, 1, 0x0b}, {true, 0x70, 2, 0x550c}, {true, 0x70, 1, 0x0d}};
    add_zone(f, true, 0x70, 1);
    load(f, list, 4);
    struct guest_exit exit = guest_run(&f->guest.vcpus[0]);
    assert_false(exit.end);
    assert_same(&exit.write, &list[2], 2);
    assert_int_equal(ring_pending(&f->cursor), 2); /* the two before it, and not the one behind it */
    assert_int_equal(drain(f, list, 0, 2), 2);
    assert_true(guest_run(&f->guest.vcpus[0]).end);
    assert_int_equal(drain(f, list, 3, 4), 1);
}

/* The reset register lies inside the zone of the PCI address latch, and a byte to it is recorded like any other. */
static void test_zone_swallows_cf9(void **state)
{
    struct fixture *f = *state;
    const struct guest_write list[] = {{true, 0xcf8, 4, 0x80000000}, {true, 0xcf9, 1, 0x06}, {true, 0xcfb, 1, 0x80}};
    add_zone(f, true, 0xcf8, 4);
    assert_exits_at(f, list, 3, (const bool[]){false, false, false});
}

/* Bytes of data[] past `len` are whatever the slot held; an entry's value must not depend on them. */
static void test_stale_data(void **state)
{
    struct fixture *f = *state;
    const struct guest_write list[] = {
        {true, PORT, 1, 0x5a}, {true, PORT, 2, 0x5a5b}, {true, PORT, 4, 0x5a5b5c5d}, {false, ADDR, 1, 0x5e}};
    add_zone(f, true, PORT, 4);
    add_zone(f, false, ADDR, 4);
    for (uint32_t start = 0; start < RINGD_RING_SLOTS; start += 83) { /* the last one wraps */
        start_at(f, start);
        for (unsigned i = 0; i < RINGD_RING_SLOTS; i++)
            memset(f->ring.page->entries[i].data, 0xee, sizeof(f->ring.page->entries[i].data));
        load(f, list, 4);
        assert_true(guest_run(&f->guest.vcpus[0]).end);
        assert_int_equal(ring_pending(&f->cursor), 4);
        assert_int_equal(drain(f, list, 0, 4), 4);
    }
}

/* ---- REP OUTSB across "ring full" ---- */

#define REP_COUNT 500u

GUEST_ASM(rep_outsb, "rep outsb (%si), %dx\n" GUEST_ASM_END);

static void test_rep_outsb(void **state)
{
    struct fixture *f = *state;
    add_zone(f, true, PORT, 1);
    for (uint32_t start = 0; start < RINGD_RING_SLOTS; start += 13) {
        struct guest_write list[REP_COUNT];
        for (unsigned i = 0; i < REP_COUNT; i++) {
            f->guest.memory[GUEST_DATA + i] = (uint8_t)(i * 7 + i / 256);
            list[i] = (struct guest_write){true, PORT, 1, (uint8_t)(i * 7 + i / 256)};
        }
        start_at(f, start);
        struct kvm_regs regs = {.rsi = GUEST_DATA, .rcx = REP_COUNT, .rdx = PORT};
        guest_load(&f->guest, 0, rep_outsb, (size_t)(rep_outsb_end - rep_outsb), &regs);
        unsigned done = 0, exits = 0;
        for (;;) {
            struct guest_exit exit = guest_run(&f->guest.vcpus[0]);
            done += drain(f, list, done, REP_COUNT);
            if (exit.end)
                break;
            assert_true(done < REP_COUNT);
            assert_same(&exit.write, &list[done], done);
            done++;
            exits++;
        }
        assert_int_equal(done, REP_COUNT);
        assert_in_range(exits, REP_COUNT / (USABLE + 1), REP_COUNT / EARLY_FULL + 1);
    }
}

/* ---- two devices ---- */

/* Two rings where each device has one: neither holds the other's writes, and a full one leaves the other as it is. */
static void test_two_rings(void **state)
{
    struct fixture *f = *state;
    struct backend_ring other;
    const struct backend_zone other_zone = {.addr = PORT + 0x10, .size = 1, .pio = true};
    struct ring_cursor cursor;
    static struct guest_code code;
    if (f->back->shared)
        skip();
    assert_int_equal(f->back->ring_create(f->guest.vm, f->guest.vcpus[0].fd, &other), 0);
    ring_cursor_init(&cursor, other.page);
    add_zone(f, true, PORT, 1);
    assert_int_equal(f->back->zone_add(f->guest.vm, &other, &other_zone), 0);

    /* 100 to the other one, then this one until it is full, and another 60 to the other one. */
    memset(&code, 0, sizeof(code));
    for (unsigned i = 0; i < 100; i++)
        code_write(&code, &(struct guest_write){true, other_zone.addr, 1, i});
    for (unsigned i = 0; i < USABLE + 1; i++)
        code_write(&code, &(struct guest_write){true, PORT, 1, 0x80});
    for (unsigned i = 100; i < 160; i++)
        code_write(&code, &(struct guest_write){true, other_zone.addr, 1, i});
    code_load(&f->guest, 0, &code);
    unsigned exits[2] = {0}, held[2] = {0};
    struct guest_exit exit;
    while (!(exit = guest_run(&f->guest.vcpus[0])).end)
        exits[exit.write.addr == other_zone.addr]++;
    held[0] = ring_pending(&f->cursor);
    held[1] = ring_pending(&cursor);
    assert_true(exits[0] > 0);
    assert_int_equal(held[0] + exits[0], USABLE + 1);
    assert_int_equal(held[1] + exits[1], 160);
    if (held[0] == USABLE) /* not a kernel that calls rings full early */
        assert_int_equal(exits[1], 0);
    for (unsigned i = 0; i < held[0]; i++, ring_advance(&f->cursor))
        assert_int_equal(ring_peek(&f->cursor).addr, PORT);
    for (unsigned i = 0; i < held[1]; i++, ring_advance(&cursor)) {
        assert_int_equal(ring_peek(&cursor).addr, other_zone.addr);
        assert_int_equal(ring_peek(&cursor).data[0], i);
    }
    f->back->zone_remove(f->guest.vm, &other, &other_zone);
    f->back->ring_destroy(&other);
}

/* ---- notification ---- */

/* A back end that notifies does so while something stands in the ring, and is silent otherwise. */
static void test_notification(void **state)
{
    struct fixture *f = *state;
    const struct guest_write list[] = {{true, PORT, 1, 1}, {true, PORT, 1, 2}};
    if (f->ring.fd < 0)
        skip();
    struct pollfd pollfd = {.fd = f->ring.fd, .events = POLLIN};
    add_zone(f, true, PORT, 1);
    assert_int_equal(poll(&pollfd, 1, 0), 0);
    load(f, list, 2);
    assert_true(guest_run(&f->guest.vcpus[0]).end);
    assert_int_equal(poll(&pollfd, 1, 0), 1);
    assert_int_equal(drain(f, list, 0, 2), 2);
    assert_int_equal(poll(&pollfd, 1, 0), 0);
}

int main(void)
{
    backend_kind = guest_backend();
    alarm(110); /* a guest that never comes back ends the test, not the machine */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_fill_ports, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_fill_memory, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_fill_mixed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_full_stays_full, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_unregister, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_unregister_keeps_entries, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_widths, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_not_wholly_inside, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_outw_straddles, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_zone_swallows_cf9, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_stale_data, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_rep_outsb, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_two_rings, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_notification, set_up, tear_down),
    };
    return cmocka_run_group_tests_name("coalesced", tests, NULL, NULL);
}
