/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Register accesses, line events and time in any order. Held: the interrupt line agrees with IIR and OUT2, THRE and
 * TEMT are always set, DR agrees with the room that is left, and received characters below the trigger level always
 * have either an interrupt or a timer that will bring one.
 */
#include <stdlib.h>

#include <ringd/models/uart16550.h>

#include "fake_env.h"

enum { REG_IER = 1, REG_IIR = 2, REG_LCR = 3, REG_MCR = 4, REG_LSR = 5 };

/* The upper five bits of an operation choose what it is; the lower three are the register. */
enum operation { READ, WRITE, RECEIVE, BREAK, MODEM, ADVANCE, RESET, CHECK };
static const uint8_t operations[32] = {
    READ,  READ,    READ,    READ,    READ,    READ,  WRITE, WRITE,   WRITE,   WRITE,   WRITE,
    WRITE, WRITE,   WRITE,   WRITE,   WRITE,   WRITE, WRITE, RECEIVE, RECEIVE, RECEIVE, BREAK,
    MODEM, ADVANCE, ADVANCE, ADVANCE, ADVANCE, RESET, CHECK, CHECK,   CHECK,   CHECK,
};

struct input {
    const uint8_t *data;
    size_t size;
};

static uint8_t next(struct input *input)
{
    if (!input->size)
        return 0;
    input->size--;
    return *input->data++;
}

static void require(bool condition)
{
    if (!condition)
        abort();
}

static void check(struct fake_env *fake)
{
    bool line = fake->irq[0];
    uint8_t mcr = (uint8_t)fake_read(fake, 0, REG_MCR, 1);
    uint8_t lcr = (uint8_t)fake_read(fake, 0, REG_LCR, 1);
    size_t space = uart16550_rx_space(fake->self);

    require(mcr <= 0x1f && space <= UART16550_FIFO_SIZE);
    require(!line || (mcr & 0x08));
    if (mcr & 0x10)
        require(space == 0);
    if (lcr & 0x80)
        return; /* IER is out of reach */
    uint8_t ier = (uint8_t)fake_read(fake, 0, REG_IER, 1);
    require(ier <= 0x0f);
    require(!line || ier);
    if (fake->deadline[0] != RINGD_NEVER)
        require((ier & 0x01) && space != UART16550_FIFO_SIZE && fake->deadline[0] < fake->now + 40000000000u);
}

/* Reads with effects, so only when the input asks for them. */
static void check_registers(struct fake_env *fake)
{
    uint8_t mcr = (uint8_t)fake_read(fake, 0, REG_MCR, 1);
    bool line = fake->irq[0];
    uint8_t iir = (uint8_t)fake_read(fake, 0, REG_IIR, 1);
    uint8_t lsr = (uint8_t)fake_read(fake, 0, REG_LSR, 1);
    bool fifo = iir & 0x80;
    size_t space = uart16550_rx_space(fake->self);

    require((iir & 0x30) == 0 && (fifo == ((iir & 0xc0) == 0xc0)));
    require(line == ((mcr & 0x08) && !(iir & 0x01)));
    require((lsr & 0x60) == 0x60 && (fifo || !(lsr & 0x80)));
    if (!(mcr & 0x10))
        require((lsr & 0x01) == (space != (fifo ? UART16550_FIFO_SIZE : 1u)));
    if (fake_read(fake, 0, REG_LCR, 1) & 0x80)
        return;
    uint8_t source = iir & 0x0f;
    if ((fake_read(fake, 0, REG_IER, 1) & 0x01) && (lsr & 0x01) && source != 0x06)
        require(source == 0x04 || source == 0x0c || (fifo && fake->deadline[0] != RINGD_NEVER));
}

static void on_rx_ready(void *ctx)
{
    ++*(unsigned *)ctx;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct fake_env fake;
    unsigned ready_calls = 0;
    struct uart16550_config config = {.rx_ready = on_rx_ready, .rx_ready_ctx = &ready_calls};
    struct input input = {data, size};

    if (fake_env_create(&fake, &uart16550_ops, &config, 0))
        return 0;
    while (input.size) {
        uint8_t op = next(&input);
        uint64_t offset = op & 7;
        switch (operations[op >> 3]) {
        case READ:
            require(fake_read(&fake, 0, offset, 1) <= 0xff);
            break;
        case WRITE:
            fake_write(&fake, 0, offset, 1, next(&input));
            break;
        case RECEIVE: {
            uint8_t text[24];
            size_t len = next(&input) % sizeof(text), space = uart16550_rx_space(fake.self);
            for (size_t i = 0; i < len; i++)
                text[i] = (uint8_t)(op + i);
            require(uart16550_receive(fake.self, text, len) == (len < space ? len : space));
            break;
        }
        case BREAK: {
            bool room = uart16550_rx_space(fake.self) != 0;
            require(uart16550_receive_break(fake.self) == room);
            break;
        }
        case MODEM:
            uart16550_set_modem_lines(fake.self, next(&input));
            break;
        case ADVANCE: /* up to 8.4 ms in steps of 33 us, or up to 68 s */
            require(fake_env_advance(&fake, (uint64_t)next(&input) << (op & 7 ? 15 : 28)));
            break;
        case RESET:
            uart16550_ops.reset(fake.self);
            break;
        case CHECK:
            check_registers(&fake);
            break;
        }
        check(&fake);
        fake.output_size = 0;
    }
    fake_env_destroy(&fake);
    return 0;
}
