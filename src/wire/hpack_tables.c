#include "wire/hpack_tables.h"

/* RFC 7541, appendix B: code and its length in bits for each byte, the last one is EOS. */
const struct huffman_code huffman_codes[HUFFMAN_SYMBOLS] = {
	{0x1ff8, 13}, {0x7fffd8, 23}, {0xfffffe2, 28}, {0xfffffe3, 28}, {0xfffffe4, 28}, {0xfffffe5, 28},
	{0xfffffe6, 28}, {0xfffffe7, 28}, {0xfffffe8, 28}, {0xffffea, 24}, {0x3ffffffc, 30}, {0xfffffe9, 28},
	{0xfffffea, 28}, {0x3ffffffd, 30}, {0xfffffeb, 28}, {0xfffffec, 28}, {0xfffffed, 28}, {0xfffffee, 28},
	{0xfffffef, 28}, {0xffffff0, 28}, {0xffffff1, 28}, {0xffffff2, 28}, {0x3ffffffe, 30}, {0xffffff3, 28},
	{0xffffff4, 28}, {0xffffff5, 28}, {0xffffff6, 28}, {0xffffff7, 28}, {0xffffff8, 28}, {0xffffff9, 28},
	{0xffffffa, 28}, {0xffffffb, 28}, {0x14, 6}, {0x3f8, 10}, {0x3f9, 10}, {0xffa, 12}, {0x1ff9, 13}, {0x15, 6},
	{0xf8, 8}, {0x7fa, 11}, {0x3fa, 10}, {0x3fb, 10}, {0xf9, 8}, {0x7fb, 11}, {0xfa, 8}, {0x16, 6}, {0x17, 6},
	{0x18, 6}, {0x0, 5}, {0x1, 5}, {0x2, 5}, {0x19, 6}, {0x1a, 6}, {0x1b, 6}, {0x1c, 6}, {0x1d, 6}, {0x1e, 6},
	{0x1f, 6}, {0x5c, 7}, {0xfb, 8}, {0x7ffc, 15}, {0x20, 6}, {0xffb, 12}, {0x3fc, 10}, {0x1ffa, 13}, {0x21, 6},
	{0x5d, 7}, {0x5e, 7}, {0x5f, 7}, {0x60, 7}, {0x61, 7}, {0x62, 7}, {0x63, 7}, {0x64, 7}, {0x65, 7},
	{0x66, 7}, {0x67, 7}, {0x68, 7}, {0x69, 7}, {0x6a, 7}, {0x6b, 7}, {0x6c, 7}, {0x6d, 7}, {0x6e, 7},
	{0x6f, 7}, {0x70, 7}, {0x71, 7}, {0x72, 7}, {0xfc, 8}, {0x73, 7}, {0xfd, 8}, {0x1ffb, 13}, {0x7fff0, 19},
	{0x1ffc, 13}, {0x3ffc, 14}, {0x22, 6}, {0x7ffd, 15}, {0x3, 5}, {0x23, 6}, {0x4, 5}, {0x24, 6}, {0x5, 5},
	{0x25, 6}, {0x26, 6}, {0x27, 6}, {0x6, 5}, {0x74, 7}, {0x75, 7}, {0x28, 6}, {0x29, 6}, {0x2a, 6}, {0x7, 5},
	{0x2b, 6}, {0x76, 7}, {0x2c, 6}, {0x8, 5}, {0x9, 5}, {0x2d, 6}, {0x77, 7}, {0x78, 7}, {0x79, 7}, {0x7a, 7},
	{0x7b, 7}, {0x7ffe, 15}, {0x7fc, 11}, {0x3ffd, 14}, {0x1ffd, 13}, {0xffffffc, 28}, {0xfffe6, 20},
	{0x3fffd2, 22}, {0xfffe7, 20}, {0xfffe8, 20}, {0x3fffd3, 22}, {0x3fffd4, 22}, {0x3fffd5, 22},
	{0x7fffd9, 23}, {0x3fffd6, 22}, {0x7fffda, 23}, {0x7fffdb, 23}, {0x7fffdc, 23}, {0x7fffdd, 23},
	{0x7fffde, 23}, {0xffffeb, 24}, {0x7fffdf, 23}, {0xffffec, 24}, {0xffffed, 24}, {0x3fffd7, 22},
	{0x7fffe0, 23}, {0xffffee, 24}, {0x7fffe1, 23}, {0x7fffe2, 23}, {0x7fffe3, 23}, {0x7fffe4, 23},
	{0x1fffdc, 21}, {0x3fffd8, 22}, {0x7fffe5, 23}, {0x3fffd9, 22}, {0x7fffe6, 23}, {0x7fffe7, 23},
	{0xffffef, 24}, {0x3fffda, 22}, {0x1fffdd, 21}, {0xfffe9, 20}, {0x3fffdb, 22}, {0x3fffdc, 22},
	{0x7fffe8, 23}, {0x7fffe9, 23}, {0x1fffde, 21}, {0x7fffea, 23}, {0x3fffdd, 22}, {0x3fffde, 22},
	{0xfffff0, 24}, {0x1fffdf, 21}, {0x3fffdf, 22}, {0x7fffeb, 23}, {0x7fffec, 23}, {0x1fffe0, 21},
	{0x1fffe1, 21}, {0x3fffe0, 22}, {0x1fffe2, 21}, {0x7fffed, 23}, {0x3fffe1, 22}, {0x7fffee, 23},
	{0x7fffef, 23}, {0xfffea, 20}, {0x3fffe2, 22}, {0x3fffe3, 22}, {0x3fffe4, 22}, {0x7ffff0, 23},
	{0x3fffe5, 22}, {0x3fffe6, 22}, {0x7ffff1, 23}, {0x3ffffe0, 26}, {0x3ffffe1, 26}, {0xfffeb, 20},
	{0x7fff1, 19}, {0x3fffe7, 22}, {0x7ffff2, 23}, {0x3fffe8, 22}, {0x1ffffec, 25}, {0x3ffffe2, 26},
	{0x3ffffe3, 26}, {0x3ffffe4, 26}, {0x7ffffde, 27}, {0x7ffffdf, 27}, {0x3ffffe5, 26}, {0xfffff1, 24},
	{0x1ffffed, 25}, {0x7fff2, 19}, {0x1fffe3, 21}, {0x3ffffe6, 26}, {0x7ffffe0, 27}, {0x7ffffe1, 27},
	{0x3ffffe7, 26}, {0x7ffffe2, 27}, {0xfffff2, 24}, {0x1fffe4, 21}, {0x1fffe5, 21}, {0x3ffffe8, 26},
	{0x3ffffe9, 26}, {0xffffffd, 28}, {0x7ffffe3, 27}, {0x7ffffe4, 27}, {0x7ffffe5, 27}, {0xfffec, 20},
	{0xfffff3, 24}, {0xfffed, 20}, {0x1fffe6, 21}, {0x3fffe9, 22}, {0x1fffe7, 21}, {0x1fffe8, 21},
	{0x7ffff3, 23}, {0x3fffea, 22}, {0x3fffeb, 22}, {0x1ffffee, 25}, {0x1ffffef, 25}, {0xfffff4, 24},
	{0xfffff5, 24}, {0x3ffffea, 26}, {0x7ffff4, 23}, {0x3ffffeb, 26}, {0x7ffffe6, 27}, {0x3ffffec, 26},
	{0x3ffffed, 26}, {0x7ffffe7, 27}, {0x7ffffe8, 27}, {0x7ffffe9, 27}, {0x7ffffea, 27}, {0x7ffffeb, 27},
	{0xffffffe, 28}, {0x7ffffec, 27}, {0x7ffffed, 27}, {0x7ffffee, 27}, {0x7ffffef, 27}, {0x7fffff0, 27},
	{0x3ffffee, 26}, {0x3fffffff, 30},
};

/* The codes are canonical: of one length they count up in this order of symbols. */
const uint16_t huffman_symbols[HUFFMAN_SYMBOLS] = {
	48, 49, 50, 97, 99, 101, 105, 111, 115, 116, 32, 37, 45, 46, 47, 51, 52, 53, 54, 55, 56, 57, 61, 65, 95, 98, 100, 102,
	103, 104, 108, 109, 110, 112, 114, 117, 58, 66, 67, 68, 69, 70, 71, 72, 73, 74, 75, 76, 77, 78, 79, 80, 81, 82, 83,
	84, 85, 86, 87, 89, 106, 107, 113, 118, 119, 120, 121, 122, 38, 42, 44, 59, 88, 90, 33, 34, 40, 41, 63, 39, 43, 124,
	35, 62, 0, 36, 64, 91, 93, 126, 94, 125, 60, 96, 123, 92, 195, 208, 128, 130, 131, 162, 184, 194, 224, 226, 153, 161,
	167, 172, 176, 177, 179, 209, 216, 217, 227, 229, 230, 129, 132, 133, 134, 136, 146, 154, 156, 160, 163, 164, 169,
	170, 173, 178, 181, 185, 186, 187, 189, 190, 196, 198, 228, 232, 233, 1, 135, 137, 138, 139, 140, 141, 143, 147, 149,
	150, 151, 152, 155, 157, 158, 165, 166, 168, 174, 175, 180, 182, 183, 188, 191, 197, 231, 239, 9, 142, 144, 145, 148,
	159, 171, 206, 215, 225, 236, 237, 199, 207, 234, 235, 192, 193, 200, 201, 202, 205, 210, 213, 218, 219, 238, 240,
	242, 243, 255, 203, 204, 211, 212, 214, 221, 222, 223, 241, 244, 245, 246, 247, 248, 250, 251, 252, 253, 254, 2, 3, 4,
	5, 6, 7, 8, 11, 12, 14, 15, 16, 17, 18, 19, 20, 21, 23, 24, 25, 26, 27, 28, 29, 30, 31, 127, 220, 249, 10, 13, 22,
	256,
};

const struct huffman_length huffman_lengths[HUFFMAN_BITS_MAX + 1] = {
	{0x0, 0, 0}, /* 0 bits */
	{0x0, 0, 0}, /* 1 bits */
	{0x0, 0, 0}, /* 2 bits */
	{0x0, 0, 0}, /* 3 bits */
	{0x0, 0, 0}, /* 4 bits */
	{0x0, 0, 10}, /* 5 bits */
	{0x14, 10, 26}, /* 6 bits */
	{0x5c, 36, 32}, /* 7 bits */
	{0xf8, 68, 6}, /* 8 bits */
	{0x0, 0, 0}, /* 9 bits */
	{0x3f8, 74, 5}, /* 10 bits */
	{0x7fa, 79, 3}, /* 11 bits */
	{0xffa, 82, 2}, /* 12 bits */
	{0x1ff8, 84, 6}, /* 13 bits */
	{0x3ffc, 90, 2}, /* 14 bits */
	{0x7ffc, 92, 3}, /* 15 bits */
	{0x0, 0, 0}, /* 16 bits */
	{0x0, 0, 0}, /* 17 bits */
	{0x0, 0, 0}, /* 18 bits */
	{0x7fff0, 95, 3}, /* 19 bits */
	{0xfffe6, 98, 8}, /* 20 bits */
	{0x1fffdc, 106, 13}, /* 21 bits */
	{0x3fffd2, 119, 26}, /* 22 bits */
	{0x7fffd8, 145, 29}, /* 23 bits */
	{0xffffea, 174, 12}, /* 24 bits */
	{0x1ffffec, 186, 4}, /* 25 bits */
	{0x3ffffe0, 190, 15}, /* 26 bits */
	{0x7ffffde, 205, 19}, /* 27 bits */
	{0xfffffe2, 224, 29}, /* 28 bits */
	{0x0, 0, 0}, /* 29 bits */
	{0x3ffffffc, 253, 4}, /* 30 bits */
};

#define ENTRY(name, value) {name, value, sizeof(name) - 1, sizeof(value) - 1}

const struct hpack_static hpack_static[HPACK_STATIC_COUNT] = {
	ENTRY(":authority", ""), /* 1 */
	ENTRY(":method", "GET"), /* 2 */
	ENTRY(":method", "POST"), /* 3 */
	ENTRY(":path", "/"), /* 4 */
	ENTRY(":path", "/index.html"), /* 5 */
	ENTRY(":scheme", "http"), /* 6 */
	ENTRY(":scheme", "https"), /* 7 */
	ENTRY(":status", "200"), /* 8 */
	ENTRY(":status", "204"), /* 9 */
	ENTRY(":status", "206"), /* 10 */
	ENTRY(":status", "304"), /* 11 */
	ENTRY(":status", "400"), /* 12 */
	ENTRY(":status", "404"), /* 13 */
	ENTRY(":status", "500"), /* 14 */
	ENTRY("accept-charset", ""), /* 15 */
	ENTRY("accept-encoding", "gzip, deflate"), /* 16 */
	ENTRY("accept-language", ""), /* 17 */
	ENTRY("accept-ranges", ""), /* 18 */
	ENTRY("accept", ""), /* 19 */
	ENTRY("access-control-allow-origin", ""), /* 20 */
	ENTRY("age", ""), /* 21 */
	ENTRY("allow", ""), /* 22 */
	ENTRY("authorization", ""), /* 23 */
	ENTRY("cache-control", ""), /* 24 */
	ENTRY("content-disposition", ""), /* 25 */
	ENTRY("content-encoding", ""), /* 26 */
	ENTRY("content-language", ""), /* 27 */
	ENTRY("content-length", ""), /* 28 */
	ENTRY("content-location", ""), /* 29 */
	ENTRY("content-range", ""), /* 30 */
	ENTRY("content-type", ""), /* 31 */
	ENTRY("cookie", ""), /* 32 */
	ENTRY("date", ""), /* 33 */
	ENTRY("etag", ""), /* 34 */
	ENTRY("expect", ""), /* 35 */
	ENTRY("expires", ""), /* 36 */
	ENTRY("from", ""), /* 37 */
	ENTRY("host", ""), /* 38 */
	ENTRY("if-match", ""), /* 39 */
	ENTRY("if-modified-since", ""), /* 40 */
	ENTRY("if-none-match", ""), /* 41 */
	ENTRY("if-range", ""), /* 42 */
	ENTRY("if-unmodified-since", ""), /* 43 */
	ENTRY("last-modified", ""), /* 44 */
	ENTRY("link", ""), /* 45 */
	ENTRY("location", ""), /* 46 */
	ENTRY("max-forwards", ""), /* 47 */
	ENTRY("proxy-authenticate", ""), /* 48 */
	ENTRY("proxy-authorization", ""), /* 49 */
	ENTRY("range", ""), /* 50 */
	ENTRY("referer", ""), /* 51 */
	ENTRY("refresh", ""), /* 52 */
	ENTRY("retry-after", ""), /* 53 */
	ENTRY("server", ""), /* 54 */
	ENTRY("set-cookie", ""), /* 55 */
	ENTRY("strict-transport-security", ""), /* 56 */
	ENTRY("transfer-encoding", ""), /* 57 */
	ENTRY("user-agent", ""), /* 58 */
	ENTRY("vary", ""), /* 59 */
	ENTRY("via", ""), /* 60 */
	ENTRY("www-authenticate", ""), /* 61 */
};
