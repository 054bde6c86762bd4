/* SPDX-License-Identifier: BSD-2-Clause */
/* What every public header begins and ends with: C linkage, and visibility outside of libringd. */
#ifndef RINGD_API_H
#define RINGD_API_H

#ifdef __cplusplus
#define RINGD_API_BEGIN                                                                                                \
    extern "C" {                                                                                                       \
    _Pragma("GCC visibility push(default)")
#define RINGD_API_END                                                                                                  \
    _Pragma("GCC visibility pop")                                                                                      \
    }
#else
#define RINGD_API_BEGIN _Pragma("GCC visibility push(default)")
#define RINGD_API_END   _Pragma("GCC visibility pop")
#endif

#endif
