/* Gradient and optimizer of one network. */
#include "train/learner.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "base/context.h"
#include "base/number.h"
#include "base/size.h"
#include "kernels/kernels.h"

/* Of a token table that is not the head, too, only the rows that batches read are ever
 * written, here and there. A policy's gradient lends its memory to packed copies, which
 * are streamed; a scalar model's does not. */
static void expect_few_rows(rlhf__learner *l)
{
    const rlhf__slab *table = &l->net->params.slabs[l->net->token_table];
    const int64_t size = table->rows * table->cols * (int64_t)sizeof(float);

    if (l->net->head_weight == l->net->token_table)
        return;
    rlhf__context_use_small_pages(l->context, l->adamw.m + table->offset, size);
    rlhf__context_use_small_pages(l->context, l->adamw.v + table->offset, size);
    if (l->net->score_weight >= 0)
        rlhf__context_use_small_pages(l->context, l->grads.values + table->offset, size);
}

rlhf_status rlhf__learner_init(rlhf__learner *l, rlhf__transformer *net,
                               const rlhf__learner_settings *settings)
{
    const rlhf__adamw_settings adamw = {settings->beta1, settings->beta2,
                                        settings->epsilon, settings->weight_decay,
                                        settings->adam_form};

    memset(l, 0, sizeof *l);
    if (net->params.is_frozen)
        return rlhf__fail(RLHF_ERR_STATE, "a frozen model cannot be trained");
    l->context = net->context;
    l->net = net;
    l->max_grad_norm = settings->max_grad_norm;
    RLHF__TRY(rlhf__params_own(&net->params));
    RLHF__TRY(rlhf__grads_init(&l->grads, &net->params));
    RLHF__TRY(rlhf__adamw_init(&l->adamw, &net->params, &adamw));
    expect_few_rows(l);
    return RLHF_OK;
}

void rlhf__learner_free(rlhf__learner *l)
{
    rlhf__grads_free(&l->grads);
    rlhf__adamw_free(&l->adamw);
}

void rlhf__learner_zero_grads(rlhf__learner *l)
{
    rlhf__grads_clear(&l->grads);
}

rlhf_status rlhf__learner_norm(rlhf__learner *l, double scale, const char *what,
                               double *out_norm)
{
    return rlhf__grad_norm(&l->grads, scale, what, out_norm);
}

void rlhf__learner_apply(rlhf__learner *l, double learning_rate, double scale,
                         double norm)
{
    rlhf__adamw_apply(&l->adamw, &l->net->params, &l->grads, learning_rate,
                      scale * rlhf__clip_factor(norm, l->max_grad_norm));
}

rlhf_status rlhf__learner_gradient(const rlhf__learner *l, const char *name, double scale,
                                   float *out_values, int64_t count)
{
    const rlhf__params *params = &l->net->params;
    const rlhf__named *named = rlhf__params_find(params, name);

    if (!named)
        return rlhf__fail(RLHF_ERR_NOT_FOUND, "no parameter \"%.96s\"", name);
    const rlhf__slab *slab = &params->slabs[named->slab];
    if (count != named->rows * slab->cols)
        return rlhf__fail_arg("count",
                              "count must be %" PRId64 " for \"%s\", got %" PRId64,
                              named->rows * slab->cols, named->name, count);
    for (int64_t i = 0; i < count; i++) {
        const int64_t row = named->first_row + i / slab->cols;
        const float *from = l->grads.values + slab->offset + row * slab->cols;
        out_values[i] = rlhf__grads_has(&l->grads, named->slab, row)
                            ? (float)(scale * (double)from[i % slab->cols])
                            : 0.0f;
    }
    return RLHF_OK;
}

/* --- saved state: PREFIX.weights/…, PREFIX.adam_m/…, PREFIX.adam_v/…,
 * PREFIX.adam_step */

enum { NAME_SIZE = 64 };

static const char *join(char out[NAME_SIZE], const char *prefix, const char *name)
{
    (void)snprintf(out, NAME_SIZE, "%s.%s", prefix, name);
    return out;
}

rlhf_status rlhf__learner_put(rlhf__learner *l, const char *prefix,
                              rlhf__state_writer *writer)
{
    const rlhf__params *params = &l->net->params;
    char name[NAME_SIZE], config[65];

    RLHF__TRY(rlhf__state_put_i64(writer, join(name, prefix, "parameters"),
                                  rlhf__params_num(params)));
    rlhf__transformer_fingerprint(l->net, config);
    RLHF__TRY(rlhf__state_put_bytes(writer, join(name, prefix, "config"), config,
                                    sizeof config - 1));
    RLHF__TRY(
        rlhf__state_put_i64(writer, join(name, prefix, "adam_step"), l->adamw.step));
    RLHF__TRY(rlhf__state_put_params(writer, join(name, prefix, "weights"), params,
                                     params->values));
    rlhf__adamw_settle(&l->adamw, params);
    RLHF__TRY(
        rlhf__state_put_params(writer, join(name, prefix, "adam_m"), params, l->adamw.m));
    return rlhf__state_put_params(writer, join(name, prefix, "adam_v"), params,
                                  l->adamw.v);
}

/* Equal shapes do not make an equal function. */
static rlhf_status check_config(const rlhf__learner *l, const char *prefix,
                                const rlhf__state_reader *reader)
{
    char name[NAME_SIZE], config[65];
    const void *saved = NULL;
    int64_t size = 0;

    RLHF__TRY(rlhf__state_get_bytes(reader, join(name, prefix, "config"), &saved, &size));
    rlhf__transformer_fingerprint(l->net, config);
    if (size != sizeof config - 1 || memcmp(saved, config, sizeof config - 1) != 0)
        return rlhf__fail(RLHF_ERR_INVALID_ARG,
                          "the state is of a %s with another config: its heads, "
                          "positions, norms, activation or end-of-sequence token differ",
                          prefix);
    return RLHF_OK;
}

rlhf_status rlhf__learner_check(const rlhf__learner *l, const char *prefix,
                                const rlhf__state_reader *reader)
{
    const rlhf__params *params = &l->net->params;
    char name[NAME_SIZE];
    int64_t saved = 0, step = 0;

    RLHF__TRY(rlhf__state_get_i64(reader, join(name, prefix, "parameters"), &saved));
    if (saved != rlhf__params_num(params))
        return rlhf__fail(RLHF_ERR_INVALID_ARG,
                          "the state is of a %s of %" PRId64
                          " parameters, this one has %" PRId64,
                          prefix, saved, rlhf__params_num(params));
    RLHF__TRY(check_config(l, prefix, reader));
    RLHF__TRY(rlhf__state_get_range(reader, join(name, prefix, "adam_step"), 0,
                                    RLHF__COUNT_MAX, &step));
    RLHF__TRY(rlhf__state_get_params(reader, join(name, prefix, "weights"), params,
                                     RLHF__STATE_FINITE, NULL));
    RLHF__TRY(rlhf__state_get_params(reader, join(name, prefix, "adam_m"), params,
                                     RLHF__STATE_FINITE, NULL));
    return rlhf__state_get_params(reader, join(name, prefix, "adam_v"), params,
                                  RLHF__STATE_NOT_NEGATIVE, NULL);
}

rlhf_status rlhf__learner_get(rlhf__learner *l, const char *prefix,
                              const rlhf__state_reader *reader)
{
    rlhf__params *params = &l->net->params;
    char name[NAME_SIZE];
    rlhf_status status;

    RLHF__TRY(
        rlhf__state_get_i64(reader, join(name, prefix, "adam_step"), &l->adamw.step));
    status = rlhf__state_get_params(reader, join(name, prefix, "weights"), params,
                                    RLHF__STATE_FINITE, rlhf__params_begin_write(params));
    rlhf__params_end_write(params);
    RLHF__TRY(status);
    RLHF__TRY(rlhf__state_get_params(reader, join(name, prefix, "adam_m"), params,
                                     RLHF__STATE_FINITE, l->adamw.m));
    RLHF__TRY(rlhf__state_get_params(reader, join(name, prefix, "adam_v"), params,
                                     RLHF__STATE_NOT_NEGATIVE, l->adamw.v));
    rlhf__adamw_find_moments(&l->adamw, params);
    return RLHF_OK;
}

rlhf_status rlhf__learner_check_rate(const rlhf__learner *l, const char *field,
                                     double value)
{
    if (!((float)value > 0.0f) || !rlhf__is_finite_float(value))
        return rlhf__fail_arg(field, "%s must be > 0 and finite as a float, got %g",
                              field, value);
    return rlhf__adamw_check_rate(&l->adamw.settings, field, value);
}

int64_t rlhf__now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}
