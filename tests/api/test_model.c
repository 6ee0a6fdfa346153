/* Models through the API: every bound of the config, life, parameters, logits against
 * log-probabilities, what a wrong batch is told. */
#include "api_support.h"

#include <math.h>

#include "test_files.h"

/* --- config ------------------------------------------------------------------------- */

typedef struct bad_int {
    const char *field;
    size_t offset;
    int32_t value;
    const char *words; /* relation, bound and value */
} bad_int;

#define INT(field, value, words)                                                         \
    {                                                                                    \
#field, offsetof(rlhf_model_config, field), value, #field " must be " words      \
    }
#define NONE(field)                                                                      \
    {                                                                                    \
#field, offsetof(rlhf_model_config, field), 7, #field " has no value 7"          \
    }
static const bad_int bad_ints[] = {
    INT(vocab_size, 1, ">= 2, got 1"),
    INT(vocab_size, 16777217, "<= 16777216, got 16777217"),
    INT(context_length, 0, ">= 1, got 0"),
    INT(context_length, 1048577, "<= 1048576, got 1048577"),
    INT(hidden_size, 0, ">= 1, got 0"),
    INT(hidden_size, 65537, "<= 65536, got 65537"),
    INT(intermediate_size, -1, ">= 0, got -1"),
    INT(intermediate_size, 1048577, "<= 1048576, got 1048577"),
    INT(num_layers, 0, ">= 1, got 0"),
    INT(num_layers, 1025, "<= 1024, got 1025"),
    INT(num_heads, 0, ">= 1, got 0"),
    INT(num_heads, 1025, "<= 1024, got 1025"),
    INT(num_kv_heads, -1, ">= 0, got -1"),
    {"num_kv_heads", offsetof(rlhf_model_config, num_kv_heads), 3,
     "num_kv_heads must divide num_heads 2, got 3"},
    {"num_kv_heads", offsetof(rlhf_model_config, num_kv_heads), 4,
     "num_kv_heads must divide num_heads 2, got 4"},
    INT(head_dim, -1, ">= 0, got -1"),
    INT(head_dim, 1025, "<= 1024, got 1025"),
    INT(head_dim, 7, "even with rotary, got 7"),
    NONE(position),
    NONE(norm),
    NONE(activation),
    INT(attention_bias, 2, "0 or 1, got 2"),
    INT(mlp_bias, -1, "0 or 1, got -1"),
    INT(tie_embeddings, 2, "0 or 1, got 2"),
    INT(bos_token_id, -2, ">= -1, got -2"),
    INT(bos_token_id, VOCAB, "< vocab_size 12, got 12"),
    INT(eos_token_id, -2, ">= -1, got -2"),
    INT(eos_token_id, VOCAB, "< vocab_size 12, got 12"),
    INT(pad_token_id, -2, ">= -1, got -2"),
    INT(pad_token_id, VOCAB, "< vocab_size 12, got 12"),
    INT(num_layer_configs, -1, ">= 0, got -1"),
    INT(num_layer_configs, 3, "0 or num_layers 2, got 3"),
};

static const struct bad_double {
    const char *field;
    size_t offset;
    double value;
    const char *words;
} bad_doubles[] = {
    {"norm_eps", offsetof(rlhf_model_config, norm_eps), 0, "norm_eps must be > 0, got 0"},
    {"norm_eps", offsetof(rlhf_model_config, norm_eps), NAN, "norm_eps must be finite"},
    {"rope_theta", offsetof(rlhf_model_config, rope_theta), -1,
     "rope_theta must be >= 0, got -1"},
    {"rope_theta", offsetof(rlhf_model_config, rope_theta), 0,
     "rope_theta must be > 0 with rotary positions, got 0"},
    {"rope_theta", offsetof(rlhf_model_config, rope_theta), INFINITY,
     "rope_theta must be finite"},
    {"initializer_range", offsetof(rlhf_model_config, initializer_range), 0,
     "initializer_range must be > 0, got 0"},
};

static void refuse_config(rlhf_context *context, const rlhf_model_config *config,
                          const char *field, const char *words)
{
    rlhf_error_info info = {.struct_size = sizeof info};
    rlhf_model *model = (rlhf_model *)&info;

    assert_fails(rlhf_model_create(context, config, 1, &model), RLHF_ERR_INVALID_ARG,
                 words);
    assert_null(model);
    assert_ok(rlhf_last_error_info(&info));
    assert_string_equal(info.field, field);
}

static void test_model_config_names_field_bound_and_value(void **state)
{
    (void)state;
    rlhf_context *context = support_context(NULL, 1);
    rlhf_model_config config;

    for (size_t i = 0; i < sizeof bad_ints / sizeof bad_ints[0]; i++) {
        const bad_int *b = &bad_ints[i];
        config = tiny_config(VOCAB, LENGTH);
        memcpy((char *)&config + b->offset, &b->value, sizeof b->value);
        refuse_config(context, &config, b->field, b->words);
    }
    config = tiny_config(VOCAB, LENGTH);
    config.num_heads = 3;
    refuse_config(
        context, &config, "head_dim",
        "head_dim must be given where num_heads 3 does not divide hidden_size 16");
    for (size_t i = 0; i < sizeof bad_doubles / sizeof bad_doubles[0]; i++) {
        config = tiny_config(VOCAB, LENGTH);
        memcpy((char *)&config + bad_doubles[i].offset, &bad_doubles[i].value,
               sizeof(double));
        refuse_config(context, &config, bad_doubles[i].field, bad_doubles[i].words);
    }
    rlhf_context_free(context);
}

static void test_layer_configs_are_checked_each(void **state)
{
    (void)state;
    rlhf_context *context = support_context(NULL, 1);
    rlhf_model_config config = tiny_config(VOCAB, LENGTH);
    rlhf_layer_config layers[2];
    rlhf_model *model;

    for (int i = 0; i < 2; i++)
        layers[i] = (rlhf_layer_config){.struct_size = sizeof layers[i],
                                        .attention = RLHF_ATTENTION_SLIDING,
                                        .window = 2,
                                        .rotary = 1,
                                        .norm = RLHF_NORM_RMSNORM,
                                        .rope_theta = 100,
                                        .norm_eps = 1e-5};
    config.num_layer_configs = 2;
    refuse_config(context, &config, "layers", "layers is NULL, num_layer_configs is 2");
    config.layers = layers;
    assert_ok(rlhf_model_create(context, &config, 1, &model));
    rlhf_model_free(model);
    layers[1].window = 0;
    refuse_config(context, &config, "window", "layers[1].window must be >= 1");
    layers[1].attention = RLHF_ATTENTION_FULL;
    layers[1].window = 2;
    refuse_config(context, &config, "window", "layers[1].window must be 0");
    layers[1].window = 0;
    layers[1].rope_theta = 0;
    refuse_config(context, &config, "rope_theta", "layers[1].rope_theta must be > 0");
    layers[1].rope_theta = 1;
    layers[1].norm_eps = 0;
    refuse_config(context, &config, "norm_eps", "norm_eps must be > 0, got 0");
    layers[1].norm_eps = 1e-5;
    layers[1].struct_size++;
    refuse_config(context, &config, "layers", "layers[1].struct_size must be that of");
    rlhf_context_free(context);
}

/* --- life --------------------------------------------------------------------------- */

/* 12 * 16 tokens; a layer: q, k, v, o 4 * 16 * 16, gate, up, down 3 * 16 * 32, norms 2
 * * 16. */
static void test_model_has_the_parameters_of_its_config(void **state)
{
    (void)state;
    rlhf_context *context = support_context(NULL, 1);
    rlhf_model_config config = tiny_config(VOCAB, LENGTH), got;
    const int64_t layer = 4 * 16 * 16 + 3 * 16 * 32 + 2 * 16;
    rlhf_model *model;

    assert_ok(rlhf_model_create(context, &config, 1, &model));
    assert_int_equal(rlhf_model_num_parameters(model), VOCAB * 16 + 2 * layer + 16);
    assert_ok(rlhf_model_config_init(&got, sizeof got));
    assert_ok(rlhf_model_get_config(model, &got));
    assert_int_equal(got.num_kv_heads, 2); /* resolved */
    assert_int_equal(got.head_dim, 8);
    assert_int_equal(got.num_layer_configs, 2);
    assert_int_equal(got.layers[1].rotary, 1);
    rlhf_model_free(model);
    config.tie_embeddings = 0;
    config.num_kv_heads = 1;
    config.attention_bias = 1;
    assert_ok(rlhf_model_create(context, &config, 1, &model));
    const int64_t shared = layer - 2 * 8 * 16 + 16 + 8 + 8 + 16;
    assert_int_equal(rlhf_model_num_parameters(model), 2 * VOCAB * 16 + 2 * shared + 16);
    rlhf_model_free(model);
    rlhf_context_free(context);
}

static void test_model_is_its_seed_and_its_copies(void **state)
{
    (void)state;
    rlhf_context *context = support_context(NULL, 1), *other = support_context(NULL, 2);
    rlhf_model *model = tiny_model(context, VOCAB, LENGTH, 9);
    rlhf_model *same = tiny_model(other, VOCAB, LENGTH, 9);
    rlhf_model *differs = tiny_model(context, VOCAB, LENGTH, 10), *copy, *loaded, *absent;
    char folder[TEST_PATH];
    float value[16], changed[16];
    int64_t n;

    test_folder_make(folder);
    assert_same_model(model, same);
    float *a = model_values(model, &n), *b = model_values(differs, &n);
    assert_memory_not_equal(a, b, (size_t)n * sizeof *a);
    free(a);
    free(b);
    assert_ok(rlhf_model_clone(model, &copy));
    assert_ok(rlhf_model_save(model, folder));
    assert_ok(rlhf_model_load(other, folder, &loaded));
    assert_same_model(model, copy);
    assert_same_model(model, loaded);
    assert_ok(rlhf_model_parameter_read(copy, "model.norm.weight", value, 16));
    for (int i = 0; i < 16; i++)
        changed[i] = value[i] + (float)i;
    assert_ok(rlhf_model_parameter_write(copy, "model.norm.weight", changed, 16));
    assert_same_model(model, loaded); /* a deep copy */
    assert_ok(rlhf_model_parameter_read(copy, "model.norm.weight", value, 16));
    assert_memory_equal(value, changed, sizeof value);
    assert_fails(rlhf_model_load(context, test_join(folder, "absent"), &absent),
                 RLHF_ERR_NOT_FOUND, "absent");
    assert_null(absent);
    rlhf_context_free(context);
    rlhf_context_free(other);
    rlhf_model_free(model);
    rlhf_model_free(same);
    rlhf_model_free(differs);
    rlhf_model_free(copy);
    rlhf_model_free(loaded);
    test_folder_remove(folder);
}

static void test_parameters_are_found_by_name(void **state)
{
    (void)state;
    rlhf_context *context = support_context(NULL, 1);
    rlhf_model *model = tiny_model(context, VOCAB, LENGTH, 1), *before;
    rlhf_parameter_info info = {.struct_size = sizeof info};
    const char *name = "model.layers.1.mlp.down_proj.weight";
    const int64_t names = rlhf_model_num_parameter_names(model);
    float values[16 * 32];
    int found = 0;

    for (int64_t i = 0; i < names; i++) {
        assert_ok(rlhf_model_parameter_info(model, i, &info));
        assert_int_equal(info.decay, info.rows > 1); /* matrices only */
        if (strcmp(info.name, name) == 0) {
            assert_int_equal(info.rows, 16); /* [out][in] */
            assert_int_equal(info.cols, 32);
            found++;
        }
    }
    assert_int_equal(found, 1);
    assert_fails(rlhf_model_parameter_info(model, names, &info), RLHF_ERR_INVALID_ARG,
                 "index must be in [0, ");
    assert_fails(rlhf_model_parameter_info(model, -1, &info), RLHF_ERR_INVALID_ARG,
                 "got -1");
    assert_field("index");
    assert_fails(rlhf_model_parameter_read(model, "no.such", values, 1),
                 RLHF_ERR_NOT_FOUND, "\"no.such\"");
    assert_fails(
        rlhf_model_parameter_read(model, name, values, 511), RLHF_ERR_INVALID_ARG,
        "count must be 512 for \"model.layers.1.mlp.down_proj.weight\", got 511");
    assert_field("count");
    assert_ok(rlhf_model_clone(model, &before));
    assert_ok(rlhf_model_parameter_read(model, name, values, 512));
    values[0] += 1;
    values[511] = INFINITY;
    assert_fails(rlhf_model_parameter_write(model, name, values, 512), RLHF_ERR_NUMERIC,
                 "value 511 of \"model.layers.1.mlp.down_proj.weight\" is inf");
    assert_same_model(model, before);
    rlhf_model_free(before);
    rlhf_model_free(model);
    rlhf_context_free(context);
}

/* --- batches ------------------------------------------------------------------------ */

enum { SEQS = 4, TOKENS = 30 };
static const int64_t cu_seqlens[SEQS + 1] = {0, 1, 1, 13,
                                             TOKENS}; /* one empty, one alone */

static void fill_tokens(int32_t tokens[TOKENS])
{
    for (int t = 0; t < TOKENS; t++)
        tokens[t] = (t * t + 2) % VOCAB;
}

/* log softmax(logits / tau) in double against the call's own, at the end of each
 * sequence too. */
static void compare_logprobs(const int32_t *tokens, const float *logits,
                             const float *logprobs, double tau)
{
    for (int s = 0; s < SEQS; s++)
        for (int64_t t = cu_seqlens[s]; t < cu_seqlens[s + 1]; t++) {
            double sum = 0, expected = 0;
            if (t > cu_seqlens[s]) {
                const float *row = logits + (t - 1) * VOCAB;
                for (int v = 0; v < VOCAB; v++)
                    sum += exp(((double)row[v] - (double)row[tokens[t]]) / tau);
                expected = -log(sum);
            }
            if (!(fabs((double)logprobs[t] - expected) < 2e-6))
                fail_msg("token %d: %g, not %g", (int)t, (double)logprobs[t], expected);
        }
}

static void test_logprobs_are_those_of_the_logits(void **state)
{
    (void)state;
    rlhf_context *context = support_context(NULL, 2);
    rlhf_model *model = tiny_model(context, VOCAB, LENGTH, 3);
    float logits[TOKENS * VOCAB], logprobs[TOKENS], table[VOCAB * 16];
    int32_t tokens[TOKENS];

    assert_ok(
        rlhf_model_parameter_read(model, "model.embed_tokens.weight", table, VOCAB * 16));
    for (int i = 0; i < VOCAB * 16; i++)
        table[i] *= 20; /* far from uniform */
    assert_ok(rlhf_model_parameter_write(model, "model.embed_tokens.weight", table,
                                         VOCAB * 16));
    fill_tokens(tokens);
    assert_ok(rlhf_model_logits(model, tokens, cu_seqlens, SEQS, logits));
    assert_ok(rlhf_model_logprobs(model, tokens, cu_seqlens, SEQS, 1.0, logprobs));
    compare_logprobs(tokens, logits, logprobs, 1.0);
    assert_ok(rlhf_model_logprobs(model, tokens, cu_seqlens, SEQS, 0.7, logprobs));
    compare_logprobs(tokens, logits, logprobs, 0.7);
    assert_ok(rlhf_model_logprobs(model, tokens, cu_seqlens, SEQS, 1e300, logprobs));
    compare_logprobs(tokens, logits, logprobs, 1e300); /* all alike */
    for (int s = 0; s < SEQS; s++) {                   /* one by one: the same bits */
        const int64_t first = cu_seqlens[s], count = cu_seqlens[s + 1] - first;
        float alone[TOKENS * VOCAB];
        if (count == 0)
            continue;
        assert_ok(rlhf_model_logits(model, tokens + first, (const int64_t[]){0, count}, 1,
                                    alone));
        assert_memory_equal(alone, logits + first * VOCAB,
                            (size_t)(count * VOCAB) * sizeof *alone);
    }
    rlhf_model_free(model);
    rlhf_context_free(context);
}

static void test_wrong_batches_are_named(void **state)
{
    (void)state;
    rlhf_context *context = support_context(NULL, 1);
    rlhf_model *model = tiny_model(context, VOCAB, 16, 3);
    int64_t cu[3] = {0, 5, 9};
    int32_t tokens[TOKENS];
    float out[TOKENS * VOCAB];

    fill_tokens(tokens);
#define REFUSED(words)                                                                   \
    do {                                                                                 \
        assert_fails(rlhf_model_logits(model, tokens, cu, 2, out), RLHF_ERR_INVALID_ARG, \
                     words);                                                             \
        assert_fails(rlhf_model_logprobs(model, tokens, cu, 2, 1.0, out),                \
                     RLHF_ERR_INVALID_ARG, words);                                       \
    } while (0)
    tokens[6] = VOCAB;
    REFUSED("12");
    assert_field("tokens");
    assert_non_null(strstr(rlhf_last_error_message(), "6"));
    tokens[6] = -1;
    REFUSED("-1");
    tokens[6] = 0;
    cu[0] = 1;
    REFUSED("cu_seqlens[0] must be 0, got 1");
    cu[0] = 0;
    cu[2] = 4;
    REFUSED("cu_seqlens must not descend, [2] is 4 after 5");
    cu[2] = 5 + 17;
    REFUSED("17");
    cu[2] = 9;
#undef REFUSED
    assert_fails(rlhf_model_logits(model, tokens, cu, 0, out), RLHF_ERR_INVALID_ARG,
                 "num_seqs must be >= 1, got 0");
    assert_field("num_seqs");
    assert_fails(rlhf_model_logprobs(model, tokens, cu, 2, 0.0, out),
                 RLHF_ERR_INVALID_ARG, "temperature must be > 0 and finite, got 0");
    assert_fails(rlhf_model_logprobs(model, tokens, cu, 2, INFINITY, out),
                 RLHF_ERR_INVALID_ARG, "got inf");
    assert_field("temperature");
    assert_ok(rlhf_model_logits(model, tokens, cu, 2, out));
    rlhf_model_free(model);
    rlhf_context_free(context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_model_config_names_field_bound_and_value),
        cmocka_unit_test(test_layer_configs_are_checked_each),
        cmocka_unit_test(test_model_has_the_parameters_of_its_config),
        cmocka_unit_test(test_model_is_its_seed_and_its_copies),
        cmocka_unit_test(test_parameters_are_found_by_name),
        cmocka_unit_test(test_logprobs_are_those_of_the_logits),
        cmocka_unit_test(test_wrong_batches_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
