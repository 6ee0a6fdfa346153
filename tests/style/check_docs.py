#!/usr/bin/env python3
"""What README.md, CHANGELOG.md, the Python README and the pages of docs/ speak of exists.

    check_docs.py SOURCE_ROOT
    check_docs.py --self-test SOURCE_ROOT

Relative links lead somewhere, to a heading too where they name one, and every page of docs/ is linked
from docs/README.md. What is written as code exists: names that begin with rlhf_, rlhf__ or RLHF_ in
the tree's C, paths that begin with a folder of the tree, files that a page names. Comments of the C
sources name only pages that are there. The daggers of docs/ppo.md are those options that
lib/train/ppo_options.c marks as assumed.
"""
import functools
import pathlib
import re
import shutil
import sys
import tempfile

FOLDERS = ("lib", "include", "examples", "tests", "docs", "bench", "bindings", "build/examples")
# Names that are no C names: of files (config.json, saved state) and of packages.
OTHER_NAMES = {"rlhf_score_offset", "rlhf_append_eos", "rlhf_append_eos_id", "rlhf_layers",
               "RLHF_DATA_DIR", "RLHF_BUILD", "RLHF_MESON", "RLHF_PEERS_PYTHON"}


def sources(root):
    for folder in ("lib", "include", "examples", "bench", "tests"):
        yield from sorted((root / folder).rglob("*.[ch]"))
        yield from sorted((root / folder).rglob("*.[ch]pp"))


def pages(root):
    return [root / "README.md", root / "CHANGELOG.md", root / "bindings/python/README.md"] + sorted(
        (root / "docs").rglob("*.md"))


def anchors(text):
    """GitHub's names of the headings."""
    found = set()
    for heading in re.findall(r"^#+ (.*)$", text, flags=re.M):
        heading = re.sub(r"[^\w\- ]", "", heading.strip().lower())
        found.add(heading.replace(" ", "-"))
    return found


def check_links(root, path, text, where):
    found = []
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        aim = (path.parent / file).resolve() if file else path
        if not aim.exists():
            found.append(f"{where}: the link to {target} is dead")
        elif anchor and anchor not in anchors(aim.read_text()):
            found.append(f"{where}: {file or path.name} has no heading #{anchor}")
    return found


def code_spans(text):
    """(line, code) of `spans` and of indented or fenced blocks."""
    fenced = False
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("```"):
            fenced = not fenced
        elif fenced or line.startswith("    "):
            yield number, line
        else:
            for span in re.findall(r"`([^`]+)`", line):
                yield number, span


@functools.lru_cache(maxsize=None)
def names_of(root):
    """C names and files' names, and what C names begin with."""
    names, prefixes = set(OTHER_NAMES), set()
    for path in sources(root):
        names.add(path.name)
        names |= set(re.findall(r"\b(?:rlhf|RLHF)_\w+", path.read_text()))
    for name in names:
        prefixes |= {name[:i + 1] for i, c in enumerate(name) if c == "_"}
    return names, prefixes


def check_code(root, text, where, names, prefixes):
    found = []
    for line, code in code_spans(text):
        for name in re.findall(r"\b(?:rlhf|RLHF)_\w+", code):
            if name not in names and not (name.endswith("_") and name in prefixes):
                found.append(f"{where}:{line}: {name} does not exist")
        for target in re.findall(r"(?<![\w/.])((?:[\w.-]+/)+[\w.*-]*)", code):
            if target.startswith(FOLDERS) and not target.startswith("build/"):
                if not (list(root.glob(target.rstrip("/"))) if "*" in target
                        else (root / target).exists()):
                    found.append(f"{where}:{line}: {target} does not exist")
        if re.fullmatch(r"[a-z]\w+\.[ch]", code) and code not in names:
            found.append(f"{where}:{line}: no file is named {code}")
    for line, program in re.findall(r"`()(0\d_\w+)`", text):
        if not (root / f"examples/{program}.c").exists():
            found.append(f"{where}: examples/{program}.c does not exist")
    return found


def assumed_in_code(root):
    """{option: presets marked as assumed in the comment behind or above its values}."""
    code = (root / "lib/train/ppo_options.c").read_text()
    presets = re.findall(r'"([\w-]+)"', re.search(r"preset_names\[\] = \{(.*?)\}", code,
                                                  flags=re.S).group(1))
    table = re.search(r"preset_values\[\] = \{(.*?)\n\};", code, flags=re.S).group(1)
    marks = {}
    row = (r"(?:^[ \t]*/\*(?P<above>(?:[^*]|\*(?!/))*)\*/\n)?"
           r"[ \t]*\{\"(?P<name>\w+)\",\s*\{[^}]*\}\},[ \t]*(?:/\*(?P<behind>[^*]*)\*/)?")
    for match in re.finditer(row, table, flags=re.M):
        words = f"{match.group('above') or ''} {match.group('behind') or ''}"
        if "assumed" in words:
            listed = words.partition(":")[2]
            marks[match.group("name")] = {p for p in presets if p in listed or not listed}
        else:
            marks[match.group("name")] = set()
    return presets, marks


def check_presets(root):
    page = (root / "docs/ppo.md").read_text().partition("\n## Presets\n")[2]
    presets, marks = assumed_in_code(root)
    found = [] if len(marks) > 40 else [f"only {len(marks)} presets' options were found"]
    for name, assumed in marks.items():
        row = re.search(rf"^\| `{name}` \|(.*)\|$", page, flags=re.M)
        cells = [c.strip() for c in row.group(1).split("|")][1:] if row else []
        daggers = {p for p, c in zip(presets, cells) if c.endswith("†")}
        if daggers != assumed:
            found.append(f"docs/ppo.md: {name}: † at {sorted(daggers)}, assumed in the code: "
                         f"{sorted(assumed)}")
    return found


def check(root):
    names, prefixes = names_of(root)
    failures, texts = [], {path: path.read_text() for path in pages(root)}
    for path, text in texts.items():
        where = str(path.relative_to(root))
        failures += check_links(root, path, text, where)
        failures += check_code(root, text, where, names, prefixes)
    index = (root / "docs/README.md").read_text()
    for path in texts:
        name = str(path.relative_to(root / "docs")) if root / "docs" in path.parents else ""
        if name not in ("", "README.md") and f"({name})" not in index:
            failures.append(f"docs/README.md does not link {name}")
    for path in sources(root):
        for page in re.findall(r"docs/(?:[\w-]+/)?[\w-]+\.md", path.read_text()):
            if not (root / page).exists():
                failures.append(f"{path.relative_to(root)}: {page} does not exist")
    return failures + check_presets(root)


def self_test(root):
    """Each rule must notice its breach in a copy."""
    breaches = [
        ("docs/design.md", "(errors.md)", "(errata.md)", "the link to errata.md is dead"),
        ("README.md", "(docs/design.md)", "(docs/design.md#nowhere)", "no heading #nowhere"),
        ("docs/lm.md", "`sum_loss`", "`rlhf__sum_losses`", "rlhf__sum_losses does not exist"),
        ("docs/lm.md", "`lib/train/lm.c`", "`lib/train/lms.c`", "lib/train/lms.c does not exist"),
        ("docs/ppo.md", "`gae.c`", "`gea.c`", "no file is named gea.c"),
        ("docs/README.md", "[lm.md](lm.md)", "lm.md", "docs/README.md does not link lm.md"),
        ("docs/design.md", "`01_pretrain`", "`01_train`", "examples/01_train.c does not exist"),
        ("lib/train/lm.c", "docs/lm.md", "docs/llm.md", "docs/llm.md does not exist"),
        ("docs/ppo.md", "| 256† |", "| 256 |", "max_new_tokens: †"),
    ]
    failures = []
    with tempfile.TemporaryDirectory() as folder:
        copy = pathlib.Path(folder).resolve() / "tree"
        copy.mkdir()
        for name in ("lib", "include", "examples", "bench", "tests", "docs", "bindings"):
            shutil.copytree(root / name, copy / name)
        for name in ("README.md", "CHANGELOG.md", "LICENSE", "dev"):
            shutil.copy(root / name, copy / name)
        if check(copy):
            return ["the copy does not pass: " + check(copy)[0]]
        for name, old, new, expected in breaches:
            text = (copy / name).read_text()
            if old not in text:
                failures.append(f"the self-test no longer finds {old!r} in {name}")
                continue
            (copy / name).write_text(text.replace(old, new, 1))
            if expected not in "\n".join(check(copy)):
                failures.append(f"unnoticed in {name}: {expected}")
            (copy / name).write_text(text)
    return failures


def main():
    arguments = sys.argv[1:]
    run = check
    if arguments[0] == "--self-test":
        run, arguments = self_test, arguments[1:]
    failures = run(pathlib.Path(arguments[0]).resolve())
    print("\n".join(failures) or "ok")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
