"""Names of the same layers in jfl and in PyTorch, as data.

A scheme maps jfl's layers to torch's modules. The first scheme of a model is the one written.
torch.nn.LSTM is one module with many arrays: what stands for a module of one of its parts is their
name with {} in place of weight or bias, and a * in a scheme stands for a layer, such as 0_reverse.
Source: PFLlib's system/flcore/trainmodel/models.py and torchvision's models/resnet.py name them.
"""

import re
from collections.abc import Iterable, Mapping

Scheme = Mapping[str, str]

_CNN = {"conv1": "conv1.0", "conv2": "conv2.0", "fc": "fc1.0"}


def _resnet18(prefix: str, head: str) -> Scheme:
    names = {"stem.conv": "conv1", "stem.norm": "bn1"}
    for stage in range(1, 5):
        for block in range(2):
            here, there = f"layer{stage}_{block}", f"layer{stage}.{block}"
            for number, word in enumerate(("first", "second"), start=1):
                names[f"{here}.{word}.conv"] = f"{there}.conv{number}"
                names[f"{here}.{word}.norm"] = f"{there}.bn{number}"
            if stage > 1 and block == 0:
                names[f"{here}.shortcut.conv"] = f"{there}.downsample.0"
                names[f"{here}.shortcut.norm"] = f"{there}.downsample.1"
    return {ours: prefix + theirs for ours, theirs in names.items()} | {"head": head}


def _split(scheme: Scheme) -> Scheme:
    """Returns the scheme of PFLlib's BaseHeadSplit."""
    return {ours: f"base.{theirs}" for ours, theirs in scheme.items()} | {"head": "head"}


_LSTM = {
    "embedding": "embedding",
    "lstm.l*.input": "lstm.{}_ih_l*",
    "lstm.l*.state": "lstm.{}_hh_l*",
}
_DEEPEST = r"\d{1,2}(?:_reverse)?"  # of layers of an LSTM

SCHEMES: dict[str, dict[str, Scheme]] = {
    "cnn": {
        "pfllib": _CNN | {"head": "fc"},
        "pfllib-split": _split(_CNN),
        "plain": {name: name for name in ("conv1", "conv2", "fc", "head")},
    },
    "resnet18": {
        "torchvision": _resnet18("", "fc"),
        "pfllib-split": _resnet18("base.", "head"),
        "torchvision-head": _resnet18("", "head"),
    },
    "lstm": {
        "classifier": _LSTM | {"head": "classifier"},
        "pfllib": _LSTM | {"head": "fc"},
        "pfllib-split": _split(_LSTM),
        "plain": _LSTM | {"head": "head"},
    },
}
"""Per model, its schemes; an mlp's layers are fc1, fc2, ..., head on both sides, or in a row."""

WRAPPERS = ("module.", "_orig_mod.", "model.")
"""What DataParallel, torch.compile and wrapping programs put before every name."""

COUNTERS = ("num_batches_tracked",)
"""Buffers that say nothing about what a network computes."""


def array(module: str, word: str) -> str:
    """Returns the name of a module's array, such as its weight."""
    return module.replace("{}", word) if "{}" in module else f"{module}.{word}"


def module(name: str) -> str:
    """Returns the module of an array, as schemes have it."""
    recurrent = re.sub(rf"\b(weight|bias)_([ih]h_l{_DEEPEST})$", r"{}_\2", name)
    return recurrent if recurrent != name else name.rpartition(".")[0]


def filled(scheme: Scheme, present: Iterable[str]) -> Scheme:
    """Returns a scheme with its * filled in by the layers there are.

    Args:
        scheme: of one model.
        present: jfl's layers or torch's modules. Of an LSTM all layers up to the last belong to
            it, and where one has the other direction, all do.
    """
    starred = [re.escape(p) for pair in scheme.items() for p in pair if "*" in p]
    if not starred:
        return scheme
    pattern = re.compile("|".join(starred).replace(r"\*", f"({_DEEPEST})"))
    matches = filter(None, map(pattern.fullmatch, present))
    found = {next(filter(None, match.groups())) for match in matches} or {"0"}
    ways = ("", "_reverse") if any("_" in layer for layer in found) else ("",)
    count = 1 + max(int(layer.partition("_")[0]) for layer in found)
    layers = [f"{number}{way}" for number in range(count) for way in ways]
    return {
        ours.replace("*", layer): theirs.replace("*", layer)
        for ours, theirs in scheme.items()
        for layer in (layers if "*" in ours else [""])
    }
