/*
 * How many pieces leave at a time. A piece that is whole early can be passed on early, sixteen that are half done help nobody (design:
 * fan-out): where a piece takes long, one transfer at a time, and more only where more bring more. Pure: told of time and bytes.
 */
#ifndef SERVE_UPLINK_H
#define SERVE_UPLINK_H

#include <stdbool.h>
#include <stdint.h>

/* How often uplink_look is called while somebody waits. */
#define UPLINK_LOOK_MS 100
/* Transfers at a time: at the start when pieces are quick, and at most. */
#define UPLINK_SLOTS 2
#define UPLINK_SLOTS_MAX 64
/* Pieces are slow when one takes longer than SLOW_US, and quick again below QUICK_US: a turn costs a round trip or two, which must be
 * little against a piece. Shorter pieces tell nothing. */
#define UPLINK_SLOW_US 25000
#define UPLINK_QUICK_US 12000
#define UPLINK_TELLING_BYTES (UINT64_C(1) << 20)
/* Looks that a changed number of slots is tried for, and until the next change is tried; each vain one doubles that. */
#define UPLINK_TRIAL_LOOKS 5
#define UPLINK_PAUSE_LOOKS 80
#define UPLINK_PAUSE_LOOKS_MAX 800

struct uplink {
	unsigned slots;                 /* transfers at a time */
	bool is_slow;                   /* a piece takes long; true until one was seen */
	bool takes_turns;               /* slow, and several children ask */
	uint64_t cost_us;               /* of a piece, moving average; 0: none seen */
	uint64_t best;                  /* bytes between two looks, when pieces are quick */

	int trial;                      /* change of slots being tried: 1, -1; 0 none */
	int next;                       /* the one to be tried next */
	unsigned looks, pause;          /* looks since the last change; looks until the next one is tried */
	uint64_t sum, before;           /* bytes in these looks; bytes a look before the trial */
};

void uplink_init(struct uplink *u);
/* So many children may ask. True when takes_turns changed. */
bool uplink_set_children(struct uplink *u, unsigned children);
/* One of `active` transfers ended well. Call uplink_set_children after it. */
void uplink_transferred(struct uplink *u, uint64_t bytes, int64_t us, unsigned active);
/* Once each UPLINK_LOOK_MS: bytes moved since, and whether all slots were in use with more waiting. */
void uplink_look(struct uplink *u, uint64_t moved, bool is_full);
/* Nobody waits any more. */
void uplink_rest(struct uplink *u);

#endif
