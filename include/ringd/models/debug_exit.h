/* SPDX-License-Identifier: BSD-2-Clause */
/* Debug exit: four ports that end the machine with a value, as QEMU's isa-debug-exit. */
#ifndef RINGD_MODELS_DEBUG_EXIT_H
#define RINGD_MODELS_DEBUG_EXIT_H

#include <ringd/api.h>
#include <ringd/device.h>

RINGD_API_BEGIN

/* create() takes no configuration. A write raises RINGD_EVENT_DEBUG_EXIT with the value written, of one, two or four
 * bytes; what exit status becomes of it is the machine's to decide. */
extern const struct ringd_device_ops debug_exit_ops;

RINGD_API_END

#endif
