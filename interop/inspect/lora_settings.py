"""The settings of LoRA that hold for each target: rank, alpha and scale.

Source: huggingface/peft, tuners/lora/config.py, model.py and layer.py.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from interop.formats.peft import CONFIG
from interop.inspect import patterns
from jfl.errors import CheckpointError, UsageError

_ALPHA = 8  # where the settings do not say
_BASE = "base_model.model."
_INNER = ".base_layer"  # peft wraps several parameters of a module in one another
_OTHERS = ("use_qalora", "use_bdlora", "kasa_config", "monteclora_config", "arrow_config")
"""Settings that make of A and B something else than B A."""


@dataclass(frozen=True)
class Setting:
    """What holds for one target; None where nothing says it."""

    rank: int | None = None
    alpha: int | float | None = None
    root: bool = False
    experts: bool = False

    def scale(self, rank: int) -> float | None:
        """Returns the factor of B A."""
        if self.alpha is None:
            return None
        return self.alpha / (math.sqrt(rank) if self.root else rank)


def read(about: Mapping[str, Any], names: Sequence[str]) -> list[Setting]:
    """Returns the setting of each target.

    Raises:
        UsageError: the adapter is of another kind.
        CheckpointError: a setting is damaged.
    """
    if "peft_type" not in about:
        return [Setting()] * len(names)
    if about["peft_type"] != "LORA":
        kind = str(about["peft_type"])[:40]
        raise UsageError(f"--lora reads adapters of peft_type LORA, not {kind}")
    for key in _OTHERS:
        if key in about:
            raise UsageError(f"--lora reads LoRA and DoRA, but {CONFIG} has {key}")
    modules = [name.removeprefix(_BASE) for name in names]
    parameters = [_parameters(module, about) for module in modules]
    matched = list(dict.fromkeys([*modules, *(name for inner in parameters for name in inner)]))
    ranks = _values(about, "r", "rank_pattern", None, matched)
    alphas = _values(about, "lora_alpha", "alpha_pattern", _ALPHA, matched)
    made = []
    for module, inner in zip(modules, parameters, strict=True):
        known = {(ranks[name], alphas[name]) for name in inner or [module]}
        if len(known) > 1:
            raise UsageError(
                f"{module} has several parameters with other ranks or alphas, and the file does "
                "not say which is which"
            )
        rank, alpha = known.pop()
        made.append(Setting(rank, alpha, bool(about.get("use_rslora")), bool(inner)))
    return made


def notes(about: Mapping[str, Any]) -> list[str]:
    """Returns sentences on what settings say beside ranks and scales."""
    said = []
    if "peft_type" not in about:
        said.append(f"scales are unknown without {CONFIG}: norms are those of B A alone")
    if "alora_invocation_tokens" in about:
        said.append("aLoRA: these changes hold from the invocation tokens on")
    if further := about.get("adapters"):
        said.append(f"further adapters are in this folder: {', '.join(further[:10])}")
    return said


def _parameters(module: str, about: Mapping[str, Any]) -> list[str]:
    """Returns the parameters of a module that are targets by themselves, as experts are."""
    given = about.get("target_parameters") or []
    plain = module
    while plain.endswith(_INNER):
        plain = plain.removesuffix(_INNER)
    split = [str(word).rpartition(".") for word in (given if isinstance(given, list) else [])]
    return [f"{plain}.{leaf}" for owner, _, leaf in split if f".{plain}".endswith(f".{owner}")]


def _values(
    about: Mapping[str, Any], key: str, pattern: str, default: Any, names: Sequence[str]
) -> dict[str, Any]:
    """Returns the value of a setting for each name, as the first pattern that matches says."""
    given = about.get(pattern, {})
    if not isinstance(given, dict):
        raise CheckpointError(f"{CONFIG} has a {pattern} of {str(given)[:40]}, not a table")
    usual = about.get(key, default)
    for value in [usual, *given.values()] if usual is not None else given.values():
        whole = type(value) is int and (value > 0 or key != "r")
        if not whole and not (key != "r" and type(value) is float and math.isfinite(value)):
            raise CheckpointError(f"{CONFIG} has {str(value)[:40]} as a {key}")
    found = patterns.first(list(given), names)
    return {n: usual if p is None else given[p] for n, p in zip(names, found, strict=True)}
