/* Public reward models: life, scores, parameters. Folders: model_io.c. */
#include "api/arguments.h"
#include "api/handle.h"
#include "api/model_handle.h"
#include "api/parameters.h"
#include "api/training.h"

#include <inttypes.h>

#include "base/alloc.h"
#include "base/number.h"
#include "base/versioned_struct.h"
#include "hub/config_json.h"
#include "train/options.h"
#include "train/score.h"

#define SCORE_TOKENS 4096 /* of one forward pass: bounds its memory */

rlhf_status rlhf_reward_model_options_init(rlhf_reward_model_options *options,
                                           size_t struct_size)
{
    return rlhf__struct_init(&rlhf__reward_model_options_desc, options, struct_size);
}

static rlhf_status create(const rlhf_model *model,
                          const rlhf_reward_model_options *options,
                          rlhf_reward_model **out_reward_model)
{
    const int32_t vocab = model->net->config.vocab_size;
    const int32_t eos = options->eos_token_id >= 0 ? options->eos_token_id
                                                   : model->net->config.eos_token_id;
    rlhf__transformer *net = NULL;
    rlhf__reward_model *core = NULL;
    rlhf__hub_origin *origin = NULL;
    rlhf_status status;

    if (eos >= vocab)
        return rlhf__fail_arg(
            "eos_token_id", "eos_token_id must be < vocab_size %" PRId32 ", got %" PRId32,
            vocab, eos);
    RLHF__TRY(rlhf__transformer_to_scalar(model->net, options->seed, false, &net));
    status = rlhf__reward_model_create(net, options->append_eos, eos, &core);
    if (status != RLHF_OK) {
        rlhf__transformer_free(net);
        return status;
    }
    status = rlhf__hub_origin_clone(model->origin, &origin);
    if (status != RLHF_OK) {
        rlhf__reward_model_free(core);
        return status;
    }
    return rlhf__reward_model_handle_create(model->handle.context, core, origin,
                                            out_reward_model);
}

rlhf_status rlhf_reward_model_create(const rlhf_model *model,
                                     const rlhf_reward_model_options *options,
                                     rlhf_reward_model **out_reward_model)
{
    rlhf_reward_model_options own;

    RLHF__REQUIRE(out_reward_model);
    *out_reward_model = NULL;
    RLHF__REQUIRE(model);
    RLHF__TRY(rlhf__struct_read(&rlhf__reward_model_options_desc, options, &own));
    RLHF__ENTER_AND_RETURN(model->handle.context, create(model, &own, out_reward_model));
}

static rlhf_status clone(const rlhf_reward_model *reward_model,
                         rlhf_reward_model **out_reward_model)
{
    rlhf__reward_model *core = NULL;
    rlhf__hub_origin *origin = NULL;
    rlhf_status status;

    RLHF__TRY(rlhf__reward_model_clone(reward_model->core, &core));
    status = rlhf__hub_origin_clone(reward_model->origin, &origin);
    if (status != RLHF_OK) {
        rlhf__reward_model_free(core);
        return status;
    }
    return rlhf__reward_model_handle_create(reward_model->handle.context, core, origin,
                                            out_reward_model);
}

rlhf_status rlhf_reward_model_clone(const rlhf_reward_model *reward_model,
                                    rlhf_reward_model **out_reward_model)
{
    RLHF__REQUIRE(out_reward_model);
    *out_reward_model = NULL;
    RLHF__REQUIRE(reward_model);
    RLHF__ENTER_AND_RETURN(reward_model->handle.context,
                           clone(reward_model, out_reward_model));
}

void rlhf_reward_model_free(rlhf_reward_model *reward_model)
{
    rlhf__handle_free(reward_model);
}

/* --- scores ------------------------------------------------------------------------- */

typedef rlhf_status (*use_spans_fn)(rlhf__reward_model *model, rlhf__tape *tape,
                                    const rlhf__span *spans, int64_t n, void *arg);

/* A ragged batch as spans, with a tape for the time of the call. */
static rlhf_status with_spans(rlhf_reward_model *reward_model, const int32_t *tokens,
                              const int64_t *cu_seqlens, int64_t num_seqs,
                              use_spans_fn use, void *arg)
{
    rlhf_context *context = reward_model->handle.context;
    rlhf__span *spans = NULL;
    rlhf__tape *tape = NULL;
    rlhf_status status;

    RLHF__TRY(
        rlhf__alloc_raw(context, num_seqs, sizeof *spans, RLHF_MEMORY_GENERAL, &spans));
    for (int64_t s = 0; s < num_seqs; s++)
        spans[s] =
            (rlhf__span){tokens + cu_seqlens[s], cu_seqlens[s + 1] - cu_seqlens[s]};
    status = rlhf__tape_create(context, &tape);
    if (status == RLHF_OK)
        status = use(reward_model->core, tape, spans, num_seqs, arg);
    rlhf__tape_free(tape);
    rlhf__free(spans);
    return status;
}

static rlhf_status score(rlhf__reward_model *model, rlhf__tape *tape,
                         const rlhf__span *spans, int64_t n, void *arg)
{
    return rlhf__reward_scores(model, tape, spans, n, SCORE_TOKENS, arg);
}

rlhf_status rlhf_reward_model_score(rlhf_reward_model *reward_model,
                                    const int32_t *tokens, const int64_t *cu_seqlens,
                                    int64_t num_seqs, float *out_scores)
{
    RLHF__REQUIRE(reward_model);
    RLHF__REQUIRE(out_scores);
    RLHF__TRY(rlhf__check_ragged(tokens, cu_seqlens, num_seqs));
    RLHF__ENTER_AND_RETURN(
        reward_model->handle.context,
        with_spans(reward_model, tokens, cu_seqlens, num_seqs, score, out_scores));
}

static rlhf_status normalize(rlhf__reward_model *model, rlhf__tape *tape,
                             const rlhf__span *spans, int64_t n, void *arg)
{
    const int32_t *unit_variance = arg;

    return rlhf__reward_normalize(model, tape, spans, n, SCORE_TOKENS,
                                  *unit_variance != 0);
}

rlhf_status rlhf_reward_model_normalize(rlhf_reward_model *reward_model,
                                        const int32_t *tokens, const int64_t *cu_seqlens,
                                        int64_t num_seqs, int32_t unit_variance)
{
    RLHF__REQUIRE(reward_model);
    RLHF__TRY(rlhf__check_ragged(tokens, cu_seqlens, num_seqs));
    if (num_seqs < 2)
        return rlhf__fail_arg("num_seqs", "num_seqs must be >= 2, got %" PRId64,
                              num_seqs);
    RLHF__ENTER_AND_RETURN(reward_model->handle.context,
                           with_spans(reward_model, tokens, cu_seqlens, num_seqs,
                                      normalize, &unit_variance));
}

static rlhf_status get_affine(const rlhf__reward_model *core, double *out_scale,
                              double *out_offset)
{
    *out_scale = core->scale;
    *out_offset = core->offset;
    return RLHF_OK;
}

rlhf_status rlhf_reward_model_get_affine(const rlhf_reward_model *reward_model,
                                         double *out_scale, double *out_offset)
{
    RLHF__REQUIRE(reward_model);
    RLHF__REQUIRE(out_scale);
    RLHF__REQUIRE(out_offset);
    RLHF__ENTER_AND_RETURN(reward_model->handle.context,
                           get_affine(reward_model->core, out_scale, out_offset));
}

static rlhf_status set_affine(rlhf__reward_model *core, double scale, double offset)
{
    if (!rlhf__is_finite_float(scale) || (float)scale == 0.0f)
        return rlhf__fail_arg("scale",
                              "scale must be finite and not 0 as a float, got %g", scale);
    if (!rlhf__is_finite_float(offset))
        return rlhf__fail_arg("offset", "offset must be finite as a float, got %g",
                              offset);
    core->scale = scale;
    core->offset = offset;
    return RLHF_OK;
}

rlhf_status rlhf_reward_model_set_affine(rlhf_reward_model *reward_model, double scale,
                                         double offset)
{
    RLHF__REQUIRE(reward_model);
    RLHF__ENTER_AND_RETURN(reward_model->handle.context,
                           set_affine(reward_model->core, scale, offset));
}

/* --- parameters --------------------------------------------------------------------- */

rlhf_status rlhf_reward_model_get_config(const rlhf_reward_model *reward_model,
                                         rlhf_model_config *out_config)
{
    RLHF__REQUIRE(reward_model);
    RLHF__REQUIRE(out_config);
    return rlhf__get_config(reward_model->core->net, out_config);
}

int64_t rlhf_reward_model_num_parameters(const rlhf_reward_model *reward_model)
{
    return reward_model ? rlhf__params_num(&reward_model->core->net->params) : 0;
}

int64_t rlhf_reward_model_num_parameter_names(const rlhf_reward_model *reward_model)
{
    return reward_model ? reward_model->core->net->params.num_named : 0;
}

rlhf_status rlhf_reward_model_parameter_info(const rlhf_reward_model *reward_model,
                                             int64_t index, rlhf_parameter_info *out_info)
{
    RLHF__REQUIRE(reward_model);
    RLHF__REQUIRE(out_info);
    return rlhf__parameter_info(reward_model->core->net, index, out_info);
}

rlhf_status rlhf_reward_model_parameter_read(rlhf_reward_model *reward_model,
                                             const char *name, float *out_values,
                                             int64_t count)
{
    RLHF__REQUIRE(reward_model);
    RLHF__REQUIRE(name);
    RLHF__REQUIRE(out_values);
    RLHF__ENTER_AND_RETURN(
        reward_model->handle.context,
        rlhf__parameter_read(reward_model->core->net, name, out_values, count));
}

rlhf_status rlhf_reward_model_parameter_write(rlhf_reward_model *reward_model,
                                              const char *name, const float *values,
                                              int64_t count)
{
    RLHF__REQUIRE(reward_model);
    RLHF__REQUIRE(name);
    RLHF__REQUIRE(values);
    RLHF__ENTER_AND_RETURN(
        reward_model->handle.context,
        rlhf__parameter_write(reward_model->core->net, name, values, count));
}

rlhf_status rlhf_reward_model_freeze(rlhf_reward_model *reward_model)
{
    RLHF__REQUIRE(reward_model);
    RLHF__ENTER_AND_RETURN(reward_model->handle.context,
                           rlhf__freeze(&reward_model->in_training, "reward model",
                                        reward_model->core->net));
}
