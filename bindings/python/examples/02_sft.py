# %% [markdown]
# # 2. The model learns what an answer looks like
#
# Rows are a prompt and its completion; only the completion carries loss. Otherwise this is
# chapter 1 again.

# %%
import random

import rlhf
import world

ctx = rlhf.Context(seed=1)
tok = rlhf.Tokenizer.load("work/base")
model = rlhf.Model.load("work/base")

# %%
draw = random.Random(2)
rows = [{"prompt": prompt, "completion": world.answer(prompt, draw)}
        for prompt in world.prompts(600, seed=2)]
answers = rlhf.Dataset.from_list(rows, tok, kind="completion", max_length=48)
train, held_out = answers.split(60)

# %%
trainer = rlhf.LMTrainer(model, train, lr=2e-3, total_steps=60, warmup_steps=5, batch_size=32)
print(f"loss before {trainer.evaluate(held_out):.2f}")
for stats in trainer:
    if stats["step"] % 20 == 0:
        print(f"step {stats['step']}: loss {stats['loss']:.2f} over {stats['num_targets']} targets")
print(f"loss after {trainer.evaluate(held_out):.2f}")

# %%
model.save("work/sft")
tok.save("work/sft")
