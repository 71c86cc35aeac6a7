"""From yaml files and `key=value` to a frozen, checked config.

OmegaConf merges and looks up `${...}`, pydantic checks. A schema is any `Section`; each kind of job
brings its own, and each plugin owns the `Section` of its settings. A config may look up its own
settings only: what is read from the environment would reach folder names, logs and reports.
"""

import itertools
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from jfl.errors import SafetyError, UsageError
from jfl.files import extent, references, texts, trust
from jfl.plugins import nearest


def _switch(value: Any) -> Any:
    words = {"yes": True, "on": True, "true": True, "no": False, "off": False, "false": False}
    return words.get(value.lower(), value) if isinstance(value, str) else value


Switch = Annotated[bool, BeforeValidator(_switch)]
"""A bool that may also be written yes/no/on/off."""


class Section(BaseModel):
    """Base of every config class: frozen, no unknown keys, no silent conversions."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True, allow_inf_nan=False
    )


SchemaT = TypeVar("SchemaT", bound=Section)


_DIGITS_MOST = 400  # of a whole number; floats have no more
_TEXT, _MERGE = "tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"


class _Loader(yaml.SafeLoader):
    """YAML as people read it: 1e-4 is a number, yes and 1:30 are words, a key stands once."""

    _nodes = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        self._nodes += 1
        if self._nodes > extent.MOST:
            raise extent.too_large()
        return super().compose_node(parent, index)

    def get_single_node(self) -> yaml.Node | None:
        node = super().get_single_node()
        extent.require_small(node, extent.of_node)
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key_node, _ in node.value:
            key = str(key_node.value)
            if key in seen:
                raise UsageError(f"the key {key} stands twice, second in line {_line(key_node)}")
            seen.add(key)
            if isinstance(key_node, yaml.ScalarNode) and key_node.tag != _MERGE:
                key_node.tag = _TEXT  # a key is a word: 1 and 0x1 stay two keys
        return super().construct_mapping(node, deep)

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        if len(node.value) > _DIGITS_MOST:
            raise ValueError(f"a number of {len(node.value):,} digits")
        return int(node.value.replace("_", ""), 0)


class _Dumper(yaml.SafeDumper):
    """Quotes words that `_Loader`, or another reader of YAML, would take for something else."""

    def represent_str(self, data: str) -> yaml.ScalarNode:
        # unquoted, a rare line break would come back as a space
        return self.represent_scalar(_TEXT, data, style=None if data.isprintable() else '"')


_DIGITS = r"(?:{}|[1-9][0-9]{{0,2}}(?:_[0-9]{{3}})+)"  # 1_000, but 2024_01_01 is a word
_WHOLE, _ANY = _DIGITS.format("0|[1-9][0-9]*"), _DIGITS.format("[0-9]+")
_PLAIN = {
    "bool": ("true|True|TRUE|false|False|FALSE", "tTfF"),
    "int": (rf"[-+]?(?:{_WHOLE}|0x[0-9a-fA-F]+)", "-+0123456789"),
    "float": (
        rf"[-+]?(?:(?:{_ANY}\.[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|{_ANY}[eE][-+]?[0-9]+"
        r"|\.(?:inf|Inf|INF|nan|NaN|NAN))",
        "-+0123456789.",
    ),
}
"""What is no word though it is not quoted. Beside it only null and the key << are special: 010,
0b1, 1:30, 2024-01-01, yes and = are words, so a setting that is a number refuses them."""

_Loader.yaml_implicit_resolvers = {
    letter: [(tag, pattern) for tag, pattern in resolvers if tag.endswith((":null", ":merge"))]
    for letter, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for _kind_of, (_pattern, _letters) in _PLAIN.items():
    for _class in (_Loader, _Dumper):
        _tag = f"tag:yaml.org,2002:{_kind_of}"
        _class.add_implicit_resolver(_tag, re.compile(rf"^(?:{_pattern})$"), list(_letters))
_Dumper.add_representer(str, _Dumper.represent_str)
_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)
_Loader.add_constructor(_MERGE, _Loader.construct_yaml_str)  # where it is no key


def _line(node: yaml.Node) -> int:
    return node.start_mark.line + 1


def parse_yaml(text: str, where: str) -> Any:
    """Parses yaml text; `where` names the source in an error.

    Raises:
        UsageError: it is no yaml.
        SafetyError: it is larger than settings are, or its references make it so.
    """
    try:
        extent.require_small(text, lambda text, _: extent.of_text(text))
        return yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "cannot be parsed"
        raise UsageError(f"{where}{line} is not valid yaml: {problem}") from error
    except (UsageError, SafetyError) as error:
        raise type(error)(f"{where}: {error}") from error
    except (TypeError, ValueError) as error:  # of !!int, !!float; more digits than Python reads
        raise UsageError(f"{where} is not valid yaml: {error}") from error
    except RecursionError as error:
        raise UsageError(f"{where} is nested too deeply") from error


def config_path(name: str) -> Path:
    """Finds a config by path, in ./configs, or among the packaged ones; `.yaml` may be left out.

    Raises:
        UsageError: there is none; the message names the nearest packaged one.
    """
    packaged = packaged_configs()
    file_name = name if name.endswith((".yaml", ".yml")) else f"{name}.yaml"
    for place in (Path(name), Path(file_name), Path("configs") / file_name, packaged / file_name):
        if place.is_file():
            return place
    known = sorted(path.relative_to(packaged).as_posix() for path in packaged.rglob("*.yaml"))
    hint = nearest(file_name.removeprefix("configs/"), known)
    raise UsageError(f"there is no config {name}{hint}; packaged ones: {', '.join(known)}")


def packaged_configs() -> Path:
    """Returns the folder of configs that come with jfl: of the checkout, or of the wheel."""
    package = Path(__file__).parent
    checkout = package.parent / "configs"
    return checkout if checkout.is_dir() else package / "configs"


_FILES_MOST = 100


def read(names: Sequence[str]) -> dict[str, Any]:
    """Reads and merges yaml files, left to right, without checking or interpolating them."""
    return merge(*(content for name in names for _, content in layers(name)))


def layers(name: str) -> list[tuple[Path, dict[str, Any]]]:
    """Returns what a yaml file holds, behind what it includes, each with the file it is from.

    `include: [data/a.yaml, b.yaml]` names files beside it, or as `config_path` finds them.

    Raises:
        UsageError: there is no such file, it is not yaml, or it includes itself.
        SafetyError: it includes far too many files.
    """
    return _layers(config_path(name), (), itertools.count(1))


def _layers(
    path: Path, outer: tuple[Path, ...], numbers: Iterator[int]
) -> list[tuple[Path, dict[str, Any]]]:
    if path.resolve() in outer:
        raise UsageError(f"{path} includes itself; take it out of its include")
    if next(numbers) > _FILES_MOST:
        raise SafetyError(
            f"{path} is file {_FILES_MOST + 1} that one config includes; put them into fewer files"
        )
    content = saved(path) if trust.saved(path) else _content(path)
    included = content.pop("include", [])
    if not isinstance(included, list) or not all(isinstance(item, str) for item in included):
        raise UsageError(f"{path}: include must be a list of yaml files")
    found: list[tuple[Path, dict[str, Any]]] = []
    for name in included:
        beside = path.parent / name
        inner = beside if beside.is_file() else config_path(name)
        found += _layers(inner, (*outer, path.resolve()), numbers)
    return [*found, (path, content)]


def _content(path: Path) -> dict[str, Any]:
    try:
        content = parse_yaml(texts.read(path), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from error
    if content is not None and not isinstance(content, dict):
        raise UsageError(f"{path} must hold `key: value` lines, not a {_kind(content)}")
    return content or {}


def parse_overrides(overrides: Iterable[str]) -> dict[str, Any]:
    """Turns `a.b=1` words into one nested dict; values are yaml, a word is taken whole."""
    merged: dict[str, Any] = {}
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals or not re.fullmatch(r"[A-Za-z_]\w*(\.\w+)*", key):
            raise UsageError(f"{override!r} is not key=value, as in train.learning_rate=0.01")
        part: Any = _value(text, f"the value of {key}")
        for word in reversed(key.split(".")):
            part = {word: part}
        merged = merge(merged, part)
    return merged


def _value(text: str, where: str) -> Any:
    """Returns what a word says; a # does not begin a comment here, nor --- another document."""
    value, word = parse_yaml(text, where), text.strip()
    cut = value is None and word not in {"", "~", "null", "Null", "NULL"}
    return word if cut or (isinstance(value, str) and word[0] not in "'\"!&*|>?") else value


def merge(*parts: dict[str, Any]) -> dict[str, Any]:
    """Merges nested dicts, left to right; later values win, lists are replaced."""
    return _merged(parts, resolve=False)


def saved(path: Path) -> dict[str, Any]:
    """Reads a config that jfl wrote into a folder: all is written out in it, nothing is looked up.

    Raises:
        UsageError: it cannot be read, or is not yaml.
        SafetyError: it would look something up, or include other files.
    """
    content = _content(path)
    found = references.left(content)
    if "include" in content:
        found = "include", str(content["include"])
    if found:
        raise SafetyError(
            f"{path}: {found[0]}={_shown(found[1])} would be looked up elsewhere, which no config "
            "does that jfl saved, so it is refused; write there what is meant"
        )
    return content


def resolve(content: dict[str, Any]) -> dict[str, Any]:
    """Replaces `${...}` by the values they name.

    Raises:
        UsageError: they name something else than settings, there is none of that name, or `${`
            stays in what comes out, which a saved config must not hold.
    """
    plain = _merged([content], resolve=True)
    if found := references.left(plain):
        raise UsageError(
            f"config: {found[0]}={_shown(found[1])}: no value may hold ${{ once all is looked up"
        )
    return plain


def _merged(parts: Sequence[dict[str, Any]], *, resolve: bool) -> dict[str, Any]:
    for part in parts:
        if found := references.foreign(part):
            raise UsageError(
                f"config: {found[0]}={_shown(found[1])}: ${{ must begin the name of another "
                "setting, as in ${rounds} or ${oc.select:rounds,100}; nothing else is looked up"
            )
    try:
        extent.require_small(list(parts), extent.of_content)
        merged = OmegaConf.merge({}, *parts)
        if resolve:
            extent.require_small(OmegaConf.to_container(merged), references.followed)
        plain = OmegaConf.to_container(merged, resolve=resolve)
    except OmegaConfBaseException as error:
        first_line = str(error).split("\n", maxsplit=1)[0]
        where = error.full_key or "interpolation"
        raise UsageError(f"config: {where}: {first_line}") from error
    except SafetyError as error:
        raise SafetyError(f"config: {error}") from error
    except RecursionError as error:
        raise UsageError("config: it is nested too deeply, or refers to itself") from error
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def check(schema: type[SchemaT], content: dict[str, Any], prefix: str = "") -> SchemaT:
    """Validates plain values against a schema.

    Raises:
        UsageError: the first thing wrong, with its key, its value and what would be right, and
            beside the sentence all settings as they were read.
    """
    try:
        return schema.model_validate_json(json.dumps(content))
    except ValidationError as error:
        # as JSON has them: no NaN, no dates
        read = json.loads(json.dumps(content), parse_constant=str)
        raise UsageError(_explain(schema, error, prefix), settings=read) from error
    except (TypeError, ValueError) as error:
        raise UsageError(f"config: {prefix}{error}") from error


def load(schema: type[SchemaT], names: Sequence[str], overrides: Iterable[str] = ()) -> SchemaT:
    """Reads yaml files, merges them and the overrides, interpolates, and checks the result."""
    return check(schema, resolve(merge(read(names), parse_overrides(overrides))))


def dump(config: Section) -> str:
    """Returns the config as yaml with every default written out."""
    return text(config.model_dump(mode="json"))


def text(content: dict[str, Any], *, inline: bool = False) -> str:
    """Returns plain settings as yaml, from which `parse_yaml` reads the same values."""
    style: dict[str, Any] = {"default_flow_style": True, "width": 80} if inline else {}
    return yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True, **style)


def flat(content: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns nested settings under dotted keys."""
    found: dict[str, Any] = {}
    for key, value in content.items():
        if isinstance(value, dict):
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[prefix + key] = value
    return found


def _explain(schema: type[Section], error: ValidationError, prefix: str) -> str:
    details = error.errors(include_url=False)
    unknown = [item for item in details if item["type"] == "extra_forbidden"]
    first = (unknown or details)[0]
    key = prefix + ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        owner = _section_at(schema, first["loc"][:-1])
        known = list(owner.model_fields) if owner else []
        word = str(first["loc"][-1])
        listed = f"; there are: {', '.join(known)}" if known else ""
        return f"config: {key} is not a setting{nearest(word, known)}{listed}"
    if first["type"] == "missing":
        return f"config: {key} is missing"
    message = first["msg"].removeprefix("Value error, ").removeprefix("Input ")
    message = message.replace("should be an object", "should be a section of `key: value` lines")
    like_a_number = isinstance(first["input"], str) and re.match(r"[-+]?\d", first["input"])
    if first["type"] in {"int_type", "float_type"} and like_a_number:
        message += ", in decimal digits without quotes or leading zeros"
    return f"config: {key}={_shown(first['input'])}: {message}"


def _section_at(schema: type[Section], loc: Sequence[str | int]) -> type[Section] | None:
    owner: Any = schema
    for part in loc:
        field = owner.model_fields.get(part) if hasattr(owner, "model_fields") else None
        owner = field.annotation if field else None
    return owner if isinstance(owner, type) and issubclass(owner, Section) else None


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _kind(value: Any) -> str:
    return "list" if isinstance(value, list) else "single value"
