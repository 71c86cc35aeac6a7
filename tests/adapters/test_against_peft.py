"""LoRA on networks of language is peft's on transformers': logits, gradients, merged weights."""

import copy
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

torch = pytest.importorskip("torch")
peft = pytest.importorskip("peft")

from jfl import tree  # noqa: E402
from jfl.adapters import base, lora  # noqa: E402
from tests.models.language import oracles  # noqa: E402
from tests.reference import hf_weights  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:.*gradient_checkpointing:FutureWarning")

LAYERS = {
    "gpt2": {
        "attention.qkv": "attn.c_attn",
        "attention.out": "attn.c_proj",
        "mlp.up": "mlp.c_fc",
        "mlp.down": "mlp.c_proj",
    },
    "llama": {
        "attention.q": "self_attn.q_proj",
        "attention.k": "self_attn.k_proj",
        "attention.v": "self_attn.v_proj",
        "attention.out": "self_attn.o_proj",
        "mlp.gate": "mlp.gate_proj",
        "mlp.up": "mlp.up_proj",
        "mlp.down": "mlp.down_proj",
    },
}
"""Where our layers stand in those of transformers."""
CASES = {
    "gpt2": ("gpt2", {"rank": 4, "alpha": 8.0, "targets": ("attention.qkv",)}),
    "gpt2 everywhere": (
        "gpt2",
        {"rank": 3, "rslora": True, "alpha": 5.0, "targets": ("layers.*", "embed.tokens")},
    ),
    "llama3": ("llama3", {"rank": 2, "alpha": 2.0, "targets": ("attention.q", "attention.v")}),
    "qwen3": (
        "qwen3",
        {
            "rank": 2,
            "alpha": 4.0,
            "targets": ("layers.*",),
            "ranks": {"mlp.down": 5},
            "alphas": {"attention.v": 9.0},
        },
    ),
}


class Both:
    """A network with random matrices beside its layers, of peft and here."""

    def __init__(self, case: str) -> None:
        name, settings = CASES[case]
        self.family = "gpt2" if name == "gpt2" else "llama"
        names = LAYERS[self.family]
        original = oracles.theirs(name)
        self.config = lora.Config(**settings)
        self.plain = oracles.ours(name)
        self.adapted = base.build(self.config, self.plain.config)
        self.weights = jax.tree.map(jnp.asarray, hf_weights.params(original))
        targets = []
        for path in self.adapted.paths:
            short = path.removeprefix("layers.")
            targets.append("wte" if path == "embed.tokens" else names[short])
        self.theirs = peft.get_peft_model(
            copy.deepcopy(original),
            peft.LoraConfig(
                r=self.config.rank,
                lora_alpha=self.config.alpha,
                use_rslora=self.config.rslora,
                target_modules=targets,
                rank_pattern={names[n]: r for n, r in self.config.ranks.items()},
                alpha_pattern={names[n]: a for n, a in self.config.alphas.items()},
                fan_in_fan_out=self.family == "gpt2",
            ),
        ).eval()
        torch.manual_seed(1)
        self.matrices = {n: p for n, p in self.theirs.named_parameters() if "lora_" in n}
        with torch.no_grad():
            for parameter in self.matrices.values():
                parameter.copy_(0.3 * torch.randn_like(parameter))
        self.adapter = self.ours({n: p.detach() for n, p in self.matrices.items()})

    def ours(self, matrices: dict[str, Any]) -> dict[str, Any]:
        """Their matrices, or gradients of these, in the places of ours."""
        found: dict[str, Any] = {}
        for path in self.adapted.paths:
            if path == "embed.tokens":
                ends = "wte.lora_embedding_A.default", "wte.lora_embedding_B.default"
            else:
                short = LAYERS[self.family][path.removeprefix("layers.")]
                ends = f"{short}.lora_A.default.weight", f"{short}.lora_B.default.weight"
            pair = {}
            for letter, end in zip("ab", ends, strict=True):
                rows = [value.numpy().T for name, value in matrices.items() if name.endswith(end)]
                pair[letter] = rows[0] if path == "embed.tokens" else np.stack(rows)
            node: dict[str, Any] = {"lora": pair}
            for part in reversed(path.split(".")):
                node = {part: node}
            found = tree.merge(found, node)
        return found


SLOW = {"gpt2 everywhere", "llama3"}


@pytest.mark.parametrize(
    "case", [pytest.param(c, marks=pytest.mark.slow) if c in SLOW else c for c in CASES]
)
def test_logits_gradients_and_merged_weights(case: str) -> None:
    both = Both(case)
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, oracles.VOCABULARY, (2, 7))
    labels = torch.tensor(tokens)
    said = both.theirs(input_ids=labels, labels=labels)
    said.loss.backward()

    def loss(adapter: Any, weights: Any) -> Any:
        whole = both.adapted.whole(adapter, weights)
        given = jnp.asarray(tokens)
        targets = jnp.roll(given, -1, axis=1)
        counts = jnp.ones(given.shape).at[:, -1].set(0.0)
        return both.adapted.model.loss(whole, given, targets, counts)

    adapter = jax.tree.map(jnp.asarray, both.adapter)
    start = both.adapted.init(jax.random.key(0), both.weights)
    assert jax.tree.map(np.shape, start) == jax.tree.map(np.shape, adapter)
    value, gradient = jax.jit(jax.value_and_grad(loss))(adapter, both.weights)
    np.testing.assert_allclose(value, said.loss.item(), rtol=1e-5)
    whole = both.adapted.whole(adapter, both.weights)
    h, _ = both.adapted.model.hidden(whole, jnp.asarray(tokens))
    logits = both.adapted.model.logits(whole, h)
    np.testing.assert_allclose(logits, said.logits.detach(), rtol=1e-4, atol=2e-5)
    expected = tree.paths(both.ours({n: p.grad for n, p in both.matrices.items()}))
    for path, leaf in tree.paths(gradient).items():
        error = np.linalg.norm(leaf - expected[path]) / np.linalg.norm(expected[path])
        assert error < 1e-4, f"{path} is off by {error:.1e}"

    merged = tree.paths(both.adapted.merged(adapter, both.weights))
    if "embed.tokens" in both.adapted.paths:
        return  # transformers would share the merged table with the head
    for path, leaf in tree.paths(hf_weights.params(both.theirs.merge_and_unload())).items():
        np.testing.assert_allclose(merged[path], leaf, rtol=1e-5, atol=1e-5, err_msg=path)
