/* SPDX-License-Identifier: BSD-2-Clause */
/* ringd: device models outside of the VMM's process. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "daemon/sandbox.h"
#include "daemon/server.h"

enum { EXIT_USAGE = 2, EXIT_FAILED = 4 };

#define FIRST_PASSED_FD     3 /* sd_listen_fds(3) */
#define DEFAULT_MAX_CLIENTS 64u
#define MOST_CLIENTS        1024u
#define DEFAULT_SPIN_US     20u
#define MOST_SPIN_US        1000u
#define LISTEN_BACKLOG      64
#define LOCK_WAIT_MS        2000u /* many times what another one needs to start */
#define LOCK_LOOK_MS        5u

struct options {
    struct server_config server;
    const char *socket, *user;
};

static void print_help(void)
{
    printf("Usage: ringd --socket PATH [OPTION]...\n"
           "\n"
           "Hosts device models for virtual machine monitors, outside of their processes.\n"
           "\n"
           "  --socket PATH            listen here; without it, on the socket that systemd passes\n"
           "  --device NAME            offer this device; may be given several times (default: all)\n"
           "  --user NAME              become this user before the first client is served\n"
           "  --max-clients N          1 to %u (default: %u)\n"
           "  --max-replay-latency US  when a posted write has been replayed at the latest (default: 1000)\n"
           "  --spin US                how long to look at a mailbox after an answer, 0 to %u (default: %u)\n"
           "  --verbose                one line on standard error for each client that comes or goes\n"
           "  --help, --version\n"
           "\n"
           "Devices:\n",
           MOST_CLIENTS, DEFAULT_MAX_CLIENTS, MOST_SPIN_US, DEFAULT_SPIN_US);
    for (unsigned i = 0; i < hosted_type_count; i++)
        printf("  %-24s %s\n", hosted_types[i].name, hosted_types[i].summary);
    printf("\nExit status: 0 after SIGTERM or SIGINT, 2 for a bad command line, 4 when it cannot run.\n"
           "The whole is in ringd(8).\n");
}

static unsigned number(const char *option, const char *text, unsigned least, unsigned most)
{
    char *end;
    errno = 0;
    unsigned long value = strtoul(text, &end, 10);
    if (*text < '0' || *text > '9' || *end || errno || value < least || value > most) {
        fprintf(stderr, "ringd: %s '%s': not a number from %u to %u\n", option, text, least, most);
        exit(EXIT_USAGE);
    }
    return (unsigned)value;
}

static uint64_t device_bit(const char *name)
{
    const struct hosted_type *type = hosted_type_find(name);
    if (!type) {
        fprintf(stderr, "ringd: --device '%s': there is no such device; see 'ringd --help'\n", name);
        exit(EXIT_USAGE);
    }
    return UINT64_C(1) << (type - hosted_types);
}

static struct options parse(int argc, char **argv)
{
    enum { SOCKET = 1, DEVICE, USER, CLIENTS, LATENCY, SPIN, VERBOSE, HELP, VERSION };
    static const struct option table[] = {{"socket", required_argument, NULL, SOCKET},
                                          {"device", required_argument, NULL, DEVICE},
                                          {"user", required_argument, NULL, USER},
                                          {"max-clients", required_argument, NULL, CLIENTS},
                                          {"spin", required_argument, NULL, SPIN},
                                          {"verbose", no_argument, NULL, VERBOSE},
                                          {"help", no_argument, NULL, HELP},
                                          {"version", no_argument, NULL, VERSION},
                                          {"max-replay-latency", required_argument, NULL, LATENCY},
                                          {NULL, 0, NULL, 0}};
    struct options options = {.server = {.max_clients = DEFAULT_MAX_CLIENTS, .spin_us = DEFAULT_SPIN_US}};
    for (int c; (c = getopt_long(argc, argv, "", table, NULL)) != -1;) {
        switch (c) {
        case SOCKET:
            options.socket = optarg;
            break;
        case DEVICE:
            options.server.types |= device_bit(optarg);
            break;
        case USER:
            options.user = optarg;
            break;
        case CLIENTS:
            options.server.max_clients = number("--max-clients", optarg, 1, MOST_CLIENTS);
            break;
        case LATENCY:
            options.server.max_replay_latency_ns =
                UINT64_C(1000) *
                number("--max-replay-latency", optarg, RINGD_LEAST_MAX_REPLAY_LATENCY_NS / 1000, 1000000);
            break;
        case SPIN:
            options.server.spin_us = number("--spin", optarg, 0, MOST_SPIN_US);
            break;
        case VERBOSE:
            options.server.verbose = true;
            break;
        case HELP:
            print_help();
            exit(0);
        case VERSION:
            printf("ringd %s (%s)\n", RINGVMM_VERSION, sandbox_kind());
            exit(0);
        default:
            fputs("ringd: see 'ringd --help'\n", stderr);
            exit(EXIT_USAGE);
        }
    }
    if (optind < argc) {
        fprintf(stderr, "ringd: '%s' is not an option; see 'ringd --help'\n", argv[optind]);
        exit(EXIT_USAGE);
    }
    if (!options.server.types)
        options.server.types = UINT64_MAX;
    return options;
}

/* A socket that nobody listens on any more is the leavings of a daemon that was killed. */
static int take_path(int fd, const struct sockaddr_un *address)
{
    int probe = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (probe < 0)
        return -errno;
    int ret = connect(probe, (const void *)address, sizeof(*address)) < 0 ? -errno : -EADDRINUSE;
    close(probe);
    struct stat st;
    if (ret == -ECONNREFUSED && lstat(address->sun_path, &st) == 0 && S_ISSOCK(st.st_mode))
        unlink(address->sun_path);
    else if (ret != -ENOENT)
        return ret == -ECONNREFUSED || ret == -EAGAIN ? -EADDRINUSE : ret;
    mode_t mask = umask(0117); /* its owner and group */
    ret = bind(fd, (const void *)address, sizeof(*address)) < 0 ? -errno : 0;
    umask(mask);
    return ret ? ret : listen(fd, LISTEN_BACKLOG) < 0 ? -errno : 0;
}

/*
 * Two daemons that start at once could each find the path stale and take it from the other. So whoever is between its
 * look and its listen() holds a lock of the directory: nothing is left behind by that, and it ends with the process.
 */
static int lock_directory(const char *path)
{
    char directory[sizeof(((struct sockaddr_un *)NULL)->sun_path)];
    strcpy(directory, path);
    char *slash = strrchr(directory, '/');
    if (slash)
        slash[slash == directory] = 0;
    int fd = open(slash ? directory : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    for (unsigned waited = 0; flock(fd, LOCK_EX | LOCK_NB) < 0; waited += LOCK_LOOK_MS) {
        int error = errno;
        if ((error != EWOULDBLOCK && error != EINTR) || waited >= LOCK_WAIT_MS) {
            close(fd);
            return error == EWOULDBLOCK ? -EBUSY : -error;
        }
        poll(NULL, 0, LOCK_LOOK_MS);
    }
    return fd;
}

static const char *hint(int error)
{
    return error == -EADDRINUSE ? "; another daemon listens there"
           : error == -EBUSY    ? "; somebody holds a lock of its directory (flock), use another"
                                : "";
}

static int listen_at(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (!*path || strlen(path) >= sizeof(address.sun_path)) {
        fprintf(stderr, "ringd: --socket '%s': a path of 1 to %zu bytes is needed\n", path,
                sizeof(address.sun_path) - 1);
        exit(EXIT_USAGE);
    }
    strcpy(address.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int ret = fd < 0 ? -errno : 0, lock = ret ? ret : lock_directory(path);
    if (lock >= 0) {
        ret = take_path(fd, &address);
        close(lock);
    } else {
        ret = lock;
    }
    if (ret) {
        fprintf(stderr, "ringd: --socket '%s': %s%s\n", path, strerror(-ret), hint(ret));
        exit(EXIT_FAILED);
    }
    return fd;
}

/* What systemd passes, sd_listen_fds(3): LISTEN_PID is ours, and the first descriptor is a listening socket of the
 * right type. -1: it passes nothing. */
static int passed_socket(void)
{
    const char *pid = getenv("LISTEN_PID"), *count = getenv("LISTEN_FDS");
    if (!pid || !count || strtol(pid, NULL, 10) != (long)getpid() || strtol(count, NULL, 10) < 1)
        return -1;
    int type = 0, listening = 0;
    socklen_t size = sizeof(type);
    if (getsockopt(FIRST_PASSED_FD, SOL_SOCKET, SO_TYPE, &type, &size) < 0 || type != SOCK_SEQPACKET ||
        getsockopt(FIRST_PASSED_FD, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) < 0 || !listening) {
        fputs("ringd: the descriptor that was passed is not a listening SOCK_SEQPACKET socket; use "
              "ListenSequentialPacket= in the socket unit\n",
              stderr);
        exit(EXIT_FAILED);
    }
    int flags = fcntl(FIRST_PASSED_FD, F_GETFL);
    if (flags < 0 || fcntl(FIRST_PASSED_FD, F_SETFL, flags | O_NONBLOCK) < 0 ||
        fcntl(FIRST_PASSED_FD, F_SETFD, FD_CLOEXEC) < 0) {
        fprintf(stderr, "ringd: the socket that was passed cannot be made non-blocking: %s\n", strerror(errno));
        exit(EXIT_FAILED);
    }
    return FIRST_PASSED_FD;
}

int main(int argc, char **argv)
{
    struct options options = parse(argc, argv);
    int fd = options.socket ? listen_at(options.socket) : passed_socket();
    if (fd < 0) {
        fputs("ringd: --socket is missing, and no socket has been passed; see 'ringd --help'\n", stderr);
        return EXIT_USAGE;
    }
    struct closer *closer;
    int ret = closer_start(options.server.max_clients, &closer);
    if (ret) {
        fprintf(stderr,
                "ringd: --max-clients %u needs as many threads, and 2: %s; raise the limit (TasksMax= of the unit, "
                "ulimit -u), or ask for fewer\n",
                options.server.max_clients, strerror(-ret));
        return EXIT_FAILED;
    }
    if (sandbox_limits(&options.server.max_clients) || (options.user && sandbox_user(options.user)) || sandbox_seal())
        return EXIT_FAILED;
    ret = server_run(&options.server, fd, closer);
    if (ret) {
        fprintf(stderr, "ringd: it cannot run: %s\n", strerror(-ret));
        return EXIT_FAILED;
    }
    return 0;
}
