"""A folder of PEFT: an adapter's weights, and the settings they were trained with.

Source: huggingface/peft, utils/save_and_load.py and peft_model.py say what lies in it.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from interop.formats import safetensors, torch_file
from interop.formats.base import Contents, small_json
from jfl.errors import CheckpointError, UsageError

CONFIG = "adapter_config.json"
KIND = "peft folder"
_SHOWN = (
    "r", "lora_alpha", "rank_pattern", "alpha_pattern", "use_rslora", "use_dora", "lora_bias",
    "bias", "target_modules", "target_parameters", "modules_to_save", "layers_to_transform",
    "layers_pattern", "trainable_token_indices", "fan_in_fan_out", "init_lora_weights",
    "base_model_name_or_path", "use_qalora", "use_bdlora", "kasa_config", "monteclora_config",
    "arrow_config", "alora_invocation_tokens",
)  # fmt: skip
_EMPTY = (None, False, "", [], {})
WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")


def is_adapter(path: Path) -> bool:
    """Tells whether a folder is an adapter, also where its settings are missing."""
    return any((path / name).is_file() for name in (CONFIG, *WEIGHTS))


def inside(path: Path) -> list[str]:
    """Returns the folders in a folder that are further adapters."""
    return sorted(inner.name for inner in path.iterdir() if (inner / CONFIG).is_file())


def read(path: Path, classes: Sequence[str] = ()) -> Contents:
    """Returns the arrays of an adapter, and in `about` its settings that are not empty.

    Raises:
        CheckpointError: the settings are damaged, or there are no weights.
    """
    about = _shown(path / CONFIG)
    if further := inside(path):
        about["adapters"] = further
    for name in WEIGHTS:
        if (path / name).is_file():
            weights = path / name
            safe = weights.suffix == ".safetensors"
            found = safetensors.read(weights) if safe else torch_file.read(weights, classes)
            return replace(found, kind=KIND, about=about, files=(weights,))
    raise CheckpointError(f"{path} is a PEFT folder without adapter_model.safetensors or .bin")


def refuse_several(path: Path) -> None:
    """Refuses a folder of adapters, of which one must be chosen.

    Raises:
        UsageError: names them.
    """
    if further := inside(path):
        names = ", ".join(further[:10])
        raise UsageError(f"{path} is no adapter but holds some: {names}; give one of these folders")


def settings(path: Path) -> dict[str, Any]:
    """Returns all that an adapter_config.json says.

    Raises:
        CheckpointError: it is absent or damaged.
    """
    return small_json(path, "settings")


def _shown(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    content = settings(path)
    shown = {key: content[key] for key in _SHOWN if content.get(key) not in _EMPTY}
    return {"peft_type": content.get("peft_type", "LORA"), **shown}
