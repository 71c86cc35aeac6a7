"""Interprets a pickle's operations on plain values and inert records.

No operation here can import, call or set an attribute of anything but what a vocabulary makes.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from jfl.errors import CheckpointError, SafetyError
from jfl.sources.pickles import rebuild
from jfl.sources.pickles.budget import Budget, uncollected
from jfl.sources.pickles.tokens import Tape, damaged, tokens
from jfl.sources.pickles.values import DType, Name, Record, Tensor, what

_PLAIN = {
    "BINBYTES", "BINBYTES8", "BINFLOAT", "BYTEARRAY8", "BININT", "BININT1", "BININT2", "BINUNICODE",
    "BINUNICODE8", "FLOAT", "INT", "LONG", "LONG1", "LONG4", "SHORT_BINBYTES",
    "SHORT_BINUNICODE", "UNICODE",
}  # fmt: skip
_STRINGS = {"STRING", "BINSTRING", "SHORT_BINSTRING"}  # of Python 2
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_NEW_NAME, _MAKE, _CONTAINER, _SPARSE = 32, 3, 2, 4  # units beside that of the operation

_RENAMED = {"__builtin__": "builtins", "copy_reg": "copyreg", "UserDict": "collections"}
_OF_PYTHON_2 = {"xrange": "range", "unicode": "str", "long": "int"}


def dotted(module: str, name: str) -> str:
    """Returns one name for a module and what it holds, with Python 2's modules renamed."""
    renamed = _RENAMED.get(module, module)
    return f"{renamed}.{_OF_PYTHON_2.get(name, name) if renamed == 'builtins' else name}"


class Vocabulary(ABC):
    """What the names in pickles of one kind mean."""

    bytes_of_python_2 = False
    """Whether strings of Python 2 are bytes rather than text."""

    def __init__(self) -> None:
        self.names: dict[tuple[str, str], Name] = {}
        """Those that were checked, by module and name."""

    @abstractmethod
    def check(self, name: str, where: str, position: int) -> None:
        """Refuses names that these pickles do not have.

        Raises:
            SafetyError: it is one.
        """

    @abstractmethod
    def make(self, name: Name, arguments: tuple[Any, ...]) -> Any:
        """Returns what stands for a call of a name that was checked.

        Raises:
            ValueError: it cannot be called so.
        """

    def persistent(self, key: Any) -> Any:
        """Returns what a persistent id stands for.

        Raises:
            SafetyError: these pickles have none.
        """
        raise SafetyError(f"the pickle refers to something outside itself, {what(key)}; refused")


class Machine:
    """Reads one pickle after another from a tape."""

    def __init__(self, tape: Tape, vocabulary: Vocabulary, work: Budget) -> None:
        """Starts where the tape stands; all operations are counted."""
        self.where = tape.region.where
        self._tape, self._vocabulary, self._work = tape, vocabulary, work
        self._stack: list[Any] = []
        self._marks: list[list[Any]] = []
        self._memo: list[Any] = []
        self._sparse: dict[int, Any] = {}
        """The part of the memo whose places do not follow one another."""
        self._position = 0
        self._operations: dict[str, Callable[[Any], None]] = {}

    def read(self) -> Any:
        """Returns the value of the next pickle.

        Raises:
            SafetyError: it names what is not allowed, uses an operation data never need, or makes
                more work than its size.
            CheckpointError: it is damaged.
        """
        self._stack, self._marks, self._memo, self._sparse = [], [], [], {}
        with uncollected():
            return self._run()

    def _run(self) -> Any:
        for position, name, argument in tokens(self._tape, self._work, self.where):
            self._position = position
            if name in _PLAIN:
                self._stack.append(argument)
                continue
            try:
                if name == "STOP":
                    (value,) = self._stack
                    return value
                (self._operations.get(name) or self._operation(name))(argument)
            except (SafetyError, CheckpointError):
                raise
            except (RecursionError, MemoryError) as error:
                raise SafetyError(f"{self.where} nests or claims too much; refused") from error
            except Exception as error:  # damage can show in any operation
                raise damaged(self.where, position, error) from error
        raise CheckpointError(f"{self.where} has a pickle that does not end")

    def _operation(self, name: str) -> Callable[[Any], None]:
        if name in _CONSTANTS:
            found = self._constant(_CONSTANTS[name])
        elif name in _TUPLES:
            found = self._short_tuple(_TUPLES[name])
        elif name in _STRINGS:
            found = self._do_string
        else:
            found = getattr(self, f"_do_{name.lower()}", None)
        if found is None:
            raise SafetyError(
                f"{self.where} holds the pickle operation {name} at byte {self._position:,}, "
                "which data never need; refused"
            )
        self._operations[name] = found
        return found

    def _constant(self, value: Any) -> Callable[[Any], None]:
        return lambda _: self._stack.append(value)

    def _short_tuple(self, count: int) -> Callable[[Any], None]:
        def operation(_: Any) -> None:
            self._work.spend(1)
            self._stack.append(tuple(self._pop(count)))

        return operation

    def _do_string(self, argument: Any) -> None:
        as_bytes = self._vocabulary.bytes_of_python_2 and isinstance(argument, str)
        self._stack.append(argument.encode("latin-1") if as_bytes else argument)

    def _container(self, made: Any, units: int = _CONTAINER) -> None:
        self._work.spend(units)
        self._stack.append(made)

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
        self._work.spend(_CONTAINER)
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
        self._container({})

    def _do_empty_list(self, _: Any) -> None:
        self._container([])

    def _do_empty_set(self, _: Any) -> None:
        self._collection("set", [])

    def _do_list(self, _: Any) -> None:
        items = self._since_mark()
        self._container(items)

    def _do_tuple(self, _: Any) -> None:
        items = tuple(self._since_mark())
        self._container(items, _CONTAINER + len(items) // 8)

    def _do_dict(self, _: Any) -> None:
        items = self._since_mark()
        self._container(rebuild.filled({}, items[::2], items[1::2]))

    def _do_frozenset(self, _: Any) -> None:
        items = self._since_mark()
        self._collection("frozenset", items)

    def _collection(self, word: str, items: list[Any]) -> None:
        made = Record(self._name("builtins", word))
        made.items = items
        self._container(made)

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
            raise ValueError(f"items for a {what(top)}")

    def _set(self, items: list[Any]) -> None:
        top = self._stack[-1]
        target = top.entries if isinstance(top, Record) else top
        if type(target) is not dict:
            raise ValueError(f"entries for a {what(top)}")
        rebuild.filled(target, items[::2], items[1::2])

    def _do_put(self, place: int) -> None:
        top = self._stack[-1]
        if place == len(self._memo):
            self._memo.append(top)
        else:
            self._remember(place, top)
        if type(top) is rebuild.Unfilled:
            top.places.append(place)

    _do_binput = _do_long_binput = _do_put

    def _remember(self, place: int, value: Any) -> None:
        if place < len(self._memo):
            self._memo[place] = value
        else:
            self._work.spend(_SPARSE)
            self._sparse[place] = value

    def _do_memoize(self, _: Any) -> None:
        self._do_put(len(self._memo) + len(self._sparse))

    def _do_get(self, place: int) -> None:
        known = self._memo[place] if place < len(self._memo) else self._sparse[place]
        self._stack.append(known)

    _do_binget = _do_long_binget = _do_get

    def _do_global(self, name: str) -> None:
        module, _, word = name.partition(" ")
        self._stack.append(self._name(module, word))

    def _do_stack_global(self, _: Any) -> None:
        self._work.spend(1)
        module, word = self._pop(2)
        if type(module) is not str or type(word) is not str:
            raise ValueError("a name that is no text")
        self._stack.append(self._name(module, word))

    def _name(self, module: str, word: str) -> Name:
        known = self._vocabulary.names.get((module, word))
        if known is None:
            name = dotted(module, word)
            self._work.spend(_NEW_NAME + len(name) // 16)
            self._vocabulary.check(name, self.where, self._position)
            known = self._vocabulary.names[module, word] = Name(name)
        return known

    def _do_reduce(self, _: Any) -> None:
        name, arguments = self._pop(2)
        self._stack.append(self._make(name, arguments))

    _do_newobj = _do_reduce

    def _do_newobj_ex(self, _: Any) -> None:
        name, arguments, keywords = self._pop(3)
        made = self._make(name, arguments)
        if isinstance(made, Record) and isinstance(keywords, dict):
            made.build(keywords)
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
        self._work.spend(_MAKE + len(arguments) // 64)  # who makes it may copy them
        if name == "copyreg.__newobj__":
            name, *rest = arguments
            if name == "copyreg.__newobj__":
                raise ValueError("a call of a call")
            return self._make(name, tuple(rest))
        return self._vocabulary.make(name, arguments)

    def _do_build(self, _: Any) -> None:
        target, state = self._pop(2)
        if isinstance(target, Record | DType):
            target.build(state)
        elif isinstance(target, rebuild.Unfilled) and not isinstance(state, dict):
            made = target.fill(state)
            for place in target.places:  # objects are another one
                self._remember(place, made)
            target = made
        elif not isinstance(target, dict | Tensor) or not isinstance(state, dict | tuple):
            raise ValueError(f"a state for a {what(target)}")
        self._stack.append(target)  # attributes of dicts and tensors are nothing jfl needs

    def _do_binpersid(self, _: Any) -> None:
        (key,) = self._pop(1)
        self._stack.append(self._vocabulary.persistent(key))
