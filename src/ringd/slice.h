/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef RINGD_SLICE_H
#define RINGD_SLICE_H

/* Asks for the calling thread to be given the CPU sooner when it wakes. Nothing happens where the kernel cannot. */
void thread_shorten_slice(void);

#endif
