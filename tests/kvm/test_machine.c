/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The real program with real firmware: SeaBIOS, and the images of firmware/, each of which shows one fact on the debug
 * console. Usage: test_machine RINGVMM DIRECTORY-OF-IMAGES.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "guest.h"

#define IMAGE_BYTES  0x10000u
#define IMAGE_PARAMS 0xff00u
#define PASSED       0x43 /* the images' verdict, 0x21, as an exit status */
#define DEADLINE_MS  60000
#define OUTPUT_MAX   (1u << 20)
#define MAX_ARGS     32u

static const char *ringvmm, *images;
static char scratch[64]; /* a directory of this run's */

/* ---- running it ---- */

struct run {
    char *output; /* standard output: the debug console, or the serial line */
    size_t length;
    char *errors;
    size_t error_length;
    int status; /* as a shell has it */
};

static const char *coalesce(void)
{
    const char *name = getenv("RINGVMM_TEST_BACKEND");
    return name && *name ? name : "auto";
}

static int64_t now_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static pid_t spawn(const char *const *args, int *out, int *err)
{
    int pipes[2][2];
    assert_int_equal(pipe(pipes[0]), 0);
    assert_int_equal(pipe(pipes[1]), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        const char *argv[MAX_ARGS + 5] = {ringvmm, "run"}, *daemon = getenv("RINGVMM_TEST_DEVICE_MODEL");
        unsigned count = 2;
        for (unsigned i = 0; i < MAX_ARGS && args[i]; i++)
            argv[count++] = args[i];
        if (daemon) {
            argv[count++] = "--device-model";
            argv[count] = daemon;
        }
        int null = open("/dev/null", O_RDONLY);
        dup2(null, 0);
        dup2(pipes[0][1], 1);
        dup2(pipes[1][1], 2);
        for (int fd = 3; fd < 32; fd++)
            close(fd);
        execv(ringvmm, (char *const *)argv);
        _exit(127);
    }
    close(pipes[0][1]);
    close(pipes[1][1]);
    *out = pipes[0][0];
    *err = pipes[1][0];
    return pid;
}

static bool take(int fd, char *buffer, size_t *length)
{
    ssize_t got = read(fd, buffer + *length, OUTPUT_MAX - *length - 1);
    if (got > 0)
        *length += (size_t)got;
    buffer[*length] = 0;
    return got > 0;
}

/*
 * Runs ringvmm with these arguments (NULL-terminated) to its end. With `until`, a SIGTERM is sent when that text stands
 * in the output.
 */
static struct run run_until(const char *const *args, const char *until)
{
    struct run run = {.output = calloc(1, OUTPUT_MAX), .errors = calloc(1, OUTPUT_MAX)};
    assert_non_null(run.output);
    assert_non_null(run.errors);
    struct pollfd fds[2] = {{.events = POLLIN}, {.events = POLLIN}};
    pid_t pid = spawn(args, &fds[0].fd, &fds[1].fd);
    int64_t deadline = now_ms() + DEADLINE_MS;
    bool late = false;
    while (fds[0].fd >= 0 || fds[1].fd >= 0) {
        int64_t left = deadline - now_ms();
        if (poll(fds, 2, left > 0 ? (int)left : 0) == 0) {
            late = true;
            kill(pid, SIGKILL);
            break;
        }
        for (unsigned i = 0; i < 2; i++) {
            if (!(fds[i].revents & (POLLIN | POLLHUP)))
                continue;
            if (take(fds[i].fd, i ? run.errors : run.output, i ? &run.error_length : &run.length))
                continue;
            close(fds[i].fd);
            fds[i].fd = -1;
        }
        if (until && strstr(run.output, until)) {
            kill(pid, SIGTERM);
            until = NULL;
        }
    }
    for (unsigned i = 0; i < 2; i++)
        if (fds[i].fd >= 0)
            close(fds[i].fd);
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    run.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    if (late)
        fail_msg("not over after %d s; it printed:\n%s%s", DEADLINE_MS / 1000, run.output, run.errors);
    return run;
}

#define RUN(...)              run_until((const char *const[]){__VA_ARGS__, NULL}, NULL)
#define RUN_UNTIL(until, ...) run_until((const char *const[]){__VA_ARGS__, NULL}, (until))

static void run_free(struct run *run)
{
    free(run->output);
    free(run->errors);
}

static void assert_ended(const struct run *run, int status)
{
    if (run->status != status || run->error_length)
        fail_msg("status %d, not %d; it printed:\n%s%s", run->status, status, run->output, run->errors);
}

static void assert_printed(const struct run *run, const char *text)
{
    if (!strstr(run->output, text))
        fail_msg("'%s' is not in the output:\n%s", text, run->output);
}

/* A copy of an image with its parameters set. The path is valid until the next call. */
static const char *image(const char *name, uint32_t param0, uint32_t param1, uint32_t param2)
{
    static char path[sizeof(scratch) + 32];
    char source[512];
    uint8_t *bytes = malloc(IMAGE_BYTES);
    assert_non_null(bytes);
    snprintf(source, sizeof(source), "%s/%s.bin", images, name);
    FILE *file = fopen(source, "re");
    assert_non_null(file);
    assert_int_equal(fread(bytes, 1, IMAGE_BYTES, file), IMAGE_BYTES);
    fclose(file);
    const uint32_t params[3] = {param0, param1, param2};
    memcpy(bytes + IMAGE_PARAMS, params, sizeof(params));
    snprintf(path, sizeof(path), "%s/image", scratch);
    file = fopen(path, "we");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, IMAGE_BYTES, file), IMAGE_BYTES);
    assert_int_equal(fclose(file), 0);
    free(bytes);
    return path;
}

#define CONSOLES "--serial", "null", "--debugcon", "stdio", "--debug-exit", "0x501"

/* ---- SeaBIOS ---- */

static void boot_seabios(const char *cpus, const char *back_end)
{
    char found[32], path[sizeof(scratch) + 16], serial[sizeof(path) + 8];
    snprintf(found, sizeof(found), "Found %s cpu(s)", cpus);
    snprintf(path, sizeof(path), "%s/serial", scratch);
    snprintf(serial, sizeof(serial), "file:%s", path);
    struct run run = RUN_UNTIL("No bootable device", "--serial", serial, "--debugcon", "stdio", "--cpus", cpus,
                               "--coalesce", back_end);
    assert_ended(&run, 128 + SIGTERM);
    assert_printed(&run, "SeaBIOS (version");
    assert_printed(&run, found);
    run_free(&run);

    char screen[4096]; /* which SeaBIOS keeps on the serial line: etc/sercon-port */
    FILE *file = fopen(path, "re");
    assert_non_null(file);
    screen[fread(screen, 1, sizeof(screen) - 1, file)] = 0;
    fclose(file);
    assert_non_null(strstr(screen, "SeaBIOS (version"));
}

static void test_seabios(void **state)
{
    (void)state;
    boot_seabios("1", coalesce());
    boot_seabios("2", coalesce());
    boot_seabios("4", coalesce());
}

static void test_seabios_off(void **state)
{
    (void)state;
    boot_seabios("2", "off");
}

static void test_debugcon_file(void **state)
{
    (void)state;
    char path[sizeof(scratch) + 16], where[sizeof(path) + 8], text[64] = "";
    snprintf(path, sizeof(path), "%s/log", scratch);
    snprintf(where, sizeof(where), "file:%s", path);
    struct run run = RUN("--firmware", image("smp", 0, 0, 0), "--serial", "null", "--debugcon", where, "--debug-exit",
                         "0x501", "--coalesce", coalesce());
    assert_ended(&run, PASSED);
    FILE *file = fopen(path, "re");
    assert_non_null(file);
    assert_non_null(fgets(text, sizeof(text), file));
    fclose(file);
    assert_string_equal(text, "started 00 apic ids 00000000\n");
    run_free(&run);
}

/* ---- processors ---- */

static void test_cpus(void **state)
{
    (void)state;
    for (unsigned cpus = 1; cpus <= 4; cpus++) {
        char number[8], expected[64];
        snprintf(number, sizeof(number), "%u", cpus);
        snprintf(expected, sizeof(expected), "started %02x apic ids %08x\n", cpus - 1, (1u << cpus) - 2);
        struct run run =
            RUN("--firmware", image("smp", cpus - 1, 0, 0), CONSOLES, "--cpus", number, "--coalesce", coalesce());
        assert_ended(&run, PASSED);
        assert_string_equal(run.output, expected);
        run_free(&run);
    }
}

/* ---- the clock ---- */

static int64_t from_bcd(unsigned value)
{
    return value / 16 * 10 + value % 16;
}

/* What the guest's registers say, as seconds since 1970. */
static int64_t guest_time(const struct run *run)
{
    unsigned r[8];
    assert_int_equal(
        sscanf(run->output, "rtc %x %x %x %x %x %x %x %x", &r[0], &r[1], &r[2], &r[3], &r[4], &r[5], &r[6], &r[7]), 8);
    assert_int_equal(r[7] & 0x06, 0x02); /* BCD, 24 hours: as the machine powers on */
    struct tm tm = {.tm_year = (int)(from_bcd(r[0]) * 100 + from_bcd(r[1]) - 1900),
                    .tm_mon = (int)from_bcd(r[2]) - 1,
                    .tm_mday = (int)from_bcd(r[3]),
                    .tm_hour = (int)from_bcd(r[4]),
                    .tm_min = (int)from_bcd(r[5]),
                    .tm_sec = (int)from_bcd(r[6])};
    return timegm(&tm);
}

static int64_t local_offset(void)
{
    time_t now = time(NULL);
    struct tm tm;
    tzset();
    localtime_r(&now, &tm);
    return tm.tm_gmtoff;
}

/* Not time(), which lags behind the clock that the guest's is made from by as much as a late timer interrupt. */
static int64_t host_time(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return now.tv_sec;
}

static void check_clock(const char *rtc, bool dated, int64_t base, const char *back_end)
{
    int64_t before = host_time();
    struct run run = RUN("--firmware", image("rtc", 0, 0, 0), CONSOLES, "--rtc", rtc, "--coalesce", back_end);
    int64_t after = host_time();
    assert_ended(&run, PASSED);
    int64_t shown = guest_time(&run), least = dated ? base : before + base,
            most = dated ? base + after - before + 1 : after + base;
    if (shown < least || shown > most)
        fail_msg("--rtc %s: the guest saw %lld, not between %lld and %lld", rtc, (long long)shown, (long long)least,
                 (long long)most);
    run_free(&run);
}

static void test_clock(void **state)
{
    (void)state;
    const int64_t y2001 = 981173106; /* 2001-02-03T04:05:06 UTC */
    const char *const back_ends[] = {coalesce(), "off"};
    for (unsigned i = 0; i < 2; i++) {
        check_clock("base=utc", false, 0, back_ends[i]);
        check_clock("base=2001-02-03T04:05:06", true, y2001, back_ends[i]);
    }
    check_clock("base=utc,clock=vm", false, 0, coalesce());
    check_clock("base=2001-02-03T04:05:06,clock=vm", true, y2001, coalesce());
    check_clock("base=2099-12-31T23:59:59", true, 4102444799, coalesce());
    setenv("TZ", "XYZ-05:45", 1);
    check_clock("base=localtime", false, local_offset(), coalesce());
    assert_int_equal(local_offset(), (5 * 60 + 45) * 60);
    unsetenv("TZ");
}

static void test_straddling_word(void **state)
{
    (void)state;
    const char *const back_ends[] = {coalesce(), "off"};
    for (unsigned i = 0; i < 2; i++) {
        struct run run = RUN("--firmware", image("straddle", 0, 0, 0), CONSOLES, "--coalesce", back_ends[i]);
        assert_ended(&run, PASSED);
        assert_string_equal(run.output, "00 5a a5 a5ff\n");
        run_free(&run);
    }
}

/* ---- PCI configuration ---- */

static void test_pci(void **state)
{
    (void)state;
    static const char expected[] = "latch-at-reset 00000000\n"
                                   "dword 12378086\n" /* 82441FX */
                                   "word-0 8086\n"
                                   "word-1 3780\n"
                                   "word-2 1237\n"
                                   "byte-0 86\n"
                                   "byte-1 80\n"
                                   "byte-2 37\n"
                                   "byte-3 12\n"
                                   "over-the-start 8086ffff\n"
                                   "over-the-end ffff1237\n"
                                   "latch 80000000\n"
                                   "latch-reserved 80000000\n"
                                   "low-bits-ignored 12378086\n"
                                   "latch-narrow 80000000\n"
                                   "reset-control 00\n"
                                   "disabled ffffffff\n"
                                   "absent-device ffffffff\n"
                                   "absent-bus ffffffff\n"
                                   "pirq-at-reset 80808080\n"
                                   "pirq-byte 80800b80\n"
                                   "pirq-word 050a0b80\n"
                                   "pirq-odd-word 05070680\n"
                                   "pirq-dword 09030480\n"
                                   "read-only 12378086\n";
    const char *const back_ends[] = {coalesce(), "off"};
    for (unsigned i = 0; i < 2; i++) {
        struct run run = RUN("--firmware", image("pci", 0, 0, 0), CONSOLES, "--coalesce", back_ends[i]);
        assert_ended(&run, PASSED);
        assert_string_equal(run.output, expected);
        run_free(&run);
    }
}

/* ---- ACPI ---- */

/* The tables name the ports at which the guest has put the registers, whatever the firmware's habit is. */
static void test_acpi_follows(void **state)
{
    (void)state;
    static const char expected[] = "event b000 control b004 timer b008 x-event b000\n"
                                   "event 1240 control 1244 timer 1248 x-event 1240\n";
    const char *const back_ends[] = {coalesce(), "off"};
    for (unsigned i = 0; i < 2; i++) {
        struct run run = RUN("--firmware", image("acpi", 0xb000, 0x1240, 0), CONSOLES, "--coalesce", back_ends[i]);
        assert_ended(&run, PASSED);
        assert_string_equal(run.output, expected);
        run_free(&run);
    }
}

/* ---- the serial port ---- */

static void test_serial(void **state)
{
    (void)state;
    static const char expected[] = "lines-off 0b\n" /* CTS, DSR and DCD have gone */
                                   "lines-on fb\n"  /* all four have come; RI's rise is no trailing edge */
                                   "idle 60\n"
                                   "ready 61\n"
                                   "character a5\n"
                                   "empty 60\n"
                                   "fifo 000f0001\n"; /* the sum of n << (n - 1) for 1 to 16: each in its place */
    struct run run = RUN("--firmware", image("serial", 0, 0, 0), CONSOLES, "--coalesce", coalesce());
    assert_ended(&run, PASSED);
    assert_string_equal(run.output, expected);
    run_free(&run);
    run = RUN("--firmware", image("serial", 0, 0, 0), "--serial", "stdio", "--debug-exit", "0x501", "--coalesce",
              coalesce());
    assert_ended(&run, PASSED);
    assert_string_equal(run.output, "serial line\n"); /* and nothing of the loopback */
    run_free(&run);
}

/* ---- debug exit ---- */

static void test_debug_exit(void **state)
{
    (void)state;
    static const struct {
        uint32_t value, width;
        int status;
    } cases[] = {{0, 1, 1},       {1, 1, 3},       {0x2a, 1, 0x55}, {0x7f, 1, 0xff}, {0x80, 1, 1},
                 {0x1ff, 2, 255}, {0x12, 2, 0x25}, {0x34, 4, 0x69}, {0x10001, 4, 3}};
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct run run =
            RUN("--firmware", image("exit", cases[i].value, cases[i].width, 0), CONSOLES, "--coalesce", coalesce());
        assert_ended(&run, cases[i].status);
        assert_string_equal(run.output, "");
        run_free(&run);
    }
}

/* ---- reset ---- */

/* As reset.S numbers them. The last but one asks twice, by a posted write and by an exit right behind it; the last one
 * is in the middle of memory reads that exit when it takes effect. */
enum reset_by { BY_CF9, BY_PORT_92, BY_I8042, BY_TRIPLE_FAULT, BY_CF9_AND_I8042, BY_CF9_WHILE_READING, RESET_WAYS };

/* What reset.S prints: the number of each boot, and a line of posted characters right before each reset. */
static char *expected_boots(unsigned resets, unsigned burst, bool end)
{
    char *text = calloc(1, OUTPUT_MAX), *at = text;
    assert_non_null(text);
    for (unsigned boot = 0; boot < resets + end; boot++) {
        at += sprintf(at, "boot %02x latch 00000000\n", boot);
        if (boot == resets)
            break;
        for (unsigned i = burst; i > 0; i--)
            *at++ = (char)('a' + i % 16);
        *at++ = '\n';
    }
    if (end)
        strcpy(at, "done\n");
    return text;
}

static void check_resets(enum reset_by way, unsigned resets, unsigned burst, const char *back_end, const char *cpus)
{
    char path[sizeof(scratch) + 16], rtc[sizeof(path) + 16];
    snprintf(path, sizeof(path), "%s/nvram", scratch);
    snprintf(rtc, sizeof(rtc), "nvram=%s", path);
    (void)unlink(path);
    struct run run = RUN("--firmware", image("reset", way, resets, burst), CONSOLES, "--cpus", cpus, "--rtc", rtc,
                         "--coalesce", back_end);
    assert_ended(&run, PASSED);
    char *expected = expected_boots(resets, burst, true);
    assert_string_equal(run.output, expected);
    free(expected);
    run_free(&run);

    uint8_t nvram[128];
    FILE *file = fopen(path, "re");
    assert_non_null(file);
    assert_int_equal(fread(nvram, 1, sizeof(nvram), file), sizeof(nvram));
    fclose(file);
    assert_int_equal(nvram[0x50], resets); /* reset.S's counter */
}

static void test_resets(void **state)
{
    (void)state;
    for (enum reset_by way = BY_CF9; way < RESET_WAYS; way++) {
        check_resets(way, 3, 20, coalesce(), "1");
        check_resets(way, 3, 20, "off", "1");
        check_resets(way, 3, 20, coalesce(), "4");
    }
}

/* A hundred times, with more posted writes before each than a ring holds: every character of every boot is there. In an
 * emulated machine, where a hundred take ten seconds, twenty times. */
static void test_hundred_resets(void **state)
{
    const unsigned resets = guest_slow() > 1 ? 20 : 100;
    (void)state;
    for (enum reset_by way = BY_CF9; way < RESET_WAYS; way++)
        check_resets(way, resets, way % 2 ? 400 : 100, coalesce(), "1");
}

/* A reset ends the run: one boot, and all of its output. */
static void test_no_reboot(void **state)
{
    (void)state;
    for (enum reset_by way = BY_CF9; way < RESET_WAYS; way++) {
        struct run run =
            RUN("--firmware", image("reset", way, 1, 100), CONSOLES, "--no-reboot", "--coalesce", coalesce());
        if (way == BY_TRIPLE_FAULT) { /* no guest does that by intention, so here it is a failure that is told */
            assert_int_equal(run.status, 4);
            assert_non_null(strstr(run.errors, "triple fault"));
        } else {
            assert_ended(&run, 0);
        }
        char *expected = expected_boots(1, 100, false);
        assert_string_equal(run.output, expected);
        free(expected);
        run_free(&run);
    }
}

/* MTRRs and TSC are after a reset what they were at power-on, whatever the guest has made of them. A KVM by software
 * may not let the guest write its TSC. */
static void test_msrs_across_reset(void **state)
{
    (void)state;
    static const char at_power_on[] = "00000000 00000000 00000000 00000000 00\n",
                      written[] = "80000800 00000006 04040404 00000c06 0";
    const size_t line = sizeof(at_power_on) - 1;
    struct run run = RUN("--firmware", image("msrs", 0, 0, 0), CONSOLES, "--cpus", "2", "--coalesce", coalesce());
    assert_ended(&run, PASSED);
    assert_int_equal(run.length, 3 * line);
    assert_memory_equal(run.output, at_power_on, line);
    assert_memory_equal(run.output + line, written, sizeof(written) - 1);
    assert_memory_equal(run.output + 2 * line, at_power_on, line);
    run_free(&run);
}

static void clean_up(void)
{
    static const char *const names[] = {"image", "nvram", "log", "serial"};
    char path[sizeof(scratch) + 16];
    for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        snprintf(path, sizeof(path), "%s/%s", scratch, names[i]);
        (void)unlink(path);
    }
    (void)rmdir(scratch);
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: test_machine RINGVMM DIRECTORY-OF-IMAGES\n");
        return 1;
    }
    ringvmm = argv[1];
    images = argv[2];
    guest_need_kvm();
    const char *tmp = getenv("TMPDIR");
    snprintf(scratch, sizeof(scratch), "%.40s/ringvmm-test-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    if (!mkdtemp(scratch)) {
        perror(scratch);
        return 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_seabios),
        cmocka_unit_test(test_seabios_off),
        cmocka_unit_test(test_debugcon_file),
        cmocka_unit_test(test_cpus),
        cmocka_unit_test(test_clock),
        cmocka_unit_test(test_straddling_word),
        cmocka_unit_test(test_pci),
        cmocka_unit_test(test_acpi_follows),
        cmocka_unit_test(test_serial),
        cmocka_unit_test(test_debug_exit),
        cmocka_unit_test(test_resets),
        cmocka_unit_test(test_no_reboot),
        cmocka_unit_test(test_hundred_resets),
        cmocka_unit_test(test_msrs_across_reset),
    };
    int failed = cmocka_run_group_tests_name("machine", tests, NULL, NULL);
    clean_up();
    return failed;
}
