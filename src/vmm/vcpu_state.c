/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The state of a vCPU at power-on, and its CPUID. KVM makes a vCPU in that state, so it is read right after creation
 * and written back for a reset: nothing has to be known about what the host's KVM thinks a reset is.
 */
#include <errno.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "vmm/boot_load.h"
#include "vmm/cpuid.h"
#include "vmm/hyperv.h"
#include "vmm/vcpu.h"

#define MAX_MSRS     512u
#define MSR_TSC      0x10u
#define XSAVE_LEGACY 4096u

struct vcpu_state {
    struct kvm_regs regs;
    struct kvm_sregs sregs;
    struct kvm_debugregs debugregs;
    struct kvm_xcrs xcrs;
    struct kvm_vcpu_events events;
    struct kvm_lapic_state lapic;
    struct kvm_mp_state mp_state;
    struct kvm_xsave *xsave;
    struct kvm_msrs *msrs;
};

static int get(const struct vcpu *vcpu, unsigned long request, void *data)
{
    return ioctl(vcpu->fd, request, data) < 0 ? -errno : 0;
}

/* Which synthetic MSRs a vCPU has: what CPUID names where KVM can be told so, else all that KVM has. */
static int enable_hyperv(const struct vcpu *vcpu)
{
    unsigned features = vcpu->vm->cpu_model->hyperv;
    struct kvm_enable_cap enforce = {.cap = KVM_CAP_HYPERV_ENFORCE_CPUID, .args = {1}};
    struct kvm_enable_cap synic = {.cap = KVM_CAP_HYPERV_SYNIC2};
    if (!features)
        return 0;
    if (ioctl(vcpu->vm->kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_HYPERV_ENFORCE_CPUID) > 0 &&
        ioctl(vcpu->fd, KVM_ENABLE_CAP, &enforce) < 0)
        return -errno;
    return features & HYPERV_SYNIC ? get(vcpu, KVM_ENABLE_CAP, &synic) : 0;
}

int vcpu_set_cpuid(struct vcpu *vcpu)
{
    struct cpuid_table *table = malloc(sizeof(*table));
    if (!table)
        return -ENOMEM;
    int ret = cpuid_build(vcpu->vm->cpu_model, vcpu->id, table);
    ret = ret ? ret : get(vcpu, KVM_SET_CPUID2, table);
    free(table);
    return ret ? ret : enable_hyperv(vcpu);
}

struct msr_range {
    uint32_t first, last;
};

/* What KVM's list leaves out. Types of memory (Intel SDM vol. 3A, 12.11.2): the variable ranges, the fixed ones, and
 * the default; MSR_PAT is in the list. */
static const struct msr_range mtrrs[] = {
    {0x200, 0x20f}, {0x250, 0x250}, {0x258, 0x259}, {0x268, 0x26f}, {0x2ff, 0x2ff}};
/* Hyper-V's (TLFS, "MSR Reference"): message and event pages, interrupt sources, and timers but the first one's
 * configuration. */
static const struct msr_range hyperv_msrs[] = {
    {0x40000082, 0x40000083}, {0x40000090, 0x4000009f}, {0x400000b0, 0x400000b7}};

static void save_msr(const struct vcpu *vcpu, struct vcpu_state *state, uint32_t index)
{
    struct {
        struct kvm_msrs head;
        struct kvm_msr_entry entry;
    } one = {.head.nmsrs = 1, .entry.index = index};
    if (state->msrs->nmsrs < MAX_MSRS && ioctl(vcpu->fd, KVM_GET_MSRS, &one) == 1)
        state->msrs->entries[state->msrs->nmsrs++] = one.entry;
}

static void save_msr_ranges(const struct vcpu *vcpu, struct vcpu_state *state, const struct msr_range *ranges,
                            unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        for (uint32_t index = ranges[i].first; index <= ranges[i].last; index++)
            save_msr(vcpu, state, index);
}

static int save_msrs(struct vcpu *vcpu, struct vcpu_state *state)
{
    struct kvm_msr_list *list = calloc(1, sizeof(*list) + MAX_MSRS * sizeof(list->indices[0]));
    state->msrs = calloc(1, sizeof(*state->msrs) + MAX_MSRS * sizeof(state->msrs->entries[0]));
    int ret = list && state->msrs ? 0 : -ENOMEM;
    if (!ret) {
        list->nmsrs = MAX_MSRS;
        ret = ioctl(vcpu->vm->kvm_fd, KVM_GET_MSR_INDEX_LIST, list) < 0 ? -errno : 0;
    }
    /* One at a time: the list names MSRs that this CPU's CPUID does not have, and KVM stops at the first of those. */
    for (unsigned i = 0; !ret && i < list->nmsrs; i++) {
        if (list->indices[i] != MSR_TSC) /* see renew_tsc() */
            save_msr(vcpu, state, list->indices[i]);
    }
    if (!ret)
        save_msr_ranges(vcpu, state, mtrrs, sizeof(mtrrs) / sizeof(mtrrs[0]));
    if (!ret && (vcpu->vm->cpu_model->hyperv & HYPERV_SYNIC))
        save_msr_ranges(vcpu, state, hyperv_msrs, sizeof(hyperv_msrs) / sizeof(hyperv_msrs[0]));
    free(list);
    return ret;
}

int vcpu_state_save(struct vcpu *vcpu)
{
    struct vcpu_state *state = calloc(1, sizeof(*state));
    if (!state)
        return -ENOMEM;
    vcpu->power_on = state;
    int size = ioctl(vcpu->vm->fd, KVM_CHECK_EXTENSION, KVM_CAP_XSAVE2);
    state->xsave = calloc(1, size > (int)XSAVE_LEGACY ? (size_t)size : XSAVE_LEGACY);
    if (!state->xsave)
        return -ENOMEM;
    int ret = get(vcpu, KVM_GET_REGS, &state->regs);
    ret = ret ? ret : get(vcpu, KVM_GET_SREGS, &state->sregs);
    ret = ret ? ret : get(vcpu, KVM_GET_DEBUGREGS, &state->debugregs);
    ret = ret ? ret : get(vcpu, KVM_GET_XCRS, &state->xcrs);
    ret = ret ? ret : get(vcpu, KVM_GET_VCPU_EVENTS, &state->events);
    ret = ret ? ret : get(vcpu, KVM_GET_LAPIC, &state->lapic);
    ret = ret ? ret : get(vcpu, KVM_GET_MP_STATE, &state->mp_state);
    ret = ret ? ret : get(vcpu, size > (int)XSAVE_LEGACY ? KVM_GET_XSAVE2 : KVM_GET_XSAVE, state->xsave);
    return ret ? ret : save_msrs(vcpu, state);
}

void vcpu_state_free(struct vcpu *vcpu)
{
    if (!vcpu->power_on)
        return;
    free(vcpu->power_on->xsave);
    free(vcpu->power_on->msrs);
    free(vcpu->power_on);
}

/* SET_MSRS stops at the first that it refuses (a read-only one, say) and tells how far it came: go on behind it. */
static void restore_msrs(const struct vcpu *vcpu, const struct kvm_msrs *msrs)
{
    struct kvm_msrs *rest = malloc(sizeof(*rest) + msrs->nmsrs * sizeof(rest->entries[0]));
    if (!rest)
        return;
    for (unsigned done = 0; done < msrs->nmsrs;) {
        rest->nmsrs = msrs->nmsrs - done;
        memcpy(rest->entries, &msrs->entries[done], rest->nmsrs * sizeof(rest->entries[0]));
        int set = ioctl(vcpu->fd, KVM_SET_MSRS, rest);
        done += set < 0 ? 1 : (unsigned)set + 1;
    }
    free(rest);
}

/*
 * The TSC counts on from where it would be if the guest had never written it, on all vCPUs alike: that is what KVM
 * makes of a zero from us (arch/x86/kvm/x86.c, kvm_synchronize_tsc()). What the guest has put into TSC or TSC_ADJUST
 * stays in the difference to the host's TSC else, also when TSC_ADJUST reads zero again.
 */
static void renew_tsc(const struct vcpu *vcpu)
{
    struct {
        struct kvm_msrs head;
        struct kvm_msr_entry entry;
    } tsc = {.head.nmsrs = 1, .entry.index = MSR_TSC};
    (void)ioctl(vcpu->fd, KVM_SET_MSRS, &tsc);
}

/*
 * On SVM a triple fault clears the VMCB, the root of the nested page tables with it, and KVM loads that again only when
 * its MMU has been reset; with paging off nothing resets it (arch/x86/kvm/svm/svm.c, shutdown_interception();
 * arch/x86/kvm/x86.c, kvm_vcpu_reset()), and the vCPU would fault for ever at its first fetch. A CR4 that differs in a
 * paging bit makes KVM_SET_SREGS reset it.
 */
static int renew_mmu(const struct vcpu *vcpu, const struct kvm_sregs *power_on)
{
    const uint64_t cr4_pae = 1u << 5;
    struct kvm_sregs other = *power_on;
    other.cr4 ^= cr4_pae;
    return get(vcpu, KVM_SET_SREGS, &other);
}

int vcpu_state_restore(struct vcpu *vcpu)
{
    struct vcpu_state *state = vcpu->power_on;
    int ret = renew_mmu(vcpu, &state->sregs);
    ret = ret ? ret : get(vcpu, KVM_SET_SREGS, &state->sregs);
    ret = ret ? ret : get(vcpu, KVM_SET_REGS, &state->regs);
    ret = ret ? ret : get(vcpu, KVM_SET_DEBUGREGS, &state->debugregs);
    ret = ret ? ret : get(vcpu, KVM_SET_XCRS, &state->xcrs);
    ret = ret ? ret : get(vcpu, KVM_SET_XSAVE, state->xsave);
    if (!ret) {
        restore_msrs(vcpu, state->msrs);
        renew_tsc(vcpu);
    }
    ret = ret ? ret : get(vcpu, KVM_SET_LAPIC, &state->lapic);
    ret = ret ? ret : get(vcpu, KVM_SET_VCPU_EVENTS, &state->events);
    return ret ? ret : get(vcpu, KVM_SET_MP_STATE, &state->mp_state);
}

/* Intel SDM vol. 3A: CR0 and CR4 in 2.5, EFER in 2.2.1, segment types in 3.4.5.1 and 3.5. */
#define CR0_PE   (UINT64_C(1) << 0)
#define CR0_ET   (UINT64_C(1) << 4) /* always one */
#define CR0_PG   (UINT64_C(1) << 31)
#define CR4_PAE  (UINT64_C(1) << 5)
#define EFER_LME (UINT64_C(1) << 8)
#define EFER_LMA (UINT64_C(1) << 10)

#define TYPE_DATA     3u /* read, write, accessed */
#define TYPE_TSS_BUSY 11u
#define TYPE_CODE     11u /* execute, read, accessed */
#define RFLAGS_ALWAYS 2u  /* bit 1 is one */

int vcpu_enter(struct vcpu *vcpu, const struct boot_entry *entry)
{
    struct kvm_sregs sregs;
    struct kvm_regs regs;
    int ret = get(vcpu, KVM_GET_SREGS, &sregs);
    ret = ret ? ret : get(vcpu, KVM_GET_REGS, &regs);
    if (ret)
        return ret;
    const struct kvm_segment data = {
        .limit = UINT32_MAX, .selector = BOOT_DATA, .type = TYPE_DATA, .present = 1, .db = 1, .s = 1, .g = 1};
    sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = data;
    sregs.cs = data;
    sregs.cs.selector = BOOT_CODE;
    sregs.cs.type = TYPE_CODE;
    sregs.cs.l = entry->long_mode;
    sregs.cs.db = !entry->long_mode;
    sregs.tr = (struct kvm_segment){.limit = 0x67, .selector = BOOT_TSS, .type = TYPE_TSS_BUSY, .present = 1};
    sregs.gdt = (struct kvm_dtable){.base = BOOT_GDT, .limit = BOOT_GDT_SIZE - 1};
    sregs.idt = (struct kvm_dtable){0}; /* an exception is a triple fault until the kernel has a table */
    sregs.cr0 = CR0_PE | CR0_ET;        /* at power-on the caches are off (CD, NW) */
    if (entry->long_mode) {
        sregs.cr0 |= CR0_PG;
        sregs.cr3 = BOOT_PAGE_TABLES;
        sregs.cr4 |= CR4_PAE;
        sregs.efer |= EFER_LME | EFER_LMA;
    }
    regs.rip = entry->rip;
    regs.rax = entry->rax;
    regs.rbx = entry->rbx;
    regs.rsi = entry->rsi;
    regs.rflags = RFLAGS_ALWAYS;
    ret = get(vcpu, KVM_SET_SREGS, &sregs);
    return ret ? ret : get(vcpu, KVM_SET_REGS, &regs);
}
