#include <ctype.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/err.h"
#include "base/mem.h"
#include "net/tls_internal.h"

/* Where systems keep their roots (backends.md 2.6), in the order of asking. */
static const char *const root_dirs[] = {
	"/var/ssl", "/usr/share/ssl", "/usr/local/ssl", "/usr/local/openssl", "/usr/local/etc/openssl", "/usr/local/share",
	"/usr/lib/ssl", "/usr/ssl", "/etc/openssl", "/etc/pki/ca-trust/extracted/pem", "/etc/pki/tls", "/etc/ssl", "/etc/certs",
	"/opt/etc/ssl", "/data/data/com.termux/files/usr/etc/tls", "/boot/system/data/ssl",
};
static const char *const root_files[] = {
	"cert.pem", "certs.pem", "ca-bundle.pem", "cacert.pem", "ca-certificates.crt", "certs/ca-certificates.crt",
	"certs/ca-root-nss.crt", "certs/ca-bundle.crt", "CARootCertificates.pem", "tls-ca-bundle.pem",
};

/* Files looked at in one directory of roots: a full one holds some 300. */
#define ROOT_FILES_MAX 4096
#define PATH_TEXT_MAX 4096

/* Adds a file when it can be read; what is broken in it is skipped. */
static void
add_file(struct tls_anchors *a, const char *path)
{
	struct slice pem;
	size_t bad = 0;

	if (tls_file_read(NULL, path, &pem, NULL) != 0)
		return;
	tls_anchors_add_pem(a, pem, &bad);
	free((void *)(uintptr_t)pem.p);
}

/* "f3377b1b.0": how hashed certificate directories name their files. */
static bool
is_hash_name(const char *s)
{
	for (int i = 0; i < 8; i++)
		if (!isxdigit((unsigned char)s[i]))
			return false;
	return s[8] == '.' && isdigit((unsigned char)s[9]) && s[10] == '\0';
}

static void
add_dir(struct tls_anchors *a, const char *path)
{
	char file[PATH_TEXT_MAX];
	struct dirent *d;
	DIR *dir = opendir(path);

	if (dir == NULL)
		return;
	for (int n = 0; n < ROOT_FILES_MAX && (d = readdir(dir)) != NULL; n++)
		if (is_hash_name(d->d_name) && snprintf(file, sizeof(file), "%s/%s", path, d->d_name) < (int)sizeof(file))
			add_file(a, file);
	closedir(dir);
}

static bool
exists(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0;
}

/* The first bundle file that exists, and the first directory; the directory only when the file gave nothing: it holds the same. */
static void
add_usual_places(struct tls_anchors *a)
{
	char path[PATH_TEXT_MAX];
	size_t before = a->count;

	for (size_t d = 0; d < COUNT_OF(root_dirs); d++)
		for (size_t f = 0; f < COUNT_OF(root_files); f++) {
			snprintf(path, sizeof(path), "%s/%s", root_dirs[d], root_files[f]);
			if (!exists(path))
				continue;
			add_file(a, path);
			if (a->count > before)
				return;
		}
	for (size_t d = 0; d < COUNT_OF(root_dirs); d++) {
		snprintf(path, sizeof(path), "%s/certs", root_dirs[d]);
		if (!exists(path))
			continue;
		add_dir(a, path);
		if (a->count > before)
			return;
	}
}

int
tls_anchors_add_system(struct tls_anchors *a, struct err *e)
{
	const char *file = getenv("SSL_CERT_FILE");
	const char *dir = getenv("SSL_CERT_DIR");
	size_t before = a->count;

	if (file != NULL || dir != NULL) {
		if (file != NULL)
			add_file(a, file);
		if (dir != NULL)
			add_dir(a, dir);
		if (a->count == before)
			return err_set(e, ERR_NOT_FOUND, "no root certificate found in SSL_CERT_FILE=%s, SSL_CERT_DIR=%s",
			    file != NULL ? file : "", dir != NULL ? dir : "");
		return 0;
	}
	add_usual_places(a);
	if (a->count == before)
		return err_set(e, ERR_NOT_FOUND, "no root certificates found in the usual places, such as "
		    "/etc/ssl/certs/ca-certificates.crt and /etc/pki/tls/certs/ca-bundle.crt: install the system's CA bundle or set "
		    "SSL_CERT_FILE");
	return 0;
}
