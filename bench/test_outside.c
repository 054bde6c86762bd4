/* SPDX-License-Identifier: BSD-2-Clause */
/* The reader of strace's log: whole calls, calls of several threads that interrupt each other in it, and what is none.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "outside.h"

static double returns_in(const char *text)
{
    char path[] = "/tmp/ringvmm-outside.XXXXXX";
    int fd = mkstemp(path);

    assert_true(fd >= 0);
    assert_true(dprintf(fd, "%s", text) >= 0);
    assert_int_equal(close(fd), 0);
    double count = outside_returns(path);
    assert_int_equal(unlink(path), 0);
    return count;
}

static void test_whole_calls(void **state)
{
    (void)state;
    assert_true(returns_in("") == 0);
    assert_true(returns_in("77  ioctl(3, KVM_CREATE_VM, 0) = 4\n"
                           "77  ioctl(5, KVM_RUN, 0)       = 0\n"
                           "77  ioctl(5, KVM_RUN, 0)       = -1 EINTR (Interrupted system call)\n"
                           "77  ioctl(5, KVM_GET_REGS, {rax=0, ...}) = 0\n") == 2);
}

static void test_interrupted_calls(void **state)
{
    (void)state;
    assert_true(returns_in("77  ioctl(5, KVM_RUN, 0 <unfinished ...>\n"
                           "78  ioctl(6, KVM_RUN, 0 <unfinished ...>\n"
                           "79  ioctl(4, KVM_IRQ_LINE_STATUS, 0x7ffd <unfinished ...>\n"
                           "78  <... ioctl resumed>)        = 0\n"
                           "79  <... ioctl resumed>)        = 0\n"
                           "78  ioctl(6, KVM_RUN, 0)        = 0\n"
                           "77  <... ioctl resumed>)        = -1 EINTR (Interrupted system call)\n"
                           "77  <... ioctl resumed>)        = 0\n") == 3);
}

static void test_no_return(void **state)
{
    (void)state;
    assert_true(returns_in("77  ioctl(5, KVM_RUN, 0)       = ?\n"
                           "78  ioctl(6, KVM_RUN, 0 <unfinished ...>\n"
                           "78  <... ioctl resumed>)        = ?\n"
                           "79  ioctl(6, KVM_RUN, 0 <unfinished ...>\n"
                           "79  +++ killed by SIGKILL +++\n"
                           "no log at all, KVM_RUN\n") == 0);
    assert_true(isnan(outside_returns("/nonexistent/log")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole_calls),
        cmocka_unit_test(test_interrupted_calls),
        cmocka_unit_test(test_no_return),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
