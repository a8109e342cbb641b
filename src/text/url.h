/*
 * URLs by the WHATWG rules, which decide both the bytes of a request and the id of a task: parse, resolve, take apart, hide secrets.
 * One parsed URL owns one text, its canonical serialisation; all parts are views into that text.
 *
 * Internationalised names: ASCII names are complete; a label in punycode must decode, but not all its letters are checked. Of other
 * letters, those of Latin, Greek, Cyrillic, kana, Han and Hangul that lower-casing alone maps are turned into punycode; everything else
 * (combining marks, right-to-left scripts, signs...) is "invalid international domain name" rather than sent somewhere else: write such
 * a name in its xn-- form. Drive letters of file: URLs are ordinary segments.
 */
#ifndef TEXT_URL_H
#define TEXT_URL_H

#include <stdbool.h>
#include <stddef.h>

#include "base/slice.h"

struct buf;
struct err;

/* Longest text taken: four times what common servers take as a request line. Percent-encoding may make it up to three times longer. */
#define URL_TEXT_MAX (32 * 1024)
/* Most name=value pairs of a query, and most names of parameters to leave out, in a task's form: both bound the work of one request. */
#define URL_PAIRS_MAX 4096
#define URL_FILTERS_MAX 1024
/* Longest host name: DNS takes 253 bytes; a bucket or an owner of a model is a host here too. */
#define URL_HOST_MAX 1024

enum url_host_kind { URL_HOST_NONE, URL_HOST_NAME, URL_HOST_IPV4, URL_HOST_IPV6 };

struct url {
	char *text;                     /* the serialisation, NUL-terminated, owned */
	struct slice scheme;            /* lower case, without colon */
	struct slice user;              /* percent-encoded; empty when there is none */
	struct slice password;
	struct slice host;              /* as serialised: an IPv6 address stands in brackets; absent without "//" */
	struct slice path;              /* starts with '/', or is empty; anything when is_opaque */
	struct slice query;             /* without '?'; p == NULL when there is none */
	struct slice fragment;          /* without '#'; p == NULL when there is none */
	int port;                       /* as written and not the default of the scheme; else -1 */
	enum url_host_kind host_kind;
	bool is_special;                /* http, https, ws, wss, ftp, file */
	bool is_opaque;                 /* "scheme:anything" without slashes: no host, nothing to resolve against */
};

/*
 * Parses an absolute URL. 0, or -1 with INVALID_ARGUMENT and one of the texts "relative URL without a base", "empty host",
 * "invalid port number", "invalid international domain name", "invalid IPv4 address", "invalid IPv6 address",
 * "invalid domain character", or the name of the limit that is passed. The text is never part of the error.
 * *u needs no preparation, and holds nothing to free after an error.
 */
int url_parse(struct url *u, struct slice text, struct err *e);
/* The same for a text that may be relative to base (a Location, a link). *u must not be *base. */
int url_join(struct url *u, const struct url *base, struct slice text, struct err *e);
void url_free(struct url *u);

/* The port to connect to: the written one, else that of http, https, ws, wss, ftp; -1 for other schemes. */
int url_port(const struct url *u);
/* Host without brackets, for resolving and connecting. */
struct slice url_hostname(const struct url *u);
/* Same scheme, host and port: credentials may go along. */
bool url_same_origin(const struct url *a, const struct url *b);

/* ---- what a request carries (backends.md 2.1) ---- */

/* Appends path and query; "/" for an empty path. -1 with INVALID_ARGUMENT when a blank or control character would be in it. */
int url_request_target(const struct url *u, struct buf *out, struct err *e);
/* Appends "host" or "host:port" (only a port that is not the default). */
void url_host_header(const struct url *u, struct buf *out);
/* Appends "Basic <base64>" from user and password. 1; 0 when the URL has neither; -1 when decoded they hold a control character. */
int url_basic_auth(const struct url *u, struct buf *out, struct err *e);

/*
 * The form of a URL that a task id is made of (download.md 1.7): canonical, without the query parameters named in filters, the rest sorted
 * and encoded again. With no filters at all it is the text itself, whatever that is. Appends to out; -1 with INVALID_ARGUMENT
 * "ParseError cause: <text of url_parse>".
 */
int url_task_form(struct slice text, const struct slice *filters, size_t filter_count, struct buf *out, struct err *e);

/*
 * Appends the URL for people to read: user info, values of query parameters and the fragment are hidden, control characters left out.
 * Takes any text, also what url_parse refuses.
 */
void url_redact(struct slice text, struct buf *out);
/* The same into a fixed place, cut to fit and NUL-terminated; returns out, for log lines and errors. */
#define URL_REDACTED_MAX 512
char *url_redact_text(struct slice text, char out[URL_REDACTED_MAX]);

/* ---- percent-encoding ---- */

/* Appends in with %XX decoded; a '%' without two hex digits stays. */
void url_decode(struct slice in, struct buf *out);
/* Appends in with all bytes but letters, digits and those in keep as %XX, upper case. */
void url_encode(struct slice in, const char *keep, struct buf *out);
/* The unreserved marks of RFC 3986. */
#define URL_UNRESERVED "-._~"

/*
 * Takes the next name=value off *query (a URL's query, without '?'), both decoded as a form ('+' is a blank), bytes that are no UTF-8
 * replaced by U+FFFD. Clears and fills name and value. False at the end. Empty pieces between '&' are left out.
 */
bool url_query_next(struct slice *query, struct buf *name, struct buf *value);

#endif
