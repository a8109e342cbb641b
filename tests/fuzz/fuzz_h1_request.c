#include "fuzz/h1_common.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	check_all_cuts(H1_REQUEST, NULL, data, size);
	return 0;
}
