/**
 * @file generate.h
 * Answers: samplers and the generator. docs/generation.md has the order of the filters,
 * the random numbers, and what is exact.
 *
 * @threads As common.h says; samplers belong to no context.
 */
#ifndef RLHF_GENERATE_H
#define RLHF_GENERATE_H

#include <rlhf/model.h>
#include <rlhf/tokenizer.h>

#ifdef __cplusplus
extern "C" {
#endif

/** How a token is picked from logits. */
typedef struct rlhf_sampler rlhf_sampler;
/** Prompts that are being answered, each with its keys and values. */
typedef struct rlhf_generator rlhf_generator;

/** What a sampler may look at. struct_size is the library's; valid during the call only.
 */
typedef struct rlhf_sample_info {
    size_t struct_size;    /**< Fields beyond it are not there. */
    int64_t sequence_id;   /**< As given to rlhf_generator_start. */
    int64_t position;      /**< Tokens so far, the prompt's among them. */
    int64_t num_prompt;    /**< Tokens of the prompt. */
    const int32_t *tokens; /**< [position] the sequence so far. */
    double uniforms[4];    /**< In [0, 1), keyed by seed, sequence id and position. */
} rlhf_sample_info;

/**
 * A sampler written by the host. Calls come on the thread that called the generator, from
 * one thread at a time for each context; context.h lists what they may call.
 */
typedef struct rlhf_sampler_ops {
    size_t struct_size; /**< sizeof(rlhf_sampler_ops) */
    /** A sequence begins; *out_state is handed to its other calls. Optional. A failure
     *  becomes RLHF_ERR_CALLBACK, and the sequence can begin again. */
    rlhf_status (*begin)(void *user_data, int64_t sequence_id, void **out_state);
    /** The sequence is over, or given up. Optional. */
    void (*end)(void *user_data, void *state);
    /** Picks a token in [0, vocab_size) whose logit is not -infinity. logits:
     *  float32[vocab_size], -infinity where a stop token is masked, valid during the
     * call. Required. A failure becomes RLHF_ERR_CALLBACK, and the position can be asked
     * again. */
    rlhf_status (*sample)(void *user_data, void *state, const rlhf_sample_info *info,
                          const float *logits, int64_t vocab_size, int32_t *out_token);
    /** Called exactly once, when the sampler goes. Optional. */
    void (*destroy)(void *user_data);
    /** tau > 0 declares that `sample` draws from softmax(logits / tau), as PPO needs; 0:
     * it does not. */
    double softmax_temperature;
} rlhf_sampler_ops;

/**
 * The library's own sampler: softmax(logits / temperature), of which first the top_k
 * likeliest stay, of those the fewest that reach top_p of their mass, of those the ones
 * with min_p of the largest; each off by default, the likeliest token always stays.
 */
typedef struct rlhf_sampler_options {
    size_t struct_size; /**< Set by rlhf_sampler_options_init. */
    double temperature; /**< tau >= 0; 0: greedy (the first of equals). */
    double top_p;       /**< (0, 1]; 1: off. Holtzman et al. 2020. */
    double min_p;       /**< [0, 1]; 0: off. Keeps p >= min_p * max p. */
    int32_t top_k;      /**< >= 0; 0: off. */
    int32_t reserved;   /**< 0 */
} rlhf_sampler_options;

/**
 * Fills `options` with defaults: temperature 1, no filter.
 *
 * @param options      Written whole.
 * @param struct_size  sizeof(rlhf_sampler_options).
 * @return RLHF_OK; RLHF_ERR_INVALID_ARG.
 * @threads Any.
 * @since 0.1
 */
RLHF_API rlhf_status rlhf_sampler_options_init(rlhf_sampler_options *options,
                                               size_t struct_size);

/**
 * The library's own sampler. It has no state, so one serves many generators, of several
 * contexts too.
 *
 * @param options      NULL: softmax at temperature 1.
 * @param out_sampler  The caller's.
 * @return RLHF_OK; RLHF_ERR_INVALID_ARG (an option, named).
 * @threads Any.
 * @since 0.1
 */
RLHF_API RLHF_MUST_CHECK rlhf_status
rlhf_sampler_create(const rlhf_sampler_options *options, rlhf_sampler **out_sampler);

/**
 * A host's sampler.
 *
 * @param ops          Copied.
 * @param user_data    First argument of its slots; must live until `destroy`.
 * @param out_sampler  The caller's.
 * @return RLHF_OK; RLHF_ERR_INVALID_ARG (`sample` missing; softmax_temperature negative
 *         or not finite), and `destroy` is not called then.
 * @threads Any.
 * @since 0.1
 */
RLHF_API RLHF_MUST_CHECK rlhf_status rlhf_sampler_create_custom(
    const rlhf_sampler_ops *ops, void *user_data, rlhf_sampler **out_sampler);

/**
 * Gives the caller's hold back; generators and trainers that use the sampler keep it
 * alive.
 *
 * @param sampler  NULL is a no-op.
 * @threads Any.
 * @since 0.1
 */
RLHF_API void rlhf_sampler_free(rlhf_sampler *sampler);

/** How a sequence ended. */
typedef enum rlhf_finish {
    RLHF_FINISH_NONE = 0,    /**< It goes on. */
    RLHF_FINISH_STOP = 1,    /**< A stop token, which is the answer's last token. */
    RLHF_FINISH_LENGTH = 2,  /**< max_new_tokens. */
    RLHF_FINISH_CONTEXT = 3, /**< The model's context is full. */
    RLHF_FINISH_CALLBACK = 4 /**< The text callback said so. */
} rlhf_finish;

/**
 * New text of a sequence: `size` bytes, zero-terminated, that end at whole characters but
 * for the last piece; special tokens give none, nor do ids that the tokenizer lacks (a
 * model's vocabulary may be padded). Valid during the call. Not 0: the sequence ends.
 * context.h lists what it may call.
 */
typedef int32_t (*rlhf_text_fn)(void *user_data, int64_t sequence_id, const char *text,
                                size_t size);

/** How prompts are answered. */
typedef struct rlhf_generator_options {
    size_t struct_size;         /**< Set by rlhf_generator_options_init. */
    int32_t max_new_tokens;     /**< >= 1 */
    int32_t min_new_tokens;     /**< Stop tokens are masked (logit -inf) before;
                                     [0, max_new_tokens]. */
    const int32_t *stop_tokens; /**< [num_stop_tokens] ids of the vocabulary; copied. */
    int32_t num_stop_tokens;    /**< [0, 4096]; 0 with stop_tokens NULL: the model's
                                     eos_token_id, where it has one. Of a list in
                                     config.json that is the first alone: to stop at the
                                     others, give all of them here. */
    int32_t use_stop_tokens;    /**< 0: nothing ends a sequence but its length. */
    uint64_t seed;              /**< Of the uniforms. */
    double temperature;         /**< tau of the log-probabilities recorded, whatever the
                                     sampler's is; > 0, default 1. */
    rlhf_tokenizer *tokenizer;  /**< For `text`; kept alive. NULL without. */
    rlhf_text_fn text;          /**< NULL: no streaming. */
    void *text_user_data;       /**< Its first argument. */
} rlhf_generator_options;

/** An answer. Output struct; pointers are owned by the generator until its next start. */
typedef struct rlhf_generation {
    size_t struct_size;    /**< Set by the caller. */
    int64_t sequence_id;   /**< As given to rlhf_generator_start. */
    const int32_t *tokens; /**< [num_tokens] the prompt, then the answer. */
    int64_t num_tokens;    /**< Of both. */
    int64_t num_prompt;    /**< Of the prompt. */
    const float *logprobs; /**< [num_tokens - num_prompt], nats, of log
                              softmax(logits/tau) over the whole vocabulary (stop tokens
                              masked before min_new_tokens). */
    int32_t finish;        /**< An rlhf_finish. */
    int32_t reserved;      /**< 0 */
} rlhf_generation;

/**
 * Fills `options` with defaults: 64 new tokens, the model's EOS, seed 0, no text.
 *
 * @param options      Written whole.
 * @param struct_size  sizeof(rlhf_generator_options).
 * @return RLHF_OK; RLHF_ERR_INVALID_ARG.
 * @threads Any.
 * @since 0.1
 */
RLHF_API rlhf_status rlhf_generator_options_init(rlhf_generator_options *options,
                                                 size_t struct_size);

/**
 * Makes a generator. It has the keys and values; the model has weights only, so several
 * generators may serve one model.
 *
 * @param model          Kept alive. Where its parameters change amid an answer, what was
 *                       cached is dropped and the sequence read again by the new ones.
 * @param sampler        Kept alive. NULL: softmax at temperature 1.
 * @param options        NULL: defaults.
 * @param out_generator  The caller's.
 * @return RLHF_OK; RLHF_ERR_INVALID_ARG (an option, named; min above max_new_tokens; a
 *         stop token outside of the vocabulary; stop tokens that are all of it, with
 *         min_new_tokens above 0; a text callback without a tokenizer).
 * @since 0.1
 */
RLHF_API RLHF_MUST_CHECK rlhf_status rlhf_generator_create(
    rlhf_model *model, rlhf_sampler *sampler, const rlhf_generator_options *options,
    rlhf_generator **out_generator);

/**
 * Frees a generator; answers that have not ended are given up.
 *
 * @param generator  NULL is a no-op.
 * @since 0.1
 */
RLHF_API void rlhf_generator_free(rlhf_generator *generator);

/**
 * Takes a ragged batch of prompts and forgets the one before. An answer depends on its
 * prompt, id and seed only, not on the batch.
 *
 * @param generator     The generator.
 * @param tokens        int32[cu_seqlens[num_seqs]]; copied.
 * @param cu_seqlens    int64[num_seqs + 1], from 0, ascending: no prompt is empty, and
 *                      each leaves room for a token in the model's context.
 * @param num_seqs      >= 1
 * @param sequence_ids  int64[num_seqs], or NULL: 0, 1, 2, ….
 * @return RLHF_OK; RLHF_ERR_INVALID_ARG (a prompt or a token, named), and the batch
 *         before is still there; after RLHF_ERR_NO_MEMORY there is none.
 * @since 0.1
 */
RLHF_API RLHF_MUST_CHECK rlhf_status rlhf_generator_start(rlhf_generator *generator,
                                                          const int32_t *tokens,
                                                          const int64_t *cu_seqlens,
                                                          int64_t num_seqs,
                                                          const int64_t *sequence_ids);

/**
 * Decodes one position of every sequence that goes on.
 *
 * @param generator   After _start; without, there is nothing to do.
 * @param out_active  How many still go on.
 * @return RLHF_OK; RLHF_ERR_CANCELLED; RLHF_ERR_CALLBACK (the sampler);
 *         RLHF_ERR_NUMERIC (logits that are not finite). After a failure call again:
 *         what was picked is kept, and the answers are those of a run without it.
 * @since 0.1
 */
RLHF_API RLHF_MUST_CHECK rlhf_status rlhf_generator_step(rlhf_generator *generator,
                                                         int64_t *out_active);

/**
 * Steps until all have ended. Progress ("generate") counts sequences.
 *
 * @param generator  After _start.
 * @return As rlhf_generator_step; the same call goes on.
 * @since 0.1
 */
RLHF_API RLHF_MUST_CHECK rlhf_status rlhf_generator_run(rlhf_generator *generator);

/**
 * Sequences of the batch.
 *
 * @param generator  NULL gives 0.
 * @return 0 before the first _start.
 * @threads Not while another thread is in a call on the generator; from a callback too.
 * @since 0.1
 */
RLHF_API int64_t rlhf_generator_num_sequences(const rlhf_generator *generator);

/**
 * A sequence as far as it has come.
 *
 * @param generator       The generator.
 * @param index           [0, rlhf_generator_num_sequences), in the order of _start.
 * @param out_generation  In: struct_size set. Out: filled.
 * @return RLHF_OK; RLHF_ERR_INVALID_ARG.
 * @threads As rlhf_generator_num_sequences.
 * @since 0.1
 */
RLHF_API rlhf_status rlhf_generator_get(const rlhf_generator *generator, int64_t index,
                                        rlhf_generation *out_generation);

#ifdef __cplusplus
}
#endif

#endif
