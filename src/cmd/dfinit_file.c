/*
 * Changing a file that belongs to another program.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/rand.h"
#include "base/write_file.h"
#include "cmd/dfinit.h"
#include "config/file.h"
#include "text/diff.h"

#define BACKUP ".dfinit.bak"

int
dfinit_read(const char *path, struct slice *out, struct arena *a, struct err *e)
{
	struct err why = {0};
	size_t len;
	char *text = file_read(path, &len, &why), *copy;

	*out = (struct slice){0};
	if (text == NULL) {
		if (why.code == ERR_NOT_FOUND)
			return 0;
		if (e != NULL)
			*e = why;
		return -1;
	}
	copy = arena_copy(a, text, len);
	free(text);
	if (copy == NULL)
		return err_set(e, ERR_RESOURCE_EXHAUSTED, "%s: too large", path);
	*out = slice_make(copy, len);
	return 0;
}

/* ---- directories ---- */

static int
make_dirs(const char *dir, struct err *e)
{
	char *parent;
	int rc;

	if (mkdir(dir, 0755) == 0 || errno == EEXIST)
		return 0;
	if (errno != ENOENT)
		return err_sys(e, errno, "create %s", dir);
	parent = parent_of(dir);
	rc = make_dirs(parent, e);
	free(parent);
	if (rc == 0 && mkdir(dir, 0755) != 0 && errno != EEXIST)
		rc = err_sys(e, errno, "create %s", dir);
	return rc;
}

static int
make_parent(const char *path, struct err *e)
{
	char *parent = parent_of(path);
	int rc = make_dirs(parent, e);

	free(parent);
	return rc;
}

/* ---- content ---- */

/* Written beside the path, in place at once. `like` NULL: mode 0644, ours. */
static int
put_file(const char *path, struct slice text, const struct stat *like, struct err *e)
{
	char *side = xasprintf("%s.dfinit-%016llx", path, (unsigned long long)rand_u64());
	int fd = open(side, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600), rc = -1;

	if (fd < 0) {
		err_sys(e, errno, "create %s", side);
		free(side);
		return -1;
	}
	/* Owner first: changing it may take mode bits away. Without the right to, the file becomes ours. */
	if (like != NULL && (like->st_uid != geteuid() || like->st_gid != getegid()) && fchown(fd, like->st_uid, like->st_gid) != 0 &&
	    errno != EPERM)
		err_sys(e, errno, "chown %s", side);
	else if (fchmod(fd, like != NULL ? like->st_mode & 07777 : 0644) != 0 || write_fd(fd, text) != 0 || fsync(fd) != 0)
		err_sys(e, errno, "write %s", side);
	else if (rename(side, path) != 0)
		err_sys(e, errno, "rename %s to %s", side, path);
	else
		rc = 0;
	close(fd);
	if (rc == 0)
		sync_parent(path);
	else
		unlink(side);
	free(side);
	return rc;
}

/* What the file was before dfinit's first change. */
static int
keep_backup(const char *path, struct slice text, const struct stat *like, struct err *e)
{
	char *backup = xasprintf("%s" BACKUP, path);
	int rc = 0;

	if (access(backup, F_OK) != 0)
		rc = put_file(backup, text, like, e);
	free(backup);
	return rc;
}

static int
replace(const char *path, struct slice old_text, struct slice new_text, struct err *e)
{
	/* What a symbolic link points at is changed, and the link stays. */
	char *real = realpath(path, NULL);
	const char *target = real != NULL ? real : path;
	struct stat st;
	int rc;

	if (real == NULL && errno != ENOENT)
		return err_sys(e, errno, "%s", path);
	if (real == NULL)
		rc = make_parent(path, e) == 0 ? put_file(path, new_text, NULL, e) : -1;
	else if (stat(target, &st) != 0)
		rc = err_sys(e, errno, "stat %s", target);
	else
		rc = keep_backup(target, old_text, &st, e) == 0 ? put_file(target, new_text, &st, e) : -1;
	free(real);
	return rc;
}

static void
show(const char *path, struct slice old_text, struct slice new_text)
{
	struct buf text = BUF_INIT;

	diff_unified(old_text.p != NULL ? path : "/dev/null", old_text, path, new_text, &text);
	if (text.len > 0)
		fwrite(buf_data(&text), 1, text.len, stdout);
	buf_free(&text);
}

int
dfinit_write(struct dfinit_run *r, const char *path, struct slice old_text, struct slice new_text, struct err *e)
{
	bool is_same = old_text.p != NULL && slice_eq(old_text, new_text);

	if (r->is_dry)
		show(path, old_text, new_text);
	else if (!is_same && replace(path, old_text, new_text, e) != 0)
		return -1;
	if (r->says_what)
		printf("%s: %s\n", is_same ? "unchanged" : r->is_dry ? "would change" : "changed", path);
	r->needs_restart = r->needs_restart || !is_same;
	return 0;
}

int
dfinit_touch(const char *path, struct err *e)
{
	int fd;

	if (make_parent(path, e) != 0)
		return -1;
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	if (fd < 0)
		return err_sys(e, errno, "create %s", path);
	close(fd);
	return 0;
}
