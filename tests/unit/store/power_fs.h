/*
 * A file system that remembers what was synced: calls go to a real directory, and beside it a model keeps, for every file and directory, what
 * stable storage holds and what was done since. power_cut() makes of it what a power cut may leave: of the changes that no fsync covered
 * any part, in any order - sectors of writes, lengths, names.
 *
 * The model is stricter than file systems are: a rename is two independent names, a new directory's own name needs a sync of its parent.
 */
#ifndef UNIT_STORE_POWER_FS_H
#define UNIT_STORE_POWER_FS_H

#include "unit/store/store_test.h"

#include <dirent.h>

#define POWER_SECTOR 512
#define POWER_FDS 1024

struct power_node;

struct power_name {
	char *name;
	struct power_node *node;        /* NULL: removed */
	bool is_kept;                   /* used while a cut is made */
};

struct power_names {
	struct power_name *list;
	size_t count;
};

struct power_write {
	uint64_t at;
	size_t n;
	uint8_t *bytes;
};

struct power_node {
	struct power_node *next;        /* all of them */
	bool is_dir;
	/* A directory: */
	struct power_names now, stable, since;          /* since: changes in their order */
	/* A file: */
	uint8_t *bytes;                 /* on stable storage */
	uint64_t length, length_now;
	struct power_write *writes;
	size_t write_count;
	char *made_at;                  /* where the running cut made it: its other names are links */
};

static struct {
	struct power_node *all, *root;
	struct power_node *fds[POWER_FDS];
	unsigned calls;                 /* that change something */
	void (*before)(void);           /* called before each of them */
	uint64_t random;
} power;

static unsigned
power_random(unsigned below)
{
	power.random = power.random * 6364136223846793005u + 1442695040888963407u;
	return (unsigned)(power.random >> 33) % below;
}

static struct power_node *
power_node_new(bool is_dir)
{
	struct power_node *n = xcalloc(1, sizeof(*n));

	n->is_dir = is_dir;
	n->next = power.all;
	power.all = n;
	return n;
}

static struct power_name *
power_find(struct power_names *in, const char *name)
{
	for (size_t i = 0; i < in->count; i++)
		if (strcmp(in->list[i].name, name) == 0)
			return &in->list[i];
	return NULL;
}

static void
power_add(struct power_names *to, const char *name, struct power_node *node)
{
	to->list = xrealloc(to->list, (to->count + 1) * sizeof(*to->list));
	to->list[to->count++] = (struct power_name){ .name = xstrdup(name), .node = node };
}

static void
power_set(struct power_names *in, const char *name, struct power_node *node)
{
	struct power_name *found = power_find(in, name);

	if (found && node) {
		found->node = node;
	} else if (found) {
		free(found->name);
		*found = in->list[--in->count];
	} else if (node) {
		power_add(in, name, node);
	}
}

static void
power_clear(struct power_names *in)
{
	for (size_t i = 0; i < in->count; i++)
		free(in->list[i].name);
	free(in->list);
	*in = (struct power_names){0};
}

static void
power_change(struct power_node *dir, const char *name, struct power_node *node)
{
	power_set(&dir->now, name, node);
	power_add(&dir->since, name, node);
}

static void
power_sync_node(struct power_node *n)
{
	if (n->is_dir) {
		power_clear(&n->stable);
		for (size_t i = 0; i < n->now.count; i++)
			power_add(&n->stable, n->now.list[i].name, n->now.list[i].node);
		power_clear(&n->since);
		return;
	}
	n->bytes = xrealloc(n->bytes, n->length_now + 1);
	if (n->length_now > n->length)
		memset(n->bytes + n->length, 0, n->length_now - n->length);
	n->length = n->length_now;
	for (size_t i = 0; i < n->write_count; i++) {
		struct power_write *w = &n->writes[i];

		if (w->at < n->length)
			memcpy(n->bytes + w->at, w->bytes, w->at + w->n <= n->length ? w->n : n->length - w->at);
		free(w->bytes);
	}
	n->write_count = 0;
}

/* Walks to the directory of a path; *last is its last part. NULL for what is outside. */
static struct power_node *
power_parent(int dir, const char *path, const char **last)
{
	struct power_node *at = path[0] != '/' && dir >= 0 && dir < POWER_FDS ? power.fds[dir] : NULL;
	size_t n = strlen(test_root);

	if (path[0] == '/') {
		if (strncmp(path, test_root, n) != 0 || path[n] != '/')
			return NULL;
		path += n + 1;
		at = power.root;
	}
	while (at) {
		const char *slash = strchr(path, '/');
		struct power_name *found;
		char part[256];

		*last = path;
		if (!slash)
			return at;
		snprintf(part, sizeof(part), "%.*s", (int)(slash - path), path);
		found = power_find(&at->now, part);
		at = found ? found->node : NULL;
		path = slash + 1;
	}
	return NULL;
}

static struct power_node *
power_look(int dir, const char *path)
{
	const char *last;
	struct power_node *parent = power_parent(dir, path, &last);
	struct power_name *found;

	/* Only the store looks up there. */
	if (parent && strcmp(last, "..") == 0)
		return power.root;
	if (!parent || strcmp(last, ".") == 0)
		return parent ? parent : path[0] == '/' && strcmp(path, test_root) == 0 ? power.root : NULL;
	found = power_find(&parent->now, last);
	return found ? found->node : NULL;
}

/* ---- the table of calls ---- */

static void
power_about_to_change(void)
{
	power.calls++;
	if (power.before)
		power.before();
}

static int
power_openat(int dir, const char *path, int flags, mode_t mode)
{
	struct power_node *node = power_look(dir, path), *parent;
	const char *last;
	int fd;

	if (((flags & O_CREAT) && !node) || (flags & O_TRUNC))
		power_about_to_change();
	fd = openat(dir, path, flags, mode);
	if (fd < 0)
		return fd;
	if (!node && (flags & O_CREAT) && (parent = power_parent(dir, path, &last)) != NULL) {
		node = power_node_new(false);
		power_change(parent, last, node);
	}
	if (node && (flags & O_TRUNC))
		node->length_now = 0;
	assert_in_range(fd, 0, POWER_FDS - 1);
	power.fds[fd] = node;
	return fd;
}

static int
power_close(int fd)
{
	power.fds[fd] = NULL;
	return close(fd);
}

static ssize_t
power_pwrite(int fd, const void *p, size_t n, off_t at)
{
	struct power_node *node = power.fds[fd];
	ssize_t put;

	power_about_to_change();
	put = pwrite(fd, p, n, at);
	if (!node || put <= 0)
		return put;
	for (size_t done = 0; done < (size_t)put;) {
		uint64_t from = (uint64_t)at + done;
		size_t part = POWER_SECTOR - (size_t)(from % POWER_SECTOR);
		struct power_write w = { .at = from };

		w.n = part < (size_t)put - done ? part : (size_t)put - done;
		w.bytes = xmalloc(w.n);
		memcpy(w.bytes, (const uint8_t *)p + done, w.n);
		node->writes = xrealloc(node->writes, (node->write_count + 1) * sizeof(*node->writes));
		node->writes[node->write_count++] = w;
		done += w.n;
	}
	if ((uint64_t)at + (uint64_t)put > node->length_now)
		node->length_now = (uint64_t)at + (uint64_t)put;
	return put;
}

static int
power_ftruncate(int fd, off_t n)
{
	power_about_to_change();
	if (power.fds[fd])
		power.fds[fd]->length_now = (uint64_t)n;
	return ftruncate(fd, n);
}

static int
power_sync(int fd)
{
	power_about_to_change();
	if (power.fds[fd])
		power_sync_node(power.fds[fd]);
	return 0;
}

static int
power_mkdirat(int dir, const char *path, mode_t mode)
{
	struct power_node *parent;
	const char *last;

	power_about_to_change();
	if (mkdirat(dir, path, mode) < 0)
		return -1;
	parent = power_parent(dir, path, &last);
	if (parent)
		power_change(parent, last, power_node_new(true));
	return 0;
}

static int
power_renameat(int from_dir, const char *from, int to_dir, const char *to)
{
	struct power_node *node = power_look(from_dir, from), *a, *b;
	const char *old, *fresh;

	power_about_to_change();
	if (renameat(from_dir, from, to_dir, to) < 0)
		return -1;
	a = power_parent(from_dir, from, &old);
	b = power_parent(to_dir, to, &fresh);
	if (b)
		power_change(b, fresh, node);
	if (a)
		power_change(a, old, NULL);
	return 0;
}

static int
power_linkat(int from_dir, const char *from, int to_dir, const char *to, int flags)
{
	struct power_node *node = power_look(from_dir, from), *parent;
	const char *last;

	power_about_to_change();
	if (linkat(from_dir, from, to_dir, to, flags) < 0)
		return -1;
	parent = power_parent(to_dir, to, &last);
	if (parent)
		power_change(parent, last, node);
	return 0;
}

static int
power_unlinkat(int dir, const char *path, int flags)
{
	struct power_node *parent;
	const char *last;

	power_about_to_change();
	if (unlinkat(dir, path, flags) < 0)
		return -1;
	parent = power_parent(dir, path, &last);
	if (parent)
		power_change(parent, last, NULL);
	return 0;
}

static const struct store_sys *
power_sys(void)
{
	static struct store_sys sys;

	sys = store_sys_posix;
	sys.openat = power_openat;
	sys.close = power_close;
	sys.pwrite = power_pwrite;
	sys.ftruncate = power_ftruncate;
	sys.fdatasync = power_sync;
	sys.fsync = power_sync;
	sys.mkdirat = power_mkdirat;
	sys.renameat = power_renameat;
	sys.linkat = power_linkat;
	sys.unlinkat = power_unlinkat;
	return &sys;
}

/* ---- life of the model ---- */

static void
power_load(struct power_node *dir, const char *path)
{
	DIR *list = opendir(path);
	struct dirent *d;

	assert_non_null(list);
	while ((d = readdir(list)) != NULL) {
		struct power_node *node;
		struct stat st;
		char below[1024];
		size_t n;

		if (strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0)
			continue;
		snprintf(below, sizeof(below), "%s/%s", path, d->d_name);
		assert_int_equal(lstat(below, &st), 0);
		node = power_node_new(S_ISDIR(st.st_mode));
		power_add(&dir->now, d->d_name, node);
		if (node->is_dir) {
			power_load(node, below);
			continue;
		}
		node->bytes = test_read(below, &n);
		node->length = node->length_now = n;
	}
	closedir(list);
	power_sync_node(dir);
}

/* Takes what test_root holds for synced. */
static void
power_begin(uint64_t seed)
{
	power.random = seed;
	power.calls = 0;
	memset(power.fds, 0, sizeof(power.fds));
	power.root = power_node_new(true);
	power_load(power.root, test_root);
}

static void
power_end(void)
{
	struct power_node *n;

	while ((n = power.all) != NULL) {
		power.all = n->next;
		power_clear(&n->now);
		power_clear(&n->stable);
		power_clear(&n->since);
		for (size_t i = 0; i < n->write_count; i++)
			free(n->writes[i].bytes);
		free(n->writes);
		free(n->bytes);
		free(n);
	}
	power.root = NULL;
}

/* ---- the cut ---- */

static void
power_make_file(struct power_node *n, const char *path)
{
	/* A length that was or is; a truncation or growth that no sync covered may have happened or not. */
	uint64_t length = power_random(2) == 0 ? n->length : n->length_now, most = n->length > n->length_now ? n->length : n->length_now;
	unsigned keep = power_random(5);        /* in quarters: nothing, some, all */
	uint8_t *bytes;

	if (n->made_at) {
		assert_int_equal(link(n->made_at, path), 0);
		return;
	}
	bytes = xcalloc(1, most + 1);
	if (n->length > 0)
		memcpy(bytes, n->bytes, n->length);
	for (size_t i = 0; i < n->write_count; i++) {
		struct power_write *w = &n->writes[i];

		if (w->at + w->n <= most && power_random(4) < keep)
			memcpy(bytes + w->at, w->bytes, w->n);
	}
	test_write(path, bytes, length);
	free(bytes);
	n->made_at = xstrdup(path);
}

static void power_make_dir(struct power_node *dir, const char *path);

static void
power_make(struct power_node *n, const char *path, const char *name)
{
	char below[1024];

	snprintf(below, sizeof(below), "%s/%s", path, name);
	if (!n->is_dir)
		power_make_file(n, below);
	else if (mkdir(below, 0755) == 0)
		power_make_dir(n, below);
}

/* Every name as it was after some of its changes. */
static void
power_make_dir(struct power_node *dir, const char *path)
{
	struct power_names names = {0};
	unsigned keep = power_random(5);

	for (size_t i = 0; i < dir->stable.count; i++)
		power_add(&names, dir->stable.list[i].name, dir->stable.list[i].node);
	for (size_t i = 0; i < dir->since.count; i++)
		dir->since.list[i].is_kept = power_random(4) < keep;
	for (size_t i = 0; i < dir->since.count; i++) {
		bool later = dir->since.list[i].is_kept;

		/* A later change of the same name brings the earlier ones with it. */
		for (size_t k = i + 1; k < dir->since.count && !later; k++)
			later = dir->since.list[k].is_kept && strcmp(dir->since.list[k].name, dir->since.list[i].name) == 0;
		if (later)
			power_set(&names, dir->since.list[i].name, dir->since.list[i].node);
	}
	for (size_t i = 0; i < names.count; i++)
		power_make(names.list[i].node, path, names.list[i].name);
	power_clear(&names);
}

/* Makes in the empty directory `path` what a power cut now would leave of test_root. */
static void
power_cut(const char *path)
{
	power_make_dir(power.root, path);
	for (struct power_node *n = power.all; n; n = n->next) {
		free(n->made_at);
		n->made_at = NULL;
	}
}

#endif
