/*
 * Event loop: one poll(2) a turn over descriptors, timers, a mailbox for other threads, and deferred work. A loop runs in one
 * thread; everything attached to it belongs to that thread. Only loop_post and loop_stop may be called from elsewhere.
 *
 * Nothing here allocates per watched thing: the small structs below live inside the objects that use them, zeroed before first
 * use. A callback may clear, set again or free any of them, its own included: the loop does not touch an object after calling it.
 */
#ifndef NET_LOOP_H
#define NET_LOOP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/heap.h"
#include "base/list.h"

struct err;
struct loop;

/* Bytes of the receive buffer that all connections of one loop share (design.md, ground rule 6: 256 KiB measured best). */
#define LOOP_SCRATCH_BYTES (256u * 1024)

/* Readiness. An error or hang-up of the descriptor is reported as everything that was asked for: the next call tells what it
 * is. */
enum { LOOP_READ = 1, LOOP_WRITE = 2 };

struct loop_io {
	void (*fn)(struct loop_io *io, unsigned ready);
	int fd;
	unsigned events;
	size_t place;           /* 1-based place among the watched; 0 while not watched */
};

struct loop_timer {
	struct heap_node node;
	void (*fn)(void *ctx);
	void *ctx;
};

/* A letter to another thread's loop: sent without allocation, owned by the receiver from loop_post on. One letter is in one
 * mailbox at most: it may be posted again once `run` was called. */
struct loop_msg {
	struct loop_msg *next;
	void (*run)(struct loop_msg *msg);
};

/* Work for "as soon as the present callback is over", in the loop's own thread. */
struct loop_later {
	struct list link;
	void (*run)(struct loop_later *later);
};

/* Something without an owner that still has work to do on the loop, such as a connection that sends its last bytes: dropped when
 * the loop is freed. */
struct loop_orphan {
	struct list link;
	void (*drop)(struct loop_orphan *orphan);
};

/* `name` (kept, at most 15 bytes shown) names the thread in logs. NULL when the wake-up pipe cannot be made. */
struct loop *loop_new(const char *name, struct err *e);
/* Runs the letters that are still in the mailbox and the deferred work, then frees the loop. Timers and descriptors must be
 * cleared by their owners before. The loop's thread must have been joined. */
void loop_free(struct loop *loop);
const char *loop_name(const struct loop *loop);

/* Turns until loop_stop. Letters that were posted before the stop are still run. */
void loop_run(struct loop *loop);
/* One turn that waits at most max_wait_ms (-1: as long as it takes). For tests and short programs. */
void loop_turn(struct loop *loop, int max_wait_ms);
/* Turns until *done is true, loop_stop, or the time is over; returns *done. */
bool loop_run_until(struct loop *loop, const bool *done, int max_ms);
/* Ends loop_run after the present turn. Safe from any thread and from a signal handler. A stop before loop_run ends it at
 * once. */
void loop_stop(struct loop *loop);

/* Runs the loop in a thread of its own with all signals blocked; join waits for its end (after loop_stop). 0 or -1. */
int loop_thread_start(struct loop *loop, struct err *e);
void loop_thread_join(struct loop *loop);
/* True in the thread that runs the loop now. */
bool loop_is_here(const struct loop *loop);

/* Calls fn(ctx) once, after `ms` (0: in the next turn). Setting again moves it. Fires never early, in order of deadlines. */
void loop_timer_set(struct loop *loop, struct loop_timer *t, int64_t ms, void (*fn)(void *ctx), void *ctx);
void loop_timer_clear(struct loop *loop, struct loop_timer *t);
bool loop_timer_is_set(const struct loop_timer *t);

/* Watches fd for `events`; setting again changes events and fn cheaply. 0 events: not watched. Clear before closing the
 * descriptor. */
void loop_io_set(struct loop *loop, struct loop_io *io, int fd, unsigned events, void (*fn)(struct loop_io *io, unsigned ready));
void loop_io_clear(struct loop *loop, struct loop_io *io);

/* Puts msg in the loop's mailbox: msg->run(msg) is called in the loop's thread, in the order of posting per sender. Any thread;
 * also a signal handler (no lock, no allocation). */
void loop_post(struct loop *loop, struct loop_msg *msg);

/* Calls later->run(later) after the present callback returned and before the next one. Setting twice keeps the first place. */
void loop_defer(struct loop *loop, struct loop_later *later, void (*run)(struct loop_later *later));
void loop_defer_clear(struct loop_later *later);

/* loop_free calls orphan->drop(orphan), unless it was taken back before. */
void loop_orphan_add(struct loop *loop, struct loop_orphan *orphan, void (*drop)(struct loop_orphan *orphan));
void loop_orphan_del(struct loop_orphan *orphan);

/* Monotonic ms, read once a turn after poll: cheap and good enough for idle times. */
int64_t loop_now_ms(const struct loop *loop);
/* LOOP_SCRATCH_BYTES that anybody on this loop may use until the present callback returns. */
uint8_t *loop_scratch(struct loop *loop);

/* Watched descriptors, set timers: for metrics and leak checks. */
size_t loop_io_count(const struct loop *loop);
size_t loop_timer_count(const struct loop *loop);

#endif
