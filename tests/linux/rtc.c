/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * In the guest: the real-time clock through Linux's driver (Documentation/admin-guide/rtc.rst). Static, as there is no
 * library. Prints "ok" behind each thing that works; ends with 1 at the first that does not.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/rtc.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define PERIODIC_HZ    1024ul
#define PERIODIC_TICKS 512

static int fd;

static void fail(const char *what)
{
    printf("%s: %s\n", what, strerror(errno));
    exit(1);
}

static double now(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9;
}

/* One read of the device: how many interrupts there were, and of which kind. */
static unsigned long take(int seconds)
{
    struct pollfd ready = {.fd = fd, .events = POLLIN};
    unsigned long data;
    if (poll(&ready, 1, seconds * 1000) != 1)
        fail("no interrupt");
    if (read(fd, &data, sizeof(data)) != (ssize_t)sizeof(data))
        fail("read");
    return data;
}

static void read_time(struct rtc_time *time)
{
    if (ioctl(fd, RTC_RD_TIME, time) < 0)
        fail("RTC_RD_TIME");
}

static void updates(void)
{
    if (ioctl(fd, RTC_UIE_ON, 0) < 0)
        fail("RTC_UIE_ON");
    take(10);
    double first = now();
    struct rtc_time before, after;
    read_time(&before);
    take(10);
    double took = now() - first;
    read_time(&after);
    if (ioctl(fd, RTC_UIE_OFF, 0) < 0)
        fail("RTC_UIE_OFF");
    int seconds = (after.tm_sec - before.tm_sec + 60) % 60;
    printf("update: %d s later after %.2f s %s\n", seconds, took, seconds == 1 ? "ok" : "wrong");
    if (seconds != 1)
        exit(1);
}

static void alarm_in(int seconds)
{
    struct rtc_time time;
    read_time(&time);
    time.tm_sec += seconds;
    time.tm_min += time.tm_sec / 60;
    time.tm_sec %= 60;
    time.tm_hour = (time.tm_hour + time.tm_min / 60) % 24;
    time.tm_min %= 60;
    if (ioctl(fd, RTC_ALM_SET, &time) < 0 || ioctl(fd, RTC_AIE_ON, 0) < 0)
        fail("RTC_AIE_ON");
    double began = now();
    unsigned long data = take(30);
    double took = now() - began;
    struct rtc_time then;
    read_time(&then);
    if (ioctl(fd, RTC_AIE_OFF, 0) < 0)
        fail("RTC_AIE_OFF");
    int late = (then.tm_sec - time.tm_sec + 60) % 60;
    int good = data & RTC_AF && took > seconds - 1.5 && late < 2;
    printf("alarm: after %.2f s, %d s late %s\n", took, late, good ? "ok" : "wrong");
    if (!good)
        exit(1);
}

static void periodic(void)
{
    if (ioctl(fd, RTC_IRQP_SET, PERIODIC_HZ) < 0 || ioctl(fd, RTC_PIE_ON, 0) < 0)
        fail("RTC_PIE_ON");
    double began = now();
    unsigned long ticks = 0;
    while (ticks < PERIODIC_TICKS)
        ticks += take(10) >> 8;
    double took = now() - began;
    if (ioctl(fd, RTC_PIE_OFF, 0) < 0)
        fail("RTC_PIE_OFF");
    int good = took > 0.8 * PERIODIC_TICKS / PERIODIC_HZ;
    printf("periodic: %lu ticks in %.3f s %s\n", ticks, took, good ? "ok" : "wrong");
    if (!good)
        exit(1);
}

int main(void)
{
    fd = open("/dev/rtc0", O_RDONLY);
    if (fd < 0)
        fail("/dev/rtc0");
    updates();
    alarm_in(3);
    periodic();
    return 0;
}
