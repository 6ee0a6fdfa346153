/**
 * @file model.h
 * Language models: a decoder-only transformer, its parameters, its log-probabilities.
 *
 * Batches are ragged and never padded: the sequences' tokens stand end to end in
 * `tokens`, and sequence s is tokens[cu_seqlens[s]] … tokens[cu_seqlens[s + 1] - 1].
 *
 * @threads As common.h says.
 */
#ifndef RLHF_MODEL_H
#define RLHF_MODEL_H

#include <rlhf/context.h>

#ifdef __cplusplus
extern "C" {
#endif

/** A network and its weights. */
typedef struct rlhf_model rlhf_model;

/** How positions enter. */
typedef enum rlhf_position {
    RLHF_POSITION_LEARNED = 0, /**< A table, added to the tokens' (GPT-2). */
    RLHF_POSITION_ROTARY = 1   /**< Angles on queries and keys (Su et al. 2021; Llama). */
} rlhf_position;

/** Normalisation before attention, MLP and head. */
typedef enum rlhf_norm {
    RLHF_NORM_LAYERNORM = 0, /**< Ba et al. 2016; weight and bias. */
    RLHF_NORM_RMSNORM = 1    /**< Zhang and Sennrich 2019; weight. */
} rlhf_norm;

/** Of the MLP. */
typedef enum rlhf_activation {
    RLHF_ACTIVATION_GELU_TANH = 0, /**< gelu_new of GPT-2 */
    RLHF_ACTIVATION_GELU_ERF = 1,  /**< x * Phi(x) */
    RLHF_ACTIVATION_SWIGLU = 2     /**< silu(gate) * up, as in Llama */
} rlhf_activation;

/** What a token sees; never a later one. */
typedef enum rlhf_attention_kind {
    RLHF_ATTENTION_FULL = 0,   /**< Itself and all tokens before. */
    RLHF_ATTENTION_SLIDING = 1 /**< Itself and the window - 1 tokens before. */
} rlhf_attention_kind;

/** One layer, described by itself. */
typedef struct rlhf_layer_config {
    size_t struct_size; /**< sizeof(rlhf_layer_config); also the stride of the array. */
    int32_t attention;  /**< An rlhf_attention_kind. */
    int32_t window;     /**< Tokens, [1, 2^20], with RLHF_ATTENTION_SLIDING; else 0. */
    int32_t rotary;     /**< 0 or 1: rotary positions on queries and keys. */
    int32_t norm;       /**< An rlhf_norm, of both norms of the block. */
    double rope_theta;  /**< Base of the rotary angles, > 0 where rotary is 1. */
    double norm_eps;    /**< > 0 */
} rlhf_layer_config;

/** What a network is. */
typedef struct rlhf_model_config {
    size_t struct_size;        /**< Set by rlhf_model_config_init. */
    int32_t vocab_size;        /**< [2, 2^24] */
    int32_t context_length;    /**< Most tokens in a sequence, [1, 2^20]. */
    int32_t hidden_size;       /**< Width of the residual stream, [1, 65536]. */
    int32_t intermediate_size; /**< Width of the MLP, [1, 2^20]; 0: 4 * hidden_size. */
    int32_t num_layers;        /**< [1, 1024] */
    int32_t num_heads;         /**< [1, 1024] */
    int32_t num_kv_heads;      /**< Divides num_heads; 0: num_heads. */
    int32_t head_dim;   /**< [1, 1024], even with rotary; 0: hidden_size / num_heads. */
    int32_t position;   /**< An rlhf_position. */
    int32_t norm;       /**< An rlhf_norm: the final norm, and the layers' default. */
    int32_t activation; /**< An rlhf_activation. */
    int32_t attention_bias;    /**< 0 or 1: biases on q, k, v and output projections. */
    int32_t mlp_bias;          /**< 0 or 1 */
    int32_t tie_embeddings;    /**< 0 or 1: the head is the token table. */
    int32_t bos_token_id;      /**< Below vocab_size; -1: none. */
    int32_t eos_token_id;      /**< Below vocab_size; -1: none. Where generators and PPO
                                    stop and what reward models append, unless their
                                    options say otherwise; datasets append the
                                    tokenizer's. Nothing ties the two: for a fresh model
                                    copy bos and eos from the tokenizer. */
    int32_t pad_token_id;      /**< -1: none. Never used here; kept for others' tools. */
    int32_t num_layer_configs; /**< 0: all layers alike; else num_layers. */
    double norm_eps;           /**< > 0 */
    double rope_theta;         /**< > 0 with rotary positions. */
    double initializer_range;  /**< Standard deviation of fresh weights, > 0. */
    const rlhf_layer_config *layers; /**< [num_layer_configs], or NULL. */
} rlhf_model_config;

/** A named parameter. Output struct. */
typedef struct rlhf_parameter_info {
    size_t struct_size; /**< Set by the caller. */
    const char *name;   /**< Hugging Face's name; owned by the model. */
    int64_t rows;       /**< 1 for a vector. */
    int64_t cols;       /**< Linear weights are [out][in], also GPT-2's. */
    int32_t decay;      /**< 1: weight decay applies (matrices). */
    int32_t reserved;   /**< 0 */
} rlhf_parameter_info;

/**
 * Fills `config` with defaults: a GPT-2-style model of 4 layers, 4 heads, width 128 and
 * 256 tokens of context, tied; vocab_size is 0, to be set. docs/options.md lists all.
 *
 * @param config       Written whole.
 * @param struct_size  sizeof(rlhf_model_config).
 * @return RLHF_OK; RLHF_ERR_INVALID_ARG.
 * @threads Any.
 * @since 0.1
 */
RLHF_API rlhf_status rlhf_model_config_init(rlhf_model_config *config,
                                            size_t struct_size);

/**
 * A fresh model with GPT-2's published initialisation (Radford et al. 2019): matrices,
 * the position table among them, N(0, initializer_range), residual projections scaled by
 * 1/sqrt(2 * num_layers), norms 1, biases 0.
 *
 * @param context    Its threads, allocator and kernels.
 * @param config     Copied, `layers` too.
 * @param seed       Same seed, same weights.
 * @param out_model  The caller's.
 * @return RLHF_OK; RLHF_ERR_INVALID_ARG (a field, named with its bound and value);
 *         RLHF_ERR_LIMIT (a parameter of more than 2^40 values, or more than 1 GiB of
 *         rotary tables).
 * @since 0.1
 */
RLHF_API RLHF_MUST_CHECK rlhf_status rlhf_model_create(rlhf_context *context,
                                                       const rlhf_model_config *config,
                                                       uint64_t seed,
                                                       rlhf_model **out_model);

/**
 * Reads a Hugging Face folder: config.json and model.safetensors (or its index and
 * shards). GPT-2 and Llama architectures, and model_type "rlhf" of this library;
 * floating-point tensors become float32. docs/formats.md. A dropout that is not 0 is
 * logged and not used.
 *
 * @param context    Its threads, allocator, log and progress ("load").
 * @param path       A folder.
 * @param out_model  The caller's.
 * @return RLHF_OK; RLHF_ERR_NOT_FOUND, RLHF_ERR_IO; RLHF_ERR_FORMAT (malformed, a
 *         tensor missing or misshapen, a reward model); RLHF_ERR_UNSUPPORTED (what the
 *         network cannot express); RLHF_ERR_LIMIT; RLHF_ERR_NUMERIC (a value that is
 *         not finite); RLHF_ERR_CANCELLED. Each names file and field.
 *         RLHF_ERR_INVALID_ARG (an empty path).
 * @since 0.1
 */
RLHF_API RLHF_MUST_CHECK rlhf_status rlhf_model_load(rlhf_context *context,
                                                     const char *path,
                                                     rlhf_model **out_model);

/**
 * Writes a Hugging Face folder that transformers loads. The folder appears whole or not
 * at all; files in it that are not a model's (a tokenizer) are kept, and so are fields of
 * the config.json that the model was loaded from. A folder and files that are replaced
 * keep their modes, and owner and group where the process may give files away.
 *
 * @param model  Unchanged.
 * @param path   A folder, made if it is not there; its parent must be. A link stays, and
 *               the folder that it names is replaced. The current directory and the
 *               folders above it are refused, for a folder put in its place would leave
 *               the process in one that is gone: save into a folder below it.
 * @return RLHF_OK; RLHF_ERR_IO, RLHF_ERR_NOT_FOUND (the parent); RLHF_ERR_INVALID_ARG (an
 *         empty path, the current directory); RLHF_ERR_CANCELLED. On failure the old
 *         folder is as it was.
 * @since 0.1
 */
RLHF_API RLHF_MUST_CHECK rlhf_status rlhf_model_save(rlhf_model *model, const char *path);

/**
 * A deep copy on the same context.
 *
 * @param model      Unchanged.
 * @param out_model  The caller's.
 * @return RLHF_OK; RLHF_ERR_NO_MEMORY.
 * @since 0.1
 */
RLHF_API RLHF_MUST_CHECK rlhf_status rlhf_model_clone(const rlhf_model *model,
                                                      rlhf_model **out_model);

/**
 * Gives the caller's hold back; trainers and generators that use the model keep it alive.
 *
 * @param model  NULL is a no-op.
 * @since 0.1
 */
RLHF_API void rlhf_model_free(rlhf_model *model);

/**
 * The model's config, every field resolved and every layer listed.
 *
 * @param model       The model.
 * @param out_config  In: struct_size set. Out: filled; `layers` is the model's.
 * @return RLHF_OK; RLHF_ERR_INVALID_ARG.
 * @threads Any.
 * @since 0.1
 */
RLHF_API rlhf_status rlhf_model_get_config(const rlhf_model *model,
                                           rlhf_model_config *out_config);

/**
 * Number of parameters, tied ones once.
 *
 * @param model  NULL gives 0.
 * @return The number of values in all named parameters.
 * @threads Any.
 * @since 0.1
 */
RLHF_API int64_t rlhf_model_num_parameters(const rlhf_model *model);

/**
 * Number of named parameters.
 *
 * @param model  NULL gives 0.
 * @return At least 1.
 * @threads Any.
 * @since 0.1
 */
RLHF_API int64_t rlhf_model_num_parameter_names(const rlhf_model *model);

/**
 * Name and shape of a parameter.
 *
 * @param model     The model.
 * @param index     [0, rlhf_model_num_parameter_names).
 * @param out_info  In: struct_size set. Out: filled.
 * @return RLHF_OK; RLHF_ERR_INVALID_ARG.
 * @threads Any.
 * @since 0.1
 */
RLHF_API rlhf_status rlhf_model_parameter_info(const rlhf_model *model, int64_t index,
                                               rlhf_parameter_info *out_info);

/**
 * Copies a parameter out.
 *
 * @param model       Unchanged.
 * @param name        As in rlhf_parameter_info.
 * @param out_values  float32[rows][cols], row-major, caller-allocated.
 * @param count       rows * cols exactly.
 * @return RLHF_OK; RLHF_ERR_NOT_FOUND (no such name); RLHF_ERR_INVALID_ARG (count).
 * @since 0.1
 */
RLHF_API rlhf_status rlhf_model_parameter_read(rlhf_model *model, const char *name,
                                               float *out_values, int64_t count);

/**
 * Copies a parameter in. Allowed between the steps of a trainer, which goes on from it.
 *
 * @param model   The model.
 * @param name    As in rlhf_parameter_info.
 * @param values  float32[rows][cols], row-major, each finite.
 * @param count   rows * cols exactly.
 * @return RLHF_OK; RLHF_ERR_NOT_FOUND; RLHF_ERR_INVALID_ARG; RLHF_ERR_NUMERIC (a value
 *         that is not finite, named); RLHF_ERR_STATE (the model is frozen).
 * @since 0.1
 */
RLHF_API rlhf_status rlhf_model_parameter_write(rlhf_model *model, const char *name,
                                                const float *values, int64_t count);

/**
 * Makes a model read-only for good, and lets its memory shrink to what forward passes
 * read: in a context of RLHF_DTYPE_BF16 matrices are kept in bf16 alone, which halves the
 * model; in one of RLHF_DTYPE_FP32 the packed copies that decoding makes take the place
 * of the matrices. Whatever it computes stays the same, to the bit.
 *
 * A frozen model generates, scores and serves as PPO's reference. It can be read, saved
 * and cloned: in bf16 the matrices that come out are the rounded ones, and saving takes
 * a copy in fp32 for the time of the call. A clone is not frozen. Neither can it be
 * written nor trained: RLHF_ERR_STATE. While it freezes, both forms are there.
 *
 * @param model  The model. Frozen already: nothing happens.
 * @return RLHF_OK; RLHF_ERR_BUSY (a trainer trains it); RLHF_ERR_NO_MEMORY (it is as
 *         before).
 * @since 0.1
 */
RLHF_API RLHF_MUST_CHECK rlhf_status rlhf_model_freeze(rlhf_model *model);

/**
 * Logits of the next token after every token of a ragged batch. A sequence's are the same
 * bits in any batch.
 *
 * @param model       Unchanged.
 * @param tokens      int32[cu_seqlens[num_seqs]], each in [0, vocab_size).
 * @param cu_seqlens  int64[num_seqs + 1], from 0, not descending.
 * @param num_seqs    >= 1
 * @param out_logits  float32[cu_seqlens[num_seqs]][vocab_size], caller-allocated.
 * @return RLHF_OK; RLHF_ERR_INVALID_ARG (a token, a length over the context, named);
 *         RLHF_ERR_CANCELLED. On failure the output is unspecified.
 * @since 0.1
 */
RLHF_API RLHF_MUST_CHECK rlhf_status rlhf_model_logits(rlhf_model *model,
                                                       const int32_t *tokens,
                                                       const int64_t *cu_seqlens,
                                                       int64_t num_seqs,
                                                       float *out_logits);

/**
 * Log-probability of each token given those before it in its sequence. Equal, bit for
 * bit, to what a generator records and to what the trainers compute.
 *
 * @param model         Unchanged.
 * @param tokens        int32[cu_seqlens[num_seqs]], each in [0, vocab_size).
 * @param cu_seqlens    int64[num_seqs + 1], from 0, not descending.
 * @param num_seqs      >= 1
 * @param temperature   tau > 0, finite: log softmax(logits / tau).
 * @param out_logprobs  float32[cu_seqlens[num_seqs]], nats; a sequence's first is 0.
 * @return As rlhf_model_logits; RLHF_ERR_NUMERIC (one that is not finite, named).
 * @since 0.1
 */
RLHF_API RLHF_MUST_CHECK rlhf_status
rlhf_model_logprobs(rlhf_model *model, const int32_t *tokens, const int64_t *cu_seqlens,
                    int64_t num_seqs, double temperature, float *out_logprobs);

#ifdef __cplusplus
}
#endif

#endif
