"""Trainers: figures, gradients, scores, saved state."""
import math

import numpy as np
import pytest

import rlhf


@pytest.fixture
def texts(context):
    random = np.random.default_rng(3)
    dataset = rlhf.Dataset(kind="text", context=context)
    for _ in range(12):
        start = random.integers(2, 40)
        dataset.append([(start + i) % 46 + 2 for i in range(10)])
    return dataset


def test_lm_trainer_learns_and_counts(model, texts):
    trainer = rlhf.LMTrainer(model, texts, lr=0.01, total_steps=30, warmup_steps=0, batch_size=6)
    before = trainer.evaluate(texts)
    figures = list(trainer)
    assert [f["step"] for f in figures] == list(range(1, 31)) and trainer.num_steps == 30
    assert trainer.evaluate(texts) < 0.5 * before
    assert figures[0]["learning_rate"] == pytest.approx(0.01, rel=0.1)
    assert figures[0]["num_targets"] == 6 * 9
    assert list(trainer) == []


def test_lm_gradient_is_the_slope_of_the_loss(model, texts):
    trainer = rlhf.LMTrainer(model, texts, batch_size=12, micro_batch_tokens=40)
    while trainer.accumulate():
        pass
    name = next(name for name, shape in model.parameters().items() if "down" in name)
    gradient = trainer.gradient(name)
    values, step = model.read_parameter(name), 1e-2
    at = np.unravel_index(np.abs(gradient).argmax(), gradient.shape)
    losses = []
    for sign in (1, -1):
        moved = values.copy()
        moved[at] += sign * step
        model.write_parameter(name, moved)
        losses.append(trainer.evaluate(texts))
    assert gradient[at] == pytest.approx((losses[0] - losses[1]) / (2 * step), rel=0.02)


def test_dataset_that_ends_ends_the_loop(context, model):
    dataset = rlhf.Dataset(kind="text", context=context, num_epochs=1)
    for _ in range(5):
        dataset.append([2, 3, 4, 5])
    trainer = rlhf.LMTrainer(model, dataset, batch_size=2)
    assert len(list(trainer)) == 3
    with pytest.raises(rlhf.NotFoundError):
        trainer.step()


def test_saved_trainer_goes_on_to_the_bit(context, model, texts, tmp_path):
    options = dict(lr=0.01, total_steps=6, batch_size=4)
    straight = model.clone()
    list(rlhf.LMTrainer(straight, texts, **options))
    texts.rewind()
    trainer = rlhf.LMTrainer(model, texts, **options)
    for _ in range(3):
        trainer.step()
    trainer.save(tmp_path / "state")
    trainer.close()
    texts.rewind()
    fresh = rlhf.Model(context=context, seed=99, **model.config)
    resumed = rlhf.LMTrainer(fresh, texts, **options)
    resumed.resume(tmp_path / "state")
    assert resumed.num_steps == 3 and len(list(resumed)) == 3
    for name in straight.parameters():
        assert np.array_equal(fresh.read_parameter(name), straight.read_parameter(name)), name


def test_reward_trainer_learns_the_preference(context, model, pairs, tmp_path):
    rm = rlhf.RewardModel.from_model(model, append_eos="never")
    seen = [stats["accuracy"] for stats in
            rlhf.RewardTrainer(rm, pairs, lr=1e-2, total_steps=20, batch_size=16)]
    assert seen[-1] == 1.0
    chosen = [row.tokens for row in pairs]
    rejected = [row.rejected for row in pairs]
    assert (rm.score(chosen) > rm.score(rejected)).all()
    held = rlhf.RewardTrainer(rm.clone(), pairs).evaluate(pairs)
    raw = rm.score(chosen) - rm.score(rejected)
    assert held["margin"] == pytest.approx(raw.mean(), rel=1e-5)
    assert held["loss"] == pytest.approx(np.log1p(np.exp(-raw.astype(float))).mean(), rel=1e-5)
    rm.normalize(chosen + rejected)
    scores = rm.score(chosen + rejected)
    assert scores.mean() == pytest.approx(0, abs=1e-5)
    assert scores.std() == pytest.approx(1, abs=1e-4)
    rm.save(tmp_path / "rm")
    loaded = rlhf.RewardModel.load(tmp_path / "rm", context=context)
    assert np.allclose(loaded.score(chosen), rm.score(chosen), atol=1e-5)
    scale, offset = rm.affine
    rm.affine = (2 * scale, offset + 1)
    expected = 2 * (scores[:16] - offset) + offset + 1
    assert np.allclose(rm.score(chosen), expected, atol=1e-4)


PPO = dict(max_new_tokens=6, num_epochs=2, lr=1e-3, stop_token_id=-2)


def test_ppo_in_parts_is_ppo_in_one(model, prompts):
    one, parts = model.clone(), model.clone()
    rm = rlhf.RewardModel.from_model(model)
    a = rlhf.PPOTrainer(one, rm, preset="trl", kl_coef=0.05, **PPO)
    b = rlhf.PPOTrainer(parts, rm, preset="trl", kl_coef=0.05, **PPO)
    for _ in range(2):
        whole = a.step(prompts)
        rollout = b.rollout(prompts)
        assert np.isnan(rollout.scores).all()
        rollout.scores[:] = rm.score(rollout.sequences)
        split = b.update(rollout)
        for name in ("score", "kl", "policy_loss", "value_loss", "num_steps", "iteration"):
            assert whole[name] == split[name], name
        assert whole["first_ratio_deviation"] == 0.0
    for name in one.parameters():
        assert np.array_equal(one.read_parameter(name), parts.read_parameter(name)), name


def test_scores_are_written_into_the_rollout(model, prompts):
    ppo = rlhf.PPOTrainer(model, None, **PPO)
    rollout = ppo.rollout(prompts)
    with pytest.raises(rlhf.StateError):
        ppo.update(rollout)
    for i, sequence in enumerate(rollout):  # some are written, some not yet
        assert sequence.num_actions == 6 and math.isnan(sequence.score)
        rollout.scores[i] = i
        assert rollout[i].score == i
    stats = ppo.update(rollout)
    assert stats["score"] == pytest.approx(np.arange(len(prompts)).mean())
    rollout = ppo.rollout(prompts)
    rollout.scores[:] = 1
    ppo.advantages(rollout)
    first = rollout[0]
    actions = first.action_mask == 1
    delta = (first.logprobs - first.ref_logprobs)[actions]
    assert first.kl == pytest.approx(delta.sum(), abs=1e-5)
    expected = -0.05 * delta
    expected[-1] += 1
    assert np.allclose(first.rewards[actions], expected, atol=1e-6)
    rollout.scores[0] = 5  # what was computed from the old ones is forgotten
    ppo.advantages(rollout)
    assert rollout[0].rewards[actions][-1] == pytest.approx(expected[-1] + 4, abs=1e-5)
    with pytest.raises(rlhf.InvalidArgumentError):
        rollout.scores[0] = np.nan
        ppo.update(rollout)


def test_reward_may_be_a_function(model, prompts):
    calls = []

    def reward(rollout):
        calls.append(len(rollout))
        return [float((sequence.answer == 7).sum()) for sequence in rollout]
    ppo = rlhf.PPOTrainer(model, reward, **PPO)
    stats = ppo.step(prompts)
    rollout = ppo.rollout(prompts)
    ppo.score(rollout)
    assert calls == [8, 8] and stats["iteration"] == 1
    assert rollout.scores.tolist() == reward(rollout)
    with pytest.raises(TypeError, match="function"):
        rlhf.PPOTrainer(model.clone(), 3)


def test_step_goes_on_after_a_reward_that_failed(model, prompts):
    broken = [True]

    def reward(rollout):
        if broken:
            raise KeyError("mine")
        return np.zeros(len(rollout))
    ppo = rlhf.PPOTrainer(model, reward, **PPO)
    with pytest.raises(KeyError, match="mine"):
        ppo.step(prompts)
    broken.clear()
    assert ppo.step(prompts)["score"] == 0 and ppo.num_iterations == 1
    assert ppo.rollout(prompts)[0].sequence_id == len(prompts)  # none was drawn twice


def test_reward_that_failed_half_way_is_called_again(model, prompts):
    """Whatever of the scores it had written."""
    failures = ["token scores", "scores"]

    def reward(rollout):
        for index, sequence in enumerate(rollout):
            if index == 3 and failures:
                raise KeyError(failures.pop())
            rollout.set_token_scores(index, np.full(len(sequence.tokens), 0.5))
            if failures == ["token scores", "scores"]:
                rollout.scores[index] = 7
        return np.arange(len(rollout))
    ppo = rlhf.PPOTrainer(model, reward, **PPO)
    for name in list(reversed(failures)):
        with pytest.raises(KeyError, match=name):
            ppo.step(prompts)
    assert ppo.step(prompts)["score"] == pytest.approx(3.5 + 6 * 0.5)
    assert ppo.rollout(prompts)[0].sequence_id == len(prompts)


@pytest.mark.parametrize("score", [math.nan, -math.inf, 1e39])
def test_reward_that_is_not_finite_is_refused(model, prompts, score):
    """In an evaluation as in a step."""
    scores = np.zeros(8)
    scores[2:4] = score, math.nan
    ppo = rlhf.PPOTrainer(model, lambda rollout: scores, **PPO)
    told = []
    for call in ppo.step, ppo.evaluate:
        with pytest.raises(rlhf.InvalidArgumentError, match="sequence 2 is not finite") as caught:
            call(prompts)
        told.append((str(caught.value), caught.value.field))
    rollout = ppo.rollout(prompts)
    with pytest.raises(rlhf.InvalidArgumentError):
        ppo.score(rollout)
    assert np.isnan(rollout.scores).all() and told[0] == told[1]
    scores[:] = 1
    assert ppo.evaluate(prompts)[0]["score"] == 1 == ppo.step(prompts)["score"]


def fails_once(seen):
    """A reward function that fails at its first call; `seen`: the first id of each one's."""
    def reward(rollout):
        seen.append(rollout[0].sequence_id)
        if len(seen) == 1:
            raise KeyError("mine")
        return np.zeros(len(rollout))
    return reward


def test_abandoned_iteration_is_not_gone_on_with(model, prompts):
    seen = []
    ppo = rlhf.PPOTrainer(model, fails_once(seen), **PPO)
    with pytest.raises(KeyError):
        ppo.step(prompts)
    ppo.abandon()
    ppo.step(prompts)
    assert seen == [0, len(prompts)]


@pytest.mark.parametrize("options, field", [(dict(num_minibatches=9), "num_minibatches"),
                                            (dict(kl_target=1.0, kl_horizon=1.0), "kl_horizon")])
def test_step_on_too_few_or_many_prompts_spends_no_ids(model, prompts, options, field):
    """With the library's words, by a function as by a reward model."""
    rm, seen = rlhf.RewardModel.from_model(model), []
    for reward in (rm, lambda rollout: np.zeros(len(rollout))):
        ppo = rlhf.PPOTrainer(model.clone(), reward, critic=rm.clone(), **options, **PPO)
        with pytest.raises(rlhf.InvalidArgumentError) as caught:
            ppo.step(prompts)
        seen.append((str(caught.value), caught.value.field, caught.value.status))
        assert ppo.rollout(prompts)[0].sequence_id == 0
    assert seen[0] == seen[1] and seen[0][1] == field


def test_refused_rollout_is_not_in_hand(context, model, prompts):
    """Neither is one that another trainer updates."""
    calls = []

    def reward(rollout):
        calls.append(rollout[0].sequence_id)
        return np.zeros(len(rollout))
    options = dict(num_minibatches=2, **PPO)
    ppo = rlhf.PPOTrainer(model, reward, **options)
    own, few = rlhf.Rollout(context=context), rlhf.Rollout(context=context)
    few.append([2, 3, 4], [0, 1, 1], score=1.0)
    for prompt in prompts:
        own.append(list(prompt) + [7, 8], [0] * len(prompt) + [1, 1], score=1.0)
    drawn = ppo.rollout(prompts)
    with pytest.raises(rlhf.InvalidArgumentError, match="num_minibatches"):
        ppo.update(few)
    other = rlhf.PPOTrainer(model.clone(), None, **options)
    other.accumulate(own)
    for call in ppo.update, ppo.accumulate:
        with pytest.raises(rlhf.StateError, match="another trainer"):
            call(own)
    ppo.step(prompts)
    assert calls == [drawn[0].sequence_id] and not math.isnan(drawn[0].kl)
    other.abandon()
    while ppo.accumulate(own):
        pass
    assert ppo.step(prompts)["num_steps"] == 4 and calls == [0]  # one of its own is in hand, too


def test_rollout_of_weights_that_are_gone_is_not_gone_on_with(model, prompts):
    """By a function no more than by a reward model. In its update it is."""
    rm = rlhf.RewardModel.from_model(model)
    policies = [model.clone(), model.clone()]
    name = next(name for name, shape in model.parameters().items() if shape[0] > 1)
    moved = model.read_parameter(name) + 0.25
    for reward, policy in zip((rm, lambda rollout: rm.score(rollout.sequences)), policies):
        ppo = rlhf.PPOTrainer(policy, reward, critic=rm.clone(), num_minibatches=2, **PPO)
        drawn = ppo.rollout(prompts)
        with pytest.raises(rlhf.NotFoundError):
            policy.write_parameter("none", moved)
        ppo.step(prompts)
        assert not math.isnan(drawn[0].kl)
        drawn = ppo.rollout(prompts)
        policy.write_parameter(name, moved)
        ppo.step(prompts)
        assert math.isnan(drawn[0].kl)
        drawn = ppo.rollout(prompts)
        assert drawn[0].sequence_id == 3 * len(prompts)
        ppo.score(drawn)
        while ppo.accumulate(drawn):
            pass
        ppo.apply()
        policy.write_parameter(name, moved)
        assert ppo.step(prompts)["num_steps"] == 4
        assert ppo.rollout(prompts)[0].sequence_id == 4 * len(prompts)
    for name in model.parameters():
        assert np.array_equal(*(p.read_parameter(name) for p in policies)), name


@pytest.mark.parametrize("kind", ["model", "function"])
def test_rollout_that_was_stale_when_saved_is_not_gone_on_with(model, prompts, tmp_path, kind):
    """By a function no more than by a reward model."""
    rm = rlhf.RewardModel.from_model(model)
    reward = rm if kind == "model" else lambda rollout: rm.score(rollout.sequences)
    ppo = rlhf.PPOTrainer(model, reward, critic=rm.clone(), **PPO)
    name = next(name for name, shape in model.parameters().items() if shape[0] > 1)
    for stale in False, True:
        drawn = ppo.rollout(prompts)
        if stale:
            model.write_parameter(name, model.read_parameter(name) + 0.25)
        assert ppo.is_current(drawn) is not stale
        ppo.save(tmp_path / "state")
        again = rlhf.PPOTrainer(model.clone(), reward, critic=rm.clone(), **PPO)
        resumed = again.resume(tmp_path / "state")
        assert again.is_current(resumed) is not stale and not ppo.is_current(resumed)
        assert again.step(prompts)["first_ratio_deviation"] == 0
        assert math.isnan(resumed[0].kl) is stale  # the step was of others


def test_stale_rollout_that_another_trainer_updates_is_not_gone_on_with(model, prompts):
    """The step draws others, as for a reward model, and an interrupted one goes on with those."""
    calls = []
    ppo = rlhf.PPOTrainer(model, fails_once(calls), **PPO)
    other = rlhf.PPOTrainer(model.clone(), None, **PPO)
    drawn = ppo.rollout(prompts)
    name = next(iter(model.parameters()))
    model.write_parameter(name, model.read_parameter(name) + 0.25)
    drawn.scores[:] = 0
    other.accumulate(drawn)
    assert not ppo.is_current(drawn) and other.is_current(drawn)
    with pytest.raises(KeyError):
        ppo.step(prompts)
    assert ppo.step(prompts)["num_steps"] > 0 and calls == [len(prompts)] * 2
    other.update(drawn)


def test_reward_function_is_as_a_reward_model(model, prompts):
    """Prompts may come once, from a generator; a step takes the rollout that was drawn for it."""
    rm = rlhf.RewardModel.from_model(model)
    policies, figures = [], []
    for reward in (rm, lambda rollout: rm.score(rollout.sequences)):
        policies.append(model.clone())
        ppo = rlhf.PPOTrainer(policies[-1], reward, critic=rm.clone(), **PPO)
        figures.append(ppo.step(ids for ids in prompts))
        drawn = ppo.rollout(prompts)
        figures.append(ppo.step(prompts))
        assert not np.isnan(drawn[0].kl)
        drawn.close()
    for one, other in zip(figures[:2], figures[2:]):
        for name in ("score", "score_std", "kl", "policy_loss", "value_loss", "iteration"):
            assert one[name] == other[name], name
    for name in model.parameters():
        assert np.array_equal(*(p.read_parameter(name) for p in policies)), name


def test_scores_written_into_a_rollout_are_saved(model, prompts, tmp_path):
    ppo = rlhf.PPOTrainer(model, None, **PPO)
    ppo.rollout(prompts).scores[:] = range(8)
    ppo.save(tmp_path / "state")
    again = rlhf.PPOTrainer(model.clone(), None, **PPO)
    assert again.resume(tmp_path / "state").scores.tolist() == list(range(8))
    ppo.rollout(prompts).scores[:3] = 1  # some are not there yet: none can be handed over
    ppo.save(tmp_path / "state")
    assert np.isnan(again.resume(tmp_path / "state").scores).all()


def test_step_takes_written_scores_and_saving_leaves_none_behind(model, prompts, tmp_path):
    rm = rlhf.RewardModel.from_model(model)
    ppo = rlhf.PPOTrainer(model, rm, **PPO)
    rollout = ppo.rollout(prompts)
    rollout.scores[:] = range(8)
    assert ppo.step(prompts)["score"] == pytest.approx(3.5)
    assert rollout.scores.tolist() == list(range(8))
    rollout = ppo.rollout(prompts)
    ppo.save(tmp_path / "state")
    ppo.step(prompts)  # by the reward model
    assert np.array_equal(rollout.scores, rm.score(rollout.sequences))
    rollout = ppo.rollout(prompts)
    rollout.scores[:3] = 5  # not whole: the reward model's replace them
    stats = ppo.step(prompts)
    assert np.array_equal(rollout.scores, rm.score(rollout.sequences))
    assert stats["score"] == pytest.approx(rollout.scores.mean())
    assert ppo.save(tmp_path / "state") is None and rollout[0].score == rollout.scores[0]


def test_step_goes_on_with_written_scores_that_were_taken(model, prompts, tmp_path):
    """Saved in the middle of the update, to the same bits as without."""
    rm, policies = rlhf.RewardModel.from_model(model), [model.clone(), model.clone()]
    for index, policy in enumerate(policies):
        ppo = rlhf.PPOTrainer(policy, rm, critic=rm.clone(), num_minibatches=2, **PPO)
        rollout = ppo.rollout(prompts)
        rollout.scores[:] = range(8)
        while index and ppo.accumulate(rollout):
            pass
        if index:
            ppo.save(tmp_path / "state")
        assert ppo.step(prompts)["score"] == pytest.approx(3.5)
    for name in model.parameters():
        assert np.array_equal(*(p.read_parameter(name) for p in policies)), name


def test_function_and_model_evaluate_alike(model, prompts):
    rm = rlhf.RewardModel.from_model(model)
    trainers = [rlhf.PPOTrainer(model.clone(), reward, critic=rm.clone(), **PPO)
                for reward in (rm, lambda rollout: rm.score(rollout.sequences))]
    (expected, _), (figures, rollout) = (ppo.evaluate(prompts) for ppo in trainers)
    assert figures == pytest.approx(expected)
    assert not math.isnan(figures["score"]) and figures["score_std"] > 0
    assert rollout.scores.tolist() == rm.score(rollout.sequences).tolist()
    assert rollout[0].score == rollout.scores[0] and not math.isnan(rollout[0].kl)
    trainers[1].step(prompts)
    assert trainers[1].num_iterations == 1

    def bonus(rollout):
        rollout.set_token_scores(0, np.full(len(rollout[0].tokens), 0.5))
        return np.zeros(len(rollout))
    ppo = rlhf.PPOTrainer(model, bonus, **PPO)
    assert ppo.evaluate(prompts)[0]["score"] == ppo.step(prompts)["score"] == 6 * 0.5 / 8


def test_samples_of_ones_own_train(context, model, prompts, tokenizer, tmp_path):
    ppo = rlhf.PPOTrainer(model, None, **PPO)
    rollout = rlhf.Rollout(context=context)
    for prompt in prompts:
        tokens = list(prompt) + [7, 8, 9]
        rollout.append(tokens, [0] * len(prompt) + [1, 1, 1], score=float(len(rollout)))
    assert rollout.scores.tolist() == list(range(8))
    rollout.set_token_scores(0, np.full(len(prompts[0]) + 3, 0.5))
    with pytest.raises(ValueError, match="action_mask"):
        rollout.append([2, 3, 4], [0, 1])
    rollout.write_jsonl(tmp_path / "rollout.jsonl")
    assert len((tmp_path / "rollout.jsonl").read_text().splitlines()) == 8
    while ppo.accumulate(rollout):
        pass
    name = next(iter(model.parameters()))
    assert np.abs(ppo.gradient(name)).max() > 0
    assert ppo.gradient("score.weight", critic=True).shape == (1, 16)
    done, stats = ppo.apply()
    assert not done and stats["num_steps"] == 1
    assert ppo.update(rollout)["num_steps"] == 2


def test_sample_of_ones_own_has_ended_unless_it_says_otherwise(context, model):
    """The answer that a host writes is whole; missing_eos is of those that are cut off."""
    ppo = rlhf.PPOTrainer(model, None, missing_eos="replace", missing_eos_value=-1.0, kl_coef=0.0)
    rollout = rlhf.Rollout(context=context)
    for finish in ({}, {"finish": "stop"}, {"finish": rlhf.Finish.LENGTH}, {"finish": "none"}):
        rollout.append([2, 3, 4, 5], [0, 0, 1, 1], score=1.0, **finish)
    ppo.advantages(rollout)
    assert [sequence.rewards[-1] for sequence in rollout] == [1.0, 1.0, -1.0, -1.0]
    assert ppo.update(rollout)["eos_rate"] == 0.5
    with pytest.raises(rlhf.OptionError, match="finish must be one of .*length.* got 'cut'"):
        rollout.append([2, 3], [0, 1], finish="cut")


def test_evaluation_repeats_and_control_is_taken(model, prompts, tmp_path):
    rm = rlhf.RewardModel.from_model(model)
    ppo = rlhf.PPOTrainer(model, rm, **PPO)
    first, rollout = ppo.evaluate(prompts)
    second, _ = ppo.evaluate(prompts)
    assert first["score"] == second["score"] and len(rollout) == len(prompts)
    assert first["score"] == pytest.approx(rm.score(rollout.sequences).mean(), abs=1e-6)
    ppo.abandon()
    ppo.set_kl_coef(0.5)
    ppo.set_learning_rate(2e-3, 3e-3)
    stats = ppo.step(prompts)
    assert (stats["kl_coef"], stats["learning_rate"], stats["value_learning_rate"]) == (
        0.5, 2e-3, 3e-3)
    with pytest.raises(rlhf.InvalidArgumentError):
        ppo.set_sampler(rlhf.Greedy())
    ppo.set_sampler(rlhf.Temperature(1.0))
    rollout = ppo.rollout(prompts)
    ppo.score(rollout)
    ppo.save(tmp_path / "state")
    other = rlhf.PPOTrainer(rm_policy := model.clone(), rm, **PPO)
    in_hand = other.resume(tmp_path / "state")
    assert in_hand.scores.tolist() == rollout.scores.tolist()
    a, b = ppo.update(rollout), other.update(in_hand)
    assert a["policy_loss"] == b["policy_loss"]
    name = next(iter(model.parameters()))
    assert np.array_equal(model.read_parameter(name), rm_policy.read_parameter(name))
