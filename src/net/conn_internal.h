/*
 * The inside of a connection. For conn.c (life and facts) and conn_io.c (bytes, waits, the loop's events) alone.
 */
#ifndef NET_CONN_INTERNAL_H
#define NET_CONN_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "net/addr.h"
#include "net/conn.h"
#include "net/loop.h"

struct dial;
struct tls_engine;

enum conn_state {
	CONN_DIALLING,
	CONN_HANDSHAKE,
	CONN_OPEN,
	CONN_LINGERS,        /* the owner is gone; what is queued goes out */
	CONN_DEAD,           /* memory is freed when the present callback is over */
};

struct conn {
	struct loop *loop;
	struct conn_events ev;
	void *ctx;
	enum conn_state state;
	int fd;
	struct loop_io io;
	struct loop_timer wait;         /* the nearest of the deadlines below, or earlier */
	struct loop_later later;        /* things to tell the owner outside its calls */
	struct loop_orphan orphan;      /* while it lingers */
	struct dial *dial;
	struct tls_engine *tls;
	struct tls_config *tls_config;  /* until the engine is made */
	char *tls_name;
	struct tls_sessions *sessions;
	char *session_key;
	char *target;                   /* "name:80" until the address is known */
	struct addr peer;
	char peer_text[ADDR_TEXT_MAX];

	struct buf rx;                  /* plaintext that on_data left */
	struct buf early;               /* ciphertext read before TLS began */
	struct buf tx;                  /* plaintext that conn_write queued */
	uint8_t *read_buf;
	size_t read_max;
	bool paused;
	bool saw_eof;
	bool told_eof;
	bool tell_open;
	bool offer;                     /* rx to be offered again */
	bool want_write;
	bool tell_drain;                /* something was queued since the last on_drain */
	bool shut;                      /* no more writing after tx */
	bool shut_done;
	bool is_broken;                 /* `failure` is to be reported */
	bool is_pushing;                /* output is waiting since wait_from_ms */
	struct err failure;

	int handshake_ms;
	int idle_ms;
	int read_ms;
	int write_ms;
	int total_ms;
	int64_t total_end;              /* of connecting; 0: none */
	int64_t handshake_end;
	int64_t linger_end;
	int64_t last_in_ms;
	int64_t last_out_ms;
	uint64_t bytes_in;
	uint64_t bytes_out;
};

/* ---- conn_io.c ---- */
/* Closes everything; the memory goes when the present callback is over. */
void conn_release(struct conn *c);
/* Ends by itself and tells the owner: from a callback of the loop only. */
void conn_finish(struct conn *c, const struct err *e);
/* Ends soon: from anywhere. The first failure counts. Always -1. */
int conn_break(struct conn *c, const struct err *e);
int conn_break_sys(struct conn *c, int errnum, const char *doing);
bool conn_has_output(const struct conn *c);
/* Sets the timer for the nearest deadline. */
void conn_watch_waits(struct conn *c);
/* Sends what is queued as far as it goes. */
void conn_flush(struct conn *c);
/* Watches the descriptor for what is needed now. */
void conn_update_io(struct conn *c);
/* What must not happen inside a call of the owner: opening, failures, bytes offered again, the free. */
void conn_on_later(struct loop_later *later);

#endif
