#!/usr/bin/env python3
"""The public headers, the version map and the shared object name the same symbols.

    check_symbols.py INCLUDE_DIR MAP_FILE LIBRARY
    check_symbols.py --self-test INCLUDE_DIR MAP_FILE LIBRARY   (on broken copies: must fail)
"""
import pathlib
import re
import subprocess
import sys
import tempfile


def header_symbols(include_dir):
    symbols = set()
    for header in sorted(pathlib.Path(include_dir, "rlhf").glob("*.h")):
        text = re.sub(r"/\*.*?\*/", "", header.read_text(), flags=re.S)
        for declaration in re.findall(r"\bRLHF_API\b[^;{]*?\b(rlhf_\w+)\s*\(", text):
            symbols.add(declaration)
    return symbols


def map_symbols(map_file):
    text = pathlib.Path(map_file).read_text()
    return set(re.findall(r"^\s*(rlhf_\w+);", text, flags=re.M))


def library_symbols(library):
    output = subprocess.run(["nm", "-D", "--defined-only", library], check=True,
                            capture_output=True, text=True).stdout
    names = {line.split()[-1].split("@")[0] for line in output.splitlines()}
    return {name for name in names if not re.fullmatch(r"RLHF_\d+\.\d+", name)}


def check(include_dir, map_file, library):
    sets = {"headers": header_symbols(include_dir), "map": map_symbols(map_file),
            "library": library_symbols(library)}
    failures = []
    for name, symbols in sets.items():
        for other, others in sets.items():
            for symbol in sorted(symbols - others):
                failures.append(f"{symbol} is in the {name} but not in the {other}")
    if len(sets["headers"]) < 50:
        failures.append(f"only {len(sets['headers'])} declarations found in the headers")
    return failures


def self_test(include_dir, map_file, library):
    """A header with one more function, and a map with one less, must both be noticed."""
    with tempfile.TemporaryDirectory() as folder:
        copy = pathlib.Path(folder, "rlhf")
        copy.mkdir()
        for header in pathlib.Path(include_dir, "rlhf").glob("*.h"):
            (copy / header.name).write_text(header.read_text())
        (copy / "more.h").write_text("RLHF_API int rlhf_not_there(void);\n")
        broken_map = pathlib.Path(folder, "broken.map")
        lines = pathlib.Path(map_file).read_text().splitlines()
        broken_map.write_text("\n".join(x for x in lines if "rlhf_version;" not in x))
        found = check(folder, map_file, library)
        lost = check(include_dir, broken_map, library)
    failures = []
    if not any("rlhf_not_there" in text for text in found):
        failures.append("a declaration without a definition went unnoticed")
    if not any("rlhf_version" in text for text in lost):
        failures.append("a symbol missing from the map went unnoticed")
    return failures


def main():
    arguments = sys.argv[1:]
    run = check
    if arguments and arguments[0] == "--self-test":
        run, arguments = self_test, arguments[1:]
    failures = run(*arguments)
    print("\n".join(failures) or "ok")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
