#!/usr/bin/env python3
"""What `meson install` leaves is enough for a host: into an empty root it goes, then a C and a
C++ program outside of the tree are compiled and linked by pkg-config's word alone, and run.

    check_install.py BUILD_DIR VERSION SONAME CC... -- [CXX]

By CMake's find_package too; and without shared libraries where the build has a static one. Only the
library, its headers, rlhf.pc and the CMake package are installed; no BLAS symbol can be seen.
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


def static_failures(folder, root, version, compiler):
    """A program without shared libraries, by pkg-config --static."""
    program = folder / "host-static"
    pc = find_one(root, "rlhf.pc")
    where = {"PKG_CONFIG_PATH": str(pc.parent)}
    prefix = str(root) + run("pkg-config", "--variable=prefix", "rlhf", **where).strip()
    flags = run("pkg-config", f"--define-variable=prefix={prefix}", "--static", "--cflags",
                "--libs", "rlhf", **where).split()
    (folder / "host.c").write_text(HOST)
    run(*compiler, "-static", folder / "host.c", *flags, "-o", program)
    output = run(program).split()
    return [] if output == [version, "1"] else [f"the static host printed {output}"]


CMAKE = """
cmake_minimum_required(VERSION 3.13)
project(host C)
find_package(rlhf WANTED CONFIG REQUIRED)
add_executable(host host.c)
target_link_libraries(host rlhf::rlhf)
"""


def cmake_failures(folder, root, version, compiler):
    """The same program by find_package(rlhf); another version is not taken for ours."""
    failures, project = [], folder / "cmake"
    project.mkdir()
    (project / "host.c").write_text(HOST)
    major, minor, _ = version.split(".")
    configure = ["cmake", "-G", "Ninja", "-S", project, "-B", project / "build",
                 f"-DCMAKE_C_COMPILER={shutil.which(compiler[-1])}",
                 f"-Drlhf_DIR={find_one(root, 'rlhf-config.cmake').parent}"]
    for wanted in (f"{major}.{int(minor) + 1}", f"{int(major) + 1}.0"):
        (project / "CMakeLists.txt").write_text(CMAKE.replace("WANTED", wanted))
        result = subprocess.run([str(word) for word in configure], capture_output=True, text=True)
        if not result.returncode:
            failures.append(f"find_package(rlhf {wanted}) takes {version}")
    (project / "CMakeLists.txt").write_text(CMAKE.replace("WANTED", f"{major}.{minor}"))
    run(*configure)
    run("cmake", "--build", project / "build")
    output = run(project / "build/host").split()
    if output != [version, "1"]:
        failures.append(f"cmake: the host printed {output}")
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
        if others - {"librlhf.a"} != {"rlhf.pc", "librlhf.so", soname, f"librlhf.so.{version}",
                                      "rlhf-config.cmake", "rlhf-config-version.cmake"}:
            failures.append(f"installed beside the headers: {sorted(others)}")
        failures += host_failures(folder, root, version, "c", [*cc, "-std=c99"])
        if "librlhf.a" in names:
            failures += static_failures(folder, root, version, cc)
        if shutil.which("cmake"):
            failures += cmake_failures(folder, root, version, cc)
        else:
            print("skipped: cmake is not installed, so find_package(rlhf) is not tried")
        if cxx:
            failures += host_failures(folder, root, version, "cpp", [*cxx, "-std=c++11"])
    print("\n".join(failures) or "ok")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
