"""Samplers and the generator."""
from __future__ import annotations

import ctypes
import itertools
from typing import (TYPE_CHECKING, Any, Callable, Dict, List, NamedTuple, Optional, Sequence,
                    Tuple, Union)

import numpy as np

from . import _bindings as c
from . import _options
from ._arrays import Batch, Floats, Ids, copied, int64s, ragged
from ._context import seed_of
from ._core import (Handle, ask, callback, current_call, expect, guarded, invoke, registry,
                    value)
from ._tokenizer import Tokenizer, answer_text

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ._model import Model


class SampleInfo(NamedTuple):
    """What a sampler may look at."""

    sequence_id: int
    position: int
    """Tokens so far, the prompt's among them."""
    num_prompt: int
    """Tokens of the prompt."""
    tokens: Ids
    """The sequence so far."""
    uniforms: Tuple[float, ...]
    """Four random numbers in [0, 1), keyed by seed, sequence id and position."""
    state: Any
    """What `begin` returned for this sequence."""


SampleFunction = Callable[[Floats, SampleInfo], Any]


class Sampler(Handle):
    """How a token is picked from logits. It belongs to no context and may serve many models."""

    _type = c.rlhf_sampler
    _free = "rlhf_sampler_free"

    @_options.documents("rlhf_sampler_options")
    def __init__(self, **options: Unpack[c.SamplerOptions]) -> None:
        """The library's own sampler: softmax(logits / temperature), of which first the top_k
        likeliest stay, of those the fewest that reach top_p of their mass, of those the ones
        with min_p of the largest."""
        filled = _options.fill("rlhf_sampler_options", options)
        self._make(None, "rlhf_sampler_create", ctypes.byref(filled))


class Greedy(Sampler):
    """Always the likeliest token; the first of equals."""

    def __init__(self) -> None:
        super().__init__(temperature=0.0)


class Temperature(Sampler):
    """Draws from softmax(logits / temperature), with filters."""

    @_options.documents("rlhf_sampler_options")
    def __init__(self, temperature: float = 1.0, /, **options: Unpack[c.SamplerOptions]) -> None:
        """temperature: > 0, or 0 for the likeliest; also by name."""
        options.setdefault("temperature", temperature)
        super().__init__(**options)


class _Custom:
    """A Python sampler behind the library's table of functions."""

    def __init__(self, sample: SampleFunction, begin: Optional[Callable[[int], Any]],
                 end: Optional[Callable[[Any], Any]]) -> None:
        self.sample, self.begin, self.end = sample, begin, end
        self.states: Dict[int, Any] = {}
        self.numbers = itertools.count(1)


_SLOTS: Dict[str, Any] = {name: kind for name, kind, *_ in c.rlhf_sampler_ops._fields_}


def _begin(custom: _Custom, sequence_id: int, out_state: Any) -> None:
    state = custom.begin(sequence_id) if custom.begin is not None else None
    number = next(custom.numbers)
    custom.states[number] = state
    out_state[0] = number


def _sample(custom: _Custom, number: Optional[int], info: Any, logits: Any, vocabulary: int,
            out_token: Any) -> None:
    i = info.contents
    token = custom.sample(copied(logits, vocabulary), SampleInfo(
        i.sequence_id, i.position, i.num_prompt, copied(i.tokens, i.position),
        tuple(i.uniforms), custom.states.get(number or 0)))
    token = int(token)
    if not 0 <= token < vocabulary:
        raise ValueError(f"the sampler gave token {token}, the vocabulary has {vocabulary}")
    out_token[0] = token


def _end(custom: _Custom, number: Optional[int]) -> None:
    state = custom.states.pop(number or 0, None)
    if custom.end is not None:
        custom.end(state)


@callback(_SLOTS["begin"])
def _on_begin(key: Optional[int], sequence_id: int, out_state: Any) -> int:
    return guarded(_begin, registry.get(key), sequence_id, out_state)


@callback(_SLOTS["end"])
def _on_end(key: Optional[int], number: Optional[int]) -> None:
    custom = registry.get(key)
    try:
        _end(custom, number)
    except BaseException as error:
        try:
            current_call().note(error)
        except IndexError:  # a generator is freed amid its answers: no call to tell it to
            pass


@callback(_SLOTS["sample"])
def _on_sample(key: Optional[int], number: Optional[int], info: Any, logits: Any,
               vocabulary: int, out_token: Any) -> int:
    return guarded(_sample, registry.get(key), number, info, logits, vocabulary, out_token)


@callback(_SLOTS["destroy"])
def _on_destroy(key: Optional[int]) -> None:
    registry.remove(key)


class CustomSampler(Sampler):
    """A sampler that is a Python function; functions given as `sampler=` become one."""

    def __init__(self, sample: SampleFunction, *, softmax_temperature: float = 0.0,
                 begin: Optional[Callable[[int], Any]] = None,
                 end: Optional[Callable[[Any], Any]] = None) -> None:
        """sample(logits, info): picks a token whose logit is not -inf, from a float32 array of
            the vocabulary's size and a SampleInfo.
        softmax_temperature: tau > 0 declares that it draws from softmax(logits / tau), as PPO
            needs; 0: it does not.
        begin(sequence_id): called when a sequence begins; what it returns is `info.state`.
        end(state): called when it is over.
        """
        if not callable(sample):
            raise TypeError(f"a sampler must be a Sampler or a function, got {sample!r}")
        key = registry.add(_Custom(sample, begin, end))
        ops = _options.output(c.rlhf_sampler_ops)
        ops.begin, ops.end, ops.sample, ops.destroy = _on_begin, _on_end, _on_sample, _on_destroy
        ops.softmax_temperature = softmax_temperature
        try:
            self._make(None, "rlhf_sampler_create_custom", ctypes.byref(ops), key)
        except BaseException:
            registry.remove(key)
            raise


SamplerLike = Union[Sampler, SampleFunction, None]


def as_sampler(sampler: SamplerLike) -> Optional[Sampler]:
    if sampler is None or isinstance(sampler, Sampler):
        return sampler
    return CustomSampler(sampler)


@callback(c.rlhf_text_fn)
def _on_text(key: Optional[int], sequence_id: int, text: Any, size: int) -> int:
    call, function = current_call(), registry.get(key)
    try:
        if call.raised is None and function is not None:
            piece = ctypes.string_at(text, size).decode("utf-8", "replace")
            return int(bool(function(sequence_id, piece)))
    except BaseException as error:
        call.note(error)
        if call.name == "rlhf_generator_run":  # looks once more before it ends, a step does not
            call.cancel()
    return 0


class Generation:
    """An answer, and the log-probabilities of its tokens: copies, since the generator's memory
    holds the keys and values of all its sequences."""

    def __init__(self, raw: Any, tokenizer: Optional[Tokenizer]) -> None:
        self._tokenizer = tokenizer
        self.sequence_id: int = raw.sequence_id
        self.tokens: Ids = copied(raw.tokens, raw.num_tokens)
        """The prompt, then the answer."""
        self.num_prompt: int = raw.num_prompt
        """Tokens of the prompt."""
        self.logprobs: Floats = copied(raw.logprobs, raw.num_tokens - raw.num_prompt)
        """Of the answer's tokens, nats, over the whole vocabulary."""
        self.finish = c.Finish(raw.finish)
        """How it ended."""

    @property
    def prompt(self) -> Ids:
        """The prompt's tokens."""
        return self.tokens[:self.num_prompt]

    @property
    def answer(self) -> Ids:
        """The answer's tokens, a stop token included."""
        return self.tokens[self.num_prompt:]

    @property
    def text(self) -> str:
        """The answer as text, without special tokens; needs a tokenizer given to `generate`."""
        if self._tokenizer is None:
            raise ValueError("no tokenizer was given: generate(..., tokenizer=...)")
        return answer_text(self._tokenizer, self.answer)

    def __repr__(self) -> str:
        return (f"Generation(sequence_id={self.sequence_id}, {self.num_prompt} + "
                f"{len(self.answer)} tokens, {self.finish.name.lower()})")


class Generator(Handle):
    """Prompts that are being answered, each with its keys and values: start, then step or run.
    `Model.generate` is the short form."""

    _type = c.rlhf_generator
    _free = "rlhf_generator_free"

    @_options.documents("rlhf_generator_options")
    def __init__(self, model: "Model", sampler: SamplerLike = None,
                 **options: Unpack[c.GeneratorOptions]) -> None:
        """As for `Model.generate`."""
        from ._model import Model
        context = expect("model", model, Model).context
        given: Dict[str, Any] = dict(options)
        given.setdefault("seed", seed_of(context, None))
        plain, callbacks = _options.split_callbacks("rlhf_generator_options", given)
        filled = _options.fill("rlhf_generator_options", plain,
                               more=["text", "sampler", "sequence_ids"])
        self._tokenizer: Optional[Tokenizer] = given.get("tokenizer")
        self._text = 0
        if callbacks.get("text") is not None:
            self._text = registry.add(callbacks["text"])
            filled.text, filled.text_user_data = _on_text, self._text
        self._make(context, "rlhf_generator_create", model, as_sampler(sampler),
                   ctypes.byref(filled))

    def _give_back(self) -> None:
        super()._give_back()
        registry.remove(self._text)

    def start(self, prompts: Batch, sequence_ids: Optional[Sequence[int]] = None) -> None:
        """Takes a batch of prompts and forgets the one before."""
        batch = ragged(prompts)
        numbers = None if sequence_ids is None else np.ascontiguousarray(sequence_ids, np.int64)
        if numbers is not None and numbers.shape != (len(batch),):
            raise ValueError(f"{len(batch)} prompts need as many sequence_ids, got "
                             f"{numbers.size}")
        ask(self._context, "rlhf_generator_start", self, *batch.arguments(),
            None if numbers is None else int64s(numbers))

    def step(self) -> int:
        """Decodes one position of every sequence that goes on; how many still do."""
        active = ctypes.c_int64()
        invoke(self._context, "rlhf_generator_step", self, ctypes.byref(active))
        return active.value

    def run(self) -> None:
        """Steps until all have ended. After an interruption the same call goes on, to the same
        answers."""
        invoke(self._context, "rlhf_generator_run", self)

    def __len__(self) -> int:
        return int(value("rlhf_generator_num_sequences", self))

    def _get(self, index: int) -> Generation:
        raw = _options.output(c.rlhf_generation)
        ask(None, "rlhf_generator_get", self, index, ctypes.byref(raw))
        return Generation(raw, self._tokenizer)

    def __getitem__(self, index: int) -> Generation:
        """A sequence as far as it has come, copied."""
        if index < 0:
            index += len(self)
        if not 0 <= index < len(self):
            raise IndexError(f"there are {len(self)} sequences")
        return self._get(index)

    def results(self) -> List[Generation]:
        """All sequences as far as they have come, copied."""
        return [self._get(i) for i in range(len(self))]
