/* Models, reward models, samplers, the generator. */
#include "oom.h"

#include <math.h>

static const char weight[] = "model.norm.weight";

/* --- language models ---------------------------------------------------------------- */

static rlhf_status create_with(oom_world *w, bool gpt2)
{
    rlhf_model_config c = tiny_config(OOM_VOCAB, OOM_LENGTH);
    rlhf_model *model = (void *)w;

    if (gpt2)
        make_gpt2_like(&c);
    return oom_take(rlhf_model_create(w->context, &c, 3, &model), &model, &w->model_out);
}

static rlhf_status model_create(oom_world *w)
{
    return create_with(w, false);
}
static rlhf_status model_create_gpt2(oom_world *w)
{
    return create_with(w, true);
}

static rlhf_status model_load(oom_world *w)
{
    rlhf_model *model = (void *)w;

    return oom_take(rlhf_model_load(w->context, oom_fixture("model"), &model), &model,
                    &w->model_out);
}

static rlhf_status model_save(oom_world *w)
{
    return rlhf_model_save(w->model, test_join(w->folder, "model"));
}

/* A model that came from a folder carries the fields of its config.json. */
static void need_loaded(oom_world *w)
{
    oom_need_context(w);
    assert_ok(rlhf_model_load(w->context, oom_fixture("model"), &w->model));
}

static rlhf_status model_clone(oom_world *w)
{
    rlhf_model *model = (void *)w;

    return oom_take(rlhf_model_clone(w->model, &model), &model, &w->model_out);
}

static rlhf_status model_logits(oom_world *w)
{
    float logits[9 * OOM_VOCAB];
    const rlhf_status status =
        rlhf_model_logits(w->model, oom_prompts, oom_prompt_ends, 3, logits);

    if (status == RLHF_OK)
        oom_put(w, logits, sizeof logits);
    return status;
}

static rlhf_status model_logprobs(oom_world *w)
{
    float logprobs[9];
    const rlhf_status status =
        rlhf_model_logprobs(w->model, oom_prompts, oom_prompt_ends, 3, 0.7, logprobs);

    if (status == RLHF_OK)
        oom_put(w, logprobs, sizeof logprobs);
    return status;
}

static rlhf_status model_parameters(oom_world *w)
{
    rlhf_parameter_info info = {.struct_size = sizeof info};
    rlhf_model_config config;
    float values[16];

    assert_ok(rlhf_model_config_init(&config, sizeof config));
    assert_ok(rlhf_model_get_config(w->model, &config));
    assert_ok(rlhf_model_parameter_info(w->model, 0, &info));
    assert_ok(rlhf_model_parameter_read(w->model, weight, values, 16));
    return rlhf_model_parameter_write(w->model, weight, values, 16);
}

/* The values of a frozen model stay: what tells is that it cannot be written. */
static void put_refusal(oom_world *w, rlhf_status frozen, rlhf_status written)
{
    if (frozen != RLHF_OK)
        return;
    assert_int_equal(written, RLHF_ERR_STATE);
    oom_put(w, &written, sizeof written);
}

static const float ones[16] = {1};

static rlhf_status model_freeze(oom_world *w)
{
    const rlhf_status status = rlhf_model_freeze(w->model);

    put_refusal(w, status,
                status == RLHF_OK ? rlhf_model_parameter_write(w->model, weight, ones, 16)
                                  : RLHF_OK);
    return status;
}

static void need_frozen(oom_world *w)
{
    oom_need_model(w);
    assert_ok(rlhf_model_freeze(w->model));
}

/* --- reward models ------------------------------------------------------------------ */

static rlhf_status reward_create(oom_world *w)
{
    rlhf_reward_model *reward = (void *)w;

    return oom_take(rlhf_reward_model_create(w->model, NULL, &reward), &reward,
                    &w->reward_out);
}

static rlhf_status reward_load(oom_world *w)
{
    rlhf_reward_model *reward = (void *)w;

    return oom_take(rlhf_reward_model_load(w->context, oom_fixture("reward"), &reward),
                    &reward, &w->reward_out);
}

static void need_scaled(oom_world *w)
{
    oom_need_reward(w);
    assert_ok(rlhf_reward_model_set_affine(w->reward, 2.0, -1.0));
}

static rlhf_status reward_save(oom_world *w)
{
    return rlhf_reward_model_save(w->reward, test_join(w->folder, "reward"));
}

static rlhf_status reward_clone(oom_world *w)
{
    rlhf_reward_model *reward = (void *)w;

    return oom_take(rlhf_reward_model_clone(w->reward, &reward), &reward, &w->reward_out);
}

static rlhf_status reward_score(oom_world *w)
{
    float scores[3];
    const rlhf_status status =
        rlhf_reward_model_score(w->reward, oom_prompts, oom_prompt_ends, 3, scores);

    if (status == RLHF_OK)
        oom_put(w, scores, sizeof scores);
    return status;
}

static rlhf_status reward_normalize(oom_world *w)
{
    return rlhf_reward_model_normalize(w->reward, oom_prompts, oom_prompt_ends, 3, 1);
}

static rlhf_status reward_parameters(oom_world *w)
{
    rlhf_parameter_info info = {.struct_size = sizeof info};
    rlhf_model_config config;
    double scale, offset;
    float values[16];

    assert_ok(rlhf_model_config_init(&config, sizeof config));
    assert_ok(rlhf_reward_model_get_config(w->reward, &config));
    assert_ok(rlhf_reward_model_parameter_info(w->reward, 0, &info));
    assert_ok(rlhf_reward_model_get_affine(w->reward, &scale, &offset));
    assert_ok(rlhf_reward_model_set_affine(w->reward, scale, offset));
    assert_ok(rlhf_reward_model_parameter_read(w->reward, weight, values, 16));
    return rlhf_reward_model_parameter_write(w->reward, weight, values, 16);
}

static rlhf_status reward_freeze(oom_world *w)
{
    const rlhf_status status = rlhf_reward_model_freeze(w->reward);

    put_refusal(w, status,
                status == RLHF_OK
                    ? rlhf_reward_model_parameter_write(w->reward, weight, ones, 16)
                    : RLHF_OK);
    return status;
}

/* --- samplers and the generator ----------------------------------------------------- */

/* A sampler belongs to no context, so its memory is the C library's. */
static rlhf_status sampler_create(oom_world *w)
{
    rlhf_sampler_options options;
    rlhf_sampler *sampler = (void *)w;

    assert_ok(rlhf_sampler_options_init(&options, sizeof options));
    options.top_k = 3;
    return oom_take(rlhf_sampler_create(&options, &sampler), &sampler, &w->sampler);
}

static rlhf_status take_first(void *user_data, void *state, const rlhf_sample_info *info,
                              const float *logits, int64_t vocab_size, int32_t *out_token)
{
    (void)user_data;
    (void)state;
    (void)info;
    (void)logits;
    (void)vocab_size;
    *out_token = 3;
    return RLHF_OK;
}

static rlhf_status sampler_create_custom(oom_world *w)
{
    const rlhf_sampler_ops ops = {.struct_size = sizeof ops, .sample = take_first};
    rlhf_sampler *sampler = (void *)w;

    return oom_take(rlhf_sampler_create_custom(&ops, NULL, &sampler), &sampler,
                    &w->sampler);
}

static int32_t see_text(void *user_data, int64_t sequence_id, const char *text,
                        size_t size)
{
    (void)user_data;
    (void)sequence_id;
    (void)text;
    (void)size;
    return 0;
}

static rlhf_status generator_create(oom_world *w)
{
    static const int32_t stops[2] = {1, 9};
    rlhf_generator_options options;
    rlhf_generator *generator = (void *)w;

    assert_ok(rlhf_generator_options_init(&options, sizeof options));
    options.max_new_tokens = 5;
    options.min_new_tokens = 2;
    options.stop_tokens = stops;
    options.num_stop_tokens = 2;
    options.seed = 6;
    options.tokenizer = w->tokenizer;
    options.text = see_text;
    return oom_take(rlhf_generator_create(w->model, w->sampler, &options, &generator),
                    &generator, &w->generator);
}

static void need_sampler(oom_world *w)
{
    oom_need_tokenizer(w);
    oom_need_model(w);
    assert_ok(sampler_create(w));
}

static void need_generator(oom_world *w)
{
    need_sampler(w);
    assert_ok(generator_create(w));
}

static rlhf_status generator_start(oom_world *w)
{
    return rlhf_generator_start(w->generator, oom_prompts, oom_prompt_ends, 3, NULL);
}

static void need_started(oom_world *w)
{
    need_generator(w);
    assert_ok(generator_start(w));
}

static rlhf_status generator_step(oom_world *w)
{
    int64_t active;

    oom_prepare(&active, sizeof active, false);
    return oom_keep(w, rlhf_generator_step(w->generator, &active), &active, sizeof active,
                    false);
}

static rlhf_status generator_run(oom_world *w)
{
    return rlhf_generator_run(w->generator);
}

static rlhf_status generator_get(oom_world *w)
{
    rlhf_generation generation = {.struct_size = sizeof generation};

    return rlhf_generator_get(w->generator, 1, &generation);
}

const oom_scenario oom_model_scenarios[] = {
    {"rlhf_model_create", oom_need_context, model_create, 0},
    {"rlhf_model_create GPT-2", oom_need_context, model_create_gpt2, 0},
    {"rlhf_model_load", oom_need_context, model_load, OOM_JSON},
    {"rlhf_model_save", oom_need_model, model_save, 0},
    {"rlhf_model_save loaded", need_loaded, model_save, 0},
    {"rlhf_model_clone", need_loaded, model_clone, 0},
    {"rlhf_model_logits", oom_need_model, model_logits, OOM_KEEPS},
    {"rlhf_model_logprobs", oom_need_model, model_logprobs, OOM_KEEPS},
    {"rlhf_model_get_config", oom_need_model, model_parameters, OOM_NONE},
    {"rlhf_model_parameter_info", oom_need_model, model_parameters, OOM_NONE},
    {"rlhf_model_parameter_read", oom_need_model, model_parameters, OOM_NONE},
    {"rlhf_model_parameter_write", oom_need_model, model_parameters, OOM_NONE},
    {"rlhf_model_freeze", oom_need_model, model_freeze, 0},
    {"rlhf_model_save frozen", need_frozen, model_save, 0},
    {"rlhf_model_clone frozen", need_frozen, model_clone, 0},
    {"rlhf_reward_model_create", need_loaded, reward_create, 0},
    {"rlhf_reward_model_load", oom_need_context, reward_load, OOM_JSON},
    {"rlhf_reward_model_save", need_scaled, reward_save, 0},
    {"rlhf_reward_model_clone", need_scaled, reward_clone, 0},
    {"rlhf_reward_model_score", oom_need_reward, reward_score, OOM_KEEPS},
    {"rlhf_reward_model_normalize", oom_need_reward, reward_normalize, OOM_KEEPS},
    {"rlhf_reward_model_freeze", oom_need_reward, reward_freeze, 0},
    {"rlhf_reward_model_get_affine", oom_need_reward, reward_parameters, OOM_NONE},
    {"rlhf_reward_model_get_config", oom_need_reward, reward_parameters, OOM_NONE},
    {"rlhf_reward_model_set_affine", oom_need_reward, reward_parameters, OOM_NONE},
    {"rlhf_reward_model_parameter_info", oom_need_reward, reward_parameters, OOM_NONE},
    {"rlhf_reward_model_parameter_read", oom_need_reward, reward_parameters, OOM_NONE},
    {"rlhf_reward_model_parameter_write", oom_need_reward, reward_parameters, OOM_NONE},
    {"rlhf_sampler_create", oom_need_context, sampler_create, OOM_NONE},
    {"rlhf_sampler_create_custom", oom_need_context, sampler_create_custom, OOM_NONE},
    {"rlhf_generator_create", need_sampler, generator_create, 0},
    {"rlhf_generator_start", need_generator, generator_start, OOM_KEEPS},
    {"rlhf_generator_step", need_started, generator_step, OOM_KEEPS},
    {"rlhf_generator_run", need_started, generator_run, OOM_KEEPS | OOM_MOVES},
    {"rlhf_generator_get", need_started, generator_get, OOM_NONE},
    {NULL, NULL, NULL, 0}};
