"""Checkpoints of nanochat and its forks: read as data, made runs, and given back to others."""

import json
import pickle  # noqa: TID251 - what others wrote is made here

import jax
import jax.numpy as jnp
import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("rustbpe")

import torch

from interop.nanochat import read
from jfl.errors import CheckpointError, DataError, SafetyError, UsageError
from jfl.lm import named, opened
from jfl.lm.named import Named
from jfl.lm.tokenizer import special, training
from jfl.models import files
from jfl.text.patterns import PATTERNS
from tests.lm.base_runs import called
from tests.models.language.oracles import compiled, error
from tests.reference.torch_nanochat import NanoChat

DEPTH, VOCABULARY = 2, 290
MODULES = {
    "q": "attn.c_q", "k": "attn.c_k", "v": "attn.c_v", "out": "attn.c_proj", "up": "mlp.c_fc",
    "down": "mlp.c_proj",
}  # fmt: skip
SIZES = {
    "sequence_len": 32, "vocab_size": VOCABULARY, "n_layer": DEPTH, "n_head": 1, "n_kv_head": 1,
    "n_embd": 64 * DEPTH,
}  # fmt: skip
TEXTS = ["the cat sat on the red mat, and then it saw one bird " * 3, "It's 1234567 o'clock"] * 4


def network():
    """A network in PyTorch with large weights."""
    torch.manual_seed(0)
    made = NanoChat(DEPTH, VOCABULARY)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.normal_(std=0.1)
    return made


def state(made, before=""):
    """Its weights by upstream's names."""
    found = {"transformer.wte.weight": made.embedding, "lm_head.weight": made.head}
    for number, layer in enumerate(made.layers):
        for ours, theirs in MODULES.items():
            found[f"transformer.h.{number}.{theirs}.weight"] = getattr(layer, ours)
    return {before + name: leaf.detach().clone() for name, leaf in found.items()}


def tokenizer(folder):
    """tokenizer.pkl and token_bytes.pt, as upstream writes them; returns the tokenizer."""
    import tiktoken

    made = training.train(iter(TEXTS), VOCABULARY)
    folder.mkdir(parents=True)
    about = {
        "pat_str": PATTERNS["nanochat"], "mergeable_ranks": special.ranks(made),
        "special_tokens": made.special,
    }  # fmt: skip
    (folder / "tokenizer.pkl").write_bytes(pickle.dumps(tiktoken.Encoding("rustbpe", **about)))
    lengths = special.token_bytes(made)
    lengths[200] = 3  # as upstream counts a token that is no whole character
    torch.save(torch.from_numpy(lengths), folder / "token_bytes.pt")
    return made


@pytest.fixture(scope="module")
def upstream(tmp_path_factory):
    """A folder as nanochat leaves it, and the network in it."""
    base, made = tmp_path_factory.mktemp("nanochat"), network()
    known = tokenizer(base / "tokenizer")
    folder = base / "base_checkpoints" / "d2"
    folder.mkdir(parents=True)
    about = {"step": 650, "val_bpb": 1.5, "model_config": SIZES,
             "user_config": {"device_batch_size": 2, "total_batch_size": 128}}  # fmt: skip
    torch.save(state(made), folder / "model_000600.pt")
    torch.save(state(made, "_orig_mod."), folder / "model_000650.pt")
    (folder / "meta_000650.json").write_text(json.dumps(about))
    return folder, made, known


def logits(found, text):
    network = opened.network(found)
    model = network.model

    def of(params, tokens):
        return model.logits(params, model.hidden(params, tokens)[0])

    return np.asarray(compiled(of)(network.params, jnp.asarray([text])))[0]


def same(found, made, known):
    text = known.encode("the cat saw the bird")
    with torch.no_grad():
        wanted = made.logits(torch.tensor(text)).numpy()
    assert error(logits(found, text), wanted) < 1e-5


def test_upstreams_file_becomes_a_run_with_the_same_logits(upstream, tmp_path, capsys):
    folder, made, known = upstream
    run = tmp_path / "run"
    code, answer = called(capsys, "convert", folder / "model_000650.pt", run, "--json")
    assert (code, answer["step"], answer["verified"]) == (0, 650, True)
    assert any("counts 1 tokens by other bytes" in note for note in answer["notes"])
    found = opened.opened(named.named(str(run), None, None, None, "outputs"))
    assert (found.step, found.config.train.total_batch_size) == (650, 128)
    assert found.tokenizer == known
    same(found, made, known)
    again = tmp_path / "model_000650.pt"
    code, answer = called(capsys, "convert", run, again, "--json")
    assert (code, answer["kind"]) == (0, "nanochat file")
    back = torch.load(again, weights_only=True)
    for name, leaf in state(made).items():
        assert torch.equal(back[name], leaf)
    assert read.opened(again).network == found.network


def test_transformers_reads_what_is_exported(upstream, tmp_path, capsys):
    transformers = pytest.importorskip("transformers")
    folder, made, known = upstream
    run, exported = tmp_path / "run", tmp_path / "hf"
    assert called(capsys, "convert", folder, run, "--json")[0] == 0
    assert called(capsys, "convert", run, exported, "--json")[0] == 0
    theirs = transformers.AutoModelForCausalLM.from_pretrained(exported).eval()
    text = known.encode("the cat saw the bird")
    with torch.no_grad():
        answers = theirs(torch.tensor([text])).logits[0].numpy()
        wanted = made.logits(torch.tensor(text)).numpy()
    assert error(answers, wanted) < 1e-5
    back = files.open_language(exported)
    assert back.network.model_dump() == opened.opened(Named(run, "last")).network.model_dump()
    params = opened.opened(Named(run, "last")).params
    jax.tree.map(np.testing.assert_array_equal, back.params, params)


def test_a_forks_file_holds_all_in_one(upstream, tmp_path):
    _, made, known = upstream
    wide = state(made, "module.")
    for name in ("transformer.wte.weight", "lm_head.weight"):  # filled up to a multiple of 64
        rows = torch.zeros(30, 64 * DEPTH)
        wide[f"module.{name}"] = torch.cat([wide[f"module.{name}"], rows])
    whole = {
        "model": wide, "step": 7, "config": {"depth": DEPTH, "vocab_size": VOCABULARY},
        "optimizer": {"state": {0: {"exp_avg": torch.zeros(3)}}},
    }  # fmt: skip
    torch.save(whole, tmp_path / "latest.pt")
    assert read.takes(tmp_path)
    with pytest.raises(UsageError, match=r"no tokenizer lies beside .*; give --tokenizer FOLDER$"):
        opened.opened(Named(tmp_path, "last"))
    known.save(tmp_path / "tokenizer")
    found = opened.opened(Named(tmp_path, "last"))
    assert (found.step, found.network.vocabulary, found.network.context) == (7, VOCABULARY, 2048)
    assert len([note for note in found.notes if "30 rows only fill it up" in note]) == 2
    same(found, made, known)
    training.train(iter(TEXTS), 280).save(tmp_path / "another")
    with pytest.raises(DataError, match=r"has 280 tokens, but .* was trained with 290; give its"):
        opened.opened(Named(tmp_path, "last"), str(tmp_path / "another"))


def spoilt(made, change):
    found = state(made)
    change(found)
    return found


@pytest.mark.parametrize(
    ("change", "kind", "said"),
    [
        (lambda s: s.pop("lm_head.weight"), CheckpointError, r"lacks lm_head\.weight"),
        (lambda s: s.update(resid_lambdas=torch.ones(2)), CheckpointError, "since 2026; jfl has"),
        (lambda s: s.update({"transformer.h.0.x": torch.ones(2)}), CheckpointError, "no nanochat"),
        (lambda s: s.update({"lm_head.weight": torch.ones(290, 3)}), CheckpointError,
         "contradicts itself"),
        (lambda s: s["lm_head.weight"].fill_(torch.nan), CheckpointError, "not finite"),
        (lambda s: s.update({"transformer.wte.weight": torch.ones(290, 128).int()}),
         CheckpointError, r"as int32; jfl reads"),
        (lambda s: s.update(other=print), SafetyError, r"builtins\.print"),
    ],
)  # fmt: skip
def test_what_is_no_such_network_is_one_sentence(tmp_path, change, kind, said):
    path = tmp_path / "model_000001.pt"
    torch.save(spoilt(network(), change), path)
    with pytest.raises(kind, match=said) as caught:
        read.opened(path).params()
    assert "\n" not in str(caught.value)


def test_what_the_json_says_must_be_so(upstream, tmp_path):
    folder, made, _ = upstream
    torch.save(state(made), tmp_path / "model_000001.pt")
    about = {"model_config": SIZES | {"n_layer": 3}}
    (tmp_path / "meta_000001.json").write_text(json.dumps(about))
    with pytest.raises(CheckpointError, match=r"it says depth=3, but its arrays are of depth=2$"):
        read.opened(tmp_path)
    about = {"model_config": SIZES | {"window_pattern": "SSSL"}}
    (tmp_path / "meta_000001.json").write_text(json.dumps(about))
    with pytest.raises(CheckpointError, match=r"window_pattern SSSL, which nanochat has since"):
        read.opened(tmp_path)
    (tmp_path / "meta_000001.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"meta_000001\.json cannot be read"):
        read.opened(tmp_path)
    assert read.chosen(folder, "600").name == "model_000600.pt"
    with pytest.raises(UsageError, match=r"no model of step 5; there are: 600, 650$"):
        read.chosen(folder, "5")
