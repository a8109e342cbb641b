/*
 * Contents whose name holds their digest (spec: proxy.md 8, 20): which were compared, which were wrong. Control loop; the reading is done by
 * the threads for blocking work.
 */
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "peer/worker.h"
#include "serve/proxy_fetch.h"
#include "serve/proxy_internal.h"
#include "store/file.h"
#include "store/store.h"

/* Ids of wrong contents that are kept in mind; more are forgotten. */
#define SUSPECTS_MAX 1024

struct verify {
	struct work_job work;
	struct proxy *proxy;
	struct store_task *task;        /* in use */
	struct store_file *file;
	uint64_t length;
	char want[DIGEST_HEX_MAX];
	bool was_read, is_good;
};

static void
put(struct map *m, const char *task_id)
{
	char *id = xstrdup(task_id);

	free(map_put(m, slice_str(id), id));
}

static void
free_all(struct map *m)
{
	size_t at = 0;
	char *id;

	while ((id = map_next(m, &at)) != NULL) {
		map_del(m, slice_str(id));
		free(id);
	}
	map_free(m);
}

bool
proxy_is_verified(const struct proxy *p, const char *task_id)
{
	return map_get(&p->verified, slice_str(task_id)) != NULL;
}

void
proxy_set_verified(struct proxy *p, const char *task_id)
{
	free(map_del(&p->suspects, slice_str(task_id)));
	put(&p->verified, task_id);
}

void
proxy_content_is_wrong(struct proxy *p, struct store_task *t)
{
	struct err e;

	log_error("content does not have the digest of its name and is dropped task=%s length=%llu", t->id, (unsigned long long)t->content_length);
	if (p->suspects.count < SUSPECTS_MAX)
		put(&p->suspects, t->id);
	if (!t->is_deleted && store_task_delete(t, STORE_DELETED_DAMAGED, &e) < 0)
		log_warn("%s", e.text);
}

bool
proxy_take_suspect(struct proxy *p, const char *task_id)
{
	char *id = map_del(&p->suspects, slice_str(task_id));

	free(id);
	return id != NULL;
}

static void
compare(struct work_job *work)
{
	struct verify *v = CONTAINER_OF(work, struct verify, work);
	uint8_t *buf = xmalloc(STORE_IO_BYTES);
	char hex[DIGEST_HEX_MAX];
	struct digest d;
	struct err e;

	digest_init(&d, DIGEST_SHA256);
	for (uint64_t at = 0; at < v->length;) {
		size_t n = v->length - at < STORE_IO_BYTES ? (size_t)(v->length - at) : STORE_IO_BYTES;

		if (store_file_pread(v->file, buf, n, at, &e) < 0)
			goto out;
		digest_update(&d, buf, n);
		at += n;
	}
	digest_final_hex(&d, hex);
	v->was_read = true;
	v->is_good = strcmp(hex, v->want) == 0;
out:
	free(buf);
}

static void
compared(struct work_job *work)
{
	struct verify *v = CONTAINER_OF(work, struct verify, work);

	v->proxy->verifying--;
	if (v->was_read && !v->task->is_deleted) {
		if (v->is_good)
			proxy_set_verified(v->proxy, v->task->id);
		else
			proxy_content_is_wrong(v->proxy, v->task);
	}
	store_file_unref(v->file);
	store_task_release(v->task);
	free(v);
}

void
proxy_verify_start(struct proxy *p, struct store_task *t, const char *want)
{
	struct store_file *file;
	struct verify *v;

	/* Few at a time; the next range asks again. */
	if (p->verifying >= 2 * WORKERS_FILES || proxy_is_verified(p, t->id))
		return;
	file = store_task_file(t, NULL);
	if (file == NULL)
		return;
	v = xcalloc(1, sizeof *v);
	v->proxy = p;
	v->task = t;
	store_task_use(t);
	v->file = file;
	v->length = t->content_length;
	memcpy(v->want, want, strlen(want) + 1);
	v->work.work = compare;
	v->work.done = compared;
	p->verifying++;
	work_start(p->o.workers, &v->work);
}

void
proxy_verified_free(struct proxy *p)
{
	free_all(&p->verified);
	free_all(&p->suspects);
}
