#include "store/output.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/rand.h"
#include "store/file.h"
#include "store/sys.h"

#define TMP_NAME_MAX 32

struct store_output {
	struct store_file *from;
	const struct store_sys *sys;
	struct store_output_options o;
	char *target;
	const char *base;               /* last part of target */
	int dir;                        /* of the target */
	int fd;
	char tmp[TMP_NAME_MAX];
	uint64_t at, length;
	void *buf;
};

static void
tmp_name(char out[TMP_NAME_MAX])
{
	snprintf(out, TMP_NAME_MAX, ".dfget-%016" PRIx64, rand_u64());
}

static size_t
dir_length(const char *dir)
{
	size_t n = strlen(dir);

	while (n > 0 && dir[n - 1] == '/')
		n--;
	return n;
}

bool
store_output_is_beneath(const char *target, const char *dir)
{
	size_t n = dir_length(dir);

	if (strncmp(target, dir, n) != 0 || target[n] != '/')
		return false;
	for (const char *p = target + n; *p == '/'; p += strcspn(p, "/")) {
		p++;
		if (*p == '/' || *p == '\0' || (p[0] == '.' && (p[1] == '/' || p[1] == '\0')) ||
		    (p[0] == '.' && p[1] == '.' && (p[2] == '/' || p[2] == '\0')))
			return false;
	}
	return true;
}

/* The directory of the target part by part from `beneath` on: whoever may write there cannot lead us elsewhere with a link. */
static int
walk_parent(const struct store_sys *sys, const char *target, const char *beneath, struct err *e)
{
	const char *p = target + dir_length(beneath), *end = strrchr(target, '/');
	int fd = sys->openat(AT_FDCWD, beneath, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0), next;

	if (fd < 0)
		return err_sys(e, errno, "open directory %s for outputs", beneath);
	while (p < end) {
		size_t n = strcspn(++p, "/");
		char *name = xstrndup(p, n);

		next = sys->openat(fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);
		if (next < 0)
			err_sys(e, errno, "open directory %.*s of the output path", (int)(p + n - target), target);
		free(name);
		sys->close(fd);
		if (next < 0)
			return -1;
		fd = next;
		p += n;
	}
	return fd;
}

/* Opens the directory of an absolute path; *base points at the last part. */
static int
open_parent(const struct store_sys *sys, const struct store_output_options *o, const char **base, struct err *e)
{
	const char *target = o->target, *slash = strrchr(target, '/');
	char *dir;
	int fd;

	if (o->beneath != NULL) {
		if (!store_output_is_beneath(target, o->beneath))
			return err_set(e, ERR_PERMISSION_DENIED, "output path %s is not below %s", target, o->beneath);
		*base = slash + 1;
		return walk_parent(sys, target, o->beneath, e);
	}
	if (target[0] != '/' || slash[1] == '\0' || strcmp(slash, "/.") == 0 || strcmp(slash, "/..") == 0)
		return err_set(e, ERR_INVALID_ARGUMENT, "output path %s is not the absolute path of a file", target);
	dir = xstrndup(target, slash == target ? 1 : (size_t)(slash - target));
	fd = sys->openat(AT_FDCWD, dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
	if (fd < 0)
		err_sys(e, errno, "open directory %s of the output path", dir);
	free(dir);
	*base = slash + 1;
	return fd;
}

/* 1: the name is the file's; 0: another one's; -1 with errno: not to be told. */
static int
compare_inode(const struct store_sys *sys, const struct store_file *f, int dir, const char *name)
{
	struct stat a, b;

	if (sys->fstat(f->fd, &a) < 0 || sys->fstatat(dir, name, &b, AT_SYMLINK_NOFOLLOW) < 0)
		return -1;
	return a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

static bool
is_inode(const struct store_sys *sys, const struct store_file *f, int dir, const char *name)
{
	return compare_inode(sys, f, dir, name) == 1;
}

static int
already_exists(const char *target, struct err *e)
{
	return err_set(e, ERR_ALREADY_EXISTS, "output path %s is already exists", target);
}

bool
store_output_is_same(const struct store_file *f, const char *target)
{
	return is_inode(f->sys, f, AT_FDCWD, target);
}

static int
check_target(const struct store_sys *sys, const struct store_output_options *o, const struct store_file *f, int dir, const char *base,
	struct err *e)
{
	struct stat st;

	if (sys->fstatat(dir, base, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : err_sys(e, errno, "look at output path %s", o->target);
	if (S_ISDIR(st.st_mode))
		return err_set(e, ERR_FAILED_PRECONDITION, "output path %s is a directory", o->target);
	if (o->overwrite || (f && is_inode(sys, f, dir, base)))
		return 0;
	return already_exists(o->target, e);
}

int
store_output_check(const struct store_sys *sys, const struct store_output_options *o, const char *content_dir, const struct store_file *f,
	bool force_hard_link, struct err *e)
{
	struct stat here, there;
	const char *base;
	int dir, rc = -1;

	sys = sys ? sys : &store_sys_posix;
	dir = open_parent(sys, o, &base, e);
	if (dir < 0)
		return -1;
	if (check_target(sys, o, f, dir, base, e) < 0)
		goto done;
	if (faccessat(dir, ".", W_OK | X_OK, 0) < 0) {
		err_sys(e, errno, "write to the directory of output path %s", o->target);
		goto done;
	}
	if (force_hard_link) {
		if (sys->fstat(dir, &there) < 0 || sys->fstatat(AT_FDCWD, content_dir, &here, 0) < 0) {
			err_sys(e, errno, "look at %s", content_dir);
			goto done;
		}
		if (here.st_dev != there.st_dev) {
			err_set(e, ERR_FAILED_PRECONDITION, "hard link to output path %s is not possible: it is on another file system than %s",
				o->target, content_dir);
			goto done;
		}
	}
	rc = 0;
done:
	sys->close(dir);
	return rc;
}

/* ---- hard link ---- */

static int
link_error(const struct store_file *f, const char *target, int errnum, struct err *e)
{
	if (errnum == EEXIST)
		return already_exists(target, e);
	err_sys(e, errnum, "link %s to output path %s", f->path, target);
	if (e && (errnum == EXDEV || errnum == EMLINK))
		e->code = ERR_FAILED_PRECONDITION;
	return -1;
}

/* The link was made by path; the file of that name may be another one by now. */
static int
link_checked(const struct store_file *f, int dir, const char *name, const char *target, struct err *e)
{
	int is_same;

	if (f->sys->linkat(AT_FDCWD, f->path, dir, name, 0) < 0)
		return link_error(f, target, errno, e);
	is_same = compare_inode(f->sys, f, dir, name);
	if (is_same == 1)
		return 0;
	if (is_same < 0)
		err_sys(e, errno, "look at output path %s", target);
	f->sys->unlinkat(dir, name, 0);
	return is_same < 0 ? -1 : err_set(e, ERR_ABORTED, "link %s to output path %s: the content was replaced meanwhile", f->path, target);
}

static int
link_over(const struct store_file *f, int dir, const char *base, const char *target, struct err *e)
{
	char tmp[TMP_NAME_MAX];

	tmp_name(tmp);
	if (link_checked(f, dir, tmp, target, e) < 0)
		return -1;
	if (f->sys->renameat(dir, tmp, dir, base) == 0)
		return 0;
	err_sys(e, errno, "rename to output path %s", target);
	f->sys->unlinkat(dir, tmp, 0);
	return -1;
}

static int
sync_parent(const struct store_sys *sys, int dir, const char *target, struct err *e)
{
	int rc;

	do
		rc = sys->fsync(dir);
	while (rc < 0 && errno == EINTR);
	return rc < 0 ? err_sys(e, errno, "sync the directory of output path %s", target) : 0;
}

int
store_output_link(const struct store_file *f, const struct store_output_options *o, struct err *e)
{
	const char *base;
	int dir = open_parent(f->sys, o, &base, e), rc;

	if (dir < 0)
		return -1;
	/* Bytes first, then their name. */
	if (o->sync && store_file_sync(f, e) < 0)
		rc = -1;
	else if (is_inode(f->sys, f, dir, base))
		rc = 0;
	else if (o->overwrite)
		rc = link_over(f, dir, base, o->target, e);
	else
		rc = link_checked(f, dir, base, o->target, e);
	if (rc == 0 && o->sync)
		rc = sync_parent(f->sys, dir, o->target, e);
	f->sys->close(dir);
	return rc;
}

/* ---- copy ---- */

static int
write_error(const struct store_output *out, int errnum, struct err *e)
{
	if (errnum != ENOSPC && errnum != EDQUOT)
		return err_sys(e, errnum, "write output path %s", out->target);
	err_set(e, ERR_RESOURCE_EXHAUSTED, "no space left on device: write output path %s of %" PRIu64 " bytes%s", out->target, out->length,
		errnum == EDQUOT ? ": disk quota exceeded" : "");
	if (e)
		e->sys = errnum;
	return -1;
}

static void
free_output(struct store_output *out)
{
	if (out->fd >= 0)
		out->sys->close(out->fd);
	if (out->dir >= 0)
		out->sys->close(out->dir);
	store_file_unref(out->from);
	free(out->buf);
	free(out->target);
	free(out);
}

void
store_output_abort(struct store_output *out)
{
	if (out->fd >= 0)
		out->sys->unlinkat(out->dir, out->tmp, 0);
	free_output(out);
}

struct store_output *
store_output_open(struct store_file *f, uint64_t length, const struct store_output_options *o, struct err *e)
{
	struct store_output *out = xcalloc(1, sizeof(*out));

	out->from = store_file_ref(f);
	out->sys = f->sys;
	out->o = *o;
	out->target = xstrdup(o->target);
	out->length = length;
	out->fd = -1;
	out->buf = xmalloc(STORE_IO_BYTES);
	out->o.target = out->target;
	out->dir = open_parent(out->sys, &out->o, &out->base, e);
	if (out->dir < 0 || check_target(out->sys, o, f, out->dir, out->base, e) < 0)
		goto fail;
	tmp_name(out->tmp);
	out->fd = out->sys->openat(out->dir, out->tmp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, o->mode ? o->mode : 0644);
	if (out->fd < 0) {
		if (errno == ENOSPC || errno == EDQUOT)
			write_error(out, errno, e);
		else
			err_sys(e, errno, "create a file beside output path %s", out->target);
		goto fail;
	}
	if (o->mode != 0 && out->sys->fchmod(out->fd, o->mode) < 0) {
		err_sys(e, errno, "set the mode of output path %s", out->target);
		goto fail;
	}
	if (o->has_owner && out->sys->fchown(out->fd, o->uid, o->gid) < 0) {
		err_sys(e, errno, "give output path %s to its owner", out->target);
		goto fail;
	}
	if (length > 0 && out->sys->preallocate(out->fd, (off_t)length) < 0 && (errno == ENOSPC || errno == EDQUOT)) {
		write_error(out, errno, e);
		goto fail;
	}
	return out;
fail:
	store_output_abort(out);
	return NULL;
}

static int
write_part(struct store_output *out, size_t n, struct err *e)
{
	const uint8_t *from = out->buf;
	ssize_t put;

	while (n > 0) {
		put = out->sys->pwrite(out->fd, from, n, (off_t)out->at);
		if (put < 0 && errno == EINTR)
			continue;
		if (put <= 0)
			return write_error(out, put < 0 ? errno : EIO, e);
		from += put;
		out->at += (uint64_t)put;
		n -= (size_t)put;
	}
	return 0;
}

int
store_output_step(struct store_output *out, uint64_t max_bytes, struct err *e)
{
	while (out->at < out->length && max_bytes > 0) {
		uint64_t rest = out->length - out->at;
		size_t n = rest < STORE_IO_BYTES ? (size_t)rest : STORE_IO_BYTES;

		if (store_file_pread(out->from, out->buf, n, out->at, e) < 0 || write_part(out, n, e) < 0)
			return -1;
		max_bytes -= n < max_bytes ? n : max_bytes;
	}
	return out->at < out->length;
}

/* A link refuses an existing name in one step, which rename does not. */
static int
name_new(struct store_output *out, struct err *e)
{
	const struct store_sys *sys = out->sys;
	struct stat st;

	if (sys->linkat(out->dir, out->tmp, out->dir, out->base, 0) == 0) {
		sys->unlinkat(out->dir, out->tmp, 0);
		return 0;
	}
	if (errno == EEXIST)
		return already_exists(out->target, e);
	/* A file system without hard links: look, then rename. */
	if (sys->fstatat(out->dir, out->base, &st, AT_SYMLINK_NOFOLLOW) == 0)
		return already_exists(out->target, e);
	if (errno != ENOENT || sys->renameat(out->dir, out->tmp, out->dir, out->base) < 0)
		return err_sys(e, errno, "rename to output path %s", out->target);
	return 0;
}

static int
close_copy(struct store_output *out, struct err *e)
{
	int rc = 0, fd = out->fd;

	if (out->o.sync)
		do
			rc = out->sys->fdatasync(fd);
		while (rc < 0 && errno == EINTR);
	if (rc < 0)
		return err_sys(e, errno, "sync output path %s", out->target);
	out->fd = -1;
	if (out->sys->close(fd) < 0 && errno != EINTR)
		return write_error(out, errno, e);
	return 0;
}

int
store_output_commit(struct store_output *out, struct err *e)
{
	int rc = close_copy(out, e);

	if (rc == 0 && out->o.overwrite && out->sys->renameat(out->dir, out->tmp, out->dir, out->base) < 0)
		rc = err_sys(e, errno, "rename to output path %s", out->target);
	else if (rc == 0 && !out->o.overwrite)
		rc = name_new(out, e);
	if (rc < 0)
		out->sys->unlinkat(out->dir, out->tmp, 0);
	else if (out->o.sync)
		rc = sync_parent(out->sys, out->dir, out->target, e);
	free_output(out);
	return rc;
}

int
store_output_copy(struct store_file *f, uint64_t length, const struct store_output_options *o, struct err *e)
{
	struct store_output *out = store_output_open(f, length, o, e);

	if (!out)
		return -1;
	if (store_output_step(out, UINT64_MAX, e) < 0) {
		store_output_abort(out);
		return -1;
	}
	return store_output_commit(out, e);
}
