"""gRPC's own services: is it well, and what does it offer.

Source: grpc/grpc, doc/health-checking.md and doc/server-reflection.md; grpc/grpc-proto.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import grpc

from jfl.split.wire import messages
from jfl.split.wire.frames import parsed
from jfl.split.wire.tensors import Malformed

_SERVING, _NOT_SERVING = 1, 2
_NOT_FOUND = 5  # of gRPC's statuses


def health(serving: Callable[[], bool]) -> Any:
    """Returns the service grpc.health.v1.Health, whose `Check` says whether calls are answered."""

    def check(content: bytes, context: Any) -> bytes:
        asked = _read(content, f"{messages.HEALTH[:-6]}HealthCheckRequest", context)
        if asked.service not in ("", messages.SERVICE):
            context.abort(grpc.StatusCode.NOT_FOUND, f"there is no {asked.service[:80]} here")
        made = messages.message("grpc.health.v1.HealthCheckResponse")
        return made(status=_SERVING if serving() else _NOT_SERVING).SerializeToString()

    methods = {"Check": grpc.unary_unary_rpc_method_handler(check)}
    return grpc.method_handlers_generic_handler(messages.HEALTH, methods)


def reflection() -> Any:
    """Returns the service grpc.reflection.v1alpha.ServerReflection."""

    def info(asked: Iterable[bytes], context: Any) -> Iterator[bytes]:
        name = f"{messages.REFLECTION}Request"
        for content in asked:
            request = _read(content, name, context)
            yield _described(request).SerializeToString()

    methods = {"ServerReflectionInfo": grpc.stream_stream_rpc_method_handler(info)}
    return grpc.method_handlers_generic_handler(messages.REFLECTION, methods)


def _described(request: Any) -> Any:
    made = messages.message(f"{messages.REFLECTION}Response")(original_request=request)
    files = messages.files()
    which = request.WhichOneof("request")
    if which == "list_services":
        for file in files:
            for service in file.service:
                made.list_services_response.service.add(name=f"{file.package}.{service.name}")
        return made
    asked = request.file_by_filename or request.file_containing_symbol
    for file in files:
        if asked == file.name or asked in _symbols(file):
            made.file_descriptor_response.file_descriptor_proto.append(file.SerializeToString())
            return made
    made.error_response.error_code = _NOT_FOUND
    made.error_response.error_message = f"{asked[:80]} is not known"
    return made


def _symbols(file: Any) -> set[str]:
    own = [*file.message_type, *file.enum_type, *file.service]
    names = {f"{file.package}.{item.name}" for item in own}
    for service in file.service:
        names |= {f"{file.package}.{service.name}.{method.name}" for method in service.method}
    return names


def _read(content: bytes, name: str, context: Any) -> Any:
    try:
        return parsed(content, name)
    except Malformed as error:
        context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
