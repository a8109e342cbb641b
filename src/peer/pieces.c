#include "peer/pieces.h"

#include "base/err.h"

uint64_t
piece_length_auto(uint64_t content_length)
{
	uint64_t want = content_length / PIECE_COUNT_TARGET;
	uint64_t length = PIECE_LENGTH_MIN;

	while (length < want && length < PIECE_LENGTH_AUTO_MAX)
		length *= 2;
	return length;
}

int
piece_length_check(uint64_t piece_length, struct err *e)
{
	if (piece_length < PIECE_LENGTH_MIN)
		return err_set(e, ERR_INVALID_ARGUMENT, "piece length %llu bytes is less than the minimum piece length %llu bytes",
		    (unsigned long long)piece_length, (unsigned long long)PIECE_LENGTH_MIN);
	if (piece_length > PIECE_LENGTH_MAX)
		return err_set(e, ERR_INVALID_ARGUMENT, "piece length %llu bytes is greater than the maximum piece length %llu bytes",
		    (unsigned long long)piece_length, (unsigned long long)PIECE_LENGTH_MAX);
	return 0;
}

int
piece_count(uint64_t content_length, uint64_t piece_length, uint32_t *count, struct err *e)
{
	uint64_t n;

	if (piece_length == 0)
		return err_set(e, ERR_INVALID_ARGUMENT, "invalid piece length");
	n = content_length / piece_length + (content_length % piece_length != 0);
	if (n > PIECE_COUNT_MAX)
		return err_set(e, ERR_RESOURCE_EXHAUSTED, "content of %llu bytes in pieces of %llu makes more than %u pieces",
		    (unsigned long long)content_length, (unsigned long long)piece_length, (unsigned)PIECE_COUNT_MAX);
	*count = (uint32_t)n;
	return 0;
}

uint64_t
piece_size(uint64_t content_length, uint64_t piece_length, uint32_t n)
{
	uint64_t rest = content_length - (uint64_t)n * piece_length;

	return rest < piece_length ? rest : piece_length;
}

int
piece_span_of(uint64_t content_length, uint64_t piece_length, const struct byte_range *range, struct piece_span *out, struct err *e)
{
	uint32_t count;
	uint64_t end;

	*out = (struct piece_span){.is_empty = true};
	if (piece_count(content_length, piece_length, &count, e) < 0)
		return -1;
	if (range == NULL) {
		if (count > 0)
			*out = (struct piece_span){.first = 0, .last = count - 1};
		return 0;
	}
	if (range->length == 0 || range->start >= content_length)
		return err_set(e, ERR_INVALID_ARGUMENT, "invalid parameter: range of %llu bytes at %llu in a content of %llu bytes",
		    (unsigned long long)range->length, (unsigned long long)range->start, (unsigned long long)content_length);
	end = range->length < content_length - range->start ? range->start + range->length : content_length;
	out->first = (uint32_t)(range->start / piece_length);
	out->last = (uint32_t)((end - 1) / piece_length);
	out->is_empty = false;
	return 0;
}

static int
unsatisfiable(struct err *e, const char *reason)
{
	return err_set(e, ERR_FAILED_PRECONDITION, "ParseError cause: RangeUnsatisfiable: %s", reason);
}

/* Digits without sign and without leading zeros. */
static int
parse_number(struct slice s, uint64_t *out)
{
	if (s.n > 1 && s.p[0] == '0')
		return -1;
	return slice_to_u64(s, out);
}

/* One "a-b", "a-" or "-n"; first and last byte, both included. */
static int
parse_part(struct slice part, uint64_t content_length, uint64_t *first, uint64_t *last, struct err *e)
{
	ptrdiff_t dash = slice_find(part, '-');
	struct slice from, to;
	uint64_t n;

	if (dash < 0)
		return unsatisfiable(e, "Unexpected number of dashes");
	from = slice_sub(part, 0, (size_t)dash);
	to = slice_sub(part, (size_t)dash + 1, part.n);
	if (slice_find(to, '-') >= 0)
		return unsatisfiable(e, "Unexpected number of dashes");
	if (from.n == 0) {
		if (parse_number(to, &n) < 0)
			return unsatisfiable(e, "Unparseable end of range");
		if (n == 0)
			return unsatisfiable(e, "Range ends at 0");
		if (n > content_length)
			return unsatisfiable(e, "File suffix out of bounds (larger than file bytes)");
		*first = content_length - n;
		*last = content_length - 1;
		return 0;
	}
	if (parse_number(from, first) < 0)
		return unsatisfiable(e, "Unparseable start of range");
	if (to.n == 0)
		*last = content_length - 1;
	else if (parse_number(to, last) < 0)
		return unsatisfiable(e, "Unparseable end of range");
	if (content_length == 0 || *first >= content_length)
		return unsatisfiable(e, "Reversed range");
	if (*last >= content_length)
		*last = content_length - 1;
	if (*first > *last)
		return unsatisfiable(e, "Reversed range");
	return 0;
}

/* At most one space or tab, and only before the numbers. */
static int
strip_space(struct slice *part, struct err *e)
{
	if (part->n > 0 && (part->p[0] == ' ' || part->p[0] == '\t'))
		*part = slice_sub(*part, 1, part->n);
	for (size_t i = 0; i < part->n; i++)
		if (part->p[i] == ' ' || part->p[i] == '\t')
			return unsatisfiable(e, "Illegal whitespaces in range");
	return 0;
}

int
range_header_parse(struct slice value, uint64_t content_length, struct byte_range *out, struct err *e)
{
	uint64_t first[RANGE_PARTS_MAX], last[RANGE_PARTS_MAX];
	size_t count = 0;

	if (!slice_starts(value, "bytes="))
		return unsatisfiable(e, "Range does not start with token 'bytes='");
	value = slice_sub(value, 6, value.n);
	if (value.n > 0 && (value.p[0] == ' ' || value.p[0] == '\t'))
		return unsatisfiable(e, "Range starts with whitespace");
	for (;;) {
		ptrdiff_t comma = slice_find(value, ',');
		struct slice part = comma < 0 ? value : slice_sub(value, 0, (size_t)comma);

		if (count == RANGE_PARTS_MAX)
			return unsatisfiable(e, "Too many parts");
		if (strip_space(&part, e) < 0 || parse_part(part, content_length, &first[count], &last[count], e) < 0)
			return -1;
		for (size_t i = 0; i < count; i++)
			if (first[i] <= last[count] && first[count] <= last[i])
				return unsatisfiable(e, "Ranges overlap");
		count++;
		if (comma < 0)
			break;
		value = slice_sub(value, (size_t)comma + 1, value.n);
	}
	out->start = first[0];
	out->length = last[0] - first[0] + 1;
	return 0;
}
