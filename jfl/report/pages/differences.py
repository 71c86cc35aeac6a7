"""What runs differ in, and what to call each of them beside the others."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jfl.report.compare import results
from jfl.report.run_files import RunFiles

ABSENT = "-"
_LONGEST = 4  # settings in a name; with more, a run is called by its folder


@dataclass(frozen=True)
class Named:
    """A run among others."""

    files: RunFiles
    label: str
    group: str
    """Its label without the seed."""
    place: str
    """Its place on the page."""

    @property
    def settings(self) -> dict[str, Any]:
        """Its settings by dotted key."""
        return results.settings(self.files.config, self.files.environment)


def settings(runs: Sequence[RunFiles]) -> dict[str, list[str]]:
    """Returns the settings in which runs differ, with one value a run; - where it has none.

    What all runs have comes before what only some algorithms have.
    """
    flat = [_settings(run) | _made_by(run) for run in runs]
    names = list(dict.fromkeys(name for values in flat for name in values))
    found = {name: [values.get(name, ABSENT) for values in flat] for name in names}
    differ = {name: values for name, values in found.items() if len(set(values)) > 1}
    return dict(sorted(differ.items(), key=lambda item: ABSENT in item[1]))


def named(runs: Sequence[RunFiles], differs: Mapping[str, Sequence[str]]) -> list[Named]:
    """Returns each run with a name that tells it from the others."""
    flat = [_flat(run.config) for run in runs]
    # of what only some have, as settings of one algorithm, that in which those differ
    known = {name: {f[name] for f in flat if name in f} for f in flat for name in f}
    given = [n for n in differs if n != "name" and len(known.get(n, ())) > 1]
    # what is compared first, what is repeated last
    given.sort(key=lambda name: (name == "seed", not name.startswith("algorithm.")))
    folders = [_folder(run) for run in runs]
    labels, groups = folders, folders
    if 0 < len(given) <= _LONGEST:
        labels = [_label(given, differs, place) for place in range(len(runs))]
        seedless = [name for name in given if name != "seed"]
        groups = [_label(seedless, differs, place) or "all" for place in range(len(runs))]
    if len(set(labels)) < len(labels):  # as of runs of the same settings
        labels = [f"{a} ({b})" for a, b in zip(labels, folders, strict=True)]
    return [
        Named(run, label, group, f"run-{number}")
        for number, (run, label, group) in enumerate(zip(runs, labels, groups, strict=True), 1)
    ]


def _label(names: Sequence[str], differs: Mapping[str, Sequence[str]], place: int) -> str:
    words = []
    for name in names:
        value, last = differs[name][place], name.rpartition(".")[2]
        if value == ABSENT:
            continue
        words.append(value if name.endswith(".name") else f"{last.replace('_', ' ')} {value}")
    return ", ".join(words)


def _folder(run: RunFiles) -> str:
    folder = run.folder.resolve()
    return f"{folder.parent.name}/{folder.name}"


def _settings(run: RunFiles) -> dict[str, str]:
    return _flat(run.config) | {run.kind.total: str(run.planned)}


def _flat(content: Mapping[str, Any], before: str = "") -> dict[str, str]:
    found = {}
    for key, value in content.items():
        if isinstance(value, dict) and value:
            found |= _flat(value, f"{before}{key}.")
        else:
            spoken = {None: "null", True: "true", False: "false"}
            known = value is None or isinstance(value, bool)
            found[f"{before}{key}"] = spoken[value] if known else str(value)
    return found


def _made_by(run: RunFiles) -> dict[str, str]:
    """Returns what else can make results differ: the data themselves, jfl, the machine."""
    about = run.environment
    if not about:
        return {}
    versions, devices = about.get("versions", {}), about.get("devices", [])
    return {
        "data SHA-256": str(run.data.get("sha256", ABSENT))[:8],
        "commit of jfl": str(about.get("git") or ABSENT)[:8],
        "jax": str(versions.get("jax", ABSENT)),
        "devices": ", ".join(f"{devices.count(kind)} x {kind}" for kind in sorted(set(devices))),
    }
