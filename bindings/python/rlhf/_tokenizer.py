"""Text and token ids."""
from __future__ import annotations

import ctypes
import os
from typing import TYPE_CHECKING, Any, Dict, Iterable, Optional, Union

import numpy as np

from . import _bindings as c
from . import _options
from ._arrays import Ids, IdsLike, ids, int32s
from ._context import Context, current
from ._core import Handle, ask, invoke, value

if TYPE_CHECKING:
    from typing_extensions import Unpack

Path = Union[str, "os.PathLike[str]"]
Text = Union[str, bytes]


def path_bytes(path: Path) -> bytes:
    try:
        return os.fsencode(path)
    except TypeError:
        raise TypeError(f"path must be a str or an os.PathLike, got {path!r}") from None


def to_bytes(text: Text) -> bytes:
    """Bytes that are no UTF-8 survive in a str as os.fsdecode writes them."""
    if not isinstance(text, (str, bytes)):
        raise TypeError(f"a text must be a str or bytes, got {text!r}")
    return text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape")


class Tokenizer(Handle):
    """A byte-pair tokenizer: a vocabulary and the rules by which text becomes ids of it.

    It never changes; any number of threads may encode and decode by it at once.
    """

    _type = c.rlhf_tokenizer
    _free = "rlhf_tokenizer_free"

    def __init__(self) -> None:
        raise TypeError("Tokenizer.load reads one, Tokenizer.train learns one")

    @classmethod
    def load(cls, path: Path, *, context: Optional[Context] = None) -> "Tokenizer":
        """Reads tokenizer.json of a folder (and tokenizer_config.json beside it), or a file."""
        self = cls.__new__(cls)
        context = current(context)
        self._make(context, "rlhf_tokenizer_load", context, path_bytes(path))
        return self

    @classmethod
    @_options.documents("rlhf_tokenizer_train_options")
    def train(cls, texts: Union[Text, Iterable[Text]], *, context: Optional[Context] = None,
              **options: Unpack[c.TokenizerTrainOptions]) -> "Tokenizer":
        """Learns a byte-level BPE from texts; no token spans two of them."""
        given: Dict[str, Any] = dict(options)
        if "special_tokens" in given:  # the defaults are among the default special tokens
            for name in ("bos_token", "eos_token"):
                given.setdefault(name, None)
        filled = _options.fill("rlhf_tokenizer_train_options", given)
        pieces = [to_bytes(t) for t in ([texts] if isinstance(texts, (str, bytes)) else texts)]
        pointers = (ctypes.c_char_p * len(pieces))(*pieces)
        sizes = (ctypes.c_size_t * len(pieces))(*(len(piece) for piece in pieces))
        self = cls.__new__(cls)
        context = current(context)
        self._make(context, "rlhf_tokenizer_train", context, pointers, sizes, len(pieces),
                   ctypes.byref(filled))
        return self

    def save(self, path: Path) -> None:
        """Writes tokenizer.json and tokenizer_config.json into a folder."""
        invoke(self._context, "rlhf_tokenizer_save", self, path_bytes(path))

    def encode(self, text: Text, *, parse_special: bool = False, add_bos: bool = False,
               add_eos: bool = False) -> Ids:
        """Text to ids, an int32 array.

        parse_special: special tokens that are written out in the text become their ids.
        add_bos, add_eos: one such token before, or behind, where the tokenizer has one.
        """
        data = to_bytes(text)
        count = ctypes.c_int64()
        first = int(add_bos and self.bos_id >= 0)
        buffer = np.empty(len(data) + 3, np.int32)
        space = len(data) + 1  # no byte-level tokenizer needs more; others are asked
        parse = int(parse_special)
        try:
            ask(None, "rlhf_tokenizer_encode", self, data, len(data), parse,
                int32s(buffer[first:]), space, ctypes.byref(count))
        except Exception:
            if count.value <= space:
                raise
            space = count.value
            buffer = np.empty(space + 2, np.int32)
            ask(None, "rlhf_tokenizer_encode", self, data, len(data), parse,
                int32s(buffer[first:]), space, ctypes.byref(count))
        end = first + count.value
        if first:
            buffer[0] = self.bos_id
        if add_eos and self.eos_id >= 0:
            buffer[end] = self.eos_id
            end += 1
        return buffer[:end].copy() if end < len(buffer) // 2 else buffer[:end]

    def decode_bytes(self, tokens: IdsLike, *, skip_special: bool = False) -> bytes:
        """Ids to the bytes of their text, which may end within a character."""
        array = ids(tokens, "tokens")
        size = ctypes.c_size_t()
        skip = int(skip_special)
        ask(None, "rlhf_tokenizer_decode", self, int32s(array), len(array), skip, None, 0,
            ctypes.byref(size))
        buffer = ctypes.create_string_buffer(size.value + 1)
        ask(None, "rlhf_tokenizer_decode", self, int32s(array), len(array), skip, buffer,
            size.value + 1, ctypes.byref(size))
        return buffer.raw[:size.value]

    def decode(self, tokens: IdsLike, *, skip_special: bool = False) -> str:
        """Ids to text; bytes that are no UTF-8 become U+FFFD."""
        return self.decode_bytes(tokens, skip_special=skip_special).decode("utf-8", "replace")

    def stream(self, *, skip_special: bool = False) -> "TextStream":
        """Decodes ids one by one."""
        return TextStream(self, skip_special=skip_special)

    def token_id(self, token: str) -> Optional[int]:
        """A token's id by its text as in tokenizer.json, None if there is none."""
        found = int(value("rlhf_tokenizer_token_id", self, to_bytes(token)))
        return None if found < 0 else found

    @property
    def vocab_size(self) -> int:
        """Ids are below this."""
        return int(value("rlhf_tokenizer_vocab_size", self))

    @property
    def bos_id(self) -> int:
        """The token that begins a text, -1 if there is none."""
        return int(value("rlhf_tokenizer_bos_id", self))

    @property
    def eos_id(self) -> int:
        """The token that ends a text, -1 if there is none."""
        return int(value("rlhf_tokenizer_eos_id", self))

    def __len__(self) -> int:
        return self.vocab_size

    def __repr__(self) -> str:
        return "Tokenizer(closed)" if self.closed else f"Tokenizer(vocab_size={self.vocab_size})"


class TextStream(Handle):
    """Ids that become text one by one; no piece ends within a character."""

    _type = c.rlhf_text_stream
    _free = "rlhf_text_stream_free"

    def __init__(self, tokenizer: Tokenizer, *, skip_special: bool = False) -> None:
        self._make(None, "rlhf_text_stream_create", tokenizer, int(skip_special))

    def push(self, token: int) -> str:
        """Adds an id; "" where there is nothing to give yet."""
        text, size = ctypes.POINTER(ctypes.c_char)(), ctypes.c_size_t()
        ask(None, "rlhf_text_stream_push", self, token,
            ctypes.cast(ctypes.byref(text), ctypes.POINTER(ctypes.c_char_p)), ctypes.byref(size))
        return ctypes.string_at(text, size.value).decode("utf-8", "replace")

    def finish(self) -> str:
        """Ends the text: what was held back comes out, and the stream starts afresh."""
        return self.push(-1)


def answer_text(tokenizer: Tokenizer, tokens: Ids) -> str:
    """An answer's text. Ids beyond the tokenizer's, of a model whose vocabulary is padded, have
    none; an id that it lacks amid its own is an error."""
    return tokenizer.decode(tokens[tokens < tokenizer.vocab_size], skip_special=True)
