/*
 * One question to the name servers: over UDP from a fresh port with a fresh id each time, over TCP when the answer is cut
 * short, from server to server until one answers. For dns.c alone.
 */
#ifndef NET_DNS_QUERY_H
#define NET_DNS_QUERY_H

#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "net/dns_conf.h"
#include "net/dns_wire.h"
#include "net/loop.h"

/* Aliases asked for one after the other. */
#define DNS_CHASE_MAX 8
/* Datagrams read and thrown away before the server's turn is over: a flood of forged ones cannot hold us. */
#define DNS_FORGED_MAX 100

struct dns_query {
	struct loop *loop;
	const struct dns_conf *conf;
	void (*done)(struct dns_query *q);

	char name[DNS_NAME_SIZE];
	enum dns_type type;
	int fd;                         /* -1: not under way */
	struct loop_io io;
	struct loop_timer timer;
	uint16_t id;
	unsigned tries;                 /* servers asked so far; the next one is tries % n_servers */
	unsigned chased;
	unsigned forged;
	bool is_tcp;
	struct buf tcp_out;
	struct buf tcp_in;

	/* The outcome: answer, when failed.code is ERR_OK. */
	struct dns_answer answer;
	struct err failed;
	bool is_done;
};

/* Starts; `done` is called from the loop once, unless dns_query_stop came first. conf must live as long. */
void dns_query_start(struct dns_query *q, struct loop *loop, const struct dns_conf *conf, const char *name, enum dns_type type,
    void (*done)(struct dns_query *q));
/* Frees what it holds; no callback follows. */
void dns_query_stop(struct dns_query *q);

#endif
