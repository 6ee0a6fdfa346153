/* Prints what the portable kernels make of two small networks, as bits: logits, losses of
 * a few steps, an answer. `./dev cross` and `./dev musl` hold what their builds print
 * against what this machine's prints. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include <rlhf/rlhf.h>

enum { VOCAB = 48, LENGTH = 64, TOKENS = 40, STEPS = 20 };

static void must(rlhf_status status)
{
    if (status == RLHF_OK)
        return;
    fprintf(stderr, "%s\n", rlhf_last_error_message());
    exit(1);
}

/* FNV-1a. */
static uint64_t hash(const void *data, size_t size)
{
    const unsigned char *bytes = data;
    uint64_t sum = 14695981039346656037u;

    for (size_t i = 0; i < size; i++)
        sum = (sum ^ bytes[i]) * 1099511628211u;
    return sum;
}

static void print_logits(rlhf_model *model)
{
    static float logits[TOKENS * VOCAB];
    const int64_t cu_seqlens[3] = {0, 13, TOKENS};
    int32_t tokens[TOKENS];

    for (int32_t t = 0; t < TOKENS; t++)
        tokens[t] = (t * t * 7 + 3 * t) % VOCAB;
    must(rlhf_model_logits(model, tokens, cu_seqlens, 2, logits));
    printf("logits %016" PRIx64 "\n", hash(logits, sizeof logits));
}

static void print_training(rlhf_context *context, rlhf_model *model)
{
    rlhf_dataset *dataset;
    rlhf_lm_trainer *trainer;
    rlhf_lm_options options;
    rlhf_lm_stats stats = {.struct_size = sizeof stats};

    must(rlhf_dataset_create(context, NULL, &dataset));
    for (int32_t r = 0; r < 6; r++) {
        int32_t tokens[20];
        const rlhf_example row = {
            .struct_size = sizeof row, .tokens = tokens, .num_tokens = 20 - r};
        for (int32_t t = 0; t < 20; t++)
            tokens[t] = (t * (r + 2) + r) % VOCAB;
        must(rlhf_dataset_append(dataset, &row));
    }
    must(rlhf_lm_options_init(&options, sizeof options));
    options.batch_size = 3;
    must(rlhf_lm_trainer_create(model, dataset, &options, &trainer));
    for (int i = 0; i < STEPS; i++)
        must(rlhf_lm_trainer_step(trainer, &stats));
    printf("loss %a, gradient %a\n", stats.loss, stats.grad_norm);
    rlhf_lm_trainer_free(trainer);
    rlhf_dataset_free(dataset);
}

static void print_answer(rlhf_model *model)
{
    const int32_t prompt[3] = {5, 7, 11};
    const int64_t cu_seqlens[2] = {0, 3};
    rlhf_sampler *sampler;
    rlhf_sampler_options sampling;
    rlhf_generator *generator;
    rlhf_generator_options options;
    rlhf_generation answer = {.struct_size = sizeof answer};

    must(rlhf_sampler_options_init(&sampling, sizeof sampling));
    sampling.temperature = 0.7;
    must(rlhf_sampler_create(&sampling, &sampler));
    must(rlhf_generator_options_init(&options, sizeof options));
    options.max_new_tokens = LENGTH - 3;
    options.use_stop_tokens = 0;
    must(rlhf_generator_create(model, sampler, &options, &generator));
    must(rlhf_generator_start(generator, prompt, cu_seqlens, 1, NULL));
    must(rlhf_generator_run(generator));
    must(rlhf_generator_get(generator, 0, &answer));
    printf("answer %016" PRIx64 ", log-probabilities %016" PRIx64 "\n",
           hash(answer.tokens, (size_t)answer.num_tokens * sizeof *answer.tokens),
           hash(answer.logprobs, (size_t)(answer.num_tokens - answer.num_prompt) *
                                     sizeof *answer.logprobs));
    rlhf_generator_free(generator);
    rlhf_sampler_free(sampler);
}

static void print_network(int is_llama, int32_t dtype)
{
    rlhf_context *context;
    rlhf_model *model;
    rlhf_context_options options;
    rlhf_model_config config;

    must(rlhf_context_options_init(&options, sizeof options));
    options.cpu_level = RLHF_CPU_PORTABLE;
    options.dtype = dtype;
    must(rlhf_context_create(&options, &context));
    must(rlhf_model_config_init(&config, sizeof config));
    config.vocab_size = VOCAB;
    config.context_length = LENGTH;
    config.hidden_size = 64;
    config.num_layers = 2;
    config.num_heads = 4;
    if (is_llama) {
        config.position = RLHF_POSITION_ROTARY;
        config.norm = RLHF_NORM_RMSNORM;
        config.activation = RLHF_ACTIVATION_SWIGLU;
    }
    must(rlhf_model_create(context, &config, 1, &model));
    printf("%s, dtype %d\n", is_llama ? "Llama" : "GPT-2", (int)dtype);
    print_logits(model);
    print_training(context, model);
    print_logits(model);
    print_answer(model);
    rlhf_model_free(model);
    rlhf_context_free(context);
}

int main(void)
{
    for (int is_llama = 0; is_llama < 2; is_llama++) {
        print_network(is_llama, RLHF_DTYPE_FP32);
        print_network(is_llama, RLHF_DTYPE_BF16);
    }
    return 0;
}
