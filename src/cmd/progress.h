/*
 * How far a download is, on standard error: a live bar, plain lines or JSON lines (spec: cli.md 3.13; the lines: doc/dfget.1).
 * Knows no loop: the owner calls progress_tick about PROGRESS_TICK_MS apart.
 */
#ifndef CMD_PROGRESS_H
#define CMD_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"

struct get_end;

/* 20 redraws a second at most. */
#define PROGRESS_TICK_MS 50

enum progress_form { PROGRESS_NONE, PROGRESS_BAR, PROGRESS_PLAIN, PROGRESS_JSON };

struct progress {
	enum progress_form form;
	char *title;                    /* decoded path of the URL, control characters escaped */
	char *url;                      /* for JSON: without secrets */
	const char *output;             /* for JSON */
	int64_t started_ms, shown_ms, rated_ms;
	bool has_length;
	uint64_t length;                /* bytes to come */
	uint64_t bytes[3];              /* by enum get_traffic */
	uint64_t rated_bytes, shown_bytes;
	double rate;                    /* bytes a second, smoothed */
	bool is_drawn;                  /* the bar's two lines are on the screen */
	bool has_printed;               /* a plain line was written */
};

/* Keeps output. */
void progress_init(struct progress *p, enum progress_form form, struct slice url, struct slice path, const char *output);
void progress_free(struct progress *p);
/* Length is known; counting begins anew. */
void progress_start(struct progress *p, const char *task_id, uint64_t length);
void progress_add(struct progress *p, uint64_t bytes, unsigned traffic);
void progress_tick(struct progress *p);
/* Takes the bar off the screen, so that something else can be written. */
void progress_hide(struct progress *p);
void progress_finish(struct progress *p);
/* `code` is enum err_code. */
void progress_fail(struct progress *p, int code, int status, const char *message);

#endif
