#include "text/task_id.h"

#include <inttypes.h>
#include <string.h>

#include "base/buf.h"
#include "base/digest.h"
#include "text/registry_url.h"
#include "text/url.h"

const char *const default_filtered_query_params[] = {
	"X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Expires", "X-Amz-SignedHeaders", "X-Amz-Signature",
	"X-Amz-Security-Token", "X-Amz-User-Agent", "X-Goog-Algorithm", "X-Goog-Credential", "X-Goog-Date", "X-Goog-Expires",
	"X-Goog-SignedHeaders", "X-Goog-Signature", "OSSAccessKeyId", "Expires", "Signature", "SecurityToken", "AccessKeyId",
	"X-Obs-Date", "X-Obs-Security-Token", "q-sign-algorithm", "q-ak", "q-sign-time", "q-key-time", "q-header-list",
	"q-url-param-list", "q-signature", "x-cos-security-token", "ns", NULL,
};

/* Other digests than sha256 and anything malformed take the URL rule (spec, download.md 1.4 BETTER). */
_Static_assert(TASK_ID_SIZE == REGISTRY_DIGEST_SIZE, "a digest is a task's id");

void
task_id_of_bytes(const void *p, size_t n, char out[TASK_ID_SIZE])
{
	char hex[DIGEST_HEX_MAX];

	digest_hex(DIGEST_SHA256, p, n, hex);
	memcpy(out, hex, TASK_ID_SIZE);
}

int
task_id_of_key(const struct task_key *k, char out[TASK_ID_SIZE], struct err *e)
{
	struct buf text = BUF_INIT;
	int rc;

	if (k->is_blob_digest && registry_url_digest(k->url, out))
		return 0;
	rc = url_task_form(k->url, k->filtered_query_params, k->n_filtered_query_params, &text, e);
	if (rc == 0) {
		buf_append_slice(&text, k->tag);
		buf_append_slice(&text, k->application);
		buf_append_slice(&text, k->revision);
		if (k->has_piece_length)
			buf_printf(&text, "%" PRIu64, k->piece_length);
		buf_append_str(&text, "STANDARD");
		task_id_of_bytes(buf_data(&text), text.len, out);
	}
	buf_free(&text);
	return rc;
}
