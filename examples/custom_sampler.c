/* A sampler of one's own, with a state per sequence.
 *
 *     build/examples/custom_sampler examples/custom_sampler.yaml "Once upon a time"
 *
 * Draws from the softmax probabilities, but never the same pair of tokens twice in an
 * answer: a state per sequence remembers which pairs it has seen. The uniforms come
 * from the library, keyed by seed, sequence and position, so an answer is the same
 * whatever else is in the batch. */
#include "host.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_PAIRS = 4096 };

/* The pairs of tokens that a sequence has had. */
typedef struct seen {
    int32_t pairs[MAX_PAIRS][2];
    int count;
} seen;

static rlhf_status begin(void *user_data, int64_t sequence_id, void **out_state)
{
    (void)user_data;
    (void)sequence_id;
    *out_state = calloc(1, sizeof(seen));
    return *out_state ? RLHF_OK : RLHF_ERR_NO_MEMORY;
}

static void end(void *user_data, void *state)
{
    (void)user_data;
    free(state);
}

static int was_seen(const seen *s, int32_t first, int32_t second)
{
    for (int i = 0; i < s->count; i++)
        if (s->pairs[i][0] == first && s->pairs[i][1] == second)
            return 1;
    return 0;
}

static rlhf_status sample(void *user_data, void *state, const rlhf_sample_info *info,
                          const float *logits, int64_t vocab_size, int32_t *out_token)
{
    seen *s = state;
    const int32_t before = info->tokens[info->position - 1];
    double *weights = malloc((size_t)vocab_size * sizeof *weights), total = 0,
           largest = -INFINITY;

    (void)user_data;
    if (!weights)
        return RLHF_ERR_NO_MEMORY;
    for (int64_t v = 0; v < vocab_size; v++)
        largest = fmax(largest, (double)logits[v]);
    for (int64_t v = 0; v < vocab_size; v++) {
        weights[v] =
            was_seen(s, before, (int32_t)v) ? 0 : exp((double)logits[v] - largest);
        total += weights[v];
    }
    double left = info->uniforms[0] * total;
    int64_t pick = -1; /* rounding may leave something: then the last that may be drawn */
    for (int64_t v = 0; v < vocab_size && left >= 0; v++) {
        if (weights[v] == 0)
            continue;
        pick = v;
        left -= weights[v];
    }
    free(weights);
    if (pick < 0)
        return RLHF_ERR_STATE; /* every pair was seen: the host hears it as a failure */
    if (s->count < MAX_PAIRS) {
        s->pairs[s->count][0] = before;
        s->pairs[s->count++][1] = (int32_t)pick;
    }
    *out_token = (int32_t)pick;
    return RLHF_OK;
}

int main(int argc, char **argv)
{
    rlhf_context *context = host_start(argv[0]);
    rlhf_config *config = host_config(context, argc, argv, "CONFIG.yaml PROMPT");
    const char *input = host_path(config, "model");
    const rlhf_sampler_ops ops = {
        .struct_size = sizeof ops, .begin = begin, .end = end, .sample = sample};
    rlhf_generator_options options;
    rlhf_tokenizer *tokenizer;
    rlhf_model *model;
    rlhf_sampler *sampler;
    rlhf_generator *generator;
    rlhf_generation g = {.struct_size = sizeof g};
    int64_t count;

    if (argc != 3)
        host_die("give a prompt after the config");
    host_must(rlhf_generator_options_init(&options, sizeof options), "start");
    host_options(config, "generator", "rlhf_generator_options", &options);
    host_must(rlhf_config_finish(config), "read the config");
    host_must(rlhf_tokenizer_load(context, input, &tokenizer), "read the tokenizer");
    host_must(rlhf_model_load(context, input, &model), "read the model");
    host_must(rlhf_sampler_create_custom(&ops, NULL, &sampler), "make the sampler");
    host_must(rlhf_generator_create(model, sampler, &options, &generator),
              "make the generator");

    const int32_t bos = rlhf_tokenizer_bos_id(tokenizer);
    int32_t *ids = host_encode(tokenizer, argv[2], &count);
    int32_t *prompt = host_alloc((size_t)count + 1, sizeof *prompt);
    int64_t cu_seqlens[2] = {0, 0};
    if (bos >= 0)
        prompt[cu_seqlens[1]++] = bos;
    memcpy(prompt + cu_seqlens[1], ids, (size_t)count * sizeof *ids);
    cu_seqlens[1] += count;
    host_must(rlhf_generator_start(generator, prompt, cu_seqlens, 1, NULL), "start");
    host_must(rlhf_generator_run(generator), "answer");
    host_must(rlhf_generator_get(generator, 0, &g), "read the answer");
    char *text =
        host_decode(tokenizer, g.tokens + g.num_prompt, g.num_tokens - g.num_prompt);
    printf("%s%s\n", argv[2], text);

    free(text);
    free(prompt);
    free(ids);
    rlhf_generator_free(generator);
    rlhf_sampler_free(sampler);
    rlhf_model_free(model);
    rlhf_tokenizer_free(tokenizer);
    rlhf_config_free(config);
    rlhf_context_free(context);
    return 0;
}
