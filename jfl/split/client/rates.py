"""The learning rate of a step."""

import math

from jfl.split.client.settings import Config


def rate(config: Config, step: int, total: int) -> float:
    """Returns the learning rate of a step, counted from 1: up in a line, then as scheduled.

    Linear and cosine schedules end just above zero: the last of `total` steps still counts.
    """
    if step <= config.warmup:
        return config.learning_rate * step / (config.warmup + 1)
    if config.schedule == "constant":
        return config.learning_rate
    done = (step - 1 - config.warmup) / max(1, total - config.warmup)
    share = 1 - done if config.schedule == "linear" else (1 + math.cos(math.pi * done)) / 2
    return config.learning_rate * share
