#!/usr/bin/env python3
"""What debian/ and the wrap files repeat of the tree agrees with it.

    check_debian.py SOURCE_ROOT VERSION SOVERSION
    check_debian.py --self-test SOURCE_ROOT VERSION SOVERSION

The symbols file is the one that make_symbols.py makes of the version map; the changelog's newest
entry and the wrap file of a release name this version; what meson.build depends on has its place in
debian/control; the override names this soname's package; no file of debian/ holds an address that
could be anybody's.
"""
import pathlib
import re
import shutil
import sys
import tempfile

from make_symbols import make

# The packages that hold what rlhf.pc requires of a program without shared libraries.
PACKAGES = {"yaml": "libyaml-dev", "jansson": "libjansson-dev", "pcre2": "libpcre2-dev",
            "sqlite": "libsqlite3-dev", "blis": "libblis-serial-dev"}
MAKE = "python3 tests/packages/make_symbols.py lib/librlhf.map > debian/librlhf0.symbols"


def field(text, package, name):
    """A field of a paragraph of debian/control, continuation lines and all."""
    paragraph = re.search(rf"^(?:Source|Package): {package}\n(?:.+\n)*", text, flags=re.M).group()
    found = re.search(rf"^{name}:((?:.*\n)(?:[ \t].*\n)*)", paragraph, flags=re.M)
    return found.group(1) if found else ""


def check(root, version, soversion):
    failures = []
    debian = root / "debian"
    if (debian / "librlhf0.symbols").read_text() != make((root / "lib/librlhf.map").read_text()):
        failures.append(f"debian/librlhf0.symbols is not that of the version map: {MAKE}")
    newest = re.match(r"librlhf \(([^)]*)\)", (debian / "changelog").read_text()).group(1)
    if newest != version:
        failures.append(f"debian/changelog is of {newest}, the tree of {version}")
    wrap = (root / "docs/code/librlhf-release.wrap").read_text()
    if f"librlhf-{version}\n" not in wrap or wrap.count(f"librlhf-{version}.tar.xz\n") != 2:
        failures.append(f"docs/code/librlhf-release.wrap is not of {version}")
    control = (debian / "control").read_text()
    found = set(re.findall(r"^(\w+?)\d?_dep = ", (root / "meson.build").read_text(), flags=re.M))
    for name in sorted(found - {"m", "threads"}):
        for package, where in (("librlhf", "Build-Depends"), ("librlhf-dev", "Depends")):
            if PACKAGES.get(name, name) not in field(control, package, where):
                failures.append(f"{where} of {package} lacks what {name}_dep needs")
    overrides = (debian / "librlhf0.lintian-overrides").read_text()
    if f"package-name-doesnt-match-sonames librlhf{soversion}\n" not in overrides:
        failures.append(f"the override is not for the soname librlhf.so.{soversion}")
    for path in sorted(path for path in debian.rglob("*") if path.is_file()):
        for host in re.findall(r"@([\w-]+\.[\w.-]+)>", path.read_text()):
            if not host.endswith(".invalid"):
                failures.append(f"{path.relative_to(root)}: the address at {host}")
    return failures


def self_test(root, version, soversion):
    """Each breach in a copy must be noticed."""
    breaches = [
        ("debian/librlhf0.symbols", " rlhf_version@RLHF_0.1 0.1.0\n", "", "not that of the version map"),
        ("debian/librlhf0.symbols", "(<< ", "(>= ", "not that of the version map"),
        ("lib/librlhf.map", "        rlhf_version;\n", "", "not that of the version map"),
        ("debian/changelog", f"({version})", "(9.8.7)", "is of 9.8.7"),
        ("docs/code/librlhf-release.wrap", version, "9.8.7", "librlhf-release.wrap is not of"),
        ("debian/control", "               libyaml-dev,\n", "", "Build-Depends of librlhf lacks"),
        ("debian/control", "\n         libpcre2-dev,", "", "Depends of librlhf-dev lacks"),
        ("meson.build", "m_dep = ", "curl_dep = ", "what curl_dep needs"),
        ("debian/librlhf0.lintian-overrides", f"librlhf{soversion}\n", "librlhf7\n", "the override"),
        ("debian/control", ".invalid>", ".com>", "the address at"),
    ]
    failures = []
    with tempfile.TemporaryDirectory() as folder:
        copy = pathlib.Path(folder)
        for name in ("debian", "docs/code"):
            shutil.copytree(root / name, copy / name)
        (copy / "lib").mkdir()
        shutil.copy(root / "lib/librlhf.map", copy / "lib")
        shutil.copy(root / "meson.build", copy)
        for words in check(copy, version, soversion):
            failures.append(f"the copy does not pass: {words}")
        for name, old, new, expected in breaches:
            text = (copy / name).read_text()
            if old not in text:
                failures.append(f"the self-test no longer finds {old!r} in {name}")
                continue
            (copy / name).write_text(text.replace(old, new, 1))
            if expected not in "\n".join(check(copy, version, soversion)):
                failures.append(f"unnoticed in {name}: {expected}")
            (copy / name).write_text(text)
    return failures


def main():
    arguments = sys.argv[1:]
    run = check
    if arguments[0] == "--self-test":
        run, arguments = self_test, arguments[1:]
    failures = run(pathlib.Path(arguments[0]).resolve(), *arguments[1:])
    print("\n".join(failures) or "ok")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
