/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The client's side of the mailbox, against a daemon that is slow wherever that hurts: it stands still between any two
 * steps of an answer, longer than the client waits, and is replaced in the middle. So does the client, before any of
 * its stores. Whatever happens, an access is executed as it was asked for, once if it was answered, at most once if it
 * was given up, never if that was not in doubt, and in its slot's order.
 *
 * The daemon is a thread here, so that ThreadSanitizer sees both sides.
 */
#include "daemon.h"

#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "client/internal.h"

/* The client's code, which stands still here and there in the threads of this file that ask it to. */
static __thread unsigned client_seed;
static void stall_client(void);
#define __atomic_store_n(where, what, order) (stall_client(), __atomic_store_n(where, what, order))
#include "client/access.c" /* NOLINT(bugprone-suspicious-include): compiled here, with the macro */
#undef __atomic_store_n

#define SLOTS   3u
#define BACKLOG 16
#define WAIT_NS 300000u /* shorter than a stall */

static struct fake {
    int listener;
    pthread_t thread;
    bool stop;  /* atomic */
    bool mute;  /* atomic: it stands still; the kernel takes connections for it */
    bool slow;  /* atomic: it looks at the mailbox each millisecond only */
    bool kills; /* it ends now and then in the middle of an answer */
    uint64_t dies_at;
    unsigned seed;
    int session, memfd, doorbell;
    struct ringd_mailbox *mailbox;
    /* What a state file would hold: it outlives each daemon. Written by its thread, read when that has ended. */
    uint64_t sequences[SLOTS], results[SLOTS];
    uint64_t executed[SLOTS], last[SLOTS], left, again, torn, disordered, ends;
    uint8_t *seen[SLOTS]; /* times that access n was executed */
} fake;

static uint64_t accesses_wanted;
static unsigned stalls_one_in = 24; /* places */

static void pause_us(unsigned us)
{
    struct timespec ts = {.tv_nsec = (long)us * 1000};
    nanosleep(&ts, NULL);
}

static void stall_client(void)
{
    if (client_seed && (unsigned)rand_r(&client_seed) % stalls_one_in == 0)
        pause_us((unsigned)rand_r(&client_seed) % 1000);
}

/* Now and then, for longer than the client waits. */
static void stall(void)
{
    if ((unsigned)rand_r(&fake.seed) % stalls_one_in == 0)
        pause_us((unsigned)rand_r(&fake.seed) % 1500);
}

static bool dies(void)
{
    return fake.kills && clock_ns() >= fake.dies_at && rand_r(&fake.seed) % 8 == 0;
}

/* Everything in an access follows from its number. */
static void execute(unsigned slot, const struct ringd_mail *mail)
{
    uint64_t n = mail->value & 0xffffff;
    if (mail->value >> 24 != slot || mail->offset != n * 3 || mail->region != n % 7 || mail->width != n % 8 + 1 ||
        !mail->write || n >= accesses_wanted) {
        fake.torn++;
        return;
    }
    fake.again += fake.seen[slot][n]++ != 0;
    fake.disordered += fake.executed[slot] && n <= fake.last[slot];
    fake.last[slot] = n;
    fake.executed[slot]++;
}

/* As docs/protocol.md has it. Returns false when the daemon died over it. */
static bool answer(unsigned slot)
{
    struct ringd_mail *mail = &fake.mailbox->slots[slot], copy = {0};
    uint64_t request = __atomic_load_n(&mail->request, __ATOMIC_ACQUIRE);
    if (!(uint32_t)request || (uint32_t)request == __atomic_load_n(&mail->done, __ATOMIC_RELAXED))
        return true;
    stall();
    copy.device = __atomic_load_n(&mail->device, __ATOMIC_RELAXED);
    copy.region = __atomic_load_n(&mail->region, __ATOMIC_RELAXED);
    stall();
    copy.width = __atomic_load_n(&mail->width, __ATOMIC_RELAXED);
    copy.write = __atomic_load_n(&mail->write, __ATOMIC_RELAXED);
    copy.offset = __atomic_load_n(&mail->offset, __ATOMIC_RELAXED);
    stall();
    copy.value = __atomic_load_n(&mail->value, __ATOMIC_RELAXED);
    stall();
    __atomic_store_n(&mail->begun, (uint32_t)request, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    stall();
    if (__atomic_load_n(&mail->request, __ATOMIC_RELAXED) != request) {
        fake.left++;
        return true;
    }
    stall();
    if (dies())
        return false;
    int status = copy.device == 0 ? 0 : -ENODEV;
    if (status) {
        fake.torn++;
    } else if (fake.sequences[slot] != request) {
        execute(slot, &copy);
        fake.sequences[slot] = request;
        fake.results[slot] = ~copy.value;
    }
    if (dies())
        return false;
    __atomic_store_n(&mail->result, fake.results[slot], __ATOMIC_RELAXED);
    __atomic_store_n(&mail->status, status, __ATOMIC_RELAXED);
    stall();
    __atomic_store_n(&mail->done, (uint32_t)request, __ATOMIC_RELEASE);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (__atomic_load_n(&mail->sleeping, __ATOMIC_RELAXED))
        syscall(SYS_futex, &mail->done, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
    return true;
}

static bool answer_all(uint64_t bits)
{
    for (unsigned i = 0; i < SLOTS; i++)
        if (bits >> i & 1 && !answer(i))
            return false;
    return true;
}

static void drop_session(void)
{
    if (fake.mailbox) {
        munmap(fake.mailbox, sizeof(*fake.mailbox));
        close(fake.memfd);
        close(fake.doorbell);
    }
    fake.mailbox = NULL;
    if (fake.session >= 0)
        close(fake.session);
    fake.session = -1;
}

/* One message and its reply: only what these tests need. */
static bool serve_message(void)
{
    union {
        struct ringd_msg head;
        struct ringd_msg_add add;
        uint8_t bytes[1024];
    } in;
    union {
        struct ringd_msg head;
        struct ringd_msg_hello_reply hello;
        struct ringd_msg_add_reply add;
    } out = {.head.status = 0};
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(RINGD_MSG_FDS * sizeof(int))];
    } control;
    struct iovec iov = {.iov_base = &in, .iov_len = sizeof(in)};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
    int fds[RINGD_MSG_FDS];
    unsigned count = 0;
    size_t size = sizeof(out.head);
    if (recvmsg(fake.session, &msg, MSG_CMSG_CLOEXEC) < (ssize_t)sizeof(in.head))
        return false;
    struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
    if (c) {
        count = (unsigned)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
        memcpy(fds, CMSG_DATA(c), count * sizeof(int));
    }
    out.head.type = in.head.type;
    out.head.serial = in.head.serial;
    bool mailbox = in.head.type == RINGD_MSG_MAILBOX && count == 2;
    if (in.head.type == RINGD_MSG_HELLO) {
        out.hello.magic = RINGD_PROTOCOL_MAGIC;
        out.hello.version = RINGD_PROTOCOL_VERSION;
        size = sizeof(out.hello);
    } else if (in.head.type == RINGD_MSG_ADD) {
        size = sizeof(out.add);
    }
    for (unsigned i = 0; i < count && !mailbox; i++)
        close(fds[i]);
    if (mailbox) {
        fake.memfd = fds[0];
        fake.doorbell = fds[1];
        fake.mailbox = mmap(NULL, sizeof(*fake.mailbox), PROT_READ | PROT_WRITE, MAP_SHARED, fds[0], 0);
    }
    if (send(fake.session, &out, size, MSG_NOSIGNAL) != (ssize_t)size)
        return false;
    return !mailbox || answer_all(UINT64_MAX);
}

/* Nothing waits here but for a client: it never says `wanted`. */
static void *run_fake(void *arg)
{
    (void)arg;
    while (!__atomic_load_n(&fake.stop, __ATOMIC_ACQUIRE)) {
        struct pollfd ready = {.fd = fake.session >= 0 ? fake.session : fake.listener, .events = POLLIN};
        bool fine = true;
        if (__atomic_load_n(&fake.mute, __ATOMIC_ACQUIRE)) {
            pause_us(500);
            continue;
        }
        if (__atomic_load_n(&fake.slow, __ATOMIC_RELAXED))
            pause_us(1000);
        if (poll(&ready, 1, fake.mailbox ? 0 : 1) == 1) {
            if (fake.session >= 0) {
                fine = serve_message();
            } else {
                fake.session = accept(fake.listener, NULL, NULL);
                fake.dies_at = clock_ns() + 3000000;
            }
        }
        if (fine && fake.mailbox && __atomic_load_n(&fake.mailbox->pending, __ATOMIC_RELAXED))
            fine = answer_all(__atomic_exchange_n(&fake.mailbox->pending, 0, __ATOMIC_ACQ_REL));
        if (!fine) {
            fake.ends++;
            drop_session();
        }
    }
    drop_session();
    return NULL;
}

static int setup_fake(void **unused)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (setup_directory(unused))
        return -1;
    memset(&fake, 0, sizeof(fake));
    fake.session = -1;
    fake.seed = (unsigned)clock_ns();
    fake.listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    if (bind(fake.listener, (const void *)&address, sizeof(address)) || listen(fake.listener, BACKLOG))
        return -1;
    return 0;
}

static void start_fake(void)
{
    assert_int_equal(pthread_create(&fake.thread, NULL, run_fake, NULL), 0);
}

static void end_fake(void)
{
    __atomic_store_n(&fake.stop, true, __ATOMIC_RELEASE);
    pthread_join(fake.thread, NULL);
}

static int teardown_fake(void **unused)
{
    (void)unused;
    close(fake.listener);
    unlink(path);
    return rmdir(directory);
}

/* ---- accesses that are given up ---- */

static struct vcpu {
    struct ringd_remote *remote;
    unsigned slot;
    unsigned seed;
    uint64_t answered, given_up, odd;
    uint8_t *done;    /* access n was answered */
    uint8_t *doubted; /* something was given up in doubt meanwhile: it, if this is the one vCPU */
} vcpus[SLOTS];

static void *run_vcpu(void *arg)
{
    struct vcpu *vcpu = arg;
    struct ringd_client_counts before, after;
    client_seed = vcpu->seed;
    ringd_client_counts(vcpu->remote->client, &before);
    for (uint64_t n = 0; n < accesses_wanted; n++) {
        int ret = ringd_client_write(vcpu->remote, vcpu->slot, (unsigned)(n % 7), n * 3, (unsigned)(n % 8) + 1,
                                     (uint64_t)vcpu->slot << 24 | n);
        vcpu->answered += ret == 0;
        vcpu->given_up += ret == -ETIMEDOUT;
        vcpu->odd += ret && ret != -ETIMEDOUT;
        vcpu->done[n] = ret == 0;
        ringd_client_counts(vcpu->remote->client, &after);
        vcpu->doubted[n] = after.in_doubt != before.in_doubt;
        before = after;
        if (ret) /* else all that follows is given up before the daemon has moved */
            pause_us(200);
    }
    return NULL;
}

static void run_stress(bool kills, unsigned slots)
{
    struct ringd_client_config config = {.path = path, .wait_ns = WAIT_NS, .spin_ns = 1};
    struct ringd_client_device device = {.type = "rtc", .kvm_ring_fd = -1};
    struct ringd_client *client;
    struct ringd_remote *remote;
    pthread_t threads[SLOTS];
    const char *seconds = getenv("RINGVMM_TEST_SECONDS");
    accesses_wanted = seconds ? strtoull(seconds, NULL, 10) * 1000 : 3000;
    fake.kills = kills;
    for (unsigned i = 0; i < SLOTS; i++)
        assert_non_null(fake.seen[i] = calloc(accesses_wanted, 1));
    start_fake();
    /* That is short for a message on a busy host. */
    int ret = -1;
    for (unsigned i = 0; i < 1000 && ret; i++)
        ret = ringd_client_create(&config, &client);
    assert_int_equal(ret, 0);
    ret = -1;
    for (unsigned i = 0; i < 1000 && ret; i++)
        ret = ringd_client_add(client, &device, &remote);
    assert_int_equal(ret, 0);
    for (unsigned i = 0; i < slots; i++) {
        vcpus[i] = (struct vcpu){.remote = remote,
                                 .slot = i,
                                 .seed = (unsigned)clock_ns() | 1,
                                 .done = calloc(accesses_wanted, 1),
                                 .doubted = calloc(accesses_wanted, 1)};
        assert_true(vcpus[i].done && vcpus[i].doubted);
        assert_int_equal(pthread_create(&threads[i], NULL, run_vcpu, &vcpus[i]), 0);
    }
    for (unsigned i = 0; i < slots; i++)
        pthread_join(threads[i], NULL);
    struct ringd_client_counts counts;
    ringd_client_counts(client, &counts);
    ringd_client_destroy(client);
    end_fake();
    uint64_t given_up = 0, late = 0;
    for (unsigned i = 0; i < slots; i++) {
        assert_int_equal(vcpus[i].odd, 0);
        assert_int_equal(vcpus[i].answered + vcpus[i].given_up, accesses_wanted);
        given_up += vcpus[i].given_up;
        for (uint64_t n = 0; n < accesses_wanted; n++) {
            assert_true(!vcpus[i].done[n] || fake.seen[i][n] == 1);
            assert_true(slots > 1 || vcpus[i].done[n] || vcpus[i].doubted[n] || !fake.seen[i][n]);
            late += !vcpus[i].done[n] && fake.seen[i][n];
        }
        free(vcpus[i].done);
        free(vcpus[i].doubted);
    }
    for (unsigned i = 0; i < SLOTS; i++)
        free(fake.seen[i]);
    print_message("%llu given up, of these %llu in doubt and %llu executed; %llu ends of the daemon\n",
                  (unsigned long long)given_up, (unsigned long long)counts.in_doubt, (unsigned long long)late,
                  (unsigned long long)fake.ends);
    assert_int_equal(fake.torn, 0);
    assert_int_equal(fake.again, 0);
    assert_int_equal(fake.disordered, 0);
    assert_int_equal(counts.writes_dropped, given_up);
    assert_int_equal(counts.reads_unanswered, 0);
    assert_true(counts.in_doubt >= late && counts.in_doubt <= given_up);
    assert_true(given_up > counts.in_doubt && fake.left > 0 && late > 0);
    assert_true(kills == (counts.returns > 0));
}

static void test_given_up(void **unused)
{
    (void)unused;
    run_stress(false, SLOTS);
}

static void test_given_up_while_daemons_die(void **unused)
{
    (void)unused;
    run_stress(true, SLOTS);
}

/* Which of them are in doubt can be told here. */
static void test_doubts_of_one(void **unused)
{
    (void)unused;
    stalls_one_in = 8;
    run_stress(false, 1);
    stalls_one_in = 24;
}

/*
 * What has been given up is not answered; that its bit is taken says that the daemon is there again. The next access
 * waits for its answer then, of a daemon that never has one at once.
 */
static void test_back_without_an_answer(void **unused)
{
    (void)unused;
    struct ringd_client_config config = {.path = path, .wait_ns = 1000000000, .spin_ns = 1};
    struct ringd_client_device device = {.type = "rtc", .kvm_ring_fd = -1};
    struct ringd_client *client;
    struct ringd_remote *remote;
    accesses_wanted = 3;
    for (unsigned i = 0; i < SLOTS; i++)
        assert_non_null(fake.seen[i] = calloc(accesses_wanted, 1));
    fake.slow = true;
    start_fake();
    assert_int_equal(ringd_client_create(&config, &client), 0);
    assert_int_equal(ringd_client_add(client, &device, &remote), 0);
    __atomic_store_n(&fake.mute, true, __ATOMIC_RELEASE);
    sleep_ms(20); /* it may be behind its look at that */
    assert_int_equal(ringd_client_write(remote, 2, 0, 0, 1, 2u << 24 | 0), -ETIMEDOUT);
    assert_int_equal(ringd_client_write(remote, 2, 1, 3, 2, 2u << 24 | 1), -ETIMEDOUT); /* at once */
    __atomic_store_n(&fake.mute, false, __ATOMIC_RELEASE);
    for (uint64_t end = clock_ns() + 10000000000u; __atomic_load_n(&client->mailbox->pending, __ATOMIC_RELAXED);) {
        assert_true(clock_ns() < end);
        sleep_ms(1);
    }
    assert_int_equal(ringd_client_write(remote, 2, 2, 6, 3, 2u << 24 | 2), 0);
    struct ringd_client_counts counts;
    ringd_client_counts(client, &counts);
    ringd_client_destroy(client);
    end_fake();
    assert_int_equal(counts.outages, 1);
    assert_int_equal(counts.writes_dropped, 2);
    assert_int_equal(counts.in_doubt, 0);
    assert_int_equal(fake.executed[2], 1);
    assert_int_equal(fake.torn, 0);
    for (unsigned i = 0; i < SLOTS; i++)
        free(fake.seen[i]);
}

/* ---- a daemon that takes connections and says nothing ---- */

/* Whoever connects now waits for it. */
static void fill_backlog(int fillers[BACKLOG + 1])
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    for (unsigned i = 0; i <= BACKLOG; i++) {
        fillers[i] = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        assert_int_equal(connect(fillers[i], (const void *)&address, sizeof(address)), 0);
    }
}

static void empty_backlog(const int fillers[BACKLOG + 1])
{
    for (unsigned i = 0; i <= BACKLOG; i++)
        close(fillers[i]);
}

static void mute_from_the_start(bool full)
{
    int fillers[BACKLOG + 1];
    if (full)
        fill_backlog(fillers);
    struct ringd_client_config config = {.path = path, .wait_ns = 300000000};
    struct ringd_client *client;
    uint64_t start = clock_ns();
    assert_int_equal(ringd_client_create(&config, &client), -ENOTCONN); /* nobody accepts */
    assert_true(clock_ns() - start >= 300000000u && clock_ns() - start < 2000000000u);
    if (full)
        empty_backlog(fillers);
}

static void test_mute_from_the_start(void **unused)
{
    (void)unused;
    mute_from_the_start(false);
}

static void test_full_from_the_start(void **unused)
{
    (void)unused;
    mute_from_the_start(true);
}

/* One deadline for a request, though it is asked again of whoever takes the connection. */
static void mute_later(bool full)
{
    int fillers[BACKLOG + 1];
    struct ringd_client_config config = {.path = path, .wait_ns = 300000000};
    struct ringd_client_device device = {.type = "rtc", .kvm_ring_fd = -1};
    struct ringd_client *client;
    struct ringd_remote *remote;
    uint64_t value;
    start_fake();
    assert_int_equal(ringd_client_create(&config, &client), 0);
    assert_int_equal(ringd_client_add(client, &device, &remote), 0);
    __atomic_store_n(&fake.mute, true, __ATOMIC_RELEASE);
    sleep_ms(20);
    if (full)
        fill_backlog(fillers);
    uint64_t start = clock_ns();
    assert_int_equal(ringd_client_drain(client), -ETIMEDOUT);
    assert_true(clock_ns() - start >= 300000000u && clock_ns() - start < 2000000000u);
    start = clock_ns();
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(ringd_client_drain(client), -ETIMEDOUT);
    assert_int_equal(ringd_client_read(remote, 0, 0, 0, 1, &value), -ETIMEDOUT);
    assert_true(clock_ns() - start < 1000000000u); /* at once, but for a tenth of a second to see whether it is back */
    if (full)
        empty_backlog(fillers);
    __atomic_store_n(&fake.mute, false, __ATOMIC_RELEASE);
    for (start = clock_ns(); ringd_client_drain(client) && clock_ns() - start < 10000000000u;)
        sleep_ms(5);
    assert_int_equal(ringd_client_drain(client), 0);
    struct ringd_client_counts counts;
    ringd_client_counts(client, &counts);
    assert_int_equal(counts.outages, 1);
    assert_int_equal(counts.reads_unanswered, 1);
    ringd_client_destroy(client);
    end_fake();
}

static void test_mute_later(void **unused)
{
    (void)unused;
    mute_later(false);
}

static void test_full_later(void **unused)
{
    (void)unused;
    mute_later(true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_given_up, setup_fake, teardown_fake),
        cmocka_unit_test_setup_teardown(test_given_up_while_daemons_die, setup_fake, teardown_fake),
        cmocka_unit_test_setup_teardown(test_doubts_of_one, setup_fake, teardown_fake),
        cmocka_unit_test_setup_teardown(test_back_without_an_answer, setup_fake, teardown_fake),
        cmocka_unit_test_setup_teardown(test_mute_from_the_start, setup_fake, teardown_fake),
        cmocka_unit_test_setup_teardown(test_full_from_the_start, setup_fake, teardown_fake),
        cmocka_unit_test_setup_teardown(test_mute_later, setup_fake, teardown_fake),
        cmocka_unit_test_setup_teardown(test_full_later, setup_fake, teardown_fake),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
