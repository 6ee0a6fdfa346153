"""Trainers of language models and reward models; reward models."""
from __future__ import annotations

import ctypes
from typing import (TYPE_CHECKING, Any, ClassVar, Dict, Generic, Iterator, Optional, Tuple, Type,
                    TypeVar, cast)

import numpy as np

from . import _bindings as c
from . import _options
from ._arrays import Batch, Floats, float32s, ragged
from ._context import seed_of
from ._core import Handle, ask, expect, invoke, value
from ._dataset import Dataset
from ._errors import NotFoundError
from ._model import Model, Network
from ._tokenizer import Path, path_bytes

if TYPE_CHECKING:
    from typing_extensions import Unpack

Stats = TypeVar("Stats")
LR = {"lr": "learning_rate"}


class Trainer(Handle, Generic[Stats]):
    """What trainers on a dataset share. A trainer is stepped: between two steps anything may be
    looked at, changed, saved or stopped. A call that fails, or that is interrupted, leaves the
    last step; the same call goes on, with the same rows."""

    _prefix: ClassVar[str]
    _stats: ClassVar[Type[ctypes.Structure]]
    _network: Network
    _total_steps: int

    def _figures(self, name: str, *arguments: Any) -> Stats:
        stats = _options.output(self._stats)
        invoke(self._context, f"{self._prefix}_{name}", self, *arguments, ctypes.byref(stats))
        return cast(Stats, _options.figures(stats))

    def step(self) -> Stats:
        """A whole optimizer step; its figures. NotFoundError: the dataset has ended."""
        return self._figures("step")

    def __iter__(self) -> Iterator[Stats]:
        """Steps up to total_steps, or to the end of the dataset; begun again, it goes on."""
        while self.num_steps < self._total_steps:
            try:
                stats = self.step()
            except NotFoundError:
                return
            yield stats

    def accumulate(self) -> int:
        """One micro-batch of the step under way; how many are to come before `apply`."""
        remaining = ctypes.c_int64()
        invoke(self._context, f"{self._prefix}_accumulate", self, ctypes.byref(remaining))
        return remaining.value

    def apply(self) -> Stats:
        """Clips and updates the weights, once all micro-batches are there."""
        return self._figures("apply")

    def gradient(self, name: str) -> Floats:
        """The gradient of a parameter between `accumulate` and `apply`, before clipping."""
        out = np.empty(self._network.parameters().get(name, (0, 0)), np.float32)
        invoke(self._context, f"{self._prefix}_gradient", self, name.encode(), float32s(out),
               out.size)
        return out

    def set_learning_rate(self, learning_rate: float) -> None:
        """Replaces the schedule's peak rate from the next step on. Saved."""
        ask(self._context, f"{self._prefix}_set_learning_rate", self, learning_rate)

    @property
    def num_steps(self) -> int:
        """Steps done, over resumed runs too."""
        return int(value(f"{self._prefix}_num_steps", self))

    def save(self, path: Path) -> None:
        """Writes what the rest of the run depends on into a folder, whole or not at all."""
        invoke(self._context, f"{self._prefix}_save", self, path_bytes(path))

    def resume(self, path: Path) -> None:
        """Goes on where `save` was, to the same bits. Model, dataset and options must be those
        of the saved run."""
        invoke(self._context, f"{self._prefix}_resume", self, path_bytes(path))


class LMTrainer(Trainer[c.LMStats]):
    """Pretraining and supervised fine-tuning: next-token loss.

        for stats in rlhf.LMTrainer(model, texts, total_steps=500):
            print(stats["loss"])
    """

    _type = c.rlhf_lm_trainer
    _free = "rlhf_lm_trainer_free"
    _prefix = "rlhf_lm_trainer"
    _stats = c.rlhf_lm_stats

    @_options.documents("rlhf_lm_options", aliases=LR)
    def __init__(self, model: Model, dataset: Dataset, *, lr: Optional[float] = None,
                 **options: Unpack[c.LMOptions]) -> None:
        """Makes a trainer; a model has at most one.

        model: trained in place.
        dataset: of the model's context, of texts or completions.
        """
        given: Dict[str, Any] = dict(options)
        if lr is not None:
            given["lr"] = lr
        filled = _options.fill("rlhf_lm_options", given, aliases=LR)
        self._network, self._total_steps = expect("model", model, Model), filled.total_steps
        self._make(model._context, "rlhf_lm_trainer_create", model, dataset,
                   ctypes.byref(filled))

    def evaluate(self, dataset: Dataset, max_rows: int = 0) -> float:
        """Mean loss per target over rows of a dataset, nats; 0: all rows. Nothing is trained."""
        loss = ctypes.c_double()
        invoke(self._context, "rlhf_lm_trainer_evaluate", self, dataset, max_rows,
               ctypes.byref(loss))
        return loss.value


class RewardModel(Network):
    """A network that gives one float for a prompt and its answer: scale * raw + offset."""

    _type = c.rlhf_reward_model
    _free = "rlhf_reward_model_free"
    _prefix = "rlhf_reward_model"

    def __init__(self) -> None:
        raise TypeError("RewardModel.from_model makes one, RewardModel.load reads one")

    @classmethod
    @_options.documents("rlhf_reward_model_options")
    def from_model(cls, model: Model, **options: Unpack[c.RewardModelOptions]) -> "RewardModel":
        """One that starts from a copy of a language model's trunk, with a fresh head."""
        given: Dict[str, Any] = dict(options)
        given.setdefault("seed", seed_of(expect("model", model, Model).context, None))
        filled = _options.fill("rlhf_reward_model_options", given)
        self = cls.__new__(cls)
        self._make(model._context, "rlhf_reward_model_create", model, ctypes.byref(filled))
        return self

    def score(self, sequences: Batch) -> Floats:
        """Scores of whole sequences, prompt + answer: float32, one for each."""
        batch = ragged(sequences)
        out = np.empty(len(batch), np.float32)
        invoke(self._context, "rlhf_reward_model_score", self, *batch.arguments(), float32s(out))
        return out

    def normalize(self, sequences: Batch, *, unit_variance: bool = True) -> None:
        """Sets scale and offset so that these sequences score mean 0, and deviation 1."""
        invoke(self._context, "rlhf_reward_model_normalize", self,
               *ragged(sequences).arguments(), int(unit_variance))

    @property
    def affine(self) -> Tuple[float, float]:
        """(scale, offset) of the raw score; may be set."""
        scale, offset = ctypes.c_double(), ctypes.c_double()
        ask(self._context, "rlhf_reward_model_get_affine", self, ctypes.byref(scale),
            ctypes.byref(offset))
        return scale.value, offset.value

    @affine.setter
    def affine(self, affine: Tuple[float, float]) -> None:
        ask(self._context, "rlhf_reward_model_set_affine", self, *affine)


class RewardTrainer(Trainer[c.RewardStats]):
    """Trains a reward model on pairs: -log sigmoid(R(chosen) - R(rejected)).

        for stats in rlhf.RewardTrainer(rm, pairs, lr=1e-5):
            print(stats["accuracy"])
    """

    _type = c.rlhf_reward_trainer
    _free = "rlhf_reward_trainer_free"
    _prefix = "rlhf_reward_trainer"
    _stats = c.rlhf_reward_stats

    @_options.documents("rlhf_reward_options", aliases=LR)
    def __init__(self, reward_model: RewardModel, dataset: Dataset, *,
                 lr: Optional[float] = None, **options: Unpack[c.RewardOptions]) -> None:
        """Makes a trainer; it trains the raw score, whatever scale and offset are.

        reward_model: trained in place.
        dataset: of the reward model's context, of preferences.
        """
        given: Dict[str, Any] = dict(options)
        if lr is not None:
            given["lr"] = lr
        filled = _options.fill("rlhf_reward_options", given, aliases=LR)
        self._network = expect("reward_model", reward_model, RewardModel)
        self._total_steps = filled.total_steps
        self._make(reward_model._context, "rlhf_reward_trainer_create", reward_model, dataset,
                   ctypes.byref(filled))

    def evaluate(self, dataset: Dataset, max_rows: int = 0) -> c.RewardStats:
        """Loss, accuracy and rewards over held-out pairs; 0: all. Nothing is trained."""
        return self._figures("evaluate", dataset, max_rows)
