#!/usr/bin/env python3
"""Hosts outside of the tree that build the library themselves, by the wrap files of docs/code.

    check_hosts.py SOURCE_ROOT VERSION SONAME CC...

By docs/code/librlhf.wrap, from a git repository: the program links the shared library; then, told
-Dlibrlhf:default_library=static, the static one. What that build installs serves a program without any shared
library, by pkg-config --static. By docs/code/librlhf-release.wrap, from a tarball: fetched and
unpacked, and refused where the hash is another.
"""
import hashlib
import os
import pathlib
import shlex
import shutil
import subprocess
import sys
import tarfile
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "abi"))
from check_install import HOST, run, static_failures  # noqa: E402

MESON = (sys.executable, "-m", "mesonbuild.mesonmain")
TREE = ("include", "lib", "meson.build", "meson_options.txt", "LICENSE")
PROJECT = """project('host', 'c', meson_version: '>= 1.0.0')
executable('host', 'host.c', dependencies: dependency('rlhf'))
"""


def copy_tree(root, folder):
    """All that a subproject needs: no test, example or page."""
    for name in TREE:
        if (root / name).is_dir():
            shutil.copytree(root / name, folder / name)
        else:
            shutil.copy(root / name, folder)


def commit(folder):
    """Makes the folder a git repository of one commit."""
    git = ("git", "-C", folder, "-c", "user.name=test", "-c", "user.email=test@localhost",
           "-c", "init.defaultBranch=main")
    run(*git, "init", "--quiet")
    run(*git, "add", "--all")
    run(*git, "commit", "--quiet", "--message", "tree")


def make_host(folder, wrap):
    (folder / "subprojects").mkdir(parents=True)
    (folder / "meson.build").write_text(PROJECT)
    (folder / "host.c").write_text(HOST)
    (folder / "subprojects/librlhf.wrap").write_text(wrap)
    return folder


def filled(path, **values):
    """A wrap file with values of one's own, as its page asks for."""
    lines = path.read_text().splitlines()
    for key, value in values.items():
        at = [i for i, line in enumerate(lines) if line.startswith(f"{key} = ")]
        lines[at[0]] = f"{key} = {value}"
    return "\n".join(lines) + "\n"


def quick(folder, compiler):
    """The compiler without the optimisation that the kernels ask for: most of the time is theirs."""
    path = folder / "cc"
    path.write_text("#!/bin/sh\n"
                    'for word; do shift; [ "$word" = -O3 ] || set -- "$@" "$word"; done\n'
                    f'exec {shlex.join(compiler)} "$@"\n')
    path.chmod(0o755)
    return path


def host_failures(program, version, soname, shared):
    """What the program prints, and whether it needs the shared library."""
    failures = []
    output = run(program).split()
    if output != [version, "1"]:
        failures.append(f"{program.name}: wanted {version}, printed {output}")
    if (f"[{soname}]" in run("readelf", "-d", program)) != shared:
        failures.append(f"the host {'does not need' if shared else 'needs'} {soname}")
    return failures


def git_failures(root, folder, version, soname, compiler):
    origin = folder / "origin"
    origin.mkdir()
    copy_tree(root, origin)
    commit(origin)
    host = make_host(folder / "host", filled(root / "docs/code/librlhf.wrap", url=origin.as_uri()))
    build = host / "build"
    # A librlhf that the machine has is not taken.
    run(*MESON, "setup", build, host, "-Doptimization=0", "-Ddebug=false",
        "--force-fallback-for=rlhf", CC=str(quick(folder, compiler)))
    run(*MESON, "compile", "-C", build)
    failures = host_failures(build / "host", version, soname, shared=True)
    run(*MESON, "configure", build, "-Dlibrlhf:default_library=static")
    run(*MESON, "compile", "-C", build)
    failures += host_failures(build / "host", version, soname, shared=False)
    run(*MESON, "install", "-C", build, "--no-rebuild", "--destdir", folder / "root")
    return failures + static_failures(folder, folder / "root", version, compiler)


def fetch(host):
    """Whether Meson fetches the wrap."""
    result = subprocess.run([*MESON, "subprojects", "download", "--sourcedir", host],
                            capture_output=True, text=True)
    return result.returncode == 0


def release_failures(root, folder, version):
    name = f"librlhf-{version}"
    tarball = folder / f"{name}.tar.xz"
    with tarfile.open(tarball, "w:xz", preset=0) as archive:
        archive.add(folder / "origin/meson.build", f"{name}/meson.build")
    digest = hashlib.sha256(tarball.read_bytes()).hexdigest()
    template, url = root / "docs/code/librlhf-release.wrap", tarball.as_uri()
    failures = []
    good = make_host(folder / "release", filled(template, source_url=url, source_hash=digest))
    if not fetch(good) or not (good / "subprojects" / name / "meson.build").is_file():
        failures.append(f"{template.name} fetches no {name}")
    other = make_host(folder / "other", filled(template, source_url=url))
    if fetch(other):
        failures.append(f"{template.name} takes a tarball with another hash")
    return failures


def main():
    root, version, soname, *compiler = sys.argv[1:]
    root = pathlib.Path(root).resolve()
    missing = [name for name in ("git", "pkg-config") if not shutil.which(name)]
    if missing:
        print(f"skipped: {' and '.join(missing)} not installed")
        return 77
    # A git of the caller's, or settings of it, are not ours.
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        del os.environ[name]
    os.environ.update(GIT_CONFIG_GLOBAL=os.devnull, GIT_CONFIG_NOSYSTEM="1")
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        failures = git_failures(root, folder, version, soname, compiler)
        failures += release_failures(root, folder, version)
    print("\n".join(failures) or "ok")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
