/* SPDX-License-Identifier: BSD-2-Clause */
/* The linked image (tick.bin, found through the assembler's include path) as data of the host programs. */
    .section .rodata
    .globl  payload_blob
    .balign 16
payload_blob:
    .incbin "tick.bin"
    .globl  payload_blob_end
payload_blob_end:
    .byte   0
    .section .note.GNU-stack, "", @progbits
