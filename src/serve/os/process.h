/*
 * What a system tells of this process beyond POSIX: for the metrics page. Best effort: what is not known is 0.
 */
#ifndef SERVE_OS_PROCESS_H
#define SERVE_OS_PROCESS_H

#include <stdint.h>

struct process_facts {
	uint64_t open_fds;
	uint64_t threads;
	uint64_t virtual_bytes, resident_bytes;
};

void process_facts(struct process_facts *out);

#endif
