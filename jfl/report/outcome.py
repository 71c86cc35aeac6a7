"""The sections of a run's page on what came out: results, clients, who was rejected."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from jfl.report.markdown import literal, missing, number, percent, picture, table
from jfl.report.run_files import RunFiles
from jfl.report.summary import summarise
from jfl.report.tables import RESULTS

ALL_SHOWN = 50  # with more clients than this a table shows the worst and the best
ENDS = 10
ROUNDS_SHOWN = 20


def headline(run: RunFiles) -> str:
    """Returns the run in one line."""
    config, last = run.config, run.evaluation
    name = literal(config["algorithm"]["name"])
    rounds = f"{run.rounds} of {config['rounds']} rounds"
    ended = "" if run.rounds >= config["rounds"] else " (interrupted)"
    if run.status.get("state") == "failed":
        ended = f" (failed: {literal(run.status.get('error', 'for an unknown reason'))})"
    if missing(last.get("test_accuracy")):
        return f"{name}, {rounds}{ended}; nothing was evaluated yet."
    return (
        f"{name} reached **{percent(last['test_accuracy'])}** of all test samples after {rounds}"
        f"{ended}: {percent(last.get('test_accuracy_mean'))} in the mean over clients, "
        f"{percent(last.get('test_accuracy_worst10'))} in their worst tenth."
    )


def results(run: RunFiles) -> str:
    """Returns the metrics of the last evaluation, and the curves."""
    last, summary = run.evaluation, summarise(run.folder)
    shown = [(label, key, summary.get(key)) for key, (label, _) in RESULTS.items()]
    others = sorted(key for key in last if key.startswith("test_accuracy_of_"))
    shown += [(f"accuracy of {k.removeprefix('test_accuracy_of_')}", k, last[k]) for k in others]
    rows = [
        (literal(label), number(value) if key in ("nll", "brier") else percent(value))
        for label, key, value in shown
        if value is not None
    ]
    if not rows:
        return ""
    heading = f"clients' own test data, round {last['round']}"
    parts = ["## Results", table([heading, "value"], rows)]
    scored = [r for r in run.records if not missing(r.get("valid_accuracy"))]
    if scored:
        best = max(scored, key=lambda record: record["valid_accuracy"])
        parts.append(
            f"Accuracy on validation data was highest in round {best['round']} "
            f"({percent(best['valid_accuracy'])}); on test data it was "
            f"{percent(best.get('test_accuracy'))} there."
        )
    parts += _picture(run, "curves.png", "Test accuracy over the rounds")
    return "\n\n".join(parts)


def clients(run: RunFiles) -> str:
    """Returns what each client reached; of many, the worst and the best."""
    accuracy = run.per_client("accuracy")
    if accuracy is None:
        return ""
    columns = {"accuracy": accuracy}
    columns |= {name: v for name in ("nll", "ece") if (v := run.per_client(name)) is not None}
    sizes = {p: run.owned.sizes[p] for p in ("train", "test") if p in run.owned.sizes}
    heads = {"accuracy": "accuracy", "nll": "NLL", "ece": "ECE"}
    header = ["client", *(f"{part} samples" for part in sizes), *(heads[name] for name in columns)]

    def rows(ids: Sequence[int] | np.ndarray) -> str:
        body = [
            [str(client), *(str(count[client]) for count in sizes.values())]
            + [
                (number if name == "nll" else percent)(float(values[client]))
                for name, values in columns.items()
            ]
            for client in ids
        ]
        return table(header, body)

    measured = np.flatnonzero(~np.isnan(accuracy))
    parts = ["## Clients"]
    parts += _picture(
        run, "clients.png", "Each client's own test accuracy, and how many test samples it has"
    )
    if len(accuracy) > len(measured):
        parts.append(f"Clients without test samples: {len(accuracy) - len(measured)}.")
    if len(accuracy) <= ALL_SHOWN:
        parts.append(rows(range(len(accuracy))))
    else:
        ordered = measured[np.argsort(accuracy[measured], kind="stable")]
        parts += [f"The worst {len(ordered[:ENDS])} of {len(accuracy)}:", rows(ordered[:ENDS])]
        parts += [f"The best {len(ordered[-ENDS:])}:", rows(ordered[: -ENDS - 1 : -1])]
        parts.append(
            "All clients: `test_accuracy_per_client` and its neighbours in `journal.jsonl` "
            f"(round {run.evaluation['round']}), samples in `partition.csv`."
        )
    return "\n\n".join(parts)


def affinity(run: RunFiles) -> str:
    """Returns the picture of who helps whom, where the algorithm keeps count of it."""
    shows = "Affinity: how much each client (row) gains from each other one (column)"
    known = any("affinity" in [*r, *r.get("arrays", [])] for r in run.records)
    shown = _picture(run, "affinity.png", shows) if known else []
    return "\n\n".join(["## Who helps whom", *shown]) if shown else ""


def rejected(run: RunFiles) -> str:
    """Returns which clients were rejected, and when, if any were."""
    found = {r["round"]: r["rejected"] for r in run.records if r.get("rejected")}
    if not found:
        return ""
    times = Counter(client for ids in found.values() for client in ids)
    often = ", ".join(f"{client} ({n} x)" for client, n in times.most_common(ENDS))
    more = f" and {len(times) - ENDS} others" if len(times) > ENDS else ""
    rows = [(str(n), ", ".join(map(str, ids))) for n, ids in list(found.items())[:ROUNDS_SHOWN]]
    parts = [
        "## Rejected clients",
        f"Their loss or weights were not finite, so the round went on without them: client "
        f"{often}{more}.",
        table(["round", "rejected"], rows),
    ]
    if len(found) > ROUNDS_SHOWN:
        parts.append(f"{len(found) - ROUNDS_SHOWN} more rounds are in `journal.jsonl`.")
    return "\n\n".join(parts)


def _picture(run: RunFiles, name: str, shows: str) -> list[str]:
    return [picture(name, shows)] if (run.folder / name).is_file() else []
