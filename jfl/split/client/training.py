"""A client as a run: it trains both ends on its own texts, with a server for what is between."""

import math
import secrets
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jfl import tree
from jfl.adapters import lora
from jfl.config import check
from jfl.files import documents
from jfl.files.documents import Document, write_text
from jfl.files.strict_json import dumps
from jfl.runs.job import Done, Job
from jfl.runs.journal import Journal
from jfl.split import parts, source, steps
from jfl.split.client import folders, rates, texts
from jfl.split.client.ends import Ends
from jfl.split.client.exchange import Exchange, Move
from jfl.split.client.remote import Remote
from jfl.split.client.settings import Config
from jfl.split.wire import arrays, messages, version
from jfl.split.wire.tensors import DTYPES
from jfl.types import Params

WHO = "client.json"
_ENDS = ("bottom", "top")
_BATCH = 8  # of an evaluation


class Who(Document):
    """What client.json holds: the name by which a server knows this client again."""

    client: str


class Training(Job):
    """The training."""

    def __init__(self, config: Config, run: Any = None) -> None:
        """Reads network, adapter and texts; calls nobody yet.

        Raises:
            JflError: something is not there, damaged, or does not fit.
        """
        self.config = config
        self._folder = Path() if run is None else run.path
        self._client = secrets.token_hex(16)
        if run is not None:
            self._client = documents.read(self._folder / WHO, Who, "start another run")["client"]
        opened = source.open(config.model.name, *config.model.cut, _ENDS)
        self._source = opened
        named = config.lora.named
        self._lora: lora.Config = named
        self._given: dict[str, Params] = {}
        if config.adapter is not None:
            wanted = [*_ENDS, "trunk"] if config.trunk == "own" else _ENDS
            found, self._given = folders.read(Path(config.adapter).expanduser(), opened, wanted)
            self._lora = found.model_copy(update={"dropout": named.dropout})
        self._ends = Ends(opened, self._lora, config.dtype)
        start = self._ends.built.adapter(jax.random.key(config.seed))
        self._adapter: dict[str, Params] = {
            part: jax.device_put(self._given.get(part, start[part])) for part in _ENDS
        }
        self._moments = steps.start(config.optimizer, self._adapter)
        network = opened.network
        self._texts = texts.load(
            config.data, opened.tokenizer, network.vocabulary, network.context, config.seed
        )
        self._remote = Remote(config.server, self._hello)
        self._exchange = Exchange(self._ends, self._remote, config.wire, config.trunk)
        self._done, self._saved, self._best, self._bad = 0, [0], math.inf, 0
        self._losses: dict[int, float] = {}
        self._spent: Counter[str] = Counter()
        self._greeted = False

    @property
    def total(self) -> int:
        """Steps of all epochs."""
        return self.config.epochs * self._in_epoch

    @property
    def _in_epoch(self) -> int:
        return math.ceil(self._batches / self.config.accumulate)

    @property
    def _batches(self) -> int:
        return math.ceil(len(self._texts.train) / self.config.batch_size)

    @property
    def lines(self) -> Sequence[str]:
        """What trains, and with what."""
        cut, own = self._source.cut, folders.trainable(self._adapter)
        versions = ", ".join(
            f"{name} {metadata.version(name)}" for name in ("jax", "flax", "grpcio")
        )
        held = [
            f"{versions}; {len(self._texts.train)} pieces of {self.config.data.max_length} tokens"
        ]
        for part in _ENDS:
            size = tree.size(self._source.parts[part])
            held.append(
                f"{part}: {cut.count(part)} layers, {own[part]:,} of {size + own[part]:,} "
                "parameters train"
            )
        return held

    def write(self, folder: Path) -> Sequence[str]:
        """Notes by what name the server knows this client."""
        self._folder = folder
        (folder / WHO).touch(mode=0o600)
        write_text(folder / WHO, dumps({"client": self._client}))
        (folder / WHO).chmod(0o600)
        return ()

    def environment(self) -> Mapping[str, Any]:
        """Returns what the texts are."""
        known = {"parameters": tree.size(self._adapter)}
        return known | {"texts": self._texts.sha256, "tokenizer": self._texts.tokenizer.digest}

    def step(self, number: int, until: int) -> Done:
        """Trains one step."""
        del until
        config, self._done = self.config, number - 1
        if config.patience is not None and self._bad >= config.patience:
            return Done(number, {"stopped": True})
        notes = self._greet()
        before, start = self._remote.traffic, time.perf_counter()
        before = (before.up, before.down, before.retries, before.waited, before.server)
        epoch, index = divmod(number - 1, self._in_epoch)
        first = index * config.accumulate
        numbers = range(first, min(first + config.accumulate, self._batches))
        micros = [self._texts.batch(config.seed, epoch, n, config.batch_size) for n in numbers]
        rate, clip = rates.rate(config, number, self.total), config.clip or 0.0
        move = Move(config.optimizer, rate, clip, self._saved)
        passed, norm2 = self._exchange.stepped(self._adapter, micros, config.seed, number, move)
        factor = steps.clipping(norm2, clip)
        self._adapter, self._moments = steps.step(
            config.optimizer, self._adapter, self._moments, passed.gradients,
            jnp.float32(rate), jnp.float32(factor),
        )  # fmt: skip
        self._done = number
        if config.average and number % self._in_epoch == 0:
            weight = float(len(self._texts.train))
            self._adapter = self._exchange.averaged(self._adapter, epoch + 1, weight)
        self._losses[number] = passed.loss
        record = {"train_loss": passed.loss, "learning_rate": rate, "norm": math.sqrt(norm2)}
        record |= {"wire_error": passed.error} if config.wire != "f32" else {}
        costs = self._costs(before, start, micros)
        self._spent.update(costs)
        return Done(number, record, costs, [*notes, *self._told(number)])

    def evaluate(self) -> dict[str, Any]:
        """Returns the loss of pieces that are not trained on."""
        rows = self._texts.valid
        if not len(rows):
            return {}
        self._greet()
        pieces = [rows[start : start + _BATCH] for start in range(0, len(rows), _BATCH)]
        total = sum(self._exchange.evaluated(self._adapter, piece) for piece in pieces)
        loss = total / (len(rows) * (rows.shape[1] - 1))
        self._bad = 0 if loss < self._best else self._bad + 1
        self._best = min(loss, self._best)
        return {"valid_loss": loss}

    def score(self, record: Mapping[str, Any]) -> float | None:
        """The lower, the better."""
        return -record["valid_loss"] if "valid_loss" in record else None

    def snapshot(self) -> dict[str, Any]:
        """Returns what trains on this side, and how it did."""
        self._saved = [*self._saved[-self.config.checkpoint.keep :], self._done]
        state = {
            "adapter": self._adapter,
            "moments": {str(n): moment for n, moment in enumerate(self._moments)},
            "best": np.array([self._best, self._bad]),
        }
        return jax.tree.map(np.array, state)

    def shapes(self) -> Mapping[str, Any]:
        """Returns the shapes of all that."""
        found = jax.eval_shape(lambda: (self._adapter, self._moments))
        return {
            "adapter": found[0],
            "moments": {str(n): moment for n, moment in enumerate(found[1])},
            "best": np.zeros(2),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on from there."""
        self._adapter = jax.device_put(state["adapter"])
        self._moments = [
            jax.device_put(state["moments"][str(n)]) for n in range(len(self._moments))
        ]
        self._best, bad = map(float, state["best"])
        self._bad = int(bad)
        for record in Journal(self._folder).records():
            if "train_loss" in record:
                self._losses[record["step"]] = record["train_loss"]

    def ended(self) -> Mapping[str, Any]:
        """Leaves the adapters as folders of PEFT; returns what came of it."""
        trained, config = dict(self._adapter), self.config
        said = {"params_sha256": tree.sha256(self._adapter)}
        if config.trunk != "frozen" and self._losses:
            self._greet()
            own = self._trunk()
            trained["trunk"] = own
            said["trunk_sha256"] = tree.sha256(own)
        saved = folders.write(self._folder, self._source, self._lora, trained)
        if config.save_dir is not None:
            place = Path(config.save_dir).expanduser()
            place.mkdir(parents=True, exist_ok=True)
            saved = folders.write(place, self._source, self._lora, trained)
        self._leave()
        rows = Journal(self._folder).timing()
        counts = {key: int(sum(row.get(key, 0) for row in rows))
                  for key in ("bytes_up", "bytes_down", "retries")}  # fmt: skip
        times = {key: sum(row.get(key, 0.0) for row in rows)
                 for key in ("client_seconds", "wire_seconds", "server_seconds")}  # fmt: skip
        losses = [self._losses[number] for number in sorted(self._losses)]
        seconds = sum(row.get("train_seconds", 0.0) for row in rows)
        return {
            **said, **counts, **times, "saved": saved,
            **({"first_loss": losses[0], "last_loss": losses[-1], "lowest_loss": min(losses),
                "mean_loss": float(np.mean(losses)),
                "steps_per_second": len(losses) / seconds if seconds else None} if losses else {}),
            "trainable": folders.trainable(trained),
        }  # fmt: skip

    def _trunk(self) -> Params:
        made = messages.message("AdapterRequest")
        reply = self._remote.call("GetAdapter", lambda session: made(session=session))
        config = check(lora.Config, documents.load(self._remote.open().lora), "lora.")
        built = parts.build(self._source.network, self._source.cut, config)
        like = jax.eval_shape(lambda: built.adapter(jax.random.key(0)))["trunk"]
        return arrays.taken(reply.arrays, like)

    def _hello(self) -> Any:
        config, cut = self.config, self._source.cut
        return messages.message("OpenRequest")(
            version=version.VERSION, client=self._client, cut=[cut.first, cut.last],
            network=version.network_of(self._source.network), sha256=self._source.sha256,
            mode=config.trunk, lora=dumps(self._lora.model_dump(mode="json")),
            optimizer=dumps(config.optimizer.model_dump(mode="json")), seed=config.seed,
            step=self._done, reply=DTYPES.index(config.wire),
        )  # fmt: skip

    def _greet(self) -> list[str]:
        """Opens a session if there is none yet."""
        if self._greeted:
            return []
        reply = self._remote.open()
        self._greeted = True
        self._saved = list(dict.fromkeys((*self._saved, self._done)))
        if "trunk" in self._given and not self._done:
            made = messages.message("PutRequest")
            own = arrays.named(self._given["trunk"])
            self._remote.call("PutAdapter", lambda session: made(session=session, arrays=own))
        trains = f"{reply.trainable:,} of {reply.parameters + reply.trainable:,} parameters train"
        return [f"trunk: at {self.config.server.address}, {reply.versions}; {trains}"]

    def _leave(self) -> None:
        made = messages.message("CloseRequest")
        if self._remote.opened is not None:
            self._remote.call("Close", lambda session: made(session=session))
        self._remote.close()
        self._greeted = False

    def _costs(self, before: Any, start: float, micros: list[Any]) -> dict[str, float]:
        now, seconds = self._remote.traffic, time.perf_counter() - start
        waited, server = now.waited - before[3], now.server - before[4]
        counted = {
            "bytes_up": now.up - before[0],
            "bytes_down": now.down - before[1],
            "retries": now.retries - before[2],
            "tokens": sum(rows.shape[0] * (rows.shape[1] - 1) for rows in micros),
        }
        return {key: float(value) for key, value in counted.items()} | {
            "seconds": seconds, "client_seconds": seconds - waited,
            "wire_seconds": waited - server, "server_seconds": server,
        }  # fmt: skip

    def _told(self, number: int) -> list[str]:
        epoch, index = divmod(number, self._in_epoch)
        if index or (self.config.epochs == 1 and number < self.total):
            return []
        found = [self._losses[n] for n in range(number - self._in_epoch + 1, number + 1)
                 if n in self._losses]  # fmt: skip
        mean, low, high = float(np.mean(found)), min(found), max(found)
        spent, self._spent = self._spent, Counter()
        shares = ", ".join(
            f"{who} {spent[f'{who}_seconds'] / spent['seconds']:.0%}"
            for who in ("client", "wire", "server")
        )
        return [
            f"epoch {epoch}: loss mean {mean:.4f}, min {low:.4f}, max {high:.4f}; "
            f"{spent['bytes_up'] / 1e6:.1f} MB up, {spent['bytes_down'] / 1e6:.1f} MB down; "
            f"time: {shares}"
        ]
