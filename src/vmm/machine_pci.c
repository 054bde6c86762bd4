/* SPDX-License-Identifier: BSD-2-Clause */
/* PCI functions in a machine: which device answers in a window, and pins and messages. */
#include "vmm/machine_internal.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define PIN_REGISTER 0x3d /* PCI 3.0, 6.2.4 */

int machine_add_function(struct machine *machine, uint8_t devfn, struct pci_function *fn, struct machine_function **out)
{
    if (machine->function_count == MACHINE_MAX_FUNCTIONS)
        return -ENOSPC;
    struct machine_function *function = calloc(1, sizeof(*function));
    if (!function)
        return -ENOMEM;
    function->machine = machine;
    function->fn = fn;
    unsigned pin = fn->initial[PIN_REGISTER]; /* 1: INTA#; 0: none */
    function->intx = (struct irq_intx){.pirq = machine->type->pirq_of(devfn, pin ? pin - 1 : 0), .allowed = true};
    function->interrupts.intx = true;
    fn->owner = function;
    machine->pci_slots[machine->function_count] = (struct pci_slot){devfn, fn};
    machine->functions[machine->function_count++] = function;
    if (out)
        *out = function;
    return 0;
}

struct machine_function *machine_find_function(const struct machine *machine, uint8_t devfn)
{
    for (unsigned i = 0; i < machine->function_count; i++)
        if (machine->pci_slots[i].devfn == devfn)
            return machine->functions[i];
    return NULL;
}

int machine_add_range(struct machine_function *function, unsigned window, uint64_t offset, struct ringd_dev *dev,
                      unsigned region)
{
    if (function->range_count == MACHINE_MAX_RANGES)
        return -ENOSPC;
    function->ranges[function->range_count++] =
        (struct machine_range){.window = window, .offset = offset, .dev = dev, .region = region};
    return 0;
}

void machine_function_free(struct machine_function *function)
{
    for (unsigned i = 0; i < function->vectors; i++)
        if (function->fds[i] >= 0)
            close(function->fds[i]);
    free(function);
}

/* ---- what the configuration space announces ---- */

void machine_decode_changed(void *ctx, struct pci_function *fn, unsigned window, bool decoded, uint64_t addr)
{
    struct machine *machine = ctx;
    const struct machine_function *function = fn->owner;
    for (unsigned i = 0; function && i < function->range_count; i++) {
        const struct machine_range *range = &function->ranges[i];
        if (range->window == window)
            machine_window_moved(machine, range->dev, range->region, decoded, addr + range->offset);
    }
}

static void forget_pending(const struct machine_function *function, unsigned vector)
{
    uint64_t count;
    ssize_t got = read(function->fds[vector], &count, sizeof(count));
    (void)got; /* nothing there, most often */
}

static bool sends_messages(const struct machine_function *function, const struct pci_interrupts *interrupts)
{
    return function->msix ? interrupts->msix : interrupts->msi;
}

void machine_interrupts_changed(void *ctx, struct pci_function *fn)
{
    struct machine *machine = ctx;
    struct machine_function *function = fn->owner;
    const struct pci_interrupts *now = &fn->interrupts;
    irq_intx_allow(&machine->vm->irq, &function->intx, now->intx);
    pthread_mutex_lock(&machine->queue_lock);
    /* What came of a time without messages is forgotten here, within the guest's write, and not when the change is
     * carried out: the device may have sent a message in between, which counts. */
    if (sends_messages(function, now) && !sends_messages(function, &function->interrupts))
        for (unsigned i = 0; i < function->vectors; i++)
            forget_pending(function, i);
    function->interrupts = *now;
    function->dirty = true;
    machine_note_pending(machine);
    pthread_mutex_unlock(&machine->queue_lock);
}

/* ---- messages ---- */

static void table_changed(void *ctx, unsigned vector)
{
    struct machine_function *function = ctx;
    struct machine *machine = function->machine;
    (void)vector;
    pthread_mutex_lock(&machine->queue_lock);
    function->dirty = true;
    machine_note_pending(machine);
    pthread_mutex_unlock(&machine->queue_lock);
}

/* What is held back stands in the eventfds, which nobody reads meanwhile. Without messages it will be forgotten. */
static uint64_t pending(void *ctx)
{
    const struct machine_function *function = ctx;
    struct pollfd fds[PCI_MSIX_VECTORS_MAX];
    uint64_t bits = 0;
    pthread_mutex_lock(&function->machine->queue_lock);
    bool sends = sends_messages(function, &function->interrupts);
    pthread_mutex_unlock(&function->machine->queue_lock);
    if (!sends)
        return 0;
    for (unsigned i = 0; i < function->vectors; i++)
        fds[i] = (struct pollfd){.fd = function->fds[i], .events = POLLIN};
    if (poll(fds, function->vectors, 0) <= 0)
        return 0;
    for (unsigned i = 0; i < function->vectors; i++)
        bits |= (uint64_t)(fds[i].revents & POLLIN ? 1 : 0) << i;
    return bits;
}

int machine_add_messages(struct machine_function *function, unsigned vectors, unsigned bar)
{
    struct machine *machine = function->machine;
    int first = irq_messages_add(&machine->vm->irq, vectors);
    if (first < 0 || vectors > PCI_MSIX_VECTORS_MAX)
        return first < 0 ? first : -EINVAL;
    function->first_gsi = (unsigned)first;
    for (; function->vectors < vectors; function->vectors++) {
        int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (fd < 0)
            return -errno;
        function->fds[function->vectors] = fd;
    }
    if (bar >= PCI_BARS)
        return 0;
    const struct pci_msix_config config = {
        .vectors = vectors, .ctx = function, .changed = table_changed, .pending = pending};
    int ret = machine_add_behind(function, "msix", &pci_msix_ops, &config, MACHINE_NO_OUTPUT, &function->msix);
    if (!ret)
        ret = machine_add_range(function, bar, PCI_MSIX_BAR_TABLE, function->msix, PCI_MSIX_REGION_TABLE);
    return ret ? ret : machine_add_range(function, bar, PCI_MSIX_BAR_PENDING, function->msix, PCI_MSIX_REGION_PENDING);
}

/* Where each message goes, from the table or from the registers of MSI. Returns the vectors that may be sent now. */
static uint64_t wanted(struct machine_function *function, const struct pci_interrupts *interrupts,
                       struct pci_msix_entry entries[PCI_MSIX_VECTORS_MAX])
{
    uint64_t live = 0;
    if (function->msix) {
        ringd_call(function->msix, pci_msix_entries, entries);
    } else {
        for (unsigned i = 0; i < function->vectors; i++)
            entries[i] = (struct pci_msix_entry){.addr = interrupts->addr,
                                                 .data = interrupts->data | i,
                                                 .masked = i >= interrupts->vectors || interrupts->mask_bits >> i & 1};
    }
    bool on = function->msix ? interrupts->msix && !interrupts->msix_masked : interrupts->msi;
    for (unsigned i = 0; on && i < function->vectors; i++)
        live |= (uint64_t)!entries[i].masked << i;
    return live;
}

/* The routes first: what is attached has to lead to the right place at once. */
static int route(struct machine_function *function, uint64_t live, const struct pci_msix_entry *entries)
{
    struct irq *irq = &function->machine->vm->irq;
    bool changed = false;
    for (; live; live &= live - 1) {
        unsigned i = (unsigned)__builtin_ctzll(live);
        struct irq_message message = {.addr = entries[i].addr, .data = entries[i].data};
        if (function->routed >> i & 1 && function->messages[i].addr == message.addr &&
            function->messages[i].data == message.data)
            continue;
        function->messages[i] = message;
        function->routed |= UINT64_C(1) << i;
        irq_message_set(irq, function->first_gsi + i, &message);
        changed = true;
    }
    return changed ? irq_routes_write(irq) : 0;
}

int machine_apply_messages(struct machine_function *function, const struct pci_interrupts *interrupts)
{
    struct pci_msix_entry entries[PCI_MSIX_VECTORS_MAX];
    if (!function->vectors)
        return 0;
    uint64_t live = wanted(function, interrupts, entries);
    int ret = route(function, live, entries);
    for (uint64_t change = live ^ function->attached; change && !ret; change &= change - 1) {
        unsigned i = (unsigned)__builtin_ctzll(change);
        ret = irq_attach(&function->machine->vm->irq, function->first_gsi + i, function->fds[i], live >> i & 1);
        /* What stood in it has been raised, and still stands there: KVM takes the count with the next one. Nothing is
         * lost: what comes from now on is taken by KVM in the very write. */
        if (!ret && live >> i & 1)
            forget_pending(function, i);
    }
    if (!ret)
        function->attached = live;
    return ret;
}
