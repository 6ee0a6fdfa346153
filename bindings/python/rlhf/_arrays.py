"""Ids, ragged batches, and views of the library's memory."""
from __future__ import annotations

import ctypes
from typing import Any, List, NamedTuple, Sequence, Union

import numpy as np
from numpy.typing import ArrayLike, NDArray

Ids = NDArray[np.int32]
Floats = NDArray[np.float32]
# Token ids: a list, an array, a tensor; or many of them.
IdsLike = Union[Sequence[int], NDArray[Any]]
Batch = Union[Sequence[IdsLike], NDArray[Any]]


def ids(values: IdsLike, what: str = "ids") -> Ids:
    """Ids as a contiguous int32 array; what is one already is not copied."""
    if isinstance(values, (str, bytes)):
        raise TypeError(f"{what} must be token ids, not text: encode it by a Tokenizer")
    array = np.asarray(values)
    if array.size == 0 and array.ndim <= 1:
        return np.empty(0, np.int32)
    if array.ndim != 1:
        raise ValueError(f"{what} must be one sequence of ids, got {array.ndim} dimensions")
    if array.dtype.kind not in "iu":
        raise TypeError(f"{what} must be integers, got {array.dtype}")
    if array.dtype != np.int32:
        if array.max() > 2**31 - 1 or array.min() < -2**31:
            raise ValueError(f"{what} must fit 32 bits")
        array = array.astype(np.int32)
    return np.ascontiguousarray(array)


class Ragged(NamedTuple):
    """Sequences end to end: sequence s is tokens[ends[s]:ends[s + 1]]."""

    tokens: Ids
    ends: NDArray[np.int64]

    def __len__(self) -> int:  # sequences, not fields
        return len(self.ends) - 1

    def arguments(self) -> List[Any]:
        """tokens, cu_seqlens, num_seqs."""
        return [int32s(self.tokens), int64s(self.ends), len(self)]

    def cut(self, values: NDArray[Any]) -> List[NDArray[Any]]:
        """Views of the rows of each sequence."""
        return [values[self.ends[s]:self.ends[s + 1]] for s in range(len(self))]


def ragged(batch: Batch) -> Ragged:
    """A batch end to end. One int32 sequence, or a rectangle of them, is not copied."""
    if isinstance(batch, np.ndarray) and batch.ndim == 2:
        rows, columns = batch.shape
        return Ragged(ids(batch.reshape(-1), "sequences"),
                      np.arange(rows + 1, dtype=np.int64) * columns)
    if isinstance(batch, (str, bytes)) or not hasattr(batch, "__iter__"):
        raise TypeError(f"sequences must be a list of sequences of token ids, got {batch!r}")
    sequences: List[Any] = list(batch)
    if any(np.ndim(row) == 0 and not isinstance(row, str) for row in sequences):
        raise TypeError("sequences must be a list of sequences of token ids: [ids], not ids")
    rows_ids = [ids(row, f"sequence {i}") for i, row in enumerate(sequences)]
    ends = np.zeros(len(rows_ids) + 1, np.int64)
    np.cumsum([len(row) for row in rows_ids], out=ends[1:])
    if len(rows_ids) == 1:
        return Ragged(rows_ids[0], ends)
    return Ragged(np.concatenate(rows_ids) if rows_ids else np.empty(0, np.int32), ends)


def floats(values: ArrayLike) -> Floats:
    """A contiguous float32 array; what is one already is not copied."""
    return np.ascontiguousarray(values, dtype=np.float32)


def int32s(array: NDArray[Any]) -> Any:
    return array.ctypes.data_as(ctypes.POINTER(ctypes.c_int32))


def int64s(array: NDArray[Any]) -> Any:
    return array.ctypes.data_as(ctypes.POINTER(ctypes.c_int64))


def float32s(array: NDArray[Any]) -> Any:
    return array.ctypes.data_as(ctypes.POINTER(ctypes.c_float))


def uint8s(array: NDArray[Any]) -> Any:
    return array.ctypes.data_as(ctypes.POINTER(ctypes.c_uint8))


def copied(pointer: Any, count: int) -> NDArray[Any]:
    """The library's memory, copied: it does not live as long as an array may."""
    out: NDArray[Any] = np.empty(count, np.dtype(pointer._type_))
    if count:
        ctypes.memmove(out.ctypes.data, pointer, out.nbytes)
    return out
