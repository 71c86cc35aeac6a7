"""Tokens that transformers' `generate` makes with a cache, to be timed; see torch_round.py for how.

What is timed of tokens after prompts is the time from the first one to the last.
"""

import json
import sys
import time
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM, StoppingCriteriaList


def main() -> None:
    with open(sys.argv[1], encoding="utf-8") as file:
        spec: dict[str, Any] = json.load(file)
    torch.manual_seed(0)
    ends = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
    model = LlamaForCausalLM(LlamaConfig(**spec["network"], **ends)).eval()
    tokens = spec["tokens"]
    texts = torch.randint(0, model.config.vocab_size, (spec["batch"], spec["prompt"]))

    def make(count: int) -> list[float]:
        """Makes tokens, and returns when each was there, first of all when it began."""
        moments = [time.perf_counter()]

        def look(ids: torch.Tensor, _: Any, **__: Any) -> torch.Tensor:
            moments.append(time.perf_counter())
            return torch.zeros(len(ids), dtype=torch.bool)

        with torch.inference_mode():
            model.generate(
                texts,
                attention_mask=torch.ones_like(texts),
                max_new_tokens=count,
                do_sample=False,
                use_cache=True,
                pad_token_id=0,
                stopping_criteria=StoppingCriteriaList([look]),
            )
        return moments

    make(2)
    print("ready", flush=True)
    for _ in sys.stdin:
        moments = make(tokens + 1)
        seconds = moments[-1] - moments[1] if tokens else moments[1] - moments[0]
        print(json.dumps({"seconds": seconds}), flush=True)


if __name__ == "__main__":
    main()
