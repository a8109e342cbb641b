/*
 * One program under several names: dfget, dfdaemon, dfctl, dfcache, dfinit. "dfget daemon" is dfdaemon, as older documents call it.
 */
#include <stdio.h>
#include <string.h>

#include "cmd/cmd.h"

int
main(int argc, char **argv)
{
	const char *slash = strrchr(argv[0], '/');
	const char *name = slash != NULL ? slash + 1 : argv[0];

	if (strcmp(name, "dfdaemon") == 0)
		return dfdaemon_main(argc, argv);
	if (strcmp(name, "dfctl") == 0)
		return dfctl_main(argc, argv);
	if (strcmp(name, "dfcache") == 0)
		return dfcache_main(argc, argv);
	if (strcmp(name, "dfinit") == 0)
		return dfinit_main(argc, argv);
	if (argc > 1 && strcmp(argv[1], "daemon") == 0)
		return dfdaemon_main(argc - 1, argv + 1);
	return dfget_main(argc, argv);
}
