/* The decode loop: ragged prompts answered together, each with a key-value cache,
 * sequences leaving as they end and waiting ones taking their place. An answer depends
 * on its prompt, id and the seed only: the forward pass gives a row the same bits in
 * any batch, and uniforms are keyed by sequence and position. */
#ifndef RLHF_GENERATE_GENERATOR_H
#define RLHF_GENERATE_GENERATOR_H

#include <rlhf/generate.h>

#include "base/versioned_struct.h"
#include "generate/sampler.h"
#include "nn/transformer.h"

struct rlhf__tokenizer;
struct rlhf__text_stream;

extern const rlhf__struct_desc rlhf__generator_options_desc;

/* rlhf_generator_options resolved. */
typedef struct rlhf__generator_settings {
    int64_t max_new_tokens, min_new_tokens;
    const int32_t *stop_tokens; /* [num_stop_tokens]; copied */
    int64_t num_stop_tokens;
    bool ends_at_stop;  /* false: stop tokens are masked before the minimum, no more */
    int64_t max_active; /* sequences decoded at once; 0: all */
    uint64_t seed;
    double temperature;                /* tau of the log-probabilities recorded, > 0 */
    struct rlhf__tokenizer *tokenizer; /* NULL: no text; borrowed */
    rlhf_text_fn text;
    void *text_user_data;
} rlhf__generator_settings;

/* A prompt and its answer so far. */
typedef struct rlhf__answer {
    int64_t id;
    int64_t num_prompt, num_tokens;
    int32_t *tokens; /* room for all that may come */
    float *logprobs; /* [num_tokens - num_prompt] */
    double entropy;  /* summed over the answer's positions, nats */
    int32_t finish;  /* an rlhf_finish */
    int32_t slot;    /* of its cache; -1: waits or has ended */
    bool begun;      /* the sampler's begin was called, its end not yet */
    void *sampler_state;
    struct rlhf__text_stream *stream; /* NULL without text */
    int32_t pending;                  /* token picked, not yet appended; -1: none */
    float pending_logprob, pending_entropy;
} rlhf__answer;

typedef struct rlhf__generator {
    rlhf_context *context;
    rlhf__transformer *net;       /* borrowed */
    const rlhf__sampler *sampler; /* borrowed */
    rlhf__generator_settings settings;
    int32_t *stop_tokens; /* own copy */
    rlhf__tape *tape;     /* own, or borrowed from a trainer */
    bool owns_tape;
    rlhf__answer *answers; /* [num_answers] */
    int64_t num_answers, answers_capacity;
    int32_t *tokens; /* storage of all answers */
    int64_t tokens_capacity;
    float *logprobs;
    int64_t logprobs_capacity;
    rlhf__kv_cache *slots; /* [num_slots] */
    int64_t num_slots, slots_capacity;
    int64_t *free_slots; /* stack of [num_free] */
    int64_t num_free, free_capacity;
    int64_t *active; /* answers that go on, ascending: [num_active] */
    int64_t num_active, active_capacity;
    int64_t *todo; /* those of a step that have no token pending */
    int64_t todo_capacity;
    int64_t next_waiting;     /* first answer that has not begun */
    int64_t cache_capacity;   /* tokens, of every slot in use */
    uint64_t weights_version; /* of the weights that the caches are of */
    int64_t longest_possible; /* tokens of the longest answer that can come */
} rlhf__generator;

/* `tape` may be NULL: the generator makes its own. */
rlhf_status rlhf__generator_create(rlhf__transformer *net, const rlhf__sampler *sampler,
                                   const rlhf__generator_settings *settings,
                                   rlhf__tape *tape, rlhf__generator **out_generator);
void rlhf__generator_free(rlhf__generator *generator); /* NULL ok */
/* As rlhf_generator_start. On failure there are no answers. */
rlhf_status rlhf__generator_start(rlhf__generator *generator, const int32_t *tokens,
                                  const int64_t *cu_seqlens, int64_t num_seqs,
                                  const int64_t *sequence_ids);
/* As rlhf_generator_step: *out_left counts those that go on or wait. */
rlhf_status rlhf__generator_step(rlhf__generator *generator, int64_t *out_left);
/* Forgets the answers; caches and memory are kept for the next start. */
void rlhf__generator_clear(rlhf__generator *generator);

/* generate/decode.c: picks the next token of answers[which[0 .. count)], as `pending`.
 * All or none of them go on, except that picks already made are kept. Tokens that stand
 * at the beginning of several are read once. */
rlhf_status rlhf__generator_decode(rlhf__generator *generator, const int64_t *which,
                                   int64_t count);
/* The index in which[0 .. count) of an answer with the same tokens as `answer`, where
 * nothing of either is in its cache; -1: none. */
int64_t rlhf__generator_find_twin(const rlhf__generator *generator, const int64_t *which,
                                  int64_t count, const rlhf__answer *answer);

#endif
