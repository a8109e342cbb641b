/*
 * One download from start to exit code: picks the way (daemon or this process), follows the events, tries again where that may
 * help, ends on signals and on time (spec: cli.md 3.5, 3.6, 3.14).
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "cmd/content.h"
#include "cmd/get.h"
#include "cmd/outcome.h"
#include "cmd/progress.h"
#include "cmd/report.h"
#include "config/paths.h"
#include "net/loop.h"
#include "text/units.h"

/* An overloaded daemon is asked again after 0.5, 1 and 2 s (spec: cli.md 3.10). */
#define OVERLOAD_RETRIES 3
#define OVERLOAD_MS 500
/* A deadline that the other side noticed so much earlier is ours. */
#define DEADLINE_SLACK_MS 200
/* A timeout beyond this (a year) is none. */
#define TIMEOUT_MAX_MS (INT64_C(366) * 86400 * 1000)
/* Pieces of one task; a list of more is not of this world (store: STORE_PIECES_MAX). */
#define PIECES_MAX (UINT32_C(1) << 20)

struct run {
	struct get_plan *plan;
	struct loop *loop;
	char *socket;
	bool is_local;
	struct progress progress;
	struct loop_timer tick, deadline;
	int64_t until_ms;               /* monotonic; end of --timeout */
	struct outcome outcome;         /* of the present attempt */

	/* The present attempt. */
	bool is_done, has_started;
	char *task_id;
	uint64_t start, length;         /* the bytes of the task that are wanted */
	struct content *content;
	uint64_t *missing;              /* bitmap of pieces that have not come */
	uint32_t missing_size;          /* bits in it */
	size_t missing_count;
	bool counts_bytes;              /* the pieces are not known: the bitmap has those that came */
	uint64_t come;                  /* bytes */
};

/* ---- signals ---- */

static volatile sig_atomic_t caught;
static struct run *caught_run;
static struct loop_msg caught_msg;

bool
get_is_interrupted(void)
{
	return caught != 0;
}

static void
interrupted(struct loop_msg *msg)
{
	(void)msg;
	caught_run->is_done = true;
}

/* The second one ends the process without cleaning up. */
static void
on_signal(int sig)
{
	if (caught != 0)
		_exit(128 + sig);
	caught = sig;
	loop_post(caught_run->loop, &caught_msg);
}

static void
set_signals(void (*handler)(int))
{
	static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
	struct sigaction sa = {.sa_handler = handler}, old;

	sigemptyset(&sa.sa_mask);
	for (size_t i = 0; i < COUNT_OF(signals); i++)
		/* What was ignored from the start (nohup) stays so. */
		if (sigaction(signals[i], NULL, &old) == 0 && old.sa_handler != SIG_IGN)
			sigaction(signals[i], &sa, NULL);
}

static void
catch_signals(struct run *r)
{
	struct sigaction ignore = {.sa_handler = SIG_IGN};

	caught_run = r;
	caught_msg.run = interrupted;
	sigaction(SIGPIPE, &ignore, NULL);
	set_signals(on_signal);
}

/* ---- events ---- */

static int
open_content(struct run *r, struct err *e)
{
	const struct get_plan *p = r->plan;
	struct content_options o = {
		.path = p->output, .is_stream = p->is_stream, .overwrite = p->o->overwrite, .fsync = p->o->fsync,
		.digest = p->has_digest ? p->o->digest : NULL, .digest_kind = p->digest_kind, .is_interrupted = get_is_interrupted,
	};

	r->content = content_new(&o, r->start, r->length, e);
	return r->content == NULL ? -1 : 0;
}

static int
on_started(void *ctx, const struct get_started *s, struct err *e)
{
	struct run *r = ctx;
	uint32_t top = 0;

	if (r->has_started)
		return err_set(e, ERR_INTERNAL, "unexpected response");
	r->has_started = true;
	r->task_id = xstrdup(s->task_id);
	for (size_t i = 0; i < s->piece_count; i++)
		top = s->pieces[i] > top ? s->pieces[i] : top;
	if (top >= PIECES_MAX)
		return err_set(e, ERR_OUT_OF_RANGE, "piece number %u is too large", (unsigned)top);
	r->missing_size = s->piece_count > 0 ? top + 1 : 0;
	r->missing = xcalloc((size_t)r->missing_size / 64 + 1, sizeof *r->missing);
	for (size_t i = 0; i < s->piece_count; i++) {
		uint64_t bit = UINT64_C(1) << (s->pieces[i] % 64);

		r->missing_count += (r->missing[s->pieces[i] / 64] & bit) == 0;
		r->missing[s->pieces[i] / 64] |= bit;
	}
	r->start = s->has_range ? s->range_start : 0;
	r->length = s->has_range ? s->range_length : s->length;
	r->counts_bytes = s->has_no_list;
	if (r->length > UINT64_MAX - r->start)
		return err_set(e, ERR_OUT_OF_RANGE, "range is beyond the end");
	progress_start(&r->progress, s->task_id, r->length);
	return r->plan->takes_content ? open_content(r, e) : 0;
}

/* Pieces come once; a stranger among them would be written over or beyond the others. */
static bool
is_missing(const struct run *r, uint32_t number)
{
	return number < r->missing_size && (r->missing[number / 64] >> (number % 64) & 1) != 0;
}

/* Without a list the bits are those of pieces that came. */
static int
note_piece(struct run *r, const struct get_piece *p, struct err *e)
{
	uint32_t size = r->missing_size;

	if (p->number >= PIECES_MAX)
		return err_set(e, ERR_OUT_OF_RANGE, "piece number %u is too large", (unsigned)p->number);
	if (p->number >= size) {
		size_t old = (size_t)size / 64 + 1, words;

		r->missing_size = p->number + 1;
		words = (size_t)r->missing_size / 64 + 1;
		r->missing = xrealloc(r->missing, words * sizeof *r->missing);
		memset(r->missing + old, 0, (words - old) * sizeof *r->missing);
	}
	if (is_missing(r, p->number))
		return err_set(e, ERR_INTERNAL, "piece %u came twice", (unsigned)p->number);
	r->missing[p->number / 64] |= UINT64_C(1) << (p->number % 64);
	r->come += p->length;
	return 0;
}

/* Whether all that was to come has come. */
static bool
is_whole(const struct run *r)
{
	return r->has_started && (r->counts_bytes ? r->come == r->length : r->missing_count == 0);
}

static int
on_content(void *ctx, uint64_t offset, struct slice bytes, struct err *e)
{
	struct run *r = ctx;

	if (r->content == NULL)
		return err_set(e, ERR_INTERNAL, "unexpected response");
	return content_write(r->content, offset, bytes, e);
}

static int
on_piece(void *ctx, const struct get_piece *p, struct err *e)
{
	struct run *r = ctx;
	uint64_t from = p->offset > r->start ? p->offset : r->start, to = p->offset + p->length;

	if (!r->has_started)
		return err_set(e, ERR_INTERNAL, "unexpected response");
	if (r->counts_bytes && note_piece(r, p, e) < 0)
		return -1;
	if (!r->counts_bytes && !is_missing(r, p->number))
		return err_set(e, ERR_INTERNAL, "piece %u was not announced, or came twice", (unsigned)p->number);
	if (!r->counts_bytes) {
		r->missing[p->number / 64] &= ~(UINT64_C(1) << (p->number % 64));
		r->missing_count--;
	}
	if (to > r->start + r->length)
		to = r->start + r->length;
	if (from < to)
		progress_add(&r->progress, to - from, p->traffic);
	return 0;
}

static void
on_end(void *ctx, const struct get_end *end)
{
	struct run *r = ctx;
	struct err e = {0};

	r->is_done = true;
	if (end->err != NULL) {
		outcome_take(&r->outcome, end);
		return;
	}
	if (!is_whole(r))
		err_set(&e, ERR_DATA_LOSS, "unknown download incomplete");
	else if (r->content == NULL || content_finish(r->content, &e) == 0)
		return;
	outcome_fail(&r->outcome, &e);
}

/* ---- time ---- */

static void
fail_late(struct run *r)
{
	char text[UNITS_OUT_MAX];
	struct err e;

	err_set(&e, ERR_DEADLINE_EXCEEDED, "download timed out after %s", units_format_duration(r->plan->o->timeout.n, text));
	outcome_clear(&r->outcome);
	outcome_fail(&r->outcome, &e);
}

static void
on_deadline(void *ctx)
{
	struct run *r = ctx;

	if (!r->is_done)
		fail_late(r);
	r->is_done = true;
}

static void
on_tick(void *ctx)
{
	struct run *r = ctx;

	progress_tick(&r->progress);
	loop_timer_set(r->loop, &r->tick, PROGRESS_TICK_MS, on_tick, r);
}

/* Turns the loop until the attempt is over, or for `ms`. */
static void
run_loop(struct run *r, int64_t ms)
{
	int64_t until = clock_mono_ms() + ms;

	while (!r->is_done && clock_mono_ms() < until)
		loop_run_until(r->loop, &r->is_done, (int)(until - clock_mono_ms() < 60000 ? until - clock_mono_ms() : 60000));
}

/* ---- attempts ---- */

static void
attempt_clear(struct run *r)
{
	content_free(r->content);
	r->content = NULL;
	free(r->missing);
	r->missing = NULL;
	r->missing_size = 0;
	r->missing_count = 0;
	r->come = 0;
	free(r->task_id);
	r->task_id = NULL;
	r->has_started = false;
	r->is_done = caught != 0;
	outcome_clear(&r->outcome);
}

static void
attempt(struct run *r)
{
	static const struct get_events events = {
		.on_started = on_started, .on_content = on_content, .on_piece = on_piece, .on_end = on_end,
	};
	struct get_remote *remote = NULL;
	struct get_local *local = NULL;
	int64_t left_ms = r->until_ms - clock_mono_ms();
	struct err e = {0};

	if (r->is_local)
		local = get_local_start(r->loop, r->plan, &events, r, &e);
	else
		remote = get_remote_start(r->loop, r->socket, r->plan, left_ms > 1 ? left_ms : 1, &events, r, &e);
	if (local == NULL && remote == NULL) {
		outcome_fail(&r->outcome, &e);
		return;
	}
	run_loop(r, TIMEOUT_MAX_MS);
	get_remote_free(remote);
	get_local_free(local);
	if (r->outcome.has_failed && r->outcome.err.code == ERR_DEADLINE_EXCEEDED && clock_mono_ms() + DEADLINE_SLACK_MS >= r->until_ms)
		fail_late(r);
}

/* Whether to try again, after which pause. Bytes that went out to a stream cannot be taken back. */
static bool
decide_retry(const struct run *r, int64_t *retries, int *overloads, int64_t *pause_ms)
{
	if (!r->outcome.has_failed || caught != 0 || (r->content != NULL && content_is_spent(r->content)))
		return false;
	if (outcome_is_overload(&r->outcome) && *overloads < OVERLOAD_RETRIES) {
		*pause_ms = OVERLOAD_MS << (*overloads)++;
	} else if (*retries > 0 && outcome_may_pass(&r->outcome)) {
		(*retries)--;
		*pause_ms = r->plan->o->retry_delay.n / 1000000;
	} else {
		return false;
	}
	return clock_mono_ms() + *pause_ms < r->until_ms;
}

static void
run_attempts(struct run *r)
{
	int64_t retries = r->plan->o->retry.n, pause_ms = 0;
	int overloads = 0;

	attempt(r);
	while (decide_retry(r, &retries, &overloads, &pause_ms)) {
		log_warn("trying again in %lld ms: %s", (long long)pause_ms, r->outcome.err.text);
		if (!r->plan->o->quiet && r->progress.form == PROGRESS_PLAIN)
			fprintf(stderr, "dfget: trying again in %lld ms: %s\n", (long long)pause_ms, r->outcome.err.text);
		attempt_clear(r);
		run_loop(r, pause_ms);
		if (!r->is_done)
			attempt(r);
	}
}

/* ---- which way ---- */

static char *
find_socket(const struct get_options *o)
{
	const char *path = o->endpoint;

	if (path == NULL)
		return paths_find_socket();
	if (strncmp(path, "unix:", 5) == 0) {
		path += 5;
		if (strncmp(path, "//", 2) == 0)
			path += 2;
	}
	return xstrdup(path);
}

/* 0, or the exit code when there is no way. */
static int
choose_way(struct run *r)
{
	const struct get_options *o = r->plan->o;
	/* Who names a socket means that daemon. */
	const char *when = o->no_daemon ? "never" : o->daemon != NULL ? o->daemon : o->endpoint != NULL ? "require" : "auto";
	struct err e = {0};

	r->socket = find_socket(o);
	if (strcmp(when, "never") == 0) {
		r->is_local = true;
	} else if (get_remote_probe(r->socket, &e) < 0) {
		if (strcmp(when, "require") == 0) {
			progress_fail(&r->progress, ERR_UNAVAILABLE, 0, e.text);
			report_no_daemon(r->socket, &e);
			return o->exit_detail ? EXIT_NO_DAEMON : 1;
		}
		r->is_local = true;
		if (!o->quiet && r->progress.form != PROGRESS_JSON)
			fprintf(stderr, "dfget: no dfdaemon at %s, downloading in this process\n", r->socket);
	}
	if (o->insecure && !r->is_local) {
		report_validation("--insecure works only in this process (--daemon=never); a daemon has x.backend.insecureSkipVerify");
		return 1;
	}
	r->plan->takes_content = r->plan->is_stream || r->plan->has_range || (r->plan->has_digest && r->plan->digest[0] == '\0') ||
	    (!r->is_local && (o->transfer || o->limit_rate.is_set));
	return 0;
}

static enum progress_form
choose_form(const struct get_options *o)
{
	if (o->no_progress || o->quiet || strcmp(o->progress, "none") == 0)
		return PROGRESS_NONE;
	if (strcmp(o->progress, "json") == 0)
		return PROGRESS_JSON;
	if (strcmp(o->progress, "bar") == 0)
		return PROGRESS_BAR;
	return strcmp(o->progress, "auto") == 0 && report_is_terminal() ? PROGRESS_BAR : PROGRESS_PLAIN;
}

/* ---- the whole ---- */

static int
finish(struct run *r)
{
	const struct get_options *o = r->plan->o;
	struct get_end end = outcome_view(&r->outcome);

	if (caught != 0 && (r->outcome.has_failed || !is_whole(r))) {
		progress_fail(&r->progress, ERR_CANCELLED, 0, "interrupted");
		return 128 + caught;
	}
	if (r->outcome.has_failed) {
		progress_fail(&r->progress, end.err->code, r->outcome.has_backend ? r->outcome.backend.status_code : 0, end.err->text);
		report_failure(r->plan->headline, &end, false);
		return outcome_exit_code(&r->outcome, o->exit_detail);
	}
	progress_finish(&r->progress);
	if (o->print_task_id && r->plan->output != NULL)
		printf("%s\n", r->task_id);
	else if (o->print_task_id)
		fprintf(stderr, "%s\n", r->task_id);
	return fflush(stdout) == 0 ? 0 : 1;
}

int
get_run(struct get_plan *p)
{
	int64_t timeout_ms = p->o->timeout.n / 1000000;
	struct run r = {.plan = p};
	struct err e = {0};
	int code;

	if (timeout_ms > TIMEOUT_MAX_MS || p->o->timeout.n == 0)
		timeout_ms = TIMEOUT_MAX_MS;
	r.until_ms = clock_mono_ms() + timeout_ms;
	outcome_init(&r.outcome);
	if (p->export_id != NULL)
		progress_init(&r.progress, choose_form(p->o), slice_str(p->export_id), slice_str(p->export_id), p->output != NULL ? p->output : "-");
	else
		progress_init(&r.progress, choose_form(p->o), slice_str(p->url.text), p->url.path, p->output != NULL ? p->output : "-");
	r.loop = loop_new("dfget", &e);
	if (r.loop == NULL) {
		outcome_fail(&r.outcome, &e);
		code = finish(&r);
		goto out;
	}
	code = choose_way(&r);
	if (code != 0)
		goto out;
	catch_signals(&r);
	loop_timer_set(r.loop, &r.deadline, timeout_ms, on_deadline, &r);
	if (r.progress.form != PROGRESS_NONE)
		on_tick(&r);
	run_attempts(&r);
	loop_timer_clear(r.loop, &r.tick);
	loop_timer_clear(r.loop, &r.deadline);
	code = finish(&r);
	set_signals(SIG_DFL);
out:
	attempt_clear(&r);
	outcome_free(&r.outcome);
	progress_free(&r.progress);
	if (r.loop != NULL)
		loop_free(r.loop);
	free(r.socket);
	return code;
}
