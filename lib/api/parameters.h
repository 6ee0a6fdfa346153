/* Named parameters of a network, for the handles that have one. */
#ifndef RLHF_API_PARAMETERS_H
#define RLHF_API_PARAMETERS_H

#include <rlhf/model.h>

#include "nn/transformer.h"

rlhf_status rlhf__parameter_info(const rlhf__transformer *net, int64_t index,
                                 rlhf_parameter_info *out_info);
rlhf_status rlhf__parameter_read(const rlhf__transformer *net, const char *name,
                                 float *out_values, int64_t count);
rlhf_status rlhf__parameter_write(rlhf__transformer *net, const char *name,
                                  const float *values, int64_t count);
rlhf_status rlhf__get_config(const rlhf__transformer *net, rlhf_model_config *out_config);

#endif
