"""Sampled generation with transformers, which is also how TRL's PPO makes its rollouts.

    generate.py MODEL_DIR BATCH PROMPT NEW [bf16]

Temperature 0.7; nothing but its length ends an answer. The fastest of three.
"""
import peer

path, batch, prompt, new, bf16 = peer.arguments("BATCH", "PROMPT", "NEW", flags=("bf16",))
import torch  # noqa: E402
from transformers import AutoModelForCausalLM, GenerationConfig  # noqa: E402

torch.set_num_threads(peer.THREADS)
torch.manual_seed(1)
model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.bfloat16 if bf16 else torch.float32)
model.eval()
prompts = torch.randint(3, model.config.vocab_size, (batch, prompt))
options = GenerationConfig(do_sample=True, temperature=0.7, top_k=0, top_p=1.0, min_new_tokens=new,
                           max_new_tokens=new, pad_token_id=0, eos_token_id=None, bos_token_id=None)


@torch.inference_mode()
def run():
    return model.generate(input_ids=prompts, attention_mask=torch.ones_like(prompts),
                          generation_config=options)


runs = [peer.timed(run) for _ in range(3)]
if any(answers.shape != (batch, prompt + new) for _, answers in runs):
    raise SystemExit("an answer ended early")
seconds = [taken for taken, _ in runs]
peer.emit("transformers", "generate", path, bf16=bf16, batch=batch, prompt=prompt, new=new,
          seconds=seconds, new_tokens_per_s=batch * new / min(seconds))
