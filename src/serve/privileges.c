#include "serve/privileges.h"

#include <errno.h>
#include <ftw.h>
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/slice.h"
#include "config/config.h"
#include "serve/os/confine.h"

/* Directories that a walk holds open at once. */
#define WALK_DEPTH 16
/* More than the connections of all servers together. */
#define DESCRIPTORS_MAX 1048576

/* The soft limit of open files is for programs that use select; each connection and each content in use takes one. */
static void
raise_descriptors(void)
{
	struct rlimit r;
	rlim_t before;

	if (getrlimit(RLIMIT_NOFILE, &r) != 0) {
		log_warn("the limit of open files cannot be read, it stays as it is error=\"%s\"", strerror(errno));
		return;
	}
	if (r.rlim_cur >= DESCRIPTORS_MAX)
		return;
	before = r.rlim_cur;
	r.rlim_cur = r.rlim_max < DESCRIPTORS_MAX ? r.rlim_max : DESCRIPTORS_MAX;
	if (setrlimit(RLIMIT_NOFILE, &r) != 0)
		log_warn("the limit of open files cannot be raised limit=%llu wanted=%llu error=\"%s\"", (unsigned long long)before,
		    (unsigned long long)r.rlim_cur, strerror(errno));
}

void
privileges_begin(mode_t *output_mode)
{
	mode_t before = umask(027);

	umask(before | 027);
	*output_mode = 0644 & ~before;
	raise_descriptors();
	if (confine_no_new_privileges() < 0)
		log_warn("programs that this process starts may have more rights than it: PR_SET_NO_NEW_PRIVS failed error=\"%s\"", strerror(errno));
}

static bool
to_id(const char *text, uint64_t *id)
{
	return slice_to_u64(slice_str(text), id) == 0 && *id < UINT32_MAX;
}

int
privileges_find(struct privileges *p, const struct config *c, struct err *e)
{
	const struct passwd *pw;
	const struct group *gr;
	uint64_t id;

	*p = (struct privileges){0};
	if (c->x.user == NULL)
		return 0;
	pw = to_id(c->x.user, &id) ? getpwuid((uid_t)id) : getpwnam(c->x.user);
	if (pw == NULL && !to_id(c->x.user, &id))
		return err_set(e, ERR_NOT_FOUND, "x.user: there is no user \"%.60s\"", c->x.user);
	if (pw == NULL && c->x.group == NULL)
		return err_set(e, ERR_NOT_FOUND, "x.user: user %.20s has no entry, x.group must be given with it", c->x.user);
	p->uid = pw != NULL ? pw->pw_uid : (uid_t)id;
	p->gid = pw != NULL ? pw->pw_gid : 0;
	p->user = xstrdup(pw != NULL ? pw->pw_name : c->x.user);
	if (c->x.group != NULL) {
		gr = to_id(c->x.group, &id) ? NULL : getgrnam(c->x.group);
		if (gr == NULL && !to_id(c->x.group, &id)) {
			privileges_free(p);
			return err_set(e, ERR_NOT_FOUND, "x.group: there is no group \"%.60s\"", c->x.group);
		}
		p->gid = gr != NULL ? gr->gr_gid : (gid_t)id;
	}
	if (p->uid == geteuid() && p->gid == getegid())
		return 0;
	if (geteuid() != 0) {
		err_set(e, ERR_FAILED_PRECONDITION, "x.user: user %lu cannot become \"%.60s\": only a daemon that root starts can", (unsigned long)geteuid(), p->user);
		privileges_free(p);
		return -1;
	}
	p->is_change = true;
	return 0;
}

void
privileges_free(struct privileges *p)
{
	free(p->user);
	p->user = NULL;
}

/* The walk of nftw takes no context: one at a time, at the start. */
static const struct privileges *giving_to;

static int
give_one(const char *path, const struct stat *st, int type, struct FTW *where)
{
	(void)where;
	if (type == FTW_NS || (st->st_uid == giving_to->uid && st->st_gid == giving_to->gid))
		return 0;
	/* What an earlier run left is being removed meanwhile. */
	return lchown(path, giving_to->uid, giving_to->gid) < 0 && errno != ENOENT ? -1 : 0;
}

int
privileges_give(const struct privileges *p, const char *dir, struct err *e)
{
	int rc;

	if (!p->is_change)
		return 0;
	giving_to = p;
	rc = nftw(dir, give_one, WALK_DEPTH, FTW_PHYS);
	if (rc < 0)
		err_sys(e, errno, "give %s to user %s (x.user)", dir, p->user);
	giving_to = NULL;
	return rc;
}

static void
warn_of(const char *key, const char *path)
{
	if (path != NULL && access(path, R_OK) < 0)
		log_warn("a file of the configuration cannot be read any more as another user: a change of it will not be seen key=%s path=%s error=\"%s\"",
		    key, path, strerror(errno));
}

static void
warn_of_tls(const char *key, const struct config_tls *tls)
{
	warn_of(key, tls->ca_cert);
	warn_of(key, tls->cert);
	warn_of(key, tls->key);
}

int
privileges_drop(const struct privileges *p, const struct config *c, struct err *e)
{
	if (!p->is_change)
		return 0;
	if (confine_groups(p->user, p->gid) < 0 || setgid(p->gid) < 0 || setuid(p->uid) < 0)
		return err_sys(e, errno, "become user %s (x.user)", p->user);
	if (p->uid != 0 && setuid(0) == 0)
		return err_set(e, ERR_INTERNAL, "become user %s (x.user): the rights of root are still there", p->user);
	log_info("the daemon runs as another user from here on user=%s uid=%lu gid=%lu", p->user, (unsigned long)p->uid, (unsigned long)p->gid);
	warn_of_tls("upload.server", &c->upload.server.tls);
	warn_of_tls("upload.client", &c->upload.client.tls);
	warn_of_tls("scheduler", &c->scheduler.tls);
	warn_of_tls("manager", &c->manager.tls);
	return 0;
}

void
privileges_guard_memory(const struct config *c)
{
	bool has_secrets = c->upload.server.tls.key != NULL || c->upload.client.tls.key != NULL || c->scheduler.tls.key != NULL ||
	    c->manager.tls.key != NULL || c->proxy.server.ca_key != NULL || c->proxy.server.basic_auth.is_on || c->backend.request_header.count > 0;

	if (has_secrets && confine_no_dump() < 0)
		log_warn("keys and passwords may end up in a core file or before a debugger error=\"%s\"", strerror(errno));
}
