/*
 * JSON (RFC 8259): a reader into a tree, and a writer.
 *
 * The reader is strict: UTF-8 only, no comments, no trailing commas, no lone surrogates, nothing behind the value. The tree lives in the caller's
 * arena, whose limit bounds the memory: a value costs under 128 bytes besides its text, so that a limit of 64 times the
 * text fits any document.
 */
#ifndef TEXT_JSON_H
#define TEXT_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"

struct arena;
struct buf;
struct err;

/* Documents here are service answers and listings; the largest (a listing of 100 000 files) is about 20 MiB. */
#define JSON_TEXT_MAX ((size_t)64 * 1024 * 1024)
/* Arrays and objects inside each other; real ones stay below 10. */
#define JSON_DEPTH_MAX 64
/* Digits and signs of one number; a double needs 25. */
#define JSON_NUMBER_MAX 128

enum json_kind { JSON_NULL, JSON_BOOL, JSON_NUMBER, JSON_STRING, JSON_ARRAY, JSON_OBJECT };

struct json {
	enum json_kind kind;
	bool truth;             /* JSON_BOOL */
	struct slice text;      /* JSON_STRING decoded, with a NUL behind it (and perhaps NULs in it); JSON_NUMBER as written */
	struct slice name;      /* of a member, when this value is in an object */
	struct json *first;     /* of JSON_ARRAY and JSON_OBJECT, in order */
	struct json *next;
	size_t count;           /* elements or members */
};

/* NULL with INVALID_ARGUMENT "json: line L column C: ..." or RESOURCE_EXHAUSTED past a limit. The text is not needed afterwards. */
struct json *json_parse(struct arena *a, struct slice text, struct err *e);

/* The member of that name (the last one, when written twice); NULL when there is none, or obj is NULL or no object. */
const struct json *json_get(const struct json *obj, const char *name);
/* NULL and JSON null alike. */
bool json_is_null(const struct json *v);

/* 0 and the value; -1 (and *out untouched) when v is NULL, of another kind, or does not fit. Integers are taken in any form that is whole: 1e3, 2.0. */
int json_u64(const struct json *v, uint64_t *out);
int json_i64(const struct json *v, int64_t *out);
int json_double(const struct json *v, double *out);
int json_bool(const struct json *v, bool *out);
int json_slice(const struct json *v, struct slice *out);
/* The string, NUL-terminated; NULL also when it has a NUL inside. */
const char *json_cstr(const struct json *v);

/* ---- writer ---- */

/* Appends compact JSON to out, which the caller owns. Commas are placed by the writer; nesting is the caller's word. */
struct json_writer {
	struct buf *out;
	bool comma;             /* something stands before the next value */
};

void json_write_init(struct json_writer *w, struct buf *out);
void json_begin_object(struct json_writer *w);
void json_end_object(struct json_writer *w);
void json_begin_array(struct json_writer *w);
void json_end_array(struct json_writer *w);
/* Name of the next member. */
void json_write_key(struct json_writer *w, const char *name);
void json_write_key_slice(struct json_writer *w, struct slice name);
/* Bytes that are no UTF-8 become U+FFFD. An absent slice is "". */
void json_write_slice(struct json_writer *w, struct slice s);
void json_write_str(struct json_writer *w, const char *s);
void json_write_u64(struct json_writer *w, uint64_t v);
void json_write_i64(struct json_writer *w, int64_t v);
/* Infinite and NaN, which JSON lacks, are written as null. */
void json_write_double(struct json_writer *w, double v);
void json_write_bool(struct json_writer *w, bool v);
void json_write_null(struct json_writer *w);

#endif
