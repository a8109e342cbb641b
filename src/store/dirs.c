#include "store/private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define TREE_DEPTH_MAX 8        /* ours has three levels; more is not ours to remove */

const char *const store_kind_dirs[STORE_KINDS] = { "tasks", "persistent-tasks", "persistent-cache-tasks" };

bool
store_id_is_valid(const char *id)
{
	size_t n = strspn(id, "0123456789abcdef");

	return id[n] == '\0' && (n == 64 || n == 128);
}

static unsigned
hex_digit(char c)
{
	return (unsigned)(c <= '9' ? c - '0' : c - 'a' + 10);
}

unsigned
store_shard(const char *id)
{
	return hex_digit(id[0]) << 8 | hex_digit(id[1]) << 4 | hex_digit(id[2]);
}

void
store_name(char out[STORE_NAME_MAX], enum store_kind kind, const char *id, const char *suffix)
{
	snprintf(out, STORE_NAME_MAX, "%s/%.3s/%s%s", store_kind_dirs[kind], id, id, suffix);
}

void
store_shard_name(char out[STORE_NAME_MAX], enum store_kind kind, unsigned shard)
{
	snprintf(out, STORE_NAME_MAX, "%s/%03x", store_kind_dirs[kind], shard);
}

int
store_write_all(const struct store_sys *sys, int fd, const void *p, size_t n, uint64_t at)
{
	const uint8_t *from = p;
	ssize_t put;

	while (n > 0) {
		put = sys->pwrite(fd, from, n, (off_t)at);
		if (put < 0 && errno == EINTR)
			continue;
		if (put == 0)
			errno = EIO;
		if (put <= 0)
			return -1;
		from += put;
		at += (uint64_t)put;
		n -= (size_t)put;
	}
	return 0;
}

ssize_t
store_read_all(const struct store_sys *sys, int fd, void *p, size_t n, uint64_t at)
{
	uint8_t *to = p;
	size_t have = 0;
	ssize_t got;

	while (have < n) {
		got = sys->pread(fd, to + have, n - have, (off_t)(at + have));
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -1;
		if (got == 0)
			break;
		have += (size_t)got;
	}
	return (ssize_t)have;
}

int
store_open_at(const struct store_sys *sys, int dir, const char *name, int flags, mode_t mode)
{
	int fd;

	do
		fd = sys->openat(dir, name, flags | O_CLOEXEC | O_NOFOLLOW, mode);
	while (fd < 0 && errno == EINTR);
	return fd;
}

int
store_datasync(const struct store_sys *sys, int fd)
{
	int rc;

	do
		rc = sys->fdatasync(fd);
	while (rc < 0 && errno == EINTR);
	return rc;
}

int
store_sync_dir(const struct store_sys *sys, int dir, const char *name)
{
	int fd = store_open_at(sys, dir, name, O_RDONLY | O_DIRECTORY, 0), rc, saved;

	if (fd < 0)
		return -1;
	do
		rc = sys->fsync(fd);
	while (rc < 0 && errno == EINTR);
	saved = errno;
	sys->close(fd);
	errno = saved;
	return rc;
}

int
store_write_file(const struct store_sys *sys, int dir, const char *name, mode_t mode, const void *p, size_t n, bool sync)
{
	int fd, saved;

	fd = store_open_at(sys, dir, name, O_WRONLY | O_CREAT | O_TRUNC, mode);
	if (fd < 0)
		return -1;
	if (store_write_all(sys, fd, p, n, 0) < 0 || (sync && store_datasync(sys, fd) < 0))
		goto fail;
	/* An error of close may be the first sign of a failed write (NFS). After EINTR the descriptor is gone, the bytes are not. */
	if (sys->close(fd) < 0 && errno != EINTR) {
		fd = -1;
		goto fail;
	}
	return 0;
fail:
	saved = errno;
	if (fd >= 0)
		sys->close(fd);
	sys->unlinkat(dir, name, 0);
	errno = saved;
	return -1;
}

int
store_each_name(const struct store_sys *sys, int dir, const char *name, int (*f)(void *arg, int fd, const char *name), void *arg)
{
	int fd = store_open_at(sys, dir, name, O_RDONLY | O_DIRECTORY, 0), rc = 0, saved;
	struct dirent *d;
	DIR *list;

	if (fd < 0)
		return -1;
	list = sys->fdopendir(fd);
	if (!list) {
		saved = errno;
		sys->close(fd);
		errno = saved;
		return -1;
	}
	while (rc == 0) {
		errno = 0;
		d = readdir(list);
		if (!d) {
			rc = errno == 0 ? 0 : -1;
			break;
		}
		if (strcmp(d->d_name, ".") != 0 && strcmp(d->d_name, "..") != 0)
			rc = f(arg, dirfd(list), d->d_name);
	}
	saved = errno;
	closedir(list);
	errno = saved;
	return rc;
}

struct removal {
	const struct store_sys *sys;
	unsigned depth;
	int errnum;
};

static int
remove_one(void *arg, int fd, const char *name)
{
	struct removal *r = arg;

	if (r->sys->unlinkat(fd, name, 0) == 0 || errno == ENOENT)
		return 0;
	/* What a directory gives: EISDIR on Linux, EPERM in POSIX. */
	if ((errno == EISDIR || errno == EPERM) && r->depth > 0 && store_remove_tree(r->sys, fd, name, r->depth - 1) == 0)
		return 0;
	if (r->errnum == 0)
		r->errnum = errno;
	return 0;
}

int
store_remove_tree(const struct store_sys *sys, int dir, const char *name, unsigned depth)
{
	struct removal r = { .sys = sys, .depth = depth < TREE_DEPTH_MAX ? depth : TREE_DEPTH_MAX };

	if (store_each_name(sys, dir, name, remove_one, &r) < 0)
		return errno == ENOENT ? 0 : -1;
	if (sys->unlinkat(dir, name, AT_REMOVEDIR) < 0 && errno != ENOENT && r.errnum == 0)
		r.errnum = errno;
	errno = r.errnum;
	return r.errnum == 0 ? 0 : -1;
}
