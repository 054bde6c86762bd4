/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The command line. One table of rows (options_table.c) drives parsing, the defaults and --help; a new option is one
 * row and one field. Nothing here opens a file or asks the kernel, except options_check_files().
 *
 * Rules for every option: `--name value` or `--name=value`, names in full, none given twice, unless its row says how
 * often. A value that begins with
 * "--" needs the second form.
 *
 * Exit statuses are stable, and stand in the man page and in `ringvmm run --help` too. A debug exit is always odd, so
 * the two kinds of failure are even:
 *
 *   0                the guest powered off, or reset under --no-reboot, or Ctrl-A x was typed; for other commands:
 * success 1                `ringvmm doctor`: ringvmm cannot run on this host 2                bad command line, file or
 * host; the guest has not run. Or standard output could not be written 4                the machine failed while the
 * guest ran: KVM could not go on with it, or a triple fault under
 *                    --no-reboot
 *   (value << 1) | 1 the guest wrote value to the --debug-exit port; the low 8 bits count
 *   130, 143         ended by SIGINT or SIGTERM (128 + the signal's number)
 */
#ifndef RINGVMM_VMM_OPTIONS_H
#define RINGVMM_VMM_OPTIONS_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <ringd/ringd.h>

#include "vmm/cpu_features.h"
#include "vmm/smbios.h"

enum ringvmm_exit {
    RINGVMM_EXIT_OK = 0,
    RINGVMM_EXIT_UNFIT = 1,
    RINGVMM_EXIT_USAGE = 2,
    RINGVMM_EXIT_FAILED = 4,
    RINGVMM_EXIT_SIGNAL = 128, /* plus the signal's number */
};

/* ---- what `ringvmm run` is asked for ---- */

#define OPTIONS_MAX_CPUS 64

enum option_machine { OPTION_MACHINE_I440FX, OPTION_MACHINE_Q35 };
enum option_rtc_base { OPTION_RTC_UTC, OPTION_RTC_LOCALTIME, OPTION_RTC_DATE };
enum option_rtc_clock { OPTION_RTC_CLOCK_HOST, OPTION_RTC_CLOCK_VM };
enum option_lost_ticks { OPTION_LOST_TICKS_DISCARD, OPTION_LOST_TICKS_SLEW };
enum option_stats { OPTION_STATS_NONE, OPTION_STATS_TABLE, OPTION_STATS_JSON };
enum option_teardown { OPTION_TEARDOWN_ASYNC, OPTION_TEARDOWN_SYNC };
enum option_aio { OPTION_AIO_AUTO, OPTION_AIO_URING, OPTION_AIO_THREADS };
enum option_post { OPTION_POST_RTC_DATA = 1 << 0, OPTION_POST_PCI_DATA = 1 << 1 };

#define OPTIONS_MAX_DISKS    8
#define OPTIONS_SERIAL_BYTES 20 /* what virtio-blk has room for */

struct option_disk {
    char file[PATH_MAX]; /* a copy, as rtc_nvram */
    bool read_only;
    bool discard;
    int aio;        /* enum option_aio */
    int boot_index; /* 0 to OPTIONS_MAX_DISKS - 1, the lowest first; -1: where the firmware likes */
    char serial[OPTIONS_SERIAL_BYTES + 1];
};

/* Plain data. Strings are pieces of argv, unless said otherwise; a number that was not given and has no default is -1.
 */
struct run_options {
    int machine;     /* enum option_machine */
    int cpus;        /* 1 to OPTIONS_MAX_CPUS */
    const char *cpu; /* as given; cpu_features is what it says */
    struct cpu_features cpu_features;
    unsigned hyperv; /* sum of enum hyperv_feature */
    uint64_t memory_bytes;
    const char *firmware; /* a file, "seabios" or "ovmf"; NULL: none, the kernel is booted directly */
    const char *flash;    /* the file with its variables; NULL: none */
    const char *kernel;   /* NULL: none */
    const char *initrd;   /* NULL: none; else there is a kernel */
    const char *append;   /* likewise */
    bool no_reboot;
    bool hpet;
    uint8_t uuid[SMBIOS_UUID_SIZE]; /* in the order of its text; all 0: none */

    const char *serial;   /* "stdio", "null", "pty", "file:PATH", "unix:PATH" */
    const char *debugcon; /* likewise */
    int debugcon_port;    /* beside 0xe9, which is always there */
    int debug_exit_port;  /* -1: no such device */

    int rtc_base;             /* enum option_rtc_base */
    int64_t rtc_base_seconds; /* since 1970-01-01T00:00:00 on the RTC's own face, with OPTION_RTC_DATE */
    int rtc_clock;            /* enum option_rtc_clock */
    int rtc_lost_ticks;       /* enum option_lost_ticks */
    char rtc_nvram[PATH_MAX]; /* empty: none. A copy: in argv it ends at a comma */

    unsigned disk_count;
    struct option_disk disks[OPTIONS_MAX_DISKS]; /* in the order of their slots */
    bool virtio_rng;
    const char *virtio_console; /* as `serial`; NULL: none */

    const char *device_model; /* "unix:PATH" of a daemon for RTC and PCI host bridge; NULL: here */
    int device_model_wait_ms; /* how long it is waited for when it is away */

    int coalesce; /* enum ringd_backend_kind, not memfd */
    int max_replay_latency_us;
    bool moderation;
    unsigned post; /* sum of enum option_post */

    int ring_cpu;                 /* -1: not pinned */
    int ring_priority;            /* 0: ordinary, 1 to 99: SCHED_FIFO */
    unsigned vcpu_affinity_count; /* 0: not pinned, else `cpus` */
    unsigned vcpu_affinity[OPTIONS_MAX_CPUS];
    int vcpu_priority; /* 0: ordinary, 1 to 99: SCHED_FIFO */
    int halt_poll_ns;  /* -1: as the host has it */
    bool cpu_pm, mlock, hugepages, prefault;
    int teardown; /* enum option_teardown */

    int stats;               /* enum option_stats */
    const char *stats_path;  /* NULL: standard error */
    const char *dump_tables; /* a directory to write the machine's tables into, and start nothing; NULL: no */
    bool dry_run;
};

/* One line for the user, without "ringvmm: " and without a newline. It holds no control character. */
struct options_error {
    char line[480];
};

enum options_result {
    OPTIONS_OK,
    OPTIONS_HELP,  /* help was asked for; what follows it was not looked at */
    OPTIONS_ERROR, /* the error's line says why */
};

/* Fills *out from the arguments after the command's name: defaults, then each argument, then what only shows in the
 * whole (ports, paths and CPUs that contradict each other). No system calls. */
enum options_result options_parse_run(int argc, char *const *argv, struct run_options *out,
                                      struct options_error *error);

/* Looks at the files and at standard output: the firmware's size and permission, directories of files to be written.
 * It creates nothing. Returns whether all is well. */
bool options_check_files(const struct run_options *options, struct options_error *error);

/* options_cpu.c, for options_parse_run(): --cpu, --hyperv and --hugepages, which only the whole text or another option
 * can judge. cpu_features and hyperv are in their final form afterwards. */
bool options_check_cpu(struct run_options *options, struct options_error *error);
/* In `hyperv` before that: all features, none. */
#define OPTIONS_HYPERV_ON  (1u << 28)
#define OPTIONS_HYPERV_OFF (1u << 29)

/* What --firmware seabios stands for. */
#define OPTIONS_SEABIOS_PATH "/usr/share/seabios/bios-256k.bin"
/* ... and ovmf: its code, and the template of its variables. */
#define OPTIONS_OVMF_CODE_PATH "/usr/share/OVMF/OVMF_CODE_4M.fd"
#define OPTIONS_OVMF_VARS_PATH "/usr/share/OVMF/OVMF_VARS_4M.fd"
/* A raw image is a whole number of pages ... */
#define OPTIONS_FIRMWARE_UNIT 0x1000u
/* ... and stays below the interrupt controllers at 0xfec00000, with room. */
#define OPTIONS_FIRMWARE_MAX 0x1000000u

/* The file that a --firmware stands for. */
const char *options_firmware_path(const char *name);

/* Kernels and initrds larger than this are taken for a slip. */
#define OPTIONS_KERNEL_MAX 0x40000000u

/* ---- ports ---- */

struct port_claim {
    uint32_t first, last; /* inclusive */
    const char *name;
};

/* Who has which port on every machine, whatever the options; the debug console's second port and the debug exit
 * are added from the options. */
extern const struct port_claim options_fixed_ports[];
extern const unsigned options_fixed_port_count;

/* Ports that one debug-exit device answers: accesses of 1, 2 and 4 bytes. */
#define OPTIONS_DEBUG_EXIT_PORTS 4

/* Whether no two claims share a port; else the error names both. */
bool options_check_ports(const struct port_claim *claims, unsigned count, struct options_error *error);

/* ---- tables of options ---- */

enum option_type {
    OPTION_HELP,   /* no value: ends parsing with OPTIONS_HELP */
    OPTION_FLAG,   /* no value: sets a bool */
    OPTION_SWITCH, /* on or off: a bool */
    OPTION_NUMBER, /* an int from min to max */
    OPTION_PORT,   /* an int from min to max, shown in hexadecimal */
    OPTION_SIZE,   /* a uint64_t in bytes, from min to max, in whole steps */
    OPTION_CHOICE, /* an int: the value of one of the choices */
    OPTION_SET,    /* an unsigned: the sum of the values of some choices, between commas */
    OPTION_TEXT,   /* a const char * into argv, not empty; not for keys */
    OPTION_KEYS,   /* KEY=VALUE pairs between commas; each key is a row of its own. The first one's name may be left out
                      if the row is `leading` */
    OPTION_CUSTOM, /* set() */
};

struct option_choice {
    const char *name; /* NULL ends the list */
    int value;
};

struct option_row {
    const char *name; /* without its dashes; NULL ends the table */
    char letter;      /* the short form, 0: none. For options without a value */
    enum option_type type;
    const char *group;    /* --help's heading; NULL: as the row before */
    const char *argument; /* how --help names the value */
    const char *fallback; /* the default, as text; NULL: none */
    const char *help;     /* what it does; --help adds the default */
    size_t offset;        /* of the field in the struct that the table fills */
    uint64_t min, max, step;
    const char *unit; /* NUMBER: "microseconds"; NULL: none */
    const struct option_choice *choices;
    const struct option_row *keys;
    bool leading; /* KEYS: the first key is a must, and may stand without its name */
    /* KEYS: how often it may be given, 0: once. Each time fills one more element, of `stride` bytes, of the array at
     * `offset`; the keys' offsets are from the element's start, and set() gets it as `out`. The unsigned at
     * `count_offset` counts them. */
    unsigned repeat;
    size_t stride, count_offset;
    /* CUSTOM: stores the value. NULL, or what is wrong with it: "not a ...". `out` is the whole struct. `value` goes
     * away after the call when the row is a key; otherwise it is a piece of argv. */
    const char *(*set)(void *out, const char *value);
};

struct option_table {
    const char *command;  /* "run" */
    const char *synopsis; /* "[OPTION]..." */
    const char *summary;
    const struct option_row *rows;
    const char *epilogue; /* printed as it is, after the options; NULL: none */
};

/* The most rows that a table or a list of keys may have. */
#define OPTIONS_MAX_ROWS 64

extern const struct option_table options_run_table;

/* options_parse - fills the fields of *out that the table names: defaults (int fields without one: -1), then argv[0] to
 * argv[argc - 1]. Fields that no row names are left alone. */
enum options_result options_parse(const struct option_table *table, int argc, char *const *argv, void *out,
                                  struct options_error *error);

/* Prints usage, options by group and the epilogue, within 80 columns. Errors stay in the stream. */
void options_print_help(const struct option_table *table, FILE *stream);

/* The name that `word` is most likely a slip of, or NULL. next() hands out the candidates, then NULL. */
const char *options_closest(const char *word, const char *(*next)(const void *list, unsigned index), const void *list);

void options_fail(struct options_error *error, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
