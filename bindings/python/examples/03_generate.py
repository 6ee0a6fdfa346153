# %% [markdown]
# # 3. The model answers prompts, twice each, for people to compare
#
# Answers are drawn by the softmax probabilities, so two of them differ. Ids are kept beside the
# texts: what is trained on later is what the model produced.

# %%
import rlhf
import world

ctx = rlhf.Context(seed=3)
tok = rlhf.Tokenizer.load("work/sft")
model = rlhf.Model.load("work/sft")

# %% Each prompt stands twice; sequence ids keep the two answers apart.
questions = world.prompts(200, seed=3)
prompts = [tok.encode(question, add_bos=True) for question in questions for _ in range(2)]
answers = model.generate(prompts, sampler=rlhf.Temperature(1.0), max_new_tokens=24, tokenizer=tok)
print(questions[0], "|", answers[0].text, "|", answers[1].text)
print(f"log-probability of the first: {answers[0].logprobs.sum():.2f} nats")

# %% Equal answers are left out: there is nothing to choose.
pairs = [{"prompt": question, "answers": (a.text, b.text), "prompt_ids": a.prompt,
          "answer_ids": (a.answer, b.answer)}
         for question, a, b in zip(questions, answers[::2], answers[1::2])]
with rlhf.Feedback("work/feedback.db") as store:
    print(store.add_many(pairs), "pairs were equal;", store.info)
