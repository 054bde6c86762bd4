/* SPDX-License-Identifier: BSD-2-Clause */
/* Capabilities, MSI, MSI-X and the interrupt pin, as a function's configuration space and pci_msix's registers show
 * them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>

#include <ringd/models/pci_function.h>
#include <ringd/models/pci_msix.h>

#include "devices/pci_registers.h"
#include "fake_env.h"

#define MSI_AT     0x50
#define MSIX_AT    0x70
#define VENDOR_AT  0xa0
#define VECTORS    5
#define ENABLED    (PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER)
#define CONTROL_AT (MSIX_AT + PCI_MSIX_CONTROL)

struct heard {
    unsigned calls;
    struct pci_interrupts last;
};

static void interrupts_changed(void *ctx, struct pci_function *fn)
{
    struct heard *heard = ctx;
    heard->calls++;
    heard->last = fn->interrupts;
}

struct world {
    struct pci_function fn;
    struct heard heard;
    struct pci_sink sink;
};

static struct world world;

static struct world *make(void)
{
    static const struct pci_register vendor[] = {{VENDOR_AT + 2, 1, 0x10, 0, 0}};
    memset(&world, 0, sizeof(world));
    world.sink = (struct pci_sink){.ctx = &world.heard, .interrupts_changed = interrupts_changed};
    pci_function_init(&world.fn, "test", NULL, 0);
    assert_int_equal(pci_function_add_bar(&world.fn, 1, PCI_BAR_MEM32, PCI_MSIX_BAR_BYTES, false), 0);
    assert_int_equal(pci_function_add_msi(&world.fn, MSI_AT, 8), 0);
    assert_int_equal(pci_function_add_msix(&world.fn, MSIX_AT, VECTORS, 1), 0);
    assert_int_equal(pci_function_add_capability(&world.fn, VENDOR_AT, 0x09, vendor, 1), 0);
    pci_function_attach(&world.fn, 0x20, &world.sink);
    assert_int_equal(world.heard.calls, 0);
    return &world;
}

static void capabilities_are_a_list(void **state)
{
    (void)state;
    struct world *w = make();
    static const uint8_t ids[] = {PCI_CAPABILITY_MSI, PCI_CAPABILITY_MSIX, 0x09};
    unsigned at = pci_function_read(&w->fn, PCI_CAPABILITY_LIST, 1), count = 0;
    assert_true(pci_function_read(&w->fn, PCI_STATUS, 2) & PCI_STATUS_CAPABILITIES);
    for (; at; at = pci_function_read(&w->fn, at + 1, 1), count++)
        assert_int_equal(pci_function_read(&w->fn, at, 1), ids[count]);
    assert_int_equal(count, sizeof(ids));
    assert_int_equal(pci_function_read(&w->fn, CONTROL_AT, 2), VECTORS - 1);
    assert_int_equal(pci_function_read(&w->fn, MSIX_AT + PCI_MSIX_TABLE, 4), 1 | PCI_MSIX_BAR_TABLE);
    assert_int_equal(pci_function_read(&w->fn, MSIX_AT + PCI_MSIX_PENDING, 4), 1 | PCI_MSIX_BAR_PENDING);
    assert_int_equal(pci_function_read(&w->fn, MSI_AT + PCI_MSI_CONTROL, 2), 3 << 1 | PCI_MSI_64_BIT | PCI_MSI_MASKS);
}

static void impossible_capabilities(void **state)
{
    (void)state;
    struct pci_function fn;
    pci_function_init(&fn, "none", NULL, 0);
    assert_int_equal(pci_function_add_msi(&fn, 0x40, 3), -EINVAL);
    assert_int_equal(pci_function_add_msi(&fn, 0x40, 64), -EINVAL);
    assert_int_equal(pci_function_add_msi(&fn, 0xec, 1), -EINVAL);
    assert_int_equal(pci_function_add_msix(&fn, 0x40, 0, 0), -EINVAL);
    assert_int_equal(pci_function_add_msix(&fn, 0x40, 65, 0), -EINVAL);
    assert_int_equal(pci_function_add_msix(&fn, 0x40, 1, 6), -EINVAL);
    assert_int_equal(pci_function_add_msix(&fn, 0x3c, 1, 0), -EINVAL);
    assert_int_equal(pci_function_add_capability(&fn, 0x42, 9, NULL, 0), -EINVAL);
    assert_int_equal(pci_function_read(&fn, PCI_CAPABILITY_LIST, 1), 0);
}

static void messages_need_a_bus_master(void **state)
{
    (void)state;
    struct world *w = make();
    pci_function_write(&w->fn, CONTROL_AT, 2, PCI_MSIX_ENABLE);
    assert_int_equal(w->heard.calls, 1); /* of the pin */
    assert_false(w->heard.last.msix);
    pci_function_write(&w->fn, PCI_COMMAND, 2, ENABLED);
    assert_int_equal(w->heard.calls, 2);
    assert_true(w->heard.last.msix && !w->heard.last.msix_masked && !w->heard.last.msi);
    pci_function_write(&w->fn, CONTROL_AT, 2, PCI_MSIX_ENABLE | PCI_MSIX_MASK_ALL);
    assert_true(w->heard.last.msix && w->heard.last.msix_masked);
    pci_function_write(&w->fn, PCI_COMMAND, 2, 0);
    assert_false(w->heard.last.msix);
    assert_int_equal(w->heard.calls, 4);
    /* The same again says nothing. */
    pci_function_write(&w->fn, PCI_COMMAND, 2, 0);
    assert_int_equal(w->heard.calls, 4);
}

/* As Linux leaves a device to the kernel that follows: enabled, but no bus master. An interrupt there has no handler.
 */
static void messages_enabled_silence_the_pin(void **state)
{
    (void)state;
    static const struct {
        unsigned at, enable;
    } capabilities[] = {{CONTROL_AT, PCI_MSIX_ENABLE}, {MSI_AT + PCI_MSI_CONTROL, PCI_MSI_ENABLE}};
    for (unsigned i = 0; i < 2; i++) {
        struct world *w = make();
        pci_function_write(&w->fn, PCI_COMMAND, 2, ENABLED);
        assert_true(w->fn.interrupts.intx);
        pci_function_write(&w->fn, capabilities[i].at, 2, capabilities[i].enable);
        assert_false(w->heard.last.intx);
        pci_function_write(&w->fn, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
        assert_false(w->heard.last.intx || w->heard.last.msi || w->heard.last.msix);
        pci_function_write(&w->fn, capabilities[i].at, 2, 0);
        assert_true(w->heard.last.intx);
        pci_function_write(&w->fn, PCI_COMMAND, 2, PCI_COMMAND_INTX_DISABLE);
        assert_false(w->heard.last.intx);
    }
}

static void msi_has_as_many_as_software_allows(void **state)
{
    (void)state;
    struct world *w = make();
    pci_function_write(&w->fn, PCI_COMMAND, 2, ENABLED);
    pci_function_write(&w->fn, MSI_AT + PCI_MSI_ADDRESS, 4, 0xfee01003);
    pci_function_write(&w->fn, MSI_AT + PCI_MSI_ADDRESS + 4, 4, 0x12);
    pci_function_write(&w->fn, MSI_AT + PCI_MSI_DATA, 2, 0x4047);
    pci_function_write(&w->fn, MSI_AT + PCI_MSI_CONTROL, 2, PCI_MSI_ENABLE | 2 << PCI_MSI_ALLOWED_SHIFT);
    assert_true(w->heard.last.msi);
    assert_int_equal(w->heard.last.vectors, 4);
    assert_int_equal(w->heard.last.addr, UINT64_C(0x12fee01000));
    assert_int_equal(w->heard.last.data, 0x4044);
    /* More than it has is what it has; seven is reserved. */
    pci_function_write(&w->fn, MSI_AT + PCI_MSI_CONTROL, 2, PCI_MSI_ENABLE | 7 << PCI_MSI_ALLOWED_SHIFT);
    assert_int_equal(w->heard.last.vectors, 8);
    assert_int_equal(w->heard.last.data, 0x4040);
    pci_function_write(&w->fn, MSI_AT + PCI_MSI_MASK_BITS, 4, UINT32_MAX);
    assert_int_equal(w->heard.last.mask_bits, 0xff);
}

static void the_pin_shows_in_status_and_can_be_disabled(void **state)
{
    (void)state;
    struct world *w = make();
    pci_function_set_pin(&w->fn, true);
    assert_true(pci_function_read(&w->fn, PCI_STATUS, 2) & PCI_STATUS_INTERRUPT);
    assert_true(pci_function_read(&w->fn, PCI_COMMAND, 4) >> 16 & PCI_STATUS_INTERRUPT);
    assert_false(pci_function_read(&w->fn, PCI_STATUS + 1, 1) & PCI_STATUS_INTERRUPT);
    assert_false(pci_function_read(&w->fn, PCI_COMMAND, 2) & PCI_STATUS_INTERRUPT);
    pci_function_write(&w->fn, PCI_COMMAND, 2, PCI_COMMAND_INTX_DISABLE);
    assert_int_equal(w->heard.calls, 1);
    assert_false(w->heard.last.intx);
    assert_true(pci_function_read(&w->fn, PCI_STATUS, 2) & PCI_STATUS_INTERRUPT); /* whether or not it may be seen */
    pci_function_set_pin(&w->fn, false);
    assert_false(pci_function_read(&w->fn, PCI_STATUS, 2) & PCI_STATUS_INTERRUPT);
}

static void a_reset_and_a_load_announce(void **state)
{
    (void)state;
    struct world *w = make();
    uint8_t saved[PCI_CONFIG_BYTES];
    pci_function_write(&w->fn, PCI_COMMAND, 2, ENABLED);
    pci_function_write(&w->fn, CONTROL_AT, 2, PCI_MSIX_ENABLE);
    assert_true(w->heard.last.msix);
    memcpy(saved, w->fn.config, sizeof(saved));
    pci_function_reset(&w->fn);
    assert_false(w->heard.last.msix);
    assert_true(pci_function_state_valid(&w->fn, saved));
    pci_function_load(&w->fn, saved);
    assert_true(w->heard.last.msix);
}

/* ---- the table ---- */

static unsigned changes[VECTORS];
static uint64_t held_back;

static void changed(void *ctx, unsigned vector)
{
    (void)ctx;
    assert_in_range(vector, 0, VECTORS - 1);
    changes[vector]++;
}

static uint64_t pending(void *ctx)
{
    (void)ctx;
    return held_back;
}

static void table_keeps_and_tells(void **state)
{
    (void)state;
    struct fake_env fake;
    struct pci_msix_entry entries[PCI_MSIX_VECTORS_MAX];
    const struct pci_msix_config config = {.vectors = VECTORS, .changed = changed, .pending = pending};
    assert_int_equal(fake_env_create(&fake, &pci_msix_ops, &config, 0), 0);
    memset(changes, 0, sizeof(changes));
    pci_msix_entries(fake.self, entries);
    for (unsigned i = 0; i < PCI_MSIX_VECTORS_MAX; i++)
        assert_true(entries[i].masked && !entries[i].addr && !entries[i].data);

    fake_write(&fake, PCI_MSIX_REGION_TABLE, 0x20, 8, UINT64_C(0x1fee02003)); /* bits 1:0 are zero */
    fake_write(&fake, PCI_MSIX_REGION_TABLE, 0x28, 4, 0x31);
    fake_write(&fake, PCI_MSIX_REGION_TABLE, 0x2c, 4, 0xfffffffe); /* all but the mask are reserved */
    assert_int_equal(changes[2], 3);
    assert_int_equal(changes[0] + changes[1] + changes[3] + changes[4], 0);
    pci_msix_entries(fake.self, entries);
    assert_true(!entries[2].masked && entries[2].addr == 0x1fee02000 && entries[2].data == 0x31);
    assert_true(entries[1].masked && entries[3].masked);
    assert_int_equal(fake_read(&fake, PCI_MSIX_REGION_TABLE, 0x20, 8), UINT64_C(0x1fee02000));
    assert_int_equal(fake_read(&fake, PCI_MSIX_REGION_TABLE, 0x28, 8), 0x31);
    assert_int_equal(fake_read(&fake, PCI_MSIX_REGION_TABLE, 0x24, 4), 1);
    assert_int_equal(fake_read(&fake, PCI_MSIX_REGION_TABLE, 0x21, 1), 0x20);

    /* Beyond the vectors, narrow, across: nothing happens. */
    fake_write(&fake, PCI_MSIX_REGION_TABLE, 16 * VECTORS, 4, 0x1000);
    fake_write(&fake, PCI_MSIX_REGION_TABLE, 0x20, 2, 0x5555);
    fake_write(&fake, PCI_MSIX_REGION_TABLE, 0x24, 8, UINT64_MAX);
    fake_write(&fake, PCI_MSIX_REGION_PENDING, 0, 8, UINT64_MAX);
    assert_int_equal(fake_counter(&fake, "ignored"), 4);
    assert_int_equal(fake_read(&fake, PCI_MSIX_REGION_TABLE, 16 * VECTORS, 4), 0);
    assert_int_equal(fake_read(&fake, PCI_MSIX_REGION_TABLE, 0x20, 8), UINT64_C(0x1fee02000));

    held_back = 0x15;
    assert_int_equal(fake_read(&fake, PCI_MSIX_REGION_PENDING, 0, 8), 0x15);
    assert_int_equal(fake_read(&fake, PCI_MSIX_REGION_PENDING, 4, 4), 0);

    pci_msix_ops.reset(fake.self);
    assert_int_equal(changes[2], 4);
    pci_msix_entries(fake.self, entries);
    assert_true(entries[2].masked && !entries[2].addr);
    fake_env_destroy(&fake);

    const struct pci_msix_config none = {.vectors = 0}, many = {.vectors = PCI_MSIX_VECTORS_MAX + 1};
    assert_int_equal(fake_env_create(&fake, &pci_msix_ops, &none, 0), -EINVAL);
    assert_int_equal(fake_env_create(&fake, &pci_msix_ops, &many, 0), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(capabilities_are_a_list),
        cmocka_unit_test(impossible_capabilities),
        cmocka_unit_test(messages_need_a_bus_master),
        cmocka_unit_test(messages_enabled_silence_the_pin),
        cmocka_unit_test(msi_has_as_many_as_software_allows),
        cmocka_unit_test(the_pin_shows_in_status_and_can_be_disabled),
        cmocka_unit_test(a_reset_and_a_load_announce),
        cmocka_unit_test(table_keeps_and_tells),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
