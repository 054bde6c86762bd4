/* SPDX-License-Identifier: BSD-2-Clause */
#define _GNU_SOURCE 1 /* accept4, POLLRDHUP */

#include "vmm/chardev.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "vmm/chardev_internal.h"

#define BUFFER_FIRST  4096u
#define BUFFER_KEPT   (64u * 1024u)  /* a larger one is freed once it has been written out */
#define PUMP_BUDGET   (256u * 1024u) /* bytes before the loop's other watchers get their turn */
#define GUARDED_WRITE 512u           /* fits where poll() says that a pipe (PIPE_BUF) or a terminal has room */
#define LOOK_SECONDS  0.002
#define ESCAPE_KEY    0x01u /* Ctrl-A */
#define RETRY_SECONDS 1.0
#define STALL_SECONDS 0.5 /* without a byte taken, before the next client counts for more */

/* ---- output: any thread ---- */

static bool make_room(struct bytes *bytes, size_t more)
{
    if (more <= bytes->room - bytes->len)
        return true;
    size_t room = bytes->room ? bytes->room : BUFFER_FIRST;
    while (room - bytes->len < more)
        room *= 2;
    uint8_t *data = realloc(bytes->data, room);
    if (!data)
        return false;
    bytes->data = data;
    bytes->room = room;
    return true;
}

/* Keeps what there is room for and returns how much that was. Lock held. */
static size_t keep(struct chardev *chr, const uint8_t *data, size_t len)
{
    size_t room = CHARDEV_BUFFER_MAX - chr->pending.len - chr->out_left;
    if (len > room)
        len = room;
    if (!len || !make_room(&chr->pending, len))
        return 0;
    memcpy(chr->pending.data + chr->pending.len, data, len);
    chr->pending.len += len;
    return len;
}

void chardev_write(struct chardev *chr, const uint8_t *data, size_t len)
{
    if (chr->kind == CHARDEV_NULL)
        return;
    pthread_mutex_lock(&chr->lock);
    size_t kept = chr->failure ? 0 : keep(chr, data, len);
    chr->stats.dropped += len - kept;
    bool wake = kept && !chr->awake;
    if (wake)
        chr->awake = true;
    pthread_mutex_unlock(&chr->lock);
    if (wake)
        ev_async_send(chr->loop, &chr->wake);
}

int chardev_failed(struct chardev *chr)
{
    pthread_mutex_lock(&chr->lock);
    int failure = chr->failure;
    pthread_mutex_unlock(&chr->lock);
    return failure;
}

void chardev_stats(struct chardev *chr, struct chardev_stats *out)
{
    pthread_mutex_lock(&chr->lock);
    *out = chr->stats;
    pthread_mutex_unlock(&chr->lock);
}

const char *chardev_name(const struct chardev *chr)
{
    return chr->name;
}

/* ---- output: the loop's thread ---- */

enum pump {
    PUMP_EMPTY,   /* everything is out */
    PUMP_MORE,    /* the budget is spent */
    PUMP_BLOCKED, /* the receiver is slow */
    PUMP_NOBODY,  /* no client, or output has failed */
};

void chardev_tell(struct chardev *chr, const char *line)
{
    if (chr->warn)
        chr->warn(chr->ctx, line);
    else
        (void)fprintf(stderr, "ringvmm: %s\n", line);
}

void chardev_output_failed(struct chardev *chr, int err)
{
    pthread_mutex_lock(&chr->lock);
    bool first = !chr->failure;
    chr->failure = err;
    chr->stats.dropped += chr->out_left + chr->pending.len;
    chr->out_left = chr->pending.len = 0;
    pthread_mutex_unlock(&chr->lock);
    chr->out_at = chr->out.len = 0;
    if (!first)
        return;
    char line[PATH_MAX + 256];
    const char *quote = chr->path ? "'" : "";
    (void)snprintf(line, sizeof(line), "cannot write %s output to %s%s%s: %s; further output is dropped", chr->name,
                   quote, chr->path ? chr->path : "standard output", quote, strerror(err));
    chardev_tell(chr, line);
}

/* What it sent and the receiver has not taken goes with it. */
static void drop_client(struct chardev *chr)
{
    ev_io_stop(chr->loop, &chr->readable);
    ev_io_stop(chr->loop, &chr->writable);
    ev_timer_stop(chr->loop, &chr->stall);
    chr->input_at = chr->input_end = 0;
    atomic_store(&chr->input_waiting, false);
    (void)close(chr->in_fd);
    chr->in_fd = chr->out_fd = -1;
    ev_io_start(chr->loop, &chr->listener);
}

/* Takes over what other threads have left. Returns whether there is anything to write. */
static bool refill(struct chardev *chr)
{
    if (chr->out_at < chr->out.len)
        return true;
    if (chr->out.room > BUFFER_KEPT) {
        free(chr->out.data);
        chr->out = (struct bytes){0};
    }
    pthread_mutex_lock(&chr->lock);
    struct bytes empty = chr->out;
    empty.len = 0;
    chr->out = chr->pending;
    chr->pending = empty;
    chr->out_left = chr->out.len;
    pthread_mutex_unlock(&chr->lock);
    chr->out_at = 0;
    return chr->out.len > 0;
}

/* write() that never blocks for longer than a disk takes. Returns the bytes written or -errno. */
static ssize_t write_some(const struct chardev *chr, const uint8_t *data, size_t len)
{
    ssize_t written;
    if (chr->out_guarded) {
        struct pollfd room = {.fd = chr->out_fd, .events = POLLOUT};
        if (poll(&room, 1, 0) == 0)
            return -EAGAIN;
        len = len < GUARDED_WRITE ? len : GUARDED_WRITE;
    }
    do
        written =
            chr->out_socket ? send(chr->out_fd, data, len, MSG_DONTWAIT | MSG_NOSIGNAL) : write(chr->out_fd, data, len);
    while (written < 0 && errno == EINTR);
    if (written < 0)
        return -errno;
    return written ? written : -EIO;
}

static enum pump pump(struct chardev *chr)
{
    for (size_t spent = 0; spent < PUMP_BUDGET;) {
        if ((chr->kind == CHARDEV_UNIX && chr->out_fd < 0) || (chr->kind == CHARDEV_PTY && chr->pty_fd < 0))
            return PUMP_NOBODY;
        if (!refill(chr))
            return PUMP_EMPTY;
        ssize_t written = write_some(chr, chr->out.data + chr->out_at, chr->out.len - chr->out_at);
        if (written == -EAGAIN)
            return PUMP_BLOCKED;
        if (written < 0) {
            if (chr->kind == CHARDEV_UNIX)
                drop_client(chr); /* the next one gets the rest */
            else if (chr->kind == CHARDEV_PTY)
                chardev_pty_hung_up(chr);
            else
                chardev_output_failed(chr, (int)-written);
            return PUMP_NOBODY;
        }
        chr->out_at += (size_t)written;
        spent += (size_t)written;
        pthread_mutex_lock(&chr->lock);
        chr->out_left -= (size_t)written;
        chr->stats.written += (uint64_t)written;
        pthread_mutex_unlock(&chr->lock);
    }
    return PUMP_MORE;
}

/* Writes what can be written and arranges for the next time. `awake` stays set until a look has found nothing:
 * meanwhile a timer, the writable watcher or a new client brings us here again. */
static void run_output(struct chardev *chr)
{
    enum pump state = pump(chr);
    ev_timer_stop(chr->loop, &chr->look);
    if (state == PUMP_BLOCKED)
        ev_io_start(chr->loop, &chr->writable);
    else
        ev_io_stop(chr->loop, &chr->writable);
    if (state == PUMP_EMPTY || state == PUMP_MORE) {
        ev_timer_set(&chr->look, state == PUMP_EMPTY ? LOOK_SECONDS : 0., 0.);
        ev_timer_start(chr->loop, &chr->look);
    }
}

static void on_writable(struct ev_loop *loop, ev_io *watcher, int events)
{
    (void)loop;
    (void)events;
    run_output(watcher->data);
}

static void on_look(struct ev_loop *loop, ev_timer *watcher, int events)
{
    (void)loop;
    (void)events;
    struct chardev *chr = watcher->data;
    pthread_mutex_lock(&chr->lock);
    chr->awake = chr->pending.len || chr->out_left;
    bool more = chr->awake;
    pthread_mutex_unlock(&chr->lock);
    if (more)
        run_output(chr);
}

static uint64_t now_ms(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

int chardev_flush(struct chardev *chr, unsigned timeout_ms)
{
    if (chr->kind == CHARDEV_NULL)
        return 0;
    const uint64_t end = now_ms() + timeout_ms;
    for (;;) {
        enum pump state = pump(chr);
        uint64_t now = now_ms();
        if (state == PUMP_EMPTY || state == PUMP_NOBODY) {
            pthread_mutex_lock(&chr->lock);
            int ret = chr->failure ? -chr->failure : chr->pending.len || chr->out_left ? -ENOTCONN : 0;
            pthread_mutex_unlock(&chr->lock);
            return ret;
        }
        if (now >= end)
            return -ETIMEDOUT;
        if (state == PUMP_BLOCKED) {
            struct pollfd room = {.fd = chr->out_fd, .events = POLLOUT};
            uint64_t wait = end - now;
            (void)poll(&room, 1, wait < 1000 ? (int)wait : 1000);
        }
    }
}

/* ---- input ---- */

void chardev_watch_input(struct chardev *chr)
{
    bool full = chr->input_at < chr->input_end && !(chr->reads_terminal && chr->on_key);
    bool hung_up = chr->kind == CHARDEV_PTY && chr->pty_fd < 0;
    if (chr->in_fd < 0 || chr->input_ended || chr->in_background || hung_up || full)
        ev_io_stop(chr->loop, &chr->readable);
    else
        ev_io_start(chr->loop, &chr->readable);
}

static void offer_input(struct chardev *chr)
{
    /* Set before the receiver says that it is full, so that its chardev_input_ready() cannot come too early. */
    atomic_store(&chr->input_waiting, true);
    size_t left = chr->input_end - chr->input_at;
    size_t taken = chr->on_input(chr->ctx, chr->input + chr->input_at, left);
    chr->input_at += taken < left ? taken : left;
    if (taken >= left)
        atomic_store(&chr->input_waiting, false);
    if (taken >= left || chr->kind != CHARDEV_UNIX)
        ev_timer_stop(chr->loop, &chr->stall);
    else if (taken || !ev_is_active(&chr->stall))
        ev_timer_again(chr->loop, &chr->stall);
    chardev_watch_input(chr);
}

/* While input waits nobody reads the socket, so that its end is not seen. A client who has left may still wait for the
 * receiver to take what it sent, as long as something is taken or nobody else wants the place. */
static void on_stall(struct ev_loop *loop, ev_timer *watcher, int events)
{
    (void)loop;
    (void)events;
    struct chardev *chr = watcher->data;
    struct pollfd fds[] = {{.fd = chr->in_fd, .events = POLLRDHUP}, {.fd = chr->listen_fd, .events = POLLIN}};
    if (poll(fds, 2, 0) == 2)
        drop_client(chr);
}

void chardev_input_ready(struct chardev *chr)
{
    if (atomic_load(&chr->input_waiting) && atomic_exchange(&chr->input_waiting, false))
        ev_async_send(chr->loop, &chr->wake);
}

static void key_for_guest(struct chardev *chr, uint8_t key)
{
    if (chr->input_end == sizeof(chr->input)) {
        chr->input_end -= chr->input_at;
        memmove(chr->input, chr->input + chr->input_at, chr->input_end);
        chr->input_at = 0;
    }
    if (chr->input_end < sizeof(chr->input)) {
        chr->input[chr->input_end++] = key;
        return;
    }
    pthread_mutex_lock(&chr->lock);
    chr->stats.keys_dropped++;
    pthread_mutex_unlock(&chr->lock);
}

static void offer_keys(struct chardev *chr)
{
    if (chr->input_at < chr->input_end)
        offer_input(chr);
    if (chr->input_at == chr->input_end)
        chr->input_at = chr->input_end = 0;
}

/* x, h and b as in QEMU (system/invocation, "Keys in the character backend multiplexer"). */
static void key_for_us(struct chardev *chr, uint8_t key)
{
    offer_keys(chr);
    if (key == 'x')
        chr->on_key(chr->ctx, CHARDEV_KEY_QUIT);
    else if (key == 'h' || key == '?')
        chr->on_key(chr->ctx, CHARDEV_KEY_HELP);
    else if (key == 'b')
        chr->on_key(chr->ctx, CHARDEV_KEY_BREAK);
    else if (key == 'p')
        chr->on_key(chr->ctx, CHARDEV_KEY_PAUSE);
    else if (key == 'r')
        chr->on_key(chr->ctx, CHARDEV_KEY_RESET);
    else if (key == 'o')
        chr->on_key(chr->ctx, CHARDEV_KEY_POWER_BUTTON);
}

static void read_keys(struct chardev *chr, const uint8_t *keys, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        bool escaped = chr->escape;
        chr->escape = !escaped && keys[i] == ESCAPE_KEY;
        if (escaped && keys[i] != ESCAPE_KEY)
            key_for_us(chr, keys[i]);
        else if (!chr->escape)
            key_for_guest(chr, keys[i]);
    }
    offer_keys(chr);
}

static void on_readable(struct ev_loop *loop, ev_io *watcher, int events)
{
    (void)loop;
    (void)events;
    struct chardev *chr = watcher->data;
    bool keys = chr->reads_terminal && chr->on_key;
    uint8_t typed[256];
    ssize_t got = keys ? read(chr->in_fd, typed, sizeof(typed)) : read(chr->in_fd, chr->input, sizeof(chr->input));
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got <= 0) {
        if (chr->kind == CHARDEV_UNIX)
            drop_client(chr);
        else if (chr->kind == CHARDEV_PTY)
            chardev_pty_hung_up(chr);
        else
            chr->input_ended = true;
        chardev_watch_input(chr);
        return;
    }
    if (!chr->on_input)
        return;
    if (keys) {
        read_keys(chr, typed, (size_t)got);
        return;
    }
    chr->input_at = 0;
    chr->input_end = (size_t)got;
    offer_input(chr);
}

static void on_wake(struct ev_loop *loop, ev_async *watcher, int events)
{
    (void)loop;
    (void)events;
    struct chardev *chr = watcher->data;
    pthread_mutex_lock(&chr->lock);
    bool output = chr->awake;
    pthread_mutex_unlock(&chr->lock);
    if (output)
        run_output(chr);
    if (chr->input_at < chr->input_end && !atomic_load(&chr->input_waiting))
        offer_input(chr);
}

static void on_client(struct ev_loop *loop, ev_io *watcher, int events)
{
    (void)events;
    struct chardev *chr = watcher->data;
    int fd = accept4(chr->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0 && (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED))
        return;
    ev_io_stop(loop, &chr->listener);
    if (fd < 0) { /* no descriptors left: the client waits, but must not keep the loop spinning */
        ev_timer_set(&chr->retry, RETRY_SECONDS, 0.);
        ev_timer_start(loop, &chr->retry);
        return;
    }
    chr->in_fd = chr->out_fd = fd;
    ev_io_set(&chr->readable, fd, EV_READ);
    ev_io_set(&chr->writable, fd, EV_WRITE);
    chardev_watch_input(chr);
    run_output(chr);
}

static void on_retry(struct ev_loop *loop, ev_timer *watcher, int events)
{
    (void)events;
    struct chardev *chr = watcher->data;
    if (chr->kind == CHARDEV_UNIX) {
        ev_io_start(loop, &chr->listener);
    } else if (chardev_pty_open_again(chr)) {
        chardev_watch_input(chr);
        run_output(chr);
    } else {
        ev_timer_set(&chr->retry, RETRY_SECONDS, 0.);
        ev_timer_start(loop, &chr->retry);
    }
}

void chardev_init_watchers(struct chardev *chr)
{
    ev_async_init(&chr->wake, on_wake);
    ev_timer_init(&chr->look, on_look, 0., 0.);
    ev_timer_init(&chr->retry, on_retry, 0., 0.);
    ev_timer_init(&chr->stall, on_stall, 0., STALL_SECONDS);
    ev_io_init(&chr->readable, on_readable, -1, EV_READ);
    ev_io_init(&chr->writable, on_writable, -1, EV_WRITE);
    ev_io_init(&chr->listener, on_client, -1, EV_READ);
    chr->wake.data = chr->look.data = chr->retry.data = chr->stall.data = chr;
    chr->readable.data = chr->writable.data = chr->listener.data = chr;
    ev_async_start(chr->loop, &chr->wake);
}

void chardev_stop_watchers(struct chardev *chr)
{
    ev_async_stop(chr->loop, &chr->wake);
    ev_timer_stop(chr->loop, &chr->look);
    ev_timer_stop(chr->loop, &chr->retry);
    ev_timer_stop(chr->loop, &chr->stall);
    ev_io_stop(chr->loop, &chr->readable);
    ev_io_stop(chr->loop, &chr->writable);
    ev_io_stop(chr->loop, &chr->listener);
}
