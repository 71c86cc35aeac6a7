"""An audit as a run of one step: train as a client would, then attack what it would send."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jfl.runs.job import Done, Job
from jfl.split import cut as cuts
from jfl.split import kept, parts, source, steps
from jfl.split.audit.search import searcher
from jfl.split.audit.settings import Config
from jfl.split.client import texts
from jfl.split.cut import PARTS, Cut
from jfl.split.wire.tensors import decode, encode
from jfl.types import Params


class Audit(Job):
    """The audit."""

    def __init__(self, config: Config) -> None:
        """Reads network and texts.

        Raises:
            JflError: something is not there, damaged, or does not fit.
        """
        self.config = config
        opened = source.open(config.model.name, *config.model.cut, PARTS)
        self._source = opened
        for first in config.cuts:
            Cut(first, max(first, config.model.cut[1]), opened.cut.layers)
        network = opened.network
        self._texts = texts.load(
            config.data, opened.tokenizer, network.vocabulary, network.context, config.seed
        )
        self._rows: list[dict[str, Any]] = []
        self._guess = 0.0

    @property
    def total(self) -> int:
        """One: it is done in one go."""
        return 1

    def step(self, number: int, until: int) -> Done:
        """Trains, and attacks every cut."""
        del until
        config = self.config
        weights = kept.placed(cuts.join(self._source.parts), 0)
        adapter, losses = self._trained(weights)
        tokens = self._texts.train[: config.texts, :-1]
        for first in config.cuts:
            self._rows += self._attacked(first, weights, adapter, tokens)
        counts = np.bincount(tokens.ravel())
        self._guess = float(counts.max() / tokens.size)
        record: dict[str, Any] = {"recovered": max(row["recovered"] for row in self._rows)}
        record |= {"rows": self._rows, "guess": self._guess}
        record |= {"train_loss": losses[-1]} if losses else {}
        notes = [
            f"bottom of {row['cut']} layers, noise {row['noise']:g}, {row['wire']}: "
            f"{row['recovered']:.1%} of the tokens recovered"
            for row in self._rows
        ]
        notes.append(f"who guesses the commonest token each time has {self._guess:.1%}")
        return Done(number, record, notes=notes)

    def about(self) -> Mapping[str, Any]:
        """Returns what was attacked."""
        return {"model": self.config.model.name, "texts": self.config.texts}

    def ended(self) -> Mapping[str, Any]:
        """Returns the share of tokens that were recovered, by cut, noise and wire."""
        return {"rows": self._rows, "guess": self._guess}

    def _trained(self, weights: Params) -> tuple[Params, list[float]]:
        """Trains the whole network's adapter, as all three parts together would."""
        config, cut = self.config, self._source.cut
        built = parts.build(self._source.network, cut, config.lora.named)
        assert built.adapted is not None
        whole, model = built.adapted.whole, built.model
        own = built.adapter(jax.random.key(config.seed))
        adapter = {"layers": jax.tree.map(lambda *rows: jnp.concatenate(rows),
                                          *(own[part]["layers"] for part in PARTS))}  # fmt: skip
        base = weights | {"head": weights.get("head") or {
            "kernel": weights["embed"]["tokens"]["embedding"].T}}  # fmt: skip

        @jax.jit
        def gradient(adapter: Params, base: Params, rows: Any, key: Any) -> Any:
            def loss(adapter: Params) -> Any:
                ones = jnp.ones(rows[:, 1:].shape)
                return model.loss(whole(adapter, base), rows[:, :-1], rows[:, 1:], ones, key=key)

            return jax.value_and_grad(loss)(adapter)

        moments, losses, train = steps.start(config.optimizer, adapter), [], self._texts.train
        for number in range(config.steps):
            picked = (number * config.batch_size + np.arange(config.batch_size)) % len(train)
            key = jax.random.fold_in(jax.random.key(config.seed), number)
            loss, slope = gradient(adapter, base, jnp.asarray(train[picked]), key)
            rate = jnp.float32(config.learning_rate)
            adapter, moments = steps.step(
                config.optimizer, adapter, moments, slope, rate, jnp.float32(1)
            )
            losses.append(float(loss))
        return adapter, losses

    def _attacked(
        self, first: int, weights: Params, adapter: Params, tokens: np.ndarray
    ) -> list[dict[str, Any]]:
        config, layers = self.config, self._source.cut.layers
        cut = Cut(first, max(first, config.model.cut[1]), layers)
        private = parts.build(self._source.network, cut, config.lora.named)
        public = parts.build(self._source.network, cut, None)
        base = cuts.rows(weights, cut, "bottom") | {"embed": weights["embed"]}
        own = cuts.rows(adapter, cut, "bottom")
        sent = jax.jit(lambda own, base, rows: private.bottom(own, base, rows, None))
        clean = np.asarray(sent(own, base, jnp.asarray(tokens)))
        search = searcher(public.model, base, tokens.shape[1])
        found = []
        for noise in config.noises:
            rng = np.random.default_rng(config.seed)
            added = noise * clean.std() * rng.normal(size=clean.shape)
            noisy = clean + added.astype(np.float32)
            for wire in config.wires:
                seen = decode(encode(noisy, wire))
                guessed = np.stack([np.asarray(search(jnp.asarray(row))) for row in seen])
                share = float((guessed == tokens).mean())
                found.append({"cut": first, "noise": noise, "wire": wire, "recovered": share})
        return found
