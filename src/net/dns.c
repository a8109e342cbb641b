#include "net/dns.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/err.h"
#include "base/list.h"
#include "base/map.h"
#include "base/mem.h"
#include "net/dns_conf.h"
#include "net/dns_query.h"
#include "net/dns_wire.h"
#include "net/loop.h"

/* Names asked of the servers at once; each takes two sockets. */
#define JOBS_MAX 256
/* How often the files are looked at for changes. */
#define RELOAD_MS 1000
/* An answer of one family alone, because the other was late, is kept this long at most. */
#define PARTIAL_TTL_S 5

/* A kept answer. */
struct entry {
	struct list lru;                /* newest use first */
	char *host;
	int64_t expires_ms;
	size_t n;                       /* 0: there is no such name, or it has no address */
	struct addr addrs[];
};

/* A name being asked for, by any number of lookups. */
struct job {
	struct list link;
	struct dns *dns;
	char *host;
	char candidates[DNS_SEARCH_MAX + 1][DNS_NAME_SIZE];
	size_t n_candidates;
	size_t at;                      /* the candidate being asked */
	struct dns_query v4;
	struct dns_query v6;
	struct loop_timer other;        /* the second family's grace */
	struct list lookups;
	struct dns_conf conf;           /* as it was at the start */
	uint32_t negative_s;
};

struct dns_lookup {
	struct list link;               /* in a job, or in dns->ready */
	struct dns *dns;
	dns_fn *fn;
	void *ctx;
	struct loop_timer tell;         /* answers known at once are told in the next turn */
	struct addr addrs[DNS_ADDRS_MAX];
	size_t n;
	struct err e;
};

struct dns {
	struct loop *loop;
	char *conf_path;
	char *hosts_path;
	uint16_t port;
	struct dns_conf conf;
	struct dns_hosts hosts;
	struct timespec conf_time;
	struct timespec hosts_time;
	int64_t looked_ms;              /* at the files; 0: never */
	struct map cache;
	struct list lru;
	struct list jobs;
	struct list ready;
	size_t job_count;
	size_t lookup_count;
};

/* ---- files ---- */

static bool
has_changed(const char *path, struct timespec *seen)
{
	struct stat st;
	struct timespec now = {0};

	if (stat(path, &st) == 0)
		now = st.st_mtim;
	if (now.tv_sec == seen->tv_sec && now.tv_nsec == seen->tv_nsec)
		return false;
	*seen = now;
	return true;
}

static void
reload(struct dns *d)
{
	int64_t now = loop_now_ms(d->loop);
	bool first = d->looked_ms == 0;
	char *text;
	size_t n;

	if (!first && now - d->looked_ms < RELOAD_MS)
		return;
	d->looked_ms = now > 0 ? now : 1;
	if (has_changed(d->conf_path, &d->conf_time) || first) {
		text = dns_file_read(d->conf_path, &n);
		dns_conf_parse(&d->conf, slice_make(text, n), d->port);
		free(text);
		dns_flush(d);
	}
	if (has_changed(d->hosts_path, &d->hosts_time) || first) {
		dns_hosts_free(&d->hosts);
		text = dns_file_read(d->hosts_path, &n);
		if (text != NULL)
			dns_hosts_parse(&d->hosts, text, n);
	}
}

/* ---- cache ---- */

static void
drop_entry(struct dns *d, struct entry *en)
{
	map_del(&d->cache, slice_str(en->host));
	list_del(&en->lru);
	free(en->host);
	free(en);
}

void
dns_flush(struct dns *d)
{
	while (!list_is_empty(&d->lru))
		drop_entry(d, CONTAINER_OF(d->lru.next, struct entry, lru));
}

size_t
dns_cache_count(const struct dns *d)
{
	return d->cache.count;
}

static struct entry *
find_entry(struct dns *d, const char *host)
{
	struct entry *en = map_get(&d->cache, slice_str(host));

	if (en == NULL)
		return NULL;
	if (en->expires_ms <= loop_now_ms(d->loop)) {
		drop_entry(d, en);
		return NULL;
	}
	list_del(&en->lru);
	list_add_head(&d->lru, &en->lru);
	return en;
}

static void
keep(struct dns *d, const char *host, const struct addr *addrs, size_t n, uint32_t ttl_s)
{
	struct entry *en = map_get(&d->cache, slice_str(host));

	if (en != NULL)
		drop_entry(d, en);
	if (ttl_s == 0 && n == 0)
		return;
	if (ttl_s < DNS_TTL_MIN_S)
		ttl_s = DNS_TTL_MIN_S;
	if (d->cache.count >= DNS_CACHE_MAX)
		drop_entry(d, CONTAINER_OF(d->lru.prev, struct entry, lru));
	en = xcalloc(1, sizeof(*en) + n * sizeof(*addrs));
	en->host = xstrdup(host);
	en->n = n;
	if (n > 0)
		memcpy(en->addrs, addrs, n * sizeof(*addrs));
	en->expires_ms = loop_now_ms(d->loop) + (int64_t)ttl_s * 1000;
	map_put(&d->cache, slice_str(en->host), en);
	list_add_head(&d->lru, &en->lru);
}

/* ---- telling ---- */

static void
tell_ready(void *ctx)
{
	struct dns_lookup *l = ctx;

	list_del(&l->link);
	l->dns->lookup_count--;
	l->fn(l->ctx, l->n > 0 ? l->addrs : NULL, l->n, l->n > 0 ? NULL : &l->e);
	free(l);
}

/* The answer is in l already; the caller hears of it in the next turn. */
static struct dns_lookup *
answer_soon(struct dns_lookup *l)
{
	list_add_tail(&l->dns->ready, &l->link);
	loop_timer_set(l->dns->loop, &l->tell, 0, tell_ready, l);
	return l;
}

static void
drop_job(struct job *j)
{
	dns_query_stop(&j->v4);
	dns_query_stop(&j->v6);
	loop_timer_clear(j->dns->loop, &j->other);
	list_del(&j->link);
	j->dns->job_count--;
	free(j->host);
	free(j);
}

static void
tell_all(struct job *j, const struct addr *addrs, size_t n, const struct err *e)
{
	/* Callbacks may cancel other lookups, start new ones and even free the resolver: all are moved out first. */
	struct dns *d = j->dns;

	while (!list_is_empty(&j->lookups)) {
		struct dns_lookup *l = CONTAINER_OF(j->lookups.next, struct dns_lookup, link);

		list_del(&l->link);
		l->n = n;
		if (e != NULL)
			l->e = *e;
		else if (n > 0)
			memcpy(l->addrs, addrs, n * sizeof(*addrs));
		list_add_tail(&d->ready, &l->link);
		loop_timer_set(d->loop, &l->tell, 0, tell_ready, l);
	}
	drop_job(j);
}

/* ---- asking ---- */

static void on_query(struct dns_query *q);

static void
ask_candidate(struct job *j)
{
	const char *name = j->candidates[j->at];

	dns_query_start(&j->v4, j->dns->loop, &j->conf, name, DNS_A, on_query);
	dns_query_start(&j->v6, j->dns->loop, &j->conf, name, DNS_AAAA, on_query);
}

/* IPv6 and IPv4 in turn, IPv6 first (RFC 8305, 4). */
static size_t
interleave(const struct job *j, struct addr *out)
{
	const struct dns_answer *a = &j->v6.answer, *b = &j->v4.answer;
	size_t na = j->v6.is_done && j->v6.failed.code == ERR_OK ? a->n : 0;
	size_t nb = j->v4.is_done && j->v4.failed.code == ERR_OK ? b->n : 0;
	size_t n = 0;

	for (size_t i = 0; n < DNS_ADDRS_MAX && (i < na || i < nb); i++) {
		if (i < na)
			addr_from_bytes(&out[n++], a->addrs[i], 16, 0);
		if (i < nb && n < DNS_ADDRS_MAX)
			addr_from_bytes(&out[n++], b->addrs[i], 4, 0);
	}
	return n;
}

static uint32_t
ttl_of(const struct job *j)
{
	uint32_t ttl = DNS_TTL_MAX_S;

	if (!j->v4.is_done || !j->v6.is_done)
		ttl = PARTIAL_TTL_S;
	if (j->v4.is_done && j->v4.answer.n > 0 && j->v4.answer.ttl_s < ttl)
		ttl = j->v4.answer.ttl_s;
	if (j->v6.is_done && j->v6.answer.n > 0 && j->v6.answer.ttl_s < ttl)
		ttl = j->v6.answer.ttl_s;
	return ttl;
}

static void
succeed(struct job *j)
{
	struct addr addrs[DNS_ADDRS_MAX];
	size_t n = interleave(j, addrs);

	keep(j->dns, j->host, addrs, n, ttl_of(j));
	tell_all(j, addrs, n, NULL);
}

static void
on_other(void *ctx)
{
	succeed(ctx);
}

static bool
says_no(const struct dns_query *q)
{
	return q->failed.code == ERR_OK && q->answer.n == 0;
}

/* Both families are in and neither has an address. */
static void
settle_empty(struct job *j)
{
	struct err e;
	bool no_name = (j->v4.failed.code == ERR_OK && j->v4.answer.rcode == DNS_NO_NAME) ||
	    (j->v6.failed.code == ERR_OK && j->v6.answer.rcode == DNS_NO_NAME);

	if (!no_name && !(says_no(&j->v4) && says_no(&j->v6))) {
		e = j->v4.failed.code != ERR_OK ? j->v4.failed : j->v6.failed;
		tell_all(j, NULL, 0, &e);
		return;
	}
	if (j->v4.failed.code == ERR_OK && j->v4.answer.ttl_s > j->negative_s)
		j->negative_s = j->v4.answer.ttl_s;
	if (++j->at < j->n_candidates) {
		ask_candidate(j);
		return;
	}
	err_set(&e, ERR_NOT_FOUND, "no such host: %s", j->host);
	keep(j->dns, j->host, NULL, 0, j->negative_s < DNS_NEGATIVE_MAX_S ? j->negative_s : DNS_NEGATIVE_MAX_S);
	tell_all(j, NULL, 0, &e);
}

static void
on_query(struct dns_query *q)
{
	struct job *j = q->type == DNS_A ? CONTAINER_OF(q, struct job, v4) : CONTAINER_OF(q, struct job, v6);
	bool has_any = q->failed.code == ERR_OK && q->answer.n > 0;

	if (j->v4.is_done && j->v6.is_done) {
		loop_timer_clear(j->dns->loop, &j->other);
		if ((j->v4.failed.code == ERR_OK && j->v4.answer.n > 0) || (j->v6.failed.code == ERR_OK && j->v6.answer.n > 0))
			succeed(j);
		else
			settle_empty(j);
	} else if (has_any) {
		loop_timer_set(j->dns->loop, &j->other, DNS_OTHER_FAMILY_MS, on_other, j);
	}
}

static void
add_candidate(struct job *j, const char *host, const char *suffix)
{
	char *out = j->candidates[j->n_candidates];
	size_t n = strlen(host), m = strlen(suffix);

	if (n + 1 + m > DNS_NAME_MAX)
		return;
	memcpy(out, host, n + 1);
	if (m > 0) {
		out[n] = '.';
		memcpy(out + n + 1, suffix, m + 1);
	}
	j->n_candidates++;
}

/* resolv.conf(5): a name with enough dots is tried as it is first, others with the search list first. */
static void
list_candidates(struct job *j, const struct dns_conf *c)
{
	const char *host = j->host;
	size_t dots = 0;

	for (const char *p = host; *p != '\0'; p++)
		dots += *p == '.';
	if (host[strlen(host) - 1] == '.') {
		add_candidate(j, host, "");
		return;
	}
	if (dots >= c->ndots)
		add_candidate(j, host, "");
	for (size_t i = 0; i < c->n_search; i++)
		add_candidate(j, host, c->search[i]);
	if (dots < c->ndots)
		add_candidate(j, host, "");
}

static struct job *
find_job(struct dns *d, const char *host)
{
	struct job *j;

	LIST_EACH(it, next, &d->jobs)
		if (strcmp(CONTAINER_OF(it, struct job, link)->host, host) == 0)
			return CONTAINER_OF(it, struct job, link);
	if (d->job_count >= JOBS_MAX)
		return NULL;
	j = xcalloc(1, sizeof(*j));
	j->dns = d;
	j->host = xstrdup(host);
	j->conf = d->conf;
	list_init(&j->lookups);
	list_add_tail(&d->jobs, &j->link);
	d->job_count++;
	list_candidates(j, &d->conf);
	ask_candidate(j);
	return j;
}

/* "localhost" is this machine, whatever the files say (RFC 6761, 6.3). */
static bool
is_localhost(const char *host)
{
	struct slice s = slice_str(host);

	if (s.n > 0 && s.p[s.n - 1] == '.')
		s.n--;
	return slice_eq_str(s, "localhost") || slice_ends(s, ".localhost");
}

/* Literals, hosts, localhost, cache. True: answered. */
static bool
answer_now(struct dns *d, const char *host, struct dns_lookup *l)
{
	static const uint8_t loopback4[4] = {127, 0, 0, 1}, loopback6[16] = {[15] = 1};
	struct entry *en;

	if (addr_from_ip(&l->addrs[0], slice_str(host), 0) == 0) {
		l->n = 1;
		return true;
	}
	l->n = dns_hosts_find(&d->hosts, host, l->addrs, DNS_ADDRS_MAX);
	if (l->n > 0)
		return true;
	if (is_localhost(host)) {
		addr_from_bytes(&l->addrs[0], loopback6, 16, 0);
		addr_from_bytes(&l->addrs[1], loopback4, 4, 0);
		l->n = 2;
		return true;
	}
	en = find_entry(d, host);
	if (en == NULL)
		return false;
	l->n = en->n;
	memcpy(l->addrs, en->addrs, en->n * sizeof(*en->addrs));
	if (en->n == 0)
		err_set(&l->e, ERR_NOT_FOUND, "no such host: %s", host);
	return true;
}

struct dns_lookup *
dns_lookup(struct dns *d, const char *host, dns_fn *fn, void *ctx)
{
	struct dns_lookup *l = xcalloc(1, sizeof(*l));
	char name[DNS_NAME_SIZE + 1];
	struct addr literal;
	struct job *j;
	size_t n = strlen(host);

	l->dns = d;
	l->fn = fn;
	l->ctx = ctx;
	d->lookup_count++;
	if (!dns_name_is_valid(host) && addr_from_ip(&literal, slice_str(host), 0) != 0) {
		err_set(&l->e, ERR_INVALID_ARGUMENT, "not a host name: %.300s", host);
		return answer_soon(l);
	}
	if (d->lookup_count > DNS_LOOKUPS_MAX) {
		err_set(&l->e, ERR_RESOURCE_EXHAUSTED, "%s: more than %d names are being looked up", host, DNS_LOOKUPS_MAX);
		return answer_soon(l);
	}
	for (size_t i = 0; i <= n && i < sizeof(name); i++)
		name[i] = (char)tolower((unsigned char)host[i]);
	name[sizeof(name) - 1] = '\0';
	reload(d);
	if (answer_now(d, name, l))
		return answer_soon(l);
	j = find_job(d, name);
	if (j == NULL) {
		err_set(&l->e, ERR_RESOURCE_EXHAUSTED, "%s: more than %d names are being asked for", host, JOBS_MAX);
		return answer_soon(l);
	}
	list_add_tail(&j->lookups, &l->link);
	return l;
}

/* A job without lookups goes on: its answer is kept for the next who asks. */
void
dns_cancel(struct dns_lookup *l)
{
	loop_timer_clear(l->dns->loop, &l->tell);
	list_del(&l->link);
	l->dns->lookup_count--;
	free(l);
}

struct dns *
dns_new(struct loop *loop, const struct dns_opts *o)
{
	struct dns *d = xcalloc(1, sizeof(*d));

	d->loop = loop;
	d->conf_path = xstrdup(o != NULL && o->resolv_conf != NULL ? o->resolv_conf : "/etc/resolv.conf");
	d->hosts_path = xstrdup(o != NULL && o->hosts != NULL ? o->hosts : "/etc/hosts");
	d->port = o != NULL && o->port != 0 ? o->port : 53;
	map_init(&d->cache);
	list_init(&d->lru);
	list_init(&d->jobs);
	list_init(&d->ready);
	return d;
}

static void
drop_lookups(struct list *lookups)
{
	while (!list_is_empty(lookups))
		dns_cancel(CONTAINER_OF(lookups->next, struct dns_lookup, link));
}

void
dns_free(struct dns *d)
{
	if (d == NULL)
		return;
	drop_lookups(&d->ready);
	while (!list_is_empty(&d->jobs)) {
		struct job *j = CONTAINER_OF(d->jobs.next, struct job, link);

		drop_lookups(&j->lookups);
		drop_job(j);
	}
	dns_flush(d);
	map_free(&d->cache);
	dns_hosts_free(&d->hosts);
	free(d->conf_path);
	free(d->hosts_path);
	free(d);
}
