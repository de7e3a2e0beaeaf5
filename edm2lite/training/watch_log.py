"""The numbers of all looks at a run, in one CSV file."""

import csv
import io
from pathlib import Path

from edm2lite.files import write_text


class WatchLog:
    """Lines of nimg, setup, ema and the numbers; whole at any time, and its columns may change with the setup.

    Args:
        path: The file.
        setup: Short hash of everything but the model that decides the numbers.
    """

    def __init__(self, path: Path, setup: str):
        self.path, self.setup = path, setup

    def has(self, nimg: int) -> bool:
        """Whether the run was looked at there, in this setup; a file that cannot be read knows of nothing."""
        try:
            return any(self._is_of(row, nimg) for row in self._rows())
        except (OSError, csv.Error, UnicodeDecodeError):
            return False

    def add(self, nimg: int, ema: float, numbers: dict[str, float]) -> None:
        """Add a line, in place of one that is there."""
        line = {"nimg": str(int(nimg)), "setup": self.setup, "ema": str(ema)}
        line |= {name: f"{value:.8g}" for name, value in numbers.items()}
        rows = [row for row in self._rows() if not self._is_of(row, nimg)] + [line]
        columns = list(dict.fromkeys(name for row in rows for name in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_text(self.path, text.getvalue())

    def clear(self) -> None:
        """Forget all of it."""
        self.path.unlink(missing_ok=True)

    def _is_of(self, row: dict[str, str], nimg: int) -> bool:
        return row.get("nimg") == str(int(nimg)) and row.get("setup") == self.setup

    def _rows(self) -> list[dict[str, str]]:
        if not self.path.exists():
            return []
        with open(self.path, newline="") as f:
            return list(csv.DictReader(f))
