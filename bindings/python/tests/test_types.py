"""mypy --strict on the package and on a program that uses it."""
import os
import pathlib
import shutil
import subprocess

import pytest
from conftest import ROOT

MYPY = next((path for path in ("/usr/bin/mypy", shutil.which("mypy"))
             if path and pathlib.Path(path).exists()), None)
PROGRAM = '''\
import numpy as np
from numpy.typing import NDArray

import rlhf

ctx = rlhf.Context(threads=2, seed=1)
policy: rlhf.Model = rlhf.Model.load("sft", context=ctx)
logits: list[NDArray[np.float32]] = policy.logits([[1, 2]])
rm = rlhf.RewardModel.from_model(policy)
for stats in rlhf.RewardTrainer(rm, rlhf.Dataset(kind="preference"), lr=1e-5):
    accuracy: float = stats["accuracy"]
ppo = rlhf.PPOTrainer(policy, rm, preset="trl", kl_coef=0.05)
rollout = ppo.rollout([[1, 2]])
rollout.scores[:] = 1.0
loss: float = ppo.update(rollout)["policy_loss"]
'''
WRONG = '''\
import rlhf
ppo = rlhf.PPOTrainer(rlhf.Model(), None, kl_coeff=0.05)
steps: str = ppo.num_iterations
rlhf.Model(num_layers="two")
'''


@pytest.mark.skipif(MYPY is None, reason="mypy is not installed")
def test_package_and_programs_are_typed(tmp_path):
    package = ROOT / "bindings/python"
    (tmp_path / "right.py").write_text(PROGRAM)
    (tmp_path / "wrong.py").write_text(WRONG)

    def mypy(*arguments, **where):
        return subprocess.run([MYPY, "--cache-dir", str(tmp_path / "cache"), *arguments],
                              capture_output=True, text=True, **where)
    right = mypy("--config-file", str(package / "pyproject.toml"), "-p", "rlhf", cwd=package)
    assert right.returncode == 0, right.stdout + right.stderr
    options = ["--strict", "--enable-incomplete-feature=Unpack"]
    environment = {**os.environ, "MYPYPATH": str(package)}
    right = mypy(*options, str(tmp_path / "right.py"), env=environment)
    assert right.returncode == 0, right.stdout + right.stderr
    wrong = mypy(*options, str(tmp_path / "wrong.py"), env=environment)
    for words in ('wrong.py:2: error: Unexpected keyword argument "kl_coeff"',
                  "wrong.py:3: error: Incompatible types", "wrong.py:4: error: Argument"):
        assert words in wrong.stdout, wrong.stdout
    assert (package / "rlhf/py.typed").exists()
