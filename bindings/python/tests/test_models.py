"""Tokenizers, models, datasets, generation, stores, configs."""
import json

import numpy as np
import pytest
from conftest import DATA, SHAPE, TEXTS

import rlhf


def test_tokenizer_round_trips(tokenizer, tmp_path):
    for text in ("the cat sat", "", "héllo \N{CAT} \x00 end", " " * 50):
        ids = tokenizer.encode(text)
        assert ids.dtype == np.int32
        assert tokenizer.decode(ids) == text
    ids = tokenizer.encode("the cat", add_bos=True, add_eos=True)
    assert ids[0] == tokenizer.bos_id and ids[-1] == tokenizer.eos_id
    assert tokenizer.decode(ids, skip_special=True) == "the cat"
    assert tokenizer.decode_bytes(tokenizer.encode(b"\xff\xfe")) == b"\xff\xfe"
    assert tokenizer.encode("<|endoftext|>", parse_special=True).tolist() == [tokenizer.bos_id]
    assert tokenizer.token_id("<|endoftext|>") == tokenizer.bos_id
    assert tokenizer.token_id("no such token") is None
    tokenizer.save(tmp_path / "tok")
    again = rlhf.Tokenizer.load(tmp_path / "tok")
    assert len(again) == len(tokenizer)
    assert again.encode(TEXTS[0]).tolist() == tokenizer.encode(TEXTS[0]).tolist()


def test_tokenizer_with_other_special_tokens(context):
    tokenizer = rlhf.Tokenizer.train(TEXTS, vocab_size=280, special_tokens=["<s>", "</s>"],
                                     bos_token="<s>", context=context)
    assert (tokenizer.bos_id, tokenizer.eos_id) == (0, -1)
    assert tokenizer.token_id("</s>") == 1


def test_text_stream_keeps_characters_whole(tokenizer):
    text = "\N{CAT} and \N{DOG}"
    with tokenizer.stream() as stream:
        pieces = [stream.push(int(i)) for i in tokenizer.encode(text)] + [stream.finish()]
    assert "".join(pieces) == text
    assert "\ufffd" not in "".join(pieces)


def test_logprobs_are_the_log_softmax_of_logits(model, prompts):
    logits, logprobs = model.logits(prompts), model.logprobs(prompts, temperature=0.7)
    for ids, rows, found in zip(prompts, logits, logprobs):
        assert rows.shape == (len(ids), 48) and found.shape == (len(ids),)
        scaled = rows.astype(np.float64) / 0.7
        table = scaled - np.log(np.exp(scaled).sum(axis=1, keepdims=True))
        expected = [0.0] + [table[t, ids[t + 1]] for t in range(len(ids) - 1)]
        assert np.allclose(found, expected, atol=1e-5)


def test_sequence_has_the_same_bits_in_any_batch(model, prompts):
    together = model.logits(prompts)
    for ids, rows in zip(prompts, together):
        assert model.logits([ids])[0].tobytes() == rows.tobytes()
    square = np.array([prompts[0], prompts[4]])
    assert model.logits(square)[1].tobytes() == together[4].tobytes()


def test_ids_are_checked(model):
    for wrong in ("text", ["text"], [1, 2, 3], [[1.5]]):
        with pytest.raises(TypeError):
            model.logits(wrong)
    with pytest.raises(ValueError, match="32 bits"):
        model.logits([[2**40]])
    with pytest.raises(rlhf.InvalidArgumentError):
        model.logits([[48]])


def test_parameters_round_trip(context, model, tmp_path):
    shapes = model.parameters()
    assert sum(rows * columns for rows, columns in shapes.values()) == model.num_parameters
    name = list(shapes)[1]
    values = np.random.default_rng(0).normal(size=shapes[name])
    model.write_parameter(name, values)
    assert np.array_equal(model.read_parameter(name), values.astype(np.float32))
    with pytest.raises(rlhf.NotFoundError):
        model.read_parameter("no.such.parameter")
    model.save(tmp_path / "model")
    loaded, copied = rlhf.Model.load(tmp_path / "model", context=context), model.clone()
    for other in (loaded, copied):
        assert np.array_equal(other.read_parameter(name), model.read_parameter(name))


def test_generated_logprobs_are_the_models_to_the_bit(model, prompts):
    answers = model.generate(prompts, max_new_tokens=9, seed=3)
    recomputed = model.logprobs([answer.tokens for answer in answers])
    for prompt, answer, logprobs in zip(prompts, answers, recomputed):
        assert answer.prompt.tolist() == list(prompt)
        assert logprobs[answer.num_prompt:].tobytes() == answer.logprobs.tobytes()
        assert answer.finish in (rlhf.Finish.STOP, rlhf.Finish.LENGTH)
    again = model.generate(prompts, max_new_tokens=9, seed=3)
    other = model.generate(prompts, max_new_tokens=9, seed=4)
    assert [a.tokens.tolist() for a in again] == [a.tokens.tolist() for a in answers]
    assert [a.tokens.tolist() for a in other] != [a.tokens.tolist() for a in answers]


def greedy_by_hand(model, prompt, count):
    tokens = list(prompt)
    for _ in range(count):
        tokens.append(int(model.logits([tokens])[0][-1].argmax()))
    return tokens


def test_samplers_pick_what_they_say(model, prompts):
    options = dict(max_new_tokens=5, use_stop_tokens=False)
    expected = [greedy_by_hand(model, prompt, 5) for prompt in prompts]
    for sampler in (rlhf.Greedy(), rlhf.Temperature(0), rlhf.Temperature(1.0, top_k=1),
                    rlhf.Temperature(2.0, top_p=1e-9), rlhf.Temperature(temperature=1, min_p=1.0),
                    lambda logits, info: logits.argmax()):
        answers = model.generate(prompts, sampler=sampler, **options)
        assert [answer.tokens.tolist() for answer in answers] == expected
    with pytest.raises(rlhf.InvalidArgumentError, match="top_p"):
        rlhf.Temperature(0.7, top_p=1.5)


def test_python_sampler_sees_its_sequence(model, prompts):
    seen, ended = {}, []

    def sample(logits, info):
        state = seen[info.sequence_id]
        assert info.state is state
        assert logits.shape == (48,) and logits.dtype == np.float32
        assert len(info.tokens) == info.position and all(0 <= u < 1 for u in info.uniforms)
        state.append((info.position, info.tokens.tolist(), logits))
        return 5

    def begin(sequence_id):
        return seen.setdefault(sequence_id, [])
    sampler = rlhf.CustomSampler(sample, begin=begin, end=ended.append)
    answers = model.generate(prompts[:2], sampler=sampler, sequence_ids=[40, 41], max_new_tokens=3)
    assert sorted(seen) == [40, 41] and len(ended) == 2
    for prompt, answer in zip(prompts, answers):
        assert answer.answer.tolist() == [5, 5, 5]
        steps = seen[answer.sequence_id]
        assert [position for position, _, _ in steps] == [len(prompt) + i for i in range(3)]
        whole = model.logits([answer.tokens])[0]
        for position, tokens, logits in steps:  # kept after the call: they must be copies
            assert tokens == answer.tokens[:position].tolist()
            assert np.array_equal(logits, whole[position - 1])


def test_streamed_text_is_the_answers(context, tokenizer):
    model = rlhf.Model(context=context, **{**SHAPE, "vocab_size": len(tokenizer)})
    pieces = {}

    def text(sequence_id, piece):
        pieces.setdefault(sequence_id, []).append(piece)
    prompts = [tokenizer.encode("the cat"), tokenizer.encode("a dog")]
    answers = model.generate(prompts, max_new_tokens=12, tokenizer=tokenizer, text=text)
    for answer in answers:
        assert "".join(pieces.get(answer.sequence_id, [])) == answer.text
    padded = rlhf.Model(context=context, **{**SHAPE, "vocab_size": 2 * len(tokenizer)})
    beyond = padded.generate(prompts, max_new_tokens=12, tokenizer=tokenizer)
    assert any(token >= len(tokenizer) for answer in beyond for token in answer.answer)
    for answer in beyond:  # ids that the tokenizer lacks have no text
        known = [token for token in answer.answer if token < len(tokenizer)]
        assert answer.text == tokenizer.decode(known, skip_special=True)
    stopped = model.generate(prompts, max_new_tokens=12, tokenizer=tokenizer,
                             text=lambda sequence_id, piece: True)
    assert all(answer.finish is rlhf.Finish.CALLBACK for answer in stopped)


def test_generator_step_by_step_is_the_same(model, prompts):
    with rlhf.Generator(model, max_new_tokens=6) as generator:
        generator.start(prompts)
        counts = []
        while True:
            counts.append(generator.step())
            if counts[-1] == 0:
                break
        stepped = [answer.tokens.tolist() for answer in generator.results()]
        assert counts == sorted(counts, reverse=True) and len(generator) == len(prompts)
        assert generator[-1].tokens.tolist() == stepped[-1]
    whole = model.generate(prompts, max_new_tokens=6)
    assert stepped == [answer.tokens.tolist() for answer in whole]


def test_datasets_from_files_and_lists_agree(tokenizer, tmp_path):
    rows = [{"prompt": f"the {word}", "completion": " sat on the mat"}
            for word in ("cat", "dog", "end")]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    loaded = rlhf.Dataset.load(path, tokenizer, kind="completion", shuffle=False)
    listed = rlhf.Dataset.from_list(rows, tokenizer, kind="completion", shuffle=False)
    assert len(loaded) == len(listed) == 3
    for a, b, row in zip(loaded, listed, rows):
        assert a.tokens.tolist() == b.tokens.tolist()
        text = tokenizer.decode(a.tokens, skip_special=True)
        assert text == row["prompt"] + row["completion"]
        assert tokenizer.decode(a.prompt, skip_special=True) == row["prompt"]
    assert loaded.info.num_tokens == sum(len(row.tokens) for row in loaded)
    train, held_out = loaded.split(1, seed=5)
    assert (len(train), len(held_out)) == (2, 1)


def test_stream_position_is_restored(pairs):
    first = [pairs.next().id for _ in range(5)]
    position = pairs.position
    rest = [pairs.next().id for _ in range(5)]
    pairs.position = position
    assert [pairs.next().id for _ in range(5)] == rest
    pairs.rewind()
    assert [pairs.next().id for _ in range(5)] == first


def test_python_source_feeds_a_dataset(context):
    def rows():
        for i in range(3):
            yield {"tokens": [2, 3, 4 + i], "id": 10 + i}
    dataset = rlhf.Dataset.from_source(rows(), kind="text", context=context)
    assert [dataset.next().id for _ in range(3)] == [10, 11, 12]
    with pytest.raises(rlhf.NotFoundError):
        dataset.next()

    class Counter:
        at = 0

        def __iter__(self):
            return self

        def __next__(self):
            self.at += 1
            return rlhf.Example(np.array([2, 3, self.at]), 0, None, 0.0, self.at)
    counter = Counter()
    dataset = rlhf.Dataset.from_source(
        counter, "text", context=context, save=lambda: str(counter.at).encode(),
        restore=lambda data: setattr(counter, "at", int(data)))
    dataset.next()
    position = dataset.position
    assert dataset.next().id == 2
    dataset.position = position
    assert dataset.next().id == 2


def test_feedback_keeps_choices(context, tmp_path):
    with rlhf.Feedback(tmp_path / "store", context=context) as store:
        first = store.add(prompt="p", answers=("a", "b"), prompt_ids=[2, 3],
                          answer_ids=([4, 5], [6, 7]))
        skipped = store.add_many([
            {"prompt": "q", "answers": ("c", "d"), "prompt_ids": [3],
             "answer_ids": ([8, 9], [9, 8])},
            {"prompt": "r", "answers": ("same", "same")}])
        assert skipped == 1 and store.info.num_comparisons == 2
        shown = store.next()
        assert shown.id == first and shown.displayed[shown.order] == "a"
        store.choose(shown.id, "second")
        kept = store.get(first)
        assert kept.choice is rlhf.Choice.SECOND and kept.preferred == 1 - kept.order
        store.choose(store.next().id, "tie")
        assert store.next() is None
        assert store.undo() != first
        store.choose(store.next().id, "first")
        dataset = store.dataset(shuffle=False)
        assert len(dataset) == 2
        row = dataset[0]
        answers = ([4, 5], [6, 7])
        assert row.tokens.tolist() == [2, 3] + answers[kept.preferred]
        assert row.rejected.tolist() == [2, 3] + answers[1 - kept.preferred]
        store.export(tmp_path / "choices.jsonl")
        line = json.loads((tmp_path / "choices.jsonl").read_text().splitlines()[0])
        assert line["chosen"] == kept.answers[kept.preferred]
        with pytest.raises(rlhf.InvalidArgumentError, match="first"):
            store.choose(first, "left")


def test_config_gives_keyword_arguments(context, model, tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("ppo:\n  kl_coef: 0.2\n  kl_estimator: k3\npaths:\n  model: m\nsteps: 5\n")
    config = rlhf.Config(path, context=context)
    options = config.options("ppo", "rlhf_ppo_options")
    assert options == {"kl_coef": 0.2, "kl_estimator": "k3"}
    assert config.options("none", "rlhf_ppo_options") == {}
    rlhf.PPOTrainer(model, None, **options, lr=1e-3).close()
    assert config.string("paths.model") == "m" and config.string("none", "x") == "x"
    with pytest.raises(rlhf.FormatError, match="steps"):
        config.finish()
    assert config.integer("steps", 1, 1, 10) == 5 and config.number("rate", 0.5) == 0.5
    config.finish()


def test_config_leaves_what_it_does_not_name_to_the_program(context, model, prompts, tmp_path):
    """The context's seed too. A seed that is named is the section's, be it the default."""
    path = tmp_path / "run.yaml"
    path.write_text("a:\n  max_new_tokens: 6\nb:\n  preset: trl\n  seed: 0\n  max_new_tokens: 6\n")
    config = rlhf.Config(path, context=context)

    def draw(**options):
        with rlhf.PPOTrainer(model.clone(), None, **options) as ppo:
            return [ids.tolist() for ids in ppo.rollout(prompts).sequences]
    plain = config.options("a", "rlhf_ppo_options")
    assert draw(**plain) == draw(max_new_tokens=6, seed=context.seed)
    named = config.options("b", "rlhf_ppo_options")
    assert named == {"preset": "trl", "seed": 0, "max_new_tokens": 6}
    assert draw(**named) == draw(preset="trl", max_new_tokens=6, seed=0) != draw(**plain)
    config.finish()


def test_reference_model_gives_the_reference_numbers(context):
    folder = DATA / "models" / "stories260K"
    if not folder.exists():
        pytest.skip(f"there is no {folder}")
    reference = json.loads((folder / "greedy_reference.json").read_text())
    model = rlhf.Model.load(folder / "hf", context=context)
    tokenizer = rlhf.Tokenizer.load(folder / "hf", context=context)
    greedy = reference["greedy_ids"]
    answer, = model.generate([reference["prompt_ids"]], sampler=rlhf.Greedy(),
                             max_new_tokens=len(greedy), tokenizer=tokenizer)
    assert answer.answer.tolist() == greedy
    assert answer.text == reference["text"]
    logits, = model.logits([answer.tokens])
    assert np.allclose(logits[0], reference["logits_pos0"], atol=1e-3)
    assert np.allclose(logits[20], reference["logits_pos20"], atol=1e-3)
