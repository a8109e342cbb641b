#include "peer/ids.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/digest.h"
#include "base/err.h"
#include "base/hex.h"
#include "base/rand.h"
#include "proto/common.h"
#include "text/registry_url.h"
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
	return id.n == TASK_ID_LENGTH && hex_span_lower(id) == id.n;
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

/* Other digests than sha256 and anything malformed take the URL rule (spec, download.md 1.4 BETTER). */
_Static_assert(TASK_ID_SIZE == REGISTRY_DIGEST_SIZE, "a digest is a task's id");

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
	if (d->enable_task_id_based_blob_digest && registry_url_digest(d->url, out))
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
