/*
 * Doubly linked ring with the link inside the object. A head and a node are the same struct; a node alone points at itself.
 */
#ifndef BASE_LIST_H
#define BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct list {
	struct list *next;
	struct list *prev;
};

static inline void
list_init(struct list *l)
{
	l->next = l->prev = l;
}

static inline bool
list_is_empty(const struct list *l)
{
	return l->next == l;
}

static inline void
list_add_tail(struct list *head, struct list *node)
{
	node->next = head;
	node->prev = head->prev;
	head->prev->next = node;
	head->prev = node;
}

static inline void
list_add_head(struct list *head, struct list *node)
{
	list_add_tail(head->next, node);
}

/* Takes the node out and leaves it alone in its own ring, so that doing it twice is harmless. */
static inline void
list_del(struct list *node)
{
	node->next->prev = node->prev;
	node->prev->next = node->next;
	list_init(node);
}

/* `next` keeps the walk safe when the body removes `it`. */
#define LIST_EACH(it, nxt, head) \
	for (struct list *it = (head)->next, *nxt = it->next; it != (head); it = nxt, nxt = it->next)

#endif
