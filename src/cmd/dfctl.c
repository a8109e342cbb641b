/*
 * dfctl: what a dfdaemon holds, and what may be done with it (spec: cli.md 8).
 */
#include "cmd/cmd.h"
#include "cmd/commands.h"
#include "cmd/ctl.h"

static const struct command task_commands[] = {
	{.name = "ls", .about = "Lists tasks", .main = ctl_task_ls},
	{.name = "rm", .about = "Removes a task", .main = ctl_task_rm},
	{.name = "preheat", .about = "Has a file or an image fetched by peers before it is asked for", .main = ctl_task_preheat},
	{0},
};

static const struct command persistent_commands[] = {
	{.name = "ls", .about = "Lists persistent tasks", .main = ctl_persistent_task_ls},
	{0},
};

static const struct command cache_commands[] = {
	{.name = "ls", .about = "Lists persistent cache tasks", .main = ctl_persistent_cache_task_ls},
	{0},
};

static const struct command store_commands[] = {
	{.name = "check", .about = "Verifies a storage directory offline", .main = ctl_store_check},
	{0},
};

static const struct command commands[] = {
	{.name = "task", .about = "Tasks of this host", .sub = task_commands},
	{.name = "persistent-task", .about = "Persistent tasks of this host", .sub = persistent_commands},
	{.name = "persistent-cache-task", .about = "Persistent cache tasks of this host", .sub = cache_commands},
	{.name = "store", .about = "The storage directory of this host", .sub = store_commands},
	{0},
};

int
dfctl_main(int argc, char **argv)
{
	return commands_main(&(struct command_group){
		.name = "dfctl", .about = "Shows and removes what a dfdaemon holds, and preheats.", .commands = commands}, argc, argv);
}
