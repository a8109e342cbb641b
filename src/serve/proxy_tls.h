/*
 * TLS interception for the proxy (spec: proxy.md 15): a CONNECT is answered, and the client's TLS ends here with a certificate
 * minted for the host it asked for; what it sends inside is handled as https requests to that host.
 */
#ifndef SERVE_PROXY_TLS_H
#define SERVE_PROXY_TLS_H

#include <stddef.h>

struct config;
struct err;
struct proxy_interceptor;

/* Where a made authority lies, below storage.dir. */
#define PROXY_TLS_CA_DIR "proxy-ca"
/* CONNECTs of one data loop whose client has not begun or ended its handshake; more are answered 503. */
#define PROXY_TLS_PENDING_MAX 1024
/* From the 200 to the client's first byte. */
#define PROXY_TLS_FIRST_MS (60 * 1000)

/*
 * The authority of proxy.server.caCert and caKey, or the one in storage.dir (made at the first start), for side_count data loops.
 * For proxy_options.interceptor, which owns it. NULL with an error that names the key and the file.
 */
struct proxy_interceptor *proxy_tls_new(const struct config *c, size_t side_count, struct err *e);

#endif
