# %% [markdown]
# # 1. A model that knows nothing learns to continue text
#
# A tokenizer is trained, a transformer made, and the next-token loss lowered step by step. What is
# written is a Hugging Face folder: config.json, model.safetensors, tokenizer.json.

# %% The examples leave what they make in the folder work.
import os

import rlhf
import world

os.makedirs("work", exist_ok=True)

ctx = rlhf.Context(seed=1)
lines = world.lines(1500, seed=1)
print(lines[0])

# %% The tokenizer: byte pairs, learnt from the text.
tok = rlhf.Tokenizer.train(lines, vocab_size=340)
print(tok, tok.encode(lines[0]))

# %% Every line is a document of its own, between BOS and EOS.
texts = rlhf.Dataset.from_list([{"text": line} for line in lines], tok, kind="text", max_length=48)
train, held_out = texts.split(100)
print(train, texts.info)

# %%
model = rlhf.Model(vocab_size=len(tok), context_length=64, hidden_size=64, num_layers=2, num_heads=4,
                   bos_token_id=tok.bos_id, eos_token_id=tok.eos_id)
trainer = rlhf.LMTrainer(model, train, lr=5e-3, total_steps=120, warmup_steps=10, batch_size=32)
print(f"loss before {trainer.evaluate(held_out):.2f}")
for stats in trainer:
    if stats["step"] % 40 == 0:
        print(f"step {stats['step']}: loss {stats['loss']:.2f}")
print(f"loss after {trainer.evaluate(held_out):.2f} nats a token")

# %%
prompt = tok.encode("Tom wants to", add_bos=True)
answer, = model.generate([prompt], sampler=rlhf.Greedy(), max_new_tokens=24, tokenizer=tok)
print("Tom wants to" + answer.text)
model.save("work/base")
tok.save("work/base")
