/* SPDX-License-Identifier: BSD-2-Clause */
/* A client of the daemon that sends any messages with any descriptors, and changes the memory it shares meanwhile. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/server.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define FILE_BYTES 32768u

struct input {
    const uint8_t *data;
    size_t size;
};

static void take(struct input *in, void *to, size_t bytes)
{
    size_t got = bytes < in->size ? bytes : in->size;
    memset(to, 0, bytes);
    if (got)
        memcpy(to, in->data, got);
    in->data += got;
    in->size -= got;
}

static uint8_t byte(struct input *in)
{
    uint8_t value;
    take(in, &value, 1);
    return value;
}

static void require(bool holds)
{
    if (!holds)
        abort();
}

static int memory_file(size_t bytes)
{
    int fd = memfd_create("fuzz", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    require(fd >= 0 && fallocate(fd, 0, 0, (off_t)bytes) == 0 &&
            fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) == 0);
    return fd;
}

/* The client's things; most messages are of the right kind, else nothing deep would be reached. */
struct client {
    int ring, state, mailbox, event;
    uint8_t *files[3]; /* the memory of the first three */
};

static void add(struct input *in, const struct client *client, struct ringd_msg_add *add, int *fds, unsigned *count)
{
    static const char *const types[] = {"rtc", "pci-host", "debug-console", "post-code"};
    uint8_t flags = byte(in);
    add->head.type = RINGD_MSG_ADD;
    add->device = byte(in) % (RINGD_MSG_DEVICES + 1);
    add->flags = flags & 0x1d;
    strcpy(add->type, types[flags >> 5 & 3]);
    if (byte(in) & 1)
        take(in, add->config, add->config_bytes = byte(in));
    for (unsigned i = 0; i < 2; i++)
        add->regions[i] = (struct ringd_msg_region){.addr = 0x70 + i, .mapped = byte(in) & 1};
    if (add->flags & RINGD_ADD_RING_MEMFD) {
        fds[(*count)++] = dup(client->ring);
        fds[(*count)++] = dup(client->event);
    }
    if (add->flags & RINGD_ADD_STATE)
        fds[(*count)++] = dup(client->state);
    if (add->flags & RINGD_ADD_NOTIFY)
        fds[(*count)++] = dup(client->event);
}

static size_t message(struct input *in, const struct client *client, uint8_t *bytes, int *fds, unsigned *count)
{
    static const size_t sizes[RINGD_MSG_TYPES] = {[RINGD_MSG_REMOVE] = sizeof(struct ringd_msg_device),
                                                  [RINGD_MSG_MAP] = sizeof(struct ringd_msg_map),
                                                  [RINGD_MSG_UNMAP] = sizeof(struct ringd_msg_map),
                                                  [RINGD_MSG_ACCESS] = sizeof(struct ringd_msg_access),
                                                  [RINGD_MSG_DRAIN] = sizeof(struct ringd_msg_device),
                                                  [RINGD_MSG_PAUSE] = sizeof(struct ringd_msg),
                                                  [RINGD_MSG_RESUME] = sizeof(struct ringd_msg),
                                                  [RINGD_MSG_RESET] = sizeof(struct ringd_msg),
                                                  [RINGD_MSG_SAVE] = sizeof(struct ringd_msg_device),
                                                  [RINGD_MSG_STATS] = sizeof(struct ringd_msg_device),
                                                  [RINGD_MSG_LOAD] = 700,
                                                  [RINGD_MSG_MAILBOX] = sizeof(struct ringd_msg)};
    uint8_t type = byte(in) % (RINGD_MSG_TYPES + 1);
    memset(bytes, 0, sizeof(struct ringd_msg_state));
    if (type == RINGD_MSG_ADD) {
        add(in, client, (void *)bytes, fds, count);
        return sizeof(struct ringd_msg_add);
    }
    if (type >= RINGD_MSG_TYPES || !sizes[type]) { /* whatever it is */
        size_t size = byte(in);
        take(in, bytes, size);
        return size;
    }
    struct ringd_msg *head = (void *)bytes;
    head->type = type;
    take(in, head + 1, sizes[type] - sizeof(*head));
    struct ringd_msg_device *device = (void *)bytes; /* reserved fields that are set end it: not too often */
    if (sizes[type] == sizeof(*device) && device->reserved != UINT32_MAX)
        device->reserved = 0;
    if (type == RINGD_MSG_UNMAP)
        ((struct ringd_msg_map *)(void *)bytes)->addr = 0;
    if (type == RINGD_MSG_LOAD)
        ((struct ringd_msg_state *)(void *)bytes)->bytes = 700 - offsetof(struct ringd_msg_state, state);
    if (type == RINGD_MSG_MAILBOX) {
        fds[(*count)++] = dup(client->mailbox);
        fds[(*count)++] = dup(client->event);
    }
    return sizes[type];
}

static void scribble(struct input *in, const struct client *client)
{
    uint8_t *file = client->files[byte(in) % 3];
    size_t bytes = file == client->files[0] ? RINGD_RING_BYTES : file == client->files[1] ? FILE_BYTES : 8192;
    uint8_t where[2], len = byte(in) % 64;
    take(in, where, 2);
    size_t at = (where[0] | (size_t)where[1] << 8) % (bytes - 64);
    take(in, file + at, len);
}

static void live(struct input *in, struct session *session, const struct client *client)
{
    static _Alignas(8) uint8_t bytes[sizeof(struct ringd_msg_state)], reply[REQUEST_REPLY_MOST];
    for (unsigned step = 0; in->size && step < 200; step++) {
        int fds[RINGD_MSG_FDS];
        unsigned count = 0;
        switch (byte(in) % 4) {
        case 0:
            scribble(in, client);
            break;
        case 1:
            ev_run(session->server->loop, EVRUN_NOWAIT);
            for (unsigned turns = 0; turns < 4 && turn_serve(session->server); turns++)
                ;
            break;
        default: {
            size_t size = message(in, client, bytes, fds, &count);
            int ret = request_serve(session, bytes, size, fds, count, reply);
            for (unsigned i = 0; i < count; i++)
                if (fds[i] >= 0)
                    close(fds[i]);
            require(ret < 0 || ((size_t)ret >= sizeof(struct ringd_msg) && (size_t)ret <= sizeof(reply)));
        }
        }
    }
}

static int open_fds(void)
{
    int count = 0;
    for (int fd = 0; fd < 256; fd++)
        count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size};
    struct server server = {.config = {.max_clients = 1, .types = UINT64_MAX}};
    struct client client = {memory_file(RINGD_RING_BYTES), memory_file(FILE_BYTES), memory_file(8192),
                            eventfd(0, EFD_NONBLOCK)};
    const size_t sizes[3] = {RINGD_RING_BYTES, FILE_BYTES, 8192};
    const int files[3] = {client.ring, client.state, client.mailbox};
    int pair[2], before = open_fds();
    for (unsigned i = 0; i < 3; i++) {
        client.files[i] = mmap(NULL, sizes[i], PROT_READ | PROT_WRITE, MAP_SHARED, files[i], 0);
        require(client.files[i] != MAP_FAILED);
    }
    require(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair) == 0);
    server.loop = ev_loop_new(EVFLAG_NOENV);
    require(server.loop && doorbells_open(&server) == 0 && session_create(&server, pair[0], 1) == 0);
    server.sessions->greeted = true;
    live(&in, server.sessions, &client);
    require(server.session_count == 1);
    session_destroy(server.sessions);
    doorbells_close(&server);
    ev_loop_destroy(server.loop);
    close(pair[1]);
    require(open_fds() == before); /* whatever came, nothing of it is left */
    for (unsigned i = 0; i < 3; i++) {
        munmap(client.files[i], sizes[i]);
        close(files[i]);
    }
    close(client.event);
    return 0;
}
