/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Resets the machine PARAM1 times by the way PARAM0, then ends. Counts in the clock's memory, which a reset leaves
 * alone. Each boot tells its number and what the PCI address latch holds, and then writes a line of PARAM2 characters
 * right before the reset, all of it posted.
 */
    .include "common.inc"
    .set    COUNTER, 0x50

start:
    enter
    say     "boot "
    movb    $COUNTER, %al
    call    cmos_read
    movw    %ax, %bx
    say_hex 2
    say     " latch "
    movw    $0xcf8, %dx
    inl     %dx, %eax
    say_hex 8
    say     "\n"
    cmpb    %cs:PARAM1, %bl
    jae     done
    incw    %bx
    movb    %bl, %ah
    movb    $COUNTER, %al
    call    cmos_write

    movl    $0x80000804, %eax
    movw    $0xcf8, %dx
    outl    %eax, %dx

    cmpb    $3, %cs:PARAM0 /* a triple fault is prepared before the line, so that nothing stands behind that */
    jne     1f
    lidtl   %cs:no_idt
    lgdtl   %cs:gdt_pointer
1:  movw    $CONSOLE, %dx
    movw    %cs:PARAM2, %cx
    jcxz    3f
2:  movb    %cl, %al
    andb    $15, %al
    addb    $'a', %al
    outb    %al, %dx
    loop    2b
3:  movb    $'\n', %al
    outb    %al, %dx

    movb    %cs:PARAM0, %bl
    cmpb    $1, %bl
    jb      by_cf9
    je      by_port_92
    cmpb    $3, %bl
    jb      by_i8042
    ja      by_cf9

by_triple_fault: /* an undefined instruction with neither IDT nor handler for that */
    movl    %cr0, %eax
    orb     $1, %al
    movl    %eax, %cr0
    ljmpl   $8, $(0xf0000 + undefined)
    .code32
undefined:
    ud2
    .code16

by_cf9: /* the PIIX3's reset control register: hard reset on the rise of bit 2 */
    movw    $0xcf9, %dx
    movb    $0x02, %al
    outb    %al, %dx
    movb    $0x06, %al
    outb    %al, %dx
    cmpb    $5, %bl /* and with reads of memory that is not there under way: an access must not end after the reset */
    je      read_on
    cmpb    $4, %bl /* and by the keyboard controller at once: still one reset */
    je      by_i8042
    jmp     wait
read_on:
    movw    $0xa000, %ax
    movw    %ax, %ds
1:  movw    0, %ax
    jmp     1b
by_port_92:
    movb    $0x03, %al
    outb    %al, $0x92
    jmp     wait
by_i8042:
    movb    $0xfe, %al
    outb    %al, $0x64
wait:
    hlt
    jmp     wait

done:
    say     "done\n"
    finish  $0x21

    .balign 8
gdt:
    .quad   0
    .quad   0x00cf9b000000ffff /* 32-bit code, base 0, 4 GiB */
gdt_pointer:
    .word   . - gdt - 1
    .long   0xf0000 + gdt
no_idt:
    .word   0
    .long   0
