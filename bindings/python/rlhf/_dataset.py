"""Training data."""
from __future__ import annotations

import ctypes
import json
import os
import tempfile
from typing import (TYPE_CHECKING, Any, Callable, Dict, Iterable, Iterator, Mapping, NamedTuple,
                    Optional, Tuple, Union)

import numpy as np

from . import _bindings as c
from . import _options
from ._arrays import Ids, IdsLike, copied, ids, int32s
from ._context import Context, current, seed_of
from ._core import Handle, ask, callback, current_call, expect, guarded, invoke, registry
from ._errors import Error
from ._tokenizer import Path, Tokenizer, path_bytes

if TYPE_CHECKING:
    from typing_extensions import Unpack


class Example(NamedTuple):
    """One row of ids."""

    tokens: Ids
    """Prompt + completion, prompt + chosen, the prompt, or the text."""
    prompt_length: int
    """Leading tokens that are the prompt; 0 for a text."""
    rejected: Optional[Ids]
    """The same prompt + rejected; None unless a preference."""
    margin: float
    """Of the preference loss."""
    id: int
    """Row number in its dataset, or the source's."""

    @property
    def prompt(self) -> Ids:
        """The prompt's tokens."""
        return self.tokens[:self.prompt_length]


class DatasetInfo(NamedTuple):
    """What became of a dataset's rows."""

    kind: c.DatasetKind
    num_rows: int
    """Rows kept (blocks, of texts); -1: a source's."""
    num_tokens: int
    """Tokens of the rows kept; both sides of pairs."""
    num_read: int
    """Rows in the file, or appended; a text file is one."""
    num_truncated: int
    """Rows kept that lost tokens."""
    num_overlong_dropped: int
    """Rows dropped for their length."""
    num_identical_dropped: int
    """chosen == rejected, also after truncation."""
    num_empty_dropped: int
    """Empty text, answer or prompt; a text of one token."""


def _example(raw: Any) -> Example:
    rejected = copied(raw.rejected, raw.num_rejected) if raw.rejected else None
    return Example(copied(raw.tokens, raw.num_tokens), raw.prompt_length, rejected, raw.margin,
                   raw.id)


Row = Union[Example, Mapping[str, Any]]


def _fill(raw: Any, row: Row) -> Tuple[Any, ...]:
    """Sets an rlhf_example; what it points to must live as long as the returned arrays."""
    given: Mapping[str, Any] = row._asdict() if isinstance(row, Example) else row
    for name in given:
        if name not in Example._fields:
            raise _options.unknown(name, Example._fields)
    tokens = ids(given["tokens"], "tokens")
    rejected = given.get("rejected")
    raw.tokens, raw.num_tokens = int32s(tokens), len(tokens)
    raw.prompt_length = given.get("prompt_length", 0)
    raw.margin = given.get("margin", 0.0)
    raw.id = given.get("id", 0)
    raw.rejected, raw.num_rejected = None, 0
    if rejected is None:
        return (tokens,)
    other = ids(rejected, "rejected")
    raw.rejected, raw.num_rejected = int32s(other), len(other)
    return tokens, other


# ---- sources ----------------------------------------------------------------------------

class _Source:
    """A Python source behind the library's table of functions."""

    def __init__(self, rows: Iterator[Row], save: Optional[Callable[[], bytes]],
                 restore: Optional[Callable[[bytes], Any]]) -> None:
        self.rows, self.save, self.restore = rows, save, restore
        self.kept: Tuple[Any, ...] = ()  # the arrays of the row handed out last


_SLOTS: Dict[str, Any] = {name: kind for name, kind, *_ in c.rlhf_source_ops._fields_}


def _save(source: _Source, out: Any, capacity: int, out_size: Any) -> None:
    assert source.save is not None
    data = source.save()
    if len(data) > capacity:
        raise ValueError(f"a position of {len(data)} bytes, {capacity} at most")
    ctypes.memmove(out, data, len(data))
    out_size[0] = len(data)


def _restore(source: _Source, data: Any, size: int) -> None:
    assert source.restore is not None
    result = source.restore(ctypes.string_at(data, size))
    if result is not None:  # a fresh iterator
        source.rows = iter(result)


@callback(_SLOTS["next"])
def _on_next(key: Optional[int], out: Any) -> int:
    source = registry.get(key)
    call = current_call()
    try:
        if call.raised is None:
            source.kept = _fill(out.contents, next(source.rows))
    except StopIteration:
        return int(c.Status.ERR_NOT_FOUND)
    except BaseException as error:
        call.note(error)
    return int(c.Status.OK if call.raised is None else c.Status.ERR_CALLBACK)


@callback(_SLOTS["save"])
def _on_save(key: Optional[int], out: Any, capacity: int, out_size: Any) -> int:
    return guarded(_save, registry.get(key), out, capacity, out_size)


@callback(_SLOTS["restore"])
def _on_restore(key: Optional[int], data: Any, size: int) -> int:
    return guarded(_restore, registry.get(key), data, size)


@callback(_SLOTS["destroy"])
def _on_destroy(key: Optional[int]) -> None:
    registry.remove(key)


# ---- datasets ---------------------------------------------------------------------------

class Dataset(Handle):
    """Rows, and a place in the order in which they are drawn.

    Those in memory (all but `from_source`) have a length and are read by row number; trainers
    draw from the stream, which `next`, `rewind` and `position` are of.
    """

    _type = c.rlhf_dataset
    _free = "rlhf_dataset_free"

    @_options.documents("rlhf_dataset_options", leave_out=["add_bos", "add_eos"])
    def __init__(self, *, context: Optional[Context] = None,
                 **options: Unpack[c.DatasetOptions]) -> None:
        """An empty dataset for `append`; ids stay as they are."""
        context = current(context)
        filled = self._filled(context, options)
        self._make(context, "rlhf_dataset_create", context, ctypes.byref(filled))

    @staticmethod
    def _filled(context: Context, options: Mapping[str, Any]) -> Any:
        given = dict(options)
        given.setdefault("seed", seed_of(context, None))
        return _options.fill("rlhf_dataset_options", given)

    @classmethod
    @_options.documents("rlhf_dataset_options")
    def load(cls, path: Path, tokenizer: Tokenizer, *, context: Optional[Context] = None,
             **options: Unpack[c.DatasetOptions]) -> "Dataset":
        """Reads a file: JSONL with TRL's fields (text; prompt, completion; prompt, chosen,
        rejected; prompt alone), or plain text, which is cut into blocks."""
        context = current(context, expect("tokenizer", tokenizer, Tokenizer)._context)
        filled = cls._filled(context, options)
        self = cls.__new__(cls)
        self._make(context, "rlhf_dataset_load", context, tokenizer, path_bytes(path),
                   ctypes.byref(filled))
        return self

    @classmethod
    @_options.documents("rlhf_dataset_options")
    def from_list(cls, rows: Iterable[Mapping[str, Any]], tokenizer: Tokenizer, *,
                  context: Optional[Context] = None, **options: Unpack[c.DatasetOptions]
                  ) -> "Dataset":
        """Dictionaries with the fields of a JSONL file, under the very rules of `load` (they are
        written to a temporary file and read from it)."""
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "rows.jsonl")
            with open(path, "w", encoding="utf-8") as file:
                for number, row in enumerate(rows):
                    if not isinstance(row, Mapping):
                        raise TypeError(f"rows[{number}] must be a dictionary, got {row!r}")
                    plain = {k: v.tolist() if isinstance(v, np.ndarray) else v
                             for k, v in row.items()}
                    file.write(json.dumps(plain, ensure_ascii=False) + "\n")
            try:
                return cls.load(path, tokenizer, context=context, **options)
            except Error as error:
                if error.file == path:  # of which the caller knows nothing: the row's number
                    error.file, row_name = "", f"rows[{error.line - 1}]"
                    error.message = error.message.replace(f"{path}:{error.line}", row_name)
                raise

    @classmethod
    def from_source(cls, rows: Iterable[Row], kind: Union[str, c.DatasetKind], *,
                    context: Optional[Context] = None, save: Optional[Callable[[], bytes]] = None,
                    restore: Optional[Callable[[bytes], Any]] = None) -> "Dataset":
        """A dataset that draws from an iterable of `Example`, or of dictionaries of its fields.

        save() and restore(bytes): the position, so that a trainer can be saved and resumed.
            restore may return an iterable that goes on from there.
        """
        context = current(context)
        key = registry.add(_Source(iter(rows), save, restore))
        ops = _options.output(c.rlhf_source_ops)
        ops.next, ops.destroy = _on_next, _on_destroy
        if save is not None:
            ops.save = _on_save
        if restore is not None:
            ops.restore = _on_restore
        wanted = c.rlhf_dataset_options()
        self = cls.__new__(cls)
        try:
            field = next(f for f in _options.fields("rlhf_dataset_options") if f.name == "kind")
            _options._set(wanted, field, kind)
            self._make(context, "rlhf_dataset_create_from_source", context, wanted.kind,
                       ctypes.byref(ops), key)
        except BaseException:
            registry.remove(key)
            raise
        return self

    def append(self, tokens: IdsLike, *, prompt_length: int = 0,
               rejected: Optional[IdsLike] = None, margin: float = 0.0) -> None:
        """Adds a row of ids, under the same rules as a file's: one that is empty, identical or
        too long is counted and dropped, or truncated; a text is cut into blocks."""
        raw = _options.output(c.rlhf_example)
        kept = _fill(raw, {"tokens": tokens, "prompt_length": prompt_length, "margin": margin,
                           "rejected": rejected})
        ask(self._context, "rlhf_dataset_append", self, ctypes.byref(raw))
        del kept

    def split(self, held_out: int, seed: Optional[int] = None) -> "Tuple[Dataset, Dataset]":
        """(train, held out): two new datasets by a seeded draw; this one stays as it was."""
        context = current(self._context)
        kind = ctypes.POINTER(c.rlhf_dataset)
        first, second = kind(), kind()
        try:
            invoke(context, "rlhf_dataset_split", self, held_out, seed_of(context, seed),
                   ctypes.byref(first), ctypes.byref(second))
        finally:
            train = Dataset._wrap(first if first else None, context)
            rest = Dataset._wrap(second if second else None, context)
        return train, rest

    @property
    def info(self) -> DatasetInfo:
        """Counts of the rows kept and dropped."""
        info = _options.output(c.rlhf_dataset_info)
        ask(self._context, "rlhf_dataset_get_info", self, ctypes.byref(info))
        figures: Dict[str, Any] = _options.figures(info)
        figures["kind"] = c.DatasetKind(figures["kind"])
        return DatasetInfo(**figures)

    def __len__(self) -> int:
        return max(self.info.num_rows, 0)

    def __getitem__(self, index: int) -> Example:
        """A row by its number, copied; the stream stays where it is."""
        count = len(self)
        if index < 0:
            index += count
        if not 0 <= index < count:
            raise IndexError(f"there are {count} rows")
        raw = _options.output(c.rlhf_example)
        ask(self._context, "rlhf_dataset_row", self, index, ctypes.byref(raw))
        return _example(raw)

    def next(self) -> Example:
        """The next row of the stream, copied; NotFoundError after the last epoch."""
        raw = _options.output(c.rlhf_example)
        invoke(self._context, "rlhf_dataset_next", self, ctypes.byref(raw))
        return _example(raw)

    def rewind(self) -> None:
        """Back to the first row of the first epoch."""
        ask(self._context, "rlhf_dataset_rewind", self)

    @property
    def position(self) -> bytes:
        """The stream's position; to be set on a dataset of the same rows, seed and shuffling,
        also in another process."""
        buffer = ctypes.create_string_buffer(c.RLHF_SOURCE_POSITION_MAX)
        size = ctypes.c_size_t()
        invoke(self._context, "rlhf_dataset_save_position", self, buffer, len(buffer),
               ctypes.byref(size))
        return buffer.raw[:size.value]

    @position.setter
    def position(self, data: bytes) -> None:
        invoke(self._context, "rlhf_dataset_restore_position", self, data, len(data))

    def prompts(self) -> "list[Ids]":
        """The prompts of all rows, in the order of the file: what generators and PPO take."""
        return [row.prompt if row.prompt_length else row.tokens for row in self]

    def __iter__(self) -> Iterator[Example]:
        for index in range(len(self)):
            yield self[index]

    def __repr__(self) -> str:
        if self.closed:
            return "Dataset(closed)"
        info = self.info
        return f"Dataset({info.kind.name.lower()}, {info.num_rows} rows)"
