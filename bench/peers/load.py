"""What a user of TRL waits for before the first step: its import, PPO's included, and a model in memory.

    load.py MODEL_DIR
"""
import time

begun = time.perf_counter()
import peer  # noqa: E402

path, = peer.arguments()
import torch  # noqa: E402, F401
import trl  # noqa: E402, F401
from transformers import AutoModelForCausalLM  # noqa: E402
from trl.experimental.ppo import PPOConfig, PPOTrainer  # noqa: E402, F401

imported = time.perf_counter()
model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
ended = time.perf_counter()
peer.emit("trl", "load", path, bf16=False, setup_seconds=imported - begun, seconds=[ended - begun])
