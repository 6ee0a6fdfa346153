/* Chapter 3. The model answers prompts, twice each, for people to compare.
 *
 *     build/examples/03_generate examples/03_generate.yaml
 *
 * Answers are drawn by the softmax probabilities at a temperature, so two of them
 * differ. Pairs go into a store (an SQLite file) in a shuffled display order; with
 * `answers: 1` one answer a prompt goes to a JSONL file instead. Ids are kept beside
 * the texts: what is trained on later is what the model produced, not what its text
 * happens to encode to. */
#include "host.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { GROUP = 256 }; /* prompts answered together */

typedef struct answers {
    rlhf_tokenizer *tokenizer;
    rlhf_feedback *store; /* pairs, or */
    FILE *output;         /* lines */
    int64_t num_prompts, num_equal;
} answers;

static rlhf_generation get(rlhf_generator *generator, int64_t index)
{
    rlhf_generation g = {.struct_size = sizeof g};

    host_must(rlhf_generator_get(generator, index, &g), "read an answer");
    return g;
}

/* text[0..2]: prompt and answers, the caller's to free. */
static rlhf_comparison make_pair(const answers *a, const rlhf_generation *first,
                                 const rlhf_generation *second, char **text)
{
    const rlhf_generation *g[2] = {first, second};
    rlhf_comparison c = {.struct_size = sizeof c,
                         .prompt_ids = first->tokens,
                         .num_prompt = first->num_prompt};

    c.prompt_text = text[0] = host_decode(a->tokenizer, first->tokens, first->num_prompt);
    for (int i = 0; i < 2; i++) {
        c.answer_ids[i] = g[i]->tokens + g[i]->num_prompt;
        c.num_answer[i] = g[i]->num_tokens - g[i]->num_prompt;
        c.answer_text[i] = text[1 + i] =
            host_decode(a->tokenizer, c.answer_ids[i], c.num_answer[i]);
    }
    return c;
}

/* All pairs of the generator go to the store at once, or none. */
static void keep_pairs(answers *a, rlhf_generator *generator, int64_t num_pairs)
{
    rlhf_comparison *pairs = host_alloc((size_t)num_pairs, sizeof *pairs);
    char **texts = host_alloc((size_t)num_pairs, 3 * sizeof *texts);
    int64_t equal = 0; /* nothing to choose between */

    for (int64_t i = 0; i < num_pairs; i++) {
        const rlhf_generation first = get(generator, 2 * i),
                              second = get(generator, 2 * i + 1);
        pairs[i] = make_pair(a, &first, &second, texts + 3 * i);
    }
    host_must(rlhf_feedback_add_many(a->store, pairs, num_pairs, &equal), "keep pairs");
    a->num_equal += equal;
    for (int64_t i = 0; i < 3 * num_pairs; i++)
        free(texts[i]);
    free(texts);
    free(pairs);
}

static void write_line(answers *a, const rlhf_generation *g)
{
    const int32_t *ids = g->tokens + g->num_prompt;
    char *prompt = host_decode(a->tokenizer, g->tokens, g->num_prompt);
    char *text = host_decode(a->tokenizer, ids, g->num_tokens - g->num_prompt);
    double logprob = 0;

    for (int64_t t = 0; t < g->num_tokens - g->num_prompt; t++)
        logprob += (double)g->logprobs[t];
    fputs("{\"prompt\": ", a->output);
    host_json_string(a->output, prompt);
    fputs(", \"completion\": ", a->output);
    host_json_string(a->output, text);
    fputs(", \"prompt_ids\": ", a->output);
    host_json_ids(a->output, g->tokens, g->num_prompt);
    fputs(", \"completion_ids\": ", a->output);
    host_json_ids(a->output, ids, g->num_tokens - g->num_prompt);
    fprintf(a->output, ", \"logprob\": %.6f, \"finish\": \"%s\"}\n", logprob,
            g->finish == RLHF_FINISH_STOP ? "stop" : "length");
    free(prompt);
    free(text);
}

/* Answers `count` prompts, `each` times; ids of sequences go on from prompt to prompt,
 * so that every answer has random numbers of its own. */
static void respond(answers *a, rlhf_generator *generator, host_batch *prompts,
                    int64_t first_id, int64_t each)
{
    int64_t *ids = host_alloc((size_t)prompts->num_seqs, sizeof *ids);

    for (int64_t i = 0; i < prompts->num_seqs; i++)
        ids[i] = first_id + i;
    host_must(rlhf_generator_start(generator, prompts->tokens, prompts->cu_seqlens,
                                   prompts->num_seqs, ids),
              "start on the prompts");
    host_must(rlhf_generator_run(generator), "answer");
    if (each == 2)
        keep_pairs(a, generator, prompts->num_seqs / 2);
    for (int64_t i = 0; each == 1 && i < prompts->num_seqs; i++) {
        const rlhf_generation answer = get(generator, i);
        write_line(a, &answer);
    }
    a->num_prompts += prompts->num_seqs / each;
    free(ids);
}

int main(int argc, char **argv)
{
    rlhf_context *context = host_start(argv[0]);
    rlhf_config *config = host_config(context, argc, argv, "CONFIG.yaml");
    const char *input = host_path(config, "model"),
               *prompts = host_path(config, "prompts");
    const char *store = host_optional(config, "store"),
               *lines = host_optional(config, "output");
    const int64_t each = host_integer(config, "answers", 2, 1);
    const int64_t limit = host_integer(config, "limit", INT64_MAX, 1);
    const int64_t seed = host_integer(config, "seed", 1, 0);
    const int32_t stop = (int32_t)host_integer(config, "stop_token", -1, -1);
    rlhf_dataset_options data_options;
    rlhf_sampler_options sampler_options;
    rlhf_generator_options options;

    host_must(rlhf_dataset_options_init(&data_options, sizeof data_options), "start");
    data_options.shuffle = 0;
    host_options(config, "dataset", "rlhf_dataset_options", &data_options);
    data_options.kind = RLHF_DATASET_PROMPT;
    data_options.num_epochs = 1;
    host_must(rlhf_sampler_options_init(&sampler_options, sizeof sampler_options),
              "start");
    host_options(config, "sampler", "rlhf_sampler_options", &sampler_options);
    host_must(rlhf_generator_options_init(&options, sizeof options), "start");
    options.seed = (uint64_t)seed;
    host_options(config, "generator", "rlhf_generator_options", &options);
    if (stop >= 0) { /* else the model's EOS */
        options.stop_tokens = &stop;
        options.num_stop_tokens = 1;
    }
    host_must(rlhf_config_finish(config), "read the config");
    if (each > 2 || (each == 2 && !store) || (each == 1 && !lines))
        host_die("answers: 2 needs 'store', answers: 1 needs 'output'");

    answers a = {0};
    rlhf_model *model;
    rlhf_dataset *dataset;
    rlhf_sampler *sampler;
    rlhf_generator *generator;
    host_file file;
    host_must(rlhf_tokenizer_load(context, input, &a.tokenizer), "read the tokenizer");
    host_must(rlhf_model_load(context, input, &model), "read the model");
    host_must(rlhf_dataset_load(context, a.tokenizer, prompts, &data_options, &dataset),
              "read the prompts");
    host_must(rlhf_sampler_create(&sampler_options, &sampler), "make the sampler");
    host_must(rlhf_generator_create(model, sampler, &options, &generator),
              "make the generator");
    if (each == 2)
        host_must(rlhf_feedback_open(context, store, (uint64_t)seed, &a.store),
                  "open the store");
    else {
        host_file_begin(&file, lines);
        a.output = file.stream;
    }

    rlhf_dataset_info info = {.struct_size = sizeof info};
    host_must(rlhf_dataset_get_info(dataset, &info), "count the prompts");
    const int64_t total = info.num_rows < limit ? info.num_rows : limit;
    for (int64_t done = 0; done < total;) {
        const int64_t count = total - done < GROUP ? total - done : GROUP;
        host_batch batch;
        host_draw(&batch, dataset, count, each);
        respond(&a, generator, &batch, done * each, each);
        host_batch_free(&batch);
        done += count;
        host_progress("respond", done, total, NULL);
    }
    if (each == 1)
        host_file_commit(&file);
    fprintf(stderr, "answered %" PRId64 " prompts", a.num_prompts);
    if (each == 2)
        fprintf(stderr, "; %" PRId64 " pairs were equal and are left out", a.num_equal);
    fputc('\n', stderr);

    rlhf_feedback_free(a.store);
    rlhf_generator_free(generator);
    rlhf_sampler_free(sampler);
    rlhf_dataset_free(dataset);
    rlhf_model_free(model);
    rlhf_tokenizer_free(a.tokenizer);
    rlhf_config_free(config);
    rlhf_context_free(context);
    return 0;
}
