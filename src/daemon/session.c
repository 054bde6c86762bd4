/* SPDX-License-Identifier: BSD-2-Clause */
/* A client: one reply for each message; whoever breaks a rule is dropped, and nobody else notices. */
#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/server.h"

#define MESSAGE_MOST sizeof(struct ringd_msg_state)

/* ---- limits ---- */

int session_charge(struct session *session, size_t bytes, unsigned fds)
{
    if (bytes > RINGD_CLIENT_BYTES - session->shared_bytes) {
        server_log(session, "refused: %zu bytes of memory files, beside %zu, are more than %u", bytes,
                   session->shared_bytes, RINGD_CLIENT_BYTES);
        return -EDQUOT;
    }
    if (fds > RINGD_CLIENT_FDS - session->fds) {
        server_log(session, "refused: %u descriptors, beside %u, are more than %u", fds, session->fds,
                   RINGD_CLIENT_FDS);
        return -EMFILE;
    }
    session->shared_bytes += bytes;
    session->fds += fds;
    return 0;
}

void session_discharge(struct session *session, size_t bytes, unsigned fds)
{
    session->shared_bytes -= bytes;
    session->fds -= fds;
}

/* ---- descriptors that are not known to be closed in no time ---- */

void session_let_go(struct session *session, int fd)
{
    assert(session->foreign_count < CLOSING_MOST);
    if (!session->server->closer || closer_is_harmless(fd))
        close(fd);
    else
        session->foreign[session->foreign_count++] = fd;
}

/* Until they are closed the client is not heard: so it has one batch under way at most, and waits for it alone. */
void session_flush(struct session *session)
{
    if (!session->foreign_count || session->closing_now)
        return;
    memcpy(session->closing.fds, session->foreign, session->foreign_count * sizeof(session->foreign[0]));
    session->closing.count = session->foreign_count;
    session->closing.refused = session->refused;
    session->foreign_count = 0;
    session->closing_now = true;
    if (!session->gone)
        ev_io_stop(session->server->loop, &session->io);
    closer_submit(session->server->closer, &session->closing);
}

static void leave(struct session *session)
{
    struct server *server = session->server;
    session_flush(session);
    if (session->closing_now)
        return;
    if (session->refused)
        server->refused_count--;
    else
        server->session_count--;
    free(session);
    server_accept(server);
}

void session_closed(struct closing *batch)
{
    struct session *session = (struct session *)(void *)((char *)batch - offsetof(struct session, closing));
    session->closing_now = false;
    if (session->gone) {
        leave(session);
        return;
    }
    session_flush(session);
    if (!session->closing_now)
        ev_io_start(session->server->loop, &session->io);
}

/*
 * Messages that nobody has read are freed with the socket, and the descriptors in them closed, whatever they are.
 * Nothing comes any more after the shutdown; and as the socket tells who sent a message (SO_PASSCRED, server.c), there
 * is one if something did not fit into no room.
 */
static bool nothing_unread(int fd)
{
    struct msghdr msg = {0};
    shutdown(fd, SHUT_RDWR);
    return recvmsg(fd, &msg, MSG_PEEK | MSG_DONTWAIT) == 0 && !(msg.msg_flags & (MSG_CTRUNC | MSG_TRUNC));
}

/* ---- who has what ---- */

static void take_all_away(struct session *session)
{
    mailbox_close(session);
    for (unsigned i = 0; i < RINGD_MSG_DEVICES; i++)
        if (session->devices[i])
            device_remove(session->devices[i]);
}

static bool has_ended(const struct session *session)
{
    struct pollfd end = {.fd = session->fd, .events = POLLRDHUP};
    return poll(&end, 1, 0) == 1 && end.revents & (POLLRDHUP | POLLHUP);
}

static bool is_same(const struct file_id *a, const struct file_id *b)
{
    return a->node && a->node == b->node && a->device == b->device;
}

static bool has_file(const struct session *session, const struct file_id *file)
{
    if (is_same(&session->mailbox.file, file))
        return true;
    for (unsigned i = 0; i < RINGD_MSG_DEVICES; i++)
        for (unsigned n = 0; session->devices[i] && n < DEVICE_FILES; n++)
            if (is_same(&session->devices[i]->files[n], file))
                return true;
    return false;
}

/* The list stays as it is: we are in a turn of another's. */
int session_claim(struct session *session, const struct file_id *file)
{
    for (struct session *other = session->server->sessions; other; other = other->next) {
        if (!has_file(other, file))
            continue;
        if (other == session || !has_ended(other)) {
            server_log(session, "refused: client %u has this memory file in use", other->number);
            return -EBUSY;
        }
        take_all_away(other);
        other->ended = other->readable = true;
        turn_join(other);
    }
    return 0;
}

/* ---- messages ---- */

/* The descriptors that came, and whether anything did but the end of the connection. */
static unsigned take_fds(struct msghdr *msg, int *fds, bool *message)
{
    unsigned count = 0;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
        *message = true;
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        count =
            (unsigned)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int)); /* at most once, and no more than there is room */
        memcpy(fds, CMSG_DATA(c), count * sizeof(int));
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

/*
 * A message is looked at first, and taken out then: descriptors that we have no room for, or do not get because there
 * are too many, would be closed by the kernel on our time. So each is either ours or still in the socket, which goes to
 * the closer as it is.
 */
static int serve_message(struct session *session)
{
    _Alignas(8) uint8_t message[MESSAGE_MOST], reply[REQUEST_REPLY_MOST];
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(RINGD_MSG_FDS * sizeof(int)) + CMSG_SPACE(sizeof(struct ucred))];
    } control;
    struct iovec iov = {.iov_base = message, .iov_len = sizeof(message)};
    struct msghdr msg = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof(control.bytes)};
    struct msghdr none = {0};
    int fds[RINGD_MSG_FDS + CMSG_SPACE(sizeof(struct ucred)) / sizeof(int)]; /* as many as `control` could hold */
    bool came = false;
    ssize_t size = recvmsg(session->fd, &msg, MSG_PEEK | MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (size < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : -errno;
    unsigned count = take_fds(&msg, fds, &came);
    if (size == 0 && !came)
        return -ESHUTDOWN; /* gone, or its half of the connection closed */
    int ret = -EPROTO;
    if (!(msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) && count <= RINGD_MSG_FDS &&
        recvmsg(session->fd, &none, MSG_DONTWAIT) >= 0)
        ret = request_serve(session, message, (size_t)size, fds, count, reply);
    for (unsigned i = 0; i < count; i++)
        if (fds[i] >= 0)
            session_let_go(session, fds[i]);
    session_flush(session);
    if (ret < 0) {
        server_log(session, "dropped: it sent what is not a message of this protocol");
        return ret;
    }
    return send_reply(session, reply, (size_t)ret);
}

int session_serve(struct session *session)
{
    session->readable = false;
    if (session->closing_now && !session->ended)
        return 0; /* the loop will tell again */
    int ret = session->ended ? -ESHUTDOWN : serve_message(session);
    if (ret)
        session_destroy(session);
    return ret;
}

static void on_socket(struct ev_loop *loop, ev_io *io, int events)
{
    (void)loop;
    (void)events;
    struct session *session = io->data;
    session->readable = true;
    turn_join(session);
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

void session_refuse(struct server *server, int fd)
{
    struct session *session;
    if (nothing_unread(fd) || !server->closer) {
        close(fd);
    } else if ((session = calloc(1, sizeof(*session)))) {
        session->server = server;
        session->gone = session->refused = true;
        session->foreign[session->foreign_count++] = fd;
        server->refused_count++;
        leave(session);
    } else {
        close(fd);
    }
}

void session_destroy(struct session *session)
{
    struct server *server = session->server;
    server_log(session, "gone");
    ev_io_stop(server->loop, &session->io);
    ev_timer_stop(server->loop, &session->hello);
    take_all_away(session);
    turn_leave(session);
    for (struct session **at = &server->sessions; *at; at = &(*at)->next) {
        if (*at == session) {
            *at = session->next;
            break;
        }
    }
    if (nothing_unread(session->fd) || !server->closer)
        close(session->fd);
    else
        session->foreign[session->foreign_count++] = session->fd;
    session->gone = true;
    leave(session);
}
