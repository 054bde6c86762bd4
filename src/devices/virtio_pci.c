/* SPDX-License-Identifier: BSD-2-Clause */
/* The registers of the transport; and the serving of queues, which is the same for all devices. */
#include <errno.h>
#include <string.h>

#include "devices/virtio.h"

/* Common configuration (VIRTIO 1.2, 4.1.4.3). */
enum {
    COMMON_FEATURE_SELECT = 0,
    COMMON_FEATURE = 4,
    COMMON_DRIVER_FEATURE_SELECT = 8,
    COMMON_DRIVER_FEATURE = 12,
    COMMON_CONFIG_VECTOR = 16,
    COMMON_QUEUES = 18,
    COMMON_STATUS = 20,
    COMMON_GENERATION = 21,
    COMMON_QUEUE_SELECT = 22,
    COMMON_QUEUE_SIZE = 24,
    COMMON_QUEUE_VECTOR = 26,
    COMMON_QUEUE_ENABLE = 28,
    COMMON_QUEUE_NOTIFY_OFF = 30,
    COMMON_QUEUE_DESC = 32,
    COMMON_QUEUE_DRIVER = 40,
    COMMON_QUEUE_DEVICE = 48,
    COMMON_BYTES = 56,
};

#define NO_QUEUE_ENTRIES 0u /* queue_size of a queue that is not there */

const struct ringd_region virtio_regions[VIRTIO_REGIONS] = {
    [VIRTIO_REGION_COMMON] = {.name = "common",
                              .space = RINGD_MMIO,
                              .size = COMMON_BYTES,
                              .widths = 1 | 2 | 4,
                              .flags = RINGD_MOVABLE,
                              .effect = "features, status, where the queues are"},
    [VIRTIO_REGION_ISR] = {.name = "isr",
                           .space = RINGD_MMIO,
                           .size = 4,
                           .widths = 1 | 2 | 4,
                           .flags = RINGD_MOVABLE,
                           .effect = "a read tells why the pin is high, and lowers it"},
    [VIRTIO_REGION_CONFIG] = {.name = "config",
                              .space = RINGD_MMIO,
                              .size = VIRTIO_PCI_CONFIG_BYTES,
                              .widths = 1 | 2 | 4,
                              .flags = RINGD_MOVABLE,
                              .effect = "the device's own configuration"},
    [VIRTIO_REGION_NOTIFY] = {.name = "notify",
                              .space = RINGD_MMIO,
                              .size = VIRTIO_QUEUES_MAX * VIRTIO_PCI_NOTIFY_STEP,
                              .widths = 2 | 4,
                              .flags = RINGD_MOVABLE | RINGD_POSTED,
                              .effect = "a doorbell for each queue: the device looks at it"},
};

bool virtio_is_ready(const struct virtio *virtio)
{
    return (virtio->status & (VIRTIO_STATUS_DRIVER_OK | VIRTIO_STATUS_NEEDS_RESET)) == VIRTIO_STATUS_DRIVER_OK;
}

/* ---- interrupts ---- */

static void pulse(struct virtio *virtio, uint16_t vector)
{
    if (vector == VIRTIO_NO_VECTOR)
        return;
    virtio->env->ops->irq_set(virtio->env, 1 + vector, true);
    virtio->env->ops->irq_set(virtio->env, 1 + vector, false);
}

static void interrupt(struct virtio *virtio, uint8_t cause, uint16_t vector)
{
    virtio->interrupts++;
    virtio->isr |= cause;
    virtio->env->ops->irq_set(virtio->env, 0, true);
    pulse(virtio, vector);
}

void virtio_break(struct virtio *virtio)
{
    virtio->faults++;
    bool tell = virtio_is_ready(virtio);
    virtio->status |= VIRTIO_STATUS_NEEDS_RESET;
    if (tell) /* 2.1.2 */
        interrupt(virtio, VIRTIO_ISR_CONFIG, virtio->config_vector);
}

/* ---- queues ---- */

void virtio_finish(struct virtio *virtio, unsigned queue, uint16_t head, uint32_t bytes)
{
    virtqueue_push(&virtio->queues[queue], head, bytes);
}

void virtio_tell(struct virtio *virtio, unsigned queue)
{
    struct virtqueue *vq = &virtio->queues[queue];
    if (vq->signalled == vq->next_used)
        return;
    if (virtqueue_wants_interrupt(vq))
        interrupt(virtio, VIRTIO_ISR_QUEUE, vq->vector);
    else
        virtio->suppressed++;
}

int virtio_take(struct virtio *virtio, unsigned queue)
{
    struct virtqueue *vq = &virtio->queues[queue];
    if (!virtio_is_ready(virtio) || !vq->enabled)
        return 0;
    int ret = virtqueue_pop(vq, virtio->env, &virtio->chain);
    if (ret < 0)
        virtio_break(virtio);
    virtio->buffers += ret > 0;
    return ret > 0;
}

/* One buffer: true when there may be another. */
static bool serve_one(struct virtio *virtio, unsigned queue)
{
    struct virtqueue *vq = &virtio->queues[queue];
    if (!virtio_take(virtio, queue))
        return virtio_is_ready(virtio) && virtqueue_rest(vq);
    switch (virtio->kind->serve(virtio, queue, &virtio->chain)) {
    case VIRTIO_DONE:
        return true;
    case VIRTIO_LATER:
        virtqueue_unpop(vq);
        virtio->buffers--;
        return false;
    case VIRTIO_BAD:
        virtio_break(virtio);
        return false;
    }
    return false;
}

void virtio_run_later(struct virtio *virtio, unsigned queue)
{
    if (!virtio->left)
        virtio->env->ops->timer_set(virtio->env, 0, virtio->env->ops->now(virtio->env));
    virtio->left |= 1u << queue;
}

void virtio_run(struct virtio *virtio, unsigned queue)
{
    if (!virtio_is_ready(virtio) || !virtio->queues[queue].enabled)
        return;
    unsigned count = 0;
    bool more = true;
    while (more && count++ < VIRTIO_BATCH)
        more = serve_one(virtio, queue);
    if (more)
        virtio_run_later(virtio, queue);
    if (virtio->kind->served)
        virtio->kind->served(virtio);
    if (!(virtio->status & VIRTIO_STATUS_NEEDS_RESET))
        virtio_tell(virtio, queue);
}

void virtio_timer(void *self, unsigned timer)
{
    struct virtio *virtio = self;
    (void)timer;
    uint32_t left = virtio->left;
    virtio->left = 0;
    for (; left; left &= left - 1)
        virtio_run(virtio, (unsigned)__builtin_ctz(left));
}

static void notified(struct virtio *virtio, uint64_t queue)
{
    virtio->notifications++;
    if (queue < virtio->kind->queues)
        virtio_run(virtio, (unsigned)queue);
}

void virtio_notify(void *self, void *arg)
{
    notified(self, *(const unsigned *)arg);
}

void virtio_in_flight(void *self, void *arg)
{
    *(unsigned *)arg = ((const struct virtio *)self)->in_flight;
}

/* ---- the driver's setting up ---- */

void virtio_reset(void *self)
{
    struct virtio *virtio = self;
    virtio->driver_features = 0;
    virtio->feature_select = virtio->driver_feature_select = 0;
    virtio->config_vector = VIRTIO_NO_VECTOR;
    virtio->queue_select = 0;
    virtio->status = virtio->isr = virtio->generation = 0;
    virtio->left = 0;
    virtio->epoch++;
    for (unsigned i = 0; i < virtio->kind->queues; i++)
        virtqueue_reset(&virtio->queues[i], VIRTIO_QUEUE_SIZE_MAX);
    virtio->env->ops->timer_set(virtio->env, 0, RINGD_NEVER);
    virtio->env->ops->irq_set(virtio->env, 0, false);
}

void virtio_init(struct virtio *virtio, const struct ringd_env *env, const struct virtio_kind *kind, uint64_t features)
{
    virtio->env = env;
    virtio->kind = kind;
    virtio->features = features | VIRTIO_F_VERSION_1 | VIRTIO_F_INDIRECT_DESC | VIRTIO_F_EVENT_IDX;
    virtio_reset(virtio);
}

static void set_ready(struct virtio *virtio)
{
    for (unsigned i = 0; i < virtio->kind->queues; i++) {
        virtio->queues[i].indirect = virtio_has(virtio, VIRTIO_F_INDIRECT_DESC);
        virtio->queues[i].event_idx = virtio_has(virtio, VIRTIO_F_EVENT_IDX);
    }
    for (unsigned i = 0; i < virtio->kind->queues; i++) /* what was there before */
        virtio_run(virtio, i);
}

static void status_write(struct virtio *virtio, uint8_t value)
{
    uint8_t before = virtio->status;
    if (!value) {
        virtio->resets++;
        virtio_reset(virtio);
        return;
    }
    /* Bits are only ever added (2.1.1), and this one is ours. */
    uint8_t now = (uint8_t)(before | (value & ~VIRTIO_STATUS_NEEDS_RESET));
    bool sound = !(virtio->driver_features & ~virtio->features) && virtio_has(virtio, VIRTIO_F_VERSION_1);
    if (now & ~before & VIRTIO_STATUS_FEATURES_OK && !sound)
        now &= (uint8_t)~VIRTIO_STATUS_FEATURES_OK; /* 2.2.2: which is how the driver learns of it */
    if (!(now & VIRTIO_STATUS_FEATURES_OK))
        now &= (uint8_t)~VIRTIO_STATUS_DRIVER_OK;
    virtio->status = now;
    if (now & ~before & VIRTIO_STATUS_DRIVER_OK && virtio_is_ready(virtio))
        set_ready(virtio);
}

static uint8_t status_read(const struct virtio *virtio)
{
    /* A reset is complete when nothing of the time before touches guest memory any more (2.4.2): until then the driver
     * does not read the 0 that it waits for. */
    return virtio->status || !virtio->in_flight ? virtio->status : VIRTIO_STATUS_NEEDS_RESET;
}

static void put(uint8_t *image, unsigned offset, uint64_t value, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        image[offset + i] = (uint8_t)(value >> (8 * i));
}

static void fill_common(const struct virtio *virtio, uint8_t image[COMMON_BYTES])
{
    static const struct virtqueue none = {.size = NO_QUEUE_ENTRIES, .vector = VIRTIO_NO_VECTOR};
    bool there = virtio->queue_select < virtio->kind->queues;
    const struct virtqueue *queue = there ? &virtio->queues[virtio->queue_select] : &none;
    unsigned select = virtio->feature_select, driver = virtio->driver_feature_select;
    memset(image, 0, COMMON_BYTES);
    put(image, COMMON_FEATURE_SELECT, select, 4);
    put(image, COMMON_FEATURE, select < 2 ? virtio->features >> (32 * select) : 0, 4);
    put(image, COMMON_DRIVER_FEATURE_SELECT, driver, 4);
    put(image, COMMON_DRIVER_FEATURE, driver < 2 ? virtio->driver_features >> (32 * driver) : 0, 4);
    put(image, COMMON_CONFIG_VECTOR, virtio->config_vector, 2);
    put(image, COMMON_QUEUES, virtio->kind->queues, 2);
    put(image, COMMON_STATUS, status_read(virtio), 1);
    put(image, COMMON_GENERATION, virtio->generation, 1);
    put(image, COMMON_QUEUE_SELECT, virtio->queue_select, 2);
    put(image, COMMON_QUEUE_SIZE, queue->size, 2);
    put(image, COMMON_QUEUE_VECTOR, queue->vector, 2);
    put(image, COMMON_QUEUE_ENABLE, queue->enabled, 2);
    put(image, COMMON_QUEUE_NOTIFY_OFF, there ? virtio->queue_select : 0, 2);
    put(image, COMMON_QUEUE_DESC, queue->desc_addr, 8);
    put(image, COMMON_QUEUE_DRIVER, queue->avail_addr, 8);
    put(image, COMMON_QUEUE_DEVICE, queue->used_addr, 8);
}

static uint16_t vector_of(const struct virtio *virtio, uint64_t value)
{
    return value <= virtio->kind->queues ? (uint16_t)value : VIRTIO_NO_VECTOR; /* 4.1.5.1.2: one that is not there */
}

static void half(uint64_t *field, bool high, uint64_t value)
{
    unsigned shift = high ? 32 : 0;
    *field = (*field & ~(UINT64_C(0xffffffff) << shift)) | value << shift;
}

/* The selected queue's registers. False: not written. */
static bool queue_write(struct virtio *virtio, unsigned offset, unsigned width, uint64_t value)
{
    if (virtio->queue_select >= virtio->kind->queues)
        return false;
    struct virtqueue *queue = &virtio->queues[virtio->queue_select];
    if (offset == COMMON_QUEUE_VECTOR && width == 2) {
        queue->vector = vector_of(virtio, value);
        return true;
    }
    if (queue->enabled) /* what an enabled queue is like cannot be changed */
        return false;
    switch (width == 2 || offset >= COMMON_QUEUE_DESC ? offset : COMMON_BYTES) {
    case COMMON_QUEUE_SIZE:
        if (!value || value & (value - 1) || value > VIRTIO_QUEUE_SIZE_MAX)
            return false;
        queue->size = (uint16_t)value;
        return true;
    case COMMON_QUEUE_ENABLE:
        if (value != 1 || virtio->status & VIRTIO_STATUS_DRIVER_OK)
            return false;
        if (virtqueue_enable(queue, virtio->env))
            virtio_break(virtio);
        return true;
    default:
        break;
    }
    if (width != 4 || offset < COMMON_QUEUE_DESC || offset % 4)
        return false;
    uint64_t *const fields[] = {&queue->desc_addr, &queue->avail_addr, &queue->used_addr};
    half(fields[(offset - COMMON_QUEUE_DESC) / 8], offset & 4, value);
    return true;
}

static bool common_write(struct virtio *virtio, unsigned offset, unsigned width, uint64_t value)
{
    if (offset == COMMON_STATUS && width == 1) {
        status_write(virtio, (uint8_t)value);
    } else if (offset == COMMON_FEATURE_SELECT && width == 4) {
        virtio->feature_select = (uint32_t)value;
    } else if (offset == COMMON_DRIVER_FEATURE_SELECT && width == 4) {
        virtio->driver_feature_select = (uint32_t)value;
    } else if (offset == COMMON_DRIVER_FEATURE && width == 4) {
        if (virtio->status & VIRTIO_STATUS_FEATURES_OK || virtio->driver_feature_select > 1)
            return false;
        half(&virtio->driver_features, virtio->driver_feature_select, value);
    } else if (offset == COMMON_CONFIG_VECTOR && width == 2) {
        virtio->config_vector = vector_of(virtio, value);
    } else if (offset == COMMON_QUEUE_SELECT && width == 2) {
        virtio->queue_select = (uint16_t)value;
    } else {
        return queue_write(virtio, offset, width, value);
    }
    return true;
}

/* ---- accesses ---- */

static uint64_t from_image(const uint8_t *image, size_t offset, unsigned width)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < width; i++)
        value |= (uint64_t)image[offset + i] << (8 * i);
    return value;
}

uint64_t virtio_read(void *self, unsigned region, uint64_t offset, unsigned width)
{
    struct virtio *virtio = self;
    uint8_t image[VIRTIO_PCI_CONFIG_BYTES] = {0};
    uint8_t isr = virtio->isr;
    _Static_assert(sizeof(image) >= COMMON_BYTES, "room for either");
    switch (region) {
    case VIRTIO_REGION_COMMON:
        fill_common(virtio, image);
        return from_image(image, offset, width);
    case VIRTIO_REGION_ISR:
        if (offset)
            return 0;
        virtio->isr = 0;
        virtio->env->ops->irq_set(virtio->env, 0, false);
        return isr;
    case VIRTIO_REGION_CONFIG:
        virtio->kind->config(virtio, image);
        return from_image(image, offset, width);
    default:
        return 0;
    }
}

void virtio_write(void *self, unsigned region, uint64_t offset, unsigned width, uint64_t value)
{
    struct virtio *virtio = self;
    if (region == VIRTIO_REGION_NOTIFY && !(offset % VIRTIO_PCI_NOTIFY_STEP))
        notified(virtio, offset / VIRTIO_PCI_NOTIFY_STEP);
    else if (region != VIRTIO_REGION_COMMON || !common_write(virtio, (unsigned)offset, width, value))
        virtio->ignored++;
}

unsigned virtio_counters(void *self, struct ringd_counter *counters, unsigned max)
{
    const struct virtio *virtio = self;
    const struct ringd_counter all[] = {
        {"notifications", virtio->notifications},
        {"buffers", virtio->buffers},
        {"interrupts", virtio->interrupts},
        {"suppressed", virtio->suppressed},
        {"resets", virtio->resets},
        {"faults", virtio->faults},
        {"ignored", virtio->ignored},
    };
    unsigned count = sizeof(all) / sizeof(all[0]);
    for (unsigned i = 0; i < count && i < max; i++)
        counters[i] = all[i];
    return count;
}
