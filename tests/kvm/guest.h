/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A small KVM harness for tests: one VM with 64 KiB of memory and real-mode vCPUs, without any device of its own.
 * Guests are a few instructions each: emitted from a list of writes, or assembled in the test with GUEST_ASM().
 */
#ifndef TESTS_KVM_GUEST_H
#define TESTS_KVM_GUEST_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <linux/kvm.h>

#include <ringd/ringd.h>

#include "ringd/backend.h"

#define GUEST_MAX_VCPUS 4u
#define GUEST_MEMORY    0x10000u /* all that is not below this is MMIO */
#define GUEST_CODE      0x1000u  /* vCPU n's code is at GUEST_CODE + n * GUEST_CODE_MAX */
#define GUEST_CODE_MAX  0x3000u
#define GUEST_DATA      0xd000u  /* the tests' own */
#define GUEST_CONSTANTS 0xe000u  /* operands of eight bytes, used by code_write() */
#define GUEST_MMIO      0xe0000u /* ES points here: real-mode code reaches the 64 KiB from here as es:[offset] */
#define GUEST_END_PORT  0xf5u    /* a byte written here ends a guest; no zone may hold it */

/* Meson's exit status for a test that cannot run here. */
#define TEST_SKIPPED 77

struct guest_vcpu {
    int fd;
    unsigned id;
    struct kvm_run *run;
    uint64_t exits; /* returns from KVM_RUN but for those by a signal */
};

struct guest {
    int kvm, vm;
    uint8_t *memory;
    size_t run_size;
    unsigned vcpu_count;
    struct guest_vcpu vcpus[GUEST_MAX_VCPUS];
};

/* One write by a guest, or one entry of a ring, or one exit. */
struct guest_write {
    bool pio;
    uint64_t addr;
    unsigned width; /* 1, 2, 4; to memory 8 too */
    uint64_t value;
};

struct guest_exit {
    bool end;                 /* the guest wrote to GUEST_END_PORT */
    bool access;              /* a port or memory access, described by: */
    bool is_write;            /* (write.value is the value written) */
    struct guest_write write; /* */
    uint8_t *data;            /* where a read's result goes */
};

/*
 * guest_backend - the back end that these tests run on: $RINGVMM_TEST_BACKEND (v1 or mmio2), else what ringd_choose()
 * picks. Exits with TEST_SKIPPED after a line that says why when there is no /dev/kvm or it has no posted writes, and
 * with 1 when the back end that was asked for does not work here. For main(), before any test.
 */
enum ringd_backend_kind guest_backend(void);

/* As above, without a back end: only /dev/kvm is needed. */
void guest_need_kvm(void);

/*
 * guest_slow - $RINGVMM_TEST_SLOW, by which tests multiply their limits in time; 1 where it is not set. Above 1 the
 * longest tests repeat what they do less often. The rig sets it: an emulated CPU stands still whenever the host gives
 * the emulator's one thread no CPU. Exits with 1 when it is no number from 1 to 1000.
 */
unsigned guest_slow(void);

/* Makes the VM. Ends the program with a line when KVM refuses: nothing could be tested then. */
void guest_create(struct guest *guest, unsigned vcpus);
/* The same with PIC, IOAPIC and LAPICs in the kernel. */
void guest_create_with_chips(struct guest *guest, unsigned vcpus);
void guest_destroy(struct guest *guest);

/* Puts code in the vCPU's place and its registers to where it starts: real mode, all bases 0 but ES. */
void guest_load(struct guest *guest, unsigned vcpu, const void *code, size_t size, const struct kvm_regs *regs);

/* Runs until KVM_RUN returns, and says why. Anything but an access ends the program with a line. */
struct guest_exit guest_run(struct guest_vcpu *vcpu);

/* Host's TSC minus guest's, and by how much that may be wrong. */
int64_t guest_tsc_offset(const struct guest_vcpu *vcpu, uint64_t *error);

/* Code that does the given writes, one after another, and then ends. */
struct guest_code {
    uint8_t bytes[GUEST_CODE_MAX];
    size_t size;
    uint64_t constants[256];
    unsigned constant_count;
};

void code_write(struct guest_code *code, const struct guest_write *write);
void code_bytes(struct guest_code *code, const void *bytes, size_t size);
/* Adds the end, and loads it. */
void code_load(struct guest *guest, unsigned vcpu, struct guest_code *code);

/* A guest in real-mode assembler: declares name[] and name_end[]. Jumps must be relative. */
#define GUEST_ASM(name, text)                                                                                          \
    extern const uint8_t name[], name##_end[];                                                                         \
    __asm__(".pushsection .rodata\n.globl " #name ", " #name "_end\n.code16\n" #name ":\n" text "\n" #name             \
            "_end:\n.code64\n.popsection")
#define GUEST_ASM_END "outb %al, $0xf5\n1: hlt\njmp 1b\n"

_Static_assert(GUEST_END_PORT == 0xf5, "GUEST_ASM_END has it as text");

#endif
