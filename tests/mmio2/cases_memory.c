/* SPDX-License-Identifier: BSD-2-Clause */
/* Whose memory it is: the cgroup's that made it; and that all of it comes back. */
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "device.h"
#include "suite.h"

#define CGROUPS "/sys/fs/cgroup"
#define RINGS   600u /* more than the 64 pages by which each CPU's share of the count may lag, twice over */

static bool write_text(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    bool written = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    int error = errno;
    if (fd >= 0)
        close(fd);
    errno = error;
    return written;
}

/* The number behind `name` in a file of lines "name number". */
static long long read_number(const char *path, const char *name)
{
    char line[256];
    long long number = -1;
    FILE *file = fopen(path, "re");
    CHECK(file != NULL);
    size_t length = strlen(name);
    while (fgets(line, sizeof(line), file))
        if (!strncmp(line, name, length) && line[length] == ' ')
            number = atoll(line + length + 1);
    fclose(file);
    return number;
}

/* The number that a file consists of. */
static long long read_total(const char *path)
{
    char text[32] = "";
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    CHECK(fd >= 0 && read(fd, text, sizeof(text) - 1) > 0);
    close(fd);
    return atoll(text);
}

/* A cgroup of this process's own, with the memory controller. Its name goes to `path`. */
static void enter_cgroup(char *path, size_t size)
{
    char file[256], pid[32];
    snprintf(path, size, CGROUPS "/ringvmm-mmio2-%d", getpid());
    if (access(CGROUPS "/cgroup.controllers", R_OK))
        suite_skip("no cgroup2 at " CGROUPS);
    if (!write_text(CGROUPS "/cgroup.subtree_control", "+memory"))
        suite_skip("no memory controller: %s", strerror(errno));
    if (mkdir(path, 0755))
        suite_skip("%s: %s", path, strerror(errno));
    snprintf(file, sizeof(file), "%s/cgroup.procs", path);
    snprintf(pid, sizeof(pid), "%d", getpid());
    CHECK(write_text(file, pid));
}

static void leave_cgroup(const char *path)
{
    char pid[32];
    snprintf(pid, sizeof(pid), "%d", getpid());
    CHECK(write_text(CGROUPS "/cgroup.procs", pid));
    (void)rmdir(path); /* pages that are charged still may hold it for a while */
}

/* The first mapping makes the ring: its page counts among the kernel memory of who maps it. */
static void ring_charged(void)
{
    struct guest guest;
    char path[128], stat[160];
    static int fds[RINGS];
    static struct kvm_coalesced_mmio_ring *rings[RINGS];
    const struct rlimit limit = {RINGS + 100, RINGS + 100};
    const long long all = (long long)RINGS * RING_BYTES;
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
    enter_cgroup(path, sizeof(path));
    snprintf(stat, sizeof(stat), "%s/memory.stat", path);
    guest_create(&guest, 1);
    for (unsigned i = 0; i < RINGS; i++) {
        fds[i] = mmio2_create(guest.vm);
        CHECK(fds[i] >= 0);
    }
    long long before = read_number(stat, "kernel");
    CHECK(before >= 0);
    for (unsigned i = 0; i < RINGS; i++)
        rings[i] = ring_map(fds[i]);
    long long charged = read_number(stat, "kernel") - before;
    suite_context("%lld bytes charged for %u rings", charged, RINGS);
    CHECK(charged >= all);
    CHECK(charged < 2 * all); /* page tables and areas of this process are in it */
    for (unsigned i = 0; i < RINGS; i++) {
        ring_unmap(rings[i]);
        CHECK_EQ(close(fds[i]), 0);
    }
    long long left = read_number(stat, "kernel") - before;
    suite_context("%lld bytes left of %lld", left, charged);
    CHECK(left < all / 4);
    guest_destroy(&guest);
    leave_cgroup(path);
    suite_note("%lld KiB for %u rings", charged / 1024, RINGS);
}

#define ROOM (512 * 1024) /* bytes: fewer than RINGS rings */

/* `file` is open already: at the limit no file can be opened. Negative: none. */
static void set_limit(int file, long long bytes)
{
    char text[32] = "max";
    if (bytes >= 0)
        snprintf(text, sizeof(text), "%lld", bytes);
    CHECK(pwrite(file, text, strlen(text), 0) == (ssize_t)strlen(text));
}

/* Calls until one fails, and tells how: -ENOMEM is what is hoped for. `most` of them may succeed. */
static int until_refused(int (*call)(void *arg, unsigned i), void *arg, unsigned most, unsigned *done)
{
    int result = 0;
    for (*done = 0; *done < most && result >= 0; ++*done)
        result = call(arg, *done);
    return result;
}

struct crowd {
    struct guest guest;
    unsigned buffers;
    int fds[2 * RINGS];
    void *maps[RINGS];
};

static int map_next(void *arg, unsigned i)
{
    struct crowd *c = arg;
    int error;
    c->maps[i] = mmio2_map(c->fds[i], RING_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, 0, &error);
    return error;
}

static int register_next(void *arg, unsigned i)
{
    struct crowd *c = arg;
    return mmio2_register(c->guest.vm, c->fds[0], true, 0x1000 + i * 4, 4);
}

static int create_next(void *arg, unsigned i)
{
    struct crowd *c = arg;
    int fd = mmio2_create(c->guest.vm);
    if (fd >= 0) {
        c->fds[RINGS + i] = fd;
        c->buffers++;
    }
    return fd;
}

/*
 * At the cgroup's limit each call says ENOMEM, and goes on working when there is room again. This process is not to be
 * killed for it, and has all its own memory already, as a page fault would not be answered.
 */
static void limit(void)
{
    static struct crowd c;
    char path[128], current[160], file[160];
    unsigned mapped, zones, created;
    const struct rlimit files = {2 * RINGS + 100, 2 * RINGS + 100};
    if (!write_text("/proc/self/oom_score_adj", "-1000"))
        suite_skip("/proc/self/oom_score_adj: %s", strerror(errno));
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &files), 0);
    enter_cgroup(path, sizeof(path));
    guest_create(&c.guest, 1);
    for (; c.buffers < RINGS; c.buffers++)
        CHECK((c.fds[c.buffers] = mmio2_create(c.guest.vm)) >= 0);
    snprintf(current, sizeof(current), "%s/memory.current", path);
    snprintf(file, sizeof(file), "%s/memory.max", path);
    int max = open(file, O_WRONLY | O_CLOEXEC);
    CHECK(max >= 0);
    CHECK_EQ(mlockall(MCL_CURRENT), 0);
    set_limit(max, read_total(current) + ROOM);
    int map_error = until_refused(map_next, &c, RINGS, &mapped);
    int zone_error = until_refused(register_next, &c, 1000, &zones);
    int create_error = until_refused(create_next, &c, RINGS, &created);
    set_limit(max, -1);
    suite_context("ring %u, zone %u, buffer %u", mapped, zones, created);
    CHECK_EQ(map_error, -ENOMEM);
    CHECK_EQ(zone_error, -ENOMEM);
    CHECK_EQ(create_error, -ENOMEM);
    suite_context(NULL);
    struct kvm_coalesced_mmio_ring *last = ring_map(c.fds[RINGS - 1]);
    CHECK_EQ(mmio2_register(c.guest.vm, c.fds[RINGS - 1], true, PORT, 4), 0);
    check_recorded(&c.guest, last, true, 1);
    ring_unmap(last);
    for (unsigned i = 0; i < RINGS && c.maps[i]; i++)
        ring_unmap(c.maps[i]);
    for (unsigned i = 0; i < c.buffers; i++)
        CHECK_EQ(close(c.fds[i]), 0);
    CHECK_EQ(close(max), 0);
    guest_destroy(&c.guest);
    leave_cgroup(path);
    suite_note("refused: ring %u, zone %u, buffer %u", mapped, zones, created);
}

/* ---- nothing stays behind ---- */

/* Buffers with zones, of VMs, in every order of ending. */
static void churn(unsigned rounds)
{
    for (unsigned i = 0; i < rounds; i++) {
        struct device d;
        struct buffer more[4];
        device_open(&d);
        for (unsigned b = 0; b < 4; b++) {
            buffer_open(&more[b], d.guest.vm);
            for (unsigned z = 0; z < 10; z++)
                CHECK_EQ(mmio2_register(d.guest.vm, more[b].fd, z % 2, 0x1000 + b * 0x100 + z * 8, 4), 0);
        }
        for (unsigned b = 0; b < 2; b++)
            buffer_close(&more[b]);
        if (i % 2)
            device_close_vm(&d);
        for (unsigned b = 2; b < 4; b++)
            buffer_close(&more[b]);
        device_close(&d);
    }
}

/* Gives back what caches keep of freed objects: with KASAN that is megabytes. */
static void shrink_caches(void)
{
    glob_t found;
    if (glob("/sys/kernel/slab/*/shrink", 0, NULL, &found))
        return;
    for (size_t i = 0; i < found.gl_pathc; i++)
        (void)write_text(found.gl_pathv[i], "1");
    globfree(&found);
}

/*
 * The kernel's memory that is charged to this process's own cgroup. It sways a little (stocks of each CPU, what RCU has
 * still to free); a leak grows with the rounds, each time: zones alone, 42 a round of 64 bytes each, would be 394 KiB
 * here, rings 1,800 KiB and more.
 */
static void no_growth(void)
{
    const unsigned rounds = 150;
    char path[128], stat[160];
    long long grown = 0;
    bool grew = true;
    enter_cgroup(path, sizeof(path));
    snprintf(stat, sizeof(stat), "%s/memory.stat", path);
    churn(20);
    for (unsigned attempt = 0; grew && attempt < 3; attempt++) {
        shrink_caches();
        grown = -read_number(stat, "kernel");
        churn(rounds);
        shrink_caches();
        grown = (grown + read_number(stat, "kernel")) / 1024;
        grew = grown >= 200;
    }
    leave_cgroup(path);
    suite_context("%lld KiB more after %u VMs", grown, rounds);
    CHECK(!grew);
    suite_note("%lld KiB more after %u VMs with %u buffers", grown, rounds, rounds * 5);
}

/* On a kernel with kmemleak: what it finds after all that. */
static void kmemleak(void)
{
    static const char file[] = "/sys/kernel/debug/kmemleak";
    char text[4096];
    if (access(file, W_OK) || !write_text(file, "clear"))
        suite_skip("this kernel has no kmemleak");
    churn(50);
    /* An object is reported when it is older than five seconds; the second scan sees what the first took for live. */
    for (unsigned i = 0; i < 2; i++) {
        sleep(6);
        CHECK(write_text(file, "scan"));
    }
    int fd = open(file, O_RDONLY | O_CLOEXEC);
    CHECK(fd >= 0);
    ssize_t length = read(fd, text, sizeof(text) - 1);
    CHECK(length >= 0);
    close(fd);
    text[length] = '\0';
    for (char *end; (end = strchr(text, '\n'));)
        *end = ' ';
    suite_context("%.200s", text);
    CHECK(!strstr(text, "mmio2"));
    CHECK_EQ(length, 0);
    suite_context(NULL);
}

const struct suite_case cases_memory[] = {
    {"memory/ring-charged", ring_charged, 60},
    {"memory/limit", limit, 60},
    {"memory/no-growth", no_growth, 60},
    {"memory/kmemleak", kmemleak, 120},
    {NULL, NULL, 0},
};
