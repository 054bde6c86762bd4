/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Any command line, one argument a line of the input. Whatever it is: an accepted one holds values inside their limits,
 * a refused one has an error of one printable line.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/hyperv.h"
#include "vmm/options.h"
#include "vmm/parse.h"

#define MAX_ARGS 32

#define REQUIRE(condition)                                                                                             \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            abort();                                                                                                   \
    } while (0)

static void check_accepted(const struct run_options *o)
{
    unsigned feature, needs;

    REQUIRE(o->cpus >= 1 && o->cpus <= OPTIONS_MAX_CPUS);
    REQUIRE(o->memory_bytes >= 1 << 20 && o->memory_bytes % (1 << 20) == 0);
    REQUIRE(!o->firmware || o->firmware[0] != '\0');
    REQUIRE(o->kernel || (o->firmware && !o->initrd && !o->append));
    REQUIRE(o->debugcon_port >= 0 && o->debugcon_port <= 0xffff);
    REQUIRE(o->debug_exit_port >= -1 && o->debug_exit_port + OPTIONS_DEBUG_EXIT_PORTS - 1 <= 0xffff);
    REQUIRE(o->rtc_base != OPTION_RTC_DATE || (o->rtc_base_seconds >= 0 && o->rtc_base_seconds < 7258118400));
    REQUIRE(strnlen(o->rtc_nvram, sizeof(o->rtc_nvram)) < sizeof(o->rtc_nvram));
    REQUIRE(o->coalesce >= RINGD_BACKEND_AUTO && o->coalesce <= RINGD_BACKEND_OFF);
    REQUIRE(o->coalesce != RINGD_BACKEND_MEMFD);
    REQUIRE(o->max_replay_latency_us >= 20 && o->max_replay_latency_us <= 1000000);
    REQUIRE(o->ring_cpu >= -1 && o->ring_cpu <= (int)PARSE_LAST_CPU);
    REQUIRE(o->ring_priority >= 0 && o->ring_priority <= 99);
    REQUIRE(o->hyperv <= HYPERV_ALL && hyperv_complete(o->hyperv, &feature, &needs));
    for (unsigned i = 0; i < CPU_WORDS; i++)
        REQUIRE(!(o->cpu_features.on[i] & o->cpu_features.off[i]));
    REQUIRE(o->vcpu_priority >= 0 && o->vcpu_priority <= 99);
    REQUIRE(o->halt_poll_ns >= -1 && o->halt_poll_ns <= 1000000000);
    REQUIRE(!o->hugepages || o->memory_bytes % (2 << 20) == 0);
    REQUIRE(o->vcpu_affinity_count == 0 || o->vcpu_affinity_count == (unsigned)o->cpus);
    for (unsigned i = 0; i < o->vcpu_affinity_count; i++)
        REQUIRE(o->vcpu_affinity[i] <= PARSE_LAST_CPU);
    REQUIRE(!o->stats_path || (o->stats != OPTION_STATS_NONE && o->stats_path[0] != '\0'));
}

static void check_refused(const struct options_error *error)
{
    size_t length = strnlen(error->line, sizeof(error->line));

    /* Room to spare: had it been cut, it would fill the buffer. */
    REQUIRE(length > 0 && length < sizeof(error->line) - 1);
    for (size_t i = 0; i < length; i++)
        REQUIRE((unsigned char)error->line[i] >= 0x20 && error->line[i] != 0x7f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct run_options options;
    struct options_error error;
    char *text = malloc(size + 1);
    char *argv[MAX_ARGS];
    int argc = 0;

    REQUIRE(text);
    if (size > 0)
        memcpy(text, data, size);
    text[size] = '\0';
    for (char *p = text; p && argc < MAX_ARGS;) {
        char *end = strchr(p, '\n');

        argv[argc++] = p;
        if (end)
            *end++ = '\0';
        p = end;
    }
    switch (options_parse_run(argc, argv, &options, &error)) {
    case OPTIONS_OK:
        check_accepted(&options);
        break;
    case OPTIONS_ERROR:
        check_refused(&error);
        break;
    case OPTIONS_HELP:
        break;
    }
    free(text);
    return 0;
}
