"""The messages and methods of jfl.split.v1, and those of gRPC's health and reflection services.

They are described here, not in generated code, which would be tied to one version of protobuf; the
service tells them to whoever asks by reflection.

Source: grpc/grpc-proto, health/v1/health.proto and reflection/v1alpha/reflection.proto.
"""

from functools import cache
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from jfl.split.wire import schema

PACKAGE, SERVICE = "jfl.split.v1", "jfl.split.v1.Split"
HEALTH, REFLECTION = "grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"

_FIELD = descriptor_pb2.FieldDescriptorProto
_KINDS = {
    "bool": _FIELD.TYPE_BOOL, "bytes": _FIELD.TYPE_BYTES, "double": _FIELD.TYPE_DOUBLE,
    "fixed32": _FIELD.TYPE_FIXED32, "int32": _FIELD.TYPE_INT32, "string": _FIELD.TYPE_STRING,
    "uint32": _FIELD.TYPE_UINT32, "uint64": _FIELD.TYPE_UINT64,
}  # fmt: skip


def files() -> list[Any]:
    """Returns the files of descriptors, as protobuf describes them."""
    return [_file(*args) for args in schema.FILES]


@cache
def _pool() -> Any:
    pool = descriptor_pool.DescriptorPool()
    for file in files():
        pool.Add(file)
    return pool


@cache
def message(name: str) -> Any:
    """Returns the class of a message, by its name in `jfl.split.v1` or its whole name."""
    whole = name if "." in name else f"{PACKAGE}.{name}"
    return message_factory.GetMessageClass(_pool().FindMessageTypeByName(whole))


def _file(name: str, package: str, messages: Any, enums: Any, services: Any) -> Any:
    file = descriptor_pb2.FileDescriptorProto(name=name, package=package, syntax="proto3")
    for title, words in enums.items():
        made = file.enum_type.add(name=title)
        for number, word in enumerate(words):
            made.value.add(name=word, number=number)
    for title, fields in messages.items():
        made = file.message_type.add(name=title)
        for number, word in fields.items():
            _add_field(made, number, word.split(), package)
    for title, methods in services.items():
        made = file.service.add(name=title)
        for method, (asked, answered, streams) in methods.items():
            made.method.add(
                name=method, input_type=f".{package}.{asked}", output_type=f".{package}.{answered}",
                client_streaming=streams, server_streaming=streams,
            )  # fmt: skip
    return file


def _add_field(made: Any, number: int, words: list[str], package: str) -> None:
    """Adds a field that is described as in a .proto file: `repeated uint32 shape`."""
    *labels, kind, name = words
    label = _FIELD.LABEL_REPEATED if "repeated" in labels else _FIELD.LABEL_OPTIONAL
    field = made.field.add(name=name, number=number, label=label)
    if kind in _KINDS:
        field.type = _KINDS[kind]
    else:
        enum = kind in schema.ENUMS
        field.type = _FIELD.TYPE_ENUM if enum else _FIELD.TYPE_MESSAGE
        field.type_name = f".{package}.{kind}"
    if "oneof" in labels:
        if not made.oneof_decl:
            made.oneof_decl.add(name="request" if "Request" in made.name else "response")
        field.oneof_index = 0
