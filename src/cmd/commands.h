/*
 * Programs with sub-commands: a tree of names, each leaf a function that takes its own command line (spec: cli.md 1.1).
 */
#ifndef CMD_COMMANDS_H
#define CMD_COMMANDS_H

struct command {
	const char *name;               /* NULL ends a list */
	const char *about;              /* one line */
	int (*main)(int argc, char **argv);     /* argv[0] is the name; NULL where `sub` is set */
	const struct command *sub;
};

struct command_group {
	const char *name;               /* "dfctl" or, within, "dfctl task" */
	const char *about;
	const struct command *commands;
};

/* Runs what argv[1] names; the exit code. Help, version and wrong names are answered here. */
int commands_main(const struct command_group *g, int argc, char **argv);

#endif
