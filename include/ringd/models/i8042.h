/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * 8042 keyboard controller of the PS/2 kind, with both ports empty, and system control port A (0x92).
 *
 * Base 0x60 gives ports 0x60, 0x64 and 0x92. Interrupt line I8042_IRQ_KEYBOARD belongs on IRQ 1 and I8042_IRQ_AUX on
 * IRQ 12. A system reset is asked for by RINGD_EVENT_RESET.
 */
#ifndef RINGD_MODELS_I8042_H
#define RINGD_MODELS_I8042_H

#include <ringd/api.h>
#include <ringd/device.h>

RINGD_API_BEGIN

enum i8042_irq { I8042_IRQ_KEYBOARD, I8042_IRQ_AUX };

/* create() takes no configuration. */
extern const struct ringd_device_ops i8042_ops;

RINGD_API_END

#endif
