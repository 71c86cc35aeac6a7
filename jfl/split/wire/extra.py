"""What has to be installed beside the core."""

from importlib.util import find_spec

from jfl.errors import UsageError

_MODULES = {"grpc": "grpcio", "google": "protobuf"}


def require() -> None:
    """Refuses to begin where something is not installed.

    Raises:
        UsageError: names it and the extra that brings it.
    """
    missing = [name for module, name in _MODULES.items() if find_spec(module) is None]
    if missing:
        raise UsageError(
            f"split learning needs {' and '.join(missing)}; install jfl's extra `split`, as in "
            "JFL_EXTRAS=split"
        )
