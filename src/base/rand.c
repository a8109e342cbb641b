#include "base/rand.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define RAND_SOURCE "/dev/urandom"
/* One read serves this many bytes; requests larger than it go to the system directly. */
#define RAND_BUFFER 512

struct rand_buffer {
	uint8_t bytes[RAND_BUFFER];
	size_t left;    /* unused bytes at the end */
	pid_t owner;    /* a forked child must not hand out its parent's numbers */
};

static _Thread_local struct rand_buffer buffer;
/* Kept open, so that running out of descriptors never stops the program here. */
static int source = -1;
static pthread_once_t source_once = PTHREAD_ONCE_INIT;

static _Noreturn void
give_up(const char *what)
{
	fprintf(stderr, "%s %s: %s\n", what, RAND_SOURCE, strerror(errno));
	abort();
}

static void
open_source(void)
{
	source = open(RAND_SOURCE, O_RDONLY | O_CLOEXEC);
	if (source < 0)
		give_up("open");
}

static void
read_source(uint8_t *out, size_t n)
{
	pthread_once(&source_once, open_source);
	while (n > 0) {
		ssize_t got = read(source, out, n);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			give_up("read");
		out += got;
		n -= (size_t)got;
	}
}

void
rand_bytes(void *out, size_t n)
{
	struct rand_buffer *b = &buffer;
	pid_t me = getpid();
	uint8_t *from;

	if (n == 0)
		return;
	if (n > RAND_BUFFER) {
		read_source(out, n);
		return;
	}
	if (b->left < n || b->owner != me) {
		read_source(b->bytes, RAND_BUFFER);
		b->left = RAND_BUFFER;
		b->owner = me;
	}
	from = b->bytes + (RAND_BUFFER - b->left);
	memcpy(out, from, n);
	/* What was a key once must not lie around here. */
	memset(from, 0, n);
	b->left -= n;
}

uint64_t
rand_u64(void)
{
	uint64_t v;

	rand_bytes(&v, sizeof(v));
	return v;
}

uint64_t
rand_below(uint64_t n)
{
	/* Values below 2^64 mod n would make small results likelier. */
	uint64_t skip = (0 - n) % n, v;

	do {
		v = rand_u64();
	} while (v < skip);
	return v % n;
}

void
rand_uuid(char out[RAND_UUID_MAX])
{
	static const char digits[] = "0123456789abcdef";
	uint8_t b[16];
	size_t at = 0;

	rand_bytes(b, sizeof(b));
	b[6] = (uint8_t)((b[6] & 0x0f) | 0x40);
	b[8] = (uint8_t)((b[8] & 0x3f) | 0x80);
	for (size_t i = 0; i < sizeof(b); i++) {
		if (i == 4 || i == 6 || i == 8 || i == 10)
			out[at++] = '-';
		out[at++] = digits[b[i] >> 4];
		out[at++] = digits[b[i] & 15];
	}
	out[at] = 0;
}
