/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "client/internal.h"

uint64_t client_now(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

int client_memory_file(const char *name, size_t bytes)
{
    int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0)
        return -errno;
    /* Allocated by us, so that it is charged to us: the daemon demands it. */
    if (fallocate(fd, 0, 0, (off_t)bytes) < 0 ||
        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0) {
        int error = errno;
        close(fd);
        return -error;
    }
    return fd;
}

void client_signal(int fd)
{
    uint64_t one = 1;
    ssize_t done = write(fd, &one, sizeof(one));
    (void)done;
}

static void *map_file(int fd, size_t bytes)
{
    void *map = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    return map == MAP_FAILED ? NULL : map;
}

static void close_fd(int fd)
{
    if (fd >= 0)
        close(fd);
}

static int watch_own(struct ringd_client *client, int fd)
{
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    return epoll_ctl(client->poll_fd, EPOLL_CTL_ADD, fd, &event);
}

static int make_files(struct ringd_client *client)
{
    client->mailbox_fd = client_memory_file("ringd-mailbox", sizeof(struct ringd_mailbox));
    client->doorbell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    client->notify_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    client->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    client->poll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (client->mailbox_fd < 0 || client->doorbell < 0 || client->notify_fd < 0 || client->timer_fd < 0 ||
        client->poll_fd < 0 || watch_own(client, client->notify_fd) || watch_own(client, client->timer_fd))
        return -EMFILE;
    client->mailbox = map_file(client->mailbox_fd, sizeof(struct ringd_mailbox));
    return client->mailbox ? 0 : -ENOMEM;
}

int ringd_client_create(const struct ringd_client_config *config, struct ringd_client **out)
{
    struct ringd_client *client = calloc(1, sizeof(*client));
    if (!client)
        return -ENOMEM;
    client->config = *config;
    client->socket = client->mailbox_fd = client->doorbell = client->notify_fd = client->timer_fd = client->poll_fd =
        -1;
    if (!config->wait_ns)
        client->config.wait_ns = RINGD_CLIENT_DEFAULT_WAIT_NS;
    if (!config->spin_ns)
        client->config.spin_ns = RINGD_CLIENT_DEFAULT_SPIN_NS;
    pthread_mutex_init(&client->lock, NULL);
    int ret = strlen(config->path) < sizeof(client->path) ? make_files(client) : -ENAMETOOLONG;
    if (!ret) {
        strcpy(client->path, config->path);
        ret = connection_open(client, client_after(client->config.wait_ns));
    }
    if (ret) {
        ringd_client_destroy(client);
        return ret;
    }
    *out = client;
    return 0;
}

static void remote_free(struct ringd_remote *remote)
{
    if (remote->ring)
        munmap(remote->ring, RINGD_RING_BYTES);
    if (remote->state)
        munmap(remote->state, remote->state_bytes);
    close_fd(remote->ring_fd);
    close_fd(remote->event_fd);
    close_fd(remote->state_fd);
    pthread_mutex_destroy(&remote->events_lock);
    free(remote);
}

void ringd_client_destroy(struct ringd_client *client)
{
    client->config.state = NULL;
    close_fd(client->socket);
    for (unsigned i = 0; i < RINGD_MSG_DEVICES; i++)
        if (client->remotes[i])
            remote_free(client->remotes[i]);
    if (client->mailbox)
        munmap(client->mailbox, sizeof(struct ringd_mailbox));
    close_fd(client->mailbox_fd);
    close_fd(client->doorbell);
    close_fd(client->notify_fd);
    close_fd(client->timer_fd);
    close_fd(client->poll_fd);
    pthread_mutex_destroy(&client->lock);
    free(client);
}

/* ---- devices ---- */

static int make_ring(struct ringd_remote *remote, int kvm_ring_fd)
{
    if (kvm_ring_fd >= 0) {
        remote->add.flags |= RINGD_ADD_RING_KVM;
        remote->fds[remote->fd_count++] = kvm_ring_fd;
        return 0;
    }
    remote->ring_fd = client_memory_file("ringd-ring", RINGD_RING_BYTES);
    remote->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    remote->ring = remote->ring_fd < 0 ? NULL : map_file(remote->ring_fd, RINGD_RING_BYTES);
    if (remote->event_fd < 0 || !remote->ring)
        return -EMFILE;
    remote->add.flags |= RINGD_ADD_RING_MEMFD;
    remote->fds[remote->fd_count++] = remote->ring_fd;
    remote->fds[remote->fd_count++] = remote->event_fd;
    return 0;
}

static int make_state(struct ringd_remote *remote)
{
    remote->state_bytes = ringd_state_file_bytes(RINGD_MSG_STATE_BYTES); /* enough for every type */
    remote->state_fd = client_memory_file("ringd-state", remote->state_bytes);
    remote->state = remote->state_fd < 0 ? NULL : map_file(remote->state_fd, remote->state_bytes);
    if (!remote->state)
        return -EMFILE;
    remote->add.flags |= RINGD_ADD_STATE | RINGD_ADD_NOTIFY;
    remote->fds[remote->fd_count++] = remote->state_fd;
    remote->fds[remote->fd_count++] = remote->client->notify_fd;
    return 0;
}

static int fill(struct ringd_remote *remote, const struct ringd_client_device *device)
{
    if (strlen(device->type) >= sizeof(remote->add.type) || device->config_bytes > RINGD_MSG_CONFIG_BYTES ||
        device->irq_count > RINGD_MSG_IRQS)
        return -EINVAL;
    remote->add.head.type = RINGD_MSG_ADD;
    strcpy(remote->add.type, device->type);
    remote->add.config_bytes = (uint32_t)device->config_bytes;
    if (device->config_bytes)
        memcpy(remote->add.config, device->config, device->config_bytes);
    int ret = make_ring(remote, device->kvm_ring_fd);
    if (!ret)
        ret = make_state(remote);
    for (unsigned i = 0; i < device->irq_count && !ret; i++) {
        if (device->irq_fds[i] < 0)
            continue;
        if (remote->fd_count == RINGD_MSG_FDS)
            return -EINVAL;
        remote->add.irq_mask |= 1u << i;
        remote->fds[remote->fd_count++] = device->irq_fds[i];
    }
    return ret;
}

/* A kernel with the posted interface alone allows one mapping of a ring, which is the daemon's by now, and frees the
 * ring with it. */
static bool ring_dies_with_daemon(const struct ringd_remote *remote)
{
    if (!(remote->add.flags & RINGD_ADD_RING_KVM))
        return false;
    void *second = mmap(NULL, RINGD_RING_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, remote->fds[0], 0);
    if (second == MAP_FAILED)
        return true;
    munmap(second, RINGD_RING_BYTES);
    return false;
}

/* A device is in the list only once the daemon has it: till then a restoration must not add it. */
static int add_locked(struct ringd_client *client, struct ringd_remote *remote)
{
    struct ringd_msg_add_reply reply;
    while (remote->id < RINGD_MSG_DEVICES && client->remotes[remote->id])
        remote->id++;
    if (remote->id == RINGD_MSG_DEVICES)
        return -EMFILE;
    remote->add.device = remote->id;
    int ret = connection_request(client, &remote->add.head, sizeof(remote->add), remote->fds, remote->fd_count, &reply,
                                 sizeof(reply), sizeof(reply));
    if (ret)
        return ret;
    remote->posted = reply.posted;
    remote->ring_dies = ring_dies_with_daemon(remote);
    client->remotes[remote->id] = remote;
    return 0;
}

int ringd_client_add(struct ringd_client *client, const struct ringd_client_device *device, struct ringd_remote **out)
{
    struct ringd_remote *remote = calloc(1, sizeof(*remote));
    if (!remote)
        return -ENOMEM;
    remote->client = client;
    remote->ring_fd = remote->event_fd = remote->state_fd = -1;
    remote->event = device->event;
    remote->output = device->output;
    remote->ctx = device->ctx;
    pthread_mutex_init(&remote->events_lock, NULL);
    int ret = fill(remote, device);
    if (!ret) {
        pthread_mutex_lock(&client->lock);
        ret = add_locked(client, remote);
        pthread_mutex_unlock(&client->lock);
    }
    if (ret) {
        remote_free(remote);
        return ret;
    }
    *out = remote;
    return 0;
}

static int ask_device(struct ringd_client *client, uint32_t type, uint32_t id)
{
    struct ringd_msg_device message = {.head.type = type, .device = id};
    struct ringd_msg reply;
    return connection_request(client, &message.head, sizeof(message), NULL, 0, &reply, sizeof(reply), sizeof(reply));
}

int ringd_client_remove(struct ringd_remote *remote)
{
    struct ringd_client *client = remote->client;
    pthread_mutex_lock(&client->lock);
    client->remotes[remote->id] = NULL; /* if the daemon dies over this, its successor does not get it */
    int ret = ask_device(client, RINGD_MSG_REMOVE, remote->id);
    pthread_mutex_unlock(&client->lock);
    client_deliver(remote);
    remote_free(remote);
    return ret == -ENODEV ? 0 : ret;
}

static int map_or_unmap(struct ringd_remote *remote, uint32_t type, unsigned region, uint64_t addr)
{
    struct ringd_client *client = remote->client;
    struct ringd_msg_map message = {.head.type = type, .device = remote->id, .region = region, .addr = addr};
    struct ringd_msg reply;
    if (region >= RINGD_MSG_REGIONS)
        return -EINVAL;
    pthread_mutex_lock(&client->lock);
    int ret = connection_request(client, &message.head, sizeof(message), NULL, 0, &reply, sizeof(reply), sizeof(reply));
    if (!ret)
        remote->add.regions[region] = (struct ringd_msg_region){.addr = addr, .mapped = type == RINGD_MSG_MAP};
    pthread_mutex_unlock(&client->lock);
    return ret;
}

int ringd_client_map(struct ringd_remote *remote, unsigned region, uint64_t addr)
{
    return map_or_unmap(remote, RINGD_MSG_MAP, region, addr);
}

int ringd_client_unmap(struct ringd_remote *remote, unsigned region)
{
    return map_or_unmap(remote, RINGD_MSG_UNMAP, region, 0);
}

uint32_t ringd_client_posted(const struct ringd_remote *remote)
{
    return remote->posted;
}

bool ringd_client_ring_survives(const struct ringd_remote *remote)
{
    return !remote->ring_dies;
}

int ringd_client_push(struct ringd_remote *remote, uint64_t addr, uint32_t pio, const void *data, uint32_t len)
{
    int ret = remote->ring ? ringd_ring_push(remote->ring, addr, pio, data, len) : -EINVAL;
    if (ret == 1)
        client_signal(remote->event_fd);
    return ret < 0 ? ret : 0;
}

int ringd_client_access(struct ringd_remote *remote, struct ringd_msg_access *access, uint64_t *value)
{
    struct ringd_client *client = remote->client;
    struct ringd_msg_access_reply reply;
    if (access->slot >= RINGD_ACCESS_SLOTS)
        return -EINVAL;
    pthread_mutex_lock(&client->lock);
    access->head = (struct ringd_msg){.type = RINGD_MSG_ACCESS};
    access->device = remote->id;
    /* The top bit keeps them apart from the mailbox's of the same slot. */
    access->sequence = UINT64_C(1) << 63 | ++remote->sequences[access->slot];
    int ret = connection_request(client, &access->head, sizeof(*access), NULL, 0, &reply, sizeof(reply), sizeof(reply));
    pthread_mutex_unlock(&client->lock);
    if (ret == -ETIMEDOUT)
        client_count(access->write ? &client->counts.writes_dropped : &client->counts.reads_unanswered);
    *value = ret ? UINT64_MAX : reply.value;
    client_deliver(remote);
    return ret;
}

/* ---- the machine ---- */

/* What a drain has caused is handed out before its caller goes on. `lock` is held. */
static void deliver_all(struct ringd_client *client)
{
    for (unsigned i = 0; i < RINGD_MSG_DEVICES; i++)
        if (client->remotes[i])
            client_deliver(client->remotes[i]);
}

int ringd_client_drain(struct ringd_client *client)
{
    pthread_mutex_lock(&client->lock);
    int ret = ask_device(client, RINGD_MSG_DRAIN, RINGD_MSG_ALL);
    deliver_all(client);
    pthread_mutex_unlock(&client->lock);
    return ret;
}

static int ask_machine(struct ringd_client *client, uint32_t type, bool paused)
{
    struct ringd_msg message = {.type = type}, reply;
    pthread_mutex_lock(&client->lock);
    client->paused = paused;
    int ret = connection_request(client, &message, sizeof(message), NULL, 0, &reply, sizeof(reply), sizeof(reply));
    deliver_all(client);
    pthread_mutex_unlock(&client->lock);
    return ret;
}

int ringd_client_pause(struct ringd_client *client)
{
    return ask_machine(client, RINGD_MSG_PAUSE, true);
}

int ringd_client_resume(struct ringd_client *client)
{
    return ask_machine(client, RINGD_MSG_RESUME, false);
}

int ringd_client_reset(struct ringd_client *client)
{
    return client->paused ? ask_machine(client, RINGD_MSG_RESET, true) : -EBUSY;
}

int ringd_client_save(struct ringd_remote *remote, struct ringd_msg_state *state)
{
    struct ringd_client *client = remote->client;
    struct ringd_msg_device message = {.head.type = RINGD_MSG_SAVE, .device = remote->id};
    pthread_mutex_lock(&client->lock);
    int ret = connection_request(client, &message.head, sizeof(message), NULL, 0, state,
                                 offsetof(struct ringd_msg_state, state), sizeof(*state));
    pthread_mutex_unlock(&client->lock);
    return ret;
}

int ringd_client_load(struct ringd_remote *remote, const struct ringd_msg_state *state)
{
    struct ringd_client *client = remote->client;
    struct ringd_msg_state message;
    struct ringd_msg reply;
    if (state->bytes > RINGD_MSG_STATE_BYTES)
        return -EINVAL;
    memcpy(&message, state, offsetof(struct ringd_msg_state, state) + state->bytes);
    message.head = (struct ringd_msg){.type = RINGD_MSG_LOAD};
    message.device = remote->id;
    pthread_mutex_lock(&client->lock);
    int ret = connection_request(client, &message.head, offsetof(struct ringd_msg_state, state) + state->bytes, NULL, 0,
                                 &reply, sizeof(reply), sizeof(reply));
    pthread_mutex_unlock(&client->lock);
    return ret;
}

int ringd_client_stats(struct ringd_remote *remote, struct ringd_msg_stats *stats)
{
    struct ringd_client *client = remote->client;
    struct ringd_msg_device message = {.head.type = RINGD_MSG_STATS, .device = remote->id};
    pthread_mutex_lock(&client->lock);
    int ret =
        connection_request(client, &message.head, sizeof(message), NULL, 0, stats, sizeof(*stats), sizeof(*stats));
    pthread_mutex_unlock(&client->lock);
    return ret;
}

/* ---- events ---- */

static void deliver_locked(struct ringd_remote *remote)
{
    struct ringd_state_page *state = remote->state;
    uint64_t published = __atomic_load_n(&state->events_published, __ATOMIC_ACQUIRE), seen = state->events_seen;
    for (; seen < published; seen++) {
        const struct ringd_state_event *item = &state->events[seen % RINGD_STATE_EVENTS];
        if (remote->event)
            remote->event(remote->ctx, item->event, item->value);
    }
    __atomic_store_n(&state->events_seen, seen, __ATOMIC_RELEASE);
    published = __atomic_load_n(&state->output_published, __ATOMIC_ACQUIRE);
    for (seen = state->output_seen; seen < published;) {
        size_t at = seen % RINGD_STATE_OUTPUT_BYTES, most = RINGD_STATE_OUTPUT_BYTES - at;
        size_t len = published - seen < most ? (size_t)(published - seen) : most;
        if (remote->output)
            remote->output(remote->ctx, &state->output[at], len);
        seen += len;
    }
    __atomic_store_n(&state->output_seen, seen, __ATOMIC_RELEASE);
}

static bool anything_new(const struct ringd_remote *remote)
{
    const struct ringd_state_page *state = remote->state;
    return __atomic_load_n(&state->events_published, __ATOMIC_ACQUIRE) !=
               __atomic_load_n(&state->events_seen, __ATOMIC_RELAXED) ||
           __atomic_load_n(&state->output_published, __ATOMIC_ACQUIRE) !=
               __atomic_load_n(&state->output_seen, __ATOMIC_RELAXED);
}

void client_deliver(struct ringd_remote *remote)
{
    if (!anything_new(remote))
        return;
    pthread_mutex_lock(&remote->events_lock);
    deliver_locked(remote);
    pthread_mutex_unlock(&remote->events_lock);
}

int ringd_client_poll_fd(struct ringd_client *client)
{
    return client->poll_fd;
}

void ringd_client_dispatch(struct ringd_client *client)
{
    uint64_t count;
    ssize_t done = read(client->notify_fd, &count, sizeof(count));
    done = read(client->timer_fd, &count, sizeof(count));
    (void)done;
    pthread_mutex_lock(&client->lock);
    connection_check(client);
    deliver_all(client);
    pthread_mutex_unlock(&client->lock);
}

uint64_t ringd_client_reconnects(const struct ringd_client *client)
{
    return __atomic_load_n(&client->counts.returns, __ATOMIC_RELAXED);
}

void ringd_client_counts(const struct ringd_client *client, struct ringd_client_counts *out)
{
    *out = (struct ringd_client_counts){
        .returns = __atomic_load_n(&client->counts.returns, __ATOMIC_RELAXED),
        .outages = __atomic_load_n(&client->counts.outages, __ATOMIC_RELAXED),
        .reads_unanswered = __atomic_load_n(&client->counts.reads_unanswered, __ATOMIC_RELAXED),
        .writes_dropped = __atomic_load_n(&client->counts.writes_dropped, __ATOMIC_RELAXED),
        .in_doubt = __atomic_load_n(&client->counts.in_doubt, __ATOMIC_RELAXED),
        .rings_lost = __atomic_load_n(&client->counts.rings_lost, __ATOMIC_RELAXED),
    };
}
