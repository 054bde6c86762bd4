/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a client and the daemon ringd say to each other: messages on a SOCK_SEQPACKET socket, and the mailbox in shared
 * memory. All numbers are little endian; reserved fields are zero. docs/protocol.md specifies it in words.
 */
#ifndef RINGD_PROTOCOL_H
#define RINGD_PROTOCOL_H

#include <stddef.h>
#include <stdint.h>

#include <ringd/api.h>
#include <ringd/state.h>

RINGD_API_BEGIN

#define RINGD_PROTOCOL_MAGIC   0x31444752u /* "RGD1" */
#define RINGD_PROTOCOL_VERSION 1u

#define RINGD_MSG_DEVICES      16u   /* that a client may have */
#define RINGD_MSG_REGIONS      8u    /* that a device may have */
#define RINGD_MSG_IRQS         8u    /* interrupt lines of a device */
#define RINGD_MSG_FDS          12u   /* descriptors with a message */
#define RINGD_MSG_CONFIG_BYTES 256u  /* of a device's configuration */
#define RINGD_MSG_STATE_BYTES  8192u /* of a model's state */
#define RINGD_MSG_COUNTERS     16u
#define RINGD_CLIENT_BYTES     (2u * 1024u * 1024u) /* of memory files that a client has in use */
#define RINGD_CLIENT_FDS       80u                  /* that it has sent and that are in use */
#define RINGD_MSG_ALL          UINT32_MAX           /* DRAIN: every device */

enum ringd_msg_type {
    RINGD_MSG_HELLO = 1,
    RINGD_MSG_ADD,
    RINGD_MSG_REMOVE,
    RINGD_MSG_MAP,
    RINGD_MSG_UNMAP,
    RINGD_MSG_ACCESS,
    RINGD_MSG_DRAIN,
    RINGD_MSG_PAUSE,
    RINGD_MSG_RESUME,
    RINGD_MSG_RESET,
    RINGD_MSG_SAVE,
    RINGD_MSG_LOAD,
    RINGD_MSG_STATS,
    RINGD_MSG_MAILBOX,
    RINGD_MSG_TYPES /* one more than the last */
};

/* At the head of each message. A reply has the request's type and serial. */
struct ringd_msg {
    uint32_t type;
    uint32_t serial; /* the client's choice */
    int32_t status;  /* of a reply: 0, or -errno as on x86-64 Linux; of a request: 0 */
    uint32_t reserved;
};

struct ringd_msg_hello {
    struct ringd_msg head;
    uint32_t magic;
    uint16_t least, most; /* versions that the client speaks */
    uint64_t features;    /* that it would use: none are defined */
};

struct ringd_msg_hello_reply {
    struct ringd_msg head;
    uint32_t magic;
    uint16_t version; /* that is spoken from now on */
    uint16_t reserved;
    uint64_t features; /* of those asked for, the ones that hold */
    char server[32];   /* for people: name and version */
};

enum ringd_msg_add_flags {
    RINGD_ADD_RING_MEMFD = 1 << 0, /* ring and eventfd follow */
    RINGD_ADD_RING_KVM = 1 << 1,   /* an MMIO2 buffer follows */
    RINGD_ADD_STATE = 1 << 2,      /* the state's memfd follows */
    RINGD_ADD_NOTIFY = 1 << 3,     /* with the state: the eventfd for events and output */
    RINGD_ADD_PAUSED = 1 << 4,     /* the device starts paused */
};

struct ringd_msg_region {
    uint64_t addr; /* where it is mapped */
    uint32_t mapped;
    uint32_t reserved;
};

/* With descriptors, in this order: ring, its eventfd, state, notify, one eventfd for each bit of irq_mask from the
 * lowest on. */
struct ringd_msg_add {
    struct ringd_msg head;
    uint32_t device; /* the number that it shall have: below RINGD_MSG_DEVICES, not in use */
    uint32_t flags;
    uint32_t irq_mask;
    uint32_t config_bytes;
    char type[16]; /* "rtc", ends with a zero byte */
    struct ringd_msg_region regions[RINGD_MSG_REGIONS];
    uint8_t config[RINGD_MSG_CONFIG_BYTES];
};

struct ringd_msg_add_reply {
    struct ringd_msg head;
    uint32_t regions;     /* how many it has */
    uint32_t posted;      /* bit n: writes to region n may be posted */
    uint32_t state_bytes; /* of the model's state; also with -ENOSPC */
    uint32_t resumed;     /* 1: it goes on from a committed state */
};

/* REMOVE, DRAIN (or RINGD_MSG_ALL), SAVE, STATS. */
struct ringd_msg_device {
    struct ringd_msg head;
    uint32_t device;
    uint32_t reserved;
};

/* MAP, UNMAP (addr 0). */
struct ringd_msg_map {
    struct ringd_msg head;
    uint32_t device;
    uint32_t region;
    uint64_t addr;
};

struct ringd_msg_access {
    struct ringd_msg head;
    uint32_t device;
    uint8_t region, width, write, slot;
    uint64_t sequence;
    uint64_t offset;
    uint64_t value;
};

struct ringd_msg_access_reply {
    struct ringd_msg head;
    uint64_t value;
};

/* LOAD, and the reply to SAVE; `state` is cut to its `bytes`. */
struct ringd_msg_state {
    struct ringd_msg head;
    uint32_t device;
    uint32_t bytes;
    uint64_t time; /* of the machine, ns */
    uint8_t state[RINGD_MSG_STATE_BYTES];
};

struct ringd_msg_counter {
    char name[24];
    uint64_t value;
};

struct ringd_msg_stats {
    struct ringd_msg head;
    uint64_t entries, entries_vcpu, batches, batch_max, bad, full_exits; /* as struct ringd_ring_stats */
    uint64_t wakeups, wakeups_wasted, looks, looks_empty;
    uint64_t latency_count, latency_p50, latency_p99, latency_max; /* ns */
    uint64_t accesses;                                             /* by socket and by mailbox */
    uint32_t counters;                                             /* how many follow that mean something */
    uint32_t reserved;
    struct ringd_msg_counter counter[RINGD_MSG_COUNTERS];
};

/* ---- the mailbox ---- */

/* One request of one vCPU at a time. */
struct ringd_mail {
    /* Its number: the one before and 1, the low half never 0; stored last, with release order. 0: none, while the
     * client fills the slot, or when it has given up. */
    uint64_t request;
    uint32_t device;
    uint8_t region, width, write, reserved;
    uint64_t offset;
    uint64_t value;
    uint64_t result;   /* of a read */
    int32_t status;    /* 0, or -errno */
    uint32_t done;     /* the low half of `request` when it has been answered; a futex. Stored with release order */
    uint32_t sleeping; /* the client waits on `done` and wants to be woken */
    uint32_t begun;    /* the low half of the `request` that the daemon begins with, unless it has been taken back */
    uint32_t reserved2[2];
};

/* The file: a memfd of exactly this size, sealed against shrinking and growing, its pages allocated. */
struct ringd_mailbox {
    uint64_t pending; /* bit n: slot n has a request. Set by the client after `request`, taken by the daemon */
    uint32_t wanted;  /* 1: the daemon sleeps, whoever sets a bit takes this back and signals the doorbell */
    uint32_t reserved[1021];
    struct ringd_mail slots[RINGD_ACCESS_SLOTS];
};

/* ---- devices ---- */

/* Events of the types below, beside enum ringd_event. */
enum ringd_daemon_event {
    RINGD_EVENT_PCI_WINDOW = 16, /* address (bits 51:0), decoded (52), window (55:53), device and function (63:56) */
    RINGD_EVENT_PCI_PAM,         /* PAM0 to PAM6, from the lowest byte on */
    RINGD_EVENT_PCI_PIRQ,        /* PIRQRCA to PIRQRCD, from the lowest byte on */
    RINGD_EVENT_NVRAM,           /* index (bits 15:8) and value (7:0) of a byte that the guest wrote */
};

/* Configurations. One of no bytes is the default: all zeroes. */
struct ringd_config_rtc { /* "rtc" */
    uint8_t base;         /* 0 UTC, 1 UTC and utc_offset_s, 2 base_ns */
    uint8_t clock;        /* 0 the host's, 1 the machine's */
    uint8_t lost_ticks;   /* 0 discarded, 1 slewed */
    uint8_t century;      /* index; 0: 0x32 */
    int32_t utc_offset_s;
    int64_t base_ns;
    uint8_t nvram[128];
};

struct ringd_config_pci { /* "pci-host" */
    uint32_t functions;   /* bit 0: 82441FX at 00:00.0, 1: PIIX3 at 00:01.0, 2: PIIX4 PM at 00:01.3 */
};

struct ringd_config_console { /* "debug-console" */
    uint8_t readback;         /* 0: 0xE9 */
};

#ifndef __cplusplus
_Static_assert(sizeof(struct ringd_msg) == 16, "as specified");
_Static_assert(sizeof(struct ringd_msg_hello) == 32, "as specified");
_Static_assert(sizeof(struct ringd_msg_hello_reply) == 64, "as specified");
_Static_assert(sizeof(struct ringd_msg_add) == 432, "as specified");
_Static_assert(sizeof(struct ringd_msg_access) == 48, "as specified");
_Static_assert(sizeof(struct ringd_mail) == 64, "a cache line");
_Static_assert(offsetof(struct ringd_mailbox, slots) == 4096, "as specified");
_Static_assert(sizeof(struct ringd_mailbox) == 8192, "as specified");
#endif

RINGD_API_END
#endif
