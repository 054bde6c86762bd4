/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <termios.h>
#include <unistd.h>

#include "vmm/chardev.h"
#include "vmm/chardev_internal.h"

/* Linux, Documentation/admin-guide/devices.txt: /dev/ptmx */
#define PTMX_MAJOR 5
#define PTMX_MINOR 2

/* The terminal on standard input: one per process, and known to signal handlers. */
static struct {
    struct termios found;
    bool found_valid;
    volatile sig_atomic_t raw;
    const struct chardev *reader; /* of standard input, terminal or not */
} terminal;

static int fail(char *error, size_t error_size, int err, const char *format, ...) __attribute__((format(printf, 4, 5)));

static int fail(char *error, size_t error_size, int err, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)vsnprintf(error, error_size, format, args);
    va_end(args);
    return -err;
}

int chardev_parse(const char *spec, struct chardev_spec *out, char *error, size_t error_size)
{
    static const struct {
        const char *word;
        enum chardev_kind kind;
        bool has_path;
    } kinds[] = {
        {"null", CHARDEV_NULL, false}, {"pty", CHARDEV_PTY, false},   {"stdio", CHARDEV_STDIO, false},
        {"file:", CHARDEV_FILE, true}, {"unix:", CHARDEV_UNIX, true},
    };
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        size_t length = strlen(kinds[i].word);
        if (kinds[i].has_path ? strncmp(spec, kinds[i].word, length) != 0 : strcmp(spec, kinds[i].word) != 0)
            continue;
        out->kind = kinds[i].kind;
        out->path = kinds[i].has_path ? spec + length : NULL;
        if (out->path && !out->path[0])
            return fail(error, error_size, EINVAL, "'%s' needs a path after the colon", spec);
        if (out->kind == CHARDEV_UNIX && strlen(out->path) >= sizeof(((struct sockaddr_un *)0)->sun_path))
            return fail(error, error_size, EINVAL, "'%s': the path of a socket may have at most %zu bytes", spec,
                        sizeof(((struct sockaddr_un *)0)->sun_path) - 1);
        return 0;
    }
    return fail(error, error_size, EINVAL, "'%s' is none of stdio, null, pty, file:PATH and unix:PATH", spec);
}

/* ---- the terminal ---- */

/* Changing or reading a terminal from the background stops the process. One that is not our controlling terminal
 * (ENOTTY) has no such rule. */
static bool terminal_is_ours(void)
{
    pid_t group = tcgetpgrp(STDIN_FILENO);
    return group < 0 || group == getpgrp();
}

void chardev_resume_terminal(struct chardev *chr)
{
    if (!chr->reads_terminal)
        return;
    chr->in_background = !terminal_is_ours();
    if (!chr->in_background) {
        if (!terminal.found_valid)
            terminal.found_valid = tcgetattr(STDIN_FILENO, &terminal.found) == 0;
        struct termios raw = terminal.found;
        /* OPOST stays: our own messages keep their line ends. */
        raw.c_iflag &= ~(tcflag_t)(BRKINT | ICRNL | IGNCR | INLCR | ISTRIP | IXON);
        raw.c_lflag &= ~(tcflag_t)(ECHO | ECHONL | ICANON | IEXTEN);
        if (chr->on_key) /* else Ctrl-C is the only way to end the machine */
            raw.c_lflag &= ~(tcflag_t)ISIG;
        raw.c_cc[VMIN] = 1;
        raw.c_cc[VTIME] = 0;
        if (terminal.found_valid) {
            terminal.raw = 1; /* first: a handler in between then restores what is still there */
            (void)tcsetattr(STDIN_FILENO, TCSANOW, &raw);
        }
    }
    chardev_watch_input(chr);
}

void chardev_restore_terminal(void)
{
    int saved = errno;
    if (terminal.raw && terminal_is_ours()) {
        (void)tcsetattr(STDIN_FILENO, TCSANOW, &terminal.found);
        terminal.raw = 0;
    }
    errno = saved;
}

static struct {
    const int signum;
    struct sigaction before;
} fatal[] = {
    {.signum = SIGQUIT}, {.signum = SIGILL},    {.signum = SIGABRT}, {.signum = SIGBUS},  {.signum = SIGFPE},
    {.signum = SIGSEGV}, {.signum = SIGTRAP},   {.signum = SIGSYS},  {.signum = SIGALRM}, {.signum = SIGUSR1},
    {.signum = SIGUSR2}, {.signum = SIGVTALRM}, {.signum = SIGPROF}, {.signum = SIGXCPU}, {.signum = SIGIO},
    {.signum = SIGPWR},  {.signum = SIGSTKFLT},
};

static void on_fatal_signal(int signum)
{
    int saved = errno;
    chardev_restore_terminal();
    for (size_t i = 0; i < sizeof(fatal) / sizeof(fatal[0]); i++)
        if (fatal[i].signum == signum)
            (void)sigaction(signum, &fatal[i].before, NULL);
    (void)raise(signum); /* blocked until we return: it strikes where it did, and ends the process as it would have */
    errno = saved;
}

void chardev_catch_fatal_signals(void)
{
    /* On the other stack where a thread has one, as a sanitizer's do: the fault may be the end of this one. */
    const struct sigaction action = {.sa_handler = on_fatal_signal, .sa_flags = SA_ONSTACK};
    for (size_t i = 0; i < sizeof(fatal) / sizeof(fatal[0]); i++) {
        struct sigaction before;
        if (sigaction(fatal[i].signum, NULL, &before) || before.sa_handler == SIG_IGN ||
            before.sa_handler == on_fatal_signal)
            continue;
        fatal[i].before = before;
        (void)sigaction(fatal[i].signum, &action, NULL);
    }
}

/* ---- opening ---- */

static void open_stdout(struct chardev *chr)
{
    struct stat info;
    int flags = fcntl(STDOUT_FILENO, F_GETFL);
    chr->out_fd = STDOUT_FILENO;
    /* A closed one fails at the first write, as it does for every program. */
    if (flags < 0 || (flags & O_ACCMODE) == O_RDONLY || fstat(STDOUT_FILENO, &info))
        return;
    chr->out_socket = S_ISSOCK(info.st_mode);
    if (!S_ISFIFO(info.st_mode) && !S_ISCHR(info.st_mode))
        return; /* a regular file never blocks, and has to keep the offset that it shares with others */
    chr->out_guarded = true;
    if (S_ISCHR(info.st_mode) && (!isatty(STDOUT_FILENO) || info.st_rdev == makedev(PTMX_MAJOR, PTMX_MINOR)))
        return; /* opening /dev/ptmx again would make a new terminal */
    int fd = open("/proc/self/fd/1", O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0)
        return;
    chr->out_fd = fd;
    chr->out_owned = true;
    chr->out_guarded = false;
}

static int open_stdio(struct chardev *chr, char *error, size_t error_size)
{
    if (chr->on_input) {
        if (terminal.reader)
            return fail(error, error_size, EBUSY, "%s: standard input is already read by %s", chr->name,
                        terminal.reader->name);
        terminal.reader = chr;
        if (fcntl(STDIN_FILENO, F_GETFD) >= 0)
            chr->in_fd = STDIN_FILENO;
        chr->reads_terminal = isatty(STDIN_FILENO);
        ev_io_set(&chr->readable, chr->in_fd, EV_READ);
        if (chr->reads_terminal)
            chardev_resume_terminal(chr);
        else
            chardev_watch_input(chr);
    }
    open_stdout(chr);
    ev_io_set(&chr->writable, chr->out_fd, EV_WRITE);
    return 0;
}

static int open_file(struct chardev *chr, char *error, size_t error_size)
{
    /* Non-blocking: for a FIFO or a device, neither opening nor writing may wait for the other side. */
    int fd = open(chr->path, O_WRONLY | O_CREAT | O_TRUNC | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0666);
    if (fd < 0)
        return fail(error, error_size, errno, "cannot open '%s' for %s output: %s", chr->path, chr->name,
                    errno == ENXIO ? "nobody reads it" : strerror(errno));
    chr->out_fd = fd;
    chr->out_owned = true;
    ev_io_set(&chr->writable, fd, EV_WRITE);
    return 0;
}

static int open_pty(struct chardev *chr, char *error, size_t error_size)
{
    char line[PATH_MAX + 64];
    int ret = chardev_pty_open(chr);
    if (ret)
        return fail(error, error_size, -ret, "cannot make a pty for %s: %s", chr->name, strerror(-ret));
    (void)snprintf(line, sizeof(line), "%s is at %s", chr->name, chr->path);
    chardev_tell(chr, line);
    chardev_watch_input(chr);
    return 0;
}

/* What is in the way of bind(). Returns 0 when it is gone, so that bind() may be tried again, or an errno. */
static int remove_stale(const struct sockaddr_un *address)
{
    struct stat info;
    if (lstat(address->sun_path, &info))
        return errno == ENOENT ? 0 : errno;
    if (!S_ISSOCK(info.st_mode))
        return EEXIST;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return errno;
    int err = connect(fd, (const struct sockaddr *)address, sizeof(*address)) ? errno : 0;
    (void)close(fd);
    if (err == EACCES || err == EPERM)
        return err;
    if (err != ECONNREFUSED && err != ENOENT)
        return EADDRINUSE; /* somebody listens, or it is a socket of another type */
    return unlink(address->sun_path) && errno != ENOENT ? errno : 0;
}

static int open_unix(struct chardev *chr, char *error, size_t error_size)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct stat info;
    size_t length = strlen(chr->path);
    int err = length < sizeof(address.sun_path) ? 0 : ENAMETOOLONG;
    chr->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (chr->listen_fd < 0)
        err = errno;
    if (!err) {
        memcpy(address.sun_path, chr->path, length);
        err = bind(chr->listen_fd, (struct sockaddr *)&address, sizeof(address)) ? errno : 0;
    }
    if (err == EADDRINUSE) {
        err = remove_stale(&address);
        if (!err && bind(chr->listen_fd, (struct sockaddr *)&address, sizeof(address)))
            err = errno;
    }
    if (!err && lstat(chr->path, &info) == 0) {
        chr->socket_dev = info.st_dev;
        chr->socket_ino = info.st_ino;
    }
    if (!err && listen(chr->listen_fd, 1))
        err = errno;
    if (err)
        return fail(error, error_size, err, "cannot listen on '%s' for %s: %s", chr->path, chr->name,
                    err == EADDRINUSE ? "another process does"
                    : err == EEXIST   ? "it exists and is not a socket"
                                      : strerror(err));
    chr->out_socket = true;
    ev_io_set(&chr->listener, chr->listen_fd, EV_READ);
    ev_io_start(chr->loop, &chr->listener);
    return 0;
}

/* A real-time ring thread must not wait for a main thread that somebody else keeps from running. */
static void init_lock(pthread_mutex_t *lock)
{
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setprotocol(&attributes, PTHREAD_PRIO_INHERIT);
    pthread_mutex_init(lock, &attributes);
    pthread_mutexattr_destroy(&attributes);
}

int chardev_open(const struct chardev_spec *spec, const struct chardev_config *config, struct chardev **out,
                 char *error, size_t error_size)
{
    struct chardev *chr = calloc(1, sizeof(*chr));
    if (!chr)
        return fail(error, error_size, ENOMEM, "%s: out of memory", config->name);
    chr->kind = spec->kind;
    chr->loop = config->loop;
    chr->on_input = config->on_input;
    chr->on_key = config->on_key;
    chr->warn = config->warn;
    chr->ctx = config->ctx;
    chr->in_fd = chr->out_fd = chr->listen_fd = chr->pty_fd = -1;
    init_lock(&chr->lock);
    chardev_init_watchers(chr);
    chr->name = strdup(config->name);
    chr->path = spec->path ? strdup(spec->path) : NULL;
    int ret = 0;
    if (!chr->name || (spec->path && !chr->path))
        ret = fail(error, error_size, ENOMEM, "%s: out of memory", config->name);
    else if (spec->kind == CHARDEV_STDIO)
        ret = open_stdio(chr, error, error_size);
    else if (spec->kind == CHARDEV_FILE && chr->path)
        ret = open_file(chr, error, error_size);
    else if (spec->kind == CHARDEV_UNIX && chr->path)
        ret = open_unix(chr, error, error_size);
    else if (spec->kind == CHARDEV_PTY)
        ret = open_pty(chr, error, error_size);
    if (ret) {
        chardev_close(chr);
        return ret;
    }
    *out = chr;
    return 0;
}

static void remove_socket(const struct chardev *chr)
{
    struct stat info;
    if (chr->socket_ino && !lstat(chr->path, &info) && info.st_dev == chr->socket_dev && info.st_ino == chr->socket_ino)
        (void)unlink(chr->path);
}

int chardev_close(struct chardev *chr)
{
    if (!chr)
        return 0;
    chardev_stop_watchers(chr);
    if (terminal.reader == chr) {
        chardev_restore_terminal();
        terminal.raw = 0; /* in the background it stays as the shell has made it */
        terminal.found_valid = false;
        terminal.reader = NULL;
    }
    if (chr->kind == CHARDEV_UNIX) {
        remove_socket(chr); /* before it closes, so that nobody finds a socket that nobody serves */
        if (chr->in_fd >= 0)
            (void)close(chr->in_fd);
        if (chr->listen_fd >= 0)
            (void)close(chr->listen_fd);
    } else if (chr->kind == CHARDEV_PTY) {
        chardev_pty_close(chr);
    } else if (chr->out_owned && close(chr->out_fd) && errno != EINTR) {
        chardev_output_failed(chr, errno); /* a network file system or a quota may speak up only now */
    }
    int ret = -chr->failure;
    pthread_mutex_destroy(&chr->lock);
    free(chr->pending.data);
    free(chr->out.data);
    free(chr->name);
    free(chr->path);
    free(chr);
    return ret;
}
