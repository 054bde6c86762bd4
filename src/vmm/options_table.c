/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What `ringvmm run` takes: one row an option, in --help's order; and what only shows when all options are known.
 */
#include "vmm/options.h"

#include <errno.h>
#include <string.h>
#include <sys/un.h>

#include "vmm/hyperv.h"
#include "vmm/parse.h"

#define MIB (1ull << 20)

#define FIELD(name) .offset = offsetof(struct run_options, name)

/* ---- values of one option only ---- */

static const char *set_rtc_base(void *out, const char *value)
{
    struct run_options *options = out;

    if (strcmp(value, "utc") == 0) {
        options->rtc_base = OPTION_RTC_UTC;
        return NULL;
    }
    if (strcmp(value, "localtime") == 0) {
        options->rtc_base = OPTION_RTC_LOCALTIME;
        return NULL;
    }
    switch (parse_iso_date(value, &options->rtc_base_seconds)) {
    case 0:
        options->rtc_base = OPTION_RTC_DATE;
        return NULL;
    case -ERANGE:
        return "no such day and time from 1970 to 2199";
    default:
        return "not utc, localtime or a date such as 2026-11-21 or 2026-11-21T08:30:00";
    }
}

static const char *set_rtc_nvram(void *out, const char *value)
{
    struct run_options *options = out;

    if (strlen(value) >= sizeof(options->rtc_nvram))
        return "the name is too long";
    memcpy(options->rtc_nvram, value, strlen(value) + 1);
    return NULL;
}

/* Only the kind is looked at here; what the path leads to shows when it is opened. */
static const char *check_chardev(const char *value)
{
    static const char *const kinds[] = {"file:", "unix:"};

    if (strcmp(value, "stdio") == 0 || strcmp(value, "null") == 0 || strcmp(value, "pty") == 0)
        return NULL;
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        if (strncmp(value, kinds[i], strlen(kinds[i])) == 0)
            return value[strlen(kinds[i])] ? NULL : "its path is empty";
    }
    return "not stdio, null, pty, file:PATH or unix:PATH";
}

static const char *set_serial(void *out, const char *value)
{
    struct run_options *options = out;

    options->serial = value;
    return check_chardev(value);
}

static const char *set_debugcon(void *out, const char *value)
{
    struct run_options *options = out;

    options->debugcon = value;
    return check_chardev(value);
}

static const char *set_virtio_console(void *out, const char *value)
{
    struct run_options *options = out;

    options->virtio_console = value;
    return check_chardev(value);
}

static const char *set_disk_file(void *out, const char *value)
{
    struct option_disk *disk = out;

    if (strlen(value) >= sizeof(disk->file))
        return "the name is too long";
    memcpy(disk->file, value, strlen(value) + 1);
    return NULL;
}

static const char *set_disk_serial(void *out, const char *value)
{
    struct option_disk *disk = out;

    if (strlen(value) > OPTIONS_SERIAL_BYTES)
        return "longer than 20 bytes";
    memcpy(disk->serial, value, strlen(value) + 1);
    return NULL;
}

static const char *set_device_model(void *out, const char *value)
{
    struct run_options *options = out;

    options->device_model = value;
    if (strncmp(value, "unix:", 5) != 0)
        return "not unix:PATH";
    if (!value[5])
        return "no path after unix:";
    return strlen(value + 5) < sizeof(((struct sockaddr_un *)0)->sun_path) ? NULL : "its path is longer than 107 bytes";
}

static const char *set_uuid(void *out, const char *value)
{
    struct run_options *options = out;

    return parse_uuid(value, options->uuid) ? "not a UUID such as 6ba7b810-9dad-11d1-80b4-00c04fd430c8" : NULL;
}

static const char *set_vcpu_affinity(void *out, const char *value)
{
    struct run_options *options = out;

    switch (parse_cpu_list(value, options->vcpu_affinity, OPTIONS_MAX_CPUS, &options->vcpu_affinity_count)) {
    case 0:
        return NULL;
    case -E2BIG:
        return "more CPUs than a machine can have (64)";
    case -ERANGE:
        return "no host CPU has a number above 1023";
    default:
        return "not a list of host CPUs such as 0,2 or 0-3";
    }
}

static const char *set_stats(void *out, const char *value)
{
    struct run_options *options = out;
    size_t length = strcspn(value, ":");

    if (length == 5 && strncmp(value, "table", length) == 0)
        options->stats = OPTION_STATS_TABLE;
    else if (length == 4 && strncmp(value, "json", length) == 0)
        options->stats = OPTION_STATS_JSON;
    else
        return "not table or json, with :FILE after it or without";
    options->stats_path = value[length] ? value + length + 1 : NULL;
    return options->stats_path && options->stats_path[0] == '\0' ? "its file name is empty" : NULL;
}

/* ---- the table ---- */

static const struct option_choice machines[] = {
    {"i440fx", OPTION_MACHINE_I440FX}, {"q35", OPTION_MACHINE_Q35}, {NULL, 0}};
static const struct option_choice rtc_clocks[] = {
    {"host", OPTION_RTC_CLOCK_HOST}, {"vm", OPTION_RTC_CLOCK_VM}, {NULL, 0}};
static const struct option_choice lost_ticks[] = {
    {"discard", OPTION_LOST_TICKS_DISCARD}, {"slew", OPTION_LOST_TICKS_SLEW}, {NULL, 0}};
static const struct option_choice backends[] = {{"auto", RINGD_BACKEND_AUTO},
                                                {"mmio2", RINGD_BACKEND_MMIO2},
                                                {"v1", RINGD_BACKEND_V1},
                                                {"off", RINGD_BACKEND_OFF},
                                                {NULL, 0}};
static const struct option_choice posts[] = {
    {"rtc-data", OPTION_POST_RTC_DATA}, {"pci-data", OPTION_POST_PCI_DATA}, {NULL, 0}};
static const struct option_choice hyperv_features[] = {{"on", OPTIONS_HYPERV_ON},
                                                       {"off", OPTIONS_HYPERV_OFF},
                                                       {"relaxed", HYPERV_RELAXED},
                                                       {"vapic", HYPERV_VAPIC},
                                                       {"spinlocks", HYPERV_SPINLOCKS},
                                                       {"vpindex", HYPERV_VPINDEX},
                                                       {"runtime", HYPERV_RUNTIME},
                                                       {"time", HYPERV_TIME},
                                                       {"synic", HYPERV_SYNIC},
                                                       {"stimer", HYPERV_STIMER},
                                                       {"frequencies", HYPERV_FREQUENCIES},
                                                       {"tlbflush", HYPERV_TLBFLUSH},
                                                       {"ipi", HYPERV_IPI},
                                                       {"reenlightenment", HYPERV_REENLIGHTENMENT},
                                                       {NULL, 0}};
static const struct option_choice teardowns[] = {
    {"async", OPTION_TEARDOWN_ASYNC}, {"sync", OPTION_TEARDOWN_SYNC}, {NULL, 0}};

static const struct option_row rtc_keys[] = {
    {.name = "base",
     .type = OPTION_CUSTOM,
     .argument = "utc|localtime|DATE",
     .fallback = "utc",
     .set = set_rtc_base,
     .help = "its time at power-on. DATE is YYYY-MM-DD or YYYY-MM-DDTHH:MM:SS. Windows wants localtime"},
    {.name = "clock",
     .type = OPTION_CHOICE,
     .argument = "host|vm",
     .fallback = "host",
     .choices = rtc_clocks,
     FIELD(rtc_clock),
     .help = "what makes it advance: the host's clock with its steps, or the machine's, which stands still in a pause"},
    {.name = "lost-ticks",
     .type = OPTION_CHOICE,
     .argument = "discard|slew",
     .fallback = "discard",
     .choices = lost_ticks,
     FIELD(rtc_lost_ticks),
     .help = "periodic interrupts that the guest was too late for: drop them, or deliver them afterwards"},
    {.name = "nvram",
     .type = OPTION_CUSTOM,
     .argument = "FILE",
     .set = set_rtc_nvram,
     .help = "keep the 128 bytes of CMOS in FILE, made if need be. No comma in its name"},
    {0}};

static const struct option_row ring_thread_keys[] = {{.name = "cpu",
                                                      .type = OPTION_NUMBER,
                                                      .argument = "N",
                                                      .max = PARSE_LAST_CPU,
                                                      FIELD(ring_cpu),
                                                      .help = "run on host CPU N only"},
                                                     {.name = "priority",
                                                      .type = OPTION_NUMBER,
                                                      .argument = "N",
                                                      .fallback = "0",
                                                      .max = 99,
                                                      FIELD(ring_priority),
                                                      .help = "1 to 99: real time (SCHED_FIFO); 0: ordinary"},
                                                     {0}};

static const struct option_choice aios[] = {
    {"auto", OPTION_AIO_AUTO}, {"io_uring", OPTION_AIO_URING}, {"threads", OPTION_AIO_THREADS}, {NULL, 0}};

static const struct option_row disk_keys[] = {
    {.name = "file",
     .type = OPTION_CUSTOM,
     .argument = "FILE",
     .set = set_disk_file,
     .help = "the image, or a block device: raw, whole sectors of 512 bytes. No comma in its name"},
    {.name = "readonly",
     .type = OPTION_SWITCH,
     .argument = "on|off",
     .fallback = "off",
     .offset = offsetof(struct option_disk, read_only),
     .help = "the guest may not write"},
    {.name = "discard",
     .type = OPTION_SWITCH,
     .argument = "on|off",
     .fallback = "on",
     .offset = offsetof(struct option_disk, discard),
     .help = "what the guest discards is given back to the host"},
    {.name = "aio",
     .type = OPTION_CHOICE,
     .argument = "auto|io_uring|threads",
     .fallback = "auto",
     .choices = aios,
     .offset = offsetof(struct option_disk, aio),
     .help = "who does the I/O: the kernel, or threads; auto is io_uring where that is permitted"},
    {.name = "serial",
     .type = OPTION_CUSTOM,
     .argument = "TEXT",
     .set = set_disk_serial,
     .help = "the disk's serial number, up to 20 bytes"},
    {.name = "bootindex",
     .type = OPTION_NUMBER,
     .argument = "N",
     .max = OPTIONS_MAX_DISKS - 1,
     .offset = offsetof(struct option_disk, boot_index),
     .help = "the firmware boots from the disk with the lowest; OVMF tries the others after it"},
    {0}};

static const struct option_row run_rows[] = {
    {.name = "machine",
     .type = OPTION_CHOICE,
     .group = "Machine",
     .argument = "i440fx|q35",
     .fallback = "i440fx",
     .choices = machines,
     FIELD(machine),
     .help = "the board: Intel 440FX and PIIX3, or Q35 and ICH9 (PCI Express: configuration space in memory too)"},
    {.name = "cpus",
     .type = OPTION_NUMBER,
     .argument = "N",
     .fallback = "1",
     .min = 1,
     .max = OPTIONS_MAX_CPUS,
     FIELD(cpus),
     .help = "virtual CPUs, 1 to 64"},
    {.name = "cpu",
     .type = OPTION_TEXT,
     .argument = "host[,-FEATURE][,+FEATURE]...",
     .fallback = "host",
     FIELD(cpu),
     .help = "the features of the virtual CPUs: the host's, as far as KVM can give them, without those after a minus; "
             "those after a plus must be there. Names as in /proc/cpuinfo; kvm is KVM's own leaves"},
    {.name = "hyperv",
     .type = OPTION_SET,
     .argument = "on|off|LIST",
     .fallback = "off",
     .choices = hyperv_features,
     FIELD(hyperv),
     .help =
         "what of Hyper-V a guest sees, which Windows wants: all that follows, nothing, or relaxed, vapic, spinlocks, "
         "vpindex, runtime, time, synic, stimer, frequencies, tlbflush, ipi, reenlightenment"},
    {.name = "memory",
     .type = OPTION_SIZE,
     .argument = "SIZE",
     .fallback = "64M",
     .min = MIB,
     .max = MIB << 26, /* 64 TiB: keeps sums in range; what the host can give shows when it is taken */
     .step = MIB,
     FIELD(memory_bytes),
     .help = "guest memory: a number with K, M or G, whole MiB"},
    {.name = "firmware",
     .type = OPTION_TEXT,
     .argument = "FILE|seabios|ovmf",
     FIELD(firmware),
     .help = "a raw firmware image, put so that it ends at 4 GiB, its last 128 KiB below 1 MiB as well; ovmf (UEFI) "
             "stands for " OPTIONS_OVMF_CODE_PATH ", seabios for " OPTIONS_SEABIOS_PATH
             ", which is what runs when neither --firmware nor --kernel is given"},
    {.name = "flash",
     .type = OPTION_TEXT,
     .argument = "FILE",
     FIELD(flash),
     .help =
         "where UEFI firmware keeps its variables, a file of this machine's own; with ovmf it is made when it is not "
         "there, and without --flash they are lost at the end"},
    {.name = "kernel",
     .type = OPTION_TEXT,
     .argument = "FILE",
     FIELD(kernel),
     .help =
         "a kernel that is entered without firmware: a Linux bzImage, or an ELF file with a PVH note or a multiboot "
         "header. With --firmware FILE: a bzImage that the firmware finds in fw_cfg"},
    {.name = "initrd",
     .type = OPTION_TEXT,
     .argument = "FILE",
     FIELD(initrd),
     .help = "the kernel's initial RAM disk, or its one module"},
    {.name = "append", .type = OPTION_TEXT, .argument = "STRING", FIELD(append), .help = "the kernel's command line"},
    {.name = "uuid",
     .type = OPTION_CUSTOM,
     .argument = "UUID",
     .set = set_uuid,
     .help =
         "the machine's identity in the tables, as in 6ba7b810-9dad-11d1-80b4-00c04fd430c8. Without it there is none"},
    {.name = "no-reboot",
     .type = OPTION_FLAG,
     FIELD(no_reboot),
     .help = "a reset by the guest ends ringvmm, with status 0"},

    {.name = "serial",
     .type = OPTION_CUSTOM,
     .group = "Consoles (WHERE is stdio, null, pty, file:PATH or unix:PATH)",
     .argument = "WHERE",
     .fallback = "stdio",
     .set = set_serial,
     .help = "where COM1 leads"},
    {.name = "debugcon",
     .type = OPTION_CUSTOM,
     .argument = "WHERE",
     .fallback = "null",
     .set = set_debugcon,
     .help = "where the firmware's log goes (debug console)"},
    {.name = "debugcon-port",
     .type = OPTION_PORT,
     .argument = "PORT",
     .fallback = "0x402",
     .max = 0xffff,
     FIELD(debugcon_port),
     .help = "its I/O port, beside 0xe9, which always leads there too"},
    {.name = "debug-exit",
     .type = OPTION_PORT,
     .argument = "PORT",
     .max = 0xffff - (OPTIONS_DEBUG_EXIT_PORTS - 1),
     FIELD(debug_exit_port),
     .help = "an I/O port where the guest ends the run by writing a value; the exit status is (value << 1) | 1"},

    {.name = "disk",
     .type = OPTION_KEYS,
     .group = "Virtio devices (PCI, from slot 3 on: disks, console, entropy)",
     .argument = "FILE[,KEY=VALUE...]",
     .keys = disk_keys,
     .leading = true,
     .repeat = OPTIONS_MAX_DISKS,
     .stride = sizeof(struct option_disk),
     .count_offset = offsetof(struct run_options, disk_count),
     FIELD(disks),
     .help = "a disk (virtio-blk); up to 8 times:"},
    {.name = "virtio-console",
     .type = OPTION_CUSTOM,
     .argument = "WHERE",
     .set = set_virtio_console,
     .help = "a console (virtio-console), and where it leads; as for --serial"},
    {.name = "virtio-rng",
     .type = OPTION_SWITCH,
     .argument = "on|off",
     .fallback = "off",
     FIELD(virtio_rng),
     .help = "a source of random numbers (virtio-rng): the host's"},

    {.name = "rtc",
     .type = OPTION_KEYS,
     .group = "Clock",
     .argument = "KEY=VALUE,...",
     .keys = rtc_keys,
     .help = "the real-time clock (MC146818):"},
    {.name = "hpet",
     .type = OPTION_SWITCH,
     .argument = "on|off",
     .fallback = "off",
     FIELD(hpet),
     .help = "a high precision event timer (HPET)"},
    {.name = "device-model",
     .type = OPTION_CUSTOM,
     .argument = "unix:PATH",
     .set = set_device_model,
     .help = "real-time clock and PCI host bridge (i440fx only) are in the daemon ringd that listens there"},
    {.name = "device-model-wait",
     .type = OPTION_NUMBER,
     .argument = "MS",
     .fallback = "10000",
     .min = 1,
     .max = 86400000,
     .unit = "milliseconds",
     FIELD(device_model_wait_ms),
     .help = "how long the guest waits for a daemon that is away, 1 to 86400000; then its reads give ones and its "
             "writes are dropped, until the daemon is back"},

    {.name = "coalesce",
     .type = OPTION_CHOICE,
     .group = "Posted writes",
     .argument = "auto|mmio2|v1|off",
     .fallback = "auto",
     .choices = backends,
     FIELD(coalesce),
     .help = "who records them: a ring per device (mmio2), one per machine (v1), nobody; auto is the best that "
             "works here: see 'ringvmm doctor'"},
    {.name = "max-replay-latency",
     .type = OPTION_NUMBER,
     .argument = "US",
     .fallback = "1000",
     .min = RINGD_LEAST_MAX_REPLAY_LATENCY_NS / 1000,
     .max = 1000000,
     .unit = "microseconds",
     FIELD(max_replay_latency_us),
     .help = "a write is replayed within US microseconds, 20 to 1000000"},
    {.name = "moderation",
     .type = OPTION_SWITCH,
     .argument = "on|off",
     .fallback = "on",
     FIELD(moderation),
     .help = "off: every notification wakes the ring thread, which costs more than it saves; for measurements"},
    {.name = "post",
     .type = OPTION_SET,
     .argument = "LIST",
     .choices = posts,
     FIELD(post),
     .help = "post writes to the data ports as well: rtc-data (0x71), pci-data (0xcfc). This gives up their order "
             "with what other devices and memory see; with pci-data firmware may not boot"},

    {.name = "ring-thread",
     .type = OPTION_KEYS,
     .group = "Host",
     .argument = "KEY=VALUE,...",
     .keys = ring_thread_keys,
     .help = "how the thread runs that replays posted writes:"},
    {.name = "vcpu-affinity",
     .type = OPTION_CUSTOM,
     .argument = "LIST",
     .set = set_vcpu_affinity,
     .help =
         "host CPUs such as 2,3 or 4-7, one for each of --cpus: the first virtual CPU runs on the first, and so on"},
    {.name = "vcpu-priority",
     .type = OPTION_NUMBER,
     .argument = "N",
     .fallback = "0",
     .max = 99,
     FIELD(vcpu_priority),
     .help = "1 to 99: the virtual CPUs run in real time (SCHED_FIFO); 0: ordinary"},
    {.name = "cpu-pm",
     .type = OPTION_FLAG,
     FIELD(cpu_pm),
     .help =
         "an idle guest idles on the host's CPU itself, without an exit (hlt, mwait, pause). It takes the CPU whole"},
    {.name = "halt-poll",
     .type = OPTION_NUMBER,
     .argument = "NS",
     .max = 1000000000,
     .unit = "nanoseconds",
     FIELD(halt_poll_ns),
     .help = "how long KVM looks for an interrupt at the most before an idle virtual CPU sleeps, 0 to 1000000000. "
             "Without it the host decides"},
    {.name = "mlock",
     .type = OPTION_FLAG,
     FIELD(mlock),
     .help = "memory that has been touched, the guest's too, stays in the host's memory"},
    {.name = "hugepages",
     .type = OPTION_FLAG,
     FIELD(hugepages),
     .help = "guest memory is pages of 2 MiB from the host's pool (hugetlb)"},
    {.name = "prefault",
     .type = OPTION_FLAG,
     FIELD(prefault),
     .help = "all of guest memory is there before the guest runs"},
    {.name = "teardown",
     .type = OPTION_CHOICE,
     .argument = "async|sync",
     .fallback = "async",
     .choices = teardowns,
     FIELD(teardown),
     .help = "whether the exit waits for the kernel to dismantle the machine (12 to 25 ms). All files are written and "
             "closed either way"},

    {.name = "stats",
     .type = OPTION_CUSTOM,
     .group = "Reports",
     .argument = "table|json[:FILE]",
     .set = set_stats,
     .help = "at the end, what each port and ring cost; to FILE, else to standard error"},
    {.name = "dump-tables",
     .type = OPTION_TEXT,
     .argument = "DIR",
     FIELD(dump_tables),
     .help = "write the machine's ACPI and SMBIOS tables into DIR, made if need be, and start nothing"},
    {.name = "dry-run",
     .letter = 'n',
     .type = OPTION_FLAG,
     FIELD(dry_run),
     .help = "check options and files, start nothing"},
    {.name = "help", .letter = 'h', .type = OPTION_HELP, .help = "print this and exit"},
    {0}};

static const char run_epilogue[] = "\n"
                                   "Exit status:\n"
                                   "  0          the guest powered off, or reset under --no-reboot; Ctrl-A x\n"
                                   "  2          bad option, file or host: the guest has not run\n"
                                   "  4          the machine failed; with --no-reboot also a triple fault\n"
                                   "  odd        (value << 1) | 1 after a debug exit\n"
                                   "  130, 143   ended by SIGINT or SIGTERM; a guest that listens to the\n"
                                   "             power button hears of the first SIGTERM, the second one ends it\n"
                                   "\n"
                                   "Examples:\n"
                                   "  See SeaBIOS come up, its log and the serial line on this terminal:\n"
                                   "    ringvmm run --debugcon stdio\n"
                                   "  What did each port cost, with and without posted writes?\n"
                                   "    ringvmm run --firmware test.bin --debug-exit 0x501 --stats table\n"
                                   "    ringvmm run --firmware test.bin --debug-exit 0x501 --stats table \\\n"
                                   "        --coalesce off\n"
                                   "  Two CPUs with host CPUs of their own, the ring thread on a third:\n"
                                   "    ringvmm run --cpus 2 --vcpu-affinity 2,3 --ring-thread cpu=1,priority=50\n"
                                   "  A Linux kernel, its console on this terminal:\n"
                                   "    ringvmm run --memory 512M --kernel vmlinuz --initrd initrd.img \\\n"
                                   "        --append \"console=ttyS0\"\n"
                                   "  A clock that starts at a given time and follows the machine's own:\n"
                                   "    ringvmm run --rtc base=2026-11-21T08:30:00,clock=vm\n";

const struct option_table options_run_table = {
    .command = "run",
    .synopsis = "[OPTION]...",
    .summary = "Runs a virtual machine. Writes to its devices that can wait are recorded in a ring and replayed by a "
               "thread, so that the virtual CPU goes on meanwhile.",
    .rows = run_rows,
    .epilogue = run_epilogue,
};

/* ---- ports ---- */

const struct port_claim options_fixed_ports[] = {
    {0x20, 0x21, "the first PIC"},
    {0x40, 0x43, "the PIT"},
    {0x60, 0x60, "the keyboard controller"},
    {0x61, 0x61, "the PIT's speaker gate"},
    {0x64, 0x64, "the keyboard controller"},
    {0x70, 0x71, "the RTC"},
    {0x80, 0x80, "the POST code"},
    {0x92, 0x92, "system control port A"},
    {0xa0, 0xa1, "the second PIC"},
    {0xb2, 0xb3, "the APM control port"},
    {0xe9, 0xe9, "the debug console"},
    {0x3f8, 0x3ff, "COM1"},
    {0x4d0, 0x4d1, "the PICs' edge/level registers"},
    {0x510, 0x51b, "fw_cfg"},
    {0x600, 0x67f, "ACPI power management"}, /* the guest places it; this is SeaBIOS's choice. i440fx: half of it */
    {0xcf8, 0xcff, "PCI configuration"},
};
const unsigned options_fixed_port_count = sizeof(options_fixed_ports) / sizeof(options_fixed_ports[0]);

static const char *print_claim(const struct port_claim *claim, char *buf, size_t size)
{
    if (claim->first == claim->last)
        (void)snprintf(buf, size, "%s (0x%x)", claim->name, claim->first);
    else
        (void)snprintf(buf, size, "%s (0x%x-0x%x)", claim->name, claim->first, claim->last);
    return buf;
}

bool options_check_ports(const struct port_claim *claims, unsigned count, struct options_error *error)
{
    for (unsigned i = 1; i < count; i++) {
        for (unsigned j = 0; j < i; j++) {
            uint32_t shared = claims[i].first > claims[j].first ? claims[i].first : claims[j].first;
            char later[80];
            char earlier[80];

            if (claims[i].first > claims[j].last || claims[j].first > claims[i].last)
                continue;
            options_fail(error, "port 0x%x given twice: to %s and to %s", shared,
                         print_claim(&claims[i], later, sizeof(later)),
                         print_claim(&claims[j], earlier, sizeof(earlier)));
            return false;
        }
    }
    return true;
}

static bool check_ports(const struct run_options *options, struct options_error *error)
{
    struct port_claim claims[sizeof(options_fixed_ports) / sizeof(options_fixed_ports[0]) + 2];
    unsigned count = options_fixed_port_count;
    uint32_t debugcon = (uint32_t)options->debugcon_port;
    uint32_t debug_exit = (uint32_t)options->debug_exit_port;

    memcpy(claims, options_fixed_ports, sizeof(options_fixed_ports));
    if (debugcon != 0xe9)
        claims[count++] = (struct port_claim){debugcon, debugcon, "--debugcon-port"};
    if (options->debug_exit_port >= 0)
        claims[count++] = (struct port_claim){debug_exit, debug_exit + OPTIONS_DEBUG_EXIT_PORTS - 1, "--debug-exit"};
    return options_check_ports(claims, count, error);
}

/* ---- the whole ---- */

/* Two writers of one file would each truncate what the other has written. */
static bool check_paths(const struct run_options *options, struct options_error *error)
{
    const struct {
        const char *option;
        const char *path;
    } files[] = {
        {"--serial", strchr(options->serial, ':')},
        {"--debugcon", strchr(options->debugcon, ':')},
        {"--virtio-console", options->virtio_console ? strchr(options->virtio_console, ':') : NULL},
        {"--stats", options->stats_path ? options->stats_path - 1 : NULL},
    };
    const size_t count = sizeof(files) / sizeof(files[0]);
    char quoted[120];

    for (size_t i = 0; i < count; i++) {
        if (files[i].path && strcmp(files[i].path + 1, options->rtc_nvram) == 0) {
            options_fail(error, "%s given twice: as %s and as the RTC's nvram",
                         parse_quote(files[i].path + 1, quoted, sizeof(quoted)), files[i].option);
            return false;
        }
        for (size_t j = 0; files[i].path && j < i; j++) {
            if (!files[j].path || strcmp(files[i].path, files[j].path) != 0 || strcmp(files[i].path, ":/dev/null") == 0)
                continue;
            options_fail(error, "%s given twice: as %s and as %s",
                         parse_quote(files[i].path + 1, quoted, sizeof(quoted)), files[j].option, files[i].option);
            return false;
        }
    }
    return true;
}

static bool check_kernel(struct run_options *options, struct options_error *error)
{
    if (!options->kernel && (options->initrd || options->append)) {
        options_fail(error, "%s without --kernel: there is nothing to give it to",
                     options->initrd ? "--initrd" : "--append");
        return false;
    }
    if (!options->kernel && !options->firmware)
        options->firmware = "seabios";
    if (options->kernel && options->firmware && strcmp(options->firmware, "seabios") == 0) {
        options_fail(error,
                     "--kernel with --firmware seabios: SeaBIOS takes no kernel from fw_cfg; leave --firmware out "
                     "to boot the kernel directly, or take ovmf");
        return false;
    }
    if (options->flash && !options->firmware) {
        options_fail(error, "--flash without firmware: a kernel that is booted directly has none; give --firmware too");
        return false;
    }
    return true;
}

static bool check_boot_order(const struct run_options *options, struct options_error *error)
{
    const struct option_disk *by_index[OPTIONS_MAX_DISKS] = {NULL};

    for (unsigned i = 0; i < options->disk_count; i++) {
        const struct option_disk *disk = &options->disks[i];

        if (disk->boot_index < 0)
            continue;
        if (by_index[disk->boot_index]) {
            options_fail(error, "--disk bootindex %d given twice: for '%s' and '%s'", disk->boot_index,
                         by_index[disk->boot_index]->file, disk->file);
            return false;
        }
        by_index[disk->boot_index] = disk;
    }
    return true;
}

/* The daemon has its own PCI functions, and only those. */
static bool check_delegation(const struct run_options *options, struct options_error *error)
{
    const char *option = options->disk_count       ? "--disk"
                         : options->virtio_console ? "--virtio-console"
                         : options->virtio_rng     ? "--virtio-rng"
                                                   : NULL;

    if (!options->device_model || !option)
        return true;
    options_fail(error, "%s does not go with --device-model: the PCI bus is the daemon's then, and has no such device",
                 option);
    return false;
}

enum options_result options_parse_run(int argc, char *const *argv, struct run_options *out, struct options_error *error)
{
    enum options_result result;

    memset(out, 0, sizeof(*out));
    result = options_parse(&options_run_table, argc, argv, out, error);
    if (result != OPTIONS_OK)
        return result;
    if (out->vcpu_affinity_count && out->vcpu_affinity_count != (unsigned)out->cpus) {
        options_fail(error, "--vcpu-affinity lists %u host CPU%s for --cpus %d: it must list one for each",
                     out->vcpu_affinity_count, out->vcpu_affinity_count == 1 ? "" : "s", out->cpus);
        return OPTIONS_ERROR;
    }
    if (!options_check_cpu(out, error) || !check_kernel(out, error) || !check_delegation(out, error) ||
        !check_boot_order(out, error) || !check_ports(out, error) || !check_paths(out, error))
        return OPTIONS_ERROR;
    return OPTIONS_OK;
}
