#!/usr/bin/env python3
"""PyTorch beside librlhf in one process, imported before it and after it, its symbols in the global
scope, and at work on another thread: librlhf's results are those of a process without PyTorch, bit
for bit, and PyTorch's are exact.

    check_torch.py PYTHON_PACKAGE LIBRARY

Runs under RLHF_PEERS_PYTHON where that is set; exit 77 (skipped) where the interpreter has no torch.
"""
import hashlib
import importlib.util
import os
import subprocess
import sys
import threading

PEERS = os.environ.pop("RLHF_PEERS_PYTHON", None)
if PEERS:
    os.execv(PEERS, [PEERS] + sys.argv)


def outcome():
    """A hash of the bits of training on two threads, a forward pass and an answer."""
    import rlhf

    with rlhf.Context(threads=2) as context:
        model = rlhf.Model(vocab_size=40, context_length=64, hidden_size=64, num_layers=2,
                           num_heads=4, seed=3, context=context)
        data = rlhf.Dataset(kind="text", context=context)
        for i in range(8):
            data.append([(i * j + 1) % 40 for j in range(60)])
        trainer = rlhf.LMTrainer(model, data, lr=1e-2, batch_size=8)
        bits = [repr(trainer.step()["loss"]).encode() for _ in range(4)]
        bits += [rows.tobytes() for rows in model.logits([list(range(40)), [1, 2, 3]])]
        bits += [answer.tokens.tobytes()
                 for answer in model.generate([[1, 2]], max_new_tokens=20, seed=5)]
    return hashlib.sha256(b"".join(bits)).hexdigest()


def import_torch():
    sys.setdlopenflags(os.RTLD_NOW | os.RTLD_GLOBAL)
    import torch

    torch.set_num_threads(2)
    return torch


def check_torch(torch):
    """Whole numbers, whose product is exact in any order; a gradient that is known."""
    a = torch.arange(200 * 200).reshape(200, 200) * 7 % 11 - 5
    b = torch.arange(200 * 200).reshape(200, 200) * 5 % 13 - 6
    assert torch.equal(a.float() @ b.float(), (a @ b).float()), "PyTorch's product"
    w = b.float().requires_grad_()
    (a.float() @ w).sum().backward()
    expected = a.sum(dim=0).float().unsqueeze(1).expand(200, 200)
    assert torch.equal(w.grad, expected), "PyTorch's gradient"


def outcome_beside(torch):
    """The outcome while PyTorch works on a thread of its own."""
    failures, done = [], threading.Event()

    def work():
        try:
            while not done.is_set():
                check_torch(torch)
        except AssertionError as error:
            failures.append(error)

    thread = threading.Thread(target=work)
    check_torch(torch)
    thread.start()
    try:
        found = outcome()
    finally:
        done.set()
        thread.join()
    check_torch(torch)
    assert not failures, failures
    return found


def child(when):
    if when == "alone":
        return outcome()
    if when == "first":
        return outcome_beside(import_torch())
    before = outcome()
    found = outcome_beside(import_torch())
    assert found == before, "the same process before PyTorch"
    return found


def main():
    if sys.argv[1] == "--child":
        print(child(sys.argv[2]))
        return 0
    package, library = sys.argv[1:]
    for name in ("torch", "numpy"):
        if importlib.util.find_spec(name) is None:
            print(f"skipped: {sys.executable} has no {name} (set RLHF_PEERS_PYTHON to one that has it)")
            return 77
    environment = {**os.environ, "PYTHONPATH": package, "RLHF_LIBRARY": library}
    found = {}
    for when in ("alone", "first", "later"):
        result = subprocess.run([sys.executable, __file__, "--child", when], env=environment,
                                capture_output=True, text=True)
        if result.returncode:
            print(f"{when}: exit {result.returncode}\n{result.stdout}{result.stderr}")
            return 1
        found[when] = result.stdout.strip()
    print(found)
    return 0 if len(set(found.values())) == 1 else 1


if __name__ == "__main__":
    sys.exit(main())
