/*
 * Asks a registry what an image is made of (spec: manager.md B6.1): challenge, token, manifest of the platform, and from that the URLs
 * of its blobs. Runs on the scheduler's loop.
 */
#ifndef SCHEDULER_IMAGE_H
#define SCHEDULER_IMAGE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/slice.h"

struct err;
struct image_client;
struct image_lookup;
struct loop;
struct pb_pair;

/* allow_loopback: also registries on this host and on its links, which a caller may otherwise not make us speak to. */
struct image_client *image_client_new(struct loop *loop, bool allow_loopback);
/* Lookups under way end without a callback: cancel them first. */
void image_client_free(struct image_client *c);

/* All of it must outlive the lookup. */
struct image_request {
	struct slice url;               /* of the manifest */
	const struct pb_pair *header;   /* an Authorization among them is used as it is */
	size_t n_header;
	struct slice username, password, platform;
	const struct slice *certificate_chain;  /* DER */
	size_t n_certificate_chain;
	bool is_insecure;
};

/* Valid within the callback. */
struct image {
	struct slice *urls;             /* config first, then the layers */
	size_t n_urls;
	struct slice authorization;     /* for the blobs; absent: none */
};

/* image, or NULL and why: INVALID_ARGUMENT. */
typedef void image_fn(void *ctx, const struct image *image, const struct err *e);
/* NULL and *e when it cannot begin; no callback before it returns. */
struct image_lookup *image_resolve(struct image_client *c, const struct image_request *r, image_fn *fn, void *ctx, struct err *e);
/* No callback follows. Not after fn was called. */
void image_cancel(struct image_lookup *l);

#endif
