/* Reads the part of proto3 that the API uses, and refuses the rest. */
#include "pbgen.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NUMBER_MAX 536870911    /* largest field number */
#define IMPORT_DEPTH_MAX 8

static const char *const c_words[] = {
	"auto", "bool", "break", "case", "char", "const", "continue", "default", "do", "double", "else", "enum", "extern", "float", "for",
	"goto", "if", "inline", "int", "long", "register", "restrict", "return", "short", "signed", "sizeof", "static", "struct",
	"switch", "typedef", "union", "unsigned", "void", "volatile", "while",
};

struct file *files;

void
fail(const struct file *f, int line, const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "%s:%d: ", f->path, line);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	exit(1);
}

void *
zeroed(size_t n)
{
	void *p = calloc(1, n);

	if (p == NULL) {
		fputs("pbgen: out of memory\n", stderr);
		exit(1);
	}
	return p;
}

char *
text_of(const char *fmt, ...)
{
	va_list ap, again;
	int n;
	char *s;

	va_start(ap, fmt);
	va_copy(again, ap);
	n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	s = zeroed((size_t)n + 1);
	vsnprintf(s, (size_t)n + 1, fmt, again);
	va_end(again);
	return s;
}

static void
read_comment(struct file *f, const char *from, size_t n)
{
	char *s = text_of("%.*s", (int)n, from);
	char *mark = strstr(s, "pbgen:");
	char word[32], arg[64] = "";

	if (mark == NULL)
		return;
	if (sscanf(mark, "pbgen: %31s %63s", word, arg) < 1)
		fail(f, f->line, "pbgen comment without a word");
	if (strcmp(word, "keep_unknown") == 0)
		f->wants_unknown = true;
	else if (strcmp(word, "prefix") == 0 && arg[0] != '\0')
		f->prefix = text_of("%s", arg);
	else
		fail(f, f->line, "unknown pbgen comment \"%s\"", word);
}

static void
skip_space(struct file *f)
{
	for (;;) {
		const char *start = f->at;

		if (*f->at == '\n') {
			f->line++;
			f->at++;
		} else if (*f->at == ' ' || *f->at == '\t' || *f->at == '\r') {
			f->at++;
		} else if (f->at[0] == '/' && f->at[1] == '/') {
			while (*f->at != '\0' && *f->at != '\n')
				f->at++;
			read_comment(f, start, (size_t)(f->at - start));
		} else if (f->at[0] == '/' && f->at[1] == '*') {
			while (*f->at != '\0' && !(f->at[0] == '*' && f->at[1] == '/' && f->at > start + 2)) {
				if (*f->at == '\n')
					f->line++;
				f->at++;
			}
			if (*f->at == '\0')
				fail(f, f->line, "comment without an end");
			f->at += 2;
		} else {
			return;
		}
	}
}

/* Moves to the next token: a word (letters, digits, '_', '.'), a quoted string (with its first quote), or one character. */
static void
next(struct file *f)
{
	const char *start;

	skip_space(f);
	start = f->at;
	if (*start == '"') {
		do
			f->at++;
		while (*f->at != '"' && *f->at != '\n' && *f->at != '\0');
		if (*f->at != '"')
			fail(f, f->line, "string without an end");
		f->word = text_of("%.*s", (int)(f->at - start), start);
		f->at++;
		return;
	}
	while (isalnum((unsigned char)*f->at) || *f->at == '_' || *f->at == '.')
		f->at++;
	if (f->at == start && *start != '\0')
		f->at++;
	f->word = text_of("%.*s", (int)(f->at - start), start);
}

static bool
is_word(const struct file *f, const char *word)
{
	return strcmp(f->word, word) == 0;
}

static void
expect(struct file *f, const char *word)
{
	if (!is_word(f, word))
		fail(f, f->line, "expected \"%s\", found \"%s\"", word, f->word);
	next(f);
}

static char *
read_name(struct file *f, const char *what)
{
	char *name = f->word;

	if (!isalpha((unsigned char)name[0]) && name[0] != '_')
		fail(f, f->line, "expected %s, found \"%s\"", what, name);
	next(f);
	return name;
}

static long
read_number(struct file *f, const char *what)
{
	char *end;
	long v = strtol(f->word, &end, 10);

	if (f->word[0] == '\0' || *end != '\0' || v < 0 || v > NUMBER_MAX)
		fail(f, f->line, "expected %s, found \"%s\"", what, f->word);
	next(f);
	return v;
}

static char *
read_string(struct file *f, const char *what)
{
	char *s = f->word;

	if (s[0] != '"')
		fail(f, f->line, "expected %s in quotes, found \"%s\"", what, s);
	next(f);
	return s + 1;
}

static void
read_options(struct file *f, struct field *field)
{
	if (!is_word(f, "["))
		return;
	do {
		next(f);
		if (!is_word(f, "debug_redact"))
			fail(f, f->line, "unknown field option \"%s\"", f->word);
		next(f);
		expect(f, "=");
		expect(f, "true");
		field->is_secret = true;
	} while (is_word(f, ","));
	expect(f, "]");
}

static int
by_number(const void *a, const void *b)
{
	const struct field *const *x = a, *const *y = b;

	return ((*x)->number > (*y)->number) - ((*x)->number < (*y)->number);
}

static void
add_field(struct file *f, struct message *m, struct field *field)
{
	for (size_t i = 0; i < sizeof(c_words) / sizeof(c_words[0]); i++)
		if (strcmp(c_words[i], field->name) == 0)
			fail(f, field->line, "field name \"%s\" is a word of C", field->name);
	if (field->number < 1)
		fail(f, field->line, "field number must be at least 1");
	for (size_t i = 0; i < m->n_fields; i++) {
		if (m->fields[i]->number == field->number)
			fail(f, field->line, "field number %ld of %s is used twice", field->number, m->full);
		if (strcmp(m->fields[i]->name, field->name) == 0)
			fail(f, field->line, "field name %s of %s is used twice", field->name, m->full);
	}
	if (m->n_fields == FIELDS_MAX)
		fail(f, field->line, "more than %d fields in %s", FIELDS_MAX, m->full);
	m->fields[m->n_fields++] = field;
}

/* `label` type name = number; -- the label was read already. */
static void
read_field(struct file *f, struct message *m, enum label label, char *oneof)
{
	struct field *field = zeroed(sizeof(*field));

	field->line = f->line;
	field->label = label;
	field->oneof = oneof;
	field->type = read_name(f, "a type");
	if (strcmp(field->type, "map") == 0) {
		if (label != PLAIN)
			fail(f, f->line, "a map is neither optional, repeated nor in a oneof");
		field->label = MAP;
		expect(f, "<");
		expect(f, "string");
		expect(f, ",");
		field->type = read_name(f, "a type");
		expect(f, ">");
	}
	field->name = read_name(f, "a field name");
	expect(f, "=");
	field->number = read_number(f, "a field number");
	read_options(f, field);
	expect(f, ";");
	add_field(f, m, field);
}

static void
read_reserved(struct file *f, struct message *m)
{
	do {
		next(f);
		if (m->n_reserved == FIELDS_MAX)
			fail(f, f->line, "too many reserved numbers");
		m->reserved[m->n_reserved++] = read_number(f, "a field number");
	} while (is_word(f, ","));
	expect(f, ";");
}

static void
read_enum(struct file *f, const char *scope)
{
	struct enumeration *e = zeroed(sizeof(*e)), **last = &f->enums;
	struct value **tail = &e->values;
	char *name = read_name(f, "an enum name");

	e->full = text_of("%s.%s", scope, name);
	while (*last != NULL)
		last = &(*last)->next;
	*last = e;
	expect(f, "{");
	while (!is_word(f, "}")) {
		struct value *v = zeroed(sizeof(*v));

		v->name = read_name(f, "an enum constant");
		expect(f, "=");
		v->number = read_number(f, "a number");
		expect(f, ";");
		if (e->values == NULL && v->number != 0)
			fail(f, f->line, "the first constant of an enum must be 0");
		*tail = v;
		tail = &v->next;
	}
	if (e->values == NULL)
		fail(f, f->line, "enum %s has no constants", e->full);
	next(f);
}

static void
read_message(struct file *f, const char *scope, bool keeps_unknown)
{
	struct message *m = zeroed(sizeof(*m)), **last = &f->messages;
	char *name = read_name(f, "a message name");

	m->file = f;
	m->full = text_of("%s.%s", scope, name);
	m->keeps_unknown = keeps_unknown;
	while (*last != NULL)
		last = &(*last)->next;
	*last = m;
	expect(f, "{");
	while (!is_word(f, "}")) {
		if (is_word(f, "message")) {
			bool keep = f->wants_unknown;

			f->wants_unknown = false;
			next(f);
			read_message(f, m->full, keep);
		} else if (is_word(f, "enum")) {
			next(f);
			read_enum(f, m->full);
		} else if (is_word(f, "reserved")) {
			read_reserved(f, m);
		} else if (is_word(f, "oneof")) {
			char *oneof;

			next(f);
			oneof = read_name(f, "a oneof name");
			expect(f, "{");
			while (!is_word(f, "}"))
				read_field(f, m, ONEOF, oneof);
			next(f);
		} else if (is_word(f, "optional") || is_word(f, "repeated")) {
			enum label label = is_word(f, "optional") ? OPTIONAL : REPEATED;

			next(f);
			read_field(f, m, label, NULL);
		} else {
			read_field(f, m, PLAIN, NULL);
		}
	}
	next(f);
	for (size_t i = 0; i < m->n_fields; i++)
		for (size_t j = 0; j < m->n_reserved; j++)
			if (m->fields[i]->number == m->reserved[j])
				fail(f, m->fields[i]->line, "field number %ld of %s is reserved", m->reserved[j], m->full);
	qsort(m->fields, m->n_fields, sizeof(struct field *), by_number);
}

static char *
read_rpc_type(struct file *f, bool *streams)
{
	char *type;

	expect(f, "(");
	*streams = is_word(f, "stream");
	if (*streams)
		next(f);
	type = read_name(f, "a message type");
	expect(f, ")");
	return type;
}

static void
read_service(struct file *f)
{
	struct service *s = zeroed(sizeof(*s)), **last = &f->services;
	struct method **tail = &s->methods;

	s->name = read_name(f, "a service name");
	while (*last != NULL)
		last = &(*last)->next;
	*last = s;
	expect(f, "{");
	while (!is_word(f, "}")) {
		struct method *m = zeroed(sizeof(*m));

		expect(f, "rpc");
		m->line = f->line;
		m->name = read_name(f, "a method name");
		m->request = read_rpc_type(f, &m->client_streams);
		expect(f, "returns");
		m->response = read_rpc_type(f, &m->server_streams);
		expect(f, ";");
		*tail = m;
		tail = &m->next;
	}
	next(f);
}

static char *
read_whole(const char *path)
{
	FILE *in = fopen(path, "rb");
	char *text = NULL;
	size_t n = 0, cap = 0, got;

	if (in == NULL) {
		perror(path);
		exit(1);
	}
	do {
		cap = cap * 2 + 65536;
		text = realloc(text, cap + 1);
		if (text == NULL) {
			fputs("pbgen: out of memory\n", stderr);
			exit(1);
		}
		got = fread(text + n, 1, cap - n, in);
		n += got;
	} while (got > 0);
	fclose(in);
	text[n] = '\0';
	return text;
}

struct file *
read_file(const char *dir, const char *name, int depth)
{
	struct file *f;

	for (f = files; f != NULL; f = f->next)
		if (strcmp(f->name, name) == 0)
			return f;
	f = zeroed(sizeof(*f));
	f->name = text_of("%s", name);
	f->path = text_of("%s/%s.proto", dir, name);
	f->line = 1;
	if (depth > IMPORT_DEPTH_MAX)
		fail(f, 1, "imports nest too deeply");
	f->next = files;
	files = f;
	f->at = f->text = read_whole(f->path);
	next(f);
	expect(f, "syntax");
	expect(f, "=");
	if (strcmp(read_string(f, "a syntax"), "proto3") != 0)
		fail(f, f->line, "only proto3 is understood");
	expect(f, ";");
	while (f->word[0] != '\0') {
		bool keep = f->wants_unknown;
		char *what = read_name(f, "a declaration");

		f->wants_unknown = false;
		if (strcmp(what, "package") == 0) {
			f->package = read_name(f, "a package name");
			if (f->prefix == NULL)
				f->prefix = text_of("%.*s", (int)strcspn(f->package, "."), f->package);
			expect(f, ";");
			continue;
		}
		if (strcmp(what, "import") == 0) {
			char *import = read_string(f, "a file name");
			char *dot = strstr(import, ".proto");

			if (dot == NULL || dot[6] != '\0')
				fail(f, f->line, "import \"%s\" does not end in .proto", import);
			*dot = '\0';
			if (f->n_imports == sizeof(f->imports) / sizeof(f->imports[0]))
				fail(f, f->line, "too many imports");
			f->imports[f->n_imports++] = import;
			expect(f, ";");
			continue;
		}
		if (f->package == NULL)
			fail(f, f->line, "\"package\" must come before %s", what);
		if (strcmp(what, "message") == 0)
			read_message(f, f->package, keep);
		else if (strcmp(what, "enum") == 0)
			read_enum(f, f->package);
		else if (strcmp(what, "service") == 0)
			read_service(f);
		else
			fail(f, f->line, "unknown declaration \"%s\"", what);
	}
	if (f->package == NULL)
		fail(f, f->line, "no package");
	for (size_t i = 0; i < f->n_imports; i++)
		read_file(dir, f->imports[i], depth + 1);
	return f;
}
