/* PPO's options: descriptor table, presets, checks across fields. */
#ifndef RLHF_TRAIN_PPO_OPTIONS_H
#define RLHF_TRAIN_PPO_OPTIONS_H

#include <rlhf/ppo.h>

#include "base/versioned_struct.h"

extern const rlhf__struct_desc rlhf__ppo_options_desc;

/* Every option of a preset; NOT_FOUND lists the names. */
rlhf_status rlhf__ppo_options_preset(const char *name, rlhf_ppo_options *out);
/* What no single field's range says; INVALID_ARG names field, bound and value. */
rlhf_status rlhf__ppo_options_check(const rlhf_ppo_options *options);

#endif
