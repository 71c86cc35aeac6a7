"""Regular expressions that came with a file, matched without trusting that they ever end."""

import json
import re
import subprocess
import sys
from collections.abc import Sequence

from jfl.errors import CheckpointError, SafetyError

_SECONDS = 10.0
_WORDS = re.compile(r"[\w.-]+")

# as peft's get_pattern_key does: a pattern is the end of a name, from a dot or the start on
_END = r"(.*\.)?(%s)$"
# as its match_target_against_key does
_WHOLE = r"(?:%s)\Z"
_PROGRAM = """
import json, re, sys
patterns, names, form = json.load(sys.stdin)
try:
    known = [(pattern, re.compile(form % pattern)) for pattern in patterns]
    print(json.dumps([next((p for p, c in known if c.match(name)), None) for name in names]))
except (re.error, OverflowError, RecursionError) as error:
    print(json.dumps(str(error)))
"""


def first(
    patterns: Sequence[str], names: Sequence[str], *, whole: bool = False
) -> list[str | None]:
    """Returns for each name the first pattern that matches its end, None where none does.

    Args:
        patterns: regular expressions of anybody.
        names: what they are to match.
        whole: whether they must match all of a name.

    Raises:
        CheckpointError: a pattern is no regular expression.
        SafetyError: matching them takes longer than anyone could have meant.
    """
    form = _WHOLE if whole else _END
    if all(map(_WORDS.fullmatch, patterns)):  # the usual case: nothing repeats
        known = [(pattern, re.compile(form % pattern)) for pattern in patterns]
        return [next((p for p, c in known if c.match(name)), None) for name in names]
    try:  # re cannot be told to stop, but a process can
        done = subprocess.run(
            [sys.executable, "-I", "-c", _PROGRAM], input=json.dumps([patterns, names, form]),
            capture_output=True, text=True, timeout=_SECONDS, check=True,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise SafetyError(
            f"the patterns of adapter_config.json take over {_SECONDS:.0f} s to match; refused"
        ) from error
    except (OSError, subprocess.CalledProcessError) as error:
        raise CheckpointError("the patterns of adapter_config.json cannot be matched") from error
    found = json.loads(done.stdout)
    if isinstance(found, str):
        raise CheckpointError(
            f"adapter_config.json has a pattern that is no regular expression ({found[:80]})"
        )
    return found
