"""Names of a package that are imported when first used, so that importing it costs nothing. Imports no torch."""

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def lazy(package: str, exports: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` of a package.

    Args:
        package: Its name.
        exports: Module of each name.
    """

    def get(name: str) -> Any:
        if name not in exports:
            have = ", ".join(sorted(exports))
            raise AttributeError(f"module {package!r} has no attribute {name!r}; it has {have}")
        return getattr(import_module(exports[name]), name)

    return get, lambda: sorted({*vars(sys.modules[package]), *exports})
