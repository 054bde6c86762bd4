/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The guest of bench/rtc_tick and bench/startup: a 64 KiB firmware image. It enters at the reset vector, goes to 32-bit
 * protected mode without paging, copies its measuring code to RAM (so that every VMM runs it from the same kind of
 * memory), and then
 *   1. runs `ticks` ticks in PAYLOAD_BLOCKS equal blocks and a block of the rest, each between two RDTSCs;
 *   2. runs `samples` ticks with a pair of RDTSCs around each single access, and an empty pair before each;
 *   3. writes one result block to port 0x402 and a value to the debug-exit port 0x501.
 * The parameters stand at PARAMS in the image and are patched in by payload.c; the layout of the result block is
 * described in result.h. Plain 386 instructions plus RDTSC: a KVM without VT-x/SVM emulates every one of them.
 */
#include "layout.h"

/* The first instructions run with CS.base = 0xffff0000, where the image is mapped below 4 GiB. */
#define ROM_BASE 0xffff0000

/* RAM: three counters of one access each, then the result block, then the copied code. */
#define STAT_EMPTY  0x10000
#define STAT_WRITE  0x11000
#define STAT_READ   0x12000
#define STATS_END   0x13000
#define RESULT      0x14000
#define TIMES       (RESULT + 20)                     /* of the blocks, 8 bytes each, the rest's last */
#define TIMES_END   (TIMES + 8 * PAYLOAD_BLOCKS + 8)
#define BODY        0x20000
#define STACK       0x30000

/* Offsets in a counter, in the order in which the result block has them. */
#define S_COUNT   0
#define S_MIN     4
#define S_MAX     8
#define S_SUM     12
#define S_SQUARES 20
#define S_BUCKETS 32

    .section .text16, "ax"
    .code16
start16:
    cli
    cld
    cmpl    $PAYLOAD_PATTERN_EXIT, %cs:param_pattern
    je      exit16
    lgdtl   %cs:gdtr
    movl    %cr0, %eax
    orb     $1, %al
    movl    %eax, %cr0
    ljmpl   $8, $(start32 + ROM_BASE)

exit16: /* the guest of bench/startup: one byte to the console, then the end */
    movw    $PAYLOAD_CONSOLE_PORT, %dx
    movb    $PAYLOAD_EXIT_BYTE, %al
    outb    %al, %dx
    movw    $PAYLOAD_EXIT_PORT, %dx
    movb    $PAYLOAD_EXIT_VALUE, %al
    outb    %al, %dx
1:  hlt
    jmp     1b

    .balign 8
gdt:
    .quad   0
    .quad   0x00cf9b000000ffff /* code: base 0, 4 GiB, 32-bit, accessed */
    .quad   0x00cf93000000ffff /* data: the same, writable */
gdtr:
    .word   . - gdt - 1
    .long   gdt + ROM_BASE

    .code32
start32:
    movw    $16, %ax
    movw    %ax, %ds
    movw    %ax, %es
    movw    %ax, %ss
    movl    $STACK, %esp
    movl    $(PAYLOAD_BODY_OFFSET + ROM_BASE), %esi
    movl    $BODY, %edi
    movl    $body_words, %ecx
    rep movsl
    movl    $body, %eax
    jmp     *%eax

/* One stamped access: @prepare loads the registers (it is in the empty pair as well), @access is what is measured. */
.macro stamped stat, access, prepare:vararg
    rdtsc
    movl    %eax, %esi
    movl    %edx, %edi
    \prepare
    \access
    rdtsc
    subl    %esi, %eax
    sbbl    %edi, %edx
    movl    $\stat, %ebx
    call    record
.endm

/* What PCI's accesses need in registers; as many instructions each, so that one empty pair serves both. */
.macro pci_write
    movl    $0x80000000, %eax
    movw    $0xcf8, %dx
.endm
.macro pci_read
    movl    $0x80000000, %eax
    movw    $0xcfc, %dx
.endm

.macro rtc_tick
    movb    $0x0c, %al
    outb    %al, $0x70
    inb     $0x71, %al
.endm
.macro pci_tick
    movl    $0x80000000, %eax
    movw    $0xcf8, %dx
    outl    %eax, %dx
    movw    $0xcfc, %dx
    inl     %dx, %eax
.endm
.macro storm_tick
    outb    %al, $0x70
.endm

/* The unstamped ticks; %ebp points to where a block's time goes. */
.macro plain_loops tick, prepare
    movl    $TIMES, %ebp
1:  movl    param_ticks + ROM_BASE, %ecx
    movl    %ecx, %eax
    shrl    $PAYLOAD_BLOCKS_LOG2, %ecx
    cmpl    $(TIMES_END - 8), %ebp
    jne     2f
    andl    $(PAYLOAD_BLOCKS - 1), %eax
    movl    %eax, %ecx
2:  rdtsc
    movl    %eax, %esi
    movl    %edx, %edi
    \prepare
    jecxz   4f
3:  \tick
    decl    %ecx
    jnz     3b
4:  rdtsc
    subl    %esi, %eax
    sbbl    %edi, %edx
    movl    %eax, (%ebp)
    movl    %edx, 4(%ebp)
    addl    $8, %ebp
    cmpl    $TIMES_END, %ebp
    jne     1b
.endm

/*
 * The stamped loop; %ebp counts. The read is left out where the pattern has none. The empty pair stands beside what it is
 * taken off from: a host changes its speed in the middle of a run.
 */
.macro stamped_loops write, read, prepare_write, prepare_read
    movl    param_samples + ROM_BASE, %ebp
    testl   %ebp, %ebp
    jz      emit
1:  stamped STAT_EMPTY, , \prepare_write
    stamped STAT_WRITE, "\write", \prepare_write
    .ifnb   \read
    stamped STAT_READ, "\read", \prepare_read
    .endif
    decl    %ebp
    jnz     1b
    jmp     emit
.endm

    .section .body, "ax"
    .code32
body:
    xorl    %eax, %eax
    movl    $STAT_EMPTY, %edi
    movl    $(STATS_END - STAT_EMPTY) / 4, %ecx
    rep stosl
    decl    %eax
    movl    %eax, STAT_EMPTY + S_MIN
    movl    %eax, STAT_WRITE + S_MIN
    movl    %eax, STAT_READ + S_MIN

    movl    param_pattern + ROM_BASE, %eax
    cmpl    $PAYLOAD_PATTERN_PCI, %eax
    je      pci
    cmpl    $PAYLOAD_PATTERN_STORM, %eax
    je      storm

rtc: /* index of REG_C, then its value: what a guest does on each RTC interrupt */
    plain_loops rtc_tick
    stamped_loops "outb %al, $0x70", "inb $0x71, %al", "movb $0x0c, %al", "movb $0x0c, %al"

pci: /* mechanism 1, bus 0 device 0 function 0 register 0: vendor and device of the host bridge */
    plain_loops pci_tick
    stamped_loops "outl %eax, %dx", "inl %dx, %eax", "pci_write", "pci_read"

storm: /* writes with nothing behind them: the ring runs full */
    plain_loops storm_tick, "movb $0x0c, %al"
    stamped_loops "outb %al, $0x70", , "movb $0x0c, %al", ""

/*
 * record - counts the difference %edx:%eax in the counter %ebx. Above 32 bits it is taken as 2^32 - 1. A bucket is an
 * octave's 32nd part; values below 64 have one each.
 */
record:
    testl   %edx, %edx
    jz      1f
    movl    $0xffffffff, %eax
1:  incl    S_COUNT(%ebx)
    cmpl    S_MIN(%ebx), %eax
    jae     2f
    movl    %eax, S_MIN(%ebx)
2:  cmpl    S_MAX(%ebx), %eax
    jbe     3f
    movl    %eax, S_MAX(%ebx)
3:  movl    %eax, %esi
    addl    %eax, S_SUM(%ebx)
    adcl    $0, S_SUM + 4(%ebx)
    mull    %eax
    addl    %eax, S_SQUARES(%ebx)
    adcl    %edx, S_SQUARES + 4(%ebx)
    adcl    $0, S_SQUARES + 8(%ebx)
    cmpl    $32, %esi
    jb      4f
    bsrl    %esi, %ecx
    subl    $5, %ecx
    shrl    %cl, %esi /* 32 to 63 */
    shll    $5, %ecx
    addl    %ecx, %esi
4:  incl    S_BUCKETS(%ebx,%esi,4)
    ret

/* emit - the result block: header, the three counters with their buckets that are not empty, the check sum. */
emit:
    movl    $RESULT, %edi
    movl    $PAYLOAD_RESULT_MAGIC, 0(%edi)
    movl    param_pattern + ROM_BASE, %eax
    movl    %eax, 8(%edi)
    movl    param_ticks + ROM_BASE, %eax
    movl    %eax, 12(%edi)
    movl    param_samples + ROM_BASE, %eax
    movl    %eax, 16(%edi)
    addl    $(TIMES_END - RESULT), %edi
    movl    $STAT_EMPTY, %esi
    call    emit_stat
    movl    $STAT_WRITE, %esi
    call    emit_stat
    movl    $STAT_READ, %esi
    call    emit_stat
    leal    -(RESULT - 4)(%edi), %eax
    movl    %eax, RESULT + 4 /* bytes with the check sum */
    subl    $4, %eax
    shrl    $2, %eax
    movl    %eax, %ecx
    movl    $RESULT, %esi
    xorl    %ebx, %ebx
1:  lodsl
    roll    $1, %ebx
    addl    %eax, %ebx
    decl    %ecx
    jnz     1b
    movl    %ebx, (%esi)
    movl    RESULT + 4, %ecx
    movl    $RESULT, %esi
    movw    $PAYLOAD_CONSOLE_PORT, %dx
    rep outsb
    movw    $PAYLOAD_EXIT_PORT, %dx
    movb    $PAYLOAD_EXIT_VALUE, %al
    outb    %al, %dx
2:  hlt
    jmp     2b

/* emit_stat - one counter from %esi to %edi: 8 words, the number of pairs, then pairs of bucket and count. */
emit_stat:
    movl    $8, %ecx
    rep movsl
    movl    %edi, %ebx
    addl    $4, %edi
    xorl    %ecx, %ecx /* pairs */
    xorl    %edx, %edx /* bucket */
1:  lodsl
    testl   %eax, %eax
    jz      2f
    movl    %edx, (%edi)
    movl    %eax, 4(%edi)
    addl    $8, %edi
    incl    %ecx
2:  incl    %edx
    cmpl    $PAYLOAD_BUCKETS, %edx
    jne     1b
    movl    %ecx, (%ebx)
    ret

    .balign 4
body_end:
    .set    body_words, (body_end - body) / 4

    .section .params, "a"
    .long   PAYLOAD_PARAMS_MAGIC
param_pattern:
    .long   PAYLOAD_PATTERN_RTC
param_ticks:
    .long   0
param_samples:
    .long   0

    .section .reset, "ax"
    .globl  reset
    .code16
reset:
    jmp     start16
    .balign 16, 0
    .section .note.GNU-stack, "", @progbits
