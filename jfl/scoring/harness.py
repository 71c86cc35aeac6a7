"""A network as lm-eval takes it, so that its tasks run on any that jfl opens.

Source: EleutherAI/lm-evaluation-harness, lm_eval/api/model.py, for what its object is asked.
"""

from collections.abc import Sequence
from typing import Any

from jfl.errors import UsageError
from jfl.generate.replies import pieces
from jfl.generate.rows import Generator
from jfl.generate.settings import MOST_ENDS, Settings
from jfl.scoring import texts
from jfl.scoring.likelihood import Scorer

_DEFAULT = 256  # tokens of a reply, where a task does not say


def harness(scorer: Scorer, generator: Generator | None = None) -> Any:
    """Returns the `lm_eval.api.model.LM` of a network, for `lm_eval.simple_evaluate(model=...)`.

    Args:
        scorer: the network.
        generator: the same one, decoding, for tasks that generate.

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
            if generator is None:
                raise UsageError("this task generates; give a generator, or leave the task out")
            replies = [""] * len(requests)
            alike: dict[str, list[int]] = {}
            for number, request in enumerate(requests):
                alike.setdefault(repr(request.args[1]), []).append(number)
            for numbers in alike.values():
                told = requests[numbers[0]].args[1]
                settings = _settings(scorer, told)
                room = generator.length - settings.max_tokens
                prompts = [_prompt(scorer, requests[n].args[0], room) for n in numbers]
                for piece in pieces(generator, prompts, settings):
                    replies[numbers[piece.row]] += piece.text
            return replies

    return Network()


def _settings(scorer: Scorer, told: dict[str, Any]) -> Settings:
    until = told.get("until") or ()
    drawn = told.get("do_sample", False)
    return Settings(
        max_tokens=told.get("max_gen_toks", _DEFAULT),
        temperature=told.get("temperature", 1.0) if drawn else 0.0,
        top_k=told.get("top_k", 0),
        top_p=told.get("top_p", 1.0),
        stop=(until,) if isinstance(until, str) else tuple(until),
        stops=scorer.tokenizer.stops[:MOST_ENDS],
    )


def _prompt(scorer: Scorer, text: str, room: int) -> list[int]:
    """Returns the end of a text, as much as there is room for."""
    return [*scorer.tokenizer.prefix, *scorer.tokenizer.encode(text)][-room:] or scorer.start
