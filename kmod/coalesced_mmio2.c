/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Coalesced I/O with one ring per buffer fd ("MMIO2"). See coalesced_mmio2.h
 * for the interface and kmod/README.md for where it differs from the posting.
 *
 * Three objects:
 *
 *  kvm_mmio2_vm      one per VM, made with its first buffer. It hangs in
 *                    kvm->devices, KVM's own list of things that end with the
 *                    VM, so that struct kvm needs no new member.
 *  kvm_mmio2_buffer  what a buffer fd stands for: the ring and who waits for
 *                    it. The file holds a reference, and so does each zone.
 *  kvm_mmio2_zone    an address range on a bus that feeds a buffer.
 *
 * A file does not keep its VM alive and a VM does not keep a file open. What
 * they share is the kvm_mmio2_vm, which outlives both: its ->kvm is valid while
 * its ->lock is held and ->kvm is not NULL, as kvm_destroy_vm() clears it under
 * that lock before it takes anything down. Whichever end goes first, the other
 * finds the state it needs.
 *
 * A mapping needs no book-keeping here: it holds the file, so ->release() runs
 * when the last fd and the last mapping are gone, and only then are the zones
 * removed and the ring freed. fork, mremap and partial munmap are therefore
 * mm's business alone.
 *
 * Lock order: kvm_mmio2_vm.lock, kvm->slots_lock. kvm_mmio2_buffer.ring_lock is
 * a leaf that only writes to the ring take; nothing sleeps under it.
 */

#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <kvm/iodev.h>

#include <linux/anon_inodes.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/kref.h>
#include <linux/kvm_host.h>
#include <linux/mm.h>
#include <linux/poll.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/wait.h>

#include "coalesced_mmio2.h"

struct kvm_mmio2_vm {
	struct kref refs; /* kvm->devices has one, each buffer has one */
	struct mutex lock;
	struct kvm *kvm; /* NULL once the VM is gone; written under lock */
	struct list_head buffers; /* with an open file; under lock */
	struct list_head zones; /* under kvm->slots_lock */
};

struct kvm_mmio2_buffer {
	struct kref refs;
	struct kvm_mmio2_vm *vm;
	struct list_head node; /* in vm->buffers */
	/* Set once, by the first mmap(). */
	struct kvm_coalesced_mmio_ring *ring;
	spinlock_t ring_lock; /* one vCPU at a time writes to the ring */
	wait_queue_head_t wait;
};

struct kvm_mmio2_zone {
	struct kvm_io_device dev;
	struct list_head node; /* in vm->zones */
	struct kvm_mmio2_buffer *buf;
	u64 addr;
	u32 size;
	u32 pio;
};

static void mmio2_vm_free(struct kref *refs)
{
	kfree(container_of(refs, struct kvm_mmio2_vm, refs));
}

static void mmio2_vm_put(struct kvm_mmio2_vm *vm)
{
	kref_put(&vm->refs, mmio2_vm_free);
}

static void mmio2_buffer_free(struct kref *refs)
{
	struct kvm_mmio2_buffer *buf =
		container_of(refs, struct kvm_mmio2_buffer, refs);

	free_page((unsigned long)buf->ring);
	mmio2_vm_put(buf->vm);
	kfree(buf);
}

static void mmio2_buffer_put(struct kvm_mmio2_buffer *buf)
{
	kref_put(&buf->refs, mmio2_buffer_free);
}

static enum kvm_bus mmio2_bus(u32 pio)
{
	return pio ? KVM_PIO_BUS : KVM_MMIO_BUS;
}

/*
 * Zones: the producer's side. Runs on a vCPU, within its kvm->srcu section.
 */

/*
 * Whether [addr, addr + len) lies in the zone; no sum that could wrap, and below
 * the zone the offset wraps to more than any size.
 */
static bool mmio2_zone_contains(const struct kvm_mmio2_zone *zone, u64 addr,
				u64 len)
{
	u64 offset = addr - zone->addr;

	return offset <= zone->size && len <= zone->size - offset;
}

/* The copy of a variable length is longer than all the rest of a push. */
static void mmio2_copy(u8 *to, const void *from, int len)
{
	if (likely(len == 1))
		*to = *(const u8 *)from;
	else
		memcpy(to, from, len);
}

/* False when the ring is full or user space has broken an index. */
static bool mmio2_ring_push(struct kvm_mmio2_buffer *buf, gpa_t addr, u32 pio,
			    const void *val, int len)
{
	struct kvm_coalesced_mmio_ring *ring = buf->ring;
	struct kvm_coalesced_mmio *entry;
	u32 first, last, next;

	lockdep_assert_held(&buf->ring_lock);

	/*
	 * User space can store to both at any time: each is read once, checked,
	 * and used from the copy. The acquire is for the consumer's release of
	 * the slot: its loads of an entry come before our stores to it.
	 */
	last = READ_ONCE(ring->last);
	first = smp_load_acquire(&ring->first);
	if (last >= KVM_COALESCED_MMIO_MAX || first >= KVM_COALESCED_MMIO_MAX)
		return false;
	next = last + 1 == KVM_COALESCED_MMIO_MAX ? 0 : last + 1;
	if (next == first)
		return false;

	entry = &ring->coalesced_mmio[last];
	entry->phys_addr = addr;
	entry->len = len;
	entry->pio = pio;
	mmio2_copy(entry->data, val, len);
	smp_store_release(&ring->last, next);
	return true;
}

static int mmio2_zone_write(struct kvm_vcpu *vcpu, struct kvm_io_device *dev,
			    gpa_t addr, int len, const void *val)
{
	struct kvm_mmio2_zone *zone =
		container_of(dev, struct kvm_mmio2_zone, dev);
	struct kvm_mmio2_buffer *buf = zone->buf;
	bool taken;

	if (len <= 0 || len > sizeof_field(struct kvm_coalesced_mmio, data) ||
	    !mmio2_zone_contains(zone, addr, len))
		return -EOPNOTSUPP;

	spin_lock(&buf->ring_lock);
	taken = mmio2_ring_push(buf, addr, zone->pio, val, len);
	spin_unlock(&buf->ring_lock);
	if (!taken)
		return -EOPNOTSUPP;

	/*
	 * Skip the wake-up when nobody waits, and lose none:
	 *
	 *   here                             mmio2_poll()
	 *   ----                             ------------
	 *   P1: ring->last = next            W1: add to buf->wait (poll_wait)
	 *       smp_mb() (wq_has_sleeper)        smp_mb()
	 *   P2: is buf->wait empty?          W2: is first == last?
	 *
	 * This is the store buffering pattern. Were the write lost, P2 would
	 * have seen the queue without the waiter (P2 before W1) and W2 the ring
	 * without the entry (W2 before P1). With the two full barriers that
	 * closes a cycle P1 -> P2 -> W1 -> W2 -> P1, which the memory model
	 * forbids: at least one side sees the other. kmod/litmus/wakeup.litmus
	 * has it for herd7, and without either barrier as well.
	 *
	 * It holds for a wait that starts as above. An epoll instance stays on
	 * the queue from EPOLL_CTL_ADD (which polls once, after adding) to
	 * EPOLL_CTL_DEL, so there P2 never skips; and a sleeping poll() or
	 * select() stays on it until it returns.
	 */
	if (wq_has_sleeper(&buf->wait))
		wake_up_poll(&buf->wait, EPOLLIN | EPOLLRDNORM);
	return 0;
}

/*
 * Off the bus, and no vCPU is inside: by kvm_io_bus_unregister_dev() under
 * kvm->slots_lock, or by kvm_destroy_vm(), when nobody else can reach the list.
 */
static void mmio2_zone_destroy(struct kvm_io_device *dev)
{
	struct kvm_mmio2_zone *zone =
		container_of(dev, struct kvm_mmio2_zone, dev);

	list_del(&zone->node);
	mmio2_buffer_put(zone->buf);
	kfree(zone);
}

static const struct kvm_io_device_ops mmio2_zone_ops = {
	.write = mmio2_zone_write,
	.destructor = mmio2_zone_destroy,
};

/* Removes every zone of the buffer. kvm->slots_lock is held. */
static void mmio2_remove_zones_of(struct kvm *kvm, struct kvm_mmio2_vm *vm,
				  struct kvm_mmio2_buffer *buf)
{
	struct kvm_mmio2_zone *zone, *next;
	bool again;

	do {
		again = false;
		list_for_each_entry_safe(zone, next, &vm->zones, node) {
			if (zone->buf != buf)
				continue;
			/*
			 * Out of memory, KVM gives the whole bus up, with all
			 * its zones: what next points to may be gone. The other
			 * bus has its zones still.
			 */
			again = kvm_io_bus_unregister_dev(
					kvm, mmio2_bus(zone->pio), &zone->dev);
			if (again)
				break;
		}
	} while (again);
}

/*
 * The buffer's file: the consumer's side.
 */

static __poll_t mmio2_poll(struct file *file, poll_table *wait)
{
	struct kvm_mmio2_buffer *buf = file->private_data;
	struct kvm_coalesced_mmio_ring *ring;
	__poll_t events = 0;

	poll_wait(file, &buf->wait, wait);
	/*
	 * Between W1 and W2 of mmio2_zone_write(). It stands here because
	 * not every 6.12 has one in poll_wait().
	 */
	smp_mb();

	ring = smp_load_acquire(&buf->ring);
	if (ring && READ_ONCE(ring->first) != READ_ONCE(ring->last))
		events |= EPOLLIN | EPOLLRDNORM;
	if (!READ_ONCE(buf->vm->kvm))
		events |= EPOLLHUP;
	return events;
}

static vm_fault_t mmio2_fault(struct vm_fault *vmf)
{
	struct kvm_mmio2_buffer *buf = vmf->vma->vm_file->private_data;

	if (vmf->pgoff)
		return VM_FAULT_SIGBUS;
	vmf->page = virt_to_page(buf->ring);
	get_page(vmf->page);
	return 0;
}

static const struct vm_operations_struct mmio2_vm_ops = {
	.fault = mmio2_fault,
};

/*
 * Any number of mappings, all of one page that the buffer owns. The fault
 * handler gives it out with a reference, so MADV_DONTNEED, fork, mremap and a
 * pin by another driver are harmless.
 */
static int mmio2_mmap(struct file *file, struct vm_area_struct *vma)
{
	struct kvm_mmio2_buffer *buf = file->private_data;

	/* A private mapping would leave the ring at the first store. */
	if (!(vma->vm_flags & VM_SHARED))
		return -EINVAL;
	if (vma->vm_pgoff || vma_pages(vma) != 1)
		return -EINVAL;
	if (vma->vm_flags & VM_EXEC)
		return -EPERM;

	if (!smp_load_acquire(&buf->ring)) {
		void *ring = (void *)get_zeroed_page(GFP_KERNEL_ACCOUNT);

		if (!ring)
			return -ENOMEM;
		/* Two first mappings at once: one ring stays. */
		if (cmpxchg(&buf->ring, NULL, ring))
			free_page((unsigned long)ring);
	}

	vm_flags_mod(vma, VM_DONTEXPAND, VM_MAYEXEC);
	vma->vm_ops = &mmio2_vm_ops;
	return 0;
}

/* The last fd and the last mapping are gone. */
static int mmio2_release(struct inode *inode, struct file *file)
{
	struct kvm_mmio2_buffer *buf = file->private_data;
	struct kvm_mmio2_vm *vm = buf->vm;

	mutex_lock(&vm->lock);
	list_del(&buf->node);
	if (vm->kvm) {
		mutex_lock(&vm->kvm->slots_lock);
		mmio2_remove_zones_of(vm->kvm, vm, buf);
		mutex_unlock(&vm->kvm->slots_lock);
	}
	mutex_unlock(&vm->lock);

	/* Zones of a VM that is on its way out may still hold the buffer. */
	mmio2_buffer_put(buf);
	return 0;
}

static const struct file_operations mmio2_fops = {
	.owner = THIS_MODULE,
	.release = mmio2_release,
	.poll = mmio2_poll,
	.mmap = mmio2_mmap,
};

/*
 * The VM's side.
 */

static void mmio2_device_destroy(struct kvm_device *dev)
{
	mmio2_vm_put(dev->private);
	kfree(dev);
}

/* No fd: the device is only how the VM finds its kvm_mmio2_vm. */
static const struct kvm_device_ops mmio2_device_ops = {
	.name = "kvm-coalesced-mmio2",
	.destroy = mmio2_device_destroy,
};

static struct kvm_mmio2_vm *mmio2_vm_find(struct kvm *kvm)
{
	struct kvm_device *dev;

	lockdep_assert_held(&kvm->lock);

	list_for_each_entry(dev, &kvm->devices, vm_node) {
		if (dev->ops == &mmio2_device_ops)
			return dev->private;
	}
	return NULL;
}

/* The VM's state, or NULL when the VM never had a buffer. */
static struct kvm_mmio2_vm *mmio2_vm_of(struct kvm *kvm)
{
	struct kvm_mmio2_vm *vm;

	mutex_lock(&kvm->lock);
	vm = mmio2_vm_find(kvm);
	mutex_unlock(&kvm->lock);
	return vm;
}

/* The same, made if need be. NULL: no memory. */
static struct kvm_mmio2_vm *mmio2_vm_make(struct kvm *kvm)
{
	struct kvm_mmio2_vm *vm;
	struct kvm_device *dev = NULL;

	mutex_lock(&kvm->lock);
	vm = mmio2_vm_find(kvm);
	if (vm)
		goto out;

	dev = kzalloc(sizeof(*dev), GFP_KERNEL_ACCOUNT);
	vm = kzalloc(sizeof(*vm), GFP_KERNEL_ACCOUNT);
	if (!dev || !vm) {
		kfree(dev);
		kfree(vm);
		vm = NULL;
		goto out;
	}
	kref_init(&vm->refs);
	mutex_init(&vm->lock);
	INIT_LIST_HEAD(&vm->buffers);
	INIT_LIST_HEAD(&vm->zones);
	vm->kvm = kvm;
	dev->ops = &mmio2_device_ops;
	dev->kvm = kvm;
	dev->private = vm;
	list_add_rcu(&dev->vm_node, &kvm->devices);
out:
	mutex_unlock(&kvm->lock);
	return vm;
}

void kvm_mmio2_vm_gone(struct kvm *kvm)
{
	struct kvm_mmio2_vm *vm = mmio2_vm_of(kvm);
	struct kvm_mmio2_buffer *buf;

	if (!vm)
		return;
	mutex_lock(&vm->lock);
	WRITE_ONCE(vm->kvm, NULL);
	/* Unconditional, and by way of the queue's lock: no barrier needed. */
	list_for_each_entry(buf, &vm->buffers, node)
		wake_up_poll(&buf->wait, EPOLLHUP | EPOLLIN | EPOLLRDNORM);
	mutex_unlock(&vm->lock);
}

static int mmio2_create_buffer(struct kvm *kvm)
{
	struct kvm_mmio2_buffer *buf;
	struct kvm_mmio2_vm *vm;
	struct file *file;
	int fd, r;

	vm = mmio2_vm_make(kvm);
	if (!vm)
		return -ENOMEM;
	buf = kzalloc(sizeof(*buf), GFP_KERNEL_ACCOUNT);
	if (!buf)
		return -ENOMEM;

	kref_init(&buf->refs);
	spin_lock_init(&buf->ring_lock);
	init_waitqueue_head(&buf->wait);
	kref_get(&vm->refs);
	buf->vm = vm;

	fd = get_unused_fd_flags(O_RDWR | O_CLOEXEC);
	if (fd < 0) {
		r = fd;
		goto put_buffer;
	}
	file = anon_inode_getfile("kvm-coalesced-mmio-buffer", &mmio2_fops, buf,
				  O_RDWR);
	if (IS_ERR(file)) {
		r = PTR_ERR(file);
		goto put_fd;
	}

	/* On the list before any other thread can close the fd. */
	mutex_lock(&vm->lock);
	list_add(&buf->node, &vm->buffers);
	mutex_unlock(&vm->lock);
	fd_install(fd, file);
	return fd;

put_fd:
	put_unused_fd(fd);
put_buffer:
	mmio2_buffer_put(buf);
	return r;
}

/* Whether two ranges share an address; sizes may be 0, sums may wrap. */
static bool mmio2_overlap(u64 a, u32 a_size, u64 b, u32 b_size)
{
	return a < b ? b - a < a_size && b_size : a - b < b_size && a_size;
}

/* Whether another buffer has a zone in the way. kvm->slots_lock is held. */
static bool mmio2_zone_taken(struct kvm_mmio2_vm *vm,
			     const struct kvm_mmio2_zone *wanted)
{
	struct kvm_mmio2_zone *zone;

	list_for_each_entry(zone, &vm->zones, node) {
		if (zone->buf != wanted->buf && zone->pio == wanted->pio &&
		    mmio2_overlap(zone->addr, zone->size, wanted->addr,
				  wanted->size))
			return true;
	}
	return false;
}

static int mmio2_add_zone(struct kvm *kvm, struct kvm_mmio2_buffer *buf,
			  const struct kvm_coalesced_mmio_zone2 *arg)
{
	struct kvm_mmio2_zone *zone;
	int r;

	/*
	 * The caller's reference keeps kvm, and so a matching vm->kvm, as it
	 * is; a VM that is gone has NULL there, not an address that a new VM
	 * may have got.
	 */
	if (READ_ONCE(buf->vm->kvm) != kvm)
		return -EINVAL;
	/* Pairs with the cmpxchg() in mmio2_mmap(). */
	if (!smp_load_acquire(&buf->ring))
		return -ENOBUFS;

	zone = kzalloc(sizeof(*zone), GFP_KERNEL_ACCOUNT);
	if (!zone)
		return -ENOMEM;
	kvm_iodevice_init(&zone->dev, &mmio2_zone_ops);
	zone->addr = arg->addr;
	zone->size = arg->size;
	zone->pio = arg->pio;
	zone->buf = buf;

	mutex_lock(&kvm->slots_lock);
	r = -EEXIST;
	if (!mmio2_zone_taken(buf->vm, zone))
		r = kvm_io_bus_register_dev(kvm, mmio2_bus(zone->pio),
					    zone->addr, zone->size, &zone->dev);
	if (!r) {
		kref_get(&buf->refs);
		list_add_tail(&zone->node, &buf->vm->zones);
	}
	mutex_unlock(&kvm->slots_lock);

	if (r)
		kfree(zone);
	return r;
}

static int mmio2_register(struct kvm *kvm,
			  const struct kvm_coalesced_mmio_zone2 *arg)
{
	struct file *file;
	int r;

	if (arg->pio > 1)
		return -EINVAL;
	file = fget(arg->buffer_fd);
	if (!file)
		return -EBADF;
	if (file->f_op == &mmio2_fops)
		r = mmio2_add_zone(kvm, file->private_data, arg);
	else
		r = -EINVAL;
	fput(file);
	return r;
}

/* The buffer behind fd if it is one of this VM's, with its file; or NULL. */
static struct kvm_mmio2_buffer *mmio2_get_buffer(struct kvm *kvm, u32 fd,
						 struct file **file)
{
	struct kvm_mmio2_buffer *buf;

	*file = fget(fd);
	if (!*file || (*file)->f_op != &mmio2_fops)
		return NULL;
	buf = (*file)->private_data;
	return READ_ONCE(buf->vm->kvm) == kvm ? buf : NULL;
}

/*
 * As posted, this always succeeds. buffer_fd narrows it to one buffer's zones;
 * callers of the posted interface may have left anything in there, so what is
 * no buffer of this VM means all of them.
 */
static int mmio2_unregister(struct kvm *kvm,
			    const struct kvm_coalesced_mmio_zone2 *arg)
{
	struct kvm_mmio2_zone *zone, *next;
	struct kvm_mmio2_buffer *buf;
	struct kvm_mmio2_vm *vm;
	struct file *file;

	if (arg->pio > 1)
		return -EINVAL;
	vm = mmio2_vm_of(kvm);
	if (!vm)
		return 0;

	buf = mmio2_get_buffer(kvm, arg->buffer_fd, &file);
	mutex_lock(&kvm->slots_lock);
	list_for_each_entry_safe(zone, next, &vm->zones, node) {
		if (zone->pio != arg->pio || (buf && zone->buf != buf) ||
		    !mmio2_zone_contains(zone, arg->addr, arg->size))
			continue;
		/* On failure no zone is left on this bus; next may be gone. */
		if (kvm_io_bus_unregister_dev(kvm, mmio2_bus(zone->pio),
					      &zone->dev))
			break;
	}
	mutex_unlock(&kvm->slots_lock);
	if (file)
		fput(file);
	return 0;
}

long kvm_mmio2_vm_ioctl(struct kvm *kvm, unsigned int ioctl, unsigned long arg)
{
	struct kvm_coalesced_mmio_zone2 zone;

	BUILD_BUG_ON(sizeof(zone) != 24);
	BUILD_BUG_ON(KVM_COALESCED_MMIO_MAX != 170);

	switch (ioctl) {
	case KVM_CREATE_COALESCED_MMIO_BUFFER:
		return mmio2_create_buffer(kvm);
	case KVM_REGISTER_COALESCED_MMIO2:
	case KVM_UNREGISTER_COALESCED_MMIO2:
		if (copy_from_user(&zone, (void __user *)arg, sizeof(zone)))
			return -EFAULT;
		if (ioctl == KVM_REGISTER_COALESCED_MMIO2)
			return mmio2_register(kvm, &zone);
		return mmio2_unregister(kvm, &zone);
	default:
		return -ENOIOCTLCMD;
	}
}
