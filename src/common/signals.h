/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef RINGD_SIGNALS_H
#define RINGD_SIGNALS_H

#include <signal.h>

/*
 * What a thread blocks that leaves signals to another one: all but those that a fault of its own raises. A fault whose
 * signal is blocked ends the process without its handler, and a handler may have a terminal to restore.
 */
static inline void signals_of_others(sigset_t *set)
{
    static const int faults[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGSYS};
    sigfillset(set);
    for (unsigned i = 0; i < sizeof(faults) / sizeof(faults[0]); i++)
        sigdelset(set, faults[i]);
}

#endif
