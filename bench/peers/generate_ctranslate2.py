"""Sampled generation with CTranslate2, on a folder that make_ctranslate2.py wrote.

    generate_ctranslate2.py CT2_DIR BATCH PROMPT NEW
"""
import peer

path, batch, prompt, new = peer.arguments("BATCH", "PROMPT", "NEW")
import json  # noqa: E402
import pathlib  # noqa: E402
import random  # noqa: E402

import ctranslate2  # noqa: E402

random.seed(1)
words = json.loads(pathlib.Path(path, "vocabulary.json").read_text())
prompts = [random.choices(words[3:], k=prompt) for _ in range(batch)]
generator = ctranslate2.Generator(path, device="cpu", compute_type="float32", inter_threads=1,
                                  intra_threads=peer.THREADS)


def run():
    return generator.generate_batch(prompts, include_prompt_in_result=False, sampling_topk=0,
                                    sampling_temperature=0.7, min_length=new, max_length=new)


runs = [peer.timed(run) for _ in range(3)]
if any(len(answer.sequences_ids[0]) != new for _, answers in runs for answer in answers):
    raise SystemExit("an answer ended early")
seconds = [taken for taken, _ in runs]
peer.emit("ctranslate2", "generate", path, bf16=False, batch=batch, prompt=prompt, new=new,
          seconds=seconds, new_tokens_per_s=batch * new / min(seconds))
