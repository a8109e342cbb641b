/*
 * What outlives the process: tasks that are whole, and their replicas. An append-only file of records; at the start it is read and written
 * anew without what is over. A record: length (4 bytes) and CRC-32 (4) of what follows, little-endian; type (1), kind (1), fields. The first
 * record that is not whole ends the file.
 *     1 task: id, tag, application, url, region, endpoint (texts), replicas, piece length, content length, piece count, ttl ms,
 *       created ms, updated ms (8 bytes each)      2 task gone: id
 *     3 replica: task id, peer id, host id, created ms       4 replica gone: peer id
 * A text: length + 1 (4 bytes; 0: absent), bytes.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/crc32.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/read_file.h"
#include "base/write_file.h"
#include "scheduler/persist.h"
#include "scheduler/service.h"

#define MAGIC "dragonfly-persistent-1\n"
/* PERSIST_TASKS_MAX tasks of the usual size, twice. */
#define JOURNAL_MAX ((size_t)256 << 20)
#define RECORD_MAX (64u * 1024)

enum { RECORD_TASK = 1, RECORD_TASK_GONE, RECORD_PEER, RECORD_PEER_GONE };

/* ---- writing ---- */

static void
put_u32(struct buf *b, uint32_t v)
{
	for (int i = 0; i < 4; i++)
		buf_append_u8(b, (uint8_t)(v >> (8 * i)));
}

static void
put_u64(struct buf *b, uint64_t v)
{
	for (int i = 0; i < 8; i++)
		buf_append_u8(b, (uint8_t)(v >> (8 * i)));
}

static void
put_text(struct buf *b, const char *s)
{
	size_t n = s ? strlen(s) : 0;

	put_u32(b, s ? (uint32_t)n + 1 : 0);
	buf_append(b, s, n);
}

static void
begin(struct buf *b, uint8_t type, enum persist_kind kind)
{
	buf_append_u8(b, type);
	buf_append_u8(b, (uint8_t)kind);
}

/* Frames the record's body. */
static void
end(struct buf *out, struct buf *body)
{
	put_u32(out, (uint32_t)body->len);
	put_u32(out, crc32_update(0, buf_data(body), body->len));
	buf_append_slice(out, buf_slice(body));
	buf_free(body);
}

static void
put_task(struct buf *out, const struct persist_task *t)
{
	struct buf b = BUF_INIT;

	begin(&b, RECORD_TASK, t->kind);
	put_text(&b, t->id);
	put_text(&b, t->tag);
	put_text(&b, t->application);
	put_text(&b, t->url);
	put_text(&b, t->region);
	put_text(&b, t->endpoint);
	put_u64(&b, t->replicas);
	put_u64(&b, t->piece_length);
	put_u64(&b, t->content_length);
	put_u64(&b, t->piece_count);
	put_u64(&b, (uint64_t)t->ttl_ms);
	put_u64(&b, (uint64_t)t->created_ms);
	put_u64(&b, (uint64_t)t->updated_ms);
	end(out, &b);
}

static void
put_peer(struct buf *out, const struct persist_peer *c)
{
	struct buf b = BUF_INIT;

	begin(&b, RECORD_PEER, c->task->kind);
	put_text(&b, c->task->id);
	put_text(&b, c->id);
	put_text(&b, c->host_id);
	put_u64(&b, (uint64_t)c->created_ms);
	end(out, &b);
}

static void
append(struct persist *p, struct buf *b)
{
	if (p->journal >= 0 && write_fd(p->journal, buf_slice(b)) < 0 && !p->journal_is_broken) {
		p->journal_is_broken = true;
		log_error("journal of persistent tasks not written path=%s error=\"%s\"", p->journal_path, strerror(errno));
	}
	buf_free(b);
}

void
persist_journal_task(const struct persist_task *t)
{
	struct buf b = BUF_INIT;

	put_task(&b, t);
	append(t->all, &b);
}

void
persist_journal_peer(const struct persist_peer *c)
{
	struct buf b = BUF_INIT;

	put_peer(&b, c);
	append(c->task->all, &b);
}

static void
write_gone(struct persist *p, uint8_t type, enum persist_kind kind, const char *id)
{
	struct buf b = BUF_INIT, body = BUF_INIT;

	begin(&body, type, kind);
	put_text(&body, id);
	end(&b, &body);
	append(p, &b);
}

void
persist_journal_task_gone(const struct persist_task *t)
{
	if (t->all->journal >= 0)
		write_gone(t->all, RECORD_TASK_GONE, t->kind, t->id);
}

void
persist_journal_peer_gone(const struct persist_peer *c)
{
	if (c->task->all->journal >= 0)
		write_gone(c->task->all, RECORD_PEER_GONE, c->task->kind, c->id);
}

/* ---- reading ---- */

struct reader {
	struct slice s;
	bool is_bad;
};

static uint64_t
get_number(struct reader *r, unsigned bytes)
{
	uint64_t v = 0;

	if (r->s.n < bytes) {
		r->is_bad = true;
		return 0;
	}
	for (unsigned i = bytes; i-- > 0;)
		v = v << 8 | r->s.p[i];
	r->s = slice_sub(r->s, bytes, r->s.n);
	return v;
}

/* p NULL: absent. */
static struct slice
get_text(struct reader *r)
{
	uint64_t n = get_number(r, 4);
	struct slice out;

	if (n == 0)
		return slice_make(NULL, 0);
	if (n - 1 > r->s.n) {
		r->is_bad = true;
		return slice_make(NULL, 0);
	}
	out = slice_sub(r->s, 0, (size_t)n - 1);
	r->s = slice_sub(r->s, (size_t)n - 1, r->s.n);
	return out;
}

static char *
text_or_null(struct slice s)
{
	return s.p ? slice_dup(s) : NULL;
}

static void
read_task(struct persist *p, enum persist_kind kind, struct reader *r)
{
	struct slice id = get_text(r), text[5];
	uint64_t n[7];
	struct persist_task *t;

	for (size_t i = 0; i < COUNT_OF(text); i++)
		text[i] = get_text(r);
	for (size_t i = 0; i < COUNT_OF(n); i++)
		n[i] = get_number(r, 8);
	if (r->is_bad || id.n == 0 || n[3] > UINT32_MAX || n[4] > INT64_MAX || n[5] > INT64_MAX || n[6] > INT64_MAX)
		return;
	t = persist_task_find(p, kind, id);
	if (t)
		persist_task_remove(t);
	t = persist_task_new(p, kind, id);
	if (!t)
		return;
	t->state = PERSIST_TASK_SUCCEEDED;
	t->tag = text_or_null(text[0]);
	t->application = text_or_null(text[1]);
	t->url = text_or_null(text[2]);
	t->region = text_or_null(text[3]);
	t->endpoint = text_or_null(text[4]);
	t->replicas = n[0];
	t->piece_length = n[1];
	t->content_length = n[2];
	t->piece_count = (uint32_t)n[3];
	t->updated_ms = (int64_t)n[6];
	persist_task_set_ttl(t, (int64_t)n[5], (int64_t)n[4]);
}

static void
read_peer(struct persist *p, enum persist_kind kind, struct reader *r)
{
	struct slice task_id = get_text(r), id = get_text(r), host_id = get_text(r);
	uint64_t created = get_number(r, 8);
	struct persist_task *t;
	struct persist_peer *c;

	if (r->is_bad || id.n == 0 || host_id.n == 0 || created > INT64_MAX)
		return;
	t = persist_task_find(p, kind, task_id);
	if (!t || persist_peer_find(p, kind, id))
		return;
	c = persist_peer_new(t, id, host_id);
	if (!c)
		return;
	c->state = PERSIST_PEER_SUCCEEDED;
	c->is_persistent = true;
	c->created_ms = c->updated_ms = (int64_t)created;
	persist_peer_set_away(c, true);
}

static void
read_record(struct persist *p, struct slice body)
{
	struct reader r = { .s = body };
	uint64_t type = get_number(&r, 1), kind = get_number(&r, 1);
	struct persist_task *t;
	struct persist_peer *c;

	if (r.is_bad || kind >= PERSIST_KINDS)
		return;
	switch (type) {
	case RECORD_TASK:
		read_task(p, (enum persist_kind)kind, &r);
		break;
	case RECORD_TASK_GONE:
		t = persist_task_find(p, (enum persist_kind)kind, get_text(&r));
		if (t)
			persist_task_remove(t);
		break;
	case RECORD_PEER:
		read_peer(p, (enum persist_kind)kind, &r);
		break;
	case RECORD_PEER_GONE:
		c = persist_peer_find(p, (enum persist_kind)kind, get_text(&r));
		if (c)
			persist_peer_remove(c);
		break;
	default:
		break;
	}
}

static void
replay(struct persist *p, struct slice all)
{
	struct reader r = { .s = all };

	if (!slice_starts(all, MAGIC)) {
		log_warn("journal of persistent tasks is none, starting without path=%s", p->journal_path);
		return;
	}
	r.s = slice_sub(all, sizeof MAGIC - 1, all.n);
	while (r.s.n > 0) {
		uint64_t n = get_number(&r, 4), crc = get_number(&r, 4);

		if (r.is_bad || n > RECORD_MAX || n > r.s.n || crc32_update(0, r.s.p, (size_t)n) != crc) {
			log_warn("journal of persistent tasks ends early path=%s", p->journal_path);
			return;
		}
		read_record(p, slice_sub(r.s, 0, (size_t)n));
		r.s = slice_sub(r.s, (size_t)n, r.s.n);
	}
}

/* ---- the file ---- */

/* All there is, whole, in place of what was. The descriptor for what follows, or -1. */
static int
write_anew(struct persist *p)
{
	struct buf b = BUF_INIT;
	char *next = xasprintf("%s.new", p->journal_path);
	int fd = open(next, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
	struct persist_task *t;

	buf_append_str(&b, MAGIC);
	for (unsigned kind = 0; kind < PERSIST_KINDS; kind++) {
		for (size_t at = 0; (t = map_next(&p->tasks[kind], &at)) != NULL;) {
			put_task(&b, t);
			LIST_EACH(it, following, &t->peers)
				put_peer(&b, CONTAINER_OF(it, struct persist_peer, in_task));
		}
	}
	if (fd >= 0 && (write_fd(fd, buf_slice(&b)) < 0 || fsync(fd) < 0 || rename(next, p->journal_path) < 0)) {
		int saved = errno;

		close(fd);
		unlink(next);
		errno = saved;
		fd = -1;
	}
	buf_free(&b);
	free(next);
	return fd;
}

void
persist_journal_open(struct persist *p, const char *path)
{
	struct buf b = BUF_INIT;
	int rc;

	p->journal_path = xstrdup(path);
	rc = read_file(path, JOURNAL_MAX, &b);
	if (rc == 0)
		replay(p, buf_slice(&b));
	else if (errno != ENOENT)
		log_warn("journal of persistent tasks not read path=%s error=\"%s\"", path, strerror(errno));
	buf_free(&b);
	p->journal = write_anew(p);
	if (p->journal < 0)
		log_error("journal of persistent tasks not written path=%s error=\"%s\"", path, strerror(errno));
	if (persist_task_count(p) > 0)
		log_info("persistent tasks read path=%s tasks=%zu", path, persist_task_count(p));
}

void
persist_journal_close(struct persist *p)
{
	if (p->journal >= 0 && (fsync(p->journal) < 0 || close(p->journal) < 0))
		log_warn("journal of persistent tasks not synced path=%s error=\"%s\"", p->journal_path, strerror(errno));
	p->journal = -1;
	free(p->journal_path);
	p->journal_path = NULL;
}
