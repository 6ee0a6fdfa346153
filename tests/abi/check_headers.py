#!/usr/bin/env python3
"""Each public header compiles alone, as strict C99 and as strict C++11.

    check_headers.py INCLUDE_DIR CC... -- [CXX]
    check_headers.py --self-test INCLUDE_DIR CC... -- [CXX]   (on wrong headers: must fail)
"""
import pathlib
import subprocess
import sys
import tempfile


def check(include_dir, compilers):
    failures = []
    headers = sorted(pathlib.Path(include_dir, "rlhf").glob("*.h"))
    for header in headers:
        source = f"#include <rlhf/{header.name}>\n#include <rlhf/{header.name}>\n"
        for command, standard in compilers:
            result = subprocess.run(command + ["-Wall", "-Wextra", "-pedantic", "-Werror",
                                               "-fsyntax-only", "-I", include_dir, "-"],
                                    input=source, text=True, capture_output=True)
            if result.returncode:
                failures.append(f"{header.name} as {standard}:\n{result.stderr}")
    if not headers:
        failures.append(f"no header in {include_dir}")
    return failures


def self_test(compilers):
    """Headers that lean on another, on C11, and on a name that is C++'s: each must be noticed."""
    wrong = {"leans.h": "int32_t rlhf_leans(void);\n",
             "modern.h": "struct rlhf_modern { int a; struct { int b; }; };\n",
             "new.h": "int rlhf_new(int new);\n"}
    wanted = ["leans.h as C99", "modern.h as C99"]
    if len(compilers) > 1:
        wanted += ["leans.h as C++11", "new.h as C++11"]
    with tempfile.TemporaryDirectory() as folder:
        pathlib.Path(folder, "rlhf").mkdir()
        for name, text in wrong.items():
            pathlib.Path(folder, "rlhf", name).write_text(text)
        found = "\n".join(check(folder, compilers))
    return [f"unnoticed: {what}" for what in wanted if what not in found]


def main():
    arguments = sys.argv[1:]
    testing = arguments[0] == "--self-test"
    include_dir, *words = arguments[1:] if testing else arguments
    split = words.index("--")
    cc, cxx = words[:split], words[split + 1:]
    compilers = [(cc + ["-std=c99", "-x", "c"], "C99")]
    if cxx:
        compilers.append((cxx + ["-std=c++11", "-x", "c++"], "C++11"))
    else:
        print("no C++ compiler: the C++11 check is skipped")
    failures = self_test(compilers) if testing else check(include_dir, compilers)
    print("\n".join(failures) or "ok")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
