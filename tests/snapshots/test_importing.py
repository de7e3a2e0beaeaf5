"""Import of NVIDIA's pickles: the same weights to the bit, whole run directories or none, refusals before any writing."""

import os
import shutil

import pytest
import torch

from edm2lite import cli, load_denoiser
from edm2lite.config import ModelRef, Nimg
from edm2lite.config.importing import ImportConfig
from edm2lite.errors import UserError
from edm2lite.files import sha256
from edm2lite.snapshots import importing
from edm2lite.snapshots.fetch import resolve
from edm2lite.snapshots.files import read_info, read_metadata, read_tensors
from edm2lite.snapshots.importing import import_snapshots
from edm2lite.snapshots.index import stored_snapshots
from edm2lite.snapshots.load import load_model
from edm2lite.snapshots.nvidia import read_published
from tests.conftest import GOLDEN
from tests.snapshots.server import serve

PKL = GOLDEN / "snapshot-guide.pkl"
RAW = ["edm2-img64-xs-0008388-0.050.pkl", "edm2-img64-xs-0008388-0.100.pkl", "edm2-img64-xs-0016777-0.050.pkl"]
IMPORTED = ["8Mi-ema0.05.safetensors", "8Mi-ema0.1.safetensors", "16Mi-ema0.05.safetensors"]


@pytest.fixture
def raw(tmp_path):
    """A folder of raw snapshots."""
    (tmp_path / "raw").mkdir()
    for name in RAW:
        shutil.copy(PKL, tmp_path / "raw" / name)
    return tmp_path / "raw"


def run_import(source, dest, **options):
    import_snapshots(ImportConfig(source=str(source), dest=str(dest), **options))


@pytest.mark.parametrize("name", ["cond", "uncond", "guide"])
def test_an_imported_model_is_the_published_one_to_the_bit(name, tmp_path):
    source, dest = GOLDEN / f"snapshot-{name}.pkl", tmp_path / "model.safetensors"
    run_import(source, dest)
    direct, imported = load_model(source), load_model(dest)
    assert imported.fingerprint == direct.fingerprint and imported.info == direct.info
    tensors = read_published(source)[1]
    stored = read_tensors(dest)
    assert stored.keys() == tensors.keys()
    assert all(stored[k].dtype == torch.float16 and torch.equal(stored[k], tensors[k]) for k in tensors)
    metadata = read_metadata(dest)
    assert "CC BY-NC-SA 4.0" in metadata["licence"]
    assert (metadata["source"], metadata["source_sha256"]) == (source.name, sha256(source))
    run_import(source, tmp_path / "wide.safetensors", dtype="fp32")
    assert load_model(tmp_path / "wide.safetensors").fingerprint == direct.fingerprint
    assert {t.dtype for t in read_tensors(tmp_path / "wide.safetensors").values()} == {torch.float32}


def test_a_folder_of_raw_snapshots_becomes_a_run_directory_for_posthoc_ema(raw, tmp_path):
    run_import(raw, tmp_path / "edm2-img64-xs")
    stored = stored_snapshots(tmp_path / "edm2-img64-xs")
    assert [s.path.name for s in stored] == IMPORTED
    for s in stored:
        info = read_info(s.path)
        assert (info.nimg, info.sigma_rel) == (s.nimg, s.sigma_rel) and "NVIDIA" in info.licence
    assert resolve(ModelRef(path="nvidia:edm2-img64-xs"), str(tmp_path)).path == str(tmp_path / "edm2-img64-xs")
    expected = load_denoiser(PKL).state_dict()  # all are the same weights, so every combination of sum 1 is, too
    between = load_model(tmp_path / "edm2-img64-xs", nimg="16Mi", ema=0.07)
    assert "NVIDIA" in between.info.licence
    for name, tensor in between.denoiser.state_dict().items():
        torch.testing.assert_close(tensor, expected[name], rtol=1e-5, atol=1e-5)


def test_it_goes_on_where_it_was_interrupted_and_shows_snapshots_only_when_all_are_there(raw, tmp_path, monkeypatch):
    dest, convert = tmp_path / "run", importing._import

    def interrupted(item, dtype):
        if item.source.name == RAW[2]:
            raise KeyboardInterrupt
        convert(item, dtype)

    monkeypatch.setattr(importing, "_import", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_import(raw, dest)
    with pytest.raises(UserError, match="holds no snapshots"):
        stored_snapshots(dest)
    begun = {path.name: path.stat().st_mtime_ns for path in (dest / "snapshots.part").iterdir()}
    assert sorted(begun) == sorted(IMPORTED[:2])
    (dest / "snapshots.part" / ".left.tmp").touch()
    monkeypatch.setattr(importing, "_import", convert)
    with pytest.raises(UserError, match="an import that was interrupted"):
        run_import(raw / RAW[2], dest)
    run_import(raw, dest)
    assert sorted(path.name for path in (dest / "snapshots").iterdir()) == sorted(IMPORTED)
    assert {name: (dest / "snapshots" / name).stat().st_mtime_ns for name in begun} == begun
    assert not (dest / "snapshots.part").exists()
    run_import(raw, dest)
    assert {name: (dest / "snapshots" / name).stat().st_mtime_ns for name in begun} == begun


def test_more_snapshots_can_follow(raw, tmp_path):
    os.rename(raw / RAW[0], tmp_path / "late.pkl")
    run_import(f"{raw}/edm2-img64-*.pkl", tmp_path / "run")
    run_import(tmp_path / "late.pkl", tmp_path / "run", nimg=Nimg("8Mi"), ema=0.05)
    stored = stored_snapshots(tmp_path / "run")
    assert [s.path.name for s in stored] == IMPORTED
    assert (read_info(stored[0].path).nimg, read_info(stored[0].path).sigma_rel) == (8 * 2**20, 0.05), (
        "as the options say"
    )
    assert not (tmp_path / "run" / "snapshots.part").exists()


def test_a_url_is_a_source(tmp_path, monkeypatch):
    monkeypatch.setenv("EDM2LITE_CACHE", str(tmp_path / "cache"))
    with serve() as site:
        site.files[f"/{RAW[0]}"] = PKL.read_bytes()
        run_import(f"{site.url}/{RAW[0]}", tmp_path / "run")
    assert load_model(tmp_path / "run", nimg="8Mi", ema=0.05).fingerprint == load_model(PKL).fingerprint


def test_damaged_files_are_all_named_and_the_run_directory_stays_empty(raw, tmp_path):
    for name in RAW[:2]:
        (raw / name).write_bytes(PKL.read_bytes()[:100_000])
    with pytest.raises(UserError, match=rf"{RAW[0]}: not a complete snapshot.*; .*{RAW[1]}: not a complete snapshot"):
        run_import(raw, tmp_path / "run")
    assert not (tmp_path / "run" / "snapshots").exists()
    for name in RAW[:2]:
        shutil.copy(PKL, raw / name)
    run_import(raw, tmp_path / "run")
    assert len(stored_snapshots(tmp_path / "run")) == 3


def test_another_architecture_in_disguise_is_refused(raw, tmp_path):
    shutil.copy(GOLDEN / "snapshot-cond.pkl", raw / RAW[2])
    with pytest.raises(UserError, match=rf"{RAW[2]} is of another model than .*8Mi-ema0.05"):
        run_import(raw, tmp_path / "run")
    assert not (tmp_path / "run" / "snapshots").exists()


def test_names_are_refused_before_anything_is_written(raw, tmp_path):
    def refused(message, source, dest, **options):
        with pytest.raises(UserError, match=message):
            run_import(source, tmp_path / dest, **options)
        assert not (tmp_path / dest).exists()

    refused("may be many snapshots, but dest .* is one file", raw, "one.safetensors")
    refused("nimg or ema is set, but .* may be many", raw, "run", ema=0.05)
    refused("does not say .*import it alone, with --nimg and --ema", PKL, "run")
    refused("with --ema", PKL, "run", nimg=Nimg("8Mi"))
    refused("says nimg 8Mi, but --nimg is 1Mi", raw / RAW[0], "run", nimg=Nimg("1Mi"))
    refused("names no .pkl files", tmp_path / "absent", "run")
    refused("is no .pkl file", __file__, "run")
    shutil.copy(PKL, raw / "notes.pkl")
    refused("notes.pkl is not named MODEL-KIMG-EMA.pkl", raw, "run")
    os.rename(raw / "notes.pkl", raw / "edm2-img64-s-0008388-0.050.pkl")
    refused("several models: edm2-img64-s, edm2-img64-xs; .*'.*edm2-img64-s-\\[0-9\\]", raw, "run")


def test_what_is_there_from_another_source_is_kept(tmp_path):
    dest = tmp_path / "model.safetensors"
    run_import(PKL, dest)
    namesake = tmp_path / PKL.name
    shutil.copy(GOLDEN / "snapshot-uncond.pkl", namesake)
    for source, dtype in ((GOLDEN / "snapshot-cond.pkl", "stored"), (PKL, "fp32"), (namesake, "stored")):
        with pytest.raises(UserError, match=f"is there already, but not from {source} in dtype {dtype}"):
            run_import(source, dest, dtype=dtype)
    assert load_model(dest).fingerprint == load_model(PKL).fingerprint


def test_the_command(raw, tmp_path, capsys):
    assert cli.main(cli.SNAPSHOT, "edm2lite snapshot", ["import", f"--source={raw}", f"--dest={tmp_path / 'run'}"]) == 0
    assert len(stored_snapshots(tmp_path / "run")) == 3
    capsys.readouterr()
    assert cli.main(cli.SNAPSHOT, "edm2lite snapshot", ["import", "--source=absent.pkl", "--dest=run"]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "error: absent.pkl names no .pkl files; give one, a folder of them, or a pattern in quotes"
    ]
