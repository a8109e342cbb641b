#include "cmd/options.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "config/suggest.h"

/* A command line being read. */
struct reader {
	const struct program *program;
	void *out;
	bool *is_given;         /* by place in the table */
	int argc;
	char **argv;
	int next;
	bool only_positional;   /* behind "--" */
	int result;             /* OPTIONS_GO while all is well */
};

const char *
option_shown(const struct option *o, char *out, size_t size)
{
	if (o->name == NULL)
		snprintf(out, size, "<%s>", o->value);
	else if (o->value == NULL)
		snprintf(out, size, "--%s", o->name);
	else
		snprintf(out, size, "--%s <%s>", o->name, o->value);
	return out;
}

/* ---- errors ---- */

static void
print_end(void)
{
	fprintf(stderr, "\nFor more information, try '--help'.\n");
}

int
options_fail(const struct program *p, const char *fmt, ...)
{
	va_list ap;

	(void)p;
	fprintf(stderr, "error: ");
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, "\n");
	print_end();
	return OPTIONS_USAGE;
}

static void
print_usage_end(const struct program *p)
{
	fprintf(stderr, "\nUsage: %s\n", p->short_usage);
	print_end();
}

/* Control characters in what the user typed do not reach the terminal. */
static const char *
printable(const char *s, char *out, size_t size)
{
	size_t n = 0;

	for (; *s != '\0' && n + 1 < size; s++)
		out[n++] = (unsigned char)*s < 0x20 || *s == 0x7f ? '?' : *s;
	out[n] = '\0';
	return out;
}

/* The option that was probably meant (spec: config.md 3.6, the rule for keys), or NULL. */
static const char *
similar_option(const struct program *p, const char *name)
{
	size_t length = strlen(name);
	unsigned best = length <= 4 ? 2 : length <= 8 ? 3 : 4;
	const char *found = NULL;

	for (size_t i = 0; i < p->count; i++) {
		const char *other = p->options[i].name;
		unsigned distance = other != NULL ? suggest_distance(name, other, best) : best;

		if (distance < best) {
			best = distance;
			found = other;
		}
	}
	return found;
}

static void
fail_unexpected(struct reader *r, const char *arg)
{
	const char *similar = strncmp(arg, "--", 2) == 0 ? similar_option(r->program, arg + 2) : NULL;
	char text[512];

	fprintf(stderr, "error: unexpected argument '%s' found\n", printable(arg, text, sizeof text));
	if (similar != NULL)
		fprintf(stderr, "\n  tip: a similar argument exists: '--%s'\n", similar);
	print_usage_end(r->program);
	r->result = OPTIONS_USAGE;
}

static void
print_words(const struct option *o)
{
	const char *const *words = option_words(o);

	if (words == NULL)
		return;
	fprintf(stderr, "  [possible values: ");
	for (size_t i = 0; words[i] != NULL; i++)
		fprintf(stderr, "%s%s", i > 0 ? ", " : "", words[i]);
	fprintf(stderr, "]\n");
}

static void
fail_value(struct reader *r, const struct option *o, const char *value, const struct err *e)
{
	char shown[OPTION_SHOWN_MAX], text[512];

	option_shown(o, shown, sizeof shown);
	if (value[0] == '\0' && (o->kind == OPTION_PATH || o->kind == OPTION_WORD)) {
		fprintf(stderr, "error: a value is required for '%s' but none was supplied\n", shown);
		print_words(o);
	} else if (e->text[0] == '\0') {
		fprintf(stderr, "error: invalid value '%s' for '%s'\n", printable(value, text, sizeof text), shown);
		print_words(o);
	} else {
		fprintf(stderr, "error: invalid value '%s' for '%s': %s\n", printable(value, text, sizeof text), shown, e->text);
	}
	print_end();
	r->result = OPTIONS_USAGE;
}

static void
fail_missing_value(struct reader *r, const struct option *o)
{
	char shown[OPTION_SHOWN_MAX];

	fprintf(stderr, "error: a value is required for '%s' but none was supplied\n", option_shown(o, shown, sizeof shown));
	print_words(o);
	print_end();
	r->result = OPTIONS_USAGE;
}

/* ---- reading ---- */

static size_t
place_of(const struct reader *r, const struct option *o)
{
	return (size_t)(o - r->program->options);
}

/* False once reading is over. */
static bool
note_given(struct reader *r, const struct option *o)
{
	char shown[OPTION_SHOWN_MAX];
	bool *given = &r->is_given[place_of(r, o)];

	if (o->kind == OPTION_VERSION || o->kind == OPTION_HELP) {
		if (o->kind == OPTION_VERSION)
			options_print_version(r->program);
		else
			options_print_help(r->program);
		r->result = 0;
		return false;
	}
	if (*given && o->kind != OPTION_LIST) {
		fprintf(stderr, "error: the argument '%s' cannot be used multiple times\n", option_shown(o, shown, sizeof shown));
		print_usage_end(r->program);
		r->result = OPTIONS_USAGE;
		return false;
	}
	*given = true;
	return true;
}

static void
take(struct reader *r, const struct option *o, const char *value)
{
	struct err e = {0};

	if (note_given(r, o) && option_take(o, value, r->out, &e) < 0)
		fail_value(r, o, value, &e);
}

/* The value of an option in the next word. */
static void
take_next(struct reader *r, const struct option *o)
{
	const char *value = r->next < r->argc ? r->argv[r->next] : NULL;

	if (value == NULL) {
		fail_missing_value(r, o);
		return;
	}
	if (value[0] == '-' && value[1] != '\0') {
		if (strcmp(value, "--") == 0)
			fail_missing_value(r, o);
		else
			fail_unexpected(r, value);
		return;
	}
	r->next++;
	take(r, o, value);
}

static const struct option *
find_long(const struct program *p, const char *name, size_t n)
{
	for (size_t i = 0; i < p->count; i++)
		if (p->options[i].name != NULL && strlen(p->options[i].name) == n && memcmp(p->options[i].name, name, n) == 0)
			return &p->options[i];
	return NULL;
}

static void
read_long(struct reader *r, const char *arg)
{
	const char *name = arg + 2, *equals = strchr(name, '=');
	size_t n = equals != NULL ? (size_t)(equals - name) : strlen(name);
	const struct option *o = find_long(r->program, name, n);
	char text[512], *plain;

	if (o == NULL) {
		plain = xstrndup(arg, n + 2);
		fail_unexpected(r, plain);
		free(plain);
	} else if (o->value == NULL) {
		if (equals == NULL) {
			take(r, o, "");
			return;
		}
		fprintf(stderr, "error: unexpected value '%s' for '--%s' found; no more were expected\n",
		    printable(equals + 1, text, sizeof text), o->name);
		print_usage_end(r->program);
		r->result = OPTIONS_USAGE;
	} else if (equals != NULL) {
		take(r, o, equals + 1);
	} else {
		take_next(r, o);
	}
}

static void
read_short(struct reader *r, const char *arg)
{
	for (const char *at = arg + 1; *at != '\0' && r->result == OPTIONS_GO; at++) {
		const struct option *o = NULL;
		char name[3] = {'-', *at, '\0'};

		for (size_t i = 0; i < r->program->count && o == NULL; i++)
			if (r->program->options[i].letters != NULL && strchr(r->program->options[i].letters, *at) != NULL)
				o = &r->program->options[i];
		if (o == NULL) {
			fail_unexpected(r, name);
		} else if (o->value == NULL) {
			take(r, o, "");
		} else {
			if (at[1] == '\0')
				take_next(r, o);
			else
				take(r, o, at[1] == '=' ? at + 2 : at + 1);
			return;
		}
	}
}

static void
read_positional(struct reader *r, const char *arg)
{
	for (size_t i = 0; i < r->program->count; i++) {
		const struct option *o = &r->program->options[i];

		if (o->name == NULL && (!r->is_given[i] || o->kind == OPTION_LIST)) {
			take(r, o, arg);
			return;
		}
	}
	fail_unexpected(r, arg);
}

static void
read_words(struct reader *r)
{
	while (r->next < r->argc && r->result == OPTIONS_GO) {
		const char *arg = r->argv[r->next++];

		if (r->only_positional || arg[0] != '-' || arg[1] == '\0')
			read_positional(r, arg);
		else if (strcmp(arg, "--") == 0)
			r->only_positional = true;
		else if (arg[1] == '-')
			read_long(r, arg);
		else
			read_short(r, arg);
	}
}

/* ---- environment, presets, what is missing ---- */

/* Variables that are set but empty count as not set, except for texts. */
static void
read_environment(struct reader *r)
{
	for (size_t i = 0; i < r->program->count && r->result == OPTIONS_GO; i++) {
		const struct option *o = &r->program->options[i];
		const char *value = o->env != NULL && !r->is_given[i] ? getenv(o->env) : NULL;
		struct option flag = *o;
		struct option_number truth = {0};
		struct err e = {0};

		if (value == NULL || (value[0] == '\0' && o->kind != OPTION_TEXT))
			continue;
		if (o->kind != OPTION_FLAG) {
			if (option_take(o, value, r->out, &e) < 0)
				fail_value(r, o, value, &e);
			r->is_given[i] = true;
			continue;
		}
		flag.kind = OPTION_BOOL;
		flag.at = 0;
		if (option_take(&flag, value, &truth, &e) < 0)
			fail_value(r, &flag, value, &e);
		*(bool *)(void *)((char *)r->out + o->at) = truth.n != 0;
	}
}

static void
fill_presets(struct reader *r)
{
	for (size_t i = 0; i < r->program->count; i++) {
		const struct option *o = &r->program->options[i];

		if (o->preset != NULL && !r->is_given[i])
			option_take(o, o->preset, r->out, NULL);
	}
}

static void
check_required(struct reader *r)
{
	const struct program *p = r->program;
	char shown[OPTION_SHOWN_MAX];
	bool is_missing = false;

	/* Options before positional arguments. */
	for (int positional = 0; positional < 2; positional++) {
		for (size_t i = 0; i < p->count; i++) {
			const struct option *o = &p->options[i];

			if (!o->is_required || r->is_given[i] || (o->name == NULL) != (positional == 1))
				continue;
			if (!is_missing)
				fprintf(stderr, "error: the following required arguments were not provided:\n");
			is_missing = true;
			fprintf(stderr, "  %s\n", option_shown(o, shown, sizeof shown));
		}
	}
	if (is_missing) {
		print_usage_end(p);
		r->result = OPTIONS_USAGE;
	}
}

int
options_parse(const struct program *p, int argc, char **argv, void *out)
{
	struct reader r = {.program = p, .out = out, .argc = argc, .argv = argv, .next = 1, .result = OPTIONS_GO};

	r.is_given = xcalloc(p->count, sizeof *r.is_given);
	read_words(&r);
	if (r.result == OPTIONS_GO)
		read_environment(&r);
	if (r.result == OPTIONS_GO)
		check_required(&r);
	if (r.result == OPTIONS_GO)
		fill_presets(&r);
	free(r.is_given);
	return r.result;
}

void
options_free(const struct program *p, void *out)
{
	for (size_t i = 0; i < p->count; i++)
		if (p->options[i].kind == OPTION_LIST)
			free(((struct option_list *)(void *)((char *)out + p->options[i].at))->items);
}
