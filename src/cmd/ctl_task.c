/*
 * dfctl task ls, task rm, persistent-task ls, persistent-cache-task ls (spec: cli.md 5, 8).
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/mem.h"
#include "cmd/ctl.h"
#include "cmd/report.h"
#include "cmd/table.h"
#include "cmd/tool.h"
#include "net/pb_time.h"
#include "proto/dfdaemon.h"
#include "text/json.h"
#include "text/units.h"

struct options {
	const char *id, *endpoint;
	bool console, json;
	struct option_number log_level;
};

#define AT(member) offsetof(struct options, member)
#define COMMON(env_) \
	{.name = "endpoint", .letters = "e", .value = "ENDPOINT", .kind = OPTION_PATH, .at = AT(endpoint), .env = "DFCTL_ENDPOINT", \
	 .help = "Socket of the daemon."}, \
	{.name = "log-level", .letters = "l", .value = "LOG_LEVEL", .kind = OPTION_LEVEL, .at = AT(log_level), .env = env_ "_LOG_LEVEL", \
	 .preset = "info", .help = "trace, debug, info, warn or error; for --console."}, \
	{.name = "console", .kind = OPTION_FLAG, .at = AT(console), .env = env_ "_CONSOLE", .help = "Log lines on standard error."}, \
	{.name = "help", .letters = "h", .kind = OPTION_HELP, .help = "Prints this help."}
#define JSON {.name = "json", .kind = OPTION_FLAG, .at = AT(json), .help = "A JSON array instead of a table: bytes, seconds, times in UTC."}

static const struct option task_ls_options[] = {JSON, COMMON("DFCTL_TASK_LS")};
static const struct option persistent_ls_options[] = {JSON, COMMON("DFCTL_PERSISTENT_TASK_LS")};
static const struct option cache_ls_options[] = {JSON, COMMON("DFCTL_PERSISTENT_CACHE_TASK_LS")};
static const struct option task_rm_options[] = {
	{.value = "ID", .kind = OPTION_TEXT, .at = AT(id), .is_required = true, .help = "The task."}, COMMON("DFCTL_TASK_RM")};

/* ---- one row of whatever kind ---- */

struct row {
	struct slice id;
	bool is_pinnable, persistent;
	const struct google_duration *ttl;
	bool has_piece_length, has_content_length;
	uint64_t piece_length, content_length;
	const struct google_timestamp *created, *finished, *failed, *updated;
};

struct output {
	bool is_json;
	bool is_pinnable;
	struct table table;
	struct json_writer json;
	struct buf text;
};

static void
add_text(struct table *t, struct slice s)
{
	char *text = slice_dup(s);

	table_add(t, text);
	free(text);
}

static void
add_size(struct table *t, bool is_there, uint64_t bytes)
{
	char text[UNITS_OUT_MAX];

	table_add(t, is_there ? units_format_size(bytes, text) : "-");
}

static void
add_time(struct table *t, const struct google_timestamp *at)
{
	char text[TABLE_TIME_MAX];

	table_add(t, at != NULL ? table_time(at->seconds, text) : "-");
}

static void
add_row(struct table *t, const struct row *r)
{
	char text[UNITS_OUT_MAX];

	add_text(t, r->id);
	if (r->is_pinnable) {
		table_add(t, r->persistent ? "true" : "false");
		table_add(t, units_format_duration(pb_duration_ns(r->ttl), text));
	}
	add_size(t, r->has_piece_length, r->piece_length);
	add_size(t, r->has_content_length, r->content_length);
	add_time(t, r->created);
	add_time(t, r->finished);
	add_time(t, r->failed);
	add_time(t, r->updated);
}

static void
json_size(struct json_writer *w, const char *name, bool is_there, uint64_t n)
{
	json_write_key(w, name);
	if (is_there)
		json_write_u64(w, n);
	else
		json_write_null(w);
}

static void
json_row(struct json_writer *w, const struct row *r)
{
	json_begin_object(w);
	json_write_key(w, "id");
	json_write_slice(w, r->id);
	if (r->is_pinnable) {
		json_write_key(w, "persistent");
		json_write_bool(w, r->persistent);
		json_write_key(w, "ttl_seconds");
		json_write_i64(w, pb_duration_ns(r->ttl) / 1000000000);
	}
	json_size(w, "piece_length", r->has_piece_length, r->piece_length);
	json_size(w, "content_length", r->has_content_length, r->content_length);
	tool_json_time(w, "created_at", r->created);
	tool_json_time(w, "finished_at", r->finished);
	tool_json_time(w, "failed_at", r->failed);
	tool_json_time(w, "updated_at", r->updated);
	json_end_object(w);
}

static void
put_row(struct output *o, const struct row *r)
{
	if (o->is_json)
		json_row(&o->json, r);
	else
		add_row(&o->table, r);
}

static void
output_start(struct output *o, bool is_json, bool is_pinnable)
{
	static const char *const plain[] = {"ID", "PIECE LENGTH", "CONTENT LENGTH", "CREATED", "FINISHED", "FAILED", "UPDATED"};
	static const char *const pinnable[] = {"ID", "PERSISTENT", "TTL", "PIECE LENGTH", "CONTENT LENGTH", "CREATED", "FINISHED", "FAILED",
		"UPDATED"};

	*o = (struct output){.is_json = is_json, .is_pinnable = is_pinnable, .text = BUF_INIT};
	if (is_pinnable)
		table_init(&o->table, pinnable, COUNT_OF(pinnable), false);
	else
		table_init(&o->table, plain, COUNT_OF(plain), false);
	json_write_init(&o->json, &o->text);
	if (is_json)
		json_begin_array(&o->json);
}

static void
output_end(struct output *o)
{
	if (o->is_json) {
		json_end_array(&o->json);
		buf_append_u8(&o->text, '\n');
		fwrite(buf_data(&o->text), 1, o->text.len, stdout);
	} else {
		table_print(&o->table);
	}
}

static void
output_free(struct output *o)
{
	table_free(&o->table);
	buf_free(&o->text);
}

/* ---- answers ---- */

static void
on_tasks(void *ctx, const void *answer)
{
	const struct dfdaemon_list_local_tasks_response *m = answer;
	struct output *o = ctx;

	for (size_t i = 0; i < m->n_tasks; i++) {
		const struct dfdaemon_stat_local_task_response *t = &m->tasks[i];

		put_row(o, &(struct row){.id = t->task_id, .has_piece_length = t->has_piece_length, .piece_length = t->piece_length,
			.has_content_length = t->has_content_length, .content_length = t->content_length, .created = t->created_at,
			.finished = t->finished_at, .failed = t->failed_at, .updated = t->updated_at});
	}
	output_end(o);
}

static void
on_persistent_tasks(void *ctx, const void *answer)
{
	const struct dfdaemon_list_local_persistent_tasks_response *m = answer;
	struct output *o = ctx;

	for (size_t i = 0; i < m->n_tasks; i++) {
		const struct dfdaemon_stat_local_persistent_task_response *t = &m->tasks[i];

		put_row(o, &(struct row){.id = t->task_id, .is_pinnable = true, .persistent = t->persistent, .ttl = t->ttl,
			.has_piece_length = t->has_piece_length, .piece_length = t->piece_length, .has_content_length = t->has_content_length,
			.content_length = t->content_length, .created = t->created_at, .finished = t->finished_at, .failed = t->failed_at,
			.updated = t->updated_at});
	}
	output_end(o);
}

static void
on_cache_tasks(void *ctx, const void *answer)
{
	const struct dfdaemon_list_local_persistent_cache_tasks_response *m = answer;
	struct output *o = ctx;

	for (size_t i = 0; i < m->n_tasks; i++) {
		const struct dfdaemon_stat_local_persistent_cache_task_response *t = &m->tasks[i];

		put_row(o, &(struct row){.id = t->task_id, .is_pinnable = true, .persistent = t->persistent, .ttl = t->ttl,
			.has_piece_length = t->has_piece_length, .piece_length = t->piece_length, .has_content_length = t->has_content_length,
			.content_length = t->content_length, .created = t->created_at, .finished = t->finished_at, .failed = t->failed_at,
			.updated = t->updated_at});
	}
	output_end(o);
}

/* ---- commands ---- */

static int
list(const struct program *p, int argc, char **argv, const struct tool_call *what, bool is_pinnable)
{
	struct options o = {0};
	struct tool_call call = *what;
	struct output out;
	int code = options_parse(p, argc, argv, &o);
	char *socket;

	if (code == OPTIONS_GO) {
		tool_set_log(o.console, &o.log_level);
		socket = tool_socket(o.endpoint);
		output_start(&out, o.json, is_pinnable);
		call.socket = socket;
		call.user_agent = "dfctl/" DRAGONFLY_VERSION;
		call.timeout_ms = TOOL_ASK_MS;
		call.ctx = &out;
		code = tool_ask(&call);
		output_free(&out);
		free(socket);
		if (code == 0 && fflush(stdout) != 0)
			code = 1;
	}
	options_free(p, &o);
	return code;
}

int
ctl_task_ls(int argc, char **argv)
{
	static const struct program program = {.name = "dfctl task ls", .about = "Lists the tasks that the local dfdaemon holds.",
		.usage = "dfctl task ls [OPTIONS]", .short_usage = "dfctl task ls [OPTIONS]", .options = task_ls_options,
		.count = COUNT_OF(task_ls_options)};
	struct dfdaemon_list_local_tasks_request r = {0};

	return list(&program, argc, argv, &(struct tool_call){.request = &r, .headline = "Listing Tasks Failed!", .on_answer = on_tasks,
		.method = &dfdaemon_dfdaemon_download_service.methods[DFDAEMON_DFDAEMON_DOWNLOAD_LIST_LOCAL_TASKS_AT]}, false);
}

int
ctl_persistent_task_ls(int argc, char **argv)
{
	static const struct program program = {.name = "dfctl persistent-task ls",
		.about = "Lists the persistent tasks that the local dfdaemon holds.", .usage = "dfctl persistent-task ls [OPTIONS]",
		.short_usage = "dfctl persistent-task ls [OPTIONS]", .options = persistent_ls_options, .count = COUNT_OF(persistent_ls_options)};
	struct dfdaemon_list_local_persistent_tasks_request r = {0};

	return list(&program, argc, argv, &(struct tool_call){.request = &r, .headline = "Listing Persistent Tasks Failed!",
		.on_answer = on_persistent_tasks,
		.method = &dfdaemon_dfdaemon_download_service.methods[DFDAEMON_DFDAEMON_DOWNLOAD_LIST_LOCAL_PERSISTENT_TASKS_AT]}, true);
}

int
ctl_persistent_cache_task_ls(int argc, char **argv)
{
	static const struct program program = {.name = "dfctl persistent-cache-task ls",
		.about = "Lists the persistent cache tasks that the local dfdaemon holds.", .usage = "dfctl persistent-cache-task ls [OPTIONS]",
		.short_usage = "dfctl persistent-cache-task ls [OPTIONS]", .options = cache_ls_options, .count = COUNT_OF(cache_ls_options)};
	struct dfdaemon_list_local_persistent_cache_tasks_request r = {0};

	return list(&program, argc, argv, &(struct tool_call){.request = &r, .headline = "Listing Persistent Cache Tasks Failed!",
		.on_answer = on_cache_tasks,
		.method = &dfdaemon_dfdaemon_download_service.methods[DFDAEMON_DFDAEMON_DOWNLOAD_LIST_LOCAL_PERSISTENT_CACHE_TASKS_AT]}, true);
}

static void
on_removed(void *ctx, const void *answer)
{
	(void)ctx;
	(void)answer;
	report_success("Task Removed!");
}

int
ctl_task_rm(int argc, char **argv)
{
	static const struct program program = {.name = "dfctl task rm", .about = "Removes a task from the local dfdaemon.",
		.usage = "dfctl task rm [OPTIONS] <ID>", .short_usage = "dfctl task rm <ID>", .options = task_rm_options,
		.count = COUNT_OF(task_rm_options)};
	struct options o = {0};
	int code = options_parse(&program, argc, argv, &o);

	if (code == OPTIONS_GO) {
		char *socket = tool_socket(o.endpoint);
		struct dfdaemon_delete_task_request r = {.task_id = slice_str(o.id)};

		tool_set_log(o.console, &o.log_level);
		code = tool_ask(&(struct tool_call){.socket = socket, .user_agent = "dfctl/" DRAGONFLY_VERSION, .request = &r,
			.timeout_ms = TOOL_ASK_MS, .headline = "Removing Task Failed!", .on_answer = on_removed,
			.method = &dfdaemon_dfdaemon_download_service.methods[DFDAEMON_DFDAEMON_DOWNLOAD_DELETE_TASK_AT]});
		free(socket);
	}
	options_free(&program, &o);
	return code;
}
