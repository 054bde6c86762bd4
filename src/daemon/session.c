/* SPDX-License-Identifier: BSD-2-Clause */
/* A client: one message a turn of the loop, one reply for each; whoever breaks a rule is dropped, and nobody else
 * notices. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/server.h"

#define MESSAGE_MOST sizeof(struct ringd_msg_state)

static void close_fds(const int *fds, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if (fds[i] >= 0)
            close(fds[i]);
}

/* All descriptors that came, those of a message that is refused too: they are ours to close. More than `most` are
 * closed by the kernel, and the message is marked. */
static unsigned take_fds(struct msghdr *msg, int *fds, unsigned most)
{
    unsigned count = 0;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        unsigned here = (unsigned)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
        for (unsigned i = 0; i < here; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
            if (count < most)
                fds[count++] = fd;
            else
                close(fd);
        }
    }
    return count;
}

/* A reply that does not fit into the socket's buffer has a client that does not read. */
static int send_reply(const struct session *session, const void *reply, size_t size)
{
    ssize_t sent = send(session->fd, reply, size, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent == (ssize_t)size)
        return 0;
    if (sent < 0 && (errno == EAGAIN || errno == ENOBUFS))
        server_log(session, "dropped: it does not read its replies");
    return -EPIPE;
}

static int serve_message(struct session *session)
{
    _Alignas(8) uint8_t message[MESSAGE_MOST], reply[REQUEST_REPLY_MOST];
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(RINGD_MSG_FDS * sizeof(int))];
    } control;
    struct iovec iov = {.iov_base = message, .iov_len = sizeof(message)};
    struct msghdr msg = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof(control.bytes)};
    int fds[RINGD_MSG_FDS];
    ssize_t size = recvmsg(session->fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (size < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : -errno;
    unsigned count = take_fds(&msg, fds, RINGD_MSG_FDS);
    if (size == 0) {
        close_fds(fds, count);
        return -ESHUTDOWN; /* gone, or its half of the connection closed */
    }
    int ret = -EPROTO;
    if (!(msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC)))
        ret = request_serve(session, message, (size_t)size, fds, count, reply);
    close_fds(fds, count);
    if (ret < 0) {
        server_log(session, "dropped: it sent what is not a message of this protocol");
        return ret;
    }
    return send_reply(session, reply, (size_t)ret);
}

static void on_socket(struct ev_loop *loop, ev_io *io, int events)
{
    (void)loop;
    (void)events;
    struct session *session = io->data;
    if (serve_message(session))
        session_destroy(session);
}

static void on_hello_timeout(struct ev_loop *loop, ev_timer *timer, int events)
{
    (void)loop;
    (void)events;
    struct session *session = timer->data;
    server_log(session, "dropped: no HELLO within %.0f s", SERVER_HELLO_SECONDS);
    session_destroy(session);
}

int session_create(struct server *server, int fd, unsigned number)
{
    struct session *session = calloc(1, sizeof(*session));
    if (!session)
        return -ENOMEM;
    session->server = server;
    session->fd = fd;
    session->number = number;
    ev_io_init(&session->io, on_socket, fd, EV_READ);
    ev_timer_init(&session->hello, on_hello_timeout, SERVER_HELLO_SECONDS, 0.0);
    session->io.data = session->hello.data = session;
    ev_io_start(server->loop, &session->io);
    ev_timer_start(server->loop, &session->hello);
    session->next = server->sessions;
    server->sessions = session;
    server->session_count++;
    server_log(session, "connected");
    return 0;
}

void session_destroy(struct session *session)
{
    struct server *server = session->server;
    server_log(session, "gone");
    ev_io_stop(server->loop, &session->io);
    ev_timer_stop(server->loop, &session->hello);
    mailbox_close(session);
    for (unsigned i = 0; i < RINGD_MSG_DEVICES; i++)
        if (session->devices[i])
            device_remove(session->devices[i]);
    close(session->fd);
    for (struct session **at = &server->sessions; *at; at = &(*at)->next) {
        if (*at == session) {
            *at = session->next;
            break;
        }
    }
    server->session_count--;
    free(session);
}
