/*
 * Task records on disk: written aside in tmp/ and renamed into place, so that a name always holds a whole record.
 */
#include "store/private.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"

/* A task of which some piece waits for a check is written with an identity that matches no file, so that the next run checks, too. */
void
store_meta_fill(const struct store_task *t, int64_t complete_at, struct store_meta *m)
{
	const struct store_pieces *p = t->loaded;

	memset(m, 0, sizeof(*m));
	m->kind = t->kind;
	m->is_persistent = t->is_persistent;
	m->is_imported = t->is_imported;
	m->is_linked = t->is_linked;
	m->is_private = t->is_private;
	m->id = t->id;
	m->content_length = t->content_length;
	m->piece_length = t->piece_length;
	m->created_at = t->created_at;
	m->updated_at = t->updated_at;
	m->finished_at = t->finished_at;
	m->failed_at = t->failed_at;
	m->prefetched_at = t->prefetched_at;
	m->ttl = t->ttl;
	m->complete_at = complete_at;
	m->has_identity = t->has_identity;
	if (t->has_identity && t->is_trusted) {
		m->identity.ino = t->id_ino;
		m->identity.size = t->id_size;
		m->identity.mtime_ns = t->id_mtime_ns;
	}
	m->etag = p->etag;
	m->last_modified = p->last_modified;
	m->url = p->url;
	m->headers = p->headers;
	m->header_count = p->header_count;
}

static int
write_and_name(struct store_task *t, const char *tmp, const char *name, struct slice bytes, bool sync)
{
	struct store *s = t->store;
	int saved;

	if (store_write_file(s->sys, s->tmp_fd, tmp, s->file_mode, bytes.p, bytes.n, sync) < 0)
		return -1;
	if (s->sys->renameat(s->tmp_fd, tmp, s->meta_fd, name) == 0)
		return 0;
	saved = errno;
	s->sys->unlinkat(s->tmp_fd, tmp, 0);
	errno = saved;
	return -1;
}

int
store_replace(struct store_task *t, char kind, const char *suffix, struct slice bytes, bool sync, struct err *e)
{
	struct store *s = t->store;
	char tmp[32], name[STORE_NAME_MAX];
	int rc;

	snprintf(tmp, sizeof(tmp), "%c-%" PRIu32, kind, s->next_tmp++);
	store_name(name, t->kind, t->id, suffix);
	rc = write_and_name(t, tmp, name, bytes, sync);
	if (rc < 0 && errno == ENOENT && store_heal(t) == 0)
		rc = write_and_name(t, tmp, name, bytes, sync);
	return rc < 0 ? err_sys(e, errno, "write %s/tmp/%s for meta/%s", s->dir, tmp, name) : 0;
}

int
store_meta_write(struct store_task *t, bool sync, struct err *e)
{
	struct buf out = BUF_INIT;
	struct store_meta m;
	int rc;

	if (store_load(t, e) < 0)
		return -1;
	store_meta_fill(t, 0, &m);
	store_meta_encode(&m, &out);
	rc = store_replace(t, 'm', ".m", buf_slice(&out), sync && t->store->o.sync != STORE_SYNC_NONE, e);
	if (rc == 0)
		store_task_written(t);
	buf_free(&out);
	return rc;
}

int
store_meta_read(struct store *s, int dir, const char *file, enum store_kind kind, const char *id, struct arena *a, struct store_meta *m,
	struct err *e)
{
	uint8_t small[4096], *p = small, *large = NULL;
	char name[STORE_NAME_MAX];
	ssize_t n;
	int fd, rc = -1;

	store_name(name, kind, id, ".m");
	fd = store_open_at(s->sys, dir, file, O_RDONLY, 0);
	if (fd < 0)
		return err_sys(e, errno, "open %s/meta/%s", s->dir, name);
	n = store_read_all(s->sys, fd, small, sizeof(small), 0);
	if (n == (ssize_t)sizeof(small)) {
		p = large = xmalloc(STORE_META_MAX + 1);
		n = store_read_all(s->sys, fd, large, STORE_META_MAX + 1, 0);
	}
	if (n < 0) {
		err_sys(e, errno, "read %s/meta/%s", s->dir, name);
		goto done;
	}
	if (store_meta_decode(slice_make(p, (size_t)n), a, m, e) < 0) {
		err_wrap(e, "read %s/meta/%s", s->dir, name);
		goto done;
	}
	if (m->kind != kind || strcmp(m->id, id) != 0) {
		err_set(e, ERR_DATA_LOSS, "%s/meta/%s is the record of another task", s->dir, name);
		goto done;
	}
	rc = 0;
done:
	s->sys->close(fd);
	free(large);
	return rc;
}
