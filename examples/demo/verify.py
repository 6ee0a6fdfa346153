#!/usr/bin/env python3
"""Recomputes the demo's RESULT from what it left behind: verify.py DIR [--data RLHF_DATA_DIR]

Shares no code with the library or the demo: it reads the Hugging Face folders itself, runs the
networks in numpy, samples answers with its own random numbers, scores them by its own reading of
the hidden preference, and compares every field. Sampled figures have to agree within their
intervals; computed ones within rounding. Ends with "verified" or names the fields that differ.
Needs numpy."""
import argparse
import json
import math
import os
import re
import struct
import sys

import numpy as np


# --- folders ---------------------------------------------------------------------------------

def read_safetensors(path):
    with open(path, "rb") as file:
        size = struct.unpack("<Q", file.read(8))[0]
        header = json.loads(file.read(size))
        data = file.read()
    kinds = {"F32": np.float32, "F64": np.float64}
    return {name: np.frombuffer(data[slice(*entry["data_offsets"])], kinds[entry["dtype"]])
            .reshape(entry["shape"]).astype(np.float64)
            for name, entry in header.items() if name != "__metadata__"}


class Tokens:
    """Decoding only: prompts come as ids."""

    def __init__(self, folder):
        with open(os.path.join(folder, "tokenizer.json"), encoding="utf-8") as file:
            spec = json.load(file)
        self.text = {i: t for t, i in spec["model"]["vocab"].items()}
        self.special = {t["id"] for t in spec.get("added_tokens", []) if t.get("special")}
        self.byte_level = not spec["model"].get("byte_fallback")
        visible = [*range(33, 127), *range(161, 173), *range(174, 256)]
        hidden = [b for b in range(256) if b not in visible]
        self.bytes = {chr(b): b for b in visible}
        self.bytes.update({chr(256 + i): b for i, b in enumerate(hidden)})

    def decode(self, ids):
        out = bytearray()
        for i in ids:
            if i in self.special:
                continue
            token = self.text[i]
            if self.byte_level:
                out += bytes(self.bytes[c] for c in token)
            elif re.fullmatch(r"<0x[0-9A-Fa-f]{2}>", token):
                out.append(int(token[3:5], 16))
            else:
                out += token.replace("\u2581", " ").encode()
        text = out.decode("utf-8", "replace")
        return text


class Llama:
    """The network of config.json in double precision, with a key-value cache."""

    def __init__(self, folder):
        with open(os.path.join(folder, "config.json"), encoding="utf-8") as file:
            self.config = c = json.load(file)
        w = read_safetensors(os.path.join(folder, "model.safetensors"))
        self.w = {k.removeprefix("model."): v for k, v in w.items()}
        self.heads = c["num_attention_heads"]
        self.kv = c.get("num_key_value_heads", self.heads)
        self.dim = c.get("head_dim") or c["hidden_size"] // self.heads
        angle = c.get("rope_theta", 10000.0) ** (-np.arange(self.dim // 2) * 2 / self.dim)
        self.angles = np.arange(c["max_position_embeddings"])[:, None] * angle

    def norm(self, x, name):
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + self.config["rms_norm_eps"]) \
            * self.w[name]

    def rotate(self, x, positions):
        a, b = np.split(x, 2, -1)
        cos, sin = np.cos(self.angles[positions]), np.sin(self.angles[positions])
        cos, sin = cos[:, :, None], sin[:, :, None]
        return np.concatenate([a * cos - b * sin, b * cos + a * sin], -1)

    def forward(self, ids, lengths, cache=None):
        """ids [batch][new], right-padded; lengths: valid new tokens. Hidden states after the norm.
        cache: list of [k, v, valid] that grows."""
        batch, new = ids.shape
        x = self.w["embed_tokens.weight"][ids]
        valid = np.arange(new)[None] < lengths[:, None]
        past = 0 if cache is None or not cache else cache[0][0].shape[1]
        before = cache[0][2].sum(1) if past else np.zeros(batch, int)
        positions = np.minimum(before[:, None] + np.arange(new)[None], len(self.angles) - 1)
        for layer in range(self.config["num_hidden_layers"]):
            p = f"layers.{layer}."
            h = self.norm(x, p + "input_layernorm.weight")
            shape = (batch, new, -1, self.dim)
            q = self.rotate((h @ self.w[p + "self_attn.q_proj.weight"].T).reshape(shape), positions)
            k = self.rotate((h @ self.w[p + "self_attn.k_proj.weight"].T).reshape(shape), positions)
            v = (h @ self.w[p + "self_attn.v_proj.weight"].T).reshape(shape)
            seen = valid
            if cache is not None:
                if past:
                    k = np.concatenate([cache[layer][0], k], 1)
                    v = np.concatenate([cache[layer][1], v], 1)
                    seen = np.concatenate([cache[layer][2], valid], 1)
                    cache[layer] = [k, v, seen]
                else:
                    cache.append([k, v, seen])
            k, v = (np.repeat(t, self.heads // self.kv, 2) for t in (k, v))
            score = np.einsum("bqhd,bkhd->bhqk", q, k) / math.sqrt(self.dim)
            causal = np.arange(k.shape[1])[None] <= past + np.arange(new)[:, None]
            score = np.where(causal[None, None] & seen[:, None, None], score, -1e30)
            score = np.exp(score - score.max(-1, keepdims=True))
            score /= score.sum(-1, keepdims=True)
            mixed = np.einsum("bhqk,bkhd->bqhd", score, v).reshape(batch, new, -1)
            x = x + mixed @ self.w[p + "self_attn.o_proj.weight"].T
            h = self.norm(x, p + "post_attention_layernorm.weight")
            gate = h @ self.w[p + "mlp.gate_proj.weight"].T
            up = h @ self.w[p + "mlp.up_proj.weight"].T
            x = x + (gate / (1 + np.exp(-gate)) * up) @ self.w[p + "mlp.down_proj.weight"].T
        return self.norm(x, "norm.weight")

    def logits(self, hidden):
        return hidden @ self.w.get("lm_head.weight", self.w["embed_tokens.weight"]).T

    def scores(self, rows):
        out = []
        for first in range(0, len(rows), 128):
            ids, lengths = pad(rows[first:first + 128])
            hidden = self.forward(ids, lengths)[np.arange(len(ids)), lengths - 1]
            out.append(hidden @ self.w["score.weight"][0])
        return np.concatenate(out) + self.config.get("rlhf_score_offset", 0.0)

    def answer(self, prompts, new_tokens, stop, rng):
        """Sampled at temperature 1; the ids of each answer and its log-probability."""
        answers, logprobs = [], []
        for first in range(0, len(prompts), 128):
            ids, lengths = pad(prompts[first:first + 128])
            n, cache = len(ids), []
            hidden = self.forward(ids, lengths, cache)[np.arange(n), lengths - 1]
            out, total, going = [[] for _ in range(n)], np.zeros(n), np.ones(n, bool)
            for _ in range(new_tokens):
                z = self.logits(hidden)
                z -= z.max(-1, keepdims=True)
                logp = z - np.log(np.exp(z).sum(-1, keepdims=True))
                pick = (np.cumsum(np.exp(logp), -1) < rng.random(n)[:, None]).sum(-1)
                pick = np.minimum(pick, z.shape[1] - 1)
                total += np.where(going, logp[np.arange(n), pick], 0)
                for i in np.flatnonzero(going):
                    out[i].append(int(pick[i]))
                going &= pick != stop
                if not going.any():
                    break
                hidden = self.forward(pick[:, None], np.ones(n, int), cache)[:, 0]
            answers += out
            logprobs += list(total)
        return answers, np.array(logprobs)

    def logprob(self, prompts, answers):
        out = []
        for first in range(0, len(prompts), 128):
            rows = [p + a for p, a in zip(prompts[first:first + 128], answers[first:first + 128])]
            ids, lengths = pad(rows)
            z = self.logits(self.forward(ids, lengths))
            z -= z.max(-1, keepdims=True)
            logp = z - np.log(np.exp(z).sum(-1, keepdims=True))
            for i, row in enumerate(rows):
                start = len(prompts[first + i])
                out.append(sum(logp[i, t - 1, row[t]] for t in range(start, len(row))))
        return np.array(out)


def pad(rows):
    lengths = np.array([len(r) for r in rows])
    ids = np.zeros((len(rows), lengths.max()), int)
    for i, row in enumerate(rows):
        ids[i, :len(row)] = row
    return ids, lengths


# --- the hidden preference -------------------------------------------------------------------

def read_lore():
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "lore.h")
    with open(path, encoding="utf-8") as file:
        source = file.read()

    def block(name):
        return re.search(name + r"\[\] = \{(.*?)\n\};", source, re.S).group(1)
    moods = {m: re.findall(r'"([^"]+)"', p)
             for m, p in re.findall(r'\{"(\w+)", \{([^}]*)\}\}', block("lore_moods"))}
    wishes = {w: (re.findall(r'"([^"]+)"', o), re.findall(r'"([^"]+)"', p)) for w, o, p in
              re.findall(r'\{"(\w+)", \{([^}]*)\}, \{([^}]*)\}\}', block("lore_wishes"))}
    return moods, wishes


def mentions(text, phrase):
    return len(re.findall(r"(?<![a-z])" + re.escape(phrase.lower()) + r"(?![a-z])", text.lower()))


def suits_gold():
    moods, wishes = read_lore()

    def share(prompt, answer, groups):
        n = {g: sum(mentions(answer, w) for w in words) for g, words in groups.items()}
        every = sum(n.values())
        right = sum(n[g] for g in groups if mentions(prompt, g))
        return 2 * right / every - 1 if every else -1.0
    objects = {w: o for w, (o, _) in wishes.items()}
    places = {w: p for w, (_, p) in wishes.items()}
    return lambda prompt, answer: 0.40 * share(prompt, answer, moods) \
        + 0.33 * share(prompt, answer, objects) + 0.27 * share(prompt, answer, places)


def positive_gold(path):
    valence = {}
    with open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            fields = line.split("\t")
            if len(fields) > 1 and len(fields[0].encode()) < 32:
                valence[fields[0]] = float(fields[1])

    def gold(_, answer):
        s = sum(valence.get(w.lower(), 0) for w in re.findall(r"[A-Za-z][A-Za-z']*", answer))
        return s / math.sqrt(s * s + 15)
    return gold


# --- the figures -----------------------------------------------------------------------------

def read_jsonl(path):
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def linear_accuracy(train, test, p):
    """Ridge-regularised logistic regression on token counts, by Newton's method."""
    size = 1 + max(max(r["chosen_ids"] + r["rejected_ids"], default=0) for r in train + test)

    def features(rows):
        x = np.zeros((len(rows), size))
        for i, row in enumerate(rows):
            np.add.at(x[i], row["chosen_ids"], 1)
            np.add.at(x[i], row["rejected_ids"], -1)
        return x
    x, w = features(train), np.zeros(size)
    for _ in range(25):
        q = 1 / (1 + np.exp(-np.clip(x @ w, -30, 30)))
        gradient = x.T @ (1 - q) - w
        step = np.linalg.solve(x.T @ (x * (q * (1 - q))[:, None]) + np.eye(size), gradient)
        w += step
        if np.abs(step).max() < 1e-6:
            break
    return credit(features(test) @ w, p).mean()


def credit(margin, p):
    return np.where(margin > 0, p, np.where(margin < 0, 1 - p, 0.5))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dir")
    parser.add_argument("--data", default=os.environ.get("RLHF_DATA_DIR", "../shared/data"))
    args = parser.parse_args()
    at = lambda name: os.path.join(args.dir, name)
    with open(at("result.json"), encoding="utf-8") as file:
        result = json.load(file)
    real = result["mode"] == "real"
    gold = positive_gold(os.path.join(args.data, "sentiment/vader_lexicon.txt")) if real \
        else suits_gold()
    noise, stop, new_tokens = (6.0, 1, 64) if real else (4.0, None, 24)
    bad = []

    def same(name, own, tolerance):
        ok = abs(own - result[name]) <= tolerance
        print(f"{name:22} {result[name]:10.4f}  recomputed {own:10.4f}  within {tolerance:.4f}: "
              f"{'yes' if ok else 'NO'}")
        if not ok:
            bad.append(name)

    def probability(rows):
        d = np.array([gold(r["prompt"], r["chosen"]) - gold(r["prompt"], r["rejected"])
                      for r in rows])
        return 1 / (1 + np.exp(-noise * d))

    # Sets of prompts are disjoint.
    sets = {name: {json.dumps(r.get("prompt_ids") or r["prompt"])
                   for r in read_jsonl(at(f"data/{name}.jsonl"))}
            for name in ("sft", "prompts_compare", "prompts_ppo", "prompts_eval", "prompts_test")}
    names = list(sets)
    for i, a in enumerate(names):
        for b in names[i + 1:]:
            if sets[a] & sets[b]:
                bad.append(f"{a} and {b} share prompts")

    # Reward model.
    train, test = read_jsonl(at("choices.jsonl")), read_jsonl(at("test_choices.jsonl"))
    reward, p = Llama(at("reward")), probability(test)
    eos = reward.config["eos_token_id"]

    def complete(row, key):
        ids = row["prompt_ids"] + row[key]
        return ids if real or ids[-1] == eos else ids + [eos]
    margin = reward.scores([complete(r, "chosen_ids") for r in test]) \
        - reward.scores([complete(r, "rejected_ids") for r in test])
    ceiling = np.maximum(p, 1 - p).mean()
    accuracy = credit(margin, p).mean()
    same("pairs", len(train), 0)
    same("rm_accuracy", accuracy, 0.005)
    same("rm_accuracy_ceiling", ceiling, 0.001)
    same("rm_q", (accuracy - 0.5) / (ceiling - 0.5), 0.02)
    same("rm_q_linear", (linear_accuracy(train, test, p) - 0.5) / (ceiling - 0.5), 0.01)

    # Policies: fresh answers to the same prompts.
    rng = np.random.default_rng(20_000 + result["seed"])
    tokens = Tokens(at("policy"))
    rows = read_jsonl(at("before.jsonl"))
    prompts = [r["prompt_ids"] for r in rows]
    before, after = Llama(at("sft")), Llama(at("policy"))
    stop = stop or after.config["eos_token_id"]
    a_before, _ = before.answer(prompts, new_tokens, stop, rng)
    a_after, logprob = after.answer(prompts, new_tokens, stop, rng)
    g_before = np.array([gold(r["prompt"], tokens.decode(a)) for r, a in zip(rows, a_before)])
    g_after = np.array([gold(r["prompt"], tokens.decode(a)) for r, a in zip(rows, a_after)])
    win = np.where(g_after > g_before, 1.0, np.where(g_after < g_before, 0.0, 0.5))
    kl = logprob - before.logprob(prompts, a_after)

    def sampled(values):  # two independent samples of one mean: 4 standard errors of a difference
        return 4 * math.sqrt(2) * values.std() / math.sqrt(len(values)) + 1e-3
    same("gold_before", g_before.mean(), sampled(g_before))
    same("gold_after", g_after.mean(), sampled(g_after))
    same("win_rate", win.mean(), sampled(win))
    low = win.mean() - 1.96 * win.std() / math.sqrt(len(win))
    same("win_rate_low", low, sampled(win) + 0.01)
    same("kl", kl.mean(), sampled(kl))
    for name in ("seconds", "peak_rss_mib"):
        if not result[name] > 0:
            bad.append(name)
    if bad:
        print("differs:", ", ".join(bad))
        return 1
    print("verified")
    return 0


if __name__ == "__main__":
    sys.exit(main())
