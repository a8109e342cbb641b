#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"
#include "net/loop.h"

#define LIMIT_MS 20000

static struct loop *
new_loop(void)
{
	struct err e;
	struct loop *l = loop_new("test", &e);

	assert_non_null(l);
	return l;
}

/* ---- timers ---- */

struct tick {
	struct loop_timer timer;
	struct loop *loop;
	int *order;
	int *at;
	int id;
};

static void
on_tick(void *ctx)
{
	struct tick *t = ctx;

	t->order[(*t->at)++] = t->id;
}

static void
timers_fire_in_order_of_deadline(void **state)
{
	struct loop *l = new_loop();
	struct tick t[3] = {0};
	int order[3] = {0}, at = 0;
	bool done = false;
	int64_t begun = clock_mono_ms();

	(void)state;
	for (int i = 0; i < 3; i++) {
		t[i].order = order;
		t[i].at = &at;
		t[i].id = i;
		loop_timer_set(l, &t[i].timer, 30 - 10 * i, on_tick, &t[i]);
	}
	assert_int_equal(loop_timer_count(l), 3);
	while (at < 3 && clock_mono_ms() - begun < LIMIT_MS)
		loop_run_until(l, &done, 5);
	assert_int_equal(order[0], 2);
	assert_int_equal(order[1], 1);
	assert_int_equal(order[2], 0);
	assert_true(clock_mono_ms() - begun >= 30);
	loop_free(l);
}

static void
set_true(void *ctx)
{
	*(bool *)ctx = true;
}

static void
a_cleared_timer_does_not_fire(void **state)
{
	struct loop *l = new_loop();
	struct loop_timer a = {0}, b = {0};
	bool fired = false, done = false;

	(void)state;
	loop_timer_set(l, &a, 1, set_true, &fired);
	loop_timer_set(l, &b, 20, set_true, &done);
	loop_timer_clear(l, &a);
	loop_timer_clear(l, &a);
	assert_false(loop_timer_is_set(&a));
	assert_true(loop_run_until(l, &done, LIMIT_MS));
	assert_false(fired);
	loop_free(l);
}

struct again {
	struct loop_timer timer;
	struct loop *loop;
	int left;
	bool done;
};

static void
on_again(void *ctx)
{
	struct again *a = ctx;

	if (--a->left > 0)
		loop_timer_set(a->loop, &a->timer, 0, on_again, a);
	else
		a->done = true;
}

static void
a_timer_of_zero_set_in_its_callback_waits_for_the_next_turn(void **state)
{
	struct loop *l = new_loop();
	struct again a = {.loop = l, .left = 1000};

	(void)state;
	loop_timer_set(l, &a.timer, 0, on_again, &a);
	loop_turn(l, 1000);
	assert_int_equal(a.left, 999);
	assert_true(loop_run_until(l, &a.done, LIMIT_MS));
	loop_free(l);
}

/* A timer inside an object that its callback frees. */
struct mortal {
	struct loop_timer timer;
	struct loop *loop;
	bool *done;
};

static void
on_mortal(void *ctx)
{
	struct mortal *m = ctx;

	*m->done = true;
	free(m);
}

static void
a_timer_may_free_its_object(void **state)
{
	struct loop *l = new_loop();
	struct mortal *m = xcalloc(1, sizeof(*m));
	bool done = false;

	(void)state;
	m->done = &done;
	loop_timer_set(l, &m->timer, 0, on_mortal, m);
	assert_true(loop_run_until(l, &done, LIMIT_MS));
	loop_free(l);
}

/* ---- descriptors ---- */

struct watcher {
	struct loop_io io;
	struct loop *loop;
	struct watcher *kills;
	int *calls;
	int fd[2];
};

static void
on_watch(struct loop_io *io, unsigned ready)
{
	struct watcher *w = CONTAINER_OF(io, struct watcher, io);
	char c;

	assert_true(ready & LOOP_READ);
	++*w->calls;
	assert_int_equal(read(w->fd[0], &c, 1), 1);
	if (w->kills != NULL)
		loop_io_clear(w->loop, &w->kills->io);
}

static void
clearing_others_in_a_callback_neither_loses_nor_repeats_events(void **state)
{
	enum { N = 50 };
	struct loop *l = new_loop();
	struct watcher w[N] = {0};
	int calls = 0;

	(void)state;
	for (int i = 0; i < N; i++) {
		w[i].loop = l;
		w[i].calls = &calls;
		assert_int_equal(pipe(w[i].fd), 0);
		assert_int_equal(write(w[i].fd[1], "x", 1), 1);
		loop_io_set(l, &w[i].io, w[i].fd[0], LOOP_READ, on_watch);
	}
	/* Each of the last takes itself out of the list of watched ones. */
	for (int i = 0; i < N; i += 3)
		w[i].kills = &w[i];
	loop_turn(l, 1000);
	assert_int_equal(calls, N);
	assert_int_equal(loop_io_count(l), N - 17);
	for (int i = 0; i < N; i++) {
		loop_io_clear(l, &w[i].io);
		close(w[i].fd[0]);
		close(w[i].fd[1]);
	}
	assert_int_equal(loop_io_count(l), 0);
	loop_free(l);
}

static void
on_kill_all(struct loop_io *io, unsigned ready)
{
	struct watcher *w = CONTAINER_OF(io, struct watcher, io);
	struct watcher *first = w->kills;

	(void)ready;
	++*w->calls;
	for (int i = 0; i < 10; i++)
		loop_io_clear(w->loop, &first[i].io);
}

static void
a_descriptor_cleared_by_another_callback_is_not_called(void **state)
{
	struct loop *l = new_loop();
	struct watcher w[10] = {0};
	int calls = 0;

	(void)state;
	for (int i = 0; i < 10; i++) {
		w[i] = (struct watcher){.loop = l, .calls = &calls, .kills = w};
		assert_int_equal(pipe(w[i].fd), 0);
		assert_int_equal(write(w[i].fd[1], "x", 1), 1);
		loop_io_set(l, &w[i].io, w[i].fd[0], LOOP_READ, on_kill_all);
	}
	loop_turn(l, 1000);
	assert_int_equal(calls, 1);
	for (int i = 0; i < 10; i++) {
		close(w[i].fd[0]);
		close(w[i].fd[1]);
	}
	loop_free(l);
}

static void
on_hang_up(struct loop_io *io, unsigned ready)
{
	struct watcher *w = CONTAINER_OF(io, struct watcher, io);
	char c;

	assert_int_equal(ready, LOOP_READ);
	assert_int_equal(read(w->fd[0], &c, 1), 0);
	++*w->calls;
	loop_io_clear(w->loop, io);
}

static void
hang_up_is_reported_as_readable(void **state)
{
	struct loop *l = new_loop();
	int calls = 0;
	struct watcher w = {.loop = l, .calls = &calls};

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, w.fd), 0);
	loop_io_set(l, &w.io, w.fd[0], LOOP_READ, on_hang_up);
	close(w.fd[1]);
	loop_turn(l, 1000);
	assert_int_equal(calls, 1);
	close(w.fd[0]);
	loop_free(l);
}

struct counter {
	struct loop_io io;
	struct loop *loop;
	int *left;
	bool *done;
	int fd;
};

static void
on_count(struct loop_io *io, unsigned ready)
{
	struct counter *c = CONTAINER_OF(io, struct counter, io);

	(void)ready;
	loop_io_clear(c->loop, io);
	if (--*c->left == 0)
		*c->done = true;
}

static void
ten_thousand_descriptors(void **state)
{
	enum { PAIRS = 5000 };
	struct loop *l = new_loop();
	struct counter *c = xcalloc(2 * PAIRS, sizeof(*c));
	struct rlimit lim;
	int pairs = PAIRS, left;
	bool done = false;

	(void)state;
	getrlimit(RLIMIT_NOFILE, &lim);
	lim.rlim_cur = lim.rlim_max;
	setrlimit(RLIMIT_NOFILE, &lim);
	for (int i = 0; i < pairs; i++) {
		int fd[2];

		/* A machine that allows fewer is tested with as many as it allows. */
		if (socketpair(AF_UNIX, SOCK_STREAM, 0, fd) != 0) {
			pairs = i;
			break;
		}
		c[2 * i].fd = fd[0];
		c[2 * i + 1].fd = fd[1];
	}
	left = 2 * pairs;
	for (int i = 0; i < 2 * pairs; i++) {
		c[i].loop = l;
		c[i].left = &left;
		c[i].done = &done;
		loop_io_set(l, &c[i].io, c[i].fd, LOOP_READ, on_count);
	}
	assert_int_equal(loop_io_count(l), (size_t)(2 * pairs));
	for (int i = 0; i < 2 * pairs; i++)
		assert_int_equal(write(c[i].fd, "x", 1), 1);
	assert_true(loop_run_until(l, &done, LIMIT_MS));
	assert_int_equal(loop_io_count(l), 0);
	for (int i = 0; i < 2 * pairs; i++)
		close(c[i].fd);
	free(c);
	loop_free(l);
}

/* ---- mailbox ---- */

struct letter {
	struct loop_msg msg;
	int *last;
	int *count;
	int id;
};

static void
on_letter(struct loop_msg *msg)
{
	struct letter *le = CONTAINER_OF(msg, struct letter, msg);

	/* In the order of posting, per sender. */
	assert_int_equal(*le->last, le->id - 1);
	*le->last = le->id;
	++*le->count;
	free(le);
}

struct sender {
	pthread_t thread;
	struct loop *to;
	int last;
	int *count;
	int n;
};

static void *
send_letters(void *arg)
{
	struct sender *s = arg;

	for (int i = 1; i <= s->n; i++) {
		struct letter *le = xcalloc(1, sizeof(*le));

		le->msg.run = on_letter;
		le->last = &s->last;
		le->count = s->count;
		le->id = i;
		loop_post(s->to, &le->msg);
	}
	return NULL;
}

static void
letters_of_many_threads_arrive_all_and_in_order(void **state)
{
	enum { SENDERS = 4, LETTERS = 20000 };
	struct loop *l = new_loop();
	struct sender s[SENDERS] = {0};
	int count = 0;
	int64_t end = clock_mono_ms() + LIMIT_MS;
	bool never = false;

	(void)state;
	for (int i = 0; i < SENDERS; i++) {
		s[i].to = l;
		s[i].count = &count;
		s[i].n = LETTERS;
		assert_int_equal(pthread_create(&s[i].thread, NULL, send_letters, &s[i]), 0);
	}
	while (count < SENDERS * LETTERS && clock_mono_ms() < end)
		loop_run_until(l, &never, 5);
	assert_int_equal(count, SENDERS * LETTERS);
	for (int i = 0; i < SENDERS; i++)
		pthread_join(s[i].thread, NULL);
	loop_free(l);
}

static void
letters_left_in_the_mailbox_are_run_by_free(void **state)
{
	struct loop *l = new_loop();
	struct sender s = {.to = l, .n = 3};
	int count = 0;

	(void)state;
	s.count = &count;
	send_letters(&s);
	loop_free(l);
	assert_int_equal(count, 3);
}

/* A ball between two loops in two threads. */
struct ball {
	struct loop_msg msg;
	struct loop *here;
	struct loop *there;
	struct loop *main;
	int left;
};

static void
on_ball(struct loop_msg *msg)
{
	struct ball *b = CONTAINER_OF(msg, struct ball, msg);
	struct loop *to = b->there;

	assert_true(loop_is_here(b->here));
	b->there = b->here;
	b->here = to;
	if (--b->left > 0)
		loop_post(to, msg);
	else
		loop_stop(b->main);
}

static void
a_message_goes_back_and_forth_between_threads(void **state)
{
	enum { ROUNDS = 20000 };
	struct err e;
	struct loop *main_loop = new_loop(), *a = loop_new("a", &e), *b = loop_new("b", &e);
	struct ball ball = {.msg = {.run = on_ball}, .here = a, .there = b, .main = main_loop, .left = 2 * ROUNDS};
	int64_t begun;

	(void)state;
	assert_int_equal(loop_thread_start(a, &e), 0);
	assert_int_equal(loop_thread_start(b, &e), 0);
	begun = clock_mono_ns();
	loop_post(a, &ball.msg);
	loop_run(main_loop);
	print_message("posted message there and back: %.1f us\n", (double)(clock_mono_ns() - begun) / 1000 / ROUNDS);
	loop_stop(a);
	loop_stop(b);
	loop_thread_join(a);
	loop_thread_join(b);
	loop_free(a);
	loop_free(b);
	loop_free(main_loop);
}

static struct loop *signalled;

static void
on_signal(int signo)
{
	(void)signo;
	loop_stop(signalled);
}

static void
a_signal_handler_stops_the_loop(void **state)
{
	struct loop *l = new_loop();

	(void)state;
	signalled = l;
	signal(SIGUSR1, on_signal);
	raise(SIGUSR1);
	loop_run(l);
	signal(SIGUSR1, SIG_DFL);
	loop_free(l);
}

/* ---- deferred work ---- */

struct later {
	struct loop_later later;
	struct loop *loop;
	int *at;
	int order;
};

static void
on_later(struct loop_later *later)
{
	struct later *w = CONTAINER_OF(later, struct later, later);

	w->order = ++*w->at;
}

struct deferrer {
	struct loop_timer timer;
	struct loop *loop;
	struct later w;
	int *at;
	int order;
};

static void
on_defer(void *ctx)
{
	struct deferrer *d = ctx;

	d->order = ++*d->at;
	loop_defer(d->loop, &d->w.later, on_later);
	loop_defer(d->loop, &d->w.later, on_later);
}

static void
deferred_work_comes_before_the_next_callback(void **state)
{
	struct loop *l = new_loop();
	struct deferrer a = {.loop = l}, b = {.loop = l};
	int at = 0;

	(void)state;
	a.at = b.at = a.w.at = b.w.at = &at;
	loop_timer_set(l, &a.timer, 0, on_defer, &a);
	loop_timer_set(l, &b.timer, 0, on_defer, &b);
	loop_turn(l, 1000);
	loop_turn(l, 0);
	assert_int_equal(at, 4);
	assert_int_equal(a.w.order, a.order + 1);
	assert_int_equal(b.w.order, b.order + 1);
	loop_free(l);
}

static void
cleared_deferred_work_is_not_run(void **state)
{
	struct loop *l = new_loop();
	struct later w = {0};
	int at = 0;

	(void)state;
	w.at = &at;
	loop_defer(l, &w.later, on_later);
	loop_defer_clear(&w.later);
	loop_turn(l, 0);
	assert_int_equal(at, 0);
	loop_free(l);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(timers_fire_in_order_of_deadline),
		cmocka_unit_test(a_cleared_timer_does_not_fire),
		cmocka_unit_test(a_timer_of_zero_set_in_its_callback_waits_for_the_next_turn),
		cmocka_unit_test(a_timer_may_free_its_object),
		cmocka_unit_test(clearing_others_in_a_callback_neither_loses_nor_repeats_events),
		cmocka_unit_test(a_descriptor_cleared_by_another_callback_is_not_called),
		cmocka_unit_test(hang_up_is_reported_as_readable),
		cmocka_unit_test(ten_thousand_descriptors),
		cmocka_unit_test(letters_of_many_threads_arrive_all_and_in_order),
		cmocka_unit_test(letters_left_in_the_mailbox_are_run_by_free),
		cmocka_unit_test(a_message_goes_back_and_forth_between_threads),
		cmocka_unit_test(a_signal_handler_stops_the_loop),
		cmocka_unit_test(deferred_work_comes_before_the_next_callback),
		cmocka_unit_test(cleared_deferred_work_is_not_run),
	};

	return cmocka_run_group_tests_name("loop", tests, NULL, NULL);
}
