"""What the scripts of this folder share: two threads, no network, the fastest of several
runs, one line of JSON with the fields of the benchmark of the same name in C.

Imported before anything that starts threads of its own.
"""
import json
import os
import pathlib
import resource
import sys
import time

THREADS = 2

os.environ["OMP_NUM_THREADS"] = str(THREADS)
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_VERBOSITY"] = "error"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"  # PPO is in TRL's experimental part


def arguments(*names, flags=()):
    """The command line: a model's path, then whole numbers by name, then flags in any order."""
    given = sys.argv[1:]
    numbers = given[1:1 + len(names)]
    rest = given[1 + len(names):]
    if len(numbers) < len(names) or not all(n.isdecimal() for n in numbers) or set(rest) - set(flags):
        wanted = " ".join(["MODEL", *names, *(f"[{flag}]" for flag in flags)])
        sys.exit(f"usage: {pathlib.Path(sys.argv[0]).name} {wanted}")
    return (given[0], *map(int, numbers), *(flag in rest for flag in flags))


def emit(peer, bench, model, **fields):
    """The line of JSON; `seconds`, a list, becomes its minimum and its median."""
    seconds = sorted(fields.pop("seconds"))
    line = {"peer": peer, "bench": bench, "model": pathlib.Path(model).name, **fields,
            "seconds_min": seconds[0], "seconds_median": seconds[len(seconds) // 2],
            "peak_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}
    # Libraries print to the same stream: the line is the last, and stands by itself.
    print("\n" + json.dumps(line), flush=True)


def timed(action):
    """(seconds, what the action returned)."""
    start = time.perf_counter()
    result = action()
    return time.perf_counter() - start, result


def no_dropout(model):
    """The library has none, and a benchmark needs none."""
    for module in model.modules():
        if type(module).__name__ == "Dropout":
            module.p = 0.0
    return model


def placeholder_tokenizer(vocab_size, padding_side="right"):
    """A tokenizer for trainers that insist on one: token i is written "t<i>", 0 pads."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    words = models.WordLevel({f"t{i}": i for i in range(vocab_size)}, unk_token="t1")
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer(words), pad_token="t0", unk_token="t1",
                                   bos_token="t2", eos_token="t2", padding_side=padding_side)


def step_clock():
    """A trainer's callback whose `times` are when each optimizer step or iteration ended."""
    from transformers import TrainerCallback

    class Clock(TrainerCallback):
        def __init__(self):
            self.times = []

        def on_step_end(self, *_, **__):
            self.times.append(time.perf_counter())

        def gaps(self, since=None):
            times = self.times if since is None else [since, *self.times]
            return [after - before for before, after in zip(times, times[1:])]

    return Clock()
