"""What `jfl eval` leaves in a run folder: `evaluations/<round>.json` and a reliability diagram."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jfl.files import documents
from jfl.files.documents import write_text
from jfl.files.strict_json import dumps
from jfl.report.words import of_samples, parted
from jfl.runs import lock, small_files

FOLDER = "evaluations"
BASE, SCALED = "base", "temperature"
"""What trained models predict, and that at a temperature; heads have names of their own."""
FINGERPRINT = "heads_sha256"
"""Of which heads metrics are; older evaluations do not say it."""


def keep(
    run: Path, result: Mapping[str, Any], bins: Mapping[str, Any]
) -> tuple[dict[str, Any], list[str]]:
    """Writes a result, with what is known of the same models from before, and draws its bins.

    Only what was measured anew is replaced: metrics of other heads, and of other samples out of
    distribution, are kept. Of other models, of heads made anew or on other data nothing is.

    Returns:
        The result, of each of its methods with what is kept; and its files in the run, none where
        that is read-only.
    """
    with lock.alone(run / small_files.CONFIG):  # two of one run may end at once
        return _keep(run, result, bins)


def _keep(
    run: Path, result: Mapping[str, Any], bins: Mapping[str, Any]
) -> tuple[dict[str, Any], list[str]]:
    from jfl.report.pictures.reliability import reliability_picture  # matplotlib takes its time

    place = run / FOLDER / f"{result['round']}.json"
    picture = place.with_name(f"{result['round']}-reliability.png")
    before = documents.sound(place, small_files.Evaluation)  # a damaged one is measured anew
    if _source(before) != _source(result):
        before = {}
    shown = result.get("ood") or before.get("ood")
    sets = _sets(before) | _sets(result)
    old, new = methods(before) if before else {}, methods(result)
    made = {name: _joined(old.get(name, {}), said, shown) for name, said in new.items()}
    merged = {**result, **made.pop(BASE)}
    if SCALED in made:
        merged[SCALED] = made.pop(SCALED)
    merged |= ({"heads": made} if made else {}) | {"ood_sets": sets}
    merged |= {"ood": shown} if shown else {}
    kept = {name: _joined(old[name], {}, shown) for name in before.get("heads", {})}
    content = merged | ({"heads": kept | made} if kept | made else {})
    content["bins"] = before.get("bins", {}) | dict(bins)
    title = f"{result['title']}, round {result['round']}"
    try:
        place.parent.mkdir(exist_ok=True)
        write_text(place, dumps(content, indent=1))
        made = [place]
        if content["bins"]:
            reliability_picture(content["bins"], title, picture)
            made.append(picture)
    except OSError:  # a run of others may be read-only; the result is shown all the same
        return merged, []
    return merged, [path.relative_to(run).as_posix() for path in made]


def _source(result: Mapping[str, Any]) -> tuple[Any, ...]:
    """Returns what a result is of: which models, measured on which data."""
    data = result.get("data")
    return result.get("params_sha256"), data.get("sha256") if isinstance(data, Mapping) else None


def _sets(result: Mapping[str, Any]) -> dict[str, Any]:
    """Returns which samples out of distribution were shown, by name."""
    last = _last(result)
    return ({last["name"]: last} if last else {}) | result.get("ood_sets", {})


def was_shown(result: Mapping[str, Any], name: str) -> bool:
    """Tells whether an evaluation is also of samples out of distribution of that name."""
    return any(there == name or there.startswith(f"{name}-") for there in _sets(result))


def _last(result: Mapping[str, Any]) -> dict[str, Any] | None:
    last = result.get("ood")
    return last if isinstance(last, dict) and "name" in last else None


def _joined(
    old: Mapping[str, Any], new: Mapping[str, Any], shown: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Returns the metrics of one method, those of the samples shown last without their name, too.

    Metrics of other samples out of distribution are kept where both are of the same heads.
    """
    before, after = old.get(FINGERPRINT), new.get(FINGERPRINT)
    alike = before is None or before == after
    kept = {key: v for key, v in old.items() if alike and parted(key)[1] is not None}
    joined = (kept if new else dict(old)) | dict(new)
    named = {parted(key)[0]: v for key, v in joined.items() if shown and _is_of(key, shown)}
    return joined | named


def _is_bare(key: str) -> bool:
    return key.startswith("ood_") and key != "ood_sets" and parted(key)[1] is None


def _is_of(key: str, shown: Mapping[str, Any]) -> bool:
    return parted(key)[1] == shown["name"]


def read(run: Path, round_number: int) -> dict[str, Any]:
    """Returns what was kept of a round, nothing where that is absent.

    Raises:
        CheckpointError: it is damaged.
    """
    return small_files.evaluation(run, run / FOLDER / f"{round_number}.json")


def methods(result: Mapping[str, Any]) -> dict[str, Any]:
    """Returns an evaluation's metrics by method: of the base, after temperature, of heads.

    Those of samples out of distribution are called by these: `ood_auroc[noise]`.
    """
    scaled = {SCALED: result[SCALED]} if result.get(SCALED) is not None else {}
    last = _last(result)
    found = {BASE: result, **scaled, **result.get("heads", {})}
    return {name: _named(said, last["name"]) if last else said for name, said in found.items()}


def _named(metrics: Any, shown: str) -> Any:
    """Returns metrics with the name of the samples in those that are out of distribution."""
    if not isinstance(metrics, Mapping):
        return metrics
    return {
        of_samples(key, shown) if _is_bare(key) else key: value for key, value in metrics.items()
    }


def everything(run: Path) -> list[dict[str, Any]]:
    """Returns what was kept of all rounds, the newest first."""
    rounds = [int(path.stem) for path in (run / FOLDER).glob("*.json") if path.stem.isdecimal()]
    return [found for number in sorted(rounds, reverse=True) if (found := read(run, number))]


def refresh(run: Path, title: str, into: Path) -> None:
    """Draws into another folder the bins of evaluations whose picture is not there."""
    from jfl.report.pictures.reliability import reliability_picture

    for result in everything(run):
        name = f"{FOLDER}/{result['round']}-reliability.png"
        if result.get("bins") and not (run / name).is_file():
            (into / FOLDER).mkdir(exist_ok=True)
            reliability_picture(result["bins"], f"{title}, round {result['round']}", into / name)
