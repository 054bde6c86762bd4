/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Virtio devices as a driver sees them, on the bare machine. Text goes to port 0x402, the verdict to 0x501: 0x21, or
 * what went wrong as a line of this file, on the console.
 *
 * Parameters: what to do (enum what), a number for it, and whether doorbells are 4 bytes wide.
 */
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;

enum what { CHECK, RANDOM, READS, WRITES, RESETS, STREAM, RANDOM_BY_IRQ, READS_BY_IRQ, WRITES_BY_IRQ };

#define PARAMS ((const u32 *)0xfff00)

#define RNG     0x1044u /* device ids */
#define BLK     0x1042u
#define CONSOLE 0x1043u

#define WINDOWS 0xe0000000u /* where base address registers go */
#define QUEUES  0x200000u
#define BUFFERS 0x400000u
#define SIZE    256u /* entries of a queue */

#define ACKNOWLEDGE 1u
#define DRIVER      2u
#define DRIVER_OK   4u
#define FEATURES_OK 8u
#define NEEDS_RESET 0x40u

/* ---- the machine ---- */

static void out8(u16 port, u8 value)
{
    __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}
static void out32(u16 port, u32 value)
{
    __asm__ volatile("outl %0, %1" : : "a"(value), "Nd"(port));
}
static u32 in32(u16 port)
{
    u32 value;
    __asm__ volatile("inl %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}
static u16 in16(u16 port)
{
    u16 value;
    __asm__ volatile("inw %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}
static u8 in8(u16 port)
{
    u8 value;
    __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}
static void fence(void)
{
    __asm__ volatile("lock; addl $0, (%%esp)" : : : "memory");
}
static void say(const char *text)
{
    while (*text)
        out8(0x402, (u8)*text++);
}
static void say_hex(u32 value)
{
    for (int shift = 28; shift >= 0; shift -= 4)
        out8(0x402, (u8) "0123456789abcdef"[value >> shift & 15]);
}
static __attribute__((noreturn)) void finish(u8 value)
{
    for (;;)
        out8(0x501, value);
}
static void require_at(int holds, int line, u32 seen)
{
    if (holds)
        return;
    say("line ");
    say_hex((u32)line);
    say(": ");
    say_hex(seen);
    say("\n");
    finish(0x7e);
}
#define require(holds, seen) require_at((holds), __LINE__, (u32)(seen))

static u8 r8(u32 at)
{
    return *(volatile u8 *)at;
}
static u16 r16(u32 at)
{
    return *(volatile u16 *)at;
}
static u32 r32(u32 at)
{
    return *(volatile u32 *)at;
}
static void w8(u32 at, u8 value)
{
    *(volatile u8 *)at = value;
}
static void w16(u32 at, u16 value)
{
    *(volatile u16 *)at = value;
}
static void w32(u32 at, u32 value)
{
    *(volatile u32 *)at = value;
}

/* ---- PCI ---- */

static u32 config_read(u32 slot, u32 offset)
{
    out32(0xcf8, 0x80000000u | slot << 11 | offset);
    return in32(0xcfc);
}
static void config_write(u32 slot, u32 offset, u32 value)
{
    out32(0xcf8, 0x80000000u | slot << 11 | offset);
    out32(0xcfc, value);
}

struct device {
    u32 slot;
    u32 common, isr, config, notify, step; /* addresses */
    u16 avail[2];                          /* what the driver has put into each queue */
};

/* Puts the register of virtio's regions (4) at `at`, with memory decoding off while it moves. */
static void place(struct device *device, u32 at)
{
    u32 command = config_read(device->slot, 4) & 0xffff;
    config_write(device->slot, 4, command & ~2u);
    config_write(device->slot, 0x10, 0);
    config_write(device->slot, 0x14, at + 0x8000);
    config_write(device->slot, 0x20, at);
    config_write(device->slot, 0x24, 0);
    config_write(device->slot, 4, command | 6);
    for (u32 cap = config_read(device->slot, 0x34) & 0xff; cap; cap = config_read(device->slot, cap) >> 8 & 0xff) {
        u32 head = config_read(device->slot, cap), where = at + config_read(device->slot, cap + 8);
        if ((head & 0xff) != 9)
            continue;
        switch (head >> 24) {
        case 1:
            device->common = where;
            break;
        case 2:
            device->notify = where;
            device->step = config_read(device->slot, cap + 16);
            break;
        case 3:
            device->isr = where;
            break;
        case 4:
            device->config = where;
            break;
        }
    }
}

static int find(struct device *device, u32 id)
{
    for (u32 slot = 3; slot < 31; slot++) {
        if (config_read(slot, 0) != (id << 16 | 0x1af4))
            continue;
        device->slot = slot;
        place(device, WINDOWS + slot * 0x10000);
        return 1;
    }
    return 0;
}

/* ---- virtio ---- */

static u32 queue_at(const struct device *device, u32 queue)
{
    return QUEUES + (device->slot * 2 + queue) * 0x4000;
}
static u32 buffer_at(const struct device *device)
{
    return BUFFERS + device->slot * 0x100000;
}
#define AVAIL 0x1000u
#define USED  0x2000u

static u8 status(const struct device *device)
{
    return r8(device->common + 20);
}

static void set_status(const struct device *device, u8 value)
{
    w8(device->common + 20, value);
    if (!value)
        while (status(device))
            ;
}

/* `low`, `high`: features that the driver takes. */
static void start(struct device *device, u32 queues, u32 low, u32 high)
{
    set_status(device, 0);
    set_status(device, ACKNOWLEDGE);
    set_status(device, ACKNOWLEDGE | DRIVER);
    for (u32 i = 0; i < 2; i++) {
        w32(device->common + 8, i);
        w32(device->common + 12, i ? high : low);
    }
    set_status(device, ACKNOWLEDGE | DRIVER | FEATURES_OK);
    require(status(device) & FEATURES_OK, status(device));
    for (u32 i = 0; i < queues; i++) {
        u32 at = queue_at(device, i);
        for (u32 byte = 0; byte < 0x4000; byte += 4)
            w32(at + byte, 0);
        w16(device->common + 22, (u16)i);
        require(r16(device->common + 24) == SIZE, r16(device->common + 24));
        w32(device->common + 32, at);
        w32(device->common + 40, at + AVAIL);
        w32(device->common + 48, at + USED);
        w16(device->common + 28, 1);
        device->avail[i] = 0;
    }
    set_status(device, ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK);
    require(!(status(device) & NEEDS_RESET), status(device));
}

static void describe(u32 table, u32 index, u32 addr, u32 len, u16 flags, u16 next)
{
    w32(table + index * 16, addr);
    w32(table + index * 16 + 4, 0);
    w32(table + index * 16 + 8, len);
    w16(table + index * 16 + 12, flags);
    w16(table + index * 16 + 14, next);
}

static void offer(struct device *device, u32 queue, u16 head)
{
    u32 at = queue_at(device, queue);
    w16(at + AVAIL + 4 + 2 * (device->avail[queue] % SIZE), head);
    fence();
    w16(at + AVAIL + 2, ++device->avail[queue]);
    fence();
}

static void ring(const struct device *device, u32 queue)
{
    if (PARAMS[2])
        w32(device->notify + queue * device->step, queue); /* which no ioeventfd takes */
    else
        w16(device->notify + queue * device->step, (u16)queue);
}

/* Until everything that was offered has come back; the length of the last. */
static u32 wait(const struct device *device, u32 queue)
{
    u32 at = queue_at(device, queue) + USED;
    for (u32 looks = 0; r16(at + 2) != device->avail[queue]; looks++)
        require(looks < 200000000u, r16(at + 2));
    fence();
    return r32(at + 4 + 8 * ((device->avail[queue] - 1u) % SIZE) + 4);
}

/* ---- messages ---- */

#define IDT        0x180000u
#define INTERRUPTS 0x17f000u /* how many there were: see flat.S */
#define LAPIC      0xfee00000u
#define IRQ_VECTOR 0x40u

void interrupt_entry(void);

/* Messages of queue 0 (entry 1 of the table) come as interrupts. */
static void take_messages(struct device *device)
{
    const struct __attribute__((packed)) {
        u16 limit;
        u32 base;
    } idt = {0x7ff, IDT};
    u32 entry = (u32)interrupt_entry, table = config_read(device->slot, 0x14) + 16;
    w32(IDT + IRQ_VECTOR * 8, 8u << 16 | (entry & 0xffff));
    w32(IDT + IRQ_VECTOR * 8 + 4, (entry & 0xffff0000) | 0x8e00);
    w32(INTERRUPTS, 0);
    __asm__ volatile("lidt %0" : : "m"(idt));
    w32(LAPIC + 0xf0, 0x1ff);
    w32(table, LAPIC);
    w32(table + 4, 0);
    w32(table + 8, IRQ_VECTOR);
    w32(table + 12, 0);
    for (u32 cap = config_read(device->slot, 0x34) & 0xff; cap; cap = config_read(device->slot, cap) >> 8 & 0xff)
        if ((config_read(device->slot, cap) & 0xff) == 0x11)
            config_write(device->slot, cap, 0x80000000u);
    w16(device->common + 22, 0);
    w16(device->common + 26, 1);
    require(r16(device->common + 26) == 1, 0);
}

static u32 wait_by_irq(const struct device *device)
{
    while (r16(queue_at(device, 0) + USED + 2) != device->avail[0])
        __asm__ volatile("sti; hlt; cli" : : : "memory");
    return wait(device, 0);
}

/* ---- each device ---- */

static void ask(struct device *device, u32 bytes)
{
    describe(queue_at(device, 0), 0, buffer_at(device), bytes, 2, 0);
    offer(device, 0, 0);
    ring(device, 0);
}

static void random_once(struct device *device)
{
    u32 at = buffer_at(device), any = 0;
    for (u32 i = 0; i < 64; i += 4)
        w32(at + i, 0);
    (void)r8(device->isr);
    ask(device, 64);
    u32 got = wait(device, 0);
    require(got == 64, got);
    for (u32 i = 0; i < 64; i += 4)
        any |= r32(at + i);
    require(any, 0);
    for (u32 looks = 0; !(config_read(device->slot, 4) & 0x80000); looks++) /* the pin comes after the buffer */
        require(looks < 1000000, looks);
    require(r8(device->isr) == 1, 0);
    require(!(config_read(device->slot, 4) & 0x80000), 0);
    require(r8(device->isr) == 0, 0);
}

/* Registers through configuration space, as firmware reaches those above 4 GiB. */
static void check_window(struct device *device)
{
    u32 at = 0;
    for (u32 cap = config_read(device->slot, 0x34) & 0xff; cap; cap = config_read(device->slot, cap) >> 8 & 0xff)
        if ((config_read(device->slot, cap) & 0xff0000ff) == 0x05000009)
            at = cap;
    require(at, 0);
    set_status(device, 0);
    config_write(device->slot, at + 4, 4); /* the base address register */
    config_write(device->slot, at + 8, 18);
    config_write(device->slot, at + 12, 2);
    out32(0xcf8, 0x80000000u | device->slot << 11 | (at + 16));
    require(in16(0xcfc) == 1, 0); /* num_queues */
    config_write(device->slot, at + 8, 20);
    config_write(device->slot, at + 12, 1);
    out32(0xcf8, 0x80000000u | device->slot << 11 | (at + 16));
    out8(0xcfc, ACKNOWLEDGE);
    require(status(device) == ACKNOWLEDGE, status(device));
    out8(0xcfc, ACKNOWLEDGE | DRIVER);
    require(in8(0xcfc) == (ACKNOWLEDGE | DRIVER), 0);
    config_write(device->slot, at + 8, 0);
    config_write(device->slot, at + 12, 4);
    config_write(device->slot, at + 16, 1);
    config_write(device->slot, at + 8, 4);
    require(config_read(device->slot, at + 16) & 1, 0); /* VERSION_1 */
    config_write(device->slot, at + 8, 0xfffff000);     /* nowhere: what was written reads back */
    config_write(device->slot, at + 16, 0x12345678);
    require(config_read(device->slot, at + 16) == 0x12345678, 0);
    config_write(device->slot, at + 4, 0xff);
    config_write(device->slot, at + 8, 0);
    require(config_read(device->slot, at + 16) == 0x12345678, 0);
    set_status(device, 0);
}

static void check_features(struct device *device)
{
    set_status(device, 0);
    require(r16(device->common + 18) == 1, r16(device->common + 18));
    w32(device->common, 1);
    require(r32(device->common + 4) & 1, r32(device->common + 4)); /* VERSION_1 */
    set_status(device, ACKNOWLEDGE | DRIVER);
    set_status(device, ACKNOWLEDGE | DRIVER | FEATURES_OK);
    require(!(status(device) & FEATURES_OK), status(device)); /* without VERSION_1: no */
}

/* Interrupts are let through until there have been `count`. */
static void await_interrupts(u32 count)
{
    __asm__ volatile("sti" : : : "memory");
    for (u32 looks = 0; r32(INTERRUPTS) != count; looks++)
        require(looks < 100000000u, r32(INTERRUPTS));
    __asm__ volatile("cli" : : : "memory");
}

static void check_messages(struct device *device)
{
    u32 control = config_read(device->slot, 0x14) + 16 + 12, pending = config_read(device->slot, 0x14) + 0x800;
    start(device, 1, 0, 1);
    take_messages(device);
    for (u32 i = 1; i <= 100; i++) {
        ask(device, 64);
        wait(device, 0);
        await_interrupts(i);
    }
    /* Masked: it pends, and comes when it may. */
    w32(control, 1);
    ask(device, 64);
    wait(device, 0);
    for (u32 looks = 0; !(r32(pending) & 2); looks++)
        require(looks < 1000000, looks);
    __asm__ volatile("sti" : : : "memory");
    for (u32 looks = 0; looks < 1000; looks++)
        require(r32(INTERRUPTS) == 100, r32(INTERRUPTS));
    __asm__ volatile("cli" : : : "memory");
    w32(control, 0);
    await_interrupts(101);
    require(!(r32(pending) & 2), r32(pending));
}

static void check_rng(struct device *device)
{
    check_features(device);
    check_window(device);
    start(device, 1, 0, 1);
    for (u32 i = 0; i < 600; i++) /* indices wrap around the ring */
        random_once(device);
    for (u32 i = 1; i <= 3; i++) {
        place(device, WINDOWS + 0x1000000 * i); /* the doorbell moves too */
        random_once(device);
    }
    /* An indirect table, which has to be negotiated. */
    start(device, 1, 1u << 28, 1);
    describe(queue_at(device, 0) + 0x3000, 0, buffer_at(device), 16, 3, 1);
    describe(queue_at(device, 0) + 0x3000, 1, buffer_at(device) + 16, 16, 2, 0);
    describe(queue_at(device, 0), 7, queue_at(device, 0) + 0x3000, 32, 4, 0);
    offer(device, 0, 7);
    ring(device, 0);
    require(wait(device, 0) == 32, 0);
    /* Nonsense: the device wants to be reset, and works after that. */
    describe(queue_at(device, 0), 0, 0xfffffff0, 64, 2, 0);
    offer(device, 0, 0);
    ring(device, 0);
    for (u32 looks = 0; !(status(device) & NEEDS_RESET); looks++)
        require(looks < 1000000, looks);
    start(device, 1, 0, 1);
    random_once(device);
    check_messages(device);
    say("rng\n");
}

/* One request with `bytes` of data at `data`. The header is before the data's place in the buffer. */
static void blk_offer(struct device *device, u16 head, u32 type, u32 sector, u32 data, u32 bytes)
{
    u32 table = queue_at(device, 0), header = buffer_at(device) + head * 32u;
    int in = type == 0 || type == 8;
    w32(header, type);
    w32(header + 4, 0);
    w32(header + 8, sector);
    w32(header + 12, 0);
    w8(header + 16, 0xff);
    describe(table, head, header, 16, 1, (u16)(head + 1));
    if (bytes)
        describe(table, head + 1u, data, bytes, (u16)(in ? 3 : 1), (u16)(head + 2));
    describe(table, head + (bytes ? 2u : 1u), header + 16, 1, 2, 0);
    offer(device, 0, head);
}

static u8 blk_do(struct device *device, u32 type, u32 sector, u32 data, u32 bytes)
{
    blk_offer(device, 0, type, sector, data, bytes);
    ring(device, 0);
    wait(device, 0);
    return r8(buffer_at(device) + 16);
}

#define FLUSH   (1u << 9)
#define DISCARD (1u << 13)
#define ZEROES  (1u << 14)
#define SECTORS 8u
#define AT_ONCE 64u

static void check_blk(struct device *device)
{
    u32 data = buffer_at(device) + 0x10000, capacity;
    set_status(device, 0);
    w32(device->common, 0);
    u32 offered = r32(device->common + 4);
    require(offered & FLUSH, offered);
    start(device, 1, offered & (FLUSH | DISCARD | ZEROES), 1);
    capacity = r32(device->config);
    for (u32 i = 0; i < SECTORS * 512; i += 4)
        w32(data + i, i ^ 0x5a5a1234);
    require(blk_do(device, 1, 3, data, SECTORS * 512) == 0, 0);
    for (u32 i = 0; i < SECTORS * 512; i += 4)
        w32(data + i, 0);
    require(blk_do(device, 0, 3, data, SECTORS * 512) == 0, 0);
    for (u32 i = 0; i < SECTORS * 512; i += 4)
        require(r32(data + i) == (i ^ 0x5a5a1234), i);
    require(blk_do(device, 4, 0, 0, 0) == 0, 0);
    require(blk_do(device, 8, 0, data, 20) == 0, 0);
    for (u32 i = 0; i < 20 && r8(data + i); i++)
        out8(0x402, r8(data + i));
    say("\n");
    require(blk_do(device, 0, capacity, data, 512) == 1, 0);      /* behind the end */
    require(blk_do(device, 0, capacity - 1, data, 1024) == 1, 0); /* over it */
    require(blk_do(device, 0, capacity - 1, data, 512) == 0, 0);
    require(blk_do(device, 0, 0, data, 511) == 1, 0);
    require(blk_do(device, 77, 0, data, 512) == 2, 0);
    if (offered & ZEROES) {
        w32(data, 4);
        w32(data + 4, 0);
        w32(data + 8, 2);
        w32(data + 12, 0);
        require(blk_do(device, 13, 0, data, 16) == 0, 0);
        require(blk_do(device, 0, 3, data, 4 * 512) == 0, 0);
        for (u32 i = 0; i < 4 * 512; i += 4)
            require(r32(data + i) == (i / 512 == 0 || i / 512 == 3 ? i ^ 0x5a5a1234 : 0), i);
    }
    /* Many at once, with one notification. */
    for (u32 i = 0; i < AT_ONCE; i++)
        blk_offer(device, (u16)(i * 4), 0, i * 8 % (capacity - 8), data + i * 4096, 4096);
    ring(device, 0);
    wait(device, 0);
    for (u32 i = 0; i < AT_ONCE; i++)
        require(r8(buffer_at(device) + i * 128 + 16) == 0, i);
    say("blk\n");
}

static void check_console(struct device *device)
{
    static const char text[] = "the console speaks\n";
    u32 at = buffer_at(device);
    start(device, 2, 0, 1);
    for (u32 i = 0; i < sizeof(text) - 1; i++)
        w8(at + i, (u8)text[i]);
    describe(queue_at(device, 1), 5, at, 4, 1, 6);
    describe(queue_at(device, 1), 6, at + 4, sizeof(text) - 5, 0, 0);
    offer(device, 1, 5);
    ring(device, 1);
    wait(device, 1);
    for (u32 got = 0; got < PARAMS[1];) { /* what comes in goes out */
        describe(queue_at(device, 0), 1, at + 64, 3, 2, 0);
        offer(device, 0, 1);
        ring(device, 0);
        u32 bytes = wait(device, 0);
        require(bytes && bytes <= 3, bytes);
        describe(queue_at(device, 1), 0, at + 64, bytes, 0, 0);
        offer(device, 1, 0);
        ring(device, 1);
        wait(device, 1);
        got += bytes;
    }
    say("console\n");
}

/* As many requests as asked for, one at a time: `type` is a disk's, or more. */
static void many(struct device *device, u32 type, int by_irq)
{
    u32 data = buffer_at(device) + 0x10000;
    start(device, 1, type > 1 ? 0 : FLUSH, 1);
    if (by_irq)
        take_messages(device);
    for (u32 i = 0; i < PARAMS[1]; i++) {
        if (type > 1) {
            ask(device, 64);
        } else {
            blk_offer(device, 0, type, i * 8 % 1024, data, 4096);
            ring(device, 0);
        }
        if (by_irq)
            wait_by_irq(device);
        else
            wait(device, 0);
        require(type > 1 || r8(buffer_at(device) + 16) == 0, i);
    }
}

/* Resets the machine with requests under way, as often as asked for; the clock's memory counts. */
static void resets(struct device *device)
{
    u32 data = buffer_at(device) + 0x10000;
    start(device, 1, 0, 1);
    out8(0x70, 0x50);
    u32 count = in8(0x71);
    if (count == PARAMS[1])
        return;
    /* Nothing of the time before the reset may come now. */
    for (u32 i = 0; i < AT_ONCE; i++)
        w32(data + i * 4096, 0x11111111);
    for (u32 looks = 0; looks < 2000; looks++)
        require(r32(data + looks % AT_ONCE * 4096) == 0x11111111, looks);
    out8(0x70, 0x50);
    out8(0x71, (u8)(count + 1));
    for (u32 i = 0; i < AT_ONCE; i++)
        blk_offer(device, (u16)(i * 4), 0, i * 8, data + i * 4096, 4096);
    ring(device, 0);
    out8(0xcf9, 2);
    out8(0xcf9, 6);
    for (;;)
        ;
}

/* Characters without end, as fast as the console takes them. */
static void stream(struct device *device)
{
    start(device, 2, 0, 1);
    for (u32 i = 0; i < 4096; i++)
        w8(buffer_at(device) + i, (u8)('a' + i % 26));
    for (u32 i = 0; i < PARAMS[1]; i++) {
        describe(queue_at(device, 1), 0, buffer_at(device), 4096, 0, 0);
        offer(device, 1, 0);
        ring(device, 1);
        wait(device, 1);
    }
}

void guest_main(void);
void guest_main(void)
{
    struct device device;
    for (u32 i = 0; i < sizeof(device); i++)
        ((volatile u8 *)&device)[i] = 0;
    switch ((enum what)PARAMS[0]) {
    case CHECK:
        if (find(&device, RNG))
            check_rng(&device);
        if (find(&device, BLK))
            check_blk(&device);
        if (find(&device, CONSOLE))
            check_console(&device);
        break;
    case RANDOM:
    case RANDOM_BY_IRQ:
        require(find(&device, RNG), 0);
        many(&device, 2, PARAMS[0] == RANDOM_BY_IRQ);
        break;
    case READS:
    case WRITES:
        require(find(&device, BLK), 0);
        many(&device, PARAMS[0] == WRITES, 0);
        break;
    case READS_BY_IRQ:
    case WRITES_BY_IRQ:
        require(find(&device, BLK), 0);
        many(&device, PARAMS[0] == WRITES_BY_IRQ, 1);
        break;
    case RESETS:
        require(find(&device, BLK), 0);
        resets(&device);
        break;
    case STREAM:
        require(find(&device, CONSOLE), 0);
        stream(&device);
        break;
    }
    finish(0x21);
}
