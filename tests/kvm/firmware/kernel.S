/* SPDX-License-Identifier: BSD-2-Clause */
/* What fw_cfg says about the kernel: four sizes, the command line, and the first four bytes of each part; of the setup part
 * those at 0x202. */
    .include "common.inc"
    .set    FW_CFG, 0x510

.macro select key
    movw    $FW_CFG, %dx
    movw    $\key, %ax
    outw    %ax, %dx
.endm
.macro show name, key
    select  \key
    say     "\name "
    call    word
    say_hex 8
    say     "\n"
.endm

start:
    enter
    show    setup-size, 0x17
    show    kernel-size, 0x08
    show    initrd-size, 0x0b
    show    cmdline-size, 0x14
    select  0x17
    select  0x18
    movw    $0x202, %cx
    movw    $(FW_CFG + 1), %dx
1:  inb     %dx, %al
    loop    1b
    say     "setup "
    call    word
    say_hex 8
    say     "\n"
    show    kernel, 0x11
    show    initrd, 0x12
    say     "cmdline "
    select  0x15
2:  movw    $(FW_CFG + 1), %dx
    inb     %dx, %al
    testb   %al, %al
    jz      3f
    movw    $CONSOLE, %dx
    outb    %al, %dx
    jmp     2b
3:  say     "\n"
    finish  $0x21

/* The item's next four bytes, in %eax. */
word:
    movw    $(FW_CFG + 1), %dx
    xorl    %eax, %eax
    movw    $4, %cx
1:  inb     %dx, %al
    rorl    $8, %eax
    loop    1b
    ret
