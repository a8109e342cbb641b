#include "wire/pb.h"

#include <string.h>

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

const struct slice *
pb_string_field(const struct pb_desc *desc, const void *msg, const char *name)
{
	for (const struct pb_field *f = desc->fields; f < desc->fields + desc->n_fields; f++)
		if (f->type == PB_STRING && (f->label == PB_PLAIN || f->label == PB_OPTIONAL) && strcmp(f->name, name) == 0)
			return (const void *)((const unsigned char *)msg + f->offset);
	return NULL;
}

const struct pb_method *
pb_service_find(const struct pb_service *service, struct slice path)
{
	for (size_t i = 0; i < service->n_methods; i++)
		if (slice_eq_str(path, service->methods[i].path))
			return &service->methods[i];
	return NULL;
}
