"""A Llama folder as a GGUF file for llama.cpp, with a vocabulary of placeholders.

    make_gguf.py MODEL_DIR OUT.gguf f32|f16|bf16
"""
import json
import pathlib
import sys

import peer  # noqa: F401  (before torch)
import gguf
import numpy
import torch
from safetensors.torch import load_file

# Names of a layer's matrices and vectors, Hugging Face's and GGUF's; and which rotary heads they hold.
LAYER = [
    ("input_layernorm", "attn_norm", None),
    ("self_attn.q_proj", "attn_q", "num_attention_heads"),
    ("self_attn.k_proj", "attn_k", "num_key_value_heads"),
    ("self_attn.v_proj", "attn_v", None),
    ("self_attn.o_proj", "attn_output", None),
    ("post_attention_layernorm", "ffn_norm", None),
    ("mlp.gate_proj", "ffn_gate", None),
    ("mlp.up_proj", "ffn_up", None),
    ("mlp.down_proj", "ffn_down", None),
]


def pairs_side_by_side(weight, heads):
    """Rotary halves lie apart in a Hugging Face head; llama.cpp turns neighbouring rows."""
    rows, columns = weight.shape
    half = rows // heads // 2
    return weight.view(heads, 2, half, columns).transpose(1, 2).reshape(rows, columns)


def write_header(writer, config):
    heads, vocab = config["num_attention_heads"], config["vocab_size"]
    theta = config.get("rope_theta") or config.get("rope_parameters", {}).get("rope_theta", 10000.0)
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_rope_dimension_count(config["hidden_size"] // heads)
    writer.add_rope_freq_base(theta)
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    special = {0: ("<unk>", gguf.TokenType.UNKNOWN), 1: ("<s>", gguf.TokenType.CONTROL),
               2: ("</s>", gguf.TokenType.CONTROL)}
    tokens = [special.get(i, (f"t{i}", gguf.TokenType.NORMAL)) for i in range(vocab)]
    writer.add_tokenizer_model("llama")
    writer.add_token_list([text for text, _ in tokens])
    writer.add_token_scores([0.0] * vocab)
    writer.add_token_types([int(kind) for _, kind in tokens])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)


def main():
    folder, target, dtype = pathlib.Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    kind = gguf.GGMLQuantizationType[dtype.upper()]
    config = json.loads((folder / "config.json").read_text())
    weights = load_file(folder / "model.safetensors")
    writer = gguf.GGUFWriter(target, "llama")
    write_header(writer, config)

    def add(name, tensor):
        values = tensor.to(torch.float32).contiguous().numpy()
        if values.ndim == 1 or dtype == "f32":
            writer.add_tensor(name, values)
        else:
            writer.add_tensor(name, gguf.quants.quantize(values.astype(numpy.float32), kind), raw_dtype=kind)

    add("token_embd.weight", weights["model.embed_tokens.weight"])
    add("output_norm.weight", weights["model.norm.weight"])
    if "lm_head.weight" in weights:
        add("output.weight", weights["lm_head.weight"])
    for i in range(config["num_hidden_layers"]):
        for theirs, ours, rotary in LAYER:
            weight = weights[f"model.layers.{i}.{theirs}.weight"]
            if rotary:
                weight = pairs_side_by_side(weight, config[rotary])
            add(f"blk.{i}.{ours}.weight", weight)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


main()
