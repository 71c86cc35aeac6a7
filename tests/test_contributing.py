"""The skeleton that CONTRIBUTING shows is an algorithm."""

import re
from pathlib import Path

import jax
import numpy as np

from jfl import plugins
from jfl.federated.rounds import Rounds
from tests.federated import federations

PAGE = Path(__file__).parents[1] / "CONTRIBUTING.md"


def test_the_skeleton_is_fedavg(tmp_path, monkeypatch):
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    place = tmp_path / "skeleton" / "algorithms"
    place.mkdir(parents=True)
    (place / "mine.py").write_text(code)
    monkeypatch.setattr(plugins, "_outside", [])
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    plugins.add(place.parent)

    reached = []
    for name in ("mine", "fedavg"):
        rounds = Rounds(federations.prepare(f"algorithm={name}", "participation=0.5"))
        rounds.step(1)
        reached.append(rounds.snapshot()["shared"]["params"])
    for ours, theirs in zip(*map(jax.tree.leaves, reached), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-7)
