/*
 * Content that this process writes itself: to a file that appears complete or not at all, or in order to a stream such as standard
 * output. The bytes come piece by piece in any order.
 */
#ifndef CMD_CONTENT_H
#define CMD_CONTENT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/digest.h"
#include "base/slice.h"

struct content;
struct err;

struct content_options {
	const char *path;               /* NULL: standard output */
	bool is_stream;                 /* in order to what stands at `path`, instead of a new file */
	bool overwrite;
	bool fsync;
	const char *digest;             /* as the user wrote it and digest_parse took it; NULL: none */
	enum digest_kind digest_kind;
	bool (*is_interrupted)(void);   /* asked while a write waits */
};

/* Bytes [start, start + length) of the task are wanted; others that come are left out. Opens or makes the file. */
struct content *content_new(const struct content_options *o, uint64_t start, uint64_t length, struct err *e);
/* No byte twice. */
int content_write(struct content *c, uint64_t offset, struct slice bytes, struct err *e);
/* All bytes are there: compares the digest and gives the file its name. */
int content_finish(struct content *c, struct err *e);
/* Removes what was not finished. NULL is allowed. */
void content_free(struct content *c);
/* Whether bytes went out that cannot be taken back. */
bool content_is_spent(const struct content *c);

#endif
