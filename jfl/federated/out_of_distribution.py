"""Samples out of distribution: another data set, noise, or classes a client has never seen.

Source: Hendrycks, Gimpel, "A Baseline for Detecting Misclassified and Out-of-Distribution Examples
in Neural Networks", ICLR 2017.
"""

import re
import zlib
from dataclasses import dataclass, replace
from pathlib import Path

import jax
import numpy as np

from jfl import mesh as meshes
from jfl import plugins
from jfl.datasets import base as datasets
from jfl.datasets.base import Dataset
from jfl.errors import UsageError
from jfl.federated.clients.data import Rows, Samples
from jfl.federated.federation import Federation
from jfl.sources import pictures

WORDS = ("noise", "unseen")


@dataclass(frozen=True)
class OutOfDistribution:
    """Samples for the clients of a federation, on the devices; rows [N] on the host."""

    name: str
    samples: Samples
    rows: Rows


def find(federation: Federation, word: str, most: int) -> OutOfDistribution:
    """Returns samples out of distribution.

    Args:
        federation: whose clients they are for.
        word: `noise`, `unseen`, or a data set with or without the place where it is: `cifar10`,
            `cifar10=/data/cifar`.
        most: samples for each client.

    Raises:
        UsageError: no such data set, or one that cannot be strange here.
        DataError: it is not there.
    """
    own = "digits" if federation.dataset.embedded else federation.experiment.data.name
    check(word, own)
    name, _, place = word.partition("=")
    rng = np.random.default_rng([federation.experiment.seed, zlib.crc32(b"strangers")])
    if name == "unseen":
        return _unseen(federation, most, rng)
    if name == "noise":
        return _for_all(federation, name, _noise(federation.dataset, most, rng))
    settings = federation.experiment.data.model_dump(include={"cache", "cache_dir"})
    config = plugins.load("data", name).Config(name=name, dir=place or None, **settings)
    dataset = datasets.load(config, federation.experiment.seed)
    images, name = dataset.x, called(word, dataset.sha256)
    chosen = np.sort(rng.permutation(len(images))[:most])
    return _for_all(federation, name, _alike(images[chosen], federation.dataset, name))


def called(word: str, sha256: str = "") -> str:
    """Returns what samples are called in results: `noise`, `cifar10`, `npz:shapes-1a2b3c4d`.

    Data of one's own are told apart by their file or folder, and by what is in it; without a
    fingerprint this returns the start of that name.
    """
    name, _, place = word.partition("=")
    if not place or name in WORDS or getattr(plugins.load("data", name), "DOWNLOADS", ()):
        return name
    stem = re.sub(r"[^\w.]+", "_", Path(place).expanduser().stem)[:40]
    return f"{name}:{stem}" + (f"-{sha256[:8]}" if sha256 else "")


def check(word: str, own: str) -> None:
    """Refuses what is no name of samples, and the data set `own` that clients are trained on.

    Raises:
        UsageError: with the nearest name.
    """
    name = word.partition("=")[0]
    known = [*WORDS, *plugins.names("data")]
    if name not in known:
        near = plugins.nearest(name, known)
        raise UsageError(f"--ood {name} is neither noise, unseen nor a data set{near}")
    if name == own:
        raise UsageError(f"--ood {name} is what the clients were trained on; give another data set")


def _for_all(federation: Federation, name: str, x: np.ndarray) -> OutOfDistribution:
    """Shows the same samples to every client."""
    clients, everywhere = federation.experiment.clients, _everywhere(federation)
    index = np.arange(len(x), dtype=np.int32)
    samples = replace(
        federation.samples,
        x=jax.device_put(x, everywhere),
        y=jax.device_put(np.zeros(len(x), np.int32), everywhere),
        index=jax.device_put(index, everywhere),
    )
    counts = np.full(clients, len(x), np.int32)
    return OutOfDistribution(name, samples, Rows(np.zeros(clients, np.int32), counts))


def _unseen(federation: Federation, most: int, rng: np.random.Generator) -> OutOfDistribution:
    """Shows every client test samples, of anyone, whose class is not in its training samples."""
    labels, partition = federation.dataset.y, federation.partition
    tests = np.concatenate(partition.test)
    owned: list[np.ndarray] = []
    for train in partition.train:
        strange = tests[~np.isin(labels[tests], labels[train])]
        owned.append(strange[np.sort(rng.permutation(len(strange))[:most])])
    if not any(len(rows) for rows in owned):
        raise UsageError("--ood unseen: every client has trained on all classes; give noise")
    counts = np.array([len(rows) for rows in owned], np.int32)
    index = np.concatenate(owned).astype(np.int32)
    samples = replace(federation.samples, index=jax.device_put(index, _everywhere(federation)))
    return OutOfDistribution(
        "unseen", samples, Rows((np.cumsum(counts) - counts).astype(np.int32), counts)
    )


def _noise(dataset: Dataset, most: int, rng: np.random.Generator) -> np.ndarray:
    """Returns uniform noise in place of images and words, Gaussian noise in place of features."""
    shape = (most, *dataset.input_shape)
    if dataset.x.dtype == np.uint8:
        return rng.integers(0, 256, shape, np.uint8)
    if dataset.x.dtype == np.int32:  # texts as long as real ones
        there = dataset.x[rng.integers(0, len(dataset.x), most)] != 0
        return np.where(there, rng.integers(1, dataset.x.max() + 1, shape, np.int32), 0)
    mean, deviation = dataset.x.mean(axis=0), dataset.x.std(axis=0)
    return (mean + deviation * rng.standard_normal(shape)).astype(np.float32)


def _alike(x: np.ndarray, like: Dataset, name: str) -> np.ndarray:
    """Returns images in the size and colours of the run's own."""
    if like.x.dtype == np.int32:
        raise UsageError(
            f"--ood {name} does not go with texts, whose words each data set numbers in its own "
            "way; give noise or unseen"
        )
    if x.dtype != np.uint8 or like.x.dtype != np.uint8:
        if x.shape[1:] != like.input_shape or x.dtype != like.x.dtype:
            raise UsageError(
                f"--ood {name} holds samples {list(x.shape[1:])} of {x.dtype}, the run takes "
                f"{list(like.input_shape)} of {like.x.dtype}; give noise or other data"
            )
        return x
    x = pictures.resize(x, like.input_shape[0])
    channels = like.input_shape[2]
    if x.shape[3] == channels:
        return x
    grey = x.mean(axis=3, keepdims=True).round().astype(np.uint8)
    return np.repeat(grey, channels, axis=3)


def _everywhere(federation: Federation) -> jax.sharding.Sharding:
    return meshes.everywhere(meshes.make(federation.plan.devices))
