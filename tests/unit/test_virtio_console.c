/* SPDX-License-Identifier: BSD-2-Clause */
/* Console: characters out, characters in, and who waits for whom. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <ringd/models/virtio_console.h>

#include "virtio_driver.h"

static struct driver driver;
static unsigned ready;

static void rx_ready(void *ctx)
{
    (void)ctx;
    ready++;
}

static int setup(void **state)
{
    const struct virtio_console_config config = {.rx_ready = rx_ready};
    (void)state;
    ready = 0;
    driver.size = 8;
    return fake_env_create(&driver.fake, &virtio_console_ops, &config, MEMORY);
}

static int teardown(void **state)
{
    (void)state;
    fake_env_destroy(&driver.fake);
    return 0;
}

static size_t receive(const char *text)
{
    struct virtio_console_input input = {.data = (const uint8_t *)text, .len = strlen(text)};
    virtio_console_receive(driver.fake.self, &input);
    return input.taken;
}

static void output(void **state)
{
    struct driver *d = &driver;
    uint32_t len;
    (void)state;
    driver_start(d, 2, 0);
    memcpy(d->fake.memory + BUFFERS, "hello, world", 12);
    describe(d, 1, 0, BUFFERS, 5, D_NEXT, 1);
    describe(d, 1, 1, BUFFERS + 7, 5, 0, 0);
    offer(d, 1, 0);
    notify(d, 1);
    assert_int_equal(returned(d, 1, NULL, &len), 1);
    assert_int_equal(len, 0);
    assert_int_equal(d->fake.output_size, 10);
    assert_memory_equal(d->fake.output, "helloworld", 10);
    assert_int_equal(fake_counter(&d->fake, "sent"), 10);
    assert_int_equal(d->fake.edges[3], 1); /* the transmit queue's vector */
    assert_int_equal(fake_read(&d->fake, VIRTIO_REGION_CONFIG, 4, 4), 1);
}

static void input(void **state)
{
    struct driver *d = &driver;
    uint32_t head, len;
    (void)state;
    assert_int_equal(receive("too early"), 0);
    driver_start(d, 2, VIRTIO_F_EVENT_IDX);
    assert_int_equal(receive("nowhere to put it"), 0);
    describe(d, 0, 2, BUFFERS, 4, D_WRITE, 0);
    describe(d, 0, 3, BUFFERS + 16, 4, D_WRITE, 0);
    offer(d, 0, 2);
    assert_int_equal(get(d, queue_at(0) + USED_AT + 4 + 8u * d->size, 2), 0); /* "tell me of the first" */
    unsigned before = ready;
    notify(d, 0);
    assert_int_equal(ready, before + 1);
    notify(d, 0);
    assert_int_equal(ready, before + 1); /* once is enough */
    assert_int_equal(receive("ab"), 2);
    assert_int_equal(returned(d, 0, &head, &len), 1);
    assert_int_equal(head, 2);
    assert_int_equal(len, 2);
    assert_memory_equal(d->fake.memory + BUFFERS, "ab\0", 3);
    offer(d, 0, 2);
    offer(d, 0, 3);
    assert_int_equal(receive("0123456789"), 8); /* two buffers' worth */
    assert_int_equal(returned(d, 0, &head, &len), 2);
    assert_int_equal(head, 3);
    assert_int_equal(len, 4);
    assert_memory_equal(d->fake.memory + BUFFERS, "0123", 4);
    assert_memory_equal(d->fake.memory + BUFFERS + 16, "4567", 4);
    offer(d, 0, 2);
    notify(d, 0);
    assert_int_equal(ready, before + 2);
    assert_int_equal(fake_counter(&d->fake, "received"), 10);
    /* One that is no RAM breaks the device. */
    describe(d, 0, 5, MEMORY, 4, D_WRITE, 0);
    assert_int_equal(receive("xy"), 2);
    offer(d, 0, 5);
    assert_int_equal(receive("z"), 0);
    assert_true(driver_status(d) & VIRTIO_STATUS_NEEDS_RESET);
    assert_int_equal(receive("z"), 0);
}

/* A buffer that can hold nothing breaks the device: a guest that offers such without end would keep the receiver for
 * ever. */
static void empty_buffers(void **state)
{
    struct driver *d = &driver;
    (void)state;
    for (unsigned bytes = 0; bytes < 2; bytes++) { /* readable only, and writable for none */
        driver_start(d, 2, 0);
        describe(d, 0, 0, BUFFERS, bytes ? 4 : 0, bytes ? 0 : D_WRITE, 0);
        describe(d, 0, 1, BUFFERS, 4, D_WRITE, 0);
        offer(d, 0, 0);
        offer(d, 0, 1);
        assert_int_equal(receive("abc"), 0);
        assert_true(driver_status(d) & VIRTIO_STATUS_NEEDS_RESET);
        assert_int_equal(returned(d, 0, NULL, NULL), 0);
        assert_int_equal(fake_counter(&d->fake, "received"), 0);
    }
    driver_start(d, 2, 0); /* a reset mends it */
    describe(d, 0, 0, BUFFERS, 4, D_WRITE, 0);
    offer(d, 0, 0);
    assert_int_equal(receive("abc"), 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(output, setup, teardown),
        cmocka_unit_test_setup_teardown(input, setup, teardown),
        cmocka_unit_test_setup_teardown(empty_buffers, setup, teardown),
    };
    return cmocka_run_group_tests_name("virtio_console", tests, NULL, NULL);
}
