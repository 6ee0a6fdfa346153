"""docs/performance.md from what was measured. Text between the marks is written by hand, and kept."""
import machine
import measure
from jobs import KERNEL_GOALS, SIZE_GOAL

BEGIN, END = "<!-- by hand, kept: begin -->", "<!-- by hand, kept: end -->"
NO_BF16 = "this CPU has no AVX512-BF16"
BF16_BY = {"amx": ", on AMX tiles (TDPBF16PS)", "avx512_bf16": ", AVX512-BF16's dot product (VDPBF16PS)"}

TOP = """# Performance

Written by `./dev bench --peers`; only the text of "What is still slow, and why" is by hand. The library and
its peers run the same jobs on the same idle machine with two threads, in turn (A B A B); only ratios of
minima are quoted. A ratio is of speed, ours over the best of the peer's programs, so that more is better;
of memory, ours over theirs. "Of the limit" is how much of the machine's peak (`bench/peak.c`) a job
reaches by arithmetic: multiply-adds, bytes of weights that decoding reads, bytes that AdamW moves.

A row is not quoted where other programs took more than {foreign:.0%} of a CPU during a run, or where the
second best run of a program is more than {spread:.0%} off its best.
"""


def hand_written(text):
    """What stands between the marks of an earlier page."""
    _, begin, rest = text.partition(BEGIN)
    kept, end, _ = rest.partition(END)
    return kept if begin and end else "\n"


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + "|".join("---" for _ in head) + "|"]
    return "\n".join(lines + ["| " + " | ".join(map(str, row)) + " |" for row in rows]) + "\n"


def number(value):
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.3g}"


def amount(value, field):
    if field == "seconds_min":
        return f"{number(value * 1e3)} ms" if value < 1 else f"{number(value)} s"
    return f"{number(value)} {'MiB' if field == 'peak_rss_mib' else 'tokens/s'}"


def best(runs, field):
    return (max if field.endswith("_per_s") else min)(r[field] for r in runs)


def disturbances(runs_by_name):
    """Why these runs are not to be quoted, or ""."""
    for name, runs in runs_by_name.items():
        foreign = max(r["foreign"] for r in runs)
        if foreign > measure.FOREIGN:
            return f"not quoted: others took {foreign:.0%} of a CPU"
        spread = measure.spread(runs)
        if spread is not None and spread > measure.SPREAD:
            return f"not quoted: runs of {name.split(' MODELS')[0]} spread by {spread:.0%}"
        if spread is None:
            return "not quoted: one run only"
    return ""


def show_goal(comparison):
    if comparison.goal is None:
        return ""
    return f"{'≤' if comparison.at_most else '≥'} {comparison.goal:g}×"


def judge(ratio, comparison):
    if comparison.goal is None:
        return ""
    met = ratio <= comparison.goal if comparison.at_most else ratio >= comparison.goal
    return f"{show_goal(comparison)} {'met' if met else '**missed**'}"


def compare(job, comparison, entry, commit):
    """A row: job, dtype, peer, ours, the peer's, ratio, goal, percent of the limit, remark."""
    title = comparison.title or job.title
    goal = show_goal(comparison)
    head = [title, job.dtype, comparison.peer]
    runs = (entry or {}).get("runs", {})
    if not all(program.shown() in runs for program in (job.ours, *job.peers)):  # or the job has changed since
        return head + ["", "", "", goal, "", (entry or {}).get("remark", "not measured")]
    ours = runs[job.ours.shown()]
    theirs = {p.shown(): runs[p.shown()] for p in job.peers if p.label == comparison.peer}
    mine = best(ours, comparison.field)
    other = min(best(runs, comparison.peer_field) for runs in theirs.values()) \
        if not comparison.peer_field.endswith("_per_s") \
        else max(best(runs, comparison.peer_field) for runs in theirs.values())
    less_is_better = not comparison.field.endswith("_per_s")
    ratio = mine / other if comparison.at_most or not less_is_better else other / mine
    limit = ""
    if comparison.limit:
        limit = f"{100 * min(r[comparison.limit] for r in ours) / best(ours, comparison.seconds):.0f}%"
    # Memory does not hang on what else runs.
    remark = "" if comparison.at_most else disturbances({job.ours.shown(): ours, **theirs})
    said, met = f"{ratio:.2f}×", judge(ratio, comparison)
    if remark:
        said, met = "", goal
    if entry.get("commit") != commit:
        remark = "; ".join(filter(None, [remark, f"measured at {entry.get('commit')}"]))
    return head + [amount(mine, comparison.field), amount(other, comparison.peer_field), said, met, limit, remark]


def size_row(sizes):
    if not sizes:
        return ["our own objects in the stripped library", "", "", "", "", "", f"≤ {SIZE_GOAL / 1e6:g} MB", "",
                "not measured"]
    own, whole = sizes
    met = "met" if own <= SIZE_GOAL else "**missed**"
    return ["our own objects in the stripped library (BLIS not counted)", "", "", f"{own / 1e6:.2f} MB", "", "",
            f"≤ {SIZE_GOAL / 1e6:g} MB {met}", "", f"the whole file: {whole / 1e6:.2f} MB"]


def peak_text(peaks):
    if not peaks:
        return "The machine's limits were not measured.\n"
    top = {key: max(p[key] or 0 for p in peaks) for key in peaks[0] if key.endswith(("s", "s_1"))
           and isinstance(peaks[0][key], (int, float, type(None))) and key != "threads"}
    bf16 = (f"{top['bf16_gflops_1']:.0f} / {top['bf16_gflops']:.0f} GFLOP/s" if top["bf16_gflops"]
            else NO_BF16)
    by = BF16_BY.get(peaks[0].get("bf16_by"), "")
    rows = [(f"fp32 multiply-add, level {peaks[0]['level']}",
             f"{top['fp32_gflops_1']:.0f} / {top['fp32_gflops']:.0f} GFLOP/s"),
            ("bf16 products" + by, bf16),
            ("memory, read", f"{top['read_gb_per_s_1']:.1f} / {top['read_gb_per_s']:.1f} GB/s"),
            ("memory, copied (read + written)",
             f"{top['copy_gb_per_s_1']:.1f} / {top['copy_gb_per_s']:.1f} GB/s")]
    return table(["limit", f"1 thread / {peaks[0]['threads']} threads"], rows)


def kernels_text(kernels):
    if not kernels:
        return "Not measured.\n"
    summary, rows = [], []
    for prefix, goal in KERNEL_GOALS.items():
        percents = [k["percent_of_limit"] for k in kernels if k["kernel"].startswith(prefix)]
        if percents:
            reached = sum(p >= goal for p in percents)
            summary.append((prefix, f"{min(percents):.0f}–{max(percents):.0f}%", f"≥ {goal}%",
                            f"{reached} of {len(percents)} shapes"))
        else:
            summary.append((prefix, "", f"≥ {goal}%", NO_BF16 if prefix.startswith("bf16") else "not measured"))
    for k in kernels:
        unit = next(key for key in k if key in ("gflops", "read_gb_per_s", "copy_gb_per_s"))
        shown = {"gflops": "GFLOP/s", "read_gb_per_s": "GB/s read", "copy_gb_per_s": "GB/s moved"}[unit]
        rows.append((k["kernel"], k["job"], k["shape"].replace("x", "×"), f"{k['ms']:.3f}",
                     f"{k[unit]:.1f} {shown}", f"{k['percent_of_limit']:.0f}%"))
    return (table(["kernels", "of the limit", "goal", "met by"], summary) + "\n" +
            table(["kernel", "job", "shape", "ms", "rate", "of the limit"], rows))


def commands_text(jobs):
    lines = ["./dev bench peak", "./dev bench kernels"]
    for job in jobs:
        lines += [program.shown() for program in (job.ours, *job.peers)]
    return "\n".join(["<!-- not run: an hour or two; needs the peers -->", "```sh", *dict.fromkeys(lines), "```", ""])


def write(jobs, kept, measured):
    """The whole page. `measured`: machine, versions, load, rounds, peaks, kernels, sizes, jobs."""
    commit = machine.commit()
    no_bf16 = measured.get("peaks") and not any(p["bf16_gflops"] for p in measured["peaks"])
    entries = {job.key: {"commit": commit, "remark": NO_BF16} for job in jobs if no_bf16 and job.dtype == "bf16"}
    entries = {**measured["jobs"], **entries}
    rows = [compare(job, comparison, entries.get(job.key), commit)
            for job in jobs for comparison in job.comparisons]
    rows.append(size_row(measured.get("sizes")))
    facts = [*measured["machine"], ("load average at the start", f"{measured['load']:.2f}")]
    return "\n".join([
        TOP.format(foreign=measure.FOREIGN, spread=measure.SPREAD),
        "## Machine\n", table(["", ""], facts), peak_text(measured.get("peaks")),
        "## Versions\n", ", ".join(f"{name} {version}" for name, version in measured["versions"]) + ".\n",
        f"## Against the peers\n\nMinima of {measured['rounds']} or more runs each.\n",
        table(["job", "dtype", "peer", "ours", "the peer's", "ratio", "goal", "of the limit", "remark"], rows),
        "## What is still slow, and why\n\n" + BEGIN + kept + END + "\n",
        "## Kernels\n", kernels_text(measured.get("kernels")),
        "## Commands\n\nAll at once: `./dev bench --peers`. MODELS is where it makes them, and `python` the\n"
        "interpreter of the environment that it makes (both under `build-peers/`).\n",
        commands_text(jobs)])
