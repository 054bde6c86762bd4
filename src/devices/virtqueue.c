/* SPDX-License-Identifier: BSD-2-Clause */
#include "devices/virtqueue.h"

#include <errno.h>
#include <string.h>

/* Descriptors and rings: VIRTIO 1.2, 2.7.5 to 2.7.8. */
#define DESC_BYTES         16u
#define DESC_NEXT          1u
#define DESC_WRITE         2u
#define DESC_INDIRECT      4u
#define AVAIL_NO_INTERRUPT 1u
#define USED_ENTRY_BYTES   8u
#define USED_RING          4u /* after flags and idx */

struct desc {
    uint64_t addr;
    uint32_t len;
    uint16_t flags, next;
};
_Static_assert(sizeof(struct desc) == DESC_BYTES, "as the specification has it");

#define load_acquire(p)     __atomic_load_n((p), __ATOMIC_ACQUIRE)
#define load_relaxed(p)     __atomic_load_n((p), __ATOMIC_RELAXED)
#define store_relaxed(p, v) __atomic_store_n((p), (v), __ATOMIC_RELAXED)

static uint16_t *used_idx(const struct virtqueue *queue)
{
    return (uint16_t *)(void *)(queue->used + 2);
}

static uint16_t *avail_event(const struct virtqueue *queue)
{
    return (uint16_t *)(void *)(queue->used + USED_RING + (size_t)USED_ENTRY_BYTES * queue->size);
}

void virtqueue_reset(struct virtqueue *queue, uint16_t size)
{
    *queue = (struct virtqueue){.size = size, .vector = VIRTIO_NO_VECTOR};
}

int virtqueue_enable(struct virtqueue *queue, const struct ringd_env *env)
{
    size_t size = queue->size;
    if (queue->desc_addr % 16 || queue->avail_addr % 2 || queue->used_addr % 4)
        return -EINVAL;
    queue->desc = env->ops->mem_map(env, queue->desc_addr, DESC_BYTES * size);
    queue->avail = env->ops->mem_map(env, queue->avail_addr, 6 + 2 * size);
    queue->used = env->ops->mem_map(env, queue->used_addr, 6 + USED_ENTRY_BYTES * size);
    if (!queue->desc || !queue->avail || !queue->used)
        return -EINVAL;
    queue->next_avail = queue->next_used = queue->signalled = 0;
    queue->enabled = true;
    return 0;
}

static int add_segment(const struct ringd_env *env, struct virtqueue_chain *chain, const struct desc *desc)
{
    bool write = desc->flags & DESC_WRITE;
    if (!write && chain->in_count) /* 2.7.4.2: what the device reads comes first */
        return -EINVAL;
    if (!desc->len)
        return 0;
    unsigned count = chain->out_count + chain->in_count;
    uint32_t *bytes = write ? &chain->in_bytes : &chain->out_bytes;
    void *base = count < VIRTIO_SEGMENTS_MAX ? env->ops->mem_map(env, desc->addr, desc->len) : NULL;
    if (!base || __builtin_add_overflow(*bytes, desc->len, bytes))
        return -EINVAL;
    chain->segments[count] = (struct virtio_segment){.base = base, .bytes = desc->len};
    chain->out_count += !write;
    chain->in_count += write;
    return 0;
}

/* Where descriptors are read from: the queue's table, or an indirect one. */
struct table {
    const uint8_t *base;
    unsigned entries, seen;
    bool indirect;
};

static int enter_indirect(const struct virtqueue *queue, const struct ringd_env *env, const struct desc *desc,
                          struct table *table)
{
    if (table->indirect || !queue->indirect || desc->flags & DESC_NEXT || !desc->len || desc->len % DESC_BYTES ||
        desc->len / DESC_BYTES > VIRTIO_SEGMENTS_MAX)
        return -EINVAL;
    *table = (struct table){
        .base = env->ops->mem_map(env, desc->addr, desc->len), .entries = desc->len / DESC_BYTES, .indirect = true};
    return table->base ? 0 : -EINVAL;
}

static int walk(const struct virtqueue *queue, const struct ringd_env *env, struct virtqueue_chain *chain)
{
    struct table table = {.base = queue->desc, .entries = queue->size};
    unsigned index = chain->head;
    for (;;) {
        struct desc desc;
        if (index >= table.entries || table.seen++ == table.entries) /* a chain this long has a loop */
            return -EINVAL;
        memcpy(&desc, table.base + (size_t)index * DESC_BYTES, sizeof(desc));
        __asm__ volatile("" ::: "memory"); /* a copy: the compiler must not look again at what the guest may change */
        if (desc.flags & DESC_INDIRECT) {
            int ret = enter_indirect(queue, env, &desc, &table);
            if (ret)
                return ret;
            index = 0;
            continue;
        }
        int ret = add_segment(env, chain, &desc);
        if (ret || !(desc.flags & DESC_NEXT))
            return ret;
        index = desc.next;
    }
}

int virtqueue_pop(struct virtqueue *queue, const struct ringd_env *env, struct virtqueue_chain *chain)
{
    uint16_t waiting = (uint16_t)(load_acquire(&queue->avail[1]) - queue->next_avail);
    if (!waiting)
        return 0;
    if (waiting > queue->size)
        return -EINVAL;
    chain->head = load_relaxed(&queue->avail[2 + queue->next_avail % queue->size]);
    chain->out_count = chain->in_count = 0;
    chain->out_bytes = chain->in_bytes = 0;
    int ret = walk(queue, env, chain);
    if (ret)
        return ret;
    queue->next_avail++;
    return 1;
}

void virtqueue_unpop(struct virtqueue *queue)
{
    queue->next_avail--;
}

void virtqueue_push(struct virtqueue *queue, uint16_t head, uint32_t bytes)
{
    uint32_t *entry =
        (uint32_t *)(void *)(queue->used + USED_RING + (size_t)(queue->next_used % queue->size) * USED_ENTRY_BYTES);
    store_relaxed(&entry[0], (uint32_t)head);
    store_relaxed(&entry[1], bytes);
    queue->next_used++;
    __atomic_store_n(used_idx(queue), queue->next_used, __ATOMIC_RELEASE); /* what was written, before it is offered */
}

bool virtqueue_wants_interrupt(struct virtqueue *queue)
{
    __atomic_thread_fence(__ATOMIC_SEQ_CST); /* our index, before the driver's wish is read (2.7.7.2) */
    uint16_t before = queue->signalled;
    queue->signalled = queue->next_used;
    if (!queue->event_idx)
        return !(load_relaxed(&queue->avail[0]) & AVAIL_NO_INTERRUPT);
    uint16_t used_event = load_relaxed(&queue->avail[2 + queue->size]);
    return (uint16_t)(queue->next_used - used_event - 1) < (uint16_t)(queue->next_used - before);
}

bool virtqueue_rest(struct virtqueue *queue)
{
    if (queue->event_idx)
        store_relaxed(avail_event(queue), queue->next_avail);
    __atomic_thread_fence(__ATOMIC_SEQ_CST); /* our wish, before the driver's index is read (2.7.10.2) */
    return load_acquire(&queue->avail[1]) != queue->next_avail;
}

static size_t copy_out(const struct virtio_segment *segments, unsigned count, size_t offset, uint8_t *to, size_t bytes)
{
    size_t done = 0;
    for (unsigned i = 0; i < count && done < bytes; i++) {
        if (offset >= segments[i].bytes) {
            offset -= segments[i].bytes;
            continue;
        }
        size_t part = segments[i].bytes - offset < bytes - done ? segments[i].bytes - offset : bytes - done;
        memcpy(to + done, (uint8_t *)segments[i].base + offset, part);
        done += part;
        offset = 0;
    }
    return done;
}

static size_t copy_in(const struct virtio_segment *segments, unsigned count, size_t offset, const uint8_t *from,
                      size_t bytes)
{
    size_t done = 0;
    for (unsigned i = 0; i < count && done < bytes; i++) {
        if (offset >= segments[i].bytes) {
            offset -= segments[i].bytes;
            continue;
        }
        size_t part = segments[i].bytes - offset < bytes - done ? segments[i].bytes - offset : bytes - done;
        memcpy((uint8_t *)segments[i].base + offset, from + done, part);
        done += part;
        offset = 0;
    }
    return done;
}

size_t virtqueue_read(const struct virtqueue_chain *chain, size_t offset, void *to, size_t bytes)
{
    return copy_out(chain->segments, chain->out_count, offset, to, bytes);
}

size_t virtqueue_write(const struct virtqueue_chain *chain, size_t offset, const void *from, size_t bytes)
{
    return copy_in(chain->segments + chain->out_count, chain->in_count, offset, from, bytes);
}
