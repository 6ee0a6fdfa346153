# %% [markdown]
# # 5. A network learns what people prefer
#
# The language model's trunk with its last layer replaced by one float, trained on choices with
# -log sigmoid(R(chosen) - R(rejected)).

# %%
import rlhf
import world

ctx = rlhf.Context(seed=5)
tok = rlhf.Tokenizer.load("work/sft")
model = rlhf.Model.load("work/sft")
with rlhf.Feedback("work/feedback.db") as store:
    train, held_out = store.dataset().split(20)
print(train)

# %%
rm = rlhf.RewardModel.from_model(model)
trainer = rlhf.RewardTrainer(rm, train, lr=2e-3, total_steps=40, batch_size=32)
for stats in trainer:
    if stats["step"] % 10 == 0:
        print(f"step {stats['step']}: loss {stats['loss']:.3f}, accuracy {stats['accuracy']:.2f}")
print(f"held-out accuracy {trainer.evaluate(held_out)['accuracy']:.2f}")

# %% Scores of the model's own answers become mean 0, deviation 1: a KL coefficient then means the
# same whatever the run.
prompts = [tok.encode(prompt, add_bos=True) for prompt in world.prompts(64, seed=5)]
answers = model.generate(prompts, max_new_tokens=24)
rm.normalize([answer.tokens for answer in answers])
print("scale, offset:", rm.affine)

# %%
for text in (" Tom is happy and goes to the lake.", " Tom is sad and goes to the lake."):
    sequence = tok.encode("Tom wants to fish." + text, add_bos=True)
    print(f"{rm.score([sequence])[0]:6.2f} {text}")
rm.save("work/reward")
