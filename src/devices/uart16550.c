/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * 16550A UART. Register and bit names are those of National Semiconductor's PC16550D data sheet (June 1995); "section"
 * in comments is a section of that.
 *
 * Theory of operation: each operation changes registers and FIFO, then calls uart_update(), the only place that decides
 * on the interrupt line and on the time-out timer. The line is level-like inside (some enabled source is pending), but
 * an ISA controller only sees its rising edges; so what the data sheet says withdraws a source must make the line fall,
 * even when the source comes back within the same access (uart_transmit()).
 */
#include <ringd/models/uart16550.h>

#include <errno.h>
#include <stdlib.h>

/* Register offsets (table II). */
enum { REG_DATA, REG_IER, REG_IIR_FCR, REG_LCR, REG_MCR, REG_LSR, REG_MSR, REG_SCR };

enum { IER_ERBFI = 0x01, IER_ETBEI = 0x02, IER_ELSI = 0x04, IER_EDSSI = 0x08, IER_MASK = 0x0f };

/* Interrupt identification (table IV), highest priority first. */
enum {
    IIR_LINE_STATUS = 0x06,
    IIR_RX_DATA = 0x04,
    IIR_RX_TIMEOUT = 0x0c,
    IIR_THR_EMPTY = 0x02,
    IIR_MODEM_STATUS = 0x00,
    IIR_NONE = 0x01,
    IIR_FIFOS_ENABLED = 0xc0,
};

enum { FCR_ENABLE = 0x01, FCR_RX_RESET = 0x02, FCR_TRIGGER_SHIFT = 6 };

enum { LCR_WORD_LENGTH = 0x03, LCR_STB = 0x04, LCR_PEN = 0x08, LCR_DLAB = 0x80 };

enum { MCR_DTR = 0x01, MCR_RTS = 0x02, MCR_OUT1 = 0x04, MCR_OUT2 = 0x08, MCR_LOOP = 0x10, MCR_MASK = 0x1f };

enum {
    LSR_DR = 0x01,
    LSR_OE = 0x02,
    LSR_PE = 0x04,
    LSR_FE = 0x08,
    LSR_BI = 0x10,
    LSR_THRE = 0x20,
    LSR_TEMT = 0x40,
    LSR_FIFO_ERROR = 0x80,
    LSR_CHARACTER_ERRORS = LSR_PE | LSR_FE | LSR_BI,
};

enum { MSR_DELTAS = 0x0f, MSR_TERI = 0x04, MSR_LINES = 0xf0, MSR_LINES_SHIFT = 4 };

#define CRYSTAL_HZ      1843200u /* a PC's COM port; table III */
#define CLOCKS_PER_BIT  16u
#define TIMEOUT_CHARS   4u  /* section "FIFO interrupt mode operation" */
#define DEFAULT_DIVISOR 12u /* 9600 baud; the chip's own is undefined after power-on */

#define TIMER_RX_TIMEOUT 0u
#define IRQ_LINE         0u

struct rx_character {
    uint8_t data;
    uint8_t errors; /* LSR_CHARACTER_ERRORS that have not been revealed yet */
};

struct uart16550 {
    const struct ringd_env *env;
    struct uart16550_config config;
    struct rx_character rx[UART16550_FIFO_SIZE]; /* without FIFO only one is used */
    unsigned rx_first;
    unsigned rx_count;
    uint64_t rx_activity; /* when a character last came or was read */
    uint8_t rbr;          /* last character read, which stays readable */
    uint8_t ier;
    uint8_t lcr;
    uint8_t mcr;
    uint8_t lsr_errors; /* OE, PE, FE, BI until LSR is read */
    uint8_t msr;
    uint8_t scr;
    uint16_t divisor;
    bool fifo_enabled;
    uint8_t trigger;
    bool thr_empty_pending; /* the THRE source; withdrawn by reading IIR or writing THR (table IV) */
    bool rx_timeout_pending;
    bool timer_armed;
    bool irq;
    uint8_t modem_lines; /* the pins, in MSR's upper half */
    uint64_t sent;
    uint64_t received;
    uint64_t overruns;
    uint64_t timeouts;
    uint64_t interrupts;
};

static uint8_t uart_interrupt_source(const struct uart16550 *uart)
{
    if ((uart->ier & IER_ELSI) && uart->lsr_errors)
        return IIR_LINE_STATUS;
    if ((uart->ier & IER_ERBFI) && uart->rx_count >= uart->trigger)
        return IIR_RX_DATA;
    if ((uart->ier & IER_ERBFI) && uart->rx_timeout_pending)
        return IIR_RX_TIMEOUT;
    if ((uart->ier & IER_ETBEI) && uart->thr_empty_pending)
        return IIR_THR_EMPTY;
    if ((uart->ier & IER_EDSSI) && (uart->msr & MSR_DELTAS))
        return IIR_MODEM_STATUS;
    return IIR_NONE;
}

/* Four character times in nanoseconds, from divisor and format. A divisor of 0, with which the chip does not run,
 * counts as 1 so that a time-out always comes. */
static uint64_t uart_timeout_ns(const struct uart16550 *uart)
{
    unsigned data_bits = 5u + (uart->lcr & LCR_WORD_LENGTH);
    unsigned half_bits = 2u * (1u + data_bits + ((uart->lcr & LCR_PEN) ? 1u : 0u)); /* start, data, parity */

    if (!(uart->lcr & LCR_STB))
        half_bits += 2;
    else
        half_bits += data_bits == 5 ? 3 : 4;
    uint64_t clocks = (uint64_t)half_bits * CLOCKS_PER_BIT * (uart->divisor ? uart->divisor : 1u);
    return clocks * TIMEOUT_CHARS * 1000000000u / (2u * CRYSTAL_HZ);
}

static void uart_set_irq(struct uart16550 *uart, bool level)
{
    if (level == uart->irq)
        return;
    uart->irq = level;
    uart->interrupts += level;
    uart->env->ops->irq_set(uart->env, IRQ_LINE, level);
}

/*
 * The timer runs only while characters below the trigger level wait for an interrupt. A character that comes or is read
 * meanwhile just moves rx_activity; uart_timer() then finds itself early and waits for the rest.
 */
static void uart_update_timer(struct uart16550 *uart)
{
    bool wanted = uart->fifo_enabled && (uart->ier & IER_ERBFI) && uart->rx_count > 0 &&
                  uart->rx_count < uart->trigger && !uart->rx_timeout_pending;

    if (wanted == uart->timer_armed)
        return;
    uart->timer_armed = wanted;
    uart->env->ops->timer_set(uart->env, TIMER_RX_TIMEOUT,
                              wanted ? uart->rx_activity + uart_timeout_ns(uart) : RINGD_NEVER);
}

/* LCR or the divisor was written: a running time-out goes by the new character time. */
static void uart_update_character_time(struct uart16550 *uart)
{
    if (uart->timer_armed)
        uart->env->ops->timer_set(uart->env, TIMER_RX_TIMEOUT, uart->rx_activity + uart_timeout_ns(uart));
}

static void uart_update(struct uart16550 *uart)
{
    uart_update_timer(uart);
    /* A PC's COM port lets the interrupt out through a gate that OUT2 opens. */
    uart_set_irq(uart, (uart->mcr & MCR_OUT2) && uart_interrupt_source(uart) != IIR_NONE);
}

static void uart_rx_ready(const struct uart16550 *uart)
{
    if (uart->config.rx_ready && !(uart->mcr & MCR_LOOP))
        uart->config.rx_ready(uart->config.rx_ready_ctx);
}

static unsigned uart_rx_capacity(const struct uart16550 *uart)
{
    return uart->fifo_enabled ? UART16550_FIFO_SIZE : 1u;
}

/* The errors of a character show in LSR once it is the oldest (section on LSR, bits 2 to 4). */
static void uart_rx_reveal(struct uart16550 *uart)
{
    if (!uart->rx_count)
        return;
    struct rx_character *oldest = &uart->rx[uart->rx_first];
    uart->lsr_errors |= oldest->errors;
    oldest->errors = 0;
}

/* A character that arrives when there is no room: the FIFO keeps what it has, the single buffer takes the newer one
 * (section on LSR, bit 1). */
static void uart_rx_push(struct uart16550 *uart, uint8_t data, uint8_t errors)
{
    uart->rx_activity = uart->env->ops->now(uart->env);
    if (uart->rx_count == uart_rx_capacity(uart)) {
        uart->lsr_errors |= LSR_OE;
        uart->overruns++;
        if (uart->fifo_enabled)
            return;
        uart->rx_count = 0;
    }
    unsigned slot = (uart->rx_first + uart->rx_count) % UART16550_FIFO_SIZE;
    uart->rx[slot] = (struct rx_character){.data = data, .errors = errors};
    uart->rx_count++;
    uart_rx_reveal(uart);
}

static void uart_rx_clear(struct uart16550 *uart)
{
    uart->rx_count = 0;
    uart->rx_timeout_pending = false;
    uart->lsr_errors &= (uint8_t)~LSR_CHARACTER_ERRORS;
}

static uint8_t uart_read_rbr(struct uart16550 *uart)
{
    if (!uart->rx_count)
        return uart->rbr;
    uart->rbr = uart->rx[uart->rx_first].data;
    uart->rx_first = (uart->rx_first + 1) % UART16550_FIFO_SIZE;
    uart->rx_count--;
    uart->rx_activity = uart->env->ops->now(uart->env);
    uart->rx_timeout_pending = false;
    uart_rx_reveal(uart);
    uart_update(uart);
    if (!uart->rx_count)
        uart_rx_ready(uart);
    return uart->rbr;
}

static void uart_transmit(struct uart16550 *uart, uint8_t data)
{
    /* Writing THR withdraws the THRE interrupt and the character's departure brings it back. The line has to show both:
     * a driver that never reads IIR gets its next edge from here. */
    uart->thr_empty_pending = false;
    uart_update(uart);
    if (uart->mcr & MCR_LOOP) {
        uart_rx_push(uart, data, 0);
    } else {
        uart->sent++;
        uart->env->ops->output(uart->env, &data, 1);
    }
    uart->thr_empty_pending = true;
    uart_update(uart);
}

static uint8_t uart_read_iir(struct uart16550 *uart)
{
    uint8_t source = uart_interrupt_source(uart);

    if (source == IIR_THR_EMPTY) {
        uart->thr_empty_pending = false;
        uart_update(uart);
    }
    return source | (uart->fifo_enabled ? IIR_FIFOS_ENABLED : 0);
}

static uint8_t uart_read_lsr(struct uart16550 *uart)
{
    uint8_t value = LSR_THRE | LSR_TEMT | uart->lsr_errors;
    bool fifo_error = uart->lsr_errors & LSR_CHARACTER_ERRORS;

    if (uart->rx_count)
        value |= LSR_DR;
    for (unsigned i = 0; i < uart->rx_count; i++)
        fifo_error |= uart->rx[(uart->rx_first + i) % UART16550_FIFO_SIZE].errors != 0;
    if (uart->fifo_enabled && fifo_error)
        value |= LSR_FIFO_ERROR;
    uart->lsr_errors = 0;
    uart_update(uart);
    return value;
}

static uint8_t uart_read_msr(struct uart16550 *uart)
{
    uint8_t value = uart->msr;

    uart->msr &= MSR_LINES;
    uart_update(uart);
    return value;
}

/* Takes MSR's inputs from the pins or, in loopback, from MCR's outputs, and notes what changed. */
static void uart_update_msr(struct uart16550 *uart)
{
    uint8_t lines = uart->modem_lines;

    if (uart->mcr & MCR_LOOP)
        lines = (uint8_t)(((uart->mcr & MCR_RTS) ? UART16550_CTS : 0) | ((uart->mcr & MCR_DTR) ? UART16550_DSR : 0) |
                          ((uart->mcr & MCR_OUT1) ? UART16550_RI : 0) | ((uart->mcr & MCR_OUT2) ? UART16550_DCD : 0));
    uint8_t deltas = (uint8_t)((uart->msr ^ lines) >> MSR_LINES_SHIFT);
    if (lines & UART16550_RI)
        deltas &= (uint8_t)~MSR_TERI; /* only the end of ringing counts */
    uart->msr = (uint8_t)(lines | (uart->msr & MSR_DELTAS) | deltas);
}

static void uart_write_ier(struct uart16550 *uart, uint8_t value)
{
    /* Enabling the THRE interrupt while THR is empty raises it: drivers start a transmission so. */
    if ((value & IER_ETBEI) && !(uart->ier & IER_ETBEI))
        uart->thr_empty_pending = true;
    uart->ier = value & IER_MASK;
    if (!(uart->ier & IER_ERBFI))
        uart->rx_timeout_pending = false;
    uart_update(uart);
}

static void uart_write_fcr(struct uart16550 *uart, uint8_t value)
{
    static const uint8_t triggers[4] = {1, 4, 8, 14};
    bool enable = value & FCR_ENABLE;
    bool clear = enable != uart->fifo_enabled;

    if (enable) { /* the other bits are programmed only together with this one */
        clear |= (value & FCR_RX_RESET) != 0;
        uart->trigger = triggers[value >> FCR_TRIGGER_SHIFT];
    } else {
        uart->trigger = 1;
    }
    uart->fifo_enabled = enable;
    if (clear)
        uart_rx_clear(uart);
    uart_update(uart);
    if (clear)
        uart_rx_ready(uart);
}

static void uart_write_mcr(struct uart16550 *uart, uint8_t value)
{
    bool leaves_loopback = (uart->mcr & MCR_LOOP) && !(value & MCR_LOOP);

    uart->mcr = value & MCR_MASK;
    uart_update_msr(uart);
    uart_update(uart);
    if (leaves_loopback)
        uart_rx_ready(uart);
}

static void uart_write_divisor(struct uart16550 *uart, uint16_t divisor)
{
    uart->divisor = divisor;
    uart_update_character_time(uart);
}

static uint64_t uart_read(void *self, unsigned region, uint64_t offset, unsigned width)
{
    struct uart16550 *uart = self;

    (void)region;
    (void)width;
    switch (offset) {
    case REG_DATA:
        return (uart->lcr & LCR_DLAB) ? (uart->divisor & 0xffu) : uart_read_rbr(uart);
    case REG_IER:
        return (uart->lcr & LCR_DLAB) ? uart->divisor >> 8 : uart->ier;
    case REG_IIR_FCR:
        return uart_read_iir(uart);
    case REG_LCR:
        return uart->lcr;
    case REG_MCR:
        return uart->mcr;
    case REG_LSR:
        return uart_read_lsr(uart);
    case REG_MSR:
        return uart_read_msr(uart);
    case REG_SCR:
        return uart->scr;
    default:
        return 0xff;
    }
}

static void uart_write(void *self, unsigned region, uint64_t offset, unsigned width, uint64_t value64)
{
    struct uart16550 *uart = self;
    uint8_t value = (uint8_t)value64;

    (void)region;
    (void)width;
    switch (offset) {
    case REG_DATA:
        if (uart->lcr & LCR_DLAB)
            uart_write_divisor(uart, (uint16_t)((uart->divisor & 0xff00u) | value));
        else
            uart_transmit(uart, value);
        break;
    case REG_IER:
        if (uart->lcr & LCR_DLAB)
            uart_write_divisor(uart, (uint16_t)((uart->divisor & 0x00ffu) | (unsigned)value << 8));
        else
            uart_write_ier(uart, value);
        break;
    case REG_IIR_FCR:
        uart_write_fcr(uart, value);
        break;
    case REG_LCR:
        uart->lcr = value;
        uart_update_character_time(uart);
        break;
    case REG_MCR:
        uart_write_mcr(uart, value);
        break;
    case REG_SCR:
        uart->scr = value;
        break;
    default: /* LSR and MSR: writes are for factory tests (section on LSR) and do nothing */
        break;
    }
}

static void uart_timer(void *self, unsigned timer)
{
    struct uart16550 *uart = self;
    uint64_t due = uart->rx_activity + uart_timeout_ns(uart);

    if (timer != TIMER_RX_TIMEOUT || !uart->timer_armed)
        return;
    if (uart->env->ops->now(uart->env) < due) {
        uart->env->ops->timer_set(uart->env, TIMER_RX_TIMEOUT, due);
        return;
    }
    uart->timer_armed = false;
    uart->rx_timeout_pending = true;
    uart->timeouts++;
    uart_update(uart);
}

static void uart_reset(void *self)
{
    struct uart16550 *uart = self;

    uart_rx_clear(uart);
    uart->rx_first = 0;
    uart->rbr = 0;
    uart->ier = 0;
    uart->lcr = 0;
    uart->mcr = 0;
    uart->lsr_errors = 0;
    uart->msr = uart->modem_lines;
    uart->scr = 0;
    uart->divisor = DEFAULT_DIVISOR;
    uart->fifo_enabled = false;
    uart->trigger = 1;
    uart->thr_empty_pending = false;
    uart_update(uart);
    uart_rx_ready(uart);
}

static int uart_create(const struct ringd_env *env, const void *config, void **self)
{
    struct uart16550 *uart = calloc(1, sizeof(*uart));

    if (!uart)
        return -ENOMEM;
    uart->env = env;
    uart->modem_lines = UART16550_CTS | UART16550_DSR | UART16550_DCD;
    uart_reset(uart);
    if (config) /* only now: the host need not expect a call before create() has returned */
        uart->config = *(const struct uart16550_config *)config;
    *self = uart;
    return 0;
}

static void uart_destroy(void *self)
{
    free(self);
}

static unsigned uart_counters(void *self, struct ringd_counter *counters, unsigned max)
{
    const struct uart16550 *uart = self;
    const struct ringd_counter all[] = {
        {"sent", uart->sent},         {"received", uart->received},     {"overruns", uart->overruns},
        {"timeouts", uart->timeouts}, {"interrupts", uart->interrupts},
    };
    const unsigned count = sizeof(all) / sizeof(all[0]);

    for (unsigned i = 0; i < count && i < max; i++)
        counters[i] = all[i];
    return count;
}

size_t uart16550_rx_space(void *self)
{
    const struct uart16550 *uart = self;

    return (uart->mcr & MCR_LOOP) ? 0 : uart_rx_capacity(uart) - uart->rx_count;
}

size_t uart16550_receive(void *self, const uint8_t *data, size_t len)
{
    struct uart16550 *uart = self;
    size_t space = uart16550_rx_space(self);
    size_t taken = len < space ? len : space;

    for (size_t i = 0; i < taken; i++)
        uart_rx_push(uart, data[i], 0);
    uart->received += taken;
    if (taken)
        uart_update(uart);
    return taken;
}

bool uart16550_receive_break(void *self)
{
    struct uart16550 *uart = self;

    if (!uart16550_rx_space(self))
        return false;
    /* One null character whose stop bit is missing as well (section on LSR, bits 3 and 4). */
    uart_rx_push(uart, 0, LSR_BI | LSR_FE);
    uart_update(uart);
    return true;
}

void uart16550_set_modem_lines(void *self, unsigned lines)
{
    struct uart16550 *uart = self;

    uart->modem_lines = lines & MSR_LINES;
    uart_update_msr(uart);
    uart_update(uart);
}

static const struct ringd_region uart_regions[] = {
    {
        .name = "registers",
        .space = RINGD_PIO,
        .offset = 0,
        .size = 8,
        .widths = 1,
        .flags = 0,
        .effect = "characters to and from the line, interrupt and line control",
    },
};

const struct ringd_device_ops uart16550_ops = {
    .name = "uart16550",
    .summary = "16550A serial port",
    .regions = uart_regions,
    .region_count = sizeof(uart_regions) / sizeof(uart_regions[0]),
    .irq_count = 1,
    .timer_count = 1,
    .create = uart_create,
    .destroy = uart_destroy,
    .read = uart_read,
    .write = uart_write,
    .timer = uart_timer,
    .reset = uart_reset,
    .counters = uart_counters,
};
