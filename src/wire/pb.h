/*
 * Protobuf (proto3) between bytes and plain structs, driven by the tables that proto/pbgen writes from proto/NAME.proto into
 * "proto/NAME.h". Pure: no descriptor, no clock, no state.
 *
 * How a .proto turns into C (the first part of the package is the prefix, e.g. "scheduler" of scheduler.v2):
 *   message scheduler.v2.AnnouncePeerRequest    struct scheduler_announce_peer_request, descriptor scheduler_announce_peer_request_desc
 *   nested message Outer.Inner                  struct pkg_outer_inner
 *   google.protobuf.Duration, google.rpc.Status struct google_duration, struct google_status
 *   grpc.health.v1.HealthCheckRequest           struct health_health_check_request
 *   enum Priority { LEVEL0 = 0; }               enum common_priority { COMMON_PRIORITY_LEVEL0 = 0 }; the field is an int32_t
 *   int32 x (int64, uint32, uint64, bool, ...)  the C type
 *   optional int32 x                            bool has_x; int32_t x;
 *   string x, bytes x                           struct slice x; x.p == NULL means absent
 *   optional string x                           the same, and a present empty one has x.p != NULL, x.n == 0
 *   Message x (optional or not)                 struct message *x; NULL means absent
 *   repeated T x                                T *x; size_t n_x; an array by value (strings: struct slice)
 *   map<string, string> x                       struct pb_pair *x; size_t n_x; keys are unique after decoding
 *   map<string, Message> x                      struct pkg_outer_x_entry { struct slice key; struct message *value; } *x; size_t n_x;
 *   oneof choice { A a = 4; B b = 5; }          int choice_case; (4, 5, or 0 for none) beside the plain members a and b.
 *                                               Constants: PKG_MESSAGE_A = 4, PKG_MESSAGE_B = 5
 *   "// pbgen: keep_unknown" before a message   struct slice unknown_fields: what the sender knew and we do not, sent on unchanged
 *   service S { rpc Do(...) ... }               #define PKG_S_DO "/pkg.v2.S/Do", PKG_S_DO_AT its place in pkg_s_service.methods
 *
 * A zeroed struct is the empty message, so `struct common_range r = {.start = 5}` is complete.
 */
#ifndef WIRE_PB_H
#define WIRE_PB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"

struct arena;
struct buf;
struct err;

/* Messages inside messages; the deepest real one is 6 (prost allows 100). */
#define PB_DEPTH_MAX 64
/* Bytes of one message; what a peer may send is limited before that by the gRPC layer (4 MiB at servers). A piece of 64 MiB
 * with its metadata fits. */
#define PB_MESSAGE_MAX ((size_t)80 << 20)
/* Elements of all repeated fields of one message together, nested ones included: pieces, hosts, headers. */
#define PB_ELEMENTS_MAX ((size_t)1 << 20)
/* Entries of one map: header fields, most. Each new key is compared with those before it. */
#define PB_MAP_MAX 512
/* A singular message that comes in parts is put together; each part may copy the arrays before it, and no known sender does it. */
#define PB_MERGES_MAX 32
/* Fields of one message type; pbgen refuses more. */
#define PB_FIELDS_MAX 64

enum pb_type {
	PB_BOOL, PB_INT32, PB_INT64, PB_UINT32, PB_UINT64, PB_ENUM, PB_DOUBLE, PB_STRING, PB_BYTES, PB_MESSAGE,
};

enum pb_label {
	PB_PLAIN,       /* absent means zero or empty; a message: NULL */
	PB_OPTIONAL,    /* `aux` is the offset of has_x; not used by strings, bytes and messages */
	PB_REPEATED,    /* `aux` is the offset of n_x */
	PB_MAP,         /* the same, and entries with equal keys replace each other */
	PB_ONEOF,       /* `aux` is the offset of the int with the number of the member that is set */
	PB_ALWAYS,      /* written even when empty: key and value of a map entry */
};

struct pb_desc;

struct pb_enum_name {
	int32_t number;
	const char *name;
};

struct pb_field {
	const char *name;
	uint32_t number;
	uint8_t type;                           /* enum pb_type */
	uint8_t label;                          /* enum pb_label */
	bool is_secret;                         /* pb_print shows "..."; [debug_redact = true] in the .proto */
	uint32_t offset;                        /* of the member in the struct */
	uint32_t aux;
	const struct pb_desc *sub;              /* of a message, map or repeated message */
	const struct pb_enum_name *names;       /* of an enum, ended by a NULL name */
};

#define PB_NO_UNKNOWN UINT32_MAX

struct pb_desc {
	const char *name;                       /* "common.v2.Download" */
	const struct pb_field *fields;          /* ascending numbers */
	size_t n_fields;
	size_t size;                            /* of the struct */
	uint32_t unknown_at;                    /* offset of unknown_fields, or PB_NO_UNKNOWN */
};

struct pb_method {
	const char *name;                       /* "AnnouncePeer" */
	const char *path;                       /* "/scheduler.v2.Scheduler/AnnouncePeer" */
	const struct pb_desc *request;
	const struct pb_desc *response;
	bool client_streams;
	bool server_streams;
};

struct pb_service {
	const char *name;                       /* "scheduler.v2.Scheduler" */
	const struct pb_method *methods;
	size_t n_methods;
};

/* Entry of map<string, string>. */
struct pb_pair {
	struct slice key;
	struct slice value;
};

extern const struct pb_desc pb_pair_desc;

/* Fills `out` (desc->size bytes, zeroed first) from `in`. Strings and bytes point into `in`, which must live as long as the
 * message does; arrays and sub-messages lie in the arena, whose limit also bounds what hostile input can make of few bytes.
 * -1 with INTERNAL "failed to decode Protobuf message: ..." for bad input (strings must be UTF-8), RESOURCE_EXHAUSTED past
 * a limit; `out` is then not to be used. */
int pb_decode(const struct pb_desc *desc, struct slice in, struct arena *a, void *out, struct err *e);
/* The same from a copy of `in` in the arena: the message then depends on the arena alone. */
int pb_decode_copy(const struct pb_desc *desc, struct slice in, struct arena *a, void *out, struct err *e);

/* Appends the one canonical form: ascending field numbers, repeated scalars packed, kept unknown fields last. */
void pb_encode(const struct pb_desc *desc, const void *msg, struct buf *out);
/* Bytes that pb_encode appends. */
size_t pb_size(const struct pb_desc *desc, const void *msg);

/* For messages that are put together by hand: a varint, and the bytes that it takes. */
void pb_append_varint(struct buf *out, uint64_t v);
size_t pb_varint_size(uint64_t v);

/* A deep copy in the arena: `out` shares nothing with `msg`. -1 when the arena is full. */
int pb_copy(const struct pb_desc *desc, const void *msg, struct arena *a, void *out, struct err *e);

/* Appends the message as one line of protobuf's JSON form: names as in the .proto, sorted; 64-bit numbers and bytes (base64) as
 * strings, enums by name, times as text, ASCII only; fields marked secret show "...". For tests and debugging. */
void pb_print(const struct pb_desc *desc, const void *msg, struct buf *out);

/* Value of a key in a map<string, string>; the absent slice when it is not there. */
struct slice pb_pair_get(const struct pb_pair *pairs, size_t n, const char *key);
/* The singular string field of this name in a message, or NULL when messages of this type have none: for code that serves several types. */
const struct slice *pb_string_field(const struct pb_desc *desc, const void *msg, const char *name);
/* The method with this ":path", or NULL. */
const struct pb_method *pb_service_find(const struct pb_service *service, struct slice path);

#endif
