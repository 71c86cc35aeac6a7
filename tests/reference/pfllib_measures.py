"""What PFLlib's servers send before they measure, and how clients answer: slowly, with torch."""

import copy
from collections.abc import Iterable
from typing import Any

import torch

WHOLE = {
    "FedAvg", "pFedMe", "FedProx", "FedROD", "FedDyn", "MOON", "FedGen", "SCAFFOLD", "FedNTD",
    "FedDBE", "FedLC", "FedPAC",
}  # fmt: skip
BASES = {"FedPer", "FedRep", "FedBABU"}
HEADS = {"LG-FedAvg"}
NOTHING = {
    "Local", "FedMTL", "FedFomo", "FedAMP", "APFL", "Ditto", "FedPHP", "APPLE", "FD", "FML",
    "FedKD", "FedCAC", "PFL-DA", "FedAS", "FedCross",
}  # fmt: skip
"""Servers that send nothing into what they measure, before they measure."""
IMPOSSIBLE = {"PerAvg", "FedProto", "FedALA", "FedGC", "FedPCL", "FedCP", "GPFL"}


def answers(name: str, server: Any, client: Any, x: torch.Tensor) -> torch.Tensor:
    """Returns the logits a client is measured by after the server has sent its models."""
    client = copy.deepcopy(client)
    model = client.model
    if name in WHOLE:
        copied(server.global_model.parameters(), model.parameters())
    elif name in BASES:
        copied(server.global_model.parameters(), model.base.parameters())
    elif name in HEADS:
        copied(server.global_model.parameters(), model.head.parameters())
    elif name == "FedGH":
        copied(server.head.parameters(), model.head.parameters())
    elif name == "FedBN":
        for (word, new), old in zip(
            server.global_model.named_parameters(), model.parameters(), strict=True
        ):
            if "bn" not in word:
                old.data = new.data.clone()
    else:
        assert name in NOTHING
    with torch.no_grad():
        if name in ("APFL", "Ditto"):
            return client.model_per.eval()(x)
        if name == "pFedMe":
            copied(client.personalized_params, model.parameters())
        model.eval()
        if name == "FedROD":
            features = model.base(x)
            return model.head(features) + client.head(features)
        if name == "FedDBE":
            return model.head(model.base(x) + client.client_mean)
        return model(x)


def copied(new: Iterable[torch.Tensor], old: Iterable[torch.Tensor]) -> None:
    """Puts parameters over others, one after another, as far as there are both."""
    for theirs, ours in zip(new, old, strict=False):
        ours.data = theirs.data.clone()
