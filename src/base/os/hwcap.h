/* What the system tells of the CPU beyond what the compiler was told. */
#ifndef BASE_OS_HWCAP_H
#define BASE_OS_HWCAP_H

/* The bits of Linux's AT_HWCAP; all of them where the system tells nothing, so that the compiler's macros are believed. */
unsigned long hwcap_bits(void);

#endif
