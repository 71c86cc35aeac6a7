"""The sections of a run's page on what came out: results, clients, who was rejected."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from jfl.report.compare.measures import MEASURES, RESULTS
from jfl.report.pages.parts import (
    Code,
    Paragraph,
    Part,
    Picture,
    Section,
    Strong,
    Table,
    Value,
    say,
)
from jfl.report.run_files import RunFiles
from jfl.report.summary import summarise
from jfl.report.words import missing, number, percent

ALL_SHOWN = 50  # with more clients than this a table shows the worst and the best
ENDS = 10
ROUNDS_SHOWN = 20


def headline(run: RunFiles) -> Paragraph:
    """Returns the run in one line."""
    config, last = run.config, reached(run)
    name = str(config["algorithm"]["name"])
    rounds = f"{run.rounds} of {run.planned} rounds"
    ended = "" if run.rounds >= run.planned else " (interrupted)"
    if run.held:
        ended = " (still running)"
    elif run.status.get("state") == "failed":
        ended = f" (failed: {run.status.get('error', 'for an unknown reason')})"
    if missing(last.get("test_accuracy")):
        return say(f"{name}, {rounds}{ended}; nothing was evaluated yet.")
    return say(
        f"{name} reached ",
        Strong(percent(last["test_accuracy"])),
        f" of all test samples after {rounds}{ended}: "
        f"{percent(last.get('test_accuracy_mean'))} in the mean over clients, "
        f"{percent(last.get('test_accuracy_worst10'))} in their worst tenth.",
    )


def reached(run: RunFiles) -> dict[str, Any]:
    """Returns the metrics of the last evaluation by the names of `RESULTS`, and its round.

    A run without any in its journal, as a converted one, may have one that `jfl eval` kept.
    """
    if run.evaluation:
        return summarise(run.folder) | {"round": run.evaluation["round"]}
    return run.kept[0] if run.kept else {}


def results(run: RunFiles) -> Section:
    """Returns the metrics of the last evaluation, and the curves."""
    summary = reached(run)
    shown = [(MEASURES[key].words, key, summary.get(key)) for key in RESULTS]
    of = "test_accuracy_of_"
    others = {key: run.evaluation[key] for key in sorted(run.evaluation) if key.startswith(of)}
    shown += [(f"accuracy of {k.removeprefix(of)}", k, v) for k, v in others.items()]
    rows = [(label, amount(key, value)) for label, key, value in shown if value is not None]
    curves = _picture(run, "curves.png", "Test accuracy over the rounds") if run.evaluation else []
    if any(not missing(record.get("train_loss")) for record in run.records):
        curves += _picture(run, "loss.png", "Training loss over the rounds")
    if not rows:
        return Section("Results", curves)
    heading = f"clients' own test data, round {summary['round']}"
    parts: list[Part] = [Table([heading, "value"], rows)]
    scored = [r for r in run.records if not missing(r.get("valid_accuracy"))]
    if scored:
        best = max(scored, key=lambda record: record["valid_accuracy"])
        parts.append(
            say(
                f"Accuracy on validation data was highest in round {best['round']} "
                f"({percent(best['valid_accuracy'])}); on test data it was "
                f"{percent(best.get('test_accuracy'))} there."
            )
        )
    return Section("Results", [*parts, *curves])


def amount(key: str, value: float | None) -> Value:
    """Returns a metric of `RESULTS` in words."""
    return Value((number if key in ("nll", "brier") else percent)(value), value)


def clients(run: RunFiles, most: int = ALL_SHOWN) -> Section:
    """Returns what each client reached; of more than `most`, the worst and the best."""
    accuracy = run.per_client("accuracy")
    if accuracy is None:
        return Section("Clients", [])
    columns = {"accuracy": accuracy}
    columns |= {name: v for name in ("nll", "ece") if (v := run.per_client(name)) is not None}
    sizes = {p: run.owned.sizes[p] for p in ("train", "test") if p in run.owned.sizes}
    heads = {"accuracy": "accuracy", "nll": "NLL", "ece": "ECE"}
    header = ["client", *(f"{part} samples" for part in sizes), *(heads[name] for name in columns)]

    def rows(ids: Sequence[int] | np.ndarray) -> Table:
        body = [
            [str(client), *(str(count[client]) for count in sizes.values())]
            + [amount(name, float(values[client])) for name, values in columns.items()]
            for client in ids
        ]
        return Table(header, body, sortable=True)

    measured = np.flatnonzero(~np.isnan(accuracy))
    parts = _picture(
        run, "clients.png", "Each client's own test accuracy, and how many test samples it has"
    )
    if len(accuracy) > len(measured):
        parts.append(say(f"Clients without test samples: {len(accuracy) - len(measured)}."))
    if len(accuracy) <= most:
        parts.append(rows(range(len(accuracy))))
    else:
        ordered = measured[np.argsort(accuracy[measured], kind="stable")]
        worst, best = ordered[:ENDS], ordered[: -ENDS - 1 : -1]
        parts += [say(f"The worst {len(worst)} of {len(accuracy)}:"), rows(worst)]
        parts += [say(f"The best {len(best)}:"), rows(best)]
        parts.append(
            say(
                *("All clients: ", Code("test_accuracy_per_client"), " and its neighbours in "),
                *(Code("journal.jsonl"), f" (round {reached(run)['round']}), samples in "),
                *(Code("partition.csv"), "."),
            )
        )
    return Section("Clients", parts)


def affinity(run: RunFiles) -> Section:
    """Returns the picture of who helps whom, where the algorithm keeps count of it."""
    shows = "Affinity: how much each client (row) gains from each other one (column)"
    known = any("affinity" in [*r, *r.get("arrays", [])] for r in run.records)
    return Section("Who helps whom", _picture(run, "affinity.png", shows) if known else [])


def rejected(run: RunFiles) -> Section:
    """Returns which clients were rejected, and when, if any were."""
    found = {r["round"]: r["rejected"] for r in run.records if r.get("rejected")}
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


def _picture(run: RunFiles, name: str, shows: str) -> list[Part]:
    path = run.picture(name)
    return [Picture(path, shows)] if path else []
