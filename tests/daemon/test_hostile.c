/* SPDX-License-Identifier: BSD-2-Clause */
/* Clients that break every rule, beside one that keeps them: they are dropped, and it never notices. */
#include "raw.h"

static void expect_dropped(int fd)
{
    uint8_t reply[sizeof(struct ringd_msg_state)];
    while (answer(fd, reply, sizeof(reply)) > 0)
        ;
    close(fd);
    good_goes_on();
}

static void test_no_hello(void **unused)
{
    (void)unused;
    struct ringd_msg message = {.type = RINGD_MSG_PAUSE};
    struct ringd_msg_hello hello = {
        .head = {.type = RINGD_MSG_HELLO}, .magic = RINGD_PROTOCOL_MAGIC + 1, .least = 1, .most = 1};
    struct ringd_msg_hello_reply reply;
    int fd = raw_connect();
    send_raw(fd, &message, sizeof(message), NULL, 0);
    expect_dropped(fd);
    fd = raw_connect();
    send_raw(fd, &hello, sizeof(hello), NULL, 0);
    expect_dropped(fd);
    fd = raw_connect(); /* a version to come */
    hello.magic--;
    hello.least = hello.most = 2;
    send_raw(fd, &hello, sizeof(hello), NULL, 0);
    assert_int_equal(answer(fd, &reply, sizeof(reply)), sizeof(reply));
    assert_int_equal(reply.head.status, -EPROTONOSUPPORT);
    assert_int_equal(reply.version, RINGD_PROTOCOL_VERSION);
    send_raw(fd, &message, sizeof(message), NULL, 0); /* it is not greeted by that */
    expect_dropped(fd);
    fd = greeted(); /* twice */
    hello.least = hello.most = 1;
    send_raw(fd, &hello, sizeof(hello), NULL, 0);
    expect_dropped(fd);
}

static void test_silence(void **unused)
{
    (void)unused;
    uint64_t start = clock_ns();
    int fd = raw_connect();
    expect_dropped(fd);
    assert_true(clock_ns() - start > 3000000000u);
}

/* Each type in each wrong size, with reserved fields set, and with descriptors that do not belong there. */
static void test_malformed(void **unused)
{
    (void)unused;
    static _Alignas(8) uint8_t bytes[sizeof(struct ringd_msg_state) + 100];
    struct ringd_msg *head = (void *)bytes;
    for (uint32_t type = 0; type <= RINGD_MSG_TYPES; type++) {
        static const size_t sizes[] = {1, 15, 17, 23, 25, 33, 431, 433, sizeof(bytes)};
        for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
            int fd = greeted();
            *head = (struct ringd_msg){.type = type};
            send_raw(fd, bytes, sizes[i], NULL, 0);
            uint8_t reply[sizeof(struct ringd_msg_state)];
            ssize_t got = answer(fd, reply, sizeof(reply));
            /* LOAD alone has no one size; it is then refused. */
            assert_true(got == 0 || (type == RINGD_MSG_LOAD && ((struct ringd_msg *)(void *)reply)->status < 0));
            close(fd);
        }
    }
    int fd = greeted();
    *head = (struct ringd_msg){.type = RINGD_MSG_PAUSE, .reserved = 1};
    send_raw(fd, bytes, sizeof(*head), NULL, 0);
    expect_dropped(fd);
    fd = greeted();
    *head = (struct ringd_msg){.type = RINGD_MSG_PAUSE, .status = 1};
    send_raw(fd, bytes, sizeof(*head), NULL, 0);
    expect_dropped(fd);
    fd = greeted();
    *head = (struct ringd_msg){.type = RINGD_MSG_PAUSE};
    send_raw(fd, bytes, sizeof(*head), &fd, 1);
    expect_dropped(fd);
}

static void test_reserved_fields(void **unused)
{
    (void)unused;
    static const uint32_t types[] = {RINGD_MSG_REMOVE, RINGD_MSG_DRAIN, RINGD_MSG_SAVE, RINGD_MSG_STATS};
    for (unsigned i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        struct ringd_msg_device message = {.head.type = types[i], .reserved = 77};
        int fd = greeted();
        send_raw(fd, &message, sizeof(message), NULL, 0);
        expect_dropped(fd);
    }
    struct ringd_msg_map unmap = {.head.type = RINGD_MSG_UNMAP, .addr = 1};
    int fd = greeted();
    send_raw(fd, &unmap, sizeof(unmap), NULL, 0);
    expect_dropped(fd);
    for (unsigned i = 0; i < 4; i++) {
        struct ringd_msg_add add = {.head.type = RINGD_MSG_ADD, .type = "debug-console", .config_bytes = 1};
        struct ringd_msg_add_reply reply;
        fd = greeted();
        if (i == 0) {
            add.regions[7].reserved = 1;
        } else if (i == 1) {
            add.regions[0].mapped = 2;
        } else if (i == 2) {
            add.config[sizeof(add.config) - 1] = 1;
        } else { /* it is the configuration itself */
            add.config[0] = 1;
            send_raw(fd, &add, sizeof(add), NULL, 0);
            assert_true(answer(fd, &reply, sizeof(reply)) > 0);
            assert_int_equal(reply.head.status, 0);
            close(fd);
            continue;
        }
        send_raw(fd, &add, sizeof(add), NULL, 0);
        assert_int_equal(answer(fd, &reply, sizeof(reply)), 0);
        close(fd);
    }
    good_goes_on();
}

static void test_too_many_descriptors(void **unused)
{
    (void)unused;
    int fds[64], nulls = open("/dev/null", O_RDONLY | O_CLOEXEC);
    for (unsigned i = 0; i < 64; i++)
        fds[i] = nulls;
    for (unsigned round = 0; round < 50; round++) {
        struct ringd_msg message = {.type = RINGD_MSG_MAILBOX};
        int fd = greeted();
        send_raw(fd, &message, sizeof(message), fds, 64);
        expect_dropped(fd);
    }
    close(nulls);
}

/* The wrong thing in each place of ADD and MAILBOX: refused, and the client may go on. */
static void test_wrong_descriptors(void **unused)
{
    (void)unused;
    const int sealed = F_SEAL_SHRINK | F_SEAL_GROW;
    int pipes[2], fd = greeted();
    assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
    int event = eventfd(0, EFD_CLOEXEC), ring = memory_file(4096, sealed), state = memory_file(65536, sealed);
    int mailbox = memory_file(sizeof(struct ringd_mailbox), sealed);
    const int wrong[] = {pipes[1],
                         fd,
                         open("/dev/zero", O_RDWR | O_CLOEXEC),
                         open("/dev/shm", O_RDONLY | O_CLOEXEC | O_DIRECTORY),
                         open(directory, O_RDWR | O_CLOEXEC | O_TMPFILE, 0600),
                         memory_file(4096, 0),
                         memory_file(4096, F_SEAL_SHRINK),
                         memory_file(2097152, sealed),
                         memory_file(0, sealed)};
    for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        for (unsigned place = 0; place < 7; place++) {
            struct ringd_msg_add add = {.head.type = RINGD_MSG_ADD, .type = "rtc", .irq_mask = 1};
            struct ringd_msg message = {.type = RINGD_MSG_MAILBOX};
            struct ringd_msg_add_reply reply;
            int fds[] = {ring, event, state, event, event}, box[] = {mailbox, event};
            add.flags = RINGD_ADD_RING_MEMFD | RINGD_ADD_STATE | RINGD_ADD_NOTIFY;
            if (wrong[i] < 0)
                continue; /* no such thing here */
            if (place < 5) {
                fds[place] = wrong[i];
                send_raw(fd, &add, sizeof(add), fds, 5);
            } else {
                box[place - 5] = wrong[i];
                send_raw(fd, &message, sizeof(message), box, 2);
            }
            assert_true(answer(fd, &reply, sizeof(reply)) > 0);
            assert_true(reply.head.status == -EINVAL || reply.head.status == -ENOSPC);
        }
        /* As KVM's ring. */
        struct ringd_msg_add add = {.head.type = RINGD_MSG_ADD, .type = "rtc", .flags = RINGD_ADD_RING_KVM};
        struct ringd_msg_add_reply reply;
        send_raw(fd, &add, sizeof(add), &wrong[i], 1);
        assert_true(answer(fd, &reply, sizeof(reply)) > 0);
        assert_int_equal(reply.head.status, -EINVAL);
    }
    for (unsigned i = 2; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        close(wrong[i]);
    good_goes_on();
    close(fd);
}

/* An eventfd that is full and blocks: whoever signals it must not wait. */
static void test_full_eventfds(void **unused)
{
    (void)unused;
    int fd = greeted(), full = eventfd(0, EFD_CLOEXEC);
    uint64_t most = UINT64_MAX - 1;
    struct ringd_msg_add add = {
        .head.type = RINGD_MSG_ADD, .type = "rtc", .irq_mask = 1, .flags = RINGD_ADD_RING_MEMFD};
    struct ringd_msg_add_reply reply;
    struct ringd_msg_access_reply value;
    int fds[] = {memory_file(4096, F_SEAL_SHRINK | F_SEAL_GROW), eventfd(0, EFD_CLOEXEC), full};
    assert_int_equal(write(full, &most, sizeof(most)), sizeof(most));
    send_raw(fd, &add, sizeof(add), fds, 3);
    assert_true(answer(fd, &reply, sizeof(reply)) > 0);
    assert_int_equal(reply.head.status, 0);
    const uint8_t steps[][2] = {{0, 0x0b}, {1, 0x42}}; /* its tick */
    for (unsigned i = 0; i < 2; i++) {
        struct ringd_msg_access access = {
            .head.type = RINGD_MSG_ACCESS, .region = steps[i][0], .width = 1, .write = 1, .value = steps[i][1]};
        send_raw(fd, &access, sizeof(access), NULL, 0);
        assert_true(answer(fd, &value, sizeof(value)) > 0);
        assert_int_equal(value.head.status, 0);
    }
    sleep_ms(50);
    good_goes_on();
    close(fd);
    for (unsigned i = 0; i < 3; i++)
        close(fds[i]);
}

/* Asks for large replies and reads none. */
static void test_never_reads(void **unused)
{
    (void)unused;
    int fd = greeted();
    struct ringd_msg_add add = {.head.type = RINGD_MSG_ADD, .type = "rtc"};
    struct ringd_msg_device stats = {.head.type = RINGD_MSG_STATS};
    send_raw(fd, &add, sizeof(add), NULL, 0);
    struct pollfd end = {.fd = fd, .events = POLLRDHUP};
    for (unsigned i = 0; i < 100000 && poll(&end, 1, 0) == 0; i++)
        send_raw(fd, &stats, sizeof(stats), NULL, 0);
    assert_int_equal(poll(&end, 1, 10000), 1);
    close(fd);
    good_goes_on();
}

static void test_half_closed(void **unused)
{
    (void)unused;
    int fd = greeted();
    shutdown(fd, SHUT_WR);
    expect_dropped(fd);
    fd = greeted();
    shutdown(fd, SHUT_RD);
    struct ringd_msg message = {.type = RINGD_MSG_PAUSE};
    send_raw(fd, &message, sizeof(message), NULL, 0);
    sleep_ms(20);
    close(fd);
    good_goes_on();
}

/* Shared memory that changes all the time, a ring that is never empty and a doorbell that never rests. */
static void test_flood(void **unused)
{
    (void)unused;
    struct ringd_client *bad = connect_client();
    struct ringd_client_device device = {.type = "debug-console", .kvm_ring_fd = -1};
    struct ringd_remote *console;
    assert_int_equal(ringd_client_add(bad, &device, &console), 0);
    assert_int_equal(ringd_client_map(console, 0, 0x402), 0);
    pid_t pid = fork();
    if (pid == 0) {
        uint8_t c = 'x';
        for (;;) {
            uint64_t value;
            for (unsigned i = 0; i < 100; i++)
                ringd_client_push(console, 0x402, 1, &c, 1);
            ringd_client_read(console, 1, 0, 0, 1, &value);
        }
    }
    uint64_t worst = 0;
    for (unsigned i = 0; i < 200; i++) {
        uint64_t start = clock_ns();
        good_goes_on();
        uint64_t took = clock_ns() - start;
        worst = took > worst ? took : worst;
    }
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    print_message("worst access beside a flood: %llu us\n", (unsigned long long)worst / 1000);
    assert_true(worst < 1000000000u);
    ringd_client_destroy(bad);
}

static void test_scribbles(void **unused)
{
    (void)unused;
    const int sealed = F_SEAL_SHRINK | F_SEAL_GROW;
    int fd = greeted();
    int files[] = {memory_file(4096, sealed), memory_file(32768, sealed), memory_file(8192, sealed)};
    const size_t sizes[] = {4096, 32768, 8192};
    uint8_t *maps[3];
    int event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), fds[] = {files[0], event, files[1], event};
    struct ringd_msg_add add = {.head.type = RINGD_MSG_ADD,
                                .type = "pci-host",
                                .flags = RINGD_ADD_RING_MEMFD | RINGD_ADD_STATE | RINGD_ADD_NOTIFY};
    struct ringd_msg_add_reply reply;
    struct ringd_msg message = {.type = RINGD_MSG_MAILBOX};
    add.regions[0] = (struct ringd_msg_region){.addr = 0xcf8, .mapped = 1};
    send_raw(fd, &add, sizeof(add), fds, 4);
    assert_true(answer(fd, &reply, sizeof(reply)) > 0);
    assert_int_equal(reply.head.status, 0);
    int box[] = {files[2], event};
    send_raw(fd, &message, sizeof(message), box, 2);
    assert_true(answer(fd, &reply, sizeof(reply)) > 0);
    for (unsigned i = 0; i < 3; i++)
        maps[i] = mmap(NULL, sizes[i], PROT_READ | PROT_WRITE, MAP_SHARED, files[i], 0);
    srand(3);
    for (unsigned round = 0; round < 20000; round++) {
        unsigned i = (unsigned)rand() % 3;
        uint64_t one = 1;
        for (unsigned n = 0; n < 8; n++)
            maps[i][(unsigned)rand() % (rand() % 2 ? 64 : sizes[i])] = (uint8_t)rand();
        if (round % 16 == 0) {
            ssize_t done = write(event, &one, sizeof(one));
            (void)done;
        }
        if (round % 2000 == 0)
            good_goes_on();
        if (round % 3000 == 0) /* the memory behind the pages goes away */
            fallocate(files[i], FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)sizes[i]);
    }
    for (unsigned i = 0; i < 3; i++) {
        munmap(maps[i], sizes[i]);
        close(files[i]);
    }
    close(event);
    close(fd);
    good_goes_on();
}

/* A client that dies leaves nothing behind, within a second. */
static void test_death_frees_all(void **unused)
{
    (void)unused;
    good_goes_on();
    unsigned before = fds_of_daemon();
    assert_true(before > 3);
    pid_t pid = fork();
    if (pid == 0) {
        struct ringd_client *client = connect_client();
        struct ringd_client_device device = {.type = "rtc", .kvm_ring_fd = -1};
        struct ringd_remote *remote;
        for (unsigned i = 0; i < RINGD_MSG_DEVICES; i++)
            if (ringd_client_add(client, &device, &remote))
                _exit(1);
        kill(getpid(), SIGKILL);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
    uint64_t start = clock_ns();
    while (fds_of_daemon() != before && clock_ns() - start < 5000000000u)
        sleep_ms(10);
    assert_int_equal(fds_of_daemon(), before);
    assert_true(clock_ns() - start < 1000000000u);
    good_goes_on();
}

static void test_max_clients(void **unused)
{
    (void)unused;
    setup_directory(NULL);
    start_daemon("--max-clients", "2");
    sleep_ms(50); /* the connection that saw it listen is gone */
    struct ringd_client *a = connect_client(), *b = connect_client(), *c = NULL;
    struct ringd_client_config config = {.path = path, .wait_ns = 100000000};
    assert_int_equal(ringd_client_create(&config, &c), -EUSERS);
    ringd_client_destroy(a);
    for (unsigned i = 0; i < 100 && ringd_client_create(&config, &c); i++)
        sleep_ms(10);
    assert_non_null(c);
    ringd_client_destroy(b);
    ringd_client_destroy(c);
    teardown_daemon(NULL);
}

static void test_only_this_device(void **unused)
{
    (void)unused;
    setup_directory(NULL);
    start_daemon("--device", "post-code");
    struct ringd_client *client = connect_client();
    struct ringd_client_device device = {.type = "rtc", .kvm_ring_fd = -1};
    struct ringd_remote *remote;
    assert_int_equal(ringd_client_add(client, &device, &remote), -ENODEV);
    device.type = "post-code";
    assert_int_equal(ringd_client_add(client, &device, &remote), 0);
    ringd_client_destroy(client);
    teardown_daemon(NULL);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_no_hello, setup, teardown),
        cmocka_unit_test_setup_teardown(test_silence, setup, teardown),
        cmocka_unit_test_setup_teardown(test_malformed, setup, teardown),
        cmocka_unit_test_setup_teardown(test_reserved_fields, setup, teardown),
        cmocka_unit_test_setup_teardown(test_too_many_descriptors, setup, teardown),
        cmocka_unit_test_setup_teardown(test_wrong_descriptors, setup, teardown),
        cmocka_unit_test_setup_teardown(test_full_eventfds, setup, teardown),
        cmocka_unit_test_setup_teardown(test_never_reads, setup, teardown),
        cmocka_unit_test_setup_teardown(test_half_closed, setup, teardown),
        cmocka_unit_test_setup_teardown(test_flood, setup, teardown),
        cmocka_unit_test_setup_teardown(test_scribbles, setup, teardown),
        cmocka_unit_test_setup_teardown(test_death_frees_all, setup, teardown),
        cmocka_unit_test(test_max_clients),
        cmocka_unit_test(test_only_this_device),
    };
    if (argc < 2)
        return 77;
    program = argv[1];
    return cmocka_run_group_tests(tests, NULL, NULL);
}
