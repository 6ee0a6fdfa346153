#!/usr/bin/env python3
"""abidiff of the shared object against the committed baseline, librlhf.abixml.

    check_baseline.py BASELINE LIBRARY INCLUDE_DIR
    check_baseline.py --self-test BASELINE LIBRARY INCLUDE_DIR   (broken copies: must fail)
    check_baseline.py --write [LIBRARY]                          (default: build/lib/librlhf.so)

Write the baseline anew in the commit that changes the interface. It serves GCC and Clang alike.

What abidiff needs to be of use: debug information, without which it finds nothing and says
nothing; the public headers' folder, without which private structs count; in the baseline the
file of each type, without which the type is taken for a private one. It knows headers by their
base names only, so a handle whose struct lies in a private header of a public one's name is
named as well. No rule permits appended members: such a rule also hid two swapped ones.
"""
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
SKIP = 77


def run(*command):
    return subprocess.run([str(word) for word in command], capture_output=True, text=True)


def handles(include_dir):
    """The types whose insides no host sees: declared in a header and defined in none."""
    text = "".join(p.read_text() for p in sorted(pathlib.Path(include_dir, "rlhf").glob("*.h")))
    declared = re.findall(r"typedef struct (rlhf_\w+) rlhf_\w+;", text)
    return [name for name in declared if not re.search(rf"struct {name} \{{", text)]


def compare(baseline, library, include_dir):
    """(whether they differ, what to print)"""
    if ".debug_info" not in run("readelf", "-S", library).stdout:
        return True, f"{library} has no debug information to compare"
    with tempfile.NamedTemporaryFile("w", suffix=".supp") as rules:
        for name in handles(include_dir):
            rules.write(f"[suppress_type]\nname = {name}\n\n")
        rules.flush()
        result = run("abidiff", "--no-show-locs", "--drop-private-types", "--headers-dir2",
                     include_dir, "--suppressions", rules.name, baseline, library)
    return result.returncode != 0, result.stdout + result.stderr


def write(library):
    include_dir, baseline = ROOT / "include", ROOT / "tests/abi/librlhf.abixml"
    result = run("abidw", "--headers-dir", include_dir, "--drop-private-types",
                 "--exported-interfaces-only", "--no-corpus-path", "--no-comp-dir-path",
                 "--short-locs", "--no-elf-needed", "--no-parameter-names",
                 "--no-write-default-sizes", "--type-id-style", "hash", library)
    if result.returncode:
        print(result.stdout + result.stderr)
        return 1
    # Neither the build folder's place nor the lines of a header are part of the interface.
    text = re.sub(r" path='[^']*?(lib/\w+/\w+\.c)'", r" path='\1'", result.stdout)
    text = re.sub(r" line='\d+' column='\d+'", " line='1' column='1'", text)
    baseline.write_text(text)
    print(f"wrote {baseline.relative_to(ROOT)}")
    return 0


def swap_members(text):
    """Two neighbouring doubles of the PPO options change places."""
    head = text.index("<class-decl name='rlhf_ppo_options'")
    names = re.compile(r"name='(clip_range|clip_range_high)'")
    other = {"clip_range": "clip_range_high", "clip_range_high": "clip_range"}
    return text[:head] + names.sub(lambda m: f"name='{other[m.group(1)]}'", text[head:], count=2)


def drop_last_member(text):
    """As if the library's struct had grown since the baseline."""
    found = re.search(r"<class-decl name='rlhf_ppo_stats'.*?</class-decl>", text, flags=re.S)
    members = found.group()
    last = members.rindex("<data-member ")
    end = members.index("</data-member>", last) + len("</data-member>")
    smaller = (members[:last] + members[end:]).replace("size-in-bits='2048'",
                                                       "size-in-bits='1984'")
    return text.replace(members, smaller)


def drop_parameter(text):
    return re.sub(r"(<function-decl name='rlhf_generator_get'[^>]*>\s*)<parameter [^>]*/>\s*",
                  r"\1", text)


def change_enum(text):
    return text.replace("name='RLHF_ERR_IO' value='-4'", "name='RLHF_ERR_IO' value='-40'")


def forget_function(text):
    text = re.sub(r"<elf-symbol name='rlhf_version'[^>]*/>\s*", "", text)
    return re.sub(r"<function-decl name='rlhf_version'.*?</function-decl>\s*", "", text,
                  flags=re.S)


def self_test(baseline, library, include_dir):
    failures = []
    text = pathlib.Path(baseline).read_text()
    with tempfile.TemporaryDirectory() as folder:
        broken = pathlib.Path(folder, "broken.abixml")
        for change in (swap_members, drop_last_member, drop_parameter, change_enum,
                       forget_function):
            changed = change(text)
            broken.write_text(changed)
            if changed == text:
                failures.append(f"{change.__name__} found nothing to change")
            elif not compare(broken, library, include_dir)[0]:
                failures.append(f"{change.__name__} went unnoticed")
        bare = pathlib.Path(folder, "bare.so")
        run("objcopy", "--strip-debug", library, bare)
        if not compare(baseline, bare, include_dir)[0]:
            failures.append("a library without debug information passed")
        # What no host can see may change: here a member of the context.
        context = re.search(r"<class-decl name='rlhf_context' size.*?</class-decl>", text,
                            flags=re.S)
        if context:
            member = re.search(r"<data-member .*?</data-member>", context.group(), flags=re.S)
            smaller = context.group().replace(member.group(), "", 1)
            broken.write_text(text.replace(context.group(), smaller))
            if compare(broken, library, include_dir)[0]:
                failures.append("a change inside of a handle was reported")
    return failures


def main():
    arguments = sys.argv[1:]
    if not shutil.which("abidiff"):
        print("skipped: abidiff is not installed (Debian: abigail-tools)")
        return SKIP
    if arguments[0] == "--write":
        return write(arguments[1] if len(arguments) > 1 else ROOT / "build/lib/librlhf.so")
    if arguments[0] == "--self-test":
        failures = self_test(*arguments[1:])
        print("\n".join(failures) or "ok")
        return 1 if failures else 0
    differ, text = compare(*arguments)
    print(text or "ok")
    if differ:
        print("If this is meant: python3 tests/abi/check_baseline.py --write, in the same commit")
    return 1 if differ else 0


if __name__ == "__main__":
    sys.exit(main())
