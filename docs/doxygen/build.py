#!/usr/bin/env python3
"""The reference: OUT/html/index.html and OUT/man3/*.3, by Doxygen. Any warning is an error.

    build.py SOURCE_ROOT OUT
"""
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

import man_pages


def build(root, out):
    """Writes both; a list of what is wrong."""
    version = re.search(r"version: '([\d.]+)'", (root / "meson.build").read_text()).group(1)
    settings = (root / "docs/doxygen/Doxyfile").read_text()
    with tempfile.TemporaryDirectory() as made:
        settings += f'\nPROJECT_NUMBER = {version}\nOUTPUT_DIRECTORY = "{made}"\n'
        run = subprocess.run(["doxygen", "-"], cwd=root, input=settings, capture_output=True,
                             text=True)
        failures = [line.replace(f"{root}/", "") for line in run.stderr.splitlines() if line]
        if run.returncode:
            return failures + [f"doxygen ended with {run.returncode}"]
        failures += man_pages.write(pathlib.Path(made, "xml"), out / "man3", version)
        shutil.rmtree(out / "html", ignore_errors=True)
        shutil.copytree(pathlib.Path(made, "html"), out / "html")
    return failures + missing_images(out / "html")


def missing_images(html):
    return [f"{page.name} shows {name}, which is not there" for page in sorted(html.glob("*.html"))
            for name in re.findall(r"<(?:img|object)[^>]* (?:src|data)=\"([^\"]+)\"", page.read_text())
            if not (html / name).exists()]


def main():
    root, out = (pathlib.Path(argument).resolve() for argument in sys.argv[1:])
    failures = build(root, out)
    print("\n".join(failures) or f"{out / 'html/index.html'} and {out / 'man3'}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
