#!/usr/bin/env python3
"""docs/errors.md lists each status of common.h with its value, its meaning and what to do, and no
other."""
import pathlib
import re
import sys

root = pathlib.Path(sys.argv[1])
header = (root / "include/rlhf/common.h").read_text()
enum = re.search(r"typedef enum rlhf_status \{(.*?)\} rlhf_status;", header, flags=re.S)
declared = dict(re.findall(r"(RLHF_\w+) = (-?\d+)", enum.group(1)))
documented = dict(re.findall(r"^\| `(RLHF_\w+)` \| (-?\d+) \|",
                             (root / "docs/errors.md").read_text(), flags=re.M))
for name in sorted(set(declared) | set(documented)):
    if declared.get(name) != documented.get(name):
        print(f"{name}: {declared.get(name)} in common.h, {documented.get(name)} in errors.md")
rows = re.findall(r"^\| `(RLHF_ERR_\w+)` \| -\d+ \| (.*?) \| (.*?) \|$",
                  (root / "docs/errors.md").read_text(), flags=re.M)
told = {name for name, meaning, remedy in rows if meaning and remedy}
for name in sorted(set(declared) - told - {"RLHF_OK"}):
    print(f"{name}: errors.md does not say what it means or what to do")
ok = declared == documented and len(declared) > 10 and len(told) == len(declared) - 1
print("ok" if ok else "errors.md and common.h differ")
sys.exit(0 if ok else 1)
