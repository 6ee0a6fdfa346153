"""Runs programs in turn, A B A B, and keeps what they printed."""
import json
import os
import re
import subprocess

import machine
import peers

FOREIGN = 0.15  # CPUs that others may take while a run counts
SPREAD = 0.10   # by how much the second best run of a program may be worse than its best
MORE_ROUNDS = 6  # at most, where the runs spread too much


class Failed(Exception):
    """A program ended with an error; the text says which."""


def last_line(text):
    lines = [line for line in text.splitlines() if line.startswith("{")]
    return json.loads(lines[-1]) if lines else None


def run(program, build, python, models, timeout=3600):
    """What the program printed, and `foreign`: the CPUs that others took meanwhile."""
    words = [re.sub(r"\{(.+)\}", lambda name: str(models[name.group(1)]), word)
             for word in program.arguments]
    if program.script:
        command = [python, str(peers.SCRIPTS / program.name), *words]
    else:
        command = [str(build / "bench" / f"bench-{program.name}"), *words]
    variables = dict(os.environ, BENCH_THREADS=str(program.threads))
    with machine.Watch() as watch:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, env=variables)
    line = last_line(done.stdout)
    if done.returncode or not line:
        reason = (done.stderr.strip() or "printed no result").splitlines()[-1]
        raise Failed(f"{program.label} ({program.name}) ended with {done.returncode}: {reason}")
    return dict(line, foreign=round(watch.foreign, 3))


def spread(runs, field="seconds_min"):
    """By how much the second best of `runs` is worse than the best; None for fewer than two."""
    values = sorted(r[field] for r in runs)
    return values[1] / values[0] - 1 if len(values) > 1 else None


def run_undisturbed(program, where):
    """A run while nobody else works, if one of two is."""
    for _ in range(2):
        line = run(program, *where)
        if line["foreign"] <= FOREIGN:
            break
    return line


def measure(job, rounds, where):
    """{command: [runs]} of a job's programs; more rounds than asked for where the runs spread."""
    programs = (job.ours, *job.peers)
    runs = {program.shown(): [] for program in programs}
    for number in range(rounds + MORE_ROUNDS):
        if number >= rounds and all((spread(r) or 0) <= SPREAD for r in runs.values()):
            break
        for program in programs:
            line = run_undisturbed(program, where)
            runs[program.shown()].append(line)
            note = f", others took {line['foreign']:.2f} CPUs" if line["foreign"] > FOREIGN else ""
            print(f"    {program.shown()}: {line['seconds_min']:.4f} s{note}", flush=True)
    return runs


def json_lines(build, name, *arguments):
    """All lines of a benchmark that prints several."""
    done = subprocess.run([str(build / "bench" / f"bench-{name}"), *arguments], stdout=subprocess.PIPE, text=True,
                          check=True)
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
