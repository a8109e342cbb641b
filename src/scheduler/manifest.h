/*
 * What a registry of container images says (spec: manager.md B6.1): addresses of manifests, challenges, manifests and lists of them,
 * platforms. Pure.
 */
#ifndef SCHEDULER_MANIFEST_H
#define SCHEDULER_MANIFEST_H

#include <stdbool.h>
#include <stddef.h>

#include "base/slice.h"

struct arena;
struct err;
struct json;
struct registry_url;

#define MANIFEST_ACCEPT_COUNT 6
extern const char *const manifest_accept[MANIFEST_ACCEPT_COUNT];

/* -1: INVALID_ARGUMENT "parse access url failed". */
int manifest_url_parse(struct slice url, struct registry_url *out, struct err *e);

#define PLATFORM_TEXT_MAX 32
struct platform {
	char os[PLATFORM_TEXT_MAX], arch[PLATFORM_TEXT_MAX], variant[PLATFORM_TEXT_MAX];
};

/* "os", "os/arch" or "os/arch/variant", by their usual names; "" and what is left out is what runs here. */
int platform_parse(struct slice text, struct platform *out, struct err *e);
/* "linux/arm/v7" */
#define PLATFORM_NAME_MAX (3 * PLATFORM_TEXT_MAX)
const char *platform_name(const struct platform *p, char out[PLATFORM_NAME_MAX]);

struct challenge {
	bool is_bearer, is_basic;
	/* Of the Bearer challenge, without quotes; from the arena. */
	struct slice realm, service;
};

/* Takes up what one WWW-Authenticate field says; *c is zeroed before the first. */
void challenge_read(struct slice field, struct arena *a, struct challenge *c);

enum manifest_kind { MANIFEST_LIST, MANIFEST_IMAGE, MANIFEST_OLD };

/* By the Content-Type, else by what the document says and holds. -1: it is neither. */
int manifest_kind_of(const struct json *doc, struct slice content_type, enum manifest_kind *out, struct err *e);
/* The digest of the entry for the platform; absent, and NOT_FOUND, when there is none. */
struct slice manifest_choose(const struct json *list, const struct platform *p, struct err *e);
/* Digests of what an image is made of, each once, in order; the array is the arena's. */
int manifest_blobs(const struct json *doc, enum manifest_kind kind, struct arena *a, struct slice **out, size_t *n, struct err *e);
/* "sha256:<64 lower-case hex>" and the like, which is safe in a URL. */
bool manifest_is_digest(struct slice text);

#endif
