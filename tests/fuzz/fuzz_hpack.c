/*
 * HPACK: any bytes as header blocks (split at 0xff 0xfe), and what was decoded comes back through the encoder.
 */
#include <stdlib.h>
#include <string.h>

#include "wire/hpack.h"

#define KEEP 65536
#define GIVE_UP (4 * KEEP)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check_round_trip(struct hpack_encoder *e, struct hpack_decoder *second, const struct hpack_decoder *d)
{
	struct buf block = BUF_INIT;

	hpack_encode(e, d->fields, d->n, &block);
	if (hpack_decode(second, buf_slice(&block), KEEP, GIVE_UP) != HPACK_OK || second->n != d->n)
		abort();
	for (size_t i = 0; i < d->n; i++) {
		if (!slice_eq(d->fields[i].name, second->fields[i].name) || !slice_eq(d->fields[i].value, second->fields[i].value))
			abort();
	}
	if (second->table.size != e->table.size || second->table.count != e->table.count)
		abort();
	buf_free(&block);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct hpack_decoder d, second;
	struct hpack_encoder e;
	size_t at = 0, end;

	hpack_decoder_init(&d);
	hpack_decoder_init(&second);
	hpack_encoder_init(&e);
	for (; at < size; at = end + 2) {
		for (end = at; end + 1 < size && (data[end] != 0xff || data[end + 1] != 0xfe); end++)
			continue;
		if (end + 1 >= size)
			end = size;
		if (hpack_decode(&d, slice_make(data + at, end - at), KEEP, GIVE_UP) >= HPACK_FAR_TOO_LARGE)
			break;
		if (d.table.size > d.table.max_size || d.table.count > HPACK_ENTRIES_MAX)
			abort();
		hpack_encoder_resize(&e, (uint32_t)d.list_size % 5000);
		check_round_trip(&e, &second, &d);
	}
	hpack_decoder_free(&d);
	hpack_decoder_free(&second);
	hpack_encoder_free(&e);
	return 0;
}
