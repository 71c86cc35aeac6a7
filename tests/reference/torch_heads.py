"""Lean sequential PyTorch ensembles of heads, to be timed against `jfl heads`.

Started by path in a process of its own: `torch_heads.py SPEC.json`; see torch_round.py for the
protocol. Gradients are written out, as autograd takes four times as long for layers so small.
"""

import sys
from pathlib import Path
from typing import ClassVar

import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parent))
from torch_round import EVALUATION_BATCH, Work, network, serve


class Heads(Work):
    """What is timed; see `heads`, `assembly` and `recompute`."""

    rehearsed = False
    counts: ClassVar[dict[str, int]] = {"recompute": 100}  # one head and one epoch of ten and ten

    def __init__(self, spec: dict) -> None:
        super().__init__(spec)
        self.rows = self.parts["train"]
        self.net = network(spec)
        self.features = nn.Sequential(*list(self.net)[:-1])
        self.cached = [self.compute(rows) for rows in self.rows]

    @torch.no_grad()
    def compute(self, rows: torch.Tensor) -> torch.Tensor:
        """Features of some samples."""
        return torch.cat([self.features(self.x[part]) for part in rows.split(EVALUATION_BATCH)])

    @torch.no_grad()
    def train(self, z: torch.Tensor, y: torch.Tensor, members: int, epochs: int) -> torch.Tensor:
        """All heads of a client in one bmm, each in an order and with a rate of its own."""
        size, prior = self.spec["batch_size"], self.net[-1]
        weight = prior.weight + 0.1 * torch.randn(members, *prior.weight.shape)
        bias = prior.bias + 0.1 * torch.randn(members, 1, len(prior.bias))
        rates = (torch.rand(members, 1, 1) * 0.09 + 0.01) / size
        for _ in range(epochs):
            order = torch.stack([torch.randperm(len(y)) for _ in range(members)])
            for first in range(0, len(y), size):
                chosen = order[:, first : first + size]
                batch, labels = z[chosen], y[chosen][..., None]
                error = torch.baddbmm(bias, batch, weight.transpose(1, 2)).softmax(2)
                error.scatter_add_(2, labels, torch.full(labels.shape, -1.0))
                error *= rates * (size / chosen.shape[1])
                weight.baddbmm_(error.transpose(1, 2), batch, alpha=-1)
                bias -= error.sum(1, keepdim=True)
        return weight

    def heads(self) -> None:
        """Heads of all clients on features that are there."""
        for z, rows in zip(self.cached, self.rows, strict=True):
            self.train(z, self.y[rows], self.spec["members"], self.spec["epochs"])

    def assembly(self) -> None:
        """Features of all clients once, and their heads."""
        for rows in self.rows:
            z = self.compute(rows)
            self.train(z, self.y[rows], self.spec["members"], self.spec["epochs"])

    def recompute(self) -> None:
        """One head and one epoch of the loop that sends every batch through the whole network."""
        for rows in self.rows:
            head = nn.Linear(*reversed(self.net[-1].weight.shape))
            optimizer = torch.optim.SGD(head.parameters(), lr=0.05)
            for chosen in rows[torch.randperm(len(rows))].split(self.spec["batch_size"]):
                with torch.no_grad():
                    z = self.features(self.x[chosen])
                optimizer.zero_grad()
                nn.functional.cross_entropy(head(z), self.y[chosen]).backward()
                optimizer.step()


if __name__ == "__main__":
    serve(Heads)
