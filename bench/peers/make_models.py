"""Model folders of four known sizes with random weights, the same every time.

    make_models.py OUT      OUT/gpt2-124m, OUT/llama-15m, OUT/llama-110m, OUT/stories260K

There is no tokenizer: benchmarks feed token ids.
"""
import pathlib
import sys

import peer  # noqa: F401  (before torch)
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM


def llama(vocab, width, mlp, layers, heads, kv_heads, context):
    return LlamaForCausalLM, LlamaConfig(
        vocab_size=vocab, hidden_size=width, intermediate_size=mlp, num_hidden_layers=layers,
        num_attention_heads=heads, num_key_value_heads=kv_heads,
        max_position_embeddings=context, tie_word_embeddings=True)


MODELS = {
    "gpt2-124m": (GPT2LMHeadModel, GPT2Config()),
    "llama-15m": llama(32000, 288, 768, 6, 6, 6, 1024),
    "llama-110m": llama(32000, 768, 2048, 12, 12, 12, 1024),
    "stories260K": llama(512, 64, 172, 5, 8, 4, 512),
}

out = pathlib.Path(sys.argv[1])
for name, (architecture, config) in MODELS.items():
    if (out / name / "model.safetensors").exists():
        continue
    torch.manual_seed(1)
    architecture(config).save_pretrained(out / f"{name}.part")
    (out / f"{name}.part").rename(out / name)
    print(f"made {name}", flush=True)
