#include <ctype.h>
#include <string.h>

#include "scheduler/validate.h"

#include "base/err.h"
#include "base/mem.h"
#include "net/addr.h"
#include "proto/common.h"
#include "proto/scheduler.h"

#define PIECE_LENGTH_MIN ((uint64_t)4194304)
#define PIECE_LENGTH_MAX ((uint64_t)67108864)
#define PORT_MIN 1024
#define PORT_END 65535
#define TTL_MIN_S 300
#define TTL_MAX_S 604800
#define DIGEST_PATTERN "^(md5:[a-fA-F0-9]{32}|sha1:[a-fA-F0-9]{40}|sha256:[a-fA-F0-9]{64}|sha512:[a-fA-F0-9]{128}|" \
	"blake3:[a-fA-F0-9]{64}|crc32:[a-fA-F0-9]+)$"

static int
bad(struct err *e, const char *message, const char *field, const char *reason)
{
	return err_set(e, ERR_INVALID_ARGUMENT, "invalid %s.%s: %s", message, field, reason);
}

/* The part that is wrong stands inside this field. */
static int
inside(struct err *e, const char *message, const char *field)
{
	char text[ERR_TEXT_MAX];

	if (!e)
		return -1;
	memcpy(text, e->text, sizeof text);
	return err_set(e, ERR_INVALID_ARGUMENT, "invalid %s.%s: embedded message failed validation | caused by: %s", message, field,
		text);
}

int
validate_id(const char *message, const char *field, struct slice id, struct err *e)
{
	return id.n > 0 ? 0 : bad(e, message, field, "value length must be at least 1 runes");
}

int
validate_url(const char *message, const char *field, struct slice url, struct err *e)
{
	size_t i = 0;

	for (size_t k = 0; k < url.n; k++)
		if (url.p[k] < 0x20 || url.p[k] == 0x7f)
			return bad(e, message, field, "value must be a valid URI");
	if (url.n > 0 && url.p[0] == ':')
		return bad(e, message, field, "value must be a valid URI");
	if (url.n == 0 || !isalpha(url.p[0]))
		return bad(e, message, field, "value must be absolute");
	while (i < url.n && (isalnum(url.p[i]) || url.p[i] == '+' || url.p[i] == '-' || url.p[i] == '.'))
		i++;
	return i < url.n && url.p[i] == ':' ? 0 : bad(e, message, field, "value must be absolute");
}

int
validate_ttl(const char *message, bool is_there, int64_t seconds, int32_t nanos, struct err *e)
{
	if (!is_there)
		return bad(e, message, "Ttl", "value is required");
	if (seconds < TTL_MIN_S || seconds > TTL_MAX_S || (seconds == TTL_MAX_S && nanos > 0))
		return bad(e, message, "Ttl", "value must be inside range [5m0s, 168h0m0s]");
	return 0;
}

static bool
is_digest(struct slice s)
{
	static const struct { const char *name; size_t digits; } kinds[] = {
		{ "md5:", 32 }, { "sha1:", 40 }, { "sha256:", 64 }, { "sha512:", 128 }, { "blake3:", 64 }, { "crc32:", 0 },
	};

	for (size_t i = 0; i < COUNT_OF(kinds); i++) {
		size_t at = strlen(kinds[i].name), n = 0;

		if (!slice_starts(s, kinds[i].name))
			continue;
		while (at + n < s.n && isxdigit(s.p[at + n]))
			n++;
		return at + n == s.n && (kinds[i].digits ? n == kinds[i].digits : n > 0);
	}
	return false;
}

static int
check_digest(const char *message, struct slice digest, struct err *e)
{
	return digest.n == 0 || is_digest(digest) ? 0 :
		bad(e, message, "Digest", "value does not match regex pattern \"" DIGEST_PATTERN "\"");
}

static int
check_enum(const char *message, const char *field, int32_t value, int32_t last, struct err *e)
{
	return value >= 0 && value <= last ? 0 : bad(e, message, field, "value must be one of the defined enum values");
}

static int
check_ip(const char *message, const char *field, struct slice ip, struct err *e)
{
	struct addr a;

	return addr_from_ip(&a, ip, 0) == 0 ? 0 : bad(e, message, field, "value must be a valid IP address");
}

static int
check_download(const struct common_download *d, struct err *e)
{
	if (validate_url("Download", "Url", d->url, e) < 0 || check_digest("Download", d->digest, e) < 0 ||
		check_enum("Download", "Type", d->type, 3, e) < 0 || check_enum("Download", "Priority", d->priority, 6, e) < 0)
		return -1;
	if (d->has_piece_length && d->piece_length != 0 &&
		(d->piece_length < PIECE_LENGTH_MIN || d->piece_length > PIECE_LENGTH_MAX))
		return bad(e, "Download", "PieceLength", "value must be inside range [4194304, 67108864]");
	return d->remote_ip.n == 0 ? 0 : check_ip("Download", "RemoteIp", d->remote_ip, e);
}

static int
check_piece(const char *message, const struct common_piece *p, struct err *e)
{
	if (!p)
		return bad(e, message, "Piece", "value is required");
	if (check_digest("Piece", p->digest, e) < 0)
		return inside(e, message, "Piece");
	if (!p->cost) {
		bad(e, "Piece", "Cost", "value is required");
		return inside(e, message, "Piece");
	}
	if (!p->created_at) {
		bad(e, "Piece", "CreatedAt", "value is required");
		return inside(e, message, "Piece");
	}
	return 0;
}

static int
check_request(const struct scheduler_announce_peer_request *m, const char **field, struct err *e)
{
	switch (m->request_case) {
	case SCHEDULER_ANNOUNCE_PEER_REQUEST_REGISTER_PEER_REQUEST:
		*field = "RegisterPeerRequest";
		if (!m->register_peer_request->download)
			return bad(e, *field, "Download", "value is required");
		if (check_download(m->register_peer_request->download, e) < 0)
			return inside(e, *field, "Download");
		return 0;
	case SCHEDULER_ANNOUNCE_PEER_REQUEST_RESCHEDULE_PEER_REQUEST:
		*field = "ReschedulePeerRequest";
		for (size_t i = 0; i < m->reschedule_peer_request->n_candidate_parents; i++)
			if (validate_id("Peer", "Id", m->reschedule_peer_request->candidate_parents[i].id, e) < 0)
				return inside(e, *field, "CandidateParents");
		return 0;
	case SCHEDULER_ANNOUNCE_PEER_REQUEST_DOWNLOAD_PIECE_FINISHED_REQUEST:
		*field = "DownloadPieceFinishedRequest";
		return check_piece(*field, m->download_piece_finished_request->piece, e);
	case SCHEDULER_ANNOUNCE_PEER_REQUEST_DOWNLOAD_PIECE_BACK_TO_SOURCE_FINISHED_REQUEST:
		*field = "DownloadPieceBackToSourceFinishedRequest";
		return check_piece(*field, m->download_piece_back_to_source_finished_request->piece, e);
	case SCHEDULER_ANNOUNCE_PEER_REQUEST_DOWNLOAD_PIECE_FAILED_REQUEST:
		*field = "DownloadPieceFailedRequest";
		return validate_id(*field, "ParentId", m->download_piece_failed_request->parent_id, e);
	case SCHEDULER_ANNOUNCE_PEER_REQUEST_DOWNLOAD_PIECE_BACK_TO_SOURCE_FAILED_REQUEST:
		*field = "DownloadPieceBackToSourceFailedRequest";
		if (m->download_piece_back_to_source_failed_request->response_case == 0)
			return bad(e, *field, "Response", "value is required");
		return 0;
	default:
		return 0;
	}
}

int
validate_announce_peer(const struct scheduler_announce_peer_request *m, struct err *e)
{
	static const char name[] = "AnnouncePeerRequest";
	const char *field = "";

	if (validate_id(name, "HostId", m->host_id, e) < 0 || validate_id(name, "TaskId", m->task_id, e) < 0 ||
		validate_id(name, "PeerId", m->peer_id, e) < 0)
		return -1;
	if (m->request_case == 0)
		return bad(e, name, "Request", "value is required");
	return check_request(m, &field, e) < 0 ? inside(e, name, field) : 0;
}

static int
check_host(const struct common_host *h, struct err *e)
{
	if (validate_id("Host", "Id", h->id, e) < 0)
		return -1;
	if (h->type > 3)
		return bad(e, "Host", "Type", "value must be less than or equal to 3");
	if (validate_id("Host", "Hostname", h->hostname, e) < 0 || check_ip("Host", "Ip", h->ip, e) < 0)
		return -1;
	if (h->port < PORT_MIN || h->port >= PORT_END)
		return bad(e, "Host", "Port", "value must be inside range [1024, 65535)");
	if (h->download_port < PORT_MIN || h->download_port >= PORT_END)
		return bad(e, "Host", "DownloadPort", "value must be inside range [1024, 65535)");
	return 0;
}

int
validate_announce_host(const struct scheduler_announce_host_request *m, struct err *e)
{
	if (!m->host)
		return bad(e, "AnnounceHostRequest", "Host", "value is required");
	return check_host(m->host, e) < 0 ? inside(e, "AnnounceHostRequest", "Host") : 0;
}
