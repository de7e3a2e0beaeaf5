"""Replays the opcodes of a pickle that build plain data, and refuses every other: nothing in it is imported or run.

An allow-listed `pickle.Unpickler` would not do: it still sets attributes, and 2 MB of nested tuples crash it. Here a name
in the file is only a key into a table of the caller's own makers, never looked up in a module.
"""

import pickletools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import IO, Any


class Refused(Exception):  # noqa: N818 - reads as the sentence it begins
    """Something a snapshot never holds; the text is for people."""


MALFORMED = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError, MemoryError)
_MOST_OPCODES = 500_000  # a snapshot has some 20,000; each may cost a hundred bytes of memory
_LITERALS = {"BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"}
_LITERALS |= {"SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "SHORT_BINBYTES", "BINBYTES", "BINBYTES8"}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_CONTAINERS: dict[str, Callable[[], object]] = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_SET": set}


@dataclass(frozen=True)
class Name:
    """A global that the pickle names: only its dotted text."""

    text: str


@dataclass
class Unbuilt:
    """An object between its creation and its BUILD opcode, which `finish` turns into `value`."""

    finish: Callable[[Any], object]
    value: object = None


class PickleReader:
    """Replays one pickle's data-building opcodes from `stream`; `makers` says which names it may use (None: not call).

    `inner`: one of the short pickles of a storage; there a persistent id stands as the plain tuple it is.
    """

    def __init__(self, stream: IO[bytes], makers: Mapping[str, Callable[..., object] | None], inner: bool = False):
        self.stream, self.makers, self.inner = stream, makers, inner
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []  # the stacks under the open marks
        self.memo: dict[int, Any] = {}
        self.position = 0

    def load(self) -> object:
        """The object that the pickle describes; leaves the stream just behind it."""
        most = 100 if self.inner else _MOST_OPCODES
        for count, (opcode, argument, position) in enumerate(pickletools.genops(self.stream)):
            self.position = position or 0
            if opcode.name == "STOP":
                break
            if count >= most:
                raise Refused(f"it has more than {most} pickle opcodes; a snapshot has far fewer")
            self._step(opcode.name, argument)
        return self.stack.pop()

    def _step(self, opcode: str, argument: Any) -> None:
        match opcode:
            case "PROTO" | "FRAME":
                pass
            case "MARK":
                self.below.append(self.stack)
                self.stack = []
            case "MEMOIZE" | "BINPUT" | "LONG_BINPUT":
                self.memo[len(self.memo) if argument is None else argument] = self.stack[-1]
            case "SETITEM" | "SETITEMS" | "APPEND" | "APPENDS" | "ADDITEMS":
                self._fill(opcode)
            case "BINPERSID" if self.inner:
                pass
            case _:
                value = self._value(opcode, argument)
                self.stack.append(value)  # in two steps: TUPLE puts another stack in place

    def _value(self, opcode: str, argument: Any) -> object:  # noqa: PLR0911
        if opcode in _LITERALS:
            return argument
        if opcode in _CONSTANTS:
            return _CONSTANTS[opcode]
        if opcode in _CONTAINERS:
            return _CONTAINERS[opcode]()
        match opcode:
            case "BINGET" | "LONG_BINGET":
                known = self.memo[argument]
                return known.value if isinstance(known, Unbuilt) and known.value is not None else known
            case "TUPLE":
                return tuple(self._since_mark())
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                return tuple([self.stack.pop() for _ in range(int(opcode[-1]))][::-1])
            case "GLOBAL":
                return self._name(argument.replace(" ", ".", 1))
            case "STACK_GLOBAL":
                name, module = self.stack.pop(), self.stack.pop()
                return self._name(f"{typed(module, str)}.{typed(name, str)}")
            case "REDUCE" | "NEWOBJ":
                arguments, name = self.stack.pop(), self.stack.pop()
                return self._make(name, typed(arguments, tuple))
            case "BUILD":
                state, target = self.stack.pop(), self.stack.pop()
                return self._build(target, state)
        raise Refused(f"it uses the pickle opcode {opcode}, which a snapshot never needs; allowed is plain data")

    def _since_mark(self) -> list[Any]:
        items, self.stack = self.stack, self.below.pop()
        return items

    def _fill(self, opcode: str) -> None:
        single = {"APPEND": 1, "SETITEM": 2}.get(opcode)
        items = [self.stack.pop() for _ in range(single)][::-1] if single else self._since_mark()
        target = self.stack[-1]
        if opcode.startswith("APPEND"):
            typed(target, list).extend(items)
        elif opcode == "ADDITEMS":
            typed(target, set).update(typed(item, str) for item in items)
        else:  # plain keys only: hashing a deeply nested tuple can overflow the C stack
            typed(target, dict).update((typed(k, str, int), v) for k, v in zip(items[::2], items[1::2], strict=True))

    def _name(self, text: str) -> Name:
        if text not in self.makers:
            allowed = ", ".join(self.makers)
            raise Refused(f"it asks for {shown(text)}, which a snapshot never needs; allowed are {allowed}")
        return Name(text)

    def _make(self, name: object, arguments: tuple[Any, ...]) -> object:
        maker = self.makers[name.text] if isinstance(name, Name) else None
        if maker is None:
            raise Refused(f"it calls {shown(getattr(name, 'text', type(name).__name__))}, which is not to be called")
        return maker(*arguments)

    def _build(self, target: object, state: object) -> object:
        if isinstance(target, Unbuilt) and target.value is None:
            target.value = target.finish(state)  # BINGET then finds the finished object under the same number
            return target.value
        if isinstance(target, dict) and not state:
            return target  # older Pythons write the empty attributes of a dict subclass
        raise Refused(f"it sets the state of a {type(target).__name__}, which a snapshot never needs")


def shown(text: str) -> str:
    """`text` from the file, cut and escaped for one line of a terminal."""
    return ascii(text[:200])[1:-1]


def typed(value: Any, *kinds: type) -> Any:
    """`value` if its type is exactly one of `kinds`, else `Refused`."""
    if type(value) not in kinds:
        raise Refused(f"it has a {type(value).__name__} where only {' or '.join(k.__name__ for k in kinds)} can be")
    return value
