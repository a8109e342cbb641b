#include "store/file.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/crc32.h"
#include "base/err.h"
#include "store/sys.h"

struct store_file *
store_file_ref(struct store_file *f)
{
	atomic_fetch_add_explicit(&f->refs, 1, memory_order_relaxed);
	return f;
}

void
store_file_unref(struct store_file *f)
{
	if (!f || atomic_fetch_sub_explicit(&f->refs, 1, memory_order_acq_rel) != 1)
		return;
	f->sys->close(f->fd);
	free(f);
}

int
store_file_pread(const struct store_file *f, void *p, size_t n, uint64_t at, struct err *e)
{
	uint8_t *to = p;
	ssize_t got;

	while (n > 0) {
		got = f->sys->pread(f->fd, to, n, (off_t)at);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return err_sys(e, errno, "read %s at %" PRIu64, f->path, at);
		if (got == 0)
			return err_set(e, ERR_DATA_LOSS, "read %s: the file ends at %" PRIu64 ", %zu bytes early", f->path, at, n);
		to += got;
		at += (uint64_t)got;
		n -= (size_t)got;
	}
	return 0;
}

static int
write_error(const struct store_file *f, size_t n, uint64_t at, int errnum, struct err *e)
{
	if (errnum != ENOSPC && errnum != EDQUOT)
		return err_sys(e, errnum, "write %s at %" PRIu64, f->path, at);
	err_set(e, ERR_RESOURCE_EXHAUSTED, "no space left on device: write %zu bytes to %s at %" PRIu64 "%s", n, f->path, at,
		errnum == EDQUOT ? ": disk quota exceeded" : "");
	if (e)
		e->sys = errnum;
	return -1;
}

int
store_file_pwrite(const struct store_file *f, const void *p, size_t n, uint64_t at, struct err *e)
{
	const uint8_t *from = p;
	ssize_t put;

	while (n > 0) {
		put = f->sys->pwrite(f->fd, from, n, (off_t)at);
		if (put < 0 && errno == EINTR)
			continue;
		if (put <= 0)
			return write_error(f, n, at, put < 0 ? errno : EIO, e);
		from += put;
		at += (uint64_t)put;
		n -= (size_t)put;
	}
	return 0;
}

int
store_file_crc(const struct store_file *f, uint64_t at, uint64_t n, void *buf, uint32_t *crc, struct err *e)
{
	uint32_t c = 0;

	while (n > 0) {
		size_t part = n < STORE_IO_BYTES ? (size_t)n : STORE_IO_BYTES;

		if (store_file_pread(f, buf, part, at, e) < 0)
			return -1;
		c = crc32_update(c, buf, part);
		at += part;
		n -= part;
	}
	*crc = c;
	return 0;
}

int
store_file_check(const struct store_file *f, uint64_t at, uint64_t n, uint32_t crc, void *buf, struct err *e)
{
	uint32_t found;

	if (store_file_crc(f, at, n, buf, &found, e) < 0)
		return -1;
	if (found != crc)
		return err_set(e, ERR_DATA_LOSS, "%s: bytes %" PRIu64 " to %" PRIu64 " have crc32 %" PRIu32 ", expected %" PRIu32, f->path, at,
			at + n, found, crc);
	return 0;
}

int
store_file_sync(const struct store_file *f, struct err *e)
{
	int rc;

	do
		rc = f->sys->fdatasync(f->fd);
	while (rc < 0 && errno == EINTR);
	return rc < 0 ? err_sys(e, errno, "sync %s", f->path) : 0;
}

int
store_file_identity(const struct store_file *f, struct store_identity *out, struct err *e)
{
	struct stat st;

	if (f->sys->fstat(f->fd, &st) < 0)
		return err_sys(e, errno, "stat %s", f->path);
	out->ino = (uint64_t)st.st_ino;
	out->size = (uint64_t)st.st_size;
	out->mtime_ns = (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec;
	return 0;
}
