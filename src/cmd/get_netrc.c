#include "cmd/get_netrc.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/read_file.h"

#define SPACE " \t\r\n"

/* The next word; quotes hold blanks together, a backslash within takes the next byte as it is. Absent at the end. */
static struct slice
next_word(struct slice *text, struct buf *quoted)
{
	struct slice word;
	size_t n = 0;

	while (text->n > 0 && strchr(SPACE, text->p[0]) != NULL && text->p[0] != '\0')
		*text = slice_sub(*text, 1, text->n);
	if (text->n == 0)
		return (struct slice){0};
	if (text->p[0] == '"') {
		buf_clear(quoted);
		for (n = 1; n < text->n && text->p[n] != '"'; n++) {
			n += text->p[n] == '\\' && n + 1 < text->n;
			buf_append_u8(quoted, text->p[n]);
		}
		*text = slice_sub(*text, n + 1, text->n);
		/* An empty word is one, too. */
		return quoted->len > 0 ? buf_slice(quoted) : slice_make("", 0);
	}
	while (n < text->n && (text->p[n] == '\0' || strchr(SPACE, text->p[n]) == NULL))
		n++;
	word = slice_sub(*text, 0, n);
	*text = slice_sub(*text, n, text->n);
	return word;
}

/* A macro goes on to the next empty line. */
static void
skip_macro(struct slice *text)
{
	while (text->n > 1 && !(text->p[0] == '\n' && text->p[1] == '\n'))
		*text = slice_sub(*text, 1, text->n);
}

bool
get_netrc_find(struct slice text, struct slice host, struct buf *out)
{
	struct buf quoted = BUF_INIT, name = BUF_INIT, secret = BUF_INIT;
	bool is_ours = false, found = false;
	struct slice word;

	while ((word = next_word(&text, &quoted)).p != NULL) {
		bool is_machine = slice_eq_str(word, "machine");

		if (is_machine || slice_eq_str(word, "default")) {
			/* The first entry that fits is the one. */
			if (found)
				break;
			is_ours = !is_machine || slice_ieq(next_word(&text, &quoted), host);
			found = is_ours;
		} else if (slice_eq_str(word, "login")) {
			word = next_word(&text, &quoted);
			if (is_ours) {
				buf_clear(&name);
				buf_append_slice(&name, word);
			}
		} else if (slice_eq_str(word, "password")) {
			word = next_word(&text, &quoted);
			if (is_ours) {
				buf_clear(&secret);
				buf_append_slice(&secret, word);
			}
		} else if (slice_eq_str(word, "account")) {
			next_word(&text, &quoted);
		} else if (slice_eq_str(word, "macdef")) {
			skip_macro(&text);
		}
	}
	if (found) {
		buf_append_slice(out, buf_slice(&name));
		buf_append_u8(out, ':');
		buf_append_slice(out, buf_slice(&secret));
	}
	buf_wipe(&quoted);
	buf_free(&name);
	buf_wipe(&secret);
	return found;
}

int
get_netrc_read(struct slice host, struct buf *out, struct err *e)
{
	const char *path = getenv("NETRC"), *home = getenv("HOME");
	char *usual = path == NULL && home != NULL ? xasprintf("%s/.netrc", home) : NULL;
	struct buf text = BUF_INIT;
	int rc = 0;

	path = path != NULL ? path : usual;
	if (path != NULL && read_file(path, GET_NETRC_MAX, &text) == 0)
		get_netrc_find(buf_slice(&text), host, out);
	else if (path != NULL && errno != ENOENT)
		rc = err_sys(e, errno, "read %s", path);
	buf_wipe(&text);
	free(usual);
	return rc;
}
