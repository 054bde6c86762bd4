/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Puts the power management registers at two places, one after the other, and looks each time what the ACPI tables say that
 * it then reads from fw_cfg: one line for each, "event control timer event-by-X_PM1a".
 * PARAM0, PARAM1: the places.
 */
    .include "common.inc"

    .set FW_CFG,    0x510
    .set DIRECTORY, 0x19
    .set BUFFER,    0x1000
    .set FADT_EVENT,   56
    .set FADT_CONTROL, 64
    .set FADT_TIMER,   76
    .set FADT_X_EVENT, 148 + 4

.macro configure address, write
    movl    $\address, %eax
    movw    $0xcf8, %dx
    outl    %eax, %dx
    movw    $0xcfc, %dx
    \write
.endm

.macro show name, offset
    say     "\name "
    movl    \offset(%di), %eax
    say_hex 4
.endm

start:
    enter
    movl    %cs:PARAM0, %ebp
    call    place
    call    tell
    movl    %cs:PARAM1, %ebp
    call    place
    call    tell
    finish  $0x21

/* The registers to %ebp, and on: PMBA and PMREGMISC of 00:01.3. */
place:
    movl    %ebp, %ebx
    orl     $1, %ebx
    configure 0x80000b40, "movl %ebx, %eax; outl %eax, %dx"
    configure 0x80000b80, "movb $1, %al; outb %al, %dx"
    ret

/* Selects item %ax and reads %cx bytes of it to the buffer. */
fetch:
    movw    $FW_CFG, %dx
    outw    %ax, %dx
read_on:
    movw    $BUFFER, %di
    movw    $(FW_CFG + 1), %dx
    rep insb
    ret

name:
    .asciz  "etc/acpi/tables"
    .set NAME_SIZE, . - name

tell:
    movw    $DIRECTORY, %ax
    movw    $4, %cx
    call    fetch
    movzbw  BUFFER + 3, %bx /* how many files there are: big endian */
1:  movw    $64, %cx
    call    read_on
    movw    $name, %si
    movw    $(BUFFER + 8), %di
    movw    $NAME_SIZE, %cx
    repe cmpsb %es:(%di), %cs:(%si)
    je      2f
    decw    %bx
    jnz     1b
    finish  $0x31 /* no such file */
2:  movw    BUFFER + 4, %ax /* its key and size, big endian */
    xchgb   %al, %ah
    movw    BUFFER + 2, %cx
    xchgb   %cl, %ch
    call    fetch
    movw    $BUFFER, %di
3:  cmpl    $0x50434146, (%di) /* "FACP" */
    je      4f
    addw    $16, %di
    cmpw    $STACK, %di
    jb      3b
    finish  $0x32 /* no FADT */
4:  show    "event", FADT_EVENT
    show    " control", FADT_CONTROL
    show    " timer", FADT_TIMER
    show    " x-event", FADT_X_EVENT
    say     "\n"
    ret
