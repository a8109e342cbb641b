/*
 * Binary min-heap of nodes that live inside other objects; ordered by an int64 key (a deadline, usually).
 */
#ifndef BASE_HEAP_H
#define BASE_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct heap_node {
	int64_t key;
	size_t place;   /* 1-based place in the heap; 0 while outside */
};

struct heap {
	struct heap_node **nodes;
	size_t count;
	size_t cap;
};

void heap_init(struct heap *h);
void heap_free(struct heap *h);
/* Adds the node, or moves it when it is already inside. */
void heap_put(struct heap *h, struct heap_node *n, int64_t key);
/* Takes the node out; nothing happens when it is outside. */
void heap_del(struct heap *h, struct heap_node *n);
/* The node with the smallest key, still inside; NULL when empty. */
struct heap_node *heap_min(const struct heap *h);

#endif
