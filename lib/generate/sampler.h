/* Samplers: the library's own (temperature, top-k, top-p, min-p), or a host's table. */
#ifndef RLHF_GENERATE_SAMPLER_H
#define RLHF_GENERATE_SAMPLER_H

#include <rlhf/generate.h>

#include "base/arena.h"
#include "base/versioned_struct.h"
#include "kernels/kernels.h"

/* Belongs to no context: one sampler serves generators of several. */
typedef struct rlhf__sampler {
    rlhf_sampler_ops ops; /* a host's; `sample` NULL: the library's own */
    void *user_data;
    rlhf_sampler_options options; /* of the library's own */
    double softmax_temperature;   /* tau if it draws from softmax(logits / tau); else 0 */
} rlhf__sampler;

extern const rlhf__struct_desc rlhf__sampler_options_desc;

/* Options are checked already (rlhf__struct_read). */
rlhf_status rlhf__sampler_create(const rlhf_sampler_options *options,
                                 rlhf__sampler **out_sampler);
rlhf_status rlhf__sampler_create_custom(const rlhf_sampler_ops *ops, void *user_data,
                                        rlhf__sampler **out_sampler);
void rlhf__sampler_free(rlhf__sampler *sampler); /* calls the host's destroy; NULL ok */

/* A host's begin and end; nothing for the library's own. */
rlhf_status rlhf__sampler_begin(const rlhf__sampler *sampler, int64_t sequence_id,
                                void **out_state);
void rlhf__sampler_end(const rlhf__sampler *sampler, void *state);

/* Where a draw stands: all that it may depend on besides the logits. */
typedef struct rlhf__draw {
    uint64_t seed;
    int64_t sequence_id;
    int64_t position; /* tokens so far */
    int64_t num_prompt;
    const int32_t *tokens; /* [position] */
} rlhf__draw;

/* Picks a token for each of `count` rows of logits[count][vocab_size]; one of
 * RLHF__MASKED_LOGIT or below is never picked. NUMERIC if the logits are not finite;
 * CALLBACK if the host's sampler failed or gave a token that cannot be. out_softmaxes
 * [count]: the rows' at the sampler's temperature, where it has drawn from them; from a
 * greedy pick or a host's sampler: inv_tau is 0. Scratch is the arena's. */
rlhf_status rlhf__sampler_pick(rlhf_context *context, rlhf__arena *scratch,
                               const rlhf__sampler *sampler, void *const *states,
                               const rlhf__draw *draws, const float *logits,
                               int64_t count, int64_t vocab_size, int32_t *out_tokens,
                               rlhf__softmax *out_softmaxes);

/* The uniform that the library's own sampler uses. */
double rlhf__draw_uniform(const rlhf__draw *draw, int32_t index);

#endif
