"""Language models."""
from __future__ import annotations

import ctypes
from typing import (TYPE_CHECKING, Any, ClassVar, Dict, List, Optional, Sequence, Tuple, TypeVar)

import numpy as np
from numpy.typing import ArrayLike

from . import _bindings as c
from . import _options
from ._arrays import Batch, Floats, float32s, floats, ragged
from ._context import Context, current, seed_of
from ._core import Handle, ask, invoke, value
from ._tokenizer import Path, path_bytes

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ._generate import Generation, SamplerLike

NetworkType = TypeVar("NetworkType", bound="Network")


class Network(Handle):
    """What language models and reward models share: a folder, a config, parameters by name."""

    _prefix: ClassVar[str]

    @classmethod
    def load(cls: "type[NetworkType]", path: Path, *, context: Optional[Context] = None
             ) -> NetworkType:
        """Reads a Hugging Face folder: config.json, and model.safetensors or its shards."""
        self = cls.__new__(cls)
        context = current(context)
        self._make(context, f"{cls._prefix}_load", context, path_bytes(path))
        return self

    def save(self, path: Path) -> None:
        """Writes a Hugging Face folder, whole or not at all; files in it that are not a model's
        (a tokenizer) are kept."""
        invoke(self._context, f"{self._prefix}_save", self, path_bytes(path))

    def clone(self: NetworkType) -> NetworkType:
        """A deep copy on the same context."""
        other = type(self).__new__(type(self))
        other._make(self._context, f"{self._prefix}_clone", self)
        return other

    @property
    def context(self) -> Context:
        """The context that it belongs to."""
        return current(self._context)

    @property
    def config(self) -> Dict[str, Any]:
        """The network's config, every field resolved and every layer listed. Its values are what
        `Model` takes."""
        config = _options.output(c.rlhf_model_config)
        ask(None, f"{self._prefix}_get_config", self, ctypes.byref(config))
        return _options.to_dict("rlhf_model_config", config)

    @property
    def num_parameters(self) -> int:
        """Values in all named parameters, tied ones once."""
        return int(value(f"{self._prefix}_num_parameters", self))

    def parameters(self) -> Dict[str, Tuple[int, int]]:
        """(rows, columns) of each parameter by its name, Hugging Face's; a vector is one row."""
        shapes: Dict[str, Tuple[int, int]] = {}
        info = _options.output(c.rlhf_parameter_info)
        for index in range(value(f"{self._prefix}_num_parameter_names", self)):
            ask(None, f"{self._prefix}_parameter_info", self, index, ctypes.byref(info))
            shapes[info.name.decode()] = (info.rows, info.cols)
        return shapes

    def read_parameter(self, name: str) -> Floats:
        """A copy of a parameter, float32[rows][columns]."""
        out = np.empty(self.parameters().get(name, (0, 0)), np.float32)
        invoke(self._context, f"{self._prefix}_parameter_read", self, name.encode(),
               float32s(out), out.size)
        return out

    def write_parameter(self, name: str, values: ArrayLike) -> None:
        """Replaces a parameter, between the steps of a trainer too, which goes on from it."""
        array = floats(values)
        invoke(self._context, f"{self._prefix}_parameter_write", self, name.encode(),
               float32s(array), array.size)

    def freeze(self) -> None:
        """Makes it read-only for good, in less memory: half in a bf16 context, without the packed
        copies that decoding makes in fp32. What it computes stays the same, to the bit. It can be
        read, saved and cloned, in bf16 with rounded matrices; a clone is not frozen."""
        invoke(self._context, f"{self._prefix}_freeze", self)

    def __repr__(self) -> str:
        name = type(self).__name__
        return f"{name}(closed)" if self.closed else f"{name}({self.num_parameters} parameters)"


class Model(Network):
    """A language model: a decoder-only transformer and its weights."""

    _type = c.rlhf_model
    _free = "rlhf_model_free"
    _prefix = "rlhf_model"

    @_options.documents("rlhf_model_config")
    def __init__(self, *, context: Optional[Context] = None, seed: Optional[int] = None,
                 **config: Unpack[c.ModelConfig]) -> None:
        """A fresh model with GPT-2's published initialisation. `Model.load` reads one.

        seed: same seed, same weights; None: the context's.
        """
        filled = _options.fill("rlhf_model_config", config, more=["seed"])
        context = current(context)
        self._make(context, "rlhf_model_create", context, ctypes.byref(filled),
                   seed_of(context, seed))

    def logits(self, sequences: Batch) -> List[Floats]:
        """Logits of the next token after every token: float32[tokens][vocabulary] for each
        sequence, views of one array. A sequence's are the same bits in any batch."""
        batch = ragged(sequences)
        vocabulary = self.config["vocab_size"]
        out = np.empty((len(batch.tokens), vocabulary), np.float32)
        invoke(self._context, "rlhf_model_logits", self, *batch.arguments(), float32s(out))
        return batch.cut(out)

    def logprobs(self, sequences: Batch, temperature: float = 1.0) -> List[Floats]:
        """Log-probability of each token given those before it, in nats: float32[tokens] for each
        sequence, its first 0. Equal, bit for bit, to what `generate` records."""
        batch = ragged(sequences)
        out = np.empty(len(batch.tokens), np.float32)
        invoke(self._context, "rlhf_model_logprobs", self, *batch.arguments(), temperature,
               float32s(out))
        return batch.cut(out)

    @_options.documents("rlhf_generator_options")
    def generate(self, prompts: Batch, *, sampler: "SamplerLike" = None,
                 sequence_ids: Optional[Sequence[int]] = None,
                 **options: Unpack[c.GeneratorOptions]) -> "List[Generation]":
        """Answers to prompts of token ids.

        An answer depends on its prompt, its sequence id and the seed only: the same call gives
        the same answers, another seed or other sequence ids give others.

        sampler: `Greedy`, `Temperature`, or a function of logits and a `SampleInfo` that returns
            a token. None: softmax at temperature 1.
        sequence_ids: of each prompt; None: 0, 1, 2, ….
        text(sequence_id, piece): called with new text, needs a tokenizer; True ends the sequence.
        """
        from ._generate import Generator
        with Generator(self, sampler, **options) as generator:
            generator.start(prompts, sequence_ids)
            generator.run()
            results: List[Generation] = generator.results()
            return results
