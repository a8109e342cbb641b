#include <stdint.h>
#include <string.h>

#include "text/regex.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A pattern, a NUL byte, a subject. */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *text = (const char *)data;
	const char *zero = size > 0 ? memchr(text, '\0', size) : NULL;
	size_t len = zero ? (size_t)(zero - text) : size;
	struct regex *re = regex_compile(text, len, NULL);

	if (re == NULL)
		return 0;
	regex_search(re, text, len);
	if (zero)
		regex_search(re, zero + 1, size - len - 1);
	regex_free(re);
	return 0;
}
