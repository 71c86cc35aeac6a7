"""A step of LoRA by peft on transformers' GPT-2, to be timed; see torch_round.py for how.

With every line of seconds it says how fast its own matrix products are, as peak_flops.
"""

import json
import sys
import time
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from transformers import GPT2Config, GPT2LMHeadModel

SIDE = 2048
THEIRS = {
    "vocabulary": "vocab_size",
    "context": "n_positions",
    "width": "n_embd",
    "layers": "n_layer",
    "heads": "n_head",
}


def peak() -> float:
    """FLOP/s of the fastest of three matrix products."""
    matrix = torch.ones(SIDE, SIDE)
    times = []
    for _ in range(3):
        started = time.perf_counter()
        matrix @ matrix
        times.append(time.perf_counter() - started)
    return 2 * SIDE**3 / min(times)


def main() -> None:
    with open(sys.argv[1], encoding="utf-8") as file:
        spec: dict[str, Any] = json.load(file)
    torch.manual_seed(0)
    sizes = {THEIRS[name]: value for name, value in spec["network"].items()}
    config = GPT2Config(resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, use_cache=False, **sizes)
    adapter = LoraConfig(
        r=spec["rank"], lora_alpha=16, target_modules=["c_attn"], fan_in_fan_out=True
    )
    model = get_peft_model(GPT2LMHeadModel(config), adapter)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4, weight_decay=0.0)
    texts = torch.randint(0, config.vocab_size, (spec["batch"], spec["length"]))

    def step() -> None:
        optimizer.zero_grad()
        model(input_ids=texts, labels=texts).loss.backward()
        optimizer.step()

    step()
    print("ready", flush=True)
    for _ in sys.stdin:
        started = time.perf_counter()
        step()
        seconds = time.perf_counter() - started
        print(json.dumps({"seconds": seconds, "peak_flops": peak()}), flush=True)


if __name__ == "__main__":
    main()
