/* SPDX-License-Identifier: BSD-2-Clause */
/* What KVM's interrupt controllers have heard: read and set from outside, so that no guest need run. */
#ifndef TESTS_KVM_CHIPS_H
#define TESTS_KVM_CHIPS_H

#include "guest.h"

/* Switches vCPU 0's LAPIC on, with nothing requested. */
void chips_clear(const struct guest *guest);

/* Has `vector` been requested at vCPU 0's LAPIC? chips_await waits for it, chips_quiet makes sure that it does not
 * come. Both return whether they saw what they wait for. */
bool chips_requested(const struct guest *guest, unsigned vector);
bool chips_await(const struct guest *guest, unsigned vector);
bool chips_quiet(const struct guest *guest, unsigned vector);

/* Leads pin `pin` of the IOAPIC to `vector` of vCPU 0. */
void chips_redirect(const struct guest *guest, unsigned pin, unsigned vector, bool level);

/* The levels of the IOAPIC's pins that are masked or level triggered, a bit for each; of the PICs' 16 inputs likewise.
 */
uint32_t chips_pins(const struct guest *guest);
uint16_t chips_isa(const struct guest *guest);

#endif
