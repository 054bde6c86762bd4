/* SPDX-License-Identifier: BSD-2-Clause */
/* PARAM0 to the debug-exit port, PARAM1 bytes wide. */
    .include "common.inc"
start:
    enter
    movw    $DEBUG_EXIT, %dx
    movl    %cs:PARAM0, %eax
    cmpb    $2, %cs:PARAM1
    je      2f
    ja      4f
    outb    %al, %dx
2:  outw    %ax, %dx
4:  outl    %eax, %dx
1:  hlt
    jmp     1b
