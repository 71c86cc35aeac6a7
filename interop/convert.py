"""What `jfl convert` does: finds out what the source is, and takes the road to the destination."""

from pathlib import Path
from typing import Any

from interop import (
    experiments,
    one_model,
    to_adapter,
    to_file,
    to_language,
    to_run,
    torch_state,
)
from interop import snapshot as snapshots
from interop.formats import find
from interop.gguf import convert as gguf
from interop.language import convert as folders
from interop.nanochat import read as nanochats
from interop.nanochat import run as nanochat_runs
from interop.pickles import files, listing
from interop.snapshot import Snapshot
from interop.to_run import Wanted
from jfl import tree
from jfl.errors import UsageError
from jfl.sources.pickles import budget


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
    base: str | None = None,
    merged: bool = False,
) -> dict[str, Any]:
    """Converts, and returns the answer of the command.

    Args:
        source: what is converted.
        target: what it becomes, which must be new.
        wanted: what the command line says of a run.
        client: only this one's model.
        which: the round of a run.
        scheme: the names torch gets.
        suffix: of the files in a folder.
        dry: whether nothing is written.
        base: the folder of the network that an adapter is put into.
        merged: whether a run's adapters become whole weights, also in a folder.

    Raises:
        JflError: whatever is wrong, before or without leaving half a file.
    """
    if target.exists() and not dry:
        raise UsageError(f"{target} exists already; give another name")
    single = target.suffix.lower() in to_file.SUFFIXES
    if base is None and (nanochat_runs.is_run(source) or (
        suffix is None and not single and nanochats.takes(source)
    )):  # fmt: skip
        others = {"--client": client, "--names": scheme, "--model": wanted.model,
                  "--key": wanted.key, "--data": wanted.data}  # fmt: skip
        if other := next((option for option, given in others.items() if given), None):
            raise UsageError(f"{other} does not go with networks of language")
        if nanochat_runs.is_run(source):
            return nanochat_runs.to_files(source, target, step=which, suffix=suffix, dry=dry)
        return nanochat_runs.convert(source, target, wanted.changes, step=which, dry=dry)
    with budget.held(source, *([] if base is None else [Path(base)])):
        blocks = base is None and gguf.takes(source, target, suffix)
        if base is not None or blocks or folders.takes(source, target, suffix):
            others = {
                "--client": client, "--names": scheme, "--model": wanted.model, "--key": wanted.key,
                "--data": wanted.data, "key=value": wanted.changes or None,
                "--merged": merged or None,
            }  # fmt: skip
            if other := next((option for option, given in others.items() if given), None):
                raise UsageError(f"{other} does not go with folders of transformers and PEFT")
            if blocks:
                return gguf.run(source, target, suffix=suffix, dry=dry)
            into = None if base is None else Path(base)
            return folders.run(source, target, base=into, suffix=suffix, dry=dry)
        if source.is_dir() and (source / "config.yaml").is_file():
            given = {"which": which, "client": client, "dry": dry, "merged": merged}
            return _of_run(source, target, scheme=scheme, suffix=suffix, **given)
        if merged:
            raise UsageError(f"--merged takes a run with adapters, and {source} is no run")
        snapshot = read(source, wanted)
        if suffix is not None or target.suffix.lower() in to_file.SUFFIXES:
            return to_file.from_snapshot(
                source,
                target,
                snapshot,
                client=client,
                suffix=suffix or target.suffix.lower(),
                dry=dry,
            )
        if client is not None:
            raise UsageError(f"--client takes a file such as {target}.safetensors as destination")
        with one_model.sensible(source, "weights"):
            planned = to_run.plan(snapshot, wanted)
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


def _of_run(
    source: Path,
    target: Path,
    *,
    scheme: str | None,
    suffix: str | None,
    merged: bool,
    **given: Any,
) -> dict[str, Any]:
    if to_language.takes(source):
        return to_language.run(source, target, suffix=suffix, merged=merged, **given)
    if merged and suffix is None:
        suffix = ".safetensors"
    if to_adapter.takes(source):
        return to_adapter.run(source, target, scheme=scheme, suffix=suffix, **given)
    if merged:
        raise UsageError(f"--merged takes a run with adapters, and {source} has none")
    suffix = suffix or ".safetensors"
    return to_file.from_run(source, target, scheme=scheme, suffix=suffix, **given)


def one(
    source: Path, model: str | None, input_shape: tuple[int, ...] | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns the settings and the parameters, nested, of the one model in a file.

    Raises:
        JflError: it cannot be read, is refused, or holds no model jfl has, or those of clients.
    """
    wanted = Wanted(model=model)
    with budget.held(source):
        snapshot = read(source, wanted)
        if snapshot.clients:
            raise UsageError(f"{source} holds models of many clients; make it a run: jfl convert")
        with one_model.sensible(source, "weights"):
            planned = to_run.plan(snapshot, wanted, input_shape)
        return planned.settings, tree.nested(planned.first.params)


def difference(
    source: Path, model: str, wanted: dict[str, tuple[int, ...]], input_shape: tuple[int, ...]
) -> str | None:
    """Returns how the first array that is not as a network has it differs, by torch's names.

    Args:
        source: a file of one model.
        model: the network's name.
        wanted: shapes of all its arrays by jfl's dotted path.
        input_shape: of one sample.

    Raises:
        JflError: it cannot be read, or holds models of many clients.
    """
    with budget.held(source):
        found = read(source, Wanted(model=model)).common
    if found is None:
        return None
    given = {name: (tuple(t.shape), str(t.dtype)) for name, t in found.state.items()}
    return torch_state.difference(given, model, wanted, input_shape)


def read(source: Path, wanted: Wanted) -> Snapshot:
    """Returns the clients or the model of a file, or the model of a folder of files.

    Raises:
        JflError: it cannot be read, or is refused.
    """
    if find.is_pickle(source) or not source.exists():
        value = files.read(source, wanted.classes)
        with one_model.sensible(source, "clients"):
            if wanted.key is not None:
                return snapshots.of_one(one_model.chosen(value, wanted.key, str(source)))
            return snapshots.find(value, experiments.asked(wanted.changes), str(source))
    contents = find.read(source, classes=wanted.classes)
    if contents.kind.startswith("jfl") or contents.clients:
        raise UsageError(f"{source} holds models of many clients; give a run, or one of its files")
    named = contents.named()
    return snapshots.of_one(one_model.of_arrays(named, wanted.key, str(source)), named)


def names(source: Path, wanted: Wanted) -> list[dict[str, Any]]:
    """Returns the names a pickle or torch file holds; nothing of it is built.

    Raises:
        JflError: it is no such file.
    """
    return listing.listed(source, wanted.classes)
