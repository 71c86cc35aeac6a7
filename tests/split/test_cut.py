"""Parts of networks: each alone in a file, and joined again bit for bit."""

import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jfl import tree
from jfl.errors import CheckpointError, UsageError
from jfl.models import files
from jfl.models.language import base as languages
from jfl.models.language import gpt2
from jfl.split import cut as cuts
from jfl.split import parts, source
from jfl.split.cut import PARTS, Cut
from tests.interop import networks

NETWORK = gpt2.Config(vocabulary=11, context=7, width=6, layers=3, heads=2)


def params(tied: bool = True) -> dict:
    config = NETWORK.model_copy(update={"tied": tied})
    drawn = jax.eval_shape(languages.build(config).init, jax.random.key(0))
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), drawn)


def assert_equal(ours: dict, theirs: dict) -> None:
    ours, theirs = tree.paths(ours), tree.paths(theirs)
    assert ours.keys() == theirs.keys()
    for path, leaf in ours.items():
        assert np.asarray(leaf).tobytes() == np.asarray(theirs[path]).tobytes(), path


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize(("first", "last"), [(1, 2), (0, 3), (1, 1), (0, 0), (3, 3)])
def test_parts_joined_are_the_network(first: int, last: int, tied: bool) -> None:
    whole = params(tied)
    assert_equal(cuts.join(cuts.split(whole, Cut(first, last, 3))), whole)


def test_cuts_are_half_open() -> None:
    cut = Cut(2, 10, 12)
    assert [list(range(12))[cut.of(part)] for part in PARTS] == [
        [0, 1], [2, 3, 4, 5, 6, 7, 8, 9], [10, 11],
    ]  # fmt: skip
    for first, last in ((10, 2), (-1, 2), (2, 13)):
        with pytest.raises(UsageError, match="two places in order, from 0 to 12"):
            Cut(first, last, 12)


def test_parts_of_different_networks_are_not_joined() -> None:
    found = cuts.split(params(), Cut(1, 2, 3))
    with pytest.raises(CheckpointError, match="the trunk is missing"):
        cuts.join({part: found[part] for part in ("bottom", "top")})
    other = jax.tree.map(lambda leaf: leaf[..., :4], found["trunk"])
    with pytest.raises(CheckpointError, match="trunk is of another network"):
        cuts.join(found | {"trunk": other})


def folder(place: Path, suffix: str = ".safetensors", *, told: bool = True) -> Path:
    config = gpt2.to_hf(NETWORK)
    found = cuts.split(params(), Cut(1, 2, 3))
    for part, (first, last) in zip(PARTS, ((0, 1), (1, 2), (2, 3)), strict=True):
        path = place / part / f"gpt2_1-2_{part}{suffix}"
        files.write_piece(path, config, part, first, last, found[part])
        if not told:
            path.with_name(f"{path.stem}_metadata.json").unlink()
    return place


@pytest.mark.parametrize("suffix", [".safetensors", ".npz", ".pt"])
def test_parts_in_files_are_the_same(tmp_path: Path, suffix: str) -> None:
    found = source.open(str(folder(tmp_path, suffix)), 1, 2, PARTS)
    assert_equal(cuts.join(found.parts), params())
    trunk = source.open(str(tmp_path / "trunk" / f"gpt2_1-2_trunk{suffix}"), 1, 2, ["trunk"])
    assert_equal(trunk.parts["trunk"], found.parts["trunk"])
    assert (trunk.network.heads, trunk.cut) == (2, Cut(1, 2, 3))


def test_a_file_that_says_too_little_or_something_else_is_refused(tmp_path: Path) -> None:
    place = folder(tmp_path, told=False)
    trunk = place / "trunk" / "gpt2_1-2_trunk.safetensors"
    with pytest.raises(CheckpointError, match="how many heads it has is not known"):
        files.open_piece(trunk)
    shutil.copy(trunk, place / "trunk.safetensors")
    with pytest.raises(CheckpointError, match="does not say which layers it holds"):
        files.open_piece(place / "trunk.safetensors")
    with pytest.raises(UsageError, match=r"no file \*_2-3_trunk"):
        source.open(str(place), 2, 3, ["trunk"])
    with pytest.raises(UsageError, match="is not there; give `tiny`"):
        source.open(str(tmp_path / "nowhere"), 2, 3, ["trunk"])


def test_a_part_with_more_or_less_than_it_has_is_refused(tmp_path: Path) -> None:
    from interop.formats import write
    from interop.formats.safetensors import read

    path = folder(tmp_path) / "top" / "gpt2_1-2_top.safetensors"
    arrays = {name: entry.read() for name, entry in read(path).named().items()}
    for change, said in (
        ({k: v for k, v in arrays.items() if k != "ln_f.bias"}, "lacks ln_f.bias"),
        (arrays | {"h.1.ln_1.bias": arrays["ln_f.bias"]}, "holds h.1.ln_1.bias"),
        (arrays | {"lm_head.weight": arrays["lm_head.weight"].T}, r"lm_head.weight as float32"),
        (arrays | {"ln_f.bias": np.full(6, np.nan, np.float32)}, "not finite"),
    ):
        path.unlink()
        write.write(path, {name: np.ascontiguousarray(array) for name, array in change.items()})
        with pytest.raises(CheckpointError, match=said):
            files.open_piece(path)


@pytest.mark.torch
def test_the_originals_files_are_read(tmp_path: Path) -> None:
    """As LHY-in-universe/SL writes them: torch.save of renumbered state dicts."""
    import torch

    torch.manual_seed(0)
    whole = networks.made("gpt2")
    state = {k.removeprefix("transformer."): v for k, v in whole.state_dict().items()}
    config = whole.config.to_dict()
    ends = {
        "bottom": (0, 1, ("wte", "wpe")),
        "trunk": (1, 2, ()),
        "top": (2, 3, ("ln_f", "lm_head")),
    }
    for part, (first, last, own) in ends.items():
        kept = {k: v for k, v in state.items() if k.startswith(own)} if own else {}
        for number in range(first, last):
            block = {k: v for k, v in state.items() if k.startswith(f"h.{number}.")}
            kept |= {k.replace(f"h.{number}.", f"h.{number - first}."): v for k, v in block.items()}
        place = tmp_path / part
        place.mkdir()
        torch.save(kept, place / f"gpt2_1-2_{part}.pt")
        about = {"component": part, "start_layer": first, "end_layer": last, "config": config}
        from jfl.files.strict_json import dumps

        (place / f"gpt2_1-2_{part}_metadata.json").write_text(dumps(about))
    found = source.open(str(tmp_path), 1, 2, PARTS)
    assert_equal(cuts.join(found.parts), tree.nested(networks.arrays(whole)))


@pytest.mark.parametrize(("first", "last"), [(1, 2), (0, 3), (3, 3), (2, 2)])
def test_parts_compute_what_the_network_does(first: int, last: int) -> None:
    weights, cut = jax.device_put(params()), Cut(first, last, 3)
    built, found = parts.build(NETWORK, cut, None), cuts.split(weights, cut)
    tokens = jnp.array([[3, 1, 4, 1, 5], [9, 2, 6, 5, 3]])

    @jax.jit
    def ours(tokens):
        h = built.bottom({}, found["bottom"], tokens, None)
        h = built.trunk({}, found["trunk"], h, None)
        return built.top({}, found["top"], h, tokens, jnp.ones((2, 5)), None)

    plain = languages.build(NETWORK)
    theirs = plain.loss(weights, tokens, tokens, jnp.ones((2, 5)))
    np.testing.assert_allclose(ours(tokens) / 10, theirs, rtol=1e-6)


def test_no_part_sees_what_comes_later() -> None:
    cut = Cut(1, 2, 3)
    built = parts.build(NETWORK, cut, None)
    found = cuts.split(jax.device_put(params()), cut)
    h = jax.random.normal(jax.random.key(0), (2, 5, 6))
    tokens = jnp.zeros((2, 5), jnp.int32)
    trunk = jax.jit(lambda h: built.trunk({}, found["trunk"], h, None))
    bottom = jax.jit(lambda tokens: built.bottom({}, found["bottom"], tokens, None))
    for run, given, changed in (
        (trunk, h, h.at[:, 4].add(1.0)),
        (bottom, tokens, tokens.at[:, 4].set(7)),
    ):
        before, after = run(given), run(changed)
        np.testing.assert_array_equal(before[:, :4], after[:, :4])
        assert not np.array_equal(before[:, 4], after[:, 4])


def test_targets_of_transformers_and_of_jfl() -> None:
    assert parts.targets(("c_attn", "c_fc", "c_proj")) == (
        "attention.qkv", "mlp.up", "attention.out", "mlp.down",
    )  # fmt: skip
    assert parts.targets(("attention.*",)) == ("attention.*",)
