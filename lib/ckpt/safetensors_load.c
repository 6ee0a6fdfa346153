/* Whole tensors into their places, by all threads. Each takes a piece of a tensor, reads
 * it, straight into its place where it can lie there as it is, else converts and turns
 * it, and looks at every value while the piece is in its cache. A piece that fails says
 * so in its own record, and the calling thread tells of the first. */
#include <inttypes.h>
#include <math.h>

#include "base/alloc.h"
#include "base/context.h"
#include "base/size.h"
#include "ckpt/safetensors_internal.h"
#include "kernels/kernels.h"

#define PIECE_FLOATS  ((int64_t)1 << 16)
#define TURNED_FLOATS ((int64_t)1 << 17) /* of a turned one */
#define BATCH         16 /* pieces of each thread between two looks at cancellation */
#define CACHE_LINE    16 /* floats */

enum piece_state { PIECE_OK, PIECE_UNREAD, PIECE_NOT_FINITE };

/* Rows [first, first + rows) of a tensor, as they lie in the file. */
typedef struct piece {
    int64_t load, first, rows;
    enum piece_state state;
    rlhf__read_fault fault;
} piece;

typedef struct load_job {
    rlhf_context *context;
    const rlhf__tensor_load *loads;
    piece *pieces;
    int64_t num_pieces;
    int64_t begin; /* of the batch */
    /* For each thread, a piece: its bytes, and its elements in the file's order. */
    unsigned char *bytes;
    float *floats;
    int64_t bytes_each, floats_each;
} load_job;

/* Floats of what counts as a row: of a tensor that lies in its place as in the file, each
 * element by itself. */
static int64_t row_floats(const rlhf__tensor_load *load)
{
    return load->transposed ? load->rows : 1;
}

/* Rows of a piece. Those of a turned tensor become columns: whole cache lines of them,
 * and several where they fit. */
static int64_t piece_rows(const rlhf__tensor_load *load)
{
    const int64_t most = load->transposed ? TURNED_FLOATS : PIECE_FLOATS;
    const int64_t rows = most / row_floats(load);

    return rlhf__max_i64(rows - rows % CACHE_LINE, CACHE_LINE);
}

static bool read_piece(load_job *job, piece *p, int32_t thread)
{
    const rlhf__tensor_load *load = &job->loads[p->load];
    const rlhf__tensor_entry *entry = load->entry;
    const int64_t width = row_floats(load), count = p->rows * width;
    const int64_t size = rlhf__dtype_size(entry->dtype);
    const int64_t at = load->file->data_start + entry->begin + p->first * width * size;
    unsigned char *bytes = job->bytes + thread * job->bytes_each;
    float *place = load->values + p->first;
    float *floats = load->transposed ? job->floats + thread * job->floats_each : place;

    if (entry->dtype == RLHF__DTYPE_F32) {
        if (!load->is_there &&
            !rlhf__read_at(load->file->fd, floats, count * size, at, &p->fault))
            return false;
    } else {
        if (!rlhf__read_at(load->file->fd, bytes, count * size, at, &p->fault))
            return false;
        rlhf__tensor_to_f32(entry->dtype, bytes, count, floats);
    }
    if (!rlhf__all_finite(job->context, floats, count))
        p->state = PIECE_NOT_FINITE;
    if (load->transposed)
        rlhf__turn(job->context, floats, width, p->rows, width, place, load->cols);
    return true;
}

static void load_piece(void *arg, int64_t tile, int32_t thread)
{
    load_job *job = arg;
    piece *p = &job->pieces[job->begin + tile];

    if (!read_piece(job, p, thread))
        p->state = PIECE_UNREAD;
}

static rlhf_status fail_not_finite(const rlhf__tensor_load *load, const piece *p)
{
    const int64_t width = row_floats(load), end = (p->first + p->rows) * width;
    const char *name = load->entry->name;

    for (int64_t i = p->first * width; i < end; i++) {
        const int64_t row = i / width, col = i % width;
        const float value = load->values[col * load->cols + row];
        if (!isfinite(value))
            return rlhf__fail_at(RLHF_ERR_NUMERIC, load->file->path, 0, 0, name,
                                 "tensor \"%s\": element %" PRId64 " is %f", name, i,
                                 (double)value);
    }
    return rlhf__fail(RLHF_ERR_INTERNAL, "tensor \"%s\": no value is at fault", name);
}

/* The first of the batch's pieces that failed. */
static rlhf_status check_batch(const load_job *job, int64_t count)
{
    for (int64_t i = job->begin; i < job->begin + count; i++) {
        const piece *p = &job->pieces[i];
        const rlhf__tensor_load *load = &job->loads[p->load];
        if (p->state == PIECE_UNREAD)
            return rlhf__fail_read(load->file->path, &p->fault);
        if (p->state == PIECE_NOT_FINITE)
            return fail_not_finite(load, p);
    }
    return RLHF_OK;
}

static rlhf_status run_batches(load_job *job)
{
    const int64_t batch = (int64_t)BATCH * rlhf__pool_num_threads(job->context->pool);

    while (job->begin < job->num_pieces) {
        const int64_t count = rlhf__min_i64(batch, job->num_pieces - job->begin);
        RLHF__TRY(rlhf__progress(job->context, "load", job->begin, job->num_pieces));
        rlhf__pool_run(job->context->pool, count, load_piece, job);
        RLHF__TRY(check_batch(job, count));
        job->begin += count;
    }
    rlhf__progress_end(job->context, "load", job->num_pieces);
    return RLHF_OK;
}

/* Pieces of a tensor, in `out` where it is not NULL. */
static int64_t cut(const rlhf__tensor_load *load, int64_t index, piece *out)
{
    const int64_t rows = load->entry->count / row_floats(load), step = piece_rows(load);
    int64_t count = 0;

    for (int64_t first = 0; first < rows; first += step, count++)
        if (out)
            out[count] = (piece){
                .load = index, .first = first, .rows = rlhf__min_i64(step, rows - first)};
    return count;
}

static rlhf_status make_pieces(load_job *job, int64_t count)
{
    const int64_t threads = rlhf__pool_num_threads(job->context->pool);
    int64_t next = 0;

    for (int64_t i = 0; i < count; i++) {
        const rlhf__tensor_load *load = &job->loads[i];
        const int64_t floats = piece_rows(load) * row_floats(load);
        RLHF__TRY(rlhf__tensor_check_float(load->file, load->entry));
        job->num_pieces += cut(load, i, NULL);
        if (load->transposed)
            job->floats_each = rlhf__max_i64(job->floats_each, floats);
        if (load->entry->dtype != RLHF__DTYPE_F32)
            job->bytes_each = rlhf__max_i64(
                job->bytes_each, floats * rlhf__dtype_size(load->entry->dtype));
    }
    RLHF__TRY(rlhf__alloc_raw(job->context, job->num_pieces, sizeof *job->pieces,
                              RLHF_MEMORY_GENERAL, &job->pieces));
    for (int64_t i = 0; i < count; i++)
        next += cut(&job->loads[i], i, job->pieces + next);
    RLHF__TRY(rlhf__alloc_raw(job->context, threads * job->bytes_each, 1,
                              RLHF_MEMORY_GENERAL, &job->bytes));
    return rlhf__alloc_raw(job->context, threads * job->floats_each, sizeof *job->floats,
                           RLHF_MEMORY_GENERAL, &job->floats);
}

rlhf_status rlhf__tensors_load(rlhf_context *context, const rlhf__tensor_load *loads,
                               int64_t count)
{
    load_job job = {.context = context, .loads = loads};
    rlhf_status status = make_pieces(&job, count);

    if (status == RLHF_OK)
        status = run_batches(&job);
    rlhf__free(job.pieces);
    rlhf__free(job.bytes);
    rlhf__free(job.floats);
    return status;
}
