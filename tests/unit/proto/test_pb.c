/* Encoding and decoding of the API's messages. Worked bytes are those of the protocol's description. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"
#include "proto/common.h"
#include "proto/dfdaemon.h"
#include "proto/health.h"
#include "proto/manager.h"
#include "proto/rpc.h"
#include "proto/scheduler.h"
#include "support/hex.h"

/* An arena and the bytes of one message. */
struct fixture {
	struct arena arena;
	struct buf in;          /* the decoded message points into it */
	struct buf out;
	struct buf expected;
	struct err err;
};

static int
setup(void **state)
{
	struct fixture *f = xcalloc(1, sizeof(*f));

	arena_init(&f->arena, (size_t)64 << 20);
	*state = f;
	return 0;
}

static int
teardown(void **state)
{
	struct fixture *f = *state;

	arena_free(&f->arena);
	buf_free(&f->in);
	buf_free(&f->out);
	buf_free(&f->expected);
	free(f);
	return 0;
}

static void
assert_encodes(struct fixture *f, const struct pb_desc *desc, const void *msg, const char *hex)
{
	buf_clear(&f->out);
	buf_clear(&f->expected);
	hex_append(&f->expected, hex);
	pb_encode(desc, msg, &f->out);
	assert_int_equal(f->out.len, f->expected.len);
	if (f->out.len > 0)
		assert_memory_equal(buf_data(&f->out), buf_data(&f->expected), f->out.len);
	assert_int_equal(pb_size(desc, msg), f->out.len);
}

static int
decode_hex(struct fixture *f, const struct pb_desc *desc, const char *hex, void *out)
{
	buf_clear(&f->in);
	hex_append(&f->in, hex);
	return pb_decode(desc, buf_slice(&f->in), &f->arena, out, &f->err);
}

static void
assert_prints(struct fixture *f, const struct pb_desc *desc, const void *msg, const char *text)
{
	buf_clear(&f->out);
	pb_print(desc, msg, &f->out);
	assert_string_equal(buf_cstr(&f->out), text);
}

static void
worked_announce_peer_request(void **state)
{
	struct scheduler_download_peer_started_request started = {0};
	struct scheduler_announce_peer_request m = {
		.host_id = slice_str("h"), .task_id = slice_str("t"), .peer_id = slice_str("p"),
		.request_case = SCHEDULER_ANNOUNCE_PEER_REQUEST_DOWNLOAD_PEER_STARTED_REQUEST, .download_peer_started_request = &started,
	};
	struct scheduler_announce_peer_request back;

	assert_encodes(*state, &scheduler_announce_peer_request_desc, &m, "0a0168 120174 1a0170 2a00");
	assert_int_equal(decode_hex(*state, &scheduler_announce_peer_request_desc, "0a0168 120174 1a0170 2a00", &back), 0);
	assert_int_equal(back.request_case, 5);
	assert_non_null(back.download_peer_started_request);
	assert_null(back.register_peer_request);
	assert_true(slice_eq_str(back.peer_id, "p"));
}

static void
set_oneof_without_a_message_is_written_empty(void **state)
{
	struct scheduler_announce_peer_request m = {.request_case = SCHEDULER_ANNOUNCE_PEER_REQUEST_DOWNLOAD_PEER_STARTED_REQUEST};

	assert_encodes(*state, &scheduler_announce_peer_request_desc, &m, "2a00");
}

static void
worked_sync_pieces_request_is_packed(void **state)
{
	uint32_t numbers[] = {0, 1, 2, 300};
	struct dfdaemon_sync_pieces_request m = {.host_id = slice_str("h"), .task_id = slice_str("t"),
		.interested_piece_numbers = numbers, .n_interested_piece_numbers = 4};

	assert_encodes(*state, &dfdaemon_sync_pieces_request_desc, &m, "0a0168 120174 1a05 000102ac02");
}

static void
packed_unpacked_and_mixed_lists_are_read(void **state)
{
	struct dfdaemon_sync_pieces_request m;

	assert_int_equal(decode_hex(*state, &dfdaemon_sync_pieces_request_desc, "1800 1a020102 18ac02 1a00", &m), 0);
	assert_int_equal(m.n_interested_piece_numbers, 4);
	assert_int_equal(m.interested_piece_numbers[0], 0);
	assert_int_equal(m.interested_piece_numbers[2], 2);
	assert_int_equal(m.interested_piece_numbers[3], 300);
	assert_int_equal(decode_hex(*state, &dfdaemon_sync_pieces_request_desc, "1a00", &m), 0);
	assert_int_equal(m.n_interested_piece_numbers, 0);
}

static void
worked_sync_pieces_response(void **state)
{
	struct dfdaemon_sync_pieces_response m = {.number = 3, .offset = 12582912, .length = 16, .ip = slice_str("10.0.0.2"),
		.has_tcp_port = true, .tcp_port = 4005};

	assert_encodes(*state, &dfdaemon_sync_pieces_response_desc, &m, "0803 1080808006 1810 220831302e302e302e32 28a51f");
}

static void
worked_daemon_messages(void **state)
{
	uint32_t numbers[] = {0, 1, 2};
	struct dfdaemon_sync_pieces_request request = {.host_id = slice_str("10.0.0.2-node2"),
		.task_id = slice_str("a39c30fc5e843a73fe4c920d0a289250199e825f61fdfb353ce30a64744f0dd0"), .interested_piece_numbers = numbers,
		.n_interested_piece_numbers = 3};
	struct dfdaemon_sync_pieces_response response = {.number = 2, .offset = 8388608, .length = 4194304, .ip = slice_str("10.0.0.1"),
		.has_tcp_port = true, .tcp_port = 4005, .has_quic_port = true, .quic_port = 4006};
	struct common_network network = {.max_rx_bandwidth = 10000000000, .has_rx_bandwidth = true, .rx_bandwidth = 123456,
		.max_tx_bandwidth = 10000000000, .has_tx_bandwidth = true, .tx_bandwidth = 7891234};
	struct common_host host = {.network = &network};
	struct scheduler_delete_host_request leave = {.host_id = slice_str("10.0.0.1-node1-seed")};
	struct health_health_check_response serving = {.status = HEALTH_HEALTH_CHECK_RESPONSE_SERVING_STATUS_SERVING};

	assert_encodes(*state, &dfdaemon_sync_pieces_request_desc, &request, "0a0e31302e302e302e322d6e6f646532 1240 "
	    "61333963333066633565383433613733666534633932306430613238393235303139396538323566363166646662333533636533306136343734346630646430 "
	    "1a03000102");
	assert_encodes(*state, &dfdaemon_sync_pieces_response_desc, &response,
	    "0802 1080808004 1880808002 220831302e302e302e31 28a51f 30a61f");
	assert_encodes(*state, &common_host_desc, &host, "7215 4880c8afa025 50c0c407 5880c8afa025 60a2d2e103");
	assert_encodes(*state, &scheduler_delete_host_request_desc, &leave, "0a1331302e302e302e312d6e6f6465312d73656564");
	assert_encodes(*state, &health_health_check_response_desc, &serving, "0801");
}

static void
worked_piece(void **state)
{
	struct google_duration cost = {.nanos = 250000000};
	struct google_timestamp created_at = {.seconds = 1767225600};
	struct common_piece m = {.number = 1, .parent_id = slice_str("pp"), .offset = 4194304, .length = 4194304,
		.digest = slice_str("crc32:3421780262"), .has_traffic_type = true, .traffic_type = COMMON_TRAFFIC_TYPE_REMOTE_PEER,
		.cost = &cost, .created_at = &created_at};

	assert_encodes(*state, &common_piece_desc, &m, "0801 12027070 1880808002 2080808002 2a1063726333323a33343231373830323632 "
	    "3801 42051080e59a77 4a060880f2d6ca06");
	assert_prints(*state, &common_piece_desc, &m, "{\"cost\": \"0.250s\", \"created_at\": \"2026-01-01T00:00:00Z\", "
	    "\"digest\": \"crc32:3421780262\", \"length\": \"4194304\", \"number\": 1, \"offset\": \"4194304\", \"parent_id\": \"pp\", "
	    "\"traffic_type\": \"REMOTE_PEER\"}");
}

static void
worked_map_entry(void **state)
{
	struct pb_pair header = {slice_str("range"), slice_str("bytes=0-9")};
	struct common_download m = {.request_header = &header, .n_request_header = 1}, back;

	assert_encodes(*state, &common_download_desc, &m, "4a12 0a0572616e6765 120962797465733d302d39");
	assert_int_equal(decode_hex(*state, &common_download_desc, "4a12 0a0572616e6765 120962797465733d302d39", &back), 0);
	assert_true(slice_eq_str(pb_pair_get(back.request_header, back.n_request_header, "range"), "bytes=0-9"));
	assert_null(pb_pair_get(back.request_header, back.n_request_header, "rang").p);
}

static void
map_entry_without_key_or_value_has_empty_ones(void **state)
{
	struct common_download m;

	assert_int_equal(decode_hex(*state, &common_download_desc, "4a00 4a030a0161 4a0312017a", &m), 0);
	assert_int_equal(m.n_request_header, 2);
	assert_int_equal(m.request_header[0].key.n, 0);
	assert_true(slice_eq_str(m.request_header[0].value, "z"));
	assert_true(slice_eq_str(m.request_header[1].key, "a"));
	assert_int_equal(m.request_header[1].value.n, 0);
}

static void
last_map_entry_with_a_key_wins(void **state)
{
	struct common_download m;

	assert_int_equal(decode_hex(*state, &common_download_desc, "4a060a016112017a 4a060a0162120179 4a060a0161120178", &m), 0);
	assert_int_equal(m.n_request_header, 2);
	assert_true(slice_eq_str(m.request_header[0].value, "x"));
	assert_true(slice_eq_str(m.request_header[1].value, "y"));
}

static void
map_of_messages(void **state)
{
	struct health_health_list_response m;

	assert_int_equal(decode_hex(*state, &health_health_list_response_desc, "0a07 0a0161 12020801 0a03 0a0162", &m), 0);
	assert_int_equal(m.n_statuses, 2);
	assert_int_equal(m.statuses[0].value->status, HEALTH_HEALTH_CHECK_RESPONSE_SERVING_STATUS_SERVING);
	assert_null(m.statuses[1].value);
	assert_prints(*state, &health_health_list_response_desc, &m, "{\"statuses\": {\"a\": {\"status\": \"SERVING\"}, \"b\": {}}}");
}

static void
negative_numbers_take_ten_bytes(void **state)
{
	struct common_cgroup_cpu m = {.quota = -1}, back;
	struct common_host h = {.port = -1}, host;

	assert_encodes(*state, &common_cgroup_cpu_desc, &m, "10 ffffffffffffffffff01");
	assert_encodes(*state, &common_host_desc, &h, "28 ffffffffffffffffff01");
	assert_int_equal(decode_hex(*state, &common_cgroup_cpu_desc, "10 ffffffffffffffffff01", &back), 0);
	assert_int_equal(back.quota, -1);
	/* Five bytes are what some encoders write. */
	assert_int_equal(decode_hex(*state, &common_host_desc, "28 ffffffff0f", &host), 0);
	assert_int_equal(host.port, -1);
}

static void
numbers_are_cut_to_their_type(void **state)
{
	struct common_piece m;
	struct common_host h;

	assert_int_equal(decode_hex(*state, &common_piece_desc, "08 8580808010", &m), 0);
	assert_int_equal(m.number, 5);
	assert_int_equal(decode_hex(*state, &common_host_desc, "900102", &h), 0);
	assert_true(h.disable_shared);
}

static void
unknown_enum_numbers_are_kept(void **state)
{
	struct common_download m;

	assert_int_equal(decode_hex(*state, &common_download_desc, "20 63", &m), 0);
	assert_int_equal(m.type, 99);
	assert_encodes(*state, &common_download_desc, &m, "20 63");
	assert_prints(*state, &common_download_desc, &m, "{\"type\": 99}");
}

static void
optional_zero_is_written_and_plain_zero_is_not(void **state)
{
	struct common_download m = {.has_piece_length = true, .tag = slice_make("", 0), .disable_back_to_source = false}, back;

	assert_encodes(*state, &common_download_desc, &m, "2a00 5000");
	assert_int_equal(decode_hex(*state, &common_download_desc, "2a00 5000", &back), 0);
	assert_true(back.has_piece_length);
	assert_non_null(back.tag.p);
	assert_int_equal(back.tag.n, 0);
	assert_null(back.digest.p);
	assert_false(back.has_actual_piece_count);
}

static void
empty_message_is_no_bytes(void **state)
{
	struct google_empty m = {0};
	struct common_host h = {0};

	assert_encodes(*state, &google_empty_desc, &m, "");
	assert_encodes(*state, &common_host_desc, &h, "");
	assert_int_equal(decode_hex(*state, &google_empty_desc, "", &m), 0);
	assert_int_equal(decode_hex(*state, &google_empty_desc, "0801", &m), 0);
}

static void
last_scalar_wins(void **state)
{
	struct common_piece m;

	assert_int_equal(decode_hex(*state, &common_piece_desc, "0801 0802", &m), 0);
	assert_int_equal(m.number, 2);
}

static void
last_oneof_member_wins(void **state)
{
	struct scheduler_announce_peer_response m;

	assert_int_equal(decode_hex(*state, &scheduler_announce_peer_response_desc, "1200 1a030a0178", &m), 0);
	assert_int_equal(m.response_case, SCHEDULER_ANNOUNCE_PEER_RESPONSE_NEED_BACK_TO_SOURCE_RESPONSE);
	assert_null(m.normal_task_response);
	assert_true(slice_eq_str(m.need_back_to_source_response->description, "x"));
}

static void
parts_of_a_message_are_put_together(void **state)
{
	struct scheduler_announce_peer_response m;

	/* normal_task_response in two parts, each with one candidate. */
	assert_int_equal(decode_hex(*state, &scheduler_announce_peer_response_desc, "12050a030a0161 12050a030a0162", &m), 0);
	assert_int_equal(m.normal_task_response->n_candidate_parents, 2);
	assert_true(slice_eq_str(m.normal_task_response->candidate_parents[0].id, "a"));
	assert_true(slice_eq_str(m.normal_task_response->candidate_parents[1].id, "b"));
}

static void
too_many_parts_are_refused(void **state)
{
	struct fixture *f = *state;
	struct scheduler_announce_peer_response m;

	for (size_t i = 0; i < PB_MERGES_MAX + 1; i++)
		hex_append(&f->in, "1200");
	assert_int_equal(pb_decode(&scheduler_announce_peer_response_desc, buf_slice(&f->in), &f->arena, &m, &f->err), 0);
	hex_append(&f->in, "1200");
	assert_int_equal(pb_decode(&scheduler_announce_peer_response_desc, buf_slice(&f->in), &f->arena, &m, &f->err), -1);
	assert_int_equal(f->err.code, ERR_RESOURCE_EXHAUSTED);
}

static void
fields_in_any_order(void **state)
{
	struct common_range m;

	assert_int_equal(decode_hex(*state, &common_range_desc, "1005 0807", &m), 0);
	assert_int_equal(m.start, 7);
	assert_int_equal(m.length, 5);
	assert_encodes(*state, &common_range_desc, &m, "0807 1005");
}

static void
unknown_fields_are_skipped(void **state)
{
	struct scheduler_delete_host_request m;

	/* Field 15 as a varint, 64 bits, bytes and 32 bits. */
	assert_int_equal(decode_hex(*state, &scheduler_delete_host_request_desc, "7801 790102030405060708 0a0168 7a020102 7d01020304", &m),
	    0);
	assert_true(slice_eq_str(m.host_id, "h"));
	assert_encodes(*state, &scheduler_delete_host_request_desc, &m, "0a0168");
}

static void
download_keeps_unknown_fields(void **state)
{
	struct common_download m;

	/* Field 36 twice with a known one between, and field 13 as bytes, which it is not. */
	assert_int_equal(decode_hex(*state, &common_download_desc, "a00207 0a0175 a2020161 6a0100", &m), 0);
	assert_encodes(*state, &common_download_desc, &m, "0a0175 a00207 a2020161 6a0100");
}

static void
nested_messages_keep_unknown_fields(void **state)
{
	struct scheduler_register_peer_request m;

	assert_int_equal(decode_hex(*state, &scheduler_register_peer_request_desc, "0a03a00207 0a03a00208", &m), 0);
	assert_encodes(*state, &scheduler_register_peer_request_desc, &m, "0a06a00207a00208");
}

static void
deep_copy_shares_nothing(void **state)
{
	struct fixture *f = *state;
	struct common_download m, copy;

	assert_int_equal(decode_hex(f, &common_download_desc, "0a0175 2a00 4205616c706861 4a060a016112017a a00207", &m), 0);
	assert_int_equal(pb_copy(&common_download_desc, &m, &f->arena, &copy, &f->err), 0);
	memset(buf_data(&f->in), 'X', f->in.len);
	assert_encodes(f, &common_download_desc, &copy, "0a0175 2a00 4205616c706861 4a060a016112017a a00207");
	assert_non_null(copy.tag.p);
}

static void
decode_copy_outlives_the_input(void **state)
{
	struct fixture *f = *state;
	struct common_download m;

	hex_append(&f->in, "0a0175");
	assert_int_equal(pb_decode_copy(&common_download_desc, buf_slice(&f->in), &f->arena, &m, &f->err), 0);
	buf_data(&f->in)[2] = 'X';
	assert_true(slice_eq_str(m.url, "u"));
}

static void
doubles_are_little_endian(void **state)
{
	struct common_cpu m = {.percent = 1.5}, back;

	assert_encodes(*state, &common_cpu_desc, &m, "19 000000000000f83f");
	assert_int_equal(decode_hex(*state, &common_cpu_desc, "19 000000000000f83f", &back), 0);
	assert_true(back.percent == 1.5);
	/* Minus zero is not the default. */
	m.percent = -0.0;
	assert_encodes(*state, &common_cpu_desc, &m, "19 0000000000000080");
}

static void
broken_bytes_are_refused(void **state)
{
	static const char *const bytes[] = {
		"00", "08", "0a", "0a05", "0a0561", "80", "0880", "08 ffffffffffffffffffff01", "08 ffffffffffffffffff02",
		"ffffffffffffffffffff01", "0b", "0c", "0f", "7901", "7d010203", "0aff", "0a ffffffffffffffffff01", "1a0180",
		/* Field 2^29. */
		"8080808010 00",
	};
	struct dfdaemon_sync_pieces_request m;
	struct fixture *f = *state;

	for (size_t i = 0; i < COUNT_OF(bytes); i++) {
		if (decode_hex(f, &dfdaemon_sync_pieces_request_desc, bytes[i], &m) != -1)
			fail_msg("accepted: %s", bytes[i]);
		assert_int_equal(f->err.code, ERR_INTERNAL);
		assert_memory_equal(f->err.text, "failed to decode Protobuf message: ", 35);
	}
}

static void
strings_must_be_utf8(void **state)
{
	struct fixture *f = *state;
	struct scheduler_delete_host_request m;
	struct common_piece piece;

	assert_int_equal(decode_hex(f, &scheduler_delete_host_request_desc, "0a04f09f9880", &m), 0);
	assert_int_equal(decode_hex(f, &scheduler_delete_host_request_desc, "0a03eda080", &m), -1);
	assert_int_equal(decode_hex(f, &scheduler_delete_host_request_desc, "0a0180", &m), -1);
	assert_non_null(strstr(f->err.text, "host_id"));
	/* Bytes are not text. */
	assert_int_equal(decode_hex(f, &common_piece_desc, "320180", &piece), 0);
}

static void
nesting_has_a_limit(void **state)
{
	/* A message that holds itself. */
	static struct pb_desc node;
	static const struct pb_field fields[] = {{"next", 1, PB_MESSAGE, PB_PLAIN, false, 0, 0, &node, NULL}};
	struct fixture *f = *state;
	struct { void *next; } m;
	unsigned char bytes[2 * (PB_DEPTH_MAX + 1)];
	size_t levels;

	node = (struct pb_desc){"node", fields, 1, sizeof(void *), PB_NO_UNKNOWN};
	for (levels = PB_DEPTH_MAX - 1; levels <= PB_DEPTH_MAX; levels++) {
		for (size_t i = 0; i < levels; i++) {
			bytes[2 * i] = 0x0a;
			bytes[2 * i + 1] = (unsigned char)(2 * (levels - 1 - i));
		}
		assert_int_equal(pb_decode(&node, slice_make(bytes, 2 * levels), &f->arena, &m, &f->err), levels < PB_DEPTH_MAX ? 0 : -1);
	}
	assert_int_equal(f->err.code, ERR_RESOURCE_EXHAUSTED);
}

static void
message_size_has_a_limit(void **state)
{
	struct fixture *f = *state;
	struct google_empty m;

	/* The length alone decides: the bytes are not looked at. */
	assert_int_equal(pb_decode(&google_empty_desc, slice_make("", PB_MESSAGE_MAX + 1), &f->arena, &m, &f->err), -1);
	assert_int_equal(f->err.code, ERR_RESOURCE_EXHAUSTED);
	assert_int_equal(pb_decode_copy(&google_empty_desc, slice_make("", PB_MESSAGE_MAX + 1), &f->arena, &m, &f->err), -1);
	assert_int_equal(f->err.code, ERR_RESOURCE_EXHAUSTED);
}

static void
map_entries_have_a_limit(void **state)
{
	struct fixture *f = *state;
	struct common_download m;

	for (size_t i = 0; i <= PB_MAP_MAX; i++) {
		char key[8];

		snprintf(key, sizeof(key), "%04zu", i);
		hex_append(&f->in, "4a06 0a04");
		buf_append(&f->in, key, 4);
		assert_int_equal(pb_decode(&common_download_desc, buf_slice(&f->in), &f->arena, &m, &f->err), i < PB_MAP_MAX ? 0 : -1);
		arena_reset(&f->arena);
	}
	assert_int_equal(f->err.code, ERR_RESOURCE_EXHAUSTED);
}

static void
elements_have_a_limit(void **state)
{
	struct fixture *f = *state;
	struct dfdaemon_sync_pieces_request m;
	size_t n = PB_ELEMENTS_MAX;

	for (int more = 0; more < 2; more++) {
		buf_clear(&f->in);
		buf_append_u8(&f->in, 0x1a);
		for (n += (size_t)more; n >= 0x80; n >>= 7)
			buf_append_u8(&f->in, (uint8_t)(n | 0x80));
		buf_append_u8(&f->in, (uint8_t)n);
		n = PB_ELEMENTS_MAX;
		memset(buf_reserve(&f->in, n + 1), 1, n + 1);
		buf_added(&f->in, n + (size_t)more);
		assert_int_equal(pb_decode(&dfdaemon_sync_pieces_request_desc, buf_slice(&f->in), &f->arena, &m, &f->err), -more);
		arena_reset(&f->arena);
	}
	assert_int_equal(f->err.code, ERR_RESOURCE_EXHAUSTED);
}

static void
arena_limit_is_a_clean_error(void **state)
{
	struct fixture *f = *state;
	struct scheduler_normal_task_response m;

	arena_init(&f->arena, 4096);
	/* Two bytes on the wire, a whole Peer in memory. */
	for (size_t i = 0; i < 1000; i++)
		hex_append(&f->in, "0a00");
	assert_int_equal(pb_decode(&scheduler_normal_task_response_desc, buf_slice(&f->in), &f->arena, &m, &f->err), -1);
	assert_int_equal(f->err.code, ERR_RESOURCE_EXHAUSTED);
	assert_int_equal(pb_decode_copy(&scheduler_normal_task_response_desc, slice_make(buf_data(&f->in), 2000), &f->arena, &m, &f->err), -1);
}

/* A message with every kind of field in it. */
static void
build_rich(struct buf *out)
{
	buf_append_str(out, "\x0a\x0fhttp://origin/f");
	hex_append(out, "1a04 0801 1002 2002 2a00 3806 420161 420162 4a060a016112017a 5080808002 62030890 1c 6801 7a020102 8a0106 0a0172 22016b "
	    "f00101 920202 0803 980201");
}

static void
every_truncation_is_handled(void **state)
{
	struct fixture *f = *state;
	struct common_download m;
	struct buf rich = BUF_INIT;

	build_rich(&rich);
	for (size_t n = 0; n <= rich.len; n++) {
		/* Exactly n bytes of memory, so that a checker sees a read past them. */
		uint8_t *part = xmalloc(n);

		memcpy(part, buf_data(&rich), n);
		if (pb_decode(&common_download_desc, slice_make(part, n), &f->arena, &m, &f->err) == 0) {
			buf_clear(&f->out);
			pb_encode(&common_download_desc, &m, &f->out);
			assert_int_equal(f->out.len, pb_size(&common_download_desc, &m));
		}
		free(part);
		arena_reset(&f->arena);
	}
	buf_free(&rich);
}

static void
every_changed_byte_is_handled(void **state)
{
	struct fixture *f = *state;
	struct common_download m;
	struct buf rich = BUF_INIT;

	build_rich(&rich);
	for (size_t i = 0; i < rich.len; i++) {
		uint8_t kept = buf_data(&rich)[i];

		for (unsigned v = 0; v < 256; v++) {
			buf_data(&rich)[i] = (uint8_t)v;
			if (pb_decode(&common_download_desc, buf_slice(&rich), &f->arena, &m, &f->err) == 0) {
				buf_clear(&f->out);
				pb_encode(&common_download_desc, &m, &f->out);
				pb_print(&common_download_desc, &m, &f->out);
			}
			arena_reset(&f->arena);
		}
		buf_data(&rich)[i] = kept;
	}
	buf_free(&rich);
}

static void
secrets_are_not_printed(void **state)
{
	struct common_object_storage store = {.region = slice_str("r"), .access_key_secret = slice_str("s3cret")};
	struct common_download m = {.object_storage = &store};

	assert_prints(*state, &common_download_desc, &m, "{\"object_storage\": {\"access_key_secret\": \"...\", \"region\": \"r\"}}");
}

static void
print_forms(void **state)
{
	static const struct { double v; const char *text; } numbers[] = {
		{0.47388680000000005, "0.47388680000000005"}, {3.0, "3.0"}, {1.6735945962409466e-09, "1.6735945962409466e-09"},
		{1e16, "1e+16"}, {123456789.0, "123456789.0"}, {0.0001, "0.0001"}, {0.00001, "1e-05"}, {-2.5, "-2.5"}, {1e15, "1000000000000000.0"},
	};
	struct common_cpu cpu = {0};
	struct google_duration d = {.seconds = -1, .nanos = -500};
	struct google_timestamp t = {.seconds = -1, .nanos = 1000};
	struct common_piece piece = {.content = slice_make("\0\1\2\3", 4)};
	struct scheduler_delete_host_request text = {.host_id = slice_str("\"\\\n\x01\xc3\xa9\xf0\x9f\x98\x80")};

	for (size_t i = 0; i < COUNT_OF(numbers); i++) {
		char expected[64];

		cpu.percent = numbers[i].v;
		snprintf(expected, sizeof(expected), "{\"percent\": %s}", numbers[i].text);
		assert_prints(*state, &common_cpu_desc, &cpu, expected);
	}
	assert_prints(*state, &google_duration_desc, &d, "\"-1.000000500s\"");
	assert_prints(*state, &google_timestamp_desc, &t, "\"1969-12-31T23:59:59.000001Z\"");
	t = (struct google_timestamp){.seconds = INT64_MAX};
	assert_prints(*state, &google_timestamp_desc, &t, "\"9223372036854775807 s\"");
	t = (struct google_timestamp){.seconds = 951782400};
	assert_prints(*state, &google_timestamp_desc, &t, "\"2000-02-29T00:00:00Z\"");
	assert_prints(*state, &common_piece_desc, &piece, "{\"content\": \"AAECAw==\"}");
	assert_prints(*state, &scheduler_delete_host_request_desc, &text, "{\"host_id\": \"\\\"\\\\\\n\\u0001\\u00e9\\ud83d\\ude00\"}");
}

static void
status_details_hold_any_message(void **state)
{
	struct fixture *f = *state;
	struct errordetails_backend backend = {.message = slice_str("404 Not Found"), .has_status_code = true, .status_code = 404}, found;
	struct google_any any = {.type_url = slice_str("type.googleapis.com/errordetails.v2.Backend")};
	struct google_status status = {.code = 13, .message = slice_str("m"), .details = &any, .n_details = 1}, back;

	pb_encode(&errordetails_backend_desc, &backend, &f->in);
	any.value = buf_slice(&f->in);
	pb_encode(&google_status_desc, &status, &f->out);
	assert_int_equal(pb_decode(&google_status_desc, buf_slice(&f->out), &f->arena, &back, &f->err), 0);
	assert_int_equal(back.code, 13);
	assert_int_equal(back.n_details, 1);
	assert_int_equal(pb_decode(&errordetails_backend_desc, back.details[0].value, &f->arena, &found, &f->err), 0);
	assert_int_equal(found.status_code, 404);
	/* The JSON that other peers put in the same place is no Status. */
	assert_int_equal(pb_decode(&google_status_desc, slice_str("{\"message\":\"x\"}"), &f->arena, &back, &f->err), -1);
}

static void
services_name_their_methods(void **state)
{
	const struct pb_method *m;

	(void)state;
	assert_string_equal(SCHEDULER_SCHEDULER_ANNOUNCE_PEER, "/scheduler.v2.Scheduler/AnnouncePeer");
	m = pb_service_find(&scheduler_scheduler_service, slice_str(SCHEDULER_SCHEDULER_ANNOUNCE_PEER));
	assert_ptr_equal(m, &scheduler_scheduler_service.methods[SCHEDULER_SCHEDULER_ANNOUNCE_PEER_AT]);
	assert_true(m->client_streams && m->server_streams);
	assert_ptr_equal(m->request, &scheduler_announce_peer_request_desc);
	assert_null(pb_service_find(&scheduler_scheduler_service, slice_str("/scheduler.v2.Scheduler/Nothing")));
	m = pb_service_find(&dfdaemon_dfdaemon_upload_service, slice_str("/dfdaemon.v2.DfdaemonUpload/SyncPieces"));
	assert_true(!m->client_streams && m->server_streams);
	m = pb_service_find(&manager_manager_service, slice_str("/manager.v2.Manager/KeepAlive"));
	assert_true(m->client_streams && !m->server_streams);
	assert_ptr_equal(m->response, &google_empty_desc);
	assert_int_equal(dfdaemon_dfdaemon_upload_service.n_methods, 22);
	assert_int_equal(dfdaemon_dfdaemon_download_service.n_methods, 21);
	assert_int_equal(scheduler_scheduler_service.n_methods, 33);
	assert_int_equal(manager_manager_service.n_methods, 9);
}

static void
string_fields_are_found_by_name(void **state)
{
	struct scheduler_upload_persistent_task_failed_request plain = { .task_id = slice_str("t"), .description = slice_str("d") };
	const struct pb_desc *desc = &scheduler_upload_persistent_task_failed_request_desc;

	(void)state;
	assert_ptr_equal(pb_string_field(desc, &plain, "task_id"), &plain.task_id);
	assert_ptr_equal(pb_string_field(desc, &plain, "description"), &plain.description);
	assert_null(pb_string_field(desc, &plain, "task"));
	/* A message and a list of strings are no string. */
	assert_null(pb_string_field(&scheduler_upload_persistent_task_started_request_desc,
		&(struct scheduler_upload_persistent_task_started_request){ .piece_count = 1 }, "ttl"));
	assert_null(pb_string_field(&common_download_desc, &(struct common_download){ .digest = slice_str("d") }, "filtered_query_params"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(worked_announce_peer_request), TEST(set_oneof_without_a_message_is_written_empty),
		TEST(worked_sync_pieces_request_is_packed), TEST(packed_unpacked_and_mixed_lists_are_read), TEST(worked_sync_pieces_response),
		TEST(worked_daemon_messages), TEST(worked_piece), TEST(worked_map_entry), TEST(map_entry_without_key_or_value_has_empty_ones),
		TEST(last_map_entry_with_a_key_wins), TEST(map_of_messages), TEST(negative_numbers_take_ten_bytes),
		TEST(numbers_are_cut_to_their_type), TEST(unknown_enum_numbers_are_kept), TEST(optional_zero_is_written_and_plain_zero_is_not),
		TEST(empty_message_is_no_bytes), TEST(last_scalar_wins), TEST(last_oneof_member_wins), TEST(parts_of_a_message_are_put_together),
		TEST(too_many_parts_are_refused), TEST(fields_in_any_order), TEST(unknown_fields_are_skipped),
		TEST(download_keeps_unknown_fields), TEST(nested_messages_keep_unknown_fields), TEST(deep_copy_shares_nothing),
		TEST(decode_copy_outlives_the_input), TEST(doubles_are_little_endian), TEST(broken_bytes_are_refused),
		TEST(strings_must_be_utf8), TEST(nesting_has_a_limit), TEST(message_size_has_a_limit), TEST(map_entries_have_a_limit),
		TEST(elements_have_a_limit), TEST(arena_limit_is_a_clean_error), TEST(every_truncation_is_handled),
		TEST(every_changed_byte_is_handled), TEST(secrets_are_not_printed), TEST(print_forms), TEST(status_details_hold_any_message),
		TEST(services_name_their_methods), TEST(string_fields_are_found_by_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
