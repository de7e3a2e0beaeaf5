"""Where images cannot go."""

import os

import pytest

from edm2lite.errors import UserError
from edm2lite.sampling.outdir import check_outdir


def test_fine(tmp_path):
    (tmp_path / "ours").mkdir()
    (tmp_path / "ours" / "manifest.json").touch()
    (tmp_path / "ours" / "000000").mkdir()
    (tmp_path / "failed").mkdir()
    (tmp_path / "failed" / ".manifest.json.1.tmp").touch()
    for name in ("ours", "failed", "new", "new/deeper"):
        check_outdir(tmp_path / name)
    assert not (tmp_path / "new").exists()


def test_a_file_or_a_folder_of_somebody_is_refused(tmp_path):
    (tmp_path / "thesis.txt").write_text("do not touch")
    with pytest.raises(UserError, match="not empty and holds no manifest"):
        check_outdir(tmp_path)
    for name in ("thesis.txt", "thesis.txt/out"):
        with pytest.raises(UserError, match=r"thesis.txt is a file"):
            check_outdir(tmp_path / name)


def test_not_writable(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path)  # root may write anywhere
    with pytest.raises(UserError, match=r"cannot be written to"):
        check_outdir(tmp_path / "a" / "b")
