"""Reinforcement learning from human feedback: librlhf for Python.

    import rlhf
    ctx = rlhf.Context(threads=2, seed=1)
    tok = rlhf.Tokenizer.load("sft")
    policy = rlhf.Model.load("sft", context=ctx)
    rm = rlhf.RewardModel.load("reward", context=ctx)
    ppo = rlhf.PPOTrainer(policy, rm, preset="trl", kl_coef=0.05)
    prompts = [tok.encode("Once upon a time", add_bos=True)] * 32
    for _ in range(10):
        print(ppo.step(prompts)["score"])
    policy.save("policy")
    tok.save("policy")

Every option is a keyword argument that the library checks; `help` of a class lists its own.
Failures are exceptions by status, all of them `rlhf.Error`. The C functions themselves, each with
the headers' words, are the attributes of `rlhf.lib`, their structs those of `rlhf.c`.
"""
from __future__ import annotations

from . import _bindings as c
from ._bindings import (Activation, Aggregation, AppendEos, AttentionKind, Choice, CPULevel,
                        DatasetKind, Finish, KLEstimator, LMStats, LogLevel, MemoryKind,
                        MissingEos, Norm, Overlong, Position, PPOStats, RewardStats, Schedule,
                        ScoreNormalize, ScoreSlot, Status, Variance, WhitenScope)
from ._config import Config
from ._context import Context
from ._dataset import Dataset, DatasetInfo, Example
from ._errors import (BusyError, CallbackError, CancelledError, Error, ExistsError, FormatError,
                      InternalError, InvalidArgumentError, LimitError, NoMemoryError,
                      NotFoundError, NumericError, OptionError, StateError, SystemIOError,
                      UnsupportedError)
from ._feedback import Comparison, Feedback, FeedbackInfo
from ._generate import (CustomSampler, Generation, Generator, Greedy, SampleInfo, Sampler,
                        Temperature)
from ._library import lib
from ._model import Model
from ._ppo import PPOTrainer, Rollout, RolloutSequence
from ._tokenizer import TextStream, Tokenizer
from ._training import LMTrainer, RewardModel, RewardTrainer

__version__: str = lib.rlhf_version().decode()

__all__ = [
    "Activation", "Aggregation", "AppendEos", "AttentionKind", "BusyError", "CPULevel",
    "CallbackError", "CancelledError", "Choice", "Comparison", "Config", "Context",
    "CustomSampler", "Dataset", "DatasetInfo", "DatasetKind", "Error", "Example", "ExistsError",
    "Feedback", "FeedbackInfo", "Finish", "FormatError", "Generation", "Generator", "Greedy",
    "InternalError", "InvalidArgumentError", "KLEstimator", "LMStats", "LMTrainer", "LimitError",
    "LogLevel", "MemoryKind", "MissingEos", "Model", "NoMemoryError", "Norm", "NotFoundError",
    "NumericError", "OptionError", "Overlong", "PPOStats", "PPOTrainer", "Position",
    "RewardModel", "RewardStats", "RewardTrainer", "Rollout", "RolloutSequence", "SampleInfo",
    "Sampler", "Schedule", "ScoreNormalize", "ScoreSlot", "StateError", "Status",
    "SystemIOError", "Temperature", "TextStream", "Tokenizer", "UnsupportedError", "Variance",
    "WhitenScope", "c", "lib",
]
