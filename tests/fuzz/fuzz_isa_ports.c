/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Debug console, POST code, debug exit and keyboard controller side by side, accessed in any order. Held: what is
 * written comes out, once; the keyboard controller's interrupt lines agree with its status, its output buffer can
 * always be read empty, and only what asks for a reset asks for one.
 */
#include <stdlib.h>

#include <ringd/models/debug_console.h>
#include <ringd/models/debug_exit.h>
#include <ringd/models/i8042.h>
#include <ringd/models/post_code.h>

#include "fake_env.h"

enum { CONSOLE, POST, EXIT, KBC, DEVICES };
enum { KBC_DATA, KBC_COMMAND, KBC_PORT92 };

struct input {
    const uint8_t *data;
    size_t size;
};

static struct fake_env fakes[DEVICES];

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

static void access_console(uint8_t op, uint8_t value)
{
    struct fake_env *fake = &fakes[CONSOLE];

    if (op & 1) {
        require(fake_read(fake, 0, 0, 1) == DEBUG_CONSOLE_READBACK);
        return;
    }
    fake_write(fake, 0, 0, 1, value);
    require(fake->output_size == 1 && fake->output[0] == value);
    fake->output_size = 0;
}

static void access_post(uint8_t op, uint8_t value)
{
    struct fake_env *fake = &fakes[POST];
    struct post_code_entry entries[POST_CODE_HISTORY];

    if (op & 1)
        return;
    fake_write(fake, 0, 0, 1, value);
    require(fake_read(fake, 0, 0, 1) == value);
    unsigned count = post_code_history(fake->self, entries);
    require(count >= 1 && count <= POST_CODE_HISTORY && entries[count - 1].code == value);
    for (unsigned i = 0; i < count; i++)
        require(entries[i].writes && (!i || entries[i].code != entries[i - 1].code));
}

static void access_exit(uint8_t op, uint8_t value)
{
    struct fake_env *fake = &fakes[EXIT];
    unsigned width = 1u << (op & 1);
    unsigned before = fake->events[RINGD_EVENT_DEBUG_EXIT];

    fake_write(fake, 0, op & 2, width, value);
    require(fake->events[RINGD_EVENT_DEBUG_EXIT] == before + 1 && fake->event_value == value);
    require(fake_read(fake, 0, op & 2, width) == 0);
}

static void access_kbc(uint8_t op, uint8_t value)
{
    struct fake_env *fake = &fakes[KBC];
    unsigned region = op % 3;
    unsigned before = fake->events[RINGD_EVENT_RESET];

    if (op & 0x04) {
        require(fake_read(fake, region, 0, 1) <= 0xff);
        require(fake->events[RINGD_EVENT_RESET] == before);
    } else {
        fake_write(fake, region, 0, 1, value);
        unsigned asked = fake->events[RINGD_EVENT_RESET] - before;
        require(asked <= 1);
        if (region == KBC_COMMAND)
            require(asked == (value >= 0xf0 && !(value & 1)));
    }
    uint8_t status = (uint8_t)fake_read(fake, KBC_COMMAND, 0, 1);
    require((status & 0x92) == 0x10); /* not locked, IBF clear, no parity error */
    require((status & 0x01) || !(status & 0x60));
    require(!fake->irq[I8042_IRQ_KEYBOARD] || (status & 0x21) == 0x01);
    require(!fake->irq[I8042_IRQ_AUX] || (status & 0x21) == 0x21);
}

static void drain_kbc(void)
{
    struct fake_env *fake = &fakes[KBC];

    for (unsigned i = 0; fake_read(fake, KBC_COMMAND, 0, 1) & 0x01; i++) {
        require(i < 3); /* an answer and a report from each port */
        fake_read(fake, KBC_DATA, 0, 1);
    }
    require(!fake->irq[I8042_IRQ_KEYBOARD] && !fake->irq[I8042_IRQ_AUX]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct ringd_device_ops *const ops[DEVICES] = {&debug_console_ops, &post_code_ops, &debug_exit_ops,
                                                                &i8042_ops};
    struct input input = {data, size};
    unsigned created = 0;

    while (created < DEVICES && !fake_env_create(&fakes[created], ops[created], NULL, 0))
        created++;
    while (created == DEVICES && input.size) {
        uint8_t op = next(&input);
        uint8_t value = next(&input);
        switch (op >> 4) {
        case 0:
            access_console(op, value);
            break;
        case 1:
            access_post(op, value);
            break;
        case 2:
            access_exit(op, value);
            break;
        case 3:
            ops[op % DEVICES]->reset(fakes[op % DEVICES].self);
            break;
        case 4:
            drain_kbc();
            break;
        default:
            access_kbc(op, value);
            break;
        }
    }
    if (created == DEVICES)
        drain_kbc();
    while (created)
        fake_env_destroy(&fakes[--created]);
    return 0;
}
