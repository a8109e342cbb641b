/*
 * The test origin as a program: prints "origin listening on port N" once it does, and runs until a signal. See support/origin.h
 * for what it serves.
 */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/origin.h"

static int
usage(void)
{
	fprintf(stderr, "usage: origin [--bind IP] [--port N] [--dir DIR] [--rate BYTES_PER_S]\n");
	return 2;
}

static int
read_options(int argc, char **argv, struct origin_opts *opts)
{
	for (int i = 1; i < argc; i += 2) {
		const char *value = i + 1 < argc ? argv[i + 1] : NULL;

		if (value == NULL)
			return -1;
		if (strcmp(argv[i], "--bind") == 0)
			opts->bind = value;
		else if (strcmp(argv[i], "--port") == 0)
			opts->port = (uint16_t)strtoul(value, NULL, 10);
		else if (strcmp(argv[i], "--dir") == 0)
			opts->dir = value;
		else if (strcmp(argv[i], "--rate") == 0)
			opts->rate = strtoull(value, NULL, 10);
		else
			return -1;
	}
	return 0;
}

int
main(int argc, char **argv)
{
	struct origin_opts opts = {0};
	struct origin *o;
	sigset_t set;
	int sig;

	if (read_options(argc, argv, &opts) != 0)
		return usage();
	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigprocmask(SIG_BLOCK, &set, NULL);
	o = origin_start(&opts);
	if (o == NULL)
		return 1;
	printf("origin listening on port %u\n", origin_port(o));
	fflush(stdout);
	sigwait(&set, &sig);
	fprintf(stderr, "origin: %" PRIu64 " requests, %" PRIu64 " body bytes\n", origin_requests(o), origin_bytes(o));
	origin_stop(o);
	return 0;
}
