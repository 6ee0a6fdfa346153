/* The context's thread pool. Work is a grid of tiles fixed by shapes, never by the
 * number of threads: threads only pick tiles, so results do not depend on how many
 * there are. */
#ifndef RLHF_BASE_POOL_H
#define RLHF_BASE_POOL_H

#include <rlhf/common.h>

typedef struct rlhf__pool rlhf__pool;
/* Does tile `tile`. Must not allocate, fail, or call back. `thread` in [0, num_threads)
 * selects per-thread scratch. */
typedef void (*rlhf__tile_fn)(void *arg, int64_t tile, int32_t thread);

struct rlhf_context;
rlhf_status rlhf__pool_create(struct rlhf_context *context, int32_t num_threads,
                              rlhf__pool **out_pool);
/* Joins the threads; in a forked child (not the pid that made it) only frees memory. */
void rlhf__pool_free(rlhf__pool *pool);
/* Runs fn for every tile in [0, num_tiles), the calling thread working too; returns
 * when all are done. One caller at a time (the context's queue sees to it). Spins
 * briefly (about 20 us) before sleeping, since calls come in quick succession.
 * num_tiles 0 is a no-op; with one tile or one thread it runs inline. */
void rlhf__pool_run(rlhf__pool *pool, int64_t num_tiles, rlhf__tile_fn fn, void *arg);
int32_t rlhf__pool_num_threads(const rlhf__pool *pool);

#endif
