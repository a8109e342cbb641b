/*
 * The service as peers see it, over real connections.
 */
#include "cluster.h"

#include <unistd.h>

#include "base/clock.h"

static const struct pb_method *
method(size_t at)
{
	return &scheduler_scheduler_service.methods[at];
}

static void
health_is_serving_until_it_drains(void **state)
{
	struct cluster *c = cluster_new();
	struct health_health_check_request m = { 0 };
	struct health_health_check_response *r;
	struct announcement *p;
	struct answered a;

	(void)state;
	cluster_start(c);
	assert_int_equal(cluster_ask(c, &health_health_service.methods[HEALTH_HEALTH_CHECK_AT], &m, &a), ERR_OK);
	r = a.message;
	assert_int_equal(r->status, 1);
	arena_free(&a.arena);
	m.service = slice_str("nobody");
	assert_int_equal(cluster_ask(c, &health_health_service.methods[HEALTH_HEALTH_CHECK_AT], &m, &a), ERR_NOT_FOUND);
	arena_free(&a.arena);
	scheduler_drain(c->scheduler);
	m.service = slice_str("scheduler.v2.Scheduler");
	assert_int_equal(cluster_ask(c, &health_health_service.methods[HEALTH_HEALTH_CHECK_AT], &m, &a), ERR_OK);
	r = a.message;
	assert_int_equal(r->status, 2);
	arena_free(&a.arena);
	p = announcement_open(c, "10.0.0.1-a", "t", "p", false);
	announcement_wait_end(c, p);
	assert_int_equal(p->code, ERR_UNAVAILABLE);
	announcement_free(p);
	cluster_free(c);
}

static void
announced_hosts_are_listed_by_type(void **state)
{
	struct cluster *c = cluster_new();
	struct scheduler_list_hosts_request m = { 0 };
	struct scheduler_list_hosts_response *r;
	struct answered a;

	(void)state;
	c->opt.cluster_id = 7;
	cluster_start(c);
	assert_int_equal(cluster_announce(c, "10.0.0.1", "a", 0, 4000, NULL), ERR_OK);
	assert_int_equal(cluster_announce(c, "10.0.0.2", "b-seed", 1, 4000, NULL), ERR_OK);
	assert_int_equal(cluster_ask(c, method(SCHEDULER_SCHEDULER_LIST_HOSTS_AT), &m, &a), ERR_OK);
	r = a.message;
	assert_int_equal(r->n_hosts, 2);
	arena_free(&a.arena);
	m.has_type = true;
	m.type = 1;
	assert_int_equal(cluster_ask(c, method(SCHEDULER_SCHEDULER_LIST_HOSTS_AT), &m, &a), ERR_OK);
	r = a.message;
	assert_int_equal(r->n_hosts, 1);
	assert_true(slice_eq_str(r->hosts[0].id, "10.0.0.2-b-seed"));
	assert_int_equal(r->hosts[0].scheduler_cluster_id, 7);
	assert_non_null(r->hosts[0].network);
	assert_non_null(r->hosts[0].network->idc.p);
	assert_non_null(r->hosts[0].network->location.p);
	assert_true(r->hosts[0].network->has_tx_bandwidth);
	assert_int_equal(r->hosts[0].network->max_tx_bandwidth, 1000000000);
	arena_free(&a.arena);
	m.type = 2;
	assert_int_equal(cluster_ask(c, method(SCHEDULER_SCHEDULER_LIST_HOSTS_AT), &m, &a), ERR_OK);
	r = a.message;
	assert_int_equal(r->n_hosts, 0);
	arena_free(&a.arena);
	cluster_free(c);
}

static void
announcement_keeps_what_a_later_one_leaves_out(void **state)
{
	struct cluster *c = cluster_new();
	struct common_cpu cpu = { .logical_count = 8, .percent = 12.5 };
	struct common_host h = { 0 };
	struct scheduler_announce_host_request m = { .host = &h };
	struct scheduler_list_hosts_request q = { 0 };
	struct scheduler_list_hosts_response *r;
	struct answered a;

	(void)state;
	cluster_start(c);
	h.id = slice_str("10.0.0.1-a");
	h.hostname = slice_str("a");
	h.ip = slice_str("10.0.0.1");
	h.port = h.download_port = 4000;
	h.cpu = &cpu;
	assert_int_equal(cluster_do(c, SCHEDULER_SCHEDULER_ANNOUNCE_HOST_AT, &m, NULL), ERR_OK);
	h.cpu = NULL;
	h.port = h.download_port = 4001;
	assert_int_equal(cluster_do(c, SCHEDULER_SCHEDULER_ANNOUNCE_HOST_AT, &m, NULL), ERR_OK);
	cluster_ask(c, method(SCHEDULER_SCHEDULER_LIST_HOSTS_AT), &q, &a);
	r = a.message;
	assert_int_equal(r->n_hosts, 1);
	assert_int_equal(r->hosts[0].port, 4001);
	assert_non_null(r->hosts[0].cpu);
	assert_int_equal(r->hosts[0].cpu->logical_count, 8);
	arena_free(&a.arena);
	cluster_free(c);
}

static void
bad_announcements_are_refused_with_the_field(void **state)
{
	struct cluster *c = cluster_new();
	struct scheduler_announce_host_request none = { 0 };
	char text[1200];

	(void)state;
	cluster_start(c);
	assert_int_equal(cluster_announce(c, "10.0.0.1", "a", 0, 1023, text), ERR_INVALID_ARGUMENT);
	assert_string_equal(text, "invalid AnnounceHostRequest.Host: embedded message failed validation | caused by: "
		"invalid Host.Port: value must be inside range [1024, 65535)");
	assert_int_equal(cluster_announce(c, "10.0.0.1", "a", 0, 65535, text), ERR_INVALID_ARGUMENT);
	assert_int_equal(cluster_announce(c, "10.0.0.1", "a", 0, 65534, text), ERR_OK);
	assert_int_equal(cluster_announce(c, "10.0.0", "a", 0, 4000, text), ERR_INVALID_ARGUMENT);
	assert_non_null(strstr(text, "invalid Host.Ip: value must be a valid IP address"));
	assert_int_equal(cluster_announce(c, "10.0.0.1", "a", 4, 4000, text), ERR_INVALID_ARGUMENT);
	assert_int_equal(cluster_announce(c, "10.0.0.1", "", 0, 4000, text), ERR_INVALID_ARGUMENT);
	assert_int_equal(cluster_do(c, SCHEDULER_SCHEDULER_ANNOUNCE_HOST_AT, &none, text), ERR_INVALID_ARGUMENT);
	assert_string_equal(text, "invalid AnnounceHostRequest.Host: value is required");
	cluster_free(c);
}

static void
refused(struct cluster *c, struct common_download *d, const char *why)
{
	struct announcement *a = announcement_open(c, "10.0.0.1-a", "t", "p", false);

	announcement_register(a, d);
	announcement_wait_end(c, a);
	assert_int_equal(a->code, ERR_INVALID_ARGUMENT);
	assert_non_null(strstr(a->message, why));
	announcement_free(a);
}

static void
bad_registrations_are_refused_with_the_field(void **state)
{
	struct cluster *c = cluster_new();
	struct scheduler_announce_peer_request m = { 0 };
	struct common_download d;
	struct announcement *a;

	(void)state;
	cluster_start(c);
	download_default(&d);
	d.url = slice_str("relative/path");
	refused(c, &d, "invalid AnnouncePeerRequest.RegisterPeerRequest: embedded message failed validation | caused by: "
		"invalid RegisterPeerRequest.Download: embedded message failed validation | caused by: "
		"invalid Download.Url: value must be absolute");
	download_default(&d);
	d.digest = slice_str("sha256:12");
	refused(c, &d, "invalid Download.Digest: value does not match regex pattern \"^(md5:");
	download_default(&d);
	d.priority = 7;
	refused(c, &d, "invalid Download.Priority: value must be one of the defined enum values");
	d.priority = -1;
	refused(c, &d, "invalid Download.Priority");
	download_default(&d);
	d.type = 4;
	refused(c, &d, "invalid Download.Type");
	download_default(&d);
	d.has_piece_length = true;
	d.piece_length = 4194303;
	refused(c, &d, "invalid Download.PieceLength: value must be inside range [4194304, 67108864]");
	d.piece_length = 67108865;
	refused(c, &d, "invalid Download.PieceLength");
	a = announcement_open(c, "10.0.0.1-a", "t", "", false);
	announcement_register(a, NULL);
	announcement_wait_end(c, a);
	assert_string_equal(a->message, "invalid AnnouncePeerRequest.PeerId: value length must be at least 1 runes");
	announcement_free(a);
	a = announcement_open(c, "10.0.0.1-a", "t", "p", false);
	announcement_say(a, &m);
	announcement_wait_end(c, a);
	assert_int_equal(a->code, ERR_INVALID_ARGUMENT);
	assert_string_equal(a->message, "invalid AnnouncePeerRequest.Request: value is required");
	announcement_free(a);
	cluster_free(c);
}

static void
two_peers_share_one_download(void **state)
{
	struct cluster *c = cluster_new();
	const struct scheduler_normal_task_response *n;
	struct announcement *a, *b;

	(void)state;
	cluster_start(c);
	cluster_announce(c, "10.0.0.1", "a", 0, 4000, NULL);
	cluster_announce(c, "10.0.0.2", "b", 0, 4001, NULL);
	a = announcement_registered(c, "10.0.0.1-a", "t", "pa");
	announcement_wait(c, a);
	assert_int_equal(answer_kind(a), SCHEDULER_ANNOUNCE_PEER_RESPONSE_NEED_BACK_TO_SOURCE_RESPONSE);
	b = announcement_registered(c, "10.0.0.2-b", "t", "pb");
	assert_true(loop_run_until(c->loop, &b->has_headers, LIMIT_MS));
	assert_int_equal(b->n_answers, 0);
	assert_false(b->has_live_header);
	announcement_say_kind(a, 6);
	announcement_wait(c, b);
	assert_int_equal(answer_kind(b), SCHEDULER_ANNOUNCE_PEER_RESPONSE_NORMAL_TASK_RESPONSE);
	n = b->answers[0].normal_task_response;
	assert_int_equal(n->n_candidate_parents, 1);
	assert_true(slice_eq_str(n->candidate_parents[0].id, "pa"));
	assert_true(slice_eq_str(n->candidate_parents[0].state, "BackToSource"));
	assert_non_null(n->candidate_parents[0].cost);
	assert_non_null(n->candidate_parents[0].created_at);
	assert_non_null(n->candidate_parents[0].updated_at);
	assert_true(slice_eq_str(n->candidate_parents[0].task->id, "t"));
	assert_true(slice_eq_str(n->candidate_parents[0].task->state, "Running"));
	assert_int_equal(n->candidate_parents[0].task->content_length, 1 << 30);
	assert_int_equal(n->candidate_parents[0].task->piece_count, 256);
	assert_int_equal(n->candidate_parents[0].task->n_request_header, 0);
	assert_true(slice_eq_str(n->candidate_parents[0].host->ip, "10.0.0.1"));
	assert_int_equal(n->candidate_parents[0].host->port, 4000);
	assert_int_equal(n->candidate_parents[0].host->network->max_tx_bandwidth, 1000000000);
	announcement_say_kind(b, 5);
	announcement_piece(a, 0, NULL);
	announcement_piece(b, 0, "pa");
	announcement_say_kind(b, 8);
	announcement_wait_end(c, b);
	assert_int_equal(b->code, ERR_OK);
	announcement_say_kind(a, 9);
	announcement_wait_end(c, a);
	assert_int_equal(a->code, ERR_OK);
	announcement_free(a);
	announcement_free(b);
	cluster_free(c);
}

static void
live_stream_is_told_and_gets_lists_unasked(void **state)
{
	struct cluster *c = cluster_new();
	struct announcement *a, *b, *d;

	(void)state;
	cluster_start(c);
	cluster_announce(c, "10.0.0.1", "a", 0, 4000, NULL);
	cluster_announce(c, "10.0.0.2", "b", 0, 4000, NULL);
	cluster_announce(c, "10.0.0.3", "d", 0, 4000, NULL);
	a = announcement_registered(c, "10.0.0.1-a", "t", "pa");
	announcement_wait(c, a);
	announcement_say_kind(a, 6);
	b = announcement_open(c, "10.0.0.2-b", "t", "pb", true);
	announcement_register(b, NULL);
	announcement_wait(c, b);
	assert_true(b->has_live_header);
	announcement_say_kind(b, 5);
	d = announcement_registered(c, "10.0.0.3-d", "t", "pd");
	announcement_wait(c, d);
	announcement_say_kind(d, 5);
	announcement_piece(d, 3, "pa");
	announcement_wait(c, b);
	assert_int_equal(b->n_answers, 2);
	assert_int_equal(b->answers[1].normal_task_response->n_candidate_parents, 2);
	assert_int_equal(d->n_answers, 1);
	announcement_free(a);
	announcement_free(b);
	announcement_free(d);
	cluster_free(c);
}

static void
streams_out_of_order_end_with_the_known_texts(void **state)
{
	struct cluster *c = cluster_new();
	struct announcement *a;

	(void)state;
	cluster_start(c);
	a = announcement_open(c, "10.0.0.1-a", "t", "p", false);
	announcement_say_kind(a, 5);
	announcement_wait_end(c, a);
	assert_int_equal(a->code, ERR_NOT_FOUND);
	assert_string_equal(a->message, "peer p not found");
	announcement_free(a);
	a = announcement_registered(c, "10.0.0.1-a", "t", "p");
	announcement_wait(c, a);
	announcement_register(a, NULL);
	announcement_wait_end(c, a);
	assert_int_equal(a->code, ERR_INTERNAL);
	assert_string_equal(a->message, "event RegisterNormal inappropriate in current state ReceivedNormal");
	announcement_free(a);
	a = announcement_registered(c, "10.0.0.1-a", "t", "q");
	announcement_wait(c, a);
	announcement_say_kind(a, 6);
	announcement_say_kind(a, 6);
	announcement_wait_end(c, a);
	assert_int_equal(a->code, ERR_INTERNAL);
	assert_string_equal(a->message, "event DownloadBackToSource inappropriate in current state BackToSource");
	announcement_free(a);
	a = announcement_registered(c, "10.0.0.1-a", "t", "r");
	announcement_wait(c, a);
	announcement_say_kind(a, 10);
	announcement_wait_end(c, a);
	assert_int_equal(a->code, ERR_OK);
	announcement_free(a);
	cluster_free(c);
}

static void
refused_waiter_is_closed_by_the_scheduler(void **state)
{
	struct cluster *c = cluster_new();
	struct common_download d;
	struct announcement *a;

	(void)state;
	c->opt.max_wait_ms = 100;
	cluster_start(c);
	download_default(&d);
	d.priority = 2;
	a = announcement_open(c, "10.0.0.1-a", "t", "p", false);
	announcement_register(a, &d);
	announcement_wait_end(c, a);
	assert_int_equal(a->code, ERR_NOT_FOUND);
	assert_string_equal(a->message, "LEVEL2 peer not found candidate peers");
	announcement_free(a);
	download_default(&d);
	d.disable_back_to_source = true;
	a = announcement_open(c, "10.0.0.1-a", "t", "q", false);
	announcement_register(a, &d);
	announcement_wait_end(c, a);
	assert_int_equal(a->code, ERR_FAILED_PRECONDITION);
	assert_string_equal(a->message, "scheduling exceeded RetryLimit");
	announcement_free(a);
	cluster_free(c);
}

static void
lost_stream_of_the_source_frees_the_waiter(void **state)
{
	struct cluster *c = cluster_new();
	struct announcement *a, *b;

	(void)state;
	cluster_start(c);
	cluster_announce(c, "10.0.0.1", "a", 0, 4000, NULL);
	a = announcement_registered(c, "10.0.0.1-a", "t", "pa");
	announcement_wait(c, a);
	b = announcement_registered(c, "10.0.0.2-b", "t", "pb");
	assert_true(loop_run_until(c->loop, &b->has_headers, LIMIT_MS));
	announcement_free(a);
	announcement_wait(c, b);
	assert_int_equal(answer_kind(b), SCHEDULER_ANNOUNCE_PEER_RESPONSE_NEED_BACK_TO_SOURCE_RESPONSE);
	/* Half-closing without a last word is no loss of manners: the answer is OK, the peer gone. */
	rpc_call_half_close(b->call);
	announcement_wait_end(c, b);
	assert_int_equal(b->code, ERR_OK);
	announcement_free(b);
	cluster_free(c);
}

static void
seed_is_asked_with_the_registrants_request(void **state)
{
	static const uint8_t unknown[] = { 0xf8, 0x7f, 0x01 };  /* field 2047: 1 */
	struct cluster *c = cluster_new();
	struct pb_pair header = { slice_str("authorization"), slice_str("Bearer x") };
	struct common_download d;
	struct announcement *a, *s;
	struct seed *seed;

	(void)state;
	cluster_start(c);
	seed = seed_start(c);
	cluster_announce(c, "127.0.0.1", "s-seed", 1, seed->port, NULL);
	cluster_announce(c, "10.0.0.1", "a", 0, 4000, NULL);
	download_default(&d);
	d.output_path = slice_str("/tmp/out");
	d.overwrite = d.force_hard_link = d.need_piece_content = d.prefetch = true;
	d.request_header = &header;
	d.n_request_header = 1;
	d.scheduling_policy = 1;
	d.unknown_fields = slice_make(unknown, sizeof unknown);
	a = announcement_open(c, "10.0.0.1-a", "t", "pa", false);
	announcement_register(a, &d);
	assert_true(loop_run_until(c->loop, &seed->was_asked, LIMIT_MS));
	assert_true(slice_eq(seed->download.url, d.url));
	assert_true(seed->download.need_back_to_source);
	assert_null(seed->download.output_path.p);
	assert_false(seed->download.overwrite);
	assert_false(seed->download.force_hard_link);
	assert_false(seed->download.need_piece_content);
	assert_false(seed->download.prefetch);
	assert_int_equal(seed->download.n_request_header, 1);
	assert_int_equal(seed->download.scheduling_policy, 1);
	assert_true(slice_eq(seed->download.unknown_fields, d.unknown_fields));
	assert_int_equal(seed->download.actual_piece_count, 256);
	s = announcement_open(c, "127.0.0.1-s-seed", "t", "ps", false);
	announcement_register(s, &seed->download);
	announcement_wait(c, s);
	assert_int_equal(answer_kind(s), SCHEDULER_ANNOUNCE_PEER_RESPONSE_NEED_BACK_TO_SOURCE_RESPONSE);
	assert_int_equal(a->n_answers, 0);
	announcement_say_kind(s, 6);
	announcement_wait(c, a);
	assert_int_equal(answer_kind(a), SCHEDULER_ANNOUNCE_PEER_RESPONSE_NORMAL_TASK_RESPONSE);
	assert_true(slice_eq_str(a->answers[0].normal_task_response->candidate_parents[0].id, "ps"));
	assert_int_equal(a->answers[0].normal_task_response->candidate_parents[0].task->n_request_header, 0);
	announcement_free(a);
	announcement_free(s);
	seed_stop(seed);
	cluster_free(c);
}

static void
refusing_and_dead_seeds_send_the_peer_to_the_source(void **state)
{
	struct cluster *c = cluster_new();
	struct announcement *a;
	struct seed *seed, *dead;

	(void)state;
	cluster_start(c);
	seed = seed_start(c);
	seed->refuse_code = ERR_INTERNAL;
	dead = seed_start(c);
	cluster_announce(c, "127.0.0.1", "s1-seed", 1, seed->port, NULL);
	cluster_announce(c, "127.0.0.1", "s2-seed", 1, dead->port, NULL);
	seed_stop(dead);
	a = announcement_registered(c, "10.0.0.1-a", "t", "pa");
	announcement_wait(c, a);
	assert_int_equal(answer_kind(a), SCHEDULER_ANNOUNCE_PEER_RESPONSE_NEED_BACK_TO_SOURCE_RESPONSE);
	assert_int_equal(seed->n_downloads, 1);
	announcement_free(a);
	seed_stop(seed);
	cluster_free(c);
}

static void
signed_url_is_not_shown_to_others(void **state)
{
	struct cluster *c = cluster_new();
	struct common_download d;
	struct announcement *a, *b;

	(void)state;
	cluster_start(c);
	cluster_announce(c, "10.0.0.1", "a", 0, 4000, NULL);
	download_default(&d);
	d.url = slice_str("https://b.s3.example/key?x=1&X-Amz-Signature=secret");
	a = announcement_open(c, "10.0.0.1-a", "t", "pa", false);
	announcement_register(a, &d);
	announcement_wait(c, a);
	announcement_say_kind(a, 6);
	b = announcement_open(c, "10.0.0.2-b", "t", "pb", false);
	announcement_register(b, &d);
	announcement_wait(c, b);
	assert_true(slice_eq_str(b->answers[0].normal_task_response->candidate_parents[0].task->url, "https://b.s3.example/key"));
	announcement_free(a);
	announcement_free(b);
	cluster_free(c);
}

static void
stat_and_delete_tell_what_is_not_found(void **state)
{
	struct cluster *c = cluster_new();
	struct scheduler_stat_task_request st = { slice_str("h"), slice_str("t") };
	struct scheduler_stat_peer_request sp = { slice_str("h"), slice_str("t"), slice_str("p") };
	struct scheduler_delete_task_request dt = { slice_str("10.0.0.1-a"), slice_str("t") };
	struct scheduler_delete_peer_request dp = { slice_str("h"), slice_str("t"), slice_str("p") };
	struct scheduler_delete_host_request dh = { slice_str("10.0.0.1-a") };
	const struct common_task *t;
	const struct common_peer *p;
	struct announcement *a;
	struct answered r;
	char text[1200];

	(void)state;
	cluster_start(c);
	assert_int_equal(cluster_do(c, SCHEDULER_SCHEDULER_STAT_TASK_AT, &st, text), ERR_NOT_FOUND);
	assert_string_equal(text, "task t not found");
	assert_int_equal(cluster_do(c, SCHEDULER_SCHEDULER_STAT_PEER_AT, &sp, text), ERR_NOT_FOUND);
	assert_string_equal(text, "peer p not found");
	assert_int_equal(cluster_do(c, SCHEDULER_SCHEDULER_DELETE_TASK_AT, &dt, text), ERR_NOT_FOUND);
	assert_string_equal(text, "host 10.0.0.1-a not found");
	assert_int_equal(cluster_do(c, SCHEDULER_SCHEDULER_DELETE_HOST_AT, &dh, text), ERR_NOT_FOUND);
	assert_string_equal(text, "host 10.0.0.1-a not found");
	assert_int_equal(cluster_do(c, SCHEDULER_SCHEDULER_DELETE_PEER_AT, &dp, text), ERR_OK);
	st.task_id = slice_str("");
	assert_int_equal(cluster_do(c, SCHEDULER_SCHEDULER_STAT_TASK_AT, &st, text), ERR_INVALID_ARGUMENT);
	assert_string_equal(text, "invalid StatTaskRequest.TaskId: value length must be at least 1 runes");
	st.task_id = slice_str("t");

	cluster_announce(c, "10.0.0.1", "a", 0, 4000, NULL);
	a = announcement_registered(c, "10.0.0.1-a", "t", "p");
	announcement_wait(c, a);
	announcement_say_kind(a, 6);
	announcement_say_kind(a, 9);
	announcement_wait_end(c, a);
	announcement_free(a);
	assert_int_equal(cluster_ask(c, method(SCHEDULER_SCHEDULER_STAT_TASK_AT), &st, &r), ERR_OK);
	t = r.message;
	assert_true(slice_eq_str(t->state, "Succeeded"));
	assert_int_equal(t->content_length, 1 << 30);
	assert_int_equal(t->n_pieces, 256);
	assert_int_equal(t->pieces[255].offset, 255 * ((uint64_t)4 << 20));
	assert_int_equal(t->peer_count, 1);
	assert_true(t->has_available_peer);
	arena_free(&r.arena);
	assert_int_equal(cluster_ask(c, method(SCHEDULER_SCHEDULER_STAT_PEER_AT), &sp, &r), ERR_OK);
	p = r.message;
	assert_true(slice_eq_str(p->state, "Succeeded"));
	assert_true(slice_eq_str(p->host->id, "10.0.0.1-a"));
	assert_true(slice_eq_str(p->task->id, "t"));
	arena_free(&r.arena);
	assert_int_equal(cluster_do(c, SCHEDULER_SCHEDULER_DELETE_TASK_AT, &dt, text), ERR_OK);
	assert_int_equal(cluster_do(c, SCHEDULER_SCHEDULER_STAT_PEER_AT, &sp, text), ERR_NOT_FOUND);
	assert_int_equal(cluster_do(c, SCHEDULER_SCHEDULER_DELETE_HOST_AT, &dh, text), ERR_OK);
	cluster_free(c);
}

static void
deleting_a_peer_ends_its_stream(void **state)
{
	struct cluster *c = cluster_new();
	struct scheduler_delete_peer_request dp = { slice_str("10.0.0.1-a"), slice_str("t"), slice_str("p") };
	struct announcement *a;

	(void)state;
	cluster_start(c);
	a = announcement_registered(c, "10.0.0.1-a", "t", "p");
	announcement_wait(c, a);
	assert_int_equal(cluster_do(c, SCHEDULER_SCHEDULER_DELETE_PEER_AT, &dp, NULL), ERR_OK);
	announcement_wait_end(c, a);
	assert_int_equal(a->code, ERR_NOT_FOUND);
	assert_string_equal(a->message, "peer p not found");
	announcement_free(a);
	cluster_free(c);
}

static void
unknown_calls_are_unimplemented(void **state)
{
	struct cluster *c = cluster_new();
	struct scheduler_stat_cache_task_request m = { slice_str("h"), slice_str("t") };

	(void)state;
	cluster_start(c);
	assert_int_equal(cluster_do(c, SCHEDULER_SCHEDULER_STAT_CACHE_TASK_AT, &m, NULL), ERR_UNIMPLEMENTED);
	cluster_free(c);
}

static void
thousands_of_hosts_are_listed(void **state)
{
	enum { HOSTS = 3000 };
	struct cluster *c = cluster_new();
	struct scheduler_list_hosts_request m = { 0 };
	struct scheduler_list_hosts_response *r;
	struct common_host h = { 0 };
	struct scheduler_announce_host_request q = { .host = &h };
	struct answered a;
	static char kernel[2000];
	char id[64], ip[32];

	(void)state;
	memset(kernel, 'k', sizeof kernel);
	cluster_start(c);
	for (unsigned i = 0; i < HOSTS; i++) {
		snprintf(ip, sizeof ip, "10.0.%u.%u", i / 250, i % 250);
		snprintf(id, sizeof id, "%s-h%u", ip, i);
		h.id = slice_str(id);
		h.hostname = slice_str("h");
		h.ip = slice_str(ip);
		h.port = h.download_port = 4000;
		h.kernel_version = slice_make(kernel, sizeof kernel);
		assert_int_equal(cluster_do(c, SCHEDULER_SCHEDULER_ANNOUNCE_HOST_AT, &q, NULL), ERR_OK);
	}
	assert_int_equal(cluster_ask(c, method(SCHEDULER_SCHEDULER_LIST_HOSTS_AT), &m, &a), ERR_OK);
	r = a.message;
	assert_int_equal(r->n_hosts, HOSTS);
	arena_free(&a.arena);
	cluster_free(c);
}

static char *
temporary_path(void)
{
	char dir[] = "/tmp/scheduler-test-XXXXXX";

	assert_non_null(mkdtemp(dir));
	return xasprintf("%s/hosts", dir);
}

static void
remove_path(char *path)
{
	unlink(path);
	*strrchr(path, '/') = 0;
	rmdir(path);
	free(path);
}

static void
hosts_survive_a_restart_and_say_what_they_hold(void **state)
{
	struct cluster *c = cluster_new();
	struct scheduler_list_hosts_request m = { 0 };
	struct scheduler_list_hosts_response *r;
	const struct scheduler_normal_task_response *n;
	char *path = temporary_path();
	struct announcement *p;
	struct answered a;
	struct seed *holder;

	(void)state;
	c->opt.snapshot_path = path;
	cluster_start(c);
	holder = seed_start(c);
	holder->has_task = true;
	cluster_announce(c, "127.0.0.1", "holder", 0, holder->port, NULL);
	cluster_announce(c, "10.0.0.1", "a", 0, 4000, NULL);
	cluster_stop(c);
	cluster_start(c);
	cluster_ask(c, method(SCHEDULER_SCHEDULER_LIST_HOSTS_AT), &m, &a);
	r = a.message;
	assert_int_equal(r->n_hosts, 2);
	arena_free(&a.arena);
	p = announcement_registered(c, "10.0.0.1-a", "t", "p");
	announcement_wait(c, p);
	assert_int_equal(holder->n_stats, 1);
	assert_int_equal(answer_kind(p), SCHEDULER_ANNOUNCE_PEER_RESPONSE_NORMAL_TASK_RESPONSE);
	n = p->answers[0].normal_task_response;
	assert_int_equal(n->n_candidate_parents, 1);
	assert_true(slice_eq_str(n->candidate_parents[0].id, "restored-127.0.0.1-holder"));
	announcement_free(p);
	seed_stop(holder);
	cluster_free(c);
	remove_path(path);
}

static bool
has_file(const char *path, const char *text)
{
	char b[4096] = { 0 };
	FILE *f = fopen(path, "r");
	size_t n = f ? fread(b, 1, sizeof b, f) : 0, length = strlen(text);

	if (f)
		fclose(f);
	for (size_t i = 0; i + length <= n; i++)
		if (memcmp(b + i, text, length) == 0)
			return true;
	return false;
}

static void
on_look(void *ctx)
{
	*(bool *)ctx = true;
}

/* Runs the loop until the file has the text. */
static void
wait_for_text(struct cluster *c, const char *path, const char *text)
{
	struct loop_timer timer = { 0 };

	for (int64_t end = clock_mono_ms() + LIMIT_MS; !has_file(path, text);) {
		bool is_time = false;

		assert_true(clock_mono_ms() < end);
		loop_timer_set(c->loop, &timer, 20, on_look, &is_time);
		assert_true(loop_run_until(c->loop, &is_time, LIMIT_MS));
	}
}

static void
scheduler_that_is_killed_knows_the_hosts_that_came(void **state)
{
	struct cluster *c = cluster_new();
	struct scheduler_list_hosts_request m = { 0 };
	struct scheduler_list_hosts_response *r;
	char *path = temporary_path(), *kept = xasprintf("%s-as-killed", path);
	struct answered a;

	(void)state;
	c->opt.snapshot_path = path;
	cluster_start(c);
	cluster_announce(c, "10.0.0.1", "first", 1, 4000, NULL);
	wait_for_text(c, path, "10.0.0.1-first");
	cluster_announce(c, "10.0.0.2", "second", 0, 4000, NULL);
	wait_for_text(c, path, "10.0.0.2-second");
	/* What a scheduler writes at its end is not looked at. */
	assert_int_equal(rename(path, kept), 0);
	cluster_stop(c);
	assert_int_equal(rename(kept, path), 0);
	cluster_start(c);
	cluster_ask(c, method(SCHEDULER_SCHEDULER_LIST_HOSTS_AT), &m, &a);
	r = a.message;
	assert_int_equal(r->n_hosts, 2);
	arena_free(&a.arena);
	cluster_free(c);
	free(kept);
	remove_path(path);
}

static void
broken_snapshot_is_ignored(void **state)
{
	struct cluster *c = cluster_new();
	struct scheduler_list_hosts_request m = { 0 };
	struct scheduler_list_hosts_response *r;
	char *path = temporary_path();
	struct answered a;
	FILE *f;
	long size;

	(void)state;
	c->opt.snapshot_path = path;
	cluster_start(c);
	cluster_announce(c, "10.0.0.1", "a", 0, 4000, NULL);
	cluster_stop(c);
	f = fopen(path, "r+");
	assert_non_null(f);
	fseek(f, 0, SEEK_END);
	size = ftell(f);
	assert_true(size > 60);
	fclose(f);
	for (long cut = 0; cut < size; cut += 7) {
		assert_int_equal(truncate(path, size - 1 - cut), 0);
		cluster_start(c);
		cluster_ask(c, method(SCHEDULER_SCHEDULER_LIST_HOSTS_AT), &m, &a);
		r = a.message;
		assert_int_equal(r->n_hosts, 0);
		arena_free(&a.arena);
		c->opt.snapshot_path = NULL;
		unlink(path);
		cluster_stop(c);
		c->opt.snapshot_path = path;
		cluster_start(c);
		cluster_announce(c, "10.0.0.1", "a", 0, 4000, NULL);
		cluster_stop(c);
	}
	cluster_start(c);
	cluster_free(c);
	remove_path(path);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(health_is_serving_until_it_drains),
		cmocka_unit_test(announced_hosts_are_listed_by_type),
		cmocka_unit_test(announcement_keeps_what_a_later_one_leaves_out),
		cmocka_unit_test(bad_announcements_are_refused_with_the_field),
		cmocka_unit_test(bad_registrations_are_refused_with_the_field),
		cmocka_unit_test(two_peers_share_one_download),
		cmocka_unit_test(live_stream_is_told_and_gets_lists_unasked),
		cmocka_unit_test(streams_out_of_order_end_with_the_known_texts),
		cmocka_unit_test(refused_waiter_is_closed_by_the_scheduler),
		cmocka_unit_test(lost_stream_of_the_source_frees_the_waiter),
		cmocka_unit_test(seed_is_asked_with_the_registrants_request),
		cmocka_unit_test(refusing_and_dead_seeds_send_the_peer_to_the_source),
		cmocka_unit_test(signed_url_is_not_shown_to_others),
		cmocka_unit_test(stat_and_delete_tell_what_is_not_found),
		cmocka_unit_test(deleting_a_peer_ends_its_stream),
		cmocka_unit_test(unknown_calls_are_unimplemented),
		cmocka_unit_test(thousands_of_hosts_are_listed),
		cmocka_unit_test(hosts_survive_a_restart_and_say_what_they_hold),
		cmocka_unit_test(scheduler_that_is_killed_knows_the_hosts_that_came),
		cmocka_unit_test(broken_snapshot_is_ignored),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
