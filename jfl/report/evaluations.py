"""What `jfl eval` leaves in a run folder: `evaluations/<round>.json` and a reliability diagram."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jfl import documents
from jfl.documents import write_text
from jfl.report import small_files
from jfl.report.pictures.reliability import reliability_picture
from jfl.strict_json import dumps

FOLDER = "evaluations"
BASE, SCALED = "base", "temperature"
"""What trained models predict, and that at a temperature; heads have names of their own."""


def keep(run: Path, result: Mapping[str, Any], bins: Mapping[str, Any]) -> list[str]:
    """Writes a result and draws its bins; returns its files in the run, none if read-only.

    What earlier evaluations of the same models said of other heads is kept.
    """
    place = run / FOLDER / f"{result['round']}.json"
    picture = place.with_name(f"{result['round']}-reliability.png")
    before = documents.sound(place, small_files.Evaluation)  # a damaged one is measured anew
    content = {**result, "bins": dict(bins)}
    if before.get("params_sha256") == result["params_sha256"]:
        older = before.get("heads", {})
        if _strangers(before) != _strangers(content):  # what they said of others does not compare
            older = {name: _without_ood(metrics) for name, metrics in older.items()}
        content["heads"] = older | content.get("heads", {})
        content["bins"] = before.get("bins", {}) | content["bins"]
    title = f"{result['title']}, round {result['round']}"
    try:
        place.parent.mkdir(exist_ok=True)
        write_text(place, dumps(content, indent=1))
        reliability_picture(content["bins"], title, picture)
    except OSError:  # a run of others may be read-only; the result is shown all the same
        return []
    return [path.relative_to(run).as_posix() for path in (place, picture)]


def _strangers(result: Mapping[str, Any]) -> str | None:
    """Returns which samples out of distribution were shown."""
    return (result.get("ood") or {}).get("name")


def _without_ood(metrics: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in metrics.items() if not key.startswith("ood_")}


def read(run: Path, round_number: int) -> dict[str, Any]:
    """Returns what was kept of a round, nothing where that is absent.

    Raises:
        CheckpointError: it is damaged.
    """
    return small_files.evaluation(run, run / FOLDER / f"{round_number}.json")


def methods(result: Mapping[str, Any]) -> dict[str, Any]:
    """Returns an evaluation's metrics by method: of the base, after temperature, of heads."""
    scaled = {SCALED: result[SCALED]} if result.get(SCALED) is not None else {}
    return {BASE: result, **scaled, **result.get("heads", {})}


def everything(run: Path) -> list[dict[str, Any]]:
    """Returns what was kept of all rounds, the newest first."""
    rounds = [int(path.stem) for path in (run / FOLDER).glob("*.json") if path.stem.isdecimal()]
    return [found for number in sorted(rounds, reverse=True) if (found := read(run, number))]


def refresh(run: Path, title: str, into: Path) -> None:
    """Draws into another folder the bins of evaluations whose picture is not there."""
    for result in everything(run):
        name = f"{FOLDER}/{result['round']}-reliability.png"
        if result.get("bins") and not (run / name).is_file():
            (into / FOLDER).mkdir(exist_ok=True)
            reliability_picture(result["bins"], f"{title}, round {result['round']}", into / name)
