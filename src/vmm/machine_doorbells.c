/* SPDX-License-Identifier: BSD-2-Clause */
/* Doorbells of devices that have no ring of their own: ioeventfds, which move with the BAR that they are in. */
#include "vmm/machine_internal.h"

#include <errno.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define DOORBELL_BYTES 2u /* the width that KVM takes: how drivers write it. Others are exits, and do the same */

bool machine_has_rings(const struct machine *machine)
{
    return ringd_backend(machine->vm->ringd) == RINGD_BACKEND_MMIO2;
}

/* True: it had been signalled. */
static bool serve(const struct machine_doorbell *bell)
{
    uint64_t count;
    if (read(bell->fd, &count, sizeof(count)) != sizeof(count))
        return false;
    unsigned index = bell->index;
    ringd_call(bell->device->dev, bell->device->doorbells->ring, &index);
    return true;
}

static void on_bell(void *ctx)
{
    const struct machine_doorbell *bell = ctx;
    const struct machine_doorbells *doorbells = bell->device->doorbells;
    if (serve(bell) && doorbells->after)
        doorbells->after(bell->device->machine);
}

int machine_add_doorbells(struct machine *machine, struct ringd_dev *dev, const struct machine_doorbells *doorbells)
{
    struct machine_device *device = machine->devices;
    while (device->dev != dev)
        device++;
    if (machine_has_rings(machine))
        return 0;
    struct machine_doorbells *own = device->doorbells = malloc(sizeof(*own));
    if (!own)
        return -ENOMEM;
    *own = *doorbells;
    for (unsigned i = 0; i < own->count; i++)
        own->bells[i] = (struct machine_doorbell){.device = device, .index = i, .fd = -1};
    int ret = 0;
    for (unsigned i = 0; i < own->count && !ret; i++) {
        own->bells[i].fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        ret =
            own->bells[i].fd < 0 ? -errno : ringd_watch(machine->vm->ringd, own->bells[i].fd, on_bell, &own->bells[i]);
    }
    return ret;
}

void machine_free_doorbells(struct machine_device *device)
{
    for (unsigned i = 0; device->doorbells && i < device->doorbells->count; i++)
        if (device->doorbells->bells[i].fd >= 0)
            close(device->doorbells->bells[i].fd);
    free(device->doorbells);
}

static int assign(const struct machine_device *device, unsigned index, bool on)
{
    const struct machine_doorbells *doorbells = device->doorbells;
    struct kvm_ioeventfd request = {.addr = doorbells->addr + (uint64_t)index * doorbells->step,
                                    .len = DOORBELL_BYTES,
                                    .fd = doorbells->bells[index].fd,
                                    .flags = on ? 0 : KVM_IOEVENTFD_FLAG_DEASSIGN};
    return ioctl(device->machine->vm->fd, KVM_IOEVENTFD, &request) < 0 ? -errno : 0;
}

int machine_place_doorbells(struct machine_device *device, unsigned region, uint64_t addr)
{
    struct machine_doorbells *doorbells = device->doorbells;
    if (!doorbells || doorbells->region != region)
        return 0;
    doorbells->addr = addr;
    doorbells->assigned = true;
    int ret = 0;
    for (unsigned i = 0; i < doorbells->count && !ret; i++)
        ret = assign(device, i, true);
    if (ret)
        machine_remove_doorbells(device, region);
    return ret;
}

void machine_remove_doorbells(struct machine_device *device, unsigned region)
{
    struct machine_doorbells *doorbells = device->doorbells;
    if (!doorbells || doorbells->region != region || !doorbells->assigned)
        return;
    for (unsigned i = 0; i < doorbells->count; i++)
        (void)assign(device, i, false); /* -ENOENT: machine_place_doorbells() did not get that far */
    doorbells->assigned = false;
    (void)machine_ring_doorbells(device);
}

bool machine_ring_doorbells(struct machine_device *device)
{
    bool any = false;
    for (unsigned i = 0; device->doorbells && i < device->doorbells->count; i++)
        any = serve(&device->doorbells->bells[i]) || any;
    return any;
}
