"""How Llama 3.1 and later stretch rotary positions: a file has only the factors this makes.

Source: ggml-org/llama.cpp, convert_hf_to_gguf.py, class LlamaModel; Llama 3's model cards.
"""

import math
from typing import Any

import numpy as np

from interop.formats.base import Entry
from interop.layout import Array
from jfl.errors import CheckpointError

NAME = "rope_freqs.weight"
_KNOWN = tuple(
    {"rope_type": "llama3", "factor": factor, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
     "original_max_position_embeddings": 8192}
    for factor in (8.0, 32.0)
)  # fmt: skip
"""Of Llama 3.1 and 3.3, and of Llama 3.2."""


def of(entry: Entry, config: dict[str, Any], where: str) -> dict[str, Any]:
    """Returns the settings that make the factors of a file.

    Raises:
        CheckpointError: none that jfl knows do.
    """
    if entry.rows is not None and entry.shape == (config["head_dim"] // 2,):
        there = entry.read()
        for known in _KNOWN:
            made = factors(known, config["head_dim"], config["rope_theta"])
            if np.allclose(there, made, rtol=1e-4, atol=0):
                return known
    raise CheckpointError(f"{where} holds {NAME} as no Llama 3 has it, which jfl does not have")


def factors(settings: dict[str, Any], size: int, theta: float) -> Array:
    """Returns what each speed of rotary positions is divided by.

    Args:
        settings: those of config.json.
        size: features of a head.
        theta: base of the speeds.
    """
    low = settings["original_max_position_embeddings"] / settings["low_freq_factor"]
    high = settings["original_max_position_embeddings"] / settings["high_freq_factor"]
    made = []
    for place in range(0, size, 2):
        length = 2 * math.pi * theta ** (place / size)
        smooth = (low / length - 1) / (low / high - 1)
        if length < high:
            made.append(1.0)
        elif length > low:
            made.append(settings["factor"])
        else:
            made.append(1 / ((1 - smooth) / settings["factor"] + smooth))
    return np.array(made, np.float32)
