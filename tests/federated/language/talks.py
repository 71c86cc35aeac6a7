"""A small federation on texts: clients whose sentences are of different words."""

from pathlib import Path

from jfl.federated import experiment, federation
from jfl.federated.federation import Federation
from jfl.federated.partition.base import Partition

WORDS = (
    ("the cat", "sat on", "a mat", "and saw", "the rat"),
    ("rain fell", "in spain", "all day", "on a plain", "and a hill"),
    ("two and", "two are", "four and", "four are", "eight now"),
    ("o romeo", "romeo", "wherefore", "art thou", "romeo again"),
)
NETWORK = "{name: gpt2, width: 16, layers: 2, heads: 2, attention_dropout: 0, embedding_dropout: 0, residual_dropout: 0}"  # noqa: E501


def write(folder: Path, sizes: tuple[int, ...] = (40, 60, 30, 50)) -> Path:
    """Writes a file for each client, of so many pieces of its sentences."""
    folder.mkdir(exist_ok=True)
    for client, size in enumerate(sizes):
        own = WORDS[client % len(WORDS)]
        pieces = [own[(n * n + n // 3) % len(own)] for n in range(size)]
        (folder / f"{client}.txt").write_text(" ".join(pieces), encoding="utf-8")
    return folder


def settings(folder: Path, network: str = NETWORK) -> list[str]:
    """Returns the settings of a federation on the texts of a folder, a client for each file."""
    return [
        f"data={{name: texts, dir: {folder}, window: 12}}",
        "partition={name: natural}",
        "clients=4",
        f"model={network}",
        "train={batch_size: 4, learning_rate: 0.3, momentum: 0.5, clip: 1.0}",
        "plan.devices=1",
    ]


def file(folder: Path, path: Path) -> str:
    """Writes those settings into a yaml file."""
    words = [word for word in settings(folder) if not word.startswith("plan.")]
    path.write_text("".join(word.replace("=", ": ", 1) + "\n" for word in ["name=talks", *words]))
    return str(path)


def prepare(
    folder: Path, *changes: str, network: str = NETWORK, partition: Partition | None = None
) -> Federation:
    """Puts it together."""
    given = experiment.load([], [*settings(folder, network), *changes])
    return federation.prepare(given, partition)
