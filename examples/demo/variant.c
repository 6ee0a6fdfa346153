/* A reward model with its meaning taken away, for the control runs:
 * variant flip | constant FROM TO. Flipped, it prefers what it disliked; constant, all
 * is 0. */
#include "../host.h"

#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv)
{
    rlhf_context *context = host_start(argv[0]);
    rlhf_reward_model *reward;
    rlhf_tokenizer *tokenizer;
    double scale, offset;

    if (argc != 4 || (strcmp(argv[1], "flip") != 0 && strcmp(argv[1], "constant") != 0)) {
        fprintf(stderr, "usage: variant flip | constant FROM TO\n");
        return 2;
    }
    host_must(rlhf_tokenizer_load(context, argv[2], &tokenizer), "read the tokenizer");
    host_must(rlhf_reward_model_load(context, argv[2], &reward), "read the reward model");
    host_must(rlhf_reward_model_get_affine(reward, &scale, &offset), "read the scale");
    if (strcmp(argv[1], "flip") == 0) {
        host_must(rlhf_reward_model_set_affine(reward, -scale, -offset), "flip the sign");
    } else {
        rlhf_model_config config;
        const float zero = 0;
        host_must(rlhf_model_config_init(&config, sizeof config), "start");
        host_must(rlhf_reward_model_get_config(reward, &config), "read the config");
        float *zeros = host_alloc((size_t)config.hidden_size, sizeof *zeros);
        host_must(rlhf_reward_model_parameter_write(reward, "score.weight", zeros,
                                                    config.hidden_size),
                  "write zeros");
        host_must(rlhf_reward_model_parameter_write(reward, "score.bias", &zero, 1),
                  "write zeros");
        host_must(rlhf_reward_model_set_affine(reward, 1, 0), "set the scale");
        free(zeros);
    }
    host_save(argv[3], tokenizer, NULL, reward);
    rlhf_reward_model_free(reward);
    rlhf_tokenizer_free(tokenizer);
    rlhf_context_free(context);
    return 0;
}
