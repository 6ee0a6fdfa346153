#!/usr/bin/env python3
"""The program in README.md compiles, links against the library, and runs: without the folders
that it names it ends with the library's words.

    check_readme.py SOURCE_ROOT LIBRARY CC
    check_readme.py --self-test SOURCE_ROOT LIBRARY CC
"""
import os
import pathlib
import re
import subprocess
import sys
import tempfile


def check(root, library, cc, program):
    with tempfile.TemporaryDirectory() as folder:
        source, binary = pathlib.Path(folder, "program.c"), pathlib.Path(folder, "program")
        source.write_text(program)
        compiled = subprocess.run(
            [cc, "-std=c99", "-Wall", "-Wextra", "-pedantic", "-Werror", "-I", root / "include",
             source, library, f"-Wl,-rpath,{library.parent}", "-o", binary],
            capture_output=True, text=True)
        if compiled.returncode:
            return [f"it does not compile:\n{compiled.stderr}"]
        run = subprocess.run([binary], cwd=folder, capture_output=True, text=True,
                             env=dict(os.environ, LC_ALL="C"), timeout=60)
        if run.returncode != 1 or "sft/config.json" not in run.stderr:
            return [f"it ended with {run.returncode}: {run.stdout}{run.stderr}"]
    return []


def main():
    arguments = sys.argv[1:]
    self_test = arguments[0] == "--self-test"
    root, library, cc = arguments[1:] if self_test else arguments
    root, library = pathlib.Path(root), pathlib.Path(library).resolve()
    blocks = re.findall(r"```c\n(.*?)```", (root / "README.md").read_text(), flags=re.S)
    if len(blocks) != 1:
        print(f"{len(blocks)} programs in README.md")
        return 1
    if self_test:
        failures = []
        for old, new in (("rlhf_model_load(context", "rlhf_model_read(context"),
                         ('"sft", &policy', '"tfs", &policy')):
            if not check(root, library, cc, blocks[0].replace(old, new)):
                failures.append(f"unnoticed: {new}")
    else:
        failures = check(root, library, cc, blocks[0])
    print("\n".join(failures) or "ok")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
