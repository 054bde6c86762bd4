/* SPDX-License-Identifier: BSD-2-Clause */
/* The connection, and its restoration: whatever the client has in the daemon is put there again before anything else is
 * said, the mailbox last, because requests in it are answered at once. */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "client/internal.h"

#define CONNECT_SECONDS 1
#define RETRY_NS        5000000 /* between two attempts at a daemon that is away */

static void watch(struct ringd_client *client, int op)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP, .data.fd = client->socket};
    (void)epoll_ctl(client->poll_fd, op, client->socket, &event);
}

static void set_retry(struct ringd_client *client, bool on)
{
    struct itimerspec spec = {0};
    if (on)
        spec.it_value.tv_nsec = spec.it_interval.tv_nsec = RETRY_NS;
    (void)timerfd_settime(client->timer_fd, 0, &spec, NULL);
}

void connection_lost(struct ringd_client *client)
{
    if (client->socket < 0)
        return;
    watch(client, EPOLL_CTL_DEL);
    close(client->socket);
    client->socket = -1;
    set_retry(client, true);
    if (client->restored && client->config.state)
        client->config.state(client->config.ctx, false);
    client->restored = false;
}

static int send_message(int fd, const void *message, size_t size, const int *fds, unsigned fd_count)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(RINGD_MSG_FDS * sizeof(int))];
    } control = {0};
    struct iovec iov = {.iov_base = (void *)(uintptr_t)message, .iov_len = size};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    if (fd_count) {
        msg.msg_control = control.bytes;
        msg.msg_controllen = CMSG_SPACE(fd_count * sizeof(int));
        struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(fd_count * sizeof(int));
        memcpy(CMSG_DATA(c), fds, fd_count * sizeof(int));
    }
    return sendmsg(fd, &msg, MSG_NOSIGNAL) == (ssize_t)size ? 0 : -ENOTCONN;
}

/* One request on a connection that is there. -ENOTCONN: it is no more, or what came is no answer. */
static int ask(struct ringd_client *client, struct ringd_msg *message, size_t size, const int *fds, unsigned fd_count,
               void *reply, size_t reply_least, size_t reply_size)
{
    struct ringd_msg *head = reply;
    message->serial = ++client->serial;
    message->status = 0;
    int ret, lost = send_message(client->socket, message, size, fds, fd_count);
    if (lost && message->type != RINGD_MSG_HELLO) /* a refusal may be there all the same */
        return lost;
    struct pollfd ready = {.fd = client->socket, .events = POLLIN};
    do
        ret = poll(&ready, 1, (int)(client->config.wait_ns / 1000000));
    while (ret < 0 && errno == EINTR);
    if (ret != 1)
        return -ENOTCONN;
    ssize_t got = recv(client->socket, reply, reply_size, MSG_DONTWAIT);
    if (got < 0 && errno == ECONNRESET) /* reported once, before what was sent earlier */
        got = recv(client->socket, reply, reply_size, MSG_DONTWAIT);
    if (got == (ssize_t)sizeof(*head) && head->type == 0 && head->status < 0)
        return head->status; /* refused before the first word */
    if (got < (ssize_t)sizeof(*head) || head->type != message->type || head->serial != message->serial ||
        (head->status == 0 && (size_t)got < reply_least))
        return -ENOTCONN;
    return head->status;
}

static int say_hello(struct ringd_client *client)
{
    struct ringd_msg_hello hello = {.head.type = RINGD_MSG_HELLO,
                                    .magic = RINGD_PROTOCOL_MAGIC,
                                    .least = RINGD_PROTOCOL_VERSION,
                                    .most = RINGD_PROTOCOL_VERSION};
    struct ringd_msg_hello_reply reply;
    int ret = ask(client, &hello.head, sizeof(hello), NULL, 0, &reply, sizeof(reply), sizeof(reply));
    if (!ret && (reply.magic != RINGD_PROTOCOL_MAGIC || reply.version != RINGD_PROTOCOL_VERSION))
        ret = -EPROTO;
    return ret;
}

static int restore(struct ringd_client *client)
{
    for (unsigned i = 0; i < RINGD_MSG_DEVICES; i++) {
        struct ringd_remote *remote = client->remotes[i];
        struct ringd_msg_add_reply reply;
        if (!remote)
            continue;
        remote->add.flags &= ~(uint32_t)RINGD_ADD_PAUSED;
        remote->add.flags |= client->paused ? RINGD_ADD_PAUSED : 0;
        int ret = ask(client, &remote->add.head, sizeof(remote->add), remote->fds, remote->fd_count, &reply,
                      sizeof(reply), sizeof(reply));
        if (ret)
            return ret;
    }
    struct ringd_msg message = {.type = RINGD_MSG_PAUSE}, reply;
    if (client->paused) { /* devices that are added later, too */
        int ret = ask(client, &message, sizeof(message), NULL, 0, &reply, sizeof(reply), sizeof(reply));
        if (ret)
            return ret;
    }
    const int fds[2] = {client->mailbox_fd, client->doorbell};
    message.type = RINGD_MSG_MAILBOX;
    return ask(client, &message, sizeof(message), fds, 2, &reply, sizeof(reply), sizeof(reply));
}

int connection_open(struct ringd_client *client)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    memcpy(address.sun_path, client->path, sizeof(client->path));
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    /* A daemon that hangs has a full backlog, or does not take what is sent. */
    struct timeval most = {.tv_sec = CONNECT_SECONDS};
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &most, sizeof(most));
    if (connect(fd, (const void *)&address, sizeof(address)) < 0) {
        int error = errno;
        close(fd);
        return -error;
    }
    client->socket = fd;
    watch(client, EPOLL_CTL_ADD);
    int ret = say_hello(client);
    if (!ret)
        ret = restore(client);
    if (ret) {
        connection_lost(client);
        return ret;
    }
    set_retry(client, false);
    if (client->was_restored)
        __atomic_store_n(&client->reconnects, client->reconnects + 1, __ATOMIC_RELAXED);
    if (client->was_restored && client->config.state)
        client->config.state(client->config.ctx, true);
    client->restored = client->was_restored = true;
    return 0;
}

void connection_check(struct ringd_client *client)
{
    struct pollfd gone = {.fd = client->socket, .events = POLLIN | POLLRDHUP};
    /* Nothing comes unasked, so whatever there is to read is the end. */
    if (client->socket >= 0 && poll(&gone, 1, 0) == 1)
        connection_lost(client);
    if (client->socket < 0)
        (void)connection_open(client);
}

int connection_request(struct ringd_client *client, struct ringd_msg *message, size_t size, const int *fds,
                       unsigned fd_count, void *reply, size_t reply_least, size_t reply_size)
{
    uint64_t until = client_now() + client->config.wait_ns;
    for (;;) {
        if (client->socket < 0)
            (void)connection_open(client);
        int ret =
            client->socket < 0 ? -ENOTCONN : ask(client, message, size, fds, fd_count, reply, reply_least, reply_size);
        if (ret != -ENOTCONN)
            return ret;
        connection_lost(client);
        if (client_now() >= until)
            return -ETIMEDOUT;
        struct timespec pause = {.tv_nsec = RETRY_NS};
        nanosleep(&pause, NULL);
    }
}
