/* SPDX-License-Identifier: BSD-2-Clause */
/* Requests: any of them, many at a time, from any thread, on both engines. */
#include "block_fixture.h"

#include <pthread.h>
#include <sys/resource.h>

static unsigned dice(unsigned *seed)
{
    return (unsigned)rand_r(seed);
}

/* ---- progress through a vector, piece by piece ---- */

static void test_progress(void **state)
{
    struct iovec iov[3000];
    unsigned seed = 1;

    (void)state;
    for (unsigned round = 0; round < 300; round++) {
        struct block_request request = {.op = BLOCK_READ, .iov = iov, .iov_count = 1 + dice(&seed) % 3000};
        char *address = NULL;
        for (unsigned i = 0; i < request.iov_count; i++) {
            /* Some empty, and in every other round more in a row than go into one call. */
            bool empty = i == 0 || dice(&seed) % 3 == 0 || (round % 2 && i / 1100 == 1);
            iov[i] = (struct iovec){address, empty ? 0 : dice(&seed) % 100};
            address += iov[i].iov_len;
        }
        iov[request.iov_count - 1].iov_len += 7;
        request.bytes = (uintptr_t)iov[request.iov_count - 1].iov_base + iov[request.iov_count - 1].iov_len;
        while (request.iov[request.iov_at].iov_len == 0)
            request.iov_at++;

        for (bool over = false; !over;) {
            const struct iovec *pieces;
            uintptr_t at = request.at;
            unsigned count = block_pieces(&request, &pieces);
            size_t sum = 0;
            assert_in_range(count, 1, BLOCK_IOV_MAX);
            for (unsigned i = 0; i < count; i++) { /* they are what comes next */
                assert_int_equal((uintptr_t)pieces[i].iov_base, at + sum);
                sum += pieces[i].iov_len;
            }
            assert_in_range(sum, 1, request.bytes - at); /* 0 would look like the end of the file */
            assert_false(block_advance(&request, -EINTR));
            assert_false(block_advance(&request, -EAGAIN));
            assert_false(block_advance(&request, -ECANCELED));
            assert_int_equal(request.at, at);
            size_t done = dice(&seed) % 4 ? sum : 1 + dice(&seed) % sum;
            over = block_advance(&request, (ssize_t)done);
            assert_int_equal(request.at, at + done);
            assert_int_equal(over, request.at == request.bytes);
        }
        assert_int_equal(request.result, 0);
    }
    struct block_request ended = {.op = BLOCK_READ, .iov = iov, .iov_count = 1, .bytes = 512};
    assert_true(block_advance(&ended, 0));
    assert_int_equal(ended.result, -EIO);
    assert_true(block_advance(&ended, -ENOSPC));
    assert_int_equal(ended.result, -ENOSPC);
}

/* ---- random requests against a copy in memory ---- */

#define SLOTS      512u /* each with one request at a time: more than any engine's depth */
#define SLOT_BYTES (IMAGE_BYTES / SLOTS)
#define MAX_PIECES 1500u

struct slot {
    struct block_request request;
    struct random_run *run;
    bool busy;
    uint8_t *data;
    struct iovec iov[MAX_PIECES];
};

struct random_run {
    struct block *block;
    unsigned seed, under_way, most, left;
    uint8_t *shadow;
    struct slot *slots;
};

static void random_done(struct block_request *request, int result)
{
    struct slot *slot = (struct slot *)request;
    struct random_run *run = slot->run;
    uint8_t *shadow = run->shadow + request->offset;

    assert_true(slot->busy);
    assert_int_equal(result, 0);
    slot->busy = false;
    run->under_way--;
    if (request->op == BLOCK_READ)
        assert_memory_equal(slot->data, shadow, request->bytes);
    else if (request->op == BLOCK_WRITE)
        memcpy(shadow, slot->data, request->bytes);
    else if (request->op != BLOCK_FLUSH)
        memset(shadow, 0, request->bytes);
}

static void random_request(struct random_run *run, struct slot *slot)
{
    static const enum block_op ops[] = {BLOCK_READ,         BLOCK_READ,  BLOCK_READ,    BLOCK_WRITE,
                                        BLOCK_WRITE,        BLOCK_WRITE, BLOCK_DISCARD, BLOCK_WRITE_ZEROES,
                                        BLOCK_WRITE_ZEROES, BLOCK_FLUSH};
    struct block_request *request = &slot->request;
    unsigned sectors = SLOT_BYTES / 512, first = dice(&run->seed) % sectors;
    unsigned most_pieces = dice(&run->seed) % 8 ? 1 + dice(&run->seed) % 8 : MAX_PIECES;
    size_t at = 0;

    *request = (struct block_request){.op = ops[dice(&run->seed) % (sizeof(ops) / sizeof(ops[0]))]};
    if (request->op == BLOCK_DISCARD && !block_discards(run->block))
        request->op = BLOCK_WRITE;
    request->unmap = dice(&run->seed) & 1;
    request->offset = (uint64_t)(slot - run->slots) * SLOT_BYTES + first * 512u;
    request->bytes = (1 + dice(&run->seed) % (sectors - first)) * 512u;
    request->done = random_done;
    if (request->op == BLOCK_READ || request->op == BLOCK_WRITE) {
        request->iov = slot->iov;
        while (at < request->bytes) { /* pieces of any length, none included */
            size_t left = request->bytes - at, typical = 1 + 2 * request->bytes / most_pieces;
            size_t length = dice(&run->seed) % typical;
            if (length > left || request->iov_count + 1 == most_pieces)
                length = left;
            slot->iov[request->iov_count++] = (struct iovec){slot->data + at, length};
            at += length;
        }
        for (size_t i = 0; request->op == BLOCK_WRITE && i < request->bytes; i++)
            slot->data[i] = (uint8_t)dice(&run->seed);
    }
    slot->busy = true;
    run->under_way++;
    run->most = run->under_way > run->most ? run->under_way : run->most;
}

static void test_random(void **state)
{
    struct fixture *f = *state;
    struct random_run run = {.seed = 7};

    must_open(f);
    run.block = f->block;
    run.shadow = calloc(1, IMAGE_BYTES);
    run.slots = calloc(SLOTS, sizeof(*run.slots));
    for (unsigned i = 0; i < SLOTS; i++) {
        run.slots[i].data = calloc(1, SLOT_BYTES);
        run.slots[i].run = &run;
    }
    for (unsigned submitted = 0; submitted < 6000;) {
        struct block_request *chain = NULL;
        for (unsigned n = 1 + dice(&run.seed) % SLOTS; n; n--) {
            struct slot *slot = &run.slots[dice(&run.seed) % SLOTS];
            if (slot->busy)
                continue;
            random_request(&run, slot);
            submitted++;
            if (n % 2) {
                block_submit(f->block, &slot->request);
            } else {
                slot->request.next = chain;
                chain = &slot->request;
            }
        }
        if (chain)
            block_submit_chain(f->block, chain);
        struct pollfd events = {.fd = block_fd(f->block), .events = POLLIN};
        assert_int_equal(poll(&events, 1, 20000), 1);
        block_reap(f->block);
    }
    assert_true(run.most > BLOCK_RING_DEPTH);
    block_drain(f->block);
    assert_int_equal(run.under_way, 0);

    uint8_t *all = calloc(1, IMAGE_BYTES); /* valgrind does not see what the kernel reads into it */
    assert_int_equal(do_io(f->block, BLOCK_READ, 0, all, IMAGE_BYTES), 0);
    assert_memory_equal(all, run.shadow, IMAGE_BYTES);
    struct block_stats stats;
    block_stats(f->block, &stats);
    assert_int_equal(stats.failed, 0);
    if (f->aio == BLOCK_AIO_URING)
        assert_true(stats.continued > 0); /* vectors of more than BLOCK_IOV_MAX */
    for (unsigned i = 0; i < SLOTS; i++)
        free(run.slots[i].data);
    free(run.slots);
    free(run.shadow);
    free(all);
}

/* ---- threads ---- */

#define SUBMITTERS  4u
#define PER_THREAD  16u
#define THREAD_SIZE (IMAGE_BYTES / SUBMITTERS)

struct submitter {
    struct fixture *f;
    unsigned number;
    struct io ios[PER_THREAD];
    uint8_t *data;
    unsigned rounds;
};

static unsigned told_by(const struct submitter *submitter)
{
    unsigned told = 0;
    for (unsigned i = 0; i < PER_THREAD; i++)
        told += __atomic_load_n(&submitter->ios[i].told, __ATOMIC_ACQUIRE);
    return told;
}

static void on_done_elsewhere(struct block_request *request, int result)
{
    struct io *io = (struct io *)request;
    io->result = result;
    __atomic_fetch_add(&io->told, 1, __ATOMIC_RELEASE);
}

/* Writes its part of the disk, waits for all of it, reads it back, and so on. */
static void *submit_much(void *argument)
{
    struct submitter *s = argument;
    const unsigned bytes = THREAD_SIZE / PER_THREAD;

    for (unsigned round = 0; round < s->rounds; round++) {
        for (unsigned half = 0; half < 2; half++) {
            memset(s->data, half ? 0 : (int)(s->number * 50 + round % 50), THREAD_SIZE);
            for (unsigned i = 0; i < PER_THREAD; i++) {
                io_init(&s->ios[i], half ? BLOCK_READ : BLOCK_WRITE, s->number * THREAD_SIZE + i * bytes,
                        s->data + i * bytes, bytes);
                s->ios[i].request.done = on_done_elsewhere;
                block_submit(s->f->block, &s->ios[i].request);
            }
            while (told_by(s) != PER_THREAD)
                (void)usleep(100);
        }
        for (unsigned i = 0; i < THREAD_SIZE; i++)
            if (s->data[i] != s->number * 50 + round % 50)
                return "what was read is not what was written";
    }
    return NULL;
}

static void test_many_submitters(void **state)
{
    struct fixture *f = *state;
    struct submitter *submitters = calloc(SUBMITTERS, sizeof(*submitters));
    pthread_t threads[SUBMITTERS];
    const unsigned rounds = 15;

    must_open(f);
    for (unsigned i = 0; i < SUBMITTERS; i++) {
        submitters[i] = (struct submitter){.f = f, .number = i, .data = calloc(1, THREAD_SIZE), .rounds = rounds};
        assert_int_equal(pthread_create(&threads[i], NULL, submit_much, &submitters[i]), 0);
    }
    struct block_stats stats = {0};
    for (struct pollfd events = {.fd = block_fd(f->block), .events = POLLIN};
         stats.requests < SUBMITTERS * rounds * 2 * PER_THREAD;) {
        assert_int_equal(poll(&events, 1, 20000), 1); /* nobody's request is forgotten */
        block_reap(f->block);
        block_stats(f->block, &stats);
    }
    block_drain(f->block);
    for (unsigned i = 0; i < SUBMITTERS; i++) {
        void *complaint;
        assert_int_equal(pthread_join(threads[i], &complaint), 0);
        assert_null(complaint);
        free(submitters[i].data);
    }
    if (f->aio == BLOCK_AIO_URING)
        assert_true(stats.handed == stats.requests); /* none of them enters io_uring */
    free(submitters);
}

static void *submit_held(void *argument)
{
    struct submitter *s = argument;
    return block_submit_held(s->f->block, &s->ios[1].request) ? "started by a thread that does not reap" : NULL;
}

/* Who holds a lock: nothing is entered into io_uring until block_start(), and a pool's thread begins by itself. */
static void test_submit_held(void **state)
{
    struct fixture *f = *state;
    struct submitter *s = calloc(1, sizeof(*s));
    struct pollfd events = {.events = POLLIN};
    const bool uring = f->aio == BLOCK_AIO_URING;
    uint8_t data[4096];
    pthread_t thread;
    void *complaint;

    must_open(f);
    s->f = f;
    events.fd = block_fd(f->block);
    block_reap(f->block); /* we are the thread that reaps */
    io_init(&s->ios[0], BLOCK_READ, 0, data, sizeof(data));
    assert_int_equal(block_submit_held(f->block, &s->ios[0].request), uring);
    assert_int_equal(poll(&events, 1, uring ? 30 : 20000), !uring);
    if (uring)
        block_start(f->block);
    assert_int_equal(poll(&events, 1, 20000), 1);
    block_reap(f->block);
    assert_int_equal(s->ios[0].told, 1);
    /* Another thread wakes us. */
    io_init(&s->ios[1], BLOCK_READ, 0, data, sizeof(data));
    assert_int_equal(pthread_create(&thread, NULL, submit_held, s), 0);
    assert_int_equal(pthread_join(thread, &complaint), 0);
    assert_null(complaint);
    block_start(f->block); /* not needed, and no harm */
    for (unsigned i = 0; i < 3 && !s->ios[1].told; i++) {
        assert_int_equal(poll(&events, 1, 20000), 1);
        block_reap(f->block);
    }
    assert_int_equal(s->ios[1].told, 1);
    /* Who forgets block_start() is helped by the next look. */
    io_init(&s->ios[0], BLOCK_READ, 0, data, sizeof(data));
    (void)block_submit_held(f->block, &s->ios[0].request);
    block_drain(f->block);
    assert_int_equal(s->ios[0].told, 1);
    free(s);
}

/* Becomes the thread that reaps, so that it enters io_uring, and ends while its requests are under way. */
static void *submit_and_end(void *argument)
{
    struct submitter *s = argument;

    block_reap(s->f->block);
    for (unsigned i = 0; i < PER_THREAD; i++)
        block_submit(s->f->block, &io_init(&s->ios[i], BLOCK_WRITE, i * 65536u, s->data + i * 65536u, 65536)->request);
    return NULL;
}

static void test_the_reaper_ends(void **state)
{
    struct fixture *f = *state;
    struct submitter *s = calloc(1, sizeof(*s));
    pthread_t thread;

    must_open(f);
    s->f = f;
    s->data = malloc(IMAGE_BYTES);
    memset(s->data, 0x5a, IMAGE_BYTES);
    for (unsigned round = 0; round < 30; round++) {
        assert_int_equal(pthread_create(&thread, NULL, submit_and_end, s), 0);
        assert_int_equal(pthread_join(thread, NULL), 0);
        block_drain(f->block);
        for (unsigned i = 0; i < PER_THREAD; i++) {
            assert_int_equal(s->ios[i].told, 1);
            assert_int_equal(s->ios[i].result, 0);
        }
    }
    free(s->data);
    free(s);
}

/* ---- waiting and closing ---- */

struct nested {
    struct io io;
    struct block *block;
    unsigned left, *total;
};

static void submit_the_next(struct block_request *request, int result)
{
    struct nested *nested = (struct nested *)request;
    assert_int_equal(result, 0);
    ++*nested->total;
    if (nested->left--)
        block_submit(nested->block, request); /* the very same, from within */
}

static void submit_nested(struct fixture *f, struct nested *nested, uint8_t *data, unsigned *total)
{
    static const enum block_op ops[] = {BLOCK_WRITE, BLOCK_READ, BLOCK_FLUSH, BLOCK_WRITE_ZEROES};
    for (unsigned i = 0; i < 4; i++) {
        io_init(&nested[i].io, ops[i], i * 4096u, data + i * 4096u, 4096);
        nested[i].io.request.done = submit_the_next;
        nested[i].block = f->block;
        nested[i].left = 20;
        nested[i].total = total;
        block_submit(f->block, &nested[i].io.request);
    }
}

static void test_drain(void **state)
{
    struct fixture *f = *state;
    struct nested nested[4];
    uint8_t *data = calloc(4, 4096);
    unsigned total = 0;

    must_open(f);
    block_drain(f->block); /* nothing to wait for */
    block_reap(f->block);
    submit_nested(f, nested, data, &total);
    block_drain(f->block);
    assert_int_equal(total, 4 * 21);
    struct pollfd events = {.fd = block_fd(f->block), .events = POLLIN};
    block_reap(f->block);
    assert_int_equal(poll(&events, 1, 0), 0); /* and is quiet then */
    free(data);
}

static void test_close_with_requests_under_way(void **state)
{
    struct fixture *f = *state;
    struct nested nested[4];
    uint8_t *data = calloc(4, 4096);
    unsigned total = 0;

    for (unsigned round = 1; round <= 10; round++) {
        must_open(f);
        submit_nested(f, nested, data, &total);
        struct block *block = f->block;
        f->block = NULL;
        assert_int_equal(block_close(block), 0);
        assert_int_equal(total, round * 4 * 21);
    }
    assert_int_equal(block_close(NULL), 0);
    free(data);
}

/* ---- requests that cannot be ---- */

static void test_bad_requests(void **state)
{
    struct fixture *f = *state;
    const struct {
        enum block_op op;
        uint64_t offset, bytes, iov_bytes;
        int result;
    } cases[] = {
        {BLOCK_READ, 0, 512, 512, 0},
        {BLOCK_READ, IMAGE_BYTES - 512, 512, 512, 0},
        {BLOCK_READ, IMAGE_BYTES, 0, 0, 0},
        {BLOCK_READ, IMAGE_BYTES - 512, 1024, 1024, -EINVAL},
        {BLOCK_READ, IMAGE_BYTES, 512, 512, -EINVAL},
        {BLOCK_READ, UINT64_MAX - 511, 1024, 1024, -EINVAL}, /* the sum is 512 */
        {BLOCK_READ, 512, UINT64_MAX - 511, 512, -EINVAL},
        {BLOCK_READ, 256, 512, 512, -EINVAL},
        {BLOCK_READ, 0, 100, 100, -EINVAL},
        {BLOCK_READ, 0, 1024, 512, -EINVAL},
        {BLOCK_READ, 0, 512, 1024, -EINVAL},
        {BLOCK_READ, 0, 512, SIZE_MAX, -EINVAL},
        {BLOCK_WRITE, IMAGE_BYTES, 512, 512, -EINVAL}, /* would make the image longer */
        {BLOCK_WRITE, 0, 1024, 512, -EINVAL},
        {BLOCK_WRITE_ZEROES, IMAGE_BYTES - 512, 1024, 0, -EINVAL},
        {BLOCK_WRITE_ZEROES, 0, 0, 0, 0},
        {BLOCK_DISCARD, IMAGE_BYTES, 512, 0, -EINVAL},
        {BLOCK_FLUSH, UINT64_MAX, 17, 0, 0}, /* has no range */
        {(enum block_op)99, 0, 512, 512, -EINVAL},
    };
    struct io ios[sizeof(cases) / sizeof(cases[0])];
    static uint8_t data[sizeof(cases) / sizeof(cases[0])][512]; /* requests under way share no memory */

    must_open(f);
    if (!block_discards(f->block))
        skip();
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        io_init(&ios[i], cases[i].op, cases[i].offset, data[i], cases[i].bytes);
        ios[i].iov.iov_len = cases[i].iov_bytes;
        ios[i].request.next = i + 1 < sizeof(cases) / sizeof(cases[0]) ? &ios[i + 1].request : NULL;
    }
    block_submit_chain(f->block, &ios[0].request);
    assert_int_equal(ios[3].told, 0); /* not from within the submission */
    block_drain(f->block);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(ios[i].told, 1);
        if (ios[i].result != cases[i].result)
            fail_msg("case %zu: %d", i, ios[i].result);
    }
    struct stat info;
    assert_int_equal(stat(f->path, &info), 0);
    assert_int_equal(info.st_size, IMAGE_BYTES);
}

/* ---- what the host's file system does ---- */

static void test_a_file_that_became_shorter(void **state)
{
    struct fixture *f = *state;
    static uint8_t data[65536], expected[65536];

    must_open(f);
    memset(data, 0x11, sizeof(data));
    memset(expected, 0x11, sizeof(expected));
    assert_int_equal(do_io(f->block, BLOCK_WRITE, 0, data, sizeof(data)), 0);
    assert_int_equal(truncate(f->path, 10000), 0);
    memset(data, 0, sizeof(data));
    assert_int_equal(do_io(f->block, BLOCK_READ, 0, data, sizeof(data)), -EIO);
    assert_memory_equal(data, expected, 10000);
    assert_int_equal(do_io(f->block, BLOCK_READ, 65536, data, 512), -EIO);
    assert_int_equal(do_io(f->block, BLOCK_READ, 0, data, 512), 0);
    assert_int_equal(do_io(f->block, BLOCK_WRITE, 65536, data, 512), 0); /* and grows again */
    assert_int_equal(do_io(f->block, BLOCK_READ, 32768, data, 512), 0);
}

/* Whether FLUSH and closing really ask the host: with a pipe in the file's place, which cannot be made lasting. */
static void test_flush_asks_the_host(void **state)
{
    struct fixture *f = *state;
    uint8_t data[512] = {0};
    int ends[2];

    must_open(f);
    assert_int_equal(do_io(f->block, BLOCK_WRITE, 0, data, 512), 0);
    assert_int_equal(do_io(f->block, BLOCK_FLUSH, 0, NULL, 0), 0);
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(dup2(ends[1], f->block->fd), f->block->fd);
    assert_int_equal(do_io(f->block, BLOCK_FLUSH, 0, NULL, 0), -EINVAL);
    struct block *block = f->block;
    f->block = NULL;
    assert_int_equal(block_close(block), -EINVAL);
    (void)close(ends[0]);
    (void)close(ends[1]);

    const struct block_config config = {.path = f->path, .readonly = true, .aio = f->aio};
    assert_int_equal(open_block(f, &config), 0); /* teardown closes it: nothing was written, nothing is to be said */
}

static void test_a_file_under_a_limit(void **state)
{
    struct fixture *f = *state;
    static uint8_t data[65536], back[65536];
    struct rlimit before, limit;

    must_open(f);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    limit = before;
    limit.rlim_cur = 2 * MIB + 8192;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    memset(data, 0x22, sizeof(data));
    int across = do_io(f->block, BLOCK_WRITE, 2 * MIB, data, sizeof(data));
    int behind = do_io(f->block, BLOCK_WRITE, 3 * MIB, data, sizeof(data));
    int before_it = do_io(f->block, BLOCK_WRITE, 0, data, sizeof(data));
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_equal(across, -EFBIG); /* the first 8 KiB were written, and the rest tried again */
    assert_int_equal(behind, -EFBIG);
    assert_int_equal(before_it, 0);
    assert_int_equal(do_io(f->block, BLOCK_READ, 2 * MIB, back, sizeof(back)), 0);
    assert_memory_equal(back, data, 8192);
    assert_int_equal(back[8192], 0);
    struct block_stats stats;
    block_stats(f->block, &stats);
    assert_int_equal(stats.failed, 2);
}

static off_t blocks_of(const char *path)
{
    struct stat info;
    assert_int_equal(stat(path, &info), 0);
    return info.st_blocks;
}

static void test_discard_and_zeroes(void **state)
{
    struct fixture *f = *state;
    uint8_t *data = calloc(1, IMAGE_BYTES), *expected = malloc(IMAGE_BYTES);

    must_open(f);
    if (!block_discards(f->block)) {
        free(data);
        free(expected);
        skip();
    }
    memset(data, 0x77, IMAGE_BYTES);
    memset(expected, 0x77, IMAGE_BYTES);
    assert_int_equal(do_io(f->block, BLOCK_WRITE, 0, data, IMAGE_BYTES), 0);
    assert_int_equal(do_io(f->block, BLOCK_FLUSH, 0, NULL, 0), 0);
    off_t full = blocks_of(f->path);
    assert_true(full >= IMAGE_BYTES / 512);

    assert_int_equal(do_io(f->block, BLOCK_DISCARD, MIB, NULL, MIB), 0);
    memset(expected + MIB, 0, MIB);
    off_t discarded = blocks_of(f->path);
    assert_true(discarded <= full - MIB / 512);

    /* Zeroes keep their space unless the guest lets it go; ends within a block of the file system are no matter. */
    assert_int_equal(do_io(f->block, BLOCK_WRITE_ZEROES, 2 * MIB + 512, NULL, 300 * 512), 0);
    memset(expected + 2 * MIB + 512, 0, 300 * 512);
    assert_in_range(blocks_of(f->path), discarded, full);
    struct io io;
    io_init(&io, BLOCK_WRITE_ZEROES, 3 * MIB - 512, NULL, MIB);
    io.request.unmap = true;
    block_submit(f->block, &io.request);
    block_drain(f->block);
    assert_int_equal(io.result, 0);
    memset(expected + 3 * MIB - 512, 0, MIB);
    assert_true(blocks_of(f->path) <= discarded - (off_t)MIB / 512 + 64);

    assert_int_equal(do_io(f->block, BLOCK_READ, 0, data, IMAGE_BYTES), 0);
    assert_memory_equal(data, expected, IMAGE_BYTES);
    free(data);
    free(expected);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_progress),
        ON_THREADS(test_random),
        ON_THREADS(test_many_submitters),
        ON_THREADS(test_submit_held),
        ON_THREADS(test_the_reaper_ends),
        ON_THREADS(test_drain),
        ON_THREADS(test_close_with_requests_under_way),
        ON_THREADS(test_bad_requests),
        ON_THREADS(test_a_file_that_became_shorter),
        ON_THREADS(test_flush_asks_the_host),
        ON_THREADS(test_a_file_under_a_limit),
        ON_THREADS(test_discard_and_zeroes),
    };
    const struct CMUnitTest uring_tests[] = {
        ON_URING(test_random),
        ON_URING(test_many_submitters),
        ON_URING(test_submit_held),
        ON_URING(test_the_reaper_ends),
        ON_URING(test_drain),
        ON_URING(test_close_with_requests_under_way),
        ON_URING(test_bad_requests),
        ON_URING(test_a_file_that_became_shorter),
        ON_URING(test_flush_asks_the_host),
        ON_URING(test_a_file_under_a_limit),
        ON_URING(test_discard_and_zeroes),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    if (uring_works())
        failed += cmocka_run_group_tests(uring_tests, NULL, NULL);
    else
        print_message("io_uring cannot be used here: its engine is not tested\n");
    return failed;
}
