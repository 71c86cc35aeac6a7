"""One step of training with a server: up, across, down and back; parts of it may come again."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int32

from jfl.split import steps
from jfl.split.client.ends import Ends
from jfl.split.client.remote import Remote, ServerError
from jfl.split.wire import arrays, messages
from jfl.split.wire.tensors import decode, encode
from jfl.types import Params

_ATTEMPTS = 20
"""Of a step, while its server forgets what came back before it was applied."""


class Forgotten(Exception):
    """The server has started anew within a step of an adapter that others have moved since."""


@dataclass(frozen=True)
class Move:
    """How a step is taken."""

    optimizer: steps.Config
    rate: float
    clip: float
    keep: list[int]
    """Steps that this client may go on from if it is killed."""


@dataclass
class Passed:
    """What a step's micro-batches gave."""

    loss: float
    gradients: dict[str, Params]
    sent: list[tuple[Any, Any]]
    """Of each what went to the server: features and gradients."""
    error: float
    """Of what the wire made of the features, relative; 0 for f32."""


class Exchange:
    """Both ends and a server, whose trunk trains as `trunk` says."""

    def __init__(self, ends: Ends, remote: Remote, wire: str, trunk: str) -> None:
        self._ends, self._remote, self._wire, self._trunk = ends, remote, wire, trunk

    def stepped(
        self, adapter: dict[str, Params], micros: list[Int32[np.ndarray, "B W"]], seed: int,
        step: int, move: Move,
    ) -> tuple[Passed, float]:  # fmt: skip
        """Takes a step's micro-batches through and back, and lets the server's adapter step.

        Returns:
            What they gave, and the squared norm of the gradients of all parts.

        Raises:
            ServerError: the server refuses it, or is away for too long.
        """
        for _ in range(_ATTEMPTS):
            try:
                passed = self.passed(adapter, micros, seed, step)
                passed.gradients = steps.trained(move.optimizer, passed.gradients)
                norm2 = float(steps.squared_norm(passed.gradients))
                if self._trunk != "frozen":
                    norm2 += self.apply(step, passed, move, norm2)
                return passed, norm2
            except Forgotten:
                continue
        raise ServerError(f"the server forgot step {step} {_ATTEMPTS} times", "ABORTED")

    def passed(
        self,
        adapter: dict[str, Params],
        micros: list[Int32[np.ndarray, "B W"]],
        seed: int,
        step: int,
    ) -> Passed:
        """Takes a step's micro-batches through and back; the loss is the mean over tokens.

        Raises:
            ServerError: the server refuses it, or is away for too long.
            Forgotten: it has to be taken from its start.
        """
        count = sum(rows.shape[0] * (rows.shape[1] - 1) for rows in micros)
        total, sums, sent, error = 0.0, {}, [], 0.0
        for micro, rows in enumerate(micros):
            place = seed, step, micro
            tokens, targets = rows[:, :-1], rows[:, 1:]
            weights = np.full(targets.shape, 1 / count, np.float32)
            h, left = self._ends.up(adapter["bottom"], tokens, place)
            features = encode(np.asarray(h, np.float32), self._wire)
            if micro == 0:
                error = _error(np.asarray(h, np.float32), features, self._wire)
            across = self._across("Forward", step, micro, features)
            loss, (top, downward) = self._ends.down(adapter["top"], across, targets, weights, place)
            gradient = encode(np.asarray(downward, np.float32), self._wire)
            sent.append((features, gradient))
            bottom = self._ends.back(left, self._back(step, micro, features, gradient))
            total += float(loss)
            for part, own in (("bottom", bottom), ("top", top)):
                sums[part] = steps.add(sums[part], own) if part in sums else own
        return Passed(total, sums, sent, error)

    def apply(self, step: int, passed: Passed, move: Move, norm2: float) -> float:
        """Lets the server's adapter take the step; returns the squared norm of its gradient.

        Raises:
            ServerError: the server refuses it, or is away for too long.
            Forgotten: it has to be taken from its start.
        """
        made = messages.message("StepRequest")
        for attempt in range(_ATTEMPTS):
            try:
                reply = self._remote.call(
                    "Step",
                    lambda session: made(
                        session=session, step=step, micros=len(passed.sent),
                        learning_rate=move.rate, clip=move.clip, norm2=norm2, keep=move.keep,
                    ),
                )  # fmt: skip
                return reply.norm2
            except ServerError as error:
                if error.status != "ABORTED" or attempt == _ATTEMPTS - 1:
                    raise
                if self._trunk == "shared":
                    raise Forgotten from error
            for micro, (features, gradient) in enumerate(passed.sent):
                self._back(step, micro, features, gradient)
        raise AssertionError("unreachable")

    def averaged(self, adapter: dict[str, Params], number: int, weight: float) -> dict[str, Params]:
        """Returns the mean of all clients' adapters after a round, counted from 1.

        Raises:
            ServerError: the server averages nothing, or other clients are away for too long.
        """
        made, own = messages.message("AverageRequest"), arrays.named(adapter)
        reply = self._remote.call(
            "Average", lambda key: made(session=key, round=number, weight=weight, arrays=own)
        )
        return arrays.taken(reply.arrays, adapter)

    def evaluated(self, adapter: dict[str, Params], rows: Int32[np.ndarray, "B W"]) -> float:
        """Returns the sum of losses of all tokens.

        Raises:
            ServerError: the server refuses it, or is away for too long.
        """
        tokens, targets = rows[:, :-1], rows[:, 1:]
        features = encode(np.asarray(self._ends.lower(adapter["bottom"], tokens)), self._wire)
        across = self._across("Eval", 0, 0, features)
        ones = np.ones(targets.shape, np.float32)
        return float(self._ends.loss(adapter["top"], across, targets, ones))

    def _across(self, method: str, step: int, micro: int, features: Any) -> np.ndarray:
        made = messages.message("Call")
        reply = self._remote.call(
            method, lambda key: made(session=key, step=step, micro=micro, input=features)
        )
        return decode(reply.tensor, tuple(features.shape))

    def _back(self, step: int, micro: int, features: Any, gradient: Any) -> np.ndarray:
        made = messages.message("Call")
        given: dict[str, Any] = {"step": step, "micro": micro, "gradient": gradient}
        reply = self._remote.call("Backward", lambda key: made(session=key, **given))
        if reply.needs_input:  # the server has started anew, or had no room
            if self._trunk == "shared":
                raise Forgotten
            given["input"] = features
            reply = self._remote.call("Backward", lambda key: made(session=key, **given))
        return decode(reply.tensor, tuple(features.shape))


def _error(array: np.ndarray, sent: Any, wire: str) -> float:
    if wire == "f32":
        return 0.0
    return float(np.linalg.norm(decode(sent) - array) / max(float(np.linalg.norm(array)), 1e-30))
