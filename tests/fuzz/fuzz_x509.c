/* Any bytes as a certificate, as one in PEM, and as a private key. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/err.h"
#include "net/tls_internal.h"
#include "net/x509.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct tls_anchors anchors = {0};
	struct buf names = BUF_INIT;
	char text[X509_TIME_MAX];
	struct x509 c;
	struct slice s;
	size_t bad = 0;
	struct err e;

	if (size == 0)
		return 0;
	s = slice_make(data + 1, size - 1);
	switch (data[0] % 4) {
	case 0:
		tls_anchors_add_pem(&anchors, s, &bad);
		break;
	case 1:
		tls_identity_unref(tls_identity_parse(s, s, "fuzz", &e));
		break;
	default:
		tls_anchors_add_der(&anchors, s);
		if (x509_read(&c, s) != 0)
			break;
		x509_names(&c, &names, 100);
		if (names.len > 120)
			abort();
		x509_time_text(c.not_before, text);
		x509_time_text(c.not_after, text);
		x509_has_ip(&c, slice_make("\x7f\0\0\1", 4));
	}
	buf_free(&names);
	tls_anchors_free(&anchors);
	return 0;
}
