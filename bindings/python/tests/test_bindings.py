"""The generated module against the headers, the library and the compiler."""
import ctypes
import re
import shutil
import subprocess
import sys

import pytest
from conftest import ROOT

import rlhf
from rlhf import c


def test_module_is_what_the_headers_give():
    result = subprocess.run([sys.executable, str(ROOT / "bindings/python/generate.py"), "--check",
                             str(ROOT / "include")], capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr


def test_generator_notices_a_change(tmp_path):
    shutil.copytree(ROOT / "include", tmp_path / "include")
    header = tmp_path / "include/rlhf/lm.h"
    header.write_text(header.read_text().replace("double beta2; ", "float beta2; "))
    result = subprocess.run([sys.executable, str(ROOT / "bindings/python/generate.py"), "--check",
                             str(tmp_path / "include")], capture_output=True, text=True)
    assert result.returncode == 1


def test_every_exported_function_is_bound():
    output = subprocess.run(["nm", "-D", "--defined-only", rlhf.lib.path], check=True,
                            capture_output=True, text=True).stdout
    exported = {line.split()[-1].split("@")[0] for line in output.splitlines()}
    exported = {name for name in exported if name.startswith("rlhf_")}
    assert exported == set(c.FUNCTIONS)
    for name in exported:
        function = getattr(rlhf.lib, name)
        assert function.argtypes == c.FUNCTIONS[name][1]
        assert function.__doc__.startswith(name)


def layout(kind):
    text = (ROOT / "tests/abi/test_layout.c").read_text()
    return re.findall(rf"^{kind}\((.*), (-?\d+)\);$", text, flags=re.M)


def test_sizes_and_offsets_are_the_compilers():
    """tests/abi/test_layout.c asserts these numbers when it is compiled."""
    sizes, fields = layout("SIZE"), layout("FIELD")
    assert len(sizes) > 20 and len(fields) > 200
    for name, size in sizes:
        assert ctypes.sizeof(getattr(c, name)) == int(size), name
    offsets = {}
    for path, offset in fields:
        struct, field = path.split(", ")
        offsets.setdefault(struct, {})[field] = int(offset)
    for struct, expected in offsets.items():
        kind = getattr(c, struct)
        assert {name: getattr(kind, name).offset for name, *_ in kind._fields_} == expected


def test_enum_values_are_the_headers():
    values = dict(layout("VALUE"))
    bound = {}
    for c_name, kind in c.ENUMS.items():
        for member in kind:
            matching = [name for name in values if name.endswith("_" + member.name)
                        and int(values[name]) == member.value]
            assert matching, (c_name, member)
            bound[c_name] = len(kind)
    assert sum(bound.values()) == len(values)


def test_wrong_handle_is_refused_before_the_call(model, tokenizer):
    """Handles have types: a tokenizer is no model."""
    with pytest.raises(ctypes.ArgumentError):
        rlhf.lib.rlhf_model_num_parameters(tokenizer._pointer)


def test_another_version_is_refused(monkeypatch):
    from rlhf import _library
    monkeypatch.setattr(c, "RLHF_VERSION_MINOR", c.RLHF_VERSION_MINOR + 1)
    monkeypatch.setenv("RLHF_LIBRARY", rlhf.lib.path)
    with pytest.raises(ImportError, match="these bindings are for"):
        _library.load()
    monkeypatch.setenv("RLHF_LIBRARY", "/nowhere/librlhf.so")
    with pytest.raises(ImportError, match="RLHF_LIBRARY"):
        _library.load()
