#include "peer/ids.h"

#include <stdio.h>

#include "base/buf.h"
#include "base/hex.h"
#include "base/rand.h"
#include "proto/common.h"

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

int
task_id_standard(const struct common_download *d, char out[TASK_ID_SIZE], struct err *e)
{
	if (d->content_for_calculating_task_id.p != NULL) {
		task_id_of_bytes(d->content_for_calculating_task_id.p, d->content_for_calculating_task_id.n, out);
		return 0;
	}
	return task_id_of_key(&(struct task_key){
		.url = d->url, .filtered_query_params = d->filtered_query_params, .n_filtered_query_params = d->n_filtered_query_params,
		.tag = d->tag, .application = d->application, .revision = revision_of(d), .has_piece_length = d->has_piece_length,
		.piece_length = d->piece_length, .is_blob_digest = d->enable_task_id_based_blob_digest }, out, e);
}

void
task_id_persistent(struct slice url, struct slice region, struct slice endpoint, char out[TASK_ID_SIZE])
{
	struct buf text = BUF_INIT;

	buf_append_slice(&text, url);
	buf_append_slice(&text, region);
	buf_append_slice(&text, endpoint);
	buf_append_str(&text, "PERSISTENT");
	task_id_of_bytes(buf_data(&text), text.len, out);
	buf_free(&text);
}
