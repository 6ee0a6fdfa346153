"""Proximal policy optimisation, and rollouts."""
from __future__ import annotations

import contextlib
import ctypes
import math
from typing import (TYPE_CHECKING, Any, Callable, Dict, Iterator, List, NamedTuple, Optional,
                    Tuple, Union, cast)

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import _bindings as c
from . import _options
from ._arrays import (Batch, Floats, Ids, IdsLike, Ragged, copied, float32s, floats, ids, int32s,
                      ragged, uint8s)
from ._context import Context, current, seed_of
from ._core import Handle, ask, expect, invoke, make, value
from ._errors import InvalidArgumentError, StateError
from ._generate import SamplerLike, as_sampler
from ._model import Model
from ._tokenizer import Path, Tokenizer, answer_text, path_bytes
from ._training import LR, RewardModel

if TYPE_CHECKING:
    from typing_extensions import Unpack


class RolloutSequence(NamedTuple):
    """One sequence of a rollout, copied. Arrays run over its tokens; an action is a token that
    the policy chose, and per-action figures stand at the action's own place (0 elsewhere). What
    is None is not there yet."""

    sequence_id: int
    tokens: Ids
    action_mask: NDArray[np.uint8]
    logprobs: Optional[Floats]
    """log pi_old, nats."""
    ref_logprobs: Optional[Floats]
    """log pi_ref, nats."""
    values: Optional[Floats]
    """V before the action."""
    rewards: Optional[Floats]
    """After KL and score."""
    advantages: Optional[Floats]
    """As the update uses them, before whitening by minibatch."""
    returns: Optional[Floats]
    token_scores: Optional[Floats]
    num_prompt: int
    """Tokens before the first action."""
    num_actions: int
    score: float
    """NaN before it is set."""
    kl: float
    """The sum over its actions of log pi_old - log pi_ref; NaN before it is there."""
    finish: c.Finish

    @property
    def prompt(self) -> Ids:
        """Tokens before the first action."""
        return self.tokens[:self.num_prompt]

    @property
    def answer(self) -> Ids:
        """Tokens from the first action on."""
        return self.tokens[self.num_prompt:]


def _sequence(raw: Any) -> RolloutSequence:
    def figures(pointer: Any) -> Any:
        return copied(pointer, raw.num_tokens) if pointer else None
    return RolloutSequence(
        raw.sequence_id, copied(raw.tokens, raw.num_tokens),
        copied(raw.action_mask, raw.num_tokens), figures(raw.logprobs),
        figures(raw.ref_logprobs), figures(raw.values), figures(raw.rewards),
        figures(raw.advantages), figures(raw.returns), figures(raw.token_scores),
        raw.num_prompt, raw.num_actions, raw.score, raw.kl, c.Finish(raw.finish))


class Rollout(Handle):
    """Sequences, which of their tokens are actions, and their scores.

        rollout = ppo.rollout(prompts)
        rollout.scores[:] = my_scores
        ppo.update(rollout)
    """

    _type = c.rlhf_rollout
    _free = "rlhf_rollout_free"

    def __init__(self, *, context: Optional[Context] = None) -> None:
        """An empty one, for samples of one's own: `append`."""
        context = current(context)
        self._make(context, "rlhf_rollout_create", context)

    _scores: Optional[Floats] = None

    def append(self, tokens: IdsLike, action_mask: ArrayLike, *, score: float = math.nan,
               logprobs: Optional[ArrayLike] = None, token_scores: Optional[ArrayLike] = None,
               finish: Union[str, c.Finish] = c.Finish.STOP) -> None:
        """Adds a sequence.

        action_mask: 1 where a token is an action; token 0 never is.
        score: NaN: not yet.
        logprobs: of the policy that sampled; None: the trainer computes its own.
        token_scores: rewards of single tokens, added to the score's.
        finish: how the answer ended, "stop", "length" and so on: all but "stop" fall under
            missing_eos. What a program adds is mostly whole, so "stop" unless it says otherwise
            (in C the zeroed struct says "none").
        """
        how = _options.enum("finish", "rlhf_finish", finish)
        array = ids(tokens, "tokens")
        mask = np.ascontiguousarray(action_mask, np.uint8)
        given: Dict[str, NDArray[Any]] = {"action_mask": mask}
        raw = _options.output(c.rlhf_rollout_input)
        raw.tokens, raw.num_tokens, raw.score, raw.finish = int32s(array), len(array), score, how
        raw.action_mask = uint8s(mask)
        for name, values in (("logprobs", logprobs), ("token_scores", token_scores)):
            if values is not None:
                given[name] = floats(values)
                setattr(raw, name, float32s(given[name]))
        for name, values in given.items():
            if values.shape != array.shape:
                raise ValueError(f"{name} must have {len(array)} values, got {values.size}")
        ask(self._context, "rlhf_rollout_append", self, ctypes.byref(raw))
        if self._scores is not None:
            self._scores = np.append(self._scores, np.float32(score))

    def __len__(self) -> int:
        return int(value("rlhf_rollout_num_sequences", self))

    def _raw(self, index: int) -> Any:
        raw = _options.output(c.rlhf_rollout_sequence)
        ask(self._context, "rlhf_rollout_get", self, index, ctypes.byref(raw))
        return raw

    def __getitem__(self, index: int) -> RolloutSequence:
        """A sequence, copied; scores that were written into `scores` are in it."""
        count = len(self)
        if index < 0:
            index += count
        if not 0 <= index < count:
            raise IndexError(f"there are {count} sequences")
        sequence = _sequence(self._raw(index))
        if self._scores is None:
            return sequence
        return sequence._replace(score=float(self._scores[index]))

    def __iter__(self) -> Iterator[RolloutSequence]:
        for index in range(len(self)):
            yield self[index]

    def _stored(self) -> Floats:
        """Scores as the library has them."""
        return np.array([self._raw(i).score for i in range(len(self))], np.float32)

    @property
    def scores(self) -> Floats:
        """float32, one a sequence, NaN where there is none yet; to be written into."""
        if self._scores is None:
            self._scores = self._stored()
        return self._scores

    @scores.setter
    def scores(self, scores: ArrayLike) -> None:
        self.scores[:] = scores

    def _commit(self) -> None:
        """Hands written scores to the library, which forgets advantages then."""
        if self._scores is None or np.array_equal(self._scores, self._stored(), equal_nan=True):
            return
        ask(self._context, "rlhf_rollout_set_scores", self, float32s(self._scores),
            len(self._scores))

    def _commit_if_whole(self) -> None:
        """Only a rollout whose scores are all there can hand them over, outside of an update."""
        if self._scores is not None and not self._lacks_scores and not self._in_update:
            self._commit()

    def _refresh(self) -> None:
        """Scores that the library has set replace those that were written."""
        if self._scores is None or self.closed:
            return
        stored = self._stored()
        if not np.isnan(stored).any():
            self._scores[:] = stored

    @property
    def _lacks_scores(self) -> bool:
        """Whether one is missing, of those that were written or else of the library's."""
        return bool(np.isnan(self._stored() if self._scores is None else self._scores).any())

    @property
    def _has_advantages(self) -> bool:
        return len(self) > 0 and bool(self._raw(0).advantages)

    def set_token_scores(self, index: int, token_scores: ArrayLike) -> None:
        """Rewards of single tokens of one sequence, one for each of its tokens; those at its
        actions count. A sequence with token scores needs no score."""
        array = floats(token_scores)
        ask(self._context, "rlhf_rollout_set_token_scores", self, index, float32s(array),
            array.size)

    @property
    def sequences(self) -> List[Ids]:
        """The tokens of each: what `RewardModel.score` takes."""
        return [copied(raw.tokens, raw.num_tokens) for raw in map(self._raw, range(len(self)))]

    def _answers(self, prompts: Ragged) -> bool:
        """Whether it is of these prompts."""
        own = ragged([copied(raw.tokens, raw.num_prompt)
                      for raw in map(self._raw, range(len(self)))])
        return np.array_equal(own.tokens, prompts.tokens) and np.array_equal(own.ends, prompts.ends)

    @property
    def _in_update(self) -> bool:
        """Whether a trainer is in the middle of its update. The library has no function that tells,
        but refuses scores of such a rollout: as StateError, before it looks at the sequence. There
        is no sequence -1, so that nothing is set in any other."""
        try:
            ask(self._context, "rlhf_rollout_set_token_scores", self, -1,
                float32s(np.zeros(1, np.float32)), 1)
        except StateError:
            return True
        except InvalidArgumentError:
            pass
        return False

    def _reopened(self) -> "Rollout":
        """Another handle of one that was closed while a trainer kept it: the library's object
        and the trainer's hold on it pass to the new one."""
        pointer, self._pointer = self._pointer, None  # one owner at most, whatever interrupts
        other = Rollout._wrap(pointer, self._context)
        other._scores = self._scores
        other._enter()
        return other

    def texts(self, tokenizer: Tokenizer) -> List[str]:
        """The answers as text, without special tokens."""
        return [answer_text(tokenizer, copied(raw.tokens, raw.num_tokens)[raw.num_prompt:])
                for raw in map(self._raw, range(len(self)))]

    def write_jsonl(self, path: Path, tokenizer: Optional[Tokenizer] = None) -> None:
        """Appends one JSON line a sequence to a file: ids, texts with a tokenizer, score, kl."""
        self._commit()
        invoke(self._context, "rlhf_rollout_write_jsonl", self, tokenizer, path_bytes(path))

    def __repr__(self) -> str:
        return "Rollout(closed)" if self.closed else f"Rollout({len(self)} sequences)"


RewardFunction = Callable[[Rollout], ArrayLike]


class _InHand(NamedTuple):
    """A rollout that a trainer goes on with, and keeps: who drew it may close it."""

    rollout: Rollout
    iteration: int
    """num_iterations as it was taken in hand."""


class PPOTrainer(Handle):
    """PPO of a language model against a score.

        ppo = rlhf.PPOTrainer(policy, rm, preset="trl", kl_coef=0.05)
        stats = ppo.step(prompts)                 # a whole iteration, or in its parts:
        rollout = ppo.rollout(prompts)            # answers, with their log-probabilities
        rollout.scores[:] = my_scores             # or ppo.score(rollout)
        stats = ppo.update(rollout)               # advantages, then the optimizer steps

    A call that fails or that is interrupted leaves the last optimizer step; the same call goes
    on.
    """

    _type = c.rlhf_ppo_trainer
    _free = "rlhf_ppo_trainer_free"

    @_options.documents("rlhf_ppo_options", aliases=LR)
    def __init__(self, policy: Model, reward: Union[RewardModel, RewardFunction, None] = None, *,
                 reference: Optional[Model] = None, critic: Optional[RewardModel] = None,
                 preset: str = "default", lr: Optional[float] = None,
                 **options: Unpack[c.PPOOptions]) -> None:
        """Makes a trainer. All models belong to one context and one vocabulary.

        policy: trained in place.
        reward: a RewardModel; or a function of a Rollout that returns a score for each sequence;
            or None: scores are written into rollouts.
        reference: frozen; None: a copy of the policy as it is now.
        critic: trained in place; None: a copy of the reward model, or the policy's trunk.
        preset: "default", "openai-2019", "instructgpt", "trl" or "openrlhf"; options are set
            over it. The defaults shown are those of "default".
        """
        given: Dict[str, Any] = dict(options)
        if lr is not None:
            given["lr"] = lr
        filled = c.rlhf_ppo_options()
        ask(None, "rlhf_ppo_options_preset", ctypes.byref(filled), ctypes.sizeof(filled),
            preset.encode())
        context = expect("policy", policy, Model).context
        given.setdefault("seed", seed_of(context, None))
        filled = _options.fill("rlhf_ppo_options", given, filled, aliases=LR,
                               more=["preset", "reference", "critic"])
        model = reward if isinstance(reward, RewardModel) else None
        if reward is not None and model is None and not callable(reward):
            raise TypeError(f"reward must be a RewardModel or a function, got {reward!r}")
        self._function = cast(Optional[RewardFunction], reward if model is None else None)
        self._reward_model, self._policy = model, policy
        self._options = filled
        self._in_hand: Optional[_InHand] = None
        self._make(context, "rlhf_ppo_trainer_create", policy, reference, model, critic,
                   ctypes.byref(filled))

    # ---- an iteration ---------------------------------------------------------------------

    def _figures(self, name: str, *arguments: Any) -> c.PPOStats:
        stats = _options.output(c.rlhf_ppo_stats)
        invoke(self._context, f"rlhf_ppo_trainer_{name}", self, *arguments, ctypes.byref(stats))
        return cast(c.PPOStats, _options.figures(stats))

    def _held(self) -> Optional[Rollout]:
        """The rollout in hand: drawn or resumed, or in its update, and not done with. The library
        keeps the same one for `save` and for its own step."""
        held = self._in_hand
        if held is None or held.iteration != self.num_iterations or held.rollout._pointer is None:
            return None
        if held.rollout.closed:
            held = self._in_hand = held._replace(rollout=held.rollout._reopened())
        return held.rollout

    def _updates(self, rollout: Rollout) -> bool:
        """Whether it is in the middle of the rollout's update, not another trainer."""
        return rollout._in_update and self.is_current(rollout)

    def _hold(self, rollout: Rollout) -> None:
        held = self._held()
        if held is None or not self._updates(held):
            rollout._enter()
            self._drop()
            self._in_hand = _InHand(rollout, self.num_iterations)

    def _drop(self) -> None:
        held, self._in_hand = self._in_hand, None
        if held is not None:
            held.rollout._leave()

    def _give_back(self) -> None:
        super()._give_back()
        self._drop()

    @contextlib.contextmanager
    def _updating(self, rollout: Rollout) -> Iterator[None]:
        """What begins an update takes its rollout in hand, unless it is refused."""
        another = rollout._in_update and self._held() is not rollout
        try:
            yield
        finally:
            if not another and not rollout.closed and rollout._in_update:
                self._hold(rollout)

    def _take(self, name: str, *arguments: Any,
              done: Optional[Callable[[], None]] = None) -> Optional[Rollout]:
        """Calls what gives a rollout out. It is in hand even where a handler of a signal raises as
        the call ends, so that a step goes on with it."""
        pointer, rollout = ctypes.POINTER(c.rlhf_rollout)(), None
        try:
            invoke(self._context, f"rlhf_ppo_trainer_{name}", self, *arguments,
                   ctypes.byref(pointer), done=done)
        finally:
            if pointer:
                rollout = Rollout._wrap(pointer, self._context)
                self._hold(rollout)
        return rollout

    def step(self, prompts: Batch) -> c.PPOStats:
        """A whole iteration: rollout, scores, advantages, update; its figures. After an
        interruption the same call with the same prompts goes on where it stopped, also in a trainer
        that was resumed. Where the policy's parameters were replaced before its update began, it
        draws other answers."""
        batch = ragged(prompts)
        rollout = self._held()
        if self._function is None:
            return self._whole_step(batch, rollout)
        if rollout is None or not (self.is_current(rollout) and rollout._answers(batch)):
            if rollout is not None and self._updates(rollout):  # before ids are spent on another
                raise StateError("the update of another rollout is under way, on other prompts",
                                 status=c.Status.ERR_STATE)
            self._check_count(len(batch))
            rollout = self._draw(batch)
        return self.update(rollout)

    def _check_count(self, count: int) -> None:
        """What the library's own step refuses before ids are spent on a rollout."""
        options = self._options
        if 0 < count < options.num_minibatches:
            field, message = "num_minibatches", (
                f"num_minibatches must be at most the {count} sequences, "
                f"got {options.num_minibatches}")
        elif options.kl_target > 0 and 0.2 * count >= options.kl_horizon:
            field, message = "kl_horizon", (
                f"kl_horizon must be over a fifth of the {count} sequences, or beta could fall "
                f"to 0 and below; got {options.kl_horizon:g}")
        else:
            return
        raise InvalidArgumentError(message, status=c.Status.ERR_INVALID_ARG, field=field)

    def _whole_step(self, prompts: Ragged, held: Optional[Rollout]) -> c.PPOStats:
        """The library's own, on the scores that were written into the rollout in hand."""
        if held is not None:
            held._commit_if_whole()
        try:
            stats = self._figures("step", *prompts.arguments())
        finally:
            if held is not None:
                held._refresh()
        self._drop()
        return stats

    def _draw(self, prompts: Ragged) -> Rollout:
        return cast(Rollout, self._take("rollout", *prompts.arguments()))

    def rollout(self, prompts: Batch) -> Rollout:
        """Answers to the prompts, without scores. After an interruption the same call goes on. The
        trainer keeps them until their update is over or others are drawn: a step on the same
        prompts goes on with them, closed or not."""
        return self._draw(ragged(prompts))

    def score(self, rollout: Rollout) -> None:
        """Sets a rollout's scores to the reward's."""
        expect("rollout", rollout, Rollout)
        if self._function is not None:
            self._call_function(rollout)
            rollout._commit()
            return
        invoke(self._context, "rlhf_ppo_trainer_score", self, rollout)
        rollout._refresh()

    def _call_function(self, rollout: Rollout) -> None:
        assert self._function is not None
        given = self._function(rollout)
        if np.shape(given) != (len(rollout),):
            raise ValueError(f"a reward must return {len(rollout)} scores, one for each sequence, "
                             f"got {given!r}")
        with np.errstate(over="ignore"):  # to infinity, which is told below
            scores = np.asarray(given, np.float32)
        wrong = np.flatnonzero(~np.isfinite(scores))
        if wrong.size:
            raise InvalidArgumentError(
                f"score of sequence {wrong[0]} is not finite but {scores[wrong[0]]:g}",
                status=c.Status.ERR_INVALID_ARG, field="scores")
        rollout.scores[:] = scores

    def advantages(self, rollout: Rollout) -> None:
        """Reference log-probabilities, values, rewards, GAE, whitening."""
        expect("rollout", rollout, Rollout)._commit()
        invoke(self._context, "rlhf_ppo_trainer_advantages", self, rollout)

    def update(self, rollout: Rollout) -> c.PPOStats:
        """All optimizer steps on a rollout, or what is left of them; the iteration's figures.
        Scores come from the reward where none was set, or from a function where one is missing;
        advantages are computed where they are not there."""
        self._prepare(rollout)
        with self._updating(rollout):
            stats = self._figures("update", rollout)
        self._drop()
        return stats

    def _prepare(self, rollout: Rollout) -> None:
        expect("rollout", rollout, Rollout)
        if self._function is not None and not rollout._has_advantages and rollout._lacks_scores:
            self.score(rollout)  # it may have failed half-way before, with some of them written
        rollout._commit()
        if rollout._has_advantages:
            return
        raws = [rollout._raw(i) for i in range(len(rollout))]
        unscored = all(math.isnan(raw.score) and not raw.token_scores for raw in raws)
        if raws and unscored and self._reward_model is not None:
            self.score(rollout)
        self.advantages(rollout)

    def accumulate(self, rollout: Rollout) -> int:
        """One micro-batch's gradients; how many are to come before `apply`. The first call
        begins the update."""
        self._prepare(rollout)
        remaining = ctypes.c_int64()
        with self._updating(rollout):
            invoke(self._context, "rlhf_ppo_trainer_accumulate", self, rollout,
                   ctypes.byref(remaining))
        return remaining.value

    def apply(self) -> Tuple[bool, c.PPOStats]:
        """One optimizer step of each network: (whether the iteration is done, figures)."""
        done = ctypes.c_int32()
        stats = self._figures("apply", ctypes.byref(done))
        if done.value:
            self._drop()
        return bool(done.value), stats

    def gradient(self, name: str, *, critic: bool = False) -> Floats:
        """The gradient of a parameter of the policy or the critic between `accumulate` and
        `apply`, before clipping."""
        shapes = self._policy.parameters()
        if critic:
            with self.clone_critic() as copy:
                shapes = copy.parameters()
        out = np.empty(shapes.get(name, (0, 0)), np.float32)
        invoke(self._context, "rlhf_ppo_trainer_gradient", self, int(critic), name.encode(),
               float32s(out), out.size)
        return out

    def evaluate(self, prompts: Batch) -> Tuple[c.PPOStats, Rollout]:
        """(figures, answers) on held-out prompts, no update; the same at every call on the same
        weights. The score is the reward's, or NaN without one; a function's lies in the answers'
        `scores`, and `write_jsonl`, which hands it to the library, then writes no KL."""
        stats = _options.output(c.rlhf_ppo_stats)
        pointer = make(c.rlhf_rollout, "rlhf_rollout_free", self._context,
                       "rlhf_ppo_trainer_evaluate", self, *ragged(prompts).arguments(),
                       ctypes.byref(stats))
        figures = cast(c.PPOStats, _options.figures(stats))
        rollout = Rollout._wrap(pointer, self._context)
        if self._function is not None:
            self._call_function(rollout)  # not committed: the library would forget the KL
            scores = [s.score + (0.0 if s.token_scores is None else s.token_scores.sum(dtype=float))
                      for s in rollout]
            figures["score"], figures["score_std"] = float(np.mean(scores)), float(np.std(scores))
        return figures, rollout

    # ---- control --------------------------------------------------------------------------

    def set_sampler(self, sampler: SamplerLike) -> None:
        """Replaces the sampler: one that declares the trainer's temperature, or any with
        allow_biased_rollout; None: the default again."""
        ask(self._context, "rlhf_ppo_trainer_set_sampler", self, as_sampler(sampler))

    def set_learning_rate(self, learning_rate: float, value_learning_rate: float) -> None:
        """Replaces the schedules' peak rates, of policy and critic. Saved."""
        ask(self._context, "rlhf_ppo_trainer_set_learning_rate", self, learning_rate,
            value_learning_rate)

    def set_kl_coef(self, kl_coef: float) -> None:
        """Replaces beta from the next advantages on. Saved."""
        ask(self._context, "rlhf_ppo_trainer_set_kl_coef", self, kl_coef)

    def abandon(self) -> None:
        """Gives up the iteration under way; steps that were taken stay, and the next rollout may
        be of any prompts."""
        ask(self._context, "rlhf_ppo_trainer_abandon", self)
        self._drop()

    @property
    def num_iterations(self) -> int:
        """Iterations done, over resumed runs too."""
        return int(value("rlhf_ppo_trainer_num_iterations", self))

    def is_current(self, rollout: Rollout) -> bool:
        """Whether a rollout is in the middle of its update by this trainer, or sampled by the
        weights that the policy has. Another one is stale: a step does not go on with it."""
        expect("rollout", rollout, Rollout)
        return bool(value("rlhf_ppo_trainer_is_current", self, rollout))

    def clone_critic(self) -> RewardModel:
        """A copy of the critic as it is now."""
        critic = RewardModel.__new__(RewardModel)
        critic._make(self._context, "rlhf_ppo_trainer_clone_critic", self)
        return critic

    def save(self, path: Path) -> None:
        """Writes what the rest of the run depends on into a folder, whole or not at all. With the
        rollout in hand go the scores that were written into it, if none is missing."""
        held = self._held()
        if held is not None:
            held._commit_if_whole()
        invoke(self._context, "rlhf_ppo_trainer_save", self, path_bytes(path))

    def resume(self, path: Path) -> Optional[Rollout]:
        """Goes on where `save` was; the rollout that was in hand then, if there was one. A step with
        its prompts goes on with it."""
        return self._take("resume", path_bytes(path), done=self._drop)
