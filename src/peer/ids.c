#include "peer/ids.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/digest.h"
#include "base/err.h"
#include "base/rand.h"
#include "proto/common.h"
#include "text/url.h"

const char *const default_filtered_query_params[] = {
	"X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Expires", "X-Amz-SignedHeaders", "X-Amz-Signature",
	"X-Amz-Security-Token", "X-Amz-User-Agent", "X-Goog-Algorithm", "X-Goog-Credential", "X-Goog-Date", "X-Goog-Expires",
	"X-Goog-SignedHeaders", "X-Goog-Signature", "OSSAccessKeyId", "Expires", "Signature", "SecurityToken", "AccessKeyId",
	"X-Obs-Date", "X-Obs-Security-Token", "q-sign-algorithm", "q-ak", "q-sign-time", "q-key-time", "q-header-list",
	"q-url-param-list", "q-signature", "x-cos-security-token", "ns", NULL,
};

void
host_id_make(char out[HOST_ID_SIZE], const char *ip, const char *hostname, bool is_seed)
{
	snprintf(out, HOST_ID_SIZE, "%.50s-%.255s%s", ip, hostname, is_seed ? "-seed" : "");
}

void
peer_id_make(char out[PEER_ID_SIZE], const char *ip, const char *hostname, bool is_seed)
{
	char uuid[RAND_UUID_MAX];

	rand_uuid(uuid);
	snprintf(out, PEER_ID_SIZE, "%.50s-%.255s-%s%s", ip, hostname, uuid, is_seed ? "-seed" : "");
}

bool
task_id_is_valid(struct slice id)
{
	if (id.n != TASK_ID_LENGTH)
		return false;
	for (size_t i = 0; i < id.n; i++)
		if (!((id.p[i] >= '0' && id.p[i] <= '9') || (id.p[i] >= 'a' && id.p[i] <= 'f')))
			return false;
	return true;
}

/* Last place of `what` in s, or -1. */
static ptrdiff_t
find_last(struct slice s, const char *what)
{
	size_t n = strlen(what);

	for (size_t i = s.n >= n ? s.n - n + 1 : 0; i-- > 0;)
		if (memcmp(s.p + i, what, n) == 0)
			return (ptrdiff_t)i;
	return -1;
}

/*
 * The digest's hex where the URL names content by sha256: "<scheme>://<host>/v2/<name>/<kind>/sha256:<64 hex>[?query]". Other digests
 * and anything malformed take the URL rule (spec, download.md 1.4 BETTER).
 */
static bool
content_digest(struct slice url, const char *kind, char out[TASK_ID_SIZE])
{
	ptrdiff_t scheme, v2, at, query;
	struct slice rest;

	query = slice_find(url, '?');
	if (query >= 0)
		url = slice_sub(url, 0, (size_t)query);
	at = find_last(url, kind);
	if (at < 0)
		return false;
	rest = slice_sub(url, (size_t)at + strlen(kind), url.n);
	if (!slice_starts(rest, "sha256:") || !task_id_is_valid(slice_sub(rest, 7, rest.n)))
		return false;
	url = slice_sub(url, 0, (size_t)at);
	v2 = find_last(url, "/v2/");
	scheme = find_last(slice_sub(url, 0, v2 < 0 ? 0 : (size_t)v2), "://");
	if (scheme < 0)
		return false;
	memcpy(out, rest.p + 7, TASK_ID_LENGTH);
	out[TASK_ID_LENGTH] = '\0';
	return true;
}

static struct slice
revision_of(const struct common_download *d)
{
	if (d->hugging_face != NULL)
		return d->hugging_face->revision;
	if (d->model_scope != NULL)
		return d->model_scope->revision;
	if (d->open_csg != NULL)
		return d->open_csg->revision;
	return (struct slice){0};
}

int
task_id_standard(const struct common_download *d, char out[TASK_ID_SIZE], struct err *e)
{
	struct buf text = BUF_INIT;
	char hex[DIGEST_HEX_MAX];
	int rc;

	if (d->content_for_calculating_task_id.p != NULL) {
		digest_hex(DIGEST_SHA256, d->content_for_calculating_task_id.p, d->content_for_calculating_task_id.n, hex);
		memcpy(out, hex, TASK_ID_SIZE);
		return 0;
	}
	if (d->enable_task_id_based_blob_digest &&
	    (content_digest(d->url, "/blobs/", out) || content_digest(d->url, "/manifests/", out)))
		return 0;
	rc = url_task_form(d->url, d->filtered_query_params, d->n_filtered_query_params, &text, e);
	if (rc == 0) {
		buf_append_slice(&text, d->tag);
		buf_append_slice(&text, d->application);
		buf_append_slice(&text, revision_of(d));
		if (d->has_piece_length)
			buf_printf(&text, "%" PRIu64, d->piece_length);
		buf_append_str(&text, "STANDARD");
		digest_hex(DIGEST_SHA256, buf_data(&text), text.len, hex);
		memcpy(out, hex, TASK_ID_SIZE);
	}
	buf_free(&text);
	return rc;
}

void
task_id_persistent(struct slice url, struct slice region, struct slice endpoint, char out[TASK_ID_SIZE])
{
	struct buf text = BUF_INIT;
	char hex[DIGEST_HEX_MAX];

	buf_append_slice(&text, url);
	buf_append_slice(&text, region);
	buf_append_slice(&text, endpoint);
	buf_append_str(&text, "PERSISTENT");
	digest_hex(DIGEST_SHA256, buf_data(&text), text.len, hex);
	memcpy(out, hex, TASK_ID_SIZE);
	buf_free(&text);
}
