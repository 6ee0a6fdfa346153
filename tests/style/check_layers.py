#!/usr/bin/env python3
"""lib/LAYERS is the law: each #include of lib/ goes to a layer that its own may use.

    check_layers.py SOURCE_ROOT
    check_layers.py --self-test SOURCE_ROOT

Permission is transitive. Nothing includes api/ but api/. No "../". A third-party header appears in one
.c file only (SQLite: one folder). examples/, bench/ and bindings/ include only <rlhf/...>, but for
bench/kernels*, which time the kernels by themselves.
"""
import pathlib
import re
import shutil
import sys
import tempfile

THIRD_PARTY = {"blis.h", "cblas.h", "jansson.h", "yaml.h", "pcre2.h"}


def read_layers(root):
    allowed = {}
    for line in (root / "lib/LAYERS").read_text().splitlines():
        line = line.split("#")[0].strip()
        if line:
            name, _, uses = line.partition(":")
            allowed[name.strip()] = set(uses.split())
    return allowed


def closure(allowed):
    full = {}

    def reach(layer, path):
        if layer in path:
            raise SystemExit(f"LAYERS has a circle: {' -> '.join(path + [layer])}")
        if layer not in full:
            found = {layer}
            for other in allowed[layer]:
                found |= reach(other, path + [layer])
            full[layer] = found
        return full[layer]
    for layer in allowed:
        reach(layer, [])
    return full


def includes(path):
    text = re.sub(r"/\*.*?\*/", lambda m: "\n" * m.group().count("\n"), path.read_text(), flags=re.S)
    for number, line in enumerate(text.splitlines(), 1):
        match = re.match(r'\s*#\s*include\s*(["<])([^">]+)[">]', line)
        if match:
            yield number, match.group(1), match.group(2)


def check(root):
    full, failures, users = closure(read_layers(root)), [], {}
    for path in sorted((root / "lib").rglob("*.[ch]")):
        relative = path.relative_to(root)
        layer = path.relative_to(root / "lib").parts[0]
        if layer not in full:
            failures.append(f"{relative}: the layer {layer} is not in LAYERS")
            continue
        for number, kind, target in includes(path):
            where = f"{relative}:{number}"
            first = target.split("/")[0]
            if ".." in target:
                failures.append(f"{where}: {target}: include from lib/, not by ../")
            elif kind == '"' and first not in full:
                failures.append(f"{where}: {target} is not in any layer")
            elif kind == '"' and first not in full[layer]:
                failures.append(f"{where}: {layer} may not use {first} ({target})")
            if target in THIRD_PARTY or target == "sqlite3.h":
                users.setdefault(target, set()).add(relative)
    for header, files in users.items():
        places = {f.parent for f in files} if header == "sqlite3.h" else files
        if len(places) > 1:
            failures.append(f"{header} is included by {', '.join(sorted(map(str, places)))}")
    for folder in ("examples", "bench", "bindings"):
        for path in sorted((root / folder).rglob("*.[ch]")):
            for number, kind, target in includes(path):
                if kind == "<" and "/" in target and not target.startswith(("rlhf/", "sys/")):
                    failures.append(f"{path.relative_to(root)}:{number}: {target}")
                inside = kind == '"' and "/" in target and (root / "lib" / target).exists()
                if inside and not (folder == "bench" and path.name.startswith("kernels")):
                    failures.append(f"{path.relative_to(root)}:{number}: {target} is internal")
    return failures


def self_test(root):
    """A base file that includes nn, and a second user of jansson, must be noticed."""
    with tempfile.TemporaryDirectory() as folder:
        copy = pathlib.Path(folder)
        for name in ("lib", "examples", "bench"):
            shutil.copytree(root / name, copy / name)
        (copy / "lib/base/wrong.c").write_text('#include "nn/transformer.h"\n')
        (copy / "lib/nn/wrong.c").write_text("#include <jansson.h>\n")
        (copy / "bench/wrong.c").write_text('#include "nn/transformer.h"\n')
        found = "\n".join(check(copy))
    failures = []
    if "base may not use nn" not in found:
        failures.append("an include against the layers went unnoticed")
    if "jansson.h is included by" not in found:
        failures.append("a second user of jansson went unnoticed")
    if "bench/wrong.c:1: nn/transformer.h is internal" not in found:
        failures.append("a benchmark that includes the inside went unnoticed")
    return failures


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
