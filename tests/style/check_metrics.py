#!/usr/bin/env python3
"""docs/metrics.md has each field of each stats struct of the headers, with a formula, and no other;
and under TRL's name where the header gives one.

    check_metrics.py SOURCE_ROOT
    check_metrics.py --self-test SOURCE_ROOT
"""
import pathlib
import re
import sys


def declared(headers):
    """{struct: {field: TRL's name or ""}}; struct_size is no figure."""
    found = {}
    for text in headers:
        for struct, body in re.findall(r"^typedef struct (\w+_stats) \{\n(.*?)^\}", text,
                                       flags=re.M | re.S):
            fields = found.setdefault(struct, {})
            for name, comment in re.findall(r"\b(\w+);\s*/\*\*<(.*?)\*/", body, flags=re.S):
                trl = re.search(r"\[([a-z]+(?:/\w+)?)[,\]]|TRL: (\w+)", comment)
                fields[name] = (trl.group(1) or trl.group(2)) if trl else ""
            del fields["struct_size"]
    return found


def documented(page):
    """{struct: {field: (formula, TRL's column)}}"""
    found = {}
    for section in re.split(r"^## ", page, flags=re.M)[1:]:
        rows = re.findall(r"^\| `(\w+)` \| (.*) \| ?([^|]*)\|$", section, flags=re.M)
        found[section.split("`")[1]] = {name: (formula, trl) for name, formula, trl in rows}
    return found


def check(headers, page):
    fields, rows = declared(headers), documented(page)
    found = [] if sum(map(len, fields.values())) > 40 else [f"too few fields: {fields}"]
    for struct in sorted(set(fields) | set(rows)):
        names, documents = fields.get(struct, {}), rows.get(struct, {})
        found += [f"{struct}.{n} is not on the page" for n in names if n not in documents]
        found += [f"{struct} has no {n}" for n in documents if n not in names]
        for name, trl in names.items():
            formula, column = documents.get(name, ("-", f"`{trl}`"))
            if not formula.strip():
                found.append(f"{struct}.{name} has no formula")
            if trl and f"`{trl}`" not in column:
                found.append(f"{struct}.{name}: TRL's {trl} is not in its column")
    return found


def self_test(headers, page):
    """Each rule must notice its breach."""
    breaches = [
        (r"^\| `kl` .*\n", "", "rlhf_ppo_stats.kl is not on the page"),
        (r"^\| `kl` ", "| `kll` ", "rlhf_ppo_stats has no kll"),
        (r"^(\| `margin` \|)[^|]*\|", r"\1  |", "rlhf_reward_stats.margin has no formula"),
        (r"`loss/policy_avg`", "`loss/policy`", "TRL's loss/policy_avg is not in its column"),
        (r"^## `rlhf_lm_stats`", "## `rlhf_ml_stats`", "rlhf_lm_stats.loss is not on the page"),
    ]
    failures = ["the page itself fails"] if check(headers, page) else []
    for pattern, new, expected in breaches:
        broken, count = re.subn(pattern, new, page, count=1, flags=re.M)
        if not count or expected not in "\n".join(check(headers, broken)):
            failures.append(f"unnoticed: {expected}")
    return failures


def main():
    arguments = sys.argv[1:]
    run = check
    if arguments[0] == "--self-test":
        run, arguments = self_test, arguments[1:]
    root = pathlib.Path(arguments[0])
    headers = [path.read_text() for path in sorted((root / "include/rlhf").glob("*.h"))]
    failures = run(headers, (root / "docs/metrics.md").read_text())
    print("\n".join(failures) or "ok")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
