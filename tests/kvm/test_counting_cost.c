/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Counting exits costs at most 2 % of an RTC tick. Measured in one run, in turns, so that both meet the same host: a
 * block of ticks (out 0x70 posted, in 0x71) in a bare KVM_RUN loop without any counting, which is the cheapest tick
 * there can be; and what the vCPU thread does besides for each exit, exit_stat_add() and two readings of the clock.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/cycles.h"
#include "guest.h"
#include "ringd/cursor.h"
#include "vmm/exits.h"

#define ROUNDS         41u
#define TICKS_A_ROUND  1000u
#define COUNTS_A_ROUND 20000u
#define LIMIT_PERCENT  2.0
#define RTC_INDEX      0x70u

static enum ringd_backend_kind backend_kind;

GUEST_ASM(ticks, "1: movb $0x0c, %al\n"
                 "outb %al, $0x70\n"
                 "inb $0x71, %al\n"
                 "jmp 1b\n");

static double time_ticks(struct guest_vcpu *vcpu, struct ring_cursor *cursor)
{
    uint64_t start = monotonic_ns();
    for (unsigned i = 0; i < TICKS_A_ROUND; i++) {
        struct guest_exit exit = guest_run(vcpu);
        if (exit.is_write)
            fail_msg("a write came as an exit");
        while (ring_pending(cursor))
            ring_advance(cursor);
        *exit.data = 0;
    }
    return (double)(monotonic_ns() - start) / TICKS_A_ROUND;
}

/* As vcpu_thread() has it: one stamp behind KVM_RUN, one before the next, and the difference into its row. */
static double time_counts(struct exit_stat *stat)
{
    uint64_t begin = monotonic_ns();
    for (unsigned i = 0; i < COUNTS_A_ROUND; i++) {
        uint64_t start = cycles_now();
        __asm__ volatile("" ::: "memory");
        exit_stat_add(stat, cycles_now() - start);
        __asm__ volatile("" ::: "memory");
    }
    return (double)(monotonic_ns() - begin) / COUNTS_A_ROUND;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, unsigned count)
{
    qsort(values, count, sizeof(*values), compare);
    return values[count / 2];
}

static void test_cost(void **state)
{
    (void)state;
    struct guest guest;
    struct backend_ring ring;
    struct ring_cursor cursor;
    struct exit_stat stat = {0};
    const struct backend_ops *back = backend_find(backend_kind);
    const struct backend_zone zone = {.addr = RTC_INDEX, .size = 1, .pio = true};
    double tick[ROUNDS], count[ROUNDS];

    guest_create(&guest, 1);
    assert_int_equal(back->ring_create(guest.vm, guest.vcpus[0].fd, &ring), 0);
    assert_int_equal(back->zone_add(guest.vm, &ring, &zone), 0);
    ring_cursor_init(&cursor, ring.page);
    guest_load(&guest, 0, ticks, (size_t)(ticks_end - ticks), NULL);
    for (unsigned i = 0; i < ROUNDS; i++) {
        tick[i] = time_ticks(&guest.vcpus[0], &cursor);
        count[i] = time_counts(&stat);
    }
    assert_int_equal(stat.count, ROUNDS * COUNTS_A_ROUND);
    double ns_per_tick = median(tick, ROUNDS), ns_per_count = median(count, ROUNDS);
    double percent = 100 * ns_per_count / ns_per_tick;
    print_message("counting: %.1f ns for each exit; a tick: %.0f ns; %.2f %%\n", ns_per_count, ns_per_tick, percent);
    assert_true(percent <= LIMIT_PERCENT);

    back->zone_remove(guest.vm, &ring, &zone);
    back->ring_destroy(&ring);
    guest_destroy(&guest);
}

int main(void)
{
    backend_kind = guest_backend();
    alarm(110);
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_cost)};
    return cmocka_run_group_tests_name("counting_cost", tests, NULL, NULL);
}
