"""Names of the same layers in jfl and in PyTorch, as data.

A scheme maps jfl's layers to torch's modules. The first scheme of a model is the one written.
Source: PFLlib's system/flcore/trainmodel/models.py and torchvision's models/resnet.py name them.
"""

from collections.abc import Mapping

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
}
"""Per model, its schemes; an mlp's layers are fc1, fc2, ..., head on both sides, or in a row."""

WRAPPERS = ("module.", "_orig_mod.", "model.")
"""What DataParallel, torch.compile and wrapping programs put before every name."""

COUNTERS = ("num_batches_tracked",)
"""Buffers that say nothing about what a network computes."""
