/*
 * pbgen PROTO_DIR NAME OUT_DIR: reads PROTO_DIR/NAME.proto (and what it imports) and writes OUT_DIR/NAME.h and NAME.c, the C
 * structs and descriptor tables that wire/pb.h describes. Understands the part of proto3 that the API uses and refuses the
 * rest with file and line. Runs at build time, on our own files, and ends: what it allocates lives until then.
 *
 * Two comments steer it: "// pbgen: prefix NAME" (C prefix of a file, instead of the first part of its package) and
 * "// pbgen: keep_unknown" before a message.
 */
#include "pbgen.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct scalar scalars[] = {
	{"bool", "bool", "PB_BOOL"}, {"int32", "int32_t", "PB_INT32"}, {"int64", "int64_t", "PB_INT64"},
	{"uint32", "uint32_t", "PB_UINT32"}, {"uint64", "uint64_t", "PB_UINT64"}, {"double", "double", "PB_DOUBLE"},
	{"string", "struct slice", "PB_STRING"}, {"bytes", "struct slice", "PB_BYTES"},
};

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
	f = read_file(argv[1], argv[2], 0);
	for (struct file *it = files; it != NULL; it = it->next)
		name_all(it);
	resolve_all(f);
	write_header(f, argv[3]);
	write_body(f, argv[3]);
	return 0;
}
