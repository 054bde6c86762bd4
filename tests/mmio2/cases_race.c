/* SPDX-License-Identifier: BSD-2-Clause */
/* Several threads at once: vCPUs on one ring and on two; calls against each other, and against a guest that writes. */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "device.h"
#include "suite.h"

/* ---- guests that stream ---- */

/* Writes EAX, which counts up, ECX times to the port in DX. */
GUEST_ASM(stream, "1: outl %eax, %dx\nincl %eax\ndecl %ecx\njnz 1b\n" GUEST_ASM_END);

#define VCPU_SHIFT 28 /* a value: the vCPU above, its running number below */

/* What has arrived by a ring and by exits, in the order of arrival. */
struct collector {
    pthread_mutex_t lock;
    struct kvm_coalesced_mmio_ring *ring;
    int fd;
    uint64_t port;
    uint32_t next[GUEST_MAX_VCPUS];
    unsigned recorded, exits;
    bool stop;
};

static void collector_open(struct collector *c, int vm, uint64_t port)
{
    struct buffer buffer;
    buffer_open(&buffer, vm);
    *c = (struct collector){.ring = buffer.ring, .fd = buffer.fd, .port = port};
    CHECK_EQ(pthread_mutex_init(&c->lock, NULL), 0);
    CHECK_EQ(mmio2_register(vm, c->fd, true, port, 4), 0);
}

static void collector_close(struct collector *c)
{
    struct buffer buffer = {.fd = c->fd, .ring = c->ring};
    buffer_close(&buffer);
}

static void collect(struct collector *c, const struct guest_write *write)
{
    uint32_t vcpu = (uint32_t)write->value >> VCPU_SHIFT;
    suite_context("port 0x%llx, value 0x%llx", (unsigned long long)write->addr, (unsigned long long)write->value);
    CHECK(write->pio && write->addr == c->port && write->width == 4);
    CHECK(vcpu < GUEST_MAX_VCPUS);
    CHECK_EQ((uint32_t)write->value & ((1u << VCPU_SHIFT) - 1), c->next[vcpu]);
    c->next[vcpu]++;
}

/* With the lock held. */
static void collect_ring(struct collector *c)
{
    for (; ring_held(c->ring); c->recorded++) {
        struct guest_write write = ring_take(c->ring);
        collect(c, &write);
    }
}

static void *consume(void *arg)
{
    struct collector *c = arg;
    struct pollfd state = {.fd = c->fd, .events = POLLIN};
    while (!__atomic_load_n(&c->stop, __ATOMIC_ACQUIRE)) {
        CHECK(poll(&state, 1, 20) >= 0);
        pthread_mutex_lock(&c->lock);
        collect_ring(c);
        pthread_mutex_unlock(&c->lock);
    }
    return NULL;
}

struct streamer {
    struct guest *guest;
    unsigned vcpu;
    struct collector *collector;
    uint32_t count;
};

static void *run_stream(void *arg)
{
    struct streamer *s = arg;
    struct collector *c = s->collector;
    struct kvm_regs regs = {.rax = s->vcpu << VCPU_SHIFT, .rcx = s->count, .rdx = c->port};
    guest_load(s->guest, s->vcpu, stream, (size_t)(stream_end - stream), &regs);
    for (struct guest_exit exit; !(exit = guest_run(&s->guest->vcpus[s->vcpu])).end;) {
        pthread_mutex_lock(&c->lock);
        collect_ring(c); /* what was written before the exit's write */
        collect(c, &exit.write);
        c->exits++;
        pthread_mutex_unlock(&c->lock);
    }
    return NULL;
}

#define STREAM 12000u

static void stream_from(unsigned vcpus, unsigned rings)
{
    struct guest guest;
    struct collector collectors[2];
    struct streamer streamers[2];
    pthread_t vcpu_threads[2], consumers[2];
    guest_create(&guest, vcpus);
    for (unsigned i = 0; i < rings; i++) {
        collector_open(&collectors[i], guest.vm, i ? PORT2 : PORT);
        CHECK_EQ(pthread_create(&consumers[i], NULL, consume, &collectors[i]), 0);
    }
    for (unsigned i = 0; i < vcpus; i++) {
        streamers[i] = (struct streamer){&guest, i, &collectors[i % rings], STREAM};
        CHECK_EQ(pthread_create(&vcpu_threads[i], NULL, run_stream, &streamers[i]), 0);
    }
    for (unsigned i = 0; i < vcpus; i++)
        CHECK_EQ(pthread_join(vcpu_threads[i], NULL), 0);
    unsigned exits = 0, total = 0;
    for (unsigned i = 0; i < rings; i++) {
        __atomic_store_n(&collectors[i].stop, true, __ATOMIC_RELEASE);
        CHECK_EQ(pthread_join(consumers[i], NULL), 0);
        collect_ring(&collectors[i]);
        exits += collectors[i].exits;
        total += collectors[i].recorded + collectors[i].exits;
        for (unsigned v = 0; v < vcpus; v++)
            CHECK_EQ(collectors[i].next[v], v % rings == i ? STREAM : 0);
        collector_close(&collectors[i]);
    }
    CHECK_EQ(total, vcpus * STREAM);
    suite_note("%u writes, %u of them exits", total, exits);
    guest_destroy(&guest);
}

static void one_vcpu(void)
{
    stream_from(1, 1);
}

static void two_vcpus_one_ring(void)
{
    stream_from(2, 1);
}

static void two_vcpus_two_rings(void)
{
    stream_from(2, 2);
}

/* ---- calls against a guest that writes ---- */

struct churn {
    struct guest *guest;
    struct collector *collector;
    unsigned rounds;
    bool stop;
};

static void against_stream(void *(*thread)(void *), unsigned least_rounds)
{
    struct guest guest;
    struct collector collector;
    pthread_t churner;
    unsigned writes = 0, exits = 0;
    guest_create(&guest, 1);
    collector_open(&collector, guest.vm, PORT);
    struct churn churn = {.guest = &guest, .collector = &collector};
    CHECK_EQ(pthread_create(&churner, NULL, thread, &churn), 0);
    int64_t end = suite_now() + 1000 * suite_slow();
    while (suite_now() < end || __atomic_load_n(&churn.rounds, __ATOMIC_RELAXED) < least_rounds) {
        struct streamer streamer = {&guest, 0, &collector, 1000};
        collector.next[0] = 0;
        run_stream(&streamer);
        pthread_mutex_lock(&collector.lock);
        collect_ring(&collector);
        CHECK_EQ(collector.next[0], 1000);
        pthread_mutex_unlock(&collector.lock);
        writes += 1000;
    }
    exits = collector.exits;
    __atomic_store_n(&churn.stop, true, __ATOMIC_RELEASE);
    CHECK_EQ(pthread_join(churner, NULL), 0);
    suite_note("%u writes, %u of them exits; %u rounds", writes, exits, churn.rounds);
    collector_close(&collector);
    guest_destroy(&guest);
}

static void *register_and_not(void *arg)
{
    struct churn *churn = arg;
    struct collector *c = churn->collector;
    for (; !__atomic_load_n(&churn->stop, __ATOMIC_ACQUIRE); __atomic_fetch_add(&churn->rounds, 1, __ATOMIC_RELAXED)) {
        CHECK_EQ(mmio2_unregister(churn->guest->vm, (uint32_t)c->fd, true, PORT, 4), 0);
        CHECK_EQ(mmio2_register(churn->guest->vm, c->fd, true, PORT, 4), 0);
    }
    return NULL;
}

/* A write finds the zone or not: it is recorded or exits, and its place in the order is the same. */
static void register_while_writing(void)
{
    against_stream(register_and_not, 20);
}

static void *map_and_not(void *arg)
{
    struct churn *churn = arg;
    struct collector *c = churn->collector;
    for (; !__atomic_load_n(&churn->stop, __ATOMIC_ACQUIRE); __atomic_fetch_add(&churn->rounds, 1, __ATOMIC_RELAXED)) {
        pthread_mutex_lock(&c->lock);
        ring_unmap(c->ring); /* now there is none, and the guest goes on */
        sched_yield();
        c->ring = ring_map(c->fd);
        collect_ring(c);
        pthread_mutex_unlock(&c->lock);
        sched_yield();
    }
    return NULL;
}

static void map_while_writing(void)
{
    against_stream(map_and_not, 20);
}

static void *other_buffers(void *arg)
{
    struct churn *churn = arg;
    for (; !__atomic_load_n(&churn->stop, __ATOMIC_ACQUIRE); __atomic_fetch_add(&churn->rounds, 1, __ATOMIC_RELAXED)) {
        struct buffer other;
        buffer_open(&other, churn->guest->vm);
        CHECK_EQ(mmio2_register(churn->guest->vm, other.fd, true, PORT2, 4), 0);
        CHECK_EQ(mmio2_register(churn->guest->vm, other.fd, true, PORT, 4), -EEXIST);
        buffer_close(&other);
    }
    return NULL;
}

/* Other buffers come and go beside the one that is written to. */
static void buffers_while_writing(void)
{
    against_stream(other_buffers, 20);
}

static void *open_and_close(void *arg)
{
    struct churn *churn = arg;
    for (; !__atomic_load_n(&churn->stop, __ATOMIC_ACQUIRE); __atomic_fetch_add(&churn->rounds, 1, __ATOMIC_RELAXED)) {
        struct buffer buffer;
        buffer_open(&buffer, churn->guest->vm);
        CHECK_EQ(mmio2_register(churn->guest->vm, buffer.fd, true, PORT, 4), 0);
        usleep(churn->rounds % 3 * 100);
        buffer_close(&buffer);
    }
    return NULL;
}

/*
 * The very buffer that is written to ends, ring and all. What it held is gone with it, as its owner wished; the other
 * writes are exits, in their order.
 */
static void close_while_writing(void)
{
    struct guest guest;
    pthread_t thread;
    unsigned writes = 0, exits = 0;
    guest_create(&guest, 1);
    struct churn churn = {.guest = &guest};
    CHECK_EQ(pthread_create(&thread, NULL, open_and_close, &churn), 0);
    int64_t end = suite_now() + 1000 * suite_slow();
    while (suite_now() < end || __atomic_load_n(&churn.rounds, __ATOMIC_RELAXED) < 20) {
        struct kvm_regs regs = {.rcx = 1000, .rdx = PORT};
        uint64_t next = 0;
        guest_load(&guest, 0, stream, (size_t)(stream_end - stream), &regs);
        for (struct guest_exit exit; !(exit = guest_run(&guest.vcpus[0])).end; exits++) {
            CHECK(exit.is_write && exit.write.addr == PORT && exit.write.width == 4);
            CHECK(exit.write.value >= next && exit.write.value < 1000);
            next = exit.write.value + 1;
        }
        writes += 1000;
    }
    __atomic_store_n(&churn.stop, true, __ATOMIC_RELEASE);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    check_exits(&guest, true, 1);
    suite_note("%u writes, %u of them exits; %u rounds", writes, exits, churn.rounds);
    guest_destroy(&guest);
}

/* ---- calls against one another ---- */

#define PAIR_ROUNDS 60u

/* Two threads that do something at the same moment. */
struct pair {
    pthread_barrier_t start;
    struct device device;
    struct buffer other;
    void *results[2];
};

struct half {
    struct pair *pair;
    unsigned index;
    void (*act)(struct pair *pair, unsigned index);
};

static void *run_half(void *arg)
{
    struct half *half = arg;
    pthread_barrier_wait(&half->pair->start);
    half->act(half->pair, half->index);
    return NULL;
}

static void at_once(struct pair *pair, void (*first)(struct pair *, unsigned), void (*second)(struct pair *, unsigned))
{
    struct half halves[2] = {{pair, 0, first}, {pair, 1, second}};
    pthread_t thread;
    CHECK_EQ(pthread_barrier_init(&pair->start, NULL, 2), 0);
    CHECK_EQ(pthread_create(&thread, NULL, run_half, &halves[0]), 0);
    run_half(&halves[1]);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    CHECK_EQ(pthread_barrier_destroy(&pair->start), 0);
}

static void end_vm(struct pair *pair, unsigned index)
{
    (void)index;
    device_close_vm(&pair->device);
}

static void end_buffer(struct pair *pair, unsigned index)
{
    (void)index;
    buffer_close(&pair->device.buffer);
}

/* VM and buffer end at the same time. */
static void both_end(void)
{
    for (unsigned i = 0; i < PAIR_ROUNDS; i++) {
        struct pair pair;
        device_open(&pair.device);
        buffer_open(&pair.other, pair.device.guest.vm);
        CHECK_EQ(mmio2_register(pair.device.guest.vm, pair.other.fd, true, PORT2, 4), 0);
        at_once(&pair, end_vm, end_buffer);
        buffer_close(&pair.other);
    }
}

static void poll_ends(struct pair *pair, unsigned index)
{
    struct pollfd state = {.fd = pair->device.buffer.fd, .events = POLLIN};
    (void)index;
    while (!(state.revents & POLLHUP))
        CHECK(poll(&state, 1, 6000 * (int)suite_slow()) == 1);
}

/* The VM ends while somebody is on the way to sleep: told at once, asleep or not yet. */
static void end_while_polled(void)
{
    int64_t worst = 0;
    for (unsigned i = 0; i < PAIR_ROUNDS; i++) {
        struct pair pair;
        device_open(&pair.device);
        int64_t start = suite_now();
        at_once(&pair, end_vm, poll_ends);
        int64_t took = suite_now() - start;
        worst = took > worst ? took : worst;
        CHECK(took < 3000 * suite_slow());
        buffer_close(&pair.device.buffer);
    }
    suite_note("slowest %lld ms", (long long)worst);
}

static void map_first(struct pair *pair, unsigned index)
{
    pair->results[index] = ring_map(pair->other.fd);
}

/* Two first mappings of a buffer: one ring. */
static void first_mappings(void)
{
    struct pair pair;
    device_open(&pair.device);
    for (unsigned i = 0; i < PAIR_ROUNDS; i++) {
        pair.other = (struct buffer){.fd = mmio2_create(pair.device.guest.vm)};
        at_once(&pair, map_first, map_first);
        struct kvm_coalesced_mmio_ring *one = pair.results[0], *two = pair.results[1];
        CHECK_EQ(mmio2_register(pair.device.guest.vm, pair.other.fd, true, PORT2, 4), 0);
        const struct guest_write write = {true, PORT2, 4, i};
        load_list(&pair.device.guest, 0, &write, 1);
        CHECK(guest_run(&pair.device.guest.vcpus[0]).end);
        CHECK_EQ(ring_held(one), 1);
        CHECK_EQ(ring_held(two), 1);
        ring_take(one);
        CHECK_EQ(ring_held(two), 0);
        ring_unmap(one);
        ring_unmap(two);
        CHECK_EQ(close(pair.other.fd), 0);
    }
    device_close(&pair.device);
}

static void claim(struct pair *pair, unsigned index)
{
    int fd = index ? pair->other.fd : pair->device.buffer.fd;
    pair->results[index] = (void *)(intptr_t)mmio2_register(pair->device.guest.vm, fd, true, PORT2, 4);
}

/* Two buffers want the same place: exactly one gets it. */
static void same_place(void)
{
    struct pair pair;
    device_open(&pair.device);
    buffer_open(&pair.other, pair.device.guest.vm);
    for (unsigned i = 0; i < PAIR_ROUNDS; i++) {
        at_once(&pair, claim, claim);
        int results[2] = {(int)(intptr_t)pair.results[0], (int)(intptr_t)pair.results[1]};
        CHECK_EQ(results[0] + results[1], -EEXIST);
        CHECK(results[0] == 0 || results[1] == 0);
        CHECK_EQ(mmio2_unregister(pair.device.guest.vm, NOBODY, true, PORT2, 4), 0);
    }
    buffer_close(&pair.other);
    device_close(&pair.device);
}

/* ---- close() against CREATE ---- */

struct closer {
    int fd;
    bool stop, closed;
};

/* Closes the number that the next buffer will get, as soon as it is there. */
static void *close_early(void *arg)
{
    struct closer *c = arg;
    while (!__atomic_load_n(&c->stop, __ATOMIC_ACQUIRE)) {
        if (!close(c->fd)) {
            c->closed = true;
            break;
        }
        sched_yield();
    }
    return NULL;
}

static void close_during_create(void)
{
    struct device d;
    unsigned closed = 0;
    device_open(&d);
    for (unsigned i = 0; i < 200; i++) {
        pthread_t thread;
        int next = dup(0);
        CHECK_EQ(close(next), 0);
        struct closer closer = {.fd = next};
        CHECK_EQ(pthread_create(&thread, NULL, close_early, &closer), 0);
        if (i % 2)
            usleep(200); /* let it get into its loop */
        CHECK_EQ(mmio2_create(d.guest.vm), next);
        if (i % 4 < 2)
            usleep(200);
        __atomic_store_n(&closer.stop, true, __ATOMIC_RELEASE);
        CHECK_EQ(pthread_join(thread, NULL), 0);
        closed += closer.closed;
        CHECK_EQ(close(next), closer.closed ? -1 : 0);
    }
    CHECK(closed > 0); /* else nothing was raced */
    suite_note("%u of 200 closed by the other thread", closed);
    check_recorded(&d.guest, d.buffer.ring, true, 1);
    device_close(&d);
}

const struct suite_case cases_race[] = {
    {"race/one-vcpu", one_vcpu, 60},
    {"race/two-vcpus-one-ring", two_vcpus_one_ring, 60},
    {"race/two-vcpus-two-rings", two_vcpus_two_rings, 60},
    {"race/register-while-writing", register_while_writing, 60},
    {"race/map-while-writing", map_while_writing, 60},
    {"race/buffers-while-writing", buffers_while_writing, 60},
    {"race/close-while-writing", close_while_writing, 60},
    {"race/both-end", both_end, 60},
    {"race/end-while-polled", end_while_polled, 60},
    {"race/first-mappings", first_mappings, 60},
    {"race/same-place", same_place, 60},
    {"race/close-during-create", close_during_create, 60},
    {NULL, NULL, 0},
};
