/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Looks for a lost wake-up on a real KVM with MMIO2: stress [SECONDS] (60). Needs two CPUs.
 *
 * One thread runs a vCPU that writes to a posted port once per turn, the other sleeps in poll() and drains. The next write
 * comes a random short while after the drain, just when the other thread is on its way back to sleep: the window of
 * kmod/litmus/wakeup.litmus. A third thread sleeps 10 ms at a time. When it finds the same entry in the ring 50 times in a
 * row while the consumer sleeps, the wake-up is lost; the consumer's poll() has a time limit, and goes on. Time alone would
 * not tell: a machine that its host does not run for a second takes every sleep to its limit, and this thread with it.
 * Exit status: 0 none, 1 some, 2 no MMIO2 here.
 *
 *   cc -O2 -Iinclude kmod/litmus/stress.c -o stress -lpthread
 */
#include <fcntl.h>
#include <linux/kvm.h>
#include <poll.h>
#include <pthread.h>
#include <ringd/kvm_mmio2.h>
#include <ringd/ring.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum {
	PORT = 0x70,
	EXIT_PORT = 0xf4,
	LIMIT_MS = 2000,
	BEAT_US = 10000,
	BEATS = 50,
	MAX_DELAY = 4096, /* turns of an empty loop */
};

struct stress {
	int cpu, buffer;
	struct kvm_run *run;
	struct ringd_ring_page *ring;
	atomic_ulong drained, lost;
	atomic_bool stop;
};

static void die(const char *what)
{
	perror(what);
	exit(2);
}

/* A vCPU in real mode at address 0: out PORT, al; out EXIT_PORT, al; jmp to the start. */
static void make_guest(struct stress *s)
{
	static const unsigned char code[] = { 0xe6, PORT, 0xe6, EXIT_PORT, 0xeb, 0xfa };
	struct kvm_userspace_memory_region region = { .memory_size = 4096 };
	struct ringd_kvm_coalesced_mmio_zone2 zone = { .addr = PORT, .size = 1, .pio = 1 };
	struct kvm_regs regs = { .rflags = 2 };
	struct kvm_sregs sregs;
	void *memory = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	int vm = ioctl(kvm, KVM_CREATE_VM, 0);

	memcpy(memory, code, sizeof(code));
	region.userspace_addr = (uintptr_t)memory;
	if (ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region))
		die("memory");
	s->cpu = ioctl(vm, KVM_CREATE_VCPU, 0);
	s->run = mmap(NULL, (size_t)ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0), PROT_READ | PROT_WRITE, MAP_SHARED, s->cpu, 0);
	if (s->run == MAP_FAILED || ioctl(s->cpu, KVM_GET_SREGS, &sregs))
		die("vCPU");
	sregs.cs.base = 0;
	sregs.cs.selector = 0;
	if (ioctl(s->cpu, KVM_SET_SREGS, &sregs) || ioctl(s->cpu, KVM_SET_REGS, &regs))
		die("registers");

	s->buffer = ioctl(vm, RINGD_KVM_CREATE_COALESCED_MMIO_BUFFER, 0);
	if (s->buffer < 0)
		die("KVM_CREATE_COALESCED_MMIO_BUFFER");
	s->ring = mmap(NULL, RINGD_RING_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, s->buffer, 0);
	zone.buffer_fd = (uint32_t)s->buffer;
	if (s->ring == MAP_FAILED || ioctl(vm, RINGD_KVM_REGISTER_COALESCED_MMIO2, &zone))
		die("KVM_REGISTER_COALESCED_MMIO2");
}

static void *consume(void *arg)
{
	struct stress *s = arg;
	struct pollfd wait = { .fd = s->buffer, .events = POLLIN };

	while (!atomic_load(&s->stop)) {
		uint32_t last;

		poll(&wait, 1, LIMIT_MS);
		last = __atomic_load_n(&s->ring->last, __ATOMIC_ACQUIRE);
		if (last == s->ring->first)
			continue;
		__atomic_store_n(&s->ring->first, last, __ATOMIC_RELEASE);
		atomic_fetch_add(&s->drained, 1);
	}
	return NULL;
}

/* Counts the entries that stay in the ring for BEATS looks. */
static void *watch(void *arg)
{
	struct stress *s = arg;
	unsigned long before = 0;
	unsigned beats = 0;

	while (!atomic_load(&s->stop)) {
		unsigned long drained = atomic_load(&s->drained);
		uint32_t last = __atomic_load_n(&s->ring->last, __ATOMIC_ACQUIRE);
		bool waits = last != __atomic_load_n(&s->ring->first, __ATOMIC_ACQUIRE) && drained == before;

		beats = waits ? beats + 1 : 0;
		if (beats == BEATS)
			atomic_fetch_add(&s->lost, 1);
		before = drained;
		usleep(BEAT_US);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	static struct stress s;
	time_t end = time(NULL) + (argc > 1 ? atol(argv[1]) : 60);
	unsigned long turns = 0;
	pthread_t consumer, watcher;

	make_guest(&s);
	if (pthread_create(&consumer, NULL, consume, &s) || pthread_create(&watcher, NULL, watch, &s))
		die("pthread_create");
	srandom(1);
	while (time(NULL) < end) {
		if (ioctl(s.cpu, KVM_RUN, 0))
			die("KVM_RUN");
		if (s.run->exit_reason != KVM_EXIT_IO || s.run->io.port != EXIT_PORT) {
			fprintf(stderr, "unexpected exit %u\n", s.run->exit_reason);
			return 2;
		}
		turns++;
		while (atomic_load(&s.drained) != turns)
			;
		for (volatile long delay = random() % MAX_DELAY; delay; delay--)
			;
	}
	atomic_store(&s.stop, true);
	pthread_join(consumer, NULL);
	pthread_join(watcher, NULL);
	printf("%lu writes, each followed by a wait; %lu wake-ups lost\n", turns, atomic_load(&s.lost));
	return atomic_load(&s.lost) ? 1 : 0;
}
