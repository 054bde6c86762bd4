/* SPDX-License-Identifier: BSD-2-Clause */
/* Block device: what a guest asks for, and what a back end gets and answers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>

#include <ringd/models/virtio_blk.h>

#include "virtio_driver.h"

#define SECTORS 1000u
#define HEADER  BUFFERS /* a header of 16 bytes for each head, 32 apart; the status behind it */
#define DATA    (BUFFERS + 0x8000)

#define F_RO           (UINT64_C(1) << 5)
#define F_FLUSH        (UINT64_C(1) << 9)
#define F_DISCARD      (UINT64_C(1) << 13)
#define F_WRITE_ZEROES (UINT64_C(1) << 14)
#define F_ALL          (F_FLUSH | F_DISCARD | F_WRITE_ZEROES)

enum { IN = 0, OUT = 1, FLUSH = 4, GET_ID = 8, DISCARD = 11, ZEROES = 13 };
enum { OK = 0, IOERR = 1, UNSUPP = 2, NONE = 0xff };

static struct driver driver;
static struct virtio_blk_request taken[64];
static unsigned count, begun;
static int refuse; /* what submit() returns */

static int submit(void *ctx, const struct virtio_blk_request *request)
{
    (void)ctx;
    if (refuse)
        return refuse;
    assert_true(count < 64);
    taken[count++] = *request;
    return 0;
}

static void go(void *ctx)
{
    (void)ctx;
    assert_true(count > begun); /* not for nothing */
    begun = count;
}

static int create(bool read_only, bool discard)
{
    const struct virtio_blk_config config = {.bytes = SECTORS * 512 + 100,
                                             .block_size = 4096,
                                             .read_only = read_only,
                                             .discard = discard,
                                             .serial = "0123456789abcdefghij",
                                             .submit = submit,
                                             .go = go};
    count = begun = 0;
    refuse = 0;
    driver.size = 64;
    return fake_env_create(&driver.fake, &virtio_blk_ops, &config, MEMORY);
}

static int setup(void **state)
{
    (void)state;
    return create(false, true);
}

static int setup_read_only(void **state)
{
    (void)state;
    return create(true, true);
}

static int setup_plain(void **state)
{
    (void)state;
    return create(false, false);
}

static int teardown(void **state)
{
    (void)state;
    fake_env_destroy(&driver.fake);
    return 0;
}

static void offer_request(uint16_t head, uint32_t type, uint64_t sector, uint32_t bytes)
{
    struct driver *d = &driver;
    uint32_t at = HEADER + head * 32u;
    bool in = type == IN || type == GET_ID;
    put(d, at, type, 4);
    put(d, at + 4, 0, 4);
    put(d, at + 8, sector, 8);
    put(d, at + 16, NONE, 1);
    describe(d, 0, head, at, 16, D_NEXT, head + 1u);
    if (bytes)
        describe(d, 0, head + 1u, DATA, bytes, (in ? D_WRITE : 0) | D_NEXT, head + 2u);
    describe(d, 0, head + (bytes ? 2u : 1u), at + 16, 1, D_WRITE, 0);
    offer(d, 0, head);
}

static uint8_t status_of(uint16_t head)
{
    return (uint8_t)get(&driver, HEADER + head * 32u + 16, 1);
}

static void complete(unsigned tag, int result)
{
    struct virtio_blk_completions done = {.count = 1, .items = {{tag, result}}};
    virtio_blk_complete(driver.fake.self, &done);
}

/* One request that is over at once; its status. */
static uint8_t at_once(uint32_t type, uint64_t sector, uint32_t bytes)
{
    unsigned before = count;
    offer_request(0, type, sector, bytes);
    notify(&driver, 0);
    assert_int_equal(count, before);
    assert_int_equal(returned(&driver, 0, NULL, NULL), 1);
    return status_of(0);
}

static void configuration(void **state)
{
    struct fake_env *fake = &driver.fake;
    (void)state;
    assert_int_equal(fake_read(fake, VIRTIO_REGION_CONFIG, 0, 4), SECTORS); /* the odd end is out of reach */
    assert_int_equal(fake_read(fake, VIRTIO_REGION_CONFIG, 4, 4), 0);
    assert_int_equal(fake_read(fake, VIRTIO_REGION_CONFIG, 12, 4), VIRTIO_SEGMENTS_MAX - 2);
    assert_int_equal(fake_read(fake, VIRTIO_REGION_CONFIG, 20, 4), 512);
    assert_int_equal(fake_read(fake, VIRTIO_REGION_CONFIG, 24, 1), 3); /* eight sectors are a block */
    assert_int_equal(fake_read(fake, VIRTIO_REGION_CONFIG, 26, 2), 8);
    assert_int_equal(fake_read(fake, VIRTIO_REGION_CONFIG, 34, 2), 1);
    assert_int_equal(fake_read(fake, VIRTIO_REGION_CONFIG, 36, 4), VIRTIO_BLK_RANGE_MOST / 512);
    assert_int_equal(fake_read(fake, VIRTIO_REGION_CONFIG, 40, 4), 1);
    assert_int_equal(fake_read(fake, VIRTIO_REGION_CONFIG, 56, 1), 1);
    common_write(&driver, 0, 4, 0);
    assert_int_equal(common_read(&driver, 4, 4) & F_RO, 0);
    assert_int_equal(common_read(&driver, 4, 4) & F_ALL, F_ALL);
}

static void reads_and_writes(void **state)
{
    uint32_t head, len;
    (void)state;
    driver_start(&driver, 1, F_ALL);
    offer_request(0, IN, 7, 1024);
    offer_request(4, OUT, SECTORS - 2, 1024);
    notify(&driver, 0);
    assert_int_equal(count, 2);
    assert_int_equal(begun, 2);
    assert_int_equal(taken[0].op, VIRTIO_BLK_READ);
    assert_int_equal(taken[0].offset, 7 * 512);
    assert_int_equal(taken[0].bytes, 1024);
    assert_int_equal(taken[0].segment_count, 1);
    assert_ptr_equal(taken[0].segments[0].base, driver.fake.memory + DATA);
    assert_int_equal(taken[0].segments[0].bytes, 1024);
    assert_int_equal(taken[1].op, VIRTIO_BLK_WRITE);
    assert_int_equal(taken[1].offset, (SECTORS - 2) * 512);
    assert_int_equal(returned(&driver, 0, NULL, NULL), 0);
    complete(taken[1].tag, 0); /* in any order */
    assert_int_equal(returned(&driver, 0, &head, &len), 1);
    assert_int_equal(head, 4);
    assert_int_equal(len, 1);
    assert_int_equal(status_of(4), OK);
    complete(taken[0].tag, 0);
    assert_int_equal(returned(&driver, 0, &head, &len), 1);
    assert_int_equal(head, 0);
    assert_int_equal(len, 1025);
    assert_int_equal(status_of(0), OK);
    complete(taken[0].tag, 0); /* nobody has it any more */
    assert_int_equal(returned(&driver, 0, NULL, NULL), 0);
    static const int errors[] = {-EIO, -ENOSPC, -EOPNOTSUPP};
    for (unsigned i = 0; i < 3; i++) {
        offer_request(0, IN, 0, 512);
        notify(&driver, 0);
        complete(0, errors[i]);
        assert_int_equal(returned(&driver, 0, NULL, &len), 1);
        assert_int_equal(len, 1);
        assert_int_equal(status_of(0), errors[i] == -EOPNOTSUPP ? UNSUPP : IOERR);
    }
}

static void wrong_requests(void **state)
{
    (void)state;
    driver_start(&driver, 1, F_ALL);
    assert_int_equal(at_once(IN, SECTORS, 512), IOERR);
    assert_int_equal(at_once(IN, SECTORS - 1, 1024), IOERR);
    assert_int_equal(at_once(IN, UINT64_MAX, 512), IOERR);
    assert_int_equal(at_once(OUT, UINT64_MAX / 512, 512), IOERR);
    assert_int_equal(at_once(IN, 0, 511), IOERR);
    assert_int_equal(at_once(OUT, 0, 0), IOERR);
    assert_int_equal(at_once(99, 0, 512), UNSUPP);
    refuse = -ENOMEM;
    assert_int_equal(at_once(IN, 0, 512), IOERR);
    refuse = 0;
    assert_int_equal(fake_counter(&driver.fake, "errors"), 8);
    assert_int_equal(fake_counter(&driver.fake, "faults"), 0);
    /* What cannot even be answered breaks the device. */
    describe(&driver, 0, 0, HEADER, 16, 0, 0);
    offer(&driver, 0, 0);
    notify(&driver, 0);
    assert_true(driver_status(&driver) & VIRTIO_STATUS_NEEDS_RESET);
    driver_start(&driver, 1, F_ALL);
    describe(&driver, 0, 0, HEADER, 15, D_NEXT, 1);
    describe(&driver, 0, 1, HEADER + 16, 1, D_WRITE, 0);
    offer(&driver, 0, 0);
    notify(&driver, 0);
    assert_true(driver_status(&driver) & VIRTIO_STATUS_NEEDS_RESET);
    /* A buffer that we have already. */
    driver_start(&driver, 1, F_ALL);
    offer_request(0, IN, 0, 512);
    offer_request(0, IN, 0, 512);
    notify(&driver, 0);
    assert_true(driver_status(&driver) & VIRTIO_STATUS_NEEDS_RESET);
    assert_int_equal(count, 1);
    complete(0, 0); /* which is too late */
    assert_int_equal(status_of(0), NONE);
    assert_int_equal(returned(&driver, 0, NULL, NULL), 0);
}

/* Headers, data and status may be cut anywhere (2.7.4.1). */
static void pieces(void **state)
{
    struct driver *d = &driver;
    (void)state;
    driver_start(d, 1, F_ALL);
    put(d, HEADER, OUT, 4);
    put(d, HEADER + 4, 0, 4);
    put(d, HEADER + 8, 5, 8);
    describe(d, 0, 0, HEADER, 7, D_NEXT, 1);
    describe(d, 0, 1, HEADER + 7, 0, D_NEXT, 2); /* empty */
    describe(d, 0, 2, HEADER + 7, 9 + 200, D_NEXT, 3);
    describe(d, 0, 3, DATA, 312, D_NEXT, 4);
    describe(d, 0, 4, HEADER + 300, 1, D_WRITE, 0);
    offer(d, 0, 0);
    notify(d, 0);
    assert_int_equal(count, 1);
    assert_int_equal(taken[0].bytes, 512);
    assert_int_equal(taken[0].offset, 5 * 512);
    assert_int_equal(taken[0].segment_count, 2);
    assert_ptr_equal(taken[0].segments[0].base, d->fake.memory + HEADER + 16);
    assert_int_equal(taken[0].segments[0].bytes, 200);
    assert_ptr_equal(taken[0].segments[1].base, d->fake.memory + DATA);
    assert_int_equal(taken[0].segments[1].bytes, 312);
    complete(0, 0);
    assert_int_equal(get(d, HEADER + 300, 1), OK);
    /* Data and status in one. */
    put(d, HEADER, IN, 4);
    describe(d, 0, 0, HEADER, 16, D_NEXT, 1);
    describe(d, 0, 1, DATA, 513, D_WRITE, 0);
    put(d, DATA + 512, NONE, 1);
    offer(d, 0, 0);
    notify(d, 0);
    assert_int_equal(taken[1].bytes, 512);
    assert_int_equal(taken[1].segments[0].bytes, 512);
    complete(0, 0);
    assert_int_equal(get(d, DATA + 512, 1), OK);
}

static void flushes(void **state)
{
    (void)state;
    driver_start(&driver, 1, F_ALL);
    offer_request(0, FLUSH, 0, 0);
    offer_request(4, OUT, 0, 512);
    notify(&driver, 0);
    assert_int_equal(taken[0].op, VIRTIO_BLK_FLUSH);
    assert_int_equal(count, 2);
    complete(0, 0);
    complete(4, 0);
    assert_int_equal(returned(&driver, 0, NULL, NULL), 2);
    /* A driver that knows of no cache is told of a write when it is on the disk. */
    driver_start(&driver, 1, 0);
    offer_request(0, OUT, 0, 512);
    notify(&driver, 0);
    assert_int_equal(count, 3);
    complete(0, 0);
    assert_int_equal(count, 4);
    assert_int_equal(begun, 4);
    assert_int_equal(taken[3].op, VIRTIO_BLK_FLUSH);
    assert_int_equal(returned(&driver, 0, NULL, NULL), 0);
    complete(0, 0);
    assert_int_equal(returned(&driver, 0, NULL, NULL), 1);
    assert_int_equal(status_of(0), OK);
    offer_request(0, OUT, 0, 512);
    notify(&driver, 0);
    complete(0, -EIO); /* not then */
    assert_int_equal(returned(&driver, 0, NULL, NULL), 1);
    assert_int_equal(status_of(0), IOERR);
}

static void fill_range(uint64_t sector, uint32_t sectors, uint32_t flags)
{
    put(&driver, DATA, sector, 8);
    put(&driver, DATA + 8, sectors, 4);
    put(&driver, DATA + 12, flags, 4);
}

static void ranges(void **state)
{
    (void)state;
    driver_start(&driver, 1, F_ALL);
    fill_range(10, 20, 0);
    offer_request(0, DISCARD, 0, 16);
    notify(&driver, 0);
    assert_int_equal(taken[0].op, VIRTIO_BLK_DISCARD);
    assert_int_equal(taken[0].offset, 10 * 512);
    assert_int_equal(taken[0].bytes, 20 * 512);
    complete(0, 0);
    fill_range(SECTORS - 1, 1, 1);
    offer_request(0, ZEROES, 0, 16);
    notify(&driver, 0);
    assert_int_equal(taken[1].op, VIRTIO_BLK_WRITE_ZEROES);
    assert_true(taken[1].may_unmap);
    complete(0, 0);
    assert_int_equal(returned(&driver, 0, NULL, NULL), 2);
    fill_range(SECTORS, 1, 0);
    assert_int_equal(at_once(DISCARD, 0, 16), IOERR);
    fill_range(0, SECTORS + 1, 0);
    assert_int_equal(at_once(ZEROES, 0, 16), IOERR);
    fill_range(UINT64_MAX, 2, 0);
    assert_int_equal(at_once(ZEROES, 0, 16), IOERR);
    fill_range(0, 0, 0);
    assert_int_equal(at_once(ZEROES, 0, 16), IOERR);
    fill_range(0, 1, 1); /* a discard has no flags */
    assert_int_equal(at_once(DISCARD, 0, 16), UNSUPP);
    fill_range(0, 1, 2);
    assert_int_equal(at_once(ZEROES, 0, 16), UNSUPP);
    fill_range(0, 1, 0);
    assert_int_equal(at_once(DISCARD, 0, 32), IOERR); /* more ranges than were offered */
    assert_int_equal(at_once(DISCARD, 0, 15), IOERR);
    driver_start(&driver, 1, F_FLUSH); /* not negotiated */
    assert_int_equal(at_once(DISCARD, 0, 16), UNSUPP);
    assert_int_equal(at_once(ZEROES, 0, 16), UNSUPP);
}

static void no_discard(void **state)
{
    (void)state;
    common_write(&driver, 0, 4, 0);
    assert_int_equal(common_read(&driver, 4, 4) & F_ALL, F_FLUSH | F_WRITE_ZEROES);
    assert_int_equal(fake_read(&driver.fake, VIRTIO_REGION_CONFIG, 56, 1), 0);
}

static void read_only(void **state)
{
    (void)state;
    common_write(&driver, 0, 4, 0);
    assert_int_equal(common_read(&driver, 4, 4) & (F_RO | F_ALL), F_RO | F_FLUSH);
    driver_start(&driver, 1, F_FLUSH);
    assert_int_equal(at_once(OUT, 0, 512), IOERR);
    offer_request(0, IN, 0, 512);
    notify(&driver, 0);
    assert_int_equal(count, 1);
    complete(0, 0);
}

static void identity(void **state)
{
    uint32_t len;
    (void)state;
    driver_start(&driver, 1, F_FLUSH);
    offer_request(0, GET_ID, 0, 20);
    notify(&driver, 0);
    assert_int_equal(returned(&driver, 0, NULL, &len), 1);
    assert_int_equal(len, 21);
    assert_memory_equal(driver.fake.memory + DATA, "0123456789abcdefghij", 20);
    memset(driver.fake.memory + DATA, 0, 20);
    assert_int_equal(at_once(GET_ID, 0, 4), OK); /* as much as there is room for */
    assert_memory_equal(driver.fake.memory + DATA, "0123\0", 5);
}

/* What was begun before a reset is not answered after it, and the driver waits for it. */
static void reset_with_requests_under_way(void **state)
{
    unsigned in_flight;
    (void)state;
    driver_start(&driver, 1, F_FLUSH);
    offer_request(0, IN, 0, 512);
    offer_request(4, IN, 8, 512);
    notify(&driver, 0);
    virtio_in_flight(driver.fake.self, &in_flight);
    assert_int_equal(in_flight, 2);
    common_write(&driver, 20, 1, 0);
    assert_int_not_equal(driver_status(&driver), 0);
    complete(0, 0);
    assert_int_not_equal(driver_status(&driver), 0);
    complete(4, -EIO);
    assert_int_equal(driver_status(&driver), 0);
    assert_int_equal(status_of(0), NONE);
    assert_int_equal(status_of(4), NONE);
    assert_int_equal(returned(&driver, 0, NULL, NULL), 0);
    driver_start(&driver, 1, F_FLUSH);
    offer_request(0, IN, 0, 512);
    notify(&driver, 0);
    complete(0, 0);
    assert_int_equal(returned(&driver, 0, NULL, NULL), 1);
    virtio_in_flight(driver.fake.self, &in_flight);
    assert_int_equal(in_flight, 0);
    /* A driver that does not wait: what comes is still not an answer to it. */
    offer_request(0, IN, 0, 512);
    notify(&driver, 0);
    driver_start(&driver, 1, F_FLUSH);
    complete(0, 0);
    assert_int_equal(status_of(0), NONE);
    assert_int_equal(returned(&driver, 0, NULL, NULL), 0);
}

/* ---- large requests ---- */

#define MIB        (1u << 20)
#define BIG_MEMORY (48u * MIB)
#define PIECE      (32u * MIB)
#define PIECE_AT   (16u * MIB)

static int setup_big(void **state)
{
    const struct virtio_blk_config config = {
        .bytes = UINT64_C(1) << 40, .block_size = 512, .discard = true, .submit = submit, .go = go};
    (void)state;
    count = begun = 0;
    refuse = 0;
    driver.size = 64;
    return fake_env_create(&driver.fake, &virtio_blk_ops, &config, BIG_MEMORY);
}

/* Reads whose pieces are all the same memory, as those of a hostile guest are. */
static void offer_pieces(uint16_t head, unsigned pieces)
{
    struct driver *d = &driver;
    uint32_t at = HEADER + head * 32u;
    put(d, at, IN, 4);
    put(d, at + 8, 0, 8);
    put(d, at + 16, NONE, 1);
    describe(d, 0, head, at, 16, D_NEXT, head + 1u);
    for (unsigned i = 1; i <= pieces; i++)
        describe(d, 0, head + i, PIECE_AT, PIECE, D_WRITE | D_NEXT, head + i + 1u);
    describe(d, 0, head + pieces + 1u, at + 16, 1, D_WRITE, 0);
    offer(d, 0, head);
}

static void the_largest(void **state)
{
    unsigned most = (unsigned)(VIRTIO_BLK_TRANSFER_MOST / PIECE);
    (void)state;
    driver_start(&driver, 1, F_ALL);
    offer_pieces(0, most + 1);
    notify(&driver, 0);
    assert_int_equal(count, 0);
    assert_int_equal(returned(&driver, 0, NULL, NULL), 1);
    assert_int_equal(status_of(0), IOERR);
    offer_pieces(0, most); /* more than may be under way, but alone */
    offer_pieces(40, 1);
    notify(&driver, 0);
    assert_int_equal(count, 1);
    assert_int_equal(taken[0].bytes, VIRTIO_BLK_TRANSFER_MOST);
    complete(0, 0);
    assert_true(fake_env_advance(&driver.fake, 0));
    assert_int_equal(count, 2);
    complete(40, 0);
    assert_int_equal(returned(&driver, 0, NULL, NULL), 2);
    assert_int_equal(fake_counter(&driver.fake, "bytes-read"), VIRTIO_BLK_TRANSFER_MOST + PIECE);
    assert_int_equal(fake_counter(&driver.fake, "buffers"), 3);
    fill_range(0, (uint32_t)(VIRTIO_BLK_RANGE_MOST / 512) + 1, 0);
    assert_int_equal(at_once(ZEROES, 0, 16), IOERR);
    assert_int_equal(at_once(DISCARD, 0, 16), IOERR);
}

/* What is under way has a bound; the queue goes on when half of it is done, in order, and from the timer only. */
static void as_much_as_may_be_under_way(void **state)
{
    unsigned most = (unsigned)(VIRTIO_BLK_UNDER_WAY_MOST / PIECE);
    (void)state;
    assert_int_equal(most, 2);
    driver_start(&driver, 1, F_ALL);
    for (unsigned i = 0; i < 5; i++)
        offer_pieces((uint16_t)(4 * i), 1);
    offer_request(20, FLUSH, 0, 0);
    notify(&driver, 0);
    assert_int_equal(count, most);
    notify(&driver, 0); /* as often as it likes */
    assert_int_equal(count, most);
    assert_int_equal(fake_counter(&driver.fake, "reads"), most);
    for (unsigned done = 0; done < 5; done++) {
        complete(4 * done, 0);
        assert_int_equal(returned(&driver, 0, NULL, NULL), 1);
        assert_int_equal(status_of((uint16_t)(4 * done)), OK);
        unsigned before = count;
        assert_true(fake_env_advance(&driver.fake, 0));
        assert_int_equal(count - before, done < 2 ? 1 : done == 2 ? 2 : 0); /* the flush is no burden */
        assert_int_equal(count, begun);
    }
    assert_int_equal(taken[5].op, VIRTIO_BLK_FLUSH);
    complete(20, 0);
    assert_int_equal(returned(&driver, 0, NULL, NULL), 1);
    /* Zeroes count as what they may be to the host; a discard does not. */
    fill_range(0, (uint32_t)(VIRTIO_BLK_RANGE_MOST / 512), 0);
    offer_request(0, DISCARD, 0, 16);
    for (unsigned i = 0; i < 5; i++)
        offer_request((uint16_t)(4 + 4 * i), ZEROES, 0, 16);
    notify(&driver, 0);
    assert_int_equal(count, 6 + 1 + 4);
    /* What was held when the driver reset the device does not come after it. */
    common_write(&driver, 20, 1, 0);
    for (unsigned i = 0; i < 5; i++)
        complete(4 * i, 0);
    assert_int_equal(driver_status(&driver), 0);
    driver_start(&driver, 1, F_ALL);
    assert_true(fake_env_advance(&driver.fake, 0));
    assert_int_equal(count, 11);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(configuration, setup, teardown),
        cmocka_unit_test_setup_teardown(reads_and_writes, setup, teardown),
        cmocka_unit_test_setup_teardown(wrong_requests, setup, teardown),
        cmocka_unit_test_setup_teardown(pieces, setup, teardown),
        cmocka_unit_test_setup_teardown(flushes, setup, teardown),
        cmocka_unit_test_setup_teardown(ranges, setup, teardown),
        cmocka_unit_test_setup_teardown(no_discard, setup_plain, teardown),
        cmocka_unit_test_setup_teardown(read_only, setup_read_only, teardown),
        cmocka_unit_test_setup_teardown(identity, setup, teardown),
        cmocka_unit_test_setup_teardown(reset_with_requests_under_way, setup, teardown),
        cmocka_unit_test_setup_teardown(the_largest, setup_big, teardown),
        cmocka_unit_test_setup_teardown(as_much_as_may_be_under_way, setup_big, teardown),
    };
    return cmocka_run_group_tests_name("virtio_blk", tests, NULL, NULL);
}
