/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * 16550A UART as on a PC's COM port: one region of eight byte-wide registers, one interrupt line, one timer.
 *
 * Transmission takes no time: a character written to THR is handed to env->output() within that write, so the
 * transmitter is always empty. Reception is fed by the host of the model through the functions below, which are to be
 * called like the model's operations: with the device's lock held (ringd_call()).
 */
#ifndef RINGD_MODELS_UART16550_H
#define RINGD_MODELS_UART16550_H

#include <ringd/api.h>
#include <ringd/device.h>

RINGD_API_BEGIN

#define UART16550_FIFO_SIZE 16u

/* Modem inputs as uart16550_set_modem_lines() takes them: the upper half of the modem status register. */
enum uart16550_modem_lines {
    UART16550_CTS = 1 << 4,
    UART16550_DSR = 1 << 5,
    UART16550_RI = 1 << 6,
    UART16550_DCD = 1 << 7,
};

/* Configuration for create(); NULL is the same as all zero. */
struct uart16550_config {
    /*
     * (optional) The receiver has run empty or has become reachable again, so uart16550_receive() will take characters.
     * Called under the device's lock; it must neither block nor call the model. May be called without need.
     */
    void (*rx_ready)(void *ctx);
    void *rx_ready_ctx;
};

/*
 * uart16550_receive - characters from the line.
 * @self: the instance.
 * @data, @len: the characters.
 * Takes as many as there is room for and returns that number: up to 16 with the FIFO on, one otherwise, none while the
 * guest has the UART in loopback mode, which cuts the line off. rx_ready() tells when to come with the rest.
 */
size_t uart16550_receive(void *self, const uint8_t *data, size_t len);

/* uart16550_rx_space - how many characters uart16550_receive() would take now. */
size_t uart16550_rx_space(void *self);

/* uart16550_receive_break - a break on the line. Returns false when there was no room for its null character. */
bool uart16550_receive_break(void *self);

/*
 * uart16550_set_modem_lines - the state of the four modem inputs from now on.
 * @lines: sum of enum uart16550_modem_lines; other bits are ignored. At creation CTS, DSR and DCD are on. The lines
 * belong to the outside: a reset does not change them.
 */
void uart16550_set_modem_lines(void *self, unsigned lines);

extern const struct ringd_device_ops uart16550_ops;

RINGD_API_END

#endif
