#!/usr/bin/env python3
"""docs/cpp.md: every class and function of rlhf.hpp beside the C function that says what it does.

    make_page.py SOURCE_ROOT > docs/cpp.md
    make_page.py --check SOURCE_ROOT         (the page is the headers', and reaches all of C)
    make_page.py --self-test SOURCE_ROOT     (on broken copies: must fail)

A small reader of the headers' own style, no C++ parser: statements end at a semicolon or at the brace
of a body, and a body's calls of C begin with "::rlhf_".
"""
import dataclasses
import pathlib
import re
import shutil
import sys
import tempfile

from check_reach import LEFT_OUT, declared

HEADERS = ("core", "data", "model", "train")
INTRO = """# C++: what stands for what

`<rlhf/rlhf.hpp>` is the C interface in C++17, header-only; [embedding.md](embedding.md#c) tells how it
behaves. What a function does, which shapes, ranges and errors there are, is said in the C headers: this
page names, for each, the C function that says it. A failure is thrown as `rlhf::error`, which holds what
rlhf_last_error_info() tells; `get()` of any object is its C handle.

Made from the headers by `tests/cpp/make_page.py`; a test compares, and holds that all of C is reached.
"""


@dataclasses.dataclass
class Member:
    signature: str
    comment: str
    code: str # head and body
    public: bool = True

    @property
    def name(self):
        return re.search(r"([\w=\[\]<>]+)\(", self.signature)[1]


@dataclasses.dataclass
class Class:
    name: str
    comment: str
    bases: str
    template: str
    members: list
    aggregate: bool # a struct of values only


def one_line(text):
    return re.sub(r"\s+", " ", text).strip()


def words(comment):
    """A comment's text; not that of a rule across the page."""
    text = one_line(re.sub(r"^\s*\*", " ", comment[2:-2], flags=re.M))
    return "" if text.startswith("---") else text


def closing(text, at):
    """The index behind the brace that closes the one at `at`."""
    depth = 0
    for i in range(at, len(text)):
        depth += {"{": 1, "}": -1}.get(text[i], 0)
        if depth == 0:
            return i + 1
    raise ValueError("a brace is never closed")


def statements(text):
    """(comment before it, head, body or None) of each declaration at the outermost level."""
    at, comment = 0, ""
    token = re.compile(r"\s*(/\*.*?\*/|#[^\n]*|(?:public|private|protected):)", re.S)
    while at < len(text):
        found = token.match(text, at)
        if found:
            piece = found.group(1)
            if piece.startswith("/*"): # one behind a statement, in its line, is that one's
                comment = words(piece) if "\n" in text[at:found.start(1)] else comment
            elif not piece.startswith("#"):
                yield "", piece, None
            at = found.end()
            continue
        parens, start = 0, at
        while at < len(text):
            c = text[at]
            parens += {"(": 1, ")": -1}.get(c, 0)
            if parens == 0 and c in ";{":
                break
            at += 1
        head = one_line(re.sub(r"/\*.*?\*/", "", text[start:at], flags=re.S))
        if at == len(text):
            return
        body = None
        if text[at] == "{":
            end = closing(text, at)
            body, at = text[at + 1:end - 1], end
        else:
            at += 1
        if head:
            yield comment, head, body
        comment = ""


def signature(head):
    """Without what the caller does not see: the initialisers of a constructor, and so on."""
    head = re.sub(r"^template <.*?> (?=\w)", "", head)
    depth = 0
    for i, c in enumerate(head):
        depth += {"(": 1, ")": -1}.get(c, 0)
        if depth == 0 and c == ":" and head[i - 1:i + 2] == " : ":
            head = head[:i]
            break
    head = re.sub(r"\b(inline|explicit|constexpr) ", "", head)
    return re.sub(r" noexcept\b", "", head).replace("::rlhf_", "rlhf_").strip()


def members(body, public):
    out = []
    for comment, head, inside in statements(body):
        if head in ("public:", "private:", "protected:"):
            public = head == "public:"
        elif "(" in head and not head.startswith(("using ", "static constexpr", "friend ")) \
                and "operator=" not in head and "= delete" not in head and "= default" not in head \
                and "~" not in head:
            out.append(Member(signature(head), comment, f"{head} {inside or ''}", public))
    return out


def read(root):
    """(classes by name, free functions, names of C structs by ours, what `using` names)."""
    classes, functions, structs, aliases = {}, [], {}, {}

    def visit(text, inner):
        for comment, head, body in statements(text):
            named = re.match(r"(?:template <(?P<template>.*)> )?(?P<key>class|struct) (?P<name>\w+)"
                             r"(?: : (?P<bases>.*))?$", head)
            if head.startswith("namespace"):
                visit(body, inner or "detail" in head)
            elif named and body is not None:
                kind = re.search(r"(?:initialised|sized)<::(rlhf_\w+)", named["bases"] or "")
                if kind and not inner:
                    structs[named["name"]] = kind[1]
                found = Class(named["name"], comment, named["bases"] or "",
                              named["template"] or "", members(body, named["key"] == "struct"),
                              bool(kind))
                classes[("detail::" if inner else "") + found.name] = found
            elif head.startswith("using "):
                name, _, meaning = head[6:].partition(" = ")
                kind = re.match(r"sized<::(rlhf_\w+)>", meaning)
                if kind and not inner:
                    structs[name] = kind[1]
                aliases[("detail::" if inner else "") + name] = meaning
            elif not inner and body is not None and "(" in head:
                functions.append(Member(signature(head), comment, f"{head} {body}"))

    for name in HEADERS:
        text = (root / f"include/rlhf/hpp/{name}.hpp").read_text()
        visit(re.sub(r"//[^\n]*", "", text), False)
    return classes, functions, structs, aliases


def called(member, renamed, names):
    """C functions of a member's head and body, in order; `renamed`: a template's parameters."""
    found = re.findall(r"::(rlhf_\w+)(?=[(,)>}])", member.code)
    found += [renamed[word] for word in re.findall(r"\b([A-Z]\w*)\(", member.code) if word in renamed]
    return [name for name in dict.fromkeys(found) if name in names]


def base_of(one, classes, aliases, names):
    """(members of the template that it is made from, {its parameter: C function}, who frees)."""
    meaning = aliases.get(one.bases.replace("public ", ""), one.bases.replace("public ", ""))
    values = re.findall(r"(?:^|[<,]) *(?:::)?(\w+)", meaning.partition("<")[2].join("<>"))
    free = next((v for v in values if v.endswith("_free")), "")
    template = classes.get("detail::" + re.match(r"(?:detail::)?(\w*)", meaning)[1])
    if template is None or template.name == "handle": # `get` and `keep` of all handles
        return [], {}, free
    parameters = re.findall(r"\(\*(\w+)\)|class (\w+)", template.template)
    return (template.members, {a or b: value for (a, b), value in zip(parameters, values)
                               if value in names or b == "Stats"}, free)


def table(listed, renamed, names):
    """Members that only pass on to others of their class say those' C functions."""
    by_name = {}
    for member in listed:
        by_name.setdefault(member.name, []).extend(called(member, renamed, names))
    rows = [["C++", "C", ""]]
    for member in (m for m in listed if m.public):
        calls = called(member, renamed, names) or [
            name for word in re.findall(r"(\w+)\(", member.code) for name in by_name.get(word, [])]
        links = ", ".join(f"{name}()" for name in dict.fromkeys(calls))
        text = re.sub(r"\bStats\b", renamed.get("Stats", "Stats"), member.signature)
        rows.append([f"`{text}`", links, member.comment])
    shown = [i for i in range(3) if any(row[i] for row in rows[1:])] # no empty columns
    lines = ["| " + " | ".join(row[i] for i in shown) + " |" for row in rows]
    return [lines[0], "|---" * len(shown) + "|", *lines[1:]]


def page(root):
    names = declared(root)
    classes, functions, structs, aliases = read(root)
    out = [INTRO]
    for name, one in classes.items():
        if name.startswith("detail::") or one.name in ("span", "sized"):
            continue
        shared, renamed, free = base_of(one, classes, aliases, names)
        if one.aggregate:
            shared = []
        listed = one.members + shared
        if any(member.public for member in listed):
            out += [f"\n## rlhf::{name}\n"] + ([one.comment + "\n"] if one.comment else [])
            out += [f"Freed by {free}().\n"] if free else []
            out += table(listed, renamed, names)
    out += ["\n## Functions\n", *table(functions, {}, names)]
    out += ["\n## Structs\n", "Initialised when made, by the C struct's `_init` where it has one; the fields"
            " are the C struct's.\n", "| C++ | C |", "|---|---|"]
    out += [f"| `rlhf::{ours}` | {theirs} |" for ours, theirs in structs.items()]
    return "\n".join(out).replace("\n\n\n", "\n\n") + "\n"


def check(root):
    text, path = page(root), root / "docs/cpp.md"
    failures = []
    if not path.exists() or path.read_text() != text:
        failures.append("docs/cpp.md is not what tests/cpp/make_page.py makes of the headers")
    for name in sorted(declared(root) - set(LEFT_OUT)):
        if f"{name}()" not in text and not name.endswith("_init"):
            failures.append(f"docs/cpp.md does not tell what stands for {name}")
    return failures


def self_test(root):
    breaches = [("docs/cpp.md", "rlhf_model_clone()", "rlhf_model_copy()", "is not what"),
                ("include/rlhf/hpp/model.hpp", "model clone() const", "model copy() const", "is not what"),
                ("include/rlhf/hpp/train.hpp", "::rlhf_ppo_trainer_set_kl_coef(", "kl_coef(",
                 "stands for rlhf_ppo_trainer_set_kl_coef")]
    failures = []
    with tempfile.TemporaryDirectory() as folder:
        copy = pathlib.Path(folder)
        shutil.copytree(root / "include", copy / "include")
        (copy / "docs").mkdir()
        shutil.copy(root / "docs/cpp.md", copy / "docs")
        for name, old, new, expected in breaches:
            text = (copy / name).read_text()
            if old not in text:
                failures.append(f"the self-test no longer finds {old!r} in {name}")
            (copy / name).write_text(text.replace(old, new))
            if not any(expected in failure for failure in check(copy)):
                failures.append(f"unnoticed in {name}: {expected}")
            (copy / name).write_text(text)
    return failures


def main():
    *option, root = sys.argv[1:]
    root = pathlib.Path(root).resolve()
    if not option:
        print(page(root), end="")
        return 0
    failures = {"--check": check, "--self-test": self_test}[option[0]](root)
    print("\n".join(failures) or "ok")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
