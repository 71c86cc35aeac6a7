"""Fixtures all tests may use."""

import os
from pathlib import Path

import pytest


@pytest.fixture
def fashion_mnist_dir() -> Path:
    """The real Fashion-MNIST; where it must be there, its absence fails instead of skipping."""
    folder = Path("/usr/share/datasets/fashion-mnist")
    if not folder.is_dir():
        reason = f"{folder} is absent: install Debian's dataset-fashion-mnist"
        if os.environ.get("JFL_REQUIRE_FASHION_MNIST") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return folder
