/* SPDX-License-Identifier: BSD-2-Clause */
/* The time as the clock's registers have it: "rtc century year month day hour minute second B", in hex. */
    .include "common.inc"
start:
    enter
1:  movb    $0x0a, %al
    call    cmos_read
    testb   $0x80, %al /* UIP */
    jnz     1b
    xorw    %bx, %bx
2:  movb    %cs:order(%bx), %al
    call    cmos_read
    movb    %al, 0x600(%bx)
    incw    %bx
    cmpw    $8, %bx
    jne     2b
    say     "rtc"
    xorw    %bx, %bx
3:  say     " "
    movb    0x600(%bx), %al
    say_hex 2
    incw    %bx
    cmpw    $8, %bx
    jne     3b
    say     "\n"
    finish  $0x21
order:
    .byte   0x32, 9, 8, 7, 4, 2, 0, 0x0b
