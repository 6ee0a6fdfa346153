/* Public samplers and generators: argument checks around generate/. */
#include "generate/generator.h"

#include <inttypes.h>

#include "api/arguments.h"
#include "api/handle.h"
#include "nn/transformer.h"

/* --- samplers ----------------------------------------------------------------------- */

rlhf_status rlhf_sampler_options_init(rlhf_sampler_options *options, size_t struct_size)
{
    return rlhf__struct_init(&rlhf__sampler_options_desc, options, struct_size);
}

static void destroy_sampler(void *handle)
{
    rlhf__sampler_free(((rlhf_sampler *)handle)->core);
}

static rlhf_status finish_sampler(rlhf_status status, rlhf_sampler *sampler,
                                  rlhf_sampler **out_sampler)
{
    if (status == RLHF_OK)
        *out_sampler = sampler;
    else
        rlhf__handle_unref(sampler);
    return status;
}

rlhf_status rlhf_sampler_create(const rlhf_sampler_options *options,
                                rlhf_sampler **out_sampler)
{
    rlhf_sampler *sampler = NULL;
    rlhf_sampler_options own;

    RLHF__REQUIRE(out_sampler);
    *out_sampler = NULL;
    RLHF__TRY(rlhf__struct_read(&rlhf__sampler_options_desc, options, &own));
    RLHF__TRY(rlhf__handle_create(NULL, sizeof *sampler, destroy_sampler, &sampler));
    return finish_sampler(rlhf__sampler_create(&own, &sampler->core), sampler,
                          out_sampler);
}

rlhf_status rlhf_sampler_create_custom(const rlhf_sampler_ops *ops, void *user_data,
                                       rlhf_sampler **out_sampler)
{
    rlhf_sampler *sampler = NULL;

    RLHF__REQUIRE(out_sampler);
    *out_sampler = NULL;
    RLHF__REQUIRE(ops);
    RLHF__TRY(rlhf__handle_create(NULL, sizeof *sampler, destroy_sampler, &sampler));
    return finish_sampler(rlhf__sampler_create_custom(ops, user_data, &sampler->core),
                          sampler, out_sampler);
}

void rlhf_sampler_free(rlhf_sampler *sampler)
{
    rlhf__handle_free(sampler);
}

/* --- generators --------------------------------------------------------------------- */

rlhf_status rlhf_generator_options_init(rlhf_generator_options *options,
                                        size_t struct_size)
{
    return rlhf__struct_init(&rlhf__generator_options_desc, options, struct_size);
}

static void destroy_generator(void *handle)
{
    rlhf_generator *generator = handle;

    rlhf__generator_free(generator->core);
    rlhf__handle_unref(generator->model);
    rlhf__handle_unref(generator->sampler);
    rlhf__handle_unref(generator->tokenizer);
}

static rlhf_status check_options(const rlhf_generator_options *o)
{
    if (o->min_new_tokens > o->max_new_tokens)
        return rlhf__fail_arg("min_new_tokens",
                              "min_new_tokens must be <= max_new_tokens (%" PRId32
                              "), got %" PRId32,
                              o->max_new_tokens, o->min_new_tokens);
    if (o->num_stop_tokens > 0 && !o->stop_tokens)
        return rlhf__fail_arg("stop_tokens", "stop_tokens is NULL");
    if (o->text && !o->tokenizer)
        return rlhf__fail_arg("tokenizer", "a text callback needs a tokenizer");
    return RLHF_OK;
}

static rlhf_status create_core(rlhf_generator *generator, const rlhf_generator_options *o)
{
    const int32_t eos = generator->model->net->config.eos_token_id;
    rlhf__generator_settings settings = {.max_new_tokens = o->max_new_tokens,
                                         .min_new_tokens = o->min_new_tokens,
                                         .ends_at_stop = true,
                                         .seed = o->seed,
                                         .temperature = o->temperature,
                                         .text = o->text,
                                         .text_user_data = o->text_user_data};

    if (o->use_stop_tokens && o->stop_tokens) {
        settings.stop_tokens = o->stop_tokens;
        settings.num_stop_tokens = o->num_stop_tokens;
    } else if (o->use_stop_tokens && eos >= 0) {
        settings.stop_tokens = &eos;
        settings.num_stop_tokens = 1;
    }
    if (generator->tokenizer)
        settings.tokenizer = generator->tokenizer->core;
    return rlhf__generator_create(generator->model->net, generator->sampler->core,
                                  &settings, NULL, &generator->core);
}

static rlhf_status create(rlhf_model *model, rlhf_sampler *sampler,
                          const rlhf_generator_options *options,
                          rlhf_generator **out_generator)
{
    rlhf_generator *generator = NULL;
    rlhf_status status = RLHF_OK;

    RLHF__TRY(rlhf__handle_create(model->handle.context, sizeof *generator,
                                  destroy_generator, &generator));
    generator->model = rlhf__handle_ref(model);
    generator->tokenizer = rlhf__handle_ref(options->tokenizer);
    if (sampler)
        generator->sampler = rlhf__handle_ref(sampler);
    else
        status = rlhf_sampler_create(NULL, &generator->sampler);
    if (status == RLHF_OK)
        status = create_core(generator, options);
    if (status != RLHF_OK) {
        rlhf__handle_unref(generator);
        return status;
    }
    *out_generator = generator;
    return RLHF_OK;
}

rlhf_status rlhf_generator_create(rlhf_model *model, rlhf_sampler *sampler,
                                  const rlhf_generator_options *options,
                                  rlhf_generator **out_generator)
{
    rlhf_generator_options own;

    RLHF__REQUIRE(out_generator);
    *out_generator = NULL;
    RLHF__REQUIRE(model);
    RLHF__TRY(rlhf__struct_read(&rlhf__generator_options_desc, options, &own));
    RLHF__TRY(check_options(&own));
    RLHF__ENTER_AND_RETURN(model->handle.context,
                           create(model, sampler, &own, out_generator));
}

void rlhf_generator_free(rlhf_generator *generator)
{
    rlhf__handle_free(generator);
}

rlhf_status rlhf_generator_start(rlhf_generator *generator, const int32_t *tokens,
                                 const int64_t *cu_seqlens, int64_t num_seqs,
                                 const int64_t *sequence_ids)
{
    RLHF__REQUIRE(generator);
    RLHF__TRY(rlhf__check_ragged(tokens, cu_seqlens, num_seqs));
    RLHF__ENTER_AND_RETURN(generator->handle.context,
                           rlhf__generator_start(generator->core, tokens, cu_seqlens,
                                                 num_seqs, sequence_ids));
}

rlhf_status rlhf_generator_step(rlhf_generator *generator, int64_t *out_active)
{
    RLHF__REQUIRE(generator);
    RLHF__REQUIRE(out_active);
    RLHF__ENTER_AND_RETURN(generator->handle.context,
                           rlhf__generator_step(generator->core, out_active));
}

static rlhf_status run(rlhf_generator *generator)
{
    int64_t left = 1;

    while (left > 0)
        RLHF__TRY(rlhf__generator_step(generator->core, &left));
    return RLHF_OK;
}

rlhf_status rlhf_generator_run(rlhf_generator *generator)
{
    RLHF__REQUIRE(generator);
    RLHF__ENTER_AND_RETURN(generator->handle.context, run(generator));
}

int64_t rlhf_generator_num_sequences(const rlhf_generator *generator)
{
    return generator ? generator->core->num_answers : 0;
}

static rlhf_status get(const rlhf_generator *generator, int64_t index,
                       rlhf_generation *out_generation)
{
    if (index < 0 || index >= generator->core->num_answers)
        return rlhf__fail_arg("index", "index must be in [0, %" PRId64 "), got %" PRId64,
                              generator->core->num_answers, index);
    const rlhf__answer *a = &generator->core->answers[index];
    const rlhf_generation own = {.struct_size = sizeof own,
                                 .sequence_id = a->id,
                                 .tokens = a->tokens,
                                 .num_tokens = a->num_tokens,
                                 .num_prompt = a->num_prompt,
                                 .logprobs = a->logprobs,
                                 .finish = a->finish};
    return rlhf__struct_copy_out(&own, sizeof own, out_generation, "rlhf_generation");
}

rlhf_status rlhf_generator_get(const rlhf_generator *generator, int64_t index,
                               rlhf_generation *out_generation)
{
    RLHF__REQUIRE(generator);
    RLHF__REQUIRE(out_generation);
    return get(generator, index, out_generation);
}
