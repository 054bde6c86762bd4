/* SPDX-License-Identifier: BSD-2-Clause */
/* Configuration mechanism 1 as a guest sees it: one line for each access that reads, "name value". */
    .include "common.inc"

.macro select address
    movl    $\address, %eax
    movw    $0xcf8, %dx
    outl    %eax, %dx
.endm
.macro read name, width, port
    movw    $\port, %dx
    xorl    %eax, %eax
    .if \width == 1
    inb     %dx, %al
    .elseif \width == 2
    inw     %dx, %ax
    .else
    inl     %dx, %eax
    .endif
    movl    %eax, %ebx
    say     "\name "
    movl    %ebx, %eax
    say_hex (2*\width)
    say     "\n"
.endm
.macro write width, port, value
    movw    $\port, %dx
    movl    $\value, %eax
    .if \width == 1
    outb    %al, %dx
    .elseif \width == 2
    outw    %ax, %dx
    .else
    outl    %eax, %dx
    .endif
.endm

start:
    enter
    read    latch-at-reset, 4, 0xcf8
    select  0x80000000
    read    dword, 4, 0xcfc
    read    word-0, 2, 0xcfc
    read    word-1, 2, 0xcfd
    read    word-2, 2, 0xcfe
    read    byte-0, 1, 0xcfc
    read    byte-1, 1, 0xcfd
    read    byte-2, 1, 0xcfe
    read    byte-3, 1, 0xcff
    read    over-the-start, 4, 0xcfa
    read    over-the-end, 4, 0xcfe
    read    latch, 4, 0xcf8

    select  0xff000003 /* reserved bits, and the two low ones */
    read    latch-reserved, 4, 0xcf8
    read    low-bits-ignored, 4, 0xcfc

    /* Only a dword reaches the latch. */
    select  0x80000000
    write   1, 0xcf8, 0xff
    write   2, 0xcf8, 0xffff
    write   2, 0xcfa, 0xffff
    write   1, 0xcfb, 0x00
    read    latch-narrow, 4, 0xcf8
    read    reset-control, 1, 0xcf9

    select  0x00000000
    read    disabled, 4, 0xcfc
    select  0x80007800
    read    absent-device, 4, 0xcfc
    select  0x80010000
    read    absent-bus, 4, 0xcfc

    /* PIIX3's PIRQ routing: four byte registers, 0x60 to 0x63. */
    select  0x80000860
    read    pirq-at-reset, 4, 0xcfc
    write   1, 0xcfd, 0x0b
    read    pirq-byte, 4, 0xcfc
    write   2, 0xcfe, 0x050a
    read    pirq-word, 4, 0xcfc
    write   2, 0xcfd, 0x0706
    read    pirq-odd-word, 4, 0xcfc
    write   4, 0xcfc, 0x09030480
    read    pirq-dword, 4, 0xcfc

    /* Vendor and device cannot be written. */
    select  0x80000000
    write   4, 0xcfc, 0xffffffff
    read    read-only, 4, 0xcfc
    finish  $0x21
