/*
 * A small HTTP/1.1 origin for tests and the demo, in a thread of its own: generated content, files of a directory, scripted answers,
 * and misbehaviour on demand. It uses nothing of src/, so that it can judge it. One poll loop; about as fast as loopback.
 *
 * Paths
 *   /gen/SIZE/SEED[/any]   SIZE bytes (suffix K, M, G: binary), byte i is origin_gen_byte(SEED, i)
 *   /_stats                JSON: requests, bytes (of bodies), connections, and the same per path
 *   /_reset                forgets the counts
 *   anything else          a file below the directory, 404 when there is none
 *
 * Switches, as query parameters of any content path
 *   norange           Range is ignored          chunked          no length, chunked
 *   nolength          ends with the connection  headlength       HEAD tells the length all the same
 *   nohead            HEAD is answered 405      nototal          Content-Range with '*'
 *   wrongrange        206 for another range     gzip             says Content-Encoding: gzip
 *   cut=N  reset=N    closes, resets after N body bytes      stall=N   says nothing more after N body bytes
 *   once, until=K     cut, reset and stall only the first time, the first K times that the target is asked for
 *   lie=N             Content-Length is N more than what comes (N may be negative)
 *   status=C          answers C                 fail=K           ... only the first K times
 *   retryafter=S      with status: Retry-After  hang             takes the request and never answers
 *   redirect=URL      to URL (percent-encoded)  code=C           ... with C instead of 302
 *   etag=TEXT         ETag "TEXT"               etagafter=N      another ETag from the request N+1 on
 *   noetag            no ETag, no Last-Modified
 *   slow=MS           waits before the header   drip=B           B body bytes a second
 *   basic=USER:PW     401 without it            bearer=TOKEN     401 without it
 */
#ifndef SUPPORT_ORIGIN_H
#define SUPPORT_ORIGIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct origin;

struct origin_opts {
	const char *bind;       /* IPv4 or IPv6 literal; NULL: 127.0.0.1 */
	uint16_t port;          /* 0: any free one */
	const char *dir;        /* files; NULL: none */
	uint64_t rate;          /* body bytes a second of all connections together; 0: no limit */
};

/* Starts the thread. NULL (and a line on stderr) when it cannot listen. */
struct origin *origin_start(const struct origin_opts *opts);
/* Closes all connections and ends the thread. */
void origin_stop(struct origin *o);
uint16_t origin_port(const struct origin *o);

/* What happens on the connection behind a scripted answer. */
enum origin_then { ORIGIN_KEEP, ORIGIN_CLOSE, ORIGIN_RESET, ORIGIN_STALL };

struct origin_answer {
	const char *bytes;      /* raw, from the status line on; "" sends nothing */
	size_t n;               /* 0: strlen(bytes) */
	enum origin_then then;
	int delay_ms;
};

/*
 * Requests for `target` (path and query as on the wire, or "METHOD target", which goes first) get answers[0], then answers[1]...;
 * the last one again and again. Copied.
 */
void origin_script(struct origin *o, const char *target, const struct origin_answer *answers, size_t count);

uint64_t origin_requests(struct origin *o);
uint64_t origin_bytes(struct origin *o);
uint64_t origin_connections(struct origin *o);
/* Connections that are open now. */
size_t origin_open_connections(struct origin *o);
/* The head of request i (from 0) as it came, or NULL; the caller frees. The first ORIGIN_RECORD_MAX are kept. */
#define ORIGIN_RECORD_MAX 512
char *origin_request(struct origin *o, size_t i);
/* Value of a header in such a head, NUL-terminated in out; false when there is none. The name matches in any case. */
bool origin_header(const char *head, const char *name, char *out, size_t n);
void origin_reset(struct origin *o);

/* The content: the same everywhere, different at every 4 MiB step. */
uint8_t origin_gen_byte(uint64_t seed, uint64_t i);
/* Bytes [at, at + n) of it. */
void origin_gen_fill(uint64_t seed, uint64_t at, void *out, size_t n);

#endif
