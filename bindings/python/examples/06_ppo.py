# %% [markdown]
# # 6. The policy learns from the reward model's scores
#
# Proximal policy optimisation: answers to prompts, scores less a penalty for leaving the reference,
# advantages, a few careful steps.

# %%
import numpy as np

import rlhf
import world

ctx = rlhf.Context(seed=6)
tok = rlhf.Tokenizer.load("work/sft")
policy = rlhf.Model.load("work/sft")
rm = rlhf.RewardModel.load("work/reward")


def ids(texts):
    return [tok.encode(text, add_bos=True) for text in texts]


test = ids(world.prompts(64, seed=600))

# %% help(rlhf.PPOTrainer) lists every option; a preset is a reference implementation's.
ppo = rlhf.PPOTrainer(policy, rm, preset="trl", kl_coef=0.1, lr=5e-4, value_learning_rate=2e-3,
                      max_new_tokens=24, num_minibatches=2, missing_eos="subtract",
                      missing_eos_value=1.0)
before, _ = ppo.evaluate(test)

# %% A whole iteration at once.
for i in range(8):
    stats = ppo.step(ids(world.prompts(64, seed=60 + i)))
    print(f"{stats['iteration']}: score {stats['score']:.2f}, KL {stats['kl']:.2f}, "
          f"clipped {stats['clipfrac']:.2f}")

# %% Or in its parts, with scores of one's own: here of a person who reads each answer.
rollout = ppo.rollout(ids(world.prompts(64, seed=70)))
texts = rollout.texts(tok)
rollout.scores[:] = np.array([world.liking(text) for text in texts])
stats = ppo.update(rollout)
print(f"own scores: {stats['score']:.2f};", texts[0])

# %%
after, answers = ppo.evaluate(test)
print(f"score before {before['score']:.2f}, after {after['score']:.2f}, KL {after['kl']:.2f}")
liked = np.mean([world.liking(text) > 0 for text in answers.texts(tok)])
print(f"answers that the person likes: {liked:.2f}")
policy.save("work/policy")
tok.save("work/policy")
