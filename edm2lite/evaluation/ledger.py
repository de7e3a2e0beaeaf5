"""Values kept on disk under everything they depend on. Imports no torch."""

import hashlib
import json
from pathlib import Path
from typing import Any

from edm2lite.files import write_json


class Ledger:
    """A folder with one file a value, so that any number of jobs add to it at once and none waits for another.

    Args:
        folder: The folder; made with the first value.
    """

    def __init__(self, folder: Path):
        self.folder = folder

    def get(self, settings: dict[str, Any]) -> float | None:
        """The value kept under these settings; None: there is none."""
        path = self._path(settings)
        return float(json.loads(path.read_text())["value"]) if path.exists() else None

    def put(self, settings: dict[str, Any], value: float) -> None:
        """Keep a value."""
        write_json(self._path(settings), {"value": value, "settings": settings})

    def _path(self, settings: dict[str, Any]) -> Path:
        text = json.dumps(settings, sort_keys=True)
        return self.folder / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.json"
