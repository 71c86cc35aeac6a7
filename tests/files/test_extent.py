"""Settings that a few lines make endless are refused at once; what people write is not."""

from pathlib import Path

import pytest

from jfl import config
from jfl.errors import SafetyError, UsageError
from tests import confined

TEN, LEVELS = range(10), range(1, 12)


def grown(first: str, line: str, item: str) -> str:
    """Lines of which each holds ten times the one before it."""
    return first + "".join(
        line.format(i, i, ",".join([item.format(i - 1)] * 10)) + "\n" for i in LEVELS
    )


HOSTILE = {
    "aliases": grown("a0: &a0 [1]\n", "a{}: &a{} [{}]", "*a{}"),
    "merged": grown("a0: &a0 {x: 1}\n", "a{}: &a{} {{<<: [{}]}}", "*a{}"),
    "texts": f"a: &a {'x' * 100_000}\nb: [{','.join(['*a'] * 1000)}]\n",
    "words": grown("a0: word\n", "a{0}: '{2}'", "${{a{}}}"),
    "lists": grown("a0: [1]\n", "a{0}: [{2}]", "'${{a{}}}'"),
    "relative": grown("a0: [1]\n", "a{0}: [{2}]", "'${{..a{}}}'"),
    "defaults": grown("a0: [1]\n", "a{0}: [{2}]", "'${{oc.select:a{},1}}'"),
    "default of none": grown("a0: [1]\n", "a{0}: [{2}]", "'${{oc.select:no,${{a{}}}}}'"),
    "closed before": grown("a0: [1]\n", "a{0}: ['}} ', {2}]", "'${{a{}}}'"),
    "through others": grown("a0: [1]\n", "a{0}: [{2}]", "'${{r.a{}}}'")
    + "r: {" + ", ".join(f"a{i}: '${{a{i}}}'" for i in range(12)) + "}\n",
    "named by names": "n: {" + ", ".join(f"k{i}: a{i}" for i in range(12)) + "}\n"
    + grown("a0: [1]\n", "a{0}: [{2}]", "'${{${{n.k{}}}}}'"),
    "named by defaults": grown("a0: [1]\n", "a{0}: [{2}]", "'${{${{oc.select:no,a{}}}}}'"),
    "long": "a: [" + "1," * 3_000_000 + "1]",
    "keys": "".join(f"k{i}: 1\n" for i in range(300_000)),
    "digits": "seed: 0x" + "f" * 10_000_000,
    "dots": "a: ${" + "." * 900 + "\n" + "".join(f"b{i}: ${{{'.' * 990}\n" for i in TEN),
    "open": "a: '" + "${a." * 1_000_000 + "'",
    "self": "a: ${a}\n",
    "circle": "a: [1, '${b}']\nb: ['${a}']\n",
    "deep": "a: " + "[" * 100_000,
    "chain": "a0: 1\n" + "".join(f"a{i}: ${{a{i - 1}}}\n" for i in range(1, 3000)),
}  # fmt: skip


def resolved(path: str) -> None:
    config.resolve(config.read([path]))


def test_what_has_no_end_is_refused_at_once(tmp_path: Path) -> None:
    paths = [tmp_path / f"{name}.yaml" for name in HOSTILE]
    for path, text in zip(paths, HOSTILE.values(), strict=True):
        path.write_text(text)
    for name in ("included", "again", "last"):
        inner = {"included": "again", "again": "last"}.get(name)
        text = f"include: [{','.join([f'{inner}.yaml'] * 300)}]\n" if inner else "a: 1\n"
        (tmp_path / f"{name}.yaml").write_text(text)
    paths.append(tmp_path / "included.yaml")

    found = confined.run(
        "tests.files.test_extent:resolved", [[str(path)] for path in paths], seconds=5
    )

    for path, (code, words) in zip(paths, found, strict=True):
        plain = path.stem in ("dots", "self", "circle", "deep")
        assert code == (2 if plain else 5), (path.stem, code, words)
        assert words.count("\n") == 0


def test_a_saved_config_is_refused_too(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(HOSTILE["aliases"])
    with pytest.raises(SafetyError, match="more than 10,000 settings"):
        config.saved(tmp_path / "config.yaml")


def test_what_people_write_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(
        "grid: &grid [" + ", ".join(map(str, range(1000))) + "]\nagain: [*grid, *grid]\n"
        "base: &base {a: 1, b: 2}\nmore: {<<: *base, b: 3}\n"
        "note: " + "word " * 5000 + "\nwhich: more\nhere: ${${which}.b}\nthere: ${.here}\n"
    )
    found = config.resolve(config.read([str(path)]))
    assert found["again"] == [list(range(1000))] * 2
    assert found["more"] == {"a": 1, "b": 3}
    assert found["here"] == found["there"] == 3


def test_a_name_is_not_made_of_names_that_are_looked_up() -> None:
    with pytest.raises(UsageError, match="write it out there"):
        config.resolve({"a": "b", "b": 1, "c": "${a}", "d": "${${c}}"})
