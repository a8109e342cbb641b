#include "cmd/progress.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"
#include "cmd/get.h"
#include "cmd/report.h"
#include "text/json.h"
#include "text/units.h"
#include "text/url.h"

#define BAR_CELLS 60
#define GREEN "\x1b[38;5;2m"
#define RED "\x1b[38;5;1m"
#define CYAN "\x1b[38;5;6m"
#define BOLD "\x1b[1m"
#define PLAIN "\x1b[m"
/* Both lines of the bar are cleared and the cursor is at the start of the first. */
#define UP_AND_CLEAR "\x1b[2A\r\x1b[J"
/* The rate is that of about the last two seconds. */
#define RATE_MS 250
#define RATE_WEIGHT 0.125
/* A plain line comes after this time and tenth of the content, or after the longer time. */
#define PLAIN_MS 1000
#define PLAIN_SLOW_MS 10000
#define JSON_MS 1000

void
progress_init(struct progress *p, enum progress_form form, struct slice url, struct slice path, const char *output)
{
	struct buf decoded = BUF_INIT, title = BUF_INIT, shown = BUF_INIT;

	url_decode(path, &decoded);
	report_escape(buf_slice(&decoded), &title);
	url_redact(url, &shown);
	*p = (struct progress){.form = form, .output = output, .title = buf_take(&title), .url = buf_take(&shown)};
	buf_free(&decoded);
	p->started_ms = clock_mono_ms();
}

void
progress_free(struct progress *p)
{
	free(p->title);
	free(p->url);
}

static uint64_t
done(const struct progress *p)
{
	return p->bytes[GET_FROM_SOURCE] + p->bytes[GET_FROM_PEER] + p->bytes[GET_FROM_CACHE];
}

/* Whole percents of `part` in `all`, rounded. */
static unsigned
percent(uint64_t part, uint64_t all)
{
	return all == 0 ? 100 : (unsigned)((double)part / (double)all * 100.0 + 0.5);
}

static void
print(struct buf *line)
{
	fwrite(buf_data(line), 1, line->len, stderr);
	buf_free(line);
}

static void
update_rate(struct progress *p, int64_t now)
{
	int64_t passed = now - p->rated_ms;
	double rate;

	if (passed < RATE_MS)
		return;
	rate = (double)(done(p) - p->rated_bytes) * 1000.0 / (double)passed;
	p->rate = p->rated_bytes == 0 ? rate : p->rate + (rate - p->rate) * RATE_WEIGHT * (double)passed / RATE_MS;
	if (p->rate < 0 || passed > RATE_MS * 8)
		p->rate = rate;
	p->rated_bytes = done(p);
	p->rated_ms = now;
}

/* ---- JSON ---- */

static void
json_open(struct json_writer *w, struct buf *line, const char *event)
{
	json_write_init(w, line);
	json_begin_object(w);
	json_write_key(w, "event");
	json_write_str(w, event);
}

static void
json_number(struct json_writer *w, const char *key, uint64_t n)
{
	json_write_key(w, key);
	json_write_u64(w, n);
}

static void
json_sources(struct json_writer *w, const struct progress *p)
{
	json_number(w, "from_source", p->bytes[GET_FROM_SOURCE]);
	json_number(w, "from_peers", p->bytes[GET_FROM_PEER]);
	json_number(w, "from_cache", p->bytes[GET_FROM_CACHE]);
}

static void
json_close(struct json_writer *w, struct buf *line)
{
	json_end_object(w);
	buf_append_u8(line, '\n');
	print(line);
}

static void
json_progress(const struct progress *p)
{
	struct buf line = BUF_INIT;
	struct json_writer w;

	json_open(&w, &line, "progress");
	json_number(&w, "bytes", done(p));
	json_number(&w, "length", p->length);
	json_number(&w, "bps", (uint64_t)p->rate);
	json_sources(&w, p);
	json_close(&w, &line);
}

/* ---- bar and plain lines ---- */

static void
add_elapsed(struct buf *line, int64_t ms)
{
	long long s = (long long)(ms / 1000);

	if (s >= 86400)
		buf_printf(line, "%lldd ", s / 86400);
	buf_printf(line, "%02lld:%02lld:%02lld", s / 3600 % 24, s / 60 % 60, s % 60);
}

static double
remaining_s(const struct progress *p)
{
	return p->rate >= 1.0 ? (double)(p->length - done(p)) / p->rate : 0.0;
}

static void
draw(struct progress *p, int64_t now)
{
	unsigned filled = p->length == 0 ? BAR_CELLS : (unsigned)((double)done(p) / (double)p->length * BAR_CELLS);
	struct buf line = BUF_INIT;
	char rate[UNITS_OUT_MAX];

	if (p->is_drawn)
		buf_append_str(&line, UP_AND_CLEAR);
	buf_printf(&line, BOLD "%s" PLAIN "\n[", p->title);
	add_elapsed(&line, now - p->started_ms);
	buf_append_str(&line, "] [" GREEN);
	for (unsigned i = 0; i < BAR_CELLS; i++) {
		if (i == filled)
			buf_append_str(&line, filled > 0 ? ">" RED : RED "-");
		else
			buf_append_u8(&line, i < filled ? '=' : '-');
	}
	buf_printf(&line, PLAIN "] %-3u%% (" RED "%s" PLAIN ", " CYAN "%.1fs" PLAIN ")", percent(done(p), p->length),
	    units_format_rate((uint64_t)p->rate, rate), remaining_s(p));
	if (done(p) > 0 && p->bytes[GET_FROM_CACHE] == done(p))
		buf_append_str(&line, " cached");
	else if (done(p) > 0)
		buf_printf(&line, " %u%% from peers", percent(p->bytes[GET_FROM_PEER], done(p)));
	buf_append_u8(&line, '\n');
	print(&line);
	fflush(stderr);
	p->is_drawn = true;
}

static void
print_plain(struct progress *p)
{
	struct buf line = BUF_INIT;
	char rate[UNITS_OUT_MAX];

	buf_printf(&line, "%u%% %llu/%llu %s eta %.0fs %u%% from peers %s\n", percent(done(p), p->length), (unsigned long long)done(p),
	    (unsigned long long)p->length, units_format_rate((uint64_t)p->rate, rate), remaining_s(p),
	    done(p) > 0 ? percent(p->bytes[GET_FROM_PEER], done(p)) : 0, p->title);
	print(&line);
	p->has_printed = true;
}

/* ---- events ---- */

void
progress_start(struct progress *p, const char *task_id, uint64_t length)
{
	struct buf line = BUF_INIT;
	struct json_writer w;

	p->has_length = true;
	p->length = length;
	memset(p->bytes, 0, sizeof p->bytes);
	p->rated_bytes = p->shown_bytes = 0;
	p->rated_ms = p->shown_ms = clock_mono_ms();
	p->rate = 0;
	if (p->form != PROGRESS_JSON)
		return;
	json_open(&w, &line, "started");
	json_write_key(&w, "url");
	json_write_str(&w, p->url);
	json_write_key(&w, "task_id");
	json_write_str(&w, task_id);
	json_number(&w, "length", length);
	json_close(&w, &line);
}

void
progress_add(struct progress *p, uint64_t bytes, unsigned traffic)
{
	p->bytes[traffic < GET_TRAFFICS ? traffic : GET_FROM_SOURCE] += bytes;
}

void
progress_tick(struct progress *p)
{
	int64_t now = clock_mono_ms();

	if (p->form == PROGRESS_NONE || !p->has_length)
		return;
	update_rate(p, now);
	if (p->form == PROGRESS_BAR) {
		draw(p, now);
	} else if (p->form == PROGRESS_JSON && now - p->shown_ms >= JSON_MS) {
		json_progress(p);
		p->shown_ms = now;
	} else if (p->form == PROGRESS_PLAIN && now - p->shown_ms >= PLAIN_MS &&
	    (done(p) - p->shown_bytes >= p->length / 10 || now - p->shown_ms >= PLAIN_SLOW_MS)) {
		print_plain(p);
		p->shown_ms = now;
		p->shown_bytes = done(p);
	}
}

void
progress_hide(struct progress *p)
{
	if (p->is_drawn)
		fputs(UP_AND_CLEAR, stderr);
	p->is_drawn = false;
}

void
progress_finish(struct progress *p)
{
	int64_t now = clock_mono_ms(), passed = now > p->started_ms ? now - p->started_ms : 1;
	struct buf line = BUF_INIT;
	struct json_writer w;

	p->rate = (double)done(p) * 1000.0 / (double)passed;
	if (p->form == PROGRESS_BAR)
		draw(p, now);
	else if (p->form == PROGRESS_PLAIN && p->has_printed)
		print_plain(p);
	if (p->form != PROGRESS_JSON)
		return;
	json_open(&w, &line, "finished");
	json_number(&w, "bytes", done(p));
	json_write_key(&w, "seconds");
	json_write_double(&w, (double)passed / 1000.0);
	json_write_key(&w, "output");
	json_write_str(&w, p->output);
	json_sources(&w, p);
	json_close(&w, &line);
}

/* "DeadlineExceeded" as "deadline_exceeded". */
static void
add_code_word(int code, struct buf *out)
{
	const char *name = err_code_name(code);

	for (const char *at = name; *at != '\0'; at++) {
		if (*at >= 'A' && *at <= 'Z' && at > name)
			buf_append_u8(out, '_');
		buf_append_u8(out, (uint8_t)(*at >= 'A' && *at <= 'Z' ? *at - 'A' + 'a' : *at));
	}
}

void
progress_fail(struct progress *p, int code, int status, const char *message)
{
	struct buf line = BUF_INIT, word = BUF_INIT;
	struct json_writer w;

	progress_hide(p);
	if (p->form != PROGRESS_JSON)
		return;
	add_code_word(code, &word);
	json_open(&w, &line, "failed");
	json_write_key(&w, "code");
	json_write_slice(&w, buf_slice(&word));
	json_write_key(&w, "status");
	if (status != 0)
		json_write_i64(&w, status);
	else
		json_write_null(&w);
	json_write_key(&w, "message");
	json_write_str(&w, message);
	json_close(&w, &line);
	buf_free(&word);
}
