"""Exceptions by status, and options by name."""
import errno
import inspect
import pickle
import pydoc

import numpy as np
import pytest
from conftest import SHAPE

import rlhf
from rlhf import _errors, _options


def test_every_status_has_an_exception():
    assert set(_errors.BY_STATUS) == set(rlhf.Status) - {rlhf.Status.OK}
    assert len(set(_errors.BY_STATUS.values())) == len(_errors.BY_STATUS)
    for status, kind in _errors.BY_STATUS.items():
        assert issubclass(kind, rlhf.Error)
        assert getattr(rlhf, kind.__name__) is kind, status


def test_missing_file_is_not_found(context, tmp_path):
    with pytest.raises(rlhf.NotFoundError) as caught:
        rlhf.Model.load(tmp_path / "none", context=context)
    assert caught.value.status is rlhf.Status.ERR_NOT_FOUND
    assert caught.value.file == str(tmp_path / "none" / "config.json")
    assert caught.value.system_errno == errno.ENOENT
    assert str(tmp_path) in str(caught.value)


def test_malformed_file_tells_line_and_field(context, tokenizer, tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"prompt": "a", "completion": "b"}\n{"prompt": "a", "completion": 3}\n')
    with pytest.raises(rlhf.FormatError) as caught:
        rlhf.Dataset.load(path, tokenizer, kind="completion")
    assert (caught.value.file, caught.value.line) == (str(path), 2)
    assert caught.value.field == "completion"


def test_limit_state_busy_exists_and_callback(context, model, tokenizer, tmp_path):
    with rlhf.Feedback(tmp_path / "store", context=context) as store:
        with pytest.raises(rlhf.ExistsError):
            store.add(prompt="p", answers=("same", "same"))
    dataset = rlhf.Dataset(kind="text", context=context)
    dataset.append([2, 3, 4])
    dataset.next()
    with pytest.raises(rlhf.StateError):
        dataset.append([2, 3, 4])
    trainer = rlhf.LMTrainer(model, dataset)
    with pytest.raises(rlhf.BusyError):
        rlhf.LMTrainer(model, dataset)
    trainer.close()
    with pytest.raises(rlhf.LimitError):
        rlhf.Model(context=context, vocab_size=2**24, hidden_size=65536, head_dim=2, num_heads=1,
                   num_layers=1024)
    with pytest.raises(rlhf.UnsupportedError):
        rlhf.Dataset.from_source([], kind="text", context=context).rewind()


def test_numeric_error_leaves_the_weights(model):
    name = next(iter(model.parameters()))
    before = model.read_parameter(name)
    broken = before.copy()
    broken[0, 0] = np.nan
    with pytest.raises(rlhf.NumericError) as caught:
        model.write_parameter(name, broken)
    assert isinstance(caught.value, ArithmeticError)
    assert (model.read_parameter(name) == before).all()


def test_range_error_has_the_librarys_words(model):
    with pytest.raises(rlhf.InvalidArgumentError, match="kl_coef must be >= 0, got -1") as caught:
        rlhf.PPOTrainer(model, None, kl_coef=-1)
    assert caught.value.field == "kl_coef"
    assert isinstance(caught.value, ValueError)


def test_wrong_name_lists_the_right_ones(context, model, pairs):
    rm = rlhf.RewardModel.from_model(model)
    cases = [(lambda: rlhf.RewardTrainer(rm, pairs, learning_rat=1), "rlhf_reward_options"),
             (lambda: rlhf.PPOTrainer(model, rm, kl_coeff=1), "rlhf_ppo_options"),
             (lambda: rlhf.Model(context=context, hidden=1), "rlhf_model_config"),
             (lambda: rlhf.Context(thread=1), "rlhf_context_options"),
             (lambda: model.generate([[2]], max_tokens=1), "rlhf_generator_options"),
             (lambda: rlhf.Dataset(context=context, type=1), "rlhf_dataset_options"),
             (lambda: rlhf.Tokenizer.train([], context=context, size=1),
              "rlhf_tokenizer_train_options"),
             (lambda: rlhf.Temperature(0.7, topp=1), "rlhf_sampler_options")]
    for call, struct in cases:
        with pytest.raises(rlhf.OptionError) as caught:
            call()
        assert isinstance(caught.value, TypeError)
        for name in _options.names(struct):
            assert name in str(caught.value), (struct, name)
    with pytest.raises(rlhf.OptionError, match="did you mean 'kl_coef'"):
        rlhf.PPOTrainer(model, rm, kl_coeff=1)


@pytest.mark.parametrize("wrong, words", [
    ({"num_epochs": 2.5}, "an integer"), ({"gamma": "high"}, "a number"),
    ({"num_epochs": 2**40}, "32 bits"), ({"kl_estimator": "k4"}, "one of k1, k2, k3"),
    ({"schedule": 17}, "schedule"), ({"lr": 1e-5, "learning_rate": 1e-5}, "one option")])
def test_wrong_values_are_refused(model, wrong, words):
    with pytest.raises(rlhf.InvalidArgumentError, match=words):
        rlhf.PPOTrainer(model, None, **wrong)


def test_unknown_preset_lists_the_presets(model):
    with pytest.raises(rlhf.NotFoundError, match="instructgpt"):
        rlhf.PPOTrainer(model, None, preset="grpo")


def test_help_tells_options_from_the_headers():
    text = pydoc.render_doc(rlhf.PPOTrainer, renderer=pydoc.plaintext)
    assert "kl_coef: beta >= 0, at the start." in text
    assert 'One of "k1", "k2", "k3".' in text
    signature = inspect.signature(rlhf.PPOTrainer)
    for name in _options.names("rlhf_ppo_options"):
        assert name in signature.parameters
    assert signature.parameters["clip_range"].default == 0.2
    assert signature.parameters["kl_estimator"].default == "k1"


def test_exceptions_come_from_other_processes(model):
    for call in (lambda: model.logits([[99]]), lambda: model.generate([[2]], max_token=1)):
        with pytest.raises(rlhf.InvalidArgumentError) as caught:
            call()
        again = pickle.loads(pickle.dumps(caught.value))
        assert type(again) is type(caught.value) and str(again) == str(caught.value)
        assert vars(again) == vars(caught.value)


def test_every_public_thing_has_words():
    for name in rlhf.__all__:
        thing = getattr(rlhf, name)
        assert thing.__doc__, name
        if not inspect.isclass(thing) or issubclass(thing, (tuple, dict)):
            continue
        for member, value in vars(thing).items():
            if not member.startswith("_") and (inspect.isfunction(value)
                                               or isinstance(value, (property, classmethod))):
                assert inspect.getdoc(getattr(thing, member)), f"{name}.{member}"


def test_dictionary_of_config_makes_the_same_model(context, model):
    again = rlhf.Model(context=context, seed=1, **model.config)
    assert again.config == model.config
    name = next(iter(model.parameters()))
    assert (again.read_parameter(name) == model.read_parameter(name)).all()
    layers = [dict(attention="sliding", window=8, rotary=True, norm="rmsnorm", rope_theta=1e4,
                   norm_eps=1e-5)] * 2
    special = rlhf.Model(context=context, **SHAPE, layers=layers)
    assert special.config["layers"][1]["window"] == 8


@pytest.mark.parametrize("call, words", [
    (lambda m, t: rlhf.Context(seed="x"), "seed must be an integer, got 'x'"),
    (lambda m, t: rlhf.Context(dtype=None), "dtype must be one of bf16, fp32, got None"),
    (lambda m, t: rlhf.Model.load(3), "path must be a str or an os.PathLike, got 3"),
    (lambda m, t: rlhf.Model(context=t), r"context must be a Context, got Tokenizer\("),
    (lambda m, t: m.logits(5), "sequences must be a list of sequences of token ids, got 5"),
    (lambda m, t: m.logits(np.zeros((2, 3))), "sequences must be integers, got float64"),
    (lambda m, t: m.logprobs([[2]], "hot"), "temperature must be a number, got 'hot'"),
    (lambda m, t: m.generate([[2]], sampler=3), "sampler must be a Sampler or a function, got 3"),
    (lambda m, t: t.encode(3), "text must be a str or bytes, got 3"),
    (lambda m, t: rlhf.TextStream(m), r"tokenizer must be of type rlhf_tokenizer, got Model\("),
    (lambda m, t: rlhf.Dataset.load("x.jsonl", m), r"tokenizer must be a Tokenizer, got Model\("),
    (lambda m, t: rlhf.Dataset.from_list([3], t), r"rows\[0\] must be a dictionary, got 3"),
    (lambda m, t: rlhf.Dataset.from_list([{"text": "a"}, {"text": 3}], t, kind="text"),
     r'^rows\[1\]: field "text" must be a text$'),
    (lambda m, t: rlhf.LMTrainer(t, 3), r"model must be a Model, got Tokenizer\("),
    (lambda m, t: rlhf.LMTrainer(m, 3), "dataset must be of type rlhf_dataset, got 3"),
    (lambda m, t: rlhf.RewardTrainer(m, 3), r"reward_model must be a RewardModel, got Model\("),
    (lambda m, t: rlhf.RewardModel.from_model("sft"), "model must be a Model, got 'sft'"),
    (lambda m, t: rlhf.PPOTrainer("sft"), "policy must be a Model, got 'sft'"),
    (lambda m, t: rlhf.PPOTrainer(m, 3), "reward must be a RewardModel or a function, got 3"),
    (lambda m, t: rlhf.PPOTrainer(m, critic=3), "critic must be of type rlhf_reward_model, got 3"),
    (lambda m, t: rlhf.PPOTrainer(m).update(3), "rollout must be a Rollout, got 3")])
def test_wrong_kinds_are_named_with_their_value(context, model, tokenizer, call, words):
    with pytest.raises((TypeError, rlhf.Error), match=words):
        call(model, tokenizer)


@pytest.mark.parametrize("scores", [[1.0], None, 1.0, [[1.0]] * 8])
def test_reward_of_wrong_shape_is_refused(model, prompts, scores):
    """One score for eight answers must not become that of each."""
    ppo = rlhf.PPOTrainer(model, lambda rollout: scores, max_new_tokens=4)
    with pytest.raises(ValueError, match="a reward must return 8 scores, one for each .*, got"):
        ppo.step(prompts)


def test_exceptions_have_the_names_that_programs_use():
    for name in rlhf.__all__:
        kind = getattr(rlhf, name)
        if isinstance(kind, type) and issubclass(kind, Exception):
            assert f"{kind.__module__}.{kind.__qualname__}" == f"rlhf.{name}"
