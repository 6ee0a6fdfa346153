#!/usr/bin/env python3
"""Golden vectors of the three trainers, from PyTorch: transformers' Llama classes, TRL's masked_mean
and masked_whiten, torch.optim.AdamW, all in double precision.

    python3 tests/golden/make_trainers.py > tests/golden/trainers_golden.h

Needs torch, transformers and trl 1.12.0. Every sequence is run alone, so there is no padding.
"""
import copy
import sys

import torch
from transformers import LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification
from trl.experimental.ppo.ppo_trainer import masked_mean, masked_whiten

torch.manual_seed(7)
torch.set_default_dtype(torch.float64)
CONFIG = dict(vocab_size=23, hidden_size=8, intermediate_size=12, num_hidden_layers=2,
              num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=16,
              tie_word_embeddings=True, rms_norm_eps=1e-5, initializer_range=0.4,
              bos_token_id=1, eos_token_id=2, pad_token_id=0, attn_implementation="eager")
LR, EPS, DECAY, BETAS = 1e-2, 1e-6, 0.01, (0.9, 0.95)
PROMPT, SLOTS, TAU = 4, 6, 0.7


def make(cls, **more):
    model = cls(LlamaConfig(**CONFIG, **more)).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.float().double())
    return model


def nudge(model, size):
    """A copy with every weight moved, and representable in fp32."""
    other = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(size * torch.randn_like(parameter))
            parameter.copy_(parameter.float().double())
    return other


def array(name, values, kind="double", form="%.9g"):
    flat = [form % v for v in torch.as_tensor(values).flatten().tolist()]
    lines = [", ".join(flat[i:i + 6]) for i in range(0, len(flat), 6)]
    print(f"static const {kind} {name}[{len(flat)}] = {{\n    " + ",\n    ".join(lines) + "};\n")


def integers(name, values, kind="int32_t"):
    array(name, values, kind, "%d")


def weights(name, model, values=None):
    """All parameters, end to end, in the order of `parameter_names`."""
    values = values or {n: p.detach() for n, p in model.named_parameters()}
    array(name, torch.cat([values[n].flatten() for n in values]), "float")


def names(name, model):
    print(f"static const char *const {name}[] = {{")
    for n, p in model.named_parameters():
        print(f'    "{n}",')
    print("    NULL};\n")


def optimizer(model):
    matrices = [p for p in model.parameters() if p.dim() > 1]
    vectors = [p for p in model.parameters() if p.dim() == 1]
    return torch.optim.AdamW([{"params": matrices, "weight_decay": DECAY},
                              {"params": vectors, "weight_decay": 0.0}], lr=LR, eps=EPS, betas=BETAS)


def norm(model):
    return torch.sqrt(sum((p.grad ** 2).sum() for p in model.parameters()))


def logprobs(model, ids, tau=1.0):
    """Of each token but the first."""
    z = model(torch.tensor([ids])).logits[0, :-1] / tau
    return torch.log_softmax(z, -1).gather(1, torch.tensor(ids[1:])[:, None])[:, 0]


def language_model(model):
    """One SFT step: prompts masked, mean over all targets of the step."""
    rows = [[1, 5, 9, 4, 7, 2], [1, 3, 3, 8, 6, 10, 11, 2], [1, 20, 2]]
    prompts = [3, 4, 2]
    model = copy.deepcopy(model)
    opt = optimizer(model)
    total = sum(len(r) - p for r, p in zip(rows, prompts))
    loss = sum(-logprobs(model, r)[p - 1:].sum() for r, p in zip(rows, prompts)) / total
    loss.backward()
    integers("lm_tokens", sum(rows, []))
    integers("lm_lengths", [len(r) for r in rows], "int64_t")
    integers("lm_prompts", prompts, "int64_t")
    array("lm_loss_and_norm", [loss.item(), norm(model).item()])
    weights("lm_gradient", model, {n: p.grad for n, p in model.named_parameters()})
    opt.step()
    weights("lm_after", model)


def reward_model(model):
    """One pairwise step with margins and centering. The first pair's prompt is long enough to be shared."""
    prompt = [1, 5, 9, 4, 8, 3, 12, 7, 10, 6]
    chosen = [prompt + [4, 2], [1, 3, 8, 2], [1, 6, 6, 7, 12, 2]]
    rejected = [prompt + [11, 13, 2], [1, 3, 2], [1, 6, 6, 14, 2]]
    margins, center = [0.0, 0.5, 1.0], 0.05
    model = copy.deepcopy(model)
    opt = optimizer(model)

    def score(ids):
        hidden = model.model(torch.tensor([ids])).last_hidden_state[0, -1]
        return model.score(hidden)[0]
    plus = torch.stack([score(x) for x in chosen])
    minus = torch.stack([score(x) for x in rejected])
    loss = -torch.nn.functional.logsigmoid(plus - minus - torch.tensor(margins)).mean()
    loss = loss + center * ((plus + minus) ** 2).mean()
    loss.backward()
    integers("rm_chosen", sum(chosen, []))
    integers("rm_chosen_lengths", [len(r) for r in chosen], "int64_t")
    integers("rm_rejected", sum(rejected, []))
    integers("rm_rejected_lengths", [len(r) for r in rejected], "int64_t")
    array("rm_margins", margins)
    array("rm_scores", torch.cat([plus, minus]).detach())
    array("rm_loss_and_norm", [loss.item(), norm(model).item()])
    weights("rm_gradient", model, {n: p.grad for n, p in model.named_parameters()})
    opt.step()
    weights("rm_after", model)


def ppo(policy, critic):
    """TRL's iteration: score one slot after the end, unbiased whitening, two epochs of one minibatch;
    the samples are of an older policy, so that ratios differ from 1 and clipping acts."""
    old, reference = nudge(policy, 0.02), nudge(policy, 0.05)
    policy, critic = copy.deepcopy(policy), copy.deepcopy(critic)
    lengths = [6, 3, 5, 1]
    prompts = torch.randint(3, 23, (4, PROMPT)).tolist()
    answers = [torch.randint(3, 23, (n,)).tolist() for n in lengths]
    for answer, length in zip(answers, lengths):
        if length < SLOTS:
            answer[-1] = 2
    rows = [p + a for p, a in zip(prompts, answers)]
    scores = torch.tensor([0.5, -1.0, 2.0, 0.25])
    beta, gamma, lam, clip, clip_v, coef = 0.1, 0.98, 0.95, 0.2, 0.2, 0.1

    def padded(pieces, fill):
        out = torch.full((4, SLOTS), fill)
        for b, piece in enumerate(pieces):
            out[b, :len(piece)] = piece[:SLOTS]
        return out

    def answer_logprobs(model):
        return padded([logprobs(model, r, TAU)[PROMPT - 1:] for r in rows], 1.0)

    def critic_values():
        out = []
        for row in rows:
            hidden = critic.model(torch.tensor([row])).last_hidden_state[0, PROMPT - 1:]
            out.append(critic.score(hidden)[:, 0])
        return padded(out, 0.0)
    slots = torch.arange(SLOTS)
    last = torch.tensor(lengths)[:, None] - 1
    mask, mask_p1 = slots <= last, slots <= last + 1
    with torch.no_grad():
        old_lp, ref_lp = answer_logprobs(old), answer_logprobs(reference)
        old_lp = old_lp.float().double()
        values = torch.where(mask_p1, critic_values(), 0.0)
    kl = torch.where(mask, old_lp - ref_lp, 0.0)
    rewards = -beta * kl
    end = torch.where(last[:, 0] + 1 < SLOTS, last[:, 0] + 1, last[:, 0])
    rewards[torch.arange(4), end] += scores
    tail, columns = torch.zeros(4), []
    for t in reversed(range(SLOTS)):
        following = values[:, t + 1] if t < SLOTS - 1 else 0.0
        tail = rewards[:, t] + gamma * following - values[:, t] + gamma * lam * tail
        columns.append(tail)
    advantages = torch.stack(columns[::-1], 1)
    returns = advantages + values
    advantages = torch.where(mask, masked_whiten(advantages, mask), 0.0)
    opt_p, opt_v = optimizer(policy), optimizer(critic)
    rest = {k: [] for k in ("pg", "vf", "approxkl", "clipfrac", "vclipfrac", "ratio", "gp", "gv")}
    for _ in range(2):
        diff = torch.where(mask, answer_logprobs(policy) - old_lp, 0.0)
        ratio = diff.exp()
        first, second = -advantages * ratio, -advantages * ratio.clamp(1 - clip, 1 + clip)
        pg = masked_mean(torch.maximum(first, second), mask)
        now = critic_values()
        clipped = torch.minimum(torch.maximum(now, values - clip_v), values + clip_v)
        v1, v2 = (now - returns) ** 2, (clipped - returns) ** 2
        vf = 0.5 * masked_mean(torch.maximum(v1, v2), mask_p1)
        opt_p.zero_grad()
        opt_v.zero_grad()
        (pg + coef * vf).backward()
        for key, value in (("pg", pg), ("vf", vf), ("gp", norm(policy)), ("gv", norm(critic)),
                           ("approxkl", 0.5 * masked_mean(diff ** 2, mask)),
                           ("clipfrac", masked_mean((second > first).double(), mask)),
                           ("vclipfrac", masked_mean((v2 > v1).double(), mask_p1)),
                           ("ratio", masked_mean(ratio, mask))):
            rest[key].append(value.item())
        opt_p.step()
        opt_v.step()
    integers("ppo_tokens", sum(rows, []))
    integers("ppo_lengths", lengths, "int64_t")
    array("ppo_scores", scores, "float")
    weights("ppo_reference", reference)
    array("ppo_old_logprobs", torch.cat([old_lp[b, :n] for b, n in enumerate(lengths)]), "float")
    for name, values_of in (("ref_logprobs", ref_lp), ("values", values), ("advantages", advantages),
                            ("returns", returns)):
        array("ppo_" + name, torch.cat([values_of[b, :n] for b, n in enumerate(lengths)]))
    array("ppo_stats", [sum(v) / 2 for v in rest.values()])
    array("ppo_kl", [kl.sum(1).mean().item()])
    weights("ppo_policy_after", policy)
    weights("ppo_critic_after", critic)


def main():
    policy = make(LlamaForCausalLM)
    scalar = make(LlamaForSequenceClassification, num_labels=1)
    scalar.score.bias = torch.nn.Parameter(torch.zeros(1))  # the library's head has one
    print("/* Made by make_trainers.py; see there. */\n#include <stddef.h>\n#include <stdint.h>\n")
    names("policy_names", policy)
    names("scalar_names", scalar)
    weights("policy_weights", policy)
    weights("scalar_weights", scalar)
    language_model(policy)
    reward_model(scalar)
    ppo(policy, scalar)


if __name__ == "__main__":
    sys.exit(main())
