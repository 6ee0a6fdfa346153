#!/usr/bin/env python3
"""Folders of ours in transformers and folders of transformers in ours: equal logits, scores, ids.

Usage: check_transformers.py LIBRLHF.so
Runs under RLHF_PEERS_PYTHON where that is set; exit 77 (skipped) where the interpreter has no
torch, transformers or tokenizers. Everything is random, seeded and small; nothing is downloaded.
"""
import ctypes as c
import json
import os
import sys
import tempfile

PEERS = os.environ.pop("RLHF_PEERS_PYTHON", None)
if PEERS:
    os.execv(PEERS, [PEERS] + sys.argv)
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
try:
    import tokenizers
    import torch
    import transformers
except ImportError as error:
    print(f"skipped: {error} (set RLHF_PEERS_PYTHON to an interpreter that has it)")
    sys.exit(77)
from transformers import (AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer,
                          GPT2Config, GPT2ForSequenceClassification, GPT2LMHeadModel, LlamaConfig,
                          LlamaForCausalLM, LlamaForSequenceClassification)

TOLERANCE = 1e-4
VOCAB, LENGTH, EOS = 61, 24, 60
SEQUENCES = [[3, 1, 4, 1, 5, 9, 2, 6], [53], list(range(2, 2 + LENGTH)), [60, 0, 7, 7, 7]]


# --- the library through ctypes ----------------------------------------------------------------

class ModelConfig(c.Structure):
    _fields_ = [("struct_size", c.c_size_t)] + [(name, c.c_int32) for name in (
        "vocab_size context_length hidden_size intermediate_size num_layers num_heads "
        "num_kv_heads head_dim position norm activation attention_bias mlp_bias tie_embeddings "
        "bos_token_id eos_token_id pad_token_id num_layer_configs").split()] + [
        ("norm_eps", c.c_double), ("rope_theta", c.c_double), ("initializer_range", c.c_double),
        ("layers", c.c_void_p)]


class RewardOptions(c.Structure):
    _fields_ = [("struct_size", c.c_size_t), ("seed", c.c_uint64), ("append_eos", c.c_int32),
                ("eos_token_id", c.c_int32)]


class TrainOptions(c.Structure):
    _fields_ = [("struct_size", c.c_size_t), ("vocab_size", c.c_int32),
                ("min_frequency", c.c_int32), ("special_tokens", c.POINTER(c.c_char_p)),
                ("num_special_tokens", c.c_int32), ("reserved", c.c_int32),
                ("bos_token", c.c_char_p), ("eos_token", c.c_char_p)]


class Library:
    """Calls by name; a status other than 0 is an exception with the library's words."""

    def __init__(self, path):
        self.lib = c.CDLL(path)
        self.lib.rlhf_last_error_message.restype = c.c_char_p
        self.context = self.make("context_create", None)

    def call(self, name, *arguments):
        if getattr(self.lib, "rlhf_" + name)(*arguments) != 0:
            raise RuntimeError(f"{name}: {self.lib.rlhf_last_error_message().decode()}")

    def make(self, name, *arguments):
        handle = c.c_void_p()
        self.call(name, *arguments, c.byref(handle))
        return handle

    def config(self, **fields):
        config = ModelConfig()
        self.call("model_config_init", c.byref(config), c.c_size_t(c.sizeof(config)))
        for name, value in dict(fields, vocab_size=VOCAB, context_length=LENGTH).items():
            setattr(config, name, value)
        return config

    def ragged(self, name, handle, sequences, width):
        tokens = sum(sequences, [])
        ends = [sum(map(len, sequences[:i])) for i in range(len(sequences) + 1)]
        rows = len(sequences) if width == 1 else len(tokens)
        out = (c.c_float * (rows * width))()
        self.call(name, handle, (c.c_int32 * len(tokens))(*tokens),
                  (c.c_int64 * len(ends))(*ends), c.c_int64(len(sequences)), out)
        return torch.tensor(list(out), dtype=torch.float64)

    def logits(self, model):
        return self.ragged("model_logits", model, SEQUENCES, VOCAB).reshape(-1, VOCAB)

    def scores(self, reward_model, sequences):
        return self.ragged("reward_model_score", reward_model, sequences, 1)

    def encode(self, tokenizer, text):
        ids, count = (c.c_int32 * (len(text) + 1))(), c.c_int64()
        self.call("tokenizer_encode", tokenizer, text, c.c_size_t(len(text)), c.c_int32(1), ids,
                  c.c_int64(len(ids)), c.byref(count))
        return ids[:count.value]

    def decode(self, tokenizer, ids):
        text, size = c.create_string_buffer(1 << 16), c.c_size_t()
        self.call("tokenizer_decode", tokenizer, (c.c_int32 * max(1, len(ids)))(*ids),
                  c.c_int64(len(ids)), c.c_int32(0), text, c.c_size_t(len(text)), c.byref(size))
        return text.raw[:size.value].decode(errors="replace")


# --- comparing ---------------------------------------------------------------------------------

def their_logits(model):
    with torch.no_grad():
        return torch.cat([model(torch.tensor([s])).logits[0].double() for s in SEQUENCES])


def their_scores(model, sequences):
    with torch.no_grad():
        return torch.cat([model(torch.tensor([s])).logits[0].double() for s in sequences])


def check(what, ours, theirs):
    apart, spread = (ours - theirs).abs().max().item(), theirs.std().item()
    if ours.shape != theirs.shape or not apart <= TOLERANCE:
        sys.exit(f"FAILED: {what}: {apart:g} apart")
    if not spread > 0.01:
        sys.exit(f"FAILED: {what}: all figures are alike, the comparison says nothing")
    print(f"ok: {what}: {apart:.1e} apart (standard deviation {spread:.2g})")


def ended(rows):
    return [s if s[-1] == EOS else s + [EOS] for s in rows]


def load_quietly(cls, folder):
    """transformers must find every tensor and no other."""
    model, info = cls.from_pretrained(folder, output_loading_info=True, dtype=torch.float32)
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if info.get(kind):
            sys.exit(f"FAILED: {folder}: {kind}: {info[kind]}")
    return model.eval()


# --- ours in transformers ----------------------------------------------------------------------

GPT2 = dict(hidden_size=24, num_layers=2, num_heads=3, initializer_range=0.3, eos_token_id=EOS)
LLAMA = dict(GPT2, num_heads=4, position=1, norm=1, activation=2, attention_bias=0, mlp_bias=0,
             intermediate_size=40, norm_eps=1e-6)
OURS = {
    "gpt2 tied": dict(GPT2),
    "gpt2 untied, n_inner": dict(GPT2, tie_embeddings=0, intermediate_size=50),
    "gpt2 exact gelu": dict(GPT2, activation=1, norm_eps=1e-4),
    "llama tied": dict(LLAMA),
    "llama untied": dict(LLAMA, tie_embeddings=0, bos_token_id=1),
    "llama GQA": dict(LLAMA, num_kv_heads=2, tie_embeddings=0, rope_theta=500000.0),
    "llama MQA, biases, head_dim": dict(LLAMA, num_kv_heads=1, head_dim=10, attention_bias=1,
                                        mlp_bias=1, tie_embeddings=0),
}


def disturb(rlhf, model, seed):
    """Biases and norms leave their initial 0 and 1, so that each must be in its place."""
    class Info(c.Structure):
        _fields_ = [("struct_size", c.c_size_t), ("name", c.c_char_p), ("rows", c.c_int64),
                    ("cols", c.c_int64), ("decay", c.c_int32), ("reserved", c.c_int32)]
    generator = torch.Generator().manual_seed(seed)
    rlhf.lib.rlhf_model_num_parameter_names.restype = c.c_int64
    for i in range(rlhf.lib.rlhf_model_num_parameter_names(model)):
        info = Info(c.sizeof(Info))
        rlhf.call("model_parameter_info", model, c.c_int64(i), c.byref(info))
        count = info.rows * info.cols
        if info.decay:
            continue
        values = (c.c_float * count)()
        rlhf.call("model_parameter_read", model, info.name, values, c.c_int64(count))
        for j, noise in enumerate((0.2 * torch.randn(count, generator=generator)).tolist()):
            values[j] += noise
        rlhf.call("model_parameter_write", model, info.name, values, c.c_int64(count))


def check_ours(rlhf, folder):
    for i, (name, fields) in enumerate(OURS.items()):
        config = rlhf.config(**fields)
        model = rlhf.make("model_create", rlhf.context, c.byref(config), c.c_uint64(i))
        disturb(rlhf, model, i)
        path = os.path.join(folder, f"ours-{i}")
        rlhf.call("model_save", model, path.encode())
        check("our " + name, rlhf.logits(model), their_logits(load_quietly(AutoModelForCausalLM, path)))
        for append_eos in (0, 1):
            check_our_reward(rlhf, model, f"our reward model, {name}", path + f"-r{append_eos}",
                             append_eos)
        rlhf.lib.rlhf_model_free(model)


def check_our_reward(rlhf, model, name, path, append_eos):
    options = RewardOptions()
    rlhf.call("reward_model_options_init", c.byref(options), c.c_size_t(c.sizeof(options)))
    options.append_eos, options.seed = append_eos, 5
    reward = rlhf.make("reward_model_create", model, c.byref(options))
    scale, offset = -2.5, 0.75
    rlhf.call("reward_model_set_affine", reward, c.c_double(scale), c.c_double(offset))
    rlhf.call("reward_model_save", reward, path.encode())
    theirs = load_quietly(AutoModelForSequenceClassification, path)
    written = json.load(open(os.path.join(path, "config.json")))
    if abs(written["rlhf_score_offset"] - offset) > 1e-6:
        sys.exit(f"FAILED: {name}: rlhf_score_offset is {written['rlhf_score_offset']}")
    rows = [s for s in SEQUENCES if len(s) + append_eos <= LENGTH]
    mine = rlhf.scores(reward, rows)
    check(name, mine - offset, their_scores(theirs, ended(rows) if append_eos else rows))
    again = rlhf.make("reward_model_load", rlhf.context, path.encode())
    check(name + ", read again", rlhf.scores(again, rows), mine)
    rlhf.lib.rlhf_reward_model_free(again)
    rlhf.lib.rlhf_reward_model_free(reward)


# --- transformers' in ours ---------------------------------------------------------------------

def their_models(cls_gpt2, cls_llama, **more):
    torch.manual_seed(3)
    gpt2 = GPT2Config(vocab_size=VOCAB, n_positions=LENGTH, n_embd=24, n_layer=2, n_head=3,
                      initializer_range=0.3, bos_token_id=0, eos_token_id=EOS, **more)
    yield "gpt2", cls_gpt2(gpt2)
    yield "gpt2 untied", cls_gpt2(GPT2Config(**dict(gpt2.to_dict(), tie_word_embeddings=False,
                                                    n_inner=50)))
    llama = dict(vocab_size=VOCAB, max_position_embeddings=LENGTH, hidden_size=24,
                 intermediate_size=40, num_hidden_layers=2, num_attention_heads=4,
                 initializer_range=0.3, bos_token_id=0, eos_token_id=EOS, rms_norm_eps=1e-6, **more)
    yield "llama", cls_llama(LlamaConfig(**llama))
    yield "llama GQA, tied", cls_llama(LlamaConfig(**llama, num_key_value_heads=2,
                                                   tie_word_embeddings=True))
    yield "llama biases, head_dim, theta", cls_llama(LlamaConfig(
        **llama, num_key_value_heads=1, head_dim=10, attention_bias=True, mlp_bias=True,
        rope_parameters={"rope_type": "default", "rope_theta": 500000.0}))


def randomised(model):
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 1:
                parameter.add_(0.2 * torch.randn_like(parameter))
    return model.eval()


def check_theirs(rlhf, folder):
    for i, (name, model) in enumerate(their_models(GPT2LMHeadModel, LlamaForCausalLM)):
        randomised(model)
        for dtype in (torch.float32, torch.float16, torch.bfloat16):
            for shard in ("5GB", "12KB"):
                path = os.path.join(folder, f"theirs-{i}-{dtype}-{shard}")
                model.to(dtype).save_pretrained(path, max_shard_size=shard)
                sharded = os.path.exists(os.path.join(path, "model.safetensors.index.json"))
                if sharded != (shard == "12KB"):
                    sys.exit(f"FAILED: {path}: sharded is {sharded}")
                ours = rlhf.make("model_load", rlhf.context, path.encode())
                check(f"their {name}, {dtype}{', sharded' if sharded else ''}", rlhf.logits(ours),
                      their_logits(load_quietly(AutoModelForCausalLM, path)))
                rlhf.lib.rlhf_model_free(ours)
    for i, (name, model) in enumerate(their_models(
            GPT2ForSequenceClassification, LlamaForSequenceClassification, num_labels=1)):
        path = os.path.join(folder, f"their-reward-{i}")
        randomised(model).save_pretrained(path)
        # TRL's reward training ends answers by EOS, and so do we where the config does not say.
        rows = [s for s in SEQUENCES if len(s) < LENGTH]
        check_their_reward(rlhf, f"their reward model, {name}", path, rows,
                           their_scores(model, ended(rows)))
        with open(os.path.join(path, "config.json")) as file:
            config = json.load(file)
        with open(os.path.join(path, "config.json"), "w") as file:
            json.dump(dict(config, rlhf_append_eos="never"), file)
        check_their_reward(rlhf, f"their reward model as it is, {name}", path, SEQUENCES,
                           their_scores(model, SEQUENCES))


def check_their_reward(rlhf, name, path, rows, theirs):
    ours = rlhf.make("reward_model_load", rlhf.context, path.encode())
    check(name, rlhf.scores(ours, rows), theirs)
    rlhf.lib.rlhf_reward_model_free(ours)


# --- tokenizers --------------------------------------------------------------------------------

CORPUS = ("The cat's hat, the dog's log; they're 127 sheep on 12 hills. naïve Ångström façade\n"
          "\tfor (int i = 0; i < 10; i++) { printf(\"%d\\n\", i); }  日本語の文 мир 🙂🙂 ") * 40
HOSTILE = [
    "", " ", "   ", "\n\n \t\r\n", "\u0000nul\u0000", "a" * 300, " " * 100 + "x", "the" * 99,
    "don't I'LL they'd''s 's", "x=1e-9; 3.14159, 127 12345678", "e\u0301 a\u0308\u0323 \u1100\u1161",
    "👩\u200d👩\u200d👧 🇩🇪 👍🏽 🙂🙃", "日本語 中文 עברית العربية हिन्दी ภาษาไทย", "½ ² Ⅷ ٣ ௧ ß ﬁ",
    "nbsp\u00a0 em\u2003 ideo\u3000 nel\u0085 zw\u200b bom\ufeff ls\u2028", "\U0010ffff\ue000\ufffe",
    "<|endoftext|>", "a<|endoftext|> <|endoftext|>b", "<|endoftext", "<|user|>hi<|bot|> <|user|>",
    "\u202eright to left", "ⓐ ｆｕｌｌ ﷺ", "".join(chr(i) for i in range(1, 0x250)), CORPUS[:500],
]


def check_tokenizer(rlhf, folder):
    special = [b"<|endoftext|>", b"<|user|>", b"<|bot|>"]
    options = TrainOptions()
    rlhf.call("tokenizer_train_options_init", c.byref(options), c.c_size_t(c.sizeof(options)))
    options.vocab_size, options.num_special_tokens = 340, len(special)
    options.special_tokens = (c.c_char_p * len(special))(*special)
    options.bos_token = options.eos_token = special[0]
    text = CORPUS.encode()
    ours = rlhf.make("tokenizer_train", rlhf.context, (c.c_char_p * 1)(text),
                     (c.c_size_t * 1)(len(text)), c.c_int64(1), c.byref(options))
    alone, beside = os.path.join(folder, "tokenizer"), os.path.join(folder, "ours-0")
    llama = os.path.join(folder, "ours-3")
    for path in (alone, beside, llama):
        rlhf.call("tokenizer_save", ours, path.encode())
    readers = {"tokenizers": tokenizers.Tokenizer.from_file(os.path.join(alone, "tokenizer.json"))}
    for what, path in (("", alone), (" beside a GPT-2", beside), (" beside a Llama", llama)):
        readers["AutoTokenizer" + what] = AutoTokenizer.from_pretrained(path)
    for name, reader in readers.items():
        for text in HOSTILE:
            mine = rlhf.encode(ours, text.encode())
            theirs = reader.encode(text, add_special_tokens=False)
            theirs = getattr(theirs, "ids", theirs)
            if list(mine) != list(theirs):
                sys.exit(f"FAILED: {name}: {text[:60]!r}: ours {mine[:40]}, theirs {theirs[:40]}")
            back = reader.decode(mine, skip_special_tokens=False)
            if back != text or rlhf.decode(ours, mine) != text:
                sys.exit(f"FAILED: {name}: {text[:60]!r} comes back as {back[:60]!r}")
        if "Auto" in name and (reader.eos_token_id, reader.bos_token_id) != (0, 0):
            sys.exit(f"FAILED: {name}: bos, eos: {reader.bos_token_id}, {reader.eos_token_id}")
        print(f"ok: our tokenizer in {name}: {len(HOSTILE)} texts")
    rlhf.lib.rlhf_tokenizer_free(ours)


def main():
    print(f"torch {torch.__version__}, transformers {transformers.__version__}, "
          f"tokenizers {tokenizers.__version__}")
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(1)
    rlhf = Library(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        check_ours(rlhf, folder)
        check_theirs(rlhf, folder)
        check_tokenizer(rlhf, folder)
    rlhf.lib.rlhf_context_free(rlhf.context)


main()
