"""Converting: layouts, what is reported, and that neither kills nor the number of workers change a byte."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
import zipfile

import numpy as np
import pytest
from PIL import Image

from edm2lite.config import ConvertConfig
from edm2lite.data.datasets import open_stored
from edm2lite.data.packed import PackedDataset
from edm2lite.data.prepare.convert import Conversion, convert
from edm2lite.data.prepare.workspace import locked
from edm2lite.data.prepare.writers import PackedWriter, ZippedWriter
from edm2lite.errors import UserError
from tests.data.conftest import CLASSES, SIZE, UNREADABLE, jpeg, picture

COMMAND = """
import edm2lite.data.prepare.convert as c, sys
from edm2lite.cli import DATA, main
c.CHUNK = 4
if __name__ == "__main__":
    sys.exit(main(DATA, "edm2lite data", sys.argv[1:]))
"""


def config(source, dest, **options):
    return ConvertConfig(**{"source": str(source), "dest": str(dest), "size": SIZE, "workers": 1} | options)


def content(dest):
    """All bytes of a finished dataset."""
    files = [dest] if dest.is_file() else sorted(dest.iterdir())
    return {path.name.replace(dest.name, "DEST"): path.read_bytes() for path in files}


@pytest.fixture(params=["data", "data.zip"])
def dest(request, tmp_path):
    return tmp_path / request.param


@pytest.fixture
def script(tmp_path):
    (tmp_path / "command.py").write_text(COMMAND)
    return tmp_path / "command.py"


def test_nvidias_layout_to_the_name(zipped, packed):
    with zipfile.ZipFile(zipped) as f:
        assert f.testzip() is None and {info.compress_type for info in f.infolist()} == {zipfile.ZIP_STORED}
        names = [f"00000/img{i:08d}.png" for i in range(60)]
        assert f.namelist() == [*names, "dataset.json"]
        labels = json.loads(f.read("dataset.json"))["labels"]
        assert labels == [[name, int(label)] for name, label in zip(names, PackedDataset(packed).labels, strict=True)]
        with Image.open(f.open(names[3])) as image:
            assert (image.mode, image.size, image.info) == ("RGB", (SIZE, SIZE), {})
            assert np.array_equal(np.asarray(image).transpose(2, 0, 1), PackedDataset(packed)[3][0])


def test_packed_layout(packed):
    assert {path.name for path in packed.iterdir()} == {"images-00000.npy", "labels.npy", "dataset.json"}
    data = PackedDataset(packed)
    assert data.shape == (60, 3, SIZE, SIZE) and data.classes == CLASSES
    assert np.bincount(data.labels).tolist() == [24, 18, 18]


def test_what_is_reported(imagenet, dest, capsys):
    convert(config(imagenet, dest))
    out = capsys.readouterr().out
    assert f"60 images uint8 [3, {SIZE}, {SIZE}], 3 classes, from class folders" in out
    assert "not RGB before: 3\n" in out and "EXIF rotation (ignored" in out and "enlarged: 1\n" in out
    listed = (dest.parent / f"{dest.name}.rejected.tsv").read_text().splitlines()
    assert [line.split("\t")[0] for line in listed] == UNREADABLE
    assert [line.split("\t")[1].split(":")[0] for line in listed] == ["not an image", "empty file", "OSError"]
    assert f"unreadable: 3, listed with reasons in {dest}.rejected.tsv" in out


def test_exif_applied(imagenet, packed, tmp_path):
    convert(config(imagenet, tmp_path / "a", exif="apply"))
    turned, stored = PackedDataset(tmp_path / "a"), PackedDataset(packed)
    assert [i for i in range(60) if not np.array_equal(turned[i][0], stored[i][0])] == [5], "a_turned.JPEG"


def test_a_finished_dataset_is_left_alone(imagenet, dest, capsys):
    convert(config(imagenet, dest))
    before = {path: path.stat().st_mtime_ns for path in [dest, *dest.rglob("*")]}
    convert(config(imagenet, dest))
    assert "finished before; nothing to do" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in [dest, *dest.rglob("*")]} == before
    with pytest.raises(UserError, match="is finished and was made with size = 32, but this command has 16"):
        convert(config(imagenet, dest, size=16))


@pytest.mark.parametrize("workers", [1, 2])
def test_killed_and_resumed_is_the_same_to_the_byte(imagenet, dest, script, workers, tmp_path):
    """The real command, killed after some chunks and again, with workers; against one uninterrupted run in this process."""
    arguments = ["convert", f"--source={imagenet}", f"--dest={dest}", f"--size={SIZE}", f"--workers={workers}"]
    command = [sys.executable, str(script), *arguments]
    folder = dest.with_name("data.zip.partial") if dest.suffix else dest
    for chunks in (1, 6):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and committed(folder) < chunks:
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL and not (dest / "dataset.json").exists() and not dest.is_file()
    assert committed(folder) >= 6
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0 and "going on after" in done.stdout, done.stderr
    assert not (tmp_path / "data.zip.partial").exists()
    whole = tmp_path / "whole" / dest.name
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("edm2lite.data.prepare.convert.CHUNK", 4)
        convert(config(imagenet, whole))
    assert content(dest) == content(whole)
    assert (tmp_path / f"{dest.name}.rejected.tsv").read_bytes() == (
        whole.parent / f"{dest.name}.rejected.tsv"
    ).read_bytes()


def committed(folder):
    """Chunks in the journal."""
    try:
        return json.loads((folder / "journal.json").read_text())["state"].get("chunk", 0)
    except FileNotFoundError:
        return 0


def test_a_full_disk_is_one_line_and_no_loss(imagenet, dest, small_chunks, monkeypatch, tmp_path):
    writer = ZippedWriter if dest.suffix else PackedWriter
    add, calls = writer.add, []

    def fails(self, image):
        calls.append(image)
        if len(calls) == 30:
            raise OSError(errno.ENOSPC, "No space left on device")
        add(self, image)

    with monkeypatch.context() as patch:
        patch.setattr(writer, "add", fails)
        with pytest.raises(
            UserError, match=r"no space left on the disk of .*; make room and run the same command again"
        ):
            convert(config(imagenet, dest))
    convert(config(imagenet, dest))
    whole = tmp_path / "whole" / dest.name
    convert(config(imagenet, whole))
    assert content(dest) == content(whole) and len(open_stored(str(dest))) == 60


def test_killed_while_it_tidies_up(imagenet, dest, monkeypatch, capsys):
    """Dead between completing the dataset and removing what is left over: the next run removes it."""
    with monkeypatch.context() as patch:
        patch.setattr("edm2lite.data.prepare.convert.tidy", lambda *_: None)
        convert(config(imagenet, dest))
    convert(config(imagenet, dest))
    assert "finished before" in capsys.readouterr().out
    assert not dest.with_name("data.zip.partial").exists() and not list(dest.glob("*.spool"))
    assert not dest.is_dir() or {p.name for p in dest.iterdir()} == {"images-00000.npy", "labels.npy", "dataset.json"}


@pytest.fixture
def begun(imagenet, dest, small_chunks, monkeypatch):
    """A destination with some chunks done."""

    def stops(self):
        if self.chunk == 3:
            raise KeyboardInterrupt
        commit(self)

    commit = Conversion._commit
    with monkeypatch.context() as patch:
        patch.setattr(Conversion, "_commit", stops)
        with pytest.raises(KeyboardInterrupt):
            convert(config(imagenet, dest))
    return dest


def test_an_unfinished_one_of_other_settings_is_refused(imagenet, begun, tmp_path):
    with pytest.raises(UserError, match="is unfinished and was made with size = 32, but this command has 16"):
        convert(config(imagenet, begun, size=16))
    other = tmp_path / "other"
    (other / "a").mkdir(parents=True)
    (other / "a" / "1.jpg").write_bytes(jpeg(picture(np.random.default_rng(0), 40, 40)))
    with pytest.raises(UserError, match="is unfinished and was made with source = "):
        convert(config(other, begun))
    convert(config(imagenet, begun))
    assert len(open_stored(str(begun))) == 60


def test_a_source_that_changed_meanwhile_is_refused(begun, imagenet, tmp_path):
    added = imagenet / "ILSVRC" / "Data" / "CLS-LOC" / "train" / CLASSES[0] / "added.JPEG"
    added.write_bytes(b"")
    try:
        with pytest.raises(UserError, match="made with digest = "):
            convert(config(imagenet, begun))
    finally:
        added.unlink()


def test_two_at_once_are_refused(imagenet, dest):
    """The lock belongs to a process, so another one holds it here."""
    folder = dest.with_name("data.zip.partial") if dest.suffix else dest
    folder.mkdir()
    holder, begin = os.fork(), time.monotonic()
    if holder == 0:
        with locked(folder):
            (folder / ".held").touch()
            time.sleep(60)
    try:
        while not (folder / ".held").exists() and time.monotonic() < begin + 30:
            time.sleep(0.01)
        with pytest.raises(UserError, match="is being written by another process"):
            convert(config(imagenet, dest))
    finally:
        os.kill(holder, signal.SIGKILL)
        os.waitpid(holder, 0)


def one_picture(folder, *sizes):
    (folder / "in" / "a").mkdir(parents=True)
    for i, size in enumerate(sizes):
        (folder / "in" / "a" / f"{i}.jpg").write_bytes(jpeg(picture(np.random.default_rng(0), *size)))
    return folder / "in"


def test_as_they_are_if_they_are_square_and_of_one_size(tmp_path):
    source = one_picture(tmp_path, (40, 40), (40, 40))
    convert(config(source, tmp_path / "out", size=None))
    assert PackedDataset(tmp_path / "out").shape == (2, 3, 40, 40)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [([(40, 40), (41, 41)], "1.jpg is 41x41 pixels, the images before it 40x40"), ([(9, 8)], "not square")],
)
def test_sizes_that_differ_need_a_size(tmp_path, dest, sizes, message):
    source = one_picture(tmp_path, *sizes)
    with pytest.raises(UserError, match=message):
        convert(config(source, dest, size=None))
    convert(config(source, dest, size=8))
    assert len(open_stored(str(dest))) == len(sizes), "a refusal before the first chunk binds nobody"


def test_nothing_readable(tmp_path, dest):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jpg").write_bytes(b"text")
    with pytest.raises(UserError, match=r"none of the 1 files .* is an image; why is in .*rejected\.tsv"):
        convert(config(tmp_path / "in", dest))
    assert not dest.exists() and (tmp_path / f"{dest.name}.rejected.tsv").read_text() == "a.jpg\tnot an image\n"


def test_destinations_that_are_something_else(imagenet, tmp_path, monkeypatch):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").touch()
    (tmp_path / "my.zip").write_bytes(b"something")
    (tmp_path / "folder.zip").mkdir()
    (tmp_path / "file").touch()
    for name, message in {
        "full": "holds other files .thesis.txt",
        "my.zip": "was not made by this command",
        "folder.zip": "is a folder",
        "file": "is a file",
    }.items():
        with pytest.raises(UserError, match=message):
            convert(config(imagenet, tmp_path / name))
    assert [p.name for p in (tmp_path / "full").iterdir()] == ["thesis.txt"]
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(UserError, match="start it once"):
        convert(config(imagenet, tmp_path / "new"))
