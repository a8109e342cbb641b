/*
 * Bytes as text: hex and base64 (RFC 4648).
 */
#ifndef TEXT_ENCODE_H
#define TEXT_ENCODE_H

#include <stdbool.h>

#include "base/slice.h"

struct buf;

enum base64_kind {
	BASE64_STD,             /* '+' and '/' */
	BASE64_URL,             /* '-' and '_' */
};

/* Lower case. Appends. */
void hex_encode(struct slice in, struct buf *out);
/* Any case, an even number of digits. Appends; 0, or -1 with out as it was. */
int hex_decode(struct slice in, struct buf *out);

/* Appends, with '=' at the end when pad. */
void base64_encode(struct slice in, enum base64_kind kind, bool pad, struct buf *out);
/* With or without padding, no blanks, and only what an encoder writes: unused bits are 0. Appends; 0, or -1 with out as it was. */
int base64_decode(struct slice in, enum base64_kind kind, struct buf *out);

#endif
