"""One step of next-token loss in PyTorch: scaled-dot-product attention, fused AdamW.

    train_step.py MODEL_DIR BATCH SEQ [bf16] [compile]

bf16 is autocast over fp32 weights; compile is torch.compile. Seven steps, of which the first two,
with what they allocate and compile, are not counted.
"""
import peer

path, batch, seq, bf16, compiled = peer.arguments("BATCH", "SEQ", flags=("bf16", "compile"))
import torch  # noqa: E402
from torch.nn.functional import cross_entropy  # noqa: E402
from transformers import AutoModelForCausalLM  # noqa: E402

torch.set_num_threads(peer.THREADS)
torch.manual_seed(1)
model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32, attn_implementation="sdpa")
peer.no_dropout(model.train())
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
forward = torch.compile(model) if compiled else model
rows = torch.randint(3, model.config.vocab_size, (batch, seq + 1))
inputs, targets = rows[:, :-1], rows[:, 1:].reshape(-1)


def step():
    optimizer.zero_grad(set_to_none=True)
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        logits = forward(input_ids=inputs, use_cache=False).logits
    loss = cross_entropy(logits.float().view(-1, logits.shape[-1]), targets)
    loss.backward()
    optimizer.step()
    return loss.item()


runs = [peer.timed(step) for _ in range(7)]
seconds = [taken for taken, _ in runs[2:]]
peer.emit("torch", "train_step", path, bf16=bf16, batch=batch, seq=seq, compile=compiled,
          seconds=seconds, tokens_per_s=batch * seq / sorted(seconds)[len(seconds) // 2],
          last_loss=runs[-1][1])
