/* SPDX-License-Identifier: BSD-2-Clause */
#include "daemon/types.h"

#include <errno.h>
#include <string.h>

#include <ringd/models/piix4_pm.h>
#include <ringd/models/post_code.h>

/* ---- rtc ---- */

static void tell(const struct hosted *hosted, enum ringd_daemon_event event, uint64_t value)
{
    hosted->env->ops->event(hosted->env, (enum ringd_event)event, value);
}

static void nvram_written(void *ctx, unsigned index, uint8_t value)
{
    tell(ctx, RINGD_EVENT_NVRAM, (uint64_t)index << 8 | value);
}

static int rtc_create(const struct ringd_env *env, const void *config, void **self)
{
    struct hosted *hosted = (struct hosted *)(uintptr_t)config;
    hosted->env = env;
    return mc146818_ops.create(env, &hosted->rtc, self);
}

static int rtc_prepare(struct hosted *hosted, const void *config)
{
    struct ringd_config_rtc wanted = {0};
    if (config)
        memcpy(&wanted, config, sizeof(wanted));
    memcpy(hosted->nvram, wanted.nvram, sizeof(hosted->nvram));
    if (wanted.base > MC146818_BASE_DATE || wanted.clock > MC146818_CLOCK_VM || wanted.lost_ticks > MC146818_LOST_SLEW)
        return -EINVAL;
    hosted->rtc = (struct mc146818_config){
        .base = (enum mc146818_base)wanted.base,
        .base_ns = wanted.base_ns,
        .utc_offset_s = wanted.utc_offset_s,
        .clock = (enum mc146818_clock)wanted.clock,
        .lost_ticks = (enum mc146818_lost_ticks)wanted.lost_ticks,
        .nvram_image = hosted->nvram,
        .nvram_written = nvram_written,
        .nvram_ctx = hosted,
        .century = wanted.century,
    };
    hosted->ops.create = rtc_create;
    return 0;
}

/* ---- pci-host ---- */

#define PM_DEVFN PCI_FUNCTION_DEVFN(1, 3)

enum { FUNCTION_BRIDGE = 1, FUNCTION_ISA = 2, FUNCTION_PM = 4, FUNCTIONS_ALL = 7 };

static void window_changed(void *ctx, struct pci_function *fn, unsigned window, bool decoded, uint64_t addr)
{
    tell(ctx, RINGD_EVENT_PCI_WINDOW,
         addr | (uint64_t)decoded << 52 | (uint64_t)window << 53 | (uint64_t)fn->devfn << 56);
}

static uint64_t packed(const uint8_t *bytes, unsigned count)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < count; i++)
        value |= (uint64_t)bytes[i] << (8 * i);
    return value;
}

static void pam_changed(void *ctx, const uint8_t pam[7])
{
    tell(ctx, RINGD_EVENT_PCI_PAM, packed(pam, I440FX_PAM_COUNT));
}

static void pirq_changed(void *ctx, const uint8_t *route, unsigned count)
{
    tell(ctx, RINGD_EVENT_PCI_PIRQ, packed(route, count));
}

static int pci_create(const struct ringd_env *env, const void *config, void **self)
{
    struct hosted *hosted = (struct hosted *)(uintptr_t)config;
    struct pci_slot slots[3];
    struct pci_host_config host = {.slots = slots, .sink = &hosted->sink};
    hosted->env = env;
    if (hosted->functions & FUNCTION_BRIDGE)
        slots[host.count++] = (struct pci_slot){I440FX_DEVFN, &hosted->bridge.function};
    if (hosted->functions & FUNCTION_ISA)
        slots[host.count++] = (struct pci_slot){PIIX3_DEVFN, &hosted->isa.function};
    if (hosted->functions & FUNCTION_PM)
        slots[host.count++] = (struct pci_slot){PM_DEVFN, &hosted->pm};
    return pci_host_ops.create(env, &host, self);
}

static int pci_prepare(struct hosted *hosted, const void *config)
{
    struct ringd_config_pci wanted = {0};
    if (config)
        memcpy(&wanted, config, sizeof(wanted));
    if (wanted.functions & ~(uint32_t)FUNCTIONS_ALL)
        return -EINVAL;
    hosted->functions = wanted.functions;
    i440fx_init(&hosted->bridge);
    piix3_init(&hosted->isa);
    piix4_pm_function_init(&hosted->pm);
    hosted->sink = (struct pci_sink){
        .ctx = hosted, .decode_changed = window_changed, .pam_changed = pam_changed, .pirq_changed = pirq_changed};
    hosted->ops.create = pci_create;
    return 0;
}

/* ---- debug-console, post-code ---- */

static int console_create(const struct ringd_env *env, const void *config, void **self)
{
    const struct hosted *hosted = config;
    return debug_console_ops.create(env, &hosted->console, self);
}

static int console_prepare(struct hosted *hosted, const void *config)
{
    struct ringd_config_console wanted = {0};
    if (config)
        memcpy(&wanted, config, sizeof(wanted));
    hosted->console.readback = wanted.readback ? wanted.readback : DEBUG_CONSOLE_READBACK;
    hosted->ops.create = console_create;
    return 0;
}

const struct hosted_type hosted_types[] = {
    {"rtc", "MC146818 real-time clock and CMOS memory", sizeof(struct ringd_config_rtc), rtc_prepare, &mc146818_ops},
    {"pci-host", "PCI configuration mechanism 1 with the functions of the 440FX chip set",
     sizeof(struct ringd_config_pci), pci_prepare, &pci_host_ops},
    {"debug-console", "port that takes characters", sizeof(struct ringd_config_console), console_prepare,
     &debug_console_ops},
    {"post-code", "POST code port", 0, NULL, &post_code_ops},
};
const unsigned hosted_type_count = sizeof(hosted_types) / sizeof(hosted_types[0]);

const struct hosted_type *hosted_type_find(const char *name)
{
    for (unsigned i = 0; i < hosted_type_count; i++)
        if (strcmp(hosted_types[i].name, name) == 0)
            return &hosted_types[i];
    return NULL;
}

int hosted_prepare(struct hosted *hosted, const struct hosted_type *type, const void *config, size_t bytes)
{
    memset(hosted, 0, sizeof(*hosted));
    if (bytes && bytes != type->config_bytes)
        return -EINVAL;
    hosted->ops = *type->ops;
    return type->prepare ? type->prepare(hosted, bytes ? config : NULL) : 0;
}
