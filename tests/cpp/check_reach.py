#!/usr/bin/env python3
"""Every public function is reached through rlhf.hpp: the C++ tests, which call no C function
themselves, are linked to all of them. And rlhf.hpp compiles by each C++ compiler that is there.

    check_reach.py SOURCE_ROOT PROGRAM...
    check_reach.py --self-test SOURCE_ROOT PROGRAM...   (on broken copies: must fail)
"""
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

# Not called, and why.
LEFT_OUT = {"rlhf_last_error_message": "rlhf::error::what() has it by rlhf_last_error_info"}
COMMENTS = re.compile(r"/\*.*?\*/|//[^\n]*", re.S)


def declared(root):
    names = set()
    for header in sorted((root / "include/rlhf").glob("*.h")):
        text = COMMENTS.sub("", header.read_text())
        names |= set(re.findall(r"\bRLHF_API\b[^;{]*?\b(rlhf_\w+)\s*\(", text))
    return names


def reached(programs):
    names = set()
    for program in programs:
        output = subprocess.run(["nm", "-u", program], check=True, capture_output=True,
                                text=True).stdout
        names |= set(re.findall(r"\bU (rlhf_\w+)", output))
    return names


def check_calls(root, programs, left_out):
    functions, linked = declared(root), reached(programs)
    failures = [f"{name} is not reached through rlhf.hpp"
                for name in sorted(functions - linked - set(left_out))]
    failures += [f"{name} is listed as left out, and is not"
                 for name in sorted(set(left_out) - (functions - linked))]
    for path in sorted((root / "tests/cpp").glob("*.?pp")):
        for call in re.findall(r"\brlhf_\w+\s*\(", COMMENTS.sub("", path.read_text())):
            failures.append(f"{path.name} calls C itself: {call}")
    return failures


def check_compilers(root, compilers=("g++", "clang++")):
    """The whole, twice, as C++17 and C++20."""
    failures, count = [], 0
    for compiler in filter(shutil.which, compilers):
        for standard in ("c++17", "c++20"):
            result = subprocess.run(
                [compiler, f"-std={standard}", "-Wall", "-Wextra", "-Werror", "-Wpedantic",
                 "-fsyntax-only", "-I", root / "include", "-x", "c++", "-"],
                input="#include <rlhf/rlhf.hpp>\n" * 2, text=True, capture_output=True)
            count += 1
            if result.returncode:
                failures.append(f"{compiler} -std={standard}:\n{result.stderr}")
    if not count:
        print("skipped: neither g++ nor clang++ is there to compile rlhf.hpp")
    return failures


def self_test(root, programs):
    failures = []
    if not check_calls(root, programs[:1], LEFT_OUT):
        failures.append("functions that one program alone does not reach went unnoticed")
    if not check_calls(root, programs, {**LEFT_OUT, "rlhf_version": "?"}):
        failures.append("a function listed as left out that is not went unnoticed")
    with tempfile.TemporaryDirectory() as folder:
        copy = pathlib.Path(folder)
        shutil.copytree(root / "include", copy / "include")
        shutil.copytree(root / "tests/cpp", copy / "tests/cpp")
        common = copy / "include/rlhf/common.h"
        common.write_text(common.read_text() + "RLHF_API int rlhf_more(int more);\n")
        if not any("rlhf_more" in text for text in check_calls(copy, programs, LEFT_OUT)):
            failures.append("a new function that rlhf.hpp lacks went unnoticed")
        (copy / "tests/cpp/test_more.cpp").write_text("int a = rlhf_version()[0];\n")
        if not any("calls C itself" in text for text in check_calls(copy, programs, LEFT_OUT)):
            failures.append("a C function called by a test went unnoticed")
        core = copy / "include/rlhf/hpp/core.hpp"
        core.write_text(core.read_text().replace("std::size_t size() const",
                                                 "std::size_tt size() const"))
        if shutil.which("g++") and not check_compilers(copy, ("g++",)):
            failures.append("a header that does not compile went unnoticed")
    return failures


def main():
    arguments = sys.argv[1:]
    testing = arguments[0] == "--self-test"
    root, *programs = arguments[1:] if testing else arguments
    root = pathlib.Path(root)
    if testing:
        failures = self_test(root, programs)
    else:
        failures = check_calls(root, programs, LEFT_OUT) + check_compilers(root)
    print("\n".join(failures) or "ok")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
