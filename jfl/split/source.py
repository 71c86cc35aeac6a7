"""What `model` names: `tiny`, a folder of a GPT-2, its parts in files, or one part alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax

from jfl import tree
from jfl.config import Section
from jfl.errors import CheckpointError, UsageError
from jfl.models import files
from jfl.models.language import base as languages
from jfl.models.language import gpt2
from jfl.split import cut as cuts
from jfl.split.cut import Cut
from jfl.types import Params

TINY = gpt2.Config(vocabulary=261, context=256, width=128, layers=12, heads=4)
"""The network called tiny; its weights are drawn from one seed, so both sides have the same."""
_SUFFIXES = (".safetensors", ".pt", ".pth", ".bin", ".npz")


class Config(Section):
    """The section `model`, on both sides the same."""

    name: str = "tiny"
    """`tiny`, a folder of a GPT-2, or its parts in files."""
    cut: tuple[int, int] = (2, 10)
    """The first layer of the trunk, and one more than its last."""


@dataclass(frozen=True)
class Source:
    """A network, of which the parts that were asked for are here."""

    config: dict[str, Any]
    """Its config.json."""
    network: languages.Config
    cut: Cut
    parts: dict[str, Params]
    tokenizer: str | None
    """Where its tokenizer lies, if it brings one."""
    sha256: str
    """Fingerprint of all its weights; empty where not all of them are here."""


def open(model: str, first: int, last: int, wanted: Sequence[str]) -> Source:
    """Returns the parts of a network.

    Args:
        model: `tiny`, or a path: a folder as transformers writes it; one with files such as
            gpt2_2-10_trunk.pt, also in folders within; or one such file.
        first: the first layer of the trunk.
        last: one more than its last layer.
        wanted: which parts.

    Raises:
        UsageError: there is nothing of that name, or the cut does not fit.
        CheckpointError: a file is damaged, or of another network.
        SafetyError: it is made to attack its reader.
    """
    path = Path(model).expanduser()
    if model == "tiny":
        # a loop over the layers keeps its program small
        params = jax.device_get(jax.jit(languages.build(TINY).init)(jax.random.key(0)))
        return _whole(gpt2.to_hf(TINY), TINY, params, "bytes", first, last, wanted)
    if (path / "config.json").is_file():
        opened = files.open_language(path)
        network = opened.network
        if not isinstance(network, gpt2.Config):
            raise UsageError(f"{path} is a {network.name}; split learning takes a gpt2")
        here = any((path / n).is_file() for n in ("tokenizer.json", "vocab.json", "bytes.json"))
        tokenizer = str(path) if here else None
        return _whole(opened.config, network, opened.params, tokenizer, first, last, wanted)
    if path.is_file() or path.is_dir():
        return _pieces(path, first, last, wanted)
    raise UsageError(
        f"model={model} is not there; give `tiny`, a folder with config.json and "
        "model.safetensors, or one with files such as gpt2_2-10_trunk.pt"
    )


def _whole(
    config: dict[str, Any], network: languages.Config, params: Params, tokenizer: str | None,
    first: int, last: int, wanted: Sequence[str],
) -> Source:  # fmt: skip
    cut = Cut(first, last, network.layers)
    parts = cuts.split(params, cut)
    kept = {part: parts[part] for part in wanted}
    return Source(config, network, cut, kept, tokenizer, tree.sha256(params))


def _pieces(path: Path, first: int, last: int, wanted: Sequence[str]) -> Source:
    found = {}
    for part in wanted:
        piece = files.open_piece(_file(path, first, last, part))
        ends = {"bottom": (0, first), "trunk": (first, last)}.get(part, (last, piece.last))
        if (piece.part, piece.first, piece.last) != (part, *ends):
            raise UsageError(
                f"{path} holds the {piece.part} of layers {piece.first} to {piece.last}, but the "
                f"{part} of cut {first} {last} was asked for; give --cut as it was cut"
            )
        found[part] = piece
    configs = [piece.config | {"tie_word_embeddings": False} for piece in found.values()]
    if any(config != configs[0] for config in configs):
        raise CheckpointError(f"{path} holds parts of different networks")
    layers = found["top"].last if "top" in found else max(last, configs[0].get("n_layer", last))
    config = configs[0] | {"n_layer": layers}
    network = languages.from_hf(config)
    parts = {part: piece.params for part, piece in found.items()}
    return Source(config, network, Cut(first, last, layers), parts, None, "")


def _file(path: Path, first: int, last: int, part: str) -> Path:
    if path.is_file():
        return path
    ending = f"_{first}-{last}_{part}"
    inside = (p for p in sorted(path.rglob(f"*{ending}.*")) if p.suffix in _SUFFIXES)
    found = next((p for p in inside if p.stem.endswith(ending)), None)
    if found is None:
        raise UsageError(
            f"{path} holds no config.json and no file *{ending}.pt or .safetensors; give --model "
            "and --cut of the same network"
        )
    return found
