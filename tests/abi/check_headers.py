#!/usr/bin/env python3
"""Each public header compiles alone, as strict C99 and as strict C++11.

    check_headers.py INCLUDE_DIR CC [CXX]
"""
import pathlib
import shutil
import subprocess
import sys


def main():
    include_dir, cc, *rest = sys.argv[1:]
    cxx = rest[0] if rest else "c++"
    compilers = [([cc, "-std=c99", "-x", "c"], "C99")]
    if shutil.which(cxx):
        compilers.append(([cxx, "-std=c++11", "-x", "c++"], "C++11"))
    else:
        print(f"no {cxx}: the C++11 check is skipped")
    failed = 0
    headers = sorted(pathlib.Path(include_dir, "rlhf").glob("*.h"))
    for header in headers:
        for command, standard in compilers:
            source = f"#include <rlhf/{header.name}>\n#include <rlhf/{header.name}>\n"
            result = subprocess.run(command + ["-Wall", "-Wextra", "-pedantic", "-Werror",
                                               "-fsyntax-only", "-I", include_dir, "-"],
                                    input=source, text=True, capture_output=True)
            if result.returncode:
                failed += 1
                print(f"{header.name} as {standard}:\n{result.stderr}")
    print(f"{len(headers)} headers, {failed} failures")
    return 1 if failed or not headers else 0


if __name__ == "__main__":
    sys.exit(main())
