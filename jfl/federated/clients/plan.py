"""How many clients run: one after another or in blocks, on how many devices, in which lowering.

The plan is a pure function of config, backend, device count, shapes and memory, never of a
stopwatch, so that the same run is planned the same way again.
"""

from dataclasses import asdict, dataclass, field, replace
from typing import Literal

import numpy as np
from jax.sharding import Mesh
from jaxtyping import Int
from pydantic import Field

from jfl.config import Section
from jfl.errors import UsageError
from jfl.files import documents
from jfl.files.documents import Document
from jfl.files.strict_json import dumps
from jfl.models.base import Lowering

PEER_SHARE = 4  # copies of all peers' models on a device may take one part in so many of its memory
MOST_PADDING = 0.15  # of the local steps a block computes; wider blocks would wait for one client
VERSION = 3  # of the tables below; raise it when a choice changes

LOOPS: dict[str, Literal["map", "vmap"]] = {"cpu": "map", "gpu": "vmap", "tpu": "vmap"}
"""By backend. On a CPU, vmapped clients only add memory traffic; accelerators starve on one."""

LOWERINGS: dict[tuple[str, str], Lowering] = {
    ("cpu", "map"): "winograd",
    ("cpu", "vmap"): "slices",
    ("gpu", "map"): "native",
    ("gpu", "vmap"): "slices",
    ("tpu", "map"): "native",
    ("tpu", "vmap"): "native",
}
"""By backend and loop; vmap makes grouped convolutions, whose gradients are slow. For CPUs the
figures are in docs/performance.md; for accelerators they are unmeasured."""

CHUNKS: dict[str, tuple[tuple[int, ...], int]] = {
    "cpu": ((8, 16, 32, 64), 2),
    "gpu": ((16, 32, 64, 128, 256), 8),
    "tpu": ((16, 32, 64, 128, 256), 8),
}
"""By backend, how many samples may be evaluated at once (on a CPU what stays in its caches), and
what one more chunk costs, in samples."""


class Config(Section):
    """The `plan` section; `auto` follows the table in clients/plan.py."""

    loop: Literal["auto", "map", "vmap"] = "auto"
    """One client after another on each device, or blocks of clients at once."""
    block: int | None = Field(default=None, ge=1)
    """Clients in a vmap block; none = as many as fit the memory and pad little."""
    lowering: Literal["auto", "native", "slices", "winograd"] = "auto"
    """How convolutions are computed."""
    devices: int | None = Field(default=None, ge=1)
    """How many devices share the clients; on CPU these are virtual. None = all."""
    store: Literal["auto", "device", "host"] = "auto"
    """Where the state of idle clients is kept."""
    peers: Literal["auto", "gather", "ring"] = "auto"
    """Models that clients look at: all on every device, or passed round in blocks."""


class Form(Document):
    """What `plan.json` holds; older ones also say on what it runs, as backend.json does now."""

    loop: Literal["map", "vmap"]
    block: int = Field(ge=1)
    lowering: str = ""
    store: str = ""
    peers: str = ""
    reasons: list[str] = Field(default=[])
    version: int = 0


_ELSEWHERE = ("backend", "devices", "jaxlib")


@dataclass(frozen=True)
class Plan:
    """One way to run the clients of a round."""

    backend: str
    loop: Literal["map", "vmap"]
    block: int
    lowering: Lowering
    devices: int
    store: Literal["device", "host"]
    peers: Literal["gather", "ring"]
    reasons: tuple[str, ...] = ()
    version: int = VERSION
    mesh: Mesh | None = field(default=None, compare=True, repr=False)

    def to_json(self) -> str:
        """Returns the plan as saved in a run folder, without the devices it runs on."""
        content = asdict(replace(self, mesh=None))
        return dumps({name: content[name] for name in Form.model_fields}, indent=1)

    @staticmethod
    def from_json(text: str, backend: str, devices: int) -> "Plan":
        """Reads what `to_json` wrote, for the devices it runs on.

        Raises:
            ValueError: the text is something else.
        """
        content = documents.parse(text, Form)
        known = {name: value for name, value in content.items() if name not in _ELSEWHERE}
        if known.keys() != Form.model_fields.keys():
            odd = sorted(known.keys() ^ Form.model_fields.keys())[0]
            raise ValueError(f"{odd} is {'not known' if odd in known else 'missing'}")
        reasons = tuple(known.pop("reasons"))
        return Plan(backend, devices=devices, reasons=reasons, **known)

    def describe(self) -> str:
        """Returns the plan in one line."""
        how = "one after another" if self.loop == "map" else f"in blocks of {self.block}"
        many = f"{self.devices} {self.backend} device{'s' if self.devices > 1 else ''}"
        return f"clients {how} on {many}, {self.lowering} convolutions, {self.store} store"


def loop_and_lowering(config: Config, backend: str) -> tuple[Literal["map", "vmap"], Lowering]:
    """Returns the table's choice for a backend, where the config does not fix it."""
    loop = LOOPS[backend] if config.loop == "auto" else config.loop
    lowering = LOWERINGS[backend, loop] if config.lowering == "auto" else config.lowering
    return loop, lowering


def choose(
    config: Config,
    *,
    backend: str,
    num_devices: int,
    cohort: int,
    steps: Int[np.ndarray, " N"],
    client_bytes: int | None,
    state_bytes: int,
    peer_bytes: int,
    budget: int,
) -> Plan:
    """Chooses a plan.

    Args:
        config: what the user fixed.
        backend: cpu, gpu or tpu.
        num_devices: devices the backend shows.
        cohort: K, clients that train in a round.
        steps: local steps of every client in a round.
        client_bytes: memory one training client takes, by the compiler's own analysis; None
            where it decides nothing.
        state_bytes: memory the state of all clients takes.
        peer_bytes: memory the models a cohort looks at take, at the most.
        budget: bytes one device may use.

    Raises:
        UsageError: not even one client fits the budget.
    """
    loop, lowering = loop_and_lowering(config, backend)
    devices = config.devices or min(num_devices, cohort)
    reasons = [f"table {VERSION} for {backend}"]
    block = 1
    if loop == "vmap":
        needed = max(client_bytes or 0, 1)
        if needed > budget:
            raise UsageError(
                f"one client of this model needs {needed / 2**30:.1f} GiB, but memory.budget is "
                f"{budget / 2**30:.1f} GiB; lower train.batch_size or raise the budget"
            )
        fits = budget // needed
        reasons.append(f"{fits} clients of {needed / 2**20:.0f} MiB fit the budget")
        if config.block:
            block = min(config.block, -(-cohort // devices))
        else:
            block, share = _block(fits, steps, cohort, devices)
            reasons.append(f"a typical cohort then computes {share:.0%} padding")
    # on CPU host and device are the same memory, and NumPy rows change in place
    store = "device" if backend != "cpu" and 3 * state_bytes < budget else "host"
    if config.store != "auto":
        store = config.store
    peers = "ring" if devices > 1 and PEER_SHARE * peer_bytes > budget else "gather"
    if config.peers != "auto":
        peers = config.peers
    fixed = [f"{k}={v}" for k, v in config.model_dump().items() if v not in ("auto", None)]
    if fixed:
        reasons.append(f"by config: {', '.join(fixed)}")
    return Plan(backend, loop, block, lowering, devices, store, peers, tuple(reasons))


def order(plan: Plan, steps: Int[np.ndarray, " K"]) -> Int[np.ndarray, " K"]:
    """Returns the order in which a cohort is laid over the devices.

    Each device gets an equal number of clients and nearly equal steps, and has the largest first:
    under `vmap` clients of like size come together, since a block runs as long as its largest.
    """
    largest_first = np.argsort(-steps, kind="stable")
    capacity = -(-len(steps) // plan.devices)
    groups: list[list[int]] = [[] for _ in range(plan.devices)]
    # all groups are full but the last, which `each` fills up with phantoms
    room = [min(capacity, max(len(steps) - i * capacity, 0)) for i in range(plan.devices)]
    loads = [0] * plan.devices
    for client in largest_first:
        open_groups = [i for i in range(plan.devices) if len(groups[i]) < room[i]]
        lightest = min(open_groups, key=lambda i: loads[i])
        groups[lightest].append(int(client))
        loads[lightest] += int(steps[client])
    return np.array([client for group in groups for client in group])


def _block(fits: int, steps: Int[np.ndarray, " N"], cohort: int, devices: int) -> tuple[int, float]:
    """Returns the widest block that fits and pads little, for a cohort of typical clients."""
    typical = np.sort(steps)[np.linspace(0, len(steps) - 1, cohort).round().astype(int)][::-1]
    widest = min(fits, -(-cohort // devices))
    shares = [_padding(typical[::devices], width) for width in range(1, widest + 1)]
    width = max(w for w, share in enumerate(shares, 1) if share <= MOST_PADDING)
    return width, shares[width - 1]


def padding(plan: Plan, steps: Int[np.ndarray, " K"]) -> float:
    """Returns the share of a laid-out cohort's computed local steps that are padding."""
    if plan.loop == "map" or not steps.sum():
        return 0.0
    per_device = -(-len(steps) // plan.devices)
    shards = [steps[i : i + per_device] for i in range(0, len(steps), per_device)]
    computed = sum(shard.sum() / (1 - _padding(shard, plan.block)) for shard in shards)
    return 1.0 - int(steps.sum()) / computed


def _padding(steps: Int[np.ndarray, " K"], width: int) -> float:
    """Returns the share of padding in blocks of a width, which all run as long as their largest."""
    blocks = [steps[i : i + width] for i in range(0, len(steps), width)]
    computed = sum(int(block.max()) * len(block) for block in blocks)
    return 1.0 - int(steps.sum()) / computed if computed else 0.0
