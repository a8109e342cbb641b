/*
 * Space: what there is, and what to throw away when it gets short.
 */
#include "store/private.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "store/os/file_os.h"

#define ABANDONED_NS ((int64_t)24 * 3600 * 1000000000)  /* a partial task that nobody touched for a day */
#define FAILED_NS ((int64_t)3600 * 1000000000)          /* a failed task with nothing on disk: who asks for what is not there fills no memory */
#define CRITICAL_PERCENT 95                             /* from here on younger partial tasks go, too */
#define EVICT_NOW_NS ((int64_t)250 * 1000000)           /* for a task that begins; the control loop waits, seldom so long: else it would be refused on a busy machine */
#define DROP_HERE_MAX ((uint64_t)16 << 20)              /* its pages are gone in a millisecond; of more, another thread takes care */
#define BUSY_AGAIN_NS ((int64_t)60 * 1000000000)        /* an expired task in use is looked at again after this */

static unsigned
percent_used(uint64_t available, uint64_t total)
{
	if (total == 0)
		return 100;
	if (available >= total)
		return 0;
	/* Without overflow, whatever a file system claims to have. */
	if (total > UINT64_MAX / 128) {
		available >>= 7;
		total >>= 7;
	}
	return 100 - (unsigned)(available * 100 / total);
}

int
store_usage(struct store *s, struct store_usage *out, struct err *e)
{
	struct statvfs fs;
	uint64_t total, available, used = s->used + s->leaving_bytes, taken = used + s->reserved;

	if (s->sys->fstatvfs(s->content_fd, &fs) < 0)
		return err_sys(e, errno, "free space of %s", s->dir);
	total = (uint64_t)fs.f_blocks * fs.f_frsize;
	available = (uint64_t)fs.f_bavail * fs.f_frsize;
	if (s->o.capacity > 0) {
		/* A budget that the file system cannot pay is cut to what it can; files of others are not ours to make room for. */
		total = available < UINT64_MAX - used ? used + available : UINT64_MAX;
		total = s->o.capacity < total ? s->o.capacity : total;
		available = total > taken ? total - taken : 0;
	} else {
		available = available > s->reserved ? available - s->reserved : 0;
	}
	out->total = total;
	out->available = available;
	/* What a collection has chosen is as good as gone: it does not choose more for it. */
	out->percent = percent_used(available + s->leaving_bytes, total);
	out->used = used;
	out->reserved = s->reserved;
	for (int kind = 0; kind < STORE_KINDS; kind++)
		out->tasks[kind] = s->tasks[kind].count;
	return 0;
}

void
store_gc_demand(struct store *s, uint64_t bytes)
{
	if (bytes > s->gc_demand)
		s->gc_demand = bytes;
}

bool
store_gc_is_wanted(const struct store *s)
{
	return s->gc_demand > 0;
}

int
store_say_inodes(struct store *s, struct err *e)
{
	struct statvfs fs;

	if (e && e->sys == ENOSPC && s->sys->fstatvfs(s->content_fd, &fs) == 0 && fs.f_files > 0 && fs.f_favail == 0)
		err_wrap(e, "no space left on device: no inodes left for files and directories");
	return -1;
}

int
store_check_budget(struct store_task *t, uint64_t more, struct err *e)
{
	struct store *s = t->store;

	if (s->o.capacity == 0 || s->used + s->leaving_bytes + s->reserved + more <= s->o.capacity)
		return 0;
	store_gc_demand(s, more);
	return err_set(e, ERR_RESOURCE_EXHAUSTED, "no space left on device: task %s needs %" PRIu64 " more bytes, %" PRIu64 " of the %" PRIu64
		" allowed are taken", t->id, more, s->used + s->leaving_bytes + s->reserved, s->o.capacity);
}

/* ---- one pass ---- */

struct pass {
	struct store *s;
	int64_t now;
	const struct store_gc_limits *limits;
	size_t budget;
	int64_t end_ns;                 /* monotonic; 0: none */
	bool has_spent;
	bool is_now;                    /* files leave their names at once, not by a job */
	struct store_gc_result *result;
};

/* A reference beyond the store's own means that some thread still moves its bytes. */
static bool
is_in_use(const struct store_task *t)
{
	return t->uses > 0 || t->is_busy || (t->file && atomic_load_explicit(&t->file->refs, memory_order_relaxed) > 1);
}

static void
collect(struct pass *in, struct store_task *t, enum store_reason reason)
{
	struct store *s = in->s;
	/* Nothing comes back while an output shares the inode. */
	uint64_t mine = t->disk_bytes, freed = t->is_linked ? 0 : mine;
	struct err e = {0};

	log_debug("task collected task=%s reason=%s bytes=%" PRIu64, t->id, reason == STORE_DELETED_EXPIRED ? "expired" : "space", mine);
	/* Its caller waits for the space. */
	if (in->is_now && store_task_delete(t, reason, &e) < 0)
		log_warn("collected task not removed error=\"%s\"", e.text);
	if (!in->is_now)
		store_task_collect(t, reason);
	in->result->freed += freed;
	/* Against an own budget a linked file counts as freed, too: it is not the store's any more. */
	if (s->o.capacity > 0)
		freed = mine;
	s->gc_goal -= freed < s->gc_goal ? freed : s->gc_goal;
	if (reason == STORE_DELETED_EXPIRED)
		in->result->expired++;
	else
		in->result->evicted++;
}

static bool
is_late(const struct pass *in)
{
	return in->end_ns != 0 && clock_mono_ns() >= in->end_ns;
}

/* Every pass does something, however late it is: else a slow machine would run passes for ever. */
static bool
spend(struct pass *in)
{
	bool is_full = !in->is_now && in->s->trash_count >= STORE_TRASH_MAX;

	if (is_full || in->budget == 0 || (in->has_spent && is_late(in))) {
		in->result->has_more = true;
		in->result->is_waiting = is_full;
		return false;
	}
	in->budget--;
	in->has_spent = true;
	return true;
}

/* A task in use counts as accessed, which takes it out of the way of the walk. */
static void
spare(struct pass *in, struct store_task *t)
{
	store_task_touch(t, in->now);
}

static void
expire_standard(struct pass *in, struct list *ring)
{
	if (in->limits->task_ttl <= 0)
		return;
	LIST_EACH(it, next, ring) {
		struct store_task *t = CONTAINER_OF(it, struct store_task, order);

		if (t->updated_at >= in->now - in->limits->task_ttl || !spend(in))
			return;
		if (t->kind != STORE_STANDARD || !(t = store_sure(t)) || t->updated_at >= in->now - in->limits->task_ttl)
			continue;
		if (is_in_use(t))
			spare(in, t);
		else
			collect(in, t, STORE_DELETED_EXPIRED);
	}
}

static void
expire_failed(struct pass *in)
{
	LIST_EACH(it, next, &in->s->partial) {
		struct store_task *t = CONTAINER_OF(it, struct store_task, order);

		if (t->updated_at + FAILED_NS >= in->now)
			return;
		if (t->failed_at == 0 || t->on_disk || is_in_use(t))
			continue;
		if (!spend(in))
			return;
		collect(in, t, STORE_DELETED_EXPIRED);
	}
}

static void
expire_persistent(struct pass *in)
{
	struct heap_node *first;

	while ((first = heap_min(&in->s->expiry)) != NULL && first->key < in->now && spend(in)) {
		struct store_task *t = store_sure(CONTAINER_OF(first, struct store_task, expiry));

		if (!t || first->key >= in->now)
			continue;
		if (is_in_use(t))
			heap_put(&in->s->expiry, first, in->now + BUSY_AGAIN_NS);
		else
			collect(in, t, STORE_DELETED_EXPIRED);
	}
}

static bool
may_evict_partial(const struct pass *in, const struct store_task *t, bool is_critical)
{
	return !t->is_persistent && (t->failed_at != 0 || t->updated_at + ABANDONED_NS < in->now || is_critical);
}

static void
evict_partial(struct pass *in, bool is_critical)
{
	LIST_EACH(it, next, &in->s->partial) {
		struct store_task *t = CONTAINER_OF(it, struct store_task, order);

		if (in->s->gc_goal == 0)
			return;
		if (is_in_use(t) || !may_evict_partial(in, t, is_critical))
			continue;
		if (!spend(in))
			return;
		t = store_sure(t);
		if (t && t->finished_at == 0 && may_evict_partial(in, t, is_critical))
			collect(in, t, STORE_DELETED_FOR_SPACE);
	}
}

static void
evict_finished(struct pass *in, struct list *ring)
{
	LIST_EACH(it, next, ring) {
		struct store_task *t = CONTAINER_OF(it, struct store_task, order);

		if (in->s->gc_goal == 0 || t->updated_at >= in->now)
			return;
		if (t->is_persistent && t->kind != STORE_STANDARD)
			continue;
		if (!spend(in))
			return;
		t = store_sure(t);
		if (!t || t->finished_at == 0 || (t->is_persistent && t->kind != STORE_STANDARD))
			continue;
		if (is_in_use(t))
			spare(in, t);
		else
			collect(in, t, STORE_DELETED_FOR_SPACE);
	}
}

static void
evict(struct pass *in)
{
	static const enum store_kind order[] = { STORE_STANDARD, STORE_PERSISTENT_CACHE, STORE_PERSISTENT };
	const struct store_gc_limits *l = in->limits;
	struct store *s = in->s;
	struct store_usage u;

	if (store_usage(s, &u, NULL) < 0)
		return;
	/* A goal once set is followed to its end, over as many passes as it takes. */
	if (s->gc_goal == 0 && l->high_percent > 0 && u.percent >= l->high_percent && u.percent > l->low_percent)
		s->gc_goal = u.total / 100 * (u.percent - l->low_percent) + u.total % 100 * (u.percent - l->low_percent) / 100;
	if (s->gc_demand > s->gc_goal)
		s->gc_goal = s->gc_demand;
	s->gc_demand = 0;
	if (s->gc_goal == 0)
		return;
	evict_partial(in, false);
	for (size_t i = 0; i < COUNT_OF(order); i++)
		evict_finished(in, &s->finished[order[i]]);
	if (s->gc_goal > 0 && !in->result->has_more && u.percent >= CRITICAL_PERCENT)
		evict_partial(in, true);
	/* Nothing is left that may go: the next pass judges anew. */
	if (!in->result->has_more)
		s->gc_goal = 0;
}

void
store_evict_now(struct store *s)
{
	static const struct store_gc_limits none;
	struct store_gc_result r = {0};
	struct pass in = { .s = s, .now = clock_wall_ns(), .limits = &none, .budget = SIZE_MAX, .end_ns = clock_mono_ns() + EVICT_NOW_NS,
		.is_now = true, .result = &r };

	evict(&in);
	if (r.evicted > 0)
		log_info("tasks evicted for a new one count=%zu bytes=%" PRIu64, r.evicted, r.freed);
}

static bool
evict_first(struct pass *in, struct list *ring)
{
	LIST_EACH(it, next, ring) {
		struct store_task *t = CONTAINER_OF(it, struct store_task, order);

		if (t->kind != STORE_STANDARD || t->is_persistent || is_in_use(t))
			continue;
		t = store_sure(t);
		/* Gone already: that is room, too. */
		if (!t)
			return true;
		if (t->is_persistent)
			continue;
		collect(in, t, STORE_DELETED_FOR_SPACE);
		return true;
	}
	return false;
}

bool
store_evict_one(struct store *s)
{
	struct store_gc_result r = {0};
	struct pass in = { .s = s, .now = clock_wall_ns(), .is_now = true, .result = &r };

	return evict_first(&in, &s->partial) || evict_first(&in, &s->finished[STORE_STANDARD]);
}

static void
drop_cache(struct store_task *t)
{
	struct store *s = t->store;
	char name[STORE_NAME_MAX];
	int fd;

	if (t->disk_bytes > DROP_HERE_MAX) {
		store_drop_cache(t);
		return;
	}
	if (t->file) {
		store_os_drop_cache(t->file->fd);
		return;
	}
	store_name(name, t->kind, t->id, "");
	fd = store_open_at(s->sys, s->content_fd, name, O_RDONLY, 0);
	if (fd < 0)
		return;
	store_os_drop_cache(fd);
	s->sys->close(fd);
}

/* From the youngest idle task back to the first one that was dropped before: all older ones were, too. Where time runs out, the next pass
 * goes on. */
static void
drop_caches(struct pass *in, int kind)
{
	struct store *s = in->s;
	struct list *ring = &s->finished[kind], *it = s->cache_at[kind] ? s->cache_at[kind] : ring->prev;

	s->cache_at[kind] = NULL;
	for (unsigned steps = 1; it != ring; it = it->prev, steps++) {
		struct store_task *t = CONTAINER_OF(it, struct store_task, order);
		bool is_idle = t->updated_at + in->limits->page_cache_idle < in->now && !is_in_use(t);

		if (is_idle && t->cache_dropped_at > t->updated_at)
			return;
		if ((is_idle && !spend(in)) || (steps % 1024 == 0 && is_late(in))) {
			in->result->has_more = true;
			s->cache_at[kind] = it;
			return;
		}
		if (!is_idle)
			continue;
		drop_cache(t);
		t->cache_dropped_at = in->now;
	}
}

void
store_gc_pass(struct store *s, int64_t now, const struct store_gc_limits *limits, size_t budget, struct store_gc_result *out)
{
	struct pass in = { .s = s, .now = now, .limits = limits, .budget = budget, .result = out };

	*out = (struct store_gc_result){0};
	/* What was collected waits for its removal: first things first. */
	if (s->trash_count >= STORE_TRASH_MAX) {
		out->has_more = out->is_waiting = true;
		return;
	}
	in.end_ns = limits->max_ns > 0 ? clock_mono_ns() + limits->max_ns : 0;
	expire_failed(&in);
	expire_standard(&in, &s->partial);
	expire_standard(&in, &s->finished[STORE_STANDARD]);
	expire_persistent(&in);
	evict(&in);
	if (limits->page_cache_idle > 0)
		for (int kind = 0; kind < STORE_KINDS; kind++)
			drop_caches(&in, kind);
}
