/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * MSRs of memory types and time across a reset. Prints the low words of four MTRRs and the highest byte of the TSC,
 * writes them all, prints them again, resets the machine, and prints them once more. Which boot it is says a word of
 * low memory, which a reset leaves alone.
 */
    .include "common.inc"
    .set    BOOT,  0x600
    .set    MAGIC, 0x5ca1ab1e
    .set    TSC,   0x10

start:
    enter
    call    show
    cmpl    $MAGIC, BOOT
    je      2f
    movl    $MAGIC, BOOT
    movw    $msrs, %di
1:  movl    %cs:(%di), %ecx
    movl    %cs:4(%di), %eax
    xorl    %edx, %edx
    wrmsr
    addw    $8, %di
    cmpw    $msrs_end, %di
    jne     1b
    movl    $TSC, %ecx
    xorl    %eax, %eax
    movl    $0x01000000, %edx
    wrmsr
    call    show
    movw    $0xcf9, %dx
    movb    $6, %al
    outb    %al, %dx
    hlt
2:  finish  $0x21

show:
    movw    $msrs, %di
1:  movl    %cs:(%di), %ecx
    rdmsr
    say_hex 8
    say     " "
    addw    $8, %di
    cmpw    $msrs_end, %di
    jne     1b
    rdtsc
    movl    %edx, %eax
    shrl    $24, %eax
    say_hex 2
    say     "\n"
    ret

    .balign 4
msrs: /* number and value; Intel SDM vol. 3A, 12.11 */
    .long   0x201, 0x80000800 /* variable range 0: 2 GiB, valid */
    .long   0x200, 0x00000006 /* write-back */
    .long   0x250, 0x04040404 /* fixed, from 0: write-through */
    .long   0x2ff, 0x00000c06 /* all on, default write-back */
msrs_end:
