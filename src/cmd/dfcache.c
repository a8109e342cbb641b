/*
 * dfcache: files that live in peers alone (spec: cli.md 6).
 */
#include "cmd/cache.h"
#include "cmd/cmd.h"
#include "cmd/commands.h"

static const struct command commands[] = {
	{.name = "import", .about = "Puts a file into the cache of the peers", .main = cache_import},
	{.name = "export", .about = "Gets a file out of it", .main = cache_export},
	{.name = "stat", .about = "Shows what the cluster knows of a file", .main = cache_stat},
	{0},
};

int
dfcache_main(int argc, char **argv)
{
	return commands_main(&(struct command_group){
		.name = "dfcache", .about = "Keeps files in the peers of a Dragonfly cluster for a time, with replicas.", .commands = commands},
		argc, argv);
}
