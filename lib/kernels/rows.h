/* Threads over tiles and over rows: chunks of rows that the shape fixes; rows that are
 * rounded on their way out. */
#ifndef RLHF_KERNELS_ROWS_H
#define RLHF_KERNELS_ROWS_H

#include "base/size.h"
#include "kernels/bf16.h"
#include "kernels/table.h"

#define RLHF__ROW_WORK   16384 /* elements of a chunk, at most about */
#define RLHF__ROW_LEAST  2048  /* where these are enough for */
#define RLHF__ROW_CHUNKS 8     /* chunks to share out evenly */

/* Multiply-adds below which the calling thread alone is done sooner than others wake. */
#define RLHF__SMALL_WORK ((int64_t)1 << 16)

/* All tiles; `work`, about how many multiply-adds they are, decides where they run. */
void rlhf__run_tiles(rlhf_context *ctx, int64_t work, int64_t tiles, rlhf__tile_fn fn,
                     void *arg);

/* Rows [first, last) of a job. */
typedef void (*rlhf__rows_fn)(void *arg, int64_t first, int64_t last);

/* Rows in a chunk of `rows` rows of `width` elements. */
static inline int64_t rlhf__row_chunk(int64_t rows, int64_t width)
{
    const int64_t least = RLHF__ROW_LEAST / rlhf__max_i64(1, width);
    const int64_t most = RLHF__ROW_WORK / rlhf__max_i64(1, width);
    const int64_t fair = rlhf__max_i64(least, rlhf__ceil_div(rows, RLHF__ROW_CHUNKS));

    return rlhf__max_i64(1, rlhf__min_i64(most, fair));
}

/* Calls fn on all chunks of `rows` rows; small work on the calling thread. */
void rlhf__for_rows(rlhf_context *ctx, int64_t rows, int64_t width, rlhf__rows_fn fn,
                    void *arg);

/* Where a job over rows leaves its result. */
typedef struct rlhf__out_rows {
    float *floats; /* [rows][width] */
    int64_t width;
    /* Halves come by way of one row of floats a chunk. */
    const rlhf__bf16_kernels *bf16; /* NULL: the result is floats */
    uint32_t *words;                /* [rows][ld] */
    int64_t ld, chunk;
} rlhf__out_rows;

/* rlhf__for_rows, in chunks for rows of `work` elements, with *out ready for rows of
 * `width`. `scratch` serves halves alone. */
rlhf_status rlhf__for_out_rows(rlhf_context *ctx, rlhf__arena *scratch, rlhf__result y,
                               int64_t rows, int64_t width, int64_t work,
                               rlhf__rows_fn fn, void *arg, rlhf__out_rows *out);
/* Where to write row i; when it is written, put does the rest. */
static inline float *rlhf__out_row(const rlhf__out_rows *out, int64_t i)
{
    return out->floats + (out->bf16 ? i / out->chunk : i) * out->width;
}
void rlhf__out_row_put(const rlhf__out_rows *out, int64_t i);

#endif
