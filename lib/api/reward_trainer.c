/* The public reward trainer: argument checks around train/reward.c. */
#include "train/reward.h"

#include "api/arguments.h"
#include "api/handle.h"
#include "api/training.h"
#include "base/versioned_struct.h"
#include "train/options.h"

rlhf_status rlhf_reward_options_init(rlhf_reward_options *options, size_t struct_size)
{
    return rlhf__struct_init(&rlhf__reward_options_desc, options, struct_size);
}

static void destroy(void *handle)
{
    rlhf_reward_trainer *trainer = handle;

    rlhf__reward_trainer_free(trainer->core);
    if (trainer->reward_model)
        rlhf__training_end(&trainer->reward_model->in_training, &trainer->holds_model);
    rlhf__handle_unref(trainer->reward_model);
    rlhf__handle_unref(trainer->dataset);
}

static rlhf_status create(rlhf_reward_model *reward_model, rlhf_dataset *dataset,
                          const rlhf_reward_options *options,
                          rlhf_reward_trainer **out_trainer)
{
    rlhf_reward_trainer *trainer = NULL;
    rlhf_status status;

    RLHF__TRY(rlhf__handle_create(reward_model->handle.context, sizeof *trainer, destroy,
                                  &trainer));
    trainer->reward_model = rlhf__handle_ref(reward_model);
    trainer->dataset = rlhf__handle_ref(dataset);
    status = rlhf__training_begin(&reward_model->in_training, "reward model",
                                  &trainer->holds_model);
    if (status == RLHF_OK)
        status = rlhf__reward_trainer_create(reward_model->core, dataset->core, options,
                                             &trainer->core);
    if (status != RLHF_OK) {
        rlhf__handle_unref(trainer);
        return status;
    }
    *out_trainer = trainer;
    return RLHF_OK;
}

rlhf_status rlhf_reward_trainer_create(rlhf_reward_model *reward_model,
                                       rlhf_dataset *dataset,
                                       const rlhf_reward_options *options,
                                       rlhf_reward_trainer **out_trainer)
{
    rlhf_reward_options own;

    RLHF__REQUIRE(out_trainer);
    *out_trainer = NULL;
    RLHF__REQUIRE(reward_model);
    RLHF__REQUIRE(dataset);
    RLHF__TRY(rlhf__check_same_context(reward_model, dataset, "reward model", "dataset"));
    RLHF__TRY(rlhf__struct_read(&rlhf__reward_options_desc, options, &own));
    RLHF__ENTER_AND_RETURN(reward_model->handle.context,
                           create(reward_model, dataset, &own, out_trainer));
}

void rlhf_reward_trainer_free(rlhf_reward_trainer *trainer)
{
    rlhf__handle_free(trainer);
}

rlhf_status rlhf_reward_trainer_accumulate(rlhf_reward_trainer *trainer,
                                           int64_t *out_remaining)
{
    RLHF__REQUIRE(trainer);
    RLHF__REQUIRE(out_remaining);
    RLHF__ENTER_AND_RETURN(
        trainer->handle.context,
        rlhf__stepper_accumulate(&trainer->core->stepper, out_remaining));
}

static rlhf_status apply(rlhf_reward_trainer *trainer, rlhf_reward_stats *out_stats)
{
    rlhf_reward_stats own;

    RLHF__TRY(rlhf__check_out_struct(out_stats, "rlhf_reward_stats"));
    RLHF__TRY(rlhf__reward_trainer_apply(trainer->core, &own));
    return out_stats
               ? rlhf__struct_copy_out(&own, sizeof own, out_stats, "rlhf_reward_stats")
               : RLHF_OK;
}

rlhf_status rlhf_reward_trainer_apply(rlhf_reward_trainer *trainer,
                                      rlhf_reward_stats *out_stats)
{
    RLHF__REQUIRE(trainer);
    RLHF__ENTER_AND_RETURN(trainer->handle.context, apply(trainer, out_stats));
}

static rlhf_status step(rlhf_reward_trainer *trainer, rlhf_reward_stats *out_stats)
{
    RLHF__TRY(rlhf__check_out_struct(out_stats, "rlhf_reward_stats"));
    RLHF__TRY(rlhf__stepper_run(&trainer->core->stepper));
    return apply(trainer, out_stats);
}

rlhf_status rlhf_reward_trainer_step(rlhf_reward_trainer *trainer,
                                     rlhf_reward_stats *out_stats)
{
    RLHF__REQUIRE(trainer);
    RLHF__ENTER_AND_RETURN(trainer->handle.context, step(trainer, out_stats));
}

rlhf_status rlhf_reward_trainer_gradient(rlhf_reward_trainer *trainer, const char *name,
                                         float *out_values, int64_t count)
{
    RLHF__REQUIRE(trainer);
    RLHF__REQUIRE(name);
    RLHF__REQUIRE(out_values);
    RLHF__ENTER_AND_RETURN(
        trainer->handle.context,
        rlhf__reward_trainer_gradient(trainer->core, name, out_values, count));
}

static rlhf_status evaluate(rlhf_reward_trainer *trainer, rlhf_dataset *dataset,
                            int64_t max_rows, rlhf_reward_stats *out_stats)
{
    rlhf_reward_stats own;

    RLHF__TRY(rlhf__check_out_struct(out_stats, "rlhf_reward_stats"));
    RLHF__TRY(
        rlhf__reward_trainer_evaluate(trainer->core, dataset->core, max_rows, &own));
    return rlhf__struct_copy_out(&own, sizeof own, out_stats, "rlhf_reward_stats");
}

rlhf_status rlhf_reward_trainer_evaluate(rlhf_reward_trainer *trainer,
                                         rlhf_dataset *dataset, int64_t max_rows,
                                         rlhf_reward_stats *out_stats)
{
    RLHF__REQUIRE(trainer);
    RLHF__REQUIRE(dataset);
    RLHF__REQUIRE(out_stats);
    RLHF__TRY(rlhf__check_same_context(trainer, dataset, "trainer", "dataset"));
    RLHF__ENTER_AND_RETURN(trainer->handle.context,
                           evaluate(trainer, dataset, max_rows, out_stats));
}

rlhf_status rlhf_reward_trainer_set_learning_rate(rlhf_reward_trainer *trainer,
                                                  double learning_rate)
{
    RLHF__REQUIRE(trainer);
    RLHF__ENTER_AND_RETURN(
        trainer->handle.context,
        rlhf__stepper_set_learning_rate(&trainer->core->stepper, learning_rate));
}

int64_t rlhf_reward_trainer_num_steps(const rlhf_reward_trainer *trainer)
{
    return trainer ? trainer->core->stepper.step : 0;
}

rlhf_status rlhf_reward_trainer_save(rlhf_reward_trainer *trainer, const char *path)
{
    RLHF__REQUIRE(trainer);
    RLHF__REQUIRE(path);
    RLHF__ENTER_AND_RETURN(trainer->handle.context,
                           rlhf__stepper_save(&trainer->core->stepper, path));
}

rlhf_status rlhf_reward_trainer_resume(rlhf_reward_trainer *trainer, const char *path)
{
    RLHF__REQUIRE(trainer);
    RLHF__REQUIRE(path);
    RLHF__ENTER_AND_RETURN(trainer->handle.context,
                           rlhf__stepper_resume(&trainer->core->stepper, path));
}
