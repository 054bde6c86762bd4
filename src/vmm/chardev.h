/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Character devices of the host: where a guest's serial port and debug console end up, and where its input comes from.
 *
 * Threads. A chardev belongs to the thread that runs its libev loop (the main thread): only that thread opens, flushes
 * and closes it, and does all of its I/O. chardev_write(), chardev_input_ready(), chardev_failed() and chardev_stats()
 * may be called from any thread, also under a device's lock: they never block. Writing appends to a buffer in memory,
 * under a mutex that nobody holds across a system call. The loop is woken by the first write after a quiet time; from
 * then on it looks by itself every 2 ms until nothing more has come, so a guest that prints a character at a time does
 * not pay a system call for each.
 *
 * Buffer. What cannot be written out yet is kept up to CHARDEV_BUFFER_MAX bytes; what comes after that is dropped and
 * counted. This includes output to unix:PATH while nobody is connected: the next client gets it first.
 *
 * Input from a client of unix:PATH waits for its receiver, also when the client has left. It is dropped when output
 * finds nobody there, or when the receiver takes nothing for half a second while another client wants the place.
 *
 * A pty is raw, and we hold its other end open ourselves, so that it outlives its users: what is written while nobody
 * has it open waits for the next. One that is hung up all the same (vhangup()) is opened again within a second.
 *
 * Keys. With on_key() the keys of a terminal are the guest's, those included that make signals elsewhere; Ctrl-A
 * begins what is for us, as in QEMU: x, h or ?, b, p, r and o are keys of enum chardev_key, a second Ctrl-A is one for
 * the guest, anything else is nothing. So that Ctrl-A is heard whatever the guest does, a terminal is read on while the
 * receiver is full: 4096 keys wait for it, more are dropped and counted.
 *
 * Standard input and output are shared with whoever started the process, so their O_NONBLOCK flag, which belongs to the
 * open file and not to the process, is never touched. A terminal or a pipe is opened a second time instead, by
 * /proc/self/fd/1, which gives an open file of our own that can be non-blocking; a socket is sent to with MSG_DONTWAIT.
 * Where opening fails (a terminal of another user) poll() is asked before each short write.
 *
 * The caller ignores SIGPIPE (and SIGXFSZ, for files under a size limit), and has made sure that descriptors 0, 1 and
 * 2 were taken before it opened anything else.
 */
#ifndef RINGVMM_VMM_CHARDEV_H
#define RINGVMM_VMM_CHARDEV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CHARDEV_BUFFER_MAX (1024u * 1024u)

struct ev_loop;
struct chardev;

enum chardev_kind {
    CHARDEV_NULL,  /* takes and gives nothing */
    CHARDEV_STDIO, /* standard output; standard input for the one that has on_input */
    CHARDEV_FILE,  /* a file, emptied when opened; or a FIFO or a device. Output only */
    CHARDEV_UNIX,  /* a listening socket, one client at a time; others wait their turn */
    CHARDEV_PTY,   /* a terminal that is made; its name is told to the user */
};

enum chardev_key {
    CHARDEV_KEY_QUIT,
    CHARDEV_KEY_HELP,
    CHARDEV_KEY_BREAK, /* on the line; what was typed before has been offered to on_input() */
    CHARDEV_KEY_PAUSE,
    CHARDEV_KEY_RESET,
    CHARDEV_KEY_POWER_BUTTON,
};

struct chardev_spec {
    enum chardev_kind kind;
    const char *path; /* FILE, UNIX: the end of the text that was parsed; else NULL */
};

/*
 * chardev_parse - reads "stdio", "null", "pty", "file:PATH" or "unix:PATH". Looks at the text only.
 * @spec: must outlive @out.
 * Returns 0, or -EINVAL with one line in @error that names the value and what is wrong with it.
 */
int chardev_parse(const char *spec, struct chardev_spec *out, char *error, size_t error_size);

struct chardev_config {
    struct ev_loop *loop; /* outlives the chardev, which keeps watchers active in it */
    const char *name;     /* in messages: "serial"; copied */
    /* Bytes from outside, on the loop's thread, no lock held. Returns how many were taken, from the first on. The rest
     * is kept, and nothing more is read, until chardev_input_ready(). NULL: no input is wanted. */
    size_t (*on_input)(void *ctx, const uint8_t *data, size_t len);
    /* A key of a terminal that is for us, on the loop's thread, no lock held. It must not close the chardev. NULL: none
     * is; Ctrl-C, Ctrl-\ and Ctrl-Z make signals. */
    void (*on_key)(void *ctx, enum chardev_key key);
    /* One line for the user, on the loop's thread; NULL: stderr, after "ringvmm: ". */
    void (*warn)(void *ctx, const char *line);
    void *ctx;
};

/*
 * chardev_open - opens the host's side.
 * Standard input that is a terminal goes into raw mode (no echo, no lines) while the process is in the foreground. A
 * socket file whose owner is dead is replaced. The name of a pty goes to warn() in a line "NAME is at /dev/pts/N".
 * Returns 0, or -errno with one line in @error: what open() or bind() says; -EADDRINUSE for a socket that somebody
 * listens on; -EEXIST for a file of another kind in its place; -EBUSY for a second reader of standard input; -ENOMEM.
 */
int chardev_open(const struct chardev_spec *spec, const struct chardev_config *config, struct chardev **out,
                 char *error, size_t error_size);

/* Takes `len` bytes for output. Any thread; never blocks. What has no room is dropped and counted. */
void chardev_write(struct chardev *chr, const uint8_t *data, size_t len);

/* The receiver of on_input() has room again. Any thread, also under the lock that on_input() takes; costs nothing while
 * no input waits. */
void chardev_input_ready(struct chardev *chr);

/*
 * chardev_flush - writes out what is buffered, waiting at most `timeout_ms` for a slow receiver. The loop's thread.
 * Returns 0, -ETIMEDOUT, -ENOTCONN (output is left and the socket has no client), or -errno of the failure to write.
 */
int chardev_flush(struct chardev *chr, unsigned timeout_ms);

/* 0, or the errno that ended output to a file or to standard output. One line has told the user about it. A client of a
 * socket who goes away is no failure. Any thread. */
int chardev_failed(struct chardev *chr);

struct chardev_stats {
    uint64_t written;      /* bytes handed to the host */
    uint64_t dropped;      /* bytes that had no room, or came with or after a failure */
    uint64_t keys_dropped; /* of a terminal, for which the guest had no room */
};

void chardev_stats(struct chardev *chr, struct chardev_stats *out); /* any thread */

/* What it is called in messages. Any thread. */
const char *chardev_name(const struct chardev *chr);

/*
 * chardev_close - drops what is buffered (see chardev_flush()), restores the terminal, removes the socket file if it is
 * still ours. No other thread may use the chardev any more. NULL is allowed.
 * Returns 0 or -errno as chardev_failed(), which also tells what close() had to say about a file.
 */
int chardev_close(struct chardev *chr);

/* After SIGCONT, on the loop's thread: puts the terminal into raw mode again if the process is in the foreground, and
 * leaves it alone if it is not. Does nothing for a chardev that reads no terminal. */
void chardev_resume_terminal(struct chardev *chr);

/* Gives the terminal back as it was found, if some chardev changed it. Async-signal-safe: for handlers of fatal signals
 * and for abort paths. */
void chardev_restore_terminal(void);

/* From now on the signals that end a process at once, if nobody handles them (SIGQUIT, SIGABRT, those of faults,
 * SIGALRM and its like), do so only after chardev_restore_terminal(). What is ignored stays so, and what had a handler
 * still gets there. For the whole process, once, before threads are made. */
void chardev_catch_fatal_signals(void);

#endif
