/* Tiles of a matrix product: packing, and a grid of tiles that threads share. See
 * docs/kernels.md. */
#include "kernels/matmul_tiles.h"

#include "kernels/rows.h"

#define TILES_PER_THREAD 4
#define TILE_GROUPS      12 /* fewest of a tile that packs its own left side */
#define TILE_PANELS      8  /* most of a tile whose left side came packed */
#define FEW_GROUPS       8
#define FEW_STREAMS      4 /* in which a panel is asked for */
#define PACK_GROUPS      8 /* of a tile, at most */
#define PACK_TILES       2 /* of a thread, at least */
#define PACK_WORK        8 /* multiply-adds that take as long as packing an element */
#define PACK_ROWS        16
#define PACK_K           128 /* with 16 lanes; a multiple of PACK_ROWS */

/* The first of `n` rows in a group of the left side, up to `width` rows each. A rest is
 * shared by the last two groups: two rows by themselves take as long as four. */
static int64_t group_begin(int64_t n, int64_t width, int64_t group)
{
    int64_t groups = rlhf__ceil_div(n, width);

    if (group == groups)
        return n;
    if (group > 0 && group == groups - 1)
        return n - (n - (group - 1) * width) / 2;
    return group * width;
}

/* --- packing ------------------------------------------------------------------------ */

typedef struct pack_job {
    const rlhf__kernels *table;
    const float *src;
    int64_t ld, k, n, width; /* groups of `width` columns */
    bool transposed;         /* src is [n][k] */
    bool left;               /* groups are of group_begin */
    int64_t tile_groups;
    float *out;
} pack_job;

/* k in [k0, k1) of groups [first, last), of rows that are copied PACK_ROWS at a time, so
 * that they are read along more than one group's columns. */
static void pack_some(const pack_job *job, int64_t k0, int64_t k1, int64_t first,
                      int64_t last, float *out)
{
    int64_t w = job->width, ld = job->ld, step = job->transposed ? k1 - k0 : PACK_ROWS;

    for (int64_t p = k0; p < k1; p += step)
        for (int64_t group = first; group < last; group++) {
            int64_t j = job->left ? group_begin(job->n, w, group) : group * w;
            int64_t end = job->left ? group_begin(job->n, w, group + 1)
                                    : rlhf__min_i64(j + w, job->n);
            int64_t rows = rlhf__min_i64(step, k1 - p);
            float *to = out + ((group - first) * job->k + p) * w;
            if (job->transposed)
                job->table->pack_turned(job->src + j * ld + p, ld, rows, end - j, w, to);
            else
                job->table->pack_copied(job->src + p * ld + j, ld, rows, end - j, w, to);
        }
}

/* k of a tile. Cut along k, a few hundred columns share out evenly; with few lanes that
 * does not pay. */
static int64_t pack_k(const pack_job *job)
{
    return job->table->lanes == 16 ? PACK_K : rlhf__max_i64(job->k, 1);
}

static void pack_tile(void *arg, int64_t tile, int32_t thread)
{
    const pack_job *job = arg;
    int64_t step = pack_k(job), parts = rlhf__ceil_div(job->k, step);
    int64_t k0 = tile % parts * step;
    int64_t first = tile / parts * job->tile_groups;
    int64_t last =
        rlhf__min_i64(first + job->tile_groups, rlhf__ceil_div(job->n, job->width));

    (void)thread;
    pack_some(job, k0, rlhf__min_i64(k0 + step, job->k), first, last,
              job->out + first * job->k * job->width);
}

static void run_pack(rlhf_context *ctx, pack_job *job)
{
    const int64_t wanted = PACK_TILES * rlhf__pool_num_threads(ctx->pool);
    const int64_t groups = rlhf__ceil_div(job->n, job->width);

    job->table = rlhf__table(ctx);
    const int64_t parts = rlhf__ceil_div(job->k, pack_k(job));
    job->tile_groups = PACK_GROUPS;
    while (job->tile_groups > 1 &&
           rlhf__ceil_div(groups, job->tile_groups) * parts < wanted)
        job->tile_groups /= 2;
    rlhf__run_tiles(ctx, PACK_WORK * job->k * job->n,
                    rlhf__ceil_div(groups, job->tile_groups) * parts, pack_tile, job);
}

void rlhf__pack_right(rlhf_context *ctx, const float *src, int64_t ld, bool transposed,
                      int64_t k, int64_t n, float *out_panels)
{
    pack_job job = {.src = src,
                    .ld = ld,
                    .k = k,
                    .n = n,
                    .width = rlhf__table(ctx)->panel,
                    .transposed = transposed,
                    .out = out_panels};

    run_pack(ctx, &job);
}

/* The left side of k in [k0, k1). */
static pack_job left_side(const rlhf__product *job, int64_t k0, int64_t k1)
{
    return (pack_job){.table = job->table,
                      .src = job->x + (job->x_columns ? k0 * job->ldx : k0),
                      .ld = job->ldx,
                      .k = k1 - k0,
                      .n = job->m,
                      .width = job->table->tile_rows,
                      .transposed = !job->x_columns,
                      .left = true};
}

void rlhf__pack_left(rlhf_context *ctx, rlhf__product *job, float *out_packed)
{
    pack_job left = left_side(job, 0, job->k);

    left.out = out_packed;
    run_pack(ctx, &left);
    job->packed = out_packed;
}

/* --- tiles -------------------------------------------------------------------------- */

/* One block of k of one panel, and of groups [first, last) of the left side. */
typedef struct block {
    int64_t k0, k1, j, first, last;
    const float *a; /* packed: a group's lie a_group apart */
    int64_t a_group;
    const float *b; /* packed */
} block;

/* What of a tile lies within c. */
static void put_edge(const float *edge, int64_t width, int64_t rows, int64_t cols,
                     bool accumulate, float *c, int64_t ldc)
{
    for (int64_t r = 0; r < rows; r++)
        for (int64_t j = 0; j < cols; j++)
            c[r * ldc + j] =
                accumulate ? c[r * ldc + j] + edge[r * width + j] : edge[r * width + j];
}

/* One micro-tile: a group of rows, one panel. Where `ask` is not NULL our own kernel
 * serves and asks for that. */
static void micro_tile(const rlhf__product *job, const block *at, int64_t group,
                       const rlhf__ask *ask)
{
    const rlhf__kernels *t = job->table;
    int64_t i = group_begin(job->m, t->tile_rows, group);
    int64_t rows = group_begin(job->m, t->tile_rows, group + 1) - i;
    int64_t cols = rlhf__min_i64(t->panel, job->n - at->j), kb = at->k1 - at->k0;
    const float *a = at->a + (group - at->first) * at->a_group, *b = at->b;
    const rlhf__ask none = {.at = b, .steps = 1};
    bool accumulate = job->accumulate || at->k0 > 0;
    float *c = job->y + i * job->ldy + at->j;
    float edge[RLHF__MAX_ROWS * RLHF__MAX_PANEL];

    if (cols == t->panel) {
        if (rows == t->tile_rows && job->blis && !ask)
            rlhf__blis_microkernel(job->blis, kb, a, b, c, job->ldy, accumulate);
        else
            t->microkernel(rows, kb, a, b, c, job->ldy, accumulate, ask ? ask : &none);
        return;
    }
    t->microkernel(rows, kb, a, b, edge, t->panel, false, ask ? ask : &none);
    put_edge(edge, t->panel, rows, cols, accumulate, c, job->ldy);
}

/* Column j of B itself, from k0 on. */
static const float *matrix_at(const rlhf__product *job, int64_t j, int64_t k0)
{
    return job->matrix + (job->transposed ? j * job->ldb + k0 : k0 * job->ldb + j);
}

/* Asks for what is needed next, at once. */
static void prefetch(const float *from, int64_t count)
{
    for (int64_t i = 0; i < count; i += 16)
        __builtin_prefetch(from + i, 0, 2);
}

/* The same of a block of B itself, its rows' share `part` of `parts`. */
static void prefetch_matrix(const rlhf__product *job, const block *at, int64_t part,
                            int64_t parts)
{
    int64_t cols = rlhf__min_i64(job->table->panel, job->n - at->j), k = at->k1 - at->k0;
    int64_t rows = job->transposed ? cols : k, width = job->transposed ? k : cols;
    const float *from = matrix_at(job, at->j, at->k0);

    for (int64_t r = rows * part / parts; r < rows * (part + 1) / parts; r++)
        prefetch(from + r * job->ldb, width);
}

/* What micro-tiles ask for: the first of `parts` shares, and how far apart they lie. */
typedef struct asked {
    rlhf__ask first;
    int64_t apart, parts;
} asked;

/* A panel's block in `parts` slices of `turns` requests. Few wide micro-tiles would wait
 * for the memory: it brings more where the CPU, which reads ahead, sees several
 * streams. */
static asked ask_panel(const rlhf__product *job, const block *at, int64_t turns,
                       int64_t parts)
{
    const bool few = job->table->lanes == 16 && parts <= FEW_GROUPS;
    const int64_t streams = few ? FEW_STREAMS : 1;
    int64_t stretch = (at->k1 - at->k0) * job->table->panel / streams;
    int64_t each = rlhf__max_i64(turns / streams, 1);
    int64_t on = rlhf__ceil_div(stretch, each * parts);

    if (!few)
        return (asked){{at->b, on, turns, 0, false}, each * on, parts};
    return (asked){
        {at->b, stretch, streams, on - streams * stretch, false}, each * on, parts};
}

/* A matrix's rows in up to `parts` shares of `turns` requests. */
static asked ask_rows(const float *from, int64_t ld, int64_t rows, int64_t width,
                      int64_t turns, int64_t parts)
{
    int64_t share = rlhf__ceil_div(rows, parts);
    int64_t step = rlhf__ceil_div(width, rlhf__max_i64(turns / share, 1));
    int64_t steps = rlhf__ceil_div(width, step);

    return (asked){{from, step, steps, ld - step * steps, false},
                   share * ld,
                   rlhf__ceil_div(rows, share)};
}

/* The block's right side in `parts` shares of `turns` requests. */
static asked ask_right(const rlhf__product *job, const block *at, int64_t turns,
                       int64_t parts)
{
    int64_t k = at->k1 - at->k0, panel = job->table->panel;
    int64_t cols = rlhf__min_i64(panel, job->n - at->j);

    if (at->b)
        return ask_panel(job, at, turns, parts);
    return ask_rows(matrix_at(job, at->j, at->k0), job->ldb, job->transposed ? cols : k,
                    job->transposed ? k : cols, turns, parts);
}

/* What is asked for in kb steps of each micro-tile: seldom, where that takes in every
 * cache line, of 16 floats. */
static asked choose_ask(const rlhf__product *job, const block *next, int64_t kb,
                        int64_t parts)
{
    asked ask = ask_right(job, next, rlhf__max_i64(kb / RLHF__ASK_STEPS, 1), parts);

    if (ask.first.step <= 16)
        return ask;
    ask = ask_right(job, next, kb, parts);
    ask.first.often = true;
    return ask;
}

/* A panel's block against the groups, meanwhile a slice at a time of the block that comes
 * next (NULL: none): it lies in memory that was not read for long. Our kernel asks for it
 * now and then within a micro-tile, since memory takes so many requests at once; BLIS's
 * cannot. */
static void product_panel(const rlhf__product *job, const block *at, const block *next)
{
    int64_t groups = at->last - at->first, kb = at->k1 - at->k0;
    bool within = next && (!job->blis || (next->b && groups <= FEW_GROUPS));
    int64_t slice = next ? (next->k1 - next->k0) * job->table->panel / groups : 0;
    const asked all = within ? choose_ask(job, next, kb, groups) : (asked){0};

    for (int64_t part = 0; part < groups; part++) {
        rlhf__ask ask = all.first;
        bool asks = part < all.parts;
        if (asks)
            ask.at += part * all.apart;
        else if (next && next->b && !within)
            prefetch(next->b + part * slice, slice);
        else if (next && !within)
            prefetch_matrix(job, next, part, groups);
        micro_tile(job, at, at->first + part, asks ? &ask : NULL);
    }
}

/* A panel's block against x as it lies. */
static void product_direct(const rlhf__product *job, const block *at)
{
    const rlhf__kernels *t = job->table;
    int64_t i0 = group_begin(job->m, t->tile_rows, at->first), kb = at->k1 - at->k0;
    int64_t rows = group_begin(job->m, t->tile_rows, at->last) - i0;
    int64_t row = job->x_columns ? 1 : job->ldx, step = job->x_columns ? job->ldx : 1;
    int64_t cols = rlhf__min_i64(t->panel, job->n - at->j);
    bool accumulate = job->accumulate || at->k0 > 0;
    const float *x = job->x + i0 * row + at->k0 * step;
    float *c = job->y + i0 * job->ldy + at->j, edge[RLHF__MAX_ROWS * RLHF__MAX_PANEL];

    if (cols == t->panel) {
        t->product(rows, cols, kb, x, row, step, at->b, cols, c, job->ldy, accumulate);
        return;
    }
    for (int64_t r = 0; r < rows; r += t->tile_rows) {
        int64_t some = rlhf__min_i64(t->tile_rows, rows - r);
        t->product(some, t->panel, kb, x + r * row, row, step, at->b, t->panel, edge,
                   t->panel, false);
        put_edge(edge, t->panel, some, cols, accumulate, c + r * job->ldy, job->ldy);
    }
}

/* The block's left side, all of the tile's rows. */
static void pack_a(const rlhf__product *job, block *at, float *out)
{
    const pack_job left = left_side(job, at->k0, at->k1);

    pack_some(&left, 0, left.k, at->first, at->last, out);
    at->a = out;
    at->a_group = left.k * left.width;
}

/* The block's panel. */
static void pack_b(const rlhf__product *job, block *at, float *out)
{
    const pack_job right = {.table = job->table,
                            .src = matrix_at(job, at->j, at->k0),
                            .ld = job->ldb,
                            .k = at->k1 - at->k0,
                            .n = rlhf__min_i64(job->table->panel, job->n - at->j),
                            .width = job->table->panel,
                            .transposed = job->transposed};

    pack_some(&right, 0, right.k, 0, 1, out);
    at->b = out;
}

/* Where the block's sides lie, as far as they came packed. */
static void locate(const rlhf__product *job, block *at)
{
    at->k1 = rlhf__k_block_end(at->k0, job->k);
    if (job->packed) {
        at->a_group = job->k * job->table->tile_rows;
        at->a = job->packed + at->first * at->a_group + at->k0 * job->table->tile_rows;
    }
    at->b = job->panels ? job->panels + at->j * job->panel_k + at->k0 * job->table->panel
                        : NULL;
}

/* The block that a tile begins with. */
static block first_block(const rlhf__product *job, int64_t tile)
{
    const rlhf__tile part = rlhf__grid_tile(&job->grid, tile);
    block at = {
        .j = part.panel * job->table->panel, .first = part.group, .last = part.group_end};

    locate(job, &at);
    return at;
}

/* Moves on to the next panel or, after the last, the next block of k; false: none. */
static bool next_block(const rlhf__product *job, int64_t j0, int64_t j1, block *at)
{
    at->j += job->table->panel;
    if (at->j >= j1) {
        if (at->k1 >= job->k)
            return false;
        at->j = j0;
        at->k0 = at->k1;
        at->a = NULL;
    }
    locate(job, at);
    return true;
}

/* The thread's own copy of x, with the tile's rows in it. */
static const float *own_copy(const rlhf__product *job, int64_t tile, int32_t thread)
{
    const pack_job left = left_side(job, 0, job->k);
    const rlhf__tile part = rlhf__grid_tile(&job->grid, tile);
    int64_t r = tile / job->grid.col_tiles;
    float *copy = job->copies + thread * job->copy_size;
    uint64_t *copied = job->copied + thread * RLHF__COPIED_APART;

    if (!(*copied >> r & 1))
        pack_some(&left, 0, job->k, part.group, part.group_end,
                  copy + part.group * job->k * left.width);
    *copied |= (uint64_t)1 << r;
    return copy;
}

static void product_tile(void *arg, int64_t tile, int32_t thread)
{
    rlhf__product own_job = *(const rlhf__product *)arg;
    const rlhf__product *job = &own_job;
    const rlhf__tile part = rlhf__grid_tile(&job->grid, tile);
    int64_t rows = job->table->tile_rows;
    float *own = job->blocks + thread * job->block_size;
    int64_t j0 = part.panel * job->table->panel;
    int64_t j1 = rlhf__min_i64(part.panel_end * job->table->panel, job->n);
    int64_t i0 = group_begin(job->m, rows, part.group);
    int64_t i1 = group_begin(job->m, rows, part.group_end);

    if (job->copies)
        own_job.packed = own_copy(job, tile, thread);
    block at = first_block(job, tile), next;
    for (bool more = true; more; at = next) {
        if (!job->packed && !job->direct && !at.a)
            pack_a(job, &at, own);
        if (!job->panels)
            pack_b(job, &at, own);
        next = at;
        more = next_block(job, j0, j1, &next);
        /* The tile that this thread takes next is most likely the next one. */
        bool known = more || tile + 1 < rlhf__grid_size(&job->grid);
        if (known && !more)
            next = first_block(job, tile + 1);
        if (job->direct)
            product_direct(job, &at);
        else
            product_panel(job, &at, known ? &next : NULL);
    }
    for (int64_t i = i0; job->bias && i < i1; i++)
        job->table->add(job->y + i * job->ldy + j0, job->bias + j0, j1 - j0,
                        job->y + i * job->ldy + j0);
}

/* Rows of tiles that pack their own left side: one takes few rows rather than few
 * columns, for all of which it packs once. More of them than threads are the nearest
 * multiple of these; `most` are the groups that fit into a cache. */
static int64_t count_row_tiles(int64_t groups, int64_t most, int64_t threads)
{
    int64_t fair =
        rlhf__min_i64(rlhf__ceil_div(groups, TILE_GROUPS), TILES_PER_THREAD * threads);
    int64_t least = rlhf__ceil_div(groups, most), tiles = rlhf__max_i64(fair, least);

    if (tiles <= threads)
        return tiles;
    tiles = (tiles + threads / 2) / threads * threads;
    return tiles < least ? tiles + threads : tiles;
}

/* Tiles enough to share out evenly, and of even shares. */
static void cut(rlhf_context *ctx, rlhf__product *job)
{
    const int64_t threads = rlhf__pool_num_threads(ctx->pool);
    const int64_t wanted = TILES_PER_THREAD * threads;
    const int64_t rows = job->table->tile_rows;
    rlhf__grid grid = {.groups = rlhf__ceil_div(job->m, rows),
                       .panels = rlhf__ceil_div(job->n, job->table->panel)};
    int64_t most_rows;

    if (job->packed || job->copies) { /* more rows would pack panels again */
        most_rows = grid.row_tiles = job->copies ? job->row_parts : 1;
        grid.col_tiles = rlhf__grid_more(rlhf__ceil_div(grid.panels, TILE_PANELS),
                                         grid.row_tiles, 3 * wanted, grid.panels);
    } else {
        most_rows = grid.groups;
        grid.row_tiles = count_row_tiles(grid.groups, RLHF__ROW_BLOCK / rows, threads);
        grid.col_tiles = rlhf__grid_more(1, grid.row_tiles, wanted, grid.panels);
    }
    rlhf__grid_even_out(&grid, most_rows, threads);
    job->grid = grid;
}

void rlhf__run_product(rlhf_context *ctx, rlhf__product *job)
{
    rlhf__blis blis;

    cut(ctx, job);
    if (ctx->blis && rlhf__blis_find(&blis))
        job->blis = &blis;
    rlhf__run_tiles(ctx, job->m * job->k * job->n, rlhf__grid_size(&job->grid),
                    product_tile, job);
}
