/* Option tables of the trainers that draw from a dataset, and enum names that PPO
 * shares. */
#ifndef RLHF_TRAIN_OPTIONS_H
#define RLHF_TRAIN_OPTIONS_H

#include "base/versioned_struct.h"

extern const rlhf__struct_desc rlhf__lm_options_desc;
extern const rlhf__struct_desc rlhf__reward_options_desc;
extern const rlhf__struct_desc rlhf__reward_model_options_desc;
extern const rlhf__enum_name rlhf__schedule_names[];
extern const rlhf__enum_name rlhf__adam_form_names[];

#endif
