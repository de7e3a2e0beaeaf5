"""An unfinished dataset on disk: files that only grow, and a journal that says how far they are valid.

The journal is written atomically after every chunk of images, when the files have reached the disk; whatever was appended
after it is cut off at the next start. So the process may be killed at any moment.
"""

import errno
import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

from edm2lite.errors import UserError
from edm2lite.files import write_json

JOURNAL, LOCK, SPOOL = "journal.json", "lock", ".spool"


class Workspace:
    """Folder of an unfinished dataset; a context manager that holds its lock.

    Args:
        folder: The packed folder itself, or a folder beside the ZIP.
        settings: What the dataset depends on; an unfinished one of other settings is refused.

    Attributes:
        state: What was last committed; empty at the very beginning.
    """

    def __init__(self, folder: Path, settings: dict[str, Any]):
        self.folder, self.settings = folder, settings
        self.state: dict[str, Any] = {}
        self._spools: dict[str, IO[bytes]] = {}
        self._exit = ExitStack()

    def __enter__(self) -> "Workspace":
        self.folder.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            if not stack.enter_context(locked(self.folder)):
                raise UserError(f"{self.folder} is being written by another process; wait for it, or stop it")
            self._load()
            self._exit = stack.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        self._exit.close()

    def _load(self) -> None:
        path = self.folder / JOURNAL
        if not path.exists():
            others = [p.name for p in self.folder.iterdir() if p.name != LOCK and not p.name.startswith(".")]
            if others:
                (self.folder / LOCK).unlink()
                raise UserError(
                    f"{self.folder} holds other files ({others[0]} ...); choose another --dest, or empty it"
                )
            write_json(path, {"settings": self.settings, "state": {}, "sizes": {}})
        journal = json.loads(path.read_text())
        if journal.get("state") != {}:  # who died before the first chunk binds nobody
            check_settings(self.folder, journal["settings"], self.settings, "is unfinished and")
        self.state, self._sizes = journal["state"], journal["sizes"]

    def spool(self, name: str) -> IO[bytes]:
        """The growing file of that name, open for appending where the journal says that it ends."""
        if name not in self._spools:
            file = self._exit.enter_context(open(self.folder / f"{name}{SPOOL}", "a+b"))  # noqa: SIM115 - open until the end
            file.truncate(self._sizes.get(name, 0))
            file.seek(0, os.SEEK_END)
            self._spools[name] = file
        return self._spools[name]

    def commit(self, state: dict[str, Any]) -> None:
        """Make everything that was appended valid, together with `state`."""
        for file in self._spools.values():
            file.flush()
            os.fsync(file.fileno())
        self._sizes |= {name: file.tell() for name, file in self._spools.items()}
        write_json(self.folder / JOURNAL, {"settings": self.settings, "state": state, "sizes": self._sizes})
        self.state = state


def check_settings(path: Path, old: dict[str, Any], new: dict[str, Any], what: str) -> None:
    """Raise a UserError that names the first setting in which a dataset differs from what is asked for."""
    for key in new | old:
        if old.get(key) != new.get(key):
            raise UserError(
                f"{path} {what} was made with {key} = {old.get(key)!r}, but this command has {new.get(key)!r}; "
                "run it as before, choose another --dest, or delete that one"
            )


def tidy(folder: Path, dest: Path) -> None:
    """Remove what a finished dataset needs no more: journal and spools in a packed folder, or the folder beside a ZIP."""
    if folder != dest:
        shutil.rmtree(folder, ignore_errors=True)
        return
    for path in (
        *folder.glob("chunk-*.json"),
        *folder.glob(f"*{SPOOL}"),
        *folder.glob(".*.tmp"),
        folder / JOURNAL,
        folder / LOCK,
    ):
        path.unlink(missing_ok=True)


@contextmanager
def room_on_disk(dest: str | os.PathLike) -> Iterator[None]:
    """Turn "disk full" into one line that says how to go on."""
    try:
        yield
    except OSError as e:
        if e.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise UserError(
            f"no space left on the disk of {dest}; make room and run the same command again, it goes on where it stopped"
        ) from e


@contextmanager
def locked(folder: Path) -> Iterator[bool]:
    """Whether this process has the folder for itself: a record lock, which the system releases however the process ends."""
    with open(folder / LOCK, "a") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as e:
            if e.errno not in (errno.EACCES, errno.EAGAIN):
                raise
            yield False
        else:
            yield True
