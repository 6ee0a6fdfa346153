#!/usr/bin/env python3
"""House rules that a machine can check, on lib/, include/, examples/, bench/ and tests/.

    check_sources.py SOURCE_ROOT
    check_sources.py --self-test SOURCE_ROOT

Files of at most 800 lines; functions of at most 60 (lib/); lines of at most 90 columns, no tabs, no
trailing blanks; in lib/ no printing, no exit, no abort, no setenv, no heap but base/alloc.
"""
import pathlib
import re
import sys
import tempfile

MAX_LINES, MAX_FUNCTION, MAX_COLUMNS = 800, 60, 90
GENERATED = {"tests/abi/test_layout.c", "tests/golden/trainers_golden.h"}
FORBIDDEN = {
    r"(?<![\w.>])(printf|puts|putchar|perror)\s*\(": "prints",
    r"(?<![\w.>])(abort|exit|_exit|quick_exit)\s*\(": "ends the process",
    r"(?<![\w.>])(setenv|putenv|unsetenv|setlocale|chdir|signal|sigaction)\s*\(":
        "changes the host's state",
    r"\b(stdout|stderr)\b": "uses a standard stream",
}
HEAP = r"(?<![\w.>])(malloc|calloc|realloc|strdup|strndup)\s*\("
UNFINISHED = r"\b(TODO|FIXME|XXX|HACK)\b"


def strip(text):
    """Comments and strings blanked, line numbers kept."""
    pattern = r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"' + r"|'(?:\\.|[^'\\\n])*'"
    return re.sub(pattern, lambda m: "\n" * m.group().count("\n"), text, flags=re.S)


def functions(code):
    """(first line, length) of each function body that starts in column 0."""
    start = None
    for number, line in enumerate(code.splitlines(), 1):
        if line.startswith("{"):
            start = number
        elif line.startswith("}") and start:
            yield start, number - start + 1
            start = None


def check_file(path, relative, failures):
    text = path.read_text()
    lines = text.splitlines()
    generated = str(relative) in GENERATED or "golden" in relative.name
    if len(lines) > MAX_LINES and not generated:
        failures.append(f"{relative}: {len(lines)} lines")
    for number, line in enumerate(lines, 1):
        if len(line) > MAX_COLUMNS and not generated:
            failures.append(f"{relative}:{number}: {len(line)} columns")
        if "\t" in line or line != line.rstrip():
            failures.append(f"{relative}:{number}: a tab or trailing blank")
        if re.search(UNFINISHED, line):
            failures.append(f"{relative}:{number}: unfinished: {line.strip()}")
    if relative.parts[0] != "lib":
        return
    code = strip(text)
    for first, length in functions(code):
        if length > MAX_FUNCTION:
            failures.append(f"{relative}:{first}: a function of {length} lines")
    rules = dict(FORBIDDEN)
    if relative.parts[1] != "base":
        rules[HEAP] = "takes memory without base/alloc"
    for number, line in enumerate(code.splitlines(), 1):
        for pattern, what in rules.items():
            if re.search(pattern, line):
                failures.append(f"{relative}:{number}: {what}: {line.strip()}")


def check(root):
    failures, count = [], 0
    for folder in ("lib", "include", "examples", "bench", "tests"):
        for path in sorted((root / folder).rglob("*.[ch]*")):
            if path.suffix not in (".c", ".h", ".cpp", ".hpp"):
                continue
            count += 1
            check_file(path, path.relative_to(root), failures)
    if count < 50 and not failures:
        failures.append(f"only {count} files found in {root}")
    return failures


def self_test(_root):
    with tempfile.TemporaryDirectory() as folder:
        copy = pathlib.Path(folder)
        (copy / "lib/nn").mkdir(parents=True)
        body = "".join(f"    x += {i};\n" for i in range(70))
        (copy / "lib/nn/wrong.c").write_text(
            "int f(int x)\n{\n" + body + "    printf(\"%d\", x);\n    exit(1);\n"
            "    malloc(3); /* TODO */\n}\n")
        found = "\n".join(check(copy))
    wanted = ["a function of", "prints", "ends the process", "takes memory", "unfinished"]
    return [f"unnoticed: {what}" for what in wanted if what not in found]


def main():
    arguments = sys.argv[1:]
    run = check
    if arguments[0] == "--self-test":
        run, arguments = self_test, arguments[1:]
    failures = run(pathlib.Path(arguments[0]))
    print("\n".join(failures) or "ok")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
