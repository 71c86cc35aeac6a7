"""Which models each server of PFLlib measures, as data: one row a server.

PFLlib sends models to its clients, then measures them, then trains. A snapshot is what one pass
left, so it is measured as PFLlib would at the start of the next pass: what the server sends is put
over the client's own model first. Buffers are never sent; each client keeps its own.
Source: PFLlib of 29 November 2025, system/flcore/servers and clients.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True)
class Rule:
    """What a server measures of each client."""

    own: str = "model"
    """The client's attribute: a model, or a list of parameters for `model`."""
    sent: str | None = None
    """The server's attribute that goes over the client's `model` before it is measured."""
    into: str = ""
    """The part of `model` it goes over: base, head, or all of it."""
    kept: str = ""
    """Parameters with this in their name are not sent."""
    head: str | None = None
    """A second head of the client, whose outputs are added to those of the first."""
    shift: str | None = None
    """What the client adds to the features before the head."""
    as_left: bool = False
    """Whether a model that was measured after the last pass is taken as it was left."""
    reason: str | None = None
    """Why a snapshot cannot be measured as the server measures it; where `as_left`, only then."""

    @property
    def words(self) -> str:
        """What is measured, for people."""
        said = f"each client's `{self.own}`"
        if self.sent:
            sent = f"the server's `{self.sent}`"
            said = f"each client's `model`, its `{self.into}` from {sent}" if self.into else sent
            said += f", but for `{self.kept}`" if self.kept else ""
        if self.sent and self.own != "model":
            said += f"; of a client that never trained, `{self.own}`"
        said += f", its `{self.head}` added to the outputs" if self.head else ""
        said += f", its `{self.shift}` added to the features" if self.shift else ""
        if self.reason and self.as_left:
            return f"{said} right after it was measured; else not: {self.reason}"
        if self.as_left:
            return f"{said}; once fine-tuned, all of `model`"
        return f"not: {self.reason}" if self.reason else said


_OWN = Rule()
_PERSONAL = Rule(own="model_per")
_GLOBAL = Rule(sent="global_model")
_BASE = Rule(sent="global_model", into="base")
_HEAD = Rule(sent="global_model", into="head")

SERVERS: Mapping[str, Rule] = {
    "FedAvg": _GLOBAL,
    "Local": _OWN,
    "FedMTL": _OWN,
    "PerAvg": Rule(reason="it is measured after one more step on a batch drawn at random"),
    "pFedMe": replace(_GLOBAL, own="personalized_params"),
    "FedProx": _GLOBAL,
    "FedFomo": _OWN,
    "FedAMP": _OWN,
    "APFL": _PERSONAL,
    "FedPer": _BASE,
    "Ditto": _PERSONAL,
    "FedRep": _BASE,
    "FedPHP": _OWN,
    "FedBN": replace(_GLOBAL, kept="bn"),
    "FedROD": replace(_GLOBAL, head="head"),
    "FedProto": Rule(reason="it answers by the nearest of the server's prototypes"),
    "FedDyn": _GLOBAL,
    "MOON": _GLOBAL,
    "FedBABU": replace(_BASE, as_left=True),
    "APPLE": _OWN,
    "FedGen": _GLOBAL,
    "SCAFFOLD": _GLOBAL,
    "FD": _OWN,
    "FedALA": Rule(
        as_left=True,
        reason="the next local aggregation, on samples drawn at random, comes before measuring",
    ),
    "FedPAC": _BASE,
    "LG-FedAvg": _HEAD,
    "FedGC": Rule(reason="each client answers with its own classes only"),
    "FML": _OWN,
    "FedKD": _OWN,
    "FedPCL": Rule(reason="it answers by the likest of the client's prototypes"),
    "FedCP": Rule(reason="a gate on each sample mixes two heads"),
    "GPFL": Rule(reason="a conditional layer stands between features and head"),
    "FedNTD": _GLOBAL,
    "FedGH": Rule(sent="head", into="head"),
    "FedDBE": replace(_GLOBAL, shift="client_mean"),
    "FedCAC": _OWN,
    "PFL-DA": _OWN,
    "FedLC": _GLOBAL,
    "FedAS": _OWN,
    "FedCross": _OWN,
}
"""By the name PFLlib's `-algo` takes."""

ASKED: Mapping[str, Rule] = {"fedavg": _GLOBAL, "local": _OWN, "fedfomo": _OWN}
"""What `algorithm.name=...` on the command line says is measured, whatever the server is."""


def known(name: str) -> str | None:
    """Returns a server as PFLlib calls it, None where it has none of that name."""
    return {_plain(word): word for word in SERVERS}.get(_plain(name))


def first_known(names: Iterable[str]) -> str | None:
    """Returns the first of some names that PFLlib has a server of."""
    return next((found for name in names if (found := known(name))), None)


def rule_of(server: str, settings: Mapping[str, Any]) -> Rule:
    """Returns what a server of PFLlib measures with these arguments."""
    if server == "FedGen" and settings.get("localize_feature_extractor"):
        return _HEAD
    return SERVERS[server]


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
