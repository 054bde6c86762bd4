/* SPDX-License-Identifier: BSD-2-Clause */
/* Guest memory outside the machine: what KVM has of the flash. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "guest.h"
#include "vmm/memory.h"

#define RAM_BYTES   0x200000u
#define ROM_BYTES   0x10000u
#define FLASH_BYTES 0x8000u
#define FLASH_AT    (MEMORY_HIGH - ROM_BYTES - FLASH_BYTES)
#define OTHER_SLOT  30u /* none of the memory's */

static int kvm, vm;
static struct memory memory;
static uint8_t *flash;

static void *pages(size_t bytes)
{
    void *map = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(map, MAP_FAILED);
    return map;
}

static int setup(void **state)
{
    (void)state;
    kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    assert_true(kvm >= 0);
    vm = ioctl(kvm, KVM_CREATE_VM, 0);
    assert_true(vm >= 0);
    assert_int_equal(memory_create(&memory, vm, RAM_BYTES, MEMORY_LOW_LIMIT, false, pages(ROM_BYTES), ROM_BYTES), 0);
    flash = pages(FLASH_BYTES);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    memory_destroy(&memory);
    munmap(flash, FLASH_BYTES);
    close(vm);
    close(kvm);
    return 0;
}

/* Whether KVM has memory there: it takes no second slot for one place. */
static bool is_memory(uint64_t at)
{
    struct kvm_userspace_memory_region region = {
        .slot = OTHER_SLOT, .guest_phys_addr = at, .memory_size = 4096, .userspace_addr = (uintptr_t)flash};
    if (ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region) < 0) {
        assert_int_equal(errno, EEXIST);
        return true;
    }
    region.memory_size = 0;
    assert_int_equal(ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region), 0);
    return false;
}

static void the_flash_is_right_below_the_image(void **state)
{
    (void)state;
    assert_false(is_memory(FLASH_AT));
    assert_int_equal(memory_add_flash(&memory, flash, FLASH_BYTES), 0);
    assert_true(is_memory(FLASH_AT));
    assert_true(is_memory(FLASH_AT + FLASH_BYTES - 4096));
    assert_false(is_memory(FLASH_AT - 4096));
}

/* Two vCPUs may turn it off and on and off before anybody has looked; what is left to do is then nothing. */
static void the_flash_may_be_turned_to_what_it_is(void **state)
{
    (void)state;
    assert_int_equal(memory_add_flash(&memory, flash, FLASH_BYTES), 0);
    for (unsigned round = 0; round < 2; round++) {
        for (unsigned times = 0; times < 2; times++) {
            assert_int_equal(memory_show_flash(&memory, false), 0);
            assert_false(is_memory(FLASH_AT));
        }
        for (unsigned times = 0; times < 2; times++) {
            assert_int_equal(memory_show_flash(&memory, true), 0);
            assert_true(is_memory(FLASH_AT));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_flash_is_right_below_the_image, setup, teardown),
        cmocka_unit_test_setup_teardown(the_flash_may_be_turned_to_what_it_is, setup, teardown),
    };
    guest_need_kvm();
    return cmocka_run_group_tests_name("memory", tests, NULL, NULL);
}
