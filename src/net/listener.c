#include "net/listener.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/rand.h"
#include "net/loop.h"
#include "net/os/sockopt.h"
#include "net/socket.h"

/* A log line about failing accepts once in this time. */
#define COMPLAIN_MS 60000

struct listener {
	struct loop *loop;
	struct loop_io io;
	struct loop_timer backoff;
	struct loop_later gone;
	listener_accept_fn *fn;
	void *ctx;
	int fd;
	struct addr addr;
	bool paused;
	int64_t complained_ms;  /* 0: never */
	/* unix: what was put in place, so that only our own is removed. */
	dev_t dev;
	ino_t inode;
};

static void on_ready(struct loop_io *io, unsigned ready);

static void
watch(struct listener *l)
{
	if (!l->paused && !loop_timer_is_set(&l->backoff))
		loop_io_set(l->loop, &l->io, l->fd, LOOP_READ, on_ready);
	else
		loop_io_clear(l->loop, &l->io);
}

static void
on_backoff(void *ctx)
{
	watch(ctx);
}

static void
complain(struct listener *l, const char *why)
{
	int64_t now = loop_now_ms(l->loop);
	char text[ADDR_TEXT_MAX];

	if (l->complained_ms != 0 && now - l->complained_ms < COMPLAIN_MS)
		return;
	l->complained_ms = now;
	log_warn("cannot accept connections for now address=%s error=\"%s\"", addr_format(&l->addr, text), why);
}

/* Whether what descriptors are left is for files and for connections of our own. The lowest free number was taken: it tells how many there are. */
static bool
is_crowded(const struct listener *l, int fd)
{
	struct rlimit r;
	rlim_t reserve;

	if (getrlimit(RLIMIT_NOFILE, &r) != 0 || r.rlim_cur == RLIM_INFINITY)
		return false;
	reserve = r.rlim_cur / 10 > LISTENER_RESERVE ? r.rlim_cur / 10 : LISTENER_RESERVE;
	if (reserve > r.rlim_cur / 2)
		reserve = r.rlim_cur / 2;
	/* Users of this machine are the last to be sent away. */
	if (addr_family(&l->addr) == AF_UNIX)
		reserve /= 4;
	return (rlim_t)fd >= r.rlim_cur - reserve;
}

/* Out of descriptors or memory: others must finish first, so wait a little instead of spinning. */
static void
back_off(struct listener *l, int errnum)
{
	complain(l, strerror(errnum));
	loop_timer_set(l->loop, &l->backoff, LISTENER_BACKOFF_MS, on_backoff, l);
	watch(l);
}

static void
on_ready(struct loop_io *io, unsigned ready)
{
	struct listener *l = CONTAINER_OF(io, struct listener, io);
	/* The owner may free or pause the listener in its callback: it is then not watched any more, and the memory lives until
	 * we return. */
	int fd = l->fd;

	(void)ready;
	for (int i = 0; i < LISTENER_BATCH; i++) {
		struct addr peer = {.len = sizeof(peer.u.any)};
		int got = accept(fd, &peer.u.sa, &peer.len);

		if (got < 0 && (errno == EINTR || errno == ECONNABORTED))
			continue;
		if (got < 0) {
			if (errno != EAGAIN && errno != EWOULDBLOCK)
				back_off(l, errno);
			return;
		}
		if (is_crowded(l, got)) {
			close(got);
			complain(l, "too many connections for the limit of open files");
			continue;
		}
		if (socket_prepare(got) != 0) {
			close(got);
			continue;
		}
		if (addr_family(&peer) != AF_UNIX)
			socket_nodelay(got);
		l->fn(l->ctx, got, &peer);
		if (io->place == 0)
			return;
	}
}

static struct listener *
new_listener(struct loop *loop, int fd, const struct addr *a, listener_accept_fn *fn, void *ctx)
{
	struct listener *l = xcalloc(1, sizeof(*l));

	l->loop = loop;
	l->fd = fd;
	l->addr = *a;
	l->fn = fn;
	l->ctx = ctx;
	watch(l);
	return l;
}

struct listener *
listener_tcp(struct loop *loop, const struct addr *a, listener_accept_fn *fn, void *ctx, struct err *e)
{
	char text[ADDR_TEXT_MAX];
	struct addr bound;
	int on = 1, off = 0, fd;

	addr_format(a, text);
	fd = socket_stream(addr_family(a), e);
	if (fd < 0) {
		err_wrap(e, "listen on %s", text);
		return NULL;
	}
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (addr_family(a) == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, addr_is_any(a) ? &off : &on, sizeof(on));
	if (bind(fd, &a->u.sa, a->len) != 0 || listen(fd, LISTENER_BACKLOG) != 0) {
		err_sys(e, errno, "listen on %s", text);
		close(fd);
		return NULL;
	}
	addr_of_local(&bound, fd);
	return new_listener(loop, fd, &bound, fn, ctx);
}

void
listener_set_fastopen(struct listener *l)
{
	sockopt_fastopen(l->fd, LISTENER_BACKLOG);
}

/* Makes the directories above `path`. */
static int
make_parents(const char *path, struct err *e)
{
	char *copy = xstrdup(path);
	int rc = 0;

	for (char *p = copy + 1; rc == 0 && (p = strchr(p, '/')) != NULL; p++) {
		*p = '\0';
		/* Whatever the umask: who may connect is said by the socket's mode. */
		if (mkdir(copy, 0755) == 0)
			rc = chmod(copy, 0755) != 0 ? err_sys(e, errno, "set the mode of directory %s", copy) : 0;
		else if (errno != EEXIST)
			rc = err_sys(e, errno, "make directory %s", copy);
		*p = '/';
	}
	free(copy);
	return rc;
}

/* Whether somebody takes connections at this path. A full backlog answers too. */
static bool
is_alive(const struct addr *a)
{
	int fd = socket_stream(AF_UNIX, NULL);
	bool alive;

	if (fd < 0)
		return false;
	alive = connect(fd, &a->u.sa, a->len) == 0 || errno == EAGAIN || errno == EINPROGRESS;
	close(fd);
	return alive;
}

/* -1 when something is there that must stay: a living socket, or a file that is no socket. */
static int
check_place(const char *path, const struct addr *a, struct err *e)
{
	struct stat st;

	if (lstat(path, &st) != 0)
		return errno == ENOENT ? 0 : err_sys(e, errno, "unix socket %s", path);
	if (!S_ISSOCK(st.st_mode))
		return err_set(e, ERR_ALREADY_EXISTS, "unix socket %s: there is a file that is no socket", path);
	if (is_alive(a))
		return err_set(e, ERR_ALREADY_EXISTS, "unix socket %s: another process answers on it", path);
	return 0;
}

struct listener *
listener_unix(struct loop *loop, const char *path, mode_t mode, gid_t group, listener_accept_fn *fn, void *ctx, struct err *e)
{
	struct addr final, temp;
	struct listener *l;
	struct stat st;
	char *temp_path = xasprintf("%s.%08x", path, (unsigned)rand_below(UINT32_MAX));
	mode_t mask;
	int fd = -1, rc;

	if (addr_from_unix(&final, path, e) != 0 || addr_from_unix(&temp, temp_path, e) != 0)
		goto fail;
	if (make_parents(path, e) != 0 || check_place(path, &final, e) != 0)
		goto fail;
	fd = socket_stream(AF_UNIX, e);
	if (fd < 0) {
		err_wrap(e, "listen on %s", path);
		goto fail;
	}
	/* Nobody may connect before mode and group are set. */
	mask = umask(0177);
	rc = bind(fd, &temp.u.sa, temp.len);
	umask(mask);
	if (rc != 0) {
		err_sys(e, errno, "bind unix socket %s", temp_path);
		goto fail;
	}
	if ((group != (gid_t)-1 && chown(temp_path, (uid_t)-1, group) != 0) || chmod(temp_path, mode) != 0 ||
	    listen(fd, LISTENER_BACKLOG) != 0 || lstat(temp_path, &st) != 0 || rename(temp_path, path) != 0) {
		err_sys(e, errno, "listen on unix socket %s", path);
		unlink(temp_path);
		goto fail;
	}
	free(temp_path);
	l = new_listener(loop, fd, &final, fn, ctx);
	l->dev = st.st_dev;
	l->inode = st.st_ino;
	return l;
fail:
	if (fd >= 0)
		close(fd);
	free(temp_path);
	return NULL;
}

const struct addr *
listener_addr(const struct listener *l)
{
	return &l->addr;
}

void
listener_pause(struct listener *l)
{
	l->paused = true;
	watch(l);
}

void
listener_resume(struct listener *l)
{
	l->paused = false;
	watch(l);
}

static void
remove_path(const struct listener *l)
{
	const char *path = l->addr.u.un.sun_path;
	struct stat st;

	if (lstat(path, &st) == 0 && st.st_dev == l->dev && st.st_ino == l->inode)
		unlink(path);
}

static void
free_memory(struct loop_later *later)
{
	free(CONTAINER_OF(later, struct listener, gone));
}

void
listener_free(struct listener *l)
{
	if (l == NULL)
		return;
	loop_io_clear(l->loop, &l->io);
	loop_timer_clear(l->loop, &l->backoff);
	if (addr_family(&l->addr) == AF_UNIX)
		remove_path(l);
	close(l->fd);
	loop_defer(l->loop, &l->gone, free_memory);
}
