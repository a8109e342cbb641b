#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/log.h"
#include "cmd/cmd.h"
#include "config/config.h"
#include "serve/daemon.h"

static struct daemon *running;

static void
on_signal(int sig)
{
	(void)sig;
	if (running != NULL)
		daemon_stop(running);
}

int
dfdaemon_main(int argc, char **argv)
{
	struct config config;
	struct config_notes notes = CONFIG_NOTES_INIT;
	struct config_options options = {.allow_ephemeral_ports = true};
	struct daemon_options o = {.config = &config};
	struct sigaction sa = {.sa_handler = on_signal};
	const char *path = NULL;
	struct err e = {0};
	enum log_level level;

	for (int i = 1; i + 1 < argc; i += 2) {
		if (strcmp(argv[i], "-c") == 0 || strcmp(argv[i], "--config") == 0)
			path = argv[i + 1];
		else if (strcmp(argv[i], "--dynconfig") == 0)
			o.dynconfig_path = argv[i + 1];
		else if (strcmp(argv[i], "-l") == 0 && log_parse_level(argv[i + 1], &level) == 0)
			log_set_level(level);
	}
	if (config_load_file_with(path, &options, &config, &notes, &e) < 0 || config_derive_host(&config, &e) < 0) {
		fprintf(stderr, "dfdaemon: %s\n", e.text);
		return 1;
	}
	for (size_t i = 0; i < notes.warning_count; i++)
		log_warn("%s", notes.warnings[i]);
	config_notes_free(&notes);
	running = daemon_start(&o, &e);
	if (running == NULL) {
		fprintf(stderr, "dfdaemon: %s\n", e.text);
		return 1;
	}
	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
	sa.sa_handler = SIG_IGN;
	sigaction(SIGPIPE, &sa, NULL);
	daemon_run(running);
	daemon_free(running);
	config_free(&config);
	return 0;
}
