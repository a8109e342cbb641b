/*
 * Looks at a storage directory that no daemon uses, and changes nothing: what the next start would find, remove or fetch again.
 */
#ifndef STORE_CHECK_H
#define STORE_CHECK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;

enum store_finding {
	STORE_FOUND_DAMAGE,     /* content or records that are wrong or missing: dropped at the next start or first use, and fetched again */
	STORE_FOUND_RUBBISH,    /* left from a crash: the next start removes it */
	STORE_FOUND_FOREIGN,    /* not the store's, or not readable: left alone */
};

struct store_check_options {
	const char *dir;
	bool skips_content;     /* records and journals alone, without reading the pieces */
	/* Called for each finding, with one line of text. */
	void (*found)(void *arg, enum store_finding what, const char *text);
	void *arg;
};

struct store_check_result {
	uint64_t tasks, finished;       /* with a good record; of them those with all pieces */
	uint64_t pieces, bytes;         /* recorded as finished */
	uint64_t checked, unchecked;    /* pieces whose bytes have their checksum; those that have none, or were not read */
	uint64_t disk_bytes;            /* blocks of all content files */
	uint64_t findings[3];
};

/*
 * -1 only where the directory cannot be checked at all: NOT_FOUND, FAILED_PRECONDITION for a foreign directory or another format,
 * ALREADY_EXISTS while a daemon uses it.
 */
int store_check(const struct store_check_options *o, struct store_check_result *out, struct err *e);

#endif
