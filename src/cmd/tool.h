/*
 * What dfctl and dfcache share: the daemon's socket, one question to it, and how failures are told.
 */
#ifndef CMD_TOOL_H
#define CMD_TOOL_H

#include <stdbool.h>
#include <stdint.h>

#include "cmd/options.h"

struct google_timestamp;
struct json_writer;
struct loop;
struct pb_method;
struct rpc_channel;

/* A question about what a daemon knows (spec: cli.md 8). */
#define TOOL_ASK_MS 10000
/* A daemon from which nothing comes for so long is asked whether it is still there (PING): one that is stopped or stuck ends the wait. */
#define TOOL_SILENCE_MS 20000

/* Log lines on standard error with --console, or none; RUST_LOG may name the level. */
void tool_set_log(bool console, const struct option_number *level);
/* The socket to use: what the user named ("unix:" before it is taken off), or where one should be. The caller's to free. */
char *tool_socket(const char *endpoint);

struct tool_call {
	const char *socket;             /* where the daemon is; NULL: `address` is asked */
	const char *address;            /* "http://host:port" of a scheduler */
	const char *user_agent;         /* "dfctl" */
	const struct pb_method *method;
	const void *request;
	int64_t timeout_ms;
	const char *headline;           /* of a failure: "Listing Tasks Failed!" */
	bool shows_code;                /* failures with their code and details, whatever they hold (spec: cli.md 6) */
	const char *spinner;            /* shown on a terminal while it lasts, or NULL */
	void (*on_answer)(void *ctx, const void *answer);
	void *ctx;
};

/* Asks and calls on_answer; a failure is reported on standard error. The exit code. */
int tool_ask(const struct tool_call *c);
/* A member of an object: the time in UTC, null for none. */
void tool_json_time(struct json_writer *w, const char *name, const struct google_timestamp *at);

#endif
