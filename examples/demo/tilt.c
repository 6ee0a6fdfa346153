/* How far the simplest policy gets: one bias a token, added to the logits whatever the
 * prompt.
 *     tilt MODEL TRAIN.jsonl EVAL.jsonl OUT.jsonl KL [LEXICON]
 * The bias is fitted to the gold score itself by policy gradient, its KL from the
 * model held at the given one: an upper bound that a trained policy should clear, for
 * comparison only. A sampler of our own adds the bias, measures the KL and collects
 * the gradient. */
#include "../host.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "gold.h"

enum { MAX_VOCAB = 4096, ROUNDS = 30, BATCH = 192 };

typedef struct tilt {
    double bias[MAX_VOCAB];
    double factor[MAX_VOCAB]; /* exp(bias), of the batch at hand */
    double kl;                /* summed over all positions sampled */
    int64_t base;             /* first sequence id of the batch */
    double *gradients;        /* [BATCH][vocab]: sum of d log q(token) / d bias; NULL: not
                          wanted */
    int64_t vocab;
} tilt;

static rlhf_status sample(void *user_data, void *state, const rlhf_sample_info *info,
                          const float *logits, int64_t vocab, int32_t *out_token)
{
    tilt *t = user_data;
    double q[MAX_VOCAB], top = -INFINITY, sum_p = 0, sum_q = 0, mean_bias = 0;
    double left = info->uniforms[0];

    (void)state;
    for (int64_t v = 0; v < vocab; v++)
        top = fmax(top, (double)logits[v]);
    for (int64_t v = 0; v < vocab; v++) {
        const double p = exp((double)logits[v] - top);
        sum_p += p;
        sum_q += q[v] = p * t->factor[v];
    }
    *out_token = (int32_t)vocab - 1;
    int found = 0;
    for (int64_t v = 0; v < vocab; v++) {
        q[v] /= sum_q;
        mean_bias += q[v] * t->bias[v];
        left -= q[v];
        if (left < 0 && !found) {
            *out_token = (int32_t)v;
            found = 1;
        }
    }
    t->kl +=
        mean_bias + log(sum_p / sum_q); /* log q/p is the bias less log of the sums */
    if (t->gradients) {
        double *g = t->gradients + (info->sequence_id - t->base) * vocab;
        for (int64_t v = 0; v < vocab; v++)
            g[v] -= q[v];
        g[*out_token] += 1;
    }
    return RLHF_OK;
}

typedef struct job {
    rlhf_tokenizer *tokenizer;
    rlhf_generator *generator;
    gold_lexicon *lexicon;
    tilt *tilt;
    int64_t next_id;
} job;

/* Answers a batch; KL per answer. */
static double answer(job *j, const host_batch *batch)
{
    int64_t *ids = host_alloc((size_t)batch->num_seqs, sizeof *ids);

    j->tilt->base = j->next_id;
    j->tilt->kl = 0;
    for (int64_t v = 0; v < j->tilt->vocab; v++)
        j->tilt->factor[v] = exp(j->tilt->bias[v]);
    for (int64_t i = 0; i < batch->num_seqs; i++)
        ids[i] = j->next_id++;
    host_must(rlhf_generator_start(j->generator, batch->tokens, batch->cu_seqlens,
                                   batch->num_seqs, ids),
              "start on the prompts");
    host_must(rlhf_generator_run(j->generator), "answer");
    free(ids);
    return j->tilt->kl / (double)batch->num_seqs;
}

static char *text_of(const job *j, const int32_t *ids, int64_t count)
{
    return host_decode(j->tokenizer, ids, count);
}

/* One step of policy gradient; then the bias is scaled towards the KL wanted. */
static void fit(job *j, rlhf_dataset *prompts, double wanted, int round)
{
    const int64_t vocab = j->tilt->vocab;
    double *gradients = host_alloc((size_t)(BATCH * vocab), sizeof *gradients);
    double gold[BATCH], mean = 0, norm = 0,
                        *step = host_alloc((size_t)vocab, sizeof *step);
    host_batch batch;

    host_draw(&batch, prompts, BATCH, 1);
    j->tilt->gradients = gradients;
    const double kl = answer(j, &batch);
    j->tilt->gradients = NULL;
    for (int i = 0; i < BATCH; i++) {
        rlhf_generation g = {.struct_size = sizeof g};
        host_must(rlhf_generator_get(j->generator, i, &g), "read an answer");
        char *prompt = text_of(j, g.tokens, g.num_prompt);
        char *text = text_of(j, g.tokens + g.num_prompt, g.num_tokens - g.num_prompt);
        gold[i] = gold_score(j->lexicon, prompt, text);
        mean += gold[i] / BATCH;
        free(prompt);
        free(text);
    }
    for (int64_t v = 0; v < vocab; v++) {
        for (int i = 0; i < BATCH; i++)
            step[v] += (gold[i] - mean) * gradients[i * vocab + v] / BATCH;
        norm += step[v] * step[v];
    }
    const double rate = 2.0 / (sqrt(norm) + 1e-12) / sqrt(1.0 + round);
    const double shrink = kl > wanted ? sqrt(wanted / kl) : 1;
    for (int64_t v = 0; v < vocab; v++)
        j->tilt->bias[v] = shrink * j->tilt->bias[v] + rate * step[v];
    host_progress("tilt", round + 1, ROUNDS, "gold %.3f kl %.2f", mean, kl);
    host_batch_free(&batch);
    free(step);
    free(gradients);
}

/* KL grows about as the square of the scale: a few corrections reach the one wanted. */
static void match(job *j, const host_batch *batch, double wanted)
{
    for (int i = 0; i < 6; i++) {
        const double kl = answer(j, batch);
        const double scale = kl > 1e-9 ? fmin(3, fmax(0.3, sqrt(wanted / kl))) : 1;
        for (int64_t v = 0; v < j->tilt->vocab; v++)
            j->tilt->bias[v] *= scale;
    }
}

static void write_answers(const job *j, const host_batch *batch, const char *path)
{
    host_file file;

    host_file_begin(&file, path);
    for (int64_t i = 0; i < batch->num_seqs; i++) {
        rlhf_generation g = {.struct_size = sizeof g};
        host_must(rlhf_generator_get(j->generator, i, &g), "read an answer");
        const int32_t *ids = g.tokens + g.num_prompt;
        char *prompt = text_of(j, g.tokens, g.num_prompt);
        char *text = text_of(j, ids, g.num_tokens - g.num_prompt);
        fputs("{\"prompt\": ", file.stream);
        host_json_string(file.stream, prompt);
        fputs(", \"completion\": ", file.stream);
        host_json_string(file.stream, text);
        fputs(", \"completion_ids\": ", file.stream);
        host_json_ids(file.stream, ids, g.num_tokens - g.num_prompt);
        fprintf(file.stream, ", \"finish\": \"%s\"}\n",
                g.finish == RLHF_FINISH_STOP ? "stop" : "length");
        free(prompt);
        free(text);
    }
    host_file_commit(&file);
}

static rlhf_dataset *load(rlhf_context *context, rlhf_tokenizer *tokenizer,
                          const char *path, int shuffle)
{
    rlhf_dataset_options options;
    rlhf_dataset *dataset;

    host_must(rlhf_dataset_options_init(&options, sizeof options), "start");
    options.kind = RLHF_DATASET_PROMPT;
    options.shuffle = shuffle;
    host_must(rlhf_dataset_load(context, tokenizer, path, &options, &dataset),
              "read the prompts");
    return dataset;
}

int main(int argc, char **argv)
{
    rlhf_context *context = host_start(argv[0]);
    tilt t = {.vocab = 0};
    job j = {.tilt = &t};
    const rlhf_sampler_ops ops = {.struct_size = sizeof ops, .sample = sample};
    const int32_t stop = 1;
    rlhf_generator_options options;
    rlhf_dataset_info info = {.struct_size = sizeof info};
    rlhf_sampler *sampler;
    rlhf_model *model;
    host_batch batch;

    if (argc != 6 && argc != 7)
        host_die("usage: tilt MODEL TRAIN.jsonl EVAL.jsonl OUT.jsonl KL [LEXICON]");
    const double wanted = strtod(argv[5], NULL);
    host_must(rlhf_generator_options_init(&options, sizeof options), "start");
    options.max_new_tokens = 24;
    if (argc == 7) { /* the real model's answers: 64 tokens, ended by token 1 */
        j.lexicon = gold_lexicon_load(argv[6]);
        options.max_new_tokens = 64;
        options.stop_tokens = &stop;
        options.num_stop_tokens = 1;
    }
    host_must(rlhf_tokenizer_load(context, argv[1], &j.tokenizer), "read the tokenizer");
    host_must(rlhf_model_load(context, argv[1], &model), "read the model");
    t.vocab = rlhf_tokenizer_vocab_size(j.tokenizer);
    if (t.vocab > MAX_VOCAB)
        host_die("a vocabulary of more than %d", MAX_VOCAB);
    host_must(rlhf_sampler_create_custom(&ops, &t, &sampler), "make the sampler");
    host_must(rlhf_generator_create(model, sampler, &options, &j.generator),
              "make the generator");
    rlhf_dataset *train = load(context, j.tokenizer, argv[2], 1);
    rlhf_dataset *test = load(context, j.tokenizer, argv[3], 0);
    host_must(rlhf_dataset_get_info(test, &info), "count the prompts");
    host_draw(&batch, test, info.num_rows, 1);
    for (int round = 0; round < ROUNDS && wanted > 0.01; round++)
        fit(&j, train, wanted, round);
    match(&j, &batch, wanted);
    fprintf(stderr, "kl %.2f (wanted %.2f)\n", answer(&j, &batch), wanted);
    write_answers(&j, &batch, argv[4]);

    host_batch_free(&batch);
    rlhf_dataset_free(test);
    rlhf_dataset_free(train);
    rlhf_generator_free(j.generator);
    rlhf_sampler_free(sampler);
    rlhf_model_free(model);
    rlhf_tokenizer_free(j.tokenizer);
    gold_lexicon_free(j.lexicon);
    rlhf_context_free(context);
    return 0;
}
