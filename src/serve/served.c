#include "serve/served.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/slice.h"
#include "peer/ids.h"

struct served_task {
	char id[TASK_ID_SIZE];
	uint32_t pieces;
	uint8_t *count;
	int64_t used_ms;
};

static void
forget(struct served *s, struct served_task *t)
{
	map_del(&s->tasks, slice_str(t->id));
	free(t->count);
	free(t);
}

static struct served_task *
oldest_of(struct served *s)
{
	struct served_task *t, *oldest = NULL;
	size_t at = 0;

	while ((t = map_next(&s->tasks, &at)) != NULL)
		if (oldest == NULL || t->used_ms < oldest->used_ms)
			oldest = t;
	return oldest;
}

static struct served_task *
add(struct served *s, const char *task_id, uint32_t pieces)
{
	struct served_task *t = xcalloc(1, sizeof *t);

	if (s->tasks.count >= SERVED_TASKS_MAX)
		forget(s, oldest_of(s));
	snprintf(t->id, sizeof t->id, "%s", task_id);
	t->pieces = pieces;
	t->count = xcalloc((size_t)pieces + 1, 1);
	map_put(&s->tasks, slice_str(t->id), t);
	return t;
}

void
served_init(struct served *s)
{
	map_init(&s->tasks);
}

void
served_free(struct served *s)
{
	struct served_task *t;
	size_t at = 0;

	while ((t = map_next(&s->tasks, &at)) != NULL) {
		free(t->count);
		free(t);
	}
	map_free(&s->tasks);
}

void
served_note(struct served *s, const char *task_id, uint32_t pieces, uint32_t piece, int64_t now_ms)
{
	struct served_task *t = map_get(&s->tasks, slice_str(task_id));

	if (t == NULL)
		t = add(s, task_id, pieces);
	t->used_ms = now_ms;
	if (piece < t->pieces && t->count[piece] < UINT8_MAX)
		t->count[piece]++;
}

unsigned
served_times(const struct served *s, const char *task_id, uint32_t piece)
{
	const struct served_task *t = map_get(&s->tasks, slice_str(task_id));

	return t == NULL || piece >= t->pieces ? 0 : t->count[piece];
}
