/* Chapter 5. A network learns what people prefer.
 *
 *     build/examples/05_reward examples/05_reward.yaml
 *
 * The language model's trunk with its last layer replaced by one float: R(prompt,
 * answer). Trained on choices with -log sigmoid(R(chosen) - R(rejected)). Afterwards
 * its scale and offset are set so that the language model's own answers score mean 0
 * and deviation 1: what PPO's KL coefficient is weighed against then means the same
 * whatever the run. */
#include "host.h"

#include <inttypes.h>
#include <stdlib.h>

/* The mean of the weights over the last steps: on few choices it generalises better
 * than the last step's (Izmailov et al. 2018, "Averaging weights leads to wider
 * optima"). */
typedef struct average {
    double **sums; /* [parameters] */
    int64_t count;
} average;

static rlhf_parameter_info parameter(const rlhf_reward_model *reward, int64_t index)
{
    rlhf_parameter_info info = {.struct_size = sizeof info};

    host_must(rlhf_reward_model_parameter_info(reward, index, &info),
              "read the parameters");
    return info;
}

/* Adds the weights as they are; with `write`, puts the mean in their place instead. */
static void average_step(average *a, rlhf_reward_model *reward, int write)
{
    const int64_t n = rlhf_reward_model_num_parameter_names(reward);

    if (!a->sums)
        a->sums = host_alloc((size_t)n, sizeof *a->sums);
    for (int64_t i = 0; i < n; i++) {
        const rlhf_parameter_info info = parameter(reward, i);
        const int64_t size = info.rows * info.cols;
        float *values = host_alloc((size_t)size, sizeof *values);
        if (!a->sums[i])
            a->sums[i] = host_alloc((size_t)size, sizeof **a->sums);
        if (!write)
            host_must(rlhf_reward_model_parameter_read(reward, info.name, values, size),
                      "read a parameter");
        for (int64_t v = 0; v < size; v++) {
            a->sums[i][v] += (double)values[v];
            values[v] = (float)(a->sums[i][v] / (double)a->count);
        }
        if (write)
            host_must(rlhf_reward_model_parameter_write(reward, info.name, values, size),
                      "write a parameter");
        free(values);
    }
    a->count += !write;
}

static void average_free(average *a, const rlhf_reward_model *reward)
{
    for (int64_t i = 0; a->sums && i < rlhf_reward_model_num_parameter_names(reward); i++)
        free(a->sums[i]);
    free(a->sums);
}

/* Scores of the model's own answers become mean 0, deviation 1. */
static void normalize(rlhf_reward_model *reward, rlhf_model *model,
                      rlhf_tokenizer *tokenizer, rlhf_context *context,
                      const char *prompts, int64_t limit,
                      const rlhf_generator_options *options)
{
    rlhf_dataset_options data_options;
    rlhf_dataset_info info = {.struct_size = sizeof info};
    rlhf_dataset *dataset;
    rlhf_generator *generator;
    host_batch questions, answers;

    host_must(rlhf_dataset_options_init(&data_options, sizeof data_options), "start");
    data_options.kind = RLHF_DATASET_PROMPT;
    host_must(rlhf_dataset_load(context, tokenizer, prompts, &data_options, &dataset),
              "read the prompts");
    host_must(rlhf_dataset_get_info(dataset, &info), "count the prompts");
    host_draw(&questions, dataset, info.num_rows < limit ? info.num_rows : limit, 1);
    host_must(rlhf_generator_create(model, NULL, options, &generator),
              "make the generator");
    host_must(rlhf_generator_start(generator, questions.tokens, questions.cu_seqlens,
                                   questions.num_seqs, NULL),
              "start on the prompts");
    host_must(rlhf_generator_run(generator), "answer the prompts");
    host_gather(&answers, generator);
    host_must(rlhf_reward_model_normalize(reward, answers.tokens, answers.cu_seqlens,
                                          answers.num_seqs, 1),
              "normalise the reward");
    host_batch_free(&answers);
    host_batch_free(&questions);
    rlhf_generator_free(generator);
    rlhf_dataset_free(dataset);
}

/* Ctrl-C saves the trainer, where there is a place for it. */
static void check(rlhf_status status, const char *doing, rlhf_reward_trainer *trainer,
                  const char *state)
{
    if (status == RLHF_ERR_CANCELLED && state) {
        host_must(rlhf_reward_trainer_save(trainer, state), "save the trainer");
        host_stop("the trainer is saved: the same command goes on");
    }
    host_must(status, doing);
}

int main(int argc, char **argv)
{
    rlhf_context *context = host_start(argv[0]);
    rlhf_config *config = host_config(context, argc, argv, "CONFIG.yaml");
    const char *input = host_path(config, "model"), *output = host_path(config, "output");
    const char *store_path = host_optional(config, "store");
    const char *data = host_optional(config, "data"),
               *state = host_optional(config, "state");
    const char *prompts = host_optional(config, "normalize_on");
    const int64_t normalize_count = host_integer(config, "normalize_count", 256, 2);
    const int64_t steps = host_integer(config, "steps", 200, 1);
    const int64_t held_out = host_integer(config, "held_out", 200, 0);
    const int64_t average_last = host_integer(config, "average_last", 0, 0);
    const int64_t seed = host_integer(config, "seed", 1, 0);
    const int32_t stop = (int32_t)host_integer(config, "stop_token", -1, -1);
    FILE *metrics = host_log_open(host_optional(config, "metrics"), host_exists(state));
    rlhf_dataset_options data_options;
    rlhf_reward_model_options model_options;
    rlhf_reward_options options;
    rlhf_generator_options generator_options;

    host_must(rlhf_dataset_options_init(&data_options, sizeof data_options), "start");
    host_options(config, "dataset", "rlhf_dataset_options", &data_options);
    data_options.kind = RLHF_DATASET_PREFERENCE;
    host_must(rlhf_reward_model_options_init(&model_options, sizeof model_options),
              "start");
    model_options.seed = (uint64_t)seed;
    host_options(config, "reward_model", "rlhf_reward_model_options", &model_options);
    host_must(rlhf_reward_options_init(&options, sizeof options), "start");
    options.total_steps = steps;
    host_options(config, "training", "rlhf_reward_options", &options);
    host_must(rlhf_generator_options_init(&generator_options, sizeof generator_options),
              "start");
    generator_options.seed = (uint64_t)seed;
    host_options(config, "generator", "rlhf_generator_options", &generator_options);
    if (stop >= 0) { /* else the model's EOS */
        generator_options.stop_tokens = &stop;
        generator_options.num_stop_tokens = 1;
    }
    host_must(rlhf_config_finish(config), "read the config");
    if (!store_path == !data)
        host_die("the config needs either 'store' (from 04_annotate) or 'data' (JSONL)");

    rlhf_tokenizer *tokenizer;
    rlhf_model *model;
    rlhf_reward_model *reward;
    rlhf_feedback *store = NULL;
    rlhf_dataset *all, *train, *test;
    rlhf_reward_trainer *trainer;
    average mean = {0};
    host_must(rlhf_tokenizer_load(context, input, &tokenizer), "read the tokenizer");
    host_must(rlhf_model_load(context, input, &model), "read the model");
    host_must(rlhf_reward_model_create(model, &model_options, &reward),
              "make the reward model");
    if (store_path) {
        if (!host_exists(store_path))
            host_die("there is no store at %s", store_path);
        host_must(rlhf_feedback_open(context, store_path, 0, &store), "open the store");
        host_must(rlhf_feedback_dataset(store, &data_options, &all), "read the choices");
    } else {
        host_must(rlhf_dataset_load(context, tokenizer, data, &data_options, &all),
                  "read the choices");
    }
    host_must(rlhf_dataset_split(all, held_out, (uint64_t)seed, &train, &test),
              "hold pairs out");
    host_describe(all);
    host_must(rlhf_reward_trainer_create(reward, train, &options, &trainer),
              "make the trainer");
    if (host_exists(state))
        host_must(rlhf_reward_trainer_resume(trainer, state), "resume");
    for (int64_t step = rlhf_reward_trainer_num_steps(trainer); step < steps; step++) {
        rlhf_reward_stats stats = {.struct_size = sizeof stats};
        const rlhf_status status = rlhf_reward_trainer_step(trainer, &stats);
        check(status, "train", trainer, state);
        if (step >= steps - average_last)
            average_step(&mean, reward, 0);
        host_progress("reward", step + 1, steps, "loss %.3f accuracy %.2f", stats.loss,
                      stats.accuracy);
        host_log(metrics,
                 "{\"stage\": \"reward\", \"step\": %" PRId64 ", \"loss\": %.6g, "
                 "\"accuracy\": %.6g, \"margin\": %.6g, \"lr\": %.6g}",
                 stats.step, stats.loss, stats.accuracy, stats.margin,
                 stats.learning_rate);
    }
    if (mean.count > 0)
        average_step(&mean, reward, 1);
    if (held_out > 0) {
        rlhf_reward_stats stats = {.struct_size = sizeof stats};
        check(rlhf_reward_trainer_evaluate(trainer, test, 0, &stats), "evaluate", trainer,
              state);
        fprintf(stderr, "held-out pairs: accuracy %.3f, loss %.3f\n", stats.accuracy,
                stats.loss);
        host_log(metrics,
                 "{\"stage\": \"reward\", \"held_out_accuracy\": %.6g, "
                 "\"held_out_loss\": %.6g}",
                 stats.accuracy, stats.loss);
    }
    if (prompts)
        normalize(reward, model, tokenizer, context, prompts, normalize_count,
                  &generator_options);
    host_save(output, tokenizer, NULL, reward);
    fprintf(stderr, "wrote %s\n", output);

    host_log_close(metrics);
    average_free(&mean, reward);
    rlhf_reward_trainer_free(trainer);
    rlhf_dataset_free(test);
    rlhf_dataset_free(train);
    rlhf_dataset_free(all);
    rlhf_feedback_free(store);
    rlhf_reward_model_free(reward);
    rlhf_model_free(model);
    rlhf_tokenizer_free(tokenizer);
    rlhf_config_free(config);
    rlhf_context_free(context);
    return 0;
}
