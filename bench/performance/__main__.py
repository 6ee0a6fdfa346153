#!/usr/bin/env python3
"""The library beside its peers: environment, models, runs in turn, docs/performance.md.

    bench/performance [--quick] [--page] [JOB...]        (./dev bench --peers does it, and builds first)

JOB is words of a job's name ("train_step fp32", "kernels"): those jobs are measured anew, and the
page has the others as last measured. --quick leaves the longest jobs out and runs fewer rounds. --page
only writes the page again. What was measured is kept in build-peers/measured.json.
"""
import argparse
import json
import pathlib
import shutil
import sys

import jobs
import machine
import measure
import page
import peers

ROOT = pathlib.Path(__file__).resolve().parents[2]


def arguments():
    parser = argparse.ArgumentParser(prog="./dev bench --peers", description=__doc__.split("\n\n")[0])
    parser.add_argument("jobs", nargs="*", metavar="JOB", help="words of a job's name; none: all jobs")
    parser.add_argument("--quick", action="store_true", help="two rounds instead of four; not the longest jobs")
    parser.add_argument("--page", action="store_true", help="measure nothing, write the page")
    parser.add_argument("--build", default="build", type=pathlib.Path, help="the build folder")
    parser.add_argument("--work", default="build-peers", type=pathlib.Path, help="environment, models, results")
    parser.add_argument("--out", default="docs/performance.md", type=pathlib.Path)
    parser.add_argument("--max-load", default=0.5, type=float, help="most load average to begin at")
    return parser.parse_args()


def names_of_models(chosen):
    return {word.strip("{}") for job in chosen for p in (job.ours, *job.peers) for word in p.arguments
            if word.startswith("{")}


def measure_jobs(chosen, options, measured, where, save):
    bf16 = any(p["bf16_gflops"] for p in measured["peaks"])  # else the page says so by itself
    for job in chosen:
        print(f"{job.title}, {job.dtype}", flush=True)
        entry = {"commit": machine.commit()}
        if job.dtype == "bf16" and not bf16:
            continue
        if job.slow and options.quick:
            entry["remark"] = "left out by --quick"
        else:
            try:
                entry["runs"] = measure.measure(job, measured["rounds"], where)
            except measure.Failed as failure:
                print(f"    {failure}", flush=True)
                entry["remark"] = f"failed: {failure}"
        # What --quick leaves out may have been measured before.
        if "left out" not in entry.get("remark", "") or "runs" not in measured["jobs"].get(job.key, {}):
            measured["jobs"][job.key] = entry
        save()


def main():
    options = arguments()
    for name in ("build", "work", "out"):
        setattr(options, name, (ROOT / getattr(options, name)).resolve())
    options.work.mkdir(exist_ok=True)
    results = options.work / "measured.json"
    measured = json.loads(results.read_text()) if results.exists() else {"jobs": {}, "peaks": []}

    def save():
        part = results.with_suffix(".part")
        part.write_text(json.dumps(measured, indent=1))
        part.rename(results)

    kernels = not options.jobs or "kernels" in options.jobs
    words = [word for word in options.jobs if word != "kernels"]
    chosen = jobs.chosen(words) if words or not options.jobs else []
    if words and not chosen:
        sys.exit("no such job: " + ", ".join(job.key for job in jobs.JOBS))
    if not options.page:
        if not shutil.which("ninja"):
            sys.exit("ninja is not installed: ./dev setup")
        python = peers.environment(options.work)
        models = peers.models(options.work, python, names_of_models(chosen))
        measured["load"] = machine.wait_for_idle(options.max_load)
        measured["rounds"] = 2 if options.quick else 4
        measured["machine"] = machine.describe(options.build)
        measured["versions"] = peers.versions(python)
        if not options.jobs:
            measured["peaks"] = []
        measured["peaks"] += measure.json_lines(options.build, "peak")
        measure_jobs(chosen, options, measured, (options.build, python, models), save)
        if kernels:
            print("kernels", flush=True)
            measured["kernels"] = measure.json_lines(options.build, "kernels")
        measured["peaks"] += measure.json_lines(options.build, "peak")
        measured["sizes"] = machine.library_sizes(options.build)
        save()
    if "machine" not in measured:
        sys.exit("nothing has been measured yet")
    kept = page.hand_written(options.out.read_text()) if options.out.exists() else "\n"
    options.out.write_text(page.write(jobs.JOBS, kept, measured))
    print(f"wrote {options.out.relative_to(ROOT) if options.out.is_relative_to(ROOT) else options.out}")


if __name__ == "__main__":
    main()
