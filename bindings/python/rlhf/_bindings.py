"""The C interface of librlhf, as its headers have it. Made by generate.py: not to be edited.

Enums and structs keep their C names in the tables and layouts; `Library` has every function as
an attribute of the same name, its documentation in `__doc__`.
"""
from __future__ import annotations

import enum
from ctypes import (CDLL, CFUNCTYPE, POINTER, Structure, c_char, c_char_p, c_double, c_float,
                    c_int32, c_int64, c_size_t, c_uint8, c_uint64, c_void_p)
from typing import (TYPE_CHECKING, Any, Callable, Dict, List, Mapping, NamedTuple, Optional,
                    Sequence, Tuple, Type, TypedDict, Union)

if TYPE_CHECKING:
    from ._tokenizer import Tokenizer


class Field(NamedTuple):
    """A field of an options struct that a keyword argument sets."""

    name: str
    kind: str  # int, float, bool, enum, text, texts, ids, structs, handle, callback
    what: str  # the C name of an enum, struct, handle or callback; the field that counts an array
    doc: str


RLHF_VERSION_MAJOR = 0
RLHF_VERSION_MINOR = 1
RLHF_VERSION_PATCH = 0
RLHF_SOURCE_POSITION_MAX = 4096


class Status(enum.IntEnum):
    """Result of a call. Values are never reused; new ones may be added below the last.
    docs/errors.md says of each what it means and what to do.

    OK: It worked.
    ERR_INVALID_ARG: The caller's mistake: NULL, a shape, a range.
    ERR_NO_MEMORY: An allocation failed.
    ERR_UNSUPPORTED: Newer than this library, or a feature it lacks.
    ERR_IO: The operating system refused; errno is in the info.
    ERR_FORMAT: A malformed file or text.
    ERR_NUMERIC: A NaN or an infinity appeared.
    ERR_CALLBACK: A callback of the host failed.
    ERR_CANCELLED: By rlhf_context_cancel; call again to go on.
    ERR_STATE: Not now: wrong order of calls, or after fork.
    ERR_BUSY: Another thread, trainer or process uses the object.
    ERR_LIMIT: Over a limit that the host or the library set.
    ERR_NOT_FOUND: No such file, name, or next item.
    ERR_EXISTS: It is there already.
    ERR_INTERNAL: A bug of the library.
    """

    OK = 0
    ERR_INVALID_ARG = -1
    ERR_NO_MEMORY = -2
    ERR_UNSUPPORTED = -3
    ERR_IO = -4
    ERR_FORMAT = -5
    ERR_NUMERIC = -6
    ERR_CALLBACK = -7
    ERR_CANCELLED = -8
    ERR_STATE = -9
    ERR_BUSY = -10
    ERR_LIMIT = -11
    ERR_NOT_FOUND = -12
    ERR_EXISTS = -13
    ERR_INTERNAL = -14


class rlhf_error_info(Structure):
    """Where and why the calling thread's last failure happened. Output struct.

    status: An rlhf_status.
    system_errno: errno of the failing system call; 0 where none.
    line: 1-based line in `file`; 0 where none.
    column: 1-based column in `file`; 0 where none.
    file: Path of the offending file, "" where none. Thread-owned.
    field: Name of the offending field, "" where none. Thread-owned.
    message: As rlhf_last_error_message. Thread-owned.
    """

    _fields_ = [
        ("struct_size", c_size_t),
        ("status", c_int32),
        ("system_errno", c_int32),
        ("line", c_int64),
        ("column", c_int64),
        ("file", c_char_p),
        ("field", c_char_p),
        ("message", c_char_p),
    ]


class rlhf_context(Structure):
    """Threads, memory, kernels and log of all that is made from it."""


class CPULevel(enum.IntEnum):
    """Kernel level. A level picks all kernels together; results are bit-identical within one, from
    RLHF_CPU_AVX512 on in fp32 across them, and so they are between RLHF_CPU_AVX512 and
    RLHF_CPU_AVX512_BF16 in bf16.

    AUTO: The best that this CPU can run; RLHF_CPU_AMX only where dtype is RLHF_DTYPE_BF16.
    PORTABLE: Plain C, no FMA.
    AVX2: x86-64 with AVX2 and FMA.
    AVX512: x86-64 with AVX-512 F, BW, DQ and VL, and FMA.
    AVX512_BF16: The same with AVX512_BF16: faster where dtype is RLHF_DTYPE_BF16.
    AMX: The same with AMX's tiles: many times faster where dtype is RLHF_DTYPE_BF16. Linux
    gives the tiles' 8 KB of state to a process that asks for it, which creating the context
    does. From then on a thread's alternate signal stack has to have room for it: sigaltstack
    refuses one below sysconf(_SC_MINSIGSTKSZ), and where a thread already has such a stack, or
    the system refuses for any other reason, this level cannot be run.
    """

    AUTO = 0
    PORTABLE = 1
    AVX2 = 2
    AVX512 = 3
    AVX512_BF16 = 4
    AMX = 5


class Dtype(enum.IntEnum):
    """Compute dtype. Weights, gradients and moments are fp32 with either, and files too. With
    RLHF_DTYPE_BF16 every product with a weight, gradients among them, rounds both of its
    operands to bf16 (8 bits of precision) and sums in fp32; token embeddings, keys and values
    are rounded too. Attention, norms, softmax, log-probabilities, losses and the optimizer stay
    fp32. Its products have the same bits on every level but RLHF_CPU_AMX; all else has those of
    the level.

    FP32: All of it in fp32.
    BF16: Half the weight traffic; made for CPUs with AMX or AVX512_BF16.
    """

    FP32 = 0
    BF16 = 1


class MemoryKind(enum.IntEnum):
    """What an allocation is for; handed to the allocator hooks.

    GENERAL: What is none of the others.
    WEIGHTS: Parameters.
    GRADIENTS: Of parameters.
    MOMENTS: Adam's m and v.
    ACTIVATIONS: Tapes: values, gradients of values, scratch.
    KV_CACHE: Keys and values of sequences being answered.
    PACKED: Weights again, as the matrix products read them.
    KIND_COUNT: How many kinds there are.
    """

    GENERAL = 0
    WEIGHTS = 1
    GRADIENTS = 2
    MOMENTS = 3
    ACTIVATIONS = 4
    KV_CACHE = 5
    PACKED = 6
    KIND_COUNT = 7


class LogLevel(enum.IntEnum):
    """Levels of the log, ascending.

    DEBUG: For who looks into the library.
    INFO: What was read and kept.
    WARNING: What the host ought to know.
    OFF: Nothing.
    """

    DEBUG = 0
    INFO = 1
    WARNING = 2
    OFF = 3


class rlhf_allocator(Structure):
    """Allocator hooks. Both slots are required. They are called from threads that call the
    library, never from a pool thread, and by several of them at once where the host
    encodes text, or frees objects, on several; so they must be safe for that. They must
    not call the library.

    alloc: `size` bytes (a multiple of `alignment`) at a multiple of `alignment` (a power of
        two), or NULL. `kind` is an rlhf_memory_kind.
    free: Gives back what `alloc` returned, with the same size, alignment and kind.
    user_data: First argument of both; must live as long as the context.
    """

    _fields_ = [
        ("struct_size", c_size_t),
        ("alloc", CFUNCTYPE(c_void_p, c_void_p, c_size_t, c_size_t, c_int32)),
        ("free", CFUNCTYPE(None, c_void_p, c_void_p, c_size_t, c_size_t, c_int32)),
        ("user_data", c_void_p),
    ]


rlhf_log_fn = CFUNCTYPE(None, c_void_p, c_int32, POINTER(c_char))
"""One line of log, without a newline, valid during the call. `level`: an rlhf_log_level."""


rlhf_progress_fn = CFUNCTYPE(None, c_void_p, POINTER(c_char), c_int64, c_int64)
"""Progress of a long call: `done` of `total` units (`total` 0: not known). Calls come
some 50 ms apart or more, and once at the end of each pass over the work, where done ==
total. `stage` names the work: "dataset", "evaluate", "feedback", "generate", "load",
"logits", "logprobs", "resume", "save", "score", "tokenizer", "train"; valid during the
call.
"""


class rlhf_context_options(Structure):
    """How a context is made.

    num_threads: [0, 256]; 0: as many as CPUs the process may use, by its affinity and its
        container's quota (cgroup v2).
    cpu_level: An rlhf_cpu_level.
    log_level: Lowest rlhf_log_level that is passed on.
    dtype: An rlhf_dtype.
    allocator: Copied; NULL: the C library's.
    log: NULL: no log.
    log_user_data: Its first argument.
    progress: NULL: no progress.
    progress_user_data: Its first argument.
    map_weights: 0: weights are read from their files into memory. 1: those that a file holds as
        the network does stay in the file, mapped read-only, until they are written first; then
        they are copied. Whoever cuts the file short meanwhile ends the process by SIGBUS
        (docs/memory.md).
    reserved: 0
    """

    _fields_ = [
        ("struct_size", c_size_t),
        ("num_threads", c_int32),
        ("cpu_level", c_int32),
        ("log_level", c_int32),
        ("dtype", c_int32),
        ("allocator", POINTER(rlhf_allocator)),
        ("log", rlhf_log_fn),
        ("log_user_data", c_void_p),
        ("progress", rlhf_progress_fn),
        ("progress_user_data", c_void_p),
        ("map_weights", c_int32),
        ("reserved", c_int32),
    ]


class rlhf_memory_info(Structure):
    """Bytes held and the most ever held, by rlhf_memory_kind. Output struct.

    now: Bytes in use now, index rlhf_memory_kind.
    peak: Most bytes in use at once, each kind by itself.
    total_now: Bytes in use now, all kinds together.
    total_peak: Most bytes in use at once, all kinds together.
    allocations: Calls of the allocator's `alloc` since the context was made.
    """

    _fields_ = [
        ("struct_size", c_size_t),
        ("now", c_int64 * 7),
        ("peak", c_int64 * 7),
        ("total_now", c_int64),
        ("total_peak", c_int64),
        ("allocations", c_int64),
    ]


class rlhf_config(Structure):
    """A YAML file that was read, and which of its keys were asked for."""


class rlhf_tokenizer(Structure):
    """A vocabulary and the rules by which text becomes ids of it. Immutable."""


class rlhf_text_stream(Structure):
    """Ids that become text one by one."""


class rlhf_tokenizer_train_options(Structure):
    """How a tokenizer is learnt.

    vocab_size: Ids at most, [256 + num_special_tokens, 2^22].
    min_frequency: A pair seen less often is not merged, >= 1.
    special_tokens: [num_special_tokens] UTF-8, distinct, 1 to 4096 bytes each; given the first
        ids. Copied.
    num_special_tokens: [0, 4096]
    reserved: 0
    bos_token: One of them, or NULL.
    eos_token: One of them, or NULL.
    """

    _fields_ = [
        ("struct_size", c_size_t),
        ("vocab_size", c_int32),
        ("min_frequency", c_int32),
        ("special_tokens", POINTER(c_char_p)),
        ("num_special_tokens", c_int32),
        ("reserved", c_int32),
        ("bos_token", c_char_p),
        ("eos_token", c_char_p),
    ]


class rlhf_dataset(Structure):
    """Rows, and a place in the order in which they are drawn."""


class DatasetKind(enum.IntEnum):
    """What a row is.

    TEXT: Every token but the first is a target: pretraining.
    COMPLETION: prompt + completion, the prompt masked: SFT.
    PREFERENCE: prompt + chosen, prompt + rejected.
    PROMPT: A prompt alone: PPO, generation.
    """

    TEXT = 0
    COMPLETION = 1
    PREFERENCE = 2
    PROMPT = 3


class Overlong(enum.IntEnum):
    """What happens to a row of more than max_length tokens. Texts are cut into blocks instead.

    TRUNCATE: Tokens go from the prompt's left, then from the end.
    DROP: The row goes.
    """

    TRUNCATE = 0
    DROP = 1


class rlhf_example(Structure):
    """One row. Output of rlhf_dataset_next and _row (pointers owned by the dataset, valid
    until its next call), input of rlhf_dataset_append and of a host's source (pointers
    owned by the host, valid until its next call). struct_size is set by whoever hands the
    struct in.

    tokens: [num_tokens] prompt + completion, prompt + chosen, the prompt, or the text.
    num_tokens: [0, 2^31)
    prompt_length: Leading tokens that are the prompt; 0 for a text.
    rejected: [num_rejected] the same prompt + rejected; NULL unless a preference.
    num_rejected: 0 unless a preference.
    margin: Of the preference loss, finite; 0 without.
    id: Row number in its dataset, or the host's.
    """

    _fields_ = [
        ("struct_size", c_size_t),
        ("tokens", POINTER(c_int32)),
        ("num_tokens", c_int64),
        ("prompt_length", c_int64),
        ("rejected", POINTER(c_int32)),
        ("num_rejected", c_int64),
        ("margin", c_double),
        ("id", c_int64),
    ]


class rlhf_dataset_options(Structure):
    """What a file's rows are and how they are drawn.

    kind: An rlhf_dataset_kind.
    max_length: Most tokens of a row (a prompt and its answer), >= 2. A trainer refuses rows
        that its model's context_length has no room for: take it from rlhf_model_get_config.
    overlong: An rlhf_overlong.
    add_bos: 0 or 1: one BOS before each row, where the tokenizer has one.
    add_eos: 0 or 1: EOS after each text or answer, where it has one.
    shuffle: 0 or 1: a fresh seeded order every epoch.
    num_epochs: Passes before RLHF_ERR_NOT_FOUND, [0, 2^53]; 0: for ever.
    seed: Of the order.
    """

    _fields_ = [
        ("struct_size", c_size_t),
        ("kind", c_int32),
        ("max_length", c_int32),
        ("overlong", c_int32),
        ("add_bos", c_int32),
        ("add_eos", c_int32),
        ("shuffle", c_int32),
        ("num_epochs", c_int64),
        ("seed", c_uint64),
    ]


class rlhf_dataset_info(Structure):
    """What became of a dataset's rows. Output struct.

    kind: An rlhf_dataset_kind.
    reserved: 0
    num_rows: Rows kept (blocks, of texts); -1: a host's source.
    num_tokens: Tokens of the rows kept; both sides of pairs.
    num_read: Rows in the file, or appended; a text file is one.
    num_truncated: Rows kept that lost tokens.
    num_overlong_dropped: Rows dropped for their length.
    num_identical_dropped: chosen == rejected, also after truncation.
    num_empty_dropped: Empty text, answer or prompt; a text of one token.
    """

    _fields_ = [
        ("struct_size", c_size_t),
        ("kind", c_int32),
        ("reserved", c_int32),
        ("num_rows", c_int64),
        ("num_tokens", c_int64),
        ("num_read", c_int64),
        ("num_truncated", c_int64),
        ("num_overlong_dropped", c_int64),
        ("num_identical_dropped", c_int64),
        ("num_empty_dropped", c_int64),
    ]


class rlhf_source_ops(Structure):
    """A source written by the host. Calls come on the thread that called the library;
    context.h lists what they may call.

    next: The next row into *out (struct_size set by the library); RLHF_ERR_NOT_FOUND at the
        end; any other failure becomes RLHF_ERR_CALLBACK, and so does a row that is empty,
        misshapen or has a negative id. Required.
    save: The position as at most `capacity` bytes. With it a trainer can be saved; needs
        `restore`.
    restore: Goes back to a saved position. With it a trainer can be resumed; needs `save`.
    destroy: Called once, when the dataset goes. Optional.
    """

    _fields_ = [
        ("struct_size", c_size_t),
        ("next", CFUNCTYPE(c_int32, c_void_p, POINTER(rlhf_example))),
        ("save", CFUNCTYPE(c_int32, c_void_p, c_void_p, c_size_t, POINTER(c_size_t))),
        ("restore", CFUNCTYPE(c_int32, c_void_p, c_void_p, c_size_t)),
        ("destroy", CFUNCTYPE(None, c_void_p)),
    ]


class rlhf_feedback(Structure):
    """An open store."""


class Choice(enum.IntEnum):
    """What a person said, in terms of the display.

    NONE: Not yet.
    FIRST: The answer displayed first.
    SECOND: The answer displayed second.
    TIE: Both are as good.
    SKIP: Not judged.
    """

    NONE = 0
    FIRST = 1
    SECOND = 2
    TIE = 3
    SKIP = 4


class rlhf_comparison(Structure):
    """A prompt and two answers. Output of _next and _get (pointers owned by the store, until
    its next call), input of _add (copied). struct_size is set by the caller in both.

    id: >= 1; ignored by _add. Never used twice.
    prompt_ids: [num_prompt], each >= 0.
    answer_ids: [num_answer[i]], each >= 0.
    num_prompt: [0, 2^22]
    num_answer: [0, 2^22]
    prompt_text: Zero-terminated, at most 16 MiB; NULL is "".
    answer_text: The same.
    order: 0: answer 0 is displayed first; 1: answer 1. Drawn by _add from the store's seed and
        the id; ignored on input.
    choice: An rlhf_choice; ignored on input.
    preferred: 0 or 1: the answer chosen; -1: none. Ignored on input.
    reserved: 0
    """

    _fields_ = [
        ("struct_size", c_size_t),
        ("id", c_int64),
        ("prompt_ids", POINTER(c_int32)),
        ("answer_ids", POINTER(c_int32) * 2),
        ("num_prompt", c_int64),
        ("num_answer", c_int64 * 2),
        ("prompt_text", c_char_p),
        ("answer_text", c_char_p * 2),
        ("order", c_int32),
        ("choice", c_int32),
        ("preferred", c_int32),
        ("reserved", c_int32),
    ]


class rlhf_feedback_info(Structure):
    """Counts. Output struct.

    num_comparisons: All.
    num_pending: Without a choice.
    num_chosen: First or second.
    num_ties: Ties.
    num_skipped: Skipped.
    """

    _fields_ = [
        ("struct_size", c_size_t),
        ("num_comparisons", c_int64),
        ("num_pending", c_int64),
        ("num_chosen", c_int64),
        ("num_ties", c_int64),
        ("num_skipped", c_int64),
    ]


class rlhf_model(Structure):
    """A network and its weights."""


class Position(enum.IntEnum):
    """How positions enter.

    LEARNED: A table, added to the tokens' (GPT-2).
    ROTARY: Angles on queries and keys (Su et al. 2021; Llama).
    """

    LEARNED = 0
    ROTARY = 1


class Norm(enum.IntEnum):
    """Normalisation before attention, MLP and head.

    LAYERNORM: Ba et al. 2016; weight and bias.
    RMSNORM: Zhang and Sennrich 2019; weight.
    """

    LAYERNORM = 0
    RMSNORM = 1


class Activation(enum.IntEnum):
    """Of the MLP.

    GELU_TANH: gelu_new of GPT-2
    GELU_ERF: x * Phi(x)
    SWIGLU: silu(gate) * up, as in Llama
    """

    GELU_TANH = 0
    GELU_ERF = 1
    SWIGLU = 2


class AttentionKind(enum.IntEnum):
    """What a token sees; never a later one.

    FULL: Itself and all tokens before.
    SLIDING: Itself and the window - 1 tokens before.
    """

    FULL = 0
    SLIDING = 1


class rlhf_layer_config(Structure):
    """One layer, described by itself.

    attention: An rlhf_attention_kind.
    window: Tokens, [1, 2^20], with RLHF_ATTENTION_SLIDING; else 0.
    rotary: 0 or 1: rotary positions on queries and keys.
    norm: An rlhf_norm, of both norms of the block.
    rope_theta: Base of the rotary angles, > 0 where rotary is 1.
    norm_eps: > 0
    """

    _fields_ = [
        ("struct_size", c_size_t),
        ("attention", c_int32),
        ("window", c_int32),
        ("rotary", c_int32),
        ("norm", c_int32),
        ("rope_theta", c_double),
        ("norm_eps", c_double),
    ]


class rlhf_model_config(Structure):
    """What a network is.

    vocab_size: [2, 2^24]
    context_length: Most tokens in a sequence, [1, 2^20].
    hidden_size: Width of the residual stream, [1, 65536].
    intermediate_size: Width of the MLP, [1, 2^20]; 0: 4 * hidden_size.
    num_layers: [1, 1024]
    num_heads: [1, 1024]
    num_kv_heads: Divides num_heads; 0: num_heads.
    head_dim: [1, 1024], even with rotary; 0: hidden_size / num_heads.
    position: An rlhf_position.
    norm: An rlhf_norm: the final norm, and the layers' default.
    activation: An rlhf_activation.
    attention_bias: 0 or 1: biases on q, k, v and output projections.
    mlp_bias: 0 or 1
    tie_embeddings: 0 or 1: the head is the token table.
    bos_token_id: Below vocab_size; -1: none.
    eos_token_id: Below vocab_size; -1: none. Where generators and PPO stop and what reward
        models append, unless their options say otherwise; datasets append the tokenizer's.
        Nothing ties the two: for a fresh model copy bos and eos from the tokenizer.
    pad_token_id: -1: none. Never used here; kept for others' tools.
    num_layer_configs: 0: all layers alike; else num_layers.
    norm_eps: > 0
    rope_theta: > 0 with rotary positions.
    initializer_range: Standard deviation of fresh weights, > 0.
    layers: [num_layer_configs], or NULL.
    """

    _fields_ = [
        ("struct_size", c_size_t),
        ("vocab_size", c_int32),
        ("context_length", c_int32),
        ("hidden_size", c_int32),
        ("intermediate_size", c_int32),
        ("num_layers", c_int32),
        ("num_heads", c_int32),
        ("num_kv_heads", c_int32),
        ("head_dim", c_int32),
        ("position", c_int32),
        ("norm", c_int32),
        ("activation", c_int32),
        ("attention_bias", c_int32),
        ("mlp_bias", c_int32),
        ("tie_embeddings", c_int32),
        ("bos_token_id", c_int32),
        ("eos_token_id", c_int32),
        ("pad_token_id", c_int32),
        ("num_layer_configs", c_int32),
        ("norm_eps", c_double),
        ("rope_theta", c_double),
        ("initializer_range", c_double),
        ("layers", POINTER(rlhf_layer_config)),
    ]


class rlhf_parameter_info(Structure):
    """A named parameter. Output struct.

    name: Hugging Face's name; owned by the model.
    rows: 1 for a vector.
    cols: Linear weights are [out][in], also GPT-2's.
    decay: 1: weight decay applies (matrices).
    reserved: 0
    """

    _fields_ = [
        ("struct_size", c_size_t),
        ("name", c_char_p),
        ("rows", c_int64),
        ("cols", c_int64),
        ("decay", c_int32),
        ("reserved", c_int32),
    ]


class rlhf_sampler(Structure):
    """How a token is picked from logits."""


class rlhf_generator(Structure):
    """Prompts that are being answered, each with its keys and values."""


class rlhf_sample_info(Structure):
    """What a sampler may look at. struct_size is the library's; valid during the call only.

    sequence_id: As given to rlhf_generator_start.
    position: Tokens so far, the prompt's among them.
    num_prompt: Tokens of the prompt.
    tokens: [position] the sequence so far.
    uniforms: In [0, 1), keyed by seed, sequence id and position.
    """

    _fields_ = [
        ("struct_size", c_size_t),
        ("sequence_id", c_int64),
        ("position", c_int64),
        ("num_prompt", c_int64),
        ("tokens", POINTER(c_int32)),
        ("uniforms", c_double * 4),
    ]


class rlhf_sampler_ops(Structure):
    """A sampler written by the host. Calls come on the thread that called the generator, from
    one thread at a time for each context; context.h lists what they may call.

    begin: A sequence begins; *out_state is handed to its other calls. Optional. A failure
        becomes RLHF_ERR_CALLBACK, and the sequence can begin again.
    end: The sequence is over, or given up. Optional.
    sample: Picks a token in [0, vocab_size) whose logit is not -infinity. logits:
        float32[vocab_size], -infinity where a stop token is masked, valid during the call.
        Required. A failure becomes RLHF_ERR_CALLBACK, and the position can be asked again.
    destroy: Called exactly once, when the sampler goes. Optional.
    softmax_temperature: tau > 0 declares that `sample` draws from softmax(logits / tau), as PPO
        needs; 0: it does not.
    """

    _fields_ = [
        ("struct_size", c_size_t),
        ("begin", CFUNCTYPE(c_int32, c_void_p, c_int64, POINTER(c_void_p))),
        ("end", CFUNCTYPE(None, c_void_p, c_void_p)),
        ("sample", CFUNCTYPE(c_int32, c_void_p, c_void_p, POINTER(rlhf_sample_info),
          POINTER(c_float), c_int64, POINTER(c_int32))),
        ("destroy", CFUNCTYPE(None, c_void_p)),
        ("softmax_temperature", c_double),
    ]


class rlhf_sampler_options(Structure):
    """The library's own sampler: softmax(logits / temperature), of which first the top_k
    likeliest stay, of those the fewest that reach top_p of their mass, of those the ones
    with min_p of the largest; each off by default, the likeliest token always stays.

    temperature: tau >= 0; 0: greedy (the first of equals).
    top_p: (0, 1]; 1: off. Holtzman et al. 2020.
    min_p: [0, 1]; 0: off. Keeps p >= min_p * max p.
    top_k: >= 0; 0: off.
    reserved: 0
    """

    _fields_ = [
        ("struct_size", c_size_t),
        ("temperature", c_double),
        ("top_p", c_double),
        ("min_p", c_double),
        ("top_k", c_int32),
        ("reserved", c_int32),
    ]


class Finish(enum.IntEnum):
    """How a sequence ended.

    NONE: It goes on.
    STOP: A stop token, which is the answer's last token.
    LENGTH: max_new_tokens.
    CONTEXT: The model's context is full.
    CALLBACK: The text callback said so.
    """

    NONE = 0
    STOP = 1
    LENGTH = 2
    CONTEXT = 3
    CALLBACK = 4


rlhf_text_fn = CFUNCTYPE(c_int32, c_void_p, c_int64, POINTER(c_char), c_size_t)
"""New text of a sequence: `size` bytes, zero-terminated, that end at whole characters but
for the last piece; special tokens give none, nor do ids that the tokenizer lacks (a
model's vocabulary may be padded). Valid during the call. Not 0: the sequence ends.
context.h lists what it may call.
"""


class rlhf_generator_options(Structure):
    """How prompts are answered.

    max_new_tokens: >= 1
    min_new_tokens: Stop tokens are masked (logit -inf) before; [0, max_new_tokens].
    stop_tokens: [num_stop_tokens] ids of the vocabulary; copied.
    num_stop_tokens: [0, 4096]; 0 with stop_tokens NULL: the model's eos_token_id, where it has
        one. Of a list in config.json that is the first alone: to stop at the others, give all
        of them here.
    use_stop_tokens: 0: nothing ends a sequence but its length.
    seed: Of the uniforms.
    temperature: tau of the log-probabilities recorded, whatever the sampler's is; > 0, default
        1.
    tokenizer: For `text`; kept alive. NULL without.
    text: NULL: no streaming.
    text_user_data: Its first argument.
    """

    _fields_ = [
        ("struct_size", c_size_t),
        ("max_new_tokens", c_int32),
        ("min_new_tokens", c_int32),
        ("stop_tokens", POINTER(c_int32)),
        ("num_stop_tokens", c_int32),
        ("use_stop_tokens", c_int32),
        ("seed", c_uint64),
        ("temperature", c_double),
        ("tokenizer", POINTER(rlhf_tokenizer)),
        ("text", rlhf_text_fn),
        ("text_user_data", c_void_p),
    ]


class rlhf_generation(Structure):
    """An answer. Output struct; pointers are owned by the generator until its next start.

    sequence_id: As given to rlhf_generator_start.
    tokens: [num_tokens] the prompt, then the answer.
    num_tokens: Of both.
    num_prompt: Of the prompt.
    logprobs: [num_tokens - num_prompt], nats, of log softmax(logits/tau) over the whole
        vocabulary (stop tokens masked before min_new_tokens).
    finish: An rlhf_finish.
    reserved: 0
    """

    _fields_ = [
        ("struct_size", c_size_t),
        ("sequence_id", c_int64),
        ("tokens", POINTER(c_int32)),
        ("num_tokens", c_int64),
        ("num_prompt", c_int64),
        ("logprobs", POINTER(c_float)),
        ("finish", c_int32),
        ("reserved", c_int32),
    ]


class rlhf_lm_trainer(Structure):
    """A model, a dataset, an optimizer, and the step that they are at."""


class Schedule(enum.IntEnum):
    """Learning rate after warm-up, from learning_rate to learning_rate * final_lr_ratio.

    CONSTANT: learning_rate.
    LINEAR: A line, down to the ratio at total_steps, then flat.
    COSINE: Half a cosine, the same.
    """

    CONSTANT = 0
    LINEAR = 1
    COSINE = 2


class AdamForm(enum.IntEnum):
    """Where Adam's epsilon stands.

    TORCH: Outside of the bias correction.
    TF: TensorFlow 1's: before it.
    """

    TORCH = 0
    TF = 1


class rlhf_lm_options(Structure):
    """Optimizer and batch. Rates, betas, epsilon and decay are computed with as floats: what
     is left of them as floats must be in their ranges too, and learning_rate / (1 - beta1)
     and learning_rate * weight_decay finite.

    learning_rate: > 0, at the end of warm-up.
    final_lr_ratio: [0, 1], of learning_rate at total_steps.
    beta1: [0, 1)
    beta2: [0, 1)
    epsilon: > 0
    weight_decay: >= 0; on matrices only.
    max_grad_norm: Global-norm clipping; 0: off.
    total_steps: Of the schedule, >= 1.
    warmup_steps: Linear from 0, >= 0.
    schedule: An rlhf_schedule.
    adam_form: An rlhf_adam_form.
    batch_size: Rows a step, >= 1.
    micro_batch_tokens: Most tokens at once (a single row may exceed it), >= 1.
    gradient_checkpointing: 0 or 1: each block keeps its input alone and is computed again in
        the backward pass, to the same bits: less memory, a third more time.
    reserved: 0
    """

    _fields_ = [
        ("struct_size", c_size_t),
        ("learning_rate", c_double),
        ("final_lr_ratio", c_double),
        ("beta1", c_double),
        ("beta2", c_double),
        ("epsilon", c_double),
        ("weight_decay", c_double),
        ("max_grad_norm", c_double),
        ("total_steps", c_int64),
        ("warmup_steps", c_int64),
        ("schedule", c_int32),
        ("adam_form", c_int32),
        ("batch_size", c_int32),
        ("micro_batch_tokens", c_int32),
        ("gradient_checkpointing", c_int32),
        ("reserved", c_int32),
    ]


class rlhf_lm_stats(Structure):
    """One optimizer step. Output struct.

    step: Steps done, this one included.
    loss: Mean over the step's targets, nats. TRL: loss
    grad_norm: Before clipping. TRL: grad_norm
    learning_rate: Of this step. TRL: learning_rate
    num_targets: Tokens that carried loss.
    num_tokens: Tokens of the step's rows.
    tokens_per_second: num_tokens over the step's time.
    """

    _fields_ = [
        ("struct_size", c_size_t),
        ("step", c_int64),
        ("loss", c_double),
        ("grad_norm", c_double),
        ("learning_rate", c_double),
        ("num_targets", c_int64),
        ("num_tokens", c_int64),
        ("tokens_per_second", c_double),
    ]


class rlhf_reward_model(Structure):
    """A network with a scalar head, a scale and an offset. Also PPO's critic."""


class rlhf_reward_trainer(Structure):
    """A reward model, pairs, an optimizer, and the step that they are at."""


class AppendEos(enum.IntEnum):
    """Whether the model reads an EOS after a sequence.

    NEVER: The sequence as it is.
    IF_MISSING: Unless the last token is EOS, there is no EOS id, or the context is full.
    """

    NEVER = 0
    IF_MISSING = 1


class rlhf_reward_model_options(Structure):
    """How a reward model starts.

    seed: Of the head, N(0, 1/sqrt(hidden_size + 1)), bias 0.
    append_eos: An rlhf_append_eos: one rule for training, scoring and PPO.
    eos_token_id: The token appended, of the vocabulary; -1: the model's.
    """

    _fields_ = [
        ("struct_size", c_size_t),
        ("seed", c_uint64),
        ("append_eos", c_int32),
        ("eos_token_id", c_int32),
    ]


class rlhf_reward_options(Structure):
    """Optimizer, batch and loss. Fields down to micro_batch_tokens as in rlhf_lm_options.

    learning_rate: > 0, at the end of warm-up.
    final_lr_ratio: [0, 1], of learning_rate at total_steps.
    beta1: [0, 1)
    beta2: [0, 1)
    epsilon: > 0
    weight_decay: >= 0; on matrices only.
    max_grad_norm: Global-norm clipping; 0: off.
    total_steps: Of the schedule, >= 1.
    warmup_steps: Linear from 0, >= 0.
    schedule: An rlhf_schedule.
    adam_form: An rlhf_adam_form.
    batch_size: Pairs a step, >= 1.
    micro_batch_tokens: Most tokens at once (a single pair may exceed it).
    center_coefficient: c of c * mean((r+ + r-)^2), >= 0; TRL recommends 0.01.
    use_margin: 0 or 1: -log sigmoid(r+ - r- - margin).
    gradient_checkpointing: As in rlhf_lm_options.
    """

    _fields_ = [
        ("struct_size", c_size_t),
        ("learning_rate", c_double),
        ("final_lr_ratio", c_double),
        ("beta1", c_double),
        ("beta2", c_double),
        ("epsilon", c_double),
        ("weight_decay", c_double),
        ("max_grad_norm", c_double),
        ("total_steps", c_int64),
        ("warmup_steps", c_int64),
        ("schedule", c_int32),
        ("adam_form", c_int32),
        ("batch_size", c_int32),
        ("micro_batch_tokens", c_int32),
        ("center_coefficient", c_double),
        ("use_margin", c_int32),
        ("gradient_checkpointing", c_int32),
    ]


class rlhf_reward_stats(Structure):
    """Over one step's pairs, or over an evaluation's. Output struct. Rewards are raw.

    step: Steps done, this one included.
    loss: Mean over pairs. TRL: loss
    accuracy: Share with r+ > r-, strictly. TRL: accuracy
    margin: Mean r+ - r-. TRL: margin
    mean_reward: Over both sides. TRL: mean_reward
    min_reward: TRL: min_reward
    max_reward: TRL: max_reward
    grad_norm: Before clipping; 0 of an evaluation.
    learning_rate: Of this step; 0 of an evaluation.
    num_pairs: Pairs.
    num_tokens: Of both sides, appended EOS too.
    tokens_per_second: num_tokens over the time.
    """

    _fields_ = [
        ("struct_size", c_size_t),
        ("step", c_int64),
        ("loss", c_double),
        ("accuracy", c_double),
        ("margin", c_double),
        ("mean_reward", c_double),
        ("min_reward", c_double),
        ("max_reward", c_double),
        ("grad_norm", c_double),
        ("learning_rate", c_double),
        ("num_pairs", c_int64),
        ("num_tokens", c_int64),
        ("tokens_per_second", c_double),
    ]


class rlhf_ppo_trainer(Structure):
    """Policy, reference, reward model, critic, optimizers, and where in an iteration they are."""


class rlhf_rollout(Structure):
    """Sequences, which of their tokens are actions, scores, and what PPO computes from them."""


class KLEstimator(enum.IntEnum):
    """With Delta = log pi_old - log pi_ref of a token. Schulman 2020, "Approximating KL".

    K1: Delta
    K2: Delta^2 / 2
    K3: exp(-Delta) - 1 + Delta
    """

    K1 = 0
    K2 = 1
    K3 = 2


class ScoreSlot(enum.IntEnum):
    """Where the score enters the rewards.

    AT_LAST: The last action's slot (EOS where it ended so).
    AFTER_LAST: One slot later, with a value and a return of its own, where there is room below
    max_new_tokens (TRL).
    """

    AT_LAST = 0
    AFTER_LAST = 1


class MissingEos(enum.IntEnum):
    """What an answer that did not end by the stop token does to its score.

    IGNORE: Nothing.
    REPLACE: The score becomes missing_eos_value.
    SUBTRACT: missing_eos_value is subtracted.
    """

    IGNORE = 0
    REPLACE = 1
    SUBTRACT = 2


class Variance(enum.IntEnum):
    """Divisor of whitening's variance.

    BIASED: n
    UNBIASED: n - 1
    """

    BIASED = 0
    UNBIASED = 1


class WhitenScope(enum.IntEnum):
    """The set over which advantages are whitened.

    ROLLOUT: All actions of the rollout.
    MINIBATCH: The actions of each minibatch.
    """

    ROLLOUT = 0
    MINIBATCH = 1


class Aggregation(enum.IntEnum):
    """How the losses of tokens become the loss of an optimizer step.

    STEP_TOKENS: Sum over tokens / tokens of the optimizer step.
    MICRO_MEAN: Mean of the micro-batches' token means.
    SEQUENCE: Mean over sequences of their token means.
    CONSTANT: Sum over tokens / (sequences * max_new_tokens).
    """

    STEP_TOKENS = 0
    MICRO_MEAN = 1
    SEQUENCE = 2
    CONSTANT = 3


class ScoreNormalize(enum.IntEnum):
    """What is done to scores before anything else.

    RAW: Nothing.
    WHITEN: (s - mean) / std over the rollout, biased.
    RUNNING: The same by running mean and variance over all rollouts.
    """

    RAW = 0
    WHITEN = 1
    RUNNING = 2


class rlhf_ppo_options(Structure):
    """All switches. docs/ppo.md has each preset's values. Rates, betas, epsilon, decay and
     coefficients must be in their ranges as floats too, as in rlhf_lm_options.

    temperature: tau > 0 of sampler, old, new and reference policy.
    max_new_tokens: T, >= 1; prompt + T must fit the context.
    min_new_tokens: The stop token is masked before, for every policy alike; [0,
        max_new_tokens].
    stop_token_id: -1: the policy's eos_token_id; -2: none.
    train_past_stop: 1: always T tokens, all trained on (Ziegler et al.); the reward model reads
        up to the first stop token, and the score lies on the last token.
    allow_biased_rollout: 1: accept samplers that are not softmax(logits/tau).
    rollout_batch: Sequences decoded at once, >= 1.
    seed: Of sampling and of the minibatches' order.
    missing_eos: An rlhf_missing_eos.
    score_normalize: An rlhf_score_normalize.
    missing_eos_value: In units of the normalised score.
    score_clip: |score| <= this after normalising; 0: off.
    length_penalty: Subtracted from the score for each answer token.
    kl_coef: beta >= 0, at the start.
    kl_target: Adaptive KL (Ziegler et al. 2.2), nats a sequence; 0: fixed.
    kl_horizon: Of the adaptive controller, episodes > 0; with a target over a fifth of a
        rollout's, or beta could reach 0.
    kl_clamp: Each token's estimate to +-this; 0: off.
    max_rollout_kl: Mean nats a sequence; a rollout above it leaves the policy as it is
        (stats.policy_skipped). 0: off.
    kl_estimator: An rlhf_kl_estimator.
    score_slot: An rlhf_score_slot.
    whiten_rewards: 0 or 1: scale to variance 1, mean kept.
    whiten_advantages: 0 or 1: mean 0, variance 1.
    whiten_variance: An rlhf_variance, of both.
    whiten_scope: An rlhf_whiten_scope, of advantages.
    gamma: [0, 1]
    lam: lambda of GAE (Schulman et al. 2016), [0, 1]
    num_epochs: >= 1
    num_minibatches: Optimizer steps an epoch, >= 1, at most the sequences.
    micro_batch_tokens: Most tokens in one pass, >= 1; a single sequence may exceed it.
    aggregation: An rlhf_aggregation.
    clip_range: epsilon > 0: ratio >= 1 - epsilon.
    clip_range_high: ratio <= 1 + this; 0: clip_range.
    dual_clip: c > 1: loss <= -cA for A < 0 (Ye et al. 2020); 0: off.
    log_ratio_clamp: log ratio to +-this; 0: off.
    max_mean_ratio: A minibatch with a larger mean ratio makes no step; 0: off.
    value_clip_range: epsilon_v; 0: no value clipping.
    value_coef: c_v >= 0: scales the critic's gradient.
    entropy_coef: >= 0
    target_approxkl: An epoch that ends above it is the last; 0: off.
    critic_warmup: Iterations that train the critic only, >= 0.
    adam_form: An rlhf_adam_form.
    learning_rate: >= 0
    final_lr_ratio: [0, 1], of learning_rate at total_iterations.
    max_grad_norm: 0: off.
    weight_decay: >= 0; on matrices only.
    beta1: [0, 1)
    beta2: [0, 1)
    epsilon: > 0
    warmup_iterations: n >= 0: iteration i < n, from 0, has (i + 1) / n of the rate.
    total_iterations: >= 1
    value_learning_rate: >= 0
    value_final_lr_ratio: [0, 1]
    value_max_grad_norm: 0: off.
    value_warmup_iterations: As warmup_iterations.
    schedule: An rlhf_schedule.
    value_schedule: An rlhf_schedule.
    gradient_checkpointing: As in rlhf_lm_options, policy and critic.
    reserved: 0
    """

    _fields_ = [
        ("struct_size", c_size_t),
        ("temperature", c_double),
        ("max_new_tokens", c_int32),
        ("min_new_tokens", c_int32),
        ("stop_token_id", c_int32),
        ("train_past_stop", c_int32),
        ("allow_biased_rollout", c_int32),
        ("rollout_batch", c_int32),
        ("seed", c_uint64),
        ("missing_eos", c_int32),
        ("score_normalize", c_int32),
        ("missing_eos_value", c_double),
        ("score_clip", c_double),
        ("length_penalty", c_double),
        ("kl_coef", c_double),
        ("kl_target", c_double),
        ("kl_horizon", c_double),
        ("kl_clamp", c_double),
        ("max_rollout_kl", c_double),
        ("kl_estimator", c_int32),
        ("score_slot", c_int32),
        ("whiten_rewards", c_int32),
        ("whiten_advantages", c_int32),
        ("whiten_variance", c_int32),
        ("whiten_scope", c_int32),
        ("gamma", c_double),
        ("lam", c_double),
        ("num_epochs", c_int32),
        ("num_minibatches", c_int32),
        ("micro_batch_tokens", c_int32),
        ("aggregation", c_int32),
        ("clip_range", c_double),
        ("clip_range_high", c_double),
        ("dual_clip", c_double),
        ("log_ratio_clamp", c_double),
        ("max_mean_ratio", c_double),
        ("value_clip_range", c_double),
        ("value_coef", c_double),
        ("entropy_coef", c_double),
        ("target_approxkl", c_double),
        ("critic_warmup", c_int32),
        ("adam_form", c_int32),
        ("learning_rate", c_double),
        ("final_lr_ratio", c_double),
        ("max_grad_norm", c_double),
        ("weight_decay", c_double),
        ("beta1", c_double),
        ("beta2", c_double),
        ("epsilon", c_double),
        ("warmup_iterations", c_int64),
        ("total_iterations", c_int64),
        ("value_learning_rate", c_double),
        ("value_final_lr_ratio", c_double),
        ("value_max_grad_norm", c_double),
        ("value_warmup_iterations", c_int64),
        ("schedule", c_int32),
        ("value_schedule", c_int32),
        ("gradient_checkpointing", c_int32),
        ("reserved", c_int32),
    ]


class rlhf_ppo_stats(Structure):
    """One iteration. Output struct. TRL's names in brackets; docs/metrics.md has formulas,
    and where TRL's figure of that name is another.

    iteration: Iterations done, this one included.
    num_episodes: Sequences so far [episode].
    score: Mean score as given, before any change [objective/scores]; NaN without scores.
    score_std: Biased.
    kl: mean_b sum_t Delta, nats a sequence [objective/kl].
    kl_coef: beta used.
    entropy: Mean over actions of the sampling policy's, nats; NaN where not known
        [policy/entropy_avg].
    non_score_reward: mean_b sum_t -beta k(t) [objective/non_score_reward].
    rlhf_reward: score + non_score_reward [objective/rlhf_reward].
    response_length: Mean actions of a sequence.
    eos_rate: Share that ended by the stop token [val/num_eos_tokens, there a count].
    policy_loss: Mean over minibatches [loss/policy_avg].
    value_loss: Mean over minibatches [loss/value_avg].
    approxkl: Mean of (log ratio)^2 / 2 [policy/approxkl_avg].
    clipfrac: Share of tokens whose clipped loss is the larger [policy/clipfrac_avg].
    value_clipfrac: The same of values [val/clipfrac_avg].
    ratio: Mean ratio [val/ratio].
    first_ratio_deviation: Largest |ratio - 1| in the first minibatch; exactly 0 where the
        policy recorded the log-probabilities.
    explained_variance: 1 - mean (V - R)^2 / var R, values of the rollout; 0 where all returns
        are equal.
    policy_grad_norm: Mean over steps, before clipping.
    value_grad_norm: Mean over steps, before clipping.
    learning_rate: Of the last step [lr].
    value_learning_rate: Of the last step.
    advantage_mean: Before whitening.
    advantage_std: Before whitening; biased.
    return_mean: Over the slots that the critic learns from.
    value_mean: Over the slots that the critic learns from.
    num_steps: Optimizer steps of the policy in this iteration.
    num_tokens: Actions.
    tokens_per_second: Actions over the iteration's time.
    num_epochs: Begun (fewer when target_approxkl stopped them).
    policy_skipped: 1: critic warm-up, or over max_rollout_kl.
    """

    _fields_ = [
        ("struct_size", c_size_t),
        ("iteration", c_int64),
        ("num_episodes", c_int64),
        ("score", c_double),
        ("score_std", c_double),
        ("kl", c_double),
        ("kl_coef", c_double),
        ("entropy", c_double),
        ("non_score_reward", c_double),
        ("rlhf_reward", c_double),
        ("response_length", c_double),
        ("eos_rate", c_double),
        ("policy_loss", c_double),
        ("value_loss", c_double),
        ("approxkl", c_double),
        ("clipfrac", c_double),
        ("value_clipfrac", c_double),
        ("ratio", c_double),
        ("first_ratio_deviation", c_double),
        ("explained_variance", c_double),
        ("policy_grad_norm", c_double),
        ("value_grad_norm", c_double),
        ("learning_rate", c_double),
        ("value_learning_rate", c_double),
        ("advantage_mean", c_double),
        ("advantage_std", c_double),
        ("return_mean", c_double),
        ("value_mean", c_double),
        ("num_steps", c_int64),
        ("num_tokens", c_int64),
        ("tokens_per_second", c_double),
        ("num_epochs", c_int32),
        ("policy_skipped", c_int32),
    ]


class rlhf_rollout_sequence(Structure):
    """One sequence of a rollout. Output struct; pointers are owned by the rollout and valid
    until its scores are set, it is appended to, _advantages is called on it, or it is
    freed. Arrays run over the sequence's tokens; an action is a token that the policy
    chose (action_mask 1), and per-action figures stand at the action's own place (0
    elsewhere).

    sequence_id: Keys the sampling; of an appended one, its number.
    tokens: [num_tokens]
    action_mask: [num_tokens]
    logprobs: log pi_old, nats; NULL before they are there.
    ref_logprobs: log pi_ref; NULL before _advantages.
    values: V before the action; NULL before _advantages.
    rewards: After KL and score; NULL before _advantages.
    advantages: As the update uses them (before whitening by minibatch); NULL before
        _advantages.
    returns: NULL before _advantages.
    token_scores: NULL unless set.
    num_tokens: All.
    num_prompt: Tokens before the first action.
    num_actions: Actions.
    score: NaN before it is set.
    kl: sum_t Delta; NaN before _advantages or _evaluate.
    finish: An rlhf_finish.
    reserved: 0
    """

    _fields_ = [
        ("struct_size", c_size_t),
        ("sequence_id", c_int64),
        ("tokens", POINTER(c_int32)),
        ("action_mask", POINTER(c_uint8)),
        ("logprobs", POINTER(c_float)),
        ("ref_logprobs", POINTER(c_float)),
        ("values", POINTER(c_float)),
        ("rewards", POINTER(c_float)),
        ("advantages", POINTER(c_float)),
        ("returns", POINTER(c_float)),
        ("token_scores", POINTER(c_float)),
        ("num_tokens", c_int64),
        ("num_prompt", c_int64),
        ("num_actions", c_int64),
        ("score", c_double),
        ("kl", c_double),
        ("finish", c_int32),
        ("reserved", c_int32),
    ]


class rlhf_rollout_input(Structure):
    """A sequence that the host adds.

    tokens: [num_tokens], each >= 0.
    action_mask: [num_tokens] of 0 and 1; token 0 is never an action; at least one is.
    logprobs: [num_tokens] of the policy that sampled, finite at the actions; NULL: _advantages
        computes the trainer's.
    token_scores: [num_tokens], finite at the actions; NULL: none.
    num_tokens: >= 2
    score: Finite as a float; NaN: not yet.
    finish: An rlhf_finish; RLHF_FINISH_STOP counts as ended.
    reserved: 0
    """

    _fields_ = [
        ("struct_size", c_size_t),
        ("tokens", POINTER(c_int32)),
        ("action_mask", POINTER(c_uint8)),
        ("logprobs", POINTER(c_float)),
        ("token_scores", POINTER(c_float)),
        ("num_tokens", c_int64),
        ("score", c_double),
        ("finish", c_int32),
        ("reserved", c_int32),
    ]


# C names of enums to what YAML and keyword arguments call their values.
ENUMS: Dict[str, Type[enum.IntEnum]] = {
    "rlhf_status": Status,
    "rlhf_cpu_level": CPULevel,
    "rlhf_dtype": Dtype,
    "rlhf_memory_kind": MemoryKind,
    "rlhf_log_level": LogLevel,
    "rlhf_dataset_kind": DatasetKind,
    "rlhf_overlong": Overlong,
    "rlhf_choice": Choice,
    "rlhf_position": Position,
    "rlhf_norm": Norm,
    "rlhf_activation": Activation,
    "rlhf_attention_kind": AttentionKind,
    "rlhf_finish": Finish,
    "rlhf_schedule": Schedule,
    "rlhf_adam_form": AdamForm,
    "rlhf_append_eos": AppendEos,
    "rlhf_kl_estimator": KLEstimator,
    "rlhf_score_slot": ScoreSlot,
    "rlhf_missing_eos": MissingEos,
    "rlhf_variance": Variance,
    "rlhf_whiten_scope": WhitenScope,
    "rlhf_aggregation": Aggregation,
    "rlhf_score_normalize": ScoreNormalize,
}


# What keyword arguments set, by struct.
OPTIONS: Dict[str, List[Field]] = {
    "rlhf_context_options": [
        Field("num_threads", "int", "",
              '[0, 256]; 0: as many as CPUs the process may use, by its affinity and its '
              "container's quota (cgroup v2)."),
        Field("cpu_level", "enum", "rlhf_cpu_level",
              'An rlhf_cpu_level. One of "auto", "portable", "avx2", "avx512", "avx512_bf16", '
              '"amx".'),
        Field("log_level", "enum", "rlhf_log_level",
              'Lowest rlhf_log_level that is passed on. One of "debug", "info", "warning", "off".'),
        Field("dtype", "enum", "rlhf_dtype",
              'An rlhf_dtype. One of "fp32", "bf16".'),
        Field("log", "callback", "rlhf_log_fn",
              'NULL: no log.'),
        Field("progress", "callback", "rlhf_progress_fn",
              'NULL: no progress.'),
        Field("map_weights", "int", "",
              '0: weights are read from their files into memory. 1: those that a file holds as '
              'the network does stay in the file, mapped read-only, until they are written first;'
              ' then they are copied. Whoever cuts the file short meanwhile ends the process by '
              'SIGBUS (docs/memory.md).'),
    ],
    "rlhf_tokenizer_train_options": [
        Field("vocab_size", "int", "",
              'Ids at most, [256 + num_special_tokens, 2^22].'),
        Field("min_frequency", "int", "",
              'A pair seen less often is not merged, >= 1.'),
        Field("special_tokens", "texts", "num_special_tokens",
              '[num_special_tokens] UTF-8, distinct, 1 to 4096 bytes each; given the first ids. '
              'Copied.'),
        Field("bos_token", "text", "",
              'One of them, or NULL.'),
        Field("eos_token", "text", "",
              'One of them, or NULL.'),
    ],
    "rlhf_dataset_options": [
        Field("kind", "enum", "rlhf_dataset_kind",
              'An rlhf_dataset_kind. One of "text", "completion", "preference", "prompt".'),
        Field("max_length", "int", "",
              'Most tokens of a row (a prompt and its answer), >= 2. A trainer refuses rows that '
              "its model's context_length has no room for: take it from rlhf_model_get_config."),
        Field("overlong", "enum", "rlhf_overlong",
              'An rlhf_overlong. One of "truncate", "drop".'),
        Field("add_bos", "bool", "",
              '0 or 1: one BOS before each row, where the tokenizer has one.'),
        Field("add_eos", "bool", "",
              '0 or 1: EOS after each text or answer, where it has one.'),
        Field("shuffle", "bool", "",
              '0 or 1: a fresh seeded order every epoch.'),
        Field("num_epochs", "int", "",
              'Passes before RLHF_ERR_NOT_FOUND, [0, 2^53]; 0: for ever.'),
        Field("seed", "int", "",
              'Of the order.'),
    ],
    "rlhf_model_config": [
        Field("vocab_size", "int", "",
              '[2, 2^24]'),
        Field("context_length", "int", "",
              'Most tokens in a sequence, [1, 2^20].'),
        Field("hidden_size", "int", "",
              'Width of the residual stream, [1, 65536].'),
        Field("intermediate_size", "int", "",
              'Width of the MLP, [1, 2^20]; 0: 4 * hidden_size.'),
        Field("num_layers", "int", "",
              '[1, 1024]'),
        Field("num_heads", "int", "",
              '[1, 1024]'),
        Field("num_kv_heads", "int", "",
              'Divides num_heads; 0: num_heads.'),
        Field("head_dim", "int", "",
              '[1, 1024], even with rotary; 0: hidden_size / num_heads.'),
        Field("position", "enum", "rlhf_position",
              'An rlhf_position. One of "learned", "rotary".'),
        Field("norm", "enum", "rlhf_norm",
              'An rlhf_norm: the final norm, and the layers\' default. One of "layernorm", '
              '"rmsnorm".'),
        Field("activation", "enum", "rlhf_activation",
              'An rlhf_activation. One of "gelu_tanh", "gelu_erf", "swiglu".'),
        Field("attention_bias", "bool", "",
              '0 or 1: biases on q, k, v and output projections.'),
        Field("mlp_bias", "bool", "",
              '0 or 1'),
        Field("tie_embeddings", "bool", "",
              '0 or 1: the head is the token table.'),
        Field("bos_token_id", "int", "",
              'Below vocab_size; -1: none.'),
        Field("eos_token_id", "int", "",
              'Below vocab_size; -1: none. Where generators and PPO stop and what reward models '
              "append, unless their options say otherwise; datasets append the tokenizer's. "
              'Nothing ties the two: for a fresh model copy bos and eos from the tokenizer.'),
        Field("pad_token_id", "int", "",
              "-1: none. Never used here; kept for others' tools."),
        Field("norm_eps", "float", "",
              '> 0'),
        Field("rope_theta", "float", "",
              '> 0 with rotary positions.'),
        Field("initializer_range", "float", "",
              'Standard deviation of fresh weights, > 0.'),
        Field("layers", "structs", "rlhf_layer_config",
              '[num_layer_configs], or NULL.'),
    ],
    "rlhf_sampler_options": [
        Field("temperature", "float", "",
              'tau >= 0; 0: greedy (the first of equals).'),
        Field("top_p", "float", "",
              '(0, 1]; 1: off. Holtzman et al. 2020.'),
        Field("min_p", "float", "",
              '[0, 1]; 0: off. Keeps p >= min_p * max p.'),
        Field("top_k", "int", "",
              '>= 0; 0: off.'),
    ],
    "rlhf_generator_options": [
        Field("max_new_tokens", "int", "",
              '>= 1'),
        Field("min_new_tokens", "int", "",
              'Stop tokens are masked (logit -inf) before; [0, max_new_tokens].'),
        Field("stop_tokens", "ids", "num_stop_tokens",
              '[num_stop_tokens] ids of the vocabulary; copied.'),
        Field("use_stop_tokens", "int", "",
              '0: nothing ends a sequence but its length.'),
        Field("seed", "int", "",
              'Of the uniforms.'),
        Field("temperature", "float", "",
              "tau of the log-probabilities recorded, whatever the sampler's is; > 0, default 1."),
        Field("tokenizer", "handle", "rlhf_tokenizer",
              'For `text`; kept alive. NULL without.'),
        Field("text", "callback", "rlhf_text_fn",
              'NULL: no streaming.'),
    ],
    "rlhf_lm_options": [
        Field("learning_rate", "float", "",
              '> 0, at the end of warm-up.'),
        Field("final_lr_ratio", "float", "",
              '[0, 1], of learning_rate at total_steps.'),
        Field("beta1", "float", "",
              '[0, 1)'),
        Field("beta2", "float", "",
              '[0, 1)'),
        Field("epsilon", "float", "",
              '> 0'),
        Field("weight_decay", "float", "",
              '>= 0; on matrices only.'),
        Field("max_grad_norm", "float", "",
              'Global-norm clipping; 0: off.'),
        Field("total_steps", "int", "",
              'Of the schedule, >= 1.'),
        Field("warmup_steps", "int", "",
              'Linear from 0, >= 0.'),
        Field("schedule", "enum", "rlhf_schedule",
              'An rlhf_schedule. One of "constant", "linear", "cosine".'),
        Field("adam_form", "enum", "rlhf_adam_form",
              'An rlhf_adam_form. One of "torch", "tf".'),
        Field("batch_size", "int", "",
              'Rows a step, >= 1.'),
        Field("micro_batch_tokens", "int", "",
              'Most tokens at once (a single row may exceed it), >= 1.'),
        Field("gradient_checkpointing", "bool", "",
              '0 or 1: each block keeps its input alone and is computed again in the backward '
              'pass, to the same bits: less memory, a third more time.'),
    ],
    "rlhf_reward_model_options": [
        Field("seed", "int", "",
              'Of the head, N(0, 1/sqrt(hidden_size + 1)), bias 0.'),
        Field("append_eos", "enum", "rlhf_append_eos",
              'An rlhf_append_eos: one rule for training, scoring and PPO. One of "never", '
              '"if_missing".'),
        Field("eos_token_id", "int", "",
              "The token appended, of the vocabulary; -1: the model's."),
    ],
    "rlhf_reward_options": [
        Field("learning_rate", "float", "",
              '> 0, at the end of warm-up.'),
        Field("final_lr_ratio", "float", "",
              '[0, 1], of learning_rate at total_steps.'),
        Field("beta1", "float", "",
              '[0, 1)'),
        Field("beta2", "float", "",
              '[0, 1)'),
        Field("epsilon", "float", "",
              '> 0'),
        Field("weight_decay", "float", "",
              '>= 0; on matrices only.'),
        Field("max_grad_norm", "float", "",
              'Global-norm clipping; 0: off.'),
        Field("total_steps", "int", "",
              'Of the schedule, >= 1.'),
        Field("warmup_steps", "int", "",
              'Linear from 0, >= 0.'),
        Field("schedule", "enum", "rlhf_schedule",
              'An rlhf_schedule. One of "constant", "linear", "cosine".'),
        Field("adam_form", "enum", "rlhf_adam_form",
              'An rlhf_adam_form. One of "torch", "tf".'),
        Field("batch_size", "int", "",
              'Pairs a step, >= 1.'),
        Field("micro_batch_tokens", "int", "",
              'Most tokens at once (a single pair may exceed it).'),
        Field("center_coefficient", "float", "",
              'c of c * mean((r+ + r-)^2), >= 0; TRL recommends 0.01.'),
        Field("use_margin", "bool", "",
              '0 or 1: -log sigmoid(r+ - r- - margin).'),
        Field("gradient_checkpointing", "int", "",
              'As in rlhf_lm_options.'),
    ],
    "rlhf_ppo_options": [
        Field("temperature", "float", "",
              'tau > 0 of sampler, old, new and reference policy.'),
        Field("max_new_tokens", "int", "",
              'T, >= 1; prompt + T must fit the context.'),
        Field("min_new_tokens", "int", "",
              'The stop token is masked before, for every policy alike; [0, max_new_tokens].'),
        Field("stop_token_id", "int", "",
              "-1: the policy's eos_token_id; -2: none."),
        Field("train_past_stop", "int", "",
              '1: always T tokens, all trained on (Ziegler et al.); the reward model reads up to '
              'the first stop token, and the score lies on the last token.'),
        Field("allow_biased_rollout", "int", "",
              '1: accept samplers that are not softmax(logits/tau).'),
        Field("rollout_batch", "int", "",
              'Sequences decoded at once, >= 1.'),
        Field("seed", "int", "",
              "Of sampling and of the minibatches' order."),
        Field("missing_eos", "enum", "rlhf_missing_eos",
              'An rlhf_missing_eos. One of "ignore", "replace", "subtract".'),
        Field("score_normalize", "enum", "rlhf_score_normalize",
              'An rlhf_score_normalize. One of "raw", "whiten", "running".'),
        Field("missing_eos_value", "float", "",
              'In units of the normalised score.'),
        Field("score_clip", "float", "",
              '|score| <= this after normalising; 0: off.'),
        Field("length_penalty", "float", "",
              'Subtracted from the score for each answer token.'),
        Field("kl_coef", "float", "",
              'beta >= 0, at the start.'),
        Field("kl_target", "float", "",
              'Adaptive KL (Ziegler et al. 2.2), nats a sequence; 0: fixed.'),
        Field("kl_horizon", "float", "",
              'Of the adaptive controller, episodes > 0; with a target over a fifth of a '
              "rollout's, or beta could reach 0."),
        Field("kl_clamp", "float", "",
              "Each token's estimate to +-this; 0: off."),
        Field("max_rollout_kl", "float", "",
              'Mean nats a sequence; a rollout above it leaves the policy as it is '
              '(stats.policy_skipped). 0: off.'),
        Field("kl_estimator", "enum", "rlhf_kl_estimator",
              'An rlhf_kl_estimator. One of "k1", "k2", "k3".'),
        Field("score_slot", "enum", "rlhf_score_slot",
              'An rlhf_score_slot. One of "at_last", "after_last".'),
        Field("whiten_rewards", "bool", "",
              '0 or 1: scale to variance 1, mean kept.'),
        Field("whiten_advantages", "bool", "",
              '0 or 1: mean 0, variance 1.'),
        Field("whiten_variance", "enum", "rlhf_variance",
              'An rlhf_variance, of both. One of "biased", "unbiased".'),
        Field("whiten_scope", "enum", "rlhf_whiten_scope",
              'An rlhf_whiten_scope, of advantages. One of "rollout", "minibatch".'),
        Field("gamma", "float", "",
              '[0, 1]'),
        Field("lam", "float", "",
              'lambda of GAE (Schulman et al. 2016), [0, 1]'),
        Field("num_epochs", "int", "",
              '>= 1'),
        Field("num_minibatches", "int", "",
              'Optimizer steps an epoch, >= 1, at most the sequences.'),
        Field("micro_batch_tokens", "int", "",
              'Most tokens in one pass, >= 1; a single sequence may exceed it.'),
        Field("aggregation", "enum", "rlhf_aggregation",
              'An rlhf_aggregation. One of "step_tokens", "micro_mean", "sequence", "constant".'),
        Field("clip_range", "float", "",
              'epsilon > 0: ratio >= 1 - epsilon.'),
        Field("clip_range_high", "float", "",
              'ratio <= 1 + this; 0: clip_range.'),
        Field("dual_clip", "float", "",
              'c > 1: loss <= -cA for A < 0 (Ye et al. 2020); 0: off.'),
        Field("log_ratio_clamp", "float", "",
              'log ratio to +-this; 0: off.'),
        Field("max_mean_ratio", "float", "",
              'A minibatch with a larger mean ratio makes no step; 0: off.'),
        Field("value_clip_range", "float", "",
              'epsilon_v; 0: no value clipping.'),
        Field("value_coef", "float", "",
              "c_v >= 0: scales the critic's gradient."),
        Field("entropy_coef", "float", "",
              '>= 0'),
        Field("target_approxkl", "float", "",
              'An epoch that ends above it is the last; 0: off.'),
        Field("critic_warmup", "int", "",
              'Iterations that train the critic only, >= 0.'),
        Field("adam_form", "enum", "rlhf_adam_form",
              'An rlhf_adam_form. One of "torch", "tf".'),
        Field("learning_rate", "float", "",
              '>= 0'),
        Field("final_lr_ratio", "float", "",
              '[0, 1], of learning_rate at total_iterations.'),
        Field("max_grad_norm", "float", "",
              '0: off.'),
        Field("weight_decay", "float", "",
              '>= 0; on matrices only.'),
        Field("beta1", "float", "",
              '[0, 1)'),
        Field("beta2", "float", "",
              '[0, 1)'),
        Field("epsilon", "float", "",
              '> 0'),
        Field("warmup_iterations", "int", "",
              'n >= 0: iteration i < n, from 0, has (i + 1) / n of the rate.'),
        Field("total_iterations", "int", "",
              '>= 1'),
        Field("value_learning_rate", "float", "",
              '>= 0'),
        Field("value_final_lr_ratio", "float", "",
              '[0, 1]'),
        Field("value_max_grad_norm", "float", "",
              '0: off.'),
        Field("value_warmup_iterations", "int", "",
              'As warmup_iterations.'),
        Field("schedule", "enum", "rlhf_schedule",
              'An rlhf_schedule. One of "constant", "linear", "cosine".'),
        Field("value_schedule", "enum", "rlhf_schedule",
              'An rlhf_schedule. One of "constant", "linear", "cosine".'),
        Field("gradient_checkpointing", "int", "",
              'As in rlhf_lm_options, policy and critic.'),
    ],
    "rlhf_layer_config": [
        Field("attention", "enum", "rlhf_attention_kind",
              'An rlhf_attention_kind. One of "full", "sliding".'),
        Field("window", "int", "",
              'Tokens, [1, 2^20], with RLHF_ATTENTION_SLIDING; else 0.'),
        Field("rotary", "bool", "",
              '0 or 1: rotary positions on queries and keys.'),
        Field("norm", "enum", "rlhf_norm",
              'An rlhf_norm, of both norms of the block. One of "layernorm", "rmsnorm".'),
        Field("rope_theta", "float", "",
              'Base of the rotary angles, > 0 where rotary is 1.'),
        Field("norm_eps", "float", "",
              '> 0'),
    ],
}


class ContextOptions(TypedDict, total=False):
    """Keyword arguments of rlhf_context_options."""

    num_threads: int
    cpu_level: Union[str, CPULevel]
    log_level: Union[str, LogLevel]
    dtype: Union[str, Dtype]
    log: Optional[Callable[..., Any]]
    progress: Optional[Callable[..., Any]]
    map_weights: int


class TokenizerTrainOptions(TypedDict, total=False):
    """Keyword arguments of rlhf_tokenizer_train_options."""

    vocab_size: int
    min_frequency: int
    special_tokens: Sequence[str]
    bos_token: Optional[str]
    eos_token: Optional[str]


class DatasetOptions(TypedDict, total=False):
    """Keyword arguments of rlhf_dataset_options."""

    kind: Union[str, DatasetKind]
    max_length: int
    overlong: Union[str, Overlong]
    add_bos: bool
    add_eos: bool
    shuffle: bool
    num_epochs: int
    seed: int


class ModelConfig(TypedDict, total=False):
    """Keyword arguments of rlhf_model_config."""

    vocab_size: int
    context_length: int
    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    position: Union[str, Position]
    norm: Union[str, Norm]
    activation: Union[str, Activation]
    attention_bias: bool
    mlp_bias: bool
    tie_embeddings: bool
    bos_token_id: int
    eos_token_id: int
    pad_token_id: int
    norm_eps: float
    rope_theta: float
    initializer_range: float
    layers: Optional[Sequence[Mapping[str, Any]]]


class SamplerOptions(TypedDict, total=False):
    """Keyword arguments of rlhf_sampler_options."""

    temperature: float
    top_p: float
    min_p: float
    top_k: int


class GeneratorOptions(TypedDict, total=False):
    """Keyword arguments of rlhf_generator_options."""

    max_new_tokens: int
    min_new_tokens: int
    stop_tokens: Optional[Sequence[int]]
    use_stop_tokens: int
    seed: int
    temperature: float
    tokenizer: Optional[Tokenizer]
    text: Optional[Callable[..., Any]]


class LMOptions(TypedDict, total=False):
    """Keyword arguments of rlhf_lm_options."""

    learning_rate: float
    final_lr_ratio: float
    beta1: float
    beta2: float
    epsilon: float
    weight_decay: float
    max_grad_norm: float
    total_steps: int
    warmup_steps: int
    schedule: Union[str, Schedule]
    adam_form: Union[str, AdamForm]
    batch_size: int
    micro_batch_tokens: int
    gradient_checkpointing: bool


class RewardModelOptions(TypedDict, total=False):
    """Keyword arguments of rlhf_reward_model_options."""

    seed: int
    append_eos: Union[str, AppendEos]
    eos_token_id: int


class RewardOptions(TypedDict, total=False):
    """Keyword arguments of rlhf_reward_options."""

    learning_rate: float
    final_lr_ratio: float
    beta1: float
    beta2: float
    epsilon: float
    weight_decay: float
    max_grad_norm: float
    total_steps: int
    warmup_steps: int
    schedule: Union[str, Schedule]
    adam_form: Union[str, AdamForm]
    batch_size: int
    micro_batch_tokens: int
    center_coefficient: float
    use_margin: bool
    gradient_checkpointing: int


class PPOOptions(TypedDict, total=False):
    """Keyword arguments of rlhf_ppo_options."""

    temperature: float
    max_new_tokens: int
    min_new_tokens: int
    stop_token_id: int
    train_past_stop: int
    allow_biased_rollout: int
    rollout_batch: int
    seed: int
    missing_eos: Union[str, MissingEos]
    score_normalize: Union[str, ScoreNormalize]
    missing_eos_value: float
    score_clip: float
    length_penalty: float
    kl_coef: float
    kl_target: float
    kl_horizon: float
    kl_clamp: float
    max_rollout_kl: float
    kl_estimator: Union[str, KLEstimator]
    score_slot: Union[str, ScoreSlot]
    whiten_rewards: bool
    whiten_advantages: bool
    whiten_variance: Union[str, Variance]
    whiten_scope: Union[str, WhitenScope]
    gamma: float
    lam: float
    num_epochs: int
    num_minibatches: int
    micro_batch_tokens: int
    aggregation: Union[str, Aggregation]
    clip_range: float
    clip_range_high: float
    dual_clip: float
    log_ratio_clamp: float
    max_mean_ratio: float
    value_clip_range: float
    value_coef: float
    entropy_coef: float
    target_approxkl: float
    critic_warmup: int
    adam_form: Union[str, AdamForm]
    learning_rate: float
    final_lr_ratio: float
    max_grad_norm: float
    weight_decay: float
    beta1: float
    beta2: float
    epsilon: float
    warmup_iterations: int
    total_iterations: int
    value_learning_rate: float
    value_final_lr_ratio: float
    value_max_grad_norm: float
    value_warmup_iterations: int
    schedule: Union[str, Schedule]
    value_schedule: Union[str, Schedule]
    gradient_checkpointing: int


class LayerConfig(TypedDict, total=False):
    """Keyword arguments of rlhf_layer_config."""

    attention: Union[str, AttentionKind]
    window: int
    rotary: bool
    norm: Union[str, Norm]
    rope_theta: float
    norm_eps: float


class LMStats(TypedDict):
    """One optimizer step. Output struct."""

    step: int
    loss: float
    grad_norm: float
    learning_rate: float
    num_targets: int
    num_tokens: int
    tokens_per_second: float


class RewardStats(TypedDict):
    """Over one step's pairs, or over an evaluation's. Output struct. Rewards are raw."""

    step: int
    loss: float
    accuracy: float
    margin: float
    mean_reward: float
    min_reward: float
    max_reward: float
    grad_norm: float
    learning_rate: float
    num_pairs: int
    num_tokens: int
    tokens_per_second: float


class PPOStats(TypedDict):
    """One iteration. Output struct. TRL's names in brackets; docs/metrics.md has formulas,
    and where TRL's figure of that name is another.
    """

    iteration: int
    num_episodes: int
    score: float
    score_std: float
    kl: float
    kl_coef: float
    entropy: float
    non_score_reward: float
    rlhf_reward: float
    response_length: float
    eos_rate: float
    policy_loss: float
    value_loss: float
    approxkl: float
    clipfrac: float
    value_clipfrac: float
    ratio: float
    first_ratio_deviation: float
    explained_variance: float
    policy_grad_norm: float
    value_grad_norm: float
    learning_rate: float
    value_learning_rate: float
    advantage_mean: float
    advantage_std: float
    return_mean: float
    value_mean: float
    num_steps: int
    num_tokens: int
    tokens_per_second: float
    num_epochs: int
    policy_skipped: int


# Every function: what it returns, what it takes.
FUNCTIONS: Dict[str, Tuple[Any, List[Any]]] = {
    "rlhf_last_error_message": (c_char_p, []),
    "rlhf_last_error_info": (c_int32, [POINTER(rlhf_error_info)]),
    "rlhf_status_name": (c_char_p, [c_int32]),
    "rlhf_version": (c_char_p, []),
    "rlhf_context_options_init": (c_int32, [POINTER(rlhf_context_options), c_size_t]),
    "rlhf_context_create":
        (c_int32, [POINTER(rlhf_context_options), POINTER(POINTER(rlhf_context))]),
    "rlhf_context_free": (None, [POINTER(rlhf_context)]),
    "rlhf_context_cancel": (None, [POINTER(rlhf_context)]),
    "rlhf_context_cpu_level": (c_int32, [POINTER(rlhf_context)]),
    "rlhf_context_dtype": (c_int32, [POINTER(rlhf_context)]),
    "rlhf_context_num_threads": (c_int32, [POINTER(rlhf_context)]),
    "rlhf_context_memory": (c_int32, [POINTER(rlhf_context), POINTER(rlhf_memory_info)]),
    "rlhf_config_load":
        (c_int32, [POINTER(rlhf_context), c_char_p, POINTER(POINTER(rlhf_config))]),
    "rlhf_config_free": (None, [POINTER(rlhf_config)]),
    "rlhf_config_read": (c_int32, [POINTER(rlhf_config), c_char_p, c_char_p, c_void_p]),
    "rlhf_config_string":
        (c_int32, [POINTER(rlhf_config), c_char_p, c_char_p, POINTER(c_char_p)]),
    "rlhf_config_int":
        (c_int32, [POINTER(rlhf_config), c_char_p, c_int64, c_int64, c_int64,
          POINTER(c_int64)]),
    "rlhf_config_double":
        (c_int32, [POINTER(rlhf_config), c_char_p, c_double, c_double, c_double,
          POINTER(c_double)]),
    "rlhf_config_finish": (c_int32, [POINTER(rlhf_config)]),
    "rlhf_tokenizer_train_options_init":
        (c_int32, [POINTER(rlhf_tokenizer_train_options), c_size_t]),
    "rlhf_tokenizer_train":
        (c_int32, [POINTER(rlhf_context), POINTER(c_char_p), POINTER(c_size_t), c_int64,
          POINTER(rlhf_tokenizer_train_options), POINTER(POINTER(rlhf_tokenizer))]),
    "rlhf_tokenizer_load":
        (c_int32, [POINTER(rlhf_context), c_char_p, POINTER(POINTER(rlhf_tokenizer))]),
    "rlhf_tokenizer_save": (c_int32, [POINTER(rlhf_tokenizer), c_char_p]),
    "rlhf_tokenizer_free": (None, [POINTER(rlhf_tokenizer)]),
    "rlhf_tokenizer_vocab_size": (c_int32, [POINTER(rlhf_tokenizer)]),
    "rlhf_tokenizer_bos_id": (c_int32, [POINTER(rlhf_tokenizer)]),
    "rlhf_tokenizer_eos_id": (c_int32, [POINTER(rlhf_tokenizer)]),
    "rlhf_tokenizer_token_id": (c_int32, [POINTER(rlhf_tokenizer), c_char_p]),
    "rlhf_tokenizer_encode":
        (c_int32, [POINTER(rlhf_tokenizer), c_char_p, c_size_t, c_int32, POINTER(c_int32),
          c_int64, POINTER(c_int64)]),
    "rlhf_tokenizer_decode":
        (c_int32, [POINTER(rlhf_tokenizer), POINTER(c_int32), c_int64, c_int32,
          POINTER(c_char), c_size_t, POINTER(c_size_t)]),
    "rlhf_text_stream_create":
        (c_int32, [POINTER(rlhf_tokenizer), c_int32, POINTER(POINTER(rlhf_text_stream))]),
    "rlhf_text_stream_push":
        (c_int32, [POINTER(rlhf_text_stream), c_int32, POINTER(c_char_p),
          POINTER(c_size_t)]),
    "rlhf_text_stream_free": (None, [POINTER(rlhf_text_stream)]),
    "rlhf_dataset_options_init": (c_int32, [POINTER(rlhf_dataset_options), c_size_t]),
    "rlhf_dataset_load":
        (c_int32, [POINTER(rlhf_context), POINTER(rlhf_tokenizer), c_char_p,
          POINTER(rlhf_dataset_options), POINTER(POINTER(rlhf_dataset))]),
    "rlhf_dataset_create":
        (c_int32, [POINTER(rlhf_context), POINTER(rlhf_dataset_options),
          POINTER(POINTER(rlhf_dataset))]),
    "rlhf_dataset_create_from_source":
        (c_int32, [POINTER(rlhf_context), c_int32, POINTER(rlhf_source_ops), c_void_p,
          POINTER(POINTER(rlhf_dataset))]),
    "rlhf_dataset_free": (None, [POINTER(rlhf_dataset)]),
    "rlhf_dataset_append": (c_int32, [POINTER(rlhf_dataset), POINTER(rlhf_example)]),
    "rlhf_dataset_split":
        (c_int32, [POINTER(rlhf_dataset), c_int64, c_uint64,
          POINTER(POINTER(rlhf_dataset)), POINTER(POINTER(rlhf_dataset))]),
    "rlhf_dataset_get_info": (c_int32, [POINTER(rlhf_dataset), POINTER(rlhf_dataset_info)]),
    "rlhf_dataset_row": (c_int32, [POINTER(rlhf_dataset), c_int64, POINTER(rlhf_example)]),
    "rlhf_dataset_next": (c_int32, [POINTER(rlhf_dataset), POINTER(rlhf_example)]),
    "rlhf_dataset_rewind": (c_int32, [POINTER(rlhf_dataset)]),
    "rlhf_dataset_save_position":
        (c_int32, [POINTER(rlhf_dataset), c_void_p, c_size_t, POINTER(c_size_t)]),
    "rlhf_dataset_restore_position": (c_int32, [POINTER(rlhf_dataset), c_void_p, c_size_t]),
    "rlhf_feedback_open":
        (c_int32, [POINTER(rlhf_context), c_char_p, c_uint64,
          POINTER(POINTER(rlhf_feedback))]),
    "rlhf_feedback_free": (None, [POINTER(rlhf_feedback)]),
    "rlhf_feedback_add":
        (c_int32, [POINTER(rlhf_feedback), POINTER(rlhf_comparison), POINTER(c_int64)]),
    "rlhf_feedback_add_many":
        (c_int32, [POINTER(rlhf_feedback), POINTER(rlhf_comparison), c_int64,
          POINTER(c_int64)]),
    "rlhf_feedback_next": (c_int32, [POINTER(rlhf_feedback), POINTER(rlhf_comparison)]),
    "rlhf_feedback_get": (c_int32, [POINTER(rlhf_feedback), c_int64, POINTER(rlhf_comparison)]),
    "rlhf_feedback_choose": (c_int32, [POINTER(rlhf_feedback), c_int64, c_int32]),
    "rlhf_feedback_undo": (c_int32, [POINTER(rlhf_feedback), POINTER(c_int64)]),
    "rlhf_feedback_get_info": (c_int32, [POINTER(rlhf_feedback), POINTER(rlhf_feedback_info)]),
    "rlhf_feedback_export": (c_int32, [POINTER(rlhf_feedback), c_char_p]),
    "rlhf_feedback_dataset":
        (c_int32, [POINTER(rlhf_feedback), POINTER(rlhf_dataset_options),
          POINTER(POINTER(rlhf_dataset))]),
    "rlhf_model_config_init": (c_int32, [POINTER(rlhf_model_config), c_size_t]),
    "rlhf_model_create":
        (c_int32, [POINTER(rlhf_context), POINTER(rlhf_model_config), c_uint64,
          POINTER(POINTER(rlhf_model))]),
    "rlhf_model_load": (c_int32, [POINTER(rlhf_context), c_char_p, POINTER(POINTER(rlhf_model))]),
    "rlhf_model_save": (c_int32, [POINTER(rlhf_model), c_char_p]),
    "rlhf_model_clone": (c_int32, [POINTER(rlhf_model), POINTER(POINTER(rlhf_model))]),
    "rlhf_model_free": (None, [POINTER(rlhf_model)]),
    "rlhf_model_get_config": (c_int32, [POINTER(rlhf_model), POINTER(rlhf_model_config)]),
    "rlhf_model_num_parameters": (c_int64, [POINTER(rlhf_model)]),
    "rlhf_model_num_parameter_names": (c_int64, [POINTER(rlhf_model)]),
    "rlhf_model_parameter_info":
        (c_int32, [POINTER(rlhf_model), c_int64, POINTER(rlhf_parameter_info)]),
    "rlhf_model_parameter_read":
        (c_int32, [POINTER(rlhf_model), c_char_p, POINTER(c_float), c_int64]),
    "rlhf_model_parameter_write":
        (c_int32, [POINTER(rlhf_model), c_char_p, POINTER(c_float), c_int64]),
    "rlhf_model_freeze": (c_int32, [POINTER(rlhf_model)]),
    "rlhf_model_logits":
        (c_int32, [POINTER(rlhf_model), POINTER(c_int32), POINTER(c_int64), c_int64,
          POINTER(c_float)]),
    "rlhf_model_logprobs":
        (c_int32, [POINTER(rlhf_model), POINTER(c_int32), POINTER(c_int64), c_int64,
          c_double, POINTER(c_float)]),
    "rlhf_sampler_options_init": (c_int32, [POINTER(rlhf_sampler_options), c_size_t]),
    "rlhf_sampler_create":
        (c_int32, [POINTER(rlhf_sampler_options), POINTER(POINTER(rlhf_sampler))]),
    "rlhf_sampler_create_custom":
        (c_int32, [POINTER(rlhf_sampler_ops), c_void_p, POINTER(POINTER(rlhf_sampler))]),
    "rlhf_sampler_free": (None, [POINTER(rlhf_sampler)]),
    "rlhf_generator_options_init": (c_int32, [POINTER(rlhf_generator_options), c_size_t]),
    "rlhf_generator_create":
        (c_int32, [POINTER(rlhf_model), POINTER(rlhf_sampler),
          POINTER(rlhf_generator_options), POINTER(POINTER(rlhf_generator))]),
    "rlhf_generator_free": (None, [POINTER(rlhf_generator)]),
    "rlhf_generator_start":
        (c_int32, [POINTER(rlhf_generator), POINTER(c_int32), POINTER(c_int64), c_int64,
          POINTER(c_int64)]),
    "rlhf_generator_step": (c_int32, [POINTER(rlhf_generator), POINTER(c_int64)]),
    "rlhf_generator_run": (c_int32, [POINTER(rlhf_generator)]),
    "rlhf_generator_num_sequences": (c_int64, [POINTER(rlhf_generator)]),
    "rlhf_generator_get": (c_int32, [POINTER(rlhf_generator), c_int64, POINTER(rlhf_generation)]),
    "rlhf_lm_options_init": (c_int32, [POINTER(rlhf_lm_options), c_size_t]),
    "rlhf_lm_trainer_create":
        (c_int32, [POINTER(rlhf_model), POINTER(rlhf_dataset), POINTER(rlhf_lm_options),
          POINTER(POINTER(rlhf_lm_trainer))]),
    "rlhf_lm_trainer_free": (None, [POINTER(rlhf_lm_trainer)]),
    "rlhf_lm_trainer_step": (c_int32, [POINTER(rlhf_lm_trainer), POINTER(rlhf_lm_stats)]),
    "rlhf_lm_trainer_accumulate": (c_int32, [POINTER(rlhf_lm_trainer), POINTER(c_int64)]),
    "rlhf_lm_trainer_apply": (c_int32, [POINTER(rlhf_lm_trainer), POINTER(rlhf_lm_stats)]),
    "rlhf_lm_trainer_gradient":
        (c_int32, [POINTER(rlhf_lm_trainer), c_char_p, POINTER(c_float), c_int64]),
    "rlhf_lm_trainer_evaluate":
        (c_int32, [POINTER(rlhf_lm_trainer), POINTER(rlhf_dataset), c_int64,
          POINTER(c_double)]),
    "rlhf_lm_trainer_set_learning_rate": (c_int32, [POINTER(rlhf_lm_trainer), c_double]),
    "rlhf_lm_trainer_num_steps": (c_int64, [POINTER(rlhf_lm_trainer)]),
    "rlhf_lm_trainer_save": (c_int32, [POINTER(rlhf_lm_trainer), c_char_p]),
    "rlhf_lm_trainer_resume": (c_int32, [POINTER(rlhf_lm_trainer), c_char_p]),
    "rlhf_reward_model_options_init": (c_int32, [POINTER(rlhf_reward_model_options), c_size_t]),
    "rlhf_reward_model_create":
        (c_int32, [POINTER(rlhf_model), POINTER(rlhf_reward_model_options),
          POINTER(POINTER(rlhf_reward_model))]),
    "rlhf_reward_model_load":
        (c_int32, [POINTER(rlhf_context), c_char_p, POINTER(POINTER(rlhf_reward_model))]),
    "rlhf_reward_model_save": (c_int32, [POINTER(rlhf_reward_model), c_char_p]),
    "rlhf_reward_model_clone":
        (c_int32, [POINTER(rlhf_reward_model), POINTER(POINTER(rlhf_reward_model))]),
    "rlhf_reward_model_free": (None, [POINTER(rlhf_reward_model)]),
    "rlhf_reward_model_score":
        (c_int32, [POINTER(rlhf_reward_model), POINTER(c_int32), POINTER(c_int64),
          c_int64, POINTER(c_float)]),
    "rlhf_reward_model_normalize":
        (c_int32, [POINTER(rlhf_reward_model), POINTER(c_int32), POINTER(c_int64),
          c_int64, c_int32]),
    "rlhf_reward_model_get_affine":
        (c_int32, [POINTER(rlhf_reward_model), POINTER(c_double), POINTER(c_double)]),
    "rlhf_reward_model_set_affine": (c_int32, [POINTER(rlhf_reward_model), c_double, c_double]),
    "rlhf_reward_model_get_config":
        (c_int32, [POINTER(rlhf_reward_model), POINTER(rlhf_model_config)]),
    "rlhf_reward_model_num_parameters": (c_int64, [POINTER(rlhf_reward_model)]),
    "rlhf_reward_model_num_parameter_names": (c_int64, [POINTER(rlhf_reward_model)]),
    "rlhf_reward_model_parameter_info":
        (c_int32, [POINTER(rlhf_reward_model), c_int64, POINTER(rlhf_parameter_info)]),
    "rlhf_reward_model_parameter_read":
        (c_int32, [POINTER(rlhf_reward_model), c_char_p, POINTER(c_float), c_int64]),
    "rlhf_reward_model_parameter_write":
        (c_int32, [POINTER(rlhf_reward_model), c_char_p, POINTER(c_float), c_int64]),
    "rlhf_reward_model_freeze": (c_int32, [POINTER(rlhf_reward_model)]),
    "rlhf_reward_options_init": (c_int32, [POINTER(rlhf_reward_options), c_size_t]),
    "rlhf_reward_trainer_create":
        (c_int32, [POINTER(rlhf_reward_model), POINTER(rlhf_dataset),
          POINTER(rlhf_reward_options), POINTER(POINTER(rlhf_reward_trainer))]),
    "rlhf_reward_trainer_free": (None, [POINTER(rlhf_reward_trainer)]),
    "rlhf_reward_trainer_step":
        (c_int32, [POINTER(rlhf_reward_trainer), POINTER(rlhf_reward_stats)]),
    "rlhf_reward_trainer_accumulate": (c_int32, [POINTER(rlhf_reward_trainer), POINTER(c_int64)]),
    "rlhf_reward_trainer_apply":
        (c_int32, [POINTER(rlhf_reward_trainer), POINTER(rlhf_reward_stats)]),
    "rlhf_reward_trainer_gradient":
        (c_int32, [POINTER(rlhf_reward_trainer), c_char_p, POINTER(c_float), c_int64]),
    "rlhf_reward_trainer_evaluate":
        (c_int32, [POINTER(rlhf_reward_trainer), POINTER(rlhf_dataset), c_int64,
          POINTER(rlhf_reward_stats)]),
    "rlhf_reward_trainer_set_learning_rate": (c_int32, [POINTER(rlhf_reward_trainer), c_double]),
    "rlhf_reward_trainer_num_steps": (c_int64, [POINTER(rlhf_reward_trainer)]),
    "rlhf_reward_trainer_save": (c_int32, [POINTER(rlhf_reward_trainer), c_char_p]),
    "rlhf_reward_trainer_resume": (c_int32, [POINTER(rlhf_reward_trainer), c_char_p]),
    "rlhf_ppo_options_init": (c_int32, [POINTER(rlhf_ppo_options), c_size_t]),
    "rlhf_ppo_options_preset": (c_int32, [POINTER(rlhf_ppo_options), c_size_t, c_char_p]),
    "rlhf_ppo_trainer_create":
        (c_int32, [POINTER(rlhf_model), POINTER(rlhf_model), POINTER(rlhf_reward_model),
          POINTER(rlhf_reward_model), POINTER(rlhf_ppo_options),
          POINTER(POINTER(rlhf_ppo_trainer))]),
    "rlhf_ppo_trainer_free": (None, [POINTER(rlhf_ppo_trainer)]),
    "rlhf_ppo_trainer_step":
        (c_int32, [POINTER(rlhf_ppo_trainer), POINTER(c_int32), POINTER(c_int64), c_int64,
          POINTER(rlhf_ppo_stats)]),
    "rlhf_ppo_trainer_rollout":
        (c_int32, [POINTER(rlhf_ppo_trainer), POINTER(c_int32), POINTER(c_int64), c_int64,
          POINTER(POINTER(rlhf_rollout))]),
    "rlhf_ppo_trainer_score": (c_int32, [POINTER(rlhf_ppo_trainer), POINTER(rlhf_rollout)]),
    "rlhf_ppo_trainer_advantages": (c_int32, [POINTER(rlhf_ppo_trainer), POINTER(rlhf_rollout)]),
    "rlhf_ppo_trainer_update":
        (c_int32, [POINTER(rlhf_ppo_trainer), POINTER(rlhf_rollout),
          POINTER(rlhf_ppo_stats)]),
    "rlhf_ppo_trainer_accumulate":
        (c_int32, [POINTER(rlhf_ppo_trainer), POINTER(rlhf_rollout), POINTER(c_int64)]),
    "rlhf_ppo_trainer_apply":
        (c_int32, [POINTER(rlhf_ppo_trainer), POINTER(c_int32), POINTER(rlhf_ppo_stats)]),
    "rlhf_ppo_trainer_gradient":
        (c_int32, [POINTER(rlhf_ppo_trainer), c_int32, c_char_p, POINTER(c_float),
          c_int64]),
    "rlhf_ppo_trainer_evaluate":
        (c_int32, [POINTER(rlhf_ppo_trainer), POINTER(c_int32), POINTER(c_int64), c_int64,
          POINTER(rlhf_ppo_stats), POINTER(POINTER(rlhf_rollout))]),
    "rlhf_ppo_trainer_set_sampler": (c_int32, [POINTER(rlhf_ppo_trainer), POINTER(rlhf_sampler)]),
    "rlhf_ppo_trainer_set_learning_rate":
        (c_int32, [POINTER(rlhf_ppo_trainer), c_double, c_double]),
    "rlhf_ppo_trainer_set_kl_coef": (c_int32, [POINTER(rlhf_ppo_trainer), c_double]),
    "rlhf_ppo_trainer_abandon": (c_int32, [POINTER(rlhf_ppo_trainer)]),
    "rlhf_ppo_trainer_num_iterations": (c_int64, [POINTER(rlhf_ppo_trainer)]),
    "rlhf_ppo_trainer_is_current": (c_int32, [POINTER(rlhf_ppo_trainer), POINTER(rlhf_rollout)]),
    "rlhf_ppo_trainer_clone_critic":
        (c_int32, [POINTER(rlhf_ppo_trainer), POINTER(POINTER(rlhf_reward_model))]),
    "rlhf_ppo_trainer_save": (c_int32, [POINTER(rlhf_ppo_trainer), c_char_p]),
    "rlhf_ppo_trainer_resume":
        (c_int32, [POINTER(rlhf_ppo_trainer), c_char_p, POINTER(POINTER(rlhf_rollout))]),
    "rlhf_rollout_create": (c_int32, [POINTER(rlhf_context), POINTER(POINTER(rlhf_rollout))]),
    "rlhf_rollout_free": (None, [POINTER(rlhf_rollout)]),
    "rlhf_rollout_append": (c_int32, [POINTER(rlhf_rollout), POINTER(rlhf_rollout_input)]),
    "rlhf_rollout_num_sequences": (c_int64, [POINTER(rlhf_rollout)]),
    "rlhf_rollout_get":
        (c_int32, [POINTER(rlhf_rollout), c_int64, POINTER(rlhf_rollout_sequence)]),
    "rlhf_rollout_set_scores": (c_int32, [POINTER(rlhf_rollout), POINTER(c_float), c_int64]),
    "rlhf_rollout_set_token_scores":
        (c_int32, [POINTER(rlhf_rollout), c_int64, POINTER(c_float), c_int64]),
    "rlhf_rollout_write_jsonl":
        (c_int32, [POINTER(rlhf_rollout), POINTER(rlhf_tokenizer), c_char_p]),
}


# The headers' words on each.
DOCS: Dict[str, str] = {
    "rlhf_last_error_message":
    """rlhf_last_error_message()

Text of the calling thread's last failure: one line, no newline at its end.

@return Thread-owned storage, never NULL; valid until the thread's next failing call.
        Meaningful only right after a failure. "" before the thread's first.
@threads Any.
@since 0.1
""",
    "rlhf_last_error_info":
    """rlhf_last_error_info(info)

The calling thread's last failure in parts, so that no binding parses text.

@param info  In: struct_size set. Out: filled; its strings are thread-owned and valid
             until the thread's next failing call.
@return RLHF_OK; RLHF_ERR_INVALID_ARG (NULL, or struct_size not set), which leaves the
        last failure what it was where `info` is NULL or its size is below 8.
@threads Any.
@since 0.1
""",
    "rlhf_status_name":
    """rlhf_status_name(status)

Name of a status, such as "RLHF_ERR_IO".

@param status  Any value.
@return Static storage; "RLHF_ERR_UNKNOWN" for a value that is not an rlhf_status.
@threads Any.
@since 0.1
""",
    "rlhf_version":
    """rlhf_version()

The library's version, "MAJOR.MINOR.PATCH".

@return Static storage.
@threads Any.
@since 0.1
""",
    "rlhf_context_options_init":
    """rlhf_context_options_init(options, struct_size)

Fills `options` with defaults: all CPUs, the best level, fp32, log from RLHF_LOG_INFO
on, the C library's allocator, no callbacks, weights read into memory.

@param options      Written whole.
@param struct_size  sizeof(rlhf_context_options).
@return RLHF_OK; RLHF_ERR_INVALID_ARG (NULL, or a struct_size below the first
        version's).
@since 0.1
""",
    "rlhf_context_create":
    """rlhf_context_create(options, out_context)

Makes a context and starts its threads.

@param options      NULL: defaults.
@param out_context  The caller's.
@return RLHF_OK; RLHF_ERR_INVALID_ARG (a field, named with bound and value; a slot of
        the allocator); RLHF_ERR_NO_MEMORY; RLHF_ERR_UNSUPPORTED (a level that this
        CPU lacks); RLHF_ERR_IO (the system starts no more threads).
@since 0.1
""",
    "rlhf_context_free":
    """rlhf_context_free(context)

Gives the caller's hold back. Objects made from the context keep it alive, so they may
be freed later. In a forked child it frees memory and joins no thread.

@param context  NULL is a no-op.
@since 0.1
""",
    "rlhf_context_cancel":
    """rlhf_context_cancel(context)

Asks the call that works on the context, or the next one that looks, to stop: it
returns RLHF_ERR_CANCELLED and the request is then forgotten. Long calls look at least
every 100 ms; short ones never do. One atomic store.

@param context  NULL is a no-op.
@threads Any; also from a callback and from a signal handler.
@since 0.1
""",
    "rlhf_context_cpu_level":
    """rlhf_context_cpu_level(context)

The kernel level in use.

@param context  NULL gives 0.
@return An rlhf_cpu_level, never RLHF_CPU_AUTO.
@since 0.1
""",
    "rlhf_context_dtype":
    """rlhf_context_dtype(context)

The compute dtype.

@param context  NULL gives 0.
@return An rlhf_dtype.
@since 0.1
""",
    "rlhf_context_num_threads":
    """rlhf_context_num_threads(context)

Threads that work in a call, the caller's among them.

@param context  NULL gives 0.
@return At least 1.
@since 0.1
""",
    "rlhf_context_memory":
    """rlhf_context_memory(context, info)

Memory of the context's allocator that it and its objects hold. Samplers belong to no
context and are not in it.

@param context  The context.
@param info     In: struct_size set. Out: filled.
@return RLHF_OK; RLHF_ERR_INVALID_ARG.
@threads Any; figures of one instant only if no call runs.
@since 0.1
""",
    "rlhf_config_load":
    """rlhf_config_load(context, path, out_config)

Reads a YAML file: one document of nested mappings of scalars, without lists, anchors,
aliases or tags, at most 1 MiB, 10000 keys, nested 32 deep. An empty file has no keys.

@param context     Its allocator and limits.
@param path        The file.
@param out_config  The caller's.
@return RLHF_OK; RLHF_ERR_NOT_FOUND, RLHF_ERR_IO; RLHF_ERR_LIMIT; RLHF_ERR_FORMAT (not
        such a file, or a key twice); RLHF_ERR_INVALID_ARG (an empty path).
@since 0.1
""",
    "rlhf_config_free":
    """rlhf_config_free(config)

Frees a config. The strings that it handed out, those in options structs too, go with
it.

@param config  NULL is a no-op.
@since 0.1
""",
    "rlhf_config_read":
    """rlhf_config_read(config, section, struct_name, options)

Fills the fields of an options struct that a section names; the others stay as they
are. Enums are written by name ("cosine"), flags as true, false, 1 or 0;
docs/options.md lists all fields. A mapping inside of the section is left for another
read.

@param config       The file.
@param section      "ppo", "model", or "a.b"; one that is not there changes nothing.
@param struct_name  "rlhf_ppo_options" and the like; any options struct of the library.
                    In an rlhf_ppo_options section the key `preset`, wherever it
                    stands, is applied first, and replaces every field of `options`:
                    set what depends on the program afterwards.
@param options      That struct, initialised. Texts in it are the config's.
@return RLHF_OK; RLHF_ERR_FORMAT (an unknown key, a value of another type or out of
        range, with bound and value in the text); RLHF_ERR_NOT_FOUND (no such
        struct); RLHF_ERR_INVALID_ARG (an empty section, struct_size).
@since 0.1
""",
    "rlhf_config_string":
    """rlhf_config_string(config, path, fallback, out_value)

A text at a path such as "paths.model".

@param config     The file.
@param path       Keys, joined by dots.
@param fallback   Given back where the key is not there or has no value; may be NULL.
@param out_value  The config's, or `fallback`.
@return RLHF_OK; RLHF_ERR_FORMAT (a section stands there); RLHF_ERR_INVALID_ARG (an
        empty path).
@since 0.1
""",
    "rlhf_config_int":
    """rlhf_config_int(config, path, fallback, min, max, out_value)

An integer at a path.

@param config     The file.
@param path       Keys, joined by dots.
@param fallback   Where the key is not there; not checked against the range.
@param min        Least value allowed in the file.
@param max        Greatest value allowed in the file.
@param out_value  Written on success.
@return RLHF_OK; RLHF_ERR_FORMAT (not an integer, out of range); RLHF_ERR_INVALID_ARG
        (an empty path).
@since 0.1
""",
    "rlhf_config_double":
    """rlhf_config_double(config, path, fallback, min, max, out_value)

A number at a path; as rlhf_config_int.

@param config     The file.
@param path       Keys, joined by dots.
@param fallback   Where the key is not there; not checked against the range.
@param min        Least value allowed in the file.
@param max        Greatest value allowed in the file.
@param out_value  Written on success.
@return As rlhf_config_int.
@since 0.1
""",
    "rlhf_config_finish":
    """rlhf_config_finish(config)

Ends the reading: every key of the file must have been asked for by now.

@param config  The file.
@return RLHF_OK; RLHF_ERR_FORMAT naming the first key or section that nobody read.
@since 0.1
""",
    "rlhf_tokenizer_train_options_init":
    """rlhf_tokenizer_train_options_init(options, struct_size)

Fills `options` with defaults: vocab_size 1024, min_frequency 2, "<|endoftext|>" as the
one special token, and as bos and eos.

@param options      Written whole; the strings it points to are static.
@param struct_size  sizeof(rlhf_tokenizer_train_options).
@return RLHF_OK; RLHF_ERR_INVALID_ARG.
@threads Any.
@since 0.1
""",
    "rlhf_tokenizer_train":
    """rlhf_tokenizer_train(context, texts, sizes, num_texts, options, out_tokenizer)

Learns a byte-level BPE (Sennrich et al. 2016; GPT-2's pre-tokenizer and byte alphabet)
from texts; merges and ids are those of Hugging Face's BpeTrainer.

@param context        Its allocator, progress ("tokenizer") and cancellation.
@param texts          [num_texts] pointers to UTF-8, or any, bytes; no piece spans two.
@param sizes          [num_texts] bytes each.
@param num_texts      >= 0
@param options        NULL: defaults.
@param out_tokenizer  The caller's.
@return RLHF_OK; RLHF_ERR_INVALID_ARG (an option, named); RLHF_ERR_LIMIT (more words,
        symbols or pairs than 32-bit indices hold); RLHF_ERR_CANCELLED.
@since 0.1
""",
    "rlhf_tokenizer_load":
    """rlhf_tokenizer_load(context, path, out_tokenizer)

Reads tokenizer.json, and tokenizer_config.json beside it if there is one.

@param context        Its allocator, cancellation and log (a warning for a bos or eos
                      that is no token).
@param path           A folder, or a file whose name ends in ".json".
@param out_tokenizer  The caller's.
@return RLHF_OK; RLHF_ERR_NOT_FOUND, RLHF_ERR_IO; RLHF_ERR_FORMAT; RLHF_ERR_LIMIT
        (256 MiB, 2^22 ids, a token of more than 1 MiB, a normalizer or decoder that
        makes a token many times as long); RLHF_ERR_UNSUPPORTED (a component this
        library lacks). Each names file and field. RLHF_ERR_INVALID_ARG (an empty
        path); RLHF_ERR_CANCELLED.
@since 0.1
""",
    "rlhf_tokenizer_save":
    """rlhf_tokenizer_save(tokenizer, path)

Writes tokenizer.json and tokenizer_config.json into a folder, whole or not at all; the
folder's other files are kept. Files that were loaded are written back byte for byte.

@param tokenizer  Unchanged.
@param path       As in rlhf_model_save.
@return RLHF_OK; RLHF_ERR_IO, RLHF_ERR_NOT_FOUND, RLHF_ERR_INVALID_ARG (an empty
        path, the current directory). On failure the folder is as it was.
@since 0.1
""",
    "rlhf_tokenizer_free":
    """rlhf_tokenizer_free(tokenizer)

Gives the caller's hold back; datasets, generators and streams that use it keep it
alive.

@param tokenizer  NULL is a no-op.
@threads Any.
@since 0.1
""",
    "rlhf_tokenizer_vocab_size":
    """rlhf_tokenizer_vocab_size(tokenizer)

Ids of the tokenizer are below this.

@param tokenizer  NULL gives 0.
@return The greatest id + 1.
@since 0.1
""",
    "rlhf_tokenizer_bos_id":
    """rlhf_tokenizer_bos_id(tokenizer)

The token that begins a text.

@param tokenizer  NULL gives -1.
@return Its id, -1 if there is none.
@since 0.1
""",
    "rlhf_tokenizer_eos_id":
    """rlhf_tokenizer_eos_id(tokenizer)

The token that ends a text.

@param tokenizer  NULL gives -1.
@return Its id, -1 if there is none.
@since 0.1
""",
    "rlhf_tokenizer_token_id":
    """rlhf_tokenizer_token_id(tokenizer, token)

A token by its text as in tokenizer.json ("Ġthe"), added tokens included.

@param tokenizer  NULL gives -1.
@param token      Zero-terminated; NULL gives -1.
@return Its id, -1 if there is none.
@since 0.1
""",
    "rlhf_tokenizer_encode":
    """rlhf_tokenizer_encode(tokenizer, text, size, parse_special, out_ids, capacity, out_count)

Text to ids. No BOS or EOS is added, whatever the file's post-processor says. Datasets
put one BOS before each row (rlhf_dataset_options.add_bos): do the same for a prompt of
a model that was trained on them.

@param tokenizer      Unchanged.
@param text           `size` bytes, any bytes; NULL with size 0.
@param size           Bytes.
@param parse_special  Not 0: special tokens written out in the text become their ids.
@param out_ids        [capacity], or NULL with capacity 0 to ask for the count alone.
@param capacity       >= 0. A byte-level tokenizer never needs more than size + 1.
@param out_count      Ids of the whole text, written also with RLHF_ERR_LIMIT.
@return RLHF_OK; RLHF_ERR_LIMIT (out_ids is not NULL and capacity too small, 0 too,
        and no id is written; or a pattern of the file that needs too many steps on
        this text, or a normalizer that makes it many times as long, and nothing is
        written); RLHF_ERR_INVALID_ARG.
@since 0.1
""",
    "rlhf_tokenizer_decode":
    """rlhf_tokenizer_decode(tokenizer, ids, num_ids, skip_special, out_text, capacity, out_size)

Ids to text, which need not be UTF-8: ids can end within a character.

@param tokenizer     Unchanged.
@param ids           [num_ids]; NULL with 0.
@param num_ids       >= 0
@param skip_special  Not 0: special tokens give no text.
@param out_text      [capacity] bytes, zero-terminated where there is room for the
                     zero; NULL with capacity 0 to ask for the size alone.
@param capacity      Bytes.
@param out_size      Bytes of the whole text without the zero, also with
                     RLHF_ERR_LIMIT.
@return RLHF_OK; RLHF_ERR_INVALID_ARG (an id that no token has); RLHF_ERR_LIMIT
        (out_text is not NULL and capacity too small, 0 too; no text is written).
@since 0.1
""",
    "rlhf_text_stream_create":
    """rlhf_text_stream_create(tokenizer, skip_special, out_stream)

Begins to decode a stream of ids. Its pieces end to end are what decoding all ids at
once gives, and none ends within a UTF-8 character.

@param tokenizer     Kept alive by the stream.
@param skip_special  Not 0: special tokens give no text.
@param out_stream    The caller's.
@return RLHF_OK; RLHF_ERR_INVALID_ARG, RLHF_ERR_NO_MEMORY.
@since 0.1
""",
    "rlhf_text_stream_push":
    """rlhf_text_stream_push(stream, id, out_text, out_size)

Adds one id.

@param stream    The stream.
@param id        A token's; -1 ends the text: what is held back comes out as it is, and
                 the stream starts afresh.
@param out_text  Stream-owned, zero-terminated, valid until the next call; "" if
                 there is nothing to give yet.
@param out_size  Its bytes, without the zero.
@return RLHF_OK; RLHF_ERR_INVALID_ARG (an id that no token has). On failure the
        stream is as before, the text given last is gone.
@threads One at a time for each stream.
@since 0.1
""",
    "rlhf_text_stream_free":
    """rlhf_text_stream_free(stream)

Frees a stream.

@param stream  NULL is a no-op.
@since 0.1
""",
    "rlhf_dataset_options_init":
    """rlhf_dataset_options_init(options, struct_size)

Fills `options` with defaults: texts, 512 tokens, truncate, BOS and EOS where there
are, shuffled with seed 0, for ever.

@param options      Written whole.
@param struct_size  sizeof(rlhf_dataset_options).
@return RLHF_OK; RLHF_ERR_INVALID_ARG.
@threads Any.
@since 0.1
""",
    "rlhf_dataset_load":
    """rlhf_dataset_load(context, tokenizer, path, options, out_dataset)

Reads a file. ".jsonl" and ".json": one JSON object a line, with TRL's fields: `text`;
`prompt` + `completion`; `prompt` + `chosen` + `rejected` (+ `margin`; without `prompt`
it is the common beginning); `prompt` alone; ids where present (`prompt_ids`,
`completion_ids`, `chosen_ids`, `rejected_ids`) before texts. Any other name: plain
text, cut into blocks of max_length tokens, the last one short. Prompt and answer are
encoded together, with one BOS, and split at the token boundary. Counts are logged.

@param context      Its allocator, log and progress ("dataset").
@param tokenizer    Kept alive by the dataset.
@param path         The file; at most 4 GiB, a line at most 16 MiB.
@param options      NULL: defaults.
@param out_dataset  The caller's.
@return RLHF_OK; RLHF_ERR_NOT_FOUND, RLHF_ERR_IO; RLHF_ERR_FORMAT naming file, line and
        field; RLHF_ERR_UNSUPPORTED (a conversation); RLHF_ERR_LIMIT;
        RLHF_ERR_INVALID_ARG (an empty path; an option; plain text of another kind than
        text); RLHF_ERR_CANCELLED.
@since 0.1
""",
    "rlhf_dataset_create":
    """rlhf_dataset_create(context, options, out_dataset)

An empty dataset for rlhf_dataset_append.

@param context      Its allocator.
@param options      NULL: defaults. add_bos and add_eos mean nothing here: ids stay as
                    they are.
@param out_dataset  The caller's.
@return RLHF_OK; RLHF_ERR_INVALID_ARG (an option, named).
@since 0.1
""",
    "rlhf_dataset_create_from_source":
    """rlhf_dataset_create_from_source(context, kind, ops, user_data, out_dataset)

A dataset that draws from the host's source.

@param context      Its allocator.
@param kind         An rlhf_dataset_kind.
@param ops          Copied.
@param user_data    First argument of its slots; must live until `destroy`.
@param out_dataset  The caller's.
@return RLHF_OK; RLHF_ERR_INVALID_ARG (`next` missing, `save` without `restore`, kind),
        and `destroy` is not called then.
@since 0.1
""",
    "rlhf_dataset_free":
    """rlhf_dataset_free(dataset)

Gives the caller's hold back; trainers that draw from the dataset keep it alive.

@param dataset  NULL is a no-op.
@since 0.1
""",
    "rlhf_dataset_append":
    """rlhf_dataset_append(dataset, example)

Adds a row of ids, under the same rules as a file's: a row that is empty, identical or
too long is counted and dropped (RLHF_OK), or truncated; a text is cut into blocks.

@param dataset  In memory, and no row drawn from it yet.
@param example  Copied. A prompt's prompt_length may be 0 or num_tokens.
@return RLHF_OK; RLHF_ERR_INVALID_ARG (a length, an id, a prompt that differs between
        the sides, a margin; named); RLHF_ERR_STATE (rows were drawn);
        RLHF_ERR_UNSUPPORTED (a host's source).
@since 0.1
""",
    "rlhf_dataset_split":
    """rlhf_dataset_split(dataset, held_out, seed, out_train, out_held_out)

Copies the rows into two new datasets by a seeded draw; each keeps the order of the
rows and starts at its own beginning. `dataset` stays as it was.

@param dataset       In memory.
@param held_out      Rows of the second, [0, num_rows].
@param seed          Same seed, same draw.
@param out_train     The caller's.
@param out_held_out  The caller's.
@return RLHF_OK; RLHF_ERR_INVALID_ARG; RLHF_ERR_UNSUPPORTED (a host's source).
@since 0.1
""",
    "rlhf_dataset_get_info":
    """rlhf_dataset_get_info(dataset, info)

Counts of the rows kept and dropped.

@param dataset  The dataset.
@param info     In: struct_size set. Out: filled.
@return RLHF_OK; RLHF_ERR_INVALID_ARG.
@since 0.1
""",
    "rlhf_dataset_row":
    """rlhf_dataset_row(dataset, index, out_example)

A row by its number, in the order of the file. The stream stays where it is.

@param dataset      In memory.
@param index        [0, num_rows).
@param out_example  In: struct_size set. Out: filled; pointers are the dataset's
                    until its next call.
@return RLHF_OK; RLHF_ERR_INVALID_ARG; RLHF_ERR_UNSUPPORTED (a host's source).
@since 0.1
""",
    "rlhf_dataset_next":
    """rlhf_dataset_next(dataset, out_example)

The next row of the stream: in the file's order, or in a fresh seeded one each epoch.

@param dataset      The dataset.
@param out_example  In: struct_size set. Out: filled; pointers are the dataset's, or
                    the host's source's, until its next call.
@return RLHF_OK; RLHF_ERR_NOT_FOUND (after the last epoch, or of a dataset without
        rows); RLHF_ERR_CALLBACK (the source failed, or its row is refused). On
        failure the stream of a dataset in memory is where it was.
@since 0.1
""",
    "rlhf_dataset_rewind":
    """rlhf_dataset_rewind(dataset)

Back to the first row of the first epoch.

@param dataset  In memory.
@return RLHF_OK; RLHF_ERR_UNSUPPORTED (a host's source).
@since 0.1
""",
    "rlhf_dataset_save_position":
    """rlhf_dataset_save_position(dataset, out_bytes, capacity, out_size)

The stream's position, for rlhf_dataset_restore_position of a dataset of the same rows,
seed and shuffling, also in another process.

@param dataset    The dataset.
@param out_bytes  [capacity] bytes.
@param capacity   RLHF_SOURCE_POSITION_MAX always suffices.
@param out_size   Bytes written.
@return RLHF_OK; RLHF_ERR_LIMIT (capacity); RLHF_ERR_UNSUPPORTED (a source without
        `save`); RLHF_ERR_CALLBACK.
@since 0.1
""",
    "rlhf_dataset_restore_position":
    """rlhf_dataset_restore_position(dataset, bytes, size)

Goes to a saved position.

@param dataset  The dataset.
@param bytes    [size], as they were saved.
@param size     Bytes.
@return RLHF_OK; RLHF_ERR_FORMAT (not a position); RLHF_ERR_INVALID_ARG (of other
        rows, or of another order); RLHF_ERR_UNSUPPORTED (a source without
        `restore`); RLHF_ERR_CALLBACK.
@since 0.1
""",
    "rlhf_feedback_open":
    """rlhf_feedback_open(context, path, seed, out_feedback)

Opens the store, making it if it is not there, and checks its schema, which must be as
the library writes it, and its pages.

@param context       Its allocator and cancellation.
@param path          The file; its folder must be there.
@param seed          Of the display order of comparisons added through this handle.
@param out_feedback  The caller's.
@return RLHF_OK; RLHF_ERR_IO, RLHF_ERR_NOT_FOUND (it cannot be opened, or is
        read-only); RLHF_ERR_FORMAT (not such a store, or damaged);
        RLHF_ERR_UNSUPPORTED (newer); RLHF_ERR_INVALID_ARG (an empty path).
@since 0.1
""",
    "rlhf_feedback_free":
    """rlhf_feedback_free(feedback)

Closes the store.

@param feedback  NULL is a no-op.
@since 0.1
""",
    "rlhf_feedback_add":
    """rlhf_feedback_add(feedback, comparison, out_id)

Adds a pair to be compared.

@param feedback    The store.
@param comparison  Copied.
@param out_id      Optional: the new comparison's id.
@return RLHF_OK; RLHF_ERR_EXISTS (both answers are the same: equal texts, or equal
        ids); RLHF_ERR_INVALID_ARG (a negative id or count); RLHF_ERR_LIMIT (more ids
        or bytes than a comparison may have, or 2^53 comparisons).
@since 0.1
""",
    "rlhf_feedback_add_many":
    """rlhf_feedback_add_many(feedback, comparisons, count, out_skipped)

Adds many pairs in one transaction: all, or none on failure. Pairs with equal answers
are left out and counted.

@param feedback     The store.
@param comparisons  [count], lying the first one's struct_size apart; copied.
@param count        >= 0
@param out_skipped  Optional: pairs left out; written on success.
@return As rlhf_feedback_add, without RLHF_ERR_EXISTS.
@since 0.1
""",
    "rlhf_feedback_next":
    """rlhf_feedback_next(feedback, out)

The comparison of the lowest id that has no choice.

@param feedback  The store.
@param out       In: struct_size set. Out: filled.
@return RLHF_OK; RLHF_ERR_NOT_FOUND (none is left); RLHF_ERR_INVALID_ARG.
@since 0.1
""",
    "rlhf_feedback_get":
    """rlhf_feedback_get(feedback, id, out)

A comparison by its id.

@param feedback  The store.
@param id        As _add gave it.
@param out       In: struct_size set. Out: filled.
@return RLHF_OK; RLHF_ERR_NOT_FOUND; RLHF_ERR_INVALID_ARG.
@since 0.1
""",
    "rlhf_feedback_choose":
    """rlhf_feedback_choose(feedback, id, choice)

Records a choice.

@param feedback  The store.
@param id        The comparison.
@param choice    An rlhf_choice in terms of the display; not RLHF_CHOICE_NONE.
@return RLHF_OK; RLHF_ERR_EXISTS (it has one; undo first); RLHF_ERR_NOT_FOUND;
        RLHF_ERR_INVALID_ARG; RLHF_ERR_LIMIT (2^53 choices were made).
@since 0.1
""",
    "rlhf_feedback_undo":
    """rlhf_feedback_undo(feedback, out_id)

Takes the last choice back, and before that the one before; skips and ties too.

@param feedback  The store.
@param out_id    Optional: the comparison that is without a choice again.
@return RLHF_OK; RLHF_ERR_NOT_FOUND (there is no choice).
@since 0.1
""",
    "rlhf_feedback_get_info":
    """rlhf_feedback_get_info(feedback, info)

Counts of comparisons and choices.

@param feedback  The store.
@param info      In: struct_size set. Out: filled.
@return RLHF_OK; RLHF_ERR_INVALID_ARG.
@since 0.1
""",
    "rlhf_feedback_export":
    """rlhf_feedback_export(feedback, path)

Writes the choices of one instant as JSONL (`prompt`, `chosen`, `rejected`,
`prompt_ids`, `chosen_ids`, `rejected_ids`), in the order of ids; ties and skips are
left out. Bytes of texts that are not UTF-8 become U+FFFD; the ids are exact, and the
field is left out where a text came without any.

@param feedback  The store.
@param path      The file; appears whole or not at all. A link stays, and the file that
                 it names is replaced; rights as in rlhf_model_save.
@return RLHF_OK; RLHF_ERR_IO (also where the path is there and not a regular file),
        RLHF_ERR_NOT_FOUND (the folder); RLHF_ERR_INVALID_ARG (an empty path; the
        store's own file, or one that SQLite keeps beside it).
@since 0.1
""",
    "rlhf_feedback_dataset":
    """rlhf_feedback_dataset(feedback, options, out_dataset)

The choices of one instant as a preference dataset of ids, in the order of comparisons.
An answer that came as text alone is counted as empty.

@param feedback     The store.
@param options      NULL: defaults. Its kind is taken as RLHF_DATASET_PREFERENCE;
                    add_bos and add_eos mean nothing: ids stay as they are.
@param out_dataset  The caller's; independent of the store.
@return RLHF_OK; RLHF_ERR_INVALID_ARG (an option, named).
@since 0.1
""",
    "rlhf_model_config_init":
    """rlhf_model_config_init(config, struct_size)

Fills `config` with defaults: a GPT-2-style model of 4 layers, 4 heads, width 128 and
256 tokens of context, tied; vocab_size is 0, to be set. docs/options.md lists all.

@param config       Written whole.
@param struct_size  sizeof(rlhf_model_config).
@return RLHF_OK; RLHF_ERR_INVALID_ARG.
@threads Any.
@since 0.1
""",
    "rlhf_model_create":
    """rlhf_model_create(context, config, seed, out_model)

A fresh model with GPT-2's published initialisation (Radford et al. 2019): matrices,
the position table among them, N(0, initializer_range), residual projections scaled by
1/sqrt(2 * num_layers), norms 1, biases 0.

@param context    Its threads, allocator and kernels.
@param config     Copied, `layers` too.
@param seed       Same seed, same weights.
@param out_model  The caller's.
@return RLHF_OK; RLHF_ERR_INVALID_ARG (a field, named with its bound and value);
        RLHF_ERR_LIMIT (a parameter of more than 2^40 values, or more than 1 GiB of
        rotary tables).
@since 0.1
""",
    "rlhf_model_load":
    """rlhf_model_load(context, path, out_model)

Reads a Hugging Face folder: config.json and model.safetensors (or its index and
shards). GPT-2 and Llama architectures, and model_type "rlhf" of this library;
floating-point tensors become float32. docs/formats.md. A dropout that is not 0 is
logged and not used.

@param context    Its threads, allocator, log and progress ("load").
@param path       A folder.
@param out_model  The caller's.
@return RLHF_OK; RLHF_ERR_NOT_FOUND, RLHF_ERR_IO; RLHF_ERR_FORMAT (malformed, a
        tensor missing or misshapen, a reward model); RLHF_ERR_UNSUPPORTED (what the
        network cannot express); RLHF_ERR_LIMIT; RLHF_ERR_NUMERIC (a value that is
        not finite); RLHF_ERR_CANCELLED. Each names file and field.
        RLHF_ERR_INVALID_ARG (an empty path).
@since 0.1
""",
    "rlhf_model_save":
    """rlhf_model_save(model, path)

Writes a Hugging Face folder that transformers loads. The folder appears whole or not
at all; files in it that are not a model's (a tokenizer) are kept, and so are fields of
the config.json that the model was loaded from. A folder and files that are replaced
keep their modes, and owner and group where the process may give files away.

@param model  Unchanged.
@param path   A folder, made if it is not there; its parent must be. A link stays, and
              the folder that it names is replaced. The current directory and the
              folders above it are refused, for a folder put in its place would leave
              the process in one that is gone: save into a folder below it.
@return RLHF_OK; RLHF_ERR_IO, RLHF_ERR_NOT_FOUND (the parent); RLHF_ERR_INVALID_ARG (an
        empty path, the current directory); RLHF_ERR_CANCELLED. On failure the old
        folder is as it was.
@since 0.1
""",
    "rlhf_model_clone":
    """rlhf_model_clone(model, out_model)

A deep copy on the same context.

@param model      Unchanged.
@param out_model  The caller's.
@return RLHF_OK; RLHF_ERR_NO_MEMORY.
@since 0.1
""",
    "rlhf_model_free":
    """rlhf_model_free(model)

Gives the caller's hold back; trainers and generators that use the model keep it alive.

@param model  NULL is a no-op.
@since 0.1
""",
    "rlhf_model_get_config":
    """rlhf_model_get_config(model, out_config)

The model's config, every field resolved and every layer listed.

@param model       The model.
@param out_config  In: struct_size set. Out: filled; `layers` is the model's.
@return RLHF_OK; RLHF_ERR_INVALID_ARG.
@threads Any.
@since 0.1
""",
    "rlhf_model_num_parameters":
    """rlhf_model_num_parameters(model)

Number of parameters, tied ones once.

@param model  NULL gives 0.
@return The number of values in all named parameters.
@threads Any.
@since 0.1
""",
    "rlhf_model_num_parameter_names":
    """rlhf_model_num_parameter_names(model)

Number of named parameters.

@param model  NULL gives 0.
@return At least 1.
@threads Any.
@since 0.1
""",
    "rlhf_model_parameter_info":
    """rlhf_model_parameter_info(model, index, out_info)

Name and shape of a parameter.

@param model     The model.
@param index     [0, rlhf_model_num_parameter_names).
@param out_info  In: struct_size set. Out: filled.
@return RLHF_OK; RLHF_ERR_INVALID_ARG.
@threads Any.
@since 0.1
""",
    "rlhf_model_parameter_read":
    """rlhf_model_parameter_read(model, name, out_values, count)

Copies a parameter out.

@param model       Unchanged.
@param name        As in rlhf_parameter_info.
@param out_values  float32[rows][cols], row-major, caller-allocated.
@param count       rows * cols exactly.
@return RLHF_OK; RLHF_ERR_NOT_FOUND (no such name); RLHF_ERR_INVALID_ARG (count).
@since 0.1
""",
    "rlhf_model_parameter_write":
    """rlhf_model_parameter_write(model, name, values, count)

Copies a parameter in. Allowed between the steps of a trainer, which goes on from it.

@param model   The model.
@param name    As in rlhf_parameter_info.
@param values  float32[rows][cols], row-major, each finite.
@param count   rows * cols exactly.
@return RLHF_OK; RLHF_ERR_NOT_FOUND; RLHF_ERR_INVALID_ARG; RLHF_ERR_NUMERIC (a value
        that is not finite, named); RLHF_ERR_STATE (the model is frozen).
@since 0.1
""",
    "rlhf_model_freeze":
    """rlhf_model_freeze(model)

Makes a model read-only for good, and lets its memory shrink to what forward passes
read: in a context of RLHF_DTYPE_BF16 matrices are kept in bf16 alone, which halves the
model; in one of RLHF_DTYPE_FP32 the packed copies that decoding makes take the place
of the matrices. Whatever it computes stays the same, to the bit.

A frozen model generates, scores and serves as PPO's reference. It can be read, saved
and cloned: in bf16 the matrices that come out are the rounded ones, and saving takes
a copy in fp32 for the time of the call. A clone is not frozen. Neither can it be
written nor trained: RLHF_ERR_STATE. While it freezes, both forms are there.

@param model  The model. Frozen already: nothing happens.
@return RLHF_OK; RLHF_ERR_BUSY (a trainer trains it); RLHF_ERR_NO_MEMORY (it is as
        before).
@since 0.1
""",
    "rlhf_model_logits":
    """rlhf_model_logits(model, tokens, cu_seqlens, num_seqs, out_logits)

Logits of the next token after every token of a ragged batch. A sequence's are the same
bits in any batch.

@param model       Unchanged.
@param tokens      int32[cu_seqlens[num_seqs]], each in [0, vocab_size).
@param cu_seqlens  int64[num_seqs + 1], from 0, not descending.
@param num_seqs    >= 1
@param out_logits  float32[cu_seqlens[num_seqs]][vocab_size], caller-allocated.
@return RLHF_OK; RLHF_ERR_INVALID_ARG (a token, a length over the context, named);
        RLHF_ERR_CANCELLED. On failure the output is unspecified.
@since 0.1
""",
    "rlhf_model_logprobs":
    """rlhf_model_logprobs(model, tokens, cu_seqlens, num_seqs, temperature, out_logprobs)

Log-probability of each token given those before it in its sequence. Equal, bit for
bit, to what a generator records and to what the trainers compute.

@param model         Unchanged.
@param tokens        int32[cu_seqlens[num_seqs]], each in [0, vocab_size).
@param cu_seqlens    int64[num_seqs + 1], from 0, not descending.
@param num_seqs      >= 1
@param temperature   tau > 0, finite: log softmax(logits / tau).
@param out_logprobs  float32[cu_seqlens[num_seqs]], nats; a sequence's first is 0.
@return As rlhf_model_logits; RLHF_ERR_NUMERIC (one that is not finite, named).
@since 0.1
""",
    "rlhf_sampler_options_init":
    """rlhf_sampler_options_init(options, struct_size)

Fills `options` with defaults: temperature 1, no filter.

@param options      Written whole.
@param struct_size  sizeof(rlhf_sampler_options).
@return RLHF_OK; RLHF_ERR_INVALID_ARG.
@threads Any.
@since 0.1
""",
    "rlhf_sampler_create":
    """rlhf_sampler_create(options, out_sampler)

The library's own sampler. It has no state, so one serves many generators, of several
contexts too.

@param options      NULL: softmax at temperature 1.
@param out_sampler  The caller's.
@return RLHF_OK; RLHF_ERR_INVALID_ARG (an option, named).
@threads Any.
@since 0.1
""",
    "rlhf_sampler_create_custom":
    """rlhf_sampler_create_custom(ops, user_data, out_sampler)

A host's sampler.

@param ops          Copied.
@param user_data    First argument of its slots; must live until `destroy`.
@param out_sampler  The caller's.
@return RLHF_OK; RLHF_ERR_INVALID_ARG (`sample` missing; softmax_temperature negative
        or not finite), and `destroy` is not called then.
@threads Any.
@since 0.1
""",
    "rlhf_sampler_free":
    """rlhf_sampler_free(sampler)

Gives the caller's hold back; generators and trainers that use the sampler keep it
alive.

@param sampler  NULL is a no-op.
@threads Any.
@since 0.1
""",
    "rlhf_generator_options_init":
    """rlhf_generator_options_init(options, struct_size)

Fills `options` with defaults: 64 new tokens, the model's EOS, seed 0, no text.

@param options      Written whole.
@param struct_size  sizeof(rlhf_generator_options).
@return RLHF_OK; RLHF_ERR_INVALID_ARG.
@threads Any.
@since 0.1
""",
    "rlhf_generator_create":
    """rlhf_generator_create(model, sampler, options, out_generator)

Makes a generator. It has the keys and values; the model has weights only, so several
generators may serve one model.

@param model          Kept alive. Where its parameters change amid an answer, what was
                      cached is dropped and the sequence read again by the new ones.
@param sampler        Kept alive. NULL: softmax at temperature 1.
@param options        NULL: defaults.
@param out_generator  The caller's.
@return RLHF_OK; RLHF_ERR_INVALID_ARG (an option, named; min above max_new_tokens; a
        stop token outside of the vocabulary; stop tokens that are all of it, with
        min_new_tokens above 0; a text callback without a tokenizer).
@since 0.1
""",
    "rlhf_generator_free":
    """rlhf_generator_free(generator)

Frees a generator; answers that have not ended are given up.

@param generator  NULL is a no-op.
@since 0.1
""",
    "rlhf_generator_start":
    """rlhf_generator_start(generator, tokens, cu_seqlens, num_seqs, sequence_ids)

Takes a ragged batch of prompts and forgets the one before. An answer depends on its
prompt, id and seed only, not on the batch.

@param generator     The generator.
@param tokens        int32[cu_seqlens[num_seqs]]; copied.
@param cu_seqlens    int64[num_seqs + 1], from 0, ascending: no prompt is empty, and
                     each leaves room for a token in the model's context.
@param num_seqs      >= 1
@param sequence_ids  int64[num_seqs], or NULL: 0, 1, 2, ….
@return RLHF_OK; RLHF_ERR_INVALID_ARG (a prompt or a token, named), and the batch
        before is still there; after RLHF_ERR_NO_MEMORY there is none.
@since 0.1
""",
    "rlhf_generator_step":
    """rlhf_generator_step(generator, out_active)

Decodes one position of every sequence that goes on.

@param generator   After _start; without, there is nothing to do.
@param out_active  How many still go on.
@return RLHF_OK; RLHF_ERR_CANCELLED; RLHF_ERR_CALLBACK (the sampler);
        RLHF_ERR_NUMERIC (logits that are not finite). After a failure call again:
        what was picked is kept, and the answers are those of a run without it.
@since 0.1
""",
    "rlhf_generator_run":
    """rlhf_generator_run(generator)

Steps until all have ended. Progress ("generate") counts sequences.

@param generator  After _start.
@return As rlhf_generator_step; the same call goes on.
@since 0.1
""",
    "rlhf_generator_num_sequences":
    """rlhf_generator_num_sequences(generator)

Sequences of the batch.

@param generator  NULL gives 0.
@return 0 before the first _start.
@threads Not while another thread is in a call on the generator; from a callback too.
@since 0.1
""",
    "rlhf_generator_get":
    """rlhf_generator_get(generator, index, out_generation)

A sequence as far as it has come.

@param generator       The generator.
@param index           [0, rlhf_generator_num_sequences), in the order of _start.
@param out_generation  In: struct_size set. Out: filled.
@return RLHF_OK; RLHF_ERR_INVALID_ARG.
@threads As rlhf_generator_num_sequences.
@since 0.1
""",
    "rlhf_lm_options_init":
    """rlhf_lm_options_init(options, struct_size)

Fills `options` with defaults; docs/options.md lists them.

@param options      Written whole.
@param struct_size  sizeof(rlhf_lm_options).
@return RLHF_OK; RLHF_ERR_INVALID_ARG.
@threads Any.
@since 0.1
""",
    "rlhf_lm_trainer_create":
    """rlhf_lm_trainer_create(model, dataset, options, out_trainer)

Makes a trainer. A model has at most one.

@param model        Trained in place; kept alive.
@param dataset      Of the same context, RLHF_DATASET_TEXT or
                    RLHF_DATASET_COMPLETION; kept alive, drawn from. A row may have
                    context_length + 1 tokens: its last is predicted, never read.
@param options      NULL: defaults.
@param out_trainer  The caller's.
@return RLHF_OK; RLHF_ERR_INVALID_ARG (an option, named; the dataset's kind; of a
        dataset in memory the longest row, where it is too long, or the first with an
        id beyond the vocabulary, named; two contexts);
        RLHF_ERR_BUSY (another trainer trains the model); RLHF_ERR_STATE (the model is
        frozen).
@since 0.1
""",
    "rlhf_lm_trainer_free":
    """rlhf_lm_trainer_free(trainer)

Frees a trainer; the model stays as the last step left it.

@param trainer  NULL is a no-op.
@since 0.1
""",
    "rlhf_lm_trainer_step":
    """rlhf_lm_trainer_step(trainer, out_stats)

A whole optimizer step: what is left of rlhf_lm_trainer_accumulate, then _apply.

@param trainer    The trainer.
@param out_stats  Optional. In: struct_size set. Out: the step's.
@return RLHF_OK; RLHF_ERR_NOT_FOUND (the dataset has ended; a last short step comes
        before); RLHF_ERR_NUMERIC (a gradient that is not finite);
        RLHF_ERR_CANCELLED; RLHF_ERR_CALLBACK (the source); RLHF_ERR_INVALID_ARG
        (struct_size; a row of a source, or appended since _create, that is too long
        or has an id beyond the vocabulary, named by its own id: the same call goes on
        without it, a run resumed from before it is told again). The weights are then
        as before the step.
@since 0.1
""",
    "rlhf_lm_trainer_accumulate":
    """rlhf_lm_trainer_accumulate(trainer, out_remaining)

One micro-batch of the step under way, or of a new one: its gradients are added up.

@param trainer        The trainer.
@param out_remaining  Micro-batches still to come before rlhf_lm_trainer_apply.
@return As rlhf_lm_trainer_step; RLHF_ERR_STATE (all are there). After another
        failure the step begins anew: its micro-batches so far are dropped.
@since 0.1
""",
    "rlhf_lm_trainer_apply":
    """rlhf_lm_trainer_apply(trainer, out_stats)

Clips and updates the weights.

@param trainer    The trainer.
@param out_stats  As in rlhf_lm_trainer_step.
@return RLHF_OK; RLHF_ERR_STATE (micro-batches are missing); RLHF_ERR_NUMERIC (the
        gradient is not finite: it is dropped, the step begins anew);
        RLHF_ERR_INVALID_ARG (struct_size).
@since 0.1
""",
    "rlhf_lm_trainer_gradient":
    """rlhf_lm_trainer_gradient(trainer, name, out_values, count)

The gradient of a parameter, of the mean loss over the micro-batches accumulated so
far, before clipping.

@param trainer     Between _accumulate and _apply.
@param name        As in rlhf_parameter_info.
@param out_values  float32[rows][cols], row-major, caller-allocated.
@param count       rows * cols exactly.
@return RLHF_OK; RLHF_ERR_STATE (there is none); RLHF_ERR_NOT_FOUND (no such name);
        RLHF_ERR_INVALID_ARG (count).
@since 0.1
""",
    "rlhf_lm_trainer_evaluate":
    """rlhf_lm_trainer_evaluate(trainer, dataset, max_rows, out_loss)

Mean loss per target over rows of a dataset; nothing is trained. A dataset in memory is
read by row number, its stream stays; a host's source is drawn from. Allowed within a
step.

@param trainer   The trainer.
@param dataset   Of the trainer's context and its dataset's kind.
@param max_rows  At most this many; 0: all, which must end.
@param out_loss  Nats.
@return RLHF_OK; RLHF_ERR_INVALID_ARG (kind, context, max_rows below 0, no target, a
        row that _step would refuse: none is left out); RLHF_ERR_NUMERIC (a
        log-probability that is not finite; named); RLHF_ERR_CANCELLED;
        RLHF_ERR_CALLBACK.
@since 0.1
""",
    "rlhf_lm_trainer_set_learning_rate":
    """rlhf_lm_trainer_set_learning_rate(trainer, learning_rate)

Replaces the schedule's peak rate, learning_rate, from the next _apply on. Saved.

@param trainer        The trainer.
@param learning_rate  > 0, finite; as a float too.
@return RLHF_OK; RLHF_ERR_INVALID_ARG.
@since 0.1
""",
    "rlhf_lm_trainer_num_steps":
    """rlhf_lm_trainer_num_steps(trainer)

Steps done.

@param trainer  NULL gives 0.
@return Counted over resumed runs too.
@threads Not while another thread is in a call on the trainer; from a callback too.
@since 0.1
""",
    "rlhf_lm_trainer_save":
    """rlhf_lm_trainer_save(trainer, path)

Writes what the rest of the run depends on (weights, moments, step, rate, place in the
data) into one folder, whole or not at all. docs/formats.md.

@param trainer  Between _accumulate and _apply too: the state is that of the last
                optimizer step, and the resumed run begins the step under way again,
                with the same rows.
@param path     A folder of saved state, which is replaced as a whole, an empty one, or
                one that is not there; else as in rlhf_model_save.
@return RLHF_OK; RLHF_ERR_EXISTS (something else is there); RLHF_ERR_IO,
        RLHF_ERR_NOT_FOUND; RLHF_ERR_INVALID_ARG (an empty path, the current
        directory); RLHF_ERR_UNSUPPORTED, RLHF_ERR_CALLBACK (the source gives no
        position); RLHF_ERR_CANCELLED. On failure what was there is as it was.
@since 0.1
""",
    "rlhf_lm_trainer_resume":
    """rlhf_lm_trainer_resume(trainer, path)

Goes on where _save was, to the same bits on the same build and CPU level (else a
warning is logged). Model, dataset and options given to _create must be those of the
saved run: the model's weights are replaced, the data's rows are checked, the options
are not.

@param trainer  Any; a step under way is dropped.
@param path     The folder.
@return RLHF_OK; RLHF_ERR_NOT_FOUND, RLHF_ERR_IO; RLHF_ERR_FORMAT (damaged, or of
        another model's shapes); RLHF_ERR_UNSUPPORTED (written by a newer version);
        RLHF_ERR_INVALID_ARG (another kind of trainer, number of parameters, config,
        data or order; a learning rate that is too high for the options);
        RLHF_ERR_CALLBACK; RLHF_ERR_CANCELLED.
@since 0.1
""",
    "rlhf_reward_model_options_init":
    """rlhf_reward_model_options_init(options, struct_size)

Fills `options` with defaults: seed 0, EOS if missing, the model's EOS.

@param options      Written whole.
@param struct_size  sizeof(rlhf_reward_model_options).
@return RLHF_OK; RLHF_ERR_INVALID_ARG.
@threads Any.
@since 0.1
""",
    "rlhf_reward_model_create":
    """rlhf_reward_model_create(model, options, out_reward_model)

A reward model that starts from a copy of a language model's trunk, with a fresh head;
scale 1, offset 0.

@param model             Unchanged.
@param options           NULL: defaults.
@param out_reward_model  The caller's.
@return RLHF_OK; RLHF_ERR_INVALID_ARG (an option, named).
@since 0.1
""",
    "rlhf_reward_model_load":
    """rlhf_reward_model_load(context, path, out_reward_model)

Reads a Hugging Face folder of a …ForSequenceClassification with one label. Its scale
is 1, its offset the field `rlhf_score_offset` of config.json (0 if absent), its EOS
rule `rlhf_append_eos` ("never" or "if_missing", which also holds where it is absent,
as in TRL's reward training) and `rlhf_append_eos_id`.

@param context           As in rlhf_model_load.
@param path              A folder.
@param out_reward_model  The caller's.
@return As rlhf_model_load; RLHF_ERR_UNSUPPORTED also for another number of labels.
@since 0.1
""",
    "rlhf_reward_model_save":
    """rlhf_reward_model_save(reward_model, path)

Writes one, whole or not at all. The scale is multiplied into score.weight, the head's
bias and the offset become `rlhf_score_offset`: a reader that knows no such field gets
the scores less that constant.

@param reward_model  Unchanged.
@param path          As in rlhf_model_save.
@return As rlhf_model_save; RLHF_ERR_NUMERIC (scale times a weight is not finite).
@since 0.1
""",
    "rlhf_reward_model_clone":
    """rlhf_reward_model_clone(reward_model, out_reward_model)

A deep copy on the same context, scale and offset too.

@param reward_model      Unchanged.
@param out_reward_model  The caller's.
@return RLHF_OK; RLHF_ERR_NO_MEMORY.
@since 0.1
""",
    "rlhf_reward_model_free":
    """rlhf_reward_model_free(reward_model)

Gives the caller's hold back; trainers that use the model keep it alive.

@param reward_model  NULL is a no-op.
@since 0.1
""",
    "rlhf_reward_model_score":
    """rlhf_reward_model_score(reward_model, tokens, cu_seqlens, num_seqs, out_scores)

Scores of whole sequences (prompt + answer), EOS appended by the model's rule. A
sequence's score is the same bits in any batch.

@param reward_model  Unchanged.
@param tokens        int32[cu_seqlens[num_seqs]], each in [0, vocab_size).
@param cu_seqlens    int64[num_seqs + 1], from 0, ascending: no sequence is empty.
@param num_seqs      >= 1
@param out_scores    float32[num_seqs], scale * raw + offset.
@return As rlhf_model_logits; RLHF_ERR_NUMERIC (a score that is not finite).
@since 0.1
""",
    "rlhf_reward_model_normalize":
    """rlhf_reward_model_normalize(reward_model, tokens, cu_seqlens, num_seqs, unit_variance)

Sets scale and offset so that the given sequences (the reference's answers) score mean
0 and, with unit_variance, standard deviation 1 (biased); without, the scale stays. The
scale keeps its sign.

@param reward_model   Its scale and offset are replaced.
@param tokens         As in rlhf_reward_model_score.
@param cu_seqlens     As in rlhf_reward_model_score.
@param num_seqs       >= 2
@param unit_variance  0, or not 0.
@return As rlhf_reward_model_score; RLHF_ERR_NUMERIC also where all score alike and
        unit_variance is asked for. On failure scale and offset are as before.
@since 0.1
""",
    "rlhf_reward_model_get_affine":
    """rlhf_reward_model_get_affine(reward_model, out_scale, out_offset)

The affine map of the raw score.

@param reward_model  The model.
@param out_scale     1 until it is set.
@param out_offset    0 until it is set.
@return RLHF_OK; RLHF_ERR_INVALID_ARG.
@since 0.1
""",
    "rlhf_reward_model_set_affine":
    """rlhf_reward_model_set_affine(reward_model, scale, offset)

Sets the affine map of the raw score.

@param reward_model  The model.
@param scale         Finite, of any sign, not 0; as a float too.
@param offset        Finite, as a float too.
@return RLHF_OK; RLHF_ERR_INVALID_ARG.
@since 0.1
""",
    "rlhf_reward_model_get_config":
    """rlhf_reward_model_get_config(reward_model, out_config)

As rlhf_model_get_config.

@param reward_model  The model.
@param out_config    As in rlhf_model_get_config.
@return As rlhf_model_get_config.
@threads Any.
@since 0.1
""",
    "rlhf_reward_model_num_parameters":
    """rlhf_reward_model_num_parameters(reward_model)

As rlhf_model_num_parameters; the head (score.weight, score.bias) is counted, scale and
offset are not.

@param reward_model  NULL gives 0.
@return The number of values in all named parameters.
@threads Any.
@since 0.1
""",
    "rlhf_reward_model_num_parameter_names":
    """rlhf_reward_model_num_parameter_names(reward_model)

As rlhf_model_num_parameter_names.

@param reward_model  NULL gives 0.
@return At least 1.
@threads Any.
@since 0.1
""",
    "rlhf_reward_model_parameter_info":
    """rlhf_reward_model_parameter_info(reward_model, index, out_info)

As rlhf_model_parameter_info.

@param reward_model  The model.
@param index         [0, rlhf_reward_model_num_parameter_names).
@param out_info      In: struct_size set. Out: filled.
@return As rlhf_model_parameter_info.
@threads Any.
@since 0.1
""",
    "rlhf_reward_model_parameter_read":
    """rlhf_reward_model_parameter_read(reward_model, name, out_values, count)

As rlhf_model_parameter_read.

@param reward_model  Unchanged.
@param name          As in rlhf_parameter_info.
@param out_values    float32[rows][cols], row-major, caller-allocated.
@param count         rows * cols exactly.
@return As rlhf_model_parameter_read.
@since 0.1
""",
    "rlhf_reward_model_parameter_write":
    """rlhf_reward_model_parameter_write(reward_model, name, values, count)

As rlhf_model_parameter_write.

@param reward_model  The model.
@param name          As in rlhf_parameter_info.
@param values        float32[rows][cols], row-major, each finite.
@param count         rows * cols exactly.
@return As rlhf_model_parameter_write.
@since 0.1
""",
    "rlhf_reward_model_freeze":
    """rlhf_reward_model_freeze(reward_model)

As rlhf_model_freeze. Scale and offset can still be set. A critic that is made from a
frozen reward model starts from the rounded weights, so that in a bf16 context freeze
it when the PPO trainer is there.

@param reward_model  The model.
@return As rlhf_model_freeze.
@since 0.1
""",
    "rlhf_reward_options_init":
    """rlhf_reward_options_init(options, struct_size)

Fills `options` with defaults; docs/options.md lists them.

@param options      Written whole.
@param struct_size  sizeof(rlhf_reward_options).
@return RLHF_OK; RLHF_ERR_INVALID_ARG.
@threads Any.
@since 0.1
""",
    "rlhf_reward_trainer_create":
    """rlhf_reward_trainer_create(reward_model, dataset, options, out_trainer)

Makes a trainer; it trains the raw score, whatever scale and offset are. A reward model
has at most one trainer, PPO as its critic's included.

@param reward_model  Trained in place; kept alive.
@param dataset       Of the same context, RLHF_DATASET_PREFERENCE; kept alive. A side
                     may have context_length tokens.
@param options       NULL: defaults.
@param out_trainer   The caller's.
@return As rlhf_lm_trainer_create.
@since 0.1
""",
    "rlhf_reward_trainer_free":
    """rlhf_reward_trainer_free(trainer)

As rlhf_lm_trainer_free.

@param trainer  NULL is a no-op.
@since 0.1
""",
    "rlhf_reward_trainer_step":
    """rlhf_reward_trainer_step(trainer, out_stats)

As rlhf_lm_trainer_step, on pairs.

@param trainer    The trainer.
@param out_stats  Optional. In: struct_size set. Out: the step's.
@return As rlhf_lm_trainer_step.
@since 0.1
""",
    "rlhf_reward_trainer_accumulate":
    """rlhf_reward_trainer_accumulate(trainer, out_remaining)

As rlhf_lm_trainer_accumulate; both sides of a pair go through one forward pass, the
prompt that they share through it once.

@param trainer        The trainer.
@param out_remaining  Micro-batches still to come before rlhf_reward_trainer_apply.
@return As rlhf_lm_trainer_accumulate.
@since 0.1
""",
    "rlhf_reward_trainer_apply":
    """rlhf_reward_trainer_apply(trainer, out_stats)

As rlhf_lm_trainer_apply.

@param trainer    The trainer.
@param out_stats  As in rlhf_reward_trainer_step.
@return As rlhf_lm_trainer_apply.
@since 0.1
""",
    "rlhf_reward_trainer_gradient":
    """rlhf_reward_trainer_gradient(trainer, name, out_values, count)

As rlhf_lm_trainer_gradient; of the mean over the pairs accumulated so far.

@param trainer     Between _accumulate and _apply.
@param name        As in rlhf_parameter_info.
@param out_values  float32[rows][cols], row-major, caller-allocated.
@param count       rows * cols exactly.
@return As rlhf_lm_trainer_gradient.
@since 0.1
""",
    "rlhf_reward_trainer_evaluate":
    """rlhf_reward_trainer_evaluate(trainer, dataset, max_rows, out_stats)

Loss, accuracy and rewards over held-out pairs; as rlhf_lm_trainer_evaluate.

@param trainer    The trainer.
@param dataset    Of the trainer's context, RLHF_DATASET_PREFERENCE.
@param max_rows   At most this many pairs; 0: all, which must end.
@param out_stats  In: struct_size set. Out: filled.
@return As rlhf_lm_trainer_evaluate.
@since 0.1
""",
    "rlhf_reward_trainer_set_learning_rate":
    """rlhf_reward_trainer_set_learning_rate(trainer, learning_rate)

As rlhf_lm_trainer_set_learning_rate.

@param trainer        The trainer.
@param learning_rate  > 0, finite; as a float too.
@return As rlhf_lm_trainer_set_learning_rate.
@since 0.1
""",
    "rlhf_reward_trainer_num_steps":
    """rlhf_reward_trainer_num_steps(trainer)

As rlhf_lm_trainer_num_steps.

@param trainer  NULL gives 0.
@return Counted over resumed runs too.
@threads As rlhf_lm_trainer_num_steps.
@since 0.1
""",
    "rlhf_reward_trainer_save":
    """rlhf_reward_trainer_save(trainer, path)

As rlhf_lm_trainer_save. Scale and offset are the reward model's and not in it.

@param trainer  As in rlhf_lm_trainer_save.
@param path     As in rlhf_lm_trainer_save.
@return As rlhf_lm_trainer_save.
@since 0.1
""",
    "rlhf_reward_trainer_resume":
    """rlhf_reward_trainer_resume(trainer, path)

As rlhf_lm_trainer_resume.

@param trainer  Any; a step under way is dropped.
@param path     The folder.
@return As rlhf_lm_trainer_resume.
@since 0.1
""",
    "rlhf_ppo_options_init":
    """rlhf_ppo_options_init(options, struct_size)

Fills `options` with the library's defaults, the preset "default": score at the last
slot, biased whitening over the rollout, step-token aggregation, k1 in the reward.

@param options      Written whole.
@param struct_size  sizeof(rlhf_ppo_options).
@return RLHF_OK; RLHF_ERR_INVALID_ARG.
@threads Any.
@since 0.1
""",
    "rlhf_ppo_options_preset":
    """rlhf_ppo_options_preset(options, struct_size, name)

Fills every option as a reference implementation has it.

@param options      Written whole.
@param struct_size  sizeof(rlhf_ppo_options).
@param name         "default", "openai-2019", "instructgpt", "trl", "openrlhf".
@return RLHF_OK; RLHF_ERR_NOT_FOUND (another name; the text lists these);
        RLHF_ERR_INVALID_ARG.
@threads Any.
@since 0.1
""",
    "rlhf_ppo_trainer_create":
    """rlhf_ppo_trainer_create(policy, reference, reward_model, critic, options, out_trainer)

Makes a trainer. All models belong to one context and one vocabulary; the others'
contexts are at least as long as the policy's. A policy or critic has at most one
trainer.

@param policy        Trained in place; kept alive, as all of them.
@param reference     Only read; not the policy. rlhf_model_freeze makes it smaller, at
                     any time. NULL: a copy of the policy as it is now, frozen so in a
                     context of RLHF_DTYPE_BF16.
@param reward_model  Only read; rlhf_reward_model_freeze makes it smaller. NULL: the
                     host sets scores.
@param critic        Trained in place, its scale and offset folded into its head at
                     once; not the reward model. NULL: a copy of the reward model,
                     folded so; without one, the policy's trunk with head 0.
@param options       NULL: defaults.
@param out_trainer   The caller's.
@return RLHF_OK; RLHF_ERR_INVALID_ARG (an option; vocabularies or contexts that
        differ; one object in two roles); RLHF_ERR_BUSY (policy or critic has a
        trainer); RLHF_ERR_STATE (policy or critic is frozen).
@since 0.1
""",
    "rlhf_ppo_trainer_free":
    """rlhf_ppo_trainer_free(trainer)

Frees a trainer; policy and critic stay as the last step left them. A rollout whose
update was under way is the host's again.

@param trainer  NULL is a no-op.
@since 0.1
""",
    "rlhf_ppo_trainer_step":
    """rlhf_ppo_trainer_step(trainer, tokens, cu_seqlens, num_seqs, out_stats)

A whole iteration on these prompts: rollout, score by the reward model, advantages,
update. After RLHF_ERR_CANCELLED the same call with the same prompts goes on where it
stopped. A rollout of rlhf_ppo_trainer_rollout or _resume that is still in hand and of
these prompts is taken instead of a new one, unless its update has not begun and the
policy's weights have changed since. Several answers to one prompt: give it several
times; they share its passes (docs/autograd.md).

@param trainer     With a reward model.
@param tokens      int32[cu_seqlens[num_seqs]], each in [0, vocab_size).
@param cu_seqlens  int64[num_seqs + 1], from 0, ascending.
@param num_seqs    Prompts, at least num_minibatches.
@param out_stats   Optional. In: struct_size set. Out: the iteration's.
@return RLHF_OK; RLHF_ERR_STATE (no reward model; another rollout's update is under
        way); RLHF_ERR_INVALID_ARG (a prompt that is empty, or with max_new_tokens
        over the context, named, before anything is generated; num_minibatches above
        num_seqs; struct_size); RLHF_ERR_NUMERIC; RLHF_ERR_CALLBACK (the sampler);
        RLHF_ERR_CANCELLED. The networks stand at the last optimizer step.
@since 0.1
""",
    "rlhf_ppo_trainer_rollout":
    """rlhf_ppo_trainer_rollout(trainer, tokens, cu_seqlens, num_seqs, out_rollout)

Answers to the prompts. The sampler is softmax(logits / temperature) unless one was
set. After RLHF_ERR_CANCELLED the same call goes on, if the policy has not changed.

@param trainer      The trainer.
@param tokens       As in rlhf_ppo_trainer_step.
@param cu_seqlens   As in rlhf_ppo_trainer_step.
@param num_seqs     >= 1
@param out_rollout  The caller's; without scores. The trainer holds on to it until its
                    update is over or another is drawn: rlhf_ppo_trainer_save writes
                    it.
@return RLHF_OK; RLHF_ERR_INVALID_ARG (a prompt, named, before anything is generated);
        RLHF_ERR_NUMERIC; RLHF_ERR_CALLBACK; RLHF_ERR_CANCELLED.
@since 0.1
""",
    "rlhf_ppo_trainer_score":
    """rlhf_ppo_trainer_score(trainer, rollout)

Sets a rollout's scores to the reward model's, which reads each sequence up to the
first stop token that an action follows directly, or whole: a stop token that ends one
of several turns ends nothing.

@param trainer  With a reward model.
@param rollout  Of the trainer's context; its scores are replaced.
@return RLHF_OK; RLHF_ERR_STATE (no reward model; an update is under way);
        RLHF_ERR_INVALID_ARG (a token, a length, named); RLHF_ERR_NUMERIC;
        RLHF_ERR_CANCELLED.
@since 0.1
""",
    "rlhf_ppo_trainer_advantages":
    """rlhf_ppo_trainer_advantages(trainer, rollout)

Reference log-probabilities, values, rewards, GAE, whitening; log-probabilities of the
policy where none were recorded. Nothing changes in the trainer.

@param trainer  The trainer.
@param rollout  Of the trainer's context, with a score or token scores for each
                sequence.
@return RLHF_OK; RLHF_ERR_STATE (a sequence without a score, named; an update is under
        way); RLHF_ERR_INVALID_ARG (an empty rollout; a token, a length, named);
        RLHF_ERR_CANCELLED. On failure the rollout has no advantages.
@since 0.1
""",
    "rlhf_ppo_trainer_update":
    """rlhf_ppo_trainer_update(trainer, rollout, out_stats)

All optimizer steps on a rollout, or what is left of them, then the KL controller. On
a rollout whose update is over it begins another iteration, with the same samples and
the advantages that they had.

@param trainer    The trainer.
@param rollout    With advantages. While its update is under way it cannot be
                  changed, and the trainer keeps it alive.
@param out_stats  Optional. In: struct_size set. Out: the iteration's.
@return RLHF_OK; RLHF_ERR_STATE (no advantages; the update of another rollout, or by
        another trainer, is under way); RLHF_ERR_INVALID_ARG (num_minibatches above
        the sequences; struct_size); RLHF_ERR_NUMERIC (a gradient that is not finite;
        it is dropped); RLHF_ERR_CANCELLED. The same call goes on from the last
        optimizer step.
@since 0.1
""",
    "rlhf_ppo_trainer_accumulate":
    """rlhf_ppo_trainer_accumulate(trainer, rollout, out_remaining)

One micro-batch's gradients, of policy and critic, added to those of the minibatch
under way, or of the next one. The first call begins the update.

@param trainer        The trainer.
@param rollout        As in rlhf_ppo_trainer_update.
@param out_remaining  Micro-batches still to come before rlhf_ppo_trainer_apply.
@return As rlhf_ppo_trainer_update; RLHF_ERR_STATE also where all of the minibatch's
        gradients are there and not applied yet. After another failure call again: the
        minibatch starts afresh.
@since 0.1
""",
    "rlhf_ppo_trainer_apply":
    """rlhf_ppo_trainer_apply(trainer, out_done, out_stats)

Applies them: one optimizer step of each network.

@param trainer    After rlhf_ppo_trainer_accumulate has left no micro-batch.
@param out_done   1 after the iteration's last minibatch, else 0.
@param out_stats  Optional. In: struct_size set. Out: the iteration's when it is
                  done, else of the steps so far.
@return RLHF_OK; RLHF_ERR_STATE (not all gradients); RLHF_ERR_NUMERIC (not finite: no
        weight changes, and they are dropped); RLHF_ERR_INVALID_ARG (struct_size).
@since 0.1
""",
    "rlhf_ppo_trainer_gradient":
    """rlhf_ppo_trainer_gradient(trainer, critic, name, out_values, count)

The gradient of a parameter, of the minibatch's loss, before clipping; the critic's is
scaled by value_coef already. Zeros of a policy that this iteration skips.

@param trainer     Between _accumulate and _apply.
@param critic      0: the policy's; not 0: the critic's.
@param name        As in rlhf_parameter_info.
@param out_values  float32[rows][cols], row-major, caller-allocated.
@param count       rows * cols exactly.
@return As rlhf_lm_trainer_gradient.
@since 0.1
""",
    "rlhf_ppo_trainer_evaluate":
    """rlhf_ppo_trainer_evaluate(trainer, tokens, cu_seqlens, num_seqs, out_stats, out_rollout)

Rollout and scores on held-out prompts, no update; from a random stream of its own, the
same at every call, so that two calls on the same weights give the same answers.

@param trainer      The trainer.
@param tokens       As in rlhf_ppo_trainer_step.
@param cu_seqlens   As in rlhf_ppo_trainer_step.
@param num_seqs     >= 1
@param out_stats    Optional. In: struct_size set. Out: iteration, score (NaN without a
                    reward model), score_std, kl, kl_coef, entropy, response_length,
                    eos_rate and num_tokens; the rest 0.
@param out_rollout  Optional: the answers, the caller's.
@return As rlhf_ppo_trainer_rollout.
@since 0.1
""",
    "rlhf_ppo_trainer_set_sampler":
    """rlhf_ppo_trainer_set_sampler(trainer, sampler)

Replaces the sampler; answers under way are given up. It is not saved.

@param trainer  The trainer.
@param sampler  Kept alive. One that declares softmax_temperature ==
                options.temperature, or any with allow_biased_rollout. NULL: the
                default again.
@return RLHF_OK; RLHF_ERR_INVALID_ARG (another distribution).
@since 0.1
""",
    "rlhf_ppo_trainer_set_learning_rate":
    """rlhf_ppo_trainer_set_learning_rate(trainer, learning_rate, value_learning_rate)

Replaces the schedules' peak rates from the next optimizer step on. Saved.

@param trainer              The trainer.
@param learning_rate        Of the policy, >= 0, finite; as a float too.
@param value_learning_rate  Of the critic, the same.
@return RLHF_OK; RLHF_ERR_INVALID_ARG.
@since 0.1
""",
    "rlhf_ppo_trainer_set_kl_coef":
    """rlhf_ppo_trainer_set_kl_coef(trainer, kl_coef)

Replaces beta from the next _advantages on. Saved.

@param trainer  The trainer.
@param kl_coef  >= 0, finite; as a float too.
@return RLHF_OK; RLHF_ERR_INVALID_ARG.
@since 0.1
""",
    "rlhf_ppo_trainer_abandon":
    """rlhf_ppo_trainer_abandon(trainer)

Gives up the iteration under way: answers that are being drawn, the rollout in hand,
its update. Optimizer steps that were taken stay, the iteration does not count, and the
next one may be of any prompts: for a host that has better to do than to go on, or
whose update fails at every call (RLHF_ERR_NUMERIC). A rollout that the host holds
keeps its scores and advantages, and can be changed again, or updated on from the
start.

@param trainer  With or without an iteration under way.
@return RLHF_OK.
@since 0.1
""",
    "rlhf_ppo_trainer_num_iterations":
    """rlhf_ppo_trainer_num_iterations(trainer)

Iterations done.

@param trainer  NULL gives 0.
@return Counted over resumed runs too.
@threads Not while another thread is in a call on the trainer; from a callback too.
@since 0.1
""",
    "rlhf_ppo_trainer_is_current":
    """rlhf_ppo_trainer_is_current(trainer, rollout)

Whether a rollout is current: in the middle of its update by this trainer, or sampled
by the weights that the policy has. rlhf_ppo_trainer_step goes on with no other; a host
that sets the scores itself asks, as of one that rlhf_ppo_trainer_resume gave back.

@param trainer  NULL gives 0.
@param rollout  NULL gives 0, as does one of another context, in the middle of another
                trainer's update, or with a sequence that the host appended: which
                weights sampled that is not known.
@return 1 or 0.
@threads Not while another thread is in a call on the trainer, its policy or the
        rollout; from a callback too.
@since 0.1
""",
    "rlhf_ppo_trainer_clone_critic":
    """rlhf_ppo_trainer_clone_critic(trainer, out_critic)

A copy of the critic as it is now; scale 1, offset 0.

@param trainer     The trainer.
@param out_critic  The caller's.
@return RLHF_OK; RLHF_ERR_NO_MEMORY.
@since 0.1
""",
    "rlhf_ppo_trainer_save":
    """rlhf_ppo_trainer_save(trainer, path)

As rlhf_lm_trainer_save: both networks, their moments, beta, rates, running score
figures, a reference that the trainer made itself (in a context of RLHF_DTYPE_BF16 its
rounded weights), and the rollout under way with its place in the iteration. A given
reference and the reward model are the host's to keep.

@param trainer  At any place, as in rlhf_lm_trainer_save.
@param path     As in rlhf_lm_trainer_save.
@return As rlhf_lm_trainer_save.
@since 0.1
""",
    "rlhf_ppo_trainer_resume":
    """rlhf_ppo_trainer_resume(trainer, path, out_rollout)

As rlhf_lm_trainer_resume. rlhf_ppo_trainer_step with the same prompts goes on by
itself. Of an update that was under way num_epochs and num_minibatches have to leave
room for its place.

@param trainer      Any; an update under way is given up.
@param path         The folder.
@param out_rollout  Optional: the rollout in hand, whose update was under way or had
                    not begun, with its scores and advantages as they were; the
                    caller's. NULL if there was none.
@return As rlhf_lm_trainer_resume; RLHF_ERR_INVALID_ARG (num_epochs or num_minibatches
        too small for the saved update, or more minibatches than its sequences,
        named).
@since 0.1
""",
    "rlhf_rollout_create":
    """rlhf_rollout_create(context, out_rollout)

An empty rollout, for the host's own samples.

@param context      The trainer's.
@param out_rollout  The caller's.
@return RLHF_OK; RLHF_ERR_NO_MEMORY.
@since 0.1
""",
    "rlhf_rollout_free":
    """rlhf_rollout_free(rollout)

Gives the caller's hold back; a trainer in the middle of its update keeps it alive.

@param rollout  NULL is a no-op.
@since 0.1
""",
    "rlhf_rollout_append":
    """rlhf_rollout_append(rollout, input)

Copies a sequence in; what _advantages had computed is forgotten.

@param rollout  Not in the middle of an update.
@param input    Copied.
@return RLHF_OK; RLHF_ERR_INVALID_ARG (a field, named); RLHF_ERR_STATE (an update is
        under way).
@since 0.1
""",
    "rlhf_rollout_num_sequences":
    """rlhf_rollout_num_sequences(rollout)

Sequences of a rollout.

@param rollout  NULL gives 0.
@return 0 of an empty one.
@since 0.1
""",
    "rlhf_rollout_get":
    """rlhf_rollout_get(rollout, index, out_sequence)

A sequence of a rollout.

@param rollout       The rollout.
@param index         [0, rlhf_rollout_num_sequences), in the order of prompts or
                     _append.
@param out_sequence  In: struct_size set. Out: filled.
@return RLHF_OK; RLHF_ERR_INVALID_ARG.
@since 0.1
""",
    "rlhf_rollout_set_scores":
    """rlhf_rollout_set_scores(rollout, scores, count)

Sets the scores of all sequences; what _advantages had computed is forgotten.

@param rollout  Not in the middle of an update.
@param scores   float32[count], finite.
@param count    The number of sequences exactly.
@return RLHF_OK; RLHF_ERR_INVALID_ARG; RLHF_ERR_STATE (an update is under way).
@since 0.1
""",
    "rlhf_rollout_set_token_scores":
    """rlhf_rollout_set_token_scores(rollout, index, token_scores, count)

Sets rewards of single tokens of one sequence, added to its score's; what _advantages
had computed is forgotten. A sequence with token scores needs no score.

@param rollout       Not in the middle of an update.
@param index         [0, rlhf_rollout_num_sequences).
@param token_scores  float32[count]; those at the actions count, and must be finite.
@param count         The sequence's num_tokens exactly.
@return RLHF_OK; RLHF_ERR_INVALID_ARG; RLHF_ERR_STATE (an update is under way).
@since 0.1
""",
    "rlhf_rollout_write_jsonl":
    """rlhf_rollout_write_jsonl(rollout, tokenizer, path)

Appends one JSON line a sequence to a file: `prompt_ids`, `completion_ids`, `prompt`
and `completion` (with a tokenizer), `score`, `kl` (null where not there yet), `length`
(actions), `finish` ("none", "stop", "length", "context", "callback").

@param rollout    Unchanged.
@param tokenizer  NULL: ids only.
@param path       Made if it is not there; its folder must be.
@return RLHF_OK; RLHF_ERR_IO (also where the path is there and not a regular file),
        RLHF_ERR_NOT_FOUND (the folder); RLHF_ERR_INVALID_ARG (an empty path; an id of
        a prompt that the tokenizer lacks; one of an answer has no text). On failure
        the file is as it was.
@since 0.1
""",
}


class Library:
    """Every function of a loaded librlhf."""

    rlhf_last_error_message: Callable[..., Any]
    rlhf_last_error_info: Callable[..., Any]
    rlhf_status_name: Callable[..., Any]
    rlhf_version: Callable[..., Any]
    rlhf_context_options_init: Callable[..., Any]
    rlhf_context_create: Callable[..., Any]
    rlhf_context_free: Callable[..., Any]
    rlhf_context_cancel: Callable[..., Any]
    rlhf_context_cpu_level: Callable[..., Any]
    rlhf_context_dtype: Callable[..., Any]
    rlhf_context_num_threads: Callable[..., Any]
    rlhf_context_memory: Callable[..., Any]
    rlhf_config_load: Callable[..., Any]
    rlhf_config_free: Callable[..., Any]
    rlhf_config_read: Callable[..., Any]
    rlhf_config_string: Callable[..., Any]
    rlhf_config_int: Callable[..., Any]
    rlhf_config_double: Callable[..., Any]
    rlhf_config_finish: Callable[..., Any]
    rlhf_tokenizer_train_options_init: Callable[..., Any]
    rlhf_tokenizer_train: Callable[..., Any]
    rlhf_tokenizer_load: Callable[..., Any]
    rlhf_tokenizer_save: Callable[..., Any]
    rlhf_tokenizer_free: Callable[..., Any]
    rlhf_tokenizer_vocab_size: Callable[..., Any]
    rlhf_tokenizer_bos_id: Callable[..., Any]
    rlhf_tokenizer_eos_id: Callable[..., Any]
    rlhf_tokenizer_token_id: Callable[..., Any]
    rlhf_tokenizer_encode: Callable[..., Any]
    rlhf_tokenizer_decode: Callable[..., Any]
    rlhf_text_stream_create: Callable[..., Any]
    rlhf_text_stream_push: Callable[..., Any]
    rlhf_text_stream_free: Callable[..., Any]
    rlhf_dataset_options_init: Callable[..., Any]
    rlhf_dataset_load: Callable[..., Any]
    rlhf_dataset_create: Callable[..., Any]
    rlhf_dataset_create_from_source: Callable[..., Any]
    rlhf_dataset_free: Callable[..., Any]
    rlhf_dataset_append: Callable[..., Any]
    rlhf_dataset_split: Callable[..., Any]
    rlhf_dataset_get_info: Callable[..., Any]
    rlhf_dataset_row: Callable[..., Any]
    rlhf_dataset_next: Callable[..., Any]
    rlhf_dataset_rewind: Callable[..., Any]
    rlhf_dataset_save_position: Callable[..., Any]
    rlhf_dataset_restore_position: Callable[..., Any]
    rlhf_feedback_open: Callable[..., Any]
    rlhf_feedback_free: Callable[..., Any]
    rlhf_feedback_add: Callable[..., Any]
    rlhf_feedback_add_many: Callable[..., Any]
    rlhf_feedback_next: Callable[..., Any]
    rlhf_feedback_get: Callable[..., Any]
    rlhf_feedback_choose: Callable[..., Any]
    rlhf_feedback_undo: Callable[..., Any]
    rlhf_feedback_get_info: Callable[..., Any]
    rlhf_feedback_export: Callable[..., Any]
    rlhf_feedback_dataset: Callable[..., Any]
    rlhf_model_config_init: Callable[..., Any]
    rlhf_model_create: Callable[..., Any]
    rlhf_model_load: Callable[..., Any]
    rlhf_model_save: Callable[..., Any]
    rlhf_model_clone: Callable[..., Any]
    rlhf_model_free: Callable[..., Any]
    rlhf_model_get_config: Callable[..., Any]
    rlhf_model_num_parameters: Callable[..., Any]
    rlhf_model_num_parameter_names: Callable[..., Any]
    rlhf_model_parameter_info: Callable[..., Any]
    rlhf_model_parameter_read: Callable[..., Any]
    rlhf_model_parameter_write: Callable[..., Any]
    rlhf_model_freeze: Callable[..., Any]
    rlhf_model_logits: Callable[..., Any]
    rlhf_model_logprobs: Callable[..., Any]
    rlhf_sampler_options_init: Callable[..., Any]
    rlhf_sampler_create: Callable[..., Any]
    rlhf_sampler_create_custom: Callable[..., Any]
    rlhf_sampler_free: Callable[..., Any]
    rlhf_generator_options_init: Callable[..., Any]
    rlhf_generator_create: Callable[..., Any]
    rlhf_generator_free: Callable[..., Any]
    rlhf_generator_start: Callable[..., Any]
    rlhf_generator_step: Callable[..., Any]
    rlhf_generator_run: Callable[..., Any]
    rlhf_generator_num_sequences: Callable[..., Any]
    rlhf_generator_get: Callable[..., Any]
    rlhf_lm_options_init: Callable[..., Any]
    rlhf_lm_trainer_create: Callable[..., Any]
    rlhf_lm_trainer_free: Callable[..., Any]
    rlhf_lm_trainer_step: Callable[..., Any]
    rlhf_lm_trainer_accumulate: Callable[..., Any]
    rlhf_lm_trainer_apply: Callable[..., Any]
    rlhf_lm_trainer_gradient: Callable[..., Any]
    rlhf_lm_trainer_evaluate: Callable[..., Any]
    rlhf_lm_trainer_set_learning_rate: Callable[..., Any]
    rlhf_lm_trainer_num_steps: Callable[..., Any]
    rlhf_lm_trainer_save: Callable[..., Any]
    rlhf_lm_trainer_resume: Callable[..., Any]
    rlhf_reward_model_options_init: Callable[..., Any]
    rlhf_reward_model_create: Callable[..., Any]
    rlhf_reward_model_load: Callable[..., Any]
    rlhf_reward_model_save: Callable[..., Any]
    rlhf_reward_model_clone: Callable[..., Any]
    rlhf_reward_model_free: Callable[..., Any]
    rlhf_reward_model_score: Callable[..., Any]
    rlhf_reward_model_normalize: Callable[..., Any]
    rlhf_reward_model_get_affine: Callable[..., Any]
    rlhf_reward_model_set_affine: Callable[..., Any]
    rlhf_reward_model_get_config: Callable[..., Any]
    rlhf_reward_model_num_parameters: Callable[..., Any]
    rlhf_reward_model_num_parameter_names: Callable[..., Any]
    rlhf_reward_model_parameter_info: Callable[..., Any]
    rlhf_reward_model_parameter_read: Callable[..., Any]
    rlhf_reward_model_parameter_write: Callable[..., Any]
    rlhf_reward_model_freeze: Callable[..., Any]
    rlhf_reward_options_init: Callable[..., Any]
    rlhf_reward_trainer_create: Callable[..., Any]
    rlhf_reward_trainer_free: Callable[..., Any]
    rlhf_reward_trainer_step: Callable[..., Any]
    rlhf_reward_trainer_accumulate: Callable[..., Any]
    rlhf_reward_trainer_apply: Callable[..., Any]
    rlhf_reward_trainer_gradient: Callable[..., Any]
    rlhf_reward_trainer_evaluate: Callable[..., Any]
    rlhf_reward_trainer_set_learning_rate: Callable[..., Any]
    rlhf_reward_trainer_num_steps: Callable[..., Any]
    rlhf_reward_trainer_save: Callable[..., Any]
    rlhf_reward_trainer_resume: Callable[..., Any]
    rlhf_ppo_options_init: Callable[..., Any]
    rlhf_ppo_options_preset: Callable[..., Any]
    rlhf_ppo_trainer_create: Callable[..., Any]
    rlhf_ppo_trainer_free: Callable[..., Any]
    rlhf_ppo_trainer_step: Callable[..., Any]
    rlhf_ppo_trainer_rollout: Callable[..., Any]
    rlhf_ppo_trainer_score: Callable[..., Any]
    rlhf_ppo_trainer_advantages: Callable[..., Any]
    rlhf_ppo_trainer_update: Callable[..., Any]
    rlhf_ppo_trainer_accumulate: Callable[..., Any]
    rlhf_ppo_trainer_apply: Callable[..., Any]
    rlhf_ppo_trainer_gradient: Callable[..., Any]
    rlhf_ppo_trainer_evaluate: Callable[..., Any]
    rlhf_ppo_trainer_set_sampler: Callable[..., Any]
    rlhf_ppo_trainer_set_learning_rate: Callable[..., Any]
    rlhf_ppo_trainer_set_kl_coef: Callable[..., Any]
    rlhf_ppo_trainer_abandon: Callable[..., Any]
    rlhf_ppo_trainer_num_iterations: Callable[..., Any]
    rlhf_ppo_trainer_is_current: Callable[..., Any]
    rlhf_ppo_trainer_clone_critic: Callable[..., Any]
    rlhf_ppo_trainer_save: Callable[..., Any]
    rlhf_ppo_trainer_resume: Callable[..., Any]
    rlhf_rollout_create: Callable[..., Any]
    rlhf_rollout_free: Callable[..., Any]
    rlhf_rollout_append: Callable[..., Any]
    rlhf_rollout_num_sequences: Callable[..., Any]
    rlhf_rollout_get: Callable[..., Any]
    rlhf_rollout_set_scores: Callable[..., Any]
    rlhf_rollout_set_token_scores: Callable[..., Any]
    rlhf_rollout_write_jsonl: Callable[..., Any]

    def __init__(self, path: str) -> None:
        self.path = path
        self.dll = CDLL(path)
        for name, (result, arguments) in FUNCTIONS.items():
            function = getattr(self.dll, name)
            function.restype = result
            function.argtypes = arguments
            function.__doc__ = DOCS[name]
            setattr(self, name, function)
