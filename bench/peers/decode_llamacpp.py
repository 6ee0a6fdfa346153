"""Decoding of one sequence with llama.cpp, on a file that make_gguf.py wrote.

    decode_llamacpp.py MODEL.gguf PROMPT NEW

The prompt is not counted, greedy choice of each token is. The fastest of three.
"""
import peer

path, prompt, new = peer.arguments("PROMPT", "NEW")
from llama_cpp import Llama  # noqa: E402

model = Llama(model_path=path, n_ctx=prompt + new + 1, n_batch=prompt, n_threads=peer.THREADS,
              n_threads_batch=peer.THREADS, logits_all=False, verbose=False)
ids = [3 + 31 * i % (model.n_vocab() - 3) for i in range(prompt)]


def decode():
    for _ in range(new):
        model.eval([model.sample(temp=0.0)])


seconds = []
for _ in range(3):
    model.reset()
    model.eval(ids)
    seconds.append(peer.timed(decode)[0])
peer.emit("llama.cpp", "decode", path, bf16=".bf16." in path or "-bf16." in path, batch=1, prompt=prompt, new=new, seconds=seconds,
          new_tokens_per_s=new / min(seconds))
