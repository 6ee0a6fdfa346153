"""Builds the wheel and the source distribution: `pip install .`, `pip install -e .` and `python -m
build` call this (PEP 517, PEP 660), and so does `./dev wheel`.

The wheel carries the shared library, so that installing it needs no compiler. The library is the
one that RLHF_LIBRARY names, or else Meson builds it, in the tree's folder build-wheel. The tag is
this machine's plain linux_…; `./dev wheel` has auditwheel put in what the library links to and
give a manylinux tag. Only the standard library is needed.
"""
import base64
import gzip
import hashlib
import io
import os
import pathlib
import re
import shutil
import subprocess
import sysconfig
import tarfile
import zipfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
BUILD = ROOT / "build-wheel"
# What the library and the package are built from, by their places in the tree.
SOURCES = ["LICENSE", "meson.build", "meson_options.txt", "pyproject.toml", "include", "lib",
           "bindings/python/README.md", "bindings/python/build_backend.py",
           "bindings/python/pyproject.toml", "bindings/python/rlhf"]
# Packages whose code is in the library or, after auditwheel, beside it.
CARRIED = ["libblis-serial-dev", "libyaml-0-2", "libjansson4", "libpcre2-8-0", "libsqlite3-0"]


def version():
    text = (ROOT / "meson.build").read_text(encoding="utf-8")
    return re.search(r"version: '([\d.]+)'", text)[1]


def metadata():
    words = (HERE / "README.md").read_text(encoding="utf-8")
    return f"""\
Metadata-Version: 2.1
Name: rlhf
Version: {version()}
Summary: Reinforcement learning from human feedback: language models, reward models, PPO, on a CPU
License: MIT
Requires-Python: >=3.9
Requires-Dist: numpy>=1.21
Classifier: License :: OSI Approved :: MIT License
Classifier: Operating System :: POSIX :: Linux
Classifier: Programming Language :: Python :: 3
Classifier: Typing :: Typed
Description-Content-Type: text/markdown

{words}"""


def compile_library():
    """Has Meson build librlhf.so, with the optimisation that is tested."""
    meson = "/usr/bin/meson" if os.path.exists("/usr/bin/meson") else "meson"
    if not (BUILD / "build.ninja").exists():
        subprocess.run([meson, "setup", BUILD, ROOT, "-Dbuildtype=release", "-Doptimization=2",
                        "-Dtests=false", "-Dexamples=false", "-Dbench=false"], check=True)
    subprocess.run([meson, "compile", "-C", BUILD], check=True)


def build_library():
    """Path of a stripped librlhf.so."""
    compile_library()
    out = BUILD / f"librlhf-{version()}.so"
    shutil.copy2(BUILD / "lib" / f"librlhf.so.{version()}", out)
    subprocess.run(["strip", "--strip-unneeded", out], check=True)
    return out


def soname(library):
    output = subprocess.run(["readelf", "-d", library], check=True, capture_output=True,
                            text=True).stdout
    return re.search(r"soname: \[(.*)\]", output)[1]


def licences():
    """(name, path): ours, and those of what the library carries, as their packages have them."""
    yield "LICENSE", ROOT / "LICENSE"
    for package in CARRIED:
        path = pathlib.Path("/usr/share/doc", package, "copyright")
        if path.exists():
            yield f"LICENSE.{package}", path


class Wheel:
    """Files with their hashes, dates that do not depend on the day."""

    def __init__(self, path, info):
        self.zip = zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED)
        self.info = info
        self.records = []

    def add(self, name, data, mode=0o644):
        entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
        entry.external_attr = (0o100000 | mode) << 16
        entry.compress_type = zipfile.ZIP_DEFLATED
        self.zip.writestr(entry, data)
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        self.records.append(f"{name},sha256={digest},{len(data)}")

    def finish(self, tag):
        self.add(f"{self.info}/METADATA", metadata().encode())
        self.add(f"{self.info}/WHEEL", ("Wheel-Version: 1.0\nGenerator: librlhf\n"
                                        f"Root-Is-Purelib: false\nTag: {tag}\n").encode())
        record = f"{self.info}/RECORD"
        self.add(record, "\n".join([*self.records, f"{record},,", ""]).encode())
        self.zip.close()


def names():
    """(file of the wheel, its dist-info, its tag)."""
    tag = f"py3-none-{re.sub(r'[-.]', '_', sysconfig.get_platform())}"
    return f"rlhf-{version()}-{tag}.whl", f"rlhf-{version()}.dist-info", tag


def get_requires_for_build_wheel(config_settings=None):
    """Meson and Ninja, where they are not installed and will be called."""
    if os.environ.get("RLHF_LIBRARY"):
        return []
    return [name for name in ("meson", "ninja") if shutil.which(name) is None]


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    given = os.environ.get("RLHF_LIBRARY")
    library = pathlib.Path(given).resolve() if given else build_library()
    name, info, tag = names()
    os.makedirs(wheel_directory, exist_ok=True)
    wheel = Wheel(pathlib.Path(wheel_directory, name), info)
    for path in sorted((HERE / "rlhf").iterdir()):
        if path.suffix == ".py" or path.name == "py.typed":
            wheel.add(f"rlhf/{path.name}", path.read_bytes())
    wheel.add(f"rlhf/{soname(library)}", library.read_bytes(), 0o755)
    for licence, path in licences():
        wheel.add(f"{info}/licenses/{licence}", path.read_bytes())
    wheel.finish(tag)
    return name


def get_requires_for_build_editable(config_settings=None):
    return get_requires_for_build_wheel(config_settings)


def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    """The package as it lies in the tree, which loads the library from the tree's build-wheel; with
    RLHF_LIBRARY nothing is built, and programs must have it, too."""
    if not os.environ.get("RLHF_LIBRARY"):
        compile_library()
    name, info, tag = names()
    wheel = Wheel(pathlib.Path(wheel_directory, name), info)
    wheel.add("__editable__.rlhf.pth", f"{HERE}\n".encode())
    wheel.finish(tag)
    return name


def get_requires_for_build_sdist(config_settings=None):
    return []


def build_sdist(sdist_directory, config_settings=None):
    """What SOURCES names; the same bytes from the same files."""
    top = f"rlhf-{version()}"
    paths = [path for name in SOURCES for path in ([ROOT / name] if (ROOT / name).is_file() else
                                                   sorted((ROOT / name).rglob("*")))]
    os.makedirs(sdist_directory, exist_ok=True)
    with open(pathlib.Path(sdist_directory, f"{top}.tar.gz"), "wb") as file, \
            gzip.GzipFile("", "wb", mtime=0, fileobj=file) as packed, \
            tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar:
        def add(name, data):
            entry = tarfile.TarInfo(f"{top}/{name}")
            entry.size, entry.mtime = len(data), 315532800 # 1980, as in wheels
            tar.addfile(entry, io.BytesIO(data))
        add("PKG-INFO", metadata().encode())
        for path in paths:
            if path.is_file() and "__pycache__" not in path.parts:
                add(path.relative_to(ROOT).as_posix(), path.read_bytes())
    return f"{top}.tar.gz"
