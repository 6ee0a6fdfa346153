/* The trainers of language models and of reward models, between two optimizer steps. */
#include "oom.h"

/* --- language models ---------------------------------------------------------------- */

static rlhf_status lm_create(oom_world *w)
{
    const rlhf_lm_options options = oom_lm_options();
    rlhf_lm_trainer *trainer = (void *)w;

    return oom_take(rlhf_lm_trainer_create(w->model, w->dataset, &options, &trainer),
                    &trainer, &w->lm);
}

static void need_text(oom_world *w)
{
    oom_need_model(w);
    oom_need_rows(w, RLHF_DATASET_TEXT);
}

static void need_lm(oom_world *w)
{
    need_text(w);
    assert_ok(lm_create(w));
}

static rlhf_status keep_lm_stats(oom_world *w, rlhf_status status, rlhf_lm_stats *stats)
{
    if (status == RLHF_OK)
        stats->tokens_per_second = 0;
    return oom_keep(w, status, stats, sizeof *stats, true);
}

static rlhf_status lm_step(oom_world *w)
{
    rlhf_lm_stats stats;

    oom_prepare(&stats, sizeof stats, true);
    return keep_lm_stats(w, rlhf_lm_trainer_step(w->lm, &stats), &stats);
}

/* A source of the host: rows 0, 1, 2, …; its position is the next one's number. */
static int32_t next_row;

static rlhf_status source_next(void *user_data, rlhf_example *out)
{
    static int32_t tokens[5];

    (void)user_data;
    for (int32_t t = 0; t < 5; t++)
        tokens[t] = (next_row * 5 + t * t) % OOM_VOCAB;
    next_row++;
    out->tokens = tokens;
    out->num_tokens = 5;
    return RLHF_OK;
}

static rlhf_status source_save(void *user_data, void *out_bytes, size_t capacity,
                               size_t *out_size)
{
    (void)user_data;
    assert_true(capacity >= sizeof next_row);
    memcpy(out_bytes, &next_row, sizeof next_row);
    *out_size = sizeof next_row;
    return RLHF_OK;
}

static rlhf_status source_restore(void *user_data, const void *bytes, size_t size)
{
    (void)user_data;
    assert_int_equal(size, sizeof next_row);
    memcpy(&next_row, bytes, size);
    return RLHF_OK;
}

static void need_lm_on_source(oom_world *w)
{
    const rlhf_source_ops ops = {sizeof ops, source_next, source_save, source_restore,
                                 NULL};

    next_row = 0;
    oom_need_model(w);
    assert_ok(rlhf_dataset_create_from_source(w->context, RLHF_DATASET_TEXT, &ops, NULL,
                                              &w->dataset));
    assert_ok(lm_create(w));
}

/* After a failure the run is saved, and the next call goes on from there. */
static rlhf_status lm_step_saved(oom_world *w)
{
    const char *path = test_join(w->folder, "state");

    if (test_exists(path)) {
        assert_ok(rlhf_lm_trainer_resume(w->lm, path));
        test_folder_remove(path);
    }
    const rlhf_status status = lm_step(w);
    if (status != RLHF_OK) {
        w->memory->fail_at = -1;
        assert_ok(rlhf_lm_trainer_save(w->lm, path));
    }
    return status;
}

static rlhf_status lm_accumulate(oom_world *w)
{
    int64_t remaining;

    oom_prepare(&remaining, sizeof remaining, false);
    return oom_keep(w, rlhf_lm_trainer_accumulate(w->lm, &remaining), &remaining,
                    sizeof remaining, false);
}

static void need_lm_gradients(oom_world *w)
{
    int64_t remaining = 1;

    need_lm(w);
    while (remaining > 0)
        assert_ok(rlhf_lm_trainer_accumulate(w->lm, &remaining));
}

static rlhf_status lm_apply(oom_world *w)
{
    rlhf_lm_stats stats;

    oom_prepare(&stats, sizeof stats, true);
    return keep_lm_stats(w, rlhf_lm_trainer_apply(w->lm, &stats), &stats);
}

static rlhf_status lm_gradient(oom_world *w)
{
    float values[16];

    return rlhf_lm_trainer_gradient(w->lm, "model.norm.weight", values, 16);
}

static rlhf_status lm_evaluate(oom_world *w)
{
    double loss;

    oom_prepare(&loss, sizeof loss, false);
    return oom_keep(w, rlhf_lm_trainer_evaluate(w->lm, w->dataset, 5, &loss), &loss,
                    sizeof loss, false);
}

static void need_lm_stepped(oom_world *w)
{
    need_lm(w);
    assert_ok(rlhf_lm_trainer_step(w->lm, NULL));
}

static rlhf_status lm_save(oom_world *w)
{
    return rlhf_lm_trainer_save(w->lm, test_join(w->folder, "state"));
}

static void need_lm_saved(oom_world *w)
{
    need_lm_stepped(w);
    assert_ok(lm_save(w));
    assert_ok(rlhf_lm_trainer_step(w->lm, NULL));
}

static rlhf_status lm_resume(oom_world *w)
{
    return rlhf_lm_trainer_resume(w->lm, oom_fixture("lm-state"));
}

/* --- reward models ------------------------------------------------------------------ */

static rlhf_status reward_create(oom_world *w)
{
    const rlhf_reward_options options = oom_reward_options();
    rlhf_reward_trainer *trainer = (void *)w;

    return oom_take(rlhf_reward_trainer_create(w->reward, w->dataset, &options, &trainer),
                    &trainer, &w->reward_trainer);
}

static void need_pairs(oom_world *w)
{
    oom_need_reward(w);
    oom_need_rows(w, RLHF_DATASET_PREFERENCE);
}

static void need_reward(oom_world *w)
{
    need_pairs(w);
    assert_ok(reward_create(w));
}

static rlhf_status keep_reward_stats(oom_world *w, rlhf_status status,
                                     rlhf_reward_stats *stats)
{
    if (status == RLHF_OK)
        stats->tokens_per_second = 0;
    return oom_keep(w, status, stats, sizeof *stats, true);
}

static rlhf_status reward_step(oom_world *w)
{
    rlhf_reward_stats stats;

    oom_prepare(&stats, sizeof stats, true);
    return keep_reward_stats(w, rlhf_reward_trainer_step(w->reward_trainer, &stats),
                             &stats);
}

static rlhf_status reward_accumulate(oom_world *w)
{
    int64_t remaining;

    oom_prepare(&remaining, sizeof remaining, false);
    return oom_keep(w, rlhf_reward_trainer_accumulate(w->reward_trainer, &remaining),
                    &remaining, sizeof remaining, false);
}

static void need_reward_gradients(oom_world *w)
{
    int64_t remaining = 1;

    need_reward(w);
    while (remaining > 0)
        assert_ok(rlhf_reward_trainer_accumulate(w->reward_trainer, &remaining));
}

static rlhf_status reward_apply(oom_world *w)
{
    rlhf_reward_stats stats;

    oom_prepare(&stats, sizeof stats, true);
    return keep_reward_stats(w, rlhf_reward_trainer_apply(w->reward_trainer, &stats),
                             &stats);
}

static rlhf_status reward_gradient(oom_world *w)
{
    float values[16];

    return rlhf_reward_trainer_gradient(w->reward_trainer, "model.norm.weight", values,
                                        16);
}

static rlhf_status reward_evaluate(oom_world *w)
{
    rlhf_reward_stats stats;

    oom_prepare(&stats, sizeof stats, true);
    return keep_reward_stats(
        w, rlhf_reward_trainer_evaluate(w->reward_trainer, w->dataset, 0, &stats),
        &stats);
}

static rlhf_status reward_save(oom_world *w)
{
    return rlhf_reward_trainer_save(w->reward_trainer, test_join(w->folder, "state"));
}

static rlhf_status reward_resume(oom_world *w)
{
    return rlhf_reward_trainer_resume(w->reward_trainer, oom_fixture("reward-state"));
}

const oom_scenario oom_train_scenarios[] = {
    {"rlhf_lm_trainer_create", need_text, lm_create, 0},
    {"rlhf_lm_trainer_step", need_lm, lm_step, OOM_KEEPS | OOM_MOVES},
    {"rlhf_lm_trainer_step from a source", need_lm_on_source, lm_step,
     OOM_KEEPS | OOM_MOVES},
    {"rlhf_lm_trainer_step from a source, saved", need_lm_on_source, lm_step_saved,
     OOM_KEEPS | OOM_PROGRESSES},
    {"rlhf_lm_trainer_accumulate", need_lm, lm_accumulate, OOM_KEEPS | OOM_MOVES},
    {"rlhf_lm_trainer_apply", need_lm_gradients, lm_apply, OOM_NONE},
    {"rlhf_lm_trainer_gradient", need_lm_gradients, lm_gradient, OOM_NONE},
    {"rlhf_lm_trainer_evaluate", need_lm, lm_evaluate, OOM_KEEPS},
    {"rlhf_lm_trainer_save", need_lm_stepped, lm_save, OOM_KEEPS},
    {"rlhf_lm_trainer_save over another", need_lm_saved, lm_save, OOM_KEEPS},
    {"rlhf_lm_trainer_resume", need_lm, lm_resume, OOM_KEEPS | OOM_JSON},
    {"rlhf_reward_trainer_create", need_pairs, reward_create, 0},
    {"rlhf_reward_trainer_step", need_reward, reward_step, OOM_KEEPS | OOM_MOVES},
    {"rlhf_reward_trainer_accumulate", need_reward, reward_accumulate,
     OOM_KEEPS | OOM_MOVES},
    {"rlhf_reward_trainer_apply", need_reward_gradients, reward_apply, OOM_NONE},
    {"rlhf_reward_trainer_gradient", need_reward_gradients, reward_gradient, OOM_NONE},
    {"rlhf_reward_trainer_evaluate", need_reward, reward_evaluate, OOM_KEEPS},
    {"rlhf_reward_trainer_save", need_reward, reward_save, OOM_KEEPS},
    {"rlhf_reward_trainer_resume", need_reward, reward_resume, OOM_KEEPS | OOM_JSON},
    {NULL, NULL, NULL, 0}};
