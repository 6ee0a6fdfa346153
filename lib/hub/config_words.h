/* Words of config.json that reading and writing share. */
#ifndef RLHF_HUB_CONFIG_WORDS_H
#define RLHF_HUB_CONFIG_WORDS_H

#include "hub/config_fields.h"
#include "hub/config_json.h"

extern const rlhf__word rlhf__hub_positions[]; /* of model_type "rlhf" */
extern const rlhf__word rlhf__hub_norms[];
extern const rlhf__word rlhf__hub_activations[];
extern const rlhf__word rlhf__hub_attentions[];
extern const rlhf__word rlhf__hub_append_eos[];
extern const rlhf__word rlhf__hub_gelus[]; /* transformers' names */
extern const rlhf__word rlhf__hub_silus[];

typedef struct rlhf__hub_names {
    const char *model_type, *causal, *classification;
} rlhf__hub_names;
extern const rlhf__hub_names rlhf__hub_family_names[3]; /* by rlhf__hub_family */

#endif
