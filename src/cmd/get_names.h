/*
 * Names in a directory that somebody else listed: which place below the output directory an entry has, and which entries a pattern means
 * (spec: cli.md 3.11).
 */
#ifndef CMD_GET_NAMES_H
#define CMD_GET_NAMES_H

#include <stdbool.h>

#include "base/slice.h"

struct buf;
struct err;

/*
 * The path of an entry's URL below that of the base, both percent-encoded; base ends in '/'. Decoded, appended to out, without slashes at its
 * ends; empty for the base itself. -1 with "unsafe entry path '...'" when it does not lie below, or a part of it is empty, "." or "..", or
 * holds '/' or NUL once decoded.
 */
int get_name_below(struct slice base, struct slice path, struct buf *out, struct err *e);

/* Whether a value of --include-files is a pattern: it holds '*', '?' or '['. */
bool get_name_is_pattern(const char *s);
/* '*' and '?' stay within a part, "**" is any number of whole parts, [a-z] and [!a-z] are sets; a slash at the end: all that lies below. */
bool get_name_matches(const char *pattern, const char *name);

#endif
