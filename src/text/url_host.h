/*
 * The host of a URL: names, IPv4 in all its spellings, IPv6. Used by the URL parser.
 */
#ifndef TEXT_URL_HOST_H
#define TEXT_URL_HOST_H

#include <stdbool.h>

#include "base/slice.h"
#include "text/url.h"

struct buf;
struct err;

/* Appends the canonical form of a host as it stands in a URL. Not for an empty text. -1 and INVALID_ARGUMENT as url_parse says. */
int url_host_parse(struct slice text, bool is_special, struct buf *out, enum url_host_kind *kind, struct err *e);

#endif
