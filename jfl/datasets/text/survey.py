"""What a set of texts holds: documents, letters, owners, licence and source, and how it begins."""

from collections import Counter
from typing import Any

from jfl import plugins
from jfl.datasets.text.base import Config, Question, Texts

_BEGINNING = 240  # letters of a sample
_LISTED = 50  # owners


def describe(config: Config, texts: Texts) -> dict[str, Any]:
    """Returns counts, owners, licence, source and the beginning of the middle document."""
    module = plugins.load("text", config.name)
    place = module.find(config)
    documents = texts.documents
    owners = Counter(document.owner for document in documents)
    labels = Counter(document.label for document in documents if document.label is not None)
    middle = documents[len(documents) // 2]
    beginning = " ".join(middle.text[: 2 * _BEGINNING].split())[:_BEGINNING]
    choices = getattr(middle, "choices", ())
    return {
        "name": config.name,
        "title": texts.name,
        "documents": len(documents),
        "characters": sum(len(document.text) for document in documents),
        "questions": sum(isinstance(document, Question) for document in documents) or None,
        "owners": {"are": texts.owners, "count": len(owners)},
        "largest": dict(owners.most_common(_LISTED)) if len(owners) < len(documents) else {},
        "labels": dict(labels.most_common(_LISTED)),
        "licence": texts.licence,
        "source": texts.source,
        "place": None if place is None else str(place),
        "sha256": texts.sha256,
        "sample": f"{middle.name}: {beginning}" + "".join(f" [{choice}]" for choice in choices),
    }
