"""What `jfl convert` does: finds out what the source is, and takes the road to the destination."""

from pathlib import Path
from typing import Any

from interop import experiments, to_file, to_run
from interop import snapshot as snapshots
from interop.formats import hdf5, npz, safetensors
from interop.measured import Weights
from interop.pickles import files, listing
from interop.snapshot import Snapshot
from interop.to_run import Wanted
from jfl.errors import CheckpointError, UsageError

_SENSELESS = (ValueError, TypeError, LookupError, AttributeError, OverflowError, RecursionError)


def run(
    source: Path,
    target: Path,
    wanted: Wanted,
    *,
    client: int | None,
    which: str,
    scheme: str | None,
    suffix: str | None,
    dry: bool,
) -> dict[str, Any]:
    """Converts, and returns the answer of the command.

    Raises:
        JflError: whatever is wrong, before or without leaving half a file.
    """
    if target.exists() and not dry:
        raise UsageError(f"{target} exists already; give another name")
    if source.is_dir() and (source / "config.yaml").is_file():
        if target.suffix.lower() not in to_file.SUFFIXES and suffix is None:
            suffix = ".safetensors"
        return to_file.from_run(
            source, target, which=which, client=client, scheme=scheme,
            suffix=suffix or ".safetensors", dry=dry,
        )  # fmt: skip
    if source.is_dir():
        raise UsageError(f"{source} is a folder, but no run; give a run, or a file of weights")
    snapshot = read(source, wanted)
    if suffix is not None or target.suffix.lower() in to_file.SUFFIXES:
        return to_file.from_snapshot(
            source, target, snapshot, client=client, suffix=suffix or target.suffix.lower(), dry=dry
        )
    if client is not None:
        raise UsageError(f"--client takes a file such as {target}.safetensors as destination")
    try:
        planned = to_run.plan(snapshot, wanted)
    except _SENSELESS as error:
        reason = str(error).split("\n", maxsplit=1)[0][:100]
        raise CheckpointError(f"{source} holds weights that make no sense ({reason})") from error
    if not dry:
        return to_run.convert(source, target, planned, wanted)
    params = planned.first.params
    count = len(snapshot.clients)
    return {
        "source": str(source),
        "destination": str(target),
        "kind": "jfl run",
        "clients": count,
        "tensors": len(params) * max(count, 1),
        "bytes": sum(array.nbytes for array in params.values()) * max(count, 1),
        "verified": None,
        "round": snapshot.round,
        "algorithm": snapshot.method,
        "model": planned.first.model,
        "skipped": list(planned.skipped),
        "notes": list(planned.notes),
        "mapping": list(to_run.describe(planned)),
    }


def read(source: Path, wanted: Wanted) -> Snapshot:
    """Returns the clients or the model of a file.

    Raises:
        JflError: the file cannot be read, or is refused.
    """
    readers = {".safetensors": safetensors.read, ".npz": npz.read}
    reader = readers.get(source.suffix.lower())
    if reader is None:
        hdf5.refuse(source)
        value = files.read(source, wanted.classes)
        try:
            return snapshots.find(value, experiments.asked(wanted.changes))
        except _SENSELESS as error:
            reason = str(error).split("\n", maxsplit=1)[0][:100]
            raise CheckpointError(
                f"{source} holds clients that make no sense ({reason})"
            ) from error
    return Snapshot([], Weights(reader(source).named()), None, (), None, {}, "")


def names(source: Path, wanted: Wanted) -> list[dict[str, Any]]:
    """Returns the names a pickle or torch file holds; nothing of it is built.

    Raises:
        JflError: it is no such file.
    """
    return listing.listed(source, wanted.classes)
