/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the doctor looks at. A new row is one call of doctor_add() in the check it belongs to, one line of
 * capabilities[], or a check of its own in checks[]. Paths under /proc and /sys are the kernel's documented ones
 * (Documentation/ABI).
 */
#include "vmm/doctor.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/io_uring.h>
#include <linux/kvm.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <ringd/kvm_mmio2.h>

#include "vmm/cpuid.h"
#include "vmm/hyperv.h"

/* The KVM ABI has had this version since Linux 2.6.22; the API documentation tells clients to refuse any other. */
#define KVM_STABLE_API_VERSION 12

#define CAP_IPC_LOCK_BIT 14 /* linux/capability.h */
#define CAP_SYS_NICE_BIT 23

struct doctor {
    struct doctor_report *report;
    const char *root;
    int kvm_fd; /* -1: cannot be used */
    bool kvm_there;
    bool svm, vmx;
    uint64_t privileges; /* effective capabilities */
};

/* ---- reading what the kernel tells ---- */

static FILE *open_file(const struct doctor *doctor, const char *path)
{
    char full[PATH_MAX];

    if (snprintf(full, sizeof(full), "%s%s", doctor->root, path) >= (int)sizeof(full))
        return NULL;
    return fopen(full, "re");
}

/* The first line, without its newline. False: no such file (buf is then empty). */
static bool read_line(const struct doctor *doctor, const char *path, char *buf, size_t size)
{
    FILE *file = open_file(doctor, path);

    buf[0] = '\0';
    if (!file)
        return false;
    if (!fgets(buf, (int)size, file))
        buf[0] = '\0';
    buf[strcspn(buf, "\n")] = '\0';
    (void)fclose(file);
    return true;
}

/* What follows "key" and its colon in a file of "key: value" lines. */
static bool read_value(const struct doctor *doctor, const char *path, const char *key, char *buf, size_t size)
{
    FILE *file = open_file(doctor, path);
    char *line = NULL;
    size_t capacity = 0;
    bool found = false;

    if (!file)
        return false;
    while (!found && getline(&line, &capacity, file) > 0) {
        const char *value = strchr(line, ':');

        if (!value || strncmp(line, key, strlen(key)) != 0 || !strchr(" \t:", line[strlen(key)]))
            continue;
        value++;
        value += strspn(value, " \t");
        (void)snprintf(buf, size, "%.*s", (int)strcspn(value, "\n"), value);
        found = true;
    }
    free(line);
    (void)fclose(file);
    return found;
}

/* "always [madvise] never" -> "madvise". */
static const char *selected(char *line)
{
    char *open = strchr(line, '[');
    char *close = open ? strchr(open, ']') : NULL;

    if (!close)
        return line;
    *close = '\0';
    return open + 1;
}

static bool has_word(const char *text, const char *word)
{
    size_t length = strlen(word);

    for (const char *p = strstr(text, word); p; p = strstr(p + 1, word)) {
        if ((p == text || p[-1] == ' ') && (p[length] == ' ' || p[length] == '\0'))
            return true;
    }
    return false;
}

/* ---- KVM ---- */

static void check_cpu_features(struct doctor *doctor)
{
    static const char name[] = "VT-x/SVM";
    char *flags = calloc(1, 8192);
    struct doctor_finding *finding;

    if (flags && read_value(doctor, "/proc/cpuinfo", "flags", flags, 8192)) {
        doctor->vmx = has_word(flags, "vmx");
        doctor->svm = has_word(flags, "svm");
    }
    free(flags);
    if (doctor->vmx || doctor->svm) {
        doctor_add(doctor->report, "KVM", name, DOCTOR_OK, "%s", doctor->vmx ? "VT-x (vmx)" : "SVM (svm)");
        return;
    }
    finding = doctor_add(doctor->report, "KVM", name, DOCTOR_WARN, "neither vmx nor svm in /proc/cpuinfo");
    if (doctor->kvm_there)
        doctor_hint(finding,
                    "software KVM: guest kernel code runs through an instruction emulator; bare metal, or a VM "
                    "with nesting on, is faster");
    else
        doctor_hint(finding, "enable it in the firmware setup; in a VM, enable nesting on its host");
}

static void open_kvm(struct doctor *doctor)
{
    char path[PATH_MAX];
    struct doctor_finding *finding;
    int error;
    int version;

    (void)snprintf(path, sizeof(path), "%s/dev/kvm", doctor->root);
    doctor->kvm_fd = open(path, O_RDWR | O_CLOEXEC);
    error = errno;
    doctor->kvm_there = doctor->kvm_fd >= 0 || error != ENOENT;
    if (doctor->kvm_fd < 0) {
        finding = doctor_add(doctor->report, "KVM", "/dev/kvm", DOCTOR_MISSING, "%s", strerror(error));
        finding->required = true;
        if (error == EACCES || error == EPERM)
            doctor_hint(finding, "join its group: 'sudo usermod -aG kvm $USER', then log in again");
        else
            doctor_hint(finding, "load the module: 'sudo modprobe kvm_intel' or 'sudo modprobe kvm_amd'");
        return;
    }
    version = ioctl(doctor->kvm_fd, KVM_GET_API_VERSION, 0);
    if (version == KVM_STABLE_API_VERSION) {
        finding = doctor_add(doctor->report, "KVM", "/dev/kvm", DOCTOR_OK, "API version %d", version);
    } else {
        finding = doctor_add(doctor->report, "KVM", "/dev/kvm", DOCTOR_MISSING, "not KVM: API version %d, not %d",
                             version, KVM_STABLE_API_VERSION);
        (void)close(doctor->kvm_fd);
        doctor->kvm_fd = -1;
    }
    finding->required = true;
}

static const struct capability {
    const char *name;
    int number;
    bool required;
    enum doctor_level absent;
    const char *without; /* what its absence means; NULL: another row tells */
} capabilities[] = {
    {"USER_MEMORY", KVM_CAP_USER_MEMORY, true, DOCTOR_MISSING, "guest memory cannot be given to KVM"},
    {"IRQCHIP", KVM_CAP_IRQCHIP, true, DOCTOR_MISSING, "ringvmm has no interrupt controllers of its own"},
    {"PIT2", KVM_CAP_PIT2, true, DOCTOR_MISSING, "ringvmm has no PIT of its own"},
    {"IRQFD", KVM_CAP_IRQFD, true, DOCTOR_MISSING, "devices raise their interrupts by irqfd"},
    {"IMMEDIATE_EXIT", KVM_CAP_IMMEDIATE_EXIT, true, DOCTOR_MISSING, "a vCPU could not be stopped without a race"},
    {"COALESCED_MMIO", KVM_CAP_COALESCED_MMIO, false, DOCTOR_WARN, "writes to device memory exit"},
    {"COALESCED_PIO", KVM_CAP_COALESCED_PIO, false, DOCTOR_WARN, "port writes exit; Linux 4.20 or later has it"},
    {"COALESCED_MMIO2 (239)", RINGD_KVM_CAP_COALESCED_MMIO2, false, DOCTOR_MISSING, NULL},
    {"IOEVENTFD", KVM_CAP_IOEVENTFD, false, DOCTOR_WARN, "doorbells of queues exit"},
    {"READONLY_MEM", KVM_CAP_READONLY_MEM, false, DOCTOR_WARN, "a guest can overwrite its own firmware"},
    {"BINARY_STATS_FD", KVM_CAP_BINARY_STATS_FD, false, DOCTOR_WARN,
     "--stats lacks the kernel's own counters; Linux 5.14 or later has them"},
    {"HYPERV", KVM_CAP_HYPERV, false, DOCTOR_WARN,
     "--hyperv is refused: Windows guests get no paravirtual clock and exit more often"},
    {"TSC_DEADLINE_TIMER", KVM_CAP_TSC_DEADLINE_TIMER, false, DOCTOR_WARN, "guests use slower timers"},
    {"X86_DISABLE_EXITS", KVM_CAP_X86_DISABLE_EXITS, false, DOCTOR_WARN,
     "--cpu-pm is refused: HLT and PAUSE always exit"},
    {"HALT_POLL", KVM_CAP_HALT_POLL, false, DOCTOR_WARN, "--halt-poll is refused; the host's halt_poll_ns counts"},
    {"SYNC_REGS", KVM_CAP_SYNC_REGS, false, DOCTOR_WARN, "reading registers costs a system call each time"},
    {"DIRTY_LOG_RING", KVM_CAP_DIRTY_LOG_RING, false, DOCTOR_WARN, "dirty pages are found by bitmap only"},
    {"MAX_VCPUS", KVM_CAP_MAX_VCPUS, false, DOCTOR_WARN, "the limit of vCPUs is unknown"},
};

static void check_capabilities(struct doctor *doctor)
{
    for (size_t i = 0; doctor->kvm_fd >= 0 && i < sizeof(capabilities) / sizeof(capabilities[0]); i++) {
        const struct capability *capability = &capabilities[i];
        int value = ioctl(doctor->kvm_fd, KVM_CHECK_EXTENSION, capability->number);
        bool there = value > 0;
        struct doctor_finding *finding = doctor_add(doctor->report, "KVM capabilities", capability->name,
                                                    there ? DOCTOR_OK : capability->absent, there ? "%d" : "no", value);

        finding->required = capability->required;
        if (!there && capability->without)
            doctor_hint(finding, "%s", capability->without);
    }
}

/* What --hyperv could be given; the capability alone does not tell. */
static void check_hyperv(struct doctor *doctor)
{
    struct cpuid_table *table = calloc(1, sizeof(*table));
    char names[160] = "";
    size_t used = 0;
    unsigned lacking;

    if (!table || doctor->kvm_fd < 0 || ioctl(doctor->kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_SYS_HYPERV_CPUID) <= 0) {
        free(table);
        return;
    }
    table->nent = CPUID_MAX_ENTRIES;
    if (ioctl(doctor->kvm_fd, KVM_GET_SUPPORTED_HV_CPUID, table) < 0)
        table->nent = 0;
    lacking = hyperv_lacking(HYPERV_ALL, table->entries, table->nent);
    for (unsigned feature = 1; feature < HYPERV_ALL && used < sizeof(names); feature <<= 1) {
        if (!(lacking & feature))
            used +=
                (size_t)snprintf(names + used, sizeof(names) - used, "%s%s", used ? ", " : "", hyperv_name(feature));
    }
    doctor_add(doctor->report, "KVM", "Hyper-V", lacking ? DOCTOR_WARN : DOCTOR_OK, "%s",
               used ? names : "nothing of it");
    free(table);
}

static void check_kvm_parameters(struct doctor *doctor)
{
    char text[64];

    if (read_line(doctor, "/sys/module/kvm/parameters/halt_poll_ns", text, sizeof(text))) {
        bool off = strcmp(text, "0") == 0;
        struct doctor_finding *finding =
            doctor_add(doctor->report, "KVM", "halt_poll_ns", off ? DOCTOR_WARN : DOCTOR_OK, "%s ns", text);

        if (off)
            doctor_hint(finding, "an idle vCPU is woken later; 'echo 200000' into "
                                 "/sys/module/kvm/parameters/halt_poll_ns");
    }
}

/* ---- back ends ---- */

/* May a daemon die without taking with it what KVM has recorded for it? */
static void check_daemon_rings(struct doctor *doctor, const char *section, bool mmio2)
{
    static const char name[] = "daemon-safe rings";
    int offered = mmio2 ? ioctl(doctor->kvm_fd, KVM_CHECK_EXTENSION, RINGD_KVM_CAP_COALESCED_MMIO2) : 0;
    struct doctor_finding *finding;

    if (offered > 0 && (offered & RINGD_KVM_MMIO2_SHARED_RING)) {
        doctor_add(doctor->report, section, name, DOCTOR_OK, "yes: KVM's outlive the daemon (239's bit 1)");
        return;
    }
    if (mmio2)
        finding = doctor_add(doctor->report, section, name, DOCTOR_WARN,
                             "no: KVM frees a ring with the daemon that dies (239 lacks bit 1)");
    else
        finding = doctor_add(doctor->report, section, name, DOCTOR_WARN, "no: KVM has none for a daemon (239's bit 1)");
    doctor_hint(finding, "--device-model hands writes on by memfd rings, which lose none; kmod/ has that bit");
}

static void check_backends(struct doctor *doctor)
{
    static const char section[] = "Posted writes";
    static const enum ringd_backend_kind kinds[] = {RINGD_BACKEND_MMIO2, RINGD_BACKEND_V1, RINGD_BACKEND_MEMFD};
    struct ringd_probe_result result = {0};
    struct doctor_finding *finding;
    bool mmio2 = false;
    int kind;

    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        const char *name = ringd_backend_name(kinds[i]);

        if (kinds[i] != RINGD_BACKEND_MEMFD && doctor->kvm_fd < 0) {
            doctor_add(doctor->report, section, name, DOCTOR_MISSING, "needs /dev/kvm");
            continue;
        }
        result = (struct ringd_probe_result){0};
        if (ringd_probe(doctor->kvm_fd, kinds[i], &result) == 0) {
            mmio2 |= kinds[i] == RINGD_BACKEND_MMIO2;
            doctor_add(doctor->report, section, name, DOCTOR_OK, "%s", result.reason);
        } else {
            doctor_add(doctor->report, section, name, DOCTOR_MISSING, "%s", result.reason);
        }
    }
    if (doctor->kvm_fd < 0)
        return;
    check_daemon_rings(doctor, section, mmio2);
    result = (struct ringd_probe_result){0};
    kind = ringd_choose(doctor->kvm_fd, RINGD_BACKEND_AUTO, &result, NULL);
    if (kind < 0) {
        doctor_add(doctor->report, section, "auto", DOCTOR_MISSING, "%s", result.reason);
        return;
    }
    finding = doctor_add(doctor->report, section, "auto", kind == RINGD_BACKEND_MMIO2 ? DOCTOR_OK : DOCTOR_WARN,
                         "picks %s: %s", ringd_backend_name((enum ringd_backend_kind)kind), result.reason);
    if (kind == RINGD_BACKEND_V1)
        doctor_hint(finding, "mmio2 would give each device its own ring and a wake-up; kmod/ builds it");
    else if (kind == RINGD_BACKEND_OFF)
        doctor_hint(finding, "every write stops its vCPU; a kernel from 4.20 on records them");
}

/* ---- scheduling and limits ---- */

static void check_real_time(struct doctor *doctor)
{
    const struct sched_param real_time = {.sched_priority = 1};
    const struct sched_param before = {.sched_priority = 0};
    struct rlimit limit = {0};
    bool privileged = doctor->privileges >> CAP_SYS_NICE_BIT & 1;
    struct doctor_finding *finding;
    int policy = sched_getscheduler(0);

    (void)getrlimit(RLIMIT_RTPRIO, &limit);
    /* Tried, because a limit is not all: a control group may have no real-time budget. */
    if (policy == SCHED_OTHER && sched_setscheduler(0, SCHED_FIFO, &real_time) == 0) {
        (void)sched_setscheduler(0, SCHED_OTHER, &before);
        if (privileged)
            doctor_add(doctor->report, "Scheduling", "SCHED_FIFO", DOCTOR_OK, "priorities 1 to 99 (CAP_SYS_NICE)");
        else
            doctor_add(doctor->report, "Scheduling", "SCHED_FIFO", DOCTOR_OK, "priorities 1 to %llu (RLIMIT_RTPRIO)",
                       (unsigned long long)limit.rlim_cur);
        return;
    }
    finding = doctor_add(doctor->report, "Scheduling", "SCHED_FIFO", DOCTOR_WARN, "%s (RLIMIT_RTPRIO %llu)",
                         policy == SCHED_OTHER ? "not permitted" : "not tried", (unsigned long long)limit.rlim_cur);
    doctor_hint(finding, "--ring-thread priority=N needs it: 'ulimit -r 99', or rtprio in /etc/security/limits.conf");
}

static void check_locked_memory(struct doctor *doctor)
{
    static const rlim_t small = 64 << 20; /* the default of --memory */
    struct rlimit limit = {0};
    struct doctor_finding *finding;

    (void)getrlimit(RLIMIT_MEMLOCK, &limit);
    if (limit.rlim_cur == RLIM_INFINITY || (doctor->privileges >> CAP_IPC_LOCK_BIT & 1)) {
        doctor_add(doctor->report, "Scheduling", "RLIMIT_MEMLOCK", DOCTOR_OK, "unlimited%s",
                   limit.rlim_cur == RLIM_INFINITY ? "" : " (CAP_IPC_LOCK)");
        return;
    }
    finding =
        doctor_add(doctor->report, "Scheduling", "RLIMIT_MEMLOCK", limit.rlim_cur < small ? DOCTOR_WARN : DOCTOR_OK,
                   "%llu KiB", (unsigned long long)(limit.rlim_cur >> 10));
    if (limit.rlim_cur < small)
        doctor_hint(finding, "guest memory cannot be locked; 'ulimit -l unlimited', or memlock in limits.conf");
}

static void check_cpus(struct doctor *doctor)
{
    char list[120];
    char governor[64] = "";
    char path[80];
    struct doctor_finding *finding;
    long count = sysconf(_SC_NPROCESSORS_ONLN);

    finding =
        doctor_add(doctor->report, "Scheduling", "CPUs", count > 1 ? DOCTOR_OK : DOCTOR_WARN, "%ld online", count);
    if (count <= 1)
        doctor_hint(finding, "the ring thread and the vCPUs take turns on one CPU");
    read_line(doctor, "/sys/devices/system/cpu/isolated", list, sizeof(list));
    doctor_add(doctor->report, "Scheduling", "isolated CPUs", DOCTOR_OK, "%s", list[0] ? list : "none");
    read_line(doctor, "/sys/devices/system/cpu/nohz_full", list, sizeof(list));
    doctor_add(doctor->report, "Scheduling", "nohz_full CPUs", DOCTOR_OK, "%s",
               list[0] && strcmp(list, "(null)") != 0 ? list : "none");
    for (long i = 0; i < count && !governor[0]; i++) {
        (void)snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%ld/cpufreq/scaling_governor", i);
        if (read_line(doctor, path, governor, sizeof(governor)) && strcmp(governor, "performance") == 0)
            governor[0] = '\0'; /* look on for one that is not */
    }
    if (governor[0]) {
        finding = doctor_add(doctor->report, "Scheduling", "cpufreq governor", DOCTOR_WARN, "%s", governor);
        doctor_hint(finding, "frequencies follow the load; 'cpupower frequency-set -g performance' steadies latencies");
    } else {
        bool any = read_line(doctor, "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", list, sizeof(list));

        doctor_add(doctor->report, "Scheduling", "cpufreq governor", DOCTOR_OK, "%s",
                   any ? "performance" : "none (the frequency is not the kernel's to set)");
    }
}

static void check_clocksource(struct doctor *doctor)
{
    char source[64];
    bool good;
    struct doctor_finding *finding;

    read_line(doctor, "/sys/devices/system/clocksource/clocksource0/current_clocksource", source, sizeof(source));
    good = strcmp(source, "tsc") == 0 || strcmp(source, "kvm-clock") == 0;
    finding = doctor_add(doctor->report, "Scheduling", "clocksource", good ? DOCTOR_OK : DOCTOR_WARN, "%s",
                         source[0] ? source : "unknown");
    if (!good)
        doctor_hint(finding, "reading the time is a system call; 'tsc' is read in user space");
}

/* ---- memory and I/O ---- */

static void check_huge_pages(struct doctor *doctor)
{
    char text[120];
    const char *mode;
    struct doctor_finding *finding;
    bool off;

    if (read_line(doctor, "/sys/kernel/mm/transparent_hugepage/enabled", text, sizeof(text))) {
        mode = selected(text);
        off = strcmp(mode, "never") == 0;
        finding = doctor_add(doctor->report, "Memory and I/O", "transparent huge pages", off ? DOCTOR_WARN : DOCTOR_OK,
                             "%s", mode);
        if (off)
            doctor_hint(finding, "fewer TLB misses, and a faster start of the guest: 'echo madvise' into "
                                 "/sys/kernel/mm/transparent_hugepage/enabled");
    } else {
        doctor_add(doctor->report, "Memory and I/O", "transparent huge pages", DOCTOR_WARN, "not in this kernel");
    }
    if (!read_value(doctor, "/proc/meminfo", "HugePages_Total", text, sizeof(text)))
        (void)snprintf(text, sizeof(text), "0");
    doctor_add(doctor->report, "Memory and I/O", "reserved huge pages", DOCTOR_OK, "%s",
               strcmp(text, "0") == 0 ? "none" : text);
}

static void check_io_uring(struct doctor *doctor)
{
    struct io_uring_params params;
    struct doctor_finding *finding;
    char disabled[16];
    long fd;

    memset(&params, 0, sizeof(params));
    fd = syscall(__NR_io_uring_setup, 1, &params);
    if (fd >= 0) {
        (void)close((int)fd);
        doctor_add(doctor->report, "Memory and I/O", "io_uring", DOCTOR_OK, "works (features 0x%x)", params.features);
        return;
    }
    finding = doctor_add(doctor->report, "Memory and I/O", "io_uring", DOCTOR_WARN, "%s", strerror(errno));
    if (read_line(doctor, "/proc/sys/kernel/io_uring_disabled", disabled, sizeof(disabled)) &&
        strcmp(disabled, "0") != 0)
        doctor_hint(finding, "'sysctl kernel.io_uring_disabled=0' (now %s)", disabled);
    else
        doctor_hint(finding, "this kernel lacks it, or a sandbox (seccomp) forbids it");
}

/* ---- software ---- */

static void check_software(struct doctor *doctor)
{
    struct utsname name;
    struct doctor_finding *finding;
    char path[PATH_MAX];

    if (uname(&name) == 0)
        doctor_add(doctor->report, "Software", "kernel", DOCTOR_OK, "%s %s", name.sysname, name.release);
    (void)snprintf(path, sizeof(path), "%s%s", doctor->root, OPTIONS_SEABIOS_PATH);
    if (access(path, R_OK) == 0) {
        doctor_add(doctor->report, "Software", "SeaBIOS", DOCTOR_OK, "%s", OPTIONS_SEABIOS_PATH);
    } else {
        finding = doctor_add(doctor->report, "Software", "SeaBIOS", DOCTOR_WARN, "%s: %s", OPTIONS_SEABIOS_PATH,
                             strerror(errno));
        doctor_hint(finding, "install the package 'seabios', or give --firmware a file");
    }
}

/* Only benchmarks want it, to compare with. */
static void check_qemu(struct doctor *doctor)
{
    const char *directories = getenv("PATH");
    struct doctor_finding *finding;

    for (const char *rest = directories; rest && *rest;) {
        size_t length = strcspn(rest, ":");
        char path[PATH_MAX];

        (void)snprintf(path, sizeof(path), "%s%.*s/qemu-system-x86_64", doctor->root, (int)length, rest);
        if (access(path, X_OK) == 0) {
            doctor_add(doctor->report, "Software", "QEMU", DOCTOR_OK, "%.120s", path + strlen(doctor->root));
            return;
        }
        rest += length + (rest[length] == ':');
    }
    finding = doctor_add(doctor->report, "Software", "QEMU", DOCTOR_WARN, "no qemu-system-x86_64 in PATH");
    doctor_hint(finding, "only the benchmarks use it, to compare with: package 'qemu-system-x86'");
}

/* ---- all ---- */

static void (*const checks[])(struct doctor *doctor) = {
    open_kvm,         check_cpu_features, check_kvm_parameters, check_hyperv,        check_capabilities,
    check_backends,   check_cpus,         check_real_time,      check_locked_memory, check_clocksource,
    check_huge_pages, check_io_uring,     check_software,       check_qemu,
};

void doctor_gather(struct doctor_report *report, const char *root)
{
    struct doctor doctor = {.report = report, .root = root, .kvm_fd = -1};
    char text[64];

    report->count = 0;
    if (read_value(&doctor, "/proc/self/status", "CapEff", text, sizeof(text)))
        doctor.privileges = strtoull(text, NULL, 16);
    for (size_t i = 0; i < sizeof(checks) / sizeof(checks[0]); i++)
        checks[i](&doctor);
    if (doctor.kvm_fd >= 0)
        (void)close(doctor.kvm_fd);
}
