/*
 * What the proxy decides from text alone (spec: proxy.md 2-5, 14): credentials, where a mirror request goes, which rule holds, which
 * header fields travel. Pure.
 */
#ifndef SERVE_PROXY_RULES_H
#define SERVE_PROXY_RULES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"
#include "wire/h1.h"

struct buf;
struct config_proxy;
struct config_proxy_rule;
struct err;
struct url;

/* ---- credentials ---- */

enum proxy_auth {
	PROXY_AUTH_OK,
	PROXY_AUTH_MISSING,     /* 401 */
	PROXY_AUTH_WRONG,       /* 401 */
	PROXY_AUTH_UNREADABLE,  /* 400 */
};

/* One field value against the credential; absent: MISSING. Takes the same time however many characters are right. */
enum proxy_auth proxy_auth_check(struct slice value, const char *username, const char *password);

/* ---- targets ---- */

/* "host", "host:port", "[v6]:port" of a CONNECT; port 443 when there is none. 0 or -1. */
int proxy_parse_authority(struct slice text, struct slice *host, uint16_t *port);

/*
 * Upstream of an origin-form request: X-Dragonfly-Registry, else ns= of the query, else the configured mirror; "https://host" without
 * a slash at its end is appended to out. -1 with INVALID_ARGUMENT (cannot be one) or PERMISSION_DENIED (not in the allow list).
 */
int proxy_mirror_base(const struct config_proxy *c, struct slice registry, struct slice target, struct buf *out, struct err *e);

/* Path and query of an absolute URL as they were written, without fragment; "/..." always. Appended to out. */
void proxy_raw_target(struct slice url, struct buf *out);

/* "*" and "?" match as in file names; case does not matter. The port of a pattern must be the one given, a pattern without takes any. */
bool proxy_host_matches(const char *pattern, struct slice host, uint16_t port);

/* ---- P2P or not ---- */

/* The first rule that matches scheme, authority and path of the URL. */
const struct config_proxy_rule *proxy_rule_find(const struct config_proxy *c, const struct url *u);
/* "true" in any case. */
bool proxy_is_true(struct slice value);
/* A SigV4 signature that covers Range: the request must reach the origin as it is. */
bool proxy_signs_range(struct slice authorization, struct slice query);

/* The URL that is downloaded: the rule's useTLS and redirect applied. Appended to out; rule may be NULL. */
void proxy_download_url(struct slice url, const struct config_proxy_rule *rule, struct buf *out);

/* ---- header fields ---- */

/* Fields that are about this connection alone: hop-by-hop by name, or named by Connection. */
bool proxy_is_hop(const struct h1 *head, struct slice name);
/* Whether a request's field goes to a direct upstream. Host, lengths and framing are the client's business and do not. */
bool proxy_field_goes_up(const struct h1 *head, struct slice name);
/* Whether a field of an upstream's answer goes to the client. */
bool proxy_field_goes_down(const struct h1 *head, struct slice name);
/* Whether a request's field goes into a Download message. */
bool proxy_field_is_for_task(const struct h1 *head, const struct h1_field *f);
/* Whether a field that was stored with a task is told to a client. */
bool proxy_field_is_told(const char *name, const char *value);
/* Whether an origin's field is told with its error status. */
bool proxy_field_is_told_with_error(const char *name, const char *value);

#endif
