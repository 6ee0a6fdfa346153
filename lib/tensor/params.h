/* The parameters of a network: one flat array of fp32, cut into matrices (slabs), each of
 * which may hold several named parameters as row ranges (q, k and v of a fused matrix).
 * Flat, so that the optimizer, the gradient norm, cloning and saving are one loop.
 *
 * Frozen parameters hold what products read in panels alone: rounded in a bf16
 * context, and half as large. They serve every forward pass with the same bits, and can
 * be read. */
#ifndef RLHF_TENSOR_PARAMS_H
#define RLHF_TENSOR_PARAMS_H

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>

#include <rlhf/context.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/file.h"
#include "kernels/operand.h"

/* A matrix [rows][cols] (a vector has rows == 1) at `offset` floats in the flat array, a
 * multiple of 16. Linear weights are [out][in]. */
typedef struct rlhf__slab {
    int64_t offset, rows, cols;
    int64_t first_row; /* rows of all slabs before it */
    float *values;  /* in the flat array, or in a mapped file: then not to be written */
    bool decay;     /* weight decay applies (matrices; not norms and biases) */
    bool exact;     /* read as it is, or small: fp32 in frozen parameters too */
    bool is_packed; /* frozen: `values` are the panels for y = x W^T, and nothing else */
    /* Packed copies, made when first asked for and remade when `version` moved on. */
    void *forward_panels;  /* for y = x W^T */
    void *backward_panels; /* for dx = dy W */
    uint64_t forward_version, backward_version;
    bool is_lent; /* forward_panels stand in memory that was lent */
} rlhf__slab;

/* A named parameter: rows [first_row, first_row + rows) of a slab. */
typedef struct rlhf__named {
    char name[96];
    int32_t slab;
    int64_t first_row, rows;
} rlhf__named;

typedef struct rlhf__params {
    rlhf_context *context;
    float *values; /* [count], padding between slabs is 0; NULL while files are mapped;
                      frozen: what the slabs say */
    int64_t count; /* of the flat array, and of a gradient */
    bool is_frozen;
    rlhf__file_map *maps; /* [num_maps] files that slabs stand in */
    int64_t num_maps;
    float *beside; /* the other slabs, end to end, while files are mapped */
    rlhf__slab *slabs;
    int32_t num_slabs;
    int64_t num_rows; /* of all slabs */
    rlhf__named *named;
    int32_t num_named;
    float *lent; /* memory for forward panels, somebody else's; NULL: none */
    int64_t lent_count, lent_used;
    uint64_t version; /* another after every write; no other weights have the same */
} rlhf__params;

/* Building: add slabs and names in order, then allocate once. */
rlhf_status rlhf__params_init(rlhf__params *params, rlhf_context *context);
rlhf_status rlhf__params_add_slab(rlhf__params *params, int64_t rows, int64_t cols,
                                  bool decay, int32_t *out_slab);
rlhf_status rlhf__params_add_name(rlhf__params *params, const char *name, int32_t slab,
                                  int64_t first_row, int64_t rows);
rlhf_status rlhf__params_allocate(rlhf__params *params);
/* The same for who then sets every parameter: only what pads them is 0. */
rlhf_status rlhf__params_allocate_unset(rlhf__params *params);
/* Zeroes what lies between the slabs of an array that is laid out as the values are. */
void rlhf__params_clear_padding(const rlhf__params *params, float *values);
/* The same, but slab i stands at in_place[i], in one of the files, unless that is NULL.
 * The files ([num_maps]) are taken over, to be closed; on failure they are not. */
rlhf_status rlhf__params_map(rlhf__params *params, float *const *in_place,
                             const rlhf__file_map *maps, int64_t num_maps);
/* Copies what stands in mapped files into a flat array and lets the files go: once,
 * before values are written. The values are the same, and so is the version. */
rlhf_status rlhf__params_own(rlhf__params *params);
void rlhf__params_let_go(rlhf__params *params); /* of the files */
void rlhf__params_free(rlhf__params *params);
/* Same layout, values copied, no packed copies, no mapped files; never frozen. */
rlhf_status rlhf__params_clone(const rlhf__params *params, rlhf__params *out);
/* Values of slabs [first, end) into those of parameters that lay them out alike. */
void rlhf__params_copy(const rlhf__params *params, int32_t first, int32_t end,
                       rlhf__params *out);

/* Not of a packed slab. */
static inline float *rlhf__slab_values(const rlhf__params *params, int32_t slab)
{
    assert(!params->slabs[slab].is_packed);
    return params->slabs[slab].values;
}
static inline float *rlhf__named_values(const rlhf__params *params,
                                        const rlhf__named *named)
{
    return rlhf__slab_values(params, named->slab) +
           named->first_row * params->slabs[named->slab].cols;
}
/* Rows [first, first + count) of a slab, [count][cols], whatever it is held in. */
void rlhf__params_read(const rlhf__params *params, int32_t slab, int64_t first,
                       int64_t count, float *out);
/* All slabs into a flat array. */
void rlhf__params_read_flat(const rlhf__params *params, float *out);
/* Freezes; the values that products see, and so the version, stay. Failing, it changes
 * nothing. Already frozen: nothing to do. */
rlhf_status rlhf__params_freeze(rlhf__params *params);
/* Frozen parameters take the values of a flat array. */
void rlhf__params_refreeze(rlhf__params *params, const float *flat);
/* Every write to values goes between these: begin hands out the array, which must be the
 * parameters' own and not frozen, end bumps the version. */
float *rlhf__params_begin_write(rlhf__params *params);
void rlhf__params_end_write(rlhf__params *params);

/* Packed copies, current with `version`. */
void rlhf__params_drop_panels(rlhf__params *params);
rlhf_status rlhf__params_forward_panels(rlhf__params *params, int32_t slab,
                                        const void **out_panels);
rlhf_status rlhf__params_backward_panels(rlhf__params *params, int32_t slab,
                                         const void **out_panels);
/* y[m][n] = (accumulate ? y : 0) + x W^T (forward; n = the slab's rows) or x W (n = its
 * columns), + bias[n] where not NULL: through the packed copy where it is current or, by
 * `keep`, made and kept, else from the slab itself. The bits are the same. */
rlhf_status rlhf__params_matmul(rlhf__params *params, int32_t slab, bool forward,
                                bool keep, rlhf__arena *scratch, rlhf__operand x,
                                int64_t m, const float *bias, bool accumulate, float *y,
                                int64_t ldy);
/* Forward panels that are made from here on stand in `memory` ([count], 64-byte aligned)
 * as far as it goes. They are gone with rlhf__params_take_back, before the lender writes
 * there. */
void rlhf__params_lend(rlhf__params *params, float *memory, int64_t count);
void rlhf__params_take_back(rlhf__params *params); /* nothing lent: a no-op */
/* NULL if there is no such name. */
const rlhf__named *rlhf__params_find(const rlhf__params *params, const char *name);
/* Number of real parameters (padding not counted). */
int64_t rlhf__params_num(const rlhf__params *params);

#endif
