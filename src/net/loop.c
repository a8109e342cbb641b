#include "net/loop.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"

#define NAME_MAX_BYTES 16

struct loop {
	/* fds[0] is the wake-up pipe; ios[i] belongs to fds[i]. */
	struct pollfd *fds;
	struct loop_io **ios;
	size_t count;
	size_t cap;
	struct heap timers;
	struct list later;
	struct list orphans;
	int64_t now_ms;
	uint8_t *scratch;

	/* Touched by other threads: the newest letter first, whether the owner may be in poll, and the stop. */
	_Atomic(struct loop_msg *) mailbox;
	atomic_bool sleeps;
	atomic_bool stop;
	int wake_read;
	int wake_write;

	pthread_t thread;
	bool has_thread;
	atomic_bool runs;
	pthread_t runner;       /* valid while runs */
	char name[NAME_MAX_BYTES];
};

static int
set_flags(int fd)
{
	int fl = fcntl(fd, F_GETFL);

	if (fl < 0 || fcntl(fd, F_SETFL, fl | O_NONBLOCK) != 0)
		return -1;
	return fcntl(fd, F_SETFD, FD_CLOEXEC);
}

struct loop *
loop_new(const char *name, struct err *e)
{
	struct loop *l = xcalloc(1, sizeof(*l));
	int p[2];

	if (pipe(p) != 0) {
		err_sys(e, errno, "event loop %s: pipe", name);
		free(l);
		return NULL;
	}
	if (set_flags(p[0]) != 0 || set_flags(p[1]) != 0) {
		err_sys(e, errno, "event loop %s: pipe", name);
		close(p[0]);
		close(p[1]);
		free(l);
		return NULL;
	}
	l->wake_read = p[0];
	l->wake_write = p[1];
	l->cap = 64;
	l->fds = xmalloc(l->cap * sizeof(*l->fds));
	l->ios = xmalloc(l->cap * sizeof(struct loop_io *));
	l->fds[0] = (struct pollfd){.fd = p[0], .events = POLLIN};
	l->ios[0] = NULL;
	l->count = 1;
	heap_init(&l->timers);
	list_init(&l->later);
	list_init(&l->orphans);
	atomic_init(&l->mailbox, NULL);
	atomic_init(&l->sleeps, false);
	atomic_init(&l->stop, false);
	atomic_init(&l->runs, false);
	l->now_ms = clock_mono_ms();
	for (size_t i = 0; name[i] != '\0' && i + 1 < sizeof(l->name); i++)
		l->name[i] = name[i];
	return l;
}

static void
run_later(struct loop *l)
{
	while (!list_is_empty(&l->later)) {
		struct loop_later *d = CONTAINER_OF(l->later.next, struct loop_later, link);

		loop_defer_clear(d);
		d->run(d);
	}
}

/* Takes the whole mailbox and runs it, oldest first. True when there was a letter. */
static bool
run_mailbox(struct loop *l)
{
	struct loop_msg *got = atomic_exchange(&l->mailbox, NULL);
	struct loop_msg *in_order = NULL;

	if (got == NULL)
		return false;
	while (got != NULL) {
		struct loop_msg *next = got->next;

		got->next = in_order;
		in_order = got;
		got = next;
	}
	while (in_order != NULL) {
		struct loop_msg *msg = in_order;

		in_order = msg->next;
		msg->next = NULL;
		msg->run(msg);
		run_later(l);
	}
	return true;
}

void
loop_free(struct loop *l)
{
	if (l == NULL)
		return;
	loop_thread_join(l);
	do
		run_later(l);
	while (run_mailbox(l));
	while (!list_is_empty(&l->orphans)) {
		struct loop_orphan *o = CONTAINER_OF(l->orphans.next, struct loop_orphan, link);

		loop_orphan_del(o);
		o->drop(o);
		run_later(l);
	}
	close(l->wake_read);
	close(l->wake_write);
	heap_free(&l->timers);
	free(l->fds);
	free(l->ios);
	free(l->scratch);
	free(l);
}

const char *
loop_name(const struct loop *l)
{
	return l->name;
}

/* Milliseconds poll may wait: until the next timer, never rounding a wait down to a busy turn. */
static int
wait_ms(const struct loop *l, int max_wait_ms)
{
	const struct heap_node *n = heap_min(&l->timers);
	int64_t ms;

	if (n == NULL)
		return max_wait_ms;
	ms = n->key - clock_mono_ms();
	if (ms < 0)
		ms = 0;
	if (ms > INT_MAX)
		ms = INT_MAX;
	return max_wait_ms >= 0 && max_wait_ms < ms ? max_wait_ms : (int)ms;
}

/* Timers that were due when the turn began; those set meanwhile wait for the next turn. */
static void
run_timers(struct loop *l)
{
	int64_t now = l->now_ms;
	size_t most = l->timers.count;

	while (most-- > 0) {
		struct heap_node *n = heap_min(&l->timers);
		struct loop_timer *t;

		if (n == NULL || n->key > now)
			return;
		heap_del(&l->timers, n);
		t = CONTAINER_OF(n, struct loop_timer, node);
		t->fn(t->ctx);
		run_later(l);
	}
}

static unsigned
ready_of(short revents, unsigned events)
{
	unsigned ready = 0;

	if (revents & POLLIN)
		ready |= LOOP_READ;
	if (revents & POLLOUT)
		ready |= LOOP_WRITE;
	if (revents & (POLLERR | POLLHUP | POLLNVAL))
		ready |= LOOP_READ | LOOP_WRITE;
	return ready & events;
}

/*
 * From the last place to the first: taking out place i moves the last one, already seen and with revents 0, into i; so nothing is
 * called twice and nothing is missed, whatever the callbacks change.
 */
static void
run_ios(struct loop *l, int n_ready)
{
	if (l->fds[0].revents != 0) {
		uint8_t drop[256];

		while (read(l->wake_read, drop, sizeof(drop)) == (ssize_t)sizeof(drop))
			;
		l->fds[0].revents = 0;
		n_ready--;
	}
	for (size_t i = l->count - 1; i > 0 && n_ready > 0; i--) {
		short revents;
		unsigned ready;

		if (i >= l->count)
			i = l->count - 1;
		if (i == 0)
			break;
		revents = l->fds[i].revents;
		if (revents == 0)
			continue;
		n_ready--;
		l->fds[i].revents = 0;
		ready = ready_of(revents, l->ios[i]->events);
		if (ready == 0)
			continue;
		l->ios[i]->fn(l->ios[i], ready);
		run_later(l);
	}
}

static void
turn(struct loop *l, int max_wait_ms)
{
	int ms, n;

	run_later(l);
	ms = wait_ms(l, max_wait_ms);
	/* A sender that sees `sleeps` writes the pipe; one that came before is seen in the mailbox here. */
	atomic_store(&l->sleeps, true);
	if (atomic_load(&l->mailbox) != NULL || atomic_load(&l->stop))
		ms = 0;
	n = poll(l->fds, (nfds_t)l->count, ms);
	atomic_store(&l->sleeps, false);
	l->now_ms = clock_mono_ms();
	if (n > 0)
		run_ios(l, n);
	run_mailbox(l);
	run_timers(l);
}

static void
enter(struct loop *l)
{
	l->runner = pthread_self();
	atomic_store(&l->runs, true);
}

void
loop_run(struct loop *l)
{
	enter(l);
	while (!atomic_load(&l->stop))
		turn(l, -1);
	run_mailbox(l);
	run_later(l);
	atomic_store(&l->runs, false);
	atomic_store(&l->stop, false);
}

void
loop_turn(struct loop *l, int max_wait_ms)
{
	enter(l);
	turn(l, max_wait_ms);
	atomic_store(&l->runs, false);
}

bool
loop_run_until(struct loop *l, const bool *done, int max_ms)
{
	int64_t end = clock_mono_ms() + max_ms;

	enter(l);
	while (!*done && !atomic_load(&l->stop)) {
		int64_t left = end - clock_mono_ms();

		if (left <= 0)
			break;
		/* What was deferred before may be all that was waited for. */
		run_later(l);
		turn(l, *done ? 0 : (int)left);
	}
	atomic_store(&l->runs, false);
	return *done;
}

static void
wake(struct loop *l)
{
	int keep = errno;
	ssize_t n = write(l->wake_write, "", 1);        /* a full pipe wakes as well */

	(void)n;
	errno = keep;
}

void
loop_stop(struct loop *l)
{
	atomic_store(&l->stop, true);
	wake(l);
}

static void *
thread_main(void *arg)
{
	loop_run(arg);
	return NULL;
}

int
loop_thread_start(struct loop *l, struct err *e)
{
	sigset_t all, before;
	int rc;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	rc = pthread_create(&l->thread, NULL, thread_main, l);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (rc != 0)
		return err_sys(e, rc, "event loop %s: start a thread", l->name);
	l->has_thread = true;
	return 0;
}

void
loop_thread_join(struct loop *l)
{
	if (!l->has_thread)
		return;
	pthread_join(l->thread, NULL);
	l->has_thread = false;
}

bool
loop_is_here(const struct loop *l)
{
	return atomic_load(&l->runs) && pthread_equal(l->runner, pthread_self());
}

void
loop_timer_set(struct loop *l, struct loop_timer *t, int64_t ms, void (*fn)(void *ctx), void *ctx)
{
	t->fn = fn;
	t->ctx = ctx;
	/* The clock counts whole milliseconds: one more, or a timer could fire up to a millisecond early. */
	heap_put(&l->timers, &t->node, clock_mono_ms() + (ms > 0 ? ms + 1 : 0));
}

void
loop_timer_clear(struct loop *l, struct loop_timer *t)
{
	heap_del(&l->timers, &t->node);
}

bool
loop_timer_is_set(const struct loop_timer *t)
{
	return t->node.place != 0;
}

void
loop_io_set(struct loop *l, struct loop_io *io, int fd, unsigned events, void (*fn)(struct loop_io *io, unsigned ready))
{
	struct pollfd *p;

	if (events == 0) {
		loop_io_clear(l, io);
		return;
	}
	io->fn = fn;
	if (io->place != 0 && io->fd == fd && io->events == events)
		return;
	if (io->place == 0) {
		if (l->count == l->cap) {
			l->cap *= 2;
			l->fds = xrealloc(l->fds, l->cap * sizeof(*l->fds));
			l->ios = xrealloc(l->ios, l->cap * sizeof(struct loop_io *));
		}
		io->place = ++l->count;
		l->ios[io->place - 1] = io;
		l->fds[io->place - 1].revents = 0;
	}
	io->fd = fd;
	io->events = events;
	p = &l->fds[io->place - 1];
	p->fd = fd;
	p->events = (short)((events & LOOP_READ ? POLLIN : 0) | (events & LOOP_WRITE ? POLLOUT : 0));
}

void
loop_io_clear(struct loop *l, struct loop_io *io)
{
	size_t at, last;

	if (io->place == 0)
		return;
	at = io->place - 1;
	last = --l->count;
	if (at != last) {
		l->fds[at] = l->fds[last];
		l->ios[at] = l->ios[last];
		l->ios[at]->place = at + 1;
	}
	io->place = 0;
	io->events = 0;
}

void
loop_post(struct loop *l, struct loop_msg *msg)
{
	struct loop_msg *head = atomic_load(&l->mailbox);

	do
		msg->next = head;
	while (!atomic_compare_exchange_weak(&l->mailbox, &head, msg));
	if (atomic_exchange(&l->sleeps, false))
		wake(l);
}

void
loop_defer(struct loop *l, struct loop_later *later, void (*run)(struct loop_later *later))
{
	later->run = run;
	if (later->link.next == NULL || list_is_empty(&later->link))
		list_add_tail(&l->later, &later->link);
}

void
loop_defer_clear(struct loop_later *later)
{
	if (later->link.next != NULL)
		list_del(&later->link);
}

void
loop_orphan_add(struct loop *l, struct loop_orphan *orphan, void (*drop)(struct loop_orphan *orphan))
{
	orphan->drop = drop;
	list_add_tail(&l->orphans, &orphan->link);
}

void
loop_orphan_del(struct loop_orphan *orphan)
{
	if (orphan->link.next != NULL)
		list_del(&orphan->link);
}

int64_t
loop_now_ms(const struct loop *l)
{
	return l->now_ms;
}

uint8_t *
loop_scratch(struct loop *l)
{
	if (l->scratch == NULL)
		l->scratch = xmalloc(LOOP_SCRATCH_BYTES);
	return l->scratch;
}

size_t
loop_io_count(const struct loop *l)
{
	return l->count - 1;
}

size_t
loop_timer_count(const struct loop *l)
{
	return l->timers.count;
}
