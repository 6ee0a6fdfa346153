/* rlhf_model_config: its table of fields, and the canonical form with every field set. */
#ifndef RLHF_NN_MODEL_CONFIG_H
#define RLHF_NN_MODEL_CONFIG_H

#include <stdbool.h>

#include <rlhf/model.h>

#include "base/versioned_struct.h"

extern const rlhf__struct_desc rlhf__model_config_desc;
extern const rlhf__struct_desc rlhf__layer_config_desc;

/* Checks everything (INVALID_ARG names field, bound and value) and fills in what was
 * left to be derived. *out_layers: [num_layers], allocated; out->layers points to it. */
rlhf_status rlhf__model_config_resolve(rlhf_context *context,
                                       const rlhf_model_config *config,
                                       rlhf_model_config *out,
                                       rlhf_layer_config **out_layers);

#endif
