/* SPDX-License-Identifier: BSD-2-Clause */
/* --cpu and --hyperv: lists whose words depend on each other. What the host has is not known here. */
#include "vmm/options.h"

#include <string.h>

#include "vmm/hyperv.h"
#include "vmm/memory.h"
#include "vmm/parse.h"

#define KVM_LEAVES "kvm" /* the one name that is no bit of a register */

static const char *next_feature(const void *list, unsigned index)
{
    const struct cpu_feature *features = list;
    return features[index].name;
}

static const struct cpu_feature *find_feature(const char *name)
{
    for (const struct cpu_feature *feature = cpu_feature_table; feature->name; feature++)
        if (strcmp(feature->name, name) == 0)
            return feature;
    return NULL;
}

static bool unknown_feature(const char *name, struct options_error *error)
{
    char quoted[120];
    const char *closest = options_closest(name, next_feature, cpu_feature_table);
    parse_quote(name, quoted, sizeof(quoted));
    if (closest)
        options_fail(error, "--cpu: unknown feature %s; did you mean '%s'?", quoted, closest);
    else
        options_fail(error, "--cpu: unknown feature %s; the names are those of /proc/cpuinfo", quoted);
    return false;
}

/* One "-name" or "+name". */
static bool apply_feature(const char *piece, struct cpu_features *features, struct options_error *error)
{
    char quoted[120];
    const char *name = piece + 1;
    if ((piece[0] != '-' && piece[0] != '+') || !name[0]) {
        options_fail(error, "--cpu: %s is not -FEATURE or +FEATURE, as in host,-avx2",
                     parse_quote(piece, quoted, sizeof(quoted)));
        return false;
    }
    bool off = piece[0] == '-';
    const struct cpu_feature *feature = find_feature(name);
    bool kvm = strcmp(name, KVM_LEAVES) == 0;
    if (!feature && !kvm)
        return unknown_feature(name, error);
    if (kvm && !off)
        return true; /* always there, unless taken away */
    uint32_t bit = feature ? UINT32_C(1) << feature->bit : 0;
    bool again = feature ? (features->off[feature->word] | features->on[feature->word]) & bit : features->no_kvm;
    if (again) {
        options_fail(error, "--cpu: '%s' given twice", name);
        return false;
    }
    if (!feature)
        features->no_kvm = true;
    else
        (off ? features->off : features->on)[feature->word] |= bit;
    return true;
}

static bool check_features(struct run_options *options, struct options_error *error)
{
    const char *rest = options->cpu;
    char piece[64], quoted[120];
    bool first = true;
    while (rest) {
        if (parse_piece(&rest, piece, sizeof(piece)))
            return unknown_feature(rest, error);
        if (first && strcmp(piece, "host") != 0) {
            options_fail(error, "--cpu %s: not host, with -FEATURE or +FEATURE behind it, as in host,-avx2",
                         parse_quote(options->cpu, quoted, sizeof(quoted)));
            return false;
        }
        if (!first && !apply_feature(piece, &options->cpu_features, error))
            return false;
        first = false;
    }
    return true;
}

static bool check_hyperv(struct run_options *options, struct options_error *error)
{
    unsigned given = options->hyperv, feature, needs;
    if (given & (given - 1) && given & (OPTIONS_HYPERV_ON | OPTIONS_HYPERV_OFF)) {
        options_fail(error, "--hyperv: '%s' stands alone, or give a list of features",
                     given & OPTIONS_HYPERV_ON ? "on" : "off");
        return false;
    }
    options->hyperv = given & OPTIONS_HYPERV_ON ? HYPERV_ALL : given & HYPERV_ALL;
    if (hyperv_complete(options->hyperv, &feature, &needs))
        return true;
    options_fail(error, "--hyperv: '%s' needs '%s'; list that too", hyperv_name(feature), hyperv_name(needs));
    return false;
}

bool options_check_cpu(struct run_options *options, struct options_error *error)
{
    if (!check_features(options, error) || !check_hyperv(options, error))
        return false;
    if (!options->hugepages || options->memory_bytes % MEMORY_HUGE_PAGE == 0)
        return true;
    options_fail(error, "--hugepages with --memory %lluM: a page is 2 MiB; give an even number",
                 (unsigned long long)(options->memory_bytes >> 20));
    return false;
}
