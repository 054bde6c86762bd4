/* SPDX-License-Identifier: BSD-2-Clause */
/* Virtio devices of a machine: one PCI function each, from slot 3 on, with what is behind it on the host. */
#include "vmm/machine_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include <ringd/models/virtio_blk.h>
#include <ringd/models/virtio_console.h>
#include <ringd/models/virtio_pci.h>
#include <ringd/models/virtio_rng.h>

#include "vmm/vcpu.h"

struct machine_virtio {
    struct machine *machine;
    enum virtio_pci_type type;
    char label[24];
    struct pci_function fn;
    struct machine_function *function;
    struct ringd_dev *dev;
    struct machine_disk *disk; /* of a virtio-blk */
};

/* ---- what is behind them ---- */

static size_t random_bytes(void *ctx, void *to, size_t bytes)
{
    (void)ctx;
    ssize_t got = getrandom(to, bytes, GRND_NONBLOCK); /* nothing yet while the host itself is starting */
    return got > 0 ? (size_t)got : 0;
}

static int make_rng(struct machine_virtio *virtio)
{
    const struct virtio_rng_config config = {.random = random_bytes};
    return machine_add_behind(virtio->function, virtio->label, &virtio_rng_ops, &config, MACHINE_NO_OUTPUT,
                              &virtio->dev);
}

static int make_disk(struct machine_virtio *virtio)
{
    return machine_disk_add(virtio->disk, virtio->function, virtio->label, &virtio->dev);
}

static void console_ready(void *ctx)
{
    const struct machine *machine = ctx;
    chardev_input_ready(machine->console);
}

static int make_console(struct machine_virtio *virtio)
{
    const struct virtio_console_config config = {.rx_ready = console_ready, .ctx = virtio->machine};
    return machine_add_behind(virtio->function, virtio->label, &virtio_console_ops, &config, MACHINE_CONSOLE,
                              &virtio->dev);
}

size_t machine_console_input(void *ctx, const uint8_t *data, size_t len)
{
    const struct machine *machine = ctx;
    struct virtio_console_input input = {.data = data, .len = len};
    for (unsigned i = 0; i < machine->virtio_count; i++)
        if (machine->virtio[i]->type == VIRTIO_PCI_CONSOLE && machine->virtio[i]->dev)
            ringd_call(machine->virtio[i]->dev, virtio_console_receive, &input);
    return input.taken;
}

/* ---- their making ---- */

static int add_function(struct machine *machine, enum virtio_pci_type type, const char *label,
                        struct machine_disk *disk)
{
    if (machine->virtio_count == MACHINE_MAX_VIRTIO)
        return -ENOSPC;
    struct machine_virtio *virtio = calloc(1, sizeof(*virtio));
    if (!virtio)
        return -ENOMEM;
    uint8_t devfn = PCI_FUNCTION_DEVFN(MACHINE_FIRST_SLOT + machine->virtio_count, 0);
    machine->virtio[machine->virtio_count++] = virtio;
    virtio->machine = machine;
    virtio->type = type;
    virtio->disk = disk;
    snprintf(virtio->label, sizeof(virtio->label), "%s", label);
    int ret = virtio_pci_function_init(&virtio->fn, type);
    return ret ? ret : machine_add_function(machine, devfn, &virtio->fn, &virtio->function);
}

/* The firmware says that it finds nothing to boot where few look. OVMF's disks have the mark too: UEFI 2.10, 5.2.3. */
static void note_boot_sector(const struct run_options *options)
{
    const bool seabios = strcmp(options->firmware, "seabios") == 0;
    if (!seabios && strcmp(options->firmware, "ovmf") != 0)
        return; /* who knows what it boots */
    const struct option_disk *first = &options->disks[0];
    for (unsigned i = 0; i < options->disk_count; i++) {
        const struct option_disk *disk = &options->disks[i];
        if (!seabios && machine_disk_has_boot_sector(disk))
            return;
        if (disk->boot_index >= 0 && (first->boot_index < 0 || disk->boot_index < first->boot_index))
            first = disk;
    }
    if (seabios && machine_disk_has_boot_sector(first))
        return;
    fprintf(stderr,
            "ringvmm: --disk %s: no boot sector (the bytes 55 AA at 510): the firmware will not boot from it%s\n",
            first->file,
            options->disk_count == 1 ? ""
            : seabios                ? "; SeaBIOS tries one disk, the first unless bootindex= names another"
                                     : ", nor from any other disk");
}

int machine_add_virtio_functions(struct machine *machine)
{
    const struct run_options *options = machine->options;
    int ret = 0;
    for (unsigned i = 0; i < options->disk_count && !ret; i++) {
        struct machine_disk *disk;
        char label[24];
        snprintf(label, sizeof(label), "disk%u", i);
        ret = machine_disk_open(machine, &options->disks[i], &disk);
        ret = ret ? ret : add_function(machine, VIRTIO_PCI_BLK, label, disk);
    }
    if (!ret && options->disk_count && !options->kernel)
        note_boot_sector(options);
    if (!ret && machine->console)
        ret = add_function(machine, VIRTIO_PCI_CONSOLE, "virtio-console", NULL);
    if (!ret && options->virtio_rng)
        ret = add_function(machine, VIRTIO_PCI_RNG, "virtio-rng", NULL);
    return ret;
}

/* What their models have handed in on this, the ring thread, which holds no lock. */
static void start_disks(void *ctx)
{
    const struct machine *machine = ctx;
    for (unsigned i = 0; i < machine->virtio_count; i++)
        if (machine->virtio[i]->disk)
            machine_disk_start(machine->virtio[i]->disk);
}

static int add_ranges(struct machine_virtio *virtio)
{
    static const uint64_t offsets[VIRTIO_REGIONS] = {[VIRTIO_REGION_COMMON] = VIRTIO_PCI_COMMON_AT,
                                                     [VIRTIO_REGION_ISR] = VIRTIO_PCI_ISR_AT,
                                                     [VIRTIO_REGION_CONFIG] = VIRTIO_PCI_CONFIG_AT,
                                                     [VIRTIO_REGION_NOTIFY] = VIRTIO_PCI_NOTIFY_AT};
    const struct machine_doorbells doorbells = {.region = VIRTIO_REGION_NOTIFY,
                                                .count = virtio_pci_queues(virtio->type),
                                                .step = VIRTIO_PCI_NOTIFY_STEP,
                                                .ring = virtio_notify,
                                                .after = start_disks};
    int ret = machine_add_doorbells(virtio->machine, virtio->dev, &doorbells);
    for (unsigned i = 0; i < VIRTIO_REGIONS && !ret; i++)
        ret = machine_add_range(virtio->function, VIRTIO_PCI_BAR, offsets[i], virtio->dev, i);
    return ret;
}

int machine_add_virtio_devices(struct machine *machine)
{
    static int (*const make[])(struct machine_virtio *) = {
        [VIRTIO_PCI_BLK] = make_disk, [VIRTIO_PCI_CONSOLE] = make_console, [VIRTIO_PCI_RNG] = make_rng};
    int ret = machine->options->disk_count ? ringd_after(machine->vm->ringd, start_disks, machine) : 0;
    for (unsigned i = 0; i < machine->virtio_count && !ret; i++) {
        struct machine_virtio *virtio = machine->virtio[i];
        ret = machine_add_messages(virtio->function, virtio_pci_vectors(virtio->type), VIRTIO_PCI_MSIX_BAR);
        ret = ret ? ret : make[virtio->type](virtio);
        ret = ret ? ret : add_ranges(virtio);
        if (ret)
            fprintf(stderr, "ringvmm: device '%s' cannot be made: %s\n", virtio->label, strerror(-ret));
    }
    return ret;
}

void machine_free_virtio(struct machine *machine)
{
    for (unsigned i = 0; i < machine->virtio_count; i++)
        free(machine->virtio[i]);
    machine->virtio_count = 0;
}

/* ---- the window in configuration space ---- */

void machine_window_accessed(void *ctx, const struct pci_function *fn, bool write, unsigned width)
{
    struct machine *machine = ctx;
    const struct machine_function *function = fn->owner;
    const struct virtio_pci_window window = virtio_pci_window(fn);
    struct machine_window_access *access = vcpu_window_access();
    if (!access || access->dev || window.length != width || window.offset % width || width == 3)
        return; /* a driver must not (4.1.4.9.2), or a posted write: there is no vCPU to carry it out */
    for (unsigned i = 0; i < function->range_count; i++) {
        const struct machine_range *range = &function->ranges[i];
        uint64_t size = ringd_dev_ops(range->dev)->regions[range->region].size;
        if (range->window != window.bar || window.offset < range->offset || window.offset - range->offset >= size ||
            width > size - (window.offset - range->offset))
            continue;
        *access = (struct machine_window_access){.dev = range->dev,
                                                 .region = range->region,
                                                 .offset = window.offset - range->offset,
                                                 .width = width,
                                                 .write = write,
                                                 .value = window.data};
        pthread_mutex_lock(&machine->queue_lock);
        machine->window_accesses++;
        machine_note_pending(machine);
        pthread_mutex_unlock(&machine->queue_lock);
        return;
    }
}

uint64_t machine_settle_window(struct machine *machine, struct machine_window_access *access)
{
    uint64_t value = access->value;
    if (access->write)
        ringd_write_part(access->dev, access->region, access->offset, access->width, value);
    else
        value = ringd_read(access->dev, access->region, access->offset, access->width);
    access->dev = NULL;
    pthread_mutex_lock(&machine->queue_lock);
    machine->window_accesses--;
    pthread_mutex_unlock(&machine->queue_lock);
    return value;
}

int machine_close(struct machine *machine)
{
    int failed = 0;
    for (unsigned i = 0; i < machine->virtio_count; i++) {
        struct machine_disk *disk = machine->virtio[i]->disk;
        int ret = disk ? machine_disk_close(disk) : 0;
        machine->virtio[i]->disk = NULL;
        failed = failed ? failed : ret;
    }
    return failed;
}

void machine_drain(struct machine *machine)
{
    bool any;
    do {
        any = false;
        for (unsigned i = 0; i < machine->device_count; i++)
            any = machine_ring_doorbells(&machine->devices[i]) || any;
        for (unsigned i = 0; i < machine->virtio_count; i++)
            any = (machine->virtio[i]->disk && machine_disk_drain(machine->virtio[i]->disk)) || any;
    } while (any);
}
