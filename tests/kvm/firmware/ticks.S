/* SPDX-License-Identifier: BSD-2-Clause */
/* PARAM0 RTC ticks: register C's index, then its value. */
    .include "common.inc"
start:
    enter
    movl    %cs:PARAM0, %ecx
    jecxz   2f
1:  movb    $0x0c, %al
    outb    %al, $RTC_INDEX
    inb     $RTC_DATA, %al
    decl    %ecx
    jnz     1b
2:  finish  $0x21
