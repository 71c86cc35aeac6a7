"""Clients of a server, and what it does for each of their calls; nothing here knows of gRPC.

All of it runs in one thread, one call after the other. Forward and backward change nothing that
another call can see, so they may come twice; a step is done once.
"""

import hashlib
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np

from jfl import config as configs
from jfl import tree
from jfl.adapters import lora
from jfl.errors import JflError, UsageError
from jfl.files import documents
from jfl.files.strict_json import dumps
from jfl.split import steps
from jfl.split.server.adapters import SHARED, Held
from jfl.split.server.average import Averages
from jfl.split.server.refused import Refused
from jfl.split.server.settings import Config
from jfl.split.server.store import Store
from jfl.split.server.trunk import Programs, Trunk
from jfl.split.wire import arrays, messages
from jfl.split.wire.tensors import DTYPES, decode, encode
from jfl.split.wire.version import VERSION, network_of

_MICROS, _KEPT = 1 << 16, 8


@dataclass
class Session:
    """A client that is here."""

    name: str
    """What its state is called; nobody can guess whose it is."""
    seed: int
    reply: str
    programs: Programs
    held: Held | None
    """What trains in the trunk; None: it is frozen."""
    used: float
    view: Any
    """The adapter as this client's next step sees it: as it was after its last one."""
    total: Any = None
    """The gradient of the micro-batches of the next step so far."""
    micros: int = 0


@dataclass
class Pending:
    """What a forward call left for the backward one."""

    input: np.ndarray
    adapter: Any
    kept: Any = None
    nbytes: int = 0


@dataclass
class Counts:
    """What was done since somebody asked."""

    calls: dict[str, int] = field(default_factory=dict)
    applied: list[list[Any]] = field(default_factory=list)
    """Whose step each was, and its number; 0 where a client came in to share an adapter."""


class Sessions:
    """All of them, within limits."""

    def __init__(
        self,
        config: Config,
        trunk: Trunk,
        store: Store,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config, self._trunk, self._store, self._clock = config, trunk, store, clock
        self._sessions: dict[str, Session] = {}
        self._pending: OrderedDict[tuple[str, int, int], Pending] = OrderedDict()
        self._shared: Held | None = None
        self._averages = Averages(config.average, store)
        self.counts = Counts()

    def call(self, method: str, request: Any, who: str) -> Any:
        """Answers a call.

        Args:
            method: its name in the service, without `Stream`.
            request: its message.
            who: the name in a client's certificate; empty without one.

        Raises:
            Refused: it is not answered.
            Malformed: a tensor of it is not what it says.
            JflError: the server's disk is at fault.
        """
        self.counts.calls[method] = self.counts.calls.get(method, 0) + 1
        if method == "OpenSession":
            return self._open(request, who)
        session = self._sessions.get(request.session)
        if session is None:
            raise Refused("NOT_FOUND", "there is no such session (any more); open another one")
        session.used = self._clock()
        return getattr(self, _DOES[method])(session, request)

    @property
    def nbytes(self) -> int:
        """Bytes that wait for backward calls."""
        return sum(item.nbytes for item in self._pending.values())

    def __len__(self) -> int:
        return len(self._sessions)

    def _open(self, request: Any, who: str) -> Any:
        self._require_same(request)
        if not 16 <= len(request.client) <= 200:
            raise Refused("INVALID_ARGUMENT", "a client's name has 16 to 200 characters")
        if request.reply not in range(len(DTYPES)) or request.seed >= 1 << 31:
            raise Refused("INVALID_ARGUMENT", "the type of replies or the seed is none")
        name = hashlib.sha256(f"{who}\0{request.client}".encode()).hexdigest()[:32]
        for key, other in list(self._sessions.items()):
            if other.name == name or self._clock() - other.used > self._config.limits.idle:
                self._drop(key)
        if len(self._sessions) >= self._config.limits.sessions:
            raise Refused(
                "RESOURCE_EXHAUSTED", f"{len(self._sessions)} clients are here already", again=5.0
            )
        held = self._held(request, name)
        programs = self._trunk.programs(None) if held is None else held.programs
        key, reply = secrets.token_urlsafe(24), DTYPES[request.reply]
        view = {} if held is None else held.params
        self._sessions[key] = Session(
            name, request.seed, reply, programs, held, self._clock(), view
        )
        if held is not None:
            held.enter(name)
            if held.name == SHARED:
                self.counts.applied.append([name[:8], 0])
        return messages.message("OpenReply")(
            session=key,
            step=request.step if held is None else held.applied.get(name, 0),
            lora="" if held is None else dumps(held.config.model_dump(mode="json")),
            optimizer="" if held is None else dumps(held.optimizer.model_dump(mode="json")),
            trainable=0 if held is None else tree.size(held.params),
            parameters=self._trunk.parameters,
            versions=f"jax {jax.__version__}",
            most_bytes=self._config.limits.message_mb << 20,
        )

    def _require_same(self, request: Any) -> None:
        source = self._trunk.source
        ours = {
            "version": (request.version, VERSION),
            "cut": (list(request.cut), list(self._config.model.cut)),
            "network": (request.network, network_of(source.network)),
        }
        if request.sha256 and source.sha256:
            ours["weights"] = request.sha256[:16], source.sha256[:16]
        for what, (theirs, here) in ours.items():
            if theirs != here:
                raise Refused(
                    "FAILED_PRECONDITION",
                    f"the client has {what} {str(theirs)[:200]}, but this server {here}; give both "
                    "the same --model and --cut",
                )

    def _held(self, request: Any, name: str) -> Held | None:
        mode, limits = request.mode, self._config.limits
        if mode not in ("frozen", self._config.trunk):
            raise Refused(
                "FAILED_PRECONDITION",
                f"trunk={mode[:20]} was asked for, but this server has trunk={self._config.trunk}",
            )
        if mode == "frozen":
            return None
        if mode == SHARED:
            if self._shared is None:
                config = self._config
                programs = self._trunk.programs(config.lora.named)
                self._shared = Held(
                    SHARED, self._store, programs, config.lora.named, config.optimizer, config.seed
                )
                self._shared.resume(self._shared.newest())
            return self._shared
        try:
            config = configs.check(lora.Config, documents.load(request.lora), "lora.")
            optimizer = configs.check(steps.Config, documents.load(request.optimizer), "optimizer.")
            if (
                max(config.rank, *config.ranks.values(), 0) > limits.rank
                or len(request.lora) > 4096
            ):
                raise UsageError(f"lora: a rank above {limits.rank}, which is this server's limit")
            programs = self._trunk.programs(config)
        except (JflError, ValueError) as error:
            raise Refused("INVALID_ARGUMENT", str(error)) from error
        held = Held(name, self._store, programs, config, optimizer, request.seed)
        held.resume(request.step)
        held.applied = {name: request.step}
        return held

    def _forward(self, session: Session, request: Any) -> Any:
        self._require_next(session, request)
        h = self._input(session, request.input)
        place = session.seed, request.step, request.micro
        adapter = session.view
        item = Pending(h, adapter, nbytes=h.nbytes)
        if self._config.limits.stash_mb:
            out, item.kept = session.programs.keep(adapter, h, place)
            item.nbytes += tree.nbytes(item.kept[1])
        else:
            out = session.programs.forward(adapter, h, place)
        self._remember((session.name, request.step, request.micro), item)
        return self._reply(session, out)

    def _eval(self, session: Session, request: Any) -> Any:
        h = self._input(session, request.input)
        adapter = {} if session.held is None else session.held.params
        place = session.seed, 0, 0
        return self._reply(session, session.programs.forward(adapter, h, place, train=False))

    def _backward(self, session: Session, request: Any) -> Any:
        self._require_next(session, request)
        key = session.name, request.step, request.micro
        found = self._pending.get(key)
        if request.HasField("input"):
            h = self._input(session, request.input)
            if found is None or not np.array_equal(found.input, h):
                found = Pending(h, session.view)
        if found is None:
            return messages.message("Reply")(needs_input=True)
        gradient = decode(request.gradient, found.input.shape)
        place = session.seed, request.step, request.micro
        if found.kept is None:
            made = session.programs.backward(found.adapter, found.input, gradient, place)
        else:
            made = session.programs.pull(found.kept, gradient)
        reply = self._reply(session, made[1])
        held = session.held
        new = held is not None and request.step > held.applied.get(session.name, 0)
        if new and request.micro == session.micros:
            first = session.total is None
            session.total = made[0] if first else steps.add(session.total, made[0])
            session.micros += 1
        if found.kept is not None:  # a retry computes it again, by the same programs
            found.kept, found.nbytes = None, found.input.nbytes
        return reply

    def _step(self, session: Session, request: Any) -> Any:
        held, made = session.held, messages.message("StepReply")
        if held is None:
            raise Refused("FAILED_PRECONDITION", "the trunk is frozen: it takes no steps")
        done = held.applied.get(session.name, 0)
        if request.step <= done:
            return made(norm2=held.norms.get(session.name, 0.0))
        self._require_next(session, request)
        if not 0 < request.micros <= _MICROS or session.micros != request.micros:
            raise Refused(
                "ABORTED" if session.micros < request.micros else "INVALID_ARGUMENT",
                f"step {request.step} is of {request.micros} micro-batches, but {session.micros} "
                "came back; send them again",
            )
        numbers = request.learning_rate, request.clip, request.norm2
        if len(request.keep) > _KEPT:
            raise Refused("INVALID_ARGUMENT", f"{len(request.keep)} steps to keep; up to {_KEPT}")
        if not np.isfinite(numbers).all() or min(numbers) < 0 or request.learning_rate > 1:
            raise Refused("INVALID_ARGUMENT", f"learning rate, clip and norm of {numbers}")
        gradient = steps.trained(held.optimizer, session.total)
        norm2 = float(steps.squared_norm(gradient))
        factor = steps.clipping(norm2 + request.norm2, request.clip)
        if not np.isfinite(norm2):
            raise Refused("INVALID_ARGUMENT", f"the gradient of step {request.step} is infinite")
        held.step(
            session.name, request.step, gradient, request.learning_rate, factor, norm2,
            request.keep,
        )  # fmt: skip
        self.counts.applied.append([session.name[:8], request.step])
        session.total, session.micros, session.view = None, 0, held.params
        self._forget(session.name, request.step)
        return made(norm2=norm2)

    def _get(self, session: Session, request: Any) -> Any:
        del request
        if session.held is None:
            raise Refused("FAILED_PRECONDITION", "the trunk is frozen: it has no adapter")
        step = session.held.applied.get(session.name, 0)
        return messages.message("Adapter")(arrays=arrays.named(session.held.params), step=step)

    def _put(self, session: Session, request: Any) -> Any:
        held = session.held
        if held is None or held.name == SHARED:
            raise Refused("FAILED_PRECONDITION", "the trunk has no adapter of this client's own")
        if held.applied.get(session.name, 0):
            raise Refused("FAILED_PRECONDITION", "an adapter is given before the first step only")
        held.put(arrays.taken(request.arrays, held.params))
        session.view = held.params
        return messages.message("PutReply")()

    def _average(self, session: Session, request: Any) -> Any:
        held = session.held if session.held is not None and session.held.name != SHARED else None
        trunk = {} if held is None else held.params
        mean, own = self._averages.call(
            session.name, request.round, request.weight, request.arrays, trunk
        )
        if held is not None:
            held.put(own)
            session.view = held.params
        return messages.message("Adapter")(arrays=arrays.named(mean), step=request.round)

    def _close(self, session: Session, request: Any) -> Any:
        self._drop(request.session)
        if request.forget and session.held is not None and session.held.name != SHARED:
            self._store.forget(session.name)
        return messages.message("CloseReply")()

    def _drop(self, key: str) -> None:
        self._forget(self._sessions.pop(key).name)

    def _forget(self, name: str, through: int | None = None) -> None:
        for key in [k for k in self._pending if k[0] == name]:
            if through is None or key[1] <= through:
                del self._pending[key]

    def _remember(self, key: tuple[str, int, int], item: Pending) -> None:
        self._pending.pop(key, None)
        if key[2] == 0:  # the step before is over; of a frozen trunk nothing else says so
            self._forget(key[0], key[1] - 1)
        self._pending[key] = item
        limits = self._config.limits
        stashed = sum(p.nbytes - p.input.nbytes for p in self._pending.values())
        for other in self._pending.values():
            if stashed <= limits.stash_mb << 20:
                break
            stashed -= other.nbytes - other.input.nbytes
            other.kept, other.nbytes = None, other.input.nbytes
        while self.nbytes > (limits.pending_mb + limits.stash_mb) << 20:
            self._pending.popitem(last=False)

    def _require_next(self, session: Session, request: Any) -> None:
        if session.held is None:
            return
        done = session.held.applied.get(session.name, 0)
        if request.step <= done and session.held.name != SHARED:
            raise Refused(
                "FAILED_PRECONDITION", f"step {request.step} is done: the last one is {done}"
            )
        if request.step > done + 1:
            raise Refused(
                "OUT_OF_RANGE", f"step {request.step} comes too early: the last one is {done}"
            )

    def _input(self, session: Session, tensor: Any) -> np.ndarray:
        h = decode(tensor, (None, None, self._trunk.width))
        limits = self._config.limits
        if h.shape[0] > limits.batch or h.shape[1] > self._trunk.context:
            raise Refused(
                "INVALID_ARGUMENT",
                f"{h.shape[0]} texts of {h.shape[1]} tokens; up to {limits.batch} of "
                f"{self._trunk.context} are taken",
            )
        session.programs.expect(h.shape, limits.programs)
        return h

    def _reply(self, session: Session, array: Any) -> Any:
        tensor = encode(np.asarray(array), session.reply)
        return messages.message("Reply")(tensor=tensor)


_DOES = {
    "Forward": "_forward", "Backward": "_backward", "Eval": "_eval", "Step": "_step",
    "GetAdapter": "_get", "PutAdapter": "_put", "Average": "_average", "Close": "_close",
}  # fmt: skip
