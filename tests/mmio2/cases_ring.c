/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What is recorded, where, and what exits instead. The first three are Linux's coalesced_io selftest, and MMIO2's own:
 * from every index of the ring, fill it, overflow it, drain it.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "device.h"
#include "suite.h"

enum mix { PIO_ONLY, MMIO_ONLY, MIXED };

static void make_list(struct guest_write *list, unsigned count, enum mix mix, unsigned salt)
{
    for (unsigned i = 0; i < count; i++) {
        bool pio = mix == PIO_ONLY || (mix == MIXED && i % 2 == 0);
        list[i] = (struct guest_write){
            .pio = pio, .addr = pio ? PORT : ADDR, .width = 4, .value = 0xa5000000u + (salt << 12) + i};
    }
}

/* The bytes behind the last slot are nobody's. */
static const uint8_t *tail_of(const struct kvm_coalesced_mmio_ring *ring)
{
    return (const uint8_t *)&ring->coalesced_mmio[SLOTS];
}

static void fill_from_every_index(enum mix mix)
{
    struct device d;
    struct guest_write list[USABLE + 3];
    const unsigned count = sizeof(list) / sizeof(list[0]), tail = 8;
    device_open(&d);
    memset(&d.buffer.ring->coalesced_mmio[SLOTS], 0xee, tail);
    for (uint32_t start = 0; start < SLOTS; start++) {
        suite_context("from index %u", start);
        make_list(list, count, mix, start);
        ring_start_at(d.buffer.ring, start);
        struct outcome outcome = run_list(&d.guest, d.buffer.ring, list, count);
        CHECK_EQ(outcome.at_first_exit, USABLE);
        CHECK_EQ(outcome.exits, 1);
        CHECK_EQ(d.buffer.ring->last, (start + count - 1) % SLOTS);
        for (unsigned i = 0; i < tail; i++)
            CHECK(tail_of(d.buffer.ring)[i] == 0xee);
    }
    device_close(&d);
}

static void fill_pio(void)
{
    fill_from_every_index(PIO_ONLY);
}

static void fill_mmio(void)
{
    fill_from_every_index(MMIO_ONLY);
}

static void fill_mixed(void)
{
    fill_from_every_index(MIXED);
}

/* A full ring: each further write exits, and not a byte of the page changes. One slot freed is one write. */
static void full_stays_full(void)
{
    struct device d;
    struct guest_write list[USABLE + 20];
    uint8_t page[RING_BYTES];
    const unsigned count = sizeof(list) / sizeof(list[0]);
    device_open(&d);
    for (uint32_t start = 0; start < SLOTS; start += 13) {
        suite_context("from index %u", start);
        make_list(list, count, MIXED, start);
        ring_start_at(d.buffer.ring, start);
        load_list(&d.guest, 0, list, count);
        for (unsigned i = USABLE; i < count; i++) {
            struct guest_exit exit = guest_run(&d.guest.vcpus[0]);
            CHECK(!exit.end);
            check_same(&exit.write, &list[i], i);
            if (i == USABLE)
                memcpy(page, d.buffer.ring, RING_BYTES);
            CHECK_EQ(ring_held(d.buffer.ring), USABLE);
            CHECK(!memcmp(page, d.buffer.ring, RING_BYTES));
        }
        CHECK(guest_run(&d.guest.vcpus[0]).end);
        struct guest_write oldest = ring_take(d.buffer.ring);
        check_same(&oldest, &list[0], 0);
        const struct guest_write more[] = {{true, PORT, 4, 0x11}, {false, ADDR, 4, 0x22}};
        load_list(&d.guest, 0, more, 2);
        struct guest_exit exit = guest_run(&d.guest.vcpus[0]);
        check_same(&exit.write, &more[1], 1);
        CHECK_EQ(ring_held(d.buffer.ring), USABLE);
        CHECK(guest_run(&d.guest.vcpus[0]).end);
    }
    device_close(&d);
}

/* Every width at every place where it fits; each slot is poisoned first, so that each field is seen to be written. */
static void widths_in(bool pio, unsigned widest)
{
    struct guest guest;
    struct buffer buffer;
    const unsigned zone = 16;
    const uint64_t base = pio ? PORT : ADDR;
    guest_create(&guest, 1);
    buffer_open(&buffer, guest.vm);
    CHECK_EQ(mmio2_register(guest.vm, buffer.fd, pio, base, zone), 0);
    for (unsigned width = 1; width <= widest; width *= 2) {
        for (unsigned offset = 0; offset + width <= zone; offset++) {
            uint64_t value = 0x8877665544332211u + offset * 0x0101010101010101u;
            struct guest_write write = {pio, base + offset, width, value};
            if (width < 8)
                write.value &= (UINT64_C(1) << width * 8) - 1;
            suite_context("width %u at offset %u", width, offset);
            memset(buffer.ring->coalesced_mmio, 0xee, SLOTS * sizeof(buffer.ring->coalesced_mmio[0]));
            run_expecting(&guest, buffer.ring, &write, "r");
        }
    }
    buffer_close(&buffer);
    guest_destroy(&guest);
}

static void widths_pio(void)
{
    widths_in(true, 4);
}

static void widths_mmio(void)
{
    widths_in(false, 8);
}

/* Recorded if and only if it is wholly inside; zones of every size about each place of a write of every width. */
static void straddle_in(bool pio, unsigned widest)
{
    static const unsigned sizes[] = {1, 2, 3, 4, 8, 16};
    struct guest guest;
    struct buffer buffer;
    const uint64_t base = pio ? PORT : ADDR;
    guest_create(&guest, 1);
    buffer_open(&buffer, guest.vm);
    for (unsigned s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
        const int size = (int)sizes[s];
        CHECK_EQ(mmio2_register(guest.vm, buffer.fd, pio, base, sizes[s]), 0);
        for (int width = 1; width <= (int)widest; width *= 2) {
            struct guest_write list[64];
            char how[64];
            unsigned count = 0;
            for (int offset = -width - 1; offset <= size + 1; offset++, count++) {
                bool inside = offset >= 0 && offset + width <= size;
                list[count] = (struct guest_write){pio, base + (uint64_t)offset, (unsigned)width, 0x40 + count};
                how[count] = inside ? 'r' : 'x';
            }
            how[count] = '\0';
            suite_context("zone of %d bytes, width %d", size, width);
            run_expecting(&guest, buffer.ring, list, how);
        }
        CHECK_EQ(mmio2_unregister(guest.vm, (uint32_t)buffer.fd, pio, base, sizes[s]), 0);
    }
    buffer_close(&buffer);
    guest_destroy(&guest);
}

static void straddle_pio(void)
{
    straddle_in(true, 4);
}

static void straddle_mmio(void)
{
    straddle_in(false, 8);
}

/* outw 0x70 reaches over the end of {0x70, 1}; a byte to the reset register lies inside {0xcf8, 4}. */
static void pc_ports(void)
{
    struct guest guest;
    struct buffer rtc, pci;
    const struct guest_write to_rtc[] = {
        {true, 0x70, 1, 0x0a}, {true, 0x70, 1, 0x0b}, {true, 0x70, 2, 0x550c}, {true, 0x70, 1, 0x0d}};
    const struct guest_write to_pci[] = {
        {true, 0xcf8, 4, 0x80000000}, {true, 0xcf9, 1, 0x06}, {true, 0xcfb, 1, 0x80}, {true, 0xcfa, 4, 1}};
    guest_create(&guest, 1);
    buffer_open(&rtc, guest.vm);
    buffer_open(&pci, guest.vm);
    CHECK_EQ(mmio2_register(guest.vm, rtc.fd, true, 0x70, 1), 0);
    CHECK_EQ(mmio2_register(guest.vm, pci.fd, true, 0xcf8, 4), 0);
    run_expecting(&guest, rtc.ring, to_rtc, "rrxr");
    run_expecting(&guest, pci.ring, to_pci, "rrrx");
    buffer_close(&rtc);
    buffer_close(&pci);
    guest_destroy(&guest);
}

/* A read of the zone exits, with all that was written before it in the ring, and leaves the ring alone. */
GUEST_ASM(index_and_read, "movb $0x0c, %al\noutb %al, $0x80\ninb $0x80, %al\noutb %al, $0x81\n" GUEST_ASM_END);

static void reads_exit(void)
{
    struct device d;
    device_open(&d);
    guest_load(&d.guest, 0, index_and_read, (size_t)(index_and_read_end - index_and_read), NULL);
    struct guest_exit exit = guest_run(&d.guest.vcpus[0]);
    CHECK(!exit.end && !exit.is_write);
    CHECK_EQ(exit.write.addr, PORT);
    CHECK_EQ(ring_held(d.buffer.ring), 1);
    *exit.data = 0x5a;
    CHECK(guest_run(&d.guest.vcpus[0]).end);
    const struct guest_write wanted[] = {{true, PORT, 1, 0x0c}, {true, PORT + 1, 1, 0x5a}};
    for (unsigned i = 0; i < 2; i++) {
        struct guest_write got = ring_take(d.buffer.ring);
        check_same(&got, &wanted[i], i);
    }
    device_close(&d);
}

/* ---- a store of sixteen bytes ---- */

/*
 * KVM's emulator splits it into two of eight (vcpu_mmio_write() of arch/x86/kvm/x86.c), and what follows the first half
 * that no device took goes to user space. So the order holds within a page. Across a page's end the halves go separate
 * ways: an exit of the first may follow the record of the second. Lost or doubled is neither.
 */
GUEST_ASM(store16, "movups 0xd000, %xmm0\nmovups %xmm0, %es:(%di)\n" GUEST_ASM_END);

#define CR4_OSFXSR (1u << 9)

static void load_store16(struct guest *guest, uint32_t offset)
{
    struct kvm_sregs sregs;
    struct kvm_regs regs = {.rdi = offset};
    for (unsigned i = 0; i < 16; i++)
        guest->memory[GUEST_DATA + i] = (uint8_t)(0x30 + i);
    guest_load(guest, 0, store16, (size_t)(store16_end - store16), &regs);
    CHECK_EQ(ioctl(guest->vcpus[0].fd, KVM_GET_SREGS, &sregs), 0);
    sregs.cr4 |= CR4_OSFXSR;
    CHECK_EQ(ioctl(guest->vcpus[0].fd, KVM_SET_SREGS, &sregs), 0);
}

/* `how` has for each half what is to become of it; `first` is which half is to be seen first. */
static void check_store16(struct guest *guest, struct kvm_coalesced_mmio_ring *ring, uint64_t addr, const char *how,
                          unsigned first)
{
    struct guest_write wanted[2], got;
    unsigned seen = 0;
    load_store16(guest, (uint32_t)(addr - GUEST_MMIO));
    for (unsigned i = 0; i < 2; i++) {
        wanted[i] = (struct guest_write){false, addr + i * 8, 8, 0};
        memcpy(&wanted[i].value, guest->memory + GUEST_DATA + i * 8, 8);
    }
    for (bool end = false; !end;) {
        struct guest_exit exit = guest_run(&guest->vcpus[0]);
        for (; ring_held(ring); seen++) {
            unsigned half = (first + seen) % 2;
            got = ring_take(ring);
            CHECK(seen < 2 && how[half] == 'r');
            check_same(&got, &wanted[half], half);
        }
        end = exit.end;
        if (!end) {
            unsigned half = (first + seen) % 2;
            CHECK(seen < 2 && how[half] == 'x');
            check_same(&exit.write, &wanted[half], half);
            seen++;
        }
    }
    CHECK_EQ(seen, 2);
}

static void sixteen_bytes(void)
{
    static const struct {
        uint32_t offset, size; /* of the zone, from the store's address */
        const char *how;
    } cases[] = {{0, 16, "rr"}, {0, 8, "rx"}, {8, 8, "xx"}, {0, 12, "rx"}, {4, 12, "xx"}, {16, 8, "xx"}};
    struct guest guest;
    struct buffer buffer;
    const uint64_t page = GUEST_MMIO + 0x1000;
    guest_create(&guest, 1);
    buffer_open(&buffer, guest.vm);
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        suite_context("zone of %u bytes at offset %u", cases[i].size, cases[i].offset);
        CHECK_EQ(mmio2_register(guest.vm, buffer.fd, false, ADDR + cases[i].offset, cases[i].size), 0);
        check_store16(&guest, buffer.ring, ADDR, cases[i].how, 0);
        CHECK_EQ(mmio2_unregister(guest.vm, NOBODY, false, ADDR + cases[i].offset, cases[i].size), 0);
    }
    suite_context("across a page's end");
    CHECK_EQ(mmio2_register(guest.vm, buffer.fd, false, page - 8, 16), 0);
    check_store16(&guest, buffer.ring, page - 8, "rr", 0);
    CHECK_EQ(mmio2_unregister(guest.vm, NOBODY, false, page - 8, 16), 0);
    CHECK_EQ(mmio2_register(guest.vm, buffer.fd, false, page, 8), 0);
    check_store16(&guest, buffer.ring, page - 8, "xr", 1);
    buffer_close(&buffer);
    guest_destroy(&guest);
}

/* Two slots free, one, none. */
static void sixteen_bytes_full(void)
{
    struct guest guest;
    struct buffer buffer;
    static const char *const how[] = {"xx", "rx", "rr"};
    guest_create(&guest, 1);
    buffer_open(&buffer, guest.vm);
    CHECK_EQ(mmio2_register(guest.vm, buffer.fd, false, ADDR, 16), 0);
    for (unsigned free = 0; free < 3; free++) {
        struct guest_write got[2];
        unsigned exits = 0, recorded = free;
        suite_context("%u slots free", free);
        buffer.ring->first = 0;
        buffer.ring->last = USABLE - free;
        load_store16(&guest, ADDR - GUEST_MMIO);
        for (struct guest_exit exit; !(exit = guest_run(&guest.vcpus[0])).end; exits++) {
            CHECK(exits + recorded < 2);
            got[recorded + exits] = exit.write;
        }
        CHECK_EQ(exits, 2 - recorded);
        CHECK_EQ(buffer.ring->last, USABLE);
        buffer.ring->first = USABLE - free;
        for (unsigned i = 0; i < recorded; i++)
            got[i] = ring_take(buffer.ring);
        for (unsigned i = 0; i < 2; i++) {
            struct guest_write wanted = {false, ADDR + i * 8, 8, 0};
            memcpy(&wanted.value, guest.memory + GUEST_DATA + i * 8, 8);
            check_same(&got[i], &wanted, i);
        }
        CHECK_EQ(how[free][0] == 'r', recorded > 0);
    }
    buffer_close(&buffer);
    guest_destroy(&guest);
}

/* ---- REP OUTS across "full" ---- */

#define REP_COUNT 400u

GUEST_ASM(rep_outsb, "rep outsb (%si), %dx\n" GUEST_ASM_END);
GUEST_ASM(rep_outsw, "rep outsw (%si), %dx\n" GUEST_ASM_END);
GUEST_ASM(rep_outsl, "rep outsl (%si), %dx\n" GUEST_ASM_END);

static void rep_outs(const uint8_t *code, const uint8_t *code_end, unsigned width)
{
    struct device d;
    device_open(&d);
    for (uint32_t start = 0; start < SLOTS; start += 13) {
        unsigned done = 0, exits = 0;
        struct guest_write list[REP_COUNT];
        suite_context("from index %u", start);
        for (unsigned i = 0; i < REP_COUNT * width; i++)
            d.guest.memory[GUEST_DATA + i] = (uint8_t)(i * 7 + i / 256 + start);
        for (unsigned i = 0; i < REP_COUNT; i++) {
            list[i] = (struct guest_write){true, PORT, width, 0};
            memcpy(&list[i].value, d.guest.memory + GUEST_DATA + i * width, width);
        }
        ring_start_at(d.buffer.ring, start);
        struct kvm_regs regs = {.rsi = GUEST_DATA, .rcx = REP_COUNT, .rdx = PORT};
        guest_load(&d.guest, 0, code, (size_t)(code_end - code), &regs);
        for (bool end = false; !end;) {
            struct guest_exit exit = guest_run(&d.guest.vcpus[0]);
            for (; ring_held(d.buffer.ring); done++) {
                struct guest_write got = ring_take(d.buffer.ring);
                CHECK(done < REP_COUNT);
                check_same(&got, &list[done], done);
            }
            end = exit.end;
            if (!end) {
                CHECK(done < REP_COUNT);
                check_same(&exit.write, &list[done], done);
                done++;
                exits++;
            }
        }
        CHECK_EQ(done, REP_COUNT);
        CHECK_EQ(exits, REP_COUNT / (USABLE + 1));
    }
    device_close(&d);
}

static void rep_outs_byte(void)
{
    rep_outs(rep_outsb, rep_outsb_end, 1);
}

static void rep_outs_word(void)
{
    rep_outs(rep_outsw, rep_outsw_end, 2);
}

static void rep_outs_long(void)
{
    rep_outs(rep_outsl, rep_outsl_end, 4);
}

const struct suite_case cases_ring[] = {
    {"ring/fill-pio", fill_pio, 60},          {"ring/fill-mmio", fill_mmio, 60},
    {"ring/fill-mixed", fill_mixed, 60},      {"ring/full-stays-full", full_stays_full, 0},
    {"ring/widths-pio", widths_pio, 0},       {"ring/widths-mmio", widths_mmio, 0},
    {"ring/straddle-pio", straddle_pio, 0},   {"ring/straddle-mmio", straddle_mmio, 0},
    {"ring/pc-ports", pc_ports, 0},           {"ring/reads-exit", reads_exit, 0},
    {"ring/sixteen-bytes", sixteen_bytes, 0}, {"ring/sixteen-bytes-full", sixteen_bytes_full, 0},
    {"ring/rep-outsb", rep_outs_byte, 0},     {"ring/rep-outsw", rep_outs_word, 0},
    {"ring/rep-outsl", rep_outs_long, 0},     {NULL, NULL, 0},
};
