#!/usr/bin/env python3
"""Doxygen makes the reference without a warning, every public symbol of it documented, and a man
page for each function.

    check_reference.py SOURCE_ROOT
    check_reference.py --self-test SOURCE_ROOT

Without Doxygen it is skipped; ./dev setup installs it.
"""
import pathlib
import re
import shutil
import sys
import tempfile

SKIPPED = 77


def functions(root):
    """Names of the functions that the headers declare."""
    names = set()
    for header in (root / "include/rlhf").glob("*.h"):
        for code in re.findall(r"^RLHF_API\b[^;]*;", header.read_text(), flags=re.M):
            names.add(re.search(r"\b(rlhf_\w+)\s*\(", code).group(1))
    return names


def check(root):
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder)
        failures = build(root, out)
        pages = {path.stem: path.read_text() for path in (out / "man3").glob("*.3")}
    names = functions(root)
    if len(names) < 100:
        failures.append(f"only {len(names)} functions in the headers")
    for name in sorted(names):
        page = pages.get(name, "")
        for part in (f'.TH "{name}" 3', ".SH SYNOPSIS\n", f" {name}(", ".SH HISTORY\nSince version"):
            if part not in page.replace(f"*{name}(", f" {name}("):
                failures.append(f"the man page of {name} has no {part!r}")
    return failures


def self_test(root):
    """Each breach in a copy must be noticed."""
    breaches = [
        ("include/rlhf/lm.h", " * @param max_rows  At most this many; 0: all, which must end.\n", "",
         "max_rows"),
        ("include/rlhf/lm.h", "/**< Steps done, this one included. */", "", "rlhf_lm_stats.step"),
        ("include/rlhf/lm.h", "/**< Half a cosine, the same. */", "", "RLHF_SCHEDULE_COSINE"),
        ("include/rlhf/context.h", "/** What an allocation is for", "/** @wrong An allocation's",
         "wrong"),
        ("include/rlhf/lm.h", "docs/lm.md has", "docs/llm.md has", "page_llm"),
        ("include/rlhf/dataset.h", "/** Most bytes of a saved position. */\n", "",
         "RLHF_SOURCE_POSITION_MAX"),
    ]
    failures = []
    with tempfile.TemporaryDirectory() as folder:
        copy = pathlib.Path(folder).resolve()
        for name in ("include", "docs"):
            shutil.copytree(root / name, copy / name)
        shutil.copy(root / "meson.build", copy)
        for name, old, new, expected in breaches:
            text = (copy / name).read_text()
            if old not in text:
                failures.append(f"the self-test no longer finds {old!r} in {name}")
                continue
            (copy / name).write_text(text.replace(old, new, 1))
        noticed = "\n".join(check(copy))
    failures += [f"unnoticed: {words}" for *_, words in breaches if words not in noticed]
    return failures


def main():
    arguments = sys.argv[1:]
    run = check
    if arguments[0] == "--self-test":
        run, arguments = self_test, arguments[1:]
    if not shutil.which("doxygen"):
        print("skipped: doxygen is not installed")
        return SKIPPED
    failures = run(pathlib.Path(arguments[0]).resolve())
    print("\n".join(failures) or "ok")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.path.insert(0, str(pathlib.Path(sys.argv[-1]).resolve() / "docs/doxygen"))
    from build import build
    sys.exit(main())
