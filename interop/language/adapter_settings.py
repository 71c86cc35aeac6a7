"""What an adapter_config.json may say for jfl to apply the adapter: plain LoRA, all else by name.

Source: huggingface/peft, tuners/lora/config.py.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from interop.formats import peft
from jfl.errors import CheckpointError

_APPLIED = (
    "peft_type", "r", "lora_alpha", "use_rslora", "rank_pattern", "alpha_pattern", "target_modules",
    "exclude_modules", "layers_to_transform", "layers_pattern", "modules_to_save", "lora_dropout",
)  # fmt: skip
_SAID = (
    "task_type", "inference_mode", "base_model_name_or_path", "revision", "auto_mapping",
    "peft_version", "megatron_core", "qalora_group_size", "runtime_config", "fan_in_fan_out",
)  # fmt: skip
"""What changes nothing in a trained adapter; PEFT itself corrects `fan_in_fan_out` by the layer."""
_BEGUN = (True, "gaussian", "orthogonal")
"""Ways to begin that leave the base as it is; others take something of it away when they load."""
_RANK = 8  # where the settings do not say
_MOST = 10_000  # words of a list


def read(folder: Path) -> dict[str, Any]:
    """Returns the settings of an adapter that are not empty; those that change it are known.

    Raises:
        CheckpointError: they are absent, damaged, or of another kind than LoRA.
    """
    path = folder / peft.CONFIG
    about = {key: value for key, value in peft.settings(path).items() if not _is_empty(value)}
    if about.get("peft_type") != "LORA":
        kind = str(about.get("peft_type", "no peft_type"))[:40]
        raise CheckpointError(f"{path} is of {kind}, which jfl does not apply; it applies LORA")
    if about.get("init_lora_weights", True) not in _BEGUN:
        raise CheckpointError(
            f"{path} has init_lora_weights {str(about['init_lora_weights'])[:40]}, which changes "
            "the base when it is loaded; let peft convert it to LoRA first"
        )
    bias = about.get("bias", "none")
    if bias != "none":
        raise CheckpointError(f"{path} trains biases ({str(bias)[:40]}), which jfl does not apply")
    known = {*_APPLIED, *_SAID, "init_lora_weights", "bias"}
    other = next((key for key in about if key not in known), None)
    if other is not None:
        raise CheckpointError(f"{path} has {other[:40]}, which jfl does not apply")
    dropout = about.get("lora_dropout", 0.0)
    if type(dropout) not in (int, float) or not (math.isfinite(dropout) and 0 <= dropout <= 1):
        raise CheckpointError(f"{path} has a lora_dropout of {str(dropout)[:40]}, not from 0 to 1")
    if type(about.get("use_rslora", False)) is not bool:
        raise CheckpointError(f"{path} has a use_rslora that is neither true nor false")
    return {"r": _RANK, **about}


def words(about: Mapping[str, Any], key: str) -> list[str]:
    """Returns a setting that is a list of words, none where it is absent.

    Raises:
        CheckpointError: it is something else.
    """
    value = about.get(key, [])
    if not isinstance(value, list) or not all(isinstance(word, str) and word for word in value):
        raise CheckpointError(
            f"{peft.CONFIG} has a {key} of {str(value)[:40]}, not a list of words"
        )
    if len(value) > _MOST:
        raise CheckpointError(f"{peft.CONFIG} has a {key} of more than {_MOST:,} words")
    return value


def _is_empty(value: Any) -> bool:
    return value is None or value is False or value in ("", [], {})
