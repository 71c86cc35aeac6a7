"""Pre-training as a job: steps on rows of tokens, measured in bits per byte."""

import math
import time
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any
from zlib import crc32

import jax
import jax.numpy as jnp
import numpy as np

from jfl import tree
from jfl.errors import DataError, UsageError
from jfl.lm import bits, operations, roofline
from jfl.lm.base import watch
from jfl.lm.base.config import Config
from jfl.lm.base.placement import Config as MeshConfig
from jfl.lm.base.placement import Placement, count
from jfl.lm.base.samples import Sampler
from jfl.lm.base.state import State
from jfl.lm.data import position, source
from jfl.lm.opened import TOKENIZER, require_own
from jfl.lm.tokenizer import saved, special, training
from jfl.lm.tokenizer.command import Read
from jfl.models.language import base
from jfl.optimize import language
from jfl.runs import backend
from jfl.runs.job import Done, Job
from jfl.text.base import Tokenizer
from jfl.text.texts import Texts

_CAP = 10_000  # letters of a document that a tokenizer is trained on
_WARM = 3  # steps that do not count for speed


def prepare(config: Config, run: Any = None, *, replan: bool = False) -> "Training":
    """Finds texts and tokenizer; those of a run that goes on must be what they were.

    Args:
        config: the settings.
        run: the folder of a run that there is.
        replan: it goes on on the devices that are here, not on those it had.

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
    devices = None if run is None or replan else backend.read(run.path).devices
    if devices is not None and devices > len(jax.devices()):  # it is only looked at
        devices, config = 1, config.model_copy(update={"mesh": MeshConfig()})
    job = Training(config, tokenizer, train, held, devices=devices)
    if run is not None:
        require_own(tokenizer, run)
        known = run.environment.get("data")
        if isinstance(known, dict) and known.get("texts") not in (None, train.digest):
            raise DataError(
                f"the texts of {run.path} are others than when it began; put them back, or start "
                "a new run"
            )
    assert job.held.size
    return job


class Training(Job):
    """A network in training; see `Job`."""

    saves_first = True

    def __init__(
        self, config: Config, tokenizer: Tokenizer, train: Texts | None = None,
        held: Texts | None = None, *, devices: int | None = None,
    ) -> None:  # fmt: skip
        """Puts a training together; without texts it can neither step nor be measured.

        Raises:
            UsageError: its rows cannot be shared by the devices.
        """
        assert config.steps is not None
        self.config, self.deterministic = config, config.train.deterministic
        self.devices = devices or count(config.mesh)
        self._at_once = self.devices * config.train.device_batch_size
        if config.rows % self._at_once:
            raise UsageError(
                f"train.total_batch_size={config.train.total_batch_size} must be a multiple of "
                f"{self._at_once * config.context}, train.device_batch_size="
                f"{config.train.device_batch_size} rows of context={config.context} on "
                f"{self.devices} devices"
            )
        self._place = Placement(self.devices, config.mesh.fsdp)
        self._tokenizer, self._texts, self._held = tokenizer, train, held
        self._network = config.network(tokenizer.vocabulary)
        self._operations = operations.per_token(self._network)
        model = base.build(self._network, config.computation)
        half = config.train.precision == "bf16"
        optimizer = language.optimizer(
            config.optimizer, self._network.width, config.steps,
            jnp.bfloat16 if half else jnp.float32, self._place.spread,
        )  # fmt: skip
        key = jax.random.fold_in(jax.random.key(config.seed), crc32(b"init"))
        self._model, self._state = model, State(model, optimizer, self._place, key)
        self._position: Any = None
        self._number = self._saved = 0
        self._last: Any = None
        self._watch, self._remarks = watch.Watch(), ()
        self._since, self._timed, self._spent = 0.0, 0, 0.0

    @cached_property
    def _machine(self) -> roofline.Machine:
        return roofline.machine()

    @cached_property
    def _loader(self) -> position.Loader:
        config = self.config
        assert self._texts is not None
        return position.begin(
            config.data.loader, self._texts, self._tokenizer, config.rows, config.context,
            config.seed, self._position,
        )  # fmt: skip

    @cached_property
    def held(self) -> np.ndarray:
        """Rows that are held back, always the same.

        Raises:
            DataError: there are too few tokens for one.
        """
        assert self._held is not None
        config = self.config
        return bits.fixed(self._held, self._tokenizer, config.context, config.evaluate.tokens)

    @cached_property
    def _measure(self) -> Any:
        lengths = special.token_bytes(self._tokenizer)
        return bits.measurer(self._model, lengths, self._at_once, self._place)

    @cached_property
    def _sampler(self) -> Sampler:
        return Sampler(self.config.sample, self._model, self._tokenizer)

    @property
    def evaluates(self) -> int:
        """It is measured or goes on with prompts after some multiples of this."""
        config = self.config
        return math.gcd(config.evaluate.every, config.sample.every)

    def measures(self, number: int) -> bool:
        """Tells whether it is measured, or goes on with prompts, after a step."""
        return self._due(number, self.config.evaluate.every) or self._samples(number)

    def _due(self, number: int, every: int) -> bool:
        return number % every == 0 or number == self.config.steps

    def _samples(self, number: int) -> bool:
        config = self.config.sample
        return bool(config.tokens and config.prompts) and self._due(number, config.every)

    @property
    def title(self) -> str:
        """Depth, sizes and seed."""
        return f"{self.config.name}, depth {self.config.depth}, seed {self.config.seed}"

    @property
    def lines(self) -> Sequence[str]:
        """What trains on what, and what a step costs at the least."""
        config, size = self.config, operations.parameters(self._network)
        train, parts = config.train, config.rows // self._at_once
        tokens = config.steps * train.total_batch_size
        cost = roofline.of_step(
            self._network, train.total_batch_size, parts, self.devices,
            half=train.precision == "bf16",
        )  # fmt: skip
        on = f", on {self.devices} devices" if self.devices > 1 else ""
        return [
            f"depth {config.depth}: {size:,} parameters, {self._tokenizer.vocabulary:,} tokens; "
            f"{config.steps:,} steps of {train.total_batch_size:,} tokens, "
            f"{tokens / size:.1f} a parameter, in {parts} parts each{on}",
            roofline.told(cost, self._machine, self.devices),
        ]

    def step(self, number: int, until: int) -> Done:
        """Takes one step."""
        del until
        self._state.begin()
        rows = next(self._loader)
        noted = self._look()
        now = time.perf_counter()
        if self._since:
            self._timed, self._spent = self._timed + 1, self._spent + now - self._since
            self._spent = 0.0 if self._timed <= _WARM else self._spent
        self._since = now
        record = self._state.step(rows.reshape(-1, self._at_once, rows.shape[1]))
        self._number, self._last = number, record
        tokens = float(self.config.train.total_batch_size)
        flops = tokens * self._operations.whole
        return Done(number, record, {"tokens": tokens, "flops": flops}, noted)

    def _look(self) -> Sequence[str]:
        """Looks at the last step: stops where it is no number, and says where it jumped."""
        if self._last is None:
            return ()
        loss, slope = (float(self._last[name]) for name in ("train_loss", "gradient_norm"))
        self._last = None
        if not math.isfinite(loss + slope):
            watch.stop(self._number, loss, self._saved)
        noted = self._watch.look(self._number, loss)
        return (noted,) if noted else ()

    def evaluate(self) -> dict[str, Any]:
        """Measures texts that were held back, and goes on with prompts, as far as it is due."""
        found: dict[str, Any] = {}
        self._since, self._remarks = 0.0, ()
        sampling = self._samples(self._number)
        if not sampling or self._due(self._number, self.config.evaluate.every):
            measured = self._measure(self._state.params, self.held)
            if not math.isfinite(measured.nats):
                watch.stop(self._number, measured.nats, self._saved)
            found = {"bpb": measured.bits_per_byte, "valid_loss": measured.loss}
        if sampling:
            found["samples"] = self._sampler.of(self._state.params)
            self._remarks = tuple(self._sampler.shown(found["samples"]))
        return found

    def remarks(self) -> Sequence[str]:
        """How it went on with the prompts."""
        return self._remarks

    def of_training(self) -> bits.Measured:
        """Measures the first of the texts it trains on, as many tokens as of those held back."""
        assert self._texts is not None
        context = self.config.context
        rows = bits.fixed(self._texts, self._tokenizer, context, len(self.held) * context)
        return self._measure(self._state.params, rows)

    def snapshot(self) -> dict[str, Any]:
        """Returns parameters, the optimizer's memory, and the place in the texts."""
        self._look()
        self._since = 0.0
        kept = jax.tree.map(np.array, jax.device_get(self._state.kept()))
        self._saved = self._number
        place = {"position": position.position(self._loader)}
        return kept | place | {"step": np.array([self._number])}

    def shapes(self) -> Mapping[str, Any]:
        """Returns the shapes of the state."""
        shape = position.shape(self.config.data.loader)
        place = {"position": np.empty(shape, np.int64), "step": np.empty(1, np.int64)}
        return self._state.shapes() | place

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on from a snapshot."""
        self._state.restore(state)
        self._position = np.asarray(state["position"])
        vars(self).pop("_loader", None)
        self._number = self._saved = int(state["step"][0])
        self._last, self._since = None, 0.0

    def beginning(self, params: Any) -> dict[str, Any]:
        """Returns the state of weights that others trained, as if all its steps were done."""
        self._state.take(params)
        kept = jax.tree.map(np.array, jax.device_get(self._state.kept()))
        place = np.full(position.shape(self.config.data.loader), -1, np.int64)
        place[0] = 0
        return kept | {"position": place, "step": np.array([self.config.steps])}

    def score(self, record: Mapping[str, Any]) -> float | None:
        """Fewer bits are better."""
        return -record["bpb"] if "bpb" in record else None

    def write(self, folder: Path) -> Sequence[str]:
        """Writes the tokenizer."""
        self._tokenizer.save(folder / TOKENIZER)
        return [f"{TOKENIZER}/{path.name}" for path in sorted((folder / TOKENIZER).iterdir())]

    def environment(self) -> Mapping[str, Any]:
        """Returns what the texts and the tokenizer are."""
        data = {"tokenizer": self._tokenizer.digest}
        data |= {} if self._texts is None else {"texts": self._texts.digest}
        return {"data": data, "parameters": operations.parameters(self._network)}

    def about(self) -> Mapping[str, Any]:
        """Returns the depth and the seed."""
        return {
            "depth": self.config.depth,
            "seed": self.config.seed,
            "vocab_size": self._tokenizer.vocabulary,
            "parameters": operations.parameters(self._network),
            "flops_per_token": self._operations.whole,
            "devices": self.devices,
        }

    def ended(self) -> Mapping[str, Any]:
        """Returns how fast it was, and which share of the peak that is, by both ways to count."""
        found: dict[str, Any] = {"params_sha256": tree.sha256(self._state.params)}
        if (counted := self._timed - _WARM) <= 0:
            return found
        speed = counted * self.config.train.total_batch_size / self._spent
        flops, peak = self._operations, self._machine.flops * self.devices
        return found | {
            "tokens_per_second": speed, "mfu": speed * flops.whole / peak,
            "mfu_causal": speed * flops.causal / peak, "peak_flops": peak,
        }  # fmt: skip
