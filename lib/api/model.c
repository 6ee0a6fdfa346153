/* Public models: life, parameters, logits and log-probabilities. Folders: model_io.c. */
#include "api/arguments.h"
#include "api/handle.h"
#include "api/model_handle.h"
#include "api/parameters.h"
#include "api/training.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/size.h"
#include "base/versioned_struct.h"
#include "hub/config_json.h"
#include "nn/model_config.h"
#include "nn/transformer.h"

rlhf_status rlhf_model_config_init(rlhf_model_config *config, size_t struct_size)
{
    return rlhf__struct_init(&rlhf__model_config_desc, config, struct_size);
}

static rlhf_status create(rlhf_context *context, const rlhf_model_config *config,
                          uint64_t seed, rlhf_model **out_model)
{
    rlhf__transformer *net = NULL;

    RLHF__TRY(rlhf__transformer_create(context, config, RLHF__HEAD_LM, &net));
    rlhf__transformer_init(net, seed);
    return rlhf__model_handle_create(context, net, NULL, out_model);
}

rlhf_status rlhf_model_create(rlhf_context *context, const rlhf_model_config *config,
                              uint64_t seed, rlhf_model **out_model)
{
    RLHF__REQUIRE(out_model);
    *out_model = NULL;
    RLHF__REQUIRE(context);
    RLHF__REQUIRE(config);
    RLHF__ENTER_AND_RETURN(context, create(context, config, seed, out_model));
}

static rlhf_status clone(const rlhf_model *model, rlhf_model **out_model)
{
    rlhf__transformer *net = NULL;
    rlhf__hub_origin *origin = NULL;
    rlhf_status status;

    RLHF__TRY(rlhf__transformer_clone(model->net, &net));
    status = rlhf__hub_origin_clone(model->origin, &origin);
    if (status != RLHF_OK) {
        rlhf__transformer_free(net);
        return status;
    }
    return rlhf__model_handle_create(model->handle.context, net, origin, out_model);
}

rlhf_status rlhf_model_clone(const rlhf_model *model, rlhf_model **out_model)
{
    RLHF__REQUIRE(out_model);
    *out_model = NULL;
    RLHF__REQUIRE(model);
    RLHF__ENTER_AND_RETURN(model->handle.context, clone(model, out_model));
}

void rlhf_model_free(rlhf_model *model)
{
    rlhf__handle_free(model);
}

rlhf_status rlhf_model_get_config(const rlhf_model *model, rlhf_model_config *out_config)
{
    RLHF__REQUIRE(model);
    RLHF__REQUIRE(out_config);
    return rlhf__get_config(model->net, out_config);
}

int64_t rlhf_model_num_parameters(const rlhf_model *model)
{
    return model ? rlhf__params_num(&model->net->params) : 0;
}

int64_t rlhf_model_num_parameter_names(const rlhf_model *model)
{
    return model ? model->net->params.num_named : 0;
}

rlhf_status rlhf_model_parameter_info(const rlhf_model *model, int64_t index,
                                      rlhf_parameter_info *out_info)
{
    RLHF__REQUIRE(model);
    RLHF__REQUIRE(out_info);
    return rlhf__parameter_info(model->net, index, out_info);
}

rlhf_status rlhf_model_parameter_read(rlhf_model *model, const char *name,
                                      float *out_values, int64_t count)
{
    RLHF__REQUIRE(model);
    RLHF__REQUIRE(name);
    RLHF__REQUIRE(out_values);
    RLHF__ENTER_AND_RETURN(model->handle.context,
                           rlhf__parameter_read(model->net, name, out_values, count));
}

rlhf_status rlhf_model_parameter_write(rlhf_model *model, const char *name,
                                       const float *values, int64_t count)
{
    RLHF__REQUIRE(model);
    RLHF__REQUIRE(name);
    RLHF__REQUIRE(values);
    RLHF__ENTER_AND_RETURN(model->handle.context,
                           rlhf__parameter_write(model->net, name, values, count));
}

rlhf_status rlhf_model_freeze(rlhf_model *model)
{
    RLHF__REQUIRE(model);
    RLHF__ENTER_AND_RETURN(model->handle.context,
                           rlhf__freeze(&model->in_training, "model", model->net));
}

/* --- logits and log-probabilities --------------------------------------------------- */

#define GROUP_TOKENS 4096 /* of one forward pass: bounds its memory */

/* Runs over a batch in groups of whole sequences; `use` gets a group's hidden rows. */
typedef rlhf_status (*use_fn)(void *arg, rlhf__tape *tape, const rlhf__batch *group,
                              int64_t first_token, rlhf__var *hidden);

static rlhf_status run_group(rlhf__transformer *net, rlhf__tape *tape,
                             const rlhf__batch *batch, int64_t first, int64_t end,
                             use_fn use, void *arg)
{
    const int64_t first_token = batch->cu_seqlens[first];
    int64_t *cu_seqlens = NULL;
    rlhf__var *hidden = NULL;

    rlhf__tape_reset(tape, false, NULL);
    RLHF__TRY(
        rlhf__arena_alloc(tape->arena, end - first + 1, sizeof *cu_seqlens, &cu_seqlens));
    for (int64_t s = first; s <= end; s++)
        cu_seqlens[s - first] = batch->cu_seqlens[s] - first_token;
    const rlhf__batch group = {.tokens = batch->tokens + first_token,
                               .cu_seqlens = cu_seqlens,
                               .num_seqs = end - first};
    RLHF__TRY(rlhf__transformer_forward(net, tape, &group, &hidden));
    return use(arg, tape, &group, first_token, hidden);
}

static rlhf_status run_batch(rlhf__transformer *net, const char *stage,
                             const rlhf__batch *batch, use_fn use, void *arg)
{
    rlhf__tape *tape = NULL;
    rlhf_status status;

    RLHF__TRY(rlhf__batch_check(net, batch));
    RLHF__TRY(rlhf__tape_create(net->context, &tape));
    status = RLHF_OK;
    for (int64_t first = 0, end; first < batch->num_seqs && status == RLHF_OK;
         first = end) {
        status = rlhf__progress(net->context, stage, first, batch->num_seqs);
        if (status != RLHF_OK)
            break;
        for (end = first + 1;
             end < batch->num_seqs &&
             batch->cu_seqlens[end + 1] - batch->cu_seqlens[first] <= GROUP_TOKENS;)
            end++;
        if (batch->cu_seqlens[end] > batch->cu_seqlens[first])
            status = run_group(net, tape, batch, first, end, use, arg);
    }
    rlhf__tape_free(tape);
    if (status == RLHF_OK)
        rlhf__progress_end(net->context, stage, batch->num_seqs);
    return status;
}

typedef struct logits_job {
    rlhf__transformer *net;
    float *out;
} logits_job;

static rlhf_status copy_logits(void *arg, rlhf__tape *tape, const rlhf__batch *group,
                               int64_t first_token, rlhf__var *hidden)
{
    const logits_job *job = arg;
    rlhf__var *logits = NULL;

    (void)group;
    RLHF__TRY(rlhf__transformer_head(job->net, tape, hidden, &logits));
    memcpy(job->out + first_token * logits->cols, logits->data,
           (size_t)(logits->rows * logits->cols) * sizeof *job->out);
    return RLHF_OK;
}

rlhf_status rlhf_model_logits(rlhf_model *model, const int32_t *tokens,
                              const int64_t *cu_seqlens, int64_t num_seqs,
                              float *out_logits)
{
    RLHF__REQUIRE(model);
    RLHF__REQUIRE(out_logits);
    RLHF__TRY(rlhf__check_ragged(tokens, cu_seqlens, num_seqs));
    const rlhf__batch batch = {
        .tokens = tokens, .cu_seqlens = cu_seqlens, .num_seqs = num_seqs};
    logits_job job = {model->net, out_logits};
    RLHF__ENTER_AND_RETURN(model->handle.context,
                           run_batch(model->net, "logits", &batch, copy_logits, &job));
}

typedef struct logprobs_job {
    rlhf__transformer *net;
    float inv_tau;
    float *out;
} logprobs_job;

/* Only rows that predict a token of the same sequence go through the head. */
static rlhf_status take_logprobs(void *arg, rlhf__tape *tape, const rlhf__batch *group,
                                 int64_t first_token, rlhf__var *hidden)
{
    const logprobs_job *job = arg;
    rlhf__arena *arena = tape->arena;
    const int64_t total = group->cu_seqlens[group->num_seqs];
    int64_t *rows = NULL, count = 0;
    int32_t *targets = NULL;
    float *logprobs = NULL;
    rlhf__var *picked = NULL;

    RLHF__TRY(rlhf__arena_alloc(arena, total, sizeof *rows, &rows));
    RLHF__TRY(rlhf__arena_alloc(arena, total, sizeof *targets, &targets));
    RLHF__TRY(rlhf__arena_alloc(arena, total, sizeof *logprobs, &logprobs));
    for (int64_t s = 0; s < group->num_seqs; s++)
        for (int64_t i = group->cu_seqlens[s]; i + 1 < group->cu_seqlens[s + 1]; i++) {
            rows[count] = i;
            targets[count++] = group->tokens[i + 1];
        }
    memset(job->out + first_token, 0, (size_t)total * sizeof *job->out);
    if (count == 0)
        return RLHF_OK;
    RLHF__TRY(rlhf__op_gather_rows(tape, hidden, rows, count, &picked));
    RLHF__TRY(rlhf__op_linear_logprob(tape, &job->net->params, job->net->head_weight,
                                      picked, targets, NULL, job->inv_tau, logprobs, NULL,
                                      NULL, NULL));
    for (int64_t i = 0; i < count; i++) {
        const int64_t token = first_token + rows[i] + 1;
        if (!isfinite(logprobs[i]))
            return rlhf__fail(RLHF_ERR_NUMERIC,
                              "log-probability of tokens[%" PRId64
                              "] is not finite but %g",
                              token, (double)logprobs[i]);
        job->out[token] = logprobs[i];
    }
    return RLHF_OK;
}

static rlhf_status run_logprobs(rlhf__transformer *net, const rlhf__batch *batch,
                                double temperature, float *out_logprobs)
{
    if (!(temperature > 0.0) || !isfinite(temperature))
        return rlhf__fail_arg("temperature", "temperature must be > 0 and finite, got %g",
                              temperature);
    logprobs_job job = {net, rlhf__inv_tau(temperature), out_logprobs};
    return run_batch(net, "logprobs", batch, take_logprobs, &job);
}

rlhf_status rlhf_model_logprobs(rlhf_model *model, const int32_t *tokens,
                                const int64_t *cu_seqlens, int64_t num_seqs,
                                double temperature, float *out_logprobs)
{
    RLHF__REQUIRE(model);
    RLHF__REQUIRE(out_logprobs);
    RLHF__TRY(rlhf__check_ragged(tokens, cu_seqlens, num_seqs));
    const rlhf__batch batch = {
        .tokens = tokens, .cu_seqlens = cu_seqlens, .num_seqs = num_seqs};
    RLHF__ENTER_AND_RETURN(model->handle.context,
                           run_logprobs(model->net, &batch, temperature, out_logprobs));
}
