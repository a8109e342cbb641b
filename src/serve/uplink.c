#include "serve/uplink.h"

/* Pieces are quick: the link counts as busy while it moves this share of the best it ever moved. */
#define BUSY_PERCENT 70
/* "As much" by a trial with fewer. */
#define EQUAL_PERCENT 95

void
uplink_init(struct uplink *u)
{
	*u = (struct uplink){.slots = UPLINK_SLOTS, .is_slow = true, .pause = UPLINK_PAUSE_LOOKS, .next = 1};
}

static unsigned
least_slots(const struct uplink *u)
{
	return u->takes_turns ? 1 : UPLINK_SLOTS;
}

static void
begin_pause(struct uplink *u, unsigned pause)
{
	u->pause = pause < UPLINK_PAUSE_LOOKS_MAX ? pause : UPLINK_PAUSE_LOOKS_MAX;
	u->trial = 0;
	u->looks = 0;
	u->sum = 0;
}

void
uplink_rest(struct uplink *u)
{
	u->slots = least_slots(u);
	u->next = 1;
	begin_pause(u, UPLINK_PAUSE_LOOKS);
}

bool
uplink_set_children(struct uplink *u, unsigned children)
{
	bool takes_turns = u->is_slow && children > 1;

	if (takes_turns == u->takes_turns)
		return false;
	u->takes_turns = takes_turns;
	uplink_rest(u);
	return true;
}

void
uplink_transferred(struct uplink *u, uint64_t bytes, int64_t us, unsigned active)
{
	uint64_t cost = us > 0 ? (uint64_t)us : 1;

	if (bytes < UPLINK_TELLING_BYTES)
		return;
	/* Of several at a time each takes so much longer. */
	cost /= active > 0 ? active : 1;
	u->cost_us = u->cost_us == 0 ? cost : (u->cost_us * 3 + cost) / 4;
	if (u->cost_us > UPLINK_SLOW_US)
		u->is_slow = true;
	else if (u->cost_us < UPLINK_QUICK_US)
		u->is_slow = false;
}

/* Links change; what was best an hour ago is forgotten. */
static void
look_at_quick(struct uplink *u, uint64_t moved)
{
	u->best -= u->best / 256;
	if (moved > u->best)
		u->best = moved;
	if (moved < u->best / 100 * BUSY_PERCENT || moved == 0)
		u->slots += u->slots < UPLINK_SLOTS_MAX;
	else
		u->slots -= u->slots > UPLINK_SLOTS;
}

static void
judge(struct uplink *u, uint64_t rate)
{
	uint64_t fewer = u->slots - 1;
	/* One more is worth it when it brings at least half of what each of the others carries. */
	bool is_good = u->trial > 0 ? rate * 2 * fewer >= u->before * (2 * fewer + 1) : rate >= u->before / 100 * EQUAL_PERCENT;

	if (is_good) {
		begin_pause(u, UPLINK_TRIAL_LOOKS);
		return;
	}
	u->slots = (unsigned)((int)u->slots - u->trial);
	u->next = u->slots > 1 ? -u->trial : 1;
	begin_pause(u, u->pause * 2);
}

void
uplink_look(struct uplink *u, uint64_t moved, bool is_full)
{
	uint64_t rate;

	if (!u->takes_turns) {
		look_at_quick(u, moved);
		return;
	}
	if (!is_full)
		return;
	u->sum += moved;
	u->looks++;
	if (u->looks < (u->trial != 0 ? UPLINK_TRIAL_LOOKS : u->pause))
		return;
	rate = u->sum / u->looks;
	if (u->trial != 0) {
		judge(u, rate);
		return;
	}
	u->before = rate;
	u->trial = u->slots >= UPLINK_SLOTS_MAX ? -1 : u->slots <= 1 ? 1 : u->next;
	u->slots = (unsigned)((int)u->slots + u->trial);
	u->looks = 0;
	u->sum = 0;
}
