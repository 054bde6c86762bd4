/* SPDX-License-Identifier: BSD-2-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <ringd/models/uart16550.h>

#include "fake_env.h"

enum { RBR = 0, THR = 0, DLL = 0, IER = 1, DLM = 1, IIR = 2, FCR = 2, LCR = 3, MCR = 4, LSR = 5, MSR = 6, SCR = 7 };
enum { OUT2 = 0x08, LOOP = 0x10 };

struct fixture {
    struct fake_env fake;
    unsigned ready_calls;
};

static void on_rx_ready(void *ctx)
{
    struct fixture *fixture = ctx;
    fixture->ready_calls++;
}

static int setup(void **state)
{
    static struct fixture fixture;
    struct uart16550_config config = {.rx_ready = on_rx_ready, .rx_ready_ctx = &fixture};

    memset(&fixture, 0, sizeof(fixture));
    *state = &fixture;
    return fake_env_create(&fixture.fake, &uart16550_ops, &config, 0);
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    fake_env_destroy(&fixture->fake);
    return 0;
}

static uint8_t in(void **state, uint64_t reg)
{
    struct fixture *fixture = *state;
    uint64_t value = fake_read(&fixture->fake, 0, reg, 1);
    assert_true(value <= 0xff);
    return (uint8_t)value;
}

static void out(void **state, uint64_t reg, uint8_t value)
{
    struct fixture *fixture = *state;
    fake_write(&fixture->fake, 0, reg, 1, value);
}

static size_t receive(void **state, const char *text)
{
    struct fixture *fixture = *state;
    return uart16550_receive(fixture->fake.self, (const uint8_t *)text, strlen(text));
}

static bool irq(void **state)
{
    struct fixture *fixture = *state;
    return fixture->fake.irq[0];
}

static unsigned edges(void **state)
{
    struct fixture *fixture = *state;
    return fixture->fake.edges[0];
}

static void advance(void **state, uint64_t ns)
{
    struct fixture *fixture = *state;
    assert_true(fake_env_advance(&fixture->fake, ns));
}

static bool timer_armed(void **state)
{
    struct fixture *fixture = *state;
    return fixture->fake.deadline[0] != RINGD_NEVER;
}

/* 115200 8N1: a character takes 86.8 us. */
static void set_115200(void **state)
{
    out(state, LCR, 0x83);
    out(state, DLL, 1);
    out(state, DLM, 0);
    out(state, LCR, 0x03);
}

static void test_power_on(void **state)
{
    assert_int_equal(in(state, IER), 0);
    assert_int_equal(in(state, IIR), 0x01);
    assert_int_equal(in(state, LCR), 0);
    assert_int_equal(in(state, MCR), 0);
    assert_int_equal(in(state, LSR), 0x60);
    assert_int_equal(in(state, MSR), 0xb0);
    out(state, LCR, 0x80);
    assert_int_equal(in(state, DLL), 12);
    assert_int_equal(in(state, DLM), 0);
    assert_false(irq(state));
}

static void test_register_bits(void **state)
{
    out(state, IER, 0xff);
    assert_int_equal(in(state, IER), 0x0f);
    out(state, MCR, 0xff);
    assert_int_equal(in(state, MCR), 0x1f);
    out(state, MCR, 0);
    for (unsigned value = 0; value < 256; value++) {
        out(state, SCR, (uint8_t)value);
        assert_int_equal(in(state, SCR), value);
    }
    out(state, LCR, 0xff);
    out(state, DLL, 0x34);
    out(state, DLM, 0x12);
    assert_int_equal(in(state, DLL), 0x34);
    assert_int_equal(in(state, DLM), 0x12);
    assert_int_equal(in(state, LCR), 0xff);
    out(state, LCR, 0x03);
    assert_int_equal(in(state, IER), 0x0f); /* the divisor left it alone */
    out(state, LSR, 0x00);
    out(state, MSR, 0xff);
    assert_int_equal(in(state, LSR), 0x60);
}

static void test_transmit(void **state)
{
    struct fixture *fixture = *state;

    for (const char *c = "Hello\xff"; *c; c++)
        out(state, THR, (uint8_t)*c);
    assert_int_equal(fixture->fake.output_size, 6);
    assert_memory_equal(fixture->fake.output, "Hello\xff", 6);
    assert_int_equal(in(state, LSR), 0x60);
    assert_int_equal(fake_counter(&fixture->fake, "sent"), 6);
}

static void test_thr_interrupt(void **state)
{
    out(state, MCR, OUT2);
    out(state, IER, 0x02); /* enabling it raises it */
    assert_true(irq(state));
    assert_int_equal(in(state, IIR), 0x02);
    assert_false(irq(state)); /* reading IIR withdraws it */
    assert_int_equal(in(state, IIR), 0x01);
    out(state, IER, 0x02); /* no change, no interrupt */
    assert_int_equal(in(state, IIR), 0x01);
    out(state, THR, 'a');
    assert_true(irq(state));
    assert_int_equal(edges(state), 2);
    out(state, THR, 'b'); /* without a look at IIR: falls and rises */
    assert_int_equal(edges(state), 3);
    out(state, IER, 0x00);
    assert_false(irq(state));
    out(state, IER, 0x02);
    assert_true(irq(state));
}

/* IIR names another source: THRE is not what was read and stays. */
static void test_thr_interrupt_survives_higher(void **state)
{
    out(state, MCR, OUT2);
    out(state, IER, 0x03);
    receive(state, "x");
    assert_int_equal(in(state, IIR), 0x04);
    assert_int_equal(in(state, IIR), 0x04);
    assert_int_equal(in(state, RBR), 'x');
    assert_true(irq(state));
    assert_int_equal(in(state, IIR), 0x02);
    assert_false(irq(state));
}

static void test_out2_gate(void **state)
{
    out(state, IER, 0x01);
    receive(state, "x");
    assert_int_equal(in(state, IIR), 0x04);
    assert_false(irq(state));
    out(state, MCR, OUT2);
    assert_true(irq(state));
    out(state, MCR, 0);
    assert_false(irq(state));
}

static void test_receive_without_fifo(void **state)
{
    struct fixture *fixture = *state;

    assert_int_equal(uart16550_rx_space(fixture->fake.self), 1);
    assert_int_equal(receive(state, "ab"), 1);
    assert_int_equal(uart16550_rx_space(fixture->fake.self), 0);
    assert_int_equal(in(state, LSR), 0x61);
    assert_int_equal(fixture->ready_calls, 0);
    assert_int_equal(in(state, RBR), 'a');
    assert_int_equal(fixture->ready_calls, 1);
    assert_int_equal(in(state, LSR), 0x60);
    assert_int_equal(in(state, RBR), 'a'); /* the register keeps it */
    assert_int_equal(fixture->ready_calls, 1);
    assert_false(timer_armed(state));
}

static void test_fifo_triggers(void **state)
{
    static const unsigned levels[] = {1, 4, 8, 14};

    out(state, MCR, OUT2);
    out(state, IER, 0x01);
    for (unsigned i = 0; i < 4; i++) {
        out(state, FCR, (uint8_t)(0x07 | i << 6));
        assert_int_equal(in(state, IIR), 0xc1);
        for (unsigned n = 1; n <= 16; n++) {
            assert_int_equal(receive(state, "x"), 1);
            assert_int_equal(in(state, IIR), n < levels[i] ? 0xc1 : 0xc4);
            assert_int_equal(irq(state), n >= levels[i]);
        }
        assert_int_equal(receive(state, "x"), 0);
        for (unsigned n = 15; n + 1 >= levels[i] && n > 0; n--) {
            in(state, RBR);
            assert_int_equal(in(state, IIR), n < levels[i] ? 0xc1 : 0xc4);
        }
    }
}

static void test_fifo_order_and_wrap(void **state)
{
    struct fixture *fixture = *state;
    uint8_t next_in = 0, next_out = 0;

    out(state, FCR, 0x01);
    for (unsigned round = 0; round < 100; round++) {
        uint8_t data[16];
        for (unsigned i = 0; i < 11; i++)
            data[i] = next_in++;
        assert_int_equal(uart16550_receive(fixture->fake.self, data, 11), 11);
        for (unsigned i = 0; i < 11; i++)
            assert_int_equal(in(state, RBR), next_out++);
    }
    assert_int_equal(fixture->ready_calls, 101); /* one for FCR, then one each time it ran empty */
}

static void test_fcr(void **state)
{
    out(state, FCR, 0xc0); /* without bit 0 nothing else is programmed */
    assert_int_equal(in(state, IIR), 0x01);
    out(state, FCR, 0x01);
    receive(state, "abc");
    out(state, FCR, 0x05); /* TX only */
    assert_int_equal(in(state, LSR), 0x61);
    out(state, FCR, 0x03); /* RX */
    assert_int_equal(in(state, LSR), 0x60);
    receive(state, "abc");
    out(state, FCR, 0x00); /* a change of mode clears */
    assert_int_equal(in(state, LSR), 0x60);
    receive(state, "d");
    out(state, FCR, 0x02); /* not enabled: not a reset */
    assert_int_equal(in(state, LSR), 0x61);
    out(state, FCR, 0x01);
    assert_int_equal(in(state, LSR), 0x60);
}

static void test_character_timeout(void **state)
{
    /* LCR, divisor, nanoseconds of four characters: start + data + parity + stop bits, at 115200 / divisor. */
    static const struct {
        uint8_t lcr;
        uint16_t divisor;
        uint64_t ns;
    } cases[] = {
        {0x03, 1, 347222}, {0x03, 12, 4166666}, {0x00, 1, 243055}, {0x04, 1, 260416},           {0x1b, 1, 381944},
        {0x07, 1, 381944}, {0x0f, 1, 416666},   {0x03, 0, 347222}, {0x03, 0xffff, 22755208333},
    };
    struct fixture *fixture = *state;

    out(state, MCR, OUT2);
    out(state, IER, 0x01);
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        out(state, LCR, 0x80);
        out(state, DLL, (uint8_t)cases[i].divisor);
        out(state, DLM, (uint8_t)(cases[i].divisor >> 8));
        out(state, LCR, cases[i].lcr);
        out(state, FCR, 0x83);
        receive(state, "x");
        assert_true(timer_armed(state));
        advance(state, cases[i].ns - 2);
        assert_false(irq(state));
        assert_int_equal(in(state, IIR), 0xc1);
        advance(state, 4);
        assert_true(irq(state));
        assert_int_equal(in(state, IIR), 0xcc);
        assert_int_equal(in(state, IIR), 0xcc); /* IIR does not withdraw it */
        assert_int_equal(in(state, RBR), 'x');
        assert_false(irq(state));
        assert_false(timer_armed(state));
    }
    assert_int_equal(fake_counter(&fixture->fake, "timeouts"), sizeof(cases) / sizeof(cases[0]));
}

/* Four character times without arrival and without a read (data sheet, "FIFO interrupt mode operation"). */
static void test_character_timeout_restarts(void **state)
{
    out(state, MCR, OUT2);
    out(state, IER, 0x01);
    set_115200(state);
    out(state, FCR, 0x81); /* trigger 8 */
    receive(state, "a");
    advance(state, 300000);
    receive(state, "b");
    advance(state, 300000);
    assert_int_equal(in(state, RBR), 'a');
    advance(state, 300000);
    assert_false(irq(state));
    advance(state, 50000);
    assert_true(irq(state));
    assert_int_equal(in(state, IIR), 0xcc);
    assert_int_equal(in(state, RBR), 'b');
    assert_false(irq(state));
}

static void test_timer_only_when_needed(void **state)
{
    set_115200(state);
    out(state, FCR, 0x41); /* trigger 4 */
    receive(state, "a");
    assert_false(timer_armed(state)); /* no interrupt wanted */
    out(state, IER, 0x01);
    assert_true(timer_armed(state));
    receive(state, "bcd");
    assert_false(timer_armed(state)); /* the trigger level tells already */
    in(state, RBR);
    assert_true(timer_armed(state));
    out(state, LCR, 0x80);
    out(state, DLM, 0xff);
    out(state, DLM, 0x00); /* a shorter character time shortens the wait */
    out(state, LCR, 0x03);
    advance(state, 350000);
    assert_int_equal(in(state, IIR), 0xcc);
    out(state, IER, 0x00);
    assert_int_equal(in(state, IIR), 0xc1);
    out(state, IER, 0x01);
    advance(state, 0); /* the wait was over long ago */
    assert_int_equal(in(state, IIR), 0xcc);
    out(state, FCR, 0x43);
    assert_int_equal(in(state, IIR), 0xc1);
    assert_false(timer_armed(state));
}

static void test_overrun(void **state)
{
    struct fixture *fixture = *state;

    out(state, MCR, LOOP | OUT2);
    out(state, IER, 0x04);
    out(state, THR, 'a');
    assert_false(irq(state));
    out(state, THR, 'b'); /* the buffer takes the newer one */
    assert_true(irq(state));
    assert_int_equal(in(state, IIR), 0x06);
    assert_int_equal(in(state, LSR), 0x63);
    assert_false(irq(state));
    assert_int_equal(in(state, LSR), 0x61);
    assert_int_equal(in(state, RBR), 'b');

    out(state, FCR, 0x01);
    for (unsigned i = 0; i < 17; i++) /* the FIFO keeps the older ones */
        out(state, THR, (uint8_t)('a' + i));
    assert_int_equal(in(state, LSR), 0x63);
    for (unsigned i = 0; i < 16; i++)
        assert_int_equal(in(state, RBR), 'a' + i);
    assert_int_equal(in(state, LSR), 0x60);
    assert_int_equal(fake_counter(&fixture->fake, "overruns"), 2);
    assert_int_equal(fixture->fake.output_size, 0);
}

static void test_break(void **state)
{
    struct fixture *fixture = *state;

    out(state, MCR, OUT2);
    out(state, IER, 0x05);
    out(state, FCR, 0xc1);
    receive(state, "a");
    assert_true(uart16550_receive_break(fixture->fake.self));
    assert_int_equal(in(state, LSR), 0xe1); /* an error in the FIFO, not at its top */
    assert_int_equal(in(state, IIR), 0xc1);
    assert_int_equal(in(state, RBR), 'a');
    assert_int_equal(in(state, IIR), 0xc6); /* now at the top */
    assert_int_equal(in(state, LSR), 0xf9);
    assert_int_equal(in(state, LSR), 0x61);
    assert_int_equal(in(state, RBR), 0);

    receive(state, "a");
    uart16550_receive_break(fixture->fake.self);
    in(state, RBR);
    out(state, FCR, 0x03); /* goes with the FIFO */
    assert_int_equal(in(state, LSR), 0x60);

    out(state, FCR, 0x00);
    assert_true(uart16550_receive_break(fixture->fake.self));
    assert_false(uart16550_receive_break(fixture->fake.self));
    assert_int_equal(in(state, LSR), 0x79); /* bit 7 is the FIFO's */
}

static void test_loopback(void **state)
{
    struct fixture *fixture = *state;

    in(state, MSR);
    out(state, FCR, 0x01);
    out(state, MCR, LOOP);
    assert_int_equal(uart16550_rx_space(fixture->fake.self), 0);
    assert_int_equal(receive(state, "x"), 0);
    assert_false(uart16550_receive_break(fixture->fake.self));
    out(state, THR, 0x5a);
    assert_int_equal(in(state, RBR), 0x5a);
    assert_int_equal(fixture->fake.output_size, 0);
    unsigned calls = fixture->ready_calls;
    out(state, MCR, 0);
    assert_int_equal(fixture->ready_calls, calls + 1);
    assert_int_equal(receive(state, "x"), 1);
}

static void test_modem_loopback(void **state)
{
    /* MCR output, MSR input that it becomes, its delta while it goes on and while it goes off */
    static const struct {
        uint8_t mcr, msr, on, off;
    } cases[] = {
        {0x01, 0x20, 0x02, 0x02}, {0x02, 0x10, 0x01, 0x01}, {0x04, 0x40, 0x00, 0x04}, {0x08, 0x80, 0x08, 0x08}};

    out(state, MCR, LOOP);
    in(state, MSR);
    for (unsigned i = 0; i < 4; i++) {
        out(state, MCR, LOOP | cases[i].mcr);
        assert_int_equal(in(state, MSR), cases[i].msr | cases[i].on);
        assert_int_equal(in(state, MSR), cases[i].msr);
        out(state, MCR, LOOP);
        assert_int_equal(in(state, MSR), cases[i].off);
    }
}

static void test_modem_lines(void **state)
{
    struct fixture *fixture = *state;

    out(state, MCR, OUT2);
    out(state, IER, 0x08);
    assert_int_equal(in(state, MSR), 0xb0);
    uart16550_set_modem_lines(fixture->fake.self, UART16550_CTS | UART16550_DSR | 0xff00);
    assert_true(irq(state));
    assert_int_equal(in(state, IIR), 0x00);
    assert_int_equal(in(state, MSR), 0x38);
    assert_false(irq(state));
    uart16550_set_modem_lines(fixture->fake.self, UART16550_CTS | UART16550_DSR | UART16550_RI);
    assert_false(irq(state)); /* ringing counts at its end */
    uart16550_set_modem_lines(fixture->fake.self, UART16550_CTS | UART16550_DSR);
    assert_int_equal(in(state, MSR), 0x34);
    fixture->fake.device->reset(fixture->fake.self);
    assert_int_equal(in(state, MSR), 0x30); /* the outside does not change by a reset */
}

static void test_priorities(void **state)
{
    struct fixture *fixture = *state;

    out(state, MCR, OUT2);
    out(state, IER, 0x0f);
    uart16550_set_modem_lines(fixture->fake.self, 0);
    uart16550_receive_break(fixture->fake.self);
    assert_int_equal(in(state, IIR), 0x06);
    in(state, LSR);
    assert_int_equal(in(state, IIR), 0x04);
    in(state, RBR);
    assert_int_equal(in(state, IIR), 0x02);
    assert_int_equal(in(state, IIR), 0x00);
    assert_true(irq(state));
    in(state, MSR);
    assert_int_equal(in(state, IIR), 0x01);
    assert_false(irq(state));
    assert_int_equal(edges(state), 1); /* while anything is pending the line stays */
}

/* The steps of Linux' 8250 driver: drivers/tty/serial/8250/8250_port.c, autoconfig() and autoconfig_16550a(). */
static void test_linux_autoconfig(void **state)
{
    out(state, IER, 0x00);
    assert_int_equal(in(state, IER) & 0x0f, 0x00);
    out(state, IER, 0x0f);
    assert_int_equal(in(state, IER) & 0x0f, 0x0f);
    out(state, IER, 0x00);

    out(state, MCR, 0x1a); /* loopback with OUT2 and RTS: DCD and CTS */
    assert_int_equal(in(state, MSR) & 0xf0, 0x90);
    out(state, MCR, 0x00);

    out(state, LCR, 0xbf); /* an EFR would be at FCR's place */
    out(state, FCR, 0x00);
    out(state, LCR, 0x00);
    out(state, FCR, 0x01);
    assert_int_equal(in(state, IIR) >> 6, 3); /* a 16550A at least */

    out(state, LCR, 0x80);
    assert_int_not_equal(in(state, IIR), 0); /* no EFR: no 16C650 */
    out(state, LCR, 0xbf);
    assert_int_not_equal(in(state, IIR), 0);
    out(state, LCR, 0x00); /* no EXCR1 whose bit 4 follows MCR's: no National SuperIO */
    uint8_t mcr = in(state, MCR);
    out(state, MCR, mcr ^ LOOP);
    out(state, LCR, 0xe0);
    assert_int_equal(in(state, IIR) & LOOP, 0);
    out(state, LCR, 0x00);
    out(state, MCR, mcr);

    out(state, FCR, 0x21); /* no 64-byte FIFO: no 16750 */
    assert_int_equal(in(state, IIR) >> 5, 6);
    out(state, FCR, 0x01);
    out(state, LCR, 0x80);
    out(state, FCR, 0x21);
    assert_int_equal(in(state, IIR) >> 5, 6);
    out(state, FCR, 0x01);
    out(state, LCR, 0x00);
    out(state, IER, 0x40); /* no UUE bit: no XScale */
    assert_int_equal(in(state, IER) & 0x40, 0);
}

/* serial8250_do_startup(): the tests for the THRE and the TXEN bug. */
static void test_linux_startup(void **state)
{
    out(state, FCR, 0x01);
    out(state, FCR, 0x07);
    out(state, FCR, 0x00);
    in(state, LSR), in(state, RBR), in(state, IIR), in(state, MSR);
    assert_int_equal(in(state, LSR) & 0x20, 0x20);
    out(state, IER, 0x02);
    assert_int_equal(in(state, IIR) & 0x01, 0);
    out(state, IER, 0x00);
    out(state, IER, 0x02);
    assert_int_equal(in(state, IIR) & 0x01, 0); /* else "no THRE on re-enable" */
    out(state, IER, 0x00);

    out(state, MCR, OUT2);
    out(state, IER, 0x02);
    assert_int_equal(in(state, LSR) & 0x40, 0x40);
    assert_int_equal(in(state, IIR) & 0x01, 0); /* else UART_BUG_TXEN */
    out(state, IER, 0x00);
}

/* SeaBIOS src/serial.c, detect_serial(). */
static void test_seabios_detect(void **state)
{
    out(state, IER, 0x02);
    assert_int_equal(in(state, IER), 0x02);
    assert_int_equal(in(state, IIR) & 0x3f, 0x02);
    out(state, IER, 0x00);
    assert_false(irq(state));
}

static void test_reset(void **state)
{
    struct fixture *fixture = *state;

    set_115200(state);
    out(state, MCR, OUT2);
    out(state, IER, 0x01);
    out(state, FCR, 0xc1);
    receive(state, "abc");
    assert_true(timer_armed(state));
    uart16550_receive_break(fixture->fake.self);
    fixture->fake.device->reset(fixture->fake.self);
    assert_false(timer_armed(state));
    assert_false(irq(state));
    test_power_on(state);
    assert_int_equal(fake_counter(&fixture->fake, "received"), 3); /* counters are the run's */
}

static void test_no_configuration(void **state)
{
    struct fake_env fake;

    (void)state;
    assert_int_equal(fake_env_create(&fake, &uart16550_ops, NULL, 0), 0);
    assert_int_equal(uart16550_receive(fake.self, (const uint8_t *)"x", 1), 1);
    assert_int_equal(fake_read(&fake, 0, RBR, 1), 'x');
    assert_int_equal(fake.device->counters(fake.self, NULL, 0), 5);
    fake_env_destroy(&fake);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_power_on),
        TEST(test_register_bits),
        TEST(test_transmit),
        TEST(test_thr_interrupt),
        TEST(test_thr_interrupt_survives_higher),
        TEST(test_out2_gate),
        TEST(test_receive_without_fifo),
        TEST(test_fifo_triggers),
        TEST(test_fifo_order_and_wrap),
        TEST(test_fcr),
        TEST(test_character_timeout),
        TEST(test_character_timeout_restarts),
        TEST(test_timer_only_when_needed),
        TEST(test_overrun),
        TEST(test_break),
        TEST(test_loopback),
        TEST(test_modem_loopback),
        TEST(test_modem_lines),
        TEST(test_priorities),
        TEST(test_linux_autoconfig),
        TEST(test_linux_startup),
        TEST(test_seabios_detect),
        TEST(test_reset),
        cmocka_unit_test(test_no_configuration),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
