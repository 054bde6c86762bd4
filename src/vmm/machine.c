/* SPDX-License-Identifier: BSD-2-Clause */
/* Putting devices into a machine: wiring, interrupt lines, addresses, rows of the exit table, and moved windows. */
#include "vmm/machine_internal.h"

#include <errno.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "vmm/exits.h"

/* ---- what a device is connected to ---- */

static int wire_mem_read(void *ctx, uint64_t gpa, void *buf, size_t len)
{
    struct machine *machine = ctx;
    return memory_read(&machine->vm->memory, gpa, buf, len);
}

static int wire_mem_write(void *ctx, uint64_t gpa, const void *buf, size_t len)
{
    struct machine *machine = ctx;
    return memory_write(&machine->vm->memory, gpa, buf, len);
}

static void wire_serial(void *ctx, const uint8_t *data, size_t len)
{
    struct machine *machine = ctx;
    chardev_write(machine->serial, data, len);
}

static void wire_debugcon(void *ctx, const uint8_t *data, size_t len)
{
    struct machine *machine = ctx;
    chardev_write(machine->debugcon, data, len);
}

void machine_event(struct machine *machine, enum ringd_event event, uint64_t value)
{
    struct vm *vm = machine->vm;
    switch (event) {
    case RINGD_EVENT_RESET:
        vm_request(vm, VM_REQUEST_RESET);
        break;
    case RINGD_EVENT_POWEROFF:
        vm_request(vm, VM_REQUEST_POWEROFF);
        break;
    case RINGD_EVENT_DEBUG_EXIT:
        __atomic_store_n(&vm->exit_value, (unsigned)value, __ATOMIC_SEQ_CST);
        vm_request(vm, VM_REQUEST_DEBUG_EXIT);
        break;
    }
}

static void wire_event(void *ctx, enum ringd_event event, uint64_t value)
{
    machine_event(ctx, event, value);
}

static void wire_log(void *ctx, enum ringd_log_level level, const char *message)
{
    (void)ctx;
    if (level == RINGD_LOG_WARNING)
        fprintf(stderr, "ringvmm: %s\n", message);
}

/* The eventfd that raises an ISA interrupt into *fd, made when first asked for; -1 for none. 0 or -errno. */
static int irqfd(struct machine *machine, int irq, int *fd)
{
    *fd = irq < 0 ? -1 : machine->irqfds[irq];
    if (irq < 0 || *fd >= 0)
        return 0;
    int made = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (made < 0)
        return -errno;
    struct kvm_irqfd request = {.fd = (__u32)made, .gsi = (__u32)irq};
    if (ioctl(machine->vm->fd, KVM_IRQFD, &request) < 0) {
        int error = errno;
        close(made);
        return -error;
    }
    *fd = machine->irqfds[irq] = made;
    return 0;
}

/* A copy of the model's tables in which `post` more regions are posted. */
static const struct ringd_device_ops *post_more(struct machine_device *device, const struct ringd_device_ops *ops,
                                                unsigned region)
{
    device->own_ops = malloc(sizeof(*ops));
    device->own_regions = malloc(ops->region_count * sizeof(*ops->regions));
    if (!device->own_ops || !device->own_regions)
        return NULL;
    *device->own_ops = *ops;
    memcpy(device->own_regions, ops->regions, ops->region_count * sizeof(*ops->regions));
    device->own_regions[region].flags |= RINGD_POSTED;
    device->own_ops->regions = device->own_regions;
    return device->own_ops;
}

/* Small port ranges have a row for each port, as the tables that are compared with have. */
#define ROW_PER_PORT_MAX 16u

unsigned machine_rows(const struct ringd_region *region)
{
    return region->space == RINGD_PIO && region->size <= ROW_PER_PORT_MAX ? (unsigned)region->size : 1;
}

static int reserve_rows(struct machine *machine, struct machine_device *device, const struct ringd_device_ops *ops)
{
    if (ops->region_count > MACHINE_MAX_REGIONS)
        return -EINVAL;
    for (unsigned i = 0; i < ops->region_count; i++) {
        device->first_row[i] = machine->row_count;
        machine->row_count += machine_rows(&ops->regions[i]);
    }
    return machine->row_count <= EXITS_MAX_ROWS ? 0 : -ENOSPC;
}

static const struct machine_device *device_of(const struct machine *machine, const struct ringd_dev *dev)
{
    for (unsigned i = 0; i < machine->device_count; i++)
        if (machine->devices[i].dev == dev)
            return &machine->devices[i];
    return NULL;
}

static int place_region(struct machine *machine, struct ringd_dev *dev, unsigned region, uint64_t addr)
{
    const struct ringd_region *desc = &ringd_dev_ops(dev)->regions[region];
    struct bus_range range = {.first = addr,
                              .last = addr + desc->size - 1,
                              .dev = dev,
                              .region = region,
                              .row = device_of(machine, dev)->first_row[region],
                              .row_step = machine_rows(desc) > 1};
    int ret = bus_add(&machine->vm->bus, desc->space, &range);
    if (ret)
        return ret;
    ret = ringd_map(dev, region, addr);
    if (ret)
        bus_remove(&machine->vm->bus, desc->space, dev, region);
    return ret;
}

static void remove_region(struct machine *machine, struct ringd_dev *dev, unsigned region)
{
    /* The zone first: a posted write that finds no room meanwhile must still find its device. */
    ringd_unmap(dev, region);
    bus_remove(&machine->vm->bus, ringd_dev_ops(dev)->regions[region].space, dev, region);
}

int machine_add(struct machine *machine, const struct machine_part *part, struct ringd_dev **out)
{
    if (machine->device_count == MACHINE_MAX_DEVICES)
        return -EMFILE;
    struct machine_device *device = &machine->devices[machine->device_count];
    device->label = part->label;
    const struct ringd_device_ops *ops = part->ops;
    if (part->post && (machine->options->post & part->post))
        ops = post_more(device, ops, part->post_region);
    if (!ops)
        return -ENOMEM;
    int irqs[MACHINE_PART_IRQS];
    for (unsigned i = 0; i < MACHINE_PART_IRQS; i++) {
        int ret = irqfd(machine, part->irqs[i], &irqs[i]);
        if (ret)
            return ret;
    }
    struct ringd_wiring wiring = {
        .ctx = machine,
        .irq_fds = irqs,
        .mem_read = wire_mem_read,
        .mem_write = wire_mem_write,
        .output = part->output == MACHINE_SERIAL     ? wire_serial
                  : part->output == MACHINE_DEBUGCON ? wire_debugcon
                                                     : NULL,
        .event = wire_event,
        .log = wire_log,
    };
    union machine_config config;
    const void *config_ptr = part->configure ? part->configure(machine, &config) : NULL;
    int ret = 0;
    if (machine->remote.client && part->delegate) {
        struct remote_proxy *proxy = remote_add(&machine->remote, ops, part->base, irqs[0], !device->own_ops);
        ret = proxy ? part->delegate(machine, proxy) : -EMFILE;
        ops = proxy ? &proxy->ops : ops;
        config_ptr = proxy;
    }
    ret = ret ? ret : reserve_rows(machine, device, ops);
    if (!ret)
        ret = ringd_add(machine->vm->ringd, ops, config_ptr, &wiring, &device->dev);
    if (ret)
        return ret;
    machine->device_count++;
    for (unsigned i = 0; i < ops->region_count && !ret; i++)
        if (!(ops->regions[i].flags & RINGD_MOVABLE))
            ret = place_region(machine, device->dev, i, part->base + ops->regions[i].offset);
    *out = device->dev;
    return ret;
}

void machine_init(struct machine *machine, struct vm *vm, const struct run_options *options)
{
    machine->vm = vm;
    machine->options = options;
    pthread_mutex_init(&machine->apply_lock, NULL);
    pthread_mutex_init(&machine->queue_lock, NULL);
    for (unsigned i = 0; i < MACHINE_ISA_IRQS; i++)
        machine->irqfds[i] = -1;
}

void machine_destroy(struct machine *machine)
{
    for (unsigned i = 0; i < MACHINE_ISA_IRQS; i++)
        if (machine->irqfds[i] >= 0)
            close(machine->irqfds[i]);
    for (unsigned i = 0; i < MACHINE_MAX_DEVICES; i++) {
        free(machine->devices[i].own_ops);
        free(machine->devices[i].own_regions);
    }
    pthread_mutex_destroy(&machine->apply_lock);
    pthread_mutex_destroy(&machine->queue_lock);
}

/* ---- what the guest moves ---- */

/* queue_lock held, so that machine_apply() cannot miss what has just been queued. */
static void note_pending(struct machine *machine)
{
    __atomic_store_n(&machine->vm->pending, true, __ATOMIC_RELEASE);
    /* With --post pci-data this may be the ring thread, and no vCPU be about to look. */
    if (machine->options->post & OPTION_POST_PCI_DATA)
        vm_request(machine->vm, VM_REQUEST_REMAP);
}

/* What is said of a region that it has not been told of before is news only if it is somewhere. */
static bool is_news(const struct machine_window *window, bool decoded, uint64_t addr)
{
    return window ? window->decoded != decoded || (decoded && window->addr != addr) : decoded;
}

void machine_window_moved(struct machine *machine, struct ringd_dev *dev, unsigned region, bool decoded, uint64_t addr)
{
    pthread_mutex_lock(&machine->queue_lock);
    struct machine_window *window = NULL;
    for (unsigned i = 0; i < machine->window_count; i++)
        if (machine->windows[i].dev == dev && machine->windows[i].region == region)
            window = &machine->windows[i];
    /* A daemon that takes over tells everything again. */
    if (is_news(window, decoded, addr)) {
        if (!window && machine->window_count < MACHINE_MAX_WINDOWS)
            window = &machine->windows[machine->window_count++];
        if (window)
            *window =
                (struct machine_window){.dev = dev, .region = region, .dirty = true, .decoded = decoded, .addr = addr};
        machine->moves++;
        note_pending(machine);
    }
    pthread_mutex_unlock(&machine->queue_lock);
}

void machine_pam_moved(struct machine *machine, const uint8_t pam[I440FX_PAM_COUNT])
{
    pthread_mutex_lock(&machine->queue_lock);
    if (memcmp(machine->pam, pam, I440FX_PAM_COUNT) != 0) {
        memcpy(machine->pam, pam, I440FX_PAM_COUNT);
        machine->pam_dirty = true;
        machine->moves++;
        note_pending(machine);
    }
    pthread_mutex_unlock(&machine->queue_lock);
}

static void apply_pam(struct machine *machine, const uint8_t pam[I440FX_PAM_COUNT])
{
    uint8_t modes[MEMORY_PAM_SEGMENTS];
    _Static_assert(MEMORY_PAM_SEGMENTS == I440FX_SEGMENTS && (int)MEMORY_PAM_READ == (int)PAM_READ &&
                       (int)MEMORY_PAM_WRITE == (int)PAM_WRITE,
                   "one set of modes");
    for (unsigned i = 0; i < I440FX_SEGMENTS; i++)
        modes[i] = (uint8_t)i440fx_pam(pam, i);
    int ret = memory_set_pam(&machine->vm->memory, modes);
    if (ret) {
        fprintf(stderr, "ringvmm: memory below 1 MiB cannot be switched: %s\n", strerror(-ret));
        vm_request(machine->vm, VM_REQUEST_FAILED);
    }
}

/* What has been queued, taken out of the queue. */
struct moves {
    struct machine_window windows[MACHINE_MAX_WINDOWS];
    unsigned count;
    bool pam_dirty;
    uint8_t pam[I440FX_PAM_COUNT];
};

/* False when there is nothing; only then is nothing pending any more. */
static bool take_moves(struct machine *machine, struct moves *moves)
{
    pthread_mutex_lock(&machine->queue_lock);
    bool any = machine->pam_dirty;
    moves->count = machine->window_count;
    moves->pam_dirty = machine->pam_dirty;
    memcpy(moves->windows, machine->windows, sizeof(moves->windows));
    memcpy(moves->pam, machine->pam, sizeof(moves->pam));
    for (unsigned i = 0; i < moves->count; i++) {
        any = any || machine->windows[i].dirty;
        machine->windows[i].dirty = false;
    }
    machine->pam_dirty = false;
    if (!any)
        __atomic_store_n(&machine->vm->pending, false, __ATOMIC_RELEASE);
    pthread_mutex_unlock(&machine->queue_lock);
    return any;
}

static void carry_out(struct machine *machine, const struct moves *moves)
{
    if (moves->pam_dirty)
        apply_pam(machine, moves->pam);
    /* First what goes, then what comes: two windows may change places. */
    for (unsigned i = 0; i < moves->count; i++)
        if (moves->windows[i].dirty)
            remove_region(machine, moves->windows[i].dev, moves->windows[i].region);
    for (unsigned i = 0; i < moves->count; i++) {
        const struct machine_window *window = &moves->windows[i];
        if (window->dirty && window->decoded && place_region(machine, window->dev, window->region, window->addr))
            __atomic_fetch_add(&machine->refused, 1, __ATOMIC_RELAXED);
    }
}

void machine_apply(struct machine *machine)
{
    /* `pending` falls only after the work is done: a vCPU that moved something waits here while another carries it out,
     * so it never goes on too early. */
    struct moves moves;
    pthread_mutex_lock(&machine->apply_lock);
    while (take_moves(machine, &moves))
        carry_out(machine, &moves);
    pthread_mutex_unlock(&machine->apply_lock);
}
