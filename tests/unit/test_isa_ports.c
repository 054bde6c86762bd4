/* SPDX-License-Identifier: BSD-2-Clause */
/* The small ISA devices: debug console, POST code, debug exit, keyboard controller. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <ringd/models/debug_console.h>
#include <ringd/models/debug_exit.h>
#include <ringd/models/i8042.h>
#include <ringd/models/post_code.h>

#include "fake_env.h"

static struct fake_env fake;

static void create(const struct ringd_device_ops *device, const void *config)
{
    assert_int_equal(fake_env_create(&fake, device, config, 0), 0);
}

static int teardown(void **state)
{
    (void)state;
    fake_env_destroy(&fake);
    return 0;
}

static uint64_t counter(const char *name)
{
    return fake_counter(&fake, name);
}

static void test_debug_console(void **state)
{
    struct debug_console_config config = {.readback = 0x42};

    (void)state;
    create(&debug_console_ops, NULL);
    assert_int_equal(fake_read(&fake, 0, 0, 1), 0xe9);
    for (unsigned i = 0; i < 256; i++) {
        fake_write(&fake, 0, 0, 1, i);
        assert_int_equal(fake.output_size, i + 1); /* out at once */
        assert_int_equal(fake.output[i], i);
    }
    assert_int_equal(counter("characters"), 256);
    assert_int_equal(counter("probes"), 1);
    fake.device->reset(fake.self);
    assert_int_equal(counter("characters"), 256);
    assert_int_equal(debug_console_ops.regions[0].flags, RINGD_POSTED);
    fake_env_destroy(&fake);

    create(&debug_console_ops, &config);
    assert_int_equal(fake_read(&fake, 0, 0, 1), 0x42);
}

static void test_post_code(void **state)
{
    struct post_code_entry entries[POST_CODE_HISTORY];

    (void)state;
    create(&post_code_ops, NULL);
    assert_int_equal(post_code_history(fake.self, entries), 0);
    assert_int_equal(fake_read(&fake, 0, 0, 1), 0);
    fake_write(&fake, 0, 0, 1, 0x00); /* the latch's first value is a code like any other */
    fake_write(&fake, 0, 0, 1, 0xaa);
    fake_write(&fake, 0, 0, 1, 0xaa);
    fake_write(&fake, 0, 0, 1, 0xbb);
    assert_int_equal(post_code_history(fake.self, entries), 3);
    assert_int_equal(entries[0].code, 0x00);
    assert_int_equal(entries[1].code, 0xaa);
    assert_int_equal(entries[1].writes, 2);
    assert_int_equal(entries[2].code, 0xbb);
    assert_int_equal(entries[2].writes, 1);
    assert_int_equal(fake_read(&fake, 0, 0, 1), 0xbb);
    assert_int_equal(counter("codes"), 4);
    assert_int_equal(counter("last-code"), 0xbb);
    assert_int_equal(post_code_ops.regions[0].flags, RINGD_POSTED);

    for (unsigned i = 1; i <= 40; i++) {
        fake_write(&fake, 0, 0, 1, i);
        unsigned count = post_code_history(fake.self, entries);
        assert_int_equal(count, i + 3 < 16 ? i + 3 : 16);
        assert_int_equal(entries[count - 1].code, i);
    }
    for (unsigned i = 0; i < 16; i++)
        assert_int_equal(entries[i].code, 25 + i);

    fake.device->reset(fake.self);
    assert_int_equal(fake_read(&fake, 0, 0, 1), 0);
    assert_int_equal(post_code_history(fake.self, entries), 16);
}

static void test_debug_exit(void **state)
{
    static const struct {
        unsigned offset, width;
        uint64_t value;
    } cases[] = {{0, 1, 0}, {0, 1, 0xff}, {3, 1, 0x31}, {0, 2, 0x1234}, {2, 2, 0xffff}, {0, 4, 0xdeadbeef}};

    (void)state;
    create(&debug_exit_ops, NULL);
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(fake_read(&fake, 0, cases[i].offset, cases[i].width), 0);
        assert_int_equal(fake.events[RINGD_EVENT_DEBUG_EXIT], i);
        fake_write(&fake, 0, cases[i].offset, cases[i].width, cases[i].value);
        assert_int_equal(fake.events[RINGD_EVENT_DEBUG_EXIT], i + 1);
        assert_int_equal(fake.event_value, cases[i].value);
    }
    assert_int_equal(counter("requests"), 6);
    assert_int_equal(debug_exit_ops.regions[0].flags & RINGD_POSTED, 0);
}

/* The keyboard controller. */
enum { DATA, COMMAND, PORT92 };
enum { OBF = 0x01, SYS = 0x04, CMD = 0x08, UNLOCKED = 0x10, AUX = 0x20, TIMEOUT = 0x40 };

static uint8_t in(unsigned region)
{
    uint64_t value = fake_read(&fake, region, 0, 1);
    assert_true(value <= 0xff);
    return (uint8_t)value;
}

static void out(unsigned region, uint8_t value)
{
    fake_write(&fake, region, 0, 1, value);
    assert_int_equal(in(COMMAND)&0x02, 0); /* IBF is never seen */
}

static uint8_t command_in(uint8_t command)
{
    out(COMMAND, command);
    assert_int_equal(in(COMMAND) & (OBF | AUX | TIMEOUT), OBF);
    uint8_t value = in(DATA);
    assert_int_equal(in(COMMAND)&OBF, 0);
    return value;
}

static void command_out(uint8_t command, uint8_t value)
{
    out(COMMAND, command);
    out(DATA, value);
}

static void test_i8042_power_on(void **state)
{
    (void)state;
    create(&i8042_ops, NULL);
    assert_int_equal(in(COMMAND), UNLOCKED);
    assert_int_equal(in(DATA), 0);
    assert_int_equal(in(PORT92), 0x02);
    assert_int_equal(command_in(0x20), 0x30);
    assert_int_equal(command_in(0xd0), 0xcf);
    assert_int_equal(command_in(0xc0), 0xa3);
    assert_int_equal(command_in(0xe0), 0x00);
    assert_int_equal(in(COMMAND), UNLOCKED | CMD);
    out(DATA, 0xf4);
    assert_int_equal(in(COMMAND)&CMD, 0);
}

static void test_i8042_tests(void **state)
{
    (void)state;
    create(&i8042_ops, NULL);
    assert_int_equal(in(COMMAND)&SYS, 0);
    assert_int_equal(command_in(0xaa), 0x55);
    assert_int_equal(in(COMMAND)&SYS, SYS);
    assert_int_equal(command_in(0x20), 0x34);
    assert_int_equal(command_in(0xab), 0x00);
    assert_int_equal(command_in(0xa9), 0x00);
    command_out(0x60, 0x30); /* the flag is the command byte's bit 2 */
    assert_int_equal(in(COMMAND)&SYS, 0);
}

static void test_i8042_command_byte(void **state)
{
    static const struct {
        uint8_t command, before, after;
    } cases[] = {{0xa7, 0x00, 0x20}, {0xa7, 0x20, 0x20}, {0xa8, 0x7f, 0x5f},
                 {0xad, 0x40, 0x50}, {0xae, 0x75, 0x65}, {0xae, 0x00, 0x00}};

    (void)state;
    create(&i8042_ops, NULL);
    for (unsigned value = 0; value < 256; value++) {
        command_out(0x60, (uint8_t)value);
        assert_int_equal(command_in(0x20), value & 0x7f);
    }
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        command_out(0x60, cases[i].before);
        out(COMMAND, cases[i].command);
        assert_int_equal(command_in(0x20), cases[i].after);
    }
    for (uint8_t i = 1; i < 32; i++) /* the rest of the controller's RAM */
        command_out((uint8_t)(0x60 + i), (uint8_t)(0xff - i));
    for (uint8_t i = 1; i < 32; i++)
        assert_int_equal(command_in((uint8_t)(0x20 + i)), 0xff - i);
    command_out(0x60, 0x00);
    assert_int_equal(command_in(0xe0), 0x03);
    command_out(0x60, 0x10);
    assert_int_equal(command_in(0xe0), 0x02);
}

static void test_i8042_loops(void **state)
{
    (void)state;
    create(&i8042_ops, NULL);
    command_out(0x60, 0x33);
    command_out(0xd2, 0x5a);
    assert_int_equal(in(COMMAND) & (OBF | AUX), OBF);
    assert_true(fake.irq[I8042_IRQ_KEYBOARD]);
    assert_int_equal(in(DATA), 0x5a);
    assert_false(fake.irq[I8042_IRQ_KEYBOARD]);
    command_out(0xd3, 0xa5);
    assert_int_equal(in(COMMAND) & (OBF | AUX), OBF | AUX);
    assert_true(fake.irq[I8042_IRQ_AUX]);
    assert_int_equal(in(DATA), 0xa5);
    assert_int_equal(in(COMMAND) & (OBF | AUX), 0);
    assert_int_equal(in(DATA), 0xa5); /* stays readable */
    command_out(0xd3, 0x01);
    command_out(0xd3, 0x02); /* each byte makes an edge of its own */
    assert_int_equal(fake.edges[I8042_IRQ_AUX], 3);
    command_out(0x60, 0x30);
    assert_false(fake.irq[I8042_IRQ_AUX]);
    command_out(0x60, 0x32);
    assert_true(fake.irq[I8042_IRQ_AUX]);
    assert_int_equal(fake.edges[I8042_IRQ_KEYBOARD], 1);
    out(COMMAND, 0xd3);
    out(COMMAND, 0xa7); /* another command ends the wait for data */
    in(DATA);
    out(DATA, 0x77);
    assert_int_equal(in(DATA), 0xfe);
}

static void test_i8042_empty_ports(void **state)
{
    (void)state;
    create(&i8042_ops, NULL);
    command_out(0x60, 0x33);
    out(DATA, 0xff);
    assert_int_equal(in(COMMAND) & (OBF | AUX | TIMEOUT), OBF | TIMEOUT);
    assert_true(fake.irq[I8042_IRQ_KEYBOARD]);
    command_out(0xd4, 0xf2); /* a second report waits for the first to be read */
    assert_false(fake.irq[I8042_IRQ_AUX]);
    assert_int_equal(in(DATA), 0xfe);
    assert_false(fake.irq[I8042_IRQ_KEYBOARD]);
    assert_true(fake.irq[I8042_IRQ_AUX]);
    assert_int_equal(in(COMMAND) & (OBF | AUX | TIMEOUT), OBF | AUX | TIMEOUT);
    out(COMMAND, 0x20); /* an answer goes first, then the report comes again */
    assert_int_equal(in(COMMAND) & (OBF | AUX | TIMEOUT), OBF);
    assert_int_equal(in(DATA), 0x23); /* sending has enabled the keyboard's port */
    assert_int_equal(in(COMMAND) & (OBF | AUX | TIMEOUT), OBF | AUX | TIMEOUT);
    assert_int_equal(in(DATA), 0xfe);
    assert_int_equal(in(COMMAND)&OBF, 0);
    for (unsigned i = 0; i < 20; i++) /* one buffer: reports do not pile up */
        out(DATA, 0xed);
    assert_int_equal(in(DATA), 0xfe);
    assert_int_equal(in(DATA), 0xfe);
    assert_int_equal(in(COMMAND)&OBF, 0);
    assert_int_equal(counter("keyboard-bytes-unanswered"), 21);
    assert_int_equal(counter("aux-bytes-unanswered"), 1);
    out(DATA, 0xed);
    out(DATA, 0xed);
    assert_int_equal(command_in(0xaa), 0x55); /* the self-test forgets them */
}

static void test_i8042_reset_and_a20(void **state)
{
    (void)state;
    create(&i8042_ops, NULL);
    unsigned resets = 0;
    for (unsigned command = 0xf0; command <= 0xff; command++) {
        out(COMMAND, (uint8_t)command);
        resets += !(command & 1);
        assert_int_equal(fake.events[RINGD_EVENT_RESET], resets);
    }
    command_out(0xd1, 0xce);
    assert_int_equal(fake.events[RINGD_EVENT_RESET], ++resets);
    out(COMMAND, 0xdf);
    command_out(0xd1, 0xdf);
    out(COMMAND, 0xdd);
    assert_int_equal(command_in(0xd0), 0xcd);
    out(COMMAND, 0xdf);
    assert_int_equal(command_in(0xd0), 0xcf);
    command_out(0xd2, 0x00);
    assert_int_equal(command_in(0xd0), 0xdf); /* bit 4: the keyboard's byte was there when it was read */
    command_out(0xd3, 0x00);
    assert_int_equal(command_in(0xd0), 0xef);
    assert_int_equal(fake.events[RINGD_EVENT_RESET], resets);

    out(PORT92, 0x00);
    assert_int_equal(in(PORT92), 0x00);
    out(PORT92, 0x03);
    assert_int_equal(in(PORT92), 0x03);
    assert_int_equal(fake.events[RINGD_EVENT_RESET], ++resets);
    out(PORT92, 0x01); /* no edge on bit 0 */
    assert_int_equal(fake.events[RINGD_EVENT_RESET], resets);
    out(PORT92, 0x02);
    out(PORT92, 0x03);
    assert_int_equal(fake.events[RINGD_EVENT_RESET], ++resets);
    assert_int_equal(counter("resets-requested"), resets);
    assert_int_equal(counter("a20-off"), 3);
    out(COMMAND, 0x00);
    assert_int_equal(counter("commands-unknown"), 1);
    command_out(0x60, 0x7f);
    fake.device->reset(fake.self);
    assert_int_equal(in(PORT92), 0x02);
    assert_int_equal(command_in(0x20), 0x30);
}

/* SeaBIOS src/hw/ps2port.c, ps2_keyboard_setup(): it has to end at the first byte to the keyboard, without a wait. */
static void test_i8042_seabios(void **state)
{
    (void)state;
    create(&i8042_ops, NULL);
    assert_int_equal(in(COMMAND)&OBF, 0);
    assert_int_equal(command_in(0xaa), 0x55);
    assert_int_equal(command_in(0xab), 0x00);
    command_out(0x60, 0x30);
    command_out(0x60, 0x20);
    out(DATA, 0xff);
    assert_int_equal(in(COMMAND) & (OBF | AUX), OBF);
    assert_int_equal(in(DATA), 0xfe);
    command_out(0x60, 0x30);
    assert_int_equal(in(COMMAND)&OBF, 0);
    assert_int_equal(fake.edges[I8042_IRQ_KEYBOARD] + fake.edges[I8042_IRQ_AUX], 0);
}

/* Linux drivers/input/serio/i8042.c: i8042_controller_init(), i8042_check_aux(), i8042_check_mux(). */
static void test_i8042_linux(void **state)
{
    (void)state;
    create(&i8042_ops, NULL);
    uint8_t ctr = command_in(0x20);
    assert_int_equal(command_in(0x20), ctr);
    assert_int_equal(in(COMMAND)&UNLOCKED, UNLOCKED);
    command_out(0x60, ctr);

    command_out(0xd3, 0x5a); /* loop test */
    assert_int_equal(in(COMMAND) & (OBF | AUX), OBF | AUX);
    assert_int_equal(in(DATA), 0x5a);
    out(COMMAND, 0xa7);
    assert_int_equal(command_in(0x20) & 0x20, 0x20);
    out(COMMAND, 0xa8);
    assert_int_equal(command_in(0x20) & 0x20, 0);
    command_out(0x60, 0x12); /* does IRQ 12 come */
    command_out(0xd3, 0xa5);
    assert_true(fake.irq[I8042_IRQ_AUX]);
    assert_int_equal(in(DATA), 0xa5);

    command_out(0xd3, 0xf0); /* no active multiplexing: the version command comes back as it was sent */
    assert_int_equal(in(DATA), 0xf0);
    command_out(0xd3, 0x56);
    assert_int_equal(in(DATA), 0x56);
    command_out(0xd3, 0xa4);
    assert_int_equal(in(DATA), 0xa4);

    command_out(0x60, 0x03); /* atkbd and psmouse ask for identity: refused at once, by interrupt */
    unsigned keyboard = fake.edges[I8042_IRQ_KEYBOARD];
    unsigned aux = fake.edges[I8042_IRQ_AUX];
    out(DATA, 0xf2);
    assert_int_equal(fake.edges[I8042_IRQ_KEYBOARD], keyboard + 1);
    assert_int_equal(in(DATA), 0xfe);
    command_out(0xd4, 0xf2);
    assert_int_equal(fake.edges[I8042_IRQ_AUX], aux + 1);
    assert_int_equal(in(DATA), 0xfe);
}

#define TEST(name) cmocka_unit_test_teardown(name, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_debug_console),  TEST(test_post_code),         TEST(test_debug_exit),
        TEST(test_i8042_power_on), TEST(test_i8042_tests),       TEST(test_i8042_command_byte),
        TEST(test_i8042_loops),    TEST(test_i8042_empty_ports), TEST(test_i8042_reset_and_a20),
        TEST(test_i8042_seabios),  TEST(test_i8042_linux),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
