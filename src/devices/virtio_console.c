/* SPDX-License-Identifier: BSD-2-Clause */
#include <ringd/models/virtio_console.h>

#include <errno.h>
#include <stdlib.h>

#include "devices/virtio.h"

/* Queues of a device without VIRTIO_CONSOLE_F_MULTIPORT (5.3.2). */
enum { QUEUE_RECEIVE, QUEUE_TRANSMIT, QUEUES };

/* Configuration (5.3.4); without features, only the number of ports means something. */
#define CONFIG_MAX_PORTS 4u

struct virtio_console {
    struct virtio virtio; /* first */
    struct virtio_console_config config;
    bool waiting; /* characters have been refused */
    uint64_t sent, received;
};

static struct virtio_console *console_of(struct virtio *virtio)
{
    return (struct virtio_console *)(void *)virtio;
}

/* The receiver drops what it has no room for, so a buffer always comes back at once: a driver waits for it in a loop.
 */
static void transmit(struct virtio_console *console, struct virtqueue_chain *chain)
{
    const struct ringd_env *env = console->virtio.env;
    for (unsigned i = 0; i < chain->out_count; i++)
        env->ops->output(env, chain->segments[i].base, chain->segments[i].bytes);
    console->sent += chain->out_bytes;
    virtio_finish(&console->virtio, QUEUE_TRANSMIT, chain->head, 0);
}

static enum virtio_served serve(struct virtio *virtio, unsigned queue, struct virtqueue_chain *chain)
{
    struct virtio_console *console = console_of(virtio);
    if (queue == QUEUE_TRANSMIT) {
        transmit(console, chain);
        return VIRTIO_DONE;
    }
    if (console->waiting && console->config.rx_ready) {
        console->waiting = false;
        console->config.rx_ready(console->config.ctx);
    }
    return VIRTIO_LATER; /* for characters that come */
}

void virtio_console_receive(void *self, void *arg)
{
    struct virtio_console *console = self;
    struct virtio *virtio = &console->virtio;
    struct virtio_console_input *input = arg;
    struct virtqueue *queue = &virtio->queues[QUEUE_RECEIVE];
    input->taken = 0;
    while (input->taken < input->len) {
        if (!virtio_take(virtio, QUEUE_RECEIVE)) {
            if (virtio_is_ready(virtio) && queue->enabled && virtqueue_rest(queue))
                continue;
            break;
        }
        if (!virtio->chain.in_bytes) { /* 5.3.6.1: or a guest that offers such without end would hold us for ever */
            virtio_break(virtio);
            break;
        }
        size_t bytes = virtqueue_write(&virtio->chain, 0, input->data + input->taken, input->len - input->taken);
        input->taken += bytes;
        virtio_finish(virtio, QUEUE_RECEIVE, virtio->chain.head, (uint32_t)bytes);
    }
    console->waiting = input->taken < input->len;
    console->received += input->taken;
    if (virtio_is_ready(virtio) && queue->enabled)
        virtio_tell(virtio, QUEUE_RECEIVE);
}

static void config(const struct virtio *virtio, uint8_t bytes[VIRTIO_PCI_CONFIG_BYTES])
{
    (void)virtio;
    bytes[CONFIG_MAX_PORTS] = 1;
}

static const struct virtio_kind kind = {.queues = QUEUES, .serve = serve, .config = config};

static int console_create(const struct ringd_env *env, const void *config_ptr, void **self)
{
    const struct virtio_console_config *cfg = config_ptr;
    struct virtio_console *console = calloc(1, sizeof(*console));
    if (!console)
        return -ENOMEM;
    if (cfg)
        console->config = *cfg;
    virtio_init(&console->virtio, env, &kind, 0);
    *self = console;
    return 0;
}

static void console_destroy(void *self)
{
    free(self);
}

static unsigned console_counters(void *self, struct ringd_counter *counters, unsigned max)
{
    const struct virtio_console *console = self;
    const struct ringd_counter own[] = {{"sent", console->sent}, {"received", console->received}};
    unsigned count = virtio_counters(self, counters, max);
    for (unsigned i = 0; i < 2; i++, count++)
        if (count < max)
            counters[count] = own[i];
    return count;
}

const struct ringd_device_ops virtio_console_ops = {
    .name = "virtio-console",
    .summary = "virtio console with one port",
    .regions = virtio_regions,
    .region_count = VIRTIO_REGIONS,
    .irq_count = 1 + 1 + QUEUES, /* the pin; configuration and queues */
    .timer_count = VIRTIO_TIMER_COUNT,
    .create = console_create,
    .destroy = console_destroy,
    .read = virtio_read,
    .write = virtio_write,
    .timer = virtio_timer,
    .reset = virtio_reset,
    .counters = console_counters,
};
