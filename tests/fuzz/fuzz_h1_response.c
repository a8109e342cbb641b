#include "fuzz/h1_common.h"

/* The first byte chooses the method that the answer is for. */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const methods[] = {"GET", "HEAD", "CONNECT"};

	if (size > 0)
		check_all_cuts(H1_RESPONSE, methods[data[0] % 3], data + 1, size - 1);
	return 0;
}
