/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * MC146818A real-time clock. "Data sheet" is Motorola's MC146818A; register and bit names are its own.
 *
 * Theory of operation
 *
 * The time bytes are counters kept in the guest's own format. Nothing runs to count them: each access that could tell
 * first brings the chip up to date (sync_chain, sync_periodic), by arithmetic, however long that was ago.
 *
 * - The divider chain is one number, next_edge: when the next update comes, on the chosen clock (host's or VM's). A
 *   clock that stands s seconds past it means s updates; s is negative when the host's clock was stepped back, and the
 *   counters go back. A second that is not over changes no byte: what the guest wrote stays as written until then.
 * - Periodic ticks lie on a grid that starts when the rate is set: tick k is due k periods later, on the VM's clock.
 *   `seen` is the last tick accounted for, so the number of new ones is a subtraction.
 * - Flags PF, AF and UF follow from both. A timer is set only for a flag that is clear and whose interrupt is enabled:
 *   it turns the passing of time into an interrupt, never into state. A guest that enables nothing costs no wake-up.
 *
 * A reading of the time takes several accesses, and a vCPU may be off its CPU between any two. So they are answered
 * from one snapshot: see read_time().
 */
#include <ringd/models/mc146818.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "devices/mc146818_time.h"
#include "devices/state.h"

#define NS_PER_S        INT64_C(1000000000)
#define SECONDS_PER_DAY 86400u

/* Data sheet, "Update cycle": t_BUC, how long UIP is set before the update. */
#define UIP_NS INT64_C(244000)
/* Data sheet, register A, DV: the first update after the divider's reset is half a second away. */
#define FIRST_UPDATE_NS (NS_PER_S / 2)
/* A snapshot is never used longer, so no byte shown is older than the clock's own resolution. */
#define SNAPSHOT_NS UINT64_C(1000000000)
/* The alarm's timer runs on the VM's clock but the alarm may be due on the host's: a step is noticed this soon. */
#define HOST_LOOK_NS UINT64_C(10000000000)
/* An update timer that came before its edge (the host's clock runs slow) asks again no sooner than this. */
#define RETRY_NS UINT64_C(100000)
/* Ticks owed to the guest, in seconds' worth of them: more is a machine that was stopped, not one that was late. */
#define OWED_MAX_S 20u
/* The host's clock is taken as this far from 1970 at most (1824 to 2116), so that differences fit an int64_t. */
#define CLOCK_MAX ((INT64_C(1) << 62) - 4 * NS_PER_S)

#define STATE_WORD  STATE_VERSION('R', 'T', 1)
#define STATE_BYTES (4 + 4 + 128 + 2 + 2 * 8 + 2 + 4 * 8 + 6 * 8 + TIME_BYTES + 2 + 8)

enum timer { TIMER_PERIODIC, TIMER_UPDATE, TIMERS };

struct mc146818 {
    const struct ringd_env *env;
    enum mc146818_clock clock;
    enum mc146818_lost_ticks lost_ticks;
    void (*nvram_written)(void *ctx, unsigned index, uint8_t value);
    void *nvram_ctx;

    struct mc146818_time time; /* its REG_A is without UIP, REG_C without IRQF */
    uint8_t index;
    bool nmi_masked;
    bool irq;
    uint64_t deadline[TIMERS];

    int64_t chain;     /* the divider's clock as of the last sync_chain() */
    int64_t next_edge; /* when it makes the next update; past `chain` by a second at most */
    bool replan;       /* the update timer's deadline has to be worked out again */

    unsigned hz;          /* of the periodic interrupt, 0: none */
    uint64_t grid_base;   /* now() when hz was set */
    uint64_t seen;        /* ticks of this grid accounted for */
    uint64_t next_tick;   /* when the one after them is due, RINGD_NEVER without a rate */
    uint64_t owed;        /* the newest of them, which the guest has still to get (SLEW) */
    uint64_t slew_at;     /* when the next owed tick may be raised, RINGD_NEVER: after a REG_C read */
    uint64_t quiet_until; /* now() up to which sync() would find nothing new */
    uint64_t due, delivered, coalesced, late, discarded, converted;

    uint8_t snapshot[TIME_BYTES];
    uint8_t snapshot_used; /* fields read from it */
    bool snapshot_open;
    uint64_t snapshot_at; /* now() when it was taken */
};

static int64_t floor_div(int64_t a, int64_t b)
{
    return a / b - (a % b < 0);
}

/* ---- updates ---- */

static bool chain_runs(const struct mc146818 *rtc)
{
    return (rtc->time.cmos[REG_A] & A_DV) <= A_32768HZ;
}

static bool updates_run(const struct mc146818 *rtc)
{
    return chain_runs(rtc) && !(rtc->time.cmos[REG_B] & B_SET);
}

static int64_t read_clock(const struct mc146818 *rtc)
{
    if (rtc->clock == MC146818_CLOCK_VM) {
        uint64_t now = rtc->env->ops->now(rtc->env);
        return now < (uint64_t)CLOCK_MAX ? (int64_t)now : CLOCK_MAX;
    }
    int64_t wall = rtc->env->ops->wall(rtc->env);
    return wall < -CLOCK_MAX ? -CLOCK_MAX : wall > CLOCK_MAX ? CLOCK_MAX : wall;
}

/* Makes all updates since the last call. SET holds the counters; the divider runs on and keeps its phase. */
static void sync_chain(struct mc146818 *rtc)
{
    rtc->chain = read_clock(rtc);
    if (!chain_runs(rtc) || (rtc->chain < rtc->next_edge && rtc->next_edge - rtc->chain <= NS_PER_S))
        return; /* nearly always: the second has not ended */
    int64_t updates = floor_div(rtc->chain - rtc->next_edge, NS_PER_S) + 1;
    if (!updates)
        return;
    rtc->next_edge += updates * NS_PER_S;
    rtc->replan = true;
    if (!updates_run(rtc))
        return;
    if (updates > 0) {
        unsigned to_alarm = mc146818_time_to_alarm(&rtc->time);
        rtc->time.cmos[REG_C] |= C_UF;
        if (to_alarm && updates >= to_alarm)
            rtc->time.cmos[REG_C] |= C_AF;
    }
    mc146818_time_advance(&rtc->time, updates);
}

static void set_timer(struct mc146818 *rtc, enum timer timer, uint64_t deadline)
{
    if (rtc->deadline[timer] == deadline)
        return;
    rtc->deadline[timer] = deadline;
    rtc->env->ops->timer_set(rtc->env, timer, deadline);
}

/* Sets the timer for the next update or alarm that changes the interrupt, no sooner than `least_ns` from now. */
static void plan_update(struct mc146818 *rtc, uint64_t least_ns)
{
    unsigned lacking = rtc->time.cmos[REG_B] & ~rtc->time.cmos[REG_C] & (B_UIE | B_AIE);
    unsigned updates = 0;
    if (updates_run(rtc) && lacking)
        updates = lacking & B_UIE ? 1 : mc146818_time_to_alarm(&rtc->time);
    rtc->replan = false;
    if (!updates) {
        set_timer(rtc, TIMER_UPDATE, RINGD_NEVER);
        return;
    }
    uint64_t wait = (uint64_t)(rtc->next_edge - rtc->chain) + (uint64_t)(updates - 1) * (uint64_t)NS_PER_S;
    if (rtc->clock == MC146818_CLOCK_HOST && wait > HOST_LOOK_NS)
        wait = HOST_LOOK_NS;
    set_timer(rtc, TIMER_UPDATE, rtc->env->ops->now(rtc->env) + (wait > least_ns ? wait : least_ns));
}

/* ---- periodic ticks ---- */

/* Data sheet, table "Periodic interrupt rate", column 32.768 kHz: rates 1 and 2 repeat 8 and 9. */
static unsigned rate_hz(const struct mc146818 *rtc)
{
    unsigned rate = rtc->time.cmos[REG_A] & A_RS;
    if (!rate || !chain_runs(rtc))
        return 0;
    return 32768u >> ((rate < 3 ? rate + 7 : rate) - 1);
}

/* The number of ticks due by `now`, and when tick `tick` is: each the exact inverse of the other, to the nanosecond. */
static uint64_t ticks_by(const struct mc146818 *rtc, uint64_t now)
{
    const uint64_t ns = (uint64_t)NS_PER_S;
    uint64_t elapsed = now > rtc->grid_base ? now - rtc->grid_base : 0;
    return elapsed / ns * rtc->hz + elapsed % ns * rtc->hz / ns;
}

static uint64_t tick_time(const struct mc146818 *rtc, uint64_t tick)
{
    const uint64_t ns = (uint64_t)NS_PER_S;
    return rtc->grid_base + tick / rtc->hz * ns + (tick % rtc->hz * ns + rtc->hz - 1) / rtc->hz;
}

static void discard_owed(struct mc146818 *rtc, uint64_t keep)
{
    if (rtc->owed <= keep)
        return;
    rtc->discarded += rtc->owed - keep;
    rtc->owed = keep;
}

/* Sets PF for the oldest tick owed. Ticks owed are the last `owed` of those seen, as they leave in their order. */
static void deliver_tick(struct mc146818 *rtc, uint64_t now)
{
    rtc->late += rtc->owed > rtc->seen || now > tick_time(rtc, rtc->seen - rtc->owed + 2);
    rtc->owed--;
    rtc->delivered++;
    rtc->slew_at = RINGD_NEVER;
    rtc->time.cmos[REG_C] |= C_PF;
}

/* Accounts for the ticks that have become due, and for an owed one whose time has come. */
static void sync_periodic(struct mc146818 *rtc, uint64_t now)
{
    if (now < rtc->next_tick && !rtc->owed)
        return;
    if (!rtc->hz)
        return;
    uint64_t ticks = ticks_by(rtc, now);
    uint64_t fresh = ticks > rtc->seen ? ticks - rtc->seen : 0;
    rtc->seen += fresh;
    rtc->next_tick = tick_time(rtc, rtc->seen + 1);
    if (!(rtc->time.cmos[REG_B] & B_PIE)) {
        if (fresh)
            rtc->time.cmos[REG_C] |= C_PF;
        return;
    }
    rtc->due += fresh;
    rtc->owed += fresh;
    if (rtc->time.cmos[REG_C] & C_PF) {
        rtc->coalesced += fresh;
    } else if (fresh) {
        rtc->coalesced += fresh - 1;
        deliver_tick(rtc, now);
    } else if (rtc->owed && rtc->slew_at <= now) {
        deliver_tick(rtc, now);
    }
    discard_owed(rtc, rtc->lost_ticks == MC146818_LOST_SLEW ? (uint64_t)OWED_MAX_S * rtc->hz : 0);
}

static void plan_periodic(struct mc146818 *rtc)
{
    uint64_t deadline = RINGD_NEVER;
    if (rtc->hz && rtc->time.cmos[REG_B] & B_PIE && !(rtc->time.cmos[REG_C] & C_PF)) {
        deadline = rtc->next_tick;
        if (rtc->owed && rtc->slew_at < deadline)
            deadline = rtc->slew_at;
    }
    set_timer(rtc, TIMER_PERIODIC, deadline);
}

static void plan_slew(struct mc146818 *rtc, uint64_t now)
{
    rtc->slew_at = rtc->owed ? now + (uint64_t)NS_PER_S / rtc->hz / 2 : RINGD_NEVER;
}

/* Starts a new grid at `now`. What is owed is time to the guest, so it is converted to ticks of the new length. */
static void start_grid(struct mc146818 *rtc, unsigned hz, uint64_t now)
{
    if (!hz)
        discard_owed(rtc, 0);
    if (rtc->owed) {
        uint64_t owed = rtc->owed * hz / rtc->hz;
        rtc->converted += rtc->owed;
        rtc->due += owed;
        rtc->owed = owed;
    }
    rtc->hz = hz;
    rtc->grid_base = now;
    rtc->seen = 0;
    rtc->next_tick = hz ? tick_time(rtc, 1) : RINGD_NEVER;
    if (rtc->slew_at != RINGD_NEVER)
        plan_slew(rtc, now);
}

/* ---- accesses ---- */

/* By the host's clock an update can also come early, when that is stepped; read_c() then tells of it a second late. */
static uint64_t quiet_until(const struct mc146818 *rtc, uint64_t now)
{
    uint64_t edge = chain_runs(rtc) ? now + (uint64_t)(rtc->next_edge - rtc->chain) : RINGD_NEVER;
    return edge < rtc->next_tick ? edge : rtc->next_tick;
}

static uint64_t sync(struct mc146818 *rtc)
{
    uint64_t now = rtc->env->ops->now(rtc->env);
    sync_chain(rtc);
    sync_periodic(rtc, now);
    rtc->quiet_until = quiet_until(rtc, now);
    return now;
}

/* Ends each operation: the interrupt line and the timers follow the registers. */
static void settle(struct mc146818 *rtc)
{
    bool irq = rtc->time.cmos[REG_B] & rtc->time.cmos[REG_C] & (C_PF | C_AF | C_UF);
    if (irq != rtc->irq) {
        rtc->irq = irq;
        rtc->env->ops->irq_set(rtc->env, 0, irq);
    }
    plan_periodic(rtc);
    if (rtc->replan)
        plan_update(rtc, 0);
}

static void take_snapshot(struct mc146818 *rtc, uint64_t now)
{
    for (unsigned i = 0; i < TIME_BYTES; i++)
        rtc->snapshot[i] = rtc->time.cmos[rtc->time.bytes[i]];
    rtc->snapshot_used = 0;
    rtc->snapshot_at = now;
    rtc->snapshot_open = true;
}

/*
 * A guest reads the time as: REG_A until UIP is clear, then each byte once, within the 244 us that the data sheet
 * grants it; or without REG_A each byte, and all again to compare. A vCPU that loses its CPU in between breaks that
 * promise, not the guest. So bytes come from one snapshot, taken when REG_A showed UIP clear or else when the first
 * byte is read. It ends when the guest asks for news: a byte read for the second time, REG_A, REG_C that reports an
 * update, any write to the clock; and after SNAPSHOT_NS. Hence a reading never tears, and polling a byte always shows
 * it move.
 */
static uint8_t read_time(struct mc146818 *rtc, int field, uint64_t now)
{
    unsigned bit = 1u << field;
    if (!rtc->snapshot_open || rtc->snapshot_used & bit || now - rtc->snapshot_at >= SNAPSHOT_NS)
        take_snapshot(rtc, now);
    rtc->snapshot_used |= (uint8_t)bit;
    return rtc->snapshot[field];
}

static uint8_t read_a(struct mc146818 *rtc, uint64_t now)
{
    bool uip = updates_run(rtc) && rtc->next_edge - rtc->chain <= UIP_NS;
    rtc->snapshot_open = false;
    if (!uip)
        take_snapshot(rtc, now);
    return (uint8_t)(rtc->time.cmos[REG_A] | (uip ? A_UIP : 0));
}

static uint8_t read_c(struct mc146818 *rtc, uint64_t now)
{
    uint8_t flags = rtc->time.cmos[REG_C];
    bool irq = flags & rtc->time.cmos[REG_B] & (C_PF | C_AF | C_UF);
    rtc->time.cmos[REG_C] = 0;
    if (flags & C_PF)
        plan_slew(rtc, now);
    if (flags & (C_AF | C_UF))
        rtc->replan = true;
    if (flags & C_UF)
        rtc->snapshot_open = false;
    return (uint8_t)(flags | (irq ? C_IRQF : 0));
}

/*
 * A guest that ticks by the periodic interrupt reads REG_C after each, and most often that is all there is to know: the
 * flags that are set already. Then the time need not be asked for, which would cost more than all the rest.
 */
static bool read_c_knows(const struct mc146818 *rtc)
{
    return !rtc->owed && !rtc->replan && !(rtc->time.cmos[REG_C] & (C_AF | C_UF)) &&
           rtc->env->ops->before(rtc->env, rtc->quiet_until);
}

static __attribute__((noinline)) uint8_t read_data(struct mc146818 *rtc)
{
    bool control = rtc->index >= REG_A && rtc->index <= REG_D;
    int field = control ? -1 : mc146818_time_byte(&rtc->time, rtc->index);
    if (field < 0 && rtc->index != REG_A && rtc->index != REG_C)
        return rtc->time.cmos[rtc->index];
    bool known = rtc->index == REG_C && read_c_knows(rtc);
    uint64_t now = known ? 0 : sync(rtc);
    uint8_t value;
    if (field >= 0)
        value = read_time(rtc, field, now);
    else
        value = rtc->index == REG_A ? read_a(rtc, now) : read_c(rtc, now);
    settle(rtc);
    return value;
}

static void write_a(struct mc146818 *rtc, uint8_t value, uint64_t now)
{
    bool ran = chain_runs(rtc);
    rtc->time.cmos[REG_A] = value & (A_DV | A_RS);
    if (!ran && chain_runs(rtc))
        rtc->next_edge = rtc->chain + FIRST_UPDATE_NS;
    if (rate_hz(rtc) != rtc->hz)
        start_grid(rtc, rate_hz(rtc), now);
}

/*
 * The data sheet wants the bytes written anew when DM or 24/12 change, which guests do under SET: so there they stay as
 * they are. A guest that changes the format of a running clock gets the same time in the new one.
 */
static void write_b(struct mc146818 *rtc, uint8_t value)
{
    uint8_t old = rtc->time.cmos[REG_B];
    if (value & B_SET)
        value &= (uint8_t)~B_UIE;
    if (!(value & B_PIE))
        discard_owed(rtc, 0);
    if ((old | value) & B_SET)
        rtc->time.cmos[REG_B] = value;
    else
        mc146818_time_reformat(&rtc->time, value);
}

static __attribute__((noinline)) void write_data(struct mc146818 *rtc, uint8_t value)
{
    unsigned reg = rtc->index;
    if (reg == REG_C || reg == REG_D)
        return;
    if (reg >= NVRAM && mc146818_time_byte(&rtc->time, reg) < 0) {
        rtc->time.cmos[reg] = value;
        if (rtc->nvram_written)
            rtc->nvram_written(rtc->nvram_ctx, reg, value);
        return;
    }
    uint64_t now = sync(rtc);
    if (reg == REG_A)
        write_a(rtc, value, now);
    else if (reg == REG_B)
        write_b(rtc, value);
    else
        rtc->time.cmos[reg] = value;
    rtc->snapshot_open = false;
    rtc->replan = true;
    rtc->quiet_until = 0;
    settle(rtc);
}

static uint64_t mc146818_read(void *self, unsigned region, uint64_t offset, unsigned width)
{
    const struct mc146818 *rtc = self;
    (void)offset;
    (void)width;
    if (region != MC146818_DATA)
        return 0xff; /* on a PC the index latch cannot be read back */
    if (rtc->index == REG_C && !rtc->time.cmos[REG_C] && read_c_knows(rtc))
        return 0; /* and nothing changes by it */
    return read_data(self);
}

static void mc146818_write(void *self, unsigned region, uint64_t offset, unsigned width, uint64_t value)
{
    struct mc146818 *rtc = self;
    (void)offset;
    (void)width;
    if (region == MC146818_DATA) {
        write_data(rtc, (uint8_t)value);
        return;
    }
    rtc->index = value & INDEX_MASK;
    rtc->nmi_masked = value & INDEX_NMI;
}

static void mc146818_timer(void *self, unsigned timer)
{
    struct mc146818 *rtc = self;
    int64_t edge = rtc->next_edge;
    if (sync(rtc) >= rtc->deadline[timer]) /* else it was a deadline since replaced, and the new one stands */
        rtc->deadline[timer] = RINGD_NEVER;
    if (timer == TIMER_UPDATE)
        plan_update(rtc, rtc->next_edge == edge ? RETRY_NS : 0);
    settle(rtc);
}

/* Data sheet, RESET pin: enables and flags are cleared; time, alarm, rate and RAM are not. */
static void mc146818_reset(void *self)
{
    struct mc146818 *rtc = self;
    sync(rtc);
    discard_owed(rtc, 0);
    rtc->time.cmos[REG_B] &= (uint8_t) ~(B_PIE | B_AIE | B_UIE | B_SQWE);
    rtc->time.cmos[REG_C] = 0;
    rtc->index = 0;
    rtc->nmi_masked = false;
    rtc->snapshot_open = false;
    rtc->replan = true;
    settle(rtc);
}

/* The host's clock went on during the pause; the timer was planned without that. */
static void mc146818_resume(void *self)
{
    struct mc146818 *rtc = self;
    sync(rtc);
    rtc->replan = true;
    settle(rtc);
}

static void set_base_time(struct mc146818 *rtc, const struct mc146818_config *config)
{
    int64_t wall = rtc->env->ops->wall(rtc->env);
    int64_t base = wall < -CLOCK_MAX ? -CLOCK_MAX : wall > CLOCK_MAX ? CLOCK_MAX : wall;
    if (config->base == MC146818_BASE_LOCALTIME)
        base += config->utc_offset_s * NS_PER_S;
    else if (config->base == MC146818_BASE_DATE)
        base = config->base_ns;

    rtc->chain = read_clock(rtc);
    rtc->next_edge = rtc->chain + (base % NS_PER_S < 0 ? 0 : NS_PER_S) - base % NS_PER_S;
    mc146818_time_init(&rtc->time, config->century ? config->century : MC146818_DEFAULT_CENTURY,
                       floor_div(base, NS_PER_S));
}

static bool config_is_valid(const struct mc146818_config *config)
{
    return config->base <= MC146818_BASE_DATE && config->clock <= MC146818_CLOCK_VM &&
           config->lost_ticks <= MC146818_LOST_SLEW && config->utc_offset_s <= (int32_t)SECONDS_PER_DAY &&
           config->utc_offset_s >= -(int32_t)SECONDS_PER_DAY &&
           (!config->century || (config->century >= NVRAM && config->century < MC146818_NVRAM_SIZE));
}

static int mc146818_create(const struct ringd_env *env, const void *config, void **self)
{
    static const struct mc146818_config defaults;
    const struct mc146818_config *conf = config ? config : &defaults;
    if (!config_is_valid(conf))
        return -EINVAL;
    struct mc146818 *rtc = calloc(1, sizeof(*rtc));
    if (!rtc)
        return -ENOMEM;
    rtc->env = env;
    rtc->clock = conf->clock;
    rtc->lost_ticks = conf->lost_ticks;
    rtc->nvram_written = conf->nvram_written;
    rtc->nvram_ctx = conf->nvram_ctx;
    if (conf->nvram_image)
        memcpy(rtc->time.cmos + NVRAM, conf->nvram_image + NVRAM, MC146818_NVRAM_SIZE - NVRAM);
    for (unsigned i = 0; i < TIMERS; i++)
        rtc->deadline[i] = RINGD_NEVER;
    rtc->slew_at = RINGD_NEVER;
    /* What a PC's firmware leaves: 32.768 kHz crystal, 1024 Hz chosen but not enabled, BCD, 24 hours. */
    rtc->time.cmos[REG_A] = A_32768HZ | 6;
    rtc->time.cmos[REG_B] = B_24H;
    rtc->time.cmos[REG_D] = D_VRT;
    set_base_time(rtc, conf);
    start_grid(rtc, rate_hz(rtc), env->ops->now(env));
    mc146818_reset(rtc);
    *self = rtc;
    return 0;
}

static void mc146818_destroy(void *self)
{
    free(self);
}

static unsigned mc146818_counters(void *self, struct ringd_counter *counters, unsigned max)
{
    const struct mc146818 *rtc = self;
    const struct ringd_counter all[] = {
        {"ticks-due", rtc->due},   {"ticks-delivered", rtc->delivered}, {"ticks-coalesced", rtc->coalesced},
        {"ticks-late", rtc->late}, {"ticks-discarded", rtc->discarded}, {"ticks-converted", rtc->converted},
        {"ticks-owed", rtc->owed},
    };
    const unsigned count_all = sizeof(all) / sizeof(all[0]);
    if (max)
        memcpy(counters, all, (max < count_all ? max : count_all) * sizeof(all[0]));
    return count_all;
}

/* ---- saved state ---- */

static size_t mc146818_state_size(const void *self)
{
    (void)self;
    return STATE_BYTES;
}

static void mc146818_save(const void *self, void *state)
{
    const struct mc146818 *rtc = self;
    struct state_writer out = {state};
    state_put(&out, STATE_WORD, 4);
    state_put(&out, rtc->clock, 1);
    state_put(&out, rtc->lost_ticks, 1);
    state_put(&out, rtc->time.bytes[TIME_BYTES - 1], 1);
    state_put(&out, 0, 1);
    state_put_bytes(&out, rtc->time.cmos, sizeof(rtc->time.cmos));
    state_put(&out, rtc->index, 1);
    state_put(&out, rtc->nmi_masked, 1);
    state_put(&out, (uint64_t)rtc->chain, 8);
    state_put(&out, (uint64_t)rtc->next_edge, 8);
    state_put(&out, rtc->hz, 2);
    state_put(&out, rtc->grid_base, 8);
    state_put(&out, rtc->seen, 8);
    state_put(&out, rtc->owed, 8);
    state_put(&out, rtc->slew_at, 8);
    state_put(&out, rtc->due, 8);
    state_put(&out, rtc->delivered, 8);
    state_put(&out, rtc->coalesced, 8);
    state_put(&out, rtc->late, 8);
    state_put(&out, rtc->discarded, 8);
    state_put(&out, rtc->converted, 8);
    state_put_bytes(&out, rtc->snapshot, TIME_BYTES);
    state_put(&out, rtc->snapshot_used, 1);
    state_put(&out, rtc->snapshot_open, 1);
    state_put(&out, rtc->snapshot_at, 8);
}

/* Reads what save() wrote into `rtc`, a copy of the instance; false where words that must match it do not. */
static bool read_state(struct mc146818 *rtc, struct state_reader *in)
{
    if (state_get(in, 4) != STATE_WORD || state_get(in, 1) != rtc->clock || state_get(in, 1) != rtc->lost_ticks ||
        state_get(in, 1) != rtc->time.bytes[TIME_BYTES - 1] || state_get(in, 1) != 0)
        return false;
    state_get_bytes(in, rtc->time.cmos, sizeof(rtc->time.cmos));
    rtc->index = (uint8_t)state_get(in, 1);
    uint64_t nmi_masked = state_get(in, 1);
    rtc->nmi_masked = nmi_masked;
    rtc->chain = (int64_t)state_get(in, 8);
    rtc->next_edge = (int64_t)state_get(in, 8);
    rtc->hz = (unsigned)state_get(in, 2);
    rtc->grid_base = state_get(in, 8);
    rtc->seen = state_get(in, 8);
    rtc->owed = state_get(in, 8);
    rtc->slew_at = state_get(in, 8);
    rtc->due = state_get(in, 8);
    rtc->delivered = state_get(in, 8);
    rtc->coalesced = state_get(in, 8);
    rtc->late = state_get(in, 8);
    rtc->discarded = state_get(in, 8);
    rtc->converted = state_get(in, 8);
    state_get_bytes(in, rtc->snapshot, TIME_BYTES);
    rtc->snapshot_used = (uint8_t)state_get(in, 1);
    uint64_t snapshot_open = state_get(in, 1);
    rtc->snapshot_open = snapshot_open;
    rtc->snapshot_at = state_get(in, 8);
    return nmi_masked <= 1 && snapshot_open <= 1;
}

/* What every access relies on: registers in range, and a clock, a grid and a debt that time can have led to. */
static bool state_is_sound(const struct mc146818 *rtc, uint64_t now)
{
    const uint8_t *cmos = rtc->time.cmos;
    uint64_t owed_max = rtc->lost_ticks == MC146818_LOST_SLEW ? (uint64_t)OWED_MAX_S * rtc->hz : 0;
    if (cmos[REG_A] & A_UIP || cmos[REG_C] & ~(C_PF | C_AF | C_UF) || cmos[REG_D] != D_VRT || rtc->index > INDEX_MASK)
        return false;
    if (rtc->chain < -CLOCK_MAX || rtc->chain > CLOCK_MAX || rtc->next_edge < -CLOCK_MAX ||
        rtc->next_edge > CLOCK_MAX + NS_PER_S)
        return false;
    if (rtc->hz != rate_hz(rtc) || rtc->grid_base > now || rtc->snapshot_at > now)
        return false;
    return rtc->seen <= (rtc->hz ? ticks_by(rtc, now) : 0) && rtc->owed <= owed_max &&
           (rtc->slew_at == RINGD_NEVER || rtc->slew_at <= now + (uint64_t)NS_PER_S);
}

static int mc146818_load(void *self, const void *state, size_t size)
{
    struct mc146818 *rtc = self;
    struct mc146818 loaded = *rtc; /* the configuration, and what the environment was told: line and timers */
    struct state_reader in = {state};
    if (size != STATE_BYTES || !read_state(&loaded, &in) || !state_is_sound(&loaded, rtc->env->ops->now(rtc->env)))
        return -EINVAL;
    loaded.next_tick = loaded.hz ? tick_time(&loaded, loaded.seen + 1) : RINGD_NEVER;
    *rtc = loaded;
    mc146818_resume(rtc);
    return 0;
}

void mc146818_set_nvram(void *self, unsigned index, uint8_t value)
{
    struct mc146818 *rtc = self;
    if (index >= NVRAM && index < MC146818_NVRAM_SIZE && mc146818_time_byte(&rtc->time, index) < 0)
        rtc->time.cmos[index] = value;
}

bool mc146818_nmi_masked(const void *self)
{
    const struct mc146818 *rtc = self;
    return rtc->nmi_masked;
}

static const struct ringd_region mc146818_regions[] = {
    [MC146818_INDEX] = {"index", RINGD_PIO, 0, 1, 1, RINGD_POSTED,
                        "selects the byte that the data port shows; bit 7: NMI mask"},
    [MC146818_DATA] = {"data", RINGD_PIO, 1, 1, 1, 0,
                       "reads or writes it; reading register C acknowledges the interrupt"},
};

const struct ringd_device_ops mc146818_ops = {
    .name = "mc146818",
    .summary = "MC146818 real-time clock and CMOS memory",
    .regions = mc146818_regions,
    .region_count = sizeof(mc146818_regions) / sizeof(mc146818_regions[0]),
    .irq_count = 1,
    .timer_count = TIMERS,
    .create = mc146818_create,
    .destroy = mc146818_destroy,
    .read = mc146818_read,
    .write = mc146818_write,
    .timer = mc146818_timer,
    .reset = mc146818_reset,
    .resume = mc146818_resume,
    .counters = mc146818_counters,
    .state_size = mc146818_state_size,
    .save = mc146818_save,
    .load = mc146818_load,
};
