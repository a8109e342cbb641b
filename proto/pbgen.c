/*
 * pbgen PROTO_DIR NAME OUT_DIR: reads PROTO_DIR/NAME.proto (and what it imports) and writes OUT_DIR/NAME.h and NAME.c, the C
 * structs and descriptor tables that wire/pb.h describes. Understands the part of proto3 that the API uses and refuses the
 * rest with file and line. Runs at build time, on our own files, and ends: what it allocates lives until then.
 *
 * Two comments steer it: "// pbgen: prefix NAME" (C prefix of a file, instead of the first part of its package) and
 * "// pbgen: keep_unknown" before a message.
 */
#include <ctype.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIELDS_MAX 64           /* PB_FIELDS_MAX of wire/pb.h */
#define NUMBER_MAX 536870911    /* largest field number */
#define IMPORT_DEPTH_MAX 8

struct file;
struct message;
struct enumeration;

struct value {
	struct value *next;
	char *name;
	long number;
};

struct enumeration {
	struct enumeration *next;
	char *full;             /* package.Outer.Name */
	char *c_name;           /* pkg_outer_name */
	struct value *values;
};

enum label { PLAIN, OPTIONAL, REPEATED, MAP, ONEOF };

struct field {
	char *name;
	char *type;             /* as written; of a map: its value */
	long number;
	enum label label;
	bool is_secret;
	char *oneof;            /* name of the oneof around it, or NULL */
	int line;
	struct message *message;        /* what `type` means: one of these, or a scalar */
	struct enumeration *enumeration;
	const struct scalar *scalar;
};

struct message {
	struct message *next;
	struct file *file;
	char *full;
	char *c_name;
	bool keeps_unknown;
	struct field *fields[FIELDS_MAX];
	size_t n_fields;
	long reserved[FIELDS_MAX];
	size_t n_reserved;
};

struct method {
	struct method *next;
	char *name;
	char *request;
	char *response;
	struct message *in;
	struct message *out;
	bool client_streams;
	bool server_streams;
	int line;
};

struct service {
	struct service *next;
	char *name;
	struct method *methods;
};

struct file {
	struct file *next;
	char *name;             /* "common" */
	char *path;
	char *package;
	char *prefix;
	char *imports[32];
	size_t n_imports;
	struct message *messages;
	struct enumeration *enums;
	struct service *services;
	/* Reader. */
	char *text;
	const char *at;
	int line;
	char *word;             /* current token, "" at the end */
	bool wants_unknown;     /* a keep_unknown comment waits for its message */
};

struct scalar {
	const char *name;
	const char *c_type;
	const char *pb_type;
};

static const struct scalar scalars[] = {
	{"bool", "bool", "PB_BOOL"}, {"int32", "int32_t", "PB_INT32"}, {"int64", "int64_t", "PB_INT64"},
	{"uint32", "uint32_t", "PB_UINT32"}, {"uint64", "uint64_t", "PB_UINT64"}, {"double", "double", "PB_DOUBLE"},
	{"string", "struct slice", "PB_STRING"}, {"bytes", "struct slice", "PB_BYTES"},
};

static const char *const c_words[] = {
	"auto", "bool", "break", "case", "char", "const", "continue", "default", "do", "double", "else", "enum", "extern", "float", "for",
	"goto", "if", "inline", "int", "long", "register", "restrict", "return", "short", "signed", "sizeof", "static", "struct",
	"switch", "typedef", "union", "unsigned", "void", "volatile", "while",
};

static struct file *files;
static const char *proto_dir;

static void fail(const struct file *f, int line, const char *fmt, ...) __attribute__((format(printf, 3, 4), noreturn));
static char *text_of(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

static void
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

static void *
zeroed(size_t n)
{
	void *p = calloc(1, n);

	if (p == NULL) {
		fputs("pbgen: out of memory\n", stderr);
		exit(1);
	}
	return p;
}

static char *
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

/* CamelCase.Inner -> camel_case_inner: a capital starts a word unless it goes on a run of capitals. */
static char *
snake(const char *name)
{
	char *out = zeroed(2 * strlen(name) + 1);
	size_t n = 0;

	for (size_t i = 0; name[i] != '\0'; i++) {
		unsigned char c = (unsigned char)name[i];
		unsigned char before = i > 0 ? (unsigned char)name[i - 1] : '.';

		if (c == '.') {
			out[n++] = '_';
			continue;
		}
		if (isupper(c) && before != '.' && before != '_' &&
		    (!isupper(before) || islower((unsigned char)name[i + 1])))
			out[n++] = '_';
		out[n++] = (char)tolower(c);
	}
	return out;
}

static char *
upper(const char *s)
{
	char *out = text_of("%s", s);

	for (char *p = out; *p != '\0'; p++)
		*p = (char)toupper((unsigned char)*p);
	return out;
}

/* ---- reading ---- */

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

static struct file *
read_file(const char *name, int depth)
{
	struct file *f;

	for (f = files; f != NULL; f = f->next)
		if (strcmp(f->name, name) == 0)
			return f;
	f = zeroed(sizeof(*f));
	f->name = text_of("%s", name);
	f->path = text_of("%s/%s.proto", proto_dir, name);
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
		read_file(f->imports[i], depth + 1);
	return f;
}

/* ---- what names mean ---- */

static void
name_all(struct file *f)
{
	size_t skip = strlen(f->package) + 1;

	for (struct message *m = f->messages; m != NULL; m = m->next)
		m->c_name = text_of("%s_%s", f->prefix, snake(m->full + skip));
	for (struct enumeration *e = f->enums; e != NULL; e = e->next)
		e->c_name = text_of("%s_%s", f->prefix, snake(e->full + skip));
}

/* Looks `name` up from the innermost scope outwards, then as a full name. */
static void
look_up(const char *scope, const char *name, struct message **m, struct enumeration **e)
{
	char *around = text_of("%s", scope);

	*m = NULL;
	*e = NULL;
	for (;;) {
		char *full = around[0] != '\0' ? text_of("%s.%s", around, name) : text_of("%s", name);
		char *dot;

		for (struct file *f = files; f != NULL; f = f->next) {
			for (struct message *it = f->messages; it != NULL; it = it->next)
				if (strcmp(it->full, full) == 0) {
					*m = it;
					return;
				}
			for (struct enumeration *it = f->enums; it != NULL; it = it->next)
				if (strcmp(it->full, full) == 0) {
					*e = it;
					return;
				}
		}
		if (around[0] == '\0')
			return;
		dot = strrchr(around, '.');
		*(dot != NULL ? dot : around) = '\0';
	}
}

static void
resolve_field(struct file *f, const struct message *m, struct field *field)
{
	for (size_t i = 0; i < sizeof(scalars) / sizeof(scalars[0]); i++)
		if (strcmp(scalars[i].name, field->type) == 0) {
			field->scalar = &scalars[i];
			if (field->label == MAP && strcmp(field->type, "string") != 0)
				fail(f, field->line, "map<string, %s> is not understood", field->type);
			return;
		}
	look_up(m->full, field->type, &field->message, &field->enumeration);
	if (field->message == NULL && field->enumeration == NULL)
		fail(f, field->line, "unknown type \"%s\" of field %s", field->type, field->name);
	if (field->label == MAP && field->message == NULL)
		fail(f, field->line, "map<string, %s> is not understood", field->type);
}

static struct message *
resolve_rpc(struct file *f, const struct method *m, const char *type)
{
	struct message *found;
	struct enumeration *e;

	look_up(f->package, type, &found, &e);
	if (found == NULL)
		fail(f, m->line, "unknown message \"%s\" of method %s", type, m->name);
	return found;
}

static void
resolve_all(struct file *f)
{
	for (struct message *m = f->messages; m != NULL; m = m->next)
		for (size_t i = 0; i < m->n_fields; i++)
			resolve_field(f, m, m->fields[i]);
	for (struct service *s = f->services; s != NULL; s = s->next)
		for (struct method *m = s->methods; m != NULL; m = m->next) {
			m->in = resolve_rpc(f, m, m->request);
			m->out = resolve_rpc(f, m, m->response);
		}
}

/* ---- writing ---- */

static FILE *
create(const char *dir, const char *name, const char *ending, const struct file *f)
{
	char *path = text_of("%s/%s.%s", dir, name, ending);
	FILE *out = fopen(path, "wb");

	if (out == NULL) {
		perror(path);
		exit(1);
	}
	fprintf(out, "/* Written by pbgen from %s.proto; changes belong there. */\n", f->name);
	return out;
}

static void
finish(FILE *out, const char *name)
{
	bool is_bad = ferror(out) != 0;

	if (fclose(out) != 0 || is_bad) {
		fprintf(stderr, "pbgen: write of %s failed\n", name);
		exit(1);
	}
}

static char *
entry_name(const struct message *m, const struct field *field)
{
	return text_of("%s_%s_entry", m->c_name, field->name);
}

static void
write_members(FILE *out, const struct message *m)
{
	const char *oneof = "";

	for (size_t i = 0; i < m->n_fields; i++) {
		const struct field *f = m->fields[i];
		const char *type = f->scalar != NULL ? f->scalar->c_type : "int32_t";

		if (f->oneof != NULL && strcmp(f->oneof, oneof) != 0) {
			fprintf(out, "\tint %s_case;\n", f->oneof);
			oneof = f->oneof;
		}
		if (f->label == MAP)
			fprintf(out, "\tstruct %s *%s;\n", f->scalar != NULL ? "pb_pair" : entry_name(m, f), f->name);
		else if (f->message != NULL)
			fprintf(out, "\tstruct %s *%s;\n", f->message->c_name, f->name);
		else if (f->label == REPEATED)
			fprintf(out, "\t%s *%s;\n", type, f->name);
		else if (f->label == OPTIONAL && strcmp(type, "struct slice") != 0)
			fprintf(out, "\tbool has_%s;\n\t%s %s;\n", f->name, type, f->name);
		else
			fprintf(out, "\t%s %s;\n", type, f->name);
		if (f->label == MAP || f->label == REPEATED)
			fprintf(out, "\tsize_t n_%s;\n", f->name);
	}
	if (m->keeps_unknown)
		fputs("\tstruct slice unknown_fields;\n", out);
	else if (m->n_fields == 0)
		fputs("\tchar no_fields;\n", out);
}

static void
write_message_header(FILE *out, const struct message *m)
{
	bool has_oneof = false;

	for (size_t i = 0; i < m->n_fields; i++)
		if (m->fields[i]->label == MAP && m->fields[i]->scalar == NULL)
			fprintf(out, "\nstruct %s {\n\tstruct slice key;\n\tstruct %s *value;\n};\n", entry_name(m, m->fields[i]),
			    m->fields[i]->message->c_name);
	fprintf(out, "\nstruct %s {\n", m->c_name);
	write_members(out, m);
	fputs("};\n", out);
	for (size_t i = 0; i < m->n_fields; i++)
		if (m->fields[i]->oneof != NULL) {
			fprintf(out, "%s\t%s_%s = %ld,\n", has_oneof ? "" : "\nenum {\n", upper(m->c_name), upper(m->fields[i]->name),
			    m->fields[i]->number);
			has_oneof = true;
		}
	if (has_oneof)
		fputs("};\n", out);
	fprintf(out, "\nextern const struct pb_desc %s_desc;\n", m->c_name);
}

static void
write_header(const struct file *f, const char *out_dir)
{
	FILE *out = create(out_dir, f->name, "h", f);
	char *guard = upper(f->name);

	fprintf(out, "#ifndef PROTO_%s_H\n#define PROTO_%s_H\n\n#include \"wire/pb.h\"\n", guard, guard);
	for (size_t i = 0; i < f->n_imports; i++)
		fprintf(out, "#include \"proto/%s.h\"\n", f->imports[i]);
	for (const struct enumeration *e = f->enums; e != NULL; e = e->next) {
		fprintf(out, "\nenum %s {\n", e->c_name);
		for (const struct value *v = e->values; v != NULL; v = v->next)
			fprintf(out, "\t%s_%s = %ld,\n", upper(e->c_name), v->name, v->number);
		fprintf(out, "};\n\nextern const struct pb_enum_name %s_names[];\n", e->c_name);
	}
	fputc('\n', out);
	for (const struct message *m = f->messages; m != NULL; m = m->next)
		fprintf(out, "struct %s;\n", m->c_name);
	for (const struct message *m = f->messages; m != NULL; m = m->next)
		write_message_header(out, m);
	for (const struct service *s = f->services; s != NULL; s = s->next) {
		char *c_name = text_of("%s_%s", f->prefix, snake(s->name));

		fputc('\n', out);
		for (const struct method *m = s->methods; m != NULL; m = m->next)
			fprintf(out, "#define %s_%s \"/%s.%s/%s\"\n", upper(c_name), upper(snake(m->name)), f->package, s->name, m->name);
		fputs("\nenum {\n", out);
		for (const struct method *m = s->methods; m != NULL; m = m->next)
			fprintf(out, "\t%s_%s_AT,\n", upper(c_name), upper(snake(m->name)));
		fprintf(out, "};\n\nextern const struct pb_service %s_service;\n", c_name);
	}
	fputs("\n#endif\n", out);
	finish(out, f->name);
}

static void
write_field(FILE *out, const struct message *m, const struct field *f)
{
	static const char *const labels[] = {"PB_PLAIN", "PB_OPTIONAL", "PB_REPEATED", "PB_MAP", "PB_ONEOF"};
	const char *type = f->scalar != NULL && f->label != MAP ? f->scalar->pb_type : f->enumeration != NULL ? "PB_ENUM" : "PB_MESSAGE";
	bool is_counted = f->label == REPEATED || f->label == MAP;
	bool has_flag = f->label == OPTIONAL && f->message == NULL &&
	    (f->scalar == NULL || strcmp(f->scalar->c_type, "struct slice") != 0);

	fprintf(out, "\t{\"%s\", %ld, %s, %s, %s, offsetof(struct %s, %s), ", f->name, f->number, type, labels[f->label],
	    f->is_secret ? "true" : "false", m->c_name, f->name);
	if (is_counted)
		fprintf(out, "offsetof(struct %s, n_%s), ", m->c_name, f->name);
	else if (f->oneof != NULL)
		fprintf(out, "offsetof(struct %s, %s_case), ", m->c_name, f->oneof);
	else if (has_flag)
		fprintf(out, "offsetof(struct %s, has_%s), ", m->c_name, f->name);
	else
		fputs("0, ", out);
	if (f->label == MAP)
		fprintf(out, "&%s_desc, ", f->scalar != NULL ? "pb_pair" : entry_name(m, f));
	else if (f->message != NULL)
		fprintf(out, "&%s_desc, ", f->message->c_name);
	else
		fputs("NULL, ", out);
	if (f->enumeration != NULL)
		fprintf(out, "%s_names},\n", f->enumeration->c_name);
	else
		fputs("NULL},\n", out);
}

static void
write_message_body(FILE *out, const struct message *m)
{
	for (size_t i = 0; i < m->n_fields; i++) {
		const struct field *f = m->fields[i];
		char *entry;

		if (f->label != MAP || f->scalar != NULL)
			continue;
		entry = entry_name(m, f);
		fprintf(out, "\nstatic const struct pb_field %s_fields[] = {\n", entry);
		fprintf(out, "\t{\"key\", 1, PB_STRING, PB_ALWAYS, false, offsetof(struct %s, key), 0, NULL, NULL},\n", entry);
		fprintf(out, "\t{\"value\", 2, PB_MESSAGE, PB_ALWAYS, false, offsetof(struct %s, value), 0, &%s_desc, NULL},\n};\n", entry,
		    f->message->c_name);
		fprintf(out, "\nstatic const struct pb_desc %s_desc = {\"%s.%s\", %s_fields, 2, sizeof(struct %s), PB_NO_UNKNOWN};\n", entry,
		    m->full, f->name, entry, entry);
	}
	if (m->n_fields > 0) {
		fprintf(out, "\nstatic const struct pb_field %s_fields[] = {\n", m->c_name);
		for (size_t i = 0; i < m->n_fields; i++)
			write_field(out, m, m->fields[i]);
		fputs("};\n", out);
	}
	fprintf(out, "\nconst struct pb_desc %s_desc = {\"%s\", %s%s, %zu, sizeof(struct %s), ", m->c_name, m->full,
	    m->n_fields > 0 ? m->c_name : "NULL", m->n_fields > 0 ? "_fields" : "", m->n_fields, m->c_name);
	if (m->keeps_unknown)
		fprintf(out, "offsetof(struct %s, unknown_fields)};\n", m->c_name);
	else
		fputs("PB_NO_UNKNOWN};\n", out);
}

static void
write_body(const struct file *f, const char *out_dir)
{
	FILE *out = create(out_dir, f->name, "c", f);

	fprintf(out, "#include \"proto/%s.h\"\n", f->name);
	for (const struct enumeration *e = f->enums; e != NULL; e = e->next) {
		fprintf(out, "\nconst struct pb_enum_name %s_names[] = {\n", e->c_name);
		for (const struct value *v = e->values; v != NULL; v = v->next)
			fprintf(out, "\t{%ld, \"%s\"},\n", v->number, v->name);
		fputs("\t{0, NULL},\n};\n", out);
	}
	for (const struct message *m = f->messages; m != NULL; m = m->next)
		write_message_body(out, m);
	for (const struct service *s = f->services; s != NULL; s = s->next) {
		char *c_name = text_of("%s_%s", f->prefix, snake(s->name));

		fprintf(out, "\nstatic const struct pb_method %s_methods[] = {\n", c_name);
		for (const struct method *m = s->methods; m != NULL; m = m->next)
			fprintf(out, "\t{\"%s\", %s_%s, &%s_desc, &%s_desc, %s, %s},\n", m->name, upper(c_name), upper(snake(m->name)),
			    m->in->c_name, m->out->c_name, m->client_streams ? "true" : "false", m->server_streams ? "true" : "false");
		fprintf(out, "};\n\nconst struct pb_service %s_service = {\"%s.%s\", %s_methods,\n", c_name, f->package, s->name, c_name);
		fprintf(out, "\tsizeof(%s_methods) / sizeof(%s_methods[0])};\n", c_name, c_name);
	}
	finish(out, f->name);
}

int
main(int argc, char **argv)
{
	struct file *f;

	if (argc != 4) {
		fputs("usage: pbgen PROTO_DIR NAME OUT_DIR\n", stderr);
		return 2;
	}
	proto_dir = argv[1];
	f = read_file(argv[2], 0);
	for (struct file *it = files; it != NULL; it = it->next)
		name_all(it);
	resolve_all(f);
	write_header(f, argv[3]);
	write_body(f, argv[3]);
	return 0;
}
