"""What a client trained, as folders of PEFT: bottom_lora, top_lora and trunk_lora; and back.

They fit parts whose blocks are counted from 0, as in the original's files, and whose names lack
`transformer.`.
"""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import jax
import numpy as np

from jfl import tree
from jfl.adapters import foreign, lora
from jfl.errors import UsageError
from jfl.models import files
from jfl.split import cut as cuts
from jfl.split.cut import PARTS
from jfl.split.source import Source
from jfl.types import Params


def write(
    place: Path, source: Source, config: lora.Config, parts: Mapping[str, Params]
) -> list[str]:
    """Writes an adapter of each part that has one, in place of those that are there.

    Returns:
        The folders.

    Raises:
        CheckpointError: one cannot be written.
    """
    written = []
    for part in PARTS:
        count = source.cut.count(part)
        if not count or part not in parts:
            continue
        folder, aside = place / f"{part}_lora", place / f".{part}_lora.new"
        told, arrays = foreign.given(config, jax.device_get(parts[part]))
        about = source.config | {"n_layer": count}
        shutil.rmtree(aside, ignore_errors=True)
        files.write_adapter(aside, about, told, arrays, bare=True)
        shutil.rmtree(folder, ignore_errors=True)
        aside.rename(folder)
        written.append(str(folder))
    return written


def read(
    place: Path, source: Source, wanted: Sequence[str]
) -> tuple[lora.Config, dict[str, Params]]:
    """Reads an adapter of the whole network, or one of each part, to go on from.

    Args:
        place: a folder of PEFT, or one with bottom_lora, top_lora and, if wanted, trunk_lora.
        source: the network.
        wanted: of which parts; those without layers have none.

    Raises:
        UsageError: there is no adapter, or its parts have different settings.
        CheckpointError: it is damaged, or does not fit.
        SafetyError: it is made to attack its reader.
    """
    if not (place / "bottom_lora").is_dir() and not (place / "top_lora").is_dir():
        if not (place / "adapter_config.json").is_file():
            raise UsageError(
                f"adapter={place} is no folder of PEFT; give one with adapter_config.json, or one "
                "with bottom_lora and top_lora"
            )
        config, whole = foreign.taken(files.open_adapter(place, source.config))
        return config, {part: cuts.rows(whole, source.cut, part) for part in wanted}
    config, found = None, {}
    for part in wanted:
        count = source.cut.count(part)
        if not count:
            continue
        about = source.config | {"n_layer": count}
        own, found[part] = foreign.taken(files.open_adapter(place / f"{part}_lora", about))
        config = config or own
        if own != config:
            raise UsageError(f"the adapters in {place} have different settings; give one of each")
    assert config is not None
    for part in set(wanted) - found.keys():
        other = next(iter(found.values()))
        found[part] = jax.tree.map(lambda leaf: np.asarray(leaf)[:0], other)
    return config, found


def trainable(parts: Mapping[str, Params]) -> dict[str, int]:
    """Returns how many numbers train in each part."""
    return {part: tree.size(own) for part, own in parts.items()}
