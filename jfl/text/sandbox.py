"""Chat templates of anybody, run within limits: they see a conversation, and write a text.

Jinja's sandbox keeps them from Python. Here they are also kept from taking all memory or time: what
they loop over, write and make is counted, and they have only the words that such templates need.
"""

import functools
import json
from collections.abc import Callable, Iterable
from typing import Any

from jinja2 import nodes
from jinja2.exceptions import SecurityError, TemplateError
from jinja2.ext import Extension, loopcontrols
from jinja2.runtime import BlockReference, LoopContext, Macro, Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

from jfl.text.budget import Budget

_FILTERS = (
    "trim", "length", "count", "list", "upper", "lower", "title", "capitalize", "selectattr",
    "rejectattr", "select", "reject", "map", "default", "d", "first", "last", "items", "string",
    "int", "float", "safe", "escape", "e", "unique", "reverse", "sum", "min", "max", "dictsort",
    "sort", "abs", "round",
)  # fmt: skip
_METHODS = frozenset((
    "strip", "lstrip", "rstrip", "split", "rsplit", "startswith", "endswith", "items", "keys",
    "values", "get", "upper", "lower", "title", "capitalize", "replace", "join", "index", "find",
    "rfind", "count", "removeprefix", "removesuffix", "splitlines", "partition", "rpartition",
    "isdigit", "isalpha", "isspace", "isupper", "islower",
))  # fmt: skip
_TAG = "generation"


class _Generation(Extension):
    """`{% generation %}...{% endgeneration %}`: what stands between is a reply of the network."""

    tags = {_TAG}  # noqa: RUF012 - as Jinja wants it

    def parse(self, parser: Any) -> nodes.Node:
        """Puts marks around the part."""
        line = next(parser.stream).lineno
        body = parser.parse_statements((f"name:end{_TAG}",), drop_needle=True)
        begin, end = (nodes.Output([nodes.EnvironmentAttribute(f"{m}_mark")]) for m in _MARKS)
        return nodes.Scope([begin, *body, end]).set_lineno(line)


_MARKS = ("begin", "end")


class Environment(ImmutableSandboxedEnvironment):
    """Jinja with a count of all that is done; `budget` is renewed for each run."""

    intercepted_binops = frozenset(["+", "*", "**", "%"])

    def __init__(self) -> None:
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            optimized=False,
            extensions=[_Generation, loopcontrols],
            finalize=self._written,
        )
        self.budget = Budget(0, 0)
        self.begin_mark = self.end_mark = ""
        self.filters = {name: self._limited(self.filters[name]) for name in _FILTERS}
        own = {"tojson": _json, "replace": self._replace, "join": self._join}
        self.filters |= {name: self._limited(function) for name, function in own.items()}
        self.globals = {
            "range": self.globals["range"], "namespace": Namespace, "dict": dict,
            "raise_exception": _refuse,
        }  # fmt: skip

    def _parse(self, source: str, name: Any, filename: Any) -> nodes.Template:
        return _counted(super()._parse(source, name, filename))

    def step(self) -> bool:
        """See `Budget`; templates are changed so that they call it."""
        return self.budget.step()

    def write(self, count: int) -> str:
        """See `Budget`."""
        return self.budget.write(count)

    def small(self, value: Any) -> Any:
        """See `Budget`."""
        return self.budget.small(value)

    def unsafe_undefined(self, obj: Any, attribute: str) -> Undefined:  # noqa: ARG002
        """Ends a template that reads what it must not, even where it does nothing with it."""
        raise SecurityError(f"it reads {attribute[:60]!r}, which no template needs")

    def concat_parts(self, *parts: Any) -> str:
        """Joins what stands between ~."""
        return "".join([self._written(part) for part in parts])

    def _written(self, value: Any) -> str:
        if isinstance(value, Namespace) or (callable(value) and not isinstance(value, Undefined)):
            raise SecurityError("it writes out what is no text")
        text = str(self.budget.small(value))
        self.budget.write(len(text))
        return text

    def _limited(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Returns a filter whose values are checked before and after."""

        def limited(*args: Any, **kwargs: Any) -> Any:
            for value in (*args, *kwargs.values()):
                self.budget.small(value)
            return self.budget.small(function(*args, **kwargs))

        if hasattr(function, "jinja_pass_arg"):
            limited.jinja_pass_arg = function.jinja_pass_arg  # type: ignore[attr-defined]
        return limited

    def _replace(self, text: Any, old: Any, new: Any, count: int = -1) -> str:
        text, old, new = str(text), str(old), str(new)
        self.budget.room(len(text) + text.count(old) * len(new))
        return text.replace(old, new, count)

    def _join(self, values: Iterable[Any], between: Any = "", attribute: Any = None) -> str:
        found = [v if attribute is None else self.getitem(v, attribute) for v in values]
        words = [self._written(value) for value in found]
        self.budget.room(sum(map(len, words)) + len(words) * len(str(between)))
        return str(between).join(words)

    def call(self, context: Any, obj: Any, /, *args: Any, **kwargs: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Calls what a template may call.

        Raises:
            SecurityError: it may not.
        """
        self.budget.step()
        owner = getattr(obj, "__self__", None)
        name = str(getattr(obj, "__name__", type(obj).__name__))
        if owner is self:  # what `_counted` put there
            return obj(*args)
        if type(owner) in (str, dict, list, tuple) and name in _METHODS:
            own = {"replace": self._replace, "join": lambda t, v: self._join(v, t)}
            called = functools.partial(own[name], owner) if name in own else obj
            named = {k: v for k, v in kwargs.items() if k not in ("_loop_vars", "_block_vars")}
            return self.budget.small(called(*args, **named))
        known = isinstance(obj, Macro | LoopContext | BlockReference | Undefined)
        if not known and not isinstance(owner, LoopContext) and obj not in self.globals.values():
            raise SecurityError(f"it calls {name[:60]}, which no template needs")
        return self.budget.small(super().call(context, obj, *args, **kwargs))

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """Computes what could be endless.

        Raises:
            SecurityError: it is, or is formatted text.
        """
        if operator == "**" or (operator == "%" and isinstance(left, str)):
            raise SecurityError(f"it computes with {operator}, which no template needs")
        if operator == "*":
            lengths = [len(v) for v in (left, right) if isinstance(v, str | list | tuple)]
            counts = [v for v in (left, right) if isinstance(v, int)]
            self.budget.room(sum(lengths) * max([*counts, 0]))
        return self.budget.small(super().call_binop(context, operator, left, right))


def _refuse(message: Any) -> str:
    raise TemplateError(str(message))


def _json(value: Any, ensure_ascii: bool = False, indent: Any = None, **others: Any) -> str:
    if others.keys() - {"separators", "sort_keys"} or indent not in (None, *range(9)):
        raise SecurityError("it writes JSON in a way that no template needs")
    separators = others.get("separators")
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, sort_keys=bool(others.get("sort_keys")),
        separators=separators and (str(separators[0]), str(separators[1])),
    )  # fmt: skip


def _asked(name: str, *args: nodes.Expr) -> nodes.Call:
    """Returns a call of a method of the environment, which no template can hide."""
    return nodes.Call(nodes.EnvironmentAttribute(name), list(args), [], None, None)


def _counted(node: Any) -> Any:
    """Returns a node of a template, changed so that it counts what it does."""
    for field, value in node.iter_fields():
        if isinstance(value, list):
            setattr(node, field, [_counted(v) if isinstance(v, nodes.Node) else v for v in value])
        elif isinstance(value, nodes.Node):
            setattr(node, field, _counted(value))
    match node:
        case nodes.For():
            node.body.insert(0, nodes.ExprStmt(_asked("step")))
            node.test = node.test and nodes.And(_asked("step"), node.test)
        case nodes.Macro():
            node.body.insert(0, nodes.ExprStmt(_asked("step")))
        case nodes.Output():
            letters = sum(len(n.data) for n in node.nodes if isinstance(n, nodes.TemplateData))
            node.nodes.insert(0, _asked("write", nodes.Const(letters)))
        case nodes.List() | nodes.Dict():
            return _asked("small", node)
        case nodes.Tuple() if node.ctx == "load":
            return _asked("small", node)
        case nodes.Concat():
            return _asked("concat_parts", *node.nodes)
    return node
