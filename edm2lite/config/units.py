"""Numbers of images, seeds, ranges: how settings are read, checked and written."""

import operator
import re
from typing import Any, SupportsIndex

from jsonargparse.typing import register_type

from edm2lite.errors import UserError, unknown_name

_MOST_SEEDS = 10**8
_SUFFIXES = {"Gi": 2**30, "Mi": 2**20, "Ki": 2**10}


class Nimg(int):
    """A number of training images; reads and prints binary suffixes: Nimg("128Mi") == 134217728."""

    def __new__(cls, value: "SupportsIndex | float | str") -> "Nimg":
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        text = value.strip() if isinstance(value, str) else str(operator.index(value))  # type: ignore[arg-type]
        match = re.fullmatch(r"(\d[\d_]*)(Ki|Mi|Gi)?", text)
        if not match:
            raise UserError(f"{value!r} is not a number of images; write 2097152, 2048Ki or 2Mi")
        return super().__new__(cls, int(match[1]) * _SUFFIXES.get(match[2], 1))

    def __str__(self) -> str:
        for suffix, factor in _SUFFIXES.items():
            if self > 0 and self % factor == 0:
                return f"{int(self) // factor}{suffix}"
        return str(int(self))

    __repr__ = __str__


register_type(Nimg, str, Nimg)  # so that jsonargparse reads it wherever a configuration is parsed


def parse_seeds(text: str) -> list[int]:
    """Seeds in the order given: "0-49999", "3,5,7" or a mix; inclusive ranges, no seed twice.

    Raises:
        UserError: If the text is malformed, holds no seed, or repeats one.
    """
    seeds: list[int] = []
    for part in filter(None, (p.strip() for p in text.split(","))):
        match = re.fullmatch(r"(\d+)(?:-(\d+))?", part)
        if not match:
            raise UserError(f"seeds {text!r}: cannot read {part!r}; write for example 0-49999 or 3,5,10-19")
        first, last = int(match[1]), int(match[2] or match[1])
        if last - first >= _MOST_SEEDS:
            raise UserError(f"seeds {text!r}: {part!r} are {last - first + 1} images; at most {_MOST_SEEDS} at a time")
        seeds.extend(range(first, last + 1))
    if not seeds:
        raise UserError(f"seeds {text!r} name no seed; at least one is needed, for example --seeds 0-63")
    if len({seed % 2**32 for seed in seeds}) != len(seeds):
        raise UserError(f"seeds {text!r} name a seed twice (they count modulo 2^32); name each once")
    return seeds


def plain(value: Any) -> Any:
    """The same as dicts, lists, strings and numbers, as YAML and JSON can hold them."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, tuple | list):
        return [plain(v) for v in value]
    if value == float("inf"):
        return ".inf"  # JSON has no such number, and YAML reads it as one
    return str(value) if isinstance(value, Nimg) else value


def check_choice(what: str, value: str, allowed: tuple[str, ...]) -> None:
    """Raise a UserError that lists the allowed values unless `value` is one of them."""
    if value not in allowed:
        raise unknown_name(what, value, allowed)


def check_range(what: str, ok: bool, value: object, allowed: str) -> None:
    """Raise a UserError "WHAT is VALUE; it must be ALLOWED" unless ok."""
    if not ok:
        raise UserError(f"{what} is {value}; it must be {allowed}")
