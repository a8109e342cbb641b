/* Preheating images: what the registry is asked, what it may answer, and which downloads come of it. The registry is a table. */
#include "cluster.h"

#include "base/digest.h"
#include "net/http_server.h"
#include "scheduler/preheat.h"

#define SEEDS 2
#define ROWS 16
#define ASKED 32

#define A "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define B "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define IMAGE "{\"layers\":[{\"digest\":\"" B "\"},{\"digest\":\"" B "\"}],\"config\":{\"digest\":\"" A "\"}}"
#define TYPE_IMAGE "application/vnd.oci.image.manifest.v1+json"
#define TYPE_LIST "application/vnd.oci.image.index.v1+json"
#define MANIFEST "/v2/team/app/manifests/1.2"

/* What is answered to a path; wants: the Authorization without which it is 401 with the challenge. */
struct row {
	const char *path;
	int status;
	const char *type;
	char *body;
	const char *location, *wants, *challenge;
	bool is_endless;                /* blanks for ever */
};

struct registry {
	struct http_server *server;
	char origin[64];
	struct row rows[ROWS];
	unsigned n_rows, n_asked;
	char asked[ASKED][400];         /* target */
	char authorization[ASKED][200];
	unsigned accepts[ASKED];
};

static struct cluster *c;
static struct seed *seeds[SEEDS];
static struct registry *reg;

static void
write_on(void *ctx)
{
	char blanks[4096];

	memset(blanks, ' ', sizeof blanks);
	while (http_exchange_write(ctx, blanks, sizeof blanks) == sizeof blanks)
		;
}

static void
gone(void *ctx)
{
	(void)ctx;
}

static void
handle(void *ctx, struct http_exchange *x)
{
	struct registry *r = ctx;
	const struct h1 *q = http_exchange_request(x);
	struct h1_field fields[2];
	const struct row *row = NULL;
	char *authorization;
	size_t n = 0;

	assert_true(r->n_asked < ASKED);
	authorization = r->authorization[r->n_asked];
	for (size_t i = 0; i < q->field_count; i++) {
		r->accepts[r->n_asked] += slice_ieq_str(q->fields[i].name, "accept");
		if (slice_ieq_str(q->fields[i].name, "authorization"))
			snprintf(authorization, sizeof r->authorization[0], "%.*s", SLICE_ARG(q->fields[i].value));
	}
	snprintf(r->asked[r->n_asked++], sizeof r->asked[0], "%.*s", SLICE_ARG(q->target));
	for (unsigned i = 0; i < r->n_rows; i++)
		if (slice_eq_str(http_exchange_path(x), r->rows[i].path))
			row = &r->rows[i];
	if (!row) {
		http_exchange_reply(x, 404, NULL, 0, "application/json", slice_str("{\"errors\":[{\"code\":\"MANIFEST_UNKNOWN\"}]}\n"));
		return;
	}
	if (row->wants && strcmp(row->wants, authorization) != 0) {
		fields[0] = (struct h1_field){ slice_str("WWW-Authenticate"), slice_str(row->challenge) };
		http_exchange_reply(x, 401, fields, 1, NULL, slice_make(NULL, 0));
		return;
	}
	if (row->is_endless) {
		static const struct http_exchange_events events = { .on_writable = write_on, .on_gone = gone };

		http_exchange_set_events(x, &events, x);
		http_exchange_head(x, 200, NULL, 0, HTTP_NO_LENGTH);
		write_on(x);
		return;
	}
	if (row->location)
		fields[n++] = (struct h1_field){ slice_str("Location"), slice_str(row->location) };
	http_exchange_reply(x, row->status, fields, n, row->type, slice_str(row->body));
}

static struct registry *
registry_start(void)
{
	struct registry *r = xcalloc(1, sizeof *r);
	struct err e;
	struct addr a;

	r->server = http_server_new(c->loop, &(struct http_server_opts){ 0 }, handle, r);
	addr_from_ip(&a, slice_str("127.0.0.1"), 0);
	assert_int_equal(http_server_listen(r->server, &a, &e), 0);
	snprintf(r->origin, sizeof r->origin, "http://127.0.0.1:%u", addr_port(http_server_addr(r->server, 0)));
	return r;
}

static void
registry_stop(struct registry *r)
{
	http_server_free(r->server);
	for (unsigned i = 0; i < r->n_rows; i++)
		free(r->rows[i].body);
	free(r);
}

static struct row *
serve(struct registry *r, const char *path, int status, const char *type, const char *body)
{
	struct row *row = &r->rows[r->n_rows++];

	assert_true(r->n_rows <= ROWS);
	*row = (struct row){ .path = path, .status = status, .type = type, .body = xstrdup(body ? body : "") };
	return row;
}

/* A list with one entry for linux/amd64 of that digest, and one for another platform. */
static char *
list_of(const char *digest)
{
	return xasprintf("{\"manifests\":[{\"digest\":\"" A "\",\"platform\":{\"os\":\"linux\",\"architecture\":\"s390x\"}},"
		"{\"digest\":\"%s\",\"platform\":{\"os\":\"linux\",\"architecture\":\"amd64\"}}]}", digest);
}

static void
start(bool allow_loopback)
{
	char name[16];

	c = cluster_new();
	c->opt.allow_loopback = allow_loopback;
	cluster_start(c);
	for (int i = 0; i < SEEDS; i++) {
		seeds[i] = seed_start(c);
		snprintf(name, sizeof name, "seed%d", i);
		assert_int_equal(cluster_announce(c, "127.0.0.1", name, 1, seeds[i]->port, NULL), ERR_OK);
	}
	reg = registry_start();
}

static int
setup(void **state)
{
	(void)state;
	start(true);
	return 0;
}

static int
setup_strict(void **state)
{
	(void)state;
	start(false);
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	rpc_channel_free(c->channel);
	listener_free(c->listener);
	rpc_server_free(c->server);
	scheduler_free(c->scheduler);
	for (int i = 0; i < SEEDS; i++)
		seed_stop(seeds[i]);
	registry_stop(reg);
	loop_free(c->loop);
	free(c);
	return 0;
}

static void
settle(unsigned want)
{
	for (int i = 0; i < 2000 && seeds[0]->n_downloads < want; i++)
		loop_turn(c->loop, 5);
	for (int i = 0; i < 10; i++)
		loop_turn(c->loop, 2);
}

static int
preheat(const struct scheduler_preheat_image_request *asked, char *text)
{
	char *url = xasprintf("%s" MANIFEST, reg->origin);
	struct scheduler_preheat_image_request m = *asked;
	int code;

	m.url = m.url.p ? m.url : slice_str(url);
	m.scope = slice_str("all_seed_peers");
	m.platform = m.platform.p ? m.platform : slice_str("linux/amd64");
	code = cluster_do(c, SCHEDULER_SCHEDULER_PREHEAT_IMAGE_AT, &m, text);
	free(url);
	return code;
}

static void
fails(const struct scheduler_preheat_image_request *m, const char *want)
{
	char text[1200];

	if (preheat(m, text) != ERR_INVALID_ARGUMENT || !strstr(text, want))
		assert_string_equal(text, want);
	assert_true(strncmp(text, "failed to resolve manifests: ", 29) == 0);
}

static void
open_registry(void **state)
{
	struct pb_pair header[] = { { slice_str("X-A"), slice_str("1") }, { slice_str("Host"), slice_str("elsewhere") } };
	struct scheduler_preheat_image_request m = { .header = header, .n_header = 2, .tag = slice_str("t"), .priority = 3,
		.has_concurrent_task_count = true, .concurrent_task_count = 1 };
	char *want = xasprintf("%s/v2/team/app/blobs/" A, reg->origin);

	(void)state;
	serve(reg, "/v2/", 200, "application/json", "{}");
	serve(reg, MANIFEST, 200, TYPE_IMAGE, IMAGE);
	assert_int_equal(preheat(&m, NULL), ERR_OK);
	assert_int_equal(reg->n_asked, 2);
	assert_string_equal(reg->asked[0], "/v2/");
	assert_string_equal(reg->asked[1], MANIFEST);
	assert_int_equal(reg->accepts[1], 6);
	settle(1);
	for (int i = 0; i < SEEDS; i++) {
		const struct common_download *d = &seeds[i]->download;

		assert_true(slice_eq_str(d->url, want) && slice_eq_str(d->tag, "t") && d->priority == 3);
		assert_true(d->enable_task_id_based_blob_digest && d->n_filtered_query_params == 30);
		assert_true(d->n_request_header == 2 && pb_pair_get(d->request_header, 2, "Authorization").p == NULL);
	}
	free(want);
}

static void
token_and_list(void **state)
{
	struct scheduler_preheat_image_request m = { .username = slice_str("u ser"), .password = slice_str("p:w") };
	char hex[DIGEST_HEX_MAX], *child, *digest, *list, *challenge;

	(void)state;
	digest_hex(DIGEST_SHA256, IMAGE, strlen(IMAGE), hex);
	digest = xasprintf("sha256:%s", hex);
	child = xasprintf("/v2/team/app/manifests/%s", digest);
	list = list_of(digest);
	challenge = xasprintf("Bearer realm=\"%s/token?a=b\",service=\"the registry\"", reg->origin);
	serve(reg, "/v2/", 200, NULL, NULL)->wants = "?";
	reg->rows[0].challenge = challenge;
	serve(reg, "/token", 200, "application/json", "{\"token\":\"T\",\"expires_in\":300}")->wants = "Basic dSBzZXI6cDp3";
	reg->rows[1].challenge = "Basic";
	serve(reg, MANIFEST, 200, TYPE_LIST, list)->wants = "Bearer T";
	reg->rows[2].challenge = challenge;
	serve(reg, child, 200, TYPE_IMAGE, IMAGE)->wants = "Bearer T";
	reg->rows[3].challenge = challenge;
	assert_int_equal(preheat(&m, NULL), ERR_OK);
	assert_int_equal(reg->n_asked, 4);
	assert_string_equal(reg->asked[1], "/token?a=b&service=the%20registry&scope=repository%3Ateam%2Fapp%3Apull&account=u%20ser");
	assert_string_equal(reg->asked[2], MANIFEST);
	assert_string_equal(reg->asked[3], child);
	settle(2);
	assert_true(slice_eq_str(pb_pair_get(seeds[0]->download.request_header, seeds[0]->download.n_request_header, "Authorization"), "Bearer T"));
	free(challenge);
	free(list);
	free(child);
	free(digest);
}

static void
basic(void **state)
{
	struct scheduler_preheat_image_request m = { .username = slice_str("u"), .password = slice_str("p") }, nobody = { 0 };

	(void)state;
	serve(reg, "/v2/", 200, NULL, NULL)->wants = "?";
	reg->rows[0].challenge = "Basic realm=\"r\"";
	serve(reg, MANIFEST, 200, TYPE_IMAGE, IMAGE)->wants = "Basic dTpw";
	reg->rows[1].challenge = "Basic realm=\"r\"";
	assert_int_equal(preheat(&m, NULL), ERR_OK);
	settle(1);
	assert_true(slice_eq_str(pb_pair_get(seeds[0]->download.request_header, seeds[0]->download.n_request_header, "Authorization"), "Basic dTpw"));
	fails(&nobody, "the registry wants a user's name and password");
	reg->rows[0].challenge = "Negotiate";
	fails(&m, "an authorization of an unknown kind");
}

static void
own_authorization_is_used_as_it_is(void **state)
{
	struct pb_pair header = { slice_str("authorization"), slice_str("Mine") };
	struct scheduler_preheat_image_request m = { .header = &header, .n_header = 1 };

	(void)state;
	serve(reg, MANIFEST, 200, TYPE_IMAGE, IMAGE);
	assert_int_equal(preheat(&m, NULL), ERR_OK);
	assert_int_equal(reg->n_asked, 1);
	assert_string_equal(reg->authorization[0], "Mine");
	settle(1);
	assert_int_equal(seeds[0]->download.n_request_header, 1);
	assert_true(slice_eq_str(seeds[0]->download.request_header[0].value, "Mine"));
}

static void
secrets_do_not_follow_a_redirect_elsewhere(void **state)
{
	struct pb_pair header[] = { { slice_str("Authorization"), slice_str("Mine") }, { slice_str("X-A"), slice_str("1") } };
	struct scheduler_preheat_image_request m = { .header = header, .n_header = 2 };
	struct registry *other = registry_start();
	char *there = xasprintf("%s/there", other->origin), *back = xasprintf("%s/back", reg->origin);

	(void)state;
	serve(reg, MANIFEST, 307, NULL, NULL)->location = "/here";
	serve(reg, "/here", 302, NULL, NULL)->location = there;
	serve(other, "/there", 302, NULL, NULL)->location = back;
	serve(reg, "/back", 200, TYPE_IMAGE, IMAGE);
	assert_int_equal(preheat(&m, NULL), ERR_OK);
	assert_string_equal(reg->authorization[1], "Mine");
	assert_int_equal(other->n_asked, 1);
	assert_string_equal(other->authorization[0], "");
	assert_string_equal(reg->asked[2], "/back");
	assert_string_equal(reg->authorization[2], "");
	registry_stop(other);
	free(there);
	free(back);
}

static void
bad_answers(void **state)
{
	struct scheduler_preheat_image_request m = { 0 }, other = { .platform = slice_str("linux/riscv64") };
	struct scheduler_preheat_image_request odd = { .platform = slice_str("a/b/c/d") }, nothing = { .url = slice_str("http://x/y") };
	char *list = list_of(B);
	struct row *row, *child;

	(void)state;
	serve(reg, "/v2/", 200, NULL, NULL);
	fails(&m, "manifest: status 404: {\"errors\":[{\"code\":\"MANIFEST_UNKNOWN\"}]}");
	fails(&odd, "platform is not os/arch or os/arch/variant");
	fails(&nothing, "parse access url failed");
	row = serve(reg, MANIFEST, 200, TYPE_LIST, list);
	fails(&other, "no matching manifest for platform linux/riscv64");
	child = serve(reg, "/v2/team/app/manifests/" B, 200, TYPE_IMAGE, IMAGE);
	fails(&m, "the manifest does not have the digest " B);
	child->type = row->type = "text/html";
	free(row->body);
	row->body = xstrdup("<html>");
	fails(&m, "json: line 1");
	free(row->body);
	row->body = xstrdup("{}");
	fails(&m, "the registry's answer is no manifest");
	row->is_endless = true;
	fails(&m, "the registry's answer is longer than 4194304 bytes");
	row->is_endless = false;
	row->status = 302;
	row->location = MANIFEST;
	free(row->body);
	row->body = xstrdup("");
	reg->n_asked = 0;
	fails(&m, "the registry redirects more than 10 times");
	row->location = "file:///etc/passwd";
	reg->n_asked = 0;
	fails(&m, "the registry is not reached by http or https");
	assert_int_equal(seeds[0]->n_downloads, 0);
	free(list);
}

static void
bad_tokens(void **state)
{
	struct scheduler_preheat_image_request m = { 0 };
	char *challenge = xasprintf("Bearer realm=\"%s/token\"", reg->origin);
	struct row *row;

	(void)state;
	serve(reg, "/v2/", 200, NULL, NULL)->wants = "?";
	reg->rows[0].challenge = challenge;
	fails(&m, "token: status 404");
	row = serve(reg, "/token", 200, NULL, "{\"token\":\"\"}");
	fails(&m, "the authorization server's answer has no token");
	free(row->body);
	row->body = xstrdup("{\"access_token\":\"a\\nb\"}");
	fails(&m, "");
	reg->rows[0].challenge = "Bearer realm=\"nonsense\"";
	fails(&m, "relative URL without a base");
	free(challenge);
}

static void
requests_are_checked_first(void **state)
{
	struct slice junk = slice_str("junk");
	struct scheduler_preheat_image_request m = { .certificate_chain = &junk, .n_certificate_chain = 1 };
	char text[1200];

	(void)state;
	assert_int_equal(preheat(&m, text), ERR_INVALID_ARGUMENT);
	assert_true(strncmp(text, "failed to parse certificate chain: ", 35) == 0);
	m = (struct scheduler_preheat_image_request){ .has_percentage = true, .percentage = 101 };
	assert_int_equal(preheat(&m, text), ERR_INVALID_ARGUMENT);
	assert_string_equal(text, "invalid PreheatImageRequest.Percentage: value must be inside range [1, 100]");
	m = (struct scheduler_preheat_image_request){ .url = slice_str("nothing") };
	assert_int_equal(preheat(&m, text), ERR_INVALID_ARGUMENT);
	assert_string_equal(text, "invalid PreheatImageRequest.Url: value must be absolute");
	assert_int_equal(reg->n_asked, 0);
}

static void
registries_on_this_host_are_refused(void **state)
{
	static const char *const urls[] = { "http://169.254.169.254/v2/a/manifests/b", "http://[::1]:5000/v2/a/manifests/b", "http://0.0.0.0/v2/a/manifests/b",
		"http://localhost:1/v2/a/manifests/b", "http://224.0.0.1/v2/a/manifests/b", "http://[ff02::1]/v2/a/manifests/b" };
	struct scheduler_preheat_image_request m = { 0 };

	(void)state;
	serve(reg, "/v2/", 200, NULL, NULL);
	fails(&m, "ip 127.0.0.1 is invalid");
	for (size_t i = 0; i < COUNT_OF(urls); i++) {
		m = (struct scheduler_preheat_image_request){ .url = slice_str(urls[i]) };
		fails(&m, "is invalid");
	}
	assert_int_equal(reg->n_asked, 0);
}

static void
cancelled_calls_ask_no_more(void **state)
{
	struct answered a = { .desc = &google_empty_desc };
	char *url = xasprintf("%s" MANIFEST, reg->origin);
	struct scheduler_preheat_image_request m = { .url = slice_str(url), .scope = slice_str("all_seed_peers") };
	struct rpc_call_opts o = { .total_ms = LIMIT_MS };
	struct rpc_call *call;

	(void)state;
	serve(reg, "/v2/", 200, NULL, NULL);
	arena_init(&a.arena, ARENA_BYTES);
	call = rpc_unary(c->channel, &scheduler_scheduler_service.methods[SCHEDULER_SCHEDULER_PREHEAT_IMAGE_AT], &m, &o, cluster_on_answer, &a);
	while (reg->n_asked == 0)
		loop_turn(c->loop, 5);
	rpc_call_cancel(call);
	for (int i = 0; i < 20; i++)
		loop_turn(c->loop, 2);
	assert_false(a.is_over);
	arena_free(&a.arena);
	free(url);
}

static void
stat_tells_of_each_layer(void **state)
{
	char *url = xasprintf("%s" MANIFEST, reg->origin), *config = xasprintf("%s/v2/team/app/blobs/" A, reg->origin);
	struct scheduler_stat_image_request m = { .url = slice_str(url), .platform = slice_str("linux/amd64") };
	const struct scheduler_stat_image_response *r;
	struct answered a;

	(void)state;
	serve(reg, "/v2/", 200, NULL, NULL);
	serve(reg, MANIFEST, 200, TYPE_IMAGE, IMAGE);
	seeds[1]->has_task = true;
	assert_int_equal(cluster_ask(c, &scheduler_scheduler_service.methods[SCHEDULER_SCHEDULER_STAT_IMAGE_AT], &m, &a), ERR_OK);
	r = a.message;
	assert_true(r->image && r->image->n_layers == 2 && slice_eq_str(r->image->layers[0].url, config));
	assert_int_equal(r->n_peers, 1);
	assert_true(slice_eq_str(r->peers[0].hostname, "seed1") && r->peers[0].n_cached_layers == 2);
	assert_true(slice_eq_str(r->peers[0].cached_layers[0].url, config) && r->peers[0].cached_layers[0].is_finished);
	assert_true(slice_eq(r->peers[0].cached_layers[1].url, r->image->layers[1].url));
	assert_int_equal(seeds[0]->n_stats, 2);
	arena_free(&a.arena);
	m.platform = slice_str("a/b/c/d");
	assert_int_equal(cluster_ask(c, &scheduler_scheduler_service.methods[SCHEDULER_SCHEDULER_STAT_IMAGE_AT], &m, &a), ERR_INVALID_ARGUMENT);
	arena_free(&a.arena);
	reg->rows[1].status = 500;
	m.platform = slice_make(NULL, 0);
	assert_int_equal(cluster_ask(c, &scheduler_scheduler_service.methods[SCHEDULER_SCHEDULER_STAT_IMAGE_AT], &m, &a), ERR_INVALID_ARGUMENT);
	assert_true(strncmp(a.text, "failed to resolve manifests: manifest: status 500", 49) == 0);
	arena_free(&a.arena);
	free(url);
	free(config);
}

static void
task_ids_of_blobs(void **state)
{
	static const char url[] = "https://registry.example.com/v2/library/nginx/blobs/sha256:e692418e4cbaf90ca69d05a66403747baa33ee08806650b51fab815ad7fc331f";
	struct common_download d = { .url = slice_str(url) };
	char id[TASK_ID_SIZE];

	(void)state;
	assert_int_equal(preheat_task_id(&d, id, NULL), 0);
	assert_string_equal(id, "02628b261ea3100978c6c2ed7c5df2f888e63d420af066c75c9af49f33c286a6");
	d.enable_task_id_based_blob_digest = true;
	assert_int_equal(preheat_task_id(&d, id, NULL), 0);
	assert_string_equal(id, "e692418e4cbaf90ca69d05a66403747baa33ee08806650b51fab815ad7fc331f");
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(open_registry),
		TEST(token_and_list),
		TEST(basic),
		TEST(own_authorization_is_used_as_it_is),
		TEST(secrets_do_not_follow_a_redirect_elsewhere),
		TEST(bad_answers),
		TEST(bad_tokens),
		TEST(requests_are_checked_first),
		cmocka_unit_test_setup_teardown(registries_on_this_host_are_refused, setup_strict, teardown),
		TEST(cancelled_calls_ask_no_more),
		TEST(stat_tells_of_each_layer),
		cmocka_unit_test(task_ids_of_blobs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
