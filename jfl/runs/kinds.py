"""Kinds of jobs: what is known of each without starting it, or importing what it computes with."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from jfl import config as configs
from jfl import plugins
from jfl.errors import JflError, UsageError
from jfl.files.documents import Document
from jfl.runs import settings

FIRST = "federated"
"""The kind of a config that names none: there was no other once."""


class Kind:
    """One kind of job, by its module; what that does not define is as here."""

    def __init__(
        self,
        name: str,
        module: ModuleType | None = None,
        content: Mapping[str, Any] | None = None,
    ) -> None:
        """A kind without a module is one that this jfl does not know; its runs can be looked at.

        Args:
            name: as in the config.
            module: of the job; its `variant(config)` may return another, whose names come first.
            content: of the config, where that is known.
        """
        self.name = name
        self._module = module
        varies = getattr(module, "variant", None)
        self._variant = varies(content) if varies and content is not None else None

    @property
    def unit(self) -> str:
        """What it counts: round, step."""
        return self.said("UNIT", "step")

    @property
    def total(self) -> str:
        """The setting that says how many units there are to be."""
        return f"{self.unit}s"

    @property
    def metric(self) -> str:
        """The key by which a record holds an evaluation: the number a person asks for first."""
        return self.said("METRIC", "loss")

    @property
    def score(self) -> str:
        """The key of how good the state is on validation data."""
        return self.said("SCORE", "score")

    @property
    def form(self) -> type[Document] | None:
        """What the config of its runs must hold for those who only look."""
        return self.said("FORM")

    @property
    def resumable(self) -> Sequence[str]:
        """Settings, or sections of them, that may change when a run goes on."""
        return self.said("RESUMABLE", (self.total, "evaluate.", "checkpoint."))

    @property
    def schema(self) -> type[configs.Section]:
        """What its settings are.

        Raises:
            UsageError: this jfl does not know it.
        """
        return self._known().Config

    def layered(self, layers: Iterable[dict[str, Any]]) -> dict[str, Any]:
        """Merges settings, later ones over earlier ones."""
        return settings.layered(layers, self.said("adapt"))

    def read(self, names: Sequence[str]) -> dict[str, Any]:
        """Reads and merges yaml files, unchecked."""
        return settings.read(names, self.said("adapt"))

    def load(self, names: Sequence[str], changes: Sequence[str]) -> Any:
        """Returns checked settings from yaml files and changes to them.

        Raises:
            UsageError: the first thing wrong.
        """
        return self.assemble(self.read(names), settings.changes(changes))

    def assemble(self, given: dict[str, Any], changes: dict[str, Any]) -> Any:
        """Returns checked settings from settings and changes to them.

        Raises:
            UsageError: the first thing wrong.
        """
        own = self.said("assemble")
        if own:
            return own(given, changes)
        content = self.layered([{"kind": self.name}, given, changes])
        return configs.check(self.schema, configs.resolve(content))

    def saved(self, path: Path, changes: Sequence[str] = ()) -> Any:
        """Returns the settings of a run, with changes.

        Raises:
            UsageError: the first thing wrong.
            SafetyError: they would look something up, as no saved config does.
        """
        return settings.saved(self.schema, path, changes)

    def build(self, config: Any, folder: Any = None, **given: Any) -> Any:
        """Returns the job that a config says, of a run that there is or is to be made."""
        return self._known().build(config, folder, **given)

    def said(self, name: str, usual: Any = None) -> Any:
        """Returns what its module defines under a name."""
        return getattr(self._variant, name, getattr(self._module, name, usual))

    def _known(self) -> ModuleType:
        if self._module is None:
            known = ", ".join(plugins.names("job"))
            raise UsageError(
                f"kind={self.name} is no job that this jfl knows; there are: {known}; one of your "
                "own comes with --plugins"
            )
        return self._module


def asked(content: Mapping[str, Any]) -> Kind:
    """Returns the kind of a config that is to be run.

    Raises:
        UsageError: there is none.
    """
    name = str(content.get("kind", FIRST))
    return Kind(name, plugins.load("job", name), content)


def of(content: Mapping[str, Any], config: Path | None = None) -> Kind:
    """Returns the kind of a config; plugins of a saved one count if this user lets them run.

    Args:
        content: what the config holds.
        config: its file, where plugins it names are to be asked for.
    """
    name = str(content.get("kind", FIRST))
    if name not in plugins.names("job") and config is not None:
        try:
            settings.with_plugins(dict(content), config.parent, config, saved=True)
        except JflError:
            return Kind(name)
    try:
        return asked(content)
    except JflError:
        return Kind(name)
