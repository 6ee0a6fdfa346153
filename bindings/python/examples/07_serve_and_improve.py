# %% [markdown]
# # 7. The trained model serves, and its users' choices feed the next round
#
# To answer takes the policy's folder alone. Every third prompt is answered twice, and the user asked
# for the better one: chapters 5 and 6 can be run on the store again.

# %%
import rlhf
import world

ctx = rlhf.Context(seed=7)
tok = rlhf.Tokenizer.load("work/policy")
policy = rlhf.Model.load("work/policy")
store = rlhf.Feedback("work/feedback.db")


def show(sequence_id, text):
    """Text as it comes; True would end the answer."""
    print(text, end="", flush=True)


# %%
before = store.info.num_chosen + store.info.num_ties
for number, question in enumerate(world.prompts(6, seed=7)):
    prompt = tok.encode(question, add_bos=True)
    print("\n>", question, end="")
    answer, = policy.generate([prompt], sequence_ids=[2 * number], max_new_tokens=24,
                              tokenizer=tok, text=show)
    if number % 3 == 2:
        other, = policy.generate([prompt], sequence_ids=[2 * number + 1], max_new_tokens=24,
                                 tokenizer=tok)
        try:
            id = store.add(prompt=question, answers=(answer.text, other.text), prompt_ids=prompt,
                           answer_ids=(answer.answer, other.answer))
        except rlhf.ExistsError:
            continue  # both are the same
        store.choose(id, world.choose(*store.get(id).displayed))

# %%
added = store.info.num_chosen + store.info.num_ties - before
print(f"\n{added} more choices for the next round")
store.close()
