#!/usr/bin/env python3
"""Writes test_layout.c: the size of each public struct, the offset of each of its fields and the
value of each enum constant, as static assertions. Run it, and read its diff, when a struct grows:

    python3 tests/abi/make_layout.py [CC] > tests/abi/test_layout.c
"""
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]


def declarations():
    """(struct name, field names) and enum constant names of all public headers."""
    structs, constants = [], []
    for header in sorted((ROOT / "include/rlhf").glob("*.h")):
        text = re.sub(r"/\*.*?\*/", "", header.read_text(), flags=re.S)
        for body, name in re.findall(r"typedef struct rlhf_\w+ \{(.*?)\n\} (rlhf_\w+);", text,
                                     flags=re.S):
            fields = []
            for member in body.split(";"):
                pointer = re.search(r"\(\*(\w+)\)\s*\(", member)
                plain = re.search(r"(\w+)\s*(?:\[[^\]]*\])?\s*$", member.strip())
                found = pointer or plain
                if found:
                    fields.append(found.group(1))
            structs.append((name, fields))
        for body in re.findall(r"typedef enum rlhf_\w+ \{(.*?)\}", text, flags=re.S):
            constants += re.findall(r"\b(RLHF_\w+)\b", body)
    return structs, constants


def main():
    cc = sys.argv[1] if len(sys.argv) > 1 else "cc"
    structs, constants = declarations()
    lines = ["#include <stdio.h>", "#include <stddef.h>", "#include <rlhf/rlhf.h>",
             "int main(void) {"]
    for name, fields in structs:
        lines.append(f'printf("SIZE({name}, %zu);\\n", sizeof({name}));')
        for field in fields:
            lines.append(f'printf("FIELD({name}, {field}, %zu);\\n", '
                         f"offsetof({name}, {field}));")
    for constant in constants:
        lines.append(f'printf("VALUE({constant}, %d);\\n", (int){constant});')
    lines.append("return 0; }")
    with tempfile.TemporaryDirectory() as folder:
        source = pathlib.Path(folder, "layout.c")
        source.write_text("\n".join(lines))
        program = pathlib.Path(folder, "layout")
        subprocess.run([cc, "-I", str(ROOT / "include"), str(source), "-o", str(program)],
                       check=True)
        output = subprocess.run([program], check=True, capture_output=True, text=True).stdout
    print("/* Made by make_layout.py: the layout that hosts are compiled against. A failure here "
          "is an\n * ABI break, or a struct that grew: then make this file anew and say so in "
          "CHANGELOG.md. */")
    print("#include <stddef.h>\n\n#include <rlhf/rlhf.h>\n")
    print('#define SIZE(type, bytes) _Static_assert(sizeof(type) == (bytes), "size of " #type)')
    print("#define FIELD(type, member, bytes) \\\n    _Static_assert(offsetof(type, member) == "
          '(bytes), "offset of " #type "." #member)')
    print('#define VALUE(name, number) _Static_assert((int)(name) == (number), "value of " '
          "#name)\n")
    print(output)
    print("int main(void)\n{\n    return 0;\n}")


if __name__ == "__main__":
    main()
