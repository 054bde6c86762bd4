/* SPDX-License-Identifier: BSD-2-Clause */
/* A client's device: a ringd of its own, so that it comes, goes and fails by itself. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/server.h"
#include "ringd/internal.h"
#include "ringd/source.h"

struct device *device_find(const struct session *session, uint32_t id)
{
    return id < RINGD_MSG_DEVICES ? session->devices[id] : NULL;
}

static void on_device(struct ev_loop *loop, ev_io *io, int events)
{
    (void)loop;
    (void)events;
    struct device *device = io->data;
    device->session->ready |= 1u << device->id;
    turn_join(device->session);
}

bool device_serve_next(struct session *session)
{
    uint32_t behind = session->ready & (UINT32_MAX << 1 << session->last_ready);
    uint32_t from = behind ? behind : session->ready;
    if (!from)
        return false;
    session->last_ready = (unsigned)__builtin_ctz(from);
    session->ready &= ~(1u << session->last_ready);
    (void)ringd_dispatch(session->devices[session->last_ready]->rd);
    return true;
}

/* What the flags and the mask announce must be what came. */
static bool fds_match(const struct ringd_msg_add *add, unsigned fd_count)
{
    const uint32_t all =
        RINGD_ADD_RING_MEMFD | RINGD_ADD_RING_KVM | RINGD_ADD_STATE | RINGD_ADD_NOTIFY | RINGD_ADD_PAUSED;
    bool memfd = add->flags & RINGD_ADD_RING_MEMFD, kvm = add->flags & RINGD_ADD_RING_KVM;
    bool state = add->flags & RINGD_ADD_STATE, notify = add->flags & RINGD_ADD_NOTIFY;
    unsigned expected = memfd * 2u + kvm + state + notify + (unsigned)__builtin_popcount(add->irq_mask);
    return !(add->flags & ~all) && !(memfd && kvm) && !(notify && !state) && expected == fd_count;
}

static const struct hosted_type *offered_type(const struct session *session, const char *name)
{
    const struct hosted_type *type = hosted_type_find(name);
    if (!type || !(session->server->config.types >> (type - hosted_types) & 1))
        return NULL;
    return type;
}

static bool overlap(const struct ringd_device_ops *ops, const struct ringd_msg_add *add, unsigned a, unsigned b)
{
    uint64_t first = add->regions[a].addr, second = add->regions[b].addr;
    return add->regions[a].mapped && add->regions[b].mapped && ops->regions[a].space == ops->regions[b].space &&
           ops->regions[a].flags & ops->regions[b].flags & RINGD_POSTED && first < second + ops->regions[b].size &&
           second < first + ops->regions[a].size;
}

/* As ringd_map() would, but before anything has been committed. */
static int check_regions(const struct ringd_device_ops *ops, const struct ringd_msg_add *add)
{
    for (unsigned i = 0; i < ops->region_count; i++) {
        uint64_t limit = ops->regions[i].space == RINGD_PIO ? UINT64_C(1) << 16 : UINT64_MAX;
        if (add->regions[i].mapped &&
            (add->regions[i].addr >= limit || ops->regions[i].size > limit - add->regions[i].addr))
            return -EINVAL;
        for (unsigned before = 0; before < i; before++)
            if (add->flags & (RINGD_ADD_RING_MEMFD | RINGD_ADD_RING_KVM) && overlap(ops, add, i, before))
                return -EEXIST;
    }
    return 0;
}

static int check_add(const struct session *session, const struct ringd_msg_add *add, unsigned fd_count,
                     const struct hosted_type **type)
{
    if (add->device >= RINGD_MSG_DEVICES || !memchr(add->type, 0, sizeof(add->type)) ||
        add->config_bytes > RINGD_MSG_CONFIG_BYTES || !fds_match(add, fd_count))
        return -EINVAL;
    if (device_find(session, add->device))
        return -EEXIST;
    *type = offered_type(session, add->type);
    if (!*type)
        return -ENODEV;
    unsigned lines = (*type)->ops->irq_count;
    if (add->irq_mask >> lines || (*type)->ops->region_count > RINGD_MSG_REGIONS)
        return -EINVAL;
    for (unsigned i = (*type)->ops->region_count; i < RINGD_MSG_REGIONS; i++)
        if (add->regions[i].mapped)
            return -EINVAL;
    return check_regions((*type)->ops, add);
}

static int map_regions(struct device *device, const struct ringd_msg_add *add)
{
    for (unsigned i = 0; i < device->hosted.ops.region_count; i++) {
        int ret = add->regions[i].mapped ? ringd_map(device->dev, i, add->regions[i].addr) : 0;
        if (ret)
            return ret;
    }
    return 0;
}

static uint32_t state_bytes(struct device *device)
{
    uint8_t state[RINGD_MSG_STATE_BYTES];
    int bytes = ringd_save(device->dev, state, sizeof(state));
    return bytes < 0 ? 0 : (uint32_t)bytes;
}

/* The same when the file is too small: only a model knows, so there is one for a moment. */
static uint32_t state_bytes_wanted(struct device *device, const struct hosted_type *type,
                                   const struct ringd_msg_add *add)
{
    const struct ringd_ring_source none = {.ring_fd = -1, .event_fd = -1, .state_fd = -1, .notify_fd = -1};
    if (hosted_prepare(&device->hosted, type, add->config, add->config_bytes) ||
        ringd_add_on_ring(device->rd, &device->hosted.ops, &device->hosted, NULL, &none, &device->dev))
        return 0;
    return state_bytes(device);
}

/* The message's descriptors in their order; their number has been checked. Returns how many go before the interrupts'.
 */
static unsigned sort_fds(const struct ringd_msg_add *add, const int *fds, struct ringd_ring_source *source, int *irqs)
{
    unsigned at = 0;
    bool memfd = add->flags & RINGD_ADD_RING_MEMFD;
    source->ring_fd = memfd || add->flags & RINGD_ADD_RING_KVM ? fds[at++] : -1;
    source->event_fd = memfd ? fds[at++] : -1;
    source->state_fd = add->flags & RINGD_ADD_STATE ? fds[at++] : -1;
    source->notify_fd = add->flags & RINGD_ADD_NOTIFY ? fds[at++] : -1;
    unsigned next = at;
    for (unsigned i = 0; i < RINGD_MSG_IRQS; i++)
        irqs[i] = add->irq_mask >> i & 1 ? fds[next++] : -1;
    return at;
}

/* Closing the last descriptor of KVM's ring waits for locks that the client can hold, so that one is for the closer. */
static int keep_kvm_ring(struct device *device, const struct ringd_msg_add *add, int ring_fd)
{
    if (!(add->flags & RINGD_ADD_RING_KVM))
        return 0;
    device->kvm_ring_fd = fcntl(ring_fd, F_DUPFD_CLOEXEC, 0);
    return device->kvm_ring_fd < 0 ? -errno : 0;
}

/* Memory files that come with ADD, against the client's limit; what is not one is refused by ringd_add_on_ring(). */
static int charge(struct device *device, const struct ringd_msg_add *add, const int *fds, unsigned fd_count)
{
    struct ringd_ring_source source;
    int irqs[RINGD_MSG_IRQS];
    size_t bytes = 0;
    (void)sort_fds(add, fds, &source, irqs);
    if (source.state_fd >= 0)
        (void)source_check_memfd(source.state_fd, 0, RINGD_STATE_MOST_BYTES, &bytes);
    if (source.ring_fd >= 0)
        bytes += RINGD_RING_BYTES;
    int ret = session_charge(device->session, bytes, fd_count);
    if (!ret) {
        device->shared_bytes = bytes;
        device->fds = fd_count;
    }
    return ret;
}

struct file_id file_id_of(int fd)
{
    struct stat st;
    if (fd < 0 || fcntl(fd, F_GET_SEALS) < 0 || fstat(fd, &st) < 0) /* fstat() may take long for other files */
        return (struct file_id){0};
    return (struct file_id){.device = st.st_dev, .node = st.st_ino};
}

/* KVM's ring has no file of its own to be known by: its state's does. */
static int claim_files(struct device *device, const struct ringd_ring_source *source)
{
    const struct file_id files[DEVICE_FILES] = {file_id_of(source->ring_fd), file_id_of(source->state_fd)};
    for (unsigned i = 0; i < DEVICE_FILES; i++) {
        int ret = session_claim(device->session, &files[i]);
        if (ret)
            return ret;
    }
    memcpy(device->files, files, sizeof(files));
    return 0;
}

/* The ring's and the state's descriptors become the ringd's, the interrupts' the device's; those are replaced by -1.
 * Nothing is replayed before the regions are where they belong. */
static int start(struct device *device, const struct ringd_msg_add *add, int *fds, unsigned fd_count,
                 struct ringd_msg_add_reply *reply)
{
    struct server *server = device->session->server;
    struct ringd_config config = {.backend = RINGD_BACKEND_MEMFD,
                                  .vm_fd = -1,
                                  .vcpu_fd = -1,
                                  .cpu = -1,
                                  .max_replay_latency_ns = server->config.max_replay_latency_ns};
    struct ringd_wiring wiring = {.irq_fds = device->irq_fds};
    struct ringd_ring_source source;
    unsigned own = sort_fds(add, fds, &source, device->irq_fds);
    for (unsigned i = own; i < fd_count; i++)
        fds[i] = -1;
    int ret = claim_files(device, &source);
    if (!ret)
        ret = keep_kvm_ring(device, add, source.ring_fd);
    if (!ret)
        ret = ringd_create(&config, &device->rd);
    if (!ret)
        ret = ringd_add_on_ring(device->rd, &device->hosted.ops, &device->hosted, &wiring, &source, &device->dev);
    if (ret)
        return ret;
    for (unsigned i = 0; i < own; i++)
        fds[i] = -1;
    int fd = ringd_poll_fd(device->rd);
    ret = fd < 0 ? fd : map_regions(device, add);
    if (ret) { /* without its regions each entry would belong nowhere */
        dev_abandon(device->dev);
        return ret;
    }
    reply->resumed = ringd_took_over(device->dev);
    if (add->flags & RINGD_ADD_PAUSED || device->session->paused)
        ringd_pause(device->rd);
    reply->state_bytes = state_bytes(device);
    ev_io_init(&device->io, on_device, fd, EV_READ);
    device->io.data = device;
    ev_io_start(server->loop, &device->io);
    return 0;
}

int device_add(struct session *session, const struct ringd_msg_add *add, int *fds, unsigned fd_count,
               struct ringd_msg_add_reply *reply)
{
    const struct hosted_type *type = NULL;
    int ret = check_add(session, add, fd_count, &type);
    if (ret)
        return ret;
    struct device *device = calloc(1, sizeof(*device));
    if (!device)
        return -ENOMEM;
    device->session = session;
    device->id = add->device;
    device->kvm_ring_fd = -1;
    for (unsigned i = 0; i < RINGD_MSG_IRQS; i++)
        device->irq_fds[i] = -1;
    ret = hosted_prepare(&device->hosted, type, add->config, add->config_bytes);
    if (!ret)
        ret = charge(device, add, fds, fd_count);
    if (!ret)
        ret = start(device, add, fds, fd_count, reply);
    if (ret == -ENOSPC)
        reply->state_bytes = state_bytes_wanted(device, type, add);
    reply->regions = type->ops->region_count;
    for (unsigned i = 0; i < type->ops->region_count; i++)
        if (type->ops->regions[i].flags & RINGD_POSTED)
            reply->posted |= 1u << i;
    if (ret) {
        device_remove(device);
        return ret;
    }
    session->devices[add->device] = device;
    return 0;
}

void device_remove(struct device *device)
{
    struct session *session = device->session;
    if (device->rd) {
        if (ev_is_active(&device->io))
            ev_io_stop(session->server->loop, &device->io);
        ringd_stop(device->rd);
        ringd_destroy(device->rd);
    }
    for (unsigned i = 0; i < RINGD_MSG_IRQS; i++)
        if (device->irq_fds[i] >= 0)
            session_let_go(session, device->irq_fds[i]);
    if (device->kvm_ring_fd >= 0)
        session_let_go(session, device->kvm_ring_fd);
    session_discharge(session, device->shared_bytes, device->fds);
    if (device_find(session, device->id) == device) {
        session->devices[device->id] = NULL;
        session->ready &= ~(1u << device->id);
    }
    free(device);
}
