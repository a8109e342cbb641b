/*
 * Header compression of HTTP/2 (RFC 7541): one decoder and one encoder per connection, bytes in memory only.
 * Which fields make a valid message is h2's business, not this module's.
 */
#ifndef WIRE_HPACK_H
#define WIRE_HPACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/slice.h"

/* The size both ends start with (RFC 9113, 6.5.2). We never announce another, and never use more as an encoder. */
#define HPACK_TABLE_SIZE 4096
/* What an entry costs beside its bytes (RFC 7541, 4.1); also the cost of a field in MAX_HEADER_LIST_SIZE. */
#define HPACK_ENTRY_COST 32
/* An entry costs at least 32, so that a full table never holds more. */
#define HPACK_ENTRIES_MAX (HPACK_TABLE_SIZE / HPACK_ENTRY_COST)
/* RFC 7541, 4.2: lowest and final value, more say nothing. */
#define HPACK_SIZE_UPDATES_MAX 2
/* Integers above this end in an error: far above every length and index that can be right, far below overflow. */
#define HPACK_INT_MAX (1u << 28)

struct hpack_field {
	struct slice name;
	struct slice value;
	bool is_sensitive;      /* a literal that must never be indexed (RFC 7541, 6.2.3); asked for when encoding */
};

/* The dynamic table: newest entry first by number. Memory comes with the first entry. */
struct hpack_entry {
	uint32_t at;            /* of the name in bytes; the value follows it */
	uint32_t name_n;
	uint32_t value_n;
};

struct hpack_table {
	uint8_t *bytes;         /* 2 * HPACK_TABLE_SIZE, or NULL; live bytes are one run */
	uint32_t end;           /* behind the newest entry's bytes */
	uint32_t size;          /* cost of all entries (RFC 7541, 4.1) */
	uint32_t max_size;      /* now in force, at most HPACK_TABLE_SIZE */
	uint32_t newest;        /* place of the newest entry in the ring */
	uint32_t count;
	struct hpack_entry *entries;    /* ring of HPACK_ENTRIES_MAX */
};

struct hpack_decoder {
	struct hpack_table table;
	struct buf bytes;               /* of the fields of the last block */
	struct hpack_field *fields;     /* of the last block */
	size_t n, cap;
	size_t list_size;               /* of the last block, fields that were not kept included */
};

enum hpack_result {
	HPACK_OK,
	HPACK_TOO_LARGE,        /* the list is above `keep`; the block was read to its end, so the connection can go on */
	HPACK_FAR_TOO_LARGE,    /* above `give_up`; not read to its end, the connection must end */
	HPACK_BROKEN,           /* not HPACK: COMPRESSION_ERROR, the connection must end */
	HPACK_NO_MEMORY,
};

void hpack_decoder_init(struct hpack_decoder *d);
void hpack_decoder_free(struct hpack_decoder *d);
/*
 * Decodes one whole header block (all its fragments joined). On HPACK_OK d->fields[0..d->n) are its fields, owned by the
 * decoder and valid until the next call. `keep` and `give_up` are header list sizes: bytes plus HPACK_ENTRY_COST a field.
 * A few bytes can stand for a 4 KiB entry each, so nothing above `keep` is ever copied.
 */
enum hpack_result hpack_decode(struct hpack_decoder *d, struct slice block, size_t keep, size_t give_up);

struct hpack_encoder {
	struct hpack_table table;
	uint32_t lowest_size;           /* lowest max_size since the last block */
	bool is_resized;                /* the next block starts with size updates */
};

void hpack_encoder_init(struct hpack_encoder *e);
void hpack_encoder_free(struct hpack_encoder *e);
/* The peer's SETTINGS_HEADER_TABLE_SIZE; the encoder uses at most HPACK_TABLE_SIZE of it. */
void hpack_encoder_resize(struct hpack_encoder *e, uint32_t size);
/* Appends one header block. Names must be lower case already. */
void hpack_encode(struct hpack_encoder *e, const struct hpack_field *fields, size_t n, struct buf *out);

/* Header list size (RFC 9113, 6.5.2): what the peer's MAX_HEADER_LIST_SIZE is compared with. */
size_t hpack_list_size(const struct hpack_field *fields, size_t n);

#endif
