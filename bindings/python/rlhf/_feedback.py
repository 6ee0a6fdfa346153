"""Human feedback: pairs of answers, and which of two a person prefers."""
from __future__ import annotations

import ctypes
from typing import (TYPE_CHECKING, Any, Dict, Iterable, List, Mapping, NamedTuple, Optional,
                    Tuple, Union)

from . import _bindings as c
from . import _options
from ._arrays import Ids, IdsLike, copied, ids, int32s
from ._context import Context, current, seed_of
from ._core import Handle, invoke
from ._dataset import Dataset
from ._errors import InvalidArgumentError, NotFoundError
from ._tokenizer import Path, Text, path_bytes, to_bytes

if TYPE_CHECKING:
    from typing_extensions import Unpack


class Comparison(NamedTuple):
    """A prompt and two answers."""

    id: int
    prompt: str
    answers: Tuple[str, str]
    prompt_ids: Ids
    answer_ids: Tuple[Ids, Ids]
    order: int
    """0: answer 0 is displayed first; 1: answer 1."""
    choice: c.Choice
    preferred: Optional[int]
    """The answer chosen, 0 or 1; None: none."""

    @property
    def displayed(self) -> Tuple[str, str]:
        """The answers in the order in which they are to be shown."""
        return self.answers if self.order == 0 else (self.answers[1], self.answers[0])


class FeedbackInfo(NamedTuple):
    """Counts."""

    num_comparisons: int
    num_pending: int
    """Without a choice."""
    num_chosen: int
    """First or second."""
    num_ties: int
    num_skipped: int


def _read(raw: Any) -> Comparison:
    texts = [(text or b"").decode("utf-8", "replace")
             for text in (raw.prompt_text, *raw.answer_text)]
    return Comparison(
        raw.id, texts[0], (texts[1], texts[2]), copied(raw.prompt_ids, raw.num_prompt),
        (copied(raw.answer_ids[0], raw.num_answer[0]),
         copied(raw.answer_ids[1], raw.num_answer[1])),
        raw.order, c.Choice(raw.choice), None if raw.preferred < 0 else raw.preferred)


_ADDED = ("prompt", "answers", "prompt_ids", "answer_ids")


def _pair(values: Any, what: str) -> Tuple[Any, Any]:
    if isinstance(values, (str, bytes)) or len(values) != 2:
        raise InvalidArgumentError(f"{what} must be two", status=c.Status.ERR_INVALID_ARG,
                                   field=what)
    return values[0], values[1]


def _fill(raw: Any, row: Mapping[str, Any]) -> List[Any]:
    """Sets an rlhf_comparison; what it points to must live as long as the returned list."""
    for name in row:
        if name not in _ADDED:
            raise _options.unknown(name, _ADDED)
    kept: List[Any] = [ids(row.get("prompt_ids", ()), "prompt_ids")]
    raw.struct_size = ctypes.sizeof(raw)
    raw.prompt_ids, raw.num_prompt = int32s(kept[0]), len(kept[0])
    raw.prompt_text = to_bytes(row.get("prompt", ""))
    for i, text in enumerate(_pair(row.get("answers", ("", "")), "answers")):
        raw.answer_text[i] = to_bytes(text)
    for i, tokens in enumerate(_pair(row.get("answer_ids", ((), ())), "answer_ids")):
        array = ids(tokens, "answer_ids")
        raw.answer_ids[i] = int32s(array)
        raw.num_answer[i] = len(array)
        kept.append(array)
    return kept


class Feedback(Handle):
    """A durable store of comparisons, an SQLite file. Every change is on disk when the call
    returns, whole or not at all."""

    _type = c.rlhf_feedback
    _free = "rlhf_feedback_free"

    def __init__(self, path: Path, *, seed: Optional[int] = None,
                 context: Optional[Context] = None) -> None:
        """Opens the store, making it if it is not there.

        seed: of the display order of comparisons added through this object; None: the context's.
        """
        context = current(context)
        self._make(context, "rlhf_feedback_open", context, path_bytes(path),
                   seed_of(context, seed))

    def add(self, *, prompt: Text = "", answers: Tuple[Text, Text] = ("", ""),
            prompt_ids: IdsLike = (), answer_ids: Tuple[IdsLike, IdsLike] = ((), ())) -> int:
        """Adds a pair to be compared, as texts, ids or both; its id. ExistsError: both answers
        are the same."""
        raw, number = c.rlhf_comparison(), ctypes.c_int64()
        kept = _fill(raw, {"prompt": prompt, "answers": answers, "prompt_ids": prompt_ids,
                           "answer_ids": answer_ids})
        invoke(self._context, "rlhf_feedback_add", self, ctypes.byref(raw), ctypes.byref(number))
        del kept
        return number.value

    def add_many(self, pairs: Iterable[Mapping[str, Any]]) -> int:
        """Adds many pairs, dictionaries of what `add` takes: all, or none on failure. How many
        had equal answers and are left out."""
        rows = list(pairs)
        raws, skipped = (c.rlhf_comparison * len(rows))(), ctypes.c_int64()
        kept = [_fill(raw, row) for raw, row in zip(raws, rows)]
        invoke(self._context, "rlhf_feedback_add_many", self, raws, len(rows),
               ctypes.byref(skipped))
        del kept
        return skipped.value

    def _one(self, name: str, *arguments: Any) -> Comparison:
        raw = _options.output(c.rlhf_comparison)
        invoke(self._context, name, self, *arguments, ctypes.byref(raw))
        return _read(raw)

    def next(self) -> Optional[Comparison]:
        """The comparison of the lowest id that has no choice; None: none is left."""
        try:
            return self._one("rlhf_feedback_next")
        except NotFoundError:
            return None

    def get(self, id: int) -> Comparison:
        """A comparison by its id."""
        return self._one("rlhf_feedback_get", id)

    def choose(self, id: int, choice: Union[str, c.Choice]) -> None:
        """Records a choice in terms of the display: "first", "second", "tie" or "skip"."""
        if isinstance(choice, str):
            known = {kind.name.lower(): kind for kind in c.Choice}
            if choice not in known:
                raise InvalidArgumentError(
                    f"choice must be one of first, second, skip, tie, got '{choice}'",
                    status=c.Status.ERR_INVALID_ARG, field="choice")
            choice = known[choice]
        invoke(self._context, "rlhf_feedback_choose", self, id, int(choice))

    def undo(self) -> int:
        """Takes the last choice back; the id of the comparison that is without one again."""
        number = ctypes.c_int64()
        invoke(self._context, "rlhf_feedback_undo", self, ctypes.byref(number))
        return number.value

    @property
    def info(self) -> FeedbackInfo:
        """Counts of comparisons and choices."""
        info = _options.output(c.rlhf_feedback_info)
        invoke(self._context, "rlhf_feedback_get_info", self, ctypes.byref(info))
        return FeedbackInfo(**_options.figures(info))

    def export(self, path: Path) -> None:
        """Writes the choices as JSONL: prompt, chosen, rejected, and their ids."""
        invoke(self._context, "rlhf_feedback_export", self, path_bytes(path))

    @_options.documents("rlhf_dataset_options", leave_out=["kind", "add_bos", "add_eos"])
    def dataset(self, **options: Unpack[c.DatasetOptions]) -> Dataset:
        """The choices as a preference dataset of ids, independent of the store."""
        given: Dict[str, Any] = dict(options)
        given.setdefault("seed", seed_of(current(self._context), None))
        filled = _options.fill("rlhf_dataset_options", given)
        dataset = Dataset.__new__(Dataset)
        dataset._make(self._context, "rlhf_feedback_dataset", self, ctypes.byref(filled))
        return dataset
