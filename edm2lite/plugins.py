"""What a configuration names by import path. Imports no torch."""

import importlib
from collections.abc import Callable
from typing import Any

from edm2lite.errors import UserError


def find_named(what: str, name: str, example: str) -> Callable[..., Any]:
    """The function or class that "module:name" names.

    Args:
        what: Which setting it is, for errors.
        name: The import path.
        example: A right one.

    Raises:
        UserError: If there is no such module or name.
    """
    module_name, _, attribute = name.partition(":")
    if not module_name or not attribute:
        raise UserError(f"{what} is {name}; write module:name, as in {example}")
    try:
        module = importlib.import_module(module_name)
    except (ImportError, TypeError) as e:  # TypeError: a relative name
        raise UserError(f"{what} {name}: {module_name} cannot be imported ({e}); install it, or set PYTHONPATH") from e
    found = getattr(module, attribute, None)
    if not callable(found):
        have = ", ".join(sorted(n for n, v in vars(module).items() if callable(v) and not n.startswith("_")))
        raise UserError(f"{what} {name}: {module_name} has no function {attribute}; it has: {have}")
    return found
