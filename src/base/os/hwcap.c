#include "base/os/hwcap.h"

#if defined(__linux__)
#include <sys/auxv.h>
#endif

unsigned long
hwcap_bits(void)
{
#if defined(__linux__)
	return getauxval(AT_HWCAP);
#else
	return ~0ul;
#endif
}
