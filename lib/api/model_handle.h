/* Model handles around cores, for every call that makes one (create, load, clone). */
#ifndef RLHF_API_MODEL_HANDLE_H
#define RLHF_API_MODEL_HANDLE_H

#include "api/handle.h"

/* `net` and `origin` (NULL: none) are taken over on success, and freed on failure too,
 * so that the caller has nothing to clean up. */
rlhf_status rlhf__model_handle_create(rlhf_context *context,
                                      struct rlhf__transformer *net,
                                      struct rlhf__hub_origin *origin,
                                      rlhf_model **out_model);
rlhf_status rlhf__reward_model_handle_create(rlhf_context *context,
                                             struct rlhf__reward_model *core,
                                             struct rlhf__hub_origin *origin,
                                             rlhf_reward_model **out_reward_model);

#endif
