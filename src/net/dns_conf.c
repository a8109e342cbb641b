#include "net/dns_conf.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/read_file.h"

/* Takes a line off the front, without its end. */
static bool
next_line(struct slice *text, struct slice *line)
{
	ptrdiff_t end;

	if (text->n == 0)
		return false;
	end = slice_find(*text, '\n');
	*line = slice_sub(*text, 0, end < 0 ? text->n : (size_t)end);
	*text = end < 0 ? slice_make(text->p + text->n, 0) : slice_sub(*text, (size_t)end + 1, text->n);
	return true;
}

static bool
next_word(struct slice *line, struct slice *word)
{
	size_t at = 0, n;

	while (at < line->n && (line->p[at] == ' ' || line->p[at] == '\t' || line->p[at] == '\r'))
		at++;
	for (n = at; n < line->n && line->p[n] != ' ' && line->p[n] != '\t' && line->p[n] != '\r'; n++)
		;
	*word = slice_sub(*line, at, n - at);
	*line = slice_sub(*line, n, line->n);
	return word->n > 0;
}

static void
add_server(struct dns_conf *c, struct slice ip, uint16_t port)
{
	if (c->n_servers < DNS_SERVERS_MAX && addr_from_ip(&c->servers[c->n_servers], ip, port) == 0)
		c->n_servers++;
}

static void
add_search(struct dns_conf *c, struct slice name)
{
	char *out;

	if (c->n_search == DNS_SEARCH_MAX || name.n == 0 || name.n >= DNS_NAME_SIZE)
		return;
	out = c->search[c->n_search];
	memcpy(out, name.p, name.n);
	out[name.n] = '\0';
	if (!dns_name_is_valid(out))
		return;
	if (out[name.n - 1] == '.')
		out[name.n - 1] = '\0';
	c->n_search++;
}

static void
set_option(struct slice word, const char *name, unsigned max, unsigned *out)
{
	uint64_t v;

	if (slice_starts(word, name) && slice_to_u64(slice_sub(word, strlen(name), word.n), &v) == 0)
		*out = v < max ? (unsigned)v : max;
}

void
dns_conf_parse(struct dns_conf *c, struct slice text, uint16_t port)
{
	struct slice line, key, word;

	*c = (struct dns_conf){.ndots = 1, .timeout_s = 5, .attempts = 2};
	while (next_line(&text, &line)) {
		if (!next_word(&line, &key) || key.p[0] == '#' || key.p[0] == ';')
			continue;
		if (slice_eq_str(key, "nameserver")) {
			if (next_word(&line, &word))
				add_server(c, word, port);
		} else if (slice_eq_str(key, "search") || slice_eq_str(key, "domain")) {
			/* The last line of either counts. */
			c->n_search = 0;
			while (next_word(&line, &word))
				add_search(c, word);
		} else if (slice_eq_str(key, "options")) {
			while (next_word(&line, &word)) {
				set_option(word, "ndots:", DNS_NDOTS_MAX, &c->ndots);
				set_option(word, "timeout:", DNS_TIMEOUT_MAX_S, &c->timeout_s);
				set_option(word, "attempts:", DNS_ATTEMPTS_MAX, &c->attempts);
			}
		}
	}
	if (c->timeout_s == 0)
		c->timeout_s = 1;
	if (c->attempts == 0)
		c->attempts = 1;
	if (c->n_servers == 0)
		add_server(c, slice_str("127.0.0.1"), port);
}

void
dns_hosts_parse(struct dns_hosts *h, char *text, size_t n)
{
	struct slice rest = slice_make(text, n), line, ip, name;
	size_t cap = 0;

	*h = (struct dns_hosts){.text = text};
	while (next_line(&rest, &line)) {
		ptrdiff_t hash = slice_find(line, '#');
		struct addr a;

		if (hash >= 0)
			line = slice_sub(line, 0, (size_t)hash);
		if (!next_word(&line, &ip) || addr_from_ip(&a, ip, 0) != 0)
			continue;
		while (h->n < DNS_HOSTS_MAX && next_word(&line, &name)) {
			if (h->n == cap) {
				cap = cap > 0 ? cap * 2 : 16;
				h->list = xrealloc(h->list, cap * sizeof(*h->list));
			}
			h->list[h->n++] = (struct dns_host){a, name};
		}
	}
}

void
dns_hosts_free(struct dns_hosts *h)
{
	free(h->list);
	free(h->text);
	*h = (struct dns_hosts){0};
}

size_t
dns_hosts_find(const struct dns_hosts *h, const char *name, struct addr *out, size_t max)
{
	struct slice want = slice_str(name);
	size_t n = 0;

	if (want.n > 0 && want.p[want.n - 1] == '.')
		want.n--;
	for (size_t i = 0; i < h->n && n < max; i++)
		if (slice_ieq(h->list[i].name, want))
			out[n++] = h->list[i].addr;
	return n;
}

char *
dns_file_read(const char *path, size_t *n)
{
	struct buf text = BUF_INIT;

	*n = 0;
	if (read_file(path, DNS_FILE_MAX, &text) < 0 && errno != EFBIG) {
		buf_free(&text);
		return NULL;
	}
	*n = text.len;
	return buf_take(&text);
}
