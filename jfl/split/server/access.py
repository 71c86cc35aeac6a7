"""Who may call a server: by a certificate, a token, or because nobody else can reach it."""

import hmac
from typing import Any

import grpc

from jfl.errors import UsageError
from jfl.split.server.refused import Refused
from jfl.split.server.settings import Listen
from jfl.split.wire.credentials import read, token


class Access:
    """The files that decide it, read once."""

    def __init__(self, listen: Listen) -> None:
        """Reads them.

        Raises:
            UsageError: one cannot be read, or the token is too short.
        """
        self._listen = listen
        named = {"cert": listen.cert, "key": listen.key, "ca": listen.ca}
        self._files = {name: read(path, f"listen.{name}") for name, path in named.items() if path}
        self._token = b""
        if listen.token_file:
            self._token = token(listen.token_file, "listen.token_file").encode()

    def listen(self, server: Any) -> int:
        """Lets a server of gRPC listen; returns the port.

        Raises:
            UsageError: the port is taken, or a file is no certificate.
        """
        host, port = self._listen.host, self._listen.port
        place = (
            f"[{host}]:{port}" if ":" in host.strip("[]") and "[" not in host else f"{host}:{port}"
        )
        try:
            if "cert" not in self._files:
                return server.add_insecure_port(place)
            credentials = grpc.ssl_server_credentials(
                [(self._files["key"], self._files["cert"])],
                root_certificates=self._files.get("ca"),
                require_client_auth="ca" in self._files,
            )
            return server.add_secure_port(place, credentials)
        except (RuntimeError, ValueError) as error:
            raise UsageError(
                f"cannot listen at {place}: the port is taken, the address is not this machine's, "
                "or listen.cert and listen.key are no pair; give another --port"
            ) from error

    def caller(self, context: Any) -> str:
        """Returns the name in a caller's certificate, empty where it needs none.

        Raises:
            Refused: it does not know the token.
        """
        if self._token:
            given = dict(context.invocation_metadata()).get("authorization", "")
            said = given.removeprefix("Bearer ").encode() if isinstance(given, str) else given
            if not hmac.compare_digest(said, self._token):
                raise Refused("UNAUTHENTICATED", "the token is missing or wrong; see --token-file")
        if "ca" not in self._files:
            return ""
        names = context.auth_context().get("x509_common_name", [])
        return names[0].decode(errors="replace") if names else ""
