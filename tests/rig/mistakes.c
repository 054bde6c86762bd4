/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* A kernel module that makes one mistake when it is loaded, so that smoke.sh can see the debug kernel report it. */
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/string.h>

#define BYTES 200
#define LEAKS 16 /* a stale register or stack slot hides one of them from kmemleak, not all */

static char *what = "";
module_param(what, charp, 0);
MODULE_PARM_DESC(what, "sleep, order, freed or leak");

static DEFINE_SPINLOCK(first);
static DEFINE_SPINLOCK(second);

/* An allocation that may sleep, under a spinlock. */
static noinline int mistakes_sleep(void)
{
    spin_lock(&first);
    kfree(kmalloc(BYTES, GFP_KERNEL));
    spin_unlock(&first);
    return 0;
}

/* Two locks in both orders: on two CPUs at once they would wait for each other. */
static noinline int mistakes_order(void)
{
    spin_lock(&first);
    spin_lock(&second);
    spin_unlock(&second);
    spin_unlock(&first);
    spin_lock(&second);
    spin_lock(&first);
    spin_unlock(&first);
    spin_unlock(&second);
    return 0;
}

static noinline int mistakes_freed(void)
{
    char *bytes = kmalloc(BYTES, GFP_KERNEL);
    kfree(bytes);
    (void)READ_ONCE(bytes[1]);
    return 0;
}

static noinline int mistakes_leak(void)
{
    for (unsigned i = 0; i < LEAKS; i++) {
        char *bytes = kmalloc(BYTES, GFP_KERNEL);
        if (!bytes)
            return -ENOMEM;
        WRITE_ONCE(bytes[0], 1);
    }
    return 0;
}

static int __init mistakes_init(void)
{
    if (!strcmp(what, "sleep"))
        return mistakes_sleep();
    if (!strcmp(what, "order"))
        return mistakes_order();
    if (!strcmp(what, "freed"))
        return mistakes_freed();
    if (!strcmp(what, "leak"))
        return mistakes_leak();
    return -EINVAL;
}

static void __exit mistakes_exit(void)
{
}

module_init(mistakes_init);
module_exit(mistakes_exit);
MODULE_DESCRIPTION("Mistakes that a debug kernel reports");
MODULE_LICENSE("Dual BSD/GPL");
