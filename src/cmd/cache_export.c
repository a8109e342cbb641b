/*
 * dfcache export: a download like dfget's of a task that only peers have (spec: cli.md 6).
 */
#include "base/err.h"
#include "base/mem.h"
#include "cmd/cache.h"
#include "cmd/get.h"
#include "cmd/report.h"
#include "cmd/tool.h"

/* The options are dfget's, under names of their own. */
struct export_options {
	const char *id;
	struct get_options get;
};

#define AT(member) offsetof(struct export_options, get.member)
#define FLAG(name_, member, env_, help_) {.name = (name_), .kind = OPTION_FLAG, .at = AT(member), .env = (env_), .help = (help_)}

static const struct option options[] = {
	{.value = "ID", .kind = OPTION_TEXT, .at = offsetof(struct export_options, id), .is_required = true,
	 .help = "The task's id, as import printed it."},
	{.name = "output", .letters = "Oo", .value = "OUTPUT", .kind = OPTION_PATH, .at = AT(output), .is_required = true,
	 .help = "Where to put it: a file, or - for standard output."},
	FLAG("transfer-from-dfdaemon", transfer, "DFCACHE_EXPORT_TRANSFER_FROM_DFDAEMON",
	    "Takes the bytes from the daemon and writes the file here, for when the daemon cannot see the output path."),
	FLAG("overwrite", overwrite, "DFCACHE_EXPORT_OVERWRITE", "Replaces an existing output file, in one step and only when all is there."),
	FLAG("force-hard-link", force_hard_link, "DFCACHE_EXPORT_FORCE_HARD_LINK",
	    "The output must be a hard link of the daemon's file; nothing is copied."),
	{.name = "application", .value = "APPLICATION", .kind = OPTION_TEXT, .at = AT(application), .env = "DFCACHE_EXPORT_APPLICATION",
	 .preset = "", .help = "For statistics and block lists."},
	{.name = "tag", .value = "TAG", .kind = OPTION_TEXT, .at = AT(tag), .env = "DFCACHE_EXPORT_TAG", .preset = "",
	 .help = "For statistics and block lists."},
	{.name = "timeout", .value = "TIMEOUT", .kind = OPTION_DURATION, .at = AT(timeout), .env = "DFCACHE_EXPORT_TIMEOUT", .preset = "2h",
	 .help = "The export may take so long."},
	{.name = "digest", .value = "DIGEST", .kind = OPTION_TEXT, .at = AT(digest),
	 .help = "What the content must be: sha256:HEX, sha512:HEX or crc32:NUMBER."},
	{.name = "endpoint", .letters = "e", .value = "ENDPOINT", .kind = OPTION_PATH, .at = AT(endpoint),
	 .env = "DFCACHE_EXPORT_DFDAEMON_ENDPOINT", .help = "Socket of the daemon."},
	FLAG("no-progress", no_progress, "DFCACHE_EXPORT_NO_PROGRESS", "Shows no progress."),
	{.name = "log-level", .letters = "l", .value = "LOG_LEVEL", .kind = OPTION_LEVEL, .at = AT(log_level), .env = "DFCACHE_EXPORT_LOG_LEVEL",
	 .preset = "info", .help = "trace, debug, info, warn or error; for --console."},
	FLAG("console", console, "DFCACHE_EXPORT_CONSOLE", "Log lines on standard error."),
	{.name = "help", .letters = "h", .kind = OPTION_HELP, .help = "Prints this help."},
};

static const struct program program = {
	.name = "dfcache export", .about = "Gets an imported file out of the cache of the peers.",
	.usage = "dfcache export [OPTIONS] --output <OUTPUT> <ID>", .short_usage = "dfcache export --output <OUTPUT> <ID>",
	.options = options, .count = COUNT_OF(options),
};

int
cache_export(int argc, char **argv)
{
	struct export_options o = {0};
	struct get_plan plan = {0};
	struct err e = {0};
	int code = options_parse(&program, argc, argv, &o);

	if (code == OPTIONS_GO) {
		/* What dfget has options for. */
		o.get.daemon = "require";
		o.get.progress = "auto";
		o.get.no_progress |= !report_is_terminal();
		o.get.connect_timeout = (struct option_number){.n = INT64_C(3000000000)};
		tool_set_log(o.get.console, &o.get.log_level);
		if (get_plan_make_export(&plan, &o.get, o.id, &e) != 0) {
			report_validation(e.text);
			code = 1;
		} else {
			code = get_run(&plan);
		}
		get_plan_free(&plan);
	}
	options_free(&program, &o);
	return code;
}
