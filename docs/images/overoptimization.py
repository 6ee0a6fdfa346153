#!/usr/bin/env python3
"""The plot of docs/guide/ppo-settings.md: a policy that is held to its reference, and one that is not,
both against a reward model that learnt from few choices.

    ./dev demo --out work/demo
    python3 docs/images/overoptimization.py work/demo build/examples docs/images/overoptimization.svg

Trains the reward model by 05_reward on the first choices of a finished demo, runs demo/overoptimize once
for each KL coefficient, and scores the held-out answers by verify.py's reading of the annotator's
preference, which nothing that trained knows. verify.py needs numpy.
"""
import importlib.util
import json
import pathlib
import re
import subprocess
import sys
import tempfile

PAIRS, REWARD_STEPS, ITERATIONS, EVERY = 1500, 150, 100, 4
KL_COEFFICIENTS = ("0.05", "0")
WIDTH, HEIGHT, LEFT, TOP, PANEL = 880, 330, 44, 40, 340
SCORES, GOLD = (0.0, 4.0), (-0.2, 1.0)  # the axes, left and right
BLUE, ORANGE = "#2a78c2", "#c2571a"


def gold_scorer():
    path = pathlib.Path(__file__).resolve().parents[2] / "examples/demo/verify.py"
    spec = importlib.util.spec_from_file_location("verify", path)
    verify = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(verify)
    return verify.suits_gold()


def train_reward(demo, programs, out):
    """A reward model from few choices, otherwise as the demo trains it."""
    lines = (demo / "choices.jsonl").read_text().splitlines(keepends=True)[:PAIRS]
    (out / "choices.jsonl").write_text("".join(lines))
    config = (demo / "config/5_reward.yaml").read_text()
    for key, value in (("data", out / "choices.jsonl"), ("output", out / "reward"),
                       ("metrics", out / "reward.jsonl"), ("steps", REWARD_STEPS)):
        config = re.sub(rf"^{key}: .*$", f"{key}: {value}", config, flags=re.M)
    (out / "reward.yaml").write_text(config)
    subprocess.run([programs / "05_reward", out / "reward.yaml"], check=True)


def optimize(demo, programs, out, kl_coef, gold):
    """[(iteration, score, gold score, KL)]"""
    answers = out / f"kl-{kl_coef}"
    answers.mkdir()
    run = subprocess.run(
        [programs / "demo/overoptimize", demo / "sft", out / "reward", demo / "data/prompts_ppo.jsonl",
         demo / "data/prompts_eval.jsonl", kl_coef, str(ITERATIONS), str(EVERY), answers],
        check=True, stdout=subprocess.PIPE, text=True)
    points = []
    for line in map(json.loads, run.stdout.splitlines()):
        rows = map(json.loads, (answers / f"{line['iteration']}.jsonl").read_text().splitlines())
        values = [gold(row["prompt"], row["completion"]) for row in rows]
        points.append((line["iteration"], line["score"], sum(values) / len(values), line["kl"]))
        print(f"kl_coef {kl_coef}", *points[-1], flush=True)
    example = json.loads((answers / f"{ITERATIONS}.jsonl").read_text().splitlines()[0])
    print(f"kl_coef {kl_coef}: {example['prompt']} ->{example['completion']}")
    return points


def height(value, axis):
    return TOP + (HEIGHT - TOP - 60) * (1 - (value - axis[0]) / (axis[1] - axis[0]))


def curve(points, column, axis, x, color):
    at = " ".join(f"{x + PANEL * p[0] / ITERATIONS:.1f},{height(p[column], axis):.1f}" for p in points)
    return f'<polyline points="{at}" fill="none" stroke="{color}" stroke-width="2"/>'


def panel(points, x, title):
    bottom = HEIGHT - 60
    out = [f'<text x="{x}" y="{TOP - 14}" font-weight="600">{title}</text>',
           f'<path d="M{x} {TOP}V{bottom}H{x + PANEL}" fill="none" stroke="#888"/>']
    for i in range(5):
        score, gold = (axis[0] + (axis[1] - axis[0]) * i / 4 for axis in (SCORES, GOLD))
        y = height(score, SCORES)
        out.append(f'<path d="M{x} {y:.1f}h{PANEL}" stroke="#8884"/>'
                   f'<text x="{x - 6}" y="{y + 4:.1f}" text-anchor="end" fill="{BLUE}">{score:.0f}</text>'
                   f'<text x="{x + PANEL + 6}" y="{y + 4:.1f}" fill="{ORANGE}">{gold:.1f}</text>')
    out += [f'<text x="{x}" y="{bottom + 16}">0</text>',
            f'<text x="{x + PANEL}" y="{bottom + 16}" text-anchor="end">{ITERATIONS} iterations, '
            f'KL {points[-1][3]:.0f} nats</text>',
            curve(points, 1, SCORES, x, BLUE), curve(points, 2, GOLD, x, ORANGE)]
    return out


def draw(runs, path):
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
           'font-family="sans-serif" font-size="12" fill="#666">',
           '<title>Score of the reward model and of the annotator over iterations</title>',
           f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>']
    for i, (kl_coef, points) in enumerate(runs.items()):
        out += panel(points, LEFT + i * (PANEL + 100), f"kl_coef {kl_coef}")
    out += [f'<text x="{LEFT}" y="{HEIGHT - 12}" fill="{BLUE}">what the reward model says (left axis)</text>',
            f'<text x="{LEFT + 260}" y="{HEIGHT - 12}" fill="{ORANGE}">what the annotator would say, the '
            'gold score (right axis)</text>', "</svg>"]
    path.write_text("\n".join(out) + "\n")


def main():
    demo, programs, picture = (pathlib.Path(argument).resolve() for argument in sys.argv[1:])
    gold = gold_scorer()
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder)
        train_reward(demo, programs, out)
        runs = {k: optimize(demo, programs, out, k, gold) for k in KL_COEFFICIENTS}
    draw(runs, picture)


if __name__ == "__main__":
    main()
