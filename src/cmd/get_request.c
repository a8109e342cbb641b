/*
 * The Download message of one file (spec: cli.md 3.4, 3.8).
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/read_file.h"
#include "cmd/get.h"
#include "cmd/get_netrc.h"
#include "config/local_addr.h"
#include "net/pb_time.h"
#include "peer/ids.h"
#include "text/encode.h"

/* A bundle of certificates; the system's has about 250 KB. */
#define CA_FILE_MAX ((size_t)1 << 20)
#define CERTIFICATES_MAX 512

static int
out_of_memory(struct err *e)
{
	return err_set(e, ERR_RESOURCE_EXHAUSTED, "the options are longer than %zu bytes", GET_PLAN_BYTES);
}

/* ---- header fields ---- */

static bool
is_token(struct slice s)
{
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] <= ' ' || s.p[i] >= 0x7f || strchr("\"(),/:;<=>?@[\\]{}", s.p[i]) != NULL)
			return false;
	return s.n > 0;
}

static bool
is_value(struct slice s)
{
	for (size_t i = 0; i < s.n; i++)
		if ((s.p[i] < ' ' && s.p[i] != '\t') || s.p[i] == 0x7f)
			return false;
	return true;
}

/* The last one of a name counts, whatever its case. */
static int
add_header(struct get_plan *p, struct slice name, struct slice value, struct err *e)
{
	struct common_download *d = &p->request;

	for (size_t i = 0; i < d->n_request_header; i++) {
		if (slice_ieq(d->request_header[i].key, name)) {
			d->request_header[i] = (struct pb_pair){.key = name, .value = value};
			return 0;
		}
	}
	if (d->n_request_header >= GET_HEADERS_MAX) {
		err_set(e, ERR_INVALID_ARGUMENT, "more than %d header fields", GET_HEADERS_MAX);
		return OPTIONS_USAGE;
	}
	/* Proto strings that are present must not be the absent slice. */
	if (value.n == 0)
		value = slice_make("", 0);
	d->request_header[d->n_request_header++] = (struct pb_pair){.key = name, .value = value};
	return 0;
}

static int
add_header_text(struct get_plan *p, const char *text, struct err *e)
{
	struct slice s = slice_str(text), name, value;
	ptrdiff_t colon = slice_find(s, ':');

	if (colon < 0) {
		err_set(e, ERR_INVALID_ARGUMENT, "invalid header '%.100s': expected 'Name: value'", text);
		return OPTIONS_USAGE;
	}
	name = slice_trim(slice_sub(s, 0, (size_t)colon));
	value = slice_trim(slice_sub(s, (size_t)colon + 1, s.n));
	if (!is_token(name) || !is_value(value)) {
		err_set(e, ERR_INVALID_ARGUMENT, "invalid header '%.*s': %s", SLICE_ARG(slice_sub(name, 0, 100)),
		    is_token(name) ? "the value has control characters" : "not a header name");
		return OPTIONS_USAGE;
	}
	return add_header(p, name, value, e);
}

static int
add_user(struct get_plan *p, struct slice user, struct err *e)
{
	struct buf b = BUF_INIT;
	char *copy;

	buf_append_str(&b, "Basic ");
	base64_encode(user, BASE64_STD, true, &b);
	copy = arena_copy(&p->arena, buf_data(&b), b.len);
	buf_free(&b);
	if (copy == NULL)
		return out_of_memory(e);
	return add_header(p, slice_str("Authorization"), slice_str(copy), e);
}

/* A credential that was given otherwise comes first. */
static int
add_netrc(struct get_plan *p, struct err *e)
{
	struct buf user = BUF_INIT;
	int rc;

	if (p->url.user.n > 0 || p->url.password.n > 0 || !p->url.is_special)
		return 0;
	for (size_t i = 0; i < p->request.n_request_header; i++)
		if (slice_ieq_str(p->request.request_header[i].key, "authorization"))
			return 0;
	rc = get_netrc_read(url_hostname(&p->url), &user, e);
	if (rc == 0 && user.len > 0)
		rc = add_user(p, buf_slice(&user), e);
	buf_wipe(&user);
	return rc;
}

static int
read_headers(struct get_plan *p, struct err *e)
{
	const struct get_options *o = p->o;
	int rc;

	p->request.request_header = arena_alloc(&p->arena, GET_HEADERS_MAX * sizeof *p->request.request_header);
	if (p->request.request_header == NULL)
		return out_of_memory(e);
	if (o->user_agent != NULL && !is_value(slice_str(o->user_agent))) {
		err_set(e, ERR_INVALID_ARGUMENT, "invalid value for '--user-agent <USER_AGENT>': control characters");
		return OPTIONS_USAGE;
	}
	if (o->user_agent != NULL && (rc = add_header(p, slice_str("User-Agent"), slice_str(o->user_agent), e)) != 0)
		return rc;
	if (o->user != NULL && (rc = add_user(p, slice_str(o->user), e)) != 0)
		return rc;
	for (size_t i = 0; i < o->headers.count; i++)
		if ((rc = add_header_text(p, o->headers.items[i], e)) != 0)
			return rc;
	if (o->netrc && (rc = add_netrc(p, e)) != 0)
		return rc;
	return 0;
}

/* ---- range ---- */

static bool
is_range_text(const char *s)
{
	size_t first = strspn(s, "0123456789"), last;

	if (s[first] != '-')
		return false;
	last = strspn(s + first + 1, "0123456789");
	return s[first + 1 + last] == '\0' && first + last > 0 && first < 20 && last < 20;
}

static int
read_range(struct get_plan *p, struct err *e)
{
	const char *range = p->o->range;
	struct common_download *d = &p->request;
	char *value;

	for (size_t i = 0; i < d->n_request_header; i++) {
		if (!slice_ieq_str(d->request_header[i].key, "range"))
			continue;
		p->has_range = true;
		if (slice_find(d->request_header[i].value, ',') >= 0) {
			err_set(e, ERR_INVALID_ARGUMENT, "more than one range cannot be downloaded at once");
			return OPTIONS_USAGE;
		}
	}
	if (range == NULL)
		return 0;
	if (p->has_range || !is_range_text(range)) {
		if (p->has_range)
			err_set(e, ERR_INVALID_ARGUMENT, "the argument '--range <RANGE>' cannot be used with a Range header");
		else
			err_set(e, ERR_INVALID_ARGUMENT, "invalid value '%.60s' for '--range <RANGE>': expected 0-499, 500- or -500", range);
		return OPTIONS_USAGE;
	}
	p->has_range = true;
	value = arena_printf(&p->arena, "bytes=%s", range);
	return value == NULL ? out_of_memory(e) : add_header(p, slice_str("Range"), slice_str(value), e);
}

/* ---- roots of the origin ---- */

/* Each certificate of a PEM text as DER. */
static int
add_certificates(struct get_plan *p, char *pem, struct err *e)
{
	static const char begin[] = "-----BEGIN CERTIFICATE-----", end[] = "-----END CERTIFICATE-----";
	struct common_download *d = &p->request;
	struct buf text = BUF_INIT, der = BUF_INIT;
	char *at = pem, *stop;
	void *copy;
	int rc = -1;

	d->certificate_chain = arena_alloc(&p->arena, CERTIFICATES_MAX * sizeof *d->certificate_chain);
	while (d->certificate_chain != NULL && (at = strstr(at, begin)) != NULL && (stop = strstr(at, end)) != NULL) {
		buf_clear(&text);
		buf_clear(&der);
		for (at += sizeof begin - 1; at < stop; at++)
			if (strchr(" \t\r\n", *at) == NULL)
				buf_append_u8(&text, (uint8_t)*at);
		if (base64_decode(buf_slice(&text), BASE64_STD, &der) < 0 || der.len == 0) {
			err_set(e, ERR_INVALID_ARGUMENT, "read %s: a certificate is not valid PEM", p->o->ca_cert);
			goto out;
		}
		copy = arena_copy(&p->arena, buf_data(&der), der.len);
		if (copy == NULL || d->n_certificate_chain == CERTIFICATES_MAX) {
			err_set(e, ERR_RESOURCE_EXHAUSTED, "read %s: more than %d certificates", p->o->ca_cert, CERTIFICATES_MAX);
			goto out;
		}
		d->certificate_chain[d->n_certificate_chain++] = slice_make(copy, der.len);
	}
	if (d->n_certificate_chain == 0)
		err_set(e, ERR_INVALID_ARGUMENT, "read %s: no certificate in it", p->o->ca_cert);
	else
		rc = 0;
out:
	buf_free(&text);
	buf_free(&der);
	return rc;
}

static int
read_ca_cert(struct get_plan *p, struct err *e)
{
	struct buf pem = BUF_INIT;
	int fd, rc;

	if (p->o->ca_cert == NULL)
		return 0;
	fd = open(p->o->ca_cert, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return err_sys(e, errno, "open %s", p->o->ca_cert);
	if (read_fd(fd, CA_FILE_MAX, &pem) == 0)
		rc = add_certificates(p, buf_cstr(&pem), e);
	else if (errno == EFBIG)
		rc = err_set(e, ERR_RESOURCE_EXHAUSTED, "read %s: larger than %zu bytes", p->o->ca_cert, CA_FILE_MAX);
	else
		rc = err_sys(e, errno, "read %s", p->o->ca_cert);
	close(fd);
	buf_free(&pem);
	return rc;
}

/* ---- what belongs to one scheme ---- */

static void
add_scheme(struct get_plan *p)
{
	static const char *const stores[] = {"s3", "gs", "abs", "oss", "obs", "cos"};
	const struct get_options *o = p->o;
	struct common_download *d = &p->request;
	struct slice scheme = p->url.scheme;

	for (size_t i = 0; i < COUNT_OF(stores); i++) {
		if (!slice_eq_str(scheme, stores[i]))
			continue;
		d->object_storage = &p->object_storage;
		*d->object_storage = (struct common_object_storage){
			.region = slice_str(o->storage.region), .endpoint = slice_str(o->storage.endpoint),
			.access_key_id = slice_str(o->storage.key_id), .access_key_secret = slice_str(o->storage.key_secret),
			.session_token = slice_str(o->storage.session_token), .security_token = slice_str(o->storage.security_token),
			.credential_path = slice_str(o->storage.credential_path), .predefined_acl = slice_str(o->storage.predefined_acl),
			.has_insecure_skip_verify = o->storage.insecure.is_set, .insecure_skip_verify = o->storage.insecure.n != 0,
		};
	}
	if (slice_eq_str(scheme, "hdfs")) {
		d->hdfs = &p->hdfs;
		d->hdfs->delegation_token = slice_str(o->hdfs_token);
	} else if (slice_eq_str(scheme, "hf")) {
		d->hugging_face = &p->hugging_face;
		*d->hugging_face = (struct common_hugging_face){
			.token = slice_str(o->hf_token), .revision = slice_str(o->hf_revision), .base_url = slice_str(o->hf_base_url)};
	} else if (slice_eq_str(scheme, "modelscope")) {
		d->model_scope = &p->model_scope;
		*d->model_scope = (struct common_model_scope){
			.token = slice_str(o->ms_token), .revision = slice_str(o->ms_revision), .base_url = slice_str(o->ms_base_url)};
	} else if (slice_eq_str(scheme, "opencsg")) {
		d->open_csg = &p->open_csg;
		*d->open_csg = (struct common_open_csg){
			.token = slice_str(o->csg_token), .revision = slice_str(o->csg_revision), .base_url = slice_str(o->csg_base_url)};
	}
}

static int
add_filters(struct get_plan *p, struct err *e)
{
	const struct option_list *l = &p->o->filters;
	struct common_download *d = &p->request;

	d->n_filtered_query_params = l->count > 0 ? l->count : DEFAULT_FILTER_COUNT;
	d->filtered_query_params = arena_alloc(&p->arena, d->n_filtered_query_params * sizeof *d->filtered_query_params);
	if (d->filtered_query_params == NULL)
		return out_of_memory(e);
	for (size_t i = 0; i < d->n_filtered_query_params; i++)
		d->filtered_query_params[i] = slice_str(l->count > 0 ? l->items[i] : default_filtered_query_params[i]);
	return 0;
}

static void
add_remote_ip(struct get_plan *p)
{
	if (local_addr_find(AF_INET, p->remote_ip) == 0 || local_addr_find(AF_INET6, p->remote_ip) == 0)
		p->request.remote_ip = slice_str(p->remote_ip);
}

void
get_request_make_export(struct get_plan *p)
{
	const struct get_options *o = p->o;
	struct common_download *d = &p->request;

	d->type = COMMON_TASK_TYPE_PERSISTENT_CACHE;
	d->tag = slice_str(o->tag);
	d->application = slice_str(o->application);
	d->timeout = &p->timeout;
	*d->timeout = pb_duration(o->timeout.n);
	d->force_hard_link = o->force_hard_link;
	d->overwrite = o->overwrite;
	add_remote_ip(p);
}

int
get_request_make(struct get_plan *p, struct err *e)
{
	const struct get_options *o = p->o;
	struct common_download *d = &p->request;
	int rc;

	d->url = slice_str(p->url.text);
	d->tag = slice_str(o->tag);
	d->application = slice_str(o->application);
	d->priority = (int32_t)o->priority.n;
	d->has_piece_length = o->piece_length.is_set;
	d->piece_length = (uint64_t)o->piece_length.n;
	d->timeout = &p->timeout;
	*d->timeout = pb_duration(o->timeout.n);
	d->disable_back_to_source = o->disable_back_to_source;
	d->scheduling_policy = strcmp(o->scheduling_policy, "always") == 0;
	d->force_hard_link = o->force_hard_link;
	d->overwrite = o->overwrite;
	d->content_for_calculating_task_id = slice_str(o->content_for_id);
	add_remote_ip(p);
	add_scheme(p);
	if ((rc = read_headers(p, e)) != 0 || (rc = read_range(p, e)) != 0 || (rc = read_ca_cert(p, e)) != 0)
		return rc;
	return add_filters(p, e);
}
