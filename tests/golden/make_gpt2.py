#!/usr/bin/env python3
"""Makes gpt2_golden.h: a tiny GPT-2 of random weights in transformers, in double precision: its
logits, and the loss and gradient of one next-token step. Needs torch and transformers.

Usage: make_gpt2.py > gpt2_golden.h"""
import torch
from transformers import GPT2Config, GPT2LMHeadModel

torch.manual_seed(11)
torch.set_default_dtype(torch.float64)
model = GPT2LMHeadModel(GPT2Config(
    vocab_size=19, n_positions=12, n_embd=12, n_layer=2, n_head=3, n_inner=20, resid_pdrop=0,
    embd_pdrop=0, attn_pdrop=0, initializer_range=0.4, attn_implementation="eager")).double().eval()
with torch.no_grad():
    for p in model.parameters():
        p.add_(0.1 * torch.randn_like(p))  # biases and norms too
        p.copy_(p.float().double())
ROWS = [[3, 1, 4, 1, 5, 9, 2, 6], [18, 0, 7]]


def array(name, values, kind="float"):
    print(f"static const {kind} {name}[] = {{")
    flat = values.flatten().tolist()
    for i in range(0, len(flat), 6):
        print("    " + ", ".join("%.9g" % v + ("f" if kind == "float" and "." in "%.9g" % v else "")
                                 for v in flat[i:i + 6]) + ",")
    print("};\n")


def ours(name, tensor):
    """Linear weights as [out][in]: GPT-2 keeps them the other way."""
    return tensor.T if "c_" in name and name.endswith("weight") else tensor


named = [(n, p) for n, p in model.named_parameters()]
loss, targets = 0, 0
for row in ROWS:
    z = torch.log_softmax(model(torch.tensor([row])).logits[0, :-1], -1)
    loss = loss - z.gather(1, torch.tensor(row[1:])[:, None]).sum()
    targets += len(row) - 1
loss = loss / targets
loss.backward()
print("/* Made by make_gpt2.py; see there. */\n#include <stddef.h>\n#include <stdint.h>\n")
print("static const char *const gpt2_names[] = {")
for n, _ in named:
    print(f'    "{n}",')
print("    NULL};\n")
array("gpt2_weights", torch.cat([ours(n, p.detach()).flatten() for n, p in named]))
array("gpt2_gradient", torch.cat([ours(n, p.grad).flatten() for n, p in named]))
array("gpt2_tokens", torch.tensor(sum(ROWS, [])), "int32_t")
array("gpt2_logits", torch.cat([model(torch.tensor([r])).logits[0].detach() for r in ROWS]))
print(f"static const double gpt2_loss = {loss.item():.12g};")
