/* SPDX-License-Identifier: BSD-2-Clause */
/* Interrupt lines and messages outside the devices, at KVM's own interrupt controllers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "chips.h"
#include "vmm/irq.h"

#define BIT(n)     (1u << (n))
#define VECTOR     0x51u
#define LOWER_PORT 0xf6 /* a guest's handler writes here when it wants the line low */

static struct guest guest;
static struct irq irq;

static int setup(void **state)
{
    (void)state;
    guest_create_with_chips(&guest, 1);
    irq_clear(&irq);
    assert_int_equal(irq_init(&irq, guest.vm), 0);
    chips_clear(&guest);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    irq_destroy(&irq);
    guest_destroy(&guest);
    return 0;
}

static void a_pin_is_high_while_anybody_holds_it(void **state)
{
    (void)state;
    irq_pin_hold(&irq, 9, true);
    assert_int_equal(chips_pins(&guest), BIT(9));
    assert_int_equal(chips_isa(&guest), BIT(9));
    irq_pin_hold(&irq, 9, true);
    irq_pin_hold(&irq, 9, false);
    assert_int_equal(chips_pins(&guest), BIT(9));
    irq_pin_hold(&irq, 9, false);
    assert_int_equal(chips_pins(&guest), 0);
    assert_int_equal(chips_isa(&guest), 0);
    irq_pin_hold(&irq, 23, true); /* no PIC has it */
    assert_int_equal(chips_pins(&guest), BIT(23));
    assert_int_equal(chips_isa(&guest), 0);
}

static void every_isa_line_is_at_both_controllers(void **state)
{
    (void)state;
    for (unsigned line = 0; line < IRQ_ISA_LINES; line++) {
        if (line == 2)
            continue;
        irq_pin_hold(&irq, line, true);
        assert_int_equal(chips_isa(&guest), BIT(line));
        assert_int_equal(chips_pins(&guest), BIT(line ? line : 2)); /* the PIT is at pin 2 */
        irq_pin_hold(&irq, line, false);
    }
}

static void an_isa_fd_pulses(void **state)
{
    const uint64_t one = 1;
    int fd, again;
    (void)state;
    chips_redirect(&guest, 8, VECTOR, false);
    assert_int_equal(irq_isa_fd(&irq, 8, &fd), 0);
    assert_int_equal(irq_isa_fd(&irq, 8, &again), 0);
    assert_int_equal(fd, again);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(write(fd, &one, sizeof(one)), sizeof(one));
        assert_true(chips_await(&guest, VECTOR));
        chips_clear(&guest);
    }
    assert_int_equal(chips_isa(&guest), 0);
}

static void pci_lines_go_where_the_bridge_routes_them(void **state)
{
    struct irq_intx a = {.pirq = 1, .allowed = true}, b = a, other = {.pirq = 2, .allowed = true};
    (void)state;
    irq_intx_set(&irq, &a, true);
    assert_int_equal(chips_pins(&guest), 0); /* routed nowhere */
    irq_pirq_route(&irq, 1, 10);
    assert_int_equal(chips_pins(&guest), BIT(10));
    assert_int_equal(chips_isa(&guest), BIT(10));
    irq_intx_set(&irq, &b, true);
    irq_intx_set(&irq, &a, false);
    irq_intx_set(&irq, &a, false); /* the same again is nothing new */
    assert_int_equal(chips_pins(&guest), BIT(10));
    irq_pirq_route(&irq, 1, 11); /* a line that is held moves */
    assert_int_equal(chips_pins(&guest), BIT(11));
    irq_pirq_route(&irq, 2, 11); /* two lines on one interrupt */
    irq_intx_set(&irq, &other, true);
    irq_intx_set(&irq, &b, false);
    assert_int_equal(chips_pins(&guest), BIT(11));
    irq_pirq_route(&irq, 2, -1);
    assert_int_equal(chips_pins(&guest), 0);
    irq_pirq_route(&irq, 2, 5);
    assert_int_equal(chips_pins(&guest), BIT(5));
    irq_intx_set(&irq, &other, false);
    assert_int_equal(chips_pins(&guest), 0);
}

static void an_ich_has_pins_for_its_pci_lines(void **state)
{
    struct irq_intx a = {.pirq = 3, .allowed = true}, h = {.pirq = 7, .allowed = true};
    (void)state;
    irq.pirq_pins = true;
    irq_intx_set(&irq, &a, true);
    irq_intx_set(&irq, &h, true);
    assert_int_equal(chips_pins(&guest), BIT(19) | BIT(23));
    irq_pirq_route(&irq, 3, 12); /* beside, not in its place */
    assert_int_equal(chips_pins(&guest), BIT(12) | BIT(19) | BIT(23));
    irq_intx_set(&irq, &a, false);
    assert_int_equal(chips_pins(&guest), BIT(23));
    irq_intx_set(&irq, &h, false);
    assert_int_equal(chips_pins(&guest), 0);
}

static void a_pin_that_is_not_allowed_is_low(void **state)
{
    struct irq_intx a = {.pirq = 0, .allowed = true}, b = {.pirq = 0, .allowed = true};
    (void)state;
    irq_pirq_route(&irq, 0, 11);
    irq_intx_set(&irq, &a, true);
    irq_intx_allow(&irq, &a, false);
    assert_int_equal(chips_pins(&guest), 0);
    irq_intx_set(&irq, &b, true);
    irq_intx_set(&irq, &a, false);
    assert_int_equal(chips_pins(&guest), BIT(11));
    irq_intx_set(&irq, &b, false);
    irq_intx_set(&irq, &a, true);
    assert_int_equal(chips_pins(&guest), 0);
    irq_intx_allow(&irq, &a, true); /* it is asked for still */
    assert_int_equal(chips_pins(&guest), BIT(11));
    irq_intx_allow(&irq, &a, true);
    irq_intx_set(&irq, &a, false);
    assert_int_equal(chips_pins(&guest), 0);
}

static void messages_have_gsis_of_their_own(void **state)
{
    const struct irq_message message = {.addr = 0xfee00000, .data = VECTOR};
    (void)state;
    int first = irq_messages_add(&irq, 3), second = irq_messages_add(&irq, IRQ_MAX_MESSAGES - 3);
    assert_int_equal(first, IRQ_PINS);
    assert_int_equal(second, IRQ_PINS + 3);
    assert_int_equal(irq_messages_add(&irq, 1), -ENOSPC);
    for (unsigned i = 0; i < IRQ_MAX_MESSAGES; i++)
        irq_message_set(&irq, IRQ_PINS + i, &message);
    assert_int_equal(irq_routes_write(&irq), 0); /* KVM has room for all */
    struct kvm_irq_level last = {.irq = IRQ_PINS + IRQ_MAX_MESSAGES - 1, .level = 1};
    assert_true(ioctl(guest.vm, KVM_IRQ_LINE, &last) >= 0);
    assert_true(chips_await(&guest, VECTOR));
    irq_pin_hold(&irq, 9, true); /* and the pins are where they were */
    assert_int_equal(chips_pins(&guest), BIT(9));
}

/* Interrupts 9 and 10 are level triggered at the PIC, both with one handler, which counts at 0xd000 and asks for an end
 * the third time. The first instruction has two bytes. */
GUEST_ASM(levels, "jmp 1f\n"
                  "incw 0xd000\n"
                  "cmpw $3, 0xd000\n"
                  "jne 2f\n"
                  "outb %al, $0xf6\n"
                  "2: movb $0x20, %al\n"
                  "outb %al, $0xa0\n"
                  "outb %al, $0x20\n"
                  "iret\n"
                  "1: cli\n"
                  "movw $0x8000, %sp\n"
                  "movw $0x4d1, %dx\n" /* ELCR: 9 and 10. First: KVM forgets what was high before */
                  "movb $6, %al\n"
                  "outb %al, %dx\n"
                  "movb $0x11, %al\n" /* ICW1 to ICW4: vectors 0x20 and 0x28, cascade at 2, 8086 */
                  "outb %al, $0x20\n"
                  "outb %al, $0xa0\n"
                  "movb $0x20, %al\n"
                  "outb %al, $0x21\n"
                  "movb $0x28, %al\n"
                  "outb %al, $0xa1\n"
                  "movb $4, %al\n"
                  "outb %al, $0x21\n"
                  "movb $2, %al\n"
                  "outb %al, $0xa1\n"
                  "movb $1, %al\n"
                  "outb %al, $0x21\n"
                  "outb %al, $0xa1\n"
                  "movb $0, %al\n" /* nothing masked */
                  "outb %al, $0x21\n"
                  "outb %al, $0xa1\n"
                  "sti\n"
                  "movl $20000, %ecx\n"
                  "3: pause\n"
                  "loopl 3b\n"
                  "cli\n" GUEST_ASM_END);

static void handler_at(unsigned vector)
{
    const uint16_t address[] = {GUEST_CODE + 2, 0};
    memcpy(guest.memory + 4 * vector, address, sizeof(address));
}

/* A level is an interrupt for as long as it lasts; a pulse would be one, once. */
static void a_level_interrupts_until_it_falls(void (*lower)(void *ctx), void *ctx)
{
    const struct kvm_regs regs = {0};
    unsigned lowered = 0;
    uint16_t count;
    memset(guest.memory + GUEST_DATA, 0, 2);
    handler_at(0x29);
    handler_at(0x2a);
    guest_load(&guest, 0, levels, (size_t)(levels_end - levels), &regs);
    for (struct guest_exit exit = guest_run(&guest.vcpus[0]); !exit.end; exit = guest_run(&guest.vcpus[0])) {
        assert_true(exit.access && exit.is_write && exit.write.addr == LOWER_PORT);
        lower(ctx);
        lowered++;
    }
    memcpy(&count, guest.memory + GUEST_DATA, sizeof(count));
    assert_int_equal(count, 3);
    assert_int_equal(lowered, 1);
}

static void lower_sci(void *ctx)
{
    irq_pin_hold(ctx, 9, false);
}

static void the_sci_is_a_level(void **state)
{
    (void)state;
    irq_pin_hold(&irq, 9, true);
    a_level_interrupts_until_it_falls(lower_sci, &irq);
}

static struct irq_intx pin = {.pirq = 2, .allowed = true};

static void lower_pin(void *ctx)
{
    irq_intx_set(ctx, &pin, false);
}

static void a_pci_pin_is_a_level(void **state)
{
    (void)state;
    irq_pirq_route(&irq, 2, 10);
    irq_intx_set(&irq, &pin, true);
    a_level_interrupts_until_it_falls(lower_pin, &irq);
}

static void disable_pin(void *ctx)
{
    irq_intx_allow(ctx, &pin, false);
}

static void a_pci_pin_is_quiet_once_disabled(void **state)
{
    (void)state;
    irq_pirq_route(&irq, 2, 10);
    irq_intx_set(&irq, &pin, true);
    a_level_interrupts_until_it_falls(disable_pin, &irq);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(a_pin_is_high_while_anybody_holds_it),
        CASE(every_isa_line_is_at_both_controllers),
        CASE(an_isa_fd_pulses),
        CASE(pci_lines_go_where_the_bridge_routes_them),
        CASE(an_ich_has_pins_for_its_pci_lines),
        CASE(a_pin_that_is_not_allowed_is_low),
        CASE(messages_have_gsis_of_their_own),
        CASE(the_sci_is_a_level),
        CASE(a_pci_pin_is_a_level),
        CASE(a_pci_pin_is_quiet_once_disabled),
    };
    guest_need_kvm();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
