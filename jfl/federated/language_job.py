"""Federations whose networks tell what follows: what people are told of them, if not accuracy."""

from typing import Any

METRIC, SCORE = "test_perplexity", "valid_loss"
TOLD = (
    "test_perplexity",
    "test_perplexity_mean",
    "test_perplexity_worst10",
    "test_loss",
    "test_bits_per_byte",
)
"""What a person is told of a result."""
RESULT = {name: name for name in TOLD}


def view(kind: Any) -> Any:
    """Returns how people see its runs."""
    from jfl.federated.pages.language import LanguageView

    return LanguageView(kind)
