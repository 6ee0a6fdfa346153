/* Chapter 6. The model learns to give the answers that people prefer.
 *
 *     build/examples/06_ppo examples/06_ppo.yaml
 *
 * Each iteration draws prompts, answers them, lets the reward model score the answers,
 * and moves the policy towards better scores while a KL penalty holds it near where it
 * started. Every few iterations held-out prompts are answered and scored; the policy
 * that did best on them (score less the KL penalty) is what the folder holds in the
 * end. Ctrl-C saves everything; the same command goes on, to the same bits. */
#include "host.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

typedef struct run {
    rlhf_context *context;
    rlhf_tokenizer *tokenizer;
    rlhf_model *policy;
    rlhf_ppo_trainer *trainer;
    const char *output, *state, *samples, *position_path;
    FILE *metrics;
    double best;
    int64_t best_iteration, evaluated; /* iterations; -1: none yet */
} run;

static void log_stats(const run *r, const rlhf_ppo_stats *s)
{
    host_log(
        r->metrics,
        "{\"stage\": \"ppo\", \"iteration\": %" PRId64 ", \"score\": %.6g, \"kl\": %.6g, "
        "\"entropy\": %.6g, \"response_length\": %.6g, \"eos_rate\": %.6g, "
        "\"policy_loss\": %.6g, \"value_loss\": %.6g, \"approxkl\": %.6g, "
        "\"clipfrac\": %.6g, \"first_ratio_deviation\": %.6g, "
        "\"explained_variance\": %.6g, \"kl_coef\": %.6g, \"tokens_per_second\": %.0f}",
        s->iteration, s->score, s->kl, s->entropy, s->response_length, s->eos_rate,
        s->policy_loss, s->value_loss, s->approxkl, s->clipfrac, s->first_ratio_deviation,
        s->explained_variance, s->kl_coef, s->tokens_per_second);
}

/* What Ctrl-C leaves: the trainer, and this program's own place, for the same command. */
static void stop(const run *r, rlhf_dataset *prompts)
{
    char position[RLHF_SOURCE_POSITION_MAX];
    size_t size;
    host_file file;

    host_must(rlhf_ppo_trainer_save(r->trainer, r->state), "save the trainer");
    host_must(rlhf_dataset_save_position(prompts, position, sizeof position, &size),
              "save the place in the prompts");
    host_file_begin(&file, r->position_path);
    fprintf(file.stream, "%.17g %" PRId64 " %" PRId64 " %zu\n", r->best,
            r->best_iteration, r->evaluated, size);
    fwrite(position, 1, size, file.stream);
    host_file_commit(&file);
    host_stop("the trainer is saved: the same command goes on");
}

static void resume(run *r, rlhf_dataset *prompts)
{
    size_t size, stored = 0;
    int header = 0;
    char *text = host_read(r->position_path, &size);

    if (sscanf(text, "%lg %" SCNd64 " %" SCNd64 " %zu%n", &r->best, &r->best_iteration,
               &r->evaluated, &stored, &header) != 4 ||
        (size_t)header + 1 + stored != size)
        host_die("%s is not a saved place", r->position_path);
    host_must(rlhf_dataset_restore_position(prompts, text + header + 1, stored),
              "find the place in the prompts");
    host_must(rlhf_ppo_trainer_resume(r->trainer, r->state, NULL), "resume");
    free(text);
}

/* Scores the held-out prompts; keeps the policy if it is the best so far. */
static void evaluate(run *r, rlhf_dataset *prompts, const host_batch *held_out,
                     double kl_coef)
{
    rlhf_ppo_stats s = {.struct_size = sizeof s};
    const rlhf_status status = rlhf_ppo_trainer_evaluate(
        r->trainer, held_out->tokens, held_out->cu_seqlens, held_out->num_seqs, &s, NULL);

    if (status == RLHF_ERR_CANCELLED && r->state)
        stop(r, prompts);
    host_must(status, "evaluate");
    r->evaluated = s.iteration;
    const double figure = s.score - kl_coef * s.kl;
    host_log(r->metrics,
             "{\"stage\": \"ppo_held_out\", \"iteration\": %" PRId64 ", \"score\": %.6g, "
             "\"kl\": %.6g, \"response_length\": %.6g, \"eos_rate\": %.6g}",
             s.iteration, s.score, s.kl, s.response_length, s.eos_rate);
    if (figure <= r->best)
        return;
    r->best = figure;
    r->best_iteration = s.iteration;
    host_save(r->output, r->tokenizer, r->policy, NULL);
}

/* One iteration. The prompts of one that was interrupted are drawn again: their place
 * is saved before, and so they are the same. */
static void iterate(run *r, rlhf_dataset *prompts, int64_t batch_size,
                    rlhf_ppo_stats *stats)
{
    char before[RLHF_SOURCE_POSITION_MAX];
    size_t size;
    host_batch batch;

    host_must(rlhf_dataset_save_position(prompts, before, sizeof before, &size),
              "save the place in the prompts");
    host_draw(&batch, prompts, batch_size, 1);
    const rlhf_status status = rlhf_ppo_trainer_step(
        r->trainer, batch.tokens, batch.cu_seqlens, batch.num_seqs, stats);
    host_batch_free(&batch);
    if (status == RLHF_ERR_CANCELLED && r->state) {
        host_must(rlhf_dataset_restore_position(prompts, before, size),
                  "go back in the prompts");
        stop(r, prompts);
    }
    host_must(status, "train");
}

/* The samples of the policy as it is, one JSON line each. */
static void write_samples(run *r, const host_batch *held_out)
{
    rlhf_rollout *rollout;

    if (!r->samples)
        return;
    host_must(rlhf_ppo_trainer_evaluate(r->trainer, held_out->tokens,
                                        held_out->cu_seqlens, held_out->num_seqs, NULL,
                                        &rollout),
              "evaluate");
    host_must(rlhf_rollout_write_jsonl(rollout, r->tokenizer, r->samples),
              "write the samples");
    rlhf_rollout_free(rollout);
}

static rlhf_dataset *load_prompts(run *r, const char *path, rlhf_dataset_options options)
{
    rlhf_dataset *dataset;

    options.kind = RLHF_DATASET_PROMPT;
    host_must(rlhf_dataset_load(r->context, r->tokenizer, path, &options, &dataset),
              "read the prompts");
    host_describe(dataset);
    return dataset;
}

int main(int argc, char **argv)
{
    run r = {.context = host_start(argv[0]),
             .best = -INFINITY,
             .best_iteration = -1,
             .evaluated = -1};
    rlhf_config *config = host_config(r.context, argc, argv, "CONFIG.yaml");
    const char *input = host_path(config, "model");
    const char *reward_path = host_path(config, "reward_model");
    const char *prompts_path = host_path(config, "prompts");
    const char *held_out_path = host_path(config, "held_out_prompts");
    const int64_t iterations = host_integer(config, "iterations", 30, 1);
    const int64_t batch_size = host_integer(config, "batch", 64, 1);
    const int64_t held_out_size = host_integer(config, "held_out", 128, 1);
    const int64_t evaluate_every = host_integer(config, "evaluate_every", 5, 1);
    rlhf_dataset_options data_options;
    rlhf_ppo_options options;

    r.output = host_path(config, "output");
    r.state = host_optional(config, "state");
    r.samples = host_optional(config, "samples");
    const int resumes = host_exists(r.state);
    r.metrics = host_log_open(host_optional(config, "metrics"), resumes);
    host_must(rlhf_dataset_options_init(&data_options, sizeof data_options), "start");
    host_options(config, "dataset", "rlhf_dataset_options", &data_options);
    host_must(rlhf_ppo_options_init(&options, sizeof options), "start");
    host_options(config, "ppo", "rlhf_ppo_options", &options);
    /* The schedules end with the run. Not set before: a preset replaces every field. */
    options.total_iterations =
        host_integer(config, "ppo.total_iterations", iterations, 1);
    host_must(rlhf_config_finish(config), "read the config");
    if (r.state) {
        char *path = host_alloc(4096, 1);
        snprintf(path, 4096, "%s.prompts", r.state);
        r.position_path = path;
    }

    rlhf_reward_model *reward;
    rlhf_ppo_stats stats = {.struct_size = sizeof stats};
    host_batch held_out;
    host_must(rlhf_tokenizer_load(r.context, input, &r.tokenizer), "read the tokenizer");
    host_must(rlhf_model_load(r.context, input, &r.policy), "read the model");
    host_must(rlhf_reward_model_load(r.context, reward_path, &reward),
              "read the reward model");
    rlhf_dataset *prompts = load_prompts(&r, prompts_path, data_options);
    rlhf_dataset *unseen = load_prompts(&r, held_out_path, data_options);
    rlhf_dataset_info info = {.struct_size = sizeof info};
    host_must(rlhf_dataset_get_info(unseen, &info), "count the prompts");
    host_draw(&held_out, unseen,
              info.num_rows < held_out_size ? info.num_rows : held_out_size, 1);
    host_must(rlhf_ppo_trainer_create(r.policy, NULL, reward, NULL, &options, &r.trainer),
              "make the trainer");
    if (resumes)
        resume(&r, prompts);
    for (int64_t i = rlhf_ppo_trainer_num_iterations(r.trainer);; i++) {
        /* At 0: where it starts from, and a first best. */
        if ((i % evaluate_every == 0 || i == iterations) && r.evaluated != i)
            evaluate(&r, prompts, &held_out, options.kl_coef);
        if (i == iterations)
            break;
        iterate(&r, prompts, batch_size, &stats);
        log_stats(&r, &stats);
        host_progress("ppo", i + 1, iterations, "score %.2f kl %.2f", stats.score,
                      stats.kl);
    }
    write_samples(&r, &held_out);
    fprintf(stderr, "wrote %s: the policy of iteration %" PRId64 "\n", r.output,
            r.best_iteration);

    host_log_close(r.metrics);
    host_batch_free(&held_out);
    rlhf_ppo_trainer_free(r.trainer);
    rlhf_dataset_free(unseen);
    rlhf_dataset_free(prompts);
    rlhf_reward_model_free(reward);
    rlhf_model_free(r.policy);
    rlhf_tokenizer_free(r.tokenizer);
    rlhf_config_free(config);
    free((void *)r.position_path);
    rlhf_context_free(r.context);
    return 0;
}
