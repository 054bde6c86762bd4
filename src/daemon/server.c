/* SPDX-License-Identifier: BSD-2-Clause */
#include "daemon/server.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

void server_log(const struct session *session, const char *format, ...)
{
    if (!session->server->config.verbose)
        return;
    va_list args;
    va_start(args, format);
    fprintf(stderr, "ringd: client %u: ", session->number);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
}

/* One too many is told so, and not kept waiting. */
static void refuse(struct server *server, int fd)
{
    struct ringd_msg message = {.status = -EUSERS};
    ssize_t sent = send(fd, &message, sizeof(message), MSG_DONTWAIT | MSG_NOSIGNAL);
    (void)sent;
    session_refuse(server, fd);
}

/* The listening socket stays readable: without this the loop would do nothing but ask again. */
#define ACCEPT_AGAIN_SECONDS 0.1

static void stop_accepting(struct server *server)
{
    ev_io_stop(server->loop, &server->accept);
    ev_timer_set(&server->accept_again, ACCEPT_AGAIN_SECONDS, 0.0);
    ev_timer_start(server->loop, &server->accept_again);
}

void server_accept(struct server *server)
{
    if (!server->loop || ev_is_active(&server->accept))
        return;
    ev_timer_stop(server->loop, &server->accept_again);
    ev_io_start(server->loop, &server->accept);
}

static void on_accept_again(struct ev_loop *loop, ev_timer *timer, int events)
{
    (void)loop;
    (void)events;
    server_accept(timer->data);
}

static void on_accept(struct ev_loop *loop, ev_io *io, int events)
{
    (void)loop;
    (void)events;
    struct server *server = io->data;
    if (server->refused_count >= SERVER_REFUSED_MOST) {
        stop_accepting(server);
        return;
    }
    int fd = accept4(server->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0) {
        if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
            stop_accepting(server); /* EMFILE, ENFILE, ENOBUFS, ENOMEM */
        return;
    }
    const int on = 1;
    (void)setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)); /* an empty message is one then, not the end */
    if (server->session_count >= server->config.max_clients || session_create(server, fd, ++server->clients_ever))
        refuse(server, fd);
}

static void on_closed(struct ev_loop *loop, ev_io *io, int events)
{
    (void)loop;
    (void)events;
    struct server *server = io->data;
    for (struct closing *batch = closer_done(server->closer), *next; batch; batch = next) {
        next = batch->next;
        session_closed(batch);
    }
}

static void on_signal(struct ev_loop *loop, ev_signal *signal, int events)
{
    (void)loop;
    (void)events;
    struct server *server = signal->data;
    server->stop = true;
}

/*
 * An eventfd blocks its writer when it is full and its owner has taken O_NONBLOCK from it. We look before we write, but
 * a client that is fast enough can fill it in between. This signal, whose handler does nothing, ends such a wait: it
 * costs the others that long, and whoever tries it the interrupt.
 */
#define WATCHDOG_US 250000

static void on_watchdog(int signal)
{
    (void)signal;
}

static void set_watchdog(void)
{
    struct sigaction action = {.sa_handler = on_watchdog}; /* without SA_RESTART */
    const struct itimerval interval = {.it_interval.tv_usec = WATCHDOG_US, .it_value.tv_usec = WATCHDOG_US};
    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &interval, NULL);
}

static void start_watchers(struct server *server)
{
    ev_io_init(&server->accept, on_accept, server->listen_fd, EV_READ);
    ev_timer_init(&server->accept_again, on_accept_again, ACCEPT_AGAIN_SECONDS, 0.0);
    ev_io_init(&server->closed, on_closed, closer_fd(server->closer), EV_READ);
    server->accept.data = server->accept_again.data = server->closed.data = server;
    ev_io_start(server->loop, &server->accept);
    ev_io_start(server->loop, &server->closed);
}

int server_run(const struct server_config *config, int listen_fd, struct closer *closer)
{
    struct server server = {.config = *config, .listen_fd = listen_fd, .closer = closer};
    ev_signal term, interrupt;
    server.loop = ev_default_loop(EVFLAG_NOENV);
    if (!server.loop)
        return -ENOMEM;
    signal(SIGPIPE, SIG_IGN);
    set_watchdog();
    ev_signal_init(&term, on_signal, SIGTERM);
    ev_signal_init(&interrupt, on_signal, SIGINT);
    term.data = interrupt.data = &server;
    ev_signal_start(server.loop, &term);
    ev_signal_start(server.loop, &interrupt);
    int ret = doorbells_open(&server);
    if (ret) {
        ev_loop_destroy(server.loop);
        return ret;
    }
    start_watchers(&server);
    for (bool more = false; !server.stop; more = turn_serve(&server))
        ev_run(server.loop, more ? EVRUN_NOWAIT : EVRUN_ONCE);
    while (server.sessions)
        session_destroy(server.sessions);
    doorbells_close(&server);
    ev_loop_destroy(server.loop);
    return 0;
}
