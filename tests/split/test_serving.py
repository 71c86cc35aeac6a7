"""What a server refuses, and that it stays up; duplicates; who may call; its standard services."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from jfl import config as configs
from jfl.errors import UsageError
from jfl.split import certs
from jfl.split.client.remote import Remote, ServerError
from jfl.split.client.settings import Server
from jfl.split.server.serving import Serving
from jfl.split.server.settings import Config, Listen
from jfl.split.wire import frames, messages
from jfl.split.wire.tensors import encode
from jfl.split.wire.version import network_of
from tests.split import servers

H = np.random.default_rng(0).normal(size=(2, 5, 8)).astype(np.float32)


def hello(**changes: Any) -> Any:
    given = {
        "version": 1, "client": "c" * 16, "cut": servers.CUT, "seed": 3, "reply": 0,
        "network": network_of(servers.NETWORK), "mode": "own", "optimizer": "{}",
        "lora": '{"rank": 2, "alpha": 4.0, "targets": ["attention.qkv"]}',
    }  # fmt: skip
    return messages.message("OpenRequest")(**given | changes)


def remote(address: str, settings: dict | None = None, **changes: Any) -> Remote:
    given = {"address": address, "timeout": 20.0, "patience": 0.0} | (settings or {})
    return Remote(configs.check(Server, given), lambda: hello(**changes))


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Serving]]:
    limits = {"sessions": 3, "batch": 4, "rank": 4, "message_mb": 1}
    with servers.served(tmp_path_factory.mktemp("served"), limits=limits) as (address, server):
        yield address, server


def call(session: str, **given: Any) -> Any:
    return messages.message("Call")(
        **{"session": session, "step": 1, "input": encode(H, "f32")} | given
    )


@pytest.mark.parametrize(
    ("changes", "status", "said"),
    [
        ({"cut": [1, 2]}, "FAILED_PRECONDITION", r"cut \[1, 2\], but this server \[1, 3\]"),
        ({"network": "{}"}, "FAILED_PRECONDITION", "network"),
        ({"sha256": "ab" * 32}, "FAILED_PRECONDITION", "weights abababababababab"),
        ({"version": 9}, "FAILED_PRECONDITION", "version 9"),
        ({"mode": "shared"}, "FAILED_PRECONDITION", "has trunk=own"),
        ({"client": "short"}, "INVALID_ARGUMENT", "16 to 200"),
        ({"lora": '{"rank": 8}'}, "INVALID_ARGUMENT", "rank above 4"),
        ({"lora": '{"rank": 2, "targets": ["nothing"]}'}, "INVALID_ARGUMENT", "fits no layer"),
        ({"lora": "{"}, "INVALID_ARGUMENT", "no whole JSON"),
        ({"optimizer": '{"speed": 1}'}, "INVALID_ARGUMENT", "speed is not a setting"),
        ({"step": 7}, "FAILED_PRECONDITION", "no adapter of yours after step 7"),
        ({"reply": 7}, "INVALID_ARGUMENT", "type of replies"),
    ],
)  # fmt: skip
def test_who_does_not_fit_is_not_let_in(running: Any, changes: Any, status: str, said: str) -> None:
    with pytest.raises(ServerError, match=said) as refused:
        remote(running[0], **changes).open()
    assert refused.value.status == status
    assert refused.value.code == 2


def test_calls_that_are_wrong_are_refused_and_the_server_stays_up(running: Any) -> None:
    one = remote(running[0])
    session = one.open().session
    damaged = encode(H, "f32")
    damaged.crc32 = 1
    lies = encode(H, "f32")
    lies.shape[0] = 2**31
    nan = encode(H, "f32")
    nan.data = np.full_like(H, np.nan).tobytes()
    import zlib

    nan.crc32 = zlib.crc32(nan.data)
    wide, many = np.zeros((2, 5, 9), np.float32), np.zeros((5, 5, 8), np.float32)
    long = np.zeros((1, 17, 8), np.float32)
    for method, given, said in (
        ("Forward", {"input": damaged}, "checksum"),
        ("Forward", {"input": lies}, "that has 320 bytes"),
        ("Forward", {"input": nan}, "NaN or infinite"),
        ("Forward", {"input": encode(wide, "f32")}, r"\[any, any, 8\] was to come"),
        ("Forward", {"input": encode(many, "int8")}, "5 texts of 5 tokens; up to 4 of 16"),
        ("Eval", {"input": encode(long, "f32")}, "1 texts of 17 tokens"),
        ("Forward", {"step": 3}, "too early"),
        ("Backward", {"step": 3}, "too early"),
    ):
        with pytest.raises(ServerError, match=said):
            one.call(method, lambda key, given=given: call(key, **given))
    step = messages.message("StepRequest")
    with pytest.raises(ServerError, match="1 micro-batches, but 0 came back"):
        one.call("Step", lambda key: step(session=key, step=1, micros=1, learning_rate=0.1))
    channel = grpc.insecure_channel(running[0])
    path = f"/{messages.SERVICE}/"
    for method, content, code in (
        ("Forward", b"\xff" * 50, "INVALID_ARGUMENT"),
        ("Forward", b"", "NOT_FOUND"),
        ("Forward", call("nobody").SerializeToString(), "NOT_FOUND"),
        ("Forward", bytes(3 << 20), "RESOURCE_EXHAUSTED"),
        ("Nothing", b"", "UNIMPLEMENTED"),
    ):
        with pytest.raises(grpc.RpcError) as refused:
            channel.unary_unary(path + method)(content, timeout=20)
        assert refused.value.code().name == code, method
    frame = messages.message("Frame")
    for pieces in ([frame(total=1 << 40, data=b"a")], [frame(total=5, data=b"a")], [b"\xff"]):
        sent = [p if isinstance(p, bytes) else p.SerializeToString() for p in pieces]
        with pytest.raises(grpc.RpcError) as refused:
            list(channel.stream_stream(path + "ForwardStream")(iter(sent), timeout=20))
        assert refused.value.code().name == "INVALID_ARGUMENT"
    channel.close()
    one.call("Forward", call)  # it is well
    assert one.open().session == session
    one.close()


def test_what_comes_twice_is_done_once(running: Any, tmp_path: Path) -> None:
    one = remote(running[0], client="twice" * 4)
    step, gradient = messages.message("StepRequest"), encode(0.1 * H, "f32")

    def passed(number: int, times: int) -> tuple[bytes, ...]:
        found = [
            one.call("Forward", lambda key: call(key, step=number)).tensor.data
            for _ in range(times)
        ]
        for n in range(times):
            again = {"input": encode(H, "f32")} if n else {"input": None}
            made = one.call(
                "Backward", lambda key, g=again: call(key, step=number, gradient=gradient, **g)
            )
            found.append(made.tensor.data)
        said = {"step": number, "micros": 1, "learning_rate": 0.05}
        for _ in range(times):
            reply = one.call("Step", lambda key: step(session=key, **said))
            found.append(reply.norm2.hex().encode())
        return tuple(found)

    once = [passed(n, 1) for n in (1, 2, 3)]
    one.call("Close", lambda key: messages.message("CloseRequest")(session=key, forget=True))
    one.opened = None
    thrice = [passed(n, 3) for n in (1, 2, 3)]
    for first, again in zip(once, thrice, strict=True):
        assert again == tuple(word for word in first for _ in range(3))
    assert once[0] != once[1]
    with pytest.raises(ServerError, match="step 2 is done: the last one is 3"):
        one.call("Forward", lambda key: call(key, step=2))
    # a client that goes on from step 2 gets the adapter it had then
    one.opened = None
    back = remote(running[0], client="twice" * 4, step=2)
    assert back.call("Forward", lambda key: call(key, step=3)).tensor.data == once[2][0]
    with pytest.raises(ServerError, match=r"after step 3 \(there are: 2\)"):
        remote(running[0], client="twice" * 4, step=3).open()


def test_no_more_clients_than_there_is_room_for(running: Any) -> None:
    server = running[1]._ready
    server._sessions.clear()
    for name in "abc":
        remote(running[0], client=name * 16).open()
    with pytest.raises(ServerError, match="3 clients are here already") as refused:
        remote(running[0], client="d" * 16).open()
    assert refused.value.status == "RESOURCE_EXHAUSTED"
    remote(running[0], client="a" * 16).open()  # who was here comes in again
    for session in server._sessions.values():
        session.used -= 4000
    remote(running[0], client="d" * 16).open()
    assert len(server) == 1


def test_health_and_reflection(running: Any) -> None:
    channel = grpc.insecure_channel(running[0])
    check = channel.unary_unary(f"/{messages.HEALTH}/Check")
    assert check(b"") == b"\x08\x01"
    with pytest.raises(grpc.RpcError, match="NOT_FOUND"):
        check(
            messages.message("grpc.health.v1.HealthCheckRequest")(service="x").SerializeToString()
        )
    asked = messages.message(f"{messages.REFLECTION}Request")
    found = list(
        channel.stream_stream(f"/{messages.REFLECTION}/ServerReflectionInfo")(
            iter([
                asked(list_services="").SerializeToString(),
                asked(file_containing_symbol=messages.SERVICE).SerializeToString(),
                asked(file_by_filename="nothing.proto").SerializeToString(),
            ])
        )
    )  # fmt: skip
    listed, file, absent = map(messages.message(f"{messages.REFLECTION}Response").FromString, found)
    names = [service.name for service in listed.list_services_response.service]
    assert names == [messages.SERVICE, messages.HEALTH, messages.REFLECTION]
    assert file.file_descriptor_response.file_descriptor_proto[0] == (
        messages.files()[0].SerializeToString()
    )
    assert absent.error_response.error_code == 5
    channel.close()


def test_certificates_and_tokens(tmp_path: Path) -> None:
    made, other = tmp_path / "certs", tmp_path / "others"
    for folder in (made, other):
        certs.write(folder, ["localhost", "127.0.0.1"], 1)
    assert (made / "server.key").stat().st_mode & 0o77 == 0
    (tmp_path / "token").write_text("a-secret-of-some-length\n")
    (tmp_path / "wrong").write_text("another-of-some-length\n")
    own = {"cert": str(made / "server.pem"), "key": str(made / "server.key"), "port": 0}
    listen = own | {"ca": str(made / "ca.pem"), "token_file": str(tmp_path / "token")}
    good = {
        "ca": str(made / "ca.pem"), "cert": str(made / "client.pem"),
        "key": str(made / "client.key"), "token_file": str(tmp_path / "token"),
    }  # fmt: skip
    with servers.served(tmp_path, listen=listen) as (address, _):
        assert remote(address, good).open().session
        for change, said in (
            ({"token_file": str(tmp_path / "wrong")}, "token is missing or wrong"),
            ({"token_file": None}, "token is missing or wrong"),
            ({"ca": str(other / "ca.pem")}, "not signed by server.ca"),
            ({"cert": None, "key": None}, "did not answer|not signed"),
            (
                {"cert": str(other / "client.pem"), "key": str(other / "client.key")},
                "not answer|not sig",
            ),
        ):
            with pytest.raises(ServerError, match=said):
                remote(address, good | change).open()
        with pytest.raises(ServerError, match="did not answer"):
            remote(address).open()
        with pytest.raises(UsageError, match=r"need server\.ca"):
            remote(address, {"token_file": str(tmp_path / "token")})
    with pytest.raises(UsageError, match="is not empty"):
        certs.write(made, ["localhost"], 1)


def test_a_server_is_not_opened_to_others_by_chance() -> None:
    for given, said in (
        ({"host": "0.0.0.0"}, "reached by other machines"),
        ({"token_file": "t"}, "not sent in the clear"),
        ({"cert": "a"}, "go together"),
    ):
        with pytest.raises(UsageError, match=said):
            configs.check(Listen, given)
    assert configs.check(Listen, {"host": "0.0.0.0", "insecure": True}).host == "0.0.0.0"


def test_a_state_has_one_server_and_a_port_too(running: Any, tmp_path: Path) -> None:
    address, server = running
    given = server.config.model_dump(mode="json")
    second = Serving(configs.check(Config, given))
    second.write(tmp_path)
    with pytest.raises(UsageError, match="holds the clients of a server"):
        second.step(1, 1)
    port = int(address.rpartition(":")[2])
    changed = configs.merge(given, {"listen": {"port": port}, "state": str(tmp_path / "state")})
    third = Serving(configs.check(Config, changed))
    third.write(tmp_path)
    with pytest.raises(UsageError, match="give another --port"):
        third.step(1, 1)
    third.ended()


def test_large_messages_travel_in_pieces(tmp_path: Path) -> None:
    """The same numbers come back, and no message is above what gRPC takes by itself."""
    with servers.served(tmp_path) as (address, _):
        one = remote(address)
        small = one.call("Eval", call).tensor.data
        monkey = pytest.MonkeyPatch()
        monkey.setattr(frames, "WHOLE", 100)
        monkey.setattr(frames, "PIECE", 64)
        pieces = one.call("Eval", call).tensor.data
        monkey.undo()
        assert pieces == small
        one.close()
