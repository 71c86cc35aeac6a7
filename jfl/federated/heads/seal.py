"""The seal of heads: they are as jfl wrote them, all of them, and of their own run.

`heads.json` names the checkpoint they are built on, and the manifests of their members name that
`heads.json`.
"""

from pathlib import Path

from pydantic import Field

from jfl.errors import CheckpointError
from jfl.files import documents
from jfl.files.documents import Document
from jfl.runs import manifest, seal

HEADS = "heads.json"


class Trained(Document):
    """What is asked of the settings of heads."""

    scope: str = "local"
    global_epoch: int = Field(default=0, ge=0)


class Headed(Document):
    """What is asked of `heads.json` here."""

    sealed: bool = False
    clients: int
    block: int = Field(ge=1)
    settings: Trained


def heads_problems(place: Path, *, finished: bool) -> list[str]:
    """Returns what is wrong with heads, given their folder; all must be there if finished."""
    try:
        about = documents.read(place / HEADS, Headed, "")
    except CheckpointError as error:
        return [str(error)]
    numbers = seal.numbered(place / "members")
    wrong = [
        f"members {number}: {what}"
        for number in numbers
        for what in member_problems(place, number)[:1]
    ]
    if not finished:
        return wrong
    settings = Trained.model_validate(about["settings"])
    if settings.scope == "federated":
        expected = range(settings.global_epoch + 1)
    else:
        expected = range(-(-about["clients"] // about["block"]))
    wrong += [f"members {n} are missing" for n in expected if n not in numbers]
    return wrong + [f"members {n} were added" for n in numbers if n not in expected]


def member_problems(place: Path, number: int) -> list[str]:
    """Returns what is wrong with one folder of members of the heads in a folder."""
    folder = place / "members" / str(number)
    wrong = manifest.problems(folder)
    if not wrong:
        sealed = documents.sound(place / HEADS, Headed).get("sealed", False)
        of = manifest.read(folder).get("of")
        if of != (manifest.sha256(place / HEADS) if sealed else None):
            return [f"they are of other heads than {HEADS} says"]
    return wrong


def everything(run: Path) -> None:
    """Refuses a run of which anything is not as jfl wrote it: all checkpoints, all heads.

    Raises:
        CheckpointError: names the first thing that has changed.
    """
    seal.everything(run)
    for place in sorted((run / "heads").glob(f"*/{HEADS}")):
        finished = (place.parent / "result.json").is_file()
        check_heads(place.parent, finished=finished)


def check_heads(place: Path, *, finished: bool) -> None:
    """Refuses heads that are not as jfl wrote them.

    Raises:
        CheckpointError: names the first thing that has changed.
    """
    found = heads_problems(place, finished=finished)
    if found:
        raise CheckpointError(
            f"the heads {place} are damaged: {found[0]}; call the jfl heads that made them again"
        )
