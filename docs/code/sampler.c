/* A sampler of one's own: tokens that must not be said are never drawn.
 *
 *     ./sampler MODEL PROMPT [WORD...] */
#include <rlhf/rlhf.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What the sampler knows, for each token of the model: its vocabulary and the tokenizer's
 * need not be of one size. */
typedef struct bans {
    unsigned char *banned; /* [vocab_size] 1: never drawn */
    double *weights;       /* [vocab_size] scratch */
} bans;

/* Draws from softmax(logits) of the tokens that are allowed. */
static rlhf_status sample(void *user_data, void *state, const rlhf_sample_info *info,
                          const float *logits, int64_t vocab_size, int32_t *out_token)
{
    const bans *b = user_data;
    double largest = -INFINITY, total = 0;

    (void)state; /* there is no `begin`: no state for a sequence */
    for (int64_t v = 0; v < vocab_size; v++)
        if (!b->banned[v] && logits[v] > largest)
            largest = logits[v];
    if (largest == -INFINITY)
        return RLHF_ERR_STATE; /* all are banned: the host hears it as a failed callback */
    for (int64_t v = 0; v < vocab_size; v++) {
        b->weights[v] = b->banned[v] ? 0 : exp(logits[v] - largest);
        total += b->weights[v];
    }
    /* The library's dice: an answer does not depend on what else is in the batch. */
    double left = info->uniforms[0] * total;
    int64_t last = 0;
    for (int64_t v = 0; v < vocab_size; v++) {
        if (b->weights[v] == 0)
            continue;
        last = v;
        left -= b->weights[v];
        if (left < 0)
            break;
    }
    *out_token = (int32_t)last;
    return RLHF_OK;
}

/* Called exactly once, when nothing holds the sampler any more. */
static void destroy(void *user_data)
{
    bans *b = user_data;

    free(b->banned);
    free(b->weights);
    free(b);
}

/* Bans each token whose text holds one of the words. */
static bans *make_bans(const rlhf_tokenizer *tokenizer, int32_t vocab_size, char **words,
                       int num_words)
{
    bans *b = calloc(1, sizeof *b);

    if (!b)
        return NULL;
    b->banned = calloc((size_t)vocab_size, 1);
    b->weights = calloc((size_t)vocab_size, sizeof *b->weights);
    if (!b->banned || !b->weights) {
        destroy(b);
        return NULL;
    }
    for (int32_t id = 0; id < vocab_size && id < rlhf_tokenizer_vocab_size(tokenizer);
         id++) {
        char text[256] = ""; /* the last byte stays 0 */
        size_t size;
        if (rlhf_tokenizer_decode(tokenizer, &id, 1, 1, text, sizeof text - 1, &size) ==
            RLHF_OK)
            for (int i = 0; i < num_words; i++)
                b->banned[id] |= strstr(text, words[i]) != NULL;
    }
    return b;
}

/* The library owns `b` from here on, and calls `destroy` in the end. */
static rlhf_status make_sampler(bans *b, rlhf_sampler **out_sampler)
{
    const rlhf_sampler_ops ops = {
        .struct_size = sizeof ops, .sample = sample, .destroy = destroy};
    const rlhf_status status = rlhf_sampler_create_custom(&ops, b, out_sampler);

    if (status != RLHF_OK)
        destroy(b);
    return status;
}

static int32_t print(void *user_data, int64_t sequence_id, const char *text, size_t size)
{
    (void)user_data;
    (void)sequence_id;
    fwrite(text, 1, size, stdout);
    return 0;
}

#define TRY(call)                                                                        \
    if ((call) != RLHF_OK)                                                               \
    goto end

int main(int argc, char **argv)
{
    rlhf_context *context = NULL;
    rlhf_tokenizer *tokenizer = NULL;
    rlhf_model *model = NULL;
    rlhf_sampler *sampler = NULL;
    rlhf_generator *generator = NULL;
    rlhf_generator_options options;
    rlhf_model_config config = {.struct_size = sizeof config};
    int32_t ids[512];
    int64_t ends[2] = {0, 0}, count;
    const char *trouble = NULL; /* a failure that is not the library's */
    int done = 0;

    if (argc < 3) {
        fprintf(stderr, "usage: sampler MODEL PROMPT [WORD...]\n");
        return 2;
    }
    TRY(rlhf_context_create(NULL, &context));
    TRY(rlhf_tokenizer_load(context, argv[1], &tokenizer));
    TRY(rlhf_model_load(context, argv[1], &model));
    TRY(rlhf_model_get_config(model, &config));
    bans *b = make_bans(tokenizer, config.vocab_size, argv + 3, argc - 3);
    if (!b) {
        trouble = "no memory for the bans";
        goto end;
    }
    TRY(make_sampler(b, &sampler));

    TRY(rlhf_generator_options_init(&options, sizeof options));
    options.tokenizer = tokenizer;
    options.text = print;
    TRY(rlhf_generator_create(model, sampler, &options, &generator));
    if (rlhf_tokenizer_bos_id(tokenizer) >= 0) /* as in training */
        ids[ends[1]++] = rlhf_tokenizer_bos_id(tokenizer);
    TRY(rlhf_tokenizer_encode(tokenizer, argv[2], strlen(argv[2]), 0, ids + ends[1],
                              512 - ends[1], &count));
    ends[1] += count;
    TRY(rlhf_generator_start(generator, ids, ends, 1, NULL));
    printf("%s", argv[2]);
    TRY(rlhf_generator_run(generator));
    printf("\n");
    done = 1;
end:
    if (!done)
        fprintf(stderr, "sampler: %s\n", trouble ? trouble : rlhf_last_error_message());
    rlhf_generator_free(generator);
    rlhf_sampler_free(sampler);
    rlhf_model_free(model);
    rlhf_tokenizer_free(tokenizer);
    rlhf_context_free(context);
    return !done;
}
