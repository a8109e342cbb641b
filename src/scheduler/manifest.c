#include "scheduler/manifest.h"

#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>

#include "base/arena.h"
#include "base/digest.h"
#include "base/err.h"
#include "base/mem.h"
#include "text/json.h"
#include "text/registry_url.h"

/* Layers of an image; real ones have at most 127. */
#define BLOBS_MAX 1000u

const char *const manifest_accept[MANIFEST_ACCEPT_COUNT] = {
	"application/vnd.docker.distribution.manifest.v2+json",
	"application/vnd.docker.distribution.manifest.list.v2+json",
	"application/vnd.oci.image.manifest.v1+json",
	"application/vnd.oci.image.index.v1+json",
	"application/vnd.docker.distribution.manifest.v1+prettyjws",
	"application/json",
};

/* ---- the URL ---- */

int
manifest_url_parse(struct slice url, struct registry_url *out, struct err *e)
{
	if (!registry_url_parse(url, "manifests", out) || out->repository.n == 0 || out->reference.n == 0 ||
	    (!slice_ieq_str(out->scheme, "http") && !slice_ieq_str(out->scheme, "https")))
		return err_set(e, ERR_INVALID_ARGUMENT, "parse access url failed");
	return 0;
}

/* ---- platforms ---- */

static void
take(char out[PLATFORM_TEXT_MAX], struct slice text)
{
	size_t n = text.n < PLATFORM_TEXT_MAX - 1 ? text.n : PLATFORM_TEXT_MAX - 1;

	for (size_t i = 0; i < n; i++)
		out[i] = (char)(text.p[i] >= 'A' && text.p[i] <= 'Z' ? text.p[i] + 32 : text.p[i]);
	out[n] = '\0';
}

static void
be(char out[PLATFORM_TEXT_MAX], const char *text)
{
	take(out, slice_str(text));
}

static void
normalize(struct platform *p)
{
	static const struct { const char *name, *arch, *variant; } names[] = {
		{ "x86_64", "amd64", NULL }, { "x86-64", "amd64", NULL }, { "aarch64", "arm64", NULL }, { "i386", "386", NULL },
		{ "i686", "386", NULL }, { "armhf", "arm", "v7" }, { "armel", "arm", "v6" }, { "armv7l", "arm", "v7" }, { "armv6l", "arm", "v6" },
	};

	if (strcmp(p->os, "macos") == 0)
		be(p->os, "darwin");
	for (size_t i = 0; i < COUNT_OF(names); i++) {
		if (strcmp(p->arch, names[i].name) != 0)
			continue;
		be(p->arch, names[i].arch);
		if (names[i].variant)
			be(p->variant, names[i].variant);
		break;
	}
	if (p->variant[0] >= '0' && p->variant[0] <= '9' && p->variant[1] == '\0')
		snprintf(p->variant, sizeof p->variant, "v%c", p->variant[0]);
	if (strcmp(p->arch, "arm") == 0 && p->variant[0] == '\0')
		be(p->variant, "v7");
	if ((strcmp(p->arch, "arm64") == 0 && strcmp(p->variant, "v8") == 0) || (strcmp(p->arch, "amd64") == 0 && strcmp(p->variant, "v1") == 0))
		p->variant[0] = '\0';
}

int
platform_parse(struct slice text, struct platform *out, struct err *e)
{
	struct slice parts[3] = { { 0 } };
	struct utsname here;
	size_t n = 0;

	memset(out, 0, sizeof *out);
	while (text.n > 0) {
		ptrdiff_t slash = slice_find(text, '/');
		size_t end = slash < 0 ? text.n : (size_t)slash;

		if (n == COUNT_OF(parts) || end == 0 || end >= PLATFORM_TEXT_MAX)
			return err_set(e, ERR_INVALID_ARGUMENT, "platform is not os/arch or os/arch/variant");
		parts[n++] = slice_sub(text, 0, end);
		text = slice_sub(text, end + (slash >= 0), text.n);
	}
	be(out->os, "linux");
	if (n > 0)
		take(out->os, parts[0]);
	if (n > 1)
		take(out->arch, parts[1]);
	else
		be(out->arch, uname(&here) == 0 ? here.machine : "amd64");
	if (n > 2)
		take(out->variant, parts[2]);
	normalize(out);
	return 0;
}

const char *
platform_name(const struct platform *p, char out[PLATFORM_NAME_MAX])
{
	snprintf(out, PLATFORM_NAME_MAX, "%s/%s%s%s", p->os, p->arch, p->variant[0] ? "/" : "", p->variant);
	return out;
}

/* Newer processors run what is made for older ones: v7 takes v6. -1: the name tells no order. */
static int
rank(const struct platform *p)
{
	if (p->variant[0] == '\0')
		return strcmp(p->arch, "arm64") == 0 ? 8 : 1;
	if (p->variant[0] != 'v' || p->variant[1] < '0' || p->variant[1] > '9' || p->variant[2] != '\0')
		return -1;
	return p->variant[1] - '0';
}

static struct slice
text_of(const struct json *obj, const char *name)
{
	struct slice s = { 0 };

	(void)json_slice(json_get(obj, name), &s);
	return s;
}

/* How well an entry fits: 0 not at all. */
static int
fitness(const struct json *entry, const struct platform *want)
{
	const struct json *described = json_get(entry, "platform");
	struct platform has = { 0 };

	if (json_is_null(described))
		return 0;
	take(has.os, text_of(described, "os"));
	take(has.arch, text_of(described, "architecture"));
	take(has.variant, text_of(described, "variant"));
	normalize(&has);
	if (strcmp(has.os, want->os) != 0 || strcmp(has.arch, want->arch) != 0)
		return 0;
	if (strcmp(has.variant, want->variant) == 0)
		return 100;
	return rank(&has) >= 0 && rank(&has) < rank(want) ? 1 + rank(&has) : 0;
}

/* ---- challenges ---- */

static bool
is_token(uint8_t c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || (c != 0 && strchr("!#$%&'*+-.^_`|~/", c) != NULL);
}

static struct slice
next_word(struct slice *s)
{
	size_t n = 0;
	struct slice word;

	while (n < s->n && is_token(s->p[n]))
		n++;
	word = slice_sub(*s, 0, n);
	*s = slice_sub(*s, n, s->n);
	return word;
}

static void
skip(struct slice *s, const char *what)
{
	while (s->n > 0 && s->p[0] != 0 && strchr(what, s->p[0]) != NULL)
		*s = slice_sub(*s, 1, s->n);
}

static struct slice
quoted(struct slice *s, struct arena *a)
{
	char *out = arena_alloc(a, s->n + 1);
	size_t n = 0, i = 1;

	for (; i < s->n && s->p[i] != '"'; i++) {
		if (s->p[i] == '\\' && i + 1 < s->n)
			i++;
		if (out)
			out[n++] = (char)s->p[i];
	}
	*s = slice_sub(*s, i + 1 < s->n ? i + 1 : s->n, s->n);
	return slice_make(out, n);
}

void
challenge_read(struct slice s, struct arena *a, struct challenge *c)
{
	bool in_bearer = false;

	for (;;) {
		struct slice word, value;

		skip(&s, " \t,");
		word = next_word(&s);
		if (word.n == 0)
			return;
		skip(&s, " \t");
		if (s.n == 0 || s.p[0] != '=') {
			in_bearer = slice_ieq_str(word, "bearer") && !c->is_bearer;
			c->is_bearer = c->is_bearer || in_bearer;
			c->is_basic = c->is_basic || slice_ieq_str(word, "basic");
			continue;
		}
		skip(&s, "= \t");
		value = s.n > 0 && s.p[0] == '"' ? quoted(&s, a) : next_word(&s);
		if (in_bearer && slice_ieq_str(word, "realm"))
			c->realm = value;
		else if (in_bearer && slice_ieq_str(word, "service"))
			c->service = value;
	}
}

/* ---- documents ---- */

bool
manifest_is_digest(struct slice text)
{
	char copy[DIGEST_TEXT_MAX], hex[DIGEST_HEX_MAX];
	enum digest_kind kind;

	if (text.n == 0 || text.n >= sizeof copy || (!slice_starts(text, "sha256:") && !slice_starts(text, "sha512:")))
		return false;
	memcpy(copy, text.p, text.n);
	copy[text.n] = '\0';
	return digest_parse(copy, &kind, hex, NULL) == 0 && strcmp(copy + 7, hex) == 0;
}

static int
kind_of_type(struct slice type, enum manifest_kind *out)
{
	ptrdiff_t end = slice_find(type, ';');
	static const enum manifest_kind kinds[] = { MANIFEST_IMAGE, MANIFEST_LIST, MANIFEST_IMAGE, MANIFEST_LIST, MANIFEST_OLD };

	if (end >= 0)
		type = slice_trim(slice_sub(type, 0, (size_t)end));
	for (size_t i = 0; i < COUNT_OF(kinds); i++) {
		if (!slice_ieq_str(type, manifest_accept[i]))
			continue;
		*out = kinds[i];
		return 0;
	}
	return -1;
}

int
manifest_kind_of(const struct json *doc, struct slice content_type, enum manifest_kind *out, struct err *e)
{
	if (kind_of_type(content_type, out) == 0 || kind_of_type(text_of(doc, "mediaType"), out) == 0)
		return 0;
	if (json_get(doc, "manifests") != NULL)
		*out = MANIFEST_LIST;
	else if (json_get(doc, "layers") != NULL)
		*out = MANIFEST_IMAGE;
	else if (json_get(doc, "fsLayers") != NULL)
		*out = MANIFEST_OLD;
	else
		return err_set(e, ERR_INVALID_ARGUMENT, "the registry's answer is no manifest");
	return 0;
}

struct slice
manifest_choose(const struct json *list, const struct platform *p, struct err *e)
{
	const struct json *entries = json_get(list, "manifests");
	struct slice best = { 0 };
	int fits = 0;

	if (entries == NULL || entries->kind != JSON_ARRAY)
		entries = NULL;
	for (const struct json *it = entries ? entries->first : NULL; it; it = it->next) {
		int f = fitness(it, p);

		if (f <= fits || !manifest_is_digest(text_of(it, "digest")))
			continue;
		fits = f;
		best = text_of(it, "digest");
	}
	if (fits == 0) {
		char name[PLATFORM_NAME_MAX];

		err_set(e, ERR_NOT_FOUND, "no matching manifest for platform %s", platform_name(p, name));
	}
	return best;
}

/* False when it is none, or one too many. */
static bool
add_blob(struct slice *list, size_t *n, struct slice digest)
{
	if (!manifest_is_digest(digest))
		return false;
	for (size_t i = 0; i < *n; i++)
		if (slice_eq(list[i], digest))
			return true;
	if (*n == BLOBS_MAX)
		return false;
	list[(*n)++] = digest;
	return true;
}

int
manifest_blobs(const struct json *doc, enum manifest_kind kind, struct arena *a, struct slice **out, size_t *n, struct err *e)
{
	const struct json *layers = json_get(doc, kind == MANIFEST_OLD ? "fsLayers" : "layers");
	const struct json *config = json_get(doc, "config");
	struct slice *list = arena_alloc(a, BLOBS_MAX * sizeof *list);
	bool is_good = list != NULL;

	*n = 0;
	if (is_good && kind == MANIFEST_IMAGE && !json_is_null(config))
		is_good = add_blob(list, n, text_of(config, "digest"));
	if (layers != NULL && layers->kind == JSON_ARRAY)
		for (const struct json *it = layers->first; it && is_good; it = it->next)
			is_good = add_blob(list, n, text_of(it, kind == MANIFEST_OLD ? "blobSum" : "digest"));
	if (!is_good)
		return err_set(e, ERR_INVALID_ARGUMENT, "the manifest names something that is no digest, or more than %u layers", BLOBS_MAX);
	if (*n == 0)
		return err_set(e, ERR_INVALID_ARGUMENT, "the manifest names no layers");
	*out = list;
	return 0;
}
