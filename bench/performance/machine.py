"""The machine and the programs: how loaded it is, what it is, how big the library's objects are."""
import json
import os
import pathlib
import re
import resource
import subprocess
import tempfile
import time

TICKS = os.sysconf("SC_CLK_TCK")


def busy_seconds(text):
    """Of /proc/stat: what all programs, and on a shared machine its other guests, took of the CPUs."""
    user, nice, system, _, _, irq, softirq, steal = map(int, text.split("\n")[0].split()[1:9])
    return (user + nice + system + irq + softirq + steal) / TICKS


class Watch:
    """Around one run: seconds, and how many CPUs programs that are not ours took meanwhile."""

    def _look(self):
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        return (time.monotonic(), busy_seconds(pathlib.Path("/proc/stat").read_text()),
                children.ru_utime + children.ru_stime)

    def __enter__(self):
        self.begun = self._look()
        return self

    def __exit__(self, *_):
        wall, busy, own = (b - a for a, b in zip(self.begun, self._look()))
        self.seconds = wall
        self.foreign = max(0.0, busy - own) / wall if wall > 0 else 0.0


def wait_for_idle(most, seconds=180, load=os.getloadavg, sleep=time.sleep):
    """The load average at the start; SystemExit where it does not fall to `most`."""
    for _ in range(seconds // 10):
        if load()[0] <= most:
            return load()[0]
        print(f"load average {load()[0]:.2f}, waiting for {most}", flush=True)
        sleep(10)
    raise SystemExit(f"the machine is loaded (load average {load()[0]:.2f}, at most {most}): "
                     "figures taken now would be worth nothing")


def output(*command):
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def describe(build):
    """[(what, text)] of the machine and of the build."""
    cpu = re.search(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text())
    memory = re.search(r"MemTotal:\s*(\d+)", pathlib.Path("/proc/meminfo").read_text())
    compiler = re.search(r'C compiler for the host machine: .*"(.*)"\)',
                         (build / "meson-logs/meson-log.txt").read_text())
    options = {o["name"]: o["value"]
               for o in json.loads((build / "meson-info/intro-buildoptions.json").read_text())}
    changed = " with changes" if output("git", "status", "--porcelain", "--untracked-files=no") else ""
    return [("CPU", f"{cpu.group(1) if cpu else 'unknown'}, {os.cpu_count()} cores"),
            ("memory", f"{int(memory.group(1)) / 2 ** 20:.0f} GiB" if memory else "unknown"),
            ("system", " ".join(os.uname()[i] for i in (0, 2, 4))),
            ("librlhf", f"{commit()}{changed}, build type {options.get('buildtype')}"),
            ("compiler", compiler.group(1) if compiler else "unknown")]


def commit():
    return output("git", "rev-parse", "--short", "HEAD") or "unknown"


def own_bytes(link_map):
    """From a linker's map: bytes that a stripped file keeps, of objects that are not BLIS's."""
    body = link_map.partition("Linker script and memory map")[2]
    total, section = 0, ""
    row = re.compile(r"^ (\.\S+|COMMON)\s+0x([0-9a-f]+)\s+0x([0-9a-f]+) (\S.*)$", re.M)
    # A long name stands on a line of its own.
    body = re.sub(r"^( \.\S+)\n\s+(?=0x)", r"\1 ", body, flags=re.M)
    for section, address, size, source in row.findall(body):
        kept = int(address, 16) != 0 and not section.startswith((".bss", "COMMON", ".debug", ".comment"))
        if kept and "libblis" not in source:
            total += int(size, 16)
    return total


def library_sizes(build):
    """(bytes of our own objects, bytes of the stripped library), by linking it once more with a map."""
    library = next(p for p in sorted((build / "lib").glob("librlhf.so.*"))
                   if p.is_file() and not p.is_symlink())
    relative = library.relative_to(build)
    link = output("ninja", "-C", str(build), "-t", "commands", str(relative)).splitlines()[-1]
    with tempfile.TemporaryDirectory() as folder:
        again, link_map = pathlib.Path(folder, "library"), pathlib.Path(folder, "map")
        command = link.replace(f"-o {relative}", f"-o {again} -Wl,-Map={link_map}", 1)
        subprocess.run(command, shell=True, check=True, cwd=build)
        subprocess.run(["strip", str(again)], check=True)
        return own_bytes(link_map.read_text()), again.stat().st_size
