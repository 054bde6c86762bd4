/* SPDX-License-Identifier: BSD-2-Clause */
/* COM1: loopback of modem lines, of one character and of a FIFO's worth, then a line to the outside. */
    .include "common.inc"
    .set    COM1, 0x3f8

.macro put register, value
    movw    $(COM1 + \register), %dx
    movb    $\value, %al
    outb    %al, %dx
.endm
.macro show name, register
    movw    $(COM1 + \register), %dx
    xorl    %eax, %eax
    inb     %dx, %al
    movl    %eax, %ebx
    say     "\name "
    movl    %ebx, %eax
    say_hex 2
    say     "\n"
.endm

start:
    enter
    put     3, 0x03 /* LCR: 8N1 */
    put     2, 0x07 /* FCR: FIFOs on and empty */
    put     4, 0x10 /* MCR: loopback, all outputs off */
    show    lines-off, 6
    put     4, 0x1f /* and on */
    show    lines-on, 6
    show    idle, 5
    put     0, 0xa5
    show    ready, 5
    show    character, 0
    show    empty, 5

    movw    $16, %cx
    movw    $COM1, %dx
1:  movb    %cl, %al
    outb    %al, %dx
    loop    1b
    xorl    %ebx, %ebx /* the sum of 16 + 15 + ... + 1, rotated so that the order counts */
    movw    $16, %cx
2:  xorl    %eax, %eax
    inb     %dx, %al
    roll    $1, %ebx
    addl    %eax, %ebx
    loop    2b
    say     "fifo "
    movl    %ebx, %eax
    say_hex 8
    say     "\n"

    put     4, 0x03 /* out of loopback */
    xorw    %bx, %bx
    movw    $COM1, %dx
3:  movb    %cs:line(%bx), %al
    outb    %al, %dx
    incw    %bx
    cmpw    $(line_end - line), %bx
    jne     3b
    finish  $0x21
line:
    .ascii  "serial line\n"
line_end:
