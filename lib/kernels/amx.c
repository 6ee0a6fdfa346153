/* AMX: 8 KB of state that Linux gives to a process which asks for it (since 5.16; see the
 * kernel's Documentation/arch/x86/xstate.rst). */
#include "kernels/amx.h"

#if defined(__x86_64__) && defined(__linux__)

#include <cpuid.h>
#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

#define REQUEST_PERMISSION 0x1023 /* ARCH_REQ_XCOMP_PERM of newer asm/prctl.h */
#define TILE_DATA          18

bool rlhf__amx_enable(void)
{
    const unsigned int wanted = 1u << 22 | 1u << 24; /* AMX-BF16, AMX-TILE */
    unsigned int a, b, c, d;

    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || (d & wanted) != wanted)
        return false;
    const int before = errno;
    const bool granted = syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0;
    errno = before;
    return granted;
}

#else

bool rlhf__amx_enable(void)
{
    return false;
}

#endif
