"""Keyword arguments to options structs, and the documentation of both.

The tables come from the headers, ranges and defaults from the library itself.
"""
from __future__ import annotations

import ctypes
import difflib
import inspect
import operator
import textwrap
from typing import Any, Callable, Dict, Iterable, List, Mapping, Optional, Tuple, TypeVar

from . import _bindings as c
from ._core import Handle
from ._errors import OptionError, choices, last_error
from ._library import lib

Function = TypeVar("Function", bound=Callable[..., Any])


def init(struct: str) -> Any:
    """The struct with the library's defaults."""
    options = getattr(c, struct)()
    size = ctypes.sizeof(options)
    if struct == "rlhf_layer_config":  # has no defaults of its own
        options.struct_size = size
        return options
    status = getattr(lib, f"{struct}_init")(ctypes.byref(options), size)
    if status != c.Status.OK:
        raise last_error(status)
    return options


def fields(struct: str) -> List[c.Field]:
    return c.OPTIONS[struct]


def names(struct: str) -> List[str]:
    return [field.name for field in fields(struct)]


def unknown(name: str, known: Iterable[str]) -> OptionError:
    known = list(known)
    near = difflib.get_close_matches(name, known, 1)
    meant = f" (did you mean '{near[0]}'?)" if near else ""
    return OptionError(f"there is no option '{name}'{meant}; the options are: {choices(known)}",
                       name)


def integer(field: str, value: Any, kind: Any) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        raise OptionError(f"{field} must be an integer, got {value!r}", field) from None
    if kind(number).value != number:
        raise OptionError(f"{field} must fit {ctypes.sizeof(kind) * 8} bits, got {number}", field)
    return number


def enum(field: str, what: str, value: Any) -> int:
    kind = c.ENUMS[what]
    if hasattr(value, "__index__"):
        return integer(field, value, ctypes.c_int32)
    member = kind.__members__.get(value.upper()) if isinstance(value, str) else None
    if member is None:
        known = choices(name.lower() for name in kind.__members__)
        raise OptionError(f"{field} must be one of {known}, got {value!r}", field)
    return int(member)


def _text(field: str, value: Any) -> Optional[bytes]:
    if value is None:
        return None
    if not isinstance(value, str):
        raise OptionError(f"{field} must be a text, got {value!r}", field)
    return value.encode("utf-8", "surrogateescape")


def _list(field: c.Field, value: Any) -> List[Any]:
    if value is None:
        return []
    if isinstance(value, (str, bytes)):
        raise OptionError(f"{field.name} must be a list, got {value!r}", field.name)
    try:
        return list(value)
    except TypeError:
        raise OptionError(f"{field.name} must be a list, got {value!r}", field.name) from None


def _set(options: Any, field: c.Field, value: Any) -> None:
    name = field.name
    if field.kind == "float":
        try:
            setattr(options, name, float(value))
        except (TypeError, ValueError):
            raise OptionError(f"{name} must be a number, got {value!r}", name) from None
    elif field.kind in ("int", "bool"):
        setattr(options, name, integer(name, value, dict(options._fields_)[name]))
    elif field.kind == "enum":
        setattr(options, name, enum(name, field.what, value))
    elif field.kind == "text":
        setattr(options, name, _text(name, value))
    elif field.kind == "handle":
        if value is not None and not (isinstance(value, Handle)
                                      and value._type.__name__ == field.what):
            raise OptionError(f"{name} must be a {field.what.removeprefix('rlhf_')}, got "
                              f"{value!r}", name)
        setattr(options, name, value._open_pointer if value is not None else None)
    else:
        _set_array(options, field, _list(field, value))


def _set_array(options: Any, field: c.Field, items: List[Any]) -> None:
    array: Any
    if field.kind == "texts":
        array = (ctypes.c_char_p * len(items))(*(_text(field.name, item) for item in items))
    elif field.kind == "ids":
        array = (ctypes.c_int32 * len(items))(
            *(integer(field.name, item, ctypes.c_int32) for item in items))
    else:
        array = (getattr(c, field.what) * len(items))(*(fill(field.what, item) for item in items))
    count = {"rlhf_layer_config": "num_layer_configs"}.get(field.what, field.what)
    setattr(options, field.name, array if items else None)
    setattr(options, count, len(items))


def fill(struct: str, given: Mapping[str, Any], options: Any = None,
         aliases: Optional[Mapping[str, str]] = None, more: Iterable[str] = ()) -> Any:
    """The struct with defaults, or `options`, and what is given over them. `more`: further names
    to list where one is wrong. Callbacks are not set here: `split_callbacks`."""
    aliases = aliases or {}
    if options is None:
        options = init(struct)
    known = {field.name: field for field in fields(struct) if field.kind != "callback"}
    for name, value in given.items():
        full = aliases.get(name, name)
        if full not in known:
            raise unknown(name, [*known, *aliases, *more])
        if full != name and full in given:
            raise OptionError(f"{name} and {full} are one option: give one of them", name)
        _set(options, known[full], value)
    return options


def to_dict(struct: str, options: Any) -> Dict[str, Any]:
    """The values of a struct: enums by name, arrays as lists, texts as str."""
    out: Dict[str, Any] = {}
    for field in fields(struct):
        value = getattr(options, field.name)
        if field.kind == "enum":
            value = c.ENUMS[field.what](value).name.lower()
        elif field.kind == "bool":
            value = bool(value)
        elif field.kind == "text":
            value = None if value is None else value.decode("utf-8", "replace")
        elif field.kind == "structs":
            count = options.num_layer_configs if value else 0
            value = [to_dict(field.what, value[i]) for i in range(count)]
        elif field.kind in ("ids", "texts"):
            count = getattr(options, field.what) if value else 0
            value = [value[i] if field.kind == "ids" else value[i].decode()
                     for i in range(count)]
        elif field.kind in ("handle", "callback"):
            continue
        out[field.name] = value
    return out


def figures(stats: Any) -> Dict[str, Any]:
    """An output struct as a dictionary."""
    return {name: getattr(stats, name) for name, *_ in stats._fields_
            if name not in ("struct_size", "reserved")}


def output(struct: Any) -> Any:
    """An output struct, its size set."""
    return struct(struct_size=ctypes.sizeof(struct))


# ---- documentation ----------------------------------------------------------------------

def _default(values: Mapping[str, Any], field: c.Field) -> Any:
    return values.get(field.name)


def _plain(doc: str) -> str:
    """A header's words for a reader of Python."""
    return doc.replace("NULL", "None")


def documents(struct: str, leave_out: Iterable[str] = (),
              aliases: Optional[Mapping[str, str]] = None) -> Callable[[Function], Function]:
    """Completes a function that takes `**options`: its signature shows them with their defaults,
    its documentation says what they mean."""
    left_out = set(leave_out)

    def complete(function: Function) -> Function:
        values = to_dict(struct, init(struct))
        shown = [field for field in fields(struct) if field.name not in left_out]
        lines: List[str] = []
        for field in shown:
            start = f"    {field.name}: {_plain(field.doc)}"
            if not start.endswith("."):
                start += "."
            default = _default(values, field)
            if field.kind not in ("handle", "callback") and default is not None:
                start += f" Default: {default!r}."
            lines += textwrap.wrap(start, 88, subsequent_indent=" " * 8)
        for alias, full in (aliases or {}).items():
            lines.append(f"    {alias}: the same as {full}")
        text = inspect.cleandoc(function.__doc__ or "")
        function.__doc__ = text + "\n\nOptions:\n" + "\n".join(lines) + "\n"
        signature = inspect.signature(function)
        kept = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
        taken = {p.name for p in kept}
        new = [inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY,
                                 default=_default(values, field))
               for field in shown if field.name not in taken]
        function.__signature__ = signature.replace(  # type: ignore[attr-defined]
            parameters=[*kept, *new])
        return function
    return complete


def split_callbacks(struct: str, given: Mapping[str, Any]
                    ) -> Tuple[Dict[str, Any], Dict[str, Optional[Callable[..., Any]]]]:
    """(what `fill` sets, callbacks by name)."""
    kinds = {field.name: field.kind for field in fields(struct)}
    plain, callbacks = {}, {}
    for name, value in given.items():
        if kinds.get(name) == "callback":
            if value is not None and not callable(value):
                raise OptionError(f"{name} must be a function, got {value!r}", name)
            callbacks[name] = value
        else:
            plain[name] = value
    return plain, callbacks
