#!/usr/bin/env python3
"""The Debian packages, unpacked into an empty root, serve a host: what ./dev package ends with.

    check_packages.py FOLDER VERSION CC... -- [CXX]

C and C++ programs outside of the tree build by pkg-config, by CMake and without shared libraries, and
run; a package of such a program would depend on this minor release of librlhf0; the reference and its
man pages are there, and nothing is in two packages.
"""
import pathlib
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "abi"))
from check_install import (cmake_failures, find_one, host_failures, library_failures, run,  # noqa: E402
                           static_failures)

PACKAGES = ("librlhf0", "librlhf-dev", "librlhf-doc")


def unpack(folder, version, root):
    """All three into one root; {file: package} with what is in two of them said as a failure."""
    owners, failures = {}, []
    for name in PACKAGES:
        deb = find_one(folder, f"{name}_{version}_*.deb")
        run("dpkg", "-x", deb, root)
        listing = subprocess.run(f"dpkg --fsys-tarfile '{deb}' | tar -t", shell=True, check=True,
                                 capture_output=True, text=True).stdout
        for path in (line for line in listing.splitlines() if not line.endswith("/")):
            if path in owners:
                failures.append(f"{path} is in {owners[path]} and in {name}")
            owners[path] = name
    return owners, failures


def soname_of(deb):
    """That of the symbols file, which check_debian.py holds against the version map."""
    return run("dpkg", "-I", deb, "symbols").split()[0]


def content_failures(owners, version, soname):
    """The files that people look for are in the package where they look."""
    failures = []
    for package, ending in (
            ("librlhf0", f"/{soname}"), ("librlhf0", f"/librlhf.so.{version}"),
            ("librlhf-dev", "/librlhf.so"), ("librlhf-dev", "/librlhf.a"),
            ("librlhf-dev", "/rlhf.pc"), ("librlhf-dev", "/rlhf-config.cmake"),
            ("librlhf-dev", "/include/rlhf/rlhf.h"), ("librlhf-dev", "/include/rlhf/rlhf.hpp"),
            ("librlhf-doc", "/html/index.html"), ("librlhf-doc", "/html/ppo_8h.html"),
            ("librlhf-doc", "/man3/rlhf_model_load.3.gz"), ("librlhf-doc", "/01_pretrain.c")):
        if package not in [owner for path, owner in owners.items() if path.endswith(ending)]:
            failures.append(f"{package} has no {ending}")
    return failures


def dependency_failures(folder, made, soname):
    """What dpkg-shlibdeps makes of the C host: this minor release, and no other."""
    work = folder / "package"
    (work / "debian").mkdir(parents=True)
    (work / "debian/control").write_text("Source: host\n\nPackage: host\nArchitecture: any\n")
    run("dpkg-deb", "-R", find_one(made, "librlhf0_*.deb"), work / "librlhf0")
    result = subprocess.run(["dpkg-shlibdeps", "-O", "-S" + str(work / "librlhf0"),
                             "--ignore-missing-info", folder / "host-c"],
                            cwd=work, capture_output=True, text=True)
    before, _, last = soname.partition(".so.")[2].rpartition(".") # 0.1: below 0.2; 1: below 2
    bound = f"{before}.{int(last) + 1}~".lstrip(".")
    wanted = ("librlhf0 (>= ", f"librlhf0 (<< {bound})")
    if result.returncode or any(words not in result.stdout for words in wanted):
        return [f"dpkg-shlibdeps does not want {wanted}: {result.stdout}{result.stderr}"]
    return []


def main():
    made, version, *compilers = sys.argv[1:]
    made = pathlib.Path(made).resolve()
    soname = soname_of(find_one(made, f"librlhf0_{version}_*.deb"))
    split = compilers.index("--")
    cc, cxx = compilers[:split], compilers[split + 1:]
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        root = folder / "root"
        owners, failures = unpack(made, version, root)
        failures += content_failures(owners, version, soname)
        failures += library_failures(find_one(root, f"librlhf.so.{version}"), soname)
        failures += host_failures(folder, root, version, "c", [*cc, "-std=c99"])
        failures += static_failures(folder, root, version, cc)
        failures += cmake_failures(folder, root, version, cc)
        failures += dependency_failures(folder, made, soname)
        if cxx:
            failures += host_failures(folder, root, version, "cpp", [*cxx, "-std=c++11"])
    print("\n".join(failures) or "ok")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
