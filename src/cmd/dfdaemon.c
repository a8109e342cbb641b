/*
 * dfdaemon's command line (spec: cli.md 4): finds the configuration, sets up the log, starts a daemon and passes signals on.
 */
#include <dirent.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "cmd/cmd.h"
#include "cmd/options.h"
#include "cmd/supervise.h"
#include "config/config.h"
#include "config/paths.h"
#include "serve/daemon.h"
#include "serve/privileges.h"

struct dfdaemon_options {
	const char *config, *dynconfig, *log_dir, *pid_file;
	struct option_number log_level, log_max_files, log_max_file_size;
	struct option_list sets;
	bool console, check_config, print_config, strict_config;
};

#define AT(member) offsetof(struct dfdaemon_options, member)

static const struct option options[] = {
	{.name = "config", .letters = "c", .value = "CONFIG", .kind = OPTION_PATH, .at = AT(config), .env = "DFDAEMON_CONFIG",
	 .help = "Configuration file. Without this option a missing file means the defaults."},
	{.name = "dynconfig", .value = "DYNCONFIG", .kind = OPTION_PATH, .at = AT(dynconfig), .env = "DFDAEMON_DYNCONFIG",
	 .help = "File with the schedulers and block lists, read when no manager is configured."},
	{.name = "set", .value = "KEY=VALUE", .kind = OPTION_LIST, .at = AT(sets),
	 .help = "Sets a key of the configuration (upload.server.port=4000) after the file was read. May be repeated."},
	{.name = "strict-config", .kind = OPTION_FLAG, .at = AT(strict_config), .help = "Unknown keys of the configuration are errors."},
	{.name = "check-config", .kind = OPTION_FLAG, .at = AT(check_config),
	 .help = "Reads and checks the configuration, prints warnings and errors, and ends with 0 or 1."},
	{.name = "print-config", .kind = OPTION_FLAG, .at = AT(print_config), .help = "Prints the whole configuration as YAML and ends."},
	{.name = "log-level", .letters = "l", .value = "LOG_LEVEL", .kind = OPTION_LEVEL, .at = AT(log_level), .env = "DFDAEMON_LOG_LEVEL",
	 .help = "trace, debug, info, warn or error; info unless x.log.level says otherwise."},
	{.name = "log-dir", .value = "LOG_DIR", .kind = OPTION_PATH, .at = AT(log_dir), .env = "DFDAEMON_LOG_DIR",
	 .help = "Directory of dfdaemon.log; made when missing."},
	{.name = "log-max-files", .value = "LOG_MAX_FILES", .kind = OPTION_NUMBER, .at = AT(log_max_files), .env = "DFDAEMON_LOG_MAX_FILES",
	 .preset = "6", .min = 0, .max = 1000, .help = "Old log files that are kept besides the present one."},
	{.name = "log-max-file-size", .value = "LOG_MAX_FILE_SIZE", .kind = OPTION_SIZE, .at = AT(log_max_file_size),
	 .env = "DFDAEMON_LOG_MAX_FILE_SIZE", .preset = "1GiB", .help = "A new log file is begun when the present one is this large."},
	{.name = "console", .kind = OPTION_FLAG, .at = AT(console), .env = "DFDAEMON_CONSOLE",
	 .help = "Log lines go to standard error and not to a file."},
	{.name = "pid-file", .value = "PID_FILE", .kind = OPTION_PATH, .at = AT(pid_file),
	 .help = "File for the process id, written once the daemon serves and removed at its end."},
	{.name = "version", .letters = "V", .kind = OPTION_VERSION, .help = "Prints the version."},
	{.name = "help", .letters = "h", .kind = OPTION_HELP, .help = "Prints this help."},
};

static const struct program program = {
	.name = "dfdaemon",
	.about = "The Dragonfly peer: fetches content for this machine and shares it with other peers.",
	.usage = "dfdaemon [OPTIONS]", .short_usage = "dfdaemon [OPTIONS]", .options = options, .count = COUNT_OF(options),
};

/* ---- configuration ---- */

static int
fail(const char *text)
{
	fprintf(stderr, "dfdaemon: %s\n", text);
	return 1;
}

/* Each error of the file on its own line. */
static int
fail_config(const struct config_notes *notes, const struct err *e)
{
	for (size_t i = 0; i < notes->error_count; i++)
		fail(notes->errors[i]);
	if (notes->error_count == 0)
		fail(e->text);
	return 1;
}

/* The configuration from where the user says, else from the usual place, else the defaults with *missing (to be freed) as the path. */
static int
load_config(const struct dfdaemon_options *o, struct config *c, struct config_notes *notes, char **missing)
{
	struct config_options how = {.is_strict = o->strict_config, .sets = o->sets.items, .set_count = o->sets.count};
	char *usual = o->config == NULL ? paths_default(PATHS_CONFIG) : NULL;
	const char *path = o->config != NULL ? o->config : usual;
	struct err e = {0};
	int rc;

	*missing = NULL;
	if (o->config == NULL && access(path, F_OK) < 0) {
		*missing = usual;
		usual = NULL;
		path = NULL;
	}
	rc = config_load_file_with(path, &how, c, notes, &e);
	free(usual);
	if (rc == 0)
		return 0;
	return fail_config(notes, &e);
}

static void
warn_of_config(const struct config_notes *notes, const char *missing)
{
	if (missing != NULL)
		log_warn("no configuration file, using the defaults path=%s", missing);
	for (size_t i = 0; i < notes->warning_count; i++)
		log_warn("%s", notes->warnings[i]);
	if (notes->warnings_dropped > 0)
		log_warn("further warnings about the configuration left out count=%zu", notes->warnings_dropped);
}

/* Sources of other versions, in shared objects: nothing here loads them. */
static void
warn_of_plugins(const char *dir)
{
	char *path = xasprintf("%s/backend", dir);
	DIR *d = opendir(path);
	struct dirent *it;

	while (d != NULL && (it = readdir(d)) != NULL) {
		size_t n = strlen(it->d_name);

		if (n > 6 && strncmp(it->d_name, "lib", 3) == 0 && strcmp(it->d_name + n - 3, ".so") == 0) {
			log_warn("plugins are not supported, ignored file=%s/%s (server.pluginDir)", path, it->d_name);
			break;
		}
	}
	if (d != NULL)
		closedir(d);
	free(path);
}

static int
print_config(const struct config *c)
{
	struct buf text = BUF_INIT;

	config_print(c, &text);
	fwrite(buf_data(&text), 1, text.len, stdout);
	buf_free(&text);
	return fflush(stdout) == 0 ? 0 : fail("cannot write to standard output");
}

static int
check_config(const struct config_notes *notes)
{
	for (size_t i = 0; i < notes->warning_count; i++)
		fprintf(stderr, "dfdaemon: warning: %s\n", notes->warnings[i]);
	return 0;
}

/* ---- log ---- */

/* A bare level in RUST_LOG makes the log more talkative, never less. */
static void
set_level(const struct dfdaemon_options *o, const struct config *c)
{
	enum log_level level = LOG_INFO, other;
	const char *rust = getenv("RUST_LOG");

	if (o->log_level.is_set)
		level = (enum log_level)o->log_level.n;
	else if (c->x.log.level != NULL && log_parse_level(c->x.log.level, &other) == 0)
		level = other;
	if (rust != NULL && log_parse_level(rust, &other) == 0 && other < level)
		level = other;
	log_set_level(level);
}

static int
open_log(const struct dfdaemon_options *o)
{
	char *usual = NULL;
	const char *dir = o->log_dir;
	struct err e = {0};
	int rc;

	if (o->console)
		return 0;
	if (dir == NULL)
		dir = usual = paths_log_dir("dfdaemon");
	rc = log_open_dir(dir, "dfdaemon", (uint64_t)o->log_max_file_size.n, (unsigned)o->log_max_files.n, &e);
	free(usual);
	if (rc == 0) {
		log_to_stderr(false);
		return 0;
	}
	if (o->log_dir != NULL)
		return fail(e.text);
	/* Minimal images have no place for logs. */
	log_warn("logging to standard error: %s", e.text);
	return 0;
}

/* ---- signals ---- */

static struct daemon *volatile running;
static volatile sig_atomic_t stop_early;

static void
on_signal(int sig)
{
	if (running == NULL)
		stop_early |= sig != SIGHUP;
	else if (sig == SIGHUP)
		daemon_reload(running);
	else
		daemon_stop(running);
}

static void
set_signals(void (*handler)(int))
{
	static const int signals[] = {SIGINT, SIGTERM, SIGQUIT, SIGHUP};
	struct sigaction sa = {.sa_handler = handler, .sa_flags = SA_RESTART};

	sigemptyset(&sa.sa_mask);
	for (size_t i = 0; i < COUNT_OF(signals); i++)
		sigaction(signals[i], &sa, NULL);
}

/* The log goes on being written and renamed as the user that the daemon becomes; a directory somebody named is theirs to prepare. */
static int
give_log(const struct privileges *p, const struct dfdaemon_options *o, struct err *e)
{
	char *usual;
	int rc;

	if (!p->is_change || o->console)
		return 0;
	if (o->log_dir != NULL) {
		char *file = xasprintf("%s/dfdaemon.log", o->log_dir);

		rc = privileges_give(p, file, e);
		free(file);
		return rc;
	}
	usual = paths_log_dir("dfdaemon");
	/* Minimal images have none. */
	rc = access(usual, F_OK) == 0 ? privileges_give(p, usual, e) : 0;
	free(usual);
	return rc;
}

static int
fail_start(const struct err *e)
{
	log_error("cannot start: %s", e->text);
	fprintf(stderr, "Error: %s\n", e->text);
	return 1;
}

static int
run(struct config *c, const struct dfdaemon_options *o, const char *dynconfig)
{
	struct sigaction ignore = {.sa_handler = SIG_IGN};
	struct privileges privileges;
	mode_t output_mode;
	struct daemon *d;
	struct err e = {0};

	sigaction(SIGPIPE, &ignore, NULL);
	privileges_begin(&output_mode);
	if (privileges_find(&privileges, c, &e) < 0 || give_log(&privileges, o, &e) < 0) {
		privileges_free(&privileges);
		return fail_start(&e);
	}
	/* The socket answers before daemon_start returns, so who waits for it may signal at once. */
	set_signals(on_signal);
	d = daemon_start(&(struct daemon_options){.config = c, .dynconfig_path = dynconfig, .output_mode = output_mode,
		.privileges = &privileges}, &e);
	privileges_free(&privileges);
	if (d == NULL)
		return fail_start(&e);
	if (supervise_write_pid(o->pid_file, &e) < 0) {
		daemon_free(d);
		return fail_start(&e);
	}
	privileges_guard_memory(c);
	supervise_tell("READY=1");
	running = d;
	if (stop_early)
		daemon_stop(d);
	daemon_run(d);
	/* From here a further signal ends the process at once. */
	set_signals(SIG_DFL);
	running = NULL;
	daemon_free(d);
	supervise_remove_pid(o->pid_file);
	log_info("stopped");
	return 0;
}

int
dfdaemon_main(int argc, char **argv)
{
	struct dfdaemon_options o = {0};
	struct config_notes notes = CONFIG_NOTES_INIT;
	struct config c;
	char *missing = NULL, *dynconfig = NULL;
	struct err e = {0};
	int code = options_parse(&program, argc, argv, &o);

	if (code != OPTIONS_GO)
		goto out_options;
	code = load_config(&o, &c, &notes, &missing);
	if (code != 0)
		goto out_notes;
	if (o.check_config || o.print_config) {
		if (o.check_config)
			code = check_config(&notes);
		if (o.print_config)
			code = print_config(&c);
		goto out;
	}
	set_level(&o, &c);
	log_as_json(c.x.log.format == CONFIG_LOG_JSON);
	code = open_log(&o);
	if (code != 0)
		goto out;
	warn_of_config(&notes, missing);
	warn_of_plugins(c.server.plugin_dir);
	if (config_derive_host(&c, &e) < 0) {
		code = fail_start(&e);
		goto out;
	}
	dynconfig = o.dynconfig != NULL ? xstrdup(o.dynconfig) : paths_default(PATHS_DYNCONFIG);
	code = run(&c, &o, dynconfig);
	log_close();
out:
	free(dynconfig);
	config_free(&c);
out_notes:
	config_notes_free(&notes);
	free(missing);
out_options:
	options_free(&program, &o);
	return code;
}
