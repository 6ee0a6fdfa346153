/**
 * @file generate.h
 * Answers: samplers and the generator.
 */
#ifndef RLHF_GENERATE_H
#define RLHF_GENERATE_H

#include <rlhf/model.h>
#include <rlhf/tokenizer.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct rlhf_sampler rlhf_sampler;
typedef struct rlhf_generator rlhf_generator;

/** What a sampler may look at. Size-versioned; valid during the call only. */
typedef struct rlhf_sample_info {
    size_t struct_size;
    int64_t sequence_id;   /**< As given to rlhf_generator_start. */
    int64_t position;      /**< Tokens so far, the prompt's among them. */
    int64_t num_prompt;    /**< Tokens of the prompt. */
    const int32_t *tokens; /**< [position] the sequence so far. */
    double uniforms[4];    /**< In [0, 1), keyed by seed, sequence id and position. */
} rlhf_sample_info;

/** A sampler written by the host. Calls come on the thread that called the generator;
 *  they must not call the library on the same context. */
typedef struct rlhf_sampler_ops {
    size_t struct_size; /**< sizeof(rlhf_sampler_ops) */
    /** A sequence begins; *out_state is handed to its other calls. Optional. */
    rlhf_status (*begin)(void *user_data, int64_t sequence_id, void **out_state);
    /** The sequence is over. Optional. */
    void (*end)(void *user_data, void *state);
    /** Picks a token in [0, vocab_size). logits: float32[vocab_size], valid during the
     *  call. Required. A failure becomes RLHF_ERR_CALLBACK, and the position can be
     *  asked again. */
    rlhf_status (*sample)(void *user_data, void *state, const rlhf_sample_info *info,
                          const float *logits, int64_t vocab_size, int32_t *out_token);
    /** Called exactly once, when the sampler goes. Optional. */
    void (*destroy)(void *user_data);
    /** tau > 0 declares that `sample` draws from softmax(logits / tau), as PPO needs;
     *  0: it does not. */
    double softmax_temperature;
} rlhf_sampler_ops;

/** The library's own sampler: temperature, then top-k, then top-p, then min-p, each off
 *  by default. With all off and temperature tau it is softmax(logits / tau). */
typedef struct rlhf_sampler_options {
    size_t struct_size; /**< Set by rlhf_sampler_options_init. */
    double temperature; /**< tau >= 0; 0: greedy (the first of equals). */
    double top_p;       /**< (0, 1]; 1: off. Holtzman et al. 2020. */
    double min_p;       /**< [0, 1]; 0: off. Keeps p >= min_p * max p. */
    int32_t top_k;      /**< >= 0; 0: off. */
    int32_t reserved;   /**< 0 */
} rlhf_sampler_options;

/** @since 0.1 */
RLHF_API rlhf_status rlhf_sampler_options_init(rlhf_sampler_options *options,
                                               size_t struct_size);
/** @param options NULL: softmax at temperature 1. @since 0.1 */
RLHF_API RLHF_MUST_CHECK rlhf_status
rlhf_sampler_create(const rlhf_sampler_options *options, rlhf_sampler **out_sampler);
/** A host's sampler; the table is copied. @since 0.1 */
RLHF_API RLHF_MUST_CHECK rlhf_status rlhf_sampler_create_custom(
    const rlhf_sampler_ops *ops, void *user_data, rlhf_sampler **out_sampler);
/** NULL ok; generators that use it keep it alive. @since 0.1 */
RLHF_API void rlhf_sampler_free(rlhf_sampler *sampler);

/** How a sequence ended. */
typedef enum rlhf_finish {
    RLHF_FINISH_NONE = 0,    /**< It goes on. */
    RLHF_FINISH_STOP = 1,    /**< A stop token, which is the answer's last token. */
    RLHF_FINISH_LENGTH = 2,  /**< max_new_tokens. */
    RLHF_FINISH_CONTEXT = 3, /**< The model's context is full. */
    RLHF_FINISH_CALLBACK = 4 /**< The text callback said so. */
} rlhf_finish;

/** New text of a sequence, whole characters. Return nonzero to end the sequence. */
typedef int32_t (*rlhf_text_fn)(void *user_data, int64_t sequence_id, const char *text,
                                size_t size);

typedef struct rlhf_generator_options {
    size_t struct_size;         /**< Set by rlhf_generator_options_init. */
    int32_t max_new_tokens;     /**< >= 1 */
    int32_t min_new_tokens;     /**< Stop tokens are masked (logit -inf) before; >= 0. */
    const int32_t *stop_tokens; /**< [num_stop_tokens]; copied. */
    int32_t num_stop_tokens;    /**< 0 with stop_tokens NULL: the model's eos_token_id. */
    int32_t use_stop_tokens;    /**< 0: nothing ends a sequence but its length. */
    uint64_t seed;              /**< Of the uniforms. */
    double temperature; /**< tau of the log-probabilities recorded; > 0, default 1. */
    rlhf_tokenizer *tokenizer; /**< For `text`; NULL without. */
    rlhf_text_fn text;         /**< NULL: no streaming. */
    void *text_user_data;
} rlhf_generator_options;

/** An answer. Output struct; pointers are owned by the generator until its next start. */
typedef struct rlhf_generation {
    size_t struct_size; /**< Set by the caller. */
    int64_t sequence_id;
    const int32_t *tokens; /**< [num_tokens] the prompt, then the answer. */
    int64_t num_tokens;
    int64_t num_prompt;
    const float *logprobs; /**< [num_tokens - num_prompt], nats, of log
                              softmax(logits/tau) over the whole vocabulary (stop tokens
                              masked before min_new_tokens). */
    int32_t finish;        /**< An rlhf_finish. */
    int32_t reserved;
} rlhf_generation;

/** Defaults: 64 new tokens, the model's EOS. @since 0.1 */
RLHF_API rlhf_status rlhf_generator_options_init(rlhf_generator_options *options,
                                                 size_t struct_size);
/** @param sampler NULL: softmax at temperature 1. @since 0.1 */
RLHF_API RLHF_MUST_CHECK rlhf_status rlhf_generator_create(
    rlhf_model *model, rlhf_sampler *sampler, const rlhf_generator_options *options,
    rlhf_generator **out_generator);
/** NULL ok. @since 0.1 */
RLHF_API void rlhf_generator_free(rlhf_generator *generator);
/**
 * Takes a ragged batch of prompts and forgets the one before. An answer depends on its
 * prompt, id and seed only, not on the batch.
 * @param sequence_ids  int64[num_seqs], or NULL: 0, 1, 2, ….
 * @return RLHF_OK; RLHF_ERR_INVALID_ARG (an empty or over-long prompt, a token, named).
 * @since 0.1
 */
RLHF_API RLHF_MUST_CHECK rlhf_status rlhf_generator_start(rlhf_generator *generator,
                                                          const int32_t *tokens,
                                                          const int64_t *cu_seqlens,
                                                          int64_t num_seqs,
                                                          const int64_t *sequence_ids);
/** Decodes one position of every sequence that goes on; *out_active is how many still
 *  go on. A failed or cancelled step leaves the generator as before it; call again.
 *  @since 0.1 */
RLHF_API RLHF_MUST_CHECK rlhf_status rlhf_generator_step(rlhf_generator *generator,
                                                         int64_t *out_active);
/** Steps until all have ended. @since 0.1 */
RLHF_API RLHF_MUST_CHECK rlhf_status rlhf_generator_run(rlhf_generator *generator);
/** @since 0.1 */
RLHF_API int64_t rlhf_generator_num_sequences(const rlhf_generator *generator);
/** Sequence `index`, as far as it has come. @since 0.1 */
RLHF_API rlhf_status rlhf_generator_get(const rlhf_generator *generator, int64_t index,
                                        rlhf_generation *out_generation);

#ifdef __cplusplus
}
#endif

#endif
