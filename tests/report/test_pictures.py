import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from PIL import Image

from jfl.report.pictures import data_pictures, result_pictures

COUNTS = np.random.default_rng(0).integers(0, 50, (20, 10))
AFFINITY = np.random.default_rng(0).normal(0, 0.1, (20, 20))


def ink(path) -> int:
    """How many pixels are not white."""
    with Image.open(path) as image:
        return int((np.asarray(image.convert("L")) < 250).sum())


@pytest.mark.parametrize("shape", [(20, 10), (100, 200), (1, 1), (1000, 10), (3, 200)])
def test_partition_pictures_of_any_size(tmp_path, shape):
    counts = np.random.default_rng(0).integers(0, 9, shape)
    data_pictures.partition_picture(counts, "Fashion-MNIST", tmp_path / "p.png")
    data_pictures.bars_picture(counts, "Fashion-MNIST", tmp_path / "b.png")

    for name in ("p.png", "b.png"):
        with Image.open(tmp_path / name) as image:
            assert image.format == "PNG"
            assert max(image.size) <= 2000
        assert ink(tmp_path / name) > 5000
    assert {path.name for path in tmp_path.iterdir()} == {"p.png", "b.png"}


def test_a_few_samples_are_seen_beside_thousands(tmp_path):
    counts = np.zeros((4, 4), int)
    counts[0, 0] = 5000
    data_pictures.partition_picture(counts, "t", tmp_path / "a.png")
    counts[2, 1] = 2
    data_pictures.partition_picture(counts, "t", tmp_path / "b.png")

    assert ink(tmp_path / "b.png") > ink(tmp_path / "a.png") + 1000


def test_bars_end_at_each_clients_samples(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(Axes, "add_collection", lambda _, bars: drawn.append(bars))
    data_pictures.bars_picture(np.array([[3, 0, 2], [0, 7, 0]]), "t", tmp_path / "b.png")

    (bars,) = drawn
    corners = [path.vertices for path in bars.get_paths()]
    spans = [(round(c[:, 0].mean()), c[:, 1].min(), c[:, 1].max()) for c in corners]
    assert spans == [(0, 0, 3), (0, 3, 5), (1, 0, 7)]
    assert len({tuple(colour) for colour in bars.get_facecolor()}) == 3


def test_clients_stand_in_the_order_of_their_accuracy(tmp_path, monkeypatch):
    drawn = []
    draw = Axes.bar
    monkeypatch.setattr(
        Axes, "bar", lambda *given, **how: drawn.append(given) or draw(*given, **how)
    )
    accuracy, samples = np.array([0.9, np.nan, 0.2, 0.5]), np.array([10, 0, 30, 20])
    result_pictures.clients_picture(accuracy, samples, "t", tmp_path / "c.png")

    assert [heights.tolist() for _, _, heights, _ in drawn] == [[0.2, 0.5, 0.9], [30, 20, 10]]


@pytest.mark.parametrize("clients", [1, 10, 100, 200])
def test_clients_picture_of_any_size(tmp_path, clients):
    accuracy = np.random.default_rng(0).uniform(size=clients)
    result_pictures.clients_picture(
        accuracy, np.arange(clients), "Fashion-MNIST", tmp_path / "c.png"
    )

    with Image.open(tmp_path / "c.png") as image:
        assert max(image.size) <= 2000
    assert ink(tmp_path / "c.png") > 5000


def test_a_long_title_is_wrapped_and_not_cut(tmp_path):
    for title in ("short", "digits, not Tiny-ImageNet, " * 4):
        result_pictures.affinity_picture(AFFINITY[:5, :5], title, tmp_path / "a.png")
        with Image.open(tmp_path / "a.png") as image:
            edge = np.asarray(image.convert("L"))[:, -5:]
        assert (edge > 250).all()


def test_pictures_without_anything_in_them(tmp_path):
    data_pictures.partition_picture(np.zeros((3, 3), int), "t", tmp_path / "p.png")
    data_pictures.bars_picture(np.zeros((3, 30), int), "t", tmp_path / "b.png")
    result_pictures.clients_picture(np.full(3, np.nan), np.zeros(3, int), "t", tmp_path / "k.png")
    result_pictures.clients_picture(np.ones(3), None, "t", tmp_path / "l.png")
    result_pictures.affinity_picture(np.zeros((3, 3)), "t", tmp_path / "a.png")
    result_pictures.affinity_picture(np.full((3, 3), np.nan), "t", tmp_path / "n.png")
    result_pictures.affinity_picture(np.ones((1, 1), np.float32), "t", tmp_path / "o.png")
    result_pictures.curves_picture([], {"mean": []}, "t", tmp_path / "c.png")

    assert len(list(tmp_path.iterdir())) == 8


def test_self_entries_and_outliers_do_not_set_the_colours(tmp_path, monkeypatch):
    limits = []
    monkeypatch.setattr(Axes, "imshow", keep_limits(Axes.imshow, limits), raising=True)
    affinity = AFFINITY.copy()
    np.fill_diagonal(affinity, 1e6)
    affinity[0, 1], affinity[2, 3], affinity[4, 5] = 1e5, np.inf, np.nan
    result_pictures.affinity_picture(affinity, "t", tmp_path / "a.png")

    (low, high), = limits  # fmt: skip
    assert low == -high
    assert 0.15 < high < 0.35


def keep_limits(imshow, limits):
    def wrapped(*args, **kwargs):
        image = imshow(*args, **kwargs)
        assert isinstance(image.norm, Normalize)
        limits.append(image.get_clim())
        return image

    return wrapped


def test_unmet_peers_do_not_narrow_the_colours(tmp_path, monkeypatch):
    limits = []
    monkeypatch.setattr(Axes, "imshow", keep_limits(Axes.imshow, limits))
    affinity = np.zeros((30, 30))
    affinity[0, 1] = 0.5  # one pair of 870 met
    result_pictures.affinity_picture(affinity, "t", tmp_path / "a.png")

    assert limits == [(-0.5, 0.5)]


@pytest.mark.parametrize("ending", ["png", "pdf", "svg"])
def test_curves_in_each_format(tmp_path, ending):
    path = tmp_path / f"curves.{ending}"
    rounds = [1, 2, 5]
    band = np.array([[0.1, 0.2, np.nan], [0.3, 0.5, np.nan]])
    result_pictures.curves_picture(
        rounds, {"mean": [0.2, 0.3, 0.4], "worst": [0.1, None, float("nan")]}, "t", path, band
    )

    start = {"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xml"}[ending]
    assert path.read_bytes().startswith(start)


def test_a_title_is_never_parsed_as_mathematics(tmp_path):
    title = r"data$\frac{_^ for $5"
    data_pictures.partition_picture(COUNTS, title, tmp_path / "p.png")
    result_pictures.affinity_picture(AFFINITY, title, tmp_path / "a.png")
    result_pictures.curves_picture([1], {title: [0.5]}, title, tmp_path / "c.png")


def test_a_failed_picture_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "p.png"
    data_pictures.partition_picture(COUNTS, "t", path)
    before = path.read_bytes()

    def fail(figure, temporary, **kwargs):
        temporary.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(Figure, "savefig", fail)
    with pytest.raises(OSError, match="disk full"):
        data_pictures.partition_picture(COUNTS, "t", path)

    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_no_global_state(tmp_path):
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    data_pictures.partition_picture(COUNTS, "t", tmp_path / "p.png")

    assert dict(mpl.rcParams) == before
