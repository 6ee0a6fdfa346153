# %% [markdown]
# # 4. A person picks the better of two answers
#
# A choice is on disk before the next pair is shown. Here the person is `world.choose`; put
# `input()` in its place to be asked yourself.

# %%
import rlhf
import world

ctx = rlhf.Context()
store = rlhf.Feedback("work/feedback.db")

# %% Answers are shown in a shuffled order, so that a liking for the first favours neither.
shown = store.next()
print(shown.prompt, shown.displayed)

# %%
while (pair := store.next()) is not None:
    store.choose(pair.id, world.choose(*pair.displayed))
print(store.info)

# %% The choices as JSONL, with TRL's fields, for any other tool.
store.export("work/choices.jsonl")
store.close()
