#include "config/suggest.h"

#include <string.h>
#include <strings.h>

#include "base/buf.h"
#include "config/schema.h"

/* No key is longer; what is longer is no slip of a key. */
#define NAME_MAX_BYTES 64

static unsigned
least(unsigned a, unsigned b)
{
	return a < b ? a : b;
}

unsigned
suggest_distance(const char *a, const char *b, unsigned max)
{
	unsigned rows[3][NAME_MAX_BYTES + 1];
	unsigned *before = rows[0];
	unsigned *above = rows[1];
	unsigned *row = rows[2];
	size_t n = strlen(a);
	size_t m = strlen(b);

	if (n > NAME_MAX_BYTES || m > NAME_MAX_BYTES)
		return max + 1;
	memset(rows, 0, sizeof(rows));
	for (unsigned k = 0; k <= m; k++)
		above[k] = k;
	for (size_t i = 1; i <= n; i++) {
		unsigned *spare = before;

		row[0] = (unsigned)i;
		for (size_t k = 1; k <= m; k++) {
			row[k] = least(above[k] + 1, row[k - 1] + 1);
			row[k] = least(row[k], above[k - 1] + (a[i - 1] != b[k - 1]));
			if (i > 1 && k > 1 && a[i - 1] == b[k - 2] && a[i - 2] == b[k - 1])
				row[k] = least(row[k], before[k - 2] + 1);
		}
		before = above;
		above = row;
		row = spare;
	}
	return above[m] <= max ? above[m] : max + 1;
}

/* The dotted place of the first table below s that has the key, appended to path; false when there is none. */
static bool
find_place(const struct schema *s, const char *key, struct buf *path)
{
	for (size_t i = 0; i < s->count; i++)
		if (path->len > 0 && strcmp(s->keys[i].name, key) == 0)
			return true;
	for (size_t i = 0; i < s->count; i++) {
		size_t mark = path->len;

		if (s->keys[i].table == NULL)
			continue;
		buf_printf(path, "%s%s%s", mark > 0 ? "." : "", s->keys[i].name, s->keys[i].type == SCHEMA_SECTION ? "" : "[]");
		if (find_place(s->keys[i].table, key, path))
			return true;
		path->len = mark;
	}
	return false;
}

/* The dotted path of table `here` below s, appended to path. */
static bool
find_table(const struct schema *s, const struct schema *here, struct buf *path)
{
	if (s == here)
		return true;
	for (size_t i = 0; i < s->count; i++) {
		size_t mark = path->len;

		if (s->keys[i].table == NULL)
			continue;
		buf_printf(path, "%s%s%s", mark > 0 ? "." : "", s->keys[i].name, s->keys[i].type == SCHEMA_SECTION ? "" : "[]");
		if (find_table(s->keys[i].table, here, path))
			return true;
		path->len = mark;
	}
	return false;
}

void
suggest_key(const struct schema *here, const struct schema *root, const char *key, struct buf *out)
{
	struct buf path = BUF_INIT;
	size_t len = strlen(key);
	unsigned best = len <= 4 ? 1 : len <= 8 ? 2 : 3;
	const char *found = NULL;

	for (size_t i = 0; i < here->count && found == NULL; i++)
		if (strcasecmp(here->keys[i].name, key) == 0)
			found = here->keys[i].name;
	for (size_t i = 0; i < here->count && (found == NULL || best > 0); i++) {
		unsigned distance = suggest_distance(here->keys[i].name, key, best);

		if (found && strcasecmp(found, key) == 0)
			break;
		if (distance < best || (found == NULL && distance == best)) {
			found = here->keys[i].name;
			best = distance;
		}
	}
	if (found) {
		buf_printf(out, "; did you mean \"%s\"?", found);
		return;
	}
	/* A place below this one is likelier than any other. */
	if (!(find_table(root, here, &path) && path.len > 0 && find_place(here, key, &path))) {
		buf_clear(&path);
		if (!find_place(root, key, &path))
			buf_clear(&path);
	}
	if (path.len > 0)
		buf_printf(out, "; \"%s\" belongs under \"%s\"", key, buf_cstr(&path));
	buf_free(&path);
}
