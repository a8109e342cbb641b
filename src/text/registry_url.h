/*
 * URLs of registries of container images: "<scheme>://<host>/v2/<repository>/<kind>/<reference>[?query]" (spec: download.md 1.4).
 */
#ifndef TEXT_REGISTRY_URL_H
#define TEXT_REGISTRY_URL_H

#include <stdbool.h>

#include "base/slice.h"

/* Views into the URL. */
struct registry_url {
	struct slice scheme;
	struct slice origin;            /* "https://registry.example.com" */
	struct slice repository;        /* "library/nginx" */
	struct slice reference;         /* a tag or a digest, without the query */
};

/* kind is "manifests" or "blobs". False when the URL has not this form. */
bool registry_url_parse(struct slice url, const char *kind, struct registry_url *out);

/* 64 hex digits, and NUL. */
#define REGISTRY_DIGEST_SIZE 65
/* The digits where the URL names a blob or a manifest by "sha256:" and 64 lower-case hex digits. */
bool registry_url_digest(struct slice url, char out[REGISTRY_DIGEST_SIZE]);

#endif
