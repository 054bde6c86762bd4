/* SPDX-License-Identifier: BSD-2-Clause */
/* What the daemon gives up before it talks to anybody. */
#ifndef DAEMON_SANDBOX_H
#define DAEMON_SANDBOX_H

/* Each prints one line and returns -1 when it fails. */
/* Descriptors as many as its clients may need, no child, no core file. Where the limit of open files does not allow
 * that many, a line says so, and *max_clients is how many it does. */
int sandbox_limits(unsigned *max_clients);
int sandbox_user(const char *user); /* from root to `user` and its groups */
int sandbox_seal(void); /* for all threads: no new privileges; with libseccomp, no call but those the loop makes */
/* "libseccomp", or that there is none. */
const char *sandbox_kind(void);

#endif
