"""Contexts: threads, memory, kernels, log."""
from __future__ import annotations

import ctypes
import threading
import weakref
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Optional, Union, cast

from . import _bindings as c
from . import _options
from ._core import Handle, ask, callback, contexts, current_call, expect, registry, value
from ._library import lib

if TYPE_CHECKING:
    from typing_extensions import Unpack

Log = Callable[[c.LogLevel, str], Any]
Progress = Callable[[str, int, int], Any]

_made: List["weakref.ref[Context]"] = []  # the open ones, in the order in which they were made
_made_guard = threading.Lock()


class _Hooks:
    """The callbacks of one context."""

    def __init__(self, log: Optional[Log], progress: Optional[Progress]) -> None:
        self.log = log
        self.progress = progress


@callback(c.rlhf_log_fn)
def _on_log(key: Optional[int], level: int, message: Any) -> None:
    call, hooks = current_call(), registry.get(key)
    try:
        if hooks is not None and hooks.log is not None and call.raised is None:
            hooks.log(c.LogLevel(level), ctypes.string_at(message).decode("utf-8", "replace"))
    except BaseException as error:
        call.note(error)


@callback(c.rlhf_progress_fn)
def _on_progress(key: Optional[int], stage: Any, done: int, total: int) -> None:
    """Every context has it: it is where handlers of signals run, and where a call is ended."""
    call, hooks = current_call(), registry.get(key)
    try:
        if hooks is not None and hooks.progress is not None and call.raised is None:
            hooks.progress(ctypes.string_at(stage).decode(), done, total)
    except BaseException as error:
        call.note(error)
    # At the end of a stage there is nothing left to end: the library keeps what was done, and a
    # cancellation would end the next call. What was raised there is raised as this one returns, or
    # ends its next stage.
    if call.raised is not None and (done != total or total == 0):
        call.cancel()


class Context(Handle):
    """Threads, memory, kernels and log of all that is made from it.

    Objects that are made without `context=` take that of the object they are made from, or else
    the latest context that the program has made and not closed; one is made where there is none.

    Calls on one context queue. They release the GIL. On the main thread, Ctrl-C ends a call
    within 0.1 seconds (KeyboardInterrupt); the same call then goes on. `log(level, message)` and
    `progress(stage, done, total)` run on the thread that made the call; what they raise is raised
    by it. Of the objects of this context they may use what <rlhf/context.h> lists, a tokenizer's
    encoding and decoding among it; anything else raises BusyError.
    """

    _type = c.rlhf_context
    _free = "rlhf_context_free"

    _key: int
    _turn: Any
    _seed: int

    @_options.documents("rlhf_context_options")
    def __init__(self, *, threads: Optional[int] = None, seed: int = 0,
                 **options: Unpack[c.ContextOptions]) -> None:
        """Makes a context and starts its threads.

        threads: the same as num_threads.
        seed: of what is made from this context and takes a seed, where none is given there.
        """
        given: Dict[str, Any] = dict(options)
        if threads is not None:
            given["threads"] = threads
        plain, callbacks = _options.split_callbacks("rlhf_context_options", given)
        filled = _options.fill("rlhf_context_options", plain, aliases={"threads": "num_threads"},
                               more=["seed", "log", "progress"])
        hooks = _Hooks(callbacks.get("log"), callbacks.get("progress"))
        self._key = registry.add(hooks)
        weakref.finalize(self, registry.remove, self._key)
        if hooks.log is not None:
            filled.log = _on_log
        filled.progress = _on_progress
        filled.log_user_data = filled.progress_user_data = self._key
        self._turn = threading.RLock()
        self._seed = _options.integer("seed", seed, ctypes.c_uint64)
        self._make(None, "rlhf_context_create", ctypes.byref(filled))
        contexts.add(self)
        with _made_guard:
            _made.append(weakref.ref(self))

    @property
    def seed(self) -> int:
        """The seed of what is made from this context, where none is given."""
        return self._seed

    @property
    def num_threads(self) -> int:
        """Threads that work in a call, the caller's among them."""
        return int(value("rlhf_context_num_threads", self))

    @property
    def cpu_level(self) -> c.CPULevel:
        """The kernel level in use."""
        return c.CPULevel(value("rlhf_context_cpu_level", self))

    @property
    def dtype(self) -> c.Dtype:
        """The compute dtype."""
        return c.Dtype(value("rlhf_context_dtype", self))

    def cancel(self) -> None:
        """Asks the call that runs, or the next one that looks, to stop: it raises
        CancelledError, and the same call goes on. From any thread, and from callbacks."""
        lib.rlhf_context_cancel(self._open_pointer)

    def memory(self) -> Dict[str, Union[int, Dict[str, int]]]:
        """Bytes held now and at most: "now" and "peak" by kind, "total_now", "total_peak", and
        the number of "allocations"."""
        info = _options.output(c.rlhf_memory_info)
        ask(None, "rlhf_context_memory", self, ctypes.byref(info))
        kinds = [kind for kind in c.MemoryKind if kind is not c.MemoryKind.KIND_COUNT]
        return {"now": {kind.name.lower(): info.now[kind] for kind in kinds},
                "peak": {kind.name.lower(): info.peak[kind] for kind in kinds},
                "total_now": info.total_now, "total_peak": info.total_peak,
                "allocations": info.allocations}

    def __repr__(self) -> str:
        return "Context(closed)" if self.closed else \
            f"Context(num_threads={self.num_threads}, cpu_level={self.cpu_level.name.lower()})"


_default: Optional[Context] = None


def current(*given: Optional[Context]) -> Context:
    """The first context that is given, or the latest that is open, or one of our own."""
    global _default
    for context in given:
        if context is not None:
            return cast(Context, expect("context", context, Context))
    with _made_guard:
        alive = [(reference, reference()) for reference in _made]
        _made[:] = [reference for reference, context in alive
                    if context is not None and not context.closed]
        for _, latest in reversed(alive):
            if latest is not None and not latest.closed:
                return latest
    _default = Context()
    return _default


def seed_of(context: Context, seed: Optional[int]) -> int:
    return context.seed if seed is None else _options.integer("seed", seed, ctypes.c_uint64)
