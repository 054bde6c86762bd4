/* SPDX-License-Identifier: BSD-2-Clause */
/* A word to 0x70 is an index and its data in one access, and reaches over the end of the posted port. */
    .include "common.inc"
start:
    enter
    movb    $0x51, %al
    outb    %al, $RTC_INDEX /* posted; the word must come after it */
    movw    $0x5a52, %ax
    outw    %ax, $RTC_INDEX
    movw    $0xa553, %ax
    outw    %ax, $RTC_INDEX
    movw    $0x51, %bx
1:  movb    %bl, %al
    call    cmos_read
    say_hex 2
    say     " "
    incw    %bx
    cmpw    $0x54, %bx
    jne     1b
    xorl    %eax, %eax
    inw     $RTC_INDEX, %ax /* the index cannot be read; the data is the last one's */
    say_hex 4
    say     "\n"
    finish  $0x21
