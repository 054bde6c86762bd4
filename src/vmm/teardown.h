/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VMM_TEARDOWN_H
#define VMM_TEARDOWN_H

/*
 * teardown_in_background - lets the kernel end this process's VMs after the process itself has ended.
 * @vm_fd, @scratch_fd: the VMs; -1: none. Every other descriptor is closed.
 *
 * Closing a VM with an in-kernel interrupt controller makes the kernel wait for several grace periods, 12 to 25 ms on
 * an idle host, in whoever closes it last. A small process that shares this one's memory and descriptors outlives it
 * and is that last one. To be called when no other thread is left and all output is flushed; the caller then goes
 * straight to _exit(). Where it does not work, the exit itself takes that time: nothing is lost.
 */
void teardown_in_background(int vm_fd, int scratch_fd);

#endif
