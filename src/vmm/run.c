/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * `ringvmm run`: makes the machine, runs it to its end, takes it down. The main thread's loop serves signals, consoles
 * and what the machine's parts ask for (vm_request()).
 */
#include "vmm/run.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include <ringd/kvm_mmio2.h>

#include "vmm/boot.h"
#include "vmm/cpuid.h"
#include "vmm/firmware.h"
#include "vmm/flash.h"
#include "vmm/machine.h"
#include "vmm/nvram.h"
#include "vmm/report.h"
#include "vmm/teardown.h"
#include "vmm/tuning.h"
#include "vmm/vcpu.h"

/* Where KVM keeps three pages of its own on Intel hosts: in the hole below the APICs, out of any firmware's way. */
#define KVM_IDENTITY_MAP 0xfeffc000u
#define KVM_TSS          0xfeffd000u

#define FLASH_DELAY_S 1.0  /* until what UEFI has written is on the disk; a kill loses nothing */
#define NVRAM_DELAY_S 0.1  /* a guest that toggles a byte costs ten writes a second, not one each */
#define FLUSH_MS      2000 /* how long a slow reader of a console may hold up the end */

/* KVM's interrupt controllers and timer as they were made, for a reset. */
struct chips {
    struct kvm_irqchip irqchips[3]; /* both PICs and the IOAPIC */
    struct kvm_pit_state2 pit;
};

struct run {
    const struct run_options *options;
    struct vm vm;
    struct machine machine;
    struct chips chips;
    struct boot boot;
    struct chardev *serial, *debugcon, *console;
    struct nvram_file nvram;
    struct flash flash;
    ev_timer nvram_timer, flash_timer; /* collect a burst of writes */
    ev_signal interrupt, terminate, hangup, resume;
    enum vm_end end;
    int signal;
    bool asked;  /* the guest has been asked to power off */
    bool paused; /* by its user */
    char backend_reason[160];
    struct cycles_base base;
    FILE *stats;
};

static int complain(const char *what, int error)
{
    fprintf(stderr, "ringvmm: %s: %s\n", what, strerror(-error));
    return error;
}

/* ---- making it ---- */

static int open_kvm(struct vm *vm)
{
    vm->kvm_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    if (vm->kvm_fd >= 0) {
        int version = ioctl(vm->kvm_fd, KVM_GET_API_VERSION, 0);
        if (version == KVM_API_VERSION)
            return 0;
        fprintf(stderr, "ringvmm: /dev/kvm speaks version %d of its interface, not %d\n", version, KVM_API_VERSION);
        return -ENOTSUP;
    }
    int error = errno;
    const char *hint = error == EACCES || error == EPERM ? "add this user to the group 'kvm', or run as root"
                       : error == ENOENT ? "load kvm_intel or kvm_amd, or allow nested virtualisation for this machine"
                                         : "see 'ringvmm doctor'";
    fprintf(stderr, "ringvmm: /dev/kvm: %s; %s\n", strerror(error), hint);
    return -error;
}

static int create_vm(struct vm *vm)
{
    vm->fd = ioctl(vm->kvm_fd, KVM_CREATE_VM, 0);
    if (vm->fd < 0)
        return complain("KVM_CREATE_VM", -errno);
    uint64_t identity_map = KVM_IDENTITY_MAP;
    struct kvm_pit_config pit = {.flags = KVM_PIT_SPEAKER_DUMMY}; /* port 0x61 in the kernel too */
    (void)ioctl(vm->fd, KVM_SET_IDENTITY_MAP_ADDR, &identity_map);
    if (ioctl(vm->fd, KVM_SET_TSS_ADDR, KVM_TSS) < 0)
        return complain("KVM_SET_TSS_ADDR", -errno);
    if (ioctl(vm->fd, KVM_CREATE_IRQCHIP, 0) < 0)
        return complain("KVM_CREATE_IRQCHIP", -errno);
    if (ioctl(vm->fd, KVM_CREATE_PIT2, &pit) < 0)
        return complain("KVM_CREATE_PIT2", -errno);
    int ret = irq_init(&vm->irq, vm->fd);
    return ret ? complain("KVM_SET_GSI_ROUTING", ret) : 0;
}

static int save_chips(const struct vm *vm, struct chips *chips)
{
    for (unsigned i = 0; i < 3; i++) {
        chips->irqchips[i].chip_id = i; /* KVM_IRQCHIP_PIC_MASTER, _SLAVE, _IOAPIC */
        if (ioctl(vm->fd, KVM_GET_IRQCHIP, &chips->irqchips[i]) < 0)
            return complain("KVM_GET_IRQCHIP", -errno);
    }
    return ioctl(vm->fd, KVM_GET_PIT2, &chips->pit) < 0 ? complain("KVM_GET_PIT2", -errno) : 0;
}

static int open_remote(struct run *run)
{
    struct vm *vm = &run->vm;
    uint64_t wait_ns = (uint64_t)run->options->device_model_wait_ms * 1000000;
    /* The guest's writes need not pass through this process where KVM can give the daemon a ring that outlives it. */
    int offered = ioctl(vm->kvm_fd, KVM_CHECK_EXTENSION, RINGD_KVM_CAP_COALESCED_MMIO2);
    bool direct =
        ringd_backend(vm->ringd) == RINGD_BACKEND_MMIO2 && offered > 0 && (offered & RINGD_KVM_MMIO2_SHARED_RING);
    return remote_open(&run->machine.remote, run->options->device_model, wait_ns, direct ? vm->fd : -1, vm->loop);
}

static int create_memory(struct run *run)
{
    uint64_t bytes = run->options->memory_bytes;
    struct sysinfo info;
    if (sysinfo(&info) == 0) {
        uint64_t host = ((uint64_t)info.totalram + info.totalswap) * info.mem_unit;
        if (bytes > host) {
            fprintf(stderr, "ringvmm: --memory %lluM: this host has %lluM, swap included; ask for less\n",
                    (unsigned long long)(bytes >> 20), (unsigned long long)(host >> 20));
            return -ENOMEM;
        }
    }
    uint8_t *rom = NULL;
    uint64_t rom_size = 0;
    int ret = boot_is_direct(&run->boot) ? 0 : firmware_load(run->options->firmware, &rom, &rom_size);
    if (ret)
        return ret;
    ret = memory_create(&run->vm.memory, run->vm.fd, bytes, machine_low_limit(run->options), run->options->hugepages,
                        rom, rom_size);
    if (ret && run->options->hugepages)
        tuning_explain_hugepages(run->options, ret);
    else if (ret)
        fprintf(stderr, "ringvmm: --memory %lluM: %s\n", (unsigned long long)(bytes >> 20), strerror(-ret));
    return ret ? ret : tuning_memory(&run->vm, run->options);
}

static int create_vcpus(struct run *run)
{
    struct vm *vm = &run->vm;
    unsigned cpus = (unsigned)run->options->cpus;
    int ret = tuning_check_affinity(run->options);
    if (ret)
        return ret;
    int most = ioctl(vm->kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_MAX_VCPUS);
    if (most > 0 && cpus > (unsigned)most) {
        fprintf(stderr, "ringvmm: --cpus %u: KVM allows %d here\n", cpus, most);
        return -EINVAL;
    }
    ret = cpu_model_create(vm, run->options, &vm->cpu_model);
    if (ret)
        return ret;
    for (unsigned i = 0; i < cpus; i++) {
        ret = vcpu_create(vm, i, &vm->vcpus[i]);
        vm->vcpu_count += vm->vcpus[i] != NULL;
        if (ret || !vm->vcpus[i])
            return complain("making a vCPU", ret);
        if (run->options->vcpu_affinity_count)
            vm->vcpus[i]->cpu = (int)run->options->vcpu_affinity[i];
    }
    return 0;
}

static void ring_warning(void *ctx, const char *line)
{
    (void)ctx;
    fprintf(stderr, "ringvmm: %s\n", line);
}

static int create_ringd(struct run *run)
{
    const struct run_options *options = run->options;
    struct vm *vm = &run->vm;
    struct ringd_probe_result probe;
    int kind = ringd_choose(vm->kvm_fd, (enum ringd_backend_kind)options->coalesce, &probe, &vm->scratch_fd);
    if (kind < 0) {
        fprintf(stderr, "ringvmm: --coalesce %s does not work on this host: %s; try --coalesce auto\n",
                ringd_backend_name((enum ringd_backend_kind)options->coalesce), probe.reason);
        return kind;
    }
    if (kind == RINGD_BACKEND_OFF && options->coalesce == RINGD_BACKEND_AUTO)
        fprintf(stderr, "ringvmm: no posted writes on this host, every access exits: %s\n", probe.reason);
    snprintf(run->backend_reason, sizeof(run->backend_reason), "%s", probe.reason);
    struct ringd_config config = {
        .backend = (enum ringd_backend_kind)kind,
        .vm_fd = vm->fd,
        .vcpu_fd = vm->vcpus[0]->fd,
        .max_replay_latency_ns = (uint64_t)options->max_replay_latency_us * 1000,
        .no_moderation = !options->moderation,
        .cpu = options->ring_cpu,
        .priority = options->ring_priority,
        .warn = ring_warning,
    };
    int ret = ringd_create(&config, &vm->ringd);
    return ret ? complain("the ring thread cannot be made", ret) : 0;
}

static size_t serial_input(void *ctx, const uint8_t *data, size_t len)
{
    struct run *run = ctx;
    return machine_serial_input(&run->machine, data, len);
}

static size_t console_input(void *ctx, const uint8_t *data, size_t len)
{
    struct run *run = ctx;
    return machine_console_input(&run->machine, data, len);
}

static int open_chardev(struct run *run, const char *name, const char *text,
                        size_t (*on_input)(void *ctx, const uint8_t *data, size_t len),
                        void (*on_key)(void *ctx, enum chardev_key key), struct chardev **out)
{
    struct chardev_spec spec;
    struct chardev_config config = {
        .loop = run->vm.loop, .name = name, .on_input = on_input, .on_key = on_key, .ctx = run};
    if (!text)
        return 0;
    char error[512];
    int ret = chardev_parse(text, &spec, error, sizeof(error));
    if (!ret)
        ret = chardev_open(&spec, &config, out, error, sizeof(error));
    if (ret)
        fprintf(stderr, "ringvmm: --%s: %s\n", name, error);
    return ret;
}

/* Opening does not wait for a FIFO's reader; writing does. */
static FILE *open_report(const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0666);
    if (fd < 0)
        return NULL;
    int flags = fcntl(fd, F_GETFL);
    FILE *file = flags < 0 || fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) < 0 ? NULL : fdopen(fd, "w");
    int error = errno;
    if (!file)
        close(fd);
    errno = error;
    return file;
}

static int open_stats(struct run *run)
{
    if (run->options->stats == OPTION_STATS_NONE)
        return 0;
#ifndef HAVE_JANSSON
    if (run->options->stats == OPTION_STATS_JSON) {
        fprintf(stderr, "ringvmm: --stats json: this build has no JSON (jansson was not there); use --stats table\n");
        return -ENOTSUP;
    }
#endif
    run->stats = run->options->stats_path ? open_report(run->options->stats_path) : stderr;
    if (run->stats)
        return 0;
    int error = errno;
    fprintf(stderr, "ringvmm: --stats %s: %s\n", run->options->stats_path,
            error == ENXIO ? "nobody reads it" : strerror(error));
    return -error;
}

/* ---- running it ---- */

static void finish(struct run *run, enum vm_end end)
{
    if (run->end == VM_END_NONE)
        run->end = end;
    ev_break(run->vm.loop, EVBREAK_ALL);
}

static void serve_requests(struct run *run);

/* On the terminal, where the guest may be in the middle of a line. */
static void tell_user(const char *what)
{
    fprintf(stderr, "\nringvmm: %s\n", what);
}

/* The PIT is KVM's, which counts its ticks while no vCPU takes them, to make up for them later: but not for those of a
 * pause, whose time is none of the machine's. */
static void make_up_for_ticks(struct run *run, bool on)
{
    struct kvm_reinject_control control = {.pit_reinject = on};
    (void)ioctl(run->vm.fd, KVM_REINJECT_CONTROL, &control);
}

static void pause_machine(struct run *run)
{
    vm_pause(&run->vm);
    make_up_for_ticks(run, false);
    run->paused = true;
    tell_user("the machine is paused; Ctrl-A p lets it go on");
}

static void resume_machine(struct run *run)
{
    serve_requests(run); /* what its last accesses have asked for: no vCPU runs past a reset */
    if (run->end != VM_END_NONE)
        return;
    run->paused = false;
    make_up_for_ticks(run, true);
    vm_resume(&run->vm);
    tell_user("the machine goes on");
}

static void press_power_button(struct run *run)
{
    if (!machine_power_button(&run->machine))
        tell_user("the guest does not listen to the power button");
    else
        tell_user(run->paused ? "the power button is pressed; the guest learns of it when the machine goes on"
                              : "the power button is pressed");
}

/* Ctrl-A and a letter, on the terminal of the serial port or the virtio console. */
static void key(struct run *run, enum chardev_key what, bool has_break)
{
    if (run->end != VM_END_NONE) /* typed behind the one that ended it */
        return;
    switch (what) {
    case CHARDEV_KEY_QUIT:
        finish(run, VM_END_QUIT);
        break;
    case CHARDEV_KEY_HELP:
        fprintf(stderr,
                "\n"
                "Ctrl-A h       this help\n"
                "Ctrl-A x       ends ringvmm\n"
                "Ctrl-A p       pauses the machine, or lets it go on\n"
                "Ctrl-A r       resets the machine\n"
                "Ctrl-A o       presses the power button\n"
                "%s"
                "Ctrl-A Ctrl-A  Ctrl-A for the guest\n",
                has_break ? "Ctrl-A b       a break on the serial line\n" : "");
        break;
    case CHARDEV_KEY_BREAK:
        if (has_break)
            machine_serial_break(&run->machine);
        break;
    case CHARDEV_KEY_PAUSE:
        if (run->paused)
            resume_machine(run);
        else
            pause_machine(run);
        break;
    case CHARDEV_KEY_RESET: /* as the guest's own, so under --no-reboot it is the end too */
        vm_request(&run->vm, VM_REQUEST_RESET);
        serve_requests(run);
        if (run->end == VM_END_NONE)
            tell_user(run->paused ? "the machine is reset, and still paused" : "the machine is reset");
        break;
    case CHARDEV_KEY_POWER_BUTTON:
        press_power_button(run);
        break;
    }
}

static void serial_key(void *ctx, enum chardev_key what)
{
    key(ctx, what, true);
}

static void console_key(void *ctx, enum chardev_key what)
{
    key(ctx, what, false);
}

static void on_signal(struct ev_loop *loop, ev_signal *watcher, int events)
{
    (void)loop;
    (void)events;
    struct run *run = watcher->data;
    run->signal = watcher->signum;
    finish(run, VM_END_SIGNAL);
}

/* The power button; the end itself when nobody listens, or when the guest has been asked before. A machine that is
 * paused goes on, as its guest could not do what it is asked. */
static void on_terminate(struct ev_loop *loop, ev_signal *watcher, int events)
{
    struct run *run = watcher->data;
    if (run->asked || !machine_power_button(&run->machine))
        on_signal(loop, watcher, events);
    else
        run->asked = true;
    if (run->asked && run->paused)
        resume_machine(run);
}

static void on_resume(struct ev_loop *loop, ev_signal *watcher, int events)
{
    (void)loop;
    (void)events;
    struct run *run = watcher->data;
    chardev_resume_terminal(run->serial);
    if (run->console)
        chardev_resume_terminal(run->console);
}

/* Everything back to power-on: writes still in rings are replayed before, none of them after. A machine that is paused
 * stays so. */
static int reset(struct run *run)
{
    struct vm *vm = &run->vm;
    vm_pause(vm);
    ringd_reset(vm->ringd);
    machine_apply(&run->machine); /* what the reset took away */
    run->asked = false;           /* the guest that was asked is no more */
    int ret = 0;
    for (unsigned i = 0; i < 3 && !ret; i++)
        if (ioctl(vm->fd, KVM_SET_IRQCHIP, &run->chips.irqchips[i]) < 0)
            ret = -errno;
    if (!ret && ioctl(vm->fd, KVM_SET_PIT2, &run->chips.pit) < 0)
        ret = -errno;
    for (unsigned i = 0; i < vm->vcpu_count && !ret; i++)
        ret = vcpu_reset(vm->vcpus[i]);
    if (ret)
        return complain("the machine cannot be reset", ret);
    if (boot_is_direct(&run->boot)) { /* anew from the files: the guest has had the memory to itself */
        ret = boot_start(&run->boot, vm);
        if (ret)
            return ret;
    }
    /* What was asked for by writes replayed just now belongs to the time before. */
    __atomic_fetch_and(&vm->requests, ~(unsigned)VM_REQUEST_RESET, __ATOMIC_SEQ_CST);
    if (!run->paused)
        vm_resume(vm);
    return 0;
}

static void on_nvram_timer(struct ev_loop *loop, ev_timer *timer, int events)
{
    (void)events;
    struct run *run = timer->data;
    ev_timer_stop(loop, timer);
    ev_timer_set(timer, NVRAM_DELAY_S, 0.);
    (void)nvram_file_store(&run->nvram, run->machine.nvram);
}

static void on_flash_timer(struct ev_loop *loop, ev_timer *timer, int events)
{
    (void)events;
    struct run *run = timer->data;
    ev_timer_stop(loop, timer);
    ev_timer_set(timer, FLASH_DELAY_S, 0.);
    (void)flash_sync(&run->flash);
}

static void serve_requests(struct run *run)
{
    struct vm *vm = &run->vm;
    unsigned requests = __atomic_exchange_n(&vm->requests, 0, __ATOMIC_SEQ_CST);
    if ((requests & VM_REQUEST_NVRAM) && !ev_is_active(&run->nvram_timer))
        ev_timer_start(vm->loop, &run->nvram_timer);
    if ((requests & VM_REQUEST_FLASH) && !ev_is_active(&run->flash_timer))
        ev_timer_start(vm->loop, &run->flash_timer);
    if (requests & VM_REQUEST_REMAP)
        machine_apply(&run->machine);
    if (requests & VM_REQUEST_DEBUG_EXIT)
        finish(run, VM_END_DEBUG_EXIT);
    else if (requests & VM_REQUEST_POWEROFF)
        finish(run, VM_END_POWEROFF);
    else if ((requests & VM_REQUEST_RESET) && run->options->no_reboot)
        finish(run, VM_END_NO_REBOOT);
    else if ((requests & VM_REQUEST_FAILED) || ((requests & VM_REQUEST_RESET) && reset(run)))
        finish(run, VM_END_FAILED);
}

static void on_request(struct ev_loop *loop, ev_async *watcher, int events)
{
    (void)loop;
    (void)events;
    serve_requests(watcher->data);
}

static void watch_signal(struct run *run, ev_signal *watcher, int signum,
                         void (*cb)(struct ev_loop *, ev_signal *, int))
{
    struct sigaction before;
    if (sigaction(signum, NULL, &before) == 0 && before.sa_handler == SIG_IGN)
        return; /* as nohup and a shell's background jobs want it */
    ev_signal_init(watcher, cb, signum);
    watcher->data = run;
    ev_signal_start(run->vm.loop, watcher);
}

static int start(struct run *run)
{
    struct vm *vm = &run->vm;
    int ret = ringd_start(vm->ringd);
    if (ret)
        return complain("the ring thread cannot be started", ret);
    if (boot_is_direct(&run->boot)) {
        ret = boot_start(&run->boot, vm);
        if (ret)
            return ret;
        if (run->options->no_reboot) /* it is not needed again */
            boot_close(&run->boot);
    }
    vm->stop = true; /* all wait at the gate until all are there */
    for (unsigned i = 0; i < vm->vcpu_count; i++) {
        ret = vcpu_start(vm->vcpus[i]);
        if (ret)
            return complain("a vCPU's thread cannot be started", ret);
    }
    tuning_vcpus(vm, run->options);
    vm_go(vm);
    return 0;
}

/* libev without descriptors or memory: it would abort, and leave the terminal as it is. */
static void on_loop_failure(const char *what)
{
    fprintf(stderr, "ringvmm: %s: %s\n", what, strerror(errno));
    chardev_restore_terminal();
    _exit(RINGVMM_EXIT_USAGE);
}

static int make(struct run *run)
{
    struct vm *vm = &run->vm;
    ev_set_syserr_cb(on_loop_failure);
    vm->loop = ev_default_loop(EVFLAG_NOENV); /* the one loop that may watch signals' children; we only watch signals */
    if (!vm->loop)
        return complain("the main loop cannot be made", -ENOMEM);
    ev_async_init(&vm->request_async, on_request);
    vm->request_async.data = run;
    ev_async_start(vm->loop, &vm->request_async);
    ev_timer_init(&run->nvram_timer, on_nvram_timer, NVRAM_DELAY_S, 0.);
    run->nvram_timer.data = run;
    ev_timer_init(&run->flash_timer, on_flash_timer, FLASH_DELAY_S, 0.);
    run->flash_timer.data = run;
    watch_signal(run, &run->interrupt, SIGINT, on_signal);
    watch_signal(run, &run->terminate, SIGTERM, on_terminate);
    watch_signal(run, &run->hangup, SIGHUP, on_signal);
    watch_signal(run, &run->resume, SIGCONT, on_resume);

    int ret = boot_open(&run->boot, run->options);
    ret = ret ? ret : open_kvm(vm);
    ret = ret ? ret : create_vm(vm);
    ret = ret ? ret : tuning_vm(vm, run->options);
    ret = ret ? ret : save_chips(vm, &run->chips);
    ret = ret ? ret : create_memory(run);
    ret = ret ? ret : vcpu_setup_signals();
    ret = ret ? ret : create_vcpus(run);
    ret = ret ? ret : create_ringd(run);
    /* Files last: a start that fails shall neither make nor empty any. */
    ret = ret ? ret : nvram_file_open(&run->nvram, run->options->rtc_nvram, run->machine.nvram);
    ret = ret ? ret : flash_open(&run->flash, run->options, run->vm.memory.rom_size);
    ret = ret ? ret : open_stats(run);
    ret = ret ? ret : open_chardev(run, "serial", run->options->serial, serial_input, serial_key, &run->serial);
    ret = ret ? ret : open_chardev(run, "debugcon", run->options->debugcon, NULL, NULL, &run->debugcon);
    ret = ret ? ret
              : open_chardev(run, "virtio-console", run->options->virtio_console, console_input, console_key,
                             &run->console);
    if (!ret && run->options->device_model)
        ret = open_remote(run);
    ret = ret ? ret : machine_create(&run->machine, run->serial, run->debugcon, run->console, &run->flash);
    return ret ? ret : start(run);
}

/* ---- ending it ---- */

/* What is still to be written may have nobody who reads it: from here on the signals that nobody types end the process,
 * with the terminal as it was found. A second Ctrl-C changes nothing. */
static void let_signals_end_it(struct run *run)
{
    chardev_restore_terminal();
    ev_signal_stop(run->vm.loop, &run->terminate);
    ev_signal_stop(run->vm.loop, &run->hangup);
}

static int print_stats(struct run *run)
{
    if (!run->stats)
        return 0;
    struct report *report = calloc(1, sizeof(*report));
    if (!report)
        return -ENOMEM;
    report_collect(report, &run->machine, run->backend_reason, &run->base);
    int ret = run->options->stats == OPTION_STATS_JSON ? report_print_json(report, run->stats)
                                                       : report_print_table(report, run->stats);
    free(report);
    if (run->stats != stderr && fclose(run->stats) && !ret)
        ret = -errno;
    run->stats = NULL;
    if (ret)
        fprintf(stderr, "ringvmm: --stats%s%s: the statistics could not be written: %s\n",
                run->options->stats_path ? " " : "", run->options->stats_path ? run->options->stats_path : "",
                strerror(-ret));
    return ret;
}

static int store_settings(struct run *run)
{
    int nvram = nvram_file_store(&run->nvram, run->machine.nvram), flash = flash_sync(&run->flash);
    return nvram ? nvram : flash;
}

static int exit_status(const struct run *run)
{
    switch (run->end) {
    case VM_END_POWEROFF:
    case VM_END_NO_REBOOT:
    case VM_END_QUIT:
        return RINGVMM_EXIT_OK;
    case VM_END_DEBUG_EXIT:
        return (int)((run->vm.exit_value << 1 | 1) & 0xff);
    case VM_END_SIGNAL:
        return RINGVMM_EXIT_SIGNAL + run->signal;
    case VM_END_NONE:
    case VM_END_FAILED:
        break;
    }
    return RINGVMM_EXIT_FAILED;
}

/* Output that could not be written turns a success into a failure; a guest's own verdict stands. */
static int close_consoles(struct run *run)
{
    int failed = 0;
    struct chardev *chardevs[] = {run->serial, run->debugcon, run->console};
    for (unsigned i = 0; i < sizeof(chardevs) / sizeof(chardevs[0]); i++) {
        if (!chardevs[i])
            continue;
        (void)chardev_flush(chardevs[i], FLUSH_MS);
        int ret = chardev_close(chardevs[i]);
        failed = failed ? failed : ret;
    }
    return failed;
}

static void destroy(struct run *run)
{
    struct vm *vm = &run->vm;
    if (vm->ringd)
        ringd_destroy(vm->ringd);
    remote_close(&run->machine.remote, vm->loop);
    machine_destroy(&run->machine);
    boot_close(&run->boot);
    for (unsigned i = 0; i < vm->vcpu_count; i++)
        vcpu_destroy(vm->vcpus[i]);
    free(vm->cpu_model);
    if (vm->memory.ram || vm->memory.rom)
        memory_destroy(&vm->memory);
    bus_destroy(&vm->bus);
    irq_destroy(&vm->irq);
    nvram_file_close(&run->nvram);
    flash_close(&run->flash);
    if (run->stats && run->stats != stderr)
        fclose(run->stats);
    if (vm->fd >= 0)
        close(vm->fd);
    if (vm->scratch_fd >= 0)
        close(vm->scratch_fd);
    if (vm->kvm_fd >= 0)
        close(vm->kvm_fd);
    if (vm->loop)
        ev_loop_destroy(vm->loop);
}

int vmm_run(const struct run_options *options)
{
    struct run *run = calloc(1, sizeof(*run));
    if (!run) {
        complain("no memory", -ENOMEM);
        return RINGVMM_EXIT_USAGE;
    }
    run->options = options;
    run->vm.kvm_fd = run->vm.fd = run->vm.scratch_fd = -1;
    run->vm.machine = &run->machine;
    machine_init(&run->machine, &run->vm, options);
    run->machine.boot = &run->boot;
    run->nvram.fd = -1;
    run->flash.fd = -1;
    run->base = cycles_base();
    pthread_mutex_init(&run->vm.gate_lock, NULL);
    pthread_cond_init(&run->vm.gate_cond, NULL);
    bus_init(&run->vm.bus);
    irq_clear(&run->vm.irq);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    chardev_catch_fatal_signals();

    int status = RINGVMM_EXIT_USAGE;
    bool made = make(run) == 0;
    if (made)
        ev_run(run->vm.loop, 0);
    vm_quit(&run->vm);
    if (run->vm.ringd)
        ringd_stop(run->vm.ringd);
    if (made) {
        status = exit_status(run);
        if (store_settings(run) && status == RINGVMM_EXIT_OK)
            status = RINGVMM_EXIT_USAGE;
        let_signals_end_it(run);
        if (print_stats(run) && status == RINGVMM_EXIT_OK)
            status = RINGVMM_EXIT_USAGE;
    }
    if (machine_close(&run->machine) && status == RINGVMM_EXIT_OK)
        status = RINGVMM_EXIT_USAGE;
    if (close_consoles(run) && status == RINGVMM_EXIT_OK)
        status = RINGVMM_EXIT_USAGE;
    if (options->teardown == OPTION_TEARDOWN_ASYNC && fflush(stdout) == 0) {
        nvram_file_close(&run->nvram);
        flash_close(&run->flash);
        teardown_in_background(run->vm.fd, run->vm.scratch_fd);
        _exit(status);
    }
    destroy(run);
    free(run);
    return status;
}

int vmm_check(const struct run_options *options)
{
    struct boot boot = {0};
    int ret = boot_open(&boot, options);
    boot_close(&boot);
    return ret ? RINGVMM_EXIT_USAGE : RINGVMM_EXIT_OK;
}
