/* SPDX-License-Identifier: BSD-2-Clause */
#include "ringd/commit.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ringd/internal.h"
#include "ringd/source.h"

_Static_assert(sizeof(struct ringd_state_page) <= RINGD_STATE_SLOTS_OFFSET, "the slots follow the head");
_Static_assert(sizeof(struct ringd_state_slot) % 8 == 0, "both slots are aligned");

static struct ringd_state_slot *slot_at(const struct commit *commit, unsigned index)
{
    uint8_t *base = (uint8_t *)commit->page + RINGD_STATE_SLOTS_OFFSET + (index - 1) * commit->room;
    return (struct ringd_state_slot *)(void *)base;
}

/* Takes over what a predecessor has committed. What stands there is the client's word: each number is checked for what
 * it is used for. */
static int adopt(struct commit *commit, size_t model_bytes, void **saved)
{
    const struct ringd_state_page *page = commit->page;
    if (load_relaxed(&page->magic) != RINGD_STATE_MAGIC || load_relaxed(&page->version) != RINGD_STATE_VERSION ||
        load_relaxed(&page->bytes) != commit->bytes || commit->current > 2)
        return -EINVAL;
    const struct ringd_state_slot *slot = slot_at(commit, commit->current);
    void *state = malloc(model_bytes ? model_bytes : 1);
    if (!state)
        return -ENOMEM;
    memcpy(&commit->head, slot, sizeof(commit->head));
    memcpy(state, slot + 1, model_bytes);
    if (commit->head.model_bytes != model_bytes || commit->head.first >= RINGD_RING_SLOTS) {
        free(state);
        return -EINVAL;
    }
    *saved = state;
    return 0;
}

int commit_open(struct commit *commit, int fd, size_t model_bytes, void **saved)
{
    size_t bytes;
    int ret = source_check_memfd(fd, 4096, RINGD_STATE_MOST_BYTES, &bytes);
    if (ret)
        return ret;
    if (model_bytes > RINGD_STATE_MOST_BYTES || bytes < ringd_state_file_bytes(model_bytes))
        return -ENOSPC;
    void *map = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED)
        return -errno;
    *commit = (struct commit){.page = map,
                              .bytes = bytes,
                              .room = (bytes - RINGD_STATE_SLOTS_OFFSET) / 128 * 64,
                              .notify_fd = -1,
                              .changed = UINT64_MAX,
                              .changed_before = UINT64_MAX};
    commit->head.model_bytes = (uint32_t)model_bytes;
    commit->head.frozen_at = RINGD_NEVER;
    commit->current = __atomic_load_n(&commit->page->current, __ATOMIC_ACQUIRE);
    *saved = NULL;
    if (commit->current) {
        ret = adopt(commit, model_bytes, saved);
        if (ret) {
            commit_close(commit);
            return ret;
        }
        commit->notify = true; /* the predecessor may not have come to it */
    }
    store_relaxed(&commit->page->magic, RINGD_STATE_MAGIC);
    store_relaxed(&commit->page->version, RINGD_STATE_VERSION);
    store_relaxed(&commit->page->bytes, (uint32_t)bytes);
    return 0;
}

void commit_close(struct commit *commit)
{
    munmap(commit->page, commit->bytes);
    commit->page = NULL;
}

/* A reset that is asked for ten times before the owner has looked is one reset: what repeats the newest item that is
 * still unread is left out. */
void commit_event(struct commit *commit, enum ringd_event event, uint64_t value)
{
    struct ringd_state_page *page = commit->page;
    if (!page) /* the model is being made: power-on state, which tells nobody anything */
        return;
    uint64_t unread = commit->head.events - __atomic_load_n(&page->events_seen, __ATOMIC_ACQUIRE);
    if (unread >= RINGD_STATE_EVENTS) {
        commit->head.events_lost++;
        return;
    }
    if (unread) {
        const struct ringd_state_event *newest = &page->events[(commit->head.events - 1) % RINGD_STATE_EVENTS];
        if (load_relaxed(&newest->event) == event && load_relaxed(&newest->value) == value)
            return;
    }
    struct ringd_state_event *item = &page->events[commit->head.events % RINGD_STATE_EVENTS];
    store_relaxed(&item->event, event);
    store_relaxed(&item->value, value);
    commit->head.events++;
    commit->notify = true;
}

void commit_output(struct commit *commit, const uint8_t *data, size_t len)
{
    struct ringd_state_page *page = commit->page;
    for (size_t i = 0; page && i < len; i++) {
        if (commit->head.output - __atomic_load_n(&page->output_seen, __ATOMIC_ACQUIRE) >= RINGD_STATE_OUTPUT_BYTES) {
            commit->head.output_lost += len - i;
            return;
        }
        store_relaxed(&page->output[commit->head.output % RINGD_STATE_OUTPUT_BYTES], data[i]);
        commit->head.output++;
        commit->notify = true;
    }
}

bool commit_find(const struct commit *commit, unsigned slot, uint64_t sequence, uint64_t *value)
{
    if (commit->head.results[slot].sequence != sequence)
        return false;
    *value = commit->head.results[slot].value;
    return true;
}

void commit_result(struct commit *commit, unsigned slot, uint64_t sequence, uint64_t value)
{
    commit->head.results[slot] = (struct ringd_state_result){.sequence = sequence, .value = value};
    commit->changed |= UINT64_C(1) << slot;
}

void commit_write(struct commit *commit, const struct ringd_device_ops *ops, const void *self)
{
    struct ringd_state_page *page = commit->page;
    unsigned next = commit->current == 1 ? 2 : 1;
    struct ringd_state_slot *slot = slot_at(commit, next);
    commit->head.sequence++;
    memcpy(slot, &commit->head, offsetof(struct ringd_state_slot, results));
    for (uint64_t left = commit->changed | commit->changed_before; left; left &= left - 1) {
        unsigned i = (unsigned)__builtin_ctzll(left);
        slot->results[i] = commit->head.results[i];
    }
    ops->save(self, slot + 1);
    __atomic_store_n(&page->current, next, __ATOMIC_RELEASE);
    commit->current = next;
    commit->changed_before = commit->changed;
    commit->changed = 0;

    __atomic_store_n(&page->events_published, commit->head.events, __ATOMIC_RELEASE);
    __atomic_store_n(&page->output_published, commit->head.output, __ATOMIC_RELEASE);
    if (__builtin_expect(commit->notify, 0)) {
        commit->notify = false;
        store_relaxed(&page->events_lost, commit->head.events_lost);
        store_relaxed(&page->output_lost, commit->head.output_lost);
        source_signal(commit->notify_fd);
    }
}
