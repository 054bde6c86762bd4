/* SPDX-License-Identifier: BSD-2-Clause */
/* A daemon to be measured: started, asked for the CPU time that it has used, ended. */
#ifndef RINGVMM_BENCH_CROWD_PROCESS_H
#define RINGVMM_BENCH_CROWD_PROCESS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct daemon_process {
    pid_t pid; /* 0: none */
    char socket[108];
};

/*
 * daemon_start - starts one and waits until it listens. It dies with the caller, which must have one thread only.
 * @program: the path of ringd; NULL: a copy of this process that runs ringd's main() with no device type but "probe".
 * @socket: where it shall listen; removed by daemon_stop().
 * @spin: the value of --spin; NULL: the default.
 * Returns 0 or -errno: what fork() says; -EIO when it ended or did not listen within 10 s, which it has said why on
 * stderr.
 */
int daemon_start(struct daemon_process *daemon, const char *program, const char *socket, const char *spin);

/* daemon_stop - by SIGTERM; by SIGKILL after 5 s. Nothing when there is none. */
void daemon_stop(struct daemon_process *daemon);

/* daemon_runs - false when it has ended by itself. */
bool daemon_runs(struct daemon_process *daemon);

/* daemon_cpu_ns - user and system time since its start; 0 when it has ended. */
uint64_t daemon_cpu_ns(const struct daemon_process *daemon);

#endif
