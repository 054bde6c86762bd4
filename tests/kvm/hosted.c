/* SPDX-License-Identifier: BSD-2-Clause */
#include "hosted.h"

#include <stdlib.h>
#include <string.h>

struct vcpu_arg {
    struct hosted *machine;
    struct guest_vcpu *vcpu;
};

void hosted_create(struct hosted *m, enum ringd_backend_kind kind, unsigned vcpus, uint64_t max_replay_latency_ns)
{
    *m = (struct hosted){0};
    guest_create(&m->guest, vcpus);
    struct ringd_config config = {.backend = kind,
                                  .vm_fd = m->guest.vm,
                                  .vcpu_fd = m->guest.vcpus[0].fd,
                                  .max_replay_latency_ns = max_replay_latency_ns,
                                  .cpu = -1};
    assert_int_equal(ringd_create(&config, &m->rd), 0);
}

void hosted_destroy(struct hosted *m)
{
    ringd_stop(m->rd);
    ringd_destroy(m->rd);
    guest_destroy(&m->guest);
}

struct ringd_dev *hosted_add(struct hosted *m, const struct ringd_device_ops *ops, const void *config, uint64_t base)
{
    struct ringd_dev *dev;
    assert_true(m->device_count < HOSTED_MAX_DEVICES);
    assert_int_equal(ringd_add(m->rd, ops, config, NULL, &dev), 0);
    for (unsigned i = 0; i < ops->region_count; i++)
        assert_int_equal(ringd_map(dev, i, base + ops->regions[i].offset), 0);
    m->bases[m->device_count] = base;
    m->devices[m->device_count++] = dev;
    return dev;
}

static bool offer(const struct guest_exit *exit, struct ringd_dev *dev, uint64_t base)
{
    const struct ringd_device_ops *ops = ringd_dev_ops(dev);
    for (unsigned i = 0; i < ops->region_count; i++) {
        uint64_t offset = exit->write.addr - base - ops->regions[i].offset;
        if (!exit->write.pio || offset >= ops->regions[i].size)
            continue;
        if (exit->is_write) {
            ringd_write(dev, i, offset, exit->write.width, exit->write.value);
        } else {
            uint64_t value = ringd_read(dev, i, offset, exit->write.width);
            memcpy(exit->data, &value, exit->write.width);
        }
        return true;
    }
    return false;
}

static void dispatch(struct hosted *m, const struct guest_exit *exit)
{
    for (unsigned i = 0; i < m->device_count; i++)
        if (offer(exit, m->devices[i], m->bases[i]))
            return;
    __atomic_fetch_add(&m->strays, 1, __ATOMIC_RELAXED);
}

static void *vcpu_thread(void *arg)
{
    struct vcpu_arg *a = arg;
    struct guest_exit exit;
    while (!(exit = guest_run(a->vcpu)).end)
        dispatch(a->machine, &exit);
    free(a);
    return NULL;
}

void hosted_start(struct hosted *m, unsigned vcpu, const void *code, size_t size, const struct kvm_regs *regs)
{
    struct vcpu_arg *arg = malloc(sizeof(*arg));
    assert_non_null(arg);
    *arg = (struct vcpu_arg){m, &m->guest.vcpus[vcpu]};
    guest_load(&m->guest, vcpu, code, size, regs);
    assert_int_equal(pthread_create(&m->threads[vcpu], NULL, vcpu_thread, arg), 0);
}

void hosted_join(struct hosted *m, unsigned vcpu)
{
    assert_int_equal(pthread_join(m->threads[vcpu], NULL), 0);
}
