/* SPDX-License-Identifier: BSD-2-Clause */
/* The names of CPU features, as /proc/cpuinfo has them, and where CPUID shows each. Constants only. */
#ifndef VMM_CPU_FEATURES_H
#define VMM_CPU_FEATURES_H

#include <stdbool.h>
#include <stdint.h>

/* The registers of CPUID that are made of features. */
enum cpu_word {
    CPU_1_EDX,
    CPU_1_ECX,
    CPU_6_EAX,
    CPU_7_EBX,
    CPU_7_ECX,
    CPU_7_EDX,
    CPU_7_1_EAX,
    CPU_D_1_EAX,
    CPU_80000001_EDX,
    CPU_80000001_ECX,
    CPU_80000007_EDX,
    CPU_80000008_EBX,
    CPU_WORDS,
};

enum cpu_register { CPU_EAX, CPU_EBX, CPU_ECX, CPU_EDX };

/* Where each word is, by enum cpu_word. */
struct cpu_word_place {
    uint32_t function, index;
    enum cpu_register reg;
};
extern const struct cpu_word_place cpu_word_places[CPU_WORDS];

struct cpu_feature {
    const char *name; /* NULL ends the table */
    uint8_t word;     /* enum cpu_word */
    uint8_t bit;
};
extern const struct cpu_feature cpu_feature_table[];

/* What --cpu asks for, beside what the host has. */
struct cpu_features {
    uint32_t off[CPU_WORDS]; /* to be taken away */
    uint32_t on[CPU_WORDS];  /* must be there */
    bool no_kvm;             /* no leaves of KVM's own */
};

#endif
