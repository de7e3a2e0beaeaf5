"""Scores kept on disk under everything they depend on. Imports no torch."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edm2lite.errors import UserError
from edm2lite.evaluation.score import Score
from edm2lite.files import digest, remove_abandoned, write_json


class Ledger:
    """A folder with one file a score, so that any number of jobs add to it at once and none waits for another.

    A file is there whole or not at all, and two jobs that put the same score write the same. It carries a checksum.

    Args:
        folder: The folder; made with the first score.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        remove_abandoned(folder)

    def get(self, settings: dict[str, Any]) -> Score | None:
        """The score kept under these settings; None: there is none.

        Raises:
            UserError: If it is damaged.
        """
        path = self._path(settings)
        if not path.exists():
            return None
        try:
            data = json.loads(path.read_text())
            if data["digest"] != digest([data["settings"], data["score"]]):
                raise ValueError("its checksum differs")
            if digest(data["settings"]) != path.stem:
                raise ValueError("it is the score of other settings")
            return _score(data["score"])
        except (ValueError, KeyError, TypeError) as e:
            raise UserError(
                f"{path} is damaged ({e}); delete that file and run the same command, it is made anew"
            ) from e

    def put(self, settings: dict[str, Any], score: Score) -> None:
        """Keep a score."""
        data = json.loads(json.dumps({"settings": settings, "score": asdict(score)}))  # as it will be read
        check = digest([data["settings"], data["score"]])
        write_json(self._path(settings), {"score": data["score"], "settings": data["settings"], "digest": check})

    def _path(self, settings: dict[str, Any]) -> Path:
        return self.folder / f"{digest(settings)}.json"


def _score(data: dict[str, Any]) -> Score:
    return Score(**data | {"leave_one_out": tuple(data["leave_one_out"])})
