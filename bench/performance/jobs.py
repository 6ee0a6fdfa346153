"""What is measured: each job, by the library and by its peers, with the goal of each comparison."""
import dataclasses


@dataclasses.dataclass(frozen=True)
class Program:
    """A benchmark of this folder's parent, or with `script` a peer's; {name} in arguments is a model."""
    label: str
    name: str
    arguments: tuple
    script: bool = False
    threads: int = 2

    def shown(self):
        words = " ".join(a.replace("{", "MODELS/").replace("}", "") for a in self.arguments)
        if self.script:
            return f"python bench/peers/{self.name} {words}"
        prefix = "" if self.threads == 2 else f"BENCH_THREADS={self.threads} "
        return f"{prefix}./dev bench {self.name} {words}"


@dataclasses.dataclass(frozen=True)
class Comparison:
    """A row of the table. Ratios are of speed, so that more is better, but for `at_most`."""
    peer: str
    goal: object  # a ratio; None: no goal was set
    field: str = "seconds_min"
    peer_field: str = "seconds_min"
    title: str = ""       # instead of the job's
    at_most: bool = False  # ours / peer's, to stay below
    limit: str = "limit_seconds"  # field with the seconds at the machine's limit, "": none
    seconds: str = "seconds_min"  # to compare with it


@dataclasses.dataclass(frozen=True)
class Job:
    title: str
    dtype: str
    ours: Program
    peers: tuple
    comparisons: tuple
    slow: bool = False  # left out by --quick

    @property
    def key(self):
        return f"{self.title} {self.dtype}"


def ours(name, *arguments, threads=2, label="librlhf"):
    return Program(label, name, arguments, threads=threads)


def peer(label, script, *arguments):
    return Program(label, script, arguments, script=True)


def flag(dtype):
    return () if dtype == "fp32" else ("bf16",)


def train_step(model, batch, seq, dtype, goal, slow=False):
    arguments = (f"{{{model}}}", str(batch), str(seq), *flag(dtype))
    return Job(f"train_step {model} {batch}×{seq}", dtype, ours("train_step", *arguments),
               (peer("PyTorch", "train_step.py", *arguments),
                peer("PyTorch", "train_step.py", *arguments, "compile")),
               (Comparison("PyTorch", goal),), slow)


def decode(model, dtype, goal):
    """Without the prompt, as llama.cpp's script has it: per token, as ours leaves the first one out."""
    title = f"decode b=1 {model}"
    kind = "f32" if dtype == "fp32" else "f16" if model == "llama-15m" else "bf16"
    return Job(title, dtype, ours("generate", f"{{{model}}}", "1", "32", "64", *flag(dtype)),
               (peer("llama.cpp", "decode_llamacpp.py", f"{{{model}-{kind}.gguf}}", "32", "64"),),
               (Comparison("llama.cpp", goal, "decode_tokens_per_s", "new_tokens_per_s",
                           limit="decode_limit_seconds", seconds="decode_seconds_min"),))


def generate(model, batch, prompt, new, dtype, goal, ctranslate2=None, slow=False):
    arguments = (f"{{{model}}}", str(batch), str(prompt), str(new))
    peers = [peer("transformers", "generate.py", *arguments, *flag(dtype))]
    comparisons = [Comparison("transformers", goal)]
    if ctranslate2:
        peers.append(peer("CTranslate2", "generate_ctranslate2.py", f"{{{model}.ct2}}", *arguments[1:]))
        comparisons.append(Comparison("CTranslate2", ctranslate2))
    return Job(f"generate b={batch} {model} {prompt}+{new}", dtype,
               ours("generate", *arguments, *flag(dtype)), tuple(peers), tuple(comparisons), slow)


def reward_step(model, pairs, seq, dtype, goal, prompt=0, slow=False):
    """Pairs that begin with the same `prompt` tokens."""
    arguments = (f"{{{model}}}", str(pairs), str(seq), str(prompt), "5", *flag(dtype))
    alike = f", {prompt} alike" if prompt else ""
    return Job(f"reward_step {model} {pairs}×{seq}{alike}", dtype, ours("reward_step", *arguments),
               (peer("TRL", "reward_step.py", *arguments),), (Comparison("TRL", goal),), slow)


def ppo_iteration(model, batch, prompt, response, dtype, goal, memory=None, slow=False):
    arguments = (f"{{{model}}}", str(batch), str(prompt), str(response), "3", *flag(dtype))
    comparisons = [Comparison("TRL", goal)]
    if memory:
        comparisons.append(Comparison("TRL", memory, "peak_rss_mib", "peak_rss_mib", at_most=True, limit="",
                                      title=f"peak memory of ppo_iteration {model}"))
    return Job(f"ppo_iteration {model} {batch}, {prompt}+{response}", dtype,
               ours("ppo_iteration", *arguments), (peer("TRL", "ppo_iteration.py", *arguments),),
               tuple(comparisons), slow)


THREADS = Job("train_step gpt2-124m 4×64, two threads against one", "fp32",
              ours("train_step", "{gpt2-124m}", "4", "64"),
              (ours("train_step", "{gpt2-124m}", "4", "64", threads=1, label="librlhf, 1 thread"),),
              (Comparison("librlhf, 1 thread", 1.85),))

JOBS = (
    train_step("gpt2-124m", 4, 64, "fp32", 1.3),
    train_step("gpt2-124m", 4, 64, "bf16", 1.2),
    train_step("gpt2-124m", 4, 512, "fp32", 1.2, slow=True),
    train_step("gpt2-124m", 4, 512, "bf16", 1.25, slow=True),
    train_step("llama-15m", 8, 256, "fp32", 1.5),
    train_step("llama-15m", 8, 256, "bf16", 1.6),
    decode("llama-110m", "fp32", 1.0),
    decode("llama-110m", "bf16", 1.0),
    decode("llama-15m", "fp32", 1.2),
    decode("llama-15m", "bf16", 1.8),
    generate("gpt2-124m", 1, 32, 64, "fp32", 2.4, ctranslate2=1.2),
    generate("gpt2-124m", 1, 32, 64, "bf16", 2.8),
    generate("gpt2-124m", 32, 32, 64, "fp32", 3.5, ctranslate2=3.0),
    generate("gpt2-124m", 32, 32, 64, "bf16", 4.0),
    generate("llama-15m", 32, 32, 64, "fp32", 6.0),
    generate("llama-15m", 32, 32, 64, "bf16", 9.0),
    generate("stories260K", 1, 8, 256, "fp32", 15.0),
    reward_step("llama-15m", 8, 128, "fp32", 1.5),
    reward_step("llama-15m", 8, 128, "bf16", 2.2),
    reward_step("gpt2-124m", 4, 128, "fp32", 1.4),
    reward_step("gpt2-124m", 4, 128, "bf16", 1.4),
    # What the goals' jobs do not have: sides that share a prompt, as all people's choices do.
    reward_step("llama-15m", 8, 128, "fp32", None, prompt=64),
    reward_step("gpt2-124m", 4, 128, "fp32", None, prompt=64),
    reward_step("gpt2-124m", 4, 128, "bf16", None, prompt=64),
    ppo_iteration("stories260K", 8, 16, 32, "fp32", 15.0),
    ppo_iteration("llama-15m", 8, 32, 32, "fp32", 2.6),
    ppo_iteration("llama-15m", 8, 32, 32, "bf16", 4.0),
    ppo_iteration("gpt2-124m", 4, 32, 32, "fp32", 1.9, memory=0.65),
    ppo_iteration("gpt2-124m", 4, 32, 32, "bf16", 2.8, memory=0.55),
    Job("create context and load gpt2-124m", "fp32", ours("load", "{gpt2-124m}"),
        (peer("import trl and load", "load.py", "{gpt2-124m}"),), (Comparison("import trl and load", 50.0),)),
    THREADS,
)

# Most bytes of our own objects in the stripped library.
SIZE_GOAL = 1.5e6

# Goals of bench-kernels, percent of the limit, by the beginning of a kernel's name.
KERNEL_GOALS = {"gemm": 85, "bf16 gemm": 70, "decode": 85, "bf16 decode": 85, "adamw": 85}


def chosen(words):
    """The jobs whose name has each of some word's parts, in the order of the table; no word: all."""
    def fits(job, word):
        return all(part in job.key.replace("×", "x") for part in word.replace("×", "x").split())

    return [job for job in JOBS if not words or any(fits(job, word) for word in words)]
