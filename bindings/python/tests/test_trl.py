"""The blocks of docs/from-trl.md that are marked TRL, run by TRL itself, offline and on the CPU.

They need an interpreter with trl, transformers, datasets and torch, gigabytes of them: the one that
RLHF_PEERS_PYTHON names.
"""
import json
import os
import re
import subprocess

import pytest
from conftest import ROOT, TEXTS

import rlhf

PYTHON = os.environ.get("RLHF_PEERS_PYTHON", "")
PAGE = (ROOT / "docs/from-trl.md").read_text()
VERSIONS = """
import datasets, torch, transformers, trl
from trl import RewardConfig, SFTConfig
from trl.experimental.ppo import PPOConfig
import dataclasses, json
print(json.dumps([
    {m.__name__: m.__version__.split("+")[0] for m in (trl, transformers, datasets, torch)},
    sorted({f.name for c in (SFTConfig, RewardConfig, PPOConfig) for f in dataclasses.fields(c)}),
    [{name: value for name, value in vars(c("out", use_cpu=True)).items()
      if isinstance(value, (int, float, str))} for c in (SFTConfig, RewardConfig)]]))
"""
pytestmark = pytest.mark.skipif(
    not PYTHON, reason="RLHF_PEERS_PYTHON names no interpreter with TRL")


def run(code, folder):
    environment = {name: value for name, value in os.environ.items()
                   if name not in ("PYTHONPATH", "RLHF_LIBRARY")}
    result = subprocess.run(
        [PYTHON, "-c", code], cwd=folder, text=True, capture_output=True, timeout=280,
        env={**environment, "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": "",
             "HF_HOME": str(folder / "cache"), "TRL_EXPERIMENTAL_SILENCE": "1"})
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-4000:]
    return result.stdout


def prepare(folder, context, tokenizer):
    model = rlhf.Model(context=context, vocab_size=len(tokenizer), context_length=64,
                       hidden_size=16, num_layers=1, num_heads=2,
                       bos_token_id=tokenizer.bos_id, eos_token_id=tokenizer.eos_id)
    reward = rlhf.RewardModel.from_model(model)
    for name, network in (("base", model), ("sft", model), ("reward", reward)):
        network.save(folder / name)
        tokenizer.save(folder / name)
    for name, columns in (("sft", ("prompt", "completion")), ("prompts", ("prompt",)),
                          ("pairs", ("prompt", "chosen", "rejected"))):
        with open(folder / f"{name}.jsonl", "w") as file:
            for i in range(96):
                texts = (f"{TEXTS[i % 4]} {i}", " and the cat", " or a dog")
                file.write(json.dumps(dict(zip(columns, texts))) + "\n")


def test_blocks_of_trl_run(context, tokenizer, tmp_path):
    """What TRL's trainers write is read by the library."""
    prepare(tmp_path, context, tokenizer)
    found = re.findall(r"^```python\n(# TRL.*?)^```", PAGE, flags=re.M | re.S)
    assert len(found) == 5
    run("\n".join(found), tmp_path)
    ids = tokenizer.encode(TEXTS[0])
    for name, network, before in (("tuned", rlhf.Model, "base"),
                                  ("new-reward", rlhf.RewardModel, "reward")):
        trained, start = (network.load(tmp_path / folder, context=context)
                          for folder in (name, before))
        scored = [n.logprobs([ids])[0][-1] if network is rlhf.Model else n.score([ids])[0]
                  for n in (trained, start)]
        assert scored[0] != scored[1]
    written = rlhf.Tokenizer.load(tmp_path / "tuned", context=context)
    assert written.encode(TEXTS[0]).tolist() == ids.tolist()


def test_page_names_the_versions_options_and_defaults_of_trl(tmp_path):
    versions, options, defaults = json.loads(run(VERSIONS, tmp_path).splitlines()[-1])
    for name, version in versions.items():
        assert f"{'TRL' if name == 'trl' else name} {version}" in " ".join(PAGE.split())
    table = PAGE.partition("## Names of options")[2]
    rows = re.findall(r"^\| ([^|]*`[^|]*) \|", table, flags=re.M)
    assert len(rows) > 15
    missing = {name for row in rows for name in re.findall(r"`(\w+)`", row)} - set(options)
    assert not missing
    shown = re.findall(r"^\| `(\w+)` \| `\w+`[^|]* \| ([^|]+) \|", table, flags=re.M)
    assert len(shown) >= 6
    for name, value in shown:
        texts = [f"{d[name]:g}" if isinstance(d[name], (int, float)) else d[name] for d in defaults]
        assert value in (", ".join(texts), texts[0] if texts[0] == texts[1] else None), name
