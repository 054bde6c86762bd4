/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Starts all other CPUs by INIT and start-up IPI, waits for PARAM0 of them, and prints which APIC IDs they had. Each
 * counts itself and sets the bit of its APIC ID with locked instructions in memory.
 */
    .include "common.inc"
    .set    COUNT, 0x600
    .set    MASK,  0x608
    .set    ICR,   0xfee00300 /* low word of the local APIC's interrupt command register */
    .set    SVR,   0xfee000f0 /* spurious interrupt vector: bit 8 switches the APIC on */

start:
    enter
    movl    $0, COUNT
    movl    $0, MASK
    lgdtl   %cs:gdt_pointer
    movl    %cr0, %eax
    orb     $1, %al
    movl    %eax, %cr0
    ljmpl   $8, $(0xf0000 + protected)

    .code32
protected:
    movw    $16, %ax
    movw    %ax, %ds
    movl    $0x1ff, SVR
    movl    $0x000c4500, ICR /* INIT to all but this */
    call    delivered
    movl    $0x000c46f0, ICR /* start at page 0xf0: 0xf0000, this image */
    call    delivered
    movl    $0x000c46f0, ICR /* twice, as the Intel SDM's algorithm has it; the second finds them running */
    call    delivered
1:  pause
    movl    0xf0000 + PARAM0, %eax
    cmpl    %eax, COUNT
    jne     1b
    ljmpl   $24, $real /* 16-bit code with base 0xf0000 */

delivered:
    testl   $0x1000, ICR
    jnz     delivered
    ret

    .code16
real:
    movl    %cr0, %eax
    andb    $0xfe, %al
    movl    %eax, %cr0
    ljmpw   $0xf000, $1f
1:  xorw    %ax, %ax
    movw    %ax, %ds
    say     "started "
    movl    COUNT, %eax
    say_hex 2
    say     " apic ids "
    movl    MASK, %eax
    say_hex 8
    say     "\n"
    finish  $0x21

    .balign 8
gdt:
    .quad   0
    .quad   0x00cf9b000000ffff /* 8: 32-bit code, base 0, 4 GiB */
    .quad   0x00cf93000000ffff /* 16: data */
    .quad   0x00009b0f0000ffff /* 24: 16-bit code, base 0xf0000, 64 KiB */
gdt_pointer:
    .word   . - gdt - 1
    .long   0xf0000 + gdt

    .section .ap, "ax" /* image offset 0: CS:IP is f000:0000 */
    .code16
    cli
    xorw    %ax, %ax
    movw    %ax, %ds
    movl    $1, %eax
    cpuid
    shrl    $24, %ebx /* the initial APIC ID */
    lock btsl %ebx, MASK
    lock incl COUNT
1:  hlt
    jmp     1b
