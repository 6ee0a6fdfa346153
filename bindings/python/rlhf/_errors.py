"""One exception for each status."""
from __future__ import annotations

import ctypes
import os
from typing import Any, Dict, Iterable, Optional, Type

from . import _bindings as c
from ._library import lib


class Error(Exception):
    """A call of the library failed.

    status: a `rlhf.Status`.
    message: one line; it names the offending value.
    file, line, column: of the offending file; "" and 0 where there is none.
    field: the offending field or option, "" where there is none.
    system_errno: errno of the failing system call, 0 where there is none.
    """

    def __init__(self, message: str, *, status: c.Status, file: str = "", line: int = 0,
                 column: int = 0, field: str = "", system_errno: int = 0) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.file = file
        self.line = line
        self.column = column
        self.field = field
        self.system_errno = system_errno

    def __str__(self) -> str:
        return self.message

    def __reduce__(self) -> Any:  # so that it can come from another process
        return _rebuild, (type(self), self.__dict__)


def _rebuild(kind: Type[Error], parts: Dict[str, Any]) -> Error:
    error = kind.__new__(kind)
    error.args = (parts["message"],)
    error.__dict__.update(parts)
    return error


class InvalidArgumentError(Error, ValueError):
    """The call is wrong: a shape, a value out of range. The message names bound and value."""


class NoMemoryError(Error, MemoryError):
    """An allocation failed. Nothing changed."""


class UnsupportedError(Error):
    """Newer than this library, or a feature that it lacks."""


class SystemIOError(Error):
    """The operating system refused; `system_errno` says why."""


class FormatError(Error, ValueError):
    """A file or text is malformed; `file`, `line` and `field` say where."""


class NumericError(Error, ArithmeticError):
    """A NaN or an infinity appeared. The weights are those of the last step."""


class CallbackError(Error):
    """A callback failed. What it raised is raised instead, with this as its context."""


class CancelledError(Error):
    """`Context.cancel` was called. The same call goes on."""


class StateError(Error):
    """Not now: a call out of order, on a closed object, or in a forked child."""


class BusyError(Error):
    """Another thread, trainer or process uses the object."""


class LimitError(Error):
    """Over a limit of the host's or the library's; the message names it."""


class NotFoundError(Error, LookupError):
    """No such file or name, or the end of a dataset."""


class ExistsError(Error):
    """It is there already."""


class InternalError(Error):
    """A bug of the library. Please report it with the message."""


class OptionError(InvalidArgumentError, TypeError):
    """A keyword argument that is no option, or of a wrong type. The message lists the options."""

    def __init__(self, message: str, field: str) -> None:
        super().__init__(message, status=c.Status.ERR_INVALID_ARG, field=field)


BY_STATUS: Dict[c.Status, Type[Error]] = {
    c.Status.ERR_INVALID_ARG: InvalidArgumentError,
    c.Status.ERR_NO_MEMORY: NoMemoryError,
    c.Status.ERR_UNSUPPORTED: UnsupportedError,
    c.Status.ERR_IO: SystemIOError,
    c.Status.ERR_FORMAT: FormatError,
    c.Status.ERR_NUMERIC: NumericError,
    c.Status.ERR_CALLBACK: CallbackError,
    c.Status.ERR_CANCELLED: CancelledError,
    c.Status.ERR_STATE: StateError,
    c.Status.ERR_BUSY: BusyError,
    c.Status.ERR_LIMIT: LimitError,
    c.Status.ERR_NOT_FOUND: NotFoundError,
    c.Status.ERR_EXISTS: ExistsError,
    c.Status.ERR_INTERNAL: InternalError,
}

for _kind in (Error, OptionError, *BY_STATUS.values()):  # tracebacks name them as programs do
    _kind.__module__ = "rlhf"


def last_error(status: int) -> Error:
    """The calling thread's last failure, to be asked for right after it."""
    info = c.rlhf_error_info(struct_size=ctypes.sizeof(c.rlhf_error_info))
    if lib.rlhf_last_error_info(ctypes.byref(info)) != c.Status.OK:
        return InternalError("the library tells no error", status=c.Status.ERR_INTERNAL)
    try:
        known = c.Status(status)
    except ValueError:  # of a newer library
        known = c.Status.ERR_INTERNAL
    return BY_STATUS[known](info.message.decode("utf-8", "replace"), status=known,
                            file=os.fsdecode(info.file), line=info.line, column=info.column,
                            field=info.field.decode("utf-8", "replace"),
                            system_errno=info.system_errno)


def choices(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))


def closed(what: str) -> StateError:
    return StateError(f"this {what} is closed", status=c.Status.ERR_STATE)


def add_context(error: BaseException, cause: Optional[BaseException]) -> None:
    """Puts `cause` at the end of the chain of what `error` was raised in the course of."""
    seen = {id(error)}
    while error.__context__ is not None and id(error.__context__) not in seen:
        error = error.__context__
        seen.add(id(error))
    if cause is not error and error.__context__ is None:
        error.__context__ = cause
