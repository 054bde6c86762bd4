/* SPDX-License-Identifier: BSD-2-Clause */
/* Section numbers in comments are those of the SMBIOS Reference Specification 3.4, which keeps those of 2.8. */
#include "vmm/smbios.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#define KIBIBYTE UINT64_C(1024)
#define MEBIBYTE (1024 * KIBIBYTE)
#define HIGH     UINT64_C(0x100000000)

#define AREA_START 0xf0000u
#define AREA_END   0x100000u

#define HANDLE_NONE       0xffffu
#define HANDLE_NOT_GIVEN  0xfffeu
#define HANDLE_CHASSIS    0x0300u
#define HANDLE_CPU        0x0400u
#define HANDLE_MEMORY     0x1000u
#define HANDLE_MODULE     0x1100u
#define HANDLE_RANGE      0x1300u
#define HANDLE_STATUS     0x2000u
#define HANDLE_END        0x7f00u
#define STRINGS_MAX       8u
#define UUID_SIZE         SMBIOS_UUID_SIZE
#define CHARACTERISTIC(n) (UINT64_C(1) << (n))

/* A structure on its way into the tables. */
struct structure {
    struct smbios *smbios;
    uint16_t start;
    const char *strings[STRINGS_MAX];
    unsigned string_count;
};

static void put(struct structure *s, uint64_t value, unsigned bytes)
{
    assert(s->smbios->size + bytes <= sizeof(s->smbios->tables));
    for (unsigned i = 0; i < bytes; i++)
        s->smbios->tables[s->smbios->size++] = (uint8_t)(value >> 8 * i);
}

/* 6.1.3: a string is a number of the row behind the structure; 0 is none. */
static void put_string(struct structure *s, const char *string)
{
    if (!string[0]) {
        put(s, 0, 1);
        return;
    }
    assert(s->string_count < STRINGS_MAX);
    s->strings[s->string_count++] = string;
    put(s, s->string_count, 1);
}

static struct structure begin(struct smbios *smbios, uint8_t type, uint16_t handle)
{
    struct structure s = {.smbios = smbios, .start = smbios->size};
    put(&s, type, 1);
    put(&s, 0, 1); /* its length: end() */
    put(&s, handle, 2);
    return s;
}

static void end(struct structure *s)
{
    struct smbios *smbios = s->smbios;
    smbios->tables[s->start + 1] = (uint8_t)(smbios->size - s->start);
    for (unsigned i = 0; i < s->string_count; i++)
        for (const char *c = s->strings[i];; c++) {
            put(s, (uint8_t)*c, 1);
            if (!*c)
                break;
        }
    put(s, 0, s->string_count ? 1 : 2);
    uint16_t size = (uint16_t)(smbios->size - s->start);
    smbios->largest = size > smbios->largest ? size : smbios->largest;
    smbios->count++;
}

/* 7.1. */
static void put_firmware(struct smbios *smbios, const struct smbios_config *config)
{
    struct structure s = begin(smbios, 0, 0);
    put_string(&s, "ringvmm");
    put_string(&s, config->version);
    put(&s, 0xf000, 2); /* segment */
    put_string(&s, "01/01/2026");
    put(&s, 0, 1);                 /* 64 KiB */
    put(&s, CHARACTERISTIC(3), 8); /* characteristics are not supported */
    put(&s, 1, 1);                 /* ACPI */
    put(&s, 1 << 4, 1);            /* a virtual machine */
    put(&s, 0, 2);                 /* release */
    put(&s, 0xffff, 2);            /* no embedded controller */
    end(&s);
}

/* 7.2. The first three fields of a UUID are little endian here. */
static void put_system(struct smbios *smbios, const struct smbios_config *config)
{
    static const uint8_t order[UUID_SIZE] = {3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15};
    struct structure s = begin(smbios, 1, 0x0100);
    put_string(&s, "ringvmm");
    put_string(&s, config->product);
    put_string(&s, config->version);
    put_string(&s, "");
    for (unsigned i = 0; i < UUID_SIZE; i++)
        put(&s, config->uuid[order[i]], 1);
    put(&s, 6, 1); /* woken by the power switch */
    put(&s, 0, 2); /* SKU, family: no strings */
    end(&s);
}

/* 7.4. */
static void put_chassis(struct smbios *smbios, const struct smbios_config *config)
{
    struct structure s = begin(smbios, 3, HANDLE_CHASSIS);
    put_string(&s, "ringvmm");
    put(&s, 1, 1); /* type: other */
    put_string(&s, config->version);
    put(&s, 0, 2);        /* serial number, asset tag */
    put(&s, 0x030303, 3); /* boot-up, power supply, thermal: safe */
    put(&s, 2, 1);        /* security: unknown */
    put(&s, 0, 4);
    put(&s, 0, 5); /* height, power cords, contained elements, SKU: none */
    end(&s);
}

/* 7.5. One package, as CPUID has it. */
static void put_processor(struct smbios *smbios, const struct smbios_config *config)
{
    struct structure s = begin(smbios, 4, HANDLE_CPU);
    put_string(&s, "CPU 0");
    put(&s, 3, 1); /* central processor */
    put(&s, 1, 1); /* family: other */
    put_string(&s, config->vendor);
    put(&s, config->processor_id, 8);
    put_string(&s, config->brand);
    put(&s, 0, 1);    /* voltage: unknown */
    put(&s, 0, 6);    /* external clock, most and current speed: unknown */
    put(&s, 0x41, 1); /* populated and enabled */
    put(&s, 1, 1);    /* upgrade: other */
    put(&s, HANDLE_NONE, 2);
    put(&s, HANDLE_NONE, 2);
    put(&s, HANDLE_NONE, 2); /* caches: not said */
    put(&s, 0, 3);           /* serial number, asset tag, part number */
    put(&s, config->cpus, 1);
    put(&s, config->cpus, 1); /* enabled */
    put(&s, config->cpus, 1); /* threads */
    put(&s, 1 << 2, 2);       /* 64 bits */
    put(&s, 1, 2);            /* family: other */
    end(&s);
}

/* 7.17. */
static void put_memory_array(struct smbios *smbios, uint64_t bytes)
{
    const uint64_t most = UINT64_C(0x80000000); /* KiB; from there on the extended field has it in bytes */
    bool extended = bytes / KIBIBYTE >= most;
    struct structure s = begin(smbios, 16, HANDLE_MEMORY);
    put(&s, 3, 1); /* on the board */
    put(&s, 3, 1); /* system memory */
    put(&s, 3, 1); /* no error correction */
    put(&s, extended ? most : bytes / KIBIBYTE, 4);
    put(&s, HANDLE_NOT_GIVEN, 2); /* error information */
    put(&s, 1, 2);                /* modules */
    put(&s, extended ? bytes : 0, 8);
    end(&s);
}

/* 7.18. */
static void put_memory_module(struct smbios *smbios, uint64_t bytes)
{
    const uint64_t most = 0x7fff; /* MiB; says that the extended field has it */
    bool extended = bytes / MEBIBYTE >= most;
    struct structure s = begin(smbios, 17, HANDLE_MODULE);
    put(&s, HANDLE_MEMORY, 2);
    put(&s, HANDLE_NOT_GIVEN, 2);
    put(&s, 0xffff, 2); /* total width: unknown */
    put(&s, 0xffff, 2); /* data width */
    put(&s, extended ? most : bytes / MEBIBYTE, 2);
    put(&s, 9, 1); /* DIMM */
    put(&s, 0, 1); /* of no set */
    put_string(&s, "DIMM 0");
    put(&s, 0, 1);      /* bank */
    put(&s, 7, 1);      /* RAM */
    put(&s, 1 << 1, 2); /* other */
    put(&s, 0, 2);      /* speed: unknown */
    put_string(&s, "ringvmm");
    put(&s, 0, 3); /* serial number, asset tag, part number */
    put(&s, 0, 1); /* rank: unknown */
    put(&s, extended ? bytes / MEBIBYTE : 0, 4);
    put(&s, 0, 2); /* configured speed: unknown */
    put(&s, 0, 6); /* voltages: unknown */
    end(&s);
}

/* 7.20. `number` is which of the ranges it is. */
static void put_memory_range(struct smbios *smbios, unsigned number, uint64_t start, uint64_t bytes)
{
    uint64_t first = start / KIBIBYTE, last = (start + bytes - 1) / KIBIBYTE;
    bool extended = last > UINT32_MAX - 1;
    struct structure s = begin(smbios, 19, (uint16_t)(HANDLE_RANGE + number));
    put(&s, extended ? UINT32_MAX : first, 4);
    put(&s, extended ? UINT32_MAX : last, 4);
    put(&s, HANDLE_MEMORY, 2);
    put(&s, 1, 1); /* modules side by side */
    put(&s, extended ? start : 0, 8);
    put(&s, extended ? start + bytes - 1 : 0, 8);
    end(&s);
}

/* 5.2.1. */
static void make_anchor(struct smbios *smbios)
{
    static const uint8_t whole[] = {'_', 'S', 'M', '_'}, inner[] = {'_', 'D', 'M', 'I', '_'};
    uint8_t *anchor = smbios->anchor;
    memset(anchor, 0, sizeof(smbios->anchor));
    memcpy(anchor, whole, sizeof(whole));
    anchor[5] = SMBIOS_ANCHOR_SIZE;
    anchor[6] = 2;
    anchor[7] = 8;
    anchor[8] = (uint8_t)smbios->largest;
    anchor[9] = (uint8_t)(smbios->largest >> 8);
    memcpy(anchor + 16, inner, sizeof(inner));
    anchor[22] = (uint8_t)smbios->size;
    anchor[23] = (uint8_t)(smbios->size >> 8);
    anchor[28] = (uint8_t)smbios->count;
    anchor[29] = (uint8_t)(smbios->count >> 8);
    anchor[30] = 0x28; /* 2.8 in BCD */
}

void smbios_build(struct smbios *smbios, const struct smbios_config *config)
{
    uint64_t bytes = config->low_size + config->high_size;
    memset(smbios, 0, sizeof(*smbios));
    if (config->firmware)
        put_firmware(smbios, config);
    put_system(smbios, config);
    put_chassis(smbios, config);
    put_processor(smbios, config);
    put_memory_array(smbios, bytes);
    put_memory_module(smbios, bytes);
    put_memory_range(smbios, 0, 0, config->low_size);
    if (config->high_size)
        put_memory_range(smbios, 1, HIGH, config->high_size);
    struct structure status = begin(smbios, 32, HANDLE_STATUS); /* 7.33 */
    put(&status, 0, 7);                                         /* no errors detected */
    end(&status);
    struct structure last = begin(smbios, 127, HANDLE_END); /* 7.46 */
    end(&last);
    make_anchor(smbios);
}

static uint32_t tables_offset(void)
{
    return 32; /* behind the entry point, which guests look for at multiples of 16 */
}

uint32_t smbios_placed_size(const struct smbios *smbios)
{
    return tables_offset() + smbios->size;
}

static uint8_t sum(const uint8_t *bytes, unsigned count)
{
    uint8_t total = 0;
    for (unsigned i = 0; i < count; i++)
        total = (uint8_t)(total + bytes[i]);
    return total;
}

int smbios_place(const struct smbios *smbios, uint8_t *to, uint64_t gpa)
{
    if (gpa % 16 || gpa < AREA_START || gpa > AREA_END - smbios_placed_size(smbios))
        return -EINVAL;
    uint64_t tables = gpa + tables_offset();
    memset(to, 0, tables_offset());
    memcpy(to, smbios->anchor, SMBIOS_ANCHOR_SIZE);
    for (unsigned i = 0; i < 4; i++)
        to[24 + i] = (uint8_t)(tables >> 8 * i);
    to[21] = (uint8_t)-sum(to + 16, SMBIOS_ANCHOR_SIZE - 16); /* of what begins with _DMI_ */
    to[4] = (uint8_t)-sum(to, SMBIOS_ANCHOR_SIZE);            /* of all */
    memcpy(to + tables_offset(), smbios->tables, smbios->size);
    return 0;
}
