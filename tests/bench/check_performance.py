#!/usr/bin/env python3
"""bench/performance: what it refuses to quote, how it compares, what it keeps of an earlier page."""
import contextlib
import io
import os
import pathlib
import sys
import unittest
import unittest.mock

sys.path.insert(0, str(pathlib.Path(os.environ["RLHF_SOURCE_DIR"], "bench/performance")))
import jobs  # noqa: E402
import machine  # noqa: E402
import measure  # noqa: E402
import page  # noqa: E402

JOB = jobs.train_step("gpt2-124m", 4, 64, "fp32", 1.3)
COMMIT = "abc"


def entry(job, ours, *peers, **fields):
    """Runs of the job's programs from their seconds."""
    def runs(seconds):
        return [{"seconds_min": s, "peak_rss_mib": 100.0, "limit_seconds": 0.5, "foreign": 0.0, **fields}
                for s in seconds]

    programs = [job.ours, *job.peers]
    return {"commit": COMMIT, "runs": {p.shown(): runs(s) for p, s in zip(programs, (ours, *peers))}}


def row(made, job=JOB, number=0, commit=COMMIT):
    return page.compare(job, job.comparisons[number], made, commit)


class Rows(unittest.TestCase):
    def test_ratio_is_of_minima_against_the_peers_best_program(self):
        made = row(entry(JOB, [1.05, 1.0], [2.0, 2.1], [1.5, 1.55]))
        self.assertEqual(made[5:], ["1.50×", "≥ 1.3× met", "50%", ""])
        self.assertIn("missed", row(entry(JOB, [1.0, 1.0], [1.2, 1.2], [1.25, 1.25]))[6])

    def test_spread_runs_are_not_quoted(self):
        made = row(entry(JOB, [1.0, 1.2], [2.0, 2.0], [1.5, 1.5]))
        self.assertEqual(made[5], "")
        self.assertEqual(made[8], "not quoted: runs of ./dev bench train_step spread by 20%")
        self.assertIn("one run only", row(entry(JOB, [1.0], [2.0], [1.5]))[8])

    def test_disturbed_runs_are_not_quoted(self):
        made = row(entry(JOB, [1.0, 1.0], [2.0, 2.0], [1.5, 1.5], foreign=0.4))
        self.assertEqual((made[5], made[8]), ("", "not quoted: others took 40% of a CPU"))

    def test_what_another_commit_measured_says_so(self):
        made = row(entry(JOB, [1.0, 1.0], [2.0, 2.0], [1.5, 1.5]), commit="def")
        self.assertEqual(made[8], "measured at abc")

    def test_runs_of_other_commands_are_not_the_jobs(self):
        made = entry(JOB, [1.0, 1.0], [2.0, 2.0], [1.5, 1.5])
        del made["runs"][JOB.peers[1].shown()]
        self.assertEqual((row(made)[5], row(made)[8]), ("", "not measured"))

    def test_jobs_without_a_goal_are_quoted(self):
        job = jobs.reward_step("llama-15m", 8, 128, "fp32", None, prompt=64)
        self.assertEqual(row(entry(job, [1.0, 1.0], [2.0, 2.0]), job)[5:], ["2.00×", "", "50%", ""])

    def test_rates_compare_the_other_way_round(self):
        job = jobs.decode("llama-15m", "fp32", 1.2)
        made = entry(job, [1.0, 1.0], [1.0, 1.0], decode_tokens_per_s=300.0, new_tokens_per_s=200.0,
                     decode_limit_seconds=0.3, decode_seconds_min=0.4)
        self.assertEqual(row(made, job)[5:8], ["1.50×", "≥ 1.2× met", "75%"])

    def test_memory_is_to_stay_below(self):
        job = jobs.ppo_iteration("gpt2-124m", 4, 32, 32, "fp32", 1.9, memory=0.65)
        made = entry(job, [1.0, 1.0], [2.0, 2.0])
        for run in made["runs"][job.peers[0].shown()]:
            run["peak_rss_mib"] = 200.0
        self.assertEqual(row(made, job, 1)[5:7], ["0.50×", "≤ 0.65× met"])

    def test_what_a_machine_cannot_do_is_said(self):
        job = jobs.train_step("gpt2-124m", 4, 64, "bf16", 1.2)
        self.assertEqual(row({"commit": COMMIT, "remark": page.NO_BF16}, job)[8], page.NO_BF16)
        self.assertEqual(row(None, job)[8], "not measured")

    def test_every_job_has_a_row_on_the_page(self):
        measured = {"machine": [("CPU", "x")], "versions": [("torch", "1")], "load": 0.1, "rounds": 2, "jobs": {},
                    "peaks": [{"level": "avx2", "threads": 2, "fp32_gflops_1": 1.0, "fp32_gflops": 2.0,
                               "bf16_gflops_1": None, "bf16_gflops": None, "read_gb_per_s_1": 3.0,
                               "read_gb_per_s": 4.0, "copy_gb_per_s_1": 5.0, "copy_gb_per_s": 6.0}]}
        text = page.write(jobs.JOBS, "\nby a person\n", measured)
        for job in jobs.JOBS:
            self.assertIn(f"| {job.title} | {job.dtype} |", text)
            for program in (job.ours, *job.peers):
                self.assertIn(program.shown(), text)
        self.assertIn("our own objects", text)
        bf16 = [line for line in text.splitlines() if "| bf16 |" in line]
        self.assertTrue(bf16 and all(page.NO_BF16 in line for line in bf16))
        self.assertEqual(page.hand_written(text), "\nby a person\n")
        self.assertEqual(page.hand_written("no marks"), "\n")

    def test_the_peak_of_bf16_says_by_which_instruction(self):
        peak = {"level": "avx512", "threads": 2, "fp32_gflops_1": 1.0, "fp32_gflops": 2.0, "bf16_gflops_1": 3.0,
                "bf16_gflops": 4.0, "bf16_by": "amx", "read_gb_per_s_1": 3.0, "read_gb_per_s": 4.0,
                "copy_gb_per_s_1": 5.0, "copy_gb_per_s": 6.0}
        self.assertIn("| bf16 products, on AMX tiles (TDPBF16PS) | 3 / 4 GFLOP/s |", page.peak_text([peak]))

    def test_bf16_kernels_have_goals_of_their_own(self):
        kernel = {"kernel": "bf16 gemm dW", "job": "x", "shape": "1x1x1", "ms": 1.0, "gflops": 1.0,
                  "percent_of_limit": 75.0}
        text = page.kernels_text([kernel])
        self.assertIn("| bf16 gemm | 75–75% | ≥ 70% | 1 of 1 shapes |", text)
        self.assertIn("| gemm |  | ≥ 85% | not measured |", text)


class Machine(unittest.TestCase):
    def test_a_loaded_machine_is_refused(self):
        slept = []
        with self.assertRaises(SystemExit):
            machine.wait_for_idle(0.5, 30, load=lambda: (2.0, 0, 0), sleep=slept.append)
        self.assertEqual(slept, [10, 10, 10])
        self.assertEqual(machine.wait_for_idle(0.5, load=lambda: (0.3, 0, 0)), 0.3)

    def test_busy_seconds_count_all_but_idle_and_waiting(self):
        text = "cpu  100 20 30 9999 777 4 5 6 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n"
        self.assertEqual(machine.busy_seconds(text), 165 / machine.TICKS)

    def test_own_bytes_leave_out_blis_debugging_and_what_is_not_stored(self):
        link_map = """Discarded input sections
 .text          0x0000000000001000    0x99 a.o
Linker script and memory map
.text           0x0000000000001000    0x300
 .text          0x0000000000001000     0x10 lib/a.c.o
 .text.a_name_too_long_for_its_column
                0x0000000000001010     0x20 lib/b.c.o
 .text          0x0000000000001030    0x100 /usr/lib/libblis.a(gemm.o)
 .rodata        0x0000000000002000      0x4 lib/a.c.o
 .bss           0x0000000000003000   0x1000 lib/a.c.o
 .debug_info    0x0000000000000000   0x5000 lib/a.c.o
"""
        self.assertEqual(machine.own_bytes(link_map), 0x34)


class Programs(unittest.TestCase):
    def test_spread_is_of_the_two_best(self):
        self.assertAlmostEqual(measure.spread([{"seconds_min": s} for s in (3.0, 1.0, 1.1)]), 0.1)
        self.assertIsNone(measure.spread([{"seconds_min": 1.0}]))

    def test_spread_runs_are_repeated_in_turn(self):
        def rounds_of(*seconds):
            left = iter(seconds)
            with unittest.mock.patch.object(measure, "run_undisturbed", self.fake(left)), \
                    contextlib.redirect_stdout(io.StringIO()):
                return measure.measure(JOB, 2, None)[JOB.ours.shown()]

        self.assertEqual(len(rounds_of(1.0, 1.05)), 2)
        self.assertEqual(len(rounds_of(1.0, 1.2, 1.3, 1.05)), 4)
        self.assertEqual(len(rounds_of(*(1.2 ** i for i in range(20)))), 2 + measure.MORE_ROUNDS)

    @staticmethod
    def fake(seconds):
        def run(program, _):
            return {"seconds_min": next(seconds) if program is JOB.ours else 2.0, "foreign": 0.0}
        return run

    def test_the_last_line_of_json_is_the_result(self):
        self.assertEqual(measure.last_line('{"a": 1}\nnoise\n\n{"a": 2}\nbye'), {"a": 2})
        self.assertIsNone(measure.last_line("noise"))

    def test_words_choose_jobs(self):
        self.assertEqual([j.key for j in jobs.chosen(["train_step 4x64 bf16"])], ["train_step gpt2-124m 4×64 bf16"])
        self.assertEqual(jobs.chosen([]), list(jobs.JOBS))
        self.assertEqual(jobs.chosen(["nothing"]), [])
        self.assertEqual(len({job.key for job in jobs.JOBS}), len(jobs.JOBS))

    def test_models_of_jobs_are_made(self):
        import peers
        for job in jobs.JOBS:
            for program in (job.ours, *job.peers):
                for word in program.arguments:
                    if word.startswith("{"):
                        self.assertIn(word.strip("{}"), (*peers.MODELS, *peers.CONVERSIONS))
                if program.script:
                    self.assertTrue((peers.SCRIPTS / program.name).exists())


if __name__ == "__main__":
    unittest.main()
