"""Pre-training as a job: steps on rows of tokens, measured in bits per byte."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn
from zlib import crc32

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jfl import tree
from jfl.errors import DataError, UsageError
from jfl.lm import bits, operations
from jfl.lm.base.config import Config
from jfl.lm.data import position, source
from jfl.lm.tokenizer import saved, special, training
from jfl.lm.tokenizer.command import Read
from jfl.models.language import base
from jfl.optimize import language
from jfl.runs.job import Done, Job
from jfl.text.base import Tokenizer
from jfl.text.texts import Texts

TOKENIZER = "tokenizer"
_CAP = 10_000  # letters of a document that a tokenizer is trained on
_WARM = 3  # steps that do not count for speed


def prepare(config: Config, run: Any = None) -> "Training":
    """Finds texts and tokenizer; those of a run that goes on must be what they were.

    Raises:
        UsageError: there are none where the settings say.
        DataError: they are damaged, too few, or others than they were.
    """
    train, held = source.find(config.data)
    place = config.tokenizer.path if run is None else run.path / TOKENIZER
    if place is not None:
        tokenizer = saved.open(place)
    else:
        read = Read(config.tokenizer.max_chars, _CAP)
        tokenizer = training.train(read.of(train.documents()), config.tokenizer.vocab_size)
    if tokenizer.bos is None:
        raise UsageError(f"the tokenizer {tokenizer.name} has no token that begins a text (bos)")
    job = Training(config, tokenizer, train, held)
    if run is not None and run.environment.get("data") != job.environment()["data"]:
        raise DataError(
            f"the texts or the tokenizer of {run.path} are others than when it began; put them "
            "back, or start a new run"
        )
    return job


class Training(Job):
    """A network in training; see `Job`."""

    def __init__(self, config: Config, tokenizer: Tokenizer, train: Texts, held: Texts) -> None:
        assert config.steps is not None
        self.config, self.deterministic = config, config.train.deterministic
        self._tokenizer, self._texts = tokenizer, train
        self._network = config.network(tokenizer.vocabulary)
        self._operations = operations.per_token(self._network)
        self._model = base.build(self._network, config.computation)
        products = jnp.bfloat16 if config.train.precision == "bf16" else jnp.float32
        self._optimizer = language.optimizer(
            config.optimizer, self._network.width, config.steps, products
        )
        self._held = bits.fixed(held, tokenizer, config.context, config.evaluate.tokens)
        lengths = special.token_bytes(tokenizer)
        self._measure = bits.measurer(self._model, lengths, config.train.device_batch_size)
        self._loader = self._begin(None)
        self._params: Any = None
        self._state: Any = None
        self._loss: Any = None
        self._since, self._timed, self._spent = 0.0, 0, 0.0

    def _begin(self, place: Any) -> position.Loader:
        config = self.config
        return position.begin(
            config.data.loader, self._texts, self._tokenizer, config.rows, config.context,
            config.seed, place,
        )  # fmt: skip

    @property
    def title(self) -> str:
        """Depth, sizes and seed."""
        return f"{self.config.name}, depth {self.config.depth}, seed {self.config.seed}"

    @property
    def lines(self) -> Sequence[str]:
        """What trains on what."""
        config, count = self.config, operations.parameters(self._network)
        tokens = config.steps * config.train.total_batch_size
        return [
            f"depth {config.depth}: {count:,} parameters, {self._tokenizer.vocabulary:,} tokens; "
            f"{config.steps:,} steps of {config.train.total_batch_size:,} tokens, "
            f"{tokens / count:.1f} a parameter, in "
            f"{config.rows // config.train.device_batch_size} parts each",
        ]

    def _initial(self) -> tuple[Any, Any]:
        key = jax.random.fold_in(jax.random.key(self.config.seed), crc32(b"init"))
        params = self._model.init(key)
        return params, self._optimizer.init(params)

    def step(self, number: int, until: int) -> Done:
        """Takes one step."""
        del until
        if self._params is None:
            self._params, self._state = jax.jit(self._initial)()
        rows = next(self._loader)
        self._require_finite(number - 1)
        now = time.perf_counter()
        if self._since:
            self._timed, self._spent = self._timed + 1, self._spent + now - self._since
            self._spent = 0.0 if self._timed <= _WARM else self._spent
        self._since = now
        wide = rows.reshape(-1, self.config.train.device_batch_size, rows.shape[1])
        self._params, self._state, record = self._compiled(self._params, self._state, wide)
        self._loss = record["train_loss"]
        tokens = float(self.config.train.total_batch_size)
        flops = tokens * self._operations.whole
        return Done(number, record, {"tokens": tokens, "flops": flops})

    @property
    def _compiled(self) -> Any:
        if not hasattr(self, "_step"):
            self._step = jax.jit(self._stepped, donate_argnums=(0, 1))
        return self._step

    def _stepped(self, params: Any, state: Any, rows: Any) -> tuple[Any, Any, Any]:
        parts = rows.shape[0]

        def add(sums: Any, part: Any) -> tuple[Any, None]:
            tokens, targets = part[:, :-1], part[:, 1:]
            weights = jnp.ones(targets.shape)
            found = jax.value_and_grad(self._model.loss)(params, tokens, targets, weights)
            return jax.tree.map(lambda s, f: s + f / parts, sums, found), None

        zero = jnp.zeros(()), jax.tree.map(jnp.zeros_like, params)
        (loss, slopes), _ = lax.scan(add, zero, rows)
        moves, state = self._optimizer.update(slopes, state, params)
        squares = sum(jnp.square(leaf).sum() for leaf in jax.tree.leaves(slopes))
        record = {"train_loss": loss, "gradient_norm": jnp.sqrt(squares)}
        return jax.tree.map(jnp.add, params, moves), state, record

    def _require_finite(self, number: int) -> None:
        if self._loss is not None and not np.isfinite(float(self._loss)):
            _stop(number, float(self._loss))

    def evaluate(self) -> dict[str, Any]:
        """Measures texts that were held back."""
        found = self._measure(self._params, self._held)
        self._since = 0.0
        if not np.isfinite(found.nats):
            _stop(None, found.nats)
        return {"bpb": found.bits_per_byte, "valid_loss": found.loss}

    def of_training(self) -> bits.Measured:
        """Measures the first of the texts it trains on, as many tokens as of those held back."""
        config = self.config
        rows = bits.fixed(
            self._texts, self._tokenizer, config.context, len(self._held) * config.context
        )
        return self._measure(self._params, rows)

    def snapshot(self) -> dict[str, Any]:
        """Returns parameters, the optimizer's memory, and the place in the texts."""
        self._require_finite(0)
        self._since = 0.0
        state = self._kept(self._params, self._state)
        return jax.tree.map(np.array, jax.device_get(state)) | self._place()

    def _kept(self, params: Any, state: Any) -> dict[str, Any]:
        leaves = jax.tree.leaves(state)
        memory = {f"{n:03d}": leaf.reshape(-1) if not leaf.ndim else leaf
                  for n, leaf in enumerate(leaves)}  # fmt: skip
        return {"params": params, "optimizer": memory}

    def _place(self) -> dict[str, Any]:
        return {"position": position.position(self._loader)}

    def shapes(self) -> Mapping[str, Any]:
        """Returns the shapes of the state."""
        shape = position.shape(self.config.data.loader)
        kept = jax.eval_shape(lambda: self._kept(*self._initial()))
        return kept | {"position": np.empty(shape, np.int64)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on from a snapshot."""
        wanted = jax.eval_shape(self._initial)[1]
        leaves, form = jax.tree.flatten(wanted)
        memory = [jnp.asarray(state["optimizer"][f"{n:03d}"]) for n in range(len(leaves))]
        shaped = [got.reshape(leaf.shape) for got, leaf in zip(memory, leaves, strict=True)]
        self._params = jax.tree.map(jnp.asarray, dict(state["params"]))
        self._state = jax.tree.unflatten(form, shaped)
        self._loader = self._begin(np.asarray(state["position"]))
        self._loss, self._since = None, 0.0

    def score(self, record: Mapping[str, Any]) -> float | None:
        """Fewer bits are better."""
        return -record["bpb"] if "bpb" in record else None

    def write(self, folder: Path) -> Sequence[str]:
        """Writes the tokenizer."""
        self._tokenizer.save(folder / TOKENIZER)
        return [f"{TOKENIZER}/{path.name}" for path in sorted((folder / TOKENIZER).iterdir())]

    def environment(self) -> Mapping[str, Any]:
        """Returns what the texts and the tokenizer are."""
        data = {"texts": self._texts.digest, "tokenizer": self._tokenizer.digest}
        return {"data": data, "parameters": operations.parameters(self._network)}

    def about(self) -> Mapping[str, Any]:
        """Returns the depth and the seed."""
        return {
            "depth": self.config.depth,
            "seed": self.config.seed,
            "vocab_size": self._tokenizer.vocabulary,
            "parameters": operations.parameters(self._network),
            "flops_per_token": self._operations.whole,
        }

    def ended(self) -> Mapping[str, Any]:
        """Returns how fast it was; shares of the peak are known of some cards."""
        found: dict[str, Any] = {"params_sha256": tree.sha256(self._params)}
        if (counted := self._timed - _WARM) <= 0:
            return found
        speed = counted * self.config.train.total_batch_size / self._spent
        found["tokens_per_second"] = speed
        if peak := operations.peak():
            flops = self._operations
            found |= {"mfu": speed * flops.whole / peak, "mfu_causal": speed * flops.causal / peak}
            found["peak_flops"] = peak
        return found


def _stop(step: int | None, loss: float) -> NoReturn:
    where = f"step {step}" if step else "the last step"
    raise UsageError(
        f"the loss is {loss} after {where}; lower the rates of `optimizer` or clip harder "
        "(optimizer.grad_clip); what was saved before is kept"
    )
