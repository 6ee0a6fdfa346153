"""Calls into the library, handles, and what happens to exceptions raised in the course of a call.

Calls run on the thread that makes them, with the GIL released. What a callback or a signal's
handler raises is kept while C is on the stack, the call is ended, and the exception raised where
the call was made.

Signals: CPython runs handlers on the main thread, between two of its instructions; in a long call
those are the ones of our progress callback, which every context has and which comes every 50 ms. A
handler's exception would be lost there, before any `except` of ours. So while such a call runs on
the main thread, handlers are wrapped in one that keeps it.
"""
from __future__ import annotations

import ctypes
import os
import re
import signal
import threading
import weakref
from types import FrameType, TracebackType
from typing import (TYPE_CHECKING, Any, Callable, ClassVar, Dict, List, Optional, Tuple, Type,
                    TypeVar)

from . import _bindings as c
from ._errors import add_context, closed, last_error
from ._library import lib

if TYPE_CHECKING:
    from ._context import Context

SIGNALS = [number for number in
           (getattr(signal, name, None) for name in
            ("SIGINT", "SIGTERM", "SIGALRM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGVTALRM",
             "SIGQUIT", "SIGCHLD")) if number is not None]


class Call:
    """A call that is under way: what was raised meanwhile."""

    def __init__(self, context: Optional["Context"], name: str) -> None:
        self.context = context
        self.name = name
        self.raised: Optional[BaseException] = None

    def note(self, error: BaseException) -> None:
        """Keeps the first exception."""
        if self.raised is None:
            self.raised = error

    def cancel(self) -> None:
        if self.context is not None:
            lib.rlhf_context_cancel(self.context._pointer)


class _Calls(threading.local):
    def __init__(self) -> None:
        self.stack: List[Call] = []


_calls = _Calls()


def current_call() -> Call:
    """The call within which the library calls back on this thread."""
    return _calls.stack[-1]


class _Handlers:
    """While a call runs on the main thread: handlers of signals do not raise into callbacks."""

    def __init__(self, call: Call) -> None:
        self.call = call
        self.replaced: Dict[int, Callable[[int, Optional[FrameType]], Any]] = {}

    def run(self, number: int, frame: Optional[FrameType]) -> None:
        try:
            self.replaced[number](number, frame)
        except BaseException as error:
            self.call.note(error)

    def __enter__(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        try:
            for number in SIGNALS:
                handler = signal.getsignal(number)
                if callable(handler):
                    self.replaced[number] = handler
                    signal.signal(number, self.run)
        except ValueError:  # the main thread of a subinterpreter has no signals
            self.replaced.clear()
        except BaseException:
            self.restore()
            raise

    def restore(self) -> None:
        for number, handler in list(self.replaced.items()):
            try:
                if signal.getsignal(number) == self.run:  # a callback may have set another
                    signal.signal(number, handler)
            except BaseException as error:
                signal.signal(number, handler)
                self.call.note(error)

    def __exit__(self, *_: object) -> None:
        self.restore()


def _kind(declared: Any) -> str:
    """What a parameter of a C function takes, in words."""
    if declared in (ctypes.c_float, ctypes.c_double):
        return "a number"
    if declared is ctypes.c_char_p:
        return "bytes"
    pointed = getattr(declared, "_type_", None)
    if isinstance(pointed, type):
        return f"of type {pointed.__name__}"
    return "an integer"


def _misfit(name: str, error: Exception, arguments: Tuple[Any, ...]) -> TypeError:
    """ctypes tells a misfit argument by its number: here by the parameter's name and the value."""
    found = re.match(r"argument (\d+): ", str(error))
    names = re.findall(r"\w+", (getattr(lib, name).__doc__ or "").partition(")")[0])[1:]
    index = int(found[1]) - 1 if found else -1
    if not 0 <= index < len(names):
        return TypeError(f"{name}: {error}")
    return TypeError(f"{names[index]} must be {_kind(getattr(lib, name).argtypes[index])}, "
                     f"got {arguments[index]!r}")


def expect(name: str, value: Any, kind: type) -> Any:
    """The value where it is of that kind; a TypeError that names it where it is not."""
    if not isinstance(value, kind):
        raise TypeError(f"{name} must be a {kind.__name__}, got {value!r}")
    return value


def _finish(call: Call, status: int) -> None:
    error = None if status == c.Status.OK else last_error(status)
    if call.raised is not None:
        add_context(call.raised, error)
        raise call.raised
    if error is not None:
        raise error


def _run(call: Call, arguments: Tuple[Any, ...], guard: bool) -> int:
    """Handles among the arguments are kept from being freed by another thread meanwhile."""
    entered: List[Handle] = []
    function = getattr(lib, call.name)
    try:
        plain = []
        for argument in arguments:
            if isinstance(argument, Handle):
                argument._enter()
                entered.append(argument)
                argument = argument._pointer
            plain.append(argument)
        _calls.stack.append(call)
        try:
            if not guard:
                return int(function(*plain))
            with _Handlers(call):
                return int(function(*plain))
        except ctypes.ArgumentError as error:
            raise _misfit(call.name, error, arguments) from None
        finally:
            _calls.stack.pop()
    finally:
        for handle in entered:
            handle._leave()


def invoke(context: Optional["Context"], name: str, *arguments: Any,
           done: Optional[Callable[[], None]] = None) -> None:
    """A call that may take long, or wait for another thread's: it can be interrupted. `done` runs
    where the library has done it, also if a handler raised meanwhile."""
    call = Call(context, name)
    if context is None:
        status = _run(call, arguments, True)
    else:
        with context._turn:  # here the main thread can be interrupted, in the C queue it cannot
            status = _run(call, arguments, True)
    if done is not None and status == c.Status.OK:
        done()
    _finish(call, status)


def ask(context: Optional["Context"], name: str, *arguments: Any) -> None:
    """A call that is over at once."""
    call = Call(context, name)
    if context is None:
        status = _run(call, arguments, False)
    else:
        with context._turn:
            status = _run(call, arguments, False)
    _finish(call, status)


def value(name: str, *arguments: Any) -> Any:
    """A function that returns a value, not a status."""
    plain = [a._open_pointer if isinstance(a, Handle) else a for a in arguments]
    try:
        return getattr(lib, name)(*plain)
    except ctypes.ArgumentError as error:
        raise _misfit(name, error, arguments) from None


HandleType = TypeVar("HandleType", bound="Handle")


class Handle:
    """An object of the library's. It is given back by `close`, at the end of a `with` block, or
    when nobody holds it any more; in any order, since the library's objects hold what they need."""

    _type: ClassVar[Type[ctypes.Structure]]
    _free: ClassVar[str]

    _pointer: Any = None
    _context: Optional["Context"] = None

    def _open(self, pointer: Any, context: Optional["Context"]) -> None:
        self._guard = threading.Lock()
        self._users = 0
        self._closed = False
        self._context = context
        self._pointer = pointer

    @classmethod
    def _wrap(cls: Type[HandleType], pointer: Any, context: Optional["Context"]) -> HandleType:
        self = cls.__new__(cls)
        self._open(pointer, context)
        return self

    def _make(self, context: Optional["Context"], name: str, *arguments: Any) -> None:
        """Calls a constructor whose last argument is the handle that it makes."""
        self._open(make(self._type, self._free, context, name, *arguments), context)

    @property
    def _open_pointer(self) -> Any:
        if self._pointer is None or self._closed:
            raise closed(type(self).__name__)
        return self._pointer

    def _enter(self) -> None:
        if self._pointer is None:
            raise closed(type(self).__name__)
        with self._guard:
            self._open_pointer
            self._users += 1

    def _leave(self) -> None:
        with self._guard:
            self._users -= 1
            last = self._closed and self._users == 0
        if last:
            self._give_back()

    def _give_back(self) -> None:
        pointer, self._pointer = self._pointer, None
        if pointer is not None:
            getattr(lib, self._free)(pointer)

    def close(self) -> None:
        """Gives the object back; using it afterwards raises StateError. A call that is under way
        on another thread ends first. Closing twice does nothing."""
        if self._pointer is None:
            return
        with self._guard:
            now = not self._closed and self._users == 0
            self._closed = True
        if now:
            self._give_back()

    @property
    def closed(self) -> bool:
        """Whether it was given back."""
        return self._pointer is None or self._closed

    def __enter__(self: HandleType) -> HandleType:
        self._open_pointer
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], error: Optional[BaseException],
                 traceback: Optional[TracebackType]) -> None:
        self.close()

    def __del__(self) -> None:
        if self._pointer is not None:
            self._give_back()

    def __reduce__(self) -> Any:
        raise TypeError(f"{type(self).__name__} cannot be pickled; save it to a folder")


def make(kind: Type[ctypes.Structure], free: str, context: Optional["Context"], name: str,
         *arguments: Any) -> Any:
    """The pointer that a constructor's last argument was set to."""
    out = ctypes.POINTER(kind)()
    try:
        invoke(context, name, *arguments, ctypes.byref(out))
    except BaseException:  # raised by a handler after the call had succeeded
        if out:
            getattr(lib, free)(out)
        raise
    return out


# ---- callbacks --------------------------------------------------------------------------

def callback(kind: Any) -> Callable[[Callable[..., Any]], Any]:
    """Makes a function one that C can call; it is never freed, whatever still holds it."""
    def make_callable(function: Callable[..., Any]) -> Any:
        return kind(function)
    return make_callable


class Registry:
    """Python objects behind the `user_data` of callbacks: a number, never an address."""

    def __init__(self) -> None:
        self._objects: Dict[int, Any] = {}
        self._next = 1
        self._guard = threading.Lock()

    def add(self, value: Any) -> int:
        with self._guard:
            key = self._next
            self._next += 1
            self._objects[key] = value
            return key

    def get(self, key: Optional[int]) -> Any:
        return self._objects.get(key or 0)

    def remove(self, key: Optional[int]) -> None:
        self._objects.pop(key or 0, None)

    def __len__(self) -> int:
        return len(self._objects)


registry = Registry()
contexts: "weakref.WeakSet[Context]" = weakref.WeakSet()


def guarded(function: Callable[..., Any], *arguments: Any) -> int:
    """Runs a callback's body: a status for the library, the exception kept for the caller."""
    call = current_call()
    try:
        if call.raised is not None:  # by a handler of a signal
            return int(c.Status.ERR_CALLBACK)
        function(*arguments)
    except BaseException as error:
        call.note(error)
    return int(c.Status.OK if call.raised is None else c.Status.ERR_CALLBACK)


def _in_child() -> None:
    """Locks that a thread of the parent held are nobody's in a forked child."""
    for context in list(contexts):
        context._turn = threading.RLock()


os.register_at_fork(after_in_child=_in_child)
