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

#include "devices/uart16550.h"
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

static void wire_event(void *ctx, enum ringd_event event, uint64_t value)
{
    struct machine *machine = ctx;
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

static void wire_log(void *ctx, enum ringd_log_level level, const char *message)
{
    (void)ctx;
    if (level == RINGD_LOG_WARNING)
        fprintf(stderr, "ringvmm: %s\n", message);
}

/* The eventfd that raises an ISA interrupt, made when first asked for. */
static int irqfd(struct machine *machine, int irq)
{
    if (irq < 0)
        return -1;
    if (machine->irqfds[irq] >= 0)
        return machine->irqfds[irq];
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (fd < 0)
        return -errno;
    struct kvm_irqfd request = {.fd = (__u32)fd, .gsi = (__u32)irq};
    if (ioctl(machine->vm->fd, KVM_IRQFD, &request) < 0) {
        int error = errno;
        close(fd);
        return -error;
    }
    machine->irqfds[irq] = fd;
    return fd;
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

static unsigned row_step(const struct ringd_region *region)
{
    return region->space == RINGD_PIO && region->size <= ROW_PER_PORT_MAX;
}

static int reserve_rows(struct machine *machine, struct machine_device *device, const struct ringd_device_ops *ops)
{
    for (unsigned i = 0; i < ops->region_count; i++) {
        device->first_row[i] = machine->row_count;
        machine->row_count += row_step(&ops->regions[i]) ? (unsigned)ops->regions[i].size : 1;
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
                              .row_step = row_step(desc)};
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
    bus_remove(&machine->vm->bus, ringd_dev_ops(dev)->regions[region].space, dev, region);
    ringd_unmap(dev, region);
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
        irqs[i] = irqfd(machine, part->irqs[i]);
        if (irqs[i] < -1)
            return irqs[i];
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
    int ret = reserve_rows(machine, device, ops);
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

static void note_pending(struct machine *machine)
{
    __atomic_store_n(&machine->vm->pending, true, __ATOMIC_RELEASE);
    /* With --post pci-data this may be the ring thread, and no vCPU be about to look. */
    if (machine->options->post & OPTION_POST_PCI_DATA)
        vm_request(machine->vm, VM_REQUEST_REMAP);
}

void machine_window_moved(struct machine *machine, struct ringd_dev *dev, unsigned region, bool decoded, uint64_t addr)
{
    pthread_mutex_lock(&machine->queue_lock);
    struct machine_window *window = NULL;
    for (unsigned i = 0; i < machine->window_count; i++)
        if (machine->windows[i].dev == dev && machine->windows[i].region == region)
            window = &machine->windows[i];
    if (!window && machine->window_count < MACHINE_MAX_WINDOWS)
        window = &machine->windows[machine->window_count++];
    if (window)
        *window =
            (struct machine_window){.dev = dev, .region = region, .dirty = true, .decoded = decoded, .addr = addr};
    pthread_mutex_unlock(&machine->queue_lock);
    note_pending(machine);
}

void machine_pam_moved(struct machine *machine, const uint8_t pam[I440FX_PAM_COUNT])
{
    pthread_mutex_lock(&machine->queue_lock);
    memcpy(machine->pam, pam, I440FX_PAM_COUNT);
    machine->pam_dirty = true;
    pthread_mutex_unlock(&machine->queue_lock);
    note_pending(machine);
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

void machine_apply(struct machine *machine)
{
    /* A vCPU that moved something waits here while another carries it out, so it never goes on too early. */
    pthread_mutex_lock(&machine->apply_lock);
    __atomic_store_n(&machine->vm->pending, false, __ATOMIC_SEQ_CST); /* what is queued from here on sets it again */
    struct machine_window windows[MACHINE_MAX_WINDOWS];
    uint8_t pam[I440FX_PAM_COUNT];
    pthread_mutex_lock(&machine->queue_lock);
    unsigned count = machine->window_count;
    memcpy(windows, machine->windows, sizeof(windows));
    for (unsigned i = 0; i < count; i++)
        machine->windows[i].dirty = false;
    bool pam_dirty = machine->pam_dirty;
    memcpy(pam, machine->pam, sizeof(pam));
    machine->pam_dirty = false;
    pthread_mutex_unlock(&machine->queue_lock);

    if (pam_dirty)
        apply_pam(machine, pam);
    /* First what goes, then what comes: two windows may change places. */
    for (unsigned i = 0; i < count; i++)
        if (windows[i].dirty)
            remove_region(machine, windows[i].dev, windows[i].region);
    for (unsigned i = 0; i < count; i++)
        if (windows[i].dirty && windows[i].decoded &&
            place_region(machine, windows[i].dev, windows[i].region, windows[i].addr))
            __atomic_fetch_add(&machine->refused, 1, __ATOMIC_RELAXED);
    pthread_mutex_unlock(&machine->apply_lock);
}

/* ---- serial input ---- */

struct serial_input {
    const uint8_t *data;
    size_t len, taken;
};

static void receive(void *self, void *arg)
{
    struct serial_input *input = arg;
    input->taken = uart16550_receive(self, input->data, input->len);
}

size_t machine_serial_input(void *ctx, const uint8_t *data, size_t len)
{
    struct machine *machine = ctx;
    if (!machine->uart)
        return 0;
    struct serial_input input = {.data = data, .len = len};
    ringd_call(machine->uart, receive, &input);
    return input.taken;
}
