/*
 * Tables of the scheduler's state, and its tasks. Hosts, peers and edges have files of their own.
 */
#include "scheduler/resource.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/rand.h"

const char *const scheduler_peer_state_names[SCHEDULER_PEER_STATES] = {
	"Pending", "ReceivedEmpty", "ReceivedNormal", "Running", "BackToSource", "Succeeded", "Failed", "Leave",
};
const char *const sched_task_state_names[] = { "Pending", "Running", "Succeeded", "Failed", "Leave" };

void
sched_resources_init(struct sched_resources *r, const struct scheduler_options *opt)
{
	memset(r, 0, sizeof *r);
	r->opt = *opt;
	map_init(&r->hosts);
	map_init(&r->tasks);
	map_init(&r->peers);
	map_init(&r->names);
	list_init(&r->host_list);
	list_init(&r->task_list);
	list_init(&r->peer_list);
	r->random = opt->random_seed;
	while (r->random == 0)
		r->random = rand_u64();
}

void
sched_resources_free(struct sched_resources *r)
{
	void *name;

	r->on_peer_gone = NULL;
	r->on_task_gone = NULL;
	r->on_host_gone = NULL;
	while (!list_is_empty(&r->host_list))
		sched_host_remove(r, CONTAINER_OF(r->host_list.next, struct sched_host, all));
	while (!list_is_empty(&r->task_list))
		sched_task_remove(r, CONTAINER_OF(r->task_list.next, struct sched_task, all));
	for (size_t at = 0; (name = map_next(&r->names, &at)) != NULL;)
		free(name);
	map_free(&r->hosts);
	map_free(&r->tasks);
	map_free(&r->peers);
	map_free(&r->names);
}

uint64_t
sched_random(struct sched_resources *r)
{
	r->random ^= r->random >> 12;
	r->random ^= r->random << 25;
	r->random ^= r->random >> 27;
	return r->random * UINT64_C(0x2545f4914f6cdd1d);
}

struct sched_task *
sched_task_find(const struct sched_resources *r, struct slice id)
{
	return map_get(&r->tasks, id);
}

struct sched_task *
sched_task_new(struct sched_resources *r, struct slice id, uint32_t type)
{
	struct sched_task *t;

	if (r->tasks.count >= SCHED_TASKS_MAX)
		return NULL;
	t = xcalloc(1, sizeof *t);
	t->id = slice_dup(id);
	t->url = xstrdup("");
	t->type = type;
	t->content_length = -1;
	t->created_ms = t->updated_ms = t->empty_since_ms = r->now_ms;
	list_init(&t->peers);
	list_init(&t->waiters);
	list_init(&t->hungry);
	list_init(&t->sources);
	list_init(&t->triggers);
	list_init(&t->dirty);
	list_init(&t->bereft);
	list_init(&t->all);
	map_put(&r->tasks, slice_str(t->id), t);
	list_add_tail(&r->task_list, &t->all);
	r->memory += sizeof *t + id.n + 160;
	return t;
}

static size_t
text_len(const char *s)
{
	return s ? strlen(s) : 0;
}

void
sched_task_set_text(struct sched_resources *r, struct sched_task *t, char **where, struct slice value)
{
	t->updated_ms = r->now_ms;
	if (*where ? slice_eq_str(value, *where) && value.p : !value.p)
		return;
	r->memory -= text_len(*where);
	free(*where);
	*where = value.p ? slice_dup(value) : NULL;
	r->memory += text_len(*where);
}

void
sched_task_set_params(struct sched_task *t, const struct slice *params, size_t n)
{
	for (size_t i = 0; i < t->n_params; i++)
		free(t->params[i]);
	free(t->params);
	t->params = NULL;
	t->n_params = n < SCHED_PARAMS_MAX ? n : SCHED_PARAMS_MAX;
	if (t->n_params == 0)
		return;
	t->params = xcalloc(t->n_params, sizeof *t->params);
	for (size_t i = 0; i < t->n_params; i++)
		t->params[i] = slice_dup(params[i]);
}

void
sched_task_set_lengths(struct sched_resources *r, struct sched_task *t, uint64_t piece_length, int64_t content_length,
	uint64_t piece_count)
{
	bool is_new = (t->piece_length == 0 && piece_length > 0) || (t->content_length < 0 && content_length >= 0) ||
		(t->piece_count == 0 && piece_count > 0 && piece_count <= SCHED_PIECES_MAX);
	struct sched_peer *p;

	if (!is_new)
		return;
	/* The sums over edges are made of these lengths: take the edges off and put them back. */
	for (struct list *it = t->peers.next; it != &t->peers; it = it->next) {
		p = CONTAINER_OF(it, struct sched_peer, in_task);
		for (uint32_t i = 0; i < p->n_parents; i++)
			sched_edge_account(p->parents[i].parent, p, -1);
	}
	if (t->piece_length == 0)
		t->piece_length = piece_length;
	if (t->content_length < 0)
		t->content_length = content_length;
	if (t->piece_count == 0 && piece_count <= SCHED_PIECES_MAX)
		t->piece_count = (uint32_t)piece_count;
	for (struct list *it = t->peers.next; it != &t->peers; it = it->next) {
		p = CONTAINER_OF(it, struct sched_peer, in_task);
		for (uint32_t i = 0; i < p->n_parents; i++)
			sched_edge_account(p->parents[i].parent, p, 1);
		if (p->has_range)
			sched_peer_set_range(p, p->range_start, p->range_length);
	}
	(void)r;
}

void
sched_task_remove(struct sched_resources *r, struct sched_task *t)
{
	while (!list_is_empty(&t->peers))
		sched_peer_remove(r, CONTAINER_OF(t->peers.next, struct sched_peer, in_task));
	if (r->on_task_gone)
		r->on_task_gone(r->ctx, t);
	map_del(&r->tasks, slice_str(t->id));
	list_del(&t->all);
	list_del(&t->dirty);
	list_del(&t->bereft);
	r->memory -= sizeof *t + strlen(t->id) + 160;
	sched_task_set_text(r, t, &t->url, slice_make(NULL, 0));
	sched_task_set_text(r, t, &t->digest, slice_make(NULL, 0));
	sched_task_set_text(r, t, &t->tag, slice_make(NULL, 0));
	sched_task_set_text(r, t, &t->application, slice_make(NULL, 0));
	sched_task_set_params(t, NULL, 0);
	for (uint32_t i = 0; i < t->n_buckets; i++)
		free(t->buckets[i].peers);
	free(t->buckets);
	free(t->servers);
	free(t->id);
	free(t);
}
