/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A VMM whose real-time clock lives in the daemon ringd: it runs a guest of a few instructions that reads the clock's
 * seconds in a loop. `kill -9` the daemon meanwhile and start it again: the guest sees a pause.
 *
 *     ringd --socket /tmp/ringd.sock &
 *     embed-daemon /tmp/ringd.sock 100000
 *
 * Exits are forwarded here, by the client's own ring in shared memory; so it needs no more of KVM than any VMM.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <ringd/client.h>

#define INDEX_PORT 0x70
#define DATA_PORT  0x71
#define DONE_PORT  0x501
#define GUEST_AT   0x1000
#define RAM_BYTES  0x10000
#define VCPU       0 /* our slot of the mailbox */

enum { INDEX, DATA }; /* regions of "rtc" */

/* Real mode: select register 0, read it, as often as EBX says; then tell. */
static const uint8_t guest[] = {
    0x30,           0xc0,             /* again: xor al, al */
    0xe6,           INDEX_PORT,       /* out 0x70, al: posted */
    0xe4,           DATA_PORT,        /* in al, 0x71: waits for the answer */
    0x66,           0x4b,             /* dec ebx */
    0x75,           0xf6,             /* jnz again */
    0xba,           DONE_PORT & 0xff, /* mov dx, 0x501 */
    DONE_PORT >> 8, 0xee,             /* out dx, al */
};

struct vmm {
    int vm, vcpu;
    struct kvm_run *run;
    struct ringd_client *client;
    struct ringd_remote *rtc;
    bool ended; /* atomic */
    uint64_t accesses;
};

static void die(const char *what, int error)
{
    fprintf(stderr, "embed-daemon: %s: %s\n", what, strerror(error));
    exit(1);
}

static int checked(int result, const char *what)
{
    if (result < 0)
        die(what, errno);
    return result;
}

static void make_vm(struct vmm *vmm, uint32_t rounds)
{
    int kvm = checked(open("/dev/kvm", O_RDWR | O_CLOEXEC), "/dev/kvm");
    vmm->vm = checked(ioctl(kvm, KVM_CREATE_VM, 0), "KVM_CREATE_VM");
    checked(ioctl(vmm->vm, KVM_CREATE_IRQCHIP, 0), "KVM_CREATE_IRQCHIP");
    uint8_t *ram = mmap(NULL, RAM_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (ram == MAP_FAILED)
        die("guest memory", errno);
    memcpy(ram + GUEST_AT, guest, sizeof(guest));
    struct kvm_userspace_memory_region region = {.memory_size = RAM_BYTES, .userspace_addr = (uintptr_t)ram};
    checked(ioctl(vmm->vm, KVM_SET_USER_MEMORY_REGION, &region), "KVM_SET_USER_MEMORY_REGION");

    vmm->vcpu = checked(ioctl(vmm->vm, KVM_CREATE_VCPU, 0), "KVM_CREATE_VCPU");
    int bytes = checked(ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0), "KVM_GET_VCPU_MMAP_SIZE");
    vmm->run = mmap(NULL, (size_t)bytes, PROT_READ | PROT_WRITE, MAP_SHARED, vmm->vcpu, 0);
    if (vmm->run == MAP_FAILED)
        die("the vCPU's page", errno);
    struct kvm_sregs sregs;
    checked(ioctl(vmm->vcpu, KVM_GET_SREGS, &sregs), "KVM_GET_SREGS");
    sregs.cs.base = sregs.cs.selector = 0;
    checked(ioctl(vmm->vcpu, KVM_SET_SREGS, &sregs), "KVM_SET_SREGS");
    struct kvm_regs regs = {.rip = GUEST_AT, .rbx = rounds, .rflags = 2};
    checked(ioctl(vmm->vcpu, KVM_SET_REGS, &regs), "KVM_SET_REGS");
    close(kvm);
}

/* The clock: its interrupt goes from the daemon to KVM without us. */
static void add_clock(struct vmm *vmm)
{
    int irq = checked(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), "eventfd");
    struct kvm_irqfd irqfd = {.fd = (uint32_t)irq, .gsi = 8};
    checked(ioctl(vmm->vm, KVM_IRQFD, &irqfd), "KVM_IRQFD");
    struct ringd_client_device device = {.type = "rtc", .irq_fds = &irq, .irq_count = 1, .kvm_ring_fd = -1};
    int ret = ringd_client_add(vmm->client, &device, &vmm->rtc);
    if (!ret)
        ret = ringd_client_map(vmm->rtc, INDEX, INDEX_PORT);
    if (!ret)
        ret = ringd_client_map(vmm->rtc, DATA, DATA_PORT);
    if (ret)
        die("the daemon's rtc", -ret);
}

/* A write to the index is posted: the guest goes on at once. All else waits for the daemon's answer. */
static void on_port(struct vmm *vmm)
{
    uint8_t *data = (uint8_t *)vmm->run + vmm->run->io.data_offset;
    bool write = vmm->run->io.direction == KVM_EXIT_IO_OUT;
    unsigned region = vmm->run->io.port == INDEX_PORT ? INDEX : DATA;
    uint64_t value = 0xff;
    int ret = write && region == INDEX ? ringd_client_push(vmm->rtc, INDEX_PORT, 1, data, 1) : -EAGAIN;
    if (ret == -EAGAIN) /* not posted, or the ring is full */
        ret = write ? ringd_client_write(vmm->rtc, VCPU, region, 0, 1, *data)
                    : ringd_client_read(vmm->rtc, VCPU, region, 0, 1, &value);
    if (ret)
        die("the daemon has been away for too long", -ret);
    if (!write)
        *data = (uint8_t)value;
    vmm->accesses++;
}

/* One byte at a time is all that this guest does. */
static void *run_vcpu(void *arg)
{
    struct vmm *vmm = arg;
    for (;;) {
        if (ioctl(vmm->vcpu, KVM_RUN, 0) < 0) {
            if (errno == EINTR)
                continue; /* a signal: there was no exit */
            die("KVM_RUN", errno);
        }
        if (vmm->run->exit_reason != KVM_EXIT_IO) {
            fprintf(stderr, "embed-daemon: exit %u was not expected\n", vmm->run->exit_reason);
            exit(1);
        }
        if (vmm->run->io.port == DONE_PORT)
            break;
        on_port(vmm);
    }
    __atomic_store_n(&vmm->ended, true, __ATOMIC_RELEASE);
    return NULL;
}

static void on_state(void *ctx, bool connected)
{
    (void)ctx;
    fprintf(stderr, "embed-daemon: the daemon is %s\n", connected ? "back" : "gone");
}

int main(int argc, char **argv)
{
    if (argc != 3 || atoi(argv[2]) < 1) {
        fprintf(stderr, "usage: embed-daemon SOCKET ROUNDS\n");
        return 2;
    }
    struct vmm vmm = {0};
    struct ringd_client_config config = {.path = argv[1], .state = on_state};
    int ret = ringd_client_create(&config, &vmm.client);
    if (ret)
        die(argv[1], -ret);
    make_vm(&vmm, (uint32_t)atoi(argv[2]));
    add_clock(&vmm);
    pthread_t thread;
    ret = pthread_create(&thread, NULL, run_vcpu, &vmm);
    if (ret)
        die("a thread", ret);
    /* The owner's loop: events of the device, and a daemon that goes and comes back. */
    while (!__atomic_load_n(&vmm.ended, __ATOMIC_ACQUIRE)) {
        struct pollfd ready = {.fd = ringd_client_poll_fd(vmm.client), .events = POLLIN};
        if (poll(&ready, 1, 20) > 0)
            ringd_client_dispatch(vmm.client);
    }
    pthread_join(thread, NULL);
    printf("%llu accesses, the daemon came back %llu times\n", (unsigned long long)vmm.accesses,
           (unsigned long long)ringd_client_reconnects(vmm.client));
    ringd_client_destroy(vmm.client);
    return 0;
}
