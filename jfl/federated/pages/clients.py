"""The sections of a federated run's page on its clients: what each reached, who was rejected."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jfl.federated.pages import owners
from jfl.report.pages.outcome import amount, goodness, picture
from jfl.report.pages.outcome import reached as last
from jfl.report.pages.parts import Code, Part, Section, Table, say
from jfl.report.run_files import RunFiles
from jfl.runs.journal import Journal

ALL_SHOWN = 50  # with more clients than this a table shows the worst and the best
ENDS = 10
ROUNDS_SHOWN = 20
Columns = Mapping[str, tuple[str, str]]
"""By what the journal has of each client: the metric that says how it is shown, and its heading;
the first is the one a person asks for."""
CLASSIFIED: Columns = {
    "accuracy": ("test_accuracy", "accuracy"),
    "nll": ("nll", "NLL"),
    "ece": ("ece", "ECE"),
}


def per_client(run: RunFiles, name: str) -> np.ndarray | None:
    """Returns one number per client of the last evaluation, None where there are none."""
    values = Journal(run.folder).array(run.evaluation, f"test_{name}_per_client")
    if not run.evaluation and run.kept:
        values = np.array([row.get(name) for row in run.kept[0].get("per_client", [])], float)
    return values if values is not None and values.shape == (run.config["clients"],) else None


def clients(run: RunFiles, shown: Columns = CLASSIFIED, most: int = ALL_SHOWN) -> Section:
    """Returns what each client reached; of more than `most`, the worst and the best."""
    columns = {name: v for name in shown if (v := per_client(run, name)) is not None}
    first = next(iter(shown))
    if first not in columns:
        return Section("Clients", [])
    metric, label = shown[first]
    reached = columns[first]
    good = np.array([goodness(metric, value) for value in reached])
    owned = owners.read(run.folder).sizes
    sizes = {p: owned[p] for p in ("train", "test") if p in owned}
    heads = [shown[name][1] for name in columns]
    header = ["client", *(f"{part} samples" for part in sizes), *heads]

    def rows(ids: Sequence[int] | np.ndarray) -> Table:
        body = [
            [str(client), *(str(count[client]) for count in sizes.values())]
            + [amount(shown[name][0], float(values[client])) for name, values in columns.items()]
            for client in ids
        ]
        return Table(header, body, sortable=True)

    measured = np.flatnonzero(~np.isnan(reached))
    parts = picture(
        run, "clients.png", f"Each client's own test {label}, and how many test samples it has"
    )
    if len(reached) > len(measured):
        parts.append(say(f"Clients without test samples: {len(reached) - len(measured)}."))
    if len(reached) <= most:
        parts.append(rows(range(len(reached))))
    else:
        ordered = measured[np.argsort(good[measured], kind="stable")]
        worst, best = ordered[:ENDS], ordered[: -ENDS - 1 : -1]
        parts += [say(f"The worst {len(worst)} of {len(reached)}:"), rows(worst)]
        parts += [say(f"The best {len(best)}:"), rows(best)]
        parts.append(
            say(
                *("All clients: ", Code(f"test_{first}_per_client"), " and its neighbours in "),
                *(Code("journal.jsonl"), f" (round {last(run)['round']}), samples in "),
                *(Code("partition.csv"), "."),
            )
        )
    return Section("Clients", parts)


def affinity(run: RunFiles) -> Section:
    """Returns the picture of who helps whom, where the algorithm keeps count of it."""
    shows = "Affinity: how much each client (row) gains from each other one (column)"
    known = any("affinity" in [*r, *r.get("arrays", [])] for r in run.records)
    return Section("Who helps whom", picture(run, "affinity.png", shows) if known else [])


def rejected(run: RunFiles) -> Section:
    """Returns which clients were rejected, and when, if any were."""
    found = {r["round"]: r["rejected"] for r in run.records if _ids(r)}
    if not found:
        return Section("Rejected clients", [])
    times = Counter(client for ids in found.values() for client in ids)
    often = ", ".join(f"{client} ({n} x)" for client, n in times.most_common(ENDS))
    more = f" and {len(times) - ENDS} others" if len(times) > ENDS else ""
    rows = [(str(n), ", ".join(map(str, ids))) for n, ids in list(found.items())[:ROUNDS_SHOWN]]
    parts: list[Part] = [
        say(
            f"Their loss or weights were not finite, so the round went on without them: client "
            f"{often}{more}."
        ),
        Table(["round", "rejected"], rows),
    ]
    if len(found) > ROUNDS_SHOWN:
        left = len(found) - ROUNDS_SHOWN
        parts.append(say(f"{left} more rounds are in ", Code("journal.jsonl"), "."))
    return Section("Rejected clients", parts)


def _ids(record: dict[str, Any]) -> bool:
    return isinstance(record.get("rejected"), list) and bool(record["rejected"])
