#!/usr/bin/env python3
"""The code blocks of README.md and of docs/ are real: each is compiled, run, or part of what is.

    check_blocks.py SOURCE_ROOT BUILD_ROOT LIBRARY MAKE_SCRATCH CC... -- CXX
    check_blocks.py --self-test ...

Each page has a folder of its own with tiny models (sft, policy, reward), data (corpus.txt,
prompts.jsonl, choices.jsonl) and the programs of docs/code. By the word behind the fence:

c, cpp  A whole program is compiled, warnings being errors, and runs: `program`. Under a comment
        <!-- PATH --> the block is a piece of that file, blank lines and indentation aside; a line
        of "..." stands for lines left out; so is text. Each program of docs/code is compiled here.
sh      Runs. `cc`, `c++` and `pkg-config` are this build's.
yaml    Is read by the library: no unknown key, no value out of range.
python  Runs in the suite `bindings`, which must name the page.
text    Output, formulas and the like.

<!-- not run: REASON --> above a block keeps it from being run; the reasons are printed.
"""
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import tempfile

WARNINGS = ["-Wall", "-Wextra", "-Wshadow", "-Werror"]
STANDARDS = {".c": ["-std=c11"], ".cpp": ["-std=c++17"]}
BLOCK = re.compile(r"(?:^<!--\s*(?P<directive>[^>]*?)\s*-->\n)?^(?P<indent> *)```(?P<word>\w*)\n"
                   r"(?P<code>.*?)^ *```$", flags=re.M | re.S)
COMMAND = r"^    (\./dev|cc|c\+\+|gcc|python3?|meson|ninja|cmake|pip|apt|git|build/)\b.*$"


def resolved(compiler):
    """By its whole path, and not behind ccache, which would find the `cc` of the scratch folder."""
    words = [word for word in compiler if pathlib.Path(word).name != "ccache"]
    return [shutil.which(words[0]), *words[1:]] if words else []


class Workplace:
    def __init__(self, arguments, scratch):
        root, build, library, maker, *compilers = arguments
        split = compilers.index("--")
        self.root = pathlib.Path(root).resolve()
        self.build, self.library = pathlib.Path(build).resolve(), pathlib.Path(library).resolve()
        self.maker, self.scratch = pathlib.Path(maker).resolve(), pathlib.Path(scratch)
        self.compilers = {".c": resolved(compilers[:split]), ".cpp": resolved(compilers[split + 1:])}
        self.not_run = []
        self.environment = dict(
            os.environ, LC_ALL="C.UTF-8", PYTHONDONTWRITEBYTECODE="1",
            PKG_CONFIG_PATH=str(self.build / "meson-uninstalled"),
            LD_LIBRARY_PATH=str(self.library.parent), PATH=f"{scratch}/bin:{os.environ['PATH']}")
        self.prepare()

    def prepare(self):
        """The commands `cc` and `c++`, and the folder that each page begins with."""
        for command, compiler in (("cc", self.compilers[".c"]), ("c++", self.compilers[".cpp"])):
            path = self.scratch / "bin" / command
            path.parent.mkdir(exist_ok=True)
            if compiler:
                path.write_text(f'#!/bin/sh\nexec {shlex.join(compiler)} "$@"\n')
                path.chmod(0o755)
        start = self.scratch / "start"
        shutil.copytree(self.root / "docs/code", start)
        subprocess.run([self.maker], cwd=start, check=True, env=self.environment)
        shutil.copytree(start / "sft", start / "policy")

    def run(self, command, folder):
        """Words about a failure, or None."""
        try:
            run = subprocess.run(command, cwd=folder, env=self.environment, timeout=120,
                                 stdin=subprocess.DEVNULL, capture_output=True, text=True,
                                 errors="replace") # a tiny model's words need not be UTF-8
        except subprocess.TimeoutExpired:
            return "it took more than two minutes"
        if run.returncode == 0:
            return None
        return f"it ended with {run.returncode}: {run.stdout[-600:]}{run.stderr[-1500:]}"

    def compile(self, source, binary, folder):
        compiler = self.compilers[source.suffix]
        return self.run([*compiler, *STANDARDS[source.suffix], "-D_DEFAULT_SOURCE", *WARNINGS,
                         "-I", self.root / "include", source, self.library, "-lm", "-o", binary],
                        folder)


def squeeze(text):
    """Lines without indentation, blank ones left out."""
    return [line.strip() for line in text.splitlines() if line.strip()]


def quotes(block, whole):
    """Whether the block's pieces, parted by lines of "...", are in the text in this order."""
    at, lines, pieces = 0, squeeze(whole), [[]]
    for line in squeeze(block):
        if line in ("...", "/* ... */", "// ..."):
            pieces.append([])
        else:
            pieces[-1].append(line)
    for piece in pieces:
        while lines[at:at + len(piece)] != piece:
            at += 1
            if at + len(piece) > len(lines):
                return False
        at += len(piece)
    return True


def check_program(work, code, suffix, folder):
    if not work.compilers[suffix]:
        return None
    source = folder / f"program{suffix}"
    source.write_text(code)
    return (work.compile(source, "program", folder) or
            work.run([folder / "program"], folder))


def check_yaml(work, code, folder):
    (folder / "block.yaml").write_text(code)
    keys = re.findall(r"^(\w+): *[^\s#]", code, flags=re.M)
    return work.run([work.maker, "block.yaml", *keys], folder)


def check_block(work, word, directive, code, folder):
    """Words about a failure, or None."""
    if word in ("c", "cpp", "text") and directive:
        path = work.root / directive
        if not path.is_file():
            return f"{directive} is no file"
        return None if quotes(code, path.read_text()) else f"it is not a piece of {directive}"
    if word in ("c", "cpp"):
        return check_program(work, code, f".{word}", folder)
    if word == "sh":
        return work.run(["sh", "-eu", "-c", code], folder)
    if word == "yaml":
        return check_yaml(work, code, folder)
    return None if word in ("text", "python") else f"the word behind the fence is {word!r}"


def check_page(work, name, text):
    folder = work.scratch / re.sub(r"\W", "_", name)
    shutil.copytree(work.scratch / "start", folder)
    failures, python = [], False
    for found in BLOCK.finditer(text):
        word, directive = found.group("word"), found.group("directive") or ""
        line = text[:found.start("word")].count("\n") + 1
        if word == "sh" and "c++ " in found.group("code") and not work.compilers[".cpp"]:
            directive = "not run: there is no C++ compiler"
        if directive.startswith("not run: "):
            work.not_run.append(f"{name}:{line}: {directive}")
            continue
        code = re.sub(rf"^{found.group('indent')}", "", found.group("code"), flags=re.M)
        python = python or word == "python"
        words = check_block(work, word, directive, code, folder)
        if words:
            failures.append(f"{name}:{line}: {words}")
    tests = work.root / "bindings/python/tests/test_examples.py"
    if python and f'"{name}"' not in tests.read_text():
        failures.append(f"{name}: {tests.name} does not run its Python")
    unfenced = re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)
    failures += [f"{name}: a command that no fence makes run: {found.group().strip()}"
                 for found in re.finditer(COMMAND, unfenced, flags=re.M)]
    return failures


def pages(root):
    found = [root / "README.md", *(root / "docs").rglob("*.md"),
             *(root / "bindings/python").glob("*.md")]
    return {str(path.relative_to(root)): path.read_text() for path in sorted(found)
            if path.exists()}


def check(work):
    failures, texts = [], pages(work.root)
    for source in sorted((work.root / "docs/code").glob("*.c*")):
        if work.compilers[source.suffix]:
            words = work.compile(source, "program", work.scratch / "start")
            failures += [f"docs/code/{source.name}: {words}"] if words else []
        if not any(f"docs/code/{source.name}" in text for text in texts.values()):
            failures.append(f"no page speaks of docs/code/{source.name}")
    for name, text in texts.items():
        if re.search(r"^ *```|" + COMMAND, text, flags=re.M):
            failures += check_page(work, name, text)
    print("\n".join(work.not_run))
    return failures


def self_test(work):
    """Each rule must notice its breach."""
    program = "#include <rlhf/rlhf.h>\nint main(void)\n{{\n    return {};\n}}\n"
    cases = [
        ("good", f"```c\n{program.format('rlhf_version()[0] == 0')}```\n", ""),
        ("returns", f"```c\n{program.format(3)}```\n", "ended with 3"),
        ("compiles", f"```c\n{program.format('rlhf_version()')}```\n", "error"),
        ("warns", f"```c\n{program.format('0; int unused = 1')}```\n", "unused"),
        ("quote", "<!-- docs/code/server.c -->\n```c\nstatic volatile sig_atomic_t stopping;\n"
         "...\n    stopping = 1;\n```\n", ""),
        ("misquote", "<!-- docs/code/server.c -->\n```c\n    stopping = 1;\n...\n"
         "static volatile sig_atomic_t stopping;\n```\n", "not a piece"),
        ("mistext", "<!-- docs/code/librlhf.wrap -->\n```text\nurl = elsewhere\n```\n",
         "not a piece"),
        ("nowhere", "<!-- docs/code/none.c -->\n```c\nint a;\n```\n", "is no file"),
        ("shell", "```sh\ntest -d sft\ntest -d reward\ncc --version\n```\n", ""),
        ("broken", "```sh\nfalse\ntrue\n```\n", "ended with 1"),
        ("yaml", "```yaml\nmodel: work/sft\nppo:\n  preset: trl\n  kl_coef: 0.1\n```\n", ""),
        ("key", "```yaml\nppo:\n  kl_coeff: 0.1\n```\n", "kl_coeff"),
        ("range", "```yaml\nppo:\n  clip_range: -1\n```\n", "clip_range"),
        ("word", "```\nwhat\n```\n", "the word behind the fence"),
        ("bare", "Then\n\n    ./dev test\n", "no fence makes run"),
        ("snake", "```python\nprint()\n```\n", "does not run its Python"),
        ("excused", "<!-- not run: so -->\n```sh\nfalse\n```\n", ""),
    ]
    failures = []
    for name, text, expected in cases:
        found = "\n".join(check_page(work, name, text))
        if bool(found) != bool(expected) or expected not in found:
            failures.append(f"{name}: expected {expected!r}, found {found!r}")
    return failures


def main():
    arguments = sys.argv[1:]
    run = check
    if arguments[0] == "--self-test":
        run, arguments = self_test, arguments[1:]
    with tempfile.TemporaryDirectory() as scratch:
        failures = run(Workplace(arguments, scratch))
    print("\n".join(failures) or "ok")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
