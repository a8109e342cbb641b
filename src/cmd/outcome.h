/*
 * How an attempt at a download ended, kept after the events are over: to be tried again, reported, turned into an exit code.
 */
#ifndef CMD_OUTCOME_H
#define CMD_OUTCOME_H

#include <stdbool.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/slice.h"
#include "wire/grpc.h"

struct get_end;

struct outcome {
	bool has_failed;
	struct err err;
	bool is_status;
	bool has_backend;
	struct grpc_backend backend;
	struct slice details;
	struct arena arena;
};

void outcome_init(struct outcome *o);
void outcome_free(struct outcome *o);
void outcome_clear(struct outcome *o);
/* Copies. */
void outcome_take(struct outcome *o, const struct get_end *end);
/* An error that arose in this process; the first one stays. */
void outcome_fail(struct outcome *o, const struct err *e);
/* A view for report_download. */
struct get_end outcome_view(const struct outcome *o);

/* The daemon had no room for the request. */
bool outcome_is_overload(const struct outcome *o);
/* Another attempt may do better. */
bool outcome_may_pass(const struct outcome *o);
/* 1, or with `detail` what cli.md 3.14 has for --exit-detail. */
int outcome_exit_code(const struct outcome *o, bool detail);

#define EXIT_NO_DAEMON 3

#endif
