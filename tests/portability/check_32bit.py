#!/usr/bin/env python3
"""A 32-bit target is refused in words: by the headers, when a program includes one of them, and by
meson, before it looks for anything else. None of the two needs a C library for that target.

    check_32bit.py SOURCE_ROOT CC... -- [CXX]
    check_32bit.py --self-test SOURCE_ROOT CC... -- [CXX]   (on a tree without refusals: must fail)
"""
import pathlib
import shutil
import subprocess
import sys
import tempfile

WORDS = "librlhf needs a 64-bit target"
MACHINE = """\
[binaries]
c = {command}
[properties]
skip_sanity_check = true
needs_exe_wrapper = true
[host_machine]
system = 'linux'
cpu_family = 'x86'
cpu = 'i686'
endian = 'little'
"""


def compile_header(command, name, include_dir):
    return subprocess.run([*command, "-ffreestanding", "-fsyntax-only", "-I", include_dir, "-"],
                          input=f"#include <rlhf/{name}>\n", capture_output=True, text=True)


def header_failures(root, compilers):
    failures = []
    include_dir = str(root / "include")
    for name in sorted(path.name for path in (root / "include/rlhf").glob("*.h")):
        for command, standard in compilers:
            if compile_header(command, name, include_dir).returncode:
                failures.append(f"{name} as {standard} does not compile for 64 bits either")
            refused = compile_header([*command, "-m32"], name, include_dir)
            if not refused.returncode or WORDS not in refused.stderr:
                failures.append(f"{name} as {standard} does not refuse 32 bits in words:\n"
                                + refused.stderr)
    return failures


def meson_failures(root, cc):
    with tempfile.TemporaryDirectory() as folder:
        machine = pathlib.Path(folder, "x86.ini")
        machine.write_text(MACHINE.format(command=[*cc, "-m32"]))
        result = subprocess.run(
            [sys.executable, "-m", "mesonbuild.mesonmain", "setup", "--cross-file", machine,
             pathlib.Path(folder, "build"), root], capture_output=True, text=True)
    if not result.returncode or f"ERROR: Problem encountered: {WORDS}" not in result.stdout:
        return [f"meson does not refuse 32 bits in words:\n{result.stdout}{result.stderr}"]
    return []


def check(root, cc, compilers):
    return header_failures(root, compilers) + meson_failures(root, cc)


def self_test(root, cc, compilers):
    """The tree without its refusals: both must be missed."""
    with tempfile.TemporaryDirectory() as folder:
        copy = pathlib.Path(folder, "tree")
        for name in ("include", "lib"):
            shutil.copytree(root / name, copy / name)
        for name in ("meson.build", "meson_options.txt"):
            shutil.copy(root / name, copy)
        for name in ("meson.build", "include/rlhf/common.h"):
            path = copy / name
            path.write_text(path.read_text().replace(WORDS, "no"))
        found = "\n".join(check(copy, cc, compilers))
    wanted = ["meson does not refuse", "common.h as C99 does not refuse"]
    return [f"unnoticed: {what}" for what in wanted if what not in found]


def main():
    arguments = sys.argv[1:]
    testing = arguments[0] == "--self-test"
    source_root, *words = arguments[1:] if testing else arguments
    split = words.index("--")
    cc, cxx = words[:split], words[split + 1:]
    probe = subprocess.run([*cc, "-m32", "-ffreestanding", "-fsyntax-only", "-x", "c", "-"],
                           input="int x;\n", capture_output=True, text=True)
    if probe.returncode:
        print(f"skipped: {cc[0]} compiles for no 32-bit target (-m32)")
        return 77
    compilers = [([*cc, "-std=c99", "-x", "c"], "C99")]
    if cxx:
        compilers.append(([*cxx, "-std=c++11", "-x", "c++"], "C++11"))
    failures = (self_test if testing else check)(pathlib.Path(source_root), cc, compilers)
    print("\n".join(failures) or "ok")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
