/* Flat parameters, their names and their packed copies. */
#include "tensor/params.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/context.h"
#include "base/size.h"
#include "kernels/kernels.h"

#define SLAB_ALIGNMENT 16 /* floats: 64 bytes */

rlhf_status rlhf__params_init(rlhf__params *params, rlhf_context *context)
{
    *params = (rlhf__params){.context = context,
                             .version = rlhf__context_next_version(context)};
    return RLHF_OK;
}

/* Room for one more element; arrays grow by doubling at powers of two. */
static rlhf_status make_room(rlhf_context *context, void *array, int32_t count,
                             size_t size)
{
    int64_t capacity = 0;

    if (count > 0)
        for (capacity = 16; capacity < count;)
            capacity *= 2;
    return rlhf__grow(context, array, &capacity, (int64_t)count + 1, size);
}

rlhf_status rlhf__params_add_slab(rlhf__params *params, int64_t rows, int64_t cols,
                                  bool decay, int32_t *out_slab)
{
    size_t size = 0;

    if (rows < 1 || cols < 1 || !rlhf__size_mul((size_t)rows, (size_t)cols, &size) ||
        size > ((size_t)1 << 40) || params->count > (int64_t)1 << 40)
        return rlhf__fail(RLHF_ERR_LIMIT,
                          "a parameter of %" PRId64 " x %" PRId64 " is too large", rows,
                          cols);
    RLHF__TRY(make_room(params->context, &params->slabs, params->num_slabs,
                        sizeof *params->slabs));
    *out_slab = params->num_slabs;
    params->slabs[params->num_slabs++] = (rlhf__slab){.offset = params->count,
                                                      .first_row = params->num_rows,
                                                      .rows = rows,
                                                      .cols = cols,
                                                      .decay = decay,
                                                      .exact = !decay};
    params->num_rows += rows;
    params->count += rlhf__ceil_div((int64_t)size, SLAB_ALIGNMENT) * SLAB_ALIGNMENT;
    return RLHF_OK;
}

rlhf_status rlhf__params_add_name(rlhf__params *params, const char *name, int32_t slab,
                                  int64_t first_row, int64_t rows)
{
    RLHF__TRY(make_room(params->context, &params->named, params->num_named,
                        sizeof *params->named));
    rlhf__named *named = &params->named[params->num_named];
    *named = (rlhf__named){.slab = slab, .first_row = first_row, .rows = rows};
    int size = snprintf(named->name, sizeof named->name, "%s", name);
    if (size < 0 || size >= (int)sizeof named->name)
        return rlhf__fail(RLHF_ERR_LIMIT, "the parameter name %s is too long", name);
    params->num_named++;
    return RLHF_OK;
}

/* Slabs follow each other in the flat array. */
static void lay_out(rlhf__params *params)
{
    for (int32_t i = 0; i < params->num_slabs; i++)
        params->slabs[i].values = params->values + params->slabs[i].offset;
}

/* Floats from a slab's begin to the next one's. */
static int64_t slab_room(const rlhf__slab *slab)
{
    return rlhf__ceil_div(slab->rows * slab->cols, SLAB_ALIGNMENT) * SLAB_ALIGNMENT;
}

void rlhf__params_clear_padding(const rlhf__params *params, float *values)
{
    for (int32_t i = 0; i < params->num_slabs; i++) {
        const rlhf__slab *slab = &params->slabs[i];
        for (int64_t j = slab->rows * slab->cols; j < slab_room(slab); j++)
            values[slab->offset + j] = 0.0f;
    }
}

rlhf_status rlhf__params_allocate(rlhf__params *params)
{
    RLHF__TRY(rlhf__alloc(params->context, params->count, sizeof *params->values,
                          RLHF_MEMORY_WEIGHTS, &params->values));
    lay_out(params);
    return RLHF_OK;
}

rlhf_status rlhf__params_allocate_unset(rlhf__params *params)
{
    RLHF__TRY(rlhf__alloc_raw(params->context, params->count, sizeof *params->values,
                              RLHF_MEMORY_WEIGHTS, &params->values));
    lay_out(params);
    RLHF__TRY(rlhf__context_touch(params->context, params->values,
                                  params->count * (int64_t)sizeof *params->values));
    rlhf__params_clear_padding(params, params->values);
    return RLHF_OK;
}

rlhf_status rlhf__params_map(rlhf__params *params, float *const *in_place,
                             const rlhf__file_map *maps, int64_t num_maps)
{
    int64_t count = 0, next = 0;

    for (int32_t i = 0; i < params->num_slabs; i++)
        count += in_place[i] ? 0 : slab_room(&params->slabs[i]);
    RLHF__TRY(rlhf__alloc_raw(params->context, count, sizeof *params->beside,
                              RLHF_MEMORY_WEIGHTS, &params->beside));
    rlhf_status status = rlhf__alloc_raw(params->context, num_maps, sizeof *params->maps,
                                         RLHF_MEMORY_GENERAL, &params->maps);
    if (status != RLHF_OK) {
        rlhf__free(params->beside);
        params->beside = NULL;
        return status;
    }
    memcpy(params->maps, maps, (size_t)num_maps * sizeof *maps);
    params->num_maps = num_maps;
    for (int32_t i = 0; i < params->num_slabs; i++) {
        params->slabs[i].values = in_place[i] ? in_place[i] : params->beside + next;
        next += in_place[i] ? 0 : slab_room(&params->slabs[i]);
    }
    return RLHF_OK;
}

void rlhf__params_let_go(rlhf__params *params)
{
    for (int64_t i = 0; i < params->num_maps; i++)
        rlhf__file_map_close(&params->maps[i]);
    rlhf__free(params->maps);
    rlhf__free(params->beside);
    params->maps = NULL;
    params->num_maps = 0;
    params->beside = NULL;
}

rlhf_status rlhf__params_own(rlhf__params *params)
{
    if (params->num_maps == 0)
        return RLHF_OK;
    RLHF__TRY(rlhf__alloc_raw(params->context, params->count, sizeof *params->values,
                              RLHF_MEMORY_WEIGHTS, &params->values));
    for (int32_t i = 0; i < params->num_slabs; i++) {
        const rlhf__slab *slab = &params->slabs[i];
        memcpy(params->values + slab->offset, slab->values,
               (size_t)(slab->rows * slab->cols) * sizeof *params->values);
    }
    lay_out(params);
    rlhf__params_clear_padding(params, params->values);
    rlhf__params_let_go(params);
    return RLHF_OK;
}

void rlhf__params_drop_panels(rlhf__params *params)
{
    rlhf__params_take_back(params);
    for (int32_t i = 0; i < params->num_slabs; i++) {
        rlhf__slab *s = &params->slabs[i];
        rlhf__free(s->forward_panels);
        rlhf__free(s->backward_panels);
        s->forward_panels = s->backward_panels = NULL;
        s->forward_version = s->backward_version = 0;
    }
}

void rlhf__params_free(rlhf__params *params)
{
    rlhf__params_drop_panels(params);
    rlhf__free(params->slabs);
    rlhf__free(params->named);
    rlhf__free(params->values);
    rlhf__params_let_go(params);
    *params = (rlhf__params){0};
}

rlhf_status rlhf__params_clone(const rlhf__params *params, rlhf__params *out)
{
    RLHF__TRY(rlhf__params_init(out, params->context));
    for (int32_t i = 0; i < params->num_slabs; i++) {
        int32_t slab = -1;
        const rlhf__slab *from = &params->slabs[i];
        RLHF__TRY(rlhf__params_add_slab(out, from->rows, from->cols, from->decay, &slab));
        out->slabs[slab].exact = from->exact;
    }
    for (int32_t i = 0; i < params->num_named; i++) {
        const rlhf__named *from = &params->named[i];
        RLHF__TRY(rlhf__params_add_name(out, from->name, from->slab, from->first_row,
                                        from->rows));
    }
    RLHF__TRY(rlhf__params_allocate(out));
    rlhf__params_copy(params, 0, params->num_slabs, out);
    return RLHF_OK;
}

void rlhf__params_copy(const rlhf__params *params, int32_t first, int32_t end,
                       rlhf__params *out)
{
    for (int32_t i = first; i < end; i++)
        rlhf__params_read(params, i, 0, params->slabs[i].rows, out->slabs[i].values);
}

float *rlhf__params_begin_write(rlhf__params *params)
{
    assert(params->values && !params->is_frozen);
    return params->values;
}

void rlhf__params_end_write(rlhf__params *params)
{
    params->version = rlhf__context_next_version(params->context);
}

/* --- packed copies ------------------------------------------------------------------ */

void rlhf__params_lend(rlhf__params *params, float *memory, int64_t count)
{
    rlhf__params_take_back(params);
    params->lent = memory;
    params->lent_count = count;
}

void rlhf__params_take_back(rlhf__params *params)
{
    for (int32_t i = 0; params->lent && i < params->num_slabs; i++) {
        rlhf__slab *s = &params->slabs[i];
        if (!s->is_lent)
            continue;
        s->forward_panels = NULL;
        s->forward_version = 0;
        s->is_lent = false;
    }
    params->lent = NULL;
    params->lent_count = params->lent_used = 0;
}

/* Room in the lent memory, where there is enough left of it. */
static void borrow(rlhf__params *params, rlhf__slab *s)
{
    const int64_t size = rlhf__panels_size(params->context, s->cols, s->rows);
    const int64_t aligned = rlhf__ceil_div(size, SLAB_ALIGNMENT) * SLAB_ALIGNMENT;

    if (aligned > params->lent_count - params->lent_used)
        return;
    s->forward_panels = params->lent + params->lent_used;
    s->is_lent = true;
    params->lent_used += aligned;
}

/* forward: B = W^T, k = cols, n = rows. backward: B = W, k = rows, n = cols. */
static rlhf_status current_panels(rlhf__params *params, int32_t index, bool forward,
                                  void **panels, uint64_t *version, const void **out)
{
    const rlhf__slab *slab = &params->slabs[index];
    int64_t k = forward ? slab->cols : slab->rows, n = forward ? slab->rows : slab->cols;

    if (!*panels)
        RLHF__TRY(rlhf__alloc_raw(params->context,
                                  rlhf__panels_size(params->context, k, n), sizeof(float),
                                  RLHF_MEMORY_PACKED, panels));
    if (*version != params->version) {
        rlhf__pack_panels(params->context, rlhf__slab_values(params, index), slab->cols,
                          forward, k, n, *panels);
        *version = params->version;
    }
    *out = *panels;
    return RLHF_OK;
}

rlhf_status rlhf__params_forward_panels(rlhf__params *params, int32_t slab,
                                        const void **out_panels)
{
    rlhf__slab *s = &params->slabs[slab];

    if (s->is_packed) {
        *out_panels = s->values;
        return RLHF_OK;
    }
    if (!s->forward_panels && params->lent)
        borrow(params, s);
    return current_panels(params, slab, true, &s->forward_panels, &s->forward_version,
                          out_panels);
}

rlhf_status rlhf__params_backward_panels(rlhf__params *params, int32_t slab,
                                         const void **out_panels)
{
    rlhf__slab *s = &params->slabs[slab];

    return current_panels(params, slab, false, &s->backward_panels, &s->backward_version,
                          out_panels);
}

rlhf_status rlhf__params_matmul(rlhf__params *params, int32_t slab, bool forward,
                                bool keep, rlhf__arena *scratch, rlhf__operand x,
                                int64_t m, const float *bias, bool accumulate, float *y,
                                int64_t ldy)
{
    rlhf__slab *s = &params->slabs[slab];
    int64_t k = forward ? s->cols : s->rows, n = forward ? s->rows : s->cols;
    uint64_t version = forward ? s->forward_version : s->backward_version;
    const void *panels = NULL;

    assert(forward || !s->is_packed);
    if (!s->is_packed && version != params->version && !keep)
        return rlhf__matmul_unpacked(params->context, scratch, x, m, k, n,
                                     rlhf__slab_values(params, slab), s->cols, forward,
                                     bias, accumulate, y, ldy);
    RLHF__TRY(forward ? rlhf__params_forward_panels(params, slab, &panels)
                      : rlhf__params_backward_panels(params, slab, &panels));
    return rlhf__matmul(params->context, scratch, x, m, k, n, panels, bias, accumulate, y,
                        ldy);
}

const rlhf__named *rlhf__params_find(const rlhf__params *params, const char *name)
{
    for (int32_t i = 0; i < params->num_named; i++)
        if (strcmp(params->named[i].name, name) == 0)
            return &params->named[i];
    return NULL;
}

int64_t rlhf__params_num(const rlhf__params *params)
{
    int64_t count = 0;

    for (int32_t i = 0; i < params->num_slabs; i++)
        count += params->slabs[i].rows * params->slabs[i].cols;
    return count;
}
