#!/usr/bin/env python3
"""debian/librlhf0.symbols from the version map: each symbol with its node and the release that the
node stands for.

    make_symbols.py MAP > debian/librlhf0.symbols

Before 1.0 a minor release may change anything, so whatever is linked with it depends on that one.
"""
import pathlib
import re
import sys


def nodes(text):
    """(name, symbols) of each node, in the map's order."""
    for name, body in re.findall(r"^(RLHF_[\d.]+) \{(.*?)^\}", text, flags=re.M | re.S):
        yield name, re.findall(r"\b(rlhf_\w+);", body)


def make(text):
    lines = []
    versions = []
    for name, symbols in nodes(text):
        versions.append(tuple(int(part) for part in name.split("_")[1].split(".")))
        release = ".".join(str(part) for part in versions[-1]) + ".0"
        lines += [f" {symbol}@{name} {release}" for symbol in sorted([name, *symbols])]
    major, minor = versions[-1]
    soversion = str(major) if major else f"0.{minor}"
    bound = f"{major + 1}~" if major else f"0.{minor + 1}~"
    head = [f"librlhf.so.{soversion} librlhf{major} #MINVER#, librlhf{major} (<< {bound})",
            "* Build-Depends-Package: librlhf-dev"]
    return "\n".join(head + lines) + "\n"


if __name__ == "__main__":
    print(make(pathlib.Path(sys.argv[1]).read_text()), end="")
