/* Every options struct of the library by its name. */
#include "api/descs.h"

#include <string.h>

#include "data/dataset.h"
#include "generate/generator.h"
#include "nn/model_config.h"
#include "train/options.h"
#include "train/ppo_options.h"

static const rlhf__struct_desc *const descs[] = {
    &rlhf__context_options_desc,      &rlhf__tokenizer_train_options_desc,
    &rlhf__model_config_desc,         &rlhf__layer_config_desc,
    &rlhf__dataset_options_desc,      &rlhf__sampler_options_desc,
    &rlhf__generator_options_desc,    &rlhf__lm_options_desc,
    &rlhf__reward_model_options_desc, &rlhf__reward_options_desc,
    &rlhf__ppo_options_desc,
};

const rlhf__struct_desc *rlhf__desc_at(int32_t index)
{
    const int32_t count = sizeof descs / sizeof descs[0];
    return index >= 0 && index < count ? descs[index] : NULL;
}

const rlhf__struct_desc *rlhf__desc_find(const char *struct_name)
{
    for (int32_t i = 0; rlhf__desc_at(i); i++)
        if (strcmp(rlhf__desc_at(i)->name, struct_name) == 0)
            return rlhf__desc_at(i);
    return NULL;
}
