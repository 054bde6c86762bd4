/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Counts on the console, a line of six digits for each number, by posted writes alone, until a key comes in on COM1;
 * looks for that after each PARAM0 lines, a power of two. Then a last line "end". Says "!" on COM1 when it begins.
 */
    .include "common.inc"
    .set    COM1, 0x3f8

start:
    enter
    movw    $COM1, %dx
    movb    $'!', %al
    outb    %al, %dx
    xorl    %edi, %edi
    movl    %cs:PARAM0, %ebp
    decl    %ebp
1:  movl    %edi, %eax
    say_hex 6
    movb    $'\n', %al
    outb    %al, %dx
    incl    %edi
    testl   %ebp, %edi
    jnz     1b
    movw    $(COM1 + 5), %dx /* line status: bit 0, data ready */
    inb     %dx, %al
    testb   $1, %al
    jz      1b
    say     "end\n"
    finish  $0x21
