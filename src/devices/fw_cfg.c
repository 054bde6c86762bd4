/* SPDX-License-Identifier: BSD-2-Clause */
#include <ringd/models/fw_cfg.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "devices/fw_cfg_registers.h"

#define KEY_WRITE_CHANNEL 0x4000u /* once asked for writing by the data port; says nothing since QEMU 2.4 */
#define KEY_LOCAL         0x8000u /* keys of the architecture */
#define FILES_MAX         (KEY_WRITE_CHANNEL - FW_CFG_KEY_FILE_FIRST)

#define DIRECTORY_ENTRY 64u /* size (32 bits), key (16 bits), reserved (16 bits), name (56 bytes) */

#define DMA_DESCRIPTOR 16u

/* What the DMA address reads as, in the order of the ports: the sign that there is DMA at all. */
static const uint8_t dma_signature[8] = {'Q', 'E', 'M', 'U', ' ', 'C', 'F', 'G'};

static const uint8_t zeros[4096];

struct entry {
    uint16_t key;
    uint32_t size;
    const uint8_t *data; /* NULL: number[] */
    uint8_t number[8];
};

struct fw_cfg {
    const struct ringd_env *env;
    struct entry *entries; /* sorted by key */
    size_t entry_count;
    uint8_t *directory;

    const struct entry *selected; /* NULL: no such item; reads as zeros */
    uint32_t offset;              /* of the next byte, at most selected->size */
    uint64_t dma_address;         /* the half that has been written so far */

    uint64_t selects;
    uint64_t bytes_pio;
    uint64_t bytes_dma;
    uint64_t dma_errors;
};

static void put_be(uint8_t *to, uint64_t value, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        to[i] = (uint8_t)(value >> 8 * (bytes - 1 - i));
}

static uint64_t get_be(const uint8_t *from, unsigned bytes)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < bytes; i++)
        value = value << 8 | from[i];
    return value;
}

static const uint8_t *entry_data(const struct entry *entry)
{
    return entry->data ? entry->data : entry->number;
}

static const struct entry *find(const struct fw_cfg *cfg, uint32_t key)
{
    size_t low = 0, high = cfg->entry_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (cfg->entries[middle].key == key)
            return &cfg->entries[middle];
        if (cfg->entries[middle].key < key)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

static void select_key(struct fw_cfg *cfg, uint32_t key)
{
    cfg->selected = find(cfg, key & ~KEY_WRITE_CHANNEL);
    cfg->offset = 0;
}

static uint32_t bytes_left(const struct fw_cfg *cfg)
{
    return cfg->selected ? cfg->selected->size - cfg->offset : 0;
}

/* Copies the next `length` bytes to guest memory, zeros after the item's end. Returns whether all went well. */
static bool dma_read(struct fw_cfg *cfg, uint64_t address, uint32_t length)
{
    const struct ringd_env_ops *env = cfg->env->ops;
    uint32_t left = bytes_left(cfg);
    uint32_t copied = length < left ? length : left;
    uint32_t filled = length - copied;
    if (filled > FW_CFG_ZERO_FILL_MAX)
        return false;
    if (copied) {
        if (env->mem_write(cfg->env, address, entry_data(cfg->selected) + cfg->offset, copied))
            return false;
        cfg->offset += copied;
        cfg->bytes_dma += copied;
        address += copied;
    }
    while (filled) {
        uint32_t chunk = filled < sizeof(zeros) ? filled : (uint32_t)sizeof(zeros);
        if (env->mem_write(cfg->env, address, zeros, chunk))
            return false;
        cfg->bytes_dma += chunk;
        address += chunk;
        filled -= chunk;
    }
    return true;
}

/* Does what a descriptor asks for. Of several operations the first of read, write and skip is done. */
static bool dma_operate(struct fw_cfg *cfg, const uint8_t descriptor[DMA_DESCRIPTOR])
{
    uint32_t control = (uint32_t)get_be(descriptor, 4);
    uint32_t length = (uint32_t)get_be(descriptor + 4, 4);
    uint64_t address = get_be(descriptor + 8, 8);
    if (control & FW_CFG_DMA_SELECT) {
        cfg->selects++;
        select_key(cfg, control >> 16);
    }
    if (control & FW_CFG_DMA_READ)
        return dma_read(cfg, address, length);
    if (control & FW_CFG_DMA_WRITE)
        return length == 0; /* every item is read-only */
    if (control & FW_CFG_DMA_SKIP) {
        uint32_t left = bytes_left(cfg);
        cfg->offset += length < left ? length : left;
    }
    return true;
}

static void dma_start(struct fw_cfg *cfg)
{
    const struct ringd_env_ops *env = cfg->env->ops;
    uint64_t gpa = cfg->dma_address;
    uint8_t descriptor[DMA_DESCRIPTOR], control[4];
    cfg->dma_address = 0; /* firmware below 4 GiB writes the low half only */
    bool good = !env->mem_read(cfg->env, gpa, descriptor, sizeof(descriptor)) && dma_operate(cfg, descriptor);
    /* The guest polls control until everything but the error bit is clear. */
    put_be(control, good ? 0 : FW_CFG_DMA_ERROR, sizeof(control));
    if (env->mem_write(cfg->env, gpa, control, sizeof(control)))
        good = false;
    cfg->dma_errors += !good;
}

static uint64_t fw_cfg_read(void *self, unsigned region, uint64_t offset, unsigned width)
{
    struct fw_cfg *cfg = self;
    if (region == FW_CFG_REGION_DMA) {
        uint64_t value = 0;
        for (unsigned i = 0; i < width; i++)
            value |= (uint64_t)dma_signature[(offset + i) % sizeof(dma_signature)] << 8 * i;
        return value;
    }
    if (offset != 1 || width != 1) /* the selector is write-only */
        return UINT64_MAX >> (64 - 8 * width);
    cfg->bytes_pio++;
    if (!bytes_left(cfg))
        return 0;
    return entry_data(cfg->selected)[cfg->offset++];
}

static void fw_cfg_write(void *self, unsigned region, uint64_t offset, unsigned width, uint64_t value)
{
    struct fw_cfg *cfg = self;
    if (region == FW_CFG_REGION_SELECTOR_DATA) {
        if (offset == 0 && width == 2) {
            cfg->selects++;
            select_key(cfg, (uint32_t)value);
        }
        return; /* a byte would be data for an item, and none can be written */
    }
    if (width != 4)
        return;
    uint8_t bytes[4];
    for (unsigned i = 0; i < 4; i++)
        bytes[i] = (uint8_t)(value >> 8 * i);
    if (offset == 0) {
        cfg->dma_address = get_be(bytes, 4) << 32;
    } else if (offset == 4) {
        cfg->dma_address |= get_be(bytes, 4);
        dma_start(cfg);
    }
}

static void fw_cfg_reset(void *self)
{
    struct fw_cfg *cfg = self;
    select_key(cfg, FW_CFG_KEY_SIGNATURE);
    cfg->dma_address = 0;
}

static int compare_names(const void *a, const void *b)
{
    const struct fw_cfg_item *const *one = a, *const *other = b;
    return strcmp((*one)->name, (*other)->name);
}

static int compare_keys(const void *a, const void *b)
{
    const struct entry *one = a, *other = b;
    return one->key < other->key ? -1 : one->key > other->key;
}

static bool item_is_valid(const struct fw_cfg_item *item)
{
    if (item->size > UINT32_MAX || (!item->data && item->size > sizeof(((struct entry *)0)->number)))
        return false;
    if (item->name) {
        size_t length = strnlen(item->name, FW_CFG_NAME_MAX + 1);
        return length >= 1 && length <= FW_CFG_NAME_MAX;
    }
    if (item->key & KEY_WRITE_CHANNEL)
        return false;
    return item->key & KEY_LOCAL || (item->key < FW_CFG_KEY_FILE_FIRST && item->key != FW_CFG_KEY_SIGNATURE &&
                                     item->key != FW_CFG_KEY_ID && item->key != FW_CFG_KEY_FILE_DIR);
}

static void add_entry(struct fw_cfg *cfg, uint32_t key, const struct fw_cfg_item *item)
{
    struct entry *entry = &cfg->entries[cfg->entry_count++];
    entry->key = (uint16_t)key;
    entry->size = (uint32_t)item->size;
    entry->data = item->data;
    for (unsigned i = 0; i < sizeof(entry->number); i++)
        entry->number[i] = (uint8_t)(item->value >> 8 * i);
}

/* Sorts the files, gives them their keys and writes the directory. -EINVAL when a name comes twice. */
static int add_files(struct fw_cfg *cfg, const struct fw_cfg_item **files, size_t count)
{
    if (count > FILES_MAX)
        return -EINVAL;
    size_t size = 4 + count * DIRECTORY_ENTRY;
    cfg->directory = calloc(1, size);
    if (!cfg->directory)
        return -ENOMEM;
    if (count)
        qsort(files, count, sizeof(*files), compare_names);
    put_be(cfg->directory, count, 4);
    for (size_t i = 0; i < count; i++) {
        if (i && !strcmp(files[i - 1]->name, files[i]->name))
            return -EINVAL;
        uint8_t *to = cfg->directory + 4 + i * DIRECTORY_ENTRY;
        uint32_t key = FW_CFG_KEY_FILE_FIRST + (uint32_t)i;
        put_be(to, files[i]->size, 4);
        put_be(to + 4, key, 2);
        memcpy(to + 8, files[i]->name, strlen(files[i]->name));
        add_entry(cfg, key, files[i]);
    }
    add_entry(cfg, FW_CFG_KEY_FILE_DIR, &(struct fw_cfg_item){.data = cfg->directory, .size = size});
    return 0;
}

static int add_items(struct fw_cfg *cfg, const struct fw_cfg_config *config)
{
    const struct fw_cfg_item **files = calloc(config->item_count + 1, sizeof(*files));
    /* The model's own are signature, ID and directory. */
    cfg->entries = calloc(config->item_count + 3, sizeof(*cfg->entries));
    if (!files || !cfg->entries) {
        free(files);
        return -ENOMEM;
    }
    int ret = 0;
    size_t file_count = 0;
    for (size_t i = 0; i < config->item_count && !ret; i++) {
        const struct fw_cfg_item *item = &config->items[i];
        if (!item_is_valid(item))
            ret = -EINVAL;
        else if (item->name)
            files[file_count++] = item;
        else
            add_entry(cfg, item->key, item);
    }
    if (!ret)
        ret = add_files(cfg, files, file_count);
    free(files);
    if (ret)
        return ret;
    add_entry(cfg, FW_CFG_KEY_SIGNATURE, &(struct fw_cfg_item){.data = dma_signature, .size = 4});
    add_entry(cfg, FW_CFG_KEY_ID, &(struct fw_cfg_item){.size = 4, .value = FW_CFG_ID_FEATURES});
    qsort(cfg->entries, cfg->entry_count, sizeof(*cfg->entries), compare_keys);
    for (size_t i = 1; i < cfg->entry_count; i++)
        if (cfg->entries[i - 1].key == cfg->entries[i].key)
            return -EINVAL;
    return 0;
}

static void fw_cfg_destroy(void *self)
{
    struct fw_cfg *cfg = self;
    free(cfg->entries);
    free(cfg->directory);
    free(cfg);
}

static int fw_cfg_create(const struct ringd_env *env, const void *config, void **self)
{
    const struct fw_cfg_config *wanted = config;
    /* More than every key there is; it also keeps the sizes of the tables far from overflow. */
    if (!wanted || (wanted->item_count && !wanted->items) || wanted->item_count > UINT16_MAX)
        return -EINVAL;
    struct fw_cfg *cfg = calloc(1, sizeof(*cfg));
    if (!cfg)
        return -ENOMEM;
    cfg->env = env;
    int ret = add_items(cfg, wanted);
    if (ret) {
        fw_cfg_destroy(cfg);
        return ret;
    }
    fw_cfg_reset(cfg);
    *self = cfg;
    return 0;
}

static unsigned fw_cfg_counters(void *self, struct ringd_counter *counters, unsigned max)
{
    const struct fw_cfg *cfg = self;
    const struct ringd_counter all[] = {
        {"selects", cfg->selects},
        {"bytes-pio", cfg->bytes_pio},
        {"bytes-dma", cfg->bytes_dma},
        {"dma-errors", cfg->dma_errors},
    };
    const unsigned count = sizeof(all) / sizeof(all[0]);
    for (unsigned i = 0; i < count && i < max; i++)
        counters[i] = all[i];
    return count;
}

/* Selector and data are one region because a 16-bit selector at 0x510 lies over the 8-bit data port at 0x511. */
static const struct ringd_region fw_cfg_regions[] = {
    [FW_CFG_REGION_SELECTOR_DATA] = {"selector-data", RINGD_PIO, 0, 2, 1 | 2, RINGD_POSTED,
                                     "16-bit write selects an item, byte read at +1 takes its next byte"},
    [FW_CFG_REGION_DMA] = {"dma-address", RINGD_PIO, 4, 8, 4, 0,
                           "writing the low half (+4) runs the DMA descriptor; reads as \"QEMU CFG\""},
};

const struct ringd_device_ops fw_cfg_ops = {
    .name = "fw_cfg",
    .summary = "QEMU firmware configuration: items for the firmware, by port or DMA",
    .regions = fw_cfg_regions,
    .region_count = sizeof(fw_cfg_regions) / sizeof(fw_cfg_regions[0]),
    .create = fw_cfg_create,
    .destroy = fw_cfg_destroy,
    .read = fw_cfg_read,
    .write = fw_cfg_write,
    .reset = fw_cfg_reset,
    .counters = fw_cfg_counters,
};
