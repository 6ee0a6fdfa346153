/* Sequences of a batch that begin alike: a prompt and its answers. Used by forward.c. */
#ifndef RLHF_NN_SHARE_H
#define RLHF_NN_SHARE_H

#include "nn/transformer.h"

#define RLHF__SHARED_LEAST 8 /* tokens, of which fewer are hardly worth the copies */
#define RLHF__SHARED_WITHIN                                                              \
    64 /* sequences that each is compared with, before and after */

/* [num_seqs] each: where the wanted rows of a sequence begin, within it (its length: none
 * is; NULL: all rows are wanted), and how many tokens it shares, as rlhf__attention has
 * them (NULL: none does, as with caches). What is shared is taken out of the batch, up to
 * the first wanted row: the network makes the same of it, bit for bit. Arrays are the
 * arena's; where nothing is taken out the batch keeps the caller's. */
rlhf_status rlhf__batch_share(rlhf__arena *arena, rlhf__batch *batch,
                              const int64_t **out_wanted,
                              const rlhf__shared **out_shared);

#endif
