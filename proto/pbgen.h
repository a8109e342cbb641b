/*
 * What pbgen's reader hands to its writer: .proto files as trees. Allocations live until the program ends.
 */
#ifndef PBGEN_H
#define PBGEN_H

#include <stdbool.h>
#include <stddef.h>

#define FIELDS_MAX 64           /* PB_FIELDS_MAX of wire/pb.h */

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

/* All files read so far. */
extern struct file *files;

/* Reads DIR/NAME.proto and what it imports; ends the program with file, line and reason where it cannot. */
struct file *read_file(const char *dir, const char *name, int depth);

void fail(const struct file *f, int line, const char *fmt, ...) __attribute__((format(printf, 3, 4), noreturn));
void *zeroed(size_t n);
char *text_of(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#endif
