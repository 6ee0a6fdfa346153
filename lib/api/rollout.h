/* Rollout handles around cores. */
#ifndef RLHF_API_ROLLOUT_H
#define RLHF_API_ROLLOUT_H

#include "api/handle.h"

/* Takes `core` over on success and failure; NULL: an empty rollout. */
rlhf_status rlhf__rollout_wrap(rlhf_context *context, struct rlhf__rollout *core,
                               rlhf_rollout **out_rollout);

#endif
