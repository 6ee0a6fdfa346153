"""Finds librlhf and loads it: RLHF_LIBRARY, else the copy in this package, else that of the tree
which the package lies in (`pip install -e .` builds it), else the system's."""
from __future__ import annotations

import os
import pathlib

from . import _bindings as c


def find() -> str:
    """A path, or a soname for the dynamic linker to look up."""
    override = os.environ.get("RLHF_LIBRARY")
    if override:
        return override
    minor = f"{c.RLHF_VERSION_MAJOR}.{c.RLHF_VERSION_MINOR}"
    soname = f"librlhf.so.{minor if c.RLHF_VERSION_MAJOR == 0 else c.RLHF_VERSION_MAJOR}"
    package = pathlib.Path(__file__).resolve().parent
    for path in (package / soname, package.parents[2] / "build-wheel/lib" / soname):
        if path.exists():
            return str(path)
    return soname


def load() -> c.Library:
    """The library, of a version that these bindings are for."""
    path = find()
    try:
        library = c.Library(path)
    except OSError as error:
        raise ImportError(f"librlhf cannot be loaded ({error}); RLHF_LIBRARY may name its file"
                          ) from error
    except AttributeError as error:
        raise ImportError(f"{path} is not the librlhf of these bindings: {error}") from error
    version: str = library.rlhf_version().decode()
    major, minor = (int(part) for part in version.split(".")[:2])
    wanted = (c.RLHF_VERSION_MAJOR, c.RLHF_VERSION_MINOR)
    if major != wanted[0] or minor < wanted[1] or (major == 0 and minor != wanted[1]):
        raise ImportError(f"{path} is librlhf {version}, these bindings are for "
                          f"{wanted[0]}.{wanted[1]}")
    return library


lib = load()
