#!/usr/bin/env python3
"""test_layout.c notices a header that breaks the ABI: it must not compile against broken copies.

    check_layout.py INCLUDE_DIR LAYOUT CC...
"""
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

# (header, pattern, replacement, what the assertion says)
BREACHES = [
    ("ppo.h", r"double gamma;(.*?)double lam;", r"double lam;\1double gamma;",
     "rlhf_ppo_options.gamma"),
    ("common.h", r"RLHF_ERR_IO = -4", "RLHF_ERR_IO = -44", "value of RLHF_ERR_IO"),
    ("lm.h", r"double tokens_per_second;", "double tokens_per_second, one_more;",
     "size of rlhf_lm_stats"),
    ("generate.h", r"int64_t num_tokens; ", "int64_t more[2], num_tokens; ",
     "offset of rlhf_generation.num_tokens"),
    ("dataset.h", r"RLHF_DATASET_COMPLETION = 1", "RLHF_DATASET_COMPLETION = 7",
     "value of RLHF_DATASET_COMPLETION"),
]


def compile_layout(include_dir, layout, cc):
    return subprocess.run([*cc, "-I", include_dir, "-fsyntax-only", layout],
                          capture_output=True, text=True)


def main():
    include_dir, layout, *cc = sys.argv[1:]
    failures = []
    whole = compile_layout(include_dir, layout, cc)
    if whole.returncode:
        failures.append(f"the headers as they are:\n{whole.stderr}")
    for header, pattern, replacement, expected in BREACHES:
        with tempfile.TemporaryDirectory() as folder:
            shutil.copytree(include_dir, folder, dirs_exist_ok=True)
            path = pathlib.Path(folder, "rlhf", header)
            text, count = re.subn(pattern, replacement, path.read_text(), count=1, flags=re.S)
            path.write_text(text)
            result = compile_layout(folder, layout, cc)
            if count != 1:
                failures.append(f"nothing to change in {header}: {pattern}")
            elif not result.returncode or expected not in result.stderr:
                failures.append(f"unnoticed: {expected}")
    print("\n".join(failures) or "ok")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
