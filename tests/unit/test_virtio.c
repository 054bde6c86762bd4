/* SPDX-License-Identifier: BSD-2-Clause */
/* The transport and the queues, driven through the entropy device: it answers each buffer at once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>

#include <ringd/models/pci_msix.h>
#include <ringd/models/virtio_rng.h>

#include "devices/pci_registers.h"
#include "virtio_driver.h"

static struct driver driver;
static size_t at_most; /* what the host has of randomness */

static size_t counted(void *ctx, void *to, size_t bytes)
{
    (void)ctx;
    bytes = bytes < at_most ? bytes : at_most;
    memset(to, 0xa5, bytes);
    at_most -= bytes;
    return bytes;
}

static int setup(void **state)
{
    const struct virtio_rng_config config = {.random = counted};
    (void)state;
    at_most = SIZE_MAX;
    driver.size = 8;
    return fake_env_create(&driver.fake, &virtio_rng_ops, &config, MEMORY);
}

static int teardown(void **state)
{
    (void)state;
    fake_env_destroy(&driver.fake);
    return 0;
}

static uint64_t counter(const char *name)
{
    return fake_counter(&driver.fake, name);
}

/* Nothing more happens, and the driver is told. */
static void assert_broken(void)
{
    unsigned interrupts = (unsigned)counter("interrupts");
    assert_true(driver_status(&driver) & VIRTIO_STATUS_NEEDS_RESET);
    (void)returned(&driver, 0, NULL, NULL);
    describe(&driver, 0, 0, BUFFERS, 16, D_WRITE, 0);
    offer(&driver, 0, 0);
    notify(&driver, 0);
    assert_int_equal(returned(&driver, 0, NULL, NULL), 0);
    assert_int_equal(counter("interrupts"), interrupts);
}

static void registers(void **state)
{
    struct driver *d = &driver;
    (void)state;
    assert_int_equal(common_read(d, 18, 2), 1);
    assert_int_equal(common_read(d, 24, 2), VIRTIO_QUEUE_SIZE_MAX);
    assert_int_equal(common_read(d, 16, 2), VIRTIO_NO_VECTOR);
    assert_int_equal(common_read(d, 26, 2), VIRTIO_NO_VECTOR);
    common_write(d, 0, 4, 1);
    assert_int_equal(common_read(d, 4, 4), 1); /* VERSION_1 */
    common_write(d, 0, 4, 2);
    assert_int_equal(common_read(d, 4, 4), 0);
    common_write(d, 22, 2, 1); /* a queue that is not there */
    assert_int_equal(common_read(d, 24, 2), 0);
    common_write(d, 28, 2, 1);
    assert_int_equal(common_read(d, 28, 2), 0);
    common_write(d, 22, 2, 0);
    /* Sizes: powers of two up to the most. */
    const unsigned bad[] = {0, 3, 512, 257, 0x8000};
    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        common_write(d, 24, 2, bad[i]);
        assert_int_equal(common_read(d, 24, 2), VIRTIO_QUEUE_SIZE_MAX);
    }
    common_write(d, 24, 2, 16);
    assert_int_equal(common_read(d, 24, 2), 16);
    /* Vectors: those that are there. */
    common_write(d, 26, 2, 1);
    assert_int_equal(common_read(d, 26, 2), 1);
    common_write(d, 26, 2, 2);
    assert_int_equal(common_read(d, 26, 2), VIRTIO_NO_VECTOR);
    common_write(d, 16, 2, 7);
    assert_int_equal(common_read(d, 16, 2), VIRTIO_NO_VECTOR);
    /* 64-bit fields by halves, which do not disturb each other. */
    for (unsigned at = 32; at < 56; at += 8) {
        common_write(d, at, 4, 0x11110000 + at);
        common_write(d, at + 4, 4, 0x2222);
        assert_int_equal(common_read(d, at, 4), 0x11110000 + at);
        assert_int_equal(common_read(d, at + 4, 4), 0x2222);
    }
    /* What is read-only, or of another width, is ignored. */
    uint64_t ignored = counter("ignored");
    common_write(d, 18, 2, 5);
    common_write(d, 21, 1, 5);
    common_write(d, 32, 2, 5);
    common_write(d, 34, 4, 5);
    fake_write(&d->fake, VIRTIO_REGION_CONFIG, 0, 4, 5);
    fake_write(&d->fake, VIRTIO_REGION_NOTIFY, 2, 2, 0);
    assert_int_equal(counter("ignored"), ignored + 6);
    assert_int_equal(common_read(d, 18, 2), 1);
    common_write(d, 20, 1, 0);
    assert_int_equal(common_read(d, 32, 4), 0);
    assert_int_equal(common_read(d, 24, 2), VIRTIO_QUEUE_SIZE_MAX);
}

static void negotiation(void **state)
{
    struct driver *d = &driver;
    const unsigned set_up = VIRTIO_STATUS_ACKNOWLEDGE | VIRTIO_STATUS_DRIVER;
    (void)state;
    common_write(d, 20, 1, set_up);
    common_write(d, 20, 1, set_up | VIRTIO_STATUS_FEATURES_OK); /* without VERSION_1 */
    assert_int_equal(driver_status(d), set_up);
    common_write(d, 8, 4, 1);
    common_write(d, 12, 4, 1 | 1u << 9); /* and a bit that was not offered */
    common_write(d, 20, 1, set_up | VIRTIO_STATUS_FEATURES_OK);
    assert_int_equal(driver_status(d), set_up);
    common_write(d, 20, 1, set_up | VIRTIO_STATUS_DRIVER_OK); /* not without FEATURES_OK */
    assert_int_equal(driver_status(d), set_up);
    common_write(d, 12, 4, 1);
    common_write(d, 20, 1, set_up | VIRTIO_STATUS_FEATURES_OK);
    assert_int_equal(driver_status(d), set_up | VIRTIO_STATUS_FEATURES_OK);
    common_write(d, 12, 4, 0); /* too late */
    assert_int_equal(common_read(d, 12, 4), 1);
    common_write(d, 20, 1, VIRTIO_STATUS_ACKNOWLEDGE); /* bits are never taken back */
    assert_int_equal(driver_status(d), set_up | VIRTIO_STATUS_FEATURES_OK);
    common_write(d, 20, 1, set_up | VIRTIO_STATUS_NEEDS_RESET); /* nor is this one the driver's */
    assert_int_equal(driver_status(d), set_up | VIRTIO_STATUS_FEATURES_OK);
    common_write(d, 20, 1, 0);
    assert_int_equal(driver_status(d), 0);
}

static void buffers_and_interrupts(void **state)
{
    struct driver *d = &driver;
    uint32_t head, len;
    (void)state;
    driver_start(d, 1, 0);
    describe(d, 0, 3, BUFFERS, 10, D_WRITE | D_NEXT, 5);
    describe(d, 0, 5, BUFFERS + 100, 20, D_WRITE, 0);
    offer(d, 0, 3);
    assert_int_equal(returned(d, 0, NULL, NULL), 0); /* nobody has said so */
    notify(d, 0);
    assert_int_equal(returned(d, 0, &head, &len), 1);
    assert_int_equal(head, 3);
    assert_int_equal(len, 30);
    assert_int_equal(get(d, BUFFERS + 9, 1), 0xa5);
    assert_int_equal(get(d, BUFFERS + 10, 1), 0);
    assert_int_equal(get(d, BUFFERS + 119, 1), 0xa5);
    assert_int_equal(get(d, BUFFERS + 120, 1), 0);
    /* The pin with its reason, and the queue's vector. */
    assert_true(d->fake.irq[0]);
    assert_int_equal(d->fake.edges[2], 1);
    assert_int_equal(d->fake.edges[1], 0);
    assert_int_equal(fake_read(&d->fake, VIRTIO_REGION_ISR, 0, 1), VIRTIO_ISR_QUEUE);
    assert_false(d->fake.irq[0]);
    assert_int_equal(fake_read(&d->fake, VIRTIO_REGION_ISR, 0, 1), 0);
    /* The driver does not want one. */
    put(d, queue_at(0) + AVAIL_AT, 1, 2);
    offer(d, 0, 3);
    notify(d, 0);
    assert_int_equal(returned(d, 0, NULL, NULL), 1);
    assert_int_equal(d->fake.edges[2], 1);
    assert_false(d->fake.irq[0]);
    assert_int_equal(counter("suppressed"), 1);
    notify(d, 0); /* for nothing */
    assert_int_equal(counter("suppressed"), 1);
    /* What the host does not have comes back short. */
    at_most = 7;
    offer(d, 0, 3);
    notify(d, 0);
    assert_int_equal(returned(d, 0, NULL, &len), 1);
    assert_int_equal(len, 7);
}

/* Indices are 16 bits and go round, the ring is 8 entries and goes round more often. */
static void indices_wrap(void **state)
{
    struct driver *d = &driver;
    (void)state;
    driver_start(d, 1, VIRTIO_F_EVENT_IDX);
    describe(d, 0, 0, BUFFERS, 4, D_WRITE, 0);
    for (unsigned i = 0; i < 0x10000 + 100; i += 4) {
        for (unsigned j = 0; j < 4; j++)
            offer(d, 0, 0);
        notify(d, 0);
        assert_int_equal(returned(d, 0, NULL, NULL), 4);
        /* The device asks to be told of the next one. */
        assert_int_equal(get(d, queue_at(0) + USED_AT + 4 + 8u * d->size, 2), d->avail[0]);
    }
}

static void event_index(void **state)
{
    struct driver *d = &driver;
    uint32_t used_event = queue_at(0) + AVAIL_AT + 4 + 2u * d->size;
    (void)state;
    driver_start(d, 1, VIRTIO_F_EVENT_IDX);
    describe(d, 0, 0, BUFFERS, 4, D_WRITE, 0);
    put(d, used_event, 3, 2); /* "when entry 3 has been used" */
    for (unsigned i = 0; i < 3; i++) {
        offer(d, 0, 0);
        notify(d, 0);
    }
    assert_int_equal(d->fake.edges[2], 0);
    offer(d, 0, 0);
    notify(d, 0);
    assert_int_equal(d->fake.edges[2], 1);
    offer(d, 0, 0);
    notify(d, 0);
    assert_int_equal(d->fake.edges[2], 1); /* not again */
    put(d, used_event, 6, 2);
    for (unsigned i = 0; i < 3; i++)
        offer(d, 0, 0);
    notify(d, 0); /* entries 5, 6 and 7 at one go, past the wish */
    assert_int_equal(d->fake.edges[2], 2);
    put(d, queue_at(0) + AVAIL_AT, 1, 2); /* the flag means nothing then */
    put(d, used_event, 8, 2);
    offer(d, 0, 0);
    notify(d, 0);
    assert_int_equal(d->fake.edges[2], 3);
}

static void indirect(void **state)
{
    struct driver *d = &driver;
    uint32_t len, table = queue_at(0) + TABLE_AT;
    (void)state;
    driver_start(d, 1, VIRTIO_F_INDIRECT_DESC);
    describe_in(d, table, 0, BUFFERS, 4, D_WRITE | D_NEXT, 2);
    describe_in(d, table, 2, BUFFERS + 8, 4, D_WRITE | D_NEXT, 1);
    describe_in(d, table, 1, BUFFERS + 16, 4, D_WRITE, 0);
    describe(d, 0, 4, table, 48, D_INDIRECT, 0);
    offer(d, 0, 4);
    notify(d, 0);
    assert_int_equal(returned(d, 0, NULL, &len), 1);
    assert_int_equal(len, 12);
    /* Behind ordinary ones, as 2.7.5.3.2 allows. */
    describe(d, 0, 2, BUFFERS + 32, 5, D_WRITE | D_NEXT, 4);
    offer(d, 0, 2);
    notify(d, 0);
    assert_int_equal(returned(d, 0, NULL, &len), 1);
    assert_int_equal(len, 17);
    assert_int_equal(counter("faults"), 0);
}

/* Each thing that a driver must not do with descriptors, by itself. */
enum wrong {
    LOOP,
    SELF_LOOP,
    NEXT_OUTSIDE,
    HEAD_OUTSIDE,
    INDEX_TOO_FAR,
    INDEX_BACK,
    NO_MEMORY,
    OVER_THE_END,
    WRAPPING_ADDRESS,
    READABLE_AFTER_WRITABLE,
    INDIRECT_UNNEGOTIATED,
    INDIRECT_IN_INDIRECT,
    INDIRECT_AND_NEXT,
    INDIRECT_ODD,
    INDIRECT_EMPTY,
    INDIRECT_NO_MEMORY,
    INDIRECT_TOO_LONG,
    INDIRECT_LOOP,
    TOO_MANY_BYTES,
    WRONGS,
};

static void do_wrong(struct driver *d, enum wrong wrong)
{
    uint32_t table = queue_at(0) + TABLE_AT;
    uint16_t head = 0;
    describe(d, 0, 0, BUFFERS, 16, D_WRITE, 0);
    describe(d, 0, 1, table, 32, D_INDIRECT, 0);
    describe_in(d, table, 0, BUFFERS, 16, D_WRITE, 0);
    switch (wrong) {
    case LOOP:
        describe(d, 0, 0, BUFFERS, 16, D_WRITE | D_NEXT, 2);
        describe(d, 0, 2, BUFFERS, 16, D_WRITE | D_NEXT, 0);
        break;
    case SELF_LOOP:
        describe(d, 0, 0, BUFFERS, 0, D_WRITE | D_NEXT, 0);
        break;
    case NEXT_OUTSIDE:
        describe(d, 0, 0, BUFFERS, 16, D_WRITE | D_NEXT, d->size);
        break;
    case HEAD_OUTSIDE:
        head = d->size;
        break;
    case INDEX_TOO_FAR:
        d->avail[0] = d->size;
        break;
    case INDEX_BACK:
        d->avail[0] = 0xfffe;
        break;
    case NO_MEMORY:
        describe(d, 0, 0, MEMORY, 16, D_WRITE, 0);
        break;
    case OVER_THE_END:
        describe(d, 0, 0, MEMORY - 8, 16, D_WRITE, 0);
        break;
    case WRAPPING_ADDRESS:
        describe(d, 0, 0, UINT64_MAX - 7, 16, D_WRITE, 0);
        break;
    case READABLE_AFTER_WRITABLE:
        describe(d, 0, 0, BUFFERS, 16, D_WRITE | D_NEXT, 2);
        describe(d, 0, 2, BUFFERS, 16, 0, 0);
        break;
    case INDIRECT_UNNEGOTIATED:
        driver_start(d, 1, 0);
        do_wrong(d, INDIRECT_IN_INDIRECT);
        return;
    case INDIRECT_IN_INDIRECT:
        describe_in(d, table, 0, table, 16, D_INDIRECT, 0);
        head = 1;
        break;
    case INDIRECT_AND_NEXT:
        describe(d, 0, 1, table, 32, D_INDIRECT | D_NEXT, 0);
        head = 1;
        break;
    case INDIRECT_ODD:
        describe(d, 0, 1, table, 24, D_INDIRECT, 0);
        head = 1;
        break;
    case INDIRECT_EMPTY:
        describe(d, 0, 1, table, 0, D_INDIRECT, 0);
        head = 1;
        break;
    case INDIRECT_NO_MEMORY:
        describe(d, 0, 1, MEMORY, 32, D_INDIRECT, 0);
        head = 1;
        break;
    case INDIRECT_TOO_LONG:
        describe(d, 0, 1, table, 16 * (VIRTIO_SEGMENTS_MAX + 1), D_INDIRECT, 0);
        head = 1;
        break;
    case INDIRECT_LOOP:
        describe_in(d, table, 0, BUFFERS, 16, D_WRITE | D_NEXT, 1);
        describe_in(d, table, 1, BUFFERS, 16, D_WRITE | D_NEXT, 0);
        head = 1;
        break;
    case TOO_MANY_BYTES: /* cannot be had in memory of 1 MiB; one that is too long for it stands in */
        describe(d, 0, 0, 0, UINT32_MAX, D_WRITE, 0);
        break;
    case WRONGS:
        break;
    }
    offer(d, 0, head);
}

static void wrongs(void **state)
{
    struct driver *d = &driver;
    (void)state;
    for (enum wrong wrong = 0; wrong < WRONGS; wrong++) {
        driver_start(d, 1, VIRTIO_F_INDIRECT_DESC);
        unsigned config_edges = d->fake.edges[1];
        do_wrong(d, wrong);
        notify(d, 0);
        if (!(driver_status(d) & VIRTIO_STATUS_NEEDS_RESET))
            fail_msg("wrong %d was taken", wrong);
        assert_int_equal(d->fake.edges[1], config_edges + 1);
        assert_int_equal(fake_read(&d->fake, VIRTIO_REGION_ISR, 0, 1), VIRTIO_ISR_CONFIG);
        assert_int_equal(returned(d, 0, NULL, NULL), 0);
        assert_broken();
    }
    assert_int_equal(counter("faults"), WRONGS);
    driver_start(d, 1, 0); /* and then it works again */
    describe(d, 0, 0, BUFFERS, 16, D_WRITE, 0);
    offer(d, 0, 0);
    notify(d, 0);
    assert_int_equal(returned(d, 0, NULL, NULL), 1);
}

/* Queues where there is no memory, or at odd addresses. */
static void misplaced(void **state)
{
    static const struct {
        unsigned offset;
        uint64_t value;
    } cases[] = {{32, MEMORY - 64}, {32, QUEUES + 8}, {40, MEMORY - 8}, {40, QUEUES + 1},
                 {48, MEMORY - 8},  {48, QUEUES + 2}, {36, 1},          {44, 0xffffffff}};
    struct driver *d = &driver;
    (void)state;
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        driver_start(d, 0, 0);
        common_write(d, 20, 1, 0);
        common_write(d, 24, 2, d->size);
        common_write(d, 32, 4, QUEUES);
        common_write(d, 40, 4, QUEUES + AVAIL_AT);
        common_write(d, 48, 4, QUEUES + USED_AT);
        common_write(d, cases[i].offset, 4, cases[i].value);
        common_write(d, 28, 2, 1);
        assert_int_equal(driver_status(d), VIRTIO_STATUS_NEEDS_RESET);
        assert_int_equal(common_read(d, 28, 2), 0);
    }
}

/* One notification does not hold the device for ever: the rest comes by timer. */
static void long_queues_take_turns(void **state)
{
    struct driver *d = &driver;
    (void)state;
    d->size = 256;
    driver_start(d, 1, 0);
    describe(d, 0, 0, BUFFERS, 4, D_WRITE, 0);
    for (unsigned i = 0; i < 100; i++)
        offer(d, 0, 0);
    notify(d, 0);
    assert_int_equal(returned(d, 0, NULL, NULL), VIRTIO_BATCH);
    assert_int_equal(d->fake.deadline[0], d->fake.now);
    assert_true(fake_env_advance(&d->fake, 0));
    assert_int_equal(returned(d, 0, NULL, NULL), 100 - VIRTIO_BATCH);
    assert_int_equal(d->fake.deadline[0], RINGD_NEVER);
    /* A reset takes it back. */
    for (unsigned i = 0; i < 100; i++)
        offer(d, 0, 0);
    notify(d, 0);
    common_write(d, 20, 1, 0);
    assert_int_equal(d->fake.deadline[0], RINGD_NEVER);
}

static void notified_otherwise(void **state)
{
    struct driver *d = &driver;
    unsigned queue = 0, none = 7, in_flight = 9;
    (void)state;
    notify(d, 0); /* before it is ready: nothing */
    driver_start(d, 1, 0);
    describe(d, 0, 0, BUFFERS, 4, D_WRITE, 0);
    offer(d, 0, 0);
    virtio_notify(d->fake.self, &none);
    assert_int_equal(returned(d, 0, NULL, NULL), 0);
    virtio_notify(d->fake.self, &queue);
    assert_int_equal(returned(d, 0, NULL, NULL), 1);
    virtio_in_flight(d->fake.self, &in_flight);
    assert_int_equal(in_flight, 0);
    /* What was offered before DRIVER_OK is served without a notification. */
    common_write(d, 20, 1, 0);
    driver_start(d, 0, 0);
    common_write(d, 20, 1, 0);
    common_write(d, 8, 4, 1);
    common_write(d, 12, 4, 1);
    common_write(d, 20, 1, VIRTIO_STATUS_FEATURES_OK);
    memset(d->avail, 0, sizeof(d->avail));
    memset(d->used, 0, sizeof(d->used));
    memset(d->fake.memory + queue_at(0) + AVAIL_AT, 0, QUEUE_STEP - AVAIL_AT);
    place_queue(d, 0);
    offer(d, 0, 0);
    notify(d, 0);
    assert_int_equal(returned(d, 0, NULL, NULL), 0);
    common_write(d, 20, 1, VIRTIO_STATUS_DRIVER_OK);
    assert_int_equal(returned(d, 0, NULL, NULL), 1);
    /* A machine's reset is a reset. */
    virtio_rng_ops.reset(d->fake.self);
    assert_int_equal(driver_status(d), 0);
    assert_false(d->fake.irq[0]);
    assert_int_equal(common_read(d, 28, 2), 0);
}

/* ---- the function ---- */

static uint32_t find_capability(const struct pci_function *fn, unsigned type)
{
    for (unsigned at = pci_function_read(fn, PCI_CAPABILITY_LIST, 1); at; at = pci_function_read(fn, at + 1, 1))
        if (pci_function_read(fn, at, 1) == 9 && pci_function_read(fn, at + 3, 1) == type)
            return at;
    fail_msg("no capability %u", type);
    return 0;
}

static void function(void **state)
{
    static const struct {
        enum virtio_pci_type type;
        unsigned queues;
        const struct ringd_device_ops *ops;
    } types[] = {{VIRTIO_PCI_BLK, 1, NULL}, {VIRTIO_PCI_CONSOLE, 2, NULL}, {VIRTIO_PCI_RNG, 1, &virtio_rng_ops}};
    static const unsigned offsets[] = {[1] = 0x0000, [2] = 0x3000, [3] = 0x1000, [4] = 0x2000};
    struct pci_function fn;
    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(virtio_pci_function_init(&fn, types[i].type), 0);
        pci_function_attach(&fn, 0x18, NULL);
        assert_int_equal(pci_function_read(&fn, 0, 4), (0x1040u + types[i].type) << 16 | 0x1af4);
        assert_int_equal(pci_function_read(&fn, PCI_REVISION_ID, 1), 1);
        assert_int_equal(pci_function_read(&fn, PCI_INTERRUPT_PIN, 1), 1);
        for (unsigned type = 1; type <= 4; type++) {
            uint32_t at = find_capability(&fn, type);
            assert_int_equal(pci_function_read(&fn, at + 4, 1), VIRTIO_PCI_BAR);
            assert_int_equal(pci_function_read(&fn, at + 8, 4), offsets[type]);
            assert_true(offsets[type] + pci_function_read(&fn, at + 12, 4) <= VIRTIO_PCI_BAR_BYTES);
        }
        assert_int_equal(pci_function_read(&fn, find_capability(&fn, 2) + 16, 4), VIRTIO_PCI_NOTIFY_STEP);
        assert_int_equal(pci_function_read(&fn, fn.msix + PCI_MSIX_CONTROL, 2), types[i].queues);
        assert_int_equal(virtio_pci_queues(types[i].type), types[i].queues);
        assert_int_equal(virtio_pci_vectors(types[i].type), types[i].queues + 1);
        if (types[i].ops)
            assert_int_equal(types[i].ops->irq_count, 1 + virtio_pci_vectors(types[i].type));
    }
    assert_int_equal(virtio_pci_function_init(&fn, (enum virtio_pci_type)1), -EINVAL);
    assert_int_equal(virtio_pci_queues((enum virtio_pci_type)77), 0);
}

struct window_seen {
    unsigned reads, writes, width;
    struct virtio_pci_window window;
};

static void window_accessed(void *ctx, const struct pci_function *fn, bool write, unsigned width)
{
    struct window_seen *seen = ctx;
    *(write ? &seen->writes : &seen->reads) += 1;
    seen->width = width;
    seen->window = virtio_pci_window(fn);
}

static void window(void **state)
{
    struct window_seen seen = {0};
    const struct pci_sink sink = {.ctx = &seen, .window_accessed = window_accessed};
    struct pci_function fn;
    (void)state;
    assert_int_equal(virtio_pci_function_init(&fn, VIRTIO_PCI_RNG), 0);
    pci_function_attach(&fn, 0x18, &sink);
    uint32_t at = find_capability(&fn, 5);
    pci_function_write(&fn, at + 4, 1, 4);
    pci_function_write(&fn, at + 8, 4, 0x1234);
    pci_function_write(&fn, at + 12, 4, 2);
    (void)pci_function_read(&fn, at + 12, 4);
    assert_int_equal(seen.reads + seen.writes, 0);
    pci_function_write(&fn, at + 16, 2, 0xabcd);
    assert_int_equal(seen.writes, 1);
    assert_int_equal(seen.width, 2);
    assert_int_equal(seen.window.bar, 4);
    assert_int_equal(seen.window.offset, 0x1234);
    assert_int_equal(seen.window.length, 2);
    assert_int_equal(seen.window.data, 0xabcd);
    assert_int_equal(pci_function_read(&fn, at + 16, 4), 0xabcd);
    assert_int_equal(seen.reads, 1);
    (void)pci_function_read(&fn, at + 17, 1);
    assert_int_equal(seen.reads, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(registers, setup, teardown),
        cmocka_unit_test_setup_teardown(negotiation, setup, teardown),
        cmocka_unit_test_setup_teardown(buffers_and_interrupts, setup, teardown),
        cmocka_unit_test_setup_teardown(indices_wrap, setup, teardown),
        cmocka_unit_test_setup_teardown(event_index, setup, teardown),
        cmocka_unit_test_setup_teardown(indirect, setup, teardown),
        cmocka_unit_test_setup_teardown(wrongs, setup, teardown),
        cmocka_unit_test_setup_teardown(misplaced, setup, teardown),
        cmocka_unit_test_setup_teardown(long_queues_take_turns, setup, teardown),
        cmocka_unit_test_setup_teardown(notified_otherwise, setup, teardown),
        cmocka_unit_test(function),
        cmocka_unit_test(window),
    };
    return cmocka_run_group_tests_name("virtio", tests, NULL, NULL);
}
