/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Hyper-V's MSRs across a reset. Prints the low words of five, writes them, prints them again, resets the machine, and
 * prints them once more. Which boot it is says a word of low memory, which a reset leaves alone.
 */
    .include "common.inc"
    .set    BOOT,  0x600
    .set    MAGIC, 0x5ca1ab1e

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
    addw    $8, %di
    movb    $' ', %al
    cmpw    $msrs_end, %di
    jne     2f
    movb    $'\n', %al
2:  movw    $CONSOLE, %dx
    outb    %al, %dx
    cmpw    $msrs_end, %di
    jne     1b
    ret

    .balign 4
msrs: /* number and value; TLFS, "MSR Reference" */
    .long   0x40000000, 0x12345678 /* guest OS */
    .long   0x40000083, 0x00009001 /* page of messages: on. KVM tells user space */
    .long   0x40000093, 0x00000030 /* source 3: vector, not masked */
    .long   0x400000b2, 0x00030000 /* timer 1: to source 3, off */
    .long   0x400000b3, 0x00000777 /* its count */
msrs_end:
