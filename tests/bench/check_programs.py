#!/usr/bin/env python3
"""Each benchmark runs on a tiny model and prints one line of JSON with the fields of its peer's script.

    check_programs.py BENCH_FOLDER
"""
import ast
import json
import os
import pathlib
import random
import struct
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(os.environ["RLHF_SOURCE_DIR"])
WIDTH, LAYERS, VOCAB, CONTEXT = 16, 2, 50, 64
JOBS = {"train_step": ["2", "8"], "generate": ["2", "4", "6"], "reward_step": ["2", "16", "12", "3"],
        "ppo_iteration": ["2", "4", "4", "2"], "load": []}
COUNTED = {"train_step": {"gflop", "copy_gb"}, "generate": {"gflop", "read_gb"},
           "reward_step": {"gflop", "copy_gb"}, "ppo_iteration": {"gflop", "read_gb", "copy_gb"},
           "load": {"copy_gb"}}


def write_model(folder):
    """A GPT-2 with random weights, as Hugging Face writes it."""
    shapes = {"wte.weight": [VOCAB, WIDTH], "wpe.weight": [CONTEXT, WIDTH], "ln_f.weight": [WIDTH],
              "ln_f.bias": [WIDTH]}
    for i in range(LAYERS):
        for name, size in (("attn.c_attn", (WIDTH, 3 * WIDTH)), ("attn.c_proj", (WIDTH, WIDTH)),
                           ("mlp.c_fc", (WIDTH, 4 * WIDTH)), ("mlp.c_proj", (4 * WIDTH, WIDTH))):
            shapes[f"h.{i}.{name}.weight"], shapes[f"h.{i}.{name}.bias"] = list(size), [size[1]]
        for name in ("ln_1", "ln_2"):
            shapes[f"h.{i}.{name}.weight"] = shapes[f"h.{i}.{name}.bias"] = [WIDTH]
    random.seed(1)
    header, data = {}, b""
    for name, shape in shapes.items():
        count = shape[0] * (shape[1] if len(shape) > 1 else 1)
        values = struct.pack(f"<{count}f", *(random.gauss(0, 0.1) for _ in range(count)))
        header[f"transformer.{name}"] = {"dtype": "F32", "shape": shape,
                                         "data_offsets": [len(data), len(data) + len(values)]}
        data += values
    text = json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data)
    (folder / "config.json").write_text(json.dumps({
        "architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "n_embd": WIDTH, "n_layer": LAYERS,
        "n_head": 2, "n_positions": CONTEXT, "n_ctx": CONTEXT, "vocab_size": VOCAB, "bos_token_id": 1,
        "eos_token_id": 2, "activation_function": "gelu_new", "layer_norm_epsilon": 1e-5,
        "tie_word_embeddings": True}))


def peer_fields():
    """{benchmark: fields that the peers' scripts hand to peer.emit, and what that adds}."""
    fields = {}
    for path in sorted((ROOT / "bench/peers").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "emit":
                given = {k.arg for k in node.keywords} - {"seconds"}
                given |= {"peer", "bench", "model", "seconds_min", "seconds_median", "peak_rss_mib"}
                fields.setdefault(node.args[1].value, set()).update(given)
    return fields


def run(bench, name, *arguments, **variables):
    return subprocess.run([bench / f"bench-{name}", *arguments], capture_output=True, text=True,
                          env=dict(os.environ, BENCH_SECONDS="0.001", **variables))


def check_job(bench, name, model, wanted):
    done = run(bench, name, model, *JOBS[name])
    if done.returncode:
        return [f"{name}: {done.stderr}"]
    lines = done.stdout.splitlines()
    if len(lines) != 1:
        return [f"{name} printed {len(lines)} lines"]
    line = json.loads(lines[0])
    found = [f"{name}: no field {field}" for field in sorted(wanted - set(line))]
    if line["peer"] != "librlhf" or line["bench"] != name or line["model"] != model.name:
        found.append(f"{name}: {lines[0]}")
    for field in {"seconds_min", "peak_rss_mib", "limit_seconds", "percent_of_limit", *COUNTED[name]}:
        least = 0 if field in ("percent_of_limit", "limit_seconds") else 1e-12  # printed with few digits
        if not line[field] >= least:
            found.append(f"{name}: {field} is {line[field]}")
    return found


def check_work(bench, model):
    """Multiply-adds and bytes against a count by hand."""
    line = json.loads(run(bench, "train_step", model, *JOBS["train_step"]).stdout)
    tokens = 2 * 8
    weights = LAYERS * 12 * WIDTH * WIDTH + VOCAB * WIDTH
    pairs = 2 * 8 * 9 // 2
    flops = 3 * (2 * tokens * weights + 4 * LAYERS * pairs * WIDTH)
    parameters = (LAYERS * (12 * WIDTH * WIDTH + 13 * WIDTH) + (VOCAB + CONTEXT) * WIDTH + 2 * WIDTH)
    found = []
    for field, expected in (("gflop", flops / 1e9), ("copy_gb", 28 * parameters / 1e9)):
        if abs(line[field] / expected - 1) > 1e-3:
            found.append(f"train_step: {field} is {line[field]}, by hand {expected:.4g}")
    return found


def check_kernels(bench):
    done = run(bench, "kernels", "rmsnorm")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    if done.returncode or [line["kernel"] for line in lines] != ["add rmsnorm", "rmsnorm grad"]:
        return [f"kernels: {done.stdout}{done.stderr}"]
    return [f"kernels: {line}" for line in lines if not (line["ms"] > 0 and line["percent_of_limit"] > 0)]


def check_peak(bench):
    done = run(bench, "peak", BENCH_CPU_LEVEL="1")
    line = json.loads(done.stdout)
    found = [f"peak: {key} is {line[key]}" for key in line
             if key.endswith(("gflops", "per_s", "_1")) and "bf16" not in key and not line[key] > 0]
    if line["level"] != "portable" or ("bf16" in line) == ("bf16_by" in line) or \
            (line["bf16_gflops"] is None) != ("bf16" in line):
        found.append(f"peak: {done.stdout}")
    return found


def main():
    bench = pathlib.Path(sys.argv[1])
    wanted, failures = peer_fields(), []
    if set(JOBS) - set(wanted):
        failures.append(f"the peers' scripts lack {sorted(set(JOBS) - set(wanted))}")
    with tempfile.TemporaryDirectory() as folder:
        model = pathlib.Path(folder, "tiny")
        model.mkdir()
        write_model(model)
        for name in JOBS:
            failures += check_job(bench, name, model, wanted.get(name, set()))
        failures += check_work(bench, model)
        if run(bench, "train_step", model, "2").returncode != 2:
            failures.append("train_step takes too few arguments")
    failures += check_kernels(bench) + check_peak(bench)
    print("\n".join(failures) or "ok")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
