"""The messages, field by field, as a .proto file has them; numbers are never used for another."""

from typing import Any

ENUMS = {"Dtype", "ServingStatus"}

_SPLIT: dict[str, dict[int, str]] = {
    "Tensor": {
        1: "Dtype dtype",
        2: "repeated uint32 shape",
        3: "bytes data",  # little-endian, in the order of C
        4: "bytes scale",  # float32: one for f16, one for each token for int8
        5: "fixed32 crc32",  # of data, then scale
    },
    "Named": {1: "string name", 2: "Tensor tensor"},
    "Frame": {1: "uint64 total", 2: "bytes data"},  # a piece of a message of `total` bytes
    "OpenRequest": {
        1: "uint32 version",
        2: "string client",  # a secret of the client's own
        3: "repeated uint32 cut",
        4: "string network",  # config.json without what decides nothing
        5: "string sha256",  # of all weights, where they are known
        6: "string mode",  # frozen, own, shared
        7: "string lora",
        8: "string optimizer",
        9: "uint64 seed",
        10: "uint64 step",  # the last one the client has applied
        11: "Dtype reply",
    },
    "OpenReply": {
        1: "string session",
        2: "uint64 step",
        3: "string lora",
        4: "string optimizer",
        5: "uint64 trainable",
        6: "uint64 parameters",
        7: "string versions",
        8: "uint64 most_bytes",
    },
    "Call": {
        1: "string session",
        2: "uint64 step",
        3: "uint32 micro",
        4: "Tensor input",
        5: "Tensor gradient",
    },
    "Reply": {1: "Tensor tensor", 2: "bool needs_input", 3: "double seconds"},
    "StepRequest": {
        1: "string session",
        2: "uint64 step",
        3: "uint32 micros",
        4: "double learning_rate",
        5: "double clip",  # largest norm of all parts together; 0 = none
        6: "double norm2",  # squared norm of the client's own gradients
        7: "repeated uint64 keep",  # steps that the client may go on from if it is killed
    },
    "StepReply": {1: "double norm2", 2: "double seconds"},
    "AdapterRequest": {1: "string session"},
    "Adapter": {1: "repeated Named arrays", 2: "uint64 step"},
    "AverageRequest": {
        1: "string session", 2: "uint64 round", 3: "double weight", 4: "repeated Named arrays",
    },
    "PutRequest": {1: "string session", 2: "repeated Named arrays"},
    "PutReply": {},
    "Saved": {1: "uint64 step", 2: "string about", 3: "repeated Named arrays"},  # on the disk
    "CloseRequest": {1: "string session", 2: "bool forget"},
    "CloseReply": {},
}  # fmt: skip

METHODS: dict[str, tuple[str, str, bool]] = {
    "OpenSession": ("OpenRequest", "OpenReply", False),
    "Forward": ("Call", "Reply", False),
    "Backward": ("Call", "Reply", False),
    "Eval": ("Call", "Reply", False),
    "Step": ("StepRequest", "StepReply", False),
    "GetAdapter": ("AdapterRequest", "Adapter", False),
    "PutAdapter": ("PutRequest", "PutReply", False),
    "Average": ("AverageRequest", "Adapter", False),
    "Close": ("CloseRequest", "CloseReply", False),
    # the same with messages in pieces, both ways, for those of more than 2 MiB
    "ForwardStream": ("Frame", "Frame", True),
    "BackwardStream": ("Frame", "Frame", True),
    "EvalStream": ("Frame", "Frame", True),
    "GetAdapterStream": ("Frame", "Frame", True),
    "PutAdapterStream": ("Frame", "Frame", True),
    "AverageStream": ("Frame", "Frame", True),
}

_HEALTH: dict[str, dict[int, str]] = {
    "HealthCheckRequest": {1: "string service"},
    "HealthCheckResponse": {1: "ServingStatus status"},
}
_REFLECTION: dict[str, dict[int, str]] = {
    "ServerReflectionRequest": {
        1: "string host",
        3: "oneof string file_by_filename",
        4: "oneof string file_containing_symbol",
        7: "oneof string list_services",
    },
    "FileDescriptorResponse": {1: "repeated bytes file_descriptor_proto"},
    "ServiceResponse": {1: "string name"},
    "ListServiceResponse": {1: "repeated ServiceResponse service"},
    "ErrorResponse": {1: "int32 error_code", 2: "string error_message"},
    "ServerReflectionResponse": {
        1: "string valid_host",
        2: "ServerReflectionRequest original_request",
        4: "oneof FileDescriptorResponse file_descriptor_response",
        6: "oneof ListServiceResponse list_services_response",
        7: "oneof ErrorResponse error_response",
    },
}

FILES: list[tuple[str, str, Any, Any, Any]] = [
    (
        "jfl/split/v1/split.proto", "jfl.split.v1", _SPLIT,
        {"Dtype": ("f32", "bf16", "f16", "int8")}, {"Split": METHODS},
    ),
    (
        "grpc/health/v1/health.proto", "grpc.health.v1", _HEALTH,
        {"ServingStatus": ("UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN")},
        {"Health": {"Check": ("HealthCheckRequest", "HealthCheckResponse", False)}},
    ),
    (
        "grpc/reflection/v1alpha/reflection.proto", "grpc.reflection.v1alpha", _REFLECTION, {},
        {"ServerReflection": {
            "ServerReflectionInfo": ("ServerReflectionRequest", "ServerReflectionResponse", True),
        }},
    ),
]  # fmt: skip
