#include "text/diff.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/mem.h"

struct lines {
	struct slice *at;       /* each with its line end */
	size_t count;
};

/* One line of the outcome: ' ', '-' or '+'. */
struct step {
	char sign;
	struct slice line;
};

struct script {
	struct step *steps;
	size_t count;
};

static struct lines
split(struct slice s)
{
	struct lines l = {0};
	size_t cap = 0;

	while (s.n > 0) {
		ptrdiff_t end = slice_find(s, '\n');
		size_t n = end >= 0 ? (size_t)end + 1 : s.n;

		if (l.count == cap) {
			cap = cap > 0 ? 2 * cap : 64;
			l.at = xrealloc(l.at, cap * sizeof(*l.at));
		}
		l.at[l.count++] = slice_sub(s, 0, n);
		s = slice_sub(s, n, s.n);
	}
	return l;
}

static void
add(struct script *s, char sign, struct slice line)
{
	s->steps[s->count++] = (struct step){sign, line};
}

/* The part between what both have at the start and at the end, by the longest common sequence of lines. */
static void
compare(struct script *s, const struct slice *a, size_t n, const struct slice *b, size_t m)
{
	size_t i = 0, k = 0, width = m + 1;
	uint16_t *longest = NULL;

	if (n > 0 && m > 0 && n < UINT16_MAX && m < UINT16_MAX && (n + 1) <= DIFF_CELLS_MAX / width) {
		longest = xcalloc((n + 1) * width, sizeof(*longest));
		for (size_t x = n; x-- > 0;)
			for (size_t y = m; y-- > 0;) {
				uint16_t down = longest[(x + 1) * width + y], right = longest[x * width + y + 1];

				longest[x * width + y] = slice_eq(a[x], b[y]) ? (uint16_t)(longest[(x + 1) * width + y + 1] + 1) : down >= right ? down : right;
			}
	}
	while (longest != NULL && i < n && k < m) {
		if (slice_eq(a[i], b[k])) {
			add(s, ' ', a[i++]);
			k++;
		} else if (longest[(i + 1) * width + k] >= longest[i * width + k + 1]) {
			add(s, '-', a[i++]);
		} else {
			add(s, '+', b[k++]);
		}
	}
	while (i < n)
		add(s, '-', a[i++]);
	while (k < m)
		add(s, '+', b[k++]);
	free(longest);
}

static void
put_line(struct buf *out, const struct step *s)
{
	buf_append_u8(out, (uint8_t)s->sign);
	buf_append_slice(out, s->line);
	if (!slice_ends(s->line, "\n"))
		buf_append_str(out, "\n\\ No newline at end of file\n");
}

/* "12,3": where lines begin and how many; with none the line before them. */
static void
put_range(struct buf *out, char sign, size_t before, size_t count)
{
	buf_printf(out, "%c%zu,%zu ", sign, count > 0 ? before + 1 : before, count);
}

static void
put_hunk(struct buf *out, const struct script *s, size_t from, size_t to, size_t old_line, size_t new_line)
{
	size_t olds = 0, news = 0;

	for (size_t i = from; i < to; i++) {
		olds += s->steps[i].sign != '+';
		news += s->steps[i].sign != '-';
	}
	buf_append_str(out, "@@ ");
	put_range(out, '-', old_line, olds);
	put_range(out, '+', new_line, news);
	buf_append_str(out, "@@\n");
	for (size_t i = from; i < to; i++)
		put_line(out, &s->steps[i]);
}

static void
put_hunks(struct buf *out, const struct script *s)
{
	size_t old_line = 0, new_line = 0, done = 0;

	for (size_t i = 0; i < s->count;) {
		size_t from, last = i, end;

		if (s->steps[i].sign == ' ') {
			i++;
			continue;
		}
		/* The change, and those that follow so near that their surroundings meet. */
		for (end = i; end < s->count && end - last <= 2 * DIFF_AROUND + 1; end++)
			if (s->steps[end].sign != ' ')
				last = end;
		from = i - done > DIFF_AROUND ? i - DIFF_AROUND : done;
		for (; done < from; done++) {
			old_line++;
			new_line++;
		}
		end = s->count - last - 1 > DIFF_AROUND ? last + 1 + DIFF_AROUND : s->count;
		put_hunk(out, s, from, end, old_line, new_line);
		for (; done < end; done++) {
			old_line += s->steps[done].sign != '+';
			new_line += s->steps[done].sign != '-';
		}
		i = end;
	}
}

void
diff_unified(const char *old_name, struct slice old_text, const char *new_name, struct slice new_text, struct buf *out)
{
	struct lines a, b;
	struct script s = {0};
	size_t head = 0, tail = 0;

	if (slice_eq(old_text, new_text))
		return;
	a = split(old_text);
	b = split(new_text);
	s.steps = xcalloc(a.count + b.count + 1, sizeof(*s.steps));
	while (head < a.count && head < b.count && slice_eq(a.at[head], b.at[head]))
		add(&s, ' ', a.at[head++]);
	while (tail < a.count - head && tail < b.count - head && slice_eq(a.at[a.count - tail - 1], b.at[b.count - tail - 1]))
		tail++;
	compare(&s, a.at + head, a.count - head - tail, b.at + head, b.count - head - tail);
	for (size_t i = a.count - tail; i < a.count; i++)
		add(&s, ' ', a.at[i]);
	buf_printf(out, "--- %s\n+++ %s\n", old_name, new_name);
	put_hunks(out, &s);
	free(s.steps);
	free(a.at);
	free(b.at);
}
