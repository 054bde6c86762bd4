/* SPDX-License-Identifier: BSD-2-Clause */
/* What each message means. Sizes are exact; a message that is not one of these ends the connection. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "daemon/server.h"

/* What a request has with it, and where its answer goes. */
struct request {
    struct session *session;
    const void *message;
    size_t size;
    int *fds;
    unsigned fd_count;
    void *reply;       /* zeroed; its head is filled in by the caller */
    size_t reply_size; /* set to the type's; a handler may make it less */
};

static int hello(struct request *request)
{
    const struct ringd_msg_hello *hello = request->message;
    struct ringd_msg_hello_reply *reply = request->reply;
    if (request->session->greeted || hello->magic != RINGD_PROTOCOL_MAGIC)
        return -EPROTO;
    reply->magic = RINGD_PROTOCOL_MAGIC;
    reply->version = RINGD_PROTOCOL_VERSION;
    snprintf(reply->server, sizeof(reply->server), "ringd %s", RINGVMM_VERSION);
    if (hello->least > RINGD_PROTOCOL_VERSION || hello->most < RINGD_PROTOCOL_VERSION)
        return -EPROTONOSUPPORT;
    request->session->greeted = true;
    ev_timer_stop(request->session->server->loop, &request->session->hello);
    return 0;
}

static int add(struct request *request)
{
    return device_add(request->session, request->message, request->fds, request->fd_count, request->reply);
}

static struct device *device_of(const struct request *request)
{
    return device_find(request->session, ((const struct ringd_msg_device *)request->message)->device);
}

static int remove_device(struct request *request)
{
    struct device *device = device_of(request);
    if (!device)
        return -ENODEV;
    device_remove(device);
    return 0;
}

static int map(struct request *request)
{
    const struct ringd_msg_map *map = request->message;
    struct device *device = device_of(request);
    if (!device)
        return -ENODEV;
    return map->head.type == RINGD_MSG_MAP ? ringd_map(device->dev, map->region, map->addr)
                                           : ringd_unmap(device->dev, map->region);
}

static int access_device(struct request *request)
{
    const struct ringd_msg_access *message = request->message;
    struct ringd_msg_access_reply *reply = request->reply;
    struct device *device = device_of(request);
    if (!device)
        return -ENODEV;
    struct ringd_access access = {
        .slot = message->slot,
        .sequence = message->sequence,
        .write = message->write,
        .region = message->region,
        .width = message->width,
        .offset = message->offset,
        .value = message->value,
    };
    device->accesses++;
    return ringd_access(device->dev, &access, &reply->value);
}

static void for_each(struct session *session, void (*op)(struct ringd *rd))
{
    for (unsigned i = 0; i < RINGD_MSG_DEVICES; i++)
        if (session->devices[i])
            op(session->devices[i]->rd);
}

static int drain(struct request *request)
{
    const struct ringd_msg_device *message = request->message;
    struct device *device = device_of(request);
    if (message->device == RINGD_MSG_ALL)
        for_each(request->session, ringd_drain);
    else if (device)
        ringd_drain(device->rd);
    else
        return -ENODEV;
    return 0;
}

static int pause_all(struct request *request)
{
    request->session->paused = true;
    for_each(request->session, ringd_pause);
    return 0;
}

static int resume_all(struct request *request)
{
    request->session->paused = false;
    for_each(request->session, ringd_resume);
    return 0;
}

static int reset_all(struct request *request)
{
    if (!request->session->paused)
        return -EBUSY;
    for_each(request->session, ringd_reset);
    return 0;
}

static int save(struct request *request)
{
    struct ringd_msg_state *reply = request->reply;
    struct device *device = device_of(request);
    request->reply_size = offsetof(struct ringd_msg_state, state);
    if (!device)
        return -ENODEV;
    reply->device = device->id;
    reply->time = ringd_time(device->rd);
    int bytes = ringd_save(device->dev, reply->state, sizeof(reply->state));
    if (bytes < 0)
        return bytes;
    reply->bytes = (uint32_t)bytes;
    request->reply_size += (size_t)bytes;
    return 0;
}

/* Only while paused: the machine's time is set to that of the state. */
static int load(struct request *request)
{
    const struct ringd_msg_state *message = request->message;
    struct device *device = device_of(request);
    if (message->bytes != request->size - offsetof(struct ringd_msg_state, state))
        return -EINVAL;
    if (!device)
        return -ENODEV;
    uint64_t before = ringd_time(device->rd);
    int ret = ringd_set_time(device->rd, message->time);
    if (ret)
        return ret;
    ret = ringd_load(device->dev, message->state, message->bytes);
    if (ret)
        (void)ringd_set_time(device->rd, before);
    return ret;
}

static int stats(struct request *request)
{
    struct ringd_msg_stats *reply = request->reply;
    struct device *device = device_of(request);
    struct ringd_ring_stats ring;
    struct ringd_counter counters[RINGD_MSG_COUNTERS];
    if (!device)
        return -ENODEV;
    if (ringd_ring_stats(device->rd, 0, &ring) == 0) {
        reply->entries = ring.entries;
        reply->entries_vcpu = ring.entries_vcpu;
        reply->batches = ring.batches;
        reply->batch_max = ring.batch_max;
        reply->bad = ring.bad;
        reply->full_exits = ring.full_exits;
        reply->wakeups = ring.wakeups;
        reply->wakeups_wasted = ring.wakeups_wasted;
        reply->looks = ring.looks;
        reply->looks_empty = ring.looks_empty;
        reply->latency_count = ring.latency.count;
        reply->latency_p50 = ring.latency.p50;
        reply->latency_p99 = ring.latency.p99;
        reply->latency_max = ring.latency.max;
    }
    reply->accesses = device->accesses;
    unsigned count = ringd_dev_counters(device->dev, counters, RINGD_MSG_COUNTERS);
    reply->counters = count < RINGD_MSG_COUNTERS ? count : RINGD_MSG_COUNTERS;
    for (unsigned i = 0; i < reply->counters; i++) {
        snprintf(reply->counter[i].name, sizeof(reply->counter[i].name), "%s", counters[i].name);
        reply->counter[i].value = counters[i].value;
    }
    return 0;
}

static int mailbox(struct request *request)
{
    int ret = mailbox_open(request->session, request->fds[0], request->fds[1]);
    if (!ret)
        request->fds[0] = request->fds[1] = -1;
    return ret;
}

#define ANY_FDS UINT32_MAX

static const struct handler {
    int (*serve)(struct request *request);
    size_t least, most; /* of the request, in bytes */
    size_t reply;
    unsigned fds;
} handlers[RINGD_MSG_TYPES] = {
    [RINGD_MSG_HELLO] = {hello, sizeof(struct ringd_msg_hello), sizeof(struct ringd_msg_hello),
                         sizeof(struct ringd_msg_hello_reply), 0},
    [RINGD_MSG_ADD] = {add, sizeof(struct ringd_msg_add), sizeof(struct ringd_msg_add),
                       sizeof(struct ringd_msg_add_reply), ANY_FDS},
    [RINGD_MSG_REMOVE] = {remove_device, sizeof(struct ringd_msg_device), sizeof(struct ringd_msg_device),
                          sizeof(struct ringd_msg), 0},
    [RINGD_MSG_MAP] = {map, sizeof(struct ringd_msg_map), sizeof(struct ringd_msg_map), sizeof(struct ringd_msg), 0},
    [RINGD_MSG_UNMAP] = {map, sizeof(struct ringd_msg_map), sizeof(struct ringd_msg_map), sizeof(struct ringd_msg), 0},
    [RINGD_MSG_ACCESS] = {access_device, sizeof(struct ringd_msg_access), sizeof(struct ringd_msg_access),
                          sizeof(struct ringd_msg_access_reply), 0},
    [RINGD_MSG_DRAIN] = {drain, sizeof(struct ringd_msg_device), sizeof(struct ringd_msg_device),
                         sizeof(struct ringd_msg), 0},
    [RINGD_MSG_PAUSE] = {pause_all, sizeof(struct ringd_msg), sizeof(struct ringd_msg), sizeof(struct ringd_msg), 0},
    [RINGD_MSG_RESUME] = {resume_all, sizeof(struct ringd_msg), sizeof(struct ringd_msg), sizeof(struct ringd_msg), 0},
    [RINGD_MSG_RESET] = {reset_all, sizeof(struct ringd_msg), sizeof(struct ringd_msg), sizeof(struct ringd_msg), 0},
    [RINGD_MSG_SAVE] = {save, sizeof(struct ringd_msg_device), sizeof(struct ringd_msg_device),
                        sizeof(struct ringd_msg_state), 0},
    [RINGD_MSG_LOAD] = {load, offsetof(struct ringd_msg_state, state), sizeof(struct ringd_msg_state),
                        sizeof(struct ringd_msg), 0},
    [RINGD_MSG_STATS] = {stats, sizeof(struct ringd_msg_device), sizeof(struct ringd_msg_device),
                         sizeof(struct ringd_msg_stats), 0},
    [RINGD_MSG_MAILBOX] = {mailbox, sizeof(struct ringd_msg), sizeof(struct ringd_msg), sizeof(struct ringd_msg), 2},
};

static bool all_zero(const uint8_t *bytes, size_t size)
{
    return !size || (!bytes[0] && memcmp(bytes, bytes + 1, size - 1) == 0);
}

/* A region's mark is a bit, and what it has no configuration for is padding. */
static bool add_is_clean(const struct ringd_msg_add *add)
{
    for (unsigned i = 0; i < RINGD_MSG_REGIONS; i++)
        if (add->regions[i].reserved || add->regions[i].mapped > 1)
            return false;
    return add->config_bytes > sizeof(add->config) ||
           all_zero(add->config + add->config_bytes, sizeof(add->config) - add->config_bytes);
}

/* What may mean something one day is zero until then. The size has been checked. */
static bool is_clean(const struct ringd_msg *head)
{
    switch (head->type) {
    case RINGD_MSG_ADD:
        return add_is_clean((const void *)head);
    case RINGD_MSG_REMOVE:
    case RINGD_MSG_DRAIN:
    case RINGD_MSG_SAVE:
    case RINGD_MSG_STATS:
        return !((const struct ringd_msg_device *)(const void *)head)->reserved;
    case RINGD_MSG_UNMAP:
        return !((const struct ringd_msg_map *)(const void *)head)->addr;
    default:
        return true;
    }
}

int request_serve(struct session *session, const void *message, size_t size, int *fds, unsigned fd_count, void *reply)
{
    const struct ringd_msg *head = message;
    if (size < sizeof(*head) || !head->type || head->type >= RINGD_MSG_TYPES || head->status || head->reserved)
        return -EPROTO;
    const struct handler *handler = &handlers[head->type];
    if (size < handler->least || size > handler->most || (handler->fds != ANY_FDS && handler->fds != fd_count) ||
        (!session->greeted && head->type != RINGD_MSG_HELLO) || !is_clean(head))
        return -EPROTO;
    struct request request = {.session = session,
                              .message = message,
                              .size = size,
                              .fds = fds,
                              .fd_count = fd_count,
                              .reply = reply,
                              .reply_size = handler->reply};
    memset(reply, 0, handler->reply);
    int status = handler->serve(&request);
    if (status == -EPROTO)
        return status;
    *(struct ringd_msg *)reply = (struct ringd_msg){.type = head->type, .serial = head->serial, .status = status};
    return (int)request.reply_size;
}
