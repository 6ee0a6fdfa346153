/* Sequences of a batch that begin alike: a prompt and its answers. Used by forward.c. */
#ifndef RLHF_NN_SHARE_H
#define RLHF_NN_SHARE_H

#include "nn/transformer.h"

#define RLHF__SHARED_LEAST 8 /* tokens, of which fewer are hardly worth the copies */
#define RLHF__SHARED_WITHIN                                                              \
    64 /* sequences that each is compared with, before and after */

/* Takes what sequences share out of a batch without caches, up to each one's first wanted
 * row: the network makes the same of it, bit for bit. Arrays are the arena's; where
 * nothing is taken out the batch keeps the caller's.
 * out_wanted: [num_seqs] where the wanted rows of a sequence begin, within what is left
 * of it; its length: none is wanted. Left as it is where all rows are.
 * out_shared: [num_seqs], as rlhf__attention has it. Left as it is where nothing is
 * shared. */
rlhf_status rlhf__batch_share(rlhf__arena *arena, rlhf__batch *batch,
                              const int64_t **out_wanted,
                              const rlhf__shared **out_shared);

#endif
