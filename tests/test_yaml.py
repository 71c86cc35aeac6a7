"""Numbers, words and keys of yaml: as people mean them, and back as they were written."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from jfl import cli, config
from jfl.errors import UsageError
from jfl.report.compare.groups import filtered
from jfl.report.compare.results import RunResults

WORDS = [
    "010", "08", "0o10", "0b1", "1:30", "1:30.5", "190:20:30", "2024_01_01", "1_0", "10_00", "_1",
    "0_1", "2024-01-01", "12:30:00", "yes", "No", "on", "off", "y", "=", "<<", ".", "._", "1e",
    "0x", "+", "1.2.3", "nan", "inf", "a #b", "#b", "---", "--- a",
]  # fmt: skip
NUMBERS = {
    "0": 0, "10": 10, "-3": -3, "+3": 3, "1_000": 1000, "12_345_678": 12345678, "0x10": 16,
    "-0x1F": -31, ".5": 0.5, "-.5": -0.5, "1.": 1.0, "1e3": 1000.0, "1E-4": 1e-4, "+2.5e+1": 25.0,
    "1_000.5": 1000.5, "010.5": 10.5, "5e-1": 0.5,
}  # fmt: skip
NOTHING = ["", "~", "null", "Null", "NULL"]


def read(text: str) -> Any:
    return config.parse_overrides([f"a={text}"])["a"]


@pytest.mark.parametrize("word", WORDS)
def test_words_stay_words(word: str) -> None:
    assert read(word) == word
    quoted = json.dumps(word)
    assert read(quoted) == config.parse_yaml(f"a: {quoted}", "")["a"] == word


@pytest.mark.parametrize("text", NUMBERS)
def test_numbers_are_numbers_everywhere(text: str) -> None:
    for found in (
        read(text),
        read(f"[{text}]")[0],
        config.parse_yaml(f"a: {{b: {text}}}", "")["a"]["b"],
        config.parse_yaml(f"- {text}\n", "")[0],
    ):
        assert found == NUMBERS[text]
        assert type(found) is type(NUMBERS[text])


@pytest.mark.parametrize("word", NOTHING)
def test_nothing_is_nothing(word: str) -> None:
    assert read(word) is None
    assert config.parse_yaml(f"a: {word}", "") == {"a": None}


def test_keys_are_words() -> None:
    assert config.parse_yaml("{1: a, 0x1: b, null: c, true: d, 010: e}", "") == {
        "1": "a", "0x1": "b", "null": "c", "true": "d", "010": "e",
    }  # fmt: skip
    assert config.parse_yaml("a: &a {b: 1, c: 2}\nd: {<<: *a, c: 3}", "")["d"] == {"b": 1, "c": 3}


@pytest.mark.parametrize("text", ["!!int 010", "!!float x", "9" * 5000, "[" * 5000])
def test_what_cannot_be_read_is_a_sentence(text: str) -> None:
    with pytest.raises(UsageError, match=r"the value of a .*(not valid yaml|too deeply)") as caught:
        read(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["010", "1:30", "0b1", "0o17", "2024_01_01", "'5'"])
def test_a_setting_that_is_a_number_refuses_words(
    text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        cli.main(["train", "digits_fomo", f"rounds={text}", "--dry-run", "--json"])
    answer = json.loads(capsys.readouterr().out)

    assert answer["code"] == 2
    assert answer["error"].startswith(f"config: rounds={read(text)}: should be a valid integer, in")
    assert answer["settings"]["rounds"] == read(text)
    assert answer["settings"]["clients"] == 10


def test_refused_settings_are_json_without_nan(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["train", "digits_fomo", "train.clip=.nan", "--dry-run", "--json"])

    def fail(word: str) -> None:
        raise AssertionError(word)

    answer = json.loads(capsys.readouterr().out, parse_constant=fail)
    assert answer["settings"]["train"]["clip"] == "NaN"


def test_where_reads_as_a_config_does() -> None:
    runs = [RunResults.__new__(RunResults) for _ in range(2)]
    for run, settings_of in zip(
        runs, ({"name": "010", "seed": 8}, {"name": "8", "seed": 10}), strict=True
    ):
        object.__setattr__(run, "settings", settings_of)

    assert [run.settings["seed"] for run in filtered(runs, ["name=010"])] == [8]
    assert [run.settings["seed"] for run in filtered(runs, ["seed=10"])] == [10]
    with pytest.raises(UsageError, match="no run has seed=010; there are: 10, 8"):
        filtered(runs, ["seed=010"])


KEYS = st.text(st.characters(codec="utf-8"), max_size=8) | st.sampled_from(WORDS + NOTHING)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | KEYS
    | st.sampled_from(list(NUMBERS)) | st.from_regex(r"[-+.0-9_:xobeE]{1,8}", fullmatch=True),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


def same(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and one == other


@settings(max_examples=400, deadline=None)
@given(content=st.dictionaries(KEYS, VALUES, max_size=4), inline=st.booleans())
def test_what_is_written_is_read_back_as_the_same(content: dict[str, Any], inline: bool) -> None:
    text = config.text(content, inline=inline)

    assert same(config.parse_yaml(text, "") or {}, content)


@settings(max_examples=200, deadline=None)
@given(
    value=st.none() | st.booleans() | st.integers(-(10**9), 10**9)
    | st.floats(allow_nan=False)
    | st.from_regex(r"0x[0-9a-f]{1,3}|[a-z0-9:_-]{1,6}", fullmatch=True)
)  # fmt: skip
def test_settings_that_older_versions_wrote_are_read_back(value: Any) -> None:
    """They wrote with PyYAML's own rules, which leave 08 unquoted, and words like 1e3."""
    found = config.parse_yaml(yaml.safe_dump({"a": value}, sort_keys=False), "")["a"]
    lost = isinstance(value, str) and isinstance(found, float)  # were lost in older versions too

    assert lost or same(found, value)


def test_a_name_like_a_number_survives_in_a_file(tmp_path: Path) -> None:
    for word in ("1e3", "08", "1_000", "0x10"):
        (tmp_path / "a.yaml").write_text(config.text({"name": word}))
        assert config.read([str(tmp_path / "a.yaml")]) == {"name": word}
    assert math.isinf(config.parse_yaml(config.text({"a": math.inf}), "")["a"])
