/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Prints what CPUID says of leaf PARAM0 and sub-leaf PARAM1, and behind it of PARAM2 and PARAM3: EAX, EBX, ECX and EDX,
 * a line each.
 */
    .include "common.inc"
    .set    REGISTERS, 0x600

start:
    enter
    movl    %cs:PARAM0, %eax
    movl    %cs:PARAM1, %ecx
    call    show
    movl    %cs:PARAM2, %eax
    movl    %cs:PARAM3, %ecx
    call    show
    finish  $0x21

show:
    cpuid
    movl    %eax, REGISTERS
    movl    %ebx, REGISTERS + 4
    movl    %ecx, REGISTERS + 8
    movl    %edx, REGISTERS + 12
    movw    $REGISTERS, %di
1:  movl    (%di), %eax
    say_hex 8
    addw    $4, %di
    movb    $' ', %al
    cmpw    $(REGISTERS + 16), %di
    jne     2f
    movb    $'\n', %al
2:  movw    $CONSOLE, %dx
    outb    %al, %dx
    cmpw    $(REGISTERS + 16), %di
    jne     1b
    ret
