#include "cmd/commands.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "cmd/options.h"

static bool
is_top(const struct command_group *g)
{
	return strchr(g->name, ' ') == NULL;
}

static void
print_help(const struct command_group *g, FILE *out)
{
	int width = (int)strlen("help");

	for (const struct command *c = g->commands; c->name != NULL; c++)
		if ((int)strlen(c->name) > width)
			width = (int)strlen(c->name);
	fprintf(out, "%s\n\nUsage: %s <COMMAND>\n\nCommands:\n", g->about, g->name);
	for (const struct command *c = g->commands; c->name != NULL; c++)
		fprintf(out, "  %-*s  %s\n", width, c->name, c->about);
	fprintf(out, "  %-*s  %s\n\nOptions:\n", width, "help", "Prints this help, or that of a command");
	if (is_top(g))
		fprintf(out, "  -V, --version  Prints the version\n");
	fprintf(out, "  -h, --help     Prints this help\n");
}

static const struct command *
find(const struct command_group *g, const char *name)
{
	for (const struct command *c = g->commands; c->name != NULL; c++)
		if (strcmp(c->name, name) == 0)
			return c;
	return NULL;
}

static int
fail(const struct command_group *g, const char *what, const char *word)
{
	char shown[256];
	size_t n = 0;

	for (; *word != '\0' && n + 1 < sizeof shown; word++)
		shown[n++] = (unsigned char)*word < 0x20 || *word == 0x7f ? '?' : *word;
	shown[n] = '\0';
	fprintf(stderr, "error: ");
	fprintf(stderr, strcmp(what, "argument") == 0 ? "unexpected argument '%s' found" : "unrecognized subcommand '%s'", shown);
	fprintf(stderr, "\n\nUsage: %s <COMMAND>\n\nFor more information, try '--help'.\n", g->name);
	return OPTIONS_USAGE;
}

static int
run(const struct command_group *g, const struct command *c, int argc, char **argv)
{
	struct command_group inner = {.about = c->about, .commands = c->sub};
	char *name;
	int code;

	if (c->main != NULL)
		return c->main(argc, argv);
	name = xasprintf("%s %s", g->name, c->name);
	inner.name = name;
	code = commands_main(&inner, argc, argv);
	free(name);
	return code;
}

/* "help", "help COMMAND". */
static int
help(const struct command_group *g, int argc, char **argv)
{
	const struct command *c = argc > 1 ? find(g, argv[1]) : NULL;
	char flag[] = "--help";
	char *words[] = {argc > 1 ? argv[1] : NULL, flag, NULL};

	if (argc <= 1) {
		print_help(g, stdout);
		return 0;
	}
	return c != NULL ? run(g, c, 2, words) : fail(g, "command", argv[1]);
}

int
commands_main(const struct command_group *g, int argc, char **argv)
{
	const struct program version = {.name = g->name};
	const struct command *c;

	if (argc < 2) {
		print_help(g, stderr);
		return OPTIONS_USAGE;
	}
	if (strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "--help") == 0) {
		print_help(g, stdout);
		return 0;
	}
	if (is_top(g) && (strcmp(argv[1], "-V") == 0 || strcmp(argv[1], "--version") == 0)) {
		options_print_version(&version);
		return 0;
	}
	if (argv[1][0] == '-')
		return fail(g, "argument", argv[1]);
	if (strcmp(argv[1], "help") == 0)
		return help(g, argc - 1, argv + 1);
	c = find(g, argv[1]);
	return c != NULL ? run(g, c, argc - 1, argv + 1) : fail(g, "command", argv[1]);
}
