/* SPDX-License-Identifier: BSD-2-Clause */
/* Command lines are written as one string here, and split at each blank. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <ctype.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vmm/hyperv.h"
#include "vmm/options.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define MAX_ARGS     20

struct line {
    char text[512];
    char *argv[MAX_ARGS];
    int argc;
    struct run_options options;
    struct options_error error;
};

static enum options_result parse_line(struct line *line, const char *text)
{
    memset(line, 0, sizeof(*line));
    (void)snprintf(line->text, sizeof(line->text), "%s", text);
    for (char *word = strtok(line->text, " "); word; word = strtok(NULL, " ")) {
        assert_true(line->argc < MAX_ARGS);
        line->argv[line->argc++] = word;
    }
    return options_parse_run(line->argc, line->argv, &line->options, &line->error);
}

static const struct run_options *good(struct line *line, const char *text)
{
    if (parse_line(line, text) != OPTIONS_OK)
        fail_msg("'%s': %s", text, line->error.line);
    assert_string_equal(line->error.line, "");
    return &line->options;
}

static void defaults(void **state)
{
    struct line line;
    const struct run_options *o = good(&line, "");

    (void)state;
    assert_int_equal(o->machine, OPTION_MACHINE_I440FX);
    assert_int_equal(o->cpus, 1);
    assert_int_equal(o->memory_bytes, 64 << 20);
    assert_string_equal(o->firmware, "seabios");
    assert_null(o->kernel);
    assert_null(o->initrd);
    assert_null(o->append);
    assert_false(o->no_reboot);
    assert_string_equal(o->serial, "stdio");
    assert_string_equal(o->debugcon, "null");
    assert_int_equal(o->debugcon_port, 0x402);
    assert_int_equal(o->debug_exit_port, -1);
    assert_int_equal(o->rtc_base, OPTION_RTC_UTC);
    assert_int_equal(o->rtc_clock, OPTION_RTC_CLOCK_HOST);
    assert_int_equal(o->rtc_lost_ticks, OPTION_LOST_TICKS_DISCARD);
    assert_string_equal(o->rtc_nvram, "");
    assert_int_equal(o->coalesce, RINGD_BACKEND_AUTO);
    assert_int_equal(o->max_replay_latency_us, RINGD_DEFAULT_MAX_REPLAY_LATENCY_NS / 1000);
    assert_true(o->moderation);
    assert_int_equal(o->post, 0);
    assert_int_equal(o->ring_cpu, -1);
    assert_int_equal(o->ring_priority, 0);
    assert_int_equal(o->vcpu_affinity_count, 0);
    assert_string_equal(o->cpu, "host");
    for (unsigned i = 0; i < CPU_WORDS; i++)
        assert_int_equal(o->cpu_features.off[i] | o->cpu_features.on[i], 0);
    assert_false(o->cpu_features.no_kvm);
    assert_int_equal(o->hyperv, 0);
    assert_int_equal(o->vcpu_priority, 0);
    assert_int_equal(o->halt_poll_ns, -1);
    assert_false(o->cpu_pm || o->mlock || o->hugepages || o->prefault);
    assert_int_equal(o->teardown, OPTION_TEARDOWN_ASYNC);
    assert_int_equal(o->stats, OPTION_STATS_NONE);
    assert_null(o->stats_path);
    for (size_t i = 0; i < sizeof(o->uuid); i++)
        assert_int_equal(o->uuid[i], 0);
    assert_null(o->dump_tables);
    assert_false(o->dry_run);
}

static void machine_options(void **state)
{
    struct line line;
    const struct run_options *o =
        good(&line, "--machine i440fx --cpus=4 --memory 2G --firmware=a=b.bin --no-reboot --vcpu-affinity 2,0,5-6 -n");

    (void)state;
    assert_int_equal(o->cpus, 4);
    assert_int_equal(o->memory_bytes, 2ull << 30);
    assert_string_equal(o->firmware, "a=b.bin");
    assert_ptr_equal(o->firmware, line.argv[5] + strlen("--firmware="));
    assert_true(o->no_reboot);
    assert_int_equal(o->vcpu_affinity_count, 4);
    assert_int_equal(o->vcpu_affinity[0], 2);
    assert_int_equal(o->vcpu_affinity[1], 0);
    assert_int_equal(o->vcpu_affinity[3], 6);
    assert_true(o->dry_run);
    assert_int_equal(good(&line, "--memory 1M")->memory_bytes, 1 << 20);
    assert_int_equal(good(&line, "--memory 65536K")->memory_bytes, 64 << 20);
    assert_int_equal(good(&line, "--cpus 64")->cpus, 64);
    o = good(&line, "--uuid 6ba7b810-9dad-11d1-80b4-00c04fd430c8 --dump-tables d");
    assert_int_equal(o->uuid[0], 0x6b);
    assert_int_equal(o->uuid[15], 0xc8);
    assert_string_equal(o->dump_tables, "d");
}

static void cpu_options(void **state)
{
    struct line line;
    const struct run_options *o = good(&line, "--cpu host,-avx2,-kvm,+x2apic,-rdrand,+kvm");

    (void)state;
    assert_int_equal(o->cpu_features.off[CPU_7_EBX], 1 << 5);
    assert_int_equal(o->cpu_features.off[CPU_1_ECX], 1 << 30);
    assert_int_equal(o->cpu_features.on[CPU_1_ECX], 1 << 21);
    assert_int_equal(o->cpu_features.on[CPU_7_EBX], 0);
    assert_true(o->cpu_features.no_kvm);
    assert_int_equal(good(&line, "--hyperv on")->hyperv, HYPERV_ALL);
    assert_int_equal(good(&line, "--hyperv off")->hyperv, 0);
    assert_int_equal(good(&line, "--hyperv relaxed,time,vpindex")->hyperv,
                     HYPERV_RELAXED | HYPERV_TIME | HYPERV_VPINDEX);
    o = good(&line, "--vcpu-priority 99 --halt-poll 0 --cpu-pm --mlock --hugepages --prefault");
    assert_int_equal(o->vcpu_priority, 99);
    assert_int_equal(o->halt_poll_ns, 0);
    assert_true(o->cpu_pm && o->mlock && o->hugepages && o->prefault);
    assert_int_equal(good(&line, "--halt-poll 1000000000")->halt_poll_ns, 1000000000);
    assert_int_equal(good(&line, "--vcpu-priority 0")->vcpu_priority, 0);
}

static void kernel_options(void **state)
{
    struct line line;
    const struct run_options *o = good(&line, "--kernel vmlinuz --initrd=initrd.img --append quiet");

    (void)state;
    assert_string_equal(o->kernel, "vmlinuz");
    assert_string_equal(o->initrd, "initrd.img");
    assert_string_equal(o->append, "quiet");
    assert_null(o->firmware);
    o = good(&line, "--kernel vmlinuz --firmware OVMF.fd");
    assert_string_equal(o->firmware, "OVMF.fd");
    assert_null(o->append);
}

static void console_options(void **state)
{
    struct line line;
    const struct run_options *o =
        good(&line, "--serial unix:/run/s --debugcon file:log --debugcon-port 0x403 --debug-exit 0x501");

    (void)state;
    assert_string_equal(o->serial, "unix:/run/s");
    assert_string_equal(o->debugcon, "file:log");
    assert_int_equal(o->debugcon_port, 0x403);
    assert_int_equal(o->debug_exit_port, 0x501);
    assert_int_equal(good(&line, "--debugcon-port 0xe9")->debugcon_port, 0xe9);
    assert_int_equal(good(&line, "--debug-exit 0xf4")->debug_exit_port, 0xf4);
    assert_int_equal(good(&line, "--debug-exit 65532")->debug_exit_port, 0xfffc);
    good(&line, "--serial stdio --debugcon stdio");
    good(&line, "--serial file:/dev/null --debugcon file:/dev/null");
}

static void virtio_options(void **state)
{
    struct line line;
    const struct run_options *o = good(&line, "--cpus 2");

    (void)state;
    assert_int_equal(o->disk_count, 0);
    assert_false(o->virtio_rng);
    assert_null(o->virtio_console);
    o = good(&line, "--disk a.img --virtio-rng on --virtio-console unix:/c --disk b=c.img,readonly=on,serial=S1 "
                    "--disk file=d.img,aio=threads,discard=off");
    assert_int_equal(o->disk_count, 3);
    assert_string_equal(o->disks[0].file, "a.img");
    assert_false(o->disks[0].read_only);
    assert_true(o->disks[0].discard);
    assert_int_equal(o->disks[0].aio, OPTION_AIO_AUTO);
    assert_string_equal(o->disks[0].serial, "");
    assert_int_equal(o->disks[0].boot_index, -1);
    assert_string_equal(o->disks[1].file, "b=c.img"); /* no key, so a name */
    assert_true(o->disks[1].read_only);
    assert_string_equal(o->disks[1].serial, "S1");
    assert_string_equal(o->disks[2].file, "d.img");
    assert_false(o->disks[2].read_only); /* each has its own */
    assert_false(o->disks[2].discard);
    assert_int_equal(o->disks[2].aio, OPTION_AIO_THREADS);
    assert_true(o->virtio_rng);
    assert_string_equal(o->virtio_console, "unix:/c");
    o = good(&line, "--disk a,serial=12345678901234567890");
    assert_string_equal(o->disks[0].serial, "12345678901234567890");
    o = good(&line, "--disk a,bootindex=7 --disk b --disk c,bootindex=0");
    assert_int_equal(o->disks[0].boot_index, 7);
    assert_int_equal(o->disks[1].boot_index, -1);
    assert_int_equal(o->disks[2].boot_index, 0);
    o = good(&line, "--disk a --disk b --disk c --disk d --disk e --disk f --disk g --disk h");
    assert_int_equal(o->disk_count, OPTIONS_MAX_DISKS);
    assert_string_equal(o->disks[7].file, "h");
}

static void rtc_options(void **state)
{
    struct line line;
    const struct run_options *o = good(&line, "--rtc nvram=/x/cmos,lost-ticks=slew,base=2026-11-21T08:30:00,clock=vm");

    (void)state;
    assert_int_equal(o->rtc_base, OPTION_RTC_DATE);
    assert_int_equal(o->rtc_base_seconds, 1795249800);
    assert_int_equal(o->rtc_clock, OPTION_RTC_CLOCK_VM);
    assert_int_equal(o->rtc_lost_ticks, OPTION_LOST_TICKS_SLEW);
    assert_string_equal(o->rtc_nvram, "/x/cmos");
    o = good(&line, "--rtc=base=localtime");
    assert_int_equal(o->rtc_base, OPTION_RTC_LOCALTIME);
    assert_int_equal(o->rtc_clock, OPTION_RTC_CLOCK_HOST);
}

static void ring_options(void **state)
{
    struct line line;
    const struct run_options *o =
        good(&line, "--coalesce v1 --max-replay-latency 20 --moderation off --post pci-data,rtc-data "
                    "--ring-thread cpu=0,priority=99 --teardown sync --stats json:out.json");

    (void)state;
    assert_int_equal(o->coalesce, RINGD_BACKEND_V1);
    assert_int_equal(o->max_replay_latency_us, 20);
    assert_false(o->moderation);
    assert_int_equal(o->post, OPTION_POST_RTC_DATA | OPTION_POST_PCI_DATA);
    assert_int_equal(o->ring_cpu, 0);
    assert_int_equal(o->ring_priority, 99);
    assert_int_equal(o->teardown, OPTION_TEARDOWN_SYNC);
    assert_int_equal(o->stats, OPTION_STATS_JSON);
    assert_string_equal(o->stats_path, "out.json");
    assert_int_equal(good(&line, "--ring-thread cpu=1")->ring_priority, 0);
    assert_int_equal(good(&line, "--post rtc-data")->post, OPTION_POST_RTC_DATA);
    assert_int_equal(good(&line, "--coalesce off")->coalesce, RINGD_BACKEND_OFF);
    assert_int_equal(good(&line, "--coalesce off")->device_model_wait_ms, 10000);
    assert_int_equal(good(&line, "--device-model unix:/x --device-model-wait 250")->device_model_wait_ms, 250);
    assert_string_equal(line.options.device_model, "unix:/x");
    assert_null(good(&line, "--stats table")->stats_path);
    assert_int_equal(line.options.stats, OPTION_STATS_TABLE);
}

static void help_is_asked_for(void **state)
{
    struct line line;

    (void)state;
    assert_int_equal(parse_line(&line, "--help"), OPTIONS_HELP);
    assert_int_equal(parse_line(&line, "--cpus 2 -h --nonsense"), OPTIONS_HELP);
    assert_int_equal(parse_line(&line, "--nonsense -h"), OPTIONS_ERROR);
}

static const struct {
    const char *line;
    const char *error;
} bad_lines[] = {
    {"--cpus x", "--cpus 'x': not a number from 1 to 64"},
    {"--cpus 0", "--cpus '0': not a number from 1 to 64"},
    {"--cpus 65", "--cpus '65': not a number from 1 to 64"},
    {"--cpus -1", "--cpus '-1': not a number from 1 to 64"},
    {"--disk", "--disk needs a value: --disk FILE[,KEY=VALUE...]"},
    {"--disk readonly=on", "--disk needs a FILE: --disk FILE[,KEY=VALUE...]"},
    {"--disk a,b", "--disk: unknown key 'b'; it takes file=, readonly=, discard=, aio=, serial=, bootindex="},
    {"--disk a,file=b", "--disk file given twice: 'a' and 'b'"},
    {"--disk a,serail=x", "--disk: unknown key 'serail'; did you mean serial=?"},
    {"--disk a,bootindex=2 --disk b,bootindex=2", "--disk bootindex 2 given twice: for 'a' and 'b'"},
    {"--disk a,bootindex=8", "--disk bootindex '8': not a number from 0 to 7"},
    {"--disk a,aio=uring", "--disk aio 'uring': not one of auto, io_uring, threads"},
    {"--disk a,readonly=yes", "--disk readonly 'yes': not 'on' or 'off'"},
    {"--disk a,serial=123456789012345678901", "--disk serial '123456789012345678901': longer than 20 bytes"},
    {"--disk a --disk b --disk c --disk d --disk e --disk f --disk g --disk h --disk i",
     "--disk given more than 8 times"},
    {"--virtio-rng yes", "--virtio-rng 'yes': not 'on' or 'off'"},
    {"--virtio-console tcp:1", "--virtio-console 'tcp:1': not stdio, null, pty, file:PATH or unix:PATH"},
    {"--virtio-console file:a --serial file:a", "'a' given twice: as --serial and as --virtio-console"},
    {"--disk a --device-model unix:b", "--disk does not go with --device-model: the PCI bus is the daemon's then, and "
                                       "has no such device"},
    {"--virtio-rng on --device-model unix:b", "--virtio-rng does not go with --device-model: the PCI bus is the "
                                              "daemon's then, and has no such device"},
    {"--cpus 1 --cpus=2", "--cpus given twice: '1' and '2'"},
    {"--no-reboot --no-reboot", "--no-reboot given twice"},
    {"--initrd x", "--initrd without --kernel: there is nothing to give it to"},
    {"--append x --initrd y", "--initrd without --kernel: there is nothing to give it to"},
    {"--append x", "--append without --kernel: there is nothing to give it to"},
    {"--kernel x --firmware seabios", "--kernel with --firmware seabios: SeaBIOS takes no kernel from fw_cfg; leave "
                                      "--firmware out to boot the kernel directly, or take ovmf"},
    {"-n --dry-run", "--dry-run given twice"},
    {"--memory 64", "--memory '64': a size needs its unit: K, M or G, as in 64M"},
    {"--memory lots", "--memory 'lots': not a size such as 64M (a number and K, M or G)"},
    {"--memory 1500K", "--memory '1500K': not a multiple of 1M"},
    {"--memory 512K", "--memory '512K': not from 1M to 65536G"},
    {"--memory 65537G", "--memory '65537G': not from 1M to 65536G"},
    {"--memory 99999999999999999999G", "--memory '99999999999999999999G': not from 1M to 65536G"},
    {"--machine q36", "--machine 'q36': not one of i440fx, q35; did you mean 'q35'?"},
    {"--firmware=", "--firmware needs a value: --firmware FILE|seabios|ovmf"},
    {"--firmware --cpus 2", "--firmware needs a value: --firmware FILE|seabios|ovmf"},
    {"--cpus", "--cpus needs a value: --cpus N"},
    {"--no-reboot=yes", "--no-reboot takes no value, but has 'yes'"},
    {"--cpsu 2", "unknown option '--cpsu'; did you mean '--cpus'? See 'ringvmm run --help'"},
    {"--memroy=64M", "unknown option '--memroy'; did you mean '--memory'? See 'ringvmm run --help'"},
    {"--max-replay 9", "unknown option '--max-replay'; did you mean '--max-replay-latency'? See 'ringvmm run --help'"},
    {"-cpus 2", "unknown option '-cpus'; did you mean '--cpus'? See 'ringvmm run --help'"},
    {"-m 64M", "unknown option '-m'; see 'ringvmm run --help'"},
    {"-nh", "unknown option '-nh'; see 'ringvmm run --help'"},
    {"--", "unknown option '--'; see 'ringvmm run --help'"},
    {"disk.img", "unexpected argument 'disk.img'; see 'ringvmm run --help'"},
    {"-", "unexpected argument '-'; see 'ringvmm run --help'"},
    {"--serial pty:", "--serial 'pty:': not stdio, null, pty, file:PATH or unix:PATH"},
    {"--serial file:", "--serial 'file:': its path is empty"},
    {"--debugcon stdio2", "--debugcon 'stdio2': not stdio, null, pty, file:PATH or unix:PATH"},
    {"--serial file:a --debugcon file:a", "'a' given twice: as --serial and as --debugcon"},
    {"--serial unix:a --stats json:a", "'a' given twice: as --serial and as --stats"},
    {"--debugcon file:a --rtc nvram=a", "'a' given twice: as --debugcon and as the RTC's nvram"},
    {"--debugcon-port 0x10000", "--debugcon-port '0x10000': not a port from 0x0 to 0xffff"},
    {"--debug-exit 0xfffd", "--debug-exit '0xfffd': not a port from 0x0 to 0xfffc"},
    {"--debug-exit 0x402", "port 0x402 given twice: to --debug-exit (0x402-0x405) and to --debugcon-port (0x402)"},
    {"--debug-exit 0x70", "port 0x70 given twice: to --debug-exit (0x70-0x73) and to the RTC (0x70-0x71)"},
    {"--debug-exit 0x3f7", "port 0x3f8 given twice: to --debug-exit (0x3f7-0x3fa) and to COM1 (0x3f8-0x3ff)"},
    {"--debugcon-port 0x80", "port 0x80 given twice: to --debugcon-port (0x80) and to the POST code (0x80)"},
    {"--rtc utc", "--rtc: unknown key 'utc'; it takes base=, clock=, lost-ticks=, nvram="},
    {"--rtc bse=utc", "--rtc: unknown key 'bse'; did you mean base=?"},
    {"--rtc base=utc,", "--rtc: unknown key ''; it takes base=, clock=, lost-ticks=, nvram="},
    {"--rtc base", "--rtc: base needs a value: base=utc|localtime|DATE"},
    {"--rtc base=utc,base=localtime", "--rtc base given twice: 'utc' and 'localtime'"},
    {"--rtc base=now", "--rtc base 'now': not utc, localtime or a date such as 2026-11-21 or 2026-11-21T08:30:00"},
    {"--rtc base=2026-02-30", "--rtc base '2026-02-30': no such day and time from 1970 to 2199"},
    {"--rtc clock=rt", "--rtc clock 'rt': not one of host, vm"},
    {"--rtc lost-ticks=slow", "--rtc lost-ticks 'slow': not one of discard, slew; did you mean 'slew'?"},
    {"--device-model /run/ringd.sock", "--device-model '/run/ringd.sock': not unix:PATH"},
    {"--device-model unix:", "--device-model 'unix:': no path after unix:"},
    {"--device-model-wait 0", "--device-model-wait '0': not a number of milliseconds from 1 to 86400000"},
    {"--device-model-wait 86400001", "--device-model-wait '86400001': not a number of milliseconds from 1 to 86400000"},
    {"--coalesce memfd", "--coalesce 'memfd': not one of auto, mmio2, v1, off"},
    {"--coalesce v2", "--coalesce 'v2': not one of auto, mmio2, v1, off; did you mean 'v1'?"},
    {"--max-replay-latency 19", "--max-replay-latency '19': not a number of microseconds from 20 to 1000000"},
    {"--max-replay-latency 1ms", "--max-replay-latency '1ms': not a number of microseconds from 20 to 1000000"},
    {"--moderation yes", "--moderation 'yes': not 'on' or 'off'"},
    {"--post rtc-data,rtc-data", "--post: 'rtc-data' given twice"},
    {"--post rtc-index", "--post 'rtc-index': not one of rtc-data, pci-data"},
    {"--ring-thread cpu=1024", "--ring-thread cpu '1024': not a number from 0 to 1023"},
    {"--ring-thread priority=100", "--ring-thread priority '100': not a number from 0 to 99"},
    {"--cpu max", "--cpu 'max': not host, with -FEATURE or +FEATURE behind it, as in host,-avx2"},
    {"--cpu -avx2,host", "--cpu '-avx2,host': not host, with -FEATURE or +FEATURE behind it, as in host,-avx2"},
    {"--cpu host,avx2", "--cpu: 'avx2' is not -FEATURE or +FEATURE, as in host,-avx2"},
    {"--cpu host,", "--cpu: '' is not -FEATURE or +FEATURE, as in host,-avx2"},
    {"--cpu host,+", "--cpu: '+' is not -FEATURE or +FEATURE, as in host,-avx2"},
    {"--cpu host,-axv2", "--cpu: unknown feature 'axv2'; did you mean 'avx2'?"},
    {"--cpu host,+flux-capacitor", "--cpu: unknown feature 'flux-capacitor'; the names are those of /proc/cpuinfo"},
    {"--cpu host,-avx2,+avx2", "--cpu: 'avx2' given twice"},
    {"--cpu host,-kvm,-kvm", "--cpu: 'kvm' given twice"},
    {"--hyperv yes",
     "--hyperv 'yes': not one of on, off, relaxed, vapic, spinlocks, vpindex, runtime, time, synic, stimer, "
     "frequencies, tlbflush, ipi, reenlightenment"},
    {"--hyperv on,time", "--hyperv: 'on' stands alone, or give a list of features"},
    {"--hyperv relaxed,off", "--hyperv: 'off' stands alone, or give a list of features"},
    {"--hyperv time,time", "--hyperv: 'time' given twice"},
    {"--hyperv time", "--hyperv: 'time' needs 'vpindex'; list that too"},
    {"--hyperv stimer,vpindex,synic", "--hyperv: 'stimer' needs 'time'; list that too"},
    {"--hugepages --memory 65M", "--hugepages with --memory 65M: a page is 2 MiB; give an even number"},
    {"--vcpu-priority 100", "--vcpu-priority '100': not a number from 0 to 99"},
    {"--halt-poll 1000000001", "--halt-poll '1000000001': not a number of nanoseconds from 0 to 1000000000"},
    {"--mlock=yes", "--mlock takes no value, but has 'yes'"},
    {"--vcpu-affinity 0-3", "--vcpu-affinity lists 4 host CPUs for --cpus 1: it must list one for each"},
    {"--vcpu-affinity 0 --cpus 2", "--vcpu-affinity lists 1 host CPU for --cpus 2: it must list one for each"},
    {"--vcpu-affinity a", "--vcpu-affinity 'a': not a list of host CPUs such as 0,2 or 0-3"},
    {"--vcpu-affinity 0-64", "--vcpu-affinity '0-64': more CPUs than a machine can have (64)"},
    {"--vcpu-affinity 4096", "--vcpu-affinity '4096': no host CPU has a number above 1023"},
    {"--teardown none", "--teardown 'none': not one of async, sync"},
    {"--stats xml", "--stats 'xml': not table or json, with :FILE after it or without"},
    {"--stats json:", "--stats 'json:': its file name is empty"},
    {"--stats tab:x", "--stats 'tab:x': not table or json, with :FILE after it or without"},
};

static void bad_lines_say_why(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(bad_lines); i++) {
        struct line line;

        if (parse_line(&line, bad_lines[i].line) != OPTIONS_ERROR)
            fail_msg("accepted: %s", bad_lines[i].line);
        assert_string_equal(line.error.line, bad_lines[i].error);
    }
}

/* Whatever was typed, the error is one line that leaves the terminal as it is. */
static void hostile_values_stay_on_one_line(void **state)
{
    char huge[4096];
    char *arguments[][2] = {
        {(char *)"--cpus", (char *)"1\n2\x1b[31m"},
        {(char *)"--\n\x07", (char *)""},
        {(char *)"--rtc", (char *)"ba\nse=utc"},
        {(char *)"--cpus", huge},
        {(char *)"--rtc", huge},
        {(char *)"--post", huge},
        {(char *)"--coalesce", huge},
        {huge, huge},
    };

    (void)state;
    memset(huge, 'x', sizeof(huge));
    huge[sizeof(huge) - 1] = '\0';
    for (size_t i = 0; i < COUNT(arguments); i++) {
        struct run_options options;
        struct options_error error;

        assert_int_equal(options_parse_run(2, arguments[i], &options, &error), OPTIONS_ERROR);
        assert_true(strlen(error.line) > 10 && strlen(error.line) < 300);
        for (const char *c = error.line; *c; c++)
            assert_true(isprint((unsigned char)*c));
    }
}

static void port_claims(void **state)
{
    struct port_claim claims[] = {{0x10, 0x1f, "one"}, {0x20, 0x20, "two"}};
    struct options_error error;

    (void)state;
    assert_true(options_check_ports(claims, 0, &error));
    assert_true(options_check_ports(claims, 2, &error));
    claims[1].first = 0x1f;
    assert_false(options_check_ports(claims, 2, &error));
    assert_string_equal(error.line, "port 0x1f given twice: to two (0x1f-0x20) and to one (0x10-0x1f)");
    claims[1] = (struct port_claim){0, 0xffff, "all"};
    assert_false(options_check_ports(claims, 2, &error));
    assert_true(options_check_ports(options_fixed_ports, options_fixed_port_count, &error));
}

static const char *next_word(const void *list, unsigned index)
{
    const char *const *words = list;

    return words[index];
}

static void the_closest_word(void **state)
{
    static const char *const words[] = {"serial", "stats", "stat", "moderation", "modes", NULL};
    static const struct {
        const char *word;
        const char *closest;
    } cases[] = {
        {"serail", "serial"},      {"stat", "stat"},     {"stata", "stats"}, {"stxt", "stat"}, {"moder", "modes"},
        {"moderat", "moderation"}, {"mo", "moderation"}, {"m", NULL},        {"", NULL},       {"disk", NULL},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        const char *closest = options_closest(cases[i].word, next_word, words);

        assert_string_equal(closest ? closest : "-", cases[i].closest ? cases[i].closest : "-");
    }
}

/* ---- the table itself, and what is made of it ---- */

static char *help_text(const struct option_table *table)
{
    char *text = NULL;
    size_t size = 0;
    FILE *stream = open_memstream(&text, &size);

    assert_non_null(stream);
    options_print_help(table, stream);
    assert_int_equal(fclose(stream), 0);
    return text;
}

static void check_rows(const struct option_row *rows, const char *help)
{
    unsigned count = 0;

    for (const struct option_row *row = rows; row->name; row++, count++) {
        char entry[160];

        (void)snprintf(entry, sizeof(entry), "%s", row->name);
        assert_non_null(strstr(help, entry));
        assert_non_null(row->help);
        assert_true(islower((unsigned char)row->name[0]) || row->name[0] == '\0');
        assert_true((row->argument != NULL) == (row->type != OPTION_FLAG && row->type != OPTION_HELP));
        assert_true((row->choices != NULL) == (row->type == OPTION_CHOICE || row->type == OPTION_SET));
        assert_true((row->keys != NULL) == (row->type == OPTION_KEYS));
        assert_true((row->set != NULL) == (row->type == OPTION_CUSTOM));
        for (const struct option_choice *choice = row->choices; choice && choice->name; choice++)
            assert_true(strstr(row->argument, choice->name) || strstr(row->help, choice->name));
        for (const struct option_row *other = rows; other != row; other++) {
            assert_string_not_equal(other->name, row->name);
            assert_true(!row->letter || other->letter != row->letter);
        }
        if (row->keys)
            check_rows(row->keys, help);
    }
    assert_true(count > 0 && count <= OPTIONS_MAX_ROWS);
}

static void the_table_is_sound(void **state)
{
    char *help = help_text(&options_run_table);

    (void)state;
    assert_non_null(options_run_table.rows[0].group);
    check_rows(options_run_table.rows, help);
    free(help);
}

static void help_fits_the_terminal(void **state)
{
    char *help = help_text(&options_run_table);

    (void)state;
    for (char *line = strtok(help, "\n"); line; line = strtok(NULL, "\n")) {
        size_t length = strlen(line);

        if (length > 80 || line[length - 1] == ' ')
            fail_msg("%zu columns: '%s'", length, line);
    }
    free(help);
}

static void help_wraps_and_shows_defaults(void **state)
{
    static const struct option_row rows[] = {
        {.name = "plain", .letter = 'p', .type = OPTION_FLAG, .group = "Group", .help = "short"},
        {.name = "number",
         .type = OPTION_NUMBER,
         .argument = "N",
         .fallback = "7",
         .max = 9,
         .help = "words that are long enough to need a second line of their own"},
        {.name = "a-name-that-fills-its-column", .type = OPTION_TEXT, .argument = "X", .help = "below"},
        {0}};
    static const struct option_table table = {
        .command = "test", .synopsis = "[X]", .summary = "Sums up.", .rows = rows};
    char *help = help_text(&table);

    (void)state;
    assert_string_equal(help, "Usage: ringvmm test [X]\n"
                              "Sums up.\n"
                              "\n"
                              "Group:\n"
                              "  -p, --plain               short\n"
                              "  --number N                words that are long enough to need a second line of\n"
                              "                            their own (default: 7)\n"
                              "  --a-name-that-fills-its-column X\n"
                              "                            below\n");
    free(help);
}

/* Every option and key stands in the man page, with its dashes escaped. */
static void check_man_page(const struct option_row *rows, const char *page, const char *dashes)
{
    for (const struct option_row *row = rows; row->name; row++) {
        char entry[80] = "";
        char *out = entry + snprintf(entry, sizeof(entry), "%s", dashes);

        for (const char *c = row->name; *c; c++) {
            if (*c == '-')
                *out++ = '\\';
            *out++ = *c;
        }
        if (!strstr(page, entry))
            fail_msg("the man page lacks %s", entry);
        if (row->keys)
            check_man_page(row->keys, page, "\\fB");
    }
}

static void man_page_is_complete(void **state)
{
#ifdef RINGVMM_MAN_PAGE
    static char page[65536];
    FILE *file = fopen(RINGVMM_MAN_PAGE, "re");
    size_t length;

    (void)state;
    assert_non_null(file);
    length = fread(page, 1, sizeof(page) - 1, file);
    assert_int_equal(fclose(file), 0);
    assert_true(length > 1000 && length < sizeof(page) - 1);
    check_man_page(options_run_table.rows, page, "\\fB\\-\\-");
#else
    (void)state;
    (void)check_man_page;
    print_message("SKIP: built without RINGVMM_MAN_PAGE\n");
    skip();
#endif
}

/* ---- files ---- */

static void make_file(const char *name, off_t size)
{
    int fd = open(name, O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, size), 0);
    assert_int_equal(close(fd), 0);
}

static int enter_scratch(void **state)
{
    static char name[] = "/tmp/test_options.XXXXXX";

    if (!mkdtemp(name) || chdir(name) != 0)
        return -1;
    make_file("rom", 0x20000);
    make_file("odd", 0x20001);
    make_file("empty", 0);
    make_file("big", 0x1010000);
    *state = name;
    return mkdir("dir", 0700);
}

static int leave_scratch(void **state)
{
    static const char *const names[] = {"rom", "odd", "empty", "big"};

    for (size_t i = 0; i < COUNT(names); i++)
        (void)unlink(names[i]);
    (void)rmdir("dir");
    return chdir("/") || rmdir(*state);
}

static void files_are_looked_at(void **state)
{
    static const struct {
        const char *line;
        const char *error; /* empty: none */
    } cases[] = {
        {"--firmware rom --serial null", ""},
        {"--firmware rom --serial file:new --debugcon unix:dir/s --stats json:dir/j --rtc nvram=cmos", ""},
        {"--firmware rom --serial file:/dev/null", ""},
        {"--firmware none", "--firmware 'none': No such file or directory"},
        {"--firmware dir", "--firmware 'dir': not a regular file"},
        {"--firmware odd", "--firmware 'odd': 131073 bytes; a firmware image is a multiple of 4 KiB, up to 16 MiB"},
        {"--firmware empty", "--firmware 'empty': 0 bytes; a firmware image is a multiple of 4 KiB, up to 16 MiB"},
        {"--firmware big", "--firmware 'big': 16842752 bytes; a firmware image is a multiple of 4 KiB, up to 16 MiB"},
        {"--firmware rom --serial file:dir", "--serial 'dir': Is a directory"},
        {"--firmware rom --serial null --debugcon file:no/x", "--debugcon 'no/x': its directory does not exist"},
        {"--firmware rom --serial null --debugcon file:odd/x", "--debugcon 'odd/x': Not a directory"},
        {"--firmware rom --serial unix:odd/x", "--serial 'odd/x': Not a directory"},
        {"--firmware rom --serial null --stats table:no/x", "--stats 'no/x': its directory does not exist"},
        {"--firmware rom --serial null --rtc nvram=no/x", "--rtc nvram 'no/x': its directory does not exist"},
        {"--firmware rom --serial null --rtc nvram=/dev/null", "--rtc nvram '/dev/null': not a regular file"},
        {"--firmware rom --serial "
         "unix:/xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
         "xxxxxxxxxxxxxxxxxxxxxxxxxxxx",
         "--serial '/xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
         "xxxxxxxxxxxxxxxxxxxxxxxxxxxx': too long for a socket's name (107 bytes)"},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct line line;
        struct options_error error;

        good(&line, cases[i].line);
        assert_int_equal(options_check_files(&line.options, &error), cases[i].error[0] == '\0');
        assert_string_equal(error.line, cases[i].error);
    }
}

static void closed_output_is_noticed(void **state)
{
    struct line line;
    struct options_error error;
    int saved = dup(STDOUT_FILENO);
    bool fine;

    (void)state;
    assert_true(saved >= 0);
    good(&line, "--firmware rom --serial stdio");
    assert_int_equal(close(STDOUT_FILENO), 0);
    fine = options_check_files(&line.options, &error);
    assert_int_equal(dup2(saved, STDOUT_FILENO), STDOUT_FILENO);
    assert_int_equal(close(saved), 0);
    assert_false(fine);
    assert_string_equal(error.line, "--serial stdio: standard output is closed");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults),
        cmocka_unit_test(machine_options),
        cmocka_unit_test(cpu_options),
        cmocka_unit_test(kernel_options),
        cmocka_unit_test(console_options),
        cmocka_unit_test(virtio_options),
        cmocka_unit_test(rtc_options),
        cmocka_unit_test(ring_options),
        cmocka_unit_test(help_is_asked_for),
        cmocka_unit_test(bad_lines_say_why),
        cmocka_unit_test(hostile_values_stay_on_one_line),
        cmocka_unit_test(port_claims),
        cmocka_unit_test(the_closest_word),
        cmocka_unit_test(the_table_is_sound),
        cmocka_unit_test(help_fits_the_terminal),
        cmocka_unit_test(help_wraps_and_shows_defaults),
        cmocka_unit_test(man_page_is_complete),
        cmocka_unit_test(files_are_looked_at),
        cmocka_unit_test(closed_output_is_noticed),
    };

    return cmocka_run_group_tests_name("options", tests, enter_scratch, leave_scratch);
}
