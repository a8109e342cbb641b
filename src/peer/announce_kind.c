#include "peer/announce_kind.h"

#include <string.h>

#include "base/buf.h"
#include "base/err.h"
#include "proto/common.h"
#include "proto/scheduler.h"
#include "wire/pb.h"

void
announce_kind_init(struct announce_kind *k, enum store_kind kind, bool is_persistent)
{
	memset(k, 0, sizeof *k);
	k->kind = kind;
	k->is_persistent = is_persistent;
	arena_init(&k->arena, ANNOUNCE_CANDIDATES_BYTES);
}

void
announce_kind_free(struct announce_kind *k)
{
	arena_free(&k->arena);
}

const char *
announce_kind_path(enum store_kind kind)
{
	switch (kind) {
	case STORE_PERSISTENT:
		return SCHEDULER_SCHEDULER_ANNOUNCE_PERSISTENT_PEER;
	case STORE_PERSISTENT_CACHE:
		return SCHEDULER_SCHEDULER_ANNOUNCE_PERSISTENT_CACHE_PEER;
	default:
		return SCHEDULER_SCHEDULER_ANNOUNCE_PEER;
	}
}

static const struct pb_desc *
peer_desc(const struct announce_kind *k)
{
	return k->kind == STORE_PERSISTENT ? &common_persistent_peer_desc : &common_persistent_cache_peer_desc;
}

/* ---- saying ---- */

/* Those of a Reschedule that came in this conversation, as they came: copies of `size` bytes each, one behind the other. */
static size_t
find_candidates(const struct announce_kind *k, const struct scheduler_reschedule_peer_request *r, char *out, size_t size)
{
	size_t n = 0;

	for (size_t i = 0; i < k->count; i++) {
		for (size_t j = 0; j < r->n_candidate_parents; j++) {
			if (!slice_eq(k->candidates[i].id, r->candidate_parents[j].id))
				continue;
			memcpy(out + n++ * size, k->candidates[i].peer, size);
			break;
		}
	}
	return n;
}

static int
encode_cache(const struct announce_kind *k, const struct scheduler_announce_peer_request *m, struct buf *out)
{
	struct scheduler_register_persistent_cache_peer_request reg = {.persistent = k->is_persistent};
	struct scheduler_download_persistent_cache_peer_started_request started = {0};
	struct scheduler_download_persistent_cache_peer_finished_request finished = {0};
	struct scheduler_download_persistent_cache_peer_failed_request failed = {0};
	struct common_persistent_cache_peer peers[ANNOUNCE_CANDIDATES_MAX];
	struct scheduler_reschedule_persistent_cache_peer_request again = {.candidate_parents = peers};
	struct scheduler_announce_persistent_cache_peer_request r = {.host_id = m->host_id, .task_id = m->task_id, .peer_id = m->peer_id};
	const struct common_download *d;

	switch (m->request_case) {
	case SCHEDULER_ANNOUNCE_PEER_REQUEST_REGISTER_PEER_REQUEST:
		d = m->register_peer_request->download;
		reg.tag = d->tag;
		reg.application = d->application;
		reg.output_path = d->output_path;
		reg.has_concurrent_piece_count = d->has_concurrent_piece_count;
		reg.concurrent_piece_count = d->concurrent_piece_count;
		reg.piece_length = d->actual_piece_length;
		reg.piece_count = d->actual_piece_count;
		r.request_case = SCHEDULER_ANNOUNCE_PERSISTENT_CACHE_PEER_REQUEST_REGISTER_PERSISTENT_CACHE_PEER_REQUEST;
		r.register_persistent_cache_peer_request = &reg;
		break;
	case SCHEDULER_ANNOUNCE_PEER_REQUEST_DOWNLOAD_PEER_STARTED_REQUEST:
		r.request_case = SCHEDULER_ANNOUNCE_PERSISTENT_CACHE_PEER_REQUEST_DOWNLOAD_PERSISTENT_CACHE_PEER_STARTED_REQUEST;
		r.download_persistent_cache_peer_started_request = &started;
		break;
	case SCHEDULER_ANNOUNCE_PEER_REQUEST_RESCHEDULE_PEER_REQUEST:
		again.n_candidate_parents = find_candidates(k, m->reschedule_peer_request, (char *)peers, sizeof peers[0]);
		again.description = m->reschedule_peer_request->description;
		r.request_case = SCHEDULER_ANNOUNCE_PERSISTENT_CACHE_PEER_REQUEST_RESCHEDULE_PERSISTENT_CACHE_PEER_REQUEST;
		r.reschedule_persistent_cache_peer_request = &again;
		break;
	case SCHEDULER_ANNOUNCE_PEER_REQUEST_DOWNLOAD_PEER_FINISHED_REQUEST:
		r.request_case = SCHEDULER_ANNOUNCE_PERSISTENT_CACHE_PEER_REQUEST_DOWNLOAD_PERSISTENT_CACHE_PEER_FINISHED_REQUEST;
		r.download_persistent_cache_peer_finished_request = &finished;
		break;
	case SCHEDULER_ANNOUNCE_PEER_REQUEST_DOWNLOAD_PEER_FAILED_REQUEST:
		failed.description = m->download_peer_failed_request->description;
		r.request_case = SCHEDULER_ANNOUNCE_PERSISTENT_CACHE_PEER_REQUEST_DOWNLOAD_PERSISTENT_CACHE_PEER_FAILED_REQUEST;
		r.download_persistent_cache_peer_failed_request = &failed;
		break;
	case SCHEDULER_ANNOUNCE_PEER_REQUEST_DOWNLOAD_PIECE_FINISHED_REQUEST:
		r.request_case = SCHEDULER_ANNOUNCE_PERSISTENT_CACHE_PEER_REQUEST_DOWNLOAD_PIECE_FINISHED_REQUEST;
		r.download_piece_finished_request = m->download_piece_finished_request;
		break;
	case SCHEDULER_ANNOUNCE_PEER_REQUEST_DOWNLOAD_PIECE_FAILED_REQUEST:
		r.request_case = SCHEDULER_ANNOUNCE_PERSISTENT_CACHE_PEER_REQUEST_DOWNLOAD_PIECE_FAILED_REQUEST;
		r.download_piece_failed_request = m->download_piece_failed_request;
		break;
	default:
		return -1;
	}
	pb_encode(&scheduler_announce_persistent_cache_peer_request_desc, &r, out);
	return 0;
}

/* All but Register and Reschedule have the numbers and fields of AnnouncePeer. */
static int
encode_persistent(const struct announce_kind *k, const struct scheduler_announce_peer_request *m, struct buf *out)
{
	struct scheduler_register_persistent_peer_request reg = {.persistent = k->is_persistent};
	struct common_persistent_peer peers[ANNOUNCE_CANDIDATES_MAX];
	struct scheduler_reschedule_persistent_peer_request again = {.candidate_parents = peers};
	struct scheduler_announce_persistent_peer_request r = {.host_id = m->host_id, .task_id = m->task_id, .peer_id = m->peer_id};
	const struct common_download *d;

	switch (m->request_case) {
	case SCHEDULER_ANNOUNCE_PEER_REQUEST_REGISTER_PEER_REQUEST:
		d = m->register_peer_request->download;
		reg.url = d->url;
		reg.object_storage = d->object_storage;
		reg.output_path = d->output_path;
		reg.has_concurrent_piece_count = d->has_concurrent_piece_count;
		reg.concurrent_piece_count = d->concurrent_piece_count;
		reg.piece_count = d->actual_piece_count;
		r.request_case = SCHEDULER_ANNOUNCE_PERSISTENT_PEER_REQUEST_REGISTER_PERSISTENT_PEER_REQUEST;
		r.register_persistent_peer_request = &reg;
		break;
	case SCHEDULER_ANNOUNCE_PEER_REQUEST_RESCHEDULE_PEER_REQUEST:
		again.n_candidate_parents = find_candidates(k, m->reschedule_peer_request, (char *)peers, sizeof peers[0]);
		again.description = m->reschedule_peer_request->description;
		r.request_case = SCHEDULER_ANNOUNCE_PERSISTENT_PEER_REQUEST_RESCHEDULE_PERSISTENT_PEER_REQUEST;
		r.reschedule_persistent_peer_request = &again;
		break;
	default:
		pb_encode(&scheduler_announce_peer_request_desc, m, out);
		return 0;
	}
	pb_encode(&scheduler_announce_persistent_peer_request_desc, &r, out);
	return 0;
}

int
announce_kind_encode(const struct announce_kind *k, const struct scheduler_announce_peer_request *m, struct buf *out)
{
	switch (k->kind) {
	case STORE_PERSISTENT:
		return encode_persistent(k, m, out);
	case STORE_PERSISTENT_CACHE:
		return encode_cache(k, m, out);
	default:
		pb_encode(&scheduler_announce_peer_request_desc, m, out);
		return 0;
	}
}

/* ---- hearing ---- */

/* Past the bounds it is only missing from a Reschedule. */
static void
remember(struct announce_kind *k, struct slice id, const void *peer)
{
	const struct pb_desc *desc = peer_desc(k);
	void *copy;

	for (size_t i = 0; i < k->count; i++)
		if (slice_eq(k->candidates[i].id, id))
			return;
	if (k->count == ANNOUNCE_CANDIDATES_MAX)
		return;
	copy = arena_alloc(&k->arena, desc->size);
	if (copy == NULL || pb_copy(desc, peer, &k->arena, copy, NULL) < 0)
		return;
	k->candidates[k->count].peer = copy;
	/* `id` is the first member of both messages. */
	k->candidates[k->count++].id = k->kind == STORE_PERSISTENT ? ((struct common_persistent_peer *)copy)->id :
	    ((struct common_persistent_cache_peer *)copy)->id;
}

static int
take_parents(struct arena *a, size_t n, struct scheduler_announce_peer_response *out, struct err *e)
{
	out->response_case = SCHEDULER_ANNOUNCE_PEER_RESPONSE_NORMAL_TASK_RESPONSE;
	out->normal_task_response = arena_alloc(a, sizeof *out->normal_task_response);
	if (out->normal_task_response != NULL) {
		memset(out->normal_task_response, 0, sizeof *out->normal_task_response);
		out->normal_task_response->candidate_parents = arena_alloc(a, (n + 1) * sizeof(struct common_peer));
	}
	if (out->normal_task_response == NULL || out->normal_task_response->candidate_parents == NULL)
		return err_set(e, ERR_RESOURCE_EXHAUSTED, "the scheduler's answer is too large");
	memset(out->normal_task_response->candidate_parents, 0, (n + 1) * sizeof(struct common_peer));
	out->normal_task_response->n_candidate_parents = n;
	return 0;
}

static int
decode_cache(struct announce_kind *k, struct slice bytes, struct arena *a, struct scheduler_announce_peer_response *out, struct err *e)
{
	static struct scheduler_empty_task_response empty;
	struct scheduler_announce_persistent_cache_peer_response m;
	const struct scheduler_normal_persistent_cache_task_response *r;

	if (pb_decode(&scheduler_announce_persistent_cache_peer_response_desc, bytes, a, &m, e) < 0)
		return -1;
	r = m.normal_persistent_cache_task_response;
	if (m.empty_persistent_cache_task_response != NULL) {
		out->response_case = SCHEDULER_ANNOUNCE_PEER_RESPONSE_EMPTY_TASK_RESPONSE;
		out->empty_task_response = &empty;
	}
	if (r == NULL)
		return 0;
	if (take_parents(a, r->n_candidate_cache_parents, out, e) < 0)
		return -1;
	for (size_t i = 0; i < r->n_candidate_cache_parents; i++) {
		const struct common_persistent_cache_peer *p = &r->candidate_cache_parents[i];

		remember(k, p->id, p);
		out->normal_task_response->candidate_parents[i] = (struct common_peer){.id = p->id, .state = p->state, .host = p->host};
	}
	return 0;
}

static int
decode_persistent(struct announce_kind *k, struct slice bytes, struct arena *a, struct scheduler_announce_peer_response *out, struct err *e)
{
	static struct scheduler_empty_task_response empty;
	struct scheduler_announce_persistent_peer_response m;
	const struct scheduler_normal_persistent_task_response *r;

	if (pb_decode(&scheduler_announce_persistent_peer_response_desc, bytes, a, &m, e) < 0)
		return -1;
	r = m.normal_persistent_task_response;
	if (m.empty_persistent_task_response != NULL) {
		out->response_case = SCHEDULER_ANNOUNCE_PEER_RESPONSE_EMPTY_TASK_RESPONSE;
		out->empty_task_response = &empty;
	} else if (m.need_back_to_source_response != NULL) {
		out->response_case = SCHEDULER_ANNOUNCE_PEER_RESPONSE_NEED_BACK_TO_SOURCE_RESPONSE;
		out->need_back_to_source_response = m.need_back_to_source_response;
	}
	if (r == NULL)
		return 0;
	if (take_parents(a, r->n_candidate_parents, out, e) < 0)
		return -1;
	for (size_t i = 0; i < r->n_candidate_parents; i++) {
		const struct common_persistent_peer *p = &r->candidate_parents[i];

		remember(k, p->id, p);
		out->normal_task_response->candidate_parents[i] = (struct common_peer){.id = p->id, .state = p->state, .host = p->host};
	}
	return 0;
}

int
announce_kind_decode(struct announce_kind *k, struct slice bytes, struct arena *a, struct scheduler_announce_peer_response *out,
    struct err *e)
{
	memset(out, 0, sizeof *out);
	switch (k->kind) {
	case STORE_PERSISTENT:
		return decode_persistent(k, bytes, a, out, e);
	case STORE_PERSISTENT_CACHE:
		return decode_cache(k, bytes, a, out, e);
	default:
		return pb_decode(&scheduler_announce_peer_response_desc, bytes, a, out, e);
	}
}
