#include "store/check.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"
#include "store/os/file_os.h"
#include "store/private.h"

#define TEXT_MAX 1024
#define CHUNK_RECORDS 1024

struct piece {
	uint32_t crc;
	bool is_finished, has_crc;
};

struct check {
	const struct store_check_options *o;
	struct store_check_result *out;
	const struct store_sys *sys;
	int dir, content, meta;
	enum store_kind kind;
	char shard[STORE_NAME_MAX];
	const char *part;               /* "meta" or "content" */
	void *buffer;
	/* The running task: */
	struct store_meta m;
	struct piece *pieces;
	uint32_t count, cap;
};

static void __attribute__((format(printf, 3, 4)))
found(struct check *c, enum store_finding what, const char *fmt, ...)
{
	char text[TEXT_MAX];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	c->out->findings[what]++;
	c->o->found(c->o->arg, what, text);
}

/* ---- one task ---- */

static uint64_t
piece_count(const struct store_meta *m)
{
	if (m->content_length == STORE_LENGTH_UNKNOWN || m->piece_length == 0)
		return 0;
	return m->content_length / m->piece_length + (m->content_length % m->piece_length > 0);
}

static uint64_t
piece_length(const struct store_meta *m, uint32_t n)
{
	uint64_t rest = m->content_length == STORE_LENGTH_UNKNOWN ? m->piece_length : m->content_length - n * m->piece_length;

	return rest < m->piece_length ? rest : m->piece_length;
}

static bool
fits(const struct store_meta *m, const struct store_record *r)
{
	if (m->piece_length == 0 || r->number >= STORE_PIECES_MAX || r->offset != r->number * m->piece_length)
		return false;
	if (m->content_length != STORE_LENGTH_UNKNOWN && r->number >= piece_count(m))
		return false;
	return r->length == piece_length(m, r->number);
}

static void
set_piece(struct check *c, const struct store_record *r, bool is_finished)
{
	if (r->number >= STORE_PIECES_MAX)
		return;
	if (r->number >= c->cap) {
		uint32_t cap = r->number + 1 < 2 * c->cap ? 2 * c->cap : r->number + 64;

		c->pieces = xrealloc(c->pieces, cap * sizeof(*c->pieces));
		memset(c->pieces + c->cap, 0, (cap - c->cap) * sizeof(*c->pieces));
		c->cap = cap;
	}
	if (r->number >= c->count)
		c->count = r->number + 1;
	c->pieces[r->number] = (struct piece){ .crc = r->crc, .is_finished = is_finished, .has_crc = r->flags & STORE_RECORD_HAS_CRC };
}

static void
read_journal(struct check *c, const char *name, int fd)
{
	uint8_t *chunk = xmalloc((size_t)CHUNK_RECORDS * STORE_RECORD_BYTES);
	struct store_record r;
	uint32_t k = 0;
	ssize_t n;

	do {
		n = store_read_all(c->sys, fd, chunk, (size_t)CHUNK_RECORDS * STORE_RECORD_BYTES, (uint64_t)k * STORE_RECORD_BYTES);
		if (n < 0) {
			found(c, STORE_FOUND_FOREIGN, "meta/%s: not readable: %s", name, strerror(errno));
			break;
		}
		for (size_t at = 0; at < (size_t)n; at += STORE_RECORD_BYTES, k++) {
			if ((size_t)n - at < STORE_RECORD_BYTES || store_record_decode(chunk + at, k, &r) < 0) {
				found(c, STORE_FOUND_DAMAGE, "meta/%s: record %" PRIu32 " at byte %" PRIu64 " is damaged, the journal ends there", name, k,
					(uint64_t)k * STORE_RECORD_BYTES);
				n = 0;
				break;
			}
			if (r.type == STORE_RECORD_FINISHED && fits(&c->m, &r))
				set_piece(c, &r, true);
			else if (r.type == STORE_RECORD_DROPPED)
				set_piece(c, &r, false);
		}
	} while (n == CHUNK_RECORDS * STORE_RECORD_BYTES);
	free(chunk);
}

static void
check_piece(struct check *c, const struct store_file *f, const char *name, uint32_t n, uint64_t size)
{
	uint64_t at = n * c->m.piece_length, length = piece_length(&c->m, n);
	const struct piece *p = &c->pieces[n];
	struct err e = {0};
	uint32_t crc;

	c->out->pieces++;
	c->out->bytes += length;
	if (at + length > size) {
		found(c, STORE_FOUND_DAMAGE, "content/%s: piece %" PRIu32 " at %" PRIu64 " is past the end of the file, %" PRIu64, name, n, at, size);
		return;
	}
	if (c->o->skips_content || !p->has_crc) {
		c->out->unchecked++;
		return;
	}
	if (store_file_crc(f, at, length, c->buffer, &crc, &e) < 0)
		found(c, STORE_FOUND_DAMAGE, "content/%s: piece %" PRIu32 " at %" PRIu64 ": %s", name, n, at, e.text);
	else if (crc != p->crc)
		found(c, STORE_FOUND_DAMAGE, "content/%s: piece %" PRIu32 " at %" PRIu64 " has crc32 %" PRIu32 ", expected %" PRIu32, name, n, at,
			crc, p->crc);
	else
		c->out->checked++;
}

static void
check_pieces(struct check *c, const char *name)
{
	struct store_file f = { .path = name, .sys = c->sys };
	uint64_t have = 0;
	struct stat st;

	f.fd = store_open_at(c->sys, c->content, name, O_RDONLY, 0);
	if (f.fd < 0 && errno != ENOENT) {
		found(c, STORE_FOUND_FOREIGN, "content/%s: not readable: %s", name, strerror(errno));
		return;
	}
	if (f.fd < 0 || c->sys->fstat(f.fd, &st) < 0 || !S_ISREG(st.st_mode)) {
		found(c, STORE_FOUND_DAMAGE, "content/%s: the file is missing", name);
		goto done;
	}
	c->out->disk_bytes += (uint64_t)st.st_blocks * 512;
	if (c->m.content_length != STORE_LENGTH_UNKNOWN && (uint64_t)st.st_size > c->m.content_length)
		found(c, STORE_FOUND_DAMAGE, "content/%s: %" PRIu64 " bytes, the content has %" PRIu64, name, (uint64_t)st.st_size,
			c->m.content_length);
	for (uint32_t n = 0; n < c->count; n++)
		if (c->pieces[n].is_finished) {
			have++;
			check_piece(c, &f, name, n, (uint64_t)st.st_size);
		}
	if (c->m.finished_at != 0 && have != piece_count(&c->m))
		found(c, STORE_FOUND_DAMAGE, "meta/%s.m: finished, but the journal has %" PRIu64 " of %" PRIu64 " pieces", name, have,
			piece_count(&c->m));
	else if (c->m.finished_at != 0)
		c->out->finished++;
done:
	if (f.fd >= 0)
		c->sys->close(f.fd);
}

static int
read_record(struct check *c, const char *name, const char *id, struct arena *a, struct store_meta *m)
{
	struct err e = {0};
	uint8_t *bytes;
	ssize_t n;
	int fd = store_open_at(c->sys, c->meta, name, O_RDONLY, 0), rc = -1;

	if (fd < 0) {
		found(c, STORE_FOUND_FOREIGN, "meta/%s: not readable: %s", name, strerror(errno));
		return -1;
	}
	bytes = xmalloc(STORE_META_MAX + 1);
	n = store_read_all(c->sys, fd, bytes, STORE_META_MAX + 1, 0);
	if (n < 0)
		found(c, STORE_FOUND_FOREIGN, "meta/%s: not readable: %s", name, strerror(errno));
	else if (store_meta_decode(slice_make(bytes, (size_t)n), a, m, &e) < 0)
		found(c, e.code == ERR_DATA_LOSS ? STORE_FOUND_DAMAGE : STORE_FOUND_FOREIGN, "meta/%s: %s", name, e.text);
	else if (m->kind != c->kind || strcmp(m->id, id) != 0)
		found(c, STORE_FOUND_DAMAGE, "meta/%s: the record of another task", name);
	else
		rc = 0;
	free(bytes);
	c->sys->close(fd);
	return rc;
}

static void
check_task(struct check *c, const char *name, const char *id)
{
	char content[STORE_NAME_MAX], journal[STORE_NAME_MAX];
	struct arena a;
	int fd;

	arena_init(&a, 0);
	if (read_record(c, name, id, &a, &c->m) < 0)
		goto done;
	c->out->tasks++;
	c->count = 0;
	if (c->cap > 0)
		memset(c->pieces, 0, c->cap * sizeof(*c->pieces));
	store_name(content, c->kind, id, "");
	store_name(journal, c->kind, id, ".p");
	fd = store_open_at(c->sys, c->meta, journal, O_RDONLY, 0);
	if (fd >= 0) {
		read_journal(c, journal, fd);
		c->sys->close(fd);
	} else if (errno != ENOENT) {
		found(c, STORE_FOUND_FOREIGN, "meta/%s: not readable: %s", journal, strerror(errno));
	}
	check_pieces(c, content);
done:
	arena_free(&a);
}

/* ---- the tree ---- */

static bool
is_there(struct check *c, int dir, const char *id, const char *suffix)
{
	char name[STORE_NAME_MAX];
	struct stat st;

	store_name(name, c->kind, id, suffix);
	return c->sys->fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0 || errno != ENOENT;
}

static int
see_file(void *arg, int fd, const char *name)
{
	struct check *c = arg;
	char id[STORE_ID_MAX + 1], path[2 * STORE_NAME_MAX];
	size_t n = strcspn(name, ".");
	bool is_meta = c->part[0] == 'm';
	const char *suffix = name + n;

	(void)fd;
	snprintf(path, sizeof(path), "%s/%s", c->shard, name);
	snprintf(id, sizeof(id), "%.*s", (int)(n > STORE_ID_MAX ? STORE_ID_MAX : n), name);
	if (n > STORE_ID_MAX || !store_id_is_valid(id) || strncmp(id, strrchr(c->shard, '/') + 1, 3) != 0 ||
	    (is_meta ? strcmp(suffix, ".m") != 0 && strcmp(suffix, ".p") != 0 : *suffix != '\0'))
		found(c, STORE_FOUND_FOREIGN, "%s/%s: not the store's", c->part, path);
	else if (is_meta && suffix[1] == 'm')
		check_task(c, path, id);
	else if (!is_there(c, c->meta, id, ".m"))
		found(c, STORE_FOUND_RUBBISH, "%s/%s: of no task", c->part, path);
	return 0;
}

static int
see_shard(void *arg, int fd, const char *name)
{
	struct check *c = arg;

	(void)fd;
	if (strlen(name) != 3 || strspn(name, "0123456789abcdef") != 3) {
		found(c, STORE_FOUND_FOREIGN, "%s/%s/%s: not the store's", c->part, store_kind_dirs[c->kind], name);
		return 0;
	}
	snprintf(c->shard, sizeof(c->shard), "%s/%s", store_kind_dirs[c->kind], name);
	if (store_each_name(c->sys, c->part[0] == 'm' ? c->meta : c->content, c->shard, see_file, c) < 0)
		found(c, STORE_FOUND_FOREIGN, "%s/%s: not readable: %s", c->part, c->shard, strerror(errno));
	return 0;
}

static int
see_scratch(void *arg, int fd, const char *name)
{
	struct check *c = arg;

	(void)fd;
	found(c, STORE_FOUND_RUBBISH, "tmp/%s: unfinished", name);
	return 0;
}

static int
see_top(void *arg, int fd, const char *name)
{
	static const char *const known[] = { "LOCK", "VERSION", "VERSION.tmp", "CLEAN", "content", "meta", "tmp", "lost+found" };
	struct check *c = arg;

	(void)fd;
	for (size_t i = 0; i < COUNT_OF(known); i++)
		if (strcmp(name, known[i]) == 0)
			return 0;
	/* What other parts of the daemon keep here. */
	if (strncmp(name, "scheduler-", 10) == 0 || strncmp(name, "proxy-", 6) == 0)
		return 0;
	found(c, strncmp(name, "trash-", 6) == 0 ? STORE_FOUND_RUBBISH : STORE_FOUND_FOREIGN, "%s: %s", name,
		strncmp(name, "trash-", 6) == 0 ? "of an earlier run" : "not the store's");
	return 0;
}

/* A start does without what is wrong there, so it is no damage. */
static void
check_index(struct check *c)
{
	int fd = store_open_at(c->sys, c->meta, "index", O_RDONLY, 0);
	uint8_t line[STORE_INDEX_BYTES];
	struct store_hint h;
	uint32_t k = 0;
	ssize_t n;

	if (fd < 0 && errno != ENOENT)
		found(c, STORE_FOUND_FOREIGN, "meta/index: not readable: %s", strerror(errno));
	if (fd < 0)
		return;
	while ((n = store_read_all(c->sys, fd, line, sizeof(line), (uint64_t)k * STORE_INDEX_BYTES)) == (ssize_t)sizeof(line) &&
	    store_hint_decode(line, k, &h) == 0)
		k++;
	if (n < 0)
		found(c, STORE_FOUND_FOREIGN, "meta/index: not readable: %s", strerror(errno));
	else if (n > 0)
		found(c, STORE_FOUND_RUBBISH, "meta/index: line %" PRIu32 " at byte %" PRIu64 " is damaged, the rest says nothing", k,
			(uint64_t)k * STORE_INDEX_BYTES);
	c->sys->close(fd);
}

static void
see_part(struct check *c, const char *part, int dir)
{
	c->part = part;
	for (int kind = 0; kind < STORE_KINDS; kind++) {
		c->kind = (enum store_kind)kind;
		if (store_each_name(c->sys, dir, store_kind_dirs[kind], see_shard, c) < 0)
			found(c, errno == ENOENT ? STORE_FOUND_DAMAGE : STORE_FOUND_FOREIGN, "%s/%s: %s", part, store_kind_dirs[kind], strerror(errno));
	}
}

static int
check_version(struct check *c, struct err *e)
{
	char text[64];
	ssize_t n;
	int fd = store_open_at(c->sys, c->dir, "VERSION", O_RDONLY, 0);

	if (fd < 0 && errno == ENOENT)
		return err_set(e, ERR_FAILED_PRECONDITION, "%s is not a storage directory: no VERSION file", c->o->dir);
	if (fd < 0)
		return err_sys(e, errno, "open %s/VERSION", c->o->dir);
	n = store_read_all(c->sys, fd, text, sizeof(text) - 1, 0);
	c->sys->close(fd);
	text[n < 0 ? 0 : n] = '\0';
	if (strcmp(text, STORE_VERSION_TEXT) == 0)
		return 0;
	text[strcspn(text, "\n")] = '\0';
	return err_set(e, ERR_FAILED_PRECONDITION, "%s has the format \"%s\", this program knows \"dfc-storage 1\" only", c->o->dir, text);
}

static int
open_part(struct check *c, const char *name)
{
	int fd = store_open_at(c->sys, c->dir, name, O_RDONLY | O_DIRECTORY, 0);

	if (fd < 0)
		found(c, errno == ENOENT ? STORE_FOUND_DAMAGE : STORE_FOUND_FOREIGN, "%s: %s", name, strerror(errno));
	return fd;
}

int
store_check(const struct store_check_options *o, struct store_check_result *out, struct err *e)
{
	struct check c = { .o = o, .out = out, .sys = &store_sys_posix, .content = -1, .meta = -1 };
	int lock, rc = -1;

	memset(out, 0, sizeof(*out));
	c.dir = c.sys->openat(AT_FDCWD, o->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
	if (c.dir < 0)
		return err_sys(e, errno, "open directory %s", o->dir);
	lock = store_open_at(c.sys, c.dir, "LOCK", O_RDONLY, 0);
	if (lock >= 0 && store_os_lock(lock) < 0) {
		err_set(e, ERR_ALREADY_EXISTS, "%s is in use by a running daemon; stop it first", o->dir);
		goto done;
	}
	if (check_version(&c, e) < 0)
		goto done;
	c.buffer = xmalloc(STORE_IO_BYTES);
	c.meta = open_part(&c, "meta");
	c.content = open_part(&c, "content");
	store_each_name(c.sys, c.dir, ".", see_top, &c);
	if (c.meta >= 0) {
		check_index(&c);
		see_part(&c, "meta", c.meta);
	}
	if (c.content >= 0)
		see_part(&c, "content", c.content);
	store_each_name(c.sys, c.dir, "tmp", see_scratch, &c);
	rc = 0;
done:
	for (int i = 0; i < 4; i++) {
		int fd = i == 0 ? c.meta : i == 1 ? c.content : i == 2 ? lock : c.dir;

		if (fd >= 0)
			c.sys->close(fd);
	}
	free(c.buffer);
	free(c.pieces);
	return rc;
}
