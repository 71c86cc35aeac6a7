import pytest


@pytest.fixture(autouse=True)
def _elsewhere(monkeypatch, tmp_path_factory):
    """Caches and downloads go to a folder of the test, and nothing is found by chance."""
    monkeypatch.chdir(tmp_path_factory.mktemp("cwd"))
