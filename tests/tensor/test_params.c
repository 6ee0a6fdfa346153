/* Parameters: layout, names, packed copies that are never stale, cloning. */
#include "kernels/kernels_support.h"
#include "support.h"

#include "autograd/tape.h"
#include "nn/transformer.h"

static void make_shapes(rlhf_context *context, rlhf__params *params)
{
    static const int64_t shapes[][2] = {{5, 7}, {1, 16}, {33, 3}, {1, 1}};

    assert_ok(rlhf__params_init(params, context));
    for (int i = 0; i < 4; i++) {
        int32_t slab = -1;
        assert_ok(rlhf__params_add_slab(params, shapes[i][0], shapes[i][1],
                                        shapes[i][0] > 1, &slab));
        assert_int_equal(slab, i);
    }
    assert_ok(rlhf__params_add_name(params, "first.weight", 0, 0, 2));
    assert_ok(rlhf__params_add_name(params, "second.weight", 0, 2, 3));
    assert_ok(rlhf__params_add_name(params, "norm", 1, 0, 1));
}

static void make_params(rlhf_context *context, rlhf__params *params)
{
    make_shapes(context, params);
    assert_ok(rlhf__params_allocate(params));
}

/* Slabs begin at multiples of 16 floats, follow each other, and begin as zeros. */
static void test_params_are_flat_and_aligned(void **state)
{
    (void)state;
    rlhf_context *context = context_of(RLHF_CPU_AUTO, 1);
    rlhf__params params;

    make_params(context, &params);
    const int64_t offsets[] = {0, 48, 64, 176};
    for (int i = 0; i < 4; i++)
        assert_int_equal(params.slabs[i].offset, offsets[i]);
    assert_int_equal(params.count, 192);
    assert_int_equal((uintptr_t)params.values % 64, 0);
    assert_int_equal(rlhf__params_num(&params), 35 + 16 + 99 + 1);
    for (int64_t i = 0; i < params.count; i++)
        assert_true(params.values[i] == 0.0f);
    assert_true(params.slabs[0].decay && !params.slabs[1].decay);
    rlhf__params_free(&params);
    rlhf_context_free(context);
}

static void test_params_names_are_ranges_of_rows(void **state)
{
    (void)state;
    rlhf_context *context = context_of(RLHF_CPU_AUTO, 1);
    char longest[96 + 1];
    rlhf__params params;

    make_params(context, &params);
    const rlhf__named *named = rlhf__params_find(&params, "second.weight");
    assert_non_null(named);
    assert_int_equal(named->slab, 0);
    assert_int_equal(named->first_row, 2);
    assert_int_equal(named->rows, 3);
    assert_null(rlhf__params_find(&params, "second"));
    assert_null(rlhf__params_find(&params, ""));
    memset(longest, 'x', 96);
    longest[96] = 0;
    assert_fails(rlhf__params_add_name(&params, longest, 0, 0, 1), RLHF_ERR_LIMIT,
                 "too long");
    assert_int_equal(params.num_named, 3);
    longest[95] = 0;
    assert_ok(rlhf__params_add_name(&params, longest, 0, 0, 1));
    assert_non_null(rlhf__params_find(&params, longest));
    rlhf__params_free(&params);
    rlhf_context_free(context);
}

static void test_params_refuse_impossible_shapes(void **state)
{
    (void)state;
    static const int64_t bad[][2] = {{0, 3},
                                     {3, 0},
                                     {-1, 3},
                                     {INT64_MAX, 2},
                                     {INT64_MAX, INT64_MAX},
                                     {1 << 21, 1 << 20}};
    rlhf_context *context = context_of(RLHF_CPU_AUTO, 1);
    rlhf__params params;
    int32_t slab;

    assert_ok(rlhf__params_init(&params, context));
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_fails(rlhf__params_add_slab(&params, bad[i][0], bad[i][1], true, &slab),
                     RLHF_ERR_LIMIT, "is too large");
    assert_int_equal(params.num_slabs, 0);
    rlhf__params_free(&params);
    rlhf_context_free(context);
}

/* --- packed copies ------------------------------------------------------------------ */

/* y = x W^T and dx = dy W of m rows against the values as they are now. */
static void check_rows(rlhf_context *context, rlhf__params *params, int32_t slab,
                       int64_t m)
{
    const rlhf__slab *s = &params->slabs[slab];
    const float *w = rlhf__slab_values(params, slab);
    float *x = random_floats(m * s->cols, 3), *dy = random_floats(m * s->rows, 4);
    float *y = fenced(m * s->rows), *dx = fenced(m * s->cols);
    rlhf__arena *arena = NULL;

    assert_ok(rlhf__arena_create(context, RLHF_MEMORY_ACTIVATIONS, &arena));
    assert_ok(rlhf__params_matmul(params, slab, true, rlhf__matmul_wants_panels(m), arena,
                                  rlhf__floats(x, s->cols), m, NULL, false, y, s->rows));
    assert_ok(rlhf__params_matmul(params, slab, false, rlhf__matmul_wants_panels(m),
                                  arena, rlhf__floats(dy, s->rows), m, NULL, false, dx,
                                  s->cols));
    for (int64_t t = 0; t < m; t++) {
        for (int64_t r = 0; r < s->rows; r++) {
            double sum = 0;
            for (int64_t c = 0; c < s->cols; c++)
                sum += (double)x[t * s->cols + c] * w[r * s->cols + c];
            assert_near(y[t * s->rows + r], sum, 1e-5);
        }
        for (int64_t c = 0; c < s->cols; c++) {
            double sum = 0;
            for (int64_t r = 0; r < s->rows; r++)
                sum += (double)dy[t * s->rows + r] * w[r * s->cols + c];
            assert_near(dx[t * s->cols + c], sum, 1e-5);
        }
    }
    assert_fence(y, m * s->rows), assert_fence(dx, m * s->cols);
    rlhf__arena_free(arena);
    free(x), free(dy), free(y), free(dx);
}

/* Many rows read the values themselves while the packed copies are old, few make them
 * anew, and then serve many, too. */
static void check_products(rlhf_context *context, rlhf__params *params, int32_t slab)
{
    check_rows(context, params, slab, 80);
    assert_true(params->slabs[slab].forward_version != params->version);
    check_rows(context, params, slab, 4);
    assert_true(params->slabs[slab].forward_version == params->version);
    check_rows(context, params, slab, 80);
}

/* After each write the products are of the new values, whichever copies there were. */
static void test_params_packed_copies_are_never_stale(void **state)
{
    (void)state;
    FOR_LEVELS(context, 2)
    {
        rlhf__params params;
        make_params(context, &params);
        uint64_t version = params.version;
        for (uint64_t write = 0; write < 3; write++) {
            float *values = rlhf__params_begin_write(&params);
            for (int64_t i = 0; i < params.count; i++)
                values[i] = (float)(rlhf__rng_uniform(42, write, (uint64_t)i) - 0.5);
            rlhf__params_end_write(&params);
            assert_true(params.version > version);
            version = params.version;
            check_products(context, &params, 0);
            check_products(context, &params, 2);
        }
        rlhf__params_free(&params);
    }
}

/* Packed once and then read: the copy is made anew only after a write. */
static void test_params_are_packed_once_a_version(void **state)
{
    (void)state;
    rlhf_context *context = context_of(RLHF_CPU_AUTO, 1);
    const void *first = NULL, *again = NULL;
    rlhf__params params;

    make_params(context, &params);
    assert_ok(rlhf__params_forward_panels(&params, 0, &first));
    const uint64_t version = params.slabs[0].forward_version;
    params.values[0] = 5.0f; /* past the door: the copy does not see it */
    assert_ok(rlhf__params_forward_panels(&params, 0, &again));
    assert_ptr_equal(first, again);
    assert_true(*(const float *)again == 0.0f);
    assert_int_equal(params.slabs[0].forward_version, version);
    rlhf__params_begin_write(&params);
    rlhf__params_end_write(&params);
    assert_ok(rlhf__params_forward_panels(&params, 0, &again));
    assert_true(*(const float *)again == 5.0f);
    rlhf__params_free(&params);
    rlhf_context_free(context);
}

/* Padding stays 0. */
static void fill_slabs(rlhf__params *params)
{
    rlhf__params_begin_write(params);
    for (int32_t s = 0; s < params->num_slabs; s++)
        for (int64_t i = 0; i < params->slabs[s].rows * params->slabs[s].cols; i++)
            rlhf__slab_values(params, s)[i] = (float)(1000 * s + i) / 256.0f;
    rlhf__params_end_write(params);
}

/* A clone has the values, names and layout, and a life of its own. */
static void test_params_clone_is_deep(void **state)
{
    (void)state;
    rlhf_context *context = context_of(RLHF_CPU_AUTO, 1);
    const void *panels = NULL;
    rlhf__params params, clone;

    make_params(context, &params);
    fill_slabs(&params);
    assert_ok(rlhf__params_forward_panels(&params, 0, &panels));
    assert_ok(rlhf__params_clone(&params, &clone));
    assert_int_equal(clone.count, params.count);
    assert_memory_equal(clone.values, params.values,
                        (size_t)params.count * sizeof(float));
    assert_null(clone.slabs[0].forward_panels);
    assert_non_null(rlhf__params_find(&clone, "second.weight"));
    rlhf__params_begin_write(&clone)[0] = -1.0f;
    rlhf__params_end_write(&clone);
    assert_true(params.values[0] == 0.0f);
    rlhf__params_free(&params);
    check_products(context, &clone, 2);
    rlhf__params_free(&clone);
    rlhf_context_free(context);
}

/* --- of networks -------------------------------------------------------------------- */

/* The tied table is one parameter: counted once, named once, and written through its name
 * it changes the embedding and the head. */
static void test_tied_parameter_counts_once(void **state)
{
    (void)state;
    rlhf_context *context = context_of(RLHF_CPU_AUTO, 1);
    rlhf__transformer *models[2];
    rlhf_model_config c;

    assert_ok(rlhf_model_config_init(&c, sizeof c));
    c.vocab_size = 11, c.context_length = 8, c.hidden_size = 6, c.num_heads = 2,
    c.num_layers = 1;
    for (int tied = 0; tied < 2; tied++) {
        c.tie_embeddings = tied;
        assert_ok(rlhf__transformer_create(context, &c, RLHF__HEAD_LM, &models[tied]));
    }
    /* By hand: tables (11 + 8) 6; norms 3 * 12; attention 4 * 36 + 24; MLP 2 * 144 + 30.
     */
    const int64_t expected = 114 + 36 + 168 + 318;
    assert_int_equal(rlhf__params_num(&models[1]->params), expected);
    assert_int_equal(rlhf__params_num(&models[0]->params), expected + 66);
    assert_null(rlhf__params_find(&models[1]->params, "lm_head.weight"));
    assert_non_null(rlhf__params_find(&models[0]->params, "lm_head.weight"));
    assert_int_equal(models[1]->head_weight, models[1]->token_table);
    assert_int_not_equal(models[0]->head_weight, models[0]->token_table);
    rlhf__transformer_free(models[0]), rlhf__transformer_free(models[1]);
    rlhf_context_free(context);
}

/* Through the API: a write is seen by the next forward pass, whichever copies were
 * packed. */
static void test_parameter_write_changes_the_next_forward(void **state)
{
    (void)state;
    static const int32_t tokens[] = {1, 4, 2, 7, 3};
    static const int64_t cu[] = {0, 5};
    rlhf_context *context = support_context(NULL, 2);
    float before[5 * 11], after[5 * 11], again[5 * 11];
    rlhf_model *model = NULL;
    rlhf_model_config c;

    assert_ok(rlhf_model_config_init(&c, sizeof c));
    c.vocab_size = 11, c.context_length = 8, c.hidden_size = 6, c.num_heads = 2,
    c.num_layers = 1;
    assert_ok(rlhf_model_create(context, &c, 3, &model));
    assert_ok(rlhf_model_logits(model, tokens, cu, 1, before));
    for (int64_t i = 0; i < rlhf_model_num_parameter_names(model); i++) {
        rlhf_parameter_info info = {.struct_size = sizeof info};
        assert_ok(rlhf_model_parameter_info(model, i, &info));
        const int64_t n = info.rows * info.cols;
        float *old = fenced(n), *fresh = fenced(n);
        assert_ok(rlhf_model_parameter_read(model, info.name, old, n));
        for (int64_t j = 0; j < n; j++)
            fresh[j] = old[j] + 0.5f + (float)(j % 3);
        assert_ok(rlhf_model_parameter_write(model, info.name, fresh, n));
        assert_ok(rlhf_model_logits(model, tokens, cu, 1, after));
        /* A key's bias moves all scores of a query alike: softmax does not see it. */
        if (!strstr(info.name, "k_proj.bias"))
            assert_memory_not_equal(before, after, sizeof before);
        assert_ok(rlhf_model_parameter_write(model, info.name, old, n));
        assert_ok(rlhf_model_logits(model, tokens, cu, 1, again));
        assert_memory_equal(before, again, sizeof before);
        assert_fence(old, n);
        free(old), free(fresh);
    }
    rlhf_model_free(model);
    rlhf_context_free(context);
}

/* Slabs in a file and slabs beside it become the flat array that reading them makes; the
 * packed copies stay good. */
static void test_params_own_what_stood_in_a_file(void **state)
{
    (void)state;
    rlhf_context *context = context_of(RLHF_CPU_AUTO, 1);
    FILE *f = tmpfile();
    rlhf__file_map map;
    rlhf__params params, mapped;
    const void *panels = NULL, *again = NULL;

    make_params(context, &params);
    fill_slabs(&params);
    make_shapes(context, &mapped);
    assert_non_null(f);
    assert_int_equal(fwrite(params.values, sizeof(float), 192, f), 192);
    assert_int_equal(fflush(f), 0);
    assert_ok(rlhf__file_map_open(fileno(f), "a file", 192 * sizeof(float), &map));
    fclose(f);
    float *bytes = map.bytes;
    float *const in_place[4] = {bytes, NULL, bytes + 64, NULL};
    assert_ok(rlhf__params_map(&mapped, in_place, &map, 1));
    assert_null(mapped.values);
    for (int32_t i = 1; i < 4; i += 2)
        memcpy(rlhf__slab_values(&mapped, i), rlhf__slab_values(&params, i),
               (size_t)(mapped.slabs[i].rows * mapped.slabs[i].cols) * sizeof(float));
    assert_ptr_equal(rlhf__slab_values(&mapped, 2), bytes + 64);
    assert_ok(rlhf__params_forward_panels(&mapped, 0, &panels));
    const uint64_t version = mapped.version;
    assert_ok(rlhf__params_own(&mapped));
    assert_memory_equal(mapped.values, params.values, 192 * sizeof(float));
    for (int32_t i = 0; i < 4; i++)
        assert_ptr_equal(rlhf__slab_values(&mapped, i),
                         mapped.values + mapped.slabs[i].offset);
    assert_int_equal(mapped.num_maps, 0);
    assert_true(mapped.version == version);
    assert_ok(rlhf__params_forward_panels(&mapped, 0, &again));
    assert_ptr_equal(again, panels);
    assert_ok(rlhf__params_own(&mapped)); /* once is enough */
    rlhf__params_free(&mapped);
    rlhf__params_free(&params);
    rlhf_context_free(context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_params_are_flat_and_aligned),
        cmocka_unit_test(test_params_names_are_ranges_of_rows),
        cmocka_unit_test(test_params_refuse_impossible_shapes),
        cmocka_unit_test(test_params_packed_copies_are_never_stale),
        cmocka_unit_test(test_params_are_packed_once_a_version),
        cmocka_unit_test(test_params_clone_is_deep),
        cmocka_unit_test(test_params_own_what_stood_in_a_file),
        cmocka_unit_test(test_tied_parameter_counts_once),
        cmocka_unit_test(test_parameter_write_changes_the_next_forward),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
