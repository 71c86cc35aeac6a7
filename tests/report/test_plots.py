"""`jfl plot` on folders written by hand: what is drawn, and in which formats."""

import json
import math
import re
import zlib

import numpy as np
import pytest
from matplotlib.colors import to_hex, to_rgb
from matplotlib.container import BarContainer
from matplotlib.figure import Figure
from PIL import Image

from jfl.cli import main
from jfl.federated.pages import owners
from jfl.report.compare import heat_map
from jfl.report.compare.comparison import Spread
from jfl.report.compare.measures import measure
from tests.report.run_folders import evaluated, grid_of_runs, measured, run

START = {"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xml"}


@pytest.fixture
def figures(monkeypatch):
    """The figures that are written, before they are."""
    kept = []
    write = Figure.savefig

    def keep(figure, *args, **kwargs):
        write(figure, *args, **kwargs)
        kept.append(figure)

    monkeypatch.setattr(Figure, "savefig", keep)
    return kept


def plot(capsys, *words, code=0):
    with pytest.raises(SystemExit) as ended:
        main(["plot", *map(str, words), "--json"])
    captured = capsys.readouterr()
    assert ended.value.code == code, captured.err
    return json.loads(captured.out.splitlines()[-1])


def skewed(out):
    """Two values of alpha, two seeds, with ECEs one can compute with."""
    for alpha, (first, second) in {0.1: (0.2, 0.4), 1.0: (0.1, 0.2)}.items():
        for seed, ece in enumerate((first, second)):
            methods = {"base": {"ece": ece}, "aph": {"ece": ece / 2}, "loraph": {"ece": ece / 4}}
            evaluated(run(out / f"{alpha}-{seed}", alpha=alpha, seed=seed), methods)
    return out


def bars(axes) -> list[BarContainer]:
    return [group for group in axes.containers if isinstance(group, BarContainer)]


def test_bars_and_lines_of_ece_against_alpha(tmp_path, capsys, figures):
    answer = plot(capsys, "ece-vs", "alpha", skewed(tmp_path / "o"), "--out", tmp_path / "e.png")
    (axes,) = figures[0].axes
    groups = bars(axes)

    expected = [[0.3, 0.15], [0.15, 0.075], [0.075, 0.0375]]
    np.testing.assert_allclose([[bar.get_height() for bar in group] for group in groups], expected)
    colours = [to_hex(group[0].get_facecolor()).upper() for group in groups]
    assert colours == ["#4E79A7", "#F28E2B", "#59A14F"]
    tops = [line for line in axes.lines if line.get_marker() in ("o", "s", "^")]
    assert [line.get_marker() for line in tops] == ["o", "s", "^"]
    np.testing.assert_allclose([line.get_ydata() for line in tops], expected)
    # a line goes through the middle of the top of its bars
    middles = [[bar.get_x() + bar.get_width() / 2 for bar in group] for group in groups]
    np.testing.assert_allclose([line.get_xdata() for line in tops], middles)
    assert len({group[0].get_hatch() for group in groups}) == 3  # told apart in grey
    errors = [c for c in axes.collections if len(c.get_segments()) == 2]
    (low, high) = errors[0].get_segments()[0][:, 1]
    assert high - low == pytest.approx(2 * 0.1 * math.sqrt(2))  # of 0.2 and 0.4
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0.1", "1.0"]
    assert axes.xaxis.label.get_fontsize() == 20
    assert axes.xaxis.label.get_fontfamily() == ["serif"]
    assert [text.get_text() for text in figures[0].legends[0].get_texts()] == [
        *("base", "aph", "loraph"),
    ]
    found = {(r["partition.alpha"], r["method"]): r["ece"]["mean"] for r in answer["rows"]}
    assert found[1.0, "aph"] == pytest.approx(0.075)


def test_all_formats_at_once_with_text_as_text(tmp_path, capsys):
    outs = [tmp_path / f"e.{ending}" for ending in START]
    words = [word for out in outs for word in ("--out", out)]
    answer = plot(capsys, "ece-vs", "alpha", skewed(tmp_path / "o"), *words)

    assert answer["files"] == [str(out) for out in outs]
    for out in outs:
        assert out.read_bytes().startswith(START[out.suffix.removeprefix(".")])
    pdf = (tmp_path / "e.pdf").read_bytes()
    streams = re.findall(rb"stream\r?\n(.*?)\r?\nendstream", pdf, re.DOTALL)
    whole = pdf + b"".join(inflated(stream) for stream in streams)
    assert b"/FontFile2" in whole  # TrueType, which is type 42
    assert b"/Type3" not in whole
    assert b"DejaVuSerif" in whole
    with Image.open(tmp_path / "e.png") as image:
        grey = np.asarray(image.convert("L"))
    edges = np.concatenate([grey[:3].ravel(), grey[:, :3].ravel(), grey[:, -3:].ravel()])
    assert edges.min() > 250  # nothing is cut


def inflated(stream: bytes) -> bytes:
    try:
        return zlib.decompress(stream)
    except zlib.error:
        return b""


def test_chosen_methods_participation_and_a_missing_bar(tmp_path, capsys, figures):
    for share, method in ((0.2, "aph"), (1.0, "wide")):
        folder = run(tmp_path / "o" / str(share), participation=share)
        evaluated(folder, {"base": {"nll": 1.0}, method: {"nll": share}})
    words = ("ece-vs", "participation", tmp_path / "o", "--metric", "nll")
    plot(capsys, *words, "--methods", "wide,base", "--out", tmp_path / "e.png")
    (axes,) = figures[0].axes

    assert [[bar.get_height() for bar in group] for group in bars(axes)] == [[1.0], [1.0, 1.0]]


def test_the_round_and_few_seeds_are_said_below(tmp_path, capsys, figures):
    words = ("ece-vs", "alpha", skewed(tmp_path / "o"), "--metric", "test_accuracy")
    plot(capsys, *words, "--which", "best-test", "--out", tmp_path / "e.png")

    assert figures[0].get_supxlabel() == (
        "round: best on test data: optimistic, not for papers; mean ± std over 2 seeds"
    )


def test_a_heat_map_has_a_number_in_each_cell(tmp_path, capsys, figures):
    out = grid_of_runs(tmp_path / "o", [0.1, 1.0], [0.2, 0.5, 1.0], seeds=1)
    (out / "1.0-0.5-0" / "config.yaml").unlink()
    plot(capsys, "heatmap", out, "--out", tmp_path / "h.svg", "--method", "aph")
    axes = figures[0].axes[0]
    drawn = np.asarray(axes.images[0].get_array().filled(np.nan))

    assert drawn.shape == (2, 3)
    assert np.isnan(drawn[1, 1])
    texts = {text.get_position(): text.get_text() for text in axes.texts}
    assert texts.pop((1, 1)) == "-"
    for (column, row), text in texts.items():
        assert float(text) == pytest.approx(100 * drawn[row, column], abs=0.051)


def test_numbers_on_a_heat_map_can_be_read(tmp_path, figures):
    values = [[Spread(value, 0.01, 3) for value in np.linspace(0, 1, 11)]]
    heat_map.heat_picture(
        values, ["a"], [str(n) for n in range(11)], measure("ece"), ("x", "y"), tmp_path / "h.png"
    )
    axes = figures[0].axes[0]
    image = axes.images[0]
    for place, text in enumerate(axes.texts):
        back, front = (luminance(c) for c in (image.to_rgba(place / 10), text.get_color()))
        low, high = sorted((back, front))
        assert (high + 0.05) / (low + 0.05) > 4  # WCAG asks for 3 of large letters


def luminance(colour) -> float:
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    return float(np.dot([0.2126, 0.7152, 0.0722], linear))


def test_curves_are_means_with_bands_as_far_as_all_seeds_go(tmp_path, capsys, figures):
    for seed, values in enumerate([(0.2, 0.4, 0.5), (0.4, 0.8)]):
        records = [measured(2 * n, value) for n, value in enumerate(values, 1)]
        run(tmp_path / "o" / str(seed), seed=seed, records=records, rounds=6, state="running")
    run(tmp_path / "o" / "fomo", algorithm="fedfomo", records=[measured(6, 0.9)], rounds=6)
    answer = plot(capsys, "curves", tmp_path / "o", "--out", tmp_path / "c.pdf")
    (axes,) = figures[0].axes

    lines = {line.get_label(): line.get_xydata().tolist() for line in axes.lines}
    assert list(lines) == ["fedavg (2 seeds)", "fedfomo (1 seed)"]
    np.testing.assert_allclose(lines["fedavg (2 seeds)"], [[2, 0.3], [4, 0.6]])
    (band,) = axes.collections
    at_two = sorted({round(y, 6) for x, y in band.get_paths()[0].vertices if x == 2})
    std = 0.1 * math.sqrt(2)
    np.testing.assert_allclose([at_two[0], at_two[-1]], [0.3 - std, 0.3 + std], atol=1e-5)
    assert answer["rows"][0]["seeds"] == [0, 1]


@pytest.mark.parametrize("kind", ["clients", "affinity", "partition", "reliability"])
def test_pictures_of_one_run(tmp_path, capsys, kind):
    arrays = {"test_accuracy_per_client": [0.4, 0.6], "affinity": [[1.0, 0.2], [0.1, 1.0]]}
    folder = run(tmp_path / "r", records=[measured(4, 0.5, **arrays)])
    evaluated(folder, {"base": {}, "aph": {}})
    owners.write(folder, np.array([[3, 1], [0, 5]]), {"test": [1, 2]})
    plot(capsys, kind, folder, "--out", tmp_path / "p.png")

    assert (tmp_path / "p.png").read_bytes().startswith(START["png"])
    assert not list(folder.glob("*.png"))  # the run's own folder is left alone


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["curves", "r", "--out", "c.jpg"], "must end in .pdf, .svg, .png"),
        (["curves", "r", "--out", "gone/c.png"], "the folder gone is not there"),
        (["curves", "r", "--metric", "ood_auroc", "--out", "c.png"], "none of these runs has"),
        (["affinity", "r", "--out", "a.png"], "its algorithm keeps no affinity"),
        (["clients", "r", "--out", "a.png"], "nothing of each client"),
        (["partition", "r", "--out", "a.png"], "no partition.csv"),
        (["reliability", "r", "--out", "a.png"], "was not evaluated"),
        (["reliability", "nowhere", "--out", "a.png"], "nowhere is not a run folder"),
        (["ece-vs", "alpha", "r", "s", "--out", "a.png"], "differ in clients"),
        (["ece-vs", "alpha", "r", "--methods", "aph", "--out", "a.png"], "no run has results of"),
        (["ece-vs", "alpha", "iid", "--out", "a.png"], "has no partition.alpha"),
    ],
)
def test_errors_are_one_sentence(tmp_path, capsys, monkeypatch, words, sentence):
    monkeypatch.chdir(tmp_path)
    run(tmp_path / "r")
    run(tmp_path / "s", clients=9)
    run(tmp_path / "iid", partition={"name": "iid"})
    answer = plot(capsys, *words, code=2)

    assert sentence in answer["error"]
    assert not list(tmp_path.glob("*.png"))
