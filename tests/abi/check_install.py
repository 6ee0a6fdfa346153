#!/usr/bin/env python3
"""What `meson install` leaves is enough for a host: into an empty root it goes, then a C and a
C++ program outside of the tree are compiled and linked by pkg-config's word alone, and run.

    check_install.py BUILD_DIR VERSION SONAME CC... -- [CXX]

Only the shared library, its headers and rlhf.pc are installed; no BLAS symbol can be seen.
"""
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

HOST = r"""
#include <rlhf/rlhf.h>
#include <stdio.h>

int main(void)
{
    rlhf_context *context = NULL;
    rlhf_context_options options;

    if (rlhf_context_options_init(&options, sizeof options) != RLHF_OK)
        return 1;
    options.num_threads = 1;
    if (rlhf_context_create(&options, &context) != RLHF_OK) {
        fprintf(stderr, "%s\n", rlhf_last_error_message());
        return 1;
    }
    printf("%s %d\n", rlhf_version(), (int)rlhf_context_num_threads(context));
    rlhf_context_free(context);
    return 0;
}
"""
BLAS = re.compile(r"^(bli_|bla_|cblas_|xerbla|[sdcz](gemm|gemv|axpy|dot|scal|nrm2|trsm)[a-z]?_?$)",
                  re.I)


def run(*command, **environment):
    result = subprocess.run([str(word) for word in command], capture_output=True, text=True,
                            env={**os.environ, **environment})
    if result.returncode:
        print(f"{command[0]} failed:\n{result.stdout}{result.stderr}")
        sys.exit(1)
    return result.stdout


def find_one(root, pattern):
    found = [path for path in root.rglob(pattern) if path.is_file()]
    if not found:
        print(f"{pattern} was not installed")
        sys.exit(1)
    return found[0]


def library_failures(library, soname):
    failures = []
    dynamic = run("readelf", "-d", library)
    if f"soname: [{soname}]" not in dynamic:
        failures.append(f"the soname is not {soname}:\n{dynamic}")
    for line in run("nm", "-D", library).splitlines():
        name = line.split()[-1].split("@")[0]
        if BLAS.match(name):
            failures.append(f"a symbol of BLAS is visible: {name}")
    return failures


def host_failures(folder, root, version, language, compiler):
    """One outside program: compiled, linked, run."""
    source = folder / f"host.{language}"
    program = folder / f"host-{language}"
    source.write_text(HOST)
    pc = find_one(root, "rlhf.pc")
    where = {"PKG_CONFIG_PATH": str(pc.parent)}
    prefix = str(root) + run("pkg-config", "--variable=prefix", "rlhf", **where).strip()
    flags = run("pkg-config", f"--define-variable=prefix={prefix}", "--cflags", "--libs", "rlhf",
                **where).split()
    said = run("pkg-config", "--modversion", "rlhf", **where).strip()
    run(*compiler, "-Wall", "-Wextra", "-Werror", source, *flags, "-o", program)
    libdir = find_one(root, "librlhf.so.*").parent
    output = run(program, LD_LIBRARY_PATH=str(libdir)).split()
    failures = []
    if said != version or output != [version, "1"]:
        failures.append(f"{language}: wanted {version}, pkg-config says {said}, "
                        f"the host printed {output}")
    return failures


def main():
    build_dir, version, soname, *compilers = sys.argv[1:]
    split = compilers.index("--")
    cc, cxx = compilers[:split], compilers[split + 1:]
    if not shutil.which("pkg-config"):
        print("skipped: pkg-config is not installed")
        return 77
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        root = folder / "root"
        run(sys.executable, "-m", "mesonbuild.mesonmain", "install", "-C", build_dir,
            "--no-rebuild", "--destdir", root)
        library = find_one(root, f"librlhf.so.{version}")
        failures = library_failures(library, soname)
        names = {path.name for path in root.rglob("*") if not path.is_dir()}
        others = {name for name in names if not name.endswith((".h", ".hpp"))}
        if others != {"rlhf.pc", "librlhf.so", soname, f"librlhf.so.{version}"}:
            failures.append(f"installed beside the headers: {sorted(others)}")
        failures += host_failures(folder, root, version, "c", [*cc, "-std=c99"])
        if cxx:
            failures += host_failures(folder, root, version, "cpp", [*cxx, "-std=c++11"])
    print("\n".join(failures) or "ok")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
