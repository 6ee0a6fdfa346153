/* config.json: what transformers writes is understood, what the network cannot express is
 * refused by name, and a written config reads back the same. */
#include "test_files.h"

#include <rlhf/reward.h>

#include "base/context.h"
#include "hub/config_json.h"

static char log_text[4096];

static void keep_log(void *user_data, int32_t level, const char *message)
{
    (void)user_data;
    (void)level;
    strncat(log_text, message, sizeof log_text - strlen(log_text) - 1);
}

static int setup(void **state)
{
    rlhf_context_options options;
    rlhf_context *context = NULL;

    assert_int_equal(rlhf_context_options_init(&options, sizeof options), RLHF_OK);
    options.num_threads = 1;
    options.log = keep_log;
    log_text[0] = 0;
    assert_int_equal(rlhf_context_create(&options, &context), RLHF_OK);
    *state = context;
    return 0;
}

static int teardown(void **state)
{
    rlhf_context_free(*state);
    return 0;
}

static rlhf_status read_text(rlhf_context *context, const char *text, bool reward,
                             rlhf__hub_config *out)
{
    rlhf__json *json = NULL;
    rlhf_status status;

    assert_int_equal(
        rlhf__json_parse(context, text, (int64_t)strlen(text), "config.json", 1, &json),
        RLHF_OK);
    status = rlhf__hub_config_read(context, json, "config.json", reward, out);
    rlhf__json_free(json);
    return status;
}

#define GPT2_SIZES                                                                       \
    "\"vocab_size\": 50, \"n_positions\": 16, \"n_embd\": 12, \"n_layer\": 2, "          \
    "\"n_head\": 3"
#define LLAMA_SIZES                                                                      \
    "\"vocab_size\": 50, \"max_position_embeddings\": 16, \"hidden_size\": 12, "         \
    "\"intermediate_size\": 20, \"num_hidden_layers\": 2, \"num_attention_heads\": 6"
#define GPT2  "{\"model_type\": \"gpt2\", " GPT2_SIZES
#define LLAMA "{\"model_type\": \"llama\", " LLAMA_SIZES

static void test_config_gpt2_is_read(void **state)
{
    rlhf__hub_config c;

    assert_int_equal(
        read_text(*state,
                  "{\"architectures\": [\"GPT2LMHeadModel\"], \"activation_function\": "
                  "\"gelu\", \"layer_norm_epsilon\": 0.001, \"n_inner\": null, "
                  "\"bos_token_id\": null, \"eos_token_id\": 3, \"attn_pdrop\": 0.1, "
                  "\"resid_pdrop\": 0.0, " GPT2_SIZES "}",
                  false, &c),
        RLHF_OK);
    assert_int_equal(c.family, RLHF__HUB_GPT2);
    assert_int_equal(c.model.vocab_size, 50);
    assert_int_equal(c.model.context_length, 16);
    assert_int_equal(c.model.hidden_size, 12);
    assert_int_equal(c.model.intermediate_size, 48);
    assert_int_equal(c.model.num_layers, 2);
    assert_int_equal(c.model.num_heads, 3);
    assert_int_equal(c.model.num_kv_heads, 3);
    assert_int_equal(c.model.head_dim, 4);
    assert_int_equal(c.model.position, RLHF_POSITION_LEARNED);
    assert_int_equal(c.model.norm, RLHF_NORM_LAYERNORM);
    assert_int_equal(c.model.activation, RLHF_ACTIVATION_GELU_ERF);
    assert_true(c.model.attention_bias && c.model.mlp_bias && c.model.tie_embeddings);
    assert_true(c.model.norm_eps == 0.001 && c.model.initializer_range == 0.02);
    assert_int_equal(c.model.bos_token_id, -1);
    assert_int_equal(c.model.eos_token_id, 3);
    assert_int_equal(c.model.pad_token_id, -1);
    assert_non_null(strstr(log_text, "\"attn_pdrop\" 0.1 is kept"));
    assert_null(strstr(log_text, "resid_pdrop"));
    rlhf__hub_config_clear(&c);
}

static void test_config_llama_is_read_from_both_versions(void **state)
{
    static const char *const texts[] = {
        LLAMA
        ", \"rope_theta\": 500000.0, \"rope_scaling\": null, \"num_key_value_heads\": 2, "
        "\"rms_norm_eps\": 1e-05, \"torch_dtype\": \"bfloat16\", \"bos_token_id\": 1, "
        "\"eos_token_id\": [2, 4], \"attention_bias\": true, \"hidden_act\": \"silu\"}",
        LLAMA
        ", \"rope_parameters\": {\"rope_theta\": 500000.0, \"rope_type\": \"default\"}, "
        "\"num_key_value_heads\": 2, \"rms_norm_eps\": 1e-05, \"dtype\": \"bfloat16\", "
        "\"head_dim\": 2, \"attention_bias\": true, \"layer_types\": "
        "[\"full_attention\", \"full_attention\"]}"};

    for (int i = 0; i < 2; i++) {
        rlhf__hub_config c;
        assert_int_equal(read_text(*state, texts[i], false, &c), RLHF_OK);
        assert_int_equal(c.family, RLHF__HUB_LLAMA);
        assert_int_equal(c.model.num_kv_heads, 2);
        assert_int_equal(c.model.head_dim, 2);
        assert_int_equal(c.model.intermediate_size, 20);
        assert_true(c.model.rope_theta == 500000.0 && c.model.norm_eps == 1e-5);
        assert_int_equal(c.model.position, RLHF_POSITION_ROTARY);
        assert_int_equal(c.model.norm, RLHF_NORM_RMSNORM);
        assert_int_equal(c.model.activation, RLHF_ACTIVATION_SWIGLU);
        assert_true(c.model.attention_bias && !c.model.mlp_bias &&
                    !c.model.tie_embeddings);
        assert_int_equal(c.model.bos_token_id, 1); /* transformers' defaults where
                                                      absent */
        assert_int_equal(c.model.eos_token_id, 2);
        rlhf__hub_config_clear(&c);
    }
    assert_non_null(strstr(log_text, "the first of \"eos_token_id\" is used"));
}

static const struct {
    const char *text;
    bool reward;
    rlhf_status status;
    const char *words;
} refusals[] = {
    {"[]", false, RLHF_ERR_FORMAT, "not a JSON object"},
    {"{}", false, RLHF_ERR_FORMAT, "neither \"architectures\" nor \"model_type\""},
    {"{\"architectures\": [\"T5Model\"]}", false, RLHF_ERR_UNSUPPORTED,
     "\"architectures\": \"T5Model\" is not supported"},
    {"{\"model_type\": \"mamba\"}", false, RLHF_ERR_UNSUPPORTED,
     "\"model_type\": \"mamba\" is not supported"},
    {"{\"architectures\": [\"GPT2LMHeadModel\"], \"model_type\": \"llama\"}", false,
     RLHF_ERR_FORMAT, "\"model_type\": \"llama\" disagrees"},
    {"{\"architectures\": [\"LlamaForSequenceClassification\"]}", false, RLHF_ERR_FORMAT,
     "LlamaForSequenceClassification where LlamaForCausalLM is needed"},
    {"{\"architectures\": [\"GPT2LMHeadModel\"]}", true, RLHF_ERR_FORMAT,
     "GPT2LMHeadModel where GPT2ForSequenceClassification is needed"},
    {"{\"model_type\": \"gpt2\"}", false, RLHF_ERR_FORMAT, "\"vocab_size\" is missing"},
    {"{\"model_type\": \"gpt2\", \"vocab_size\": \"big\"}", false, RLHF_ERR_FORMAT,
     "\"vocab_size\" is not an integer"},
    {"{\"model_type\": \"gpt2\", \"vocab_size\": 1}", false, RLHF_ERR_FORMAT,
     "\"vocab_size\" must be in [2, 16777216], got 1"},
    {"{\"model_type\": \"gpt2\", \"vocab_size\": 9, \"n_positions\": 9, \"n_embd\": 10, "
     "\"n_layer\": 1, \"n_head\": 3}",
     false, RLHF_ERR_FORMAT, "\"n_embd\" 10 is not a multiple of \"n_head\" 3"},
    {GPT2 ", \"activation_function\": \"relu\"}", false, RLHF_ERR_UNSUPPORTED,
     "\"activation_function\": \"relu\" is not supported"},
    {GPT2 ", \"activation_function\": 3}", false, RLHF_ERR_FORMAT,
     "\"activation_function\" is not a string"},
    {GPT2 ", \"layer_norm_epsilon\": 0}", false, RLHF_ERR_FORMAT,
     "\"layer_norm_epsilon\" must be > 0, got 0"},
    {GPT2 ", \"layer_norm_epsilon\": \"small\"}", false, RLHF_ERR_FORMAT,
     "\"layer_norm_epsilon\" is not a number"},
    {GPT2 ", \"scale_attn_weights\": false}", false, RLHF_ERR_UNSUPPORTED,
     "\"scale_attn_weights\": false is not supported"},
    {GPT2 ", \"scale_attn_by_inverse_layer_idx\": true}", false, RLHF_ERR_UNSUPPORTED,
     "\"scale_attn_by_inverse_layer_idx\": true"},
    {GPT2 ", \"add_cross_attention\": true}", false, RLHF_ERR_UNSUPPORTED,
     "\"add_cross_attention\": true"},
    {GPT2 ", \"tie_word_embeddings\": 1}", false, RLHF_ERR_FORMAT,
     "\"tie_word_embeddings\" is not true or false"},
    {GPT2 ", \"eos_token_id\": 50}", false, RLHF_ERR_FORMAT,
     "\"eos_token_id\" must be null or an id in [-1, 50), got 50"},
    {GPT2 ", \"quantization_config\": {\"bits\": 4}}", false, RLHF_ERR_UNSUPPORTED,
     "\"quantization_config\": {\"bits\": 4} is not supported"},
    {LLAMA ", \"rope_scaling\": {\"type\": \"linear\", \"factor\": 2.0}}", false,
     RLHF_ERR_UNSUPPORTED, "\"rope_scaling\": {\"type\": \"linear\""},
    {LLAMA ", \"rope_parameters\": {\"rope_type\": \"llama3\"}}", false,
     RLHF_ERR_UNSUPPORTED, "\"rope_parameters\": {\"rope_type\": \"llama3\"}"},
    {LLAMA ", \"rope_parameters\": {\"rope_type\": \"default\", \"rope_theta\": -1}}",
     false, RLHF_ERR_FORMAT, "\"rope_theta\" must be > 0, got -1"},
    {LLAMA ", \"hidden_act\": \"gelu\"}", false, RLHF_ERR_UNSUPPORTED,
     "\"hidden_act\": \"gelu\""},
    {LLAMA ", \"sliding_window\": 4096}", false, RLHF_ERR_UNSUPPORTED,
     "\"sliding_window\": 4096"},
    {LLAMA ", \"partial_rotary_factor\": 0.5}", false, RLHF_ERR_UNSUPPORTED,
     "\"partial_rotary_factor\": 0.5"},
    {LLAMA ", \"layer_types\": [\"sliding_attention\"]}", false, RLHF_ERR_UNSUPPORTED,
     "\"layer_types\": [\"sliding_attention\"]"},
    {LLAMA ", \"num_key_value_heads\": 4}", false, RLHF_ERR_FORMAT,
     "\"num_attention_heads\" 6 is not a multiple of \"num_key_value_heads\" 4"},
    {LLAMA ", \"head_dim\": 3}", false, RLHF_ERR_FORMAT, "\"head_dim\" must be even"},
    {GPT2 "}", true, RLHF_ERR_UNSUPPORTED, "\"num_labels\" is 2, a reward model has 1"},
    {GPT2 ", \"id2label\": {\"0\": \"a\", \"1\": \"b\", \"2\": \"c\"}}", true,
     RLHF_ERR_UNSUPPORTED, "\"num_labels\" is 3"},
    {GPT2 ", \"num_labels\": 1, \"rlhf_append_eos\": \"always\"}", true,
     RLHF_ERR_UNSUPPORTED, "\"rlhf_append_eos\": \"always\""},
    {GPT2 ", \"num_labels\": 1, \"rlhf_score_offset\": \"1\"}", true, RLHF_ERR_FORMAT,
     "\"rlhf_score_offset\" is not a number"},
    {"{\"model_type\": \"rlhf\", \"vocab_size\": 9}", false, RLHF_ERR_FORMAT,
     "\"context_length\" is missing"},
};

static void test_config_refusals_name_field_and_value(void **state)
{
    for (size_t i = 0; i < sizeof refusals / sizeof refusals[0]; i++) {
        rlhf__hub_config c;
        rlhf_status status = read_text(*state, refusals[i].text, refusals[i].reward, &c);
        const char *message = rlhf_last_error_message();
        if (status != refusals[i].status || !strstr(message, refusals[i].words) ||
            strncmp(message, "config.json: ", 13) != 0)
            fail_msg("%s: expected %s with \"%s\", got %s: %s", refusals[i].text,
                     rlhf_status_name(refusals[i].status), refusals[i].words,
                     rlhf_status_name(status), message);
    }
}

/* --- writing ------------------------------------------------------------------------ */

static rlhf_model_config base_config(rlhf_layer_config layers[2])
{
    rlhf_model_config c = {.struct_size = sizeof c,
                           .vocab_size = 50,
                           .context_length = 16,
                           .hidden_size = 12,
                           .intermediate_size = 20,
                           .num_layers = 2,
                           .num_heads = 3,
                           .num_kv_heads = 3,
                           .head_dim = 4,
                           .attention_bias = 1,
                           .mlp_bias = 1,
                           .tie_embeddings = 1,
                           .bos_token_id = 1,
                           .eos_token_id = 2,
                           .pad_token_id = -1,
                           .num_layer_configs = 2,
                           .norm_eps = 1e-5,
                           .rope_theta = 10000.0,
                           .initializer_range = 0.02,
                           .layers = layers};

    for (int i = 0; i < 2; i++)
        layers[i] = (rlhf_layer_config){.struct_size = sizeof *layers,
                                        .norm = c.norm,
                                        .rope_theta = 10000.0,
                                        .norm_eps = 1e-5};
    return c;
}

static void make_rotary(rlhf_model_config *c, rlhf_layer_config layers[2])
{
    c->position = RLHF_POSITION_ROTARY;
    c->norm = RLHF_NORM_RMSNORM;
    c->activation = RLHF_ACTIVATION_SWIGLU;
    c->attention_bias = c->mlp_bias = c->tie_embeddings = 0;
    c->num_kv_heads = 1;
    c->rope_theta = layers[0].rope_theta = layers[1].rope_theta = 5000.0;
    layers[0].rotary = layers[1].rotary = 1;
    layers[0].norm = layers[1].norm = RLHF_NORM_RMSNORM;
}

/* Writes, reads back, compares every field. */
static void round_trip(rlhf_context *context, const rlhf_model_config *c,
                       rlhf__hub_family family)
{
    rlhf__hub_config back;
    rlhf__json *json = NULL;

    assert_int_equal(rlhf__hub_family_of(c), family);
    assert_int_equal(rlhf__hub_config_write(context, c, NULL, NULL, &json), RLHF_OK);
    assert_int_equal(rlhf__hub_config_read(context, json, "config.json", false, &back),
                     RLHF_OK);
    assert_int_equal(back.family, family);
    assert_int_equal(back.model.vocab_size, c->vocab_size);
    assert_int_equal(back.model.context_length, c->context_length);
    assert_int_equal(back.model.hidden_size, c->hidden_size);
    assert_int_equal(back.model.intermediate_size, c->intermediate_size);
    assert_int_equal(back.model.num_layers, c->num_layers);
    assert_int_equal(back.model.num_heads, c->num_heads);
    assert_int_equal(back.model.num_kv_heads, c->num_kv_heads);
    assert_int_equal(back.model.head_dim, c->head_dim);
    assert_int_equal(back.model.position, c->position);
    assert_int_equal(back.model.norm, c->norm);
    assert_int_equal(back.model.activation, c->activation);
    assert_int_equal(back.model.attention_bias, c->attention_bias);
    assert_int_equal(back.model.mlp_bias, c->mlp_bias);
    assert_int_equal(back.model.tie_embeddings, c->tie_embeddings);
    assert_int_equal(back.model.bos_token_id, c->bos_token_id);
    assert_int_equal(back.model.eos_token_id, c->eos_token_id);
    assert_int_equal(back.model.pad_token_id, c->pad_token_id);
    assert_true(back.model.norm_eps == c->norm_eps);
    assert_true(back.model.rope_theta == c->rope_theta);
    assert_true(back.model.initializer_range == c->initializer_range);
    if (family == RLHF__HUB_OWN) {
        assert_int_equal(back.model.num_layer_configs, 2);
        assert_memory_equal(back.layers, c->layers, 2 * sizeof *back.layers);
    }
    rlhf__hub_config_clear(&back);
    rlhf__json_free(json);
}

static void test_config_families_round_trip(void **state)
{
    rlhf_layer_config layers[2];
    rlhf_model_config c = base_config(layers);

    round_trip(*state, &c, RLHF__HUB_GPT2);
    c.activation = RLHF_ACTIVATION_GELU_ERF;
    c.intermediate_size = 48;
    c.pad_token_id = 0;
    c.eos_token_id = -1;
    c.tie_embeddings = 0;
    round_trip(*state, &c, RLHF__HUB_GPT2);
    make_rotary(&c, layers);
    round_trip(*state, &c, RLHF__HUB_LLAMA);
    c.head_dim = 6;
    c.attention_bias = c.mlp_bias = 1;
    round_trip(*state, &c, RLHF__HUB_LLAMA);
}

static void test_config_neither_family_is_our_own(void **state)
{
    rlhf_layer_config layers[2];
    rlhf_model_config c = base_config(layers);

    layers[1].attention = RLHF_ATTENTION_SLIDING;
    layers[1].window = 4;
    round_trip(*state, &c, RLHF__HUB_OWN);
    c = base_config(layers);
    c.attention_bias = 0;
    round_trip(*state, &c, RLHF__HUB_OWN);
    make_rotary(&c, layers);
    layers[0].rope_theta = 1e6;
    round_trip(*state, &c, RLHF__HUB_OWN);
    make_rotary(&c, layers);
    layers[1].rotary = 0;
    round_trip(*state, &c, RLHF__HUB_OWN);
    make_rotary(&c, layers);
    c.activation = RLHF_ACTIVATION_GELU_TANH;
    round_trip(*state, &c, RLHF__HUB_OWN);
}

static void test_config_keeps_the_origins_fields(void **state)
{
    static const char text[] =
        "{\"model_type\": \"gpt2\", \"architectures\": [\"GPT2LMHeadModel\"], "
        "\"attn_pdrop\": 0.1, \"summary_type\": \"cls_index\", \"task_specific_params\": "
        "{\"a\": [1, null]}, \"activation_function\": \"gelu_pytorch_tanh\", "
        "\"eos_token_id\": [2, 7], \"torch_dtype\": \"float16\"}";
    rlhf_context *context = *state;
    rlhf_layer_config layers[2];
    rlhf_model_config c = base_config(layers);
    rlhf__hub_origin origin = {context, NULL}, *copy = NULL;
    rlhf__json *json = NULL;

    assert_int_equal(
        rlhf__json_parse(context, text, sizeof text - 1, "x", 1, &origin.document),
        RLHF_OK);
    assert_int_equal(rlhf__hub_origin_clone(&origin, &copy), RLHF_OK);
    rlhf__json_free(origin.document);
    assert_int_equal(rlhf__hub_config_write(context, &c, NULL, copy, &json), RLHF_OK);
    assert_true(rlhf__json_f64(rlhf__json_get(json, "attn_pdrop"), 0) == 0.1);
    assert_string_equal(rlhf__json_string(rlhf__json_get(json, "summary_type"), ""),
                        "cls_index");
    assert_int_equal(rlhf__json_size(rlhf__json_get(
                         rlhf__json_get(json, "task_specific_params"), "a")),
                     2);
    assert_string_equal(
        rlhf__json_string(rlhf__json_get(json, "activation_function"), ""),
        "gelu_pytorch_tanh");
    assert_int_equal(rlhf__json_size(rlhf__json_get(json, "eos_token_id")), 2);
    assert_string_equal(rlhf__json_string(rlhf__json_get(json, "torch_dtype"), ""),
                        "float32");
    rlhf__json_free(json);

    /* What the model has moved on from is overwritten; another family's fields are
     * dropped. */
    c.eos_token_id = 9;
    c.activation = RLHF_ACTIVATION_GELU_ERF;
    assert_int_equal(rlhf__hub_config_write(context, &c, NULL, copy, &json), RLHF_OK);
    assert_int_equal(rlhf__json_i64(rlhf__json_get(json, "eos_token_id"), 0), 9);
    assert_string_equal(
        rlhf__json_string(rlhf__json_get(json, "activation_function"), ""), "gelu");
    rlhf__json_free(json);
    make_rotary(&c, layers);
    assert_int_equal(rlhf__hub_config_write(context, &c, NULL, copy, &json), RLHF_OK);
    assert_null(rlhf__json_get(json, "summary_type"));
    rlhf__json_free(json);
    rlhf__hub_origin_free(copy);
    assert_int_equal(rlhf__hub_origin_clone(NULL, &copy), RLHF_OK);
    assert_null(copy);
}

static void test_config_of_a_reward_model_round_trips(void **state)
{
    rlhf_context *context = *state;
    rlhf_layer_config layers[2];
    rlhf_model_config c = base_config(layers);
    rlhf__hub_score score = {2.0, -0.1, RLHF_APPEND_EOS_NEVER, 5};
    rlhf__hub_config back;
    rlhf__json *json = NULL;

    c.pad_token_id = 5;
    assert_int_equal(rlhf__hub_config_write(context, &c, &score, NULL, &json), RLHF_OK);
    assert_string_equal(
        rlhf__json_string(rlhf__json_at(rlhf__json_get(json, "architectures"), 0), ""),
        "GPT2ForSequenceClassification");
    assert_int_equal(rlhf__json_size(rlhf__json_get(json, "id2label")), 1);
    assert_non_null(strstr(log_text, "pad_token_id 5 is the end of text too"));
    assert_int_equal(rlhf__hub_config_read(context, json, "config.json", true, &back),
                     RLHF_OK);
    assert_true(back.score.scale == 1.0 && back.score.offset == -0.1);
    assert_int_equal(back.score.append_eos, RLHF_APPEND_EOS_NEVER);
    assert_int_equal(back.score.eos_token_id, 5);
    assert_int_equal(back.model.pad_token_id, -1);
    rlhf__hub_config_clear(&back);
    rlhf__json_free(json);

    /* One that others made: no offset, EOS appended as their trainers do. */
    assert_int_equal(read_text(context,
                               GPT2 ", \"id2label\": {\"0\": \"LABEL_0\"}, "
                                    "\"eos_token_id\": 7}",
                               true, &back),
                     RLHF_OK);
    assert_true(back.score.offset == 0.0);
    assert_int_equal(back.score.append_eos, RLHF_APPEND_EOS_IF_MISSING);
    assert_int_equal(back.score.eos_token_id, 7);
    rlhf__hub_config_clear(&back);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_config_gpt2_is_read, setup, teardown),
        cmocka_unit_test_setup_teardown(test_config_llama_is_read_from_both_versions,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(test_config_refusals_name_field_and_value, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_config_families_round_trip, setup, teardown),
        cmocka_unit_test_setup_teardown(test_config_neither_family_is_our_own, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_config_keeps_the_origins_fields, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_config_of_a_reward_model_round_trips, setup,
                                        teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
