/*
 * dfdaemon.yaml as one struct: every key with its default filled in and its range checked. Names are those of the file in
 * snake_case, sections are nested structs. The struct is filled once and then only read, so any thread may look at it.
 * Files are found in paths.h; the dynamic part (schedulers, block lists) is dynconfig.h.
 *
 * Text fields are NUL-terminated and owned by the struct. "or NULL" marks a key that may be absent; all others are never NULL.
 * Times are in ms (0 to CONFIG_MS_MAX), rates in bytes a second with 0 for "no limit", percents 0 to 100.
 */
#ifndef CONFIG_CONFIG_H
#define CONFIG_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"

struct buf;
struct err;
struct regex;

/* Longest time a key may hold (292 years): adding it to any clock in ms does not overflow. */
#define CONFIG_MS_MAX (INT64_MAX / 1000000 + 1)
/* The reference's own limit; nobody writes a larger one by hand. */
#define CONFIG_FILE_MAX (1024 * 1024)

/* Ranges in one list of addresses. */
#define CONFIG_RANGES_MAX 1024

struct config_strings {
	const char *const *items;
	size_t count;
};

struct config_header {
	const char *name;
	const char *value;
};

struct config_headers {
	struct config_header *items;
	size_t count;
};

/* PEM files; either all three are given or none. */
struct config_tls {
	const char *ca_cert;            /* or NULL */
	const char *cert;               /* or NULL */
	const char *key;                /* or NULL */
};

enum config_protocol { CONFIG_PROTOCOL_TCP, CONFIG_PROTOCOL_QUIC };
enum config_seed_type { CONFIG_SEED_NORMAL, CONFIG_SEED_SUPER };        /* numbers of the announced host type */
enum config_writeback { CONFIG_WRITEBACK_SYNC, CONFIG_WRITEBACK_ASYNC, CONFIG_WRITEBACK_OFF };
enum config_scheduling { CONFIG_SCHEDULING_AUTO, CONFIG_SCHEDULING_ALWAYS };
enum config_ring { CONFIG_RING_HOSTNAME, CONFIG_RING_ADDRESS };
/* Who may give orders over the upload port: anybody, schedulers, nobody. */
enum config_control { CONFIG_CONTROL_ANY, CONFIG_CONTROL_SCHEDULERS, CONFIG_CONTROL_NONE };
enum config_piece_tls { CONFIG_PIECE_TLS_PREFER, CONFIG_PIECE_TLS_REQUIRE };
enum config_storage_sync { CONFIG_SYNC_NONE, CONFIG_SYNC_COMPLETE, CONFIG_SYNC_PIECE };
enum config_log_format { CONFIG_LOG_TEXT, CONFIG_LOG_JSON };

struct config_host {
	const char *idc;                /* or NULL; may be empty */
	const char *location;           /* or NULL; may be empty */
	const char *hostname;           /* NULL until config_derive_host when not in the file */
	const char *ip;                 /* NULL until config_derive_host when not in the file */
	uint64_t scheduler_cluster_id;  /* 0 when absent */
};

/* Load shedding on both gRPC servers. */
struct config_adaptive_rate_limit {
	bool is_on;
	uint32_t bucket_count;
	int64_t bucket_interval_ms;
	uint8_t cpu_threshold_percent;          /* 100: not considered */
	uint8_t memory_threshold_percent;       /* 100: not considered */
	int64_t shed_cooldown_ms;
	int64_t collect_interval_ms;
};

struct config_server {
	const char *plugin_dir;
	const char *cache_dir;
	struct config_adaptive_rate_limit adaptive_rate_limit;
};

struct config_download {
	struct {
		const char *socket_path;
		uint64_t request_rate_limit;    /* requests a second, at least 1 */
		uint64_t request_buffer_size;   /* waiting requests, at least 1 */
	} server;
	enum config_protocol protocol;
	uint64_t bandwidth_limit;
	uint64_t back_to_source_bandwidth_limit;
	int64_t piece_timeout_ms;
	int64_t collected_piece_timeout_ms;
	uint32_t concurrent_piece_count;
	uint32_t back_to_source_concurrent_piece_count;
};

struct config_upload {
	struct {
		const char *ip;
		uint16_t port;
		struct config_tls tls;
		uint64_t request_rate_limit;
		uint64_t request_buffer_size;
	} server;
	struct {
		struct config_tls tls;
	} client;
	bool disable_shared;
	uint64_t bandwidth_limit;
};

struct config_manager {
	const char *addr;               /* "http://host:65003", "https://..." or "host:port"; or NULL */
	struct config_tls tls;
};

struct config_scheduler {
	int64_t announce_interval_ms;
	int64_t schedule_timeout_ms;
	uint32_t max_schedule_count;
	struct config_tls tls;
};

struct config_seed_peer {
	bool enable;
	enum config_seed_type type;
};

struct config_dynconfig {
	int64_t refresh_interval_ms;
};

struct config_storage {
	struct {
		const char *ip;
		uint16_t tcp_port;
		bool tcp_fastopen;
		uint16_t quic_port;
	} server;
	enum config_writeback writeback_mode;
	const char *dir;
	bool keep;
	int64_t write_piece_timeout_ms;
	uint64_t write_buffer_bytes;
	uint64_t read_buffer_bytes;
	uint64_t cache_capacity_bytes;
};

struct config_backend {
	struct config_headers request_header;
	uint32_t max_retries;
	bool enable_cache_temporary_redirect;
	int64_t cache_temporary_redirect_ttl_ms;
	uint32_t put_concurrent_chunk_count;
	uint64_t put_chunk_bytes;
	int64_t put_timeout_ms;
	bool enable_hickory_dns;        /* kept for the file's sake; without effect */
};

struct config_gc {
	int64_t interval_ms;
	struct {
		int64_t task_ttl_ms;
		int64_t persistent_task_ttl_ms;
		int64_t persistent_cache_task_ttl_ms;
		int64_t page_cache_idle_timeout_ms;
		uint64_t disk_threshold_bytes;          /* 0: the whole file system */
		uint8_t disk_high_threshold_percent;
		uint8_t disk_low_threshold_percent;
	} policy;
};

struct config_proxy_rule {
	const char *pattern;
	struct regex *regex;            /* matched against the URL without query and fragment */
	bool use_tls;
	const char *redirect;           /* "host" or "host:port" (IPv6 in brackets), or NULL */
	bool redirect_is_plain;         /* the redirect was given with http://: no TLS whatever was asked for (https:// sets use_tls) */
	struct config_strings filtered_query_params;
	enum config_scheduling scheduling_policy;
};

struct config_proxy {
	struct {
		bool enable;                            /* a key of our own: false leaves the port closed */
		const char *ip;
		uint16_t port;
		uint64_t request_rate_limit;            /* 0 refuses everything, as in the reference */
		bool allow_remote_output_path;          /* a key of our own: clients of other hosts may have files placed */
		const char *ca_cert;                    /* or NULL; together with ca_key */
		const char *ca_key;                     /* or NULL */
		struct config_strings intercept_hosts;  /* host patterns; when not empty, CONNECT to other hosts is a blind tunnel */
		struct {
			bool is_on;
			const char *username;           /* NULL when off */
			const char *password;           /* NULL when off; a secret */
		} basic_auth;
	} server;
	struct config_proxy_rule *rules;
	size_t rule_count;
	struct {
		const char *addr;
		const char *cert;                       /* or NULL */
		bool enable_task_id_based_blob_digest;
		struct config_strings plain_http;       /* host[:port] patterns that are asked without TLS */
		struct config_strings allow;            /* host patterns; when not empty, only these may be named by a client */
	} registry_mirror;
	bool disable_back_to_source;
	bool prefetch;
	bool revalidate_auth;                           /* a key of our own: private contents only for whom the origin lets have them */
	uint64_t prefetch_bandwidth_limit;
	uint64_t read_buffer_bytes;
};

/* Health, metrics and stats. */
struct config_listener {
	bool enable;                    /* a key of our own: false leaves the port closed */
	const char *ip;
	uint16_t port;
};

struct config_tracing {
	const char *protocol;           /* or NULL */
	const char *endpoint;           /* or NULL */
	const char *path;
	struct config_headers headers;
};

/* Keys of our own, under the top-level map "x" that other implementations ignore. */
struct config_x {
	const char *user;               /* name or number the daemon runs as once its ports are open, or NULL */
	const char *group;              /* or NULL: the user's */
	struct {
		bool enable;
		uint16_t port;
		struct config_strings peers;            /* "host:port" of other embedded schedulers */
		enum config_ring ring;
		bool mesh;                              /* two peers may be each other's parents */
		bool host_owners;                       /* a living host is announced again and deleted from its own address alone */
		struct {
			bool allow_loopback;            /* registries on this host */
			bool blob_digest_task_id;       /* layers have their digest as task id */
		} preheat;
	} scheduler;
	struct {
		struct config_strings addrs;            /* further managers, as manager.addr */
	} manager;
	struct {
		uint64_t cluster_id;                    /* where a seed peer has its entry at the manager; 0: nowhere */
	} seed_peer;
	struct {
		bool insecure_skip_verify;
		const char *ca_cert;                    /* PEM roots for origins, or NULL: the system's */
	} backend;
	struct {
		enum config_piece_tls tls;              /* piece transfers, where upload.client and upload.server have certificates */
	} piece;
	struct {
		uint32_t max_concurrent_tasks;
		uint32_t socket_mode;                   /* of the unix socket: permission bits */
	} download;
	struct {
		bool enforce_block_list;                /* also for downloads that schedulers and peers ask for */
		enum config_control control;
		struct config_strings controllers;      /* names of client certificates that count as schedulers */
		struct config_strings output_dirs;      /* absolute paths: files may be placed below them for callers over TCP */
		struct {
			struct config_strings allow, deny;      /* "address/bits", see net/cidr.h */
		} origins;                              /* that callers over TCP may name */
	} upload;
	struct {
		uint64_t capacity_bytes;                /* hard budget of content; 0: the file system is the limit */
		enum config_storage_sync sync;
	} storage;
	struct {
		uint32_t io_threads;                    /* loops that move bytes; 0: online CPUs, at least 2 */
	} server;
	struct {
		uint32_t max_connections;
		int64_t answer_timeout_ms;              /* of upstreams of what does not come from the cluster */
	} proxy;
	struct {
		enum config_log_format format;
		const char *level;                      /* or NULL */
	} log;
};

struct config {
	struct config_host host;
	struct config_server server;
	struct config_download download;
	struct config_upload upload;
	struct config_manager manager;
	struct config_scheduler scheduler;
	struct config_seed_peer seed_peer;
	struct config_dynconfig dynconfig;
	struct config_storage storage;
	struct config_backend backend;
	struct config_gc gc;
	struct config_proxy proxy;
	struct {
		bool enable;
	} security;
	struct config_listener health;
	struct config_listener metrics;
	struct config_listener stats;
	struct config_tracing tracing;
	struct {
		bool enable_ipv6;
	} network;
	struct config_x x;

	struct arena arena;             /* all text and lists above */
};

/* Every problem of one file, each "file:line:column: key: message". Never holds a secret. */
#define CONFIG_ERRORS_MAX 20
#define CONFIG_WARNINGS_MAX 100

struct config_notes {
	char **warnings;
	size_t warning_count;
	size_t warnings_dropped;        /* beyond CONFIG_WARNINGS_MAX */
	char **errors;
	size_t error_count;             /* at most CONFIG_ERRORS_MAX; more are not looked for */
};

#define CONFIG_NOTES_INIT ((struct config_notes){0})

void config_notes_free(struct config_notes *n);

struct config_options {
	bool is_strict;                 /* unknown keys are errors */
	bool allow_ephemeral_ports;     /* port 0 lets the system choose; for tests */
	const char *const *sets;        /* "KEY.PATH=VALUE", applied in order after the file */
	size_t set_count;
};

/* Query parameters that signed URLs of the known stores carry and that say nothing about the content: the default of
 * proxy.rules[].filteredQueryParams. */
#define CONFIG_SIGNING_PARAMS 30
extern const char *const config_signing_params[CONFIG_SIGNING_PARAMS];

/* The defaults, checked and complete except for host.hostname and host.ip. Free with config_free. */
void config_defaults(struct config *out);

/*
 * Read, map onto the defaults, check. On success *out is complete except for host.hostname and host.ip (config_derive_host)
 * and is freed with config_free. On failure nothing is left in *out and e holds all error lines that fit, one a line;
 * notes->errors holds each of them. notes may be NULL; what it held before is freed. `name` stands in the messages for the file's path. options may be NULL.
 */
int config_load_file(const char *path, struct config *out, struct config_notes *notes, struct err *e);
int config_load_text(const char *text, size_t len, const char *name, struct config *out, struct config_notes *notes, struct err *e);
/* The same with options; path NULL means no file, only defaults and options->sets. */
int config_load_file_with(const char *path, const struct config_options *options, struct config *out,
	struct config_notes *notes, struct err *e);
int config_load_text_with(const char *text, size_t len, const char *name, const struct config_options *options,
	struct config *out, struct config_notes *notes, struct err *e);

/* Fills host.hostname (from the system) and host.ip (address of the default route, else of an interface that is up) where the file
 * left them out. Falls back to 127.0.0.1 when the embedded scheduler is the only scheduler; else fails with what to set. */
int config_derive_host(struct config *c, struct err *e);

/* The configuration as YAML that config_load_text reads back; passwords are shown as "***". */
void config_print(const struct config *c, struct buf *out);

void config_free(struct config *c);

#endif
