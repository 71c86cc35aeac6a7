"""Data and settings made to fit each other, before anything is built of them."""

from dataclasses import replace

import numpy as np

from jfl import plugins
from jfl.datasets.base import Dataset
from jfl.errors import UsageError
from jfl.federated import adapter as adapters
from jfl.federated import networks
from jfl.federated.experiment import Experiment
from jfl.sources import pictures

_USUAL = 20.0  # floats beyond are not normalised


def fitted(dataset: Dataset, experiment: Experiment) -> tuple[Dataset, Experiment, list[str]]:
    """Returns samples and settings as they fit each other, and notes on what is odd.

    Raises:
        UsageError: they cannot.
    """
    notes: list[str] = []
    language = dataset.vocabulary is not None
    settings = {
        "model": networks.fitted(experiment.model, dataset),
        "adapter": adapters.fitted(experiment.adapter, language=language),
        "checkpoint": experiment.checkpoint.of(language=language),
    }
    experiment = experiment.model_copy(update=settings)
    return resized(dataset, experiment, notes), experiment, notes


def resized(dataset: Dataset, experiment: Experiment, notes: list[str]) -> Dataset:
    """Resizes images to what the model takes, or to `data.image_size`; notes what looks odd."""
    absent = np.flatnonzero(np.bincount(dataset.y, minlength=dataset.num_classes) == 0)
    if len(absent):
        notes.append(
            f"{len(absent)} of the {dataset.num_classes} classes have no samples, the first of "
            f"them {absent[0]}"
        )
    if experiment.data.augment and dataset.x.ndim != 4:
        raise UsageError(f"data.augment is set, but {dataset.name} does not hold images")
    if dataset.x.dtype != np.uint8:
        if experiment.data.image_size:
            raise UsageError(f"data.image_size is set, but {dataset.name} does not hold images")
        low, high = float(dataset.x.min()), float(dataset.x.max())
        if dataset.x.ndim > 2 and max(-low, high) > _USUAL:
            notes.append(
                f"features go from {low:g} to {high:g} and are taken as they are; images are "
                "scaled to -1..1 where they are uint8"
            )
        return dataset
    size = max(dataset.input_shape[:2])
    wanted = experiment.data.image_size
    if wanted is None:
        wanted = plugins.load("model", experiment.model.name).image_size(size)
    if dataset.input_shape[:2] == (wanted, wanted):
        return dataset
    height, width = dataset.input_shape[:2]
    notes.append(
        f"images of {size} pixels are resized to {wanted}"
        if height == width
        else f"images of {height}x{width} pixels are stretched to {wanted}x{wanted}"
    )
    return replace(dataset, x=pictures.resize(dataset.x, wanted))
