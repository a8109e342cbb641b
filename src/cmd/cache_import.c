/*
 * dfcache import and dfcache stat: one question each to the daemon (spec: cli.md 6).
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "base/err.h"
#include "base/mem.h"
#include "cmd/cache.h"
#include "cmd/get.h"
#include "cmd/report.h"
#include "cmd/table.h"
#include "cmd/tool.h"
#include "config/local_addr.h"
#include "net/pb_time.h"
#include "proto/common.h"
#include "proto/dfdaemon.h"
#include "text/json.h"
#include "text/units.h"

#define TTL_MIN_S 300
#define TTL_MAX_S 604800
#define PIECE_LENGTH_MIN_BYTES 4194304
#define TIMEOUT_MAX_MS (INT64_C(24) * 86400 * 1000)

struct options {
	const char *path, *id, *content_for_id, *application, *tag, *endpoint;
	bool console, no_progress, json;
	struct option_number replicas, piece_length, ttl, timeout, log_level;
};

#define AT(member) offsetof(struct options, member)
#define COMMON(env_) \
	{.name = "endpoint", .letters = "e", .value = "ENDPOINT", .kind = OPTION_PATH, .at = AT(endpoint), .env = env_ "_DFDAEMON_ENDPOINT", \
	 .help = "Socket of the daemon."}, \
	{.name = "log-level", .letters = "l", .value = "LOG_LEVEL", .kind = OPTION_LEVEL, .at = AT(log_level), .env = env_ "_LOG_LEVEL", \
	 .preset = "info", .help = "trace, debug, info, warn or error; for --console."}, \
	{.name = "console", .kind = OPTION_FLAG, .at = AT(console), .env = env_ "_CONSOLE", .help = "Log lines on standard error."}, \
	{.name = "help", .letters = "h", .kind = OPTION_HELP, .help = "Prints this help."}

static const struct option import_options[] = {
	{.value = "PATH", .kind = OPTION_PATH, .at = AT(path), .is_required = true, .help = "The file. The daemon reads it, with your rights."},
	{.name = "content-for-calculating-task-id", .value = "CONTENT_FOR_CALCULATING_TASK_ID", .kind = OPTION_TEXT, .at = AT(content_for_id),
	 .env = "DFCACHE_IMPORT_CONTENT_FOR_CALCULATING_TASK_ID",
	 .help = "The task's id is made of this text alone. Without it the whole file is hashed first."},
	{.name = "persistent-replica-count", .value = "PERSISTENT_REPLICA_COUNT", .kind = OPTION_NUMBER, .at = AT(replicas),
	 .env = "DFCACHE_IMPORT_PERSISTENT_REPLICA_COUNT", .preset = "2", .min = 1, .max = INT32_MAX, .help = "Peers that are to keep it."},
	{.name = "piece-length", .value = "PIECE_LENGTH", .kind = OPTION_SIZE, .at = AT(piece_length), .env = "DFCACHE_IMPORT_PIECE_LENGTH",
	 .help = "Bytes of a piece, at least 4MiB. Part of the task's id. Without it the size of the file decides."},
	{.name = "application", .value = "APPLICATION", .kind = OPTION_TEXT, .at = AT(application), .env = "DFCACHE_IMPORT_APPLICATION",
	 .help = "Part of the task's id."},
	{.name = "tag", .value = "TAG", .kind = OPTION_TEXT, .at = AT(tag), .env = "DFCACHE_IMPORT_TAG", .help = "Part of the task's id."},
	{.name = "ttl", .value = "TTL", .kind = OPTION_DURATION, .at = AT(ttl), .env = "DFCACHE_IMPORT_TTL", .preset = "1h",
	 .help = "Time after which it is gone: 5 minutes to 7 days."},
	{.name = "timeout", .value = "TIMEOUT", .kind = OPTION_DURATION, .at = AT(timeout), .env = "DFCACHE_IMPORT_TIMEOUT", .preset = "30m",
	 .help = "The import may take so long."},
	{.name = "no-progress", .kind = OPTION_FLAG, .at = AT(no_progress), .env = "DFCACHE_IMPORT_NO_PROGRESS", .help = "Shows no progress."},
	COMMON("DFCACHE_IMPORT"),
};

static const struct option stat_options[] = {
	{.value = "ID", .kind = OPTION_TEXT, .at = AT(id), .is_required = true, .help = "The task's id, as import printed it."},
	{.name = "json", .kind = OPTION_FLAG, .at = AT(json), .help = "A JSON array instead of a table: bytes, seconds, times in UTC."},
	COMMON("DFCACHE_STAT"),
};

static const struct program import_program = {
	.name = "dfcache import", .about = "Puts a file into the cache of the peers and prints the task's id.",
	.usage = "dfcache import [OPTIONS] <PATH>", .short_usage = "dfcache import <PATH>", .options = import_options,
	.count = COUNT_OF(import_options),
};

static const struct program stat_program = {
	.name = "dfcache stat", .about = "Shows what the cluster knows of an imported file.",
	.usage = "dfcache stat [OPTIONS] <ID>", .short_usage = "dfcache stat <ID>", .options = stat_options, .count = COUNT_OF(stat_options),
};

/* ---- import ---- */

static int
check_import(const struct options *o, struct err *e)
{
	struct stat st;

	if (o->ttl.n < TTL_MIN_S * INT64_C(1000000000) || o->ttl.n > TTL_MAX_S * INT64_C(1000000000))
		return err_set(e, ERR_INVALID_ARGUMENT, "ttl must be between 5 minutes and 7 days, but got %lld",
		    (long long)(o->ttl.n / 1000000000));
	if (stat(o->path, &st) < 0)
		return errno == ENOENT || errno == ENOTDIR ? err_set(e, ERR_NOT_FOUND, "path %s does not exist", o->path) :
		    err_sys(e, errno, "look at path %s", o->path);
	if (S_ISDIR(st.st_mode))
		return err_set(e, ERR_INVALID_ARGUMENT, "path %s is a directory", o->path);
	if (o->piece_length.is_set && o->piece_length.n < PIECE_LENGTH_MIN_BYTES)
		return err_set(e, ERR_INVALID_ARGUMENT, "piece length %lld bytes is less than the minimum piece length %d bytes",
		    (long long)o->piece_length.n, PIECE_LENGTH_MIN_BYTES);
	return 0;
}

static int64_t
whole_ms(int64_t ns)
{
	int64_t ms = ns / 1000000;

	return ms <= 0 || ms > TIMEOUT_MAX_MS ? TIMEOUT_MAX_MS : ms;
}

static void
on_imported(void *ctx, const void *answer)
{
	const struct common_persistent_cache_task *t = answer;

	(void)ctx;
	printf("%.*s\n", SLICE_ARG(t->id));
}

static int
import(const struct options *o)
{
	struct google_duration ttl = pb_duration(o->ttl.n), timeout = pb_duration(o->timeout.n);
	struct dfdaemon_upload_persistent_cache_task_request r = {
		.content_for_calculating_task_id = slice_str(o->content_for_id), .persistent_replica_count = (uint64_t)o->replicas.n,
		.tag = slice_str(o->tag), .application = slice_str(o->application), .has_piece_length = o->piece_length.is_set,
		.piece_length = (uint64_t)o->piece_length.n, .ttl = &ttl, .timeout = &timeout,
	};
	char ip[LOCAL_ADDR_MAX], *path = get_absolute_path(o->path), *socket = tool_socket(o->endpoint);
	int code;

	if (local_addr_find(AF_INET, ip) == 0 || local_addr_find(AF_INET6, ip) == 0)
		r.remote_ip = slice_str(ip);
	r.path = slice_str(path);
	code = tool_ask(&(struct tool_call){.socket = socket, .user_agent = "dfcache/" DRAGONFLY_VERSION, .request = &r,
		.timeout_ms = whole_ms(o->timeout.n), .headline = "Importing Failed!", .shows_code = true,
		.spinner = o->no_progress ? NULL : "Importing...", .on_answer = on_imported,
		.method = &dfdaemon_dfdaemon_download_service.methods[DFDAEMON_DFDAEMON_DOWNLOAD_UPLOAD_PERSISTENT_CACHE_TASK_AT]});
	free(socket);
	free(path);
	return code == 0 && fflush(stdout) != 0 ? 1 : code;
}

int
cache_import(int argc, char **argv)
{
	struct options o = {0};
	struct err e = {0};
	int code = options_parse(&import_program, argc, argv, &o);

	if (code == OPTIONS_GO) {
		tool_set_log(o.console, &o.log_level);
		if (check_import(&o, &e) < 0) {
			report_validation(e.text);
			code = 1;
		} else {
			if (o.content_for_id == NULL)
				report_warning("The file is hashed to make the task's id, which takes long for large files; "
				    "--content-for-calculating-task-id gives it another one.");
			code = import(&o);
		}
	}
	options_free(&import_program, &o);
	return code;
}

/* ---- stat ---- */

static void
add_slice(struct table *t, struct slice s)
{
	char *text = slice_dup(s);

	table_add(t, text);
	free(text);
}

static void
print_table(const struct common_persistent_cache_task *m)
{
	static const char *const columns[] = {"ID", "STATE", "CONTENT LENGTH", "PIECE LENGTH", "PERSISTENT REPLICA COUNT", "TTL", "CREATED",
		"UPDATED"};
	char size[UNITS_OUT_MAX], time[TABLE_TIME_MAX], count[64];
	struct table t;

	table_init(&t, columns, COUNT_OF(columns), true);
	add_slice(&t, m->id);
	add_slice(&t, m->state);
	table_add(&t, units_format_size(m->content_length, size));
	table_add(&t, units_format_size(m->piece_length, size));
	/* How many there are stands in the JSON: scripts know this column as it is. */
	snprintf(count, sizeof count, "%llu", (unsigned long long)m->persistent_replica_count);
	table_add(&t, count);
	table_add(&t, m->ttl != NULL ? units_format_duration(pb_duration_ns(m->ttl), size) : "-");
	table_add(&t, m->created_at != NULL ? table_time(m->created_at->seconds, time) : "");
	table_add(&t, m->updated_at != NULL ? table_time(m->updated_at->seconds, time) : "");
	table_print(&t);
	table_free(&t);
}

static void
json_number(struct json_writer *w, const char *name, uint64_t n)
{
	json_write_key(w, name);
	json_write_u64(w, n);
}

static void
print_json(const struct common_persistent_cache_task *m)
{
	struct buf text = BUF_INIT;
	struct json_writer w;

	json_write_init(&w, &text);
	json_begin_array(&w);
	json_begin_object(&w);
	json_write_key(&w, "id");
	json_write_slice(&w, m->id);
	json_write_key(&w, "state");
	json_write_slice(&w, m->state);
	json_number(&w, "content_length", m->content_length);
	json_number(&w, "piece_length", m->piece_length);
	json_number(&w, "piece_count", m->piece_count);
	json_number(&w, "persistent_replica_count", m->persistent_replica_count);
	json_number(&w, "current_persistent_replica_count", m->current_persistent_replica_count);
	json_number(&w, "current_replica_count", m->current_replica_count);
	json_number(&w, "ttl_seconds", (uint64_t)(pb_duration_ns(m->ttl) / 1000000000));
	tool_json_time(&w, "created_at", m->created_at);
	tool_json_time(&w, "updated_at", m->updated_at);
	json_end_object(&w);
	json_end_array(&w);
	buf_append_u8(&text, '\n');
	fwrite(buf_data(&text), 1, text.len, stdout);
	buf_free(&text);
}

static void
on_stat(void *ctx, const void *answer)
{
	const struct options *o = ctx;

	if (o->json)
		print_json(answer);
	else
		print_table(answer);
}

int
cache_stat(int argc, char **argv)
{
	struct options o = {0};
	int code = options_parse(&stat_program, argc, argv, &o);

	if (code == OPTIONS_GO) {
		char ip[LOCAL_ADDR_MAX], *socket = tool_socket(o.endpoint);
		struct dfdaemon_stat_persistent_cache_task_request r = {.task_id = slice_str(o.id)};

		tool_set_log(o.console, &o.log_level);
		if (local_addr_find(AF_INET, ip) == 0 || local_addr_find(AF_INET6, ip) == 0)
			r.remote_ip = slice_str(ip);
		code = tool_ask(&(struct tool_call){.socket = socket, .user_agent = "dfcache/" DRAGONFLY_VERSION, .request = &r,
			.timeout_ms = TOOL_ASK_MS, .headline = "Stating Failed!", .shows_code = true, .on_answer = on_stat, .ctx = &o,
			.method = &dfdaemon_dfdaemon_download_service.methods[DFDAEMON_DFDAEMON_DOWNLOAD_STAT_PERSISTENT_CACHE_TASK_AT]});
		free(socket);
		if (code == 0 && fflush(stdout) != 0)
			code = 1;
	}
	options_free(&stat_program, &o);
	return code;
}
