#!/usr/bin/env python3
"""Every C file of lib/ compiles as strict -std=c11 against musl, warnings being errors, so that
nothing of glibc alone creeps in; and the files that ask for the machine once more as if it were an
aarch64, so that the branches for others stay whole. (`./dev musl` and `./dev cross` link and run it.)

    check_musl.py BUILD_DIR SOURCE_ROOT CC...
    check_musl.py --self-test BUILD_DIR SOURCE_ROOT CC...   (on files that lean on glibc: must fail)

Flags (-I, -isystem, -D, -m) are those of the build's own compilations. musl-gcc does not look into
/usr/include, so the headers of the libraries are shown to it in a folder of their own.
"""
import concurrent.futures
import json
import os
import pathlib
import shlex
import shutil
import subprocess
import sys
import tempfile

MUSL = ["musl-gcc", "-std=c11", "-Wall", "-Wextra", "-Werror", "-Wno-psabi", "-fsyntax-only"]
LIBRARY_HEADERS = ["yaml.h", "jansson.h", "pcre2.h", "sqlite3.h", "blis.h"]
SHOWN = set(LIBRARY_HEADERS) | {"jansson_config.h"}
ELSEWHERE = ["-U__x86_64__", "-D__aarch64__"]
GLIBC_ONLY = {
    "strerror.c": ("#include <string.h>\n"
                   "const char *f(char *buffer) { return strerror_r(2, buffer, 9); }\n"),
    "backtrace.c": ("#include <execinfo.h>\n"
                    "int f(void **frames) { return backtrace(frames, 1); }\n"),
    "fpcontrol.c": ("#include <fenv.h>\n"
                    "int f(void) { return feenableexcept(FE_INVALID); }\n"),
}


def useful(command):
    """The flags of a compilation that another compiler is to be given, too."""
    words = shlex.split(command)
    flags = []
    for word, following in zip(words, words[1:] + [""]):
        if word == "-isystem":
            flags += [word, following]
        elif word[:2] in ("-I", "-D", "-m"):
            flags.append(word)
    return flags


def compilations(build_dir, source_root):
    """(folder, file, flags), one for each C file of lib/."""
    found = {}
    for entry in json.loads(pathlib.Path(build_dir, "compile_commands.json").read_text()):
        path = pathlib.Path(entry["directory"], entry["file"]).resolve()
        if path.suffix == ".c" and source_root / "lib" in path.parents:
            found[path] = (entry["directory"], path, useful(entry["command"]))
    return [found[path] for path in sorted(found)]


def show_headers(cc, flags, folder):
    """Links in `folder` to the libraries' headers, wherever the build's compiler finds them."""
    source = "".join(f"#include <stdio.h>\n#include <{name}>\n" for name in LIBRARY_HEADERS)
    rule = subprocess.run([*cc, *flags, "-DPCRE2_CODE_UNIT_WIDTH=8", "-M", "-x", "c", "-"],
                          input=source, text=True, stdout=subprocess.PIPE, check=True).stdout
    for word in rule.replace("\\\n", " ").split():
        path = pathlib.Path(word)
        link = pathlib.Path(folder, path.name)
        if path.name in SHOWN and not link.exists():
            os.symlink(path, link)


def compile_all(command, jobs):
    """What the compiler says of each file that does not compile."""
    def one(job):
        folder, path, flags = job
        result = subprocess.run([*command, *flags, str(path)], cwd=folder, capture_output=True,
                                text=True)
        return f"{path.name}:\n{result.stderr}" if result.returncode else ""
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        return [text for text in pool.map(one, jobs) if text]


def check(build_dir, source_root, cc):
    jobs = compilations(build_dir, source_root)
    if not jobs:
        return [f"{build_dir} compiles nothing of lib/"]
    with tempfile.TemporaryDirectory() as folder:
        show_headers(cc, jobs[0][2], folder)
        asking = [job for job in jobs if "__x86_64__" in job[1].read_text()]
        return (compile_all([*MUSL, "-isystem", folder], jobs)
                + compile_all([*MUSL, "-isystem", folder, *ELSEWHERE], asking))


def self_test(cc):
    failures = []
    with tempfile.TemporaryDirectory() as folder:
        for name, text in GLIBC_ONLY.items():
            path = pathlib.Path(folder, name)
            path.write_text(text)
            job = [(folder, path, ["-D_GNU_SOURCE"])]
            failures += [f"the build's own compiler: {text}"
                         for text in compile_all([*cc, "-fsyntax-only"], job)]
            if not compile_all(MUSL, job):
                failures.append(f"unnoticed: {name}")
        path = pathlib.Path(folder, "level.c")
        path.write_text("int level(int x);\nint level(int x)\n{\n#if defined(__x86_64__)\n"
                        "    return x;\n#endif\n    return 0;\n}\n")
        job = [(folder, path, [])]
        failures += compile_all(MUSL, job)
        if not compile_all([*MUSL, *ELSEWHERE], job):
            failures.append("unnoticed: a parameter that x86-64 alone uses")
    return failures


def main():
    arguments = sys.argv[1:]
    testing = arguments[0] == "--self-test"
    build_dir, source_root, *cc = arguments[1:] if testing else arguments
    if not shutil.which(MUSL[0]):
        print(f"skipped: {MUSL[0]} is not installed (Debian: musl-tools)")
        return 77
    failures = self_test(cc) if testing else check(build_dir, pathlib.Path(source_root), cc)
    print("\n".join(failures) or "ok")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
