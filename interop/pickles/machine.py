"""Interprets a pickle's operations on plain values and inert records.

No operation here can import, call or set an attribute of anything but what `rebuild` makes.
"""

from collections.abc import Callable, Sequence
from typing import Any

from interop.pickles import names, rebuild
from interop.pickles.regions import Region
from interop.pickles.tokens import Budget, Tape, damaged, tokens
from interop.pickles.values import DType, Name, Record, Tensor
from jfl.errors import CheckpointError, SafetyError

_PLAIN = {
    "BINBYTES", "BINBYTES8", "BYTEARRAY8", "BINFLOAT", "BININT", "BININT1", "BININT2", "BINUNICODE",
    "BINUNICODE8", "FLOAT", "INT", "LONG", "LONG1", "LONG4", "SHORT_BINBYTES",
    "SHORT_BINUNICODE",
}  # fmt: skip
_STRINGS = {"BINSTRING", "SHORT_BINSTRING"}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class Machine:
    """Reads one pickle after another from a tape.

    Args:
        tape: where the operations are.
        prefixes: packages whose classes become records.
        budget: what is left of the work the file may make.
        persistent: turns a persistent id into what it stands for; None where there are none.
        nested: reads a torch file inside the pickle.
        others: returns the prefixes that other names of the file need, for the message.
    """

    def __init__(
        self,
        tape: Tape,
        prefixes: Sequence[str],
        budget: Budget,
        *,
        persistent: Callable[[Any], Any] | None = None,
        nested: Callable[[Region], Any] | None = None,
        others: Callable[[], Sequence[str]] = tuple,
    ) -> None:
        self.where = tape.region.where
        self._tape, self._prefixes, self._budget = tape, prefixes, budget
        self._persistent, self._nested, self._others = persistent, nested, others
        self._stack: list[Any] = []
        self._marks: list[list[Any]] = []
        self._memo: dict[int, Any] = {}
        self._position = 0

    def read(self) -> Any:
        """Returns the value of the next pickle.

        Raises:
            SafetyError: it names what is not allowed, or uses an operation data never need.
            CheckpointError: it is damaged.
        """
        self._stack, self._marks, self._memo = [], [], {}
        for position, name, argument in tokens(self._tape, self._budget, self.where):
            self._position = position
            try:
                if name == "STOP":
                    (value,) = self._stack
                    return value
                self._do(name, argument)
            except (SafetyError, CheckpointError):
                raise
            except (RecursionError, MemoryError) as error:
                raise SafetyError(f"{self.where} nests or claims too much; refused") from error
            except Exception as error:  # damage can show in any operation
                raise damaged(self.where, position, error) from error
        raise CheckpointError(f"{self.where} has a pickle that does not end")

    def _do(self, name: str, argument: Any) -> None:
        if name in _PLAIN:
            self._stack.append(bytes(argument) if isinstance(argument, bytearray) else argument)
        elif name in _STRINGS:
            self._stack.append(argument)
        elif name in _CONSTANTS:
            self._stack.append(_CONSTANTS[name])
        elif name in _TUPLES:
            self._stack.append(tuple(self._pop(_TUPLES[name])))
        else:
            operation = getattr(self, f"_do_{name.lower()}", None)
            if operation is None:
                raise SafetyError(
                    f"{self.where} uses the pickle operation {name} at byte {self._position:,}, "
                    "which data never need; refused"
                )
            operation(argument)

    def _pop(self, count: int) -> list[Any]:
        if count > len(self._stack):
            raise ValueError("the stack runs empty")
        kept = len(self._stack) - count
        values = self._stack[kept:]
        del self._stack[kept:]
        return values

    def _since_mark(self) -> list[Any]:
        values, self._stack = self._stack, self._marks.pop()
        return values

    def _ignore(self, _: Any) -> None:
        """Versions and frames say nothing about the value."""

    _do_proto = _do_frame = _do_readonly_buffer = _ignore

    def _do_mark(self, _: Any) -> None:
        self._marks.append(self._stack)
        self._stack = []

    def _do_pop(self, _: Any) -> None:
        if self._stack:
            self._stack.pop()
        else:
            self._since_mark()

    def _do_pop_mark(self, _: Any) -> None:
        self._since_mark()

    def _do_dup(self, _: Any) -> None:
        self._stack.append(self._stack[-1])

    def _do_empty_dict(self, _: Any) -> None:
        self._stack.append({})

    def _do_empty_list(self, _: Any) -> None:
        self._stack.append([])

    def _do_empty_set(self, _: Any) -> None:
        self._stack.append(Record("builtins.set"))

    def _do_list(self, _: Any) -> None:
        items = self._since_mark()
        self._stack.append(items)

    def _do_tuple(self, _: Any) -> None:
        items = tuple(self._since_mark())
        self._stack.append(items)

    def _do_dict(self, _: Any) -> None:
        items = self._since_mark()
        self._stack.append(self._filled({}, items))

    def _do_frozenset(self, _: Any) -> None:
        made = Record("builtins.frozenset")
        made.items = self._since_mark()
        self._stack.append(made)

    def _do_append(self, _: Any) -> None:
        self._extend(self._pop(1))

    def _do_appends(self, _: Any) -> None:
        self._extend(self._since_mark())

    _do_additems = _do_appends

    def _do_setitem(self, _: Any) -> None:
        self._set(self._pop(2))

    def _do_setitems(self, _: Any) -> None:
        self._set(self._since_mark())

    def _extend(self, items: list[Any]) -> None:
        top = self._stack[-1]
        if isinstance(top, Record):
            top.items.extend(items)
        elif type(top) is list:
            top.extend(items)
        else:
            raise ValueError(f"items for a {type(top).__name__}")

    def _set(self, items: list[Any]) -> None:
        top = self._stack[-1]
        target = top.entries if isinstance(top, Record) else top
        if type(target) is not dict:
            raise ValueError(f"entries for a {type(top).__name__}")
        self._filled(target, items)

    def _filled(self, target: dict[Any, Any], items: list[Any]) -> dict[Any, Any]:
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[rebuild.checked_key(key)] = value
        return target

    def _do_put(self, key: int) -> None:
        self._memo[key] = self._stack[-1]

    _do_binput = _do_long_binput = _do_put

    def _do_memoize(self, _: Any) -> None:
        self._do_put(len(self._memo))

    def _do_get(self, key: int) -> None:
        self._stack.append(self._memo[key])

    _do_binget = _do_long_binget = _do_get

    def _do_global(self, name: str) -> None:
        module, _, word = name.partition(" ")
        self._stack.append(self._name(module, word))

    def _do_stack_global(self, _: Any) -> None:
        module, word = self._pop(2)
        if type(module) is not str or type(word) is not str:
            raise ValueError("a name that is no text")
        self._stack.append(self._name(module, word))

    def _name(self, module: str, word: str) -> Name:
        name = names.dotted(module, word)
        if name not in names.DATA and not names.is_class(name, self._prefixes):
            raise names.refusal(self.where, name, self._position, self._others())
        return Name(name)

    def _do_reduce(self, _: Any) -> None:
        name, arguments = self._pop(2)
        self._stack.append(self._make(name, arguments))

    _do_newobj = _do_reduce

    def _do_newobj_ex(self, _: Any) -> None:
        name, arguments, keywords = self._pop(3)
        made = self._make(name, arguments)
        if isinstance(made, Record) and isinstance(keywords, dict):
            made.state.update(keywords)
        self._stack.append(made)

    def _do_obj(self, _: Any) -> None:
        name, *arguments = self._since_mark()
        self._stack.append(self._make(name, tuple(arguments)))

    def _do_inst(self, name: str) -> None:
        arguments = tuple(self._since_mark())
        module, _, word = name.partition(" ")
        self._stack.append(self._make(self._name(module, word), arguments))

    def _make(self, name: Any, arguments: Any) -> Any:
        if not isinstance(name, Name) or type(arguments) is not tuple:
            raise ValueError("a call of what is no name")
        if name == "copyreg.__newobj__":
            name, *rest = arguments
            return self._make(name, tuple(rest))
        if names.is_class(name, self._prefixes):
            return Record(name, arguments)
        return rebuild.make(name, arguments, self._open)

    def _open(self, region: Region) -> Any:
        if self._nested is None:
            raise SafetyError(f"{self.where} nests torch files in torch files; refused")
        return self._nested(region)

    def _do_build(self, _: Any) -> None:
        target, state = self._pop(2)
        if isinstance(target, Record | DType):
            target.build(state)
        elif isinstance(target, rebuild.Unfilled) and not isinstance(state, dict):
            filled = target.fill(state)
            if filled is not target:  # objects: whoever refers to the array sees none of them
                target = filled
        elif not isinstance(target, dict | Tensor) or not isinstance(state, dict | tuple):
            raise ValueError(f"a state for a {type(target).__name__}")
        self._stack.append(target)  # attributes of dicts and tensors are nothing jfl needs

    def _do_binpersid(self, _: Any) -> None:
        (key,) = self._pop(1)
        if self._persistent is None:
            raise SafetyError(
                f"{self.where} refers to something outside itself at byte {self._position:,}; "
                "refused"
            )
        self._stack.append(self._persistent(key))
