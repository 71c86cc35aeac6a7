"""A network as lm-eval takes it, so that its tasks run on any that jfl opens.

Source: EleutherAI/lm-evaluation-harness, lm_eval/api/model.py, for what its object is asked.
"""

from collections.abc import Sequence
from typing import Any

from jfl.errors import UsageError
from jfl.scoring import texts
from jfl.scoring.likelihood import Scorer


def harness(scorer: Scorer) -> Any:
    """Returns the `lm_eval.api.model.LM` of a network, for `lm_eval.simple_evaluate(model=...)`.

    Raises:
        UsageError: lm-eval is not installed.
    """
    try:
        from lm_eval.api.model import LM
    except ImportError as error:
        raise UsageError(
            "lm-eval is not installed; install jfl with the extra eval (JFL_EXTRAS=eval)"
        ) from error

    class Network(LM):
        """What lm-eval asks."""

        def loglikelihood(self, requests: Sequence[Any], **_: Any) -> list[tuple[float, bool]]:
            pairs = [scorer.pair(*request.args) for request in requests]
            return [(found.nats, found.greedy) for found in scorer.score(pairs)]

        def loglikelihood_rolling(self, requests: Sequence[Any], **_: Any) -> list[float]:
            measured = texts.measure(scorer, [request.args[0] for request in requests])
            return [-each.nats for each in measured]

        def generate_until(self, requests: Sequence[Any], **_: Any) -> list[str]:
            del requests
            raise UsageError("tasks that generate are not scored by likelihoods; leave them out")

    return Network()
