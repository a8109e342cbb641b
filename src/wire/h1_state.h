/*
 * What the two halves of the HTTP/1.1 parser (h1.c: heads, h1_body.c: bodies) share. Not for others.
 */
#ifndef WIRE_H1_STATE_H
#define WIRE_H1_STATE_H

#include "wire/h1.h"

enum h1_state {
	H1_IN_HEAD, H1_AFTER_INTERIM, H1_COUNTED, H1_UNTIL_CLOSE, H1_CHUNK_SIZE, H1_CHUNK_EXT, H1_CHUNK_SIZE_LF, H1_CHUNK_DATA,
	H1_CHUNK_DATA_CR, H1_CHUNK_DATA_LF, H1_TRAILER, H1_COMPLETE, H1_BROKEN,
};

/* Marks the parser as broken; always H1_ERROR. */
enum h1_event h1_fail(struct h1 *p, int status, const char *why);
/* One field line without its end. -1 after h1_fail. */
int h1_parse_field(struct h1 *p, struct slice line, struct h1_field *out);
enum h1_event h1_parse_body(struct h1 *p, struct slice *in, struct slice *data);

#endif
