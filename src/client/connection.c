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

#define RETRY_NS   5000000    /* between two attempts at a daemon that is away */
#define ATTEMPT_NS 100000000  /* how long one may take that comes after the deadline */
#define MUTE_NS    1000000000 /* before the next one, at a daemon that takes connections and says nothing */

uint64_t client_after(uint64_t ns)
{
    uint64_t now = client_now();
    return ns < UINT64_MAX - now ? now + ns : UINT64_MAX;
}

uint64_t connection_outage(struct ringd_client *client, uint64_t until)
{
    uint64_t none = 0;
    if (!__atomic_compare_exchange_n(&client->away_until, &none, until, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
        return none;
    client_count(&client->counts.outages);
    return until;
}

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
    __atomic_store_n(&client->restored, false, __ATOMIC_RELAXED);
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
    /* With one request under way at a time there is room. */
    return sendmsg(fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)size ? 0 : -ENOTCONN;
}

/* Until there is something to read, or the moment has come. */
static bool wait_readable(int fd, uint64_t until)
{
    struct pollfd ready = {.fd = fd, .events = POLLIN};
    for (;;) {
        uint64_t now = client_now(), left = until > now ? until - now : 0;
        struct timespec most = {.tv_sec = (time_t)(left / 1000000000u), .tv_nsec = (long)(left % 1000000000u)};
        int ret = ppoll(&ready, 1, &most, NULL);
        if (ret >= 0 || errno != EINTR)
            return ret == 1;
    }
}

/* One request on a connection that is there. -ENOTCONN: it is no more, or what came is no answer, or nothing came until
 * then. */
static int ask(struct ringd_client *client, uint64_t until, struct ringd_msg *message, size_t size, const int *fds,
               unsigned fd_count, void *reply, size_t reply_least, size_t reply_size)
{
    struct ringd_msg *head = reply;
    message->serial = ++client->serial;
    message->status = 0;
    int lost = send_message(client->socket, message, size, fds, fd_count);
    if (lost && message->type != RINGD_MSG_HELLO) /* a refusal may be there all the same */
        return lost;
    if (!wait_readable(client->socket, until))
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

static int say_hello(struct ringd_client *client, uint64_t until)
{
    struct ringd_msg_hello hello = {.head.type = RINGD_MSG_HELLO,
                                    .magic = RINGD_PROTOCOL_MAGIC,
                                    .least = RINGD_PROTOCOL_VERSION,
                                    .most = RINGD_PROTOCOL_VERSION};
    struct ringd_msg_hello_reply reply;
    int ret = ask(client, until, &hello.head, sizeof(hello), NULL, 0, &reply, sizeof(reply), sizeof(reply));
    if (!ret && (reply.magic != RINGD_PROTOCOL_MAGIC || reply.version != RINGD_PROTOCOL_VERSION))
        ret = -EPROTO;
    return ret;
}

static int restore(struct ringd_client *client, uint64_t until)
{
    for (unsigned i = 0; i < RINGD_MSG_DEVICES; i++) {
        struct ringd_remote *remote = client->remotes[i];
        struct ringd_msg_add_reply reply;
        if (!remote)
            continue;
        remote->add.flags &= ~(uint32_t)RINGD_ADD_PAUSED;
        remote->add.flags |= client->paused ? RINGD_ADD_PAUSED : 0;
        int ret = ask(client, until, &remote->add.head, sizeof(remote->add), remote->fds, remote->fd_count, &reply,
                      sizeof(reply), sizeof(reply));
        if (ret)
            return ret;
    }
    struct ringd_msg message = {.type = RINGD_MSG_PAUSE}, reply;
    if (client->paused) { /* devices that are added later, too */
        int ret = ask(client, until, &message, sizeof(message), NULL, 0, &reply, sizeof(reply), sizeof(reply));
        if (ret)
            return ret;
    }
    const int fds[2] = {client->mailbox_fd, client->doorbell};
    message.type = RINGD_MSG_MAILBOX;
    return ask(client, until, &message, sizeof(message), fds, 2, &reply, sizeof(reply), sizeof(reply));
}

/* For one attempt: what is left until the deadline, but never less than it takes to see whether the daemon is there. */
static uint64_t attempt_until(uint64_t deadline)
{
    uint64_t least = client_after(ATTEMPT_NS);
    return deadline > least ? deadline : least;
}

/* A daemon that hangs has a full backlog: connect() waits for its send timeout then. */
static int connect_until(int fd, const struct sockaddr_un *address, uint64_t until)
{
    for (;;) {
        uint64_t now = client_now(), left = until > now ? until - now : 0;
        struct timeval most = {.tv_sec = (time_t)(left / 1000000000u), .tv_usec = (long)(left / 1000u % 1000000u)};
        if (!most.tv_sec && !most.tv_usec)
            most.tv_usec = 1; /* zero is for ever */
        if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &most, sizeof(most)) < 0)
            return -errno;
        if (connect(fd, (const void *)address, sizeof(*address)) == 0)
            return 0;
        if (errno != EINTR)
            return errno == EAGAIN ? -ENOTCONN : -errno;
    }
}

static int connect_socket(struct ringd_client *client, uint64_t until)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    memcpy(address.sun_path, client->path, sizeof(client->path));
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    int ret = connect_until(fd, &address, until);
    if (ret) {
        close(fd);
        return ret;
    }
    client->socket = fd;
    watch(client, EPOLL_CTL_ADD);
    return 0;
}

static int try_open(struct ringd_client *client, uint64_t until)
{
    int ret = connect_socket(client, until);
    if (!ret)
        ret = say_hello(client, until);
    if (!ret)
        ret = restore(client, until);
    if (ret)
        connection_lost(client);
    return ret;
}

static void count_return(struct ringd_client *client)
{
    client_count(&client->counts.returns);
    for (unsigned i = 0; i < RINGD_MSG_DEVICES; i++)
        if (client->remotes[i] && client->remotes[i]->ring_dies)
            client_count(&client->counts.rings_lost);
}

int connection_open(struct ringd_client *client, uint64_t until)
{
    if (client_now() < client->next_try)
        return -ENOTCONN;
    uint64_t most = attempt_until(until);
    int ret = try_open(client, most);
    if (ret) {
        uint64_t now = client_now();
        client->next_try = now + (now >= most ? MUTE_NS : RETRY_NS / 2);
        return ret;
    }
    set_retry(client, false);
    connection_lives(client);
    if (client->was_restored)
        count_return(client);
    if (client->was_restored && client->config.state)
        client->config.state(client->config.ctx, true);
    client->was_restored = true;
    __atomic_store_n(&client->restored, true, __ATOMIC_RELAXED);
    return 0;
}

void connection_check(struct ringd_client *client)
{
    struct pollfd gone = {.fd = client->socket, .events = POLLIN | POLLRDHUP};
    /* Nothing comes unasked, so whatever there is to read is the end. */
    if (client->socket >= 0 && poll(&gone, 1, 0) == 1)
        connection_lost(client);
    if (client->socket < 0)
        (void)connection_open(client, connection_outage(client, client_after(client->config.wait_ns)));
}

int connection_request(struct ringd_client *client, struct ringd_msg *message, size_t size, const int *fds,
                       unsigned fd_count, void *reply, size_t reply_least, size_t reply_size)
{
    uint64_t own = client_after(client->config.wait_ns);
    for (;;) {
        uint64_t away = __atomic_load_n(&client->away_until, __ATOMIC_RELAXED), until = away && away < own ? away : own;
        if (client->socket < 0)
            (void)connection_open(client, until);
        int ret = client->socket < 0
                      ? -ENOTCONN
                      : ask(client, attempt_until(until), message, size, fds, fd_count, reply, reply_least, reply_size);
        if (ret != -ENOTCONN) {
            connection_lives(client);
            return ret;
        }
        connection_lost(client);
        until = connection_outage(client, own);
        if (client_now() >= (until < own ? until : own))
            return -ETIMEDOUT;
        struct timespec pause = {.tv_nsec = RETRY_NS};
        nanosleep(&pause, NULL);
    }
}
