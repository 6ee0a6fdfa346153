#!/usr/bin/env python3
"""abidiff of the shared object against the committed baseline.

    check_baseline.py BASELINE LIBRARY INCLUDE_DIR
    check_baseline.py --write BASELINE LIBRARY INCLUDE_DIR

abidiff is silent about types where there is no debug information, so its absence fails.
"""
import pathlib
import shutil
import subprocess
import sys


def run(*command):
    return subprocess.run(command, capture_output=True, text=True)


def main():
    write = sys.argv[1] == "--write"
    baseline, library, include_dir = sys.argv[2 if write else 1:]
    if not shutil.which("abidiff"):
        print("abidiff is not installed (Debian: abigail-tools): skipped")
        return 77
    if ".debug_info" not in run("readelf", "-S", library).stdout:
        print(f"{library} has no debug information to compare")
        return 1
    if write:
        result = run("abidw", "--headers-dir", include_dir, "--no-corpus-path",
                     "--no-comp-dir-path", "--no-show-locs", "--drop-private-types",
                     "--out-file", baseline, library)
        print(result.stdout + result.stderr)
        return result.returncode
    result = run("abidiff", "--no-show-locs", "--headers-dir2", include_dir,
                 "--drop-private-types", baseline, library)
    print(result.stdout + result.stderr or "ok")
    return 1 if result.returncode else 0


if __name__ == "__main__":
    sys.exit(main())
