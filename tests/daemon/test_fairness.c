/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the daemon does for those who storm before it comes to a posted write of one who does not. It is counted in
 * writes applied and reads answered, so a busy host does not move it: time is bench/daemon's to measure.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <ringd/ring.h>
#include <ringd/state.h>

#include "crowd/crowd.h"

/*
 * A client's turn: all that its ring and its mailbox can hold. The daemon may give one to each who storms, for the ring
 * and for the mailbox, in the pass over all clients that a write falls into and in the one that comes to it. Those who
 * tick have a write and a read each in a pass, and again as much if the host has kept the daemon from its CPU.
 */
#define TURN  (RINGD_RING_SLOTS - 1 + RINGD_ACCESS_SLOTS)
#define TURNS 4

#define ROUNDS   5
#define PHASE_MS 300
#define HERTZ    1024 /* as Windows sets the clock's tick when something wants it fast */

static char directory[64], path[96];

static int setup(void **unused)
{
    (void)unused;
    strcpy(directory, "/tmp/ringd-test-XXXXXX");
    if (!mkdtemp(directory))
        return -1;
    snprintf(path, sizeof(path), "%s/socket", directory);
    return 0;
}

static int teardown(void **unused)
{
    (void)unused;
    return rmdir(directory);
}

static void print_phase(const char *name, const struct crowd_config *config, const struct crowd_figures *figures)
{
    const double seconds = (double)figures->seconds_ns / 1e9;
    print_message("  %s: before a write p99 %.0f, of the worst client %.0f; waited %.0f us; %.0f served a second; the "
                  "daemon's CPU time %.1f us a tick\n",
                  name, crowd_median(config, figures, offsetof(struct crowd_wait, before_p99)),
                  crowd_worst(config, figures, offsetof(struct crowd_wait, before_p99)),
                  crowd_median(config, figures, offsetof(struct crowd_wait, p99_ns)) / 1e3,
                  (double)figures->served / seconds, (double)figures->daemon_cpu_ns / 1e3 / (double)figures->samples);
}

static void check(unsigned clients, unsigned storming)
{
    const struct crowd_config config = {.socket = path,
                                        .clients = clients,
                                        .storming = storming,
                                        .rounds = ROUNDS,
                                        .phase_ms = PHASE_MS,
                                        .hertz = HERTZ};
    static struct crowd_result result;
    const struct crowd_figures *storm = &result.phase[CROWD_STORM], *quiet = &result.phase[CROWD_QUIET];
    double bound = (double)TURNS * storming * TURN + 2.0 * 2 * clients;
    assert_int_equal(crowd_run(&config, &result), 0);
    print_message("%u clients, %u of them storm; at most %.0f before a write\n", clients, storming, bound);
    print_phase("nobody storms", &config, quiet);
    print_phase("others storm", &config, storm);
    for (unsigned i = 0; i < clients; i++) {
        assert_true(quiet->client[i].before_p99 >= 0); /* each has come to something */
        assert_true(storm->client[i].before_p99 >= 0);
    }
    assert_true(storm->served > 3 * storm->samples); /* it was a storm: who ticks has a write and a read at most */
    assert_true(crowd_worst(&config, storm, offsetof(struct crowd_wait, before_p99)) <= bound);
}

static void test_twelve(void **unused)
{
    (void)unused;
    check(12, 1);
    check(12, 3);
}

static void test_sixty_four(void **unused)
{
    (void)unused;
    check(64, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_twelve, setup, teardown),
        cmocka_unit_test_setup_teardown(test_sixty_four, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
