#include <bearssl.h>

#include "base/mem.h"
#include "net/tls_internal.h"

static const struct {
	int code;
	const char *text;
} errors[] = {
	{BR_ERR_BAD_PARAM, "wrong use of the TLS engine"},
	{BR_ERR_BAD_STATE, "wrong use of the TLS engine"},
	{BR_ERR_UNSUPPORTED_VERSION, "no common TLS version (only 1.2 is spoken here)"},
	{BR_ERR_BAD_VERSION, "the peer does not speak TLS"},
	{BR_ERR_BAD_LENGTH, "record of a wrong length"},
	{BR_ERR_TOO_LARGE, "record too large"},
	{BR_ERR_BAD_MAC, "record with a wrong checksum"},
	{BR_ERR_NO_RANDOM, "no source of random numbers"},
	{BR_ERR_UNKNOWN_TYPE, "the peer does not speak TLS"},
	{BR_ERR_UNEXPECTED, "unexpected record or message"},
	{BR_ERR_BAD_CCS, "malformed ChangeCipherSpec"},
	{BR_ERR_BAD_ALERT, "malformed alert"},
	{BR_ERR_BAD_HANDSHAKE, "malformed handshake message"},
	{BR_ERR_OVERSIZED_ID, "session id too long"},
	{BR_ERR_BAD_CIPHER_SUITE, "no common cipher suite"},
	{BR_ERR_BAD_COMPRESSION, "unknown compression"},
	{BR_ERR_BAD_FRAGLEN, "fragment length was not agreed on"},
	{BR_ERR_BAD_SECRENEG, "no secure renegotiation"},
	{BR_ERR_EXTRA_EXTENSION, "extension that was not asked for"},
	{BR_ERR_BAD_SNI, "malformed server name"},
	{BR_ERR_BAD_HELLO_DONE, "malformed ServerHelloDone"},
	{BR_ERR_LIMIT_EXCEEDED, "the server's key is larger than the limit of 4096 bits"},
	{BR_ERR_BAD_FINISHED, "wrong Finished message"},
	{BR_ERR_RESUME_MISMATCH, "resumed with other parameters"},
	{BR_ERR_INVALID_ALGORITHM, "algorithm that is not supported"},
	{BR_ERR_BAD_SIGNATURE, "wrong signature in the handshake"},
	{BR_ERR_WRONG_KEY_USAGE, "certificate whose key must not be used so"},
	{BR_ERR_NO_CLIENT_AUTH, "the client sent no certificate"},
	{BR_ERR_IO, "input or output failed"},
	{BR_ERR_X509_EMPTY_CHAIN, "no certificate was sent"},
	{BR_ERR_X509_BAD_DN, "certificate with a malformed name"},
	{BR_ERR_X509_BAD_TIME, "certificate with a malformed date"},
	{BR_ERR_X509_UNSUPPORTED, "certificate with a key or signature that is not supported (RSA-PSS, Ed25519)"},
	{BR_ERR_X509_LIMIT_EXCEEDED, "certificate with a key above the limits (RSA 4096 bits)"},
	{BR_ERR_X509_WRONG_KEY_TYPE, "certificate with the wrong kind of key"},
	{BR_ERR_X509_BAD_SIGNATURE, "certificate with a wrong signature"},
	{BR_ERR_X509_TIME_UNKNOWN, "the time is not known"},
	{BR_ERR_X509_EXPIRED, "certificate expired or not valid yet"},
	{BR_ERR_X509_DN_MISMATCH, "certificate chain not in order"},
	{BR_ERR_X509_BAD_SERVER_NAME, "certificate for another name"},
	{BR_ERR_X509_CRITICAL_EXTENSION, "certificate with an unknown critical extension"},
	{BR_ERR_X509_NOT_CA, "certificate signed by one that is no certificate authority"},
	{BR_ERR_X509_FORBIDDEN_KEY_USAGE, "certificate authority that must not sign certificates"},
	{BR_ERR_X509_WEAK_PUBLIC_KEY, "certificate with a weak key"},
	{BR_ERR_X509_NOT_TRUSTED, "certificate not signed by a trusted authority"},
};

static const struct {
	int alert;
	const char *name;
} alerts[] = {
	{10, "unexpected_message"}, {20, "bad_record_mac"}, {21, "decryption_failed"}, {22, "record_overflow"},
	{40, "handshake_failure"}, {42, "bad_certificate"}, {43, "unsupported_certificate"}, {44, "certificate_revoked"},
	{45, "certificate_expired"}, {46, "certificate_unknown"}, {47, "illegal_parameter"}, {48, "unknown_ca"},
	{49, "access_denied"}, {50, "decode_error"}, {51, "decrypt_error"}, {70, "protocol_version"},
	{71, "insufficient_security"}, {80, "internal_error"}, {86, "inappropriate_fallback"}, {90, "user_canceled"},
	{100, "no_renegotiation"}, {109, "missing_extension"}, {110, "unsupported_extension"}, {112, "unrecognized_name"},
	{116, "certificate_required"}, {120, "no_application_protocol"},
};

const char *
tls_error_text(int code)
{
	if (code == 0)
		return NULL;
	for (size_t i = 0; i < COUNT_OF(errors); i++)
		if (errors[i].code == code)
			return errors[i].text;
	/* The remaining ones all say in which way the DER is broken. */
	if (code > BR_ERR_X509_OK && code <= BR_ERR_X509_NOT_TRUSTED)
		return "malformed certificate";
	return "TLS failure";
}

const char *
tls_alert_name(int alert)
{
	for (size_t i = 0; i < COUNT_OF(alerts); i++)
		if (alerts[i].alert == alert)
			return alerts[i].name;
	return NULL;
}
