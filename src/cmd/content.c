#include "cmd/content.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"

#define READ_BYTES ((size_t)256 * 1024)
/* A stream's early runs of bytes; pieces are in flight few at a time, so there are never many. */
#define SPOOL_RUNS_MAX 65536

/* Bytes of a stream that came too early: they wait in the spool file at their place. */
struct run {
	uint64_t at, length;
};

struct content {
	struct content_options o;
	uint64_t start, length;
	uint64_t written;               /* bytes taken, in any order */
	int fd;
	char *temporary;                /* the file until it has its name; NULL for a stream and when it is gone */
	uint64_t next;                  /* of a stream: all before it went out */
	int spool;                      /* -1: none yet */
	struct run *runs;               /* in the spool, by place */
	size_t run_count;
	struct digest digest;           /* of a stream */
};

static const char *
name_of(const struct content *c)
{
	return c->o.path != NULL ? c->o.path : "standard output";
}

/* ---- opening ---- */

static int
open_temporary(struct content *c, struct err *e)
{
	const char *slash = strrchr(c->o.path, '/');

	c->temporary = xasprintf("%.*s/.%.200s.%ld.part", (int)(slash - c->o.path), c->o.path, slash + 1, (long)getpid());
	c->fd = open(c->temporary, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0644);
	if (c->fd < 0) {
		err_sys(e, errno, "create %s", c->temporary);
		free(c->temporary);
		c->temporary = NULL;
		return -1;
	}
	/* A reservation, not a promise: file systems that cannot do it say so, and writing tells what counts. */
	if (c->length > 0 && posix_fallocate(c->fd, 0, (off_t)c->length) == ENOSPC)
		return err_sys(e, ENOSPC, "create %s", c->o.path);
	return 0;
}

struct content *
content_new(const struct content_options *o, uint64_t start, uint64_t length, struct err *e)
{
	struct content *c = xcalloc(1, sizeof *c);

	c->o = *o;
	c->start = start;
	c->length = length;
	c->spool = -1;
	c->fd = STDOUT_FILENO;
	if (length > INT64_MAX) {
		err_set(e, ERR_OUT_OF_RANGE, "content of %llu bytes is too large", (unsigned long long)length);
		goto fail;
	}
	if (o->digest != NULL)
		digest_init(&c->digest, o->digest_kind);
	if (o->path == NULL)
		return c;
	if (!o->is_stream) {
		if (open_temporary(c, e) < 0)
			goto fail;
		return c;
	}
	c->fd = open(o->path, O_WRONLY | O_CLOEXEC);
	if (c->fd >= 0)
		return c;
	err_sys(e, errno, "open %s", o->path);
fail:
	content_free(c);
	return NULL;
}

/* ---- writing ---- */

static int
write_all(struct content *c, const uint8_t *p, size_t n, struct err *e)
{
	while (n > 0) {
		ssize_t done = write(c->fd, p, n);

		if (done < 0 && errno == EINTR) {
			if (c->o.is_interrupted != NULL && c->o.is_interrupted())
				return err_set(e, ERR_CANCELLED, "interrupted");
			continue;
		}
		if (done < 0)
			return err_sys(e, errno, "write %s", name_of(c));
		p += done;
		n -= (size_t)done;
	}
	return 0;
}

static int
write_at(int fd, const uint8_t *p, size_t n, uint64_t at, const char *name, struct err *e)
{
	while (n > 0) {
		ssize_t done = pwrite(fd, p, n, (off_t)at);

		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0)
			return err_sys(e, errno, "write %s", name);
		p += done;
		at += (uint64_t)done;
		n -= (size_t)done;
	}
	return 0;
}

static int
read_at(int fd, uint8_t *p, size_t n, uint64_t at, const char *name, struct err *e)
{
	while (n > 0) {
		ssize_t done = pread(fd, p, n, (off_t)at);

		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0)
			return err_sys(e, errno, "read %s", name);
		if (done == 0)
			return err_set(e, ERR_DATA_LOSS, "read %s: shorter than written", name);
		p += done;
		at += (uint64_t)done;
		n -= (size_t)done;
	}
	return 0;
}

static int
stream_out(struct content *c, const uint8_t *p, size_t n, struct err *e)
{
	if (write_all(c, p, n, e) < 0)
		return -1;
	if (c->o.digest != NULL)
		digest_update(&c->digest, p, n);
	c->next += n;
	return 0;
}

static int
open_spool(struct content *c, struct err *e)
{
	const char *dir = getenv("TMPDIR");
	char *path;

	if (c->spool >= 0)
		return 0;
	path = xasprintf("%s/dfget-XXXXXX", dir != NULL && dir[0] == '/' ? dir : "/tmp");
	c->spool = mkstemp(path);
	if (c->spool < 0)
		err_sys(e, errno, "create %s", path);
	else
		unlink(path);
	free(path);
	return c->spool < 0 ? -1 : 0;
}

static int
spool(struct content *c, uint64_t at, struct slice bytes, struct err *e)
{
	size_t place = c->run_count;

	if (open_spool(c, e) < 0 || write_at(c->spool, bytes.p, bytes.n, at, "spool file", e) < 0)
		return -1;
	if (c->run_count == SPOOL_RUNS_MAX)
		return err_set(e, ERR_RESOURCE_EXHAUSTED, "more than %d runs of content came out of order", SPOOL_RUNS_MAX);
	c->runs = xrealloc(c->runs, (c->run_count + 1) * sizeof *c->runs);
	while (place > 0 && c->runs[place - 1].at > at)
		place--;
	memmove(&c->runs[place + 1], &c->runs[place], (c->run_count - place) * sizeof *c->runs);
	c->runs[place] = (struct run){.at = at, .length = bytes.n};
	c->run_count++;
	return 0;
}

/* Sends what waited for the bytes that just went out. */
static int
drain_spool(struct content *c, struct err *e)
{
	uint8_t *buf = NULL;
	size_t done = 0;
	int rc = 0;

	while (rc == 0 && done < c->run_count && c->runs[done].at == c->next) {
		uint64_t end = c->runs[done].at + c->runs[done].length;

		if (buf == NULL)
			buf = xmalloc(READ_BYTES);
		while (rc == 0 && c->next < end) {
			size_t n = end - c->next < READ_BYTES ? (size_t)(end - c->next) : READ_BYTES;

			rc = read_at(c->spool, buf, n, c->next, "spool file", e);
			if (rc == 0)
				rc = stream_out(c, buf, n, e);
		}
		done++;
	}
	memmove(c->runs, c->runs + done, (c->run_count - done) * sizeof *c->runs);
	c->run_count -= done;
	free(buf);
	return rc;
}

int
content_write(struct content *c, uint64_t offset, struct slice bytes, struct err *e)
{
	uint64_t at;

	/* Pieces are whole, the range need not be. */
	if (offset < c->start) {
		uint64_t skip = c->start - offset;

		bytes = slice_sub(bytes, skip < bytes.n ? (size_t)skip : bytes.n, bytes.n);
		offset = c->start;
	}
	at = offset - c->start;
	if (at >= c->length || bytes.n == 0)
		return 0;
	if (bytes.n > c->length - at)
		bytes = slice_sub(bytes, 0, (size_t)(c->length - at));
	c->written += bytes.n;
	if (c->temporary != NULL)
		return write_at(c->fd, bytes.p, bytes.n, at, c->o.path, e);
	if (at != c->next)
		return spool(c, at, bytes, e);
	if (stream_out(c, bytes.p, bytes.n, e) < 0)
		return -1;
	return c->run_count > 0 ? drain_spool(c, e) : 0;
}

/* ---- the end ---- */

static int
hash_file(struct content *c, struct err *e)
{
	uint8_t *buf = xmalloc(READ_BYTES);
	int rc = 0;

	for (uint64_t at = 0; rc == 0 && at < c->length;) {
		size_t n = c->length - at < READ_BYTES ? (size_t)(c->length - at) : READ_BYTES;

		rc = read_at(c->fd, buf, n, at, c->o.path, e);
		digest_update(&c->digest, buf, n);
		at += n;
		if (c->o.is_interrupted != NULL && c->o.is_interrupted())
			rc = err_set(e, ERR_CANCELLED, "interrupted");
	}
	free(buf);
	return rc;
}

static int
check_digest(struct content *c, struct err *e)
{
	char hex[DIGEST_HEX_MAX];

	if (c->o.digest == NULL)
		return 0;
	if (c->temporary != NULL && hash_file(c, e) < 0)
		return -1;
	digest_final_hex(&c->digest, hex);
	if (digest_matches(c->o.digest, c->o.digest_kind, hex))
		return 0;
	if (c->o.digest_kind == DIGEST_CRC32)
		return err_set(e, ERR_DATA_LOSS, "digest mismatch expected: %s, actual: crc32:%lu", c->o.digest, strtoul(hex, NULL, 16));
	return err_set(e, ERR_DATA_LOSS, "digest mismatch expected: %s, actual: %s:%s", c->o.digest, digest_kind_name(c->o.digest_kind), hex);
}

/* Without overwrite a file that appeared meanwhile stays: a link is refused where a rename would replace it. */
static int
give_name(struct content *c, struct err *e)
{
	if (c->o.fsync && fsync(c->fd) < 0)
		return err_sys(e, errno, "fsync %s", c->o.path);
	if (!c->o.overwrite) {
		if (link(c->temporary, c->o.path) == 0) {
			unlink(c->temporary);
			goto done;
		}
		if (errno == EEXIST)
			return err_set(e, ERR_ALREADY_EXISTS, "output path %s is already exists", c->o.path);
		/* A file system without links. */
		if (access(c->o.path, F_OK) == 0)
			return err_set(e, ERR_ALREADY_EXISTS, "output path %s is already exists", c->o.path);
	}
	if (rename(c->temporary, c->o.path) < 0)
		return err_sys(e, errno, "rename %s to %s", c->temporary, c->o.path);
done:
	free(c->temporary);
	c->temporary = NULL;
	return 0;
}

int
content_finish(struct content *c, struct err *e)
{
	if (c->written != c->length || (c->temporary == NULL && c->next != c->length))
		return err_set(e, ERR_DATA_LOSS, "unknown download incomplete");
	if (check_digest(c, e) < 0)
		return -1;
	return c->temporary != NULL ? give_name(c, e) : 0;
}

bool
content_is_spent(const struct content *c)
{
	return c->temporary == NULL && c->next > 0;
}

void
content_free(struct content *c)
{
	if (c == NULL)
		return;
	if (c->temporary != NULL)
		unlink(c->temporary);
	free(c->temporary);
	if (c->fd >= 0 && c->fd != STDOUT_FILENO)
		close(c->fd);
	if (c->spool >= 0)
		close(c->spool);
	free(c->runs);
	free(c);
}
