#include "base/heap.h"

#include <stdlib.h>

#include "base/mem.h"

void
heap_init(struct heap *h)
{
	*h = (struct heap){0};
}

void
heap_free(struct heap *h)
{
	free(h->nodes);
	heap_init(h);
}

/* Places are 1-based, so that the parent of i is i / 2. */
static void
set(struct heap *h, size_t place, struct heap_node *n)
{
	h->nodes[place - 1] = n;
	n->place = place;
}

/* Puts n at `place` or above it, moving larger ones down. */
static void
rise(struct heap *h, size_t place, struct heap_node *n)
{
	while (place > 1 && h->nodes[place / 2 - 1]->key > n->key) {
		set(h, place, h->nodes[place / 2 - 1]);
		place /= 2;
	}
	set(h, place, n);
}

/* Puts n at `place` or below it, moving smaller ones up. */
static void
sink(struct heap *h, size_t place, struct heap_node *n)
{
	while (place * 2 <= h->count) {
		size_t child = place * 2;

		if (child < h->count && h->nodes[child]->key < h->nodes[child - 1]->key)
			child++;
		if (h->nodes[child - 1]->key >= n->key)
			break;
		set(h, place, h->nodes[child - 1]);
		place = child;
	}
	set(h, place, n);
}

static void
settle(struct heap *h, size_t place, struct heap_node *n)
{
	if (place > 1 && h->nodes[place / 2 - 1]->key > n->key)
		rise(h, place, n);
	else
		sink(h, place, n);
}

void
heap_put(struct heap *h, struct heap_node *n, int64_t key)
{
	n->key = key;
	if (n->place != 0) {
		settle(h, n->place, n);
		return;
	}
	if (h->count == h->cap) {
		h->cap = h->cap > 0 ? h->cap * 2 : 16;
		h->nodes = xrealloc(h->nodes, h->cap * sizeof(*h->nodes));
	}
	rise(h, ++h->count, n);
}

void
heap_del(struct heap *h, struct heap_node *n)
{
	size_t place = n->place;
	struct heap_node *last;

	if (place == 0)
		return;
	n->place = 0;
	last = h->nodes[--h->count];
	if (last != n)
		settle(h, place, last);
}

struct heap_node *
heap_min(const struct heap *h)
{
	return h->count > 0 ? h->nodes[0] : NULL;
}
