"""Archives that zipfile must read, those with zip64 fields too."""

import io
import zipfile

from edm2lite.data.prepare.zipwriter import ZipWriter
from edm2lite.data.zipindex import build_index


def write(path, names, comment=b"", skip=0):
    with open(path, "wb+") as archive, open(f"{path}.directory", "wb+") as directory:
        archive.truncate(skip)
        archive.seek(skip)
        writer = ZipWriter(archive, directory, 0)
        for name in names:
            writer.add(name, name.encode())
        writer.add_file("dataset.json", io.BytesIO(b'{"labels": null}'))
        writer.close(comment)
    return path


def check(path, names):
    with zipfile.ZipFile(path) as f:
        assert f.namelist() == [*names, "dataset.json"]
        for name in (names[0], names[-1]):
            assert f.read(name) == name.encode()
    index = build_index(path)
    assert [name.decode() for name in index.names] == sorted(names)


NAMES = [f"{i // 1000:05d}/img{i:08d}.png" for i in range(20)]


def test_plain(tmp_path):
    path = write(tmp_path / "a.zip", NAMES, b"comment")
    check(path, NAMES)
    with zipfile.ZipFile(path) as f:
        assert f.testzip() is None and f.comment == b"comment" and f.infolist()[0].date_time == (1980, 1, 1, 0, 0, 0)


def test_more_members_than_16_bits_count(tmp_path):
    names = [f"{i:06d}.png" for i in range(66_000)]
    path = write(tmp_path / "a.zip", names)
    check(path, names)
    assert b"PK\6\6" in path.read_bytes()[-200:]


def test_offsets_beyond_4_gib(tmp_path):
    """With a hole in front, which takes no room on the disk."""
    path = write(tmp_path / "a.zip", NAMES, skip=(4 << 30) - 700)
    assert path.stat().st_size > 4 << 30 > path.stat().st_blocks * 512
    check(path, NAMES)
    with zipfile.ZipFile(path) as f:
        assert f.testzip() is None
        assert [info.header_offset > 0xFFFFFFFF for info in f.infolist()].count(False) > 3, "both sides of the border"
