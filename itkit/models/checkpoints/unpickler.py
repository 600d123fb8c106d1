"""A reader of pickles that calls nothing: plain containers are built, all else becomes a placeholder.

Opcodes are taken apart by the standard library's ``pickletools``, which executes nothing either. A class or function
that a pickle names stays a :class:`Name`; to call it makes what a table of our own says (``collections.OrderedDict`` a
dict, ``argparse.Namespace`` the dict of its attributes, ...), or a :class:`Placeholder`. Nothing is imported, looked up
in ``sys.modules`` or set on an object.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import IO, Any

MOST_OPCODES = 10_000_000
"""Most steps of a pickle; those of a large network's optimizer are 300,000."""
_SCALARS = (str, int, float, bool, bytes, type(None))
_MARK = object()
_MODULES = {"__builtin__": "builtins", "copy_reg": "copyreg", "numpy.core": "numpy._core"}


class PickleDamagedError(ValueError):
    """A pickle ends too early, or its steps make no sense."""


@dataclass(frozen=True, slots=True)
class Name:
    """A class or function that a pickle names: text, and nothing that could be called."""

    path: str

    def __repr__(self) -> str:
        return f"<{self.path}>"


@dataclass(slots=True, eq=False)
class Placeholder:
    """Stands for an object that is not built.

    Attributes
    ----------
    path
        Module and name of its class or function.
    arguments
        What it would have been called with.
    state
        What its attributes would have been set from.
    items, entries
        What would have been appended to it, or set under a key.
    """

    path: str
    arguments: tuple[Any, ...] = ()
    state: Any = None
    items: list[Any] = field(default_factory=list)
    entries: dict[Any, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"<{self.path}, not built>"


class Attributes(dict[str, Any]):
    """The attributes of a plain object such as ``argparse.Namespace``."""


Maker = Callable[..., Any]


def _made_dict(pairs: Any = ()) -> dict[Any, Any]:
    made: dict[Any, Any] = {}
    for pair in pairs.items() if isinstance(pairs, Mapping) else pairs:
        key, value = pair
        made[_key(key)] = value
    return made


def _made_set(items: Iterable[Any] = ()) -> set[Any]:
    return {_key(item) for item in items}


def _made_list(items: Iterable[Any] = (), _most: object = None) -> list[Any]:
    return list(items)


def _encoded(text: str, encoding: str = "latin1") -> bytes:
    """Return bytes that the second protocol of pickle wrote as text."""
    if encoding not in {"latin1", "latin-1"}:
        raise PickleDamagedError(f"bytes as text in {encoding[:40]!r}")
    return text.encode("latin-1")


def _made_bytes(content: Any = b"", *encoding: str) -> bytes:
    if isinstance(content, str):
        return _encoded(content, *encoding)
    return content if isinstance(content, bytes) else b""


CONTAINERS: Mapping[str, Maker] = {
    "argparse.Namespace": lambda *_: Attributes(),
    "builtins.bytearray": _made_bytes,
    "builtins.bytes": _made_bytes,
    "builtins.complex": complex,
    "builtins.dict": _made_dict,
    "builtins.frozenset": _made_set,
    "builtins.list": _made_list,
    "builtins.set": _made_set,
    "builtins.tuple": lambda items=(): tuple(items),
    "_codecs.encode": _encoded,
    "collections.Counter": _made_dict,
    "collections.OrderedDict": _made_dict,
    "collections.defaultdict": lambda _factory=None, pairs=(): _made_dict(pairs),
    "collections.deque": _made_list,
    "types.SimpleNamespace": lambda *_: Attributes(),
}
"""What plain Python values are made of; nothing of the file takes part but text, numbers and containers."""


def unpickle(
    file: IO[bytes], makers: Mapping[str, Maker] = CONTAINERS, persistent: Callable[[Any], Any] | None = None
) -> Any:
    """Return what a pickle describes, with placeholders for what is no plain value.

    Parameters
    ----------
    file
        Read from where it stands to the end of the pickle.
    makers
        By path of a class or function, what to make instead of calling it.
    persistent
        What an identifier of something outside the pickle stands for.

    Raises
    ------
    PickleDamagedError
        When it is no pickle, is damaged, or holds more than :data:`MOST_OPCODES` steps.

    Examples
    --------
    >>> import io, os, pickle
    >>> class Attack:
    ...     def __reduce__(self):
    ...         return os.system, ("echo this is never printed",)
    >>> unpickle(io.BytesIO(pickle.dumps({"epoch": 3, "hook": Attack()})))
    {'epoch': 3, 'hook': <posix.system, not built>}
    """
    machine = _Machine(makers, persistent)
    try:
        for opcode, argument, _ in islice(pickletools.genops(file), MOST_OPCODES):
            if opcode.name == "STOP":
                return machine.pop()
            machine.run(opcode.name, argument)
    except PickleDamagedError:
        raise
    except (ValueError, TypeError, IndexError, KeyError, AttributeError, OverflowError, RecursionError) as error:
        raise PickleDamagedError(str(error)[:200] or type(error).__name__) from error
    raise PickleDamagedError(f"it has more than {MOST_OPCODES} steps")


def _key(key: Any) -> Any:
    """Return what may stand as a key: text, numbers and flat tuples of them; a hash of others may take forever."""
    if isinstance(key, _SCALARS) or (isinstance(key, tuple) and all(isinstance(part, _SCALARS) for part in key)):
        return key
    return key if isinstance(key, Name | Placeholder) else Placeholder("a key that is no plain value")


class _Machine:
    """The stack, the marks and the memo of a pickle."""

    def __init__(self, makers: Mapping[str, Maker], persistent: Callable[[Any], Any] | None) -> None:
        self.makers = makers
        self.persistent = persistent
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def run(self, name: str, argument: Any) -> None:
        """Take one step."""
        if name in _PUSHED:
            self.stack.append(argument)
        elif name in _FIXED:
            self.stack.append(_FIXED[name]())
        elif name in _TUPLES:
            count = _TUPLES[name]
            parts = tuple(self.pop() for _ in range(count))
            self.stack.append(tuple(reversed(parts)))
        elif name in _GETS:
            self.stack.append(self.memo[int(argument)])
        elif name in _PUTS:
            self.memo[len(self.memo) if argument is None else int(argument)] = self.top()
        elif name not in _IGNORED:
            step = _STEPS.get(name)
            if step is None:
                raise PickleDamagedError(f"step {name} is not for files")
            step(self, argument)

    def pop(self) -> Any:
        """Take the topmost value."""
        value = self.stack.pop()
        if value is _MARK:
            raise PickleDamagedError("a mark stands where a value belongs")
        return value

    def top(self) -> Any:
        """Return the topmost value."""
        if self.stack[-1] is _MARK:
            raise PickleDamagedError("a mark stands where a value belongs")
        return self.stack[-1]

    def since_mark(self) -> list[Any]:
        """Take all values above the last mark."""
        values: list[Any] = []
        while (value := self.stack.pop()) is not _MARK:
            values.append(value)
        values.reverse()
        return values

    def global_(self, module: Any, name: Any) -> Name:
        """Return the name of a class or function."""
        if not isinstance(module, str) or not isinstance(name, str):
            raise PickleDamagedError("a class is not named by text")
        for old, new in _MODULES.items():
            if module == old or module.startswith(f"{old}."):
                module = new + module[len(old) :]
        return Name(f"{module}.{name}")

    def call(self, function: Any, arguments: Any) -> Any:
        """Return what stands for the result of a call."""
        if not isinstance(arguments, tuple):
            raise PickleDamagedError("a call without a tuple of arguments")
        path = function.path if isinstance(function, Name) else "a call of what is no class"
        if path in {"copyreg.__newobj__", "copyreg.__newobj_ex__"} and arguments:
            extended = path.endswith("_ex__")
            return self.call(arguments[0], arguments[1] if extended else arguments[1:])
        if path == "copyreg._reconstructor" and len(arguments) == 3:
            return self._reconstructed(*arguments)
        maker = self.makers.get(path)
        return Placeholder(path, arguments) if maker is None else maker(*arguments)

    def _reconstructed(self, kind: Any, base: Any, state: Any) -> Any:
        made = self.call(kind, ())
        if isinstance(made, Placeholder) and isinstance(base, Name):
            if base.path == "builtins.dict" and isinstance(state, Mapping):
                made.entries.update(_made_dict(state))
            elif base.path == "builtins.list" and isinstance(state, list | tuple):
                made.items.extend(state)
        return made

    def build(self, state: Any) -> None:
        """Give the topmost object its state."""
        target = self.top()
        accept = getattr(type(target), "accept_state", None)
        if accept is not None:
            accept(target, state)
        elif isinstance(target, Placeholder):
            target.state = state
        elif isinstance(target, Attributes):
            parts = state if isinstance(state, tuple) else (state,)
            for part in parts:
                if isinstance(part, Mapping):
                    target.update({key: value for key, value in part.items() if isinstance(key, str)})

    def append(self, values: Iterable[Any]) -> None:
        """Append to the topmost object."""
        target = self.top()
        if isinstance(target, list):
            target.extend(values)
        elif isinstance(target, set):
            target.update(_made_set(values))
        elif isinstance(target, Placeholder):
            target.items.extend(values)
        else:
            raise PickleDamagedError(f"values are appended to a {type(target).__name__}")

    def set_items(self, flat: list[Any]) -> None:
        """Set entries of the topmost object."""
        if len(flat) % 2:
            raise PickleDamagedError("a key without a value")
        target = self.top()
        pairs = _made_dict(zip(flat[::2], flat[1::2], strict=True))
        if isinstance(target, dict):
            target.update(pairs)
        elif isinstance(target, Placeholder):
            target.entries.update(pairs)
        else:
            raise PickleDamagedError(f"entries are set in a {type(target).__name__}")

    def outside(self, identifier: Any) -> Any:
        """Return what stands outside the pickle."""
        if self.persistent is None:
            raise PickleDamagedError("it refers to data outside the pickle")
        return self.persistent(identifier)


_PUSHED = frozenset(
    [
        "FLOAT",
        "BINFLOAT",
        "INT",
        "BININT",
        "BININT1",
        "BININT2",
        "LONG",
        "LONG1",
        "LONG4",
        "STRING",
        "BINSTRING",
        "SHORT_BINSTRING",
        "UNICODE",
        "BINUNICODE",
        "SHORT_BINUNICODE",
        "BINUNICODE8",
        "BINBYTES",
        "SHORT_BINBYTES",
        "BINBYTES8",
        "BYTEARRAY8",
    ]
)
_FIXED: Mapping[str, Callable[[], Any]] = {
    "MARK": lambda: _MARK,
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
    "EMPTY_DICT": dict,
    "EMPTY_SET": set,
}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_GETS = frozenset({"GET", "BINGET", "LONG_BINGET"})
_PUTS = frozenset({"PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"})
_IGNORED = frozenset({"PROTO", "FRAME"})


def _call_with_marked(machine: _Machine, function: Any, arguments: list[Any]) -> None:
    machine.stack.append(machine.call(function, tuple(arguments)))


def _reduce(machine: _Machine, _argument: Any) -> None:
    arguments = machine.pop()
    machine.stack.append(machine.call(machine.pop(), arguments))


def _new_object_with_names(machine: _Machine, _argument: Any) -> None:
    machine.pop()
    _reduce(machine, None)


def _object(machine: _Machine, _argument: Any) -> None:
    kind, *arguments = machine.since_mark()
    _call_with_marked(machine, kind, arguments)


def _named_global(machine: _Machine, argument: str) -> None:
    machine.stack.append(machine.global_(*argument.split(" ", 1)))


def _stacked_global(machine: _Machine, _argument: Any) -> None:
    name = machine.pop()
    machine.stack.append(machine.global_(machine.pop(), name))


def _instance(machine: _Machine, argument: str) -> None:
    _call_with_marked(machine, machine.global_(*argument.split(" ", 1)), machine.since_mark())


def _extension(machine: _Machine, _argument: Any) -> None:
    machine.stack.append(Name("copyreg.extension"))


def _push_set(machine: _Machine, _argument: Any) -> None:
    machine.stack.append(_made_set(machine.since_mark()))


def _push_dict(machine: _Machine, _argument: Any) -> None:
    flat = machine.since_mark()
    machine.stack.append({})
    machine.set_items(flat)


def _set_item(machine: _Machine, _argument: Any) -> None:
    value = machine.pop()
    key = machine.pop()
    machine.set_items([key, value])


def _pop(machine: _Machine, _argument: Any) -> None:
    machine.stack.pop()


def _pop_mark(machine: _Machine, _argument: Any) -> None:
    machine.since_mark()


def _append_one(machine: _Machine, _argument: Any) -> None:
    value = machine.pop()
    machine.append([value])


_STEPS: Mapping[str, Callable[[_Machine, Any], None]] = {
    "POP": _pop,
    "POP_MARK": _pop_mark,
    "DUP": lambda machine, _: machine.stack.append(machine.top()),
    "LIST": lambda machine, _: machine.stack.append(machine.since_mark()),
    "TUPLE": lambda machine, _: machine.stack.append(tuple(machine.since_mark())),
    "DICT": _push_dict,
    "FROZENSET": _push_set,
    "APPEND": _append_one,
    "APPENDS": lambda machine, _: machine.append(machine.since_mark()),
    "ADDITEMS": lambda machine, _: machine.append(machine.since_mark()),
    "SETITEM": _set_item,
    "SETITEMS": lambda machine, _: machine.set_items(machine.since_mark()),
    "GLOBAL": _named_global,
    "STACK_GLOBAL": _stacked_global,
    "REDUCE": _reduce,
    "NEWOBJ": _reduce,
    "NEWOBJ_EX": _new_object_with_names,
    "OBJ": _object,
    "INST": _instance,
    "EXT1": _extension,
    "EXT2": _extension,
    "EXT4": _extension,
    "BUILD": lambda machine, _: machine.build(machine.pop()),
    "PERSID": lambda machine, argument: machine.stack.append(machine.outside(argument)),
    "BINPERSID": lambda machine, _: machine.stack.append(machine.outside(machine.pop())),
}
