"""Whose code runs: what this user let jfl run before stands in a file of their own.

A run folder may come from anybody, and so may every hash in it. The list is therefore kept outside
of all runs, in `$XDG_STATE_HOME/jfl/plugins.json`, and counts only if nobody else can write it.
"""

import fcntl
import json
import os
import stat
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jfl.errors import SafetyError
from jfl.files.strict_json import dumps

FILE = "plugins.json"
_LARGEST = 1 << 20  # bytes; an entry takes about 150
_MADE_BY_JFL = {
    "config.yaml": ("status.json", "environment.json", "plan.json"),
    "sweep.yaml": ("cells",),
    "cell.yaml": ("../../sweep.yaml",),
}
"""Configs that jfl saved, and what then lies beside them."""


def own_folder(variable: str, usual: str) -> Path | None:
    """Returns this user's folder of one kind, by the XDG rules; None where they have no home.

    Args:
        variable: the setting of the environment that names it, such as XDG_STATE_HOME.
        usual: where it is otherwise, from the home folder.
    """
    named = Path(os.environ.get(variable, ""))
    if named.is_absolute():  # others are to be ignored
        return named / "jfl"
    try:
        return Path.home() / usual / "jfl"
    except RuntimeError:
        return None


def saved(config: Path) -> bool:
    """Tells whether a config lies in a run or sweep: jfl wrote it, nobody knows for whom."""
    beside = _MADE_BY_JFL.get(config.name, ())
    return any((config.parent / name).exists() for name in beside)


def known(sha256: str) -> bool:
    """Tells whether this user let jfl run plugins of this fingerprint before.

    Raises:
        SafetyError: the list is not theirs alone.
    """
    folder = own_folder("XDG_STATE_HOME", ".local/state")
    return folder is not None and sha256 in _read(folder)


def remember(sha256: str, plugins: Path) -> None:
    """Notes that this user lets jfl run some plugins; they are asked again where that fails."""
    folder = own_folder("XDG_STATE_HOME", ".local/state")
    if folder is None:
        return
    with suppress(OSError, SafetyError):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            content = _read(folder)
            if sha256 not in content:
                today = datetime.now(UTC).date().isoformat()
                content[sha256] = {"folder": os.fspath(plugins), "since": today}
                _write(folder / FILE, dumps(content, indent=1))
        finally:
            os.close(lock)


def _write(path: Path, text: str) -> None:
    """Writes a file that only this user can read, whole or not at all."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    aside.unlink(missing_ok=True)
    try:
        number = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(number, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(number)
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def _read(folder: Path) -> dict[str, Any]:
    """Returns what the list holds, nothing where there is none or it is damaged.

    Raises:
        SafetyError: others can write it, or it came with a run.
    """
    path = folder / FILE
    for above in path.resolve().parents:
        if saved(above / "config.yaml") or saved(above / "sweep.yaml"):
            raise SafetyError(
                f"{path} lists the plugins you trust, but lies in the run folder {above}; set "
                "XDG_STATE_HOME to a folder outside of all runs"
            )
    require_own(folder)
    try:
        number = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise SafetyError(f"{path} lists the plugins you trust, but {error.strerror}") from error
    with os.fdopen(number, "rb") as file:
        _require(os.fstat(number), path, "600")
        try:
            content = json.loads(file.read(_LARGEST))
        except (ValueError, RecursionError):
            return {}
    return content if isinstance(content, dict) else {}


def require_own(folder: Path) -> None:
    """Refuses a folder, where there is one, that others could write.

    Raises:
        SafetyError: with the remedy.
    """
    try:
        about = folder.stat()
    except FileNotFoundError:
        return
    except OSError as error:
        raise SafetyError(f"{folder} cannot be looked at: {error.strerror}") from error
    _require(about, folder, "700")


def _require(about: os.stat_result, path: Path, mode: str) -> None:
    kinds = (stat.S_ISDIR if mode == "700" else stat.S_ISREG)(about.st_mode)
    if not kinds or about.st_uid != os.geteuid():
        raise SafetyError(f"{path} is not yours; jfl keeps there what you trust: move it away")
    if about.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise SafetyError(
            f"{path} can be written by others, and jfl keeps there what you trust: look at it, "
            f"then chmod {mode} it or move it away"
        )
