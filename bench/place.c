/* SPDX-License-Identifier: BSD-2-Clause */
#include "place.h"

#include <errno.h>
#include <unistd.h>

#include <ringd/models/mc146818.h>

#define INDEX_PORT 0x70u
#define DATA_PORT  0x71u
#define SLOT       0u /* this thread's, of the accesses to the daemon */

const char *place_name(enum place_kind kind)
{
    static const char *const names[PLACE_COUNT] = {
        [PLACE_IN_PROCESS] = "in-process",
        [PLACE_MAILBOX] = "mailbox",
        [PLACE_MAILBOX_NO_SPIN] = "mailbox-no-spin",
        [PLACE_SOCKET] = "socket",
    };
    return names[kind];
}

static int open_here(struct place *place)
{
    const struct ringd_config config = {.backend = RINGD_BACKEND_MEMFD, .vm_fd = -1, .vcpu_fd = -1, .cpu = -1};
    int ret = ringd_create(&config, &place->rd);
    if (ret)
        return ret;
    ret = ringd_add(place->rd, &mc146818_ops, NULL, NULL, &place->dev);
    if (!ret)
        ret = ringd_map(place->dev, MC146818_INDEX, INDEX_PORT);
    if (!ret)
        ret = ringd_map(place->dev, MC146818_DATA, DATA_PORT);
    if (!ret)
        ret = ringd_memfd_ring(place->dev, &place->page, NULL, &place->event);
    if (!ret)
        ret = ringd_start(place->rd);
    return ret;
}

static int open_there(struct place *place)
{
    const struct ringd_client_config config = {.path = place->socket,
                                               .spin_ns = place->kind == PLACE_MAILBOX_NO_SPIN ? 1 : 0};
    const struct ringd_client_device clock = {.type = "rtc", .kvm_ring_fd = -1};
    int ret = ringd_client_create(&config, &place->client);
    if (ret)
        return ret;
    ret = ringd_client_add(place->client, &clock, &place->remote);
    if (!ret)
        ret = ringd_client_map(place->remote, MC146818_INDEX, INDEX_PORT);
    if (!ret)
        ret = ringd_client_map(place->remote, MC146818_DATA, DATA_PORT);
    return ret;
}

int place_open(struct place *place)
{
    place->rd = NULL;
    place->client = NULL;
    int ret = place->kind == PLACE_IN_PROCESS ? open_here(place) : open_there(place);
    if (ret)
        place_close(place);
    return ret;
}

void place_close(struct place *place)
{
    if (place->rd) {
        ringd_stop(place->rd);
        ringd_destroy(place->rd);
    }
    if (place->client)
        ringd_client_destroy(place->client);
    place->rd = NULL;
    place->client = NULL;
}

static int push_here(struct place *place, uint8_t value)
{
    int ret = ringd_ring_push(place->page, INDEX_PORT, 1, &value, sizeof(value));
    const uint64_t one = 1;
    if (ret == 1 && write(place->event, &one, sizeof(one)) != (ssize_t)sizeof(one))
        return -errno;
    return ret == 1 ? 0 : ret;
}

int place_index(struct place *place, uint8_t value)
{
    int ret =
        place->rd ? push_here(place, value) : ringd_client_push(place->remote, INDEX_PORT, 1, &value, sizeof(value));
    if (ret != -EAGAIN)
        return ret;
    if (!place->rd)
        return ringd_client_write(place->remote, SLOT, MC146818_INDEX, 0, sizeof(value), value);
    ringd_write(place->dev, MC146818_INDEX, 0, sizeof(value), value);
    return 0;
}

int place_data(struct place *place, uint8_t *value)
{
    uint64_t wide = 0;
    int ret = 0;
    if (place->kind == PLACE_IN_PROCESS) {
        wide = ringd_read(place->dev, MC146818_DATA, 0, sizeof(*value));
    } else if (place->kind == PLACE_SOCKET) {
        struct ringd_msg_access access = {.region = MC146818_DATA, .width = sizeof(*value), .slot = SLOT};
        ret = ringd_client_access(place->remote, &access, &wide);
    } else {
        ret = ringd_client_read(place->remote, SLOT, MC146818_DATA, 0, sizeof(*value), &wide);
    }
    *value = (uint8_t)wide;
    return ret;
}
