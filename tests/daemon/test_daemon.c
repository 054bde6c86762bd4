/* SPDX-License-Identifier: BSD-2-Clause */
/* The daemon and its client library, as a VMM meets them. */
#include "daemon.h"

#include <pthread.h>
#include <semaphore.h>

#include "client/internal.h"

enum { INDEX, DATA };

static struct ringd_remote *add(struct ringd_client *client, const char *type)
{
    struct ringd_client_device device = {.type = type, .kvm_ring_fd = -1};
    struct ringd_remote *remote;
    assert_int_equal(ringd_client_add(client, &device, &remote), 0);
    return remote;
}

static struct ringd_remote *add_rtc(struct ringd_client *client)
{
    struct ringd_remote *rtc = add(client, "rtc");
    assert_int_equal(ringd_client_posted(rtc), 1u << INDEX);
    assert_int_equal(ringd_client_map(rtc, INDEX, 0x70), 0);
    assert_int_equal(ringd_client_map(rtc, DATA, 0x71), 0);
    return rtc;
}

/* As a guest: the index is posted, or written where there is no room; the data is read. */
static void select_byte(struct ringd_remote *rtc, unsigned slot, uint8_t index)
{
    int ret = ringd_client_push(rtc, 0x70, 1, &index, 1);
    if (ret == -EAGAIN)
        ret = ringd_client_write(rtc, slot, INDEX, 0, 1, index);
    assert_int_equal(ret, 0);
}

static uint8_t rtc_read(struct ringd_remote *rtc, unsigned slot, uint8_t index)
{
    uint64_t value;
    select_byte(rtc, slot, index);
    assert_int_equal(ringd_client_read(rtc, slot, DATA, 0, 1, &value), 0);
    return (uint8_t)value;
}

static void rtc_write(struct ringd_remote *rtc, unsigned slot, uint8_t index, uint8_t value)
{
    select_byte(rtc, slot, index);
    assert_int_equal(ringd_client_write(rtc, slot, DATA, 0, 1, value), 0);
}

static void test_access(void **unused)
{
    (void)unused;
    struct ringd_client *client = connect_client();
    struct ringd_remote *rtc = add_rtc(client);
    for (unsigned i = 0; i < 300; i++) {
        rtc_write(rtc, i % RINGD_ACCESS_SLOTS, (uint8_t)(0x40 + i % 32), (uint8_t)i);
        assert_int_equal(rtc_read(rtc, 3, (uint8_t)(0x40 + i % 32)), (uint8_t)i);
    }
    assert_int_equal(rtc_read(rtc, 0, 0x0d), 0x80);

    uint64_t value;
    struct ringd_msg_access access = {.region = DATA, .width = 1, .slot = 9};
    assert_int_equal(ringd_client_access(rtc, &access, &value), 0);
    assert_int_equal(value, 0x80);
    access = (struct ringd_msg_access){.region = INDEX, .width = 1, .write = 1, .value = 0x40};
    assert_int_equal(ringd_client_access(rtc, &access, &value), 0);
    access = (struct ringd_msg_access){.region = DATA, .width = 1};
    assert_int_equal(ringd_client_access(rtc, &access, &value), 0);
    assert_int_equal(value, 288 % 256);

    assert_int_equal(ringd_client_read(rtc, 0, 2, 0, 1, &value), -EINVAL);
    assert_int_equal(value, 0xff);
    assert_int_equal(ringd_client_read(rtc, 0, DATA, 1, 1, &value), -EINVAL);
    assert_int_equal(ringd_client_read(rtc, 0, DATA, 0, 9, &value), -EINVAL);
    assert_int_equal(ringd_client_read(rtc, RINGD_ACCESS_SLOTS, DATA, 0, 1, &value), -EINVAL);
    assert_int_equal(ringd_client_map(rtc, 5, 0x70), -EINVAL);

    struct ringd_msg_stats stats;
    assert_int_equal(ringd_client_stats(rtc, &stats), 0);
    assert_int_equal(stats.entries, 601);
    assert_int_equal(stats.bad, 0);
    assert_int_equal(stats.accesses, 601 + 3 + 2);
    assert_true(stats.counters > 3);
    assert_string_equal(stats.counter[0].name, "ticks-due");
    assert_int_equal(ringd_client_unmap(rtc, INDEX), 0);
    assert_int_equal(ringd_client_remove(rtc), 0);
    ringd_client_destroy(client);
}

/* A posted write is replayed by the daemon alone, woken by the eventfd. */
static size_t received;
static uint8_t text[65536];

static void on_output(void *ctx, const uint8_t *data, size_t len)
{
    (void)ctx;
    for (size_t i = 0; i < len; i++)
        text[received++ % sizeof(text)] = data[i];
}

static void dispatch_until(struct ringd_client *client, const size_t *value, size_t wanted)
{
    struct pollfd ready = {.fd = ringd_client_poll_fd(client), .events = POLLIN};
    for (uint64_t end = clock_ns() + 10000000000u; *value < wanted && clock_ns() < end;) {
        poll(&ready, 1, 100);
        ringd_client_dispatch(client);
    }
    assert_int_equal(*value, wanted);
}

static void test_output(void **unused)
{
    (void)unused;
    struct ringd_client *client = connect_client();
    struct ringd_client_device device = {.type = "debug-console", .kvm_ring_fd = -1, .output = on_output};
    struct ringd_remote *console;
    received = 0;
    assert_int_equal(ringd_client_add(client, &device, &console), 0);
    assert_int_equal(ringd_client_map(console, 0, 0x402), 0);
    assert_int_equal(ringd_client_push(console, 0x402, 1, "A", 1), 0);
    dispatch_until(client, &received, 1);
    assert_int_equal(ringd_client_push(console, 0x402, 1, "B", 1), 0);
    dispatch_until(client, &received, 2);
    assert_int_equal(ringd_client_write(console, 0, 0, 0, 1, 'C'), 0);
    assert_int_equal(received, 3); /* before the access returned */
    assert_memory_equal(text, "ABC", 3);
    ringd_client_destroy(client);
}

static void test_interrupt(void **unused)
{
    (void)unused;
    struct ringd_client *client = connect_client();
    int irq = eventfd(0, EFD_CLOEXEC);
    struct ringd_client_device device = {.type = "rtc", .kvm_ring_fd = -1, .irq_fds = &irq, .irq_count = 1};
    struct ringd_remote *rtc;
    assert_int_equal(ringd_client_add(client, &device, &rtc), 0);
    assert_int_equal(ringd_client_map(rtc, INDEX, 0x70), 0);
    uint64_t start = clock_ns();   /* before the first tick's time begins to run */
    rtc_write(rtc, 0, 0x0b, 0x42); /* 1024 Hz */
    for (unsigned i = 0; i < 100; i++) {
        assert_int_equal(take_back(irq), 1); /* blocks */
        assert_int_equal(rtc_read(rtc, 0, 0x0c) & 0xc0, 0xc0);
    }
    assert_true(clock_ns() - start >= 99u * 976000u);
    ringd_client_destroy(client);
    close(irq);
}

static unsigned pams;
static uint64_t pam;

static void on_pci_event(void *ctx, uint32_t event, uint64_t value)
{
    (void)ctx;
    if (event == RINGD_EVENT_PCI_PAM) {
        pams++;
        pam = value;
    }
}

static void test_events_come_before_the_access_returns(void **unused)
{
    (void)unused;
    struct ringd_client *client = connect_client();
    struct ringd_config_pci config = {.functions = 7};
    struct ringd_client_device device = {.type = "pci-host",
                                         .config = &config,
                                         .config_bytes = sizeof(config),
                                         .kvm_ring_fd = -1,
                                         .event = on_pci_event};
    struct ringd_remote *pci;
    uint32_t address = 0x80000058;
    uint64_t value;
    assert_int_equal(ringd_client_add(client, &device, &pci), 0);
    assert_int_equal(ringd_client_map(pci, 0, 0xcf8), 0);
    for (unsigned i = 0; i < 500; i++) {
        assert_int_equal(ringd_client_push(pci, 0xcf8, 1, &address, 4), 0);
        assert_int_equal(ringd_client_write(pci, 0, 1, 1, 1, i & 1 ? 0x00 : 0x30), 0); /* PAM0 */
        assert_int_equal(pams, i + 1);
        assert_int_equal(pam, i & 1 ? 0x00 : 0x30);
    }
    address = 0x80000000;
    assert_int_equal(ringd_client_push(pci, 0xcf8, 1, &address, 4), 0);
    assert_int_equal(ringd_client_read(pci, 0, 1, 0, 4, &value), 0);
    assert_int_equal(value, 0x12378086);
    config.functions = 8;
    assert_int_equal(ringd_client_add(client, &device, &pci), -EINVAL);
    config.functions = 4; /* a function above 0 without function 0 */
    assert_int_equal(ringd_client_add(client, &device, &pci), -EINVAL);
    ringd_client_destroy(client);
}

static void test_pause_save_load(void **unused)
{
    (void)unused;
    struct ringd_client *client = connect_client(), *other = connect_client();
    struct ringd_config_rtc config = {.base = 2, .base_ns = 1700000000000000000, .clock = 1};
    struct ringd_client_device device = {
        .type = "rtc", .config = &config, .config_bytes = sizeof(config), .kvm_ring_fd = -1};
    struct ringd_remote *from, *to;
    struct ringd_msg_state state;
    assert_int_equal(ringd_client_add(client, &device, &from), 0);
    config.base_ns = 0;
    assert_int_equal(ringd_client_add(other, &device, &to), 0);
    assert_int_equal(ringd_client_map(from, INDEX, 0x70), 0);
    assert_int_equal(ringd_client_map(to, INDEX, 0x70), 0);
    rtc_write(from, 0, 0x55, 0xaa);
    assert_int_equal(ringd_client_reset(client), -EBUSY);
    assert_int_equal(ringd_client_pause(client), 0);
    assert_int_equal(ringd_client_save(from, &state), 0);
    assert_int_equal(ringd_client_load(to, &state), -EBUSY);
    assert_int_equal(ringd_client_pause(other), 0);
    state.state[0] ^= 1;
    assert_int_equal(ringd_client_load(to, &state), -EINVAL);
    state.state[0] ^= 1;
    assert_int_equal(ringd_client_load(to, &state), 0);
    assert_int_equal(rtc_read(to, 0, 0x55), 0xaa);
    assert_int_equal(rtc_read(to, 0, 0x09), 0x23); /* 2023 */
    sleep_ms(20);
    uint64_t time = state.time;
    assert_int_equal(ringd_client_save(to, &state), 0);
    assert_int_equal(state.time, time); /* paused */
    assert_int_equal(ringd_client_reset(other), 0);
    assert_int_equal(ringd_client_resume(other), 0);
    assert_int_equal(ringd_client_resume(client), 0);
    sleep_ms(1);
    assert_int_equal(ringd_client_save(to, &state), 0);
    assert_true(state.time > time);
    ringd_client_destroy(other);
    ringd_client_destroy(client);
}

static void test_unknown_type(void **unused)
{
    (void)unused;
    struct ringd_client *client = connect_client();
    struct ringd_client_device device = {.type = "warp-core", .kvm_ring_fd = -1};
    struct ringd_remote *remote;
    assert_int_equal(ringd_client_add(client, &device, &remote), -ENODEV);
    device.type = "rtc";
    device.config = "x";
    device.config_bytes = 1;
    assert_int_equal(ringd_client_add(client, &device, &remote), -EINVAL);
    device.config_bytes = 0;
    for (unsigned i = 0; i < RINGD_MSG_DEVICES; i++)
        assert_int_equal(ringd_client_add(client, &device, &remote), 0);
    assert_int_equal(ringd_client_add(client, &device, &remote), -EMFILE);
    ringd_client_destroy(client);
}

/* ---- killed ---- */

#define CONSOLE_PORT 0x402u

static struct storm {
    struct ringd_client *client;
    struct ringd_remote *console, *rtc;
    bool stop;
    uint64_t written; /* characters, in their order */
    uint64_t accesses, nvram_writes;
    size_t nvram_events, wrong_events, characters, wrong_characters; /* each under its device's own lock */
} storm;

static void storm_output(void *ctx, const uint8_t *data, size_t len)
{
    (void)ctx;
    for (size_t i = 0; i < len; i++, storm.characters++)
        storm.wrong_characters += data[i] != (uint8_t)(storm.characters % 251);
}

/* The n-th write stores n modulo 251 to byte 0x40 + n modulo 64: one event each, in order. */
static void storm_event(void *ctx, uint32_t event, uint64_t value)
{
    (void)ctx;
    uint64_t n = storm.nvram_events++;
    storm.wrong_events += event != RINGD_EVENT_NVRAM || value != ((0x40 + n % 64) << 8 | n % 251);
}

/* Two vCPUs: one writes characters and nothing else, so it finds the ring full; one ticks. */
static void *write_characters(void *arg)
{
    (void)arg;
    while (!__atomic_load_n(&storm.stop, __ATOMIC_ACQUIRE)) {
        uint8_t c = (uint8_t)(storm.written % 251);
        int ret = ringd_client_push(storm.console, CONSOLE_PORT, 1, &c, 1);
        if (ret == -EAGAIN)
            ret = ringd_client_write(storm.console, 0, 0, 0, 1, c);
        if (ret)
            return "a character could not be written";
        storm.written++;
    }
    return NULL;
}

static void *tick(void *arg)
{
    (void)arg;
    for (uint64_t n = 0; !__atomic_load_n(&storm.stop, __ATOMIC_ACQUIRE); n++) {
        uint8_t index = (uint8_t)(0x40 + n % 64);
        uint64_t value;
        if (ringd_client_push(storm.rtc, 0x70, 1, &index, 1) || ringd_client_write(storm.rtc, 1, DATA, 0, 1, n % 251))
            return "an RTC write failed";
        storm.nvram_writes++;
        if (ringd_client_push(storm.rtc, 0x70, 1, &index, 1) || ringd_client_read(storm.rtc, 1, DATA, 0, 1, &value))
            return "an RTC read failed";
        if (value != n % 251)
            return "the RTC forgot what was written";
        storm.accesses += 2;
    }
    return NULL;
}

static void run_storm(uint64_t seconds, int signal)
{
    struct ringd_client_device console = {.type = "debug-console", .kvm_ring_fd = -1, .output = storm_output};
    struct ringd_client_device rtc = {.type = "rtc", .kvm_ring_fd = -1, .event = storm_event};
    pthread_t threads[2];
    void *failures[2];
    unsigned kills = 0;
    memset(&storm, 0, sizeof(storm));
    storm.client = connect_client();
    assert_int_equal(ringd_client_add(storm.client, &console, &storm.console), 0);
    assert_int_equal(ringd_client_map(storm.console, 0, CONSOLE_PORT), 0);
    assert_int_equal(ringd_client_add(storm.client, &rtc, &storm.rtc), 0);
    assert_int_equal(ringd_client_map(storm.rtc, INDEX, 0x70), 0);
    pthread_create(&threads[0], NULL, write_characters, NULL);
    pthread_create(&threads[1], NULL, tick, NULL);
    srand((unsigned)clock_ns());
    struct pollfd ready = {.fd = ringd_client_poll_fd(storm.client), .events = POLLIN};
    uint64_t end = clock_ns() + seconds * 1000000000u, next = 0;
    for (uint64_t now = clock_ns(); now < end; now = clock_ns()) {
        if (next && now >= next) {
            end_daemon(signal);
            launch_daemon(NULL, NULL);
            kills++;
        }
        if (now >= next)
            next = now + 5000000 + (uint64_t)rand() % 60000000;
        poll(&ready, 1, 1);
        ringd_client_dispatch(storm.client);
    }
    __atomic_store_n(&storm.stop, true, __ATOMIC_RELEASE);
    for (unsigned i = 0; i < 2; i++)
        pthread_join(threads[i], &failures[i]);
    for (unsigned i = 0; i < 2; i++)
        if (failures[i])
            fail_msg("%s", (const char *)failures[i]);
    assert_int_equal(ringd_client_drain(storm.client), 0);
    ringd_client_dispatch(storm.client);
    struct ringd_msg_stats stats;
    assert_int_equal(ringd_client_stats(storm.console, &stats), 0);
    print_message("%u ends of the daemon, %zu of %llu characters, %llu accesses\n", kills, storm.characters,
                  (unsigned long long)storm.written, (unsigned long long)storm.accesses);
    assert_int_equal(stats.counter[0].value, storm.written); /* "characters", as the model has counted them */
    assert_int_equal(storm.nvram_events, storm.nvram_writes);
    /* What the owner is too slow for is dropped, and then the rest is not where it was expected. */
    if (storm.characters == storm.written)
        assert_int_equal(storm.wrong_characters, 0);
    assert_int_equal(storm.wrong_events, 0);
    assert_true(storm.accesses > 0);
    assert_true(kills >= 3);
    assert_true(ringd_client_reconnects(storm.client) > 0);
    ringd_client_destroy(storm.client);
}

static uint64_t storm_seconds(void)
{
    const char *wanted = getenv("RINGVMM_TEST_SECONDS");
    return wanted ? strtoull(wanted, NULL, 10) : 4;
}

static void test_killed_under_a_storm(void **unused)
{
    (void)unused;
    run_storm(storm_seconds(), SIGKILL);
}

/* As `systemctl restart` does it. */
static void test_ended_under_a_storm(void **unused)
{
    (void)unused;
    run_storm(storm_seconds() / 2 + 1, SIGTERM);
}

/* While the daemon is away an access waits, up to its limit. */
static void test_away(void **unused)
{
    (void)unused;
    struct ringd_client_config config = {.path = path, .wait_ns = 1000000000};
    struct ringd_client *client;
    uint64_t value;
    assert_int_equal(ringd_client_create(&config, &client), 0);
    struct ringd_remote *rtc = add_rtc(client);
    rtc_write(rtc, 0, 0x44, 0x12);
    end_daemon(SIGKILL);
    uint64_t start = clock_ns();
    assert_int_equal(ringd_client_read(rtc, 0, DATA, 0, 1, &value), -ETIMEDOUT);
    assert_int_equal(value, 0xff);
    assert_true(clock_ns() - start >= 1000000000u && clock_ns() - start < 6000000000u);
    assert_int_equal(ringd_client_drain(client), -ETIMEDOUT);
    start_daemon(NULL, NULL);
    /* From the deadline on an attempt takes 100 ms at the most, which may be too little for a slow build. */
    uint64_t end = clock_ns() + 10000000000u;
    while (ringd_client_drain(client) == -ETIMEDOUT && clock_ns() < end) {
    }
    assert_int_equal(rtc_read(rtc, 0, 0x44), 0x12);
    assert_int_equal(ringd_client_reconnects(client), 1);
    ringd_client_destroy(client);
}

/* Four vCPUs that all need a daemon that is away, or stands still: one wait for all of them, not one for each access.
 */
#define WAITERS 4u

struct waiter {
    struct ringd_remote *rtc;
    unsigned slot;
    bool failed_otherwise;
};

static void *wait_for_daemon(void *arg)
{
    struct waiter *waiter = arg;
    uint64_t value;
    for (unsigned i = 0; i < 4; i++) {
        int read = ringd_client_read(waiter->rtc, waiter->slot, DATA, 0, 1, &value);
        int write = ringd_client_write(waiter->rtc, waiter->slot, INDEX, 0, 1, 0x44);
        waiter->failed_otherwise |= read != -ETIMEDOUT || write != -ETIMEDOUT || value != 0xff;
    }
    return NULL;
}

static void check_one_wait(struct ringd_client *client, struct ringd_remote *rtc, uint64_t wait_ns)
{
    pthread_t threads[WAITERS];
    struct waiter waiters[WAITERS];
    struct ringd_client_counts before, after;
    uint64_t start = clock_ns();
    ringd_client_counts(client, &before);
    for (unsigned i = 0; i < WAITERS; i++) {
        waiters[i] = (struct waiter){.rtc = rtc, .slot = i};
        pthread_create(&threads[i], NULL, wait_for_daemon, &waiters[i]);
    }
    for (unsigned i = 0; i < WAITERS; i++) {
        pthread_join(threads[i], NULL);
        assert_false(waiters[i].failed_otherwise);
    }
    assert_int_equal(ringd_client_drain(client), -ETIMEDOUT);
    assert_true(clock_ns() - start >= wait_ns && clock_ns() - start < 2 * wait_ns);
    ringd_client_counts(client, &after);
    assert_int_equal(after.outages - before.outages, 1);
    assert_int_equal(after.reads_unanswered - before.reads_unanswered, WAITERS * 4);
    assert_int_equal(after.writes_dropped - before.writes_dropped, WAITERS * 4);
}

/* Once the wait is over an access asks without waiting, and fails until one has found the daemon back. */
static uint64_t read_when_back(struct ringd_remote *rtc, uint8_t index)
{
    uint64_t value = 0;
    int ret = -1;
    for (uint64_t start = clock_ns(); ret && clock_ns() - start < 10000000000u; sleep_ms(5)) {
        ret = ringd_client_write(rtc, 0, INDEX, 0, 1, index);
        ret = ret ? ret : ringd_client_read(rtc, 0, DATA, 0, 1, &value);
    }
    assert_int_equal(ret, 0);
    return value;
}

static void test_one_wait_for_an_outage(void **unused)
{
    (void)unused;
    struct ringd_client_config config = {.path = path, .wait_ns = 1500000000};
    struct ringd_client *client;
    assert_int_equal(ringd_client_create(&config, &client), 0);
    struct ringd_remote *rtc = add_rtc(client);
    rtc_write(rtc, 0, 0x44, 0x5a);
    end_daemon(SIGKILL);
    check_one_wait(client, rtc, config.wait_ns);
    start_daemon(NULL, NULL);
    assert_int_equal(read_when_back(rtc, 0x44), 0x5a);
    /* A slot that was given up is one like any other. */
    rtc_write(rtc, 1, 0x44, 0xa5);
    assert_int_equal(rtc_read(rtc, 2, 0x44), 0xa5);
    /* Standing still: the kernel goes on to take connections and messages for it. */
    kill(daemon_pid, SIGSTOP);
    check_one_wait(client, rtc, config.wait_ns);
    kill(daemon_pid, SIGCONT);
    assert_int_equal(read_when_back(rtc, 0x44), 0xa5);
    ringd_client_destroy(client);
}

/* As on a kernel that frees a ring with the daemon's mapping of it: the successor finds another one, which begins at 0.
 */
static void test_ring_made_anew(void **unused)
{
    (void)unused;
    struct ringd_client *client = connect_client();
    struct ringd_remote *rtc = add_rtc(client);
    struct ringd_msg_stats stats;
    for (unsigned i = 0; i < 50; i++)
        rtc_write(rtc, 0, 0x44, (uint8_t)i);
    end_daemon(SIGKILL);
    __atomic_store_n(&rtc->ring->first, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&rtc->ring->last, 0, __ATOMIC_RELEASE);
    for (uint8_t index = 0x45; index < 0x48; index++)
        select_byte(rtc, 0, index);
    start_daemon(NULL, NULL);
    assert_int_equal(ringd_client_write(rtc, 0, DATA, 0, 1, 0x99), 0);
    assert_int_equal(ringd_client_stats(rtc, &stats), 0);
    assert_int_equal(stats.entries, 3);
    assert_int_equal(stats.bad, 0);
    assert_int_equal(rtc_read(rtc, 0, 0x47), 0x99);
    assert_int_equal(rtc_read(rtc, 0, 0x44), 49);
    ringd_client_destroy(client);
}

struct starter {
    sem_t started, ended;
};

/* Lives as long as the daemon: that is killed with the thread that started it, see launch_daemon(). */
static void *start_it_later(void *arg)
{
    struct starter *starter = arg;
    sleep_ms(200);
    launch_daemon(NULL, NULL);
    sem_post(&starter->started);
    sem_wait(&starter->ended);
    return NULL;
}

/* The longest wait that there is. */
static void test_waits_for_ever(void **unused)
{
    (void)unused;
    struct ringd_client_config config = {.path = path, .wait_ns = UINT64_MAX};
    struct ringd_client *client;
    assert_int_equal(ringd_client_create(&config, &client), 0);
    struct ringd_remote *rtc = add_rtc(client);
    rtc_write(rtc, 0, 0x44, 0x5a);
    end_daemon(SIGKILL);
    for (unsigned i = 0; i < 2; i++) {
        struct starter starter;
        pthread_t thread;
        sem_init(&starter.started, 0, 0);
        sem_init(&starter.ended, 0, 0);
        pthread_create(&thread, NULL, start_it_later, &starter);
        if (i)
            assert_int_equal(ringd_client_drain(client), 0);
        assert_int_equal(rtc_read(rtc, 0, 0x44), 0x5a);
        sem_wait(&starter.started);
        end_daemon(SIGKILL);
        sem_post(&starter.ended);
        pthread_join(thread, NULL);
    }
    ringd_client_destroy(client);
}

static void test_paused_stays_paused(void **unused)
{
    (void)unused;
    struct ringd_client *client = connect_client();
    struct ringd_remote *rtc = add_rtc(client);
    struct ringd_msg_state before, after;
    rtc_write(rtc, 0, 0x44, 0x34);
    assert_int_equal(ringd_client_pause(client), 0);
    assert_int_equal(ringd_client_save(rtc, &before), 0);
    end_daemon(SIGKILL);
    sleep_ms(30);
    start_daemon(NULL, NULL);
    assert_int_equal(ringd_client_save(rtc, &after), 0);
    assert_true(after.time - before.time < 25000000u); /* but for the moment of the taking over */
    assert_int_equal(ringd_client_resume(client), 0);
    assert_int_equal(rtc_read(rtc, 0, 0x44), 0x34);
    ringd_client_destroy(client);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_access, setup_daemon, teardown_daemon),
        cmocka_unit_test_setup_teardown(test_output, setup_daemon, teardown_daemon),
        cmocka_unit_test_setup_teardown(test_interrupt, setup_daemon, teardown_daemon),
        cmocka_unit_test_setup_teardown(test_events_come_before_the_access_returns, setup_daemon, teardown_daemon),
        cmocka_unit_test_setup_teardown(test_pause_save_load, setup_daemon, teardown_daemon),
        cmocka_unit_test_setup_teardown(test_unknown_type, setup_daemon, teardown_daemon),
        cmocka_unit_test_setup_teardown(test_away, setup_daemon, teardown_daemon),
        cmocka_unit_test_setup_teardown(test_one_wait_for_an_outage, setup_daemon, teardown_daemon),
        cmocka_unit_test_setup_teardown(test_ring_made_anew, setup_daemon, teardown_daemon),
        cmocka_unit_test_setup_teardown(test_waits_for_ever, setup_daemon, teardown_daemon),
        cmocka_unit_test_setup_teardown(test_paused_stays_paused, setup_daemon, teardown_daemon),
        cmocka_unit_test_setup_teardown(test_killed_under_a_storm, setup_daemon, teardown_daemon),
        cmocka_unit_test_setup_teardown(test_ended_under_a_storm, setup_daemon, teardown_daemon),
    };
    if (argc < 2)
        return 77;
    program = argv[1];
    return cmocka_run_group_tests(tests, NULL, NULL);
}
