/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * 8042 keyboard controller without keyboard and mouse, and port 0x92. Words and bits are those of IBM's "PS/2 Hardware
 * Interface Technical Reference", section "Keyboard and Auxiliary Device Controller", and of the AT's.
 *
 * Theory of operation: the controller has one output buffer. What the controller itself answers goes there at once; if
 * a byte "from a device" (here only the report that a port is empty) stands there unread, it steps back and returns
 * when the answer has been read, so that a driver that asks the controller something between sending a byte and the
 * interrupt loses nothing.
 */
#include <ringd/models/i8042.h>

#include <errno.h>
#include <stdlib.h>

enum { REGION_DATA, REGION_COMMAND, REGION_FAST_A20 };

enum {
    STATUS_OBF = 0x01,
    STATUS_SYS = 0x04,
    STATUS_COMMAND = 0x08,    /* the last write went to 0x64 */
    STATUS_NOT_LOCKED = 0x10, /* the key lock is open */
    STATUS_AUX = 0x20,        /* the byte in the output buffer is the auxiliary device's */
    STATUS_TIMEOUT = 0x40,    /* general time-out */
};

enum {
    CTR_KEYBOARD_IRQ = 0x01,
    CTR_AUX_IRQ = 0x02,
    CTR_SYS = 0x04,
    CTR_KEYBOARD_DISABLED = 0x10,
    CTR_AUX_DISABLED = 0x20,
    CTR_MASK = 0x7f, /* bit 7 is reserved */
    CTR_POWER_ON = CTR_KEYBOARD_DISABLED | CTR_AUX_DISABLED,
};

enum {
    COMMAND_READ_RAM = 0x20,  /* to 0x3f; byte 0 of the RAM is the command byte */
    COMMAND_WRITE_RAM = 0x60, /* to 0x7f */
    COMMAND_AUX_DISABLE = 0xa7,
    COMMAND_AUX_ENABLE = 0xa8,
    COMMAND_AUX_TEST = 0xa9,
    COMMAND_SELF_TEST = 0xaa,
    COMMAND_KEYBOARD_TEST = 0xab,
    COMMAND_KEYBOARD_DISABLE = 0xad,
    COMMAND_KEYBOARD_ENABLE = 0xae,
    COMMAND_READ_INPUT_PORT = 0xc0,
    COMMAND_READ_OUTPUT_PORT = 0xd0,
    COMMAND_WRITE_OUTPUT_PORT = 0xd1,
    COMMAND_KEYBOARD_LOOP = 0xd2,
    COMMAND_AUX_LOOP = 0xd3,
    COMMAND_AUX_SEND = 0xd4,
    COMMAND_A20_OFF = 0xdd,
    COMMAND_A20_ON = 0xdf,
    COMMAND_READ_TEST_INPUTS = 0xe0,
    COMMAND_PULSE = 0xf0, /* to 0xff; a clear bit 0 to 3 pulls that bit of the output port low */
};

enum { RAM_SIZE = 32, RAM_MASK = RAM_SIZE - 1 };

enum {
    SELF_TEST_PASSED = 0x55,
    INTERFACE_TEST_PASSED = 0x00, /* both lines of an empty port idle high */
    INPUT_PORT = 0xa3,            /* not locked, no manufacturing jumper, data lines high */
    DEVICE_TIMEOUT = 0xfe,        /* what the controller reports when a device does not answer: "resend" */
};

/* The output port. Bits 4 and 5 follow the output buffer; bits 2 and 3 are unused, 6 and 7 idle clock and data: ones.
 */
enum {
    OUTPUT_NO_RESET = 0x01,
    OUTPUT_A20 = 0x02,
    OUTPUT_KEYBOARD_FULL = 0x10,
    OUTPUT_AUX_FULL = 0x20,
    OUTPUT_POWER_ON = 0xcf,
};

/* System control port A. */
enum { PORT92_INIT = 0x01, PORT92_A20 = 0x02 };

struct i8042 {
    const struct ringd_env *env;
    uint8_t ram[RAM_SIZE]; /* ram[0]: the command byte ("CTR" in Linux) */
    uint8_t parameter_of;  /* the command whose data byte is awaited, 0: none */
    uint8_t output_port;
    uint8_t port92;
    bool last_was_command;
    uint8_t output;        /* the output buffer, readable when empty too */
    uint8_t output_status; /* OBF, AUX, TIMEOUT as they belong to it */
    bool output_from_device;
    bool timeout_pending[2]; /* reports that wait for the output buffer, by enum i8042_irq */
    uint64_t commands;
    uint64_t commands_unknown;
    uint64_t keyboard_bytes;
    uint64_t aux_bytes;
    uint64_t resets;
    uint64_t a20_off;
};

static void i8042_update_irq(struct i8042 *kbc)
{
    bool full = kbc->output_status & STATUS_OBF;
    bool aux = kbc->output_status & STATUS_AUX;

    kbc->env->ops->irq_set(kbc->env, I8042_IRQ_KEYBOARD, full && !aux && (kbc->ram[0] & CTR_KEYBOARD_IRQ));
    kbc->env->ops->irq_set(kbc->env, I8042_IRQ_AUX, full && aux && (kbc->ram[0] & CTR_AUX_IRQ));
}

static void i8042_empty_output(struct i8042 *kbc)
{
    kbc->output_status = 0;
    kbc->output_from_device = false;
    i8042_update_irq(kbc);
}

/* Every byte placed in the output buffer makes an edge of its own, also when it replaces one that was not read. */
static void i8042_fill_output(struct i8042 *kbc, uint8_t value, uint8_t status, bool from_device)
{
    i8042_empty_output(kbc);
    kbc->output = value;
    kbc->output_status = STATUS_OBF | status;
    kbc->output_from_device = from_device;
    i8042_update_irq(kbc);
}

static void i8042_answer(struct i8042 *kbc, uint8_t value, uint8_t status)
{
    if (kbc->output_from_device)
        kbc->timeout_pending[(kbc->output_status & STATUS_AUX) ? I8042_IRQ_AUX : I8042_IRQ_KEYBOARD] = true;
    i8042_fill_output(kbc, value, status, false);
}

static void i8042_deliver_timeouts(struct i8042 *kbc)
{
    for (unsigned port = I8042_IRQ_KEYBOARD; port <= I8042_IRQ_AUX; port++) {
        if (!kbc->timeout_pending[port] || (kbc->output_status & STATUS_OBF))
            continue;
        kbc->timeout_pending[port] = false;
        i8042_fill_output(kbc, DEVICE_TIMEOUT, STATUS_TIMEOUT | (port == I8042_IRQ_AUX ? STATUS_AUX : 0), true);
    }
}

/* A byte for a device that is not there. Hardware reports it after some milliseconds; here nobody has to wait. */
static void i8042_send_to_device(struct i8042 *kbc, enum i8042_irq port)
{
    kbc->timeout_pending[port] = true;
    i8042_deliver_timeouts(kbc);
}

static void i8042_write_ctr(struct i8042 *kbc, uint8_t value)
{
    kbc->ram[0] = value & CTR_MASK;
    i8042_update_irq(kbc);
}

static void i8042_request_reset(struct i8042 *kbc)
{
    kbc->resets++;
    kbc->env->ops->event(kbc->env, RINGD_EVENT_RESET, 0);
}

static void i8042_write_output_port(struct i8042 *kbc, uint8_t value)
{
    kbc->a20_off += (kbc->output_port & OUTPUT_A20) && !(value & OUTPUT_A20);
    /* A low reset bit does not outlast the reset that it causes. */
    kbc->output_port = (value | OUTPUT_NO_RESET) & (uint8_t) ~(OUTPUT_KEYBOARD_FULL | OUTPUT_AUX_FULL);
    if (!(value & OUTPUT_NO_RESET))
        i8042_request_reset(kbc);
}

static uint8_t i8042_read_output_port(const struct i8042 *kbc)
{
    uint8_t full = 0;

    if (kbc->output_status & STATUS_OBF)
        full = (kbc->output_status & STATUS_AUX) ? OUTPUT_AUX_FULL : OUTPUT_KEYBOARD_FULL;
    return kbc->output_port | full;
}

static void i8042_self_test(struct i8042 *kbc)
{
    kbc->timeout_pending[I8042_IRQ_KEYBOARD] = false;
    kbc->timeout_pending[I8042_IRQ_AUX] = false;
    i8042_empty_output(kbc);
    i8042_write_ctr(kbc, CTR_POWER_ON | CTR_SYS);
    i8042_answer(kbc, SELF_TEST_PASSED, 0);
}

/* The clock lines of the two ports: the controller holds a disabled port's clock low. */
static uint8_t i8042_test_inputs(const struct i8042 *kbc)
{
    return (uint8_t)(((kbc->ram[0] & CTR_KEYBOARD_DISABLED) ? 0 : 1) | ((kbc->ram[0] & CTR_AUX_DISABLED) ? 0 : 2));
}

static void i8042_single_command(struct i8042 *kbc, uint8_t command)
{
    switch (command) {
    case COMMAND_AUX_DISABLE:
        i8042_write_ctr(kbc, kbc->ram[0] | CTR_AUX_DISABLED);
        break;
    case COMMAND_AUX_ENABLE:
        i8042_write_ctr(kbc, kbc->ram[0] & (uint8_t)~CTR_AUX_DISABLED);
        break;
    case COMMAND_KEYBOARD_DISABLE:
        i8042_write_ctr(kbc, kbc->ram[0] | CTR_KEYBOARD_DISABLED);
        break;
    case COMMAND_KEYBOARD_ENABLE:
        i8042_write_ctr(kbc, kbc->ram[0] & (uint8_t)~CTR_KEYBOARD_DISABLED);
        break;
    case COMMAND_SELF_TEST:
        i8042_self_test(kbc);
        break;
    case COMMAND_AUX_TEST:
    case COMMAND_KEYBOARD_TEST:
        i8042_answer(kbc, INTERFACE_TEST_PASSED, 0);
        break;
    case COMMAND_READ_INPUT_PORT:
        i8042_answer(kbc, INPUT_PORT, 0);
        break;
    case COMMAND_READ_OUTPUT_PORT:
        i8042_answer(kbc, i8042_read_output_port(kbc), 0);
        break;
    case COMMAND_READ_TEST_INPUTS:
        i8042_answer(kbc, i8042_test_inputs(kbc), 0);
        break;
    case COMMAND_WRITE_OUTPUT_PORT:
    case COMMAND_KEYBOARD_LOOP:
    case COMMAND_AUX_LOOP:
    case COMMAND_AUX_SEND:
        kbc->parameter_of = command;
        break;
    case COMMAND_A20_OFF:
        i8042_write_output_port(kbc, kbc->output_port & (uint8_t)~OUTPUT_A20);
        break;
    case COMMAND_A20_ON:
        i8042_write_output_port(kbc, kbc->output_port | OUTPUT_A20);
        break;
    default:
        kbc->commands_unknown++;
        break;
    }
}

static void i8042_command(struct i8042 *kbc, uint8_t command)
{
    kbc->commands++;
    kbc->last_was_command = true;
    kbc->parameter_of = 0; /* a new command ends the wait for the last one's data */
    if ((command & ~RAM_MASK) == COMMAND_READ_RAM) {
        i8042_answer(kbc, kbc->ram[command & RAM_MASK], 0);
    } else if ((command & ~RAM_MASK) == COMMAND_WRITE_RAM) {
        kbc->parameter_of = command;
    } else if (command >= COMMAND_PULSE) {
        if (!(command & OUTPUT_NO_RESET))
            i8042_request_reset(kbc);
    } else {
        i8042_single_command(kbc, command);
    }
}

static void i8042_write_data(struct i8042 *kbc, uint8_t value)
{
    uint8_t command = kbc->parameter_of;

    kbc->last_was_command = false;
    kbc->parameter_of = 0;
    switch (command) {
    case 0:
        kbc->keyboard_bytes++;
        /* Sending opens the keyboard's interface. */
        i8042_write_ctr(kbc, kbc->ram[0] & (uint8_t)~CTR_KEYBOARD_DISABLED);
        i8042_send_to_device(kbc, I8042_IRQ_KEYBOARD);
        break;
    case COMMAND_WRITE_RAM:
        i8042_write_ctr(kbc, value);
        break;
    case COMMAND_WRITE_OUTPUT_PORT:
        i8042_write_output_port(kbc, value);
        break;
    case COMMAND_KEYBOARD_LOOP:
        i8042_answer(kbc, value, 0);
        break;
    case COMMAND_AUX_LOOP:
        i8042_answer(kbc, value, STATUS_AUX);
        break;
    case COMMAND_AUX_SEND:
        kbc->aux_bytes++;
        i8042_send_to_device(kbc, I8042_IRQ_AUX);
        break;
    default: /* COMMAND_WRITE_RAM + 1 and up */
        kbc->ram[command & RAM_MASK] = value;
        break;
    }
}

static uint8_t i8042_read_data(struct i8042 *kbc)
{
    uint8_t value = kbc->output;

    i8042_empty_output(kbc);
    i8042_deliver_timeouts(kbc);
    return value;
}

static uint8_t i8042_status(const struct i8042 *kbc)
{
    /* IBF (bit 1) is never set: a write has been taken when its OUT instruction is over. */
    return (uint8_t)(kbc->output_status | STATUS_NOT_LOCKED | (kbc->last_was_command ? STATUS_COMMAND : 0) |
                     ((kbc->ram[0] & CTR_SYS) ? STATUS_SYS : 0));
}

static void i8042_write_port92(struct i8042 *kbc, uint8_t value)
{
    bool init = (value & PORT92_INIT) && !(kbc->port92 & PORT92_INIT);

    kbc->a20_off += (kbc->port92 & PORT92_A20) && !(value & PORT92_A20);
    kbc->port92 = value;
    if (init)
        i8042_request_reset(kbc);
}

static uint64_t i8042_read(void *self, unsigned region, uint64_t offset, unsigned width)
{
    struct i8042 *kbc = self;

    (void)offset;
    (void)width;
    switch (region) {
    case REGION_DATA:
        return i8042_read_data(kbc);
    case REGION_COMMAND:
        return i8042_status(kbc);
    default:
        return kbc->port92;
    }
}

static void i8042_write(void *self, unsigned region, uint64_t offset, unsigned width, uint64_t value)
{
    struct i8042 *kbc = self;

    (void)offset;
    (void)width;
    switch (region) {
    case REGION_DATA:
        i8042_write_data(kbc, (uint8_t)value);
        break;
    case REGION_COMMAND:
        i8042_command(kbc, (uint8_t)value);
        break;
    default:
        i8042_write_port92(kbc, (uint8_t)value);
        break;
    }
}

static void i8042_reset(void *self)
{
    struct i8042 *kbc = self;

    for (unsigned i = 0; i < RAM_SIZE; i++)
        kbc->ram[i] = 0;
    kbc->ram[0] = CTR_POWER_ON;
    kbc->parameter_of = 0;
    kbc->output_port = OUTPUT_POWER_ON;
    kbc->port92 = PORT92_A20;
    kbc->last_was_command = false;
    kbc->output = 0;
    kbc->timeout_pending[I8042_IRQ_KEYBOARD] = false;
    kbc->timeout_pending[I8042_IRQ_AUX] = false;
    i8042_empty_output(kbc);
}

static int i8042_create(const struct ringd_env *env, const void *config, void **self)
{
    struct i8042 *kbc = calloc(1, sizeof(*kbc));

    (void)config;
    if (!kbc)
        return -ENOMEM;
    kbc->env = env;
    i8042_reset(kbc);
    *self = kbc;
    return 0;
}

static void i8042_destroy(void *self)
{
    free(self);
}

static unsigned i8042_counters(void *self, struct ringd_counter *counters, unsigned max)
{
    const struct i8042 *kbc = self;
    const struct ringd_counter all[] = {
        {"commands", kbc->commands},
        {"commands-unknown", kbc->commands_unknown},
        {"keyboard-bytes-unanswered", kbc->keyboard_bytes},
        {"aux-bytes-unanswered", kbc->aux_bytes},
        {"resets-requested", kbc->resets},
        {"a20-off", kbc->a20_off},
    };
    const unsigned count = sizeof(all) / sizeof(all[0]);

    for (unsigned i = 0; i < count && i < max; i++)
        counters[i] = all[i];
    return count;
}

static const struct ringd_region i8042_regions[] = {
    {
        .name = "data",
        .space = RINGD_PIO,
        .offset = 0,
        .size = 1,
        .widths = 1,
        .flags = 0,
        .effect = "reads the output buffer; writes a command's data or a byte for the keyboard",
    },
    {
        .name = "command",
        .space = RINGD_PIO,
        .offset = 4,
        .size = 1,
        .widths = 1,
        .flags = 0,
        .effect = "reads the status; writes a command, among them system reset and A20",
    },
    {
        .name = "port-92",
        .space = RINGD_PIO,
        .offset = 0x32,
        .size = 1,
        .widths = 1,
        .flags = 0,
        .effect = "fast A20 and INIT",
    },
};

const struct ringd_device_ops i8042_ops = {
    .name = "i8042",
    .summary = "keyboard controller without keyboard, reset and A20, port 0x92",
    .regions = i8042_regions,
    .region_count = sizeof(i8042_regions) / sizeof(i8042_regions[0]),
    .irq_count = 2,
    .create = i8042_create,
    .destroy = i8042_destroy,
    .read = i8042_read,
    .write = i8042_write,
    .reset = i8042_reset,
    .counters = i8042_counters,
};
