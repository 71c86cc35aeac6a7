"""From yaml and key=value to checked settings."""

import json
import re
from pathlib import Path

import pytest
import yaml

from jfl import config
from jfl.config import Section, Switch
from jfl.errors import SafetyError, UsageError
from jfl.federated import experiment

CONFIGS = sorted(config.packaged_configs().rglob("*.yaml"))
EXPERIMENTS = sorted(config.packaged_configs().glob("*.yaml"))


class Inner(Section):
    rate: float = 1.0
    count: int = 1
    name: str = "a"
    on: Switch = False
    sizes: tuple[int, ...] = ()


class Outer(Section):
    inner: Inner = Inner()
    seed: int = 0


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("inner.rate=1e-4", 1e-4),
        ("inner.rate=.5", 0.5),
        ("inner.rate=3", 3.0),
        ("inner.count=1_000", 1000),
        ("inner.on=yes", True),
        ("inner.on=Off", False),
        ("inner.on=true", True),
        ("inner.name=yes", "yes"),
        ("inner.name='1e-4'", "1e-4"),
        ("inner.name=a=b", "a=b"),
        ("inner.name=2024-01-01", "2024-01-01"),
        ("inner.sizes=[3, 4]", (3, 4)),
        ("inner={rate: 2.5, count: 7}", Inner(rate=2.5, count=7)),
    ],
)
def test_values_are_read_as_people_mean_them(override: str, value: object) -> None:
    loaded: object = config.load(Outer, [], [override])
    for word in override.partition("=")[0].split("."):
        loaded = getattr(loaded, word)
    assert loaded == value
    assert type(loaded) is type(value)


@pytest.mark.parametrize(
    ("override", "fragment"),
    [
        ("inner.rat=1", "inner.rat is not a setting (did you mean rate?); there are: rate, count"),
        ("innr.rate=1", "innr is not a setting (did you mean inner?)"),
        ("inner.count=1.5", "inner.count=1.5: should be a valid integer"),
        ("inner.count='5'", "inner.count=5: should be a valid integer"),
        ("inner.rate=fast", "inner.rate=fast: should be a valid number"),
        ("inner.rate=.nan", "inner.rate=NaN: should be a finite number"),
        ("inner.on=maybe", "inner.on=maybe: should be a valid boolean"),
        ("inner.name=3", "inner.name=3: should be a valid string"),
        ("inner=3", "inner=3: should be a section of `key: value` lines"),
        ("inner.sizes=[1", "the value of inner.sizes line 1 is not valid yaml"),
        ("inner.name=${nothing}", "Interpolation key 'nothing' not found"),
        ("inner.name=${", "inner.name"),
        ("no-key=1", "is not key=value"),
        ("inner", "is not key=value"),
    ],
)
def test_what_is_wrong_is_one_sentence(override: str, fragment: str) -> None:
    with pytest.raises(UsageError) as caught:
        config.load(Outer, [], [override])
    assert fragment in str(caught.value)
    assert "\n" not in str(caught.value)


def test_interpolation_follows_overrides() -> None:
    loaded = config.load(Outer, [], ["inner.count=4", "seed=${inner.count}"])
    assert loaded.seed == 4


FOREIGN = [
    *("${oc.env:JFL_SECRET}", "a ${ oc.env:JFL_SECRET } b", "${oc.env:JFL_SECRET,x}"),
    *("${oc.${inner.name}:JFL_SECRET}", "${oc.select:no,${oc.env:JFL_SECRET}}", "\\${seed}"),
    *(
        "${oc.decode:seed}",
        "${oc.create:inner}",
        "${oc.dict.keys:inner}",
        "${oc.dict.values:inner}",
    ),
    *("${oc.deprecated:seed}", "${oc.select:no,'${seed}'}", "${mine:}", "${", "a${seed"),
]


@pytest.mark.parametrize("text", FOREIGN)
@pytest.mark.parametrize("place", ["word", "list", "file"])
def test_nothing_but_settings_is_looked_up(
    text: str, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JFL_SECRET", "hush")
    path = tmp_path / "a.yaml"
    shown = json.dumps(text)
    path.write_text(f"other: {shown}\n" if place == "file" else "")
    words = {"word": [f"inner.name={shown}"], "list": [f"inner.sizes=[1, {shown}]"], "file": []}
    with pytest.raises(UsageError) as caught:
        config.load(Outer, [str(path)], ["inner.name=env", *words[place]])
    assert "${" in str(caught.value)
    assert "hush" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_reference_is_not_put_together_from_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JFL_SECRET", "hush")
    parts = {"a": "$", "b": "{oc.env:JFL_SECRET}", "c": "${a}${b}", "d": "${c}"}
    with pytest.raises(UsageError, match="no value may hold"):
        config.resolve(parts)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("${seed}", 4), ("x_${seed}_${inner.name}", "x_4_n"), ("${inner.sizes[1]}", 2),
        ("${inner.${which}}", "n"), ("${oc.select:seed,7}", 4), ("${oc.select:no.such,7}", 7),
        ("$5 {a}", "$5 {a}"),
    ],
)  # fmt: skip
def test_settings_are_looked_up(text: str, value: object) -> None:
    known = {"seed": 4, "which": "name", "inner": {"name": "n", "sizes": [1, 2]}}
    assert config.resolve(config.merge(known, {"here": text}))["here"] == value


@pytest.mark.parametrize(
    "line",
    ["note: ${seed}", "a: [{b: '${oc.env:HOME}'}]", "include: [/etc/passwd]", r"a: \${seed}"],
)
def test_a_saved_config_looks_nothing_up(tmp_path: Path, line: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(f"seed: 1\n{line}\n")
    with pytest.raises(SafetyError, match="no config does that jfl saved"):
        config.saved(path)
    with pytest.raises(SafetyError):
        experiment.saved(path, ["rounds=2"])
    path.write_text("seed: 1\n")
    assert config.saved(path) == {"seed": 1}


def test_a_setting_that_holds_itself_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("inner: &a {name: [*a]}\n")
    with pytest.raises(UsageError, match="itself"):
        config.load(Outer, [str(tmp_path / "a.yaml")])


def test_files_merge_left_to_right_and_overrides_come_last(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("seed: 1\ninner: {rate: 0.1, sizes: [1, 2, 3]}\n")
    (tmp_path / "b.yaml").write_text("inner: {count: 9, sizes: [4]}\n")
    files = [str(tmp_path / "a.yaml"), str(tmp_path / "b.yaml")]
    loaded = config.load(Outer, files, ["inner.count=2"])
    assert loaded == Outer(seed=1, inner=Inner(rate=0.1, count=2, sizes=(4,)))


@pytest.mark.parametrize(
    ("text", "fragment"),
    [
        ("seed: 1\nseed: 2\n", "the key seed stands twice, second in line 2"),
        ("inner:\n  rate: [1\n", "is not valid yaml"),
        ("- 1\n", "must hold `key: value` lines, not a list"),
        ("just words\n", "not a single value"),
        ("inner: {name: *a}\n", "is not valid yaml"),
    ],
)
def test_broken_files_are_named(tmp_path: Path, text: str, fragment: str) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        config.load(Outer, [str(path)])
    assert fragment in str(caught.value)


def test_a_missing_file_names_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"tiny_fom.*did you mean tiny_fomo.yaml"):
        config.config_path("tiny_fom")


def test_dump_is_read_back_as_the_same() -> None:
    loaded = experiment.load(["digits_fomo"], ["train.learning_rate=1e-4", "algorithm.epsilon=.5"])
    again = config.check(experiment.Experiment, yaml.safe_load(config.dump(loaded)))
    assert again == loaded
    assert "learning_rate: 0.0001" in config.dump(loaded)


def test_an_override_of_a_plugins_name_forgets_the_settings_of_the_other() -> None:
    assert experiment.load(["digits_fomo"], ["algorithm.name=fedavg"]).algorithm.name == "fedavg"
    assert experiment.load(["digits_fomo"], ["algorithm=local"]).algorithm.name == "local"
    with pytest.raises(UsageError, match=r"algorithm\.num_candidates is not"):
        experiment.load(["digits_fomo"], ["algorithm=local", "algorithm.num_candidates=2"])


@pytest.mark.parametrize(
    ("override", "fragment"),
    [
        ("algorithm.name=fedfom", "did you mean fedfomo?"),
        ("data.nme=x", "data.nme is not a setting (did you mean name?)"),
        ("partition.alpha=0", "partition.alpha=0: should be greater than 0"),
        ("participation=0", "participation=0: should be greater than 0"),
        ("train.batch_size=0", "train.batch_size=0: should be greater than or equal to 1"),
        ("partition.train_fraction=0.9", "must stay below 1"),
        ("memory.budget=lots", "memory.budget=lots"),
    ],
)
def test_plugins_check_their_own_settings(override: str, fragment: str) -> None:
    with pytest.raises(UsageError) as caught:
        experiment.load(["digits_fomo"], [override])
    assert fragment in str(caught.value)


def test_embedded_settings_hold_only_where_the_data_are_absent(tmp_path: Path) -> None:
    absent = experiment.load(["tiny_fomo"], [f"data.dir={tmp_path}"])
    assert absent.data.embedded
    assert absent.data.image_size == 32
    stubborn = experiment.load(["tiny_fomo"], [f"data.dir={tmp_path}", "data.image_size=64"])
    assert stubborn.data.image_size == 64
    (tmp_path / "train").mkdir()
    present = experiment.load(["tiny_fomo"], [f"data.dir={tmp_path}"])
    assert not present.data.embedded
    assert present.data.image_size is None
    assert present.train.learning_rate == 0.005


def test_presets_fill_in_what_is_not_given() -> None:
    paper = experiment.load(["digits_fomo"], ["algorithm.preset=paper", "algorithm.epsilon=0.1"])
    given = paper.algorithm.model_dump()
    assert (given["pool"], given["always_self"], given["fallback"]) == (
        "uploaded",
        True,
        "reference",
    )
    assert given["epsilon"] == 0.1


@pytest.mark.parametrize(
    ("clients", "share", "cohort"), [(20, 0.2, 4), (100, 0.29, 29), (5, 0.1, 1)]
)
def test_participation_rounds_down_but_to_one(clients: int, share: float, cohort: int) -> None:
    overrides = [f"clients={clients}", f"participation={share}"]
    assert experiment.load(["digits_fomo"], overrides).cohort_size == cohort


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_config_says_what_it_is(path: Path) -> None:
    assert re.match(r"# \S.*[.;]", path.read_text())
    assert isinstance(config.read([str(path)]), dict)


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_every_experiment_says_how_long_it_takes_and_what_comes_out(path: Path) -> None:
    head = "\n".join(path.read_text().splitlines()[:8])
    assert f"configs/{path.name}" in re.findall(r"^# run:    bin/jfl train (.*)", head, re.M)[0]
    assert re.search(r"^# time:   .*\d", head, re.MULTILINE)
    assert re.search(r"^# expect: .*\d", head, re.MULTILINE)
    for words in re.findall(r"^#(?: run:   |        ) bin/jfl train (.*)", head, re.MULTILINE):
        files = [word for word in words.split() if "=" not in word]
        loaded = experiment.load(
            [file.removeprefix("configs/") for file in files],
            [word for word in words.split() if "=" in word],
        )
        assert loaded.clients in (1, 10, 15, 20)


def test_the_ready_grid_is_made_of_few_pieces() -> None:
    """Four data sets in six partitions, with all clients and with a fifth."""
    grid = {}
    for name in ("cifar10", "cifar100", "cifar100_dir0.1", "tiny", "tiny_dir0.1", "fashion"):
        file = "_fomo_".join(name.split("_")) if "_" in name else f"{name}_fomo"
        for share, cohort in ((1.0, 20), (0.2, 4)):
            loaded = experiment.load([file], [f"participation={share}"])
            rule = loaded.partition.model_dump()
            skew = rule.get("alpha") or rule["classes_per_client"]
            grid[loaded.data.name, rule["name"], skew, loaded.cohort_size] = loaded.algorithm.name
            assert loaded.name == file
            assert cohort == loaded.cohort_size
    assert set(grid.values()) == {"fedfomo"}
    assert {key[:3] for key in grid} == {
        ("cifar10", "pathological", 2),
        ("cifar100", "dirichlet", 0.05),
        ("cifar100", "dirichlet", 0.1),
        ("tiny_imagenet", "dirichlet", 0.05),
        ("tiny_imagenet", "dirichlet", 0.1),
        ("fashion_mnist", "pathological", 2),
    }
    assert len(grid) == 12


def test_what_a_file_includes_comes_before_it(tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts/a.yaml").write_text("seed: 1\ninner: {rate: 0.1, count: 3}\n")
    (tmp_path / "parts/b.yaml").write_text("include: [a.yaml]\ninner: {count: 4}\n")
    (tmp_path / "c.yaml").write_text("include: [parts/b]\nseed: 2\n")
    (tmp_path / "parts/b").write_text("include: [b.yaml]\n")
    loaded = config.load(Outer, [str(tmp_path / "c.yaml")])
    assert loaded == Outer(seed=2, inner=Inner(rate=0.1, count=4))


@pytest.mark.parametrize(
    ("text", "fragment"),
    [
        ("include: [a.yaml]", "includes itself"),
        ("include: b", "include must be a list of yaml files"),
        ("include: [nowhere]", "there is no config nowhere"),
    ],
)
def test_bad_includes_are_named(tmp_path: Path, text: str, fragment: str) -> None:
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(UsageError, match=fragment):
        config.read([str(tmp_path / "a.yaml")])


def test_a_layer_wider_than_any_is_refused() -> None:
    words = ["data.name=digits", "model={name: mlp, hidden: [100000000000]}"]
    with pytest.raises(UsageError, match="hidden"):
        experiment.load([], words)
