"""YAML files as keyword arguments."""
from __future__ import annotations

import ctypes
from typing import Any, Dict, Optional

from . import _bindings as c
from . import _options
from ._context import Context, current
from ._core import Handle, ask, invoke
from ._tokenizer import Path, path_bytes


class Config(Handle):
    """A YAML file whose sections are options; what nobody asked for is an error in the end.

        config = rlhf.Config("run.yaml")
        trainer = rlhf.PPOTrainer(policy, rm, **config.options("ppo", "rlhf_ppo_options"))
        config.finish()
    """

    _type = c.rlhf_config
    _free = "rlhf_config_free"

    def __init__(self, path: Path, *, context: Optional[Context] = None) -> None:
        context = current(context)
        self._make(context, "rlhf_config_load", context, path_bytes(path))

    def options(self, section: str, struct: str) -> Dict[str, Any]:
        """What a section says of a struct, by its name in C: the options that it names, and PPO's
        preset; to be given on as keyword arguments. Others are left to whoever takes them: defaults,
        the context's seed, or arguments beside."""
        if struct not in c.OPTIONS:
            raise _options.unknown(struct, c.OPTIONS)
        filled = _options.init(struct)
        invoke(self._context, "rlhf_config_read", self, section.encode(), struct.encode(),
               ctypes.byref(filled))
        values = _options.to_dict(struct, filled)
        said = {name: value for name, value in values.items()  # lists cannot be said in YAML
                if not isinstance(value, list) and self.string(f"{section}.{name}") is not None}
        if struct == "rlhf_ppo_options":
            preset = self.string(f"{section}.preset")
            if preset is not None:
                said["preset"] = preset
        return said

    def string(self, path: str, fallback: Optional[str] = None) -> Optional[str]:
        """A text at a path such as "paths.model"."""
        out = ctypes.c_char_p()
        ask(self._context, "rlhf_config_string", self, path.encode(),
            None if fallback is None else fallback.encode(), ctypes.byref(out))
        return None if out.value is None else out.value.decode("utf-8", "replace")

    def integer(self, path: str, fallback: int, min: int = -2**63, max: int = 2**63 - 1) -> int:
        """An integer at a path, within [min, max]."""
        out = ctypes.c_int64()
        ask(self._context, "rlhf_config_int", self, path.encode(), fallback, min, max,
            ctypes.byref(out))
        return out.value

    def number(self, path: str, fallback: float, min: float = float("-inf"),
               max: float = float("inf")) -> float:
        """A number at a path, within [min, max]."""
        out = ctypes.c_double()
        ask(self._context, "rlhf_config_double", self, path.encode(), fallback, min, max,
            ctypes.byref(out))
        return out.value

    def finish(self) -> None:
        """Ends the reading: FormatError names the first key that nobody asked for."""
        ask(self._context, "rlhf_config_finish", self)
