/*
 * Who downloads from whom, and the load that this puts on the parents' hosts.
 */
#include <stdlib.h>

#include "base/mem.h"
#include "scheduler/resource.h"

/* Depth of a peer that has no parents and is no source itself. */
#define DEPTH_NONE 15u

void
sched_edge_account(struct sched_peer *parent, const struct sched_peer *child, int sign)
{
	struct sched_host *h = parent->host;
	const struct sched_task *t = child->task;
	uint64_t tx = t->piece_length * child->concurrent_pieces * 8;
	uint64_t length = t->content_length > 0 ? (uint64_t)t->content_length : 0;

	h->is_scored = false;
	if (sign > 0) {
		h->tx_alloc += tx;
		h->upload_bytes += length;
		h->upload_pieces += child->concurrent_pieces;
		h->children++;
	} else {
		h->tx_alloc -= tx;
		h->upload_bytes -= length;
		h->upload_pieces -= child->concurrent_pieces;
		h->children--;
	}
}

bool
sched_edge_exists(const struct sched_peer *parent, const struct sched_peer *child)
{
	for (uint32_t i = 0; i < child->n_parents; i++)
		if (child->parents[i].parent == parent)
			return true;
	return false;
}

static void
update_depth(struct sched_peer *p)
{
	uint16_t best = DEPTH_NONE;

	if (p->state == SCHED_PEER_SUCCEEDED || p->state == SCHED_PEER_BACK_TO_SOURCE || p->host->type == 1) {
		p->depth = 0;
		return;
	}
	for (uint32_t i = 0; i < p->n_parents; i++)
		if (p->parents[i].parent->depth + 1 < best)
			best = (uint16_t)(p->parents[i].parent->depth + 1);
	p->depth = best;
}

void
sched_edge_add(struct sched_resources *r, struct sched_peer *parent, struct sched_peer *child)
{
	struct sched_edge *e;
	struct sched_child *c;

	if (child->n_parents == child->cap_parents) {
		child->cap_parents = child->cap_parents ? child->cap_parents * 2 : 4;
		child->parents = xrealloc(child->parents, child->cap_parents * sizeof *child->parents);
	}
	if (parent->n_children == parent->cap_children) {
		parent->cap_children = parent->cap_children ? parent->cap_children * 2 : 4;
		parent->children = xrealloc(parent->children, parent->cap_children * sizeof *parent->children);
	}
	e = &child->parents[child->n_parents];
	c = &parent->children[parent->n_children];
	e->parent = parent;
	e->child_slot = parent->n_children;
	e->have = parent->n_finished;
	c->child = child;
	c->parent_slot = child->n_parents;
	child->n_parents++;
	parent->n_children++;
	sched_edge_account(parent, child, 1);
	update_depth(child);
	r->n_edges++;
	r->memory += sizeof *e + sizeof *c;
}

/* Takes out the edge at child->parents[slot]; the last ones move into the gaps. */
static void
edge_del(struct sched_resources *r, struct sched_peer *child, uint32_t slot)
{
	struct sched_peer *parent = child->parents[slot].parent;
	uint32_t at = child->parents[slot].child_slot;
	uint32_t last = --parent->n_children;

	if (at != last) {
		parent->children[at] = parent->children[last];
		parent->children[at].child->parents[parent->children[at].parent_slot].child_slot = at;
	}
	last = --child->n_parents;
	if (slot != last) {
		child->parents[slot] = child->parents[last];
		child->parents[slot].parent->children[child->parents[slot].child_slot].parent_slot = slot;
	}
	sched_edge_account(parent, child, -1);
	r->n_edges--;
	r->memory -= sizeof(struct sched_edge) + sizeof(struct sched_child);
}

void
sched_edges_drop_parents(struct sched_resources *r, struct sched_peer *child)
{
	while (child->n_parents > 0)
		edge_del(r, child, child->n_parents - 1);
	free(child->parents);
	child->parents = NULL;
	child->cap_parents = 0;
	update_depth(child);
}

void
sched_edges_drop_children(struct sched_resources *r, struct sched_peer *parent)
{
	while (parent->n_children > 0) {
		struct sched_child *c = &parent->children[parent->n_children - 1];

		edge_del(r, c->child, c->parent_slot);
	}
	free(parent->children);
	parent->children = NULL;
	parent->cap_children = 0;
}

/* Each peer is met once, also where edges go in circles. */
void
sched_edges_mark_below(struct sched_resources *r, struct sched_peer *from)
{
	struct sched_peer **stack;
	size_t n = 0, cap = 64;

	r->epoch++;
	from->mark = r->epoch;
	if (from->n_children == 0)
		return;
	stack = xmalloc(cap * sizeof(*stack));
	stack[n++] = from;
	while (n > 0) {
		struct sched_peer *p = stack[--n];

		for (uint32_t i = 0; i < p->n_children; i++) {
			struct sched_peer *c = p->children[i].child;

			if (c->mark == r->epoch)
				continue;
			c->mark = r->epoch;
			if (n == cap) {
				cap *= 2;
				stack = xrealloc(stack, cap * sizeof(*stack));
			}
			stack[n++] = c;
		}
	}
	free(stack);
}
