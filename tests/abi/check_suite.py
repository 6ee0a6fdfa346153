#!/usr/bin/env python3
"""A broken interface makes the suite fail: its checks run on copies of the tree, one whole and the
others broken, each with a library of its own, and say what they must.

    check_suite.py SOURCE_ROOT BUILD_DIR LIBRARY

A copy's library is the build's objects, those compiled anew that a break touches. What the checks are
and how they are called is Meson's list of tests.
"""
import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import tempfile

# The tests that look at the interface's shape; and each host of tests/abi/hosts.
CHECKS = ("symbols", "headers", "layout", "baseline")


class Break:
    def __init__(self, name, edits, compiled, wanted):
        self.name, self.edits, self.compiled, self.wanted = name, edits, compiled, wanted


FUNCTION = r"rlhf_status rlhf_generator_run\(rlhf_generator \*generator\)"
BODY = FUNCTION + r"\n\{.*?\n\}\n"
BREAKS = [
    Break("nothing", [], ["lib/api/ppo.c", "lib/api/generate.c"], []),
    Break("two fields change places",
          [("include/rlhf/ppo.h", r"double gamma;(.*?)double lam;", r"double lam;\1double gamma;")],
          ["lib/api/ppo.c"], ["layout", "baseline"]),
    Break("a function is lost", [("lib/api/generate.c", BODY, "")], ["lib/api/generate.c"],
          ["symbols", "baseline", "host"]),
    Break("a function is taken back", [
        ("lib/api/generate.c", BODY, ""),
        ("include/rlhf/generate.h", "RLHF_API RLHF_MUST_CHECK " + FUNCTION + ";", ""),
        ("lib/librlhf.map", r"\n *rlhf_generator_run;", "")], ["lib/api/generate.c"],
        ["baseline", "host"]),
    Break("a header leans on C11", [
        ("include/rlhf/common.h", "(RLHF_API const char .rlhf_version)",
         '_Static_assert(1, "");\n\\1')], [], ["headers"]),
]


class Tree:
    """A copy of the sources, broken, and its library."""

    def __init__(self, source, build, original, folder, broken):
        self.source, self.build, self.original, self.folder = source, build, original, folder
        for part in ("include", "lib"):
            shutil.copytree(source / part, folder / part)
        for path, pattern, replacement in broken.edits:
            text, count = re.subn(pattern, replacement, (folder / path).read_text(), flags=re.S)
            if count != 1:
                raise SystemExit(f"{broken.name}: {count} places in {path} for {pattern}")
            (folder / path).write_text(text)
        self.commands = json.loads((build / "compile_commands.json").read_text())
        self.library = folder / "librlhf.so"
        self.link([self.compile(path) for path in broken.compiled])

    def here(self, word):
        """A word of a command, with the copy's path where it names the source's."""
        head, path = re.fullmatch(r"(-I|-Wl,--version-script,|)(.*)", word, flags=re.S).groups()
        full = pathlib.Path(os.path.normpath(self.build / path))
        for part in ("include", "lib"):
            if full == self.source / part or self.source / part in full.parents:
                return head + str(self.folder / full.relative_to(self.source))
        return word

    def run(self, command, **environment):
        return subprocess.run(command, cwd=self.build, capture_output=True, text=True,
                              env={**os.environ, **environment})

    def must(self, command):
        result = self.run(command)
        if result.returncode:
            raise SystemExit(f"{' '.join(command)}:\n{result.stdout}{result.stderr}")

    def compile_command(self, path):
        """(the command on the copy, what it writes in the build, what it writes here)"""
        for entry in self.commands:
            if os.path.normpath(self.build / entry["file"]) == str(self.source / path):
                output = entry["output"]
                made = str(self.folder / pathlib.Path(output).name)
                words = [self.here(word) for word in shlex.split(entry["command"])]
                return [word.replace(output, made) for word in words], output, made
        raise SystemExit(f"no command compiles {path}")

    def compile(self, path):
        command, output, made = self.compile_command(path)
        self.must(command + ["-Wno-error"])
        return output, made

    def link(self, changed):
        """The build's own command, with an archive of the copy's."""
        text = subprocess.run(["ninja", "-t", "commands", self.original], cwd=self.build,
                              capture_output=True, text=True, check=True).stdout
        command = shlex.split(text.splitlines()[-1])
        prefix, archive = "lib/librlhf-core.a.p/", self.folder / "core.a"
        objects = dict(changed)
        members = [objects.get(entry["output"], entry["output"]) for entry in self.commands
                   if entry["output"].startswith(prefix)]
        self.must(["ar", "crs", str(archive), *members])
        command[command.index("-o") + 1] = str(self.library)
        self.must([str(archive) if word == "lib/librlhf-core.a" else self.here(word)
                   for word in command])

    def passes(self, test):
        """(whether a check passes on this copy, whether it was skipped, what it said)"""
        if test["name"] == "layout": # a program whose assertions are the compiler's
            result = self.run(self.compile_command("tests/abi/test_layout.c")[0])
        elif test["name"].startswith("host-"): # a program as it was linked, with today's library
            result = self.run(test["cmd"], LD_PRELOAD=str(self.library), LD_BIND_NOW="1")
        else:
            result = self.run([str(self.library) if word == self.original else self.here(word)
                               for word in test["cmd"]])
        return result.returncode in (0, 77), result.returncode == 77, result.stdout + result.stderr


def main():
    source, build = (pathlib.Path(os.path.realpath(path)) for path in sys.argv[1:3])
    library = os.path.relpath(os.path.realpath(sys.argv[3]), build) # as ninja and meson name it
    tests = json.loads((build / "meson-info/intro-tests.json").read_text())
    kinds = {test["name"]: "host" if test["name"].startswith("host-") else test["name"] for test in tests}
    tests = [test for test in tests if kinds[test["name"]] in (*CHECKS, "host")
             and any(suite.endswith(":abi") for suite in test["suite"])]
    failures = [f"no check {kind}" for kind in (*CHECKS, "host")
                if kind not in [kinds[test["name"]] for test in tests]]
    unseen = {test["name"] for test in tests}
    for broken in BREAKS:
        with tempfile.TemporaryDirectory() as folder:
            tree = Tree(source, build, library, pathlib.Path(folder), broken)
            for test in tests:
                passed, skipped, said = tree.passes(test)
                if skipped or not passed:
                    unseen.discard(test["name"])
                if skipped:
                    continue
                if passed and kinds[test["name"]] in broken.wanted:
                    failures.append(f"{broken.name}: {test['name']} passes")
                if not passed and not broken.wanted:
                    failures.append(f"{broken.name}: {test['name']} fails:\n{said}")
    failures += [f"{name} never failed: which break should it see?" for name in sorted(unseen)]
    print("\n".join(failures) or f"ok: {len(BREAKS)} copies, {len(tests)} checks")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
