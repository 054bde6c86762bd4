/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A guest whose writes go from KVM to the daemon by a buffer of KVM's, which the daemon maps. It is killed again and
 * again; each character arrives once and in order, and is there when the guest reads. Needs MMIO2 with shared rings.
 */
#include "daemon.h"

#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include <ringd/kvm_mmio2.h>

#include "../kvm/guest.h"

#define CONSOLE_PORT 0x402u
#define PERIOD       251u /* of the characters */
#define BATCH        300u /* written before each read: more than a ring holds */

GUEST_ASM(storm_guest, "movw $0x402, %dx\n"
                       "xorb %cl, %cl\n"
                       "1: movw $300, %si\n"
                       "2: movb %cl, %al\n"
                       "outb %al, %dx\n"
                       "incb %cl\n"
                       "cmpb $251, %cl\n"
                       "jne 3f\n"
                       "xorb %cl, %cl\n"
                       "3: decw %si\n"
                       "jnz 2b\n"
                       "inb %dx, %al\n"
                       "jmp 1b\n");

static struct storm {
    struct guest guest;
    struct ringd_client *client;
    struct ringd_remote *console;
    bool stop;                /* atomic */
    uint64_t batches, full;   /* the vCPU's */
    uint64_t received, wrong; /* the device's own, while a callback runs */
    const char *failure;
} storm;

static void on_output(void *ctx, const uint8_t *data, size_t len)
{
    (void)ctx;
    for (size_t i = 0; i < len; i++, storm.received++)
        storm.wrong += data[i] != (uint8_t)(storm.received % PERIOD);
}

static const char *run_one(void)
{
    struct guest_exit exit = guest_run(&storm.guest.vcpus[0]);
    uint64_t value;
    if (!exit.access || !exit.write.pio || exit.write.addr != CONSOLE_PORT)
        return "the guest did something else";
    if (exit.is_write) {
        storm.full++;
        return ringd_client_write(storm.console, 0, 0, 0, 1, exit.write.value) ? "a write failed" : NULL;
    }
    if (ringd_client_read(storm.console, 0, 0, 0, 1, &value))
        return "a read failed";
    if (value != 0xe9)
        return "a read gave something else";
    *exit.data = (uint8_t)value;
    storm.batches++;
    /* Whatever was written before a read has arrived before its answer. */
    return storm.received == storm.batches * BATCH ? NULL : "a read has overtaken writes";
}

static void *run_vcpu(void *arg)
{
    (void)arg;
    while (!storm.failure &&
           !(__atomic_load_n(&storm.stop, __ATOMIC_ACQUIRE) && storm.received == storm.batches * BATCH))
        storm.failure = run_one();
    return NULL;
}

static int set_zone(int buffer)
{
    struct ringd_kvm_coalesced_mmio_zone2 zone = {
        .addr = CONSOLE_PORT, .size = 1, .pio = 1, .buffer_fd = (__u32)buffer};
    return ioctl(storm.guest.vm, RINGD_KVM_REGISTER_COALESCED_MMIO2, &zone) < 0 ? -errno : 0;
}

static uint64_t storm_ns(void)
{
    const char *wanted = getenv("RINGVMM_TEST_SECONDS");
    return (wanted ? strtoull(wanted, NULL, 10) : 5) * 1000000000u;
}

static void test_killed_under_a_storm(void **unused)
{
    (void)unused;
    guest_create(&storm.guest, 1);
    int buffer = ioctl(storm.guest.vm, RINGD_KVM_CREATE_COALESCED_MMIO_BUFFER, 0);
    assert_true(buffer >= 0);
    struct ringd_client_device device = {.type = "debug-console", .kvm_ring_fd = buffer, .output = on_output};
    struct ringd_client_counts counts;
    struct ringd_msg_stats stats;
    pthread_t thread;
    unsigned kills = 0;
    storm.client = connect_client();
    assert_int_equal(set_zone(buffer), -ENOBUFS); /* nobody has mapped it */
    assert_int_equal(ringd_client_add(storm.client, &device, &storm.console), 0);
    assert_true(ringd_client_ring_survives(storm.console));
    assert_int_equal(ringd_client_push(storm.console, CONSOLE_PORT, 1, "x", 1), -EINVAL);
    assert_int_equal(ringd_client_map(storm.console, 0, CONSOLE_PORT), 0);
    assert_int_equal(set_zone(buffer), 0);
    guest_load(&storm.guest, 0, storm_guest, (size_t)(storm_guest_end - storm_guest), NULL);
    assert_int_equal(pthread_create(&thread, NULL, run_vcpu, NULL), 0);
    srand((unsigned)clock_ns());
    struct pollfd ready = {.fd = ringd_client_poll_fd(storm.client), .events = POLLIN};
    uint64_t end = clock_ns() + storm_ns(), next = 0;
    for (uint64_t now = clock_ns(); now < end; now = clock_ns()) {
        if (next && now >= next) {
            end_daemon(SIGKILL);
            launch_daemon(NULL, NULL);
            kills++;
        }
        if (now >= next)
            next = now + 20000000 * guest_slow() + (uint64_t)rand() % 60000000 * guest_slow();
        poll(&ready, 1, 1);
        ringd_client_dispatch(storm.client);
    }
    __atomic_store_n(&storm.stop, true, __ATOMIC_RELEASE);
    pthread_join(thread, NULL);
    if (storm.failure)
        fail_msg("%s", storm.failure);
    ringd_client_counts(storm.client, &counts);
    assert_int_equal(ringd_client_stats(storm.console, &stats), 0);
    print_message("%u kills, %llu returns, %llu characters, %llu of them by an exit\n", kills,
                  (unsigned long long)counts.returns, (unsigned long long)storm.received,
                  (unsigned long long)storm.full);
    assert_int_equal(storm.wrong, 0);
    assert_int_equal(stats.counter[0].value, storm.received); /* "characters", as the model has counted them */
    assert_true(kills >= 3 && counts.returns >= 3);
    assert_true(storm.batches > 10 && storm.full < storm.received / 2);
    assert_int_equal(counts.rings_lost, 0);
    ringd_client_destroy(storm.client);
    close(buffer);
    guest_destroy(&storm.guest);
}

/* On a KVM that frees a ring with its one mapping: it is detected, and each loss is counted; the guest goes on. */
static void test_ring_dies(void **unused)
{
    (void)unused;
    guest_create(&storm.guest, 1);
    int buffer = ioctl(storm.guest.vm, RINGD_KVM_CREATE_COALESCED_MMIO_BUFFER, 0);
    struct ringd_client_device device = {.type = "debug-console", .kvm_ring_fd = buffer};
    struct ringd_client_counts counts;
    struct ringd_msg_stats stats;
    storm.client = connect_client();
    assert_int_equal(ringd_client_add(storm.client, &device, &storm.console), 0);
    assert_false(ringd_client_ring_survives(storm.console));
    assert_int_equal(ringd_client_map(storm.console, 0, CONSOLE_PORT), 0);
    assert_int_equal(set_zone(buffer), 0);
    guest_load(&storm.guest, 0, storm_guest, (size_t)(storm_guest_end - storm_guest), NULL);
    for (unsigned i = 0; i < 4; i++) {
        if (i) {
            end_daemon(SIGKILL);
            start_daemon(NULL, NULL);
            assert_int_equal(ringd_client_drain(storm.client), 0);
        }
        struct guest_exit exit = guest_run(&storm.guest.vcpus[0]);
        for (; exit.is_write; exit = guest_run(&storm.guest.vcpus[0]))
            assert_int_equal(ringd_client_write(storm.console, 0, 0, 0, 1, exit.write.value), 0);
        uint64_t value;
        assert_int_equal(ringd_client_read(storm.console, 0, 0, 0, 1, &value), 0);
    }
    ringd_client_counts(storm.client, &counts);
    assert_int_equal(counts.rings_lost, 3);
    assert_int_equal(ringd_client_stats(storm.console, &stats), 0);
    assert_int_equal(stats.bad, 0);
    assert_int_equal(stats.counter[0].value, 4 * BATCH); /* nothing stood in the ring when they died */
    ringd_client_destroy(storm.client);
    close(buffer);
    guest_destroy(&storm.guest);
}

/* Skipped where KVM has no such rings. */
static bool rings_outlive_daemons(void)
{
    int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC), offered = -1;
    struct ringd_probe_result probe;
    if (kvm >= 0 && ringd_probe(kvm, RINGD_BACKEND_MMIO2, &probe) == 0)
        offered = ioctl(kvm, KVM_CHECK_EXTENSION, RINGD_KVM_CAP_COALESCED_MMIO2);
    if (kvm >= 0)
        close(kvm);
    return offered > 0 && (offered & RINGD_KVM_MMIO2_SHARED_RING);
}

/* RINGD [posted] */
int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_killed_under_a_storm, setup_daemon, teardown_daemon),
    };
    const struct CMUnitTest posted[] = {
        cmocka_unit_test_setup_teardown(test_ring_dies, setup_daemon, teardown_daemon),
    };
    if (argc < 2 || !rings_outlive_daemons()) {
        printf("skipped: no MMIO2 with shared rings here\n");
        return TEST_SKIPPED;
    }
    program = argv[1];
    if (argc > 2)
        return cmocka_run_group_tests(posted, NULL, NULL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
