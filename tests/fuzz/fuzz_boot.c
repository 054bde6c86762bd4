/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Any file as a kernel, with RAM of several sizes, an initrd and a command line of any length. RAM is one allocation,
 * so that a byte beside it is found. What is refused has a reason; what is accepted is entered in RAM, and is refused
 * or accepted alike without RAM.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/boot_load.h"
#include "vmm/memory.h"

#define REQUIRE(condition)                                                                                             \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            abort();                                                                                                   \
    } while (0)

#define MEBIBYTE   0x100000u
#define APPEND_MAX 70000u
#define HEAD       4u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_refused(const struct boot_error *error)
{
    static const char *const options[] = {"--kernel", "--initrd", "--append", "--memory"};
    bool known = false;
    for (unsigned i = 0; i < 4; i++)
        known = known || !strcmp(error->option, options[i]);
    size_t length = strnlen(error->why, sizeof(error->why));
    REQUIRE(known && length > 0 && length < sizeof(error->why) - 1); /* had it been cut, it would fill the buffer */
    for (size_t i = 0; i < length; i++)
        REQUIRE((unsigned char)error->why[i] >= 0x20 && (unsigned char)error->why[i] < 0x7f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const unsigned sizes[] = {1, 2, 3, 17, 18, 20, 33, 64};
    if (size < HEAD)
        return 0;
    struct boot_ram ram = {.low_size = (uint64_t)sizes[data[0] & 7] * MEBIBYTE,
                           .high_size = (data[0] >> 3 & 3) * 65536};
    size_t initrd_size = (size_t)data[1] * 8192, append_size = (size_t)data[2] * APPEND_MAX / 255;
    char *append = malloc(append_size + 1);
    uint8_t *initrd = calloc(1, initrd_size + 1), *kernel = malloc(size - HEAD + 1);
    ram.bytes = malloc(ram.low_size + ram.high_size);
    REQUIRE(append && initrd && kernel && ram.bytes);
    memset(append, 'a', append_size);
    append[append_size] = 0;
    memcpy(kernel, data + HEAD, size - HEAD);
    /* An allocation of exactly the file's size, so that a byte behind it is found. */
    kernel = realloc(kernel, size - HEAD ? size - HEAD : 1);
    const struct boot_request request = {
        .kernel = {.name = "kernel", .data = kernel, .size = size - HEAD},
        .initrd = {.name = "initrd", .data = initrd_size ? initrd : NULL, .size = initrd_size},
        .append = data[3] & 1 ? append : NULL,
    };
    struct boot_entry entry, planned;
    struct boot_error error = {0};
    const struct boot_ram none = {.low_size = ram.low_size, .high_size = ram.high_size};
    int ret = boot_load(&request, &ram, &entry, &error);
    if (ret)
        check_refused(&error);
    else
        REQUIRE(entry.rip >= MEBIBYTE && entry.rip < ram.low_size);
    REQUIRE(boot_load(&request, &none, &planned, &error) == ret);
    REQUIRE(ret || !memcmp(&planned, &entry, sizeof(entry)));
    uint64_t setup = boot_linux_setup_size(&request.kernel);
    REQUIRE(setup == 0 || setup < request.kernel.size);
    free(append);
    free(initrd);
    free(kernel);
    free(ram.bytes);
    return 0;
}
