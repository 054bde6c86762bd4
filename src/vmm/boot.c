/* SPDX-License-Identifier: BSD-2-Clause */
#include "vmm/boot.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <ringd/models/fw_cfg.h>

#include "vmm/image.h"
#include "vmm/machine.h"
#include "vmm/parse.h"
#include "vmm/vcpu.h"

#define QUOTE_BYTES 160

/* Kept for ACPI tables, whole pages: the size must be known before the machine is. */
#define TABLES_SIZE 0x8000u
_Static_assert(ACPI_BLOB_SIZE + 2 * ACPI_RSDP_SIZE <= TABLES_SIZE, "room for the largest tables");

static int complain(const char *option, const char *value, const char *why)
{
    char quoted[QUOTE_BYTES];
    fprintf(stderr, "ringvmm: %s %s: %s\n", option, parse_quote(value, quoted, sizeof(quoted)), why);
    return -EINVAL;
}

/* An error of boot_load(), with the value of the option that it blames. A command line is not repeated: it is long. */
static int complain_of_load(const struct boot *boot, const struct boot_error *error)
{
    char memory[24];
    if (!strcmp(error->option, "--append")) {
        fprintf(stderr, "ringvmm: --append: %s\n", error->why);
        return -EINVAL;
    }
    (void)snprintf(memory, sizeof(memory), "%lluM", (unsigned long long)(boot->options->memory_bytes >> 20));
    return complain(error->option,
                    !strcmp(error->option, "--memory")   ? memory
                    : !strcmp(error->option, "--initrd") ? boot->options->initrd
                                                         : boot->options->kernel,
                    error->why);
}

static int read_file(const char *option, const char *path, uint8_t **image, struct boot_file *file)
{
    int ret = image_read(path, OPTIONS_KERNEL_MAX, image, &file->size);
    if (ret)
        return complain(option, path, strerror(-ret));
    file->name = path;
    file->data = *image;
    return 0;
}

bool boot_is_direct(const struct boot *boot)
{
    return boot->kernel && !boot->options->firmware;
}

/* A machine of one MiB has no room for tables; nor for a kernel. */
static uint64_t tables_size(uint64_t low_size)
{
    return low_size > BOOT_KERNEL_LEAST + TABLES_SIZE ? TABLES_SIZE : 0;
}

int boot_open(struct boot *boot, const struct run_options *options)
{
    boot->options = options;
    if (!options->kernel)
        return 0;
    boot->request.append = options->append;
    int ret = read_file("--kernel", options->kernel, &boot->kernel, &boot->request.kernel);
    if (!ret && options->initrd)
        ret = read_file("--initrd", options->initrd, &boot->initrd, &boot->request.initrd);
    if (ret)
        return ret;
    if (options->firmware)
        return boot_linux_setup_size(&boot->request.kernel)
                   ? 0
                   : complain("--kernel", options->kernel, "no Linux bzImage; firmware takes no other kernel");

    uint64_t low_limit = machine_low_limit(options);
    struct boot_ram ram = {.low_size = options->memory_bytes < low_limit ? options->memory_bytes : low_limit};
    struct boot_entry entry;
    struct boot_error error;
    ram.high_size = options->memory_bytes - ram.low_size;
    ram.tables_size = tables_size(ram.low_size);
    return boot_load(&boot->request, &ram, &entry, &error) ? complain_of_load(boot, &error) : 0;
}

void boot_close(struct boot *boot)
{
    image_free(boot->kernel, boot->request.kernel.size);
    image_free(boot->initrd, boot->request.initrd.size);
    boot->kernel = boot->initrd = NULL;
    boot->request = (struct boot_request){0};
}

int boot_start(struct boot *boot, struct vm *vm)
{
    struct boot_ram ram = {.bytes = vm->memory.ram,
                           .low_size = vm->memory.low_size,
                           .high_size = vm->memory.high_size,
                           .tables_size = tables_size(vm->memory.low_size)};
    struct boot_entry entry;
    struct boot_error error;
    int ret = ram.tables_size ? machine_place_tables(vm->machine, boot_low_end(&ram), &ram.rsdp) : 0;
    if (ret) {
        fprintf(stderr, "ringvmm: the ACPI tables cannot be placed: %s\n", strerror(-ret));
        return ret;
    }
    if (boot_load(&boot->request, &ram, &entry, &error))
        return complain_of_load(boot, &error);
    ret = vcpu_enter(vm->vcpus[0], &entry);
    if (ret)
        fprintf(stderr, "ringvmm: the kernel cannot be entered: %s\n", strerror(-ret));
    return ret;
}

/* What OVMF's loader reads: setup and protected-mode part one behind the other are the file. The items that tell a boot
 * ROM where to put them are not given, as no such ROM is. */
unsigned boot_fw_cfg_items(const struct boot *boot, struct fw_cfg_item *items)
{
    if (!boot->kernel || boot_is_direct(boot))
        return 0;
    const struct boot_file *kernel = &boot->request.kernel, *initrd = &boot->request.initrd;
    const char *append = boot->request.append ? boot->request.append : "";
    uint64_t setup = boot_linux_setup_size(kernel);
    const struct fw_cfg_item all[BOOT_FW_CFG_ITEMS] = {
        {.key = FW_CFG_KEY_SETUP_SIZE, .size = 4, .value = setup},
        {.key = FW_CFG_KEY_SETUP_DATA, .data = kernel->data, .size = setup},
        {.key = FW_CFG_KEY_KERNEL_SIZE, .size = 4, .value = kernel->size - setup},
        {.key = FW_CFG_KEY_KERNEL_DATA, .data = kernel->data + setup, .size = kernel->size - setup},
        {.key = FW_CFG_KEY_INITRD_SIZE, .size = 4, .value = initrd->size},
        {.key = FW_CFG_KEY_INITRD_DATA, .data = initrd->data, .size = initrd->size},
        {.key = FW_CFG_KEY_CMDLINE_SIZE, .size = 4, .value = strlen(append) + 1}, /* with its zero */
        {.key = FW_CFG_KEY_CMDLINE_DATA, .data = append, .size = strlen(append) + 1},
    };
    memcpy(items, all, sizeof(all));
    return BOOT_FW_CFG_ITEMS;
}
