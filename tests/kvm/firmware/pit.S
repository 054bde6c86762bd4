/* SPDX-License-Identifier: BSD-2-Clause */
/* A character on the console for each tick of the PIT, a thousand a second, for good. Says "!" on COM1 when it begins. */
    .include "common.inc"

.macro put port, value
    movb    $\value, %al
    outb    %al, $\port
.endm

start:
    enter
    movw    $tick, 0x20 /* interrupt 8 */
    movw    $0xf000, 0x22
    put     0x20, 0x11 /* PIC: initialise, cascaded; interrupts from 8; slave on line 2; 8086 */
    put     0x21, 0x08
    put     0x21, 0x04
    put     0x21, 0x01
    put     0x21, 0xfe /* only line 0 */
    put     0x43, 0x34 /* counter 0, both bytes, rate generator */
    put     0x40, 0xa9 /* 1193 of 1193182 Hz */
    put     0x40, 0x04
    movw    $0x3f8, %dx
    movb    $'!', %al
    outb    %al, %dx
    sti
1:  hlt
    jmp     1b

tick:
    movw    $CONSOLE, %dx
    movb    $'.', %al
    outb    %al, %dx
    put     0x20, 0x20 /* end of interrupt */
    iretw
