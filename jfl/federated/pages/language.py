"""How people see federated runs of networks of language: perplexity in place of accuracy."""

from collections.abc import Mapping
from typing import Any

from jfl.federated.pages.clients import Columns
from jfl.federated.pages.view import TAGS, FederatedView
from jfl.report.pages import view
from jfl.runs.journal import number_in

_TAGS = {
    "test_perplexity": "test/perplexity",
    "test_perplexity_mean": "test/perplexity_mean",
    "test_perplexity_worst10": "test/perplexity_worst10",
    "test_loss": "test/loss",
    "test_bits_per_byte": "test/bits_per_byte",
    "valid_perplexity": "valid/perplexity",
    "valid_loss": "valid/loss",
}


_COLUMNS: Columns = {
    "perplexity": ("test_perplexity", "perplexity"),
    "loss": ("test_loss", "loss (nats)"),
    "bits_per_byte": ("test_bits_per_byte", "bits per byte"),
}


class LanguageView(FederatedView):
    """Perplexity, loss and bits per byte, of each client and of all windows together."""

    metric = "perplexity"
    columns = _COLUMNS
    reached = ("a perplexity of ", "over all test windows")

    def evaluated(self, record: Mapping[str, Any]) -> str:
        """Returns perplexity and bits per byte."""
        perplexity, bits = (number_in(record, f"test_{n}") for n in ("perplexity", "bits_per_byte"))
        if perplexity is None or bits is None:
            return ""
        return f"perplexity {perplexity:.4g} ({bits:.3f} bits per byte)"

    def tags(self) -> Mapping[str, str]:
        """Returns what TensorBoard calls results and costs."""
        return view.TAGS | {"train_loss": TAGS["train_loss"]} | _TAGS
