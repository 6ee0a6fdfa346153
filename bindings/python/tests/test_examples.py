"""The examples one after the other, and the code of the pages, run as they stand."""
import ast
import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT

import rlhf
from rlhf import _options

EXAMPLES = ROOT / "bindings/python/examples"
PAGES = ["bindings/python/README.md", "docs/from-trl.md"]


def run(name, folder):
    result = subprocess.run([sys.executable, str(EXAMPLES / name)], cwd=folder, text=True,
                            capture_output=True, timeout=200)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def figures(pattern, text):
    return [float(number) for number in re.search(pattern, text).groups()]


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """Where the examples have run, and what they said."""
    folder = tmp_path_factory.mktemp("examples")
    names = sorted(path.name for path in EXAMPLES.glob("0*.py"))
    assert len(names) == 7
    return folder, {name[:2]: run(name, folder) for name in names}


def test_examples_do_what_they_say(work):
    _, said = work
    before, after = figures(r"loss before ([\d.]+)[\s\S]*loss after ([\d.]+)", said["01"])
    assert after < 0.3 * before
    before, after = figures(r"loss before ([\d.]+)[\s\S]*loss after ([\d.]+)", said["02"])
    assert after < before
    assert "num_pending=0" in said["04"]
    accuracy, = figures(r"held-out accuracy ([\d.]+)", said["05"])
    assert accuracy > 0.8
    good, bad = re.findall(r"^ *(-?[\d.]+)  Tom is", said["05"], flags=re.M)
    assert float(good) > float(bad)
    before, after = figures(r"score before (-?[\d.]+), after (-?[\d.]+)", said["06"])
    liked, = figures(r"the person likes: ([\d.]+)", said["06"])
    assert after > before + 0.5 and liked > 0.7
    assert said["07"].count(">") == 6 and "more choices" in said["07"]


def test_surface_is_what_its_users_expect(work, monkeypatch):
    """The names and shapes that programs rest on, in their shortest form."""
    monkeypatch.chdir(work[0])
    options = {}
    if "dtype" in _options.names("rlhf_context_options"):
        options["dtype"] = "bf16"
    ctx = rlhf.Context(threads=2, seed=1, **options)
    tok = rlhf.Tokenizer.load("work/sft")
    policy = rlhf.Model.load("work/sft", context=ctx)
    ids, ids2 = tok.encode("Tom wants", add_bos=True), tok.encode("Mia", add_bos=True)
    for rows, tokens in zip(policy.logits([ids, ids2]), (ids, ids2)):
        assert rows.dtype == np.float32 and rows.shape == (len(tokens), len(tok))
    assert [len(rows) for rows in policy.logprobs([ids, ids2])] == [len(ids), len(ids2)]
    prompts = [ids, ids2] * 4
    answers = policy.generate(prompts, sampler=rlhf.Temperature(0.7, top_p=0.9),
                              max_new_tokens=56)
    assert len(answers) == 8
    rm = rlhf.RewardModel.from_model(policy)
    assert rm.score([ids, ids2]).shape == (2,)
    rm.save("work/fresh")
    pairs = rlhf.Dataset.load("work/choices.jsonl", tok, kind="preference")
    for stats in rlhf.RewardTrainer(rm, pairs, lr=1e-5, total_steps=2):
        assert 0 <= stats["accuracy"] <= 1
    ppo = rlhf.PPOTrainer(policy, rm, preset="trl", kl_coef=0.05)
    rollout = ppo.rollout(prompts)
    my_scores = [len(sequence.answer) for sequence in rollout]
    rollout.scores[:] = my_scores
    assert ppo.update(rollout)["score"] == pytest.approx(np.mean(my_scores))


def test_examples_are_in_cells():
    for path in EXAMPLES.glob("0*.py"):
        text = path.read_text()
        assert text.startswith("# %% [markdown]\n# # "), path.name
        assert text.count("# %%") >= 4, path.name


def blocks(page):
    """Blocks of Python of a page; those of another library say so in their first line."""
    found = re.findall(r"^```python\n(.*?)^```", page.read_text(), flags=re.M | re.S)
    return [code for code in found if not code.startswith("# TRL")]


def test_runs_of_a_trainer_reach_their_rate():
    """None ends within its warm-up."""
    codes = [path.read_text() for path in EXAMPLES.glob("0*.py")]
    codes += [code for page in PAGES for code in blocks(ROOT / page)]
    found = 0
    for call in (node for code in codes for node in ast.walk(ast.parse(code))):
        name = isinstance(call, ast.Call) and getattr(call.func, "attr", "")
        if name in ("LMTrainer", "RewardTrainer"):
            struct = {"LMTrainer": "rlhf_lm_options", "RewardTrainer": "rlhf_reward_options"}[name]
            options = _options.to_dict(struct, _options.init(struct))
            options.update((k.arg, k.value.value) for k in call.keywords
                           if isinstance(k.value, ast.Constant))
            assert options["warmup_steps"] < options["total_steps"] / 4, ast.unparse(call)
            found += 1
    assert found >= 5


def test_page_has_the_defaults_of_trainers():
    page = (ROOT / "docs/from-trl.md").read_text().partition("`LMTrainer` | `RewardTrainer` |")[2]
    rows = re.findall(r"^\| [^|]+ \| `(\w+)`[^|]*\| [^|]+ \| ([^|]+) \| ([^|]+) \|$", page,
                      flags=re.M)
    lm, reward, rest = (_options.to_dict(struct, _options.init(struct)) for struct in
                        ("rlhf_lm_options", "rlhf_reward_options", "rlhf_dataset_options"))
    for name, *given in rows:
        wanted = [{**rest, **options}[name] for options in (lm, reward)]
        assert given == [v if isinstance(v, str) else f"{v:g}" for v in wanted], name
    differ = {name for name in lm if lm[name] != reward.get(name)}
    assert differ and differ <= {name for name, *_ in rows}


@pytest.mark.parametrize("page", PAGES)
def test_code_of_pages_runs(work, tmp_path, page):
    folder, _ = work
    for name, source in (("sft", "sft"), ("reward", "reward"), ("base", "base")):
        (tmp_path / name).symlink_to(folder / "work" / source)
    rows = [json.loads(line) for line in (folder / "work/choices.jsonl").read_text().splitlines()]
    with open(tmp_path / "pairs.jsonl", "w") as pairs, open(tmp_path / "sft.jsonl", "w") as sft, \
            open(tmp_path / "prompts.jsonl", "w") as prompts:
        for row in rows:
            pairs.write(json.dumps({k: row[k] for k in ("prompt", "chosen", "rejected")}) + "\n")
            sft.write(json.dumps({"prompt": row["prompt"], "completion": row["chosen"]}) + "\n")
            prompts.write(json.dumps({"prompt": row["prompt"]}) + "\n")
    found = blocks(ROOT / page)
    assert found
    result = subprocess.run([sys.executable, "-c", "\n".join(found)], cwd=tmp_path, text=True,
                            capture_output=True, timeout=200, env=dict(os.environ))
    assert result.returncode == 0, result.stdout + result.stderr
