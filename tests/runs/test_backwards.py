from pathlib import Path

import numpy as np
import pytest

from jfl.runs import backwards
from jfl.runs.backwards import lines_backwards


@pytest.mark.parametrize("block", [1, 2, 7, 1 << 16])
def test_they_are_those_that_come_forwards(tmp_path: Path, monkeypatch, block: int) -> None:
    monkeypatch.setattr(backwards, "_BLOCK", block)
    rng, path = np.random.default_rng(block), tmp_path / "lines"
    for _ in range(40):
        content = bytes(rng.choice(list(b"ab\n"), size=rng.integers(0, 60)).tolist())
        path.write_bytes(content)
        found = list(lines_backwards(path))
        assert [line for _, line in found][::-1] == content.split(b"\n")
        assert all(content[start : start + len(line)] == line for start, line in found)
        assert all(start == 0 or content[start - 1 : start] == b"\n" for start, _ in found)
