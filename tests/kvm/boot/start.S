/* SPDX-License-Identifier: BSD-2-Clause */
/* The first instructions of payload.c, and what makes its file a kernel of its kind. */
    .section .bss
    .balign 16
    .skip   16384
stack:

#if defined(MULTIBOOT)
    .section .head, "a"
    .balign 4
    .long   0x1badb002, 3, -(0x1badb002 + 3) /* modules on pages, and the memory's size */
#elif defined(PVH)
    .section .note.xen, "a", @note
    .balign 4
    .long   4, 8, 18 /* XEN_ELFNOTE_PHYS32_ENTRY */
    .asciz  "Xen"
    .long   start, 0
#else
    .section .head, "a" /* the real-mode part: a boot sector and one more, of which nobody executes anything */
    .org    0x1f1
    .byte   1       /* setup_sects */
    .word   0
    .long   payload_paragraphs /* syssize */
    .word   0, 0, 0
    .word   0xaa55
    .byte   0xeb, header_end - 0x202 /* the jump over the header */
    .ascii  "HdrS"
    .word   0x20f   /* version */
    .long   0
    .word   0, 0
    .byte   0, 1    /* type_of_loader, loadflags: LOADED_HIGH */
    .word   0
    .long   0, 0, 0, 0 /* code32_start to bootsect_kludge */
    .word   0
    .byte   0, 0
    .long   0       /* cmd_line_ptr */
    .long   0x7fffffff /* initrd_addr_max */
    .long   0x200000 /* kernel_alignment */
    .byte   1, 21   /* relocatable_kernel, min_alignment */
    .word   1       /* xloadflags: XLF_KERNEL_64 */
    .long   255     /* cmdline_size */
    .long   0
    .quad   0
    .long   0, 0    /* payload_offset, payload_length */
    .quad   0       /* setup_data */
    .quad   0x1000000 /* pref_address: where it is linked */
    .long   payload_space /* init_size */
    .long   0, 0
header_end:
    .org    0x400
#endif

    .section .text.start, "ax"
#if defined(MULTIBOOT) || defined(PVH)
    .code32
    .globl  start
start:
    movl    $stack, %esp
    pushl   $0
    pushl   %ebx
    pushl   $0
    pushl   %eax
    call    payload_main
#else
    .code64
    .globl  start
start: /* the 32-bit entry, which is not taken */
    hlt
    jmp     start
    .org    0x200 /* the 64-bit entry */
    leaq    stack(%rip), %rsp
    movq    $bss_start, %rdi /* nobody else clears it */
    movq    $bss_bytes, %rcx
    xorl    %eax, %eax
    rep stosb
    movq    $stack, %rsp
    xorl    %edi, %edi
    call    payload_main
#endif
    .section .note.GNU-stack, "", @progbits
