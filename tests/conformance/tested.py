"""Which plugins the conformance tests look at: those of `--plugins DIR`, else jfl's own."""

from types import ModuleType

from jfl import plugins


def names(section: str) -> list[str]:
    """The plugins of a config section that are tested."""
    if any(plugins.outside(any_section) for any_section in plugins.FOLDERS):
        return sorted(plugins.outside(section))
    return plugins.names(section)


def modules() -> dict[str, ModuleType]:
    """All of them, imported."""
    return {
        f"{section}/{name}": plugins.load(section, name)
        for section in plugins.FOLDERS
        for name in names(section)
    }
