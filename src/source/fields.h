/*
 * The header of a source request: from the user's headers, the configuration and the URL to what really travels
 * (backends.md 2.2, 2.3), and the answer's header as callers get it.
 */
#ifndef SOURCE_FIELDS_H
#define SOURCE_FIELDS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/arena.h"
#include "source/source.h"
#include "wire/h1.h"

struct url;

/* Headers of one request, ours included. */
#define FIELDS_MAX 128
/* All their bytes. */
#define FIELDS_BYTES_MAX (64 * 1024)

struct field {
	const char *name;
	const char *value;
	bool is_credential;     /* not for another origin */
};

struct fields {
	struct field at[FIELDS_MAX];
	size_t count;
};

/*
 * The user's headers without those that must not travel, then the URL's user and password, User-Agent, the configuration's, Accept.
 * No Range, no Host. keep_conditions: If-None-Match and If-Modified-Since stay (a stat's 304 goes back to the client).
 * -1 with INVALID_ARGUMENT naming the header (never its value). Texts lie in mem.
 */
int fields_build(struct fields *f, const struct source_headers *user, const struct url *url, const struct source_config *cfg,
    bool keep_conditions, struct arena *mem, struct err *e);
const char *fields_get(const struct fields *f, const char *name);

/*
 * An answer's header: names in lower case, printable values only. unique: one per name, the last wins; else duplicates stay.
 * Lies in mem; empty when memory is out.
 */
struct source_headers fields_of_answer(const struct h1 *head, bool unique, struct arena *mem);
/* A copy of h without `drop`, and with name: value when name is not NULL. */
struct source_headers fields_replace(struct source_headers h, const char *drop, const char *name, const char *value, struct arena *mem);

#endif
