#include "wire/pb.h"

#include "base/arena.h"
#include "base/buf.h"
#include "wire/pb_member.h"

static const struct pb_field pair_fields[] = {
	{"key", 1, PB_STRING, PB_ALWAYS, false, offsetof(struct pb_pair, key), 0, NULL, NULL},
	{"value", 2, PB_STRING, PB_ALWAYS, false, offsetof(struct pb_pair, value), 0, NULL, NULL},
};

const struct pb_desc pb_pair_desc = {"map entry", pair_fields, 2, sizeof(struct pb_pair), PB_NO_UNKNOWN};

int
pb_copy(const struct pb_desc *desc, const void *msg, struct arena *a, void *out, struct err *e)
{
	struct buf bytes = BUF_INIT;
	int rc;

	pb_encode(desc, msg, &bytes);
	rc = pb_decode_copy(desc, buf_slice(&bytes), a, out, e);
	buf_free(&bytes);
	return rc;
}

struct slice
pb_pair_get(const struct pb_pair *pairs, size_t n, const char *key)
{
	for (size_t i = 0; i < n; i++)
		if (slice_eq_str(pairs[i].key, key))
			return pairs[i].value;
	return (struct slice){NULL, 0};
}

const struct pb_method *
pb_service_find(const struct pb_service *service, struct slice path)
{
	for (size_t i = 0; i < service->n_methods; i++)
		if (slice_eq_str(path, service->methods[i].path))
			return &service->methods[i];
	return NULL;
}

/* RFC 3629, section 4. */
size_t
pb_read_utf8(const uint8_t *p, size_t n, uint32_t *c)
{
	size_t more = p[0] < 0x80 ? 0 : p[0] < 0xc2 ? 4 : p[0] < 0xe0 ? 1 : p[0] < 0xf0 ? 2 : p[0] < 0xf5 ? 3 : 4;
	static const uint32_t smallest[] = {0, 0x80, 0x800, 0x10000};
	uint32_t v;

	if (more == 4 || more >= n)
		return 0;
	v = more == 0 ? p[0] : p[0] & (0x3fU >> more);
	for (size_t i = 1; i <= more; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
		v = v << 6 | (p[i] & 0x3f);
	}
	if (v < smallest[more] || v > 0x10ffff || (v >= 0xd800 && v <= 0xdfff))
		return 0;
	*c = v;
	return more + 1;
}

bool
pb_is_utf8(struct slice s)
{
	size_t i = 0;
	uint32_t c;

	while (i < s.n) {
		size_t n = s.p[i] < 0x80 ? 1 : pb_read_utf8(s.p + i, s.n - i, &c);

		if (n == 0)
			return false;
		i += n;
	}
	return true;
}
