"""Whole iterations of TRL's PPOTrainer on random prompts, with its defaults.

    ppo_iteration.py MODEL_DIR BATCH PROMPT RESPONSE ITERATIONS [bf16]

An iteration: BATCH answers of RESPONSE tokens, scored, then four epochs of one minibatch. Policy,
reference, reward model and value model all start from MODEL_DIR.
"""
import peer

path, batch, prompt, response, iterations, bf16 = peer.arguments(
    "BATCH", "PROMPT", "RESPONSE", "ITERATIONS", flags=("bf16",))
import tempfile  # noqa: E402
import time  # noqa: E402

import torch  # noqa: E402
from datasets import Dataset  # noqa: E402
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification  # noqa: E402
from trl.experimental.ppo import PPOConfig, PPOTrainer  # noqa: E402

torch.set_num_threads(peer.THREADS)
torch.manual_seed(1)


def load(architecture, **kwargs):
    model = architecture.from_pretrained(path, dtype=torch.float32, **kwargs)
    model.config.pad_token_id = 0
    return peer.no_dropout(model)


policy, reference = (load(AutoModelForCausalLM) for _ in range(2))
value, reward = (load(AutoModelForSequenceClassification, num_labels=1) for _ in range(2))
vocab = policy.config.vocab_size
prompts = Dataset.from_dict({"input_ids": torch.randint(3, vocab, (batch * iterations, prompt)).tolist()})
clock = peer.step_clock()
with tempfile.TemporaryDirectory() as scratch:
    options = PPOConfig(
        output_dir=scratch, use_cpu=True, bf16=bf16, total_episodes=batch * iterations,
        per_device_train_batch_size=batch, local_rollout_forward_batch_size=batch,
        gradient_accumulation_steps=1, num_mini_batches=1, response_length=response,
        num_sample_generations=0, gradient_checkpointing=False, dataloader_pin_memory=False,
        disable_tqdm=True, eval_strategy="no", save_strategy="no", report_to="none")
    trainer = PPOTrainer(args=options, model=policy, ref_model=reference, reward_model=reward,
                         value_model=value, train_dataset=prompts, eval_dataset=prompts.select([0]),
                         processing_class=peer.placeholder_tokenizer(vocab, "left"), callbacks=[clock])
    begun = time.perf_counter()
    trainer.train()
seconds = clock.gaps(begun)
peer.emit("trl", "ppo_iteration", path, bf16=bf16, batch=batch, prompt=prompt, response=response, seconds=seconds,
          episodes_per_s=batch / sorted(seconds)[len(seconds) // 2])
