/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * From the reset vector into 32-bit C with flat segments: for images that are programs (flat.ld). The C code runs in
 * the image's copy below 1 MiB, which is not written to: it has no data but constants and its stack.
 */
    .set STACK, 0x80000

    .section .start, "ax"
    .code16
start:
    cli
    cld
    lgdtl   %cs:(gdt_pointer - start) /* start is the image's first byte */
    movl    %cr0, %eax
    orb     $1, %al
    movl    %eax, %cr0
    ljmpl   $8, $start32
    .code32
start32:
    movw    $16, %ax
    movw    %ax, %ds
    movw    %ax, %es
    movw    %ax, %ss
    movw    %ax, %fs
    movw    %ax, %gs
    movl    $STACK, %esp
    call    guest_main
1:  hlt
    jmp     1b

/* An interrupt by a message: counted at 0x17f000, and ended at the local APIC. No IRET: a KVM that emulates all of the
 * guest's instructions knows it in real mode only. */
    .globl  interrupt_entry
interrupt_entry:
    lock incl 0x17f000
    movl    $0, 0xfee000b0
    pushl   8(%esp) /* the flags */
    popfl
    lretl   $4

    .balign 8
gdt:
    .quad   0
    .quad   0x00cf9b000000ffff
    .quad   0x00cf93000000ffff
gdt_pointer:
    .word   gdt_pointer - gdt - 1
    .long   gdt

    .section .reset, "ax"
    .code16
    .globl  reset
reset:
    jmp     start
    .balign 16, 0
    .section .note.GNU-stack, "", @progbits
