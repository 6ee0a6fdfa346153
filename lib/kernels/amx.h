/* Whether tiles of AMX may be used. */
#ifndef RLHF_KERNELS_AMX_H
#define RLHF_KERNELS_AMX_H

#include <stdbool.h>

/* Asks the system for their use, by this process, unless the CPU has none. Any thread. */
bool rlhf__amx_enable(void);

#endif
