"""The settings of a client."""

from typing import Literal

from pydantic import Field, model_validator

from jfl.config import Section, Switch
from jfl.runs.job import NAME, Checkpoint, Evaluate, Stepped
from jfl.split import source, steps
from jfl.split.parts import Lora
from jfl.split.wire.tensors import Dtype


class Server(Section):
    """The section `server`: who computes the trunk, and how to reach it."""

    address: str = Field(default="localhost:50052", pattern=r"^[^\s/]+:\d{1,5}$")
    """Where it listens."""
    ca: str | None = None
    """The certificate that signed its own, a file; with it all that is sent is encrypted."""
    cert: str | None = None
    """This client's certificate, where the server wants one."""
    key: str | None = None
    """Its private key."""
    token_file: str | None = None
    """A file with the word that the server wants; it is sent encrypted only."""
    timeout: float = Field(default=300.0, gt=0)
    """Seconds that one call may take."""
    patience: float = Field(default=600.0, ge=0)
    """Seconds for which an absent server is called again, before the run ends."""


class Data(Section):
    """The section `data`: the texts, which never leave this machine."""

    name: str = "synthetic"
    """`synthetic`; a .txt, .jsonl or .parquet file, a folder of them, or what TFDS has prepared,
    such as wikitext; or a set of texts that jfl knows, such as shakespeare."""
    samples: int = Field(default=20, ge=1, le=1 << 24)
    """Pieces of text in an epoch, each of max_length tokens; fewer where there is less text."""
    validation: int = Field(default=4, ge=0, le=1 << 20)
    """Further pieces that are not trained on."""
    max_length: int = Field(default=128, ge=1, le=1 << 20)
    """Tokens of a piece."""
    tokenizer: str | None = None
    """`bytes`, or the file or folder of one; none = that of the model."""


class Config(Stepped):
    """A client's settings."""

    name: str = Field(default="split", pattern=NAME)
    """The run's folder lies in one of this name."""
    kind: Literal["split"] = "split"
    model: source.Config = source.Config()
    """The network, and where it is cut."""
    server: Server = Server()
    """Who computes the trunk."""
    data: Data = Data()
    """The texts."""
    epochs: int = Field(default=1, ge=1, le=1 << 20)
    """Passes over the pieces of text."""
    batch_size: int = Field(default=2, ge=1)
    """Pieces that go through the network at a time."""
    accumulate: int = Field(default=1, ge=1, le=1 << 12)
    """Batches of a step."""
    lora: Lora = Lora()
    """What trains in this client's parts."""
    adapter: str | None = None
    """A folder of PEFT to go on from: of the whole network, or with bottom_lora and top_lora."""
    trunk: Literal["frozen", "own", "shared"] = "frozen"
    """What trains in the trunk: nothing, a LoRA of this client's own, or one for all clients."""
    optimizer: steps.Config = steps.Config()
    """AdamW's numbers."""
    learning_rate: float = Field(default=1e-4, gt=0, le=1)
    """Of AdamW, at its highest."""
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    """How it goes down to zero."""
    warmup: int = Field(default=0, ge=0)
    """Steps in which it goes up."""
    clip: float | None = Field(default=None, gt=0)
    """Largest norm of the gradient of all parts together; none = no clipping."""
    average: Switch = False
    """After each epoch, go on from the mean of all clients' adapters; see the server's average."""
    patience: int | None = Field(default=None, ge=1)
    """Stop after so many evaluations in a row without a lower validation loss; none = never."""
    wire: Dtype = "f32"
    """In what type features and gradients travel."""
    dtype: Literal["float32", "bf16"] = "float32"
    """In what both ends are computed."""
    save_dir: str | None = None
    """Where bottom_lora, top_lora and trunk_lora are left too, beside the run folder."""
    evaluate: Evaluate = Evaluate(every=50)
    """When the loss of texts is measured that are not trained on; always after the last step."""
    checkpoint: Checkpoint = Checkpoint()
    """When what trains is saved."""

    @model_validator(mode="after")
    def _waits_for_nobody(self) -> "Config":
        if self.average and self.patience is not None:
            raise ValueError(
                f"patience={self.patience} could end this client while others wait for it; leave "
                "it out, or average"
            )
        return self
