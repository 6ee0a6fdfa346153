/* What models make of given answers, for the demo's evaluation; it knows nothing of the
 * hidden preference. One line of numbers a row of a JSONL file:
 *   pairs and a reward model:     R(chosen) R(rejected), then both with another's prompt
 *   answers and a language model: sum of the answer's log-probabilities, nats */
#include "../host.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { GROUP = 256 };

static void batch_row(host_batch *batch, const int32_t *prompt, int64_t num_prompt,
                      const int32_t *answer, int64_t num_answer)
{
    int32_t *row = host_alloc((size_t)(num_prompt + num_answer), sizeof *row);

    memcpy(row, prompt, (size_t)num_prompt * sizeof *row);
    memcpy(row + num_prompt, answer, (size_t)num_answer * sizeof *row);
    host_batch_add(batch, row, num_prompt + num_answer);
    free(row);
}

/* Rows are the dataset's until its next call, so each is used at once. */
static rlhf_example row_at(rlhf_dataset *dataset, int64_t index)
{
    rlhf_example row = {.struct_size = sizeof row};

    host_must(rlhf_dataset_row(dataset, index, &row), "read a row");
    return row;
}

/* Row i's answers after its own prompt and after that of row (i + n/2) mod n. */
static void score_pairs(rlhf_reward_model *reward, rlhf_dataset *dataset, int64_t n,
                        FILE *output)
{
    for (int64_t first = 0; first < n; first += GROUP) {
        const int64_t count = n - first < GROUP ? n - first : GROUP;
        float *scores = host_alloc((size_t)(4 * count), sizeof *scores);
        host_batch batch = {0};
        for (int64_t i = first; i < first + count; i++) {
            rlhf_example row = row_at(dataset, (i + n / 2) % n);
            int32_t other[4096];
            const int64_t num_other = row.prompt_length < 4096 ? row.prompt_length : 4096;
            memcpy(other, row.tokens, (size_t)num_other * sizeof *other);
            row = row_at(dataset, i);
            const int64_t p = row.prompt_length;
            host_batch_add(&batch, row.tokens, row.num_tokens);
            host_batch_add(&batch, row.rejected, row.num_rejected);
            batch_row(&batch, other, num_other, row.tokens + p, row.num_tokens - p);
            batch_row(&batch, other, num_other, row.rejected + p, row.num_rejected - p);
        }
        host_must(rlhf_reward_model_score(reward, batch.tokens, batch.cu_seqlens,
                                          batch.num_seqs, scores),
                  "score the pairs");
        for (int64_t i = 0; i < count; i++)
            fprintf(output, "%.6g %.6g %.6g %.6g\n", (double)scores[4 * i],
                    (double)scores[4 * i + 1], (double)scores[4 * i + 2],
                    (double)scores[4 * i + 3]);
        host_batch_free(&batch);
        free(scores);
    }
}

static void score_answers(rlhf_model *model, rlhf_dataset *dataset, int64_t n,
                          FILE *output)
{
    for (int64_t first = 0; first < n; first += GROUP) {
        const int64_t count = n - first < GROUP ? n - first : GROUP;
        int64_t prompts[GROUP];
        host_batch batch = {0};
        for (int64_t i = 0; i < count; i++) {
            const rlhf_example row = row_at(dataset, first + i);
            prompts[i] = row.prompt_length;
            host_batch_add(&batch, row.tokens, row.num_tokens);
        }
        float *logprobs = host_alloc((size_t)batch.cu_seqlens[count], sizeof *logprobs);
        host_must(rlhf_model_logprobs(model, batch.tokens, batch.cu_seqlens, count, 1.0,
                                      logprobs),
                  "score the answers");
        for (int64_t i = 0; i < count; i++) {
            double sum = 0;
            for (int64_t t = batch.cu_seqlens[i] + prompts[i];
                 t < batch.cu_seqlens[i + 1]; t++)
                sum += (double)logprobs[t];
            fprintf(output, "%.6f\n", sum);
        }
        free(logprobs);
        host_batch_free(&batch);
    }
}

int main(int argc, char **argv)
{
    rlhf_context *context = host_start(argv[0]);
    rlhf_config *config = host_config(context, argc, argv, "CONFIG.yaml");
    const char *model_path = host_optional(config, "model");
    const char *reward_path = host_optional(config, "reward_model");
    const char *input = host_path(config, "input"), *output = host_path(config, "output");
    rlhf_dataset_info info = {.struct_size = sizeof info};
    rlhf_dataset_options options;
    rlhf_tokenizer *tokenizer;
    rlhf_dataset *dataset;
    host_file file;

    host_must(rlhf_config_finish(config), "read the config");
    if (!model_path == !reward_path)
        host_die("the config needs either 'model' or 'reward_model'");
    host_must(rlhf_dataset_options_init(&options, sizeof options), "start");
    options.kind = reward_path ? RLHF_DATASET_PREFERENCE : RLHF_DATASET_COMPLETION;
    options.add_eos = 0; /* the ids are the answers as they were given */
    host_must(
        rlhf_tokenizer_load(context, reward_path ? reward_path : model_path, &tokenizer),
        "read the tokenizer");
    host_must(rlhf_dataset_load(context, tokenizer, input, &options, &dataset),
              "read the answers");
    host_must(rlhf_dataset_get_info(dataset, &info), "count the rows");
    if (info.num_rows != info.num_read)
        host_die("%s has rows that cannot be scored", input);
    host_file_begin(&file, output);
    if (reward_path) {
        rlhf_reward_model *reward;
        host_must(rlhf_reward_model_load(context, reward_path, &reward),
                  "read the model");
        score_pairs(reward, dataset, info.num_rows, file.stream);
        rlhf_reward_model_free(reward);
    } else {
        rlhf_model *model;
        host_must(rlhf_model_load(context, model_path, &model), "read the model");
        score_answers(model, dataset, info.num_rows, file.stream);
        rlhf_model_free(model);
    }
    host_file_commit(&file);
    rlhf_dataset_free(dataset);
    rlhf_tokenizer_free(tokenizer);
    rlhf_config_free(config);
    rlhf_context_free(context);
    return 0;
}
