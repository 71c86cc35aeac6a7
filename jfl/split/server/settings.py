"""The settings of a server."""

from typing import Literal

from pydantic import Field, model_validator

from jfl.config import Section, Switch
from jfl.runs.job import NAME
from jfl.runs.job import Config as JobConfig
from jfl.split import source, steps
from jfl.split.parts import Lora
from jfl.split.server import average as averages


class Listen(Section):
    """The section `listen`: where, and to whom."""

    host: str = "127.0.0.1"
    """Address to listen at; others than this machine's own need TLS."""
    port: int = Field(default=50052, ge=0, lt=1 << 16)
    """0 = any that is free; address.json in the run folder says which."""
    cert: str | None = None
    """The server's certificate, a file as `jfl split certs` makes it."""
    key: str | None = None
    """Its private key."""
    ca: str | None = None
    """Only clients with a certificate signed by this one may come in."""
    token_file: str | None = None
    """Only clients that know the word in this file may come in; needs TLS."""
    insecure: Switch = False
    """Listen to other machines without TLS."""

    @model_validator(mode="after")
    def _is_safe(self) -> "Listen":
        if (self.cert is None) != (self.key is None):
            raise ValueError("cert and key go together")
        if self.cert is None and (self.ca or self.token_file):
            raise ValueError(
                "ca and token_file need cert and key: a token is not sent in the clear"
            )
        if self.cert is None and not self.insecure and not is_own(self.host):
            raise ValueError(
                f"host={self.host} is reached by other machines, who would read all that passes; "
                "give cert and key (jfl split certs makes them), or insecure=true"
            )
        return self


def is_own(host: str) -> bool:
    """Tells whether an address is only reached from this machine."""
    return host in ("localhost", "::1", "[::1]") or host.startswith("127.")


class Limits(Section):
    """The section `limits`: what clients may take."""

    sessions: int = Field(default=16, ge=1)
    """Clients at a time."""
    queue: int = Field(default=64, ge=1)
    """Calls that wait for the device; further ones are asked to come again."""
    idle: float = Field(default=3600.0, gt=0)
    """Seconds after which a client that says nothing makes room for others; its state stays."""
    message_mb: int = Field(default=64, ge=1, le=1024)
    """MiB of one message."""
    pending_mb: int = Field(default=256, ge=1)
    """MiB of inputs kept between forward and backward; what was forgotten is asked for again."""
    stash_mb: int = Field(default=0, ge=0)
    """MiB of what the forward pass computed, kept for the backward one; 0 = compute it again."""
    batch: int = Field(default=64, ge=1)
    """Texts of a call."""
    rank: int = Field(default=64, ge=1)
    """Of a client's LoRA."""
    programs: int = Field(default=32, ge=1)
    """Shapes of calls that stay compiled for each kind of adapter; with more, all are forgotten."""


class Config(JobConfig):
    """A server's settings."""

    name: str = Field(default="split-server", pattern=NAME)
    """The run's folder lies in one of this name."""
    kind: Literal["split.server"] = "split.server"
    model: source.Config = source.Config()
    """The network, and where it is cut."""
    trunk: Literal["frozen", "own", "shared"] = "own"
    """What clients may ask for beside a frozen trunk: a LoRA of their own, or one for all."""
    lora: Lora = Lora()
    """Of trunk=shared."""
    optimizer: steps.Config = steps.Config()
    """Of trunk=shared."""
    dtype: Literal["float32", "bf16"] = "float32"
    """In what the trunk is computed."""
    state: str = "outputs/split-state"
    """Folder of the clients' adapters; a server that starts again goes on with them."""
    listen: Listen = Listen()
    """Where, and to whom."""
    average: averages.Config = averages.Config()
    """Whose adapters become one between epochs (SplitFed)."""
    limits: Limits = Limits()
    """What clients may take."""
