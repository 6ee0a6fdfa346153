"""Small seeded objects that the tests share."""
import os
import pathlib

import numpy as np
import pytest

import rlhf

ROOT = pathlib.Path(os.environ.get("RLHF_SOURCE_DIR", pathlib.Path(__file__).parents[3]))
DATA = pathlib.Path(os.environ.get("RLHF_DATA_DIR") or ROOT.parent / "shared" / "data")
TEXTS = ["the cat sat on the mat", "the dog sat on the log", "a cat and a dog", "the end"] * 8
SHAPE = dict(vocab_size=48, context_length=64, hidden_size=16, intermediate_size=32,
             num_layers=2, num_heads=2, position="rotary", norm="rmsnorm", activation="swiglu",
             attention_bias=False, mlp_bias=False, bos_token_id=0, eos_token_id=1)


@pytest.fixture
def context():
    with rlhf.Context(threads=2, seed=1) as made:
        yield made


@pytest.fixture
def model(context):
    return rlhf.Model(context=context, **SHAPE)


@pytest.fixture
def tokenizer(context):
    return rlhf.Tokenizer.train(TEXTS, vocab_size=300, context=context)


@pytest.fixture
def prompts():
    random = np.random.default_rng(1)
    return [random.integers(2, 48, size=n) for n in (3, 5, 4, 6, 3, 7, 5, 4)]


@pytest.fixture
def pairs(context):
    """Answers that end in 7 are preferred to those that end in 9."""
    random = np.random.default_rng(2)
    dataset = rlhf.Dataset(kind="preference", context=context)
    for _ in range(16):
        prompt = list(random.integers(10, 48, size=4))
        dataset.append(prompt + [7, 7, 7], rejected=prompt + [9, 9, 9], prompt_length=4)
    return dataset
