"""Optimizer steps of TRL's RewardTrainer on random pairs, of which both begin with the same PROMPT tokens.

    reward_step.py MODEL_DIR PAIRS SEQ PROMPT STEPS [bf16]
"""
import peer

path, pairs, seq, prompt, steps, bf16 = peer.arguments("PAIRS", "SEQ", "PROMPT", "STEPS", flags=("bf16",))
import tempfile  # noqa: E402

import torch  # noqa: E402
from datasets import Dataset  # noqa: E402
from transformers import AutoModelForSequenceClassification  # noqa: E402
from trl import RewardConfig, RewardTrainer  # noqa: E402

torch.set_num_threads(peer.THREADS)
torch.manual_seed(1)
model = AutoModelForSequenceClassification.from_pretrained(path, num_labels=1, dtype=torch.float32)
model.config.pad_token_id = 0
tokens = torch.randint(3, model.config.vocab_size, (2, pairs * steps, seq))
tokens[1, :, :prompt] = tokens[0, :, :prompt]
tokens = tokens.tolist()
data = Dataset.from_dict({"chosen_ids": tokens[0], "rejected_ids": tokens[1]})
clock = peer.step_clock()
with tempfile.TemporaryDirectory() as scratch:
    options = RewardConfig(output_dir=scratch, use_cpu=True, bf16=bf16, max_steps=steps, max_length=seq,
                           per_device_train_batch_size=pairs, gradient_checkpointing=False,
                           dataloader_pin_memory=False, disable_tqdm=True, save_strategy="no", report_to="none")
    RewardTrainer(model=peer.no_dropout(model), args=options, train_dataset=data, callbacks=[clock],
                  processing_class=peer.placeholder_tokenizer(model.config.vocab_size)).train()
seconds = clock.gaps()
peer.emit("trl", "reward_step", path, bf16=bf16, batch_pairs=pairs, seq=seq, prompt=prompt, seconds=seconds,
          pairs_per_s=pairs / sorted(seconds)[len(seconds) // 2])
